"""PTB-XL as its publisher lays it out, in miniature: simulated signals, the real statements' table in a few lines."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from integrand.core.errors import InputError
from integrand.datasets.real import ptb_xl

wfdb = pytest.importorskip("wfdb")

STATEMENTS = pd.DataFrame(
    {
        "description": ["normal", "inferior infarction", "long QT", "left hypertrophy", "premature beat", "sinus"],
        "diagnostic": [1.0, 1.0, 1.0, 1.0, np.nan, np.nan],
        "form": [np.nan, np.nan, 1.0, np.nan, 1.0, np.nan],
        "rhythm": [np.nan] * 5 + [1.0],
        "diagnostic_class": ["NORM", "MI", "STTC", "HYP", None, None],
        "diagnostic_subclass": ["NORM", "IMI", "STTC", "LVH", None, None],
    },
    index=["NORM", "IMI", "LNGQT", "LVH", "PVC", "SR"],
)
CODES = [
    "{'NORM': 100.0, 'SR': 0.0}",
    "{'IMI': 15.0, 'LVH': 50.0}",
    "{'SR': 0.0}",
    "{'LNGQT': 0.0, 'PVC': 100.0}",
    "{'LVH': 100.0, 'IMI': 0.0}",
]


def publish(folder: Path, *, folds: tuple[int, ...] = (1, 1, 8, 9, 10), patients: tuple[float, ...] = (7, 7, 8, 9, 10)):
    """Write five records and both tables."""
    names = []
    for number in range(1, 6):
        place = folder / "records100" / "00000"
        place.mkdir(parents=True, exist_ok=True)
        signal = np.random.default_rng(number).normal(size=(1000, 12)).round(3)
        leads = list(ptb_xl.LEADS) if number > 1 else list(ptb_xl.LEADS[::-1])
        wfdb.wrsamp(
            f"{number:05d}_lr",
            fs=100,
            units=["mV"] * 12,
            sig_name=leads,
            p_signal=signal,
            fmt=["16"] * 12,
            adc_gain=[1000.0] * 12,
            baseline=[0] * 12,
            write_dir=str(place),
        )
        names.append(f"records100/00000/{number:05d}_lr")
    table = pd.DataFrame(
        {
            "ecg_id": range(1, 6),
            "patient_id": np.array(patients, dtype=float),
            "age": [50.0, 51.0, np.nan, 300.0, 89.0],
            "sex": [0, 0, 1, 1, 0],
            "nurse": ["never read"] * 5,
            "report": ["never read"] * 5,
            "scp_codes": CODES,
            "strat_fold": folds,
            "filename_lr": names,
            "filename_hr": ["records500/none"] * 5,
        }
    )
    table.to_csv(folder / ptb_xl.DATABASE, index=False)
    STATEMENTS.to_csv(folder / ptb_xl.STATEMENTS)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ptbxl")
    publish(folder)
    return folder


def test_records_have_their_superclasses_whatever_the_likelihood(published: Path):
    found = ptb_xl.load(folder=published)
    assert found.classes == ["HYP", "MI", "NORM", "STTC"]
    assert found.records == ["1", "2", "4", "5"]  # the third has a rhythm and no diagnosis
    assert found.labels.astype(int).tolist() == [[0, 0, 1, 0], [1, 1, 0, 0], [0, 0, 0, 1], [1, 1, 0, 0]]
    assert found.patients == ["7", "7", "9", "10"]
    assert found.folds.tolist() == [1, 1, 9, 10]
    assert found.sexes == ["M", "M", "F", "M"]
    np.testing.assert_array_equal(found.ages, [50, 51, 90, 89])


def test_a_least_likelihood_leaves_statements_out(published: Path):
    found = ptb_xl.load(folder=published, likelihood=50)
    assert found.records == ["1", "2", "5"]
    assert found.classes == ["HYP", "NORM"]


@pytest.mark.parametrize(
    ("label_set", "classes", "records"),
    [
        ("subdiagnostic", ["IMI", "LVH", "NORM", "STTC"], 4),
        ("diagnostic", ["IMI", "LNGQT", "LVH", "NORM"], 4),
        ("form", ["LNGQT", "PVC"], 1),
        ("rhythm", ["SR"], 2),
        ("all", ["IMI", "LNGQT", "LVH", "NORM", "PVC", "SR"], 5),
    ],
)
def test_label_sets(published: Path, label_set: str, classes: list[str], records: int):
    found = ptb_xl.load(label_set, folder=published)
    assert found.classes == classes
    assert len(found) == records


def test_signals_are_those_written_in_the_order_of_the_leads(published: Path):
    found = ptb_xl.load(folder=published)
    for row, number in enumerate((1, 2)):
        signal = np.random.default_rng(number).normal(size=(1000, 12)).round(3)
        signal = signal[:, ::-1] if number == 1 else signal
        np.testing.assert_allclose(found.signal[row], signal - np.median(signal, axis=0), atol=1e-5)


def test_the_folder_into_which_the_archive_unpacks_is_found(published: Path, tmp_path: Path):
    (tmp_path / "unpacked").symlink_to(published)
    assert len(ptb_xl.load("all", folder=tmp_path)) == 5


def test_personal_columns_are_never_read():
    assert not {"nurse", "site", "report", "recording_date", "validated_by"} & {*ptb_xl.USED}


def test_a_patient_in_two_folds_is_refused(tmp_path: Path):
    publish(tmp_path, folds=(1, 2, 8, 9, 10))
    with pytest.raises(InputError, match="has patient 7 in two folds"):
        ptb_xl.load(folder=tmp_path)


def test_what_is_missing_or_damaged_is_told_in_a_line(published: Path, tmp_path: Path):
    with pytest.raises(InputError, match=r"unpack the ZIP file of https://physionet\.org/content/ptb-xl/"):
        ptb_xl.load(folder=tmp_path)
    with pytest.raises(InputError, match="unknown label set of ptb_xl 'superdiag': did you mean 'superdiagnostic'"):
        ptb_xl.load("superdiag", folder=published)
    with pytest.raises(InputError, match="rate=250 Hz is not published: take 100, 500"):
        ptb_xl.load(rate=250, folder=published)
    publish(tmp_path)
    (tmp_path / "records100/00000/00002_lr.dat").write_bytes(b"short")
    with pytest.raises(InputError, match="00002_lr cannot be read"):
        ptb_xl.load(folder=tmp_path)
