"""What a model makes of the plane: its density on a grid beside the true one, and its flow at a few levels of noise.

Letters: X columns and Y rows of a grid, V levels of noise, N samples.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from integrand.apps.generation.densities import likelihood
from integrand.apps.generation.grids import limits
from integrand.apps.generation.module import GenerationModule
from integrand.core.diffusion.process import lift

Array = np.ndarray
LEVELS = (2.0, 0.7, 0.25, 0.1)
"""Noise s = sigma / alpha at which the flow is shown, in deviations of the data."""
POINTS = 72
"""Points of the density's grid along each axis."""
ARROWS = 24
"""Points of the flow's grid along each axis."""
PARTICLES = 600
"""Samples that are shown with noise, at most."""
TOLERANCE = 1e-3
"""Of the solver, for what is looked at; figures that are read come from ``likelihood`` as it is."""


class FlowView(NamedTuple):
    """The flow at one level of noise, in the units of the data.

    Attributes:
        level: s = sigma / alpha.
        x, y: places of the grid, (X,) and (Y,).
        velocity: s du/ds of u = x_t / alpha, turned towards the data, (Y, X, 2): the mean of the clean data less u.
        particles: real samples with that much noise, (N, 2).
    """

    level: float
    x: Array
    y: Array
    velocity: Array
    particles: Array


class Plane(NamedTuple):
    """A model of points of the plane, as it is drawn.

    Attributes:
        x, y: places of the grid, (X,) and (Y,).
        learned: density of the model, (Y, X).
        true: that of what the samples were drawn from, (Y, X), None where it is not known.
        views: the flow, from much noise to little.
    """

    x: Array
    y: Array
    learned: Array
    true: Array | None
    views: list[FlowView]


def survey(
    module: GenerationModule, samples: Tensor, log_density: Callable[[Array], Array] | None, *, points: int = POINTS
) -> Plane | None:
    """Evaluate a model over the plane; None where its data are no points of the plane, or of classes.

    Args:
        module: trained, on the device it is to run on.
        samples: real ones, (N, 2), which say how far the grid reaches.
        log_density: the true one, as ``Samples`` has it.
        points: of the density's grid along each axis.
    """
    task = module.network.built_for
    if task.kind != "points" or task.dims != 2 or task.classes:
        return None
    x, y, grid = _grid(samples, points)
    nothing = torch.zeros(len(grid), dtype=torch.int64)
    found = likelihood(module, grid, nothing, rtol=TOLERANCE, atol=TOLERANCE).log_prob
    true = None if log_density is None else np.exp(log_density(grid.double().numpy())).reshape(points, points)
    views = [_view(module, samples[:PARTICLES], level) for level in LEVELS]
    return Plane(x, y, found.exp().numpy().reshape(points, points), true, views)


@torch.no_grad()
def _view(module: GenerationModule, samples: Tensor, level: float) -> FlowView:
    task, device = module.network.built_for, module.device
    noise = torch.randn(samples.shape, generator=torch.Generator().manual_seed(0))
    particles = task.restored(task.standardized(samples) + level * noise)
    x, y, grid = _grid(particles, ARROWS)
    z = task.standardized(grid.to(device))
    t = module.process.time(-torch.tensor(level, dtype=torch.float64).log()).to(z.dtype).to(device)
    labels = torch.zeros(len(z), dtype=torch.int64, device=device)
    clean = task.restored(module.flow.denoise(t, lift(module.process.alpha(t), z) * z, labels))
    velocity = (clean.cpu() - grid).view(ARROWS, ARROWS, 2)
    return FlowView(level, x, y, velocity.double().numpy(), particles.double().numpy())


def _grid(samples: Tensor, points: int) -> tuple[Array, Array, Tensor]:
    """Return places along both axes, where nearly all samples are, and the points (Y * X, 2), row by row."""
    x, y = (np.linspace(low, high, points) for low, high in limits(samples))
    pairs = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    return x, y, torch.from_numpy(pairs).float()
