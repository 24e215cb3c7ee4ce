"""Rows of results keep their schema, and the pages people read are what the rows give."""

import copy
import importlib.util
import json
import math
import platform
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

ROOT = Path(__file__).parents[2]
BENCHMARKS = ROOT / "benchmarks"
FILES = sorted(path for folder in ("published", "speed", "layers") for path in (BENCHMARKS / folder).glob("*"))

MEASURED = {
    "row": "toy_mae",
    "command": "python benchmarks/toy.py",
    "commit": "0123456789",
    "machine": "x86_64, 2 cores",
    "dataset": "toy",
    "split_hash": "00ff",
    "metric": "mae",
    "better": "lower",
    "seeds": [0, 1],
    "ours": [1.0, 3.0],
    "seconds": [9.6, 10.8],
    "baselines": {"naive": [4.0, 4.0], "best": [1.5, 2.5]},
    "published": None,
    "source": None,
    "note": "a toy",
}
TIMED = {
    "row": "toy",
    "command": "python benchmarks/toy.py",
    "commit": "0123456789",
    "machine": "x86_64, 2 cores",
    "work": "nothing | at all",
    "ratio": 2.0,
    "ratio_quartiles": [1.5, 2.5],
    "must": 1.5,
    "goal": None,
    "ours_ms": 1.25,
    "peer_ms": 2.5,
    "repeats": 31,
    "peer": "peer",
    "peer_version": "1.2",
    "agreement": 3e-7,
    "note": "",
}

TASK = {
    "row": "sums",
    "dataset": "sums of nothing",
    "split_hash": "00ff",
    "metric": "accuracy",
    "better": "higher",
    "must": 0.9,
    "published": {"Others": 0.75},
    "source": "somewhere",
    "layers": {
        name: {
            "scores": scores,
            "seconds": [1.0, 3.0],
            "parameters": 12345,
            "command": "python benchmarks/layers.py",
            "commit": "0123456789",
            "machine": "x86_64, 2 cores",
        }
        for name, scores in (("Poor", [0.5, 0.5]), ("Good", [0.875, 1.0]))
    },
}


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch) -> dict[str, ModuleType]:
    """The scripts, loaded as each finds the others when run."""
    loaded = {}
    for name in ("rows", "tables", "duel", "numerics"):
        spec = importlib.util.spec_from_file_location(name, BENCHMARKS / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        loaded[name] = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, loaded[name])
        spec.loader.exec_module(loaded[name])
    return loaded


def row_with(row: dict[str, Any], /, **changes: Any) -> dict[str, Any]:
    return {**copy.deepcopy(row), **changes}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(BENCHMARKS)))
def test_row_files_keep_the_schema(path: Path, modules: dict[str, ModuleType]):
    rows = modules["rows"]
    text = path.read_text(encoding="utf-8")
    assert path.suffix == ".json"
    if path.parent.name == "layers":
        assert rows.task_faults(json.loads(text), stem=path.stem) == []
    else:
        fields = {"published": rows.PUBLISHED_FIELDS, "speed": rows.SPEED_FIELDS}[path.parent.name]
        assert rows.faults(json.loads(text), fields, stem=path.stem) == []
    # A row tells of the processor and never of whose machine it was.
    assert not re.search(r"/(home|tmp|root|work|Users)/", text)
    assert not re.search(rf"\b{re.escape(platform.node())}\b", text)


def test_pages_are_what_the_rows_give():
    done = subprocess.run([sys.executable, BENCHMARKS / "tables.py", "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("row", "changes", "message"),
    [
        (MEASURED, {}, ""),
        (MEASURED, {"published": 0.5, "source": "Somebody (2020), Table 1"}, ""),
        (MEASURED, {"row": "other"}, "row is 'other', the file 'toy_mae'"),
        (MEASURED, {"better": "less"}, "better must be"),
        (MEASURED, {"ours": [1.0]}, "ours must have a value for each of 2 seeds"),
        (MEASURED, {"ours": [1.0, float("nan")]}, "ours must be finite"),
        (MEASURED, {"baselines": {"naive": [4.0]}}, "naive must have a value for each"),
        (MEASURED, {"baselines": {"naive": 4.0}}, "naive must have a value for each"),
        (MEASURED, {"seeds": [0, 0]}, "each once"),
        (MEASURED, {"published": 0.5}, "needs its source"),
        (MEASURED, {"published": True}, "published must be"),
        (MEASURED, {"commit": " "}, "commit is empty"),
        (MEASURED, {"extra": 1}, "extra is not a known field"),
        (TIMED, {}, ""),
        (TIMED, {"ratio": 0.5}, "ratio must be peer_ms / ours_ms"),
        (TIMED, {"ours_ms": 0.0}, "times must be positive"),
        (TIMED, {"ratio_quartiles": [1.0]}, "two numbers"),
        (TIMED, {"agreement": float("inf")}, "agreement must be a finite number"),
        (TIMED, {"repeats": "31"}, "repeats must be int"),
        (TIMED, {"goal": 2.5}, ""),
        (TIMED, {"goal": float("nan")}, "goal must be a positive number"),
        (TIMED, {"must": "2x"}, "must must be int or float or NoneType"),
    ],
)
def test_faults_are_named(row: dict[str, Any], changes: dict[str, Any], message: str, modules: dict[str, ModuleType]):
    rows = modules["rows"]
    fields = rows.SPEED_FIELDS if row is TIMED else rows.PUBLISHED_FIELDS
    found = rows.faults(row_with(row, **changes), fields, stem=row["row"])
    assert (found == []) if not message else (message in "; ".join(found))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, ""),
        ({"row": "other"}, "row is 'other', the file 'sums'"),
        ({"better": "more"}, "better must be"),
        ({"published": {"Others": "0.75"}}, "published figures must be finite"),
        ({"layers": {"Poor": {}}}, "Poor: scores is missing"),
        ({"layers": {"Poor": {**TASK["layers"]["Poor"], "scores": []}}}, "Poor: scores and seconds must be finite"),
        ({"layers": {"Poor": {**TASK["layers"]["Poor"], "scores": [1.0]}}}, "Poor: scores and seconds must be as many"),
    ],
)
def test_faults_of_tasks_are_named(changes: dict[str, Any], message: str, modules: dict[str, ModuleType]):
    found = modules["rows"].task_faults(row_with(TASK, **changes), stem="sums")
    assert (found == []) if not message else (message in "; ".join(found))


def test_tasks_are_written_whole_or_not_at_all(modules: dict[str, ModuleType], tmp_path: Path):
    rows = modules["rows"]
    assert rows.read_tasks(rows.write_task(TASK, tmp_path / "new").parent) == [TASK]
    with pytest.raises(ValueError, match="task sums: better must be"):
        rows.write_task(row_with(TASK, better=""), tmp_path)
    assert not (tmp_path / "sums.json").exists()


def test_a_missing_field_is_named(modules: dict[str, ModuleType]):
    row = row_with(MEASURED)
    del row["split_hash"]
    found = modules["rows"].faults(row, modules["rows"].PUBLISHED_FIELDS, stem="toy_mae")
    assert found == ["split_hash is missing"]


def test_rows_are_written_whole_or_not_at_all(modules: dict[str, ModuleType], tmp_path: Path):
    rows = modules["rows"]
    assert rows.write_row(MEASURED, tmp_path / "new") == tmp_path / "new/toy_mae.json"
    assert rows.read_rows(tmp_path / "new", rows.PUBLISHED_FIELDS) == [MEASURED]
    with pytest.raises(ValueError, match="row toy: times must be positive"):
        rows.write_row(row_with(TIMED, peer_ms=-1.0), tmp_path)
    assert not (tmp_path / "toy.json").exists()
    (tmp_path / "new/other.json").write_text(json.dumps(MEASURED))
    with pytest.raises(ValueError, match=r"other\.json: row is 'toy_mae', the file 'other'"):
        rows.read_rows(tmp_path / "new", rows.PUBLISHED_FIELDS)


def test_tables_hold_the_figures_of_the_rows(modules: dict[str, ModuleType]):
    page = modules["tables"].results_page([MEASURED, row_with(MEASURED, better="higher", published=0.5, source="S")])
    # Mean 2 and standard deviation sqrt(2); half of 4, and as good as 1.5 and 2.5 together.
    naive, best = "naive 4.0000 ± 0.0000 ({}50.0%)", "best 2.0000 ± 0.7071 (+0.0%)"
    head = "| `toy_mae` | `toy` | mae {} | **2.0000 ± 1.4142** | "
    assert head.format("↓") + naive.format("+") + f"<br>{best} |  | 2 | 10 |" in page
    assert head.format("↑") + naive.format("−") + f"<br>{best} | 0.5 (S) | 2 | 10 |" in page
    page = modules["tables"].speed_page([TIMED])
    line = "| `toy` | nothing \\| at all | 1.25 | peer 1.2 | 2.5 | **2.00** (1.50 to 2.50) | 1.5 |  | 3e-07 |"
    assert line in page


def test_layers_stand_in_the_order_of_what_they_reached(modules: dict[str, ModuleType]):
    page = modules["tables"].layers_page([TASK])
    good = page.index("| Good | **0.9375 ± 0.0884** (12k, 2 s) |")
    poor = page.index("| Poor | 0.5000 ± 0.0000 (12k, 2 s) |")
    assert good < poor < page.index("| *Others*, published | 0.75 |") < page.index("| one of them must reach | 0.9 |")


def test_a_stale_page_is_found(modules: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    tables = modules["tables"]
    docs, readme = tmp_path / "docs", tmp_path / "README.md"
    docs.mkdir()
    (tmp_path / "benchmarks").mkdir()
    monkeypatch.setattr(tables, "DOCS", docs)
    readme.write_text(f"before\n{tables.OPENED}\nold\n{tables.CLOSED}\nafter\n", encoding="utf-8")
    assert tables.main(["--check"]) == 1
    assert tables.main([]) == 0
    assert tables.main(["--check"]) == 0
    told = readme.read_text(encoding="utf-8")
    assert told.startswith(f"before\n{tables.OPENED}\n")
    assert told.endswith(f"\n{tables.CLOSED}\nafter\n")
    assert "old" not in told
    page = docs / "speed.md"
    assert (tmp_path / "benchmarks/RESULTS.md").read_text(encoding="utf-8") == page.read_text(encoding="utf-8")
    page.write_text(page.read_text(encoding="utf-8").replace("Speed", "speed"), encoding="utf-8")
    assert tables.main(["--check"]) == 1


def test_a_quick_run_is_never_published():
    for words in (["--quick"], ["--quick", "--output", BENCHMARKS / "speed/../published"]):
        command = [sys.executable, BENCHMARKS / "recipes.py", *words]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 2
        assert "--output" in done.stderr


def answering(*answers: Any) -> Callable[[], list[Any]]:
    return lambda: list(answers)


def toy_duel(modules: dict[str, ModuleType], /, **changes: Any) -> Any:
    side = answering(torch.tensor([1.0, 2.0]))
    named = {"row": "toy", "work": "none", "peer": "peer", "peer_version": "1.2", "note": "a toy"}
    return modules["duel"].Duel(**{**named, "ours": side, "theirs": side, **changes})


def test_the_difference_is_relative_to_each_answers_largest_value(modules: dict[str, ModuleType]):
    difference = modules["duel"].difference
    ours = answering(torch.tensor([3.0, 4.0]), torch.tensor([1e-3 + 2e-3j]))
    assert difference(ours, ours) == 0
    assert difference(ours, answering(np.array([3.0, 5.0]), np.array([1e-3 + 2e-3j]))) == pytest.approx(0.2)
    assert difference(ours, answering([3.0, 4.0], [1e-3 + 1e-3j])) == pytest.approx(0.5**0.5)
    assert math.isnan(difference(ours, answering([3.0, math.nan], [1e-3 + 2e-3j])))
    with pytest.raises(ValueError, match="shapes"):
        difference(ours, answering([3.0, 4.0, 5.0], [0.0]))
    with pytest.raises(ValueError, match="zip"):
        difference(ours, answering([3.0, 4.0]))


def test_sides_that_differ_give_no_row(modules: dict[str, ModuleType]):
    measure = modules["duel"].measure
    for wrong in ([1.0, 2.1], [1.0, math.nan]):
        with pytest.raises(ValueError, match="answers differ"):
            measure(toy_duel(modules, theirs=answering(wrong)), 1)
    with pytest.raises(ValueError, match="answers differ"):
        measure(toy_duel(modules, compare=(answering([1.0]), answering([2.0]))), 1)


def test_a_measured_duel_makes_a_row(modules: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(modules["duel"], "_clocks", lambda: (0.0, 0.0, 0.0))
    monkeypatch.setattr(modules["duel"], "_turns", lambda duel, repeats: (np.full(3, 8.0), np.full(3, 5.0)))
    fresh = (answering([1.0]), answering([1.0]))
    duel = toy_duel(modules, theirs=answering([9.0]), compare=fresh, samples=(4, 1), must=2.0, goal=3)
    row = modules["duel"].measure(duel, 3) | {"command": "python", "commit": "0123456789", "machine": "a machine"}
    assert (row["ratio"], row["ours_ms"], row["peer_ms"]) == (2.5, 2.0, 5.0)
    assert (row["must"], row["goal"], row["agreement"]) == (2.0, 3, 0.0)
    modules["rows"].write_row(row, tmp_path)


def test_a_busy_machine_gives_no_row(modules: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch):
    duel = modules["duel"]
    clocks = iter([(0.0, 0.0, 0.0), (10.0, 8.0, 6.0)])  # an eighth of 16 seconds went to others
    monkeypatch.setattr(duel, "_clocks", lambda: next(clocks))
    monkeypatch.setattr(duel, "_turns", lambda *_: (np.ones(3), np.ones(3)))
    with pytest.raises(duel.Disturbed, match="12% of the machine"):
        duel.measure(toy_duel(modules), 3)
    monkeypatch.setattr(duel, "_clocks", lambda: (0.0, 0.0, 0.0))
    monkeypatch.setattr(duel, "_turns", lambda *_: (np.ones(4), np.array([1.0, 1.0, 3.0, 3.0])))
    with pytest.raises(duel.Disturbed, match=r"quartiles 1\.00 to 3\.00"):
        duel.measure(toy_duel(modules), 4)


def test_one_duel_that_fails_does_not_stop_the_rest(
    modules: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    numerics = modules["numerics"]

    def duels(part: str) -> Iterator[Any]:
        if part == "sde":
            raise RuntimeError("no such thing")
        yield toy_duel(modules, row=f"{part}_failing", ours=answering([0.0, 2.0]))
        yield toy_duel(modules, row=f"{part}_absent", peer_version=None)

    monkeypatch.setattr(numerics, "duels", duels)
    monkeypatch.setattr(numerics, "_limit", lambda threads: None)
    monkeypatch.setattr(sys, "argv", ["numerics.py", "--only", "*e_*"])
    assert numerics.main() == 1
    told = capsys.readouterr().out
    for part in ("ode", "cde"):
        assert f"{part}_failing: failed (ValueError: the answers differ by 5.0e-01" in told
        assert f"{part}_absent: skipped (peer is not installed)" in told
    assert "sde: not set up (RuntimeError: no such thing)" in told
    assert "scan_failing" not in told


def test_the_rows_are_listed():
    command = [sys.executable, BENCHMARKS / "numerics.py", "--list", "--only", "scan_*"]
    told = subprocess.run(command, capture_output=True, text=True)
    assert told.returncode == 0, told.stdout + told.stderr
    assert "scan_4096_s5: against s5-pytorch" in told.stdout
    assert "ode_" not in told.stdout
    none = subprocess.run([*command[:-1], "nothing"], capture_output=True, text=True)
    assert none.returncode == 2
    assert "--list" in none.stderr
