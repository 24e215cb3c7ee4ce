"""The cells of a table file, and what each of its columns is for.

A file is read once into a frame of cells whose index is the row number a spreadsheet shows (the header is row 1), so
that every later complaint can name the row. Roles are then told from names, or from content where names say nothing.
"""

from __future__ import annotations

import csv
import gzip
import io
import lzma
import re
import warnings
import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from integrand.core.errors import InputError, unknown
from integrand.datasets.parquet_files import PARQUET, as_written, read_parquet

if TYPE_CHECKING:
    import pandas as pd

MISSING = ("", "-", "NA", "N/A", "#N/A", "NaN", "nan", "NAN", "null", "NULL", "Null", "None")
TIME_NAMES = ("time", "timestamp", "datetime", "date_time", "time_stamp", "time_hour", "date", "ds")
GROUP_NAMES = ("group", "id", "station", "origin", "series", "unique_id", "patient")
VARIABLE_NAMES = ("variable", "channel", "parameter", "name")
VALUE_NAMES = ("value",)
COUNT_NAMES = ("id", "index", "no", "unnamed: 0")
NUMERIC_TIME = re.compile(r"t|t[ _(\[].*|time.*|.*[ _]time")
CLOCK = re.compile(r"\d{1,2}:\d{2}")
LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Roles:
    """Which column says when, which tells series apart, and, in long form, which names the channel and its value.

    ``counts`` are columns that only number the rows; ``notices`` say, one line each, what was told without an option.
    """

    time: str
    group: str | None
    _: KW_ONLY
    variable: str | None
    value: str | None
    counts: tuple[str, ...]
    notices: tuple[str, ...]


def read_cells(path: str | Path, as_text: Collection[str] = ()) -> dict[str, pd.Series]:
    """Read a table file into columns, indexed by file row, with missing cells as NaN and wholly empty rows left out.

    Args:
        path: a UTF-8 file, plain or packed with gzip or xz, separated by commas, semicolons, tabs or bars; or a
            ``.parquet`` file, whose rows are numbered as in the text table of the same cells.
        as_text: columns kept as written (``007`` stays ``007``, ``NA`` stays ``NA``), besides those named like a
            group or a variable.

    Raises:
        InputError: if the file is missing, binary, empty, not UTF-8, ragged, or repeats a column name.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "one.csv"
        >>> _ = path.write_text("id,temp\\n007,1.5\\n")
        >>> {name: column.to_dict() for name, column in read_cells(path).items()}
        {'id': {2: '007'}, 'temp': {2: 1.5}}
    """
    cells = (_read_parquet if Path(path).suffix.lower() == PARQUET else _read_csv)(Path(path), as_text)
    if cells.empty:
        raise InputError(f"{path} has a header but no rows: give at least one row of data.")
    columns = {str(name): column for name, column in cells.items()}
    trailing = [f"column {k}" for k in range(1, len(columns) + 1)]
    return {name: column for name, column in columns.items() if name not in trailing or column.notna().any()}


def split_rows(
    text: str,
    names: Sequence[str],
    separator: str,
    *,
    source: str | Path,
    first: int,
    header: bool = False,
    as_text: Collection[str] = (),
) -> pd.DataFrame:
    """Split rows of text into cells, missing ones as NaN, without the rows that are wholly empty.

    Args:
        text: the rows.
        names: of the columns.
        separator: between cells.
        source: what the rows are of, for messages.
        first: number of the first row of data, which the index counts from.
        header: whether a row of names stands above it.
        as_text: columns kept as written, besides those named like a group or a variable.

    Raises:
        InputError: a row has more cells than there are names, or its quotes do not close.
    """
    import pandas as pd

    texts = [name for name in names if _is_text_by_name(name, as_text)]
    above = first - 1 if header else first
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            cells = pd.read_csv(
                io.StringIO(text),
                sep=separator,
                header=0 if header else None,
                names=list(names),
                index_col=False,
                dtype=dict.fromkeys(texts, str),
                na_values={name: [""] if name in texts else list(MISSING) for name in names},
                keep_default_na=False,
                skip_blank_lines=False,
                skipinitialspace=True,
                low_memory=False,
            )
    except pd.errors.ParserWarning:
        raise _ragged(source, first, len(names)) from None
    except pd.errors.ParserError as error:
        row = re.search(r"in line (\d+), saw", str(error))
        if row:
            raise _ragged(source, above + int(row[1]) - 1, len(names)) from None
        raise InputError(f"cannot read {source} as a table: {_one_line(error)}; check its quotes.") from None
    return _numbered(cells, first)


def find_roles(
    cells: Mapping[str, pd.Series],
    *,
    time_column: str | None = None,
    group_column: str | None = None,
    variable_column: str | None = None,
    value_column: str | None = None,
) -> Roles:
    """Tell what each column is for: as the options say, else by its name, else by what it holds.

    Raises:
        InputError: if an option names no column, two options name the same one, or no column can be the time.
    """
    names = list(cells)
    given = {
        "--time-column": time_column,
        "--group-column": group_column,
        "--variable-column": variable_column,
        "--value-column": value_column,
    }
    taken: dict[str, str] = {}
    for option, name in given.items():
        if name is None:
            continue
        if name not in names:
            raise unknown(f"column in {option}", name, names)
        if name in taken:
            raise InputError(f"{taken[name]} and {option} both name column {name!r}: give each its own.")
        taken[name] = option
    notices: list[str] = []
    variable, value = _find_long_columns(names, variable_column, value_column, taken)
    if variable and not (variable_column and value_column):
        notices.append(
            f"read as long form: column {variable!r} names the channel, {value!r} holds its value "
            "(--variable-column, --value-column)"
        )
    free = [name for name in names if name not in taken and name not in (variable, value)]
    counts = [n for n in free if (n.lower() in COUNT_NAMES or n.startswith("column ")) and _counts_rows(cells[n])]
    free = [name for name in free if name not in counts]
    if counts:
        notices.append(f"ignored columns that only number the rows: {_listed(counts)}")
    group = group_column or _find_group(cells, free)
    if group and not group_column:
        notices.append(f"column {group!r} tells the series apart (--group-column names another)")
    time = time_column or _find_time(cells, [name for name in free if name != group], group)
    if re.match(r"\d{4}-\d{2}", time):
        raise InputError(f"the first row starts with data, such as {time!r}: put a row of column names above it.")
    if not time_column:
        notices.append(f"column {time!r} is the time (--time-column names another)")
    return Roles(time, group, variable=variable, value=value, counts=tuple(counts), notices=tuple(notices))


def texts_of(column: pd.Series) -> pd.Series:
    """Return the cells as text without surrounding blanks, NaN where missing."""
    text = column.astype(str).str.strip()
    return text.where(column.notna() & ~text.isin(MISSING))


def numbers_of(column: pd.Series) -> tuple[pd.Series, pd.Series]:
    """Return the cells as float64, NaN where missing, and a mask of those that are there but are not numbers."""
    import pandas as pd

    if pd.api.types.is_numeric_dtype(column):
        return column.astype("float64"), pd.Series(False, index=column.index)
    text = texts_of(column)
    numbers = pd.Series(pd.to_numeric(text, errors="coerce"), index=text.index, dtype="float64")
    numbers = numbers.mask(text == "True", 1.0).mask(text == "False", 0.0)
    return numbers, text.notna() & numbers.isna()


def finite_numbers(column: pd.Series) -> np.ndarray:
    """Return the cells as float64, NaN where missing.

    Raises:
        InputError: a cell is no number, infinite, or beyond single precision; the message names its row.
    """
    numbers, wrong = numbers_of(column)
    if wrong.any():
        row = wrong.idxmax()
        raise InputError(
            f"row {row} has {str(column[row])!r} in column {column.name!r}, which is no number: correct it (with a "
            "decimal point), or leave the cell empty if it is missing."
        )
    infinite = numbers.abs() > LARGEST
    if infinite.any():
        row = infinite.idxmax()
        raise InputError(
            f"row {row} has {str(column[row])!r} in column {column.name!r}, infinite or beyond single precision: "
            "correct it, or leave the cell empty if it is missing."
        )
    return numbers.to_numpy()


def is_text(column: pd.Series) -> bool:
    """Tell whether most of the cells that are there are no numbers; a column of missing cells is none of text."""
    numbers, wrong = numbers_of(column)
    return int(wrong.sum()) > int(numbers.notna().sum())


def dates_of(column: pd.Series) -> pd.Series:
    """Return ISO 8601 cells as instants in UTC, naive ones taken as UTC, NaT where a cell is none."""
    import pandas as pd

    text = texts_of(column)
    # pandas takes the words "now" and "today" for the present.
    return pd.to_datetime(text.where(text.str.contains(r"\d", na=False)), format="ISO8601", utc=True, errors="coerce")


def _read_csv(path: Path, as_text: Collection[str]) -> pd.DataFrame:
    skipped, text = _skip_blank_rows(_read_text(path))
    separator, names = read_header(text, path)
    return split_rows(text, names, separator, source=path, first=skipped + 2, header=True, as_text=as_text)


def _read_parquet(path: Path, as_text: Collection[str]) -> pd.DataFrame:
    """Return the cells as the text table of the same rows has them."""
    import pandas as pd

    frame = read_parquet(path)
    cells: dict[str, pd.Series] = {}
    for name, (_, column) in zip(_column_names([str(n) for n in frame.columns], path), frame.items(), strict=True):
        if _is_text_by_name(name, as_text):
            cells[name] = as_written(column.astype(str).where(column.notna()), missing=("",))
        else:
            cells[name] = as_written(column, missing=MISSING)
    return _numbered(pd.DataFrame(cells), first=2)


def _numbered(cells: pd.DataFrame, first: int) -> pd.DataFrame:
    """Index cells by the rows of the file, and leave out those that are wholly empty."""
    import pandas as pd

    cells.index = pd.RangeIndex(first, first + len(cells))
    return cells.dropna(how="all")


def _is_text_by_name(name: str, as_text: Collection[str]) -> bool:
    return name in as_text or name.lower() in (*GROUP_NAMES, *VARIABLE_NAMES)


def _read_text(path: Path) -> str:
    if path.is_dir():
        raise InputError(f"{path} is a folder: name the file in it.")
    try:
        data = path.read_bytes()
        if data.startswith(b"\x1f\x8b"):
            data = gzip.decompress(data)
        elif data.startswith(b"\xfd7zXZ\x00"):
            data = lzma.decompress(data)
    except FileNotFoundError:
        raise InputError(f"no file at {path}: check the path.") from None
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        raise InputError(f"cannot read {path}: {_one_line(error)}; check that it is whole and readable.") from None
    wide_characters = data.startswith((b"\xff\xfe", b"\xfe\xff"))
    if b"\0" in data[:65536] and not wide_characters:
        raise InputError(f"{path} is a binary file, not a text table: save it as CSV.")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        row = data.count(b"\n", 0, error.start) + 1
        raise InputError(f"{path} is not UTF-8 (row {row}): save it as UTF-8.") from None
    if not text.strip():
        raise InputError(f"{path} is empty: give a header row and at least one row of data.")
    return text


def _skip_blank_rows(text: str) -> tuple[int, str]:
    skipped = 0
    while blank := re.match(r"[ \t]*(?:\r\n|\r|\n)", text):
        skipped, text = skipped + 1, text[blank.end() :]
    return skipped, text


def read_header(text: str, source: str | Path) -> tuple[str, list[str]]:
    """Find the separator that splits the first rows evenly into most cells, and the column names it gives."""

    def split(separator: str) -> list[list[str]]:
        try:
            rows = csv.reader(io.StringIO(text[:1_000_000], newline=""), delimiter=separator, skipinitialspace=True)
            return [row for row in islice(rows, 20) if row]
        except csv.Error as error:
            raise InputError(f"cannot read {source} as a table: {_one_line(error)}; save it as CSV.") from None

    def evenness(separator: str) -> tuple[bool, int]:
        sizes = [len(row) for row in split(separator)]
        return sizes[0] > 1 and len(set(sizes)) == 1, sizes[0]

    separator = max((",", ";", "\t", "|"), key=evenness)
    return separator, _column_names(split(separator)[0], source)


def _column_names(header: Sequence[str], source: str | Path) -> list[str]:
    """Return the names of the columns without needless blanks, those without a name by their number."""
    names = [" ".join(name.split()) or f"column {k}" for k, name in enumerate(header, 1)]
    repeated = next((name for name in names if names.count(name) > 1), None)
    if repeated is not None:
        raise InputError(f"{source} has more than one column called {repeated!r}: give each its own name.")
    return names


def _find_long_columns(
    names: Sequence[str], variable: str | None, value: str | None, taken: dict[str, str]
) -> tuple[str | None, str | None]:
    asked = variable is not None or value is not None
    variable = variable or _named(names, VARIABLE_NAMES, taken)
    value = value or _named(names, VALUE_NAMES, taken)
    if variable and value:
        return variable, value
    if asked:
        option, kind = ("--value-column", "the value") if variable else ("--variable-column", "the channel's name")
        raise InputError(f"long form needs a column for {kind}: name it with {option}; columns are {_listed(names)}.")
    return None, None


def _find_group(cells: Mapping[str, pd.Series], names: Sequence[str]) -> str | None:
    """Take the first column named like a group that holds text or whole numbers."""
    for wanted in GROUP_NAMES:
        name = _named(names, (wanted,), ())
        if name is not None:
            numbers, wrong = numbers_of(cells[name])
            if wrong.any() or bool(np.all(numbers.dropna().to_numpy() % 1 == 0)):
                return name
    return None


def _find_time(cells: Mapping[str, pd.Series], names: Sequence[str], group: str | None) -> str:
    named = [name for wanted in TIME_NAMES for name in names if name.lower() == wanted]
    clock = next((n for n in named if CLOCK.match(str(texts_of(cells[n]).dropna().head(1).squeeze()))), None)
    if clock and len(named) > 1:
        day = next(name for name in named if name != clock)
        raise InputError(
            f"columns {day!r} and {clock!r} split the stamp in two: join them in one column such as "
            "'2024-01-31 14:00', or name one with --time-column."
        )
    if named:
        stamped = [name for name in named if _holds_stamps(cells[name])]
        return next((name for name in stamped if is_text(cells[name].head(1000))), (stamped or named)[0])
    for name in names:
        if _holds_stamps(cells[name]) and is_text(cells[name]):
            return name
    for name in names:
        if NUMERIC_TIME.fullmatch(name.lower()) and _rises(cells, name, group):
            return name
    raise InputError(
        f"no time column found among {_listed(list(cells))}: name it with --time-column "
        "(it holds ISO dates such as '2024-01-31 14:00', or numbers; the first row holds the column names)."
    )


def _holds_stamps(column: pd.Series) -> bool:
    """Tell whether at least half of the first cells are numbers or ISO dates."""
    head = column.dropna().head(100)
    numbers, _ = numbers_of(head)
    return len(head) > 0 and 2 * int((numbers.notna() | dates_of(head).notna()).sum()) >= len(head)


def _rises(cells: Mapping[str, pd.Series], name: str, group: str | None) -> bool:
    numbers, _ = numbers_of(cells[name])
    steps = numbers.diff() if group is None else numbers.groupby(cells[group]).diff()
    return bool(numbers.notna().all() and (steps.dropna() >= 0).all())


def _counts_rows(column: pd.Series) -> bool:
    numbers, _ = numbers_of(column)
    count = numbers.to_numpy()
    return len(count) > 1 and count[0] in (0, 1) and bool(np.all(np.diff(count) == 1))


def _named(names: Sequence[str], wanted: Sequence[str], taken: Collection[str]) -> str | None:
    return next((name for want in wanted for name in names if name.lower() == want and name not in taken), None)


def _ragged(path: str | Path, row: int, width: int) -> InputError:
    return InputError(f"{path} row {row} has more cells than the {width} columns of the header: quote or remove them.")


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:20])
    return shown + (f" and {len(names) - 20} more" if len(names) > 20 else "")


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()).rstrip(".")
