"""The score of an ensemble: by its definition, by the closed form it estimates, and by numpy."""

import numpy as np
import pytest
import torch

from integrand.core.losses import ensemble_crps, gaussian_crps


def test_it_is_its_definition_over_all_pairs():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(7, 5, 3)), rng.normal(size=(5, 3))
    pairs = np.abs(x[:, None] - x[None]).sum((0, 1)) / (2 * 7 * 6)
    expected = np.abs(x - y).mean(0) - pairs
    found = ensemble_crps(torch.from_numpy(x), torch.from_numpy(y))
    torch.testing.assert_close(found, torch.from_numpy(expected), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("members", [2, 20])
def test_its_mean_is_the_score_of_the_distribution_however_few_the_members(members: int):
    """Of N(0.3, 1.5^2), whose score is known; the plain average over pairs would be off by 1.5 / (sqrt(pi) K)."""
    generator = torch.Generator().manual_seed(0)
    x = 0.3 + 1.5 * torch.randn(members, 40000, dtype=torch.float64, generator=generator)
    scores = ensemble_crps(x, torch.tensor(1.0, dtype=torch.float64))
    exact = gaussian_crps(*(torch.tensor(value, dtype=torch.float64) for value in (0.3, 1.5, 1.0)))
    assert float(scores.mean()) == pytest.approx(float(exact), abs=4 * float(scores.std()) / 200)


def test_one_member_has_the_absolute_error():
    y = torch.tensor([1.0, -2.0])
    torch.testing.assert_close(ensemble_crps(torch.zeros(1, 2), y), y.abs())


def test_it_keeps_precision_device_and_gradients():
    assert ensemble_crps(torch.empty(4, 3, device="meta"), torch.empty(3, device="meta")).device.type == "meta"
    x = torch.randn(5, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: ensemble_crps(x, torch.zeros(2, dtype=torch.float64)), x)
