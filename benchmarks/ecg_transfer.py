"""A network that has seen simulated patients alone names real beats: ``benchmarks/ecg_transfer.py``.

The default network of beats is trained on simulated electrocardiograms, of 150 patients drawn anew for each seed, and
never on a real one. It is then asked which beats of the MIT-BIH Arrhythmia Database are ventricular and which normal,
and scored by the area under the ROC curve over the beats of those two classes in the test records DS2, with an interval
by resampling patients. Real beats are scaled by what the simulated training part says, as any new recording is; what
differs between leads and machines is left to the network.

The number of steps was chosen on the simulated validation part and on the records of DS1: ``--develop`` scores those,
and writes no row. DS2 is scored by nothing else. Beside the network stands a logistic regression on the features of the
rhythm and the likeness to the record's own median beat, which learned from the same simulated patients.
"""

import argparse
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning import Trainer
from rows import PUBLISHED, commit, machine, write_row
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from integrand.apps.medical.beats.data import BeatData, BeatsOfPart
from integrand.apps.medical.beats.models.beat_network import S5BeatNetwork
from integrand.apps.medical.beats.module import BeatModule
from integrand.apps.training.class_scores import bootstrap
from integrand.apps.training.quiet import quiet
from integrand.datasets.beat_series import BeatSeries
from integrand.datasets.heart_beats import CLASSES

STEPS, PATIENTS, SECONDS = 80, 150, 60.0
NORMAL, VENTRICULAR = CLASSES.index("N"), CLASSES.index("V")
RESAMPLES = 2000


def main() -> None:
    """Train from every seed, score the real beats and write the row."""
    parser = argparse.ArgumentParser(description="From simulated to real beats.", allow_abbrev=False)
    parser.add_argument("--seeds", type=int, default=5, help="how many seeds, from 0 on (5)")
    parser.add_argument("--threads", type=int, default=1, help="threads (1)")
    parser.add_argument("--steps", type=int, default=STEPS, help="another number of steps, to try this script")
    parser.add_argument("--develop", action="store_true", help="score the records of DS1, and write nothing")
    parser.add_argument("--output", type=Path, default=PUBLISHED, help="folder of the row (benchmarks/published)")
    given = parser.parse_args()
    if given.steps != STEPS and not given.develop and given.output.resolve() == PUBLISHED.resolve():
        parser.error("another number of steps is no row to publish: give another folder with --output")
    quiet()
    torch.set_num_threads(given.threads)
    measured_at, seeds = commit(), list(range(given.seeds))
    real = BeatData("mit_bih")
    real.setup()
    parts = ("train", "validation") if given.develop else ("test",)
    series = [each for part in parts for each in real.part(part).series]
    labels, patients = beats_of_two(series)
    runs = []
    for seed in seeds:
        runs.append(run(seed, series, steps=given.steps))
        told = {name: round(float(roc_auc_score(labels, runs[-1][name])), 4) for name in ("network", "logistic")}
        print(seed, told, runs[-1]["seconds"], flush=True)
    if given.develop:
        return
    found = {f"seed {seed}": _pair(one["network"]) for seed, one in zip(seeds, runs, strict=True)}
    found["logistic"] = _pair(runs[0]["logistic"])
    intervals = bootstrap(found, labels, "auroc", groups=patients, resamples=RESAMPLES).intervals
    print(write_row(_row(runs, labels, patients, intervals, real, given, measured_at, seeds), given.output))


def run(seed: int, series: list[BeatSeries], *, steps: int = STEPS) -> dict[str, Any]:
    """Train on simulated patients from one seed; return what is said of the real beats of ``beats_of_two``, (M,)."""
    began = time.perf_counter()
    torch.manual_seed(seed)
    simulated = BeatData(patients=PATIENTS, seconds=SECONDS, seed=seed, split_seed=seed)
    simulated.setup()
    module = BeatModule(S5BeatNetwork(), warmup_steps=10)
    trainer = Trainer(
        max_steps=steps,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
        num_sanity_val_steps=0,
    )
    trainer.fit(module, simulated)
    seconds = round(time.perf_counter() - began, 1)
    whole = BeatsOfPart(as_named(series, simulated), simulated.task, whole=True)
    named = module.named(whole)
    logistic = _logistic(simulated, whole)
    chosen = [_of_two(each) for each in series]
    ours = np.concatenate([_odds(p[rows]) for p, rows in zip(named, chosen, strict=True)])
    theirs = np.concatenate([p[rows] for p, rows in zip(logistic, chosen, strict=True)])
    return {"network": ours, "logistic": theirs, "seconds": seconds}


def as_named(series: list[BeatSeries], data: BeatData) -> list[BeatSeries]:
    """Return series under the names of leads and features that the simulated data have."""
    return [replace(each, leads=list(data.leads), feature_names=list(data.task.features)) for each in series]


def beats_of_two(series: list[BeatSeries]) -> tuple[np.ndarray, np.ndarray]:
    """Return of the usable normal and ventricular beats which are ventricular, and whose they are, (M,) each."""
    rows = [_of_two(each) for each in series]
    labels = [each.labels[chosen] == VENTRICULAR for each, chosen in zip(series, rows, strict=True)]
    patients = [np.full(int(chosen.sum()), place) for place, chosen in enumerate(rows)]
    return np.concatenate(labels).astype(np.int64), np.concatenate(patients)


def _of_two(series: BeatSeries) -> np.ndarray:
    return series.usable & np.isin(series.labels, (NORMAL, VENTRICULAR))


def _odds(probabilities: np.ndarray) -> np.ndarray:
    """Return the logarithm of a ventricular beat's odds against a normal one, which no ties of rounding blur."""
    return np.log(probabilities[:, VENTRICULAR] + 1e-300) - np.log(probabilities[:, NORMAL] + 1e-300)


def _pair(odds: np.ndarray) -> np.ndarray:
    """Return probabilities of two classes (M, 2) in the order of the odds, which is all that the area looks at."""
    place = np.unique(odds, return_inverse=True)[1] / len(odds)
    return np.stack([1 - place, place], axis=1)


def _logistic(simulated: BeatData, real: BeatsOfPart) -> list[np.ndarray]:
    """Return the log odds of each real beat by a regression on the features of simulated ones."""
    train = simulated.part("train").series
    x = np.concatenate([each.features[_of_two(each)] for each in train])
    y = np.concatenate([each.labels[_of_two(each)] == VENTRICULAR for each in train])
    centre, scale = x.mean(0), x.std(0)
    fitted = LogisticRegression(class_weight="balanced", max_iter=1000).fit((x - centre) / scale, y)
    return [fitted.decision_function((each.features - centre) / scale) for each in real.series]


def _row(
    runs: list[dict[str, Any]],
    labels: np.ndarray,
    patients: np.ndarray,
    intervals: dict[str, tuple[float, float]],
    real: BeatData,
    given: argparse.Namespace,
    measured_at: str,
    seeds: list[int],
) -> dict[str, Any]:
    told = "; ".join(f"{name} {low:.3f} to {high:.3f}" for name, (low, high) in intervals.items())
    return {
        "row": "ecg_transfer_auroc",
        "command": f"python benchmarks/ecg_transfer.py --seeds {given.seeds} --threads {given.threads}"
        + ("" if given.steps == STEPS else f" --steps {given.steps}"),
        "commit": measured_at,
        "machine": machine(given.threads),
        "dataset": "mit_bih",
        "split_hash": real.split.hash,
        "metric": "auroc",
        "better": "higher",
        "seeds": seeds,
        "ours": [round(float(roc_auc_score(labels, one["network"])), 5) for one in runs],
        "seconds": [one["seconds"] for one in runs],
        "baselines": {"logistic regression": [round(float(roc_auc_score(labels, one["logistic"])), 5) for one in runs]},
        "published": None,
        "source": None,
        "note": f"S5BeatNetwork trained on {PATIENTS} simulated patients of {SECONDS:g} s alone, other ones for each "
        f"seed, {given.steps} steps; ventricular against normal beats of DS2, {int(labels.sum())} and "
        f"{int((1 - labels).sum())} of {len(np.unique(patients))} records; the regression on rhythm and likeness "
        f"learned from the same; 95 % intervals by resampling records: {told}",
    }


if __name__ == "__main__":
    main()
