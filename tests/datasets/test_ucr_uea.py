"""The sets of the archives: the published files where they are at hand, and everywhere files laid out the same."""

import hashlib
import os
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from integrand.core.errors import InputError
from integrand.datasets.catalogue import CATALOGUE
from integrand.datasets.labelled import statistics, to_batch
from integrand.datasets.real import ucr_uea

FIGURES = {  # training series, test series, channels, least and greatest length, classes
    "JapaneseVowels": (270, 370, 12, 7, 29, 9),
    "BasicMotions": (40, 40, 6, 100, 100, 4),
    "GunPoint": (50, 150, 1, 150, 150, 2),
    "ArrowHead": (36, 175, 1, 251, 251, 3),
}
"""As the archives' papers tabulate them; JapaneseVowels' lengths by its entry in the UCI archive."""


def archive() -> Path | None:
    """Return the data directory, or aeon's folder of data, whichever holds the files."""
    chosen = Path(os.environ.get("INTEGRAND_DATA") or Path(__file__).parents[3] / "shared" / "data") / "ucr_uea"
    if chosen.is_dir():
        return chosen
    peer = find_spec("aeon")
    return None if peer is None or peer.origin is None else Path(peer.origin).parent / "datasets" / "data"


@pytest.mark.parametrize("name", FIGURES)
def test_the_published_files(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    folder = archive()
    if folder is None:
        pytest.skip("neither INTEGRAND_DATA nor aeon holds the files: run 'integrand data download gun_point'")
    (tmp_path / "ucr_uea").symlink_to(folder, target_is_directory=True)
    monkeypatch.setenv("INTEGRAND_DATA", str(tmp_path))
    series = ucr_uea.load(name)  # which compares size and SHA-256
    train, test, channels, least, greatest, classes = FIGURES[name]
    assert series.parts == ["train"] * train + ["test"] * test
    assert (len(series.channels), len(series.classes)) == (channels, classes)
    assert len(np.unique(series.labels)) == classes
    lengths = [len(times) for times in series.times]
    assert (min(lengths), max(lengths)) == (least, greatest)
    assert not any(np.isnan(values).any() for values in series.values)
    assert (series.name, series.notices) == (name, [])
    location, scale = statistics(series, range(train))
    batch = to_batch(series, range(train), location=location, scale=scale).check()
    observed = batch.values.double()[batch.present]
    np.testing.assert_allclose(observed.mean(0), 0, atol=1e-6)  # single precision, values of order 1
    np.testing.assert_allclose(observed.std(0, correction=0), 1, rtol=1e-6)


@pytest.mark.parametrize("name", FIGURES)
def test_by_either_name_and_by_the_catalogues_loader(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """With files of two series that the catalogue takes for the published ones."""
    entry = CATALOGUE[ucr_uea.NAMES[name]]
    content = b"@problemName Made\n@classLabel true a b\n@data\n1,2:a\n3,4:b\n"
    files = tuple(replace(f, sha256=hashlib.sha256(content).hexdigest(), size=len(content)) for f in entry.files)
    for file in files:
        (tmp_path / file.path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file.path).write_bytes(content)
    monkeypatch.setitem(CATALOGUE, entry.name, replace(entry, files=files))
    monkeypatch.setenv("INTEGRAND_DATA", str(tmp_path))
    assert entry.loader is not None
    function = getattr(ucr_uea, entry.loader.partition(":")[2])
    for series in (ucr_uea.load(name), ucr_uea.load(entry.name), function()):
        assert series.parts == ["train", "train", "test", "test"]
        assert series.ids[0] == f"{name}_TRAIN/1"


def test_missing_files_tell_the_cure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("INTEGRAND_DATA", str(tmp_path))
    with pytest.raises(InputError, match="integrand data download gun_point"):
        ucr_uea.gun_point()


def test_an_unknown_name_hints():
    with pytest.raises(InputError, match=r"unknown UCR/UEA data set 'GunPoints': did you mean 'GunPoint'\?"):
        ucr_uea.load("GunPoints")
