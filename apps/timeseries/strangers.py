"""Series that a model was not trained on."""

from collections.abc import Sequence

from integrand.datasets.tables import Table


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
            f"no column tells which series this is; the model was trained on {listed(groups)} "
            "(--group-column names the column)"
        ]
    if found:
        return [
            f"series that the model was not trained on: {listed(found)}; they are {done} like an average of those it "
            f"was ({listed(groups)})"
        ]
    return []


def listed(names: Sequence[str], most: int = 5) -> str:
    """Write names side by side, the first few of many.

    Example:
        >>> listed(["a", "b", "c"], most=2)
        'a, b and 1 more'
    """
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
