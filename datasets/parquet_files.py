"""Parquet files as columns of cells, like those of a text table; the extra ``parquet`` installs what reads them."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from integrand.core.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

PARQUET = ".parquet"


def read_parquet(path: Path) -> pd.DataFrame:
    """Read a parquet file into a frame; what it stores as its index, such as the stamps, is a column again.

    Raises:
        InputError: pyarrow is missing, or the file is missing or damaged.
    """
    import pandas as pd

    if path.is_dir():
        raise InputError(f"{path} is a folder: name the file in it.")
    if not path.is_file():
        raise InputError(f"no file at {path}: check the path.")
    try:
        frame = pd.read_parquet(path, engine="pyarrow")
    except ImportError:
        raise InputError(
            f"cannot read {path}: parquet needs pyarrow, which is not installed; pip install 'integrand[parquet]', or "
            "save the table as CSV."
        ) from None
    except (OSError, ValueError) as error:  # pyarrow's own errors are both
        reason = " ".join(str(error).split()).rstrip(".")
        raise InputError(f"cannot read {path}: {reason}; check that it is whole.") from None
    return frame if isinstance(frame.index, pd.RangeIndex) else frame.reset_index()


def as_written(column: pd.Series, missing: Collection[str]) -> pd.Series:
    """Return a column as a text table would have it: numbers as they are, all else as text, NaN where missing.

    Args:
        column: of any type that parquet stores; dates and times become ISO 8601.
        missing: words that stand for a missing cell.
    """
    import pandas as pd

    if pd.api.types.is_numeric_dtype(column):
        return column
    text = column.astype(str).str.strip()
    return text.astype(object).where(column.notna() & ~text.isin(list(missing)))
