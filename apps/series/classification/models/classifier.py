"""What every classifying network shares: how it is described and built, and the elements of a series as it reads them.

Dimension letters: B batch, L length, C channels, K classes, S static features, F features of an element.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from integrand.apps.series.classification.task import ClassificationTask
from integrand.apps.series.neighbours import before
from integrand.apps.training.task_network import TaskNetwork
from integrand.core.errors import InputError
from integrand.datasets.irregular import IrregularBatch


class Elements(NamedTuple):
    """A batch as a network of sequence layers reads it.

    Attributes:
        features: (B, L, F).
        dt: intervals in units of the task's resolution: (B, L), or one number where all are equal.
        present: (B, L) bool, False in the padding; None where there is none.
    """

    features: Tensor
    dt: Tensor | float
    present: Tensor | None


class Classifier(TaskNetwork[ClassificationTask]):
    """Base of the classifying networks, see ``TaskNetwork``."""

    def forward(self, batch: IrregularBatch) -> Tensor:
        """Return the scores of the classes, (B, K): logarithms of probabilities, up to a constant."""
        raise NotImplementedError

    @property
    def features(self) -> int:
        """Number F of features an element has."""
        task = self.built_for
        return len(task.channels) * (1 if task.complete else 4)

    def elements(self, batch: IrregularBatch) -> Elements:
        """Describe every element of the series.

        Where training was complete an element's features are its values. Else they are the values (0 where missing),
        which are observed, the last value of each channel so far and its age, on the scale of the longest series.
        """
        task = self.built_for
        features = batch.values
        if not task.complete:
            last = before(batch.values, batch.mask, batch.times)
            carried = last.value
            age = torch.where(last.found, last.distance / (task.resolution * task.elements), 1).clamp(max=1)
            features = torch.cat([batch.values, batch.mask.to(age), carried, age], dim=-1)
        interval = batch.meta.get("interval")
        if interval is not None:
            dt: Tensor | float = interval / task.resolution
        else:
            first = torch.full_like(batch.times[:, :1], task.resolution)
            dt = torch.cat([first, batch.times.diff(dim=1)], dim=1) / task.resolution
        return Elements(features, dt, None if batch.meta.get("full") else batch.present)


class Head(nn.Module):
    """From a summary of the series, and what is known of the sample besides, to the scores of the classes.

    Args:
        width: of the summary.
        task: classes and static features.
    """

    def __init__(self, width: int, task: ClassificationTask) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width + len(task.static), len(task.classes))
        self.static = len(task.static)

    def forward(self, summary: Tensor, batch: IrregularBatch) -> Tensor:
        """Map (B, width) to (B, K)."""
        found = self.norm(summary)
        if self.static:
            if batch.static is None:
                raise InputError(f"the network was trained with {self.static} static features, this batch has none.")
            found = torch.cat([found, batch.static], dim=-1)
        return self.out(found)
