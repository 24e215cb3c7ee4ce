"""What the data modules of segments share: reading, the split by patient, and the parts as batches."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch.utils.data import Dataset

from integrand.apps.medical.named_recordings import SIMULATED
from integrand.apps.medical.segments.batch import SegmentBatch
from integrand.apps.medical.segments.task import SegmentTask
from integrand.apps.training.parts_data import PartsData
from integrand.core.errors import InputError, listed, unknown
from integrand.datasets.recording import Recording, require_each_once
from integrand.datasets.recording_files import read_folder
from integrand.datasets.segment_labels import TABLE, LabelTable, read_label_table
from integrand.datasets.segments import Labelling, Segments, joined, segments_of, under_asked_names
from integrand.datasets.splits import PARTS, IndexSplit, stratified


class SegmentData(PartsData):
    """Segments of recordings, split by patient into training, validation and test; a subclass reads and labels them.

    Deviations and shares are those of the training part.

    Attributes:
        several: whether any number of labels may hold at once.
        segments: all of them, once read.
        split: which rows are in which part.
        task: what networks must know.
    """

    several: ClassVar[bool]
    dataset: str
    noise: float = 0.0
    gain: float = 0.0

    def setup(self, stage: str | None = None) -> None:
        """Read, cut, label, split and scale; a second call does nothing."""
        if self._parts:
            return
        self.segments = self.read()
        self.notices = self.segments.told
        self.checksum = self.segments.checksum
        self.split = self.divide()
        demand_apart(self.segments, self.split)
        self.task = describe(self.segments, self.split.train, several=self.several, simulated=self.dataset == SIMULATED)
        for part in PARTS:
            chosen, training = self.segments.at(self.split.rows(part)), part == "train"
            self._parts[part] = SegmentsOfPart(
                chosen,
                self.task,
                noise=self.noise if training else 0.0,
                gain=self.gain if training else 0.0,
                seed=self.seed,
            )

    def part(self, name: str) -> "SegmentsOfPart":
        """Return the segments of ``"train"``, ``"validation"`` or ``"test"``."""
        self.setup()
        return self._parts[name]

    def read(self) -> Segments:
        """Return all segments."""
        raise NotImplementedError

    def divide(self) -> IndexSplit:
        """Split the segments, each patient's into one part."""
        raise NotImplementedError

    def by_patient(
        self, rows: Sequence[int], fractions: tuple[float, float, float], seed: int, of: dict[str, Any]
    ) -> IndexSplit:
        """Divide some rows so that each patient is in one part, and each part has its share of every label.

        Of several labels the rarest counts.
        """
        chosen = np.asarray(rows, dtype=np.int64)
        labels = self.segments.labels[chosen]
        rarity = np.argsort(labels.sum(axis=0), kind="stable")
        first = np.where(labels.any(axis=1), rarity[labels[:, rarity].argmax(axis=1)], labels.shape[1])
        groups = [self.segments.patients[row] for row in chosen]
        found = stratified(first, groups=groups, fractions=fractions, seed=seed, of=of)
        train, validation, test = (tuple(chosen[list(found.rows(part))].tolist()) for part in PARTS)
        return IndexSplit(train, validation, test, of)


class SegmentsOfPart(Dataset):
    """The segments of one part, as a function of the index alone: i + N * epoch is segment i in an epoch.

    Args:
        segments: of the part.
        task: how they are scaled.
        noise: deviation of white noise on training segments, in units of each lead's own.
        gain: deviation of the logarithm of a factor on each lead of a training segment.
        seed: of both.
    """

    def __init__(
        self, segments: Segments, task: SegmentTask, *, noise: float = 0.0, gain: float = 0.0, seed: int = 0
    ) -> None:
        self.segments, self.task = segments, task
        self.noise, self.gain, self.seed = noise, gain, seed

    def __len__(self) -> int:
        return len(self.segments)

    def __getitem__(self, index: int) -> SegmentBatch:
        return self.__getitems__([index])

    def __getitems__(self, indices: list[int]) -> SegmentBatch:
        """Build the batch of several segments at once."""
        found = batch_of(self.segments.at(np.asarray(indices, dtype=np.int64) % len(self)), self.task)
        if not (self.noise or self.gain):
            return found
        signal = found.signal.clone()
        for row, index in enumerate(indices):
            generator = np.random.Generator(np.random.Philox(key=[self.seed, index]))
            factor = np.exp(self.gain * generator.standard_normal((signal.shape[1], 1), dtype=np.float32))
            noise = self.noise * generator.standard_normal(signal.shape[1:], dtype=np.float32)
            signal[row] = signal[row] * torch.from_numpy(factor) + torch.from_numpy(noise)
        return replace(found, signal=signal)


def batch_of(segments: Segments, task: SegmentTask) -> SegmentBatch:
    """Return segments as one batch in the units of a task.

    Raises:
        InputError: they have other leads, another rate or another length than the task; or no beats where it has.
    """
    if segments.leads != task.leads or segments.rate != task.rate or segments.signal.shape[1] != task.samples:
        raise InputError(
            f"segments of {listed(segments.leads)}, {segments.seconds:g} s at {segments.rate:g} Hz were given, where "
            f"training had {listed(task.leads)}, {task.seconds:g} s at {task.rate:g} Hz."
        )
    scaled = segments.signal.transpose(0, 2, 1) / np.array(task.size, dtype=np.float32)[:, None]
    labels = segments.labels.astype(np.float32) if task.several else segments.labels.argmax(axis=1)
    gaps = [np.diff(each) for each in segments.beats] if task.beats else [np.zeros(0)] * len(segments)
    most = max((len(each) for each in gaps), default=0)
    intervals = np.zeros((len(segments), most), dtype=np.float32)
    for row, each in enumerate(gaps):
        intervals[row, : len(each)] = each
    return SegmentBatch(
        torch.from_numpy(np.ascontiguousarray(scaled)),
        torch.from_numpy(labels),
        torch.from_numpy(intervals),
        torch.from_numpy(np.arange(most) < np.array([len(each) for each in gaps], dtype=np.int64)[:, None]),
        np.array(segments.patients, dtype=object),
    )


def describe(segments: Segments, rows: Sequence[int], *, several: bool, simulated: bool) -> SegmentTask:
    """Return what a network must know of the training segments ``rows``.

    Raises:
        InputError: a class has no training segment.
    """
    chosen = segments.at(rows)
    shares = chosen.labels.mean(axis=0)
    if not shares.all():
        name = segments.classes[int(np.flatnonzero(shares == 0)[0])]
        raise InputError(f"{name!r} holds in no training segment: leave it out of data.classes, or split otherwise.")
    logs = np.log(np.concatenate([np.diff(each) for each in chosen.beats]).clip(min=1e-3)) if chosen.marked else None
    deviation = chosen.signal.std(axis=(0, 1), dtype=np.float64)
    return SegmentTask(
        classes=list(segments.classes),
        several=several,
        leads=list(segments.leads),
        rate=segments.rate,
        samples=segments.signal.shape[1],
        size=np.where(deviation > 0, deviation, 1.0).tolist(),
        shares=shares.tolist(),
        beats=logs is not None,
        interval_location=0.0 if logs is None else float(logs.mean()),
        interval_scale=1.0 if logs is None else float(max(logs.std(), 1e-3)),
        simulated=simulated,
    )


def demand_apart(segments: Segments, split: IndexSplit) -> None:
    """Refuse a split in which a patient is in two parts.

    Raises:
        InputError: one is.
    """
    where: dict[str, str] = {}
    for part in PARTS:
        for row in split.rows(part):
            patient = segments.patients[row]
            if where.setdefault(patient, part) != part:
                raise InputError(f"patient {patient} is in the {where[patient]} part and in the {part} part.")


def cut_all(
    recordings: Sequence[Recording],
    classes: Sequence[str],
    labelling: Labelling,
    *,
    leads: Sequence[str],
    seconds: float,
    rate: float,
    quality: float,
) -> Segments:
    """Cut recordings into segments, after each was seen to be one patient's alone."""
    require_each_once(recordings)
    return joined(
        [
            segments_of(under_asked_names(each, leads), classes, labelling, seconds=seconds, rate=rate, quality=quality)
            for each in recordings
        ]
    )


def folder_of(dataset: str, known: Sequence[str]) -> Path:
    """Return the user's folder.

    Raises:
        InputError: there is none, and no data set of that name.
    """
    folder = Path(dataset).expanduser()
    if not folder.is_dir():
        raise unknown("dataset", dataset, known)
    return folder


def read_labelled(folder: Path, annotator: str | None) -> tuple[list[Recording], LabelTable | None]:
    """Return the recordings of a user's folder, and its table of labels where it has one.

    Raises:
        InputError: files that cannot be read, a recording that the table does not name.
    """
    table = read_label_table(folder / TABLE) if (folder / TABLE).is_file() else None
    found = read_folder(folder, annotator=annotator)
    if table is None:
        return found, None
    lost = [each.id for each in found if each.id not in table.rows]
    if lost:
        raise InputError(f"{TABLE} has no line for record {lost[0]}: add one, or remove the record.")
    return [replace(each, patient=table.patients[each.id]) for each in found], table


def require_ranges(bounds: Sequence[tuple[str, float, float, float]]) -> None:
    """Demand that options lie in their ranges, each a name, a value, and both ends.

    Raises:
        InputError: one does not.
    """
    for name, value, least, most in bounds:
        if not least <= value <= most:
            told = f"be at least {least:g}" if most == float("inf") else f"lie in [{least:g}, {most:g}]"
            raise InputError(f"data.{name}={value!r} is out of range: it must {told}.")
