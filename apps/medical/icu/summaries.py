"""What a clinician would note of each variable so far: mean, last, first, least, greatest, trend, spread, how often.

Dimension letters: B batch, L elements, C channels, F features.
"""

import torch
from torch import Tensor

from integrand.datasets.irregular import IrregularBatch

STATISTICS = ("mean", "last", "first", "least", "greatest", "slope", "deviation", "count", "age")
"""Of each channel, in the order of the columns."""
RIDGE = 25.0
"""Hours squared that shrink the slope of a few close observations towards 0."""


def summaries(batch: IrregularBatch, hours: Tensor) -> Tensor:
    r"""Summarise every channel of every stay, (B, 9 C); NaN where a channel was not observed, its count excepted.

    .. math:: \mathrm{slope} = \frac{\sum_l (t_l - \bar t)(x_l - \bar x)}{\sum_l (t_l - \bar t)^2 + \lambda}, \qquad
        \mathrm{count} = \log(1 + n), \qquad \mathrm{age} = \log(1 + h - t_\mathrm{last})

    over the n observed elements of a channel.

    Args:
        batch: stays, times in hours since admission.
        hours: (B,) up to which hour h each is known.

    Example:
        >>> values, mask = torch.tensor([[[1.0], [3.0], [0.0]]]), torch.tensor([[[True], [True], [False]]])
        >>> one = IrregularBatch(values, mask, torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([3]))
        >>> summaries(one, torch.tensor([3.0]))[0, :5].tolist()
        [2.0, 3.0, 1.0, 1.0, 3.0]
    """
    x, seen, t = batch.values, batch.mask, batch.times.unsqueeze(-1)
    weight = seen.to(x)
    count = weight.sum(1)
    divisor = count.clamp(min=1)
    mean = (x * weight).sum(1) / divisor
    centre = (t * weight).sum(1) / divisor
    away, late = (x - mean.unsqueeze(1)) * weight, (t - centre.unsqueeze(1)) * weight
    slope = (away * late).sum(1) / (late.square().sum(1) + RIDGE)
    deviation = (away.square().sum(1) / divisor).sqrt()
    order = torch.arange(x.shape[1], device=x.device).view(1, -1, 1)
    last = torch.where(seen, order, -1).amax(1, keepdim=True).clamp(min=0)
    first = torch.where(seen, order, x.shape[1] - 1).amin(1, keepdim=True)
    least = torch.where(seen, x, torch.inf).amin(1)
    greatest = torch.where(seen, x, -torch.inf).amax(1)
    age = torch.log1p((hours.unsqueeze(1) - batch.times.gather(1, last.squeeze(1))).clamp(min=0))
    ends = x.gather(1, last).squeeze(1), x.gather(1, first).squeeze(1)
    told = torch.stack([mean, *ends, least, greatest, slope, deviation, torch.log1p(count), age], dim=1)
    unknown = (count == 0).unsqueeze(1).expand_as(told).clone()
    unknown[:, STATISTICS.index("count")] = False
    return torch.where(unknown, torch.nan, told).flatten(1)
