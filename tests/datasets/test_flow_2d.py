"""Flow in two dimensions against closed forms, balances of energy and enstrophy, and another form of the equation."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from integrand.core.errors import InputError
from integrand.core.numerics import PeriodicGrid
from integrand.datasets.synthetic.equations.decaying_turbulence import DecayingTurbulence
from integrand.datasets.synthetic.equations.kolmogorov_flow import KolmogorovFlow
from integrand.datasets.synthetic.equations.navier_stokes import NavierStokes
from integrand.datasets.synthetic.equations.vorticity import (
    Advection,
    courant,
    energy,
    enstrophy,
    palinstrophy,
    velocity,
)
from integrand.datasets.synthetic.simulator import Start

TORUS = (2 * math.pi, 2 * math.pi)


def plane(n: int, m: int | None = None) -> tuple[Tensor, Tensor]:
    x, y = (2 * math.pi * torch.arange(k, dtype=torch.float64) / k for k in (n, m or n))
    return x[:, None], y


def solved(w: Tensor, times: list[float], viscosity: float | list[float], step_size: float) -> Tensor:
    """Return the decay (N, T, X, Y) of vorticities (N, X, Y) on a torus of 2 pi."""
    nu = torch.tensor([viscosity] * len(w) if isinstance(viscosity, float) else viscosity, dtype=torch.float64)
    t = torch.tensor(times, dtype=torch.float64)
    start = Start(w[:, None])
    return DecayingTurbulence().advance(start, t, {"viscosity": nu}, lengths=TORUS, step_size=step_size)[:, :, 0]


def drawn(n: int, samples: int = 2) -> Tensor:
    """Return vorticities on a torus of 2 pi of a few long waves, root mean square about 2."""
    x, y = plane(n)
    waves = [(i, j) for i in range(4) for j in range(-3, 4) if (i, j) > (0, 0)]
    phases = torch.from_numpy(np.random.default_rng(5).uniform(0, 2 * math.pi, (samples, len(waves))))
    return torch.stack(
        [sum(((i * x + j * y + p).cos() for (i, j), p in zip(waves, row, strict=True)), x * 0) for row in phases]
    ) * (2 * math.sqrt(2 / len(waves)))


def slopes(errors: list[float]) -> list[float]:
    return [math.log2(a / b) for a, b in pairwise(errors)]


def test_velocity_has_the_vorticity_as_curl_and_no_divergence():
    for n in (32, 45):
        grid = PeriodicGrid((n, n), TORUS)
        flow = velocity(drawn(n), TORUS)
        assert grid.divergence(flow).abs().max() < 1e-13 * n
        torch.testing.assert_close(grid.curl(flow), drawn(n), rtol=0, atol=1e-12)


def test_energy_enstrophy_and_palinstrophy_of_vortices():
    """w = 2 cos x cos y: psi = cos x cos y, so that E = 1/4, Z = 1/2, P = 1."""
    x, y = plane(16, 12)
    w = 2 * x.cos() * y.cos()
    assert float(energy(w, TORUS)) == pytest.approx(1 / 4, abs=1e-14)
    assert float(enstrophy(w)) == pytest.approx(1 / 2, abs=1e-14)
    assert float(palinstrophy(w, TORUS)) == pytest.approx(1, abs=1e-13)


@pytest.mark.parametrize("n", [16, 21])
def test_taylor_green_vortices_decay_as_their_closed_form(n: int):
    """w = 2 cos x cos y exp(-2 nu t): Taylor and Green (1937), Mechanism of the production of small eddies."""
    x, y = plane(n)
    w = 2 * x.cos() * y.cos()
    times, nu = [0.0, 0.5, 2.0], 0.05
    found = solved(w[None], times, nu, 0.05)[0]
    for t, values in zip(times, found, strict=True):
        torch.testing.assert_close(values, w * math.exp(-2 * nu * t), rtol=0, atol=1e-12)


def test_waves_of_one_length_decay_together():
    """Where -Laplacian(psi) = k^2 psi, the flow carries nothing: any sum of such waves decays as exp(-nu k^2 t)."""
    x, y = plane(24)
    w = (3 * x + 4 * y).sin() + 0.7 * (5 * x).cos() - 0.4 * (4 * x - 3 * y).cos()
    found = solved(w[None], [0.0, 1.0], 0.02, 0.02)[0, 1]
    torch.testing.assert_close(found, w * math.exp(-0.02 * 25), rtol=0, atol=1e-12)


def test_order_four_in_time():
    w = drawn(32)
    exact = solved(w, [0.0, 1.0], 0.01, 1 / 512)[:, 1]
    errors = [float((solved(w, [0.0, 1.0], 0.01, 1 / k)[:, 1] - exact).abs().max()) for k in (16, 32, 64)]
    assert slopes(errors) == pytest.approx([4, 4], abs=0.1)


def test_spectral_in_space():
    """Errors at t = 0.5 to 96 points: each sixteen points more divide them by more than 10."""
    exact = solved(drawn(96), [0.0, 0.5], 0.05, 1 / 64)[:, 1]
    errors = []
    for n in (24, 40, 56):
        fine = PeriodicGrid((96, 96), TORUS).resample(exact, (n, n))
        errors.append(float((solved(drawn(n), [0.0, 0.5], 0.05, 1 / 64)[:, 1] - fine).abs().max()))
    assert errors[1] < errors[0] / 10
    assert errors[2] < errors[1] / 10


def test_the_form_by_momentum_is_the_advection_of_vorticity():
    """To rounding, for waves below a third of the grid's: their products hold no aliases."""
    w = drawn(32)
    grid = PeriodicGrid((32, 32), TORUS)
    advection = Advection(grid, w, label="test", step_size=1e-3, stages=4)
    found = grid.inverse(advection(torch.zeros(()), grid.transform(w)))
    torch.testing.assert_close(found, -(velocity(w, TORUS) * grid.gradient(w)).sum(-3), rtol=0, atol=1e-12)


def test_advection_keeps_energy_and_enstrophy_also_of_rough_fields():
    """The rates <psi, N> and <w, N> vanish to rounding for noise, cut to the waves that are kept."""
    grid = PeriodicGrid((32, 32), TORUS)
    noise = torch.randn(3, 32, 32, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    w = grid.inverse(grid.transform(noise - noise.mean((1, 2), keepdim=True)) * grid.dealiasing_mask(noise))
    advection = Advection(grid, w, label="test", step_size=1e-4, stages=4)
    rate = grid.inverse(advection(torch.zeros(()), grid.transform(w)))
    stream = -grid.inverse_laplacian(w)
    for field in (w, stream):
        largest = (field.square().mean((1, 2)) * rate.square().mean((1, 2))).sqrt()
        assert ((field * rate).mean((1, 2)).abs() < 1e-14 * largest * 32).all()


def test_without_viscosity_energy_and_enstrophy_stay():
    """What is lost is the error of the time step: of order 4 or more, and below 1e-8 at the finest."""
    w = drawn(32)
    lost = []
    for steps in (40, 80):
        end = solved(w, [0.0, 1.0], 0.0, 1 / steps)[:, 1]
        changes = [energy(end, TORUS) / energy(w, TORUS) - 1, enstrophy(end) / enstrophy(w) - 1]
        lost.append(float(torch.stack(changes).abs().max()))
    assert slopes(lost)[0] > 3.9
    assert lost[1] < 1e-7


def test_balances_of_energy_and_enstrophy():
    """dE/dt = -2 nu Z, dZ/dt = -2 nu P, by Simpson's rule over 32 intervals."""
    nu, intervals = 0.02, 32
    times = torch.linspace(0, 1, intervals + 1, dtype=torch.float64)
    w = solved(drawn(48), times.tolist(), nu, 1 / 96)
    weights = torch.tensor([1, *[4, 2] * (intervals // 2 - 1), 4, 1], dtype=torch.float64) / (3 * intervals)
    for content, sink in ((energy(w, TORUS), enstrophy(w)), (enstrophy(w), palinstrophy(w, TORUS))):
        spent = 2 * nu * (sink * weights).sum(-1)
        torch.testing.assert_close(content[:, 0] - content[:, -1], spent, rtol=1e-6, atol=0)


@pytest.mark.parametrize("kind", [NavierStokes, KolmogorovFlow])
def test_force_and_drag_do_their_work(kind: type[NavierStokes]):
    """dE/dt = <psi, f> - 2 nu Z - 2 a E, from a start, by a short central difference."""
    equation = kind()
    h = 2e-4
    data = equation.simulate(2, times=[0.0, h, 2 * h], points=(49, 49), step_size=h / 2)  # odd: no Nyquist wave
    w, lengths = data.values[:, :, 0], data.lengths
    assert data.constants is not None
    stream = -PeriodicGrid((49, 49), lengths).inverse_laplacian(w[:, 1])
    nu, drag = equation.parameters["viscosity"], equation.parameters.get("drag", 0.0)
    work = (stream * data.constants[:, 0]).mean((1, 2))
    due = work - 2 * nu * enstrophy(w[:, 1]) - 2 * drag * energy(w[:, 1], lengths)
    rate = (energy(w[:, 2], lengths) - energy(w[:, 0], lengths)) / (2 * h)
    torch.testing.assert_close(rate, due, rtol=1e-5, atol=1e-9)


def test_a_laminar_flow_follows_its_force():
    """From rest, f = cos(4 y) gives w = -4 (1 - exp(-r t)) / r cos(4 y), r = 16 nu + a: no wave carries itself."""
    equation = KolmogorovFlow()
    force = equation.force((16, 32), TORUS)
    assert force is not None
    start = Start(torch.zeros(1, 1, 16, 32, dtype=torch.float64), force[None, None])
    own = {"viscosity": torch.tensor([0.05]), "drag": torch.tensor([0.1])}
    times = torch.tensor([0.0, 0.7], dtype=torch.float64)
    found = equation.advance(start, times, own, lengths=TORUS, step_size=0.05)[0, 1, 0]
    r = 16 * float(own["viscosity"]) + float(own["drag"])
    _, y = plane(16, 32)
    exact = (-4 * (1 - math.exp(-0.7 * r)) / r * (4 * y).cos()).expand(16, 32)
    torch.testing.assert_close(found, exact, rtol=0, atol=1e-12)


def test_starts_are_one_function_on_all_grids():
    for equation in (NavierStokes(), KolmogorovFlow(), DecayingTurbulence()):
        coarse, fine = (equation.draw(np.random.default_rng(3), (n, n), equation.lengths).states[0] for n in (64, 128))
        # The mean that is taken off is that of the points: two grids' differ by the waves that one cannot hold.
        torch.testing.assert_close(coarse, fine[::2, ::2], rtol=0, atol=2e-3 * float(fine.std()))


def test_starts_are_as_strong_as_published():
    """The variance is the sum over waves of 2 7^3 (4 pi^2 |k|^2 + 49)^(-5/2), but the mean: 0.1717^2."""
    k = torch.arange(-64, 65, dtype=torch.float64)
    strength = 2 * 7.0**3 * (4 * math.pi**2 * (k[:, None] ** 2 + k**2) + 49) ** -2.5
    strength[64, 64] = 0
    draws = [NavierStokes().draw(np.random.default_rng(i), (32, 32), (1.0, 1.0)).states for i in range(100)]
    found = torch.stack(draws).square().mean((1, 2, 3))
    standard_error = float(found.std()) / math.sqrt(len(draws))
    assert float(found.mean()) == pytest.approx(float(strength.sum()), abs=3 * standard_error)


def test_samples_with_viscosities_of_their_own():
    w = drawn(24)
    together = solved(w, [0.0, 0.5], [0.01, 0.05], 0.05)
    for i, nu in enumerate((0.01, 0.05)):
        torch.testing.assert_close(together[i], solved(w[i : i + 1], [0.0, 0.5], nu, 0.05)[0], rtol=0, atol=1e-13)


def test_single_precision_follows_its_start():
    w = drawn(24).float()
    found = solved(w, [0.0, 0.5], 0.02, 0.05)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), solved(drawn(24), [0.0, 0.5], 0.02, 0.05), rtol=0, atol=2e-5)


def test_the_courant_number_is_that_of_a_uniform_stream():
    """u = 3, v = 4 on 30 x 60 points of a box of 2 x 5: waves to 10 pi and 8 pi are kept."""
    flow = torch.tensor([3.0, -4.0]).view(2, 1, 1).expand(2, 30, 60)
    assert float(courant(flow, (2.0, 5.0), 0.01)) == pytest.approx(0.01 * (3 * 10 * math.pi + 4 * 8 * math.pi))


def test_a_step_too_long_is_refused_with_step_sample_number_and_cure():
    x, y = plane(32)
    calm = 2 * x.cos() * y.cos()
    w = torch.stack([calm, calm, 100 * calm])
    with pytest.raises(InputError, match=r"step 1 of sample 2, at t = 0, has Courant number 107 .* step_size=0\.0024"):
        solved(w, [0.0, 1.0], 0.01, 0.1)
    equation = NavierStokes()
    with pytest.raises(
        InputError, match=r"step \d+ of sample 7, .* \(2\.8 is the most\): take step_size=.*Nothing was"
    ):
        equation.simulate(1, first=7, times=[0.0, 50.0], points=(32, 32), step_size=0.5)


def test_a_growing_flow_is_refused_in_the_step_that_is_too_long():
    """From rest the forced flow speeds up: the first steps are short enough, a later one isn't."""
    equation = NavierStokes()
    force = equation.force((32, 32), (1.0, 1.0))
    assert force is not None
    start = Start(torch.zeros(1, 1, 32, 32, dtype=torch.float64), 100 * force[None, None])
    own = {"viscosity": torch.tensor([1e-3])}
    with pytest.raises(InputError) as error:
        equation.advance(start, torch.tensor([0.0, 10.0]), own, lengths=(1.0, 1.0), step_size=0.05)
    # u = -v = A sin(2 pi (x + y)) with A = 10 sqrt(2) t / (4 pi), as long as viscosity does little
    highest = 2 * math.pi * 32 / 3
    t = 2.8 / (2 * 0.05 * highest) * 4 * math.pi / (10 * math.sqrt(2))
    step = math.floor(t / 0.05) + 2
    assert f"step {step} of sample 0" in str(error.value)


def test_negative_viscosity_is_refused():
    with pytest.raises(InputError, match=r"viscosity=-0\.001 of sample 0 is out of range"):
        NavierStokes().simulate(1, parameters={"viscosity": -1e-3}, times=[0.0, 0.1], points=(16, 16))
