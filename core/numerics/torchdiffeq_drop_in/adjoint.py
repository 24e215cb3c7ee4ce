"""torchdiffeq's ``odeint_adjoint`` on our solves, there and back.

With L a function of the outputs y(t_i), the adjoint a(t) = dL/dy(t), the derivative s by a first time and those g by
the parameters theta obey, from the last time to the first,

    ds/dt = -(df/dt)^T a,     da/dt = -(df/dy)^T a,     dg/dt = -(df/dtheta)^T a,

where at every output a grows by dL/dy(t_i), and s shrinks by dL/dt_i = f(t_i, y(t_i)) . dL/dy(t_i). The way back is
solved, an interval at a time, for the tuple (s, y, a, *g), which is what torchdiffeq's tolerances, norms and options of
the backward solve speak of; y starts each interval from the output found on the way there.

This is not ``core.numerics.gradients.continuous_adjoint``, which makes tolerances relative to the size of a and goes
back by the method that it came by: torchdiffeq's are absolute, and the ways may differ in everything.

Source: Chen, Rubanova, Bettencourt and Duvenaud (2018), Neural ordinary differential equations; Kidger, Chen and Lyons
(2021), "Hey, that's not an ODE": faster ODE adjoints via seminorms.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from typing import Any

import torch
from torch import Tensor, nn

from integrand.core.numerics.gradients.continuous_adjoint import once
from integrand.core.numerics.gradients.recomputation import Precision
from integrand.core.numerics.torchdiffeq_drop_in.route import has_our_types, solve
from integrand.core.numerics.torchdiffeq_drop_in.state import CalledField, Layout, State, largest_rms, parts

ADJOINT_CALLBACKS = ("callback_step_adjoint", "callback_accept_step_adjoint", "callback_reject_step_adjoint")
SECOND = "odeint_adjoint has no second derivatives: take odeint."

Norm = Callable[[Any], Tensor]


@dataclass(frozen=True)
class Way:
    """What a solve one way is asked for; the attributes are arguments of ``odeint``."""

    rtol: Any
    atol: Any
    method: str | None
    options: dict[str, Any] | None

    def solve(self, func: Callable[..., Any], y0: State, t: Tensor, event_fn: Callable | None = None) -> Any:
        """Solve."""
        return solve(
            func,
            y0,
            t,
            rtol=self.rtol,
            atol=self.atol,
            method=self.method,
            options=self.options,
            event_fn=event_fn,
        )


def solve_with_adjoint(
    func: Callable[..., Any],
    y0: Any,
    t: Any,
    there: Way,
    back: Way,
    params: tuple[Tensor, ...] | None,
    event_fn: Callable[..., Tensor] | None = None,
) -> Any:
    """Return what ``odeint_adjoint`` is asked for, or None where torchdiffeq has an answer, or an error, of its own.

    Args:
        func, y0, t, event_fn: see ``odeint_adjoint``.
        there, back: the solves; what ``back`` does not say is as in ``there``.
        params: tensors to form gradients for; None for the parameters of ``func``.
    """
    if params is None and isinstance(func, nn.Module) and not getattr(func, "_is_replica", False):
        params = tuple(func.parameters())
    if params is None or not has_our_types(y0, t) or any(hasattr(func, name) for name in ADJOINT_CALLBACKS):
        return None
    learned, layout = tuple(p for p in params if p.requires_grad), Layout.of(y0)
    resolved = _way_back(there, back, layout, frozen=len(learned) < len(params))
    first = parts(y0)[0]
    kinds = ((first.dtype, first.device), (first.dtype.to_real(), first.device))
    if resolved is None or any((p.dtype, p.device) not in kinds for p in learned):
        return None
    problem = _Problem(func, layout, there, resolved, event_fn, Precision.now(first.device.type))
    answers: Any = _Adjoint.apply(problem, t, *parts(y0), *learned)
    states = answers[-len(layout.sizes) :]
    state = states if layout.tupled else states[0]
    return state if event_fn is None else (answers[0], state)


def _way_back(there: Way, back: Way, layout: Layout, *, frozen: bool) -> Way | None:
    """Return the way back with all that it leaves to the way there, or None where that is a mistake, or warned of."""
    rtol = there.rtol if back.rtol is None else back.rtol
    atol = there.atol if back.atol is None else back.atol
    method = there.method if back.method is None else back.method
    if not all(isinstance(options, dict | None) for options in (there.options, back.options)):
        return None
    options, given = there.options or {}, back.options
    if given is None:
        if method != there.method and there.options is not None:
            return None
        given = {name: option for name, option in options.items() if name != "norm"}
    size: Any = options.get("norm", lambda y: largest_rms(parts(y)))
    norm: Any = given.get("norm")
    if not callable(size) or ("norm" in given and norm != "seminorm" and (frozen or not callable(norm))):
        return None
    return Way(rtol, atol, method, given | {"norm": _norm_back(norm, size, layout)})


def _norm_back(norm: Any, size: Callable[[Any], Any], layout: Layout) -> Norm:
    """Return the size of (s, y, a, *g): the largest of its parts', with or without g, or what the caller measures."""

    def measured(z: tuple[Tensor, ...]) -> Tensor:
        s, y, a, *g = z
        y, a = layout.unpack(y), layout.unpack(a)
        if callable(norm):
            return norm((s, *parts(y), *parts(a), *g))  # pyright: ignore[reportReturnType]
        sizes = [s.abs(), size(y), size(a)]
        if g and norm is None:
            sizes.append(largest_rms(tuple(g)))
        return reduce(torch.maximum, sizes)

    return measured


@dataclass(frozen=True)
class _Problem:
    func: Callable[..., Any]
    layout: Layout
    there: Way
    back: Way
    event_fn: Callable[..., Tensor] | None
    precision: Precision


class _Adjoint(torch.autograd.Function):
    """The whole solve as one node of the graph; the time of an event has no derivative here."""

    @staticmethod
    def forward(ctx: Any, problem: _Problem, t: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
        layout = problem.layout
        count = len(layout.sizes)
        y0 = tensors[:count] if layout.tupled else tensors[0]
        answer = problem.there.solve(problem.func, y0, t, problem.event_fn)
        found = () if problem.event_fn is None else (answer[0].clone(),)
        states = parts(answer if problem.event_fn is None else answer[1])
        ctx.problem = problem
        ctx.mark_non_differentiable(*found)
        ctx.save_for_backward(t, *found, *states, *tensors[count:])
        return *found, *states

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        problem, count = ctx.problem, len(ctx.problem.layout.sizes)
        t, *saved = ctx.saved_tensors
        times, moves = t, ctx.needs_input_grad[1]
        if problem.event_fn is not None:
            times, saved = torch.stack([t[0], saved[0].to(t)]), saved[1:]
        with torch.no_grad(), problem.precision.again():
            way = _WayBack(problem, times.detach(), saved[:count], tuple(saved[count:]), moves)
            by_times, by_start, by_learned = way.walk(grads[-count:])
        if moves and problem.event_fn is not None:  # where the solve ends, the event says
            by_times = torch.cat([by_times[:1], torch.zeros_like(by_times[1:])])
        found = (by_times if moves else None, *parts(by_start), *by_learned)
        return None, *(once(found, SECOND) if torch.is_grad_enabled() else found)


class _WayBack:
    def __init__(
        self, problem: _Problem, times: Tensor, states: list[Tensor], learned: tuple[Tensor, ...], moves: bool
    ) -> None:
        self.problem, self.times, self.learned, self.moves = problem, times, learned, moves
        self.layout = problem.layout
        self.field = CalledField(problem.func, self.layout)
        self.y_T = self._packed(states)

    def walk(self, grads: tuple[Tensor, ...]) -> tuple[Tensor, State, tuple[Tensor, ...]]:
        """Return the derivatives by the times, the start and what is learned."""
        y_T, by_T = self.y_T, self._packed(grads)
        a, by_times = by_T[-1], list(torch.zeros_like(self.times).unbind())
        s, g = a.new_zeros(()), [torch.zeros_like(tensor, dtype=a.dtype) for tensor in self.learned]
        for i in reversed(range(1, len(self.times))):
            if self.moves:
                by_times[i] = (self.field(self.times[i], y_T[i]).conj() * by_T[i]).real.sum()
                s = s - by_times[i]
            span = self.times[i - 1 : i + 1].flip(0)
            s, _, a, *g = (part[1] for part in self.problem.back.solve(self._slope, (s, y_T[i], a, *g), span))
            a = a + by_T[i - 1]
        by_times[0] = s.real
        learned = (by if tensor.is_complex() else by.real for by, tensor in zip(g, self.learned, strict=True))
        return torch.stack([by.to(self.times) for by in by_times]), self.layout.unpack(a), tuple(learned)

    def _slope(self, t: Tensor, z: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Return the slope of (s, y, a, *g)."""
        s, y, a, *g = z
        t, y = t.detach().requires_grad_(self.moves), y.detach().requires_grad_()
        with torch.enable_grad():
            slope = self.field(t, y)
        inputs = (y, *self.learned, *((t,) if self.moves else ()))
        pulled: tuple[Tensor | None, ...] = (None,) * len(inputs)
        if slope.requires_grad:
            # What the field computed once, before the solve, is differentiated again at every stage.
            pulled = torch.autograd.grad(slope, inputs, a, allow_unused=True, retain_graph=True)
        parts_z = (a, *g, *((s,) if self.moves else ()))
        by = [torch.zeros_like(part) if one is None else -one for one, part in zip(pulled, parts_z, strict=True)]
        by_s = by.pop() if self.moves else torch.zeros_like(s)
        return by_s, slope.detach(), *by

    def _packed(self, tensors: Any) -> tuple[Tensor, ...]:
        """Lay out states at every time, given each tensor of them for all times."""
        each = zip(*(tensor.unbind() for tensor in tensors), strict=True)
        return tuple(self.layout.pack(state if self.layout.tupled else state[0]) for state in each)
