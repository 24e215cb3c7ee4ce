"""What a run's numbers say, in sentences that are as plain when the model loses as when it wins."""

import math
from collections.abc import Mapping
from typing import Any

from integrand.apps.training.figures import HIGHER_IS_BETTER, metric_name

LOWER_IS_BETTER = frozenset(
    ("brier", "crps", "ece", "elbo", "fid", "kl", "loss", "mae", "mape", "mse", "nll", "nrmse", "rmse")
)
NOMINAL = {"coverage": 0.9}
"""Metrics that should be neither low nor high but this."""


def verdict(results: Mapping[str, Any]) -> str:
    """Say whether the model beats the best baseline on the first metric, and how surely.

    ``results["yardsticks"]`` names what is no baseline, for it was given what no model is, and what that was: they do
    not decide, and a sentence after the first has their figures. ``results["goals"]`` holds the value that a metric
    has by definition where there is nothing left to gain: a last sentence says whether it lies in the interval.
    """
    return " ".join([_verdict(results), *_measured_by(results), *_beside_goal(results)])


def _verdict(results: Mapping[str, Any]) -> str:
    model, metrics = results["model"], results["metrics"]
    metric = next(iter(metrics[model]))
    name = metric_name(metric)
    value = metrics[model][metric]
    rivals, aim = _rivals(results, metric), better(metric, results)
    if not is_number(value):
        return f"{model} has no {name}: its evaluation did not give a number."
    if not rivals or aim is None:
        return f"{model} reaches {name} {value:.3g} on the test part; there is no baseline to compare it with."
    rival = min(rivals, key=lambda who: distance(rivals[who], aim))
    against = f"the best baseline, {rival}"
    if isinstance(aim, float):
        closer = distance(value, aim) < distance(rivals[rival], aim)
        return f"{model} comes {'' if closer else 'no '}closer to the nominal {name} of {aim:g} than {against}."
    gain, low, high = _gain(results, metric, rival, value, rivals[rival])
    sure = math.isfinite(low) and math.isfinite(high)
    verb, adjective, opposite = ("lowers", "lower", "higher") if aim == "lower" else ("raises", "higher", "lower")
    if gain > 0 and not sure:
        return f"{model} {verb} the {name} of {against}, by {percent(gain)} %; no interval was measured."
    if gain > 0 and low > 0:
        interval = f"95 % interval {percent(low)} to {percent(high)}"
        return f"{model} {verb} the {name} of {against}, by {percent(gain)} % ({interval})."
    if gain > 0:
        interval = f"95 % interval of the difference, {percent(low)} to {percent(high)} %"
        return (
            f"{model} does not clearly beat {against}: its {name} is {percent(gain)} % {adjective}, but the "
            f"{interval}, includes zero."
        )
    if not sure:
        return f"{model} does not beat {against}: its {name} is {percent(-gain)} % {opposite}."
    interval = f"95 % interval {percent(-high)} to {percent(-low)}"
    tail = "" if high < 0 else ", so the two can't be told apart"
    return f"{model} does not beat {against}: its {name} is {percent(-gain)} % {opposite} ({interval}){tail}."


def _rivals(results: Mapping[str, Any], metric: str) -> dict[str, float]:
    """Return a metric of the baselines that have it."""
    others = (results.get("yardsticks") or {}).keys() | {results["model"]}
    return {
        who: one[metric] for who, one in results["metrics"].items() if who not in others and is_number(one.get(metric))
    }


def _measured_by(results: Mapping[str, Any]) -> list[str]:
    """Say which figures of the first metric the yardsticks have."""
    model, metrics = results["model"], results["metrics"]
    metric = next(iter(metrics[model]))
    value, told = metrics[model][metric], []
    for who, given in (results.get("yardsticks") or {}).items():
        theirs = metrics[who].get(metric)
        if is_number(value) and is_number(theirs):
            told.append(
                f"The yardstick {who}, which {given}, has {metric_name(metric)} {theirs:.3g} where {model} has "
                f"{value:.3g}."
            )
    return told


def _beside_goal(results: Mapping[str, Any]) -> list[str]:
    """Say whether the goal of the first metric lies in the interval of the model's."""
    model = results["model"]
    metric = next(iter(results["metrics"][model]))
    goal = (results.get("goals") or {}).get(metric)
    interval = ((results.get("intervals") or {}).get(model) or {}).get(metric)
    if goal is None or interval is None:
        return []
    low, high = interval
    # Of an interval that ends close to the goal as many digits are told as show on which side.
    digits = next((d for d in range(3, 8) if goal not in (round(low, d), round(high, d))), 3)
    where = "includes" if low <= goal <= high else "lies below" if high < goal else "lies above"
    return [f"The 95 % interval of its {metric_name(metric)}, {low:.{digits}f} to {high:.{digits}f}, {where} {goal:g}."]


def better(metric: str, results: Mapping[str, Any]) -> str | float | None:
    """Return ``"lower"``, ``"higher"``, the value a metric should have, or None where neither is better.

    ``results["better"]`` may say it for an application's own metrics.
    """
    said = results.get("better") or {}
    if metric in said:
        return said[metric] if isinstance(said[metric], str) else float(said[metric])
    if metric in NOMINAL:
        return NOMINAL[metric]
    return "higher" if metric in HIGHER_IS_BETTER else "lower" if metric in LOWER_IS_BETTER else None


def bootstrapped(bootstrap: Mapping[str, Any]) -> str:
    """Say what a bootstrap draws anew: blocks of so much time, or samples.

    Example:
        >>> bootstrapped({"block": 72.0, "time_unit": "h"}), bootstrapped({"of": "series, class by class"})
        ('blocks of 72 hours', 'series, class by class')
    """
    if "of" in bootstrap:
        return bootstrap["of"]
    unit = {"h": "hours", "d": "days", "min": "minutes", "s": "seconds"}.get(bootstrap.get("time_unit", ""), "units")
    return f"blocks of {bootstrap['block']:g} {unit}"


def is_number(value: Any) -> bool:
    """Tell whether a value is a finite number."""
    return isinstance(value, int | float) and math.isfinite(value)


def distance(value: float, aim: str | float) -> float:
    """How far from good a value is, for ``min``."""
    if isinstance(aim, str):
        return value if aim == "lower" else -value
    return abs(value - aim)


def _gain(
    results: Mapping[str, Any], metric: str, rival: str, ours: float, theirs: float
) -> tuple[float, float, float]:
    """Return by what share the model is better than a rival, and the interval (NaN where none was measured)."""
    known = (results.get("gains") or {}).get(rival, {}).get(metric)
    if known:
        return known["gain"], known["low"], known["high"]
    change = (theirs - ours) / abs(theirs) if theirs else 0.0
    return (change if better(metric, results) == "lower" else -change), math.nan, math.nan


def percent(share: float) -> str:
    """Write a share in per cent, with as many decimals as it needs.

    Example:
        >>> percent(0.0414), percent(-0.36)
        ('4.1', '−36')
    """
    value = 100 * share
    text = f"{value:.0f}" if abs(value) >= 19.95 else f"{value:.1f}"
    return text.replace("-", "−") if float(text) else text.lstrip("-")


def further(results: Mapping[str, Any]) -> list[str]:
    """Say what the verdict leaves out: the other metrics, lost ones by name, and the coverage."""
    model, metrics, gains = results["model"], results["metrics"], results.get("gains") or {}
    told, lost = [], []
    for metric, value in list(metrics[model].items())[1:]:
        aim, name = better(metric, results), metric_name(metric)
        rivals = _rivals(results, metric)
        if not isinstance(aim, str) or not rivals or not is_number(value):
            continue
        rival = min(rivals, key=lambda who, rivals=rivals, aim=aim: distance(rivals[who], aim))
        if metric in gains.get(rival, {}):
            gain, low, high = (gains[rival][metric][key] for key in ("gain", "low", "high"))
            side = "below" if (gain >= 0) == (aim == "lower") else "above"
            low, high = (low, high) if gain >= 0 else (-high, -low)
            interval = f"95 % interval {percent(low)} to {percent(high)}"
            told.append(f"Its {name} lies {percent(abs(gain))} % {side} that of {rival} ({interval}).")
        elif distance(rivals[rival], aim) < distance(value, aim):
            lost.append(f"{name} ({rival})")
    if lost:
        told.append(f"A baseline is better in {' and '.join(lost)}.")
    if is_number(metrics[model].get("coverage")) and better("coverage", results) == NOMINAL["coverage"]:
        told.append(f"Its 90 % intervals held {100 * metrics[model]['coverage']:.1f} % of the observations.")
    return told
