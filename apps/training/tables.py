"""Tables of results: what is in a cell, how many digits it takes, and which of a column is the best."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from integrand.apps.training.figures import metric_name
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


def _cells(values: Sequence[Any], aim: str | float | None, intervals: Sequence[Any] | None = None) -> list[Cell]:
    """Write one column; what is best is so by its unrounded value."""
    numbers = [v for v in values if is_number(v)]
    digits = _decimals(numbers)
    best = min((distance(v, aim) for v in numbers), default=None) if aim is not None and len(numbers) > 1 else None
    cells = []
    for value, interval in zip(values, intervals or [None] * len(values), strict=True):
        note = "" if not interval else f"{_number(interval[0], digits)} to {_number(interval[1], digits)}"
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
    rows: dict[tuple[Any, ...], tuple[list[str], dict[str, Any], dict[str, Any], bool]] = {}
    for label, one in zip(labels, results, strict=True):
        for who, metrics in one["metrics"].items():
            mine = who == one["model"]
            # A baseline is fitted without chance: the same numbers on the same test part are the same baseline.
            key = (label, who) if mine else (who, one["dataset"], one["split_hash"], tuple(sorted(metrics.items())))
            if key in rows:
                rows[key][0][0] += f", {label}"
            else:
                rows[key] = ([label, who], metrics, (one.get("intervals") or {}).get(who, {}), mine)
    listed = sorted(rows.values(), key=lambda row: not row[3])
    for heads, _, _, mine in listed:
        if not mine and len(results) > 1 and heads[0] == ", ".join(labels):
            heads[0] = "all"
    names = list(dict.fromkeys(metric for _, metrics, _, _ in listed for metric in metrics))
    columns = [
        _cells(
            [metrics.get(name) for _, metrics, _, _ in listed],
            better(name, results[0]) if comparable else None,
            [intervals.get(name) for _, _, intervals, _ in listed],
        )
        for name in names
    ]
    body = [(row[0], [column[i] for column in columns], row[3]) for i, row in enumerate(listed)]
    note = "Best of each column in bold." if comparable else "Nothing is in bold, as the tests differ."
    return Table("Test part, run by run", ["run", ""], [metric_name(name) for name in names], body, note)
