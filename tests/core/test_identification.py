"""Sensitivities, fits of trajectories and intervals of constants against closed forms, and by simulation."""

import math
from typing import Any

import pytest
import torch
from scipy.stats import linregress
from scipy.stats import t as student
from torch import Tensor, nn

from integrand.core.analysis import fit_trajectories, parameter_intervals, sensitivities
from integrand.core.errors import InputError
from integrand.core.fields import MLP, Linear, UniversalField
from integrand.core.numerics import solve_ode

F64 = torch.float64


class Drift(nn.Module):
    """dy/dt = w, whose solutions are linear in w and in their start."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(1))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return self.w.expand_as(y)


def drifting(windows: int, seed: int = 0, slope: float = 0.7) -> tuple[Tensor, Tensor]:
    """Straight lines with noise of 0.1."""
    generator = torch.Generator().manual_seed(seed)
    times = torch.linspace(0, 2, 9, dtype=F64)
    start = torch.randn(windows, 1, 1, generator=generator, dtype=F64)
    noise = 0.1 * torch.randn(windows, 9, 1, generator=generator, dtype=F64)
    return times, start + slope * times[None, :, None] + noise


def relaxation(t: Tensor, y: Tensor, constants) -> Tensor:
    return constants["rate"][:, None] * (constants["level"][:, None] - y)


class Nothing(nn.Module):
    """A remainder that is not there."""

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        return torch.zeros_like(x)


def test_sensitivities_of_a_linear_field_are_derivatives_of_the_matrix_exponential():
    field = Linear(2).double()
    with torch.no_grad():
        field.matrix.copy_(torch.tensor([[-0.3, 1.0], [-1.2, -0.1]]))
    y0, times = torch.randn(3, 2, dtype=F64), torch.tensor([0.0, 0.4, 1.3], dtype=F64)
    found = sensitivities(field, y0, times, method="dopri8", step_size=0.05)

    def solution(matrix: Tensor, bias: Tensor, start: Tensor) -> Tensor:
        joint = torch.cat([torch.cat([matrix, bias[:, None]], 1), torch.zeros(1, 3, dtype=F64)])
        states = [torch.linalg.matrix_exp(joint * t) @ torch.cat([start, torch.ones(1, dtype=F64)]) for t in times]
        return torch.stack(states)[:, :2]

    for i in range(3):
        arguments = (field.matrix.detach(), dict(field.named_parameters())["map.0.bias"].detach(), y0[i])
        by_matrix, by_bias, by_start = torch.autograd.functional.jacobian(solution, arguments)
        by_name = {"map.0.weight": by_matrix.flatten(2), "map.0.bias": by_bias}
        expected = torch.cat([by_name[name] for name, _ in field.named_parameters()], -1)
        torch.testing.assert_close(found.states[i], solution(*arguments), rtol=0, atol=1e-10)
        torch.testing.assert_close(found.by_parameters[i], expected, rtol=0, atol=1e-10)
        torch.testing.assert_close(found.by_start[i], by_start, rtol=0, atol=1e-10)


def test_one_straight_line_is_fitted_as_regression_does():
    times, observed = drifting(1)
    fit = fit_trajectories(Drift(), observed, times, tolerance=1e-12)
    line: Any = linregress(times.numpy(), observed[0, :, 0].numpy())
    assert fit.settled
    assert fit.field.w.item() == pytest.approx(line.slope, rel=1e-9)
    assert fit.starts.item() == pytest.approx(line.intercept, rel=1e-9)
    assert fit.covariance.sqrt().item() == pytest.approx(line.stderr, rel=2e-3)  # the noise settles to 1 %
    assert (fit.effective, fit.freedom) == (1.0, 7.0)


def test_lines_with_starts_of_their_own_share_a_slope():
    """The estimate within groups: what stands for each start is the mean of its line."""
    times, observed = drifting(5)
    fit = fit_trajectories(Drift(), observed, times, tolerance=1e-12)
    t, y = times - times.mean(), observed[..., 0] - observed[..., 0].mean(1, keepdim=True)
    slope = (t * y).sum() / (5 * t.square().sum())
    variance = (y - slope * t).square().sum() / (45 - 5 - 1)
    assert fit.field.w.item() == pytest.approx(slope.item(), rel=1e-9)
    assert fit.covariance.item() == pytest.approx((variance / (5 * t.square().sum())).item(), rel=0.01)
    assert fit.noise.item() == pytest.approx(variance.sqrt().item(), rel=0.01)


def test_a_prior_is_as_precise_as_the_evidence_has_it():
    """Of one weight the evidence has a closed form: the prior's variance is the estimate's square less its error's."""
    times, observed = drifting(3, slope=0.25)
    free = fit_trajectories(Drift(), observed, times)
    fit = fit_trajectories(Drift(), observed, times, penalised=("w",), tolerance=1e-9)
    least_squares, error = free.field.w.item(), free.covariance.item()
    prior = least_squares**2 - error
    assert fit.field.w.item() == pytest.approx(least_squares * prior / (prior + error), rel=2e-3)
    assert fit.covariance.item() == pytest.approx(error * prior / (prior + error), rel=0.02)
    assert fit.effective == pytest.approx(prior / (prior + error), rel=2e-3)


def test_what_was_not_observed_is_not_looked_at():
    times, observed = drifting(4)
    mask = torch.ones_like(observed, dtype=torch.bool)
    mask[2:, 5:] = False
    spoilt = torch.where(mask, observed, math.nan)
    fit = fit_trajectories(Drift(), spoilt, times, mask=mask, tolerance=1e-12)
    weights = torch.tensor([9.0, 9.0, 5.0, 5.0])
    parts = []
    for i, n in enumerate(weights.int().tolist()):
        t, y = times[:n] - times[:n].mean(), observed[i, :n, 0]
        parts.append(((t * y).sum(), t.square().sum()))
    slope = sum(a for a, _ in parts) / sum(b for _, b in parts)
    assert fit.field.w.item() == pytest.approx(float(slope), rel=1e-9)


def test_intervals_cover_the_truth_as_often_as_they_say():
    """Relaxation, both constants unknown: of 200 intervals of 95 % between 180 and 198 hold the truth."""
    truth = {"rate": 0.8, "level": 0.3}
    generator = torch.Generator().manual_seed(0)
    times = torch.linspace(0, 2, 6, dtype=F64)
    covered = 0
    for _ in range(100):
        start = torch.randn(6, 1, 1, generator=generator, dtype=F64)
        exact = truth["level"] + (start - truth["level"]) * torch.exp(-truth["rate"] * times)[:, None]
        observed = exact + 0.05 * torch.randn(exact.shape, generator=generator, dtype=F64)
        guesses = {"rate": 1.0, "level": 0.0}
        field = UniversalField(1, relaxation, guesses, positive=["rate"], remainder=Nothing())
        found = parameter_intervals(fit_trajectories(field, observed, times, method="midpoint"))
        covered += sum(found[name].low < value < found[name].high for name, value in truth.items())
    assert 180 <= covered <= 198


def test_intervals_are_students_and_those_of_positive_constants_are_of_the_logarithm():
    times, observed = drifting(2, slope=0.5)
    for positive in ((), ("w",)):
        field = UniversalField(1, lambda t, y, c: c["w"][:, None], {"w": 0.4}, positive=positive, remainder=Nothing())
        fit = fit_trajectories(field, observed, times)
        error, quantile = float(fit.covariance.sqrt()), student.ppf(0.95, fit.freedom)
        found = parameter_intervals(fit, level=0.9)["w"]
        if positive:
            assert found.high / found.estimate == pytest.approx(math.exp(quantile * error), rel=1e-9)
            assert found.low * found.high == pytest.approx(found.estimate**2, rel=1e-9)
        else:
            assert (found.low + found.high) / 2 == pytest.approx(found.estimate, rel=1e-9)
            assert found.high - found.estimate == pytest.approx(quantile * error, rel=1e-9)


def test_hidden_friction_is_found_beside_an_unknown_frequency():
    """Ten noisy swings of a pendulum with quadratic drag: the frequency within 2 %, the friction within 5 %."""
    torch.manual_seed(0)

    def friction(v: Tensor) -> Tensor:
        return -(0.2 + 0.3 * v.abs()) * v

    def known(t: Tensor, y: Tensor, c) -> Tensor:
        return torch.stack([y[:, 1], -(c["frequency"] ** 2) * y[:, 0].sin()], -1)

    def true(t: Tensor, y: Tensor) -> Tensor:
        swing = known(t, y, {"frequency": torch.ones(len(y), dtype=F64)})
        return swing + torch.stack([torch.zeros(len(y), dtype=F64), friction(y[:, 1])], -1)

    start = torch.rand(10, 2, dtype=F64) * torch.tensor([5.0, 2.0]) - torch.tensor([2.5, 1.0])
    states = solve_ode(true, start, torch.arange(40) * 0.2, method="dopri8", step_size=0.05).states
    observed = states + 0.01 * states.flatten(0, 1).std(0) * torch.randn_like(states)
    field = UniversalField(
        2, known, {"frequency": 1.5}, positive=["frequency"], hidden=(8,), acts_on=[1], sees=[1], vanishes_without=[1]
    )
    field.set_scales(observed, (observed[:, 2:] - observed[:, :-2]) / 0.4)
    fit = fit_trajectories(field, observed.view(40, 10, 2), torch.arange(10) * 0.2, penalised=["network"])
    found = parameter_intervals(fit, level=0.999)["frequency"]
    assert found.low < 1 < found.high
    assert abs(found.estimate - 1) < 0.02
    assert isinstance(fit.field, UniversalField)
    learned = fit.field.remainder(torch.tensor(0.0), states.flatten(0, 1))[:, 1]
    expected = friction(states.flatten(0, 1)[:, 1])
    assert (learned - expected).norm() < 0.05 * expected.norm()


def test_mistakes_have_one_line():
    times, observed = drifting(2)
    with pytest.raises(InputError, match=r"\(windows, times, channels\)"):
        fit_trajectories(Drift(), observed[0], times)
    with pytest.raises(InputError, match="not finite: leave them out by mask"):
        fit_trajectories(Drift(), observed + math.nan, times)
    with pytest.raises(InputError, match="no parameter's name begins with remainder"):
        fit_trajectories(Drift(), observed, times, penalised=["remainder"])
    with pytest.raises(InputError, match="take longer windows"):
        fit_trajectories(Drift(), observed[:, :1], times[:1])
    with pytest.raises(InputError, match="fit a UniversalField"):
        parameter_intervals(fit_trajectories(Drift(), observed, times))
    field = UniversalField(1, lambda t, y, c: c["w"][:, None], {"w": 0.4}, remainder=Nothing())
    with pytest.raises(InputError, match="level=95"):
        parameter_intervals(fit_trajectories(field, observed, times), level=95)


def test_a_universal_field_is_what_it_is_told():
    def known(t: Tensor, y: Tensor, c) -> Tensor:
        return c["a"][:, None] * y

    field = UniversalField(
        3, known, {"a": 2.0, "b": -1.0}, positive=["a"], acts_on=[2, 0], sees=[1], time=True
    ).double()
    y, t = torch.randn(4, 3, dtype=F64), torch.tensor(0.3, dtype=F64)
    assert {name: each.item() for name, each in field.constants().items()} == pytest.approx({"a": 2.0, "b": -1.0})
    torch.testing.assert_close(field(t, y), 2 * y + field.remainder(t, y))
    rest = field.remainder(t, y)
    assert rest[:, 1].eq(0).all()
    assert rest[:, [0, 2]].ne(0).all()
    torch.testing.assert_close(field.remainder(t, y * torch.tensor([3.0, 1.0, -2.0])), rest)  # only channel 1 is seen
    meeting = UniversalField(2, known, {"a": 1.0}, vanishes_without=[0, 1]).double()
    for absent in ([0.0, 3.0], [2.0, 0.0]):
        assert meeting.remainder(t, torch.tensor([absent], dtype=F64)).eq(0).all()
    weights = torch.cat([p.flatten() for p in meeting.network.parameters()])
    torch.testing.assert_close(meeting.penalty(), weights.square().sum() / 2)


def test_a_universal_field_refuses_what_does_not_fit():
    with pytest.raises(InputError, match=r"sees=\(3,\) names no channels of 2"):
        UniversalField(2, lambda t, y, c: y, {}, sees=[3])
    with pytest.raises(InputError, match="unknown positive constant 'aplha': did you mean 'alpha'"):
        UniversalField(2, lambda t, y, c: y, {"alpha": 1.0}, positive=["aplha"])
    with pytest.raises(InputError, match="the guess alpha=-1 is not positive"):
        UniversalField(2, lambda t, y, c: y, {"alpha": -1.0}, positive=["alpha"])
    with pytest.raises(InputError, match="channel 1 of the states does not vary"):
        UniversalField(2, lambda t, y, c: y, {}).set_scales(
            torch.randn(5, 2) * torch.tensor([1.0, 0]), torch.ones(5, 2)
        )


def test_a_network_may_be_fitted_without_anything_known():
    """An MLP for exponential decay, from 5 noisy curves, predicts a start within the range of the data."""
    torch.manual_seed(0)
    times = torch.linspace(0, 2, 11, dtype=F64)
    observed = torch.linspace(0.5, 2, 5, dtype=F64)[:, None, None] * torch.exp(-times)[None, :, None]
    fit = fit_trajectories(MLP(1, (6,)), observed + 0.01 * torch.randn_like(observed), times, penalised=["layers"])
    curve = solve_ode(fit.field, torch.tensor([[1.2]], dtype=F64), times, method="rk4").states[0, :, 0]
    torch.testing.assert_close(curve, 1.2 * torch.exp(-times), rtol=0, atol=0.02)
