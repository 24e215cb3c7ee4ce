"""A network that reads the hours of a stay, beside a regression on its summaries: wide and deep.

Dimension letters: B batch, M members, G folds, K classes, F summaries, S static features.
"""

import math

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


class WideAndDeep(Classifier):
    """Several members, each a deep network over the hours plus a regression on summaries; their mean probability.

        scores_m = deep_m(hours) + W_m s + V_m gelu(U_m s),      p = mean_m softmax(scores_m),

    where s are the standardised summaries of all that is known by the hour, 0 where a variable was not observed, and
    static features. Members differ in how they start and in what dropout leaves out, and each learns by itself.
    Where the training patients are divided into folds, each fold has members that never see it. ``forward`` returns
    log p.

    A subclass says by ``make_deep`` which network.

    Args:
        members: of each fold.
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
        count = self.members * task.folds
        self.deep = nn.ModuleList(self.make_deep() for _ in range(count))
        for deep in self.deep:
            deep.build(task)  # pyright: ignore[reportCallIssue]
        self.thin = nn.Dropout(self.wide_dropout)
        self.straight = nn.ModuleList(nn.Linear(width, classes) for _ in range(count))
        for one in self.straight:
            nn.init.zeros_(one.weight)  # pyright: ignore[reportArgumentType]
        self.bent = nn.ModuleList(
            nn.Sequential(
                nn.Linear(width, self.hidden), nn.GELU(), nn.Dropout(self.wide_dropout), nn.Linear(self.hidden, classes)
            )
            for _ in range(count)
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

    def fold_of(self, number: int) -> int:
        """Return the fold that a member never sees."""
        return number // self.members

    def member(self, number: int, batch: IrregularBatch, told: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the scores (B, K) of one member, and what it adds to the loss (B,), None for nothing.

        Args:
            number: of the member, from 0.
            batch: the stays.
            told: (B, F + S), their summaries as ``wide`` has them.
        """
        deep, thinned = self.deep[number], self.thin(told)
        scores = deep(batch) + self.straight[number](thinned) + self.bent[number](thinned)
        return scores, getattr(deep, "penalty", None)

    def fold_scores(self, batch: IrregularBatch) -> Tensor:
        """Return the logarithms of the mean probabilities of the members of each fold, (B, G, K)."""
        told = self.wide(batch)
        scores = torch.stack([self.member(number, batch, told)[0] for number in range(len(self.deep))])
        return torch.stack([mean_of(own) for own in scores.split(self.members)], dim=1)

    def unseen_scores(self, batch: IrregularBatch, fold: int) -> Tensor:
        """Return the logarithms of the mean probabilities of the members that never saw a fold, (B, K)."""
        told = self.wide(batch)
        own = [number for number in range(len(self.deep)) if self.fold_of(number) == fold]
        return mean_of(torch.stack([self.member(number, batch, told)[0] for number in own]))

    def forward(self, batch: IrregularBatch) -> Tensor:
        """Return the logarithms of the mean probabilities, (B, K)."""
        return mean_of(self.fold_scores(batch).transpose(0, 1))


def mean_of(scores_MBK: Tensor) -> Tensor:
    """Return the logarithm of the mean over members of softmax(scores), (B, K).

    Example:
        >>> [round(p, 4) for p in mean_of(torch.tensor([[[0.9, 0.1]], [[0.5, 0.5]]]).log()).exp()[0].tolist()]
        [0.7, 0.3]
    """
    return scores_MBK.float().log_softmax(-1).logsumexp(0) - math.log(len(scores_MBK))
