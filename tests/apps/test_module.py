"""The Lightning module and its networks, used as a library: no command line, no callback of ours."""

import inspect
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning import Callback, Trainer
from torch import Tensor

from integrand.apps.application import load
from integrand.apps.timeseries import APPLICATION
from integrand.apps.timeseries.forecasting.data import ForecastingData
from integrand.apps.timeseries.forecasting.models.forecaster import Forecast, Forecaster
from integrand.apps.timeseries.forecasting.models.ssm_ode import SSMODE
from integrand.apps.timeseries.forecasting.module import ForecastingModule
from integrand.apps.training.checkpoints import read_checkpoint
from integrand.apps.training.ema import ExponentialMovingAverage
from integrand.core.errors import InputError
from integrand.datasets.irregular import IrregularBatch

MODELS = APPLICATION.task("forecasting").models
SMALL: dict[str, Any] = {"width": 8, "d_state": 8, "hidden": 8, "latent": 8}
QUIET: dict[str, Any] = {
    "accelerator": "cpu",
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "num_sanity_val_steps": 0,
}


def small_network(name: str) -> Forecaster:
    """The network of that name with those of the options in ``SMALL`` that it has."""
    kind = load(MODELS[name])
    taken = inspect.signature(kind).parameters
    return kind(**{option: value for option, value in SMALL.items() if option in taken})


def small_data(path: Path) -> ForecastingData:
    data = ForecastingData(str(path), group_column="site", context=24, horizon=12, batch_size=16)
    data.setup()
    return data


def fitted(path: Path, **options: Any) -> tuple[ForecastingModule, ForecastingData]:
    torch.manual_seed(0)
    data = small_data(path)
    module = ForecastingModule(SSMODE(**SMALL), warmup_steps=0)
    Trainer(**QUIET, **options).fit(module, data)
    return module, data


def test_a_users_own_trainer_trains_it(small_csv: Path, tmp_path: Path):
    torch.manual_seed(0)
    data = ForecastingData(str(small_csv), group_column="site", context=24, horizon=12)
    module = ForecastingModule(SSMODE(**SMALL), learning_rate=1e-2, warmup_steps=0)
    trainer = Trainer(max_epochs=8, default_root_dir=tmp_path, **QUIET)
    trainer.validate(module, data, verbose=False)
    before = float(trainer.callback_metrics["validation/crps"])
    trainer.fit(module, data)
    assert float(trainer.callback_metrics["validation/crps"]) < 0.9 * before


def test_lightnings_own_checkpoints_resume_it(small_csv: Path, tmp_path: Path):
    module, _ = fitted(small_csv, max_epochs=2)
    expected = [p.detach().clone() for p in module.parameters()]

    class Stop(Callback):
        def on_train_batch_end(self, trainer: Trainer, *args: Any, **kwargs: Any) -> None:
            if trainer.global_step == 20:
                trainer.save_checkpoint(tmp_path / "mine.ckpt")
                trainer.should_stop = True

    torch.manual_seed(0)
    first = ForecastingModule(SSMODE(**SMALL), warmup_steps=0)
    Trainer(**QUIET, max_epochs=2, callbacks=[Stop()]).fit(first, small_data(small_csv))
    torch.manual_seed(99)
    second = ForecastingModule(SSMODE(**SMALL), warmup_steps=0)
    Trainer(**QUIET, max_epochs=2).fit(
        second, small_data(small_csv), ckpt_path=tmp_path / "mine.ckpt", weights_only=True
    )
    for ours, theirs in zip(second.parameters(), expected, strict=True):
        assert torch.equal(ours, theirs)


# The average


def test_the_average_is_that_computed_by_hand():
    parameter = torch.nn.Parameter(torch.tensor([4.0]))
    average = ExponentialMovingAverage([parameter], 0.45)
    expected = 4.0
    for count, value in enumerate([1.0, 3.0, -2.0, 5.0]):
        parameter.data.fill_(value)
        average.update()
        decay = [1 / 4, 2 / 5, 0.45, 0.45][count]  # 3 / 6 and 4 / 7 are above the limit
        expected = decay * expected + (1 - decay) * value
        assert average.averaged()[0].item() == pytest.approx(expected, abs=1e-6)
    average.swap()
    assert parameter.item() == pytest.approx(expected, abs=1e-6)
    assert average.raw()[0].item() == 5.0
    average.swap()
    assert parameter.item() == 5.0


class Recorder(Callback):
    """Keeps the parameters after every optimiser step, and what validation saw."""

    def __init__(self) -> None:
        self.start: list[Tensor] = []
        self.steps: list[list[Tensor]] = []
        self.validated: list[tuple[int, list[Tensor]]] = []

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        self.start = copied(pl_module)

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *args: Any, **kwargs: Any) -> None:
        self.steps.append(copied(pl_module))

    def on_validation_batch_start(self, trainer: Trainer, pl_module: Any, *args: Any, **kwargs: Any) -> None:
        self.validated.append((trainer.global_step, copied(pl_module)))


def copied(module: torch.nn.Module) -> list[Tensor]:
    return [p.detach().double().clone() for p in module.parameters()]


def test_validation_and_the_end_have_the_average_of_what_was_trained(small_csv: Path):
    recorder = Recorder()
    module, _ = fitted(small_csv, max_epochs=1, val_check_interval=0.5, callbacks=[recorder])
    average = recorder.start
    at = {}
    for n, trained in enumerate(recorder.steps):
        decay = min(0.99, (1 + n) / (4 + n))
        average = [decay * a + (1 - decay) * p for a, p in zip(average, trained, strict=True)]
        at[n + 1] = average
    assert len(recorder.validated) == 2
    for step, seen in recorder.validated:
        for ours, expected in zip(seen, at[step], strict=True):
            torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-6)
    for ours, expected in zip(copied(module), average, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-6)
    # Validating in between left the trained parameters as they were: the average lags behind them.
    assert any(not torch.equal(a, b) for a, b in zip(copied(module), recorder.steps[-1], strict=True))


def test_without_an_average_the_module_ends_as_trained(small_csv: Path):
    recorder = Recorder()
    module = ForecastingModule(SSMODE(**SMALL), ema_decay=0.0)
    Trainer(**QUIET, max_epochs=1, callbacks=[recorder]).fit(module, small_data(small_csv))
    assert all(torch.equal(a, b) for a, b in zip(copied(module), recorder.steps[-1], strict=True))


# The schedule and the decay


def test_the_learning_rate_warms_up_and_ends_near_zero(small_csv: Path):
    rates: list[float] = []

    class Rates(Callback):
        def on_train_batch_start(self, trainer: Trainer, *args: Any, **kwargs: Any) -> None:
            rates.append(trainer.optimizers[0].param_groups[0]["lr"])

    module = ForecastingModule(SSMODE(**SMALL), learning_rate=1e-3, warmup_steps=4)
    Trainer(**QUIET, max_epochs=1, callbacks=[Rates()]).fit(module, small_data(small_csv))
    n = len(rates)
    expected = [1e-3 * min(1, (k + 1) / 5) * 0.5 * (1 + np.cos(np.pi * k / n)) for k in range(n)]
    np.testing.assert_allclose(rates, expected, rtol=1e-6)


# Checkpoints


def test_a_checkpoint_holds_all_that_a_forecast_needs(small_csv: Path, tmp_path: Path):
    module, data = fitted(small_csv, max_epochs=1)
    trainer = module.trainer
    trainer.save_checkpoint(tmp_path / "mine.ckpt")
    loaded = ForecastingModule.from_checkpoint(read_checkpoint(tmp_path / "mine.ckpt", app="timeseries"))
    assert not loaded.training
    assert loaded.network.built_for == data.task
    batch = data.windows("test").__getitems__(list(range(10)))
    with torch.no_grad():
        ours, theirs = module.eval()(batch), loaded(batch)
    assert torch.equal(ours.mean, theirs.mean)
    assert torch.equal(ours.std, theirs.std)


class SaveAtTheEnd(Callback):
    """Save while the average is still kept beside the trained parameters, as the suite's own callbacks do."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        trainer.save_checkpoint(self.path)


@pytest.mark.parametrize("name", MODELS)
def test_a_checkpoint_of_a_training_loads_as_the_average(small_csv: Path, tmp_path: Path, name: str):
    torch.manual_seed(0)
    path = tmp_path / "mine.ckpt"
    module = ForecastingModule(small_network(name), warmup_steps=0)
    Trainer(**QUIET, max_steps=6, callbacks=[SaveAtTheEnd(path)]).fit(module, small_data(small_csv))
    loaded = ForecastingModule.from_checkpoint(read_checkpoint(path))
    trained = torch.load(path, weights_only=True)["trained"]
    averages = dict(module.named_parameters())  # after fit the module holds the average
    assert any(not torch.equal(trained[key], value) for key, value in averages.items())
    for key, value in loaded.named_parameters():
        assert torch.equal(value, averages[key]), key


def test_a_checkpoint_that_names_something_else_as_its_network_is_refused():
    said = {"network": "pathlib:Path", "options": {}, "task": {}}
    with pytest.raises(InputError, match="is no forecaster"):
        ForecastingModule.from_checkpoint({"integrand": said, "state_dict": {}})


# The networks


@pytest.fixture(params=MODELS)
def network(request: pytest.FixtureRequest, small_csv: Path) -> Forecaster:
    torch.manual_seed(0)
    made = small_network(request.param)
    made.build(small_data(small_csv).task)
    with torch.no_grad():
        for parameter in made.parameters():  # away from starts at zero, which hide what does not matter yet
            parameter.add_(0.1 * torch.randn_like(parameter))
    return made


@pytest.fixture
def batch(small_csv: Path) -> IrregularBatch:
    return small_data(small_csv).windows("train").__getitems__([0, 50, 130, 333, 480])


def test_every_parameter_receives_a_gradient(network: Forecaster, batch: IrregularBatch):
    module = ForecastingModule(network).train()
    loss, _ = module.loss(batch)
    loss.backward()
    learned = [(name, p) for name, p in network.named_parameters() if p.requires_grad]
    idle = [name for name, p in learned if p.grad is None or not p.grad.abs().max() > 0]
    assert idle == []


def test_the_spread_is_positive_and_the_forecast_finite_even_far_from_the_data(
    network: Forecaster, batch: IrregularBatch
):
    for values in (batch.values, 50 * batch.values):
        forecast = network.eval()(replace(batch, values=values))
        assert forecast.mean.isfinite().all()
        assert forecast.std.isfinite().all()
        assert (forecast.std > 0).all()
        assert batch.target is not None
        assert forecast.mean.shape == forecast.std.shape == batch.target.shape


def assert_same(ours: Forecast, theirs: Forecast, rows: Any) -> None:
    torch.testing.assert_close(ours.mean[rows], theirs.mean, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ours.std[rows], theirs.std, rtol=1e-4, atol=1e-5)


def _alone(batch: IrregularBatch, i: int) -> IrregularBatch:
    """Sample i, without the padding that the others called for."""
    length = int(batch.lengths[i])
    row = slice(i, i + 1)
    whole = {
        name: value[row]
        for name in ("lengths", "static", "phase", "target", "target_times", "target_mask")
        if (value := getattr(batch, name)) is not None
    }
    cut = {name: getattr(batch, name)[row, :length] for name in ("values", "mask", "times")}
    return IrregularBatch(**cut, **whole, group=batch.group[row], sample_id=batch.sample_id[row]).check()


def test_a_batch_equals_its_samples_one_by_one(network: Forecaster, batch: IrregularBatch):
    assert len(set(batch.lengths.tolist())) > 1, "no sample is padded"
    network.eval()
    with torch.no_grad():
        together = network(batch)
        for i in range(len(batch)):
            assert_same(together, network(_alone(batch, i)), slice(i, i + 1))


def test_further_padding_changes_nothing(network: Forecaster, batch: IrregularBatch):
    def pad(x: Tensor) -> Tensor:
        return torch.cat([x, torch.zeros_like(x[:, :7])], dim=1)

    times = torch.cat([batch.times, batch.times[:, -1:].expand(-1, 7)], dim=1)
    padded = replace(batch, values=pad(batch.values), mask=pad(batch.mask), times=times).check()
    network.eval()
    with torch.no_grad():
        assert_same(network(padded), network(batch), slice(None))


def test_the_forecast_does_not_see_its_targets(network: Forecaster, batch: IrregularBatch):
    assert batch.target is not None
    assert batch.target_mask is not None
    edited = replace(batch, target=batch.target + 100, target_mask=~batch.target_mask)
    network.eval()
    with torch.no_grad():
        ours, theirs = network(batch), network(edited)
    assert torch.equal(ours.mean, theirs.mean)
    assert torch.equal(ours.std, theirs.std)


def test_the_future_of_the_table_does_not_reach_the_forecast(network: Forecaster, small_csv: Path):
    """Edit every value after a forecast origin: the windows up to there give the same forecast."""
    data = small_data(small_csv)
    windows = data.windows("train")
    index = [i for i in range(len(windows)) if windows.windows.origins[i] <= 200][::40]
    network.eval()
    with torch.no_grad():
        before = network(windows.__getitems__(index))
        values, mask, times = (getattr(windows.windows.rows, name) for name in ("values", "mask", "times"))
        values[times > 200], mask[times > 200] = 1e3, True
        after = network(windows.__getitems__(index))
    assert torch.equal(before.mean, after.mean)
    assert torch.equal(before.std, after.std)


def test_an_empty_context_is_forecast_too(network: Forecaster, batch: IrregularBatch):
    nothing = replace(batch, values=torch.zeros_like(batch.values), mask=torch.zeros_like(batch.mask))
    forecast = network.eval()(nothing)
    assert forecast.mean.isfinite().all()
    assert (forecast.std > 0).all()


def test_a_network_is_built_for_one_task(network: Forecaster):
    network.build(network.built_for)
    with pytest.raises(InputError, match="built for another task"):
        network.build(replace(network.built_for, horizon=99.0))
    with pytest.raises(InputError, match="no parameters yet"):
        assert SSMODE().features


@pytest.mark.parametrize(
    ("option", "value"), [("learning_rate", 0.0), ("weight_decay", -1.0), ("warmup_steps", -1), ("ema_decay", 1.0)]
)
def test_options_out_of_range_are_refused(option: str, value: Any):
    with pytest.raises(InputError, match=rf"model\.{option}={value!r}"):
        ForecastingModule(SSMODE(), **{option: value})
