"""Errors of a field by bands of its Fourier waves."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from integrand.core.errors import InputError

BANDS = (4, 12)
"""Waves at which the middle and the high band begin, as PDEBench has them."""


def band_energies(u: Tensor, *, dims: int, edges: Sequence[int] = BANDS) -> Tensor:
    """Return the mean square of a field in each band of its waves; over the bands they add up to that of the field.

        E_b = sum over edges[b-1] <= |k| < edges[b] of |u_k|^2,      u = sum_k u_k exp(2 pi i k . x / L)

    with k the vector of whole numbers of waves along the axes, whose length is rounded down; the first band begins at
    0, the last has no end. The field is taken as periodic.

    Args:
        u: (..., *X), real.
        dims: axes of the grid.
        edges: where the bands after the first begin, increasing.

    Returns:
        (..., bands), one band more than edges.

    Raises:
        InputError: edges that do not increase from 1 on.

    Example:
        >>> x = torch.arange(64) / 64 * 2 * torch.pi
        >>> band_energies(2.0 + (5 * x).sin(), dims=1).round(decimals=4)
        tensor([4.0000, 0.5000, 0.0000])

    Source: Takamoto et al. (2022), PDEBench: An extensive benchmark for scientific machine learning, Appendix B, whose
    code begins the bands at 4 and 12.
    """
    starts = [0, *edges]
    if any(b <= a for a, b in pairwise(starts)):
        raise InputError(f"edges={tuple(edges)}: bands begin at whole numbers that increase from 1 on.")
    shape = u.shape[-dims:]
    if u.dtype in (torch.float16, torch.bfloat16):  # FFTs lose too much in half precision
        u = u.float()
    axes = tuple(range(-dims, 0))
    energy = torch.fft.rfftn(u, dim=axes, norm="forward").abs().square()
    last = torch.full((energy.shape[-1],), 2.0, device=u.device, dtype=energy.dtype)
    last[0] = 1.0  # waves of the last axis but 0 and n / 2 stand for two, k and -k
    if shape[-1] % 2 == 0:
        last[-1] = 1.0
    numbers = [torch.fft.fftfreq(n, 1 / n, device=u.device, dtype=energy.dtype) for n in shape[:-1]]
    numbers.append(torch.arange(energy.shape[-1], device=u.device, dtype=energy.dtype))
    square = torch.zeros((), device=u.device, dtype=energy.dtype)
    for axis, k in enumerate(numbers):
        square = square + k.square().view([-1 if other == axis else 1 for other in range(dims)])
    radius = (square + 0.5).sqrt().floor()  # whole numbers of waves, whatever rounding does to the root
    band = torch.bucketize(radius, torch.tensor(list(edges), device=u.device, dtype=energy.dtype), right=True)
    one_hot = torch.nn.functional.one_hot(band, len(starts)).to(energy)
    return (energy * last).flatten(-dims) @ one_hot.flatten(0, -2)


def relative_bands(
    prediction: Tensor, truth: Tensor, *, dims: int, edges: Sequence[int] = BANDS, floor: float = 0.01
) -> Tensor:
    """Return the mean over bands of the error's size beside the truth's in the same band.

        mean over b of  |p - u|_b / (|u|_b + floor |u|)

    A relative L2 error is blind to short waves, which have little energy; here each band counts alike, down to bands
    that hold less than ``floor`` of the whole.

    Args:
        prediction: p, (..., *X).
        truth: u, the same shape.
        dims: axes of the grid.
        edges: of the bands, see ``band_energies``; those beyond the grid's own waves have no energy and no error.
        floor: share of the truth's size that is added to each band's.

    Returns:
        The error of each field, (...).

    Example:
        >>> x = torch.arange(64) / 64 * 2 * torch.pi
        >>> truth = x.sin() + 0.1 * (5 * x).sin()
        >>> relative_bands(truth + 0.05 * (5 * x).sin(), truth, dims=1, floor=0.0, edges=(4,))
        tensor(0.2500)

    Source: integrand's own; bands as in Takamoto et al. (2022), PDEBench.
    """
    error = band_energies(prediction - truth, dims=dims, edges=edges)
    error = error.clamp(min=torch.finfo(error.dtype).tiny).sqrt()  # whose slope at 0 is 0
    energy = band_energies(truth, dims=dims, edges=edges)
    size = energy.sqrt() + floor * energy.sum(-1, keepdim=True).sqrt()
    return (error / size.clamp(min=torch.finfo(size.dtype).tiny)).mean(-1)
