"""Gradients of implicit steps, against finite differences, closed forms and Newton's method unrolled, in float64."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from integrand.core.errors import InputError
from integrand.core.fields import MLP
from integrand.core.numerics import solve_ode
from integrand.core.numerics.field_call import BoundField, Field
from integrand.core.numerics.methods.diagonally_implicit import (
    DIAGONALLY_IMPLICIT,
    IMPLICIT_EULER,
    KENCARP4,
    DiagonallyImplicit,
    DiagonallyImplicitStepper,
)
from integrand.core.numerics.methods.newton import StageEquations

torch64 = torch.float64
tables = pytest.mark.parametrize("table", DIAGONALLY_IMPLICIT.values(), ids=lambda table: table.name)


def walk(
    table: DiagonallyImplicit,
    field: Field,
    y: Tensor,
    t: Tensor,
    h: Tensor,
    *,
    args=None,
    steps: int = 2,
    tolerance: float = 1e-13,
    derivatives: int = 1,
) -> Tensor:
    """Take a few steps, each starting with the last one's slope."""
    stepper = DiagonallyImplicitStepper(table, tolerance, tolerance, derivatives=derivatives)
    bound, first = BoundField(field, args, len(y)), None
    for _ in range(steps):
        step = stepper.step(bound, t, h, y, first)
        y, t, first = step.y, t + h, step.last
    return y


def coupled(t: Tensor, y: Tensor, k: Tensor) -> Tensor:
    """A stiff non-autonomous nonlinear field, with arguments."""
    u, v = y.unbind(-1)
    clock = t if t.dim() == 0 else t.view(-1)
    return torch.stack([-k[:, 0] * u**2 + v * torch.cos(clock), -40 * v + u * k[:, 1]], dim=-1)


def inputs(own: bool) -> tuple[Tensor, ...]:
    """State, arguments, time and step of a batch of three; time and step shared or each sample's own."""
    generator = torch.Generator().manual_seed(0)
    y, k = torch.rand(2, 3, 2, generator=generator, dtype=torch64).unbind(0)
    t = torch.tensor([0.3, 0.1, -0.4] if own else 0.3, dtype=torch64)
    h = torch.tensor([0.1, 0.2, 0.3] if own else 0.2, dtype=torch64)
    return tuple(x.requires_grad_() for x in (y, k, t, h))


@tables
@pytest.mark.parametrize("own", [False, True])
def test_first_derivatives_agree_with_finite_differences(table: DiagonallyImplicit, own: bool):
    def run(y: Tensor, k: Tensor, t: Tensor, h: Tensor) -> Tensor:
        return walk(table, coupled, y, t, h, args=k)

    assert torch.autograd.gradcheck(run, inputs(own))


@tables
def test_second_derivatives_agree_with_finite_differences(table: DiagonallyImplicit):
    def run(y: Tensor, k: Tensor, t: Tensor, h: Tensor) -> Tensor:
        return walk(table, coupled, y, t, h, args=k, steps=1, derivatives=2)

    assert torch.autograd.gradgradcheck(run, inputs(own=True))


@pytest.mark.parametrize("derivatives", [1, 2])
def test_one_derivative_too_many_is_refused(derivatives: int):
    """Also where the derivative before is linear in what is asked for, and autograd would find a zero."""
    y, k, t, h = inputs(own=False)
    grad = walk(KENCARP4, coupled, y, t, h, args=k, derivatives=derivatives).sum()
    for _ in range(derivatives):
        (grad,) = torch.autograd.grad(grad.sum(), k, create_graph=True)
    with pytest.raises(InputError, match="derivatives="):
        torch.autograd.grad(grad.sum(), k)


@pytest.mark.parametrize("tolerance", [1e-3, 1e-8])
@tables
def test_gradients_change_no_value(table: DiagonallyImplicit, tolerance: float):
    y, k, t, h = inputs(own=True)
    with_gradient = walk(table, coupled, y, t, h, args=k, tolerance=tolerance)
    with torch.no_grad():
        without = walk(table, coupled, y, t, h, args=k, tolerance=tolerance)
    assert torch.equal(with_gradient, without)
    assert with_gradient.requires_grad
    assert not without.requires_grad


@tables
@pytest.mark.parametrize("own", [False, True])
def test_a_step_tried_again_has_exact_derivatives(table: DiagonallyImplicit, own: bool):
    """With the Jacobian of the first try, thrice as long, for the iterations of the second."""
    asked = []

    class Watched:
        def __call__(self, t: Tensor, y: Tensor, k: Tensor) -> Tensor:
            return coupled(t, y, k)

        def jacobian(self, t: Tensor, y: Tensor, k: Tensor) -> Tensor:
            asked.append(y.clone())
            zero, cosine = torch.zeros(len(y), dtype=torch64), torch.cos(t).expand(len(y))
            return torch.stack([-2 * k[:, 0] * y[:, 0], cosine, k[:, 1], zero - 40], dim=1).view(-1, 2, 2)

    def run(y: Tensor, k: Tensor, t: Tensor, h: Tensor) -> Tensor:
        stepper, field = DiagonallyImplicitStepper(table, 1e-13, 1e-13), BoundField(Watched(), k, len(y))
        with torch.no_grad():
            refused = stepper.step(field, t, 3 * h, y, None)
        asked.clear()
        taken = stepper.step(field, t, h, y, None if refused.first is None else coupled(t, y, k))
        assert not any(torch.equal(place, y) for place in asked)
        return taken.y

    assert torch.autograd.gradcheck(run, inputs(own))


@pytest.mark.parametrize("scale", [1.0, 0.7, 1.5])
def test_the_derivative_does_not_depend_on_the_jacobian_of_the_iterations(scale: float):
    """Y = b - s Y^2: dY/db = 1 / (1 + 2 s Y), whatever matrix led to Y."""
    b = torch.tensor([[1.0], [3.0]], dtype=torch64, requires_grad=True)
    s, t = torch.tensor([0.3, 2.0], dtype=torch64), torch.zeros((), dtype=torch64)
    equations = StageEquations(
        BoundField(lambda t, y: -(y**2), None, 2),
        t,
        b.detach(),
        s,
        rtol=1e-14,
        atol=1e-14,
        matrices=(-2 * scale * b.detach()).unsqueeze(2),
    )
    stage = equations.solve(t, b, b)
    assert not equations.failed.any()
    (actual,) = torch.autograd.grad(equations.attach(0, t, b).sum(), b)
    torch.testing.assert_close(actual, 1 / (1 + 2 * s.view(2, 1) * stage), rtol=1e-13, atol=0)


def test_the_derivative_is_that_of_newton_unrolled():
    """Ten full Newton iterations recorded by autograd, from the same start: the same root, and the same derivative."""
    y, k, t, h = inputs(own=True)
    weights = torch.tensor([[1.0, -2.0]], dtype=torch64)
    implicit = walk(IMPLICIT_EULER, coupled, y, t, h, args=k, steps=1)
    actual = torch.autograd.grad((weights * implicit).sum(), (y, k, t, h))

    stage = y
    for _ in range(10):
        residual = y + h.view(-1, 1) * coupled(t + h, stage, k) - stage
        rows = [torch.autograd.grad(residual[:, i].sum(), stage, create_graph=True)[0] for i in range(2)]
        stage = stage - torch.linalg.solve(torch.stack(rows, dim=1), residual)
    torch.testing.assert_close(implicit, stage, rtol=1e-12, atol=1e-13)
    expected = torch.autograd.grad((weights * stage).sum(), (y, k, t, h))
    for one, other in zip(actual, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-12)  # the stiffness, 40, times the root's error


class Decay(nn.Module):
    """y' = -(a + k) y with a learned and k an argument."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.tensor(0.8, dtype=torch64))

    def forward(self, t: Tensor, y: Tensor, k: Tensor) -> Tensor:
        return -(self.a + k) * y


@pytest.mark.parametrize("rate", [1.0, 1e3, 1e6])
def test_gradients_of_a_linear_equation_are_the_known_ones(rate: float):
    """n steps of backward Euler: y = y0 (1 + h r)^-n with r = a + k, so dy/dr = -n h y / (1 + h r), however stiff."""
    field, count = Decay(), 3
    y0 = torch.tensor([[1.0], [-2.0]], dtype=torch64, requires_grad=True)
    k = torch.tensor([[rate], [2 * rate]], dtype=torch64, requires_grad=True)
    h = torch.tensor(0.1, dtype=torch64, requires_grad=True)
    y = walk(IMPLICIT_EULER, field, y0, torch.zeros((), dtype=torch64), h, args=k, steps=count)
    actual = torch.autograd.grad(y.sum(), (y0, k, field.a, h))
    with torch.no_grad():
        r = field.a + k
        growth = 1 / (1 + h * r)
        by_k = -count * h * y0 * growth ** (count + 1)
        expected = growth**count, by_k, by_k.sum(), (-count * r * y0 * growth ** (count + 1)).sum()
    for one, other in zip(actual, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-11, atol=0)


@pytest.mark.parametrize("stepping", ["shared", "per_sample"])
@pytest.mark.parametrize("rate", [1.0, 1e3])
def test_gradients_of_an_adaptive_solve_are_the_known_ones(stepping: Any, rate: float):
    """y = cos t + (y0 - 1) exp(-r t) of y' = -r (y - cos t) - sin t, from which a stiff rate soon vanishes."""

    class Relaxation(Decay):
        def forward(self, t: Tensor, y: Tensor, k: Tensor) -> Tensor:
            clock = t if t.dim() == 0 else t.view(-1, 1)
            return -(self.a + k) * (y - torch.cos(clock)) - torch.sin(clock)

    field = Relaxation()
    y0 = torch.tensor([[2.0], [0.5]], dtype=torch64, requires_grad=True)
    k = torch.tensor([[rate], [2 * rate]], dtype=torch64, requires_grad=True)
    times = torch.tensor([0.0, 0.4 / rate, 1.0], dtype=torch64, requires_grad=True)
    options = {"method": "kencarp4", "rtol": 1e-9, "atol": 1e-11, "stepping": stepping}
    states = solve_ode(field, y0, times, args=k, **options).states[..., 0]
    actual = torch.autograd.grad(states.sum(), (y0, k, field.a))
    with torch.no_grad():
        decay = torch.exp(-(field.a + k) * times)
        by_k = (-(y0 - 1) * times * decay).sum(1, keepdim=True)
        torch.testing.assert_close(states, torch.cos(times) + (y0 - 1) * decay, rtol=1e-7, atol=1e-8)
    # The derivatives of a step err as the step does, within ten times the tolerance.
    for one, other in zip(actual, (decay.sum(1, keepdim=True), by_k, by_k.sum()), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-7, atol=1e-8)


def test_parameters_get_the_gradient_of_finite_differences():
    torch.manual_seed(0)
    field = MLP(3, (8,), time=True).double()
    y, t, h = (
        torch.randn(2, 3, dtype=torch64),
        torch.tensor(0.2, dtype=torch64),
        torch.tensor([0.5, 1.0], dtype=torch64),
    )

    def loss(model: nn.Module) -> Tensor:
        return walk(KENCARP4, model, y, t, h).square().sum()

    loss(field).backward()
    generator = torch.Generator().manual_seed(1)
    directions = [torch.randn(p.shape, generator=generator, dtype=torch64) for p in field.parameters()]
    moved = [copy.deepcopy(field), copy.deepcopy(field)]
    small = 1e-5
    with torch.no_grad():
        for model, sign in zip(moved, (1, -1), strict=True):
            for p, direction in zip(model.parameters(), directions, strict=True):
                p.add_(sign * small * direction)
        difference = (loss(moved[0]) - loss(moved[1])) / (2 * small)
    grads = [p.grad for p in field.parameters()]
    inner = sum((g * d).sum() for g, d in zip(grads, directions, strict=True) if g is not None)
    # The difference errs by small^2 and by rounding over small: 1e-10 and 1e-11 of order one.
    torch.testing.assert_close(inner, difference, rtol=1e-8, atol=1e-8)


def test_a_frozen_field_and_state_record_nothing():
    y, k, t, h = (x.detach() for x in inputs(own=True))
    assert not walk(KENCARP4, coupled, y, t, h, args=k).requires_grad


def test_dense_output_is_differentiable():
    y, k, t, h = inputs(own=False)
    stepper = DiagonallyImplicitStepper(KENCARP4, 1e-13, 1e-13)
    weights = stepper.weights(torch.tensor(0.4, dtype=torch64))

    def run(y: Tensor, k: Tensor, h: Tensor) -> Tensor:
        slopes = stepper.step(BoundField(coupled, k, 3), t.detach(), h, y, None).slopes
        return y + h * sum(w * slope for w, slope in zip(weights, slopes, strict=True))

    assert torch.autograd.gradcheck(run, (y, k, h))


@pytest.mark.parametrize("own_jacobian", [False, True])
def test_one_call_gives_the_jacobians_of_all_stages(own_jacobian: bool):
    """A step of s implicit stages with gradients calls the field for Jacobians twice: at its start, and at its end."""
    sizes, asked = [], []

    class Watched:
        def __call__(self, t: Tensor, y: Tensor) -> Tensor:
            sizes.append(len(y))
            return -(y**3)

    class WithJacobian(Watched):
        def jacobian(self, t: Tensor, y: Tensor) -> Tensor:
            asked.append(len(y))
            return torch.diag_embed(-3 * y**2)

    field = WithJacobian() if own_jacobian else Watched()
    y = torch.rand(4, 2, dtype=torch64, requires_grad=True)
    h = torch.tensor(0.1, dtype=torch64)
    step = DiagonallyImplicitStepper(KENCARP4, 1e-10, 1e-10).step(BoundField(field, None, 4), 0 * h, h, y, None)
    assert step.y.requires_grad
    if own_jacobian:
        assert asked == [4, 5 * 4]
    else:
        assert [size for size in sizes if size != 4] == [2 * 4, 5 * 2 * 4]


def test_the_error_and_the_filter_record_no_gradient():
    y, k, t, h = inputs(own=False)
    step = DiagonallyImplicitStepper(KENCARP4, 1e-6, 1e-6).step(BoundField(coupled, k, 3), t, h, y, None)
    assert step.error is not None
    assert not step.error.requires_grad
    equations = StageEquations(BoundField(coupled, k, 3), t, y, h, rtol=1e-6, atol=1e-6)
    assert not equations.filter(y).requires_grad


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_steps_work_where_no_gradient_is_recorded(mode):
    y, k, t, h = (x.detach() for x in inputs(own=True))
    expected = walk(KENCARP4, coupled, y, t, h, args=k)
    with mode():
        inside = [x.clone() for x in (y, k, t, h)]
        assert torch.equal(walk(KENCARP4, coupled, inside[0], inside[2], inside[3], args=inside[1]), expected)
