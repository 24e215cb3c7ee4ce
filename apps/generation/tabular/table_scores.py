"""All that is measured of a synthetic table, as plain values: transfer, resemblance, privacy.

Dimension letters: N rows, C columns that change.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from integrand.apps.generation.tabular.learners import TREES
from integrand.apps.generation.tabular.privacy import PrivacyScores, privacy_scores
from integrand.apps.generation.tabular.resemblance import association_difference, associations, marginal_distances
from integrand.apps.generation.tabular.transfer import Transfer, transfer_ratio, transfer_scores
from integrand.core.errors import InputError
from integrand.datasets.table_codec import TableCodec

METRICS = {
    "transfer_ratio": "score on real test rows having learned from synthetic ones, over that having learned from real "
    "ones: of AUROC for a category and R2 for a number, a mean over two learners",
    "marginal_distance": "mean over columns of the Kolmogorov-Smirnov distance (numbers) or total variation "
    "(categories) to the test rows",
    "association_difference": "mean over pairs of columns of how far correlations lie from those of the test rows",
    "copies": "rows that equal a training row in every cell",
    "distance_ratio": "median distance to the nearest training row, over that of the test rows: 1 as far as they",
    "nearer": "probability that a row lies nearer to the training rows than a test row does: 0.5 tells nothing of them",
}
"""What ``TableScores.metrics`` holds."""


@dataclass(frozen=True, eq=False)
class TableScores:
    """What was measured of a synthetic table.

    Attributes:
        transfer: what learners of it are worth on real test rows; empty where no target was named.
        marginals: distance of each column to the test rows.
        floor: the same of the training rows, which chance alone keeps from the test rows.
        columns: the columns of the matrices that follow.
        real, synthetic: (C, C) associations in the test rows and the synthetic ones.
        privacy: how near to the training rows it lies.
    """

    transfer: list[Transfer]
    marginals: dict[str, float]
    floor: dict[str, float]
    columns: list[str]
    real: np.ndarray
    synthetic: np.ndarray
    privacy: PrivacyScores

    @property
    def metrics(self) -> dict[str, float]:
        """One number for each of ``METRICS``; the first is missing where no target was named."""
        return {
            **({"transfer_ratio": transfer_ratio(self.transfer)} if self.transfer else {}),
            "marginal_distance": float(np.mean(list(self.marginals.values()))),
            "association_difference": association_difference(self.real, self.synthetic),
            "copies": float(self.privacy.copies),
            "distance_ratio": self.privacy.ratio,
            "nearer": self.privacy.nearer,
        }

    def to_dict(self) -> dict[str, Any]:
        """Return all but the matrices as plain values, for ``results.json``; what is not a number as None."""
        plain = {
            "transfer": [{**one._asdict(), "ratio": one.ratio} for one in self.transfer],
            "marginals": self.marginals,
            "marginals_of_training_rows": self.floor,
            "privacy": {**asdict(self.privacy), "ratio": self.privacy.ratio},
        }
        return _without_nan(plain)


def score_tables(
    codec: TableCodec,
    *,
    train: pd.DataFrame,
    synthetic: Sequence[pd.DataFrame],
    test: pd.DataFrame,
    target: str | None = None,
    seeds: Sequence[int] = (0, 1, 2),
    trees: int = TREES,
) -> TableScores:
    """Measure synthetic tables against real test rows that neither the generator nor the codec saw.

    Args:
        codec: of the training rows.
        train: what the generator saw.
        synthetic: tables of one generator; learners take them in turn, all else is measured on their rows together.
        test: real rows held out.
        target: the column that learners predict; none do where None.
        seeds: of the learners.
        trees: of each forest among them.

    Raises:
        InputError: no synthetic table, or what the parts refuse.
    """
    if not synthetic:
        raise InputError("give at least one synthetic table, got none.")
    every = pd.concat(list(synthetic), ignore_index=True)
    schema = codec.schema
    columns, real = associations(schema, test)
    return TableScores(
        transfer=[]
        if target is None
        else transfer_scores(schema, target, train=train, synthetic=synthetic, test=test, seeds=seeds, trees=trees),
        marginals=marginal_distances(schema, test, every),
        floor=marginal_distances(schema, test, train),
        columns=columns,
        real=real,
        synthetic=associations(schema, every)[1],
        privacy=privacy_scores(codec, train=train, synthetic=every, held_out=test),
    )


def _without_nan(value: Any) -> Any:
    """Return plain values with None for numbers that JSON does not know."""
    if isinstance(value, dict):
        return {name: _without_nan(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_without_nan(one) for one in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value
