"""Pictures of a beat detector on the test part: strips, where noise costs beats, and the heart rate it tells."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from integrand.apps.medical.waveforms.denoising_figures import of_what
from integrand.apps.medical.waveforms.detection_evaluation import Detected, DetectionEvaluation, stretches
from integrand.apps.medical.waveforms.matching import RATE_SECONDS, heart_rates, matched
from integrand.apps.medical.waveforms.task import WaveformTask
from integrand.apps.training.figures import BASELINES, FAINT, MODEL, NARROW, OBSERVED, WIDE, figure, save, style
from integrand.apps.training.run_folder import RunFolder

Array = np.ndarray
STRIP_SECONDS = 10.0
BINS = 6


def draw(evaluation: DetectionEvaluation, run: RunFolder, task: WaveformTask) -> None:
    """Draw every picture of a run's evaluation into its ``figures/``, with captions.

    Args:
        evaluation: what was measured on the test part.
        run: where the pictures go.
        task: rate and leads.
    """
    with style():
        _draw_strips(evaluation, run, task)
        _draw_noise(evaluation, run)
        _draw_heart_rate(evaluation, run, task)
        _draw_agreement(evaluation, run)


def beat_strip(
    axes: Axes, seconds: Array, signal: Array, probability: Array, found: Array, marked: Array | None
) -> None:
    """Draw a strip with the beats found below it, those marked above it, and the probability of a beat.

    Args:
        axes: where.
        seconds, signal, probability: (L,).
        found, marked: (N,) seconds; ``marked`` None where nothing is known.
    """
    axes.plot(seconds, signal, color=FAINT, linewidth=0.9)
    finite = signal[np.isfinite(signal)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (-1.0, 1.0)
    span = max(high - low, 1e-3)
    axes.plot(found, np.full(len(found), low - 0.12 * span), "^", color=MODEL, markersize=6, label="found")
    if marked is not None:
        axes.plot(marked, np.full(len(marked), high + 0.12 * span), "v", color=OBSERVED, markersize=6, label="marked")
    axes.fill_between(
        seconds,
        low - 0.45 * span,
        low - 0.45 * span + 0.25 * span * probability,
        color=MODEL,
        alpha=0.4,
        linewidth=0,
        label="probability",
    )
    axes.set_ylabel("mV")
    axes.margins(x=0)


def _draw_strips(evaluation: DetectionEvaluation, run: RunFolder, task: WaveformTask) -> None:
    """Draw the beginning of the stretch with the most noise, and of one with a median amount."""
    places = [(each, s) for each in evaluation.noisy for s in range(len(each.snr)) if np.isfinite(each.snr[s])]
    places.sort(key=lambda place: place[0].snr[place[1]])
    chosen = [places[0], places[len(places) // 2]] if len(places) > 1 else places
    drawn = figure(WIDE, 0.8 + 2.1 * len(chosen))
    panels = drawn.subplots(len(chosen), 1, squeeze=False)[:, 0]
    for axes, (each, number) in zip(panels, chosen, strict=True):
        first = list(stretches(each.lead))[number][0]
        _strip_of(axes, each, first, evaluation.name, task.rate)
        axes.set_title(f"{each.lead.id}, lead {each.lead.name}, {each.snr[number]:.1f} dB")
    panels[-1].set_xlabel("seconds")
    drawn.legend(*panels[0].get_legend_handles_labels(), loc="outside upper right", ncols=3)
    save(
        drawn,
        run.figures / "strips.png",
        f"Test signals with noise, the most of it above and a median amount below: beats that are marked (black), that "
        f"{evaluation.name} finds (blue), and its probability of a beat at the bottom. {of_what(task)}",
        title="Strips",
    )


def _strip_of(axes: Axes, each: Detected, first: int, name: str, rate: float) -> None:
    end = min(len(each.signal), first + round(STRIP_SECONDS * rate))

    def seen(beats: Array) -> Array:
        return beats[(beats >= first) & (beats < end)] / rate

    seconds = np.arange(first, end) / rate
    found, marked = seen(each.beats[name]), seen(each.lead.beats)
    beat_strip(axes, seconds, each.signal[first:end], each.probability[first:end], found, marked)


def stretch_scores(found: Sequence[Detected], who: str) -> tuple[Array, Array]:
    """Return the ratio of every stretch, dB, and beats right, said and marked in it, (S, 3)."""
    ratios, counts = [], []
    for each in found:
        for (first, end), snr in zip(stretches(each.lead), each.snr, strict=True):
            said, marked = (b[(b >= first) & (b < end)] for b in (each.beats[who], each.lead.beats))
            if np.isfinite(snr):
                ratios.append(snr)
                counts.append((matched(marked, said, each.lead.rate), len(said), len(marked)))
    return np.array(ratios), np.array(counts, dtype=float)


def _draw_noise(evaluation: DetectionEvaluation, run: RunFolder) -> None:
    drawn = figure(NARROW, 3.4)
    axes = drawn.add_subplot()
    others = [who for who in evaluation.results["metrics"] if who != evaluation.name]
    looks = [(evaluation.name, MODEL, "solid"), *((w, *look) for w, look in zip(others, BASELINES, strict=False))]
    for who, colour, dashes in looks:
        ratios, counts = stretch_scores(evaluation.noisy, who)
        bins = [part for part in np.array_split(np.argsort(ratios, kind="stable"), BINS) if len(part)]
        totals = np.array([counts[part].sum(axis=0) for part in bins])
        f1 = 2 * totals[:, 0] / np.maximum(totals[:, 1] + totals[:, 2], 1)
        middles = [ratios[part].mean() for part in bins]
        axes.plot(middles, f1, color=colour, linestyle=dashes, marker="o", markersize=4, label=who)
    axes.set_xlabel("signal-to-noise ratio, dB")
    axes.set_ylabel("F1 of beats")
    axes.legend(loc="best")
    save(
        drawn,
        run.figures / "noise.png",
        "F1 of the beats of test minutes against their signal-to-noise ratio, in groups of equal size.",
        title="Beats found in noise",
    )


def _draw_heart_rate(evaluation: DetectionEvaluation, run: RunFolder, task: WaveformTask) -> None:
    """Draw the heart rate of the longest recording over time."""
    each = max(evaluation.noisy, key=lambda one: len(one.signal))
    drawn = figure(WIDE, 2.8)
    axes = drawn.add_subplot()
    length, rate = len(each.signal), each.lead.rate
    true = heart_rates(each.lead.beats, rate, length)
    minutes = (np.arange(len(true)) + 0.5) * RATE_SECONDS / 60
    for who, colour, dashes, told in (
        *((w, *look, w) for w, look in zip((w for w in each.beats if w != evaluation.name), BASELINES, strict=False)),
        (evaluation.name, MODEL, "solid", evaluation.name),
    ):
        axes.plot(minutes, heart_rates(each.beats[who], rate, length), color=colour, linestyle=dashes, label=told)
    axes.plot(minutes, true, color=OBSERVED, linewidth=1.0, label="marked beats")
    axes.set_xlabel("minutes")
    axes.set_ylabel("heart rate, 1/min")
    drawn.legend(loc="outside upper right", ncols=4)
    save(
        drawn,
        run.figures / "heart_rate.png",
        f"Heart rate of {each.lead.id} in windows of {RATE_SECONDS:g} s, by the beats that are marked and by those "
        f"that are found in the noisy signal; 0 where fewer than two are. {of_what(task)}",
        title="Heart rate over time",
    )


def _draw_agreement(evaluation: DetectionEvaluation, run: RunFolder) -> None:
    """Draw the difference of two heart rates against their mean.

    Source: Bland and Altman (1986), Statistical methods for assessing agreement between two methods of clinical
    measurement.
    """
    pairs = []
    for each in evaluation.noisy:
        true, told = (
            heart_rates(beats, each.lead.rate, len(each.signal))
            for beats in (each.lead.beats, each.beats[evaluation.name])
        )
        pairs.append(np.stack([true, told])[:, (true > 0) & (told > 0)])
    true, told = np.concatenate(pairs, axis=1)
    off = told - true
    mean, spread = float(off.mean()), float(off.std())
    drawn = figure(NARROW, 3.4)
    axes = drawn.add_subplot()
    axes.plot((true + told) / 2, off, "o", color=MODEL, markersize=2.5, alpha=0.4)
    for height, dashes in ((mean, "solid"), (mean - 1.96 * spread, (0, (4, 3))), (mean + 1.96 * spread, (0, (4, 3)))):
        axes.axhline(height, color=OBSERVED, linewidth=1, linestyle=dashes)
    axes.set_xlabel("mean of both heart rates, 1/min")
    axes.set_ylabel("found less marked, 1/min")
    save(
        drawn,
        run.figures / "agreement.png",
        f"Difference of the heart rate by the beats that {evaluation.name} finds in noise and by those marked, against "
        f"their mean (Bland and Altman), windows of {RATE_SECONDS:g} s in which both have one. Lines: the mean, "
        f"{mean:.2f} 1/min, and 1.96 deviations of {spread:.2f} about it.",
        title="Agreement of heart rates",
    )
