"""``integrand train APP --seeds N``: the runs that each seed makes alone, and their means and deviations."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from integrand.apps.cli import main
from integrand.apps.training.seed_groups import summarise
from integrand.apps.training.seeds import print_summary, train_seeds
from integrand.apps.training.session import Trained
from integrand.core.errors import InputError

FEW = ("--trainer.max_epochs", "1", "--trainer.limit_train_batches", "3")


@pytest.fixture(scope="module")
def words(small_words: list[str]) -> list[str]:
    return ["train", "timeseries", *small_words, *FEW]


@pytest.fixture(scope="module")
def folder(words: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the runs of seeds 4 and 5 and their summary are."""
    root = tmp_path_factory.mktemp("seeds")
    assert main([*words, "--runs", str(root), "--seeds", "2", "--seed", "4"]) == 0
    return root / "timeseries/weather"


def test_the_summary_is_the_mean_and_deviation_of_the_runs(folder: Path):
    assert sorted(path.name for path in folder.iterdir()) == ["1", "2", "seeds_4_5.html", "seeds_4_5.json"]
    summary = json.loads((folder / "seeds_4_5.json").read_text())
    results = [json.loads((folder / name / "results.json").read_text()) for name in ("1", "2")]
    assert [one["seed"] for one in results] == summary["seeds"] == [4, 5]
    assert (summary["runs"], summary["model"]) == (["1", "2"], "ssm_ode")
    assert summary["split_hash"] == results[0]["split_hash"] == results[1]["split_hash"]
    assert list(summary["metrics"]) == list(results[0]["metrics"])
    for who, metrics in summary["metrics"].items():
        for metric, spread in metrics.items():
            values = [one["metrics"][who][metric] for one in results]
            assert spread["values"] == values
            assert spread["mean"] == pytest.approx(np.mean(values), rel=1e-12)
            assert spread["std"] == pytest.approx(np.std(values, ddof=1), rel=1e-9, abs=1e-15)
    assert summary["metrics"]["ssm_ode"]["crps"]["std"] > 0
    page = (folder / "seeds_4_5.html").read_text()
    assert "2 runs compared" in page


def test_a_run_of_seeds_is_the_run_of_its_seed_alone(words: list[str], folder: Path, tmp_path: Path):
    assert main([*words, "--runs", str(tmp_path), "--seed", "5"]) == 0
    alone, among = tmp_path / "timeseries/weather/1", folder / "2"
    assert (alone / "metrics.csv").read_bytes() == (among / "metrics.csv").read_bytes()
    assert json.loads((alone / "results.json").read_text()) == json.loads((among / "results.json").read_text())


def test_a_summary_is_not_written_over_and_a_stop_ends_all(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """The runs stand in for trainings: what is tried is what comes after them."""
    from integrand.apps.commands.train import parse
    from integrand.apps.registry import application
    from integrand.apps.training import seeds
    from integrand.apps.training.run_folder import RunFolder

    place = shutil.copytree(folder, tmp_path / "runs")
    asked = []

    def trained(app, request):
        asked.append(request.seed)
        return Trained(RunFolder(place / str(request.seed + 1)), 143 if request.seed == 2 else 0)

    monkeypatch.setattr(seeds, "train", trained)
    (place / "seeds_0_1.json").write_text("mine")
    assert train_seeds(application("timeseries"), parse(["--seeds", "2"])) == 0
    assert (place / "seeds_0_1.json").read_text() == "mine"
    written = json.loads((place / "seeds_0_1_2.json").read_text())
    assert written["seeds"] == [0, 1]
    out = capsys.readouterr().out
    assert str(place / "seeds_0_1_2.json") in out
    crps = written["metrics"]["ridge"]["crps"]
    assert f"{crps['mean']:.4f}" in out
    assert f"±{crps['std']:.4f}" in out

    asked.clear()
    assert train_seeds(application("timeseries"), parse(["--seeds", "5", "--seed", "1"])) == 143
    assert asked == [1, 2]
    assert "stopped in seed 2: seeds 3 to 5 were not begun" in capsys.readouterr().err


def test_a_metric_without_a_value_has_no_mean(capsys: pytest.CaptureFixture[str]):
    one = {"app": "a", "dataset": "d", "split_hash": "h", "model": "m", "metrics": {"m": {"auroc": None, "mae": 1.0}}}
    summary = summarise([one, one], [0, 1], ["1", "2"])
    assert summary["metrics"]["m"]["auroc"] == {"mean": None, "std": None, "values": [None, None]}
    print_summary(summary)
    assert "–" in capsys.readouterr().out
    with pytest.raises(InputError, match="differ in split_hash: g, h"):
        summarise([one, one | {"split_hash": "g"}], [0, 1], ["1", "2"])


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ("--seeds 3 --resume runs/timeseries/weather/1", "--seeds makes new runs and --resume goes on with one"),
        ("--seeds 1", "option --seeds takes a whole number of at least 2, got '1'"),
        ("--seeds many", "option --seeds takes a whole number of at least 2, got 'many'"),
        ("--seeds", "option --seeds needs a value"),
        ("--seeds 2 --data.seed 3", "--seeds gives each run a seed of its own: leave --data.seed out"),
        ("--seeds 2 --data.sead 3", "did you mean '--data.seed'?"),
        ("--seeds 2 --trainer.devices 2 --trainer.accelerator cpu", "--seeds trains in one process"),
    ],
)
def test_what_does_not_go_together_is_refused(options: str, told: str, tmp_path: Path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["train", "timeseries", *options.split()]) == 2
    assert told in capsys.readouterr().err.splitlines()[-1]
    assert not list(tmp_path.glob("runs/*/*/*"))
