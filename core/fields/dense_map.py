"""Dense layers as functions without memory of their own, which a compiler can take apart and fuse."""

from typing import NamedTuple

import torch
from torch import Tensor

from integrand.core.fields.activations import Dense, Kernel, Noted, joined_input
from integrand.core.fields.dense_reader import group_size


class DenseMap(NamedTuple):
    """x = [y, t, u] -> W_n s(... s(W_1 x + b_1) ...) + b_n and its transposed derivative; see ``DenseTape``.

    Attributes:
        layers: weights and biases, detached.
        kernels: the activation of each layer but the last, which may have one too.
        dim: dimension of y.
        time: whether t is an input.
        control: whether u is.
    """

    layers: tuple[Dense, ...]
    kernels: tuple[Kernel, ...]
    dim: int
    time: bool
    control: bool

    def evaluate(self, t: Tensor, y: Tensor, u: Tensor | None) -> tuple[Tensor, Noted]:
        """Return the slope, and what its derivative needs: for each layer its input, and what its activation keeps."""
        x = joined_input(t if self.time else None, y, u)
        inputs, kept = [], []
        for place, layer in enumerate(self.layers):
            inputs.append(x)
            kernel = self.kernels[place] if place < len(self.kernels) else None
            if kernel is not None and kernel.of_sum is not None and layer.bias is not None:
                x = kernel.of_sum(x @ layer.transposed, layer.bias)
                kept.append(x)
                continue
            x = torch.nn.functional.linear(x, layer.weight, layer.bias)
            if kernel is not None:
                z, x = x, kernel.of(x)
                kept.append(z if kernel.keeps_input else x)
        return x, (tuple(inputs), tuple(kept))

    def pull(self, noted: Noted, k_bar: Tensor) -> tuple[Tensor, Tensor | None, tuple[Tensor, ...]]:
        """Return the cotangents of y and u, given that of the slope, and those of every layer's W x + b."""
        _, kept = noted
        x_bar, bars = k_bar, []
        for place in reversed(range(len(self.layers))):
            if place < len(self.kernels):
                x_bar = self.kernels[place].pull(x_bar, kept[place])
            bars.append(x_bar)
            x_bar = x_bar @ self.layers[place].weight
        u_bar = x_bar[:, self.dim + int(self.time) :] if self.control else None
        return x_bar[:, : self.dim], u_bar, tuple(bars[::-1])

    def group(self, like: Tensor) -> int:
        """Return how many evaluations are best gathered at once."""
        return group_size(like, like.shape[0])

    def gather(self, noted: list[Noted], bars: list[tuple[Tensor, ...]], totals: list[Tensor] | None) -> list[Tensor]:
        """Add to the cotangents of weights and biases, in order, the share of some evaluations: one product each."""
        found: list[Tensor] = []
        known = iter(totals or ())
        for place, layer in enumerate(self.layers):
            x, z_bar = _join([inputs[place] for inputs, _ in noted]), _join([bar[place] for bar in bars])
            # The product with fewer rows than columns is much the faster one of a thin pair.
            if x.shape[1] < z_bar.shape[1]:
                found.append(_product(x, z_bar, next(known).t() if totals else None).t())
            else:
                found.append(_product(z_bar, x, next(known) if totals else None))
            if layer.bias is not None:
                ones = z_bar.new_ones(len(z_bar), 1)
                found.append(_product(ones, z_bar, next(known).unsqueeze(0) if totals else None).squeeze(0))
        return found


def _join(parts: list[Tensor]) -> Tensor:
    return torch.cat(parts) if len(parts) > 1 else parts[0]


def _product(x: Tensor, y: Tensor, total: Tensor | None) -> Tensor:
    """Return x^T y, added to a total if there is one."""
    return x.t() @ y if total is None else torch.addmm(total, x.t(), y)
