"""Schrodinger bridges against the closed form between normal distributions, exact and learned."""

import copy
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from integrand.core.diffusion.bridge import SchrodingerBridge
from integrand.core.diffusion.couplings import Entropic
from integrand.core.diffusion.gaussian_bridge import GaussianBridge
from integrand.core.diffusion.matching import bridge_matching_loss
from integrand.core.errors import InputError
from integrand.core.fields.mlp import MLP
from integrand.core.numerics.solve_ode import solve_ode
from integrand.core.numerics.solve_sde import solve_sde

DTYPE = torch.float64
COUNT = 40_000
"""Paths: the standard error of a variance is sqrt(2 / COUNT), 0.7 %, and less over several components."""


def bridge(sigma: float = 1.0, scale_0: float = 1.0, scale_1: float = 1.0) -> GaussianBridge:
    mean = torch.ones(2, dtype=DTYPE)
    return GaussianBridge(-mean, mean, scale_0=scale_0, scale_1=scale_1, sigma=sigma)


def start(of: GaussianBridge, end: float, seed: int = 0) -> Tensor:
    """Points of a marginal whose sample mean and variance are its own, so that chance enters on the way alone."""
    normal = torch.randn(COUNT, 2, dtype=DTYPE, generator=torch.Generator().manual_seed(seed))
    normal = (normal - normal.mean(0)) / normal.std(0)
    t = torch.tensor(end, dtype=DTYPE)
    return of.mean(t) + of.variance(t).sqrt() * normal


@pytest.mark.parametrize("sigma", [0.3, 1.0, 2.0])
def test_the_variance_of_equal_scales_is_the_closed_form(sigma: float):
    t = torch.linspace(0, 1, 11, dtype=DTYPE)
    expected = (1 - t) ** 2 + t**2 + t * (1 - t) * math.sqrt(4 + sigma**4)
    assert torch.allclose(bridge(sigma).variance(t), expected, rtol=1e-12)


@pytest.mark.parametrize(("sigma", "scale_0", "scale_1"), [(1.0, 1.0, 1.0), (0.5, 0.6, 1.5), (2.0, 1.5, 0.5)])
def test_the_flow_carries_the_one_to_the_other_through_every_marginal(sigma: float, scale_0: float, scale_1: float):
    """The flow of a normal path is x -> m + sqrt(V / V_1) (x - m_1), in one dimension and so in each."""
    exact = bridge(sigma, scale_0, scale_1)
    x1 = torch.randn(20, 2, dtype=DTYPE, generator=torch.Generator().manual_seed(0))
    times = torch.linspace(1, 0, 5, dtype=DTYPE)
    states = solve_ode(exact, x1, times, rtol=1e-10, atol=1e-10).states
    for t, found in zip(times, states.unbind(1), strict=True):
        expected = exact.mean(t) + (exact.variance(t).sqrt() / scale_1) * (x1 - 1)
        assert torch.allclose(found, expected, rtol=0, atol=1e-8)


@pytest.mark.parametrize("origin", [0.0, 1.0], ids=["forward", "backward"])
def test_the_fields_obey_the_fokker_planck_equation(origin: float):
    """A linear drift A (x - m) + m' with noise sigma has V' = 2 A V + sigma^2, backwards V' = 2 A V - sigma^2."""
    exact, sigma = bridge(0.8, 0.6, 1.5), 0.8
    drift = exact.forward_drift if origin == 0 else exact.backward_drift
    sign = 1 if origin == 0 else -1
    for at in (0.0, 0.2, 0.5, 0.9, 1.0):
        t, h = torch.tensor(at, dtype=DTYPE), 1e-6
        centre = exact.mean(t).unsqueeze(0)
        assert torch.allclose(drift(t, centre), torch.full((1, 2), 2.0, dtype=DTYPE), atol=1e-12)  # m' = m_1 - m_0
        slope = float((drift(t, centre + 1) - drift(t, centre))[0, 0])
        measured = float(exact.variance(t + h) - exact.variance(t - h)) / (2 * h)
        assert measured == pytest.approx(2 * slope * float(exact.variance(t)) + sign * sigma**2, abs=1e-8)


@pytest.mark.parametrize("direction", ["forward", "backward"])
@pytest.mark.parametrize(("sigma", "scale_0", "scale_1"), [(1.0, 1.0, 1.0), (0.8, 0.6, 1.5)])
def test_paths_have_the_marginals_and_the_ends_of_the_bridge(
    sigma: float, scale_0: float, scale_1: float, direction: str
):
    """Marginals alone would also be the flow's: what makes it the Schrodinger bridge is how its ends are coupled."""
    exact = bridge(sigma, scale_0, scale_1)
    times = torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0], dtype=DTYPE)
    times = times if direction == "forward" else times.flip(0)
    first = start(exact, float(times[0]))
    states = exact.solve(first, times, step_size=0.01, generator=torch.Generator().manual_seed(1)).states
    for t, found in zip(times, states.unbind(1), strict=True):
        assert float(found.var(0).mean()) == pytest.approx(float(exact.variance(t)), rel=0.02)
        assert torch.allclose(found.mean(0), exact.mean(t), atol=0.03)
    ends = torch.stack([first[:, 0], states[:, -1, 0]])
    covariance = (math.sqrt(4 * (scale_0 * scale_1) ** 2 + sigma**4) - sigma**2) / 2
    chance = 4 * scale_0 * scale_1 / math.sqrt(COUNT)
    # Euler's steps err by their first order, 0.01.
    assert float(torch.cov(ends)[0, 1]) == pytest.approx(covariance, abs=chance + 0.01)


def test_its_divergence_from_brownian_motion_is_that_of_its_ends():
    """Girsanov's path integral must be KL of the coupling from Brownian motion's: no process with these ends has less.

    Of each component, for x_1 given x_0: of the bridge N(m_1 + c (x_0 - m_0), 1 - c^2), of the motion N(x_0, sigma^2).
    """
    sigma, exact = 1.0, bridge(1.0)
    first = start(exact, 0.0)
    solved = solve_sde(
        exact.forward_drift, exact.diffusion, first, [0.0, 1.0], step_size=0.01,
        prior_drift=lambda t, y: torch.zeros_like(y), generator=torch.Generator().manual_seed(2),
    )  # fmt: skip
    c = (math.sqrt(4 + sigma**4) - sigma**2) / 2
    spread = 1 - c**2
    away = 2**2 + (c - 1) ** 2  # the mean square of m_1 - m_0 + (c - 1) (x_0 - m_0)
    expected = 2 * 0.5 * (spread / sigma**2 + away / sigma**2 - 1 - math.log(spread / sigma**2))
    assert solved.path_kl is not None
    gathered = solved.path_kl[:, -1]
    error = 4 * float(gathered.std()) / math.sqrt(COUNT)
    # Euler's rule of the integral errs by its first order in the step, 1 %.
    assert float(gathered.mean()) == pytest.approx(expected, abs=error + 0.01 * expected)


@pytest.mark.slow
def test_a_learned_bridge_has_the_marginals_of_the_closed_form():
    torch.manual_seed(0)
    generator, sigma = torch.Generator().manual_seed(0), 1.0
    learned = SchrodingerBridge(
        MLP(2, (64, 64), activation="silu", time=True), MLP(2, (64, 64), activation="silu", time=True), sigma
    )
    pair = Entropic(learned.epsilon)
    drawn = []
    for _ in range(400):
        x0, x1 = torch.randn(2, 256, 2, generator=generator)
        drawn.append(pair(x0 - 1, x1 + 1, generator=generator))
    data, source = torch.cat([each.x0 for each in drawn]), torch.cat([each.x1 for each in drawn])
    steps = 1500
    optimizer = torch.optim.Adam(learned.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        rows = torch.randint(len(data), (512,), generator=generator)
        x0, x1 = data[rows], source[rows]
        t = learned.path.draw_times(x0, generator=generator)
        noise = torch.randn(x0.shape, generator=generator)
        losses = bridge_matching_loss(learned.flow, learned.score, x0, x1, t, learned.path, noise=noise)
        optimizer.zero_grad()
        (losses.flow + losses.score).mean().backward()
        optimizer.step()
        schedule.step()
    exact = bridge(sigma)
    for end in (0.0, 1.0):
        times = [end, 0.5, 1 - end]
        first = start(exact, end).float()
        with torch.no_grad():
            paths = learned.solve(first, times, step_size=0.01, generator=generator).states
            flow = solve_ode(learned, first, times, rtol=1e-4, atol=1e-4).states
        for states in (paths, flow):
            for t, found in zip(times[1:], states[:, 1:].unbind(1), strict=True):
                expected = float(exact.variance(torch.tensor(t, dtype=DTYPE)))
                assert float(found.var(0).mean()) == pytest.approx(expected, rel=0.02), (end, t)


def test_fields_may_be_asked_at_each_sample_s_own_time_and_with_conditions():
    exact, x = bridge(), start(bridge(), 0.0)[:4]
    t = torch.linspace(0, 1, 4, dtype=DTYPE)
    for field in (exact, exact.forward_drift, exact.backward_drift):
        single = torch.cat([field(t[i], x[i : i + 1]) for i in range(4)])
        assert torch.allclose(field(t, x), single, rtol=1e-12)
    conditioned = SchrodingerBridge(lambda t, x, c: c.expand_as(x), lambda t, x, c: 0 * x)
    still = SchrodingerBridge(lambda t, x: 0 * x, lambda t, x: 0 * x)
    seeds = torch.arange(4)
    solved = conditioned.solve(x, [0.0, 1.0], args=torch.full((4, 1), 3.0, dtype=DTYPE), step_size=0.5, seeds=seeds)
    unmoved = still.solve(x, [0.0, 1.0], step_size=0.5, seeds=seeds)
    assert torch.allclose(solved.states[:, -1] - unmoved.states[:, -1], torch.full((4, 2), 3.0, dtype=DTYPE))


def test_a_bridge_can_be_copied_and_told_to_learn():
    learned = SchrodingerBridge(MLP(2, (8,), time=True), MLP(2, (8,), time=True))
    assert len(list(learned.parameters())) == 8
    copied = copy.deepcopy(bridge())
    x = torch.zeros(1, 2, dtype=DTYPE)
    copied.mean_0.add_(5)  # pyright: ignore[reportCallIssue]
    assert not torch.equal(copied(torch.tensor(0.0), x), bridge()(torch.tensor(0.0), x))


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: GaussianBridge(0.0, 1.0, sigma=0.0), "scale=0 is out of range"),
        (lambda: GaussianBridge(0.0, 1.0, scale_0=-1.0), "scales of a bridge must be positive"),
        (lambda: bridge().solve(torch.zeros(1, 2), [0.0, 1.5]), r"within \[0, 1\]"),
        (lambda: bridge().solve(torch.zeros(1, 2), [0.0, 0.5, 0.2]), "all rising or all falling"),
        (lambda: bridge().solve(torch.zeros(1, 2), [0.0]), "all rising or all falling"),
    ],
)
def test_mistakes_are_told_in_one_line(make: Callable[[], object], told: str):
    with pytest.raises(InputError, match=told) as caught:
        make()
    assert "\n" not in str(caught.value)
