"""Classes of a stream: each row answered as it comes, with the numbers that ``predict`` has for its series so far."""

from collections.abc import Callable, Iterable

from integrand.apps.timeseries.classification.module import ClassificationModule
from integrand.apps.timeseries.classification.prediction import series_of, to_csv, to_frame
from integrand.datasets.table_stream import TableStream

Notify = Callable[[str], None]


def stream(
    module: ClassificationModule,
    *,
    lines: Iterable[bytes],
    write: Callable[[str], None],
    time_column: str | None = None,
    group_column: str | None = None,
    variable_column: str | None = None,
    value_column: str | None = None,
    duplicates: str = "mean",
    notify: Notify = lambda line: None,
) -> None:
    """Classify, at each row, its series so far; written as CSV: the row's stamp, and the columns of ``predict``.

    A class belongs to a whole series, so all rows of every series are kept.

    Args:
        module: a trained module, on the device it is to run on.
        lines: the header of a table in wide or long form, then its rows; series may interleave, but within each stamps
            must not go backwards. Channels that the header of a wide table lacks count as never observed.
        write: takes the answer to a row; to the first with the header.
        time_column, group_column, variable_column, value_column, duplicates: see ``read_table``.
        notify: told what the user should know, each line once.

    Raises:
        InputError: a row is not right, by its number.
    """
    task = module.network.built_for
    rows = TableStream(
        lines,
        channels=task.channels,
        optional=task.channels,
        time_column=time_column,
        group_column=group_column,
        variable_column=variable_column,
        value_column=value_column,
        duplicates=duplicates,
        static=task.static,
    )
    answered = False
    for came in rows:
        for notice in rows.take_notices():
            notify(notice)
        table = came.table
        series = series_of(table, task)
        frame = to_frame(module.classify(series), series.ids, task)
        frame.insert(0, table.time_column, table.texts(table.series[0].times[-1:])[0])
        write(to_csv(frame, header=not answered))
        answered = True
