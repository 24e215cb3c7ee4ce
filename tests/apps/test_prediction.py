"""``integrand predict``: forecasts that agree with the data set's own batches, and every file that it must refuse.

The network is small and hardly trained; what it says is arbitrary but depends on all that it reads.
"""

import pickle
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from integrand.apps.cli import main
from integrand.apps.timeseries.forecasting.data import ForecastingData
from integrand.apps.timeseries.forecasting.models.ssm_ode import SSMODE
from integrand.apps.timeseries.forecasting.module import ForecastingModule
from integrand.apps.timeseries.forecasting.prediction import Prediction, doubts, forecast, predict
from integrand.apps.timeseries.forecasting.queries import lead_times
from integrand.apps.training.checkpoints import read_checkpoint
from integrand.apps.training.files import write_json
from integrand.core.errors import InputError
from integrand.datasets.tables import read_table

EXAMPLES = Path(__file__).parents[2] / "examples"
WIDE, LONG = EXAMPLES / "recent_weather.csv", EXAMPLES / "recent_weather_long.csv"
TARGETS = ("temp", "dewp", "humid", "wind_u", "wind_v", "pressure", "visib")
Z_95 = 1.6448536269514722  # of the standard normal


@pytest.fixture
def data(weather_data: ForecastingData) -> ForecastingData:
    return weather_data


@pytest.fixture
def run(weather_run: Path) -> Path:
    return weather_run


@pytest.fixture
def module(run: Path) -> ForecastingModule:
    return ForecastingModule.from_checkpoint(read_checkpoint(run / "checkpoints" / "best.ckpt"))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def cells(path: Path = WIDE) -> pd.DataFrame:
    return pd.read_csv(path, dtype=str, keep_default_na=False)


def predicted(module: ForecastingModule, table: pd.DataFrame | str, folder: Path, **options) -> tuple[Prediction, list]:
    """Predict from what is written to a file, and return the notices too."""
    path = folder / "input.csv"
    path.write_text(table if isinstance(table, str) else table.to_csv(index=False))
    notices = []
    made = predict(module, input=path, output=folder / "out.csv", figure=None, notify=notices.append, **options)
    return made, notices


def assert_equal(one: Prediction, other: Prediction) -> None:
    np.testing.assert_array_equal(one.mean, other.mean)
    np.testing.assert_array_equal(one.std, other.std)


# What is forecast


def test_agrees_with_the_module_on_its_own_batch(data: ForecastingData, module: ForecastingModule, here: Path):
    # A test window of each station, some of its rows dropped but not the last, and all 24 hours ahead observed.
    test = data.windows("test")
    chosen = []
    for s in range(3):
        for i in np.flatnonzero(test.windows.series == s)[200:]:
            batch = test[int(i)]
            assert batch.target_times is not None
            if batch.target_times.shape[1] == 24 and batch.times[0, -1] == 0:
                chosen.append((int(i), batch))
                break
    scale, location = np.array(data.task.scale)[:7], np.array(data.task.location)[:7]
    rows, stamps, means, stds = [], [], [], []
    for (i, batch), series in zip(chosen, data.table.series, strict=True):
        times = test.windows.origins[i] + batch.times[0].double().numpy()
        at = np.searchsorted(series.times, times)
        np.testing.assert_array_equal(series.times[at], times)
        frame = pd.DataFrame(series.values[at], columns=data.table.channels)
        frame.insert(0, "time", data.table.stamps(times))
        frame.insert(0, "station", series.group)
        rows.append(frame)
        with torch.no_grad():
            said = module(batch)
        means.append(said.mean[0].double().numpy() * scale + location)
        stds.append(said.std[0].double().numpy() * scale)
        stamps += list(data.table.stamps(test.windows.origins[i] + np.arange(1.0, 25.0)))
    made, _ = predicted(module, pd.concat(rows), here)
    np.testing.assert_array_equal(made.leads, np.tile(np.arange(1.0, 25.0), (3, 1)))
    # Batched with padding here, alone there: single precision in another order.
    np.testing.assert_allclose((made.mean - means) / scale, 0, atol=2e-5)
    np.testing.assert_allclose((made.std - stds) / scale, 0, atol=2e-5)

    written = pd.read_csv(here / "out.csv", parse_dates=["time"])
    moments = [f"{c}_{w}" for c in TARGETS for w in ("mean", "std", "p05", "p95")]
    assert list(written) == ["time", "station", *moments, "beyond_training"]
    assert written["beyond_training"].tolist() == [False] * 72
    assert list(written["time"]) == stamps
    assert list(written["station"]) == ["EWR"] * 24 + ["JFK"] * 24 + ["LGA"] * 24
    for k, name in enumerate(TARGETS):
        mean, std = np.concatenate(means)[:, k], np.concatenate(stds)[:, k]
        for what, expected in {"mean": mean, "std": std, "p05": mean - Z_95 * std, "p95": mean + Z_95 * std}.items():
            np.testing.assert_allclose(written[f"{name}_{what}"], expected, rtol=1e-5, atol=1e-4 * scale[k])


def test_wide_and_long_form_give_the_same_forecasts(module: ForecastingModule, here: Path):
    wide, _ = predicted(module, cells(WIDE), here)
    from_wide = pd.read_csv(here / "out.csv")
    long, _ = predicted(module, cells(LONG).rename(columns={"variable": "parameter"}), here)
    from_long = pd.read_csv(here / "out.csv")
    assert_equal(wide, long)
    assert list(from_long) == ["time", "station", "parameter", "mean", "std", "p05", "p95", "beyond_training"]
    assert len(from_long) == 3 * 24 * 7
    for what in ("mean", "std", "p05", "p95"):
        spread = from_long.pivot(index=["station", "time"], columns="parameter", values=what)
        beside = from_wide.set_index(["station", "time"])[[f"{name}_{what}" for name in TARGETS]]
        np.testing.assert_array_equal(spread[list(TARGETS)], beside)


@pytest.mark.parametrize("form", [WIDE, LONG], ids=["wide", "long"])
def test_the_order_of_rows_does_not_matter(module: ForecastingModule, here: Path, form: Path):
    plain, before = predicted(module, cells(form), here)
    mixed, after = predicted(module, cells(form).sample(frac=1, random_state=0), here)
    assert_equal(plain, mixed)
    assert [note for note in after if note not in before and note.startswith("sorted the rows by time")]


def test_stamps_are_those_of_the_file_going_on(module: ForecastingModule, here: Path):
    table = cells()
    plain, _ = predicted(module, table, here)
    in_utc = pd.read_csv(here / "out.csv")["time"]
    last = [pd.Timestamp(f"2013-12-30T{hour}:00Z") for hour in (23, 22, 21)]  # of EWR, JFK, LGA
    expected = [origin + pd.Timedelta(hours=k) for origin in last for k in range(1, 25)]
    assert list(pd.to_datetime(in_utc)) == expected

    # The same instants on another clock: the same forecasts, told on that clock.
    instants = pd.to_datetime(table["time"])
    ahead = table.assign(time=instants.dt.tz_convert("+02:00").astype(str))
    moved, _ = predicted(module, ahead, here)
    assert_equal(plain, moved)
    written = pd.read_csv(here / "out.csv")["time"]
    assert written.str.endswith("+02:00").all()
    assert list(pd.to_datetime(written)) == expected

    # The same clock reading in another place is another hour of the day: as if the stamps were moved.
    there, _ = predicted(module, table.assign(time=table["time"].str.replace("Z", "+05:00")), here)
    earlier = (instants - pd.Timedelta(hours=5)).astype(str)
    assert_equal(there, predicted(module, table.assign(time=earlier), here)[0])
    assert np.abs(there.mean - plain.mean).max() > 1e-3

    # Without an offset, taken as UTC.
    bare, _ = predicted(module, table.assign(time=table["time"].str.rstrip("Z")), here)
    assert_equal(plain, bare)
    assert list(pd.read_csv(here / "out.csv")["time"])[:1] == ["2013-12-31 00:00:00"]


def test_plain_numbers_go_on_as_numbers(data: ForecastingData, here: Path):
    torch.manual_seed(0)
    network = SSMODE(width=8, d_state=8, latent=8, hidden=8, steps=4)
    network.build(replace(data.task, time_unit="1", periods=[], groups=[]))
    numbered = ForecastingModule(network).eval()
    header = ",".join(("t", *data.task.channels))
    rows = [f"{t}," + ",".join(str(k + t) for k in range(10)) for t in (1000, 1010.5, 1030.25)]
    made, _ = predicted(numbered, "\n".join([header, *rows]), here, horizon=2, every=0.5)
    assert made.mean.shape == (1, 4, 7)
    written = pd.read_csv(here / "out.csv", dtype=str)
    assert list(written["t"]) == ["1030.75", "1031.25", "1031.75", "1032.25"]
    assert list(written)[:2] == ["t", "temp_mean"]

    with pytest.raises(InputError, match=r"^time column 'time' holds dates.*plain numbers were expected"):
        predicted(numbered, cells(), here)


def test_horizon_and_interval(data: ForecastingData, module: ForecastingModule, here: Path):
    whole, _ = predicted(module, cells(), here)
    half, _ = predicted(module, cells(), here, horizon=6, every=0.5)
    np.testing.assert_array_equal(half.leads, np.tile(np.arange(1, 13) / 2, (3, 1)))
    np.testing.assert_allclose(half.mean[:, 1::2], whole.mean[:, :6], rtol=1e-6)
    assert lead_times(data.task, 24, 0.1)[-1] == pytest.approx(24)
    assert len(lead_times(data.task, 24, 0.1)) == 240
    assert list(lead_times(data.task, 24, 5)) == [5, 10, 15, 20]
    for wrong in (24_001, 0, -1, float("nan"), float("inf")):
        with pytest.raises(InputError, match=rf"horizon {wrong:g} h is out of range.*1000 times the 24 h"):
            lead_times(data.task, wrong)
    for wrong in (7, 0, -1, float("nan"), 1e-9):
        with pytest.raises(InputError, match=rf"interval {wrong:g} h"):
            lead_times(data.task, 6, wrong)


def test_many_series_are_forecast_one_as_another(module: ForecastingModule, here: Path):
    one = cells().query("station == 'EWR'")
    pd.concat([one.assign(station=f"{k}") for k in range(300)]).to_csv("many.csv", index=False)
    notices = []
    made = predict(
        module,
        input=here / "many.csv",
        output=here / "out.csv",
        figure=here / "out.png",
        horizon=2,
        notify=notices.append,
    )
    np.testing.assert_allclose(made.mean, np.broadcast_to(made.mean[:1], made.mean.shape), rtol=1e-5)
    assert "the picture shows the first 4 of 300 series" in notices


# When it is forecast


def test_lead_times_of_ones_own(data: ForecastingData, module: ForecastingModule, here: Path):
    whole, _ = predicted(module, cells(), here)
    chosen, notices = predicted(module, cells(), here, at=(12, 3, 7.5))
    np.testing.assert_array_equal(chosen.leads, [[3, 7.5, 12]] * 3)
    np.testing.assert_allclose(chosen.mean[:, [0, 2]], whole.mean[:, [2, 11]], rtol=1e-6)
    assert not any("beyond_training" in note for note in notices)
    with Image.open(_drawn(module, here, at=(3,))) as image:
        assert image.width > 600
    for wrong in (0, -1, float("nan"), float("inf"), 24_001):
        with pytest.raises(InputError, match=rf"--at {wrong:g} is out of range"):
            lead_times(data.task, at=[1, wrong])


def _drawn(module: ForecastingModule, folder: Path, **options) -> Path:
    predict(module, input=WIDE, output=folder / "drawn.csv", figure=folder / "drawn.png", **options)
    return folder / "drawn.png"


def test_beyond_the_horizon_is_told_row_by_row_and_changes_nothing_within(module: ForecastingModule, here: Path):
    within, _ = predicted(module, cells(), here)
    beyond, notices = predicted(module, cells(), here, horizon=60)
    np.testing.assert_array_equal(beyond.mean[:, :24], within.mean)
    np.testing.assert_array_equal(beyond.std[:, :24], within.std)
    assert sum("up to 24 h" in note and "beyond_training" in note for note in notices) == 1
    written = pd.read_csv(here / "out.csv")
    assert written["beyond_training"].tolist() == 3 * (24 * [False] + 36 * [True])
    assert np.isfinite(beyond.mean).all()
    # The calendar drives the field on: a day later is not the same again, nor the state of the horizon held.
    assert np.abs(beyond.mean[:, 47] - beyond.mean[:, 23]).max() > 1e-3
    with Image.open(_drawn(module, here, horizon=60)) as image:
        assert image.width > 600


QUERIES = """station,time,why
LGA,2013-12-30T22:00Z,
EWR,2013-12-31T05:00:00Z,noon there
EWR,2013-12-31 06:30:00+02:00,
EWR,2014-01-02T23:00:00Z,
"""  # EWR ends at 23:00, LGA at 21:00 of 2013-12-30


def test_stamps_of_ones_own(module: ForecastingModule, here: Path):
    (here / "q.csv").write_text(QUERIES)
    made, notices = predicted(module, cells(), here, queries=here / "q.csv")
    np.testing.assert_allclose(made.leads, [[5.5, 6, 72], [1, np.nan, np.nan]], rtol=1e-12)
    assert np.isnan(made.mean[1, 1:]).all()
    written = pd.read_csv(here / "out.csv")
    stamps = ["2013-12-31 04:30:00", "2013-12-31 05:00:00", "2014-01-02 23:00:00", "2013-12-30 22:00:00"]
    assert written["time"].tolist() == [f"{stamp}+00:00" for stamp in stamps]
    assert written["station"].tolist() == ["EWR"] * 3 + ["LGA"]
    assert written["beyond_training"].tolist() == [False, False, True, False]
    assert sum("beyond_training" in note for note in notices) == 1
    # The same numbers as by lead time, whatever else is asked beside.
    alone, _ = predicted(module, cells(), here, at=[1, 5.5, 6, 72])
    np.testing.assert_allclose(made.mean[0], alone.mean[0, 1:], rtol=1e-5)
    np.testing.assert_allclose(made.mean[1, 0], alone.mean[2, 0], rtol=1e-5)
    with Image.open(_drawn(module, here, queries=here / "q.csv")) as image:
        assert image.width > 400


def test_stamps_of_ones_own_among_plain_numbers(data: ForecastingData, here: Path):
    torch.manual_seed(0)
    network = SSMODE(width=8, d_state=8, latent=8, hidden=8, steps=4)
    network.build(replace(data.task, time_unit="1", periods=[], groups=[]))
    numbered = ForecastingModule(network).eval()
    rows = [f"{t}," + ",".join(str(k + t) for k in range(10)) for t in (1000, 1010.5, 1030.25)]
    table = "\n".join([",".join(("t", *data.task.channels)), *rows])
    (here / "q.csv").write_text("t\n1031\n1030.5\n")
    predicted(numbered, table, here, queries=here / "q.csv")
    assert pd.read_csv(here / "out.csv", dtype=str)["t"].tolist() == ["1030.5", "1031"]
    (here / "q.csv").write_text("t\n2013-12-31\n")
    with pytest.raises(InputError, match=r"q\.csv: time column 't' holds dates, and the table has plain numbers"):
        predicted(numbered, table, here, queries=here / "q.csv")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("station,time\nBOS,2014-01-01T00:00Z\n", "unknown series 'BOS'. Known: EWR, JFK, LGA."),
        ("station,time\nEWr,2014-01-01T00:00Z\n", "unknown series 'EWr': did you mean 'EWR'?"),
        (
            "station,time\nEWR,2014-01-01T00:00Z\nEWR,2014-01-01T01:00+01:00\n",
            "rows 2 and 3 ask the same of series 'EWR': remove one.",
        ),
        (
            "station,time\nEWR,2014-01-01T00:00Z\nEWR,2013-12-30T23:00Z\n",
            "row 3 asks for 2013-12-30T23:00Z, which is not after the last row of series 'EWR', 2013-12-30 23:00:00+00",
        ),
        (
            "station,time\nJFK,2013-12-27T20:00Z\n",
            "row 2 asks for 2013-12-27T20:00Z, before the context of series 'JFK', which begins at 2013-12-28 22:00:00",
        ),
        ("station,time\nEWR,2020-01-01T00:00Z\n", "row 2 asks for 2020-01-01T00:00Z, more than 1000 times the 24 h"),
        ("station,time\nEWR,2014-01-01T00:00\n", "have no offset from UTC, those of the table have one: write both"),
        ("station,time\nEWR,12\n", "time column 'time' holds plain numbers, and the table has dates"),
        ("station,time\nEWR,soon\n", "row 2 has 'soon' in time column 'time', which is no date"),
        ("station,time\n,2014-01-01T00:00Z\n", "row 2 names no group in column 'station'"),
        ("station,when\nEWR,2014-01-01T00:00Z\n", "there is no time column 'time', as the table has it"),
        ("time\n2014-01-01T00:00Z\n", "there is no group column 'station', as the table has it, among 'time'."),
        ("station,time\n", "header but no rows"),
    ],
)
def test_queries_that_are_refused(module: ForecastingModule, here: Path, text: str, told: str):
    (here / "q.csv").write_text(text)
    with pytest.raises(InputError) as caught:
        predicted(module, cells(), here, queries=here / "q.csv")
    assert str(caught.value).startswith(f"--queries {here / 'q.csv'}: ")
    assert told in str(caught.value)
    assert not (here / "out.csv").exists()


# What is missing


def test_channels_that_are_inputs_alone_may_be_missing(module: ForecastingModule, here: Path):
    empty, notices = predicted(module, cells().assign(wind_gust="", log_precip="NA"), here)
    assert any("wind_gust, log_precip" in note and "without an observed value" in note for note in notices)
    without, notices = predicted(module, cells().drop(columns=["wind_gust", "log_precip"]), here)
    assert any("wind_gust, log_precip" in note for note in notices)
    assert_equal(empty, without)
    fewer = cells(LONG).query("variable not in ('wind_gust', 'log_precip')")
    assert_equal(empty, predicted(module, fewer, here)[0])


def test_rows_without_a_value_say_nothing(module: ForecastingModule, here: Path):
    plain, _ = predicted(module, cells(), here)
    row = {"station": "EWR", "time": "2014-01-01T00:00:00Z"}
    longer = pd.concat([cells(), pd.DataFrame([row])]).fillna("")
    made, notices = predicted(module, longer, here)
    assert_equal(plain, made)
    assert any(note.startswith("series 'EWR' ends with rows without a value") for note in notices)


def test_what_makes_forecasts_doubtful_is_told(data: ForecastingData, module: ForecastingModule, here: Path):
    table = cells()
    late = table["time"] > "2013-12-28T12:00"
    table.loc[late & (table["station"] == "JFK"), "pressure"] = ""
    table["station"] = table["station"].replace("LGA", "Boston")
    _, notices = predicted(module, table, here)
    assert any("'pressure' was not observed in the last 48 h of series JFK" in note for note in notices)
    assert any("not trained on: Boston" in note for note in notices)

    alone = cells().query("station == 'EWR'")
    known, notices = predicted(module, alone, here)
    assert not any("trained on" in note for note in notices)
    unknown, notices = predicted(module, alone.drop(columns="station"), here)
    assert any("trained on EWR, JFK, LGA" in note and "--group-column" in note for note in notices)
    assert np.abs(known.mean - unknown.mean).max() > 1e-3  # the station does matter to the network
    assert "station" not in (here / "out.csv").read_text()
    path = here / "input.csv"
    assert doubts(read_table(path, channels=data.task.channels), replace(data.task, groups=[])) == []


def test_one_row_in_the_context_is_enough(module: ForecastingModule, here: Path):
    table = cells().query("station == 'EWR'")
    ends = pd.concat([table.head(1).assign(time="2013-12-01T00:00:00Z"), table.tail(1)])
    made, _ = predicted(module, ends, here)
    assert np.isfinite(made.mean).all()
    assert (made.std > 0).all()
    windowed = forecast(module, replace(made.table, series=[_tail(made.table.series[0], 1)]), made.leads)
    assert_equal(made, windowed)


def _tail(series, rows: int):
    return replace(series, times=series.times[-rows:], values=series.values[-rows:])


# The command


def told(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, list[str]]:
    """Run ``integrand predict`` and return its code, stdout, and the lines of stderr that are no notices."""
    code = main(["predict", *map(str, words)])
    out, err = capsys.readouterr()
    return code, out, [line for line in err.splitlines() if not line.startswith("note: ")]


def test_the_command_writes_beside_you_and_says_where(run: Path, here: Path, capsys: pytest.CaptureFixture[str]):
    shutil.copy(WIDE, here.parent / "weather.csv")
    code, out, errors = told(capsys, run, "--input", here.parent / "weather.csv")
    assert (code, errors) == (0, [])
    assert "weather_forecast.csv" in out
    assert "weather_forecast.png" in out
    assert sorted(path.name for path in here.iterdir()) == ["weather_forecast.csv", "weather_forecast.png"]
    assert pd.read_csv("weather_forecast.csv").notna().all(axis=None)
    with Image.open("weather_forecast.png") as image:
        assert image.format == "PNG"
        assert image.width > 600
        assert (np.asarray(image.convert("L")) < 200).mean() > 0.01
    # Forecasts can be read as a table again, and a name ending in .csv.gz loses all of it.
    assert len(read_table("weather_forecast.csv").series) == 3
    pd.read_csv(WIDE).to_csv("zipped.csv.gz", index=False)
    assert told(capsys, run, "--input", "zipped.csv.gz", "--figure", "drawn.svg", "--horizon", 3)[0] == 0
    assert Path("zipped_forecast.csv").read_text().count("\n") == 10
    assert Path("drawn.svg").read_text().startswith("<?xml")


def test_columns_are_named_by_options(run: Path, here: Path, capsys: pytest.CaptureFixture[str]):
    odd = {"station": "where", "time": "noted", "variable": "what", "value": "much"}
    cells(LONG).rename(columns=odd).assign(remark="x").to_csv("odd.csv", index=False)
    options = ["--time-column", "noted", "--group-column", "where", "--variable-column", "what", "--value-column"]
    code, _, errors = told(capsys, run, "--input", "odd.csv", *options, "much", "--output", "o.csv")
    assert (code, errors) == (0, [])
    assert list(pd.read_csv("o.csv"))[:3] == ["noted", "where", "what"]
    code, _, errors = told(capsys, run, "--input", "odd.csv", *options, "mutch")
    assert code == 2
    assert "'mutch': did you mean 'much'?" in errors[0]


def edited(**columns: str) -> str:
    return cells().assign(**columns).to_csv(index=False)


def silent(station: str) -> str:
    table = cells()
    table.loc[table["station"] == station, list(table)[2:]] = ""
    return table.to_csv(index=False)


def with_cell(row: int, column: str, value: str) -> str:
    """Change a cell of the file's row, the header being row 1."""
    table = cells()
    table.loc[row - 2, column] = value
    return table.to_csv(index=False)


def repeated() -> str:
    table = cells()
    return pd.concat([table, table.iloc[[10]]]).to_csv(index=False)


def numbered() -> str:
    table = cells()
    return table.assign(time=range(len(table))).to_csv(index=False)


def cut(rows: int) -> str:
    table = cells()
    return pd.concat([table.query("station != 'JFK'"), table.query("station == 'JFK'").head(rows)]).to_csv(index=False)


BAD = {
    "unreadable": (b"\x89PNG\r\n\0\0\0", [], ["input.csv", "binary"]),
    "not UTF-8": (b"time,temp\n2024-01-01,\xff\n", [], ["input.csv", "UTF-8", "row 2"]),
    "empty": ("", [], ["input.csv is empty"]),
    "header alone": (cells().head(0).to_csv(index=False), [], ["input.csv", "no rows"]),
    "no numeric column": ("time,sky\n2024-01-01,grey\n2024-01-02,blue\n", [], ["lacks channel 'temp'", "sky"]),
    "text for numbers": (edited(temp="warm"), [], ["row 2", "'warm'", "'temp'"]),
    "duplicated": (repeated(), ["--duplicates", "error"], ["rows 12 and 139", "'EWR'", "--duplicates mean"]),
    "unparseable stamp": (with_cell(7, "time", "yesterday"), [], ["row 7", "'yesterday'", "'time'"]),
    "no stamp": (with_cell(7, "time", ""), [], ["row 7", "'time'"]),
    "stamps are numbers": (numbered(), [], ["'time'", "plain numbers", "dates"]),
    "no value of a channel": (edited(dewp=""), [], ["channel 'dewp'", "no observed value"]),
    "no value of a series": (silent("LGA"), [], ["series 'LGA'", "no observed value"]),
    "series shorter than the horizon": (cut(5), [], ["series 'JFK'", "24 h horizon", "at least 24 h"]),
    "shorter than the horizon asked": (cut(5), ["--horizon", "12"], ["series 'JFK'", "12 h horizon"]),
    "infinite": (with_cell(9, "wind_u", "-inf"), [], ["row 9", "'-inf'", "'wind_u'", "infinite"]),
    "too large": (with_cell(9, "pressure", "1e39"), [], ["row 9", "1e+39", "'pressure'"]),
    "missing column": (
        cells().rename(columns={"humid": "humidity"}).to_csv(index=False),
        [],
        ["'humid'", "'humidity'?"],
    ),
    "missing variable": (cells(LONG).replace("visib", "vis").to_csv(index=False), [], ["'visib'", "'vis'?"]),
    "no such time column": (edited(), ["--time-column", "tmie"], ["--time-column", "'tmie'", "'time'?"]),
    "far beyond the horizon": (edited(), ["--horizon", "1e6"], ["1e+06 h", "24 h"]),
    "a lead time that is past": (edited(), ["--at", "3,0"], ["--at 0", "positive"]),
    "a lead time twice": (edited(), ["--at", "3,6,3"], ["--at", "lead time 3 twice"]),
    "no lead time": (edited(), ["--at", "3,x"], ["--at", "'3,x'"]),
    "lead times and a horizon": (edited(), ["--at", "3", "--horizon", "6"], ["--at", "--horizon out"]),
    "queries and an interval": (edited(), ["--queries", "q.csv", "--every", "6"], ["--queries", "--every out"]),
    "queries that are not there": (edited(), ["--queries", "q.csv"], ["--queries q.csv", "no file"]),
    "no interval": (edited(), ["--every", "0"], ["--every", "0 h"]),
    "unknown policy": (edited(), ["--duplicates", "meen"], ["'meen'", "'mean'?"]),
    "unknown option": (edited(), ["--horizn", "3"], ["'--horizn'", "'--horizon'?"]),
    "no such device": (edited(), ["--accelerator", "abacus"], ["--accelerator abacus", "cpu"]),
    "output in no folder": (edited(), ["--output", "no/such.csv"], ["--output no/such.csv", "no folder no"]),
    "output over the input": (edited(), ["--output", "input.csv"], ["--output input.csv", "--input"]),
    "figure of no known kind": (edited(), ["--figure", "fan.doc"], ["--figure fan.doc", ".png"]),
    "figure over the output": (edited(), ["--output", "a.png"], ["--figure a.png", "--output"]),
    "output is a folder": (edited(), ["--output", "."], ["--output", "is a folder"]),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line_and_writes_nothing(name: str, run: Path, here: Path, capsys: pytest.CaptureFixture[str]):
    content, options, words = BAD[name]
    Path("input.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    before = Path("input.csv").read_bytes()
    code, out, errors = told(capsys, run, "--input", "input.csv", *options)
    assert (code, out) == (2, "")
    assert len(errors) == 1
    assert errors[0].startswith("error: ")
    for word in words:
        assert word in errors[0]
    assert [path.name for path in here.iterdir()] == ["input.csv"]
    assert Path("input.csv").read_bytes() == before


def test_unsorted_and_repeated_rows_are_told_and_done(run: Path, here: Path, capsys: pytest.CaptureFixture[str]):
    Path("input.csv").write_text(repeated())
    assert main(["predict", str(run), "--input", "input.csv"]) == 0
    err = capsys.readouterr().err
    assert "note: sorted the rows by time: 1 came before the row above" in err
    assert "1 row repeats a time stamp: averaged their cells (--duplicates mean)" in err


def test_no_file(run: Path, here: Path, capsys: pytest.CaptureFixture[str]):
    code, _, errors = told(capsys, run, "--input", "none.csv")
    assert (code, errors) == (2, ["error: no file at none.csv: check the path."])


# Runs that are none


class Payload:
    """Makes a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return (open, (str(self.marker), "w"))


def truncated(path: Path, _: Path) -> None:
    path.write_bytes(path.read_bytes()[:-2000])


def of_another_app(path: Path, _: Path) -> None:
    checkpoint = torch.load(path, weights_only=True)
    checkpoint["integrand"]["app"] = "fields"
    torch.save(checkpoint, path)


def of_a_network_unknown_here(path: Path, _: Path) -> None:
    checkpoint = torch.load(path, weights_only=True)
    checkpoint["integrand"]["network"] = "integrand.apps.timeseries.forecasting.models.ssm_ode:Gone"
    torch.save(checkpoint, path)


def of_other_sizes(path: Path, _: Path) -> None:
    checkpoint = torch.load(path, weights_only=True)
    checkpoint["integrand"]["options"]["width"] = 16
    torch.save(checkpoint, path)


def bare_pickle(path: Path, marker: Path) -> None:
    path.write_bytes(pickle.dumps({"state_dict": {}, "integrand": Payload(marker)}))


def with_objects(path: Path, marker: Path) -> None:
    checkpoint = torch.load(path, weights_only=True)
    torch.save({**checkpoint, "payload": Payload(marker)}, path)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (truncated, ["best.ckpt", "truncated or damaged"]),
        (of_another_app, ["'fields'", "not of 'timeseries'"]),
        (of_a_network_unknown_here, ["best.ckpt", "does not fit"]),
        (of_other_sizes, ["best.ckpt", "does not fit"]),
        (bare_pickle, ["refused", "bare pickle"]),
        (with_objects, ["refused", "Python objects"]),
        (lambda path, _: path.unlink(), ["no checkpoint", "best.ckpt"]),
    ],
)
def test_checkpoints_that_are_refused(
    spoil, words: list[str], run: Path, here: Path, capsys: pytest.CaptureFixture[str]
):
    copy, marker = here.parent / "run", here.parent / "payload was here"
    shutil.copytree(run, copy)
    spoil(copy / "checkpoints" / "best.ckpt", marker)
    code, out, errors = told(capsys, copy, "--input", WIDE)
    assert (code, out, len(errors)) == (2, "", 1)
    for word in words:
        assert word in errors[0]
    assert not marker.exists()
    assert list(here.iterdir()) == []


def test_the_payload_of_these_tests_is_live(tmp_path: Path):
    pickle.loads(pickle.dumps(Payload(tmp_path / "marker"))).close()
    assert (tmp_path / "marker").exists()


@pytest.mark.parametrize("kind", ["absent", "file", "empty folder", "of no application", "above a run"])
def test_folders_that_are_no_run(kind: str, run: Path, here: Path, capsys: pytest.CaptureFixture[str]):
    place = here.parent / "place"
    if kind == "file":
        place.write_text("")
    elif kind == "of no application":
        shutil.copytree(run, place)
        write_json(place / "environment.json", {"app": "timeserie"})
    elif kind == "above a run":
        place = run.parent
    elif kind == "empty folder":
        place.mkdir()
    code, out, errors = told(capsys, place, "--input", WIDE)
    assert (code, out, len(errors)) == (2, "", 1)
    assert ("'timeserie': did you mean 'timeseries'?" if kind == "of no application" else str(place)) in errors[0]
    assert list(here.iterdir()) == []


# The examples


def test_the_examples_are_made_as_their_page_says(here: Path):
    page = (EXAMPLES / "README.md").read_text()
    (source,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    exec(source, {})
    for path in (WIDE, LONG):
        assert Path(path.name).read_text() == path.read_text()
        assert path.stat().st_size < 60_000
