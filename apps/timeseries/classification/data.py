"""The data module of classification: a named set, or the user's own files, split and standardised."""

import importlib
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from integrand.apps.series.classification.parts import SeriesOfPart, describe
from integrand.apps.timeseries import APPLICATION
from integrand.apps.training.parts_data import PartsData
from integrand.apps.training.reader_options import as_data_options
from integrand.core.errors import InputError, unknown
from integrand.datasets.catalogue import find
from integrand.datasets.labelled import LabelledSeries
from integrand.datasets.labelled_tables import read_labelled_table
from integrand.datasets.splits import PARTS, IndexSplit, official, stratified
from integrand.datasets.ts_files import read_ts_pair

Protocol = Literal["official", "random"]


class ClassificationData(PartsData):
    """Series with a class each, split into training, validation and test.

    Means and deviations are those of the values observed in the training part.

    Args:
        dataset: a name in the catalogue; the path of a ``.ts`` file of the UCR/UEA archive or of the folder with its
            training and test file; or a CSV or parquet file in wide or long form, whose rows say their series and its
            class.
        protocol: ``"official"``, the publisher's test part and a share of its training part for validation; or
            ``"random"``, a new split of all series.
        validation: that share; 0 trains on the whole training part, and the last weights are kept, not the best.
        fractions: shares of training, validation and test of a random split, class by class.
        noise: standard deviation of the noise added to training values, in units of each channel's own.
        drop: share of the elements of a training series that are left out, drawn anew each epoch.
        batch_size: series a batch.
        num_workers: processes that load batches; 0 for the training process.
        seed: of noise, drops and order.
        split_seed: of random splits and of the choice of validation series; apart from ``seed``, so that several seeds
            are scored on the same series.
        label_column: column of the classes of a CSV file.
        time_column, group_column, variable_column, value_column, duplicates: how it is read, see ``read_table``.

    Raises:
        InputError: the data cannot be read or split.
    """

    def __init__(
        self,
        dataset: str = "japanese_vowels",
        *,
        protocol: Protocol = "official",
        validation: float = 0.2,
        fractions: tuple[float, float, float] = (0.7, 0.15, 0.15),
        noise: float = 0.0,
        drop: float = 0.0,
        batch_size: int = 32,
        num_workers: int = 0,
        seed: int = 0,
        split_seed: int = 0,
        label_column: str = "label",
        time_column: str | None = None,
        group_column: str | None = None,
        variable_column: str | None = None,
        value_column: str | None = None,
        duplicates: str = "mean",
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        for name, value, held, must in (
            ("validation", validation, 0 <= validation < 1, "lie in [0, 1)"),
            ("noise", noise, noise >= 0, "not be negative"),
            ("drop", drop, 0 <= drop < 1, "lie in [0, 1)"),
            ("batch_size", batch_size, batch_size >= 1, "be at least 1"),
            ("num_workers", num_workers, num_workers >= 0, "not be negative"),
        ):
            if not held:
                raise InputError(f"data.{name}={value!r} is out of range: it must {must}.")
        self.dataset, self.validation, self.fractions = dataset, validation, fractions
        self.protocol: Protocol = protocol
        self.noise, self.drop = noise, drop
        self.batch_size, self.num_workers, self.seed = batch_size, num_workers, seed
        self.split_seed = split_seed
        self.columns = {
            "label_column": label_column,
            "time_column": time_column,
            "group_column": group_column,
            "variable_column": variable_column,
            "value_column": value_column,
            "duplicates": duplicates,
        }
        self._parts: dict[str, SeriesOfPart] = {}

    def setup(self, stage: str | None = None) -> None:
        """Read, split and standardise; a second call does nothing."""
        if self._parts:
            return
        self.series = self._read()
        self.checksum = self.series.checksum
        self.split = self._split(self.series)
        self.task = describe(self.series, np.asarray(self.split.train))
        for part in PARTS:
            training = part == "train"
            self._parts[part] = SeriesOfPart(
                self.series,
                self.task,
                np.asarray(self.split.rows(part), dtype=np.int64),
                noise=self.noise if training else 0.0,
                drop=self.drop if training else 0.0,
                seed=self.seed,
            )

    @property
    def notices(self) -> list[str]:
        """What the reader of the files has to say."""
        self.setup()
        return self.series.notices

    def part(self, name: str) -> SeriesOfPart:
        """Return the series of ``"train"``, ``"validation"`` or ``"test"``."""
        self.setup()
        return self._parts[name]

    def _read(self) -> LabelledSeries:
        if self.dataset.endswith((".csv", ".csv.gz", ".csv.xz", ".txt", ".tsv", ".parquet")):
            try:
                series = read_labelled_table(Path(self.dataset), **self.columns)
            except InputError as error:
                raise InputError(as_data_options(str(error))) from error
            return replace(series, notices=[as_data_options(notice) for notice in series.notices])
        if "/" in self.dataset or self.dataset.endswith((".ts", ".ts.gz")):
            return read_ts_pair(Path(self.dataset))
        named = APPLICATION.task("classification").datasets
        if self.dataset not in named:
            raise unknown("dataset", self.dataset, named)
        module, _, function = str(find(self.dataset).loader).partition(":")
        return getattr(importlib.import_module(module), function)()

    def _split(self, series: LabelledSeries) -> IndexSplit:
        of: dict[str, Any] = {"dataset": Path(self.dataset).name, "checksum": self.checksum, "protocol": self.protocol}
        if self.protocol == "random":
            return stratified(
                series.labels, fractions=self.fractions, seed=self.split_seed, of=of, groups=series.groups
            )
        if series.parts is None:
            raise InputError(f"{series.name} has no official split: take --data.protocol random.")
        return official(series.parts, series.labels, validation=self.validation, seed=self.split_seed, of=of)
