"""Classification from files to report: every network, what a run leaves, predictions, and what users get wrong."""

import copy
import inspect
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from integrand.apps.application import load
from integrand.apps.cli import main
from integrand.apps.series.classification.parts import SeriesOfPart, describe, standardised
from integrand.apps.timeseries import APPLICATION
from integrand.apps.timeseries.classification.data import ClassificationData
from integrand.apps.timeseries.classification.module import ClassificationModule
from integrand.apps.training.class_figures import reliability
from integrand.apps.training.class_scores import confusion
from integrand.core.errors import InputError
from integrand.datasets.labelled import LabelledSeries

TASK = APPLICATION.task("classification")
SMALL = {"width": 8, "d_state": 8, "hidden": 8, "d_time": 8, "references": 8}
FOR_GAPS = {"gru_d": ("encoder.input_rate", "encoder.input_bias")}
"""Parameters that only missing values ask for."""
CLASSES = ("fast", "slow", "still")


def series(count: int = 24, *, missing: float = 0.0, seed: int = 0, irregular: bool = False) -> LabelledSeries:
    """Two channels with a sine of the class's own frequency in noise, of 12 to 20 elements."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % len(CLASSES)
    times, values = [], []
    for label in labels:
        length = int(rng.integers(12, 21))
        t = np.cumsum(rng.exponential(1.0, length) + 0.05) if irregular else np.arange(float(length))
        phase = (1.6, 0.5, 0.0)[label] * t + rng.uniform(0, 2 * np.pi)
        x = np.stack([np.sin(phase), np.cos(phase)], axis=1) + 0.2 * rng.standard_normal((length, 2))
        x[rng.random(x.shape) < missing] = np.nan
        times.append(t.astype(np.float64))
        values.append(x.astype(np.float32))
    return LabelledSeries(
        name="tones",
        channels=["sine", "cosine"],
        classes=list(CLASSES),
        times=times,
        values=values,
        labels=labels.astype(np.int64),
        ids=[f"tone{i}" for i in range(count)],
        parts=["train" if i < count * 2 // 3 else "test" for i in range(count)],
    )


def write_ts(path: Path, given: LabelledSeries) -> Path:
    """Write series as a ``.ts`` file; our own words, so that reader and writer share nothing."""
    lines = ["@problemName Tones", "@timeStamps false", "@missing true", "@univariate false", "@dimensions 2"]
    lines += ["@equalLength false", f"@classLabel true {' '.join(given.classes)}", "@data"]
    for values, label in zip(given.values, given.labels, strict=True):
        channels = [",".join("?" if np.isnan(v) else f"{v:.5f}" for v in column) for column in values.T]
        lines.append(":".join([*channels, given.classes[label]]))
    path.write_text("\n".join(lines) + "\n")
    return path


def network(name: str, given: LabelledSeries):
    torch.manual_seed(0)
    kind = load(TASK.models[name])
    taken = inspect.signature(kind).parameters
    made = kind(**{option: value for option, value in SMALL.items() if option in taken})
    made.build(describe(given, np.arange(len(given))))
    return made.eval()


@pytest.mark.parametrize("kind", ["complete", "missing", "irregular"])
@pytest.mark.parametrize("name", TASK.models)
class TestNetworks:
    def given(self, kind: str) -> LabelledSeries:
        return series(6, missing=0.3 if kind == "missing" else 0.0, irregular=kind == "irregular")

    def test_a_batch_equals_its_series_one_by_one(self, name: str, kind: str):
        """Longer and shorter ones beside it, padded, change nothing for a series."""
        given = self.given(kind)
        made = network(name, given)
        task = made.built_for
        together = made(standardised(given, task))
        assert together.shape == (6, 3)
        alone = torch.cat([made(standardised(given.at([row]), task)) for row in range(6)])
        # Regular intervals are one number alone and in the batch; sums differ in order, some 20 terms of size 1.
        torch.testing.assert_close(alone, together, rtol=2e-4, atol=2e-4)

    def test_every_parameter_learns(self, name: str, kind: str):
        given = self.given(kind)
        made = network(name, given).train()
        batch = standardised(given, made.built_for)
        torch.nn.functional.cross_entropy(made(batch), torch.from_numpy(given.labels)).backward()
        for label, parameter in made.named_parameters():
            assert parameter.grad is not None, label
            if kind != "missing" and label in FOR_GAPS.get(name, ()):
                continue
            assert torch.isfinite(parameter.grad).all(), label
            assert torch.count_nonzero(parameter.grad) > 0, label

    def test_a_checkpoint_builds_it_again(self, name: str, kind: str):
        given = self.given(kind)
        module = ClassificationModule(network(name, given)).eval()
        said = {"app": "timeseries", **module.describe()}
        again = ClassificationModule.from_checkpoint({"integrand": said, "state_dict": module.state_dict()})
        batch = standardised(given, module.network.built_for)
        torch.testing.assert_close(again(batch), module(batch), rtol=0, atol=0)
        torch.testing.assert_close(module(batch).sum(-1), torch.ones(6))


def test_time_matters_to_every_network():
    """The same values at other times are another series: the irregular batch is not read as a regular one."""
    given = series(6, irregular=True)
    slow = copy.deepcopy(given)
    for times in slow.times:
        times[1::2] += 0.04
    for name in TASK.models:
        made = network(name, given)
        first, second = (made(standardised(each, made.built_for)) for each in (given, slow))
        assert not torch.allclose(first, second, atol=1e-6), name


# Data


def test_scales_and_classes_are_those_of_training_alone():
    given = series()
    rows = np.arange(16)
    task = describe(given, rows)
    seen = np.concatenate([given.values[row] for row in rows])
    np.testing.assert_allclose(task.location, seen.astype(np.float64).mean(0), rtol=1e-6)
    np.testing.assert_allclose(task.scale, seen.astype(np.float64).std(0), rtol=1e-6)
    wild = copy.deepcopy(given)
    wild.values[-1][:] = 1e6
    assert describe(wild, rows) == task


def test_noise_and_drops_are_functions_of_the_index():
    given = series(missing=0.2)
    task = describe(given, np.arange(24))
    part = SeriesOfPart(given, task, np.arange(24), noise=0.5, drop=0.3, seed=3)
    one, again, later = part.__getitems__([2, 5]), part.__getitems__([2, 5]), part.__getitems__([26, 29])
    assert torch.equal(one.values, again.values)
    assert not torch.equal(one.values, later.values[:, : one.values.shape[1]])
    torch.testing.assert_close(part.__getitems__([5]).values[0, :8], one.values[1, :8], rtol=0, atol=0)
    for batch in (one, later, part.whole()):
        batch.check()
    assert (one.lengths < part.whole().lengths[[2, 5]]).all()
    assert torch.equal(part.whole().values, standardised(given, task).values)


def test_a_class_without_training_series_is_named():
    given = series()
    with pytest.raises(InputError, match="class 'still' has no series in the training part"):
        describe(given, np.flatnonzero(given.labels < 2))


def test_no_validation_part(tmp_path: Path):
    given = series()
    write_ts(tmp_path / "Tones_TRAIN.ts", given.at(range(16)))
    write_ts(tmp_path / "Tones_TEST.ts", given.at(range(16, 24)))
    data = ClassificationData(str(tmp_path / "Tones_TRAIN.ts"), validation=0.0)
    assert not data.validates
    assert len(data.part("train")) == 16
    data = ClassificationData(str(tmp_path), validation=0.25)
    assert (len(data.part("train")), len(data.part("validation")), len(data.part("test"))) == (12, 4, 8)
    shares = ClassificationData(str(tmp_path), protocol="random", split_seed=1)
    assert sum(len(shares.part(part)) for part in ("train", "validation", "test")) == 24
    others = ClassificationData(str(tmp_path), protocol="random", split_seed=2)
    same = ClassificationData(str(tmp_path), protocol="random", split_seed=1, seed=5)
    others.setup()
    same.setup()
    assert shares.split.hash == same.split.hash != others.split.hash


def test_a_csv_with_classes(tmp_path: Path):
    rows = [
        f"{name},{t},{x},{given},{label}"
        for given, name, label in ((n, f"s{n}", CLASSES[n % 3]) for n in range(12))
        for t, x in ((0.0, 1.5), (2.0, 2.5))
    ]
    path = tmp_path / "mine.csv"
    path.write_text("\n".join(["patient,time,x,y,kind", *rows]) + "\n")
    data = ClassificationData(str(path), protocol="random", fractions=(0.5, 0.25, 0.25), label_column="kind")
    data.setup()
    assert (data.task.channels, data.task.classes) == (["x", "y"], list(CLASSES))
    assert [len(data.part(part)) for part in ("train", "validation", "test")] == [6, 3, 3]
    with pytest.raises(InputError, match=r"mine\.csv has no official split: take --data\.protocol random"):
        ClassificationData(str(path), label_column="kind").setup()
    with pytest.raises(InputError, match="unknown label column 'label'"):
        ClassificationData(str(path)).setup()


# Pictures


def test_confusion_and_reliability_count_right():
    labels, predicted = np.array([0, 0, 1, 2, 2, 2]), np.array([0, 1, 1, 2, 2, 0])
    assert confusion(labels, predicted, 3).tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 2]]
    p = np.array([[0.9, 0.1], [0.6, 0.4], [0.3, 0.7], [0.45, 0.55]])
    confidence, share = reliability(p, np.array([0, 1, 1, 1]), 2)
    np.testing.assert_allclose(confidence, [(0.55 + 0.6) / 2, (0.7 + 0.9) / 2])
    np.testing.assert_allclose(share, [0.5, 1.0])


# Runs


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training and a test file of tones."""
    path = tmp_path_factory.mktemp("tones")
    given = series(60, missing=0.1)
    write_ts(path / "Tones_TRAIN.ts", given.at(range(36)))
    write_ts(path / "Tones_TEST.ts", given.at(range(36, 60)))
    return path


@pytest.fixture(scope="module")
def run(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on them."""
    root = tmp_path_factory.mktemp("runs")
    words = ["train", "timeseries", "--task", "classification", "--dataset", str(folder), "--runs", str(root)]
    words += ["--data.validation", "0.25", "--data.batch_size", "8", "--trainer.max_epochs", "30"]
    words += ["--model.network.width", "16", "--model.network.d_state", "8", "--model.warmup_steps", "10"]
    words += ["--trainer.accelerator", "cpu"]  # as ``evaluate`` below, which must find the same to the last digit
    assert main(words) == 0
    return root / "timeseries" / "japanese_vowels" / "1"


def test_a_run_is_complete_and_learns(run: Path):
    results = json.loads((run / "results.json").read_text())
    assert list(results["metrics"]) == ["s5", "majority", "nearest neighbour", "ridge", "rocket"]
    assert (results["task"], results["model"]) == ("classification", "s5")
    assert results["samples"] == {"name": "series", "train": 27, "validation": 9, "test": 24}
    # Three classes of 8 test series each: to guess is right in a third, by more than four deviations not in 3 of 4.
    assert results["metrics"]["s5"]["accuracy"] >= 0.75
    assert results["metrics"]["majority"]["accuracy"] == pytest.approx(1 / 3)
    names = {path.name for path in (run / "figures").glob("*.png")}
    assert {"comparison.png", "confusion.png", "reliability.png", "examples.png", "training.png"} <= names
    page = (run / "report.html").read_text()
    assert "balanced accuracy" in page
    assert "test series" in page
    assert json.loads((run / "environment.json").read_text())["task"] == "classification"


def test_evaluate_repeats_the_scores(run: Path):
    before = json.loads((run / "results.json").read_text())
    assert main(["evaluate", str(run), "--accelerator", "cpu"]) == 0
    assert json.loads((run / "results.json").read_text()) == before


def test_predictions_of_both_forms_agree(run: Path, folder: Path, tmp_path: Path):
    given = series(60, missing=0.1).at(range(36, 60))
    frames = [
        pd.DataFrame({"id": name, "time": times, "channel_1": values[:, 0], "channel_2": values[:, 1]})
        for name, times, values in zip(given.ids, given.times, given.values, strict=True)
    ]
    table = tmp_path / "tones.csv"
    pd.concat(frames).to_csv(table, index=False, float_format="%.5f")
    words = ["predict", str(run), "--accelerator", "cpu", "--input"]
    assert main([*words, str(folder / "Tones_TEST.ts"), "--output", str(tmp_path / "ts.csv")]) == 0
    grouped = [str(table), "--group-column", "id", "--time-column", "time", "--output", str(tmp_path / "csv.csv")]
    assert main([*words, *grouped]) == 0
    one, other = pd.read_csv(tmp_path / "ts.csv"), pd.read_csv(tmp_path / "csv.csv").set_index("series").loc[given.ids]
    assert list(one.columns) == ["series", "class", *(f"probability_{name}" for name in CLASSES)]
    np.testing.assert_allclose(one.iloc[:, 2:].to_numpy(), other.iloc[:, 1:].to_numpy(), atol=2e-6)  # six decimals
    np.testing.assert_allclose(one.iloc[:, 2:].sum(axis=1), 1, atol=2e-6)
    expected = np.asarray(CLASSES)[one.iloc[:, 2:].to_numpy().argmax(1)]
    assert one["class"].tolist() == expected.tolist()
    assert (tmp_path / "ts.png").stat().st_size > 0
    results = json.loads((run / "results.json").read_text())
    right = (one["class"].to_numpy() == np.asarray(CLASSES)[given.labels]).mean()
    assert right == pytest.approx(results["metrics"]["s5"]["accuracy"])


# What users get wrong


def complaint(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert main(words) == 2
    return capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--task clasification", "unknown task of timeseries 'clasification': did you mean 'classification'"),
        ("--task classification --recipe weather", "the recipe weather is for forecasting, not for classification"),
        ("--dataset gun_point", "dataset 'gun_point' is for classification, not for forecasting: add --task"),
        ("--model lem", "model 'lem' is for classification, not for forecasting: add --task classification"),
        ("--task classification --dataset gun_pont", "unknown dataset 'gun_pont': did you mean 'gun_point'"),
        ("--task classification --model s6", "unknown model 's6': did you mean 's5'"),
        ("--task classification --data.validation 1", "data.validation=1.0 is out of range: it must lie in [0, 1)"),
        ("--task classification --data.protocol leaky", "data.protocol"),
        ("--task classification --dataset nowhere/X_TRAIN.ts", "nowhere"),
    ],
)
def test_a_wrong_word_gets_one_line(words: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert told in complaint(["train", "timeseries", "--runs", str(tmp_path), *words.split()], capsys)
    assert not list(tmp_path.glob("**/config.yaml"))


def test_options_of_another_task_are_refused(run: Path, folder: Path, capsys: pytest.CaptureFixture[str]):
    told = complaint(["predict", str(run), "--input", str(folder / "Tones_TEST.ts"), "--horizon", "3"], capsys)
    assert told == "error: option --horizon is not for classification: leave it out."


def test_series_of_another_kind_are_refused(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "other.csv").write_text("id,time,speed\na,0,1.0\na,1,2.0\nb,0,1.0\n")
    told = complaint(["predict", str(run), "--input", str(tmp_path / "other.csv"), "--group-column", "id"], capsys)
    assert "has the channels speed, none of those the run was trained on: channel_1, channel_2" in told
    given = series(3)
    one = write_ts(tmp_path / "one.ts", given).read_text().replace("@dimensions 2", "@dimensions 3")
    (tmp_path / "three.ts").write_text(
        one.replace(":fast", ":1,2:fast").replace(":slow", ":1:slow").replace(":still", ":0:still")
    )
    assert "has 3 channels, the run was trained on 2" in complaint(
        ["predict", str(run), "--input", str(tmp_path / "three.ts")], capsys
    )
