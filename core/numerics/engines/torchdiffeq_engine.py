"""torchdiffeq behind ``solve_ode``: its methods, our shapes, statistics and errors."""

from collections.abc import Callable
from typing import Any

import torch
import torchdiffeq
from torch import Tensor, nn

from integrand.core.errors import InputError
from integrand.core.numerics.field_call import BoundField, leaves
from integrand.core.numerics.solution import Solution, SolverStats
from integrand.core.numerics.stepping.fixed_step import count_substeps
from integrand.core.numerics.stepping.walk import SolveError

ADAPTIVE = {
    "dopri5": "dopri5",
    "dopri8": "dopri8",
    "bosh3": "bosh3",
    "fehlberg2": "fehlberg2",
    "adaptive_heun": "adaptive_heun",
}
FIXED = {
    "euler": "euler",
    "midpoint": "midpoint",
    "heun": "heun2",
    "rk4": "rk4",
    "explicit_adams": "explicit_adams",
    "implicit_adams": "implicit_adams",
}

ORDERS = {"fehlberg2": 2, "adaptive_heun": 2, "explicit_adams": 4, "implicit_adams": 4}
"""Orders of the methods that the native engine has not."""

LANDING = ("dopri8", "bosh3")
"""Adaptive methods made to step onto every output time: torchdiffeq's interpolant is of lower order than their steps,
and loses up to three digits of what the tolerance asks for."""
ADAMS = ("explicit_adams", "implicit_adams")


def solve_torchdiffeq(
    field: BoundField,
    y0: Tensor,
    times: Tensor,
    *,
    method: str,
    rtol: float,
    atol: float,
    step_size: float | None,
    gradient: str,
    max_steps: int | None,
) -> Solution:
    """Solve with torchdiffeq.

    Times of one's own for each sample, which torchdiffeq does not know, are reached by a change of variable. On the
    interval from t_i to t_{i+1}, with s in [0, 1] and t(s) = t_i + s (t_{i+1} - t_i),

        dy/ds = (t_{i+1} - t_i) f(t(s), y),

    so that all samples reach their own t_{i+1} at s = 1. The intervals are solved one after the other, for the change
    of variable has a kink between them that no step may straddle.
    """
    unit = times.new_tensor([0.0, 1.0])
    options: dict[str, Any] = {}
    if method in ADAPTIVE:
        if max_steps is not None:
            options["max_num_steps"] = max_steps
        if method in LANDING:
            options["step_t"] = times.detach() if times.dim() == 1 else unit
    elif step_size is not None:
        # torchdiffeq's own ``step_size`` does not land on the output times, and interpolates linearly to them.
        substeps = count_substeps(times, step_size)
        options["grid_constructor"] = lambda _field, _y0, t: _divide(t, substeps)
    if method in ADAMS:
        _check_even(times, method)
        options["max_order"] = 4  # torchdiffeq's twelve is unstable at any step that pays.
    call: dict[str, Any] = {"rtol": rtol, "atol": atol, "method": (ADAPTIVE | FIXED)[method], "options": options}
    solve: Callable[..., Any] = torchdiffeq.odeint
    parameters: tuple[Tensor, ...] = ()
    if gradient == "adjoint":
        solve, parameters = torchdiffeq.odeint_adjoint, _adjoint_parameters(field)
        call["adjoint_params"] = parameters
        if method in LANDING and times.dim() == 1 and bool(times[0] > times[-1]):
            # torchdiffeq solves decreasing times with their sign turned, and forgets to turn these for the way back.
            call["adjoint_options"] = options | {"step_t": -options["step_t"]}

    count = _CountedAdaptive if method in ADAPTIVE else _Counted
    solves: list[_Counted] = []
    try:
        if times.dim() == 1:
            solves.append(count(field))
            states_TB = solve(solves[-1], y0, times, **call)
        else:
            states = [y0]
            for i in range(times.shape[1] - 1):
                # One for each interval: the adjoint calls them again, long after the loop.
                solves.append(count(field, times[:, i], times[:, i + 1] - times[:, i]))
                if gradient == "adjoint" and times.requires_grad:
                    call["adjoint_params"] = (*parameters, solves[-1].start_B, solves[-1].span_B)
                states.append(solve(solves[-1], states[-1], unit, **call)[-1])
            states_TB = torch.stack(states)
    except AssertionError as error:
        raise SolveError(_explain(error, method, rtol, atol, max_steps)) from error
    rejected = sum(solved.rejected for solved in solves)
    stats = SolverStats.shared(
        y0.shape[0],
        y0.device,
        evaluations=field.evaluations,
        accepted=sum(solved.tried for solved in solves) - rejected,
        rejected=rejected,
    )
    return Solution(times, states_TB.transpose(0, 1), stats, _slope=field)  # pyright: ignore[reportAttributeAccessIssue]


class _Counted(nn.Module):
    """The field as torchdiffeq calls it, counting the steps that torchdiffeq does not report."""

    def __init__(self, bound: BoundField, start_B: Tensor | None = None, span_B: Tensor | None = None) -> None:
        super().__init__()
        self.bound, self.start_B, self.span_B = bound, start_B, span_B
        self.tried = self.rejected = 0

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        if self.start_B is None or self.span_B is None:
            return self.bound(t, y)
        slope = self.bound(self.start_B + t * self.span_B, y)
        return slope * self.span_B.view(-1, *(1,) * (y.dim() - 1))

    def callback_step(self, t0: Tensor, y0: Tensor, dt: Tensor) -> None:
        self.tried += 1


class _CountedAdaptive(_Counted):
    """The same for methods that may refuse a step; torchdiffeq warns of this callback on the others."""

    def callback_reject_step(self, t0: Tensor, y0: Tensor, dt: Tensor) -> None:
        self.rejected += 1


def _divide(times_T: Tensor, parts: int) -> Tensor:
    """Divide every interval into equal parts."""
    fractions = torch.arange(parts, dtype=times_T.dtype, device=times_T.device) / parts
    return torch.cat([(times_T[:-1, None] + times_T.diff()[:, None] * fractions).flatten(), times_T[-1:]])


def _check_even(times: Tensor, method: str) -> None:
    """Refuse intervals of unequal length, on which the coefficients of a multistep method are wrong."""
    if times.dim() == 1:
        steps = times.detach().diff()
        rounding = 4 * torch.finfo(times.dtype).eps * times.detach().abs().max()
        if bool(((steps - steps.mean()).abs() > rounding).any()):
            raise InputError(
                f"{method} needs evenly spaced times, for its coefficients assume equal steps: space them evenly, or "
                "take a one-step method such as 'rk4'."
            )


def _adjoint_parameters(field: BoundField) -> tuple[Tensor, ...]:
    if not isinstance(field.field, nn.Module):
        raise InputError(
            "gradient='adjoint' needs the field to be a torch.nn.Module, so that its parameters are known: "
            "wrap the function in one, or take gradient='direct'."
        )
    parameters = [p for p in field.field.parameters() if p.requires_grad]
    return (*parameters, *(leaf for _, leaf in leaves(field.args) if leaf.requires_grad))


def _explain(error: AssertionError, method: str, rtol: float, atol: float, max_steps: int | None) -> str:
    text = str(error)
    if "max_num_steps" in text:
        return (
            f"{method} did not reach the last time within max_steps={max_steps}: loosen rtol={rtol:g} and "
            f"atol={atol:g}, allow more steps, or scale time so that the field changes slowly."
        )
    if "underflow in dt" in text or "non-finite" in text:
        text = "the step shrank to nothing" if "underflow" in text else "a state is infinite or not a number"
        return (
            f"{method} could not go on ({text}): the state or the field grows without bound or is stiff. Loosen "
            f"rtol={rtol:g} and atol={atol:g}, bound the field, or lower the learning rate if this came up in training."
        )
    return f"{method} failed: {text}"
