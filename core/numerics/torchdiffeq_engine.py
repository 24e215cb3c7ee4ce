"""torchdiffeq behind ``solve_ode``: its methods, our shapes, statistics and errors."""

from typing import Any

import torch
import torchdiffeq
from torch import Tensor, nn

from integrand.core.errors import InputError
from integrand.core.numerics.field_call import BoundField, leaves
from integrand.core.numerics.solution import Solution, SolverStats

ADAPTIVE = {
    "dopri8": "dopri8",
    "dopri5": "dopri5",
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


class SolveError(RuntimeError):
    """A solve that could not reach its last time; the message names the cause and the usual cure."""


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
    options: dict[str, Any] = {}
    if method in ADAPTIVE:
        if max_steps is not None:
            options["max_num_steps"] = max_steps
    elif step_size is not None:
        options["step_size"] = step_size
        if times.dim() == 2:
            longest = float(times.diff(dim=-1).abs().max())
            options["step_size"] = 1 / max(1, -int(-longest / step_size * (1 - 1e-9) // 1))
    call: dict[str, Any] = {"rtol": rtol, "atol": atol, "method": (ADAPTIVE | FIXED)[method], "options": options}
    solve = torchdiffeq.odeint
    if gradient == "adjoint":
        solve = torchdiffeq.odeint_adjoint
        call["adjoint_params"] = _adjoint_parameters(field)

    counted = _CountedAdaptive(field) if method in ADAPTIVE else _Counted(field)
    try:
        if times.dim() == 1:
            states_TB = solve(counted, y0, times, **call)
        else:
            unit, states = times.new_tensor([0.0, 1.0]), [y0]
            for i in range(times.shape[1] - 1):
                counted.start_B, counted.span_B = times[:, i], times[:, i + 1] - times[:, i]
                states.append(solve(counted, states[-1], unit, **call)[-1])
            states_TB = torch.stack(states)
    except AssertionError as error:
        raise SolveError(_explain(error, method, rtol, atol, max_steps)) from error
    stats = SolverStats.shared(
        y0.shape[0],
        y0.device,
        evaluations=field.evaluations,
        accepted=counted.tried - counted.rejected,
        rejected=counted.rejected,
    )
    return Solution(times, states_TB.transpose(0, 1), stats, _slope=field)  # pyright: ignore[reportAttributeAccessIssue]


class _Counted(nn.Module):
    """The field as torchdiffeq calls it, counting the steps that torchdiffeq does not report."""

    def __init__(self, bound: BoundField) -> None:
        super().__init__()
        self.bound = bound
        self.start_B: Tensor | None = None
        self.span_B: Tensor | None = None
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
            f"{method} did not reach the last time within max_steps={max_steps}: loosen rtol={rtol:g} and atol={atol:g}, "
            "allow more steps, or scale time so that the field changes slowly."
        )
    if "underflow in dt" in text or "non-finite" in text:
        return (
            f"{method} could not go on ({text}): the state or the field grows without bound or is stiff. Loosen "
            f"rtol={rtol:g} and atol={atol:g}, bound the field, or lower the learning rate if this came up in training."
        )
    return f"{method} failed: {text}"
