"""The memory of layers against impulse responses in closed form, by numpy."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from integrand.core.analysis import memory, memory_finding
from integrand.core.errors import InputError
from integrand.core.layers import LRU, S4D, S5, CfC, LinOSS, SequenceLayer

F64 = torch.float64
DIM, LENGTH = 3, 40


def number(parameter: Tensor) -> np.ndarray:
    """A parameter as numpy's, pairs as complex numbers."""
    value = parameter.detach().double()
    return (torch.view_as_complex(value) if value.dim() == 3 else value).numpy()


def response_of_s5(layer: S5, dt: float) -> list[np.ndarray]:
    """2 Re(C a^k g B) by lag, with D at lag 0: written from the layer's equation."""
    eigenvalues = -np.exp(number(layer.log_decay)) + 1j * number(layer.frequency)
    a = np.exp(np.exp(number(layer.log_step)) * eigenvalues * dt)
    b = ((a - 1) / eigenvalues)[:, None] * number(layer.b)
    rows = [2 * np.real(number(layer.c) @ (a[:, None] ** k * b)) for k in range(LENGTH)]
    rows[0] = rows[0] + np.diag(number(layer.d))
    return rows


def response_of_s4d(layer: S4D, dt: float) -> list[np.ndarray]:
    """2 Re(sum_n C_n a_n^k g_n) of each channel, which no other drives."""
    eigenvalues = -np.exp(number(layer.log_decay)) + 1j * number(layer.frequency)
    a = np.exp(np.exp(number(layer.log_step)) * eigenvalues * dt)
    gain = (a - 1) / eigenvalues
    rows = [np.diag(2 * (number(layer.c) * a**k * gain).sum(-1).real) for k in range(LENGTH)]
    rows[0] = rows[0] + np.diag(number(layer.d))
    return rows


def response_of_lru(layer: LRU, dt: float) -> list[np.ndarray]:
    """Re(C lambda^(k dt) gamma B), gamma^2 = 1 - |lambda|^(2 dt); the angle of lambda may be beyond pi."""
    a = np.exp((-np.exp(number(layer.log_decay)) + 1j * np.exp(number(layer.log_phase))) * dt)
    b = np.sqrt(1 - np.abs(a) ** 2)[:, None] * number(layer.b)
    rows = [np.real(number(layer.c) @ (a[:, None] ** k * b)) for k in range(LENGTH)]
    rows[0] = rows[0] + np.diag(number(layer.d))
    return rows


@pytest.mark.parametrize("dt", [None, 0.5], ids=["a unit each", "half a unit each"])
@pytest.mark.parametrize(
    ("make", "response"),
    [
        (lambda: S5(DIM, d_state=6), response_of_s5),
        (lambda: S4D(DIM, d_state=6), response_of_s4d),
        (lambda: LRU(DIM, d_state=5, r_min=0.8, r_max=0.95), response_of_lru),
    ],
    ids=["S5", "S4D", "LRU"],
)
def test_the_influence_of_a_diagonal_state_space_is_its_impulse_response(make, response, dt: float | None):
    torch.manual_seed(0)
    layer = make()
    found = memory(layer, length=LENGTH, dt=dt)
    expected = np.array([np.linalg.norm(row) for row in response(layer, 1.0 if dt is None else dt)])
    # Parameters are float32 and equal on both sides; the rest is rounding in float64.
    np.testing.assert_allclose(found.influence.numpy(), expected, rtol=1e-10)
    beyond = [h for h in range(LENGTH) if expected[h + 1 :].sum() < 0.01 * expected.sum()]
    assert found.horizon == beyond[0]
    assert found.time_horizon == pytest.approx(found.horizon * (1.0 if dt is None else dt))


def test_a_single_decay_is_found_with_its_rate_in_units_of_dt():
    """One real state of an LRU: lambda = exp(-0.2) for each unit of time, of which 0.25 pass between elements."""
    layer = LRU(2, d_state=1, time_scale=2.0)
    with torch.no_grad():
        layer.log_decay.fill_(math.log(0.2))
        layer.log_phase.fill_(-60.0)
    found = memory(layer, length=80, dt=0.25)
    # A unit of the layer is time_scale = 2 units of dt.
    assert found.decay == pytest.approx(0.2 / 2, rel=1e-6)
    told = memory_finding(found, unit="seconds")
    assert f"to a half in {math.log(2) / 0.1:.4g} seconds" in told.statement
    assert memory(layer, length=80).elapsed[1].item() == 2.0


def test_the_memory_of_a_moving_average_ends_with_its_window():
    def average(x: Tensor) -> Tensor:
        window = torch.nn.functional.pad(x.mT, (6, 0)).unfold(-1, 7, 1)
        return window.mean(-1).mT

    found = memory(average, length=30, d_model=2)
    expected = torch.zeros(30, dtype=F64)
    expected[:7] = 2**0.5 / 7  # the identity of two channels, over seven
    torch.testing.assert_close(found.influence, expected)
    assert (found.horizon, found.time_horizon, found.decay, found.outlasts) == (6, 6.0, None, False)
    # All lags weigh the same: with more than a seventh allowed beyond it, the horizon is an element shorter.
    assert memory(average, length=30, d_model=2, threshold=0.15).horizon == 5
    assert memory_finding(found, needed=5).verdict == "sound"
    short = memory_finding(found, needed=10)
    assert short.verdict == "doubtful"
    assert "within 6 elements" in short.statement


def test_elements_to_come_have_no_influence_on_a_causal_layer_and_have_one_on_others():
    torch.manual_seed(0)
    for layer in (S5(DIM, d_state=4), CfC(DIM)):
        found = memory(layer, length=20, at=11)
        assert found.influence.shape == (12,)
        assert found.ahead.shape == (8,)
        assert found.ahead.abs().max() == 0

    def centred(x: Tensor) -> Tensor:
        return (x.roll(1, 1) + 3 * x + 2 * x.roll(-1, 1)).contiguous()

    found = memory(centred, length=9, d_model=1, at=-5)
    assert found.influence.tolist() == [3.0, 1.0, 0.0, 0.0, 0.0]
    assert found.ahead.tolist() == [2.0, 0.0, 0.0, 0.0]
    assert "not causal" in memory_finding(found).statement


def test_oscillators_without_damping_never_forget():
    """Symplectic LinOSS turns its state: what an element did long ago counts as much as what one did lately."""
    torch.manual_seed(0)
    found = memory(LinOSS(DIM, d_state=4, discretization="imex"), length=400)
    assert found.decay is None
    assert found.outlasts
    late, early = found.influence[300:].mean(), found.influence[1:101].mean()
    assert late.item() == pytest.approx(early.item(), rel=0.25)
    assert "may be longer" in memory_finding(found).statement


def test_the_influence_of_a_nonlinear_layer_is_its_derivative_by_finite_differences():
    torch.manual_seed(0)
    layer = CfC(2).double().eval()
    inputs = torch.randn(2, 6, 2, dtype=F64)
    dt = torch.rand(2, 6, dtype=F64) + 0.5
    found = memory(layer, inputs=inputs, dt=dt)
    step = 1e-6
    norms = torch.zeros(2, 6, dtype=F64)
    with torch.no_grad():
        for place in range(6):
            for channel in range(2):
                nudge = torch.zeros_like(inputs)
                nudge[:, place, channel] = step
                ends = [layer(inputs + sign * nudge, dt).y[:, -1] for sign in (1, -1)]
                norms[:, place] += ((ends[0] - ends[1]) / (2 * step)).square().sum(-1)
    torch.testing.assert_close(found.influence, norms.sqrt().mean(0).flip(0), rtol=1e-6, atol=1e-9)
    passed = torch.cat([torch.zeros(2, 1), dt[:, 1:].flip(1).cumsum(1)], 1).mean(0)
    torch.testing.assert_close(found.elapsed, passed)


def test_probes_of_a_wide_layer_come_near_its_exact_influence():
    """Of a map to 100 channels with the known norm sqrt(100 * 3) at each lag; 32 probes err by some 2 %."""

    def wide(x: Tensor) -> Tensor:
        return torch.cat([x.cumsum(1)] * 100, -1)

    found = memory(wide, length=5, d_model=3)
    expected = torch.full((5,), 300**0.5, dtype=F64)
    # Given the probes, |V^T J|^2 / |J|^2 is a chi-square of 32 degrees over 32 for each of the channels in.
    torch.testing.assert_close(found.influence, expected, rtol=3 * (1 / (2 * 32 * 3)) ** 0.5, atol=0)


def test_a_layer_stays_as_it_was_and_may_be_measured_in_inference_mode():
    torch.manual_seed(0)
    layer = S5(DIM, d_state=4)
    layer.train()
    with torch.inference_mode():
        inside = memory(layer, length=10)
    torch.testing.assert_close(inside.influence, memory(layer, length=10).influence)
    assert layer.training
    assert all(p.grad is None and p.dtype == torch.float32 for p in layer.parameters())


def test_what_ignores_its_input_remembers_nothing():
    found = memory(lambda x: torch.zeros_like(x), length=5, d_model=1)
    assert (found.horizon, found.decay) == (0, None)
    assert found.influence.tolist() == [0.0] * 5


def test_mistakes_have_one_line():
    layer: SequenceLayer = S5(DIM, d_state=4)
    with pytest.raises(InputError, match="length=None, d_model=3"):
        memory(layer)
    with pytest.raises(InputError, match="at=9 is out of range for 5 elements"):
        memory(layer, length=5, at=9)
    with pytest.raises(InputError, match="threshold=0 is out of range"):
        memory(layer, length=5, threshold=0)
    with pytest.raises(InputError, match=r"dt must be None, a number, \(L,\) or \(S, L\) = \(4, 5\)"):
        memory(layer, length=5, dt=torch.ones(7))
    with pytest.raises(InputError, match=r"inputs must be real \(S, L, C\)"):
        memory(layer, inputs=torch.ones(5, 3))
    with pytest.raises(InputError, match=r"outputs must be \(S, L, E\)"):
        memory(lambda x: x.sum(1), length=5, d_model=2)
