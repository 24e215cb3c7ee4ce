"""What are samplers of higher order worth to one trained denoiser that may be asked eight times?

The same network is sampled by methods of order one and by methods of higher orders. Either side takes, of two methods,
four spacings of the steps and four last times, what gives samples nearest to validation data.
"""

import time
from functools import cache
from itertools import product
from typing import NamedTuple

import torch
from digit_denoiser import PROCESS, SPACINGS, STARTS, denoiser, digits, energy_distance, flow, noise
from digit_denoiser import STEPS as TRAINING
from experiment import Experiment, Outcome
from torch import Tensor

from integrand.core.diffusion.probability_flow import ProbabilityFlow
from integrand.core.diffusion.samplers import sample
from integrand.core.diffusion.schedule import Spacing, step_times

EVALUATIONS, EXACT = 8, 128
FIRST_ORDER, HIGHER_ORDER = ("euler", "ddim"), ("dpmpp_2m", "unipc")


class Way(NamedTuple):
    """A method of sampling, the spacing of its steps and the last time before 0, as ``step_times`` calls them."""

    method: str
    spacing: Spacing
    start: float


@torch.no_grad()
def drawn(field: ProbabilityFlow, way: Way, start: Tensor, evaluations: int) -> Tensor:
    """Return samples of a way with one evaluation a step."""
    return sample(
        field, start, step_times(PROCESS, evaluations, spacing=way.spacing, start=way.start), method=way.method
    )


def best_way(field: ProbabilityFlow, methods: tuple[str, ...], seed: int, evaluations: int) -> Way:
    """Return the way whose samples are nearest to validation data."""
    start, wanted = noise(1, seed), digits(seed)[1]
    ways = [Way(method, spacing, last) for method, spacing, last in product(methods, SPACINGS, STARTS)]
    return min(ways, key=lambda way: energy_distance(drawn(field, way, start, evaluations), wanted))


@cache
def trained(seed: int, steps: int) -> ProbabilityFlow:
    """Return the flow that both sides sample."""
    return flow(denoiser(seed, steps=steps).network)


def run(seed: int, with_: bool, *, steps: int = TRAINING) -> Outcome:
    """Find the best way of one side and score its samples."""
    field = trained(seed, steps)
    way = best_way(field, HIGHER_ORDER if with_ else FIRST_ORDER, seed, EVALUATIONS)
    start, wanted = noise(2, seed), digits(seed)[2]
    began = time.process_time()
    found = drawn(field, way, start, EVALUATIONS)
    seconds = time.process_time() - began
    exact = drawn(field, Way("dpmpp_2m", "log_snr", PROCESS.start), start, EXACT)
    return Outcome(
        error=energy_distance(found, wanted),
        evaluations=EVALUATIONS,
        seconds=seconds,
        robustness=float((found - exact).square().mean().sqrt()),
    )


EXPERIMENT = Experiment(
    tool="samplers of higher order",
    problem=f"a trained denoiser of scikit-learn's digits, sampled with {EVALUATIONS} evaluations",
    without="the better of Euler's method and DDIM, of four spacings and four last times, by validation",
    with_="the better of DPM-Solver++(2M) and UniPC, of four spacings and four last times, by validation",
    error_of="energy distance of samples to test data",
    robustness_of=f"the solver's error: root mean square distance to the solution of the same noise in {EXACT} steps",
    source="Lu, Zhou, Bao, Chen, Li and Zhu (2022), DPM-Solver++: fast solver for guided sampling of diffusion "
    "probabilistic models; Zhao, Bai, Rao, Zhou and Lu (2023), UniPC: a unified predictor-corrector framework for fast "
    "sampling of diffusion models",
    run=run,
    note="Nothing is trained differently: both sides sample one network, and seconds are those of sampling. Of data in "
    "the plane with unit variance the flow of a path that preserves the variance hardly bends, and Euler's method does "
    "as well.",
)
