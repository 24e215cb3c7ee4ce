"""Draw error against work, ours beside scipy's and torchdiffeq's: ``python benchmarks/work_precision.py``.

Four problems are solved by every method at one tolerance after another. Errors are those at the last time, relative to
each component of scipy's solution at 1e-13, the worst of them. Work is counted in evaluations of the right-hand side,
with those for Jacobians by the peers' finite differences or our automatic ones, and measured in seconds for one sample
on one thread. Evaluations come out the same every time; seconds are the least of a few turns.
"""

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torchdiffeq
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from scipy.integrate import solve_ivp
from torch import Tensor

from integrand.apps.training.figures import WIDE, figure, style
from integrand.core.numerics import solve_ode

IMAGES = Path(__file__).parents[1] / "docs" / "images"
COLORS = {"integrand": "#0057B8", "scipy": "#B8690A", "torchdiffeq": "#7A7A7A"}
DECADES = tuple(10.0**-k for k in range(3, 13))


@dataclass(frozen=True)
class Problem:
    """An initial value problem from t = 0, its right-hand side given for components of any kind.

    Attributes:
        title: heading of its panel.
        slopes: f(t, *y), one slope for each component.
        start: y(0).
        end: T.
        floor: atol / rtol.
        stiff: whether it takes an implicit method.
    """

    title: str
    slopes: Callable[..., tuple[Any, ...]]
    start: tuple[float, ...]
    end: float
    floor: float = 1.0
    stiff: bool = False


class Method(NamedTuple):
    """A method of a library, with what its line looks like.

    Attributes:
        library, name: what it is called.
        marker: of its points.
        tolerances: at which it is run.
        stiff: whether it is for stiff problems.
    """

    library: str
    name: str
    marker: str
    tolerances: tuple[float, ...]
    stiff: bool = False


class Point(NamedTuple):
    """What one solve came to."""

    error: float
    evaluations: int
    seconds: float


class Solved(NamedTuple):
    """The last state of a solve and its evaluations."""

    last: np.ndarray
    evaluations: int


def robertson(t: Any, a: Any, b: Any, c: Any) -> tuple[Any, ...]:
    """Return the slopes of Robertson's kinetics."""
    gone = 0.04 * a - 1e4 * b * c
    burnt = 3e7 * b * b
    return -gone, gone - burnt, burnt


def orbit(t: Any, x: Any, y: Any, u: Any, v: Any) -> tuple[Any, ...]:
    """Return the slopes of a planet about its sun."""
    cube = (x * x + y * y) ** 1.5
    return u, v, -x / cube, -y / cube


PROBLEMS = (
    Problem("Rigid body (DETEST B5)", lambda t, a, b, c: (b * c, -a * c, -0.51 * a * b), (0.0, 1.0, 1.0), 20.0),
    Problem("Orbit, eccentricity 0.9 (DETEST D5)", orbit, (0.1, 0.0, 0.0, 19.0**0.5), 20.0),
    Problem("Van der Pol, mu = 1 (DETEST E2)", lambda t, u, v: (v, (1 - u * u) * v - u), (2.0, 0.0), 20.0),
    Problem("Robertson's kinetics to t = 1e11, stiff", robertson, (1.0, 0.0, 0.0), 1e11, floor=1e-8, stiff=True),
)
METHODS = (
    Method("integrand", "bosh3", "v", DECADES[:5]),
    Method("integrand", "dopri5", "o", DECADES[:8]),
    Method("integrand", "tsit5", "s", DECADES[:8]),
    Method("integrand", "dopri8", "D", DECADES[:9]),
    Method("scipy", "RK45", "o", DECADES[:8]),
    Method("scipy", "DOP853", "D", DECADES[:9]),
    Method("torchdiffeq", "dopri5", "o", DECADES[:8]),
    Method("torchdiffeq", "dopri8", "D", DECADES[:9]),
    Method("integrand", "kvaerno3", "v", DECADES[1:5], stiff=True),
    Method("integrand", "kencarp4", "s", DECADES[1:7], stiff=True),
    Method("scipy", "Radau", "o", DECADES[1:8], stiff=True),
)


def main() -> int:
    """Solve, and draw both figures."""
    parser = argparse.ArgumentParser(description="Draw error against work.", allow_abbrev=False)
    parser.add_argument("--turns", type=int, default=3, help="turns of every solve, the fastest of which counts (3)")
    parser.add_argument("--output", type=Path, default=IMAGES, help="folder of the figures (docs/images)")
    given = parser.parse_args()
    if given.turns < 1:
        parser.error("--turns must be at least 1")
    torch.set_num_threads(1)
    lines = [{m: line(problem, m, given.turns) for m in METHODS if m.stiff == problem.stiff} for problem in PROBLEMS]
    for name, work, label in (
        ("work_precision.png", "evaluations", "evaluations of the right-hand side"),
        ("work_precision_seconds.png", "seconds", "seconds for one sample, one CPU thread"),
    ):
        with style():
            draw(lines, work, label).savefig(given.output / name, metadata={"Software": None})
        print(given.output / name)
    return 0


def line(problem: Problem, method: Method, turns: int) -> list[Point]:
    """Solve a problem at one tolerance after another, several times over."""
    exact = by_scipy(problem, "Radau" if problem.stiff else "DOP853", 1e-13).last
    solve = {"integrand": by_integrand, "scipy": by_scipy, "torchdiffeq": by_torchdiffeq}[method.library]
    solve(problem, method.name, method.tolerances[0])  # what only the first call pays for
    points = []
    for tolerance in method.tolerances:
        solved, seconds = timed(partial(solve, problem, method.name, tolerance), turns)
        error = np.abs(solved.last / exact - 1).max()
        points.append(Point(float(error), solved.evaluations, seconds))
    return points


def timed(solve: Callable[[], Solved], turns: int) -> tuple[Solved, float]:
    """Return a solve and the seconds of its fastest turn."""
    seconds = []
    for _ in range(turns):
        began = time.perf_counter()
        solve()
        seconds.append(time.perf_counter() - began)
    return solve(), min(seconds)


def by_integrand(problem: Problem, method: str, tolerance: float) -> Solved:
    """Solve with the engine of this suite."""
    y0 = torch.tensor([problem.start], dtype=torch.float64)
    field, atol = torch_field(problem), tolerance * problem.floor
    solved = solve_ode(field, y0, [0.0, problem.end], method=method, rtol=tolerance, atol=atol)
    return Solved(solved.states[0, -1].numpy(), int(solved.stats.evaluations[0]))


def by_torchdiffeq(problem: Problem, method: str, tolerance: float) -> Solved:
    """Solve with torchdiffeq."""
    calls, field = 0, torch_field(problem)

    def counted(t: Tensor, y: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return field(t, y)

    y0, times = torch.tensor([problem.start], dtype=torch.float64), torch.tensor([0.0, problem.end]).double()
    states: Any = torchdiffeq.odeint(counted, y0, times, method=method, rtol=tolerance, atol=tolerance * problem.floor)
    return Solved(states[-1, 0].numpy(), calls)


def by_scipy(problem: Problem, method: Any, tolerance: float) -> Solved:
    """Solve with scipy."""
    calls = 0

    def counted(t: float, y: np.ndarray) -> tuple[Any, ...]:
        nonlocal calls
        calls += 1
        return problem.slopes(t, *y)

    options = {"method": method, "rtol": tolerance, "atol": tolerance * problem.floor}
    solved = solve_ivp(counted, (0.0, problem.end), problem.start, **options)
    return Solved(solved.y[:, -1], calls)


def torch_field(problem: Problem) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the right-hand side for a batch of states."""
    return lambda t, y: torch.stack(problem.slopes(t, *y.unbind(-1)), dim=-1)


def draw(lines: list[dict[Method, list[Point]]], work: str, label: str) -> Figure:
    """Draw a panel for every problem, every line named at its end."""
    drawn = figure(WIDE, 8.6)
    panels = drawn.subplots(2, 2)
    for axes, problem, found in zip(panels.flat, PROBLEMS, lines, strict=True):
        for method, points in found.items():
            ours = method.library == "integrand"
            axes.loglog(
                [getattr(point, work) for point in points],
                [point.error for point in points],
                color=COLORS[method.library],
                marker=method.marker,
                markersize=5,
                markerfacecolor=COLORS[method.library] if ours else "white",
                linestyle="-" if ours else (0, (4, 2)),
                linewidth=1.8 if ours else 1.2,
                zorder=3 if ours else 2,
            )
        axes.set_title(problem.title)
        axes.set_xlabel(label)
        first, last = axes.get_xlim()
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 3.0) if last < 80 * first else (1.0,)))
        axes.xaxis.set_minor_locator(LogLocator(subs=(2.0, 3.0, 5.0)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"1e{round(np.log10(value))}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.yaxis.set_minor_formatter(NullFormatter())
        name_lines(axes, found, work)
    for axes in panels[:, 0]:
        axes.set_ylabel("relative error at the end")
    return drawn


def name_lines(axes: Axes, found: dict[Method, list[Point]], work: str) -> None:
    """Write every line's name right of the panel at the height of its last point, apart from one another."""
    low, high = np.log10(axes.get_ylim())
    gap = 0.058

    def height(method: Method) -> float:
        return float((np.log10(found[method][-1].error) - low) / (high - low))

    ordered = sorted(found, key=height)
    places = [max(0.0, height(method)) for method in ordered]
    for i in range(1, len(places)):
        places[i] = max(places[i], places[i - 1] + gap)
    for i in reversed(range(len(places))):
        places[i] = min(places[i], 1 - gap * (len(places) - 1 - i))
    for method, place in zip(ordered, places, strict=True):
        last, color = found[method][-1], COLORS[method.library]
        text = method.name if method.library == "integrand" else f"{method.library} {method.name}"
        axes.annotate(
            text,
            xy=(getattr(last, work), last.error),
            xytext=(1.04, place),
            textcoords="axes fraction",
            va="center",
            color=color,
            fontsize=9.5,
            fontweight="bold" if method.library == "integrand" else "normal",
            arrowprops={"arrowstyle": "-", "color": color, "linewidth": 0.6, "alpha": 0.5, "shrinkA": 0, "shrinkB": 3},
        )


if __name__ == "__main__":
    sys.exit(main())
