"""PTB-XL: 21,799 electrocardiograms of 12 leads and 10 s, of 18,869 patients, with what cardiologists found in them.

For research only. Nothing made of these data may guide the care of a patient.

The publisher's files are unpacked by hand, see ``load``. Of the table of the electrocardiograms the columns ``USED``
are read and no others: names, dates, sites and reports stay unread. No patient is in two of the publisher's ten folds,
which is checked; the last is for tests, the one before for validation.

Source: Wagner, Strodthoff, Bousseljot, Kreiseler, Lunze, Samek and Schaeffter (2020), PTB-XL, a large publicly
available electrocardiography dataset, Scientific Data 7, 154; version 1.0.3,
https://physionet.org/content/ptb-xl/1.0.3/, CC-BY-4.0. The label sets and which records count in each are those of
Strodthoff, Wagner, Schaeffter and Samek (2021), Deep learning for ECG analysis: benchmarks and insights from PTB-XL,
IEEE Journal of Biomedical and Health Informatics 25(5), 1519-1528.
"""

import ast
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from integrand.core.errors import InputError, listed, unknown
from integrand.datasets.catalogue import ENVIRONMENT_VARIABLE, data_directory
from integrand.datasets.segments import Segments, centred
from integrand.datasets.wfdb_files import read_wfdb

FOLDER = "ptbxl"
DATABASE, STATEMENTS = "ptbxl_database.csv", "scp_statements.csv"
FILE_OF = {100: "filename_lr", 500: "filename_hr"}
"""The column of the file for each rate, Hz."""
USED = ("ecg_id", "patient_id", "age", "sex", "scp_codes", "strat_fold")
LEADS = ("I", "II", "III", "AVR", "AVL", "AVF", "V1", "V2", "V3", "V4", "V5", "V6")
SEXES = {0: "M", 1: "F"}
OLDEST = 90.0
"""Years that an age above 89 counts as; the publisher has 300 for it."""
TRAIN, VALIDATION, TEST = tuple(range(1, 9)), (9,), (10,)
"""Folds of each part."""
LABEL_SETS = ("superdiagnostic", "subdiagnostic", "diagnostic", "form", "rhythm", "all")
"""Five superclasses of diagnoses; 23 subclasses; 44 diagnoses; 19 statements on form; 12 on rhythm; all 71."""


def load(
    label_set: str = "superdiagnostic", *, rate: int = 100, folder: Path | None = None, likelihood: float | None = None
) -> Segments:
    """Return the electrocardiograms that have at least one label of a set: (N, 10 rate, 12) in mV.

    A statement counts whatever its likelihood, as in the benchmark: 0 stands for one that is not known, which it is not
    of forms and rhythms.

    Args:
        label_set: one of ``LABEL_SETS``.
        rate: 100 or 500 Hz, both of which are published.
        folder: where the publisher's files are, or the one folder in which they were unpacked; ``ptbxl`` in the data
            directory where None.
        likelihood: least likelihood, in per cent, of a statement that counts; None for any.

    Raises:
        InputError: files that are missing or damaged, a patient in two folds.
    """
    if label_set not in LABEL_SETS:
        raise unknown("label set of ptb_xl", label_set, LABEL_SETS)
    if rate not in FILE_OF:
        raise InputError(f"rate={rate:g} Hz is not published: take {listed(map(str, FILE_OF))}.")
    place = _found(data_directory() / FOLDER if folder is None else folder)
    table = _read_table(place, rate)
    meaning = statements(place, label_set)
    told = [_labels(codes, meaning, likelihood) for codes in table["scp_codes"]]
    classes = sorted({name for each in told for name in each})
    kept = [row for row, each in enumerate(told) if each]
    if not kept:
        raise InputError(
            f"no record of {place.name} has a label of {label_set!r}: take another of {', '.join(LABEL_SETS)}."
        )
    names = [str(name) for name in table[FILE_OF[rate]]]
    years = np.array(table["age"], dtype=np.float64)
    return Segments(
        signal=_signals([place / names[row] for row in kept], rate),
        labels=np.array([[name in told[row] for name in classes] for row in kept], dtype=bool),
        classes=classes,
        leads=list(LEADS),
        rate=float(rate),
        records=[str(table["ecg_id"].iloc[row]) for row in kept],
        patients=[str(int(table["patient_id"].iloc[row])) for row in kept],
        starts=np.zeros(len(kept)),
        ages=np.where(years > 89, OLDEST, years)[kept],
        sexes=[SEXES.get(table["sex"].iloc[row], "") for row in kept],
        beats=[np.zeros(0)] * len(kept),
        folds=np.array(table["strat_fold"], dtype=np.int64)[kept],
    )


def statements(place: Path, label_set: str) -> dict[str, str]:
    """Return the label of a set that each statement of the publisher stands for; others are not in it."""
    import pandas as pd

    table = pd.read_csv(place / STATEMENTS, index_col=0)
    if label_set == "all":
        return {str(code): str(code) for code in table.index}
    column = "diagnostic" if label_set.endswith("diagnostic") else label_set
    chosen = table[table[column] == 1]
    by = {"superdiagnostic": "diagnostic_class", "subdiagnostic": "diagnostic_subclass"}.get(label_set)
    names = chosen.index if by is None else chosen[by]
    return {str(code): str(name) for code, name in zip(chosen.index, names, strict=True) if not pd.isna(name)}


def _labels(codes: str, meaning: dict[str, str], likelihood: float | None) -> set[str]:
    said: dict[str, float] = ast.literal_eval(codes)
    return {
        meaning[code] for code, sure in said.items() if code in meaning and (likelihood is None or sure >= likelihood)
    }


def _found(folder: Path) -> Path:
    """Return the folder of the publisher's files: the one named, or the one in it into which they were unpacked."""
    for place in (folder, *sorted(path.parent for path in folder.glob(f"*/{DATABASE}"))):
        if (place / DATABASE).is_file() and (place / STATEMENTS).is_file():
            return place
    raise InputError(
        f"data set 'ptb_xl' is not in {folder} (no {DATABASE} beside {STATEMENTS}): unpack the ZIP file of "
        f"https://physionet.org/content/ptb-xl/1.0.3/ there, or set {ENVIRONMENT_VARIABLE} to the folder that holds "
        f"{FOLDER}."
    )


def _read_table(place: Path, rate: int) -> Any:
    import pandas as pd

    columns = [*USED, FILE_OF[rate]]
    try:
        table: Any = pd.read_csv(place / DATABASE, usecols=columns)
    except ValueError as error:
        raise InputError(f"{DATABASE} lacks a column of {listed(columns)}: fetch version 1.0.3 again.") from error
    strange = sorted({int(fold) for fold in table["strat_fold"]} - {*TRAIN, *VALIDATION, *TEST})
    if strange:
        raise InputError(f"{DATABASE} has the fold {strange[0]}, where there are ten: fetch version 1.0.3 again.")
    folds = table.groupby("patient_id")["strat_fold"].nunique()
    split = [str(int(patient)) for patient in folds.index[folds > 1]]
    if split:
        raise InputError(
            f"{DATABASE} has patient {split[0]} in two folds, and {len(split) - 1} more: it is not as published."
        )
    return table


def _signals(paths: Sequence[Path], rate: int) -> np.ndarray:
    """Return the signals of records about the median of each lead, (N, L, C)."""
    found = np.empty((len(paths), 10 * rate, len(LEADS)), dtype=np.float32)
    for row, path in enumerate(paths):
        record = read_wfdb(path)
        leads = [lead.upper() for lead in record.leads]
        if sorted(leads) != sorted(LEADS) or len(record.signal) != 10 * rate or record.rate != rate:
            raise InputError(
                f"record {record.id} has {len(record.signal)} samples of {listed(leads)} at {record.rate:g} Hz, where "
                f"10 s of 12 leads at {rate} Hz are published: fetch it again."
            )
        found[row] = record.signal[:, [leads.index(lead) for lead in LEADS]]
    return centred_in_place(found)


def centred_in_place(signal: np.ndarray, block: int = 1024) -> np.ndarray:
    """Take the median off each lead of (N, L, C), some pieces at a time, for the whole may fill half the memory."""
    for start in range(0, len(signal), block):
        signal[start : start + block] = centred(signal[start : start + block])
    return signal
