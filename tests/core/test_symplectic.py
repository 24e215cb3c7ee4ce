"""Symplectic methods: what they conserve, how they go back, and the orders that they declare, in float64."""

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from torch import Tensor, nn

from integrand.core.errors import InputError
from integrand.core.numerics import solve_ode
from integrand.core.numerics.field_call import BoundField
from integrand.core.numerics.methods.diagonally_implicit import (
    IMPLICIT_MIDPOINT,
    KENCARP4,
    TRAPEZOID,
    DiagonallyImplicitStepper,
)
from integrand.core.numerics.methods.explicit import ExplicitRungeKutta
from integrand.core.numerics.methods.separable import Separable
from integrand.core.numerics.methods.stepper import Stepper
from integrand.core.numerics.methods.symplectic import (
    BLANES_MOAN4,
    COMPOSITIONS,
    LEAPFROG,
    YOSHIDA4,
    Composition,
    SymplecticStepper,
)
from integrand.core.numerics.methods.tableau import RK4

torch64 = torch.float64
compositions = pytest.mark.parametrize("table", COMPOSITIONS.values(), ids=lambda table: table.name)
ZERO = torch.zeros((), dtype=torch64)


def tensor(values) -> Tensor:
    return torch.tensor(values, dtype=torch64)


def implicit(table) -> DiagonallyImplicitStepper:
    return DiagonallyImplicitStepper(table, 1e-14, 1e-14)  # stages solved to rounding, as conservation asks


def walk(stepper: Stepper, field: nn.Module, y: Tensor, h: Tensor, steps: int, *, args=None, every: int = 0) -> Tensor:
    """Return the state after some steps, or the states (T, B, ...) after each ``every`` of them."""
    bound, kept = BoundField(field, args, len(y)), [y]
    with torch.no_grad():
        for i in range(steps):
            step = stepper.step(bound, i * h, h, y, None)
            assert step.failed is None or not step.failed.any()
            y = step.y
            if every and (i + 1) % every == 0:
                kept.append(y)
    return torch.stack(kept) if every else y


class Pendulum(Separable):
    """H = p^2 / 2 - cos q."""

    def __init__(self) -> None:
        super().__init__(lambda t, p: p, lambda t, q: -torch.sin(q))

    def energy(self, y: Tensor) -> Tensor:
        q, p = y.unbind(-1)
        return p**2 / 2 - torch.cos(q)

    def jacobian(self, t: Tensor, y: Tensor) -> Tensor:
        one, zero = torch.ones_like(y[:, 0]), torch.zeros_like(y[:, 0])
        return torch.stack([zero, one, -torch.cos(y[:, 0]), zero], dim=1).view(-1, 2, 2)


class Forced(Separable):
    """A pendulum whose mass and whose drive change with time, so that both halves of the field do."""

    start, end = (1.2, 0.3), 4.0

    def __init__(self) -> None:
        super().__init__(
            lambda t, p: p * (1 + 0.3 * torch.cos(2 * self.clock(t))),
            lambda t, q: -torch.sin(q) + 0.5 * torch.cos(1.3 * self.clock(t)),
        )

    def clock(self, t: Tensor) -> Tensor:
        return t if t.dim() == 0 else t.view(-1, 1)

    def solution(self) -> np.ndarray:
        def plainly(t: float, y: np.ndarray) -> list[float]:
            return [y[1] * (1 + 0.3 * np.cos(2 * t)), -np.sin(y[0]) + 0.5 * np.cos(1.3 * t)]

        return solve_ivp(plainly, (0, self.end), self.start, method="DOP853", rtol=1e-13, atol=1e-13).y[:, -1]


@compositions
def test_kicks_and_drifts_fill_the_step(table: Composition):
    assert len(table.kicks) == len(table.drifts) + 1
    assert sum(table.kicks) == pytest.approx(1, abs=1e-15)
    assert sum(table.drifts) == pytest.approx(1, abs=1e-15)
    assert table.symmetric


@compositions
def test_methods_have_their_order_on_a_non_autonomous_system(table: Composition):
    system, exact = Forced(), Forced().solution()
    steps, errors = [160, 320] if table is not BLANES_MOAN4 else [40, 80], []
    for count in steps:
        end = walk(SymplecticStepper(table), system, tensor([system.start]), tensor(system.end / count), count)
        errors.append(np.abs(end[0].numpy() - exact).max())
    assert errors[1] > 1e-10  # a thousand times the error of the reference
    assert np.log2(errors[0] / errors[1]) == pytest.approx(table.order, abs=0.1)


@pytest.mark.parametrize("share", [0.25, 0.5, 0.8])
@pytest.mark.parametrize(("table", "order"), [(LEAPFROG, 3), (BLANES_MOAN4, 4)], ids=["leapfrog", "blanes_moan4"])
def test_dense_output_has_the_order_of_the_step_up_to_four(table: Composition, order: int, share: float):
    """In one step the method errs by O(h^{p+1}) and the cubic by O(h^4), of which the smaller power rules."""
    system, y, errors = Forced(), tensor([Forced.start]), []
    for h in (tensor(0.1), tensor(0.05)):
        stepper, bound = SymplecticStepper(table), BoundField(system, None, 1)
        with torch.no_grad():
            step = stepper.complete(bound, ZERO, h, y, stepper.step(bound, ZERO, h, y, None))
        weights = stepper.weights(tensor(share))
        dense = y + h * sum(w * slope for w, slope in zip(weights, step.slopes, strict=True))
        exact = walk(SymplecticStepper(BLANES_MOAN4), system, y, h * share / 10, 10)
        errors.append((dense - exact).abs().max().item())
    assert np.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.25)  # h of a tenth: the next term is seen


def spread_and_drift(energies: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Return, for each trajectory of (T, B), the range of the energy's error, and how far a fitted line falls."""
    error = (energies - energies[0]).numpy()
    time = np.linspace(-0.5, 0.5, len(error))
    return error.max(0) - error.min(0), np.abs(np.polyfit(time, error, 1)[0])


def assert_bounded(stepper: Stepper, steps: int, h: float, order: int) -> None:
    """The energy's error oscillates with an amplitude of O(h^p), and does not drift.

    Two pendulums swing with steps of h, and the same two with h / 2, in one batch. A line fitted to n periods of an
    oscillation of range r falls by up to 3 r / (pi n). Both pendulums have periods below 10.
    """
    y, own = tensor([[1.0, 0.0], [2.5, 0.0]] * 2), tensor([h, h, h / 2, h / 2])
    system = Pendulum()
    spread, drift = spread_and_drift(system.energy(walk(stepper, system, y, own, steps, every=5)))
    periods = steps * own.numpy() / 10
    assert (drift < 3 / (np.pi * periods) * spread).all()
    np.testing.assert_allclose(np.log2(spread[:2] / spread[2:]), order, atol=0.1)


@pytest.mark.parametrize("table", [LEAPFROG, YOSHIDA4], ids=["leapfrog", "yoshida4"])
def test_the_energy_of_a_pendulum_stays_bounded_over_a_hundred_thousand_steps(table: Composition):
    assert_bounded(SymplecticStepper(table), 100_000, 0.1, table.order)


@pytest.mark.parametrize("steps", [3_000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_the_energy_of_a_pendulum_stays_bounded_with_implicit_midpoint(steps: int):
    assert_bounded(implicit(IMPLICIT_MIDPOINT), steps, 0.1, 2)


def test_the_energy_drifts_with_a_method_that_is_not_symplectic():
    """rk4 loses the share (h w)^6 / 72 of an oscillator's energy a step; so it does with a small swing."""
    rk4, system, h, steps = ExplicitRungeKutta(RK4, estimate=False), Pendulum(), tensor(0.2), 6_000
    states = walk(rk4, system, tensor([[1.0, 0.0], [2.5, 0.0], [0.01, 0.0]]), h, steps, every=5)
    spread, drift = spread_and_drift(system.energy(states[:, :2]))
    assert (drift > 0.9 * spread).all()
    lost = 1 - states[-1, 2].square().sum().item() / 0.01**2
    assert lost == pytest.approx(steps * 0.2**6 / 72, rel=0.05)  # next term: (h w)^2 = 0.04


def coupled_pair() -> Separable:
    """Two anharmonic oscillators, coupled, driven, with a kinetic energy that is not quadratic."""
    return Separable(
        lambda t, p: p + 0.2 * torch.sin(p + t.unsqueeze(-1)),
        lambda t, q: -(q**3) - 0.7 * (q - q.flip(-1)) + 0.1 * torch.cos(t.unsqueeze(-1)),
    )


def defect(stepper: Stepper) -> float:
    """Return the largest entry of M^T J M - J for the derivative M of one step."""
    field, y = BoundField(coupled_pair(), None, 1), tensor([0.4, -0.9, 0.3, 1.1])
    step = torch.autograd.functional.jacobian(
        lambda y: stepper.step(field, tensor(0.3), tensor(0.2), y[None], None).y[0], y
    )
    assert isinstance(step, Tensor)
    zero, one = torch.zeros(2, 2, dtype=torch64), torch.eye(2, dtype=torch64)
    j = torch.cat([torch.cat([zero, one], 1), torch.cat([-one, zero], 1)])
    return (step.T @ j @ step - j).abs().max().item()


@pytest.mark.parametrize(
    "stepper",
    [*(SymplecticStepper(table) for table in COMPOSITIONS.values()), implicit(IMPLICIT_MIDPOINT)],
    ids=[*COMPOSITIONS, "implicit_midpoint"],
)
def test_a_step_is_a_symplectic_map(stepper: Stepper):
    assert defect(stepper) < 1e-14  # some twenty roundings of numbers near one


def test_other_steps_are_not():
    assert defect(ExplicitRungeKutta(RK4, estimate=False)) > 1e-6
    assert defect(implicit(KENCARP4)) > 1e-6


@pytest.mark.parametrize(
    "make",
    [
        *(lambda table=table: SymplecticStepper(table) for table in COMPOSITIONS.values()),
        lambda: implicit(IMPLICIT_MIDPOINT),
        lambda: implicit(TRAPEZOID),
    ],
    ids=[*COMPOSITIONS, "implicit_midpoint", "trapezoid"],
)
def test_steps_back_undo_steps_forth(make):
    """On the forced pendulum, through the same times: what is left is rounding, as the motion magnifies it."""
    system, h, count = Forced(), tensor(0.1), 200
    start = tensor([Forced.start, (Forced.start[0] + 1e-6, Forced.start[1])])  # and a neighbour
    bound, stepper, y, apart, largest = BoundField(system, None, 2), make(), start, 1e-6, 0.0
    with torch.no_grad():
        for i in range(count):
            y = stepper.step(bound, i * h, h, y, None).y
            apart, largest = max(apart, (y[1] - y[0]).norm().item()), max(largest, y.abs().max().item())
        assert (y - start).abs().max() > 0.1
        for i in range(count, 0, -1):
            y = stepper.step(bound, i * h, -h, y, None).y
    # Each step errs by a few roundings of the largest number, each magnified as the neighbours' distance was.
    allowed = 2 * count * 8 * torch.finfo(torch64).eps * largest * apart / 1e-6
    assert allowed < 2e-9
    assert (y - start).abs().max() < allowed


@pytest.mark.parametrize("x", [0.5, 1.9, 2.1])
def test_leapfrog_on_an_oscillator_is_the_known_matrix(x: float):
    """With x = h w: trace 2 - x^2, so stable below x = 2 and growing above: Hairer and others (2006), Eq. I.5.3."""
    oscillator = Separable(lambda t, p: p, lambda t, q: -q)
    columns = walk(SymplecticStepper(LEAPFROG), oscillator, torch.eye(2, dtype=torch64), tensor(x), 1).T
    expected = tensor([[1 - x**2 / 2, x], [-x * (1 - x**2 / 4), 1 - x**2 / 2]])
    torch.testing.assert_close(columns, expected, rtol=1e-14, atol=1e-15)
    far = walk(SymplecticStepper(LEAPFROG), oscillator, tensor([[1.0, 0.0]]), tensor(x), 200)
    assert (far.abs().max() < 10) == (x < 2)


@compositions
def test_angular_momentum_is_conserved(table: Composition):
    """Kicks along q and drifts along p leave q x p as it is: a planet of eccentricity 0.6 over three of its years."""
    planet = Separable(lambda t, p: p, lambda t, q: -q / q.norm(dim=-1, keepdim=True) ** 3)
    states = walk(SymplecticStepper(table), planet, tensor([[0.4, 0.0, 0.0, 2.0]]), tensor(0.02), 900, every=1)
    q, p = states[:, 0, :2], states[:, 0, 2:]
    momentum = q[:, 0] * p[:, 1] - q[:, 1] * p[:, 0]
    # Each of the 900 steps rounds each product a few times.
    assert (momentum - 0.8).abs().max() < 900 * 4 * torch.finfo(torch64).eps


def test_samples_with_clocks_steps_and_arguments_of_their_own():
    system = Separable(
        lambda t, p, w: p,
        lambda t, q, w: -(w**2) * torch.sin(q) + torch.cos(t if t.dim() == 0 else t.view(-1, 1)),
    )
    y, w = tensor([[1.0, 0.0], [-0.4, 0.3]]), tensor([[1.0], [3.0]])
    t, h = tensor([0.2, 1.7]), tensor([0.1, 0.03])
    for table in COMPOSITIONS.values():
        together = SymplecticStepper(table).step(BoundField(system, w, 2), t, h, y, None).y
        for i in range(2):
            field = BoundField(system, w[i : i + 1], 1)
            alone = SymplecticStepper(table).step(field, t[i], h[i], y[i : i + 1], None).y
            torch.testing.assert_close(together[i : i + 1], alone, rtol=1e-15, atol=1e-16)


@compositions
def test_each_force_is_evaluated_once(table: Composition):
    """The force at a step's end serves the next, but not a step from another state."""
    calls = []

    def force(t: Tensor, q: Tensor) -> Tensor:
        calls.append("force")
        return -q

    def velocity(t: Tensor, p: Tensor) -> Tensor:
        calls.append("velocity")
        return p

    field, stepper, h = BoundField(Separable(velocity, force), None, 1), SymplecticStepper(table), tensor(0.1)
    y = tensor([[1.0, 0.0]])
    for _ in range(5):
        y = stepper.step(field, ZERO, h, y, None).y
    assert calls.count("velocity") == field.evaluations == 5 * table.stages
    assert calls.count("force") == 5 * table.stages + 1
    again = stepper.step(field, ZERO, h, tensor([[1.0, 0.0]]), None).y
    assert torch.equal(again, SymplecticStepper(table).step(field, ZERO, h, tensor([[1.0, 0.0]]), None).y)


def test_gradients_agree_with_finite_differences():
    system = Separable(lambda t, p, w: p * (1 + t**2), lambda t, q, w: -w * torch.sin(q))

    def run(y: Tensor, w: Tensor, t: Tensor, h: Tensor) -> Tensor:
        stepper, bound = SymplecticStepper(YOSHIDA4), BoundField(system, w, 2)
        for _ in range(2):
            y, t = stepper.step(bound, t, h, y, None).y, t + h
        return y

    start = tensor([[1.0, 0.2], [-0.5, 0.9]]), tensor([[1.0], [2.0]]), tensor(0.4), tensor(0.3)
    inputs = tuple(x.requires_grad_() for x in start)
    assert torch.autograd.gradcheck(run, inputs)
    assert torch.autograd.gradgradcheck(run, inputs)


class Timeless(nn.Module):
    """A learned map that ignores the time."""

    def __init__(self) -> None:
        super().__init__()
        self.map = nn.Linear(2, 2)

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        return self.map(x)


def test_learned_halves_are_parameters_of_the_field():
    system = Separable(Timeless(), Timeless())
    field, y = BoundField(system, None, 3), torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    SymplecticStepper(LEAPFROG).step(field, torch.tensor(0.0), torch.tensor(0.1), y, None).y.square().sum().backward()
    assert len(list(system.parameters())) == 4
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in system.parameters())


@compositions
def test_solve_ode_takes_the_same_steps(table: Composition):
    y, times = tensor([[1.0, 0.2], [0.3, -2.0]]), torch.linspace(0, 1, 11, dtype=torch64)
    solved = solve_ode(Pendulum(), y, times, method=table.name)
    expected = walk(SymplecticStepper(table), Pendulum(), y, tensor(0.1), 10, every=1)
    torch.testing.assert_close(solved.states.transpose(0, 1), expected, rtol=1e-14, atol=1e-14)


def test_other_fields_and_odd_states_are_refused():
    stepper = SymplecticStepper(LEAPFROG)
    with pytest.raises(InputError, match=r"'leapfrog' needs a separable field, got Linear.*implicit_midpoint"):
        stepper.step(BoundField(nn.Linear(2, 2), None, 1), ZERO, ZERO, torch.ones(1, 2), None)
    with pytest.raises(InputError, match=r"\(1, 3\), whose last dimension is odd"):
        Pendulum()(ZERO, torch.ones(1, 3))
    wrong = Separable(lambda t, p: p, lambda t, q: q.sum(-1))
    with pytest.raises(InputError, match=r"returned shape \(1,\)"):
        stepper.step(BoundField(wrong, None, 1), ZERO, ZERO, torch.ones(1, 4), None)
