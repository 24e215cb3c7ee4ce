"""The pages on numerics and layers keep their word: their code runs, and they name every method and layer there is."""

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

DOCS = Path(__file__).parents[2] / "docs"


def python_blocks(text: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize(
    "page",
    ["numerics.md", "compiling.md", "layers.md", "identification.md", "densities.md", "analysis.md", "convert.md"],
)
def test_python_blocks_run_one_after_the_other(page: str, tmp_path: Path):
    blocks = python_blocks((DOCS / page).read_text(encoding="utf-8"))
    assert blocks
    done = subprocess.run([sys.executable, "-c", "\n".join(blocks)], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not list(tmp_path.iterdir())


def test_the_numerics_page_names_every_native_method():
    from integrand.core.numerics import METHODS
    from integrand.core.numerics.stochastic.schemes import SCHEMES

    text = (DOCS / "numerics.md").read_text(encoding="utf-8")
    assert [name for name in (*METHODS["native"], *SCHEMES) if f"`{name}`" not in text] == []


@pytest.mark.parametrize("folder", ["layers", "models"])
def test_the_page_on_layers_names_every_layer_and_model(folder: str):
    package = importlib.import_module(f"integrand.core.{folder}")
    text = (DOCS / "layers.md").read_text(encoding="utf-8")
    modules = [name for name in package.__all__ if issubclass(getattr(package, name), torch.nn.Module)]
    # What the others are made of.
    parts = {"SequenceLayer", "ControlledModel", "LearnedSymbol", "LocalTerm", "MethodOfLines"}
    assert [name for name in modules if f"`{name}`" not in text and name not in parts] == []
