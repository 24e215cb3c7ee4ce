"""Fields made of an energy: what they conserve, what they lose, and which networks discretise them."""

from collections.abc import Callable

import numpy as np
import torch
from correspondence import correspondence
from deviation import Array, deviation, numbers
from scipy.integrate import solve_ivp
from torch import Tensor

from integrand.core.fields import (
    Energy,
    GradientFlow,
    Hamiltonian,
    InputConvex,
    Lagrangian,
    MechanicalLagrangian,
    PortHamiltonian,
    SeparableHamiltonian,
)
from integrand.core.numerics import solve_ode

STILL = torch.zeros((), dtype=torch.float64)


def start(dim: int) -> Array:
    return np.random.default_rng(0).normal(size=dim)


def solved(field: Callable[..., Tensor], y0: Array, times: Array) -> Array:
    """States (T, D) at the times, by scipy."""

    def slope(t: float, y: Array) -> Array:
        return numbers(field(STILL, torch.from_numpy(y)[None])[0])

    return solve_ivp(slope, (times[0], times[-1]), y0, "DOP853", times, rtol=1e-12, atol=1e-13).y.T


def gauss_integral(values: Array, length: float) -> float:
    """Integral of a smooth function known at the points of ``gauss``."""
    _, weights = np.polynomial.legendre.leggauss(len(values))
    return float(weights @ values) * length / 2


@correspondence(
    architecture="Hamiltonian neural network",
    explains=("Hamiltonian", "Energy"),
    level="field",
    equation="dq/dt = dH/dp, dp/dt = -dH/dq, dH/dt = 0",
    discretisation="exact",
    follows="an energy is conserved whatever is learned: errors of the network bend paths but do not make them drift",
    source="Greydanus, Dzamba and Yosinski (2019), Hamiltonian neural networks, Eq. 2",
    tolerance=1e-10,
    error_of="largest change of H along a path of scipy's, relative to the span of H over the states",
)
def test_a_hamiltonian_field_conserves_its_energy() -> float:
    torch.manual_seed(0)
    field = Hamiltonian(4, (8,)).double()
    states = torch.from_numpy(solved(field, 2 * start(4), np.linspace(0, 10, 21)))
    energies, others = numbers(field.energy(states)), numbers(field.energy(torch.randn(100, 4).double()))
    return float(np.ptp(energies) / np.ptp(others))


@correspondence(
    architecture="Hamiltonian neural network solved by a symplectic method",
    explains=("Hamiltonian", "Energy"),
    level="field",
    equation="M^T J M = J for the derivative M of the flow",
    discretisation="implicit midpoint rule, which has the same property at any step",
    follows="volumes of phase space are kept by network and solver alike: rollouts neither die out nor blow up",
    source="Hairer, Lubich and Wanner (2006), Geometric numerical integration, Sections VI.2 and VI.3",
    tolerance=1e-9,
)
def test_the_midpoint_rule_of_a_hamiltonian_field_is_symplectic() -> float:
    """The derivative of five steps by central differences of the highest order that rounding leaves digits for."""
    torch.manual_seed(0)
    field = Hamiltonian(4, (8,)).double()
    j = np.block([[np.zeros((2, 2)), np.eye(2)], [-np.eye(2), np.zeros((2, 2))]])
    h, weights = 0.02, {1: 4 / 5, 2: -1 / 5, 3: 4 / 105, 4: -1 / 280}
    shifts = np.concatenate([sign * k * h * np.eye(4) for k in weights for sign in (1, -1)])
    ends = numbers(
        solve_ode(
            field,
            torch.from_numpy(start(4) + shifts),
            [0.0, 1.0],
            method="implicit_midpoint",
            step_size=0.2,
            rtol=1e-13,
            atol=1e-13,
        ).states[:, -1]
    ).reshape(4, 2, 4, 4)
    rows = sum(w * (ends[k - 1, 0] - ends[k - 1, 1]) / h for k, w in weights.items())
    m = np.asarray(rows).T
    return deviation(m.T @ j @ m, j)


@correspondence(
    architecture="reversible residual network",
    explains=("SeparableHamiltonian", "Energy"),
    level="field",
    equation="dq/dt = dT/dp, dp/dt = -dV/dq",
    discretisation="leapfrog: half a kick, a drift, half a kick",
    follows="coupling blocks are steps of mechanics, so activations need not be kept and energy errors stay bounded",
    source="Gomez, Ren, Urtasun and Grosse (2017), The reversible residual network: backpropagation without storing "
    "activations; Chang, Meng, Haber, Ruthotto, Begert and Holtham (2018), Reversible architectures for "
    "arbitrarily deep residual neural networks",
    tolerance=1e-13,
)
def test_leapfrog_of_a_separable_hamiltonian_is_a_reversible_network() -> float:
    torch.manual_seed(0)
    kinetic, potential = Energy(3, (6,)).double(), Energy(3, (6,)).double()
    field, y, step = SeparableHamiltonian(6, kinetic=kinetic, potential=potential), start(6), 0.3

    def slope(energy: Energy, x: Array) -> Array:
        """W^T (s'(W x + b) w), the chain rule."""
        layer = energy.layers[0]
        weight, bias = (numbers(each) for each in layer.parameters())
        return weight.T @ ((1 - np.tanh(weight @ x + bias) ** 2) * numbers(energy.out.weight)[0])

    found = solve_ode(field, torch.from_numpy(y)[None], [0.0, 5 * step], method="leapfrog", step_size=step).states[
        0, -1
    ]
    q, p = np.split(y, 2)
    for _ in range(5):  # additive couplings, each undone by a subtraction
        p = p - step / 2 * slope(potential, q)
        q = q + step * slope(kinetic, p)
        p = p - step / 2 * slope(potential, q)
    return deviation(found, np.concatenate([q, p]))


@correspondence(
    architecture="gradient descent",
    explains=("GradientFlow", "Energy"),
    level="field",
    equation="dy/dt = -dE/dy",
    discretisation="forward Euler, the step being the learning rate",
    follows="a learning rate is a step size, and what makes training unstable is the stability limit of Euler's method",
    source="Cauchy (1847), Methode generale pour la resolution des systemes d'equations simultanees; Ambrosio, Gigli "
    "and Savare (2005), Gradient flows in metric spaces and in the space of probability measures",
    tolerance=1e-13,
)
def test_euler_steps_of_a_gradient_flow_are_gradient_descent() -> float:
    """The other side is torch's own SGD, with autograd's gradients."""
    torch.manual_seed(0)
    energy, y, rate = Energy(3, (6,)).double(), torch.from_numpy(start(3))[None], 0.2
    found = solve_ode(GradientFlow(3, energy=energy), y, [0.0, 10 * rate], method="euler", step_size=rate).states[:, -1]
    point = torch.nn.Parameter(y.clone())
    optimizer = torch.optim.SGD([point], lr=rate)
    for _ in range(10):
        optimizer.zero_grad()
        energy.out(torch.tanh(energy.layers[0](point))).sum().backward()
        optimizer.step()
    return deviation(found, numbers(point))


def gauss(length: float, count: int = 24) -> Array:
    """Nodes of Gauss and Legendre's rule on [0, length], with 0 before and the length behind them."""
    nodes, _ = np.polynomial.legendre.leggauss(count)
    return np.concatenate([[0.0], length * (1 + nodes) / 2, [length]])


@correspondence(
    architecture="gradient flow of a learned convex energy",
    explains=("GradientFlow", "InputConvex"),
    level="field",
    equation="dE/dt = -|dE/dy|^2",
    discretisation="exact",
    follows="a loss falls at the rate of the square of its gradient, in time that is counted in learning rates",
    source="Ambrosio, Gigli and Savare (2005), Gradient flows in metric spaces and in the space of probability "
    "measures; Amos, Xu and Kolter (2017), Input convex neural networks",
    tolerance=1e-9,
)
def test_a_gradient_flow_loses_its_energy_at_the_square_of_its_speed() -> float:
    torch.manual_seed(0)
    energy, times = InputConvex(3, (6, 6)).double(), gauss(3.0)
    field = GradientFlow(3, energy=energy)
    states = torch.from_numpy(solved(field, 2 * start(3), times))
    speeds = numbers(field(STILL, states[1:-1])) ** 2
    first, *_, last = numbers(energy(states))
    return deviation(np.array(first - last), gauss_integral(speeds.sum(1), 3.0))


@correspondence(
    architecture="port-Hamiltonian network",
    explains=("PortHamiltonian", "Power"),
    level="field",
    equation="dH/dt = -dH/dy . R dH/dy + dH/dy . G u",
    discretisation="exact",
    follows="the books of energy balance for any weights, so that parts learned apart can be joined by their ports",
    source="van der Schaft and Jeltsema (2014), Port-Hamiltonian systems theory: an introductory overview, Section 2",
    tolerance=1e-9,
)
def test_the_energy_of_a_port_hamiltonian_field_is_what_came_in_less_what_was_lost() -> float:
    """Along a path of scipy's under a control sin(2 t); power is the slope of H, by autograd, times R and G."""
    torch.manual_seed(0)
    field, times = PortHamiltonian(4, (8,), control=1).double(), gauss(3.0)
    assert field.l is not None
    assert field.g is not None
    loss, port = numbers(field.l @ field.l.T), numbers(field.g)[:, 0]

    def slope(t: float, y: Array) -> Array:
        control = torch.tensor([[np.sin(2 * t)]], dtype=torch.float64)
        return numbers(field(STILL, torch.from_numpy(y)[None], control)[0])

    y0 = 2 * start(4)
    path = solve_ivp(slope, (0, 3), y0, "DOP853", times, rtol=1e-12, atol=1e-13).y.T
    states = torch.from_numpy(path).requires_grad_()
    energies = field.energy(states)
    slopes = numbers(torch.autograd.grad(energies.sum(), states)[0])[1:-1]
    power = -np.einsum("ti,ij,tj->t", slopes, loss, slopes) + slopes @ port * np.sin(2 * times[1:-1])
    told = field.power(states[1:-1], torch.from_numpy(np.sin(2 * times[1:-1]))[:, None])
    of_books = deviation(told.lost + told.supplied, power)
    change = numbers(energies)[-1] - numbers(energies)[0]
    return max(of_books, deviation(np.array(change), gauss_integral(power, 3.0)))


@correspondence(
    architecture="Lagrangian neural network",
    explains=("Lagrangian",),
    level="field",
    equation="d/dt dL/dv = dL/dq for L of a double pendulum",
    discretisation="exact",
    follows="one scalar in whatever coordinates are measured gives all forces, couplings between joints among them",
    source="Cranmer, Greydanus, Hoyer, Battaglia, Spergel and Ho (2020), Lagrangian neural networks; Goldstein, "
    "Poole and Safko (2002), Classical mechanics, Chapter 1",
    tolerance=1e-12,
)
def test_the_lagrangian_of_a_double_pendulum_gives_its_equations_of_motion() -> float:
    """Unit masses and lengths, gravity g: the accelerations are written out for comparison."""
    gravity = 9.8

    def lagrangian(y: Tensor) -> Tensor:
        a, b, u, v = y.unbind(-1)
        return u**2 + v**2 / 2 + u * v * torch.cos(a - b) + gravity * (2 * torch.cos(a) + torch.cos(b))

    y = np.random.default_rng(0).normal(size=(8, 4))
    a, b, u, v = y.T
    d, shared = a - b, 2 - np.cos(a - b) ** 2
    first = -(gravity * (2 * np.sin(a) - np.sin(b) * np.cos(d)) + np.sin(d) * (v**2 + u**2 * np.cos(d))) / shared
    last = (2 * gravity * (np.sin(a) * np.cos(d) - np.sin(b)) + np.sin(d) * (2 * u**2 + v**2 * np.cos(d))) / shared
    found = Lagrangian(4, lagrangian=lagrangian)(STILL, torch.from_numpy(y))
    return deviation(found, np.stack([u, v, first, last], axis=1))


@correspondence(
    architecture="deep Lagrangian network",
    explains=("Lagrangian", "MechanicalLagrangian"),
    level="field",
    equation="d/dt (v . M(q) v / 2 + V(q)) = 0",
    discretisation="exact",
    follows="a learned positive mass matrix makes accelerations defined and energy kept, for any weights",
    source="Lutter, Ritter and Peters (2019), Deep Lagrangian networks: using physics as model prior for deep learning",
    tolerance=1e-12,
    error_of="largest rate of the energy, relative to the largest of the terms that it is the sum of",
)
def test_a_mechanical_lagrangian_conserves_kinetic_and_potential_energy() -> float:
    torch.manual_seed(0)
    field = Lagrangian(4, (8,)).double()
    parts = field.lagrangian
    assert isinstance(parts, MechanicalLagrangian)
    y = torch.from_numpy(np.random.default_rng(0).normal(size=(16, 4))).requires_grad_()
    q, v = y.chunk(2, dim=1)
    energy = torch.einsum("bi,bij,bj->b", v, parts.mass(q), v) / 2 + parts.potential(q)
    slopes, rates = numbers(torch.autograd.grad(energy.sum(), y)[0]), numbers(field(STILL, y))
    return float(np.abs((slopes * rates).sum(1)).max() / np.abs(slopes * rates).max())
