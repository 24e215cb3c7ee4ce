"""Tables drawn without a neural network, to compare with: columns on their own, and a Gaussian copula.

Dimension letters: N rows, D encoded width.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from integrand.core.errors import InputError
from integrand.datasets.table_codec import TableCodec

DRAWS = 16
"""How often the training rows are encoded anew, so that the draws of ties average out of the covariance."""


def independent_columns(codec: TableCodec, train: pd.DataFrame, count: int, *, seed: int) -> pd.DataFrame:
    """Draw each column from its training values, with replacement and apart from the others.

    Every marginal is right but for chance, and every relation between columns is lost.

    Args:
        codec: of the training rows.
        train: those rows.
        count: how many rows to draw.
        seed: of the draws.
    """
    _check(count)
    generator = np.random.default_rng(seed)
    values = codec.schema.check(train)
    drawn = {name: cells[generator.integers(0, len(cells), count)] for name, cells in values.items()}
    return codec.schema.restore(drawn, count)


def gaussian_copula(codec: TableCodec, train: pd.DataFrame, count: int, *, seed: int) -> pd.DataFrame:
    """Draw encoded rows from the normal distribution with the mean and covariance of the training rows.

    The marginals of numbers are those of training and their relations are those of ranks, as far as a covariance tells;
    a category is the one nearest to what was drawn.

    Args:
        codec: of the training rows.
        train: those rows.
        count: how many rows to draw.
        seed: of the draws.

    Source: Nelsen (2006), An introduction to copulas, section 2.3, for copulas; the fit is by moments of scores.
    """
    _check(count)
    z_ND = np.concatenate([codec.encode(train, seed=seed + k) for k in range(DRAWS)]).astype(np.float64)
    generator = np.random.default_rng(seed)
    covariance = np.atleast_2d(np.cov(z_ND, rowvar=False))
    drawn = generator.multivariate_normal(z_ND.mean(0), covariance, count, method="eigh")
    return codec.decode(drawn)


BASELINES: dict[str, Callable[..., pd.DataFrame]] = {
    "independent columns": independent_columns,
    "Gaussian copula": gaussian_copula,
}
"""What draws a table, ``(codec, train, count, *, seed)``, by name."""


def _check(count: int) -> None:
    if count < 1:
        raise InputError(f"the number of rows to draw must be at least 1, got {count}.")
