"""Errors of predicted fields: each a pure function of tensors, with its definition and its source.

Dimension letters: N samples, T times, C channels, X Y Z grid. Sums and means over X stand for all axes of the grid.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from integrand.core.errors import InputError
from integrand.core.losses import band_energies
from integrand.core.numerics.spectral import PeriodicGrid

VRMSE_FLOOR = 1e-7
"""Added to the variance that ``vrmse`` divides by, as The Well has it."""


def nrmse(prediction: Tensor, truth: Tensor, *, dims: int) -> Tensor:
    """Return the root mean square error over a whole solution beside the root mean square of the truth.

        sqrt(<(p - u)^2> / <u^2>),      < > the mean over times and points

    At one time it is the relative L2 error; over a solution it weighs times by their size, where the mean of relative
    errors weighs each time alike, as PDEBench does.

    Args:
        prediction: p, (N, T, C, *X).
        truth: u, the same shape.
        dims: axes of the grid.

    Returns:
        (N, C).

    Example:
        >>> nrmse(torch.tensor([[[[1.0, 1.0]], [[0.0, 0.0]]]]), torch.tensor([[[[2.0, 2.0]], [[0.0, 0.0]]]]), dims=1)
        tensor([[0.5000]])

    Source: Takamoto et al. (2022), PDEBench: An extensive benchmark for scientific machine learning, Appendix B.
    """
    axes = (1, *range(-dims, 0))
    return ((prediction - truth).square().mean(axes) / truth.square().mean(axes)).sqrt()


def vrmse(prediction: Tensor, truth: Tensor, *, dims: int) -> Tensor:
    """Return the root mean square error in units of the truth's own deviation: 1 is what the mean of the field reaches.

        sqrt(<(p - u)^2> / (<(u - <u>)^2> + 1e-7)),      < > the mean over the points

    Args:
        prediction: p, (..., *X).
        truth: u, the same shape.
        dims: axes of the grid.

    Returns:
        The error of each field, (...).

    Example:
        >>> truth = torch.tensor([1.0, 3.0])
        >>> vrmse(truth.mean().expand(2), truth, dims=1)
        tensor(1.0000)

    Source: Ohana et al. (2024), The Well: A large-scale collection of diverse physics simulations for machine learning,
    Appendix E.
    """
    axes = tuple(range(-dims, 0))
    variance = truth.var(axes, unbiased=False)
    return ((prediction - truth).square().mean(axes) / (variance + VRMSE_FLOOR)).sqrt()


def band_errors(prediction: Tensor, truth: Tensor, *, dims: int) -> Tensor:
    """Return the error in the low, middle and high waves, each beside the size of the whole truth.

        |p - u|_b / |u|,      bands |k| < 4, 4 <= |k| < 12 and |k| >= 12 whole waves a box

    The squares of the three add up to that of the relative L2 error.

    Args:
        prediction: p, (..., *X).
        truth: u, the same shape.
        dims: axes of the grid.

    Returns:
        (..., 3).

    Source: bands of Takamoto et al. (2022), PDEBench, Appendix B, where the error is not divided by the truth's size.
    """
    error = band_energies(prediction - truth, dims=dims)
    return (error / band_energies(truth, dims=dims).sum(-1, keepdim=True)).sqrt()


def correlation(prediction: Tensor, truth: Tensor, *, dims: int) -> Tensor:
    """Return Pearson's correlation of prediction and truth over the points of each field, (...).

    Where one of the two is constant there is none: it counts as 0. So does a prediction that is not finite.

    Source: Kochkov et al. (2021), Machine learning-accelerated computational fluid dynamics, Fig. 2.
    """
    axes = tuple(range(-dims, 0))
    p, u = (one - one.mean(axes, keepdim=True) for one in (prediction, truth))
    size = (p.square().sum(axes) * u.square().sum(axes)).sqrt()
    return torch.where(size > 0, (p * u).sum(axes) / size, 0.0).nan_to_num(0.0, 0.0, 0.0)


def correlation_time(correlations: Tensor, times: Tensor, threshold: float) -> Tensor:
    """Return the time until which the correlation has stayed at or above a threshold.

    Between the last time above and the first below it is interpolated linearly; a rollout that never falls below has
    the whole span.

    Args:
        correlations: (N, T, ...), from the first time on.
        times: (T,), increasing.
        threshold: such as 0.8 or 0.95.

    Returns:
        Time since the first, (N, ...).

    Example:
        >>> correlation_time(torch.tensor([[1.0, 0.9, 0.7, 0.9]]), torch.tensor([0.0, 1.0, 2.0, 3.0]), 0.8)
        tensor([1.5000])

    Source: Lippe, Veeling, Perdikaris, Turner and Brandstetter (2023), PDE-Refiner: Achieving accurate long rollouts
    with neural PDE solvers, Section 4.1; thresholds of 0.8 and 0.95 as there and in Kochkov et al. (2021).
    """
    if correlations.shape[1] != len(times):
        raise InputError(f"correlations {tuple(correlations.shape)} and {len(times)} times do not agree.")
    since = (times - times[0]).to(correlations).view(-1, *[1] * (correlations.dim() - 2))
    above = correlations >= threshold
    held = above.cumprod(1).sum(1)  # how many from the first on
    last, first = (held - 1).clamp(min=0).unsqueeze(1), held.clamp(max=len(times) - 1).unsqueeze(1)
    time = since.expand_as(correlations)
    t0, t1 = time.gather(1, last), time.gather(1, first)
    c0, c1 = correlations.gather(1, last), correlations.gather(1, first)
    share = torch.where(c0 > c1, (c0 - threshold) / (c0 - c1).clamp(min=1e-12), 0.0).clamp(0, 1)
    return torch.where(held.unsqueeze(1) > 0, t0 + share * (t1 - t0), 0.0).squeeze(1)


def invariant_drift(values: Tensor, *, scale: Tensor | float) -> Tensor:
    """Return how far an invariant moves from where it starts, at each time,

        |I(t) - I(0)| / scale

    Args:
        values: I, (N, T).
        scale: what it is counted in, such as its root mean square over samples.

    Returns:
        (N, T).

    Example:
        >>> invariant_drift(torch.tensor([[2.0, 2.5, 1.0]]), scale=2.0)
        tensor([[0.0000, 0.2500, 0.5000]])

    Source: Hairer, Lubich and Wanner (2006), Geometric numerical integration, Chapter I.
    """
    return (values - values[:, :1]).abs() / scale


def divergence(velocity: Tensor, *, lengths: Sequence[float], periodic: Sequence[bool]) -> Tensor:
    """Return the size of the divergence of a velocity beside that of its gradient; 0 where nothing is compressed.

        sqrt(<(sum_i d_i v_i)^2> / <sum_ij (d_i v_j)^2>)

    Derivatives are spectral along periodic axes, of second order along others.

    Args:
        velocity: v, (..., d, *X), as many components as axes.
        lengths: of the box along each axis.
        periodic: for each axis, whether its ends are joined.

    Returns:
        (...).

    Source: Pope (2000), Turbulent flows, Eq. 2.19.
    """
    dims = len(lengths)
    if velocity.shape[-dims - 1] != dims:
        raise InputError(f"a velocity of {velocity.shape[-dims - 1]} components on {dims} axes has no divergence.")
    shape = tuple(velocity.shape[-dims:])
    slopes = []  # slopes[i][..., j, *X] = d_i v_j
    for axis in range(dims):
        if periodic[axis]:
            along = PeriodicGrid((shape[axis],), (lengths[axis],))
            moved = velocity.movedim(axis - dims, -1)
            slopes.append(along.derivative(moved, 0).movedim(-1, axis - dims))
        else:
            spacing = lengths[axis] / (shape[axis] - 1)
            slopes.append(torch.gradient(velocity, spacing=spacing, dim=axis - dims, edge_order=2)[0])
    gradient = torch.stack(slopes, dim=-dims - 2)  # (..., i, j, *X)
    axes = tuple(range(-dims, 0))
    trace = gradient.diagonal(dim1=-dims - 2, dim2=-dims - 1).sum(-1)  # (..., *X)
    return (trace.square().mean(axes) / gradient.square().sum((-dims - 2, -dims - 1)).mean(axes)).sqrt()
