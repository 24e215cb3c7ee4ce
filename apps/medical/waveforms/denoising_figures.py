"""Pictures of a denoiser on the test part: strips, how each noise is taken away, whether the band holds."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from integrand.apps.medical.waveforms.denoising_evaluation import DenoisingEvaluation
from integrand.apps.medical.waveforms.module import Z_90
from integrand.apps.medical.waveforms.task import WaveformTask
from integrand.apps.training.figures import BASELINES, FAINT, MODEL, NARROW, OBSERVED, WIDE, figure, save, style
from integrand.apps.training.run_folder import RunFolder
from integrand.datasets.catalogue import RESEARCH_ONLY

Array = np.ndarray
STRIPS = 3
BINS = 6


def draw(evaluation: DenoisingEvaluation, run: RunFolder, task: WaveformTask) -> None:
    """Draw every picture of a run's evaluation into its ``figures/``, with captions.

    Args:
        evaluation: what was measured on the test part.
        run: where the pictures go.
        task: rate and leads.
    """
    with style():
        _draw_strips(evaluation, run, task)
        _draw_improvement(evaluation, run)
        _draw_calibration(evaluation, run)


def of_what(task: WaveformTask) -> str:
    """Return a sentence that every caption ends with."""
    return f"{'Simulated signals. ' if task.simulated else ''}{RESEARCH_ONLY}"


def strip(axes: Axes, seconds: Array, noisy: Array, mean: Array, std: Array, clean: Array | None) -> None:
    """Draw a strip: what was given, what it is cleaned to with its band, and the clean signal where it is known."""
    axes.plot(seconds, noisy, color=FAINT, linewidth=0.8, alpha=0.8, label="given")
    axes.fill_between(
        seconds, mean - Z_90 * std, mean + Z_90 * std, color=MODEL, alpha=0.2, linewidth=0, label="band of 90 %"
    )
    if clean is not None:
        axes.plot(seconds, clean, color=OBSERVED, linewidth=1.0, label="clean")
    axes.plot(seconds, mean, color=MODEL, linewidth=1.2, label="cleaned")
    axes.set_ylabel("mV")
    axes.margins(x=0)


def _draw_strips(evaluation: DenoisingEvaluation, run: RunFolder, task: WaveformTask) -> None:
    snr = evaluation.batch.snr.numpy()
    order = np.argsort(snr, kind="stable")
    chosen = order[np.linspace(0, len(order) - 1, min(STRIPS, len(order))).round().astype(int)]
    drawn: Figure = figure(WIDE, 0.7 + 1.9 * len(chosen))
    panels = drawn.subplots(len(chosen), 1, sharex=True, squeeze=False)[:, 0]
    seconds = np.arange(evaluation.batch.signal.shape[1]) / task.rate
    for axes, place in zip(panels, chosen, strict=True):
        noisy = np.where(evaluation.batch.observed[place], evaluation.batch.signal[place].double(), np.nan)
        mean, clean = evaluation.found[evaluation.name][place], evaluation.batch.clean[place].double().numpy()
        strip(axes, seconds, noisy, mean, evaluation.std[place], clean)
        gain = evaluation.gains[evaluation.name][place]
        axes.set_title(f"{snr[place]:.1f} dB, cleaned by {gain:.1f} dB")
    panels[-1].set_xlabel("seconds")
    drawn.legend(*panels[0].get_legend_handles_labels(), loc="outside upper right", ncols=4)
    save(
        drawn,
        run.figures / "strips.png",
        f"Test pieces with the most noise, a median amount, and the least: what was given (grey, with its gaps), what "
        f"{evaluation.name} makes of it (blue, with the band that is to hold 90 %) and the clean signal (black). "
        f"{of_what(task)}",
        title="Strips",
    )


def _draw_improvement(evaluation: DenoisingEvaluation, run: RunFolder) -> None:
    snr = evaluation.batch.snr.numpy()
    edges = np.quantile(snr, np.linspace(0, 1, min(BINS, max(1, len(snr) // 4)) + 1))
    which = np.clip(np.searchsorted(edges, snr, side="right") - 1, 0, len(edges) - 2)
    drawn = figure(NARROW, 4.0)
    axes = drawn.add_subplot()
    others = [who for who in evaluation.gains if who not in (evaluation.name, "noisy")]
    looks = [(evaluation.name, MODEL, "solid"), *((w, *look) for w, look in zip(others, BASELINES, strict=False))]
    for who, colour, dashes in looks:
        means = [evaluation.gains[who][which == place].mean() for place in range(len(edges) - 1)]
        middles = [snr[which == place].mean() for place in range(len(edges) - 1)]
        axes.plot(middles, means, color=colour, linestyle=dashes, marker="o", markersize=4, label=who)
    axes.set_xlabel("signal-to-noise ratio given, dB")
    axes.set_ylabel("improvement, dB")
    drawn.legend(loc="outside upper left", ncols=2)
    save(
        drawn,
        run.figures / "improvement.png",
        "Decibels by which the signal-to-noise ratio rises, against the ratio that was given; means of test pieces in "
        "groups of equal size. Below 0 a method adds more than it takes away.",
        title="Improvement by the noise that was given",
    )


def _draw_calibration(evaluation: DenoisingEvaluation, run: RunFolder) -> None:
    """Draw how often the clean signal lies within bands of each nominal share."""
    from scipy.stats import norm

    clean, observed = evaluation.batch.clean.double().numpy(), evaluation.batch.observed.numpy()
    z = np.abs(evaluation.found[evaluation.name] - clean) / evaluation.std
    nominal = np.linspace(0.05, 0.99, 20)
    bound = norm.ppf(0.5 + nominal / 2)
    drawn = figure(NARROW, NARROW)
    axes = drawn.add_subplot()
    axes.plot([0, 1], [0, 1], color=FAINT, linewidth=1, linestyle=(0, (4, 3)))
    for chosen, told, dashes in ((observed, "observed", "solid"), (~observed, "in gaps", (0, (2, 1)))):
        if chosen.any():
            axes.plot(nominal, [(z[chosen] <= b).mean() for b in bound], color=MODEL, linestyle=dashes, label=told)
    axes.set_xlabel("share that the band is to hold")
    axes.set_ylabel("share that it holds")
    axes.legend(loc="best")
    save(
        drawn,
        run.figures / "calibration.png",
        "Does the band keep its word? The share of the clean signal's samples within bands about the answer, against "
        "the share that a normal distribution has there; on the dashed line both agree.",
        title="Coverage of the bands",
    )
