"""PhysioNet/CinC Challenge 2012, set A: 4,000 stays in intensive care, 48 hours each, and who died in hospital.

For research only. Nothing made of these data may guide the care of a patient.

Source: Silva, Moody, Scott, Celi and Mark (2012), Predicting in-hospital mortality of ICU patients: the
PhysioNet/Computing in Cardiology Challenge 2012; https://physionet.org/content/challenge-2012/1.0.0/, ODC-By 1.0.
"""

import csv
import io
import tarfile
from collections import defaultdict
from pathlib import Path

import numpy as np

from integrand.core.errors import InputError
from integrand.datasets.catalogue import RESEARCH_ONLY
from integrand.datasets.download import locate
from integrand.datasets.labelled import LabelledSeries
from integrand.datasets.physiological_ranges import RANGES, Range, require_policy, told
from integrand.datasets.tables import Series, Table

CHANNELS = [
    "ALP",
    "ALT",
    "AST",
    "Albumin",
    "BUN",
    "Bilirubin",
    "Cholesterol",
    "Creatinine",
    "DiasABP",
    "FiO2",
    "GCS",
    "Glucose",
    "HCO3",
    "HCT",
    "HR",
    "K",
    "Lactate",
    "MAP",
    "MechVent",
    "Mg",
    "NIDiasABP",
    "NIMAP",
    "NISysABP",
    "Na",
    "PaCO2",
    "PaO2",
    "Platelets",
    "RespRate",
    "SaO2",
    "SysABP",
    "Temp",
    "TroponinI",
    "TroponinT",
    "Urine",
    "WBC",
    "Weight",
    "pH",
]
"""Variables measured in time, by the publisher's names."""
UNITS_OF_CARE = ("coronary care", "cardiac surgery recovery", "medical", "surgical")
"""``ICUType`` 1 to 4."""
AT_ADMISSION = ("Age", "Gender", "Height", "ICUType")
STATIC = (*AT_ADMISSION[:3], *UNITS_OF_CARE)
"""What is known at admission: years, 1 for men, centimetres, and the unit of care as 0 or 1."""
CLASSES = ("survived", "died")
UNITS: dict[str, str] = {}  # the publisher names them in a text of its own, not in the files


def load(outside: str = "missing") -> LabelledSeries:
    """Return the stays in the order of their numbers: 37 channels, 7 static features, times in hours since admission.

    Stamps are those of the record, to the minute; of two values of a variable at one stamp the mean is taken. -1 stands
    for a missing value, as does whatever is negative. A stay without any measurement has one element at admission with
    nothing observed. The class is death in hospital.

    Args:
        outside: what becomes of values beyond ``physiological_ranges.RANGES``, one of its policies; a notice says how
            many there were.

    Raises:
        InputError: the files are missing or damaged; the message tells how to get them.
    """
    require_policy(outside)
    archive, outcomes = locate("physionet2012")
    died = _outcomes(outcomes)
    stays = _records(archive)
    if stays.keys() != died.keys():
        raise InputError(f"{archive} and {outcomes} tell of different stays: run integrand data check physionet2012.")
    refused: dict[str, int] = defaultdict(int)
    names = sorted(stays)
    read = [_stay(stays[name], refused, outside) for name in names]
    return LabelledSeries(
        name="physionet2012",
        channels=list(CHANNELS),
        classes=list(CLASSES),
        times=[times for times, _, _ in read],
        values=[values for _, values, _ in read],
        labels=np.array([died[name] for name in names], dtype=np.int64),
        ids=names,
        static=np.stack([static for _, _, static in read]),
        static_names=list(STATIC),
        time_unit="h",
        notices=[RESEARCH_ONLY, *told(refused, outside)],
    )


def table() -> Table:
    """Return the stays as a table, one series each: the channels of ``load``, without static features and classes."""
    series = load()
    return _as_table(series.ids, series.times, series.values, series.channels, series.notices)


def table_as_published() -> Table:
    """Return the stays as those who predict their values have them: every number as it stands in the record.

    Impossible values are kept, also the -1 that stands for a missing one, and what is known at admission stands as four
    further channels (``ICUType`` a number from 1 to 4) that are observed once, at admission. With each of the 41
    channels counted from its least value over all stays, in units of its greatest, this follows Rubanova et al. (2019),
    section 5.4, as their program has it (https://github.com/YuliaRubanova/latent_ode); of their 8,000 stays, of sets A
    and B, these are the 4,000 of set A.

    Raises:
        InputError: the files are missing or damaged; the message tells how to get them.
    """
    archive, _ = locate("physionet2012")
    channels = [*AT_ADMISSION, *CHANNELS]
    texts = _records(archive)
    anything = dict.fromkeys(channels, Range(-np.inf, np.inf, ""))
    read = [_cells(texts[name], channels, anything) for name in sorted(texts)]
    return _as_table(sorted(texts), [times for times, _ in read], [values for _, values in read], channels, [])


def _as_table(
    ids: list[str], times: list[np.ndarray], values: list[np.ndarray], channels: list[str], notices: list[str]
) -> Table:
    return Table(
        [Series(name, t, values=v) for name, t, v in zip(ids, times, values, strict=True)],
        channels,
        time_unit="h",
        epoch=None,
        timezone=None,
        time_column="hour",
        layout="long",
        group_column="RecordID",
        variable_column="Parameter",
        notices=[RESEARCH_ONLY, *[notice for notice in notices if notice != RESEARCH_ONLY]],
    )


def _records(archive: Path) -> dict[str, str]:
    """Return the text of each stay by its number."""
    stays = {}
    with tarfile.open(archive) as files:
        for member in files:
            if member.isfile() and member.name.endswith(".txt"):
                content = files.extractfile(member)
                assert content is not None
                stays[Path(member.name).stem] = content.read().decode("ascii")
    return stays


def _outcomes(path: Path) -> dict[str, int]:
    with path.open(encoding="ascii", newline="") as lines:
        return {row["RecordID"]: int(row["In-hospital_death"]) for row in csv.DictReader(lines)}


def _stay(text: str, refused: dict[str, int], outside: str = "missing") -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return times (L,), values (L, C) and static features (S,) of a record; count what is beyond its range."""
    times, values = _cells(text, [*AT_ADMISSION, *CHANNELS], RANGES, refused, outside)
    known, measured = values[:, : len(AT_ADMISSION)], values[:, len(AT_ADMISSION) :]
    first = dict(zip(AT_ADMISSION, known[0], strict=True)) if times[0] == 0 else dict.fromkeys(AT_ADMISSION, np.nan)
    unit = first.pop("ICUType")
    units = [np.nan if np.isnan(unit) else float(unit == 1 + number) for number in range(len(UNITS_OF_CARE))]
    rows = np.flatnonzero(np.isfinite(measured).any(1))
    if not len(rows):
        rows = np.array([0])
    return times[rows], measured[rows], np.array([*first.values(), *units], dtype=np.float32)


def _cells(
    text: str,
    channels: list[str],
    possible: dict[str, Range],
    refused: dict[str, int] | None = None,
    outside: str = "missing",
) -> tuple[np.ndarray, np.ndarray]:
    """Return times (L,) in hours and values (L, C) of a record; what is beyond its range is counted."""
    column = {name: place for place, name in enumerate(channels)}
    found: dict[tuple[int, str], list[float]] = defaultdict(list)
    unbounded = Range(0.0, np.inf, "")
    for place, (stamp, name, word) in enumerate(csv.reader(io.StringIO(text))):
        if place == 0 or name not in column:
            continue
        value = float(word)
        low, high, _ = possible.get(name, unbounded)
        if not low <= value <= high:
            if value < 0 <= low:  # -1 stands for a missing value
                continue
            if refused is not None:
                refused[name] += 1
            if outside == "missing":
                continue
            value = min(max(value, low), high) if outside == "clip" else value
        hours, minutes = stamp.split(":")
        found[60 * int(hours) + int(minutes), name].append(value)
    minutes = sorted({minute for minute, _ in found}) or [0]
    row = {minute: place for place, minute in enumerate(minutes)}
    values = np.full((len(minutes), len(channels)), np.nan, dtype=np.float32)
    for (minute, name), cells in found.items():
        values[row[minute], column[name]] = sum(cells) / len(cells)
    return np.array(minutes) / 60.0, values
