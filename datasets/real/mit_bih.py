"""MIT-BIH Arrhythmia Database: 48 half hours of two-lead ECG of 47 patients, every beat named by two cardiologists.

For research only. Nothing made of these data may guide the care of a patient.

Records 201 and 202 are of one patient (the header of 202 says so), and the published division of the records for
learning and for testing has one on each side. ``PARTS["inter_patient"]`` leaves 201 out, so that no patient is in both;
``PARTS["as_published"]`` is the published one.

Source: Moody and Mark (2001), The impact of the MIT-BIH Arrhythmia Database, IEEE Engineering in Medicine and Biology
20(3), 45-50; https://physionet.org/content/mitdb/1.0.0/, ODC-By 1.0. The division is that of de Chazal, O'Dwyer and
Reilly (2004), Automatic classification of heartbeats using ECG morphology and heartbeat interval features, Table III.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from integrand.core.errors import unknown
from integrand.datasets.download import locate
from integrand.datasets.recording import Recording
from integrand.datasets.wfdb_files import HEADER, read_wfdb

DS1 = (
    "101", "106", "108", "109", "112", "114", "115", "116", "118", "119", "122",
    "124", "201", "203", "205", "207", "208", "209", "215", "220", "223", "230",
)  # fmt: skip
DS2 = (
    "100", "103", "105", "111", "113", "117", "121", "123", "200", "202", "210",
    "212", "213", "214", "219", "221", "222", "228", "231", "232", "233", "234",
)  # fmt: skip
PACED = ("102", "104", "107", "217")
"""Records of patients with a pacemaker, which EC57 leaves out."""
PATIENT = {"202": "201"}
"""Whose record it is, where that is told by another record's number."""
ANNOTATOR = "atr"


class Parts(NamedTuple):
    """Records to learn from and to test on."""

    train: tuple[str, ...]
    test: tuple[str, ...]


PARTS = {
    "inter_patient": Parts(tuple(record for record in DS1 if record not in PATIENT.values()), DS2),
    "as_published": Parts(DS1, DS2),
}
"""Divisions of the records by name."""


def parts_of(protocol: str) -> Parts:
    """Return the division of ``PARTS`` with a name.

    Raises:
        InputError: there is none of that name.
    """
    if protocol not in PARTS:
        raise unknown("protocol of mit_bih", protocol, PARTS)
    return PARTS[protocol]


def load(records: Sequence[str] | None = None) -> list[Recording]:
    """Return recordings in the order asked for: (650,000, 2) of 360 Hz in mV, with the annotations of the database.

    Most have the leads ``MLII`` and ``V1``; 114 has its two in the other order, and each says which it has.

    Args:
        records: numbers of records; all but the paced where None.

    Raises:
        InputError: a record that there is not; files that are missing or damaged: the message tells how to get them.
    """
    known = sorted((*DS1, *DS2, *PACED))
    chosen = [record for record in known if record not in PACED] if records is None else list(records)
    for record in chosen:
        if record not in known:
            raise unknown("record of mit_bih", record, known)
    headers: dict[str, Path] = {path.stem: path for path in locate("mit_bih") if path.suffix == HEADER}
    return [read_wfdb(headers[record], annotator=ANNOTATOR, patient=PATIENT.get(record, record)) for record in chosen]
