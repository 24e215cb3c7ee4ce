"""Partial derivatives against closed forms and torch.func; conditions met by form; weights of residuals."""

import math

import pytest
import torch
from torch import Tensor, nn

from integrand.core.errors import InputError
from integrand.core.losses import causal_weights, gradient_balance
from integrand.core.models import CoordinateNetwork, HardConditions
from integrand.core.numerics.partials import partials


@pytest.fixture(autouse=True)
def doubles():
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def wave(points: Tensor) -> Tensor:
    x, t = points.unbind(-1)
    return (2 * x).sin() * (-3 * t).exp() + x**3 * t**2


def test_partials_are_the_closed_forms():
    points = torch.rand(50, 2)
    x, t = points.unbind(-1)
    exact = {
        (): wave(points),
        (0,): 2 * (2 * x).cos() * (-3 * t).exp() + 3 * x**2 * t**2,
        (1,): -3 * (2 * x).sin() * (-3 * t).exp() + 2 * x**3 * t,
        (0, 0): -4 * (2 * x).sin() * (-3 * t).exp() + 6 * x * t**2,
        (1, 0): -6 * (2 * x).cos() * (-3 * t).exp() + 6 * x**2 * t,
        (0, 0, 0): -8 * (2 * x).cos() * (-3 * t).exp() + 6 * t**2,
        (0, 1, 1): 18 * (2 * x).cos() * (-3 * t).exp() + 6 * x**2,
        (0, 0, 0, 0): 16 * (2 * x).sin() * (-3 * t).exp(),
    }
    found = partials(wave, points, exact)
    assert list(found) == list(exact)
    for axes, value in exact.items():
        torch.testing.assert_close(found[axes], value, rtol=1e-12, atol=1e-12)


def test_partials_of_a_network_are_those_of_torch_func():
    network = CoordinateNetwork((0.0, -1.0), (1.0, 2.0), (16, 16), frequencies=8)
    points = torch.rand(20, 2)

    def one(point: Tensor) -> Tensor:
        return network(point[None])[0]

    hessian = torch.func.vmap(torch.func.hessian(one))(points)
    third = torch.func.vmap(torch.func.jacfwd(torch.func.hessian(one)))(points)
    found = partials(network, points, [(0, 0), (0, 1), (1, 1), (0, 0, 1)])
    for axes, value in found.items():
        expected = hessian[:, axes[0], axes[1]] if len(axes) == 2 else third[:, 0, 0, 1]
        torch.testing.assert_close(value, expected, rtol=1e-10, atol=1e-10)


def test_partials_are_differentiated_in_turn():
    speed = torch.tensor(1.5, requires_grad=True)
    points = torch.rand(30, 1)
    found = partials(lambda p: (speed * p[:, 0]).sin(), points, [(0, 0)])[0, 0]
    (slope,) = torch.autograd.grad(found.sum(), speed)
    x = points[:, 0]
    exact = (-2 * 1.5 * (1.5 * x).sin() - 1.5**2 * x * (1.5 * x).cos()).sum()
    torch.testing.assert_close(slope, exact, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_partials_work_where_gradients_are_not_recorded(mode):
    with mode():
        points = torch.tensor([[0.3, 0.2]])
        found = partials(wave, points, [(), (0, 0)])
    assert not any(value.requires_grad for value in found.values())
    exact = -4 * math.sin(0.6) * math.exp(-0.6) + 6 * 0.3 * 0.04
    assert float(found[0, 0]) == pytest.approx(exact, rel=1e-14)


def test_partials_of_what_does_not_depend_on_the_points_vanish():
    assert not partials(lambda p: torch.ones(len(p)), torch.rand(3, 2), [(0,), (1, 1)])[1, 1].any()
    assert not partials(lambda p: p[:, 0], torch.rand(3, 2), [(0, 0, 1)])[0, 0, 1].any()


@pytest.mark.parametrize(
    ("function", "points", "axes", "message"),
    [
        (wave, (3, 2), (2,), r"derivative \(2,\) of a function of 2 coordinates"),
        (wave, (3,), (0,), "points must be"),
        (lambda p: p, (3, 2), (0,), r"gave \(3, 2\) for 3 points"),
    ],
)
def test_what_partials_refuses(function, points, axes, message):
    with pytest.raises(InputError, match=message):
        partials(function, torch.rand(points), [axes])


@pytest.mark.parametrize("frequencies", [0, 6])
def test_a_periodic_coordinate_is_periodic_with_every_derivative(frequencies: int):
    network = CoordinateNetwork((-1.0, 0.0), (1.0, 1.0), (12,), periodic=(True, False), frequencies=frequencies)
    left = torch.cat([torch.full((10, 1), -1.0), torch.rand(10, 1)], dim=1)
    right = left + torch.tensor([2.0, 0.0])
    wanted = [(), (0,), (0, 0), (0, 0, 0), (1,)]
    ours, theirs = partials(network, left, wanted), partials(network, right, wanted)
    for axes in wanted:
        torch.testing.assert_close(ours[axes], theirs[axes], rtol=1e-12, atol=1e-12)
    moved = network(left + torch.tensor([0.7, 0.0]))
    assert float((network(left) - moved).detach().abs().max()) > 1e-3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"activation": "elu"}, "unknown smooth activation 'elu'"),
        ({"high": (0.0,)}, "low < high"),
        ({"periodic": (True, False)}, "say it of each"),
        ({"frequencies": -1}, "out of range"),
        ({"hidden": (0,)}, "0"),
    ],
)
def test_what_a_coordinate_network_refuses(options, message):
    with pytest.raises(InputError, match=message):
        CoordinateNetwork(**{"low": (0.0,), "high": (1.0,), **options})
    with pytest.raises(InputError, match=r"give \(points, 1\)"):
        CoordinateNetwork((0.0,), (1.0,))(torch.zeros(3, 2))


def test_hard_conditions_hold_to_rounding_whatever_the_network():
    """u = g + d N with d = t^2 x (1 - x): value and rate at the start, values at the walls."""
    network = CoordinateNetwork((0.0, 0.0), (1.0, 1.0), (16, 16))
    u = HardConditions(
        network, lambda p: (math.pi * p[:, 0]).sin(), lambda p: p[:, 1].square() * p[:, 0] * (1 - p[:, 0])
    )
    x = torch.rand(40, 1)
    start = partials(u, torch.cat([x, torch.zeros_like(x)], dim=1), [(), (1,), (1, 1)])
    torch.testing.assert_close(start[()], (math.pi * x[:, 0]).sin(), rtol=0, atol=0)
    assert not start[1,].any()
    assert float(start[1, 1].detach().abs().max()) > 1e-3  # the network is at work
    for wall in (0.0, 1.0):
        assert float(u(torch.cat([torch.full_like(x, wall), x], dim=1)).detach().abs().max()) < 2e-16


def test_causal_weights():
    losses = torch.tensor([0.5, 2.0, 0.0, 1.0], requires_grad=True)
    weights = causal_weights(losses, 0.5)
    assert not weights.requires_grad
    torch.testing.assert_close(weights, torch.tensor([1.0, math.exp(-0.25), math.exp(-1.25), math.exp(-1.25)]))
    assert causal_weights(losses, 0.0).tolist() == [1.0] * 4


def test_balanced_terms_have_gradients_of_one_norm():
    layer = nn.Linear(3, 1)
    x = torch.rand(8, 3)
    terms = [layer(x).square().mean(), 1e-4 * (layer(x) - 5).square().mean(), 300 * layer.bias.square().sum()]
    weights = gradient_balance(terms, layer.parameters())
    norms = []
    for weight, term in zip(weights, terms, strict=True):
        gradients = torch.autograd.grad(weight * term, list(layer.parameters()), retain_graph=True, allow_unused=True)
        norms.append(float(torch.cat([g.flatten() for g in gradients if g is not None]).norm()))
    assert norms == pytest.approx([norms[0]] * 3, rel=1e-12)
    assert gradient_balance([terms[0], 0 * layer(x).sum()], layer.parameters())[1] == 1
