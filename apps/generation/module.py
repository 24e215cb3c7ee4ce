"""The Lightning module of generation: a denoiser trained at every noise, and the probability flow it makes."""

import math
from typing import Any, ClassVar, Literal, NamedTuple, get_args

import torch
from torch import Tensor

from integrand.apps.generation.models.denoising_network import DenoisingNetwork
from integrand.apps.generation.task import GenerationTask
from integrand.apps.training.module import plain
from integrand.apps.training.task_module import TaskModule
from integrand.apps.training.task_network import TaskNetwork
from integrand.core.diffusion.denoiser import PreconditionedDenoiser
from integrand.core.diffusion.flow_map import FlowMap
from integrand.core.diffusion.gaussian_denoiser import GaussianDenoiser
from integrand.core.diffusion.histogram_denoiser import HistogramDenoiser
from integrand.core.diffusion.noise_levels import NoiseLevels, stratified, uniform_times
from integrand.core.diffusion.preconditioning import precondition
from integrand.core.diffusion.probability_flow import ProbabilityFlow
from integrand.core.diffusion.process import Process
from integrand.core.diffusion.processes import process as make_process
from integrand.core.diffusion.samplers.registry import SAMPLERS
from integrand.core.diffusion.schedule import half_log_snr_span
from integrand.core.diffusion.weightings import LearnedLogVariance, Weighting, weights
from integrand.core.errors import InputError, unknown

Base = Literal["none", "histogram", "gaussian"]
BOUND_LEVELS = 32
"""Noise levels at which each validation sample is asked for the variational bound."""


class Jumping(NamedTuple):
    """How a module draws that learned a flow map.

    Attributes:
        flow_map: with labels (B,) as its args.
        times: (M + 1,), decreasing, between which it was learned.
    """

    flow_map: FlowMap
    times: Tensor


class GenerationModule(TaskModule):
    """A denoiser D(x_t, t) = E[x_0 | x_t], trained at all noise by weighted squares, with classes and without.

        loss = E_t w(t) |D(alpha x_0 + sigma eps, t, c) - x_0|^2 / dims

    Validation tells the variational bound on -log2 p(x_0) per dimension, in the units of the data,

        dims/2 log(2 pi e s^2) + int |D - x_0|^2 alpha^2 / sigma^2 dl + KL(x_end, prior),  s = sigma/alpha at ``start``,

    with l = log(sigma / alpha), by the same noise every time; the exact likelihood is that of ``evaluate``.

    Args:
        network: a denoising network; it is built for the data when training starts.
        process: name of the path from data to noise.
        process_options: its options, such as ``{"start": 0.02}``; data have deviation 1.
        base: denoiser in closed form that the network is added to, and sees as well: ``"histogram"``, of independent
            grey values; ``"gaussian"``, of normal data with mean and covariance of the training part; ``"none"``.
        weighting: how errors at different noise weigh.
        learned_variance: whether the loss at each noise is divided by a learned mean of it.
        noise_mean, noise_deviation, noise_uniform: where training draws l, see ``NoiseLevels``.
        label_dropout: share of samples whose class is not told, which guidance needs; 0 for none.
        sampler, sampler_steps: how samples are drawn unless asked otherwise.
        learning_rate, weight_decay, warmup_steps, ema_decay: see ``BaseModule``.

    Source: Karras, Aittala, Aila and Laine (2022), Elucidating the design space of diffusion-based generative models,
    Eq. 8; the bound: Kingma, Salimans, Poole and Ho (2021), Variational diffusion models, Eq. 11 and 15; label dropout:
    Ho and Salimans (2022), Classifier-free diffusion guidance, Algorithm 1.

    Example::

        data = GenerationData("digits")
        module = GenerationModule(MLPDenoiser())
        Trainer(max_epochs=300).fit(module, data)
    """

    app: ClassVar[str] = "generation"
    monitor: ClassVar[str] = "validation/bound"
    networks: ClassVar[type[TaskNetwork]] = DenoisingNetwork
    described_by: ClassVar[type] = GenerationTask
    validated: ClassVar[tuple[str, ...]] = ("bound", "loss")
    remembered: ClassVar[tuple[str, ...]] = (
        "process",
        "process_options",
        "base",
        "learned_variance",
        "label_dropout",
        "sampler",
        "sampler_steps",
    )
    network: DenoisingNetwork

    def __init__(
        self,
        network: DenoisingNetwork,
        *,
        process: str = "edm",
        process_options: dict[str, float] | None = None,
        base: Base = "none",
        weighting: Weighting = "edm",
        learned_variance: bool = False,
        noise_mean: float = -0.5,
        noise_deviation: float = 1.2,
        noise_uniform: float = 0.5,
        label_dropout: float = 0.1,
        sampler: str = "dpmpp_2m",
        sampler_steps: int = 20,
        learning_rate: float = 2e-3,
        weight_decay: float = 0.01,
        warmup_steps: int = 100,
        ema_decay: float = 0.999,
    ) -> None:
        super().__init__(
            network,
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            warmup_steps=warmup_steps,
            ema_decay=ema_decay,
        )
        if not 0 <= label_dropout < 1:
            raise InputError(f"model.label_dropout={label_dropout!r} is out of range: it must lie in [0, 1).")
        self.process_name, self.process_options = process, dict(process_options or {})
        self.process: Process = make_process(process, **self.process_options)
        self.levels = NoiseLevels(noise_mean, noise_deviation, noise_uniform)
        self.levels.check()
        weights(self.process, torch.tensor(self.process.start), weighting)
        if base not in get_args(Base):
            raise unknown("base", base, get_args(Base))
        self.base: Base = base
        self.weighting: Weighting = weighting
        self.label_dropout = label_dropout
        self.learned_variance = learned_variance
        if sampler not in SAMPLERS:
            raise unknown("sampler", sampler, SAMPLERS)
        if sampler_steps < SAMPLERS[sampler].least_steps:
            raise InputError(
                f"model.sampler_steps={sampler_steps} is out of range: {sampler} makes at least "
                f"{SAMPLERS[sampler].least_steps}."
            )
        self.sampler, self.sampler_steps = sampler, sampler_steps
        self.variance = LearnedLogVariance() if learned_variance else None
        self.denoiser: PreconditionedDenoiser | None = None

    def build(self, data: Any) -> None:
        """Build the network, and its base from the training part."""
        super().build(data)
        base = self.built_denoiser.base
        if isinstance(base, HistogramDenoiser):
            base.fit(data.part("train").values)
        elif isinstance(base, GaussianDenoiser):
            base.fit(self.network.built_for.standardized(data.part("train").values))

    def build_networks(self, task: GenerationTask) -> None:
        """Build for a task what is not built yet."""
        if self.denoiser is not None:
            return
        if self.base == "histogram" and task.levels is None:
            raise InputError("model.base=histogram is for grey values, which these data have not: leave it out.")
        if self.network.task is not None and self.network.sees_base != (self.base != "none"):
            raise InputError(
                f"model.base={self.base} does not fit a network that was built otherwise: let the module build it."
            )
        self.network.sees_base = self.base != "none"
        super().build_networks(task)
        self.denoiser = PreconditionedDenoiser(self.process, self.network, base=self._unfitted_base(task))

    @property
    def built_denoiser(self) -> PreconditionedDenoiser:
        """The denoiser, once built."""
        if self.denoiser is None:
            raise InputError("the module has no network yet: call build(data), or let Lightning's setup do it.")
        return self.denoiser

    @property
    def flow(self) -> ProbabilityFlow:
        """The probability flow, whose ``args`` are labels (B,); a label of ``task.nothing`` for no class."""
        return ProbabilityFlow(self.process, self.built_denoiser)

    @property
    def jumping(self) -> Jumping | None:
        """The flow map by which samples are drawn; None where a sampler follows ``flow``."""
        return None

    @property
    def sample_task(self) -> GenerationTask:
        """What the samples are that are drawn: the network's own task, unless it draws what they are decoded from."""
        return self.network.built_for

    def decoded(self, z: Tensor) -> Tensor:
        """Return states in the network's units as samples in the units that ``sample_task.restored`` takes."""
        return z

    def loss(self, batch: Any) -> tuple[Tensor, dict[str, Tensor]]:
        """Average the weighted error at times drawn anew."""
        task, count = self.network.built_for, len(batch.values)
        x0, labels = task.standardized(batch.values), batch.labels
        if task.classes and self.label_dropout:
            dropped = torch.rand(count, device=x0.device) < self.label_dropout
            labels = labels.masked_fill(dropped, task.nothing)
        t = self.levels.times(self.process, count, device=x0.device)
        error = self._error(x0, torch.randn_like(x0), t, labels)
        weighted = weights(self.process, t, self.weighting) * error
        if self.variance is not None:
            weighted = self.variance(weighted, precondition(self.process, t).noise)
        return weighted.mean(), {"error": error.detach().mean()}

    def scores(self, batch: Any) -> tuple[dict[str, Tensor], Tensor | None]:
        """Return the variational bound in bits per dimension, and the loss, of each sample (B,)."""
        task, count = self.network.built_for, len(batch.values)
        first, last = half_log_snr_span(self.process)
        generator = torch.Generator().manual_seed(0)  # on the host: the same noise whatever the accelerator
        noise = torch.rand(batch.values.shape, generator=generator)
        eps = torch.randn((BOUND_LEVELS, *batch.values.shape), generator=generator)
        share = (torch.arange(BOUND_LEVELS)[:, None] + stratified(count, generator=generator)) / BOUND_LEVELS
        x0 = task.standardized(batch.values, noise.to(self.device))
        t = uniform_times(self.process, share.to(self.device))
        error = torch.stack(
            [self._error(x0, e, t_B, batch.labels) for e, t_B in zip(eps.to(self.device), t, strict=True)]
        )
        snr = (2 * self.process.half_log_snr(t)).exp()
        diffusion = (first - last) * (snr * error).mean(0)
        recon = 0.5 * math.log(2 * math.pi * math.e) - first
        grown = math.exp(-2 * last)  # variance of the noise at the end, of x / alpha
        mean_square = x0.square().flatten(1).mean(1)
        prior = 0.5 * ((mean_square + grown) / (1 + grown) - 1 + math.log1p(1 / grown))
        nats = diffusion + recon + prior + task.log_scale / task.dims  # per dimension, in the units of the data
        cell = 0.0 if task.levels is None else math.log(2 / task.levels)
        loss = (weights(self.process, t, self.weighting) * error).mean(0)
        return {"bound": (nats - cell) / math.log(2), "loss": loss}, None

    def describe(self) -> dict[str, Any]:
        """Return network, task, and the process."""
        return {
            **super().describe(),
            "process": self.process_name,
            "process_options": plain(self.process_options),
            "base": self.base,
            "learned_variance": self.learned_variance,
            "label_dropout": self.label_dropout,
            "sampler": self.sampler,
            "sampler_steps": self.sampler_steps,
        }

    def _unfitted_base(self, task: GenerationTask) -> HistogramDenoiser | GaussianDenoiser | None:
        """Return the base before it has seen data."""
        if self.base == "gaussian":
            return GaussianDenoiser(self.process, torch.zeros(task.dims), torch.eye(task.dims))
        if self.base == "none":
            return None
        assert task.levels is not None
        edges = (torch.linspace(-1, 1, task.levels + 1) - task.location[0]) / task.scale[0]
        return HistogramDenoiser(self.process, edges, torch.full((task.dims, task.levels), 1 / task.levels))

    def _error(self, x0: Tensor, eps: Tensor, t: Tensor, labels: Tensor) -> Tensor:
        """Return |D - x_0|^2 / dims of each sample, (B,)."""
        x = self.process.mix(x0, eps, t)
        return (self.built_denoiser(t, x, labels).float() - x0).square().flatten(1).mean(1)
