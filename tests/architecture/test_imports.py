"""Who may import whom, read from the source; and that everything imports, the head of the command line lightly."""

import ast
import importlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("core", "apps", "datasets")
FILES = [path.relative_to(ROOT) for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
HEAVY = ("torch", "lightning", "pytorch_lightning", "numpy", "scipy", "pandas", "matplotlib", "rich", "jsonargparse")

CORE_MAY = {"torch", "torchdiffeq", "torchsde", "numpy", "scipy"} | sys.stdlib_module_names
DATASETS_MAY_OF_OURS = ("integrand.datasets", "integrand.core.numerics", "integrand.core.errors")
SHARED_BY_APPS = {"analysis", "commands", "conversion", "series", "training"}


def imported(source: str) -> Iterator[str]:
    """Yield the dotted name of everything a source imports, at any depth; a relative one keeps its dots."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            yield from (f"{base}.{alias.name}" for alias in node.names)


def under(name: str, *packages: str) -> bool:
    return any(f"{name}.".startswith(f"{package}.") for package in packages)


def broken(path: Path, source: str) -> list[str]:
    """Return what a file, named by its path from the root, imports against the rules."""
    folder, *rest = path.parts
    names = list(imported(source))
    bad = [name for name in names if name.startswith(".")]
    if folder == "core":
        bad += [name for name in names if name.partition(".")[0] not in CORE_MAY and not under(name, "integrand.core")]
    elif folder == "datasets":
        bad += [name for name in names if under(name, "integrand") and not under(name, *DATASETS_MAY_OF_OURS)]
        bad += [name for name in names if under(name, "lightning", "pytorch_lightning")]
    elif folder == "apps":
        others = {each.name for each in (ROOT / "apps").iterdir() if (each / "__init__.py").is_file()}
        others -= SHARED_BY_APPS | {rest[0]}
        bad += [name for name in names if under(name, *(f"integrand.apps.{other}" for other in others))]
    return bad


def test_there_are_files_to_look_at():
    assert {path.parts[0] for path in FILES} == set(FOLDERS)


@pytest.mark.parametrize("path", FILES, ids=str)
def test_import_direction(path: Path):
    assert broken(path, (ROOT / path).read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("path", "line", "right"),
    [
        ("core/a.py", "import lightning.pytorch as L", False),
        ("core/a.py", "from integrand.apps import cli", False),
        ("core/a.py", "from integrand import datasets", False),
        ("core/a.py", "def f():\n    import integrand.datasets.catalogue", False),
        ("core/a.py", "import pandas", False),
        ("core/a.py", "import torchmetrics", False),
        ("core/a.py", "from . import errors", False),
        ("core/a.py", "import math, torch\nfrom integrand.core import errors", True),
        ("datasets/a.py", "from integrand.core.layers import S5", False),
        ("datasets/a.py", "from integrand.core import layers", False),
        ("datasets/a.py", "import integrand.apps.cli", False),
        ("datasets/a.py", "from lightning import LightningDataModule", False),
        ("datasets/a.py", "from integrand.core.errors_of_others import x", False),
        ("datasets/a.py", "import pandas\nfrom integrand.core.numerics import solve_ode", True),
        ("datasets/a.py", "from integrand.core.errors import InputError", True),
        ("apps/physics/a.py", "from integrand.apps.timeseries.forecasting.module import ForecastingModule", False),
        ("apps/physics/a.py", "from integrand.apps import timeseries", False),
        ("apps/training/a.py", "import integrand.apps.timeseries.forecasting.data", False),
        ("apps/cli.py", "from integrand.apps import timeseries", False),
        ("apps/timeseries/a.py", "from ..training import module", False),
        ("apps/timeseries/a.py", "from integrand.apps.timeseries.forecasting.data import x\nimport lightning", True),
        ("apps/timeseries/a.py", "from integrand.apps.training.module import x", True),
    ],
)
def test_the_rules_tell_right_from_wrong(path: str, line: str, right: bool):
    assert (broken(Path(path), line) == []) is right


def test_every_module_imports():
    failures = {}
    for path in FILES:
        name = ".".join(("integrand", *path.with_suffix("").parts)).removesuffix(".__init__")
        try:
            importlib.import_module(name)
        except Exception as error:  # whatever it is, it is what we look for
            failures[name] = f"{type(error).__name__}: {error}"
    assert failures == {}


def test_folders_stand_behind_one_import_name():
    for folder in FOLDERS:
        link = ROOT / "src/integrand" / folder
        assert link.is_symlink()
        assert link.resolve() == ROOT / folder
    # With one, 'python -c "import datasets"' in the root of a clone would find ours and not Hugging Face's.
    assert not (ROOT / "datasets/__init__.py").exists()
    packages = {path.parent for path in FILES if path.parts[0] != "datasets"}
    assert [str(package) for package in packages if not (ROOT / package / "__init__.py").is_file()] == []


HEAD = """
import contextlib, io, sys
from integrand.apps.cli import main
for line in sys.argv[2:]:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        code = main(line.split())
    print(line, code, ",".join(sorted(set(sys.argv[1].split(",")) & set(sys.modules))), sep="|")
"""


def test_the_head_imports_nothing_heavy():
    expected = {
        "--help": 0,
        "--version": 0,
        "trian timeseries": 2,
        "list": 0,
        "list recipes": 0,
        "list modles": 2,
        "data --help": 0,
        "doctor --help": 0,
        "data list": 0,
        "train --help": 0,
        "train timeserie": 2,
        "list methods": 0,
    }
    command = [sys.executable, "-c", HEAD, ",".join(HEAVY), *expected]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    lines = [line.split("|") for line in done.stdout.splitlines()]
    assert {line: int(code) for line, code, _ in lines} == expected
    *light, (_, _, methods) = lines
    assert {line: heavy for line, _, heavy in light} == {line: "" for line, _, _ in light}
    assert "torch" in methods  # so that the watch is seen to watch
