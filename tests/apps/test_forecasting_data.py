"""The data module of forecasting on hand-made files: what it refuses, what it tells, and the sets it knows by name."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from integrand.apps.timeseries import APPLICATION
from integrand.apps.timeseries.forecasting.data import ForecastingData
from integrand.core.errors import InputError
from integrand.datasets.catalogue import CATALOGUE
from integrand.datasets.load_samples import SIGNALS


def rows(count: int, cells: str = "{t},{t}") -> str:
    return "".join(cells.format(t=t) + "\n" for t in range(count))


def data_of(folder: Path, text: str, **options) -> ForecastingData:
    path = folder / "table.csv"
    path.write_text(text)
    data = ForecastingData(str(path), **{"context": 5, "horizon": 2, "drop": (0.0, 0.0)} | options)
    data.setup()
    return data


def test_a_channel_constant_in_training_has_scale_one_and_a_notice(tmp_path: Path):
    """The mean of many 0.1 is not 0.1 in the last digit, so that their deviation is not 0 either."""
    cells = "time,x,flat,later\n" + rows(1000, "{t},{t},0.1,7")
    cells = cells.replace("\n990,990,0.1,7\n", "\n990,990,0.1,8\n")  # in the test part alone
    data = data_of(tmp_path, cells)
    assert data.task.channels == ["x", "flat", "later"]
    assert data.task.scale[1:] == [1.0, 1.0]
    assert data.task.scale[0] == pytest.approx(np.arange(700).std(), rel=1e-6)  # rows of 0 to 0.7 times 999
    told = [notice for notice in data.notices if "scale is taken as 1" in notice]
    assert [notice.split(" throughout")[0] for notice in told] == ["channel 'flat' is 0.1", "channel 'later' is 7"]
    batch = data.windows("train")[0]
    assert batch.values[..., 1].abs().max() < 1e-6


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("time,x,y\n" + rows(100, "{t},{t},"), ["'y'", "no observed value"]),
        ("time,x,y\n" + rows(90, "{t},{t},") + "95,1,2\n99,1,3\n", ["'y'", "0 values in the training part"]),
        ("id,time,x\n" + rows(100, "a,{t},{t}") + "b,3,1\n", ["series 'b' spans 0", "shorter than the 7"]),
        ("time,x\n0,1\n", ["series 'all' spans 0"]),
    ],
    ids=["empty", "empty in training", "one row beside others", "one row"],
)
def test_what_cannot_be_learned_from_is_refused_on_one_line(tmp_path: Path, text: str, words: list[str]):
    with pytest.raises(InputError) as caught:
        data_of(tmp_path, text)
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def test_counts_since_1970_are_hours_with_a_calendar(tmp_path: Path):
    start = 1_700_000_000_000_000_000
    data = data_of(tmp_path, "time,x\n" + "".join(f"{start + 3_600_000_000_000 * t},{t}\n" for t in range(200)))
    assert (data.task.time_unit, data.task.resolution, data.task.periods) == ("h", 1.0, [24.0])
    assert any("nanoseconds since 1970" in notice for notice in data.notices)


@pytest.mark.parametrize("name", ["co2", "el_nino", "sunspots"])
def test_the_small_series_train_by_their_recipes(name: str):
    """Each part holds windows, and a context as many rows as it is long."""
    options: dict[str, Any] = yaml.safe_load(APPLICATION.recipe(name).read_text(encoding="utf-8"))["data"]
    data = ForecastingData(**options)
    data.setup()
    rows_of = {"co2": 156, "el_nino": 60, "sunspots": 33}[name]
    assert data.windows("train").windows.longest == rows_of
    assert all(len(data.windows(part)) >= 15 for part in ("train", "validation", "test"))
    assert CATALOGUE[name].embedded


TABLES = [
    name
    for name, entry in CATALOGUE.items()
    if entry.synthetic and (entry.loader or "").endswith(f":{name}") and name not in SIGNALS
]


@pytest.mark.parametrize("name", TABLES)
def test_made_sets_are_known_by_name(name: str):
    assert name in APPLICATION.task("forecasting").datasets
    table, units, targets, split = ForecastingData(name).read()
    assert len(table.series) == 1000
    assert table.channels == list(units) == targets
    assert split is None
