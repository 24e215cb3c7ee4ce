"""Diffusion: processes, flows, bridges and what is built on a denoiser, against laws that are known in closed form."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from correspondence import correspondence
from deviation import Array, deviation, numbers
from scipy.integrate import solve_ivp
from scipy.optimize import brentq
from scipy.stats import norm
from torch import Tensor
from variance_preserving import END, PROCESS, START, alpha, beta, sigma

from integrand.core.diffusion import PROCESSES, VP, LinearFlow, ProbabilityFlow, Process, convert
from integrand.core.diffusion.gaussian_bridge import GaussianBridge
from integrand.core.diffusion.interpolants import LinearInterpolant
from integrand.core.diffusion.likelihood import log_prob
from integrand.core.diffusion.matching import flow_matching_loss
from integrand.core.numerics import solve_ode

WEIGHTS, CENTRES, SPREADS = np.array([0.5, 0.3, 0.2]), np.array([1.0, -1.2, -0.7]), np.array([0.6, 0.4, 0.5])
MEAN, SCALE = 0.7, 0.6
SONG = (
    "Song, Sohl-Dickstein, Kingma, Kumar, Ermon and Poole (2021), Score-based generative modeling through stochastic "
    "differential equations"
)


def double(value: Any) -> Tensor:
    return torch.as_tensor(value, dtype=torch.float64)


def mixture(process: Process) -> ProbabilityFlow:
    """Three Gaussians on a line: the denoiser is the mean of what each says, by their chances."""

    def denoiser(t: Tensor, x: Tensor) -> Tensor:
        a, s = process.alpha(t), process.sigma(t)
        variances, away = (a * double(SPREADS)).square() + s.square(), x - a * double(CENTRES)
        chances = torch.softmax((double(WEIGHTS) / variances.sqrt()).log() - away.square() / (2 * variances), dim=-1)
        return (chances * (double(CENTRES) + a * double(SPREADS).square() / variances * away)).sum(-1, keepdim=True)

    return ProbabilityFlow(process, denoiser)


def gaussian(process: Process, mean: float = MEAN, scale: float = SCALE) -> ProbabilityFlow:
    def denoiser(t: Tensor, x: Tensor) -> Tensor:
        a, s = process.alpha(t), process.sigma(t)
        return mean + a * scale**2 / ((a * scale).square() + s.square()) * (x - a * mean)

    return ProbabilityFlow(process, denoiser)


@correspondence(
    architecture="noise schedule",
    explains=("Process", *(kind.__name__ for kind in PROCESSES.values())),
    level="model",
    equation="dx = f x dt + g dW: dm/dt = f m, dV/dt = 2 f V + g^2",
    discretisation="exact",
    follows="a schedule is two functions of time: any two of them are a diffusion whose drift and noise are known",
    source=SONG + ", Section 3.4 and Appendix B",
    tolerance=1e-9,
)
def test_a_schedule_is_the_law_of_its_stochastic_equation() -> float:
    """Moments by scipy from the drift and diffusion of each process, against alpha m and alpha^2 s^2 + sigma^2."""
    worst = 0.0
    for name, kind in PROCESSES.items():
        process = kind()
        first, last = process.start, min(process.end, 0.95) if name.endswith("flow") else process.end

        def slope(t: float, y: Array, process: Process = process) -> Array:
            f, g2 = float(process.drift(double(t))), float(process.squared_diffusion(double(t)))
            return np.array([f * y[0], 2 * f * y[1] + g2])

        def law(t: float, process: Process = process) -> Array:
            a, s = float(process.alpha(double(t))), float(process.sigma(double(t)))
            return np.array([a * MEAN, (a * SCALE) ** 2 + s**2])

        found = solve_ivp(slope, (first, last), law(first), "DOP853", rtol=1e-12, atol=1e-14).y[:, -1]
        worst = max(worst, *(deviation(*pair) for pair in zip(found, law(last), strict=True)))
    return worst


@correspondence(
    architecture="score SDE and its probability-flow ODE",
    explains=("ProbabilityFlow", "euler_maruyama", "VP"),
    level="model",
    equation="dx = (f x - (1 + eta) / 2 g^2 score) dt + sqrt(eta) g dW has one V(t) for all eta",
    discretisation="exact; moments of the reversed equation for eta = 0, 1/2, 1 and 2",
    follows="one trained score serves a whole family of samplers, from the ODE to as much noise as one likes",
    source=SONG + ", Eqs. 6 and 13; Karras, Aittala, Aila and Laine (2022), Elucidating the design space of "
    "diffusion-based generative models, Eq. 6",
    tolerance=1e-9,
)
def test_score_sde_and_probability_flow_share_their_marginals() -> float:
    """The score is linear for normal data, and the package's own: its slope in x moves the variance."""
    field, worst = gaussian(PROCESS), 0.0
    exact = np.array([alpha(START) * MEAN, (alpha(START) * SCALE) ** 2 + sigma(START) ** 2])
    for eta in (0.0, 0.5, 1.0, 2.0):

        def slope(t: float, y: Array, eta: float = eta) -> Array:
            at_zero, at_one = numbers(field.score(double(t), double([[0.0], [1.0]])))[:, 0]
            gain, pull = -beta(t) / 2, -(1 + eta) / 2 * beta(t)
            drift = gain + pull * (at_one - at_zero)
            return np.array([drift * y[0] + pull * at_zero, 2 * drift * y[1] - eta * beta(t)])

        start = np.array([alpha(END) * MEAN, (alpha(END) * SCALE) ** 2 + sigma(END) ** 2])
        found = solve_ivp(slope, (END, START), start, "DOP853", rtol=1e-12, atol=1e-14).y[:, -1]
        worst = max(worst, deviation(found, exact))
    return worst


@correspondence(
    architecture="probability flow of a denoiser",
    explains=("ProbabilityFlow", "VP"),
    level="model",
    equation="dP/dt + v p = 0 for the distribution function P(t, x) of the process",
    discretisation="exact",
    follows="velocity is where probability goes: with an exact denoiser samples have no bias at any time",
    source=SONG + ", Eq. 13 and Appendix D.1",
    tolerance=1e-12,
)
def test_the_probability_flow_solves_the_continuity_equation() -> float:
    """On a line the flux through x is what the distribution function loses; that of a mixture is known."""
    x, found, exact = np.linspace(-3, 3, 61), [], []
    for t in (0.02, 0.2, 0.5, 0.9):
        variances = (alpha(t) * SPREADS) ** 2 + sigma(t) ** 2
        # dV/dt = 2 f V + g^2, d(alpha mu)/dt = f alpha mu.
        rates, away = -beta(t) * variances + beta(t), x[:, None] - alpha(t) * CENTRES
        densities = WEIGHTS * norm.pdf(away, scale=np.sqrt(variances))
        falls = densities * (-beta(t) / 2 * alpha(t) * CENTRES + away * rates / (2 * variances))
        velocity = numbers(mixture(PROCESS)(double(t), double(x)[:, None])[:, 0])
        found.append(velocity * densities.sum(1))
        exact.append(falls.sum(1))
    return deviation(np.array(found), np.array(exact))


@correspondence(
    architecture="likelihood of a diffusion model",
    explains=("log_prob", "ProbabilityFlow"),
    level="model",
    equation="d log p / dt = -div v along dx/dt = v",
    discretisation="an adaptive method from data to noise",
    follows="a diffusion model is a normalising flow: likelihoods are exact up to tolerances, not bounds",
    source=SONG + ", Section 4.3 and Eq. 39",
    tolerance=1e-8,
)
def test_the_likelihood_of_a_flow_is_that_of_the_mixture_it_carries() -> float:
    """At the end, where a ten-thousandth is left of the data, their mean and variance are all that is seen of them."""
    assert abs(WEIGHTS @ CENTRES) < 1e-15
    x, scale = np.linspace(-2.5, 3, 12), float(np.sqrt(WEIGHTS @ (CENTRES**2 + SPREADS**2)))
    options = {"method": "dopri8", "rtol": 1e-10, "atol": 1e-10}
    field = mixture(VP(start=START, end=1.35))
    found = log_prob(field, double(x)[:, None], data_scale=scale, **options).log_prob
    variances = (alpha(START) * SPREADS) ** 2 + sigma(START) ** 2
    return deviation(found, np.log(norm.pdf(x[:, None], alpha(START) * CENTRES, np.sqrt(variances)) @ WEIGHTS))


@correspondence(
    architecture="flow matching with straight paths",
    explains=("LinearFlow", "ProbabilityFlow"),
    level="model",
    equation="dx/dt = E[eps - x_0 | x_t], x_t = (1 - t) x_0 + t eps",
    discretisation="an adaptive method from noise to data",
    follows="paths are straight for pairs but bend in the mean, so one Euler step does not do without a coupling",
    source="Lipman, Chen, Ben-Hamu, Nickel and Le (2023), Flow matching for generative modeling, Eqs. 20 to 23",
    tolerance=1e-9,
)
def test_flow_matching_carries_a_normal_law_by_the_monotone_map() -> float:
    """In one dimension a flow keeps quantiles: x_t is as many standard deviations from its mean as x_1 is."""
    times, z = np.array([1.0, 0.7, 0.4, 0.02]), np.array([-2.0, -0.3, 0.0, 1.1, 2.4])
    deviations = np.sqrt(((1 - times) * SCALE) ** 2 + times**2)
    options = {"method": "dopri8", "rtol": 1e-12, "atol": 1e-12}
    found = solve_ode(gaussian(LinearFlow()), double(z)[:, None], double(times), **options).states[..., 0]
    return deviation(found, (1 - times) * MEAN + np.outer(z, deviations))


@correspondence(
    architecture="flow matching loss",
    explains=("flow_matching_loss", "LinearInterpolant", "LinearFlow"),
    level="training",
    equation="argmin of E |b(x_t) - (x_1 - x_0)|^2 is cov(x_1 - x_0, x_t) / var(x_t) in the linear fields b",
    discretisation="exact: the mean over data and noise by Gauss and Hermite's rule",
    follows="the loss does not fall to 0: what is left is the variance of the velocity given the point, not a bad fit",
    source="Lipman, Chen, Ben-Hamu, Nickel and Le (2023), Flow matching for generative modeling, Theorem 2",
    tolerance=1e-10,
)
def test_the_best_linear_field_for_flow_matching_is_the_velocity_of_a_normal_law() -> float:
    nodes, weights = np.polynomial.hermite_e.hermegauss(6)
    first, second = (each.ravel() for each in np.meshgrid(nodes, nodes))
    chances = double(np.outer(weights, weights).ravel() / (2 * np.pi))
    data, noise = double(MEAN + SCALE * first)[:, None], double(second)[:, None]
    found, exact = [], []
    for t in (0.1, 0.5, 0.8):

        def loss(ab: Tensor, t: float = t) -> Tensor:
            times = torch.full((len(data),), t, dtype=torch.float64)
            each = flow_matching_loss(lambda t, x: ab[0] + ab[1] * x, data, noise, times, LinearInterpolant())
            return chances @ each

        # A quadratic function of (a, b): its slopes and bends are differences of its values.
        none, a, b, both, no_a, no_b = (
            loss(double(ab)).item() for ab in ([0, 0], [1, 0], [0, 1], [1, 1], [-1, 0], [0, -1])
        )
        bend = np.array([[a + no_a - 2 * none, both - a - b + none], [both - a - b + none, b + no_b - 2 * none]])
        found.append(np.linalg.solve(bend, [(no_a - a) / 2, (no_b - b) / 2]))
        variance = ((1 - t) * SCALE) ** 2 + t**2
        gain = (t - (1 - t) * SCALE**2) / variance
        exact.append([-MEAN - gain * (1 - t) * MEAN, gain])
    return deviation(np.array(found), np.array(exact))


def affine(field: Callable[[Tensor, Tensor], Tensor], t: float) -> tuple[float, float]:
    """Value at 0 and slope of a field that is affine in x."""
    at_zero, at_one = numbers(field(double(t), double([[0.0], [1.0]])))[:, 0]
    return at_zero, at_one - at_zero


@correspondence(
    architecture="Schrodinger bridge",
    explains=("SchrodingerBridge", "GaussianBridge", "BrownianBridge"),
    level="model",
    equation="dx = (v + sigma^2 t s) dt + sigma dW from data, its reversal, and dx/dt = v - sigma^2 (1/2 - t) s",
    discretisation="exact; moments of all three equations",
    follows="data and source are coupled by entropic transport, and sigma says how far from the shortest paths",
    source="Bunne, Hsieh, Cuturi and Krause (2023), The Schrodinger bridge between Gaussian measures has a closed "
    "form; Leonard (2014), A survey of the Schrodinger problem and some of its connections with optimal transport",
    tolerance=1e-9,
)
def test_the_equations_of_a_bridge_have_the_marginals_of_entropic_transport() -> float:
    """The covariance of the ends makes E |x_0 - x_1|^2 / (2 sigma^2) less their entropy stationary."""
    m, s, rate = (-0.5, 1.0), (0.7, 1.3), 0.9
    bridge = GaussianBridge(double(m[0]), double(m[1]), scale_0=s[0], scale_1=s[1], sigma=rate)
    most = s[0] * s[1]
    coupled = float(brentq(lambda c: c / (most**2 - c**2) - 1 / rate**2, 0.0, most * (1 - 1e-9), xtol=1e-15))  # pyright: ignore[reportArgumentType]

    def law(t: float) -> Array:
        """Mean and variance of a Brownian bridge between the coupled ends."""
        spread = ((1 - t) * s[0]) ** 2 + (t * s[1]) ** 2 + t * (1 - t) * (2 * coupled + rate**2)
        return np.array([(1 - t) * m[0] + t * m[1], spread])

    worst = 0.0
    ways = ((bridge.forward_drift, 1.0, 0.0, 1.0), (bridge.backward_drift, -1.0, 1.0, 0.0), (bridge, 0.0, 1.0, 0.0))
    for field, noise, first, last in ways:

        def slope(t: float, y: Array, field: Callable[..., Tensor] = field, noise: float = noise) -> Array:
            value, gain = affine(field, t)
            return np.array([value + gain * y[0], 2 * gain * y[1] + noise * rate**2, gain * y[2]])

        start = np.append(law(first), s[round(first)] ** 2)  # and the covariance with where it began
        states = solve_ivp(
            slope, (first, last), start, "DOP853", [0.5 * (first + last), last], rtol=1e-12, atol=1e-14
        ).y
        worst = max(worst, deviation(states[:2], np.stack([law(0.5), law(last)], axis=1)))
        if noise:
            worst = max(worst, deviation(states[2, -1], coupled))
    return worst


@correspondence(
    architecture="v-prediction and velocity prediction",
    explains=("convert", "coefficients", *(kind.__name__ for kind in PROCESSES.values())),
    level="training",
    equation="dx_t/dt of x_t = alpha x_0 + sigma eps with the pair held; v = dx/dphi on the circle alpha = cos phi",
    discretisation="exact",
    follows="what a network is asked for is a choice of units: any prediction is changed into any other after training",
    source="Salimans and Ho (2022), Progressive distillation for fast sampling of diffusion models, on v; Lipman, "
    "Chen, Ben-Hamu, Nickel and Le (2023), Flow matching for generative modeling, Eq. 15",
    tolerance=1e-9,
)
def test_predicted_velocities_are_slopes_of_the_path() -> float:
    """Slopes by central differences of order 8 of the path itself, and the noise turned into velocity and v."""
    random, worst = np.random.default_rng(0), 0.0
    x0, noise = (double(random.normal(size=(5, 2))) for _ in range(2))
    weights = {1: 4 / 5, 2: -1 / 5, 3: 4 / 105, 4: -1 / 280}
    for name, kind in PROCESSES.items():
        process = kind()
        t = 0.4 * process.end
        h = 0.005 * t

        def at(t: float, process: Process = process) -> Array:
            return numbers(process.mix(x0, noise, double(t)))

        slope = np.asarray(sum(w * (at(t + k * h) - at(t - k * h)) / h for k, w in weights.items()))
        x = double(at(t))
        worst = max(worst, deviation(convert(process, noise, x, double(t), source="eps", target="velocity"), slope))
        if name == "trigonometric_flow":
            turned = slope / (np.pi / 2)
            worst = max(worst, deviation(convert(process, noise, x, double(t), source="eps", target="v"), turned))
    return worst
