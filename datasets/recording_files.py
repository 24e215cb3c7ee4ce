"""Recordings from files of any kind that is known: WFDB, EDF, or a CSV with a column of times.

Dimension letters: L samples, C leads.
"""

import re
from pathlib import Path
from typing import Any

import numpy as np

from integrand.core.errors import InputError, first_line, listed
from integrand.datasets.edf_files import SUFFIXES, read_edf
from integrand.datasets.recording import Recording, in_millivolts
from integrand.datasets.wfdb_files import HEADER, read_wfdb, wfdb_records

TIMES = ("time", "t", "seconds", "second", "s", "timestamp", "datetime")
"""Names of a column of times, in lower case, where none is named."""
UNIT = re.compile(r"^(.*?)\s*[(\[]\s*([^)\]]+?)\s*[)\]]\s*$")
UNEVEN = 0.5
"""Of an interval, by which a time may be off a steady rate: times with few decimals are rounded."""


def read_recording(path: Path, *, annotator: str | None = None, time_column: str | None = None) -> Recording:
    """Read a recording.

    Args:
        path: the header ``NAME.hea`` of a WFDB record or ``NAME`` alone, a file of EDF or BDF, or a CSV.
        annotator: suffix of the annotations of a WFDB record; None for none.
        time_column: of a CSV; found by its name where None.

    Raises:
        InputError: there is no such file, or it cannot be read; the message says why.
    """
    suffix = path.suffix.lower()
    if suffix in SUFFIXES:
        return read_edf(path)
    if suffix == ".csv" or path.name.lower().endswith((".csv.gz", ".csv.xz")):
        return read_csv(path, time_column=time_column)
    if suffix == HEADER or Path(f"{path}{HEADER}").is_file() or path.with_suffix(HEADER).is_file():
        return read_wfdb(path if suffix == HEADER else Path(f"{path.with_suffix('')}{HEADER}"), annotator=annotator)
    raise InputError(
        f"{str(path)!r} is no recording that can be read: give the header NAME{HEADER} of a WFDB record, a file of "
        f"{listed(SUFFIXES)}, or a CSV with a column of times."
    )


def read_folder(folder: Path, *, annotator: str | None = None) -> list[Recording]:
    """Read the records of a folder and of those in it: its files of EDF where it has any, else its records of WFDB.

    Args:
        folder: the folder.
        annotator: suffix of the annotations of WFDB records; None for none.

    Raises:
        InputError: there is no record in it, or one cannot be read.
    """
    edf = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    return [read_edf(path) for path in edf] or [read_wfdb(path, annotator=annotator) for path in wfdb_records(folder)]


def read_csv(path: Path, *, time_column: str | None = None) -> Recording:
    """Read a recording from a CSV: a column of times, and one for each lead.

    Times are seconds, or stamps such as ``2024-05-01 10:00:00.004``. A lead's unit stands behind its name, as in
    ``II (uV)``; where none does, millivolts are taken and a notice says so. Empty cells are missing.

    Args:
        path: the file.
        time_column: its name; the one of ``TIMES`` that is there where None.

    Raises:
        InputError: no column of times or of a lead, cells that are no numbers, or times that are not at a steady rate.
    """
    import pandas as pd

    if not path.is_file():
        raise InputError(f"there is no file {str(path)!r}: check the path.")
    try:
        table: Any = pd.read_csv(path)
    except (ValueError, UnicodeDecodeError, OSError) as error:
        raise InputError(f"{path.name} cannot be read as a CSV: {first_line(error)}.") from error
    table.columns = [str(name).strip() for name in table.columns]
    name = time_column or next((each for each in table.columns if each.lower() in TIMES), None)
    if name not in table.columns:
        asked = f"no column {time_column!r}" if time_column else "no column of times"
        raise InputError(f"{path.name} has {asked}, it has {listed(table.columns)}: name it with --time-column.")
    leads = [each for each in table.columns if each != name]
    if not leads or len(table) < 2:
        raise InputError(f"{path.name} needs a lead beside its column of times, and two rows or more.")
    rate = _rate(table[name], path.name)
    columns = []
    for lead in leads:
        numbers: Any = pd.to_numeric(table[lead], errors="coerce")
        wrong = numbers.isna() & table[lead].notna()
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            raise InputError(f"{path.name}: {table[lead].iloc[row]!r} in row {row + 2} of {lead!r} is no number.")
        columns.append(numbers.to_numpy(dtype=np.float64))
    parts = [UNIT.match(lead) for lead in leads]
    names = [lead if part is None else part[1] for lead, part in zip(leads, parts, strict=True)]
    units = ["mV" if part is None else part[2] for part in parts]
    signal, told = in_millivolts(np.stack(columns, axis=1), units)
    bare = [lead for lead, part in zip(leads, parts, strict=True) if part is None]
    return Recording(
        id=path.name.split(".")[0],
        patient=path.name.split(".")[0],
        signal=signal,
        rate=rate,
        leads=names,
        units=told,
        notices=[f"{path.name}: {listed(bare)} without a unit counts as mV"] if bare else [],
    )


def _rate(cells: Any, name: str) -> float:
    """Return the steady rate of a column of times, Hz."""
    import pandas as pd

    numbers: Any = pd.to_numeric(cells, errors="coerce")
    if numbers.isna().any():
        stamps: Any = pd.to_datetime(cells, errors="coerce", format="mixed")
        if stamps.isna().any():
            row = int(np.flatnonzero(stamps.isna())[0])
            raise InputError(f"{name}: the time {cells.iloc[row]!r} in row {row + 2} is neither a number nor a stamp.")
        numbers = (stamps - stamps.iloc[0]).dt.total_seconds()
    times = numbers.to_numpy(dtype=np.float64)
    if not times[-1] > times[0]:
        raise InputError(f"{name}: times must increase, and the last is not after the first: sort the rows.")
    rate = (len(times) - 1) / (times[-1] - times[0])
    # Times with few decimals tell the rate of a whole recording to a thousandth, and rates are whole numbers mostly.
    if abs(rate - round(rate)) < 1e-3 * rate and round(rate) > 0:
        rate = float(round(rate))
    off = np.abs(times - times[0] - np.arange(len(times)) / rate) * rate
    if off.max() > UNEVEN:
        row = int(np.argmax(off > UNEVEN))
        raise InputError(
            f"{name}: times are not at a steady rate, that of row {row + 2} is off by {off[row]:.2f} of an interval: "
            "fill in the rows that are missing, with empty cells."
        )
    return float(rate)
