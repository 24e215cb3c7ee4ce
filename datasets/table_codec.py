"""Tables of mixed types as rows of numbers about standard normal, and back.

Letters: N rows, D encoded width, K categories.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any

import numpy as np
import pandas as pd

from integrand.core.errors import InputError, unknown
from integrand.datasets.quantile_map import QuantileMap
from integrand.datasets.table_kinds import NUMBERS, Column
from integrand.datasets.table_schema import TableSchema

KNOTS = 100


@dataclass(frozen=True)
class Block:
    """Where a column stands in the encoded row: ``width`` numbers from ``start`` on.

    Of a column of numbers that may be missing the last says whether it is.
    """

    column: str
    start: int
    width: int

    @property
    def slice(self) -> slice:
        """The block's part of a row."""
        return slice(self.start, self.start + self.width)


@dataclass(frozen=True)
class TableCodec:
    """What turns the rows of a table into vectors that a model of densities learns, and vectors into rows.

    Numbers, instants and ordered categories become normal scores by a ``QuantileMap``; where they can be missing, a
    second number says so. Of K categories, a missing one counted, with shares p_k in training each becomes

        (e_k - p) / s,    s^2 = sum_k p_k (1 - p_k) / K,

    so that a block has mean 0 and on average variance 1, and the category is that of the largest entry of s z + p; of
    two categories one number stands for both, since the other is its opposite.

    Attributes:
        schema: of the columns.
        maps: of the columns of numbers, by name.
        shares: (K,) of the categories by column, the missing one last where there is one; of a column of numbers that
            can be missing ``(1 - p, p)`` with the share p of missing ones.

    Example:
        >>> frame = pd.DataFrame({"age": [31.5, 40.0, 47.2, 52.8] * 3, "smokes": ["no", "yes", "no", "no"] * 3})
        >>> codec = TableCodec.fit(frame, TableSchema.infer(frame, continuous=["age"]))
        >>> codec.encode(frame).shape, codec.decode(codec.encode(frame)).equals(frame)
        ((12, 2), True)
    """

    schema: TableSchema
    _: KW_ONLY
    maps: Mapping[str, QuantileMap]
    shares: Mapping[str, tuple[float, ...]]

    @classmethod
    def fit(cls, frame: pd.DataFrame, schema: TableSchema, *, knots: int = KNOTS) -> TableCodec:
        """Return the codec of the training rows.

        Args:
            frame: the rows that ``schema`` was told from.
            schema: of its columns.
            knots: of the maps, see ``QuantileMap.fit``.

        Raises:
            InputError: what ``schema.check`` refuses.
        """
        values = schema.check(frame)
        maps, shares = {}, {}
        for column in schema.modelled:
            cells = values[column.name]
            if column.kind in NUMBERS:
                missing = np.isnan(cells)
                maps[column.name] = QuantileMap.fit(cells[~missing], unit=column.unit, knots=knots)
                if column.missing:
                    shares[column.name] = (float(1 - missing.mean()), float(missing.mean()))
            else:
                counts = np.bincount(cells % _count(column), minlength=_count(column))
                shares[column.name] = tuple((counts / counts.sum()).tolist())
        return cls(schema, maps=maps, shares=shares)

    @property
    def blocks(self) -> list[Block]:
        """Where each column that changes stands, in order."""
        found, start = [], 0
        for column in self.schema.modelled:
            width = 1 + column.missing if column.kind in NUMBERS else _width(_count(column))
            found.append(Block(column.name, start, width))
            start += width
        return found

    @property
    def width(self) -> int:
        """D, the numbers of an encoded row."""
        last = self.blocks[-1]
        return last.start + last.width

    def block(self, name: str) -> Block:
        """Return where a column stands; raise ``InputError`` where no such column changes."""
        for block in self.blocks:
            if block.column == name:
                return block
        raise unknown("column", name, [block.column for block in self.blocks])

    def encode(self, frame: pd.DataFrame, *, seed: int | None = None) -> np.ndarray:
        """Return the rows as (N, D) float32.

        Args:
            frame: rows such as those of training, the columns in any order.
            seed: of what values that occur often, or lie on a lattice, are drawn in their intervals of normal scores,
                and of the scores in the place of missing numbers; with one, numbers are standard normal also where
                they are few. Without, a value has the median of its interval, a missing number 0.

        Raises:
            InputError: what ``schema.check`` refuses.
        """
        return self._encode(frame, None, seed)

    def encode_columns(self, frame: pd.DataFrame, names: Sequence[str], *, seed: int | None = None) -> np.ndarray:
        """Return the blocks of some columns alone, one after the other, as a condition for the others; see ``encode``.

        Raises:
            InputError: what ``schema.check`` refuses, or a column that never changes.
        """
        for name in names:
            self.block(name)
        return self._encode(frame, names, seed)

    def decode(self, z: np.ndarray, *, clip: bool = True) -> pd.DataFrame:
        """Return the table of encoded rows (N, D): columns in order, types and digits as in training.

        An encoded table is decoded to what it was: categories, missing cells and numbers of up to six significant
        digits exactly, others up to the rounding of float32 in their scores.

        Args:
            z: encoded rows, or what a model draws like them.
            clip: keep numbers within the range of the training rows.

        Raises:
            InputError: another width, or numbers that are not finite.
        """
        z = np.asarray(z, dtype=np.float64)
        if z.ndim != 2 or z.shape[1] != self.width:
            raise InputError(f"encoded rows must be (N, {self.width}), got {z.shape}: this codec has another table.")
        wrong = ~np.isfinite(z).all(1)
        if wrong.any():
            raise InputError(
                f"encoded row {int(wrong.argmax())} of {len(z)} is not finite: the model that drew it failed."
            )
        values = {}
        for column, block in zip(self.schema.modelled, self.blocks, strict=True):
            part = z[:, block.slice]
            if column.kind in NUMBERS:
                values[column.name] = self._numbers(column, part, clip)
            else:
                codes = _codes_of(part, self.shares[column.name])
                values[column.name] = np.where(codes == len(column.categories), -1, codes)
        return self.schema.restore(values, len(z))

    def to_dict(self) -> dict[str, Any]:
        """Return the codec as plain values, for JSON and checkpoints."""
        return {
            "schema": self.schema.to_dict(),
            "maps": {name: one.to_dict() for name, one in self.maps.items()},
            "shares": {name: list(one) for name, one in self.shares.items()},
        }

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> TableCodec:
        """Return the codec of ``to_dict``."""
        return cls(
            TableSchema.from_dict(plain["schema"]),
            maps={name: QuantileMap.from_dict(one) for name, one in plain["maps"].items()},
            shares={name: tuple(map(float, one)) for name, one in plain["shares"].items()},
        )

    def _encode(self, frame: pd.DataFrame, names: Sequence[str] | None, seed: int | None) -> np.ndarray:
        values = self.schema.check(frame, names)
        generator = None if seed is None else np.random.default_rng(seed)
        parts = []
        for name, cells in values.items():
            column = self.schema.column(name)
            if column.kind not in NUMBERS:
                parts.append(_scores_of(cells % _count(column), self.shares[name]))
                continue
            missing = np.isnan(cells)
            scores = np.zeros(len(cells)) if generator is None else generator.standard_normal(len(cells))
            scores[~missing] = self.maps[name].to_normal(cells[~missing], unit=column.unit, generator=generator)
            parts.append(scores[:, None])
            if column.missing:
                parts.append(_scores_of(missing.astype(np.int64), self.shares[name]))
        return np.concatenate(parts, axis=1).astype(np.float32)

    def _numbers(self, column: Column, part: np.ndarray, clip: bool) -> np.ndarray:
        """Return the numbers (N,) of a block, NaN where its last entry says that they are missing."""
        x = self.maps[column.name].from_normal(part[:, 0])
        if clip or column.kind == "ordinal":
            last = column.high if clip else len(column.categories) - 1
            x = np.clip(x, column.low if clip else 0, last)
        x = column.rounded(x)
        if column.missing:
            x = np.where(_codes_of(part[:, 1:], self.shares[column.name]) == 1, np.nan, x)
        return x


def _count(column: Column) -> int:
    """Return how many categories there are, a missing one counted."""
    return len(column.categories) + column.missing


def _width(count: int) -> int:
    return 1 if count == 2 else count


def _scale(shares: np.ndarray) -> float:
    """Return the deviation of an entry of a block, its root mean square over the entries."""
    return float(np.sqrt((shares * (1 - shares)).mean()))


def _scores_of(codes: np.ndarray, shares: Sequence[float]) -> np.ndarray:
    """Return the block of categories (N,), (N, K), or (N, 1) of two, where it is the second's entry."""
    p_K = np.asarray(shares)
    z_NK = (np.eye(len(p_K))[codes] - p_K) / _scale(p_K)
    return z_NK[:, 1:] if len(p_K) == 2 else z_NK


def _codes_of(z: np.ndarray, shares: Sequence[float]) -> np.ndarray:
    """Return the categories (N,) of a block."""
    p_K = np.asarray(shares)
    if len(p_K) == 2:
        return (z[:, 0] * _scale(p_K) + p_K[1] > 0.5).astype(np.int64)
    return (z * _scale(p_K) + p_K).argmax(1)
