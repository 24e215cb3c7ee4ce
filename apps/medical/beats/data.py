"""The data module of beat classification: recordings by patient, cut into beats, in runs of neighbours."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from integrand.apps.medical.beats.batch import BeatBatch
from integrand.apps.medical.beats.task import BeatTask
from integrand.apps.training.parts_data import PartsData
from integrand.core.errors import InputError, listed, unknown
from integrand.datasets.beat_series import BeatSeries, beat_series
from integrand.datasets.edf_files import SUFFIXES, read_edf
from integrand.datasets.heart_beats import CLASSES
from integrand.datasets.real import mit_bih
from integrand.datasets.recording import Recording
from integrand.datasets.splits import PARTS, IndexSplit, stratified
from integrand.datasets.synthetic.ecg.patients import EcgSimulator
from integrand.datasets.wfdb_files import read_wfdb, wfdb_records

SIMULATED = "simulated_ecg"
ANY = "*"
"""Stands for whichever lead is left, in the order of the recording."""
DEFAULT_LEADS = {"mit_bih": ("MLII", ANY), SIMULATED: ("II", "V1")}


class BeatData(PartsData):
    """Beats of recordings, split by patient into training, validation and test.

    Means, deviations and shares are those of the training part.

    Args:
        dataset: ``mit_bih``, ``simulated_ecg``, or a folder of records of WFDB or EDF with their beats marked.
        protocol: of ``mit_bih``, a name in ``mit_bih.PARTS``.
        leads: names of the leads, in the order in which the network takes them; ``*`` for whichever is left.
        annotator: suffix of the annotations of a folder's WFDB records.
        patients: patients that are simulated.
        seconds: of each simulated recording.
        fractions: shares of patients for training, validation and test; of a published division the second alone
            counts, a share of its training patients.
        rate: Hz of the windows.
        causal: see ``beat_series``.
        context: beats of a training run.
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
        fractions: tuple[float, float, float] = (0.6, 0.15, 0.25),
        rate: float = 125.0,
        causal: bool = False,
        context: int = 32,
        batch_size: int = 32,
        num_workers: int = 0,
        seed: int = 0,
        split_seed: int = 0,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        for name, value, least in (
            ("patients", patients, 3),
            ("context", context, 1),
            ("batch_size", batch_size, 1),
            ("num_workers", num_workers, 0),
        ):
            if value < least:
                raise InputError(f"data.{name}={value!r} is out of range: it must be at least {least}.")
        self.dataset, self.protocol, self.annotator = dataset, protocol, annotator
        self.leads = tuple(leads or DEFAULT_LEADS.get(dataset, ()))
        self.patients, self.seconds, self.fractions = patients, seconds, fractions
        self.rate, self.causal, self.context = rate, causal, context
        self.batch_size, self.num_workers, self.seed, self.split_seed = batch_size, num_workers, seed, split_seed
        self.notices: list[str] = []
        self._parts: dict[str, BeatsOfPart] = {}

    def setup(self, stage: str | None = None) -> None:
        """Read, cut, split and scale; a second call does nothing."""
        if self._parts:
            return
        recordings = self._read()
        _demand_each_once(recordings)
        self.series = [
            beat_series(_with_leads(each, self.leads), rate=self.rate, causal=self.causal) for each in recordings
        ]
        self.notices += sorted({notice for each in recordings for notice in each.notices})
        self.split = self._split(recordings)
        self.task = describe([self.series[row] for row in self.split.train], self)
        for part in PARTS:
            chosen = [self.series[row] for row in self.split.rows(part)]
            self._parts[part] = BeatsOfPart(chosen, self.task, whole=part != "train", seed=self.seed)

    def part(self, name: str) -> "BeatsOfPart":
        """Return the beats of ``"train"``, ``"validation"`` or ``"test"``."""
        self.setup()
        return self._parts[name]

    def _read(self) -> list[Recording]:
        if self.dataset == SIMULATED:
            simulator = EcgSimulator(seconds=self.seconds)
            return list(simulator.recordings(self.patients, seed=self.split_seed))
        if self.dataset == "mit_bih":
            if self.protocol not in mit_bih.PARTS:
                raise unknown("protocol of mit_bih", self.protocol, mit_bih.PARTS)
            parts = mit_bih.PARTS[self.protocol]
            return mit_bih.load([*parts.train, *parts.test])
        folder = Path(self.dataset)
        if not folder.is_dir():
            raise unknown("dataset", self.dataset, ["mit_bih", SIMULATED])
        edf = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
        if edf:
            return [read_edf(path) for path in edf]
        return [read_wfdb(path, annotator=self.annotator) for path in wfdb_records(folder)]

    def _split(self, recordings: list[Recording]) -> IndexSplit:
        of: dict[str, Any] = {
            "dataset": self.dataset if self.dataset in DEFAULT_LEADS else Path(self.dataset).name,
            "protocol": self.protocol if self.dataset == "mit_bih" else "random",
            "seed": self.split_seed,
        }
        rows = range(len(recordings))
        if self.dataset != "mit_bih":
            return self._by_patient(list(rows), self.fractions, of)
        train, test = mit_bih.PARTS[self.protocol]
        kept = [row for row in rows if recordings[row].id in train]
        share = self.fractions[1]
        found = self._by_patient(kept, (1 - share, 0.0, share), of)
        tested = tuple(row for row in rows if recordings[row].id in test)
        return IndexSplit(found.train, found.test, tested, of)

    def _by_patient(self, rows: list[int], fractions: tuple[float, float, float], of: dict[str, Any]) -> IndexSplit:
        """Divide recordings so that each patient is in one part, and each part has its share of every class's beats."""
        chosen = [self.series[row] for row in rows]
        found = stratified(
            np.concatenate([each.labels for each in chosen]),
            groups=[each.patient for each in chosen for _ in range(len(each))],
            fractions=fractions,
            seed=self.split_seed,
            of=of,
        )
        first = np.cumsum([0, *(len(each) for each in chosen)])[:-1]
        train, validation, test = ({*found.rows(part)} for part in PARTS)
        return IndexSplit(
            *(
                tuple(row for row, beat in zip(rows, first, strict=True) if beat in part)
                for part in (train, validation, test)
            ),
            of,
        )


class BeatsOfPart(Dataset):
    """The beats of one part in runs, as a function of the index alone: i + M * epoch is run i in an epoch.

    Training runs of ``context`` beats begin elsewhere each epoch; other parts have whole recordings.

    Args:
        series: of the recordings.
        task: how they are scaled.
        whole: whether a run is a whole recording.
        seed: of where runs begin.
    """

    def __init__(self, series: list[BeatSeries], task: BeatTask, *, whole: bool, seed: int = 0) -> None:
        self.series, self.task, self.whole, self.seed = series, task, whole, seed
        self._scaled = [_scaled(each, task) for each in series]
        runs = [1 if whole else -(-len(each) // task.context) for each in series]
        self._of = [(number, run) for number, count in enumerate(runs) for run in range(count)]

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
        scaled, count = self._scaled[number], len(self.series[number])
        if self.whole:
            return scaled
        context = self.task.context
        shift = int(np.random.Generator(np.random.Philox(key=[self.seed, epoch])).integers(context))
        # The last run ends with the recording, so that every beat is seen in nearly every epoch.
        first = max(0, min(run * context + shift, count - context))
        return BeatBatch(*(value[:, first : first + context] for value in _values(scaled)))


def describe(series: list[BeatSeries], data: BeatData) -> BeatTask:
    """Return what a network must know of the training recordings."""
    features = np.concatenate([each.features[each.usable] for each in series]).astype(np.float64)
    labels = np.concatenate([each.labels[each.usable] for each in series])
    windows = np.concatenate([each.windows[each.usable] for each in series])
    shares = np.bincount(labels, minlength=len(CLASSES)) / len(labels)
    deviation = features.std(axis=0)
    first = series[0]
    return BeatTask(
        classes=list(CLASSES),
        leads=list(data.leads) or list(first.leads),
        rate=data.rate,
        window=windows.shape[1],
        context=data.context,
        causal=data.causal,
        features=_feature_names(first, data.leads),
        location=features.mean(axis=0).tolist(),
        scale=np.where(deviation > 0, deviation, 1.0).tolist(),
        size=windows.std(axis=(0, 1), dtype=np.float64).tolist(),
        shares=shares.tolist(),
    )


def stack(runs: Sequence[BeatBatch]) -> BeatBatch:
    """Return runs as one batch, the shorter ones padded at their ends."""
    longest = max(run.mask.shape[1] for run in runs)
    return BeatBatch(
        *(
            torch.cat([_padded(value, longest) for value in values])
            for values in zip(*(_values(run) for run in runs), strict=True)
        )
    )


def _values(run: BeatBatch) -> tuple[torch.Tensor, ...]:
    return run.windows, run.features, run.intervals, run.labels, run.mask


def _padded(value: torch.Tensor, length: int) -> torch.Tensor:
    missing = length - value.shape[1]
    return value if not missing else torch.cat([value, value.new_zeros((1, missing, *value.shape[2:]))], dim=1)


def _scaled(series: BeatSeries, task: BeatTask) -> BeatBatch:
    """Return the beats of a recording as one run, (1, N, ...)."""
    features = (series.features - np.array(task.location)) / np.array(task.scale)
    windows = series.windows / np.array(task.size)
    return BeatBatch(
        torch.from_numpy(windows.astype(np.float32)).transpose(1, 2).unsqueeze(0),
        torch.from_numpy(features.astype(np.float32)).clamp(-6, 6).unsqueeze(0),
        torch.from_numpy(series.intervals.astype(np.float32)).unsqueeze(0),
        torch.from_numpy(series.labels).unsqueeze(0),
        torch.from_numpy(series.usable).unsqueeze(0),
    )


def _with_leads(recording: Recording, leads: Sequence[str]) -> Recording:
    """Return a recording with the leads asked for, each ``*`` whichever is left."""
    if not leads:
        return recording
    left = [lead for lead in recording.leads if lead not in leads]
    chosen = [left.pop(0) if lead == ANY and left else lead for lead in leads]
    if ANY in chosen:
        raise InputError(
            f"recording {recording.id} has the leads {listed(recording.leads)}, fewer than data.leads {listed(leads)}: "
            "ask for fewer."
        )
    return recording.select(chosen)


def _demand_each_once(recordings: list[Recording]) -> None:
    """Refuse one signal under two names of patients."""
    met: dict[str, Recording] = {}
    for each in recordings:
        other = met.setdefault(each.content_hash, each)
        if other is not each and other.patient != each.patient:
            raise InputError(
                f"recordings {other.id} and {each.id} are one signal under the names of two patients: remove one."
            )


def _feature_names(series: BeatSeries, leads: Sequence[str]) -> list[str]:
    """Return the names of the features, those of a lead after what was asked for, which the recordings share."""
    named = list(series.feature_names)
    for own, asked in zip(series.leads, leads, strict=False):
        named = [f"{name.removesuffix(own)}{asked}" if name.endswith(f"_{own}") else name for name in named]
    return named
