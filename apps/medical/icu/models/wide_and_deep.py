"""A network that reads the hours of a stay, beside a regression on its summaries: wide and deep.

Dimension letters: B batch, M members, K classes, F summaries, S static features.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from integrand.apps.medical.icu.batches import hours_known
from integrand.apps.medical.icu.summaries import summaries
from integrand.apps.medical.icu.task import IcuTask
from integrand.apps.series.classification.models.classifier import Classifier
from integrand.apps.series.classification.task import ClassificationTask
from integrand.datasets.irregular import IrregularBatch

FARTHEST = 4.0
"""Deviations from the mean beyond which a summary counts as that far."""


class MemberScores(NamedTuple):
    """What the members say: scores (M, B, K), and what each adds to the loss (M, B), None for nothing."""

    scores: Tensor
    penalty: Tensor | None


class WideAndDeep(Classifier):
    """Several members, each a deep network over the hours plus a regression on summaries; their mean probability.

        scores_m = deep_m(hours) + W_m s + V_m gelu(U_m s),      p = mean_m softmax(scores_m),

    where s are the standardised summaries of all that is known by the hour, 0 where a variable was not observed, and
    static features. Members differ in how they start and in what dropout leaves out, and each learns by itself, on the
    same batches. ``forward`` returns log p.

    A subclass says by ``make_deep`` which network.

    Args:
        members: M.
        hidden: width of the hidden layer on the summaries.
        wide_dropout: share of the summaries that are left out in training.

    Source: Cheng et al. (2016), Wide and deep learning for recommender systems, Section 3.
    """

    def __init__(self, *, members: int = 1, hidden: int = 32, wide_dropout: float = 0.5) -> None:
        super().__init__()
        self.members, self.hidden, self.wide_dropout = members, hidden, wide_dropout

    def make_deep(self) -> Classifier:
        """Return one deep network, not built yet."""
        raise NotImplementedError

    def build_network(self, task: ClassificationTask) -> None:
        """Make the members."""
        assert isinstance(task, IcuTask)
        self.stay = task
        width, classes = len(task.of_summary) + len(task.static), len(task.classes)
        self.deep = nn.ModuleList(self.make_deep() for _ in range(self.members))
        for deep in self.deep:
            deep.build(task)  # pyright: ignore[reportCallIssue]
        self.thin = nn.Dropout(self.wide_dropout)
        self.straight = nn.ModuleList(nn.Linear(width, classes) for _ in range(self.members))
        for one in self.straight:
            nn.init.zeros_(one.weight)  # pyright: ignore[reportArgumentType]
        self.bent = nn.ModuleList(
            nn.Sequential(
                nn.Linear(width, self.hidden), nn.GELU(), nn.Dropout(self.wide_dropout), nn.Linear(self.hidden, classes)
            )
            for _ in range(self.members)
        )
        self.register_buffer("mean", torch.tensor(task.of_summary), persistent=False)
        self.register_buffer("size", torch.tensor(task.size_of_summary), persistent=False)

    mean: Tensor
    size: Tensor

    def wide(self, batch: IrregularBatch) -> Tensor:
        """Return the standardised summaries and static features, (B, F + S)."""
        assert batch.static is not None
        told = (summaries(batch, hours_known(batch, self.stay)) - self.mean) / self.size
        return torch.cat([told.nan_to_num(0.0).clamp(-FARTHEST, FARTHEST), batch.static], dim=-1)

    def member_scores(self, batch: IrregularBatch) -> MemberScores:
        """Return what each member says."""
        told = self.wide(batch)
        scores, penalties = [], []
        for deep, straight, bent in zip(self.deep, self.straight, self.bent, strict=True):
            thinned = self.thin(told)
            found = deep(batch)
            scores.append(found + straight(thinned) + bent(thinned))
            penalties.append(getattr(deep, "penalty", None))
        stacked = None if penalties[0] is None else torch.stack([one for one in penalties if one is not None])
        return MemberScores(torch.stack(scores), stacked)

    def forward(self, batch: IrregularBatch) -> Tensor:
        """Return the logarithms of the mean probabilities, (B, K)."""
        return mean_of(self.member_scores(batch).scores)


def mean_of(scores_MBK: Tensor) -> Tensor:
    """Return the logarithm of the mean over members of softmax(scores), (B, K).

    Example:
        >>> [round(p, 4) for p in mean_of(torch.tensor([[[0.9, 0.1]], [[0.5, 0.5]]]).log()).exp()[0].tolist()]
        [0.7, 0.3]
    """
    return scores_MBK.float().log_softmax(-1).logsumexp(0) - math.log(len(scores_MBK))
