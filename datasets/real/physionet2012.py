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
STATIC = ("Age", "Gender", "Height", *UNITS_OF_CARE)
"""What is known at admission: years, 1 for men, centimetres, and the unit of care as 0 or 1."""
CLASSES = ("survived", "died")
POSSIBLE = {
    "DiasABP": (10, 200),
    "HR": (10, 300),
    "MAP": (10, 250),
    "NIDiasABP": (10, 200),
    "NIMAP": (10, 250),
    "NISysABP": (20, 300),
    "PaCO2": (5, 200),
    "PaO2": (10, 700),
    "RespRate": (1, 100),
    "SysABP": (20, 300),
    "Temp": (25, 45),
    "Weight": (20, 400),
    "pH": (6.5, 8.0),
    "Height": (100, 230),
}
"""Bounds beyond which a value is an error of entry (such as a pH of 735, or an arterial pressure of 0 from a line that
came off), and counts as missing. A clinician's choice of what no patient shows, made without looking at outcomes."""


def load() -> LabelledSeries:
    """Return the stays in the order of their numbers: 37 channels, 7 static features, times in hours since admission.

    Stamps are those of the record, to the minute; of two values of a variable at one stamp the mean is taken. -1 stands
    for a missing value and values beyond ``POSSIBLE`` count as missing; a notice says how many. A stay without any
    measurement has one element at admission with nothing observed. The class is death in hospital.

    Raises:
        InputError: the files are missing or damaged; the message tells how to get them.
    """
    archive, outcomes = locate("physionet2012")
    died = _outcomes(outcomes)
    stays = {}
    with tarfile.open(archive) as files:
        for member in files:
            if member.isfile() and member.name.endswith(".txt"):
                content = files.extractfile(member)
                assert content is not None
                stays[Path(member.name).stem] = content.read().decode("ascii")
    if stays.keys() != died.keys():
        raise InputError(f"{archive} and {outcomes} tell of different stays: run integrand data check physionet2012.")
    refused: dict[str, int] = defaultdict(int)
    names = sorted(stays)
    read = [_stay(stays[name], refused) for name in names]
    most = max(refused, key=refused.__getitem__, default="none")
    notice = f"{sum(refused.values()):,} impossible values count as missing, most of {most}"
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
        notices=[RESEARCH_ONLY, notice],
    )


def _outcomes(path: Path) -> dict[str, int]:
    with path.open(encoding="ascii", newline="") as lines:
        return {row["RecordID"]: int(row["In-hospital_death"]) for row in csv.DictReader(lines)}


def _stay(text: str, refused: dict[str, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return times (L,), values (L, C) and static features (S,) of a record; count what is refused."""
    sums: dict[tuple[int, str], list[float]] = defaultdict(list)
    static = dict.fromkeys(STATIC, np.nan)
    for place, (stamp, name, word) in enumerate(csv.reader(io.StringIO(text))):
        if place == 0 or name == "RecordID" or not name:
            continue
        value = float(word)
        if value < 0 or not _possible(name, value, refused):
            continue
        if name == "ICUType":
            static.update({unit: float(value == 1 + number) for number, unit in enumerate(UNITS_OF_CARE)})
        elif name in static:
            static[name] = value
        else:
            hours, minutes = stamp.split(":")
            sums[60 * int(hours) + int(minutes), name].append(value)
    minutes = sorted({minute for minute, _ in sums}) or [0]
    row = {minute: place for place, minute in enumerate(minutes)}
    column = {name: place for place, name in enumerate(CHANNELS)}
    values = np.full((len(minutes), len(CHANNELS)), np.nan, dtype=np.float32)
    for (minute, name), found in sums.items():
        values[row[minute], column[name]] = sum(found) / len(found)
    return np.array(minutes) / 60.0, values, np.array([static[name] for name in STATIC], dtype=np.float32)


def _possible(name: str, value: float, refused: dict[str, int]) -> bool:
    low, high = POSSIBLE.get(name, (-np.inf, np.inf))
    if not low <= value <= high:
        refused[name] += 1
        return False
    return True
