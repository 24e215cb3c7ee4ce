"""Samples as rows of numbers: what every metric of samples takes, checked once, and drawn from by a seed.

Dimension letters: N samples, D numbers of each.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from integrand.core.errors import InputError

Samples = np.ndarray | Tensor
"""Samples, (N, D); images are flattened by who has them."""


def as_rows(*, least: int = 2, **samples: Samples) -> list[Tensor]:
    """Return samples as float64 tensors on the device of the first, where all that is asked of them holds.

    A device that knows no float64 hands its rows to the host: sums over all pairs need the digits.

    Args:
        least: how many rows each needs.
        samples: (N, D) each, by the names that errors call them.

    Raises:
        InputError: samples that are not rows of finite real numbers, too few of them, or rows of different widths.

    Example:
        >>> rows, = as_rows(generated=np.zeros((3, 2), dtype=np.float32))
        >>> rows.shape, rows.dtype
        (torch.Size([3, 2]), torch.float64)
    """
    made = {what: _wide(what, rows) for what, rows in samples.items()}
    first, like = next(iter(made.items()))
    for what, rows in made.items():
        if len(rows) < least:
            raise InputError(f"{what} has {len(rows)} rows, and {least} or more are needed: give more.")
        if rows.shape[1] != like.shape[1]:
            raise InputError(
                f"rows of {first} have {like.shape[1]} numbers and those of {what} {rows.shape[1]}: give rows of one "
                "width."
            )
        bad = (~rows.isfinite()).any(1).nonzero().flatten().tolist()
        if bad:
            more = f" ({len(bad)} rows do)" if len(bad) > 1 else ""
            raise InputError(f"row {bad[0]} of {what} holds NaN or infinity{more}: leave it out, and say so.")
    return [rows.to(like.device) for rows in made.values()]


def require_equal_counts(**samples: Tensor) -> int:
    """Return how many rows there are of each.

    Raises:
        InputError: there are not as many of each.
    """
    counts = {what: len(rows) for what, rows in samples.items()}
    if len(set(counts.values())) > 1:
        said = " and ".join(f"{count} rows of {what}" for what, count in counts.items())
        raise InputError(f"this metric compares as many rows of each, got {said}: leave out the surplus at random.")
    return next(iter(counts.values()))


def subsample(rows: Tensor, count: int, *, seed: int) -> Tensor:
    """Return ``count`` rows drawn without replacement, in their order; all of them where there are no more.

    Example:
        >>> subsample(torch.arange(6.0).view(3, 2), 3, seed=0).shape
        torch.Size([3, 2])
    """
    if len(rows) < count:
        raise InputError(f"{count} rows were asked for and there are {len(rows)}: ask for fewer, or give more.")
    if len(rows) == count:
        return rows
    drawn = np.random.Generator(np.random.PCG64(seed)).permutation(len(rows))[:count]
    return rows[torch.from_numpy(np.sort(drawn)).to(rows.device)]


def as_labels(what: str, labels: Samples | Sequence[int], rows: Tensor) -> np.ndarray:
    """Return whole numbers, one for each row.

    Raises:
        InputError: they are not whole, or not as many as the rows.
    """
    made = labels.cpu().numpy() if isinstance(labels, Tensor) else np.asarray(labels)
    if made.shape != (len(rows),) or made.dtype.kind not in "biu":
        raise InputError(
            f"labels of {what} must be whole numbers, one a row ({len(rows)},), got shape {made.shape} of {made.dtype}."
        )
    return made.astype(np.int64)


def _wide(what: str, samples: Samples) -> Tensor:
    if isinstance(samples, Tensor):
        rows = samples.detach()
    else:
        array = np.asarray(samples)
        if array.dtype.kind not in "biuf":
            raise InputError(f"{what} must hold real numbers, got an array of {array.dtype}.")
        rows = torch.tensor(array.astype(np.float64))  # a copy: the array may be read-only, or have negative strides
    if rows.is_complex():
        raise InputError(f"{what} must hold real numbers, got a tensor of {rows.dtype}.")
    if rows.dim() != 2 or not rows.shape[1]:
        raise InputError(f"{what} must be rows (N, D), got shape {tuple(rows.shape)}: flatten each sample.")
    return (rows.cpu() if rows.device.type == "mps" else rows).double()
