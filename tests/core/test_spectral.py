"""Spectral calculus against calculus done by hand, and the identities it must keep."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from integrand.core.errors import InputError
from integrand.core.numerics.spectral import PeriodicGrid

GRIDS = [
    PeriodicGrid((16,), (3.0,)),
    PeriodicGrid((15,), (3.0,)),
    PeriodicGrid((12, 10), (1.0, 2.5)),
    PeriodicGrid((9, 12), (1.0, 2.5)),
    PeriodicGrid((8, 9, 10), (1.0, 2.0, 3.0)),
]
grids = pytest.mark.parametrize("grid", GRIDS, ids=lambda g: "x".join(map(str, g.shape)))
FLOAT64 = torch.empty(0, dtype=torch.float64)


def noise(grid: PeriodicGrid, *lead: int, seed: int = 0) -> Tensor:
    """Draw a field with every wave in it, those at the Nyquist numbers too."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*lead, *grid.shape, dtype=torch.float64, generator=generator)


def wave(grid: PeriodicGrid, waves: tuple[int, ...], phase: float = 0.3) -> tuple[Tensor, list[float]]:
    """Return the angle of a plane wave at every point, and its wavenumber along each axis."""
    k = [2 * math.pi * m / length for m, length in zip(waves, grid.lengths, strict=True)]  # pyright: ignore[reportArgumentType]
    angle = torch.full((), phase, dtype=torch.float64)
    for each, x in zip(k, grid.coordinates(FLOAT64), strict=True):
        angle = angle + each * x
    return angle, k


def highest(grid: PeriodicGrid) -> tuple[int, ...]:
    """The highest wave below the Nyquist number, with a negative one along every second axis."""
    return tuple((n - 1) // 2 * (-1) ** axis for axis, n in enumerate(grid.shape))


def assert_rounding(actual: Tensor, expected: Tensor, scale: float = 1.0) -> None:
    """An FFT of n points in float64 errs by log2(n) eps of its largest value; a symbol multiplies that by its own."""
    torch.testing.assert_close(actual, expected, rtol=0, atol=100 * torch.finfo(torch.float64).eps * scale)


@grids
@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_derivatives_of_trigonometric_polynomials_are_exact(grid: PeriodicGrid, order: int):
    angle, k = wave(grid, highest(grid))
    for axis in range(grid.dims):
        scale = max(1, max(map(abs, k)) ** order)
        expected = k[axis] ** order * (angle + order * math.pi / 2).sin()  # a derivative turns sin by a right angle
        assert_rounding(grid.derivative(angle.sin(), axis, order), expected, scale)


@grids
def test_gradient_laplacian_and_divergence_of_a_wave(grid: PeriodicGrid):
    angle, k = wave(grid, highest(grid))
    square = sum(each**2 for each in k)
    gradient = torch.stack([each * angle.cos() for each in k])
    assert_rounding(grid.gradient(angle.sin()), gradient, square)
    assert_rounding(grid.laplacian(angle.sin()), -square * angle.sin(), square)
    assert_rounding(grid.divergence(gradient), -square * angle.sin(), square)
    assert_rounding(grid.inverse_laplacian(angle.sin() + 5), -angle.sin() / square, 5)


@pytest.mark.parametrize("n", [6, 8])
def test_the_nyquist_wave_is_a_cosine(n: int):
    """cos(n x / 2) is +-1 at the points: its odd derivatives vanish there, its even ones are +-(n/2)^m."""
    grid = PeriodicGrid((n,))
    field = torch.tensor([1.0, -1.0] * (n // 2), dtype=torch.float64)
    assert_rounding(grid.derivative(field, 0, 1), torch.zeros_like(field))
    assert_rounding(grid.derivative(field, 0, 3), torch.zeros_like(field), n**3)
    assert_rounding(grid.derivative(field, 0, 2), -((n / 2) ** 2) * field, n**2)


@grids
def test_symbols_agree_with_calculus(grid: PeriodicGrid):
    field = noise(grid, 2)
    coefficients = grid.transform(field)
    assert_rounding(grid.inverse(coefficients), field, 10)
    assert_rounding(grid.inverse(coefficients * grid.laplacian_symbol(field)), grid.laplacian(field), 1e4)
    for axis in range(grid.dims):
        for order in (1, 2, 3):
            symbol = grid.derivative_symbol(axis, field, order)
            assert symbol.is_complex() == (order % 2 == 1)
            assert_rounding(grid.inverse(coefficients * symbol), grid.derivative(field, axis, order), 1e6)


@pytest.mark.parametrize("grid", [g for g in GRIDS if g.dims > 1], ids=lambda g: "x".join(map(str, g.shape)))
def test_identities_of_vector_calculus(grid: PeriodicGrid):
    field, vector = noise(grid, 2), noise(grid, 2, grid.dims)
    k = 2 * math.pi * 6  # the highest wavenumber of these grids, within a factor of two
    zero = torch.zeros_like(field)
    if grid.dims == 3:
        assert_rounding(grid.divergence(grid.curl(vector)), zero, 10 * k**2)
        assert_rounding(grid.curl(grid.gradient(field)), torch.zeros_like(vector), 10 * k**2)
    else:
        assert_rounding(grid.curl(grid.gradient(field)), zero, 10 * k**2)
    assert_rounding(grid.divergence(grid.project(vector)), zero, 10 * k)


@grids
def test_the_projection_is_one(grid: PeriodicGrid):
    """Idempotent, self-adjoint, blind to fields without divergence, and zero on gradients."""
    one, other = noise(grid, grid.dims), noise(grid, grid.dims, seed=1)
    projected = grid.project(one)
    assert_rounding(grid.project(projected), projected, 10)
    adjoint = (projected * other).sum() - (one * grid.project(other)).sum()
    assert abs(adjoint.item()) < 1e-12 * one.numel()
    gradient = grid.gradient(noise(grid))
    assert_rounding(grid.project(gradient), torch.zeros_like(gradient), gradient.abs().max().item())


@grids
def test_inverse_laplacian_undoes_the_laplacian(grid: PeriodicGrid):
    field = noise(grid, 3)
    mean = field.flatten(1).mean(1).view(-1, *[1] * grid.dims)
    assert_rounding(grid.inverse_laplacian(grid.laplacian(field)), field - mean, 100)


@grids
def test_shells_sum_to_the_mean_square(grid: PeriodicGrid):
    """Parseval's theorem, for fields with every wave in them."""
    field = noise(grid, 2, 3)
    spectrum = grid.energy_spectrum(field)
    mean_square = field.square().flatten(2).mean(-1)
    torch.testing.assert_close(spectrum.energy.sum(-1), mean_square / 2, rtol=1e-14, atol=0)
    assert spectrum.energy.shape[-1] == spectrum.wavenumbers.shape[0]


@grids
def test_a_wave_fills_one_shell(grid: PeriodicGrid):
    waves = tuple(n // 4 for n in grid.shape)
    angle, k = wave(grid, waves)
    spectrum = grid.energy_spectrum(3 * angle.sin())
    shell = int(spectrum.energy.argmax())
    assert spectrum.energy[shell].item() == pytest.approx(9 / 4, rel=1e-14)
    width = spectrum.wavenumbers[1].item()
    assert abs(spectrum.wavenumbers[shell].item() - math.hypot(*k)) <= width / 2


@grids
def test_resampling_is_exact_on_band_limited_fields(grid: PeriodicGrid):
    waves = highest(grid)
    for shape in [tuple(n + 1 for n in grid.shape), tuple(2 * n for n in grid.shape), tuple(n + 7 for n in grid.shape)]:
        finer = PeriodicGrid(shape, grid.lengths)
        expected = wave(finer, waves)[0].sin()
        here = wave(grid, waves)[0].sin()
        assert_rounding(grid.resample(here, shape), expected)
        assert_rounding(finer.resample(expected, grid.shape), here)
        field = noise(grid, 2)  # with its Nyquist waves
        mixed = grid.resample(field, tuple(3 * n for n in grid.shape))
        assert_rounding(mixed[(..., *[slice(None, None, 3)] * grid.dims)], field, 10)


@pytest.mark.parametrize("n", [15, 16, 17, 18])
@pytest.mark.parametrize("factors", [2, 3])
def test_products_carry_no_aliases(n: int, factors: int):
    """cos(m x) to a power: of its waves m, 2 m, ..., those the grid has must be right, and the others gone."""
    grid = PeriodicGrid((n,))
    (x,) = grid.coordinates(FLOAT64)
    for m in range((n - 1) // 2 + 1):
        c = [(m * j * x).cos() if 2 * m * j < n else torch.zeros_like(x) for j in range(4)]
        expected = {2: (1 + c[2]) / 2, 3: (3 * c[1] + c[3]) / 4}[factors]
        if m == 0:
            expected = torch.ones_like(x)
        assert_rounding(grid.product(*[(m * x).cos()] * factors), expected)


@pytest.mark.parametrize("n", [15, 16, 17, 18, 256])
def test_the_mask_keeps_products_free_of_aliases_and_is_as_wide_as_can_be(n: int):
    """Products of waves up to K reach 2 K, seen as n - 2 K, which must lie above K: K < n / 3."""
    mask = PeriodicGrid((n,)).dealiasing_mask(FLOAT64)
    kept = int(mask.sum()) - 1
    assert mask[: kept + 1].all()
    assert n - 2 * kept > kept
    assert n - 2 * (kept + 1) <= kept + 1


def test_masked_products_equal_padded_ones():
    """The 2/3 rule and 3/2 padding are one: on fields of kept waves both give the truncated product."""
    grid = PeriodicGrid((18, 15), (1.0, 2.0))
    mask = grid.dealiasing_mask(FLOAT64)
    one, other = (grid.inverse(grid.transform(noise(grid, seed=seed)) * mask) for seed in (0, 1))
    masked = grid.transform(one * other) * mask
    assert_rounding(masked, grid.transform(grid.product(one, other)) * mask, one.numel())


def test_half_precision_is_computed_in_single():
    grid = PeriodicGrid((16,))
    (x,) = grid.coordinates(FLOAT64)
    for dtype in (torch.float16, torch.bfloat16):
        rounded = x.sin().to(dtype)
        made = grid.derivative(rounded, 0)
        assert made.dtype == torch.float32
        # As exact as the derivative, in float64, of the very values given: FFT rounding in float32 times k = 8.
        torch.testing.assert_close(made.double(), grid.derivative(rounded.double(), 0), rtol=0, atol=8e-6)
    assert grid.derivative(x.sin().float(), 0).dtype == torch.float32
    # FFT rounding in single precision times the highest wavenumber, 8.
    torch.testing.assert_close(grid.derivative(x.sin().float(), 0), x.cos().float(), rtol=0, atol=8 * 1e-6)


@pytest.mark.parametrize("grid", [GRIDS[0], GRIDS[2]], ids=["1d", "2d"])
def test_gradients_agree_with_finite_differences(grid: PeriodicGrid):
    small = PeriodicGrid(tuple(n // 3 for n in grid.shape), grid.lengths)
    field, vector = noise(small).requires_grad_(), noise(small, small.dims).requires_grad_()
    assert torch.autograd.gradcheck(lambda u: small.derivative(u, 0, 3), (field,))
    assert torch.autograd.gradcheck(small.inverse_laplacian, (field,))
    assert torch.autograd.gradcheck(lambda u: small.product(u, u), (field,))
    assert torch.autograd.gradcheck(lambda u: small.energy_spectrum(u).energy, (field,))
    assert torch.autograd.gradcheck(small.project, (vector,))


def test_grids_can_be_compared_and_shared():
    assert PeriodicGrid((4, 4)) == PeriodicGrid((4, 4), (2 * math.pi, 2 * math.pi))
    assert len({PeriodicGrid((4,)), PeriodicGrid((4,), 2 * math.pi), PeriodicGrid((4,), 1)}) == 2


@pytest.mark.parametrize(
    ("mistake", "told"),
    [
        (lambda: PeriodicGrid(()), "1 to 3 axes"),
        (lambda: PeriodicGrid((8, 8, 8, 8)), "1 to 3 axes"),
        (lambda: PeriodicGrid((1,)), "1 to 3 axes"),
        (lambda: PeriodicGrid((8, 8), (1.0,)), "lengths"),
        (lambda: PeriodicGrid((8,), (-1.0,)), "lengths"),
        (lambda: PeriodicGrid((8,), (float("nan"),)), "lengths"),
        (lambda: PeriodicGrid((8,)).derivative(torch.zeros(9), 0), "end in"),
        (lambda: PeriodicGrid((8,)).derivative(torch.zeros(8), 1), "axis=1"),
        (lambda: PeriodicGrid((8,)).derivative(torch.zeros(8, dtype=torch.complex64), 0), "real"),
        (lambda: PeriodicGrid((8,)).laplacian(torch.zeros(8, dtype=torch.int64)), "real"),
        (lambda: PeriodicGrid((8, 8)).divergence(torch.zeros(3, 8, 8)), "component"),
        (lambda: PeriodicGrid((8, 8)).project(torch.zeros(8, 8)), "component"),
        (lambda: PeriodicGrid((8,)).curl(torch.zeros(1, 8)), "no curl"),
        (lambda: PeriodicGrid((8,)).inverse(torch.zeros(8, dtype=torch.complex64)), "coefficients"),
        (lambda: PeriodicGrid((8,)).resample(torch.zeros(8), (8, 8)), "axes"),
    ],
)
def test_mistakes_are_named(mistake: Any, told: str):
    with pytest.raises(InputError, match=told):
        mistake()
