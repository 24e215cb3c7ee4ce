"""The rows of the result tables: one JSON file a row, what each must hold, and how it is written.

``published/`` holds what was measured on data, a value a seed, beside the published value where there is one;
``speed/`` holds times against a peer, taken side by side in one run; ``layers/`` holds a task a file, with every layer
that was trained on it.
"""

import json
import math
import os
import platform
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PUBLISHED, SPEED, LAYERS = HERE / "published", HERE / "speed", HERE / "layers"

Row = dict[str, Any]
Fields = dict[str, tuple[type, ...]]

_NUMBER, _NOTHING = (int, float), type(None)
_SHARED: Fields = {"row": (str,), "command": (str,), "commit": (str,), "machine": (str,), "note": (str,)}
PUBLISHED_FIELDS: Fields = {
    **_SHARED,
    "dataset": (str,),
    "split_hash": (str,),
    "metric": (str,),
    "better": (str,),
    "seeds": (list,),
    "ours": (list,),
    "seconds": (list,),
    "baselines": (dict,),
    "published": (*_NUMBER, _NOTHING),
    "source": (str, _NOTHING),
}
"""Fields of a row of ``published/``: ``ours``, ``seconds`` and each of ``baselines`` hold a value a seed."""

SPEED_FIELDS: Fields = {
    **_SHARED,
    "work": (str,),
    "ratio": _NUMBER,
    "ratio_quartiles": (list,),
    "must": (*_NUMBER, _NOTHING),
    "goal": (*_NUMBER, _NOTHING),
    "ours_ms": _NUMBER,
    "peer_ms": _NUMBER,
    "repeats": (int,),
    "peer": (str,),
    "peer_version": (str,),
    "agreement": _NUMBER,
}
"""Fields of a row of ``speed/``: ``ratio`` is the peer's time over ours, ``must`` the one promised and ``goal`` the one
aimed at, ``agreement`` a relative difference."""

TASK_FIELDS: Fields = {
    "row": (str,),
    "dataset": (str,),
    "split_hash": (str,),
    "metric": (str,),
    "better": (str,),
    "must": (*_NUMBER, _NOTHING),
    "published": (dict,),
    "source": (str,),
    "layers": (dict,),
}
"""Fields of a file of ``layers/``: ``published`` holds figures of others by name, ``layers`` what was trained."""

TRAINED_FIELDS: Fields = {
    "scores": (list,),
    "seconds": (list,),
    "parameters": (int,),
    "command": (str,),
    "commit": (str,),
    "machine": (str,),
}
"""Fields of each of its ``layers``: a score and the seconds of its training for each seed."""


def write_row(row: Row, folder: Path) -> Path:
    """Write ``row`` to ``folder/ROW.json``, if it keeps the rules.

    Raises:
        ValueError: it does not; nothing is written.
    """
    path = folder / f"{row['row']}.json"
    fields = SPEED_FIELDS if "peer" in row else PUBLISHED_FIELDS
    if wrong := faults(row, fields, stem=path.stem):
        raise ValueError(f"row {path.stem}: {'; '.join(wrong)}")
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(row, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def read_rows(folder: Path, fields: Fields) -> list[Row]:
    """Read every row of a folder, in the order of their names.

    Raises:
        ValueError: a row breaks the rules; the message names the file and all that is wrong.
    """
    rows = []
    for path in sorted(folder.glob("*.json")):
        row = json.loads(path.read_text(encoding="utf-8"))
        if wrong := faults(row, fields, stem=path.stem):
            raise ValueError(f"{path.name}: {'; '.join(wrong)}: measure the row again.")
        rows.append(row)
    return rows


def write_task(task: Row, folder: Path) -> Path:
    """Write ``task`` to ``folder/ROW.json``, if it keeps the rules.

    Raises:
        ValueError: it does not; nothing is written.
    """
    path = folder / f"{task['row']}.json"
    if wrong := task_faults(task, stem=path.stem):
        raise ValueError(f"task {path.stem}: {'; '.join(wrong)}")
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(task, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def read_tasks(folder: Path) -> list[Row]:
    """Read every task of a folder, in the order of their names.

    Raises:
        ValueError: one breaks the rules; the message names the file and all that is wrong.
    """
    tasks = []
    for path in sorted(folder.glob("*.json")):
        task = json.loads(path.read_text(encoding="utf-8"))
        if wrong := task_faults(task, stem=path.stem):
            raise ValueError(f"{path.name}: {'; '.join(wrong)}: train the layers again.")
        tasks.append(task)
    return tasks


def task_faults(task: Row, *, stem: str) -> list[str]:
    """Say what is wrong with a task and its layers, one phrase each; nothing for one that keeps the rules."""
    wrong = _unlike(task, TASK_FIELDS)
    if wrong:
        return wrong
    if task["row"] != stem:
        wrong.append(f"row is {task['row']!r}, the file {stem!r}")
    if task["better"] not in ("lower", "higher"):
        wrong.append("better must be 'lower' or 'higher'")
    if not _finite(task["published"].values()):
        wrong.append("published figures must be finite numbers")
    for name, trained in task["layers"].items():
        unlike = _unlike(trained, TRAINED_FIELDS)
        if not unlike and not (trained["scores"] and _finite(trained["scores"] + trained["seconds"])):
            unlike.append("scores and seconds must be finite numbers")
        if not unlike and len(trained["scores"]) != len(trained["seconds"]):
            unlike.append("scores and seconds must be as many")
        wrong += [f"{name}: {phrase}" for phrase in unlike]
    return wrong


def faults(row: Row, fields: Fields, *, stem: str) -> list[str]:
    """Say what is wrong with a row, one phrase each; nothing for one that keeps the rules."""
    wrong = _unlike(row, fields)
    if wrong:
        return wrong
    if row["row"] != stem:
        wrong.append(f"row is {row['row']!r}, the file {stem!r}")
    wrong += [f"{name} is empty" for name in ("command", "commit", "machine") if not row[name].strip()]
    wrong += _speed_faults(row) if "peer" in fields else _published_faults(row)
    return wrong


def _unlike(row: Row, fields: Fields) -> list[str]:
    """Say which fields are missing, unknown or of another type."""
    wrong = [f"{name} is missing" for name in fields if name not in row]
    wrong += [f"{name} is not a known field" for name in row if name not in fields]
    for name, kinds in fields.items():
        if name in row and (not isinstance(row[name], kinds) or isinstance(row[name], bool)):
            wrong.append(f"{name} must be {' or '.join(kind.__name__ for kind in kinds)}")
    return wrong


def _published_faults(row: Row) -> list[str]:
    wrong = [] if row["better"] in ("lower", "higher") else ["better must be 'lower' or 'higher'"]
    by_seed = {"ours": row["ours"], "seconds": row["seconds"], **row["baselines"]}
    for name, values in by_seed.items():
        if not isinstance(values, list) or len(values) != len(row["seeds"]):
            wrong.append(f"{name} must have a value for each of {len(row['seeds'])} seeds")
        elif not _finite(values):
            wrong.append(f"{name} must be finite numbers")
    if not row["seeds"] or len(set(row["seeds"])) < len(row["seeds"]):
        wrong.append("seeds must be at least one, each once")
    if row["published"] is not None and not row["source"]:
        wrong.append("a published value needs its source")
    return wrong


def _speed_faults(row: Row) -> list[str]:
    names = ("ratio", "ours_ms", "peer_ms", "agreement", "repeats")
    wrong = [f"{name} must be a finite number" for name in names if not _finite([row[name]])]
    if wrong or min(row["ours_ms"], row["peer_ms"]) <= 0:
        return wrong or ["times must be positive"]
    if not math.isclose(row["ratio"], row["peer_ms"] / row["ours_ms"], rel_tol=0.02):
        wrong.append("ratio must be peer_ms / ours_ms")
    if len(row["ratio_quartiles"]) != 2 or not _finite(row["ratio_quartiles"]):
        wrong.append("ratio_quartiles must be two numbers")
    wrong += [f"{aim} must be a positive number" for aim in ("must", "goal") if not _aim(row[aim])]
    return wrong


def _aim(value: float | None) -> bool:
    return value is None or (math.isfinite(value) and value > 0)


def _finite(values: Iterable[Any]) -> bool:
    return all(isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v) for v in values)


def commit() -> str:
    """Return the commit that is checked out, with a ``+`` where the code differs from it."""

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=HERE, capture_output=True, text=True, check=True).stdout.strip()

    changed = git("status", "--porcelain", "--", ":/core", ":/apps", ":/datasets", ":/benchmarks/*.py")
    return git("rev-parse", "--short=10", "HEAD") + ("+" if changed else "")


def machine(threads: int | None = None, device: str = "cpu") -> str:
    """Describe the processor, or the accelerator, never the machine's name."""
    if device != "cpu":
        import torch  # the tables are written without

        return torch.get_device_module(device).get_device_name()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    told = f"{_processor()}, {cores} cores"
    return f"{told}, {threads} {'threads' if threads > 1 else 'thread'}" if threads else told


def _processor() -> str:
    """Name the processor as Linux does, elsewhere as Python does."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models and models[0] else platform.processor() or platform.machine()
