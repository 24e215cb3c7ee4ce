"""The derivative of a whole solve by an explicit Runge-Kutta method, as one node of autograd's graph.

Let a step from y to y' evaluate k_j = f(t + c_j h, Y_j) with Y_j = y + h sum_i a_ji k_i, where the rows of a go on,
after the method's stages, with b for the slope at the step's end and with the stages of dense output; and let the step
give y' = y + h sum_i b_i k_i and outputs y + h sum_i b_i(theta) k_i. With bars for cotangents,

    kbar_j = h (b_j y'bar + sum_{i > j} a_ij Ybar_i) + sum_theta h b_j(theta) obar,     Ybar_j = (df/dy)^T kbar_j,

taken from the last slope to the first, and ybar = y'bar + sum_j Ybar_j + sum obar. The cotangent of the slope that a
step shares with the next is carried from one to the other. This is the exact derivative of the numbers computed, with
the lengths of the steps held fixed: what differentiating through the steps gives, without the graph of the steps.

Source: Hager (2000), Runge-Kutta methods in optimal control and the transformed adjoint system.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from integrand.core.numerics.arithmetic import Row, along, on_device
from integrand.core.numerics.field_call import BoundField, leaves
from integrand.core.numerics.gradients.recomputation import differentiates_again, rebind, solve_again
from integrand.core.numerics.gradients.tape import Tape, TapedField, TapeReader, add_cotangents
from integrand.core.numerics.methods.tableau import Tableau
from integrand.core.numerics.stepping.walk import StepTaken

Run = Callable[[BoundField, Tensor], tuple[Tensor, list[StepTaken]]]
"""Solves with the field and from the state it is given; returns states (B, T, ...) and the steps taken."""


def solve_taped(run: Run, bound: BoundField, tape: Tape, tableau: Tableau, y0: Tensor) -> tuple[Tensor, TapedField]:
    """Solve with ``run``, and attach the derivative; return the states and the field as it was called.

    A derivative of the derivative is formed by autograd, from the same solve done again.
    """
    taped = TapedField(bound, tape)
    inputs = tuple(leaf for _, leaf in leaves(bound.args))
    states = _Solve.apply(run, taped, tableau, y0, *inputs, *tape.parameters)
    return states, taped  # pyright: ignore[reportReturnType]


class _Solve(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, run: Run, taped: TapedField, tableau: Tableau, y0: Tensor, *rest: Tensor) -> Tensor:
        states, steps = run(taped, y0)
        count = len(leaves(taped.args))
        ctx.run, ctx.taped, ctx.tableau, ctx.steps = run, taped, tableau, steps
        ctx.args_count, ctx.inputs_count = count, 1 + len(rest)
        ctx.save_for_backward(y0, *rest, *taped.tape.pack())
        return states

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grad_outputs
        saved = ctx.saved_tensors
        inputs, packed = saved[: ctx.inputs_count], saved[ctx.inputs_count :]
        wanted = ctx.needs_input_grad[3:]
        if differentiates_again(grad_outputs):
            count = 1 + ctx.args_count

            def run(y0: Tensor, *args: Tensor) -> tuple[Tensor]:
                return (ctx.run(rebind(ctx.taped, args), y0)[0],)

            return (None, None, None, *solve_again(run, inputs, count, wanted, grad_outputs))
        reader = ctx.taped.tape.read(packed)
        sweep = _Sweep(reader, ctx.tableau, inputs[0])
        y_bar = sweep.run(ctx.steps, grad)
        args = iter(sweep.args_bar)
        # The tape gives the cotangents of the arguments that require them, in order.
        args_bar = [next(args) if needs else None for needs in wanted[1 : 1 + ctx.args_count]]
        parameters = reader.parameter_cotangents(wanted[1 + ctx.args_count :])
        return (None, None, None, y_bar, *args_bar, *parameters)


class _Sweep:
    """The walk back over the steps."""

    def __init__(self, reader: TapeReader, tableau: Tableau, like: Tensor) -> None:
        self.reader, self.shape, self.stages = reader, like.shape, tableau.stages
        self.tableau, self.like = tableau, like
        self.args_bar: list[Tensor] = []
        self.plans: dict[tuple[int, int], _Plan] = {}
        self.slot = self.flat = like

    def run(self, steps: list[StepTaken], grad: Tensor) -> Tensor:
        """Return the cotangent of y0, given those of the states (B, T, ...)."""
        outputs = grad.transpose(0, 1).reshape(grad.shape[1], -1)
        y_bar = torch.zeros_like(outputs[0])
        carried: Tensor | None = None
        for step in reversed(steps):
            if step.landed is not None:
                y_bar = y_bar + outputs[step.landed]
            y_bar, carried = self._step(step, y_bar, carried, outputs)
        if carried is not None:
            y_bar = y_bar + self._pop(carried.view(self.shape), None).reshape(-1)
        return (y_bar + outputs[0]).view(self.shape)

    def _step(
        self, step: StepTaken, y_bar: Tensor, carried: Tensor | None, outputs: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """Return the cotangents of the state at the step's start, and of the slope there if it is not its own."""
        dense = outputs[slice(*step.inside)] if step.weights is not None else outputs[:0]
        evaluations = self.stages + int(step.has_last) + len(self.tableau.extra_a) * int(step.completed)
        if step.has_last and carried is None and not len(dense):
            if step.completed:
                raise AssertionError("slopes for dense output without an output")
            self.reader.pop(None)
            evaluations -= 1
        plan = self._plan(evaluations, len(dense))
        columns = plan.columns
        if len(dense):
            columns = self._dense(plan, step, dense, evaluations)
        plan.end.copy_(y_bar)
        known = step.h.dim() == 0 and step.h.device.type == "cpu"
        scale = step.h.item() if known and not len(dense) else 1.0
        factor = None if known or len(dense) else along(step.h, plan.rows[0])
        slope_bar: Tensor | None = None
        for j in reversed(range(evaluations)):
            carries = j == 0 and not step.fresh
            slot = torch.empty_like(plan.rows[0]) if carries else self.reader.slot()
            matrix, weights = columns[j]
            if slot is not self.slot:
                self.slot, self.flat = slot, slot.view(-1)
            k_bar = self.flat
            # The product times h in one kernel; with beta = 0 the first argument is not read.
            torch.addmv(k_bar, matrix, weights, beta=0, alpha=scale, out=k_bar)
            if factor is not None:
                slot.mul_(factor)
            if j == self.stages and carried is not None:
                k_bar.add_(carried)
            if j:
                self._pop(slot, plan.rows[j - 1])
            else:
                slope_bar = slot
        y_bar = torch.mv(*plan.all)
        if not step.fresh:
            return y_bar, slope_bar.view(-1)  # pyright: ignore[reportOptionalMemberAccess]
        return y_bar.add_(self._pop(slope_bar, None).reshape(-1)), None

    def _dense(self, plan: "_Plan", step: StepTaken, dense: Tensor, evaluations: int) -> list[tuple[Tensor, Tensor]]:
        """Put in the cotangents of outputs inside the step, and their weights, which hold h already."""
        plan.block[evaluations:].copy_(dense)
        weights = torch.cat([plan.weights * step.h, step.weights.t()], dim=1)  # pyright: ignore[reportOptionalMemberAccess]
        return [(plan.block[j:].t(), weights[j, j:]) for j in range(evaluations)]

    def _pop(self, k_bar: Tensor | None, out: Tensor | None) -> Tensor:
        y_bar, args_bar = self.reader.pop(k_bar, out)
        self.args_bar = add_cotangents(self.args_bar, args_bar)
        return y_bar

    def _plan(self, evaluations: int, outputs: int) -> "_Plan":
        """Memory for a step of so many evaluations and inner outputs, and the weights of its cotangents."""
        key = (evaluations, outputs)
        plan = self.plans.get(key)
        if plan is None:
            block = self.like.new_empty(evaluations + outputs, self.like.numel())
            table = _weights(self.tableau, evaluations)
            weights, flat = on_device(table, self.like), block.t()
            rows = block.view(evaluations + outputs, *self.shape).unbind(0)
            columns = [(flat[:, j:], on_device(table[j][j:], self.like)) for j in range(evaluations)]
            ones = on_device((1.0,) * len(block), block)
            plan = self.plans[key] = _Plan(block, block[evaluations - 1], rows, columns, weights, (flat, ones))
        return plan


@cache
def _weights(tableau: Tableau, evaluations: int) -> tuple[Row, ...]:
    """Return, for each kbar_j, its weights on Ybar_2, ..., Ybar_E and y'bar."""
    later = [*tableau.a, tableau.b, *tableau.extra_a][1:evaluations]
    rows = [[*row, *[0.0] * (evaluations - len(row))] for row in (*later, tableau.b)]
    return tuple(tuple(row[j] for row in rows) for j in range(evaluations))


class _Plan(NamedTuple):
    """Memory for the cotangents of a step, as rows of one block: of Y_2, ..., Y_E, of y', and of outputs inside.

    Attributes:
        block: the rows, flat.
        end: the row of y'.
        rows: the same rows, shaped as states.
        columns: for each slope, the rows that its cotangent is a sum of, as the columns of a matrix, and their weights.
        weights: all weights but those of outputs, (E, E).
        all: all rows as the columns of a matrix, and as many ones.
    """

    block: Tensor
    end: Tensor
    rows: tuple[Tensor, ...]
    columns: list[tuple[Tensor, Tensor]]
    weights: Tensor
    all: tuple[Tensor, Tensor]
