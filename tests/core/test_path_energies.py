"""Energies of paths, against their closed forms."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from integrand.core.errors import InputError
from integrand.core.fields.linear import Linear
from integrand.core.fields.mlp import MLP
from integrand.core.losses import path_energies
from integrand.core.numerics import solve_ode
from integrand.core.numerics.divergence import draw_probes

OPTIONS: dict[str, Any] = {"rtol": 1e-10, "atol": 1e-12}


def decay(t: Tensor, y: Tensor) -> Tensor:
    return -y


def kinetic_of_decay(count: int) -> float:
    """Return the error of K of y' = -y from 2, 0 <= t <= 1, over so many intervals; exactly 2 (1 - exp(-2))."""
    start = torch.full((1, 1), 2.0, dtype=torch.float64)
    solution = solve_ode(decay, start, torch.linspace(0, 1, count + 1, dtype=torch.float64), **OPTIONS)
    return abs(path_energies(decay, solution).kinetic.item() - 2 * (1 - math.exp(-2)))


def test_the_kinetic_energy_converges_to_its_closed_form_at_second_order():
    slope = math.log2(kinetic_of_decay(16) / kinetic_of_decay(32))
    assert slope == pytest.approx(2, abs=0.02)


def test_a_linear_field_has_the_jacobian_energy_of_its_matrix():
    field = Linear(3, bias=False).double()
    # Each sample has times of its own, one of them backwards, at unequal distances.
    times = torch.tensor([[0.0, 0.5, 0.6, 2.0], [1.0, 0.7, 0.2, 0.1]], dtype=torch.float64)
    with torch.no_grad():
        start, exact = torch.randn(2, 3, dtype=torch.float64), torch.linalg.matrix_norm(next(field.parameters())) ** 2
    solution = solve_ode(field, start, times, stepping="per_sample", **OPTIONS)
    found = path_energies(field, solution, jacobian=True).jacobian
    assert found is not None
    torch.testing.assert_close(found, exact * torch.tensor([2.0, 0.9], dtype=torch.float64))


def test_unit_vectors_scaled_for_probes_give_the_exact_jacobian_energy():
    field, start = MLP(3, (8,), control=2).double(), torch.randn(4, 3, dtype=torch.float64)
    args = torch.randn(4, 2, dtype=torch.float64)
    solution = solve_ode(field, start, [0.0, 0.3, 1.0], args=args, **OPTIONS)
    # With e_k = sqrt(D) times the unit vectors the mean of e_k e_k^T is the identity.
    probes = (math.sqrt(3) * torch.eye(3, dtype=torch.float64)).expand(4, 3, 3)
    exact = path_energies(field, solution, args, jacobian=True)
    estimated = path_energies(field, solution, args, jacobian=True, noise=probes)
    assert exact.jacobian is not None
    assert estimated.jacobian is not None
    torch.testing.assert_close(estimated.jacobian, exact.jacobian)
    torch.testing.assert_close(estimated.kinetic, path_energies(field, solution, args).kinetic)


def test_gradients_reach_the_field_and_the_path():
    rate = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    start = torch.full((1, 1), 1.5, dtype=torch.float64, requires_grad=True)

    def field(t: Tensor, y: Tensor) -> Tensor:
        return -rate * y

    times = torch.linspace(0, 1, 401, dtype=torch.float64)
    path_energies(field, solve_ode(field, start, times, method="rk4")).kinetic.sum().backward()
    # K = r y0^2 (1 - exp(-2 r)) / 2
    r, y = 0.7, 1.5
    assert start.grad is not None
    assert rate.grad is not None
    assert start.grad.item() == pytest.approx(r * y * (1 - math.exp(-2 * r)), rel=1e-5)
    assert rate.grad.item() == pytest.approx(y**2 * ((1 - math.exp(-2 * r)) / 2 + r * math.exp(-2 * r)), rel=1e-5)


def test_what_has_no_path_is_refused():
    start = torch.ones(2, 3)
    with pytest.raises(InputError, match="2 output times or more, got 1"):
        path_energies(decay, solve_ode(decay, start, [0.0]))
    solution = solve_ode(decay, start, [0.0, 1.0])
    with pytest.raises(InputError, match=r"\(2, K, 3\), got \(2, 3\)"):
        path_energies(decay, solution, jacobian=True, noise=draw_probes(start)[:, 0])
