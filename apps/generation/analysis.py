"""What the instruments are told of a generative model: samples of fixed seeds, and the flow that they follow.

Dimension letters: B samples, D numbers in each.
"""

import copy
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from integrand.apps.analysis.flow import Flow, solved
from integrand.apps.analysis.subject import Subject
from integrand.apps.generation.data import GenerationData
from integrand.apps.generation.metrics.energy_distance import energy_distance
from integrand.apps.generation.module import GenerationModule
from integrand.apps.generation.sampling import drawn_labels
from integrand.core.analysis import Finding
from integrand.core.diffusion.process import lift
from integrand.core.diffusion.samplers.noise import SampleNoise, initial_noise
from integrand.core.diffusion.samplers.registry import SAMPLERS, sample
from integrand.core.diffusion.schedule import half_log_snr_span, step_times

SAMPLES = 64
"""Samples that are drawn to be looked at."""
FINER = (1, 2, 4, 8)
"""How many times the sampler's own steps."""
TOLERANCE = 1e-5
"""Of the solution that samplers are compared with."""
FAITHFUL, FAR = 0.05, 0.25
"""Distance from that solution, as a share of the samples' own spread, up to which a sampler is faithful to the flow,
and from which on its samples are its own."""


class ScaledFlow(nn.Module):
    """The probability flow of z = x / sqrt(alpha^2 + sigma^2), over half the logarithm of the signal-to-noise ratio.

        dz/dl = sin(p) cos(p) (sin(p) D - cos(p) E),    cos(p) = alpha / sqrt(alpha^2 + sigma^2),    l = log cot(p)

    D is the denoiser's mean of the data and E that of the noise. Data of deviation 1 keep it at all l, and l grows from
    noise to data, so that spectra at different noise can be compared.

    Args:
        module: whose denoiser it is.
    """

    def __init__(self, module: GenerationModule) -> None:
        super().__init__()
        self.denoiser, self.process = module.built_denoiser, module.process
        self.shape = tuple(module.network.built_for.shape)

    def forward(self, half_log_snr: Tensor, z: Tensor, labels: Tensor) -> Tensor:
        """Return dz/dl of states z (B, D)."""
        t = self.process.time(half_log_snr)
        alpha, sigma = self.process.alpha(t), self.process.sigma(t)
        size = torch.sqrt(alpha.square() + sigma.square())
        x = (lift(size, z) * z).view(len(z), *self.shape)
        clean = self.denoiser(t, x, labels).flatten(1)
        noise = (x.flatten(1) - lift(alpha, z) * clean) / lift(sigma, z)
        cos, sin = lift(alpha / size, z), lift(sigma / size, z)
        return sin * cos * (sin * clean - cos * noise)


def subject(module: GenerationModule, data: GenerationData, *, seed: int) -> Subject:
    """Describe a trained generative model to the instruments.

    Args:
        module: trained, on the device it is to run on.
        data: its data.
        seed: of the run, from which the samples' seeds are counted.
    """
    walks = _Walks(module, data, seed)
    return Subject(
        module=module,
        ask=lambda asked: walks.to_data(asked, module.sampler, module.sampler_steps),
        answers=f"{SAMPLES} samples",
        metric="energy distance to test samples",
        score=walks.distance,
        equation="the probability flow, from noise to data",
        flow=walks.flow,
        findings=walks.findings,
    )


class _Walks:
    """The ways of some seeds from noise to data."""

    def __init__(self, module: GenerationModule, data: GenerationData, seed: int) -> None:
        self.module, self.process, task = module, module.process, module.network.built_for
        self.seeds = 1_000_000 * seed + torch.arange(SAMPLES)
        self.labels = drawn_labels(task.class_shares, self.seeds).to(module.device)
        self.shape = tuple(task.shape)
        self.real = task.standardized(data.part("test").values).flatten(1).double()

    def start(self, like: Tensor) -> Tensor:
        """Return the states of noise, (B, ...)."""
        return initial_noise(self.seeds, self.shape, self.process.prior_scale()).to(like)

    @torch.no_grad()
    def to_data(self, asked: GenerationModule, method: str, steps: int, **options: Any) -> Tensor:
        """Return the samples of a module, (B, D), in the network's units."""
        like = next(asked.parameters())
        noise = {"noise": SampleNoise(self.seeds)} if SAMPLERS[method].stochastic else {}
        times = step_times(self.process, steps)
        drawn = sample(asked.flow, self.start(like), times, method=method, args=self.labels, **noise, **options)
        return drawn.flatten(1)

    def distance(self, samples: Tensor) -> float:
        """Return the energy distance of samples to those of the test part."""
        return float(energy_distance(samples.cpu().double().numpy(), self.real.numpy()))

    def flow(self) -> Flow | None:
        """Return the flow with its solutions, in float64."""
        precise = copy.deepcopy(self.module).double().eval()
        like = next(precise.parameters())
        # From where noise is ten times the data on: before that nothing is decided.
        most = half_log_snr_span(self.process)[0]
        times = torch.linspace(-math.log(10), min(most, math.log(100)), 41, dtype=like.dtype, device=like.device)
        z0 = self.start(like).flatten(1) / self.process.prior_scale()
        found = solved(
            ScaledFlow(precise),
            z0,
            times,
            args=self.labels,
            of="the probability flow, from noise to data",
            tolerance=TOLERANCE,
        )
        return found and replace(found, clock="log of signal over noise")

    def findings(self) -> Sequence[Finding]:
        """Compare the sampler, in its own steps and in finer ones, with the flow from the same noise."""
        own = SAMPLERS[self.module.sampler]
        if own.stochastic:
            return [
                Finding(
                    instrument="sampler audit",
                    verdict="told",
                    statement=f"{own.name} draws noise of its own, so that its samples are no solutions of the flow.",
                )
            ]
        precise = copy.deepcopy(self.module).double().eval()
        exact = self.to_data(precise, "ode", self.module.sampler_steps, rtol=TOLERANCE, atol=TOLERANCE)
        spread = (exact - exact.mean(0)).square().mean().sqrt()
        rows = []
        for times in FINER:
            steps = times * self.module.sampler_steps
            drawn = self.to_data(precise, own.name, steps)
            off = float((drawn - exact).square().mean().sqrt() / spread)
            rows.append(
                {
                    "sampler": own.name,
                    "steps": steps,
                    "evaluations": own.cost(steps),
                    "distance from the flow": off,
                    "energy distance": self.distance(drawn),
                }
            )
        off, gain = rows[0]["distance from the flow"], rows[0]["energy distance"] - self.distance(exact)
        verdict = "sound" if off < FAITHFUL else "doubtful" if off < FAR else "flawed"
        said = {
            "sound": "the samples are those of the learned flow",
            "doubtful": "the samples are close to the learned flow's, and more steps would change them a little",
            "flawed": "the samples are the sampler's own, and more steps would change them",
        }[verdict]
        return [
            Finding(
                instrument="sampler audit",
                verdict=verdict,
                statement=f"In {rows[0]['steps']} steps {own.name} ends {100 * off:.2g} % of the samples' spread away "
                f"from the solution of the flow that begins at the same noise: {said}. Their energy distance to test "
                f"samples differs by {gain:+.2g} from that of the exact solution.",
                numbers={"distance": off, "energy_distance_gained": gain},
                rows=tuple(rows),
            )
        ]
