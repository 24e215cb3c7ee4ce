"""What solutions cost: the network, the reference solver, and a coarse solver that costs no more than the network."""

from typing import NamedTuple

import torch
from torch import Tensor

from integrand.apps.physics.resampling import resampled
from integrand.apps.physics.timing import seconds_of
from integrand.core.errors import InputError
from integrand.core.numerics import SolveError
from integrand.datasets.simulations import Simulations
from integrand.datasets.synthetic.equations.equation import Equation
from integrand.datasets.synthetic.simulator import Start

TIMED = 16
"""Samples that costs are measured on, as one batch."""
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
    """Return the finest coarser solver that takes at most ``budget`` seconds a sample; the coarsest where none does.

    It thins the grid of the test samples by 2, 4, 8, ... and takes steps as many times as long. Its solutions are
    brought to the grid of the test samples, by Fourier series where that is periodic. None where no coarser grid will
    do.
    """
    few = test.select(range(min(TIMED, len(test))))
    found: tuple[int, float | None, float] | None = None
    stride = 2
    while min(test.shape) // stride >= COARSEST:
        if all((n if joined else n - 1) % stride == 0 for n, joined in zip(test.shape, test.periodic, strict=True)):
            step = _step(test)
            # Steps as long as the stored interval at most: there the solver must stop anyway.
            longer = None if step is None else min(step * stride, float(test.times.diff().min()))
            seconds = _seconds(equation, few, stride, longer)
            if seconds is not None:
                found = stride, longer, seconds
            if seconds is not None and seconds <= budget:
                break
        stride *= 2
    if found is None:
        return None
    stride, step, seconds = found
    try:
        values = solve(equation, test, stride, step)
    except (InputError, SolveError):  # one of the samples that were not timed
        return None
    return Solver(resampled(values, test.shape, periodic=test.periodic), tuple(values.shape[3:]), step, seconds)


def _seconds(equation: Equation, few: Simulations, stride: int, step_size: float | None) -> float | None:
    """Return what a solver takes for a sample; None where it cannot solve them."""
    try:
        return seconds_of(lambda: solve(equation, few, stride, step_size), len(few))
    except (InputError, SolveError):
        return None


def _step(given: Simulations) -> float | None:
    step = float(given.provenance.get("step_size", 0.0))
    return step or None
