"""Does a network that learns an energy, stepped by a symplectic method, forecast a Hamiltonian system better?

The system is that of Henon and Heiles, a star in a galaxy of cylindrical symmetry,

    H = (p_x^2 + p_y^2 + x^2 + y^2) / 2 + x^2 y - y^3 / 3,

at energies from 1/24 to 1/10, where most of its motions are regular and all stay bounded. Windows of noisy trajectories
are learned from, and forecasts of ten periods of the linear oscillator are made from exact starts.
"""

import math

import torch
from experiment import Experiment, Outcome
from fitting import Fitted, choose, fit
from torch import Tensor, nn

from integrand.core.fields import MLP, SeparableHamiltonian
from integrand.core.numerics import solve_ode

STEP, LENGTH, WINDOW = 0.1, 150, 8
TRAIN, VALIDATION, TEST = 16, 8, 32
PERIODS, LONG = 10, 100
NOISE = 0.02
STEPS, BATCH = 800, 64
RATES = (3e-3, 1e-2)
PERCEPTRON, ENERGY = (64, 64), (45, 45)
"""Widths with which both have some 4,600 numbers to learn."""


def energy(y: Tensor) -> Tensor:
    """Return H, (...), of y = [x, y, p_x, p_y]."""
    a, b = y[..., 0], y[..., 1]
    return y.square().sum(-1) / 2 + a.square() * b - b**3 / 3


class HenonHeiles(nn.Module):
    """The equations of motion."""

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        """Evaluate them."""
        a, b = y[:, 0], y[:, 1]
        force = torch.stack([-a - 2 * a * b, -b - a.square() + b.square()], dim=1)
        return torch.cat([y[:, 2:], force], dim=1)


def starts(count: int, generator: torch.Generator) -> Tensor:
    """Draw states within the bounded region, their energies uniform from 1/24 to 1/10, in float64."""
    wanted = 1 / 24 + (1 / 10 - 1 / 24) * torch.rand(count, 1, generator=generator, dtype=torch.float64)
    way = torch.randn(count, 4, generator=generator, dtype=torch.float64)
    way = way / way.norm(dim=1, keepdim=True)
    low, high = torch.zeros_like(wanted), torch.full_like(wanted, 0.5)
    for _ in range(60):  # below 1/2 from the centre the energy grows along every ray
        middle = (low + high) / 2
        less = energy(middle * way).unsqueeze(1) < wanted
        low, high = torch.where(less, middle, low), torch.where(less, high, middle)
    return low * way


def truth(start: Tensor, steps: int) -> Tensor:
    """Solve the equations to rounding, (B, steps + 1, 4)."""
    times = torch.arange(steps + 1, dtype=torch.float64) * STEP
    return solve_ode(HenonHeiles(), start, times, method="dopri8", rtol=1e-11, atol=1e-11).states


def run(seed: int, with_: bool, *, steps: int = STEPS) -> Outcome:
    """Train networks of one kind, take the one that validates best and score it."""
    generator = torch.Generator().manual_seed(seed)
    sets = [truth(starts(count, generator), LENGTH).float() for count in (TRAIN, VALIDATION)]
    noisy = [clean + NOISE * torch.randn(clean.shape, generator=generator) for clean in sets]
    method = "leapfrog" if with_ else "rk4"

    def forecast(field: nn.Module, start: Tensor, steps: int) -> Tensor:
        times = torch.arange(steps + 1) * STEP
        return solve_ode(field, start, times, method=method, on_failure="last").states

    def train(rate: float) -> Fitted:
        torch.manual_seed(seed)
        field = SeparableHamiltonian(4, ENERGY) if with_ else MLP(4, PERCEPTRON)

        def loss() -> Tensor:
            row = torch.randint(TRAIN, (BATCH,), generator=generator)
            begin = torch.randint(LENGTH - WINDOW + 1, (BATCH,), generator=generator)
            seen = noisy[0][row.unsqueeze(1), begin.unsqueeze(1) + torch.arange(WINDOW + 1)]
            return (forecast(field, seen[:, 0], WINDOW) - seen)[:, 1:].square().mean()

        return fit(field, loss, steps=steps, rate=rate)

    def validate(field: nn.Module) -> float:
        return float((forecast(field, noisy[1][:, 0], LENGTH) - noisy[1])[:, 1:].square().mean())

    chosen = choose(RATES, train, validate)
    ahead = round(PERIODS * 2 * math.pi / STEP)
    start = starts(TEST, torch.Generator().manual_seed(10_000 + seed))
    true = truth(start, ahead).float()
    with torch.no_grad():
        found = forecast(chosen.network, start.float(), LONG * ahead // PERIODS)
    drift = energy(found[:, -ahead // PERIODS :].double()).mean(1) / energy(start) - 1
    return Outcome(
        error=float((found[:, : ahead + 1] - true).norm() / true.norm()),
        evaluations=ahead * (1.0 if with_ else 4.0),
        seconds=chosen.seconds,
        robustness=float(drift.abs().mean()),
    )


EXPERIMENT = Experiment(
    tool="symplectic structure",
    problem=f"Henon and Heiles's system, {TRAIN} noisy trajectories of {LENGTH} points, forecasts of {PERIODS} periods",
    without="perceptron, rk4",
    with_="separable Hamiltonian network of as many numbers, leapfrog with the same steps",
    error_of=f"relative error of states over {PERIODS} periods",
    robustness_of=f"relative change of the true energy after {LONG} periods, its mean size",
    source="Chen, Zhang, Arjovsky and Bottou (2020), Symplectic recurrent neural networks; the system: Henon and "
    "Heiles (1964), The applicability of the third integral of motion: some numerical experiments",
    run=run,
    note="Evaluations of leapfrog are pairs of the two halves of its network.",
)
