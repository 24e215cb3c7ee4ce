"""What holds for every forecaster at the times asked, and what each of the more unusual ones must do exactly."""

import inspect
import math
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from integrand.apps.application import load
from integrand.apps.timeseries import APPLICATION
from integrand.apps.timeseries.forecasting.models.forecaster import Forecast, Forecaster
from integrand.apps.timeseries.forecasting.models.gru_d import GRUDForecaster
from integrand.apps.timeseries.forecasting.models.gru_ode_bayes import GRUODEBayesForecaster
from integrand.apps.timeseries.forecasting.models.latent_sde import LatentSDEForecaster
from integrand.apps.timeseries.forecasting.models.mixture import mixture, stratified_draws
from integrand.apps.timeseries.forecasting.models.mtan import MTANForecaster
from integrand.core.fields import DiagonalDiffusion
from integrand.datasets.forecasting import ForecastTask
from integrand.datasets.irregular import IrregularBatch

MODELS = APPLICATION.task("forecasting").models
SMALL = {"width": 8, "d_state": 8, "hidden": 8, "latent": 8}
TASK = ForecastTask(
    channels=["a", "b"],
    targets=1,
    units=["", ""],
    time_unit="h",
    context=10.0,
    horizon=4.0,
    resolution=1.0,
    periods=[24.0],
    groups=["north", "south"],
    location=[0.0, 0.0],
    scale=[1.0, 1.0],
)


def batch() -> IrregularBatch:
    """Rows at -6, -2 and 0, b unseen at the last two; a second sample of one row, where b is never seen."""
    mask = torch.tensor([[[1, 1], [1, 0], [1, 0]], [[1, 0], [0, 0], [0, 0]]], dtype=torch.bool)
    values = torch.tensor([[[1.0, 5.0], [3.0, 0.0], [2.0, 0.0]], [[2.0, 0.0], [0.0, 0.0], [0.0, 0.0]]])
    return IrregularBatch(
        values=values,
        mask=mask,
        times=torch.tensor([[-6.0, -2.0, 0.0], [-4.0, -4.0, -4.0]]),
        lengths=torch.tensor([3, 1]),
        static=torch.tensor([[1.0, 0.0], [0.0, 1.0]]),
        phase=torch.tensor([[0.0], [1.0]]),
        target_times=torch.tensor([[0.5, 1.0, 3.3, 4.0], [0.1, 2.0, 3.0, 4.0]]),
    ).check()


@pytest.fixture(params=MODELS)
def network(request: pytest.FixtureRequest) -> Iterator[Forecaster]:
    torch.manual_seed(0)
    kind = load(MODELS[request.param])
    taken = inspect.signature(kind).parameters
    made = kind(**{option: value for option, value in SMALL.items() if option in taken})
    made.build(TASK)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        yield made.eval()


def at(network: Forecaster, times: Tensor) -> Forecast:
    return network(replace(batch(), target_times=times))


def same(ours: Tensor, theirs: Tensor) -> None:
    # A query may be reached in other steps of single precision, some tens of operations on numbers of size 1.
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_what_is_told_of_the_context_and_of_the_times_asked_by_hand() -> None:
    network = MTANForecaster(width=4, heads=1, d_time=4, hidden=4)
    network.build(TASK)
    observed = network.observed(batch())
    assert observed.times.tolist() == [[-6, -2, 0, 0], [-4, 0, 0, 0]]
    assert observed.present.tolist() == [[True, True, True, True], [True, False, False, True]]
    assert observed.mask[:, -1].any().item() is False
    assert torch.equal(observed.values[:, :3], batch().values)
    asked = network.ask(batch())
    angle = torch.tensor([[0.5, 1.0, 3.3, 4.0], [0.1, 2.0, 3.0, 4.0]]) * 2 * math.pi / 24 + torch.tensor([[0.0], [1.0]])
    lead = torch.tensor([[0.125, 0.25, 0.825, 1.0], [0.025, 0.5, 0.75, 1.0]])
    torch.testing.assert_close(asked[..., :3], torch.stack([lead, angle.cos(), angle.sin()], dim=-1))
    assert asked[:, 0, 3:].tolist() == [[1, 0], [0, 1]]


@pytest.mark.parametrize("order", [[3, 2, 1, 0], [2, 0, 3, 1]])
def test_the_order_of_the_questions_does_not_matter(network: Forecaster, order: list[int]) -> None:
    times = batch().target_times
    assert times is not None
    ours, theirs = at(network, times), at(network, times[:, order])
    same(theirs.mean, ours.mean[:, order])
    same(theirs.std, ours.std[:, order])


def test_the_forecast_is_a_function_of_time(network: Forecaster) -> None:
    """Near times have near answers, and between them nothing breaks: at the origin, on steps, past the horizon."""
    nearby = 1e-4
    for time in (0.0, 1.0, 2.0, 3.9999, 4.0):
        there = at(network, torch.tensor([[time, time + nearby]] * 2))
        assert there.mean.isfinite().all()
        # At most 50 units of mean or deviation in a horizon of 4.
        bound = 50 * nearby
        assert (there.mean[:, 1] - there.mean[:, 0]).abs().max() < bound
        assert (there.std[:, 1] - there.std[:, 0]).abs().max() < bound
        assert (there.std > 0).all()


# Mixtures of paths


def test_a_mixture_has_the_moments_of_its_samples() -> None:
    generator = torch.Generator().manual_seed(0)
    mean, std = torch.tensor([-1.0, 0.5, 2.0]), torch.tensor([0.3, 1.0, 0.1])
    count = 400_000
    drawn = mean + std * torch.randn(count, 3, generator=generator)
    ours = mixture(mean, std)
    spread = drawn.std().item()
    # Within 4.5 standard errors, which chance leaves once in 150,000 times; a deviation's is below spread / sqrt(N).
    assert ours.mean.item() == pytest.approx(drawn.mean().item(), abs=4.5 * spread / (3 * count) ** 0.5)
    assert ours.std.item() == pytest.approx(spread, abs=4.5 * spread / (3 * count) ** 0.5)


def test_the_draws_of_an_evaluation_are_the_same_and_centred() -> None:
    draws = stratified_draws(8, 5, like=torch.zeros((), dtype=torch.float64))
    assert draws.shape == (8, 5)
    assert torch.equal(draws, stratified_draws(8, 5, like=draws))
    torch.testing.assert_close(draws.sum(0), torch.zeros(5, dtype=torch.float64), rtol=0, atol=1e-5)  # of float32


def test_a_latent_sde_without_noise_is_its_drift_and_goes_on_past_the_horizon() -> None:
    """With constant drift, no noise and no spread of the start the path is a line, whatever is asked."""
    torch.manual_seed(0)
    network = LatentSDEForecaster(width=4, d_state=4, latent=2, hidden=3, steps=4, samples=3).eval()
    network.build(TASK)
    model = network.model
    with torch.no_grad():
        for drift in (model.posterior_drift, model.prior_drift):
            for parameter in drift.parameters():
                parameter.zero_()
            list(drift.parameters())[-1].copy_(torch.tensor([2.0, -1.0]))  # the last bias
        model.diffusion = DiagonalDiffusion(2, least=1e-12)
        model.diffusion.weight_out.zero_()
        model.diffusion.bias_out.fill_(-60.0)
        model.posterior.weight.zero_()
        model.posterior.bias.copy_(torch.tensor([0.5, 0.0, -60.0, -60.0]))  # a spread of 1e-4
        forecast = at(network, torch.tensor([[1.0, 9.0]] * 2))
    assert forecast.latent is not None
    assert forecast.latent_times is not None
    # From -10 h to 12 h, the end of the third horizon, in steps of 1 h; time counts in horizons of 4 h.
    torch.testing.assert_close(forecast.latent_times, torch.linspace(-10, 12, 23), rtol=1e-6, atol=1e-5)
    lapsed = (forecast.latent_times + 10) / 4
    line = torch.tensor([0.5, 0.0]) + lapsed.unsqueeze(-1) * torch.tensor([2.0, -1.0])
    # The start is drawn within 1.5 of the spread of 1e-4.
    torch.testing.assert_close(forecast.latent, line.expand_as(forecast.latent), rtol=0, atol=2e-4)


# Peers


def test_gru_d_forecasts_from_a_state_that_decays_with_the_lead() -> None:
    """Without calendar and lead in the readout, and with one rate for all, the state's part shrinks by exp(-lead)."""
    torch.manual_seed(0)
    network = GRUDForecaster(d_state=4, hidden=6).eval()
    network.build(TASK)
    read: list[Tensor] = []
    network.mix.register_forward_hook(lambda module, given, out: read.append(given[0][..., :4]))
    with torch.no_grad():
        network.encoder.state_rate.weight.copy_(torch.tensor([1.0, 0.0]).expand(4, 2))  # a alone sets the rate
        at(network, torch.tensor([[0.0, 2.5, 5.0, 10.0]] * 2))
    decayed = read[0]
    # Channel a was seen at the origin and 4 h before it; a context of 10 h counts as one.
    shares = torch.exp(-torch.tensor([0.0, 0.25, 0.5, 1.0]))
    torch.testing.assert_close(decayed[0], decayed[0, :1] * shares.unsqueeze(-1))
    torch.testing.assert_close(decayed[1], decayed[1, :1] * shares.unsqueeze(-1))
    assert decayed[1, 0].abs().max() > 0


def test_the_penalty_of_gru_ode_bayes_is_the_filters_loss_and_padding_has_no_part_in_it() -> None:
    torch.manual_seed(0)
    network = GRUODEBayesForecaster(d_state=6, hidden=6, filter_weight=0.5, bayes_weight=0.25).eval()
    network.build(TASK)
    both = network(batch())
    one = batch()
    alone = IrregularBatch(
        values=one.values[1:, :1],
        mask=one.mask[1:, :1],
        times=one.times[1:, :1],
        lengths=one.lengths[1:],
        static=one.static[1:] if one.static is not None else None,
        phase=one.phase[1:] if one.phase is not None else None,
        target_times=one.target_times[1:] if one.target_times is not None else None,
    ).check()
    # A row at -4 with a, calendar (2) and group (2); the origin with calendar and group: 9 cells.
    angle = torch.tensor([1.0 - 4 * 2 * math.pi / 24, 1.0])
    known = torch.stack([angle.cos(), angle.sin(), torch.zeros(2), torch.ones(2)], dim=-1)
    rows = torch.cat([torch.tensor([[2.0, 0.0], [0.0, 0.0]]), known], dim=-1).unsqueeze(0)
    seen = torch.tensor([[[1, 0, 1, 1, 1, 1], [0, 0, 1, 1, 1, 1]]], dtype=torch.bool)
    filtered = network.model(rows, torch.tensor([[-4.0, 0.0]]), seen)
    expected = 0.5 * (filtered.nll + 0.25 * filtered.kl) / 9
    penalty = network(alone).penalty
    assert penalty is not None
    assert both.penalty is not None
    torch.testing.assert_close(penalty, expected)
    torch.testing.assert_close(both.penalty[1:], expected)
