"""The page people read: one run's report, made from its files alone, and the parts that every page has."""

import base64
import shlex
import struct
from collections.abc import Mapping
from dataclasses import dataclass
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
from integrand.apps.training.tables import channel_tables, further_tables, results_table
from integrand.apps.training.verdict import better, further, verdict
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
    results, environment = read_results(run), run.read("environment.json")
    if run.metrics.is_file() and not any(one["file"] in TRAINING_FIGURES for one in read_captions(run.figures)):
        draw_training(run)
    pictures = read_pictures(run)
    page = {
        "kind": "run",
        "title": f"{results['model']} on {results['dataset']}",
        "subtitle": _label(run),
        "notice": notice(results),
        "verdict": verdict(results),
        "more": [*further(results), *(results.get("remarks") or [])],
        "facts": _facts(results, environment, run),
        "data": _data(results, environment),
        "tables": [results_table(results), *channel_tables(results), *further_tables(results)],
        "about": about(results),
        "pictures": [picture for name, picture in pictures if name not in TRAINING_FIGURES],
        "training": [picture for name, picture in pictures if name in TRAINING_FIGURES],
        "environment": _environment(environment),
        "command": shlex.join(environment["command"]) if environment.get("command") else "",
        "config": run.config.read_text(),
    }
    return write_page(page, path or run.report)


def read_results(run: RunFolder) -> dict[str, Any]:
    """Read the results of a run that was evaluated.

    Raises:
        InputError: there are none, or they lack what a page needs.
    """
    results = run.read("results.json")
    missing = [key for key in ("dataset", "split_hash", "model", "metrics") if key not in results]
    if missing or results["model"] not in results["metrics"]:
        raise InputError(
            f"{run.path / 'results.json'} lacks {', '.join(missing) or 'the metrics of its model'}: "
            f"`integrand evaluate {run.path}` writes it anew."
        )
    return results


def notice(results: Mapping[str, Any]) -> str:
    """Return what an application or a data set demands to be said first."""
    entry = CATALOGUE.get(results["dataset"])
    return NOTICES.get(results.get("app", ""), "") or (entry.notice if entry else "")


def about(results: Mapping[str, Any]) -> list[tuple[str, str]]:
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


def read_pictures(run: RunFolder) -> list[tuple[str, Picture]]:
    """Read the run's figures in the order of their captions."""
    pictures = []
    for entry in read_captions(run.figures):
        content = (run.figures / entry["file"]).read_bytes()
        try:
            pictures.append((entry["file"], picture(content, title=entry["title"], caption=entry["caption"])))
        except ValueError as error:
            raise InputError(
                f"{run.figures / entry['file']} is neither PNG nor GIF: `integrand evaluate {run.path}` draws it anew."
            ) from error
    return pictures


def picture(content: bytes, *, title: str, caption: str) -> Picture:
    """Return a picture as the template shows it, from the bytes of its file.

    Raises:
        ValueError: it is neither PNG nor GIF.
    """
    if content[:8] == b"\x89PNG\r\n\x1a\n" and len(content) >= 24:
        kind, dpi = "png", DPI
        width, height = struct.unpack(">II", content[16:24])
    elif content[:6] == b"GIF89a" and len(content) >= 10:
        kind, dpi = "gif", ANIMATION_DPI
        width, height = struct.unpack("<HH", content[6:10])
    else:
        raise ValueError("the picture is neither PNG nor GIF")
    natural = width / dpi * CSS_INCH
    least = SMALLEST_TEXT * natural
    return Picture(
        title=title,
        caption=caption,
        data=f"data:image/{kind};base64," + base64.b64encode(content).decode(),
        width=width,
        height=height,
        least=round(least),
        most=round(1.15 * natural),
        wide=least > PHONE,
    )


def _label(run: RunFolder) -> str:
    return "/".join(run.path.resolve().parts[-3:])


def write_page(page: Mapping[str, Any], path: Path) -> Path:
    """Write a page by the template and return its path."""
    from jinja2 import Environment, StrictUndefined

    source = files("integrand.apps.training").joinpath("report.html.j2").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["prose"] = lambda text: str(text).replace(" %", "\u00a0%")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, environment.from_string(source).render(page=page))
    return path
