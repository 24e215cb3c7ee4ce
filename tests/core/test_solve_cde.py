"""Controlled differential equations against closed forms, torchcde and their own samples alone."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from integrand.core.errors import InputError
from integrand.core.numerics.solve_cde import solve_cde
from integrand.core.paths import (
    HermitePath,
    LinearPath,
    NaturalCubicPath,
    Path,
    RectilinearPath,
    hermite_coefficients,
    linear_coefficients,
    natural_cubic_coefficients,
    pad_times,
    rectilinear_coefficients,
)

torch64 = torch.float64
B, L, C, H = 3, 7, 2, 4


def data(*, own_times: bool = False) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    values = torch.randn(B, L, C, generator=generator, dtype=torch64)
    times = (0.3 + 0.7 * torch.rand(B, L, generator=generator, dtype=torch64)).cumsum(1)
    return values, times if own_times else times[0]


def make(kind: str, values: Tensor, times: Tensor) -> Path:
    if kind == "linear":
        return LinearPath(linear_coefficients(values, times), times)
    if kind == "hermite":
        return HermitePath(hermite_coefficients(values, times), times)
    if kind == "natural_cubic":
        return NaturalCubicPath(natural_cubic_coefficients(values, times), times)
    return RectilinearPath(rectilinear_coefficients(values, times))


kinds = pytest.mark.parametrize("kind", ["linear", "hermite", "natural_cubic"])


class Commuting(nn.Module):
    """dz = (a_1 M + b_1 I) z dX^1 + ..., whose matrices commute, so that z(t) = expm(A (X(t) - X(0))) z0."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        m = torch.randn(H, H, generator=generator, dtype=torch64) / H
        weights = torch.randn(channels, 2, generator=generator, dtype=torch64)
        self.a = nn.Parameter((weights[:, :1, None] * m + weights[:, 1:, None] * torch.eye(H, dtype=torch64)) / 4)

    def forward(self, t: Tensor, z: Tensor) -> Tensor:
        return torch.einsum("chk,bk->bhc", self.a, z)

    def solution(self, path: Path, z0: Tensor, times: Tensor) -> Tensor:
        moved = path.evaluate(times) - path.evaluate(times[..., :1])
        return (torch.linalg.matrix_exp(torch.einsum("chk,btc->bthk", self.a, moved)) @ z0[:, None, :, None]).squeeze(
            -1
        )


class Network(nn.Module):
    """A small field, nonlinear and with time in it."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.inner, self.outer = nn.Linear(H + 1, 8), nn.Linear(8, H * C)
        self.double()

    def forward(self, t: Tensor, z: Tensor) -> Tensor:
        t_B1 = t.to(z).expand(len(z)).unsqueeze(-1)
        return torch.tanh(self.outer(torch.tanh(self.inner(torch.cat([z, t_B1], dim=-1))))).view(-1, H, C)


def start() -> Tensor:
    return torch.randn(B, H, generator=torch.Generator().manual_seed(5), dtype=torch64)


@pytest.mark.parametrize("kind", ["linear", "hermite", "natural_cubic", "rectilinear"])
@pytest.mark.parametrize("own_times", [False, True])
@pytest.mark.parametrize("options", [{"step_size": 0.02}, {"method": "dopri5", "rtol": 1e-8, "atol": 1e-8}], ids=str)
def test_commuting_matrices_have_the_known_solution(kind: str, own_times: bool, options: dict):
    """At output times on and between the knots.

    With |A dX/dt| below 2 a step of 0.02 errs by some (0.04)^5 / 120, below 1e-9, and an adaptive one by 1e-8; after
    some hundred steps, which the flow amplifies less than tenfold, less than 1e-5 has come together.
    """
    values, times = data(own_times=own_times)
    path, field, z0 = make(kind, values, times), None, start()
    field = Commuting(path.channels)
    first, last = path.times[..., :1], path.times[..., -1:]
    asked = first + torch.tensor([0.0, 0.13, 0.5, 0.8, 1.0], dtype=torch64) * (last - first)
    solution = solve_cde(field, path, z0, asked, **options)
    expected = field.solution(path, z0, asked)
    assert solution.states.shape == (B, 5, H)
    torch.testing.assert_close(solution.states, expected, rtol=1e-5, atol=1e-5)
    assert (solution.status == 0).all()


@pytest.mark.parametrize("method", ["euler", "midpoint", "heun", "ralston", "rk4"])
def test_each_step_sees_its_own_side_of_a_knot(method: str):
    """dz = z dX along straight lines multiplies z by the method's stability polynomial of each increment, exactly.

    A stage that took the slope of the neighbouring interval at a knot would bring that interval's increment in.
    """
    values, times = data()
    values = values[..., :1]
    path, z0 = LinearPath(values, times), torch.ones(B, 1, dtype=torch64)
    order = {"euler": 1, "rk4": 4}.get(method, 2)
    powers = [1, 1, 1 / 2, 1 / 6, 1 / 24][: order + 1]
    step = values.diff(dim=1)
    factors = torch.stack([p * step**n for n, p in enumerate(powers)]).sum(0)
    expected = torch.cat([z0.unsqueeze(1), torch.cumprod(factors, dim=1)], dim=1)
    solution = solve_cde(lambda t, z: z.unsqueeze(-1), path, z0, times, method=method)
    torch.testing.assert_close(solution.states, expected, rtol=1e-13, atol=1e-13)
    stages = {"euler": 1, "rk4": 4}.get(method, 2)
    assert solution.stats.accepted.tolist() == [L - 1] * B
    assert solution.stats.evaluations.tolist() == [stages * (L - 1)] * B


def test_the_path_is_looked_at_once():
    """All derivatives of all stages of all steps come of one call."""
    values, times = data()
    path = make("hermite", values, times)
    calls: list[tuple[int, ...]] = []
    found = path.derivative

    def derivative(t: Tensor, *, interval: Tensor | None = None) -> Tensor:
        calls.append(tuple(t.shape))
        return found(t, interval=interval)

    path.derivative = derivative
    solve_cde(Network(), path, start(), times, step_size=0.1)
    steps = 6 * int(np.ceil(times.diff().max().item() / 0.1))
    assert calls == [(3 * steps,)]  # rk4 has three places in a step


@pytest.mark.parametrize(
    ("kind", "method"),
    [*((kind, "rk4") for kind in ("linear", "hermite", "natural_cubic")), ("linear", "dopri5"), ("hermite", "dopri5")],
)
def test_a_batch_is_its_samples_and_padding_changes_nothing(kind: str, method: str):
    """Times of one's own and unequal lengths.

    Fixed steps are the same but for rounding. Adaptive ones are chosen for the whole batch, so a sample alone takes
    others: each solve is within some hundred steps' tolerances of 1e-6, amplified less than tenfold.
    """
    values, times = data(own_times=True)
    lengths = torch.tensor([L, 4, 2])
    padded = pad_times(times, lengths)
    tolerance = 1e-12 if method == "rk4" else 1e-3
    options = {"method": method, "rtol": 1e-6, "atol": 1e-6}
    field, z0 = Network(), start().requires_grad_()
    asked = padded[:, [0, 1, 3, 6]]
    together = solve_cde(field, make(kind, values, padded), z0, asked, **options).states
    alone = []
    for b, length in enumerate(lengths.tolist()):
        path = make(kind, values[b : b + 1, :length], times[b, :length])
        alone.append(solve_cde(field, path, z0[b : b + 1], asked[b].unique(), **options).states)
        reached = [min(place, length - 1) for place in (0, 1, 3, 6)]
        _, which = torch.tensor(reached).unique(return_inverse=True)
        alone[-1] = alone[-1][:, which]
        torch.testing.assert_close(together[b : b + 1], alone[-1], rtol=tolerance, atol=tolerance)
    if method != "rk4":
        return  # an adaptive solve's derivative is that of the steps it chose
    expected = torch.autograd.grad(torch.cat(alone).square().sum(), (z0, *field.parameters()))
    found = torch.autograd.grad(together.square().sum(), (z0, *field.parameters()))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=10 * tolerance, atol=10 * tolerance)


@kinds
def test_solved_there_and_back(kind: str):
    """Backwards in time the same path undoes what it did; rk4 with steps of 0.01 is within 1e-9 of either way."""
    values, times = data(own_times=True)
    path, field = make(kind, values, times), Network()
    there = solve_cde(field, path, start(), times[:, [0, 3, 6]], step_size=0.01)
    back = solve_cde(field, path, there.states[:, -1], times[:, [6, 3, 0]], step_size=0.01)
    torch.testing.assert_close(back.states.flip(1), there.states, rtol=0, atol=1e-8)


@kinds
def test_equals_torchcde_at_tight_tolerance(kind: str):
    """Some hundred steps, each within 1e-8 on both sides; torchcde is told where the kinks are, and steps onto them."""
    torchcde = pytest.importorskip("torchcde")
    values, times = data()
    theirs = {
        "linear": lambda: torchcde.LinearInterpolation(torchcde.linear_interpolation_coeffs(values, times), times),
        "hermite": lambda: torchcde.CubicSpline(
            torchcde.hermite_cubic_coefficients_with_backward_differences(values, times), times
        ),
        "natural_cubic": lambda: torchcde.CubicSpline(torchcde.natural_cubic_coeffs(values, times), times),
    }[kind]()
    field, z0 = Network(), start()
    tight = {"method": "dopri5", "rtol": 1e-8, "atol": 1e-8}
    options = {"jump_t": times[1:-1]} if kind == "linear" else {}
    expected = torchcde.cdeint(theirs, field, z0, times, adjoint=False, options=options, **tight)
    ours = solve_cde(field, make(kind, values, times), z0, times, **tight)
    torch.testing.assert_close(ours.states, expected, rtol=0, atol=1e-5)


def test_arguments_follow_their_samples():
    """dz = k z dX has the solution z0 exp(k (X - X(0)))."""
    values, times = data(own_times=True)
    values, k = values[..., :1], torch.tensor([[0.5], [-1.0], [2.0]], dtype=torch64)
    z0 = torch.ones(B, 1, dtype=torch64)
    for kind, options in [
        ("hermite", {"step_size": 0.01}),
        ("linear", {"method": "dopri5", "rtol": 1e-9, "atol": 1e-9}),
    ]:
        path = make(kind, values, times)
        found = solve_cde(lambda t, z, k: (k * z).unsqueeze(-1), path, z0, times, args=k, **options).states
        expected = torch.exp(k.unsqueeze(1) * (values - values[:, :1]))
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


def test_any_control_with_knots_will_do():
    """dz = z d(sin t): the protocol asks for knots, channels, kinks and the derivative."""

    class Sine:
        times, channels, kinks = torch.linspace(0, 3, 4, dtype=torch64), 1, False

        def derivative(self, t: Tensor, *, interval: Tensor | None = None) -> Tensor:
            return torch.cos(t).expand(B, t.shape[-1]).unsqueeze(-1)

    z0 = torch.ones(B, 1, dtype=torch64)
    solution = solve_cde(lambda t, z: z.unsqueeze(-1), Sine(), z0, [0.0, 2.0], step_size=0.01)
    torch.testing.assert_close(solution.states[:, -1], torch.sin(torch.tensor(2.0, dtype=torch64)).exp().expand(B, 1))


@pytest.mark.parametrize("own_times", [False, True])
def test_interpolation_where_the_path_is_smooth(own_times: bool):
    values, times = data(own_times=own_times)
    path, z0 = make("natural_cubic", values, times), start()
    field = Commuting(C)
    share = torch.linspace(0, 1, 401, dtype=torch64)
    fine = times[..., :1] + share * (times[..., -1:] - times[..., :1])
    solution = solve_cde(field, path, z0, fine)
    between = (fine[..., 1:] + fine[..., :-1]) / 2
    # h^4 / 384 times the fourth derivative, with h about 0.01 and that below 1e4.
    expected = field.solution(path, z0, torch.cat([fine[..., :1], between], -1))[:, 1:]
    torch.testing.assert_close(solution.interpolate(between), expected, rtol=0, atol=1e-6)
    with pytest.raises(ValueError, match="ask the solver for these times instead"):
        solve_cde(field, make("linear", values, times), z0, fine).interpolate(between)


def test_a_single_time_and_an_empty_span():
    values, times = data()
    z0 = start()
    for method in ("rk4", "dopri5"):
        for kind in ("linear", "hermite"):
            path = make(kind, values, times)
            found = solve_cde(Network(), path, z0, times[:1], method=method)
            assert torch.equal(found.states, z0.unsqueeze(1))
            assert found.stats.evaluations.tolist() == [0] * B
    waiting = solve_cde(Network(), make("linear", values, times), z0, times[[2, 2]], step_size=0.1)
    assert torch.equal(waiting.states, z0.unsqueeze(1).expand(B, 2, H))


def test_types():
    """The state's type is kept, whatever the path's; under autocast steps are added in the state's own type."""
    values, times = data()
    path, z0 = make("hermite", values, times), start()
    field = Network()
    exact = solve_cde(field, path, z0, times).states
    single = solve_cde(field.float(), path, z0.float(), times).states
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), exact, rtol=0, atol=1e-5)
    kinked = make("linear", values, times)  # knots that single precision cannot hold
    adaptive = solve_cde(field, kinked, z0.float(), times, method="dopri5", rtol=1e-5, atol=1e-5).states
    tight = solve_cde(field.double(), kinked, z0, times, method="dopri5", rtol=1e-9, atol=1e-9).states
    torch.testing.assert_close(adaptive.double(), tight, rtol=0, atol=1e-2)  # some hundred steps, amplified tenfold
    field.float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = solve_cde(field, path, z0.float(), times).states
    assert mixed.dtype == torch.float32
    assert (mixed - single).abs().max() > 0
    # The field's values are rounded to 8 bits, each increment therefore to a share of 2^-8.
    torch.testing.assert_close(mixed, single, rtol=0, atol=L * C * 2 * 2**-8)


MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "z0-three-dimensions": ({"z0": torch.zeros(B, H, 1, dtype=torch64)}, r"z0 must be real floating point \(B, H\)"),
    "z0-integers": ({"z0": torch.zeros(B, H, dtype=torch.int64)}, "int64"),
    "z0-of-another-batch": ({"z0": torch.zeros(2, H, dtype=torch64)}, "batch of 3, z0 for 2"),
    "times-of-another-batch": ({"times": torch.zeros(2, 2)}, r"times must be \(T,\) or \(3, T\)"),
    "times-empty": ({"times": torch.tensor([])}, "T >= 1"),
    "times-turn-back": ({"times": [0.0, 1.0, 0.5]}, "must not turn back"),
    "times-nan": ({"times": [0.0, float("nan")]}, "must not turn back"),
    "times-before-the-path": ({"times": [-1.0, 1.0]}, "leave the path"),
    "times-after-the-path": ({"times": [0.0, 100.0]}, r"end at 6: give each sample its own times"),
    "times-with-gradient": ({"times": torch.tensor([0.0, 1.0], requires_grad=True)}, "detach them"),
    "method-unknown": ({"method": "rk45"}, "unknown method 'rk45'"),
    "method-blind-to-kinks": (
        {"method": "fehlberg2", "path": LinearPath(torch.zeros(B, L, C), torch.arange(L))},
        r"does not see kinks: take a native one",
    ),
    "checkpoint-rk4": ({"gradient": "checkpoint"}, "not available with fixed steps of 'rk4'"),
    "checkpoint-fixed-dopri5": (
        {"gradient": "checkpoint", "method": "dopri5", "step_size": 0.1},
        "not available with fixed steps of 'dopri5'",
    ),
    "adjoint": ({"method": "dopri5", "gradient": "adjoint"}, "does not reach the path"),
    "step-size-zero": ({"step_size": 0.0}, "step_size must be positive"),
    "field-without-channels": (
        {"field": lambda t, z: z},
        r"the field returned \(3, 4\) for states \(3, 4\) along 2 channels",
    ),
    "field-of-one-channel": ({"field": lambda t, z: z.unsqueeze(-1)}, r"return \(3, 4, 2\)"),
    "args-of-another-batch": ({"args": torch.zeros(2)}, "first dimension must be the batch"),
}


@pytest.mark.parametrize(("change", "message"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes_are_named(change: dict[str, Any], message: str):
    values, _ = data()
    times = torch.arange(L, dtype=torch64)
    path = HermitePath(hermite_coefficients(values.requires_grad_(), times), times)
    given = {"field": Network(), "path": path, "z0": start(), "times": [0.0, 6.0]} | change
    with pytest.raises(InputError, match=message):
        solve_cde(**given)
