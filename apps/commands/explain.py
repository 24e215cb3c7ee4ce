"""``integrand explain``: which equation an architecture is, and how far from it the two were measured."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from integrand.apps.application import load
from integrand.apps.commands.columns import columns
from integrand.apps.commands.parsing import CommandParser
from integrand.core.correspondences import FOLDERS, LEVELS, Row, Subject, rows, spelling, subject, subjects
from integrand.core.errors import InputError, unknown

RECOGNISE = "integrand.apps.conversion.recognition:recognise_file"
"""What tells of a module in a file; it imports torch, which a name does not need."""


def run(arguments: list[str]) -> int:
    """Print the rows of the map for a name, the names there are, or what the module in a file is made of."""
    parser = CommandParser(
        "integrand explain",
        description="Tell which equation an architecture is, how it solves it, and how far apart the two are.",
        examples=(
            "integrand explain                    what can be explained",
            "integrand explain s5                 a layer, model, sampler, field or operator of this package",
            "integrand explain transformer        an architecture that is on the map",
            "integrand explain --from module.pt2  what an exported module is made of",
        ),
    )
    parser.add_argument("name", nargs="*", metavar="NAME", help="in any spelling: NeuralODE, neural_ode, neural ode")
    parser.add_argument("--from", dest="file", type=Path, metavar="FILE", help="a module exported by torch.export")
    given = parser.parse_args(arguments)
    name = " ".join(given.name)
    if given.file is not None:
        if name:
            raise InputError(f"NAME and --from exclude each other, got {name!r} and {given.file}: leave one out.")
        if not given.file.is_file():
            raise InputError(f"--from: {given.file} is no file: give one that torch.export.save wrote.")
        lines = load(RECOGNISE)(given.file)
    else:
        lines = explained(name) if name else overview()
    print("\n".join(lines))
    return 0


def explained(name: str) -> list[str]:
    """Return what is known of a public name or an architecture.

    Raises:
        InputError: nothing is called so.
    """
    known = subject(name)
    if known is not None:
        found = [row for row in rows() if known.name in row.explains]
        lines = _introduced(known, bool(found))
    else:
        found, lines = architectures(name), []
    if known is None and not found:
        names = [*(one.name for one in subjects()), *_distinct(row.architecture for row in rows())]
        raise unknown("name", name, names)
    for row in found:
        lines += [*([""] if lines else []), *_told(row)]
    return lines


def architectures(name: str) -> list[Row]:
    """Return the rows whose architecture is called so, or else those in whose name the words stand."""
    same = [row for row in rows() if spelling(name) in _keys(row)]
    words = _words(name)
    return same or [row for row in rows() if words and words <= _words(row.architecture)]


def overview() -> list[str]:
    """Return the names that can be explained, by kind."""
    kinds = _distinct(one.kind for one in subjects())
    table = [
        (f"{kind}s" if kind in FOLDERS else kind, ", ".join(one.name for one in subjects() if one.kind == kind))
        for kind in kinds
    ]
    for level in LEVELS:
        names = _distinct(row.architecture for row in rows() if row.level == level)
        if names:
            table.append((f"on the map: {level}", "; ".join(names)))
    return [columns(table, indent=0), "", "integrand explain NAME tells of one."]


def _introduced(known: Subject, has_rows: bool) -> list[str]:
    table = [("kind", known.kind), ("its place", known.place)]
    if not has_rows:
        table.append(("measured", "no correspondence of it yet"))
    return [f"{known.name}: {known.summary}", columns([line for line in table if line[1]])]


def _told(row: Row) -> list[str]:
    table = [
        ("level", row.level),
        ("equation", row.equation),
        ("discretisation", row.discretisation),
        ("what follows", row.follows),
        ("source", row.source),
        ("measured", f"{row.error:.2g}, at most {row.tolerance:g} ({row.error_of})"),
        ("test", f"{row.test}::test_{row.name}"),
    ]
    return [row.architecture, columns(table)]


def _keys(row: Row) -> set[str]:
    """Return what an architecture is called: all of it, and what is in brackets, and what is not."""
    short = re.findall(r"\((.+?)\)", row.architecture)
    return {spelling(name) for name in (row.architecture, re.sub(r"\(.+?\)", "", row.architecture), *short)}


def _words(name: str) -> set[str]:
    return set(re.findall(r"[a-z0-9]+", name.lower()))


def _distinct(names: Iterable[str]) -> Sequence[str]:
    return list(dict.fromkeys(names))
