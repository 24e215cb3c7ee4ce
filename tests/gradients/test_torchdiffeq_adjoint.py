"""The adjoint of the drop-in, against torchdiffeq's and against closed forms."""

import math
import warnings
from functools import cache
from statistics import mean, stdev
from typing import Any

import pytest
import torch
import torchdiffeq
from drop_in_problems import ADAPTIVE, FIXED, KINDS, Field, leaves, state
from torch import Tensor, nn

from integrand.core.errors import InputError
from integrand.core.numerics import torchdiffeq_api as api

FORWARD, BACKWARD = [0.1, 0.5, 1.1, 1.5], [1.5, 1.1, 0.4, 0.1]


def results(lib: Any, kind: str, times: list[float], **call: Any) -> tuple[list[Tensor], list[Tensor], int]:
    """States, derivatives along random directions by y0, the parameters and t, and the calls on the way back."""
    field, y0 = Field(), state(kind)
    t = torch.tensor(times, dtype=torch.float64, requires_grad=True)
    states = leaves(lib.odeint_adjoint(field, y0, t, **call))
    generator = torch.Generator().manual_seed(3)
    along = [torch.randn(y.shape, dtype=y.dtype, generator=generator) for y in states]
    field.calls = 0
    grads = torch.autograd.grad(states, (*leaves(y0), field.weight, field.unused, t), along)
    return [y.detach() for y in states], list(grads), field.calls


def worst(actual: list[Tensor], expected: list[Tensor]) -> float:
    assert [(a.shape, a.dtype) for a in actual] == [(e.shape, e.dtype) for e in expected]
    return max((a - e).abs().max().item() for a, e in zip(actual, expected, strict=True))


@pytest.mark.parametrize("times", [FORWARD, BACKWARD], ids=["forward", "backward"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", FIXED)
def test_fixed_steps_give_the_librarys_numbers(method: str, kind: str, times: list[float]):
    """The same steps back on the same grid: 30 steps of up to four stages round some ten times each, grown by e^2."""
    call = {"method": method, "options": {"step_size": 0.1, "interp": "cubic" if method == "rk4" else "linear"}}
    ours, theirs = (results(lib, kind, times, **call) for lib in (api, torchdiffeq))
    assert worst(ours[0], theirs[0]) < 1e-12
    assert worst(ours[1], theirs[1]) < 1e-12
    assert ours[2] == theirs[2]


@cache
def truth(kind: str, backward: bool) -> Any:
    return results(torchdiffeq, kind, BACKWARD if backward else FORWARD, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("method", [*ADAPTIVE, "tsit5"])
def test_adaptive_steps_are_as_accurate_as_the_librarys_for_as_much_work(method: str):
    """Against the library at tolerances five digits tighter; tsit5 is held to its dopri5.

    Two solves that keep the same tolerance by different steps differ in luck: the mean of the logarithms of ratios is
    not above zero by more than twice its standard error.
    """
    ratios: dict[str, list[float]] = {"states": [], "derivatives": [], "evaluations": []}
    for kind in ("vector", "tuple"):
        for backward in (False, True):
            true, times = truth(kind, backward), BACKWARD if backward else FORWARD
            for rtol in (1e-4, 1e-6):
                call = {"rtol": rtol, "atol": rtol / 100}
                ours = results(api, kind, times, method=method, **call)
                theirs = results(torchdiffeq, kind, times, method=method.replace("tsit5", "dopri5"), **call)
                for what, mine, other, best in zip(ratios, ours[:2], theirs[:2], true[:2], strict=False):
                    ratios[what].append(math.log(worst(mine, best) / worst(other, best)))
                ratios["evaluations"].append(math.log(ours[2] / theirs[2]))
    for found in ratios.values():
        assert mean(found) <= 2 * stdev(found) / math.sqrt(len(found)), ratios


def test_a_linear_equation():
    """y = exp(w (t - t0)) y0 by all that it depends on, the times included."""
    w = nn.Parameter(torch.tensor(0.7, dtype=torch.float64))
    y0 = torch.tensor(1.3, dtype=torch.float64, requires_grad=True)
    t = torch.tensor([0.2, 0.9, 1.4], dtype=torch.float64, requires_grad=True)
    y = api.odeint_adjoint(lambda t, y: w * y, y0, t, rtol=1e-10, atol=1e-12, adjoint_params=(w,))
    exact = torch.exp(w * (t - t[0])) * y0
    along = torch.tensor([0.3, -1.0, 2.0], dtype=torch.float64)
    for mine, true in zip(*(torch.autograd.grad(out, (w, y0, t), along) for out in (y, exact)), strict=True):
        torch.testing.assert_close(mine, true, rtol=0, atol=1e-8)  # a hundred tolerances


# What is learned


def test_ways_to_name_the_parameters():
    """None, a list, a generator, nothing, some alone, and one that the field does not use."""
    for lib in (api, torchdiffeq):
        for give, has in {
            None: (True, True),
            "list": (True, True),
            "generator": (True, True),
            "empty": (False, False),
            "one": (True, False),
            "frozen": (True, False),
        }.items():
            field, y0 = Field(), state("batch")
            if give == "frozen":
                field.unused.requires_grad_(False)
            call = {
                "list": {"adjoint_params": list(field.parameters())},
                "generator": {"adjoint_params": (p for p in field.parameters())},
                "empty": {"adjoint_params": ()},
                "one": {"adjoint_params": [field.weight]},
            }.get(give or "", {})
            y = lib.odeint_adjoint(field, y0, torch.tensor([0.0, 1.0]).double(), method="rk4", **call)
            y[-1].sum().backward()
            assert y0.grad is not None
            assert (field.weight.grad is not None, field.unused.grad is not None) == has
            assert not has[1] or not field.unused.grad.any()  # pyright: ignore[reportOptionalMemberAccess]


def test_a_state_that_needs_no_gradient_and_a_solve_that_needs_none():
    field, t = Field(), torch.tensor([0.0, 1.0], dtype=torch.float64)
    y0 = state("batch").detach()
    api.odeint_adjoint(field, y0, t)[-1].sum().backward()
    assert field.weight.grad is not None
    for mode in (torch.no_grad(), torch.inference_mode()):
        with mode:
            assert not api.odeint_adjoint(field, y0, t).requires_grad
    assert not api.odeint_adjoint(field, y0, t, adjoint_params=()).requires_grad


@pytest.mark.parametrize("lib", [api, torchdiffeq])
def test_what_the_field_computed_before_the_solve_is_differentiated(lib: Any):
    """Every stage goes through W = exp(V) to V: y' = W y, so that dy(1)/dV = W exp(W) y0."""
    v = nn.Parameter(torch.tensor(-0.4, dtype=torch.float64))
    w = v.exp()
    t = torch.tensor([0.0, 1.0], dtype=torch.float64)
    for learned in (v, w):
        y = lib.odeint_adjoint(lambda t, y: w * y, torch.ones_like(v), t, rtol=1e-9, adjoint_params=(learned,))
        slope = torch.autograd.grad(y[-1], v, retain_graph=True)[0].item()
        assert slope == pytest.approx(math.exp(-0.4) * math.exp(math.exp(-0.4)), abs=1e-7)


def test_complex_states_with_real_and_complex_parameters():
    """y = exp(i w + l) y0 at time 1, against autograd through the closed form."""
    w = nn.Parameter(torch.tensor(1.2, dtype=torch.float64))
    rate = nn.Parameter(torch.tensor(-0.3 + 0.2j, dtype=torch.complex128))
    y0 = torch.tensor([1.0 + 0.5j, -2.0j], dtype=torch.complex128, requires_grad=True)
    t = torch.tensor([0.0, 1.0], dtype=torch.float64, requires_grad=True)
    y = api.odeint_adjoint(lambda t, y: (1j * w + rate) * y, y0, t, rtol=1e-9, atol=1e-11, adjoint_params=(w, rate))
    exact = torch.exp((1j * w + rate) * (t[1] - t[0])) * y0
    along = torch.tensor([1.0 - 2.0j, 0.5j], dtype=torch.complex128)
    for mine, true in zip(*(torch.autograd.grad(out, (w, rate, y0, t), along) for out in (y[-1], exact)), strict=True):
        assert mine.dtype == true.dtype
        torch.testing.assert_close(mine, true, rtol=0, atol=1e-7)  # a hundred tolerances


# The way back


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("moves", [False, True])
def test_norms_of_the_way_back_see_what_the_librarys_see(kind: str, moves: bool):
    """(t, *y, *adjoint, *parameters), each in its shape; ours integrates the first only where times need a gradient."""
    seen: dict[Any, set[Any]] = {}
    for lib in (api, torchdiffeq):
        shapes = seen.setdefault(lib, set())

        def norm(z: tuple[Tensor, ...], lib: Any = lib, shapes: set[Any] = shapes) -> Tensor:
            shapes.add(tuple(part.shape for part in z))
            assert moves or not z[0] or lib is torchdiffeq
            return torch.stack([part.abs().max() for part in z]).max()

        field, y0 = Field(), state(kind)
        t = torch.tensor(FORWARD, dtype=torch.float64, requires_grad=moves)
        y = lib.odeint_adjoint(field, y0, t, rtol=1e-5, atol=1e-6, adjoint_options={"norm": norm})
        sum(part[-1].sum() for part in leaves(y)).backward()  # pyright: ignore[reportAttributeAccessIssue]
    assert seen[api] == seen[torchdiffeq] != set()


def test_the_size_of_the_state_is_measured_on_the_way_back_too():
    """A norm that sees little lets both ways take long steps.

    Not so in the library, where the derivative by time is integrated, and measured, whether or not it is asked for.
    """
    calls = []
    for scale in (1.0, 1e-9):
        field, t = Field(), torch.tensor([0.0, 2.0], dtype=torch.float64)
        y = api.odeint_adjoint(
            field,
            state("batch"),
            t,
            rtol=1e-8,
            atol=1e-9,
            method="dopri5",
            options={"norm": lambda y, scale=scale: scale * y.abs().max()},
            adjoint_options={"norm": "seminorm"},
        )
        there, field.calls = field.calls, 0
        y[-1].sum().backward()
        calls.append((there, field.calls))
    assert calls[1][0] < calls[0][0] / 3
    assert calls[1][1] < calls[0][1] / 3


def test_tolerances_of_the_way_back_one_for_each_part():
    """As many as (t, y, adjoint, weight, unused): where all but y are let go, it takes few steps."""
    calls = {}
    for lib in (api, torchdiffeq):
        for loose in (False, True):
            field = Field()
            y = lib.odeint_adjoint(
                field,
                state("batch"),
                torch.tensor([0.0, 2.0], dtype=torch.float64),
                rtol=1e-8,
                atol=1e-9,
                adjoint_rtol=[1e20] * 5 if loose else 1e-8,
                adjoint_atol=(1e20,) * 5 if loose else 1e-9,
            )
            field.calls = 0
            y[-1].sum().backward()
            calls[lib, loose] = field.calls
    assert calls[api, True] <= calls[torchdiffeq, True] < calls[api, False]
    y = api.odeint_adjoint(Field(), state("batch"), torch.tensor([0.0, 1.0]).double(), adjoint_rtol=[1e-3])
    with pytest.raises(AssertionError, match="rtol"):
        y[-1].sum().backward()


def test_other_methods_there_and_back():
    """The library's Adams method there and Runge-Kutta back, and the other way about: the same gradient."""
    t = torch.tensor([0.0, 1.0], dtype=torch.float64)
    adams = {"step_size": 0.005}
    found = []
    for call in (
        {"method": "dopri5"},
        {"method": "explicit_adams", "options": adams, "adjoint_method": "dopri5", "adjoint_options": {}},
        {"method": "dopri5", "adjoint_method": "explicit_adams", "adjoint_options": adams},
        {"method": "dopri8", "adjoint_method": "fehlberg2", "adjoint_rtol": 1e-7, "adjoint_atol": 1e-9},
    ):
        field, y0 = Field(), state("batch")
        how: dict[str, Any] = {"rtol": 1e-9, "atol": 1e-10} | call
        y = api.odeint_adjoint(field, y0, t, **how)
        found.append(torch.autograd.grad(y[-1].square().sum(), (y0, field.weight)))
    for other in found[1:]:
        for mine, true in zip(other, found[0], strict=True):
            torch.testing.assert_close(mine, true, rtol=0, atol=1e-5)  # a hundred times the loosest tolerance


def test_callbacks_of_the_way_there():
    """Fixed steps tell of every step there, and none back."""
    for lib in (api, torchdiffeq):
        field, told = Field(), []
        field.callback_step = lambda t, y, dt, told=told: told.append(t.item())  # pyright: ignore[reportArgumentType]
        t = torch.tensor([0.0, 0.5], dtype=torch.float64)
        lib.odeint_adjoint(field, state("batch"), t, method="rk4", options={"step_size": 0.1})[-1].sum().backward()
        assert told == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4])


def test_memory_does_not_grow_with_the_number_of_steps():
    """What autograd keeps: the outputs and what is learned; the steps themselves leave nothing."""
    kept = []
    for step_size in (0.1, 0.01):
        sizes: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(lambda x, sizes=sizes: sizes.append(x.numel()) or x, lambda x: x):
            t = torch.tensor([0.0, 1.0], dtype=torch.float64)
            api.odeint_adjoint(Field(), state("batch"), t, method="rk4", options={"step_size": step_size})
        kept.append(sum(sizes))
    assert kept[0] == kept[1] == 2 + 2 * 12 + 9 + 2


def test_second_derivatives_are_refused():
    """Where the library takes the gradient for a constant: a penalty on it would be lost beside the loss."""
    field, y0 = Field(), state("batch")
    loss = api.odeint_adjoint(field, y0, torch.tensor([0.0, 1.0], dtype=torch.float64))[-1].sum()
    (slope,) = torch.autograd.grad(loss, y0, create_graph=True)
    with pytest.raises(InputError, match=r"no second derivatives: take odeint\."):
        (loss + slope.square().sum()).backward()


def test_warnings_and_nothing_but_them():
    frozen = Field()
    frozen.unused.requires_grad_(False)
    size = {"norm": lambda z: z[1].abs().max()}
    t = torch.tensor([0.0, 1.0], dtype=torch.float64)
    for field, call in ((frozen, {"adjoint_options": size}), (Field(), {"adjoint_options": size}), (frozen, {})):
        said = []
        for lib in (api, torchdiffeq):
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                lib.odeint_adjoint(field, state("batch"), t, **call).sum().backward()
            said.append([(warning.category, str(warning.message)) for warning in caught])
        assert said[0] == said[1]
        assert bool(said[0]) == (field is frozen and bool(call))


@pytest.mark.parametrize("method", ["rk4", "dopri5"])
def test_autocast_is_the_same_there_and_back(method: str):
    """The adjoint of what was solved: y' = W y in bfloat16, whose weight on the way back is the rounded one too."""
    weight = nn.Linear(2, 2, bias=False)
    nn.init.constant_(weight.weight, 1 / 3)
    dtypes: list[torch.dtype] = []

    def field(t: Tensor, y: Tensor) -> Tensor:
        slope = weight(y)
        dtypes.append(slope.dtype)
        return slope

    t, y0 = torch.linspace(0, 1, 4), torch.ones(3, 2, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = api.odeint_adjoint(
            field, y0, t, method=method, rtol=1e-2, atol=1e-2, adjoint_params=tuple(weight.parameters())
        )
    y[-1].sum().backward()
    assert set(dtypes) == {torch.bfloat16}
    assert y0.grad is not None
    # exp(W) of ones is e^{2/3}; bfloat16 rounds each slope to three digits.
    assert y0.grad[0, 0].item() == pytest.approx(math.exp(2 / 3), rel=1e-2)
