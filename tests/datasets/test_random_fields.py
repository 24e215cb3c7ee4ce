"""Random starts: their law, and that they are functions, whatever the grid.

A mean of n draws is held to four standard errors of its known value.
"""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from integrand.core.errors import InputError
from integrand.datasets.synthetic.equations.random_fields import gaussian_field, sines, windowed_sines

DRAWS = 2000


def drawn(make: Callable[..., Tensor], points: tuple[int, ...], lengths: tuple[float, ...], **options: float) -> Tensor:
    return torch.stack([make(np.random.default_rng([7, i]), points, lengths, **options) for i in range(DRAWS)])


@pytest.mark.parametrize("make", [gaussian_field, windowed_sines, sines])
def test_grids_give_the_same_function(make: Callable[..., Tensor]):
    """Also a grid too coarse for its waves, and one that is no power of two."""
    for seed in range(5):
        fine, coarse, odd = (make(np.random.default_rng(seed), (n,), (3.0,)) for n in (360, 24, 15))
        torch.testing.assert_close(fine[::15], coarse, rtol=0, atol=1e-12)
        torch.testing.assert_close(fine[::24], odd, rtol=0, atol=1e-12)


def test_grids_give_the_same_function_in_the_plane():
    fine, coarse = (gaussian_field(np.random.default_rng(1), n, (1.0, 2.0)) for n in ((48, 60), (16, 12)))
    torch.testing.assert_close(fine[::3, ::5], coarse, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("points", "lengths"), [((8,), (1.0,)), ((8,), (2 * math.pi,)), ((4, 6), (1.0, 1.5))])
def test_gaussian_fields_have_their_covariance(points: tuple[int, ...], lengths: tuple[float, ...]):
    """E f(x) f(y) = sum_k lambda_k cos(k (x - y)) / V, here summed directly, between all points."""
    f = drawn(gaussian_field, points, lengths, scale=3.0, shift=4.0, decay=2.0, highest=12).flatten(1)
    axes = [np.arange(n) * length / n for n, length in zip(points, lengths, strict=True)]
    x = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, len(points))
    k = np.stack(np.meshgrid(*[2 * np.pi / length * np.arange(-12, 13) for length in lengths], indexing="ij"), -1)
    k = k.reshape(-1, len(points))
    strength = 9.0 * ((k**2).sum(-1) + 16.0) ** -2.0 / np.prod(lengths)
    known = (strength * np.cos((x[:, None] - x[None]) @ k.T)).sum(-1)

    found = (f.T @ f / DRAWS).numpy()
    error = np.sqrt((known**2 + known[0, 0] ** 2) / DRAWS)  # of a product of two correlated normals
    assert (np.abs(found - known) < 4.5 * error).all()  # 4.5: of up to 300 entries
    assert abs(float(f.mean())) < 4 * math.sqrt(known.mean() / DRAWS)


def test_long_sines_have_their_variance():
    """Ten terms of variance E A^2 / 2 = 1 / 24, and no wave above the third."""
    f = drawn(sines, (16,), (5.0,))
    assert abs(float(f.square().mean()) - 10 / 24) < 4 * float(f.square().mean(1).std()) / math.sqrt(DRAWS)
    spectrum = torch.fft.rfft(f).abs().amax(0)
    assert (spectrum[1:4] > 1).all()
    assert spectrum[[0, *range(4, 9)]].max() < 1e-12


def test_windowed_sines_are_positive_or_cut_as_often_as_published():
    """One in ten each; a window makes the function vanish at the box's end, whatever its sign."""
    f = drawn(windowed_sines, (200,), (1.0,))
    cut = f[:, :6].abs().amax(1) < 1e-5
    signed = (f.amin(1) > -1e-9) | (f.amax(1) < 1e-9)
    for share in (float(cut.double().mean()), float(signed.double().mean())):
        assert abs(share - 0.1) < 4 * math.sqrt(0.1 * 0.9 / DRAWS)
    assert abs(float((f[signed].sum(1) > 0).double().mean()) - 0.5) < 4 * 0.5 / math.sqrt(int(signed.sum()))
    whole = f[~cut & ~signed]
    assert torch.fft.rfft(whole).abs()[:, 9:].max() < 1e-10  # no wave above the eighth
    # two amplitudes of mean square 1/3
    variance = whole.square().mean(1)
    assert abs(float(variance.mean()) - 1 / 3) < 5 * float(variance.std()) / math.sqrt(len(whole))


@pytest.mark.parametrize(("scale", "shift", "decay"), [(1.0, 1.0, 0.5), (1.0, 0.0, 2.0), (-1.0, 1.0, 2.0)])
def test_a_field_without_a_variance_is_refused(scale: float, shift: float, decay: float):
    with pytest.raises(InputError, match=r"decay above 0\.5"):
        gaussian_field(np.random.default_rng(0), (8,), (1.0,), scale=scale, shift=shift, decay=decay)
