"""Exponential integrators and generators against exponax: the Burgers and Kuramoto-Sivashinsky equations."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from duel import Duel, Work, finish, seeded, version
from torch import Tensor

from integrand.core.numerics.exponential.semilinear import Semilinear, solve_semilinear
from integrand.core.numerics.spectral import PeriodicGrid
from integrand.datasets.synthetic.equations.burgers_etd import BurgersETD
from integrand.datasets.synthetic.equations.convective import ConvectiveEquation
from integrand.datasets.synthetic.equations.kuramoto_sivashinsky import KuramotoSivashinsky
from integrand.datasets.synthetic.simulator import Start

POINTS, STEPS, SAMPLES, MANY, WAVES = 256, 200, 256, 1024, 8
BATCH, THEIR_BATCH = 256, 256
"""The batches of 64, 128 and 256 with which either side is fastest."""
BATCHES = (16, 64, 256, 512, 1024)
"""Batches of which either side of a generator's duel takes its fastest."""


@dataclass(frozen=True)
class Equation:
    """u_t + (u^2 / 2)_x = viscosity u_xx - hyperviscosity u_xxxx on a periodic interval."""

    name: str
    length: float
    step: float
    viscosity: float
    hyperviscosity: float

    def stepper(self) -> Any:
        """Return exponax's stepper, which keeps waves up to its cutoff, fraction * points / 2 - 1, as ours keeps 85."""
        import exponax  # pyright: ignore[reportMissingImports]

        common = {"conservative": True, "order": 4, "dealiasing_fraction": 2 * (POINTS // 3 + 1) / POINTS}
        build, scales = {
            "burgers": (exponax.stepper.Burgers, {"diffusivity": self.viscosity}),
            "ks": (
                exponax.stepper.KuramotoSivashinskyConservative,
                {"second_order_scale": -self.viscosity, "fourth_order_scale": self.hyperviscosity},
            ),
        }[self.name]
        return build(1, self.length, POINTS, self.step, **common, **scales)


BURGERS = Equation("burgers", 2 * math.pi, 5e-3, 2e-2, 0.0)
KURAMOTO_SIVASHINSKY = Equation("ks", 32 * math.pi, 5e-2, -1.0, 1.0)


def duels() -> Iterator[Duel]:
    """Yield every comparison."""
    for equation in (BURGERS, KURAMOTO_SIVASHINSKY):
        yield Duel(
            row=f"etdrk4_{equation.name}",
            work=f"{equation.name}, {POINTS} points, {STEPS} steps of ETDRK4, forward, {SAMPLES} samples",
            ours=_ours(equation),
            peer="exponax",
            theirs=_theirs(equation),
            peer_version=version("exponax"),
            note=f"float32; ours in batches of {BATCH}, theirs of {THEIR_BATCH}, vmapped, compiled and kept in Fourier "
            "space (RepeatedStepper); a time is a sample's",
            must=1.6,
            goal=2.5,
            samples=(SAMPLES, SAMPLES),
        )
        yield Duel(
            row=f"generator_{equation.name}",
            work=f"{equation.name}, {POINTS} points, {STEPS} steps of the simulator, {MANY} samples",
            ours=_best(lambda batch, equation=equation: _generated(equation, batch)),
            peer="exponax",
            theirs=_best(lambda batch, equation=equation: _theirs(equation, batch, MANY)),
            peer_version=version("exponax"),
            note=f"float32; the simulator's own `advance`, from fields to fields; either side in its fastest batch of "
            f"{', '.join(map(str, BATCHES))}, theirs vmapped and compiled (RepeatedStepper); a time is a sample's",
            must=1.6,
            goal=2.5,
            samples=(MANY, MANY),
        )


def _starts(equation: Equation, samples: int = SAMPLES) -> Tensor:
    """Draw smooth initial states of mean zero, (samples, POINTS)."""
    generator = seeded(0)
    grid = PeriodicGrid((POINTS,), (equation.length,))
    coefficients = torch.zeros(samples, POINTS // 2 + 1, dtype=torch.complex64)
    coefficients[:, 1 : WAVES + 1] = torch.randn(samples, WAVES, dtype=torch.complex64, generator=generator)
    field = grid.inverse(coefficients)
    return field / field.std()


def _ours(equation: Equation, batch: int = BATCH) -> Work:
    grid = PeriodicGrid((POINTS,), (equation.length,))
    like = torch.empty(0, dtype=torch.float64)
    laplacian = grid.laplacian_symbol(like)
    linear = equation.viscosity * laplacian - equation.hyperviscosity * laplacian**2
    slope = (-0.5 * grid.derivative_symbol(0, like) * grid.dealiasing_mask(like)).to(torch.complex64)

    def convection(t: Tensor, y: Tensor) -> Tensor:
        u = torch.fft.irfft(y, n=POINTS)
        return torch.fft.rfft(u.square_()).mul_(slope)

    field, starts = Semilinear(linear, convection), _starts(equation)
    times = [0.0, STEPS * equation.step]

    @torch.no_grad()
    def once() -> list[Tensor]:
        ends = [
            solve_semilinear(field, grid.transform(start), times, step_size=equation.step).states[:, -1]
            for start in starts.split(batch)
        ]
        return [grid.inverse(torch.cat(ends))]

    return once


def _theirs(equation: Equation, batch: int = THEIR_BATCH, samples: int = SAMPLES) -> Work:
    starts = _starts(equation, samples)

    @cache
    def ready() -> tuple[Callable[[Any], Any], list[Any]]:
        import exponax  # pyright: ignore[reportMissingImports]
        import jax  # pyright: ignore[reportMissingImports]

        solve = jax.jit(jax.vmap(exponax.RepeatedStepper(equation.stepper(), STEPS)))
        return solve, [jax.numpy.asarray(start.unsqueeze(1).cpu().numpy()) for start in starts.split(batch)]

    def once() -> list[Any]:
        import jax  # pyright: ignore[reportMissingImports]

        solve, parts = ready()
        ends = [solve(part).block_until_ready() for part in parts]
        return [jax.numpy.concatenate(ends)[:, 0]]

    return once


def _generated(equation: Equation, batch: int) -> Work:
    simulator: ConvectiveEquation = BurgersETD() if equation is BURGERS else KuramotoSivashinsky()
    parameters = {"viscosity": torch.full((batch,), equation.viscosity)} if equation is BURGERS else {}
    starts, times = _starts(equation, MANY), torch.tensor([0.0, STEPS * equation.step], dtype=torch.float64)

    @torch.no_grad()
    def once() -> list[Tensor]:
        ends = [
            simulator.advance(Start(start), times, parameters, lengths=(equation.length,), step_size=equation.step)[
                :, -1, 0
            ]
            for start in starts.unsqueeze(1).split(batch)
        ]
        return [torch.cat(ends)]

    return once


def _best(make: Callable[[int], Work]) -> Work:
    """Return the work in the batch that is fastest of two turns after a first, which is found out when it is called."""

    @cache
    def fastest() -> Work:
        def seconds(work: Work) -> float:
            work()
            turns = []
            for _ in range(2):
                began = time.perf_counter()
                work()
                finish()
                turns.append(time.perf_counter() - began)
            return min(turns)

        return min((make(batch) for batch in BATCHES), key=seconds)

    return lambda: fastest()()
