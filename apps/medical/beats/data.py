"""The data module of beat classification: recordings by patient, cut into beats, in runs of neighbours."""

import copy
import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from integrand.apps.medical.beats.batch import BeatBatch, stack
from integrand.apps.medical.beats.task import BeatTask
from integrand.apps.medical.named_recordings import DEFAULT_LEADS, MIT_BIH, SIMULATED
from integrand.apps.training.parts_data import PartsData
from integrand.core.errors import InputError, unknown
from integrand.datasets.beat_cache import cached_beat_series
from integrand.datasets.beat_series import BeatSeries
from integrand.datasets.beat_variations import varied
from integrand.datasets.heart_beats import CLASSES
from integrand.datasets.real import mit_bih
from integrand.datasets.recording import Recording, require_each_once, with_leads
from integrand.datasets.recording_files import read_folder
from integrand.datasets.splits import PARTS, IndexSplit, spread
from integrand.datasets.synthetic.ecg.patients import EcgSimulator

LARGEST = 50.0
"""Sizes of the usual beat at which a window is cut, so that an artefact stays finite."""


class BeatData(PartsData):
    """Beats of recordings, split by patient into training, validation and test.

    Means, deviations and shares are those of the training part; with folds, of all its patients.

    Args:
        dataset: ``mit_bih``, ``simulated_ecg``, or a folder of records of WFDB or EDF with their beats marked.
        protocol: of ``mit_bih``, a name in ``mit_bih.PARTS``.
        leads: names of the leads, in the order in which the network takes them; ``*`` for whichever is left.
        annotator: suffix of the annotations of a folder's WFDB records.
        patients: patients that are simulated.
        seconds: of each simulated recording.
        fibrillating: share of simulated patients whose atria fibrillate.
        noise: factor of the simulated noise, see ``EcgSimulator``.
        fractions: shares of patients for training, validation and test; of a published division the second alone
            counts, a share of its training patients.
        rate: Hz of the windows.
        causal: see ``beat_series``.
        cache: folder in which the series of each recording is kept, so that it is filtered and cut once; None for none.
        context: beats of a training run.
        variations: how often a network learns from each training recording as it might have been, beside from how it
            was: each time as other electrodes saw it, with fibrillating and with premature atria; see ``varied``.
            Nothing is scored or calibrated on them.
        folds: 1 for a validation part of its own. With more, no patient is set aside: all training patients are divided
            into so many folds, a network learns from all but each, and validation is of every patient by the network
            that never saw him.
        batch_size: runs a batch.
        num_workers: processes that load batches; 0 for the training process.
        seed: of the order and of where runs begin.
        split_seed: of the split.

    Raises:
        InputError: data that cannot be read or split, one recording under two names.
    """

    def __init__(
        self,
        dataset: str = SIMULATED,
        *,
        protocol: str = "inter_patient",
        leads: Sequence[str] | None = None,
        annotator: str = "atr",
        patients: int = 60,
        seconds: float = 120.0,
        fibrillating: float = 0.1,
        noise: float = 1.0,
        fractions: tuple[float, float, float] = (0.6, 0.15, 0.25),
        rate: float = 125.0,
        causal: bool = False,
        cache: str | None = None,
        context: int = 32,
        variations: int = 0,
        folds: int = 1,
        batch_size: int = 32,
        num_workers: int = 0,
        seed: int = 0,
        split_seed: int = 0,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.tested_together = 4  # whole recordings
        if len(fractions) != 3 or not all(0 < one < 1 for one in fractions) or abs(sum(fractions) - 1) > 1e-6:
            raise InputError(f"data.fractions={fractions!r} must be three positive shares that add up to 1.")
        for name, value, least in (
            ("patients", patients, 3),
            ("context", context, 1),
            ("variations", variations, 0),
            ("folds", folds, 1),
            ("batch_size", batch_size, 1),
            ("num_workers", num_workers, 0),
        ):
            if value < least:
                raise InputError(f"data.{name}={value!r} is out of range: it must be at least {least}.")
        self.dataset, self.protocol, self.annotator = dataset, protocol, annotator
        self.leads = tuple(leads or DEFAULT_LEADS.get(dataset, ()))
        self.patients, self.fractions = patients, fractions
        self.simulator = EcgSimulator(seconds=seconds, fibrillating=fibrillating, noise=noise)
        self.rate, self.causal, self.context, self.folds = rate, causal, context, folds
        self.variations = variations
        self.cache = None if cache is None else Path(cache)
        self.batch_size, self.num_workers, self.seed, self.split_seed = batch_size, num_workers, seed, split_seed
        self.notices: list[str] = []
        self._parts: dict[str, BeatsOfPart] = {}

    def setup(self, stage: str | None = None) -> None:
        """Read, cut, split and scale; a second call does nothing."""
        if self._parts:
            return
        recordings = self._read()
        require_each_once(recordings)
        self.series = [
            cached_beat_series(with_leads(each, self.leads), rate=self.rate, causal=self.causal, folder=self.cache)
            for each in recordings
        ]
        told = "".join(each.content_hash for each in recordings).encode()
        marked = [np.ascontiguousarray(each.labels).tobytes() for each in self.series]
        self.checksum = hashlib.sha256(b"".join([told, *marked])).hexdigest()[:16]
        self.notices += sorted({notice for each in recordings for notice in each.notices})
        self.split = self._split(recordings)
        variations = [self._varied(row) for row in self.split.train]
        made = [each for one in variations for each in one]
        self.task = describe([self.series[row] for row in self.split.train], self, variations=made)
        folds = self._folds()
        for part in PARTS:
            if part == "validation" and self.folds > 1:
                self._parts[part] = self._parts["train"].in_whole()
                continue
            rows = self.split.rows(part)
            self._parts[part] = BeatsOfPart(
                [self.series[row] for row in rows],
                self.task,
                whole=part != "train",
                folds=[folds.get(row, -1) for row in rows],
                variations=variations if part == "train" else None,
                seed=self.seed,
            )

    def part(self, name: str) -> "BeatsOfPart":
        """Return the beats of ``"train"``, ``"validation"`` or ``"test"``."""
        self.setup()
        return self._parts[name]

    def _varied(self, row: int) -> list[BeatSeries]:
        """Return the variations of a recording, the same whatever others there are."""
        generator = np.random.default_rng([self.seed, row])
        times = range(self.variations)
        return [each for _ in times for each in varied(self.series[row], generator, causal=self.causal)]

    def _folds(self) -> dict[int, int]:
        """Return the fold of each training recording, patients whole, so that classes lie evenly in the folds."""
        if self.folds == 1:
            return {}
        rows, patients = list(self.split.train), [self.series[row].patient for row in self.split.train]
        if len(set(patients)) < self.folds:
            raise InputError(f"data.folds={self.folds} of {len(set(patients))} training patients: take fewer.")
        of = spread(self._counts(rows), [1.0] * self.folds)
        return {row: of[patient] for row, patient in zip(rows, patients, strict=True)}

    def _counts(self, rows: list[int]) -> dict[str, np.ndarray]:
        """Return how many beats of each class each patient of some recordings has, (K,) by patient."""
        counts = {self.series[row].patient: np.zeros(len(CLASSES)) for row in rows}
        for row in rows:
            counts[self.series[row].patient] += np.bincount(self.series[row].labels, minlength=len(CLASSES))
        return counts

    def _read(self) -> list[Recording]:
        if self.dataset == SIMULATED:
            return list(self.simulator.recordings(self.patients, seed=self.split_seed))
        if self.dataset == MIT_BIH:
            parts = mit_bih.parts_of(self.protocol)
            return mit_bih.load([*parts.train, *parts.test])
        folder = Path(self.dataset)
        if not folder.is_dir():
            raise unknown("dataset", self.dataset, [MIT_BIH, SIMULATED])
        return read_folder(folder, annotator=self.annotator)

    def _split(self, recordings: list[Recording]) -> IndexSplit:
        of: dict[str, Any] = {
            "dataset": self.dataset if self.dataset in DEFAULT_LEADS else Path(self.dataset).name,
            "protocol": self.protocol if self.dataset == MIT_BIH else "random",
            "seed": self.split_seed,
        }
        rows = list(range(len(recordings)))
        train, validation, test = self.fractions
        if self.dataset == MIT_BIH:
            learned, tested = mit_bih.parts_of(self.protocol)
            kept = [row for row in rows if recordings[row].id in learned]
            test_rows = tuple(row for row in rows if recordings[row].id in tested)
            parts = {0: tuple(kept)} if self.folds > 1 else self._by_patient(kept, (1 - validation, validation))
            return IndexSplit(parts[0], parts.get(1, ()), test_rows, of)
        if self.folds > 1:
            parts = self._by_patient(rows, (train + validation, test))
            return IndexSplit(parts[0], (), parts[1], of)
        parts = self._by_patient(rows, (train, validation, test))
        return IndexSplit(parts[0], parts[1], parts[2], of)

    def _by_patient(self, rows: list[int], fractions: Sequence[float]) -> dict[int, tuple[int, ...]]:
        """Divide recordings so that each patient is in one part, and each part has its share of every class's beats."""
        of = spread(self._counts(rows), fractions, seed=self.split_seed)
        places = [of[self.series[row].patient] for row in rows]
        return {
            part: tuple(row for row, place in zip(rows, places, strict=True) if place == part)
            for part in range(len(fractions))
        }


class BeatsOfPart(Dataset):
    """The beats of one part in runs, as a function of the index alone: i + M * epoch is run i in an epoch.

    Training runs of ``context`` beats begin elsewhere each epoch; other parts have whole recordings.

    Args:
        series: of the recordings.
        task: how they are scaled.
        whole: whether a run is a whole recording.
        folds: of each recording, -1 where it is in none.
        variations: of each recording, to learn from beside it, in its fold.
        seed: of where runs begin.

    Attributes:
        series: of the recordings.
        learned: the same and their variations.
    """

    def __init__(
        self,
        series: list[BeatSeries],
        task: BeatTask,
        *,
        whole: bool,
        folds: Sequence[int] | None = None,
        variations: Sequence[list[BeatSeries]] | None = None,
        seed: int = 0,
    ) -> None:
        self.series, self.task, self.whole, self.seed = series, task, whole, seed
        folds, variations = folds or [-1] * len(series), variations or [[] for _ in series]
        self.learned = [*series, *(each for made in variations for each in made)]
        folds = [*folds, *(fold for fold, made in zip(folds, variations, strict=True) for _ in made)]
        number = {name: place for place, name in enumerate(dict.fromkeys(each.patient for each in series))}
        self._scaled = [
            scaled(each, task, patient=number[each.patient], fold=fold)
            for each, fold in zip(self.learned, folds, strict=True)
        ]
        runs = [1 if whole else -(-len(each) // task.context) for each in self.learned]
        self._of = [(number, run) for number, count in enumerate(runs) for run in range(count)]

    def in_whole(self) -> "BeatsOfPart":
        """Return the same recordings, each a run as a whole, without variations."""
        other = copy.copy(self)
        other.whole, other._of = True, [(number, 0) for number in range(len(self.series))]
        return other

    def __len__(self) -> int:
        return len(self._of)

    def __getitem__(self, index: int) -> BeatBatch:
        return self.__getitems__([index])

    def __getitems__(self, indices: list[int]) -> BeatBatch:
        """Build the batch of several runs at once."""
        return stack([self._run(index) for index in indices])

    def _run(self, index: int) -> BeatBatch:
        epoch, place = divmod(index, len(self))
        number, run = self._of[place]
        whole, count = self._scaled[number], len(self.learned[number])
        if self.whole:
            return whole
        context = self.task.context
        shift = int(np.random.Generator(np.random.Philox(key=[self.seed, epoch])).integers(context))
        # The last run ends with the recording, so that every beat is seen in nearly every epoch.
        first = max(0, min(run * context + shift, count - context))
        return whole.between(first, first + context)


def describe(series: list[BeatSeries], data: BeatData, *, variations: Sequence[BeatSeries] = ()) -> BeatTask:
    """Return what a network must know of the training recordings and their variations."""
    features = np.concatenate([each.features[each.usable] for each in series]).astype(np.float64)
    shares, learned = _shares(series), _shares([*series, *variations])
    deviation = features.std(axis=0)
    first = series[0]
    return BeatTask(
        classes=list(CLASSES),
        leads=list(data.leads) or list(first.leads),
        rate=data.rate,
        window=series[0].windows.shape[1],
        context=data.context,
        causal=data.causal,
        features=_feature_names(first, data.leads),
        location=features.mean(axis=0).tolist(),
        scale=np.where(deviation > 0, deviation, 1.0).tolist(),
        shares=shares.tolist(),
        learned_shares=learned.tolist(),
        folds=data.folds,
    )


def _shares(series: list[BeatSeries]) -> np.ndarray:
    labels = np.concatenate([each.labels[each.usable] for each in series])
    return np.bincount(labels, minlength=len(CLASSES)) / len(labels)


def scaled(series: BeatSeries, task: BeatTask, *, patient: int = 0, fold: int = -1) -> BeatBatch:
    """Return the beats of a recording as one run, (1, N, ...), in the units of a task.

    Args:
        series: the beats.
        task: means and deviations.
        patient: number of the patient in his part.
        fold: his fold, -1 for none.
    """
    return replace(
        in_units(series.windows, series.usual, series.features, series.intervals, task),
        labels=torch.from_numpy(series.labels).unsqueeze(0),
        mask=torch.from_numpy(series.usable).unsqueeze(0),
        patients=torch.tensor([patient]),
        folds=torch.tensor([fold]),
    )


def in_units(
    windows: np.ndarray, usual: np.ndarray, features: np.ndarray, intervals: np.ndarray, task: BeatTask
) -> BeatBatch:
    """Return beats of unknown class as one run, (1, N, ...): windows in units of the usual beat, features of a task.

    How large a patient's beats are depends on the electrodes, and says nothing of their class.

    Args:
        windows: (N, L, C) mV.
        usual: (N, C) mV, the size of the usual beat.
        features: (N, F).
        intervals: (N,) seconds.
        task: means and deviations.
    """
    features = (features - np.array(task.location)) / np.array(task.scale)
    windows = (windows / usual[:, None]).clip(-LARGEST, LARGEST)
    there = torch.ones((1, len(windows)), dtype=torch.bool)
    return BeatBatch(
        torch.from_numpy(windows.astype(np.float32)).transpose(1, 2).unsqueeze(0),
        torch.from_numpy(features.astype(np.float32)).clamp(-6, 6).unsqueeze(0),
        torch.from_numpy(intervals.astype(np.float32)).unsqueeze(0),
        torch.zeros(there.shape, dtype=torch.int64),
        there,
        there,
        torch.zeros(1, dtype=torch.int64),
        torch.full((1,), -1),
    )


def _feature_names(series: BeatSeries, leads: Sequence[str]) -> list[str]:
    """Return the names of the features, those of a lead after what was asked for, which the recordings share."""
    named = list(series.feature_names)
    for own, asked in zip(series.leads, leads, strict=False):
        named = [f"{name.removesuffix(own)}{asked}" if name.endswith(f"_{own}") else name for name in named]
    return named
