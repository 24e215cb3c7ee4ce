"""Stiffness against linear systems of known eigenvalues, limits of stability that are measured, and known problems."""

import math

import pytest
import torch
from torch import Tensor

from integrand.core.analysis import stiffness, stiffness_finding
from integrand.core.errors import InputError
from integrand.core.numerics import solve_ode

F64 = torch.float64


def linear(rates: Tensor, end: float, count: int = 11) -> tuple:
    """A diagonal field, its solution from ones, and the times."""
    times = torch.linspace(0, end, count, dtype=F64)
    return lambda t, y: rates * y, torch.exp(rates * times[:, None])[None], times


def oscillator(mu: float) -> tuple:
    """Van der Pol's, over three periods of a small mu or up to before the first jump of a large one."""

    def field(t: Tensor, y: Tensor) -> Tensor:
        return torch.stack([y[:, 1], mu * (1 - y[:, 0] ** 2) * y[:, 1] - y[:, 0]], -1)

    times = torch.linspace(0, max(20.0, mu / 2), 51, dtype=F64)
    start = torch.tensor([[2.0, 0.0]], dtype=F64)
    return field, solve_ode(field, start, times, method="kencarp4", rtol=1e-4, atol=1e-6).states, times


def test_of_a_linear_field_index_ratio_and_steps_follow_from_its_eigenvalues():
    """Over 10 units, rates 2, 1000 and a growing one: the last bounds no step, and 1000 * 10 / 2.785 are needed."""
    found = stiffness(*linear(torch.tensor([-2.0, -1000.0, 0.1], dtype=F64), 10.0))
    torch.testing.assert_close(found.index, torch.full((1, 11), 1e4, dtype=F64))
    torch.testing.assert_close(found.ratio, torch.full((1, 11), 500.0, dtype=F64))
    assert found.span.tolist() == [10.0]
    assert found.explicit_steps.item() == pytest.approx(1e4 / 2.7852935634, rel=1e-9)
    assert found.verdict == "stiff: take an implicit method"


@pytest.mark.parametrize("method", ["euler", "midpoint", "bosh3", "rk4", "dopri5", "tsit5", "dopri8"])
@pytest.mark.parametrize("mode", [(-50.0, 0.0), (-20.0, 40.0), (-3.0, 50.0)])
def test_the_step_limit_is_that_of_our_own_methods(method: str, mode: tuple[float, float]):
    """A step just below it lets an oscillation decay, one just above it makes it grow."""
    rate, turn = mode
    matrix = torch.tensor([[rate, turn], [-turn, rate]], dtype=F64)

    def field(t: Tensor, y: Tensor) -> Tensor:
        return y @ matrix.T

    states = torch.ones(1, 2, 2, dtype=F64) * 1e-3
    limit = 1 / stiffness(field, states, [0.0, 1.0], method=method).explicit_steps.item()
    for factor, grows in ((0.99, False), (1.01, True)):
        step, start = factor * limit, torch.tensor([[1.0, 0.5]], dtype=F64)
        end = solve_ode(field, start, [0.0, 400 * step], method=method, step_size=step).states[0, -1]
        assert bool(end.norm() > start.norm()) is grows


def test_no_step_of_euler_is_stable_for_an_undamped_oscillation_and_rk4_s_limit_is_two_root_two():
    def field(t: Tensor, y: Tensor) -> Tensor:
        return torch.stack([y[:, 1], -y[:, 0]], -1)

    states = torch.ones(1, 3, 2, dtype=F64)
    assert stiffness(field, states, [0.0, 1.0, 2.0], method="euler").explicit_steps.item() == math.inf
    found = stiffness(field, states, [0.0, 1.0, 2.0])
    assert found.explicit_steps.item() == pytest.approx(2 / 8**0.5)
    assert found.index.abs().max() == 0
    assert found.verdict == "not stiff"


def test_rates_are_integrated_along_the_times():
    """dy/dt = -(1 + 99 t) y over (0, 2): the integral of the rate is 200, whatever the spacing of the times."""
    times = torch.tensor([[0.0, 0.1, 0.5, 2.0], [0.0, 1.0, 1.5, 2.0]], dtype=F64)
    states = torch.exp(-times - 49.5 * times**2)[..., None]
    found = stiffness(lambda t, y: -(1 + 99 * t.expand(len(y)))[:, None] * y, states, times)
    torch.testing.assert_close(found.explicit_steps, torch.full((2,), 200 / 2.7852935634, dtype=F64))
    torch.testing.assert_close(found.index, 2 * (1 + 99 * times))


def test_a_single_rate_is_not_stiff_over_a_few_of_its_times_and_stiff_over_very_many():
    """y' = -(y - cos t): one eigenvalue, so that no ratio tells; what counts is rate times span."""

    def field(t: Tensor, y: Tensor) -> Tensor:
        return -1000 * (y - torch.cos(t.expand(len(y)))[:, None])

    def found(end: float):
        times = torch.linspace(0, end, 11, dtype=F64)
        return stiffness(field, times.cos()[None, :, None], times)

    assert found(0.005).verdict == "not stiff"
    assert found(20.0).verdict == "stiff: take an implicit method"
    assert found(20.0).ratio.max() == 1


def test_van_der_pol_is_not_stiff_at_mu_1_and_stiff_at_mu_1000():
    """At (2, 0) and large mu the eigenvalues are about -3 mu and -1 / (3 mu)."""
    mild, harsh = stiffness(*oscillator(1.0)), stiffness(*oscillator(1000.0))
    assert mild.verdict == "not stiff"
    assert harsh.verdict == "stiff: take an implicit method"
    assert harsh.index[0, 0].item() == pytest.approx(3000 * 500, rel=1e-3)
    assert harsh.ratio[0, 0].item() == pytest.approx(9e6, rel=1e-2)


def test_steps_for_accuracy_are_those_of_the_explicit_pair_where_stability_does_not_matter():
    field, states, times = oscillator(1.0)
    found = stiffness(field, states, times, tolerance=1e-5)
    atol = 1e-7 * states.abs().max().item()
    ends = times[[0, -1]]
    solution = solve_ode(field, states[:, 0], ends, method="dopri5", rtol=1e-5, atol=atol, stepping="per_sample")
    assert found.accuracy_steps.item() == solution.stats.accepted.item()


def test_robertson_s_kinetics_are_stiff_although_a_conserved_sum_has_the_eigenvalue_0():
    def field(t: Tensor, y: Tensor) -> Tensor:
        a, b, c = y.unbind(-1)
        gone = 0.04 * a - 1e4 * b * c
        return torch.stack([-gone, gone - 3e7 * b**2, 3e7 * b**2], -1)

    times = torch.linspace(0, 40, 41, dtype=F64)
    start = torch.tensor([[1.0, 0.0, 0.0]], dtype=F64)
    states = solve_ode(field, start, times, method="kencarp4", rtol=1e-4, atol=1e-10).states
    found = stiffness(field, states, times)
    # At t = 40 the Jacobian's eigenvalues by hand: trace and sum of principal minors of [A, B, C] with one that is 0.
    _, b, c = states[0, -1].tolist()
    trace = -0.04 - 1e4 * c - 6e7 * b
    minors = 0.04 * 6e7 * b + 3e7 * 2 * b * 1e4 * b
    slow, fast = sorted(abs((trace + sign * math.sqrt(trace**2 - 4 * minors)) / 2) for sign in (1, -1))
    assert found.index[0, -1].item() == pytest.approx(40 * fast, rel=1e-6)
    assert found.ratio[0, -1].item() == pytest.approx(fast / slow, rel=1e-4)
    assert found.verdict == "stiff: take an implicit method"
    told = stiffness_finding(found)
    assert told.verdict == "doubtful"
    assert told.statement.startswith("Stiff: take an implicit method. Over a span of 40, ")
    assert stiffness_finding(found, implicit=True).verdict == "sound"


def test_the_finding_tells_the_numbers():
    told = stiffness_finding(stiffness(*linear(torch.tensor([-1.0, -2.0], dtype=F64), 5.0)))
    assert told.verdict == "sound"
    assert told.numbers["ratio"] == pytest.approx(2.0)
    assert told.numbers["index"] == pytest.approx(10.0)
    assert "4 explicit steps are needed for stability" in told.statement  # 10 / 2.785, whole steps


def test_mistakes_have_one_line():
    field, states, times = linear(torch.tensor([-1.0], dtype=F64), 1.0)
    with pytest.raises(InputError, match="unknown explicit method 'kencarp4'"):
        stiffness(field, states, times, method="kencarp4")
    with pytest.raises(InputError, match="times must be at least two, and increase"):
        stiffness(field, states, times.flip(0))
