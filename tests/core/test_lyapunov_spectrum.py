"""Lyapunov exponents against eigenvalues, a trace, and published values."""

import math

import pytest
import torch
from torch import Tensor

from integrand.core.analysis import lyapunov_finding, lyapunov_spectrum
from integrand.core.errors import InputError
from integrand.core.numerics import solve_ode
from integrand.datasets.synthetic.systems.lorenz96 import Lorenz96

F64 = torch.float64


def lorenz(t: Tensor, y: Tensor) -> Tensor:
    a, b, c = y.unbind(-1)
    return torch.stack([10 * (b - a), a * (28 - c) - b, a * b - 8 / 3 * c], -1)


def test_of_a_linear_field_they_are_the_real_parts_of_its_eigenvalues():
    """A matrix far from normal, with a pair of complex eigenvalues."""
    matrix = torch.tensor([[-0.5, 3.0, 1.0], [-3.0, -0.5, 4.0], [0.0, 0.0, 0.4]], dtype=F64)
    starts = torch.randn(2, 3, dtype=F64, generator=torch.Generator().manual_seed(0))
    found = lyapunov_spectrum(lambda t, y: y @ matrix.T, starts, 40.0, transient=20.0, step_size=0.05)
    expected = torch.linalg.eigvals(matrix).real.sort(descending=True).values
    torch.testing.assert_close(found.exponents, expected.expand(2, 3), rtol=0, atol=0.01)
    torch.testing.assert_close(found.exponents.sum(-1), matrix.trace().expand(2), rtol=0, atol=1e-4)


def test_of_a_diagonal_field_they_are_exact_and_fewer_are_the_largest():
    rates = torch.tensor([-2.0, 1.0, 0.3], dtype=F64)
    found = lyapunov_spectrum(lambda t, y: rates * y, torch.ones(1, 3, dtype=F64), 5.0, step_size=0.01)
    torch.testing.assert_close(found.exponents, torch.tensor([[1.0, 0.3, -2.0]], dtype=F64), rtol=0, atol=1e-8)
    rates = torch.tensor([1.0, 0.3, -2.0], dtype=F64)
    two = lyapunov_spectrum(lambda t, y: rates * y, torch.ones(1, 3, dtype=F64), 5.0, step_size=0.01, count=2)
    torch.testing.assert_close(two.exponents, torch.tensor([[1.0, 0.3]], dtype=F64), rtol=0, atol=1e-8)


def test_the_exponents_of_lorenz_63():
    """0.906, 0 and -14.57 (Sprott, 2003); their sum is the divergence, which is the same everywhere.

    Starts are first carried onto the attractor, where some linger about an equilibrium for long.
    """
    generator = torch.Generator().manual_seed(0)
    starts = torch.randn(1024, 3, generator=generator, dtype=F64) + torch.tensor([1.0, 1.0, 25.0], dtype=F64)
    starts = solve_ode(lorenz, starts, [0.0, 60.0], method="dopri5", step_size=0.025).states[:, -1]
    found = lyapunov_spectrum(lorenz, starts, 16.0, transient=10.0, step_size=0.025, renormalise=0.25, method="dopri5")
    mean = found.exponents.mean(0)
    assert mean[0].item() == pytest.approx(0.906, rel=0.01)
    assert mean[1].item() == pytest.approx(0.0, abs=0.01)
    assert mean[2].item() == pytest.approx(-14.57, rel=0.01)
    assert mean.sum().item() == pytest.approx(-(10 + 1 + 8 / 3), abs=1e-3)
    assert found.kaplan_yorke.mean().item() == pytest.approx(2.062, abs=0.005)
    told = lyapunov_finding(found)
    assert told.verdict == "told"
    assert told.statement.startswith("Chaotic in all 1024 samples")
    assert told.numbers["horizon"] == pytest.approx(math.log(1e3) / 0.906, rel=0.01)


def test_the_exponents_of_lorenz_96_sum_to_its_divergence():
    """Each of the 40 variables is damped at the rate 1, and what carries them keeps volumes: -40."""
    system = Lorenz96(40)

    def field(t: Tensor, y: Tensor) -> Tensor:
        return system.field(t, y, {"forcing": y.new_full(y.shape[:1], 8.0)})

    generator = torch.Generator().manual_seed(0)
    starts = 2.3 + 3.6 * torch.randn(4, 40, generator=generator, dtype=F64)
    found = lyapunov_spectrum(field, starts, 6.0, transient=4.0, step_size=0.025, renormalise=0.25)
    sums = found.exponents.sum(-1)
    torch.testing.assert_close(sums, torch.full((4,), -40.0, dtype=F64), rtol=0.01, atol=0)


def test_products_with_the_jacobian_and_directions_one_by_one_give_the_same():
    """One exponent of three takes forward mode, all three the Jacobian; the first tangent is the same in both."""
    starts = torch.randn(4, 3, dtype=F64, generator=torch.Generator().manual_seed(0)) + 10
    one = lyapunov_spectrum(lorenz, starts, 1.0, step_size=0.02, count=1)
    three = lyapunov_spectrum(lorenz, starts, 1.0, step_size=0.02)
    torch.testing.assert_close(three.final, one.final, rtol=1e-9, atol=0)
    # Over so short a time the first tangent's rate need not be the largest: it is one of the three.
    nearest = (three.exponents - one.exponents).abs().amin(-1)
    torch.testing.assert_close(nearest, torch.zeros(4, dtype=F64), rtol=0, atol=1e-9)


def test_standard_errors_are_those_of_ten_parts_of_the_duration():
    """y' = y cos t: over (k, k + 1) the rate is sin(k + 1) - sin k."""
    found = lyapunov_spectrum(
        lambda t, y: y * torch.cos(t), torch.ones(1, 1, dtype=F64), 10.0, step_size=0.05, renormalise=0.1
    )
    rates = torch.arange(11, dtype=F64).sin().diff()
    assert found.duration == pytest.approx(10.0)
    assert found.exponents.item() == pytest.approx(rates.mean().item(), abs=1e-6)
    assert found.errors.item() == pytest.approx((rates.std() / 10**0.5).item(), abs=1e-6)


def test_the_finding_tells_a_cycle_a_point_and_a_torus_apart():
    def cycle(t: Tensor, y: Tensor) -> Tensor:
        return torch.stack([y[:, 1], (1 - y[:, 0] ** 2) * y[:, 1] - y[:, 0]], -1)

    def torus(t: Tensor, y: Tensor) -> Tensor:
        return torch.stack([y[:, 1], -y[:, 0], y[:, 3], -2 * y[:, 2]], -1)

    starts = torch.tensor([[1.0, 1.0], [2.0, -1.0]], dtype=F64)
    told = lyapunov_finding(lyapunov_spectrum(cycle, starts, 30.0, step_size=0.1, transient=10.0))
    assert told.statement.startswith("Periodic in all 2 samples")
    assert told.numbers["horizon"] == math.inf
    four = torch.cat([starts, starts], -1)
    told = lyapunov_finding(lyapunov_spectrum(torus, four, 20.0, step_size=0.1))
    assert told.statement.startswith("Quasi-periodic or conservative in all 2 samples")
    told = lyapunov_finding(lyapunov_spectrum(lambda t, y: -2 * y, starts[:1], 5.0, step_size=0.05))
    assert told.statement == (
        "Converges to a point in the one sample: differences fall by half every 0.3466 units of time."
    )


def test_the_finding_counts_samples_that_fare_otherwise():
    """y' = sin y: of a start at 0 neighbours part, the others come to rest at pi."""
    starts = torch.tensor([[0.0], [3.0], [3.1]], dtype=F64)
    found = lyapunov_spectrum(lambda t, y: torch.sin(y), starts, 10.0, step_size=0.1)
    told = lyapunov_finding(found)
    assert told.statement.startswith("Converges to a point in 2 of 3 samples")
    assert told.numbers["largest"] == pytest.approx(-1.0, rel=0.01)


def test_it_is_there_in_inference_mode():
    with torch.inference_mode():
        found = lyapunov_spectrum(lambda t, y: -y, torch.ones(2, 1, dtype=F64), 1.0, step_size=0.01)
    torch.testing.assert_close(found.exponents, -torch.ones(2, 1, dtype=F64), rtol=0, atol=1e-8)
    assert found.kaplan_yorke.tolist() == [0.0, 0.0]


def test_mistakes_have_one_line():
    with pytest.raises(InputError, match="duration=0 is out of range"):
        lyapunov_spectrum(lambda t, y: y, torch.ones(1, 1), 0, step_size=0.1)
    with pytest.raises(InputError, match="take 1 to 2 exponents"):
        lyapunov_spectrum(lambda t, y: y, torch.ones(1, 2), 1.0, step_size=0.1, count=3)
    found = lyapunov_spectrum(lambda t, y: -y, torch.ones(1, 1), 1.0, step_size=0.1)
    with pytest.raises(InputError, match="tolerance=2 is out of range"):
        lyapunov_finding(found, tolerance=2)
    with pytest.raises(InputError, match="sample 0 ceases to be finite"):
        lyapunov_spectrum(lambda t, y: y**3, torch.full((1, 1), 3.0), 10.0, step_size=0.1)
