"""Trajectories for files of initial states: read and written in every form, refused with a reason."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from integrand.apps.physics.dynamics.data import DynamicsData
from integrand.apps.physics.dynamics.models.neural_ode import NeuralODENetwork
from integrand.apps.physics.dynamics.module import DynamicsModule
from integrand.apps.physics.dynamics.prediction import predict
from integrand.core.errors import InputError
from integrand.datasets.simulation_files import read_simulations

STARTS = np.array([[0.3, 0.0], [-0.5, 0.4]])


class Turn(nn.Module):
    """The field dq/dt = p, dp/dt = -q in the standardised states of a task: its solutions are circles."""

    def __init__(self, network: NeuralODENetwork) -> None:
        super().__init__()
        self.network = [network]
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, t: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Return the standardised slopes."""
        network = self.network[0]
        q, p = network.physical(y).unbind(-1)
        return network.standard_slopes(torch.stack([p, -q], dim=-1))


@pytest.fixture(scope="module")
def module() -> DynamicsModule:
    data = DynamicsData("pendulum", samples=6, span=2.0, interval=0.5, fractions=(0.5, 0.17, 0.33))
    data.setup()
    network = NeuralODENetwork(hidden=(4,))
    network.build(data.task)
    network.flow = Turn(network)
    return DynamicsModule(network)


@pytest.mark.parametrize("suffix", [".npy", ".csv", ".h5"])
def test_a_file_is_answered_by_one_of_its_kind(module: DynamicsModule, tmp_path: Path, suffix: str):
    source, output, notes = tmp_path / f"starts{suffix}", tmp_path / f"paths{suffix}", []
    if suffix == ".npy":
        np.save(source, STARTS)
    elif suffix == ".csv":
        pd.DataFrame(STARTS, columns=["angle", "momentum"])[["momentum", "angle"]].to_csv(source, index=False)
    else:
        pytest.importorskip("h5py")
        np.save(tmp_path / "starts.npy", STARTS)
        predict(module, input=tmp_path / "starts.npy", output=source, figure=None)
    predict(module, input=source, output=output, figure=tmp_path / "a.png", span=6.0, every=1.5, notify=notes.append)
    times = np.arange(5) * 1.5
    q, p = STARTS[:, :1], STARTS[:, 1:]
    exact = np.stack([q * np.cos(times) + p * np.sin(times), p * np.cos(times) - q * np.sin(times)], axis=-1)
    if suffix == ".npy":
        found = np.load(output)
    elif suffix == ".csv":
        frame = pd.read_csv(output)
        assert frame["start"].tolist() == [0] * 5 + [1] * 5
        np.testing.assert_allclose(frame["time"], [*times, *times])
        found = frame[["angle", "momentum"]].to_numpy().reshape(2, 5, 2)
    else:
        read = read_simulations(output)
        np.testing.assert_allclose(read.times, times)
        found = read.values.numpy()
    np.testing.assert_allclose(found, exact, atol=1e-5)  # scales are kept in single precision
    assert (tmp_path / "a.png").stat().st_size > 10_000
    assert notes == ["prediction beyond the trained time: training saw trajectories up to t = 2"]


@pytest.mark.parametrize(
    ("array", "options", "told"),
    [
        (np.zeros((3, 5)), {}, r"shape \(3, 5\): initial states must be \(N, 2\), with the channels angle, momentum"),
        (np.array([[0.0, 1.0], [np.nan, 0.0]]), {}, "start 1 is not finite"),
        (STARTS, {"every": 3.0}, r"--span 2 --every 3 is out of range"),
        (STARTS, {"span": -1.0}, r"--span -1"),
        (STARTS, {"output": "out.txt"}, r"written as \.npy"),
        (STARTS, {"output": "nowhere/out.npy"}, "there is no folder"),
        (STARTS, {"output": "starts.npy"}, "is the file of --input"),
        (np.array(["a", "b"]), {}, "is not an array of numbers"),
    ],
)
def test_what_cannot_be_answered_is_refused(
    module: DynamicsModule, tmp_path: Path, array: np.ndarray, options: dict, told: str
):
    np.save(tmp_path / "starts.npy", array)
    given = {"output": tmp_path / options.pop("output", "out.npy"), **options}
    with pytest.raises(InputError, match=told):
        predict(module, input=tmp_path / "starts.npy", figure=None, **given)
    assert not (tmp_path / "out.npy").exists()


def test_files_of_other_kinds_are_named(module: DynamicsModule, tmp_path: Path):
    (tmp_path / "starts.csv").write_text("angle,speed\n0,1\n")
    for name, told in (
        ("starts.csv", "lacks the column momentum"),
        ("none.npy", "there is no file"),
        ("starts.txt", r"read from \.npy"),
    ):
        (tmp_path / "starts.txt").write_text("0 1\n")
        with pytest.raises(InputError, match=told):
            predict(module, input=tmp_path / name, output=tmp_path / "out.npy", figure=None)


def test_starts_far_from_what_training_saw_are_flagged(module: DynamicsModule, tmp_path: Path):
    np.save(tmp_path / "starts.npy", np.array([[0.1, 0.0], [0.0, 40.0]]))
    notes: list[str] = []
    predict(module, input=tmp_path / "starts.npy", output=tmp_path / "out.npy", figure=None, notify=notes.append)
    assert notes == ["1 of 2 starts lie more than 4 deviations from what training saw: do not rely on them"]
