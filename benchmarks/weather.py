"""Measure the default recipe over seeds: ``python benchmarks/weather.py [--seeds 3]``.

Each seed is a run of its own through the command line, in a temporary folder, from command to report. A row a metric
goes to ``published/``, with the baselines of the same runs. ``--quick`` proves that all of this works, on a model that
has learned nothing; its rows go to the folder named by ``--output``.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from rows import PUBLISHED, commit, machine, write_row

METRICS = ("crps", "mae", "mse")
QUICK = ("--trainer.max_epochs", "1", "--trainer.limit_train_batches", "4", "--data.stride", "24")
NOTE = "the recipe's test part, standardised units; each seed draws its own initial values, order and dropped rows"


def main() -> None:
    """Run every seed and write the rows."""
    given = _parse()
    seeds = list(range(given.seeds))
    runs = [_run(seed, given.quick) for seed in seeds]
    results = [run["results"] for run in runs]
    model = results[0]["model"]
    hashes = sorted({result["split_hash"] for result in results})
    if len(hashes) > 1:
        raise SystemExit(f"the seeds were scored on different splits: {hashes}")
    for metric in METRICS:
        scores = {name: [result["metrics"][name][metric] for result in results] for name in results[0]["metrics"]}
        ours = scores.pop(model)
        row = {
            "row": f"weather_{metric}",
            "command": f"python benchmarks/weather.py --seeds {given.seeds}" + (" --quick" if given.quick else ""),
            "commit": commit(),
            "machine": machine(runs[0]["threads"]),
            "dataset": results[0]["dataset"],
            "split_hash": hashes[0],
            "metric": metric,
            "better": "lower",
            "seeds": seeds,
            "ours": ours,
            "seconds": [round(run["seconds"], 1) for run in runs],
            "baselines": scores,
            "published": None,
            "source": None,
            "note": f"{model}; {NOTE}" + ("; quick, so the model has learned nothing" if given.quick else ""),
        }
        print(write_row(row, given.output))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure the default recipe over seeds.", allow_abbrev=False)
    parser.add_argument("--seeds", type=int, default=3, help="how many seeds, from 0 on (3)")
    parser.add_argument("--quick", action="store_true", help="a few steps only, to try this script; needs --output")
    parser.add_argument("--output", type=Path, default=PUBLISHED, help="folder of the rows (benchmarks/published)")
    given = parser.parse_args()
    if given.seeds < 1:
        parser.error("--seeds must be at least 1")
    if given.quick and given.output.resolve() == PUBLISHED.resolve():
        parser.error("--quick measures nothing worth publishing: give another folder with --output")
    return given


def _run(seed: int, quick: bool) -> dict[str, Any]:
    """Train and evaluate once; the seconds are those a user waits, from command to report."""
    with tempfile.TemporaryDirectory() as folder:
        words = ["train", "timeseries", "--seed", str(seed), "--runs", folder, *(QUICK if quick else ())]
        began = time.perf_counter()
        subprocess.run([sys.executable, "-m", "integrand", *words], check=True)
        seconds = time.perf_counter() - began
        (run,) = Path(folder, "timeseries", "weather").iterdir()
        results = json.loads((run / "results.json").read_text(encoding="utf-8"))
        threads = json.loads((run / "environment.json").read_text(encoding="utf-8"))["threads"]
    return {"results": results, "seconds": seconds, "threads": threads}


if __name__ == "__main__":
    main()
