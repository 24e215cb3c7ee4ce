"""Forecasts of series with static features and with channels that are known beforehand, on a made-up shop's table."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from lightning import Trainer

from integrand.apps.application import load
from integrand.apps.timeseries import APPLICATION
from integrand.apps.timeseries.forecasting.baselines import Ridge, chunks
from integrand.apps.timeseries.forecasting.data import ForecastingData
from integrand.apps.timeseries.forecasting.models.forecaster import Foreseen
from integrand.apps.timeseries.forecasting.models.ssm_ode import SSMODE
from integrand.apps.timeseries.forecasting.module import ForecastingModule
from integrand.apps.timeseries.forecasting.prediction import predict
from integrand.apps.timeseries.forecasting.streaming import stream
from integrand.core.errors import InputError

ROWS, AGES = 400, {"a": 1.0, "b": 2.0, "c": 3.0}
MODELS = APPLICATION.task("forecasting").models


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sales of three shops by the hour, 3 higher whenever there is a promotion, which is drawn by lot."""
    random = np.random.default_rng(0)
    parts = []
    for name, age in AGES.items():
        promotion = (random.random(ROWS) < 0.3).astype(float)
        stamps = pd.date_range("2024-01-01", periods=ROWS, freq="h")
        sales = 10 * age + 3 * promotion
        parts.append(
            pd.DataFrame(
                {
                    "id": name,
                    "time": stamps,
                    "age": age,
                    "kind": "x" if age > 1 else "y",
                    "promo": promotion,
                    "s": sales,
                }
            )
        )
    path = tmp_path_factory.mktemp("shop") / "shop.csv"
    pd.concat(parts).to_csv(path, index=False)
    return path


def data_of(path: Path, **options) -> ForecastingData:
    made = ForecastingData(
        str(path),
        context=12,
        horizon=4,
        drop=(0.0, 0.0),
        periods=[],
        static_columns=["age", "kind"],
        known_columns=["promo"],
        **options,
    )
    made.setup()
    return made


@pytest.fixture(scope="module")
def module(shop: Path) -> ForecastingModule:
    made = ForecastingModule(SSMODE(width=8, d_state=4, latent=4, hidden=8))
    trainer = Trainer(
        max_steps=2, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False
    )
    trainer.fit(made, data_of(shop))
    return made.eval()


def future_of(shop: Path, folder: Path, **changed: object) -> Path:
    """The same file without the last four sales of each shop."""
    table = pd.read_csv(shop)
    ahead = table.groupby("id").cumcount() >= ROWS - 4
    table.loc[ahead, "s"] = np.nan
    for name, value in changed.items():
        table.loc[ahead, name] = value
    path = folder / "future.csv"
    table.to_csv(path, index=False)
    return path


def test_a_batch_tells_the_known_values_of_its_target_times_and_nothing_else_of_them(shop: Path):
    data = data_of(shop)
    windows = data.windows("train")
    batch = windows.__getitems__([0, 50])
    assert batch.known is not None
    promo = data.task.channels.index("promo")
    table = pd.read_csv(shop)
    for row, window in enumerate((0, 50)):
        one = table[table.id == batch.group[row]]
        origin = int(windows.windows.origins[window])
        expected = one.promo.to_numpy()[origin + 1 : origin + 5]
        given = batch.known[row, :, 0].numpy() * data.task.scale[promo] + data.task.location[promo]
        np.testing.assert_allclose(given, expected, atol=1e-6)
    assert data.task.channels[: data.task.targets] == ["s"]
    assert batch.known.shape[-1] == 1


def test_static_features_are_standardised_by_the_training_series(shop: Path):
    data = data_of(shop)
    static = data.windows("train").windows.rows.static
    ages = np.array(list(AGES.values()))
    np.testing.assert_allclose(static[:, 3], (ages - ages.mean()) / ages.std(), rtol=1e-6)
    assert data.task.static == ["age", "kind=x", "kind=y"]
    assert data.task.described == 6  # three groups and three features


def test_the_ridge_finds_the_effect_of_what_is_known(shop: Path):
    data = data_of(shop)
    ridge = Ridge(data.task)
    ridge.fit(data.windows("train"))
    for _, batch in chunks(data.windows("test")):
        assert batch.target is not None
        assert batch.known is not None
        mean, _ = ridge.predict(batch)
        error = (mean - batch.target)[batch.target_mask].abs().mean()
        blind, _ = ridge.predict(batch.__class__(**{**batch.__dict__, "known": torch.zeros_like(batch.known)}))
        assert error < 0.25 * (blind - batch.target)[batch.target_mask].abs().mean()


def test_what_is_known_adds_nothing_at_first_and_its_effect_belongs_to_its_time_alone(shop: Path):
    torch.manual_seed(0)
    assert not Foreseen(2, 3)(torch.randn(4, 5, 2)).any()
    data = data_of(shop)
    network = SSMODE(width=8, d_state=4, latent=4, hidden=8)
    network.build(data.task)
    torch.nn.init.normal_(network.foreseen.straight.weight)
    batch = data.windows("train").__getitems__([0, 1])
    network.eval()
    assert batch.known is not None
    other = batch.__class__(**{**batch.__dict__, "known": batch.known.clone()})
    assert other.known is not None
    other.known[:, 2] += 1
    moved = (network(other).mean - network(batch).mean).abs().sum((0, 2))
    assert moved[2] > 0
    assert not moved[[0, 1, 3]].any()


@pytest.mark.parametrize("name", list(MODELS))
def test_every_forecaster_reads_static_features_and_what_is_known(shop: Path, name: str):
    data = data_of(shop)
    torch.manual_seed(0)
    network = load(MODELS[name])()
    network.build(data.task)
    batch = data.windows("train").__getitems__([0, 1])
    answer = network.eval()(batch)
    assert torch.isfinite(answer.mean).all()
    with pytest.raises(InputError, match="needs promo at the times it is asked for"):
        network(batch.__class__(**{**batch.__dict__, "known": None}))


def test_predict_forecasts_the_rows_that_follow(module: ForecastingModule, shop: Path, tmp_path: Path):
    found = predict(module, input=future_of(shop, tmp_path), output=tmp_path / "out.csv", figure=None)
    assert found.mean.shape == (3, 4, 1)
    table = pd.read_csv(tmp_path / "out.csv")
    assert table.groupby("id").size().to_dict() == {"a": 4, "b": 4, "c": 4}
    # The answer of the module itself at the same origins: the last window of each series.
    windows = data_of(shop).windows("test")
    last = [max(np.flatnonzero(windows.windows.series == s)) for s in range(3)]
    with torch.no_grad():
        asked = module(windows.__getitems__([int(i) for i in last]))
    task = module.network.built_for
    np.testing.assert_allclose(
        found.mean[..., 0], asked.mean[..., 0].double().numpy() * task.scale[0] + task.location[0], rtol=1e-5
    )


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"promo": np.nan}, "promo of series 'a' is missing at .*: give it there"),
        ({"age": 7.0}, "age"),
    ],
)
def test_a_future_that_is_not_told_is_refused(module, shop: Path, tmp_path: Path, changed: dict, message: str):
    with pytest.raises(InputError, match=message):
        predict(module, input=future_of(shop, tmp_path, **changed), output=tmp_path / "out.csv", figure=None)
    assert not (tmp_path / "out.csv").exists()


def test_a_file_without_a_future_horizons_and_streams_are_refused(module, shop: Path, tmp_path: Path):
    with pytest.raises(InputError, match="no row after its last observation: add rows with promo"):
        predict(module, input=shop, output=tmp_path / "out.csv", figure=None)
    with pytest.raises(InputError, match="leave --horizon, --every, --at and --queries out"):
        predict(module, input=shop, output=tmp_path / "out.csv", figure=None, horizon=2.0)
    with pytest.raises(InputError, match="which a stream can't tell"):
        stream(module, lines=iter([b"id,time,s"]), write=print)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"known_columns": ["prom"]}, "unknown known column 'prom': did you mean 'promo'"),
        ({"known_columns": ["promo"], "targets": ["promo"]}, "is a target and known beforehand"),
        ({"static_columns": ["s"]}, "'s'"),
    ],
)
def test_columns_that_do_not_fit_are_named(shop: Path, options: dict, message: str):
    with pytest.raises(InputError, match=message):
        ForecastingData(str(shop), context=12, horizon=4, **options).setup()
