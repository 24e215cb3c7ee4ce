"""Spectra of Jacobians against matrices of known eigenvalues, derivatives by hand, and numpy."""

import numpy as np
import pytest
import torch
from torch import Tensor

from integrand.core.analysis import jacobian_spectra
from integrand.core.errors import InputError
from integrand.core.fields import MLP

F64 = torch.float64


def lorenz(t: Tensor, y: Tensor) -> Tensor:
    a, b, c = y.unbind(-1)
    return torch.stack([10 * (b - a), a * (28 - c) - b, a * b - 8 / 3 * c], -1)


def test_of_a_linear_field_they_are_its_matrix_s_whatever_the_state():
    """A rotation with decay, and a growing direction, in a basis that is orthogonal: normal, so that mu_2 = growth."""
    blocks = torch.tensor([[-1.0, 5.0, 0.0], [-5.0, -1.0, 0.0], [0.0, 0.0, 0.25]], dtype=F64)
    turn = torch.linalg.qr(torch.randn(3, 3, dtype=F64, generator=torch.Generator().manual_seed(0))).Q
    matrix = turn @ blocks @ turn.T
    states = torch.randn(2, 4, 3, dtype=F64, generator=torch.Generator().manual_seed(1))
    found = jacobian_spectra(lambda t, y: y @ matrix.T, states, torch.arange(4.0))
    expected = torch.tensor([0.25, -1 + 5j, -1 - 5j], dtype=torch.complex128).expand(2, 4, 3)
    torch.testing.assert_close(found.eigenvalues, expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(found.growth, torch.full((2, 4), 0.25, dtype=F64), rtol=0, atol=1e-12)
    torch.testing.assert_close(found.measure, torch.full((2, 4), 0.25, dtype=F64), rtol=0, atol=1e-12)
    torch.testing.assert_close(found.divergence, torch.full((2, 4), -1.75, dtype=F64), rtol=0, atol=1e-12)


def test_the_measure_sees_growth_that_no_eigenvalue_tells():
    """[[-1, 10], [0, -2]] decays in the end, and its symmetric part has the eigenvalues -3/2 +- sqrt(1/4 + 25)."""
    matrix = torch.tensor([[-1.0, 10.0], [0.0, -2.0]], dtype=F64)
    found = jacobian_spectra(lambda t, y: y @ matrix.T, torch.zeros(1, 1, 2, dtype=F64), [0.0])
    assert found.growth.item() == pytest.approx(-1.0)
    assert found.measure.item() == pytest.approx(-1.5 + 25.25**0.5)


def test_of_lorenz_63_they_are_those_of_the_jacobian_by_hand():
    states = 10 * torch.randn(3, 5, 3, dtype=F64, generator=torch.Generator().manual_seed(0))
    found = jacobian_spectra(lorenz, states, torch.linspace(0, 1, 5))
    for sample in range(3):
        for step in range(5):
            x, y, z = states[sample, step].tolist()
            by_hand = np.array([[-10, 10, 0], [28 - z, -1, -x], [y, x, -8 / 3]])
            expected = np.linalg.eigvals(by_hand)
            assert np.sort_complex(found.eigenvalues[sample, step].numpy()) == pytest.approx(np.sort_complex(expected))
            assert found.growth[sample, step].item() == pytest.approx(expected.real.max())
            largest = np.linalg.eigvalsh((by_hand + by_hand.T) / 2)[-1]
            assert found.measure[sample, step].item() == pytest.approx(largest)
    assert bool((found.eigenvalues.real.diff(dim=-1) <= 0).all())
    torch.testing.assert_close(found.divergence, torch.full((3, 5), -11 - 8 / 3, dtype=F64))


def test_each_point_has_its_own_time_and_its_own_arguments():
    """dy/dt = -(a + t) y, with a of each sample and times of its own."""
    times, rates = torch.tensor([[0.0, 1.0, 2.0], [5.0, 7.0, 9.0]], dtype=F64), torch.tensor([1.0, 100.0])
    states = torch.ones(2, 3, 1, dtype=F64)
    found = jacobian_spectra(lambda t, y, a: -(a + t)[:, None] * y, states, times, args=rates)
    torch.testing.assert_close(found.growth, -(times + rates[:, None].double()))


def test_a_network_in_float32_is_measured_in_float64_and_stays_as_it_was():
    torch.manual_seed(0)
    field = MLP(3, (8,))
    found = jacobian_spectra(field, torch.randn(2, 2, 3), [0.0, 1.0])
    assert found.eigenvalues.dtype == torch.complex128
    assert all(parameter.dtype == torch.float32 for parameter in field.parameters())
    torch.testing.assert_close(found.eigenvalues.sum(-1).real, found.divergence, rtol=0, atol=1e-13)


def test_it_is_there_in_inference_mode_and_for_a_field_of_time_alone():
    with torch.inference_mode():
        found = jacobian_spectra(lambda t, y: torch.zeros_like(y) + t[:, None], torch.ones(1, 2, 2), [0.0, 1.0])
    assert found.eigenvalues.abs().max() == 0


def test_extreme_eigenvalues_of_a_large_field_are_those_of_the_whole_spectrum():
    """Heat on 120 places with a drift: not normal, with a spread of 1000; against all eigenvalues, by LAPACK."""
    dim = 120
    matrix = 400 * (torch.diag(torch.ones(dim - 1), 1) - 2 * torch.eye(dim) + torch.diag(torch.ones(dim - 1), -1))
    matrix = (matrix + 30 * (torch.diag(torch.ones(dim - 1), 1) - torch.diag(torch.ones(dim - 1), -1))).double()
    states = torch.zeros(1, 2, dim, dtype=F64)

    def field(t: Tensor, y: Tensor) -> Tensor:
        return torch.sin(y) @ matrix.T  # at rest, the derivative of the sine is 1

    found = jacobian_spectra(field, states, [0.0, 1.0], count=3)
    exact = np.sort(np.linalg.eigvals(matrix.numpy()).real)[::-1]
    expected = torch.tensor(np.concatenate([exact[:3], exact[-3:]])).expand(1, 2, 6)
    torch.testing.assert_close(found.eigenvalues.real, expected, rtol=1e-6, atol=0)
    symmetric = float(np.linalg.eigvalsh((matrix + matrix.T).numpy() / 2)[-1])
    torch.testing.assert_close(found.measure, torch.full((1, 2), symmetric, dtype=F64), rtol=1e-8, atol=0)
    torch.testing.assert_close(found.divergence, torch.full((1, 2), -800.0 * dim, dtype=F64))


def test_mistakes_have_one_line():
    field, states = lorenz, torch.ones(2, 3, 3, dtype=F64)
    with pytest.raises(InputError, match=r"states must be real \(B, T, D\)"):
        jacobian_spectra(field, states[0], [0.0, 1.0, 2.0])
    with pytest.raises(InputError, match=r"times must be \(3,\) or \(2, 3\)"):
        jacobian_spectra(field, states, [0.0, 1.0])
    with pytest.raises(InputError, match="count=1 is out of range for 3 states"):
        jacobian_spectra(field, states, [0.0, 1.0, 2.0], count=1)
    with pytest.raises(InputError, match="the 2 samples"):
        jacobian_spectra(lambda t, y, a: y, states, [0.0, 1.0, 2.0], args=torch.ones(3))
    states[1, 2] = torch.inf
    with pytest.raises(InputError, match="sample 1 at time 2 is not finite"):
        jacobian_spectra(field, states, [0.0, 1.0, 2.0])
    flat = torch.tensor([[[1.0], [2.0]], [[0.0], [1.0]]])
    with pytest.raises(InputError, match="Jacobian at point 2"):
        jacobian_spectra(lambda t, y: y.abs().sqrt(), flat, [0.0, 1.0])
