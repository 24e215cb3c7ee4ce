"""What is it worth to solve the stiff linear part of a partly known equation exactly, at no more CPU seconds?

Of the equation of Kuramoto and Sivashinsky on a periodic interval,

    u_t = -u_xx - u_xxxx - F(u, u_x)_x,      F = u^2 / 2,

the linear part is known, and F is a network that is learned from pairs of states. Both sides solve the same field: one
by an explicit method, whose steps the shortest waves allow, one by an exponential integrator, whose steps F allows.
"""

import math

import torch
from experiment import Experiment, Outcome
from fitting import Fitted, choose, fit
from torch import Tensor, nn

from integrand.core.fields.mlp import ACTIVATIONS
from integrand.core.numerics import solve_ode
from integrand.core.numerics.exponential.semilinear import Semilinear
from integrand.core.numerics.spectral import PeriodicGrid

LENGTH, POINTS, WIDTH = 22.0, 48, 32
INTERVAL, BURN_IN, INTERVALS, AHEAD = 0.5, 100.0, 60, 20
TRAIN, VALIDATION, TEST = 8, 4, 16
EXPLICIT, EXPONENTIAL = ("rk4", INTERVAL / 80), ("etdrk4", INTERVAL / 5)
"""Methods and steps: for waves of k^4 - k^2 = 415, the shortest, rk4 is stable up to 1 / 149."""
STEPS, BATCH = {EXPLICIT: 50, EXPONENTIAL: 400}, 16
"""Steps of training, the more the quicker; seconds tell that the side with more takes no longer."""
RATES = (3e-3, 1e-2)
NOISE = 0.05


class Convection(nn.Module):
    """-F_x in Fourier coordinates, without waves beyond two thirds of the grid's; F exact where no network is given."""

    def __init__(self, grid: PeriodicGrid, network: nn.Module | None = None) -> None:
        super().__init__()
        self.grid, self.network = grid, network

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        """Evaluate it, (B, K)."""
        slope, mask = self.grid.derivative_symbol(0, y.real), self.grid.dealiasing_mask(y.real)
        u, u_x = self.grid.inverse(y * mask), self.grid.inverse(y * mask * slope)
        flux = u.square() / 2 if self.network is None else self.network(torch.stack([u, u_x], dim=-1)).squeeze(-1)
        return -slope * mask * self.grid.transform(flux)


def equation(network: nn.Module | None, like: Tensor) -> Semilinear:
    """Return the field; waves that are kept out of F stand still, so that none is stiffer than those that count."""
    grid = PeriodicGrid((POINTS,), (LENGTH,))
    square = grid.laplacian_symbol(like)
    return Semilinear((-square - square.square()) * grid.dealiasing_mask(like), Convection(grid, network))


def truth(count: int, generator: torch.Generator) -> Tensor:
    """Return coefficients of solutions from the attractor, (B, T, K)."""
    grid, x = PeriodicGrid((POINTS,), (LENGTH,)), torch.arange(POINTS, dtype=torch.float64) / POINTS
    phase = 2 * math.pi * torch.rand(count, 4, 1, generator=generator, dtype=torch.float64)
    waves = torch.arange(1, 5, dtype=torch.float64).view(4, 1)
    start = torch.cos(2 * math.pi * waves * x + phase).sum(1)
    field = equation(None, x)
    begun = solve_ode(field, grid.transform(start), [0.0, BURN_IN], method="etdrk4", step_size=0.1).states[:, -1]
    times = torch.arange(INTERVALS + 1, dtype=torch.float64) * INTERVAL
    return solve_ode(field, begun, times, method="etdrk4", step_size=0.05).states.to(torch.complex64)


def run(seed: int, with_: bool, *, steps: int | None = None) -> Outcome:
    """Train networks of one side, take the one that validates best and score it."""
    generator = torch.Generator().manual_seed(seed)
    train_set, validation, test = (truth(count, generator) for count in (TRAIN, VALIDATION, TEST))
    side = EXPONENTIAL if with_ else EXPLICIT
    (method, step_size), grid = side, PeriodicGrid((POINTS,), (LENGTH,))

    def forecast(field: nn.Module, start: Tensor, intervals: int) -> Tensor:
        times = torch.arange(intervals + 1) * INTERVAL
        return solve_ode(field, start, times, method=method, step_size=step_size).states

    def error(field: nn.Module, start: Tensor, wanted: Tensor) -> float:
        found = forecast(field, start, AHEAD)[:, 1:]
        wanted = wanted[:, 1 : AHEAD + 1]
        return float(grid.inverse(found - wanted).norm() / grid.inverse(wanted).norm())

    def train(rate: float) -> Fitted:
        torch.manual_seed(seed)
        network = nn.Sequential(nn.Linear(2, WIDTH), ACTIVATIONS["gelu"](), nn.Linear(WIDTH, 1))
        field = equation(network, torch.zeros(1))

        def loss() -> Tensor:
            row, at = torch.randint(TRAIN, (BATCH,)), torch.randint(INTERVALS, (BATCH,))
            found = forecast(field, train_set[row, at], 1)[:, 1]
            return grid.inverse(found - train_set[row, at + 1]).square().mean()

        return fit(field, loss, steps=STEPS[side] if steps is None else steps, rate=rate)

    chosen = choose(RATES, train, lambda field: error(field, validation[:, 0], validation))
    noise = NOISE * grid.inverse(test[:, 0]).std() * torch.randn(TEST, POINTS, generator=generator)
    moved = test[:, 0] + grid.transform(noise) * grid.dealiasing_mask(noise)
    with torch.no_grad():
        return Outcome(
            error=error(chosen.network, test[:, 0], test),
            evaluations=4 * AHEAD * round(INTERVAL / step_size),
            seconds=chosen.seconds,
            robustness=error(chosen.network, moved, test),
        )


EXPERIMENT = Experiment(
    tool="exponential integrator",
    problem=f"Kuramoto-Sivashinsky's equation with a learned flux, forecasts over {AHEAD * INTERVAL:g} units of time",
    without=f"rk4 with 80 steps an interval, {STEPS[EXPLICIT]} steps of training",
    with_=f"ETDRK4 with 5 steps an interval, {STEPS[EXPONENTIAL]} steps of training in no more seconds",
    error_of="relative error of the forecasts",
    robustness_of=f"the same from starts with noise of {NOISE:.0%}",
    source="Kassam and Trefethen (2005), Fourth-order time-stepping for stiff PDEs; Cox and Matthews (2002), "
    "Exponential time differencing for stiff systems",
    run=run,
    note="Both sides solve one field; they are given seconds alike, not steps of training.",
)
