"""Training of the small classifier whose features give a Frechet distance."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from integrand.apps.generation.metrics.frechet_classifier import FrechetClassifier, check_width
from integrand.apps.generation.metrics.rows import Samples, as_labels, as_rows
from integrand.core.errors import InputError

LEARNING_RATE = 2e-3


def train_frechet_classifier(
    train: Samples,
    train_labels: Samples | Sequence[int],
    held_out: Samples,
    held_out_labels: Samples | Sequence[int],
    *,
    name: str,
    shape: Sequence[int] | None = None,
    steps: int = 300,
    width: int = 32,
    batch: int = 128,
    seed: int = 0,
) -> FrechetClassifier:
    """Train a classifier for a fixed number of steps on labelled training rows, and count what it gets right elsewhere.

    AdamW with a cosine schedule on the cross entropy. The held-out rows choose nothing. A seed decides the weights on
    one machine; another may round otherwise, so that distances compare between classifiers of one ``hash``: save it.

    Args:
        train, held_out: (N, D) and (M, D); the network works on the device of ``train``.
        train_labels, held_out_labels: (N,) and (M,), whole numbers.
        name: of the data, as in ``FD-digits``.
        shape: (C, H, W) where rows are images.
        steps, batch: of the training.
        width: of the network, see ``FrechetClassifier``; images of more than digits want 64 and some thousand steps.
        seed: of the first weights and of the batches.

    Raises:
        InputError: see ``as_rows``; labels or a shape that do not fit the rows, held-out classes without training rows.

    Example:
        >>> rows, labels = torch.tensor([[-1.0], [1.0]]).repeat(20, 1), [0, 1] * 20
        >>> train_frechet_classifier(rows, labels, rows, labels, name="signs", steps=20).accuracy
        1.0

    Source: the features' part in the distance as in Heusel et al. (2017), GANs trained by a two time-scale update rule
    converge to a local Nash equilibrium, with a network of one's own data in the place of Inception.
    """
    rows, others = as_rows(train=train, held_out=held_out)
    labels, other_labels = as_labels("train", train_labels, rows), as_labels("held_out", held_out_labels, others)
    if steps < 1 or batch < 1:
        raise InputError(f"steps and batch must be at least 1, got {steps} and {batch}.")
    classes, targets = np.unique(labels, return_inverse=True)
    new = np.setdiff1d(other_labels, classes)
    if len(new):
        raise InputError(f"class {new[0]} is among the held-out rows and has no training rows: add some, or remove it.")
    shape = tuple(shape or rows.shape[1:])
    check_width(rows, shape)
    # Random numbers of the host alone make the weights, so that those of whoever else draws go on as before.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        made = FrechetClassifier(shape, classes.tolist(), name=name, width=width)
    made = made.to(rows.device)
    images = rows.view(-1, *shape)
    axes = (0, *range(2, images.dim()))
    made.mean.copy_(images.mean(axes).view_as(made.mean))
    deviation = images.var(axes, unbiased=False).sqrt()
    made.deviation.copy_(torch.where(deviation > 0, deviation, 1.0).view_as(made.deviation))
    _fit(made, rows.to(made.mean), torch.from_numpy(targets).to(rows.device), steps, batch, seed)
    spread = made.features(rows).double().var(0).mean().sqrt()  # the scale is still 1
    made.scale.copy_(torch.where(spread > 0, spread, 1.0))
    made.accuracy, made.held_out = float((made.predict(others) == other_labels).mean()), len(others)
    return made


def _fit(model: FrechetClassifier, rows: Tensor, targets: Tensor, steps: int, batch: int, seed: int) -> None:
    """Train the model; rows of the batches are drawn on the host, all at once, and are the same on every device."""
    model.train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(len(rows), (steps, batch), generator=generator).to(rows.device)
    with torch.inference_mode(False), torch.enable_grad():
        for indices in drawn:
            loss = nn.functional.cross_entropy(model(rows[indices]), targets[indices])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    model.eval()
