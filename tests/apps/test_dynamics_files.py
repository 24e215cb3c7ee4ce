"""Dynamics from records: real data, HDF5 files and tables, split without leaks, and what is wrong with them told."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from lightning import Trainer

from integrand.apps.cli import main
from integrand.apps.physics.dynamics import records
from integrand.apps.physics.dynamics.data import DynamicsData
from integrand.apps.physics.dynamics.evaluation import Judge, evaluate
from integrand.apps.physics.dynamics.figures import draw
from integrand.apps.physics.dynamics.models.neural_ode import NeuralODENetwork
from integrand.apps.physics.dynamics.module import DynamicsModule
from integrand.apps.training.figures import read_captions
from integrand.apps.training.run_folder import RunFolder
from integrand.core.errors import InputError
from integrand.datasets.real import hare_lynx, planets
from integrand.datasets.synthetic.simulators import simulator
from integrand.datasets.synthetic.systems.system import System

QUIET: dict[str, Any] = {
    "accelerator": "cpu",
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "num_sanity_val_steps": 0,
}


def swings(count: int = 6, steps: int = 21, interval: float = 0.1) -> pd.DataFrame:
    """Return harmonic swings of several amplitudes, one a group; dq/dt = p, dp/dt = -q."""
    times = interval * np.arange(steps)
    rows = [
        pd.DataFrame({"id": f"s{k}", "time": times + k, "q": (1 + k) * np.cos(times), "p": -(1 + k) * np.sin(times)})
        for k in range(count)
    ]
    return pd.concat(rows)


def table(folder: Path, frame: pd.DataFrame) -> str:
    path = folder / "swings.csv"
    frame.to_csv(path, index=False)
    return str(path)


def ready(dataset: str, **options: Any) -> DynamicsData:
    data = DynamicsData(dataset, **({"horizon": 3, "fractions": (0.5, 0.25, 0.25)} | options))
    data.setup()
    return data


# Splits


def test_groups_of_a_table_are_trajectories_of_one_part_each(tmp_path: Path):
    data = ready(table(tmp_path, swings()))
    assert data.task.channels == ["q", "p"]
    assert data.task.interval == pytest.approx(0.1)
    amplitudes = [
        set(part.values[:, 0, 0].round().int().tolist())
        for part in (data.parts.train, data.parts.validation, data.test)
    ]
    assert [len(each) for each in amplitudes] == [3, 1, 2]
    assert set.union(*amplitudes) == {1, 2, 3, 4, 5, 6}
    states, slopes = data.windows("train").states, data.windows("train").derivatives
    torch.testing.assert_close(slopes[:, 0], states[:, 1], rtol=0, atol=2e-4)  # of fourth order
    assert not torch.equal(ready(table(tmp_path, swings()), split_seed=1).starts, data.starts)


def test_one_trajectory_is_split_in_time_without_overlap():
    data = ready("hare_lynx", fractions=(0.7, 0.1, 0.2), horizon=1)
    pelts = hare_lynx.load().values[0]
    assert data.parts.counts == {"train": 14, "validation": 2, "test": 5}
    torch.testing.assert_close(data.trained[0], pelts[:14])
    torch.testing.assert_close(data.parts.validation.values[0], pelts[13:16])  # from the last state before
    torch.testing.assert_close(data.test.values[0], pelts[15:])
    assert data.task.location == pytest.approx(pelts[:14].mean(0).tolist())
    assert "14 states to learn from, 2 to choose by, 5 to predict" in data.notices[0]


def test_windows_of_the_test_follow_one_another(tmp_path: Path):
    data = ready(table(tmp_path, swings(count=2, steps=41)), split_by="time", test_span=0.4)
    assert data.parts.counts == {"train": 20, "validation": 10, "test": 11}
    assert data.test.values.shape == (4, 5, 2)  # two windows of each trajectory
    first, second = data.test.values[:2], data.test.values[2:]
    torch.testing.assert_close(first[:, -1], second[:, 0])
    torch.testing.assert_close(first[0, 0], torch.tensor([np.cos(2.9), -np.sin(2.9)]), rtol=0, atol=1e-6)


@pytest.mark.parametrize("by", ["time", "trajectories"])
def test_the_test_part_decides_nothing(by: records.SplitBy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = table(tmp_path, swings())
    before, read = ready(path, split_by=by), records.read_record

    def edited(dataset: str, reading: records.Reading):
        found, notices = read(dataset, reading)
        values = found.values.clone()
        if by == "time":
            values[:, before.parts.counts["train"] + before.parts.counts["validation"] :] *= 100
        else:
            values[list(before.split.rows("test"))] *= 100  # pyright: ignore[reportAttributeAccessIssue]
        return replace(found, values=values), notices

    monkeypatch.setattr("integrand.apps.physics.dynamics.data.read_record", edited)
    after = ready(path, split_by=by)
    assert not torch.equal(after.test.values, before.test.values)
    assert after.task == before.task
    for part in ("train", "validation"):
        assert torch.equal(after.windows(part).states, before.windows(part).states)
        assert torch.equal(after.windows(part).derivatives, before.windows(part).derivatives)


# Files


def test_a_file_of_a_simulator_is_known_again(tmp_path: Path):
    pytest.importorskip("h5py")
    from integrand.datasets.well_files import write_simulations

    system = simulator("pendulum")
    assert isinstance(system, System)
    simulated = system.simulate(8, times=torch.arange(21, dtype=torch.float64) * 0.1)
    write_simulations(tmp_path / "mine.h5", simulated)
    data = ready(str(tmp_path / "mine.h5"))
    assert (data.task.system, data.task.canonical, data.task.angles) == ("pendulum", True, [0])
    states = data.windows("train").states
    torch.testing.assert_close(data.windows("train").derivatives[:, 1], -states[:, 0].sin(), rtol=0, atol=1e-6)
    assert list(data.task.invariants()) == ["energy"]


def test_the_size_of_a_system_is_read_back(tmp_path: Path):
    pytest.importorskip("h5py")
    from integrand.datasets.well_files import write_simulations

    made = simulator("spring_chain", masses=3).simulate(8, times=torch.arange(11, dtype=torch.float64) * 0.1)
    write_simulations(tmp_path / "three.h5", made)
    data = ready(str(tmp_path / "three.h5"))
    assert data.system is not None
    assert (data.task.system, data.task.canonical, data.system.sizes) == ("spring_chain", True, {"masses": 3})
    unsaid = {name: value for name, value in made.provenance.items() if name != "masses"}
    assert records.known_system(replace(made, provenance=unsaid)) is None  # five masses have other channels
    with pytest.raises(InputError, match=r"data\.sizes=\{'masses': 3\} is for simulators"):
        ready(str(tmp_path / "three.h5"), sizes={"masses": 3})


def test_what_the_state_of_a_file_is_can_be_said(tmp_path: Path):
    path = table(tmp_path, swings())
    data = ready(path, state="canonical", channels=["p", "q"], angles=["q"])
    assert (data.task.channels, data.task.canonical, data.task.angles) == (["p", "q"], True, [1])
    assert data.task.scale[0] == data.task.scale[1] or len(data.task.scale) == 2


def test_the_states_of_the_planets_keep_what_newton_keeps():
    data = ready("planets", horizon=1)
    assert data.task.velocities
    kept = data.task.invariants()
    for name in ("energy", "angular_momentum"):
        values = kept[name](data.test.values)[0]
        assert float((values / values[0] - 1).abs().max()) < 1e-6, name
    sky = planets.load(["sun", "jupiter"])  # by hand, at the first state
    (sun, jupiter), (moving, moved) = sky.values[0, 0].view(2, 2, 3)
    m, n = planets.GM["sun"], planets.GM["jupiter"]
    expected = m * moving.square().sum() / 2 + n * moved.square().sum() / 2 - m * n / (sun - jupiter).norm()
    torch.testing.assert_close(planets.energy(sky.values, sky.parameters)[0, 0], 365.25**2 * expected / m)
    judge = Judge(data)
    assert min(judge.scales.values()) > 1e-3  # so that a drift is told in units of what drifts


# From training to files and pictures


def test_a_record_is_trained_on_scored_and_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("integrand.apps.physics.dynamics.animation.FRAMES", 3)
    data = ready("hare_lynx", fractions=(0.7, 0.1, 0.2), horizon=1)
    module = DynamicsModule(NeuralODENetwork(hidden=(4,)))
    Trainer(max_steps=2, **QUIET).fit(module, data)
    found = evaluate(module, data, name="neural_ode", seed=0, notify=lambda line: None)
    results = found.results
    assert results["samples"] == {"name": "states", "train": 14, "validation": 2, "test": 5}
    assert list(results["speed"]) == ["neural_ode"]
    assert list(results["metrics"]) == ["neural_ode", "persistence", "linear map"]
    assert results["yardsticks"] == {}
    assert results["intervals"]["neural_ode"] == {}
    assert "no reference solver" in " ".join(results["remarks"])
    still = data.test.values[0] - data.test.values[0, :1]
    scale, middle = torch.tensor(data.task.scale), torch.tensor(data.task.location)
    expected = (still / scale).norm() / ((data.test.values[0] - middle) / scale).norm()
    assert results["metrics"]["persistence"]["relative_l2"] == pytest.approx(float(expected))
    run = RunFolder(tmp_path / "run")
    run.figures.mkdir(parents=True)
    draw(found, run, data.task)
    captions = {one["file"]: one for one in read_captions(run.figures)}
    assert set(captions) == {"motion.gif", "errors.png", "trajectories.png", "phase.png"}


def test_the_command_trains_on_a_table_and_predicts_in_its_form(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = table(tmp_path, swings())
    words = ["train", "physics", "--recipe", "trajectories", "--dataset", path, "--runs", str(tmp_path / "runs")]
    small = ["--trainer.max_steps", "20", "--model.network.hidden", "[8]", "--data.fractions", "[0.5, 0.25, 0.25]"]
    assert main([*words, *small]) == 0
    run = tmp_path / "runs" / "physics" / "trajectories" / "1"
    starts = tmp_path / "starts.csv"
    pd.DataFrame({"q": [1.0, 2.0], "p": [0.0, 0.5]}).to_csv(starts, index=False)
    output = tmp_path / "paths.csv"
    assert main(["predict", str(run), "--input", str(starts), "--output", str(output), "--span", "1"]) == 0
    found = pd.read_csv(output)
    assert list(found.columns) == ["start", "time", "q", "p"]
    assert len(found) == 2 * 11
    capsys.readouterr()


# Mistakes


@pytest.mark.parametrize(
    ("edit", "options", "told"),
    [
        (lambda f: f.assign(q=f.q.where(f.time != 0.5)), {}, "channel 'q' of trajectory 's0' is missing at time 0.5"),
        (lambda f: f[1:], {}, "trajectory 's1' has 21 rows and 's0' 20: cut all to the same length"),
        (
            lambda f: f[f.time != 0.5],
            {},
            "times of trajectory 's0' are not evenly spaced: from 0.4 to 0.6 it is 0.2, on",
        ),
        (lambda f: f, {"channels": ["q", "v"]}, "lacks channel 'v'"),
        (lambda f: f, {"time_column": "date"}, "unknown column in --data.time_column 'date'"),
        (lambda f: f, {"angles": ["phi"]}, "unknown channel in data.angles 'phi'"),
        (lambda f: f[f.id == "s0"][:2], {}, "parts of 1, 0 and 1 by the shares"),
        (lambda f: f[f.id == "s0"][:1], {}, "has 1 state: a trajectory needs two at least"),
        (lambda f: f[f.id == "s0"][:9], {"horizon": 8}, "fewer than the 9 of horizon 8"),
        (lambda f: f[f.id < "s2"], {}, "2 series do not give each of three parts one"),
        (lambda f: f, {"span": 3.0}, "data.span=3.0 is for simulators, and"),
        (lambda f: f, {"derivatives": "exact"}, "take --data.derivatives differences"),
        (lambda f: f, {"split_by": "time", "test_span": 9.0}, "data.test_span=9 is out of range"),
        (lambda f: pd.concat([f, f[-1:]]), {}, "have the same time stamp in series 's5': remove one."),
        (lambda f: f.assign(r=f.q), {"state": "canonical"}, "3 channels are no two halves"),
    ],
)
def test_what_is_wrong_with_a_table_is_told(edit: Any, options: dict[str, Any], told: str, tmp_path: Path):
    path = table(tmp_path, edit(swings()))
    with pytest.raises(InputError) as caught:
        ready(path, **options)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_wrong_with_other_data_is_told(tmp_path: Path):
    with pytest.raises(InputError, match="no file at"):
        ready(str(tmp_path / "none.csv"))
    with pytest.raises(InputError, match=r"data\.split_by=time is for recorded data"):
        ready("pendulum", split_by="time")
    with pytest.raises(InputError, match=r"data\.channels is for files"):
        ready("planets", channels=["sun_x"])
