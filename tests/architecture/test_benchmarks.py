"""Rows of results keep their schema, and the pages people read are what the rows give."""

import copy
import importlib.util
import json
import platform
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
BENCHMARKS = ROOT / "benchmarks"
FILES = sorted(path for folder in ("published", "speed") for path in (BENCHMARKS / folder).glob("*"))

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
    "ours_ms": 1.25,
    "peer_ms": 2.5,
    "repeats": 31,
    "peer": "peer",
    "peer_version": "1.2",
    "agreement": 3e-7,
    "note": "",
}


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch) -> dict[str, ModuleType]:
    """The scripts ``rows`` and ``tables``, loaded as each finds the other when run."""
    loaded = {}
    for name in ("rows", "tables"):
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
    fields = {"published": rows.PUBLISHED_FIELDS, "speed": rows.SPEED_FIELDS}[path.parent.name]
    assert path.suffix == ".json"
    assert rows.faults(json.loads(text), fields, stem=path.stem) == []
    # A row tells of the processor and never of whose machine it was.
    assert not re.search(r"/(home|tmp|root|work|Users)/", text)
    assert platform.node() not in text


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
    ],
)
def test_faults_are_named(row: dict[str, Any], changes: dict[str, Any], message: str, modules: dict[str, ModuleType]):
    rows = modules["rows"]
    fields = rows.SPEED_FIELDS if row is TIMED else rows.PUBLISHED_FIELDS
    found = rows.faults(row_with(row, **changes), fields, stem=row["row"])
    assert (found == []) if not message else (message in "; ".join(found))


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
    line = "| `toy` | nothing \\| at all | 1.25 | peer 1.2 | 2.5 | **2.00** (1.50 to 2.50) | 3e-07 |"
    assert line in page


def test_a_stale_page_is_found(modules: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    tables = modules["tables"]
    docs, readme = tmp_path / "docs", tmp_path / "README.md"
    docs.mkdir()
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
    page.write_text(page.read_text(encoding="utf-8").replace("Speed", "speed"), encoding="utf-8")
    assert tables.main(["--check"]) == 1


def test_a_quick_run_is_never_published():
    for words in (["--quick"], ["--quick", "--output", BENCHMARKS / "speed/../published"]):
        command = [sys.executable, BENCHMARKS / "weather.py", *words]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 2
        assert "--output" in done.stderr
