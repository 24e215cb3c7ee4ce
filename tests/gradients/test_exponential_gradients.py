"""Gradients of exponential and implicit-explicit solves against finite differences and closed forms, in float64."""

import pytest
import torch
from torch import Tensor, nn

from integrand.core.numerics.exponential.semilinear import SEMILINEAR, Semilinear, solve_semilinear

methods = pytest.mark.parametrize("method", SEMILINEAR)


class Learned(nn.Module):
    """N(t, y, a) = a sin(w . y) + cos(t v), with parameters w and v."""

    def __init__(self, w: Tensor, v: Tensor) -> None:
        super().__init__()
        self.w, self.v = w, v

    def forward(self, t: Tensor, y: Tensor, a: Tensor) -> Tensor:
        t = t if t.dim() == 0 else t.unsqueeze(-1)
        return a * torch.sin(y @ self.w.to(y.dtype)) + torch.cos(t * self.v)


def inputs(dtype: torch.dtype) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
        return torch.randn(*shape, dtype=dtype, generator=generator)

    # Rates whose h L lies on either side of 1, where the phi-functions change their evaluation, and at 0.
    linear = torch.tensor([-8.0, -0.5, 0.0], dtype=torch.float64)
    if dtype.is_complex:
        linear = linear + 1j * torch.tensor([3.0, -9.0, 0.0], dtype=torch.float64)
    made = {"y0": draw(2, 3, dtype=dtype), "linear": linear, "w": draw(3, 3) / 2, "v": draw(3), "a": draw(2, 1)}
    return {name: value.requires_grad_() for name, value in made.items()}


@methods
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_gradients_agree_with_finite_differences(method: str, dtype: torch.dtype):
    """To y0, L, parameters and args; with times evenly spaced, whose steps share their weights, and not."""
    given = inputs(dtype)

    def solve(y0: Tensor, linear: Tensor, w: Tensor, v: Tensor, a: Tensor) -> Tensor:
        field = Semilinear(linear, Learned(w, v))
        even = solve_semilinear(field, y0, [0.0, 0.2, 0.4], args=a, method=method).states
        uneven = solve_semilinear(field, y0, [0.0, 0.3, 0.4], args=a, method=method, step_size=0.2).states
        return even[:, -1] + uneven[:, -1]

    assert torch.autograd.gradcheck(solve, tuple(given.values()))


@methods
@pytest.mark.parametrize("per_sample", [False, True])
def test_gradients_to_the_times_agree_with_finite_differences(method: str, per_sample: bool):
    given = inputs(torch.float64)
    field = Semilinear(given["linear"].detach(), Learned(given["w"].detach(), given["v"].detach()))
    times = torch.tensor([0.0, 0.2, 0.4], dtype=torch.float64)
    if per_sample:
        times = torch.stack([times, 0.1 + 0.7 * times])

    def solve(times: Tensor) -> Tensor:
        return solve_semilinear(
            field, given["y0"].detach(), times, args=given["a"].detach(), method=method, step_size=0.11
        ).states

    assert torch.autograd.gradcheck(solve, (times.requires_grad_(),))


@pytest.mark.parametrize("method", ["etdrk4", "ars343", "sbdf2"])
def test_second_derivatives_agree_with_finite_differences(method: str):
    given = inputs(torch.float64)

    def solve(y0: Tensor, linear: Tensor) -> Tensor:
        field = Semilinear(linear, Learned(given["w"].detach(), given["v"].detach()))
        return solve_semilinear(field, y0, [0.0, 0.2, 0.4], args=given["a"].detach(), method=method).states[:, -1]

    assert torch.autograd.gradgradcheck(solve, (given["y0"], given["linear"]))


@pytest.mark.parametrize("method", ["etdrk4", "etd1"])
def test_the_gradient_to_a_dispersive_rate_is_the_known_one(method: str):
    """y = exp(i w t): dRe y / dw = -t sin(w t), which needs the weights' imaginary parts."""
    w = torch.tensor([2.0, 30.0], dtype=torch.float64, requires_grad=True)
    field = Semilinear(1j * w, lambda t, y: torch.zeros_like(y))
    y0 = torch.ones(1, 2, dtype=torch.complex128)
    end = solve_semilinear(field, y0, [0.0, 0.5, 1.0], method=method).states[0, -1]
    (slope,) = torch.autograd.grad(end.real.sum(), w)
    torch.testing.assert_close(slope, -torch.sin(w.detach()), rtol=0, atol=1e-13)


def test_parameters_learn_through_a_solve():
    """Under a training step's conditions: a module, float32 states, coefficients in float64 between."""
    torch.manual_seed(0)
    field = Semilinear(nn.Parameter(torch.tensor([-5.0, -0.1])), Affine())
    solve_semilinear(field, torch.randn(4, 2), torch.linspace(0, 1, 5)).states.square().mean().backward()
    for name, parameter in field.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.dtype == torch.float32
        assert parameter.grad.abs().sum() > 0, name


class Affine(nn.Linear):
    """A linear layer as N."""

    def __init__(self) -> None:
        super().__init__(2, 2)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return super().forward(y)
