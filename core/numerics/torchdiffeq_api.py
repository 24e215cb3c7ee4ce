"""torchdiffeq's functions on our engine: code written for torchdiffeq 0.2.5 changes one import.

    from integrand.core.numerics.torchdiffeq_api import odeint    # was: from torchdiffeq import odeint

Signatures, names of methods, options, callbacks, shapes, errors and warnings are torchdiffeq's. What our engine does
with the same meaning, it does:

- ``euler``, ``midpoint``, ``heun2``, ``heun3`` and ``rk4`` (which there is Kutta's 3/8 rule), with every option and
  callback; the numbers are torchdiffeq's to rounding;
- ``dopri5`` and ``bosh3``, the same pairs of formulae, and ``dopri8``, which here is DOP853 of Hairer and others rather
  than Prince and Dormand's 8(7) pair; the numbers agree to the tolerance alone, for our steps end on the last time
  rather than beyond it and our dense output is of higher order. ``tsit5`` is an extra;
- events with all of these, located to the precision of the clock rather than to ``atol``. ``odeint_event`` also has
  gradients for what the event function learns, which torchdiffeq leaves out, and takes any ``odeint_interface``;
- ``odeint_dense`` forwards in time;
- ``odeint_adjoint``: the equation that goes back is ours, and each solve, there and back, is ours where this list has
  it. Asking for second derivatives is an error.

To torchdiffeq itself goes all else:

- of every function: its other methods, half precision, the transforms of ``torch.func``, tolerances for each component;
  adaptive steps with callbacks, with ``min_step``, a ``dtype`` other than float64 or factors that our control refuses,
  as a ``safety`` of 1, with ``max_num_steps`` and more than two times, or with ``jump_t`` and ``step_t`` where times
  have another precision than states;
- of events: ``jump_t`` and ``step_t``, and fixed steps that begin on a zero of the event function;
- of ``odeint_dense``: ``t1`` before ``t0``, whose function is there one of the time negated;
- of ``odeint_adjoint``: callbacks for the way back, parameters on another device or in another precision than the
  state, frozen ones beside a norm of one's own, of which it warns, and replicas of ``DataParallel``;
- every call that is a mistake, so that errors and warnings are its own.
"""

from collections.abc import Callable
from typing import Any

import torch
import torchdiffeq
from torch import Tensor

from integrand.core.numerics.torchdiffeq_drop_in.adjoint import Way, solve_with_adjoint
from integrand.core.numerics.torchdiffeq_drop_in.event_search import with_event_gradients
from integrand.core.numerics.torchdiffeq_drop_in.route import solve, solve_dense

__all__ = ["odeint", "odeint_adjoint", "odeint_dense", "odeint_event"]


def odeint(
    func: Callable[..., Any],
    y0: Any,
    t: Tensor,
    *,
    rtol: Any = 1e-7,
    atol: Any = 1e-9,
    method: str | None = None,
    options: dict[str, Any] | None = None,
    event_fn: Callable[..., Tensor] | None = None,
) -> Any:
    """Solve dy/dt = func(t, y), y(t_0) = y0, and return y at every time, time first.

    Args:
        func: the field, called with a scalar time and a state like y0.
        y0: the initial state, a tensor of any shape or a tuple of tensors; all of it shares one step.
        t: output times (T,), strictly increasing or decreasing, the first being t_0.
        rtol, atol: tolerances of adaptive methods; with a tuple as state also one for each of its tensors.
        method: a name of torchdiffeq's, or ``"tsit5"``; ``"dopri5"`` when None.
        options: torchdiffeq's options for the method.
        event_fn: a function of (t, y) whose zero ends the solve.

    Returns:
        States (T, ...), or a tuple of them; with ``event_fn`` the time of the event and the states at t_0 and there.

    Raises:
        ValueError: the method is unknown, or an option's value is.
        AssertionError: an adaptive solve cannot go on (``underflow in dt``, ``max_num_steps exceeded``), or ``t`` is
            not strictly monotone.

    Example:
        >>> t = torch.linspace(0.0, 1.0, 3, dtype=torch.float64)
        >>> cosine, sine = odeint(lambda t, y: (-y[1], y[0]), (torch.ones(()).double(), torch.zeros(()).double()), t)
        >>> round(cosine[-1].item(), 6), round(sine[-1].item(), 6)
        (0.540302, 0.841471)

    Source: Chen et al. (2018), Neural ordinary differential equations; torchdiffeq 0.2.5.
    """
    return solve(func, y0, t, rtol=rtol, atol=atol, method=method, options=options, event_fn=event_fn)


def odeint_adjoint(
    func: Callable[..., Any],
    y0: Any,
    t: Tensor,
    *,
    rtol: Any = 1e-7,
    atol: Any = 1e-9,
    method: str | None = None,
    options: dict[str, Any] | None = None,
    event_fn: Callable[..., Tensor] | None = None,
    adjoint_rtol: Any = None,
    adjoint_atol: Any = None,
    adjoint_method: str | None = None,
    adjoint_options: dict[str, Any] | None = None,
    adjoint_params: Any = None,
) -> Any:
    """Solve as ``odeint`` does, with the gradient from a second solve, of the adjoint equation backwards in time.

    With a = dL/dy, da/dt = -(df/dy)^T a and dL/dtheta = integral of a^T df/dtheta: memory does not grow with the number
    of steps, and the gradient is as exact as the backward solve.

    Args:
        func: the field, an ``nn.Module`` unless ``adjoint_params`` are given.
        y0, t, rtol, atol, method, options, event_fn: see ``odeint``.
        adjoint_rtol, adjoint_atol, adjoint_method, adjoint_options: those of the backward solve, as forward when None;
            ``adjoint_options={"norm": "seminorm"}`` leaves the parameters' part out of the error.
        adjoint_params: tensors to form gradients for, besides y0 and t; the parameters of ``func`` when None.

    Returns:
        As ``odeint``.

    Raises:
        ValueError: as ``odeint``, and where parameters or backward options are neither given nor to be inferred.

    Example:
        >>> field = torch.nn.Linear(2, 2).double()
        >>> t = torch.linspace(0.0, 1.0, 2, dtype=torch.float64)
        >>> y = odeint_adjoint(lambda t, y: field(y), torch.ones(3, 2).double(), t, adjoint_params=field.parameters())
        >>> y[-1].sum().backward()
        >>> field.weight.grad.shape
        torch.Size([2, 2])

    Source: Chen et al. (2018), Neural ordinary differential equations, Eq. 3 to 5; torchdiffeq 0.2.5.
    """
    params = adjoint_params if adjoint_params is None else tuple(adjoint_params)
    there, back = Way(rtol, atol, method, options), Way(adjoint_rtol, adjoint_atol, adjoint_method, adjoint_options)
    answer = solve_with_adjoint(func, y0, t, there, back, params, event_fn)
    if answer is not None:
        return answer
    return torchdiffeq.odeint_adjoint(
        func,
        y0,
        t,
        rtol=rtol,
        atol=atol,
        method=method,
        options=options,
        event_fn=event_fn,
        adjoint_rtol=adjoint_rtol,
        adjoint_atol=adjoint_atol,
        adjoint_method=adjoint_method,
        adjoint_options=adjoint_options,
        adjoint_params=params,
    )


def odeint_dense(
    func: Callable[..., Any],
    y0: Tensor,
    t0: Tensor,
    t1: Tensor,
    *,
    rtol: Any = 1e-7,
    atol: Any = 1e-9,
    method: str | None = None,
    options: dict[str, Any] | None = None,
) -> Callable[[Tensor], Tensor]:
    """Solve from t0 to t1 with ``dopri5``, and return the solution as a function of one time.

    Args:
        func, rtol, atol, options: see ``odeint``.
        y0: the initial state, a tensor.
        t0, t1: first and last time, scalar tensors.
        method: ``"dopri5"`` or None.

    Returns:
        A function of a scalar tensor between t0 and t1.

    Raises:
        AssertionError: the method is another, the state a tuple, or the time outside.

    Example:
        >>> one = torch.ones(1, dtype=torch.float64)
        >>> decay = odeint_dense(lambda t, y: -y, one, torch.zeros(()).double(), torch.ones(()).double())
        >>> round(decay(torch.tensor(0.5, dtype=torch.float64)).item(), 6)
        0.606531

    Source: torchdiffeq 0.2.5; Shampine (1986), Some practical Runge-Kutta formulas.
    """
    if method in (None, "dopri5"):
        chosen = {} if options is None else options
        dense = solve_dense(func, y0, t0, t1, rtol=rtol, atol=atol, options=chosen)
        if dense is not None:
            return dense
    return torchdiffeq.odeint_dense(func, y0, t0, t1, rtol=rtol, atol=atol, method=method, options=options)


def odeint_event(
    func: Callable[..., Any],
    y0: Any,
    t0: Tensor,
    *,
    event_fn: Callable[..., Tensor],
    reverse_time: bool = False,
    odeint_interface: Callable[..., Any] = odeint,
    **kwargs: Any,
) -> tuple[Tensor, Any]:
    """Solve from t0 until ``event_fn(t, y)`` is zero, and return that time and the states at t0 and then.

    Both are differentiable, dt*/dy = -(dg/dy) / (dg/dt + dg/dy f) for the event function g, also by what g learns.

    Args:
        func, y0: see ``odeint``.
        t0: the initial time, a scalar tensor.
        event_fn: the event function g; of several numbers, the first to vanish ends the solve.
        reverse_time: whether to look before t0.
        odeint_interface: ``odeint`` or ``odeint_adjoint``.
        **kwargs: other arguments of that.

    Example:
        >>> height = torch.tensor([2.0, 0.0], dtype=torch.float64)
        >>> def fall(t, y):
        ...     return torch.stack([y[1], -torch.ones_like(y[1])])
        >>> landing, _ = odeint_event(fall, height, torch.zeros(()).double(), event_fn=lambda t, y: y[0])
        >>> round(landing.item(), 6)
        2.0

    Source: Chen, Amos and Nickel (2021), Learning neural event functions for ordinary differential equations;
    torchdiffeq 0.2.5.
    """
    start = t0.reshape(-1)
    t = torch.cat([start, start.detach() + (-1.0 if reverse_time else 1.0)])
    time, states = odeint_interface(func, y0, t, event_fn=event_fn, **kwargs)
    tupled = isinstance(states, tuple)
    last = tuple(part[-1] for part in states) if tupled else states[-1]
    time, last = with_event_gradients(func, event_fn, t[0], y0, time, last)
    if tupled:
        return time, tuple(torch.stack([part[0], end]) for part, end in zip(states, last, strict=True))
    return time, torch.stack([states[0], last])  # pyright: ignore[reportArgumentType, reportCallIssue]
