"""Waveforms from a training to its report, and what a run says of a recording."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from integrand.apps.application import load
from integrand.apps.medical import APPLICATION
from integrand.apps.medical.waveforms.prediction import beats_by_run, denoise, find_beats
from integrand.apps.training.checkpoints import read_checkpoint
from integrand.apps.training.request import TrainRequest
from integrand.apps.training.run_folder import RunFolder
from integrand.apps.training.session import train
from integrand.core.errors import InputError
from integrand.datasets.catalogue import RESEARCH_ONLY
from integrand.datasets.recording import Recording
from integrand.datasets.recording_files import read_recording
from integrand.datasets.synthetic.ecg.patients import EcgSimulator
from integrand.datasets.wfdb_files import read_events

wfdb = pytest.importorskip("wfdb")
SMALL = ["--data.patients", "10", "--data.recorded", "24", "--data.seconds", "4", "--trainer.max_epochs", "1"]
SMALL += ["--trainer.check_val_every_n_epoch", "1", "--model.network.width", "8", "--model.network.layers", "1"]


def trained(recipe: str, folder: Path) -> RunFolder:
    run, code = train(APPLICATION, TrainRequest(recipe=recipe, options=SMALL, runs=folder))
    assert code == 0
    return run


def module_of(run: RunFolder, task: str):
    stored = read_checkpoint(run.checkpoints / "best.ckpt", app="medical")
    return load(APPLICATION.task(task).module).from_checkpoint(stored)


@pytest.fixture(scope="module")
def denoised(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return trained("simulated_denoising", tmp_path_factory.mktemp("denoising"))


@pytest.fixture(scope="module")
def detected(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return trained("simulated_beat_detection", tmp_path_factory.mktemp("detection"))


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty seconds at 250 Hz, two leads in microvolts, and a pressure."""
    folder, made = tmp_path_factory.mktemp("record"), EcgSimulator(seconds=30.0, rate=250.0).recording(3)
    signal = np.concatenate([1e3 * made.signal, np.full((len(made.signal), 1), 80.0)], axis=1).astype(float)
    signal[0, 2] = 81.0
    wfdb.wrsamp(
        "one", fs=250, units=["uV", "uV", "mmHg"], sig_name=["II", "V1", "ABP"], p_signal=signal, fmt=["16"] * 3,
        write_dir=str(folder),
    )  # fmt: skip
    return folder / "one.hea"


@pytest.mark.parametrize(
    ("which", "rivals", "pictures"),
    [
        ("denoised", {"noisy", "band_pass", "savitzky_golay", "wiener"}, {"strips", "improvement", "calibration"}),
        ("detected", {"gqrs", "xqrs"}, {"strips", "noise", "heart_rate", "agreement"}),
    ],
)
def test_a_report_has_baselines_intervals_and_what_must_be_said(
    which: str, rivals: set[str], pictures: set[str], request: pytest.FixtureRequest
):
    run = request.getfixturevalue(which)
    results = json.loads((run.path / "results.json").read_text())
    assert rivals < set(results["metrics"])
    assert results["bootstrap"]["of"] == "patients"
    for own in results["intervals"].values():
        assert all(low <= high for low, high in own.values())
    assert pictures <= {path.stem for path in run.figures.glob("*.png")}
    page = run.report.read_text()
    assert RESEARCH_ONLY in page
    assert "simulated" in page


def test_a_record_is_cleaned_lead_by_lead(denoised: RunFolder, record: Path, tmp_path: Path):
    said: list[str] = []
    module = module_of(denoised, "denoising")
    denoise(module, input=record, output=tmp_path / "c.csv", figure=tmp_path / "c.png", notify=said.append)
    with (tmp_path / "c.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    assert list(rows[0]) == ["time", "II", "II_std", "V1", "V1_std"]
    assert len(rows) == 7500
    assert float(rows[250]["time"]) == 1.0
    assert all(float(row["II_std"]) > 0 for row in rows[::100])
    # A network of a few steps gives much of the signal back, in millivolts.
    signal = read_recording(record).signal[:, 0]
    assert np.corrcoef([float(row["II"]) for row in rows], signal)[0, 1] > 0.9
    assert RESEARCH_ONLY in said
    assert any("read at its own rate" in line for line in said)
    assert (tmp_path / "c.png").stat().st_size > 10_000


def test_a_flat_stretch_is_told(denoised: RunFolder, tmp_path: Path):
    signal = EcgSimulator(seconds=12.0, rate=250.0).recording(1).signal[:, 0].copy()
    signal[1000:2000] = signal[1000]
    lines = ["time,II (mV)", *(f"{k / 250:.3f},{value:.6f}" for k, value in enumerate(signal.tolist()))]
    (tmp_path / "flat.csv").write_text("\n".join(lines))
    said: list[str] = []
    module = module_of(denoised, "denoising")
    denoise(module, input=tmp_path / "flat.csv", output=tmp_path / "o.csv", figure=None, notify=said.append)
    assert any("II" in line and "flat" in line for line in said)


def test_a_csv_is_cleaned_as_its_record_is(denoised: RunFolder, record: Path, tmp_path: Path):
    recording = read_recording(record)
    lines = ["time,II (mV),V1 (mV)"]
    lines += [f"{k / 250:.3f},{a:.6f},{b:.6f}" for k, (a, b) in enumerate(recording.signal[:, :2].tolist())]
    (tmp_path / "one.csv").write_text("\n".join(lines))
    module = module_of(denoised, "denoising")
    tables = [
        denoise(module, input=path, output=tmp_path / f"{n}.csv", figure=None).table
        for n, path in enumerate((record, tmp_path / "one.csv"))
    ]
    assert np.allclose(tables[0].to_numpy(), tables[1].to_numpy(), atol=1e-3)


def test_beats_are_written_as_annotations_that_wfdb_reads_and_as_a_csv(
    detected: RunFolder, record: Path, tmp_path: Path
):
    module = module_of(detected, "beat_detection")
    found = find_beats(module, input=record, output=tmp_path / "one.pred", figure=tmp_path / "b.png")
    assert len(found.events) > 5
    again = read_events(tmp_path / "one", "pred")
    assert again.samples.tolist() == found.events.samples.tolist()
    assert set(again.symbols) == {"N"}
    assert wfdb.rdann(str(tmp_path / "one"), "pred").fs == 250
    find_beats(module, input=record, output=tmp_path / "one.csv", figure=None)
    with (tmp_path / "one.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    assert [int(row["sample"]) for row in rows] == found.events.samples.tolist()
    gap = (found.events.samples[1] - found.events.samples[0]) / 250
    assert float(rows[1]["heart_rate"]) == pytest.approx(60 / gap, abs=0.01)
    events = beats_by_run(module, read_recording(record), lead="II")
    assert events.samples.tolist() == found.events.samples.tolist()


def test_beats_of_the_pressure_and_of_no_lead_are_refused(detected: RunFolder, tmp_path: Path):
    module = module_of(detected, "beat_detection")
    (tmp_path / "p.csv").write_text("time,ABP (mmHg)\n" + "".join(f"{k / 100},80\n" for k in range(200)))
    with pytest.raises(InputError, match="has no lead in mV"):
        find_beats(module, input=tmp_path / "p.csv", output=tmp_path / "o.csv", figure=None)
    with pytest.raises(InputError, match="no lead 'V9'"):
        beats_by_run(module, Recording("r", "r", np.zeros((500, 1), "f4"), 125.0, ["II"], ["mV"]), lead="V9")
