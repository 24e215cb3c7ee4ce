"""Models of partial differential equations: convolutional networks, spectral methods, and networks as unknowns."""

import math

import numpy as np
import torch
from correspondence import correspondence
from deviation import Array, deviation, numbers
from torch import Tensor, nn

from integrand.core.fields import ConvolutionalField
from integrand.core.models import (
    CoordinateNetwork,
    HardConditions,
    LocalTerm,
    MethodOfLines,
    NeuralODE,
    NeuralPDE,
    SemilinearPDE,
)
from integrand.core.operators import FiniteDifferences, Grid

POINTS = 16
SPACING, ELL = 1 / POINTS, 0.1


def circle(n: int) -> Array:
    """Points of the circle of length 1."""
    return np.arange(n) / n


def field_values() -> Array:
    """A random field on the circle."""
    return np.random.default_rng(0).normal(size=POINTS)


def heat(diffusivity: float) -> tuple[Grid, MethodOfLines]:
    grid = Grid((POINTS,), 1.0)
    differences = FiniteDifferences(grid)
    return grid, MethodOfLines(differences, physics=lambda t, u: diffusivity * differences.laplacian(u))


@correspondence(
    architecture="neural PDE",
    explains=("NeuralPDE", "MethodOfLines"),
    level="model",
    equation="u_t = nu u_xx",
    discretisation="method of lines with central differences of order 2, an adaptive method in time",
    follows="space discretised, a PDE is an ODE whose rates are known wave by wave: 4 nu / h^2 bounds explicit steps",
    source="LeVeque (2007), Finite difference methods for ordinary and partial differential equations, Chapter 9",
    tolerance=1e-10,
)
def test_the_method_of_lines_damps_each_wave_at_its_own_rate() -> float:
    grid, field = heat(0.1)
    model = NeuralPDE(grid, physics=field.physics, method="dopri8", rtol=1e-12, atol=1e-13)
    u = field_values()
    found = model(torch.from_numpy(u)[None, None], [0.0, 0.2]).states[0, -1, 0]
    rates = -0.1 * 4 / SPACING**2 * np.sin(np.pi * np.arange(POINTS // 2 + 1) * SPACING) ** 2
    return deviation(found, np.fft.irfft(np.exp(0.2 * rates) * np.fft.rfft(u), POINTS))


@correspondence(
    architecture="linear convolutional residual network",
    explains=("NeuralPDE", "MethodOfLines", "ConvolutionalField"),
    level="model",
    equation="u_t = nu u_xx",
    discretisation="central differences in space, forward Euler with steps dt in time",
    follows="a kernel [r, 1 - 2r, r] diffuses, and blocks explode for r > 1/2: a bound on weights is a stability limit",
    source="Ruthotto and Haber (2020), Deep neural networks motivated by partial differential equations",
    tolerance=1e-13,
)
def test_euler_steps_of_the_heat_equation_are_a_convolutional_network() -> float:
    """Both the neural PDE and a learned stencil without hidden layers, against sums over neighbours."""
    grid, field = heat(0.1)
    step = 0.4 * SPACING**2 / 0.1
    u = field_values()
    start, times = torch.from_numpy(u)[None, None], [0.0, 5 * step]
    by_physics = NeuralPDE(grid, physics=field.physics, method="euler", step_size=step)(start, times).states[0, -1, 0]
    stencil = ConvolutionalField(1, (), dims=1).double()
    layer = stencil.layers[0]
    assert isinstance(layer, nn.Conv1d)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([0.4, -0.8, 0.4], dtype=torch.float64) / step)
        nn.init.zeros_(layer.bias)  # pyright: ignore[reportArgumentType]
    by_kernel = NeuralODE(stencil, method="euler", step_size=step)(start, times).states[0, -1, 0]
    for _ in range(5):
        u = 0.4 * np.roll(u, 1) + 0.2 * u + 0.4 * np.roll(u, -1)
    return max(deviation(by_physics, u), deviation(by_kernel, u))


@correspondence(
    architecture="convolutional residual network with kernels of three points",
    explains=("NeuralPDE", "LocalTerm"),
    level="model",
    equation="u_t = N(u, u_x, u_xx) with N a network at each point",
    discretisation="central differences in space, forward Euler in time",
    follows="kernels made of stencils are a local PDE, whose weights act on a finer grid as they are",
    source="Long, Lu, Ma and Dong (2018), PDE-Net: learning PDEs from data, Section 2",
    tolerance=1e-12,
)
def test_a_convolutional_residual_network_is_an_euler_step_of_a_learned_pde() -> float:
    """Kernels are sums of (0, 1, 0), ell (-1, 0, 1) / 2h and ell^2 (1, -2, 1) / h^2 by the first layer's weights."""
    torch.manual_seed(0)
    term, step, u = LocalTerm(2, 1, hidden=(6,)).double(), 0.1, np.random.default_rng(0).normal(size=(2, POINTS))
    model = NeuralPDE(Grid((POINTS,), 1.0), term, length_scale=ELL, method="euler", step_size=step)
    found = model(torch.from_numpy(u)[None], [0.0, 3 * step]).states[0, -1]
    first, last = term.layers[0], term.layers[2]
    assert isinstance(first, nn.Conv1d)
    assert isinstance(last, nn.Conv1d)
    shares = (ELL / SPACING) ** np.arange(3)[:, None]
    stencils = shares * np.array([[0, 1, 0], [-0.5, 0, 0.5], [1, -2, 1]])
    kernels = np.einsum("hdc,dk->hck", numbers(first.weight)[..., 0].reshape(6, 3, 2), stencils)  # (hidden, C, 3)
    for _ in range(3):
        around = np.stack([np.roll(u, 1, axis=1), u, np.roll(u, -1, axis=1)])
        hidden = np.tanh(np.einsum("hck,kcx->hx", kernels, around) + numbers(first.bias)[:, None])  # pyright: ignore[reportArgumentType]
        u = u + step * (numbers(last.weight)[..., 0] @ hidden + numbers(last.bias)[:, None])  # pyright: ignore[reportArgumentType]
    return deviation(found, u)


@correspondence(
    architecture="spectral PDE model without its networks",
    explains=("SemilinearPDE", "LearnedSymbol"),
    level="model",
    equation="u_t = b_0 u - a_0 u_x + b_1 u_xx + a_1 u_xxx - c u_xxxx, by signs of the symbol",
    discretisation="exact, in one step of any length",
    follows="waves of a linear equation never meet, so its stiffness costs nothing: steps answer to the rest alone",
    source="Cox and Matthews (2002), Exponential time differencing for stiff systems",
    tolerance=1e-11,
)
def test_the_linear_part_of_a_semilinear_pde_moves_each_wave_by_its_symbol() -> float:
    """A wave e^(ikx) is an eigenfunction of every derivative, d^m/dx^m e^(ikx) = (ik)^m e^(ikx)."""
    model = SemilinearPDE(1, (1.0,), length_scale=ELL, step_size=10.0).double()
    growth, drift, damping = np.array([0.5, -0.8]), np.array([0.7, 0.3]), 0.2
    with torch.no_grad():
        model.symbol.growth.copy_(torch.from_numpy(growth))
        model.symbol.drift.copy_(torch.from_numpy(drift)[None, :, None])
        model.symbol.damping.fill_(math.log(math.expm1(damping)))
        for each in model.local.parameters():
            each.zero_()
    u, end = field_values(), 0.9
    u = u - np.fft.irfft(np.fft.rfft(u) * (np.arange(9) == 8), POINTS)  # the Nyquist wave has no sign
    found = model(torch.from_numpy(u)[None, None], [0.0, end]).states[0, -1, 0]
    d = ELL * 2j * np.pi * np.arange(9)  # ell d/dx
    # The symbol has ell k = -i ell d/dx and powers of -|ell k|^2 = (ell d/dx)^2.
    rates = growth[0] + growth[1] * d**2 + drift[0] * d + drift[1] * d**3 - damping * d**4
    return deviation(found, np.fft.irfft(np.exp(end * rates) * np.fft.rfft(u), POINTS))


class HalfSquare(nn.Module):
    """The flux u^2 / 2 at each point."""

    def forward(self, features: Tensor) -> Tensor:
        return features[..., :1].square() / 2


@correspondence(
    architecture="spectral PDE model with a flux at each point",
    explains=("SemilinearPDE", "LearnedSymbol"),
    level="model",
    equation="u_t = nu u_xx - (u^2 / 2)_x, solved by the heat equation (Cole and Hopf)",
    discretisation="Fourier series in space, ETDRK4 in time",
    follows="all that a network must learn of this fluid is one function of one number, the flux",
    source="Hopf (1950), The partial differential equation u_t + u u_x = mu u_xx; Kassam and Trefethen (2005), "
    "Fourth-order time-stepping for stiff PDEs",
    tolerance=1e-8,
)
def test_a_semilinear_pde_with_the_flux_of_burgers_solves_burgers_equation() -> float:
    """u = -2 nu w_x / w with w_t = nu w_xx; u_0 = sin x has w_0 = exp(cos x / (2 nu))."""
    nu, end, n = 0.2, 1.0, 96
    model = SemilinearPDE(1, (2 * math.pi,), order=2, step_size=0.005).double()
    model.local = nn.Sequential(HalfSquare())
    with torch.no_grad():
        model.symbol.damping.fill_(math.log(math.expm1(nu)))
    x = 2 * np.pi * circle(n)
    found = model(torch.from_numpy(np.sin(x))[None, None], [0.0, end]).states[0, -1, 0]
    fine = 2 * np.pi * circle(256)
    waves = np.arange(60)
    start = np.exp(np.cos(fine) / (2 * nu))
    shares = np.exp(-nu * waves**2 * end) * (np.cos(np.outer(waves, fine)) @ start) * np.where(waves, 2, 1) / 256
    w, slope = shares @ np.cos(np.outer(waves, x)), -(waves * shares) @ np.sin(np.outer(waves, x))
    return deviation(found, -2 * nu * slope / w)


class Powers(nn.Module):
    """The polynomial sum_k c_k x^k of points (N, 1)."""

    def __init__(self, terms: int) -> None:
        super().__init__()
        self.coefficients = nn.Parameter(torch.zeros(terms, dtype=torch.float64))

    def forward(self, points: Tensor) -> Tensor:
        scaled = 2 * points[:, 0] - 1
        return torch.stack([scaled**k for k in range(len(self.coefficients))], dim=1) @ self.coefficients


@correspondence(
    architecture="physics-informed network that meets its boundary by form",
    explains=("HardConditions",),
    level="model",
    equation="-u'' = f on (0, 1), u(0) = 1, u(1) = 2",
    discretisation="collocation in an affine space of trial functions",
    follows="with as many points as weights it ends as a spectral method, to which the place of points matters",
    source="Lagaris, Likas and Fotiadis (1998), Artificial neural networks for solving ordinary and partial "
    "differential equations, Section III; Boyd (2001), Chebyshev and Fourier spectral methods, Chapter 3",
    tolerance=1e-10,
)
def test_a_trained_trial_function_is_the_collocation_solution() -> float:
    """With a network linear in its weights the residual is affine in them, and training ends in one linear solve."""
    terms = 16
    network = Powers(terms)
    u = HardConditions(network, lift=lambda p: 1 + p[:, 0], distance=lambda p: p[:, 0] * (1 - p[:, 0]))
    points = torch.from_numpy((1 - np.cos(np.pi * (np.arange(terms) + 0.5) / terms)) / 2)[:, None]
    force = np.pi**2 * np.sin(np.pi * numbers(points)[:, 0])

    def residual(coefficients: Array) -> Array:
        with torch.no_grad():
            network.coefficients.copy_(torch.from_numpy(coefficients))
        p = points.clone().requires_grad_()
        (slope,) = torch.autograd.grad(u(p).sum(), p, create_graph=True)
        return -numbers(torch.autograd.grad(slope.sum(), p)[0])[:, 0] - force

    left_out = residual(np.zeros(terms))
    matrix = np.stack([residual(each) - left_out for each in np.eye(terms)], axis=1)
    solved = torch.from_numpy(np.linalg.solve(matrix, -left_out))
    with torch.no_grad():
        network.coefficients.copy_(solved)
    seen = np.linspace(0, 1, 41)
    return deviation(u(torch.from_numpy(seen)[:, None]), 1 + seen + np.sin(np.pi * seen))


@correspondence(
    architecture="coordinate network with periodic inputs",
    explains=("CoordinateNetwork",),
    level="model",
    equation="int over a period of u_x = 0, and of u u_x and of u_xx",
    discretisation="exact for any weights",
    follows="what a period conserves is conserved by form: no loss on the boundary, and no leak through it",
    source="Dong and Ni (2021), A method for representing periodic functions and enforcing exactly periodic boundary "
    "conditions with deep neural networks, Section 2",
    tolerance=1e-12,
    error_of="largest of the three integrals, relative to the greatest slope",
)
def test_a_periodic_coordinate_network_is_a_function_on_the_circle() -> float:
    torch.manual_seed(0)
    network = CoordinateNetwork((-1.0,), (2.0,), (8, 8), periodic=(True,)).double()

    def jet(x: float) -> Array:
        """u, u_x and u_xx at a point."""
        at = torch.tensor([[x]], dtype=torch.float64, requires_grad=True)
        u = network(at)
        (slope,) = torch.autograd.grad(u.sum(), at, create_graph=True)
        (bend,) = torch.autograd.grad(slope.sum(), at)
        return np.array([u.item(), slope.item(), bend.item()])

    seen = np.array([jet(x) for x in np.linspace(-1, 2, 257)[:-1]])
    u, slope, bend = seen.T
    integrals = [float(np.mean(each)) * 3 for each in (slope, u * slope, bend)]  # the trapezoidal rule on a circle
    return max(map(abs, integrals)) / float(np.abs(slope).max())
