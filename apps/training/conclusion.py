"""What follows a training, and what ``integrand evaluate`` repeats: scores, figures, report."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lightning import LightningDataModule, Trainer
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from integrand.apps.application import Task, load
from integrand.apps.training.checkpoints import StoredRun, build_data, build_module
from integrand.apps.training.module import BaseModule
from integrand.apps.training.quiet import quiet
from integrand.apps.training.run_folder import RunFolder
from integrand.apps.training.verdict import better, bootstrapped
from integrand.core.errors import InputError

if TYPE_CHECKING:
    from rich.table import Table


def conclude(
    task: Task,
    run: RunFolder,
    module: BaseModule,
    data: LightningDataModule,
    *,
    seed: int,
    notify: Callable[[str], None],
    seconds: dict[str, float] | None = None,
    options: Mapping[str, Any] | None = None,
    checkpoint: str = "best",
) -> dict[str, Any]:
    """Score the module on the test part beside the baselines; write results, figures and report; print the table.

    Args:
        task: what the module was trained for.
        run: the run's folder.
        module: trained, on the device it is to run on.
        data: its data.
        seed: what the run was seeded with.
        notify: told what is being done.
        seconds: what was spent on earlier phases.
        options: further arguments of the task's ``evaluate``; those that are None are not given.
        checkpoint: which weights the module has, for the record.

    Raises:
        InputError: the task's ``evaluate`` does not take an option.
    """
    from integrand.apps.training.figures import draw_training
    from integrand.apps.training.report import write_report

    seconds = dict(seconds or {})
    environment = run.read("environment.json")
    began = time.monotonic()
    evaluate = load(task.evaluate)
    given = {name: value for name, value in (options or {}).items() if value is not None}
    for name in given:
        if name not in inspect.signature(evaluate).parameters:
            raise InputError(f"option --{name.replace('_', '-')} is not for {task.name}: leave it out.")
    evaluation = evaluate(module, data, name=environment["model"], seed=seed, notify=notify, **given)
    seconds["evaluation"] = time.monotonic() - began
    results = {**evaluation.results, "task": task.name}  # of several tasks by one ``evaluate``, the one it was
    run.write("results.json", results)
    began = time.monotonic()
    notify("drawing figures")
    load(task.figures)(evaluation, run, data.task)  # pyright: ignore[reportAttributeAccessIssue]
    draw_training(run)
    seconds["figures"] = time.monotonic() - began
    # Of the model alone, where others learned beside it.
    environment["parameters"] = sum(p.numel() for p in getattr(module, "network", module).parameters())
    environment["evaluation"] = {"checkpoint": checkpoint, **given}
    environment["seconds"] = {**environment.get("seconds", {}), **{k: round(v, 2) for k, v in seconds.items()}}
    run.write("environment.json", environment)
    write_report(run)
    print_table(results)
    return results


def reopen(run: RunFolder, *, checkpoint: str, accelerator: str) -> tuple[Task, BaseModule, LightningDataModule]:
    """Build a run's module and data again from its checkpoint alone, on the device the accelerator option names.

    Raises:
        InputError: the checkpoint does not fit this version, or the data are not what the run was made with.
    """
    quiet()
    _, task, path, stored = StoredRun.of(run, checkpoint)
    version = stored["integrand"].get("version")
    module = build_module(load(task.module), stored, path, version=version)
    data = build_data(load(task.data), stored, path, version=version)
    data.setup()
    run.require_data(data.dataset, data.split.hash)
    try:
        trainer = Trainer(
            accelerator=accelerator, devices=1, logger=False, enable_checkpointing=False, enable_model_summary=False
        )
    except (MisconfigurationException, ValueError) as error:
        raise InputError(f"option --accelerator {accelerator}: {' '.join(str(error).split())}") from error
    return task, module.to(trainer.strategy.root_device), data


def score_table(title: str, metrics: Sequence[str]) -> Table:
    """Return a table without rows, of names and metrics; seven metrics fit beside a name into 80 columns."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(title=title, box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("")
    for metric in metrics:
        table.add_column(metric, justify="right", no_wrap=True)
    return table


def print_table(results: dict[str, Any]) -> None:
    """Print the model beside the baselines, and by how much it is better than each, with intervals."""
    from rich.console import Console

    console = Console(soft_wrap=False)
    every, tested = list(next(iter(results["metrics"].values()))), results["samples"]
    room = console.width - min(max(map(len, results["metrics"])), 24) - 4
    metrics = [every[0]]
    for metric in every[1:]:  # what fits; the report has all
        if sum(max(9, len(one)) + 1 for one in [*metrics, metric]) <= room:
            metrics.append(metric)
    leaks = ", as published (leaks)" if results.get("protocol") == "as-published" else ""
    table = score_table(f"{results['dataset']}, test part{leaks}, {tested['test']:,} {tested['name']}", metrics)
    for who, scores in results["metrics"].items():
        style = "bold" if who == results["model"] else None
        table.add_row(who, *(_figure(scores[metric]) if metric in scores else "–" for metric in metrics), style=style)
    console.print(table)
    for metric, (low, high) in results["intervals"][results["model"]].items():
        console.print(
            f"{metric} of {results['model']}: 95 % interval {low:.4f} to {high:.4f} "
            f"(bootstrap over {bootstrapped(results['bootstrap'])})",
            highlight=False,
        )
        aim = better(metric, results)
        change = "reduction" if aim == "lower" else "rise"
        for other, gains in results["gains"].items():
            if metric not in gains:  # it says nothing of that baseline
                continue
            gain = gains[metric]
            word = "lower" if (gain["gain"] >= 0) == (aim == "lower") else "higher"
            console.print(
                f"  {abs(gain['gain']):.1%} {word} than {other} ({change} {gain['low']:.1%} to {gain['high']:.1%})",
                highlight=False,
            )
    for remark in results.get("remarks") or []:
        console.print(remark, highlight=False)


def _figure(value: float | None) -> str:
    """Write a figure with four decimals, and a small one with three digits."""
    if value is None:
        return "–"
    return f"{value:.4f}" if value == 0 or abs(value) >= 0.01 else f"{value:.2e}"
