"""The noise of samples: a function of each sample's seed and of the number of the draw, and of nothing else."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from integrand.core.errors import InputError
from integrand.core.numerics.stochastic.counter_normals import counter_normals, stream_keys

Noise = Callable[[int, Tensor], Tensor]
"""Called ``noise(draw, x)``: standard normal numbers of the shape, precision and device of x (B, ...), independent from
one draw to another, which are numbered from 0."""

INITIAL = -1
"""Number of the draw that a sample starts from."""


class SampleNoise:
    """Standard normal noise that belongs to samples: that of sample i follows from its seed and the draw alone.

    A sample is then the same whatever batch it is made in, in which order, and on which device, to rounding.

    Args:
        seeds: (B,), a whole number each.

    Shapes:
        ``noise(draw, x)``: x (B, ...); returns (B, ...).

    Raises:
        InputError: the seeds are no list of whole numbers; a batch of another size.

    Example:
        >>> x = torch.zeros(2, 3)
        >>> both, alone = SampleNoise([7, 8])(0, x), SampleNoise([8])(0, x[1:])
        >>> torch.equal(both[1:], alone)
        True
    """

    def __init__(self, seeds: Tensor | Sequence[int]) -> None:
        self.seeds = checked_seeds(seeds)
        self._keys: Tensor | None = None

    def __call__(self, draw: int, x: Tensor) -> Tensor:
        """Return the noise of a draw, like x (B, ...)."""
        if len(x) != len(self.seeds):
            raise InputError(f"{len(self.seeds)} seeds for a batch of {len(x)}: give one a sample.")
        pairs = (x[0].numel() + 1) // 2
        if self._keys is None or self._keys.shape[1] != pairs or self._keys.device != x.device:
            self._keys = stream_keys(self.seeds.to(x.device), pairs)
        return _normals(self._keys, draw, x.shape, x.dtype)


def initial_noise(
    seeds: Tensor | Sequence[int],
    shape: Sequence[int],
    scale: float = 1.0,
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = None,
) -> Tensor:
    """Return the states that samples start from, (B, *shape), normal with a standard deviation.

    They are independent of what ``SampleNoise`` draws for the same seeds.

    Args:
        seeds: (B,), a whole number each.
        shape: of one sample.
        scale: the standard deviation, see ``Process.prior_scale``.
        dtype, device: of the states; the device of seeds that are a tensor when None.

    Raises:
        InputError: the seeds are no list of whole numbers.

    Example:
        >>> initial_noise([1, 2, 3], (1, 8, 8)).shape
        torch.Size([3, 1, 8, 8])
    """
    whole = checked_seeds(seeds)
    whole = whole if device is None else whole.to(device)
    size = torch.Size(shape)
    keys = stream_keys(whole, (size.numel() + 1) // 2)
    return _normals(keys, INITIAL, torch.Size((len(whole), *size)), dtype).mul_(scale)


def checked_seeds(seeds: Tensor | Sequence[int]) -> Tensor:
    """Return seeds as a tensor (B,), int64."""
    found = torch.as_tensor(seeds)
    if found.dim() != 1 or (len(found) and (found.is_floating_point() or found.is_complex())):
        raise InputError(f"seeds must be whole numbers, (B,), one a sample, got {found.dtype} {tuple(found.shape)}.")
    return found.to(torch.int64)


def _normals(keys: Tensor, draw: int, shape: torch.Size, dtype: torch.dtype) -> Tensor:
    """Return both numbers of each key, the first of all and then the second, as many as asked for."""
    nodes = torch.full((), draw, dtype=torch.int64, device=keys.device)
    wide = torch.promote_types(dtype, torch.float32)
    both = torch.cat(counter_normals(keys, nodes, wide), dim=1)
    return both[:, : shape[1:].numel()].reshape(shape).to(dtype)
