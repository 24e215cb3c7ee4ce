"""Beats from recordings to report: patients apart, scores by hand, what a run leaves, and what users get wrong."""

import copy
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from examined import examined

from integrand.apps.cli import main
from integrand.apps.medical.attribution import integrated_gradients
from integrand.apps.medical.beats.attribution import AROUND, attribution
from integrand.apps.medical.beats.baselines import RhythmAndShape
from integrand.apps.medical.beats.batch import stack
from integrand.apps.medical.beats.data import BeatData, describe, scaled
from integrand.apps.medical.beats.metrics import METRICS, beat_scores, confusion, patient_bootstrap
from integrand.apps.medical.beats.models.beat_network import S5BeatNetwork
from integrand.apps.medical.beats.module import BeatModule
from integrand.core.errors import InputError
from integrand.datasets.beat_series import BeatSeries, retold, usual_beats
from integrand.datasets.heart_beats import CLASSES
from integrand.datasets.recording import Events, Recording
from integrand.datasets.synthetic.ecg.patients import EcgSimulator
from integrand.datasets.wfdb_files import write_events

SMALL = {"width": 8, "d_state": 8, "layers": 1, "stages": 1, "dropout": 0.0}


def data(patients: int = 12, **options) -> BeatData:
    made = BeatData(patients=patients, seconds=30.0, context=8, batch_size=8, **options)
    made.setup()
    return made


def module(given: BeatData, **options) -> BeatModule:
    torch.manual_seed(0)
    made = BeatModule(S5BeatNetwork(**SMALL), **options)
    made.build(given)
    return made.eval()


def write_record(folder: Path, name: str, recording: Recording, *, symbols: list[str] | None = None) -> Path:
    """Write a record as WFDB has it, 16 bits of 5 uV, with its beats."""
    import wfdb

    wfdb.wrsamp(
        name,
        fs=recording.rate,
        units=["mV"] * len(recording.leads),
        sig_name=recording.leads,
        p_signal=np.asarray(recording.signal, dtype=np.float64),
        fmt=["16"] * len(recording.leads),
        adc_gain=[200.0] * len(recording.leads),
        baseline=[0] * len(recording.leads),
        write_dir=str(folder),
    )
    events = recording.events if symbols is None else Events.of(recording.events.samples, symbols)
    write_events(folder / name, "atr", events, rate=recording.rate)
    return folder / f"{name}.hea"


def test_scores_by_hand():
    counts = np.array([[80, 10, 10, 0, 0], [2, 6, 2, 0, 0], [1, 0, 9, 0, 0], [0, 0, 0, 0, 0], [0, 0, 0, 0, 0]])
    found = beat_scores(counts, list(CLASSES))
    accuracy = 95 / 120
    chance = (100 * 83 + 10 * 16 + 10 * 21) / 120**2
    kappa = (accuracy - chance) / (1 - chance)
    assert found["accuracy"] == pytest.approx(accuracy)
    assert found["kappa"] == pytest.approx(kappa)
    assert found["jk"] == pytest.approx(kappa / 2 + (6 / 10 + 9 / 10 + 6 / 16 + 9 / 21) / 8)
    assert found["macro_f1"] == pytest.approx((160 / 183 + 12 / 26 + 18 / 31) / 3)
    assert set(found) == set(METRICS)


def test_scores_are_those_of_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    labels = rng.choice(5, 500, p=[0.7, 0.1, 0.1, 0.05, 0.05])
    said = np.where(rng.random(500) < 0.7, labels, rng.integers(0, 5, 500))
    found = beat_scores(confusion(said, labels, 5), list(CLASSES))
    assert found["kappa"] == pytest.approx(metrics.cohen_kappa_score(labels, said))
    assert found["macro_f1"] == pytest.approx(metrics.f1_score(labels, said, average="macro"))
    assert found["se_V"] == pytest.approx(metrics.recall_score(labels, said, labels=[2], average=None)[0])
    assert found["pp_S"] == pytest.approx(metrics.precision_score(labels, said, labels=[1], average=None)[0])


def test_the_bootstrap_draws_patients_whole():
    counts = np.zeros((2, 5, 5))
    counts[0, 0, 0] = counts[1, 0, 1] = 10
    found = patient_bootstrap({"a": counts}, list(CLASSES), "accuracy", resamples=4000)
    assert found.intervals["a"] == (0.0, 1.0)  # one patient all right, one all wrong: a quarter of draws is each alone


def test_no_patient_is_in_two_parts():
    made = data()
    names = [{each.patient for each in made.part(part).series} for part in ("train", "validation", "test")]
    assert sum(map(len, names)) == len(set.union(*names)) == 12
    assert all(names)


def test_a_signal_under_two_names_of_patients_is_refused(tmp_path: Path):
    recording = EcgSimulator(seconds=20).recording(0, seed=1)
    for name in ("one", "two", "three"):
        source = EcgSimulator(seconds=20).recording(5, seed=1) if name == "three" else recording
        write_record(tmp_path, name, source)
    with pytest.raises(InputError, match=r"one and two|two and one"):
        BeatData(str(tmp_path)).setup()


def test_features_are_scaled_by_the_training_part_alone():
    made = data()
    learned = [each.features for each in made.part("train").series]
    np.testing.assert_allclose(made.task.location, np.concatenate(learned).mean(0), rtol=1e-4, atol=1e-6)
    changed = [replace(each, features=each.features * 9) for each in made.part("test").series]
    assert describe(made.part("train").series, made).location == made.task.location
    assert changed[0].features.max() != made.part("test").series[0].features.max()


def test_with_folds_no_network_learns_from_the_patients_it_is_asked_about():
    made = data(folds=3)
    asked = module(made)
    batch = made.part("train").__getitems__(list(range(len(made.part("train")))))
    assert set(batch.folds.tolist()) == {0, 1, 2}
    own = batch.runs(batch.folds == 1)
    asked.train()
    asked.loss(own)[0].backward()
    gave = [any(p.grad is not None and p.grad.abs().sum() > 0 for p in member.parameters()) for member in asked.members]
    assert gave == [True, False, True]
    # ... and what it says of them is what the second network says.
    asked.eval()
    kept = made.part("validation")
    place = next(i for i in range(len(kept)) if int(kept[i].folds[0]) == 1)
    alone = asked.probabilities(asked.members[1](kept[place]))[0].detach().double().numpy()
    np.testing.assert_allclose(asked.named(kept)[place], alone, atol=1e-6)


def test_a_new_patient_is_named_by_the_mean_of_all():
    made = data(folds=3)
    asked = module(made)
    run = made.part("test")[0]
    each = torch.stack([asked.probabilities(member(run)) for member in asked.members])
    np.testing.assert_allclose(asked.named(made.part("test"))[0], each.mean(0)[0].detach(), atol=1e-6)


def test_what_was_trained_is_told_member_by_member():
    made = data(folds=3)
    asked = module(made)
    asked.temperature.fill_(2.5)
    run, (scores, *_) = made.part("test")[0], asked.member_scores(made.part("test"))
    each = torch.stack([member(run)[0].softmax(-1) for member in asked.members]).detach()
    np.testing.assert_allclose(asked.averaged(scores, calibrated=False), each.mean(0), atol=1e-6)
    # The mean of tempered members is not the tempered mean, and cannot be undone by a power.
    undone = asked.averaged(scores) ** 2.5
    assert np.abs(undone / undone.sum(1, keepdims=True) - each.mean(0).numpy()).max() > 1e-5


@pytest.mark.parametrize("causal", [False, True])
def test_padding_and_company_change_nothing(causal: bool):
    made = data(causal=causal)
    asked = module(made)
    runs = [scaled(each, made.task) for each in made.part("test").series]
    together = asked(stack(runs)).detach()
    for row, run in enumerate(runs):
        torch.testing.assert_close(together[row, : run.mask.shape[1]], asked(run)[0].detach(), atol=1e-5, rtol=1e-4)


def test_a_causal_network_does_not_see_the_future():
    made = data(causal=True)
    asked = module(made)
    run = scaled(made.part("test").series[0], made.task)
    changed = copy.deepcopy(run)
    changed.windows[:, 10:] += 3
    changed.features[:, 10:] -= 1
    changed.intervals[:, 10:] *= 2
    torch.testing.assert_close(asked(run)[:, :10], asked(changed)[:, :10])
    assert not torch.allclose(asked(run)[:, 10:], asked(changed)[:, 10:])


def test_the_checkpoint_keeps_its_calibration():
    made = data()
    asked = module(made, by_class=True)
    scores = np.random.default_rng(0).standard_normal((300, 5)).astype(np.float32)
    asked.calibrate(scores, scores.argmax(1), np.arange(300) % 7)
    kept = {"state_dict": asked.state_dict(), "integrand": {**asked.describe(), "app": "medical"}}
    again = BeatModule.from_checkpoint(kept)
    assert float(again.temperature) == float(asked.temperature) != 1.0
    torch.testing.assert_close(again.least_probability, asked.least_probability)
    p = again.probabilities(torch.from_numpy(scores)).numpy()
    sets = again.sets(p)
    assert sets is not None
    held = sets[np.arange(300), scores.argmax(1)]
    for k in range(5):  # each class for itself, the mean over seven patients
        own = [held[(scores.argmax(1) == k) & (np.arange(300) % 7 == one)].mean() for one in range(7)]
        assert 0.9 <= np.mean(own) <= 0.97  # one beat more of one patient is 0.03


def test_logistic_regression_tells_broad_beats_from_narrow_ones():
    given = data(patients=40)
    test = given.part("test").series
    baseline = RhythmAndShape()
    baseline.fit(given.part("train").series, given.task)
    p = np.concatenate([baseline.predict(each) for each in test])
    labels = np.concatenate([each.labels for each in test])
    np.testing.assert_allclose(p.sum(1), 1)
    assert beat_scores(confusion(p.argmax(1), labels, 5), list(CLASSES))["f1_V"] > 0.8


def test_a_piece_of_the_trace_that_looks_as_usual_adds_nothing():
    """A beat that is the usual one but for 40 ms: the answer to its trace lies there, and is what is lost without."""
    given = data()
    made, series = module(given), given.part("test").series[0]
    usual = usual_beats(series.windows, False)[0]
    beat, piece = 5, slice(35, 40)
    windows = series.windows.copy()
    windows[beat] = usual
    windows[beat, piece] += 1.0
    odd = retold(series, times=series.times, windows=windows, labels=series.labels, usable=series.usable, causal=False)
    parts, features = attribution(made, odd, beat, CLASSES.index("V"))
    assert parts.shape == (min(len(series), beat + AROUND + 1), windows.shape[1])
    assert features.shape == (len(given.task.features),)
    assert np.abs(parts[beat, piece]).min() > 1e-5
    elsewhere = np.delete(parts[beat], np.arange(piece.start, piece.stop))
    # The usual beat of the edited recording is the same but for rounding, as medians are.
    assert np.abs(elsewhere).max() < 1e-3 * np.abs(parts[beat, piece]).max()

    def odds(one: BeatSeries) -> float:
        p = made(scaled(one, given.task).between(0, beat + AROUND + 1))[0, beat].detach().double()
        return float((p[2] / (p.sum() - p[2])).log())

    windows[beat] = usual
    without = retold(
        series, times=series.times, windows=windows, labels=series.labels, usable=series.usable, causal=False
    )
    assert parts[beat].sum() == pytest.approx(odds(odd) - odds(without), rel=0.05)


@pytest.mark.parametrize("stages", [0, 1])
def test_variations_are_learned_from_in_their_patients_fold_and_never_scored(stages: int):
    plain, given = data(folds=3), data(folds=3, variations=2)
    assert replace(given.task, learned_shares=plain.task.shares) == plain.task
    assert plain.task.learned_shares == plain.task.shares
    train, validation = given.part("train"), given.part("validation")
    count = len(plain.part("train").series)
    assert [one.id for one in train.series] == [one.id for one in plain.part("train").series]
    assert len(train.learned) == 7 * count
    assert len(validation) == count
    assert [validation[row].labels.shape for row in range(count)] == [(1, len(one)) for one in train.series]
    fold = {one.patient: int(validation[row].folds[0]) for row, one in enumerate(train.series)}
    seen = [train[row] for row in range(len(train))]
    assert sum(len(one.labels[0]) for one in seen) >= sum(len(one) for one in train.learned)
    names = list(dict.fromkeys(one.patient for one in train.series))
    assert all(int(one.folds[0]) == fold[names[int(one.patients[0])]] for one in seen)
    assert len(given.part("test").learned) == len(given.part("test").series)
    torch.manual_seed(0)
    made = BeatModule(S5BeatNetwork(**SMALL | {"stages": stages}))
    made.build(given)
    loss, _ = made.loss(stack(seen[:6]))
    loss.backward()
    assert loss.isfinite()


def test_negative_stages_and_variations_are_refused():
    with pytest.raises(InputError, match=r"model.network.stages=-1 must be at least 0"):
        S5BeatNetwork(stages=-1).build(data().task)
    with pytest.raises(InputError, match=r"data.variations=-2 is out of range: it must be at least 0"):
        BeatData(variations=-2)


def test_attributions_add_up_to_the_answer():
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(6, 16), torch.nn.Tanh(), torch.nn.Linear(16, 1)).double()
    x, y = torch.randn(2, dtype=torch.float64), torch.randn(4, dtype=torch.float64)
    given = integrated_gradients(lambda parts: net(torch.cat(list(parts))).sum(), [x, y], steps=400)
    change = net(torch.cat([x, y])).sum() - net(torch.zeros(6, dtype=torch.float64)).sum()
    assert float(sum(one.sum() for one in given)) == pytest.approx(float(change), abs=1e-4)


@pytest.fixture(scope="module", autouse=True)
def few_steps():
    """Train the residual network of the comparison for a moment alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("integrand.apps.medical.beats.baselines.STEPS", 8)
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = tmp_path_factory.mktemp("runs")
    options = ["--data.patients", "40", "--data.seconds", "60", "--trainer.max_epochs", "3", "--runs", str(runs)]
    assert main(["train", "medical", *options]) == 0
    return runs / "medical" / "simulated_beats" / "1"


def test_a_run_is_complete(run: Path):
    results = json.loads((run / "results.json").read_text())
    assert set(results["metrics"]) == {"s5", "majority", "logistic regression", "residual network"}
    assert all(np.isfinite(value) for scores in results["metrics"].values() for value in scores.values())
    assert [table["caption"] for table in results["tables"]][:3] == ["By class", "By patient", "Calibration"]
    report = (run / "report.html").read_text()
    assert "For research only" in report
    assert "simulated" in report
    drawn = {one["file"] for one in json.loads((run / "figures" / "captions.json").read_text())}
    assert {"strips.png", "confusion.png", "curves.png", "reliability.png", "abstention.png", "comparison.png"} <= drawn


def test_evaluating_again_gives_the_same(run: Path):
    before = json.loads((run / "results.json").read_text())["metrics"]
    assert main(["evaluate", str(run)]) == 0
    after = json.loads((run / "results.json").read_text())["metrics"]
    assert after["s5"] == pytest.approx(before["s5"], abs=1e-6)


def test_a_run_is_examined(run: Path):
    found = examined(run)
    assert {"solver audit", "robustness audit", "memory of network.forwards.layers.0"} <= set(found)
    assert found["solver audit"]["verdict"] == "told"  # S5 is exact
    assert "For research only" in (run / "analysis.html").read_text()


def test_a_folder_of_records_trains(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    simulator = EcgSimulator(seconds=25)
    for number in range(9):
        write_record(tmp_path, f"r{number}", simulator.recording(number, seed=3))
    options = ["--trainer.max_steps", "2", "--trainer.max_epochs", "1", "--runs", str(tmp_path / "runs")]
    assert main(["train", "medical", "--dataset", str(tmp_path), *options]) == 0
    assert "r3" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--data.protocol", "as-published", "--dataset", "mit_bih"], "protocol of mit_bih"),
        (["--dataset", "mit_bhi"], "mit_bih"),
        (["--data.folds", "99"], "data.folds=99"),
        (["--data.leads", "[II,V5]"], "has no lead 'V5'"),
        (["--data.patients", "2"], "data.patients=2"),
        (["--model.balance", "2"], "model.balance=2"),
        (["--model.coverage", "1"], "model.coverage=1"),
        (["--data.rate", "0"], "rate=0"),
    ],
)
def test_what_users_get_wrong_is_told_in_one_line(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    few = ["--data.patients", "12", "--data.seconds", "20", "--runs", str(tmp_path)]
    assert main(["train", "medical", *few, *options]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert message in error
    assert error.startswith("error: ")


def test_recordings_that_cannot_be_used_are_refused(tmp_path: Path):
    simulator = EcgSimulator(seconds=20)
    for number in range(4):
        write_record(tmp_path, f"r{number}", simulator.recording(number, seed=3))
    signal = tmp_path / "r1.dat"
    whole = signal.read_bytes()
    signal.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="record r1"):
        BeatData(str(tmp_path)).setup()
    signal.write_bytes(whole)
    (tmp_path / "r2.atr").unlink()
    with pytest.raises(InputError, match="r2 has no annotations"):
        BeatData(str(tmp_path)).setup()
