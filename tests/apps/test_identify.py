"""Identification of constants: from the fit after training to the command and its files."""

import json
from pathlib import Path

import pytest
import torch
from lightning import Trainer

from integrand.apps.cli import main
from integrand.apps.physics.dynamics.data import DynamicsData
from integrand.apps.physics.dynamics.exponents import exponents
from integrand.apps.physics.dynamics.models.neural_ode import NeuralODENetwork
from integrand.apps.physics.dynamics.models.polynomial import PolynomialNetwork
from integrand.apps.physics.dynamics.models.universal import UniversalNetwork
from integrand.apps.physics.dynamics.module import DynamicsModule
from integrand.apps.physics.dynamics.refinement import refine
from integrand.core.errors import InputError
from integrand.core.fields import Polynomial

SMALL = [
    *("--data.samples", "20", "--data.span", "8.0", "--data.fractions", "[0.5, 0.1, 0.4]"),
    *("--model.network.hidden", "[6]", "--model.refine", "[5, 10]", "--trainer.max_epochs", "10"),
]


def silent(line: str) -> None:
    """Tell nobody."""


def swings(**options) -> DynamicsData:
    data = DynamicsData("damped_pendulum", samples=12, span=8.0, interval=0.2, horizon=1, **options)
    data.setup()
    return data


def test_the_command_tells_the_constants_of_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["train", "physics", "--recipe", "damped_pendulum", "--runs", str(tmp_path), *SMALL]) == 0
    run = tmp_path / "physics" / "damped_pendulum" / "1"
    weights = (run / "checkpoints" / "best.ckpt").read_bytes()
    capsys.readouterr()
    assert main(["identify", str(run), "--level", "0.99", "--accelerator", "cpu"]) == 0
    said = capsys.readouterr().out
    assert "frequency = " in said
    assert "99 % interval" in said
    assert "truth 1, " in said
    found = json.loads((run / "parameters.json").read_text())
    (constant,) = found["constants"]
    assert constant["name"] == "frequency"
    assert constant["low"] < 1 < constant["high"]
    assert abs(constant["estimate"] - 1) < 0.02
    assert found["remainder_error"] < 0.05
    assert found["window"] == 10  # of the run's refine
    assert found["noise"]["angle"] > 0
    assert (run / "figures" / "remainder.png").read_bytes()[:4] == b"\x89PNG"
    assert (run / "checkpoints" / "best.ckpt").read_bytes() == weights
    assert main(["identify", str(run), "--windows", "5,x"]) == 2
    assert main(["identify", str(run), "--windows", "500", "--accelerator", "cpu"]) == 2
    assert "a window of 500 states does not fit trajectories of 41" in capsys.readouterr().err


def test_the_fit_comes_after_the_last_step_and_into_the_average():
    data = swings(noise=0.01)
    module = DynamicsModule(UniversalNetwork(hidden=(4,), acts_on=("velocity",), sees=("velocity",)), refine=(5,))
    trainer = Trainer(
        max_steps=2,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        accelerator="cpu",
        enable_model_summary=False,
        num_sanity_val_steps=0,
        limit_val_batches=1,
    )
    trainer.fit(module, data)
    assert isinstance(module.network, UniversalNetwork)
    assert module.network.universal.constants()["frequency"].item() == pytest.approx(1.0, rel=0.02)


def test_a_polynomial_finds_the_terms_of_lorenz_63_from_noisy_states():
    """Coefficients in the channels' own units, from 1400 states with 1 % of noise."""
    data = DynamicsData("lorenz63", samples=10, span=4.0, interval=0.02, noise=0.01, fractions=(0.7, 0.1, 0.2))
    data.setup()
    network = PolynomialNetwork()
    network.build(data.task)
    refine(network, data.trained, 0.02, (4, 25), most_steps=20, notify=silent)
    scale, rate = torch.tensor(data.task.scale), data.task.rate
    field = network.flow
    assert isinstance(field, Polynomial)
    found = {}
    for i in range(3):
        for power, value in zip(field.powers, field.matrix()[i].detach(), strict=True):
            found[i, power] = float(value * scale[i] * rate / scale[list(power)].prod())
    expected = {(0, (0,)): -10.0, (0, (1,)): 10.0, (1, (0,)): 28.0, (1, (1,)): -1.0, (1, (0, 2)): -1.0}
    expected |= {(2, (0, 1)): 1.0, (2, (2,)): -8 / 3}
    for place, value in expected.items():
        assert found[place] == pytest.approx(value, rel=0.05, abs=0.05), place


def test_a_system_that_is_not_chaotic_has_no_exponents_to_tell():
    assert exponents({}, swings()) == {}


def test_mistakes_have_one_line(tmp_path: Path):
    data = swings()
    with pytest.raises(InputError, match="unknown known constant of damped_pendulum 'frequence': did you mean 'freq"):
        UniversalNetwork(guesses={"frequence": 1.0}).build(data.task)
    with pytest.raises(InputError, match=r"unknown channel in model.network.sees 'speed'.*Known: angle, velocity"):
        UniversalNetwork(sees=("speed",)).build(data.task)
    with pytest.raises(InputError, match="nothing of pendulum counts as known"):
        UniversalNetwork(known="pendulum").build(data.task)
    large = NeuralODENetwork(hidden=(128, 128))
    large.build(data.task)
    with pytest.raises(InputError, match="parameters, too many to fit by curvature"):
        refine(large, data.trained, 0.2, (5,), notify=silent)
