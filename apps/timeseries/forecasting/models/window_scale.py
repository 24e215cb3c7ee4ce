"""Windows in units of their own: the level and the spread of each channel, and channels as series of their own.

Dimension letters: B batch, L context length, C channels seen.
"""

import torch
from torch import Tensor

from integrand.apps.series.neighbours import before
from integrand.datasets.irregular import IrregularBatch

LEAST_SPREAD = 0.1
"""Added in squares to the deviation of a window, in standardised units: what hardly moved is not blown up to noise."""


def channels_apart(batch: IrregularBatch, count: int) -> IrregularBatch:
    """Return the first ``count`` channels of a batch of B as B * count series of one channel each, without targets.

    Example:
        >>> values = torch.arange(4.0).view(1, 2, 2)
        >>> times = torch.tensor([[-1.0, 0.0]])
        >>> batch = IrregularBatch(values, torch.ones(1, 2, 2, dtype=torch.bool), times, torch.tensor([2]))
        >>> channels_apart(batch, 2).values.squeeze(-1).tolist()
        [[0.0, 2.0], [1.0, 3.0]]
    """

    def each(x: Tensor) -> Tensor:
        return x[..., :count].transpose(1, 2).reshape(-1, x.shape[1], 1)

    shared = {name: getattr(batch, name) for name in ("times", "lengths", "static", "phase", "target_times")}
    repeated = {name: x.repeat_interleave(count, dim=0) for name, x in shared.items() if x is not None}
    return IrregularBatch(values=each(batch.values), mask=each(batch.mask), **repeated)


def last_level(batch: IrregularBatch) -> tuple[Tensor, Tensor]:
    """Return the last value of each channel, 0 where there is none, and one: (B, 1, C) each."""
    level = before(batch.values, batch.mask, batch.times).value[:, -1:]
    return level, torch.ones_like(level)


def window_scale(batch: IrregularBatch) -> tuple[Tensor, Tensor]:
    """Return mean and deviation of what each channel of a window holds, (B, 1, C) each.

    The deviation is that of the values and of ``LEAST_SPREAD``; where there are none, the mean is 0.

    Source: Kim et al. (2022), Reversible instance normalization against distribution shift, Eqs. 1 and 2.

    Example:
        >>> values, mask = torch.tensor([[[1.0], [3.0], [0.0]]]), torch.tensor([[[True], [True], [False]]])
        >>> level, spread = window_scale(IrregularBatch(values, mask, torch.zeros(1, 3), torch.tensor([3])))
        >>> level.item(), round(spread.item() ** 2, 4)
        (2.0, 1.01)
    """
    count = batch.mask.sum(1, keepdim=True).clamp(min=1)
    level = torch.where(batch.mask, batch.values, 0).sum(1, keepdim=True) / count
    squared = torch.where(batch.mask, (batch.values - level) ** 2, 0).sum(1, keepdim=True) / count
    return level, (squared + LEAST_SPREAD**2).sqrt()
