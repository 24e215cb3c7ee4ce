"""Signals measured at irregular times, and what a damped oscillator that they drive answers: for layers that know time.

    y'' + 2 zeta omega y' + omega^2 y = omega^2 x(t),      x a sum of sines,  y at rest at t = 0

Of x noisy samples are given, their gaps drawn from a gamma distribution; y is asked for at the same times.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from fitting import Chosen, Fitted, choose, fit
from torch import Tensor, nn

from integrand.core.layers import ResidualStack, SequenceLayer

GAP, DURATION, NOISE = 0.25, 16.0, 0.1
OMEGA, DAMPING, SINES = 2.0, 0.15, 4
TRAIN, VALIDATION, TEST = 256, 128, 256
WIDTH, BATCH, STEPS = 16, 16, 300
RATES = (3e-3, 1e-2)


class Signals(NamedTuple):
    """Inputs x (B, L), the gaps before them (B, L), and answers y (B, L)."""

    x: Tensor
    gaps: Tensor
    y: Tensor


class Filter(nn.Module):
    """A lift of values and gaps, layers in residual blocks, and a linear layer at each element.

    Args:
        layers: that know of time, in units of ``GAP``.
        told: whether they are told the gaps; else they take each for ``GAP``.
    """

    def __init__(self, layers: list[SequenceLayer], *, told: bool = True) -> None:
        super().__init__()
        self.told = told
        self.lift = nn.Linear(2, WIDTH)
        self.body = ResidualStack(layers)
        self.head = nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 1))

    def forward(self, given: Signals) -> Tensor:
        """Return answers, (B, L)."""
        x = self.lift(torch.stack([given.x, given.gaps / GAP - 1], dim=-1))
        return self.head(self.body(x, given.gaps if self.told else None).y).squeeze(-1)


def draw(count: int, gap: float, generator: torch.Generator) -> Signals:
    """Draw signals with a mean gap; answers are in closed form, that of each sine's amplitude and of what decays."""
    length = round(DURATION / gap)
    # The sum of two exponential times has a deviation of 0.7 of its mean.
    uniform = torch.rand(2, count, length, generator=generator, dtype=torch.float64)
    gaps = -gap / 2 * torch.log1p(-uniform).sum(0)
    t = gaps.cumsum(1)
    pieces = torch.rand(3, count, 1, SINES, generator=generator, dtype=torch.float64)
    frequency, phase, amplitude = 0.5 + 4 * pieces[0], 2 * math.pi * pieces[1], 0.5 + pieces[2]
    wave = amplitude * torch.exp(1j * (frequency * t.unsqueeze(-1) + phase))
    gain = OMEGA**2 / (OMEGA**2 - frequency**2 + 2j * DAMPING * OMEGA * frequency)
    # At rest at the start: a free oscillation takes away what the driven one has there.
    start = amplitude * gain * torch.exp(1j * phase)
    y0, slope0 = -start.real.sum(-1), -(1j * frequency * start).real.sum(-1)
    fall, turn = DAMPING * OMEGA, OMEGA * math.sqrt(1 - DAMPING**2)
    free = torch.exp(-fall * t) * (y0 * torch.cos(turn * t) + (slope0 + fall * y0) / turn * torch.sin(turn * t))
    y = (gain * wave).real.sum(-1) + free
    x = wave.real.sum(-1) + NOISE * torch.randn(count, length, generator=generator, dtype=torch.float64)
    return Signals(x.float(), gaps.float(), y.float())


def learn(make: Callable[[], nn.Module], seed: int, *, steps: int) -> Chosen:
    """Train filters with each rate of learning and return the one that validates best."""
    generator = torch.Generator().manual_seed(seed)
    given, validation = draw(TRAIN, GAP, generator), draw(VALIDATION, GAP, generator)

    def train(rate: float) -> Fitted:
        torch.manual_seed(seed)
        network = make()

        def loss() -> Tensor:
            rows = torch.randint(TRAIN, (BATCH,))
            batch = Signals(*(each[rows] for each in given))
            return (network(batch) - batch.y).square().mean()

        return fit(network, loss, steps=steps, rate=rate)

    return choose(RATES, train, lambda network: error(network, validation))


def scored(chosen: Chosen, seed: int, gap: float) -> float:
    """Return the error of new signals with some mean gap."""
    return error(chosen.network, draw(TEST, gap, torch.Generator().manual_seed(10_000 + seed)))


def error(network: nn.Module, given: Signals) -> float:
    """Return the root mean square error over that of answering zero."""
    with torch.no_grad():
        return float((network(given) - given.y).norm() / given.y.norm())
