"""The map keeps its word: what is committed is what the tests state, and every layer stands on it."""

import ast
import importlib
import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest
import torch

from integrand.core.correspondences import LEVELS, rows, subjects
from integrand.core.diffusion.samplers.registry import SAMPLERS

ROOT = Path(__file__).parents[2]
PARTS = {"SequenceLayer", "ControlledModel", "LearnedSymbol", "LocalTerm", "MethodOfLines"}
"""What layers and models are made of."""
KINDS = ("layer", "model", "sampler")


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_map", ROOT / "docs/map.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def architectures(kind: str) -> set[str]:
    """The public names of a kind that must stand on the map."""
    if kind == "sampler":
        return set(SAMPLERS)
    package = importlib.import_module(f"integrand.core.{kind}s")
    modules = {name for name in package.__all__ if issubclass(getattr(package, name), torch.nn.Module)}
    return modules - PARTS


def test_what_is_committed_is_what_the_tests_state(script: ModuleType, capsys: pytest.CaptureFixture[str]):
    assert script.main(["--check"]) == 0, capsys.readouterr().err


@pytest.mark.parametrize(
    ("key", "value", "stale"),
    [("equation", "y' = 0", True), ("tolerance", 1.0, True), ("explains", [], True), ("error", 1e-16, False)],
)
def test_another_text_is_found_and_another_digit_is_not(
    script: ModuleType, key: str, value: object, stale: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    found = json.loads(script.FILE.read_text(encoding="utf-8"))
    row = next(row for row in found if row["explains"])
    row[key] = value
    for name, path in (("ROOT", tmp_path), ("FILE", tmp_path / "map.json"), ("PAGE", tmp_path / "map.md")):
        monkeypatch.setattr(script, name, path)
    committed = json.loads((ROOT / "core/correspondences.json").read_text(encoding="utf-8"))
    stated = [({key: value for key, value in row.items() if key != "error"}, None) for row in committed]
    monkeypatch.setattr(script, "correspondences", lambda: stated)
    script.FILE.write_text(json.dumps(found))
    script.PAGE.write_text(script.page(found))
    assert script.stale() == (["map.json"] if stale else [])
    script.PAGE.write_text("another page\n")
    assert "map.md" in script.stale()


def test_a_measured_error_is_within_its_tolerance():
    assert len(rows()) >= 20
    assert [row.name for row in rows() if not row.error <= row.tolerance] == []
    assert {row.level for row in rows()} <= set(LEVELS)


def test_what_a_row_explains_is_public():
    """It is exported by a package, or else a class or function of a file, or a sampler's name."""
    public = set(SAMPLERS)
    for path in (ROOT / "core").rglob("*.py"):
        definitions = ast.parse(path.read_text(encoding="utf-8")).body
        public |= {node.name for node in definitions if isinstance(node, ast.ClassDef | ast.FunctionDef)}
    wrong = [name for row in rows() for name in row.explains if name not in public or name.startswith("_")]
    assert wrong == []


def test_what_a_row_explains_can_be_explained():
    known = {subject.name for subject in subjects()}
    assert [(row.name, name) for row in rows() for name in row.explains if name not in known] == []


@pytest.mark.parametrize("kind", KINDS)
def test_every_architecture_stands_on_the_map(kind: str):
    assert sorted(architectures(kind) - {name for row in rows() for name in row.explains}) == []


@pytest.mark.parametrize("kind", ["layer", "model", "sampler"])
def test_the_names_read_from_the_source_are_those_of_the_package(kind: str):
    read = {subject.name for subject in subjects() if subject.kind == kind}
    assert architectures(kind) <= read
