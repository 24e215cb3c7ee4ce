"""Make ``co2.csv.xz``, ``el_nino.csv.xz`` and ``sunspots.csv.xz`` from the Python package statsmodels 0.15.0.

Run from the root of the repository, without network or with it:

    python datasets/real/make_small_series.py path/to/site-packages   # the folder that holds statsmodels/
    python datasets/real/make_small_series.py                         # fetches the package from PyPI with pip

The same sources give the same bytes of CSV on every machine; the bytes of the compressed files may differ between
versions of liblzma, so the checksums in ``small_series.PROVENANCE.md`` are those of the CSV inside.
"""

import argparse
import csv
import hashlib
import io
import lzma
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

SOURCE_PACKAGE = "statsmodels==0.15.0"
TARGET = Path(__file__).parent

REGIONS = {"nino12": 2, "nino3": 4, "nino4": 6, "nino34": 8}  # region: column of its temperature in the source


@dataclass(frozen=True)
class Source:
    """A file of the package and how it becomes ours.

    Attributes:
        member: its path in the wheel.
        sha256: checksum of its bytes.
        compact: turns its text into our rows, the header first.
    """

    member: str
    sha256: str
    compact: Callable[[str], list[list[str]]]


def _co2(text: str) -> list[list[str]]:
    """Write dates as ISO 8601, and leave out the weeks without a value."""
    rows = [(row["date"], row["co2"]) for row in csv.DictReader(io.StringIO(text))]
    return [["time", "co2"], *([f"{day[:4]}-{day[4:6]}-{day[6:]}", value] for day, value in rows if value)]


def _el_nino(text: str) -> list[list[str]]:
    """Keep the temperatures of the four regions, and leave out the anomalies, which later means changed."""
    rows = [line.split() for line in text.splitlines()[1:]]
    kept = [[f"{row[0]}-{int(row[1]):02d}", *(row[column] for column in REGIONS.values())] for row in rows]
    return [["time", *REGIONS], *kept]


def _sunspots(text: str) -> list[list[str]]:
    rows = [[row["YEAR"], row["SUNACTIVITY"]] for row in csv.DictReader(io.StringIO(text))]
    return [["year", "sunspots"], *rows]


SOURCES = {
    "co2": Source(
        "statsmodels/datasets/co2/co2.csv",
        "16695fa2786e53414e5a6b54767a3fdf5de99cfbc68617f69d1362d92776a92f",
        _co2,
    ),
    "el_nino": Source(
        "statsmodels/datasets/elnino/src/elnino.dat",
        "334b52745a1434c677fadeed0991dc8144b7ee2058cd9af335a0ee8b8696a11e",
        _el_nino,
    ),
    "sunspots": Source(
        "statsmodels/datasets/sunspots/sunspots.csv",
        "f67889b1d9002cd5227f0e0ef54e35b419cdd85a31279adef6f73fb41e5c0a9b",
        _sunspots,
    ),
}


def compact_csv(name: str, source: bytes) -> bytes:
    """Return our CSV of the series ``name``.

    Raises:
        ValueError: ``source`` isn't the expected file.
    """
    known = SOURCES[name]
    found = hashlib.sha256(source).hexdigest()
    if found != known.sha256:
        raise ValueError(f"the source must be {known.member} of {SOURCE_PACKAGE}, sha256 {known.sha256}; got {found}")
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(known.compact(source.decode("ascii")))
    return text.getvalue().encode("ascii")


def fetch(folder: Path) -> Path:
    """Download the package's wheel with pip into ``folder``, unpack what is needed and return the folder."""
    options = ["--no-deps", "--only-binary", ":all:", "--dest", str(folder)]
    subprocess.run([sys.executable, "-m", "pip", "download", *options, SOURCE_PACKAGE], check=True)
    (wheel,) = folder.glob("statsmodels-*.whl")
    with zipfile.ZipFile(wheel) as members:
        for source in SOURCES.values():
            members.extract(source.member, folder)
    return folder


def main() -> None:
    """Read the sources, check them, write the compact files."""
    parser = argparse.ArgumentParser(description="Make the three small series from the data of statsmodels.")
    parser.add_argument("packages", nargs="?", type=Path, help="folder that holds statsmodels/; fetched where left out")
    parser.add_argument("--target", type=Path, default=TARGET, help="folder to write to (default: %(default)s)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        packages = arguments.packages or fetch(Path(folder))
        for name, source in SOURCES.items():
            content = compact_csv(name, (packages / source.member).read_bytes())
            target = arguments.target / f"{name}.csv.xz"
            target.write_bytes(lzma.compress(content, preset=9 | lzma.PRESET_EXTREME))
            print(f"{target}: {target.stat().st_size} bytes; sha256 {hashlib.sha256(target.read_bytes()).hexdigest()}")
            print(f"CSV: {len(content)} bytes; sha256 {hashlib.sha256(content).hexdigest()}")


if __name__ == "__main__":
    main()
