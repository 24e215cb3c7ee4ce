"""Trajectories of a simulator, drawn for the three parts of a training.

Dimension letters: T times.
"""

from collections.abc import Mapping
from itertools import pairwise

import torch
from torch import Tensor

from integrand.apps.physics.dynamics.records import Parts
from integrand.core.errors import InputError
from integrand.datasets.splits import PARTS, IndexSplit
from integrand.datasets.synthetic.systems.system import System


def drawn_parts(
    system: System,
    *,
    samples: int,
    fractions: tuple[float, float, float],
    times: Tensor,
    test_times: Tensor,
    parameters: Mapping[str, float],
    seed: int,
    step_size: float | None,
) -> Parts:
    """Simulate trajectories of training and validation at some times, and those of the test at others.

    Trajectories have numbers: the first are those of training, the last those of the test.

    Args:
        system: the simulator.
        samples: trajectories of all three parts.
        fractions: shares of training, validation and test.
        times: (T,) of training and validation.
        test_times: (T,) of the test.
        parameters: values that are not to have their default.
        seed: of the starts.
        step_size: of the solver; the system's own where None.

    Raises:
        InputError: shares that do not add up to 1, or a part without a trajectory; an unknown parameter.
    """
    counts = part_counts(samples, fractions)
    seen, test = (
        system.simulate(count, first=first, times=at, parameters=parameters, seed=seed, step_size=step_size)
        for count, first, at in ((sum(counts[:2]), 0, times), (counts[2], sum(counts[:2]), test_times))
    )
    errors = [float(one.provenance["time_step_error"]) for one in (seen, test)]
    notice = (
        f"{system.name}: simulated by {system.solver}, time-step error {errors[0]:.1e} in training, {errors[1]:.1e} in "
        "the test"
    )
    rows = tuple(tuple(range(a, b)) for a, b in pairwise((0, counts[0], counts[0] + counts[1], samples)))
    checksum = f"{seen.checksum[:8]}{test.checksum[:8]}"
    split = IndexSplit(*rows, of={"dataset": system.name, "checksum": checksum, "test_span": float(test.times[-1])})
    named: dict[str, int] = dict(zip(PARTS, counts, strict=True))
    return Parts(seen.select(rows[0]), seen.select(rows[1]), test, split, named, "trajectories", (notice,))


def part_counts(samples: int, fractions: tuple[float, float, float]) -> tuple[int, int, int]:
    """Return how many of so many trajectories are for training, validation and test.

    Example:
        >>> part_counts(40, (0.5, 0.25, 0.25))
        (20, 10, 10)
    """
    if len(fractions) != 3 or not (min(fractions) > 0 and abs(sum(fractions) - 1) <= 1e-6):
        raise InputError(f"data.fractions must be three positive numbers that add up to 1, got {fractions}.")
    train, known = round(fractions[0] * samples), round((fractions[0] + fractions[1]) * samples)
    if not 0 < train < known < samples:
        raise InputError(f"data.samples={samples} do not give each part a trajectory by the shares {fractions}.")
    return train, known - train, samples - known


def grid(span: float, interval: float) -> Tensor:
    """Return times (T,) from 0 to ``span`` at equal intervals, in float64."""
    steps = round(span / interval)
    if steps < 1:
        raise InputError(f"data.span={span:g} is shorter than an interval of {interval:g}.")
    return torch.arange(steps + 1, dtype=torch.float64) * interval
