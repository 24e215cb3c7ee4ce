"""Flow maps, against solutions in closed form, the mean that defines them, and the sampler they begin as."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from torch import Tensor

from integrand.core.diffusion.flow_map import FlowMap, flow_map_loss, jump_factors, solution_states, spread
from integrand.core.diffusion.probability_flow import ProbabilityFlow
from integrand.core.diffusion.process import Process, lift
from integrand.core.diffusion.processes import PROCESSES, process
from integrand.core.diffusion.samplers.noise import initial_noise
from integrand.core.diffusion.samplers.registry import sample
from integrand.core.diffusion.schedule import step_times
from integrand.core.errors import InputError

SCALE = 0.6
every = pytest.mark.parametrize("name", PROCESSES)


def deviation(path: Process, t: Tensor) -> Tensor:
    """Of x_t, for normal data of deviation ``SCALE``; without noise at t = 0."""
    noise = torch.where(t == 0, torch.zeros_like(t), path.sigma(t))
    return ((path.alpha(t) * SCALE).square() + noise.square()).sqrt()


def denoiser(path: Process):
    """E[x_0 | x_t] of normal data."""

    def mean(t: Tensor, x: Tensor) -> Tensor:
        return lift(path.alpha(t) * SCALE**2 / deviation(path, t).square(), x) * x

    return mean


def exact(path: Process) -> FlowMap:
    """The flow map of normal data, whose solutions are x_s = x_t deviation(s) / deviation(t)."""

    def mean(t: Tensor, s: Tensor, x: Tensor) -> Tensor:
        kept, given = jump_factors(path, t, s)
        return lift((deviation(path, s) / deviation(path, t) - kept) / given, x) * x

    return FlowMap(path, mean)


def start(path: Process, count: int = 4) -> Tensor:
    return initial_noise(range(count), (3,), path.prior_scale(SCALE), dtype=torch.float64)


@every
@pytest.mark.parametrize("steps", [1, 2, 5, 16])
def test_any_number_of_jumps_ends_where_the_solution_does(name: str, steps: int):
    path = process(name)
    x, times = start(path), spread(step_times(path, 16), steps)
    ratio = deviation(path, times[-1]) / deviation(path, times[0])
    torch.testing.assert_close(exact(path).follow(x, times), ratio * x, rtol=1e-9, atol=0)


@every
def test_one_jump_is_two_jumps(name: str):
    path = process(name)
    t, u, s = (
        torch.tensor(path.start + share * (path.end - path.start), dtype=torch.float64) for share in (0.9, 0.4, 0.1)
    )
    x, jump = start(path), exact(path)
    torch.testing.assert_close(jump(u, s, jump(t, u, x)), jump(t, s, x), rtol=1e-10, atol=0)


@every
def test_the_mean_is_the_denoisers_along_the_solution(name: str):
    """By quadrature of D over e^l dl, l = log(alpha / sigma)."""
    path = process(name)
    t, s = (torch.tensor(path.start + share * (path.end - path.start), dtype=torch.float64) for share in (0.8, 0.2))
    x, best = torch.tensor([[1.3]], dtype=torch.float64), denoiser(path)
    begin, end = (float(path.half_log_snr(at)) for at in (t, s))

    def clean(level: float) -> float:
        u = path.time(torch.tensor(level, dtype=torch.float64))
        return float(best(u, x * deviation(path, u) / deviation(path, t))) * math.exp(level)

    total, _ = quad(clean, begin, end, epsabs=0, epsrel=1e-11)
    mean = total / (math.exp(end) - math.exp(begin))
    assert float(exact(path).mean_between(t, s, x)) == pytest.approx(mean, rel=1e-7)


@every
def test_with_the_denoiser_for_the_mean_a_jump_is_a_step_of_ddim(name: str):
    path = process(name)
    best, times = denoiser(path), step_times(path, 7)
    x = start(path)
    as_map = FlowMap(path, lambda t, s, y: best(t, y)).follow(x, times)
    assert torch.equal(as_map, sample(ProbabilityFlow(path, best), x, times, method="ddim"))


@every
def test_the_loss_is_nought_for_the_exact_map_and_counts_errors_by_their_weight(name: str):
    path = process(name)
    times = step_times(path, 8)
    t, s = times[torch.tensor([0, 2, 5, 1])], times[torch.tensor([3, 8, 6, 8])]
    x_t = start(path)
    x_s = lift(deviation(path, s) / deviation(path, t), x_t) * x_t
    right = exact(path)
    assert float(flow_map_loss(right, t, s, x_t, x_s).max()) < 1e-12
    wrong = FlowMap(path, lambda a, b, y: right.mean_between(a, b, y) + 0.5)
    # 1 / c_out^2 of data of deviation 1 is (alpha^2 + sigma^2) / sigma^2.
    weight = (path.alpha(t).square() + path.sigma(t).square()) / path.sigma(t).square()
    torch.testing.assert_close(flow_map_loss(wrong, t, s, x_t, x_s), 0.25 * weight, rtol=1e-5, atol=0)


def test_a_step_to_no_noise_keeps_nothing_of_the_state():
    """Also where a process leaves a little noise at t = 0, as the cosine does."""
    zero = torch.zeros(2, dtype=torch.float64)
    for name in PROCESSES:
        path = process(name)
        kept, given = jump_factors(path, torch.full_like(zero, path.end), zero)
        assert kept.tolist() == [0, 0]
        assert torch.equal(given, path.alpha(zero))


def test_solution_states_are_those_of_the_sampler_and_near_the_solution():
    path = process("edm")
    field, x, times = ProbabilityFlow(path, denoiser(path)), start(path), step_times(path, 40)
    states = solution_states(field, x, times)
    assert states.shape == (4, 41, 3)
    assert torch.equal(states[:, 0], x)
    assert torch.equal(states[:, -1], sample(field, x, times))
    known = (deviation(path, times) / deviation(path, times[0]))[:, None] * x[:, None]
    halved = solution_states(field, x, step_times(path, 79, final="denoise"))[:, -2]
    error = float((states[:, -2] - known[:, -2]).abs().max())
    # The method has order 2: about a quarter of the error is left when the steps are halved.
    assert 0.15 * error < float((halved - known[:, -2]).abs().max()) < 0.4 * error


def test_conditions_reach_the_mean():
    seen: list[Tensor] = []
    path = process("edm")

    def mean(t: Tensor, s: Tensor, x: Tensor, args: Tensor) -> Tensor:
        seen.append(args)
        return x

    labels = torch.tensor([3, 1])
    FlowMap(path, mean).follow(torch.ones(2, 1), step_times(path, 3), args=labels)
    assert all(each is labels for each in seen)
    assert len(seen) == 3


def test_what_is_not_finite_is_told_by_step_and_sample():
    path = process("edm")

    def mean(t: Tensor, s: Tensor, x: Tensor) -> Tensor:
        return torch.where((torch.arange(len(x)) == 2)[:, None] & (t < 1), torch.nan, x)

    times = step_times(path, 4)
    step = int((times < 1).nonzero()[0]) + 1
    with pytest.raises(InputError, match=f"flow_map: sample 2 is not finite after step {step}, .* of 1"):
        FlowMap(path, mean).follow(torch.ones(4, 1), times)


def test_steps_are_spread_evenly():
    times = torch.arange(20, -1, -1.0)
    assert spread(times, 20).tolist() == times.tolist()
    assert spread(times, 3).tolist() == [20, 13, 7, 0]
    for steps in range(1, 21):
        gaps = np.diff(spread(times, steps).numpy())
        assert gaps.max() < 0
        assert np.ptp(gaps) <= 1
    for steps in (0, 21):
        with pytest.raises(InputError, match=f"steps={steps} is out of range: there are 1 to 20"):
            spread(times, steps)
