"""Fetch the files of a data set, check them, find them: nothing half or damaged is ever handed to a loader.

A file grows under ``FILE.part`` beside its place and gets its final name only when its SHA-256 is the catalogue's. A
transfer that was cut continues where it stopped (HTTP ``Range``). pooch checks and moves; ``_Transfer`` is the
downloader it is given, since pooch's own starts again from nothing.
"""

import contextlib
import logging
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from integrand.core.errors import InputError
from integrand.datasets.catalogue import ENVIRONMENT_VARIABLE, Dataset, RemoteFile, data_directory, find

PAUSES = (1.0, 2.0, 4.0, 8.0)  # seconds before the first, second, ... new try of a dropped connection
TIMEOUT = (10.0, 60.0)  # seconds to connect, and without a byte before a connection counts as dropped
CHUNK = 1 << 16
GENEROUS = 1 << 20  # after a try that brought this many bytes the tries are counted anew
HASHED_ON_READING = 64 << 20  # locate() hashes files up to this size, once a process: 64 MiB take about 0.1 s
EARLY = "the connection was closed early"
TRY_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})

FileState = Literal["ok", "missing", "damaged"]


@dataclass(frozen=True)
class FileStatus:
    """What lies where one file should be; ``size`` and ``sha256`` are those found, None where it is missing."""

    path: Path
    status: FileState
    size: int | None
    sha256: str | None


@dataclass(frozen=True)
class CheckResult:
    """What ``check`` found of a data set, file by file."""

    name: str
    directory: Path
    files: tuple[FileStatus, ...]

    @property
    def ok(self) -> bool:
        """Whether every file is there, byte for byte; true for a data set without files."""
        return all(file.status == "ok" for file in self.files)


def check(dataset: Dataset | str, *, directory: Path | str | None = None) -> CheckResult:
    """Compare every file of a data set, byte for byte, with the catalogue's size and SHA-256.

    Args:
        dataset: entry of the catalogue, or its name.
        directory: the data directory, where it isn't ``data_directory()``.
    """
    entry, folder = _resolve(dataset, directory)
    return CheckResult(entry.name, folder, tuple(_status(file, folder / file.path) for file in entry.files))


def locate(dataset: Dataset | str, *, directory: Path | str | None = None) -> list[Path]:
    """Return the paths of a data set's files, in the catalogue's order, or say how to get them.

    Every file must have the catalogue's size. Files up to 64 MiB are hashed too, once a process and again only after
    they change; larger ones are hashed by ``check`` and ``download`` alone.

    Raises:
        InputError: a file is missing or is not the published one.
    """
    entry, folder = _resolve(dataset, directory)
    if entry.by_hand and not (folder / entry.folder).is_dir():
        raise InputError(f"data set {entry.name!r} is not in {folder / entry.folder}: {entry.by_hand}.")
    paths = []
    for file in entry.files:
        path = folder / file.path
        cure = (
            f"run 'integrand data download {entry.name}', or set {ENVIRONMENT_VARIABLE} to the folder that holds "
            f"{file.path}"
        )
        if not path.is_file():
            raise InputError(f"data set {entry.name!r} is not in {folder} (no file {file.path}): {cure}.")
        found = path.stat()
        if found.st_size != file.size:
            raise InputError(f"{path} is damaged: {found.st_size:,} bytes where {file.size:,} are right; {cure}.")
        if file.size <= HASHED_ON_READING:
            sha256 = _remembered_sha256(path, found.st_size, found.st_mtime_ns)
            if sha256 != file.sha256:
                raise InputError(f"{path} is damaged: sha256 {sha256} where {file.sha256} is right; {cure}.")
        paths.append(path)
    return paths


def download(dataset: Dataset | str, *, directory: Path | str | None = None, progress: bool = True) -> list[Path]:
    """Fetch what is missing or damaged of a data set and return the paths of its files.

    A bar on a terminal, a line at the start and the end elsewhere. Interrupted, it keeps ``FILE.part`` and the next
    call asks only for the bytes that are missing.

    Args:
        dataset: entry of the catalogue, or its name; one that is embedded has nothing to fetch.
        directory: the data directory, where it isn't ``data_directory()``.
        progress: False says nothing at all.

    Raises:
        InputError: no network, the transfer stopped early, the publisher's file is not the catalogue's, or the
            folder can't be written or is too small. One line, with the cure.
    """
    entry, folder = _resolve(dataset, directory)
    missing = [file for file in entry.files if _status(file, folder / file.path).status != "ok"]
    targets = [folder / file.path for file in entry.files]
    if not missing:
        if progress and entry.files:
            print(f"{entry.name} is already in {folder}", file=sys.stderr)
        return targets

    import pooch  # these two cost 0.2 s, which check() and locate() need not pay
    import requests

    _demand_room(entry, missing, folder)
    fetcher = pooch.create(
        path=folder,
        base_url="",
        registry={file.path: f"sha256:{file.sha256}" for file in missing},
        urls={file.path: file.url for file in missing},
    )
    report = _meter(entry, missing, folder, progress)
    with report as meter, requests.Session() as session, _quiet(pooch.get_logger()):
        for file in missing:
            # Any, for pooch types a downloader by the names of its parameters and not as it calls it.
            transfer: Any = _Transfer(file, folder / file.path, session, meter)
            fetcher.fetch(file.path, downloader=transfer)
    return targets


class _Transfer:
    """pooch's downloader for one file: appends to ``FILE.part`` and hands it over when it is whole and right."""

    def __init__(self, file: RemoteFile, target: Path, session: Any, meter: "_Meter") -> None:
        self.file = file
        self.target = target
        self.part = _part(target)
        self.session = session
        self.meter = meter
        self.answered = False

    def __call__(self, url: str, output_file: str, pooch: Any) -> None:
        """Bring the bytes of ``url`` to ``output_file``, pooch's temporary file beside the target."""
        self._complete(url)
        found = _sha256(self.part)
        if found != self.file.sha256:
            self.part.unlink()
            raise InputError(
                f"{url} is not the file the catalogue knows: sha256 expected {self.file.sha256}, found {found}. What "
                f"came was deleted; run the same command again, and if it repeats, the publisher changed the file: "
                f"place the expected one at {self.target}."
            )
        os.replace(self.part, output_file)
        self.meter.finish(self.file)

    def _complete(self, url: str) -> None:
        """Try, from where ``FILE.part`` ends, until it has all its bytes or the tries are used up."""
        import requests
        from urllib3.exceptions import HTTPError  # what reading a body raises

        failures = 0
        while (before := self._present()) < self.file.size:
            self.meter.at(self.file, before)
            try:
                cause = self._append(url, before)
            except (requests.ConnectionError, requests.Timeout, HTTPError) as error:
                cause = _reason(error)
                if not self.answered:
                    raise self._unreachable(url, cause) from error
            except requests.RequestException as error:
                raise self._refused(url, _reason(error)) from error
            after = self._present()
            if after == self.file.size:
                break
            failures = 1 if after - before >= GENEROUS else failures + 1
            if failures > len(PAUSES):
                raise InputError(
                    f"{self.file.path} stopped at {after:,} of {self.file.size:,} bytes ({cause}): run the same "
                    "command again, it continues."
                )
            time.sleep(PAUSES[failures - 1])

    def _append(self, url: str, start: int) -> str:
        """Ask once for the bytes from ``start`` on and write those that come; return why there are no more."""
        headers = {"Accept-Encoding": "identity"}  # a compressed body has other offsets
        if start:
            headers["Range"] = f"bytes={start}-"
        with self.session.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
            self.answered = True
            status = response.status_code
            if status in TRY_AGAIN:
                return f"the server answered {status} {response.reason}"
            if start and (status == 416 or (status == 206 and not self._continues(response, start))):
                self._start_afresh()
                return "the file at the publisher changed meanwhile"
            if status not in ((200, 206) if start else (200,)):
                raise self._refused(url, f"the server answered {status} {response.reason}")
            if status == 200:  # the whole file, whether or not a part was asked for
                length = response.headers.get("Content-Length", "")
                if length.isdigit() and int(length) != self.file.size:
                    raise self._refused(url, f"{int(length):,} bytes are offered where {self.file.size:,} are right")
                start = 0
            self._write(response, start, url)
        return EARLY

    def _write(self, response: Any, done: int, url: str) -> None:
        try:
            with open(self.part, "ab" if done else "wb") as part:
                for chunk in _chunks(response):
                    part.write(chunk)
                    done += len(chunk)
                    if done > self.file.size:
                        break
                    self.meter.at(self.file, done)
        except OSError as error:
            raise self._unwritable(error) from error
        if done > self.file.size:
            self._start_afresh()
            raise self._refused(url, f"more than the {self.file.size:,} bytes that are right were sent")

    def _present(self) -> int:
        """Number of bytes in ``FILE.part``; one longer than the file can't be its beginning and is emptied."""
        size = _size(self.part)
        if size > self.file.size:
            self._start_afresh()
            return 0
        return size

    def _start_afresh(self) -> None:
        self.part.unlink(missing_ok=True)

    def _continues(self, response: Any, start: int) -> bool:
        """Whether the body is that of the same file from ``start`` on, by its ``Content-Range``."""
        found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", "").strip())
        return bool(found) and int(found[1]) == start and found[2] in ("*", str(self.file.size))

    def _by_hand(self, url: str) -> str:
        return (
            f"fetch {url} on another machine and place it at {self.target} (or as {self.file.path} in the folder that "
            f"{ENVIRONMENT_VARIABLE} names)"
        )

    def _unreachable(self, url: str, cause: str) -> InputError:
        return InputError(
            f"cannot reach {urlsplit(url).netloc} ({cause}): check the network and run the same command again, or "
            f"{self._by_hand(url)}."
        )

    def _refused(self, url: str, cause: str) -> InputError:
        return InputError(f"cannot download {url} ({cause}): try again later, or {self._by_hand(url)}.")

    def _unwritable(self, error: OSError) -> InputError:
        return InputError(
            f"cannot write {self.part} ({error.strerror or error}), {_size(self.part):,} of {self.file.size:,} bytes "
            "are there: make room and run the same command again, it continues."
        )


class _Meter:
    """Says how far a download is: ``at`` within a file, ``finish`` at its end. This one says nothing."""

    def at(self, file: RemoteFile, done: int) -> None:
        """Note that ``done`` bytes of ``file`` are there."""

    def finish(self, file: RemoteFile) -> None:
        """Note that ``file`` is whole and checked."""


class _Bar(_Meter):
    """One rich bar for the whole data set."""

    def __init__(self, bar: Any, total: int, present: int) -> None:
        self.bar = bar
        self.finished = 0
        self.task = bar.add_task("", total=total, completed=present)

    def at(self, file: RemoteFile, done: int) -> None:
        self.bar.update(self.task, description=file.path, completed=self.finished + done)

    def finish(self, file: RemoteFile) -> None:
        self.finished += file.size
        self.bar.update(self.task, completed=self.finished)


@contextlib.contextmanager
def _meter(entry: Dataset, files: list[RemoteFile], folder: Path, progress: bool) -> Iterator[_Meter]:
    if not progress:
        yield _Meter()
        return
    total = sum(file.size for file in files)
    present = sum(min(_size(_part(folder / file.path)), file.size) for file in files)
    if not sys.stderr.isatty():
        kept = f", {_readable(present)} of it already here" if present else ""
        print(f"downloading {entry.name} ({_readable(total)}{kept}) to {folder}", file=sys.stderr, flush=True)
        began = time.monotonic()
        yield _Meter()
        print(f"downloaded {entry.name} in {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn(), TextColumn("left"))
    with Progress(TextColumn("{task.description}"), *columns, console=Console(stderr=True)) as bar:
        yield _Bar(bar, total, present)


@contextlib.contextmanager
def _quiet(logger: logging.Logger) -> Iterator[None]:
    """Hold back pooch's own lines, which would cut through the bar."""
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


def _resolve(dataset: Dataset | str, directory: Path | str | None) -> tuple[Dataset, Path]:
    entry = find(dataset) if isinstance(dataset, str) else dataset
    return entry, data_directory() if directory is None else Path(directory).expanduser().absolute()


def _demand_room(entry: Dataset, files: list[RemoteFile], folder: Path) -> None:
    """Raise before the transfer where the folder can't be written or its disk is too full."""
    cure = f"set {ENVIRONMENT_VARIABLE} to a folder on another disk"
    for parent in sorted({(folder / file.path).parent for file in files}):
        try:
            parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=parent):
                pass
        except OSError as error:
            cause = error.strerror or error
            raise InputError(f"cannot write to {parent} ({cause}): make it writable, or {cure}.") from error
    needed = sum(file.size - min(_size(_part(folder / file.path)), file.size) for file in files)
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise InputError(
            f"data set {entry.name!r} needs {_readable(needed)} in {folder}, where {_readable(free)} are free: make "
            f"room, or {cure}."
        )


def _status(file: RemoteFile, path: Path) -> FileStatus:
    if not path.is_file():
        return FileStatus(path, "missing", None, None)
    size, sha256 = path.stat().st_size, _sha256(path)
    return FileStatus(path, "ok" if (size, sha256) == (file.size, file.sha256) else "damaged", size, sha256)


def _sha256(path: Path) -> str:
    import hashlib

    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@lru_cache(maxsize=4096)
def _remembered_sha256(path: Path, size: int, modified_ns: int) -> str:
    """``_sha256`` of a file that has this size and time of change."""
    return _sha256(path)


def _part(target: Path) -> Path:
    return target.with_name(f"{target.name}.part")


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _readable(size: int) -> str:
    """``size`` in bytes as people read it, in powers of 1000: ``2.6 MB``."""
    value, unit = float(size), "bytes"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 999.95:
            break
        value, unit = value / 1000, larger
    return f"{value:.0f} {unit}" if unit == "bytes" else f"{value:.1f} {unit}"


def _chunks(response: Any) -> Iterator[bytes]:
    """Yield the body as it arrives: a cut loses nothing, where ``iter_content`` would lose what it had of a chunk."""
    read = getattr(response.raw, "read1", response.raw.read)  # urllib3 1 has no read1
    while chunk := read(CHUNK, decode_content=False):
        yield chunk


def _reason(error: Exception) -> str:
    """Return the innermost reason of a network error, without the names of the library's objects."""
    inner = error.args[0] if error.args else error
    inner = getattr(inner, "reason", inner)
    text = str(inner).rpartition("): ")[2].removeprefix("Failed to establish a new connection: ")
    return EARLY if "IncompleteRead" in text else text or type(error).__name__
