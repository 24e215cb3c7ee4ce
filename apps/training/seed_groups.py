"""Runs that differ in their seed alone: which of several they are, and their means and deviations."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from integrand.apps.training.run_folder import RunFolder
from integrand.apps.training.verdict import is_number
from integrand.core.errors import InputError

SAME = ("app", "dataset", "split_hash", "model")
"""What the results of runs must share to have means."""


@dataclass
class SeedGroup:
    """Runs of different seeds that are alike in all else; a run that has no such fellow is a group of its own.

    Attributes:
        labels: of the runs.
        results: of the runs, as ``results.json`` holds them.
    """

    labels: list[str] = field(default_factory=list)
    results: list[Mapping[str, Any]] = field(default_factory=list)

    @property
    def seeds(self) -> list[Any]:
        """The seed of each run."""
        return [one.get("seed") for one in self.results]

    @property
    def several(self) -> bool:
        """Whether there are several seeds."""
        return len(self.labels) > 1

    @property
    def name(self) -> str:
        """The runs, and how many seeds they are."""
        return ", ".join(self.labels) + (f" ({len(self.labels)} seeds)" if self.several else "")

    @property
    def summary(self) -> dict[str, Any]:
        """Means and deviations, see ``summarise``; the deviations of one run are None."""
        return summarise(self.results, self.seeds, self.labels)


def seed_groups(
    runs: Sequence[RunFolder], labels: Sequence[str], results: Sequence[Mapping[str, Any]]
) -> list[SeedGroup]:
    """Put runs together that differ in their seed alone, in the order of the first of each group.

    They agree in application, task, data set, split, model, every option of ``config.yaml`` but the seeds
    (``seed_everything``, ``data.seed``), and in how they were evaluated. A seed stands in a group once: the same
    training done again says nothing of chance.

    Args:
        runs: their folders.
        labels: what they are called.
        results: their results, in the same order.
    """
    groups: list[tuple[dict[str, Any], SeedGroup]] = []
    for run, label, one in zip(runs, labels, results, strict=True):
        alike = _all_but_the_seed(run, one)
        fitting = (group for key, group in groups if key == alike and one.get("seed") not in group.seeds)
        group = next(fitting, None)
        if group is None:
            group = SeedGroup()
            groups.append((alike, group))
        group.labels.append(label)
        group.results.append(one)
    return [group for _, group in groups]


def _all_but_the_seed(run: RunFolder, results: Mapping[str, Any]) -> dict[str, Any]:
    """Return what runs of a group share."""
    try:
        config = yaml.safe_load(run.config.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{run.config} is damaged: it is not YAML; restore it, or leave the run out.") from error
    options = dict(config) if isinstance(config, dict) else {}
    options.pop("seed_everything", None)
    if isinstance(options.get("data"), dict):
        options["data"] = {name: value for name, value in options["data"].items() if name != "seed"}
    told = {key: results.get(key) for key in (*SAME, "task", "protocol")}
    return {**told, "options": options, "evaluation": run.read("environment.json").get("evaluation")}


def summarise(results: Sequence[Mapping[str, Any]], seeds: Sequence[Any], runs: Sequence[str]) -> dict[str, Any]:
    """Return mean and standard deviation over the runs of every metric of the model and each baseline.

    The deviation is that of a sample: the squares are divided by the number of runs less one; of one run it is None.
    Where a run has no value, both are None. What not every run was compared with, such as a solver chosen by what it
    costs, is left out.

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
    for key in SAME:
        found = sorted({str(one.get(key)) for one in results})
        if len(found) > 1:
            raise InputError(
                f"the runs differ in {key}: {', '.join(found)}; only runs on the same test part have means."
            )
    metrics = results[0]["metrics"]
    everywhere = [who for who in metrics if all(who in one["metrics"] for one in results)]
    return {
        **{key: results[0].get(key) for key in SAME},
        "seeds": list(seeds),
        "runs": list(runs),
        "metrics": {
            who: {metric: _spread([one["metrics"][who].get(metric) for one in results]) for metric in metrics[who]}
            for who in everywhere
        },
    }


def _spread(values: list[Any]) -> dict[str, Any]:
    if not all(map(is_number, values)):  # such as the AUROC of a test part with one class
        return {"mean": None, "std": None, "values": values}
    # Equal values have that mean, not one that a division rounded: so a baseline stays the same in every group.
    mean = values[0] if min(values) == max(values) else statistics.fmean(values)
    return {"mean": mean, "std": statistics.stdev(values) if len(values) > 1 else None, "values": values}
