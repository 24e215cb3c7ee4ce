"""The tape of a field made of dense layers."""

import sys
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from integrand.core.fields.activations import Dense, Kernel, joined_input
from integrand.core.fields.dense_map import DenseMap
from integrand.core.fields.dense_reader import DenseReader, Packed

KEPT_ON_HOST, KEPT_ON_ACCELERATOR = 2048, 65536
"""Rows of one slab of memory, samples times evaluations: what the host's allocator hands out again."""


class DenseTape:
    """Evaluations of x = [y, t, u] -> W_n s(... s(W_1 x + b_1) ...) + b_n, as the protocol ``Tape`` asks.

    With z_l = W_l a_{l-1} + b_l and a_l = s(z_l), the transposed Jacobian is applied as

        zbar_n = kbar,   abar_{l-1} = zbar_l W_l,   zbar_{l-1} = abar_{l-1} s'(z_{l-1}),

    and W_l's cotangent is sum zbar_l^T a_{l-1} over all evaluations, formed once for many of them.

    Args:
        layers: the weights W_l (out, in) and biases b_l, or None, from the first layer to the last.
        kernels: the activations, one a layer or one fewer.
        dim: dimension of y, where it is not that of the output.
        time: whether t is an input.
        wants_control: whether u's cotangent is asked for.
    """

    def __init__(
        self,
        layers: Sequence[tuple[Tensor, Tensor | None]],
        kernels: Sequence[Kernel],
        *,
        dim: int | None = None,
        time: bool = False,
        wants_control: bool = False,
    ) -> None:
        self.time, self.wants_control = time, wants_control
        self.parameters = tuple(p for layer in layers for p in layer if p is not None)
        self.dense = [Dense.of(weight, bias) for weight, bias in layers]
        # The layers whose output is kept: all but the last, unless that one, too, has an activation.
        self.kept = list(zip(self.dense, kernels, strict=False))
        self.last = self.dense[-1] if len(kernels) < len(layers) else None
        self.width = self.dense[-1].weight.shape[0]
        self.dim = self.width if dim is None else dim
        self.blocks: list[_Slabs | _Jointly] = []
        self.block: _Slabs | _Jointly | None = None  # the one being filled
        self.packed: list[Packed] = []

    def push(self, t: Tensor, y: Tensor, args: Any, out: Tensor | None = None) -> Tensor:
        """See ``Tape``."""
        x = joined_input(t if self.time else None, y, args)
        block = self.block
        if block is None or len(block.inputs) == block.count or block.batch != y.shape[0]:
            block = self._new_block(x)
        x = block.evaluate(x)
        if self.last is None:
            return x.clone() if out is None else out.copy_(x)
        return self.last(x, y.new_empty(y.shape[0], self.width) if out is None else out)

    def mark(self) -> int:
        """See ``Tape``."""
        return sum(len(block.inputs) for block in self.blocks)

    def rewind(self, mark: int) -> None:
        """See ``Tape``."""
        extra = self.mark() - mark
        while extra > 0:
            block = self.blocks[-1]
            drop = min(extra, len(block.inputs))
            block.forget(drop)
            extra -= drop
            if not block.inputs:
                self.blocks.pop()
                self.block = self.blocks[-1] if self.blocks else None

    def pack(self) -> tuple[Tensor, ...]:
        """See ``Tape``."""
        packed = []
        for block in self.blocks:
            tensors = block.pack()
            self.packed.append(Packed(len(block.inputs), block.batch, len(tensors), block.joint))
            packed += tensors
        self.blocks, self.block = [], None
        return tuple(packed)

    def read(self, packed: tuple[Tensor, ...]) -> DenseReader:
        """See ``Tape``."""
        return DenseReader(
            self.dense,
            [kernel for _, kernel in self.kept],
            self.packed,
            packed,
            dim=self.dim,
            time=self.time,
            wants_control=self.wants_control,
        )

    def as_map(self) -> DenseMap:
        """Return the field as a compiler wants it."""
        kernels = tuple(kernel for _, kernel in self.kept)
        return DenseMap(tuple(self.dense), kernels, self.dim, self.time, self.wants_control)

    def _new_block(self, x: Tensor) -> "_Slabs | _Jointly":
        batch = x.shape[0]
        if any(kernel.joins(x, len(dense.weight)) for dense, kernel in self.kept):
            self.block = _Jointly(self.kept, x)
        else:
            rows = KEPT_ON_HOST if x.device.type == "cpu" else KEPT_ON_ACCELERATOR
            # The first block is small, for a solve may be short.
            count = max(1, min(rows // max(1, batch), 4 * self.blocks[-1].count if self.blocks else 16))
            self.block = _Slabs(self.kept, x, count)
        self.blocks.append(self.block)
        return self.block


class _Slabs:
    """A run of evaluations of one batch size, with a slab of memory for each tensor that is kept.

    Attributes:
        count: evaluations there is room for.
        batch: samples of each.
        inputs: of the evaluations so far.
        slabs: for each activation what its derivative needs and, if that is its input, its output; (count B, width).
    """

    joint = False

    def __init__(self, kept: Sequence[tuple[Dense, Kernel]], like: Tensor, count: int) -> None:
        self.count, self.batch = count, like.shape[0]
        self.inputs: list[Tensor] = []
        self.slabs: list[Tensor] = []
        self.layers = []
        for dense, kernel in kept:
            slabs = [like.new_empty(count * self.batch, dense.weight.shape[0]) for _ in range(1 + kernel.keeps_input)]
            rows = [slab.split(max(1, self.batch)) for slab in slabs]
            self.slabs += slabs
            self.layers.append((dense, kernel.forward, rows[0], rows[-1]))

    def evaluate(self, x: Tensor) -> Tensor:
        """Evaluate all layers that have an activation."""
        place = len(self.inputs)
        self.inputs.append(x)
        for dense, forward, kept, active in self.layers:
            a = active[place]
            forward(dense(x, kept[place]), a)
            x = a
        return x

    def forget(self, count: int) -> None:
        """Forget the last evaluations."""
        del self.inputs[len(self.inputs) - count :]

    def pack(self) -> list[Tensor]:
        """Return the inputs as one slab, and the other slabs."""
        return [torch.cat(self.inputs), *self.slabs]


class _Jointly:
    """A run of large evaluations, by kernels that join a layer and its activation, and bring their own memory.

    Attributes:
        count, batch, inputs: see ``_Slabs``.
        kept: for each activation what its derivative needs and, if that is its input, its output; of every evaluation.
    """

    joint, count = True, sys.maxsize

    def __init__(self, kept: Sequence[tuple[Dense, Kernel]], like: Tensor) -> None:
        self.batch = like.shape[0]
        self.inputs: list[Tensor] = []
        self.kept: list[list[Tensor]] = []
        self.layers = []
        for dense, kernel in kept:
            lists: list[list[Tensor]] = [[] for _ in range(1 + kernel.keeps_input)]
            self.kept += lists
            joined = kernel.of_linear if kernel.joins(like, len(dense.weight)) else None
            self.layers.append((dense, joined, kernel, lists))

    def evaluate(self, x: Tensor) -> Tensor:
        """Evaluate all layers that have an activation."""
        self.inputs.append(x)
        for dense, joined, kernel, lists in self.layers:
            if joined is not None:
                x = joined(x, dense.weight, dense.bias)
                lists[0].append(x)
                continue
            z = functional.linear(x, dense.weight, dense.bias)
            x = torch.empty_like(z) if kernel.keeps_input else z
            kernel.forward(z, x)
            for kept, tensor in zip(lists, (z, x), strict=False):
                kept.append(tensor)
        return x

    def forget(self, count: int) -> None:
        """Forget the last evaluations."""
        for kept in (self.inputs, *self.kept):
            del kept[len(kept) - count :]

    def pack(self) -> list[Tensor]:
        """Return the inputs, and what is kept of one activation after the other."""
        return [tensor for kept in (self.inputs, *self.kept) for tensor in kept]


def dense_layers(layers: nn.Sequential) -> list[tuple[Tensor, Tensor | None]] | None:
    """Return the weights and biases of alternating linear layers and activations.

    None where anything else may happen in them: another layer, a hook, a parametrised weight, mixed types.
    """
    modules = list(layers)
    linear = [layer for layer in modules[::2] if type(layer) is nn.Linear]
    if len(linear) < len(modules[::2]) or len({type(layer) for layer in modules[1::2]}) > 1:
        return None
    if any(_hooked(module) for module in (layers, *modules)):
        return None
    if any(one.out_features != other.in_features for one, other in pairwise(linear)):
        return None
    return [(layer.weight, layer.bias) for layer in linear]


def _hooked(module: nn.Module) -> bool:
    return bool(
        module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks
    )
