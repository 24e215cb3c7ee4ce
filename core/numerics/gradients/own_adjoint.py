"""The derivative of a whole solve with each sample's own steps, as one node of autograd's graph.

The derivative of a step is that of ``discrete_adjoint``, for methods whose last slope begins the next step. What is
particular here is who takes part: samples that were refused keep their state and slope, and so their cotangents;
samples that left come back as the sweep passes the step after which they did.

Source: Hager (2000), Runge-Kutta methods in optimal control and the transformed adjoint system.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from integrand.core.numerics.arithmetic import along, on_device
from integrand.core.numerics.field_call import BoundField, leaves, select
from integrand.core.numerics.gradients.recomputation import differentiates_again, rebind, solve_again
from integrand.core.numerics.gradients.tape import Tape, TapedField, TapeReader
from integrand.core.numerics.methods.tableau import Tableau


class OwnTapedField(TapedField):
    """A field whose evaluations go onto a tape, for whichever samples are on their way."""

    def at(self, rows: Tensor) -> "OwnTapedField":
        """Return the field with the arguments of these samples alone, on the same tape."""
        return OwnTapedField(BoundField(self.field, select(self.args, rows), rows.shape[0]), self.tape)


class SlopesTaken(NamedTuple):
    """The slopes of ``rows`` of the samples on their way, or of all, were evaluated for the next step to begin with."""

    rows: Tensor | None


class Departure(NamedTuple):
    """Samples left.

    Attributes:
        left, stayed: which of the samples there were.
        rows: the places in the batch of all of them.
    """

    left: Tensor
    stayed: Tensor
    rows: Tensor


class Output(NamedTuple):
    """Outputs that lie in a step.

    Attributes:
        first: how many outputs there were before.
        samples: whose they are, (P,).
        weights: their weights on the step's slopes, times its length, (P, S + 1); None at the step's end.
    """

    first: int
    samples: Tensor
    weights: Tensor | None


@dataclass
class OwnStep:
    """A step that some samples took.

    Attributes:
        h: its lengths, (A,).
        outputs: what was read from it.
        good: who took it, (A,); None where all did.
        tried: the samples that the field was evaluated for; None where all were.
    """

    h: Tensor
    outputs: list[Output] = field(default_factory=list)
    good: Tensor | None = None
    tried: Tensor | None = None


Journal = list[SlopesTaken | Departure | OwnStep]
"""What happened to states and slopes, in order."""


class Travelled(NamedTuple):
    """What a solve gives that has a derivative, and how it came to it.

    Attributes:
        outputs: states at outputs, in the order in which they were reached, (N, ...).
        last: the last state of every sample, (B, ...).
        rows: samples whose starts are the first outputs.
        journal: what happened on the way.
    """

    outputs: Tensor
    last: Tensor
    rows: Tensor
    journal: Journal


Travel = Callable[[BoundField, Tensor], Travelled]
"""Solves with the field and from the state it is given."""


def travel_taped(travel: Travel, bound: BoundField, tape: Tape, tableau: Tableau, y0: Tensor) -> tuple[Tensor, Tensor]:
    """Solve, and attach the derivative; return the states at outputs and the last states.

    A derivative of the derivative is formed by autograd, from the same solve done again.
    """
    inputs = tuple(leaf for _, leaf in leaves(bound.args))
    taped = OwnTapedField(bound, tape)
    return _Solve.apply(travel, taped, tableau, y0, *inputs, *tape.parameters)  # pyright: ignore[reportReturnType]


class _Solve(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, travel: Travel, taped: OwnTapedField, tableau: Tableau, y0: Tensor, *rest: Tensor
    ) -> tuple[Tensor, Tensor]:
        done = travel(taped, y0)
        ctx.travel, ctx.taped, ctx.tableau, ctx.rows, ctx.journal = travel, taped, tableau, done.rows, done.journal
        ctx.args_count, ctx.inputs_count = len(leaves(taped.args)), 1 + len(rest)
        ctx.save_for_backward(y0, *rest, *taped.tape.pack())
        ctx.set_materialize_grads(False)
        return done.outputs, done.last

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor | None) -> tuple[Tensor | None, ...]:
        saved = ctx.saved_tensors
        inputs, packed = saved[: ctx.inputs_count], saved[ctx.inputs_count :]
        wanted = ctx.needs_input_grad[3:]
        if differentiates_again(grad_outputs):

            def run(y0: Tensor, *args: Tensor) -> tuple[Tensor, Tensor]:
                done = ctx.travel(rebind(ctx.taped, args), y0)
                return done.outputs, done.last

            return (None, None, None, *solve_again(run, inputs, 1 + ctx.args_count, wanted, grad_outputs))
        reader = ctx.taped.tape.read(packed)
        args = [leaf for _, leaf in leaves(ctx.taped.args)]
        asked = [leaf for leaf, needs in zip(args, wanted[1:], strict=False) if needs]
        sweep = _Sweep(reader, ctx.tableau, inputs[0], asked, *grad_outputs)
        y_bar = sweep.run(ctx.journal, ctx.rows)
        found = iter(sweep.args_bar)
        args_bar = [next(found) if needs else None for needs in wanted[1 : 1 + ctx.args_count]]
        return (None, None, None, y_bar, *args_bar, *reader.parameter_cotangents(wanted[1 + ctx.args_count :]))


class _Sweep:
    """The way back, with the cotangents of the A samples that are on it."""

    def __init__(
        self,
        reader: TapeReader,
        tableau: Tableau,
        y0: Tensor,
        args: list[Tensor],
        grad_outputs: Tensor | None,
        grad_last: Tensor | None,
    ) -> None:
        self.reader, self.y0, self.stages = reader, y0, tableau.stages
        self.outputs, self.last = grad_outputs, grad_last
        # Row j holds the weights of slope j in the states of stages 2, ..., S and in the step's end.
        later = [[*row, *[0.0] * (self.stages - len(row))] for row in (*tableau.a[1:], tableau.b)]
        weights = on_device(tuple(tuple(row[j] for row in later) for j in range(self.stages)), y0)
        self.weights = [weights[j, j:] for j in range(self.stages)]
        self.y_bar, self.k_bar = self._zeros(0), None
        self.args_bar = [torch.zeros_like(leaf) for leaf in args]
        self.rows: Tensor | None = None
        self.args_here: list[Tensor] = []
        self.memory = _Memory(self.y_bar, self.stages)

    def run(self, journal: Journal, rows: Tensor) -> Tensor:
        """Return the cotangent of the starts, of which the first outputs are ``rows``."""
        for entry in reversed(journal):
            if isinstance(entry, OwnStep):
                self._step(entry)
            elif isinstance(entry, Departure):
                self._return(entry)
            else:
                self._slopes(entry)
        self._gather_args()
        if self.outputs is not None:
            self.y_bar = self.y_bar.index_add(0, rows, self.outputs[: len(rows)])
        return self.y_bar

    def _return(self, entry: Departure) -> None:
        """Take those who left back in."""
        self._gather_args()
        count, y_bar, k_bar = len(entry.rows), self.y_bar, self.k_bar
        self.rows, self.y_bar = entry.rows, self._zeros(count)
        self.memory = _Memory(self.y_bar, self.stages)
        if len(entry.stayed):
            self.y_bar[entry.stayed] = y_bar
            if k_bar is not None:
                self.k_bar = self._zeros(count).index_copy_(0, entry.stayed, k_bar)
        if self.last is not None:
            self.y_bar[entry.left] = self.last[entry.rows[entry.left]]

    def _slopes(self, entry: SlopesTaken) -> None:
        k_bar = self.k_bar
        if entry.rows is None:
            self.y_bar = self.y_bar + self._pop(k_bar)
            self.k_bar = None
        elif k_bar is None:
            self._pop(None, rows=entry.rows)
        else:
            self.y_bar = self.y_bar.index_add(0, entry.rows, self._pop(k_bar[entry.rows], rows=entry.rows))
            self.k_bar = k_bar.index_fill(0, entry.rows, 0.0)

    def _step(self, entry: OwnStep) -> None:
        end, last, start, first = self.y_bar, self.k_bar, None, None
        if entry.good is not None:
            took = along(entry.good, end)
            start, end = end.where(~took, 0.0), end.where(took, 0.0)
            if last is not None:
                first, last = last.where(~took, 0.0), last.where(took, 0.0)
        inner = None
        if self.outputs is not None:
            for output in entry.outputs:
                bar = self.outputs[output.first : output.first + len(output.samples)]
                if output.weights is None:
                    end = end.index_add(0, output.samples, bar)
                    continue
                start = self._zeros(len(end)) if start is None else start
                start = start.index_add(0, output.samples, bar)
                inner = self.y0.new_zeros(self.stages + 1, *end.shape) if inner is None else inner
                weights = output.weights.t().reshape(-1, len(bar), *(1,) * (bar.dim() - 1))
                inner.index_add_(1, output.samples, weights * bar)
        if entry.tried is None:
            y_bar, k_bar = self._back(entry.h, end, last, inner, None)
        else:
            rows = entry.tried
            some = (None if part is None else part[rows] for part in (last, None))
            y_bar, k_bar = self._back(
                entry.h[rows], end[rows], next(some), None if inner is None else inner[:, rows], rows
            )
            y_bar, k_bar = (self._zeros(len(end)).index_copy_(0, rows, part) for part in (y_bar, k_bar))
        self.y_bar = y_bar if start is None else y_bar + start
        self.k_bar = k_bar if first is None else k_bar + first

    def _back(
        self, h: Tensor, end: Tensor, last: Tensor | None, inner: Tensor | None, rows: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Return the cotangents of a step's start and first slope, given those of its end, last slope and slopes."""
        if inner is not None:
            last = inner[-1] if last is None else inner[-1] + last
        memory = self.memory if rows is None else _Memory(end, self.stages)
        through, h = self._pop(last, rows=rows), along(h, end)
        if last is None:
            memory.states[-1].copy_(end)
        else:
            torch.add(end, through, out=memory.states[-1])
        k_bar = end
        for j in reversed(range(self.stages)):
            k_bar = torch.mv(memory.columns[j], self.weights[j]).view(end.shape).mul_(h)
            if inner is not None:
                k_bar = k_bar.add_(inner[j])
            if j:
                self._pop(k_bar, memory.states[j - 1], rows=rows)
        return memory.block.sum(0), k_bar

    def _pop(self, k_bar: Tensor | None, out: Tensor | None = None, *, rows: Tensor | None = None) -> Tensor:
        """Apply the transposed Jacobian of the last evaluation left, which was one of ``rows`` or of all samples."""
        y_bar, args_bar = self.reader.pop(k_bar, out)
        if k_bar is None or not args_bar:
            return y_bar
        if rows is not None:
            args_bar = tuple(
                bar.new_zeros(len(self.y_bar), *bar.shape[1:]).index_copy_(0, rows, bar) for bar in args_bar
            )
        if not self.args_here:
            self.args_here = [bar.clone() for bar in args_bar]
        else:
            for total, bar in zip(self.args_here, args_bar, strict=True):
                total.add_(bar)
        return y_bar

    def _gather_args(self) -> None:
        """Hand the cotangents of the arguments over to the whole batch."""
        if self.rows is not None:
            for total, bar in zip(self.args_bar, self.args_here, strict=False):
                total.index_add_(0, self.rows, bar)
        self.args_here = []

    def _zeros(self, count: int) -> Tensor:
        return self.y0.new_zeros(count, *self.y0.shape[1:])


class _Memory:
    """Cotangents of the states of a step's stages 2, ..., S and of its end, as rows of one block."""

    def __init__(self, like: Tensor, stages: int) -> None:
        self.block = like.new_empty(stages, *like.shape)
        self.states = self.block.unbind(0)
        flat = self.block.view(stages, like.numel())
        self.columns = [flat[j:].t() for j in range(stages)]
