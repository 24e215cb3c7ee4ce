"""Scoring a trained surrogate on the test part, beside the baselines and a solver of the same cost.

Dimension letters: N samples, T times, C channels, X Y Z grid.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from integrand.apps.physics.surrogate.baselines import baselines
from integrand.apps.physics.surrogate.costs import TIMED, coarse_solver, reference_seconds
from integrand.apps.physics.surrogate.data import SurrogateData
from integrand.apps.physics.surrogate.models.surrogate import Surrogate
from integrand.apps.physics.surrogate.module import SurrogateModule
from integrand.apps.physics.surrogate.scores import ABOUT, COMPARED, HIGHER, FieldScores, score
from integrand.apps.physics.timing import seconds_of
from integrand.apps.training.growth import growth
from integrand.apps.training.paired_scores import compared
from integrand.core.losses import relative_l2
from integrand.datasets.fields import FieldWindows
from integrand.datasets.simulations import Simulations
from integrand.datasets.splits import PARTS
from integrand.datasets.synthetic.equations.equation import Equation
from integrand.datasets.synthetic.simulators import SIMULATORS, simulator

Notify = Callable[[str], None]
AT_ONCE = 2**22
"""Values of the fields that are rolled out at a time."""
DRAWN = 4
"""Test samples that figures may show."""


@dataclass(frozen=True)
class Evaluation:
    """What the figures and the report are drawn from.

    Attributes:
        name: the model's name.
        test: the test samples, at the resolution of the scores.
        examples: states of the first few of them by solver, (n, T, C, *X).
        scores: of the model and each baseline.
        sweep: relative L2 of each sample, (N,), by points along the first axis.
        trained_points: of these, the one that was trained at.
        trained_steps: steps of a training trajectory.
        equation: the equation, where it is known.
        results: what goes to ``results.json``.
    """

    name: str
    test: Simulations
    examples: dict[str, Tensor]
    scores: dict[str, FieldScores]
    sweep: dict[int, Tensor]
    trained_points: int
    trained_steps: int
    equation: Equation | None
    results: dict[str, Any]


def evaluate(
    module: SurrogateModule,
    data: SurrogateData,
    *,
    name: str,
    seed: int,
    notify: Notify,
    resolution: int | None = None,
) -> Evaluation:
    """Score the model and the baselines on the test part.

    Args:
        module: the trained module, on the device it is to run on.
        data: its data.
        name: the model's name in the tables.
        seed: what the run was seeded with, for the record.
        notify: told what is being done, one line each.
        resolution: points along the first axis at which all is scored; the trained ones where None.

    Raises:
        InputError: the data or the network cannot be had at that resolution.
    """
    data.setup()
    test = data.test_at(resolution)
    equation = _equation(data)
    if test.shape != tuple(data.task.shape):
        trained = "x".join(map(str, data.task.shape))
        note = module.network.any_resolution
        notify(f"asked at {'x'.join(map(str, test.shape))} points, trained at {trained}{': ' + note if note else ''}")

    networks = {name: module.network}
    for other, network in module.networks_by_name().items():
        if other:
            networks[other if other != name else f"{other} (rival)"] = network
    scores, examples = {}, {}
    for who, network in networks.items():
        notify(f"scoring {who} on {len(test):,} test samples")
        made = predictions(network, test)
        scores[who], examples[who] = score(made, test, equation), made[:DRAWN]
    for other, values in _baselines(data, test, notify).items():
        scores[other] = score(values, test, equation)
        examples[other] = values[:DRAWN].float()
    costs = _costs(networks, data, test, equation, notify)
    if (coarse := costs.pop("coarse_solver", None)) is not None:
        label = f"solver on {'x'.join(map(str, coarse.shape))}"
        scores[label] = score(coarse.values, test, equation)
        examples[label] = coarse.values[:DRAWN].float()
    sweep = _sweep(module.network, data, test, notify)
    return Evaluation(
        name=name,
        test=test,
        examples=examples,
        scores=scores,
        sweep=sweep,
        trained_points=data.task.shape[0],
        trained_steps=data.task.steps,
        equation=equation,
        results=_results(name, scores, sweep, costs, data, test, equation, seed),
    )


@torch.no_grad()
def predictions(network: Surrogate, test: Simulations) -> Tensor:
    """Return a network's solutions (N, T, C, *X) from the first states of samples, or their constants, on the host."""
    network.eval()
    steady = network.built_for.steady
    together = max(1, AT_ONCE // (64 * test.values[0, 0].numel()))
    parts = []
    for rows in torch.arange(len(test)).split(together):
        few = FieldWindows(test.select(rows)).batch().to(network.scale.device)
        start = None if steady else few.values[:, 0]
        parts.append(network.roll(start, few.constants, few.parameters, len(test.times) - 1).cpu())
    return torch.cat(parts)


def _baselines(data: SurrogateData, test: Simulations, notify: Notify) -> dict[str, Tensor]:
    """Fit the baselines and return their solutions; those bound to the training grid answer there alone."""
    answers = {}
    for baseline in baselines(data.task):
        if baseline.name != "persistence" and test.shape != tuple(data.task.shape):
            continue
        notify(f"fitting and scoring {baseline.name}")
        baseline.fit(data.windows("train"), data.windows("validation"))
        answers[baseline.name] = baseline.predict(test)
    return answers


def _equation(data: SurrogateData) -> Equation | None:
    if data.is_file or data.task.name not in SIMULATORS:
        return None
    found = simulator(data.task.name)
    return found if isinstance(found, Equation) else None


@torch.no_grad()
def _costs(
    networks: dict[str, Surrogate], data: SurrogateData, test: Simulations, equation: Equation | None, notify: Notify
) -> dict[str, Any]:
    """Measure the networks, the reference solver and a coarse one, all on the same few samples as a batch.

    Whatever is said of the network alone is said of the first.
    """
    device = next(iter(networks.values())).scale.device
    few = FieldWindows(test.select(range(min(TIMED, len(test))))).batch().to(device)
    steady, steps = data.task.steady, len(test.times) - 1

    def ask(network: Surrogate) -> float:
        start = None if steady else few.values[:, 0]
        return float(network.roll(start, few.constants, few.parameters, steps)[-1, -1].sum())  # waits

    each = {
        who: {
            "parameters": sum(p.numel() for p in network.parameters()),
            "seconds": seconds_of(lambda network=network: ask(network), len(few.values)),
        }
        for who, network in networks.items()
    }
    costs: dict[str, Any] = {
        "networks": each,
        "network_seconds": next(iter(each.values()))["seconds"],
        "network_device": str(device),
        "network_points": list(test.shape),
        "batch": len(few.values),
    }
    if equation is None:
        return costs
    notify("timing the reference solver and coarser ones")
    costs |= {
        "reference": equation.solver,
        "reference_seconds": reference_seconds(equation, data.test),
        "reference_points": list(data.test.shape),
        "reference_step": float(data.test.provenance.get("step_size", 0.0)) or None,
        "reference_device": "cpu",
    }
    costs["speed_up"] = costs["reference_seconds"] / costs["network_seconds"]
    coarse = coarse_solver(equation, test, costs["network_seconds"])
    if coarse is not None:
        costs |= {
            "coarse_seconds": coarse.seconds,
            "coarse_points": list(coarse.shape),
            "coarse_step": coarse.step_size,
            "coarse_within_budget": coarse.seconds <= costs["network_seconds"],
            "coarse_solver": coarse,
        }
    return costs


def _sweep(network: Surrogate, data: SurrogateData, test: Simulations, notify: Notify) -> dict[int, Tensor]:
    """Return the relative L2 error of each sample at every resolution that is asked for."""
    asked = sorted({data.task.shape[0], test.shape[0], *data.resolutions})
    if len(asked) == 1:
        return {}
    errors = {}
    for points in asked:
        notify(f"asking at {points} points")
        own = data.test_at(points)
        first = 0 if data.task.steady else 1
        made = predictions(network, own)[:, first:].double()
        errors[points] = relative_l2(made, own.values[:, first:].double(), dims=own.dims).flatten(1).mean(1)
    return errors


def _results(
    name: str,
    scores: dict[str, FieldScores],
    sweep: dict[int, Tensor],
    costs: dict[str, Any],
    data: SurrogateData,
    test: Simulations,
    equation: Equation | None,
    seed: int,
) -> dict[str, Any]:
    own = scores[name].samples
    drift = "largest change of what the equation conserves, beside its root mean square at the start"
    about = {metric: ABOUT.get(metric, drift) for metric in own}
    if scores[name].truth_residual is not None:
        about["residual"] += f"; of the truth itself it is {scores[name].truth_residual:.2g}"
    beyond = not data.task.steady and len(test.times) - 1 > data.task.steps
    until = float(test.times[data.task.steps]) if beyond else None
    return {
        "app": "physics",
        "task": "surrogate",
        "dataset": data.dataset,
        "split_hash": data.split.hash,
        "seed": seed,
        "model": name,
        "resolution": list(test.shape),
        **compared(
            name,
            {who: one.samples for who, one in scores.items()},
            metrics=sorted((one for one in COMPARED if one in own), key=list(own).index)[:2],
            higher=HIGHER,
        ),
        "by_step": {
            who: {metric: each.mean(0).tolist() for metric, each in one.steps.items()} for who, one in scores.items()
        },
        "by_channel": {who: one.by_channel(data.task.channels) for who, one in scores.items()}
        if len(data.task.channels) > 1
        else {},
        "times": test.times.tolist(),
        "trained_until": until,
        "growth": growth(
            "relative L2 error",
            axis="time" + (f" ({data.task.time_unit})" if data.task.time_unit else ""),
            times=test.times[1:].numpy(),
            errors={who: one.steps["relative_l2"] for who, one in scores.items()},
            until=until,
        )
        if len(test.times) > 2
        else None,
        "better": {metric: "higher" if metric in HIGHER else "lower" for metric in own},
        "about": about,
        "costs": costs,
        "sweep": {str(points): float(error.mean()) for points, error in sweep.items()},
        "tables": _tables(name, sweep, costs, data),
        "samples": {
            "name": "samples",
            **{part: len(data.split.rows(part)) for part in PARTS},
        },
    }


def _tables(name: str, sweep: dict[int, Tensor], costs: dict[str, Any], data: SurrogateData) -> list[dict[str, Any]]:
    """Return the tables of the report that are this task's own: costs, and resolutions."""
    rows = {
        f"{who}, {_grid(costs['network_points'])} points": {
            "seconds a sample": each["seconds"],
            "parameters": each["parameters"],
        }
        for who, each in costs["networks"].items()
    }
    note = f"Each measured on a batch of {costs['batch']} samples, the median of three runs."
    if len(costs["networks"]) > 1:
        note += (
            " All networks learned from the same batches of one training, in as many steps, and are scored with their "
            "last weights."
        )
    if "reference_seconds" in costs:
        step = costs["reference_step"]
        label = f"{costs['reference']}, {_grid(costs['reference_points'])} points{_step(step)}"
        rows[label] = {"seconds a sample": costs["reference_seconds"]}
        note += (
            f" The network on {costs['network_device']}, solvers on the host in float64: {costs['speed_up']:.3g} times "
            "as fast as the solver that made the data."
        )
    if "coarse_seconds" in costs:
        label = f"the same, {_grid(costs['coarse_points'])} points{_step(costs['coarse_step'])}"
        rows[label] = {"seconds a sample": costs["coarse_seconds"]}
        if not costs["coarse_within_budget"]:
            note += " No coarser solver costs as little as the network; the table of scores has the coarsest."
    tables = [{"caption": "What a solution costs", "rows": rows, "better": {"seconds a sample": "lower"}, "note": note}]
    if sweep:
        trained = data.task.shape[0]
        rows = {
            f"{points} points{' (trained)' if points == trained else ''}": {"relative L2": float(error.mean())}
            for points, error in sweep.items()
        }
        note = "The same test samples; the network was trained at one resolution and is asked at the others."
        tables.append({"caption": f"{name} at other resolutions", "rows": rows, "better": {}, "note": note})
    return tables


def _grid(shape: list[int]) -> str:
    return " x ".join(map(str, shape))


def _step(step: float | None) -> str:
    return "" if step is None else f", steps of {step:g}"
