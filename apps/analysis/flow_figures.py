"""Pictures of an equation that a model solves: its phase portrait, its spectra, and where it costs evaluations.

Dimension letters: B solutions, T times, D state, G points of a grid along an axis.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from torch import Tensor

from integrand.apps.analysis.flow import Flow
from integrand.apps.training.figures import FAINT, MODEL, NARROW, OBSERVED, SERIES, WIDE, figure, save
from integrand.core.analysis import FixedPoints, JacobianSpectra
from integrand.core.numerics import solve_ode

Array = np.ndarray
STREAMS = 41
"""Points of the grid along an axis on which the field is drawn."""
MAP, COARSE_MAP, MANY = 33, 13, 16
"""Points of the grid along an axis from which evaluations are counted: the fewer in more than so many dimensions, where
an evaluation is most often that of a large network."""
SHOWN = 32
"""Solutions drawn, at most."""
MARGIN = 0.15
"""Share of the solutions' range that is drawn on each side."""
TOLERANCE = 1e-6
"""Of the solves whose evaluations are counted."""
MARKS = {"stable": "o", "saddle": "X", "unstable": "s", "centre": "D"}


class Plane(NamedTuple):
    """A plane through state space: y = centre + a first + b second."""

    centre: Tensor
    axes: Tensor
    labels: tuple[str, str]
    whole: bool

    def of(self, states: Tensor) -> Array:
        """Return the coordinates (..., 2) of states (..., D) projected onto it."""
        return ((states - self.centre) @ self.axes.t()).cpu().numpy()

    def at(self, points: Array) -> Tensor:
        """Return the states (..., D) at coordinates (..., 2)."""
        return torch.from_numpy(points).to(self.axes) @ self.axes + self.centre


def plane_of(flow: Flow) -> Plane:
    """Return the state space where it is a plane, else the plane in which solutions vary most."""
    states = flow.states.flatten(0, 1)
    if states.shape[-1] == 2:
        axes = torch.eye(2, dtype=states.dtype, device=states.device)
        return Plane(torch.zeros_like(states[0]), axes, (flow.channels[0], flow.channels[1]), True)
    centre = states.mean(0)
    _, sizes, directions = torch.linalg.svd(states - centre, full_matrices=False)
    shares = (sizes.square() / sizes.square().sum()).tolist()
    labels = tuple(f"component {n + 1} ({100 * shares[n]:.0f} % of variance)" for n in range(2))
    return Plane(centre, directions[:2], (labels[0], labels[1]), False)


def draw_portrait(flow: Flow, found: FixedPoints | None, path: Path) -> None:
    """Draw solutions in the plane, over the field where that is the whole state space, with its fixed points."""
    plane = plane_of(flow)
    ways = plane.of(flow.states[:SHOWN])
    made = figure(NARROW, NARROW * 0.95)
    axes = made.subplots()
    x, y = _axes(ways)
    if plane.whole:
        grid = np.stack(np.meshgrid(x, y), -1)
        with torch.no_grad():
            slopes = flow.field(flow.times[0], plane.at(grid.reshape(-1, 2))).cpu().numpy().reshape(grid.shape)
        axes.streamplot(
            x, y, slopes[..., 0], slopes[..., 1], color="#C9CED6", linewidth=0.7, density=1.1, arrowsize=0.7
        )
    axes.add_collection(LineCollection(list(ways), colors=MODEL, linewidths=1.1, alpha=0.75))
    axes.plot(*ways[:, 0].T, "o", color=OBSERVED, markersize=3, label="start")
    inside = _mark(axes, plane, found, x, y)
    axes.set_xlim(x[0], x[-1])
    axes.set_ylim(y[0], y[-1])
    axes.set_xlabel(plane.labels[0])
    axes.set_ylabel(plane.labels[1])
    made.legend(*axes.get_legend_handles_labels(), loc="outside upper left", ncols=3, columnspacing=1.0)
    drawn = "over the field they follow" if flow.autonomous else "over the field as it is at the first time"
    where = drawn if plane.whole else "in the plane in which they vary most"
    rest = f" {inside} fixed point{'s lie' if inside > 1 else ' lies'} within the picture." if inside else ""
    save(
        made,
        path,
        f"Solutions of {flow.of} (blue), from their starts (black) on, {where}.{rest}",
        title="Phase portrait",
    )


def draw_spectra(flow: Flow, spectra: JacobianSpectra, path: Path) -> None:
    """Draw the eigenvalues of the Jacobian along solutions, and how fast neighbours part, over time."""
    values = spectra.eigenvalues.cpu().numpy()
    times = flow.times.cpu().numpy()
    made = figure(WIDE, 3.9)
    left, right = made.subplots(1, 2)
    colours = np.broadcast_to(times[:, None], values.shape[1:])
    shown = values[:SHOWN]
    real, imaginary = np.real(shown).ravel(), np.imag(shown).ravel()
    when = np.broadcast_to(colours, shown.shape).ravel()
    drawn = left.scatter(real, imaginary, c=when, s=5, cmap="viridis", linewidths=0, rasterized=True)
    left.axvline(0, color=OBSERVED, linewidth=0.8)
    left.set_xlabel("real part: growth")
    left.set_ylabel("imaginary part: rotation")
    made.colorbar(drawn, ax=left, label=flow.clock)
    for (colour, _), curve, label in zip(
        SERIES, (spectra.growth, spectra.measure), ("largest real part", "matrix measure"), strict=False
    ):
        low, middle, high = np.quantile(curve.cpu().numpy(), (0.05, 0.5, 0.95), axis=0)
        right.fill_between(times, low, high, color=colour, alpha=0.18, linewidth=0)
        right.plot(times, middle, color=colour, label=label)
    right.axhline(0, color=FAINT, linewidth=0.8, linestyle=(0, (2, 2)))
    right.set_xlabel(flow.clock)
    right.set_ylabel("per unit of time")
    right.legend()
    save(
        made,
        path,
        f"Eigenvalues of the Jacobian of {flow.of} along its solutions, coloured by time; left of the line a direction "
        "decays. Right, the largest real part and the matrix measure, the fastest that two neighbouring solutions can "
        "part at that moment: medians, with the middle 90 % of solutions.",
        title="Jacobian spectra",
    )


def draw_evaluations(flow: Flow, path: Path) -> None:
    """Draw, over the plane, how many evaluations a solution from there takes."""
    plane = plane_of(flow)
    x, y = _axes(plane.of(flow.states[:, :1]), MAP if flow.states.shape[-1] <= MANY else COARSE_MAP)
    starts = plane.at(np.stack(np.meshgrid(x, y), -1).reshape(-1, 2))
    with torch.no_grad():
        solution = solve_ode(
            flow.field,
            starts,
            flow.times[[0, -1]],
            rtol=TOLERANCE,
            atol=TOLERANCE,
            stepping="per_sample",
            max_steps=2000,
            on_failure="nan",
        )
    counts = solution.stats.evaluations.cpu().double().numpy()
    counts[~torch.isfinite(solution.states[:, -1]).all(-1).cpu().numpy()] = np.nan
    made = figure(NARROW, NARROW * 0.9)
    axes = made.subplots()
    drawn = axes.pcolormesh(x, y, counts.reshape(len(y), len(x)), cmap="viridis", rasterized=True)
    axes.plot(*plane.of(flow.states[:SHOWN, 0]).T, "o", color="white", markeredgecolor=OBSERVED, markersize=3.5)
    axes.set_xlabel(plane.labels[0])
    axes.set_ylabel(plane.labels[1])
    made.colorbar(drawn, ax=axes, label="evaluations of the field")
    few, most = np.nanmin(counts), np.nanmax(counts)
    lost = int(np.isnan(counts).sum())
    save(
        made,
        path,
        f"How many evaluations of {flow.of} an adaptive method (dopri5, tolerance {TOLERANCE:g}, steps of each "
        f"sample's own) takes over the whole span from each start in the plane: {few:.0f} to {most:.0f}. Dots are "
        "starts that the test part has." + (f" From {lost} of {counts.size} starts it gave up." if lost else ""),
        title="Where evaluations are spent",
    )


def _axes(points: Array, count: int = STREAMS) -> tuple[Array, Array]:
    """Return the coordinates of a grid around points (..., 2)."""
    flat = points.reshape(-1, 2)
    low, high = np.nanmin(flat, axis=0), np.nanmax(flat, axis=0)
    room = np.maximum(high - low, 1e-3 * np.maximum(1.0, np.abs(high))) * MARGIN
    x, y = (np.linspace(low[n] - room[n], high[n] + room[n], count) for n in range(2))
    return x, y


def _mark(axes: Axes, plane: Plane, found: FixedPoints | None, x: Array, y: Array) -> int:
    """Mark the fixed points that lie within the picture, and return how many do."""
    if found is None or not plane.whole:
        return 0
    places = plane.of(found.points)
    inside = np.all((places >= (x[0], y[0])) & (places <= (x[-1], y[-1])), axis=-1)
    for kind, mark in MARKS.items():
        chosen = [bool(near) and name.startswith(kind) for near, name in zip(inside.tolist(), found.kinds, strict=True)]
        if any(chosen):
            axes.plot(*places[chosen].T, mark, color="#D1495B", markersize=7, markeredgecolor="white", label=kind)
    return int(inside.sum())
