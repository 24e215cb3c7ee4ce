"""How steep an activation is: over all numbers, and over an interval."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

SILU_TURN = 2.3993572805154673
"""The root of x tanh(x / 2) = 2, where the slope of x sigma(x) is largest; at its negative it is least."""

GELU_TURN = math.sqrt(2)
"""Where the slope Phi(x) + x phi(x) of x Phi(x) is largest; at its negative it is least."""

ROUNDING = 1e-13
"""By how much ranges are widened, so that rounding does not lead below or above what is true."""


class SlopeRange(NamedTuple):
    """The derivative of an activation, and between which numbers it lies.

    Attributes:
        slope: s', of a tensor.
        least, most: its bounds over all numbers.
        turns: where it is extremal or jumps, with the least and the most that it is near there; in between it is
            monotone.
    """

    slope: Callable[[Tensor], Tensor]
    least: float
    most: float
    turns: tuple[tuple[float, float, float], ...] = ()

    @property
    def steepest(self) -> float:
        """The activation's Lipschitz constant."""
        return max(abs(self.least), abs(self.most))

    def over(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        """Return the least and the most slope over intervals from ``low`` to ``high``, any shape."""
        ends = self.slope(low), self.slope(high)
        least, most = torch.minimum(*ends), torch.maximum(*ends)
        for at, under, above in self.turns:
            inside = (low <= at) & (at <= high)
            least = torch.where(inside, least.clamp(max=under), least)
            most = torch.where(inside, most.clamp(min=above), most)
        return (least - ROUNDING).clamp(min=self.least), (most + ROUNDING).clamp(max=self.most)


def slope_range(activation: nn.Module) -> SlopeRange | None:
    """Return what is known of an activation's slopes; None where it is none of those that are known.

    Known are ReLU, LeakyReLU, ReLU6, Hardtanh, ELU, Tanh, Sigmoid, Softsign, Softplus, SiLU and GELU (not its
    approximation by tanh). That of x sigma(x) is largest where x tanh(x / 2) = 2, and that of x Phi(x) at sqrt 2, as
    their second derivatives tell; both are negative somewhere.

    Example:
        >>> round(slope_range(nn.GELU()).most, 4), slope_range(nn.Sigmoid()).most
        (1.1289, 0.25)
    """
    kind = type(activation)
    if kind not in _KNOWN and kind not in (nn.LeakyReLU, nn.ELU, nn.Softplus, nn.Hardtanh, nn.ReLU6):
        return None  # a subclass may do anything
    if isinstance(activation, nn.LeakyReLU):
        return _bent(activation.negative_slope)
    if isinstance(activation, nn.ELU):
        return _elu(activation.alpha)
    if isinstance(activation, nn.Softplus):
        beta = activation.beta
        return SlopeRange(lambda x: torch.sigmoid(beta * x), 0.0, 1.0) if beta > 0 else None
    if isinstance(activation, nn.Hardtanh):  # ReLU6 is one
        low, high = float(activation.min_val), float(activation.max_val)
        return SlopeRange(lambda x: ((x > low) & (x < high)).to(x.dtype), 0.0, 1.0, ((low, 0.0, 1.0), (high, 0.0, 1.0)))
    if isinstance(activation, nn.GELU) and activation.approximate != "none":
        return None
    return _KNOWN[kind]


def _bent(negative: float) -> SlopeRange:
    least, most = min(negative, 1.0), max(negative, 1.0)
    return SlopeRange(lambda x: torch.where(x > 0, torch.ones_like(x), negative), least, most, ((0.0, least, most),))


def _elu(alpha: float) -> SlopeRange:
    least, most = min(alpha, 1.0), max(alpha, 1.0)
    return SlopeRange(
        lambda x: torch.where(x > 0, 1.0, alpha * x.clamp(max=0).exp()),
        min(alpha, 0.0),
        most,
        ((0.0, least, most),),
    )


def _silu(x: Tensor) -> Tensor:
    sigma = torch.sigmoid(x)
    return sigma * (1 + x * (1 - sigma))


def _gelu(x: Tensor) -> Tensor:
    return torch.special.ndtr(x) + x * (-x.square() / 2).exp() / math.sqrt(2 * math.pi)


def _silu_at(x: float) -> float:
    sigma = 1 / (1 + math.exp(-x))
    return sigma * (1 + x * (1 - sigma))


def _gelu_at(x: float) -> float:
    return math.erfc(-x / math.sqrt(2)) / 2 + x * math.exp(-x * x / 2) / math.sqrt(2 * math.pi)


def _two_turns(slope: Callable[[Tensor], Tensor], at: float, value: Callable[[float], float]) -> SlopeRange:
    least, most = value(-at) - ROUNDING, value(at) + ROUNDING
    return SlopeRange(slope, least, most, ((-at, least, least), (at, most, most)))


def _sigmoid(x: Tensor) -> Tensor:
    sigma = torch.sigmoid(x)
    return sigma * (1 - sigma)


_KNOWN: dict[type[nn.Module], SlopeRange] = {
    nn.ReLU: _bent(0.0),
    nn.Tanh: SlopeRange(lambda x: 1 - torch.tanh(x).square(), 0.0, 1.0, ((0.0, 1.0, 1.0),)),
    nn.Sigmoid: SlopeRange(_sigmoid, 0.0, 0.25, ((0.0, 0.25, 0.25),)),
    nn.Softsign: SlopeRange(lambda x: (1 + x.abs()) ** -2, 0.0, 1.0, ((0.0, 1.0, 1.0),)),
    nn.SiLU: _two_turns(_silu, SILU_TURN, _silu_at),
    nn.GELU: _two_turns(_gelu, GELU_TURN, _gelu_at),
}
