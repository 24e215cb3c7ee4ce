"""Deterministic samplers: which method for which equation each of them is, and the order that it has.

They walk three Gaussians in the plane, whose score is known, and are held against scipy.
"""

from collections.abc import Callable
from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from correspondence import correspondence
from deviation import Array, deviation, order_of
from scipy.integrate import quad, solve_ivp
from torch import Tensor
from variance_preserving import END, PROCESS, START, alpha, beta, sigma

from integrand.core.diffusion import SAMPLERS, ProbabilityFlow, optimal_times, step_times

WEIGHTS, SPREADS = np.array([0.5, 0.3, 0.2]), np.array([0.6, 0.8, 0.5])
CENTRES = np.array([[1.5, 0.0], [-1.0, 1.0], [0.0, -1.8]])


def score(t: float, x: Array) -> Array:
    """The slope of log sum_k w_k N(x; alpha mu_k, (alpha s_k)^2 + sigma^2), for x (B, 2)."""
    variances = (alpha(t) * SPREADS) ** 2 + sigma(t) ** 2
    away = x[:, None] - alpha(t) * CENTRES
    logs = np.log(WEIGHTS / variances) - (away**2).sum(2) / (2 * variances)
    shares = np.exp(logs - logs.max(1, keepdims=True))
    shares /= shares.sum(1, keepdims=True)
    return -(shares[..., None] * away / variances[:, None]).sum(1)


def denoiser(t: Tensor, x: Tensor) -> Tensor:
    """E[x_0 | x_t = x], the mean of what each Gaussian says by their chances."""
    a, s = PROCESS.alpha(t), PROCESS.sigma(t)
    variances = (a * torch.from_numpy(SPREADS)).square() + s.square()
    away = x.unsqueeze(1) - a * torch.from_numpy(CENTRES)
    chances = torch.softmax((torch.from_numpy(WEIGHTS) / variances).log() - away.square().sum(2) / (2 * variances), 1)
    gains = a * torch.from_numpy(SPREADS).square() / variances
    return (chances.unsqueeze(2) * (torch.from_numpy(CENTRES) + gains.unsqueeze(1) * away)).sum(1)


@cache
def starts() -> Array:
    return np.random.default_rng(3).normal(size=(12, 2))


@cache
def ends() -> Array:
    """Where dx/dt = -beta/2 (x + score) takes them, by scipy in t: no lambda and no denoiser in it."""

    def slope(t: float, x: Array) -> Array:
        points = x.reshape(-1, 2)
        return (-beta(t) / 2 * (points + score(t, points))).ravel()

    return solve_ivp(slope, (END, START), starts().ravel(), "DOP853", rtol=1e-12, atol=1e-13).y[:, -1].reshape(-1, 2)


def walked(name: str, steps: int, **options: Any) -> Tensor:
    times = step_times(PROCESS, steps, spacing="log_snr", final="stop")
    flow = ProbabilityFlow(PROCESS, denoiser)
    return SAMPLERS[name].function(flow, torch.from_numpy(starts()), times, **options)


class Row(NamedTuple):
    """What is said of a deterministic sampler, and the steps at which its order is seen."""

    name: str
    architecture: str
    equation: str
    discretisation: str
    follows: str
    source: str
    steps: tuple[int, int]


IN_LEVEL = "dy/dlambda = -y + D(alpha y), y = x / alpha"
IN_TIME = "dx/dt = -beta/2 (x + score)"
SONG = (
    "Song, Sohl-Dickstein, Kingma, Kumar, Ermon and Poole (2021), Score-based generative modeling through stochastic "
)
LU = "Lu, Zhou, Bao, Chen, Li and Zhu (2022), DPM-Solver++: fast solver for guided sampling of diffusion probabilistic "
DETERMINISTIC = (
    Row(
        "ddim",
        "DDIM",
        IN_LEVEL,
        "exponential Euler: the denoiser held over a step",
        "exact where the denoiser does not change, so few steps do at both ends and the budget belongs in the middle",
        "Song, Meng and Ermon (2021), Denoising diffusion implicit models, Eq. 12 with sigma = 0",
        (200, 400),
    ),
    Row(
        "euler",
        "Euler sampler",
        IN_TIME,
        "forward Euler in the process's time",
        "it is of DDIM's order but not exact in the linear part, which it pays for where the noise changes fast",
        SONG + "differential equations, Eq. 13",
        (800, 1600),
    ),
    Row(
        "heun",
        "EDM's deterministic sampler",
        IN_TIME,
        "Heun's method in the process's time",
        "a second evaluation a step buys an order: twice the steps, a quarter of the error",
        "Karras, Aittala, Aila and Laine (2022), Elucidating the design space of diffusion-based generative models, "
        "Algorithm 1",
        (800, 1600),
    ),
    Row(
        "dpmpp_2m",
        "DPM-Solver++ 2M",
        IN_LEVEL,
        "two-step exponential Adams-Bashforth",
        "the last answer, kept, gives order 2 at the price of DDIM",
        LU + "models, Algorithm 2",
        (200, 400),
    ),
    Row(
        "dpmpp_3m",
        "DPM-Solver++ 3M with its second difference doubled",
        IN_LEVEL,
        "three-step exponential Adams-Bashforth",
        "a parabola through the last three answers gives order 3 with one evaluation a step",
        LU + "models, Appendix B; Hochbruck and Ostermann (2010), Exponential integrators, Section 4",
        (200, 400),
    ),
    Row(
        "dpmpp_3m_published",
        "DPM-Solver++ 3M as published",
        IN_LEVEL,
        "three-step exponential method with half the parabola's curvature",
        "its order is 2, so that from some number of steps on the true third-order form is nearer",
        LU + "models, its published code, multistep of third order",
        (200, 400),
    ),
    Row(
        "unipc",
        "UniPC",
        IN_LEVEL,
        "exponential Adams-Bashforth predictor and Adams-Moulton corrector",
        "the evaluation that the next step needs anyhow corrects the last, for one order more at no cost",
        "Zhao, Bai, Rao, Zhou and Lu (2023), UniPC: a unified predictor-corrector framework for fast sampling of "
        "diffusion models, Algorithms 1 and 2",
        (200, 400),
    ),
    Row(
        "dpmpp_2s",
        "DPM-Solver++ 2S",
        IN_LEVEL,
        "exponential midpoint rule",
        "steps need no past, so their lengths may change freely and guidance may jump from one to the next",
        LU + "models, Algorithm 1",
        (200, 400),
    ),
    Row(
        "dpmpp_3s",
        "DPM-Solver++ 3S",
        IN_LEVEL,
        "exponential Runge-Kutta with stages at a third and two thirds",
        "the third-order method for parabolic equations, order 3 for stiff linear parts",
        LU
        + "models, Appendix B; Hochbruck and Ostermann (2005), Explicit exponential Runge-Kutta methods for semilinear "
        "parabolic problems, Section 5.2",
        (200, 400),
    ),
    Row(
        "exponential_rk2",
        "exponential Runge-Kutta sampler of order 2",
        IN_LEVEL,
        "exponential Runge-Kutta with a stage halfway",
        "the exact weight of the second answer costs nothing over a midpoint's",
        "Hochbruck and Ostermann (2010), Exponential integrators, Section 2.3",
        (200, 400),
    ),
    Row(
        "exponential_rk3",
        "ETDRK3 as a sampler",
        IN_LEVEL,
        "exponential Runge-Kutta with stages halfway and at the end",
        "methods made for stiff PDEs are samplers as they stand, for both are a linear part and a slow rest",
        "Cox and Matthews (2002), Exponential time differencing for stiff systems, Eqs. 23 to 25",
        (200, 400),
    ),
    Row(
        "exponential_rk4",
        "ETDRK4-B as a sampler",
        IN_LEVEL,
        "Krogstad's exponential Runge-Kutta method",
        "order 4 is for reference solutions and inversions, where many digits are worth four evaluations a step",
        "Krogstad (2005), Generalized integrating factor methods for stiff PDEs",
        (100, 200),
    ),
)


def deterministic_row(row: Row) -> Callable[[], None]:
    """Return the test that a sampler's states come near scipy's at its declared order."""
    order = SAMPLERS[row.name].order

    def measure() -> float:
        return abs(order_of([deviation(walked(row.name, steps), ends()) for steps in row.steps]) - order)

    measure.__name__ = f"test_{row.name}_has_order_{order}_on_three_gaussians"
    return correspondence(
        architecture=row.architecture,
        explains=(row.name,),
        level="sampler",
        equation=row.equation,
        discretisation=row.discretisation,
        follows=row.follows,
        source=row.source,
        tolerance=0.05,
        error_of=f"distance of the measured order from {order}",
    )(measure)


for _row in DETERMINISTIC:
    _test = deterministic_row(_row)
    globals()[_test.__name__] = _test


@correspondence(
    architecture="DDIM",
    explains=("ddim",),
    level="sampler",
    equation="dx/dt = -beta/2 x + beta/2 (x - alpha D) / sigma^2 with D held over a step",
    discretisation="exact",
    follows="a step of any length is right once the denoiser has made up its mind: the last steps may be long",
    source="Lu, Zhou, Bao, Chen, Li and Zhu (2022), DPM-Solver: a fast ODE solver for diffusion probabilistic model "
    "sampling in around 10 steps, Section 4.1",
    tolerance=1e-9,
)
def test_a_step_of_ddim_solves_the_flow_of_a_held_answer() -> float:
    times = [1.0, 0.6, 0.3, 0.01]
    held, x, found = [1.3, -0.4, 0.9], 0.8, []
    answers = iter(held)
    flow = ProbabilityFlow(PROCESS, lambda t, x: torch.full_like(x, next(answers)))
    SAMPLERS["ddim"].function(
        flow, torch.full((1, 1), x, dtype=torch.float64), times, callback=lambda step, t, x: found.append(x.item())
    )
    exact = []
    for i, clean in enumerate(held):

        def slope(t: float, x: Array, clean: float = clean) -> Array:
            return -beta(t) / 2 * x + beta(t) / 2 * (x - alpha(t) * clean) / sigma(t) ** 2

        x = solve_ivp(slope, (times[i], times[i + 1]), [x], "DOP853", rtol=1e-12, atol=1e-13).y[0, -1]
        exact.append(x)
    return deviation(np.array(found), np.array(exact))


@correspondence(
    architecture="black-box ODE sampler",
    explains=("ode",),
    level="sampler",
    equation=IN_TIME,
    discretisation="any method of solve_ode; here an adaptive one of order 8",
    follows="noise and data are two ends of one invertible map, so an image has a code, and tolerances say how exact",
    source=SONG + "differential equations, Section 4.3",
    tolerance=1e-9,
)
def test_an_ode_solver_walks_the_probability_flow() -> float:
    return deviation(walked("ode", 1, solver="dopri8", rtol=1e-12, atol=1e-12), ends())


@correspondence(
    architecture="time steps chosen for a model",
    explains=("optimal_times",),
    level="sampler",
    equation="int from each time to the next of |dD/dlambda|^(1/2) weighted, dlambda = const",
    discretisation="equal errors: differences of a pilot's answers in place of the derivative",
    follows="steps belong where the denoiser changes its mind; a pilot of some tens of samples tells where that is",
    source="de Boor (1973), Good approximation by splines with variable knots",
    tolerance=2e-3,
    error_of="largest difference of a step's share of the error from 1 / steps, relative to it",
)
def test_chosen_times_share_out_the_error_evenly() -> float:
    """Along a path of data N(0, s^2), D = s^2 z / sqrt(s^2 + u) with u = e^(-2 lambda) and z of the path."""
    spread, steps, floor = 0.6, 8, 0.5

    def linear(t: Tensor, x: Tensor) -> Tensor:
        a, s = PROCESS.alpha(t), PROCESS.sigma(t)
        return a * spread**2 / ((a * spread).square() + s.square()) * x

    z = torch.tensor([[-(0.5**0.5)], [0.5**0.5]], dtype=torch.float64)  # of standard deviation 1
    first = ((alpha(END) * spread) ** 2 + sigma(END) ** 2) ** 0.5
    times = optimal_times(
        ProbabilityFlow(PROCESS, linear), first * z, steps, order=1, final="stop", pilot_steps=2000, floor=floor
    )
    levels = [float(np.log(alpha(t) / sigma(t))) for t in times.tolist()]
    last = spread**2 / np.sqrt(spread**2 + np.exp(-2 * levels[-1]))

    def share(level: float) -> float:
        u = np.exp(-2 * level)
        return float(np.sqrt(spread**2 * u * (spread**2 + u) ** -1.5 / np.sqrt(last**2 + u) * 0.5**0.5))

    parts = np.array([quad(share, a, b, epsrel=1e-11)[0] for a, b in pairwise(levels)])
    parts += floor * parts.sum() * np.diff(levels) / (levels[-1] - levels[0])
    return deviation(parts / parts.sum(), np.full(steps, 1 / steps))


def test_every_deterministic_sampler_has_a_row():
    said = {each.name for each in DETERMINISTIC} | {"ode"}
    assert said == {name for name, sampler in SAMPLERS.items() if not sampler.stochastic}
