"""A training from command to report: what it leaves behind, that it repeats, and that no accident loses it."""

import getpass
import json
import os
import pickle
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
import yaml
from lightning import Trainer
from torch import Tensor

from integrand.apps.cli import main
from integrand.apps.timeseries.forecasting.data import ForecastingData
from integrand.apps.timeseries.forecasting.models.ssm_ode import SSMODE
from integrand.apps.timeseries.forecasting.module import ForecastingModule
from integrand.apps.training.callbacks import LastCheckpoint
from integrand.apps.training.checkpoints import AtomicCheckpointIO, read_checkpoint
from integrand.apps.training.metrics_log import MetricsLog, read_metrics
from integrand.apps.training.module import TrainingDiverged

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
STEPS_AN_EPOCH = 31


class Outcome(NamedTuple):
    """What must repeat of a run."""

    metrics_csv: bytes
    results: dict[str, Any]


def outcome(run: Path) -> Outcome:
    return Outcome((run / "metrics.csv").read_bytes(), json.loads((run / "results.json").read_text()))


def fails(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Carry out words that must fail as a user's mistake, and return the one line they print last."""
    capsys.readouterr()
    assert main(words) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith("error: ")
    assert not any(line.startswith("Traceback") for line in lines)
    return lines[-1]


# What a run leaves


def test_the_run_folder_is_complete(tiny_run):
    run = tiny_run.path
    for name in ("config.yaml", "metrics.csv", "results.json", "environment.json", "report.html"):
        assert (run / name).stat().st_size > 0
    assert {p.name for p in (run / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    assert len(list((run / "figures").glob("*.png"))) >= 4
    assert not [p for p in run.rglob("*") if p.name.endswith(".part") or p.name == ".probe"]
    assert str(run) in tiny_run.err
    assert str(run / "report.html") in tiny_run.err.splitlines()[-1]


def test_the_results_hold_model_and_baselines(tiny_run):
    results = json.loads((tiny_run.path / "results.json").read_text())
    assert {"app", "dataset", "split_hash", "seed", "model", "metrics"} <= results.keys()
    assert (results["app"], results["dataset"], results["model"]) == ("timeseries", "nyc_weather", "ssm_ode")
    assert list(results["metrics"]) == ["ssm_ode", "persistence", "seasonal naive", "ridge"]
    for scores in results["metrics"].values():
        assert {"crps", "mae", "mse", "coverage"} <= scores.keys()
        assert all(np.isfinite(value) for value in scores.values())
    for who in results["metrics"]:
        assert f"\n {who} " in tiny_run.out
        low, high = results["intervals"][who]["crps"]
        assert low < results["metrics"][who]["crps"] < high


def test_the_environment_tells_all_and_nothing_personal(tiny_run):
    environment = json.loads((tiny_run.path / "environment.json").read_text())
    results = json.loads((tiny_run.path / "results.json").read_text())
    assert environment["packages"]["torch"] == torch.__version__
    assert environment["packages"]["numpy"] == np.__version__
    assert environment["python"] == ".".join(map(str, sys.version_info[:3]))
    assert environment["seed"] == 0
    assert environment["split_hash"] == results["split_hash"]
    assert len(environment["data_checksum"]) == 16
    assert environment["command"][0] == "integrand"
    assert environment["device"] == "CPU" or torch.accelerator.is_available()
    rest = json.dumps({name: value for name, value in environment.items() if name != "command"})
    for secret in {socket.gethostname(), getpass.getuser(), str(Path.home()), str(Path.cwd())}:
        assert secret not in rest


def test_the_configuration_is_resolved(tiny_run):
    config = yaml.safe_load((tiny_run.path / "config.yaml").read_text())
    assert config["seed_everything"] == 0
    assert config["data"]["stride"] == 24
    assert config["model"]["network"]["init_args"]["width"] == 8
    assert config["trainer"]["max_epochs"] == 1


@pytest.mark.parametrize("name", ["best", "last"])
def test_checkpoints_are_tensors_and_plain_values(tiny_run, name: str):
    checkpoint = torch.load(tiny_run.path / f"checkpoints/{name}.ckpt", weights_only=True)
    assert checkpoint["integrand"]["app"] == "timeseries"
    assert all(tensor.isfinite().all() for tensor in checkpoint["state_dict"].values())


# Repeating


@pytest.fixture(scope="module")
def reference(small_words: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that the others must repeat; nobody changes it."""
    root = tmp_path_factory.mktemp("reference")
    assert main(["train", "timeseries", *small_words, "--runs", str(root)]) == 0
    return root / "timeseries/weather/1"


def test_the_same_seed_gives_the_same_run(reference: Path, small_words: list[str], tmp_path: Path):
    assert main(["train", "timeseries", *small_words, "--runs", str(tmp_path), "--seed", "0"]) == 0
    assert outcome(tmp_path / "timeseries/weather/1") == outcome(reference)


def test_another_seed_gives_another_run_beside_the_first(reference: Path, small_words: list[str]):
    before = outcome(reference)
    assert main(["train", "timeseries", *small_words, "--runs", str(reference.parents[2]), "--seed", "1"]) == 0
    other = outcome(reference.parent / "2").results
    assert outcome(reference) == before
    assert (other["seed"], before.results["seed"]) == (1, 0)
    assert other["split_hash"] == before.results["split_hash"]
    assert other["metrics"]["ssm_ode"] != before.results["metrics"]["ssm_ode"]


# Stopping and going on


def start(words: list[str], root: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "integrand", "train", "timeseries", *words, "--runs", str(root)],
        env=ENVIRONMENT,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )


def stop_after(process: "subprocess.Popen[str]", checkpoint: Path, writings: int, number: signal.Signals) -> str:
    """Send a signal when the checkpoint was written so many times, and return standard error."""
    seen: set[int] = set()
    end = time.monotonic() + 60
    while len(seen) < writings and process.poll() is None and time.monotonic() < end:
        if checkpoint.exists():
            seen.add(checkpoint.stat().st_mtime_ns)
        time.sleep(0.002)
    process.send_signal(number)
    return process.communicate(timeout=60)[1]


@pytest.mark.slow
def test_a_killed_run_goes_on_exactly(reference: Path, small_words: list[str], tmp_path: Path):
    run = tmp_path / "timeseries/weather/1"
    process = start([*small_words, "--save-every", "7"], tmp_path)
    stop_after(process, run / "checkpoints/last.ckpt", 6, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    step = read_checkpoint(run / "checkpoints/last.ckpt")["global_step"]
    assert STEPS_AN_EPOCH < step < 3 * STEPS_AN_EPOCH, "not in the second epoch, after validations"
    assert step % STEPS_AN_EPOCH != 0, "not in the middle of an epoch"
    assert not (run / "results.json").exists()

    assert main(["train", "timeseries", "--resume", str(run)]) == 0
    assert outcome(run) == outcome(reference)


def test_a_terminated_run_says_how_to_go_on_and_does(reference: Path, small_words: list[str], tmp_path: Path):
    run = tmp_path / "timeseries/weather/1"
    process = start([*small_words, "--save-every", "7"], tmp_path)
    err = stop_after(process, run / "checkpoints/last.ckpt", 1, signal.SIGTERM)
    assert process.returncode == 128 + signal.SIGTERM
    assert f"integrand train timeseries --resume {run}" in err.splitlines()[-1]
    assert "Traceback" not in err
    step = read_checkpoint(run / "checkpoints/last.ckpt")["global_step"]
    assert f"at step {step}" in err.splitlines()[-1]

    moved = shutil.move(run, tmp_path / "elsewhere")  # a run may be copied to another disk before it goes on
    assert main(["train", "timeseries", "--resume", str(moved)]) == 0
    assert outcome(Path(moved)) == outcome(reference)


def test_a_finished_run_resumed_stays_as_it_is(reference: Path, tmp_path: Path):
    run = shutil.copytree(reference, tmp_path / "finished")
    assert main(["train", "timeseries", "--resume", str(run)]) == 0
    assert outcome(run) == outcome(reference)


def test_a_finished_run_can_be_trained_longer(reference: Path, tmp_path: Path):
    run = shutil.copytree(reference, tmp_path / "longer")
    # The best score so far is one that no later validation reaches; that the folder has moved must not matter.
    path = run / "checkpoints/last.ckpt"
    checkpoint = torch.load(path, weights_only=True)
    (state,) = (state for name, state in checkpoint["callbacks"].items() if "BestCheckpoint" in name)
    state["best_model_score"] = state["kth_value"] = torch.tensor(-1.0)
    state["best_k_models"] = {name: torch.tensor(-1.0) for name in state["best_k_models"]}
    torch.save(checkpoint, path)
    best = (run / "checkpoints/best.ckpt").read_bytes()

    assert main(["train", "timeseries", "--resume", str(run), "--trainer.max_epochs", "4"]) == 0
    rows = read_metrics(run / "metrics.csv")
    assert rows[: len(read_metrics(reference / "metrics.csv"))] == read_metrics(reference / "metrics.csv")
    assert max(row["epoch"] for row in rows) == 3
    assert read_checkpoint(path)["global_step"] == 4 * STEPS_AN_EPOCH
    assert (run / "checkpoints/best.ckpt").read_bytes() == best


# Divergence


class BadAt(ForecastingModule):
    """The module, except that at one step its loss, or the gradient of its loss, is not a number."""

    at, what = 12, "loss"

    def loss(self, batch: Any) -> tuple[Tensor, dict[str, Tensor]]:
        loss, logged = super().loss(batch)
        if self.global_step == self.at:
            weight = next(self.network.parameters())
            # sqrt has an infinite slope at 0: the value stays, the gradient is inf * 0.
            bad = (weight.sum() * 0).sqrt() if self.what == "gradient" else weight.sum() * float("nan")
            loss = loss + bad
        return loss, logged


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_a_bad_number_stops_the_training_and_the_last_good_checkpoint_stays(small_csv: Path, tmp_path: Path, what: str):
    data = ForecastingData(str(small_csv), group_column="site", context=24, horizon=12, batch_size=16)
    module = BadAt(SSMODE(width=8, d_state=8, hidden=8, latent=8))
    module.what = what
    last = tmp_path / "last.ckpt"
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=1,
        log_every_n_steps=1,
        logger=False,
        callbacks=[LastCheckpoint(last, every=1, metrics=MetricsLog(tmp_path / "metrics.csv"))],
        plugins=[AtomicCheckpointIO()],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    with pytest.raises(TrainingDiverged, match=r"at step 1[23].*--model\.learning_rate"):
        trainer.fit(module, data)
    kept = read_checkpoint(last)
    assert kept["global_step"] == 12  # twelve good steps: 0 to 11
    for name, tensor in {**kept["state_dict"], **{f"trained {n}": t for n, t in kept["trained"].items()}}.items():
        assert tensor.isfinite().all(), name


def test_a_diverging_run_names_step_and_cure(
    small_words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    words = ["train", "timeseries", *small_words, "--runs", str(tmp_path), "--model.learning_rate", "1e38"]
    told = fails([*words, "--trainer.gradient_clip_val", "null", "--save-every", "1"], capsys)
    assert "step" in told
    assert "try a smaller --model.learning_rate (now 1e+38)" in told
    checkpoints = list((tmp_path / "timeseries/weather/1/checkpoints").glob("*.ckpt"))
    for path in checkpoints:
        assert all(tensor.isfinite().all() for tensor in read_checkpoint(path)["state_dict"].values()), path


# Folders


@pytest.mark.parametrize("below", ["", "deeper"])
def test_an_unwritable_place_is_refused_before_training(
    small_words: list[str], tmp_path: Path, below: str, capsys: pytest.CaptureFixture[str]
):
    file = tmp_path / "file"
    file.write_text("not a folder")
    told = fails(["train", "timeseries", *small_words, "--runs", str(file / below)], capsys)
    assert f"cannot write the run folder under {file / below}" in told
    assert "--runs DIR" in told


def test_a_full_disk_is_refused_before_training(
    small_words: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: type(usage)(usage.total, usage.total - 1_000_000, 1_000_000))
    told = fails(["train", "timeseries", *small_words, "--runs", str(tmp_path)], capsys)
    assert "1 MB free" in told
    assert "--runs DIR" in told


def test_a_mistake_leaves_no_empty_run_behind(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    told = fails(["train", "timeseries", "--runs", str(tmp_path), "--data.context", "-1"], capsys)
    assert "data.context" in told
    assert not [p for p in tmp_path.rglob("*") if p.is_file() or p.name.isdecimal()]


# Resuming what cannot be resumed


def test_resume_refuses_what_is_no_run(tiny_run, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert "there is no run folder" in fails(["train", "timeseries", "--resume", str(tmp_path / "no")], capsys)
    assert "is not a run folder" in fails(["train", "timeseries", "--resume", str(tmp_path)], capsys)
    above = tiny_run.path.parent
    assert f"Did you mean {tiny_run.path}?" in fails(["train", "timeseries", "--resume", str(above)], capsys)
    assert f"Did you mean {tiny_run.path}?" in fails(["evaluate", str(above)], capsys)


def test_resume_refuses_a_run_of_another_application(tiny_copy: Path, capsys: pytest.CaptureFixture[str]):
    said = json.loads((tiny_copy / "environment.json").read_text())
    (tiny_copy / "environment.json").write_text(json.dumps({**said, "app": "physics"}))
    told = fails(["train", "timeseries", "--resume", str(tiny_copy)], capsys)
    assert "is a run of the application 'physics', not of 'timeseries'" in told


@pytest.mark.parametrize(
    "option",
    [
        ["--seed", "1"],
        ["--recipe", "weather"],
        ["--model", "ode_rnn"],
        ["--dataset", "etth1"],
        ["--model.network.width", "9"],
        ["--model.learning_rate=1"],
        ["--data.stride", "2"],
        ["--seed_everything", "3"],
    ],
    ids=" ".join,
)
def test_resume_refuses_other_options(tiny_run, option: list[str], capsys: pytest.CaptureFixture[str]):
    told = fails(["train", "timeseries", "--resume", str(tiny_run.path), *option], capsys)
    assert "from the run" in told


def test_resume_without_a_checkpoint(tiny_copy: Path, capsys: pytest.CaptureFixture[str]):
    (tiny_copy / "checkpoints/last.ckpt").unlink()
    assert "there is no checkpoint" in fails(["train", "timeseries", "--resume", str(tiny_copy)], capsys)


# Checkpoints that are not


class Payload:
    """Makes a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def spoil(path: Path, how: str, proof: Path) -> None:
    whole = path.read_bytes()
    if how == "truncated":
        path.write_bytes(whole[: len(whole) // 2])
    elif how == "short":
        path.write_bytes(whole[:20])
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "text":
        path.write_text("these are not the weights you are looking for\n")
    elif how == "foreign":
        torch.save({"state_dict": {}, "epoch": 3}, path)
    elif how == "list":
        torch.save([1, 2], path)
    elif how == "pickle":
        path.write_bytes(pickle.dumps(Payload(proof)))
    elif how == "torch with an object":
        torch.save({**torch.load(path, weights_only=True), "extra": Payload(proof)}, path)
    elif how == "another application":
        checkpoint = torch.load(path, weights_only=True)
        checkpoint["integrand"]["app"] = "physics"
        torch.save(checkpoint, path)


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("truncated", "truncated or damaged"),
        ("short", ""),
        ("empty", "truncated or damaged"),
        ("text", ""),
        ("foreign", "not a checkpoint of integrand"),
        ("list", "not a checkpoint of integrand"),
        ("pickle", "could run code"),
        ("torch with an object", "could run code"),
        ("another application", "of the application 'physics', not of 'timeseries'"),
    ],
)
def test_a_bad_checkpoint_is_refused(
    tiny_copy: Path, tmp_path: Path, how: str, reason: str, capsys: pytest.CaptureFixture[str]
):
    proof = tmp_path / "executed"
    for name in ("best", "last"):
        spoil(tiny_copy / f"checkpoints/{name}.ckpt", how, proof)
    before = outcome(tiny_copy)
    for words in (["evaluate", str(tiny_copy)], ["train", "timeseries", "--resume", str(tiny_copy)]):
        told = fails(words, capsys)
        assert reason in told
        assert ".ckpt" in told
    assert not proof.exists()
    assert outcome(tiny_copy) == before


def test_noise_is_never_taken_for_a_checkpoint(tmp_path: Path):
    from integrand.core.errors import InputError

    rng = np.random.default_rng(0)
    path = tmp_path / "noise.ckpt"
    for size in rng.integers(1, 300, 400):
        path.write_bytes(rng.bytes(size))
        with pytest.raises(InputError):
            read_checkpoint(path)


# Evaluating again


def test_evaluate_repeats_the_results(reference: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    run = shutil.copytree(reference, tmp_path / "again")
    (run / "results.json").unlink()
    assert main(["evaluate", str(run)]) == 0
    assert outcome(run) == outcome(reference)
    assert "\n ridge " in capsys.readouterr().out


def test_changed_data_are_refused(
    small_csv: Path, small_words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    data = Path(shutil.copy(small_csv, tmp_path / "mine.csv"))
    words = [str(data) if word == str(small_csv) else word for word in small_words]
    assert main(["train", "timeseries", *words, "--runs", str(tmp_path), "--trainer.max_epochs", "1"]) == 0
    run = tmp_path / "timeseries/weather/1"
    before = outcome(run)
    lines = data.read_text().splitlines()
    stamp, site, level, _ = lines[100].split(",")
    lines[100] = f"{stamp},{site},{level},1.25"
    data.write_text("\n".join(lines) + "\n")
    for command in (["evaluate", str(run)], ["train", "timeseries", "--resume", str(run)]):
        assert "are not those of the run" in fails(command, capsys)
    assert outcome(run) == before
