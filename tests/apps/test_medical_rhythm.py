"""Rhythms: read from folders and simulated, named by a trained network, scored by patient, written where WFDB reads."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from lightning import Trainer
from sklearn.metrics import cohen_kappa_score, f1_score

from integrand.apps.medical.rhythm.data import RhythmData
from integrand.apps.medical.rhythm.evaluation import RhythmEvaluation, evaluate
from integrand.apps.medical.rhythm.figures import draw
from integrand.apps.medical.rhythm.module import RhythmModule
from integrand.apps.medical.rhythm.prediction import predict, to_events
from integrand.apps.medical.rhythm.scores import resampled, rhythm_scores
from integrand.apps.medical.segments.models.interval_network import S5IntervalNetwork
from integrand.apps.medical.segments.models.sequence_networks import S5SegmentNetwork
from integrand.apps.training.run_folder import RunFolder
from integrand.core.errors import InputError
from integrand.datasets.synthetic.ecg.patients import EcgSimulator
from integrand.datasets.wfdb_files import read_events, write_events

wfdb = pytest.importorskip("wfdb")


def publish(folder: Path, name: str, number: int, *, seconds: float = 20.0, fibrillating: float = 0.0) -> Path:
    """Write a simulated patient as a record of WFDB with annotations, and return its header."""
    one = EcgSimulator(seconds=seconds, rate=100, fibrillating=fibrillating).recording(number)
    wfdb.wrsamp(
        name,
        fs=100,
        units=["mV", "mV"],
        sig_name=one.leads,
        p_signal=one.signal.astype(float),
        fmt=["16", "16"],
        adc_gain=[2000.0] * 2,
        baseline=[0, 0],
        write_dir=str(folder),
    )
    write_events(folder / name, "atr", one.events, rate=100)
    return folder / f"{name}.hea"


@pytest.fixture(scope="module")
def data() -> RhythmData:
    made = RhythmData(patients=24, seconds=20, length=5, fibrillating=0.5, batch_size=16)
    made.setup()
    return made


@pytest.fixture(scope="module")
def trained(data: RhythmData, tmp_path_factory: pytest.TempPathFactory) -> RhythmModule:
    module = RhythmModule(S5SegmentNetwork(width=12, d_state=8, layers=1), warmup_steps=5, learning_rate=8e-3)
    trainer = Trainer(
        max_epochs=10,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=str(tmp_path_factory.mktemp("run")),
    )
    trainer.fit(module, data)
    return module


@pytest.fixture(scope="module")
def evaluated(data: RhythmData, trained: RhythmModule) -> RhythmEvaluation:
    return evaluate(trained, data, name="s5", seed=0, notify=lambda line: None)


def test_simulated_segments_have_the_rhythm_of_their_patient_and_parts_share_none(data: RhythmData):
    held = data.segments
    rhythms = {}
    for patient, label in zip(held.patients, held.labels.argmax(axis=1), strict=True):
        assert rhythms.setdefault(patient, label) == label
    owners = [set(data.part(part).segments.patients) for part in ("train", "validation", "test")]
    assert sum(map(len, owners)) == len(set.union(*owners)) == 24
    assert data.task.simulated
    assert any("no patient was measured" in notice for notice in data.notices)
    assert data.task.beats


def test_the_module_beats_the_majority_and_calibrates_itself(evaluated: RhythmEvaluation, trained: RhythmModule):
    told = evaluated.results["metrics"]
    assert told["s5"]["macro_f1"] > told["majority"]["macro_f1"]
    assert float(trained.temperature) != 1.0
    p = evaluated.probabilities["s5"]
    np.testing.assert_allclose(p.sum(axis=1), 1)
    assert trained.sets(p) is not None
    captions = [table["caption"] for table in evaluated.results["tables"]]
    assert captions == ["By rhythm", "By patient", "Calibration", "Conformal sets", "Abstention"]


def test_results_can_be_written_and_figures_are_drawn(evaluated: RhythmEvaluation, data: RhythmData, tmp_path: Path):
    run = RunFolder(tmp_path)
    run.write("results.json", evaluated.results)
    draw(evaluated, run, data.task)
    names = {path.name for path in run.figures.glob("*.png")}
    assert names == {"segments.png", "confusion.png", "reliability.png", "curves.png", "abstention.png"}
    captions = (run.figures / "captions.json").read_text()
    assert "Simulated patients." in captions


def test_predictions_are_those_of_the_module_and_nothing_is_said_of_a_flat_stretch(
    trained: RhythmModule, tmp_path: Path
):
    one = EcgSimulator(seconds=20, rate=100).recording(5)
    signal = one.signal.astype(float)
    signal[500:1000, 0] = 0.1
    wfdb.wrsamp(
        "flat", fs=100, units=["mV"] * 2, sig_name=one.leads, p_signal=signal, fmt=["16"] * 2,
        adc_gain=[2000.0] * 2, baseline=[0, 0], write_dir=str(tmp_path),
    )  # fmt: skip
    lines: list[str] = []
    found = predict(
        trained,
        input=tmp_path / "flat.hea",
        output=tmp_path / "said.csv",
        figure=tmp_path / "said.png",
        notify=lines.append,
    )
    table = pd.read_csv(tmp_path / "said.csv", keep_default_na=False)
    assert table["start"].tolist() == [0, 5, 10, 15]
    assert (table["class"] == "").tolist() == [False, True, False, False]
    assert table["probability_sinus"][1] == ""
    assert found.table["probability_sinus"].notna().tolist() == [True, False, True, True]
    assert (tmp_path / "said.png").stat().st_size > 1000
    assert lines[0].startswith("For research only")
    assert any("simulated patients alone" in line for line in lines)


def test_annotations_are_read_back_by_wfdb(trained: RhythmModule, tmp_path: Path):
    place = publish(tmp_path, "one", 3)
    found = predict(trained, input=place, output=tmp_path / "one.rhy")
    back = read_events(tmp_path / "one", "rhy")
    said = found.table["class"].tolist()
    assert back.samples[0] == 0
    assert set(back.symbols) == {"+"}
    assert len(back) == 1 + sum(one != other for one, other in pairwise(said))
    assert set(back.notes) <= {"(N", "(AFIB"}


def test_events_are_the_changes_of_the_name():
    frame = pd.DataFrame({"start": [0.0, 5.0, 10.0, 15.0], "class": ["sinus", "sinus", "", "atrial fibrillation"]})
    events = to_events(frame, 100.0)
    assert events.samples.tolist() == [0, 1000, 1500]
    assert list(events.symbols) == ["+", "~", "+"]
    assert list(events.notes) == ["(N", "U", "(AFIB"]
    with pytest.raises(InputError, match="'mine' is no rhythm that WFDB has a note for"):
        to_events(pd.DataFrame({"start": [0.0], "class": ["mine"]}), 100.0)


def test_places_that_would_not_do_are_refused(trained: RhythmModule, tmp_path: Path):
    place = publish(tmp_path, "one", 3)
    for output, figure, cause in (
        (tmp_path / "no" / "out.csv", None, "there is no folder"),
        (place, None, "is the input"),
        (tmp_path / "out.csv", tmp_path / "out.gif", "must end in .png"),
        (tmp_path / "out.1", None, "must end in .csv"),
    ):
        with pytest.raises(InputError, match=cause):
            predict(trained, input=place, output=output, figure=figure)


def test_a_record_without_the_leads_of_the_run_is_refused(trained: RhythmModule, tmp_path: Path):
    drawn = np.random.default_rng(0).standard_normal((2000, 2))
    wfdb.wrsamp(
        "other", fs=100, units=["mV"] * 2, sig_name=["MLII", "V5"], p_signal=drawn, fmt=["16"] * 2,
        adc_gain=[2000.0] * 2, baseline=[0, 0], write_dir=str(tmp_path),
    )  # fmt: skip
    with pytest.raises(InputError, match="has the leads MLII, V5, where the run was trained on II, V1"):
        predict(trained, input=tmp_path / "other.hea", output=tmp_path / "out.csv")


def test_intervals_need_beats_that_are_marked(data: RhythmData, tmp_path: Path):
    module = RhythmModule(S5IntervalNetwork(width=8, d_state=8, layers=1))
    module.build(data)
    place = publish(tmp_path, "one", 3)
    with pytest.raises(InputError, match="no beats are marked"):
        predict(module, input=place, output=tmp_path / "out.csv")
    predict(module, input=place, output=tmp_path / "out.csv", annotator="atr")
    assert len(pd.read_csv(tmp_path / "out.csv")) == 4


def test_a_folder_of_records_is_read_by_its_annotations_or_its_table(tmp_path: Path):
    for number in range(6):
        publish(tmp_path, f"r{number}", number, fibrillating=number % 2)
    options = {"leads": ["II"], "length": 5.0, "fractions": (0.4, 0.3, 0.3)}
    data = RhythmData(str(tmp_path), classes=["sinus", "atrial fibrillation"], **options)
    data.setup()
    assert len(data.segments) == 24
    assert data.segments.labels.sum(axis=0).tolist() == [12, 12]
    assert data.task.leads == ["II"]
    lines = [f"r{number},{'fast' if number % 2 else 'slow'},p{number // 2}" for number in range(6)]
    (tmp_path / "labels.csv").write_text("\n".join(["record,labels,patient", *lines]))
    told = RhythmData(str(tmp_path), **options)
    told.setup()
    assert told.segments.classes == ["fast", "slow"]
    assert len(set(told.segments.patients)) == 3
    (tmp_path / "labels.csv").write_text("\n".join(["record,labels", *lines[:5]]).replace(",p", ";p"))
    with pytest.raises(InputError, match="has no line for record r5"):
        RhythmData(str(tmp_path), **options).setup()


@pytest.mark.parametrize(
    ("options", "cause"),
    [
        ({"length": 0.1}, r"data.length=0.1 is out of range: it must lie in \[1, 600\]"),
        ({"patients": 2}, "data.patients=2 is out of range: it must be at least 3"),
    ],
)
def test_options_out_of_range_are_refused(options: dict, cause: str):
    with pytest.raises(InputError, match=cause):
        RhythmData(**options)


def test_names_of_data_protocols_and_classes_are_known():
    for options, cause in (
        ({"dataset": "mit_bhi"}, "unknown dataset 'mit_bhi': did you mean 'mit_bih'"),
        ({"dataset": "mit_bih", "protocol": "inter"}, "unknown protocol of mit_bih 'inter'"),
        ({"classes": ["sinus", "fibrillation"]}, "unknown rhythm 'fibrillation'"),
        ({"classes": ["sinus"]}, "must be two rhythms or more"),
    ):
        with pytest.raises(InputError, match=cause):
            RhythmData(**{"patients": 3, "seconds": 10, **options}).setup()


def test_scores_are_those_of_a_library_and_intervals_hold_them():
    drawn = np.random.default_rng(0)
    labels = drawn.integers(0, 3, 300)
    p = drawn.dirichlet(np.ones(3), 300) + 0.4 * (labels[:, None] == np.arange(3))
    p /= p.sum(axis=1, keepdims=True)
    told = rhythm_scores(p, labels)
    assert told["macro_f1"] == pytest.approx(f1_score(labels, p.argmax(axis=1), average="macro"))
    assert told["kappa"] == pytest.approx(cohen_kappa_score(labels, p.argmax(axis=1)))
    patients = drawn.integers(0, 30, 300)
    other = np.full((300, 3), 1 / 3)
    intervals, gains = resampled({"a": p, "b": other}, labels, patients, better="a", resamples=300)
    for name in ("macro_f1", "accuracy", "auroc", "nll"):
        low, high = intervals["a"][name]
        assert low < told[name] < high
        assert gains["b"][name]["low"] > 0
    assert "kappa" not in gains["b"]  # a gain over nothing is no number


def test_every_segment_of_one_patient_is_drawn_at_once():
    labels, p = np.array([0, 1, 0, 1]), np.array([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6], [0.7, 0.3]])
    intervals, _ = resampled({"a": p}, labels, np.zeros(4), better="a", resamples=50)
    assert intervals["a"]["accuracy"] == [0.5, 0.5]
