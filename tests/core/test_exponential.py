"""Exponential and implicit-explicit methods: their functions, weights, exact cases, and what they refuse."""

import copy
import math
from typing import Any

import mpmath
import pytest
import torch
from torch import Tensor, nn

from integrand.core.errors import InputError
from integrand.core.numerics import solve_ode
from integrand.core.numerics.exponential.imex import IMEX, ImexTableau
from integrand.core.numerics.exponential.phi_functions import phi_functions
from integrand.core.numerics.exponential.semilinear import SEMILINEAR, Semilinear, solve_semilinear
from integrand.core.numerics.exponential.tableau import EXPONENTIAL, ExponentialTableau

EPS = torch.finfo(torch.float64).eps
REAL = [0.0, *(s * 10.0**p for p in (-300, -12, -6, -3, -1) for s in (1, -1)), -0.999, -1.0, -1.001, 0.999, 1.0, 1.001]
REAL += [-3.0, 3.0, -30.0, 30.0, -1e3, -1e6, -1e12, 300.0]
COMPLEX = [
    complex(r * math.cos(a), r * math.sin(a)) for r in (1e-8, 0.5, 0.999, 1.001, 3, 40) for a in (0.1, 1.57, 2, 3)
]
COMPLEX += [2j * math.pi, -1j, 1e3j, -1e6j, -1e6 + 1e6j]

exponential = pytest.mark.parametrize("tableau", EXPONENTIAL.values(), ids=lambda t: t.name)
pairs = pytest.mark.parametrize(
    "tableau", [t for t in IMEX.values() if isinstance(t, ImexTableau)], ids=lambda t: t.name
)
methods = pytest.mark.parametrize("method", SEMILINEAR)


def exact_phi(k: int, z: complex) -> complex:
    """phi_k with 60 digits more than the cancellation takes, from its definition."""
    with mpmath.workdps(60 + 4 * max(0, -int(math.log10(abs(z))) if z else 0)):
        if z == 0:
            return complex(1 / mpmath.factorial(k))
        z_ = mpmath.mpmathify(z)
        return complex((mpmath.exp(z_) - sum(z_**j / mpmath.factorial(j) for j in range(k))) / z_**k)


@pytest.mark.parametrize("z", [*REAL, *COMPLEX])
def test_phi_functions_agree_with_arithmetic_of_many_digits(z: complex):
    """To 1e-13 of their size, which near a zero of phi_k is that of its largest term, exp(z) / |z|^k.

    The exponential of a large z has the rounding of z itself, |z| eps.
    """
    values = phi_functions(torch.tensor([z], dtype=torch.float64 if isinstance(z, float) else torch.complex128), 4)
    for k, value in enumerate(values):
        exact = exact_phi(k, z)
        size = max(abs(exact), abs(complex(mpmath.exp(z))) / max(1.0, abs(z)) ** k)
        assert abs(complex(value.item()) - exact) <= max(1e-13, 2 * EPS * abs(z) if z.real >= -40 else 0) * size


def test_contour_means_are_less_accurate():
    """What Kassam and Trefethen (2005) do, 32 points on a unit circle, where a point comes within 1e-3 of zero."""
    z = torch.tensor([-math.cos(math.pi / 32) + 1e-3], dtype=torch.complex128) - 1j * math.sin(math.pi / 32)
    points = z + torch.exp(1j * math.pi * (torch.arange(32, dtype=torch.float64) + 0.5) * 2 / 32)
    mean = ((points.exp() - 1 - points - points**2 / 2) / points**3).mean()
    exact = exact_phi(3, z.item())
    assert abs(complex(mean.item()) - exact) > 1e-10
    assert abs(complex(phi_functions(z, 3)[3].item()) - exact) < 1e-15


def test_phi_functions_keep_type_and_shape():
    for dtype in (torch.float32, torch.float64, torch.complex64, torch.complex128):
        for count in range(5):
            values = phi_functions(torch.zeros(2, 3, dtype=dtype), count)
            assert [(value.dtype, value.shape) for value in values] == [(dtype, (2, 3))] * (count + 1)


def test_derivatives_of_phi_functions():
    """At zero phi_k' = 1 / (k + 1)!, the series' second coefficient; elsewhere finite differences."""
    zero = torch.zeros((), dtype=torch.float64, requires_grad=True)
    for k, value in enumerate(phi_functions(zero, 4)):
        (slope,) = torch.autograd.grad(value, zero, retain_graph=True)
        assert slope.item() == pytest.approx(1 / math.factorial(k + 1), rel=1e-15)
    real = torch.tensor([-700.0, -5.0, -0.3, 0.0, 0.4, 2.0], dtype=torch.float64, requires_grad=True)
    turning = torch.tensor([5j, -0.3 + 0.1j, 0.0, 1j - 8], dtype=torch.complex128, requires_grad=True)
    for z in (real, turning):
        assert torch.autograd.gradcheck(lambda z: phi_functions(z, 4), (z,))


def row_sums(tableau: ExponentialTableau | ImexTableau, z: Tensor) -> list[Tensor]:
    h = torch.ones((), dtype=torch.float64)
    rows = tableau.weights(z, h).rows
    return [sum((w for w in row if w is not None), torch.zeros_like(z)) for row in rows]


@exponential
def test_rows_of_exponential_methods_integrate_constants(tableau: ExponentialTableau):
    """sum_j a_ij(z) = c_i phi_1(c_i z) and sum_i b_i(z) = phi_1(z), by which steps with constant N are exact."""
    z = torch.tensor([0.0, -1e-5, -0.7, -30.0, 2.0], dtype=torch.float64)
    for c, total in zip((*tableau.c, 1.0), row_sums(tableau, z), strict=True):
        expected = c * phi_functions(c * z, 1)[1]
        torch.testing.assert_close(total, expected, rtol=0, atol=20 * EPS * (1 + expected.abs().max().item()))


@exponential
def test_without_linear_part_methods_are_the_classical_ones(tableau: ExponentialTableau):
    """At z = 0 the order conditions of Runge-Kutta methods: Hairer, Norsett and Wanner (1993), Table II.2.1."""
    weights = tableau.weights(torch.zeros((), dtype=torch.float64), torch.ones((), dtype=torch.float64))
    s = tableau.stages
    full = torch.zeros(s + 1, s, dtype=torch.float64)
    for i, row in enumerate(weights.rows):
        for j, w in enumerate(row):
            full[i, j] = 0 if w is None else w
    a, b, c = full[:-1], full[-1], torch.tensor(tableau.c, dtype=torch.float64)
    conditions = [(b.sum(), 1), (b @ c, 1 / 2), (b @ c**2, 1 / 3), (b @ a @ c, 1 / 6), (b @ c**3, 1 / 4)]
    conditions += [((b * c) @ a @ c, 1 / 8), (b @ a @ c**2, 1 / 12), (b @ a @ a @ c, 1 / 24)]
    for left, right in conditions[: {1: 1, 2: 2, 3: 4, 4: 8}[tableau.order]]:
        assert left.item() == pytest.approx(right, abs=1e-15)


@pairs
def test_rows_of_implicit_explicit_pairs_keep_equilibria(tableau: ImexTableau):
    """y = 1, N = -z: stages and step stay at 1, decay_i - z sum_j w_ij = 1, however stiff.

    A step that weighs N otherwise than the last stage does (ars343) adds terms of size z that cancel.
    """
    z = torch.tensor([0.0, -0.1, -30.0, -1e8], dtype=torch.float64)
    weights = tableau.weights(z, torch.ones((), dtype=torch.float64))
    rows = zip(weights.decays, row_sums(tableau, z), strict=True)
    same = tableau.explicit_b[:-1] == tableau.explicit[-1]
    for i, (decay, total) in enumerate(rows):
        kept = (torch.ones_like(z) if decay is None else decay) - z * total
        lost = 100 * EPS * (torch.ones_like(z) if same or i < tableau.stages else 1 + z.abs())
        assert ((kept - 1).abs() <= lost).all()


def test_ars343_is_the_published_table():
    """Ten digits: Ascher, Ruuth and Spiteri (1997), Section 2.7."""
    tableau = IMEX["ars343"]
    assert isinstance(tableau, ImexTableau)
    assert tableau.explicit[2] == pytest.approx((0.3212788860, 0.3966543747), abs=1e-10)
    assert tableau.explicit[3] == pytest.approx((-0.105858296, 0.5529291479, 0.5529291479), abs=2e-10)
    assert tableau.implicit[3] == pytest.approx((0.0, 1.208496649, -0.644363171, 0.4358665215), abs=1e-9)


def step(method: str, rates: Tensor, constant: Tensor, h: float, dtype: torch.dtype) -> Tensor:
    """Return y after ten steps of length h from 1 with N = constant, (D,)."""
    field = Semilinear(rates, lambda t, y: constant.to(y.dtype).expand_as(y))
    times = torch.linspace(0, 10 * h, 11, dtype=dtype.to_real())
    return solve_semilinear(field, torch.ones(1, len(rates), dtype=dtype), times, method=method).states[0, -1]


@exponential
def test_constant_forcing_is_exact_however_stiff(tableau: ExponentialTableau):
    """y = exp(L t) + t phi_1(L t) n, for h |L| from 0 to 1e9, damped and turning."""
    rates = torch.tensor([0.0, -1e-9, -1.0, -1e3, -1e10, 10j, 1e4j, -3 + 50j, 1.0], dtype=torch.complex128)
    constant = torch.linspace(-1, 2, len(rates), dtype=torch.float64)
    t = 1.0
    exact = torch.exp(rates * t) + t * phi_functions(rates * t, 1)[1] * constant
    # Ten products of exponentials that err by |z| eps each where they turn: 10 x 1e3 eps, plus roundings.
    torch.testing.assert_close(
        step(tableau.name, rates, constant, 0.1, torch.complex128), exact, rtol=2e4 * EPS, atol=1e-12
    )


@methods
def test_fast_decay_is_stable(method: str):
    """h L = -1e2 to -1e12: ten steps bring what is fast to its equilibrium -n / L, in both precisions."""
    rates = -torch.logspace(3, 13, 6, dtype=torch.float64)
    for dtype in (torch.float64, torch.float32):
        ends = step(method, rates.to(dtype), torch.ones_like(rates), 0.1, dtype)
        # A step of every other method divides by 20 at the least; the roots of sbdf2 are below sqrt(1 / 200) = 0.07.
        left = 0.071**9 if method == "sbdf2" else 0.05**10
        torch.testing.assert_close(ends, (-1 / rates).to(dtype), rtol=0, atol=left + torch.finfo(dtype).eps)


@exponential
def test_oscillations_neither_grow_nor_fade(tableau: ExponentialTableau):
    """A dispersive L with N = 0 turns each coefficient: |y| stays 1 to 1000 roundings over 1000 steps."""
    field = Semilinear(1j * torch.linspace(-1e3, 1e3, 9, dtype=torch.float64), lambda t, y: torch.zeros_like(y))
    times = torch.linspace(0, 10, 1001, dtype=torch.float64)
    states = solve_semilinear(field, torch.ones(1, 9, dtype=torch.complex128), times, method=tableau.name).states
    torch.testing.assert_close(states.abs(), torch.ones_like(states.abs()), rtol=0, atol=1000 * EPS)


class Mixing(nn.Module):
    """A small nonlinear N with time and arguments in it."""

    def forward(self, t: Tensor, y: Tensor, a: Tensor | None = None) -> Tensor:
        t = t if t.dim() == 0 else t.view(-1, 1)
        return torch.sin(y.roll(1, -1)) * (1 if a is None else a) + torch.cos(3 * t)


def stiff(dtype: torch.dtype = torch.float64) -> Semilinear:
    return Semilinear(torch.tensor([-30.0, -2.0, 0.0], dtype=dtype), Mixing())


def start(batch: int = 2, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(batch, 3, dtype=dtype, generator=torch.Generator().manual_seed(0))


@methods
def test_real_weights_serve_complex_states_as_complex_ones_do(method: str):
    """A real L, held in pairs of reals, against the same L given as complex."""
    times = torch.tensor([0.0, 0.1, 0.2, 0.35], dtype=torch.float64)
    rates, y0 = torch.tensor([-30.0, -2.0, 0.0], dtype=torch.float64), start(dtype=torch.complex128)
    one = solve_semilinear(Semilinear(rates, Mixing()), y0, times, method=method).states
    other = solve_semilinear(Semilinear(rates.to(torch.complex128), Mixing()), y0, times, method=method).states
    assert one.dtype == torch.complex128
    torch.testing.assert_close(one, other, rtol=0, atol=100 * EPS)


@methods
@pytest.mark.parametrize("step_size", [None, 0.03])
def test_per_sample_times_equal_solves_one_by_one(method: str, step_size: float | None):
    """Intervals of 0.1, 0.2 and 0.05 from two starts on, and args of each sample's own."""
    times = torch.tensor([[0.0, 0.1, 0.3, 0.35], [0.2, 0.3, 0.5, 0.55]], dtype=torch.float64)
    field, y0, a = stiff(), start(), torch.tensor([[0.5], [2.0]], dtype=torch.float64)
    options: dict[str, Any] = {"method": method, "step_size": step_size}
    together = solve_semilinear(field, y0, times, args=a, **options).states
    for i in range(2):
        alone = solve_semilinear(field, y0[i : i + 1], times[i], args=a[i : i + 1], **options).states
        torch.testing.assert_close(together[i : i + 1], alone, rtol=0, atol=100 * EPS)


@methods
def test_an_interval_of_no_length_keeps_the_state(method: str):
    times = torch.tensor([[0.0, 0.1, 0.1, 0.2], [0.0, 0.05, 0.1, 0.2]], dtype=torch.float64)
    states = solve_semilinear(stiff(), start(), times, method=method).states
    torch.testing.assert_close(states[0, 2], states[0, 1], rtol=0, atol=10 * EPS)


@methods
def test_even_and_uneven_times_meet(method: str):
    """Weights evaluated once for all steps, or once an interval: one solution, but for the rounding of the times."""
    field, y0 = stiff(), start()
    times = torch.linspace(0, 1, 11, dtype=torch.float64)
    even = solve_semilinear(field, y0, times, method=method)
    if method != "sbdf2":  # which starts anew where the step changes
        uneven = solve_semilinear(field, y0, times.clone().requires_grad_(), method=method)  # kept apart by a gradient
        torch.testing.assert_close(even.states, uneven.states.detach(), rtol=0, atol=100 * EPS)
    halves = solve_semilinear(field, y0, times[::5], method=method, step_size=0.1)
    torch.testing.assert_close(even.states[:, ::5], halves.states, rtol=0, atol=100 * EPS)


@methods
def test_counts(method: str):
    """stages evaluations a step; sbdf2 takes one more for its start."""
    solved = solve_semilinear(stiff(), start(4), [0.0, 0.5, 1.0], method=method, step_size=0.1)
    stages = {"etd1": 1, "etdrk2": 2, "etdrk3": 3, "etdrk4": 4, "krogstad4": 4}
    stages |= {"imex_euler": 1, "ars222": 2, "ars343": 4, "sbdf2": 1}
    assert solved.stats.accepted.tolist() == [10] * 4
    assert solved.stats.evaluations.tolist() == [10 * stages[method] + (method == "sbdf2")] * 4
    assert solved.states.shape == (4, 3, 3)
    assert solved.status.tolist() == [0] * 4


def test_one_time_is_the_start():
    solved = solve_semilinear(stiff(), start(), [0.3])
    assert torch.equal(solved.states, start().unsqueeze(1))


def test_a_solve_can_go_back():
    field, y0 = stiff(), start()
    there = solve_semilinear(field, y0, [0.0, 0.1], step_size=1e-3).states[:, -1]
    back = solve_semilinear(field, there, [0.1, 0.0], step_size=1e-3).states[:, -1]
    # Two errors of order four, h^4 30^5 / 100 each at most, the first grown by exp(3) on the way back.
    torch.testing.assert_close(back, y0, rtol=0, atol=2e-6)


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_explicit_methods_solve_the_same_field(dtype: torch.dtype):
    """rk4 on L y + N with 1000 steps of h L = -0.03 errs by (h L)^4 / 120, both twice differentiable by t."""
    field, y0 = stiff(), start()
    times = torch.linspace(0, 1, 1001, dtype=torch.float64)
    one = solve_semilinear(field, y0.to(dtype), times, method="krogstad4").states
    other = solve_ode(field, y0, times, method="rk4").states
    torch.testing.assert_close(one, other.to(dtype), rtol=0, atol=1e-7)


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_interpolation_between_output_times(dtype: torch.dtype):
    field, y0 = stiff(), start().to(dtype)
    coarse = solve_semilinear(field, y0, torch.linspace(0, 1, 101, dtype=torch.float64))
    between = torch.tensor([0.505, 0.755], dtype=torch.float64)
    fine = solve_semilinear(field, y0, torch.cat([torch.zeros(1), between]).double(), step_size=1e-3)
    # Hermite's h^4 / 384 y'''' with h = 1e-2, and cos(3 t), which gives y'''' up to 30^3 3 at the rate -30.
    torch.testing.assert_close(coarse.interpolate(between), fine.states[:, 1:], rtol=0, atol=1e-5)


def test_a_complex_linear_part_outlives_a_change_of_type():
    """``module.to(real type)`` takes the real part of complex buffers; L is kept as pairs."""
    rates = torch.tensor([1j, -2 + 3j], dtype=torch.complex64)
    field = Semilinear(rates, lambda t, y: y)
    for changed in (field.to(torch.float64), copy.deepcopy(field).double()):
        assert changed.linear.dtype == torch.complex128
        torch.testing.assert_close(changed.linear, rates.to(torch.complex128), rtol=0, atol=0)
    assert Semilinear(rates.real, lambda t, y: y).to(torch.float64).linear.dtype == torch.float64


def test_what_is_learned_and_what_is_kept():
    rate = nn.Parameter(torch.tensor([-1.0]))
    learned = Semilinear(rate, nn.Linear(1, 1))
    assert any(p is rate for p in learned.parameters())
    assert learned.linear is rate
    kept = Semilinear(torch.tensor([-1.0]), nn.Linear(1, 1))
    assert len(list(kept.parameters())) == 2
    other = Semilinear(torch.tensor([0.0]), nn.Linear(1, 1))
    other.load_state_dict(kept.state_dict())
    assert other.linear.item() == -1


class Nonlinear(nn.Module):
    """No linear part told."""

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return -y


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"method": "etdrk5"}, "did you mean 'etdrk"),
        ({"method": "rk4"}, "unknown method 'rk4'"),
        ({"step_size": 0.0}, "step_size must be positive"),
        ({"step_size": float("nan")}, "step_size must be positive"),
        ({"times": [0.0, 0.0, 1.0]}, "strictly"),
        ({"times": [0.0, float("nan")]}, "finite"),
        ({"times": torch.zeros(3, 2)}, "3 rows for a batch of 2"),
        ({"y0": torch.zeros(2, 3, dtype=torch.int64)}, "y0 must be floating point"),
        ({"y0": torch.zeros(2, 4, dtype=torch.float64)}, "linear has shape"),
        ({"field": Nonlinear()}, "without linear"),
        ({"field": Semilinear(torch.zeros(2, 3).double(), Mixing())}, "linear has shape"),
        ({"field": Semilinear(1j * torch.zeros(3), Mixing())}, "complex L needs complex states"),
        ({"field": Semilinear(torch.zeros(3), lambda t, y: y[:, :2])}, "shape"),
        ({"field": Semilinear(torch.zeros(3), lambda t, y: y.float())}, "torch.float32"),
        ({"args": torch.zeros(3)}, "args has shape"),
    ],
)
def test_mistakes_are_named(changed: dict[str, Any], told: str):
    given: dict[str, Any] = {"field": stiff(), "y0": start(), "times": [0.0, 1.0], **changed}
    with pytest.raises(InputError, match=told):
        solve_semilinear(**given)
