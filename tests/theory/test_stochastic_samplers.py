"""Stochastic samplers: which equation each of them is, by what it does to normal data.

Every step is linear there, so that mean and variance of the samples follow without a draw.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from correspondence import correspondence
from deviation import Array, deviation, order_of
from exact_denoisers import sampled_law
from scipy.integrate import solve_ivp
from variance_preserving import PROCESS, START, alpha, beta, sigma

from integrand.core.diffusion import SAMPLERS, step_times

MEAN, SCALE, SNR = 0.7, 0.6, 0.2
SONG = (
    "Song, Sohl-Dickstein, Kingma, Kumar, Ermon and Poole (2021), Score-based generative modeling through stochastic "
)
LU = "Lu, Zhou, Bao, Chen, Li and Zhu (2022), DPM-Solver++: fast solver for guided sampling of diffusion probabilistic "


class Law(NamedTuple):
    """Mean and variance of a normal distribution."""

    mean: float
    variance: float


def law_of_data(t: float) -> Law:
    """Those of x_t for data N(MEAN, SCALE^2)."""
    return Law(alpha(t) * MEAN, (alpha(t) * SCALE) ** 2 + sigma(t) ** 2)


def clean_mean(t: float, x: float) -> float:
    """E[x_0 | x_t = x] for normal data, from the covariance of the two."""
    mean, variance = law_of_data(t)
    return MEAN + alpha(t) * SCALE**2 / variance * (x - mean)


Step = Callable[[float, float], tuple[Callable[[float], float], float]]
"""Called ``step(t, s)``: what a step from t to s makes of x in the mean, and the variance that it adds."""


def recursion(times: Array, step: Step) -> Law:
    """Mean and variance after all steps, each an affine function of x with independent noise added."""
    mean, variance = law_of_data(times[0])
    for i in range(len(times) - 1):
        moved, added = step(times[i], times[i + 1])
        gain = moved(1.0) - moved(0.0)
        mean, variance = moved(mean), gain**2 * variance + added
    return Law(mean, variance)


def posterior(t: float, s: float) -> tuple[Callable[[float, float], float], float]:
    """q(x_s | x_t, x_0) by Bayes' rule: mean as a function of x_t and x_0, and variance.

    Given x_0, x_t is alpha_t / alpha_s x_s with noise added, so that their covariance is alpha_t / alpha_s sigma_s^2.
    """
    covariance, variance = alpha(t) / alpha(s) * sigma(s) ** 2, sigma(t) ** 2
    gain = covariance / variance
    return lambda x, clean: alpha(s) * clean + gain * (x - alpha(t) * clean), sigma(s) ** 2 - gain * covariance


def ancestral_step(t: float, s: float) -> tuple[Callable[[float], float], float]:
    mean, variance = posterior(t, s)
    return lambda x: mean(x, clean_mean(t, x)), variance


def euler_maruyama_step(t: float, s: float) -> tuple[Callable[[float], float], float]:
    """x + (f x - g^2 score) dt, dt < 0, and g^2 |dt|, the score being that of a normal distribution."""
    mean, variance = law_of_data(t)

    def moved(x: float) -> float:
        return x + (s - t) * (-beta(t) / 2 * x + beta(t) * (x - mean) / variance)

    return moved, beta(t) * (t - s)


def held_step(t: float, s: float) -> tuple[Callable[[float], float], float]:
    """The reverse equation dx = (-beta/2 x - beta (alpha D - x) / sigma^2) dt + sqrt(beta) dW with D held, by scipy.

    The state is what x and D have become and the variance that came in.
    """

    def slope(r: float, y: Array) -> Array:
        pull = beta(r) * (1 / sigma(r) ** 2 - 0.5)
        of_clean = pull * y[1] - beta(r) * alpha(r) / sigma(r) ** 2
        return np.array([pull * y[0], of_clean, 2 * pull * y[2] - beta(r)])

    kept, given, added = solve_ivp(slope, (t, s), [1.0, 0.0, 0.0], "DOP853", rtol=1e-11, atol=1e-14).y[:, -1]
    return lambda x: kept * x + given * clean_mean(t, x), added


def corrected_step(t: float, s: float) -> tuple[Callable[[float], float], float]:
    """An ancestral step, and one of Langevin dynamics x + e score + sqrt(2 e) z at its end, e = 2 (r sigma)^2."""
    predicted, variance = ancestral_step(t, s)
    (mean, spread), size = law_of_data(s), 2 * (SNR * sigma(s)) ** 2
    gain = 1 - size / spread

    def moved(x: float) -> float:
        return mean + gain * (predicted(x) - mean)

    return moved, gain**2 * variance + 2 * size


class InLaw(NamedTuple):
    """What is said of a stochastic sampler whose every step is known in closed form."""

    name: str
    architecture: str
    equation: str
    discretisation: str
    follows: str
    source: str
    step: Step
    draws: int = 1
    options: tuple[tuple[str, Any], ...] = ()


REVERSED = "dx = (-beta/2 x - beta score) dt + sqrt(beta) dW, t running back"
SONG = (
    "Song, Sohl-Dickstein, Kingma, Kumar, Ermon and Poole (2021), Score-based generative modeling through stochastic "
)
IN_LAW = (
    InLaw(
        "ancestral",
        "DDPM's ancestral sampling",
        "the Gaussian chain q(x_s | x_t, x_0) with E[x_0 | x_t] for x_0",
        "exact for given clean data",
        "it takes the clean data for known, so its samples have too little variance, with an error of order 1",
        "Ho, Jain and Abbeel (2020), Denoising diffusion probabilistic models, Eqs. 6 and 7",
        ancestral_step,
    ),
    InLaw(
        "euler_maruyama",
        "score SDE sampling",
        REVERSED,
        "Euler-Maruyama in the process's time",
        "noise renews itself on the way, and an error made early is forgotten, where the ODE carries it to the end",
        SONG + "differential equations, Eq. 6",
        euler_maruyama_step,
    ),
    InLaw(
        "sde_dpmpp_1",
        "SDE-DPM-Solver++ 1",
        "dx = (-beta/2 x - beta (alpha D - x) / sigma^2) dt + sqrt(beta) dW with D held over a step",
        "exact",
        "it is DDPM's chain again: ancestral sampling is an exponential integrator of the reverse equation",
        LU + "models, Section 6",
        held_step,
    ),
    InLaw(
        "predictor_corrector",
        "predictor-corrector sampling",
        REVERSED + ", then dx = score dr + sqrt(2) dW at rest",
        "ancestral step, then Euler-Maruyama of Langevin dynamics",
        "the corrector pulls the law towards that of its noise level but leaves a bias of its own of about r^2",
        SONG + "differential equations, Algorithms 1 and 5",
        corrected_step,
        2,
        (("snr", SNR),),
    ),
)


def in_law_row(row: InLaw) -> Callable[[], None]:
    """Return the test that a sampler's mean and variance on normal data are those of its steps written out."""

    def measure() -> float:
        times = step_times(PROCESS, 30, spacing="log_snr", final="stop")
        sampler = partial(SAMPLERS[row.name].function, **dict(row.options))
        found = sampled_law(sampler, PROCESS, times, draws=row.draws)
        return deviation(np.array(found), np.array(recursion(times.numpy(), row.step)))

    measure.__name__ = f"test_{row.name}_moves_a_normal_law_by_its_own_recursion"
    return correspondence(
        architecture=row.architecture,
        explains=(row.name,),
        level="sampler",
        equation=row.equation,
        discretisation=row.discretisation,
        follows=row.follows,
        source=row.source,
        tolerance=1e-9,
        error_of="largest difference of mean and variance, relative to the larger",
    )(measure)


for _each in IN_LAW:
    _test = in_law_row(_each)
    globals()[_test.__name__] = _test


class Converging(NamedTuple):
    """What is said of a stochastic sampler's limit."""

    names: tuple[str, ...]
    order: int
    architecture: str
    discretisation: str
    follows: str
    source: str
    options: tuple[tuple[str, Any], ...] = ()


CONVERGING = (
    Converging(
        ("ancestral", "euler_maruyama", "sde_dpmpp_1"),
        1,
        "stochastic samplers of one evaluation a step",
        "DDPM's chain, Euler-Maruyama and exponential Euler, in the limit of their steps",
        "three names for one limit, the reversed process, at one rate: their differences vanish with the steps",
        SONG + "differential equations, Eq. 6 and Appendix B",
    ),
    Converging(
        ("sde_dpmpp_2m",),
        2,
        "SDE-DPM-Solver++ 2M",
        "two-step exponential Adams-Bashforth, noise exact, in the limit of its steps",
        "as the noise does not depend on the state, a multistep method keeps its order in law",
        LU + "models, Section 6",
    ),
    Converging(
        ("churned",),
        2,
        "EDM's stochastic sampler",
        "noise added, then Heun's method, in the limit of its steps",
        "churn is a forward SDE step before each ODE step: it renews noise at no loss of order when none is left over",
        "Karras, Aittala, Aila and Laine (2022), Elucidating the design space of diffusion-based generative models, "
        "Algorithm 2 with S_noise = 1",
        (("noise_scale", 1.0),),
    ),
)


def converging_row(row: Converging) -> Callable[[], None]:
    """Return the test that variances of samples come near that of the data at an order."""

    def measure() -> float:
        exact, worst = law_of_data(START).variance, 0.0
        for name in row.names:
            sampler, errors = partial(SAMPLERS[name].function, **dict(row.options)), []
            for steps in (400, 800):
                times = step_times(PROCESS, steps, spacing="log_snr", final="stop")
                errors.append(abs(sampled_law(sampler, PROCESS, times).variance - exact))
            worst = max(worst, abs(order_of(errors) - row.order))
        return worst

    measure.__name__ = f"test_{'_and_'.join(row.names)}_come_near_the_law_of_the_data_at_order_{row.order}"
    return correspondence(
        architecture=row.architecture,
        explains=row.names,
        level="sampler",
        equation=REVERSED,
        discretisation=row.discretisation,
        follows=row.follows,
        source=row.source,
        tolerance=0.05,
        error_of=f"largest distance of the measured order of the variance from {row.order}",
    )(measure)


for _limit in CONVERGING:
    _test = converging_row(_limit)
    globals()[_test.__name__] = _test


def test_every_stochastic_sampler_has_a_row():
    said = {each.name for each in IN_LAW} | {name for each in CONVERGING for name in each.names}
    assert said == {name for name, sampler in SAMPLERS.items() if sampler.stochastic}
