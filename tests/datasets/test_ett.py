"""ETTh1: the published file where it is at hand, and everywhere a synthetic one laid out the same."""

import hashlib
import os
import random
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from integrand.core.errors import InputError
from integrand.datasets.catalogue import CATALOGUE
from integrand.datasets.real.ett import CHANNELS, SPLIT_ROWS, load
from integrand.datasets.tables import Table

SHARED = Path(os.environ.get("INTEGRAND_DATA") or Path(__file__).parents[3] / "shared" / "data")


@pytest.fixture
def real(monkeypatch: pytest.MonkeyPatch) -> Table:
    if not (SHARED / "ett/ETTh1.csv").is_file():
        pytest.skip(f"no ett/ETTh1.csv in {SHARED}: run 'integrand data download etth1' or set INTEGRAND_DATA")
    monkeypatch.setenv("INTEGRAND_DATA", str(SHARED))
    return load()


@pytest.fixture
def synthetic(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> np.ndarray:
    """The values of a file of 50 hours that the catalogue takes for ETTh1."""
    numbers = random.Random(0)
    start = datetime(2016, 7, 1)
    values = [[numbers.uniform(-5, 30) for _ in CHANNELS] for _ in range(50)]
    lines = [f"{start + timedelta(hours=k)},{','.join(map(repr, row))}" for k, row in enumerate(values)]
    content = "\n".join([f"date,{','.join(CHANNELS)}", *lines, ""]).encode()
    (tmp_path / "ett").mkdir()
    (tmp_path / "ett/ETTh1.csv").write_bytes(content)
    entry = CATALOGUE["etth1"]
    file = replace(entry.files[0], sha256=hashlib.sha256(content).hexdigest(), size=len(content))
    monkeypatch.setitem(CATALOGUE, "etth1", replace(entry, files=(file,), size=len(content)))
    monkeypatch.setenv("INTEGRAND_DATA", str(tmp_path))
    return np.array(values)


def test_the_published_file(real: Table):
    (series,) = real.series
    assert series.values.shape == (17_420, 7)
    assert series.values.dtype == np.float32
    assert not np.isnan(series.values).any()
    assert real.channels == list(CHANNELS)
    np.testing.assert_array_equal(series.times, np.arange(17_420.0))
    first, last = real.stamps(series.times[[0, -1]])
    assert (str(first), str(last)) == ("2016-07-01 00:00:00", "2018-06-26 19:00:00")
    expected = [5.827000141143799, 2.009000062942505, 1.5989999771118164, 0.4620000123977661]
    expected += [4.203000068664552, 1.3400000333786009, 30.5310001373291]
    np.testing.assert_allclose(series.values[0], expected, rtol=1e-7)
    assert sum(SPLIT_ROWS) == 14_400 <= 17_420


def test_repeat_last_scores_what_the_evidence_says(real: Table):
    """Split, scaling and order of rows are right together: repeat-last 96 to 96 has MSE 1.294 and MAE 0.713."""
    (series,) = real.series
    train, validation, test = SPLIT_ROWS
    part = series.values[:train].astype(np.float64)
    scaled = (series.values - part.mean(0)) / part.std(0)
    starts = np.arange(train + validation, train + validation + test - 96 + 1)  # first hour that is forecast
    squared = absolute = 0.0
    for start in starts:
        error = scaled[start : start + 96] - scaled[start - 1]
        squared += (error**2).mean()
        absolute += np.abs(error).mean()
    assert squared / len(starts) == pytest.approx(1.294, abs=1e-3)
    assert absolute / len(starts) == pytest.approx(0.713, abs=1e-3)


def test_a_file_laid_out_the_same(synthetic: np.ndarray):
    table = load("etth1")
    (series,) = table.series
    np.testing.assert_allclose(series.values, synthetic, rtol=1e-7)
    assert table.time_unit == "h"
    assert table.channels == list(CHANNELS)


@pytest.mark.usefixtures("synthetic")
def test_a_truncated_file_is_refused(tmp_path: Path):
    path = tmp_path / "ett/ETTh1.csv"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"damaged.*integrand data download etth1"):
        load()


def test_a_missing_file_tells_the_cure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("INTEGRAND_DATA", str(tmp_path))
    with pytest.raises(InputError, match="integrand data download etth1"):
        load()


def test_an_unknown_name_hints():
    with pytest.raises(InputError, match=r"unknown ETT series 'ETTh9': did you mean 'ETTh1'\?"):
        load("ETTh9")
