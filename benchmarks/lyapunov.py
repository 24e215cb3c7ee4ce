"""Lyapunov exponents beside published ones: ``benchmarks/lyapunov.py``.

All exponents of the system of Lorenz (1963) and of that of Lorenz (1996) with forty variables are measured along many
solutions at once. Starts are drawn as the simulators draw them and carried for 60 units of time onto the attractor;
tangents then turn into their directions for 10 more before they count. Each figure goes to ``published/`` as its
distance from the published one, or from the divergence, which for both systems is a constant and what all exponents
sum to; both stand in the row's note, with the standard error over solutions.
"""

import argparse
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from rows import PUBLISHED, commit, machine, write_row
from torch import Tensor

from integrand.core.analysis import lyapunov_spectrum
from integrand.core.numerics import solve_ode
from integrand.datasets.synthetic.systems.lorenz63 import Lorenz63
from integrand.datasets.synthetic.systems.lorenz96 import Lorenz96
from integrand.datasets.synthetic.systems.system import System

SOURCE = (
    "Sprott (2003), Chaos and time-series analysis: 0.906, 0 and -14.572, dimension 2.062; his program's values from a "
    "time of 1e6 are at sprott.physics.wisc.edu/chaos/lorenzle.htm"
)
ONTO, TURNING = 60.0, 10.0
"""Units of time before tangents are carried along, and before they count."""


class Measured(NamedTuple):
    """Means over solutions, and their standard errors.

    Attributes:
        exponents, errors: falling, (K,).
        dimension: that of Kaplan and Yorke, of the mean exponents.
        seconds: taken.
    """

    exponents: np.ndarray
    errors: np.ndarray
    dimension: float
    seconds: float


class Figure(NamedTuple):
    """A number of a system, and what it should be.

    Attributes:
        of: what gives it.
        expected: the published or exact value.
        relative: whether its distance counts relative to that value.
        told: where the value is from, in a few words.
        source: of a published one.
    """

    of: Callable[[Measured], float]
    expected: float
    relative: bool
    told: str
    source: str | None


LORENZ63 = {
    "first": Figure(lambda found: found.exponents[0], 0.906, True, "the largest exponent", SOURCE),
    "second": Figure(lambda found: found.exponents[1], 0.0, False, "the exponent along the flow", SOURCE),
    "third": Figure(lambda found: found.exponents[2], -14.572, True, "the least exponent", SOURCE),
    "dimension": Figure(lambda found: found.dimension, 2.062, True, "the dimension of Kaplan and Yorke", SOURCE),
    "sum": Figure(lambda found: found.exponents.sum(), -(10 + 1 + 8 / 3), True, "their sum, the divergence", None),
}
LORENZ96 = {"sum": Figure(lambda found: found.exponents.sum(), -40.0, True, "their sum, the divergence", None)}


def main() -> None:
    """Measure both systems for every seed and write the rows."""
    parser = argparse.ArgumentParser(description="Lyapunov exponents beside published ones.", allow_abbrev=False)
    parser.add_argument("--seeds", type=int, default=3, help="how many seeds, from 0 on (3)")
    parser.add_argument("--duration", type=float, default=40.0, help="units of time that count (40)")
    parser.add_argument("--threads", type=int, default=1, help="threads (1)")
    parser.add_argument("--output", type=Path, default=PUBLISHED, help="folder of the rows (benchmarks/published)")
    given = parser.parse_args()
    if given.duration < 40 and given.output.resolve() == PUBLISHED.resolve():
        parser.error("a shorter duration is no row to publish: give another folder with --output")
    torch.set_num_threads(given.threads)
    command = f"python benchmarks/lyapunov.py --seeds {given.seeds} --duration {given.duration:g}"
    shared = {"command": command, "commit": commit(), "machine": machine(given.threads)}
    seeds = list(range(given.seeds))
    for system, count, step, method, figures in (
        (Lorenz63(), 1024, 0.025, "dopri5", LORENZ63),
        (Lorenz96(40), 16, 0.025, "rk4", LORENZ96),
    ):
        duration = given.duration if count > 16 else given.duration / 2
        found = [measure(system, count, duration, step, method, seed) for seed in seeds]
        for one in found:
            print(f"{system.name}: {np.round(one.exponents, 4)}, dimension {one.dimension:.4f}", flush=True)
        for name, figure in figures.items():
            row = _row(f"{system.name}_lyapunov_{name}", figure, found, seeds)
            print(write_row({**shared, **row, "dataset": system.name}, given.output))


def measure(system: System, count: int, duration: float, step: float, method: str, seed: int) -> Measured:
    """Return the exponents of a system, means over as many solutions."""
    began = time.perf_counter()
    generator = np.random.default_rng(seed)
    starts = torch.stack([system.draw(generator, (), ()).states for _ in range(count)])

    def field(t: Tensor, y: Tensor) -> Tensor:
        return system.field(t, y, {name: y.new_full(y.shape[:1], value) for name, value in system.parameters.items()})

    on = solve_ode(field, starts, [0.0, ONTO], method=method, step_size=step).states[:, -1]
    found = lyapunov_spectrum(
        field, on, duration, transient=TURNING, step_size=step, renormalise=10 * step, method=method
    )
    together = found._replace(exponents=found.exponents.mean(0, keepdim=True))
    return Measured(
        found.exponents.mean(0).numpy(),
        (found.exponents.std(0) / math.sqrt(count)).numpy(),
        float(together.kaplan_yorke[0]),
        time.perf_counter() - began,
    )


def _row(name: str, figure: Figure, found: list[Measured], seeds: list[int]) -> dict[str, Any]:
    """Return what is written of one figure, all but what rows share."""
    values = [float(figure.of(one)) for one in found]
    unit = abs(figure.expected) if figure.relative else 1.0
    where = "published" if figure.source else "exact"
    error = max(float(one.errors[0]) for one in found)
    return {
        "row": name,
        "split_hash": "none",
        "metric": "relative_error" if figure.relative else "absolute_error",
        "better": "lower",
        "seeds": seeds,
        "ours": [round(abs(value - figure.expected) / unit, 8) for value in values],
        "seconds": [round(one.seconds, 1) for one in found],
        "baselines": {},
        "published": None,
        "source": figure.source,
        "note": f"simulated; {'relative ' if figure.relative else ''}distance of {figure.told}, "
        f"{', '.join(f'{value:.5g}' for value in values)}, from the {where} {figure.expected:.5g}; the standard error "
        f"of the largest exponent over solutions is {error:.2g}",
    }


if __name__ == "__main__":
    main()
