"""Reads ``.ts`` files, the text format of the UCR and UEA archives of labelled series.

A header of ``@`` lines, then ``@data`` and a case a line: its channels divided by ``:``, the values of a channel by
``,``, the class last. ``?`` and ``NaN`` are missing values, lines that begin with ``#`` or ``%`` are comments.

Letters: L length, C channels.

Source: Bagnall et al. (2018), The UEA multivariate time series classification archive, 2018, arXiv:1811.00075.
"""

import gzip
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from integrand.core.errors import InputError, unknown
from integrand.datasets.labelled import LabelledSeries

SWITCHES = ("timestamps", "missing", "univariate", "equallength", "targetlabel")
COUNTS = ("dimensions", "dimension", "serieslength")
TRUTH = {"true": True, "false": False}
MISSING = {"?", "nan"}
BETWEEN_CHANNELS = re.compile(r":(?![^(]*\))")  # a colon, but not one of the clock within a stamp's brackets
PAIR = re.compile(r"\(([^(),]*),([^(),]*)\)")
PAIRS = re.compile(rf"{PAIR.pattern}(?:\s*,\s*{PAIR.pattern})*")
PART_OF_A_PAIR = re.compile(r"(.+)_(TRAIN|TEST)\.ts(\.gz)?", re.IGNORECASE)
STEPS = "step"
"""Time unit of series without stamps, which are counted 0, 1, 2, ...."""


@dataclass
class _Header:
    """What stands before ``@data``: the switches and counts that were given, by lower-case name."""

    name: str
    switches: dict[str, bool] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    classes: list[str] | None = None
    notices: list[str] = field(default_factory=list)

    @property
    def channels(self) -> int | None:
        """Number of channels, where the header tells."""
        told = self.counts.get("dimensions", self.counts.get("dimension"))
        return 1 if told is None and self.switches.get("univariate") else told


class _Case(NamedTuple):
    times: np.ndarray
    values: np.ndarray
    label: int


def read_ts(path: str | Path) -> LabelledSeries:
    """Read the labelled series of a ``.ts`` file, plain or packed (``.ts.gz``).

    Without ``@timeStamps`` the times are 0, 1, 2, ... and a channel that is shorter than the others of its case ends
    in missing values. With it each value is ``(stamp,value)``, stamps being numbers; channels of one case that have
    stamps of their own are put on the union of these, missing where they have none.

    Args:
        path: the file, UTF-8 or Latin-1.

    Returns:
        The series in the order of the file, called ``FILE/1``, ``FILE/2``, ..., their channels ``channel_1``, ...;
        classes in the order of the header. Where the header contradicts the data a notice says so.

    Raises:
        InputError: one line with the file, the line at fault, and the cure.

    Source: https://www.aeon-toolkit.org/en/stable/api_reference/data_format.html

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "Wave.ts"
        >>> _ = path.write_text("@problemName Wave\\n@classLabel true up down\\n@data\\n1,2,3:up\\n3,?:down\\n")
        >>> series = read_ts(path)
        >>> series.labels, series.values[1].tolist(), series.ids
        (array([0, 1]), [[3.0], [nan]], ['Wave/1', 'Wave/2'])
    """
    path = Path(path)
    lines = _lines(path)
    header = _read_header(path, lines)
    cases = _read_cases(path, lines, header)
    stem = _stem(path)
    return LabelledSeries(
        name=header.name or stem,
        channels=[f"channel_{number + 1}" for number in range(cases[0].values.shape[1])],
        classes=header.classes or [],
        times=[case.times for case in cases],
        values=[case.values for case in cases],
        labels=np.array([case.label for case in cases], dtype=np.int64),
        ids=[f"{stem}/{number + 1}" for number in range(len(cases))],
        time_unit="" if header.switches.get("timestamps") else STEPS,
        notices=[f"{path.name}: {notice}" for notice in [*header.notices, *_contradictions(header, cases)]],
    )


def read_ts_pair(path: str | Path) -> LabelledSeries:
    """Read the two files of an official split, ``X_TRAIN.ts`` and ``X_TEST.ts``, as one, with ``parts`` set.

    Args:
        path: either file, what their names begin with (``folder/X``), or the folder that holds both; of a folder with
            several pairs the one that is called like the folder.

    Returns:
        The training series, then the test series; classes in the order of the training file.

    Raises:
        InputError: one of the two is missing, they have other channels, classes or kinds of time, or a test series is
            of a class that no training series has.
    """
    train_path, test_path = _pair(Path(path))
    train, test = read_ts(train_path), read_ts(test_path)
    where = f"{train_path.name} and {test_path.name}"
    if len(train.channels) != len(test.channels):
        raise InputError(
            f"{where} have {len(train.channels)} and {len(test.channels)} channels: give two files of the same data."
        )
    if set(train.classes) != set(test.classes):
        only = sorted(set(train.classes) ^ set(test.classes))
        raise InputError(f"{where} differ in the classes {', '.join(only)}: give both the same @classLabel line.")
    if train.time_unit != test.time_unit:
        raise InputError(f"{where} differ in @timeStamps: give two files of the same data.")
    numbers = np.array([train.classes.index(name) for name in test.classes], dtype=np.int64)
    test_labels = numbers[test.labels]
    notices = []
    for number, name in enumerate(train.classes):
        if number in train.labels:
            continue
        if number in test_labels:
            raise InputError(
                f"{test_path.name} has series of class {name!r}, of which {train_path.name} has none: add training "
                "series of it, or remove them from the test file."
            )
        notices.append(f"{train_path.name}: class {name!r} is in the header and has no series")
    return replace(
        train,
        times=train.times + test.times,
        values=train.values + test.values,
        labels=np.concatenate([train.labels, test_labels]),
        ids=train.ids + test.ids,
        parts=["train"] * len(train) + ["test"] * len(test),
        notices=[*train.notices, *test.notices, *notices],
    )


def _pair(path: Path) -> tuple[Path, Path]:
    """Return the paths of the training file and of the test file."""
    if path.is_dir():
        found = (PART_OF_A_PAIR.fullmatch(file.name) for file in sorted(path.iterdir()))
        stems = sorted({match[1] for match in found if match})
        if path.name in stems:
            stems = [path.name]
        if len(stems) != 1:
            held = f"holds the pairs {', '.join(stems)}" if stems else "holds no file *_TRAIN.ts or *_TEST.ts"
            raise InputError(f"folder {path} {held}: name the file *_TRAIN.ts that is meant.")
        path = path / stems[0]
    elif match := PART_OF_A_PAIR.fullmatch(path.name):
        path = path.with_name(match[1])
    elif path.is_file():
        raise InputError(f"{path} is not one file of a pair: name the pair *_TRAIN.ts and *_TEST.ts.")
    both = []
    for part in ("TRAIN", "TEST"):
        names = [f"{path.name}_{part}{ending}" for ending in (".ts", ".ts.gz")]
        present = [path.with_name(name) for name in names if path.with_name(name).is_file()]
        if not present:
            raise InputError(
                f"no file {path.with_name(names[0])}: an official split needs {path.name}_TRAIN.ts and "
                f"{path.name}_TEST.ts in one folder."
            )
        both.append(present[0])
    return both[0], both[1]


def _stem(path: Path) -> str:
    return re.sub(r"\.ts(\.gz)?$", "", path.name, flags=re.IGNORECASE)


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Return the lines that are neither empty nor comments, with their numbers from 1."""
    if path.is_dir():
        raise InputError(f"{path} is a folder: name a .ts file in it.")
    if not path.is_file():
        raise InputError(f"no file {path}: check the name and the folder.")
    content = path.read_bytes()
    if path.suffix.lower() == ".gz":
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise InputError(f"{path} cannot be unpacked ({error}): it is damaged or not in gzip format.") from error
    if not content.strip():
        raise InputError(f"{path} is empty: give a .ts file with a header, @data and a case a line.")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    # A plain loop over "\n": splitlines() would also cut at characters that Latin-1 text may hold.
    numbered = ((number, line.strip()) for number, line in enumerate(text.split("\n"), start=1))
    return ((number, line) for number, line in numbered if line and line[0] not in "#%")


def _read_header(path: Path, lines: Iterator[tuple[int, str]]) -> _Header:
    """Read up to and with ``@data``, and demand that the file is of labelled series."""
    header = _Header(name="")
    for number, line in lines:
        where = f"{path}, line {number}"
        if not line.startswith("@"):
            raise InputError(f"{where} stands before @data and begins neither with @ nor with #: put @data above it.")
        key, *words = line[1:].split() or [""]
        key = key.lower()
        if key == "data":
            if words:
                raise InputError(f"{where} has more than @data: begin the cases on the next line.")
            break
        if key == "problemname":
            header.name = " ".join(words)
        elif key in SWITCHES:
            header.switches[key] = _switch(where, line, words)
        elif key in COUNTS:
            header.counts[key] = _count(where, line, words)
        elif key == "classlabel":
            header.classes = words[1:] if _switch(where, line, words[:1]) else None
            if header.classes is not None:
                _check_classes(where, header.classes)
        else:
            header.notices.append(f"line {number}, @{key}, has no meaning here")
    else:
        raise InputError(f"{path} has no line @data: put it between the header and the cases.")
    if header.switches.get("targetlabel"):
        raise InputError(f"{path} has targets for regression (@targetLabel true): classification needs @classLabel.")
    if header.classes is None:
        raise InputError(
            f"{path} has no class labels: classification needs '@classLabel true' and the names of the classes."
        )
    return header


def _switch(where: str, line: str, words: list[str]) -> bool:
    if len(words) != 1 or words[0].lower() not in TRUTH:
        raise InputError(f"{where} is {line!r}: write true or false after the name.")
    return TRUTH[words[0].lower()]


def _count(where: str, line: str, words: list[str]) -> int:
    if len(words) != 1 or not words[0].isdecimal() or int(words[0]) < 1:
        raise InputError(f"{where} is {line!r}: write a whole number above 0 after the name.")
    return int(words[0])


def _check_classes(where: str, classes: list[str]) -> None:
    if len(set(classes)) < len(classes) or len(classes) < 2:
        raise InputError(f"{where} names the classes {' '.join(classes) or 'none'}: name at least two, each once.")


def _read_cases(path: Path, lines: Iterator[tuple[int, str]], header: _Header) -> list[_Case]:
    classes = header.classes or []
    numbers = {name: number for number, name in enumerate(classes)}
    stamped, channels = header.switches.get("timestamps", False), header.channels
    cases = []
    for number, line in lines:
        where = f"{path}, line {number}"
        *texts, label = BETWEEN_CHANNELS.split(line) if stamped else line.split(":")
        label = label.strip()
        expected = channels or max(1, len(texts))
        if len(texts) != expected:
            raise InputError(
                f"{where} has {len(texts)} channels and a class, where {expected} channels and a class are right: "
                "divide them by ':', the class last."
            )
        channels = expected
        if label not in numbers:
            raise InputError(
                f"{where}: {unknown('class', label, classes)} Correct it, or add it to the line @classLabel."
            )
        times, values = (_stamped if stamped else _unstamped)(where, texts)
        if not len(times):
            raise InputError(f"{where} holds no value: remove the case, or write '?' for each missing value.")
        cases.append(_Case(times, values, numbers[label]))
    if not cases:
        raise InputError(f"{path} holds no case after @data: put one a line there.")
    return cases


def _unstamped(where: str, texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Times 0, 1, 2, ... and values (L, C) of a case whose channels are lists of values."""
    columns = [_numbers(where, text.split(",")) if text.strip() else np.empty(0) for text in texts]
    values = np.full((max(map(len, columns)), len(columns)), np.nan, dtype=np.float32)
    for channel, column in enumerate(columns):
        values[: len(column), channel] = _single(where, column)
    return np.arange(float(len(values))), values


def _stamped(where: str, texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Union of the stamps and values (L, C) of a case whose channels are lists of (stamp,value)."""
    stamps, columns = [], []
    for text in texts:
        if text.strip() and not PAIRS.fullmatch(text.strip()):
            raise InputError(f"{where} has {_short(text)!r}: write each value as (stamp,value), divided by ','.")
        pairs = PAIR.findall(text)
        stamp = _numbers(where, [pair[0] for pair in pairs], stamps=True)
        if not (np.isfinite(stamp).all() and (np.diff(stamp) > 0).all()):
            raise InputError(f"{where} has stamps in a channel that do not increase: sort them, and give each once.")
        stamps.append(stamp)
        columns.append(_single(where, _numbers(where, [pair[1] for pair in pairs])))
    times = np.unique(np.concatenate(stamps))
    values = np.full((len(times), len(columns)), np.nan, dtype=np.float32)
    for channel, (stamp, column) in enumerate(zip(stamps, columns, strict=True)):
        values[np.searchsorted(times, stamp), channel] = column
    return times, values


def _numbers(where: str, words: list[str], *, stamps: bool = False) -> np.ndarray:
    """Return words as float64; NaN for missing ones, which stamps must not be."""
    try:
        return np.array(words, dtype=np.float64)
    except ValueError:
        pass
    # A '?' or a mistake: only now each word is looked at by itself.
    numbers = []
    for word in words:
        text = word.strip().lower()
        try:
            numbers.append(np.nan if text in MISSING and not stamps else float(text))
        except ValueError:
            cure = "stamps must be numbers, not dates" if stamps else "write '?' for a missing value"
            raise InputError(f"{where} has {_short(word.strip())!r}, which is no number: {cure}.") from None
    return np.array(numbers)


def _single(where: str, values: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        single = values.astype(np.float32)
    if np.isinf(single).any():
        worst = values[np.isinf(single)][0]
        raise InputError(f"{where} has {worst:g}, infinite or beyond single precision: correct it, or write '?'.")
    return single


def _short(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:37]}..."


def _contradictions(header: _Header, cases: list[_Case]) -> list[str]:
    """Tell where the header says one thing and the data another; what the data say is taken."""
    lengths = {len(case.times) for case in cases}
    told = header.counts.get("serieslength")
    notices = []
    if header.switches.get("equallength") and len(lengths) > 1:
        notices.append(f"@equalLength is true and lengths go from {min(lengths)} to {max(lengths)}")
    elif told is not None and lengths != {told}:
        notices.append(f"@seriesLength is {told} and lengths go from {min(lengths)} to {max(lengths)}")
    return notices
