"""Divergences and continuous normalising flows against closed forms: Gaussians, straight lines, quadrature."""

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from integrand.core.errors import InputError
from integrand.core.fields.linear import Linear
from integrand.core.fields.mlp import MLP
from integrand.core.models.continuous_normalizing_flow import ContinuousNormalizingFlow
from integrand.core.numerics.divergence import divergence, draw_probes
from integrand.core.operators.unet import UNet

DTYPE = torch.float64
ROUNDING = 1e-13  # some hundred operations in double precision
TIGHT: dict[str, Any] = {"rtol": 1e-10, "atol": 1e-10}
SOLVED = 1e-8  # the tolerance of TIGHT, times about the number of steps that its errors add up over
ZERO = torch.zeros((), dtype=DTYPE)


def points(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=DTYPE, generator=torch.Generator().manual_seed(seed))


def all_signs(batch: int, dim: int) -> Tensor:
    """Every vector of signs: over them all, Hutchinson's mean is the expectation itself."""
    signs = torch.tensor(list(itertools.product([1.0, -1.0], repeat=dim)), dtype=DTYPE)
    return signs.expand(batch, -1, -1)


class Swirl(nn.Module):
    """f = (k sin(y_1) y_2 + t, y_2^3), whose Jacobian is written out beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.k = nn.Parameter(torch.tensor(1.5, dtype=DTYPE))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return torch.stack([self.k * y[:, 0].sin() * y[:, 1] + t, y[:, 1] ** 3], dim=1)

    def entries(self, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.k * y[:, 0].cos() * y[:, 1], self.k * y[:, 0].sin(), 3 * y[:, 1] ** 2


class Descent(nn.Module):
    """f = -grad sum_i log cosh y_i = -tanh y, found by a derivative inside."""

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        with torch.enable_grad():
            x = y if y.requires_grad else y.detach().requires_grad_()
            (slope,) = torch.autograd.grad(x.cosh().log().sum(), x, create_graph=True)
        return -slope


class Scaling(nn.Module):
    """f = (s - 1) y / (1 + (s - 1) t): straight lines from z to s z, at constant speed."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.rate = factor - 1

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return self.rate * y / (1 + self.rate * t)


class Shift(nn.Module):
    """f = c, the condition."""

    def forward(self, t: Tensor, y: Tensor, c: Tensor) -> Tensor:
        return c.expand_as(y)


def linear_flow(matrix: Tensor, **options: Any) -> ContinuousNormalizingFlow:
    field = Linear(len(matrix), bias=False).double()
    field.matrix.data.copy_(matrix)
    return ContinuousNormalizingFlow(field, len(matrix), **(TIGHT | options)).double()


# --- divergence


def test_divergence_of_a_known_field():
    y, field = points(5, 2), Swirl()
    found = divergence(field, ZERO + 0.3, y)
    a, b, c = field.entries(y)
    torch.testing.assert_close(found.slope, field(ZERO + 0.3, y))
    torch.testing.assert_close(found.trace, a + c, rtol=ROUNDING, atol=ROUNDING)
    torch.testing.assert_close(found.square, a**2 + b**2 + c**2, rtol=ROUNDING, atol=ROUNDING)


def test_a_field_of_time_alone_has_none():
    found = divergence(lambda t, y: torch.ones_like(y), ZERO, points(3, 2))
    assert not found.trace.any()
    assert not found.square.any()


def test_an_own_jacobian_and_autograd_agree():
    torch.manual_seed(0)
    field, y = MLP(3, (16, 16), time=True).double(), points(4, 3)
    own, other = divergence(field, ZERO + 0.2, y), divergence(lambda t, y: field(t, y), ZERO + 0.2, y)
    for one, two in zip(own, other, strict=True):
        torch.testing.assert_close(one, two, rtol=ROUNDING, atol=ROUNDING)


@pytest.mark.parametrize("noise", [None, points(3, 2, 2, seed=4)])
def test_divergences_are_differentiable(noise: Tensor | None):
    field, y = Swirl(), points(3, 2).requires_grad_()

    def sums(y: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        found = divergence(lambda t, y: torch.func.functional_call(field, {"k": k}, (t, y)), ZERO, y, noise=noise)
        return found.trace, found.square

    assert torch.autograd.gradcheck(sums, (y, field.k.detach().clone().requires_grad_()))


def test_divergences_are_there_without_gradients():
    field, y = Swirl(), points(5, 2)
    expected = divergence(field, ZERO, y)
    with torch.no_grad():
        plain = divergence(field, ZERO, y)
    with torch.inference_mode():
        inside = divergence(field, ZERO.clone(), y.clone(), noise=all_signs(5, 2).clone())
    for one, two, three in zip(expected, plain, inside, strict=True):
        torch.testing.assert_close(one.detach(), two)
        torch.testing.assert_close(one.detach(), three.clone(), rtol=ROUNDING, atol=ROUNDING)
        assert not two.requires_grad


def test_a_gradient_field_has_the_laplacian_of_its_energy():
    y = points(5, 3)
    expected = -(1 - y.tanh() ** 2).sum(1)
    torch.testing.assert_close(divergence(Descent(), ZERO, y).trace, expected, rtol=ROUNDING, atol=ROUNDING)
    with torch.inference_mode():
        inside = divergence(Descent(), ZERO.clone(), y.clone()).trace
    torch.testing.assert_close(inside.clone(), expected, rtol=ROUNDING, atol=ROUNDING)


@pytest.mark.parametrize("rows", [3, 100, 600])
def test_the_trace_is_the_same_however_many_products_are_formed_at_once(rows: int):
    """All seven, five and two, or one by one; of f = tanh(A y) row i of J is (1 - f_i^2) A_i."""
    matrix = torch.randn(7, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    y = torch.randn(rows, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    found = divergence(lambda t, y: torch.tanh(y @ matrix.T), torch.tensor(0.0), y)
    slope = 1 - found.slope.square()
    torch.testing.assert_close(found.trace, slope @ matrix.diagonal())
    torch.testing.assert_close(found.square, slope.square() @ matrix.square().sum(1))


def test_operations_that_know_no_gradients_at_once_are_asked_one_by_one():
    """Group normalisation of memory channels last is one; its Jacobian has a closed form, for its outputs add to 0."""
    norm = torch.nn.GroupNorm(1, 2, dtype=torch.float64)

    def field(t: Tensor, y: Tensor) -> Tensor:
        return norm(y.contiguous(memory_format=torch.channels_last))

    y = torch.randn(3, 2, 2, 2, dtype=torch.float64)
    found = divergence(field, torch.tensor(0.0), y)
    # (x - m) / s of n numbers: s J = I - 1/n - z z^T / n, of trace n - 1 - 1 but for eps beneath the root.
    s2 = y.flatten(1).var(1, correction=0)
    z2 = s2 / (s2 + norm.eps)
    torch.testing.assert_close(found.trace, (8 - 1 - z2) / (s2 + norm.eps).sqrt())


def test_states_of_any_shape():
    torch.manual_seed(0)
    conv, y = nn.Conv2d(2, 2, 3, padding=1).double(), points(2, 2, 3, 4)
    found = divergence(lambda t, y: conv(y), ZERO, y)
    # The middle weights of a channel to itself stand on the diagonal, once for each of its 12 pixels.
    expected = 12 * conv.weight[0, 0, 1, 1] + 12 * conv.weight[1, 1, 1, 1]
    torch.testing.assert_close(found.trace, expected.expand(2), rtol=ROUNDING, atol=ROUNDING)


def test_hutchinson_has_no_bias():
    field, y = Swirl(), points(5, 2)
    exact, mean = divergence(field, ZERO, y), divergence(field, ZERO, y, noise=all_signs(5, 2))
    for one, two in zip(exact, mean, strict=True):
        torch.testing.assert_close(one, two, rtol=ROUNDING, atol=ROUNDING)


def test_signs_are_exact_where_the_jacobian_is_diagonal():
    y = points(6, 3)
    found = divergence(lambda t, y: y**3, ZERO, y, noise=draw_probes(y))
    torch.testing.assert_close(found.trace, (3 * y**2).sum(1), rtol=ROUNDING, atol=ROUNDING)


@pytest.mark.parametrize("kind", ["rademacher", "gaussian"])
@pytest.mark.parametrize("count", [1, 4])
def test_variance_of_the_estimate(kind: Any, count: int):
    samples, matrix = 40_000, points(4, 4, seed=3)
    symmetric = (matrix + matrix.T) / 2
    per_probe = 2 * symmetric.square().sum()
    if kind == "rademacher":
        per_probe = per_probe - 2 * symmetric.diagonal().square().sum()
    y = torch.zeros(samples, 4, dtype=DTYPE)
    noise = draw_probes(y, count, kind=kind, generator=torch.Generator().manual_seed(0))
    traces = divergence(lambda t, y: y @ matrix.T, ZERO, y, noise=noise).trace
    variance = float(per_probe / count)
    assert float(traces.mean() - matrix.trace()) == pytest.approx(0, abs=5 * math.sqrt(variance / samples))
    # Squares of deviations have a kurtosis of at most 15, as those of a chi-squared variable: five standard errors.
    assert float(traces.var()) == pytest.approx(variance, rel=5 * math.sqrt(14 / samples))


def test_probes_of_another_shape_are_refused():
    with pytest.raises(InputError, match=r"noise must be \(B, K, ...\)"):
        divergence(Swirl(), ZERO, points(5, 2), noise=points(5, 2))
    with pytest.raises(InputError, match=r"unknown kind of probe 'gausian': did you mean 'gaussian'\?"):
        draw_probes(points(2, 2), kind="gausian")  # pyright: ignore[reportArgumentType]


# --- flows

MATRIX = torch.tensor([[-0.3, 0.8, 0.1], [-0.5, 0.2, 0.0], [0.4, -0.2, 0.6]], dtype=DTYPE)


def gaussian(matrix: Tensor) -> torch.distributions.MultivariateNormal:
    """The law of exp(A) z."""
    root = torch.linalg.matrix_exp(matrix)
    return torch.distributions.MultivariateNormal(matrix.new_zeros(len(matrix)), root @ root.T)


@pytest.mark.parametrize("gradient", ["direct", "checkpoint", "adjoint"])
@pytest.mark.parametrize("trace", ["exact", "rademacher"])
def test_density_of_a_linear_flow_is_that_of_its_gaussian(gradient: Any, trace: Any):
    flow, x = linear_flow(MATRIX, gradient=gradient, trace=trace), points(6, 3)
    matrix, y = MATRIX.clone().requires_grad_(), x.clone().requires_grad_()
    expected = gaussian(matrix).log_prob(y)
    expected_by = torch.autograd.grad(expected.sum(), (matrix, y))
    found = flow.log_prob(x.requires_grad_(), noise=all_signs(6, 3) if trace != "exact" else None)
    torch.testing.assert_close(found, expected, rtol=SOLVED, atol=SOLVED)
    by = torch.autograd.grad(found.sum(), (*flow.parameters(), x))
    for one, two in zip(by, expected_by, strict=True):
        torch.testing.assert_close(one, two, rtol=10 * SOLVED, atol=10 * SOLVED)  # x of size 3 makes sums of six


def test_a_reversible_gradient_is_that_of_the_steps():
    flow, x = linear_flow(MATRIX, gradient="reversible", method="rk4", step_size=0.05), points(6, 3)
    matrix = MATRIX.clone().requires_grad_()
    (expected,) = torch.autograd.grad(gaussian(matrix).log_prob(x).sum(), matrix)
    (found,) = torch.autograd.grad(flow.log_prob(x).sum(), list(flow.parameters()))
    # The error of rk4 is about (|A| h)^4 = 6e-6, one more |A| and a sum of six for the derivative.
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_samples_have_the_law_of_the_gaussian():
    flow, count = linear_flow(MATRIX, rtol=1e-6, atol=1e-6), 40_000
    with torch.no_grad():
        x = flow.sample(count, generator=torch.Generator().manual_seed(0))
        again = flow.sample(count, generator=torch.Generator().manual_seed(0))
    assert torch.equal(x, again)
    covariance = gaussian(MATRIX).covariance_matrix
    scale = covariance.diagonal().sqrt()
    error = (x.T.cov() - covariance) / torch.outer(scale, scale)
    assert error.abs().max() < 5 * math.sqrt(2 / count)  # a correlation's square has at most this standard error
    assert (x.mean(0) / scale).abs().max() < 5 / math.sqrt(count)


def test_density_integrates_to_one():
    torch.manual_seed(0)
    flow = ContinuousNormalizingFlow(MLP(2, (16,), time=True), 2, rtol=1e-7, atol=1e-7).double()
    for parameter in flow.parameters():
        parameter.data *= 2  # away from the identity
    axis = torch.linspace(-9, 9, 121, dtype=DTYPE)
    grid = torch.cartesian_prod(axis, axis)
    with torch.no_grad():
        found = flow(grid)
    assert (found.latent - grid).norm(dim=1).max() > 1  # it does move
    # The trapezoidal rule is exact to exp(-2 pi^2 s^2 / h^2) for a Gaussian of width s: rounding for s > h.
    total = found.log_prob.exp().sum() * (axis[1] - axis[0]) ** 2
    assert total.item() == pytest.approx(1, abs=1e-5)  # the tolerance 1e-7 over about a hundred steps


def test_there_and_back():
    torch.manual_seed(0)
    flow = ContinuousNormalizingFlow(MLP(3, (16,), time=True), 3, energies=True, **TIGHT).double()
    x = points(5, 3)
    there = flow.pull(x)
    back = flow.push(there.points)
    torch.testing.assert_close(back.points, x, rtol=SOLVED, atol=SOLVED)
    torch.testing.assert_close(back.log_det, -there.log_det, rtol=SOLVED, atol=SOLVED)
    for one, two in ((back.kinetic_energy, there.kinetic_energy), (back.jacobian_energy, there.jacobian_energy)):
        assert one is not None
        assert (one > 0).all()
        torch.testing.assert_close(one, two, rtol=SOLVED, atol=SOLVED)


def test_energies_of_straight_lines():
    factor, end, z = 2.5, 1.0, points(5, 3)
    flow = ContinuousNormalizingFlow(Scaling(factor), 3, end=end, energies=True, **TIGHT).double()
    found = flow.push(z)
    assert found.kinetic_energy is not None
    assert found.jacobian_energy is not None
    torch.testing.assert_close(found.points, factor * z, rtol=SOLVED, atol=SOLVED)
    torch.testing.assert_close(found.log_det, torch.full_like(z[:, 0], 3 * math.log(factor)), rtol=SOLVED, atol=SOLVED)
    speed = (factor - 1) * z
    torch.testing.assert_close(found.kinetic_energy, speed.square().sum(1), rtol=SOLVED, atol=SOLVED)
    # int (s-1)^2 / (1 + (s-1) t)^2 dt = (s-1) (1 - 1/s), three times.
    expected = torch.full_like(z[:, 0], 3 * (factor - 1) * (1 - 1 / factor))
    torch.testing.assert_close(found.jacobian_energy, expected, rtol=SOLVED, atol=SOLVED)


def test_energies_are_asked_for_by_name():
    flow, x = linear_flow(MATRIX), points(2, 3)
    assert flow(x).kinetic_energy is None
    flow.energies = True
    assert flow(x).kinetic_energy.shape == (2,)


def test_a_trace_of_all_signs_is_the_exact_one_for_any_field():
    torch.manual_seed(0)
    field, x = MLP(3, (16,), time=True).double(), points(4, 3)
    how: dict[str, Any] = {"method": "rk4", "step_size": 0.1, "energies": True}
    exact = ContinuousNormalizingFlow(field, 3, **how)(x)
    mean = ContinuousNormalizingFlow(field, 3, trace="gaussian", **how)(x, noise=all_signs(4, 3))
    for one, two in zip(exact, mean, strict=True):
        torch.testing.assert_close(one, two, rtol=ROUNDING, atol=ROUNDING)


def test_estimates_draw_their_own_probes():
    flow, x = linear_flow(MATRIX, trace="rademacher", probes=2), points(50, 3)
    first, second = flow.log_prob(x), flow.log_prob(x)
    assert not torch.allclose(first, second, atol=1e-2)
    flow.trace = "exact"
    assert torch.equal(flow.log_prob(x), flow.log_prob(x))


def test_steer_moves_the_end_in_training_alone():
    flow, x = linear_flow(torch.eye(1, dtype=DTYPE), steer=0.4, method="rk4", step_size=0.1), points(1, 1)
    flow.train()
    torch.manual_seed(0)
    with torch.no_grad():
        ends = torch.stack([-flow.pull(x).log_det[0] for _ in range(200)])  # the divergence is 1
    assert ends.min() > 0.6 - ROUNDING
    assert ends.max() < 1.4 + ROUNDING
    # A uniform law has variance b^2 / 3, of which 200 draws tell the root within 5 * sqrt(0.8 / 4 / 200) of itself.
    assert float(ends.std()) == pytest.approx(0.4 / math.sqrt(3), rel=5 * math.sqrt(0.001))
    flow.eval()
    assert flow.pull(x).log_det.item() == pytest.approx(-1.0, abs=ROUNDING)
    assert flow.training is False


def test_conditions_go_in_as_arguments():
    flow = ContinuousNormalizingFlow(Shift(), 2, **TIGHT).double()
    x, c = points(5, 2), points(5, 2, seed=7)
    expected = torch.distributions.Normal(c, 1.0).log_prob(x).sum(1)
    torch.testing.assert_close(flow.log_prob(x, c), expected, rtol=SOLVED, atol=SOLVED)
    generator, again = (torch.Generator().manual_seed(3) for _ in range(2))
    still = flow.sample(5, torch.zeros_like(c), generator=generator)
    torch.testing.assert_close(flow.sample(5, c, generator=again) - still, c, rtol=SOLVED, atol=SOLVED)


def test_flows_of_images():
    class Convolution(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Conv2d(1, 1, 3, padding=1)

        def forward(self, t: Tensor, y: Tensor) -> Tensor:
            return self.layer(y)

    torch.manual_seed(0)
    flow, x = ContinuousNormalizingFlow(Convolution(), (1, 3, 3), **TIGHT).double(), points(2, 1, 3, 3)
    found = flow(x)
    assert found.latent.shape == x.shape
    trace = 9 * flow.field.layer.weight[0, 0, 1, 1]  # pyright: ignore[reportAttributeAccessIssue, reportIndexIssue]
    base = torch.distributions.Normal(0.0, 1.0).log_prob(found.latent).flatten(1).sum(1)
    torch.testing.assert_close(found.log_prob, base - trace, rtol=SOLVED, atol=SOLVED)
    assert flow.sample(4).shape == (4, 1, 3, 3)


def test_flows_work_in_inference_mode():
    flow, x = linear_flow(MATRIX, trace="rademacher", energies=True), points(4, 3)
    expected = gaussian(MATRIX).log_prob(x)
    with torch.inference_mode():
        found = flow.log_prob(x.clone(), noise=all_signs(4, 3).clone())
    torch.testing.assert_close(found.clone(), expected, rtol=SOLVED, atol=SOLVED)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: linear_flow(MATRIX, trace="exat"), "unknown trace 'exat': did you mean 'exact'?"),
        (lambda: linear_flow(MATRIX, probes=0), "probes must be at least 1"),
        (lambda: linear_flow(MATRIX, steer=1.0), "steer must be at least 0 and less than end=1.0"),
        (lambda: linear_flow(MATRIX, end=0.0), "end must be positive and finite, got 0.0"),
        (lambda: ContinuousNormalizingFlow(Shift(), 0), "shape must be a dimension D"),
        (lambda: linear_flow(MATRIX)(points(2, 4)), r"takes real points \(B, ...\) = \(B, 3\), got \(2, 4\)"),
        (lambda: linear_flow(MATRIX)(points(2, 3), noise=points(2, 1, 3)), "trace='exact' has no use for it"),
    ],
)
def test_mistakes_are_named(build: Any, message: str):
    with pytest.raises(InputError, match=message):
        build()


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_the_trace_of_a_convolutional_network_is_that_of_its_jacobian(memory: torch.memory_format):
    """Also where torch cannot take many products at once."""
    torch.manual_seed(0)
    net = UNet(1, width=16, multipliers=(1, 2)).double().eval().to(memory_format=memory)  # pyright: ignore[reportCallIssue]
    y = torch.randn(2, 1, 4, 6, dtype=torch.float64)
    found = divergence(lambda t, y: net(y), torch.tensor(0.0), y)
    jacobian = torch.stack(
        [torch.autograd.functional.jacobian(lambda one: net(one[None])[0], row).reshape(24, 24) for row in y]  # pyright: ignore
    )
    torch.testing.assert_close(found.trace, jacobian.diagonal(dim1=1, dim2=2).sum(1))
    torch.testing.assert_close(found.square, jacobian.square().sum((1, 2)))
