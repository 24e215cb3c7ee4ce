"""Lyapunov exponents of what was learned beside those of the system, both measured alike.

Dimension letters: N trajectories, D state.
"""

import torch

from integrand.apps.physics.dynamics.data import DynamicsData
from integrand.apps.physics.dynamics.models.network import DynamicsNetwork
from integrand.core.analysis import lyapunov_spectrum
from integrand.core.errors import InputError

SAMPLES = 64
"""Trajectories over which exponents are averaged, at most."""
LYAPUNOV_TIMES = 30.0
"""How long each is followed."""
STEPS = 100
"""Steps of the solver in a Lyapunov time, at least."""


def exponents(networks: dict[str, DynamicsNetwork], data: DynamicsData) -> dict[str, list[float] | None]:
    """Return the exponents (D,) of the system and of each network, largest first, means over test starts.

    None for a network whose solutions do not stay finite. Empty where the system is not chaotic.
    """
    task, system = data.task, data.system
    if system is None or not task.lyapunov > 0:
        return {}
    starts = data.test.values[:SAMPLES, 0].double()
    parameters = {name: starts.new_tensor(value) for name, value in task.parameters.items()}

    def true(t: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return system.field(t, y, {name: each.expand(len(y)) for name, each in parameters.items()})

    fields = {"simulator": true, **{who: _field_of(network) for who, network in networks.items()}}
    return {who: _mean_spectrum(field, starts, 1 / task.lyapunov) for who, field in fields.items()}


def _field_of(network: DynamicsNetwork):
    return lambda t, y: network.field(y)


def _mean_spectrum(field, starts: torch.Tensor, lyapunov_time: float) -> list[float] | None:
    try:
        found = lyapunov_spectrum(
            field,
            starts,
            LYAPUNOV_TIMES * lyapunov_time,
            transient=2 * lyapunov_time,
            step_size=lyapunov_time / STEPS,
        )
    except InputError:
        return None
    return found.exponents.mean(0).tolist()


def errors(found: dict[str, list[float] | None]) -> dict[str, float]:
    """Return for each network the largest relative error of an exponent; those near 0 count by the largest one's size.

    Example:
        >>> errors({"simulator": [1.0, 0.01, -14.0], "model": [1.02, 0.02, -14.0]})
        {'model': 0.02}
    """
    if not found or (true := found["simulator"]) is None:
        return {}
    largest = true[0]
    return {
        who: round(max(abs(a - b) / max(abs(b), largest) for a, b in zip(values, true, strict=True)), 12)
        for who, values in found.items()
        if who != "simulator" and values is not None
    }


def remarks(found: dict[str, list[float] | None]) -> list[str]:
    """Say them."""
    if not found:
        return []
    parts = []
    for who, values in found.items():
        words = "unbounded" if values is None else ", ".join(f"{each:.3f}" for each in values)
        parts.append(f"{who} {words}")
    return [f"Lyapunov exponents, all measured alike: {'; '.join(parts)}."]
