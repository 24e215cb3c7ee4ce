"""Recordings in the files of PhysioNet: a header, signals and annotations, read and written by the package wfdb.

Source: Moody, Pollard and Moody (2022), WFDB Software Package; the format is described at
https://physionet.org/physiotools/wag/header-5.htm.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from integrand.core.errors import InputError, first_line, listed
from integrand.datasets.recording import Events, Recording, in_millivolts

AGE = re.compile(r"(?:^|\bage\W{0,3})(\d{1,3})(?=\s|$|,)", re.IGNORECASE)
SEX = re.compile(r"(?:\b(?:sex|gender)\W{0,3}|^-?\d{1,3}\s+)(f(?:emale)?|m(?:ale)?)\b", re.IGNORECASE)
HEADER = ".hea"


def wfdb_records(folder: Path) -> list[Path]:
    """Return the headers of a folder and of those in it, in alphabetical order.

    Raises:
        InputError: there is no such folder, or no header in it.
    """
    if not folder.is_dir():
        raise InputError(f"there is no folder {str(folder)!r}: check the path.")
    found = sorted(folder.rglob(f"*{HEADER}"))
    if not found:
        raise InputError(f"no record in {str(folder)!r}: WFDB has a file NAME{HEADER} for each.")
    return found


def read_wfdb(path: Path, *, annotator: str | None = None, patient: str | None = None) -> Recording:
    """Read a record, with its annotations where they are asked for.

    Voltages are told in millivolts. The signal is held against the checksums of the header, so that a damaged file or
    one of another record is found. Age and sex are taken from the comments of the header, and nothing else of them.

    Args:
        path: the header ``NAME.hea``, or ``NAME`` alone.
        annotator: suffix of the file of annotations, such as ``atr``; None for none.
        patient: whose it is; the record's own name where None.

    Raises:
        InputError: a file is missing, cut short, damaged, or not of this record; wfdb is not installed.
    """
    wfdb: Any = _package()
    place = path.with_suffix("") if path.suffix == HEADER else path
    name = place.name
    if not Path(f"{place}{HEADER}").is_file():
        raise InputError(f"there is no header {str(place) + HEADER!r}: a record of WFDB has one beside its signals.")
    try:
        record = wfdb.rdrecord(str(place), physical=False)
    except FileNotFoundError as error:
        missing = Path(str(error.filename or "")).name
        raise InputError(f"record {name}: its header names {missing!r}, which is not there: fetch it again.") from error
    except Exception as error:  # what wfdb raises of a damaged file is of any kind
        raise InputError(
            f"record {name} cannot be read, a file is cut short or damaged: {first_line(error)}."
        ) from error
    if record.d_signal is None or not record.sig_len:
        raise InputError(f"record {name} is empty: its header has no signals.")
    _check_sums(record, name)
    signal, units = in_millivolts(np.asarray(record.dac(), dtype=np.float64), record.units)
    said = "\n".join(record.comments or [])
    age, sex = AGE.search(said), SEX.search(said)
    return Recording(
        id=name,
        patient=patient or name,
        signal=signal,
        rate=float(record.fs),
        leads=_distinct(record.sig_name),
        units=units,
        events=read_events(place, annotator) if annotator else Events.of([], []),
        age=float(age[1]) if age else None,
        sex=sex[1][0].upper() if sex else None,
    )


def read_events(place: Path, annotator: str) -> Events:
    """Read the annotations of a record.

    Args:
        place: the record, without a suffix.
        annotator: suffix of the file.

    Raises:
        InputError: the file is missing or damaged.
    """
    wfdb: Any = _package()
    file = Path(f"{place}.{annotator}")
    if not file.is_file():
        raise InputError(f"record {place.name} has no annotations {file.name!r}: name another annotator.")
    try:
        found = wfdb.rdann(str(place), annotator)
    except Exception as error:
        raise InputError(f"{file.name} cannot be read, it is cut short or damaged: {first_line(error)}.") from error
    return Events.of(found.sample, found.symbol, [note.rstrip("\x00") for note in found.aux_note])


def write_events(place: Path, annotator: str, events: Events, *, rate: float) -> Path:
    """Write annotations as WFDB reads them and return their file.

    Args:
        place: the record, without a suffix; its folder must exist.
        annotator: suffix of the file, of letters.
        events: at least one, in the codes of WFDB.
        rate: Hz, of the record.

    Raises:
        InputError: there is no event, or the suffix is not of letters.
    """
    wfdb: Any = _package()
    if not annotator.isalpha():
        raise InputError(f"annotator={annotator!r} must be of letters alone: take 'pred'.")
    if not len(events):
        raise InputError(f"record {place.name} has no events to write: WFDB has no file of none.")
    notes = [str(note) for note in events.notes]
    wfdb.wrann(
        place.name,
        annotator,
        events.samples,
        symbol=[str(symbol) for symbol in events.symbols],
        aux_note=notes if any(notes) else None,
        fs=rate,
        write_dir=str(place.parent),
    )
    return Path(f"{place}.{annotator}")


def _check_sums(record: Any, name: str) -> None:
    told = record.checksum
    if not told or any(each is None for each in told):
        return
    # A checksum is the sum of the samples in 16 bits; headers have it with a sign or without.
    wrong = [
        lead
        for lead, each, found in zip(record.sig_name, told, record.calc_checksum(), strict=True)
        if (each - found) % 2**16
    ]
    if wrong:
        raise InputError(
            f"record {name}: lead {listed(wrong)} has not the checksum of its header: the signal is damaged or of "
            "another record; fetch it again."
        )


def _distinct(names: Sequence[str]) -> list[str]:
    """Return names of leads, a number after those that occur again."""
    met: dict[str, int] = {}
    told = []
    for name in names:
        met[name] = met.get(name, 0) + 1
        told.append(name if met[name] == 1 else f"{name} {met[name]}")
    return told


def _package() -> Any:
    try:
        import wfdb
    except ImportError as error:
        raise InputError("recordings of WFDB need the package wfdb: pip install 'integrand[medical]'.") from error
    return wfdb
