"""Burgers, Kuramoto-Sivashinsky and Korteweg-de Vries: closed forms, other methods, orders in time and space."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.integrate import quad, solve_ivp
from torch import Tensor

from integrand.datasets.synthetic.equations.burgers import Burgers, PDEBenchBurgers
from integrand.datasets.synthetic.equations.burgers_etd import BurgersETD
from integrand.datasets.synthetic.equations.equation import Equation
from integrand.datasets.synthetic.equations.korteweg_de_vries import KortewegDeVries, Solitons
from integrand.datasets.synthetic.equations.kuramoto_sivashinsky import KuramotoSivashinsky
from integrand.datasets.synthetic.simulator import Parameters, Start

TURN = 2 * math.pi


def solved(
    one: Equation, u: np.ndarray, t: float, length: float, step: float | None = None, **parameters: float
) -> np.ndarray:
    """Return the solution (X,) after the time t from u (X,)."""
    own = {name: torch.tensor([value], dtype=torch.float64) for name, value in {**one.parameters, **parameters}.items()}
    times = torch.tensor([0.0, t], dtype=torch.float64)
    return one.advance(Start(torch.from_numpy(u)[None, None]), times, own, lengths=(length,), step_size=step)[
        0, -1, 0
    ].numpy()


def points(n: int, length: float) -> np.ndarray:
    return np.arange(n) * length / n


# Burgers


def _benton_platzman(x: np.ndarray, t: float, nu: float, mean: float) -> np.ndarray:
    """The solution whose theta is 1.25 + exp(-nu t) cos z, moved by its mean; Benton and Platzman (1972)."""
    z = x - mean * t
    decay = math.exp(-nu * t)
    return mean + 2 * nu * decay * np.sin(z) / (1.25 + decay * np.cos(z))


@pytest.mark.parametrize(("one", "step", "error"), [(Burgers(), None, 1e-12), (BurgersETD(), 0.005, 1e-9)])
def test_burgers_has_the_closed_form(one: Equation, step: float | None, error: float):
    x, nu = points(128, TURN), 0.3
    u = solved(one, _benton_platzman(x, 0, nu, 0.7), 0.9, TURN, step, viscosity=nu)
    np.testing.assert_allclose(u, _benton_platzman(x, 0.9, nu, 0.7), rtol=0, atol=error)


def test_both_ways_of_cole_and_hopf_agree():
    """From where the heat equation leaves digits enough to where it leaves none, samples of either kind in one call."""
    from integrand.datasets.synthetic.equations.burgers import _HeatKernel

    one = Burgers()
    for viscosity in (0.1, 0.05, 0.02):
        made = one.simulate(4, times=[0.0], parameters={"viscosity": viscosity})
        heat = _HeatKernel(made.values[:, 0, 0], made.parameters, made.lengths[0])
        for t in (0.01, 1.0):
            kernel = torch.stack([heat._by_quadrature(i, t) for i in range(4)])
            torch.testing.assert_close(heat.velocity(t), kernel, rtol=0, atol=5e-11)


def test_a_shock_is_as_an_adaptive_quadrature_has_it():
    """u_0 = sin x at viscosity 0.002, where theta spans 10^217: scipy's quad at single points, near the shock, too."""
    nu, t, n = 0.002, 1.5, 64
    u = solved(Burgers(), np.sin(points(n, TURN)), t, TURN, viscosity=nu)

    def known(x: float) -> float:
        y = np.linspace(x - 3, x + 3, 20001)
        exponent = -((x - y) ** 2) / (4 * nu * t) - (1 - np.cos(y)) / (2 * nu)
        top = y[exponent.argmax()]

        def weight(y: float) -> float:
            return math.exp(-((x - y) ** 2) / (4 * nu * t) - (1 - math.cos(y)) / (2 * nu) - exponent.max())

        bounds = {"epsabs": 1e-14, "epsrel": 1e-13, "limit": 400, "points": [top]}
        total, first = (quad(f, top - 1, top + 1, **bounds)[0] for f in (weight, lambda y: (x - y) / t * weight(y)))
        return first / total

    for i in (3, 12, 25, 30, 31):
        assert abs(u[i] - known(TURN * i / n)) < 1e-10


def test_steps_and_closed_form_agree():
    """To 1e-6 with the default step and grid; with finer ones to what is left of the start's own waves."""
    for n, step, error in ((256, 0.0025, 1e-6), (512, 0.00125, 2e-8)):
        exact = Burgers().simulate(4, points=(n,), times=[0.0, 0.5, 1.0]).values
        steps = BurgersETD().simulate(4, points=(n,), times=[0.0, 0.5, 1.0], step_size=step).values
        torch.testing.assert_close(steps, exact, rtol=0, atol=error)


def test_shocks_need_not_be_resolved():
    """PDEBench's least viscosity: what the shock is does not depend on the grid, if the start has few waves."""
    parameters = {"viscosity": 0.001 / math.pi}
    fine, coarse = (
        PDEBenchBurgers().simulate(1, first=1, points=(n,), times=[0.0, 1.0], parameters=parameters).values
        for n in (256, 64)
    )
    torch.testing.assert_close(fine[..., ::4], coarse, rtol=0, atol=1e-11)
    assert fine[0, 1].diff().abs().max() > 0.5 * (fine[0, 1].max() - fine[0, 1].min())


class _Manufactured(BurgersETD):
    """Burgers' equation with the force that makes sin(x - t) + 1/2 cos(2 x + 3 t) its solution."""

    def forcing(self, t: Tensor, x: Tensor, parameters: Parameters) -> Tensor:
        nu, a, b = parameters["viscosity"].view(-1, 1, 1), x - t, 2 * x + 3 * t
        u, slope = a.sin() + b.cos() / 2, a.cos() - b.sin()
        return -a.cos() - 1.5 * b.sin() + u * slope + nu * (a.sin() + 2 * b.cos())


def test_any_force_can_be_added():
    x, one = points(64, TURN), _Manufactured()

    def known(t: float) -> np.ndarray:
        return np.sin(x - t) + np.cos(2 * x + 3 * t) / 2

    errors = [np.abs(solved(one, known(0), 1.0, TURN, h, viscosity=0.1) - known(1.0)).max() for h in (0.02, 0.01)]
    assert errors[1] < 1e-7
    assert abs(math.log2(errors[0] / errors[1]) - 4) < 0.1
    times = torch.linspace(0, 0.02, 21, dtype=torch.float64)
    made = torch.from_numpy(np.stack([known(float(t)) for t in times]))[None, :, None]
    nu = {"viscosity": torch.tensor([0.1], dtype=torch.float64)}
    assert one.residual(made, times, nu, lengths=(TURN,)).abs().max() < 1e-5  # of the differences: interval^2 / 6 u_ttt


# Orders


@pytest.mark.parametrize(
    ("one", "length", "t", "step"),
    [
        (BurgersETD(), TURN, 0.5, 0.01),
        (KortewegDeVries(), 32.0, 2.0, 0.025),
        (KuramotoSivashinsky(), 32.0, 1.0, 0.0125),
    ],
)
def test_the_order_in_time_is_four(one: Equation, length: float, t: float, step: float):
    x = TURN / length * points(96, length)
    u = np.cos(x) + np.sin(2 * x + 1) / 2
    finest = solved(one, u, t, length, step / 8)
    errors = [np.abs(solved(one, u, t, length, h) - finest).max() for h in (step, step / 2)]
    assert abs(math.log2(errors[0] / errors[1]) - 4) < 0.1


# Korteweg-de Vries


def _soliton(x: np.ndarray, length: float, c: float, place: float) -> np.ndarray:
    away = (x - place + length / 2) % length - length / 2
    return 3 * c / np.cosh(math.sqrt(c) / 2 * away) ** 2


def _soliton_error(n: int, step: float) -> float:
    length, t, c = 48.0, 8.0, 1.0
    x = points(n, length)
    u = solved(KortewegDeVries(), _soliton(x, length, c, 16.0), t, length, step)
    return float(np.abs(u - _soliton(x, length, c, 16.0 + c * t)).max())


def test_the_error_of_a_soliton_falls_at_order_four_to_the_floor_of_the_grid():
    """Steps: 192 points, where the floor is below. Grid: the floor is that of the soliton's waves beyond n / 3.

    A soliton's waves fall as exp(-pi k / sqrt(c)), with k = 2 pi / L n / 3 at the cut.
    """
    errors = [_soliton_error(192, h) for h in (0.02, 0.01, 0.005)]
    for coarse, fine in pairwise(errors):
        assert abs(math.log2(coarse / fine) - 4) < 0.15
    floors = [_soliton_error(n, 0.01) for n in (72, 84, 96)]
    known = math.pi * TURN / 48.0 / 3 * 12
    for coarse, fine in pairwise(floors):
        assert abs(math.log(coarse / fine) / known - 1) < 0.1


def _two_solitons(x: np.ndarray, t: float) -> np.ndarray:
    """12 (log det(1 + A))_xx; Gardner, Greene, Kruskal and Miura (1974), for u_t + u u_x + u_xxx = 0."""
    k, at = np.array([1.0, 0.6]), np.array([-12.0, 0.0])  # speeds k^2
    a, b = (np.exp(k[i] * (x - at[i]) - k[i] ** 3 * t) for i in (0, 1))
    cross = ((k[0] - k[1]) / (k[0] + k[1])) ** 2
    tau = 1 + a + b + cross * a * b
    first = k[0] * a + k[1] * b + cross * k.sum() * a * b
    second = k[0] ** 2 * a + k[1] ** 2 * b + cross * k.sum() ** 2 * a * b
    return 12 * (second / tau - (first / tau) ** 2)


def test_two_solitons_overtake_as_known():
    """On a circle so long that they do not see its ends; the faster one ends ahead."""
    length, n = 96.0, 384
    x = points(n, length) - 48.0
    u = solved(KortewegDeVries(), _two_solitons(x, 0.0), 24.0, length, 0.02)
    np.testing.assert_allclose(u, _two_solitons(x, 24.0), rtol=0, atol=5e-6)
    assert _two_solitons(x, 0.0).argmax() < n * 0.4 < n * 0.6 < u.argmax()


def test_solitons_carry_known_mass_momentum_and_energy():
    """12 c^(1/2), 12 c^(3/2) and -36/5 c^(5/2) each, summed, before and after they meet."""
    length = 64.0
    made = Solitons().simulate(2, times=[0.0, 20.0])
    for sample in range(2):
        generator = np.random.Generator(np.random.Philox(key=[0, sample]))
        c = generator.uniform(0.3, 1.2, 3)
        known = {
            "mass": 12 * np.sqrt(c).sum(),
            "momentum": 12 * (c**1.5).sum(),
            "energy": -7.2 * (c**2.5).sum(),
        }
        for name, invariant in Solitons().invariants_on((length,)).items():
            found = length * invariant(made.values, made.parameters)[sample].numpy()
            # Their tails, exp(-sqrt(0.3) 17) and less, overlap at first: momentum and energy hold products of them.
            np.testing.assert_allclose(found, known[name], rtol=0, atol=1e-6 if name == "mass" else 5e-3)
            np.testing.assert_allclose(found[1], found[0], rtol=1e-6)


# Kuramoto-Sivashinsky


def test_kuramoto_sivashinsky_is_as_scipy_has_it():
    """DOP853 at 1e-11 on the same waves, its own code."""
    length, n, t = 22.0, 64, 5.0
    x = TURN / length * points(n, length)
    u = np.cos(x) + np.sin(3 * x + 1) / 2
    k = TURN / length * np.arange(n // 2 + 1)
    kept = np.arange(n // 2 + 1) < n / 3

    def rate(t: float, u: np.ndarray) -> np.ndarray:
        spectrum, square = np.fft.rfft(u), np.fft.rfft(u**2)
        return np.fft.irfft(((k**2 - k**4) * spectrum - 0.5j * k * square) * kept, n)

    known = solve_ivp(rate, (0, t), u, method="DOP853", rtol=1e-11, atol=1e-12).y[:, -1]
    found = solved(KuramotoSivashinsky(), u, t, length, 0.0125)
    np.testing.assert_allclose(found, known, rtol=0, atol=1e-8)


def test_kuramoto_sivashinsky_begins_on_its_attractor():
    """The energy per length, which sines of the start do not have, is that of the attractor: 1.3^2 or so, all along."""
    made = KuramotoSivashinsky().simulate(6, times=[0.0, 10.0, 20.0, 30.0])
    size = made.values.square().mean((0, 2, 3)).sqrt()
    assert ((size > 1.15) & (size < 1.45)).all()
