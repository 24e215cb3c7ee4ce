"""Ensembles of paths, where a network or a system is driven at random: drawn, and scored as forecasts.

Dimension letters: N trajectories, K members, T times, D state, M states.
"""

import math
from collections.abc import Container

import numpy as np
import torch
from torch import Tensor

from integrand.apps.physics.dynamics.data import DynamicsData
from integrand.apps.physics.dynamics.models.network import DynamicsNetwork
from integrand.apps.physics.dynamics.models.neural_sde import NeuralSDENetwork
from integrand.core.losses import ensemble_crps
from integrand.core.numerics import solve_sde
from integrand.datasets.synthetic.systems.stochastic_system import StochasticSystem

Array = np.ndarray
TRUE = "true equation"
"""The name in the tables of an ensemble by the system's own equation."""
MEMBERS = 64
"""Paths from each start."""
INNER = 0.9
"""Share of the members that an interval leaves between its ends."""
AT_ONCE = 20_000_000
"""Increments of noise drawn at once, at most."""
VISITED = 5000
"""States at which equations are compared, at most."""
ABOUT = {
    "crps": "continuous ranked probability score of a channel in deviations of training, mean over channels and all "
    "times after the start; the absolute error where there is one path alone",
    "coverage": "share of what happened within the inner 90 % of the paths",
    "spread_skill": "spread of the paths by the error of their mean, both root mean squares (Fortin et al. 2014)",
    "drift_error": "relative L2 error of the learned drift at the states of the test part",
    "noise_error": "the same of the noise's amplitude",
}
"""What the metrics of ensembles are."""


def is_random(networks: dict[str, DynamicsNetwork], data: DynamicsData) -> bool:
    """Tell whether a network or the system is driven at random, so that forecasts are distributions."""
    learned = any(isinstance(network, NeuralSDENetwork) for network in networks.values())
    return learned or isinstance(data.system, StochasticSystem)


def learned_paths(network: NeuralSDENetwork, start: Tensor, times: Tensor, *, members: int, seed: int) -> Array:
    """Draw paths of the learned equation from each of the starts (N, D); returns (N, K, T, D), in their own units."""
    weight = next(network.parameters())
    generator = torch.Generator(weight.device).manual_seed(seed)
    steps = math.ceil(float(times[-1] - times[0]) / network.built_for.interval) + len(times)
    at_once = max(1, AT_ONCE // (members * steps * start.shape[1]))
    drawn = [
        network.paths(few.repeat_interleave(members, 0), times.to(weight), generator=generator).cpu()
        for few in start.to(weight).split(at_once)
    ]
    return torch.cat(drawn).unflatten(0, (len(start), members)).double().numpy()


def true_paths(data: DynamicsData, start: Tensor, times: Tensor, *, members: int, seed: int) -> Array:
    """Draw paths of the system's own equation from each start (N, D), by its own solver; returns (N, K, T, D)."""
    system, known = data.system, data.task.parameters_of
    assert isinstance(system, StochasticSystem)
    solution = solve_sde(
        lambda t, y: system.field(t, y, known(y)),
        lambda t, y: system.diffusion(t, y, known(y)),
        start.repeat_interleave(members, 0),
        times,
        method=system.method,
        step_size=data.step_size or system.step_size,
        generator=torch.Generator().manual_seed(seed),
        on_failure="nan",
    )
    return solution.states.unflatten(0, (len(start), members)).numpy()


def climatology(data: DynamicsData, count: int, steps: int, *, members: int, seed: int) -> Array:
    """Return states of the training part, drawn at random, as a forecast for all of T times, (N, K, T, D)."""
    seen = data.trained.double().flatten(0, 1).numpy()
    drawn = seen[np.random.default_rng(seed).integers(0, len(seen), (count, members))]
    return np.repeat(drawn[:, :, None], steps, axis=2)


def crps_by_step(members: Array, observed: Array) -> Array:
    """Return the mean over channels of the score at each time, (N, T), of members (N, K, T, D)."""
    return ensemble_crps(torch.from_numpy(members).movedim(1, 0), torch.from_numpy(observed)).mean(-1).numpy()


def coverage(members: Array, observed: Array) -> Array:
    """Return the share of what was observed, after the start, within the inner 90 % of the members, (N,).

    The ends are where the ranks are that as many draws of the same distribution have on average.
    """
    count = members.shape[1]
    low, high = ((1 + sign * INNER) / 2 * (count + 1) - 1 for sign in (-1, 1))
    ordered = np.sort(members[:, :, 1:], axis=1)
    ends = []
    for place in (low, high):
        place = min(max(place, 0.0), count - 1.0)
        below, share = math.floor(place), place - math.floor(place)
        ends.append((1 - share) * ordered[:, below] + share * ordered[:, min(below + 1, count - 1)])
    after = observed[:, 1:]
    return ((ends[0] <= after) & (after <= ends[1])).mean((1, 2))


def spread_skill(members: Array, observed: Array) -> float:
    """Return the spread of members (N, K, T, D) by the error of their mean, over all after the start; 1 is right.

        ( (K + 1) / K  < var_k x_k >  /  < (mean_k x_k - y)^2 > )^(1/2)

    Source: Fortin, Abaza, Anctil and Turcotte (2014), Why should ensemble spread match the RMSE of the ensemble mean?
    """
    count = members.shape[1]
    spread = members[:, :, 1:].var(1, ddof=1).mean() * (count + 1) / count
    error = np.square(members.mean(1) - observed)[:, 1:].mean()
    return float(np.sqrt(spread / max(error, 1e-300)))


def yardstick(who: Container[str]) -> dict[str, str]:
    """Say what the true equation has that no network has, as results hold it; nothing where it is not among them."""
    given = "is given the system's own drift and noise, so that none does better but by luck"
    return {TRUE: given} if TRUE in who else {}


def equation_errors(networks: dict[str, DynamicsNetwork], data: DynamicsData) -> dict[str, dict[str, float]]:
    """Return by what share each network misses the true drift, and noise, at test states; empty where none is known."""
    system, task = data.system, data.task
    if system is None:
        return {}
    states = data.test.values.double().cpu().flatten(0, 1)
    states = states[:: max(1, len(states) // VISITED)]
    known = task.parameters_of(states)
    zero, found = states.new_zeros(()), {}
    drift = system.field(zero, states, known)
    for who, network in networks.items():
        at = states.to(next(network.parameters()))
        with torch.no_grad():
            found[who] = {"drift_error": _relative(network.field(at), drift)}
            if isinstance(network, NeuralSDENetwork) and isinstance(system, StochasticSystem):
                found[who]["noise_error"] = _relative(network.noise_field(at), system.diffusion(zero, states, known))
    return found


def _relative(found: Tensor, true: Tensor) -> float:
    return float((found.cpu().double() - true).norm() / true.norm())
