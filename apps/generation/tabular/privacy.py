"""Whether a synthetic table gives its training rows away: copies, and rows that lie too near to them.

Dimension letters: N rows, D encoded width.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from integrand.core.errors import InputError
from integrand.datasets.table_codec import TableCodec

MOST = 10_000
"""Rows whose distances are measured, at most, of either kind."""


@dataclass(frozen=True)
class PrivacyScores:
    """How near synthetic rows lie to training rows, beside real rows that were held out.

    Distances are Euclidean in the encoded space, to the nearest training row; of more than ``MOST`` synthetic rows,
    or held-out ones, as many drawn at random are measured, while copies are counted among all.

    Attributes:
        copies: synthetic rows that equal a training row in every cell.
        held_out_copies: held-out rows that do, of ``held_out`` rows: what chance and repeated rows give.
        rows: how many synthetic rows there are.
        held_out: how many held-out rows.
        median, low: median and 5 % quantile of the synthetic rows' distances.
        held_out_median, held_out_low: the same of the held-out rows.
        nearer: probability that a synthetic row lies nearer to the training rows than a held-out one does, ties
            counted half: 0.5 where it tells nothing of them, 1 where all are copies.
    """

    copies: int
    held_out_copies: int
    rows: int
    held_out: int
    median: float
    low: float
    held_out_median: float
    held_out_low: float
    nearer: float

    @property
    def ratio(self) -> float:
        """Median distance over that of held-out rows: 1 as far as unseen rows, well below 1 copies."""
        return self.median / self.held_out_median if self.held_out_median > 0 else float("nan")


def privacy_scores(
    codec: TableCodec, *, train: pd.DataFrame, synthetic: pd.DataFrame, held_out: pd.DataFrame
) -> PrivacyScores:
    """Measure how near synthetic rows lie to the training rows, beside how near held-out real rows lie.

    Args:
        codec: of the training rows.
        train: what the generator saw.
        synthetic: what it drew.
        held_out: real rows that it did not see.

    Raises:
        InputError: a table without rows, or what ``TableCodec.encode`` refuses.

    Example:
        >>> from integrand.datasets.table_schema import TableSchema
        >>> x = np.random.default_rng(0).standard_normal(60)
        >>> train, other = pd.DataFrame({"x": x[:30]}), pd.DataFrame({"x": x[30:]})
        >>> codec = TableCodec.fit(train, TableSchema.infer(train))
        >>> found = privacy_scores(codec, train=train, synthetic=train, held_out=other)
        >>> found.copies, found.nearer
        (30, 1.0)
    """
    from scipy.stats import mannwhitneyu

    if synthetic.empty or held_out.empty:
        raise InputError(f"give synthetic and held-out rows, got {len(synthetic)} and {len(held_out)}.")
    ours, theirs = (nearest_distances(codec, train, at_most(rows, MOST)) for rows in (synthetic, held_out))
    wins = mannwhitneyu(theirs, ours).statistic / (len(ours) * len(theirs))
    return PrivacyScores(
        copies=count_copies(codec, train, synthetic),
        held_out_copies=count_copies(codec, train, held_out),
        rows=len(synthetic),
        held_out=len(held_out),
        median=float(np.median(ours)),
        low=float(np.quantile(ours, 0.05)),
        held_out_median=float(np.median(theirs)),
        held_out_low=float(np.quantile(theirs, 0.05)),
        nearer=float(wins),
    )


def at_most(frame: pd.DataFrame, count: int, *, seed: int = 0) -> pd.DataFrame:
    """Return the rows themselves, or as many of them drawn at random without replacement.

    Example:
        >>> rows = pd.DataFrame({"x": range(100)})
        >>> len(at_most(rows, 20)), at_most(rows, 100) is rows
        (20, True)
    """
    return frame if len(frame) <= count else frame.sample(count, random_state=seed)


def nearest_distances(codec: TableCodec, train: pd.DataFrame, rows: pd.DataFrame) -> np.ndarray:
    """Return the distance (N,) of rows to the nearest training row, in the encoded space."""
    from sklearn.neighbors import NearestNeighbors

    # A tree finds a copy at distance 0; brute force, which expands the square, does not.
    nearest = NearestNeighbors(n_neighbors=1, algorithm="kd_tree")
    distances, _ = nearest.fit(codec.encode(train).astype(np.float64)).kneighbors(codec.encode(rows).astype(np.float64))
    return distances[:, 0]


def count_copies(codec: TableCodec, train: pd.DataFrame, rows: pd.DataFrame) -> int:
    """Return how many rows equal a training row in every cell that changes."""
    seen = set(_cells(codec, train))
    return sum(row in seen for row in _cells(codec, rows))


def _cells(codec: TableCodec, frame: pd.DataFrame) -> list[bytes]:
    """Return each row's cells as bytes; numbers to single precision, so that both tables count alike."""
    values = codec.schema.check(frame)
    columns = [values[column.name].astype(np.float32) + np.float32(0) for column in codec.schema.modelled]
    return [row.tobytes() for row in np.nan_to_num(np.stack(columns, axis=1), nan=np.inf)]
