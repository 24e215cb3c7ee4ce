"""The documentation keeps its word: generated pages are fresh, links resolve, command lines parse, code imports."""

import ast
import importlib
import importlib.util
import re
import shlex
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from integrand.apps.cli import COMMANDS
from integrand.apps.commands import parsing, train
from integrand.apps.registry import application
from integrand.core.errors import InputError, unknown

ROOT = Path(__file__).parents[2]
PAGES = [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md"]
HAND_WRITTEN = {
    "analysis.md",
    "index.md",
    "numerics.md",
    "compiling.md",
    "latents.md",
    "layers.md",
    "medical.md",
    "segments.md",
    "waveforms.md",
    "timeseries.md",
    "few_steps.md",
    "forecasters.md",
    "generation.md",
    "classification.md",
    "imputation.md",
    "physics.md",
    "identification.md",
    "densities.md",
    "informed.md",
    "intensive_care.md",
    "prediction.md",
    "simulation_files.md",
    "simulators.md",
    "surrogates.md",
    "tables.md",
    "runs.md",
    "contracts.md",
    "convert.md",
}
GENERATED = {
    "catalogue.md",
    "commands.md",
    "layer_results.md",
    "map.md",
    "recipes.md",
    "reference.md",
    "results.md",
    "speed.md",
}


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```(?:{language})\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def broken_links(page: Path, text: str) -> list[str]:
    prose = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", prose) if not re.match(r"[a-z]+:", link)]
    return [link for link in links if not (page.parent / link.partition("#")[0]).exists()]


def command_lines(text: str) -> list[str]:
    """Every call of ``integrand`` in the shell blocks, without what follows as a comment."""
    parts = [
        part for block in blocks(text, "sh|bash|console") for line in block.splitlines() for part in line.split("&&")
    ]
    return [part.strip() for part in parts if re.match(r"\s*(?:\S*/)?integrand(?:\s|$)", part)]


class Parsed(Exception):
    """The words of a light command were understood."""


def parse(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parse a command line as the command itself does, and carry out nothing.

    Raises:
        InputError: a word is not known.
    """
    words = shlex.split(line, comments=True)[1:]
    if not words or words[0] in ("-h", "--help", "--version"):
        return
    if words[0] not in COMMANDS:
        raise unknown("command", words[0], COMMANDS)
    if words[0] == "train":
        parse_training(words[1:], monkeypatch)
        return
    parse_args = parsing.CommandParser.parse_args

    def stop(self: Any, args: Any = None, namespace: Any = None) -> Any:
        parse_args(self, args, namespace)
        raise Parsed

    run = importlib.import_module(COMMANDS[words[0]].module).run
    with monkeypatch.context() as patched:
        patched.setattr(parsing.CommandParser, "parse_args", stop)
        with pytest.raises(Parsed):
            run(words[1:])


def parse_training(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from integrand.apps.training.options import parse_options

    app, request = application(words[0]), train.parse([word for word in words[1:] if word != "--help"])
    request.print_config = request.help_all = False
    if request.resume is not None:  # the run folder it names is the reader's
        assert all(word.startswith("--trainer.") for word in request.options if word.startswith("--"))
        request.resume = None
    monkeypatch.setenv("PL_GLOBAL_SEED", "0")  # Lightning sets it, and nobody takes it back
    parse_options(app, request)


def unresolved(block: str) -> list[str]:
    """Compile a block and return what it imports in vain."""
    missing = []
    for node in ast.walk(ast.parse(block)):
        if isinstance(node, ast.Import):
            missing += [alias.name for alias in node.names if not importable(alias.name)]
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            for alias in node.names:
                found = importable(module) and hasattr(importlib.import_module(module), alias.name)
                if not found and not importable(f"{module}.{alias.name}"):
                    missing.append(f"{module}.{alias.name}")
    return missing


def importable(name: str) -> bool:
    try:
        importlib.import_module(name)
    except ImportError:
        return False
    return True


@pytest.fixture(scope="module")
def build() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_build", ROOT / "docs/build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_generated_pages_are_fresh(build: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.setenv("PL_GLOBAL_SEED", "0")
    code = build.main(["--check"])
    assert code == 0, capsys.readouterr().err


def test_a_stale_page_is_found_and_written(build: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys):
    monkeypatch.setattr(build, "DOCS", tmp_path)
    monkeypatch.setattr(build, "pages", lambda: {"commands.md": "new\n"})
    assert build.main(["--check"]) == 1
    assert "commands.md is not what the code gives" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
    assert build.main([]) == 0
    assert build.main(["--check"]) == 0
    (tmp_path / "commands.md").write_text("old\n")
    assert build.main(["--check"]) == 1


def test_the_reference_says_what_the_source_says(build: ModuleType):
    text = build.reference_page()
    assert "**`S5`** `(d_model, *, d_state=64," in text
    assert "Gneiting and Raftery (2007), Strictly proper scoring rules, Eq. 21." in text
    assert "**`SequenceOutput`** `(y, state)`" in text  # a NamedTuple's fields
    assert "`Tableau` `(name, a, b, c, order, source, error=(), error_order=None, " in text  # a dataclass's fields
    assert not re.search(r"`_\w+` `\(", text)


def test_every_page_is_there():
    names = {page.name for page in PAGES}
    assert names >= HAND_WRITTEN | GENERATED
    for name in HAND_WRITTEN:
        assert len((ROOT / "docs" / name).read_text(encoding="utf-8").splitlines()) <= 140, name


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_relative_links_resolve(page: Path):
    assert broken_links(page, page.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_command_lines_parse(page: Path, monkeypatch: pytest.MonkeyPatch):
    for line in command_lines(page.read_text(encoding="utf-8")):
        try:
            parse(line, monkeypatch)
        except InputError as error:
            pytest.fail(f"{line}: {error}")


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_python_blocks_compile_and_import(page: Path):
    for block in blocks(page.read_text(encoding="utf-8"), "python"):
        assert unresolved(block) == []


def test_the_checks_tell_right_from_wrong(monkeypatch: pytest.MonkeyPatch):
    page = ROOT / "docs/index.md"
    links = "[a](runs.md) [b](https://x.org/y) [c](runs.md#options) [d](gone.md) ![e](../gone.png)"
    assert broken_links(page, f"{links}\n```sh\n[f](gone.md)\n```\n") == ["gone.md", "../gone.png"]
    text = "```sh\nls && .venv/bin/integrand list  # all\nintegrand\n```\n```text\nintegrand no\n```\nintegrand no\n"
    assert command_lines(text) == [".venv/bin/integrand list  # all", "integrand"]
    assert unresolved(
        "import torch, gone\nfrom integrand.core.layers import S5, S6\nfrom integrand.core import layers"
    ) == [
        "gone",
        "integrand.core.layers.S6",
    ]
    for line in (
        "integrand lsit",
        "integrand list recipe",
        "integrand predict RUN",
        "integrand evaluate RUN --chekpoint best",
        "integrand report",
        "integrand data fetch etth1",
        "integrand train",
        "integrand train timeserie",
        "integrand train timeseries --model ode_rn",
        "integrand train timeseries --recipe wether",
        "integrand train timeseries --data.contxt 3",
        "integrand train timeseries --trainer.max_epochs many",
        "integrand train timeseries --model.network.widht 3",
        "integrand train timeseries --seed x",
    ):
        with pytest.raises((InputError, IndexError)):
            parse(line, monkeypatch)
