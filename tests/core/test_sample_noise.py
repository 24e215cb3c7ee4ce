"""The noise of samples: its law, and that it belongs to seeds."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from integrand.core.diffusion import (
    SampleNoise,
    initial_noise,
)
from integrand.core.errors import InputError


def test_noise_is_standard_normal_and_its_draws_are_independent():
    x = torch.zeros(400, 5, 50, dtype=torch.float64)
    noise = SampleNoise(range(400))
    first, second, start = noise(0, x), noise(1, x), initial_noise(range(400), (5, 50), dtype=torch.float64)
    for drawn in (first, second, start):
        assert stats.kstest(drawn.flatten().numpy(), "norm").pvalue > 1e-3
    bound = 5 / math.sqrt(first.numel())
    for a, b in ((first, second), (first, start), (second, start), (first[:, :, :25], first[:, :, 25:])):
        assert abs(float((a * b).mean())) < bound * math.sqrt(first.numel() / a.numel())
    across = np.corrcoef(first.flatten(1).numpy())
    assert np.abs(across - np.eye(400)).max() < 6 / math.sqrt(250)


def test_noise_belongs_to_seeds():
    x = torch.zeros(2, 7)
    assert torch.equal(SampleNoise([3, 9])(4, x)[1:], SampleNoise(torch.tensor([9]))(4, x[1:]))
    assert not torch.equal(SampleNoise([3, 9])(4, x), SampleNoise([3, 9])(5, x))
    assert torch.equal(initial_noise([3, 9], (7,), 2.0)[1], 2 * initial_noise([9], (7,))[0])
    # The first numbers of a longer state are others: a sample belongs to its shape as well.
    assert SampleNoise([3])(0, torch.zeros(1, 1)).shape == (1, 1)
    assert SampleNoise([3])(0, torch.zeros(1, 3, dtype=torch.bfloat16)).dtype == torch.bfloat16
    torch.testing.assert_close(SampleNoise([3, 9])(4, x), SampleNoise([3, 9])(4, x.double()).float(), atol=1e-5, rtol=0)


@pytest.mark.parametrize("seeds", [[0.5], [[1]], torch.tensor(3), torch.tensor([1.0])])
def test_seeds_that_are_none_are_named(seeds: Any):
    with pytest.raises(InputError, match="seeds must be whole numbers"):
        SampleNoise(seeds)


def test_as_many_seeds_as_samples():
    with pytest.raises(InputError, match="2 seeds for a batch of 3"):
        SampleNoise([1, 2])(0, torch.zeros(3, 1))
