"""The derivative of the steps taken in memory that grows with the square root of their number.

Of N steps, the states before every s-th are kept. On the way back the s steps after each are taken again, this time
with their graph, and differentiated, from the last piece to the first. With S bytes to a state and G to the graph of
one step that holds

    (N / s) S + s G bytes,     at the least 2 sqrt(N S G), where s = sqrt(N S / G).

A step's graph holds states of every stage of the method. Here N / s^2 is about 4 a stage, so that what is held stays
within 3 of the least as long as G / S lies between 1/8 and 136 a stage; a field's own tape, which grows in blocks,
takes somewhat more. The field is evaluated twice in all.

Source: Chen, Xu, Zhang and Guestrin (2016), Training deep nets with sublinear memory cost, section 4.
"""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from integrand.core.numerics.arithmetic import combine_each
from integrand.core.numerics.field_call import BoundField
from integrand.core.numerics.gradients.discrete_adjoint import solve_taped
from integrand.core.numerics.gradients.recomputation import (
    Precision,
    Totals,
    argument_tensors,
    differentiates_again,
    field_tensors,
    fresh,
    rebind,
    solve_again,
)
from integrand.core.numerics.gradients.tape import open_tape
from integrand.core.numerics.methods.explicit import ExplicitRungeKutta
from integrand.core.numerics.methods.stepper import Step
from integrand.core.numerics.methods.tableau import Tableau
from integrand.core.numerics.stepping.schedule import EqualSteps, Schedule, SharedSteps, Solved
from integrand.core.numerics.stepping.walk import StepTaken, Walk

STATES_TO_STEPS = 4
"""States kept to the steps of a piece, for each stage of the method."""


def solve_checkpointed(
    bound: BoundField, y0: Tensor, times: Tensor, tableau: Tableau, schedule: Schedule, *, on_failure: str = "raise"
) -> Solved:
    """Solve as without checkpoints, with the same derivative to rounding, in memory of O(sqrt N) for N steps.

    Derivatives reach y0, times, arguments and whatever the field learns with. The parameters of a module, or of the
    module whose method the field is, are known beforehand, and the solve is one node of autograd's graph. A field that
    is a function, or that uses other tensors which require gradients, leaves the nodes of all steps, without their
    tensors: some hundred bytes for each operation. Adaptive steps leave about as much a step.

    The field must give the same again for the same input: dropout has no place in it.

    Args:
        bound: the right-hand side, with its arguments.
        y0: (B, ...).
        times: (T,) or (B, T).
        tableau: the method.
        schedule: how steps are chosen.
        on_failure: what fills outputs that an adaptive solve does not reach: ``"last"``, the last state; else NaN.

    Example:
        >>> from integrand.core.fields import MLP
        >>> from integrand.core.numerics.methods.tableau import RK4
        >>> field, times = BoundField(MLP(2), None, 5), torch.linspace(0, 1, 3)
        >>> solve_checkpointed(field, torch.zeros(5, 2), times, RK4, EqualSteps(100)).states.shape
        torch.Size([5, 3, 2])
    """
    solve = _Solve(bound, times, tableau, schedule, on_failure)
    if not torch.is_grad_enabled():
        states = solve.run(y0, _Trail(tableau))
    elif (learned := field_tensors(bound, times[..., 0], y0)) is None:
        states = _by_hooks(solve, y0, times)
    else:
        states = _Checkpointed.apply(solve, y0, times, *argument_tensors(bound), *learned)
    return Solved(states, solve.walk)  # pyright: ignore[reportArgumentType]


class _Checkpointed(torch.autograd.Function):
    """The whole solve as one node of the graph."""

    @staticmethod
    def forward(ctx: Any, solve: "_Solve", y0: Tensor, times: Tensor, *rest: Tensor) -> Tensor:
        ctx.precision = Precision.now(y0.device.type)
        trail = _Trail(solve.tableau)
        with ctx.precision.again():
            states = solve.run(y0, trail)
        ctx.solve, ctx.every, ctx.inputs = solve, trail.every, 2 + len(rest)
        ctx.save_for_backward(y0, times, *rest, *trail.kept)
        return states

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grads
        solve, saved = ctx.solve, ctx.saved_tensors
        (y0, times, *rest), kept = saved[: ctx.inputs], saved[ctx.inputs :]
        count = len(argument_tensors(solve.bound))
        if differentiates_again(grads):

            def run(y0: Tensor, times: Tensor, *arguments: Tensor) -> tuple[Tensor]:
                bound = rebind(solve.bound, arguments)
                with ctx.precision.again():
                    passed = _Replay(solve, bound, times).take(bound, y0, range(solve.plan.count)).states
                    return (solve.fill(passed[: solve.plan.reached], passed[-1]),)

            return None, *solve_again(run, (y0, times, *rest), 2 + count, ctx.needs_input_grad[1:], grads)
        arguments = tuple(fresh(argument) for argument in rest[:count])
        totals = Totals((fresh(times), *arguments, *rest[count:]))
        replay = _Replay(solve, rebind(solve.bound, arguments), totals.tensors[0])
        by_y = grad[:, solve.plan.reached :].sum(1) if solve.on_failure == "last" else torch.zeros_like(y0)
        for i in reversed(range(len(kept))):
            piece = range(i * ctx.every, min((i + 1) * ctx.every, solve.plan.count))
            if piece:
                with ctx.precision.again():
                    by_y = replay.pull(totals, kept[i], piece, grad, by_y)
        return None, by_y + grad[:, 0], *totals()


def _by_hooks(solve: "_Solve", y0: Tensor, times: Tensor) -> Tensor:
    """Leave the pieces to torch, which sees what a field depends on as it goes."""
    if isinstance(solve.schedule, SharedSteps):  # which steps, must be known first
        with torch.no_grad():
            solve.run(y0, _Trail(solve.tableau))
    plan, replay = solve.plan, _Replay(solve, solve.bound, times)
    every = max(1, round(math.sqrt(plan.count / (STATES_TO_STEPS * solve.tableau.stages))))
    states, y = [y0], y0
    for first in range(0, plan.count, every):
        piece = range(first, min(first + every, plan.count))

        def take(y: Tensor, piece: range = piece) -> list[Tensor]:
            return replay.take(solve.bound, y, piece).states[1:]

        passed: Any = checkpoint(take, y, use_reentrant=False)
        states.extend(passed[: len(plan.outputs(piece))])
        y = passed[-1]
    return solve.fill(states, y)


class _Solve:
    """One solve: how it is done, and what is known of its steps once it is."""

    def __init__(self, bound: BoundField, times: Tensor, tableau: Tableau, schedule: Schedule, on_failure: str) -> None:
        self.bound, self.times, self.tableau, self.schedule = bound, times, tableau, schedule
        self.on_failure = on_failure
        self.walk: Walk | None = None
        self.plan: _EqualPlan | _WalkedPlan
        if isinstance(schedule, EqualSteps):
            self.plan = _EqualPlan(times.shape[-1], schedule)

    def run(self, y0: Tensor, trail: "_Trail") -> Tensor:
        """Solve, leaving a trail, while no graph is recorded; return the states (B, T, ...)."""
        stepper = _Followed(self.tableau, trail, estimate=self.schedule.adaptive)
        walk = self.schedule.walk(self.bound, y0, self.times, stepper, record=False)
        if isinstance(self.schedule, SharedSteps):
            self.walk, self.plan = walk, _WalkedPlan(walk.steps, len(walk.states), self.schedule, self.tableau)
        states = self.fill(walk.states, walk.last)
        walk.states = []  # the caller holds them already
        return states

    def fill(self, states: list[Tensor], last: Tensor) -> Tensor:
        """Stack the states at the outputs, filling in for those not reached."""
        return Walk(list(states), last).stack(self.times.shape[-1], self.on_failure)


class _Trail:
    """States kept on a way of unknown length: about 4 a stage to each step that lies between two of them."""

    def __init__(self, tableau: Tableau) -> None:
        self.share = STATES_TO_STEPS * tableau.stages
        self.kept: list[Tensor] = []
        self.every, self.visited = 1, 0

    def visit(self, y: Tensor) -> None:
        """Pass the state that a step begins with."""
        if self.visited % self.every == 0:
            self.kept.append(y)
            # Twice as many as there should be: every other one goes, and half of what there should be is left.
            if len(self.kept) > 2 * self.share * self.every:
                self.kept = self.kept[::2]
                self.every *= 2
        self.visited += 1


class _Followed(ExplicitRungeKutta):
    """A method whose steps leave a trail; a step refused begins where the next one does."""

    def __init__(self, tableau: Tableau, trail: _Trail, *, estimate: bool) -> None:
        super().__init__(tableau, estimate=estimate)
        self.trail, self.at = trail, None

    def step(self, field: BoundField, t: Tensor, h: Tensor, y: Tensor, first: Tensor | None) -> Step:
        """Try one step."""
        if y is not self.at:
            self.trail.visit(y)
            self.at = y
        return super().step(field, t, h, y, first)


class _EqualPlan:
    """Equal steps, given by number."""

    def __init__(self, outputs: int, schedule: EqualSteps) -> None:
        self.schedule, self.count, self.reached = schedule, (outputs - 1) * schedule.substeps, outputs

    def outputs(self, piece: range) -> range:
        """Outputs that these steps reach."""
        return range(1 + piece.start // self.schedule.substeps, 1 + piece.stop // self.schedule.substeps)

    def steps(self, times: Tensor, piece: range) -> Iterator[tuple[StepTaken, Tensor | None]]:
        """Give the steps as functions of the times; see ``_WalkedPlan``."""
        for n in piece:
            i, j = divmod(n, self.schedule.substeps)
            landed = i + 1 if j == self.schedule.substeps - 1 else None
            t, h = self.schedule.step(times, i, j)
            yield StepTaken(0.0, 0.0, t, h, True, False, False, landed, (0, 0), None), None


class _WalkedPlan:
    """The steps of an adaptive walk, from its record."""

    def __init__(self, walked: list[StepTaken], reached: int, schedule: SharedSteps, tableau: Tableau) -> None:
        self.walked, self.count, self.reached = walked, len(walked), reached
        self.schedule, self.stepper = schedule, ExplicitRungeKutta(tableau, estimate=False)

    def outputs(self, piece: range) -> range:
        """Outputs that these steps reach."""
        stop = self.reached if piece.stop == self.count else self.walked[piece.stop].inside[0]
        return range(self.walked[piece.start].inside[0], stop)

    def steps(self, times: Tensor, piece: range) -> Iterator[tuple[StepTaken, Tensor | None]]:
        """Give the steps as functions of the times, each with how its output moves on past a jump (``Clock.shift``).

        Their values are those that were walked.
        """
        clock = self.schedule.clock(times, self.stepper) if times.requires_grad else None
        for step in self.walked[piece.start : piece.stop]:
            if clock is None:
                yield step, None
                continue
            t = _moved(step.t, clock.time(step.start))
            h = _moved(step.h, clock.span(step.start, step.end))
            weights = step.weights
            if weights is not None:
                places = clock.inside(*step.inside, step.start, step.end)
                weights = _moved(weights, self.stepper.weights(places) * h)  # pyright: ignore[reportOptionalOperand]
            yield step._replace(t=t, h=h, weights=weights), None if step.landed is None else clock.shift(step.end)


def _moved(value: Tensor, by: Tensor) -> Tensor:
    """Return the value, with the derivative of ``by``: after a jump a step starts a rounding later than its time."""
    return value + (by - by.detach())


class _Passed(NamedTuple):
    states: list[Tensor]
    """At the start of a piece, at the outputs in it, and at its end."""
    steps: list[StepTaken]
    """As they were taken this time, with outputs numbered as the states are."""


class _Replay:
    """Steps taken again, with the arguments and times of a graph of their own."""

    def __init__(self, solve: _Solve, bound: BoundField, times: Tensor) -> None:
        self.bound, self.times, self.plan, self.tableau = bound, times, solve.plan, solve.tableau
        self.stepper = ExplicitRungeKutta(solve.tableau, estimate=False)

    def take(self, field: BoundField, y: Tensor, piece: range) -> _Passed:
        """Take them, each with all its slopes its own, so that a piece depends on its first state alone."""
        states, steps = [y], []
        for n, (step, moved) in zip(piece, self.plan.steps(self.times, piece), strict=True):
            made = self.stepper.step(field, step.t, step.h, y, None)
            begin = len(states)
            if step.weights is not None:
                made = self.stepper.complete(field, step.t, step.h, y, made)
                states.extend(combine_each(y, step.weights, made.slopes))
            inside, y = (begin, len(states)), made.y
            landed = None
            if moved is not None:  # the output follows its time, but what comes after it does not
                states.append(y + moved * field(step.t + step.h, y))
            if (step.landed is not None and moved is None) or n == piece[-1]:
                landed = len(states)
                states.append(y)
            added = len(made.slopes) > self.tableau.stages
            again = step._replace(fresh=True, has_last=added, completed=added, landed=landed, inside=inside)
            steps.append(again)
        return _Passed(states, steps)

    def pull(self, totals: Totals, y: Tensor, piece: range, grad: Tensor, by_end: Tensor) -> Tensor:
        """Pull the gradients of the outputs in a piece, and of the state at its end, back to its start."""

        def run(field: BoundField, start: Tensor) -> tuple[Tensor, list[StepTaken]]:
            states, steps = self.take(field, start, piece)
            return torch.stack(states, dim=1), steps

        y = y.detach().requires_grad_()
        with torch.enable_grad():
            tape = open_tape(self.bound, y, self.times)
            states = run(self.bound, y)[0] if tape is None else solve_taped(run, self.bound, tape, self.tableau, y)[0]
        outputs = self.plan.outputs(piece)
        by_states = torch.zeros_like(states)
        by_states[:, 1 : 1 + len(outputs)] = grad[:, outputs.start : outputs.stop]
        by_states[:, -1] += by_end
        return totals.pull(states, by_states, y)
