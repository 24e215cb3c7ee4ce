"""Pictures of scores: error by bin of difficulty, gain by channel, calibration by bin.

Bins are lead times of a forecast, or distances of an imputed value to the nearest observed one.

Dimension letters: G blocks, H bins, K channels, R resamples.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from integrand.apps.timeseries.scores import LEVEL, ScoreSums
from integrand.apps.training.figures import BASELINES, MODEL, NARROW, OBSERVED, figure, label_ends, save

Array = np.ndarray
MOST_CHANNELS = 30
RESAMPLES = 2000
_UNITS = {"degF": "°F", "degC": "°C", "degree": "°"}
_TIME_UNITS = {"h": "hours", "d": "days", "s": "seconds", "min": "minutes", "1": "units of time"}


@dataclass(frozen=True)
class Scored:
    """Scores of a model and of the baselines, and along what they are drawn.

    Attributes:
        name: the model's name in ``scores``.
        scores: by name.
        bins: (H,) where each bin stands.
        along: what the bins are, such as "lead time".
        finish: sets limits, ticks and label of the axis of bins.
    """

    name: str
    scores: dict[str, ScoreSums]
    bins: Array
    along: str
    finish: Callable[[Axes], None]


def reference(name: str, scores: dict[str, ScoreSums]) -> str | None:
    """Return the baseline to compare with: the ridge, or the one of least CRPS where there is no ridge."""
    others = {other: float(one.mean()["crps"]) for other, one in scores.items() if other != name}
    return "ridge" if "ridge" in others else min(others, key=others.__getitem__, default=None)


def resampled(sums_GX: Array, counts_GX: Array, *, resamples: int = RESAMPLES, seed: int = 0) -> Array:
    """Return the mean of each column, (R, X), for ``resamples`` draws of whole blocks with replacement.

    The same seed draws the same blocks, so that differences of two forecasters are paired. Empty draws are NaN.
    """
    blocks = len(sums_GX)
    pick = np.random.default_rng(seed).integers(0, blocks, (resamples, blocks))
    weight_RG = np.zeros((resamples, blocks))
    np.add.at(weight_RG, (np.arange(resamples)[:, None], pick), 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (weight_RG @ sums_GX) / (weight_RG @ counts_GX)


def draw_errors(scored: Scored, path: Path) -> None:
    """Draw scores by bin, and by how much the model's lie below the reference's."""
    other = reference(scored.name, scored.scores)
    made = figure(NARROW, 2.45 * (3 if other else 2) + 0.2)
    panels = made.subplots(3 if other else 2, 1, sharex=True, squeeze=False)[:, 0]
    for axes, metric in zip(panels, ("crps", "mae"), strict=False):
        axes.set_title(f"{metric.upper()}, in standard deviations")
        _by_bin(axes, scored, metric)
    caption = (
        f"Error against {scored.along} on the test part, averaged over all channels after each was divided by its "
        "standard deviation in training; lower is better. The band is the model's 95 % block-bootstrap interval"
    )
    if other:
        ours, theirs = scored.scores[scored.name], scored.scores[other]
        gain, low, high = _gain(ours, theirs, over=2)
        axes = panels[2]
        axes.set_title(f"CRPS below {other}'s, in per cent")
        _line_with_band(axes, scored.bins, 100 * gain, 100 * low, 100 * high)
        axes.axhline(0, color=OBSERVED, linewidth=1)
        axes.yaxis.set_major_locator(MaxNLocator(5))
        caption += (
            f". At the bottom, by how much the model's CRPS lies below {other}'s, with the interval of the paired "
            f"difference: the model is clearly better at {int((low > 0).sum())} and clearly worse at "
            f"{int((high < 0).sum())} of {len(gain)} of these"
        )
    scored.finish(panels[-1])
    for axes, metric in zip(panels, ("crps", "mae"), strict=False):
        _label_bins(axes, scored, metric)
    save(made, path, caption + ".", title=f"Error by {scored.along}")


def draw_channels(scored: Scored, channels: list[str], path: Path) -> None:
    """Draw by how much the model's score lies below the reference's, channel by channel; nothing without one."""
    other = reference(scored.name, scored.scores)
    if other is None:
        return
    gain, low, high = (100 * x for x in _gain(scored.scores[scored.name], scored.scores[other], over=1))
    order = np.flatnonzero(np.isfinite(gain))
    order = order[np.argsort(-np.abs(gain[order]))][:MOST_CHANNELS]
    order = order[np.argsort(gain[order])]
    made = figure(NARROW, 1.3 + 0.36 * max(len(order), 2))
    axes = made.subplots()
    for place, k in enumerate(order):
        clear = low[k] > 0 or high[k] < 0
        axes.hlines(place, low[k], high[k], color=MODEL, linewidth=2.2, alpha=0.45)
        axes.plot(gain[k], place, "o", color=MODEL, markersize=7, mfc=MODEL if clear else "white", mew=1.8)
        axes.annotate(
            f"{gain[k]:+.1f} %".replace("-", "−"),
            (1, place),
            xycoords=axes.get_yaxis_transform(),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
        )
    axes.axvline(0, color=OBSERVED, linewidth=1)
    axes.set_yticks(range(len(order)), [short(channels[k]) for k in order])
    axes.tick_params(axis="y", length=0, labelcolor=OBSERVED)
    axes.set_ylim(-0.6, len(order) - 0.4)
    axes.grid(visible=False, axis="y")
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.set_xlabel(f"CRPS below {other}'s, in per cent")
    ahead, behind = int((low[order] > 0).sum()), int((high[order] < 0).sum())
    caption = (
        f"By how much {scored.name} lowers the CRPS of {other}, channel by channel, with 95 % block-bootstrap "
        f"intervals; right of the line the model is better. It is clearly better on {ahead} and clearly worse on "
        f"{behind} of {len(order)} channels; open dots are undecided."
    )
    if len(order) < len(channels):
        caption += f" Shown are the {len(order)} channels of {len(channels)} that differ most."
    save(made, path, caption, title=f"Gain over {other} by channel")


def draw_calibration(scored: Scored, path: Path) -> None:
    """Draw how many observations the intervals hold, and how wide they are, by bin."""
    made = figure(NARROW, 5.1)
    top, bottom = made.subplots(2, 1, sharex=True)
    top.set_title(f"observations in the {100 * LEVEL:.0f} % interval")
    _by_bin(top, scored, "coverage")
    top.axhline(LEVEL, color=OBSERVED, linewidth=1, zorder=1)
    top.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{100 * y:.3g} %"))
    low, high = top.get_ylim()
    top.set_ylim(min(low, LEVEL - 0.04), min(max(high, LEVEL + 0.04), 1.003))
    bottom.set_title("its width, in standard deviations")
    _by_bin(bottom, scored, "width")
    bottom.set_ylim(bottom=0)
    scored.finish(bottom)
    _label_bins(top, scored, "coverage")
    _label_bins(bottom, scored, "width")
    held = float(scored.scores[scored.name].mean()["coverage"])
    level = f"{100 * LEVEL:.0f} %"
    caption = (
        f"Are the answers as sure as they may be? Above, the share of observations within the central {level} "
        f"interval by {scored.along}: the dark line at {level} is ideal, below it a model is overconfident. Over all "
        f"the model's intervals held {100 * held:.1f} %. Below, how wide they are: of two that hold "
        f"{level}, the narrower is better. The band is the model's 95 % block-bootstrap interval."
    )
    save(made, path, caption, title=f"Calibration by {scored.along}")


def _by_bin(axes: Axes, scored: Scored, metric: str) -> None:
    """Draw a metric by bin: the baselines, then the model with its interval."""
    for name, (colour, dashes) in _looks(scored).items():
        curve = scored.scores[name].mean((0, 2))[metric]
        axes.plot(scored.bins, curve, color=colour, linestyle=dashes, **_dots(curve, "s"))
    ours = scored.scores[scored.name]
    draws = resampled(ours.sums[metric].sum(2), ours.sums["count"].sum(2))
    low, high = _interval(draws)
    _line_with_band(axes, scored.bins, ours.mean((0, 2))[metric], low, high)
    axes.yaxis.set_major_locator(MaxNLocator(5))


def _line_with_band(axes: Axes, bins: Array, curve: Array, low: Array, high: Array) -> None:
    if len(bins) > 1:
        axes.fill_between(bins, low, high, color=MODEL, alpha=0.18, linewidth=0)
    else:
        axes.vlines(bins, low, high, color=MODEL, alpha=0.4, linewidth=4)
    axes.plot(bins, curve, color=MODEL, linewidth=2.4, **_dots(curve, "o"))


def _label_bins(axes: Axes, scored: Scored, metric: str) -> None:
    """Name the lines of ``_by_bin`` at their right ends."""
    ends = {}
    for name, colour in ((scored.name, MODEL), *((n, look[0]) for n, look in _looks(scored).items())):
        curve = scored.scores[name].mean((0, 2))[metric]
        finite = np.flatnonzero(np.isfinite(curve))
        if len(finite):
            ends[name] = (float(curve[finite[-1]]), colour)
    label_ends(axes, ends, bold=scored.name)


def _looks(scored: Scored) -> dict[str, tuple[str, Any]]:
    """Return colour and dashes of each baseline; the strongest comes first, in the most visible."""
    others = [name for name in scored.scores if name != scored.name]
    first = reference(scored.name, scored.scores)
    others.sort(key=lambda name: name != first)
    return {name: BASELINES[i % len(BASELINES)] for i, name in enumerate(others)}


def _gain(ours: ScoreSums, theirs: ScoreSums, *, over: int) -> tuple[Array, Array, Array]:
    """Return by what share our CRPS lies below theirs, with its paired 95 % interval; (H,) over 2, (K,) over 1."""
    whole = 1 - _ratio(ours.mean((0, over))["crps"], theirs.mean((0, over))["crps"])
    drawn = [resampled(one.sums["crps"].sum(over), one.sums["count"].sum(over)) for one in (ours, theirs)]
    low, high = _interval(1 - _ratio(drawn[0], drawn[1]))
    return whole, low, high


def _ratio(a: Array, b: Array) -> Array:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(b > 0, a / b, np.nan)


def _interval(draws_RX: Array) -> tuple[Array, Array]:
    """Return the central 95 % of each column, NaN where a column has nothing."""
    empty = ~np.isfinite(draws_RX).any(0)
    low, high = np.nanquantile(np.where(empty, 0.0, draws_RX), [0.025, 0.975], axis=0)
    return np.where(empty, np.nan, low), np.where(empty, np.nan, high)


def _dots(curve: Array, marker: str) -> dict[str, Any]:
    """Mark the points of a curve that has few, of which a line would show nothing."""
    return {"marker": marker, "markersize": 6} if np.isfinite(curve).sum() < 4 else {}


def short(name: str, longest: int = 18) -> str:
    """Return a name that fits beside a panel."""
    return name if len(name) <= longest else name[: longest - 1] + "…"


def with_unit(name: str, unit: str, *, wrap: bool = False) -> str:
    """Return a channel's name with its unit, on two lines if asked."""
    unit = _UNITS.get(unit, unit)
    return f"{short(name)}{chr(10) if wrap else ' '}({unit})" if unit else short(name)


def time_unit(unit: str) -> str:
    """Return a unit of time as people write it."""
    return _TIME_UNITS.get(unit, unit or "time")
