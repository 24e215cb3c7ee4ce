"""A semilinear equation as a surrogate, and rivals that learn beside it as they would alone."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Trainer

from integrand.apps.cli import main
from integrand.apps.physics.surrogate.data import SurrogateData
from integrand.apps.physics.surrogate.models.fno import FNOSurrogate
from integrand.apps.physics.surrogate.models.semilinear_pde import SemilinearSurrogate
from integrand.apps.physics.surrogate.module import SurrogateModule
from integrand.apps.physics.surrogate.scores import score, valid_time
from integrand.core.errors import InputError
from integrand.datasets.fields import FieldTask
from integrand.datasets.simulations import Simulations
from integrand.datasets.synthetic.equations.equation import Equation
from integrand.datasets.synthetic.simulators import simulator

FNO: dict[str, Any] = {"modes": 4, "width": 8, "depth": 2}
UNET = {"width": 8, "groups": 4, "multipliers": [1, 2]}


def heat_data(**options) -> SurrogateData:
    """Heat conduction on 16 points: cheap, exact, and linear."""
    given = {"samples": (12, 3, 4), "points": 16, "span": 0.5, "interval": 0.1, "batch_size": 4, **options}
    data = SurrogateData("heat", **given)
    data.setup()
    return data


def trained(data: SurrogateData, module: SurrogateModule, epochs: int = 2, **options) -> Trainer:
    trainer = Trainer(
        max_epochs=epochs, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, accelerator="cpu", **options,
    )  # fmt: skip
    module.build(data)
    trainer.fit(module, data)
    return trainer


# The network


@pytest.mark.parametrize("offset", [0.0, 5.0])
def test_with_the_terms_of_heat_conduction_its_rollout_is_the_solution(offset: float):
    """u_t = nu u_xx is L alone, with b_1 = nu tau / ell^2; the mean, which standardising shifts, stays what it is."""
    data = heat_data()
    truth = data.test.values.float() + offset
    task = replace(data.task, location=[offset], target_location=[offset])
    network = SemilinearSurrogate(hidden=(4,), order=2)
    network.build(task)
    equation = network.operator
    nu = float(data.test.parameters["diffusivity"][0])
    rate = nu * equation.time_scale / equation.length_scale**2  # pyright: ignore[reportOperatorIssue]
    with torch.no_grad():
        for parameter in equation.local.parameters():  # pyright: ignore[reportCallIssue, reportAttributeAccessIssue]
            parameter.zero_()
        equation.symbol.damping.fill_(math.log(math.expm1(rate)))  # pyright: ignore[reportAttributeAccessIssue, reportCallIssue]
    made = network.roll(truth[:, 0], None, {}, 5).detach()
    # Rounding to float32, of numbers as large as the offset.
    assert float((made - truth).abs().max()) < 16 * torch.finfo(torch.float32).eps * float(truth.abs().max())
    assert torch.equal(made[:, 0], truth[:, 0])
    torch.testing.assert_close(network(truth[:, 0], None, {}), made[:, 1], rtol=0, atol=1e-6)


@pytest.mark.parametrize("source", [False, True])
def test_only_a_source_changes_the_mean_of_two_channels_on_a_square(source: bool):
    x = torch.arange(12, dtype=torch.float64) * (2 * math.pi / 12)
    generator = torch.Generator().manual_seed(0)
    waves = torch.stack([x.cos()[:, None] * (k * x).sin() + 0.1 * k for k in (1, 2, 3, 4)]).view(2, 2, 12, 12)
    growing = torch.randn(2, 5, 2, 1, 1, dtype=torch.float64, generator=generator)
    task = FieldTask.of(fields(waves[:, None] * growing, x))
    torch.manual_seed(0)
    network = SemilinearSurrogate(hidden=(8,), source=source)
    network.build(task)
    start = waves.float()
    made = network.roll(start, None, {}, 4).detach()
    assert made.shape == (2, 5, 2, 12, 12)
    moved = float((made.mean((-2, -1)) - start.mean((-2, -1))[:, None]).abs().max())
    assert (moved > 1e-3) == source
    if not source:
        assert moved < 1e-6


def fields(values: torch.Tensor, x: torch.Tensor, **options) -> Simulations:
    dims = values.dim() - 3
    given = {
        "name": "fields",
        "values": values,
        "times": torch.arange(values.shape[1], dtype=torch.float64) * 0.1,
        "channels": tuple("uvw"[: values.shape[2]]),
        "coordinates": (x,) * dims,
        "lengths": (float(x[1] - x[0]) * len(x),) * dims,
        "periodic": (True,) * dims,
        **options,
    }
    return Simulations(**given)


def test_data_that_are_not_of_one_periodic_equation_are_refused():
    x = torch.arange(8, dtype=torch.float64) / 8
    values = torch.randn(3, 2, 1, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    load = values[:, 0]
    walls = fields(values, x, lengths=(7 / 8,), periodic=(False,))
    steady = fields(values[:, :1], x, constants=load, constant_names=("load",))
    loaded = fields(values, x, constants=load, constant_names=("load",))
    varying = fields(values, x, parameters={"viscosity": torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)})
    for given, message in (
        (walls, "not periodic along all axes"),
        (steady, "is steady"),
        (loaded, r"constant fields \(load\)"),
        (varying, r"parameters that differ between samples \(viscosity\)"),
    ):
        with pytest.raises(InputError, match=message):
            SemilinearSurrogate().build(FieldTask.of(given))


def test_it_learns_heat_conduction_from_a_few_solutions():
    """A linear equation within its form: the error over five steps falls below a tenth of persistence's."""
    data = heat_data(samples=(32, 4, 4), batch_size=16)
    torch.manual_seed(0)
    module = SurrogateModule(SemilinearSurrogate(hidden=(8,), substeps=1), learning_rate=3e-2)
    trainer = trained(data, module, epochs=8)
    still = data.windows("validation").values
    rested = ((still[:, 1:] - still[:, :1]).norm(dim=-1) / still[:, 1:].norm(dim=-1)).mean()
    assert float(trainer.callback_metrics["validation/relative_l2"]) < 0.1 * float(rested)


# Rivals


@pytest.mark.parametrize(
    "options",
    [{"input_noise": 0.1}, {"pushforward": True}, {"loss": "relative_h1", "conservation": 0.1, "ema_decay": 0.9}],
    ids=["noise", "pushforward", "conservation"],
)
def test_model_and_rival_learn_as_they_would_alone(options: dict):
    """The same weights, to the bit: neither shares a gradient, its clipping, or random numbers with the other."""
    data = heat_data(horizon=2)

    def module(name: str, **more) -> SurrogateModule:
        torch.manual_seed(0)
        own = FNOSurrogate(**FNO) if name == "fno" else SemilinearSurrogate(hidden=(8,))
        return SurrogateModule(own, learning_rate=1e-2 if name == "fno" else 3e-3, **options, **more)

    both = module("semilinear_pde", rivals={"fno": {**FNO, "learning_rate": 1e-2}})
    both.build(data)
    start = {name: value.clone() for name, value in both.rivals["fno"].state_dict().items()}
    ours = module("semilinear_pde")
    ours.build(data)
    theirs = module("fno")
    theirs.build(data)
    theirs.network.load_state_dict(start)
    for one in (both, ours, theirs):
        torch.manual_seed(1)
        trained(data, one, gradient_clip_val=0.01)
    assert not any(torch.equal(value, start[name]) for name, value in both.rivals["fno"].named_parameters())
    for learned, alone in ((both.network, ours.network), (both.rivals["fno"], theirs.network)):
        for name, value in alone.state_dict().items():
            assert torch.equal(learned.state_dict()[name], value), name


def test_rivals_that_are_not_there_are_refused_with_what_is():
    with pytest.raises(InputError, match=r"unknown model\.rivals 'fnu': did you mean 'fno'"):
        SurrogateModule(SemilinearSurrogate(), rivals={"fnu": {}})
    with pytest.raises(InputError, match=r"unknown option of model\.rivals\.fno 'mods': did you mean 'modes'"):
        SurrogateModule(SemilinearSurrogate(), rivals={"fno": {"mods": 3}})
    with pytest.raises(InputError, match=r"rivals\.unet\.learning_rate=0 must be positive"):
        SurrogateModule(SemilinearSurrogate(), rivals={"unet": {"learning_rate": 0}})
    with pytest.raises(InputError, match=r"modes=9: .* at most 8 modes"):
        SurrogateModule(SemilinearSurrogate(), rivals={"fno": {"modes": 9}}).build(heat_data())


def test_a_run_scores_rivals_by_their_last_weights_in_the_same_table(tmp_path: Path):
    code = main([
        *("train", "physics", "--recipe", "kuramoto_sivashinsky", "--runs", str(tmp_path), "--dataset", "heat"),
        *("--data.samples", "[12,3,4]", "--data.points", "16", "--data.span", "0.5", "--data.interval", "0.1"),
        *("--data.batch_size", "4", "--model.network.hidden", "[8]", "--trainer.max_epochs", "3"),
        *("--trainer.limit_train_batches", "3", "--trainer.check_val_every_n_epoch", "1"),
        *("--model.rivals", json.dumps({"fno": FNO, "unet": UNET}), "--trainer.accelerator", "cpu"),
    ])  # fmt: skip
    assert code == 0
    run = tmp_path / "physics/kuramoto_sivashinsky/1"
    results = json.loads((run / "results.json").read_text())
    assert list(results["metrics"])[:3] == ["semilinear_pde", "fno", "unet"]
    assert {"fno", "unet"} <= set(results["gains"])
    networks = results["costs"]["networks"]
    module = SurrogateModule.from_checkpoint(torch.load(run / "checkpoints/best.ckpt", weights_only=True))
    counts = [sum(p.numel() for p in one.parameters()) for one in module.networks_by_name().values()]
    assert [networks[name]["parameters"] for name in ("semilinear_pde", "fno", "unet")] == counts
    assert json.loads((run / "environment.json").read_text())["parameters"] == counts[0]
    last = torch.load(run / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
    assert all(torch.equal(value, last[name]) for name, value in module.state_dict().items() if name in last)
    rows = results["tables"][0]["rows"]
    assert rows["unet, 16 points"]["parameters"] == counts[2]
    logged = (run / "metrics.csv").read_text() if (run / "metrics.csv").is_file() else ""
    assert "validation/relative_l2_fno" in logged or not logged
    assert main(["evaluate", str(run), "--accelerator", "cpu"]) == 0
    again = json.loads((run / "results.json").read_text())
    assert again["metrics"] == results["metrics"]


# Chaos


def test_a_prediction_is_valid_until_its_error_is_four_tenths_of_the_deviation():
    """Waves sqrt(2) sin and an error of a tenth of them more at each step: 0.4 is met at the fourth."""
    x = torch.arange(16, dtype=torch.float64) * (2 * math.pi / 16)
    times = torch.arange(9, dtype=torch.float64) * 0.5
    truth = (math.sqrt(2) * x.sin()).expand(2, 9, 1, 16)
    prediction = truth * (1 + 0.1 * torch.arange(9, dtype=torch.float64).view(9, 1, 1) * (1 + 1e-12))
    torch.testing.assert_close(valid_time(prediction, truth, times), torch.full((2,), 2.0, dtype=torch.float64))


def test_times_of_correlation_are_the_first_columns_where_the_equation_is_chaotic():
    equation = simulator("kuramoto_sivashinsky")
    assert isinstance(equation, Equation)
    x = torch.arange(32, dtype=torch.float64) * 2
    waves = torch.stack([torch.sin(2 * math.pi * k * x / 64) for k in (1, 2)])
    given = fields(waves[:, None, None].expand(2, 4, 1, 32), x)
    found = score(given.values, given, equation).samples
    assert list(found)[:3] == ["correlation_time_0.8", "correlation_time_0.95", "valid_time"]
    # Right to the end: the span of 0.3 in units of 1 / 0.086.
    assert found["valid_time"].tolist() == pytest.approx([0.3 * 0.086] * 2)
    assert next(iter(score(given.values, given, None).samples)) == "relative_l2"
