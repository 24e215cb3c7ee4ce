"""Where the noise of a solve comes from: a seed, a path of the caller's, or fresh numbers."""

from collections.abc import Sequence

import torch
from torch import Tensor

from integrand.core.errors import InputError
from integrand.core.numerics.stochastic.brownian import Brownian, BrownianPath, Increments, draw_increments
from integrand.core.numerics.stochastic.schemes import Scheme
from integrand.core.numerics.stochastic.walk import Grid


def seeded_path(seeds: Tensor | Sequence[int], shape: tuple[int, ...], times: Tensor, y0: Tensor) -> BrownianPath:
    """Return the paths of the seeds over the time of the solve."""
    seeds = seeds if isinstance(seeds, Tensor) else torch.tensor(seeds, dtype=torch.int64)
    if seeds.shape != y0.shape[:1]:
        raise InputError(f"seeds has shape {tuple(seeds.shape)} for a batch of {y0.shape[0]}: give one a sample.")
    first, last = times.detach()[..., 0], times.detach()[..., -1]
    return BrownianPath(
        seeds.to(y0.device), shape, torch.minimum(first, last), torch.maximum(first, last), dtype=y0.dtype
    )


def grid_increments(
    scheme: Scheme,
    y0: Tensor,
    grid: Grid,
    shape: tuple[int, ...],
    brownian: Brownian | None,
    generator: torch.Generator | None,
) -> Increments:
    """Return what the noise does in each step of a grid, from the path given or freshly drawn."""
    if brownian is None:
        return draw_increments(grid.times, y0.shape[0], shape, area=scheme.area, generator=generator)
    w, area = brownian.increments(grid.times, area=scheme.area)
    wanted = (grid.h.shape[-1], y0.shape[0], *shape)
    if w.shape != wanted or (scheme.area and (area is None or area.shape != wanted)):
        raise InputError(
            f"the Brownian path gave increments {tuple(w.shape)}, but {wanted[0]} steps of this equation need {wanted}."
        )
    return Increments(w.to(y0.dtype), None if area is None else area.to(y0.dtype))


def refinable_path(
    y0: Tensor,
    times: Tensor,
    shape: tuple[int, ...],
    brownian: Brownian | None,
    generator: torch.Generator | None,
) -> BrownianPath:
    """Return a path that may be asked at any time: the one given, or that of seeds drawn for it."""
    if times.requires_grad:
        raise InputError("adaptive steps give no gradient to times: detach them, or give step_size.")
    if brownian is None:
        seeds = torch.randint(2**63 - 1, y0.shape[:1], device=y0.device, generator=generator)
        return seeded_path(seeds, shape, times, y0)
    if not isinstance(brownian, BrownianPath):
        raise InputError(
            f"adaptive steps ask a path at times that are not known before, of some samples alone, which a "
            f"{type(brownian).__name__} cannot tell: give seeds, or a BrownianPath."
        )
    if (brownian.batch, *brownian.shape) != (y0.shape[0], *shape):
        raise InputError(
            f"the Brownian path is one of {brownian.batch} samples with noise {brownian.shape}, but this equation "
            f"needs {y0.shape[0]} with {shape}."
        )
    return brownian
