"""Risks from intensive care: nothing after the hour is seen, patients stay apart, and what is told keeps its form."""

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from lightning import Trainer

from integrand.apps import registry
from integrand.apps.application import load
from integrand.apps.cli import main
from integrand.apps.medical import APPLICATION
from integrand.apps.medical.icu.batches import StaysOfPart, describe, hours_known, prepared, to_stays
from integrand.apps.medical.icu.data import IcuData
from integrand.apps.medical.icu.models.stay_networks import S5Stays
from integrand.apps.medical.icu.models.wide_and_deep import mean_of
from integrand.apps.medical.icu.module import IcuModule
from integrand.apps.medical.icu.summaries import STATISTICS, summaries
from integrand.apps.medical.icu.task import IcuTask
from integrand.apps.medical.icu.timelines import occlusion, timeline
from integrand.core.errors import InputError
from integrand.datasets.labelled import LabelledSeries

TASK = APPLICATION.task("icu")
NETWORKS = sorted(TASK.models)
CHANNELS = ["HR", "Lactate", "pH"]


def records(count: int = 60, *, seed: int = 0) -> LabelledSeries:
    """Return stays of 24 hours whose lactate rises and heart races where the patient died, mostly unobserved."""
    rng = np.random.default_rng(seed)
    labels = (np.arange(count) % 3 == 0).astype(np.int64)
    times, values = [], []
    for label in labels:
        own = np.unique(np.round(rng.uniform(0, 24, 20), 2))
        heart = 80 + 15 * label + 10 * rng.standard_normal(len(own))
        lactate = np.exp(0.3 + 0.04 * label * own + 0.4 * rng.standard_normal(len(own)))
        cells = np.stack([heart, lactate, 7.35 + 0.05 * rng.standard_normal(len(own))], axis=1)
        cells[rng.random(cells.shape) < 0.6] = np.nan
        times.append(own)
        values.append(cells.astype(np.float32))
    static = np.stack([rng.uniform(20, 90, count), rng.integers(0, 2, count)], axis=1).astype(np.float32)
    return LabelledSeries(
        "records",
        CHANNELS,
        ["lived", "died"],
        times,
        values,
        labels,
        [str(100 + number) for number in range(count)],
        static=static,
        static_names=["Age", "Gender"],
        time_unit="h",
    )


def described(series: LabelledSeries, *, cutoff: float = 24.0, rows: Any = None) -> IcuTask:
    rows = np.arange(len(series)) if rows is None else rows
    return describe(series, rows, cutoff=cutoff, bin=1.0, outside="missing", dated=False)


def module_of(name: str, task: IcuTask, *, members: int = 1) -> IcuModule:
    torch.manual_seed(0)
    network = load(TASK.models[name])(members=members, hidden=4)
    module = IcuModule(network)
    module.build_networks(task)
    with torch.no_grad():  # the straight part starts at zero, and would say nothing
        for parameter in module.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return module.eval()


def later_edited(series: LabelledSeries, hour: float) -> LabelledSeries:
    """Return the stays with all that comes after an hour changed, and rows added there."""
    times, values = [], []
    for own, cells in zip(series.times, series.values, strict=True):
        known = own <= hour
        late = np.unique(np.append(own[~known], [hour + 0.25, hour + 1.5]))
        times.append(np.append(own[known], late))
        values.append(np.concatenate([cells[known], np.full((len(late), len(CHANNELS)), 7.7, dtype=np.float32)]))
    return replace(series, times=times, values=values)


class TestTheFuture:
    """Edited, it changes nothing; the past, edited, does."""

    @pytest.mark.parametrize("name", NETWORKS)
    def test_after_the_cutoff(self, name: str):
        series = records(8)
        task = described(series, cutoff=12.0)
        module = module_of(name, task)
        told = module.judge(prepared(series, task))
        np.testing.assert_array_equal(module.judge(prepared(later_edited(series, 12.0), task)), told)
        assert (module.judge(prepared(later_edited(series, 6.0), task)) != told).any((1, 2)).all()

    @pytest.mark.parametrize("name", NETWORKS)
    def test_after_the_hour_at_which_a_risk_is_told(self, name: str):
        series = records(6)
        task = described(series)
        module = module_of(name, task)
        hours = np.full(6, 9.0)
        told = module.judge(prepared(series, task), hours=hours)
        np.testing.assert_array_equal(module.judge(prepared(later_edited(series, 9.0), task), hours=hours), told)
        assert (module.judge(prepared(later_edited(series, 9.0), task)) != told).any((1, 2)).all()

    def test_scales_are_those_of_what_is_known_in_training(self):
        series = records()
        rows = np.arange(0, 40)
        task = described(series, cutoff=12.0, rows=rows)
        others = records(seed=1)
        mixed = replace(
            series, values=[*series.values[:40], *others.values[40:]], times=[*series.times[:40], *others.times[40:]]
        )
        assert described(later_edited(mixed, 12.0), cutoff=12.0, rows=rows) == task
        assert described(series, cutoff=12.0, rows=np.arange(20, 60)) != task


class TestNetworks:
    """Laws of every network of stays."""

    @pytest.mark.parametrize("name", NETWORKS)
    def test_a_batch_equals_its_stays_one_by_one(self, name: str):
        series = records(5)
        task = described(series)
        module, made = module_of(name, task, members=2), prepared(series, task)
        hours = np.array([24.0, 3.0, 17.0, 1.0, 24.0])
        together = module.judge(made, hours=hours)
        alone = [module.judge(made, [row], hours[row : row + 1])[0] for row in range(5)]
        np.testing.assert_allclose(together, np.stack(alone), rtol=1e-4, atol=2e-5)
        np.testing.assert_allclose(np.exp(together).sum(-1), 1, rtol=1e-5)

    @pytest.mark.parametrize("name", NETWORKS)
    def test_every_parameter_learns(self, name: str):
        series = records(6)
        task = described(series)
        module = module_of(name, task).train()
        loss, _ = module.loss(to_stays(prepared(series, task), task))
        loss.backward()
        still = [name for name, one in module.named_parameters() if one.grad is None or not one.grad.any()]
        assert still == []

    @pytest.mark.parametrize("name", ["s5", "latent_ode"])
    def test_a_checkpoint_builds_it_again(self, name: str):
        series = records(6)
        task = described(series)
        module, made = module_of(name, task, members=2), prepared(series, task)
        module.temperature.fill_(1.7)
        said = json.loads(json.dumps(module.describe()))  # as plain values
        again = IcuModule.from_checkpoint({"integrand": said, "state_dict": module.state_dict()})
        scores = module.judge(made)
        np.testing.assert_array_equal(again.judge(made), scores)
        np.testing.assert_array_equal(again.risks(scores), module.risks(scores))

    def test_members_learn_as_they_would_alone(self):
        series = records(6)
        task = described(series)
        module = module_of("s5", task, members=2)  # in evaluation mode, so that nothing is left out
        batch = to_stays(prepared(series, task), task)
        module.loss(batch)[0].backward()
        own = [one.grad.clone() for one in module.network.deep[1].parameters() if one.grad is not None]
        module.zero_grad()
        scores, _ = module.network.member(1, batch, module.network.wide(batch))
        torch.nn.functional.cross_entropy(scores, batch.target).backward()  # pyright: ignore[reportArgumentType]
        alone = [one.grad for one in module.network.deep[1].parameters() if one.grad is not None]
        for one, other in zip(own, alone, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-7)

    def test_the_mean_of_members_is_of_probabilities(self):
        scores = torch.randn(3, 5, 4, dtype=torch.float64).float()
        expected = scores.softmax(-1).mean(0)
        torch.testing.assert_close(mean_of(scores).exp(), expected)


def test_summaries_against_numpy():
    series = records(4)
    task = described(series)
    made = prepared(series, task)
    hours = np.array([24.0, 10.0, 2.0, 24.0])
    batch = to_stays(made, task, hours=hours)
    told = summaries(batch, hours_known(batch, task)).unflatten(1, (len(STATISTICS), 3)).numpy()
    at = {name: place for place, name in enumerate(STATISTICS)}
    for row in range(4):
        for channel in range(3):
            seen = batch.mask[row, :, channel].numpy()
            x = batch.values[row, :, channel].numpy()[seen].astype(np.float64)
            t = np.arange(1, len(seen) + 1)[seen]
            assert told[row, at["count"], channel] == pytest.approx(math.log(1 + len(x)), rel=1e-5)
            if not len(x):
                assert np.isnan(np.delete(told[row, :, channel], at["count"])).all()
                continue
            # A ridge regression on centred times, with 25 hours squared as its penalty.
            centred = np.stack([t - t.mean(), np.ones(len(t))], axis=1)
            slope = np.linalg.solve(centred.T @ centred + np.diag([25.0, 0]), centred.T @ x)[0]
            expected = {
                "mean": x.mean(),
                "last": x[-1],
                "first": x[0],
                "least": x.min(),
                "greatest": x.max(),
                "slope": slope,
                "deviation": x.std(),
                "age": math.log(1 + hours[row] - t[-1]),
            }
            for name, value in expected.items():
                assert told[row, at[name], channel] == pytest.approx(value, rel=1e-4, abs=1e-5), name


def test_logarithms_are_taken_where_training_values_are_skewed_and_never_negative():
    series = records()
    assert described(series).logged == ["Lactate"]
    lower = replace(series, values=[values - 20 for values in series.values])
    assert described(lower).logged == []


def test_occlusion_is_what_taking_the_record_s_values_away_does():
    series = records(6)
    task = described(series)
    module, made = module_of("s5", task), prepared(series, task)
    raised = occlusion(module, made, 2, window=6.0)
    assert raised.shape == (3, 4)
    whole = module.risks(module.judge(made))[2, 1]
    tried = 0
    for channel in range(3):
        for place in range(4):
            own = series.times[2]
            # The first bin holds admission too.
            within = (own > 6 * place) & (own <= 6 * (place + 1)) | ((place == 0) & (own == 0))
            cells = series.values[2].copy()
            if not np.isfinite(cells[within, channel]).any():
                assert raised[channel, place] == 0
                continue
            cells[within, channel] = np.nan
            edited = replace(series, values=[*series.values[:2], cells, *series.values[3:]])
            without = module.risks(module.judge(prepared(edited, task)))[2, 1]
            assert raised[channel, place] == pytest.approx(whole - without, abs=1e-6)
            tried += 1
    assert tried >= 6
    assert np.abs(raised).max() > 1e-4


def test_a_timeline_ends_with_the_risk_of_the_whole_record():
    series = records(4)
    task = described(series)
    module, made = module_of("s5", task), prepared(series, task)
    told = timeline(module, made, 1)
    assert (told.id, told.happened, len(told.hours)) == ("101", 0, 24)
    assert told.risks[-1] == pytest.approx(module.risks(module.judge(made))[1, 1], abs=1e-6)


def test_noise_drops_and_hours_are_functions_of_the_index():
    series = records(12)
    task = described(series)
    part = StaysOfPart(prepared(series, task), task, np.arange(12), noise=0.5, drop=0.3, early=0.5, seed=3)
    one, many = part[17], part.__getitems__([4, 17, 30])
    length = int(one.lengths[0])
    torch.testing.assert_close(many.values[1, :length], one.values[0], rtol=0, atol=0)
    assert not torch.equal(part[17 + 12].values, one.values)
    lengths = part.__getitems__(list(range(600))).lengths
    early = (lengths < 24).float().mean().item()
    assert 0.5 * 23 / 24 - 4 * math.sqrt(0.25 / 600) < early < 0.5 * 23 / 24 + 4 * math.sqrt(0.25 / 600)
    assert lengths.min() <= 2
    many.check()


def test_an_hour_between_bins_or_after_the_cutoff_is_refused():
    series = records(3)
    task = described(series)
    made = prepared(series, task)
    with pytest.raises(InputError, match="whole numbers of bins of 1 h"):
        to_stays(made, task, hours=[1.5, 2, 3])
    with pytest.raises(InputError, match="hour 25 lies after the cutoff"):
        to_stays(made, task, hours=[1, 25, 3])


def write_csv(path: Path, series: LabelledSeries, *, outcome: bool = True, form: str = "wide") -> Path:
    """Write stays as a user would have them; each patient has two stays."""
    frames = []
    assert series.static is not None
    for row, name in enumerate(series.ids):
        frame = pd.DataFrame(series.values[row], columns=CHANNELS)
        frame.insert(0, "hour", series.times[row])
        frame.insert(0, "stay", name)
        frame["age"], frame["sex"] = series.static[row, 0], "FM"[int(series.static[row, 1])]
        frame["person"] = f"p{row // 2}"
        if outcome:
            frame["outcome"] = series.classes[series.labels[row]]
        frames.append(frame)
    table = pd.concat(frames).dropna(how="all", subset=CHANNELS)
    if form == "long":
        keys = [name for name in table.columns if name not in CHANNELS]
        table = table.melt(id_vars=keys, value_vars=CHANNELS).dropna(subset="value")
    table.to_csv(path, index=False)
    return path


COLUMNS: dict[str, Any] = {"label_column": "outcome", "patient_column": "person", "static_columns": ("age", "sex")}
ROLES: dict[str, Any] = {"group_column": "stay", "time_column": "hour"}


def test_both_forms_of_a_table_give_the_same_parts_and_keep_patients_apart(tmp_path: Path):
    series = records(60)
    made = []
    for form in ("wide", "long"):
        (tmp_path / form).mkdir()
        path = write_csv(tmp_path / form / "stays.csv", series, form=form)
        data = IcuData(str(path), cutoff=24.0, **COLUMNS, **ROLES)
        data.setup()
        made.append(data)
    assert made[0].task == made[1].task
    torch.testing.assert_close(made[0].part("test").whole().values, made[1].part("test").whole().values)
    people = [set(made[0].patients(part)) for part in ("train", "validation", "test")]
    assert sum(map(len, people)) == len(set.union(*people)) == 30
    assert made[0].task.static == ["age", "sex=F", "sex=M", "share of the hours known"]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"cutoff": -1.0}, "data.cutoff=-1.0 is out of range"),
        ({"bin": 30.0, "cutoff": 24.0}, r"data.bin=30.0 is out of range: it must lie in \(0, cutoff\]"),
        ({"outside": "clipp"}, "did you mean 'clip'"),
        ({"early": 2.0}, r"data.early=2.0 .* lie in \[0, 1\]"),
        ({"dataset": "physionet2021"}, "did you mean 'physionet2012'"),
        ({"dataset": "missing.csv"}, "missing.csv"),
    ],
)
def test_options_out_of_range_get_one_line(options: dict[str, Any], told: str):
    with pytest.raises(InputError, match=told) as caught:
        IcuData(**options).setup()
    assert "\n" not in str(caught.value)


def test_one_record_under_two_names_and_times_before_admission_are_refused(tmp_path: Path):
    series = records(30)
    copied = replace(
        series, times=[*series.times[:-1], series.times[0]], values=[*series.values[:-1], series.values[0]]
    )
    path = write_csv(tmp_path / "stays.csv", copied)
    with pytest.raises(InputError, match="stays 100 and 129 are one record under the names of two patients"):
        IcuData(str(path), **COLUMNS, **ROLES).setup()
    early = replace(series, times=[series.times[0] - 30, *series.times[1:]])
    with pytest.raises(InputError, match=r"stay 100 has a row .* h before its admission"):
        IcuData(str(write_csv(tmp_path / "stays.csv", early)), **COLUMNS, **ROLES).setup()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A run on a user's table, trained for a few epochs through the command line."""
    folder = tmp_path_factory.mktemp("icu")
    path = write_csv(folder / "stays.csv", records(150))
    words = ["train", "medical", "--task", "icu", "--dataset", str(path), "--runs", str(folder / "runs")]
    words += [
        f"--data.{name}={value}"
        for name, value in {**ROLES, "cutoff": 24, "early": 0.5, "batch_size": 16, "folds": 3}.items()
    ]
    words += ["--data.label_column=outcome", "--data.patient_column=person", '--data.static_columns=["age","sex"]']
    words += [f"--model.network.{name}={value}" for name, value in {"width": 8, "d_state": 8, "members": 1}.items()]
    words += ["--trainer.max_epochs=6", "--trainer.accelerator=cpu", "--model.learning_rate=0.01"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(registry.APPLICATIONS, "medical", "integrand.apps.medical")
        assert main(words) == 0
        yield next((folder / "runs/medical").glob("*/1"))


def test_a_run_is_complete_learns_and_says_what_it_is_for(run: Path):
    results = json.loads((run / "results.json").read_text())
    metrics = results["metrics"]
    assert set(metrics) == {"s5", "majority", "logistic regression on summaries", "ridge", "rocket"}
    assert metrics["majority"]["auroc"] == 0.5
    assert metrics["s5"]["auroc"] > 0.75
    low, high = results["intervals"]["s5"]["auroc"]
    assert low < metrics["s5"]["auroc"] <= high
    tables = {one["caption"]: one["rows"] for one in results["tables"]}
    assert list(tables["Calibration"]) == ["as trained", "temperature", "isotonic", "were it perfect"]
    assert tables["Calibration"]["temperature"]["ece"] == pytest.approx(metrics["s5"]["ece"])
    held = tables["Sets promised to hold what happened for 90% of patients of each class"]
    assert set(held) == {"all stays", "of those who lived", "of those who died"}
    for row in held.values():
        assert row["coverage, low"] <= row["coverage"] <= row["coverage, high"]
    assert metrics["s5"]["set_coverage_died"] == held["of those who died"]["coverage"]
    assert results["better"]["set_coverage"] == 0.9
    assert list(tables["Risks told early"]) == ["6 h", "12 h", "18 h", "24 h"]
    assert tables["Risks told early"]["24 h"]["auroc"] == pytest.approx(metrics["s5"]["auroc"])
    assert {"women", "men", "65 and over"} <= set(tables["Subgroups"])
    assert sum(tables["Subgroups"][sex]["stays"] for sex in ("women", "men")) == results["samples"]["test"]
    page = (run / "report.html").read_text()
    assert "For research only" in page
    for name in ("timelines", "attribution", "abstention", "reliability"):
        assert (run / "figures" / f"{name}.png").stat().st_size > 5000


def test_evaluate_repeats_the_scores(run: Path):
    before = json.loads((run / "results.json").read_text())
    assert main(["evaluate", str(run), "--accelerator", "cpu"]) == 0
    assert json.loads((run / "results.json").read_text())["metrics"] == before["metrics"]


def predicted(run: Path, series: LabelledSeries, folder: Path, *words: str) -> pd.DataFrame:
    given = write_csv(folder / "new.csv", series, outcome=False)
    output = folder / "risks.csv"
    command = ["predict", str(run), "--input", str(given), "--output", str(output), "--accelerator", "cpu"]
    assert main([*command, "--group-column", "stay", "--time-column", "hour", *words]) == 0
    assert (folder / "risks.png").is_file()
    return pd.read_csv(output, dtype={"stay": str})


def test_predictions_have_risks_sets_and_abstentions(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    series = records(12, seed=5)
    table = predicted(run, series, tmp_path)
    assert "For research only" in capsys.readouterr().err
    assert table["stay"].tolist() == series.ids
    np.testing.assert_allclose(table["risk_lived"] + table["risk_died"], 1, atol=1e-5)
    stored = torch.load(run / "checkpoints/best.ckpt", weights_only=True)
    least = dict(zip(("lived", "died"), stored["state_dict"]["least_probability"].tolist(), strict=True))
    for _, row in table.iterrows():
        inside = [name for name in ("lived", "died") if row[f"risk_{name}"] >= least[name]]
        assert ("" if row["set"] != row["set"] else row["set"]) == "|".join(inside)  # an empty cell is read as NaN
        assert row["abstains"] == ("no" if len(inside) == 1 else "yes")


def test_risks_by_the_hour_know_nothing_later(run: Path, tmp_path: Path):
    series = records(4, seed=6)
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    told = predicted(run, series, tmp_path / "a", "--every", "3")
    edited = predicted(run, later_edited(series, 9.0), tmp_path / "b", "--every", "3")
    both = told.merge(edited, on=["stay", "hour"], suffixes=("", "_edited"))
    early, late = both[both["hour"] <= 9], both[(both["hour"] > 9)]
    assert len(early) == 12
    np.testing.assert_array_equal(early["risk_died"], early["risk_died_edited"])
    assert (late["risk_died"] != late["risk_died_edited"]).any()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--every", "0.5"], "--every 0.5 must be a whole number of the run's bins of 1 h"),
        (["--horizon", "3"], "option --horizon is not for icu"),
    ],
)
def test_a_wrong_option_gets_one_line(
    run: Path, words: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    given = write_csv(tmp_path / "new.csv", records(3), outcome=False)
    code = main(["predict", str(run), "--input", str(given), "--group-column", "stay", "--time-column", "hour", *words])
    assert code == 2
    assert told in capsys.readouterr().err


def test_times_of_another_kind_and_missing_columns_are_refused(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    path = tmp_path / "dated.csv"
    path.write_text("stay,hour,HR,age,sex\n1,2024-01-01 00:00,80,50,F\n1,2024-01-01 05:00,90,50,F\n")
    assert main(["predict", str(run), "--input", str(path), "--group-column", "stay", "--time-column", "hour"]) == 2
    assert "its times are dates, and those of the run's data were hours since admission" in capsys.readouterr().err
    path.write_text("stay,hour,HR,age\n1,0,80,50\n1,5,90,50\n")
    assert main(["predict", str(run), "--input", str(path), "--group-column", "stay", "--time-column", "hour"]) == 2
    assert "lacks columns of the static features sex=F" in capsys.readouterr().err


@pytest.mark.parametrize("folds", [1, 3])
def test_calibration_is_fitted_on_the_validation_part_alone(tmp_path: Path, folds: int):
    data = on_table(tmp_path, records(150), folds=folds, batch_size=16)
    module = IcuModule(S5Stays(width=8, d_state=8, hidden=4), learning_rate=0.01)
    trainer = Trainer(
        max_epochs=2, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False
    )
    trainer.fit(module, data)
    kept = float(module.temperature), module.least_probability.clone()
    part = data.part("validation")
    scores = module.judge(part.made, part.rows, folds=part.folds)
    assert scores.shape == (len(part), 1, 2)
    module.calibrate(scores[:, 0].astype(np.float32), part.labels, data.patients("validation"))
    assert float(module.temperature) == pytest.approx(kept[0], rel=1e-3)
    torch.testing.assert_close(module.least_probability, kept[1], rtol=1e-3, atol=1e-6)


class TestFolds:
    """Nobody is judged, in training, by a network that learned from him."""

    def test_they_hold_patients_whole_and_classes_evenly(self, tmp_path: Path):
        series = records(120)
        data, plain = on_table(tmp_path, series, folds=4), on_table(tmp_path, series)
        train, validation = data.part("train"), data.part("validation")
        assert train.folds is not None
        assert validation.folds is not None
        np.testing.assert_array_equal(train.rows, validation.rows)
        np.testing.assert_array_equal(train.folds, validation.folds)
        # The test part is what it is without folds, and the others are all the rest.
        plain.setup()
        assert data.part("test").folds is None
        np.testing.assert_array_equal(data.part("test").rows, plain.part("test").rows)
        assert sorted(train.rows) == sorted([*plain.split.train, *plain.split.validation])
        patients = data.patients("train")
        whole = [set(patients[train.folds == fold]) for fold in range(4)]
        assert sum(map(len, whole)) == len(set(patients))
        # Patients of two stays, so that no fold can be further than two stays from a quarter of a class.
        counts = np.array([np.bincount(train.labels[train.folds == fold], minlength=2) for fold in range(4)])
        assert (np.abs(counts - counts.sum(0) / 4) <= 2).all()

    def test_what_is_random_in_training_leaves_the_stays_it_is_judged_by_alone(self, tmp_path: Path):
        data = on_table(tmp_path, records(60), folds=3, noise=0.5, drop=0.3, early=0.5)
        plain = on_table(tmp_path, records(60), folds=3)
        torch.testing.assert_close(data.part("validation").whole().values, plain.part("validation").whole().values)
        assert not torch.equal(data.part("train")[0].values, plain.part("train")[0].values)

    @pytest.mark.parametrize("members", [1, 2])
    def test_a_network_learns_nothing_from_its_own_fold(self, tmp_path: Path, members: int):
        data = on_table(tmp_path, records(60), folds=3)
        data.setup()
        module = module_of("s5", data.task, members=members)
        part = data.part("train")
        batch = part.whole()
        assert batch.folds is not None
        own = batch.stays(batch.folds == 1)
        assert own.sample_id == [part.made.ids[row] for row in part.rows[part.folds == 1]]
        module.loss(own)[0].backward()
        gave = [any(p.grad is not None and p.grad.any() for p in one.parameters()) for one in module.network.deep]
        assert gave == [number // members != 1 for number in range(3 * members)]
        # Nor does anything of the network depend on the stays of its fold: edited, its gradient is the same.
        grads = []
        for values in (batch.values, torch.where((batch.folds == 1)[:, None, None] & batch.mask, 3.0, batch.values)):
            module.zero_grad()
            module.loss(replace(batch, values=values))[0].backward()
            grads.append([one.grad for one in module.network.deep[members].parameters()])
        for one, other in zip(*grads, strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=0)

    def test_training_stays_are_judged_by_the_others_and_new_ones_by_the_mean(self, tmp_path: Path):
        data = on_table(tmp_path, records(60), folds=3)
        data.setup()
        module = module_of("s5", data.task, members=2)
        module.temperature.fill_(1.3)
        network, part = module.network, data.part("validation")
        batch = part.whole()
        with torch.no_grad():
            told = network.wide(batch)
            members = torch.stack([network.member(number, batch, told)[0] for number in range(6)]).softmax(-1)
            by_fold = members.unflatten(0, (3, 2)).mean(1)  # (G, B, K)
            alone = by_fold[batch.folds, torch.arange(len(batch))]
            scores, labels, patients = module.class_scores(batch)
            torch.testing.assert_close(scores.exp(), alone, rtol=1e-4, atol=1e-5)
            assert labels is batch.target
            assert patients.tolist() == data.patients("validation").tolist()
            judged = module.judge(part.made, part.rows, folds=part.folds)[:, 0]
            np.testing.assert_allclose(judged, alone.log(), rtol=1e-4, atol=1e-5)
            tempered = by_fold ** (1 / 1.3)
            expected = (tempered / tempered.sum(-1, keepdim=True)).mean(0)
            torch.testing.assert_close(module(batch), expected, rtol=1e-4, atol=1e-5)
            np.testing.assert_allclose(module.risks(module.judge(part.made, part.rows)), expected, rtol=1e-4, atol=1e-5)

    @pytest.mark.parametrize(
        ("folds", "told"),
        [
            (0, r"data.folds=0 is out of range: it must be at least 1"),
            (99, r"data.folds=99 of 24 training patients: take fewer"),
        ],
    )
    def test_folds_that_cannot_be_get_one_line(self, tmp_path: Path, folds: int, told: str):
        with pytest.raises(InputError, match=told) as caught:
            on_table(tmp_path, records(60), folds=folds).setup()
        assert "\n" not in str(caught.value)

    def test_a_class_of_one_patient_is_refused(self, tmp_path: Path):
        series = records(60)
        rare = replace(series, labels=(np.arange(60) // 2 == 3).astype(np.int64))
        with pytest.raises(InputError, match=r"data.folds=2 leaves networks no stay of class 'died'"):
            on_table(tmp_path, rare, folds=2).setup()


def on_table(folder: Path, series: LabelledSeries, **options: Any) -> IcuData:
    """Stays written to a table and read from it."""
    return IcuData(str(write_csv(folder / "stays.csv", series)), cutoff=24.0, **{**COLUMNS, **ROLES, **options})


def test_a_task_of_more_classes_has_a_threshold_for_each():
    task = replace(described(records()), classes=["home", "ward", "died"])
    module = IcuModule(S5Stays(width=8, d_state=8, hidden=4))
    module.build_networks(task)
    assert module.least_probability.shape == (3,)
    assert module.sets(np.full((4, 3), 1 / 3)) is None  # not calibrated yet
