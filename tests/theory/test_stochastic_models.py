"""Models of stochastic equations: noisy residual networks, their laws, and what a path costs in information."""

from collections.abc import Callable

import numpy as np
import torch
from correspondence import correspondence
from deviation import Array, deviation, numbers, order_of
from scipy.integrate import quad, solve_ivp
from torch import Tensor, nn

from integrand.core.fields import MLP, ConstantDiffusion, DiagonalDiffusion, Linear
from integrand.core.layers import S5
from integrand.core.models import LatentSDE, NeuralSDE
from integrand.core.numerics.stochastic.brownian import BrownianPath, Increments


class Given:
    """Increments of Brownian motion of unit intervals of a grid, (S, B, M), scaled by the roots of the steps."""

    def __init__(self, normals: Tensor) -> None:
        self.normals = normals

    def increments(self, grid: Tensor, *, area: bool = False) -> Increments:
        """See ``Brownian``."""
        steps = grid.diff().to(self.normals)
        assert len(steps) == len(self.normals), "one number is given for each step"
        return Increments(self.normals * steps.sqrt()[:, None, None], None)


class Fine:
    """A path known at equal times, (n + 1, B, M), from which coarser grids take their increments."""

    def __init__(self, path: Tensor, end: float) -> None:
        self.path, self.end = path, end

    def increments(self, grid: Tensor, *, area: bool = False) -> Increments:
        """See ``Brownian``."""
        places = (grid / self.end * (len(self.path) - 1)).round().long()
        return Increments(self.path[places].diff(dim=0), None)


class Scaled(nn.Module):
    """The field factor * y."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, t: Tensor, y: Tensor, c: Tensor | None = None) -> Tensor:
        return self.factor * y


class Constant(nn.Module):
    """The diffusion g = size in every component."""

    def __init__(self, size: float) -> None:
        super().__init__()
        self.size = size

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return torch.full_like(y, self.size)


def branch(field: MLP, y: Array) -> Array:
    first, last = field.layers[0], field.layers[2]
    assert isinstance(first, nn.Linear)
    assert isinstance(last, nn.Linear)
    hidden = np.tanh(y @ numbers(first.weight).T + numbers(first.bias))
    return hidden @ numbers(last.weight).T + numbers(last.bias)


@correspondence(
    architecture="residual network with noise in every block",
    explains=("NeuralSDE", "DiagonalDiffusion"),
    level="model",
    equation="dy = f(y) dt + g(y) dW",
    discretisation="Euler-Maruyama, unit steps",
    follows="noise that is to survive in the limit of depth must fall with the root of a block's length, not faster",
    source="Tzen and Raginsky (2019), Neural stochastic differential equations: deep latent Gaussian models in the "
    "diffusion limit",
    tolerance=1e-12,
)
def test_unit_euler_maruyama_steps_are_a_residual_network_with_noise() -> float:
    torch.manual_seed(0)
    drift, diffusion = MLP(3, (5,)).double(), DiagonalDiffusion(3).double()
    path = BrownianPath([1, 2, 3, 4], 3, 0.0, 6.0, dtype=torch.float64)
    y = np.random.default_rng(0).normal(size=(4, 3))
    model = NeuralSDE(drift, diffusion, step_size=1.0)
    found = model(torch.from_numpy(y), [0.0, 6.0], brownian=path).states[:, -1]
    noise = np.diff(numbers(path(torch.arange(7.0, dtype=torch.float64))), axis=1)
    w_in, b_in, w_out, b_out = (numbers(each) for each in diffusion.parameters())
    for block in range(6):
        hidden = np.tanh(y[..., None] * w_in + b_in)
        scale = np.logaddexp(0, (hidden * w_out).sum(-1) + b_out) + diffusion.least
        y = y + branch(drift, y) + scale * noise[:, block]
    return deviation(found, y)


@correspondence(
    architecture="noisy residual network whose noise is turned off",
    explains=("NeuralSDE", "NeuralODE"),
    level="model",
    equation="dy/dt = f(y)",
    discretisation="Euler-Maruyama with g = 0, in the limit of its steps",
    follows="a deterministic network is the quiet end of a noisy one, so that g measures how much noise is worth",
    source="Liu, Xiao, Si, Cao, Kumar and Hsieh (2019), Neural SDE: stabilizing neural ODE networks with stochastic "
    "noise",
    tolerance=0.02,
    error_of="distance of the measured order from 1",
)
def test_a_neural_sde_without_noise_is_a_neural_ode() -> float:
    torch.manual_seed(0)
    drift, y0, errors = MLP(3, (5,)).double(), np.random.default_rng(0).normal(size=3), []
    exact = solve_ivp(lambda t, y: branch(drift, y), (0, 1), y0, "DOP853", rtol=1e-12, atol=1e-13).y[:, -1]
    for steps in (200, 400):
        model = NeuralSDE(drift, Constant(0.0), step_size=1 / steps)
        errors.append(deviation(model(torch.from_numpy(y0)[None], [0.0, 1.0], seeds=[0]).states[0, -1], exact))
    return abs(order_of(errors) - 1)


@correspondence(
    architecture="linear network with additive noise in every block",
    explains=("NeuralSDE", "ConstantDiffusion", "Linear"),
    level="model",
    equation="dy = (A y + b) dt + G dW, dm/dt = A m + b, dP/dt = A P + P A^T + G G^T",
    discretisation="Euler-Maruyama, in the limit of its steps",
    follows="where noise is additive mean and covariance obey equations of their own: no samples are needed for them",
    source="Sarkka and Solin (2019), Applied stochastic differential equations, Section 6.1",
    tolerance=0.02,
    error_of="distance of the measured order from 1",
)
def test_a_linear_neural_sde_has_the_moments_of_an_ornstein_uhlenbeck_process() -> float:
    """Euler's states are linear in the noise: those for each draw alone, squared and added, are the covariance."""
    torch.manual_seed(0)
    drift, diffusion, end = Linear(2).double(), ConstantDiffusion(2).double(), 1.0
    linear = drift.map[0]
    assert isinstance(linear, nn.Linear)
    a, b, g = numbers(linear.weight), numbers(linear.bias), numbers(diffusion.matrix)

    def slope(t: float, state: Array) -> Array:
        m, p = state[:2], state[2:].reshape(2, 2)
        return np.concatenate([a @ m + b, (a @ p + p @ a.T + g @ g.T).ravel()])

    y0, errors = np.array([0.8, -0.5]), []
    exact = solve_ivp(slope, (0, end), np.append(y0, np.zeros(4)), "DOP853", rtol=1e-12, atol=1e-14).y[:, -1]
    for steps in (100, 200):
        normals = torch.zeros(steps, 1 + 2 * steps, 2, dtype=torch.float64)
        for step in range(steps):
            for channel in range(2):
                normals[step, 1 + 2 * step + channel, channel] = 1
        model = NeuralSDE(drift, diffusion, noise="additive", step_size=end / steps)
        starts = torch.from_numpy(y0).expand(1 + 2 * steps, 2)
        mean, *rest = numbers(model(starts, [0.0, end], brownian=Given(normals)).states[:, -1])
        parts = np.stack(rest) - mean
        errors.append(deviation(np.concatenate([mean, (parts.T @ parts).ravel()]), exact))
    return abs(order_of(errors) - 1)


@correspondence(
    architecture="residual network with multiplicative noise",
    explains=("NeuralSDE",),
    level="model",
    equation="dy = mu y dt + s y dW, y(t) = y_0 exp((mu - s^2 / 2) t + s W(t))",
    discretisation="Euler-Maruyama of strong order 1/2, Milstein's method of order 1",
    follows="to halve the error of a path Euler needs four times the blocks and Milstein twice as many",
    source="Kloeden and Platen (1992), Numerical solution of stochastic differential equations, Theorems 10.2.2 and "
    "10.3.5",
    tolerance=0.1,
    error_of="largest distance of a measured strong order from 1/2 and 1",
)
def test_geometric_brownian_motion_is_reached_at_the_strong_orders() -> float:
    """Against the closed form on the same 4096 paths, whose mean square error has a spread of a few percent."""
    drift, scale, end, fine = 0.5, 0.8, 1.0, 256
    steps = torch.randn(fine, 4096, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    path = torch.cat([torch.zeros(1, 4096, 1).double(), (steps * (end / fine) ** 0.5).cumsum(0)])
    exact = np.exp((drift - scale**2 / 2) * end + scale * numbers(path[-1]))
    worst = 0.0
    for method, order in (("euler", 0.5), ("milstein", 1.0)):
        errors = []
        for count in (64, 256):
            model = NeuralSDE(Scaled(drift), Scaled(scale), method=method, step_size=end / count)
            found = model(torch.ones(4096, 1).double(), [0.0, end], brownian=Fine(path, end)).states[:, -1]
            errors.append(float(np.sqrt(((numbers(found) - exact) ** 2).mean())))
        worst = max(worst, abs(order_of(errors, refinement=4.0) - order))
    return worst


class Chain:
    """A latent SDE of one dimension whose prior and posterior are Ornstein-Uhlenbeck processes; steps of 1 / S."""

    def __init__(self, steps: int) -> None:
        torch.manual_seed(0)
        self.of_posterior, self.of_prior, self.noise, self.steps = -0.4, -1.3, 0.7, steps
        self.model = LatentSDE(
            2,
            1,
            S5(4, d_state=4),
            posterior_drift=Scaled(self.of_posterior),
            prior_drift=Scaled(self.of_prior),
            diffusion=Constant(self.noise),
            step_size=1 / steps,
        ).double()
        with torch.no_grad():
            self.model.prior_mean.fill_(0.3)
            self.model.prior_log_std.fill_(-0.2)

    def expected(self, of: Callable[[Tensor], Tensor]) -> float:
        """Return the mean over all noise of a quadratic function of it, from its values along the axes."""
        size = self.steps + 1  # of the start and of each step
        axes = torch.eye(size, dtype=torch.float64)
        draws = torch.cat([torch.zeros(1, size).double(), axes, -axes])
        values = numbers(of(draws))
        return float(values[0] + ((values[1 : 1 + size] + values[1 + size :]) / 2 - values[0]).sum())

    def infer(self, draws: Tensor) -> "tuple[Tensor, Tensor, Tensor, Tensor]":
        """Return mean and deviation of the start, its divergence and the path's, for noise (B, 1 + S)."""
        rows, random = len(draws), np.random.default_rng(0)
        features = torch.from_numpy(random.normal(size=(1, 4, 2))).expand(rows, 4, 2)
        found = self.model(
            features,
            torch.linspace(0, 1, 4).double(),
            torch.ones(rows, 4, dtype=torch.bool),
            [0.0, 1.0],
            noise=draws[:, :1],
            brownian=Given(draws[:, 1:].T.unsqueeze(-1)),
        )
        return found.mean[0], found.std[0], found.start_kl, found.path_kl


@correspondence(
    architecture="latent SDE as a deep latent Gaussian model",
    explains=("LatentSDE",),
    level="model",
    equation="KL of the joint law of all states under posterior and prior, KL(start) + E int |(f - h) / g|^2 / 2 dt",
    discretisation="Euler-Maruyama: two Gaussian Markov chains",
    follows="the divergence is exact for the chain that is simulated, so the bound holds at any length of steps",
    source="Li, Wong, Chen and Duvenaud (2020), Scalable gradients for stochastic differential equations, Section 5",
    tolerance=1e-10,
)
def test_the_divergence_of_a_latent_sde_is_that_of_two_gaussian_chains() -> float:
    """The states of a chain are jointly normal, and the divergence of two normal laws is known."""
    chain = Chain(8)
    found = chain.expected(lambda draws: torch.stack(chain.infer(draws)[2:]).sum(0))
    mean, std, *_ = chain.infer(torch.zeros(1, 9).double())

    def law(rate: float, m: float, s: float) -> tuple[Array, Array]:
        step, powers = 1 + rate / 8, np.arange(9)
        from_draws = np.tril(step ** np.clip(powers[:, None] - powers, 0, None))
        scales = np.array([s**2, *[chain.noise**2 / 8] * 8])
        return m * step**powers, from_draws * scales @ from_draws.T

    m, p = law(chain.of_posterior, mean.item(), std.item())
    n, q = law(chain.of_prior, 0.3, np.exp(-0.2))
    ratio = np.linalg.solve(q, p)
    away = n - m
    exact = (np.trace(ratio) - 9 - np.linalg.slogdet(ratio)[1] + away @ np.linalg.solve(q, away)) / 2
    return deviation(np.array(found), np.array(exact))


@correspondence(
    architecture="latent SDE",
    explains=("LatentSDE",),
    level="model",
    equation="KL of two Ornstein-Uhlenbeck processes, (a - b)^2 / (2 g^2) int E[z^2] dt",
    discretisation="Girsanov's integral by Euler-Maruyama, in the limit of its steps",
    follows="the penalty is the energy with which data push paths off the prior, so that a better prior costs less",
    source="Li, Wong, Chen and Duvenaud (2020), Scalable gradients for stochastic differential equations, Section 5; "
    "Oksendal (2003), Stochastic differential equations, Section 8.6",
    tolerance=0.02,
    error_of="distance of the measured order from 1",
)
def test_the_path_divergence_comes_near_that_of_two_ornstein_uhlenbeck_processes() -> float:
    errors = []
    for steps in (80, 160):
        chain = Chain(steps)
        mean, std, *_ = chain.infer(torch.zeros(1, 1 + steps).double())
        rate, start = chain.of_posterior, mean.item() ** 2 + std.item() ** 2

        def square(t: float, rate: float = rate, start: float = start, noise: float = chain.noise) -> float:
            """E[z(t)^2] of the posterior."""
            return start * np.exp(2 * rate * t) + noise**2 * np.expm1(2 * rate * t) / (2 * rate)

        exact = (chain.of_prior - rate) ** 2 / (2 * chain.noise**2) * quad(square, 0, 1, epsrel=1e-12)[0]
        errors.append(abs(chain.expected(lambda draws, chain=chain: chain.infer(draws)[3]) - exact))
    return abs(order_of(errors) - 1)
