"""What the instruments are told of a learned system: its predictions of test trajectories, and what they conserve."""

from collections.abc import Sequence

from torch import Tensor

from integrand.apps.analysis.subject import Subject
from integrand.apps.physics.dynamics.data import DynamicsData
from integrand.apps.physics.dynamics.evaluation import precise
from integrand.apps.physics.dynamics.models.neural_sde import NeuralSDENetwork
from integrand.apps.physics.dynamics.module import DynamicsModule
from integrand.core.analysis import (
    Finding,
    invariant_drift,
    invariant_finding,
    lyapunov_finding,
    lyapunov_spectrum,
)
from integrand.core.errors import InputError

SPANS = 5.0
"""How many spans of a training trajectory are predicted."""
SPECTRUM_SPANS = 20.0
"""Likewise, where exponents are averaged."""
STEPS = 200
"""Steps of a span, there."""
STARTS = 8
"""Trajectories of which exponents are found, at most."""


def subject(module: DynamicsModule, data: DynamicsData, *, seed: int) -> Subject:
    """Describe a trained network of dynamics to the instruments.

    Args:
        module: trained, on the device it is to run on.
        data: its data.
        seed: not used: nothing is drawn.

    Raises:
        InputError: the network is driven at random.
    """
    if isinstance(module.network, NeuralSDENetwork):
        raise InputError("a neural_sde is driven at random, and the instruments are for ordinary equations so far.")
    data.setup()
    task, network = data.task, precise(module.network)
    all_times = data.test.times.double()
    kept = int((all_times - all_times[0] <= SPANS * task.span * (1 + 1e-9)).sum())
    exact = data.test.values[:, :kept].double().to(network.scale)
    times = all_times[:kept].to(network.scale)

    def error(states: Tensor) -> float:
        return float((network.standardised(states.double()) - network.standardised(exact)).square().mean().sqrt())

    def ask(asked: DynamicsModule) -> Tensor:
        like = asked.network.scale
        return asked.network.predict(exact[:, 0].to(like), times.to(like)).states

    def findings() -> Sequence[Finding]:
        found = []
        states = network.predict(exact[:, 0], times).states
        if len(times) > 2 and task.invariants():
            found.append(invariant_finding(invariant_drift(states, times, task.invariants())))
        if task.dim < 3:  # in the plane no solution of an autonomous equation can be chaotic
            return found
        starts = network.standardised(exact[:STARTS, -1])
        span = task.span * task.rate
        spectrum = lyapunov_spectrum(
            network.flow, starts, SPECTRUM_SPANS * span, step_size=span / STEPS, transient=span
        )
        found.append(lyapunov_finding(spectrum))
        return found

    return Subject(
        module=module,
        ask=ask,
        answers=f"predictions of {len(exact)} test trajectories to t = {float(times[-1]):.3g}",
        metric="root mean squared error in standard deviations",
        score=error,
        loss=lambda asked: _misfit(asked, data),
        equation=f"the learned equation of {task.system.replace('_', ' ')}",
        channels=[f"{name} (standardised)" for name in task.channels],
        findings=findings,
    )


def _misfit(asked: DynamicsModule, data: DynamicsData) -> Tensor:
    """Return the error of a short prediction from the first test states, as training would have it."""
    network = asked.network
    like = network.scale
    states = data.test.values[:, : min(data.test.values.shape[1], 9)].to(like)
    times = data.test.times[: states.shape[1]].to(like)
    standard = network.standardised(states)
    return (network.unroll(standard[:, 0], times - times[0]) - standard)[:, 1:].square().mean()
