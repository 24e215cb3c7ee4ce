"""Lyapunov exponents against eigenvalues, a trace, and published values."""

import pytest
import torch
from torch import Tensor

from integrand.core.analysis import lyapunov_spectrum
from integrand.core.errors import InputError

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
    """0.906, 0 and -14.57 (Sprott, 2003); their sum is the divergence, which is the same everywhere."""
    generator = torch.Generator().manual_seed(0)
    starts = torch.randn(192, 3, generator=generator, dtype=F64) + torch.tensor([1.0, 1.0, 25.0], dtype=F64)
    found = lyapunov_spectrum(lorenz, starts, 40.0, transient=5.0, step_size=0.025, renormalise=0.25, method="dopri5")
    mean = found.exponents.mean(0)
    assert mean[0].item() == pytest.approx(0.906, rel=0.01)
    assert mean[1].item() == pytest.approx(0.0, abs=0.01)
    assert mean[2].item() == pytest.approx(-14.57, rel=0.01)
    assert mean.sum().item() == pytest.approx(-(10 + 1 + 8 / 3), abs=1e-3)
    assert found.kaplan_yorke.mean().item() == pytest.approx(2.062, abs=0.005)


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
    with pytest.raises(InputError, match="sample 0 ceases to be finite"):
        lyapunov_spectrum(lambda t, y: y**3, torch.full((1, 1), 3.0), 10.0, step_size=0.1)
