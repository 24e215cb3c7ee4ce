"""The data module of rhythms: segments of recordings in each of which one rhythm holds throughout."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from integrand.apps.medical.named_recordings import DEFAULT_LEADS, MIT_BIH, SIMULATED
from integrand.apps.medical.segments.data import (
    SegmentData,
    cut_all,
    folder_of,
    read_labelled,
    require_ranges,
)
from integrand.core.errors import InputError, unknown
from integrand.datasets.real import mit_bih
from integrand.datasets.rhythms import require_rhythms
from integrand.datasets.segment_labels import rhythm
from integrand.datasets.segments import Segments
from integrand.datasets.splits import IndexSplit
from integrand.datasets.synthetic.ecg.patients import EcgSimulator

BY_PATIENT = "by_patient"
DEFAULT_CLASSES = {
    MIT_BIH: ("sinus", "atrial fibrillation", "ventricular bigeminy"),
    SIMULATED: ("sinus", "atrial fibrillation"),
}


class RhythmData(SegmentData):
    """Segments of one rhythm each, split by patient into training, validation and test.

    A segment in which the rhythm changes, or is none of the classes, is left out, and notices count them: the task is
    to name rhythms, not to find their ends. What is left out of the middle of a record is not looked at by any model.

    Of the MIT-BIH database ``inter_patient`` keeps the published division of the records, whose training part has all
    of its fibrillation of one patient, 203. ``by_patient`` divides all patients anew, each rhythm alike, so that six
    patients with fibrillation are in all three parts.

    Args:
        dataset: ``mit_bih``, ``simulated_ecg``, or a folder of records of WFDB or EDF with their rhythms in
            annotations, or in a table ``labels.csv``.
        protocol: of ``mit_bih``, ``by_patient`` or a name in ``mit_bih.PARTS``.
        classes: rhythms to tell apart; of a folder with a table its own labels where None.
        leads: names of the leads, in the order in which the network takes them; ``*`` for whichever is left.
        annotator: suffix of the annotations of a folder's WFDB records.
        length: seconds of a segment.
        rate: Hz of the segments.
        quality: least share of usable samples in every lead of a segment; 0 keeps all.
        patients: patients that are simulated.
        seconds: of each simulated recording.
        fibrillating: share of simulated patients with atrial fibrillation.
        disturbance: factor of the simulated noise, see ``EcgSimulator.noise``.
        fractions: shares of patients for training, validation and test; of a published division the second alone
            counts, a share of its training patients.
        noise: deviation of white noise on training segments, in units of each lead's own.
        gain: deviation of the logarithm of a factor on each lead of a training segment.
        batch_size: segments a batch.
        num_workers: processes that load batches; 0 for the training process.
        seed: of the order, noise and gain.
        split_seed: of the split, and of simulated patients.

    Raises:
        InputError: data that cannot be read, cut or split, one recording under two names.
    """

    several: ClassVar[bool] = False

    def __init__(
        self,
        dataset: str = SIMULATED,
        *,
        protocol: str = BY_PATIENT,
        classes: Sequence[str] | None = None,
        leads: Sequence[str] | None = None,
        annotator: str = "atr",
        length: float = 10.0,
        rate: float = 100.0,
        quality: float = 0.9,
        patients: int = 120,
        seconds: float = 60.0,
        fibrillating: float = 0.4,
        disturbance: float = 1.0,
        fractions: tuple[float, float, float] = (0.6, 0.15, 0.25),
        noise: float = 0.0,
        gain: float = 0.0,
        batch_size: int = 32,
        num_workers: int = 0,
        seed: int = 0,
        split_seed: int = 0,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        endless = float("inf")
        require_ranges(
            [
                ("length", length, 1.0, 600.0),
                ("quality", quality, 0.0, 1.0),
                ("patients", patients, 3, endless),
                ("fibrillating", fibrillating, 0.0, 1.0),
                ("disturbance", disturbance, 0.0, endless),
                ("noise", noise, 0.0, endless),
                ("gain", gain, 0.0, endless),
                ("batch_size", batch_size, 1, endless),
                ("num_workers", num_workers, 0, endless),
            ]
        )
        self.dataset, self.protocol, self.annotator = dataset, protocol, annotator
        self.classes = tuple(classes or DEFAULT_CLASSES.get(dataset, ()))
        self.leads = tuple(leads or DEFAULT_LEADS.get(dataset, ()))
        self.length, self.rate, self.quality = length, rate, quality
        self.patients, self.seconds, self.fibrillating = patients, seconds, fibrillating
        self.disturbance, self.fractions, self.noise, self.gain = disturbance, fractions, noise, gain
        self.batch_size, self.num_workers, self.seed, self.split_seed = batch_size, num_workers, seed, split_seed
        self.notices: list[str] = []
        self._parts = {}

    def read(self) -> Segments:
        """Read and cut the recordings."""
        labelling, classes = rhythm, self.classes
        if self.dataset == SIMULATED:
            maker = EcgSimulator(seconds=self.seconds, noise=self.disturbance, fibrillating=self.fibrillating)
            recordings = list(maker.recordings(self.patients, seed=self.split_seed))
        elif self.dataset == MIT_BIH:
            if self.protocol not in (BY_PATIENT, *mit_bih.PARTS):
                raise unknown("protocol of mit_bih", self.protocol, (BY_PATIENT, *mit_bih.PARTS))
            recordings = mit_bih.load(self._records())
        else:
            folder = folder_of(self.dataset, [MIT_BIH, SIMULATED])
            recordings, table = read_labelled(folder, self.annotator)
            if table is not None:
                labelling, classes = table.labelling(), classes or tuple(table.classes)
        if labelling is rhythm:
            require_rhythms(classes)
        if len(classes) < 2:
            raise InputError(f"data.classes={list(classes)} must be two rhythms or more: name them.")
        found = cut_all(
            recordings,
            classes,
            labelling,
            leads=self.leads,
            seconds=self.length,
            rate=self.rate,
            quality=self.quality,
        )
        crowded = found.labels.sum(axis=1) != 1
        if crowded.any():
            row = int(crowded.argmax())
            raise InputError(
                f"record {found.records[row]} has {int(found.labels[row].sum())} rhythms at {found.starts[row]:g} s, "
                "where one must hold: correct its labels, or train --task diagnosis."
            )
        return found

    def divide(self) -> IndexSplit:
        """Split by patient; a published division keeps its test part."""
        published = self.dataset == MIT_BIH and self.protocol != BY_PATIENT
        of: dict[str, Any] = {
            "dataset": self.dataset if self.dataset in DEFAULT_LEADS else Path(self.dataset).name,
            "checksum": self.checksum,
            "protocol": self.protocol if self.dataset == MIT_BIH else BY_PATIENT,
            "seed": self.split_seed,
            "length": self.length,
        }
        rows = range(len(self.segments))
        if not published:
            return self.by_patient(rows, self.fractions, self.split_seed, of)
        train, test = mit_bih.PARTS[self.protocol]
        kept = [row for row in rows if self.segments.records[row] in train]
        share = self.fractions[1]
        found = self.by_patient(kept, (1 - share, 0.0, share), self.split_seed, of)
        tested = tuple(row for row in rows if self.segments.records[row] in test)
        return IndexSplit(found.train, found.test, tested, of)

    def _records(self) -> list[str] | None:
        if self.protocol == BY_PATIENT:
            return None
        parts = mit_bih.PARTS[self.protocol]
        return [*parts.train, *parts.test]
