"""``solve_ode`` as a whole: known solutions, per-sample times, arguments, counts, refusals and failures."""

import re
from collections import namedtuple
from typing import Any

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from torch import Tensor, nn

from integrand.core.errors import InputError
from integrand.core.fields import MLP
from integrand.core.numerics import METHODS, SolveError, Status, solve_ode
from integrand.core.numerics.exponential.semilinear import SEMILINEAR
from integrand.core.numerics.methods.diagonally_implicit import DIAGONALLY_IMPLICIT
from integrand.core.numerics.methods.registry import ADAPTIVE, TABLEAUS
from integrand.core.numerics.methods.symplectic import COMPOSITIONS
from integrand.core.numerics.stepping.step_control import StepControl

torch64 = torch.float64
STAGES = {
    "euler": 1,
    "midpoint": 2,
    "heun": 2,
    "ralston": 2,
    "bosh3": 3,
    "rk4": 4,
    "dopri5": 6,
    "tsit5": 6,
    "dopri8": 12,
}
SPECIAL = (*COMPOSITIONS, *SEMILINEAR)
"""Methods for fields of a structure of their own."""
PAIRS = [(engine, method) for engine, methods in METHODS.items() for method in methods if method not in SPECIAL]
TIGHT: dict[str, Any] = {"rtol": 1e-9, "atol": 1e-11}


def column(t: Tensor, y: Tensor) -> Tensor:
    """Time, scalar or (B,), to multiply y (B, D)."""
    return t if t.dim() == 0 else t.view(-1, *(1,) * (y.dim() - 1))


def pendulum(t: Tensor, y: Tensor) -> Tensor:
    """A driven, damped pendulum: no closed form, so scipy is asked."""
    angle, speed = y.unbind(-1)
    return torch.stack([speed, -angle.sin() - 0.1 * speed + 0.5 * (2 * t).cos()], dim=-1)


def pendulum_by_scipy(start: np.ndarray, times: np.ndarray) -> np.ndarray:
    def field(t, y):
        return [y[1], -np.sin(y[0]) - 0.1 * y[1] + 0.5 * np.cos(2 * t)]

    return solve_ivp(field, (times[0], times[-1]), start, "DOP853", times, rtol=1e-13, atol=1e-13).y.T


class Counting:
    """A field that counts its calls itself, and remembers the times."""

    def __init__(self, field) -> None:
        self.field, self.times = field, []

    def __call__(self, t: Tensor, y: Tensor) -> Tensor:
        self.times.append(t.detach().clone())
        return self.field(t, y)


def complaint(**options) -> str:
    with pytest.raises(InputError) as caught:
        solve_ode(**({"field": lambda t, y: -y, "y0": torch.ones(2, 1), "times": [0.0, 1.0]} | options))
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    return message


# Known solutions


@pytest.mark.parametrize(("engine", "method"), PAIRS)
def test_exponential_decay(engine: str, method: str):
    """y' = -y by every method, and no error grows.

    A fixed step of order p errs by no more than h^(p + 1) |y| with the constants of these methods, and there are 1 / h
    of them; an adaptive one errs by the tolerance, or 512 times that with Fehlberg's estimate.
    """
    times = torch.linspace(0, 1, 101, dtype=torch64)
    y0 = torch.tensor([[1.0], [-3.0]], dtype=torch64)
    options: dict[str, Any] = {"method": method, "engine": engine, "rtol": 1e-6, "atol": 1e-6}
    solved = solve_ode(lambda t, y: -y, y0, times, **options)
    assert solved.states.shape == (2, 101, 1)
    order = {name: table.order for name, table in {**TABLEAUS, **DIAGONALLY_IMPLICIT}.items() if name not in ADAPTIVE}
    order |= {"explicit_adams": 3, "implicit_adams": 4}
    # Between the ends of their long steps these err more than at them: as high a power of h, times a larger constant.
    more = {"fehlberg2": 512, "dopri8": 32, "kencarp4": 32}.get(method, 1)
    adaptive = int(solved.stats.accepted[0]) * 1e-6 * more * (1 + 3)
    bound = 3 * 0.01 ** order[method] if method in order else adaptive
    # The implicit method iterates until the tolerance is met.
    bound += 100 * 1e-6 * (1 + 3) if method == "implicit_adams" else 0
    exact = y0 * torch.exp(-times)
    assert (solved.states[..., 0] - exact).abs().max() < bound
    assert torch.equal(solved.states[:, 0], y0)
    assert (solved.status == Status.OK).all()


def test_a_rotation_keeps_its_radius_and_closes():
    turn = torch.tensor([[0.0, 1.0], [-1.0, 0.0]], dtype=torch64)
    y0 = torch.tensor([[1.0, 0.0], [0.6, -0.8]], dtype=torch64)
    times = torch.linspace(0, 2 * torch.pi, 9, dtype=torch64)
    states = solve_ode(lambda t, y: y @ turn.T, y0, times, **TIGHT).states
    # About a hundred steps, each within rtol.
    torch.testing.assert_close(states.norm(dim=-1), torch.ones(2, 9, dtype=torch64), rtol=0, atol=1e-7)
    torch.testing.assert_close(states[:, -1], y0, rtol=0, atol=1e-7)


def test_states_of_any_shape():
    y0 = torch.randn(2, 3, 4, 5, dtype=torch64, generator=torch.Generator().manual_seed(0))
    for method in ("rk4", "dopri5"):
        for times in (torch.linspace(0, 1, 21, dtype=torch64), torch.linspace(0, 1, 21, dtype=torch64).expand(2, -1)):
            # rk4 with h = 1/20: h^4 / 120 of a fifth derivative below 60.
            states = solve_ode(
                lambda t, y: -2 * column(t, y) * y, y0, times, rtol=1e-7, atol=1e-9, method=method
            ).states
            assert states.shape == (2, 21, 3, 4, 5)
            torch.testing.assert_close(states[:, -1], y0 * np.exp(-1), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("method", ["dopri5", "tsit5", "dopri8", "bosh3", "kencarp4"])
def test_agrees_with_scipy(method: str):
    start, times = np.array([2.5, -1.0]), np.linspace(0, 8, 17)
    tolerance = 1e-6 if method in ("bosh3", "kencarp4") else 1e-9
    solved = solve_ode(
        pendulum, torch.tensor(start)[None], torch.tensor(times), method=method, rtol=tolerance, atol=tolerance
    )
    exact = pendulum_by_scipy(start, times)
    # The pendulum does not amplify: the error is below accepted steps times the tolerance.
    bound = int(solved.stats.accepted[0]) * tolerance * (1 + np.abs(exact).max())
    assert np.abs(solved.states[0].numpy() - exact).max() < bound


# Times of one's own for each sample


@pytest.mark.parametrize(
    ("engine", "method"), [("native", "rk4"), ("native", "ralston"), ("torchdiffeq", "rk4"), ("torchdiffeq", "dopri5")]
)
@pytest.mark.parametrize("step_size", [None, 0.13])
def test_samples_on_their_own_times_equal_samples_alone(engine, method: str, step_size):
    if method == "dopri5" and step_size is not None:
        pytest.skip("adaptive methods take no step size")
    generator = torch.Generator().manual_seed(0)
    times = torch.rand(4, 6, dtype=torch64, generator=generator).cumsum(1)
    y0 = torch.randn(4, 2, dtype=torch64, generator=generator)
    options: dict[str, Any] = {"method": method, "engine": engine, "rtol": 1e-10, "atol": 1e-12}

    def field(t, y):
        return pendulum(t, y) if t.dim() == 0 or len(t) == len(y) else pytest.fail("time is not of the batch")

    count = 1
    if step_size is not None:
        # The whole batch takes as many steps in an interval as its longest needs: give that to each sample alone.
        count = int(np.ceil(float(times.diff(dim=1).max()) / step_size))
    together = solve_ode(field, y0, times, **options, step_size=step_size)
    for i in range(4):
        if step_size is None:
            alone = solve_ode(field, y0[i : i + 1], times[i], **options).states[0]
        else:
            steps = [torch.linspace(a, b, count + 1, dtype=torch64)[:-1] for a, b in times[i].unfold(0, 2, 1).tolist()]
            fine = torch.cat([*steps, times[i, -1:]])
            alone = solve_ode(field, y0[i : i + 1], fine, **options).states[0, ::count]
        # Fixed steps are the same steps; adaptive ones both stand within steps times tolerance of the truth.
        bound = 1e-8 if method == "dopri5" else 1e-12
        torch.testing.assert_close(together.states[i], alone, rtol=0, atol=bound)


def test_samples_on_their_own_times_agree_with_scipy():
    generator = np.random.default_rng(0)
    times, start = generator.uniform(0.05, 1, (5, 7)).cumsum(1), generator.normal(size=(5, 2))
    solved = solve_ode(pendulum, torch.tensor(start), torch.tensor(times), rtol=1e-10, atol=1e-12)
    exact = np.stack([pendulum_by_scipy(y, t) for y, t in zip(start, times, strict=True)])
    bound = int(solved.stats.accepted[0]) * 1e-10 * np.abs(exact).max()
    assert np.abs(solved.states.numpy() - exact).max() < bound


def test_empty_intervals_leave_states_as_they_are():
    """Padding repeats times; interpolation there gives the state, not the quotient 0 / 0."""
    times = torch.tensor([[0.0, 0.0, 1.0, 1.0], [1.0, 2.0, 3.0, 4.0], [2.0, 2.0, 2.0, 2.0]], dtype=torch64)
    y0 = torch.ones(3, 1, dtype=torch64)
    for method in ("rk4", "dopri5"):
        solved = solve_ode(lambda t, y: -y, y0, times, method=method, rtol=1e-8, atol=1e-8)
        still = torch.stack([solved.states[0, 0], solved.states[0, 2], solved.states[2, 0]])
        after = torch.stack([solved.states[0, 1], solved.states[0, 3], solved.states[2, 3]])
        torch.testing.assert_close(after, still, rtol=0, atol=1e-15)
        torch.testing.assert_close(solved.interpolate(times), solved.states, rtol=0, atol=1e-15)
        middle = solved.interpolate(torch.tensor([[0.5], [1.5], [2.0]], dtype=torch64))[..., 0, 0]
        expected = torch.tensor([-0.5, -0.5, 0.0], dtype=torch64).exp()
        # The cubic on an interval of length 1 errs by h^4 / 384 at most; fourth-order steps by a hundredth.
        torch.testing.assert_close(middle, expected, rtol=0, atol=1 / 384 + 1e-2)


@pytest.mark.parametrize(
    ("engine", "method"), [("native", "rk4"), ("torchdiffeq", "dopri5"), ("torchdiffeq", "dopri8")]
)
@pytest.mark.parametrize("own", [False, True])
def test_solving_back_returns_to_the_start(engine, method: str, own: bool):
    generator = torch.Generator().manual_seed(0)
    y0 = torch.randn(3, 2, dtype=torch64, generator=generator)
    times = torch.linspace(0.2, 2.2, 201 if method == "rk4" else 41, dtype=torch64)
    if own:
        times = times * torch.tensor([[1.0], [0.7], [1.3]], dtype=torch64)
    options: dict[str, Any] = {"method": method, "engine": engine} | TIGHT
    there = solve_ode(pendulum, y0, times, **options)
    back = solve_ode(pendulum, there.states[:, -1], times.flip(-1), **options)
    assert torch.equal(back.times, times.flip(-1))
    # rk4 in 200 steps of about 0.01: 2 h^4; dopri: hundreds of steps of 1e-9.
    torch.testing.assert_close(back.states.flip(1), there.states, rtol=0, atol=1e-6)
    # Interpolating a decreasing solution gives what the increasing one gives.
    asked = times[..., :-1] + 0.3 * times.diff(dim=-1)
    torch.testing.assert_close(back.interpolate(asked), there.interpolate(asked), rtol=0, atol=1e-6)


def test_a_single_time_is_the_start():
    y0 = torch.tensor([[1.0, 2.0]], dtype=torch64)
    for method in ("euler", "dopri5", "implicit_adams"):
        for times in (torch.tensor([3.0]), torch.tensor([[3.0]])):
            field = Counting(lambda t, y: -y)
            solved = solve_ode(field, y0, times, method=method)
            assert torch.equal(solved.states, y0.unsqueeze(1))
            assert field.times == []
            assert (int(solved.stats.evaluations), int(solved.stats.accepted)) == (0, 0)
            assert torch.equal(solved.interpolate(torch.tensor([3.0])), y0.unsqueeze(1))


def test_times_may_be_numbers_of_any_kind():
    y0 = torch.ones(1, 1, dtype=torch64)
    expected = solve_ode(lambda t, y: -y, y0, torch.tensor([0.0, 1.0, 2.0], dtype=torch64), method="rk4").states
    for times in ([0, 1, 2], (0.0, 1.0, 2.0), torch.arange(3), torch.arange(3.0)):
        solved = solve_ode(lambda t, y: -y, y0, times, method="rk4")
        assert torch.equal(solved.states, expected)
        assert solved.times.dtype == torch64


# Arguments

Pair = namedtuple("Pair", ["rate", "more"])


def nested_field(t: Tensor, y: Tensor, args) -> Tensor:
    rate, shift = args["pair"].rate, args["pair"].more[0]
    assert rate.shape == y.shape
    return -rate * y + shift.unsqueeze(-1) * torch.ones_like(y)


def nested(batch: int) -> dict:
    rates = torch.linspace(0.5, 2.0, batch, dtype=torch64).unsqueeze(-1).expand(-1, 2)
    return {"pair": Pair(rates, [torch.linspace(-1, 1, batch, dtype=torch64)]), "unused": None}


@pytest.mark.parametrize("method", ["rk4", "dopri5"])
@pytest.mark.parametrize("own", [False, True])
def test_arguments_follow_their_samples(method: str, own: bool):
    """y' = -r y + s has the solution s / r + (y0 - s / r) exp(-r t), with another r and s for each sample."""
    batch, args = 4, nested(4)
    times = torch.linspace(0, 1, 33, dtype=torch64)
    y0 = torch.ones(batch, 2, dtype=torch64)
    solved = solve_ode(nested_field, y0, times.expand(batch, -1) if own else times, args=args, method=method, **TIGHT)
    r, s = args["pair"].rate.unsqueeze(1), args["pair"].more[0].view(-1, 1, 1)

    def exact(t: Tensor) -> Tensor:
        return s / r + (1 - s / r) * torch.exp(-r * t.view(1, -1, 1))

    torch.testing.assert_close(solved.states, exact(times), rtol=0, atol=1e-6)  # rk4: r^5 h^4 / 120
    between = times[:-1] + 1 / 64
    torch.testing.assert_close(solved.interpolate(between), exact(between), rtol=0, atol=1e-6)


def test_an_argument_of_another_length_is_named():
    for wrong in (torch.ones(3, 1), torch.tensor(1.0)):
        message = complaint(field=lambda t, y, args: y, args={"a": [torch.ones(2, 1), (wrong,)]})
        assert "args['a'][1][0]" in message
        assert str(tuple(wrong.shape)) in message
        assert "batch, 2" in message
    assert "args['a'] is a str" in complaint(field=lambda t, y, args: y, args={"a": "word"})


# Counts


@pytest.mark.parametrize("method", list(TABLEAUS))
@pytest.mark.parametrize(("step_size", "steps"), [(None, 3), (0.25, 3 * 4), (0.3, 3 * 4), (1.0, 3), (10.0, 3)])
@pytest.mark.parametrize("own", [False, True])
def test_fixed_steps_cost_steps_times_stages(method: str, step_size, steps: int, own: bool):
    times = torch.tensor([0.0, 0.5, 1.0, 2.0])
    times = times.expand(2, -1) if own else times
    if method in ADAPTIVE and step_size is None:
        pytest.skip("without a step size this method chooses its own")
    field = Counting(lambda t, y: -y)
    solved = solve_ode(field, torch.ones(2, 1), times, method=method, step_size=step_size)
    assert TABLEAUS[method].stages == STAGES[method]
    assert len(field.times) == steps * STAGES[method]
    assert solved.stats.evaluations.tolist() == [len(field.times)] * 2
    assert solved.stats.accepted.tolist() == [steps] * 2
    assert solved.stats.rejected.tolist() == [0] * 2


@pytest.mark.parametrize("engine", ["native", "torchdiffeq"])
@pytest.mark.parametrize("dtype", [torch.float32, torch64])
@pytest.mark.parametrize("step_size", [0.07, 0.1, 1 / 3, 0.5, 5.0])
def test_no_step_is_longer_than_asked_and_few_are_shorter_than_need_be(engine, dtype: torch.dtype, step_size: float):
    times = torch.linspace(0, 1, 11, dtype=dtype) * 3
    field = Counting(lambda t, y: -y)
    solve_ode(field, torch.ones(1, 1, dtype=dtype), times, method="euler", engine=engine, step_size=step_size)
    visited = torch.stack([*field.times, times[-1]]).double()
    rounding = 3 * 2 * torch.finfo(dtype).eps
    assert visited.diff().max() <= step_size + rounding
    assert len(field.times) == 10 * int(np.ceil(0.3 / step_size - 1e-9))
    assert torch.isin(times.double(), visited).all()  # every output time is the end of a step


@pytest.mark.parametrize(
    # After the slope at the start and the trial of the first step, each step costs its stages but the first, which is
    # the last of the step before (FSAL) in all of these.
    ("method", "stages"),
    [("dopri5", 6), ("tsit5", 6), ("bosh3", 3), ("fehlberg2", 2), ("adaptive_heun", 1)],
)
def test_adaptive_evaluations_come_from_accepted_and_rejected_steps(method: str, stages: int):
    field = Counting(lambda t, y: 50 * torch.cos(25 * t**2) * torch.ones_like(y))
    solved = solve_ode(field, torch.zeros(2, 1), [0.0, 1.0, 2.0], method=method, rtol=1e-3, atol=1e-3)
    evaluations, accepted, rejected = (
        int(count[0]) for count in (solved.stats.evaluations, solved.stats.accepted, solved.stats.rejected)
    )
    assert evaluations == len(field.times) == 2 + stages * (accepted + rejected)
    assert accepted > 10
    assert rejected > 0
    assert solved.stats.evaluations.tolist() == [evaluations] * 2


def test_tighter_tolerances_cost_more():
    counts = [
        int(solve_ode(pendulum, torch.ones(1, 2, dtype=torch64), [0.0, 5.0], rtol=tol, atol=tol).stats.evaluations[0])
        for tol in (1e-3, 1e-6, 1e-9)
    ]
    assert counts == sorted(set(counts))


# Refusals


@pytest.mark.parametrize(
    ("options", "pattern"),
    [
        ({"method": "dopri_5"}, "unknown method 'dopri_5': did you mean 'dopri5'"),
        ({"method": "RK4 "}, "unknown method 'RK4 ': did you mean 'rk4'"),
        ({"method": "fehlberg2", "engine": "native"}, "unknown method 'fehlberg2'.*Known: euler"),
        ({"engine": "nativ"}, "unknown engine 'nativ': did you mean 'native'"),
        ({"stepping": "per_sample", "method": "rk4"}, "stepping='per_sample'.*with fixed steps: take shared"),
        ({"stepping": "per_sample", "step_size": 0.1}, "stepping='per_sample'.*with fixed steps: take shared"),
        (
            {"stepping": "per_sample", "engine": "torchdiffeq"},
            "stepping='per_sample' is not available in engine 'torchdiffeq': take shared",
        ),
        ({"stepping": "share"}, "unknown stepping 'share': did you mean 'shared'"),
        ({"stepping": "per_sample", "gradient": "adjoint"}, "gradient='adjoint' is not available with stepping"),
        ({"gradient": "checkpoint", "engine": "torchdiffeq"}, "gradient='checkpoint'.*take direct or adjoint"),
        ({"gradient": "reversible"}, "gradient='reversible' takes fixed steps: give step_size"),
        ({"gradient": "adjoint", "method": "kencarp4"}, "gradient='adjoint'.*method 'kencarp4': take direct"),
        ({"gradient": "adjont"}, "unknown gradient 'adjont': did you mean 'adjoint'"),
        ({"on_failure": "last", "engine": "torchdiffeq"}, "on_failure='last' is not available.*take raise or nan"),
        ({"on_failure": "rais"}, "unknown on_failure 'rais': did you mean 'raise'"),
        ({"event": lambda t, y: y[:, 0], "method": "rk4"}, "an event takes the steps of an adaptive.*method 'rk4'"),
        ({"event": lambda t, y: y[:, 0], "gradient": "adjoint"}, "gradient='adjoint' is not available with an event"),
        ({"dense": True, "method": "rk4"}, "dense=True is for adaptive methods"),
        ({"dense": True, "stepping": "per_sample"}, "dense=True is for adaptive methods"),
        ({"dense": True, "engine": "torchdiffeq"}, "dense=True is for adaptive methods of the native engine"),
        ({"compile": True, "engine": "torchdiffeq"}, "compile='True' is not available"),
        ({"compile": True, "method": "trapezoid"}, "compile='True' is not available"),
        ({"step_size": 0.1, "engine": "torchdiffeq"}, "step_size=0.1 with the adaptive method 'dopri5'"),
        ({"method": "leapfrog"}, "needs a separable field, got function"),
        ({"method": "etdrk4"}, "without linear and nonlinear parts: give Semilinear"),
        ({"field": lambda t, y: y[:1]}, r"the field returned shape \(1, 1\) for a state of shape \(2, 1\)"),
        ({"field": lambda t, y: y.double()}, "the field returned torch.float64 for a state of torch.float32"),
        ({"field": lambda t, y: (y, y)}, "the field returned a tuple: return dy/dt as a tensor"),
        ({"step_size": 0.0, "method": "rk4"}, "step_size must be positive, got 0.0"),
        ({"step_size": -1.0, "method": "rk4"}, "step_size must be positive"),
        ({"step_size": float("nan"), "method": "rk4"}, "step_size must be positive"),
        ({"rtol": -1e-3}, "rtol=-0.001 and atol=1e-06 must not be negative"),
        ({"rtol": 0.0, "atol": 0.0}, "not both zero"),
        ({"times": [0.0, 2.0, 1.0]}, "strictly increasing or strictly decreasing, got"),
        ({"times": [0.0, 1.0, 1.0]}, "strictly increasing"),
        ({"times": [0.0, float("nan")]}, r"times must be finite, got \[nan\]"),
        ({"times": torch.tensor([[0.0, 2.0, 1.0], [0.0, 1.0, 2.0]])}, "times of sample 0 turn back"),
        ({"times": []}, r"times must be \(T,\) or \(B, T\) with T >= 1"),
        ({"times": torch.tensor(1.0)}, "times must be"),
        ({"times": torch.zeros(1, 2, 3)}, "times must be"),
        ({"times": torch.zeros(3, 4)}, "times has 3 rows for a batch of 2"),
        ({"y0": torch.tensor(1.0)}, "y0 must be floating point with a batch dimension"),
        ({"y0": torch.ones(2, 1, dtype=torch.int64)}, "y0 must be floating point"),
        ({"method": "explicit_adams", "times": [0.0, 1.0, 3.0]}, "explicit_adams needs evenly spaced times"),
        ({"method": "dopri5", "gradient": "adjoint"}, "gradient='adjoint'.*torch.nn.Module|nn.Module"),
    ],
)
def test_every_mistake_is_one_line_that_names_the_cure(options: dict, pattern: str):
    assert re.search(pattern, complaint(**options))


def test_evenly_spaced_times_are_known_in_any_precision():
    for dtype in (torch.float32, torch64):
        times = torch.linspace(10, 13, 301, dtype=dtype)
        solved = solve_ode(lambda t, y: -y, torch.ones(1, 1, dtype=dtype), times, method="explicit_adams")
        assert float(solved.states[0, -1]) == pytest.approx(np.exp(-3), rel=1e-5)


# Failures


def explode(t: Tensor, y: Tensor) -> Tensor:
    """y' = y^2 from 1 is 1 / (1 - t), with a pole at t = 1."""
    return y**2


@pytest.mark.parametrize("method", ["dopri5", "tsit5", "dopri8", "bosh3", "kvaerno3"])
@pytest.mark.parametrize("own", [False, True])
def test_a_pole_is_reported_or_returned_as_nan_or_as_the_last_state(method: str, own: bool):
    times = torch.tensor([0.0, 0.5, 2.0], dtype=torch64)
    times = times.expand(2, -1) if own else times
    y0 = torch.ones(2, 1, dtype=torch64)
    near = r"at time (1|1\.0+[0-9]+|0\.9+[0-9]*), "
    with pytest.raises(SolveError, match=f"{method} could not go on: {near}.*stiff") as caught:
        solve_ode(explode, y0, times, method=method)
    assert len(str(caught.value).splitlines()) == 1
    lost = solve_ode(explode, y0, times, method=method, on_failure="nan", rtol=1e-6, atol=1e-8)
    # What was reached before the pole is kept: 1 / (1 - 0.5).
    torch.testing.assert_close(lost.states[:, 1], torch.full_like(y0, 2.0), rtol=1e-4, atol=0)
    assert lost.states[:, 2].isnan().all()
    assert set(lost.status.tolist()) <= {Status.NONFINITE, Status.STEP_TOO_SMALL}
    assert (lost.stats.evaluations > 0).all()
    last = solve_ode(explode, y0, times, method=method, on_failure="last", rtol=1e-6, atol=1e-8)
    assert torch.equal(last.states[:, 1], lost.states[:, 1])
    assert (last.states[:, 2] > 1e6).all()  # the state when the step became too small
    assert torch.isfinite(last.states).all()
    assert torch.equal(last.status, lost.status)


def test_a_field_that_is_not_a_number_is_named_with_time_and_sample():
    def broken(t: Tensor, y: Tensor) -> Tensor:
        return torch.where((t > 0.3) & (y == 2.0), torch.nan, torch.zeros_like(y))

    y0 = torch.tensor([[1.0], [2.0], [3.0]])
    with pytest.raises(SolveError, match=r"at time 0\.(2\d*|3), the step shrank to .* not finite in sample 1"):
        solve_ode(broken, y0, [0.0, 1.0])
    # Euler's fifth step is the first to start after 0.3, and the fourth where 0.3 rounds to more.
    step = r"in step (4 of 10, from time 0\.3, to output 4|5 of 10, from time 0\.4, to output 5)"
    with pytest.raises(SolveError, match=rf"sample 1 is infinite or not a number {step}"):
        solve_ode(broken, y0, torch.linspace(0, 1, 11), method="euler")
    with pytest.raises(SolveError, match=r"sample 1 is .* in step 7 of 20, from time 0\.3\d*, to output 1"):
        solve_ode(broken, y0, [0.0, 0.5, 1.0], method="midpoint", step_size=0.05)
    with pytest.raises(SolveError, match=r"sample 1 is infinite or not a number at time 0, output 0"):
        solve_ode(lambda t, y: -y, torch.tensor([[1.0], [torch.nan]]), [0.0, 1.0], method="rk4")
    with pytest.raises(SolveError, match="the field is not finite at the start in sample 1"):
        solve_ode(lambda t, y: 1 / (y - 2.0), y0, [0.0, 1.0])


def test_a_state_beyond_its_precision_is_reported_on_one_line():
    with pytest.raises(SolveError) as caught:
        solve_ode(lambda t, y: torch.full_like(y, 1e38), torch.full((40, 40), 3e38), [0.0, 1.0, 5.0])
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 400


def test_running_out_of_steps_is_reported():
    with pytest.raises(SolveError, match=r"max_steps=3 did not suffice.*loosen rtol=1e-08") as caught:
        solve_ode(pendulum, torch.ones(1, 2), [0.0, 50.0], rtol=1e-8, max_steps=3)
    assert len(str(caught.value).splitlines()) == 1
    short = solve_ode(pendulum, torch.ones(1, 2), [0.0, 50.0], rtol=1e-8, max_steps=3, on_failure="nan")
    assert short.status.tolist() == [Status.MAX_STEPS]
    assert int(short.stats.accepted[0] + short.stats.rejected[0]) == 3
    enough = solve_ode(pendulum, torch.ones(1, 2), [0.0, 1.0], max_steps=1000)
    assert (enough.status == Status.OK).all()


@pytest.mark.parametrize("engine", ["native", "torchdiffeq"])
def test_fixed_steps_that_overflow_tell_which_sample(engine):
    y0 = torch.tensor([[-1.0], [5.0], [0.0]])
    options: dict[str, Any] = {"method": "euler", "engine": engine, "on_failure": "nan"}
    solved = solve_ode(explode, y0, torch.linspace(0, 4, 21), **options)
    assert solved.status.tolist() == [Status.OK, Status.NONFINITE, Status.OK]
    assert torch.isfinite(solved.states[[0, 2]]).all()
    assert not torch.isfinite(solved.states[1, -1]).any()


# Jumps, and what may be at work around a solve


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("backward", [False, True])
def test_no_step_straddles_a_jump(backward: bool, own: bool):
    """y' = 1, and 5 after t = 1/3: piecewise linear, which every method solves exactly but for the step at the jump."""
    field = Counting(lambda t, y: (1 + 4.0 * (column(t, y) > 1 / 3)) * torch.ones_like(y))
    times = torch.tensor([0.0, 0.2, 1.0], dtype=torch64)
    times = times.flip(0) if backward else times
    options: dict[str, Any] = {"control": StepControl(jump_times=(1 / 3,)), "rtol": 1e-7, "atol": 1e-9}
    options |= {"stepping": "per_sample"} if own else {}
    states = solve_ode(field, torch.zeros(2, 1, dtype=torch64), times, **options).states
    rise = 1 / 3 + 5 * 2 / 3
    expected = torch.tensor([0.0, 0.2 - rise, -rise] if backward else [0.0, 0.2, rise], dtype=torch64)
    torch.testing.assert_close(states[0, :, 0], expected, rtol=1e-14, atol=1e-14)
    assert len(field.times) < 60  # without the jump's time some two hundred


def test_an_output_at_a_jump_moves_without_it():
    """y' = y, and 5 y after t = 0.5: y(0.5) = exp(0.5) has there the slope before, and y(1) does not depend on it."""
    times = torch.tensor([0.0, 0.5, 1.0], dtype=torch64, requires_grad=True)
    states = solve_ode(
        lambda t, y: (1 + 4.0 * (t > 0.5)) * y,
        torch.ones(1, 1, dtype=torch64),
        times,
        control=StepControl(jump_times=(0.5,)),
        rtol=1e-9,
        atol=1e-11,
    ).states[0, :, 0]
    (middle,) = torch.autograd.grad(states[1], times, retain_graph=True)
    torch.testing.assert_close(middle, torch.tensor([-1.0, 1.0, 0.0]).double() * np.exp(0.5), rtol=1e-7, atol=1e-7)
    (last,) = torch.autograd.grad(states[2], times)
    end = np.exp(0.5 + 2.5)
    torch.testing.assert_close(last, torch.tensor([-end, 0.0, 5 * end], dtype=torch64), rtol=1e-7, atol=1e-6)


def test_autocast_takes_no_digits_of_the_solver():
    """The field may run in half precision; sums of slopes must not."""
    times = torch.linspace(0, 1, 5)
    cases: list[dict[str, Any]] = [{}, {"method": "rk4", "step_size": 0.1}, {"stepping": "per_sample"}]
    for options in cases:
        for mode in (torch.enable_grad, torch.no_grad):
            with torch.autocast("cpu", dtype=torch.bfloat16), mode():
                states = solve_ode(lambda t, y: -y, torch.ones(1, 1), times, **options).states
            assert states.dtype == torch.float32
            # The tolerance is 1e-4; a product in bfloat16 errs by 4e-3.
            torch.testing.assert_close(states[0, :, 0], torch.exp(-times), rtol=0, atol=1e-4)


@pytest.mark.parametrize("method", ["rk4", "dopri5"])
def test_forward_mode_reaches_state_and_times(method: str):
    def end(y0: Tensor, last: Tensor) -> Tensor:
        times = torch.stack([torch.zeros_like(last), last])
        return solve_ode(lambda t, y: -y, y0, times, method=method, rtol=1e-9, atol=1e-9).states[0, -1, 0]

    y0, last = torch.ones(1, 1, dtype=torch64), torch.tensor(0.1, dtype=torch64)
    tangent: Any = torch.func.jvp(end, (y0, last), (torch.ones_like(y0), torch.ones_like(last)))[1]
    # The derivatives of y0 exp(-t) by t and by y0 cancel; rk4's by t errs by h^4 / 24 = 4e-6.
    assert abs(float(tangent)) < 1e-5
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(last, torch.ones_like(last))
        moved: Any = torch.autograd.forward_ad.unpack_dual(end(y0, dual)).tangent
    assert float(moved) == pytest.approx(-np.exp(-0.1), abs=1e-5)


def test_a_field_that_is_a_gradient():
    """y' = -d(y^4 / 4)/dy = -y^3 has the solution (y0^-2 + 2 t)^(-1/2)."""

    def descent(t: Tensor, y: Tensor) -> Tensor:
        with torch.enable_grad():
            y = y if y.requires_grad else y.detach().requires_grad_()
            return -torch.autograd.grad((y**4).sum() / 4, y, create_graph=True)[0]

    y0 = torch.ones(2, 1, dtype=torch64, requires_grad=True)
    cases: list[dict[str, Any]] = [{}, {"stepping": "per_sample"}, {"method": "rk4", "step_size": 0.02}]
    for options in cases:
        end = solve_ode(descent, y0, [0.0, 1.0], **TIGHT | options).states[:, -1]
        # rk4: a hundredth of 50 steps of h^5.
        torch.testing.assert_close(end, torch.full_like(end, 3**-0.5), rtol=1e-8, atol=1e-8)
        (slope,) = torch.autograd.grad(end.sum(), y0)
        torch.testing.assert_close(slope, torch.full_like(slope, 3**-1.5), rtol=1e-7, atol=1e-7)


def test_many_cotangents_at_once():
    field, y0 = MLP(3, (8,)).double(), torch.randn(5, 3, dtype=torch64, requires_grad=True)
    end = solve_ode(field, y0, [0.0, 1.0], method="rk4").states[:, -1].flatten()
    (at_once,) = torch.autograd.grad(end, y0, torch.eye(15).double(), is_grads_batched=True, retain_graph=True)
    one_by_one = torch.stack([torch.autograd.grad(value, y0, retain_graph=True)[0] for value in end])
    torch.testing.assert_close(at_once, one_by_one)


@pytest.mark.parametrize("stepping", ["shared", "per_sample"])
@pytest.mark.parametrize("method", ["kvaerno3", "kencarp4"])
def test_outputs_of_a_stiff_solve_are_as_good_as_its_last(method: str, stepping: Any):
    """y' = -k (y - cos t) follows (k^2 cos t + k sin t) / (k^2 + 1) after a time of some 1 / k."""
    k, times = 1e5, torch.tensor([0.0, 1.0, 2.0, 3.0], dtype=torch64)
    options: dict[str, Any] = {"method": method, "rtol": 1e-6, "atol": 1e-6, "stepping": stepping}
    y0 = torch.zeros(1, 1, dtype=torch64)
    states = solve_ode(lambda t, y: -k * (y - column(t, y).cos()), y0, times, **options).states[0, 1:, 0]
    exact = (k**2 * times.cos() + k * times.sin())[1:] / (k**2 + 1)
    # A step errs by the tolerance, 1e-6 (1 + |y|), and the equation forgets it before the next.
    torch.testing.assert_close(states, exact, rtol=0, atol=4e-6)


def test_a_slope_whose_square_overflows_is_no_failure():
    states = solve_ode(lambda t, y: torch.full_like(y, 1e30), torch.zeros(1, 2), [0.0, 1.0]).states
    torch.testing.assert_close(states[:, -1], torch.full((1, 2), 1e30), rtol=1e-4, atol=0)


def test_states_may_be_complex():
    """y' = i w y turns in the plane."""
    y0 = torch.tensor([[1.0 + 0j], [0.5 - 2j]], dtype=torch.complex128)
    cases: list[dict[str, Any]] = [{}, {"method": "rk4", "step_size": 1e-3}, {"stepping": "per_sample"}]
    for options in cases:
        states = solve_ode(lambda t, y: 2j * y, y0, [0.0, 0.3, 1.0], **TIGHT | options).states
        torch.testing.assert_close(states[:, 2], y0 * np.exp(2j), rtol=1e-7, atol=1e-7)


# The adjoint


class Driven(nn.Module):
    """y' = -a tanh y + sin(t) u, with a learned and u an argument."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.tensor([0.7, 1.3], dtype=torch64))
        self.frozen = nn.Parameter(torch.ones(1, dtype=torch64), requires_grad=False)

    def forward(self, t: Tensor, y: Tensor, u: Tensor) -> Tensor:
        return -self.a * y.tanh() + (column(t, y).sin() * u)


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("method", ["dopri5", "dopri8"])
def test_adjoint_gradients_agree_with_direct_ones_and_with_finite_differences(own: bool, backward: bool, method: str):
    field, generator = Driven(), torch.Generator().manual_seed(0)
    times = torch.tensor([0.0, 0.4, 1.5, 1.9], dtype=torch64)
    if own:
        times = (
            times * torch.tensor([[1.0], [0.5], [1.2]], dtype=torch64) + torch.tensor([[0.0], [1.0], [2.0]]).double()
        )
    times = (times.flip(-1) if backward else times).requires_grad_()
    y0 = torch.rand(3, 2, dtype=torch64, generator=generator).requires_grad_()
    u = torch.rand(3, 2, dtype=torch64, generator=generator).requires_grad_()
    weights = torch.randn(3, 4, 2, dtype=torch64, generator=generator)

    def loss(gradient, y0=y0, times=times, u=u):
        options: dict[str, Any] = {"method": method, "rtol": 1e-9, "atol": 1e-10, "gradient": gradient}
        return (solve_ode(field, y0, times, args=2 * u, **options).states * weights).sum()

    direct = torch.autograd.grad(loss("direct"), (y0, times, u, field.a))
    adjoint = torch.autograd.grad(loss("adjoint"), (y0, times, u, field.a))
    for one, other in zip(adjoint, direct, strict=True):
        # About a hundred steps within 1e-9 on either side, forwards and back, and the slope of dense output in between,
        # which is of one order less than its value.
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)

    nudge = 1e-5
    for place, tensor in enumerate((y0, times, u)):
        direction = torch.randn(tensor.shape, dtype=torch64, generator=generator)
        with torch.no_grad():
            moved = [
                loss(
                    "direct", *(x + sign * nudge * direction if i == place else x for i, x in enumerate((y0, times, u)))
                )
                for sign in (1, -1)
            ]
        # Central differences: nudge^2 of curvature and 1e-10 / nudge of solver error.
        difference = (moved[0] - moved[1]) / (2 * nudge)
        torch.testing.assert_close((adjoint[place] * direction).sum(), difference, rtol=1e-4, atol=1e-5)


def test_the_adjoint_leaves_frozen_parameters_alone():
    field = Driven()
    y0, u = torch.ones(1, 2, dtype=torch64), torch.ones(1, 2, dtype=torch64)
    solve_ode(field, y0, [0.0, 1.0], args=u, gradient="adjoint").states.sum().backward()
    assert field.frozen.grad is None
    assert field.a.grad is not None
    assert (field.a.grad != 0).all()
