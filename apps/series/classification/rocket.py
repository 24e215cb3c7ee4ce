"""Random convolutional features of series on a regular grid.

Dimension letters: N series, L steps, C channels, P kernels of a group, W weights of a kernel.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import conv1d, pad

from integrand.core.errors import InputError

Array = np.ndarray
WIDTHS = (7, 9, 11)
"""Lengths of the kernels."""


@dataclass(frozen=True)
class KernelGroup:
    """Kernels of one length, dilation and padding, which one convolution applies together.

    Attributes:
        weights: (P, C, W), 0 in the channels a kernel does not see.
        bias: (P,).
        dilation: steps between a kernel's weights.
        padding: zeros at each end of a series.
    """

    weights: Tensor
    bias: Tensor
    dilation: int
    padding: int


class Rocket:
    r"""Features of a series from many random kernels: how often each responds, and how strongly at most.

    Kernel k responds to a series x with :math:`z_t = b + \sum_{c, j} w_{cj}\, x_{c,\, t + j d}`; its two features are
    the proportion of positive :math:`z_t` and the greatest :math:`z_t`. Its length is 7, 9 or 11, alike probable; its
    weights are standard normal less their mean in each channel, its bias uniform in (-1, 1), its dilation
    :math:`d = \lfloor 2^u \rfloor` with u uniform in (0, log2((L - 1) / (length - 1))), so that it spans anything up
    to the whole series. With probability one half the series is padded with zeros, which centre the kernel on every
    step. It sees :math:`\lfloor 2^v \rfloor` channels, drawn without replacement, v uniform in
    (0, log2(min(C, length) + 1)).

    All series share one length, given to ``fit``: who calls brings them to it. Series of fewer than 11 steps are
    lengthened to 11 by zeros, so that every kernel fits.

    Args:
        kernels: how many.
        seed: of the draws.

    Source: Dempster, Petitjean and Webb (2020), ROCKET: exceptionally fast and accurate time series classification
    using random convolutional kernels, section 3; the choice of channels is that of the implementation for
    multivariate series in Ruiz et al. (2021), The great multivariate time series classification bake off.

    Example:
        >>> rocket = Rocket(kernels=100)
        >>> rocket.fit(length=50, channels=2)
        >>> rocket.transform(np.zeros((3, 50, 2))).shape
        (3, 200)
    """

    def __init__(self, kernels: int = 2000, *, seed: int = 0) -> None:
        if kernels < 1:
            raise InputError(f"kernels must be at least 1, got {kernels}.")
        self.kernels, self.seed = kernels, seed

    def fit(self, length: int, channels: int) -> None:
        """Draw the kernels for series of ``length`` steps and so many ``channels``; nothing is learned from data."""
        if length < 1 or channels < 1:
            raise InputError(f"length and channels must be at least 1, got {length} and {channels}.")
        self.length, self.channels = length, channels
        steps = max(length, *WIDTHS)
        rng = np.random.default_rng(self.seed)
        drawn: dict[tuple[int, int, int], list[tuple[Array, float]]] = {}
        for _ in range(self.kernels):
            width = int(rng.choice(WIDTHS))
            seen = min(int(2 ** rng.uniform(0, math.log2(min(channels, width) + 1))), channels)
            weights = np.zeros((channels, width))
            normal = rng.standard_normal((seen, width))
            weights[rng.choice(channels, seen, replace=False)] = normal - normal.mean(1, keepdims=True)
            bias = rng.uniform(-1, 1)
            dilation = int(2 ** rng.uniform(0, math.log2((steps - 1) / (width - 1))))
            padding = (width - 1) * dilation // 2 if rng.random() < 0.5 else 0
            drawn.setdefault((width, dilation, padding), []).append((weights, bias))
        self.groups = [
            KernelGroup(
                weights=torch.from_numpy(np.stack([weights for weights, _ in one])).float(),
                bias=torch.tensor([bias for _, bias in one], dtype=torch.float32),
                dilation=dilation,
                padding=padding,
            )
            for (_, dilation, padding), one in sorted(drawn.items(), key=lambda item: item[0])
        ]

    @torch.no_grad()
    def transform(self, values: Array) -> Array:
        """Return (N, 2 kernels): by group, the proportions of its kernels, then their maxima.

        Args:
            values: (N, L, C), finite.

        Raises:
            InputError: where L or C is not what the kernels were drawn for.
        """
        if values.ndim != 3 or values.shape[1:] != (self.length, self.channels):
            raise InputError(
                f"values must be (N, {self.length}, {self.channels}), as given to fit, got {values.shape}."
            )
        signal = torch.from_numpy(np.ascontiguousarray(values.transpose(0, 2, 1), dtype=np.float32))
        signal = pad(signal, (0, max(WIDTHS) - self.length)) if self.length < max(WIDTHS) else signal
        features = np.empty((len(values), 2 * self.kernels))
        column = 0
        for group in self.groups:
            count = len(group.bias)
            rows = max(1, 4_000_000 // (count * signal.shape[-1]))  # series at once, to bound the memory
            for start in range(0, len(values), rows):
                response = conv1d(
                    signal[start : start + rows],
                    group.weights,
                    group.bias,
                    dilation=group.dilation,
                    padding=group.padding,
                )
                positive = (response > 0).double().mean(-1)
                features[start : start + rows, column : column + count] = positive
                features[start : start + rows, column + count : column + 2 * count] = response.amax(-1)
            column += 2 * count
        return features
