"""The ledger of improvements: what its files hold, the rule of the verdict, and the page that is made of them."""

import json
import math
import re
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scipy import stats

Row = dict[str, Any]
NAME_OF_PAGE = "improvements.md"
SIDES, FIGURES = ("without", "with"), ("error", "evaluations", "seconds", "robustness")
TEXTS = ("tool", "problem", *SIDES, "error_of", "robustness_of", "source", "note", "command", "commit", "machine")
MAY_BE_EMPTY = ("robustness_of", "note")
CONFIDENCE, EQUAL, SAVING = 0.95, 0.01, 0.2
"""Of the intervals; how much greater an error may be and count as equal; which share less counts as cheaper."""

RULES = f"""\
Each tool is one experiment: the same problem, data, network and budget of training from the same seeds, without and \
with the tool. Choices of both sides, such as a rate of learning or a strength of regularisation, were made on \
validation parts or on other seeds; figures are of test parts. Means are over seeds. The change is the ratio with / \
without, the geometric mean over the pairs, with a {CONFIDENCE:.0%} interval of Student's t for the paired differences \
of the logarithms; where an error is not positive it is the difference itself. Seconds are CPU seconds of one thread.

The verdict follows from the intervals alone:

- **helps**: the whole interval of the error lies below 1;
- **more robust**: so does that of the robustness, an error where data or solver are disturbed;
- **costs less**: evaluations or seconds fall by {SAVING:.0%} or more, and the interval of their ratio lies below 1;
- these three count where the error is no worse: its interval includes 1 or lies below, or its mean ratio is at most \
{1 + EQUAL:g}. Where it is worse, the tool is **a trade** if it gains one of the last two, else it **harms**;
- **does not help**: none of these. What rises by as much as a saving would fall is named, too."""


@dataclass(frozen=True)
class Change:
    """What a tool changes: with / without as a geometric mean over pairs, or with - without.

    Attributes:
        middle, low, high: the mean and the bounds of its interval.
        ratio: whether it is a ratio, as where all values are positive.
    """

    middle: float
    low: float
    high: float
    ratio: bool

    @property
    def none(self) -> float:
        """What stands for no change."""
        return 1.0 if self.ratio else 0.0

    @property
    def falls(self) -> bool:
        """Whether the whole interval is on the side of less."""
        return self.high < self.none

    @property
    def rises(self) -> bool:
        """Whether the whole interval is on the side of more, and by more than counts as equal."""
        return self.low > self.none and (not self.ratio or self.middle > 1 + EQUAL)


@dataclass(frozen=True)
class Verdict:
    """What the rule says: ``word`` is ``"gain"``, ``"trade"``, ``"none"`` or ``"harm"``, ``told`` is for the page."""

    word: str
    told: str


def stem_of(tool: str) -> str:
    """Return the name of a tool's file, without its ending."""
    return re.sub(r"[^a-z0-9]+", "_", tool.lower()).strip("_")


def faults(row: Row, *, stem: str) -> list[str]:
    """Say what is wrong with a file of the ledger, one phrase each; nothing for one that keeps the rules."""
    wanted = {*TEXTS, "seeds", "outcomes"}
    wrong = [f"{name} is missing" for name in sorted(wanted - set(row))]
    wrong += [f"{name} is not a known field" for name in sorted(set(row) - wanted)]
    if wrong:
        return wrong
    wrong += [
        f"{name} must be text{'' if name in MAY_BE_EMPTY else ', and not empty'}"
        for name in TEXTS
        if not isinstance(row[name], str) or not (name in MAY_BE_EMPTY or row[name].strip())
    ]
    if not wrong and stem_of(row["tool"]) != stem:
        wrong.append(f"the tool is {row['tool']!r}, the file {stem!r}")
    if not row["seeds"] or len(set(row["seeds"])) < len(row["seeds"]):
        wrong.append("seeds must be at least one, each once")
    for side in SIDES:
        outcomes = row["outcomes"].get(side, [])
        if len(outcomes) != len(row["seeds"]):
            wrong.append(f"{side} must have an outcome for each of {len(row['seeds'])} seeds")
        for outcome in outcomes:
            wrong += [f"{side}: {phrase}" for phrase in _outcome_faults(outcome, bool(row["robustness_of"]))]
    return wrong


def _outcome_faults(outcome: Row, robust: bool) -> list[str]:
    if set(outcome) != set(FIGURES):
        return [f"an outcome must have {', '.join(FIGURES)}"]
    figures = FIGURES if robust else FIGURES[:-1]
    wrong = [f"{name} must be a finite number, got {outcome[name]}" for name in figures if not _finite(outcome[name])]
    if not robust and outcome["robustness"] is not None:
        wrong.append("robustness must be None where robustness_of is empty")
    return wrong


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def read_ledger(folder: Path) -> list[Row]:
    """Read every file of the ledger, in the order of their names.

    Raises:
        ValueError: one breaks the rules; the message names the file and all that is wrong.
    """
    rows = []
    for path in sorted(folder.glob("*.json")):
        row = json.loads(path.read_text(encoding="utf-8"))
        if wrong := faults(row, stem=path.stem):
            raise ValueError(f"{path.name}: {'; '.join(wrong)}: measure the tool again.")
        rows.append(row)
    return rows


def change(row: Row, figure: str) -> Change | None:
    """Return by how much the tool changes a figure; None where it was not measured."""
    before, after = ([outcome[figure] for outcome in row["outcomes"][side]] for side in SIDES)
    if None in (*before, *after):
        return None
    ratio = min(*before, *after) > 0
    scaled = math.log if ratio else float
    differences = [scaled(new) - scaled(old) for old, new in zip(before, after, strict=True)]
    mean, half = statistics.mean(differences), math.inf
    if len(differences) > 1:
        quantile = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(differences) - 1))
        half = quantile * statistics.stdev(differences) / math.sqrt(len(differences))
    back = math.exp if ratio else float
    return Change(back(mean), back(mean - half), back(mean + half), ratio)


def verdict(row: Row) -> Verdict:
    """Judge a tool by the rule that stands on the page."""
    error, robustness = change(row, "error"), change(row, "robustness")
    assert error is not None
    costs = {name: found for name in ("evaluations", "seconds") if (found := change(row, name))}
    fewer = [name for name, each in costs.items() if each.falls and each.ratio and each.middle <= 1 - SAVING]
    more = [name for name, each in costs.items() if each.rises and each.ratio and each.middle >= 1 / (1 - SAVING)]
    gains = ["more robust"] if robustness and robustness.falls else []
    gains += [f"costs less ({' and '.join(fewer)})"] if fewer else []
    losses = ["less robust"] if robustness and robustness.rises else []
    losses += [f"more {' and '.join(more)}"] if more else []
    beside = f"; {', '.join(losses)}" if losses else ""
    if error.rises:
        return (
            Verdict("trade", f"a trade: {', '.join(gains)}, at a greater error{beside}")
            if gains
            else Verdict("harm", f"harms{beside}")
        )
    gains = (["helps"] if error.falls else []) + gains
    return Verdict("gain", f"{', '.join(gains)}{beside}") if gains else Verdict("none", f"does not help{beside}")


def ledger_page(rows: list[Row]) -> str:
    """Write the page: a line a tool, by verdict, and how each was measured."""
    lines = [
        "<!-- Generated by `python benchmarks/improvements.py` from the files in `benchmarks/improvements/`: "
        "do not edit. -->",
        "# What each tool changes",
        "",
        RULES,
        "",
    ]
    judged = [(row, verdict(row)) for row in rows]
    for title, words in (
        ("Tools that gain something", ("gain",)),
        ("Tools that trade error for something else", ("trade",)),
        ("Tools that do not help here", ("none", "harm")),
    ):
        section = [(row, found) for row, found in judged if found.word in words]
        lines += [f"## {title}", "", *(_table(section) if section else ["None."]), ""]
    lines += ["## How each was measured", ""]
    for row, _ in judged:
        lines += _measured(row)
    return "\n".join(lines)


def _table(section: list[tuple[Row, Verdict]]) -> list[str]:
    lines = [
        "| tool | problem | error, without → with | robustness | evaluations | CPU seconds | verdict |",
        "|---" * 7 + "|",
    ]
    for row, found in section:
        cells = (row["tool"], row["problem"], *(_change(row, name) for name in ("error", "robustness")))
        costs = (_change(row, name) for name in ("evaluations", "seconds"))
        told = (*cells, *costs, f"**{found.told}**")
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in told) + " |")
    return lines


def _change(row: Row, figure: str) -> str:
    """Write a figure without and with the tool, and the change with its interval."""
    found = change(row, figure)
    if found is None:
        return ""
    before, after = (statistics.mean(outcome[figure] for outcome in row["outcomes"][side]) for side in SIDES)
    told = f"{before:.3g} → {after:.3g}<br>"
    if not math.isfinite(found.high):
        return f"{told}{'×' if found.ratio else ''}{found.middle:.3g} (one seed)"
    return f"{told}{'×' if found.ratio else ''}{found.middle:.3g} ({found.low:.3g} to {found.high:.3g})"


def _measured(row: Row) -> list[str]:
    lines = [
        f"### {row['tool'][:1].upper()}{row['tool'][1:]}",
        "",
        f"- Problem: {row['problem']}.",
        f"- Without: {row['without']}. With: {row['with']}.",
        f"- Error: {row['error_of']}." + (f" Robustness: {row['robustness_of']}." if row["robustness_of"] else ""),
        f"- `{row['command']}` at commit {row['commit']} on {row['machine']}.",
        f"- Source: {row['source']}.",
    ]
    lines += [f"- {row['note'].rstrip('.')}."] if row["note"] else []
    lines += ["", "| seed | side | " + " | ".join(FIGURES) + " |", "|---" * (2 + len(FIGURES)) + "|"]
    for at, seed in enumerate(row["seeds"]):
        for side in SIDES:
            outcome = row["outcomes"][side][at]
            told = ("" if outcome[name] is None else f"{outcome[name]:.5g}" for name in FIGURES)
            lines.append(f"| {seed} | {side} | " + " | ".join(told) + " |")
    return [*lines, ""]
