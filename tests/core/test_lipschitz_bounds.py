"""Lipschitz bounds against singular values, closed forms, and networks whose pieces can all be visited."""

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from torch import Tensor, nn

from integrand.core.analysis import lipschitz_bounds
from integrand.core.analysis.activation_slopes import slope_range
from integrand.core.analysis.convolution_norm import convolution_norm_bound
from integrand.core.analysis.layered_bounds import measure_bound, norm_bounds
from integrand.core.analysis.layered_network import Layered
from integrand.core.errors import InputError
from integrand.core.fields import MLP, ContractiveField, Linear, LipschitzMLP, MonotoneField, Relaxation

F64 = torch.float64
ACTIVATIONS = [
    nn.ReLU(),
    nn.LeakyReLU(0.2),
    nn.ELU(),
    nn.ELU(1.7),
    nn.Tanh(),
    nn.Sigmoid(),
    nn.Softplus(),
    nn.Softplus(beta=2.0),
    nn.Softsign(),
    nn.SiLU(),
    nn.GELU(),
    nn.Hardtanh(),
    nn.ReLU6(),
]


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=F64)


def dense(*widths: int, activation: type[nn.Module] = nn.ReLU, scale: float = 1.0) -> nn.Sequential:
    layers: list[nn.Module] = []
    for fan_in, fan_out in pairwise(widths):
        layers += [nn.Linear(fan_in, fan_out, dtype=F64), activation()]
    net = nn.Sequential(*layers[:-1])
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(scale * torch.randn_like(parameter))
    return net


def steepest_piece(net: nn.Sequential) -> float:
    """The Lipschitz constant of a ReLU network of one variable, from its kinks: every piece between two of them.

    Kinks of a layer are where a unit of it, linear between the kinks before, is zero. Written with numpy alone.
    """
    layers = [(m.weight.detach().numpy(), m.bias.detach().numpy()) for m in net if isinstance(m, nn.Linear)]

    def units(x: np.ndarray, upto: int) -> np.ndarray:
        h = x[:, None]
        for w, b in layers[:upto]:
            h = np.maximum(h @ w.T + b, 0)
        w, b = layers[upto]
        return h @ w.T + b

    kinks = np.array([-1e4, 1e4])
    for layer in range(len(layers) - 1):
        z = units(kinks, layer)
        left, right = z[:-1], z[1:]
        piece, unit = np.nonzero(left * right < 0)
        share = left[piece, unit] / (left[piece, unit] - right[piece, unit])
        kinks = np.unique(np.concatenate([kinks, kinks[piece] + share * np.diff(kinks)[piece]]))
    widths = np.diff(kinks)
    values = units(kinks, len(layers) - 1)
    wide = widths > 1e-6  # the slopes of narrower ones cannot be told from rounding
    return float((np.linalg.norm(np.diff(values, axis=0), axis=1)[wide] / widths[wide]).max())


def steepest_pattern(net: nn.Sequential) -> float:
    """The Lipschitz constant of a ReLU network of two variables and one hidden layer: the cells of its lines.

    Beside every crossing of two lines, and far out between neighbouring directions, lie points of all cells.
    """
    first, last = [m for m in net if isinstance(m, nn.Linear)]
    w, b, v = first.weight.detach().numpy(), first.bias.detach().numpy(), last.weight.detach().numpy()
    points = []
    for i in range(len(w)):
        for j in range(i):
            crossing = np.linalg.solve(w[[i, j]], -b[[i, j]])
            inverse = np.linalg.inv(w[[i, j]])
            for signs in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
                points.append(crossing + 1e-7 * inverse @ np.array(signs))
    angles = np.sort(np.concatenate([np.arctan2(w[:, 0], -w[:, 1]), np.arctan2(-w[:, 0], w[:, 1])]))
    middles = (angles + np.roll(angles, -1)) / 2 + np.where(np.arange(len(angles)) == len(angles) - 1, np.pi, 0)
    points += [1e7 * np.array([np.cos(a), np.sin(a)]) for a in middles]
    active = (np.array(points) @ w.T + b > 0).astype(float)
    return float(np.linalg.norm(v @ (active[:, :, None] * w), ord=2, axis=(1, 2)).max())


@pytest.mark.parametrize("shape", [(3, 5), (5, 3), (1, 1), (4, 4)])
def test_of_a_linear_map_both_bounds_are_the_largest_singular_value(shape: tuple[int, int]):
    layer = nn.Linear(*shape)
    known = np.linalg.norm(layer.weight.detach().double().numpy(), ord=2)
    found = lipschitz_bounds(layer, torch.randn(10, shape[0]))
    assert found.upper is not None
    assert found.lower <= known <= found.upper
    assert found.lower == pytest.approx(known, rel=1e-8)
    assert found.upper == pytest.approx(known, rel=1e-8)
    assert found.at.shape == (shape[0],)


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=repr)
def test_the_slopes_of_an_activation_are_those_that_a_search_finds(activation: nn.Module):
    """Against autograd: everywhere, and over many intervals; the bound is met, not only kept."""
    known = slope_range(activation)
    assert known is not None
    x = torch.cat([torch.linspace(-30, 30, 60001, dtype=F64), torch.tensor([-1e4, 1e4], dtype=F64)]).requires_grad_()
    (slopes,) = torch.autograd.grad(activation(x).sum(), x)
    assert known.least - 1e-12 <= slopes.min() <= known.least + 1e-6
    assert known.most - 1e-6 <= slopes.max() <= known.most + 1e-12
    low = 4 * torch.rand(200, dtype=F64) - 3
    high = low + 3 * torch.rand(200, dtype=F64)
    inside = (low[:, None] + (high - low)[:, None] * torch.linspace(0, 1, 2001, dtype=F64)).requires_grad_()
    (slopes,) = torch.autograd.grad(activation(inside).sum(), inside)
    least, most = known.over(low, high)
    assert bool((least <= slopes.amin(1) + 1e-12).all())
    assert bool((most >= slopes.amax(1) - 1e-12).all())
    torch.testing.assert_close(least, slopes.amin(1), rtol=0, atol=3e-3)
    torch.testing.assert_close(most, slopes.amax(1), rtol=0, atol=3e-3)


@pytest.mark.parametrize("activation", [nn.SiLU(), nn.GELU()], ids=repr)
def test_activations_that_are_steeper_than_one_say_how_steep(activation: nn.Module):
    def slope(x: float) -> float:
        h = 1e-5
        pair = activation(torch.tensor([x + h, x - h], dtype=F64))
        return -float(pair[0] - pair[1]) / (2 * h)

    best: Any = minimize_scalar(slope, bounds=(0, 5), method="bounded", options={"xatol": 1e-9})
    found = slope_range(activation)
    assert found is not None
    assert found.most == pytest.approx(-best.fun, rel=1e-8)


def test_bounds_are_never_crossed_by_1000_relu_networks_whose_pieces_are_all_visited():
    """Of one variable, two hidden layers; the truth comes from the kinks."""
    crossed, tight = 0, 0
    for k in range(1000):
        net = dense(1, 4, 3, 1)
        truth = steepest_piece(net)
        found = lipschitz_bounds(net, draw(6, 1), steps=k % 10 // 9)
        assert found.upper is not None
        # Slopes are differences of values next to kinks that rounding has moved, which have fewer digits.
        crossed += found.lower > truth * (1 + 1e-6) or truth > found.upper * (1 + 1e-6)
        tight += found.upper < 2 * truth
    assert crossed == 0
    assert tight > 500  # or the bound would say little


def test_bounds_are_never_crossed_by_relu_networks_of_two_variables_whose_cells_are_all_visited():
    for _ in range(40):
        net = dense(2, 5, 2)
        truth = steepest_pattern(net)
        found = lipschitz_bounds(net, draw(20, 2), steps=4)
        assert found.upper is not None
        assert found.lower <= truth <= found.upper


def test_no_one_of_1000_pairs_is_stretched_by_more_than_the_upper_bound():
    nets = [dense(3, 8, 8, 2, activation=a) for a in (nn.ReLU, nn.Tanh, nn.GELU, nn.SiLU, nn.ELU)]
    nets += [MLP(3, (16, 16), activation="silu").double().layers, nn.Sequential(nn.Sigmoid(), dense(3, 8, 2))]
    for net in nets:
        found = lipschitz_bounds(net, draw(20, 3), steps=10)
        assert found.upper is not None
        x = draw(1000, 3)
        y = x + draw(1000, 3) * 10 ** -(3 * torch.rand(1000, 1, dtype=F64))
        stretched = ((net(x) - net(y)).norm(dim=1) / (x - y).norm(dim=1)).max().item()
        assert stretched <= found.upper
        assert found.lower <= found.upper


def test_of_a_network_that_is_diagonal_both_bounds_are_the_closed_form():
    """b tanh(a x) for each component is the steepest at 0, where its slope is a b."""
    first, last = nn.Linear(3, 3, bias=False, dtype=F64), nn.Linear(3, 3, bias=False, dtype=F64)
    a, b = torch.tensor([3.0, -0.5, 1.0], dtype=F64), torch.tensor([0.5, 2.0, -1.2], dtype=F64)
    with torch.no_grad():
        first.weight.copy_(torch.diag(a))
        last.weight.copy_(torch.diag(b))
    found = lipschitz_bounds(nn.Sequential(first, nn.Tanh(), last), draw(20, 3), steps=60)
    assert found.upper is not None
    assert found.upper == pytest.approx(1.5, rel=1e-9)
    assert found.lower == pytest.approx(1.5, rel=1e-4)
    assert found.lower <= 1.5 <= found.upper


@pytest.mark.parametrize(
    ("function", "known"),
    [
        (lambda x: torch.sin(3 * x), 3.0),
        (lambda x: x.abs(), 1.0),
        (lambda x: torch.stack([x[:, 0] ** 2 / (1 + x[:, 0] ** 2), 0 * x[:, 1]], 1), 3 * math.sqrt(3) / 8),
        (lambda x: torch.sin(x.sum(1, keepdim=True)), math.sqrt(2)),
        (lambda x: torch.ones_like(x), 0.0),
    ],
)
def test_the_search_comes_to_the_constant_of_known_functions_and_not_beyond(function, known: float):
    found = lipschitz_bounds(function, draw(20, 2), steps=60)
    assert found.upper is None
    assert "does not show its structure" in found.how
    assert found.lower <= known
    assert found.lower == pytest.approx(known, rel=1e-6)


def test_the_search_finds_what_the_points_given_do_not_show():
    """A narrow step, a thousandth as wide as the points' spread, in a function that is flat elsewhere."""
    found = lipschitz_bounds(lambda x: torch.tanh(x - 4), torch.linspace(-1, 1, 20, dtype=F64)[:, None], steps=60)
    assert found.lower == pytest.approx(1.0, rel=1e-3)
    assert found.at.item() == pytest.approx(4.0, abs=0.1)


def test_within_a_box_the_bound_is_tighter_and_holds_there():
    net = dense(2, 16, 16, 2, activation=nn.Tanh)
    low, high = torch.tensor([0.1, -0.3], dtype=F64), torch.tensor([0.3, 0.1], dtype=F64)
    everywhere, here = lipschitz_bounds(net, draw(50, 2)), lipschitz_bounds(net, draw(50, 2), box=(low, high))
    assert everywhere.upper is not None
    assert here.upper is not None
    assert here.upper < 0.7 * everywhere.upper
    assert bool(((here.at >= low) & (here.at <= high)).all())
    x, y = (low + (high - low) * torch.rand(1000, 2, dtype=F64) for _ in range(2))
    stretched = ((net(x) - net(y)).norm(dim=1) / (x - y).norm(dim=1)).max().item()
    assert stretched <= here.upper
    assert here.lower <= here.upper


@pytest.mark.parametrize("widths", [(3, 4), (3, 16, 3), (3, 6, 5, 3), (3, 4, 5, 4, 3)], ids=str)
@pytest.mark.parametrize("through", [False, True])
def test_every_single_bound_holds_for_any_slopes_within_their_ranges(widths: tuple[int, ...], through: bool):
    """Also those that are not the least here; against Jacobians of random slopes, many at the ends of the ranges."""
    weights = tuple(draw(m, n) for n, m in pairwise(widths))
    ranges = []
    for width in widths[1:-1]:
        ends = 0.7 * draw(2, width)
        ranges.append((ends.amin(0), ends.amax(0)))
    known = slope_range(nn.Tanh())
    assert known is not None
    hidden = len(weights) - 1
    a = draw(widths[-1], 3) if through else None
    net = Layered(weights, (None,) * len(weights), ((nn.Tanh(), known),) * hidden, a)
    product = weights[0].expand(4000, -1, -1)
    for weight, (least, most) in zip(weights[1:], ranges, strict=True):
        share = torch.rand(4000, len(least), dtype=F64)
        share[::2] = share[::2].round()
        product = weight @ ((least + share * (most - least)).unsqueeze(2) * product)
    product = product if a is None else product + a
    largest = torch.linalg.matrix_norm(product, ord=2).max().item()
    found = norm_bounds(net, ranges, steps=10)
    assert all(value >= largest for value in found.values()), found
    assert min(found.values()) < 6 * largest
    if hidden and widths[-1] == 3:
        worst = torch.linalg.eigvalsh((product + product.mT) / 2).amax().item()
        assert worst <= measure_bound(net, ranges, steps=10) <= min(found.values()) * (1 + 1e-9)


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=repr)
def test_within_boxes_of_any_size_no_slope_is_steeper_than_the_bound(activation: nn.Module):
    net = nn.Sequential(nn.Linear(1, 5), activation, nn.Linear(5, 4), activation, nn.Linear(4, 2)).double()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.randn_like(parameter))
    for width in (1e-3, 0.1, 1.0, 5.0):
        low = draw(1)
        found = lipschitz_bounds(net, low[None], steps=0, box=(low, low + width))
        x = low + width * torch.linspace(0, 1, 2001, dtype=F64)[:, None]
        values = net(x).detach()
        steepest = ((values[1:] - values[:-1]).norm(dim=1) / (x[1:] - x[:-1]).norm(dim=1)).max().item()
        assert found.upper is not None
        assert steepest <= found.upper * (1 + 1e-8)  # rounding of differences over 5e-7 and more
        if width == 1e-3 and not isinstance(activation, nn.ReLU | nn.LeakyReLU | nn.Hardtanh):
            assert found.upper < 1.05 * steepest + 1e-3


def test_in_a_box_without_kinks_the_bound_is_the_slope_there():
    net = dense(1, 4, 3, 1)
    at = torch.tensor([[0.37]], dtype=F64)
    (slope,) = torch.autograd.grad(net(at.requires_grad_()).sum(), at)
    near = at.detach()[0]
    found = lipschitz_bounds(net, near[None], box=(near - 1e-9, near + 1e-9))
    assert found.upper == pytest.approx(abs(slope.item()), rel=1e-9)


def test_of_our_fields_each_has_a_bound_above_what_is_found():
    fields = [
        MLP(3, (16, 16)),
        MLP(3, (16,), activation="gelu", final="tanh", time=True),
        LipschitzMLP(3, (16, 16), lipschitz=0.7),
        Linear(3),
        ContractiveField(3, 8, metric=True),
        MonotoneField(3, activation="tanh"),
        Relaxation(nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 3)), time_constant=0.5),
    ]
    for field in fields:
        found = lipschitz_bounds(field, torch.randn(30, 3))
        assert found.upper is not None, field
        assert 0 < found.lower <= found.upper, field
        assert found.upper < 20 * found.lower, field
    bound = lipschitz_bounds(fields[2], torch.randn(5, 3)).upper
    assert bound is not None
    assert bound <= 0.7 * (1 + 1e-6)


def test_a_residual_block_is_bounded_as_one_and_not_by_the_triangle():
    """y + h f(y) of a linear f: the norm of I + h A, much less than 1 + h |A| for a stable A."""
    field = Linear(3)
    with torch.no_grad():
        field.matrix.copy_(torch.tensor([[-2.0, 1.0, 0.0], [-1.0, -2.0, 0.0], [0.0, 0.0, -1.0]]))
    known = np.linalg.norm(np.eye(3) + 0.25 * field.matrix.detach().double().numpy(), ord=2)
    found = lipschitz_bounds(field, torch.randn(5, 3), residual=0.25)
    assert found.lower == pytest.approx(known, rel=1e-8)
    assert found.upper == pytest.approx(known, rel=1e-8)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("groups", [1, 2])
def test_a_convolution_stretches_no_more_than_its_bound(stride: int, groups: int):
    """Against the singular values of its matrix for a signal of finite length, which come close from below."""
    layer = nn.Conv1d(4, 4, 3, padding=1, stride=stride, groups=groups, bias=False, dtype=F64)
    unit = torch.eye(4 * 40, dtype=F64).view(-1, 4, 40)
    known = torch.linalg.matrix_norm(layer(unit).flatten(1).T.detach(), ord=2).item()
    found = convolution_norm_bound(layer)
    assert found is not None
    assert known <= found
    assert found <= (1.02 if stride == 1 else 1.5) * known


def test_a_convolution_of_images_that_comes_round_stretches_what_its_frequencies_say():
    layer = nn.Conv2d(2, 3, 3, padding=1, padding_mode="circular", bias=False, dtype=F64)
    unit = torch.eye(2 * 12 * 12, dtype=F64).view(-1, 2, 12, 12)
    known = torch.linalg.matrix_norm(layer(unit).flatten(1).T.detach(), ord=2).item()
    found = convolution_norm_bound(layer)
    assert found is not None
    assert known <= found <= 1.1 * known
    assert convolution_norm_bound(nn.Conv2d(2, 3, 3, padding=1, padding_mode="reflect")) is None
    assert convolution_norm_bound(nn.Conv1d(2, 3, 3, padding=2, padding_mode="circular")) is None


def test_a_convolutional_network_is_bounded_by_its_parts():
    net = nn.Sequential(
        nn.Unflatten(1, (2, 16)),
        nn.Conv1d(2, 8, 3, padding=1),
        nn.BatchNorm1d(8),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Flatten(1),
        nn.Linear(128, 8),
        nn.Tanh(),
        nn.Linear(8, 2),
    )
    trains = lipschitz_bounds(net.eval().train(), torch.randn(8, 32), steps=0)
    assert trains.upper is None
    assert "while it trains" in trains.how
    found = lipschitz_bounds(net.eval(), torch.randn(8, 32))
    assert found.upper is not None
    assert 0 < found.lower <= found.upper


def test_what_is_not_known_has_no_upper_bound_and_says_why():
    class Doubled(nn.Linear):
        def forward(self, input: Tensor) -> Tensor:
            return 2 * super().forward(input)

    hooked = nn.Linear(3, 3)
    hooked.register_forward_hook(lambda module, given, value: value.flip(1))
    cases: list[tuple[Any, str]] = [
        (nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 3)), "no bound is known of LayerNorm"),
        (Doubled(3, 3), "Doubled"),
        (hooked, "hook"),
        (nn.Sequential(nn.Linear(3, 3), nn.GELU(approximate="tanh")), "GELU"),
        (nn.Sequential(nn.ReLU(), nn.Sequential(nn.Linear(3, 3), hooked)), "hook"),
        (lambda x: x, "structure"),
    ]
    for net, why in cases:
        found = lipschitz_bounds(net, torch.randn(4, 3), steps=1)
        assert found.upper is None
        assert why in found.how


def test_weights_and_random_numbers_stay_what_they_were():
    net, x = nn.Linear(2, 2), torch.randn(3, 2)
    before, state = net.weight.detach().clone(), torch.get_rng_state()
    with torch.inference_mode():
        first = lipschitz_bounds(net, x)
    second = lipschitz_bounds(net, x)
    assert first.lower == second.lower
    assert first.upper == second.upper
    assert net.weight.dtype is torch.float32
    assert torch.equal(net.weight, before)
    assert torch.equal(torch.get_rng_state(), state)
    assert net.weight.grad is None


def test_mistakes_have_one_line():
    with pytest.raises(InputError, match="states must be"):
        lipschitz_bounds(nn.Linear(2, 2), torch.zeros(2))
    with pytest.raises(InputError, match="steps=-1"):
        lipschitz_bounds(nn.Linear(2, 2), torch.zeros(1, 2), steps=-1)
    with pytest.raises(InputError, match="box must be"):
        lipschitz_bounds(nn.Linear(2, 2), torch.zeros(1, 2), box=(torch.ones(2), torch.zeros(2)))
    with pytest.raises(InputError, match="without end"):
        lipschitz_bounds(nn.Linear(2, 2), torch.zeros(1, 2), box=(torch.zeros(2), torch.full((2,), math.inf)))
    with pytest.raises(InputError, match="must give"):
        lipschitz_bounds(lambda x: x.sum(), torch.zeros(1, 2))
