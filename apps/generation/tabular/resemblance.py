"""How far the columns of two tables, and the relations between columns, lie apart.

Dimension letters: N rows, C columns that change, K categories.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from integrand.core.errors import InputError
from integrand.datasets.table_kinds import NUMBERS
from integrand.datasets.table_schema import TableSchema

Array = np.ndarray


def marginal_distances(schema: TableSchema, real: pd.DataFrame, synthetic: pd.DataFrame) -> dict[str, float]:
    """Return how far each column's distributions lie apart in two tables, from 0, the same, to 1, apart.

    For numbers the Kolmogorov-Smirnov distance sup_x |F(x) - G(x)|, a missing one counted as less than all others;
    for categories the total variation (1/2) sum_k |p_k - q_k|, a missing one counted as one of them. Of n rows
    of the same distribution each is about 1 / sqrt(n): compare with the distances between two real tables.

    Example:
        >>> frame = pd.DataFrame({"x": np.arange(40.0), "sex": ["f", "m"] * 20})
        >>> schema = TableSchema.infer(frame)
        >>> found = marginal_distances(schema, frame, frame.iloc[::2])
        >>> {name: round(distance, 3) for name, distance in found.items()}
        {'x': 0.025, 'sex': 0.5}
    """
    from scipy.stats import ks_2samp

    first, second = schema.check(real), schema.check(synthetic)
    found = {}
    for column in schema.modelled:
        a, b = first[column.name], second[column.name]
        if column.kind in NUMBERS:
            a, b = (np.nan_to_num(one, nan=-np.inf) for one in (a, b))
            found[column.name] = float(np.asarray(ks_2samp(a, b, method="asymp"))[0])
        else:
            count = len(column.categories) + column.missing
            p, q = (np.bincount(one % count, minlength=count) / len(one) for one in (a, b))
            found[column.name] = float(np.abs(p - q).sum() / 2)
    return found


def associations(schema: TableSchema, frame: pd.DataFrame) -> tuple[list[str], Array]:
    """Return the columns that change and how strongly each two of them go together, (C, C).

    Of two numbers Pearson's correlation, of a number and a category the correlation ratio
    sqrt(Var E[x | k] / Var x), of two categories Cramér's V. Each pair counts the rows that have both; one that never
    changes in these rows goes together with nothing.

    Raises:
        InputError: what ``schema.check`` refuses.

    Source: Pearson (1905), On the general theory of skew correlation and non-linear regression, for the ratio;
    Cramér (1946), Mathematical methods of statistics, section 21.9.
    """
    values = schema.check(frame)
    kinds = [column.kind in NUMBERS for column in schema.modelled]
    names = [column.name for column in schema.modelled]
    matrix = np.eye(len(names))
    for i in range(len(names)):
        for j in range(i):
            a, b = values[names[i]], values[names[j]]
            there = _there(a, kinds[i]) & _there(b, kinds[j])
            matrix[i, j] = matrix[j, i] = _association(a[there], b[there], kinds[i], kinds[j])
    return names, matrix


def association_difference(first: Array, second: Array) -> float:
    """Return the mean over pairs of columns of how far two matrices (C, C) of associations differ.

    Raises:
        InputError: they are of different columns.

    Example:
        >>> association_difference(np.eye(2), np.array([[1.0, 0.5], [0.5, 1.0]]))
        0.5
    """
    if first.shape != second.shape or first.ndim != 2:
        raise InputError(f"matrices of associations must be of the same columns, got {first.shape}, {second.shape}.")
    pairs = np.triu_indices(len(first), 1)
    return float(np.abs(first - second)[pairs].mean()) if len(pairs[0]) else 0.0


def _there(cells: Array, number: bool) -> Array:
    return ~np.isnan(cells) if number else cells >= 0


def _association(a: Array, b: Array, a_number: bool, b_number: bool) -> float:
    from scipy.stats.contingency import association

    if len(a) < 2 or len(np.unique(a)) < 2 or len(np.unique(b)) < 2:
        return 0.0
    if a_number and b_number:
        return float(np.corrcoef(a, b)[0, 1])
    if not a_number and not b_number:
        return float(association(pd.crosstab(a, b).to_numpy(), method="cramer"))
    return _ratio(a, b) if a_number else _ratio(b, a)


def _ratio(x: Array, codes: Array) -> float:
    """Return the square root of the share of the variance of x (N,) that its class means explain."""
    counts, sums = np.bincount(codes), np.bincount(codes, weights=x - x.mean())
    kept = counts > 0
    between = (sums[kept] ** 2 / counts[kept]).sum()
    return float(np.sqrt(min(between / ((x - x.mean()) ** 2).sum(), 1.0)))
