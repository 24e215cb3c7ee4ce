"""Does a flow map draw better samples with four evaluations than its teacher does with the best of samplers?

Both sides take as many steps of training: the teacher alone all of them, or the teacher half of them and then a flow
map, which begins with the teacher's weights, the other half on solutions of the teacher's flow.
"""

import time

import torch
from better_sampler import best_way, drawn
from digit_denoiser import BATCH, PROCESS, denoiser, digits, energy_distance, flow, noise
from digit_denoiser import STEPS as TRAINING
from experiment import Experiment, Outcome
from fitting import Fitted, fit
from torch import Tensor, nn

from integrand.core.diffusion.flow_map import FlowMap, flow_map_loss, solution_states, spread
from integrand.core.diffusion.schedule import step_times

EVALUATIONS, FEWER = 4, 2
KNOTS, SOLUTIONS, RATE = 32, 4096, 2e-3
DETERMINISTIC = ("euler", "ddim", "dpmpp_2m", "unipc")


class Mean(nn.Module):
    """A denoiser told a second time, as a flow map asks for it."""

    def __init__(self, denoiser: nn.Module) -> None:
        super().__init__()
        self.denoiser = denoiser

    def forward(self, t: Tensor, s: Tensor, x: Tensor) -> Tensor:
        """Return the mean between two times."""
        return self.denoiser(t, x, None, s)


def distilled(teacher: nn.Module, seed: int, *, steps: int) -> Fitted:
    """Train a flow map from a teacher, whose weights are taken over; the seconds include those of its solutions."""
    times = step_times(PROCESS, KNOTS, spacing="log_snr")
    began = time.process_time()
    states = solution_states(flow(teacher), noise(3, seed, SOLUTIONS), times)
    spent = time.process_time() - began
    torch.manual_seed(seed)
    student, at = FlowMap(PROCESS, Mean(teacher)), times.float()

    def loss() -> Tensor:
        row, begin = torch.randint(SOLUTIONS, (BATCH,)), torch.randint(KNOTS, (BATCH,))
        end = begin + 1 + (torch.rand(BATCH) * (KNOTS - begin)).long()
        end = end.clamp(max=KNOTS)
        return flow_map_loss(student, at[begin], at[end], states[row, begin], states[row, end]).mean()

    network, seconds = fit(student, loss, steps=steps, rate=RATE)
    return Fitted(network, seconds + spent)


def run(seed: int, with_: bool, *, steps: int = 2 * TRAINING) -> Outcome:
    """Train one side and score its samples."""
    start, wanted = noise(2, seed), digits(seed)[2]
    teacher, seconds = denoiser(seed, steps=steps // 2 if with_ else steps)
    if with_:
        student, more = distilled(teacher, seed, steps=steps // 2)
        seconds += more
        times = step_times(PROCESS, KNOTS, spacing="log_snr")
        with torch.no_grad():
            found, fewer = (student.follow(start, spread(times, count)) for count in (EVALUATIONS, FEWER))  # pyright: ignore[reportCallIssue]
    else:
        found, fewer = (
            drawn(flow(teacher), best_way(flow(teacher), DETERMINISTIC, seed, count), start, count)
            for count in (EVALUATIONS, FEWER)
        )
    return Outcome(
        error=energy_distance(found, wanted),
        evaluations=EVALUATIONS,
        seconds=seconds,
        robustness=energy_distance(fewer, wanted),
    )


EXPERIMENT = Experiment(
    tool="distillation to a flow map",
    problem=f"scikit-learn's digits, samples with {EVALUATIONS} evaluations, {2 * TRAINING:,} steps of training",
    without="a denoiser, the best of four samplers, four spacings and four last times by validation",
    with_="a flow map learned from the solutions of a denoiser, each trained half as long",
    error_of="energy distance of samples to test data",
    robustness_of=f"the same with {FEWER} evaluations",
    source="Boffi, Albergo and Vanden-Eijnden (2025), Flow map matching with stochastic interpolants: a mathematical "
    "framework for consistency models",
    run=run,
    note="Seconds of the flow map include those of its teacher and of its solutions.",
)
