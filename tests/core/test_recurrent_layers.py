"""Recurrent layers against what their equations say: closed forms, bounds, measured orders, and their way back."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from integrand.core.layers import recurrence_sweep
from integrand.core.layers.antisymmetric_rnn import AntisymmetricRNN
from integrand.core.layers.cfc import CfC
from integrand.core.layers.cornn import CoRNN
from integrand.core.layers.lem import LEM
from integrand.core.layers.ltc import LTC
from integrand.core.layers.recurrence import recurrence
from integrand.core.layers.stage import Stage
from integrand.core.numerics import solve_ode

D, H = 3, 5
LAYERS = [
    lambda: CfC(D, d_state=H, backbone=(7,)),
    lambda: CfC(D, d_state=H, backbone=(), mode="pure"),
    lambda: LTC(D, d_state=H, unfolds=2),
    lambda: AntisymmetricRNN(D, d_state=H, gated=True),
    lambda: CoRNN(D, d_state=H, step=0.3),
    lambda: LEM(D, d_state=H, discretization="exponential"),
]


def _normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _zero(*tensors: Tensor) -> None:
    with torch.no_grad():
        for tensor in tensors:
            tensor.zero_()


def _order(error: Callable[[int], float], steps: int) -> float:
    """Return the order at which an error falls as steps are halved."""
    return float(np.log2(error(steps) / error(2 * steps)))


def _alone(layer, state, duration: float, steps: int) -> tuple[Tensor, ...]:
    """Let a state go on by itself in equal steps; return what it is at the end."""
    after = layer(torch.zeros(1, steps, D, dtype=torch.float64), duration / steps, None, state).state
    return (after,) if isinstance(after, Tensor) else after


# AntisymmetricRNN


def test_small_states_of_an_antisymmetric_rnn_turn_as_the_matrix_exponential():
    torch.manual_seed(0)
    layer = AntisymmetricRNN(D, d_state=H, step=1.0, gamma=0.0).double()
    _zero(layer.input.bias)
    start = 1e-6 * _normal(1, H)  # tanh is linear to its square, 1e-12
    expected = start @ torch.linalg.matrix_exp(0.7 * layer.matrix.detach()).T
    torch.testing.assert_close(expected.norm(), start.norm())  # the flow is a rotation

    def error(steps: int) -> float:
        return ((_alone(layer, start, 0.7, steps)[0] - expected).norm() / start.norm()).item()

    def growth(steps: int) -> float:
        return (_alone(layer, start, 0.7, steps)[0].norm() / start.norm()).item() - 1

    assert _order(error, 100) == pytest.approx(1, abs=0.05)
    assert growth(100) > 0
    assert _order(growth, 100) == pytest.approx(1, abs=0.05)  # a step's is of second order


def test_damping_that_the_step_allows_makes_a_state_fade():
    layer = AntisymmetricRNN(D, d_state=2, step=1.0, gamma=0.5).double()
    _zero(layer.input.bias, layer.recurrent)
    with torch.no_grad():
        layer.recurrent[0, 1] = 1.0  # a rotation of frequency 1
    limit = 2 * 0.5 / (0.5**2 + 1)
    start = 1e-6 * torch.ones(1, 2, dtype=torch.float64)
    for step, fades in ((0.99 * limit, True), (1.01 * limit, False)):
        (after,) = _alone(layer, start, 400 * step, 400)
        assert (after.norm() < start.norm()) == fades


def test_long_gaps_move_an_antisymmetric_rnn_no_further_than_their_time():
    layer = AntisymmetricRNN(D, d_state=H, step=0.1).double()
    h = layer(_normal(2, 9, D), 1e4).state
    assert h.abs().max() <= 0.1 * 1e4 * 9 * (1 + 1e-12)  # tanh is at most one; then rounding


# CoRNN


def _oscillator(gamma: float, epsilon: float, t: float, y0: Tensor, z0: Tensor) -> tuple[Tensor, Tensor]:
    """Solve y'' = -gamma y - epsilon y', underdamped."""
    decay, omega = epsilon / 2, math.sqrt(gamma - epsilon**2 / 4)
    c, s, e = math.cos(omega * t), math.sin(omega * t), math.exp(-decay * t)
    y = e * (y0 * c + (z0 + decay * y0) / omega * s)
    return y, e * (z0 * c - (gamma * y0 + decay * z0) / omega * s)


def test_uncoupled_oscillators_ring_down_as_the_closed_form():
    layer = CoRNN(D, d_state=H, step=1.0, gamma=4.0, epsilon=0.6).double()
    _zero(layer.coupling.weight, layer.coupling.bias)
    start = (_normal(1, H), _normal(1, H, seed=1))
    expected = _oscillator(4.0, 0.6, 2.3, *start)

    def error(steps: int) -> float:
        after = _alone(layer, start, 2.3, steps)
        return max((a - e).abs().max().item() for a, e in zip(after, expected, strict=True))

    assert _order(error, 400) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize(("share", "bounded"), [(0.99, True), (1.01, False)])
def test_oscillators_are_stable_up_to_the_stated_step(share: float, bounded: bool):
    gamma, epsilon = 3.0, 0.7
    limit = (epsilon + math.sqrt(epsilon**2 + 4 * gamma)) / gamma  # of gamma d^2 = 4 + 2 epsilon d
    layer = CoRNN(D, d_state=H, step=1.0, gamma=gamma, epsilon=epsilon).double()
    _zero(layer.coupling.weight, layer.coupling.bias)
    y, _ = _alone(layer, (_normal(1, H), _normal(1, H, seed=1)), share * limit * 2000, 2000)
    assert (y.abs().max().item() < 1) == bounded


# LEM, LTC: the equation solved by an independent method


def _lem_field(layer: LEM) -> Callable[[Tensor, Tensor], Tensor]:
    (w_z, w_1, w_2), (b_z, b_1, b_2, b_y) = layer.recurrent.weight.chunk(3), layer.input.bias.chunk(4)

    def field(t: Tensor, state: Tensor) -> Tensor:
        y, z = state.chunk(2, -1)
        slope_y = torch.sigmoid(y @ w_2.T + b_2) * (torch.tanh(z @ layer.exchange.weight.T + b_y) - y)
        slope_z = torch.sigmoid(y @ w_1.T + b_1) * (torch.tanh(y @ w_z.T + b_z) - z)
        return torch.cat([slope_y, slope_z], -1)

    return field


@pytest.mark.parametrize("discretization", ["euler", "exponential"])
def test_lem_solves_its_equation_at_order_one(discretization):
    torch.manual_seed(0)
    layer = LEM(D, d_state=H, step=1.0, discretization=discretization).double()
    start = (_normal(1, H), _normal(1, H, seed=1))
    times = torch.tensor([0.0, 1.5], dtype=torch.float64)
    with torch.no_grad():
        solved = solve_ode(_lem_field(layer), torch.cat(start, -1), times, rtol=1e-11, atol=1e-11).states[:, -1]

        def error(steps: int) -> float:
            return (torch.cat(_alone(layer, start, 1.5, steps), -1) - solved).abs().max().item()

        assert _order(error, 100) == pytest.approx(1, abs=0.05)


def test_exponential_lem_stays_within_its_bounds_on_any_gap():
    torch.manual_seed(0)
    layer = LEM(D, d_state=H, discretization="exponential").double()
    for part in layer(10 * _normal(2, 20, D), 1e3 * _normal(2, 20).abs()).state:
        assert part.abs().max() <= 1


def _ltc_field(layer: LTC, x: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    def currents(synapses, potential: Tensor, v: Tensor) -> Tensor:
        opening = torch.sigmoid(synapses.steepness * (potential.unsqueeze(-1) - synapses.threshold))
        conductance = torch.nn.functional.softplus(synapses.conductance) * opening
        return (conductance * (synapses.reversal - v.unsqueeze(1))).sum(1)

    def field(t: Tensor, v: Tensor) -> Tensor:
        leak = torch.nn.functional.softplus(layer.leak) * (layer.rest - v)
        return (leak + currents(layer.recurrent, v, v) + currents(layer.sensory, x, v)) / (
            torch.nn.functional.softplus(layer.capacitance)
        )

    return field


def test_ltc_solves_its_equation_at_order_one():
    torch.manual_seed(0)
    layer, x, start = LTC(D, d_state=H, unfolds=1).double(), _normal(2, D), _normal(2, H, seed=1)
    times = torch.tensor([0.0, 0.4], dtype=torch.float64)
    with torch.no_grad():
        solved = solve_ode(_ltc_field(layer, x), start, times, rtol=1e-11, atol=1e-11).states[:, -1]

        def error(unfolds: int) -> float:
            layer.unfolds = unfolds
            return (layer.step(x, 0.4, start).state - solved).abs().max().item()

        assert _order(error, 200) == pytest.approx(1, abs=0.05)


def test_ltc_comes_to_rest_where_its_currents_cancel():
    torch.manual_seed(0)
    layer, x = LTC(D, d_state=H).double(), _normal(2, D)
    with torch.no_grad():
        v = layer.step(x, 1e3, _normal(2, H, seed=1)).state
        for _ in range(40):
            v = layer.step(x, 1e3, v).state
        # An iteration to rounding; slopes are differences of numbers up to some ten.
        assert _ltc_field(layer, x)(torch.zeros(()), v).abs().max() < 1e-12


def test_ltc_potentials_stay_among_what_pulls_them():
    torch.manual_seed(0)
    layer = LTC(D, d_state=H).double()
    dt = 10.0 ** _normal(4, 30).clamp(-4, 4)
    v = layer(10 * _normal(4, 30, D, seed=1), dt, None, torch.zeros(4, H, dtype=torch.float64)).state
    pulls = torch.cat([layer.rest, layer.sensory.reversal.flatten(), layer.recurrent.reversal.flatten()])
    assert v.min() >= pulls.min()
    assert v.max() <= pulls.max()


# CfC


def _constant_cfc(mode, heads: list[float]) -> CfC:
    """A CfC of one unit with the same f, g, a and b whatever it sees."""
    layer = CfC(1, d_state=1, mode=mode, backbone=()).double()
    _zero(layer.heads.weight)
    with torch.no_grad():
        layer.heads.bias.copy_(torch.tensor(heads, dtype=torch.float64))
        if mode == "pure":
            layer.target.fill_(0.8)
            layer.rate.fill_(-0.5)
    return layer


@pytest.mark.parametrize("elapsed", [0.0, 0.7, 5.0, 1e6])
def test_cfc_is_its_closed_form(elapsed: float):
    f, g, a, b = 0.3, -1.1, 0.9, -0.4
    s = 1 / (1 + math.exp(-(a * elapsed + b)))
    expected = {
        "default": (1 - s) * math.tanh(f) + s * math.tanh(g),
        "no_gate": math.tanh(f) + s * math.tanh(g),
        "pure": 0.8 - 0.8 * f * math.exp(-(0.5 + f) * elapsed),
    }
    for mode, value in expected.items():
        layer = _constant_cfc(mode, [f] if mode == "pure" else [f, g, a, b])
        h, waited = layer.step(torch.zeros(1, 1, dtype=torch.float64), elapsed).state
        assert h.item() == pytest.approx(value, rel=1e-12)
        assert waited.item() == 0


def test_cfc_goes_from_one_head_to_the_other_as_time_passes():
    for slope, reached in ((0.9, math.tanh(-1.1)), (-0.9, math.tanh(0.3))):
        layer = _constant_cfc("default", [0.3, -1.1, slope, -0.4])
        h, _ = layer.step(torch.zeros(1, 1, dtype=torch.float64), 1e3).state
        assert h.item() == pytest.approx(reached, rel=1e-12)


def test_time_that_a_cfc_has_not_yet_seen_is_in_its_state():
    layer = CfC(D, d_state=H).double()
    mask = torch.tensor([[True, False, False], [False, False, False]])
    dt = torch.tensor([[1.0, 0.5, 0.25], [1.0, 0.5, 0.25]], dtype=torch.float64)
    state = layer(_normal(2, 3, D), dt, mask).state
    assert state[1].tolist() == [0.75, 1.75]
    x = _normal(2, 1, D, seed=1)
    joint = layer(x, torch.tensor([[2.75], [3.75]], dtype=torch.float64), None, (state[0], torch.zeros(2)))
    torch.testing.assert_close(layer(x, 2.0, None, state).y, joint.y)


# All of them


@pytest.mark.parametrize("layer", [AntisymmetricRNN, CoRNN, LEM])
def test_substeps_are_the_elements_repeated(layer):
    torch.manual_seed(0)
    one, several = layer(D, d_state=H).double(), layer(D, d_state=H, substeps=3).double()
    several.load_state_dict(one.state_dict())
    x, dt = _normal(2, 4, D), _normal(2, 4, seed=1).abs()
    expected = one(x.repeat_interleave(3, 1), (dt / 3).repeat_interleave(3, 1))
    actual = several(x, dt)
    torch.testing.assert_close(actual.y, expected.y[:, 2::3])
    torch.testing.assert_close(actual.state, expected.state)


@pytest.mark.parametrize("make", LAYERS)
def test_the_way_back_is_that_of_the_plain_loop(make, monkeypatch: pytest.MonkeyPatch):
    """With blocks of two elements, against torch.func, which differentiates the loop itself."""
    monkeypatch.setattr(recurrence_sweep, "ROWS_ON_HOST", 4)
    torch.manual_seed(0)
    layer, x, dt = make().double(), _normal(2, 7, D), _normal(2, 7, seed=1).abs()
    start = layer(x, dt).state
    mask = torch.rand(2, 7) < 0.7

    def loss(parameters: dict[str, Tensor], x: Tensor, dt: Tensor) -> Tensor:
        y, state = torch.func.functional_call(layer, parameters, (x, dt, mask, start))
        parts = (state,) if isinstance(state, Tensor) else state
        return y.square().sum() + sum(part.sin().sum() for part in parts)

    parameters = {name: p.detach() for name, p in layer.named_parameters()}
    expected = torch.func.grad(loss, argnums=(0, 1, 2))(parameters, x, dt)
    leaves = [each.clone().requires_grad_() for each in (*parameters.values(), x, dt)]
    value = loss(dict(zip(parameters, leaves, strict=False)), leaves[-2], leaves[-1])
    actual = torch.autograd.grad(value, leaves)
    for mine, other in zip(actual, (*expected[0].values(), *expected[1:]), strict=True):
        # Sums of some hundred terms in another order.
        torch.testing.assert_close(mine, other, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("make", LAYERS)
def test_second_derivatives_agree_with_finite_differences(make):
    torch.manual_seed(0)
    layer = make().double()
    x, dt = _normal(1, 3, D).requires_grad_(), (0.1 + _normal(1, 3, seed=1).abs()).requires_grad_()
    assert torch.autograd.gradgradcheck(lambda x, dt: layer(x, dt).y, (x, dt))


@pytest.mark.parametrize("make", LAYERS)
def test_layers_in_half_precision_run_in_single(make):
    torch.manual_seed(0)
    layer = make()
    x = _normal(2, 6, D).to(torch.bfloat16)
    expected = layer(x.float()).y
    y, state = layer.to(torch.bfloat16)(x)
    assert y.dtype == torch.bfloat16
    assert all(part.dtype == torch.float32 for part in ((state,) if isinstance(state, Tensor) else state))
    # Weights and what is read out are rounded once, to 2^-9 of their size; a few such in a row.
    torch.testing.assert_close(y.float(), expected, rtol=0, atol=0.05 * expected.detach().abs().max().item())


def test_a_recurrence_of_one_linear_stage_is_a_power_of_its_matrix():
    matrix, state = 0.3 * _normal(H, H), _normal(2, H, seed=1)
    linear = Stage(lambda z, carry: z, 1, 0, (0,), recurrent=matrix, bias=torch.zeros(H, dtype=torch.float64))
    (states,) = recurrence([linear], torch.zeros(6, 2, D, dtype=torch.float64), (state,))
    torch.testing.assert_close(states[-1], state @ torch.linalg.matrix_power(matrix, 6).T)
