"""Operators between functions: Green's functions, quadratures, stencils and fixed points."""

import math

import numpy as np
import torch
from correspondence import correspondence
from deviation import Array, deviation, numbers, order_of
from scipy.integrate import quad
from scipy.special import erf
from torch import Tensor, nn

from integrand.core.operators import (
    DeepONet,
    Dirichlet,
    FiniteDifferences,
    FourierBlock,
    GraphOperator,
    Grid,
    KernelIntegral,
    Neumann,
    SpectralConvolution,
    finite_difference_weights,
)
from integrand.core.operators.factorized_fno import FactorizedBlock, SeparableConvolution

POINTS, MODES = 32, 8
GKN = (
    "Li, Kovachki, Azizzadenesheli, Liu, Bhattacharya, Stuart and Anandkumar (2020), Neural operator: Graph kernel "
    "network for partial differential equations"
)


def circle() -> Array:
    return np.arange(POINTS) / POINTS


def smooth(x: Array) -> Array:
    """A function of the waves that are kept."""
    return 0.3 + np.cos(2 * np.pi * x) - 0.6 * np.sin(4 * np.pi * x) + 0.4 * np.cos(10 * np.pi * x + 1)


def set_symbol(layer: SpectralConvolution, symbol: Array) -> None:
    """Let one channel have a real symbol for the waves 0, 1, ..."""
    with torch.no_grad():
        layer.weight.zero_()
        layer.weight[..., 0, 0, 0] = torch.from_numpy(symbol)


def heat_kernel(x: Array, spread: float) -> Array:
    """Green's function of u_t = nu u_xx on the circle, spread^2 = 2 nu t: a sum over all ways round."""
    turns = np.arange(-8, 9)
    return np.exp(-((x[..., None] + turns) ** 2) / (2 * spread**2)).sum(-1) / (spread * np.sqrt(2 * np.pi))


@correspondence(
    architecture="spectral convolution of an FNO",
    explains=("SpectralConvolution", "FNO"),
    level="layer",
    equation="u_t = nu u_xx on the circle, u(t) = int G(x - y, t) u_0(y) dy",
    discretisation="exact for the waves kept, R(k) = exp(-nu |2 pi k|^2 t)",
    follows="weights in Fourier space are a symbol, not a stencil: the same ones solve the equation on any grid",
    source="Li et al. (2021), Fourier neural operator for parametric partial differential equations, Eqs. 4 and 5",
    tolerance=1e-12,
)
def test_a_spectral_convolution_is_the_heat_equation_by_its_green_function() -> float:
    layer, spread = SpectralConvolution(1, 1, (MODES,)).double(), 0.06
    set_symbol(layer, np.exp(-((2 * np.pi * np.arange(MODES) * spread) ** 2) / 2))
    fine = np.arange(512) / 512  # where the trapezoidal rule on a circle is exact to rounding
    exact = heat_kernel(circle()[:, None] - fine, spread) @ smooth(fine) / 512
    return deviation(layer(torch.from_numpy(smooth(circle()))[None, None])[0, 0], exact)


@correspondence(
    architecture="spectral convolution of an FNO",
    explains=("SpectralConvolution", "FNO"),
    level="layer",
    equation="-u'' + kappa^2 u = f on the circle, G = cosh(kappa (|x| - 1/2)) / (2 kappa sinh(kappa / 2))",
    discretisation="exact for the waves kept, R(k) = 1 / (|2 pi k|^2 + kappa^2)",
    follows="one layer inverts an elliptic operator in a single pass, over any distance, where a stencil needs many",
    source="Li et al. (2021), Fourier neural operator for parametric partial differential equations, Eq. 4; Stakgold "
    "and Holst (2011), Green's functions and boundary value problems, Chapter 1",
    tolerance=1e-11,
)
def test_a_spectral_convolution_is_the_green_function_of_a_screened_equation() -> float:
    layer, kappa = SpectralConvolution(1, 1, (MODES,)).double(), 3.0
    set_symbol(layer, 1 / ((2 * np.pi * np.arange(MODES)) ** 2 + kappa**2))

    def at(x: float) -> float:
        """The integral once round from x, so that the kink of G lies at its ends."""

        def part(s: float) -> float:
            green = np.cosh(kappa * (s - 0.5)) / (2 * kappa * np.sinh(kappa / 2))
            return green * float(smooth(np.array(x - s)))

        return quad(part, 0, 1, epsabs=1e-13, epsrel=1e-13)[0]

    exact = np.array([at(x) for x in circle()])
    return deviation(layer(torch.from_numpy(smooth(circle()))[None, None])[0, 0], exact)


@correspondence(
    architecture="block of a Fourier neural operator",
    explains=("FourierBlock", "FNO"),
    level="layer",
    equation="v_t = nu v_xx for a time, then v -> s(v) at each point",
    discretisation="operator splitting of Lie: linear part exact, pointwise map exact",
    follows="depth of an FNO is steps of a split equation: few waves suffice, as pointwise maps make the others anew",
    source="Li et al. (2021), Fourier neural operator for parametric partial differential equations, Eq. 2; Trotter "
    "(1959), On the product of semi-groups of operators",
    tolerance=1e-12,
)
def test_blocks_of_an_fno_are_split_steps_of_diffusion_and_reaction() -> float:
    """Two blocks; between them the function has waves that the second drops, as the projection on those kept does."""
    blocks, spread = [FourierBlock(1, (MODES,)).double() for _ in range(2)], 0.05
    v = torch.from_numpy(smooth(circle())).view(POINTS, 1, 1)
    for block in blocks:
        set_symbol(block.kernel, np.exp(-((2 * np.pi * np.arange(MODES) * spread) ** 2) / 2))
        for each in block.local.parameters():
            nn.init.zeros_(each)
        v = block(v)
    u, fine = smooth(circle()), np.arange(512) / 512
    waves = np.arange(MODES)
    for _ in range(2):
        cosines, sines = (f(2 * np.pi * np.outer(waves, circle())) @ u / POINTS for f in (np.cos, np.sin))
        angle = 2 * np.pi * np.outer(waves, fine)
        kept = (np.where(waves, 2, 1) * cosines) @ np.cos(angle) + 2 * sines @ np.sin(angle)
        u = heat_kernel(circle()[:, None] - fine, spread) @ kept / 512
        u = u * (1 + erf(u / np.sqrt(2))) / 2
    return deviation(v[:, 0, 0], u)


@correspondence(
    architecture="block of a factorized Fourier neural operator",
    explains=("FactorizedFNO",),
    level="layer",
    equation="u_t = nu (u_xx + u_yy)",
    discretisation="Fourier series along each axis, forward Euler in time",
    follows="kernels along axes are cheap because symbols add: a Laplacian has that form, its inverse does not",
    source="Tran, Mathews, Xie and Ong (2023), Factorized Fourier neural operators",
    tolerance=1e-12,
)
def test_a_factorized_block_is_an_euler_step_of_the_heat_equation() -> float:
    """A product of waves k and m is an eigenfunction: its amplitude changes by 1 - nu dt (2 pi)^2 (k^2 + m^2).

    The rectifier passes a number by its positive and its negative part.
    """
    block, rate = FactorizedBlock(1, SeparableConvolution(1, (6, 6))).double(), 1e-3
    for kernel in block.kernel.axes:
        assert isinstance(kernel, SpectralConvolution)
        set_symbol(kernel, -((2 * np.pi * np.arange(6)) ** 2))
    first, last = block.feed_forward[0], block.feed_forward[2]
    assert isinstance(first, nn.Linear)
    assert isinstance(last, nn.Linear)
    with torch.no_grad():
        first.weight.copy_(torch.tensor([[1.0], [-1.0]]))
        last.weight.copy_(torch.tensor([[rate, -rate]], dtype=torch.float64))
        first.bias.zero_()
        last.bias.zero_()
    x, y = np.meshgrid(np.arange(16) / 16, np.arange(12) / 12, indexing="ij")
    u, exact = np.zeros_like(x), np.zeros_like(x)
    for k, m, size in ((1, 0, 1.0), (2, 3, -0.7), (5, 1, 0.4)):
        wave = size * np.cos(2 * np.pi * (k * x + m * y) + k)
        u, exact = u + wave, exact + (1 - rate * 4 * np.pi**2 * (k**2 + m**2)) * wave
    return deviation(block(torch.from_numpy(u)[..., None, None])[..., 0, 0], exact)


class Sines(nn.Module):
    """The basis sin(n pi y), n = 1, ..., K, of points (Q, 1)."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.waves = nn.Buffer(math.pi * torch.arange(1, count + 1, dtype=torch.float64))

    def forward(self, y: Tensor) -> Tensor:
        return torch.sin(y * self.waves)


@correspondence(
    architecture="DeepONet with a linear branch",
    explains=("DeepONet",),
    level="model",
    equation="-u'' = f on (0, 1), u = 0 at the ends, u(y) = int min(x, y) (1 - max(x, y)) f(x) dx",
    discretisation="expansion in eigenfunctions, coefficients by the trapezoidal rule at the sensors",
    follows="branch and trunk are the two factors of a Green's function: the size of the basis is its rank",
    source="Lu, Jin, Pang, Zhang and Karniadakis (2021), Learning nonlinear operators via DeepONet based on the "
    "universal approximation theorem of operators, Eq. 2",
    tolerance=1e-11,
)
def test_a_deeponet_with_a_linear_branch_is_a_green_function_of_low_rank() -> float:
    sensors, basis = 31, 10
    net = DeepONet(sensors, 1, basis=basis, branch=()).double()
    net.trunk = nn.Sequential(Sines(basis))
    x, waves = np.arange(1, sensors + 1) / (sensors + 1), np.pi * np.arange(1, basis + 1)
    linear = net.branch[0]
    assert isinstance(linear, nn.Linear)
    with torch.no_grad():
        linear.weight.copy_(torch.from_numpy(2 / waves[:, None] ** 2 * np.sin(np.outer(waves, x)) / (sensors + 1)))
        nn.init.zeros_(linear.bias)

    def force(x: Array | float) -> Array:
        return np.sin(np.pi * x) - 0.5 * np.sin(3 * np.pi * x) + 0.3 * np.sin(8 * np.pi * x)

    def at(y: float) -> float:
        below = quad(lambda x: x * (1 - y) * float(force(x)), 0, y, epsabs=1e-14, epsrel=1e-13)[0]
        return below + quad(lambda x: y * (1 - x) * float(force(x)), y, 1, epsabs=1e-14, epsrel=1e-13)[0]

    seen = np.linspace(0, 1, 15)
    found = net(torch.from_numpy(force(x))[None], torch.from_numpy(seen)[:, None])[0, :, 0]
    return deviation(found, np.array([at(y) for y in seen]))


class Green(nn.Module):
    """The kernel G(x, y) = min(x, y) (1 - max(x, y)) of edges with features (y, x)."""

    def forward(self, e: Tensor) -> Tensor:
        return e.amin(1, keepdim=True) * (1 - e.amax(1, keepdim=True))


def all_edges(n: int) -> Tensor:
    """From every node to every node, itself too."""
    node = torch.arange(n)
    return torch.stack([node.repeat(n), node.repeat_interleave(n)])


@correspondence(
    architecture="layer of a graph kernel network",
    explains=("KernelIntegral", "GraphOperator"),
    level="layer",
    equation="u(x) = int G(x, y) f(y) dy, the solution of -u'' = f with u = 0 at the ends",
    discretisation="midpoint rule: the mean over neighbours, in the limit of their number",
    follows="message passing is a quadrature: more points bring the same operator nearer, they do not make another one",
    source=GKN,
    tolerance=0.02,
    error_of="distance of the measured order from 2",
)
def test_a_mean_over_neighbours_comes_near_the_integral_at_order_two() -> float:
    """f = pi^2 sin(pi x) has u = sin(pi x)."""
    layer, errors = KernelIntegral(1, 2, hidden=(1,)).double(), []
    layer.features = nn.Sequential(Green())
    with torch.no_grad():
        layer.kernel.weight.fill_(1.0)
        nn.init.zeros_(layer.kernel.bias)
    for n in (40, 80):
        x = (np.arange(n) + 0.5) / n
        edges = all_edges(n)
        v = torch.from_numpy(np.pi**2 * np.sin(np.pi * x))[:, None]
        errors.append(deviation(layer(v, torch.from_numpy(x)[edges].T, edges)[:, 0], np.sin(np.pi * x)))
    return abs(order_of(errors) - 2)


class Product(nn.Module):
    """The kernel lambda x y of edges with features (y, its input, x, its input)."""

    def __init__(self, size: float) -> None:
        super().__init__()
        self.size = size

    def forward(self, e: Tensor) -> Tensor:
        return self.size * e[:, :1] * e[:, 2:3]


@correspondence(
    architecture="graph neural operator that shares its layers",
    explains=("GraphOperator", "KernelIntegral"),
    level="model",
    equation="u(x) = f(x) + lambda int x y u(y) dy",
    discretisation="S steps of Picard's iteration: the Neumann series up to its term S",
    follows="depth of a tied network is how many terms of a series it sums: with a small kernel a few will do",
    source=GKN + "; Kress (2014), Linear integral equations, Chapter 2",
    tolerance=1e-12,
)
def test_a_tied_graph_operator_sums_a_neumann_series() -> float:
    """For f = x every term is x times a power of lambda mean(y^2); one channel of the state keeps f."""
    size, steps, n = 1.8, 6, 20
    net = GraphOperator(1, 1, dims=1, width=2, steps=steps, hidden=(1,)).double()
    net.act = nn.Identity()
    integral, local = net.integral[0], net.local[0]
    assert isinstance(integral, KernelIntegral)
    assert isinstance(local, nn.Linear)
    integral.features = nn.Sequential(Product(size))
    with torch.no_grad():
        for each in net.parameters():
            each.zero_()
        net.lift.weight.copy_(torch.tensor([[0.0, 1.0], [0.0, 1.0]]))  # u = f = a at the start
        local.weight.copy_(torch.tensor([[0.0, 1.0], [0.0, 1.0]]))
        integral.kernel.weight[0, 0] = 1.0  # of u, to u
        net.project.weight.copy_(torch.tensor([[1.0, 0.0]]))
    x = np.random.default_rng(0).uniform(size=n)
    points = torch.from_numpy(x)[:, None]
    found = net(points[None], points, all_edges(n))[0, :, 0]
    ratio = size * np.mean(x**2)
    return deviation(found, x * sum(ratio**s for s in range(steps + 1)))


@correspondence(
    architecture="convolution with a fixed kernel",
    explains=("FiniteDifferences", "Grid", "Dirichlet", "Neumann"),
    level="layer",
    equation="u', u'' on (0, 1), u given at one wall and u' at the other",
    discretisation="central differences of accuracy 2, 4 and 6 on padded fields",
    follows="padding is a boundary condition: zeros or copies at the rim say what holds there, right or wrong",
    source="LeVeque (2007), Finite difference methods for ordinary and partial differential equations, Chapters 1, 2",
    tolerance=0.1,
    error_of="largest distance of a measured order from the accuracy",
)
def test_padded_convolutions_have_the_order_of_their_stencils_up_to_the_walls() -> float:
    worst = 0.0
    for accuracy, sizes in ((2, (160, 320)), (4, (80, 160)), (6, (40, 80))):
        for derivative, exact in ((1, lambda x: 3 * np.cos(3 * x + 0.4)), (2, lambda x: -9 * np.sin(3 * x + 0.4))):
            errors = []
            for n in sizes:
                walls = (Dirichlet(math.sin(0.4)), Neumann(3 * math.cos(3.4)))
                grid = Grid((n,), 1.0, (walls,), centring="cell")
                (x,) = (numbers(each) for each in grid.coordinates(torch.zeros(1, dtype=torch.float64)))
                u = torch.from_numpy(np.sin(3 * x + 0.4))
                errors.append(deviation(FiniteDifferences(grid, accuracy).derivative(u, 0, derivative), exact(x)))
            worst = max(worst, abs(order_of(errors) - accuracy))
    return worst


@correspondence(
    architecture="circular convolution of three points",
    explains=("finite_difference_weights", "FiniteDifferences"),
    level="layer",
    equation="d^2/dx^2 on the circle, of symbol -4 sin^2(k h / 2) / h^2 in place of -k^2",
    discretisation="the kernel (1, -2, 1) / h^2",
    follows="a small kernel has the curvature of long waves right and that of the shortest 2.5 times too small",
    source="Trefethen (2000), Spectral methods in MATLAB, Chapters 1 and 3",
    tolerance=1e-12,
)
def test_a_convolution_of_three_points_is_a_second_derivative_with_another_symbol() -> float:
    """The circulant matrix of a framework's own convolution, against its eigenvalues for each wave."""
    h, weights = 1 / POINTS, finite_difference_weights((-1, 0, 1), 2)
    convolution = nn.Conv1d(1, 1, 3, padding=1, padding_mode="circular", bias=False).double()
    with torch.no_grad():
        convolution.weight.copy_(torch.tensor(weights, dtype=torch.float64) / h**2)
    waves = np.arange(POINTS // 2 + 1)
    u = np.random.default_rng(0).normal(size=POINTS)
    symbol = -4 / h**2 * np.sin(np.pi * waves * h) ** 2
    return deviation(convolution(torch.from_numpy(u)[None, None])[0, 0], np.fft.irfft(symbol * np.fft.rfft(u), POINTS))
