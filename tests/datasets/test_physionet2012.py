"""The stays of the PhysioNet Challenge 2012: a record by hand, an archive of two, and the real one where it is."""

import io
import os
import tarfile
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from integrand.core.errors import InputError
from integrand.datasets.catalogue import CATALOGUE, RESEARCH_ONLY
from integrand.datasets.real import physionet2012

SHARED = Path(__file__).parents[3] / "shared" / "data"
RECORD = """Time,Parameter,Value
00:00,RecordID,7
00:00,Age,54
00:00,Gender,0
00:00,Height,-1
00:00,ICUType,4
00:00,Weight,80.5
00:07,HR,73
00:07,GCS,15
01:30,HR,80
01:30,HR,90
01:45,pH,735
47:59,Temp,-17.8
"""
EMPTY = "Time,Parameter,Value\n00:00,RecordID,8\n00:00,Age,-1\n00:00,Gender,1\n00:00,ICUType,1\n00:00,Weight,-1\n"


def test_a_record_by_hand():
    refused: dict[str, int] = defaultdict(int)
    times, values, static = physionet2012._stay(RECORD, refused)
    np.testing.assert_allclose(times, [0, 7 / 60, 1.5])
    assert refused == {"pH": 1}  # the temperature of -17.8 is negative, which stands for missing
    at = {name: place for place, name in enumerate(physionet2012.CHANNELS)}
    assert values.shape == (3, 37)
    assert values[0, at["Weight"]] == np.float32(80.5)
    assert values[1, [at["HR"], at["GCS"]]].tolist() == [73, 15]
    assert values[2, at["HR"]] == 85  # the mean of two
    assert np.isfinite(values).sum() == 4
    np.testing.assert_array_equal(static, np.array([54, 0, np.nan, 0, 0, 0, 1], dtype=np.float32))


def test_an_archive_of_two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    archive, outcomes = tmp_path / "set-a.tar.gz", tmp_path / "Outcomes-a.txt"
    with tarfile.open(archive, "w:gz") as files:
        for name, text in (("8", EMPTY), ("7", RECORD)):
            entry = tarfile.TarInfo(f"set-a/{name}.txt")
            entry.size = len(text)
            files.addfile(entry, io.BytesIO(text.encode()))
    head = "RecordID,SAPS-I,SOFA,Length_of_stay,Survival,In-hospital_death\n"
    outcomes.write_text(head + "7,6,1,5,-1,0\n8,16,8,8,3,1\n")
    monkeypatch.setattr(physionet2012, "locate", lambda name: (archive, outcomes))
    series = physionet2012.load()
    assert series.ids == ["7", "8"]
    assert series.labels.tolist() == [0, 1]
    assert [len(times) for times in series.times] == [3, 1]
    assert np.isnan(series.values[1]).all()
    assert series.notices == [RESEARCH_ONLY, "1 impossible values count as missing, most of pH"]
    outcomes.write_text(head + "7,6,1,5,-1,0\n")
    with pytest.raises(InputError, match="tell of different stays"):
        physionet2012.load()


def test_the_real_stays(monkeypatch: pytest.MonkeyPatch):
    if "INTEGRAND_DATA" not in os.environ:
        monkeypatch.setenv("INTEGRAND_DATA", str(SHARED))
    files = CATALOGUE["physionet2012"].files
    if not all((Path(os.environ["INTEGRAND_DATA"]) / file.path).is_file() for file in files):
        pytest.skip(f"no PhysioNet 2012 in {os.environ['INTEGRAND_DATA']}: integrand data download physionet2012")
    series = physionet2012.load()
    assert len(series) == 4000
    assert series.labels.sum() == 554  # as the challenge's page counts them
    first = series.at([series.ids.index("132539")])
    heart = first.values[0][:, series.channels.index("HR")]
    assert (first.times[0][0], heart[0]) == (pytest.approx(7 / 60), 73)
    observed = np.isfinite(np.concatenate(series.values))
    assert observed.any(0).all()
    assert max(times[-1] for times in series.times) <= 48


@pytest.mark.parametrize(("policy", "found"), [("clip", 8.0), ("keep", 735.0)])
def test_impossible_values_by_policy(policy: str, found: float):
    refused: dict[str, int] = defaultdict(int)
    times, values, static = physionet2012._stay(RECORD, refused, policy)
    assert refused["pH"] == 1
    assert values[times.tolist().index(1.75), physionet2012.CHANNELS.index("pH")] == found
    assert np.isnan(static[2])  # a height of -1 is missing under any policy
