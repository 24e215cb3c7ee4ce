"""What a solve costs: the networks, the simulator's own solver, and a coarse one that costs no more than the network.

Dimension letters: N trajectories, T times, D state.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from integrand.apps.physics.dynamics.data import DynamicsData
from integrand.apps.physics.dynamics.models.network import DynamicsNetwork
from integrand.apps.physics.dynamics.models.neural_sde import NeuralSDENetwork
from integrand.apps.physics.timing import seconds_of
from integrand.core.numerics import solve_ode
from integrand.datasets.synthetic.simulator import Start
from integrand.datasets.synthetic.systems.stochastic_system import StochasticSystem
from integrand.datasets.synthetic.systems.system import System

COARSE = "coarse rk4"
"""The coarse solver's name in the tables."""
TIMED = 50
"""Intervals of the test over which the seconds of a solve are measured."""
MOST = 16
"""Steps in an interval at most, even if more cost no more than the network: these are closer to the truth than any
network comes, and the evaluation need not wait for better ones."""
TRIES = 5
"""Numbers of steps that are tried, at most, until one costs as much as the network."""
WORTH = 1.1
"""How many times as many steps make another try worth its time."""


class Steps(NamedTuple):
    """How a fixed-step solver goes from one state to the next, and what it costs.

    Attributes:
        substeps: equal steps in each interval.
        seconds: of a solve.
        within: whether that is in the budget.
    """

    substeps: int
    seconds: float
    within: bool


def measured_speed(networks: dict[str, DynamicsNetwork], data: DynamicsData) -> dict[str, dict[str, Any]]:
    """Measure the seconds that a solve of all test trajectories over their first intervals takes.

    Beside the networks, of which the first is the one that the others are compared with, stand the simulator's own
    solver as ``"reference"``, and ``COARSE``: the same equation with as short equal steps of the classical Runge-Kutta
    method as cost no more than the network, ``MOST`` an interval at most. Both are in float64, as the
    networks are. Systems whose equation is not known have neither, and those driven at random no coarse solver. Of a
    neural SDE it is one path from each start.
    """
    times = data.test.times[: TIMED + 1].double()
    start = data.test.values[:, 0].double()
    found: dict[str, dict[str, Any]] = {}
    for who, network in networks.items():
        found[who] = {
            "solver": network.solver_words(),
            "seconds": seconds_of(lambda network=network: _ask(network, start, times)),
            "device": next(network.parameters()).device.type,
        }
    if (system := data.system) is not None:
        step, known = data.step_size or system.step_size, data.task.parameters_of(start)
        begin = Start(start, seeds=torch.arange(len(start)))
        found["reference"] = {
            "solver": f"{system.solver}, step {step:g}" if step else system.solver,
            "seconds": seconds_of(lambda: system.advance(begin, times, known, step_size=step)),
            "device": "cpu",
        }
    if system is not None and not isinstance(system, StochasticSystem):
        steps = equal_cost_steps(
            lambda substeps: seconds_of(lambda: coarse_states(data, start, times, substeps)),
            next(iter(found.values()))["seconds"],
        )
        found[COARSE] = {
            "solver": f"rk4, step {_interval(times) / steps.substeps:.3g}",
            "seconds": steps.seconds,
            "device": "cpu",
            "substeps": steps.substeps,
            "within_budget": steps.within,
        }
    for one in found.values():
        one.update(trajectories=len(start), span=float(times[-1]))
    return found


def equal_cost_steps(measure: Callable[[int], float], budget: float) -> Steps:
    """Return the most steps in an interval whose seconds are within a budget, or ``MOST``; one where even that is not.

    As the cost of n steps is a + b n, n times budget / cost of them never cost more than the budget, and come close
    to it when this is repeated.

    Args:
        measure: gives the seconds of a solve with so many steps in each interval.
        budget: in seconds.

    Example:
        >>> equal_cost_steps(lambda substeps: 1.0 + 0.5 * substeps, 6.2)
        Steps(substeps=10, seconds=6.0, within=True)
        >>> equal_cost_steps(lambda substeps: 1.0 + 0.5 * substeps, 1.2)
        Steps(substeps=1, seconds=1.5, within=False)
    """
    substeps, seconds = 1, measure(1)
    if seconds > budget:
        return Steps(substeps, seconds, within=False)
    for _ in range(TRIES):
        more = min(int(substeps * budget / seconds), MOST)
        if more < max(substeps + 1, WORTH * substeps) or (spent := measure(more)) > budget:
            break
        substeps, seconds = more, spent
    return Steps(substeps, seconds, within=True)


def coarse_states(data: DynamicsData, start: Tensor, times: Tensor, substeps: int) -> Tensor:
    """Solve the true equation from states (N, D) with ``substeps`` equal steps an interval; returns (N, T, D).

    A solution that ceases to be finite keeps its last state, as those of networks do.
    """
    system = data.system
    assert isinstance(system, System)
    return solve_ode(
        lambda t, y, args: system.field(t, y, args),
        start,
        times,
        args=data.task.parameters_of(start),
        method="rk4",
        step_size=_interval(times) / substeps,
        on_failure="last",
    ).states


def yardstick(speed: dict[str, dict[str, Any]]) -> dict[str, str]:
    """Say what the coarse solver has that no network has, as results hold it; nothing where there is none."""
    if COARSE not in speed:
        return {}
    time = "no more time" if speed[COARSE]["within_budget"] else "more time"
    return {COARSE: f"is given the true equation and {time}"}


def remarks(name: str, speed: dict[str, dict[str, Any]]) -> list[str]:
    """Say what a solve costs, beside the reference solver and the coarse one."""
    ours, reference, coarse = speed[name], speed.get("reference"), speed.get(COARSE)
    on = "" if ours["device"] == "cpu" else f" on {ours['device']}"
    many = "1 trajectory" if ours["trajectories"] == 1 else f"{ours['trajectories']} trajectories"
    cost = f"A solve of {many} to t = {ours['span']:g} takes {ours['seconds']:.2g} s{on}"
    if reference is None:
        return [f"{cost}; recorded data have no reference solver. Predictions begin at recorded states."]
    ratio = reference["seconds"] / ours["seconds"]
    word = f"{ratio:.3g} times as fast as" if ratio >= 1 else f"{1 / ratio:.3g} times slower than"
    told = f"{cost}, {word} the reference solver ({reference['solver']}, {reference['seconds']:.2g} s)."
    if coarse is None:
        return [told]
    count = coarse["substeps"]
    steps = f"{count} step{'s' if count > 1 else ''} an interval ({coarse['solver']}, {coarse['seconds']:.2g} s)"
    if not coarse["within_budget"]:
        cost = f": even that costs more than {name}"
    elif count == MOST:
        cost = f", the most that are taken; they cost no more than {name}"
    else:
        cost = f", as many as cost no more than {name}"
    return [told, f"{COARSE} is the true equation with {steps}{cost}."]


def table(speed: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return the table of costs as results hold it."""
    some = next(iter(speed.values()))
    rows = {f"{who}: {one['solver']}": {"seconds a solve": one["seconds"]} for who, one in speed.items()}
    note = (
        f"Of {some['trajectories']} test trajectories to t = {some['span']:g}, all at once in float64, the median of "
        "three runs."
    )
    if (device := some["device"]) != "cpu":
        note += f" Networks on {device}, solvers on the host."
    return {
        "caption": "What a solve costs",
        "rows": rows,
        "better": {"seconds a solve": "lower"},
        "note": note,
    }


def _ask(network: DynamicsNetwork, start: Tensor, times: Tensor) -> float:
    """Solve with a network, and wait for its device."""
    weight = next(network.parameters())
    if isinstance(network, NeuralSDENetwork):
        return float(network.paths(start.to(weight), times.to(weight))[-1, -1, 0])
    return float(network.predict(start.to(weight), times.to(weight)).states[-1, -1, 0])


def _interval(times: Tensor) -> float:
    return float(times[-1] - times[0]) / (len(times) - 1)
