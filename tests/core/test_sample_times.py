"""Times of samplers: how they are spaced, and how they are chosen for a field."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from exact_denoisers import normal, ring
from scipy import integrate

from integrand.core.diffusion import (
    PROCESSES,
    SPACINGS,
    ProbabilityFlow,
    initial_noise,
    optimal_times,
    process,
    step_times,
)
from integrand.core.diffusion.schedule import PURE_NOISE
from integrand.core.errors import InputError

F64 = torch.float64


@pytest.mark.parametrize("where", PROCESSES)
@pytest.mark.parametrize("spacing", SPACINGS)
def test_times_fall_from_end_to_start(spacing: Any, where: str):
    path = process(where)
    for steps in (1, 2, 3, 17):
        stop = step_times(path, steps, spacing=spacing, final="stop")
        assert len(stop) == steps + 1
        assert (stop.diff() < 0).all()
        assert (stop[0], stop[-1]) == (path.end, path.start)
        clean = step_times(path, steps, spacing=spacing)
        assert len(clean) == steps + 1
        assert (clean[0], clean[-1]) == (path.end, 0.0)
        if steps > 1:
            assert torch.equal(clean[:-1], step_times(path, steps - 1, spacing=spacing, final="stop"))


def test_spacings_are_even_in_what_they_are_named_for():
    path = process("vp")
    clocks: dict[str, Any] = {
        "log_snr": path.half_log_snr,
        "time": lambda t: t,
        "quadratic": torch.sqrt,
        "karras": lambda t: (-path.half_log_snr(t) / 7).exp(),
    }
    for spacing, clock in clocks.items():
        gaps = clock(step_times(path, 9, spacing=spacing, final="stop")).diff()  # pyright: ignore[reportArgumentType]
        torch.testing.assert_close(gaps, gaps.mean().expand(9), rtol=1e-9, atol=1e-12)


def test_steps_from_pure_noise_are_spaced_from_where_data_are_seen():
    for name in ("linear_flow", "trigonometric_flow"):
        path = process(name)
        level = path.half_log_snr(step_times(path, 20, spacing="log_snr", final="stop"))[1:]
        gaps = level.diff()
        torch.testing.assert_close(gaps, gaps.mean().expand(19), rtol=1e-9, atol=0)
        assert float(level[0] - gaps.mean()) == pytest.approx(-math.log(PURE_NOISE))


def test_chosen_times_share_the_error_of_normal_data():
    """Along c D = m + s^2 c / sqrt(s^2 + e^{-2 l}), whose second derivative by l is known, and so the density."""
    path, s = process("edm", start=0.05, end=20.0), 0.6
    x = initial_noise(range(200), (1,), 20.0, dtype=F64)
    times = optimal_times(normal(path, 0.0, s), x, 12, order=2, final="stop", floor=0.2, pilot_steps=800)
    levels = np.linspace(-math.log(20.0), -math.log(0.05), 20_001)
    u = np.exp(-2 * levels)
    # D = g(u) with u' = -2 u: D'' = 4 u g' + 4 u^2 g'', g = (s^2 + u)^{-1/2}.
    second = np.abs(4 * u * -0.5 * (s**2 + u) ** -1.5 + 4 * u**2 * 0.75 * (s**2 + u) ** -2.5)
    density = np.cbrt(second / np.sqrt(s**2 + u))
    density += 0.2 * density.mean()
    shares = np.concatenate([[0.0], integrate.cumulative_trapezoid(density, levels)])
    expected = np.interp(np.linspace(0, shares[-1], 13), shares, levels)
    assert (-times.log()).numpy() == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize("where", PROCESSES)
def test_chosen_times_are_times(where: str):
    path = process(where)
    for final in ("denoise", "stop"):
        for steps in (1, 2, 9):
            x = initial_noise(range(10), (2,), path.prior_scale(), dtype=F64)
            times = optimal_times(ring(path), x, steps, final=final, pilot_steps=40)  # pyright: ignore[reportArgumentType]
            assert len(times) == steps + 1
            assert (times.diff() < 0).all()
            assert times[0] == path.end
            assert times[-1] == (0 if final == "denoise" else path.start)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps=0 is out of range"),
        ({"spacing": "karas"}, "did you mean 'karras'?"),
        ({"final": "end"}, "unknown final 'end'"),
        ({"rho": 0.0}, "rho=0 is out of range"),
        ({"start": 2.0}, "0 < start < end <= 1 must hold"),
    ],
)
def test_mistakes_in_times_are_named(options: dict[str, Any], message: str):
    with pytest.raises(InputError, match=message.replace("?", r"\?")):
        step_times(process("vp"), **{"steps": 4, **options})


def test_mistakes_in_choosing_times_are_named():
    path, x = process("vp"), initial_noise([1, 2], (1,))
    with pytest.raises(InputError, match="pilot_steps=10 is too few for 20 steps: take 40"):
        optimal_times(normal(path), x, 20, pilot_steps=10)
    with pytest.raises(InputError, match="order=0"):
        optimal_times(normal(path), x, 20, order=0)
    with pytest.raises(InputError, match="not finite"):
        optimal_times(ProbabilityFlow(path, lambda t, x: x * float("nan")), x, 8)
