"""Drawing samples from a trained module: seeds in, data out, the same whatever the batch."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from integrand.apps.generation.module import GenerationModule
from integrand.core.diffusion.guidance import GuidedFlow
from integrand.core.diffusion.probability_flow import ProbabilityFlow
from integrand.core.diffusion.samplers.noise import SampleNoise, checked_seeds, initial_noise
from integrand.core.diffusion.samplers.registry import SAMPLERS, sample
from integrand.core.diffusion.schedule import Spacing, step_times
from integrand.core.errors import InputError, unknown

BATCH = 256
"""Samples drawn at a time."""


class SamplingOptions(NamedTuple):
    """How samples are drawn.

    Attributes:
        method: a name in ``SAMPLERS``.
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
        InputError: an unknown method, steps below its order, guidance without classes or without label dropout; a
            network that answers with what is not finite, told with the step and the sample.
    """
    module.eval()
    options, task, device = options or sampling_options(module), module.network.built_for, module.device
    if options.method not in SAMPLERS:
        raise unknown("method", options.method, SAMPLERS)
    sampler, seeds = SAMPLERS[options.method], checked_seeds(seeds)
    if options.steps < sampler.least_steps:
        raise InputError(
            f"steps={options.steps} is out of range: {options.method} makes at least {sampler.least_steps}."
        )
    labels = drawn_labels(task.class_shares, seeds) if labels is None else labels
    counted = _Counted(module.flow)
    field = _guided(counted, module, options)
    times = step_times(module.process, options.steps, spacing=options.spacing)
    parts = []
    for first in range(0, len(seeds), BATCH):
        own, asked = seeds[first : first + BATCH], labels[first : first + BATCH].to(device)
        x = initial_noise(own, task.shape, module.process.prior_scale(), device=device)
        noise = {"noise": SampleNoise(own)} if sampler.stochastic else {}
        callback = watch if first == 0 else None
        try:
            z = sample(field, x, times, method=options.method, args=asked, callback=callback, check=True, **noise)
        except InputError as error:
            raise of_seeds(own, error) from error
        parts.append(task.restored(z).cpu())
        if progress is not None:
            progress(min(first + BATCH, len(seeds)))
    batches = math.ceil(len(seeds) / BATCH)
    return Drawn(torch.cat(parts), labels, seeds, counted.calls // max(1, batches))


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


def _guided(flow: "_Counted", module: GenerationModule, options: SamplingOptions) -> Any:
    task = module.network.built_for
    if options.guidance == 1:
        return flow
    if not task.classes or not module.label_dropout:
        why = "has no classes" if not task.classes else "was trained without label dropout"
        raise InputError(
            f"guidance={options.guidance:g} needs a model trained with and without classes, and this one {why}: leave "
            "guidance out, or train with --model.label_dropout 0.1 on data with classes."
        )
    return GuidedFlow(flow, torch.tensor([task.nothing], device=module.device), options.guidance)


class _Counted:
    """A flow that counts what its network is asked."""

    def __init__(self, flow: ProbabilityFlow) -> None:
        self.flow, self.process, self.calls = flow, flow.process, 0

    def denoise(self, t: Tensor, x: Tensor, args: Any = None) -> Tensor:
        self.calls += 1
        return self.flow.denoise(t, x, args)
