"""The README keeps its word: two sentences, a picture, two commands, and code that runs."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


def _commands() -> dict[str, str]:
    spec = importlib.util.spec_from_file_location("readme_commands", Path(__file__).with_name("commands.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.commands()


def test_opens_with_two_sentences_a_picture_and_two_commands() -> None:
    opening = TEXT.partition("\n## ")[0]
    prose = opening.split("\n\n")[1]
    assert len(re.findall(r"\.(?:\s|$)", prose)) == 2
    (picture,) = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", opening)
    assert (ROOT / picture).stat().st_size > 20_000
    assert len(re.findall(r"```(?:sh|bash)\n", opening)) == 2
    assert opening.index("![") < opening.index("```sh")


def test_commands_need_python_and_pip_only() -> None:
    for command in _commands().values():
        programs = {part.split()[0] for part in command.split("&&")}
        assert programs <= {"python3", ".venv/bin/pip", ".venv/bin/integrand", ".venv/bin/python"}


@pytest.mark.slow
def test_python_blocks_run(tmp_path: Path) -> None:
    first, *rest = BLOCKS
    # The first trains on all the data; a few batches show that it runs as printed.
    first = first.replace("max_epochs=1,", "max_epochs=1, limit_train_batches=3, limit_val_batches=1,")
    for code in (first, "\n".join(rest)):
        done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def test_python_examples_are_as_short_as_promised() -> None:
    for code in BLOCKS[:2]:
        assert len([line for line in code.splitlines() if line.strip()]) <= 10


@pytest.mark.slow
@pytest.mark.skipif(
    os.environ.get("INTEGRAND_TEST_INSTALL") != "1",
    reason="installs everything anew from the package index; continuous integration sets INTEGRAND_TEST_INSTALL=1",
)
def test_first_command_as_typed_beats_the_baselines(tmp_path: Path) -> None:
    clone = tmp_path / "integrand"
    files = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\0")
    for name in filter(None, files):
        (clone / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, clone / name, follow_symlinks=False)
    done = subprocess.run(["bash", "-c", _commands()["main"]], cwd=clone, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    run = clone / "runs" / "timeseries" / "weather" / "1"
    metrics = json.loads((run / "results.json").read_text())["metrics"]
    for metric in ("crps", "mae"):
        model = metrics["ssm_ode"][metric]
        # The claim of the README: better than every baseline by a hundredth, than persistence by a fifth.
        assert all(model <= 0.99 * metrics[name][metric] for name in ("persistence", "seasonal naive", "ridge"))
        assert model <= 0.8 * metrics["persistence"][metric]
    assert (run / "report.html").exists()
