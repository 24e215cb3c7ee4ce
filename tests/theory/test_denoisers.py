"""What is built on a denoiser: flow maps, guidance and inverse problems, for data whose law is known."""

from typing import Any

import numpy as np
import torch
from correspondence import correspondence
from deviation import deviation, numbers
from scipy.integrate import quad
from torch import Tensor
from variance_preserving import END, PROCESS, START, alpha, sigma

from integrand.core.diffusion import ProbabilityFlow, Process
from integrand.core.diffusion.flow_map import FlowMap
from integrand.core.diffusion.gaussian_denoiser import GaussianDenoiser
from integrand.core.diffusion.guidance import GuidedFlow
from integrand.core.diffusion.posterior import PosteriorFlow

MEAN, SCALE = 0.7, 0.6


def double(value: Any) -> Tensor:
    return torch.as_tensor(value, dtype=torch.float64)


def gaussian(process: Process, mean: float = MEAN, scale: float = SCALE) -> ProbabilityFlow:
    def denoiser(t: Tensor, x: Tensor) -> Tensor:
        a, s = process.alpha(t), process.sigma(t)
        return mean + a * scale**2 / ((a * scale).square() + s.square()) * (x - a * mean)

    return ProbabilityFlow(process, denoiser)


@correspondence(
    architecture="distilled one-step generator (flow map)",
    explains=("FlowMap",),
    level="model",
    equation="X(x, t, s) of dx/dt = v, with X(X(x, t, u), u, s) = X(x, t, s)",
    discretisation="exact, in any number of steps",
    follows="a distilled model is a solution operator: agreement of one step with two is a test that needs no data",
    source="Boffi, Albergo and Vanden-Eijnden (2025), Flow map matching with stochastic interpolants, on the semigroup "
    "property",
    tolerance=1e-9,
)
def test_an_exact_flow_map_gives_the_same_in_any_number_of_steps() -> float:
    """Its mean is a quadrature in lambda of the denoiser along a path; the end is known, for normal laws keep z."""

    def spread(t: float) -> float:
        return float(np.sqrt((alpha(t) * SCALE) ** 2 + sigma(t) ** 2))

    def level(t: float) -> float:
        return float(np.log(alpha(t) / sigma(t)))

    def mean(t: Tensor, s: Tensor, x: Tensor) -> Tensor:
        """Along a path D = m + s^2 z / sqrt(s^2 + e^(-2 lambda)) with z = (x_t - alpha m) / spread held."""
        low, high = level(float(t)), level(float(s))

        def part(l: float) -> float:  # noqa: E741
            return np.exp(l - high) * SCALE**2 / np.sqrt(SCALE**2 + np.exp(-2 * l))

        total = quad(part, low, high, epsrel=1e-13)[0] / -np.expm1(low - high)
        return MEAN + total * (x - alpha(float(t)) * MEAN) / spread(float(t))

    flow_map, z = FlowMap(PROCESS, mean), np.array([-2.0, 0.3, 1.5])
    start = double(alpha(END) * MEAN + spread(END) * z)[:, None]
    found = [flow_map.follow(start, np.geomspace(END, START, steps + 1).tolist())[:, 0] for steps in (1, 2, 5)]
    return deviation(torch.stack(found), np.tile(alpha(START) * MEAN + spread(START) * z, (3, 1)))


@correspondence(
    architecture="classifier-free guidance",
    explains=("GuidedFlow",),
    level="sampler",
    equation="score of p_t(x | c)^w p_t(x)^(1 - w)",
    discretisation="exact at each time",
    follows="each time's law is sharpened, not the data's: no diffusion has these marginals, so samples are not of p^w",
    source="Ho and Salimans (2022), Classifier-free diffusion guidance, Eq. 6",
    tolerance=1e-12,
)
def test_guidance_is_the_score_of_a_power_of_two_densities() -> float:
    laws, scale, x = {0: (0.0, 1.0), 1: (1.2, 0.5)}, 2.5, np.linspace(-3, 3, 25)

    def denoiser(t: Tensor, x: Tensor, condition: Tensor) -> Tensor:
        plain, conditional = (gaussian(PROCESS, *laws[k]).denoise(t, x) for k in (0, 1))
        return torch.where(condition == 1, conditional, plain)

    guided = GuidedFlow(ProbabilityFlow(PROCESS, denoiser), torch.zeros(1, 1), scale)
    found, exact = [], []
    for t in (0.05, 0.4, 0.9):
        slopes = [-(x - alpha(t) * m) / ((alpha(t) * s) ** 2 + sigma(t) ** 2) for m, s in laws.values()]
        found.append(numbers(guided.score(double(t), double(x)[:, None], torch.ones(len(x), 1)))[:, 0])
        exact.append(scale * slopes[1] + (1 - scale) * slopes[0])
    return deviation(np.array(found), np.array(exact))


@correspondence(
    architecture="posterior sampling of inverse problems",
    explains=("PosteriorFlow",),
    level="sampler",
    equation="E[x_0 | x_t, y] of y = A x_0 + n for normal data",
    discretisation="exact; the equation in the measurement by conjugate gradients",
    follows="for normal data a measurement is one more regulariser, so that reconstructions can be checked by a solve",
    source="Song, Vahdat, Mardani and Kautz (2023), Pseudoinverse-guided diffusion models for inverse problems, "
    "Eqs. 7 and 8",
    tolerance=1e-10,
)
def test_a_measured_flow_of_normal_data_solves_the_normal_equations() -> float:
    """Three sources of knowledge add their precisions: the prior, the noisy state and the measurement."""
    random = np.random.default_rng(0)
    a, x, y, noise = random.normal(size=(2, 3)), random.normal(size=(4, 3)), random.normal(size=(4, 2)), 0.3
    flow = PosteriorFlow(
        gaussian(PROCESS, 0.0, SCALE),
        lambda x: x @ double(a).T,
        double(y),
        noise=noise,
        data_scale=SCALE,
        iterations=4,
        tolerance=1e-14,
    )
    found, exact = [], []
    for t in (0.1, 0.3, 0.6):
        told, seen = alpha(t) / sigma(t) ** 2, a.T @ a / noise**2
        precision = np.eye(3) * (1 / SCALE**2 + alpha(t) * told) + seen
        found.append(numbers(flow.denoise(double(t), double(x))))
        exact.append(np.linalg.solve(precision, (told * x + y @ a / noise**2).T).T)
    return deviation(np.array(found), np.array(exact))


@correspondence(
    architecture="linear denoiser",
    explains=("GaussianDenoiser",),
    level="model",
    equation="argmin over x_0 of |x - alpha x_0|^2 / sigma^2 + (x_0 - mu)^T C^-1 (x_0 - mu)",
    discretisation="exact",
    follows="at much noise every denoiser is Tikhonov's: a network need only learn what is not normal in the data",
    source="Bishop (2006), Pattern recognition and machine learning, Eqs. 2.116 and 2.117",
    tolerance=1e-11,
)
def test_the_denoiser_of_normal_data_is_a_regularised_least_squares_fit() -> float:
    random = np.random.default_rng(0)
    root, mean, x = random.normal(size=(4, 4)), random.normal(size=4), random.normal(size=(5, 4))
    covariance = root @ root.T
    denoiser, found, exact = GaussianDenoiser(PROCESS, double(mean), double(covariance)), [], []
    for t in (0.05, 0.3, 0.8):
        rows = np.vstack([alpha(t) / sigma(t) * np.eye(4), np.linalg.inv(np.linalg.cholesky(covariance))])
        right = np.hstack([x / sigma(t), np.tile(rows[4:] @ mean, (5, 1))])
        found.append(numbers(denoiser(double(t), double(x))))
        exact.append(np.linalg.lstsq(rows, right.T)[0].T)
    return deviation(np.array(found), np.array(exact))
