"""The way back over the evaluations of a field made of dense layers."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from integrand.core.fields.activations import Dense, Kernel

ROWS_ON_HOST, ROWS_ON_ACCELERATOR = 512, 65536
"""Rows, samples times evaluations, of one product for a weight's gradient: enough for full speed, and on the host few
enough to stay in the caches meanwhile."""


class Packed(NamedTuple):
    """What one block of a tape packed.

    Attributes:
        evaluations: how many it noted.
        batch: samples of each.
        tensors: how many it packed: the inputs, and for each activation what its derivative needs and, if that is its
            input, its output.
        joint: whether there is one tensor for each evaluation rather than one for all, (count B, width).
    """

    evaluations: int
    batch: int
    tensors: int
    joint: bool


class DenseReader:
    """A dense tape read backwards, as the protocol ``TapeReader`` asks; see ``DenseTape`` for the equations.

    Args:
        dense: the layers.
        kernels: their activations.
        blocks: what the tape's blocks packed.
        packed: the tensors packed.
        dim: dimension of y.
        time: whether t is an input.
        wants_control: whether the cotangent of the inputs after y and t is asked for.
    """

    def __init__(
        self,
        dense: Sequence[Dense],
        kernels: Sequence[Kernel],
        blocks: Sequence[Packed],
        packed: Sequence[Tensor],
        *,
        dim: int,
        time: bool,
        wants_control: bool,
    ) -> None:
        self.blocks, self.packed = list(blocks), list(packed)
        self.weights, self.kernels = [layer.weight for layer in dense], kernels
        self.final = kernels[-1].backward if len(kernels) == len(dense) else None
        self.dim, self.time, self.wants_control = dim, int(time), wants_control
        self.mixed = self.weights[0].shape[1] != dim
        # A layer's cotangents, of the weight and of the bias.
        self.gradients = [
            (torch.zeros_like(layer.weight), None if layer.bias is None else torch.zeros_like(layer.bias))
            for layer in dense
        ]
        self.place, self.group = 0, 1
        self.memory: _Memory | None = None

    def slot(self) -> Tensor:
        """See ``TapeReader``."""
        if self.place == 0:
            self._open()
        return self.answers[(self.place - 1) % self.group]

    def pop(self, cotangent: Tensor | None, out: Tensor | None = None) -> tuple[Tensor, tuple[Tensor, ...]]:
        """See ``TapeReader``."""
        slot = self.slot()
        self.place -= 1
        place, row = self.place, self.place % self.group
        if cotangent is None:
            x_bar = self.first.zero_()
            if self.group == 1:
                return x_bar[:, : self.dim], self._control(x_bar)
            for bars in self.bars:
                bars[row].zero_()
        else:
            if self.final is not None:
                z_bar = self.final(cotangent, self.kept[-1][place], self.bars[-1][row])
            else:
                z_bar = slot if cotangent is slot else slot.copy_(cotangent)
            for weight, backward, bars, kept in self.inner:
                bar = bars[row]
                z_bar = backward(torch.mm(z_bar, weight, out=bar), kept[place], bar)
            x_bar = torch.mm(z_bar, self.weights[0], out=self.first if out is None or self.mixed else out)
        if row == 0:
            self._accumulate(place)
        if not self.mixed:
            return x_bar, ()
        y_bar = x_bar[:, : self.dim]
        return (y_bar if out is None else out.copy_(y_bar)), self._control(x_bar)

    def _control(self, x_bar: Tensor) -> tuple[Tensor, ...]:
        """Return the cotangent of u, if it is asked for."""
        return (x_bar[:, self.dim + self.time :].clone(),) if self.wants_control else ()

    def parameter_cotangents(self, wanted: tuple[bool, ...]) -> tuple[Tensor | None, ...]:
        """See ``TapeReader``."""
        found = [bar for layer in self.gradients for bar in layer if bar is not None]
        return tuple(bar if needs else None for bar, needs in zip(found, wanted, strict=True))

    def _open(self) -> None:
        """Take the last block left."""
        count, batch, tensors, self.joint = self.blocks.pop()
        taken = self.packed[-tensors:]
        del self.packed[-tensors:]
        like = taken[0]
        group = 1 if self.joint else min(count, group_size(like, batch))
        slabs = iter([taken[i : i + count] for i in range(0, tensors, count)] if self.joint else taken)
        # What the derivatives need, one tensor for each evaluation; and the inputs of all layers, so too where each
        # evaluation has its own product for a weight's gradient.
        first = next(slabs)
        self.kept: list[Sequence[Tensor]] = []
        active: list[Any] = [_rows(first, batch) if group == 1 else first]
        for kernel in self.kernels:
            slab = next(slabs)
            rows = _rows(slab, batch)
            self.kept.append(rows)
            if kernel.keeps_input:
                slab = next(slabs)
                rows = _rows(slab, batch)
            active.append(rows if group == 1 else slab)
        memory = self.memory
        if memory is None or memory.size != (batch, group):
            memory = self.memory = _Memory(like, batch, group, self.weights, answers=self.final is not None)
        self.bars, self.first, self.answers, self.ones = memory.bars, memory.first, memory.answers, memory.ones
        inner = zip(self.weights[1:], self.kernels, self.bars, self.kept, strict=False)
        self.inner = tuple((weight, kernel.backward, bars, kept) for weight, kernel, bars, kept in inner)[::-1]
        self.products = [
            # The product with fewer rows than columns is much the faster one of a thin pair.
            (a, slab, slab.t(), thin, weight_bar.t() if thin else weight_bar, bias_bar)
            for a, slab, (weight_bar, bias_bar) in zip(active, memory.slabs, self.gradients, strict=False)
            for thin in [weight_bar.shape[1] < weight_bar.shape[0]]
        ]
        self.place, self.count, self.batch, self.group = count, count, batch, group

    def _accumulate(self, place: int) -> None:
        """Add to the weights' and biases' cotangents the share of a group of evaluations, those from ``place`` on."""
        group, batch = self.group, self.batch
        rows = batch * min(group, self.count - place)
        for active, slab, transposed, thin, weight_bar, bias_bar in self.products:
            if group == 1:
                a, ones = active[place], self.ones
            else:
                a, ones = active[place * batch : place * batch + rows], self.ones[:rows]
                slab, transposed = slab[:rows], transposed[:, :rows]
            if thin:
                weight_bar.addmm_(a.t(), slab)
            else:
                weight_bar.addmm_(transposed, a)
            if bias_bar is not None:
                bias_bar.addmv_(transposed, ones)


class _Memory:
    """Memory for the cotangents of a group of evaluations, used again for every group.

    Attributes:
        size: samples, and evaluations of a group.
        slabs: for each layer zbar_l, (group B, width).
        bars: the same for each evaluation.
        answers: where the cotangent of an evaluation's slope is to be put.
        first: the cotangent of x.
        ones: as many as rows, to sum them with.
    """

    def __init__(self, like: Tensor, batch: int, group: int, weights: list[Tensor], *, answers: bool) -> None:
        self.size = batch, group
        self.slabs = [like.new_empty(group * batch, weight.shape[0]) for weight in weights]
        self.bars = [_rows(slab, batch) for slab in self.slabs]
        self.answers = (like.new_empty(batch, weights[-1].shape[0]),) * group if answers else self.bars[-1]
        self.first = like.new_empty(batch, weights[0].shape[1])
        self.ones = like.new_ones(group * batch)


def _rows(slab: Any, batch: int) -> Sequence[Tensor]:
    """Return a slab (count B, width) as one tensor for each evaluation, if it is not so already."""
    return slab.split(max(1, batch)) if isinstance(slab, Tensor) else slab


def group_size(like: Tensor, batch: int) -> int:
    """Return how many evaluations are to share one product for each weight's gradient."""
    most = ROWS_ON_HOST if like.device.type == "cpu" else ROWS_ON_ACCELERATOR
    return max(1, most // max(1, batch))
