"""Events and dense output of the drop-in, against closed forms and against torchdiffeq."""

import math
from functools import cache
from statistics import mean, stdev
from typing import Any

import pytest
import torch
import torchdiffeq
from drop_in_problems import ADAPTIVE, FIXED, KINDS, Field, leaves, state
from torch import Tensor, nn

from integrand.core.numerics import torchdiffeq_api as api
from integrand.core.numerics.torchdiffeq_drop_in import event_search

ZERO = torch.zeros((), dtype=torch.float64)


class Leaves:
    """Two event functions as one: the first tensor of the state has moved by 0.2, or time is 1.01 from zero."""

    def __init__(self, y0: Any):
        self.at = leaves(y0)[0].detach().clone()
        self.shapes = [part.shape for part in leaves(y0)]

    def __call__(self, t: Tensor, y: Any) -> Tensor:
        assert t.dim() == 0
        assert [part.shape for part in leaves(y)] == self.shapes
        return torch.stack([(leaves(y)[0] - self.at).square().sum() - 0.04, t.abs() - 1.01])


def results(lib: Any, kind: str, interface: str, reverse: bool, **call: Any) -> tuple[list[Tensor], list[Tensor], int]:
    """Time and states of an event, their derivatives along random directions by y0, weight and t0, and calls made."""
    field, y0, t0 = Field(), state(kind), torch.tensor(0.2, dtype=torch.float64, requires_grad=True)
    time, y = lib.odeint_event(
        field,
        y0,
        t0,
        event_fn=Leaves(y0),
        reverse_time=reverse,
        odeint_interface=getattr(lib, interface),
        **call,
    )
    outputs = [time, *leaves(y)]
    generator = torch.Generator().manual_seed(3)
    along = [torch.randn(out.shape, dtype=out.dtype, generator=generator) for out in outputs]
    grads = torch.autograd.grad(outputs, (*leaves(y0), field.weight, t0), along)
    return [out.detach() for out in outputs], list(grads), field.calls


def worst(actual: list[Tensor], expected: list[Tensor]) -> float:
    assert [(a.shape, a.dtype) for a in actual] == [(e.shape, e.dtype) for e in expected]
    return max((a - e).abs().max().item() for a, e in zip(actual, expected, strict=True))


# Against torchdiffeq


@pytest.mark.parametrize(("interface", "reverse"), [("odeint", False), ("odeint_adjoint", True)])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", FIXED)
def test_fixed_steps_meet_the_librarys_event(method: str, kind: str, interface: str, reverse: bool):
    """It locates events to atol, of which slopes and their derivatives, all of size 1 to 20 here, make no more."""
    options = {"step_size": 0.05, "interp": "cubic" if method == "heun3" else "linear", "perturb": method == "rk4"}
    call = {"method": method, "options": options, "atol": 1e-12}
    ours, theirs = (results(lib, kind, interface, reverse, **call) for lib in (api, torchdiffeq))
    assert worst(ours[0], theirs[0]) < 1e-11
    assert worst(ours[1], theirs[1]) < 1e-9
    assert ours[2] <= theirs[2] + 1


@cache
def truth(kind: str, reverse: bool) -> Any:
    return results(torchdiffeq, kind, "odeint_adjoint", reverse, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("method", [*ADAPTIVE, "tsit5"])
def test_adaptive_steps_are_as_accurate_as_the_librarys_for_as_much_work(method: str):
    """Errors of events and of their derivatives, against torchdiffeq's adjoint at tolerances five digits tighter.

    Two solves that keep the same tolerance by different steps differ in luck, and an event lies anywhere in a step. So
    the mean of the logarithms of ratios decides: it is not above zero by more than twice its standard error. tsit5 is
    held to the library's dopri5.
    """
    ratios: dict[str, list[float]] = {"events": [], "derivatives": [], "evaluations": []}
    for kind in ("number", "batch", "tuple"):
        for reverse in (False, True):
            true = truth(kind, reverse)
            for rtol in (1e-4, 1e-6):
                call = {"rtol": rtol, "atol": rtol / 100}
                ours = results(api, kind, "odeint", reverse, method=method, **call)
                theirs = results(torchdiffeq, kind, "odeint", reverse, method=method.replace("tsit5", "dopri5"), **call)
                for what, mine, other, best in zip(ratios, ours[:2], theirs[:2], true[:2], strict=False):
                    ratios[what].append(math.log(worst(mine, best) / worst(other, best)))
                ratios["evaluations"].append(math.log(ours[2] / theirs[2]))
    for found in ratios.values():
        assert mean(found) <= 2 * stdev(found) / math.sqrt(len(found)), ratios


def test_odeint_itself_holds_the_time_of_an_event_fixed():
    """As the library: without ``odeint_event`` states have the derivatives of the solution at a time that stays."""
    found = []
    for lib in (api, torchdiffeq):
        field, y0 = Field(), state("batch")
        t = torch.tensor([0.2, 1.2], dtype=torch.float64, requires_grad=True)
        time, y = lib.odeint(field, y0, t, event_fn=Leaves(y0), rtol=1e-10, atol=1e-12)
        assert not time.requires_grad
        assert y.shape == (2, 4, 3)
        assert torch.equal(y[0], y0)
        found.append([time, y.detach(), *torch.autograd.grad(y[1].sum(), (y0, field.weight, t))])
    assert worst(*found) < 1e-7  # the derivative of steps of fixed lengths, some hundred times the tolerance


@pytest.mark.parametrize(
    ("dtype", "t_dtype"),
    [(torch.float32, torch.float32), (torch.float32, torch.float64), (torch.float64, torch.float32)],
)
@pytest.mark.parametrize("method", ["rk4", "dopri5"])
def test_events_in_other_precisions(method: str, dtype: torch.dtype, t_dtype: torch.dtype):
    """y' = -y from 2 meets 1 at log 2, in the types that the library gives."""
    options = {"step_size": 0.01} if method == "rk4" else {}
    found = []
    for lib in (api, torchdiffeq):
        time, y = lib.odeint_event(
            lambda t, y: -y,
            torch.full((2, 3), 2.0, dtype=dtype),
            torch.zeros(1, dtype=t_dtype),
            event_fn=lambda t, y: y[0, 0] - 1,
            method=method,
            options=options,
            rtol=1e-6,
            atol=1e-6,
        )
        found.append((time, y))
        # A straight line in place of exp(-t) over h = 0.01 is off by h^2 / 8 of its slope; and float32 rounds.
        assert time.item() == pytest.approx(math.log(2), abs=0.01**2 / 8 + 5e-7)
    for mine, other in zip(*found, strict=True):
        assert (mine.shape, mine.dtype) == (other.shape, other.dtype)


# Closed forms


@pytest.mark.parametrize("interface", ["odeint", "odeint_adjoint"])
@pytest.mark.parametrize("reverse", [False, True])
def test_an_oscillator_passes_its_rest(interface: str, reverse: bool):
    """x = A cos(w (t - t0)) meets zero a quarter of a turn from t0: t* = t0 +- pi / 2w, with velocity -+ A w."""
    w = nn.Parameter(torch.tensor(2.5, dtype=torch.float64))
    amplitude = torch.tensor(1.7, dtype=torch.float64, requires_grad=True)
    t0 = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    extra: dict[str, Any] = {"adjoint_params": (w,)} if interface == "odeint_adjoint" else {}
    time, (x, v) = api.odeint_event(
        lambda t, y: (y[1], -(w**2) * y[0]),
        (amplitude, torch.zeros_like(amplitude)),
        t0,
        event_fn=lambda t, y: y[0],
        reverse_time=reverse,
        odeint_interface=getattr(api, interface),
        rtol=1e-10,
        atol=1e-11,
        **extra,
    )
    sign = -1 if reverse else 1
    assert time.item() == pytest.approx(0.3 + sign * math.pi / 5, abs=1e-9)
    assert x[1].item() == pytest.approx(0, abs=1e-14)  # on the zero, whatever the tolerance
    assert v[1].item() == pytest.approx(-sign * 1.7 * 2.5, abs=1e-9)
    # Derivatives of the steps err by the tolerance's power 4/5, for dense output has one order less than the steps.
    by_time = torch.autograd.grad(time, (w, amplitude, t0), retain_graph=True)
    assert [by.item() for by in by_time] == pytest.approx([-sign * math.pi / 2 / 2.5**2, 0, 1], abs=1e-7)
    by_speed = torch.autograd.grad(v[1], (w, amplitude, t0), retain_graph=True)
    assert [by.item() for by in by_speed] == pytest.approx([-sign * 1.7, -sign * 2.5, 0], abs=1e-7)
    by_place = torch.autograd.grad(x[1], (w, amplitude, t0))
    assert [by.item() for by in by_place] == pytest.approx([0, 0, 0], abs=1e-7)  # it stays on the zero


def test_the_first_of_several_to_change_sign_ends_the_solve():
    """y = t: of t - 2, 3 - 2 y and y^2 - 4 the second vanishes first, whatever the signs they start with."""

    def g(t: Tensor, y: Tensor) -> Tensor:
        return torch.stack([t - 2, 3 - 2 * y, y**2 - 4])

    for method, options in (("dopri5", {}), ("rk4", {"step_size": 0.4})):
        time, y = api.odeint_event(
            lambda t, y: torch.ones_like(y), ZERO, ZERO, event_fn=g, method=method, options=options
        )
        assert time.item() == pytest.approx(1.5, abs=1e-14)
        assert y[1].item() == pytest.approx(1.5, abs=1e-14)


@pytest.mark.parametrize("interface", ["odeint", "odeint_adjoint"])
def test_what_the_event_function_learns_has_a_gradient(interface: str):
    """y = exp(-t) meets the level L at t* = -log L: dt*/dL = -1 / L, and y(t*) = L."""
    level = nn.Parameter(torch.tensor(0.3, dtype=torch.float64))
    call: dict[str, Any] = {"adjoint_params": ()} if interface == "odeint_adjoint" else {}
    time, y = api.odeint_event(
        lambda t, y: -y,
        torch.ones((), dtype=torch.float64),
        ZERO,
        event_fn=lambda t, y: y - level,
        odeint_interface=getattr(api, interface),
        **call,
    )
    assert torch.autograd.grad(time, level, retain_graph=True)[0].item() == pytest.approx(-1 / 0.3, abs=1e-6)
    assert torch.autograd.grad(y[1], level)[0].item() == pytest.approx(1, abs=1e-9)


def test_events_through_the_librarys_own_interface():
    """Any solver may stand behind ``odeint_event``: the derivative is attached to what it gives."""
    y0 = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    time, _ = api.odeint_event(
        lambda t, y: -y, y0, ZERO, event_fn=lambda t, y: y - 1, odeint_interface=torchdiffeq.odeint, atol=1e-10
    )
    assert time.item() == pytest.approx(math.log(2), abs=1e-6)
    assert torch.autograd.grad(time, y0)[0].item() == pytest.approx(0.5, abs=1e-6)


def test_fields_may_differentiate():
    """y' = -y^3, written as the slope of an energy, from 1 meets 1/2 at t = 3/2, for 1 / y^2 = 1 + 2 t."""

    def field(t: Tensor, y: Tensor) -> Tensor:
        return -torch.autograd.grad(y**4 / 4, y, create_graph=True)[0]

    y0 = torch.ones((), dtype=torch.float64, requires_grad=True)
    time, _ = api.odeint_event(field, y0, ZERO, event_fn=lambda t, y: y - 0.5, rtol=1e-9, atol=1e-10)
    assert time.item() == pytest.approx(1.5, abs=1e-6)
    # t* = (1 / 0.25 - 1 / y0^2) / 2
    assert torch.autograd.grad(time, y0)[0].item() == pytest.approx(1, abs=1e-6)


# Where a solve begins and ends


def test_a_zero_at_the_start_ends_the_solve_there():
    for lib in (api, torchdiffeq):
        time, y = lib.odeint_event(lambda t, y: y, ZERO + 1, ZERO + 0.25, event_fn=lambda t, y: y - 1)
        assert time.item() == 0.25
        assert y.tolist() == [1, 1]
        # Fixed steps do not see it: they go on until another component changes its sign.
        time, y = lib.odeint_event(
            lambda t, y: torch.ones_like(y),
            ZERO,
            ZERO,
            event_fn=lambda t, y: torch.stack([y, y - 1]),
            method="euler",
            options={"step_size": 0.3},
            atol=1e-10,
        )
        assert time.item() == pytest.approx(1, abs=1e-9)


def never(t: Tensor, y: Tensor) -> Tensor:
    return torch.ones_like(t)


def test_a_solve_without_an_event_is_given_up(monkeypatch: pytest.MonkeyPatch):
    one = ZERO + 1
    for lib in (api, torchdiffeq):
        with pytest.raises(AssertionError, match="max_num_steps exceeded"):
            lib.odeint_event(lambda t, y: -y, one, ZERO, event_fn=never, method="dopri5", options={"max_num_steps": 9})
        with pytest.raises(AssertionError, match="underflow in dt"):
            lib.odeint_event(lambda t, y: y**2, one, ZERO, event_fn=never)  # infinite at t = 1
        with pytest.raises(AssertionError, match="underflow in dt"):
            lib.odeint_event(lambda t, y: y * math.nan, one, ZERO, event_fn=never)
    monkeypatch.setattr(event_search, "MOST_FIXED_STEPS", 7)
    with pytest.raises(RuntimeError, match=r"7 steps of 0\.1.*step_size"):
        api.odeint_event(lambda t, y: -y, one, ZERO, event_fn=never, method="rk4", options={"step_size": 0.1})


def test_options_are_kept_on_the_way_to_an_event():
    """Times of dopri5's first stages, t_0 and t + h/5: no step is longer than asked, and the first is as long."""
    times: list[float] = []

    def field(t: Tensor, y: Tensor) -> Tensor:
        times.append(t.item())
        return -y

    options = {"first_step": 0.01, "max_step": 0.05}
    api.odeint_event(field, ZERO + 1, ZERO, event_fn=lambda t, y: y - 0.5, options=options)
    first = [0.0, *times[1::6]]
    steps = [(b - a) * 5 for a, b in zip(times[6::6], times[7::6], strict=False)]  # f(t + h) is at the next start
    assert first[1] == pytest.approx(0.002, abs=1e-15)
    assert max(steps) == pytest.approx(0.05, abs=1e-12)


# Dense output


@pytest.mark.parametrize("kind", ["number", "vector", "batch"])
def test_dense_output_is_as_accurate_as_the_librarys(kind: str):
    """States and derivatives at times within, errors against the same at tolerances five digits tighter."""
    times = [0.0, 0.31, 1.3, 1.999, 2.0]
    found: dict[Any, list[list[Tensor]]] = {}
    for lib, tolerance in ((torchdiffeq, 1e-11), (api, 1e-6), (torchdiffeq, 1e-6)):
        field, y0 = Field(), state(kind)
        t0, t1 = torch.tensor([0.0, 2.0], dtype=torch.float64)
        dense = lib.odeint_dense(field, y0, t0, t1, rtol=tolerance, atol=tolerance / 100)
        states, slopes = [], []
        for at in times:
            time = torch.tensor(at, dtype=torch.float64, requires_grad=True)
            y = dense(time)
            assert y.shape == y0.shape
            slopes += torch.autograd.grad(y.sum(), (y0, field.weight, time), retain_graph=True, allow_unused=True)
            states.append(y.detach())
        slopes = [torch.zeros(()) if slope is None else slope for slope in slopes]
        found[lib, tolerance] = [states, slopes]
    true = found[torchdiffeq, 1e-11]
    for ours, theirs, exact in zip(found[api, 1e-6], found[torchdiffeq, 1e-6], true, strict=True):
        assert worst(ours, exact) < 10 * worst(theirs, exact)  # luck with steps, less than a digit


def test_dense_output_and_its_slope():
    """y = exp(cos t - 1): the derivative by the time is the field."""
    t0, t1 = torch.tensor([0.0, 2.0], dtype=torch.float64)
    dense = api.odeint_dense(
        lambda t, y: -y * t.sin(), torch.ones(3, dtype=torch.float64), t0, t1, rtol=1e-9, atol=1e-11
    )
    for at in (0.4, 1.1, 1.9):
        time = torch.tensor(at, dtype=torch.float64, requires_grad=True)
        y = dense(time)
        exact = math.exp(math.cos(at) - 1)
        assert y[0].item() == pytest.approx(exact, abs=1e-8)
        # A quartic's slope is off by some h^4 / 4!, which for these steps, of 0.1 at the most, is 4e-6.
        assert torch.autograd.grad(y[0], time)[0].item() == pytest.approx(-exact * math.sin(at), abs=1e-5)
    assert torch.equal(dense(torch.tensor(1.5)), dense(torch.tensor(1.5, dtype=torch.float64)))


def test_dense_output_knows_its_ends():
    t0, t1 = torch.tensor([0.0, 2.0], dtype=torch.float64)
    dense = api.odeint_dense(lambda t, y: torch.ones_like(y), ZERO, t0, t1)
    assert dense(t0).item() == 0
    assert dense(t1).item() == pytest.approx(2, abs=1e-14)
    for outside in (-0.1, 2.1, math.nan):
        with pytest.raises(AssertionError, match="invalid interpolation"):
            dense(torch.tensor(outside))
    with pytest.raises(ValueError, match=r"\(3,\).*scalar"):
        dense(torch.ones(3))


def test_dense_output_backwards_is_the_librarys():
    """It is a function of the time negated."""
    t0, t1 = torch.tensor([1.0, 0.0], dtype=torch.float64)
    ours, theirs = (lib.odeint_dense(lambda t, y: -y, ZERO + 1, t0, t1) for lib in (api, torchdiffeq))
    at = torch.tensor(-0.5, dtype=torch.float64)
    assert torch.equal(ours(at), theirs(at))
