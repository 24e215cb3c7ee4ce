"""What solutions cost: the network, the reference solver, and a coarse solver that costs no more than the network."""

import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from integrand.apps.physics.resampling import resampled
from integrand.core.errors import InputError
from integrand.core.numerics import SolveError
from integrand.datasets.simulations import Simulations
from integrand.datasets.synthetic.equations.equation import Equation
from integrand.datasets.synthetic.simulator import Start

TIMED = 16
"""Samples that costs are measured on, as one batch."""
REPEATS = 3
COARSEST = 8
"""Points along an axis below which no solver is tried."""


class Solver(NamedTuple):
    """A solver of the equation at some resolution, and what it costs.

    Attributes:
        values: (N, T, C, *X) its solutions, on the grid it was asked for.
        shape: points of its own grid.
        step_size: of its own steps; None for a closed form.
        seconds: for a sample.
    """

    values: Tensor
    shape: tuple[int, ...]
    step_size: float | None
    seconds: float


def seconds_of(work: Callable[[], object], samples: int) -> float:
    """Return the seconds a sample takes: the median of a few runs, after one that is not counted."""
    work()
    spent = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        work()
        spent.append(time.perf_counter() - began)
    return statistics.median(spent) / samples


def solve(equation: Equation, given: Simulations, stride: int, step_size: float | None) -> Tensor:
    """Solve samples again from their first state, or their constants, on every ``stride``-th of their points.

    Raises:
        InputError: the equation refuses the grid or the step, or its solution ceases to be finite.
    """
    coarse = given.every(stride)
    first = coarse.values[:, 0].double()
    if equation.steady:  # what is solved for is no start
        first = torch.zeros_like(first)
    start = Start(first, None if coarse.constants is None else coarse.constants.double())
    values = equation.advance(
        start, given.times.double(), dict(given.parameters), lengths=given.lengths, step_size=step_size
    )
    if not bool(torch.isfinite(values).all()):
        raise InputError(f"{given.name}: not finite on every {stride}th point.")
    return values


def reference_seconds(equation: Equation, given: Simulations) -> float:
    """Return what the reference solver takes for a sample, with the step that the data were made with."""
    few = given.select(range(min(TIMED, len(given))))
    return seconds_of(lambda: solve(equation, few, 1, _step(given)), len(few))


def coarse_solver(equation: Equation, test: Simulations, budget: float) -> Solver | None:
    """Return the finest coarser solver that takes at most ``budget`` seconds a sample; the cheapest where none does.

    It thins the grid of the test samples by 2, 4, 8, ... and takes steps as many times as long. Its solutions are
    brought to the grid of the test samples, by Fourier series where that is periodic. None where no coarser grid will
    do.
    """
    few = test.select(range(min(TIMED, len(test))))
    best, stride = None, 2
    while min(test.shape) // stride >= COARSEST:
        fits = all((n - 1 if not p else n) % stride == 0 for n, p in zip(test.shape, test.periodic, strict=True))
        step = _step(test)
        longer = None if step is None else min(step * stride, float(test.times.diff().min()))
        if fits:
            try:
                seconds = seconds_of(lambda s=stride, h=longer: solve(equation, few, s, h), len(few))
                values = solve(equation, test, stride, longer)
            except (InputError, SolveError):
                values = None
            if values is not None:
                shape = tuple(values.shape[3:])
                fine = resampled(values, test.shape, periodic=test.periodic)
                best = Solver(fine, shape, longer, seconds)
                if seconds <= budget:
                    return best
        stride *= 2
    return best


def _step(given: Simulations) -> float | None:
    step = float(given.provenance.get("step_size", 0.0))
    return step or None
