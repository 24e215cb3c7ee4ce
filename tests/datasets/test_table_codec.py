"""Tables as vectors: they come back as they were, and what they become is about standard normal.

Letters: N rows, D encoded width.
"""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.stats import kstest, norm

from integrand.core.errors import InputError
from integrand.datasets.frames import read_frame
from integrand.datasets.quantile_map import QuantileMap
from integrand.datasets.real import breast_cancer, diabetes, nyc_weather
from integrand.datasets.table_codec import TableCodec
from integrand.datasets.table_schema import TableSchema


def codec_of(frame: pd.DataFrame, **options) -> TableCodec:
    return TableCodec.fit(frame, TableSchema.infer(frame, **options))


def round_trip(frame: pd.DataFrame, seed: int | None, **options) -> pd.DataFrame:
    codec = TableCodec.from_dict(json.loads(json.dumps(codec_of(frame, **options).to_dict())))
    return codec.decode(codec.encode(frame, seed=seed))


WHOLE = st.integers(-1000, 1000)
DECIMAL = st.integers(-100_000, 100_000).map(lambda k: k / 100)
WORD = st.sampled_from(["a", "b", "ä b", "1", "x,y"])
DAY = st.integers(-20_000, 20_000).map(lambda k: str(np.datetime64("1970-01-01") + k))
COLUMNS = {
    "whole": st.one_of(WHOLE, st.just(0)),
    "decimal": st.one_of(DECIMAL, st.just(1.25)),
    "word": WORD,
    "truth": st.booleans(),
    "day": DAY,
    "few": st.sampled_from([0.5, 1.0, 7.25]),
    "gap": st.one_of(st.none(), DECIMAL),
    "unknown": st.one_of(st.none(), WORD),
}


@st.composite
def frames(draw) -> pd.DataFrame:
    rows = draw(st.integers(4, 40))
    columns = {name: draw(st.lists(cells, min_size=rows, max_size=rows)) for name, cells in COLUMNS.items()}
    # These make every draw a table that can be learned: two values at least, and one that is there.
    fixed = {"whole": [0, 1], "decimal": [0.25, 1.75], "word": ["a", "b"], "day": ["2024-02-29", "2024-03-01"]}
    fixed |= {"gap": [0.5, 2.5], "unknown": ["a", "b"], "few": [0.5, 1.0], "truth": [True, False]}
    for name, values in fixed.items():
        columns[name][:2] = values
    return pd.DataFrame(columns).astype({"gap": "float64"})


@given(frame=frames(), seed=st.one_of(st.none(), st.integers(0, 100)))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_mixed_table_comes_back_exactly(frame: pd.DataFrame, seed: int | None):
    words = ["word", "unknown"]
    pd.testing.assert_frame_equal(round_trip(frame, seed, categorical=words), frame, check_exact=True)


@pytest.mark.parametrize("seed", [None, 0, 1])
@pytest.mark.parametrize("load", [breast_cancer.load, diabetes.load])
def test_real_tables_come_back_exactly(load, seed: int | None):
    frame = load()
    pd.testing.assert_frame_equal(round_trip(frame, seed), frame, check_exact=True)


def test_a_large_real_table_with_gaps_and_stamps_comes_back_exactly():
    """Hourly weather: words, stamps, and numbers that can be missing; winds are knots told as miles an hour."""
    frame = read_frame(nyc_weather.FILE)
    again = round_trip(frame, seed=0)
    pd.testing.assert_frame_equal(again, frame.reset_index(drop=True), check_exact=True)
    knot = 1.15078
    assert TableSchema.infer(frame).column("wind_speed").unit == knot
    assert again.shape == (26_115, 11)


def test_rows_outside_training_come_back_where_they_are_not_clipped():
    frame = diabetes.load()
    train, other = frame.iloc[:221], frame.iloc[221:]
    codec = codec_of(train)
    outside = (other["bmi"] > train["bmi"].max()) | (other["s6"] < train["s6"].min())
    assert outside.any()
    again = codec.decode(codec.encode(other, seed=2), clip=False)
    for name in frame.columns:  # what lies off the lattice of the training half becomes the nearest number on it
        unit = codec.schema.column(name).unit or 0.0
        error = np.abs(again[name].to_numpy() - other[name].to_numpy())
        assert (error <= unit / 2 * (1 + 1e-9)).all(), name
        assert ((error == 0) | (error > 0.49 * unit)).all(), name
    clipped = codec.decode(codec.encode(other))
    assert clipped["bmi"].max() == train["bmi"].max()


def test_unrounded_numbers_come_back_to_the_rounding_of_their_scores():
    """Half a unit in the last place of float32, times the slope of the map there, bounds the error."""
    x = np.random.default_rng(0).lognormal(0, 2, 500)
    frame = pd.DataFrame({"x": x, "y": np.arange(500)})
    codec = codec_of(frame)
    z = codec.encode(frame)[:, 0]
    slopes = [codec.maps["x"].slope(at) for at in (np.nextafter(z, np.float32(-9)), z, np.nextafter(z, np.float32(9)))]
    bound = 0.5 * np.spacing(np.abs(z)) * np.max(slopes, axis=0) + 4 * np.spacing(x)
    assert codec.schema.column("x").step is None
    assert (np.abs(codec.decode(codec.encode(frame))["x"] - x) <= bound).all()
    assert bound.max() < 1e-4 * np.ptp(x)


def normal_scores(x: np.ndarray, unit: float | None) -> np.ndarray:
    one = QuantileMap.fit(x, unit=unit, knots=50)
    return one.to_normal(x, unit=unit, generator=np.random.default_rng(1))


@pytest.mark.parametrize(
    ("name", "unit"),
    [("lognormal", None), ("half zeros", None), ("poisson", 1.0), ("rounded", 0.1), ("one heavy", 1.0), ("ends", 1.0)],
)
def test_scores_are_standard_normal_whatever_the_column(name: str, unit: float | None):
    """The Kolmogorov-Smirnov distance of 4,000 scores, which follow the column's own quantiles, is below chance's."""
    generator = np.random.default_rng(0)
    x = {
        "lognormal": generator.lognormal(0, 1.5, 4000),
        "half zeros": np.where(generator.random(4000) < 0.5, 0.0, generator.gamma(2, 1, 4000)),
        "poisson": generator.poisson(1.2, 4000),
        "rounded": np.round(generator.normal(0, 1, 4000), 1),
        "one heavy": np.where(generator.random(4000) < 0.9, 3, generator.integers(0, 400, 4000)),
        "ends": np.clip(generator.integers(-3, 12, 4000), 0, 9),
    }[name]
    z = normal_scores(x.astype(np.float64), unit)
    assert kstest(z, norm.cdf).pvalue > 0.05
    assert abs(z.std() - 1) < 0.05


def test_scores_keep_the_order_and_ties_share_an_interval():
    x = np.array([5.0, 1.0, 1.0, 1.0, 9.0, 2.0])
    one = QuantileMap.fit(x, knots=4)
    middle = one.to_normal(x)
    assert (np.argsort(middle, kind="stable") == np.argsort(x, kind="stable")).all()
    drawn = one.to_normal(np.full(1000, 1.0), generator=np.random.default_rng(0))
    assert drawn.max() < one.to_normal(np.array([2.0]))[0]
    # Three of six values: the lower half of the distribution, cut where one value in twelve would lie.
    assert drawn.max() == pytest.approx(0, abs=0.01)
    assert drawn.min() == pytest.approx(norm.ppf(1 / 12), abs=0.01)
    assert (one.from_normal(drawn) == 1.0).all()


def test_quantiles_of_a_known_distribution():
    """The scores of normal quantiles are the quantiles themselves, and the tails go on as straight lines."""
    x = norm.ppf((np.arange(2000) + 0.5) / 2000)
    one = QuantileMap.fit(2 * x + 3, knots=200)
    at = np.array([-2.0, -1.0, 0.0, 0.5, 1.5])
    # Linear between quantiles 1/200 apart: at 2 deviations they lie 0.1 apart, and the chord is off by h^2 |z''| / 8.
    np.testing.assert_allclose(one.from_normal(at), 2 * at + 3, atol=1e-2)
    np.testing.assert_allclose(one.from_normal(np.array([6.0])), 15.0, rtol=0.01)


def test_a_few_strange_values_of_a_long_column_do_not_draw_out_its_tail():
    """Of 20,000 values three are ten times too large: no more than the outermost 1/1600 of all scores leads there.

    That share is the last of 1/100, 1/200, 1/400, ... beyond which at least eight values lie, 12.5 of 20,000.
    """
    x = norm.ppf((np.arange(20_000) + 0.5) / 20_000)
    ordinary = x.max()
    x[-3:] = 10 * x[-3:]
    one = QuantileMap.fit(x, knots=100)
    drawn = one.from_normal(norm.ppf((np.arange(100_000) + 0.5) / 100_000))
    assert 1e-5 < (drawn > ordinary).mean() <= 1 / 1600
    inside = np.linspace(-2.9, 2.9, 59)
    np.testing.assert_allclose(one.from_normal(inside), inside, atol=0.02)
    short = QuantileMap.fit(np.arange(799.0), knots=100)  # fewer than eight beyond 1/100: no more knots than those
    assert len(short.values) == 99 + 2 + 2  # quantiles, both ends, and one beyond each


@pytest.mark.parametrize(("values", "knots", "told"), [([1.0, 1.0], 9, "two different"), ([1.0, 2.0], 1, "2 knots")])
def test_maps_that_cannot_be_made_are_refused(values: list[float], knots: int, told: str):
    with pytest.raises(InputError, match=told):
        QuantileMap.fit(np.array(values), knots=knots)


def three() -> pd.DataFrame:
    """Shares 0.6, 0.3 and 0.1 of colours, a truth of share 0.2, and a number that a quarter of rows lack."""
    i = np.arange(100)
    return pd.DataFrame(
        {
            "colour": np.array(["r", "r", "r", "g", "r", "b", "g", "r", "g", "r"])[i % 10],
            "sold": i % 5 == 0,
            "age": np.where(i % 4 == 1, np.nan, 20.0 + i % 50),
        }
    )


def test_categories_have_mean_0_and_variance_1_on_average():
    """With shares p the entries (e_k - p) / s, s^2 = mean p (1 - p): here (0.24 + 0.21 + 0.09) / 3 = 0.18."""
    codec = codec_of(three())
    z = codec.encode(three()).astype(np.float64)
    assert [(block.column, block.start, block.width) for block in codec.blocks] == [
        ("colour", 0, 3),
        ("sold", 3, 1),
        ("age", 4, 2),
    ]
    np.testing.assert_allclose(z[:, [0, 1, 2, 3, 5]].mean(0), 0, atol=1e-6)
    assert z[:, :3].var(0).mean() == pytest.approx(1, abs=1e-6)
    np.testing.assert_allclose(z[:, [3, 5]].var(0), 1, atol=1e-6)
    blue, green, red = 0.1, 0.3, 0.6
    expected = (np.array([0, 1, 0]) - [blue, green, red]) / np.sqrt(0.18)
    np.testing.assert_allclose(z[3, :3], expected, rtol=1e-6)
    assert (z[1::4, 4] == 0).all()
    assert len(np.unique(codec.encode(three(), seed=0)[1::4, 4])) == 25


def test_noise_up_to_half_the_gap_between_categories_changes_nothing():
    codec = codec_of(three())
    z = codec.encode(three())
    s = np.sqrt(0.18)
    noise = np.zeros_like(z)
    noise[:, :3] = 0.49 / s * np.array([1, -1, 1])  # two entries may approach each other by 1 / s in all
    noise[:, 3] = np.where(z[:, 3] > 0, -1, 1) * 0.49 / 0.4
    noise[:, 5] = np.where(z[:, 5] > 0, -1, 1) * 0.49 / np.sqrt(0.25 * 0.75)
    pd.testing.assert_frame_equal(codec.decode(z + noise), three())
    assert (codec.decode(z + 1.03 * noise)["sold"] != three()["sold"]).all()


def test_blocks_of_some_columns_are_those_of_the_whole():
    codec = codec_of(three())
    whole = codec.encode(three())
    condition = codec.encode_columns(three().filter(["sold", "colour"]), ["sold", "colour"])
    blocks = [whole[:, codec.block(name).slice] for name in ("sold", "colour")]
    np.testing.assert_array_equal(condition, np.concatenate(blocks, axis=1))


def test_draws_of_any_size_are_rows_of_the_table():
    """Whatever a model draws, categories are known, numbers in range and on their lattice, types as in training."""
    frame = pd.concat([diabetes.load(), three().reindex(range(442)).add_prefix("extra_")], axis=1)
    codec = codec_of(frame)
    drawn = codec.decode(30 * np.random.default_rng(0).standard_normal((300, codec.width)))
    assert (drawn.dtypes == frame.dtypes).all()
    for name in ("age", "bmi", "s5"):
        assert drawn[name].between(frame[name].min(), frame[name].max()).all()
    assert (drawn["s5"] == drawn["s5"].round(4)).all()
    codec.schema.check(drawn)


@pytest.mark.parametrize(
    ("z", "told"),
    [
        (np.zeros((3, 5)), r"must be \(N, 6\), got \(3, 5\)"),
        (np.zeros(6), r"must be \(N, 6\)"),
        (np.array([[0.0] * 6, [np.nan] * 6]), "encoded row 1 of 2 is not finite"),
    ],
)
def test_vectors_of_another_table_are_refused(z: np.ndarray, told: str):
    with pytest.raises(InputError, match=told):
        codec_of(three()).decode(z)


def test_blocks_of_unknown_columns_are_refused():
    with pytest.raises(InputError, match="unknown column 'colors': did you mean 'colour'"):
        codec_of(three()).encode_columns(three(), ["colors"])
