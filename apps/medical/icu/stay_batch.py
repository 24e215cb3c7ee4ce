"""The batch of stays: an irregular batch that knows which stays were set aside for which networks.

Dimension letter: B batch.
"""

from dataclasses import dataclass, fields, replace

from torch import Tensor

from integrand.datasets.irregular import IrregularBatch


@dataclass(frozen=True)
class StayBatch(IrregularBatch):
    """Stays, and the fold of each.

    Attributes:
        folds: (B,) int64, the fold of each stay; None where training was not divided, or for stays of no fold.

    Example:
        >>> import torch
        >>> values, times = torch.zeros(3, 2, 1), torch.tensor([1.0, 2.0]).expand(3, 2)
        >>> three = StayBatch(values, values > 0, times, torch.tensor([2, 2, 1]), sample_id=["a", "b", "c"],
        ...     group=["a", "b", "c"], folds=torch.tensor([0, 1, 0]))
        >>> three.stays(three.folds != 1).sample_id
        ['a', 'c']
    """

    folds: Tensor | None = None

    def stays(self, rows: Tensor) -> "StayBatch":
        """Return some of the stays: ``rows`` (B,) bool."""
        chosen = {f.name: value[rows] for f in fields(self) if isinstance(value := getattr(self, f.name), Tensor)}
        places = rows.nonzero().squeeze(1).tolist()
        group, names = ([of[place] for place in places] if of else [] for of in (self.group, self.sample_id))
        return replace(self, **chosen, group=group, sample_id=names)
