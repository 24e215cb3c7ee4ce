"""The Fourier neural operator."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from integrand.core.errors import InputError
from integrand.core.operators.lifted_operator import LiftedOperator
from integrand.core.operators.spectral_convolution import SpectralConvolution


class FourierBlock(nn.Module):
    """One layer of a Fourier neural operator,

        L v = s(W v + b + K v),

    with K a ``SpectralConvolution``, W a matrix on the channels at each point and s the GELU. With a channel
    network N of one hidden layer it goes on, point by point and with a weight g for each channel,

        L v = s(N(s(W v + b + K v)) + g v).

    Its place on the map: layer level; a Green's function of a translation-invariant linear equation, followed by a
    nonlinear reaction at each point, as in one step of operator splitting.

    Args:
        width: D, channels of the state.
        modes: waves kept along each axis.
        channel_mlp: hidden width of N, as a share of ``width``; 0 for none.
        activation: whether s acts; the last block of a network has none.

    Raises:
        InputError: a negative ``channel_mlp``, modes or a state that do not fit.

    Shapes:
        v (X[, Y[, Z]], B, D), space first and channels last, and so is L v.

    Example:
        >>> FourierBlock(8, (4,))(torch.randn(16, 2, 8)).shape
        torch.Size([16, 2, 8])

    Source: Li et al. (2021), Fourier neural operator for parametric partial differential equations, Eq. 2; the channel
    network as in neuraloperator 2.0.0, Kossaifi et al. (2024), Multi-grid tensorized Fourier neural operator.
    """

    def __init__(self, width: int, modes: Sequence[int], *, channel_mlp: float = 0.0, activation: bool = True) -> None:
        super().__init__()
        if not 0 <= channel_mlp < float("inf"):
            raise InputError(f"channel_mlp must be a share of the width, 0 for none, got {channel_mlp}.")
        self.kernel = SpectralConvolution(width, width, modes)
        self.local = nn.Linear(width, width)
        self.activation = nn.GELU() if activation else nn.Identity()
        self.channel_mlp = self.gate = None
        if channel_mlp > 0:
            hidden = max(1, round(channel_mlp * width))
            self.channel_mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))
            self.gate = nn.Parameter(torch.ones(width))

    def forward(self, v: Tensor) -> Tensor:
        """Map a state to the next."""
        w = self.activation(self.kernel.convolve(v, onto=self.local(v)))
        if self.channel_mlp is None or self.gate is None:
            return w
        return self.activation(torch.addcmul(self.channel_mlp(w), self.gate, v))


class FNO(LiftedOperator):
    """The Fourier neural operator: a map between functions that is learned on one grid and evaluated on any.

        u = Q(L_S ... L_1 P(a, x)),      L v = s(W v + b + K v),

    with P and Q networks of one hidden layer at each point, and K a convolution whose Fourier transform R(k) is
    learned for the waves |k| < m along each axis. The last block has no activation s.

    The same input function on a finer grid gives the same output function, up to what the grid does not resolve: s
    makes waves of every length, and those beyond the Nyquist wave fall on others. Parameters of the equation, such as
    a viscosity, are given as constant channels.

    Its place on the map: layer level, operators; each block is a Green's function of a translation-invariant linear
    equation and a nonlinearity at each point, iterated.

    Args:
        in_channels: C of the input field.
        out_channels: C of the output field.
        modes: waves kept along each axis, one to three numbers, which say of how many dimensions the field is.
        width: D, channels of the state.
        depth: blocks.
        channel_mlp: hidden width of a further network in each block, as a share of ``width``; 0 for none, as in the
            paper, 0.5 as in neuraloperator.
        coordinates: whether the coordinates of each point, from 0 to 1 along each axis, are further input channels, as
            in the paper's experiments. Without them a shifted input gives the shifted output.
        padding: zeros appended to each axis between P and Q, as a share of its points; for fields that are not
            periodic. One number, or one for each axis.

    Shapes:
        a (B, C, X), (B, C, X, Y) or (B, C, X, Y, Z), real, with at least 2 m - 1 points along each axis, padding
        counted; u the same with ``out_channels``.

    Raises:
        InputError: an impossible size, a field of another rank or width, complex values, a grid too small.

    Example:
        >>> operator = FNO(1, 2, modes=(8, 8), width=16)
        >>> operator(torch.randn(3, 1, 32, 32)).shape, operator(torch.randn(3, 1, 48, 40)).shape
        (torch.Size([3, 2, 32, 32]), torch.Size([3, 2, 48, 40]))

    Source: Li et al. (2021), Fourier neural operator for parametric partial differential equations, Eqs. 2 to 5.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        modes: Sequence[int],
        width: int = 64,
        depth: int = 4,
        channel_mlp: float = 0.0,
        coordinates: bool = True,
        padding: float | Sequence[float] = 0.0,
    ) -> None:
        super().__init__(in_channels, out_channels, modes=modes, width=width, coordinates=coordinates, padding=padding)
        if depth < 1:
            raise InputError(f"depth must be at least 1, got {depth}.")
        self.blocks = nn.Sequential(
            *(
                FourierBlock(width, self.modes, channel_mlp=channel_mlp, activation=block < depth - 1)
                for block in range(depth)
            )
        )

    def iterate(self, v: Tensor) -> Tensor:
        """Apply the blocks."""
        return self.blocks(v)
