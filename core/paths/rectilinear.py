"""Time first, then the values: the path that never looks ahead."""

import torch
from torch import Tensor

from integrand.core.paths.linear import LinearPath
from integrand.core.paths.missing import forward_fill
from integrand.core.paths.path import Causality


def rectilinear_coefficients(
    values: Tensor, times: Tensor, *, mask: Tensor | None = None, initial: float = 0.0
) -> Tensor:
    """Return what ``RectilinearPath`` is made of: its 2L - 1 corners, time in channel 0.

    Missing values hold the channel's last observation.

    Args:
        values: (B, L, C), NaN where missing.
        times: (L,) or (B, L), increasing until the last time, which may repeat as padding.
        mask: True where observed, (B, L, C), beside or instead of NaN.
        initial: what a channel is before its first observation.

    Returns:
        (B, 2L - 1, 1 + C).
    """
    held = forward_fill(values, times, mask=mask, initial=initial)
    time = times.to(values).expand(values.shape[:2])
    # (t_0, x_0), (t_1, x_0), (t_1, x_1), ...
    return torch.cat([time.repeat_interleave(2, 1)[:, 1:, None], held.repeat_interleave(2, 1)[:, :-1]], dim=-1)


class RectilinearPath(LinearPath):
    """The path through (t_0, x_0), (t_1, x_0), (t_1, x_1), (t_2, x_1), ...: first time passes, then the values move.

    A controlled equation does not see how fast its path is walked, so the path has a parameter of its own, in which
    each side of a corner takes one unit; knots are 0, 1, ..., 2L - 2. ``parameter`` tells where on the path a time is.
    Causal at every time, with missing values too.

    Args:
        coefficients: from ``rectilinear_coefficients``, (B, 2L - 1, 1 + C).

    Example:
        >>> path = RectilinearPath(rectilinear_coefficients(torch.tensor([[[5.0], [7.0]]]), torch.tensor([0.0, 2.0])))
        >>> path.evaluate(torch.tensor([0.0, 0.5, 1.0, 2.0])).tolist()
        [[[0.0, 5.0], [1.0, 5.0], [2.0, 5.0], [2.0, 7.0]]]
        >>> path.parameter(torch.tensor([0.5, 2.0])).tolist()
        [[0.25, 2.0]]

    Source: Morrill et al. (2021), Neural controlled differential equations for online prediction tasks.
    """

    causality: Causality = "continuous"

    def __init__(self, coefficients: Tensor) -> None:
        super().__init__(coefficients, torch.arange(coefficients.shape[1], device=coefficients.device))

    def parameter(self, t: Tensor) -> Tensor:
        """Return where the path is when time t has come and what was observed then is in, (B, Q).

        Args:
            t: times within those of the data, (Q,) or (B, Q).
        """
        times_BL = self.coefficients[:, ::2, 0].detach().contiguous()
        t_BQ = t.to(times_BL).expand(times_BL.shape[0], t.shape[-1]).contiguous()
        last = torch.searchsorted(times_BL, times_BL[:, -1:].contiguous())  # the padding adds nothing to it
        index = torch.minimum((torch.searchsorted(times_BL, t_BQ, right=True) - 1).clamp(min=0), last)
        start = times_BL.gather(1, index)
        end = times_BL.gather(1, torch.minimum(index + 1, last))
        return 2 * index + torch.where(end > start, (t_BQ - start) / torch.where(end > start, end - start, 1), 0)
