"""The page of an analysis: what every instrument said, its figures, and the numbers behind."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from integrand.apps.analysis.subject import Subject
from integrand.apps.training.figures import read_captions
from integrand.apps.training.files import write_json
from integrand.apps.training.report import notice, picture, read_results, write_page
from integrand.apps.training.run_folder import RunFolder
from integrand.apps.training.tables import Cell, Table
from integrand.core.analysis import Finding

ORDER = ("flawed", "doubtful", "sound", "told")
"""Verdicts, those to be read first."""


def folder_of(run: RunFolder) -> Path:
    """Return the folder of the figures of a run's analysis."""
    return run.path / "analysis"


def write_analysis(run: RunFolder, subject: Subject, findings: Sequence[Finding]) -> Path:
    """Write ``analysis.json`` and ``analysis.html`` into a run, and return the page.

    Args:
        run: the run, whose folder of figures holds those that were drawn.
        subject: what was examined.
        findings: in the order in which instruments spoke.
    """
    write_json(run.path / "analysis.json", [_finite(asdict(one)) for one in findings])
    results = read_results(run)
    figures = folder_of(run)
    pictures = [
        picture((figures / entry["file"]).read_bytes(), title=entry["title"], caption=entry["caption"])
        for entry in read_captions(figures)
    ]
    ordered = sorted(findings, key=lambda one: ORDER.index(one.verdict))
    page = {
        "kind": "analysis",
        "title": f"How far to rely on {results['model']} on {results['dataset']}",
        "subtitle": "/".join(run.path.resolve().parts[-3:]),
        "notice": notice(results),
        "verdict": summary(findings),
        "findings": ordered,
        "pictures": pictures,
        "tables": [_table(one) for one in ordered if one.rows],
        "facts": [
            ("answers", subject.answers),
            ("score", f"{subject.metric}, {subject.better} is better" if subject.metric else ""),
            ("equation", subject.equation if subject.flow or figures.is_dir() else ""),
        ],
    }
    return write_page(page, run.path / "analysis.html")


def summary(findings: Sequence[Finding]) -> str:
    """Say in a sentence what the instruments found together.

    Example:
        >>> summary([Finding(instrument="solver audit", verdict="sound", statement="Of the equation.")])
        'The one instrument that judges found nothing against relying on this model.'
        >>> summary([Finding(instrument="depth audit", verdict="flawed", statement="It does not converge.")])
        'Flawed by depth audit: it does not converge.'
    """
    judged = [one for one in findings if one.verdict != "told"]
    for verdict in ("flawed", "doubtful"):
        named = [one for one in judged if one.verdict == verdict]
        if len(named) == 1:
            first = named[0].statement.split(". ")[0].rstrip(".")
            return f"{verdict.capitalize()} by {named[0].instrument}: {first[0].lower()}{first[1:]}."
        if named:
            others = ", ".join(one.instrument for one in named)
            return f"{verdict.capitalize()} by {len(named)} of {len(judged)} instruments: {others}."
    many = "The one instrument that judges" if len(judged) == 1 else f"All {len(judged)} instruments that judge"
    return f"{many} found nothing against relying on this model." if judged else "No instrument judges this model."


def _finite(value: Any) -> Any:
    """Return nested values with None for numbers that JSON cannot hold."""
    if isinstance(value, Mapping):
        return {name: _finite(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _table(finding: Finding) -> Table:
    first = finding.rows[0]
    heads = [name for name, value in first.items() if isinstance(value, str)] or [next(iter(first))]
    columns = [name for name in first if name not in heads]
    rows = [
        ([str(row[name]) for name in heads], [Cell(_written(row[name])) for name in columns], False)
        for row in finding.rows
    ]
    return Table(finding.instrument.capitalize(), heads, columns, rows)


def _written(value: float | str) -> str:
    if isinstance(value, str):
        return value
    if not math.isfinite(value):
        return "–"
    if isinstance(value, int) or (float(value).is_integer() and abs(value) < 1e6):
        return f"{int(value):,}"
    return f"{value:.4g}".replace("-", "−")
