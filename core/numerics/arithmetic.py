"""The arithmetic of a step: weighted sums of slopes, shifted times, coefficients on the device."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from integrand.core.numerics.modes import is_differentiated

Row = tuple[float, ...]
"""Weights of slopes."""


def combine(y: Tensor | None, h: Tensor | float, weights: Row, slopes: Sequence[Tensor]) -> Tensor:
    """Return y + h sum_i w_i k_i, or the sum without y, leaving out the zero weights."""
    if not isinstance(h, Tensor):  # weights times a number are numbers, which saves a kernel
        total = y
        for weight, slope in zip(weights, slopes, strict=False):
            if weight:
                total = slope * (weight * h) if total is None else torch.add(total, slope, alpha=weight * h)
        return torch.zeros_like(slopes[0]) if total is None else total
    total = None
    for weight, slope in zip(weights, slopes, strict=False):
        if weight:
            total = slope * weight if total is None else torch.add(total, slope, alpha=weight)
    if total is None:
        return torch.zeros_like(slopes[0]) if y is None else y
    h = along(h, total)
    return total * h if y is None else torch.addcmul(y, h, total)


def combine_each(y: Tensor, weights: Tensor, slopes: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Return y + sum_i w_qi k_i for every row q of weights (Q, stages)."""
    block = torch.stack([slope.flatten() for slope in slopes])
    with torch.autocast(y.device.type, enabled=False):  # which would take products in half precision
        return torch.addmm(y.reshape(1, -1), weights.to(block.dtype), block).view(len(weights), *y.shape).unbind(0)


def known_length(h: Tensor) -> Tensor | float:
    """Return the length of a step as a number, where that takes no waiting and no derivative is asked for.

    A graph that is compiled keeps the tensor: a number would be a constant of it.
    """
    if h.dim() or h.device.type != "cpu" or is_differentiated(h) or torch.compiler.is_compiling():
        return h
    return h.item()


def along(h: Tensor, y: Tensor) -> Tensor:
    """Shape h, a scalar or (B,), to multiply y (B, ...)."""
    return h if h.dim() == 0 else h.view(-1, *(1,) * (y.dim() - 1))


def shift(t: Tensor, h: Tensor, c: float) -> Tensor:
    """Return t + c h."""
    return torch.add(t, h, alpha=c) if c else t


_CONSTANTS: dict[tuple[Any, torch.dtype, torch.device], Tensor] = {}


def on_device(values: Row | tuple[Row, ...], like: Tensor) -> Tensor:
    """Return a method's coefficients as a tensor of the dtype and device of ``like``, made once a process."""
    key = (values, like.dtype, like.device)
    found = _CONSTANTS.get(key)
    if found is None:
        with torch.inference_mode(False), torch.no_grad():
            found = _fill(values, like)
        if type(found) is Tensor and not _is_capturing(like):  # a tensor without content ends with its trace
            _CONSTANTS[key] = found
    return found


def _is_capturing(like: Tensor) -> bool:
    """Return whether kernels are written down for a CUDA graph, and run only when it is replayed."""
    return like.device.type == "cuda" and torch.cuda.is_current_stream_capturing()


def _fill(values: Any, like: Tensor) -> Tensor:
    if like.device.type == "cpu":
        return torch.tensor(values, dtype=like.dtype, device=like.device)
    if not isinstance(values, tuple):  # filled on the device, for a copy from the host would make both wait
        return torch.full((), values, dtype=like.dtype, device=like.device)
    return torch.stack([_fill(value, like) for value in values])
