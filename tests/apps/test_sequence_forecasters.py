"""Forecasters of sequence layers and DLinear: closed forms worked out in numpy, and what no forecast may depend on."""

import inspect
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from lightning import Trainer
from torch import Tensor, nn

from integrand.apps.application import load
from integrand.apps.timeseries import APPLICATION
from integrand.apps.timeseries.forecasting.baselines import Binned
from integrand.apps.timeseries.forecasting.data import ForecastingData
from integrand.apps.timeseries.forecasting.models.dlinear import DLinear
from integrand.apps.timeseries.forecasting.models.readout import LEAST_STD
from integrand.apps.timeseries.forecasting.models.sequence_forecasters import S5Forecaster
from integrand.apps.timeseries.forecasting.models.window_scale import LEAST_SPREAD
from integrand.apps.timeseries.forecasting.module import ForecastingModule
from integrand.core.errors import InputError
from integrand.datasets.forecasting import ForecastTask
from integrand.datasets.irregular import IrregularBatch

MODELS = APPLICATION.task("forecasting").models
SEQUENCE = ("s5", "s4d", "lru", "linoss", "mamba", "cfc", "ltc")
QUERIES = torch.tensor([[0.5, 3.0, 7.25, 8.0], [1.0, 2.0, 6.5, 8.0]])
TASK = ForecastTask(
    channels=["a", "b", "extra"],
    targets=2,
    units=["", "", ""],
    time_unit="h",
    context=12.0,
    horizon=8.0,
    resolution=1.0,
    periods=[24.0],
    groups=["north", "south"],
    location=[0.0] * 3,
    scale=[1.0] * 3,
)


def irregular_batch(channels: int = 3) -> IrregularBatch:
    """Two samples of 9 and 6 rows at uneven times, a third of the cells missing; the last row before the origin."""
    generator = torch.Generator().manual_seed(3)
    times = -torch.rand(2, 9, generator=generator).mul(11.5).add(0.25).sort(dim=1, descending=True).values
    lengths = torch.tensor([9, 6])
    present = torch.arange(9) < lengths.unsqueeze(1)
    times[1, 6:] = times[1, 5]
    mask = (torch.rand(2, 9, channels, generator=generator) < 0.67) & present.unsqueeze(-1)
    values = torch.where(mask, torch.randn(2, 9, channels, generator=generator) + 2, 0)
    return IrregularBatch(
        values=values,
        mask=mask,
        times=times,
        lengths=lengths,
        static=torch.eye(2),
        phase=torch.tensor([[0.3], [2.0]]),
        target_times=QUERIES,
    ).check()


def made(name: str, task: ForecastTask = TASK, **options: Any) -> Any:
    """Build a small network, away from its starts at zero, in evaluation and double precision."""
    torch.manual_seed(0)
    kind = load(MODELS[name])
    taken = inspect.signature(kind).parameters
    network = kind(**{k: v for k, v in ({"width": 6, "d_state": 4, "hidden": 5} | options).items() if k in taken})
    network.build(task)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return network.double().eval()


def double(batch: IrregularBatch) -> IrregularBatch:
    wide = {n: v.double() for n, v in vars(batch).items() if isinstance(v, Tensor) and v.is_floating_point()}
    return replace(batch, **wide)


@pytest.fixture(params=[(name, apart) for name in SEQUENCE for apart in (False, True)], ids=lambda p: f"{p[0]}-{p[1]}")
def network(request: pytest.FixtureRequest) -> Any:
    name, apart = request.param
    return made(name, independent=apart)


def assert_same(ours: Any, mean: Tensor, std: Tensor) -> None:
    torch.testing.assert_close(ours.mean, mean, rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(ours.std, std, rtol=1e-9, atol=1e-10)


# Closed forms


@pytest.mark.parametrize("apart", [False, True])
def test_one_linear_layer_forecasts_its_modes_in_closed_form(apart: bool):
    """mean(t) = l + s S Re(C exp(Delta Lambda (t - t_L)) h), h summed over rows as the solution of h' = A h + B u."""
    channel = replace(TASK, channels=["a"], targets=1, units=[""], periods=[], groups=[], location=[0.0], scale=[1.0])
    network = made("s5", channel, layers=1, independent=apart)
    nn.init.zeros_(network.bent[-1].weight)
    nn.init.zeros_(network.bent[-1].bias)
    times, values = np.array([-9.0, -7.5, -7.0, -2.0, -0.5]), np.array([1.0, 4.0, 2.0, -1.0, 3.0])
    batch = IrregularBatch(
        values=torch.from_numpy(values).view(1, 5, 1),
        mask=torch.ones(1, 5, 1, dtype=torch.bool),
        times=torch.from_numpy(times).view(1, 5),
        lengths=torch.tensor([5]),
        target_times=torch.tensor([[0.25, 4.0, 8.0]], dtype=torch.float64),
    )
    with torch.no_grad():
        forecast = network(batch)

    layer = network.stack[0]
    parameters = {name: p.detach().numpy() for name, p in layer.named_parameters()}
    rates = np.exp(parameters["log_step"]) * (-np.exp(parameters["log_decay"]) + 1j * parameters["frequency"])
    eigenvalues = rates / np.exp(parameters["log_step"])
    b, c = (parameters[name][..., 0] + 1j * parameters[name][..., 1] for name in "bc")
    level, spread = (values.mean(), np.sqrt(values.var() + LEAST_SPREAD**2)) if apart else (values[-1], 1.0)
    weight, bias = network.lift.weight.detach().numpy(), network.lift.bias.detach().numpy()
    state = np.zeros(2, dtype=complex)
    for value, gap in zip((values - level) / spread, [1.0, *np.diff(times)], strict=True):
        u = weight @ np.array([value, 1.0, 0.0, -level / spread]) + bias  # that it is observed, its age, where zero is
        held = (np.exp(rates * gap) - 1) / eigenvalues
        state = np.exp(rates * gap) * state + held * (b @ u)
    straight = network.straight
    for q, t in enumerate([0.25, 4.0, 8.0]):
        y = 2 * (c @ (np.exp(rates * (t + 0.5)) * state)).real
        move, raw = straight.weight.detach().numpy() @ y + straight.bias.detach().numpy()
        assert forecast.mean[0, q, 0].item() == pytest.approx(level + spread * move, rel=1e-9)
        assert forecast.std[0, q, 0].item() == pytest.approx(spread * np.log1p(np.exp(raw)) + LEAST_STD, rel=1e-9)


def test_an_untrained_forecast_bends_nowhere():
    """At the start the answer is affine in the values: half the sum of two forecasts is that of half the sum."""
    torch.manual_seed(0)
    network = S5Forecaster(width=6, d_state=4, layers=3)
    network.build(TASK)
    network.double().eval()
    batch = double(irregular_batch())
    other = replace(batch, values=torch.where(batch.mask, batch.values.flip(-1) ** 2, 0))
    between = replace(batch, values=(batch.values + other.values) / 2)
    with torch.no_grad():
        one, two, middle = (network(b).mean for b in (batch, other, between))
    torch.testing.assert_close(middle, (one + two) / 2, rtol=1e-9, atol=1e-10)


def test_the_cycle_of_a_channel_is_taken_away_and_given_back():
    """Values that are the cycle alone leave nothing over: level 0, no move, so the forecast is the cycle."""
    network = made("s5", independent=True)
    batch = double(irregular_batch())
    phase = batch.phase
    assert phase is not None

    def cycle(times: Tensor) -> Tensor:
        angle = phase.unsqueeze(1) + 2 * torch.pi / 24 * times.unsqueeze(-1)
        waves = [f(k * angle) for f in (torch.cos, torch.sin) for k in (1, 2, 3, 4)]
        return torch.cat(waves, dim=-1) @ network.cycle.T

    with torch.no_grad():
        for part in (network.straight, network.bent[-1]):
            nn.init.zeros_(part.weight)
            nn.init.zeros_(part.bias)
        forecast = network(replace(batch, values=torch.where(batch.mask, cycle(batch.times), 0)))
        torch.testing.assert_close(forecast.mean, cycle(QUERIES.double())[..., :2], rtol=1e-6, atol=1e-6)


# Laws


def test_answers_depend_on_no_other_query_nor_on_their_order(network: Any):
    batch = double(irregular_batch())
    order = torch.tensor([2, 0, 3, 1])
    assert batch.target_times is not None
    with torch.no_grad():
        whole = network(batch)
        assert_same(network(replace(batch, target_times=batch.target_times[:, order])), *_rows(whole, order))
        for q in range(4):
            one = network(replace(batch, target_times=batch.target_times[:, q : q + 1]))
            assert_same(one, *_rows(whole, torch.tensor([q])))


def _rows(forecast: Any, rows: Tensor) -> tuple[Tensor, Tensor]:
    return forecast.mean[:, rows], forecast.std[:, rows]


def test_a_later_origin_forecasts_the_same_times_alike(network: Any):
    """Move the origin by 1.5 h over which nothing is observed: what was asked at t is asked at t - 1.5."""
    batch = double(irregular_batch())
    assert batch.phase is not None
    assert batch.target_times is not None
    later = replace(
        batch,
        times=batch.times - 1.5,
        target_times=batch.target_times - 1.5,
        phase=batch.phase + 2 * torch.pi * 1.5 / 24,
    )
    with torch.no_grad():
        whole = network(batch)
        torch.testing.assert_close(network(later).mean, whole.mean, rtol=1e-5, atol=1e-6)  # the calendar is in float32


def test_units_of_time_cancel(network: Any):
    batch = double(irregular_batch())
    assert batch.target_times is not None
    kind, seconds = type(network), 3600.0
    task = replace(TASK, **{name: getattr(TASK, name) * seconds for name in ("context", "horizon", "resolution")})
    other = kind(**network.hparams)
    other.build(replace(task, periods=[24 * seconds]))
    other.double().eval().load_state_dict(network.state_dict())
    slow = replace(batch, times=batch.times * seconds, target_times=batch.target_times * seconds)
    with torch.no_grad():
        torch.testing.assert_close(other(slow).mean, network(batch).mean, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", SEQUENCE)
def test_independent_channels_know_nothing_of_one_another(name: str):
    network = made(name, independent=True)
    batch = double(irregular_batch())
    values, mask = batch.values.clone(), batch.mask.clone()
    values[..., 1:], mask[..., 1:] = 9.0, True
    mask &= batch.present.unsqueeze(-1)
    with torch.no_grad():
        edited = network(replace(batch, values=torch.where(mask, values, 0), mask=mask))
        before = network(batch)
    torch.testing.assert_close(edited.mean[..., 0], before.mean[..., 0], rtol=0, atol=1e-12)
    assert (edited.mean[..., 1] - before.mean[..., 1]).abs().min() > 1e-3


def test_independent_channels_share_their_weights():
    network = made("s5", independent=True)
    nn.init.zeros_(network.cycle)
    batch = double(irregular_batch())
    turned = replace(batch, values=batch.values[..., [1, 0, 2]], mask=batch.mask[..., [1, 0, 2]])
    with torch.no_grad():
        torch.testing.assert_close(network(turned).mean, network(batch).mean[..., [1, 0]], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("apart", [False, True])
def test_a_level_is_kept_where_nothing_leads_back_to_zero(apart: bool):
    """Without the MLP and blind to where zero lies, what is added to a series is added to its forecast."""
    network = made("lru", independent=apart)
    nn.init.zeros_(network.bent[-1].weight)
    seen = 1 if apart else 3
    nn.init.zeros_(network.lift.weight[:, 3 * seen : 4 * seen])
    batch = double(irregular_batch())
    raised = replace(batch, values=torch.where(batch.mask, batch.values + 40, 0))
    with torch.no_grad():
        assert_same(network(raised), network(batch).mean + 40, network(batch).std)


@pytest.mark.parametrize("name", ["s5", "cfc", "dlinear"])
def test_the_weather_recipe_takes_each_network(name: str):
    torch.manual_seed(0)
    kind = load(MODELS[name])
    taken = inspect.signature(kind).parameters
    network = kind(**{k: v for k, v in {"width": 8, "d_state": 8, "hidden": 8}.items() if k in taken})
    data = ForecastingData("nyc_weather", context=12, horizon=6, stride=48, batch_size=8)
    module = ForecastingModule(network, warmup_steps=0)
    quiet: dict[str, Any] = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = Trainer(accelerator="cpu", max_steps=3, limit_val_batches=0, enable_model_summary=False, **quiet)
    trainer.fit(module, data)
    assert trainer.global_step == 3
    forecast = module.eval()(data.windows("validation").__getitems__([0, 1, 2]))
    assert forecast.mean.shape == (3, 6, 7)
    assert forecast.mean.isfinite().all()


# DLinear


def _regular_batch(queries: list[float]) -> tuple[np.ndarray, IrregularBatch]:
    values = np.random.default_rng(5).normal(size=(3, 12, 3))
    batch = IrregularBatch(
        values=torch.from_numpy(values),
        mask=torch.ones(3, 12, 3, dtype=torch.bool),
        times=torch.arange(-11.0, 1.0, dtype=torch.float64).expand(3, -1),
        lengths=torch.full((3,), 12),
        phase=torch.zeros(3, 1),
        target_times=torch.tensor([queries] * 3, dtype=torch.float64),
    )
    return values, batch


@pytest.mark.parametrize("individual", [False, True])
def test_dlinear_is_two_products_on_a_regular_grid(individual: bool):
    network = made("dlinear", kernel=5, individual=individual)
    values, batch = _regular_batch([1.0, 2.0, 8.0])
    maps = [part.weight.detach().numpy() for part in (network.trend, network.remainder)]
    bias = network.bias.detach().numpy()
    with torch.no_grad():
        mean = network(batch).mean.numpy()
    for n in range(3):
        for k in range(2):
            x = values[n, :, k]
            padded = np.concatenate([[x[0]] * 2, x, [x[-1]] * 2])
            trend = np.array([padded[g : g + 5].mean() for g in range(12)])
            own = slice(8 * k, 8 * k + 8) if individual else slice(0, 8)
            lead = maps[0][own] @ trend + maps[1][own] @ (x - trend) + bias[k if individual else 0]
            np.testing.assert_allclose(mean[n, :, k], lead[[0, 1, 7]], rtol=1e-12)


def test_dlinear_answers_between_leads_on_the_line():
    network = made("dlinear")
    values, batch = _regular_batch([1.0, 2.0, 1.25, 0.5])
    with torch.no_grad():
        mean = network(batch).mean.numpy()
    np.testing.assert_allclose(mean[:, 2], 0.75 * mean[:, 0] + 0.25 * mean[:, 1], rtol=1e-12)
    np.testing.assert_allclose(mean[:, 3], (mean[:, 0] + values[:, -1, :2]) / 2, rtol=1e-12)


def test_dlinear_reads_the_grid_of_the_baselines():
    """A bin holds its last value, or the one carried forward; before the first one, that one."""
    network = made("dlinear")
    batch = irregular_batch()
    grid, binned = network.on_grid(batch).numpy(), Binned(batch, TASK)
    assert 0.2 < binned.seen.mean() < 1
    np.testing.assert_array_equal(grid[binned.seen], binned.carried[binned.seen])
    for n, c in np.ndindex(2, 3):
        first = int(np.argmax(binned.seen[n, :, c]))
        assert (grid[n, :first, c] == grid[n, first, c]).all()


def test_dlinear_has_an_odd_kernel():
    with pytest.raises(InputError, match=r"model\.network\.kernel=24 must be odd"):
        DLinear(kernel=24)
