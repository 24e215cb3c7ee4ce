"""The factorized Fourier neural operator."""

from collections.abc import Sequence

from torch import Tensor, nn

from integrand.core.errors import InputError
from integrand.core.operators.lifted_operator import LiftedOperator
from integrand.core.operators.spectral_convolution import SpectralConvolution, check_modes


class SeparableConvolution(nn.Module):
    """A sum of convolutions along single axes,

        K v = sum_d K_d v,

    each a ``SpectralConvolution`` of one dimension along axis d, the same on every line of the grid in that direction.
    Its weights grow with the sum of the modes of the axes, not with their product.

    Its place on the map: layer level; a Green's function that is the sum of lines through the source, whose symbol
    R(k) = sum_d R_d(k_d) has no product of waves of different axes, as that of the Laplacian, but unlike its inverse's.

    Args:
        width: D, channels of the state.
        modes: waves kept along each axis.

    Shapes:
        v (X[, Y[, Z]], B, D), space first and channels last, and so is K v.

    Example:
        >>> SeparableConvolution(8, (4, 3))(torch.randn(16, 12, 2, 8)).shape
        torch.Size([16, 12, 2, 8])

    Source: Tran, Mathews, Xie and Ong (2023), Factorized Fourier neural operators.
    """

    def __init__(self, width: int, modes: Sequence[int]) -> None:
        super().__init__()
        self.axes = nn.ModuleList(SpectralConvolution(width, width, (m,)) for m in check_modes(modes))

    def forward(self, v: Tensor) -> Tensor:
        """Apply the convolutions and add them up."""
        total: Tensor | None = None
        for axis, kernel in enumerate(self.axes):
            assert isinstance(kernel, SpectralConvolution)
            lines = v.movedim(axis, 0)
            made = kernel.convolve(lines.flatten(1, -2)).view(lines.shape).movedim(0, axis)
            total = made if total is None else total + made
        assert total is not None
        return total


class FactorizedBlock(nn.Module):
    """One layer of a factorized Fourier neural operator,

        L v = v + W_2 s(W_1 K v + b_1) + b_2,

    with K a ``SeparableConvolution``, s the rectifier and matrices W on the channels at each point.

    Its place on the map: layer level; a step of forward Euler, by 1, of a partial integro-differential equation.

    Args:
        width: D, channels of the state.
        kernel: K.
        expansion: hidden width between W_1 and W_2, in multiples of ``width``.

    Shapes:
        v (X[, Y[, Z]], B, D), space first and channels last, and so is L v.

    Example:
        >>> FactorizedBlock(8, SeparableConvolution(8, (4,)))(torch.randn(16, 2, 8)).shape
        torch.Size([16, 2, 8])

    Source: Tran, Mathews, Xie and Ong (2023), Factorized Fourier neural operators; the last map is linear, as in
    its authors' code.
    """

    def __init__(self, width: int, kernel: SeparableConvolution, *, expansion: int = 2) -> None:
        super().__init__()
        if expansion < 1:
            raise InputError(f"expansion must be at least 1, got {expansion}.")
        self.kernel = kernel
        self.feed_forward = nn.Sequential(
            nn.Linear(width, expansion * width), nn.ReLU(), nn.Linear(expansion * width, width)
        )

    def forward(self, v: Tensor) -> Tensor:
        """Map a state to the next."""
        return v + self.feed_forward(self.kernel(v))


class FactorizedFNO(LiftedOperator):
    """The factorized Fourier neural operator: convolutions along one axis at a time, residual blocks, many of them.

        u = Q(L_S ... L_1 P(a, x)),      L v = v + W_2 s(W_1 (sum_d K_d v) + b_1) + b_2.

    Its weights are fewer than those of an ``FNO`` by about the modes of an axis in two dimensions and by their square
    in three, and its residual blocks train at depths where those of the FNO do not. The authors also normalise the
    weights of linear maps, for which see ``torch.nn.utils.parametrizations.weight_norm``.

    Its place on the map: layer level, operators; forward Euler steps of a partial integro-differential equation whose
    kernels are Green's functions along each axis. With ``shared_kernel`` these are the same at all times.

    Args:
        in_channels: C of the input field.
        out_channels: C of the output field.
        modes: waves kept along each axis, one to three numbers, which say of how many dimensions the field is.
        width: D, channels of the state.
        depth: blocks.
        expansion: hidden width of each block's network, in multiples of ``width``.
        shared_kernel: whether all blocks share the weights of their convolutions.
        coordinates: whether the coordinates of each point, from 0 to 1 along each axis, are further input channels.
        padding: zeros appended to each axis between P and Q, as a share of its points; for fields that are not
            periodic. One number, or one for each axis.

    Shapes:
        a (B, C, X), (B, C, X, Y) or (B, C, X, Y, Z), real, with at least 2 m - 1 points along each axis, padding
        counted; u the same with ``out_channels``.

    Raises:
        InputError: an impossible size, a field of another rank or width, complex values, a grid too small.

    Example:
        >>> operator = FactorizedFNO(1, 1, modes=(8, 8), width=16, shared_kernel=True)
        >>> operator(torch.randn(3, 1, 32, 32)).shape
        torch.Size([3, 1, 32, 32])

    Source: Tran, Mathews, Xie and Ong (2023), Factorized Fourier neural operators.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        modes: Sequence[int],
        width: int = 64,
        depth: int = 4,
        expansion: int = 2,
        shared_kernel: bool = False,
        coordinates: bool = True,
        padding: float | Sequence[float] = 0.0,
    ) -> None:
        super().__init__(in_channels, out_channels, modes=modes, width=width, coordinates=coordinates, padding=padding)
        if depth < 1:
            raise InputError(f"depth must be at least 1, got {depth}.")
        kernels = [SeparableConvolution(width, self.modes) for _ in range(1 if shared_kernel else depth)]
        self.blocks = nn.Sequential(
            *(FactorizedBlock(width, kernels[block % len(kernels)], expansion=expansion) for block in range(depth))
        )

    def iterate(self, v: Tensor) -> Tensor:
        """Apply the blocks."""
        return self.blocks(v)
