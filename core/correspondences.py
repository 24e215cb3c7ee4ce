"""The map of architectures as equations: its rows, and the public names that they explain, read without torch.

``correspondences.json`` beside this file is written by ``python docs/map.py`` from tests that measure every row.
"""

import ast
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

CORE = Path(__file__).parent
LEVELS = ("model", "layer", "sampler", "field", "training")
"""The levels at which an architecture is an equation, in the order of the map."""
FOLDERS = {"model": "models", "layer": "layers", "sampler": "diffusion/samplers", "field": "fields"}
FOLDERS["operator"] = "operators"
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


@cache
def subjects() -> tuple[Subject, ...]:
    """Return what the package offers to build models with, and whatever else a row explains, from their source.

    Example:
        >>> [subject.kind for subject in subjects() if subject.name in ("S5", "dpmpp_2m")]
        ['layer', 'sampler']
    """
    found: list[Subject] = []
    for kind, folder in FOLDERS.items():
        found += _samplers() if kind == "sampler" else _placed(kind, CORE / folder)
    known = {subject.name for subject in found}
    wanted = {name for row in rows() for name in row.explains} - known
    for init in sorted(CORE.glob("*/__init__.py")):
        for name, path in exported(init).items():
            if name in wanted and (node := _definition(path, name)):
                wanted.discard(name)
                found.append(_subject(init.parent.name, name, node))
    return tuple(found)


def exported(init: Path) -> dict[str, Path]:
    """Return the public names of a package, each with the file that it is imported from."""
    tree = ast.parse(init.read_text(encoding="utf-8"))
    found = {}
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("integrand.core."):
            path = CORE.joinpath(*node.module.split(".")[2:]).with_suffix(".py")
            found |= {alias.asname or alias.name: path for alias in node.names}
    return found


def _placed(kind: str, folder: Path) -> Iterator[Subject]:
    """Yield the public classes of a folder that tell of their place on the map."""
    for name, path in exported(folder / "__init__.py").items():
        node = _definition(path, name)
        if isinstance(node, ast.ClassDef) and (subject := _subject(kind, name, node)).place:
            yield subject


def _samplers() -> Iterator[Subject]:
    """Yield the samplers by the names that the registry gives them, each with its function's docstring."""
    folder = CORE / FOLDERS["sampler"]
    files = exported(folder / "registry.py")
    for node in ast.walk(ast.parse((folder / "registry.py").read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Sampler":
            name, function = node.args[:2]
            assert isinstance(name, ast.Constant)
            assert isinstance(function, ast.Name)
            if isinstance(defined := _definition(files[function.id], function.id), ast.FunctionDef):
                yield _subject("sampler", str(name.value), defined)


def _definition(path: Path, name: str) -> ast.ClassDef | ast.FunctionDef | None:
    for node in _parsed(path).body if path.is_file() else ():
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name:
            return node
    return None


@cache
def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _subject(kind: str, name: str, node: ast.ClassDef | ast.FunctionDef) -> Subject:
    told = (ast.get_docstring(node) or "").replace("``", "")
    place = re.search(r"^Its place on the map: (.+?)(?:\n\s*\n|\Z)", told, re.MULTILINE | re.DOTALL)
    return Subject(kind, name, told.partition("\n")[0], " ".join(place[1].split()) if place else "")
