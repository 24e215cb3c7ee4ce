"""The map of architectures as equations: its rows, and the public names that they explain, read without torch.

``correspondences.json`` beside this file is written by ``python docs/map.py`` from tests that measure every row.
"""

import ast
import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

CORE = Path(__file__).parent
LEVELS = ("model", "layer", "sampler", "field", "training")
"""The levels at which an architecture is an equation, in the order of the map."""
FOLDERS = {
    "model": "models",
    "layer": "layers",
    "sampler": "diffusion/samplers",
    "field": "fields",
    "operator": "operators",
}
"""Where the public names of each kind are."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """An architecture and its equation, with how far the two were measured to be apart.

    Attributes:
        name: of the row, that of its test without ``test_``.
        architecture: what a practitioner calls it.
        explains: public names of this package that it tells of.
        level: at which it is an equation, one of ``LEVELS``.
        equation: it.
        discretisation: how the architecture solves it.
        follows: what the view gives that the architecture alone does not tell.
        source: author, year, title, equation.
        tolerance: that the error must not exceed.
        error_of: what was measured.
        error: it, rounded to two digits.
        test: the file that measures it.
    """

    name: str
    architecture: str
    explains: tuple[str, ...]
    level: str
    equation: str
    discretisation: str
    follows: str
    source: str
    tolerance: float
    error_of: str
    error: float
    test: str


@dataclass(frozen=True)
class Subject:
    """A public name that can be explained.

    Attributes:
        kind: ``"layer"``, ``"model"``, ``"sampler"``, ``"field"``, ``"operator"``, or the folder of another.
        name: as it is imported, or as the sampler is called.
        summary: the first line of its docstring.
        place: its place on the map, as its docstring has it; empty where it tells of none.
    """

    kind: str
    name: str
    summary: str
    place: str


@cache
def rows() -> tuple[Row, ...]:
    """Return the rows of the map, by level.

    Example:
        >>> [row.discretisation for row in rows() if row.name == "bilinear_s4d_is_the_trapezoidal_rule"]
        ['trapezoidal rule']
    """
    found = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))
    return tuple(Row(**{**row, "explains": tuple(row["explains"])}) for row in found)


def subject(name: str) -> Subject | None:
    """Return what the package offers under a name, in any spelling, to build models with or because a row explains it.

    Example:
        >>> subject("neural_ode").kind, subject("DPMpp-2M").name, subject("no such thing")
        ('model', 'dpmpp_2m', None)
    """
    known = {spelling(each): each for each in _definitions()}
    return _subject(known[spelling(name)]) if spelling(name) in known else None


@cache
def subjects() -> tuple[Subject, ...]:
    """Return all of them, by kind.

    Example:
        >>> [one.kind for one in subjects() if one.name in ("S5", "dpmpp_2m")]
        ['layer', 'sampler']
    """
    return tuple(found for name in _definitions() if (found := _subject(name)))


def spelling(name: str) -> str:
    """Return a name as small letters and digits alone, which is what its spellings share.

    Example:
        >>> {spelling(name) for name in ("NeuralODE", "neural_ode", "neural ODE")}
        {'neuralode'}
    """
    return re.sub(r"[^a-z0-9]", "", name.lower())


class _Definition(NamedTuple):
    """Of which kind a name is, in which file it is defined, and how it is called there."""

    kind: str
    path: Path
    name: str


@cache
def _definitions() -> dict[str, _Definition]:
    """Return where the names are defined: the samplers, what the other kinds export, what else a row explains."""
    found: dict[str, _Definition] = {}
    for kind, folder in FOLDERS.items():
        if kind == "sampler":
            found |= _samplers()
        else:
            names = exported(CORE / folder / "__init__.py")
            found |= {name: _Definition(kind, path, name) for name, path in names.items()}
    wanted = {name for row in rows() for name in row.explains if name not in found}
    if wanted:
        defined = re.compile(rf"^(?:class|def) ({'|'.join(sorted(wanted))})\b", re.MULTILINE)
        for path in sorted(CORE.rglob("*.py")):
            for name in defined.findall(path.read_text(encoding="utf-8")):
                found.setdefault(name, _Definition(path.relative_to(CORE).parts[0], path, name))
    return found


def exported(init: Path) -> dict[str, Path]:
    """Return what a package imports from files of ``core``, each name with its file."""
    found = {}
    for node in _parsed(init).body:
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("integrand.core."):
            path = CORE.joinpath(*node.module.split(".")[2:]).with_suffix(".py")
            found |= {alias.name: path for alias in node.names}
    return found


def _samplers() -> dict[str, _Definition]:
    """Return the samplers by the names that the registry gives them."""
    registry = CORE / FOLDERS["sampler"] / "registry.py"
    files, found = exported(registry), {}
    for node in ast.walk(_parsed(registry)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Sampler":
            name, function = node.args[:2]
            assert isinstance(name, ast.Constant)
            assert isinstance(function, ast.Name)
            found[str(name.value)] = _Definition("sampler", files[function.id], function.id)
    return found


def _subject(name: str) -> Subject | None:
    """Return what the source tells of a name, or None where it is neither an architecture nor explained by a row."""
    kind, path, defined = _definitions()[name]
    for node in _parsed(path).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == defined:
            told = (ast.get_docstring(node) or "").replace("``", "")
            place = re.search(r"^Its place on the map: (.+?)(?:\n\s*\n|\Z)", told, re.MULTILINE | re.DOTALL)
            if place or kind == "sampler" or any(name in row.explains for row in rows()):
                return Subject(kind, name, told.partition("\n")[0], " ".join(place[1].split()) if place else "")
    return None


@cache
def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))
