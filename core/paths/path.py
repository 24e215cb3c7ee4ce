"""What a path is: data made into a continuous control, a polynomial between each knot and the next."""

from abc import ABC, abstractmethod
from typing import Literal

import torch
from torch import Tensor

from integrand.core.errors import InputError
from integrand.core.paths.knots import locate

Causality = Literal["continuous", "knots", "none"]


class Path(ABC):
    """A control X: [t_0, t_1] -> R^C that is a polynomial on each interval between its knots.

    A path is built in two halves. A function such as ``hermite_coefficients`` does the work that depends on the data
    alone; its tensor is kept in the dataset. The path itself, made of that tensor and the knots inside the model, costs
    nothing. Both are differentiable with respect to the values.

    Intervals of length 0 at the end (times padded with the last time, see ``pad_times``) change nothing.

    Args:
        coefficients: what the function of the same kind returned.
        times: knots, (L,) shared or (B, L) per sample, non-decreasing.

    Attributes:
        kinks: whether the derivative jumps at the knots, so that no step of a solver may straddle one.
        causality: how far X up to the time t looks ahead in fully observed data. ``"continuous"``: at no t beyond t;
            ``"knots"``: between two knots to the next one, and at a knot not at all; ``"none"``: to the end.
        per_interval: whether there are coefficients for each interval rather than for each knot.
    """

    kinks: bool
    causality: Causality
    per_interval = False

    def __init__(self, coefficients: Tensor, times: Tensor) -> None:
        batch, length = coefficients.shape[0], coefficients.shape[1] + self.per_interval
        if coefficients.dim() != 3 or length < 2 or times.shape not in ((length,), (batch, length)):
            raise InputError(
                f"coefficients {tuple(coefficients.shape)} and times {tuple(times.shape)} do not belong together: "
                f"a {type(self).__name__} takes the times that its coefficients were computed with."
            )
        self.coefficients = coefficients
        self.times = times.to(coefficients.dtype)

    @property
    @abstractmethod
    def channels(self) -> int:
        """C, the dimension of the control."""

    @property
    def initial(self) -> Tensor:
        """X at the first knot, (B, C)."""
        return self.evaluate(self.times[..., :1])[:, 0]

    def locate(self, t: Tensor, *, side: Literal["left", "right"] = "right") -> Tensor:
        """Return the interval that each time is in, from 0 on, in the shape of ``t`` or (B, Q).

        A knot belongs to the interval on its right, or with ``side="left"`` to the one on its left; the ends, and what
        is beyond them, to the nearest interval longer than 0.
        """
        return locate(self.times, t.to(self.times), side=side)

    @abstractmethod
    def evaluate(self, t: Tensor, *, interval: Tensor | None = None) -> Tensor:
        """Return X at all times at once.

        Args:
            t: (Q,) shared or (B, Q) per sample.
            interval: whose polynomial to use, in the shape of ``t``; where None, as ``locate`` has it.

        Returns:
            (B, Q, C).
        """

    @abstractmethod
    def derivative(self, t: Tensor, *, interval: Tensor | None = None) -> Tensor:
        """Return dX/dt at all times at once; arguments and shapes as in ``evaluate``."""

    def _local(self, t: Tensor, interval: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Return the interval's index, its length h and the place s = (t - t_i) / h in it, the latter (..., Q, 1)."""
        t = t.to(self.times)
        index = self.locate(t) if interval is None else interval
        start, end = _at(self.times, index), _at(self.times, index + 1)
        h = torch.where(end > start, end - start, 1)
        s = torch.where(end > start, (t - start) / h, 0)
        return index, h.unsqueeze(-1), s.unsqueeze(-1)


def rows(tensor: Tensor, index: Tensor) -> Tensor:
    """Take rows of a tensor (B, L, K) by an index (Q,) or (B, Q): (B, Q, K)."""
    if index.dim() == 1:
        return tensor[:, index]
    return tensor.gather(1, index.unsqueeze(-1).expand(-1, -1, tensor.shape[-1]))


def _at(times: Tensor, index: Tensor) -> Tensor:
    """Take times (L,) or (B, L) by an index (Q,) or (B, Q)."""
    if times.dim() == 1:
        return times[index]
    return times.gather(1, index.expand(times.shape[0], -1))


def pad_times(times: Tensor, lengths: Tensor) -> Tensor:
    """Repeat each sample's last time over its padding.

    Args:
        times: (L,) or (B, L).
        lengths: how many observations each sample has, (B,), from 1 to L.

    Returns:
        (B, L).

    Example:
        >>> pad_times(torch.tensor([0.0, 0.5, 2.0]), torch.tensor([3, 2])).tolist()
        [[0.0, 0.5, 2.0], [0.0, 0.5, 0.5]]
    """
    times = times.expand(lengths.shape[0], times.shape[-1])
    index = torch.arange(times.shape[-1], device=times.device)
    return times.gather(1, torch.minimum(index, lengths.to(times.device).unsqueeze(-1) - 1))
