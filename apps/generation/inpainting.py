"""What ``inpaint`` does: completions of samples whose rest is known, by posterior sampling."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from integrand.apps.generation.grids import mosaic, pixels
from integrand.apps.generation.module import GenerationModule
from integrand.apps.generation.sampling import of_seeds
from integrand.apps.generation.task import GenerationTask
from integrand.apps.generation.writing import read_like, storable, write_array
from integrand.apps.training.figures import NARROW, figure, save, style
from integrand.apps.training.files import require_folder
from integrand.core.diffusion.posterior import PosteriorFlow, masked
from integrand.core.diffusion.samplers.noise import SampleNoise, initial_noise
from integrand.core.diffusion.samplers.registry import sample
from integrand.core.diffusion.schedule import step_times
from integrand.core.errors import InputError, unknown

Notify = Callable[[str], None]
HALVES = ("upper", "lower", "left", "right")
SHOWN = 10
"""Samples on the picture."""
BATCH = 128
"""Completions drawn at a time; each evaluation is differentiated."""
METHOD = "ancestral"
"""The sampler: noise that is drawn anew corrects what the first steps got wrong of what is known."""


def inpaint(
    module: GenerationModule,
    *,
    input: Path,
    mask: str,
    label: str | None = None,
    count: int = 4,
    steps: int = 50,
    noise: float = 0.0,
    seed: int = 0,
    output: Path,
    notify: Notify,
) -> list[str]:
    """Fill in what the mask leaves out, ``count`` times each; write ``inpainted.npy`` (N, count, ...) and a picture.

    Where nothing is said of noise, the known values stand in the result as they were given.

    Returns:
        A line on each file.

    Raises:
        InputError: samples or a mask that do not fit the model; an option out of range.
    """
    for name, value, held, must in (
        ("count", count, count >= 1, "be at least 1"),
        ("noise", noise, 0 <= noise < float("inf"), "not be negative"),
        ("seed", seed, seed >= 0, "not be negative"),
    ):
        if not held:
            raise InputError(f"--{name} {value:g} is out of range: it must {must}.")
    task = module.network.built_for
    require_folder(output)
    values, labels = read_like(input, task, label)
    known = read_mask(mask, task)
    notify(f"{count} completions of {len(values):,} samples, {int((~known).sum())} of {task.dims} numbers unknown")
    seeds = seed + torch.arange(count * len(values))
    repeated = values.repeat(count, *[1] * (values.dim() - 1))
    drawn = complete(module, repeated, labels.repeat(count), known, seeds, steps=steps, noise=noise)
    made = drawn.unflatten(0, (count, len(values))).transpose(0, 1)
    output.mkdir(parents=True, exist_ok=True)
    lines = [write_array(output / "inpainted.npy", storable(made, task))]
    _draw(output / "inpainted.png", values, known, made, task)
    return [*lines, f"picture:  {output / 'inpainted.png'}"]


def complete(
    module: GenerationModule,
    values: Tensor,
    labels: Tensor,
    known: Tensor,
    seeds: Tensor,
    *,
    steps: int = 50,
    noise: float = 0.0,
) -> Tensor:
    """Return samples of the posterior of what is not known, in the units of the data, (N, *shape), on the host.

    Args:
        module: trained, on the device it is to run on.
        values: (N, *shape); what is not known of them is not looked at.
        labels: (N,) classes.
        known: bool, of a sample's shape.
        seeds: (N,).
        steps: of the sampler.
        noise: standard deviation of the noise in what is known: in grey values, in the units of other images, and of
            the channels of a series each in its own deviations.

    Raises:
        InputError: a network that answers with what is not finite, told with the step and the sample.
    """
    module.eval()
    task, device = module.network.built_for, module.device
    where, times = known.to(device), step_times(module.process, steps)
    unit = 1.0 if len(task.scale) > 1 else (2 / task.levels if task.levels is not None else 1.0) / task.scale[0]
    operator, parts = masked(where), []
    for first in range(0, len(values), BATCH):
        rows = slice(first, first + BATCH)
        own, asked = seeds[rows], labels[rows].to(device)
        given = task.standardized(values[rows].to(device), torch.full((), 0.5, device=device))
        flow = PosteriorFlow(module.flow, operator, operator(given), noise=noise * unit)
        x = initial_noise(own, task.shape, module.process.prior_scale(), device=device)
        try:
            z = sample(flow, x, times, method=METHOD, args=asked, noise=SampleNoise(own), check=True)
        except InputError as error:
            raise of_seeds(own, error) from error
        if noise == 0:
            z = torch.where(where, given, z)
        parts.append(task.restored(z.detach()).cpu())
    return torch.cat(parts)


def read_mask(mask: str, task: GenerationTask) -> Tensor:
    """Return what is known, bool of a sample's shape, by the name of the half to fill in or from an array.

    Raises:
        InputError: neither; an array of another shape, or one that leaves nothing known or nothing to fill in.
    """
    if mask in HALVES:
        axis = -2 if mask in ("upper", "lower") else -1
        if len(task.shape) <= -axis:
            raise InputError(f"--mask {mask} is for images: take left, right or an array of shape {tuple(task.shape)}.")
        known = torch.ones(task.shape, dtype=torch.bool)
        half = task.shape[axis] // 2
        first = mask in ("upper", "left")
        known.narrow(axis, 0 if first else half, half if first else task.shape[axis] - half).fill_(False)
        return known
    path = Path(mask)
    if path.suffix != ".npy":
        raise unknown("mask", mask, HALVES)
    if not path.is_file():
        raise InputError(f"no file at {path}: check the path of the mask, or name a half, one of {', '.join(HALVES)}.")
    try:
        found = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"cannot read the mask {path}: save it again with numpy.save, as booleans.") from error
    try:
        known = torch.from_numpy(np.broadcast_to(found.astype(bool), task.shape).copy())
    except ValueError:
        raise InputError(
            f"the mask {path} has shape {found.shape}, where a sample has {tuple(task.shape)}: give it that shape."
        ) from None
    if known.all() or not known.any():
        left = "nothing to fill in" if known.all() else "nothing known"
        raise InputError(
            f"the mask {path} leaves {left}: it must be true where a sample is known, and false elsewhere."
        )
    return known


def _draw(path: Path, values: Tensor, known: Tensor, made: Tensor, task: GenerationTask) -> None:
    with style():
        page = figure(NARROW * 1.3, NARROW * 1.3 * (2 + made.shape[1]) / SHOWN)
        axes = page.subplots()
        axes.grid(False)
        if task.kind == "image":
            few = values[:SHOWN]
            hidden = torch.where(known, pixels(few, task), torch.tensor(0.35))
            rows = [pixels(few, task), hidden, *(pixels(made[:SHOWN, i], task) for i in range(made.shape[1]))]
            axes.imshow(mosaic(torch.cat(rows), len(few)), cmap="gray_r", vmin=0, vmax=1, interpolation="nearest")
            axes.set_axis_off()
        else:
            axes.plot(values[0].flatten(), color="#1F1F1F")
            axes.plot(made[0].flatten(1).T, linewidth=0.8)
        save(page, path, "Samples, what was known of them, and their completions.", title="Inpainting")
