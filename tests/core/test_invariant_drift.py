"""Drift of invariants against flows and methods whose energy is known in closed form."""

import math

import pytest
import torch
from torch import Tensor

from integrand.core.analysis import invariant_drift, invariant_finding
from integrand.core.errors import InputError
from integrand.core.numerics import Separable, solve_ode

F64 = torch.float64
STARTS = torch.tensor([[1.0, 0.0], [0.3, -2.0]], dtype=F64)
INVARIANTS = {"energy": lambda y: y.square().sum(-1) / 2}


def times(count: int, step: float) -> Tensor:
    return torch.arange(count + 1, dtype=F64) * step


def by_euler(count: int, step: float) -> Tensor:
    def field(t: Tensor, y: Tensor) -> Tensor:
        return torch.stack([y[:, 1], -y[:, 0]], -1)

    return solve_ode(field, STARTS, times(count, step), method="euler", step_size=step).states


def by_symplectic_euler(count: int, step: float) -> Tensor:
    """p' = p - h q, then q' = q + h p': written out."""
    q, p = STARTS.unbind(-1)
    states = [STARTS]
    for _ in range(count):
        p = p - step * q
        q = q + step * p
        states.append(torch.stack([q, p], -1))
    return torch.stack(states, 1)


def test_on_a_circle_nothing_drifts():
    t = times(300, 0.1)
    circle = torch.stack([t.cos(), -t.sin()], -1)[None]
    drift = invariant_drift(circle, t, INVARIANTS)["energy"]
    assert drift.largest.item() < 1e-14
    told = invariant_finding({"energy": drift})
    assert told.verdict == "sound"
    assert "energy is conserved" in told.statement


@pytest.mark.parametrize("count", [50, 400, 3000])
def test_the_energy_of_euler_s_method_grows_by_1_plus_h_squared_a_step(count: int):
    """Of the harmonic oscillator, from any start: by a little, and by 13 powers of ten."""
    step = 0.1
    drift = invariant_drift(by_euler(count, step), times(count, step), INVARIANTS)["energy"]
    growth = (1 + step**2) ** torch.arange(count + 1, dtype=F64) - 1
    torch.testing.assert_close(drift.relative, growth.expand(2, -1), rtol=1e-10, atol=1e-12)
    assert bool(drift.grows.all())
    told = invariant_finding({"energy": drift})
    assert told.verdict == "flawed"
    assert "energy drifts away" in told.statement


@pytest.mark.parametrize("count", [200, 4000])
def test_the_energy_of_symplectic_euler_oscillates_as_the_energy_that_it_conserves_says(count: int):
    """It conserves q^2 + p^2 - h q p exactly, so that q^2 + p^2 lies within 2 E / (1 + h / 2) and 2 E / (1 - h / 2)."""
    step = 0.1
    states, t = by_symplectic_euler(count, step), times(count, step)
    own = {"own": lambda y: y.square().sum(-1) - step * y.prod(-1), **INVARIANTS}
    drifts = invariant_drift(states, t, own)
    assert drifts["own"].largest.max() < 1e-12
    start = STARTS.square().sum(-1)
    conserved = start - step * STARTS.prod(-1)
    bounds = torch.stack([conserved / (1 + step / 2), conserved / (1 - step / 2)]) / start - 1
    largest = bounds.abs().amax(0)
    drift = drifts["energy"]
    assert bool((drift.largest <= largest + 1e-12).all())
    torch.testing.assert_close(drift.largest, largest, rtol=0.01, atol=0)  # samples come within 0.05 of each phase
    assert not bool(drift.grows.any())
    told = invariant_finding({"energy": drift})
    assert told.verdict == "doubtful"
    assert "only goes to and fro" in told.statement
    assert invariant_finding({"energy": drift}, tolerance=0.1).verdict == "sound"


def test_leapfrog_s_drift_falls_with_the_square_of_the_step():
    """It conserves (1 - h^2 / 4) q^2 + p^2 exactly; solved by our own method."""
    found = []
    for step in (0.2, 0.1):
        count = round(40 / step)
        states = solve_ode(
            Separable(lambda t, p: p, lambda t, q: -q), STARTS, times(count, step), method="leapfrog", step_size=step
        ).states
        found.append(invariant_drift(states, times(count, step), INVARIANTS)["energy"])
    assert not bool(found[0].grows.any())
    torch.testing.assert_close(found[0].largest / found[1].largest, torch.full((2,), 4.0, dtype=F64), rtol=0.05, atol=0)


def test_a_trend_under_an_oscillation_is_found_with_its_rate():
    """1 + 0.01 t + 0.2 sin t: the interval of the trend holds 0.01, and leaves 0 out after many turns."""
    t = times(2000, 0.1)
    states = (1 + 0.01 * t + 0.2 * t.sin())[None, :, None]
    drift = invariant_drift(states, t, {"value": lambda y: y[..., 0]})["value"]
    assert drift.low.item() < 0.01 < drift.high.item()
    assert drift.high.item() - drift.low.item() < 0.002
    assert drift.grows.item()
    still = invariant_drift(states - 0.01 * t[:, None], t, {"value": lambda y: y[..., 0]})["value"]
    assert not still.grows.item()


def test_what_is_zero_at_first_is_measured_by_its_usual_size_or_by_a_scale():
    t = times(100, 0.1)
    states = torch.stack([t.sin(), 2 * t.sin()])[..., None]
    drift = invariant_drift(states, t, {"value": lambda y: y[..., 0]})["value"]
    usual = states.square().mean().sqrt()
    torch.testing.assert_close(drift.scale, usual.expand(2))
    assert drift.worst == 1
    scaled = invariant_drift(states, t, {"value": lambda y: y[..., 0]}, scales={"value": 4.0})["value"]
    torch.testing.assert_close(scaled.largest, torch.tensor([0.25, 0.5], dtype=F64), rtol=1e-3, atol=0)


def test_each_sample_may_have_times_of_its_own():
    t = torch.stack([times(60, 0.1), times(60, 0.5)])
    drift = invariant_drift((1 + 0.02 * t)[..., None], t, {"value": lambda y: y[..., 0]})["value"]
    torch.testing.assert_close(drift.trend, torch.full((2,), 0.02, dtype=F64))
    rows = invariant_finding({"value": drift}).rows
    assert rows[0]["sample"] == 1.0
    assert rows[0]["drift"] == pytest.approx(0.6)
    assert rows[0]["growing share"] == 1.0


def test_mistakes_have_one_line():
    states, t = torch.ones(2, 5, 2, dtype=F64), times(4, 1.0)
    with pytest.raises(InputError, match="T >= 3"):
        invariant_drift(states[:, :2], t[:2], INVARIANTS)
    with pytest.raises(InputError, match="times must be"):
        invariant_drift(states, t.flip(0), INVARIANTS)
    with pytest.raises(InputError, match=r"invariant energy gave \(2,\)"):
        invariant_drift(states, t, {"energy": lambda y: y.sum((1, 2))})
    with pytest.raises(InputError, match="must be positive"):
        invariant_drift(states, t, INVARIANTS, scales={"energy": 0.0})
    states[1, 3] = math.nan
    with pytest.raises(InputError, match="invariant energy of sample 1 is not finite"):
        invariant_drift(states, t, INVARIANTS)
    assert invariant_finding({}).verdict == "told"
