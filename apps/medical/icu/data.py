"""The data module of intensive care: stays split by patient, cut at an hour, binned and standardised."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from integrand.apps.medical.icu.batches import StaysOfPart, describe, prepared
from integrand.apps.training.parts_data import PartsData
from integrand.apps.training.reader_options import as_data_options
from integrand.core.errors import InputError, unknown
from integrand.datasets.icu_stays import as_stays, known_by, require_one_patient_each
from integrand.datasets.labelled import LabelledSeries
from integrand.datasets.labelled_tables import read_labelled_table
from integrand.datasets.physiological_ranges import RANGES, require_policy
from integrand.datasets.real import physionet2012
from integrand.datasets.splits import PARTS, IndexSplit, spread, stratified
from integrand.datasets.table_stamps import MICROSECONDS

PHYSIONET = "physionet2012"
TABLES = (".csv", ".csv.gz", ".csv.xz", ".txt", ".tsv", ".parquet")


class IcuData(PartsData):
    """Stays in intensive care with what became of each, split by patient into training, validation and test.

    Means, deviations and which channels are read by their logarithm are those of the training part; with folds, of all
    its patients.

    Args:
        dataset: ``physionet2012``, or a CSV or parquet file in wide or long form whose rows say their stay and its
            outcome; times are hours since admission, or dates, of which a stay's first is its admission.
        cutoff: hours since admission after which nothing reaches the network: 48 for mortality, fewer for an early
            warning.
        early: share of the training stays that are cut, anew each epoch, at a random hour, so that a risk can be told
            at every hour; 0 for none.
        bin: hours within which values are averaged.
        outside: what becomes of impossible values: ``"missing"``, ``"clip"`` or ``"keep"``.
        fractions: shares of training, validation and test, class by class.
        folds: 1 for a validation part of its own. With more, no patient is set aside: those of training and validation
            together are divided into so many folds, evenly by class, networks learn from all but each, and validation
            is of every patient by networks that never saw him. The test part stays the same.
        noise: standard deviation of the noise added to training values, in units of each channel's own.
        drop: share of the training values that are left out, anew each epoch.
        batch_size: stays a batch.
        num_workers: processes that load batches; 0 for the training process.
        seed: of noise, drops, hours and order.
        split_seed: of the split.
        label_column: column of a table that says what became of a stay.
        patient_column: column that says whose it is, where a patient has several.
        static_columns: columns of what is known at admission, such as age and sex.
        time_column, group_column, variable_column, value_column, duplicates: how it is read, see ``read_table``.

    Raises:
        InputError: the data cannot be read or split, or one record stands under two patients' names.
    """

    def __init__(
        self,
        dataset: str = PHYSIONET,
        *,
        cutoff: float = 48.0,
        early: float = 0.0,
        bin: float = 1.0,
        outside: str = "missing",
        fractions: tuple[float, float, float] = (0.64, 0.16, 0.2),
        folds: int = 1,
        noise: float = 0.0,
        drop: float = 0.0,
        batch_size: int = 64,
        num_workers: int = 0,
        seed: int = 0,
        split_seed: int = 0,
        label_column: str = "label",
        patient_column: str | None = None,
        static_columns: Sequence[str] = (),
        time_column: str | None = None,
        group_column: str | None = None,
        variable_column: str | None = None,
        value_column: str | None = None,
        duplicates: str = "mean",
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        for name, value, held, must in (
            ("cutoff", cutoff, cutoff > 0, "be positive"),
            ("bin", bin, 0 < bin <= cutoff, "lie in (0, cutoff]"),
            ("early", early, 0 <= early <= 1, "lie in [0, 1]"),
            ("noise", noise, noise >= 0, "not be negative"),
            ("drop", drop, 0 <= drop < 1, "lie in [0, 1)"),
            ("folds", folds, folds >= 1, "be at least 1"),
            ("batch_size", batch_size, batch_size >= 1, "be at least 1"),
            ("num_workers", num_workers, num_workers >= 0, "not be negative"),
        ):
            if not held:
                raise InputError(f"data.{name}={value!r} is out of range: it must {must}.")
        require_policy(outside)
        self.dataset, self.cutoff, self.early, self.bin, self.outside = dataset, cutoff, early, bin, outside
        self.fractions, self.folds, self.noise, self.drop = fractions, folds, noise, drop
        self.batch_size, self.num_workers, self.seed, self.split_seed = batch_size, num_workers, seed, split_seed
        self.columns: dict[str, Any] = {
            "label_column": label_column,
            "split_column": patient_column,
            "static_columns": tuple(static_columns),
            "time_column": time_column,
            "group_column": group_column,
            "variable_column": variable_column,
            "value_column": value_column,
            "duplicates": duplicates,
        }
        self._parts: dict[str, StaysOfPart] = {}

    def setup(self, stage: str | None = None) -> None:
        """Read, split, cut, bin and standardise; a second call does nothing."""
        if self._parts:
            return
        self.series, dated = self._read()
        require_one_patient_each(self.series)
        self.checksum = self.series.checksum
        self.notices = known_by(self.series, self.cutoff).notices
        self.split = self._split()
        train = np.asarray(self.split.train)
        self.task = describe(
            self.series,
            train,
            cutoff=self.cutoff,
            bin=self.bin,
            outside=self.outside,
            dated=dated,
            folds=self.folds,
        )
        made, folds = prepared(self.series, self.task), self._folds(train)
        for part in PARTS:
            training = part == "train"
            divided = folds is not None and part != "test"
            self._parts[part] = StaysOfPart(
                made,
                self.task,
                np.asarray(self.split.rows("train" if divided else part), dtype=np.int64),
                noise=self.noise if training else 0.0,
                drop=self.drop if training else 0.0,
                early=self.early if training else 0.0,
                seed=self.seed,
                folds=folds if divided else None,
            )

    def part(self, name: str) -> StaysOfPart:
        """Return the stays of ``"train"``, ``"validation"`` or ``"test"``."""
        self.setup()
        return self._parts[name]

    def patients(self, name: str) -> np.ndarray:
        """Return whose stay each of a part is, (N,)."""
        rows = self.part(name).rows
        return np.array(self.series.groups or self.series.ids)[rows]

    def observed(self, row: int) -> tuple[np.ndarray, np.ndarray]:
        """Return times (L,) and values (L, C) of a stay as they were read, up to the cutoff."""
        known = self.series.times[row] <= self.cutoff
        return self.series.times[row][known], self.series.values[row][known]

    def _read(self) -> tuple[LabelledSeries, bool]:
        """Return the stays in hours since admission, and whether their times were dates."""
        if self.dataset == PHYSIONET:
            return physionet2012.load(self.outside), False
        if not self.dataset.endswith(TABLES):
            raise unknown("dataset", self.dataset, [PHYSIONET, "a file, such as stays.csv"])
        try:
            read = read_labelled_table(Path(self.dataset), **self.columns)
        except InputError as error:
            raise InputError(as_data_options(str(error))) from error
        known = {name.lower() for name in RANGES}
        strange = [name for name in read.channels if name.lower() not in known]
        notices = [as_data_options(notice) for notice in read.notices]
        if strange:
            notices.append(f"no possible range is known of {len(strange)} of {len(read.channels)} channels")
        return as_stays(replace(read, notices=notices), outside=self.outside), read.time_unit in MICROSECONDS

    def _split(self) -> IndexSplit:
        of: dict[str, Any] = {
            "dataset": Path(self.dataset).name,
            "checksum": self.checksum,
            "protocol": "by patient",
            "seed": self.split_seed,
        }
        split = stratified(
            self.series.labels, fractions=self.fractions, seed=self.split_seed, of=of, groups=self.series.groups
        )
        if self.folds == 1:
            return split
        return IndexSplit(tuple(sorted(split.train + split.validation)), (), split.test, of)

    def _folds(self, rows: np.ndarray) -> np.ndarray | None:
        """Return the fold of each training stay, patients whole, so that classes lie evenly in the folds."""
        if self.folds == 1:
            return None
        patients = np.array(self.series.groups or self.series.ids)[rows]
        names, number = np.unique(patients, return_inverse=True)
        if len(names) < self.folds:
            raise InputError(f"data.folds={self.folds} of {len(names)} training patients: take fewer.")
        labels, classes = self.series.labels[rows], self.series.classes
        counts = np.zeros((len(names), len(classes)))
        np.add.at(counts, (number, labels), 1)
        of = spread(dict(zip(names, counts, strict=True)), [1.0] * self.folds, seed=self.split_seed)
        folds = np.array([of[name] for name in names], dtype=np.int64)[number]
        for fold in range(self.folds):
            lost = np.setdiff1d(np.arange(len(classes)), labels[folds != fold])
            if len(lost):
                raise InputError(
                    f"data.folds={self.folds} leaves networks no stay of class {classes[lost[0]]!r} to learn from: "
                    "give stays of more patients of it, or take folds 1."
                )
        return folds
