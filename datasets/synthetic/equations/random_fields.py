"""Random functions on periodic boxes, as published data sets begin with them.

Each function draws one sample, on the host and in float64. What it draws is a function on the box; the grid only says
where it is evaluated, so that two grids give the same values at the points they share.

Dimension letters: X Y Z grid.
"""

import math

import numpy as np
import torch
from torch import Tensor

from integrand.core.errors import InputError
from integrand.datasets.synthetic.simulator import Generator

HIGHEST = {1: 1024, 2: 128, 3: 32}
"""Waves of a Gaussian field along each axis, by the number of axes: those beyond are left out on every grid."""
WINDOWED = 0.1
"""Share of the windowed sines that are made positive, and of those that are cut to a window."""
EDGE = 0.01
"""Width of the window's edges, as a share of the box."""


def gaussian_field(
    generator: Generator,
    points: tuple[int, ...],
    lengths: tuple[float, ...],
    *,
    scale: float = 25.0,
    shift: float = 5.0,
    decay: float = 2.0,
    highest: int | None = None,
) -> Tensor:
    """Draw a Gaussian field of mean zero, (*X), by its Fourier series.

    The covariance operator is scale^2 (-Laplacian + shift^2)^-decay, so that the waves k with |k_i| <= highest have

        f(x) = sum_k sqrt(lambda_k / V) Re((a_k + i b_k) exp(i k x)),    lambda_k = scale^2 (|k|^2 + shift^2)^-decay,

    a and b standard normal, k in 2 pi / length along each axis, V the volume of the box.

    Args:
        generator: of the random numbers.
        points: along each axis.
        lengths: of the box along each axis.
        scale: sigma.
        shift: tau, in radians per unit length: longer waves than 1 / tau are about equally strong.
        decay: gamma; above half the number of axes, or the variance has no bound as waves are added.
        highest: of the waves along each axis; ``HIGHEST`` where None.

    Raises:
        InputError: ``decay`` is too small, ``shift`` or ``scale`` is not positive.

    Example:
        >>> coarse, fine = (gaussian_field(np.random.default_rng(0), (n,), (1.0,)) for n in (16, 32))
        >>> torch.allclose(coarse, fine[::2])
        True

    Source: Li et al. (2021), Fourier neural operator for parametric partial differential equations, Sections 5.1 to 5.3
    and Appendix A.3.
    """
    dims = len(points)
    if not (decay > dims / 2 and shift > 0 and scale > 0):
        raise InputError(
            f"a Gaussian field in {dims} dimensions has positive scale and shift and a decay above {dims / 2:g}: "
            f"scale={scale!r}, shift={shift!r}, decay={decay!r}."
        )
    highest = HIGHEST[dims] if highest is None else highest
    count = 2 * highest + 1
    waves = torch.arange(-highest, highest + 1)
    square = torch.zeros((count,) * dims, dtype=torch.float64)
    for axis, length in enumerate(lengths):
        square += ((2 * math.pi / length * waves) ** 2).view(*(count if i == axis else 1 for i in range(dims)))
    strength = scale * (square + shift**2) ** (-decay / 2) / math.sqrt(math.prod(lengths))
    normal = torch.from_numpy(generator.standard_normal((*square.shape, 2)))
    coefficients = strength * torch.view_as_complex(normal)
    # Waves beyond the grid's own fall upon others, as they do in any sample of the function.
    for axis, n in enumerate(points):
        shape = (*points[: axis + 1], *coefficients.shape[axis + 1 :])
        coefficients = torch.zeros(shape, dtype=torch.complex128).index_add_(axis, waves % n, coefficients)
    return torch.fft.ifftn(coefficients).real * math.prod(points)


def windowed_sines(
    generator: Generator, points: tuple[int, ...], lengths: tuple[float, ...], *, terms: int = 2, highest: int = 8
) -> Tensor:
    """Draw a sum of sines on a circle, (X,); some are made positive, some are cut to a window, each has a random sign.

        f(x) = sum_j A_j sin(2 pi n_j x / L + phi_j),    A_j in [0, 1), n_j in 1, ..., highest, phi_j in [0, 2 pi)

    One in ten becomes its absolute value. One in ten, independently, is multiplied by a window whose edges, hyperbolic
    tangents of width L / 100, lie at shares in [0.1, 0.45) and [0.55, 0.9) of the box.

    Args:
        generator: of the random numbers.
        points: (X,) as a tuple.
        lengths: of the circle, likewise.
        terms: sines, 2 as published.
        highest: of their waves, 8 for advection as published.

    Source: Takamoto et al. (2022), PDEBench: an extensive benchmark for scientific machine learning, Appendix D, Eq. 8;
    the window's place and width as in the program that made their data.
    """
    (n,), (length,) = points, lengths
    amplitude = generator.random(terms)
    wave = generator.integers(1, highest, size=terms, endpoint=True)
    phase = generator.uniform(0, 2 * math.pi, terms)
    positive, windowed = generator.random(2) < WINDOWED
    sign = generator.choice([-1.0, 1.0])
    edges = length * np.array([generator.uniform(0.1, 0.45), generator.uniform(0.55, 0.9)])
    x = length / n * np.arange(n)
    f = (amplitude * np.sin(2 * math.pi / length * wave * x[:, None] + phase)).sum(-1)
    f = sign * (np.abs(f) if positive else f)
    if windowed:
        rise, fall = np.tanh((x - edges[:, None]) / (EDGE * length))
        f = f * (rise - fall) / 2
    return torch.from_numpy(f)


def sines(
    generator: Generator, points: tuple[int, ...], lengths: tuple[float, ...], *, terms: int = 10, highest: int = 3
) -> Tensor:
    """Draw a sum of long sines on a circle, (X,).

        f(x) = sum_j A_j sin(2 pi n_j x / L + phi_j),    A_j in [-0.5, 0.5), n_j in 1, ..., highest, phi_j in [0, 2 pi)

    Args:
        generator: of the random numbers.
        points: (X,) as a tuple.
        lengths: of the circle, likewise.
        terms: sines.
        highest: of their waves.

    Source: Brandstetter, Welling and Worrall (2022), Lie point symmetry data augmentation for neural PDE solvers,
    Section 4, after Bar-Sinai et al. (2019), Learning data-driven discretizations for partial differential equations.
    """
    (n,), (length,) = points, lengths
    amplitude = generator.uniform(-0.5, 0.5, terms)
    wave = generator.integers(1, highest, size=terms, endpoint=True)
    phase = generator.uniform(0, 2 * math.pi, terms)
    x = length / n * np.arange(n)
    return torch.from_numpy((amplitude * np.sin(2 * math.pi / length * wave * x[:, None] + phase)).sum(-1))
