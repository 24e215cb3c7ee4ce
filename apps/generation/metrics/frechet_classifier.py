"""A small classifier trained on the training part, whose features give a Frechet distance where no other network is.

Dimension letters: N samples, D numbers of each, F features, K classes.
"""

import hashlib
import json
from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from integrand.apps.generation.metrics.frechet import frechet_between_samples
from integrand.apps.generation.metrics.rows import Samples, as_rows, require_equal_counts, subsample
from integrand.apps.training.files import write_atomically
from integrand.core.errors import InputError

SMALLEST = 4
"""Pixels along an edge to which convolutions with a stride of 2 bring an image."""
ROWS_AT_A_TIME = 1024
_KEY = "integrand.frechet_classifier"


class FrechetClassifierScore(NamedTuple):
    """A Frechet distance of features, with what it depends on. Three distances at N rows compare with one another.

    Attributes:
        name: what to call it, ``FD-<name of the classifier>``.
        distance: of the generated rows and the real ones, as many of both.
        rows: how many, N.
        half_distance: mean distance of N/2 generated rows and N/2 real ones, over draws of them.
        half_floor: mean distance of those N/2 real rows and the other N/2: what a perfect generator has.
        half: N/2.
        halvings: draws.
        accuracy: share of held-out rows that the classifier names right.
        hash: of its weights.
    """

    name: str
    distance: float
    rows: int
    half_distance: float
    half_floor: float
    half: int
    halvings: int
    accuracy: float
    hash: str


class FrechetClassifier(nn.Module):
    """A convolutional network for images, a perceptron for other rows, that names the class of a row.

    Inputs are standardised by the mean and deviation of the training rows, of each channel or each column. Images go
    through a convolution and others with a stride of 2 until an edge is 4 pixels or less; then, as for other rows after
    one hidden layer, a linear layer and ``relu`` give the F features, and a linear layer the classes. Features are told
    in units of one number, the root mean deviation that they have over the training rows, so that a distance of F or so
    is one as large as the data.

    Args:
        shape: (C, H, W) of an image, or (D,).
        classes: the labels, in the order of the outputs.
        name: of the data, as in ``FD-digits``.
        width: channels, or hidden units.
        features: F.

    Attributes:
        accuracy: share of held-out rows named right; NaN before training.
        held_out: how many rows that is of.

    Example:
        >>> FrechetClassifier((1, 8, 8), [0, 1], name="pair").features(torch.zeros(5, 64)).shape
        torch.Size([5, 32])
    """

    def __init__(
        self, shape: Sequence[int], classes: Sequence[int], *, name: str, width: int = 32, features: int = 32
    ) -> None:
        super().__init__()
        if len(shape) not in (1, 3) or min(shape) < 1:
            raise InputError(f"shape must be (C, H, W) of images or (D,) of other rows, got {tuple(shape)}.")
        if len(classes) < 2:
            raise InputError(f"a classifier needs two classes or more, got {len(classes)}.")
        self.shape, self.classes, self.name = tuple(shape), tuple(classes), name
        self.width, self.accuracy, self.held_out = width, float("nan"), 0
        body = _convolutions(self.shape, width) if len(shape) == 3 else [nn.Linear(shape[0], width), nn.ReLU()]
        with torch.no_grad():
            size = nn.Sequential(*body)(torch.zeros(1, *shape)).shape[1]
        self.body = nn.Sequential(*body, nn.Linear(size, features), nn.ReLU())
        self.head = nn.Linear(features, len(classes))
        self.mean = nn.Buffer(torch.zeros(shape[0], *(1,) * (len(shape) - 1)))
        self.deviation = nn.Buffer(torch.ones_like(self.mean))
        self.scale = nn.Buffer(torch.ones(()))

    def forward(self, rows: Tensor) -> Tensor:
        """Return a logit for each class, (N, K), of float32 rows (N, D)."""
        return self.head(self._features(rows))

    @torch.no_grad()
    def features(self, rows: Samples) -> Tensor:
        """Return the features of rows (N, D), (N, F), float32, on the classifier's device."""
        return torch.cat([self._features(some) for some in self._batches(rows)]) / self.scale

    @torch.no_grad()
    def predict(self, rows: Samples) -> np.ndarray:
        """Return the label of each row (N, D), (N,)."""
        best = torch.cat([self(some).argmax(1) for some in self._batches(rows)])
        return np.array(self.classes)[best.cpu().numpy()]

    @property
    def hash(self) -> str:
        """SHA-256 over the name, shape, type and numbers of every weight, in the order of their names."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.state_dict().items()):
            array = tensor.detach().cpu().numpy()
            digest.update(f"{name} {array.shape} {array.dtype.str}\n".encode() + array.tobytes())
        return digest.hexdigest()

    def save(self, path: Path) -> None:
        """Write weights and what else it takes to read them back, as safetensors."""
        from safetensors.torch import save

        about = {
            "shape": self.shape,
            "classes": self.classes,
            "name": self.name,
            "width": self.width,
            "features": self.head.in_features,
            "accuracy": self.accuracy,
            "held_out": self.held_out,
            "hash": self.hash,
        }
        tensors = {name: tensor.cpu().contiguous() for name, tensor in self.state_dict().items()}
        write_atomically(path, save(tensors, {_KEY: json.dumps(about)}))

    def _features(self, rows: Tensor) -> Tensor:
        return self.body((rows.view(-1, *self.shape) - self.mean) / self.deviation)

    def _batches(self, rows: Samples) -> tuple[Tensor, ...]:
        (wide,) = as_rows(rows=rows, least=1)
        check_width(wide, self.shape)
        return wide.to(self.mean).split(ROWS_AT_A_TIME)


def load_frechet_classifier(path: Path) -> FrechetClassifier:
    """Read a classifier that ``save`` wrote; nothing in the file is executed.

    Raises:
        InputError: there is no such file, it holds something else, or its weights are not those that were saved.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise InputError(f"there is no classifier {path}: train one, or name the file of one that was saved.")
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads((file.metadata() or {})[_KEY])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no dictionary
        options = {key: about[key] for key in ("name", "width", "features")}
        made = FrechetClassifier(about["shape"], about["classes"], **options)
        made.load_state_dict(tensors)
    except (SafetensorError, KeyError, TypeError, json.JSONDecodeError, RuntimeError, OSError) as error:
        raise InputError(f"{path} holds no classifier of integrand: name the file of one that was saved.") from error
    if made.hash != about["hash"]:
        raise InputError(f"the weights in {path} are not those that were saved: copy it again, or train anew.")
    made.accuracy, made.held_out = about["accuracy"], about["held_out"]
    return made.eval()


def frechet_classifier_score(
    classifier: FrechetClassifier, generated: Samples, real: Samples, *, halvings: int = 10, seed: int = 0
) -> FrechetClassifierScore:
    """Return the Frechet distance of a classifier's features, beside its floor: that of real rows and other real rows.

    The distance is biased upwards, the more the fewer rows (``frechet_between_samples``). So the floor is compared with
    a distance of as many rows: both are means over draws of halves.

    Args:
        classifier: trained on the training part.
        generated: (N, D).
        real: (N, D), rows that neither the model nor the classifier was trained on.
        halvings: draws of halves.
        seed: of these.

    Raises:
        InputError: see ``as_rows``; there are not as many of both, or fewer than 4.
    """
    x, y = as_rows(generated=generated, real=real, least=4)
    count = require_equal_counts(generated=x, real=y)
    if halvings < 1:
        raise InputError(f"halvings must be at least 1, got {halvings}.")
    x, y = classifier.features(x), classifier.features(y)
    half, apart, floor = count // 2, 0.0, 0.0
    for draw in range(halvings):
        order = torch.from_numpy(np.random.default_rng([seed, draw]).permutation(count)).to(y.device)
        one, other = y[order[:half]], y[order[half : 2 * half]]
        apart += frechet_between_samples(subsample(x, half, seed=seed + draw), one) / halvings
        floor += frechet_between_samples(other, one) / halvings
    return FrechetClassifierScore(
        name=f"FD-{classifier.name}",
        distance=frechet_between_samples(x, y),
        rows=count,
        half_distance=apart,
        half_floor=floor,
        half=half,
        halvings=halvings,
        accuracy=classifier.accuracy,
        hash=classifier.hash,
    )


def _convolutions(shape: Sequence[int], width: int) -> list[nn.Module]:
    channels, *edges = shape
    layers: list[nn.Module] = [nn.Conv2d(channels, width // 2, 3, padding=1), nn.ReLU()]
    channels = width // 2
    while max(edges) > SMALLEST:
        layers += [nn.Conv2d(channels, width, 3, stride=2, padding=1), nn.ReLU()]
        channels, edges = width, [-(-edge // 2) for edge in edges]
    return [*layers, nn.Flatten()]


def check_width(rows: Tensor, shape: Sequence[int]) -> None:
    """Check that rows (N, D) are what the shape makes them.

    Raises:
        InputError: they are not.
    """
    if rows.shape[1] != prod(shape):
        raise InputError(
            f"rows have {rows.shape[1]} numbers and shape {tuple(shape)} {prod(shape)}: give one that fits."
        )
