"""What forecasters read: values carried forward, ages, changes; answers worked out by hand."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from integrand.apps.timeseries.forecasting.models.decoder import ODEDecoder
from integrand.apps.timeseries.forecasting.models.forecaster import Context
from integrand.apps.timeseries.forecasting.models.ssm_ode import SSMODE
from integrand.core.errors import InputError
from integrand.datasets.forecasting import ForecastTask
from integrand.datasets.irregular import IrregularBatch

TASK = ForecastTask(
    channels=["a", "b"],
    targets=1,
    units=["", ""],
    time_unit="h",
    context=10.0,
    horizon=4.0,
    resolution=1.0,
    periods=[24.0],
    groups=[],
    location=[0.0, 0.0],
    scale=[1.0, 1.0],
)


def _batch() -> IrregularBatch:
    """Rows at -6 and -2: a seen at both, b at the first alone; a second sample with one row, where b is never seen."""
    mask = torch.tensor([[[True, True], [True, False]], [[True, False], [False, False]]])
    values = torch.tensor([[[1.0, 5.0], [3.0, 0.0]], [[2.0, 0.0], [0.0, 0.0]]])
    return IrregularBatch(
        values=values,
        mask=mask,
        times=torch.tensor([[-6.0, -2.0], [-4.0, -4.0]]),
        lengths=torch.tensor([2, 1]),
        phase=torch.zeros(2, 1),
        target_times=torch.tensor([[1.0, 4.0], [1.0, 4.0]]),
    ).check()


def _encode(batch: IrregularBatch) -> Context:
    network = SSMODE(width=4, d_state=4, latent=2, hidden=4)
    network.build(TASK)
    return network.encode(batch)


def test_context_by_hand() -> None:
    context = _encode(_batch())
    values, observed, carried, age = context.features[..., :8].split(2, dim=-1)
    assert values[0].tolist() == [[1, 5], [3, 0], [0, 0]]
    assert observed[0].tolist() == [[1, 1], [1, 0], [0, 0]]
    assert carried[0].tolist() == [[1, 5], [3, 5], [3, 5]]
    torch.testing.assert_close(age[0], torch.tensor([[0.0, 0.0], [0.0, 0.4], [0.2, 0.6]]))
    assert carried[1, :, 1].tolist() == [0, 0, 0]
    assert age[1, :, 1].tolist() == [1, 1, 1]
    assert context.anchor.tolist() == [[3], [2]]
    assert context.dt.tolist() == [[1, 4, 2], [1, 0, 4]]
    assert context.present.tolist() == [[True, True, True], [True, False, True]]


def test_calendar_turns_once_a_period() -> None:
    context = _encode(_batch())
    cosine, sine = context.features[0, :, 8], context.features[0, :, 9]
    angle = 2 * torch.pi * torch.tensor([-6.0, -2.0, 0.0]) / 24
    torch.testing.assert_close(cosine, angle.cos())
    torch.testing.assert_close(sine, angle.sin())


def test_changes_by_hand_and_blind_to_the_level() -> None:
    batch = _batch()
    changes = _encode(batch).changes()
    assert changes[0, :, 0].tolist() == [-2, 0, 0]  # a: 1 then 3, from 3
    assert changes[0, :, 1].tolist() == [0, 0, 0]  # b: 5 alone
    raised = replace(batch, values=torch.where(batch.mask, batch.values + 40, 0))
    torch.testing.assert_close(_encode(raised).changes(), changes)
    torch.testing.assert_close(_encode(raised).anchor, _encode(batch).anchor + 40)


def test_an_untrained_forecast_starts_from_the_anchor() -> None:
    torch.manual_seed(0)
    network = SSMODE(width=4, d_state=4, latent=2, hidden=4).eval()
    network.build(TASK)
    torch.nn.init.zeros_(network.decoder.readout.linear.weight)
    forecast = network(_batch())
    hold = torch.tensor([1.0]).sigmoid()
    lead = torch.tensor([1.0, 4.0]) / TASK.horizon
    share = hold + (1 - hold) * torch.exp(-lead / torch.tensor(-0.7).exp())
    torch.testing.assert_close(forecast.mean[..., 0], torch.tensor([[3.0], [2.0]]) * share)


@pytest.mark.parametrize("method", ["rk4", "euler", "dopri5"])
@pytest.mark.parametrize("past", [0.0, 2.5])
def test_beyond_the_horizon_the_decoder_solves_on(method: str, past: float) -> None:
    torch.manual_seed(0)
    decoder = ODEDecoder(TASK, latent=2, hidden=4, method=method, steps=4, past=past).eval()
    z0 = torch.randn(2, 2)
    asked_near, asked_far = torch.tensor([[1.0, 4.0], [3.3, 4.0]]), torch.tensor([[1.0, 4.0, 9.1], [3.3, 4.0, 14.0]])
    near, far = replace(_batch(), target_times=asked_near), replace(_batch(), target_times=asked_far)
    within, beyond = decoder.solve(z0, near), decoder.solve(z0, far)
    assert within.beyond is None
    assert torch.equal(beyond.interpolate(asked_near / 4), within.interpolate(asked_near / 4))
    step = decoder.grid[-1] - decoder.grid[-2]
    torch.testing.assert_close(beyond.times.diff(), step.expand(len(beyond.times) - 1))
    assert 3.5 <= beyond.times[-1] < 3.5 + step + 1e-5

    # The same equation solved at once, in double precision and to a tight tolerance, from where the horizon ends.
    def field(t: float, z: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            state = torch.from_numpy(z).float().unsqueeze(0)
            return decoder.flow.field(torch.tensor(t), state, near.phase[:1])[0].double().numpy()  # pyright: ignore

    start = within.states[0, -1].detach().double().numpy()
    exact = solve_ivp(field, (1.0, 9.1 / 4), start, rtol=1e-8, atol=1e-8).y[:, -1]
    error = np.abs(beyond.interpolate(asked_far / 4)[0, 2].detach().numpy() - exact).max()
    coarse = np.abs(exact - start).max()
    assert error < (0.2 * coarse if method == "euler" else 0.01 * coarse)
    decoder.train()
    assert decoder.solve(z0, far).beyond is None


@pytest.mark.parametrize(("option", "value"), [("width", 0), ("steps", -1), ("dropout", 1.0)])
def test_options_out_of_range_are_named(option: str, value: float) -> None:
    with pytest.raises(InputError, match=f"model.network.{option}="):
        SSMODE(**{option: value}).build(TASK)  # pyright: ignore[reportArgumentType]
