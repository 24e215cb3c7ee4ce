"""Drawing samples from a trained module: seeds in, data out, the same whatever the batch."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from integrand.apps.generation.module import GenerationModule, Jumping
from integrand.core.diffusion.flow_map import spread
from integrand.core.diffusion.guidance import GuidedFlow
from integrand.core.diffusion.probability_flow import Denoising
from integrand.core.diffusion.samplers.noise import SampleNoise, checked_seeds, initial_noise
from integrand.core.diffusion.samplers.registry import SAMPLERS, sample
from integrand.core.diffusion.schedule import Spacing, step_times
from integrand.core.errors import InputError, unknown

BATCH = 256
"""Samples drawn at a time."""
JUMPS = "flow_map"
"""What the method of a distilled run is called; it has no other."""


class SamplingOptions(NamedTuple):
    """How samples are drawn.

    Attributes:
        method: a name in ``SAMPLERS``; of a distilled run ``JUMPS``.
        steps: how many it makes.
        spacing: of the times, see ``step_times``.
        guidance: classifier-free scale w; 1 for the condition as it is.
    """

    method: str = "dpmpp_2m"
    steps: int = 20
    spacing: Spacing = "karras"
    guidance: float = 1.0


class Drawn(NamedTuple):
    """Samples in the units of the data.

    Attributes:
        values: (N, *shape), grey values as whole numbers, on the host.
        labels: (N,) the classes asked for.
        seeds: (N,).
        evaluations: calls of the network for each.
    """

    values: Tensor
    labels: Tensor
    seeds: Tensor
    evaluations: int


@torch.no_grad()
def draw(
    module: GenerationModule,
    seeds: Sequence[int] | Tensor,
    labels: Tensor | None = None,
    *,
    options: SamplingOptions | None = None,
    watch: Callable[[int, float, Tensor], Any] | None = None,
    progress: Callable[[int], Any] | None = None,
) -> Drawn:
    """Draw one sample a seed.

    Args:
        module: trained, on the device it is to run on.
        seeds: (N,), whole numbers; sample i follows from its seed, class and these options alone.
        labels: (N,) classes; of each seed's own choosing by the training shares where None.
        options: how; the module's own when None.
        watch: called after every step of the first batch with the step, the time and the states, in the network's
            units.
        progress: called with the number of samples that are done.

    Raises:
        InputError: an unknown method, steps below its order, guidance without classes or without label dropout; of a
            distilled run another method, more steps than it learned, or guidance; a network that answers with what is
            not finite, told with the step and the sample.
    """
    module.eval()
    options, task, device = options or sampling_options(module), module.network.built_for, module.device
    walk = _Steps(module, options) if module.jumping is None else _Jumps(module.jumping, options)
    seeds = checked_seeds(seeds)
    labels = drawn_labels(task.class_shares, seeds) if labels is None else labels
    parts = []
    for first in range(0, len(seeds), BATCH):
        own, asked = seeds[first : first + BATCH], labels[first : first + BATCH].to(device)
        x = initial_noise(own, task.shape, module.process.prior_scale(), device=device)
        try:
            z = walk(x, asked, own, watch if first == 0 else None)
        except InputError as error:
            raise of_seeds(own, error) from error
        parts.append(module.sample_task.restored(module.decoded(z)).cpu())
        if progress is not None:
            progress(min(first + BATCH, len(seeds)))
    batches = math.ceil(len(seeds) / BATCH)
    return Drawn(torch.cat(parts), labels, seeds, walk.calls // max(1, batches))


def sampling_options(
    module: GenerationModule,
    *,
    method: str | None = None,
    steps: int | None = None,
    spacing: str | None = None,
    guidance: float | None = None,
) -> SamplingOptions:
    """Return how a module's samples are drawn: as is asked, and where that is None by its own sampler.

    Nought is asked for like any other number: no guidance 0 becomes 1, and ``draw`` refuses 0 steps.

    Args:
        module: whose sampler and steps stand where none are given.
        method, steps, spacing, guidance: see ``SamplingOptions``.
    """
    given = {"method": method, "steps": steps, "spacing": spacing, "guidance": guidance}
    own = SamplingOptions(module.sampler, module.sampler_steps)
    return own._replace(**{name: value for name, value in given.items() if value is not None})


def of_seeds(seeds: Tensor, error: InputError) -> InputError:
    """Return the error of a batch with the seeds of its samples, which it counts from 0."""
    return InputError(f"of the seeds {int(seeds[0])} to {int(seeds[-1])}, counted from 0: {error}")


def drawn_labels(shares: Sequence[float], seeds: Tensor) -> Tensor:
    """Return a class for each seed, by the shares of the training part; zeros where there are no classes."""
    if not shares:
        return torch.zeros(len(seeds), dtype=torch.int64)
    # Normal numbers of another stream than the states', through their distribution function, are uniform.
    uniform = 0.5 * (1 + torch.erf(initial_noise(seeds ^ (1 << 40), (1,)).squeeze(1) / math.sqrt(2)))
    edges = torch.tensor(shares, dtype=torch.float32).cumsum(0)
    return torch.bucketize(uniform * edges[-1], edges[:-1])


def guided(module: GenerationModule, flow: Denoising, scale: float) -> Denoising:
    """Return a module's flow with classifier-free guidance, or as it is where the scale is 1.

    Raises:
        InputError: the module knows no classes, or was trained with them alone.
    """
    task = module.network.built_for
    if scale == 1:
        return flow
    if not task.classes or not module.label_dropout:
        why = "has no classes" if not task.classes else "was trained without label dropout"
        raise InputError(
            f"guidance={scale:g} needs a model trained with and without classes, and this one {why}: leave "
            "guidance out, or train with --model.label_dropout 0.1 on data with classes."
        )
    return GuidedFlow(flow, torch.tensor([task.nothing], device=module.device), scale)


class _Steps:
    """A sampler's walk along a module's flow, which counts what the network is asked."""

    def __init__(self, module: GenerationModule, options: SamplingOptions) -> None:
        if options.method not in SAMPLERS:
            raise unknown("method", options.method, SAMPLERS)
        self.sampler = SAMPLERS[options.method]
        if options.steps < self.sampler.least_steps:
            raise InputError(
                f"steps={options.steps} is out of range: {options.method} makes at least {self.sampler.least_steps}."
            )
        self.flow, self.process, self.calls = module.flow, module.process, 0
        self.field = guided(module, self, options.guidance)
        self.times = step_times(module.process, options.steps, spacing=options.spacing)

    def denoise(self, t: Tensor, x: Tensor, args: Any = None) -> Tensor:
        self.calls += 1
        return self.flow.denoise(t, x, args)

    def __call__(self, x: Tensor, labels: Tensor, seeds: Tensor, callback: Callable[..., Any] | None) -> Tensor:
        noise = {"noise": SampleNoise(seeds)} if self.sampler.stochastic else {}
        method = self.sampler.name
        return sample(self.field, x, self.times, method=method, args=labels, callback=callback, check=True, **noise)


class _Jumps:
    """The walk of a distilled module: jumps of its flow map, one evaluation each."""

    def __init__(self, jumping: Jumping, options: SamplingOptions) -> None:
        most, own = len(jumping.times) - 1, SamplingOptions()
        for name, value, held, cure in (
            ("method", options.method, options.method == JUMPS, f"a distilled run has {JUMPS} alone"),
            ("steps", options.steps, 1 <= options.steps <= most, f"this run learned to make 1 to {most}"),
            ("guidance", options.guidance, options.guidance == 1, "a distilled run keeps that of its training"),
            ("spacing", options.spacing, options.spacing == own.spacing, "its times are those it learned"),
        ):
            if not held:
                raise InputError(f"{name}={value} is out of range: {cure}.")
        self.flow_map, self.times, self.calls = jumping.flow_map, spread(jumping.times, options.steps), 0

    def __call__(self, x: Tensor, labels: Tensor, seeds: Tensor, callback: Callable[..., Any] | None) -> Tensor:
        self.calls += len(self.times) - 1
        return self.flow_map.follow(x, self.times, args=labels, callback=callback)
