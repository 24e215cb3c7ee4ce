"""Solves in which the batch shares its steps, with every gradient there is."""

from typing import Literal

import torch
from torch import Tensor

from integrand.core.errors import InputError
from integrand.core.numerics.field_call import BoundField
from integrand.core.numerics.gradients.checkpointed import solve_checkpointed
from integrand.core.numerics.gradients.continuous_adjoint import solve_adjoint
from integrand.core.numerics.gradients.discrete_adjoint import solve_taped
from integrand.core.numerics.gradients.reversible import solve_reversible
from integrand.core.numerics.gradients.tape import open_tape
from integrand.core.numerics.methods.registry import TABLEAUS, make_stepper
from integrand.core.numerics.solution import Solution, SolverStats, Status
from integrand.core.numerics.solve_options import NOT_DENSE, SolveOptions
from integrand.core.numerics.stepping.dense_output import DenseOutput
from integrand.core.numerics.stepping.fixed_step import count_substeps
from integrand.core.numerics.stepping.schedule import EqualSteps, Schedule, SharedSteps
from integrand.core.numerics.stepping.walk import SolveError, StepTaken, Walk


def solve_shared(bound: BoundField, y0: Tensor, times: Tensor, options: SolveOptions, *, max_steps: int) -> Solution:
    """Solve with one step size for the batch.

    Args:
        bound: the right-hand side, with its arguments bound.
        y0: (B, ...).
        times: (T,) or (B, T), T > 1.
        options: how.
        max_steps: most steps that an adaptive solve tries.
    """
    if options.dense and times.dim() == 2:
        raise InputError(NOT_DENSE)
    if options.fixed:
        size = options.step_size
        schedule: Schedule = EqualSteps(1 if size is None else count_substeps(times, size))
    else:
        schedule = SharedSteps(options.norm, options.control, max_steps)
    return _Solve(bound, y0, times, options, schedule).solve()


class _Solve:
    def __init__(self, bound: BoundField, y0: Tensor, times: Tensor, options: SolveOptions, schedule: Schedule) -> None:
        self.bound, self.y0, self.times, self.options, self.schedule = bound, y0, times, options, schedule
        self.walk: Walk | None = None
        self.dense: Literal[False] | DenseOutput | None = None if options.dense else False

    def solve(self) -> Solution:
        states, called = self._by_steps() if self.options.gradient == "direct" else self._by_other_gradient()
        walk, batch, device = self.walk, self.y0.shape[0], self.y0.device
        if isinstance(self.schedule, SharedSteps):
            assert walk is not None
            if walk.status is not Status.OK and self.options.on_failure == "raise":
                raise SolveError(self.options.explain(walk.reason))
            count = {"accepted": len(walk.steps), "rejected": walk.rejected}
            outcome = torch.full((batch,), int(walk.status), device=device)
        else:
            if self.options.on_failure == "raise" and device.type == "cpu":
                self._refuse_nonfinite(states.detach(), self.schedule)
            count = {"accepted": (self.times.shape[-1] - 1) * self.schedule.substeps, "rejected": 0}
            outcome = None
        stats = SolverStats.shared(batch, device, evaluations=called, **count)
        return Solution(self.times, states, stats, outcome, _slope=self.bound, _dense=self.dense or None)

    def _by_steps(self) -> tuple[Tensor, int]:
        """Solve so that autograd, or the field's own tape, differentiates the steps; returns states and evaluations."""
        tape = None
        if self.options.method in TABLEAUS and not self.options.compile and self.dense is False:
            tape = open_tape(self.bound, self.y0, self.times)
        if tape is None:
            return self._run(self.bound, self.y0)[0], self.bound.evaluations
        states, taped = solve_taped(self._run, self.bound, tape, TABLEAUS[self.options.method], self.y0)
        return states, taped.evaluations

    def _run(self, field: BoundField, start: Tensor) -> tuple[Tensor, list[StepTaken]]:
        adaptive = isinstance(self.schedule, SharedSteps)
        how = self.options
        stepper = make_stepper(how.method, adaptive=adaptive, rtol=how.rtol, atol=how.atol, compile=how.compile)
        if self.dense is not False and isinstance(self.schedule, SharedSteps):
            walk = self.schedule.walk(field, start, self.times, stepper, keep=True)
            self.dense = DenseOutput(walk.steps, stepper) if walk.steps else None
        else:
            walk = self.schedule.walk(field, start, self.times, stepper)
        if self.walk is None:
            self.walk = walk
        return walk.stack(self.times.shape[-1], self.options.on_failure), walk.steps

    def _by_other_gradient(self) -> tuple[Tensor, int]:
        bound, y0, times, tableau = self.bound, self.y0, self.times, TABLEAUS[self.options.method]
        if self.options.gradient == "reversible":
            if not isinstance(self.schedule, EqualSteps):
                raise InputError(
                    "gradient='reversible' takes fixed steps: give step_size, or a method without an error estimate."
                )
            return solve_reversible(bound, y0, times, tableau, self.schedule.substeps), bound.evaluations
        solve = solve_checkpointed if self.options.gradient == "checkpoint" else solve_adjoint
        solved = solve(bound, y0, times, tableau, self.schedule, on_failure=self.options.on_failure)
        self.walk = solved.walk
        return solved.states, bound.evaluations

    def _refuse_nonfinite(self, states: Tensor, schedule: EqualSteps) -> None:
        """Name the step that led to the first state that is not finite."""
        if bool(torch.isfinite(states.sum())):  # one pass over the states; a sum of finite ones may overflow
            return
        finite_BT = torch.isfinite(states).reshape(*states.shape[:2], -1).all(-1)
        if bool(finite_BT.all()):
            return
        output = int((~finite_BT).any(0).nonzero()[0])
        row = int((~finite_BT[:, output]).nonzero()[0])
        where = f"at time {self._time(output, row):g}, output {output}"
        step = self._culprit(schedule, row) if output else None
        if step is not None:
            number, t = step
            where = (
                f"in step {number} of {(states.shape[1] - 1) * schedule.substeps}, from time {t:g}, to output {output}"
            )
        raise SolveError(
            f"{self.options.method} could not go on: sample {row} is infinite or not a number {where}. Take shorter "
            "steps, bound the field, or lower the learning rate if this came up in training."
        )

    @torch.no_grad()
    def _culprit(self, schedule: EqualSteps, row: int) -> tuple[int, float] | None:
        """Return the number and the start of the step in which a sample was lost, by walking again.

        From the start: a field may have to be asked in its order.
        """
        how, y = self.options, self.y0
        stepper = make_stepper(how.method, adaptive=False, rtol=how.rtol, atol=how.atol)
        for number in range((self.times.shape[-1] - 1) * schedule.substeps):
            t, h = schedule.step(self.times.detach(), *divmod(number, schedule.substeps))
            y = stepper.step(self.bound, t, h, y, None).y
            if not bool(torch.isfinite(y[row]).all()):
                return number + 1, float(t if t.dim() == 0 else t[row])
        return None

    def _time(self, output: int, row: int) -> float:
        return float(self.times.detach().expand(len(self.y0), -1)[row, output])
