"""Tables of rows that stand for themselves, read from and written to text files and parquet.

A row is one sample, in no order of time: a patient, a tumour, a sale.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import pandas as pd

from integrand.core.errors import InputError
from integrand.datasets.parquet_files import PARQUET
from integrand.datasets.table_columns import read_cells
from integrand.datasets.table_schema import TableSchema

SEPARATORS = {".csv": ",", ".tsv": "\t"}


def read_frame(path: str | Path, *, as_text: Collection[str] = ()) -> pd.DataFrame:
    """Read a table: commas, semicolons, tabs or bars between cells, plain or packed, or parquet.

    The index holds the row numbers that a spreadsheet shows, the header being row 1, so that messages name the row.
    Missing cells, such as those that are empty or say NA, are NaN; wholly empty rows are left out.

    Args:
        path: ``.csv``, ``.tsv`` or ``.txt``, UTF-8, also with ``.gz`` or ``.xz``; or ``.parquet``, by that extra.
        as_text: columns kept as written: ``007`` stays ``007``.

    Raises:
        InputError: the file is missing, binary, empty, not UTF-8, ragged, or repeats a column name.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "people.csv"
        >>> _ = path.write_text("age,smokes\\n31,no\\n,yes\\n")
        >>> read_frame(path).to_dict("index")
        {2: {'age': 31.0, 'smokes': 'no'}, 3: {'age': nan, 'smokes': 'yes'}}
    """
    return pd.DataFrame(read_cells(path, as_text))


def write_frame(frame: pd.DataFrame, path: str | Path, schema: TableSchema) -> Path:
    """Write a table as ``.csv``, ``.tsv`` or ``.parquet``; whole numbers without a point, also beside missing cells.

    Args:
        frame: rows as ``schema.restore`` gives them.
        path: the file; its folder must exist.
        schema: of the columns.

    Raises:
        InputError: an ending other than these, no such folder, or parquet without its extra.
    """
    path = Path(path)
    ending = path.suffix.lower()
    if ending not in (*SEPARATORS, PARQUET):
        raise InputError(f"cannot write {path}: end its name in .csv, .tsv or .parquet.")
    if not path.parent.is_dir():
        raise InputError(f"cannot write {path}: there is no folder {path.parent}; make it first.")
    whole = [column.name for column in schema.columns if column.kind == "integer" and column.missing]
    written = frame.astype(dict.fromkeys(whole, "Int64"))
    if ending == PARQUET:
        try:
            written.to_parquet(path, engine="pyarrow", index=False)
        except ImportError:
            raise InputError(
                f"cannot write {path}: parquet needs pyarrow, which is not installed; pip install "
                "'integrand[parquet]', or name the file *.csv."
            ) from None
    else:
        written.to_csv(path, sep=SEPARATORS[ending], index=False)
    return path
