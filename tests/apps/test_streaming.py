"""``integrand predict --stream``: every row is answered with the numbers that ``predict`` has for the rows so far.

The networks are small and hardly trained; what they say is arbitrary but depends on all that they read.
"""

import io
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from integrand.apps.cli import main
from integrand.apps.series.classification.models.sequence_classifiers import S5Classifier
from integrand.apps.series.classification.parts import describe
from integrand.apps.timeseries.classification.module import ClassificationModule
from integrand.apps.timeseries.classification.prediction import predict as classify
from integrand.apps.timeseries.classification.streaming import stream as stream_classes
from integrand.apps.timeseries.forecasting.module import ForecastingModule
from integrand.apps.timeseries.forecasting.prediction import predict
from integrand.apps.timeseries.forecasting.streaming import stream
from integrand.apps.training.checkpoints import read_checkpoint
from integrand.core.errors import InputError
from integrand.datasets.labelled import LabelledSeries

ROOT = Path(__file__).parents[2]
WIDE, LONG = ROOT / "examples/recent_weather.csv", ROOT / "examples/recent_weather_long.csv"


@pytest.fixture(scope="module")
def module(weather_run: Path) -> ForecastingModule:
    return ForecastingModule.from_checkpoint(read_checkpoint(weather_run / "checkpoints" / "best.ckpt"))


def answers(module, text: str, run=stream, **options) -> tuple[list[str], list[str]]:
    """Stream a text; return the answers, row by row, and the notes."""
    said: list[str] = []
    notes: list[str] = []
    lines = text.encode().splitlines(keepends=True)
    run(module, lines=lines, write=said.append, notify=notes.append, **options)
    return said, notes


def batch(module, text: str, folder: Path, **options) -> str:
    (folder / "so_far.csv").write_text(text)
    predict(module, input=folder / "so_far.csv", output=folder / "out.csv", figure=None, **options)
    return (folder / "out.csv").read_text()


def station(path: Path, name: str) -> list[str]:
    header, *rows = path.read_text().splitlines(keepends=True)
    return [header, *(row for row in rows if row.startswith(name))]


def without_first_column(text: str) -> str:
    return "".join(line.partition(",")[2] for line in text.splitlines(keepends=True))


# Forecasts


@pytest.mark.parametrize("path", [WIDE, LONG], ids=["wide", "long"])
def test_every_answer_is_that_of_predict_to_the_last_digit(path: Path, module: ForecastingModule, tmp_path: Path):
    lines = station(path, "JFK")[: 60 if path is WIDE else 230]
    said, notes = answers(module, "".join(lines), at=[0.25, 6, 24, 30])
    waited = [note for note in notes if note.startswith("no forecast")]
    assert len(waited) == (1 if path is WIDE else 2)  # a row of long form is one channel alone
    first = len(lines) - len(said)  # rows, the header among them, that were not answered
    for count in (first, *np.linspace(first + 1, len(lines), 6, dtype=int)):
        if count == first:
            with pytest.raises(InputError, match="24 h horizon"):
                batch(module, "".join(lines[:count]), tmp_path, at=[24.0])
            continue
        answer = said[count - first - 1]
        expected = batch(module, "".join(lines[:count]), tmp_path, at=[0.25, 6, 24, 30])
        if count > first + 1:  # the header stands above the first answer alone
            answer = said[0].splitlines(keepends=True)[0] + answer
        assert without_first_column(answer) == expected
        origins = pd.read_csv(io.StringIO(answer))["time_origin"].unique()
        leads = pd.to_datetime(pd.read_csv(io.StringIO(expected))["time"].iloc[0]) - pd.to_datetime(origins[0])
        assert (len(origins), leads) == (1, pd.Timedelta(minutes=15))


def test_series_that_interleave_are_answered_each_for_itself(module: ForecastingModule, tmp_path: Path):
    table = pd.read_csv(WIDE, dtype=str, keep_default_na=False).sort_values("time", kind="stable")
    text = table.to_csv(index=False)
    said, _ = answers(module, text, at=[1.0, 12.0])
    heads = said[0].splitlines(keepends=True)[0]
    last: dict[str, pd.DataFrame] = {}
    for answer in said:
        frame = pd.read_csv(io.StringIO(answer if answer.startswith(heads) else heads + answer))
        (name,) = frame["station"].unique()
        last[name] = frame
    whole = pd.read_csv(io.StringIO(batch(module, text, tmp_path, at=[1.0, 12.0])))
    mine = pd.concat([last[name] for name in sorted(last)]).drop(columns="time_origin").reset_index(drop=True)
    assert list(mine["time"]) == list(whole["time"])
    numbers = [name for name in whole if name.endswith(("mean", "std", "p05", "p95"))]
    scale = whole[[name.rpartition("_")[0] + "_std" for name in numbers]].to_numpy()
    # Three series at once, padded, are summed in another order than one alone.
    np.testing.assert_allclose((mine[numbers].to_numpy() - whole[numbers].to_numpy()) / scale, 0, atol=1e-5)


def test_a_row_without_a_value_is_answered_from_the_last_that_has_one(module: ForecastingModule):
    lines = station(WIDE, "EWR")
    width = lines[0].count(",")
    later = [
        "EWR,2013-12-31T05:00:00Z" + "," * (width - 1) + "\n",
        "EWR,2013-12-31T06:00:00Z" + "," * (width - 1) + "\n",
    ]
    said, _ = answers(module, "".join([*lines, *later]), at=[1.0])
    assert said[-1] == said[-2] == said[-3]
    assert said[-3].startswith("2013-12-30 23:00:00+00:00,2013-12-31 00:00:00+00:00,EWR")


def test_what_is_doubtful_is_told_once(module: ForecastingModule):
    lines = [line.replace("EWR", "Boston") for line in station(WIDE, "EWR")]
    _, notes = answers(module, "".join(lines), at=[48.0])
    assert len(notes) == len(set(notes))
    assert sum("not trained on: Boston" in note for note in notes) == 1
    assert sum("up to 24 h" in note and "beyond_training" in note for note in notes) == 1


# The command


def streamed(run: Path, text: str, monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    return main(["predict", str(run), "--stream", "--accelerator", "cpu", *words])


def test_the_command_streams_and_names_what_is_wrong(
    weather_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    lines = station(WIDE, "EWR")
    assert streamed(weather_run, "".join(lines), monkeypatch, "--at", "1,2") == 0
    out = capsys.readouterr().out
    assert list(pd.read_csv(io.StringIO(out))["station"].unique()) == ["EWR"]
    place = tmp_path / "answers.csv"
    assert streamed(weather_run, "".join(lines), monkeypatch, "--at", "1,2", "--output", str(place)) == 0
    assert (place.read_text(), capsys.readouterr().out) == (out, "")

    # What came before the bad row was answered.
    wrong = [*lines[:-1], lines[-1].replace("2013-12-30", "2013-12-27")]
    assert streamed(weather_run, "".join(wrong), monkeypatch, "--at", "1,2") == 2
    told = capsys.readouterr()
    assert told.out == "".join(out.splitlines(keepends=True)[:-2])
    assert told.err.splitlines()[-1].startswith(f"error: row {len(lines)} has '2013-12-27")
    assert streamed(weather_run, "", monkeypatch) == 2
    assert capsys.readouterr().err.startswith("error: standard input is empty")
    assert streamed(weather_run, lines[0], monkeypatch) == 0


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--stream", "--input", "a.csv"), "--input: not allowed with argument --stream"),
        (("--stream", "--figure", "a.png"), "leave --figure out"),
        (("--stream", "--queries", "a.csv"), "leave --queries out"),
        (("--stream", "--at", "0"), "--at 0 is out of range"),
        ((), "one of the arguments --input --stream is required"),
    ],
)
def test_options_that_do_not_go_together(weather_run: Path, words, told: str, capsys: pytest.CaptureFixture[str]):
    assert main(["predict", str(weather_run), *words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert told in line


@pytest.mark.skipif(sys.platform == "win32", reason="signals and pipes of POSIX")
def test_answers_come_at_once_and_an_interrupt_is_quiet(weather_run: Path):
    words = [sys.executable, "-m", "integrand", "predict", str(weather_run), "--stream", "--at", "1"]
    process = subprocess.Popen(
        words,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        # Where these tests run in the background, interrupts are ignored, and that is inherited.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stdin is not None
    assert process.stdout is not None
    lines = station(WIDE, "EWR")
    process.stdin.write("".join(lines[:-1]))
    process.stdin.flush()
    last = pd.read_csv(WIDE).query("station == 'EWR'")["time"].str.replace("T", " ").str.replace("Z", "+00:00").iloc[-2]
    while not process.stdout.readline().startswith(last):  # never comes where answers wait for more rows
        pass
    process.stdin.write(lines[-1])
    process.stdin.flush()
    assert process.stdout.readline().startswith("2013-12-30 23:00:00+00:00,2013-12-31 00:00:00+00:00,EWR,")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert all(line.startswith("note: ") for line in err.splitlines())


# Classes


def patients(static: bool) -> LabelledSeries:
    rng = np.random.default_rng(3)
    lengths = rng.integers(3, 9, 12)
    features = rng.normal((60, 0.5), (10, 0.5), (12, 2)).astype(np.float32)
    features[5, 1] = np.nan
    return LabelledSeries(
        name="patients",
        channels=["hr", "temp"],
        classes=["ill", "well"],
        times=[np.cumsum(rng.uniform(0.5, 2, length)) for length in lengths],
        values=[
            np.where(rng.random((n, 2)) < 0.2, np.nan, rng.normal((80, 37), (9, 1), (n, 2))).astype("f4")
            for n in lengths
        ],
        labels=np.arange(12) % 2,
        ids=[f"p{n:02d}" for n in range(12)],
        static=features if static else None,
        static_names=["age", "risk"] if static else [],
        time_unit="1",
    )


def classifier(series: LabelledSeries) -> ClassificationModule:
    torch.manual_seed(0)
    network = S5Classifier(width=8, d_state=8)
    network.build(describe(series, np.arange(len(series))))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return ClassificationModule(network).eval()


def as_csv(series: LabelledSeries) -> str:
    """Write series in the order of time, so that they interleave, with every digit."""
    frames = []
    for n, name in enumerate(series.ids):
        frame = pd.DataFrame(
            {"id": name, "t": series.times[n], "hr": series.values[n][:, 0], "temp": series.values[n][:, 1]}
        )
        for k, feature in enumerate(series.static_names):
            assert series.static is not None
            frame[feature] = series.static[n, k]
        frames.append(frame)
    return pd.concat(frames).sort_values("t", kind="stable").to_csv(index=False)


@pytest.mark.parametrize("static", [False, True], ids=["values", "values and static features"])
def test_classes_of_files_and_streams(static: bool, tmp_path: Path):
    series = patients(static)
    module = classifier(series)
    expected = module.classify(series)
    assert np.ptp(expected[:, 0]) > 0.01
    text = as_csv(series)
    path = tmp_path / "patients.csv"
    path.write_text(text)
    options: dict[str, Any] = {"group_column": "id", "time_column": "t"}
    made = classify(module, input=path, output=tmp_path / "out.csv", figure=None, **options).table
    assert list(made["series"]) == series.ids
    np.testing.assert_allclose(made[["probability_ill", "probability_well"]], expected, atol=1e-6)

    said, _ = answers(module, text, run=stream_classes, **options)
    lines = text.splitlines(keepends=True)
    assert len(said) == len(lines) - 1
    header = "t,series,class,probability_ill,probability_well\n"
    assert said[0].startswith(header)
    for place in (0, 1, 20, 40, len(said) - 1):
        frame = pd.read_csv(io.StringIO(header + said[place].removeprefix(header)))
        name, stamp = frame.loc[0, "series"], lines[place + 1].split(",")[1]
        assert (len(frame), name) == (1, lines[place + 1].split(",")[0])
        assert said[place].removeprefix(header).split(",")[0] == f"{float(stamp):.15g}"
        own = [lines[0], *(line for line in lines[1 : place + 2] if line.startswith(f"{name},"))]
        path.write_text("".join(own))
        classify(module, input=path, output=tmp_path / "out.csv", figure=None, **options)
        answer = said[place].removeprefix(header).partition(",")[2]
        assert answer == (tmp_path / "out.csv").read_text().splitlines(keepends=True)[1]


def test_words_that_describe_a_series_are_read_as_the_model_knows_them(tmp_path: Path):
    series = patients(True)
    woman = np.arange(12) % 3 == 0
    known = replace(series, static=np.stack([woman, ~woman], 1).astype("f4"), static_names=["sex=f", "sex=m"])
    module = classifier(known)
    sex = dict(zip(known.ids, np.where(woman, "f", "m"), strict=True))
    table = pd.read_csv(io.StringIO(as_csv(series))).drop(columns=["age", "risk"])
    text = table.assign(sex=[sex[name] for name in table["id"]]).to_csv(index=False)
    (tmp_path / "in.csv").write_text(text)
    options: dict[str, Any] = {"group_column": "id", "time_column": "t"}
    made = classify(module, input=tmp_path / "in.csv", output=tmp_path / "out.csv", figure=None, **options).table
    np.testing.assert_allclose(made.iloc[:, 2:].to_numpy(), module.classify(known), atol=1e-6)
    said, _ = answers(module, text, run=stream_classes, **options)
    final = (tmp_path / "out.csv").read_text().splitlines(keepends=True)[1:]
    assert {answer.partition(",")[2] for answer in said} >= set(final)


def test_static_features_matter_and_their_columns_are_asked_for(tmp_path: Path):
    series = patients(True)
    module = classifier(series)
    path = tmp_path / "patients.csv"
    table = pd.read_csv(io.StringIO(as_csv(series)))

    def classified(frame: pd.DataFrame) -> np.ndarray:
        frame.to_csv(path, index=False)
        made = classify(module, input=path, output=tmp_path / "o.csv", figure=None, group_column="id", time_column="t")
        return made.table.iloc[:, 2:].to_numpy()

    plain = classified(table)
    assert np.abs(classified(table.assign(age=90.0)) - plain).max() > 1e-3
    # Told in one row of a series is told of the series.
    once = table.assign(age=table["age"].where(~table.duplicated("id")))
    np.testing.assert_array_equal(classified(once), plain)
    with pytest.raises(InputError, match="lacks columns of the static features age, risk"):
        classified(table.drop(columns=["age", "risk"]))
    with pytest.raises(InputError, match=r"lacks columns of the static features risk: did you mean .* 'rsk'\?"):
        classified(table.rename(columns={"risk": "rsk"}))
    with pytest.raises(InputError, match=r"row 3 has 'old' in column 'age', which is no number"):
        classified(table.astype({"age": object}).assign(age=["old" if n == 1 else 61 for n in range(len(table))]))
    with pytest.raises(InputError, match=r"in static column 'risk', which is to be the same in every row"):
        classified(table.assign(risk=range(len(table))))
    (tmp_path / "x.ts").write_text(
        "@problemName x\n@timestamps false\n@missing false\n@univariate false\n@dimensions 2\n@equalLength true\n"
        "@seriesLength 2\n@classLabel true a b\n@data\n1,2:3,4:a\n1,3:2,4:b\n"
    )
    with pytest.raises(InputError, match=r"\.ts file, which has no static features.*age, risk"):
        classify(module, input=tmp_path / "x.ts", output=tmp_path / "o.csv", figure=None)
