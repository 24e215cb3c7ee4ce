"""Losses of fields against closed forms: single waves, quadratics, Parseval's theorem."""

import math

import pytest
import torch

from integrand.core.errors import InputError
from integrand.core.losses import band_energies, relative_bands, relative_h1, relative_l2

DOUBLE = torch.float64


def circle(n: int, length: float = 2 * math.pi) -> torch.Tensor:
    return torch.arange(n, dtype=DOUBLE) * (length / n)


def test_relative_l2_of_a_multiple_is_the_share_at_any_resolution():
    for shape in ((7,), (8, 5), (3, 4, 5)):
        u = torch.randn(2, 3, *shape, dtype=DOUBLE, generator=torch.Generator().manual_seed(0))
        torch.testing.assert_close(
            relative_l2(1.25 * u, u, dims=len(shape)), torch.full((2, 3), 0.25, dtype=DOUBLE), rtol=1e-14, atol=0
        )


def test_relative_l2_of_waves_is_the_ratio_of_their_heights():
    for n in (16, 33, 256):
        x = circle(n)
        error = relative_l2(3 * x.sin() + 0.6 * (4 * x).cos(), 3 * x.sin(), dims=1)
        assert error.item() == pytest.approx(0.2, rel=1e-13)


def test_a_floor_counts_errors_where_the_truth_is_zero():
    p = torch.full((1, 4), 0.5, dtype=DOUBLE)
    assert relative_l2(p, torch.zeros_like(p), dims=1, floor=0.25).item() == pytest.approx(2.0, rel=1e-15)


@pytest.mark.parametrize("n", [15, 16])
@pytest.mark.parametrize(("length", "scale"), [(2 * math.pi, 1.0), (3.0, 0.2)])
def test_relative_h1_of_waves(n: int, length: float, scale: float):
    """A wave of number k has slope 2 pi k / L times its size, so it weighs 1 + (2 pi k scale / L)^2."""
    x = circle(n, length) * 2 * math.pi / length
    error = relative_h1(x.sin() + 0.1 * (3 * x).cos(), x.sin(), lengths=(length,), scale=scale)
    k = 2 * math.pi * scale / length
    assert error.item() == pytest.approx(0.1 * math.sqrt((1 + 9 * k**2) / (1 + k**2)), rel=1e-12)


def test_relative_h1_of_waves_in_two_dimensions():
    x, y = circle(12)[:, None], circle(10)[None]  # phases; along y the box is pi long, so wave numbers are twice as many
    truth, error = x.sin() * y.cos(), 0.3 * (2 * x).cos() * (2 * y).sin()
    made = relative_h1(truth + error, truth, lengths=(2 * math.pi, math.pi))
    assert made.item() == pytest.approx(0.3 * math.sqrt((1 + 4 + 16) / (1 + 1 + 4)), rel=1e-12)


def test_relative_h1_without_periods_is_exact_for_quadratics():
    """Differences of second order, one-sided at the ends, are exact slopes of quadratics."""
    x = torch.linspace(0, 2, 21, dtype=DOUBLE)
    u, slope, error, error_slope = x**2 - x, 2 * x - 1, 0.1 * x**2, 0.2 * x
    expected = ((error**2 + error_slope**2).mean() / (u**2 + slope**2).mean()).sqrt()
    made = relative_h1(u + error, u, lengths=(2.0,), periodic=False)
    assert made.item() == pytest.approx(expected.item(), rel=1e-12)


def test_relative_h1_refuses_axes_that_do_not_agree():
    with pytest.raises(InputError, match="one of each for each axis"):
        relative_h1(torch.ones(4), torch.ones(4), lengths=(1.0,), periodic=(True, False))


@pytest.mark.parametrize("shape", [(9,), (16,), (8, 6), (7, 9), (4, 5, 6)])
def test_bands_add_up_to_the_mean_square(shape: tuple[int, ...]):
    """Parseval's theorem, on even and odd grids, whatever the bands."""
    u = torch.randn(2, *shape, dtype=DOUBLE, generator=torch.Generator().manual_seed(1))
    mean = u.square().flatten(1).mean(1)
    for edges in ((1,), (2, 3), (4, 12)):
        torch.testing.assert_close(band_energies(u, dims=len(shape), edges=edges).sum(-1), mean, rtol=1e-13, atol=0)


@pytest.mark.parametrize(
    ("k", "band"), [((3, 0), 0), ((4, 0), 1), ((3, 3), 1), ((0, 11), 1), ((9, 8), 2), ((0, 12), 2)]
)
def test_a_wave_lies_in_the_band_of_its_length(k: tuple[int, int], band: int):
    x, y = circle(32)[:, None], circle(32)[None]
    energies = band_energies((k[0] * x + k[1] * y).cos(), dims=2)
    torch.testing.assert_close(energies, torch.eye(3, dtype=DOUBLE)[band] / 2, rtol=0, atol=1e-14)


def test_relative_bands_count_each_band_alike():
    """An error of half a wave's height in one of three bands, whatever that wave's share of the whole: a sixth."""
    x = circle(64)
    for height in (1.0, 1e-3):
        truth = x.sin() + (6 * x).sin() + height * (20 * x).sin()
        error = relative_bands(truth + height / 2 * (20 * x).cos(), truth, dims=1, floor=0.0)
        assert error.item() == pytest.approx(1 / 6, rel=1e-9)


def test_bands_that_do_not_increase_are_refused():
    with pytest.raises(InputError, match="increase"):
        band_energies(torch.ones(8), dims=1, edges=(4, 4))


@pytest.mark.parametrize("loss", ["l2", "h1", "bands"])
def test_an_exact_prediction_has_a_finite_gradient(loss: str):
    u = circle(16).sin()
    p = u.clone().requires_grad_()
    made = {
        "l2": lambda: relative_l2(p, u, dims=1),
        "h1": lambda: relative_h1(p, u, lengths=(2 * math.pi,)),
        "bands": lambda: relative_bands(p, u, dims=1),
    }[loss]()
    (gradient,) = torch.autograd.grad(made, p)
    assert torch.isfinite(gradient).all()
    assert made.item() < 1e-12


@pytest.mark.parametrize("score", [relative_l2, relative_bands])
def test_gradients_are_those_of_finite_differences(score):
    generator = torch.Generator().manual_seed(3)
    p = torch.randn(1, 12, dtype=DOUBLE, generator=generator, requires_grad=True)
    u = torch.randn(1, 12, dtype=DOUBLE, generator=generator)
    assert torch.autograd.gradcheck(lambda p: score(p, u, dims=1), (p,))
