"""Systems of ordinary differential equations: one contract for all, and closed forms for each."""

import functools
import math

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

from integrand.core.errors import InputError
from integrand.core.numerics import solve_ode
from integrand.datasets.simulations import Simulations
from integrand.datasets.synthetic.simulator import Parameters, Start
from integrand.datasets.synthetic.simulators import SIMULATORS, simulator
from integrand.datasets.synthetic.systems.n_body import gravity
from integrand.datasets.synthetic.systems.stochastic_system import StochasticSystem
from integrand.datasets.synthetic.systems.system import System

NAMES = [name for name, path in SIMULATORS.items() if ".systems." in path]
DETERMINISTIC = [name for name in NAMES if not isinstance(simulator(name), StochasticSystem)]
HAMILTONIAN = ["pendulum", "double_pendulum", "spring_chain", "two_body", "three_body"]
CONSERVING = [*HAMILTONIAN, "lotka_volterra"]


def system(name: str, **options: int) -> System:
    found = simulator(name, **options)
    assert isinstance(found, System)
    return found


def defaults(one: System, samples: int) -> dict[str, Tensor]:
    return {name: torch.full((samples,), value, dtype=torch.float64) for name, value in one.parameters.items()}


@functools.cache
def simulated(name: str) -> Simulations:
    """Four samples over the span, two over half of it where nothing is kept that could be followed farther."""
    one = system(name)
    if one.invariants:
        return one.simulate(4)
    return one.simulate(2, times=torch.linspace(0, one.span / 2, 11, dtype=torch.float64))


def reference(one: System, start: Tensor, times: Tensor, parameters: Parameters) -> Tensor:
    """Solve one sample by scipy's DOP853."""
    own = {name: each[:1] for name, each in parameters.items()}

    def field(t: float, y: np.ndarray) -> np.ndarray:
        return one.field(torch.tensor(t), torch.from_numpy(y)[None], own)[0].numpy()

    span = (float(times[0]), float(times[-1]))
    solved = solve_ivp(field, span, start.numpy(), method="DOP853", t_eval=times.numpy(), rtol=1e-12, atol=1e-12)
    return torch.from_numpy(solved.y.T.copy())


def drawn(one: System, samples: int) -> Tensor:
    """Starts as they are drawn, before any transient, (N, D)."""
    generators = (np.random.Generator(np.random.Philox(key=[0, i])) for i in range(samples))
    return torch.stack([one.draw(each, (), ()).states for each in generators])


def growth(one: System, duration: float) -> float:
    """Return by how much a chaotic system may make a small difference greater, with room for a lively stretch."""
    return 100 * math.exp(one.lyapunov * duration)


@pytest.mark.parametrize("name", NAMES)
def test_a_sample_does_not_depend_on_the_others(name: str):
    """Sample 2 of a batch of three, the first of a batch that starts at 2, and the one alone."""
    one = system(name)
    assert one.step_size is not None
    times, step = [0.0, one.interval, 1.0], 2 * one.step_size
    many = one.simulate(3, times=times, seed=5, step_size=step)
    alone = one.simulate(1, first=2, times=times, seed=5, step_size=step)
    assert many.values.dtype == torch.float64
    assert many.values.shape == (3, 3, len(one.channels))
    tolerance = 1e-14 * growth(one, 1 + one.transient) * float(many.values.abs().max())
    torch.testing.assert_close(many.values[2:], alone.values, rtol=0, atol=tolerance)
    assert not torch.equal(many.values[0, 0], many.values[1, 0])
    assert not torch.equal(drawn(one, 1), many.values[:1, 0])


@pytest.mark.parametrize("name", CONSERVING)
def test_invariants_are_kept_over_the_span(name: str):
    one, data = system(name), simulated(name)
    assert one.invariants
    for what, invariant in one.invariants.items():
        value = invariant(data.values, data.parameters)
        assert value.shape == (4, len(data.times))
        scale = max(1.0, float(value.abs().max()))
        assert float((value - value[:, :1]).abs().max()) < 1e-9 * scale, what
    assert float(data.provenance["time_step_error"]) <= 1e-9


@pytest.mark.parametrize("name", HAMILTONIAN)
def test_the_field_is_hamiltons(name: str):
    """dq/dt = dH/dp and dp/dt = -dH/dq, with H differentiated by autograd and parameters away from 1."""
    one = system(name)
    assert one.canonical
    generator = torch.Generator().manual_seed(0)
    y = torch.randn(6, len(one.channels), dtype=torch.float64, generator=generator).requires_grad_()
    own = {key: 0.5 + torch.rand(6, dtype=torch.float64, generator=generator) for key in one.parameters}
    (slope,) = torch.autograd.grad(one.invariants["energy"](y[:, None], own).sum(), y)
    along_q, along_p = slope.chunk(2, dim=-1)
    torch.testing.assert_close(one.field(torch.tensor(0.0), y.detach(), own), torch.cat([along_p, -along_q], dim=-1))


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_solutions_are_those_of_scipy(name: str):
    """Over half the span, seven to eight Lyapunov times for those that are chaotic."""
    one, data = system(name), simulated(name)
    times = data.times[data.times <= one.span / 2]
    found, expected = data.values[0, : len(times)], reference(one, data.values[0, 0], times, data.parameters)
    chaos = 1e-12 * growth(one, float(times[-1])) * float(expected.abs().max())
    torch.testing.assert_close(found, expected, rtol=0, atol=max(chaos if one.lyapunov else 0.0, 2e-9))


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_the_time_step_error_is_told_truly(name: str):
    """At steps four times too long it is, to a tenth, the distance from a far better solution."""
    one = system(name)
    assert one.step_size is not None
    step = 4 * one.step_size
    times = torch.tensor([0.0, 4 * step, 8 * step], dtype=torch.float64)
    data = one.simulate(3, times=times, step_size=step)
    better = one.advance(Start(data.values[:, 0]), times, data.parameters, step_size=step / 4)
    true = float((data.values - better).abs().max())
    assert true > 1e-13
    assert float(data.provenance["time_step_error"]) == pytest.approx(true, rel=0.1)


ORDER = {
    "pendulum": (4.0, 16, 24),
    "damped_pendulum": (2.0, 8, 12),
    "double_pendulum": (1.0, 8, 10),
    "spring_chain": (4.0, 12, 24),
    "two_body": (20.0, 24, 40),
    "lotka_volterra": (2.0, 16, 24),
    "van_der_pol": (1.0, 7, 10),
    "lorenz63": (0.5, 28, 40),
    "lorenz96": (0.5, 12, 24),
}
"""A duration and two numbers of steps, for errors between what rounding hides and what higher orders blur."""


@pytest.mark.parametrize("name", ORDER)
def test_the_solver_has_order_eight(name: str):
    """The slope of error against step, the mean over samples: a single sample's error may pass through zero."""
    one, (duration, few, many) = system(name), ORDER[name]
    times = torch.tensor([0.0, duration], dtype=torch.float64)
    start, own = drawn(one, 64), defaults(one, 64)

    def last(steps: int) -> Tensor:
        return one.advance(Start(start), times, own, step_size=duration / steps * (1 + 1e-12))[:, -1]

    exact = last(128)
    rough, fine = ((last(steps) - exact).norm(dim=-1).log().mean() for steps in (few, many))
    assert float(rough - fine) / math.log(many / few) == pytest.approx(8, abs=0.1)


@pytest.mark.parametrize("name", NAMES)
def test_a_system_keeps_to_its_device_and_precision(name: str):
    """Without values, on the meta device: a tensor made elsewhere would be refused."""
    one = system(name)
    y = torch.empty(3, len(one.channels), device="meta", dtype=torch.float32)
    own = {key: torch.empty(3, device="meta", dtype=torch.float64) for key in one.parameters}
    out = one.field(torch.zeros((), device="meta"), y, own)
    assert (out.device.type, out.dtype, out.shape) == ("meta", torch.float32, y.shape)
    for invariant in one.invariants.values():
        assert invariant(y[:, None], own).shape == (3, 1)
    if one.known_parameters:
        assert one.known_field(torch.zeros((), device="meta"), y, own).dtype == torch.float32


@pytest.mark.parametrize("name", NAMES)
def test_bad_input_is_refused(name: str):
    one = system(name)
    with pytest.raises(InputError, match=f"unknown parameter of {name} 'viscosity'"):
        one.simulate(1, parameters={"viscosity": 1.0})
    with pytest.raises(InputError, match="has no grid"):
        one.simulate(1, points=(64,))


def test_a_blow_up_is_refused_and_named():
    with pytest.raises(InputError, match=r"van_der_pol: the solution of sample 3 ceased to be finite before t = "):
        system("van_der_pol").simulate(2, first=3, parameters={"mu": 200.0}, step_size=0.1)


def test_unknown_options_of_a_simulator_are_refused():
    with pytest.raises(InputError, match="unknown size of spring_chain 'mases': did you mean 'masses'"):
        simulator("spring_chain", mases=3)
    with pytest.raises(InputError, match="unknown size of pendulum 'masses'"):
        simulator("pendulum", masses=3)
    with pytest.raises(InputError, match="masses=1 is out of range"):
        simulator("spring_chain", masses=1)
    with pytest.raises(InputError, match="variables=3 is out of range"):
        simulator("lorenz96", variables=3)


def test_sizes_are_chosen():
    assert simulator("lorenz96", variables=36).simulate(1, times=[0.0, 0.1]).values.shape == (1, 2, 36)
    assert simulator("spring_chain", masses=3).simulate(1, times=[0.0, 0.1]).values.shape == (1, 2, 6)


@pytest.mark.parametrize("name", ["lotka_volterra", "damped_pendulum"])
def test_known_part_and_remainder(name: str):
    """The known part has gradients for its own parameters and needs no others; with the remainder it is the field."""
    one = system(name)
    data = one.simulate(5, times=[0.0, 1.0], parameters=dict.fromkeys(one.parameters, (0.5, 1.5)))
    t, y = torch.tensor(0.0), data.values[:, 1]
    own = {key: data.parameters[key].clone().requires_grad_() for key in one.known_parameters}
    known = one.known_field(t, y, own)
    assert all(bool((slope != 0).all()) for slope in torch.autograd.grad(known.sum(), list(own.values())))
    torch.testing.assert_close(known + one.remainder(t, y, data.parameters), one.field(t, y, data.parameters))


def test_what_is_to_be_learned():
    at = torch.tensor(0.0)
    y = torch.tensor([[2.0, 3.0], [0.5, -4.0]], dtype=torch.float64)
    own = {"alpha": 1.0, "beta": 2.0, "gamma": 3.0, "delta": 4.0}
    meetings = system("lotka_volterra").remainder(at, y, {key: torch.full((2,), value) for key, value in own.items()})
    torch.testing.assert_close(meetings, torch.tensor([[-12.0, 18.0], [4.0, -6.0]], dtype=torch.float64))
    own = {"frequency": 1.3, "friction": 0.5, "drag": 0.25}
    friction = system("damped_pendulum").remainder(at, y, {key: torch.full((2,), value) for key, value in own.items()})
    torch.testing.assert_close(friction, torch.tensor([[0.0, -3.75], [0.0, 6.0]], dtype=torch.float64))


def test_a_system_without_a_known_part_says_so():
    with pytest.raises(InputError, match="pendulum has no known part"):
        system("pendulum").known_field(torch.tensor(0.0), torch.zeros(1, 2), {})


def test_the_period_of_small_swings_is_two_pi():
    """To the fourth order in the amplitude a: 2 pi (1 + a^2 / 16)."""
    one, amplitude = system("pendulum"), 0.01
    period = 2 * math.pi * (1 + amplitude**2 / 16)
    start = torch.tensor([[amplitude, 0.0]], dtype=torch.float64)
    times = torch.tensor([0.0, period / 4, period], dtype=torch.float64)
    values = one.advance(Start(start), times, defaults(one, 1), step_size=0.05)[0]
    assert float(values[1, 0]) == pytest.approx(0, abs=1e-10)  # a^5
    torch.testing.assert_close(values[2], start[0], rtol=0, atol=1e-10)


def test_linear_friction_damps_small_swings_as_an_oscillator():
    """q = a exp(-c t / 2) (cos w' t + c / (2 w') sin w' t), w'^2 = w^2 - c^2 / 4."""
    one, a, c, w = system("damped_pendulum"), 1e-5, 0.3, 1.4
    times = torch.linspace(0, 10, 21, dtype=torch.float64)
    own = {key: torch.tensor([v], dtype=torch.float64) for key, v in (("frequency", w), ("friction", c), ("drag", 0.0))}
    values = one.advance(Start(torch.tensor([[a, 0.0]], dtype=torch.float64)), times, own, step_size=0.05)[0]
    shifted = math.sqrt(w**2 - c**2 / 4)
    exact = a * (-c * times / 2).exp() * ((shifted * times).cos() + c / (2 * shifted) * (shifted * times).sin())
    torch.testing.assert_close(values[:, 0], exact, rtol=0, atol=a**3)


def test_the_double_pendulum_has_two_small_modes():
    """Equal masses and rods: frequencies squared (2 - sqrt 2) g / l and (2 + sqrt 2) g / l, shapes (1, +-sqrt 2)."""
    one, times = system("double_pendulum"), torch.linspace(0, 10, 21, dtype=torch.float64)
    for sign in (1, -1):
        start = 1e-5 * torch.tensor([[1.0, sign * math.sqrt(2), 0.0, 0.0]], dtype=torch.float64)
        values = one.advance(Start(start), times, defaults(one, 1), step_size=0.05)[0]
        swing = (math.sqrt(2 - sign * math.sqrt(2)) * times).cos()
        torch.testing.assert_close(values[:, :2], swing[:, None] * start[0, :2], rtol=0, atol=1e-13)


@pytest.mark.parametrize("mode", [1, 2, 4])
def test_the_modes_of_a_spring_chain(mode: int):
    """cos(pi j (i - 1/2) / n) along the chain turns with frequency 2 sqrt(k / m) sin(pi j / (2 n))."""
    one, n, mass, stiffness = system("spring_chain"), 5, 2.0, 3.0
    shape = (math.pi * mode * (torch.arange(n, dtype=torch.float64) + 0.5) / n).cos()
    own = {
        "mass": torch.tensor([mass], dtype=torch.float64),
        "stiffness": torch.tensor([stiffness], dtype=torch.float64),
    }
    times = torch.linspace(0, 20, 11, dtype=torch.float64)
    values = one.advance(Start(torch.cat([shape, 0 * shape])[None]), times, own, step_size=0.05)[0]
    turning = 2 * math.sqrt(stiffness / mass) * math.sin(math.pi * mode / (2 * n)) * times
    torch.testing.assert_close(values[:, :n], turning.cos()[:, None] * shape, rtol=0, atol=1e-9)


def test_a_circular_orbit_is_a_circle():
    """Unit masses at +-r turn with angular velocity r^(-3/2) / 2."""
    one, r = system("two_body"), 0.8
    speed = 1 / (2 * math.sqrt(r))
    start = torch.tensor([[r, 0, -r, 0, 0, speed, 0, -speed]], dtype=torch.float64)
    times = torch.linspace(0, 20, 11, dtype=torch.float64)
    values = one.advance(Start(start), times, defaults(one, 1), step_size=0.1)[0]
    turn = r**-1.5 / 2 * times
    torch.testing.assert_close(values[:, :2], r * torch.stack([turn.cos(), turn.sin()], dim=-1), rtol=0, atol=1e-9)
    torch.testing.assert_close(values[:, 2:4], -values[:, :2], rtol=0, atol=1e-12)


def test_keplers_third_law():
    """Masses 1 and 3 apart by 2 at aphelion, of eccentricity 0.4: the state recurs after 2 pi sqrt(a^3 / (G M))."""
    one, constant = system("two_body"), 0.7
    m1, m2, apart, eccentricity = 1.0, 3.0, 2.0, 0.4
    axis = apart / (1 + eccentricity)
    speed = math.sqrt(constant * (m1 + m2) * (2 / apart - 1 / axis))
    total, momentum = m1 + m2, m1 * m2 / (m1 + m2) * speed
    start = torch.tensor(
        [[apart * m2 / total, 0, -apart * m1 / total, 0, 0, momentum, 0, -momentum]], dtype=torch.float64
    )
    period = 2 * math.pi * math.sqrt(axis**3 / (constant * total))
    own = {
        key: torch.tensor([value], dtype=torch.float64)
        for key, value in (("mass_1", m1), ("mass_2", m2), ("gravity", constant))
    }
    times = torch.tensor([0.0, period / 2, period], dtype=torch.float64)
    values = one.advance(Start(start), times, own, step_size=0.02)[0]
    torch.testing.assert_close(values[2], start[0], rtol=0, atol=1e-10)
    nearest = float((values[1, :2] - values[1, 2:4]).norm())
    assert nearest == pytest.approx(axis * (1 - eccentricity), abs=1e-10)


def test_orbits_are_drawn_as_published():
    """Places in the square (0.5, 1.5)^2, opposite one another, and speeds of a circle times 1 + 0.05 z."""
    values = system("two_body").simulate(500, times=[0.0, 1e-6]).values[:, 0]
    q, p = values[:, :2], values[:, 4:6]
    torch.testing.assert_close(values[:, 2:4], -q)
    torch.testing.assert_close(values[:, 6:], -p)
    assert 0.5 < float(q.min()) < 0.51
    assert 1.49 < float(q.max()) < 1.5
    assert float((q * p).sum(-1).abs().max()) < 1e-14
    share = 2 * p.norm(dim=-1) * q.norm(dim=-1).sqrt()
    assert float(share.mean()) == pytest.approx(1, abs=4 * 0.05 / math.sqrt(500))
    assert float(share.std()) == pytest.approx(0.05, rel=4 / math.sqrt(2 * 500))


def test_the_figure_of_eight_returns():
    """Chenciner and Montgomery (2000), with Simo's eight digits: period 6.32591398, three bodies on one curve."""
    one, period = system("three_body"), 6.32591398
    x, y, vx, vy = 0.97000436, -0.24308753, -0.93240737, -0.86473146
    start = torch.tensor([[x, y, -x, -y, 0, 0, -vx / 2, -vy / 2, -vx / 2, -vy / 2, vx, vy]], dtype=torch.float64)
    times = torch.tensor([0.0, period / 3, period], dtype=torch.float64)
    values = one.advance(Start(start), times, defaults(one, 1), step_size=0.1)[0]
    torch.testing.assert_close(values[2], start[0], rtol=0, atol=1e-6)
    bodies = values[:2, :6].view(2, 3, 2)
    rolled = min(float((bodies[1].roll(k, 0) - bodies[0]).abs().max()) for k in (1, 2))
    assert rolled < 1e-6  # after a third of the period each is where another was


def test_lagranges_triangle_stands():
    one, r = system("three_body"), 1.1
    turns = 2 * math.pi / 3 * torch.arange(3, dtype=torch.float64)
    out, along = torch.stack([turns.cos(), turns.sin()], -1), torch.stack([-turns.sin(), turns.cos()], -1)
    start = torch.cat([(r * out).flatten(), (along / (3**0.25 * math.sqrt(r))).flatten()])[None]
    values = one.advance(Start(start), torch.tensor([0.0, 3.0], dtype=torch.float64), defaults(one, 1), step_size=0.1)[
        0
    ]
    turn = torch.tensor(3.0 / (3**0.25 * r**1.5), dtype=torch.float64)
    torch.testing.assert_close(values[1, :2], r * torch.stack([turn.cos(), turn.sin()]), rtol=0, atol=1e-8)


def test_gravity_in_space():
    """Two bodies 3 apart along a diagonal: accelerations in proportion to the other's strength, 1 / 9 of it."""
    q = torch.tensor([[[0.0, 0.0, 0.0], [1.0, 2.0, 2.0]]], dtype=torch.float64)
    pull = gravity(q, torch.tensor([2.0, 5.0], dtype=torch.float64))[0]
    torch.testing.assert_close(pull[0], 5 / 27 * q[0, 1])
    torch.testing.assert_close(pull[1], -2 / 27 * q[0, 1])


def test_small_cycles_of_predators_and_prey():
    """About the equilibrium they turn with frequency sqrt(alpha delta)."""
    one = system("lotka_volterra")
    still = torch.tensor([[1.8 / 0.8, 1.3 / 0.9]], dtype=torch.float64)
    times = torch.tensor([0.0, 1.0, one.time_scale], dtype=torch.float64)
    values = one.advance(Start(still), times, defaults(one, 1), step_size=0.05)[0]
    torch.testing.assert_close(values, still.expand(3, 2), rtol=0, atol=1e-12)
    start = still + torch.tensor([[1e-6, 0.0]], dtype=torch.float64)
    values = one.advance(Start(start), times, defaults(one, 1), step_size=0.05)[0]
    torch.testing.assert_close(values[2], start[0], rtol=0, atol=1e-11)


def test_the_limit_cycle_of_van_der_pol():
    """Period 6.6632868593 (Andersen and Geer, 1982) and amplitude 2.00862 at mu = 1, from inside and outside."""
    one = system("van_der_pol")
    start = torch.tensor([[0.1, 0.0], [3.0, 3.0]], dtype=torch.float64)
    times = torch.tensor([0.0, 40.0], dtype=torch.float64)
    settled = one.advance(Start(start), times, defaults(one, 2), step_size=0.05)[:, -1]
    period = 6.6632868593
    around = one.advance(
        Start(settled), torch.linspace(0, period, 501, dtype=torch.float64), defaults(one, 2), step_size=0.05
    )
    torch.testing.assert_close(around[:, -1], settled, rtol=0, atol=1e-9)
    assert around[:, :, 0].amax(1).tolist() == pytest.approx([2.00862] * 2, abs=1e-4)  # between two of 501 points


def lyapunov_exponents(one: System, samples: int, duration: float, step: float) -> Tensor:
    """Benettin's method: neighbours a millionth away in D directions, made orthonormal again every five steps."""
    apart = 1e-6
    y = one.simulate(samples, times=[0.0, 1.0], seed=1).values[:, 1]
    size = y.shape[-1]
    frame = torch.eye(size, dtype=y.dtype).expand(samples, size, size)
    own = defaults(one, samples * (size + 1))
    total, counted = torch.zeros(samples, size, dtype=y.dtype), 0.0
    for i in range(round(duration / (5 * step))):
        near = torch.cat([y[:, None], y[:, None] + apart * frame.mT], dim=1).flatten(0, 1)
        times = torch.tensor([0.0, 5 * step], dtype=y.dtype)
        near = solve_ode(one.field, near, times, args=own, method="dopri5", step_size=step).states[:, -1]
        y, rest = near.unflatten(0, (samples, size + 1)).split([1, size], dim=1)
        frame, triangle = torch.linalg.qr((rest - y).mT / apart)
        y = y[:, 0]
        if i * 5 * step >= duration / 4:
            total += triangle.diagonal(dim1=-2, dim2=-1).abs().log()
            counted += 5 * step
    return total.mean(0) / counted


def test_the_exponents_of_lorenz_63():
    """0.906, 0 and -14.572, whose sum is -(sigma + 1 + beta) exactly."""
    found = lyapunov_exponents(system("lorenz63"), samples=1000, duration=16, step=0.02)
    assert float(found[0]) == pytest.approx(0.906, rel=0.02)
    assert float(found[1]) == pytest.approx(0, abs=0.02)
    assert float(found[2]) == pytest.approx(-14.572, rel=0.02)
    assert float(found.sum()) == pytest.approx(-(10 + 1 + 8 / 3), rel=1e-4)


def test_starts_lie_on_the_attractor():
    """Means of Lorenz 63: x and y zero, z 23.55. Energy balance of Lorenz 96: the mean of x^2 is F times that of x."""
    values = system("lorenz63").simulate(400, times=[0.0, 0.1], step_size=0.025).values[:, 0]
    error = values.std(0) / math.sqrt(400)
    assert bool(((values.mean(0) - torch.tensor([0.0, 0.0, 23.55])).abs() < 4 * error).all())
    values = system("lorenz96").simulate(100, times=[0.0, 0.1], step_size=0.025).values[:, 0]
    balance = values.square().mean(1) - 8 * values.mean(1)
    assert abs(float(balance.mean())) < 4 * float(balance.std()) / math.sqrt(100)
