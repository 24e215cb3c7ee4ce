"""What the instruments are told of a namer of beats: runs of test beats, and their features, which may be disturbed."""

from dataclasses import replace

import torch
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

    def accuracy(probabilities: Tensor) -> float:
        return float((probabilities.argmax(-1) == batch.labels)[batch.mask].double().mean())

    def entropy(probabilities: Tensor) -> Tensor:
        """Return the mean over the beats of each run of -log p of the right class, (B,)."""
        right = probabilities.gather(-1, batch.labels[..., None]).squeeze(-1)
        told = right.clamp(min=torch.finfo(right.dtype).tiny).log()
        return -torch.where(batch.mask, told, 0).sum(1) / batch.mask.sum(1)

    return Subject(
        module=module,
        ask=ask,
        answers=f"names of {int(batch.mask.sum()):,} test beats",
        time_unit="s",
        metric="accuracy",
        better="higher",
        score=accuracy,
        loss=lambda asked: entropy(ask(asked)).mean(),
        disturbed=Disturbed(
            inputs=batch.features,
            ask=lambda x: _probabilities(module, replace(batch, features=x)),
            loss=entropy,
            what="the features of beats, in standard deviations",
        ),
    )


def _probabilities(asked: BeatModule, batch: BeatBatch) -> Tensor:
    """Return what the module's own call does, in the precision of its parameters."""
    return torch.stack([(member(batch) / asked.temperature).softmax(-1) for member in asked.members]).mean(0)
