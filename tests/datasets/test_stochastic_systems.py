"""Systems driven at random: what holds for all beside the contract of systems, and closed forms for each."""

import math
from itertools import pairwise
from typing import ClassVar

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import kstest
from torch import Tensor

from integrand.core.errors import InputError
from integrand.core.numerics import solve_sde
from integrand.datasets.synthetic.simulator import Generator, Parameters, Start
from integrand.datasets.synthetic.simulators import SIMULATORS, simulator
from integrand.datasets.synthetic.systems.double_well import DoubleWell
from integrand.datasets.synthetic.systems.stochastic_system import StochasticSystem

STOCHASTIC = [
    name for name, path in SIMULATORS.items() if ".systems." in path and isinstance(simulator(name), StochasticSystem)
]


class GeometricMotion(StochasticSystem):
    """Geometric Brownian motion dy = a y dt + b y dW = y0 exp((a - b^2 / 2) t + b W), and so a known path."""

    name, summary, source = "geometric", "geometric Brownian motion", "closed form"
    channels = ("value",)
    parameters: ClassVar = {"growth": 0.3, "noise": 0.4}
    span, interval, step_size = 1.0, 0.5, 0.05

    def field(self, t: Tensor, y: Tensor, parameters: Parameters) -> Tensor:
        """Return a y."""
        return parameters["growth"].to(y)[:, None] * y

    def diffusion(self, t: Tensor, y: Tensor, parameters: Parameters) -> Tensor:
        """Return b y."""
        return parameters["noise"].to(y)[:, None] * y

    def place(self, generator: Generator) -> Tensor:
        """Begin at 1."""
        return torch.ones(1, dtype=torch.float64)


def stochastic(name: str) -> StochasticSystem:
    found = simulator(name)
    assert isinstance(found, StochasticSystem)
    return found


def starts(one: StochasticSystem, samples: int, seed: int = 0) -> tuple[Start, dict[str, Tensor]]:
    generators = (np.random.Generator(np.random.Philox(key=[seed, i])) for i in range(samples))
    own = {name: torch.full((samples,), value, dtype=torch.float64) for name, value in one.parameters.items()}
    return Start.stacked([one.draw(each, (), ()) for each in generators]), own


@pytest.mark.parametrize("name", STOCHASTIC)
def test_a_path_does_not_depend_on_the_times_kept(name: str):
    """But for the steps being divided otherwise, none here."""
    one = stochastic(name)
    assert one.step_size is not None
    few = one.simulate(2, times=[0.0, 0.64])
    many = one.simulate(2, times=torch.arange(33, dtype=torch.float64) * 0.02, step_size=one.step_size)
    torch.testing.assert_close(few.values[:, 1], many.values[:, 32], rtol=0, atol=1e-10)
    assert float(many.values[:, 1:].diff(dim=1).abs().min()) > 0


@pytest.mark.parametrize("name", STOCHASTIC)
def test_the_time_step_error_is_the_distance_to_the_path_of_half_the_step(name: str):
    one = stochastic(name)
    assert one.step_size is not None
    times = torch.tensor([0.0, 1.0, 2.0], dtype=torch.float64)
    data = one.simulate(3, times=times)
    start, own = starts(one, 3)
    torch.testing.assert_close(start.states, data.values[:, 0], rtol=0, atol=0)
    finer = one.advance(start, times, own, step_size=one.step_size / 2)
    error = float((finer - data.values).abs().max())
    assert 0 < error < 0.01
    assert data.provenance["time_step_error"] == error


@pytest.mark.parametrize("name", STOCHASTIC)
def test_samples_have_noise_of_their_own_and_seeds_draw_it_anew(name: str):
    one = stochastic(name)
    start, own = starts(one, 2)
    same = start._replace(states=start.states[:1].expand_as(start.states))
    times = torch.tensor([0.0, 0.5], dtype=torch.float64)
    moved = one.advance(same, times, own, step_size=one.step_size)[:, 1] - same.states
    assert float((moved[0] - moved[1]).abs().min()) > 1e-3
    assert not torch.equal(one.simulate(1, times=times, seed=1).values, one.simulate(1, times=times, seed=2).values)


@pytest.mark.parametrize("name", STOCHASTIC)
def test_a_path_needs_its_seeds(name: str):
    one = stochastic(name)
    start, own = starts(one, 1)
    with pytest.raises(InputError, match=f"{name} is driven at random: give Start the seeds"):
        one.advance(Start(start.states), torch.tensor([0.0, 1.0]), own, step_size=0.1)


@pytest.mark.parametrize("name", STOCHASTIC)
def test_fields_keep_to_their_device_and_precision(name: str):
    one = stochastic(name)
    y = torch.empty(3, len(one.channels), device="meta", dtype=torch.float32)
    own = {key: torch.empty(3, device="meta", dtype=torch.float64) for key in one.parameters}
    g = one.diffusion(torch.zeros((), device="meta"), y, own)
    assert (g.device.type, g.dtype, g.shape) == ("meta", torch.float32, y.shape)
    density = one.log_density(y, own)
    assert density is None or (density.device.type, density.shape) == ("meta", (3,))


def test_paths_of_geometric_motion_have_strong_order_three_halves():
    """Against the closed form, whose W is that of the same seeds: the mean distance at time 1."""
    one, samples = GeometricMotion(), 400
    start, own = starts(one, samples)
    times = torch.tensor([0.0, 1.0], dtype=torch.float64)
    w = solve_sde(  # dW alone
        lambda t, y: torch.zeros_like(y), lambda t, y: torch.ones_like(y), 0 * start.states, times, seeds=start.seeds
    ).states[:, 1]
    exact = ((0.3 - 0.4**2 / 2) + 0.4 * w).exp()
    errors = [
        float((one.advance(start, times, own, step_size=1 / steps)[:, 1] - exact).abs().mean()) for steps in (8, 32)
    ]
    assert math.log(errors[0] / errors[1]) / math.log(4) == pytest.approx(1.5, abs=0.1)


@pytest.fixture(scope="module")
def settled() -> Tensor:
    """Positions (N,) of many particles when the wells have long forgotten where they began, in float64."""
    return DoubleWell().simulate(2000, times=[0.0, 8.0], step_size=0.0625, seed=3).values[:, 1, 0]


def test_particles_in_two_wells_are_distributed_as_boltzmann_says(settled: Tensor):
    """The density exp(-V / T), its normal constant by scipy: the statistic of Kolmogorov and Smirnov."""
    temperature = DoubleWell.parameters["temperature"]

    def density(x: float) -> float:
        return math.exp(-((x**2 - 1) ** 2) / (4 * temperature))

    grid = np.linspace(-3, 3, 601)
    pieces = [quad(density, a, b)[0] for a, b in pairwise(grid)]
    below = np.concatenate([[0.0], np.cumsum(pieces)]) / sum(pieces)
    assert kstest(settled.numpy(), lambda x: np.interp(x, grid, below)).pvalue > 0.01
    told = DoubleWell().log_density(torch.tensor([[0.3], [0.0]]), {"temperature": torch.full((2,), temperature)})
    assert float(told[0] - told[1]) == pytest.approx(math.log(density(0.3) / density(0.0)), rel=1e-5)


def test_particles_in_two_wells_keep_the_virial_theorem(settled: Tensor):
    """The mean of x V' = x^4 - x^2 is T, whatever the potential."""
    virial = settled**4 - settled**2
    error = float(virial.std()) / math.sqrt(len(virial))
    assert float(virial.mean()) == pytest.approx(DoubleWell.parameters["temperature"], abs=3 * error)


def test_a_cold_particle_is_an_ornstein_uhlenbeck_process():
    """About x = 1 the force is -2 (x - 1): variance T / 2 (1 - exp(-4 t)), and correlation exp(-2 t)."""
    one, samples, temperature = DoubleWell(), 4000, 1e-4
    start, own = starts(one, samples)
    times = torch.tensor([0.0, 0.25, 0.5], dtype=torch.float64)
    own = {"temperature": torch.full_like(own["temperature"], temperature)}
    x = one.advance(start._replace(states=torch.ones_like(start.states)), times, own, step_size=0.0625)[..., 0] - 1
    for i in (1, 2):
        exact = temperature / 2 * (1 - math.exp(-4 * float(times[i])))
        assert float(x[:, i].var()) == pytest.approx(exact, rel=4 * math.sqrt(2 / samples))
    slope = float((x[:, 1] * x[:, 2]).mean() / x[:, 1].square().mean())
    assert slope == pytest.approx(math.exp(-0.5), abs=4 * math.sqrt(1 / samples))


def test_the_temperature_is_a_parameter():
    drawn = DoubleWell().simulate(3, times=[0.0, 0.1], parameters={"temperature": (0.1, 0.3)}).parameters["temperature"]
    assert 0.1 < float(drawn.min()) < float(drawn.max()) < 0.3
