"""Principal components: the linear autoencoder that loses least, in closed form."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from integrand.core.errors import InputError


class PrincipalComponents(nn.Module):
    """z = W' (x - m) and x = m + W z, where W has the directions of most variance about the mean m as its columns.

    Of all linear autoencoders with as many numbers it has the least squared error on what it was fitted to: the
    variance along the directions left out.

    Args:
        shape: of one sample.
        components: numbers of a latent.

    Shapes:
        ``encode``: (B, *shape) to (B, components); ``decode``: the other way.

    Raises:
        InputError: more components than numbers in a sample; fitted to samples that vary in fewer directions.

    Example:
        >>> made = PrincipalComponents([2], components=1)
        >>> made.fit(torch.tensor([[1.0, 1.0], [3.0, 3.0]]))
        >>> made.decode(made.encode(torch.tensor([[5.0, 5.0]]))).round(decimals=4)
        tensor([[5., 5.]])

    Source: Pearson (1901), On lines and planes of closest fit to systems of points in space.
    """

    mean: Tensor
    directions: Tensor

    def __init__(self, shape: Sequence[int], components: int) -> None:
        super().__init__()
        self.shape, self.components = tuple(shape), components
        if not 1 <= components <= math.prod(self.shape):
            raise InputError(f"components={components} is out of range: it must lie in 1 to {math.prod(self.shape)}.")
        self.register_buffer("mean", torch.zeros(math.prod(self.shape)))
        self.register_buffer("directions", torch.zeros(math.prod(self.shape), components))

    def fit(self, x: Tensor) -> None:
        """Find mean and directions of samples (N, *shape), each direction with its largest number positive."""
        rows = x.flatten(1).double().cpu()
        if rows.shape[1] != len(self.mean):
            raise InputError(
                f"principal components of shape {self.shape} are not of samples {tuple(x.shape[1:])}: name that shape."
            )
        mean = rows.mean(0)
        _, deviations, directions = torch.linalg.svd(rows - mean, full_matrices=False)
        rank = int((deviations > 1e-6 * deviations[0]).sum())
        if self.components > rank:
            raise InputError(f"components={self.components} is out of range: these samples vary in {rank} directions.")
        kept = directions[: self.components].T
        largest = kept.gather(0, kept.abs().argmax(0, keepdim=True))
        self.mean.copy_(mean)
        self.directions.copy_(kept * largest.sign())

    def encode(self, x: Tensor) -> Tensor:
        """Return latents."""
        return (x.flatten(1) - self.mean) @ self.directions

    def decode(self, z: Tensor) -> Tensor:
        """Return samples."""
        return (self.mean + z @ self.directions.T).unflatten(1, self.shape)
