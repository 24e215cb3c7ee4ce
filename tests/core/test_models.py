"""The latent ODE against closed forms: its divergence, its path, and what it may not depend on."""

import pytest
import torch
from torch import Tensor, nn

from integrand.core.layers import S5
from integrand.core.models import ODERNN, LatentODE, NeuralODE

B, L, F, D = 3, 7, 4, 2


class Rotation(nn.Module):
    """y' = omega (-y_2, y_1), solved by a turn through omega t."""

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return 2.0 * torch.stack([-y[:, 1], y[:, 0]], dim=1)


@pytest.fixture(params=["s5", "ode_rnn"])
def model(request: pytest.FixtureRequest) -> LatentODE:
    torch.manual_seed(0)
    encoder = S5(8, d_state=8) if request.param == "s5" else ODERNN(8, d_state=8)
    return LatentODE(F, D, encoder, NeuralODE(Rotation(), rtol=1e-9, atol=1e-9)).double()


def _series() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(B, L, F, generator=generator, dtype=torch.float64)
    dt = torch.rand(B, L, generator=generator, dtype=torch.float64)
    return features, dt, torch.ones(B, L, dtype=torch.bool)


def test_mean_path_is_the_turn_of_the_posterior_mean(model: LatentODE) -> None:
    times = torch.linspace(0, 1.5, 4, dtype=torch.float64)
    out = model(*_series(), times, noise=torch.zeros(B, D, dtype=torch.float64))
    angle = 2.0 * times
    turn = torch.stack([torch.stack([angle.cos(), -angle.sin()]), torch.stack([angle.sin(), angle.cos()])])
    expected = torch.einsum("ijt,bj->bti", turn, out.mean)
    # The solver's tolerance is 1e-9; two orders are left for the sum over its steps.
    torch.testing.assert_close(
        out.solution.states, expected, rtol=0, atol=1e-7 * float(out.mean.detach().abs().max() + 1)
    )


def test_noise_moves_the_start_by_its_deviations(model: LatentODE) -> None:
    noise = torch.randn(B, D, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    out = model(*_series(), torch.tensor([0.0, 1.0], dtype=torch.float64), noise=noise)
    torch.testing.assert_close((out.solution.states[:, 0] - out.mean) / out.std, noise)


def test_divergence_is_that_of_torch_distributions(model: LatentODE) -> None:
    out = model(*_series(), torch.tensor([0.0, 1.0], dtype=torch.float64))
    posterior = torch.distributions.Normal(out.mean, out.std)
    prior = torch.distributions.Normal(torch.zeros_like(out.mean), torch.ones_like(out.std))
    torch.testing.assert_close(out.kl, torch.distributions.kl_divergence(posterior, prior).sum(-1))


def test_padding_leaves_the_posterior_as_it_was(model: LatentODE) -> None:
    features, dt, present = _series()
    mean, std = model.infer(features, dt, present)
    padded = torch.cat([features, torch.full((B, 2, F), 7.0, dtype=torch.float64)], dim=1)
    gone = torch.zeros(B, 2, dtype=torch.bool)
    later, spread = model.infer(padded, torch.cat([dt, torch.zeros(B, 2)], dim=1), torch.cat([present, gone], dim=1))
    torch.testing.assert_close((later, spread), (mean, std))


def test_first_interval_is_before_the_series_and_has_no_say(model: LatentODE) -> None:
    features, dt, present = _series()
    earlier = dt.clone()
    earlier[:, 0] += 100.0
    torch.testing.assert_close(model.infer(features, earlier, present), model.infer(features, dt, present))
