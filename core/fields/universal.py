"""Known physics with unknown constants, and a network for what is not known."""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from integrand.core.errors import InputError, listed, unknown
from integrand.core.fields.activations import joined_input
from integrand.core.fields.dimensions import check_state, check_widths
from integrand.core.fields.mlp import ACTIVATIONS

Known = Callable[[Tensor, Tensor, Mapping[str, Tensor]], Tensor]
"""The known part: time, states (B, D) and constants by name, (B,) each, to slopes (B, D)."""


class UniversalField(nn.Module):
    """The field f(t, y) = known(t, y; theta) + remainder(t, y), with a network for the remainder.

        remainder_i(t, y) = rate_i * prod_{k in vanishes_without} (y_k / scale_k) * N_i(t, (y_s - center_s) / scale_s)

    for the channels i in ``acts_on``, of the channels s in ``sees``; elsewhere it is zero.

    The constants theta are known only as far as the remainder cannot say what they say. A network that may act
    anywhere can take over any known term, and then data of any amount leave theta open. Four things keep them apart,
    the first three by physics, the last by preference: what the remainder does not see, where it does not act, where
    it must vanish, and a penalty. An interaction vanishes where one of its partners is absent, so it has the factors
    ``vanishes_without`` (a smooth function that is zero where y_k = 0 is y_k times a smooth function); near those axes
    the known part then stands alone, and data that go there settle theta. Among fields that fit alike, ``penalty``
    prefers the remainder with the smallest weights. A penalty on the size of the remainder along the trajectories
    would not do: it makes the remainder orthogonal to the known terms, as the true one need not be, and theta biased.

    Its place on the map: a field; grey-box models lie between equations (no remainder) and networks (nothing known).

    Args:
        dim: dimension D of the state.
        known: the known part, called with constants by name, (B,) each.
        guesses: starting values of theta, by name.
        positive: those of theta that are positive; they are learned through their logarithm.
        hidden: widths of the hidden layers of N.
        activation: of them, one of ``core.fields.mlp.ACTIVATIONS``.
        acts_on: channels on which the remainder acts; all where None.
        sees: channels that it depends on; all where None.
        vanishes_without: channels at whose zero it vanishes.
        time: whether it depends on t.
        remainder: a module called ``N(t, x)`` that maps the seen channels to those acted on, instead of the network.

    Attributes:
        raw: what stands for theta as it is learned, by name: the logarithm of the positive ones.
        center: (D,), scale: (D,), rate: (D,), typical states and slopes of the training data; see ``set_scales``.

    Raises:
        InputError: a channel that is not there, a positive constant without a guess or with one that is not positive.

    Shapes:
        ``field(t, y)``: t scalar or (B,), y (B, D); returns (B, D).

    Example:
        >>> spring = UniversalField(2, lambda t, y, c: torch.stack([y[:, 1], -c["stiffness"] * y[:, 0]], -1),
        ...     {"stiffness": 2.0}, positive=("stiffness",), acts_on=(1,), sees=(1,))
        >>> spring(torch.tensor(0.0), torch.zeros(5, 2)).shape, round(spring.constants()["stiffness"].item(), 6)
        (torch.Size([5, 2]), 2.0)

    Source: Rackauckas et al. (2020), Universal differential equations for scientific machine learning, Section 2.
    """

    center: Tensor
    scale: Tensor
    rate: Tensor

    def __init__(
        self,
        dim: int,
        known: Known,
        guesses: Mapping[str, float],
        *,
        positive: Sequence[str] = (),
        hidden: Sequence[int] = (16, 16),
        activation: str = "tanh",
        acts_on: Sequence[int] | None = None,
        sees: Sequence[int] | None = None,
        vanishes_without: Sequence[int] = (),
        time: bool = False,
        remainder: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.dim, self.known, self.positive = dim, known, tuple(positive)
        self.acts_on = tuple(range(dim)) if acts_on is None else tuple(acts_on)
        self.sees = tuple(range(dim)) if sees is None else tuple(sees)
        self.vanishes_without = tuple(vanishes_without)
        for label in ("acts_on", "sees", "vanishes_without"):
            channels = getattr(self, label)
            if any(not 0 <= each < dim for each in channels) or (label != "vanishes_without" and not channels):
                raise InputError(f"{label}={channels} names no channels of {dim}: give numbers from 0 to {dim - 1}.")
        for name in self.positive:
            if name not in guesses:
                raise unknown("positive constant", name, guesses)
            if not guesses[name] > 0:
                raise InputError(f"the guess {name}={guesses[name]:g} is not positive: start from a positive one.")
        self.raw = nn.ParameterDict(
            {
                name: nn.Parameter(torch.tensor(float(value)).log() if name in self.positive else torch.tensor(value))
                for name, value in guesses.items()
            }
        )
        self.network = (
            _Remainder(len(self.sees), len(self.acts_on), hidden, activation, time) if remainder is None else remainder
        )
        for name in ("center", "scale", "rate"):
            self.register_buffer(name, torch.zeros(dim) if name == "center" else torch.ones(dim))

    def constants(self) -> dict[str, Tensor]:
        """Return theta by name, scalars."""
        return {name: raw.exp() if name in self.positive else raw for name, raw in self.raw.items()}

    def set_scales(self, states: Tensor, slopes: Tensor) -> None:
        """Take center, scale and rate from states (..., D) and slopes (..., D) of the training data.

        Raises:
            InputError: a channel does not vary.
        """
        y, rate = states.flatten(0, -2), slopes.flatten(0, -2)
        scale = y.std(0)
        if not bool((scale > 0).all()):
            raise InputError(f"channel {int((scale <= 0).nonzero()[0])} of the states does not vary: leave it out.")
        self.center.copy_(y.mean(0))
        self.scale.copy_(scale)
        self.rate.copy_(rate.square().mean(0).sqrt().clamp(min=torch.finfo(rate.dtype).tiny))

    def remainder(self, t: Tensor, y: Tensor) -> Tensor:
        """Return the learned part (B, D) at states (B, D)."""
        x = ((y - self.center) / self.scale)[:, list(self.sees)]
        out = self.network(t, x) * self.rate[list(self.acts_on)]
        for k in self.vanishes_without:
            out = out * (y[:, k] / self.scale[k]).unsqueeze(-1)
        columns = list(out.unbind(-1))
        zero = torch.zeros_like(columns[0])
        return torch.stack([columns[self.acts_on.index(i)] if i in self.acts_on else zero for i in range(self.dim)], -1)

    def penalty(self) -> Tensor:
        """Return half the sum of squares of the remainder's weights, minus the log of a Gaussian prior on them."""
        return 0.5 * sum((p.square().sum() for p in self.network.parameters()), torch.zeros(()).to(self.scale))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        """Evaluate the field."""
        check_state(y, self.dim)
        theta = {name: each.expand(len(y)) for name, each in self.constants().items()}
        return self.known(t, y, theta) + self.remainder(t, y)

    def extra_repr(self) -> str:
        """Name the constants."""
        return f"constants: {listed(self.raw)}"


class _Remainder(nn.Module):
    """N(t, x), a multilayer perceptron from the seen channels to those acted on."""

    def __init__(self, seen: int, acted: int, hidden: Sequence[int], activation: str, time: bool) -> None:
        super().__init__()
        check_widths(acted, hidden)
        if activation not in ACTIVATIONS:
            raise unknown("activation", activation, ACTIVATIONS)
        widths, layers = (seen + int(time), *hidden), []
        for fan_in, fan_out in pairwise(widths):
            layers += [nn.Linear(fan_in, fan_out), ACTIVATIONS[activation]()]
        self.layers, self.time = nn.Sequential(*layers, nn.Linear(widths[-1], acted)), time

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        return self.layers(joined_input(t if self.time else None, x, None))
