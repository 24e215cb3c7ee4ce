"""Compiled steps of an explicit Runge-Kutta method, with a derivative that is compiled too.

A compiler that differentiates a step itself forms every weight's gradient once a stage. Here the way forward and the
way back are written down, by the equations of ``discrete_adjoint``, as two functions without memory of their own: the
compiler fuses what lies between the matrix products, and a weight's gradient is one product over all stages of a block
of steps.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_unflatten

from integrand.core.numerics.arithmetic import along, combine, shift
from integrand.core.numerics.field_call import BoundField
from integrand.core.numerics.gradients.recomputation import differentiates_again, rebind, solve_again
from integrand.core.numerics.methods.explicit import ExplicitRungeKutta
from integrand.core.numerics.methods.tableau import Tableau


class FieldMap(Protocol):
    """A field as functions of tensors alone."""

    def evaluate(self, t: Tensor, y: Tensor, u: Tensor | None) -> tuple[Tensor, Any]:
        """Return the slope, and what its derivative needs."""
        ...

    def pull(self, noted: Any, k_bar: Tensor) -> tuple[Tensor, Tensor | None, Any]:
        """Return the cotangents of y and u, given that of the slope, and what the parameters' are made of."""
        ...

    def group(self, like: Tensor) -> int:
        """Return how many evaluations, of states like this, are best gathered at once."""
        ...

    def gather(self, noted: list[Any], bars: list[Any], totals: list[Tensor] | None) -> list[Tensor]:
        """Add to the cotangents of the parameters the share of some evaluations."""
        ...


class Block(NamedTuple):
    """Steps to be taken as one.

    Attributes:
        tableau: the method.
        estimate: whether the error of the step, then the only one, is estimated.
        t_S, h_S: where the steps start and how long they are, (S,) or (S, B).
    """

    tableau: Tableau
    estimate: bool
    t_S: Tensor
    h_S: Tensor

    @property
    def shares_last(self) -> bool:
        """Whether the slope at the end is evaluated."""
        return self.estimate and self.tableau.error[-1] != 0


class Forward(NamedTuple):
    """What a block of steps gives.

    Attributes:
        states: the state after each step.
        slopes: those evaluated in the step whose error is estimated; none for other blocks.
        estimates: of its error.
        noted: what the derivative of each evaluation needs, in order.
    """

    states: tuple[Tensor, ...]
    slopes: tuple[Tensor, ...]
    estimates: tuple[Tensor, ...]
    noted: list[Any]


def forward(block: Block, field: FieldMap, y: Tensor, first: Tensor | None, u: Tensor | None) -> Forward:
    """Take the steps from y, where the slope is ``first`` if that is known."""
    tableau = block.tableau
    states, noted, slopes, estimates = [], [], [], []
    for t, h in zip(block.t_S.unbind(0), block.h_S.unbind(0), strict=True):
        slopes = [] if first is None else [first]
        for c, row in list(zip(tableau.c, tableau.a, strict=True))[len(slopes) :]:
            slope, kept = field.evaluate(shift(t, h, c), combine(y, h, row, slopes) if slopes else y, u)
            slopes.append(slope)
            noted.append(kept)
        y = combine(y, h, tableau.b, slopes)
        states.append(y)
        if block.shares_last:
            slope, kept = field.evaluate(shift(t, h, 1.0), y, u)
            slopes.append(slope)
            noted.append(kept)
        if block.estimate:
            rows = (tableau.error, tableau.error_damping) if tableau.error_damping else (tableau.error,)
            estimates = [combine(None, h, row[: len(slopes)], slopes) for row in rows]
    kept = slopes[first is not None :] if block.estimate else []
    return Forward(tuple(states), tuple(kept), tuple(estimates), noted)


class Backward(NamedTuple):
    """Cotangents of the first state, of its slope if that was given, of u, and of the parameters."""

    y: Tensor
    first: Tensor | None
    u: Tensor | None
    parameters: list[Tensor]


def backward(
    block: Block,
    field: FieldMap,
    noted: list[Any],
    state_bars: tuple[Tensor | None, ...],
    slope_bars: tuple[Tensor | None, ...],
    like: Tensor,
) -> Backward:
    """Go back over the steps.

    Args:
        block, field: as on the way forward.
        noted: what was noted there.
        state_bars: cotangents of the states, None where nothing depends on one.
        slope_bars: those of the slopes given out.
        like: a state.
    """
    tableau, stages = block.tableau, block.tableau.stages
    left, used, bars, group = list(noted), [], [], field.group(like)
    y_bar, first_bar, u_bar, totals = torch.zeros_like(like), None, None, None

    def pull(k_bar: Tensor) -> Tensor:
        nonlocal u_bar, totals, used, bars
        used.append(left.pop())
        x_bar, one, pulled = field.pull(used[-1], k_bar)
        bars.append(pulled)
        if one is not None:
            u_bar = one if u_bar is None else u_bar + one
        if len(used) == group or not left:
            totals, used, bars = field.gather(used, bars, totals), [], []
        return x_bar

    # The cotangent that each slope has from outside its step, the first slope's only if it was evaluated here.
    outside: list[Tensor | None] = [None] * (stages + block.shares_last)
    if slope_bars:
        outside[len(outside) - len(slope_bars) :] = slope_bars
    for h, state_bar in zip(reversed(block.h_S.unbind(0)), reversed(state_bars), strict=True):
        h = along(h, like)
        if state_bar is not None:
            y_bar = y_bar + state_bar
        if block.shares_last:
            last_bar = outside[-1]
            if last_bar is None:
                left.pop()
            else:
                y_bar = y_bar + pull(last_bar)
        stage_bars: dict[int, Tensor] = {}
        for j in reversed(range(stages)):
            weighted = [(tableau.b[j], y_bar), *((tableau.a[i][j], stage_bars[i]) for i in range(j + 1, stages))]
            total = None
            for weight, bar in weighted:
                if weight:
                    total = weight * bar if total is None else total + weight * bar
            k_bar = torch.zeros_like(like) if total is None else h * total
            given = outside[j]
            if given is not None:
                k_bar = k_bar + given
            if not left:  # the first slope was given
                first_bar = k_bar
            else:
                stage_bars[j] = pull(k_bar)
        for bar in stage_bars.values():
            y_bar = y_bar + bar
    return Backward(y_bar, first_bar, u_bar, totals or [])


Compile = Callable[[Callable[..., Any]], Callable[..., Any]]


def take(
    compile: Compile,
    block: Block,
    bound: BoundField,
    field: FieldMap,
    y: Tensor,
    first: Tensor | None,
    parameters: tuple[Tensor, ...],
) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Take the steps of a block, and attach their derivative; return states, slopes and estimates of the error.

    Args:
        compile: makes a function quick.
        block: the steps.
        bound: the right-hand side, as it is evaluated again for second derivatives.
        field: the same as functions of tensors alone.
        y: (B, D).
        first: slope there, where it is known.
        parameters: what the field depends on besides y and its argument.
    """
    count = len(block.t_S)
    taken = _Steps.apply(compile, block, bound, field, y, first, bound.args, *parameters)
    slopes = len(taken) - count - (1 + bool(block.tableau.error_damping)) * block.estimate
    return taken[:count], taken[count : count + slopes], taken[count + slopes :]


class _Steps(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        compile: Compile,
        block: Block,
        bound: BoundField,
        field: FieldMap,
        y: Tensor,
        first: Tensor | None,
        u: Tensor | None,
        *parameters: Tensor,
    ) -> tuple[Tensor, ...]:
        done: Forward = compile(forward)(block, field, y, first, u)
        ctx.compile, ctx.block, ctx.bound, ctx.field = compile, block, bound, field
        ctx.counts, ctx.given = (len(done.states), len(done.slopes)), (first is not None, u is not None)
        flat, ctx.spec = tree_flatten(done.noted)
        ctx.inputs = 1 + sum(ctx.given) + len(parameters)
        ctx.save_for_backward(y, *(x for x in (first, u) if x is not None), *parameters, *flat)
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(*done.estimates)
        return (*done.states, *done.slopes, *done.estimates)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        saved, (states, slopes) = ctx.saved_tensors, ctx.counts
        inputs, flat = saved[: ctx.inputs], saved[ctx.inputs :]
        if differentiates_again(grads):
            return (None, None, None, None, *_again(ctx, inputs, grads))
        grads = grads[: states + slopes]
        noted = tree_unflatten(list(flat), ctx.spec)
        found = ctx.compile(backward)(ctx.block, ctx.field, noted, grads[:states], grads[states:], inputs[0])
        return (None, None, None, None, found.y, found.first, found.u, *found.parameters)


def _again(ctx: Any, inputs: tuple[Tensor, ...], grads: tuple[Tensor | None, ...]) -> tuple[Tensor | None, ...]:
    """Take the steps again under autograd, to differentiate the derivative, or to take it for many cotangents."""
    block, (has_first, has_u) = ctx.block, ctx.given

    def run(y: Tensor, *rest: Tensor) -> list[Tensor]:
        first, u = (rest[0] if has_first else None), rest[int(has_first) :]
        bound, states, slopes = rebind(ctx.bound, u), [], ()
        stepper = ExplicitRungeKutta(block.tableau, estimate=block.estimate)
        for t, h in zip(block.t_S.unbind(0), block.h_S.unbind(0), strict=True):
            step = stepper.step(bound, t, h, y, first)
            y, slopes = step.y, step.slopes[has_first:] if block.estimate else ()
            states.append(y)
        return [*states, *slopes]

    count = 1 + has_first + has_u
    needs = ctx.needs_input_grad[4:]
    wanted = tuple(need for need, there in zip(needs[:3], (True, has_first, has_u), strict=True) if there) + needs[3:]
    found = solve_again(run, inputs, count, wanted, grads[: sum(ctx.counts)])
    given = iter(found[:count])
    first = [next(given) if there else None for there in (True, has_first, has_u)]
    return (*first, *found[count:])
