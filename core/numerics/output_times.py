"""The times a caller asks for, checked."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from integrand.core.errors import InputError


def check_times(times: Tensor | Sequence[float], y0: Tensor) -> Tensor:
    """Return output times as a tensor (T,) or (B, T) of the real dtype and the device of ``y0``.

    On an accelerator to look at the times' values would make the host wait; there the caller's times are trusted.

    Raises:
        InputError: they are empty, not finite, not shaped for the batch, or shared and not strictly monotonic.
    """
    real = y0.dtype.to_real()
    if not isinstance(times, Tensor):
        times = torch.tensor(times, dtype=real, device=y0.device)
    if times.device != y0.device:
        raise InputError(f"times are on {times.device}, y0 is on {y0.device}: move one to the other.")
    times = times.to(dtype=real)
    if times.dim() not in (1, 2) or times.shape[-1] < 1:
        raise InputError(f"times must be (T,) or (B, T) with T >= 1, got shape {tuple(times.shape)}.")
    if times.dim() == 2 and times.shape[0] != y0.shape[0]:
        raise InputError(
            f"times has {times.shape[0]} rows for a batch of {y0.shape[0]}: give (T,) shared times or a row a sample."
        )
    if times.device.type != "cpu" or times.numel() == 0:
        return times
    values = times.detach()
    if times.dim() == 1 and _are_in_order(values):
        return times
    if not bool(torch.isfinite(values).all()):
        raise InputError(f"times must be finite, got {_some(values[~torch.isfinite(values)])}: drop or replace them.")
    steps = values.diff(dim=-1)
    if times.dim() == 1:
        if not (bool((steps > 0).all()) or bool((steps < 0).all())):
            raise InputError(
                f"times must be strictly increasing or strictly decreasing, got {_some(values)}: sort them and drop "
                "repeats."
            )
    elif not bool(((steps >= 0).all(-1) | (steps <= 0).all(-1)).all()):
        row = int((~((steps >= 0).all(-1) | (steps <= 0).all(-1))).nonzero()[0])
        raise InputError(f"times of sample {row} turn back, got {_some(values[row])}: sort them.")
    return times


def _are_in_order(values: Tensor) -> bool:
    """Return whether times (T,) are finite and strictly monotonic, by as few kernels as show it."""
    first, last = float(values[0]), float(values[-1])
    if not math.isfinite(first - last):
        return False
    if len(values) < 3:
        return len(values) == 1 or first != last
    least, most = values.diff().aminmax()  # not a number where a time is none
    return float(least) > 0 or float(most) < 0


def _some(values: Tensor) -> str:
    listed = ", ".join(f"{value:g}" for value in values.flatten()[:6].tolist())
    return f"[{listed}{', ...' if values.numel() > 6 else ''}]"
