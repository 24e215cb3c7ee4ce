"""The derivative of the exact solution, found by solving its own equation backwards.

With L a function of the outputs y(t_i), the adjoint a(t) = dL/dy(t) and the gradient of what the field learns with obey

    da/dt = -(df/dy)^T a,     dL/dtheta = -int (df/dtheta)^T a dt,     both from the last time to the first,

where a grows by dL/dy(t_i) at every output. With them y is solved backwards once more, an interval at a time, from the
state at the later output. Nothing is kept but the outputs, however many the steps. Where times are asked for,
dL/dt_i = f(t_i, y(t_i)) . dL/dy(t_i), and dL/dt_0 = -f(t_0, y_0) . a(t_0).

What comes out is the derivative of the equation, as far as tolerances go, and not of the numbers that the solver gave.
It errs in two ways, each in proportion to the tolerance, or to h^p with steps of equal length h: the states at outputs
err as the way there did; and an error made on the way back at a time s has grown, at t, by up to exp(int_t^s m) with
m the logarithmic norm of -df/dy. So a solution that contracts on its way there is found again badly.

Source: Chen, Rubanova, Bettencourt and Duvenaud (2018), Neural ordinary differential equations, Algorithm 1 and
appendix C; the growth of errors: Hairer, Norsett and Wanner (1993), Solving ODEs I, Theorem I.10.6.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from integrand.core.errors import InputError
from integrand.core.numerics.arithmetic import along
from integrand.core.numerics.field_call import BoundField
from integrand.core.numerics.gradients.recomputation import Precision, argument_tensors, fresh, rebind, required_tensors
from integrand.core.numerics.methods.explicit import ExplicitRungeKutta
from integrand.core.numerics.methods.tableau import Tableau
from integrand.core.numerics.solution import Status
from integrand.core.numerics.stepping.schedule import Schedule, SharedSteps, Solved
from integrand.core.numerics.stepping.step_control import ErrorNorm, wide
from integrand.core.numerics.stepping.walk import SolveError, Walk

LENIENCE = 0.1
"""What an error in the integrals counts beside one in y or a."""
SECOND = "gradient='adjoint' has no second derivatives: take gradient='direct' or 'checkpoint'."


def solve_adjoint(
    bound: BoundField,
    y0: Tensor,
    times: Tensor,
    tableau: Tableau,
    schedule: Schedule,
    *,
    on_failure: str = "raise",
) -> Solved:
    """Solve, with the continuous adjoint for a derivative, in memory that does not grow with the number of steps.

    Derivatives reach y0, times, arguments and the parameters of the field, which must be a module or a method of one.
    There are no second derivatives.

    On the way back adaptive steps hold a to rtol |a| + atol max |a(t_i)| on the interval that ends with t_i, so that
    the gradient of a loss twice as large is twice as large. Nothing depends on the integrals, whose errors a seminorm
    leaves out altogether. That fails where df/dtheta varies faster than y and a: a field whose last layer is zero moves
    neither, and steps grow past all that drives it. So the integrals are held to ten times the tolerance. On neural
    fields that took 4 % more evaluations than the seminorm, and the tolerance itself 28 % more.

    Args:
        bound: the right-hand side, with its arguments.
        y0: (B, ...).
        times: (T,) or (B, T).
        tableau: the method, there and back.
        schedule: how steps are chosen, there and back.
        on_failure: what fills outputs that an adaptive solve does not reach: ``"last"`` has no derivative here.

    Raises:
        InputError: the field's parameters cannot be known, or ``on_failure`` is ``"last"``.
        SolveError: from the way back, where the adjoint equation could not be solved.

    Example:
        >>> from integrand.core.fields import MLP
        >>> from integrand.core.numerics.stepping.schedule import EqualSteps
        >>> from integrand.core.numerics.methods.tableau import RK4
        >>> field, times = BoundField(MLP(2), None, 5), torch.linspace(0, 1, 3)
        >>> solve_adjoint(field, torch.zeros(5, 2), times, RK4, EqualSteps(100)).states.shape
        torch.Size([5, 3, 2])

    Source: Kidger, Chen and Lyons (2021), "Hey, that's not an ODE": faster ODE adjoints via seminorms.
    """
    if on_failure == "last":
        raise InputError("on_failure='last' has no derivative with gradient='adjoint': take 'raise' or 'nan'.")
    learned = required_tensors(bound, times[..., 0], y0, "adjoint")
    solve = _Solve(bound, tableau, schedule)
    states = _Adjoint.apply(solve, y0, times, *argument_tensors(bound), *learned)
    return Solved(states, solve.walk if schedule.adaptive else None)  # pyright: ignore[reportArgumentType]


@dataclass
class _Solve:
    bound: BoundField
    tableau: Tableau
    schedule: Schedule
    walk: Walk | None = None

    def stepper(self) -> ExplicitRungeKutta:
        return ExplicitRungeKutta(self.tableau, estimate=self.schedule.adaptive)


class _Adjoint(torch.autograd.Function):
    """The whole solve as one node of the graph."""

    @staticmethod
    def forward(ctx: Any, solve: _Solve, y0: Tensor, times: Tensor, *rest: Tensor) -> Tensor:
        ctx.precision = Precision.now(y0.device.type)
        with ctx.precision.again():
            walk = solve.walk = solve.schedule.walk(solve.bound, y0, times, solve.stepper(), record=False)
        ctx.solve, ctx.reached = solve, len(walk.states)
        states = walk.stack(times.shape[-1], "nan")
        walk.states = []  # the caller holds them already
        ctx.save_for_backward(states, times, *rest)
        return states

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        states, times, *rest = ctx.saved_tensors
        with torch.no_grad(), ctx.precision.again():
            way = _WayBack(ctx.solve, states.detach(), times.detach(), tuple(rest), ctx.needs_input_grad[3:])
            found = way.walk(grads[0], ctx.reached, wants_times=ctx.needs_input_grad[2])
        return None, *(once(found, SECOND) if torch.is_grad_enabled() else found)


class _Once(torch.autograd.Function):
    """Gradients that cannot be differentiated."""

    @staticmethod
    def forward(ctx: Any, why: str, *tensors: Tensor | None) -> tuple[Tensor | None, ...]:
        ctx.why = why
        return tuple(None if tensor is None else tensor.view_as(tensor) for tensor in tensors)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        raise InputError(ctx.why)


def once(found: Sequence[Tensor | None], why: str) -> tuple[Tensor | None, ...]:
    """Return gradients that say why not when they are differentiated, rather than pass for constants."""
    starts = (None if tensor is None else tensor.detach().requires_grad_() for tensor in found)
    return _Once.apply(why, *starts)  # pyright: ignore[reportReturnType]


class _WayBack:
    """The way from the last output to the first, as a walk of the flat vector (y, a / unit, integrals / unit)."""

    def __init__(
        self, solve: _Solve, states: Tensor, times: Tensor, rest: tuple[Tensor, ...], wanted: tuple[bool, ...]
    ) -> None:
        count = len(argument_tensors(solve.bound))
        rest = (*(fresh(argument) for argument in rest[:count]), *rest[count:])
        self.solve, self.states, self.times, self.wanted = solve, states, times, wanted
        self.bound = rebind(solve.bound, rest[:count])
        self.learned = tuple(tensor for tensor, needs in zip(rest, wanted, strict=True) if needs)
        self.like = states[:, 0]
        self.size = _flat(self.like).numel()
        self.sizes = [_flat(tensor).numel() for tensor in self.learned]
        self.integrals = wide(_flat(self.like)).new_zeros(sum(self.sizes))  # which makes the whole vector as wide

    def walk(self, grad: Tensor, reached: int, *, wants_times: bool) -> list[Tensor | None]:
        """Return the gradients of y0, the times, the arguments and what is learned."""
        a = torch.zeros_like(self.like)
        by_times = [torch.zeros_like(time) for time in self.times.unbind(-1)]
        for i in reversed(range(1, reached)):
            if wants_times:
                by_times[i] = self._rate(i, grad[:, i])
            a = self._interval(i, a + grad[:, i])
        if wants_times:
            by_times[0] = -self._rate(0, a)
        parts = zip(self.integrals.split(self.sizes), self.learned, strict=True)
        integrals = iter([_shaped(part, tensor) for part, tensor in parts])
        found = [next(integrals) if needs else None for needs in self.wanted]
        return [a + grad[:, 0], torch.stack(by_times, dim=-1) if wants_times else None, *found]

    def _interval(self, i: int, a: Tensor) -> Tensor:
        """Walk from output i to the one before; return a there, and add to the integrals."""
        # The equation is linear in a, so its unit is free: this one makes the tolerance relative.
        unit = _flat(a).abs().max()
        unit = torch.where(unit > 0, unit, 1.0)
        z = torch.cat([_flat(self.states[:, i]), _flat(a) / unit, torch.zeros_like(self.integrals)]).unsqueeze(0)
        start, end = self.times[..., i - 1], self.times[..., i]
        # Samples with times of their own walk together in their share of the interval.
        shared = start.dim() == 0
        span = torch.stack([end, start]) if shared else torch.linspace(1, 0, 2, dtype=z.dtype, device=z.device)
        field = BoundField(partial(self._slope, start, end), None, 1)
        walk = self._schedule(i).walk(field, z, span, self.solve.stepper(), record=False)
        if walk.status is not Status.OK:
            why = walk.status.name.lower().replace("_", " ")
            raise SolveError(
                f"the adjoint equation could not be solved back from output {i} to output {i - 1} ({why}): y grows, or "
                "is stiff, when solved backwards. Take gradient='checkpoint', or looser rtol and atol."
            )
        _, a_flat, integrals = walk.last.squeeze(0).split([self.size, self.size, len(self.integrals)])
        self.integrals = self.integrals + unit * integrals
        return _shaped(unit * a_flat, self.like)

    def _slope(self, start: Tensor, end: Tensor, at: Tensor, z: Tensor) -> Tensor:
        """Return the slope of (y, a, integrals) by time, or by the share of each sample's interval."""
        y, a, _ = z.squeeze(0).split([self.size, self.size, len(self.integrals)])
        y, a = _shaped(y, self.like).detach().requires_grad_(), _shaped(a, self.like)
        width = None if start.dim() == 0 else along(end - start, a)
        with torch.enable_grad():
            slope = self.bound(at if width is None else torch.lerp(start, end, at), y)
        a = a if width is None else width * a
        pulled: tuple[Tensor | None, ...] = (None,) * (1 + len(self.learned))
        if slope.requires_grad:
            pulled = torch.autograd.grad(slope, (y, *self.learned), a, allow_unused=True)
        slope = slope.detach() if width is None else width * slope.detach()
        parts = [
            torch.zeros_like(_flat(tensor)) if by is None else _flat(by).neg()
            for by, tensor in zip(pulled, (y, *self.learned), strict=True)
        ]
        return torch.cat([part.to(z.dtype) for part in (_flat(slope), *parts)]).unsqueeze(0)

    def _schedule(self, i: int) -> Schedule:
        """Steps of the way back from output i."""
        schedule = self.solve.schedule
        if not isinstance(schedule, SharedSteps):
            return schedule
        norm = _AdjointNorm(schedule.norm.rtol, schedule.norm.atol, False, 2 * self.size)
        control = schedule.control
        if self.times.dim() == 2:  # the clock of these counts intervals, and here begins with each anew
            control = replace(control, jump_times=tuple(jump - (i - 1) for jump in control.jump_times))
        return replace(schedule, norm=norm, control=control)

    def _rate(self, i: int, by: Tensor) -> Tensor:
        """Return f . by at an output, for each time, on the side of a jump that the solve sees it from."""
        y, t = self.states[:, i], self.times[..., i]
        if isinstance(self.solve.schedule, SharedSteps) and self.solve.schedule.control.jump_times:
            t = torch.nextafter(t, self.times[..., i - 1 if i else 1])
        product = _flat(self.bound(t, y)) * _flat(by)
        return product.sum() if self.times.dim() == 1 else product.view(len(y), -1).sum(1)


@dataclass(frozen=True)
class _AdjointNorm(ErrorNorm):
    """The error in y and a, or a tenth of that in the integrals where this is larger."""

    counted: int

    def measure(self, error: Tensor, scale: Tensor) -> Tensor:
        """See ``ErrorNorm``."""
        size = super().measure(error[:, : self.counted], scale[:, : self.counted])
        if error.shape[1] == self.counted:
            return size
        integrals = super().measure(error[:, self.counted :], scale[:, self.counted :])
        return torch.maximum(size, LENIENCE * integrals)


def _flat(tensor: Tensor) -> Tensor:
    """Return the real numbers of a tensor as a vector."""
    return (torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor).flatten()


def _shaped(flat: Tensor, like: Tensor) -> Tensor:
    """Undo ``_flat``."""
    if like.is_complex():
        return torch.view_as_complex(flat.view(*like.shape, 2)).to(like.dtype)
    return flat.view(like.shape).to(like.dtype)
