"""A residual network of one-dimensional convolutions, to compare with."""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from integrand.apps.medical.segments.batch import SegmentBatch
from integrand.apps.medical.segments.models.segment_network import SegmentNetwork
from integrand.apps.medical.segments.task import SegmentTask


class ResNetSegmentNetwork(SegmentNetwork):
    """Three convolutions at the entry, stages of residual blocks each at half the resolution of the one before.

    Each block is x + BN(conv(relu(BN(conv(x))))), the last normalisation beginning at 0, so that a block begins as the
    identity; where the resolution halves, the short way is an average of two and a convolution of one. The head sees
    mean and largest value.

    Args:
        width: channels of the first stage; of stage i as many times 2^i, at most four times.
        stages: how many.
        blocks: a stage.
        kernel: of the convolutions, odd.
        dropout: before the head.

    Source: after He et al. (2019), Bag of tricks for image classification with convolutional neural networks, in one
    dimension as Strodthoff et al. (2021), Deep learning for ECG analysis, have it.
    """

    def __init__(
        self, *, width: int = 32, stages: int = 4, blocks: int = 1, kernel: int = 5, dropout: float = 0.2
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.width, self.stages, self.blocks, self.kernel, self.dropout = width, stages, blocks, kernel, dropout

    def build_network(self, task: SegmentTask) -> None:
        """Make entry, blocks and head."""
        half = max(8, self.width // 2)
        entry = [len(task.leads), half, half, self.width]
        parts: list[nn.Module] = []
        for number, (inputs, outputs) in enumerate(pairwise(entry)):
            stride = 2 if number == 0 else 1
            parts += [
                nn.Conv1d(inputs, outputs, self.kernel, stride=stride, padding=self.kernel // 2, bias=False),
                nn.BatchNorm1d(outputs),
                nn.ReLU(),
            ]
        widths = [self.width, *(self.width * min(4, 2**stage) for stage in range(self.stages))]
        for stage, (inputs, outputs) in enumerate(pairwise(widths)):
            parts += [
                _Block(inputs if n == 0 else outputs, outputs, self.kernel, halve=stage > 0 and n == 0)
                for n in range(self.blocks)
            ]
        self.body = nn.Sequential(*parts)
        self.head = nn.Sequential(
            nn.BatchNorm1d(2 * widths[-1]), nn.Dropout(self.dropout), nn.Linear(2 * widths[-1], len(task.classes))
        )

    def forward(self, batch: SegmentBatch) -> Tensor:
        """Return the scores of the classes, (B, K)."""
        x = self.body(batch.signal)
        return self.head(torch.cat([x.mean(dim=-1), x.amax(dim=-1)], dim=-1))


class _Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, kernel: int, *, halve: bool) -> None:
        super().__init__()
        self.change = nn.Sequential(
            nn.Conv1d(inputs, outputs, kernel, stride=2 if halve else 1, padding=kernel // 2, bias=False),
            nn.BatchNorm1d(outputs),
            nn.ReLU(),
            nn.Conv1d(outputs, outputs, kernel, padding=kernel // 2, bias=False),
            nn.BatchNorm1d(outputs),
        )
        nn.init.zeros_(self.change[-1].weight)  # pyright: ignore[reportArgumentType]
        short: list[nn.Module] = [nn.AvgPool1d(2, ceil_mode=True)] if halve else []
        if inputs != outputs:
            short += [nn.Conv1d(inputs, outputs, 1, bias=False), nn.BatchNorm1d(outputs)]
        self.short = nn.Sequential(*short)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.short(x) + self.change(x))
