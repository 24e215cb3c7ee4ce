"""A tiny run on the default data that tests may read but not change, and small data for those that train."""

import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
import torch
from lightning import Trainer

from integrand.apps.cli import main
from integrand.apps.medical.beats.data import BeatData
from integrand.apps.medical.beats.models.beat_network import S5BeatNetwork
from integrand.apps.medical.beats.module import BeatModule
from integrand.apps.timeseries.forecasting.data import ForecastingData
from integrand.apps.timeseries.forecasting.models.ssm_ode import SSMODE
from integrand.apps.timeseries.forecasting.module import ForecastingModule
from integrand.apps.training.files import write_json
from integrand.datasets.load_samples import load_samples

TINY = (
    "--model.network.width=8",
    "--model.network.d_state=8",
    "--model.network.hidden=8",
    "--model.network.latent=8",
)
"""Options that make every network small."""


class TinyRun(NamedTuple):
    """A finished run: its folder, the words that made it, and what they printed."""

    path: Path
    words: list[str]
    out: str
    err: str


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> TinyRun:
    """The default recipe, made small: trained, evaluated, with figures and report. Tests must not change its files."""
    root = tmp_path_factory.mktemp("tiny") / "runs"
    words = ["train", "timeseries", "--runs", str(root), "--data.stride", "24", "--trainer.max_epochs", "1", *TINY]
    words += ["--trainer.accelerator", "cpu"]  # as ``evaluate`` in tests, which must find the same to the last digit
    code, out, err = run_captured(words)
    assert code == 0, err
    return TinyRun(root / "timeseries/weather/1", words, out, err)


@pytest.fixture
def tiny_copy(tiny_run: TinyRun, tmp_path: Path) -> Path:
    """A copy of the tiny run's folder that a test may spoil."""
    return shutil.copytree(tiny_run.path, tmp_path / "copied")


@pytest.fixture(scope="session")
def small_csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two series of 400 hours: a daily cycle and noise with a memory of some hours, a fiftieth of the cells missing."""
    rng = np.random.default_rng(7)
    hours = np.arange(400)
    frames = []
    for group, shift in (("north", 0.0), ("south", 1.0)):
        noise = np.zeros((400, 2))
        for i in range(1, 400):
            noise[i] = 0.9 * noise[i - 1] + 0.3 * rng.standard_normal(2)
        cycle = np.sin(2 * np.pi * hours / 24 + shift)
        frame = pd.DataFrame({"level": 5 + cycle + noise[:, 0], "flow": 2 * cycle - noise[:, 0] + noise[:, 1]})
        frame = frame.mask(rng.random(frame.shape) < 0.02)
        frame.insert(0, "time", pd.date_range("2020-03-01", periods=400, freq="h").strftime("%Y-%m-%dT%H:%M:%SZ"))
        frame.insert(1, "site", group)
        frames.append(frame)
    path = tmp_path_factory.mktemp("data") / "small.csv"
    pd.concat(frames).to_csv(path, index=False)
    return path


@pytest.fixture(scope="session")
def small_words(small_csv: Path) -> list[str]:
    """Words after ``train timeseries`` that train on ``small_csv``: 93 steps of 16 windows in 3 epochs.

    On the host, for tests compare runs bit by bit.
    """
    return [
        *("--dataset", str(small_csv), "--data.group_column", "site", "--data.context", "24"),
        *("--data.horizon", "12", "--data.batch_size", "16", "--trainer.max_epochs", "3"),
        *("--trainer.log_every_n_steps", "5", "--trainer.accelerator", "cpu", *TINY),
    ]


@pytest.fixture(scope="session")
def weather_data() -> ForecastingData:
    """The default data, few windows of them."""
    made = ForecastingData("nyc_weather", stride=40, batch_size=16)
    made.setup()
    return made


@pytest.fixture(scope="session")
def weather_run(weather_data: ForecastingData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of two steps, whose training data are gone. Tests must not change its files."""
    torch.manual_seed(0)
    network = SSMODE(width=8, d_state=8, latent=8, hidden=8, steps=4)
    network.build(weather_data.task)
    with torch.no_grad():
        for parameter in network.parameters():  # away from persistence, where training starts
            parameter.add_(0.2 * torch.randn_like(parameter))
    trainer = Trainer(
        max_steps=2,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
    )
    trainer.fit(ForecastingModule(network), weather_data)
    folder = tmp_path_factory.mktemp("runs") / "1"
    trainer.save_checkpoint(folder / "checkpoints" / "best.ckpt")
    checkpoint = torch.load(folder / "checkpoints" / "best.ckpt", weights_only=True)
    checkpoint["integrand"]["data"] = {"dataset": "/gone.csv"}
    torch.save(checkpoint, folder / "checkpoints" / "best.ckpt")
    (folder / "config.yaml").write_text("")
    write_json(folder / "environment.json", {"app": "timeseries"})
    return folder


def run_captured(words: list[str]) -> tuple[int, str, str]:
    """Carry out a command line and return its exit code, standard output and standard error.

    For fixtures of a session, which ``capsys`` does not serve.
    """
    import contextlib
    import io

    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(words)
    return code, out.getvalue(), err.getvalue()


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty each of three handwritten digits."""
    digits = load_samples("digits")
    assert digits.labels is not None
    rows = np.concatenate([np.flatnonzero(digits.labels == label)[:40] for label in range(3)])
    path = tmp_path_factory.mktemp("few") / "few.npz"
    np.savez(path, images=digits.values[rows], labels=digits.labels[rows])
    return path


@pytest.fixture(scope="session")
def causal_beats() -> BeatModule:
    """A small namer of beats that never looks ahead, trained for some seconds on simulated patients."""
    torch.manual_seed(0)
    data = BeatData(patients=16, seconds=40.0, causal=True, batch_size=4, split_seed=1)
    module = BeatModule(S5BeatNetwork(width=16, d_state=8, layers=1, stages=2), warmup_steps=5)
    trainer = Trainer(
        max_epochs=3,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, data)
    return module.eval()
