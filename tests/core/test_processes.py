"""The laws of every process: slopes, inverses, the stochastic equation of the path, and what they refuse."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from integrand.core.diffusion import EDM, PROCESSES, VE, VP, Cosine, LinearFlow, Process, half_log_snr_span, process
from integrand.core.diffusion.process import lift
from integrand.core.errors import InputError

every = pytest.mark.parametrize("name", PROCESSES)


def inner_times(path: Process, count: int = 41) -> Tensor:
    """Times of the span, without its end, where some have nothing left of the data."""
    return path.start + (path.end - path.start) * torch.linspace(0, 0.99, count, dtype=torch.float64)


@every
def test_slopes_are_the_derivatives(name: str):
    path = process(name)
    t = inner_times(path).requires_grad_()
    for value, slope in ((path.alpha, path.alpha_slope), (path.sigma, path.sigma_slope)):
        (expected,) = torch.autograd.grad(value(t).sum() + 0 * t.sum(), t)
        torch.testing.assert_close(slope(t).detach(), expected, rtol=1e-10, atol=1e-12)


@every
def test_the_path_begins_in_data_and_ends_in_noise(name: str):
    path = process(name)
    ends = torch.tensor([0.0, path.end], dtype=torch.float64)
    alpha, sigma = path.alpha(ends), path.sigma(ends)
    assert alpha[0] == 1
    # What explodes begins at its least noise, and ends where nothing of data of scale 1 is seen.
    assert sigma[0] == pytest.approx(0.01 if name == "ve" else 0, abs=1e-12)
    assert sigma[1] > 45 * alpha[1]


@every
def test_noise_grows_and_time_is_the_inverse_of_its_logarithm(name: str):
    path, t = process(name), inner_times(process(name))
    level = path.half_log_snr(t)
    assert (level.diff() < 0).all()
    torch.testing.assert_close(level, (path.alpha(t) / path.sigma(t)).log(), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(path.time(level), t, rtol=1e-8, atol=1e-10 * path.end)


@every
def test_time_is_accurate_in_single_precision(name: str):
    """Down to the start, where 1 - alpha is below rounding for some."""
    path = process(name)
    t = torch.logspace(math.log10(path.start), math.log10(0.9 * path.end), 30, dtype=torch.float64)
    found = path.time(path.half_log_snr(t).float()).double()
    # A rounding of lambda, 1e-6 at most, moves t by 1e-6 / |d lambda / dt|.
    rate = (path.sigma_slope(t) / path.sigma(t) - path.alpha_slope(t) / path.alpha(t)).abs()
    assert ((found - t).abs() < 4e-6 / rate + 4e-7 * t).all()


@every
def test_the_marginals_are_those_of_the_stochastic_equation(name: str):
    """m' = f m and v' = 2 f v + g^2, by scipy from the start, against m = alpha x0 and v = alpha^2 v0 + sigma^2."""
    from scipy.integrate import solve_ivp

    path = process(name)
    start, end = path.start, path.start + 0.95 * (path.end - path.start)

    def slopes(t: float, y: np.ndarray) -> list[float]:
        at = torch.tensor(t, dtype=torch.float64)
        f, g2 = float(path.drift(at)), float(path.squared_diffusion(at))
        assert g2 > 0
        return [f * y[0], 2 * f * y[1] + g2]

    def law(t: float) -> list[float]:
        at = torch.tensor(t, dtype=torch.float64)
        return [1.3 * float(path.alpha(at)), 0.5 * float(path.alpha(at)) ** 2 + float(path.sigma(at)) ** 2]

    solved = solve_ivp(slopes, (start, end), law(start), rtol=1e-9, atol=1e-12, method="DOP853")
    assert solved.y[:, -1] == pytest.approx(law(end), rel=1e-6)


@every
def test_mixing_gives_the_marginals(name: str):
    path = process(name)
    generator = torch.Generator().manual_seed(0)
    x0, noise = (torch.randn(5, 2, 3, generator=generator, dtype=torch.float64) for _ in range(2))
    t = inner_times(path, 5)
    mixed = path.mix(x0, noise, t)
    for row in range(5):
        expected = float(path.alpha(t[row])) * x0[row] + float(path.sigma(t[row])) * noise[row]
        torch.testing.assert_close(mixed[row], expected)
        torch.testing.assert_close(path.mix(x0, noise, t[row])[row], expected)
    assert path.mix(x0.float(), noise.float(), t).dtype == torch.float32


@every
def test_the_prior_has_the_spread_of_the_last_states(name: str):
    path = process(name)
    end = torch.tensor(path.end, dtype=torch.float64)
    expected = math.hypot(0.5 * float(path.alpha(end)), float(path.sigma(end)))
    assert path.prior_scale(0.5) == pytest.approx(expected)
    first, last = half_log_snr_span(path)
    assert first == pytest.approx(float(path.half_log_snr(torch.tensor(path.start, dtype=torch.float64))), abs=1e-9)
    assert math.isfinite(last)
    assert last < -3.8


def test_known_values():
    """Worked by hand: B(1) = 10.05 for VP; the geometric mean halfway for VE; alpha = sigma at 1/2 for the line."""
    one, half = torch.tensor(1.0, dtype=torch.float64), torch.tensor(0.5, dtype=torch.float64)
    assert float(VP().alpha(one)) == pytest.approx(math.exp(-5.025))
    assert float(VP().squared_diffusion(half)) == pytest.approx(10.05)
    assert float(VE().sigma(half)) == pytest.approx(math.sqrt(0.5))
    assert float(EDM().squared_diffusion(half)) == pytest.approx(1.0)
    assert float(Cosine(offset=0.0, end=0.99).alpha(half)) == pytest.approx(math.sqrt(0.5))
    assert float(LinearFlow().half_log_snr(half)) == 0.0


def test_variance_is_preserved_where_the_name_says_so():
    for name in ("vp", "cosine", "trigonometric_flow"):
        t = inner_times(process(name))
        total = process(name).alpha(t).square() + process(name).sigma(t).square()
        torch.testing.assert_close(total, torch.ones_like(t))
    t = inner_times(process("sub_vp"))
    assert (process("sub_vp").sigma(t) < process("vp").sigma(t)).all()


def test_factors_are_lifted_to_any_rank():
    like = torch.zeros(3, 2, 4, 4)
    assert lift(torch.ones(3, dtype=torch.float64), like).shape == (3, 1, 1, 1)
    assert lift(torch.tensor(2.0, dtype=torch.float64), like).dtype == torch.float32


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("vq", {}, "unknown process 'vq': did you mean 'vp'?"),
        ("vp", {"beta_mx": 3.0}, "did you mean 'beta_max'?"),
        ("vp", {"beta_min": 3.0, "beta_max": 2.0}, "0 < beta_min <= beta_max"),
        ("ve", {"sigma_min": 0.0}, "0 < sigma_min < sigma_max"),
        ("edm", {"start": 0.0}, "0 < start < end must hold"),
        ("edm", {"start": 3.0, "end": 2.0}, "got start=3, end=2"),
        ("cosine", {"offset": -1.0}, "offset must not be negative"),
        ("linear_flow", {"end": 1.5}, "0 < start < end <= 1 must hold"),
        ("trigonometric_flow", {"start": float("nan")}, "0 < start"),
    ],
)
def test_mistakes_are_named(name: str, options: dict[str, float], message: str):
    with pytest.raises(InputError) as caught:
        process(name, **options)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_processes_tell_what_they_were_made_with():
    assert repr(process("vp", beta_max=5.0)) == "VP(beta_min=0.1, beta_max=5, start=0.001, end=1)"
