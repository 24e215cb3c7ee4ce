"""Training, alike without and with a tool, and the choice among some trainings by a validation part."""

import math
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn


class Fitted(NamedTuple):
    """A trained network, and the CPU seconds that its training took."""

    network: nn.Module
    seconds: float


class Chosen(NamedTuple):
    """The training that validates best.

    Attributes:
        network: trained, in evaluation mode.
        option: it was trained with.
        validation: its score, less is better.
        seconds: CPU seconds of this training, without those of the others.
    """

    network: nn.Module
    option: Any
    validation: float
    seconds: float


def fit(network: nn.Module, loss: Callable[[], Tensor], *, steps: int, rate: float, decay: float = 0.0) -> Fitted:
    """Minimise a loss, drawn anew at each call, by AdamW: the rate grows for a tenth of the steps, then falls to 0.

    Args:
        network: what is trained.
        loss: returns the loss of the next batch.
        steps: of the optimiser.
        rate: the greatest learning rate.
        decay: of the weights.
    """
    optimiser = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps, pct_start=0.1)
    began = time.process_time()
    network.train()
    for _ in range(steps):
        value = loss()
        optimiser.zero_grad()
        value.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        schedule.step()
    return Fitted(network.eval(), time.process_time() - began)


def choose(options: Iterable[Any], train: Callable[[Any], Fitted], validate: Callable[[nn.Module], float]) -> Chosen:
    """Train once with each option and return what validates best; a score that is no number counts as the worst."""
    found = []
    for option in options:
        network, seconds = train(option)
        with torch.no_grad():
            score = validate(network)
        found.append(Chosen(network, option, score if math.isfinite(score) else math.inf, seconds))
    return min(found, key=lambda each: each.validation)
