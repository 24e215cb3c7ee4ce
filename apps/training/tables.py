"""Tables of results: what is in a cell, how many digits it takes, and which of a column is the best."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from integrand.apps.training.figures import metric_name
from integrand.apps.training.seed_groups import SeedGroup
from integrand.apps.training.verdict import better, bootstrapped, distance, is_number


@dataclass(frozen=True)
class Cell:
    """One number of a table: its text, a second line, and whether it is the column's best."""

    text: str
    note: str = ""
    best: bool = False


@dataclass(frozen=True)
class Table:
    """A table as the template shows it; each row is its headings and its cells."""

    caption: str
    heads: list[str]
    columns: list[str]
    rows: list[tuple[list[str], list[Cell], bool]]
    note: str = ""


def _decimals(values: Sequence[float]) -> int:
    """Return how many decimals show three digits of the typical value, or up to two more that tell all apart."""
    sizes = sorted(abs(value) for value in values if value)
    least = 2 - math.floor(math.log10(sizes[len(sizes) // 2])) if sizes else 2
    least = min(max(least, 0), 8)
    apart = (d for d in range(least, least + 3) if len({f"{v:.{d}f}" for v in values}) == len(set(values)))
    return next(apart, least)


def _number(value: Any, digits: int) -> str:
    if not is_number(value):
        return "–"
    if value and (abs(value) >= 1e6 or abs(value) < 0.5 * 10.0**-digits):
        return f"{value:.2e}".replace("-", "−")
    return f"{value:,.{digits}f}".replace("-", "−")


def _cells(
    values: Sequence[Any],
    aim: str | float | None,
    intervals: Sequence[Any] | None = None,
    deviations: Sequence[Any] | None = None,
) -> list[Cell]:
    """Write one column, intervals or deviations below; what is best is so by its unrounded value."""
    numbers = [v for v in values if is_number(v)]
    digits = 0 if numbers and all(isinstance(v, int) for v in numbers) else _decimals(numbers)
    best = min((distance(v, aim) for v in numbers), default=None) if aim is not None and len(numbers) > 1 else None
    cells = []
    none = [None] * len(values)
    for value, interval, deviation in zip(values, intervals or none, deviations or none, strict=True):
        note = "" if not interval else f"{_number(interval[0], digits)} to {_number(interval[1], digits)}"
        if deviation is not None:
            note = f"± {_number(deviation, digits)}"
        is_best = best is not None and aim is not None and is_number(value) and distance(value, aim) == best
        cells.append(Cell(_number(value, digits), note, is_best))
    return cells


def results_table(results: Mapping[str, Any]) -> Table:
    """Set the model and the baselines beside each other, a column for each metric, with intervals where measured."""
    model, metrics = results["model"], results["metrics"]
    who = [model, *(name for name in metrics if name != model)]
    names = list(dict.fromkeys(metric for one in who for metric in metrics[one]))
    intervals = results.get("intervals") or {}
    columns = [
        _cells(
            [metrics[one].get(metric) for one in who],
            better(metric, results),
            [intervals.get(one, {}).get(metric) for one in who],
        )
        for metric in names
    ]
    bootstrap, note = (results.get("bootstrap") or {}), "Best of each column in bold."
    if bootstrap:
        note += (
            f" Small numbers: {100 * bootstrap['level']:g} % intervals by a bootstrap of whole "
            f"{bootstrapped(bootstrap)} ({bootstrap['resamples']:,} resamples). They share the luck of the test part, "
            "so they overlap even where the difference between two rows is certain; the sentence at the top rests on "
            "paired differences."
        )
    for yardstick, given in (results.get("yardsticks") or {}).items():
        note += f" The yardstick {yardstick} {given}."
    rows = [([one], [column[i] for column in columns], one == model) for i, one in enumerate(who)]
    return Table("Test part: the model and the baselines", [""], [metric_name(m) for m in names], rows, note)


def channel_tables(results: Mapping[str, Any]) -> list[Table]:
    """One table by channel for each metric, a column for each forecaster."""
    by_channel, model = (results.get("by_channel") or {}), results["model"]
    if model not in by_channel:
        return []
    who = [model, *(name for name in by_channel if name != model)]
    channels = list(by_channel[model])
    tables = []
    for metric in dict.fromkeys(metric for one in by_channel[model].values() for metric in one):
        aim = better(metric, results)
        values = [[by_channel[one].get(c, {}).get(metric) for one in who] for c in channels]
        rows = [([c], _cells(row, aim), False) for c, row in zip(channels, values, strict=True)]
        tables.append(Table(f"{metric_name(metric)} by channel", ["channel"], who, rows, "Best of each row in bold."))
    return tables


def further_table(
    caption: str, rows: Mapping[str, Mapping[str, Any]], better: Mapping[str, str], note: str
) -> dict[str, Any]:
    """Return a table as results hold it for ``further_tables``; a figure that is not finite is None, a dash.

    Example:
        >>> further_table("Errors", {"a": {"bias": float("nan"), "count": 3}}, {}, "")["rows"]
        {'a': {'bias': None, 'count': 3}}
    """
    kept = {
        name: {
            column: None if isinstance(value, float) and not math.isfinite(value) else value
            for column, value in row.items()
        }
        for name, row in rows.items()
    }
    return {"caption": caption, "rows": kept, "better": dict(better), "note": note}


def further_tables(results: Mapping[str, Any]) -> list[Table]:
    """Set what an application tells besides: ``results["tables"]``, each with rows of figures by name and column.

    A table is ``{"caption", "rows": {ROW: {COLUMN: figure}}, "better": {COLUMN: "lower" or "higher"}, "note"}``; the
    best of a column is in bold where ``better`` says which way that is.
    """
    tables = []
    for one in results.get("tables") or []:
        columns = list(dict.fromkeys(column for row in one["rows"].values() for column in row))
        made = [
            _cells([row.get(column) for row in one["rows"].values()], one["better"].get(column)) for column in columns
        ]
        rows = [([name], [column[i] for column in made], False) for i, name in enumerate(one["rows"])]
        tables.append(Table(one["caption"], [""], columns, rows, one["note"]))
    return tables


def comparison_table(labels: Sequence[str], results: Sequence[Mapping[str, Any]], comparable: bool) -> Table:
    """Set several runs beside each other; a baseline with the same numbers in several runs stands in it once.

    Args:
        labels: names of the runs.
        results: their results, in the same order.
        comparable: whether all were tested on the same data, so that one may be called the best.
    """
    rows = _rows(labels, results)
    names = list(dict.fromkeys(metric for row in rows for metric in row.metrics))
    columns = [
        _cells(
            [row.metrics.get(name) for row in rows],
            better(name, results[0]) if comparable else None,
            [(results[row.of].get("intervals") or {}).get(row.who, {}).get(name) for row in rows],
        )
        for name in names
    ]
    return _beside("Test part, run by run", "run", rows, names, columns, _best_note(comparable))


def seeds_table(groups: Sequence[SeedGroup], comparable: bool) -> Table:
    """Set the means over seeds of several groups of runs beside each other, with deviations below.

    Args:
        groups: runs that differ in their seed alone, each with its like.
        comparable: whether all were tested on the same data, so that one may be called the best.
    """
    spreads = [group.summary["metrics"] for group in groups]
    means = [
        {
            **group.results[0],
            "metrics": {who: {name: one["mean"] for name, one in of.items()} for who, of in spread.items()},
        }
        for group, spread in zip(groups, spreads, strict=True)
    ]
    rows = _rows([group.name for group in groups], means)
    names = list(dict.fromkeys(metric for row in rows for metric in row.metrics))
    columns = [
        _cells(
            [row.metrics.get(name) for row in rows],
            better(name, means[0]) if comparable else None,
            deviations=[spreads[row.of][row.who].get(name, {}).get("std") or None for row in rows],
        )
        for name in names
    ]
    note = (
        f"Small numbers: standard deviations of a sample over the seeds, where these differ. {_best_note(comparable)} "
        "A baseline that not all runs of a group had is in the table below alone."
    )
    return _beside("Test part, means over seeds", "runs", rows, names, columns, note)


@dataclass
class _Row:
    """One who is compared: whose run (``of`` counts the first that has it), its metrics, whether it is the model."""

    label: str
    who: str
    metrics: Mapping[str, Any]
    of: int
    mine: bool


def _rows(labels: Sequence[str], results: Sequence[Mapping[str, Any]]) -> list[_Row]:
    """Return the models, then the baselines; those with the same numbers are one."""
    rows: dict[tuple[Any, ...], _Row] = {}
    for i, (label, one) in enumerate(zip(labels, results, strict=True)):
        for who, metrics in one["metrics"].items():
            mine = who == one["model"]
            # A baseline is fitted without chance: the same numbers on the same test part are the same baseline.
            key = (label, who) if mine else (who, one["dataset"], one["split_hash"], tuple(sorted(metrics.items())))
            if key in rows:
                rows[key].label += f", {label}"
            else:
                rows[key] = _Row(label, who, metrics, i, mine)
    for row in rows.values():
        if not row.mine and len(results) > 1 and row.label == ", ".join(labels):
            row.label = "all"
    return sorted(rows.values(), key=lambda row: not row.mine)


def _beside(
    caption: str, head: str, rows: Sequence[_Row], names: Sequence[str], columns: Sequence[list[Cell]], note: str
) -> Table:
    body = [([row.label, row.who], [column[i] for column in columns], row.mine) for i, row in enumerate(rows)]
    return Table(caption, [head, ""], [metric_name(name) for name in names], body, note)


def _best_note(comparable: bool) -> str:
    return "Best of each column in bold." if comparable else "Nothing is in bold, as the tests differ."
