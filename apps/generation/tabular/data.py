"""The data module of tables: rows, split and encoded, schema and codec told from the training part alone.

Dimension letters: N rows, D encoded width, E encodings.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import Dataset

from integrand.apps.generation.data import LEAST, GenerationBatch
from integrand.apps.generation.tabular.task import TableTask
from integrand.apps.training.parts_data import PartsData
from integrand.core.errors import InputError, unknown
from integrand.datasets.load_frame import NamedFrame, load_frame
from integrand.datasets.splits import PARTS, IndexSplit, by_series, stratified
from integrand.datasets.table_codec import TableCodec
from integrand.datasets.table_kinds import FEW, NUMBERS
from integrand.datasets.table_schema import TableSchema, cells_of

ENCODINGS = 32
"""How often training rows are encoded, at most: values that many rows share are drawn anew within their interval."""
MOST = 2**26
"""Numbers that all encodings may have together; a table so long that it has more is encoded less often."""


class TableData(PartsData):
    """A table whose rows a model learns to draw more of.

    Args:
        dataset: a name in the catalogue, or the path of a ``.csv``, ``.tsv`` or ``.parquet`` file.
        target: the column that learners predict to tell what the synthetic rows are worth, and by whose categories the
            split is made; the data set's own where None, and none for a file. The model learns it as all others.
        drop: columns to leave out, such as identifiers.
        categorical: columns to take for categories, whatever they hold; ``007`` stays ``007``.
        continuous: columns of numbers not to take for categories, however few distinct ones there are.
        ordinal: columns of categories that have an order, each with its values from least to greatest; of the data
            set's own columns, unless another option names them, the orders that it is known to have.
        fractions: shares of training, validation and test.
        batch_size: rows a batch.
        num_workers: processes that load batches; 0 for the training process.
        seed: of the order and of the encodings.
        split_seed: of the split, apart from ``seed``, so that several seeds are scored on the same rows.

    Raises:
        InputError: the data cannot be read, split or encoded; a target that is no column, or never changes.
    """

    def __init__(
        self,
        dataset: str = "breast_cancer",
        *,
        target: str | None = None,
        drop: list[str] | None = None,
        categorical: list[str] | None = None,
        continuous: list[str] | None = None,
        ordinal: dict[str, list[Any]] | None = None,
        fractions: tuple[float, float, float] = (0.72, 0.08, 0.2),
        batch_size: int = 256,
        num_workers: int = 0,
        seed: int = 0,
        split_seed: int = 0,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        for name, value, least in (("batch_size", batch_size, 1), ("num_workers", num_workers, 0)):
            if value < least:
                raise InputError(f"data.{name}={value!r} is out of range: it must be at least {least}.")
        self.dataset, self.target, self.fractions = dataset, target, fractions
        self.roles = {"categorical": categorical or [], "continuous": continuous or [], "drop": drop or []}
        self.ordinal = ordinal or {}
        self.batch_size, self.num_workers, self.seed, self.split_seed = batch_size, num_workers, seed, split_seed
        self.frames: dict[str, pd.DataFrame] = {}
        self._parts: dict[str, EncodedRows] = {}

    def setup(self, stage: str | None = None) -> None:
        """Read, split and encode; a second call does nothing."""
        if self._parts:
            return
        table = load_frame(self.dataset, as_text=self.roles["categorical"])
        self.target = self.target or table.target
        self._check_target(table.frame)
        self.checksum = table.checksum
        split = self._split(table)
        train = table.frame.iloc[list(split.train)]
        named = {*self.ordinal, *(name for names in self.roles.values() for name in names)}
        orders = {name: list(words) for name, words in table.orders.items() if name not in named}
        schema = TableSchema.infer(train, ordinal={**orders, **self.ordinal}, **self.roles)
        if self.target is not None and schema.column(self.target).kind == "constant":
            raise InputError(f"target {self.target!r} never changes in the training part: name another column.")
        self.codec = TableCodec.fit(train, schema)
        self.split, left_out = _without_strange_rows(schema, table.frame, split)
        self.notices = [*schema.notices, *left_out]
        self.frames = {part: table.frame.iloc[list(self.split.rows(part))] for part in PARTS}
        self._check_test(schema)
        self.task = TableTask.of(self.codec, target=self.target)
        times = max(1, min(ENCODINGS, MOST // (len(train) * self.codec.width)))
        parts = {part: self._encoded(part, times if part == "train" else 1) for part in PARTS}
        self._parts = parts

    def part(self, name: str) -> EncodedRows:
        """Return the encoded rows of ``"train"``, ``"validation"`` or ``"test"``."""
        self.setup()
        return self._parts[name]

    def frame(self, name: str) -> pd.DataFrame:
        """Return the rows of a part, as they were read."""
        self.setup()
        return self.frames[name]

    def _encoded(self, part: str, times: int) -> EncodedRows:
        frame, first = self.frames[part], self.seed * ENCODINGS
        if frame.empty:
            return EncodedRows(torch.empty(1, 0, self.codec.width))
        rows = np.stack([self.codec.encode(frame, seed=first + k) for k in range(times)])
        return EncodedRows(torch.from_numpy(rows))

    def _check_target(self, frame: pd.DataFrame) -> None:
        if self.target is None:
            return
        if self.target not in frame.columns:
            raise unknown("target column", self.target, list(map(str, frame.columns)))
        if self.target in self.roles["drop"]:
            raise InputError(f"target {self.target!r} is among the columns of --data.drop: take it out there.")

    def _check_test(self, schema: TableSchema) -> None:
        """Refuse before a training what its evaluation would refuse after it."""
        test = self.frames["test"]
        if len(test) < LEAST:
            raise InputError(
                f"{self.dataset} leaves {len(test)} rows to the test part by the shares {tuple(self.fractions)}: give "
                f"more, so that there are at least {LEAST}, or another --data.fractions."
            )
        kind = "continuous" if self.target is None else schema.column(self.target).kind
        classes = kind == "ordinal" or kind not in NUMBERS
        if classes and cells_of(test, str(self.target)).nunique() < 2:
            raise InputError(f"the test rows hold one class of {self.target!r} alone: give more rows.")

    def _split(self, table: NamedFrame) -> IndexSplit:
        """Divide the rows at random, by the target's categories where it has some."""
        of: dict[str, Any] = {"dataset": table.name, "checksum": self.checksum}
        labels = None if self.target is None else self._labels(cells_of(table.frame, self.target))
        if labels is None:
            return by_series(len(table.frame), fractions=self.fractions, seed=self.split_seed, of=of)
        return stratified(labels, fractions=self.fractions, seed=self.split_seed, of=of)

    def _labels(self, cells: pd.Series) -> np.ndarray | None:
        """Return the target's categories as numbers, a missing one counted, None where it holds numbers."""
        numbers = pd.api.types.is_numeric_dtype(cells.dtype) and not pd.api.types.is_bool_dtype(cells.dtype)
        distinct = cells.nunique()
        many = distinct > FEW or distinct * 5 > len(cells) or self.target in self.roles["continuous"]
        if numbers and many and self.target not in self.roles["categorical"]:
            return None
        codes, names = pd.factorize(cells)
        return np.where(codes < 0, len(names), codes)


class EncodedRows(Dataset):
    """The rows of one part, encoded several times, batch by batch.

    Index i + N * epoch is row i of one encoding, another in the next epoch.

    Args:
        encodings: (E, N, D).
    """

    def __init__(self, encodings: Tensor) -> None:
        self.encodings = encodings

    @property
    def values(self) -> Tensor:
        """The rows of all encodings, (E N, D)."""
        return self.encodings.flatten(0, 1)

    def __len__(self) -> int:
        return self.encodings.shape[1]

    def __getitem__(self, index: int) -> GenerationBatch:
        return self.__getitems__([index])

    def __getitems__(self, indices: list[int]) -> GenerationBatch:
        """Build the batch of several rows at once."""
        every = torch.as_tensor(indices)
        rows = self.encodings[(every // len(self)) % len(self.encodings), every % len(self)]
        return GenerationBatch(rows, torch.zeros(len(rows), dtype=torch.int64))

    def whole(self) -> GenerationBatch:
        """Return the whole part as one batch, by its first encoding."""
        return self.__getitems__(list(range(len(self))))


def _without_strange_rows(schema: TableSchema, frame: pd.DataFrame, split: IndexSplit) -> tuple[IndexSplit, list[str]]:
    """Leave out rows of validation and test with a category, or a gap, that no training row of the column has."""
    strange, notices = np.zeros(len(frame), dtype=bool), []
    for column in schema.modelled:
        cells = cells_of(frame, column.name)
        if column.kind in ("categorical", "ordinal"):
            # A file may have 1 where the order was given as "1".
            known = cells.isin(column.categories) | cells.astype(str).isin([str(one) for one in column.categories])
            wrong = ~known & cells.notna()
        else:
            wrong = pd.Series(False, index=cells.index)
        if not column.missing:
            wrong |= cells.isna()
        found = int(wrong.sum())
        strange |= wrong.to_numpy()
        if found:
            notices.append(
                f"{found} rows of validation and test have in column {column.name!r} what no training row has: they "
                "are left out"
            )
    if not strange.any():
        return split, []
    parts = {part: tuple(row for row in split.rows(part) if not strange[row]) for part in PARTS}
    return IndexSplit(**parts, of=split.of), notices
