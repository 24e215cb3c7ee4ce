"""Scoring a trained network against the reference solution, beside solvers.

Dimension letters: d coordinates, X points of the test grid along each axis.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from integrand.apps.physics.informed.baselines import (
    FITTED_CELLS,
    array,
    fit_solver,
    interpolate,
    solve_twice_as_fine,
)
from integrand.apps.physics.informed.data import InformedData
from integrand.apps.physics.informed.module import InformedModule
from integrand.apps.physics.informed.problems.problem import mesh

Array = np.ndarray
Notify = Callable[[str], None]
AT_ONCE = 8192


@dataclass(frozen=True)
class Evaluation:
    """What the figures and the report are drawn from.

    Attributes:
        name: the model's name.
        axes: points of the test grid along each coordinate.
        exact: the reference on it.
        solution: the network's.
        residual: what is left of the equation there.
        work: of finite differences (cells, seconds, relative L2), coarse to fine; empty where parameters are sought.
        spent: seconds of training and relative L2 of the network.
        observed: places (M, d) of the training observations.
        results: what goes to ``results.json``.
    """

    name: str
    axes: tuple[Array, ...]
    exact: Array
    solution: Array
    residual: Array
    work: list[tuple[int, float, float]]
    spent: tuple[float, float]
    observed: Array
    results: dict[str, Any]


def evaluate(module: InformedModule, data: InformedData, *, name: str, seed: int, notify: Notify) -> Evaluation:
    """Score the network and its rivals on the test grid.

    Args:
        module: the trained module, on the device it is to run on.
        data: its data.
        name: the model's name in the tables.
        seed: what the run was seeded with, for the record.
        notify: told what is being done, one line each.
    """
    data.setup()
    axes = data.test_grid()
    points, exact = mesh(axes), array(data.reference())
    notify(f"scoring {name} on {exact.size:,} points of the reference")
    solution, left = (part.reshape(exact.shape) for part in solve(module, points))
    found = module.found()
    # What is sought comes first: the first metric is the one that the verdict is about.
    metrics: dict[str, dict[str, float]] = {name: _parameter_errors(found, data)}
    metrics[name] |= {**_errors(solution, exact), "residual": float(np.sqrt(np.square(left).mean()))}
    metrics[name]["seconds"] = module.seconds
    work: list[tuple[int, float, float]] = []
    intervals: dict[str, tuple[float, float]] = {}
    if data.task.unknown:
        notify("fitting the parameters of a finite-difference solver, and interpolating the observations")
        fitted = fit_solver(data, points.numpy())
        intervals = fitted.intervals
        metrics[f"least squares ({FITTED_CELLS} cells)"] = {
            **_parameter_errors(fitted.values, data),
            **_errors(fitted.solution.reshape(exact.shape), exact),
            "seconds": fitted.seconds,
        }
        metrics["interpolation"] = _errors(interpolate(data, points.numpy()).reshape(exact.shape), exact)
    else:
        notify(f"solving by {data.problem.solver}")
        solved = solve_twice_as_fine(
            data.problem, data.task.parameters, points.numpy(), exact.ravel(), seconds=max(module.seconds, 1e-3)
        )
        work = [(one.cells, one.seconds, one.error) for one in solved]
        reached = next((one for one in solved if one.error <= metrics[name]["relative_l2"]), None)
        for one in dict.fromkeys(one.cells for one in (solved[-1], reached) if one is not None):
            shown = next(each for each in solved if each.cells == one)
            metrics[f"differences ({one} cells)"] = {
                **_errors(shown.values.reshape(exact.shape), exact),
                "seconds": shown.seconds,
            }
    return Evaluation(
        name=name,
        axes=tuple(array(axis) for axis in axes),
        exact=exact,
        solution=solution,
        residual=left,
        work=work,
        spent=(module.seconds, metrics[name]["relative_l2"]),
        observed=array(data.observed[0]),
        results=_results(name, metrics, found, data, seed)
        | {"remarks": _remarks(name, metrics, found, intervals, data)},
    )


def solve(module: InformedModule, points: torch.Tensor) -> tuple[Array, Array]:
    """Return the network's solution and its residual at points (N, d), each (N,) in float64 on the host."""
    module.eval()
    values, left = [], []
    with torch.no_grad():
        for part in points.to(device=module.device, dtype=module.floats).split(AT_ONCE):
            values.append(array(module(part)))
            left.append(array(module.residual(part)))
    return np.concatenate(values), np.concatenate(left)


def _errors(values: Array, exact: Array) -> dict[str, float]:
    return {
        "relative_l2": float(np.linalg.norm(values - exact) / np.linalg.norm(exact)),
        "max_error": float(np.abs(values - exact).max()),
    }


def _parameter_errors(found: dict[str, float], data: InformedData) -> dict[str, float]:
    return {
        f"{name}_error": abs(value - data.task.parameters[name]) / abs(data.task.parameters[name])
        for name, value in found.items()
    }


def _results(
    name: str,
    metrics: dict[str, dict[str, float]],
    found: dict[str, float],
    data: InformedData,
    seed: int,
) -> dict[str, Any]:
    of_parameters = {f"{one}_error": f"share by which the {one} that was found misses the true one" for one in found}
    names = [*of_parameters, "relative_l2", "max_error", "residual", "seconds"]
    return {
        "app": "physics",
        "task": "informed",
        "dataset": data.dataset,
        "split_hash": data.split.hash,
        "seed": seed,
        "model": name,
        "metrics": metrics,
        "better": dict.fromkeys(names, "lower"),
        "about": {
            **of_parameters,
            "relative_l2": "norm of the error on the test grid over the norm of the solution",
            "max_error": "greatest error on the test grid",
            "residual": f"root mean square of what is left of {data.problem.equation}; of the network alone",
            "seconds": f"of training, or of one solution by {data.problem.solver}, on the same machine",
        },
        "parameters": {
            one: {"found": value, "true": data.task.parameters[one], "guess": data.task.guesses[one]}
            for one, value in found.items()
        },
        "intervals": {one: {} for one in metrics},
        "gains": {},
        "samples": {
            "name": "points",
            "train": data.collocation + len(data.observed[1]),
            "validation": data.collocation + len(data.held_out[1]),
            "test": data.test_points ** len(data.problem.inputs),
        },
    }


def _remarks(
    name: str,
    metrics: dict[str, dict[str, float]],
    found: dict[str, float],
    intervals: dict[str, tuple[float, float]],
    data: InformedData,
) -> list[str]:
    """Say plainly what was found, and what a solver does at which cost."""
    ours = metrics[name]
    told = []
    for one, value in found.items():
        low, high = intervals[one]
        told.append(
            f"{one}: {value:.5g} found, {data.task.parameters[one]:.5g} true ({ours[f'{one}_error']:.2%} off), begun "
            f"at {data.task.guesses[one]:g}. Least squares around a solver that knows start and walls: 95 % interval "
            f"{low:.5g} to {high:.5g}."
        )
    if not found:
        solvers = {who: one for who, one in metrics.items() if who != name}
        finest = min(solvers, key=lambda who: solvers[who]["relative_l2"])
        as_good = [who for who, one in solvers.items() if one["relative_l2"] <= ours["relative_l2"]]
        cheapest = min(as_good, key=lambda who: solvers[who]["seconds"], default=None)
        spent = f"{name} trained for {ours['seconds']:.3g} s to a relative L2 of {ours['relative_l2']:.2g}"
        if cheapest is None:
            told.append(f"{spent}; {finest} reaches {solvers[finest]['relative_l2']:.2g} in no more time.")
        else:
            told.append(f"{spent}; {cheapest} is as exact in {solvers[cheapest]['seconds']:.2g} s.")
    return told
