"""Tables as a task of generation: nothing of the test part is learned from, and what is written reads like what was
read; an untrained network about its base is a Gaussian copula, whose density and covariance are known.

Letters: N rows, D encoded width.
"""

import importlib
import json
import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import r2_score, roc_auc_score
from torch.distributions import MultivariateNormal

from integrand.apps.cli import main
from integrand.apps.generation.densities import likelihood
from integrand.apps.generation.models.mlp import MLPDenoiser
from integrand.apps.generation.sampling import SamplingOptions, draw
from integrand.apps.generation.tabular.data import EncodedRows, TableData
from integrand.apps.generation.tabular.evaluation import evaluate
from integrand.apps.generation.tabular.learners import Answers, ask_learners
from integrand.apps.generation.tabular.module import TableModule
from integrand.apps.generation.tabular.privacy import at_most
from integrand.apps.generation.tabular.results import REAL
from integrand.apps.generation.tabular.task import TableTask
from integrand.apps.generation.tabular.transfer import auroc, compared, transfer_ratio
from integrand.apps.generation.tabular.transfer_intervals import (
    resampled_ratios,
    resamples,
    weighted_auroc,
    weighted_r2,
)
from integrand.apps.training.conclusion import print_table
from integrand.apps.training.verdict import verdict
from integrand.core.errors import InputError
from integrand.datasets.frames import read_frame
from integrand.datasets.load_frame import load_frame

NOISE = 0.1
"""The least noise of the models here."""


def people(rows: int, seed: int) -> pd.DataFrame:
    """A table with a column of every kind: the income goes up with age and job, the bill is lattice and often 0."""
    rng = np.random.default_rng(seed)
    age = rng.integers(18, 80, rows)
    job = rng.choice(["clerk", "farmer", "smith"], rows, p=[0.5, 0.3, 0.2])
    income = 1000 + 30 * age + 500 * (job == "smith") + 200 * rng.standard_normal(rows)
    bill = np.where(rng.random(rows) < 0.4, 0.0, np.round(rng.gamma(2.0, 20.0, rows), 2))
    return pd.DataFrame(
        {
            "age": age,
            "job": job,
            "income": np.round(income, 1),
            "bill": bill,
            "married": rng.random(rows) < 0.5,
            "weight": np.where(rng.random(rows) < 0.2, np.nan, np.round(60 + 0.3 * age + rng.normal(0, 5, rows), 1)),
            "since": (pd.Timestamp("2015-01-01") + pd.to_timedelta(rng.integers(0, 2000, rows), "D")).strftime(
                "%Y-%m-%d"
            ),
            "country": "NL",
        }
    )


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "people.csv"
    people(240, 0).to_csv(path, index=False)
    return path


class Run(NamedTuple):
    """A finished run, and what it was trained on."""

    path: Path
    table: Path


@pytest.fixture(scope="module")
def run(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A tiny training on a table that is gone afterwards. Tests must not change its files."""
    root = tmp_path_factory.mktemp("runs")
    gone = shutil.copy(table, root / "gone.csv")
    words = ["train", "generation", "--recipe", "breast_cancer", "--dataset", str(gone), "--runs", str(root)]
    words += ["--data.target", "job", "--trainer.max_steps", "20", "--model.network.width", "16"]
    words += ["--trainer.accelerator", "cpu", "--model.sampler_steps", "6"]
    with pytest.MonkeyPatch.context() as patched:  # of forests that tell samples apart, for speed
        patched.setattr(importlib.import_module("integrand.apps.generation.metrics.classifier_test"), "TREES", 20)
        assert main(words) == 0
    Path(gone).unlink()
    return Run(root / "generation/breast_cancer/1", table)


def untrained(data: TableData) -> TableModule:
    """A module whose network answers 0: its denoiser is the base."""
    data.setup()
    module = TableModule(MLPDenoiser(8, blocks=1), base="gaussian", process_options={"start": NOISE, "end": 1e4})
    module.build(data)
    return module.eval()


def moments(data: TableData) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of the encoded training rows."""
    values = data.part("train").values.double().numpy()
    return values.mean(0), np.cov(values, rowvar=False, bias=True)


def test_an_untrained_model_is_a_gaussian_copula(table: Path):
    """Samples of the flow have mean and covariance of the training scores; by 1 / sqrt(N) of chance, five times it."""
    data = TableData(str(table))
    module, (mean, covariance) = untrained(data), moments(data)
    options = SamplingOptions(method="heun", steps=40)
    drawn = draw(module, range(4000), options=options).values.double().numpy()
    expected = covariance + NOISE**2 * np.eye(len(mean))
    chance = 5 / np.sqrt(4000)
    deviation = np.sqrt(np.diag(expected))
    # The steps of the sampler shrink each direction by less than half a per cent.
    np.testing.assert_allclose(drawn.mean(0) / deviation, mean / deviation, rtol=0, atol=chance)
    scaled = np.outer(deviation, deviation)
    np.testing.assert_allclose(np.cov(drawn, rowvar=False) / scaled, expected / scaled, rtol=0, atol=2**0.5 * chance)


def test_its_likelihood_is_that_of_normal_scores(table: Path):
    data = TableData(str(table))
    module, (mean, covariance) = untrained(data), moments(data)
    values = data.part("test").whole().values
    noisy = torch.from_numpy(covariance) + NOISE**2 * torch.eye(len(mean), dtype=torch.float64)
    exact = MultivariateNormal(torch.from_numpy(mean), noisy).log_prob(values.double())
    labels = torch.zeros(len(values), dtype=torch.int64)
    found = likelihood(module, values, labels, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found.log_prob, exact, rtol=0, atol=0.02)


def test_nothing_of_validation_and_test_is_learned_from(table: Path, tmp_path: Path):
    """Other numbers in the rows that are held out leave schema, codec, task and base as they were."""
    first = TableData(str(table))
    first.setup()
    frame = pd.read_csv(table)
    held = [*first.split.validation, *first.split.test]
    frame.loc[held, "income"] = 10 * frame.loc[held, "income"] + 7
    frame.loc[held, "age"] = 5 + frame.loc[held, "age"]
    frame.to_csv(tmp_path / "other.csv", index=False)
    other = TableData(str(tmp_path / "other.csv"))
    other.setup()
    assert other.split.train == first.split.train
    assert other.split.hash != first.split.hash
    assert other.task == first.task
    assert torch.equal(other.part("train").values, first.part("train").values)
    assert not torch.equal(other.part("test").values, first.part("test").values)


def test_every_encoding_of_a_row_is_that_row_and_an_epoch_has_another(table: Path):
    data = TableData(str(table), seed=3)
    data.setup()
    part, count = data.part("train"), len(data.part("train"))
    frame = data.frame("train").reset_index(drop=True)
    for epoch in (0, 1, 40):
        batch = part.__getitems__([i + count * epoch for i in range(count)])
        pd.testing.assert_frame_equal(data.codec.decode(batch.values.numpy()), frame)
        assert torch.equal(batch.values, part.encodings[epoch % len(part.encodings)])
    assert not torch.equal(part.encodings[0], part.encodings[1])
    assert isinstance(part, EncodedRows)


def test_parts_have_the_targets_categories_alike(table: Path):
    data = TableData(str(table), target="job")
    data.setup()
    shares = [data.frame(part)["job"].value_counts(normalize=True) for part in ("train", "validation", "test")]
    for one in shares[1:]:
        # Each class of each part is rounded down or up: by one row of the part.
        assert (one - shares[0]).abs().max() <= 1 / len(data.frame("validation"))
    by_number = TableData(str(table), target="income")
    by_number.setup()
    assert len(by_number.frame("test")) == 48


def test_a_category_that_training_lacks_leaves_rows_out_and_says_so(tmp_path: Path):
    frame = people(200, 1)
    frame.to_csv(tmp_path / "a.csv", index=False)
    held = TableData(str(tmp_path / "a.csv"))
    held.setup()
    frame.loc[held.split.test[0], "job"] = "king"
    frame.loc[held.split.test[1], "income"] = np.nan
    frame.to_csv(tmp_path / "b.csv", index=False)
    data = TableData(str(tmp_path / "b.csv"))
    data.setup()
    assert data.split.test == held.split.test[2:]
    assert [notice for notice in data.notices if "1 rows of validation and test have in column 'job'" in notice]
    assert [notice for notice in data.notices if "'income'" in notice]
    assert [notice for notice in data.notices if "'country' is 'NL' in every training row" in notice]


def test_names_and_files_of_tables(table: Path):
    assert load_frame("Breast-Cancer").target == "diagnosis"
    assert load_frame(str(table)).target is None
    assert load_frame("diabetes").checksum == load_frame("diabetes").checksum
    assert load_frame("diabetes").checksum != load_frame("breast_cancer").checksum
    with pytest.raises(InputError, match="unknown table 'diabetis': did you mean 'diabetes'"):
        load_frame("diabetis")


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({}, {"target": "jop"}, "unknown target column 'jop': did you mean 'job'"),
        ({}, {"target": "country"}, "target 'country' never changes"),
        ({}, {"target": "job", "drop": ["job"]}, "is among the columns of --data.drop"),
        ({}, {"drop": ["jop"]}, "unknown column in --data.drop 'jop'"),
        ({}, {"batch_size": 0}, "data.batch_size=0 is out of range"),
        ({"name": [f"person {i}" for i in range(60)]}, {}, "has another text in each row.*--data.drop name"),
        ({"rare": ["yes"] + ["no"] * 59}, {"target": "rare"}, "the test rows hold one class of 'rare' alone"),
        ({}, {"fractions": (0.8, 0.15, 0.05)}, r"leaves 3 rows to the test part by the shares \(0\.8, 0\.15, 0\.05\)"),
        ({"empty": np.nan}, {}, "column 'empty' has no value in any training row"),
    ],
)
def test_tables_that_cannot_be_learned_are_refused_with_the_cure(
    change: dict, options: dict, message: str, tmp_path: Path
):
    people(60, 2).assign(**change).to_csv(tmp_path / "people.csv", index=False)
    with pytest.raises(InputError, match=message) as told:
        TableData(str(tmp_path / "people.csv"), **options).setup()
    assert "\n" not in str(told.value)


def test_a_constant_alone_is_nothing_to_learn(tmp_path: Path):
    pd.DataFrame({"a": ["x"] * 40, "b": [1] * 40}).to_csv(tmp_path / "same.csv", index=False)
    with pytest.raises(InputError, match="no column of a, b changes"):
        TableData(str(tmp_path / "same.csv")).setup()


def test_a_base_of_grey_values_is_none_for_tables(table: Path):
    data = TableData(str(table))
    data.setup()
    with pytest.raises(InputError, match=r"model\.base=histogram is for grey values"):
        TableModule(MLPDenoiser(8), base="histogram").build(data)
    with pytest.raises(InputError, match="unknown base 'gausian': did you mean 'gaussian'"):
        TableModule(MLPDenoiser(8), base="gausian")  # pyright: ignore[reportArgumentType]


def test_a_run_tells_what_its_rows_are_worth(run: Run):
    results = json.loads((run.path / "results.json").read_text())
    metrics = results["metrics"]
    assert set(metrics) == {"mlp", "independent columns", "Gaussian copula", REAL}
    assert next(iter(metrics["mlp"])) == "transfer_ratio"
    assert metrics[REAL]["transfer_ratio"] == 1
    assert "copies" not in metrics[REAL]  # all of its rows are training rows
    low, high = results["intervals"]["mlp"]["transfer_ratio"]
    assert low <= metrics["mlp"]["transfer_ratio"] <= high
    assert f"The 95 % interval of its transfer ratio, {low:.3f} to {high:.3f}, " in verdict(results)
    assert (
        metrics["independent columns"]["association_difference"] > metrics["Gaussian copula"]["association_difference"]
    )
    train = results["samples"]["train"]
    assert results["sampling"]["rows"] == 4 * train
    assert f"{train} rows of mlp" in results["tables"][0]["rows"]
    assert [remark for remark in results["remarks"] if f"Of {12 * train:,} synthetic rows" in remark]
    own = results["scores"]["mlp"]["transfer"]
    ratios = [one["ratio"] for one in own if one["metric"] == "auroc"]
    assert metrics["mlp"]["transfer_ratio"] == pytest.approx(np.mean(ratios), rel=1e-12)
    figures = {one["file"] for one in json.loads((run.path / "figures/captions.json").read_text())}
    assert {"columns.png", "associations.png", "transfer.png"} <= figures
    assert "transfer ratio" in (run.path / "report.html").read_text()


def test_learners_of_long_tables_see_as_many_rows_of_real_and_synthetic_ones(
    table: Path, monkeypatch: pytest.MonkeyPatch
):
    """What a cap of 100 rows gives is what learners of those very rows give."""
    monkeypatch.setattr("integrand.apps.generation.tabular.evaluation.MOST_LEARNED", 100)
    monkeypatch.setattr("integrand.apps.generation.tabular.evaluation.MOST_TOLD_APART", 20)
    monkeypatch.setattr(importlib.import_module("integrand.apps.generation.metrics.classifier_test"), "TREES", 20)
    data = TableData(str(table), target="income", drop=["since"])
    made = evaluate(untrained(data), data, name="mlp", seed=0, notify=lambda line: None, count=150, steps=5)
    rows = made.results["tables"][0]["rows"]
    assert list(rows)[:2] == ["100 real rows", "100 rows of mlp"]
    assert not [name for name in rows if name.startswith(("150", "172", "173"))]
    assert made.results["sampling"]["learned"] == made.results["sampling"]["learned_of_real"] == 100
    train = data.frame("train")
    assert [remark for remark in made.results["remarks"] if f"of the {len(train):,} real ones as well" in remark]
    # Columns drawn apart are worth nothing, and there is no share of nothing to gain.
    assert "independent columns" not in made.results["gains"]
    assert made.results["gains"]["Gaussian copula"]["transfer_ratio"]["low"] < 1
    seen = [at_most(train, 100, seed=seed) for seed in range(3)]
    assert all(set(one.index) <= set(train.index) and one.index.is_unique for one in seen)
    assert set(seen[0].index) != set(seen[1].index)
    again = ask_learners(data.codec.schema, "income", learned_from=seen, test=data.frame("test"))
    expected = {(one.learner, one.metric): one.real for one in compared(again, again)}
    found = {(one.learner, one.metric): one.real for one in made.scores["mlp"].transfer}
    assert found == pytest.approx(expected, rel=1e-12)


def test_a_table_without_target_is_compared_all_the_same(table: Path, capsys: pytest.CaptureFixture):
    data = TableData(str(table), drop=["since"])
    module = untrained(data)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(importlib.import_module("integrand.apps.generation.metrics.classifier_test"), "TREES", 20)
        made = evaluate(module, data, name="mlp", seed=0, notify=lambda line: None, count=40, steps=5)
    assert next(iter(made.results["metrics"]["mlp"])) == "c2st_forest"
    assert made.results["sampling"]["rows"] == 40
    assert len(made.synthetic) == 120
    assert made.results["tables"] == []
    print_table(made.results)
    assert "independent columns" in capsys.readouterr().out
    assert "mlp comes" in verdict(made.results)
    with pytest.raises(InputError, match="--count 3 is too few"):
        evaluate(module, data, name="mlp", seed=0, notify=lambda line: None, count=3)


def test_samples_read_like_the_table_with_no_data_at_hand(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture):
    words = ["sample", str(run.path), "--accelerator", "cpu", "--output"]
    assert main([*words, str(tmp_path / "all"), "--count", "30"]) == 0
    assert "samples.csv" in capsys.readouterr().out
    original, made = read_frame(run.table), read_frame(tmp_path / "all" / "samples.csv")
    assert len(made) == 30
    assert made.dtypes.to_dict() == original.dtypes.to_dict()
    assert set(made["job"]) <= {"clerk", "farmer", "smith"}
    assert set(made["country"]) == {"NL"}
    assert made["age"].between(18, 79).all()
    for name, decimals in (("income", 1), ("bill", 2)):
        assert (made[name].round(decimals) == made[name]).all()
    assert pd.to_datetime(made["since"], format="%Y-%m-%d").between("2015-01-01", "2020-06-30").all()
    assert main([*words, str(tmp_path / "few"), "--seeds", "5-8"]) == 0
    few, same = read_frame(tmp_path / "few" / "samples.csv"), made.iloc[5:9]
    assert few["job"].tolist() == same["job"].tolist()
    # A batch of another size is added up in another order: a number may be rounded to the next of its lattice.
    np.testing.assert_allclose(few["income"], same["income"], rtol=0, atol=0.1 + 1e-6)


def test_likely_rows_are_told_from_unlikely_ones(run: Run, tmp_path: Path):
    frame = people(40, 5)
    frame.to_csv(tmp_path / "people.csv", index=False)
    against = frame.copy()
    against["income"] = 5500 - frame["income"]  # the old earn least
    against.to_csv(tmp_path / "against.csv", index=False)
    words = ["likelihood", str(run.path), "--accelerator", "cpu", "--input"]
    found = {}
    for name in ("people", "against"):
        output = tmp_path / f"{name}_likely.csv"
        assert main([*words, str(tmp_path / f"{name}.csv"), "--output", str(output)]) == 0
        found[name] = pd.read_csv(output)
    assert found["people"]["row"].tolist() == list(range(2, 42))
    assert found["people"]["log_prob"].mean() > found["against"]["log_prob"].mean() + 1


@pytest.mark.parametrize(
    ("change", "words", "message"),
    [
        (lambda frame: frame.drop(columns="age"), [], "lacks the columns age"),
        (lambda frame: frame.assign(height=1.8), [], "columns that the training table has not: height"),
        (lambda frame: frame.assign(job="king"), [], "'king' in column 'job', which no training row has"),
        (lambda frame: frame, ["--class", "clerk"], "a table has columns and no classes"),
    ],
)
def test_a_table_of_another_shape_has_no_likelihood(
    change, words: list[str], message: str, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture
):
    change(people(5, 6)).to_csv(tmp_path / "other.csv", index=False)
    given = ["likelihood", str(run.path), "--input", str(tmp_path / "other.csv"), *words]
    assert main([*given, "--accelerator", "cpu", "--output", str(tmp_path / "likely.csv")]) == 2
    told = capsys.readouterr().err
    assert message in told
    assert "Traceback" not in told
    assert not (tmp_path / "likely.csv").exists()


def test_an_array_is_no_table(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture):
    np.save(tmp_path / "rows.npy", np.zeros((3, 4)))
    assert main(["likelihood", str(run.path), "--input", str(tmp_path / "rows.npy"), "--accelerator", "cpu"]) == 2
    assert "rows.npy" in capsys.readouterr().err


def test_the_task_of_a_checkpoint_is_plain_and_makes_the_codec_again(table: Path):
    data = TableData(str(table), target="job")
    data.setup()
    again = TableTask(**json.loads(json.dumps(data.task.to_dict())))
    assert again == data.task
    frame = data.frame("test")
    np.testing.assert_array_equal(again.codec.encode(frame, seed=1), data.codec.encode(frame, seed=1))
    assert again.log_scale == 0


def answers(truth: np.ndarray, *every: np.ndarray) -> Answers:
    return Answers(truth, {f"learner {k}": one for k, one in enumerate(every)})


def test_weighted_scores_are_scikit_learns():
    rng = np.random.default_rng(0)
    weights = rng.integers(0, 4, (6, 50)).astype(float)
    truth, labels = rng.standard_normal(50), rng.integers(0, 3, 50)
    predicted = truth + rng.standard_normal(50)
    probabilities = np.round(rng.dirichlet([1, 1, 1], 50), 1)  # with ties
    expected = [r2_score(truth, predicted, sample_weight=one) for one in weights]
    np.testing.assert_allclose(weighted_r2(predicted, truth, weights), expected, rtol=1e-10)
    for w, found in zip(weights, weighted_auroc(probabilities, labels, weights), strict=True):
        areas = [float(roc_auc_score(labels == k, probabilities[:, k], sample_weight=w)) for k in range(3)]
        assert found == pytest.approx(sum(areas) / 3, abs=1e-12)
    two = np.stack([1 - probabilities[:, 0], probabilities[:, 0]], axis=1)
    ones = np.ones((1, 50))
    assert weighted_auroc(two, labels % 2, ones)[0] == pytest.approx(auroc(two, labels % 2), abs=1e-12)


@pytest.mark.parametrize("classes", [False, True])
def test_the_ratio_on_the_rows_themselves_is_the_headline(classes: bool):
    rng = np.random.default_rng(1)
    if classes:
        truth = rng.integers(0, 2, 40)
        made = [np.stack([1 - p, p], -1) for p in 0.3 * truth + 0.7 * rng.random((4, 3, 40))]
    else:
        truth = rng.standard_normal(40)
        made = list(truth + 0.5 * rng.standard_normal((4, 3, 40)))
    real, synthetic = answers(truth, *made[:2]), answers(truth, *made[2:])
    (ratio,) = resampled_ratios(real, synthetic, np.ones((1, 40)))
    assert ratio == pytest.approx(transfer_ratio(compared(real, synthetic)), rel=1e-12)
    weights = resamples(real, 50, seed=0)
    assert (weights.sum(1) == 40).all()
    if classes:
        assert (weights @ truth == truth.sum()).all()
    np.testing.assert_array_equal(resampled_ratios(real, real, weights), np.ones(50))
    with pytest.raises(InputError, match="same learners to the same test rows"):
        resampled_ratios(real, answers(truth[:20], *[one[:, :20] for one in made[:2]]), weights)
