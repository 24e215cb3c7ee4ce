"""Pictures of a model of the plane: its density beside the true one, its flow, and points on their way to the data."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from torch import Tensor

from integrand.apps.generation.grids import limits, show
from integrand.apps.generation.planar import FlowView, Plane
from integrand.apps.generation.task import GenerationTask
from integrand.apps.training.animations import save_animation
from integrand.apps.training.figures import MODEL, NARROW, OBSERVED, figure, save

SHOWN = 2000
"""Samples on a picture, at most."""
LABELS = 0.75
"""Inches beside and below axes for their labels."""


def draw_density(plane: Plane, drawn: Tensor, task: GenerationTask, path: Path) -> None:
    """Draw the true density where it is known, the learned one in the same colours, and samples (N, 2) of the model."""
    pictures = [("Learned density", plane.learned)]
    if plane.true is not None:
        pictures.insert(0, ("True density", plane.true))
    # The brightest two hundredths of a learned density may be spikes, which would leave the rest pale.
    most = float(np.quantile(plane.learned, 0.98)) if plane.true is None else 1.1 * float(plane.true.max())
    width = 0.8 * NARROW
    page = figure(width * (len(pictures) + 1), (width - LABELS) * _height(plane.x, plane.y) + 2.2)
    panels = page.subplots(1, len(pictures) + 1)
    image = None
    for axes, (title, values) in zip(panels, pictures, strict=False):
        image = axes.pcolormesh(plane.x, plane.y, values, cmap="Blues", vmin=0, vmax=most, shading="nearest")
        _frame(axes, plane.x, plane.y, title, task)
    show(panels[-1], drawn[:SHOWN], task, colour=MODEL)
    _frame(panels[-1], plane.x, plane.y, "Samples of the model", task)
    if image is not None:
        page.colorbar(image, ax=list(panels), label="density", orientation="horizontal", shrink=0.5, aspect=40)
    beside = "" if plane.true is None else "The density that the samples were drawn from, and in the same colours "
    save(
        page,
        path,
        f"{beside or 'The density '}that the model gives each point, by the exact likelihood of its flow; and the "
        f"first {min(SHOWN, len(drawn)):,} samples that it drew.",
        title="Density",
    )


def draw_flow(plane: Plane, task: GenerationTask, path: Path) -> None:
    """Draw the streamlines of the probability flow at a few levels of noise, over real samples with that much noise."""
    height = sum(_height(view.x, view.y) for view in plane.views) / len(plane.views)
    page = figure(2.2 * NARROW, 2 * ((1.1 * NARROW - LABELS) * height + LABELS + 0.2))
    for axes, view in zip(page.subplots(2, 2).flat, plane.views, strict=True):
        _stream(axes, view, task)
    save(
        page,
        path,
        "The equation that the network is the right-hand side of, s du/ds = u - D(u, s), followed from noise to data: "
        "u moves towards the mean D of the clean data that it may come from. Much noise leaves one mean, little noise "
        "one for each detail. Dots are real samples with that much noise, s in deviations of the data.",
        title="The flow",
    )


def draw_planar_path(path: Path, states: Tensor, task: GenerationTask) -> None:
    """Animate the states (S, n, 2) of a sampler, in the network's units, each step drawn at the size of the data."""
    last = task.restored(states[-1])
    # What the data make of a deviation of the network's units: noise of any size fills the same axes.
    grown = (states.flatten(1).std(1) / states[-1].std()).clamp(min=1)
    frames = [*range(len(states)), *[len(states) - 1] * max(4, len(states) // 2)]
    shown = [task.restored(state / scale) for state, scale in zip(states, grown, strict=True)]
    x, y = (np.array(each) for each in limits(torch.cat([shown[0], last])))
    page = figure(NARROW, (NARROW - LABELS) * _height(x, y) + LABELS + 0.3)
    axes = page.subplots()
    (dots,) = axes.plot([], [], ".", markersize=4, color=MODEL, alpha=0.7, markeredgewidth=0)
    _frame(axes, x, y, _told(grown[0]), task)

    def update(i: int) -> Any:
        state = shown[frames[i]]
        dots.set_data(state[:, 0], state[:, 1])
        axes.set_title(_told(grown[frames[i]]))

    caption = (
        "Points after every step of the sampler, from noise to data. The title says how far the points are spread, "
        "which are drawn at the size of the data."
    )
    save_animation(page, update, len(frames), path, caption, title="From noise to data", fps=8)


def _height(x: np.ndarray, y: np.ndarray) -> float:
    """Return how high axes of one scale are for their width, within what a page bears."""
    return float(np.clip((y[-1] - y[0]) / (x[-1] - x[0]), 0.3, 1.6))


def _told(grown: Tensor) -> str:
    return f"{float(grown):.2g} times the data's spread" if grown > 1.005 else "the data's spread"


def _stream(axes: Axes, view: FlowView, task: GenerationTask) -> None:
    axes.plot(*view.particles.T, ".", markersize=4, color=OBSERVED, alpha=0.4, markeredgewidth=0, zorder=1)
    u, v = np.moveaxis(view.velocity, -1, 0)
    axes.streamplot(view.x, view.y, u, v, density=1.0, linewidth=0.9, arrowsize=0.8, color=MODEL, zorder=2)
    _frame(axes, view.x, view.y, f"noise s = {view.level:g}", task)


def _frame(axes: Axes, x: np.ndarray, y: np.ndarray, title: str, task: GenerationTask) -> None:
    """Give axes the bounds of a grid, one scale for both, a title and the names of the numbers."""
    axes.grid(False)
    axes.set_xlim(float(x[0]), float(x[-1]))
    axes.set_ylim(float(y[0]), float(y[-1]))
    axes.set_aspect("equal")
    axes.set_title(title)
    axes.set_xlabel(task.channels[0], color=OBSERVED)
    axes.set_ylabel(task.channels[1], color=OBSERVED)
