"""The Frechet Inception distance, of torchmetrics, with weights that the user gives."""

import io
from collections.abc import Sequence
from math import prod
from pathlib import Path

import torch
from torch import Tensor

from integrand.apps.generation.metrics.rows import Samples, as_rows
from integrand.apps.generation.weight_files import pickled_tensors
from integrand.core.errors import InputError


def frechet_inception_distance(
    generated: Samples,
    real: Samples,
    *,
    shape: Sequence[int],
    weights: Path,
    value_range: tuple[float, float] = (0.0, 1.0),
    features: int = 2048,
    batch: int = 64,
) -> float:
    """Return the Frechet distance of Inception's features of images, the FID of papers; 0 is the best.

    Images are rounded to 8 bits, values out of range clipped as they are when an image is saved; grey images have their
    channel three times over. They are resized as the first implementation did it (no antialiasing), for published
    values are of that. It is biased upwards and compares at equal numbers of images alone: papers have 50,000 of each;
    below 2,048 the covariances are singular. The file of weights is read as tensors alone, nothing in it is executed.

    Args:
        generated: (N, D), images flattened, on the device that is to work.
        real: (M, D).
        shape: (C, H, W), C being 1 or 3.
        weights: file of torch-fidelity's Inception, ``weights-inception-2015-12-05-6726825d.pth``.
        value_range: the values that stand for black and white.
        features: 64, 192, 768 or 2048, the layer.
        batch: images at a time.

    Raises:
        InputError: see ``as_rows``; torch-fidelity is not installed; a file, shape, range or layer that will not do.

    Source: Heusel, Ramsauer, Unterthiner, Nessler and Hochreiter (2017), GANs trained by a two time-scale update rule
    converge to a local Nash equilibrium, Eq. 6.
    """
    x, y = as_rows(generated=generated, real=real)
    low, high = value_range
    if len(shape) != 3 or shape[0] not in (1, 3) or prod(shape) != x.shape[1]:
        raise InputError(f"shape must be (1 or 3, H, W) of the {x.shape[1]} numbers of a row, got {tuple(shape)}.")
    if not low < high:
        raise InputError(f"value_range must be increasing, got {value_range}.")
    if features not in (64, 192, 768, 2048):
        raise InputError(f"features must be 64, 192, 768 or 2048, got {features}.")
    try:
        import torch_fidelity  # noqa: F401 # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise InputError("the Frechet Inception distance needs torch-fidelity: pip install torch-fidelity.") from error
    except RuntimeError as error:  # a torchvision that is built for another torch
        raise InputError(
            f"torch-fidelity does not load ({error}): install the torchvision that goes with this torch."
        ) from error
    from torchmetrics.image.fid import FrechetInceptionDistance

    checked = _checked(weights)
    try:
        metric = FrechetInceptionDistance(features, feature_extractor_weights_path=checked, antialias=False)  # pyright: ignore[reportArgumentType]
    except RuntimeError as error:
        raise InputError(
            f"{weights} does not hold the weights of torch-fidelity's Inception: name that file."
        ) from error
    metric = metric.to(x.device)
    for rows, is_real in ((x, False), (y, True)):
        for some in rows.split(batch):
            metric.update(_bytes(some, shape, low, high), real=is_real)
    return metric.compute().item()


def _bytes(rows: Tensor, shape: Sequence[int], low: float, high: float) -> Tensor:
    """Return images of 8 bits, (N, 3, H, W)."""
    scaled = ((rows - low) * (255 / (high - low))).round().clamp(0, 255)
    return scaled.to(torch.uint8).view(-1, *shape).expand(-1, 3, -1, -1)


def _checked(weights: Path) -> io.BytesIO:
    """Return the tensors of a file as a file: torch-fidelity would execute what else it holds."""
    if not Path(weights).is_file():
        raise InputError(
            f"there are no weights {weights}: download them from torch-fidelity's releases, and name the file."
        )
    buffer = io.BytesIO()
    torch.save(pickled_tensors(weights), buffer)
    buffer.seek(0)
    return buffer
