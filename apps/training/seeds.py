"""``integrand train --seeds``: a training for each of several seeds, and their means and deviations."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from integrand.apps.application import Application
from integrand.apps.training.comparison import write_comparison
from integrand.apps.training.conclusion import score_table
from integrand.apps.training.figures import metric_name
from integrand.apps.training.files import write_json
from integrand.apps.training.request import TrainRequest
from integrand.apps.training.run_folder import RunFolder
from integrand.apps.training.seed_groups import summarise
from integrand.apps.training.session import train


def train_seeds(app: Application, request: TrainRequest) -> int:
    """Make a run for each seed, then print their means and deviations and write them beside the runs.

    A run is what ``--seed`` makes of it alone. ``seeds_FIRST_LAST.json`` holds the numbers, the page of that name sets
    the runs side by side. A run that is stopped ends the whole, with its exit code.

    Raises:
        InputError: options, data or folder are not right.
    """
    assert request.seeds is not None
    first = request.seed or 0
    seeds = list(range(first, first + request.seeds))
    runs: list[RunFolder] = []
    for seed in seeds:
        trained = train(app, replace(request, seed=seed, options=list(request.options)))
        if trained.code:
            left = f"seeds {seed + 1} to {seeds[-1]} were not begun, and " if seed < seeds[-1] else ""
            print(f"stopped in seed {seed}: {left}there are no means", file=sys.stderr, flush=True)
            return trained.code
        runs.append(trained.run)
    summary = summarise([run.read("results.json") for run in runs], seeds, [run.path.name for run in runs])
    path = _free(runs[0].path.parent / f"seeds_{seeds[0]}_{seeds[-1]}.json")
    write_json(path, summary)
    write_comparison(runs, path.with_suffix(".html"))
    print_summary(summary)
    print(f"numbers: {path}")
    print(f"page:    {path.with_suffix('.html')}")
    return 0


def print_summary(summary: dict[str, Any]) -> None:
    """Print the means and deviations, a row for the model and each baseline."""
    from rich.console import Console

    seeds = summary["seeds"]
    title = f"{summary['dataset']}, test part, mean ± deviation over seeds {seeds[0]} to {seeds[-1]}"
    table = score_table(title, [metric_name(metric) for metric in next(iter(summary["metrics"].values()))])
    for who, scores in summary["metrics"].items():
        table.add_row(who, *map(_cell, scores.values()), style="bold" if who == summary["model"] else None)
    Console(soft_wrap=False).print(table)


def _cell(spread: dict[str, Any]) -> str:
    return "–" if spread["mean"] is None else f"{spread['mean']:.4f}\n±{spread['std']:.4f}"


def _free(path: Path) -> Path:
    """Return the path, or one with a number after it where it is taken: other runs had the same seeds."""
    number, tried = 2, path
    while tried.exists() or tried.with_suffix(".html").exists():
        tried, number = path.with_name(f"{path.stem}_{number}{path.suffix}"), number + 1
    return tried
