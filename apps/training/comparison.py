"""The page that sets several runs side by side, made from their files alone; runs of several seeds go together."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from integrand.apps.training.figures import TRAINING_FIGURES, metric_name
from integrand.apps.training.growth import draw_growth
from integrand.apps.training.report import Picture, about, notice, picture, read_pictures, read_results, write_page
from integrand.apps.training.run_folder import RunFolder
from integrand.apps.training.seed_groups import SeedGroup, seed_groups
from integrand.apps.training.tables import comparison_table, seeds_table
from integrand.apps.training.verdict import better, distance, is_number, verdict
from integrand.core.errors import InputError


def write_comparison(runs: Sequence[RunFolder], path: Path) -> Path:
    """Write a page that sets several runs beside each other and return its path.

    Forecasters that several runs share with the same numbers, the baselines, stand in the table once. Where runs differ
    in their seed alone, a table of means and deviations over seeds goes first, and errors over time, where runs keep
    them, are drawn with the band of the seeds.

    Args:
        runs: at least one.
        path: the page to write.

    Raises:
        InputError: a run has no results, or there are no runs.
    """
    if not runs:
        raise InputError("there is nothing to compare: name at least one run folder.")
    labels = _labels(runs)
    results = [read_results(run) for run in runs]
    comparable = len({(one["dataset"], one["split_hash"]) for one in results}) == 1
    groups = seed_groups(runs, labels, results)
    seeds = any(group.several for group in groups)
    growth = draw_growth(groups) if comparable and seeds else None
    commands = [(label, run.read("environment.json").get("command")) for label, run in zip(labels, runs, strict=True)]
    page = {
        "kind": "comparison",
        "title": f"{len(runs)} runs compared" if len(runs) > 1 else "1 run",
        "subtitle": ", ".join(labels),
        "notice": " ".join(dict.fromkeys(told for one in results if (told := notice(one)))),
        "verdict": _verdict(groups, comparable),
        "tables": [
            *([seeds_table(groups, comparable)] if seeds else []),
            comparison_table(labels, results, comparable),
        ],
        "about": list(dict(pair for one in results for pair in about(one)).items()),
        "growth": growth and picture(growth.content, title=growth.title, caption=growth.caption),
        "groups": _side_by_side(runs, labels),
        "commands": [(label, shlex.join(command)) for label, command in commands if command],
        "verdicts": [(label, verdict(one)) for label, one in zip(labels, results, strict=True)],
    }
    return write_page(page, path)


def _side_by_side(runs: Sequence[RunFolder], labels: Sequence[str]) -> list[tuple[str, list[Picture]]]:
    """Return the figures of all runs, those of a kind together below its title; what training drew goes last."""
    titles: dict[str, str] = {}
    figures: dict[str, list[Picture]] = {}
    for run, label in zip(runs, labels, strict=True):
        for name, one in read_pictures(run):
            titles.setdefault(name, one.title)
            figures.setdefault(name, []).append(replace(one, title=label))
    return [(titles[name], figures[name]) for name in sorted(figures, key=lambda name: name in TRAINING_FIGURES)]


def _verdict(groups: Sequence[SeedGroup], comparable: bool) -> str:
    """Say which group is the best in the first metric, by its mean over seeds, and what chance may do."""
    if not comparable:
        tests = "; ".join(
            f"{group.name}: {group.results[0]['dataset']}, split {group.results[0]['split_hash']}" for group in groups
        )
        return f"These runs were tested on different data or splits, so their numbers can't be compared ({tests})."
    first = groups[0].results[0]
    metric = next(iter(first["metrics"][first["model"]]))
    aim, name = better(metric, first), metric_name(metric)
    found = [(group, group.summary["metrics"][group.results[0]["model"]].get(metric, {})) for group in groups]
    found = [(group, spread) for group, spread in found if is_number(spread.get("mean"))]
    tested = f"All were tested on the same part of {first['dataset']} (split {first['split_hash']})"
    if len(groups) == 1 and found and groups[0].several:
        value = _told(groups[0], found[0][1])
        return f"{tested} and differ in their seed alone: the {name} of {first['model']} is {value}."
    if aim is None or len(found) < 2:
        return f"{tested}."
    best, spread = min(found, key=lambda one: distance(one[1]["mean"], aim))
    told = f"{tested}; the best {name} is that of {best.name} ({best.results[0]['model']}): {_told(best, spread)}."
    if all(group.several for group, _ in found):
        return told
    single = "a single run" if any(group.several for group, _ in found) else "one run of each"
    return f"{told} How much of the difference is chance of the training, {single} can't tell."


def _told(group: SeedGroup, spread: Mapping[str, Any]) -> str:
    """Return a mean and its deviation as words."""
    if not group.several:
        return f"{spread['mean']:.4g}"
    return f"{spread['mean']:.4g} ± {spread['std']:.2g} over {len(group.labels)} seeds"


def _labels(runs: Sequence[RunFolder]) -> list[str]:
    """Name runs by as few last parts of their paths as tell them apart."""
    parts = [run.path.resolve().parts for run in runs]
    for count in range(1, max(map(len, parts))):
        short = ["/".join(p[-count:]) for p in parts]
        if len(set(short)) == len(set(parts)):
            return short
    return ["/".join(p) for p in parts]
