"""Train every layer on the same tasks: ``python benchmarks/layers.py [--tasks GLOB] [--layers GLOB] [--seeds 3]``.

The network around the layers, the optimiser and the number of steps are the same for all; the test part is looked at
once, after the last step. What was measured goes to ``layers/TASK.json``; layers measured before stay in it.
"""

import argparse
import json
import time
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from rows import LAYERS, commit, machine, write_task
from sequence_networks import NETWORKS, loss, score
from sequence_tasks import TASKS, SmallSet, Task
from torch import nn

RATE, DECAY, WARM_UP = 5e-3, 0.01, 0.1
SOURCE = "timeseriesclassification.com"


def _ridge() -> Any:
    from sklearn.linear_model import RidgeClassifierCV  # pyright: ignore[reportMissingImports]

    return RidgeClassifierCV(alphas=[10.0**k for k in range(-3, 4)])


def _nearest() -> Any:
    from sklearn.neighbors import KNeighborsClassifier  # pyright: ignore[reportMissingImports]

    return KNeighborsClassifier(1)


BASELINES = {"ridge": _ridge, "1-NN": _nearest}
"""Classifiers of series as long vectors, from scikit-learn, which comes with aeon."""


def main() -> None:
    """Train, score and write."""
    parser = argparse.ArgumentParser(description="Train every layer on the same tasks.", allow_abbrev=False)
    parser.add_argument("--tasks", metavar="GLOB", default="*", help="which tasks (all)")
    parser.add_argument("--layers", metavar="GLOB", nargs="+", default=["*"], help="which layers (all)")
    parser.add_argument("--seeds", type=int, default=3, help="how many seeds, from 0 on (3)")
    parser.add_argument("--threads", type=int, default=1, help="threads (1)")
    parser.add_argument("--output", type=Path, default=LAYERS, help="folder of the tables (benchmarks/layers)")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    for task in TASKS:
        for name in (*NETWORKS, *BASELINES):
            if fnmatch(task.name, given.tasks) and any(fnmatch(name, glob) for glob in given.layers):
                if name in NETWORKS:
                    runs = [train(task, name, seed) for seed in range(given.seeds)]
                elif isinstance(task, SmallSet):
                    runs = [fit(task, name)]
                else:
                    continue
                _write(task, name, runs, given)


def train(task: Task, name: str, seed: int) -> dict[str, Any]:
    """Train one network from one seed and score it."""
    test = task.test()
    torch.manual_seed(seed)
    network = NETWORKS[name](task, test.x.shape[1])
    rate = dict(task.rates).get(name, RATE)
    optimiser = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=task.steps, pct_start=WARM_UP)
    began = time.perf_counter()
    for step, batch in enumerate(task.batches(seed), 1):
        value = loss(task, network, batch)
        optimiser.zero_grad()
        value.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        if step % max(1, task.steps // 10) == 0:
            spent = time.perf_counter() - began
            told = f"step {step} of {task.steps}, loss {value.item():.4f}, {spent:.0f} s"
            print(f"{task.name} {name} seed {seed}: {told}", flush=True)
    seconds = time.perf_counter() - began
    return {
        "score": score(task, network, test),
        "seconds": round(seconds, 1),
        "parameters": sum(p.numel() for p in network.parameters()),
    }


def fit(task: SmallSet, name: str) -> dict[str, Any]:
    """Fit a baseline that draws nothing at random to the padded series, and score it."""
    train, test = task.parts()
    began = time.perf_counter()
    length = max(train.x.shape[1], test.x.shape[1])
    x, x_test = (F.pad(part.x, (0, 0, 0, length - part.x.shape[1])).flatten(1).numpy() for part in (train, test))
    found = BASELINES[name]().fit(x, train.y.numpy()).score(x_test, test.y.numpy())
    return {"score": found, "seconds": round(time.perf_counter() - began, 1), "parameters": 0}


def _write(task: Task, name: str, runs: list[dict[str, Any]], given: argparse.Namespace) -> None:
    path = given.output / f"{task.name}.json"
    before = json.loads(path.read_text(encoding="utf-8"))["layers"] if path.is_file() else {}
    table = {
        "row": task.name,
        "dataset": task.dataset,
        "split_hash": task.split_hash(),
        "metric": task.metric,
        "better": task.better,
        "must": task.must,
        "published": dict(task.published),
        "source": SOURCE if task.published else "",
        "layers": before,
    }
    table["layers"][name] = {
        "scores": [run["score"] for run in runs],
        "seconds": [run["seconds"] for run in runs],
        "parameters": runs[0]["parameters"],
        "command": f"python benchmarks/layers.py --tasks {task.name} --layers {name} --seeds {given.seeds}",
        "commit": commit(),
        "machine": machine(given.threads),
    }
    print(write_task(table, given.output), name, table["layers"][name]["scores"], flush=True)


if __name__ == "__main__":
    main()
