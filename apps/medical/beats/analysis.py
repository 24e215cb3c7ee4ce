"""What the instruments are told of a namer of beats: runs of test beats, and their features, which may be disturbed."""

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from integrand.apps.analysis.precision import fitted
from integrand.apps.analysis.subject import Disturbed, Subject
from integrand.apps.medical.beats.batch import BeatBatch, stack
from integrand.apps.medical.beats.data import BeatData
from integrand.apps.medical.beats.module import BeatModule

RECORDINGS = 8
"""Test recordings that are asked about."""
BEATS = 256
"""Beats of each, from its first on."""


def subject(module: BeatModule, data: BeatData, *, seed: int) -> Subject:
    """Describe a trained namer of beats to the instruments.

    Args:
        module: trained, on the device it is to run on.
        data: its data.
        seed: not used: nothing is drawn.
    """
    test = data.part("test")
    runs = [test[place].between(0, BEATS) for place in range(min(len(test), RECORDINGS))]
    batch = stack(runs).to(module.device)

    def ask(asked: BeatModule) -> Tensor:
        return _probabilities(asked, fitted(batch, asked))

    def wrong(probabilities: Tensor) -> Tensor:
        return (probabilities.argmax(-1) != batch.labels)[batch.mask].float().mean()

    def entropy(asked: BeatModule, features: Tensor) -> Tensor:
        p = _probabilities(asked, replace(fitted(batch, asked), features=features))[batch.mask]
        return F.nll_loss(p.clamp(min=torch.finfo(p.dtype).tiny).log(), batch.labels[batch.mask])

    def disturbed(x: Tensor, mask: Tensor | None = None, times: Tensor | None = None) -> Tensor:
        return wrong(module(replace(batch, features=x)))

    return Subject(
        module=module,
        ask=ask,
        answers=f"names of {int(batch.mask.sum()):,} test beats",
        time_unit="s",
        metric="share of wrong names",
        score=lambda answers: float(wrong(answers)),
        loss=lambda asked: entropy(asked, fitted(batch.features, asked)),
        disturbed=Disturbed(
            inputs=batch.features,
            score=disturbed,
            attacked=lambda x: entropy(module, x),
            what="the features of beats, in standard deviations",
        ),
    )


def _probabilities(asked: BeatModule, batch: BeatBatch) -> Tensor:
    """Return what the module's own call does, in the precision of its parameters."""
    return torch.stack([(member(batch) / asked.temperature).softmax(-1) for member in asked.members]).mean(0)
