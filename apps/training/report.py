"""The pages people read: one run's report, and several runs side by side, made from the files of the runs alone."""

import base64
import shlex
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from integrand.apps.training.animations import ANIMATION_DPI
from integrand.apps.training.figures import (
    DPI,
    TRAINING_FIGURES,
    draw_training,
    metric_name,
    read_captions,
)
from integrand.apps.training.files import write_atomically
from integrand.apps.training.metrics_log import read_metrics
from integrand.apps.training.run_folder import RunFolder
from integrand.apps.training.tables import channel_tables, comparison_table, further_tables, results_table
from integrand.apps.training.verdict import better, distance, further, is_number, verdict
from integrand.core.errors import InputError
from integrand.datasets.catalogue import CATALOGUE, RESEARCH_ONLY, find

NOTICES = {"medical": RESEARCH_ONLY}
"""What the report of an application must say first."""

SMALLEST_TEXT = 9 / 11  # of a picture's own size: its text of 11 points is not shown below 9
CSS_INCH = 96
PHONE = 328
"""CSS pixels a picture has on the narrowest page."""


@dataclass(frozen=True)
class Picture:
    """A figure as the template shows it; ``least`` and ``most`` are its width's limits in CSS pixels."""

    title: str
    caption: str
    data: str
    width: int
    height: int
    least: int
    most: int
    wide: bool


def write_report(run: RunFolder, path: Path | None = None) -> Path:
    """Write the report of one run and return its path.

    Args:
        run: a run that was evaluated.
        path: where to write; the run's ``report.html`` where None.

    Raises:
        InputError: the run has no results, or a file of it is damaged.
    """
    results, environment = _results(run), run.read("environment.json")
    if run.metrics.is_file() and not any(one["file"] in TRAINING_FIGURES for one in read_captions(run.figures)):
        draw_training(run)
    pictures = _pictures(run)
    page = {
        "kind": "run",
        "title": f"{results['model']} on {results['dataset']}",
        "subtitle": _label(run),
        "notice": _notice(results),
        "verdict": verdict(results),
        "more": [*further(results), *(results.get("remarks") or [])],
        "facts": _facts(results, environment, run),
        "data": _data(results, environment),
        "tables": [results_table(results), *channel_tables(results), *further_tables(results)],
        "about": _about(results),
        "pictures": [picture for name, picture in pictures if name not in TRAINING_FIGURES],
        "training": [picture for name, picture in pictures if name in TRAINING_FIGURES],
        "environment": _environment(environment),
        "command": shlex.join(environment["command"]) if environment.get("command") else "",
        "config": run.config.read_text(),
    }
    return _write(page, path or run.report)


def write_comparison(runs: Sequence[RunFolder], path: Path) -> Path:
    """Write a page that sets several runs beside each other and return its path.

    Forecasters that several runs share with the same numbers, the baselines, stand in the table once.

    Args:
        runs: at least one.
        path: the page to write.

    Raises:
        InputError: a run has no results, or there are no runs.
    """
    if not runs:
        raise InputError("there is nothing to compare: name at least one run folder.")
    labels = _labels(runs)
    results = [_results(run) for run in runs]
    tests = {(one["dataset"], one["split_hash"]) for one in results}
    comparable = len(tests) == 1
    titles: dict[str, str] = {}
    figures: dict[str, list[Picture]] = {}
    for run, label in zip(runs, labels, strict=True):
        for name, picture in _pictures(run):
            titles.setdefault(name, picture.title)
            figures.setdefault(name, []).append(replace(picture, title=label))
    commands = [(label, run.read("environment.json").get("command")) for label, run in zip(labels, runs, strict=True)]
    page = {
        "kind": "comparison",
        "title": f"{len(runs)} runs compared" if len(runs) > 1 else "1 run",
        "subtitle": ", ".join(labels),
        "notice": " ".join(dict.fromkeys(told for one in results if (told := _notice(one)))),
        "verdict": _comparison_verdict(labels, results, comparable),
        "tables": [comparison_table(labels, results, comparable)],
        "about": list(dict(pair for one in results for pair in _about(one)).items()),
        "groups": [
            (titles[name], figures[name]) for name in sorted(figures, key=lambda name: name in TRAINING_FIGURES)
        ],
        "commands": [(label, shlex.join(command)) for label, command in commands if command],
        "verdicts": [(label, verdict(one)) for label, one in zip(labels, results, strict=True)],
    }
    return _write(page, path)


def _results(run: RunFolder) -> dict[str, Any]:
    results = run.read("results.json")
    missing = [key for key in ("dataset", "split_hash", "model", "metrics") if key not in results]
    if missing or results["model"] not in results["metrics"]:
        raise InputError(
            f"{run.path / 'results.json'} lacks {', '.join(missing) or 'the metrics of its model'}: "
            f"`integrand evaluate {run.path}` writes it anew."
        )
    return results


def _notice(results: Mapping[str, Any]) -> str:
    """Return what an application or a data set demands to be said first."""
    entry = CATALOGUE.get(results["dataset"])
    return NOTICES.get(results.get("app", ""), "") or (entry.notice if entry else "")


def _comparison_verdict(labels: Sequence[str], results: Sequence[Mapping[str, Any]], comparable: bool) -> str:
    if not comparable:
        tests = "; ".join(
            f"{label}: {one['dataset']}, split {one['split_hash']}" for label, one in zip(labels, results, strict=True)
        )
        return f"These runs were tested on different data or splits, so their numbers can't be compared ({tests})."
    metric = next(iter(results[0]["metrics"][results[0]["model"]]))
    aim = better(metric, results[0])
    values = {label: one["metrics"][one["model"]].get(metric) for label, one in zip(labels, results, strict=True)}
    values = {label: value for label, value in values.items() if is_number(value)}
    tested = f"All were tested on the same part of {results[0]['dataset']} (split {results[0]['split_hash']})"
    if aim is None or len(values) < 2:
        return f"{tested}."
    best = min(values, key=lambda label: distance(values[label], aim))
    model = results[list(labels).index(best)]["model"]
    return (
        f"{tested}; the best {metric_name(metric)} is that of {best} ({model}): {values[best]:.4g}. How much of "
        "the difference is chance of the training, one run of each can't tell."
    )


def _about(results: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Explain each metric, and which way is better."""
    metrics = dict.fromkeys(metric for one in results["metrics"].values() for metric in one)
    told = []
    for metric in metrics:
        aim = better(metric, results)
        way = "" if aim is None else f"{aim} is better" if isinstance(aim, str) else f"best at {aim:g}"
        text = (results.get("about") or {}).get(metric, "")
        told.append((metric_name(metric), "; ".join(part for part in (text, way) if part)))
    return [(name, text) for name, text in told if text]


def _facts(results: Mapping[str, Any], environment: Mapping[str, Any], run: RunFolder) -> list[tuple[str, str]]:
    facts = [("application", results.get("app")), ("recipe", environment.get("recipe")), ("model", results["model"])]
    if environment.get("parameters"):
        facts.append(("parameters", f"{environment['parameters']:,}"))
    facts.append(("seed", results.get("seed", environment.get("seed"))))
    rows = read_metrics(run.metrics) if run.metrics.is_file() else []
    if rows:
        facts.append(("trained for", f"{rows[-1]['step'] + 1:,} steps"))
    seconds = environment.get("seconds") or {}
    if seconds:
        facts.append(("time", ", ".join(f"{phase} {_duration(spent)}" for phase, spent in seconds.items())))
    return [(name, str(value)) for name, value in facts if value not in (None, "")]


def _data(results: Mapping[str, Any], environment: Mapping[str, Any]) -> list[tuple[str, str]]:
    facts = [("data set", results["dataset"])]
    try:
        entry = find(results["dataset"])
        facts += [("what it is", entry.summary), ("source", entry.source), ("licence", entry.licence)]
        facts += [("to cite", entry.citation), ("split", entry.splits)]
    except InputError:
        pass  # the user's own file
    facts.append(("split hash", results["split_hash"]))
    samples = results.get("samples") or {}
    for part in ("train", "validation", "test"):
        if part in samples:
            facts.append((f"{'training' if part == 'train' else part} {samples['name']}", f"{samples[part]:,}"))
    facts.append(("checksum of the data", environment.get("data_checksum")))
    return [(name, str(value)) for name, value in facts if value not in (None, "")]


def _environment(environment: Mapping[str, Any]) -> list[tuple[str, str]]:
    facts = [(key, environment.get(key)) for key in ("integrand", "python", "system", "device", "threads")]
    facts += list((environment.get("packages") or {}).items())
    return [(name, str(value)) for name, value in facts if value not in (None, "")]


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _pictures(run: RunFolder) -> list[tuple[str, Picture]]:
    """Read the run's figures in the order of their captions."""
    pictures = []
    for entry in read_captions(run.figures):
        content = (run.figures / entry["file"]).read_bytes()
        if content[:8] == b"\x89PNG\r\n\x1a\n" and len(content) >= 24:
            kind, dpi = "png", DPI
            width, height = struct.unpack(">II", content[16:24])
        elif content[:6] == b"GIF89a" and len(content) >= 10:
            kind, dpi = "gif", ANIMATION_DPI
            width, height = struct.unpack("<HH", content[6:10])
        else:
            raise InputError(
                f"{run.figures / entry['file']} is neither PNG nor GIF: `integrand evaluate {run.path}` draws it anew."
            )
        natural = width / dpi * CSS_INCH
        least = SMALLEST_TEXT * natural
        picture = Picture(
            title=entry["title"],
            caption=entry["caption"],
            data=f"data:image/{kind};base64," + base64.b64encode(content).decode(),
            width=width,
            height=height,
            least=round(least),
            most=round(1.15 * natural),
            wide=least > PHONE,
        )
        pictures.append((entry["file"], picture))
    return pictures


def _label(run: RunFolder) -> str:
    return "/".join(run.path.resolve().parts[-3:])


def _labels(runs: Sequence[RunFolder]) -> list[str]:
    """Name runs by as few last parts of their paths as tell them apart."""
    parts = [run.path.resolve().parts for run in runs]
    for count in range(1, max(map(len, parts))):
        short = ["/".join(p[-count:]) for p in parts]
        if len(set(short)) == len(set(parts)):
            return short
    return ["/".join(p) for p in parts]


def _write(page: Mapping[str, Any], path: Path) -> Path:
    from jinja2 import Environment, StrictUndefined

    source = files("integrand.apps.training").joinpath("report.html.j2").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["prose"] = lambda text: str(text).replace(" %", "\u00a0%")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, environment.from_string(source).render(page=page))
    return path
