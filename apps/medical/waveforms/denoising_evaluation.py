"""Scoring a trained denoiser on the test part, beside filters.

Dimension letters: B pieces, L samples, G patients.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from integrand.apps.medical.waveforms.batch import WaveformBatch
from integrand.apps.medical.waveforms.data import WaveformData
from integrand.apps.medical.waveforms.denoising_baselines import bridged, fitted, improvement
from integrand.apps.medical.waveforms.module import AT_A_TIME, Z_90, DenoisingModule
from integrand.apps.medical.waveforms.patient_bootstrap import compared
from integrand.apps.medical.waveforms.sources import MEASURED
from integrand.datasets.splits import PARTS

Array = np.ndarray
Notify = Callable[[str], None]
MOST_TRAINING_PIECES = 256
"""Of which the baselines take their options."""
METRICS = {
    "rmse": "root mean square error where the signal was observed, mV, a mean of pieces",
    "improvement": "decibels by which the signal-to-noise ratio rises where the signal was observed, a mean of pieces",
    "prd": "percentage root-mean-square difference, of the clean signal's deviation, a mean of pieces",
    "gap_rmse": "root mean square error in gaps, mV",
    "coverage": "share of the clean signal's samples within the band that is to hold 90 %",
}
"""Metrics and what they are."""


@dataclass(frozen=True)
class DenoisingEvaluation:
    """What the figures and the report are drawn from.

    Attributes:
        name: the model's name in ``found``.
        batch: the test pieces, on the host.
        found: (B, L) clean signals by the model and by each baseline, mV.
        std: (B, L) deviations of the model's.
        gains: (B,) improvement of each piece by each, dB.
        results: what goes to ``results.json``.
    """

    name: str
    batch: WaveformBatch
    found: dict[str, Array]
    std: Array
    gains: dict[str, Array]
    results: dict[str, Any]


def evaluate(
    module: DenoisingModule, data: WaveformData, *, name: str, seed: int, notify: Notify
) -> DenoisingEvaluation:
    """Score the model and the baselines on the test part.

    Args:
        module: the trained module, on the device it is to run on.
        data: its data.
        name: the model's name in the tables.
        seed: what the run was seeded with, for the record.
        notify: told what is being done, one line each.
    """
    test, train = data.part("test"), data.part("train")
    batch = test.__getitems__(list(range(len(test))))
    notify(f"scoring {name} on {len(test):,} test pieces of {data.seconds:g} s")
    mean, std = answers(module, batch)
    notify("choosing the baselines' options on the training part, and scoring them")
    learned = train.__getitems__(list(range(min(len(train), MOST_TRAINING_PIECES))))
    chosen = fitted(learned)
    signal = bridged(batch)
    found = {name: mean} | {each.name: each.apply(signal, batch.rate) for each in chosen}
    remarks = [f"Baselines as set on the training part: {'; '.join(f'{one.name}: {one.options}' for one in chosen)}."]
    return DenoisingEvaluation(
        name=name,
        batch=batch,
        found=found,
        std=std,
        gains={who: improvement(own, batch) for who, own in found.items()},
        results=_results(name, batch, found, std, data, seed, remarks),
    )


@torch.no_grad()
def answers(module: DenoisingModule, batch: WaveformBatch) -> tuple[Array, Array]:
    """Return means and deviations (B, L), mV, on the host."""
    module.eval()
    found = [module(part.to(module.device)) for part in batch.split(AT_A_TIME)]
    mean, std = (torch.cat([each[place] for each in found]).double().cpu().numpy() for place in (0, 1))
    return mean, std


def piece_sums(found: Array, std: Array | None, batch: WaveformBatch) -> Array:
    """Return what scores are made of, (B, 8): one a piece, and sums over it."""
    clean, observed = batch.clean.double().numpy(), batch.observed.numpy()
    error = (found - clean) ** 2
    count = observed.sum(axis=1)
    spread = ((clean - clean.mean(axis=1, keepdims=True)) ** 2 * observed).sum(axis=1)
    seen = (error * observed).sum(axis=1)
    within = np.zeros(len(found)) if std is None else (np.sqrt(error) <= Z_90 * std).sum(axis=1)
    return np.stack(
        [
            np.ones(len(found)),
            improvement(found, batch),
            np.sqrt(seen / np.maximum(count, 1)),
            100 * np.sqrt(seen / np.maximum(spread, 1e-12)),
            (error * ~observed).sum(axis=1),
            (~observed).sum(axis=1).astype(float),
            within,
            np.full(len(found), float(clean.shape[1])),
        ],
        axis=1,
    )


def scores(sums: Array) -> dict[str, Array]:
    """Return the scores of sums (..., 8) over pieces; those of gaps are 0 where there were none."""
    pieces, gained, rmse, prd, gap, missing, within, samples = np.moveaxis(np.asarray(sums, dtype=float), -1, 0)
    return {
        "rmse": rmse / pieces,
        "improvement": gained / pieces,
        "prd": prd / pieces,
        "gap_rmse": np.sqrt(gap / np.maximum(missing, 1)),
        "coverage": within / samples,
    }


def _results(
    name: str,
    batch: WaveformBatch,
    found: dict[str, Array],
    std: Array,
    data: WaveformData,
    seed: int,
    remarks: list[str],
) -> dict[str, Any]:
    test = data.part("test")
    patients = [test.leads[number].patient for number, _ in test.of]
    one = len(set(patients)) == 1
    # Of one patient nothing is known of others: what is drawn anew are pieces, and the report says so.
    groups = np.unique(np.arange(len(patients)) if one else patients, return_inverse=True)[1]
    sums = {}
    for who, own in found.items():
        each = piece_sums(own, std if who == name else None, batch)
        sums[who] = np.stack([np.bincount(groups, weights=column) for column in each.T], axis=1)
    made = compared(name, sums, scores, higher=["improvement"], of="pieces, all of one patient" if one else "patients")
    for part in ("metrics", "intervals", "gains"):
        for who, own in made[part].items():
            # A filter has no band; where nothing is missing there is no error in gaps.
            if who != name or part == "gains":
                own.pop("coverage", None)
            if batch.observed.all():
                own.pop("gap_rmse", None)
    told = [f"The signals are {'simulated: no patient was measured' if data.task.simulated else 'measured'}."]
    if not data.task.simulated:
        told.append(f"{MEASURED[0].upper()}{MEASURED[1:]}.")
    return {
        "app": "medical",
        "task": "denoising",
        "dataset": data.dataset,
        "protocol": data.split.of["protocol"],
        "split_hash": data.split.hash,
        "seed": seed,
        "model": name,
        **made,
        "better": {"improvement": "higher", "rmse": "lower", "prd": "lower", "gap_rmse": "lower"},
        "about": METRICS,
        "remarks": [*told, *remarks],
        "samples": {"name": "pieces", **{part: len(data.part(part)) for part in PARTS}},
    }
