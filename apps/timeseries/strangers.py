"""Series that a model was not trained on."""

from collections.abc import Sequence

from integrand.core.errors import listed
from integrand.datasets.tables import Table

MOST = 5
"""Names in a line."""


def strangers(table: Table, groups: Sequence[str], done: str) -> list[str]:
    """Return a line where a table has series that a model does not know, none where it has not.

    Args:
        table: what the model is asked about.
        groups: the series it was trained on, where it tells them apart; none otherwise.
        done: what becomes of the series, such as ``"forecast"``.
    """
    found = [series.group for series in table.series if groups and series.group not in groups]
    if found and table.group_column is None:
        return [
            f"no column tells which series this is; the model was trained on {listed(groups, MOST)} "
            "(--group-column names the column)"
        ]
    if found:
        return [
            f"series that the model was not trained on: {listed(found, MOST)}; they are {done} like an average of "
            f"those it was ({listed(groups, MOST)})"
        ]
    return []
