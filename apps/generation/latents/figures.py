"""Pictures of a run of latents: those of every generative run, and what the autoencoder makes of real samples."""

from pathlib import Path

import torch

from integrand.apps.generation.figures import draw_figures as draw_generation_figures
from integrand.apps.generation.grids import mosaic, pixels
from integrand.apps.generation.latents.evaluation import LatentEvaluation
from integrand.apps.generation.task import GenerationTask
from integrand.apps.training.figures import MODEL, NARROW, OBSERVED, figure, save, style
from integrand.apps.training.run_folder import RunFolder

EXAMPLES = 12
"""Test images shown with what becomes of them."""


def draw_figures(evaluation: LatentEvaluation, run: RunFolder, task: GenerationTask) -> None:
    """Draw all pictures of a run."""
    draw_generation_figures(evaluation, run, task)
    with style():
        _rebuilt(evaluation, run.figures / "autoencoder.png", task)


def _rebuilt(evaluation: LatentEvaluation, path: Path, task: GenerationTask) -> None:
    """Real samples of the test part above what comes back of them."""
    page = figure(NARROW * 1.3, NARROW * (0.4 if task.kind == "image" else 0.8))
    axes = page.subplots()
    axes.grid(False)
    if task.kind == "image":
        both = torch.cat([evaluation.test[:EXAMPLES].float(), evaluation.rebuilt[:EXAMPLES].float()])
        axes.imshow(mosaic(pixels(both, task), EXAMPLES), cmap="gray_r", vmin=0, vmax=1, interpolation="nearest")
        axes.set_axis_off()
    else:
        few = evaluation.test[:3].flatten(1), evaluation.rebuilt[:3].flatten(1)
        for values, colour, label in ((few[0], OBSERVED, "real"), (few[1], MODEL, "encoded and decoded")):
            lines = axes.plot(values.T, linewidth=0.9, color=colour)
            lines[0].set_label(label)
        axes.legend()
    save(
        page,
        path,
        "Test samples, and what comes back of them after encoding and decoding: no sample can be better than that.",
        title="What the autoencoder keeps",
    )
