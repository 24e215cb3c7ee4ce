"""Code written for torchdiffeq runs with one import changed: the library itself is the oracle."""

import inspect
import math
import warnings
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
import torchdiffeq
from torch import Tensor, nn

from integrand.core.fields.mlp import MLP
from integrand.core.numerics import torchdiffeq_api as api
from integrand.core.numerics.methods.tableau import Tableau
from integrand.core.numerics.torchdiffeq_drop_in.grid import HEUN3, RK4_38

FIXED = ["euler", "midpoint", "heun2", "heun3", "rk4"]
ADAPTIVE = ["dopri5", "dopri8", "bosh3"]
LIBRARY = ["fehlberg2", "adaptive_heun", "explicit_adams", "implicit_adams", "fixed_adams", "scipy_solver"]
FORWARD, BACKWARD = [0.1, 0.4, 0.5, 1.1, 1.5], [1.5, 1.1, 0.5, 0.4, 0.1]  # 1.1 > 2 * 0.5: t + h need not be t1


class Oscillator(nn.Module):
    """y' = cos(t) W tanh(y) along the last dimension, or w sin(y) cos(t) for a state of one number; notes its times."""

    def __init__(self, dtype: torch.dtype = torch.float64):
        super().__init__()
        real = dtype.to_real()
        weight = torch.randn(3, 3, dtype=dtype, generator=torch.Generator().manual_seed(1)) * 0.7
        self.weight = nn.Parameter(weight)
        self.w = nn.Parameter(torch.tensor(0.8, dtype=real))
        self.times: list[float] = []

    def forward(self, t: Tensor, y: Any) -> Any:
        self.times.append(t.item())
        assert t.dim() == 0
        if isinstance(y, tuple):
            return self.slope(t, y[0]), y[1] * self.w * y[0].mean()
        return self.slope(t, y)

    def slope(self, t: Tensor, y: Tensor) -> Tensor:
        assert t.dtype == y.dtype.to_real()
        return t.cos() * (y.tanh() @ self.weight if y.dim() else self.w * y.sin())


def state(kind: str, dtype: torch.dtype = torch.float64) -> Any:
    generator = torch.Generator().manual_seed(2)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, dtype=dtype, generator=generator).requires_grad_()

    if kind == "tuple":
        return draw(2, 3), draw()
    return draw(*{"number": (), "vector": (3,), "batch": (4, 3), "images": (2, 2, 3)}[kind])


KINDS = ["number", "vector", "batch", "images", "tuple"]


def leaves(y: Any) -> tuple[Tensor, ...]:
    return y if isinstance(y, tuple) else (y,)


def results(lib: Any, kind: str, times: list[float], dtype: torch.dtype, t_dtype: torch.dtype, **call: Any) -> Any:
    """States, their derivatives along random directions by y0, the parameters and t, and the times the field saw."""
    field, y0 = Oscillator(dtype), state(kind, dtype)
    t = torch.tensor(times, dtype=t_dtype, requires_grad=True)
    states = leaves(lib.odeint(field, y0, t, **call))
    generator = torch.Generator().manual_seed(3)
    along = [torch.randn(y.shape, dtype=y.dtype, generator=generator) for y in states]
    inputs = (*leaves(y0), field.weight, field.w, t)
    grads = torch.autograd.grad(states, inputs, along, allow_unused=True)
    return [y.detach() for y in states], [g for g in grads if g is not None], field.times


def assert_rounding(actual: list[Tensor], expected: list[Tensor], eps: float) -> None:
    """Eight steps of four stages round some ten times each, and what is rounded grows by e^2: under 3000 eps."""
    assert len(actual) == len(expected)
    for one, other in zip(actual, expected, strict=True):
        assert one.shape == other.shape
        assert one.dtype == other.dtype
        scale = max(1.0, other.abs().max().item())
        assert (one - other).abs().max().item() <= 3000 * eps * scale


def worst(actual: list[Tensor], expected: list[Tensor]) -> float:
    return max((a - e).abs().max().item() for a, e in zip(actual, expected, strict=True))


# Signatures


@pytest.mark.parametrize("name", ["odeint", "odeint_adjoint", "odeint_dense", "odeint_event"])
def test_signatures_are_the_librarys(name: str):
    ours, theirs = (inspect.signature(getattr(lib, name)).parameters.values() for lib in (api, torchdiffeq))
    assert [(p.name, p.kind) for p in ours] == [(p.name, p.kind) for p in theirs]
    for our, their in zip(ours, theirs, strict=True):
        assert our.default is api.odeint if our.name == "odeint_interface" else our.default == their.default


# Methods with fixed steps: equal to rounding


@pytest.mark.parametrize("times", [FORWARD, BACKWARD], ids=["forward", "backward"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", FIXED)
def test_fixed_steps_give_the_librarys_numbers_and_derivatives(method: str, kind: str, times: list[float]):
    ours, theirs = (
        results(lib, kind, times, torch.float64, torch.float64, method=method) for lib in (api, torchdiffeq)
    )
    for mine, other in zip(ours[:2], theirs[:2], strict=True):
        assert_rounding(mine, other, 2.0**-52)
    assert ours[2] == pytest.approx(theirs[2], rel=2**-51)


@pytest.mark.parametrize(
    ("dtype", "t_dtype"),
    [
        (torch.float32, torch.float32),
        (torch.float32, torch.float64),
        (torch.float64, torch.float32),
        (torch.complex128, torch.float64),
        (torch.complex64, torch.float32),
    ],
)
@pytest.mark.parametrize("kind", ["vector", "batch"])
def test_fixed_steps_in_other_precisions(kind: str, dtype: torch.dtype, t_dtype: torch.dtype):
    options = {"step_size": 0.2}
    ours, theirs = (
        results(lib, kind, FORWARD, dtype, t_dtype, method="rk4", options=options) for lib in (api, torchdiffeq)
    )
    eps = max(torch.finfo(dtype).eps, torch.finfo(t_dtype).eps)
    for mine, other in zip(ours[:2], theirs[:2], strict=True):
        assert_rounding(mine, other, eps)


OPTIONS: dict[str, dict[str, Any]] = {
    "step_size": {"step_size": 0.17},
    "step_size that divides": {"step_size": 0.1},
    "step_size longer than all": {"step_size": 3.0},
    "cubic": {"step_size": 0.17, "interp": "cubic"},
    "perturb": {"step_size": 0.17, "perturb": True},
    "norm, unused": {"norm": torch.linalg.vector_norm},
    "grid": {"grid_constructor": lambda _f, _y, t: torch.stack([t[0], 0.7 * t[0] + 0.3 * t[-1], t[2], t[-1]])},
    "cubic grid": {"grid_constructor": lambda _f, _y, t: t[[0, -1]], "interp": "cubic"},
}


@pytest.mark.parametrize("times", [FORWARD, BACKWARD], ids=["forward", "backward"])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
@pytest.mark.parametrize("kind", ["batch", "tuple"])
@pytest.mark.parametrize("method", ["euler", "rk4"])
def test_options_of_fixed_steps(method: str, kind: str, options: dict[str, Any], times: list[float]):
    call = {"method": method, "options": options}
    ours, theirs = (results(lib, kind, times, torch.float64, torch.float64, **call) for lib in (api, torchdiffeq))
    for mine, other in zip(ours[:2], theirs[:2], strict=True):
        assert_rounding(mine, other, 2.0**-52)
    if options.get("interp") != "cubic":  # the library asks for the slope at a step's end once for each output in it
        assert ours[2] == pytest.approx(theirs[2], rel=2**-51)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("method", FIXED)
def test_a_field_that_jumps_on_the_grid_is_seen_from_the_side_that_perturb_says(method: str, reverse: bool):
    """y' jumps at every grid point, to which the rounding of t + h does not come back.

    With ``perturb`` every stage of a step lies between its ends, where y' is one number, so that the solution is exact.
    """
    t = torch.tensor([-0.1, 0.2, 1.1, 2.3])
    t = t.flip(0) if reverse else t
    assert not all(torch.equal(t0 + (t1 - t0), t1) for t0, t1 in pairwise(t))

    def solve(lib: Any, perturb: bool) -> Tensor:
        def field(s: Tensor, y: Tensor) -> Tensor:
            return (s >= t).sum() * torch.ones_like(y)

        return lib.odeint(field, torch.zeros(1), t, method=method, options={"perturb": perturb}).squeeze(1)

    below = torch.tensor([3.0, 2.0, 1.0] if reverse else [1.0, 2.0, 3.0])  # grid points below each interval
    exact = torch.cat([torch.zeros(1), (below * t.diff()).cumsum(0)])
    torch.testing.assert_close(solve(api, True), exact, rtol=1e-6, atol=1e-6)
    plain = solve(api, False)
    if method != "heun2":  # the library's heun2 ends its steps on t + h, which is not the grid's number
        torch.testing.assert_close(plain, solve(torchdiffeq, False), rtol=1e-6, atol=1e-6)


def test_grid_constructor_gets_a_field_and_a_state_to_evaluate_it_at():
    seen = []

    def construct(func: Callable, y0: Tensor, t: Tensor) -> Tensor:
        seen.append(func(t[0], y0))
        return torch.linspace(t[0].item(), t[-1].item(), 9, dtype=t.dtype)

    for kind in ("vector", "tuple"):
        for lib in (api, torchdiffeq):
            t = torch.tensor(FORWARD, dtype=torch.float64)
            lib.odeint(Oscillator(), state(kind), t, method="rk4", options={"grid_constructor": construct})
        torch.testing.assert_close(seen[-2], seen[-1])


@pytest.mark.parametrize("tableau", [HEUN3, RK4_38], ids=lambda t: t.name)
def test_methods_not_in_solve_ode_have_their_order(tableau: Tableau):
    """y' = -2 t y^2, y = 1 / (1 + t^2)."""
    name = {"heun3": "heun3", "rk4_38": "rk4"}[tableau.name]
    errors = []
    for steps in (80, 160):
        t = torch.linspace(0, 2, steps + 1, dtype=torch.float64)
        y = api.odeint(lambda t, y: -2 * t * y**2, torch.ones((), dtype=torch.float64), t, method=name)
        errors.append((y - 1 / (1 + t**2)).abs().max().item())
    assert math.log2(errors[0] / errors[1]) == pytest.approx(tableau.order, abs=0.1)


# Adaptive methods: as accurate for as much work


@pytest.mark.parametrize("method", [*ADAPTIVE, "tsit5"])
def test_adaptive_steps_are_as_accurate_as_the_librarys_for_as_much_work(method: str):
    """Errors of states and of derivatives, against torchdiffeq at tolerances five digits tighter.

    Two solves that keep the same tolerance by different steps differ in luck, by less than a digit: the mean over
    states of all shapes, both directions and two tolerances decides. tsit5 is held to the library's dopri5.
    """
    ratios: dict[str, list[float]] = {"states": [], "derivatives": [], "evaluations": []}
    for kind in KINDS:
        for times in (FORWARD, BACKWARD):
            double = (kind, times, torch.float64, torch.float64)
            true = results(torchdiffeq, *double, rtol=1e-11, atol=1e-13)
            for rtol in (1e-4, 1e-6):
                call = {"rtol": rtol, "atol": rtol / 100}
                ours = results(api, *double, method=method, **call)
                theirs = results(torchdiffeq, *double, method=method.replace("tsit5", "dopri5"), **call)
                for i, what in enumerate(("states", "derivatives")):
                    assert [y.shape for y in ours[i]] == [y.shape for y in theirs[i]]
                    ratios[what].append(worst(ours[i], true[i]) / worst(theirs[i], true[i]))
                ratios["evaluations"].append(len(ours[2]) / len(theirs[2]))
    for found in ratios.values():
        assert max(found) < 10
        assert sum(map(math.log, found)) < 0


@pytest.mark.parametrize(
    ("dtype", "t_dtype"),
    [
        (torch.float32, torch.float32),
        (torch.float32, torch.float64),
        (torch.float64, torch.float32),
        (torch.complex128, torch.float64),
    ],
)
@pytest.mark.parametrize("kind", ["number", "batch", "tuple"])
def test_adaptive_steps_in_other_precisions(kind: str, dtype: torch.dtype, t_dtype: torch.dtype):
    call = {"rtol": 1e-4, "atol": 1e-5}
    exact = results(torchdiffeq, kind, FORWARD, dtype, t_dtype, rtol=1e-6, atol=1e-6)
    ours, theirs = (results(lib, kind, FORWARD, dtype, t_dtype, **call) for lib in (api, torchdiffeq))
    for mine, other, true in zip(ours[:2], theirs[:2], exact[:2], strict=True):
        assert [y.dtype for y in mine] == [y.dtype for y in true]
        assert worst(mine, true) <= 3 * worst(other, true) + 1e-5  # the reference is no better in float32


def test_a_clock_far_from_zero_keeps_its_own_precision():
    """Seconds since 1970 in float64, a state in float32: single precision has no time between the outputs."""
    start = 1.6e9
    t = start + torch.linspace(0, 1, 5, dtype=torch.float64)
    for method in ("dopri5", "rk4"):
        y = api.odeint(lambda t, y: -y, torch.ones(2), t, method=method, rtol=1e-5, atol=1e-6)
        expected = torch.exp(start - t).float()[:, None].expand(-1, 2)
        torch.testing.assert_close(y, expected, rtol=1e-4, atol=1e-4)  # rk4's own error is 3e-6 e-folds a step


def stepped(lib: Any, **call: Any) -> list[tuple[float, float]]:
    """Starts and lengths of dopri5's steps on y' = -y, accepted or refused, from the times of its stages.

    Given the first step, dopri5 evaluates f(t_0), and then stages at t + h/5, 3h/10, 4h/5, 8h/9, h and f(t + h).
    """
    times: list[float] = []

    def field(t: Tensor, y: Tensor) -> Tensor:
        times.append(t.item())
        return -y

    t = torch.tensor([0.0, 4.0], dtype=torch.float64)
    lib.odeint(field, torch.ones(2, dtype=torch.float64), t, rtol=1e-6, atol=1e-8, **call)
    steps = []
    for k in range(1, len(times), 6):
        h = (times[k + 4] - times[k]) / 0.8
        steps.append((times[k] - h / 5, h))
    return steps


def test_first_step_and_factors():
    for lib in (torchdiffeq, api):  # the library first: what is read here is what its options mean
        steps = stepped(lib, options={"first_step": 1e-3, "ifactor": 1.5})
        assert steps[0] == pytest.approx((0.0, 1e-3), abs=1e-15)
        growth = [after[1] / before[1] for before, after in pairwise(steps)]
        assert max(growth) == pytest.approx(1.5, rel=1e-9)
        assert sum(g > 1.49 for g in growth) > 8

        steps = stepped(lib, options={"first_step": 3.9, "dfactor": 0.7})
        assert [start for start, _ in steps[:2]] == pytest.approx([0.0, 0.0], abs=1e-12)  # refused
        assert steps[1][1] / steps[0][1] == pytest.approx(0.7, rel=1e-9)

        assert max(h for _, h in stepped(lib, options={"first_step": 0.01, "max_step": 0.05})) <= 0.05 * (1 + 1e-9)

        counts = [len(stepped(lib, options={"first_step": 0.01, "safety": safety})) for safety in (0.9, 0.45)]
        assert counts[1] / counts[0] == pytest.approx(2, abs=0.3)  # steps of half the length


@pytest.mark.parametrize("reverse", [False, True])
def test_jumps_and_step_times_are_landed_on(reverse: bool):
    """y' = 1 + 4 [t > 1/3], which without the jump known costs many refused steps."""
    t = torch.tensor([0.0, 0.2, 1.0], dtype=torch.float64)
    t = t.flip(0) if reverse else t
    y0 = torch.zeros(1, dtype=torch.float64)
    third = torch.tensor([1 / 3], dtype=torch.float64)
    calls: dict[Any, int] = {}

    def solve(lib: Any, options: dict[str, Any]) -> Tensor:
        times: list[float] = []

        def field(t: Tensor, y: Tensor) -> Tensor:
            times.append(t.item())
            return 1 + 4.0 * (t > 1 / 3) * torch.ones_like(y)

        y = lib.odeint(field, y0, t, options=options)
        calls[lib, next(iter(options), "")] = len(times)
        if options:
            assert min(abs(time - 1 / 3) for time in times) < 1e-15
        return y[-1]

    exact = (1 if not reverse else -1) * (1 + 4 * 2 / 3)
    for lib in (torchdiffeq, api):
        for options in ({}, {"jump_t": third}, {"step_t": third}):
            # Straight on either side, the solution is exact once the jump is known, else within the tolerance of a few
            # steps. The library's step_t lands, but starts the next step with the slope before the jump.
            known = "jump_t" in options or (options and lib is api and not reverse)
            assert solve(lib, options).item() == pytest.approx(exact, abs=1e-12 if known else 1e-4)
    assert calls[api, "jump_t"] <= calls[torchdiffeq, "jump_t"]
    assert calls[api, "jump_t"] < calls[api, ""] / 2


def test_a_jump_stays_where_it_is_when_an_output_time_there_moves():
    """y' = (1 + 4 [t > 1/2]) y from 1: dy(t_i)/dt_i is the slope, and other outputs do not know of t_i."""
    t = torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64, requires_grad=True)
    y = api.odeint(
        lambda s, y: (1 + 4.0 * (s > 0.5)) * y,
        torch.ones((), dtype=torch.float64),
        t,
        options={"jump_t": t.detach()[1:2]},
    )
    (slope,) = torch.autograd.grad(y[2], t)
    end = math.exp(3)
    torch.testing.assert_close(slope, torch.tensor([-end, 0, 5 * end], dtype=torch.float64), rtol=1e-5, atol=1e-5)


def test_norms_see_the_state_as_its_owner_does():
    """A norm of the first tensor alone leaves the second, which is fast, out of the step's choice."""
    counts: dict[Any, int] = {}
    t = torch.tensor([0.0, 2.0], dtype=torch.float64)
    y0 = (torch.ones(2, 3, dtype=torch.float64), torch.ones((), dtype=torch.float64))

    def first_alone(y: tuple[Tensor, Tensor]) -> Tensor:
        assert [part.shape for part in y] == [part.shape for part in y0]
        return y[0].abs().max()

    def whole(y: Tensor) -> Tensor:
        assert y.shape == (3,)
        return y.abs().max()

    for lib in (torchdiffeq, api):
        for norm in ({}, {"norm": first_alone}):
            calls = []
            lib.odeint(
                lambda t, y, calls=calls: (calls.append(t) or -y[0], 40 * (t.mul(40).cos() - y[1])),
                y0,
                t,
                rtol=1e-5,
                atol=1e-5,
                options=norm,
            )
            counts[lib, bool(norm)] = len(calls)
        lib.odeint(lambda t, y: -y, torch.ones(3, dtype=torch.float64), t, options={"norm": whole})
    # Nothing, or everything, is measured by the other tensor: the counts stand far apart, and near the library's.
    assert counts[api, False] > 4 * counts[api, True]
    assert counts[api, False] == pytest.approx(counts[torchdiffeq, False], rel=0.3)
    assert counts[api, True] == pytest.approx(counts[torchdiffeq, True], rel=0.3)


def test_a_tuple_is_as_large_as_its_largest_tensor():
    """One number beside a million still decides the step: the mean over all would hide it."""
    t = torch.tensor([0.0, 2.0], dtype=torch.float64)
    y0 = (torch.zeros(10_000, dtype=torch.float64), torch.ones((), dtype=torch.float64))
    for lib in (torchdiffeq, api):
        y = lib.odeint(lambda t, y: (torch.zeros_like(y[0]), -y[1]), y0, t, rtol=1e-6, atol=1e-6)
        # A mean over all would let a hundred times the tolerance pass.
        assert y[1][-1].item() == pytest.approx(math.exp(-2), abs=5e-6)


def test_tolerances_one_for_each_tensor():
    """As in FFJORD: what rides along is integrated without a tolerance of its own."""
    t = torch.tensor([0.0, 2.0], dtype=torch.float64)
    y0 = (torch.ones(2, 3, dtype=torch.float64), torch.ones(4, dtype=torch.float64))
    counts = {}
    for lib in (torchdiffeq, api):
        for loose in (False, True):
            calls = []
            lib.odeint(
                lambda t, y, calls=calls: (calls.append(t) or -y[0], 40 * (t.mul(40).cos() - y[1])),
                y0,
                t,
                rtol=[1e-5, 1e20] if loose else 1e-5,
                atol=(1e-5, 1e20) if loose else torch.tensor(1e-5),
            )
            counts[lib, loose] = len(calls)
    assert counts[api, False] > 4 * counts[api, True]
    assert counts[api, True] == pytest.approx(counts[torchdiffeq, True], rel=0.3)


# What goes to torchdiffeq itself


DELEGATED: dict[str, dict[str, Any]] = {
    **{method: {"method": method} for method in LIBRARY},
    "max_order": {"method": "implicit_adams", "options": {"max_order": 4, "step_size": 0.05}},
    "scipy's own": {"method": "scipy_solver", "options": {"solver": "RK45"}},
    "min_step": {"options": {"min_step": 0.3}},
    "dtype": {"options": {"dtype": torch.float32}},
    "max_num_steps": {"options": {"max_num_steps": 100}},
    "safety": {"options": {"safety": 1.0}},
    "rtol of each component": {"rtol": torch.full((4, 3), 1e-5, dtype=torch.float64)},
}


@pytest.mark.filterwarnings("ignore:Functional iteration", "ignore:The following arguments have no effect")
@pytest.mark.parametrize("call", DELEGATED.values(), ids=DELEGATED.keys())
def test_the_librarys_own_are_the_same_numbers(call: dict[str, Any]):
    t = torch.tensor(FORWARD, dtype=torch.float64)
    call = {"rtol": 1e-5, "atol": 1e-6} | call
    ours, theirs = (lib.odeint(Oscillator(), state("batch"), t, **call) for lib in (api, torchdiffeq))
    assert torch.equal(ours, theirs)


def test_autocast_leaves_the_state_its_precision():
    t = torch.linspace(0, 1, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for method in ("dopri5", "rk4"):
            y = api.odeint(lambda t, y: -y, torch.ones(3, 2), t, method=method, rtol=1e-5, atol=1e-6)
            assert y.dtype == torch.float32
            expected = torch.exp(-t).view(-1, 1, 1).expand(-1, 3, 2)
            torch.testing.assert_close(y, expected, rtol=0, atol=1e-4)  # one rounding to bfloat16 is 2e-3


def test_transforms_of_torch_func():
    """Derivatives with respect to time, which our walks read as numbers, are not lost."""

    def last(lib: Any, end: Tensor) -> Tensor:
        t = torch.stack([torch.zeros_like(end), end])
        return lib.odeint(lambda t, y: -y, torch.ones(1, dtype=torch.float64), t, method="rk4")[-1, 0]

    end = torch.tensor(0.5, dtype=torch.float64)
    for lib in (torchdiffeq, api):
        slope = torch.func.jvp(lambda e, lib=lib: last(lib, e), (end,), (torch.ones_like(end),))[1]
        # Of the method itself: R(-t) = 1 - t + t^2/2 - t^3/6 + t^4/24.
        assert slope.item() == pytest.approx(-1 + 0.5 - 0.5**2 / 2 + 0.5**3 / 6, abs=1e-14)
        assert torch.func.grad(lambda e, lib=lib: last(lib, e))(end).item() == pytest.approx(slope.item(), abs=1e-14)


# Callbacks


class Told(nn.Module):
    """Notes its callbacks."""

    def __init__(self, *names: str):
        super().__init__()
        self.notes: list[tuple] = []
        for name in names:
            setattr(self, name, lambda t, y, dt, name=name: self.note(name, t, y, dt))

    def note(self, name: str, t: Tensor, y: Any, dt: Tensor) -> None:
        shapes = tuple(tuple(part.shape) for part in leaves(y))
        numbers = (t.item(), dt.item(), *(part.sum().item() for part in leaves(y)))
        self.notes.append((name, shapes, numbers))

    def forward(self, t: Tensor, y: Any) -> Any:
        return tuple(-part * t for part in y) if isinstance(y, tuple) else -y * t * 5


@pytest.mark.parametrize("times", [FORWARD, BACKWARD], ids=["forward", "backward"])
@pytest.mark.parametrize("kind", ["number", "batch", "tuple"])
@pytest.mark.parametrize("method", ["rk4", "euler", "dopri5", "bosh3"])
def test_callbacks_are_called_as_the_library_calls_them(method: str, kind: str, times: list[float]):
    names = ["callback_step"]
    if method in ADAPTIVE:
        names += ["callback_accept_step", "callback_reject_step"]
    notes = []
    t = torch.tensor(times, dtype=torch.float64)
    options = {} if method in ADAPTIVE else {"step_size": 0.3}
    for lib in (api, torchdiffeq):
        field = Told(*names)
        lib.odeint(field, state(kind), t, method=method, options=options, rtol=1e-5, atol=1e-6)
        notes.append(field.notes)
    ours, theirs = notes
    assert [note[:2] for note in ours] == [note[:2] for note in theirs]
    assert {note[0] for note in ours} >= {"callback_step"} | set(names[1:2])
    for mine, other in zip(ours, theirs, strict=True):
        assert mine[2] == pytest.approx(other[2], rel=1e-13, abs=1e-13)


def test_adjoint_callbacks_are_called():
    notes = []
    for lib in (api, torchdiffeq):
        field = Told("callback_step", "callback_step_adjoint")
        t = torch.tensor(FORWARD, dtype=torch.float64)
        lib.odeint_adjoint(field, state("batch"), t, method="rk4", adjoint_params=()).sum().backward()
        notes.append([name for name, *_ in field.notes])
    assert notes[0] == notes[1]
    assert "callback_step_adjoint" in notes[0]


# Errors and warnings


def decay(t: Tensor, y: Any) -> Any:
    return tuple(-part for part in y) if isinstance(y, tuple) else -y


ONE, UP = torch.ones(2, dtype=torch.float64), torch.tensor([0.0, 1.0, 2.0], dtype=torch.float64)
ENDS = UP[[0, 2]]
MISTAKES: dict[str, tuple[Callable, tuple, dict[str, Any]]] = {
    "unknown method": (decay, (ONE, UP), {"method": "dopri"}),
    "method no name": (decay, (ONE, UP), {"method": ["rk4"]}),
    "list as state": (decay, ([ONE], UP), {}),
    "whole numbers as state": (decay, (torch.ones(2, dtype=torch.int64), UP), {}),
    "empty tuple": (decay, ((), UP), {}),
    "times that turn": (decay, (ONE, torch.tensor([0.0, 2.0, 1.0])), {}),
    "times that turn, fixed": (decay, (ONE, torch.tensor([0.0, 2.0, 1.0])), {"method": "rk4"}),
    "repeated times": (decay, (ONE, torch.tensor([0.0, 1.0, 1.0])), {"method": "rk4"}),
    "whole numbers as times": (decay, (ONE, torch.tensor([0, 1])), {}),
    "times in two dimensions": (decay, (ONE, UP[None]), {}),
    "times a list": (decay, (ONE, [0.0, 1.0]), {}),
    "no times": (decay, (ONE, UP[:0]), {}),
    "times not a number": (decay, (ONE, torch.tensor([0.0, math.nan])), {}),
    "tolerances too few": (decay, ((ONE, ONE), UP), {"rtol": [1e-3]}),
    "tolerance with gradient": (decay, (ONE, UP), {"atol": torch.tensor(1e-3, requires_grad=True)}),
    "no tolerance": (decay, (ONE, UP), {"rtol": 0.0, "atol": 0.0}),
    "step_size and grid": (
        decay,
        (ONE, UP),
        {"method": "rk4", "options": {"step_size": 0.1, "grid_constructor": lambda f, y, t: t}},
    ),
    "grid that misses the end": (
        decay,
        (ONE, UP),
        {"method": "rk4", "options": {"grid_constructor": lambda f, y, t: t[:-1]}},
    ),
    "unknown interp": (decay, (ONE, UP), {"method": "euler", "options": {"interp": "quintic"}}),
    "jumps repeated": (decay, (ONE, UP), {"options": {"step_t": UP[1:2], "jump_t": UP[1:2]}}),
    "order too high": (decay, (ONE, UP), {"method": "implicit_adams", "options": {"max_order": 13}}),
    "blow-up": (lambda t, y: y**2, (ONE, UP), {}),
    "blow-up of a tuple": (lambda t, y: (y[0] ** 2, y[1]), ((ONE, ONE), UP), {}),
    "not a number": (lambda t, y: y * math.nan, (ONE, UP), {}),
    "not a number later": (lambda t, y: (0.5 - t).sqrt() * y, (torch.ones((), dtype=torch.float64), UP), {}),
    "too many steps": (decay, (ONE, ENDS), {"options": {"max_num_steps": 3}}),
    "too many steps to the second time": (decay, (ONE, UP), {"options": {"max_num_steps": 3}}),
    "slope of another shape": (lambda t, y: y.new_ones(3), (ONE, UP), {}),
    "slope of another shape, fixed": (lambda t, y: y.new_ones(3), (ONE, UP), {"method": "rk4"}),
    "slopes too few": (lambda t, y: y[:1], ((ONE, ONE), UP), {"method": "rk4"}),
    "event with many times": (decay, (ONE, UP), {"event_fn": lambda t, y: y[0] - 0.5}),
    "fixed event without step": (decay, (ONE, ENDS), {"event_fn": lambda t, y: y[0] - 0.5, "method": "rk4"}),
}


@pytest.mark.filterwarnings("ignore:Functional iteration")
@pytest.mark.parametrize(("func", "args", "call"), MISTAKES.values(), ids=MISTAKES.keys())
def test_mistakes_raise_the_librarys_errors(func: Callable, args: tuple, call: dict[str, Any]):
    with pytest.raises(Exception) as theirs:
        torchdiffeq.odeint(func, *args, **call)
    with pytest.raises(Exception) as ours:
        api.odeint(func, *args, **call)
    assert ours.type is theirs.type
    for known in ("underflow in dt", "max_num_steps exceeded", "Invalid method", "strictly increasing or decreasing"):
        assert (known in str(ours.value)) == (known in str(theirs.value))


def test_mistakes_in_the_other_functions():
    t0, t1 = UP[0], UP[1]
    for lib in (api, torchdiffeq):
        with pytest.raises(ValueError, match="adjoint"):
            lib.odeint_adjoint(decay, ONE, UP)
        with pytest.raises(ValueError, match="adjoint_options"):
            lib.odeint_adjoint(
                decay, ONE, UP, adjoint_params=(), method="rk4", options={"step_size": 0.1}, adjoint_method="euler"
            )
        with pytest.raises(AssertionError):
            lib.odeint_dense(decay, ONE, t0, t1, method="rk4")
        with pytest.raises(AssertionError):
            lib.odeint_dense(decay, (ONE,), t0, t1)
        with pytest.raises(AssertionError, match="invalid interpolation"):
            lib.odeint_dense(decay, ONE, t0, t1, options={"first_step": 2.0})(t0 - 1)


def test_what_tsit5_does_not_do_is_said():
    with pytest.raises(ValueError, match=r"tsit5.*dopri5"):
        api.odeint(decay, ONE, ENDS, method="tsit5", options={"min_step": 0.1})


WARNED: dict[str, tuple[Any, dict[str, Any]]] = {
    "unknown option": (decay, {"options": {"step_sise": 0.1}}),
    "unknown option, fixed": (decay, {"method": "rk4", "options": {"first_step": 0.1}}),
    "callback of other methods": (Told("callback_accept_step"), {"method": "rk4"}),
    "callback of methods without": (Told("callback_step"), {"method": "scipy_solver"}),
    "order too low": (decay, {"method": "explicit_adams", "options": {"max_order": 2}}),
}


@pytest.mark.parametrize(("field", "call"), WARNED.values(), ids=WARNED.keys())
def test_warnings_are_the_librarys(field: Any, call: dict[str, Any]):
    said = []
    for lib in (api, torchdiffeq):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            lib.odeint(field, ONE, UP, **call)
        said.append([(warning.category, str(warning.message)) for warning in caught])
    assert said[0] == said[1]
    assert said[0]


def test_nothing_warns_without_reason():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for method in (*FIXED, *ADAPTIVE):
            t = torch.tensor(FORWARD, dtype=torch.float64, requires_grad=True)
            options = {"step_size": 0.1} if method in FIXED else {}
            api.odeint(Oscillator(), state("batch"), t, method=method, options=options).sum().backward()


# Fields


@pytest.mark.parametrize("method", ["rk4", "dopri5"])
def test_slopes_may_broadcast_and_have_another_precision(method: str):
    t = torch.linspace(0, 1, 3, dtype=torch.float64)
    y0 = torch.zeros(2, 3, dtype=torch.float64)
    slopes: list[Callable] = [
        lambda t, y: torch.ones(2, 3),
        lambda t, y: torch.ones(()),
        lambda t, y: torch.ones(3),
        lambda t, y: torch.ones(2, 1, dtype=torch.float32),
    ]
    for place, slope in enumerate(slopes):
        for lib in (torchdiffeq, api) if method == "rk4" or place == 0 else (api,):  # its dopri5 does not broadcast
            y = lib.odeint(slope, y0, t, method=method)
            torch.testing.assert_close(y, t.view(-1, 1, 1).expand(-1, 2, 3), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_results_are_memory_of_their_own(kind: str, grad: bool):
    """Contiguous, so that ``view`` works on them, and not the state that went in."""
    y0 = state(kind)
    with torch.set_grad_enabled(grad):
        for method in ("rk4", "dopri5"):
            y = api.odeint(Oscillator(), y0, torch.tensor(FORWARD, dtype=torch.float64), method=method)
            assert isinstance(y, tuple) == (kind == "tuple")
            for part, start in zip(leaves(y), leaves(y0), strict=True):
                assert part.is_contiguous() or kind == "tuple"
                assert part.requires_grad == grad
                assert torch.equal(part[0], start)
                assert part.untyped_storage().data_ptr() != start.untyped_storage().data_ptr()


@pytest.mark.parametrize(
    "call",
    [
        {"method": "euler"},
        {"method": "heun3"},
        {"method": "rk4", "options": {"step_size": 0.17}},
        {"method": "rk4", "options": {"step_size": 0.17, "interp": "cubic"}},
        {"method": "dopri5", "rtol": 1e-9, "atol": 1e-10},
        {"method": "dopri8", "rtol": 1e-9, "atol": 1e-10},
    ],
)
@pytest.mark.parametrize("times", [FORWARD, BACKWARD], ids=["forward", "backward"])
def test_fields_with_a_tape_have_the_same_gradient_in_one_node(call: dict[str, Any], times: list[float]):
    torch.manual_seed(0)
    field = MLP(3, (8,), time=True).double()
    y0 = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    t = torch.tensor(times, dtype=torch.float64)
    along = torch.randn(len(times), 5, 3, dtype=torch.float64)
    exact = call if call["method"] in FIXED else {"rtol": 1e-12, "atol": 1e-13}
    found = []
    for lib, how in ((api, call), (torchdiffeq, exact)):
        y = lib.odeint(field, y0, t, **how)
        found.append([y.detach(), *torch.autograd.grad(y, (y0, *field.parameters()), along)])
        nodes = {type(node).__name__ for node in _graph(y.grad_fn)}
        assert ("_SolveBackward" in nodes) == (lib is api)
        assert y.is_contiguous()
    eps = 2.0**-52 if call["method"] in FIXED else 1e-10
    assert_rounding(found[0], found[1], eps)


def _graph(node: Any) -> set[Any]:
    seen, left = set(), [node]
    while left:
        one = left.pop()
        if one is not None and one not in seen:
            seen.add(one)
            left += [parent for parent, _ in one.next_functions]
    return seen


# The adjoint


@pytest.mark.parametrize("method", [*FIXED, "dopri5"])
@pytest.mark.parametrize("kind", ["batch", "tuple"])
def test_adjoint_agrees_with_direct(method: str, kind: str):
    # Two times for adaptive steps: between them, the library restarts its backward solve from interpolated states.
    field, t = Oscillator(), torch.linspace(0.1, 1.5, 41 if method in FIXED else 2, dtype=torch.float64)
    found = []
    for interface in (api.odeint, api.odeint_adjoint):
        y0 = state(kind)
        y = leaves(interface(field, y0, t, method=method, rtol=1e-8, atol=1e-10))
        loss = sum(part[-1].square().sum() for part in y)
        found.append(torch.autograd.grad(loss, (*leaves(y0), field.weight), allow_unused=True))  # pyright: ignore[reportArgumentType, reportCallIssue]
    # The adjoint equation is solved as the equation is, in 40 steps of 0.035: to O(h^p), 0.05 for Euler.
    order = {"euler": 1, "midpoint": 2, "heun2": 2, "heun3": 3}.get(method, 4)
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=max(10 * 0.035**order, 1e-5))


def test_adjoint_options():
    """The seminorm takes fewer evaluations, and what is given for the backward solve is used there."""
    t = torch.tensor([0.0, 3.0], dtype=torch.float64)
    counts = []
    for options in ({}, {"norm": "seminorm"}):
        field = Oscillator()
        y = api.odeint_adjoint(field, state("batch"), t, rtol=1e-8, atol=1e-10, adjoint_options=options)
        field.times.clear()
        y[-1].sum().backward()
        counts.append(len(field.times))
    assert counts[1] <= counts[0]
    field = Oscillator()
    y = api.odeint_adjoint(
        field,
        state("batch"),
        t,
        adjoint_method="rk4",
        adjoint_options={"step_size": 0.5},
        adjoint_rtol=1,
        adjoint_atol=1,
    )
    field.times.clear()
    y[-1].sum().backward()
    assert len(field.times) == 6 * 4
