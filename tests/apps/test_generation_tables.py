"""Scores of synthetic tables on tables whose scores are known: copies, mirrored labels, shifted and permuted columns.

Letters: N rows.
"""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import ArrayLike
from PIL import Image
from scipy.spatial.distance import cdist
from scipy.stats import f_oneway, ks_2samp
from torchmetrics.functional.classification import multiclass_auroc

from integrand.apps.generation.tabular.baselines import BASELINES, gaussian_copula, independent_columns
from integrand.apps.generation.tabular.figures import draw_associations, draw_marginals, draw_transfer
from integrand.apps.generation.tabular.learners import features
from integrand.apps.generation.tabular.privacy import nearest_distances, privacy_scores
from integrand.apps.generation.tabular.resemblance import association_difference, associations, marginal_distances
from integrand.apps.generation.tabular.table_scores import METRICS, score_tables
from integrand.apps.generation.tabular.transfer import Transfer, auroc, transfer_scores
from integrand.apps.training.figures import read_captions, style
from integrand.core.errors import InputError
from integrand.datasets.real import breast_cancer
from integrand.datasets.table_codec import TableCodec
from integrand.datasets.table_schema import TableSchema


def linear(rows: int, seed: int) -> pd.DataFrame:
    """Two independent normal numbers, 2 a - b, and whether that is positive."""
    a, b = np.random.default_rng(seed).standard_normal((2, rows))
    return pd.DataFrame({"a": a, "b": b, "y": 2 * a - b, "sign": np.where(2 * a - b > 0, "plus", "minus")})


def codec_of(frame: pd.DataFrame, **options) -> TableCodec:
    return TableCodec.fit(frame, TableSchema.infer(frame, **options))


def probability(a: ArrayLike, b: ArrayLike) -> float:
    """That two samples of one law lie as far apart, by the Kolmogorov-Smirnov test."""
    _, found = np.asarray(ks_2samp(np.asarray(a), np.asarray(b)))
    return float(found)


def by_name(scores: list[Transfer]) -> dict[tuple[str, str], Transfer]:
    return {(one.learner, one.metric): one for one in scores}


def test_training_rows_as_synthetic_ones_are_worth_the_same():
    train, test = linear(80, 0), linear(60, 1)
    schema = TableSchema.infer(train)
    for target in ("y", "sign"):
        scores = transfer_scores(schema, target, train=train, synthetic=[train], test=test, seeds=(0, 1), trees=10)
        assert len(scores) == 4
        assert all(one.real == one.synthetic and one.ratio == 1 and one.loss == 0 for one in scores)


def test_labels_that_are_mirrored_give_mirrored_scores():
    """Of -y learned instead of y the residual is 2 y: R2 = 1 - 4 sum y^2 / sum (y - mean)^2; signs are all wrong."""
    train, test = linear(400, 0), linear(200, 1)
    schema = TableSchema.infer(train)
    mirrored = train.assign(y=-train["y"], sign=np.where(train["y"] > 0, "minus", "plus"))
    without = TableSchema.infer(train, drop=["sign"])
    found = by_name(transfer_scores(without, "y", train=train, synthetic=[mirrored], test=test, seeds=[0], trees=20))
    y = test["y"].to_numpy()
    expected = 1 - 4 * (y**2).sum() / ((y - y.mean()) ** 2).sum()
    assert found["ridge", "r2"].real == pytest.approx(1, abs=1e-6)
    assert found["ridge", "r2"].synthetic == pytest.approx(expected, abs=1e-4)
    assert found["ridge", "rmse"].synthetic == pytest.approx(2 * np.sqrt((y**2).mean()), rel=1e-4)
    found = by_name(
        transfer_scores(
            TableSchema.infer(train, drop=["y"]),
            "sign",
            train=train,
            synthetic=[mirrored],
            test=test,
            seeds=[0],
            trees=21,
        )
    )
    line = found["logistic regression", "auroc"]
    assert line.real > 0.999
    assert line.synthetic == pytest.approx(1 - line.real, abs=1e-12)
    # A forest of these labels is the same forest with the labels exchanged, but for votes that tie.
    forest = found["random forest", "accuracy"]
    assert forest.synthetic == pytest.approx(1 - forest.real, abs=0.02)
    assert schema.column("sign").categories == ("minus", "plus")


def test_a_synthetic_table_of_one_class_gives_what_a_constant_answer_gives():
    train, test = linear(60, 0), linear(50, 1)
    only = train.query("sign == 'plus'")
    scores = transfer_scores(
        TableSchema.infer(train), "sign", train=train, synthetic=[only], test=test, seeds=[0], trees=20
    )
    for one in scores:
        expected = 0.5 if one.metric == "auroc" else (test["sign"] == "plus").mean()
        assert one.synthetic == pytest.approx(expected)


@pytest.mark.parametrize("classes", [2, 4])
def test_auroc_is_that_of_torchmetrics(classes: int):
    generator = np.random.default_rng(classes)
    p = generator.dirichlet(np.ones(classes), 200)
    labels = generator.integers(0, classes, 200)
    peer = multiclass_auroc(torch.as_tensor(p), torch.as_tensor(labels), classes, average="macro")
    assert auroc(p, labels) == pytest.approx(float(peer), abs=1e-6)


def test_learners_see_missing_numbers_and_all_categories():
    frame = pd.DataFrame({"x": [1.5, None, 2.5, 3.25] * 5, "k": ["a", "b", None, "c"] * 5, "y": np.arange(20) / 4})
    seen = features(TableSchema.infer(frame, continuous=["x"]), frame, "y")
    np.testing.assert_array_equal(
        seen[:4], [[1.5, 1, 0, 0, 0], [np.nan, 0, 1, 0, 0], [2.5, 0, 0, 0, 1], [3.25, 0, 0, 1, 0]]
    )
    scores = transfer_scores(
        TableSchema.infer(frame), "y", train=frame, synthetic=[frame], test=frame, seeds=[0], trees=20
    )
    assert all(np.isfinite(one.real) for one in scores)


@pytest.mark.parametrize(
    ("target", "change", "told"),
    [
        ("signs", {}, "unknown column 'signs': did you mean 'sign'"),
        ("where", {}, "target 'where' never changes"),
        ("y", {"synthetic": []}, "at least one synthetic table"),
        ("y", {"seeds": []}, "at least one synthetic table and one seed, got 1 and 0"),
        ("sign", {"test": linear(60, 1).assign(where="here").query("sign == 'plus'")}, "one class of 'sign' alone"),
    ],
)
def test_what_cannot_be_scored_is_refused(target: str, change: dict, told: str):
    train = linear(60, 0).assign(where="here")
    given = {"train": train, "synthetic": [train], "test": train, **change}
    with pytest.raises(InputError, match=told):
        transfer_scores(TableSchema.infer(train), target, **given)


def test_marginal_distances_are_those_of_shifts_and_shares():
    real = pd.DataFrame({"x": np.arange(100.0), "gap": np.arange(100.0), "k": ["a"] * 50 + ["b"] * 50})
    synthetic = real.assign(x=real["x"] + 13, k=["a"] * 80 + ["b"] * 15 + [None] * 5)
    synthetic.loc[:9, "gap"] = np.nan
    real.loc[40:59, "gap"] = np.nan
    schema = TableSchema.infer(pd.concat([real, synthetic], ignore_index=True))
    found = marginal_distances(schema, real, synthetic)
    assert found["x"] == pytest.approx(0.13)  # 13 of 100 rows lie below all others
    assert found["k"] == pytest.approx((0.30 + 0.35 + 0.05) / 2)
    # A fifth of the real rows and a tenth of the synthetic ones are missing, and the ten least numbers are real alone.
    assert found["gap"] == pytest.approx(0.20)
    assert marginal_distances(schema, real, real) == {"x": 0.0, "gap": 0.0, "k": 0.0}


def test_associations_are_known_where_columns_depend_wholly_or_not_at_all():
    i = np.arange(120)
    frame = pd.DataFrame(
        {
            "x": i.astype(float),
            "minus": 7 - 2.5 * i,
            "half": np.where(i < 60, "low", "high"),
            "copy": np.where(i < 60, "l", "h"),
            "apart": np.array(["p", "q"])[i % 2],
        }
    )
    names, matrix = associations(TableSchema.infer(frame), frame)
    found = {(a, b): matrix[i, j] for i, a in enumerate(names) for j, b in enumerate(names)}
    assert found["x", "minus"] == pytest.approx(-1)
    assert found["half", "copy"] == pytest.approx(1)
    assert found["half", "apart"] == pytest.approx(0, abs=1e-12)
    np.testing.assert_array_equal(matrix, matrix.T)
    # F of an analysis of variance is (eta^2 / 1) / ((1 - eta^2) / (N - 2)).
    f, _ = f_oneway(frame["x"][:60], frame["x"][60:])
    assert found["x", "half"] == pytest.approx(np.sqrt(f / (f + 118)))
    # Of a 2 x 2 table of 30, 10, 20, 40 Cramer's V is |30 40 - 10 20| / sqrt(40 60 50 50).
    table = pd.DataFrame({"a": ["r"] * 40 + ["s"] * 60, "b": ["u"] * 30 + ["v"] * 10 + ["u"] * 20 + ["v"] * 40})
    assert associations(TableSchema.infer(table), table)[1][0, 1] == pytest.approx(1000 / np.sqrt(6e6))


def test_matrices_of_other_columns_are_not_compared():
    with pytest.raises(InputError, match="of the same columns"):
        association_difference(np.eye(2), np.eye(3))


def test_distances_are_those_of_all_pairs():
    frame = linear(60, 0)
    codec = codec_of(frame.iloc[:40])
    expected = cdist(codec.encode(frame.iloc[40:]), codec.encode(frame.iloc[:40])).min(1)
    np.testing.assert_allclose(nearest_distances(codec, frame.iloc[:40], frame.iloc[40:]), expected, rtol=1e-6)


def test_privacy_tells_copies_neighbours_and_strangers_apart():
    train, held_out, fresh = linear(200, 0), linear(200, 1), linear(200, 2)
    codec = codec_of(train)

    def of(rows: pd.DataFrame):
        return privacy_scores(codec, train=train, synthetic=rows, held_out=held_out)

    copied = of(pd.concat([train.iloc[:30], fresh]))
    assert (copied.copies, copied.rows, copied.held_out_copies) == (30, 230, 0)
    assert of(train).median == 0
    assert of(train).nearer == 1
    near = of(train.assign(a=train["a"] + 1e-4))
    assert near.copies == 0
    assert near.nearer > 0.95
    assert near.ratio < 0.05
    # Fresh rows of the same law win half the time; the deviation of a Mann-Whitney test is sqrt((2 N + 1) / 12) / N.
    assert abs(of(fresh).nearer - 0.5) < 2.6 * np.sqrt(401 / 12) / 200
    assert of(fresh.assign(b=fresh["b"] + 9)).nearer < 0.05


def test_copies_are_found_beside_missing_cells_and_in_another_order_of_columns():
    train = pd.DataFrame({"x": [1.5, None, 2.5, 3.0], "k": ["a", "b", None, "a"], "where": "here"})
    codec = codec_of(train, categorical=["k"])
    rows = pd.DataFrame({"where": "here", "k": ["b", None, "a", "b"], "x": [None, 2.5, 2.5, 3.0]})
    assert privacy_scores(codec, train=train, synthetic=rows, held_out=rows.iloc[2:]).copies == 2


def test_independent_columns_keep_marginals_and_nothing_else():
    train = linear(400, 0)
    drawn = independent_columns(codec_of(train), train, 1000, seed=0)
    assert drawn.shape == (1000, 4)
    for name in ("a", "b", "y"):
        assert set(drawn[name]) <= set(train[name])
        assert probability(drawn[name], train[name]) > 0.01
    assert np.abs(np.corrcoef(drawn["a"], drawn["y"])[0, 1]) < 3 / np.sqrt(1000)


def test_a_gaussian_copula_keeps_the_correlation_of_normal_columns():
    """Of normal numbers the law is the copula's own; the deviation of a correlation r is (1 - r^2) / sqrt(N)."""
    a, b = np.random.default_rng(0).standard_normal((2, 2000))
    train = pd.DataFrame({"x": a, "y": 10 + 5 * (0.8 * a + 0.6 * b)})
    drawn = gaussian_copula(codec_of(train), train, 2000, seed=0)
    expected = np.corrcoef(train["x"], train["y"])[0, 1]
    assert np.corrcoef(drawn["x"], drawn["y"])[0, 1] == pytest.approx(expected, abs=3 * 1.42 * 0.36 / np.sqrt(2000))
    assert probability(drawn["y"], train["y"]) > 0.01


@pytest.mark.parametrize("name", BASELINES)
def test_baselines_follow_their_seed_and_refuse_no_rows(name: str):
    train = linear(50, 0)
    draws = [BASELINES[name](codec_of(train), train, 20, seed=seed) for seed in (0, 0, 1)]
    pd.testing.assert_frame_equal(draws[0], draws[1])
    assert not draws[0].equals(draws[2])
    assert list(draws[0].columns) == list(train.columns)
    with pytest.raises(InputError, match="at least 1, got 0"):
        BASELINES[name](codec_of(train), train, 0, seed=0)


def test_a_copula_is_worth_more_than_columns_on_their_own():
    """On real tumours; the score that the application prints, on rows that none of it saw."""
    frame = breast_cancer.load().sample(frac=1, random_state=0)
    train, test = frame.iloc[:400], frame.iloc[400:]
    codec = codec_of(train)
    found = {}
    for name, draw in BASELINES.items():
        tables = [draw(codec, train, len(train), seed=0)]
        found[name] = score_tables(
            codec, train=train, synthetic=tables, test=test, target="diagnosis", seeds=[0], trees=20
        )
        assert set(found[name].metrics) == set(METRICS)
        json.dumps(found[name].to_dict(), allow_nan=False)
    alone, copula = (found[name].metrics for name in BASELINES)
    assert copula["transfer_ratio"] > 0.95 > alone["transfer_ratio"]
    assert copula["association_difference"] < 0.5 * alone["association_difference"]
    assert copula["copies"] == 0


def test_scores_of_the_training_rows_themselves():
    train, test = linear(80, 0), linear(70, 1)
    scores = score_tables(codec_of(train), train=train, synthetic=[train], test=test)
    assert "transfer_ratio" not in scores.metrics
    assert scores.metrics["copies"] == 80
    assert scores.metrics["distance_ratio"] == 0
    assert scores.marginals == scores.floor
    with pytest.raises(InputError, match="at least one synthetic table"):
        score_tables(codec_of(train), train=train, synthetic=[], test=test)


def pictured() -> tuple[TableCodec, pd.DataFrame]:
    i = np.arange(90)
    frame = pd.DataFrame(
        {
            **{f"number {k}": np.sin(i * (k + 1)) for k in range(10)},
            "day": [str(np.datetime64("2024-01-01") + k) for k in i % 60],
            "gap": np.where(i % 4 == 0, np.nan, i / 8),
            "word": np.array(["one", "two", "three hundred and four"])[i % 3],
            "$grade$": np.array(["low", "high"])[i % 2],
        }
    )
    return codec_of(frame, ordinal={"$grade$": ["low", "high"]}), frame


def test_pictures_are_drawn_and_captioned(tmp_path: Path):
    codec, frame = pictured()
    drawn = gaussian_copula(codec, frame, 80, seed=0)
    scores = score_tables(codec, train=frame, synthetic=[drawn], test=frame, target="word", seeds=[0], trees=20)
    alone = independent_columns(codec, frame, 80, seed=0)
    other = score_tables(codec, train=frame, synthetic=[alone], test=frame, target="word", seeds=[0], trees=20)
    with style():
        draw_marginals(codec.schema, frame, drawn, scores.marginals, tmp_path / "marginals.png")
        draw_associations(scores, tmp_path / "associations.png")
        transfers = {"a model": scores.transfer, "independent columns": other.transfer}
        draw_transfer(transfers, "a model", tmp_path / "transfer.png")
    captions = {one["file"]: one["caption"] for one in read_captions(tmp_path)}
    assert "the 12 columns of 14 that differ most" in captions["marginals.png"]
    assert f"{scores.metrics['association_difference']:.3f}" in captions["associations.png"]
    assert all(f"{one.ratio:.3f}" in captions["transfer.png"] for one in scores.transfer)
    for name in captions:
        pixels = np.asarray(Image.open(tmp_path / name).convert("L"))
        assert pixels.std() > 10, name
    with pytest.raises(InputError, match="no scores of learners"):
        draw_transfer({"a model": []}, "a model", tmp_path / "none.png")
