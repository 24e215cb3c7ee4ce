"""A bound of what a convolution stretches, for signals of any length."""

import math

import torch
from torch import Tensor, nn

POINTS = {1: 256, 2: 32}
"""Frequencies for each dimension of the signal."""


def convolution_norm_bound(layer: nn.Conv1d | nn.Conv2d) -> float | None:
    """Return a bound of the spectral norm of a convolution without its bias, whatever the size of the signal.

        |K * x| <= sup_w |K^(w)| |x|,      K^(w) = sum over taps k of K_k exp(-i w.k), a matrix (out, in) of w

    Padding with zeros and strides leave out parts of the convolution of signals without ends, and dilation moves
    frequencies; none of them stretches. The supremum is bounded from a grid: |u^* K^(w) v| is the modulus of a
    trigonometric polynomial of degree n in each frequency, so that for M > 2 n points it is at most
    1 / cos(pi n / M) of its largest value on them. It is at most the sum of |K_k|, too.

    Args:
        layer: the convolution; groups are blocks, each for itself.

    Returns:
        The bound; None where padding repeats parts of the signal.

    Example:
        >>> layer = nn.Conv1d(1, 1, 2, bias=False)
        >>> layer.weight.data.copy_(torch.tensor([[[1.0, -1.0]]])).shape
        torch.Size([1, 1, 2])
        >>> round(convolution_norm_bound(layer), 3)  # sup |1 - exp(i w)| = 2
        2.0

    Source: Sedghi, Gupta and Long (2019), The singular values of convolutional layers; from a grid to everywhere:
    Pfister and Bresler (2018), Bounding multivariate trigonometric polynomials with applications to filter bank design.
    """
    kernel = tuple(layer.kernel_size)
    if layer.padding_mode == "circular":
        around = [0] * len(kernel) if layer.padding == "valid" else list(layer.padding)
        if layer.padding != "same" and any(
            2 * int(p) > d * (k - 1) for p, d, k in zip(around, layer.dilation, kernel, strict=True)
        ):
            return None  # the signal comes round more than once
    elif layer.padding_mode != "zeros":
        return None
    weight = layer.weight.detach().double() if layer.weight.device.type != "mps" else layer.weight.detach()
    blocks = weight.unflatten(0, (layer.groups, -1))
    bound = 0.0
    for block in blocks:
        taps = torch.linalg.matrix_norm(block.flatten(2).permute(2, 0, 1), ord=2).sum().item()
        bound = max(bound, min(taps, _over_frequencies(block, kernel)))
    return bound * (1 + 64 * torch.finfo(weight.dtype).eps * max(weight.shape) * math.prod(kernel))


def _over_frequencies(block: Tensor, kernel: tuple[int, ...]) -> float:
    """Return the bound from a grid of frequencies, of one group's (out, in, *kernel)."""
    points, factor = POINTS[len(kernel)], 1.0
    for size in kernel:
        degree = math.ceil((size - 1) / 2)
        if points <= 4 * degree:
            return math.inf
        factor /= math.cos(math.pi * degree / points)
    spectrum = torch.fft.fftn(block, s=(points,) * len(kernel), dim=tuple(range(2, 2 + len(kernel))))
    largest = 0.0
    # Real kernels have conjugate values at opposite frequencies, half of which will do.
    for place in range(points // 2 + 1):
        matrices = spectrum[:, :, place].reshape(*spectrum.shape[:2], -1)
        largest = max(largest, torch.linalg.matrix_norm(matrices.permute(2, 0, 1), ord=2).max().item())
    return largest * factor
