"""The tape of a field made of dense layers."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

aten = torch.ops.aten


class Kernel(NamedTuple):
    """An activation s and its derivative, as kernels that write where they are told.

    Attributes:
        forward: puts s(z) where z was, or in a second place.
        backward: puts g s'(z) in its last argument, given g and what was kept: s(z), or z.
        keeps_input: whether the derivative is a function of z, which then is kept beside s(z).
    """

    forward: Callable[[Tensor, Tensor], Any]
    backward: Callable[[Tensor, Tensor, Tensor], Any]
    keeps_input: bool


_ELU, _SILU, _SOFTPLUS, _GELU = aten.elu.out, aten.silu.out, aten.softplus.out, aten.gelu.out
_TANH_BACK, _ELU_BACK = aten.tanh_backward.grad_input, aten.elu_backward.grad_input
_SILU_BACK, _GELU_BACK = aten.silu_backward.grad_input, aten.gelu_backward.grad_input
_SOFTPLUS_BACK = aten.softplus_backward.grad_input

LARGE = 8192
"""Numbers from which on a few quick kernels beat the host's one slow kernel of tanh."""


def _tanh(z: Tensor, out: Tensor) -> Tensor:
    """Put tanh z in ``out``.

    On the host torch's tanh takes longer than the matrix product before it. With e = exp(2 z) - 1, which keeps its
    digits near zero, tanh z = e / (e + 2) = 1 / (1 + 2 / e), right at zero and at infinity, to 2e-7 of its size.
    """
    if z.dtype is not torch.float32 or z.device.type != "cpu" or z.numel() < LARGE:
        return torch.tanh(z, out=out)
    return torch.mul(z, 2, out=out).expm1_().reciprocal_().mul_(2).add_(1).reciprocal_()


KERNELS: dict[type[nn.Module], Kernel] = {
    nn.Tanh: Kernel(
        _tanh,
        lambda g, kept, out: _TANH_BACK(g, kept, grad_input=out),
        False,
    ),
    nn.ELU: Kernel(
        lambda z, out: _ELU(z, out=out),
        lambda g, kept, out: _ELU_BACK(g, 1.0, 1.0, 1.0, True, kept, grad_input=out),
        False,
    ),
    nn.SiLU: Kernel(
        lambda z, out: _SILU(z, out=out),
        lambda g, kept, out: _SILU_BACK(g, kept, grad_input=out),
        True,
    ),
    nn.Softplus: Kernel(
        lambda z, out: _SOFTPLUS(z, out=out),
        lambda g, kept, out: _SOFTPLUS_BACK(g, kept, 1.0, 20.0, grad_input=out),
        True,
    ),
    nn.GELU: Kernel(
        lambda z, out: _GELU(z, out=out),
        lambda g, kept, out: _GELU_BACK(g, kept, grad_input=out),
        True,
    ),
}
"""Activations, with their default options, whose derivative a tape can take."""

ROWS_ON_HOST, ROWS_ON_ACCELERATOR = 2048, 65536
"""Rows of one block of evaluations, samples times stages: enough for matrix products at full speed, and on the host few
enough to stay in its caches and within what the allocator hands out again."""


class DenseTape:
    """Evaluations of x = [y, t, u] -> W_n s(... s(W_1 x + b_1) ...) + b_n, as the protocol ``Tape`` asks.

    With z_l = W_l a_{l-1} + b_l and a_l = s(z_l), the transposed Jacobian is applied as

        zbar_n = kbar,   abar_{l-1} = zbar_l W_l,   zbar_{l-1} = abar_{l-1} s'(z_{l-1}),

    and W_l's cotangent is sum zbar_l^T a_{l-1} over all evaluations, formed once for each block of them.

    Args:
        layers: the weights W_l (out, in) and biases b_l, or None, from the first layer to the last.
        kernel: the activation; None where there is one layer.
        final: an activation of the last layer's output, if any.
        dim: dimension of y, where it is not that of the output.
        time: whether t is an input.
        wants_control: whether u's cotangent is asked for.
    """

    def __init__(
        self,
        layers: Sequence[tuple[Tensor, Tensor | None]],
        kernel: Kernel | None,
        *,
        dim: int | None = None,
        final: Kernel | None = None,
        time: bool = False,
        wants_control: bool = False,
    ) -> None:
        self.weights = [weight for weight, _ in layers]
        self.biases = [bias for _, bias in layers]
        self.kernel, self.time, self.wants_control = kernel, time, wants_control
        self.mixes = time
        self.final = final
        self.parameters = tuple(p for layer in layers for p in layer if p is not None)
        affine = [_affine(weight, bias) for weight, bias in layers]
        # The layers whose output is kept: all but the last, unless that one, too, has an activation.
        kernels = [*[kernel] * (len(affine) - 1), final]
        self.kept = [(a, k) for a, k in zip(affine, kernels, strict=True) if k is not None]
        self.last = affine[-1] if final is None else None
        self.dim = self.weights[-1].shape[0] if dim is None else dim
        self.blocks: list[_Block] = []
        self.block: _Block | None = None  # the one being filled
        self.sizes: list[tuple[int, int, int]] = []  # of the packed blocks: evaluations, rows, samples

    def push(self, t: Tensor, y: Tensor, args: Any, out: Tensor | None = None) -> Tensor:
        """See ``Tape``."""
        x = self._input(t, y, args) if self.mixes or args is not None else y
        block = self.block
        if block is None or len(block.inputs) == block.rows or block.batch != y.shape[0]:
            block = self._new_block(x)
        place = len(block.inputs)
        block.inputs.append(x)
        for (affine, kernel), kept, active in zip(self.kept, block.kept, block.active, strict=True):
            z, a = kept[place], active[place]
            affine(x, z)
            kernel.forward(z, a)
            x = a
        if self.last is None:
            return x.clone() if out is None else out.copy_(x)
        return self.last(x, y.new_empty(y.shape[0], self.weights[-1].shape[0]) if out is None else out)

    def mark(self) -> int:
        """See ``Tape``."""
        return sum(len(block.inputs) for block in self.blocks)

    def rewind(self, mark: int) -> None:
        """See ``Tape``."""
        extra = self.mark() - mark
        while extra > 0:
            block = self.blocks[-1]
            drop = min(extra, len(block.inputs))
            del block.inputs[len(block.inputs) - drop :]
            extra -= drop
            if not block.inputs:
                self.blocks.pop()
                self.block = self.blocks[-1] if self.blocks else None

    def pack(self) -> tuple[Tensor, ...]:
        """See ``Tape``."""
        packed = []
        for block in self.blocks:
            self.sizes.append((len(block.inputs), block.rows, block.batch))
            packed.append(torch.cat(block.inputs) if len(block.inputs) > 1 else block.inputs[0])
            for (_, kernel), kept, active in zip(self.kept, block.kept_slabs, block.active_slabs, strict=True):
                packed += [kept, active] if kernel.keeps_input else [active]
        self.blocks, self.block = [], None
        return tuple(packed)

    def read(self, packed: tuple[Tensor, ...]) -> "_Reader":
        """See ``Tape``."""
        return _Reader(self, packed)

    def _input(self, t: Tensor, y: Tensor, args: Any) -> Tensor:
        parts = [y]
        if self.time:
            parts.append(t.to(y).expand(y.shape[0]).unsqueeze(-1))
        if args is not None:
            parts.append(args)
        return torch.cat(parts, dim=-1) if len(parts) > 1 else y

    def _new_block(self, x: Tensor) -> "_Block":
        rows = ROWS_ON_HOST if x.device.type == "cpu" else ROWS_ON_ACCELERATOR
        # The first block is small, for a solve may be short.
        count = max(1, min(rows // max(1, x.shape[0]), 4 * self.blocks[-1].rows if self.blocks else 16))
        widths = [weight.shape[0] for weight in self.weights]
        active = [x.new_empty(count, x.shape[0], width) for width, _ in zip(widths, self.kept, strict=False)]
        kept = [
            torch.empty_like(slab) if kernel.keeps_input else slab
            for slab, (_, kernel) in zip(active, self.kept, strict=True)
        ]
        self.block = _Block(count, x.shape[0], kept, active)
        self.blocks.append(self.block)
        return self.block


def _affine(weight: Tensor, bias: Tensor | None) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the map that puts W x + b in its second argument."""
    transposed = weight.detach().t()
    if bias is None:
        return lambda x, out: torch.mm(x, transposed, out=out)
    return lambda x, out: torch.addmm(bias, x, transposed, out=out)


class _Block:
    """A run of evaluations of one batch size, a slab of memory for each layer that is kept."""

    def __init__(self, rows: int, batch: int, kept: list[Tensor], active: list[Tensor]) -> None:
        self.rows, self.batch = rows, batch
        self.kept_slabs, self.active_slabs = kept, active
        self.kept = [slab.unbind(0) for slab in kept]
        self.active = [slab.unbind(0) for slab in active]
        self.inputs: list[Tensor] = []


class _Reader:
    """A dense tape read backwards."""

    def __init__(self, tape: DenseTape, packed: tuple[Tensor, ...]) -> None:
        self.tape = tape
        self.left = list(tape.sizes)
        self.packed = list(packed)
        self.place = 0
        self.cotangents: list[Tensor] = [torch.zeros_like(p) for p in tape.parameters]
        self.memory: list[Tensor] | None = None
        self.weights = [weight.detach() for weight in tape.weights]
        self.dim, self.time, self.wants_control = tape.dim, int(tape.time), tape.wants_control
        self.mixed = self.weights[0].shape[1] != self.dim
        self.final = tape.final

    def slot(self) -> Tensor:
        """See ``TapeReader``."""
        if self.place == 0:
            self._open()
        return self.bars[-1][self.place - 1] if self.final is None else self.answer

    def pop(self, cotangent: Tensor | None, out: Tensor | None = None) -> tuple[Tensor, tuple[Tensor, ...]]:
        """See ``TapeReader``."""
        slot = self.slot()
        self.place -= 1
        place = self.place
        if cotangent is None:
            for rows in self.bars:
                rows[place].zero_()
            x_bar = self.scratch[0].zero_()
        else:
            if self.final is not None:
                z_bar = self.final.backward(cotangent, self.kept[-1][place], self.bars[-1][place])
            else:
                z_bar = slot if cotangent is slot else slot.copy_(cotangent)
            for weight, scratch, kernel, bars, kept in self.layers:
                z_bar = kernel.backward(torch.mm(z_bar, weight, out=scratch), kept[place], bars[place])
            x_bar = torch.mm(z_bar, self.weights[0], out=self.scratch[0] if out is None or self.mixed else out)
        if place == 0:
            self._close()
        if not self.mixed:
            return x_bar, ()
        y_bar = x_bar[:, : self.dim]
        control = (x_bar[:, self.dim + self.time :].clone(),) if self.wants_control else ()
        return (y_bar if out is None else out.copy_(y_bar)), control

    def parameter_cotangents(self, wanted: tuple[bool, ...]) -> tuple[Tensor | None, ...]:
        """See ``TapeReader``."""
        return tuple(bar if needs else None for bar, needs in zip(self.cotangents, wanted, strict=True))

    def _open(self) -> None:
        """Take the last block left."""
        count, rows, batch = self.left.pop()
        slabs = 1 + sum(1 + kernel.keeps_input for _, kernel in self.tape.kept)
        self.inputs, *rest = self.packed[-slabs:]
        del self.packed[-slabs:]
        given = iter(rest)
        self.kept, self.active = [], []
        for _, kernel in self.tape.kept:
            kept = next(given)
            self.kept.append(kept[:count].unbind(0))
            self.active.append(next(given) if kernel.keeps_input else kept)
        if self.memory is None or self.memory[0].shape[:2] != (rows, batch):
            self.memory = [self.inputs.new_empty(rows, batch, weight.shape[0]) for weight in self.weights]
            self.scratch = [self.inputs.new_empty(batch, weight.shape[1]) for weight in self.weights]
            self.answer = self.inputs.new_empty(batch, self.weights[-1].shape[0]) if self.final else self.scratch[0]
        self.bars = [slab[:count].unbind(0) for slab in self.memory]
        kernels = [kernel for _, kernel in self.tape.kept]
        inner = zip(self.weights[1:], self.scratch[1:], kernels, self.bars, self.kept, strict=False)
        self.layers = tuple(inner)[::-1]
        self.place = self.count = count

    def _close(self) -> None:
        """Form the block's share of every parameter's cotangent, one matrix product a weight."""
        parameter = iter(self.cotangents)
        layers = zip([self.inputs, *self.active], self.memory or [], self.tape.biases, strict=False)
        for a, z_bar, bias in layers:
            z_bar = z_bar[: self.count].flatten(0, 1)
            a = a if a.dim() == 2 else a[: self.count].flatten(0, 1)
            # The product with fewer rows than columns is much the faster one of a thin pair.
            if a.shape[1] < z_bar.shape[1]:
                next(parameter).t().addmm_(a.t(), z_bar)
            else:
                next(parameter).addmm_(z_bar.t(), a)
            if bias is not None:
                next(parameter).add_(z_bar.sum(0))


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
