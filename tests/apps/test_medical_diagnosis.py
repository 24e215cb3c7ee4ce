"""Diagnoses: several labels at once, scored against libraries, calibrated label by label, in PTB-XL's own folds."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from lightning import Trainer
from scipy.special import expit
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from integrand.apps.medical.diagnosis.data import DiagnosisData
from integrand.apps.medical.diagnosis.evaluation import DiagnosisEvaluation, evaluate
from integrand.apps.medical.diagnosis.figures import draw
from integrand.apps.medical.diagnosis.label_scores import (
    best_threshold,
    by_label,
    label_scores,
    resampled,
    weighted_auroc,
)
from integrand.apps.medical.diagnosis.module import DiagnosisModule
from integrand.apps.medical.diagnosis.prediction import predict
from integrand.apps.medical.segments.models.sequence_networks import S5SegmentNetwork
from integrand.apps.medical.segments.task import SegmentTask
from integrand.apps.training.run_folder import RunFolder
from integrand.core.errors import InputError
from integrand.datasets.real import ptb_xl
from integrand.datasets.segment_labels import FINDINGS
from integrand.datasets.synthetic.ecg.patients import EcgSimulator

wfdb = pytest.importorskip("wfdb")


def drawn_labels(count: int = 400, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of three labels, to two digits so that some are equal, and labels drawn by them."""
    generator = np.random.default_rng(seed)
    p = generator.beta([1, 2, 1], [3, 2, 8], (count, 3)).round(2)
    return p, generator.random((count, 3)) < p


def test_area_under_the_curve_is_the_library_s_for_any_weights():
    p, labels = drawn_labels()
    weights = np.random.default_rng(1).integers(0, 4, (5, len(p))).astype(float)
    for k in range(3):
        found = weighted_auroc(p[:, k], labels[:, k], weights)
        wanted = [float(roc_auc_score(labels[:, k], p[:, k], sample_weight=weight)) for weight in weights]
        np.testing.assert_allclose(found, wanted, rtol=1e-12)
    assert np.isnan(weighted_auroc(p[:, 0], np.zeros(len(p), bool), weights)).all()


def test_scores_are_those_of_a_library():
    p, labels = drawn_labels()
    limits = np.array([0.3, 0.5, 0.2])
    told = label_scores(p, labels, limits)
    assert told["macro_auroc"] == pytest.approx(roc_auc_score(labels, p, average="macro"))
    assert told["macro_auprc"] == pytest.approx(average_precision_score(labels, p, average="macro"))
    assert told["macro_f1"] == pytest.approx(f1_score(labels, p >= limits, average="macro"))
    each = by_label(p, labels, limits)
    assert each["Se"][1] == pytest.approx((p[labels[:, 1], 1] >= 0.5).mean())
    assert each["+P"][1] == pytest.approx(labels[p[:, 1] >= 0.5, 1].mean())


def test_labels_drawn_by_their_probabilities_are_calibrated_and_others_are_not():
    p, labels = drawn_labels(40_000)
    limits = np.full(3, 0.5)
    assert label_scores(p, labels, limits)["ece"] < 0.01
    assert label_scores(expit(3 * np.log(p.clip(0.01, 0.99) / (1 - p.clip(0.01, 0.99)))), labels, limits)["ece"] > 0.05


def test_a_label_that_never_holds_does_not_count_in_means():
    p, labels = drawn_labels()
    labels[:, 2] = False
    told = label_scores(p, labels, np.full(3, 0.3))
    assert told["macro_auroc"] == pytest.approx(roc_auc_score(labels[:, :2], p[:, :2], average="macro"))
    assert np.isnan(by_label(p, labels, np.full(3, 0.3))["AUROC"][2])
    with pytest.raises(InputError, match="every label needs a probability"):
        label_scores(p[:, :2], labels, np.full(3, 0.3))


@pytest.mark.parametrize("seed", range(3))
def test_the_threshold_is_the_best_of_all(seed: int):
    p, labels = drawn_labels(60, seed)
    for k in range(3):
        if not labels[:, k].any():
            continue
        tried = max(f1_score(labels[:, k], p[:, k] >= one) for one in np.unique(p[:, k]))
        found = f1_score(labels[:, k], p[:, k] >= best_threshold(p[:, k], labels[:, k]))
        assert found >= tried - 1e-12
    assert best_threshold(p[:, 0], np.zeros(60, bool)) == 0.5


def test_intervals_hold_the_scores_and_patients_are_drawn_whole():
    p, labels = drawn_labels()
    limits = {"a": np.full(3, 0.3), "b": np.full(3, 0.3)}
    patients = np.arange(400) // 8
    found = {"a": p, "b": np.full_like(p, 0.25)}
    intervals, gains = resampled(found, labels, limits, patients, better="a", resamples=300)
    told = label_scores(p, labels, limits["a"])
    for name in ("macro_auroc", "macro_f1", "brier", "nll"):
        low, high = intervals["a"][name]
        assert low < told[name] < high
    assert gains["b"]["macro_auroc"]["low"] > 0
    assert gains["b"]["nll"]["gain"] == pytest.approx(
        1 - told["nll"] / label_scores(found["b"], labels, limits["b"])["nll"]
    )
    alone, _ = resampled({"a": p}, labels, limits, np.zeros(400), better="a", resamples=20)
    np.testing.assert_allclose(alone["a"]["macro_auroc"], [told["macro_auroc"]] * 2)


def small_task(labels: int = 3) -> SegmentTask:
    return SegmentTask(
        classes=[f"l{k}" for k in range(labels)],
        several=True,
        leads=["II"],
        rate=50.0,
        samples=200,
        size=[1.0],
        shares=[0.2] * labels,
        beats=False,
        interval_location=0.0,
        interval_scale=1.0,
        simulated=True,
    )


def small_module(labels: int = 3, **options) -> DiagnosisModule:
    module = DiagnosisModule(S5SegmentNetwork(width=8, d_state=8, layers=1), **options)
    module.build_networks(small_task(labels))
    return module


def test_each_label_gets_the_temperature_that_drew_it_and_a_set_that_keeps_its_word():
    module = small_module(coverage=0.9)
    generator = np.random.default_rng(0)
    true = 1.5 * generator.standard_normal((40_000, 3)) - 0.5
    labels = generator.random(true.shape) < expit(true)
    labels[:, 2] = False
    scores = true * np.array([1.0, 3.0, 1.0])
    half = np.arange(20_000)
    module.calibrate(scores[half], labels[half], half)
    np.testing.assert_allclose(module.temperatures.numpy(), [1.0, 3.0, 1.0], rtol=0.06)
    p = module.calibrated(scores[20_000:])
    sets = module.sets(p)
    assert sets is not None
    for k in (0, 1):
        held = labels[20_000:, k]
        assert abs(sets[held, k].mean() - 0.9) < 0.01
        assert not sets[:, k].all()
    assert sets[:, 2].all()  # of a label that was never seen nothing can be ruled out
    assert float(module.thresholds[2]) == 0.5


def test_what_validation_set_is_in_the_checkpoint():
    module = small_module()
    module.calibrate(
        np.random.default_rng(0).standard_normal((50, 3)), np.eye(3, dtype=bool)[np.arange(50) % 3], np.arange(50)
    )
    other = small_module()
    other.load_state_dict(module.state_dict())
    torch.testing.assert_close(other.temperatures, module.temperatures)
    torch.testing.assert_close(other.least_probabilities, module.least_probabilities)
    assert small_module().sets(np.full((1, 3), 0.5)) is None


@pytest.fixture(scope="module")
def data() -> DiagnosisData:
    made = DiagnosisData(patients=40, seconds=20, length=5, ectopic=0.9, batch_size=16)
    made.setup()
    return made


@pytest.fixture(scope="module")
def evaluated(data: DiagnosisData, tmp_path_factory: pytest.TempPathFactory) -> DiagnosisEvaluation:
    module = DiagnosisModule(S5SegmentNetwork(width=12, d_state=8, layers=1), warmup_steps=5, learning_rate=8e-3)
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
    return evaluate(module, data, name="s5", seed=0, notify=lambda line: None)


def test_the_module_beats_the_shares_and_results_can_be_written(
    evaluated: DiagnosisEvaluation, data: DiagnosisData, tmp_path: Path
):
    assert data.task.classes == list(FINDINGS)
    told = evaluated.results["metrics"]
    assert told["s5"]["macro_auroc"] > told["shares"]["macro_auroc"]
    run = RunFolder(tmp_path)
    run.write("results.json", evaluated.results)
    draw(evaluated, run, data.task)
    names = {path.name for path in run.figures.glob("*.png")}
    assert names == {"segments.png", "reliability.png", "curves.png", "abstention.png"}


def test_predictions_are_those_of_the_module(evaluated: DiagnosisEvaluation, tmp_path: Path):
    one = EcgSimulator(seconds=12, rate=100).recording(5)
    wfdb.wrsamp(
        "one", fs=100, units=["mV"] * 2, sig_name=one.leads, p_signal=one.signal.astype(float), fmt=["16"] * 2,
        adc_gain=[2000.0] * 2, baseline=[0, 0], write_dir=str(tmp_path),
    )  # fmt: skip
    found = predict(evaluated.module, input=tmp_path / "one", output=tmp_path / "one.csv", figure=tmp_path / "one.pdf")
    table = pd.read_csv(tmp_path / "one.csv", keep_default_na=False)
    assert table["start"].tolist() == [0, 5]
    p = table[[f"probability_{name}" for name in FINDINGS]].to_numpy()
    np.testing.assert_allclose(p, found.table[[f"probability_{name}" for name in FINDINGS]], atol=1e-6)
    for row, said in enumerate(table["labels"]):
        named = [name for name, holds in zip(FINDINGS, p[row] >= evaluated.module.limits(), strict=True) if holds]
        assert said == ";".join(named)
    with pytest.raises(InputError, match=r"must end in \.csv"):
        predict(evaluated.module, input=tmp_path / "one", output=tmp_path / "one.dia")


def test_the_published_folds_are_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    place = tmp_path / ptb_xl.FOLDER / "records100"
    place.mkdir(parents=True)
    for number in range(20):
        drawn = np.random.default_rng(number).standard_normal((1000, 12))
        wfdb.wrsamp(
            f"{number}_lr", fs=100, units=["mV"] * 12, sig_name=list(ptb_xl.LEADS), p_signal=drawn, fmt=["16"] * 12,
            adc_gain=[1000.0] * 12, baseline=[0] * 12, write_dir=str(place),
        )  # fmt: skip
    table = {
        "ecg_id": range(20),
        "patient_id": [100.0 + number // 2 for number in range(20)],
        "age": [50.0] * 20,
        "sex": [1] * 20,
        "scp_codes": ["{'LVH': 100.0}", "{'IMI': 100.0, 'LVH': 0.0}"] * 10,
        "strat_fold": [1 + number // 2 for number in range(20)],
        "filename_lr": [f"records100/{number}_lr" for number in range(20)],
        "filename_hr": [""] * 20,
    }
    pd.DataFrame(table).to_csv(place.parent / ptb_xl.DATABASE, index=False)
    (place.parent / ptb_xl.STATEMENTS).write_text(
        ",diagnostic,form,rhythm,diagnostic_class,diagnostic_subclass\nLVH,1,,,HYP,LVH\nIMI,1,,,MI,IMI\n"
    )
    monkeypatch.setenv("INTEGRAND_DATA", str(tmp_path))
    data = DiagnosisData("ptb_xl")
    data.setup()
    assert data.split.train == tuple(range(16))
    assert data.split.validation == (16, 17)
    assert data.split.test == (18, 19)
    assert data.task.classes == ["HYP", "MI"]
    assert data.task.shares == [1.0, 0.5]
    assert (len(data.task.leads), data.task.samples, data.task.beats) == (12, 1000, False)
    with pytest.raises(InputError, match=r"data\.leads is for recordings that are cut"):
        DiagnosisData("ptb_xl", leads=["II"]).setup()


def test_a_folder_needs_a_table(tmp_path: Path):
    one = EcgSimulator(seconds=10, rate=100).recording(0)
    wfdb.wrsamp(
        "r", fs=100, units=["mV"] * 2, sig_name=one.leads, p_signal=one.signal.astype(float), fmt=["16"] * 2,
        adc_gain=[2000.0] * 2, baseline=[0, 0], write_dir=str(tmp_path),
    )  # fmt: skip
    with pytest.raises(InputError, match=r"there is no labels\.csv"):
        DiagnosisData(str(tmp_path)).setup()
