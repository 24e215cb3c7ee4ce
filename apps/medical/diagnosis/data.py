"""The data module of diagnoses: segments in each of which any number of labels hold."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from integrand.apps.medical.named_recordings import SIMULATED
from integrand.apps.medical.segments.data import (
    SegmentData,
    cut_all,
    folder_of,
    read_labelled,
    require_ranges,
)
from integrand.core.errors import InputError
from integrand.datasets.real import ptb_xl
from integrand.datasets.segment_labels import FINDINGS, TABLE, findings
from integrand.datasets.segments import Segments
from integrand.datasets.splits import IndexSplit
from integrand.datasets.synthetic.ecg.patients import EcgSimulator

PTB_XL = "ptb_xl"


class DiagnosisData(SegmentData):
    """Segments with any number of labels each, split by patient into training, validation and test.

    Of PTB-XL the publisher's folds are kept: 1 to 8 for training, 9 for validation, 10 for tests. Simulated segments
    are labelled by what was simulated in them, see ``segment_labels.findings``; there a premature beat of the atria
    counts as found though nothing else in the segment shows it.

    Args:
        dataset: ``ptb_xl``, ``simulated_ecg``, or a folder of records of WFDB or EDF with a table ``labels.csv``.
        label_set: of ``ptb_xl``, see ``ptb_xl.LABEL_SETS``.
        leads: names of the leads, in the order in which the network takes them; ``*`` for whichever is left; all where
            None.
        length: seconds of a segment, where they are cut; records of PTB-XL are segments as they are.
        rate: Hz of the segments; of ``ptb_xl`` 100 or 500.
        quality: least share of usable samples in every lead of a segment; 0 keeps all. PTB-XL is kept whole, as in the
            benchmark.
        patients: patients that are simulated.
        seconds: of each simulated recording.
        ectopic: largest share of ectopic beats in a simulated patient.
        disturbance: factor of the simulated noise, see ``EcgSimulator.noise``.
        fractions: shares of patients for training, validation and test, where no folds are published.
        noise: deviation of white noise on training segments, in units of each lead's own.
        gain: deviation of the logarithm of a factor on each lead of a training segment.
        batch_size: segments a batch.
        num_workers: processes that load batches; 0 for the training process.
        seed: of the order, noise and gain.
        split_seed: of the split, and of simulated patients.

    Raises:
        InputError: data that cannot be read, cut or split, one recording under two names.
    """

    several: ClassVar[bool] = True

    def __init__(
        self,
        dataset: str = SIMULATED,
        *,
        label_set: str = "superdiagnostic",
        leads: Sequence[str] | None = None,
        length: float = 10.0,
        rate: float = 100.0,
        quality: float = 0.9,
        patients: int = 200,
        seconds: float = 60.0,
        ectopic: float = 0.6,
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
                ("ectopic", ectopic, 0.0, 1.0),
                ("disturbance", disturbance, 0.0, endless),
                ("noise", noise, 0.0, endless),
                ("gain", gain, 0.0, endless),
                ("batch_size", batch_size, 1, endless),
                ("num_workers", num_workers, 0, endless),
            ]
        )
        self.dataset, self.label_set, self.leads = dataset, label_set, tuple(leads or ())
        self.length, self.rate, self.quality = length, rate, quality
        self.patients, self.seconds, self.ectopic, self.disturbance = patients, seconds, ectopic, disturbance
        self.fractions, self.noise, self.gain = fractions, noise, gain
        self.batch_size, self.num_workers, self.seed, self.split_seed = batch_size, num_workers, seed, split_seed
        self.notices: list[str] = []
        self._parts = {}

    def read(self) -> Segments:
        """Read and cut the recordings, or the records of PTB-XL as they are."""
        if self.dataset == PTB_XL:
            if self.leads:
                raise InputError("data.leads is for recordings that are cut; ptb_xl has all of its 12: leave it out.")
            return ptb_xl.load(self.label_set, rate=round(self.rate))
        if self.dataset == SIMULATED:
            maker = EcgSimulator(
                seconds=self.seconds,
                noise=self.disturbance,
                ectopic=self.ectopic,
                fibrillating=0.2,
                intervals=(0.45, 1.3),
            )
            recordings, labelling, classes = (
                list(maker.recordings(self.patients, seed=self.split_seed)),
                findings,
                FINDINGS,
            )
        else:
            folder = folder_of(self.dataset, [PTB_XL, SIMULATED])
            recordings, table = read_labelled(folder, None)
            if table is None:
                raise InputError(f"there is no {TABLE} in {folder.name!r}: write one with the columns record, labels.")
            labelling, classes = table.labelling(), tuple(table.classes)
        return cut_all(
            recordings,
            classes,
            labelling,
            leads=self.leads,
            seconds=self.length,
            rate=self.rate,
            quality=self.quality,
        )

    def divide(self) -> IndexSplit:
        """Split by the publisher's folds, or by patient."""
        of: dict[str, Any] = {
            "dataset": self.dataset if self.dataset in (PTB_XL, SIMULATED) else Path(self.dataset).name,
            "checksum": self.checksum,
            "label_set": self.label_set if self.dataset == PTB_XL else "",
            "seed": self.split_seed,
            "length": self.length,
        }
        folds = self.segments.folds
        if not len(folds):
            return self.by_patient(range(len(self.segments)), self.fractions, self.split_seed, of)
        train, validation, test = (
            tuple(np.flatnonzero(np.isin(folds, part)).tolist())
            for part in (ptb_xl.TRAIN, ptb_xl.VALIDATION, ptb_xl.TEST)
        )
        return IndexSplit(train, validation, test, of)
