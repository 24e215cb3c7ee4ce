"""Samples as pictures: one mosaic of images, clouds of points, bundles of series."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from torch import Tensor

from integrand.apps.generation.task import GenerationTask

GAP = 1
"""Pixels between the images of a mosaic."""


def pixels(values: Tensor, task: GenerationTask) -> Tensor:
    """Return images (N, C, H, W) with numbers from 0, black, to 1, white; real values by their own 1 % and 99 %."""
    if task.levels is not None:
        return values.float() / (task.levels - 1)
    real = values.float()
    low, high = torch.quantile(real.flatten()[:1_000_000], torch.tensor([0.01, 0.99])).tolist()
    return ((real - low) / max(high - low, 1e-12)).clamp(0, 1)


def mosaic(images: Tensor, columns: int | None = None) -> np.ndarray:
    """Set images (N, C, H, W) from 0 to 1 side by side; returns (Y, X) of grey ones, (Y, X, 3) of coloured ones.

    Example:
        >>> mosaic(torch.zeros(6, 1, 8, 8), columns=3).shape
        (17, 26)
    """
    count, channels, height, width = images.shape
    columns = columns or math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    shown = images if channels in (1, 3) else images[:, :1]
    blank = 1.0 if shown.shape[1] == 3 else 0.0  # white: grey images are drawn dark on white
    size = (rows * (height + GAP) - GAP, columns * (width + GAP) - GAP, shown.shape[1])
    page = np.full(size, blank, np.float32)
    for i, image in enumerate(shown.permute(0, 2, 3, 1).clamp(0, 1).cpu().numpy()):
        y, x = (i // columns) * (height + GAP), (i % columns) * (width + GAP)
        page[y : y + height, x : x + width] = image
    return page if page.shape[2] == 3 else page[:, :, 0]


def show(
    axes: Axes, values: Tensor, task: GenerationTask, *, columns: int | None = None, colour: str = "#0057B8"
) -> None:
    """Draw samples in the units of the data: a mosaic, two numbers of each point, or the first channel of series."""
    axes.grid(False)
    if task.kind == "image":
        axes.imshow(mosaic(pixels(values, task), columns), cmap="gray_r", vmin=0, vmax=1, interpolation="nearest")
        axes.set_axis_off()
    elif task.kind == "points":
        axes.scatter(values[:, 0], values[:, min(1, values.shape[1] - 1)], s=3, alpha=0.5, linewidths=0, color=colour)
    else:
        axes.plot(values[:, 0].T, linewidth=0.8, alpha=0.6, color=colour)


def limits(values: Tensor, share: float = 0.002) -> tuple[Sequence[float], Sequence[float]]:
    """Return bounds (low, high) of the first two numbers of points that hold nearly all, with a margin."""
    found = []
    for axis in (0, min(1, values.shape[1] - 1)):
        low, high = torch.quantile(values[:, axis].float(), torch.tensor([share, 1 - share])).tolist()
        found.append((low - 0.15 * (high - low), high + 0.15 * (high - low)))
    return found[0], found[1]
