"""Several runs that differ in their seeds alone, and what they have in common: means and deviations."""

import statistics
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from integrand.apps.application import Application
from integrand.apps.training.conclusion import score_table
from integrand.apps.training.figures import metric_name
from integrand.apps.training.files import write_json
from integrand.apps.training.report import write_comparison
from integrand.apps.training.request import TrainRequest
from integrand.apps.training.run_folder import RunFolder
from integrand.apps.training.session import train
from integrand.apps.training.verdict import is_number
from integrand.core.errors import InputError


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


def summarise(results: Sequence[dict[str, Any]], seeds: Sequence[int], runs: Sequence[str]) -> dict[str, Any]:
    """Return mean and standard deviation over the runs of every metric of the model and each baseline.

    The deviation is that of a sample: the squares are divided by the number of runs less one. Where a run has no value,
    both are None.

    Args:
        results: of each run, as ``results.json`` holds them.
        seeds: of each run.
        runs: name of the folder of each run.

    Raises:
        InputError: the runs were not scored on the same test part.

    Example:
        >>> one = {"app": "a", "dataset": "d", "split_hash": "h", "model": "m", "metrics": {"m": {"mae": 1.0}}}
        >>> other = one | {"metrics": {"m": {"mae": 3.0}}}
        >>> summarise([one, other], [0, 1], ["1", "2"])["metrics"]
        {'m': {'mae': {'mean': 2.0, 'std': 1.4142135623730951, 'values': [1.0, 3.0]}}}
    """
    same = ("app", "dataset", "split_hash", "model")
    for key in same:
        found = sorted({str(one[key]) for one in results})
        if len(found) > 1:
            raise InputError(
                f"the runs differ in {key}: {', '.join(found)}; only runs on the same test part have means."
            )
    metrics = results[0]["metrics"]
    return {
        **{key: results[0][key] for key in same},
        "seeds": list(seeds),
        "runs": list(runs),
        "metrics": {
            who: {metric: _spread([one["metrics"][who][metric] for one in results]) for metric in metrics[who]}
            for who in metrics
        },
    }


def print_summary(summary: dict[str, Any]) -> None:
    """Print the means and deviations, a row for the model and each baseline."""
    from rich.console import Console

    seeds = summary["seeds"]
    title = f"{summary['dataset']}, test part, mean ± deviation over seeds {seeds[0]} to {seeds[-1]}"
    table = score_table(title, [metric_name(metric) for metric in next(iter(summary["metrics"].values()))])
    for who, scores in summary["metrics"].items():
        table.add_row(who, *map(_cell, scores.values()), style="bold" if who == summary["model"] else None)
    Console(soft_wrap=False).print(table)


def _spread(values: list[float]) -> dict[str, Any]:
    if not all(map(is_number, values)):  # such as the AUROC of a test part with one class
        return {"mean": None, "std": None, "values": values}
    return {"mean": statistics.fmean(values), "std": statistics.stdev(values), "values": values}


def _cell(spread: dict[str, Any]) -> str:
    return "–" if spread["mean"] is None else f"{spread['mean']:.4f}\n±{spread['std']:.4f}"


def _free(path: Path) -> Path:
    """Return the path, or one with a number after it where it is taken: other runs had the same seeds."""
    number, tried = 2, path
    while tried.exists() or tried.with_suffix(".html").exists():
        tried, number = path.with_name(f"{path.stem}_{number}{path.suffix}"), number + 1
    return tried
