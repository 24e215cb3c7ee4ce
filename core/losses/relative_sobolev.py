"""The relative H1 error of a field: that of its values and its slopes together."""

from collections.abc import Sequence
from math import pi

import torch
from torch import Tensor

from integrand.core.errors import InputError


def relative_h1(
    prediction: Tensor,
    truth: Tensor,
    *,
    lengths: Sequence[float],
    periodic: Sequence[bool] | bool = True,
    scale: float = 1.0,
) -> Tensor:
    """Return the size of the error and its gradient beside that of the truth and its gradient.

        |p - u|_1 / |u|_1,      |u|_1^2 = integral of u^2 + scale^2 |grad u|^2

    Along periodic axes the gradient is that of the Fourier series, along others that of differences of second order,
    one-sided at the ends. Slopes weigh short waves more than values do: a wave of number k by 1 + (scale k)^2.

    Args:
        prediction: p, (..., *X).
        truth: u, the same shape.
        lengths: of the box along each of the last axes, as many as the grid has; along an axis that is not periodic the
            distance from the first point to the last.
        periodic: for each axis, whether its ends are joined; or one for all.
        scale: unit of length of the gradient.

    Returns:
        The error of each field, (...).

    Raises:
        InputError: lengths and axes do not agree.

    Example:
        >>> x = torch.arange(64) / 64 * 2 * pi
        >>> truth = x.sin()
        >>> relative_h1(truth + 0.1 * (3 * x).cos(), truth, lengths=(2 * pi,))  # 0.1 sqrt(1 + 9) / sqrt(1 + 1)
        tensor(0.2236)

    Source: Czarnecki, Osindero, Jaderberg, Swirszcz and Pascanu (2017), Sobolev training for neural networks; for
    operators as in Li et al. (2022), Learning chaotic dynamics in dissipative systems (Sobolev norms).
    """
    axes = tuple(range(-len(lengths), 0))
    joined = (periodic,) * len(axes) if isinstance(periodic, bool) else tuple(periodic)
    if len(joined) != len(axes) or not axes or prediction.dim() < len(axes):
        raise InputError(f"lengths={tuple(lengths)} and periodic={joined}: give one of each for each axis of the grid.")
    squares = []
    for u in (prediction - truth, truth):
        square = u.square()
        for axis, length, wraps in zip(axes, lengths, joined, strict=True):
            square = square + scale**2 * _slope(u, axis, length, wraps).square()
        squares.append(square.mean(axes))
    tiny = torch.finfo(squares[0].dtype).tiny  # the root has no slope at 0
    return (squares[0].clamp(min=tiny) / squares[1]).sqrt()


def _slope(u: Tensor, axis: int, length: float, periodic: bool) -> Tensor:
    """Return the derivative along an axis."""
    n = u.shape[axis]
    if not periodic:
        return torch.gradient(u, spacing=length / (n - 1), dim=axis, edge_order=2 if n > 2 else 1)[0]
    values = u.movedim(axis, -1)
    if values.dtype in (torch.float16, torch.bfloat16):  # FFTs lose too much in half precision
        values = values.float()
    wave = torch.arange(n // 2 + 1, device=u.device, dtype=values.dtype) * (2 * pi / length)
    if n % 2 == 0:
        wave = torch.cat([wave[:-1], torch.zeros_like(wave[-1:])])  # n / 2 is a cosine whose slope is not seen
    spectrum = torch.fft.rfft(values) * torch.complex(torch.zeros_like(wave), wave)
    return torch.fft.irfft(spectrum, n=n).movedim(-1, axis)
