"""Which calls our engine answers without torchdiffeq, and which it hands on."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torchdiffeq
from torch import Tensor, nn

from integrand.core.numerics import torchdiffeq_api as api


class HandedOnError(Exception):
    """torchdiffeq was called."""


@pytest.fixture
def no_library(monkeypatch: pytest.MonkeyPatch):
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise HandedOnError

    for name in ("odeint", "odeint_adjoint", "odeint_dense", "odeint_event"):
        monkeypatch.setattr(torchdiffeq, name, refuse)


class Turn(nn.Module):
    """y' = w (-y_1, y_0)."""

    def __init__(self, *callbacks: str, dtype: torch.dtype = torch.float64):
        super().__init__()
        self.w = nn.Parameter(torch.ones((), dtype=dtype))
        for name in callbacks:
            setattr(self, name, lambda *state: None)

    def forward(self, t: Tensor, y: Any) -> Any:
        if isinstance(y, tuple):
            return -self.w * y[1], self.w * y[0]
        return self.w * torch.stack([-y[..., 1], y[..., 0]], dim=-1)


def start(tupled: bool = False, dtype: torch.dtype = torch.float64) -> Any:
    y = torch.tensor([1.0, 0.1], dtype=dtype, requires_grad=True)
    return tuple(y.unbind()) if tupled else y


T = torch.tensor([0.0, 0.4, 1.0], dtype=torch.float64)
HALF = T[1:2] + 0.1
STEPS = {"method": "rk4", "options": {"step_size": 0.1}}


def states(field: Any = None, y0: Any = None, t: Tensor = T, **call: Any) -> Any:
    y = api.odeint(field or Turn(), start() if y0 is None else y0, t, **call)
    return sum(part[-1].sum() for part in y) if isinstance(y, tuple) else y[-1].sum()


def adjoint(field: Any = None, y0: Any = None, t: Tensor = T, **call: Any) -> Any:
    y = api.odeint_adjoint(field or Turn(), start() if y0 is None else y0, t, **call)
    return sum(part[-1].sum() for part in y) if isinstance(y, tuple) else y[-1].sum()


def event(field: Any = None, y0: Any = None, interface: Callable = api.odeint, level: float = 0.5, **call: Any):
    def g(t: Tensor, y: Any) -> Tensor:
        return y[0] - level

    y0 = start() if y0 is None else y0
    time, y = api.odeint_event(field or Turn(), y0, T[0], event_fn=g, odeint_interface=interface, **call)
    return time + sum(part[-1].sum() for part in y) if isinstance(y, tuple) else time + y[-1].sum()


def event_adjoint(**call: Any) -> Tensor:
    return event(interface=api.odeint_adjoint, **call)


def dense(field: Any = None, y0: Any = None, t0: Tensor = T[0], t1: Tensor = T[2], **call: Any) -> Tensor:
    return api.odeint_dense(field or Turn(), start() if y0 is None else y0, t0, t1, **call)(T[1]).sum()


METHODS = ["euler", "midpoint", "heun2", "heun3", "rk4", "dopri5", "dopri8", "bosh3", "tsit5"]
NATIVE: list[tuple[Callable[..., Tensor], dict[str, Any]]] = [
    *[
        (solve, {"method": method, "options": {"step_size": 0.1} if method in METHODS[:5] else {}, "y0": start(tupled)})
        for solve in (states, adjoint, event, event_adjoint)
        for method in METHODS
        for tupled in (False, True)
    ],
    (states, {"t": T.flip(0)}),
    (states, {"options": {"jump_t": HALF}}),
    (states, {"y0": start(dtype=torch.float32), "field": Turn(dtype=torch.float32)}),
    (event, {"reverse_time": True}),
    (event, {"options": {"max_num_steps": 99, "first_step": 0.1, "norm": lambda y: y.abs().max()}}),
    (event, {"method": "rk4", "options": {"step_size": 0.1, "interp": "cubic", "perturb": True}}),
    (dense, {}),
    (dense, {"method": "dopri5", "options": {"jump_t": HALF, "max_num_steps": 99}}),
    (adjoint, {"t": T.flip(0)}),
    (adjoint, {"t": T.clone().requires_grad_()}),
    (adjoint, {"adjoint_options": {"norm": "seminorm"}}),
    (adjoint, {"adjoint_options": {"norm": lambda z: torch.stack([part.abs().max() for part in z]).max()}}),
    (adjoint, {"options": {"norm": lambda y: y.abs().max()}, "adjoint_rtol": 1e-5, "adjoint_atol": 1e-6}),
    (adjoint, {"adjoint_method": "rk4", "adjoint_options": {"step_size": 0.1}}),
    (adjoint, {"adjoint_params": ()}),
    (adjoint, {"field": Turn("callback_step"), **STEPS}),
]
DELEGATED: list[tuple[Callable[..., Tensor], dict[str, Any]]] = [
    *[(solve, {"method": "fehlberg2"}) for solve in (states, adjoint, event, event_adjoint)],
    *[
        (solve, call)
        for solve in (states, adjoint, event, dense)
        for call in (
            {"field": Turn("callback_accept_step")},
            {"options": {"min_step": 0.1}},
            {"options": {"dtype": torch.float32}},
            {"options": {"safety": 1.0}},
            {"options": {"safty": 0.9}},
            {"y0": start(dtype=torch.bfloat16)},
            {"rtol": torch.full((2,), 1e-5, dtype=torch.float64)},
        )
    ],
    (states, {"options": {"max_num_steps": 99}}),
    (states, {"options": {"jump_t": HALF}, "y0": start(dtype=torch.float32)}),
    (event, {"options": {"jump_t": HALF}}),
    (event, {"options": {"step_t": HALF}}),
    (event, {"method": "rk4"}),  # a mistake: it needs a step_size
    (event, {"level": 1.0, **STEPS}),
    (dense, {"t0": T[2], "t1": T[0]}),
    (dense, {"method": "rk4"}),
    (dense, {"y0": start(tupled=True)}),
    (adjoint, {"field": Turn("callback_step_adjoint"), **STEPS}),
    (adjoint, {"field": lambda t, y: -y}),
    (adjoint, {"field": Turn(dtype=torch.float32)}),
    (adjoint, {"adjoint_params": (torch.ones(1),), "adjoint_options": {"norm": lambda z: z[1].abs().max()}}),
    (adjoint, {"adjoint_options": {"norm": "semi"}}),
    (adjoint, {"options": {"first_step": 0.1}, "adjoint_method": "bosh3"}),
]


@pytest.mark.usefixtures("no_library")
@pytest.mark.parametrize(("solve", "call"), NATIVE)
def test_our_engine_answers_alone(solve: Callable[..., Tensor], call: dict[str, Any]):
    solve(**call).backward()


@pytest.mark.usefixtures("no_library")
@pytest.mark.parametrize(("solve", "call"), DELEGATED)
def test_torchdiffeq_is_asked(solve: Callable[..., Tensor], call: dict[str, Any]):
    with pytest.raises(HandedOnError):
        solve(**call)


def test_a_way_back_of_torchdiffeqs_is_solved_there(no_library: None):
    """The way there is ours, and the way back asks torchdiffeq for each interval alone."""
    loss = adjoint(adjoint_method="fehlberg2")
    with pytest.raises(HandedOnError):
        loss.backward()
