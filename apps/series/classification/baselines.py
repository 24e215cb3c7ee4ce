"""Classifiers without a neural network, to compare with: majority, nearest neighbour, ridge, ROCKET with ridge.

All see the same batches as the models, and learn from the training part alone. What each needs beyond its labels (the
trust in a neighbour, the penalty, the temperature of the probabilities) is chosen by leaving out one training series
at a time, in closed form.

Dimension letters: N series, L elements, G bins of the grid, C channels, S static features, F features, K classes.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy.special import softmax

from integrand.apps.series.classification.ridge import ridge, temperature
from integrand.apps.series.classification.rocket import Rocket
from integrand.core.errors import InputError
from integrand.datasets.irregular import IrregularBatch

Array = np.ndarray


class ClassifierBaseline(Protocol):
    """A classifier that is fitted in closed form.

    ``notices`` says, one line each, what the user should know of how series were read.
    """

    name: str
    notices: list[str]

    def fit(self, batch: IrregularBatch, classes: int) -> None:
        """Learn from the training part; its ``target`` holds class numbers 0..classes - 1."""
        ...

    def predict(self, batch: IrregularBatch) -> Array:
        """Return probabilities (N, K), float64, rows that sum to 1."""
        ...


@dataclass(frozen=True)
class Grid:
    """A regular grid of times onto which series are carried forward.

    Attributes:
        bins: how many; bin g is centred at g / (bins - 1) of the span.
        span: time from the first bin to the last, or None where each series is stretched to its own duration.
        channels: of the series it was made for.
        static: static features of them, None where there are none.
    """

    bins: int
    span: float | None
    channels: int
    static: int | None

    @classmethod
    def over(cls, batch: IrregularBatch, *, most: int | None = None, relative: bool = False) -> "Grid":
        """Make the grid of a training part: a bin for each element of its longest series, up to ``most``.

        Series sampled at one regular interval fall on it exactly, an element a bin, where ``most`` allows.
        """
        bins = max(1, int(batch.lengths.max()))
        span = None if relative else float(_durations(batch).max())
        static = None if batch.static is None else batch.static.shape[1]
        return cls(bins if most is None else min(bins, most), span, batch.values.shape[2], static)

    def check(self, batch: IrregularBatch) -> None:
        """Raise ``InputError`` where a batch has other channels or static features than the training part."""
        static = None if batch.static is None else batch.static.shape[1]
        if batch.values.shape[2] != self.channels or static != self.static:
            raise InputError(
                f"series have {batch.values.shape[2]} channels and {static or 0} static features, training had "
                f"{self.channels} and {self.static or 0}: give the same columns."
            )

    def beyond(self, batch: IrregularBatch) -> int:
        """Count the series that go on past the last bin."""
        return 0 if self.span is None else int((self._place(batch)[1] >= self.bins).any(1).sum())

    def carried(self, batch: IrregularBatch) -> tuple[Array, Array]:
        """Return values (N, G, C) carried forward from bin to bin, 0 before the first, and what was observed.

        The last of several observations in a bin counts; elements past the last bin are cut. The padding of a batch
        changes nothing.
        """
        mask, place = self._place(batch)
        values = np.zeros((len(place), self.bins, self.channels))
        observed = np.zeros(values.shape, dtype=bool)
        n, row, c = np.nonzero(mask & (place < self.bins)[..., None])
        # Later rows overwrite earlier ones in the same bin.
        values[n, place[n, row], c] = batch.values.numpy()[n, row, c]
        observed[n, place[n, row], c] = True
        last = np.maximum.accumulate(np.where(observed, np.arange(self.bins)[:, None], -1), axis=1)
        return np.where(last >= 0, np.take_along_axis(values, np.maximum(last, 0), 1), 0), observed

    def present(self, batch: IrregularBatch) -> Array:
        """Tell which bins (N, G) lie between a series' start and its last element."""
        _, place = self._place(batch)
        end = np.where(batch.present.numpy(), place, -1).max(1, initial=-1)
        return np.arange(self.bins) <= end[:, None]

    def _place(self, batch: IrregularBatch) -> tuple[Array, Array]:
        """Return the mask (N, L, C) of the elements before the padding, and the bin of each element (N, L)."""
        times = batch.times.numpy().astype(np.float64)
        span = _durations(batch)[:, None] if self.span is None else np.full((len(times), 1), self.span)
        place = np.floor(times / np.where(span > 0, span, 1) * (self.bins - 1) + 0.5)
        if self.bins == 1:  # no interval to measure by: what comes later is past it
            place = times > span
        return batch.mask.numpy() & batch.present.numpy()[..., None], np.clip(place, 0, self.bins).astype(int)


def _durations(batch: IrregularBatch) -> Array:
    """Time from the start to the last element, (N,)."""
    return np.where(batch.present.numpy(), batch.times.numpy(), 0).astype(np.float64).max(1, initial=0)


def class_numbers(batch: IrregularBatch, classes: int) -> Array:
    """Return the labels (N,) of a training part, or raise ``InputError`` where they are not class numbers."""
    if classes < 2:
        raise InputError(f"classes must be at least 2, got {classes}.")
    if batch.target is None or batch.target.shape != (len(batch),) or batch.target.is_floating_point():
        raise InputError("a classifier learns from labels: the training batch needs a target of N class numbers.")
    labels = batch.target.numpy().astype(np.int64)
    if len(labels) < 2:
        raise InputError(f"a classifier needs at least 2 training series, got {len(labels)}.")
    if labels.min() < 0 or labels.max() >= classes:
        raise InputError(f"class numbers must lie in 0..{classes - 1}, got {labels.min()} to {labels.max()}.")
    return labels


class Majority:
    """The classes as often as in training: (n_k + 1) / (N + K) for every series, whatever it looks like."""

    name = "majority"

    def __init__(self) -> None:
        self.notices: list[str] = []

    def fit(self, batch: IrregularBatch, classes: int) -> None:
        """Count the classes."""
        labels = class_numbers(batch, classes)
        self.share = (np.bincount(labels, minlength=classes) + 1) / (len(labels) + classes)

    def predict(self, batch: IrregularBatch) -> Array:
        """Return the same probabilities (N, K) for every series."""
        return np.tile(self.share, (len(batch), 1))


class NearestNeighbour:
    """The class of the nearest training series, by Euclidean distance over all channels.

    Series are stretched to their own duration and carried forward onto one grid of at most ``bins``. The neighbour's
    class gets probability p, the others share the rest alike. Leaving out one training series at a time, h of N
    neighbours had the right class; the likelihood is greatest at p = h / N, and p = (h + 1) / (N + 2), no less than
    1 / K, keeps it off 0 and 1.
    """

    name = "nearest neighbour"
    bins = 128

    def __init__(self) -> None:
        self.notices: list[str] = []

    def fit(self, batch: IrregularBatch, classes: int) -> None:
        """Keep the training series, and measure how far a neighbour is to be trusted."""
        self.labels, self.classes = class_numbers(batch, classes), classes
        self.grid = Grid.over(batch, most=self.bins, relative=True)
        self.series = self._on_grid(batch)
        distance = _squared_distances(self.series, self.series)
        np.fill_diagonal(distance, np.inf)
        hits = int((self.labels[distance.argmin(1)] == self.labels).sum())
        self.trust = max((hits + 1) / (len(self.labels) + 2), 1 / classes)

    def predict(self, batch: IrregularBatch) -> Array:
        """Return probabilities (N, K)."""
        self.grid.check(batch)
        nearest = _squared_distances(self._on_grid(batch), self.series).argmin(1)
        own = np.arange(self.classes) == self.labels[nearest][:, None]
        return np.where(own, self.trust, (1 - self.trust) / (self.classes - 1))

    def _on_grid(self, batch: IrregularBatch) -> Array:
        return self.grid.carried(batch)[0].reshape(len(batch), -1)


def _squared_distances(one: Array, other: Array) -> Array:
    """Between the rows of two arrays (N, F) and (M, F): (N, M), by one matrix product."""
    return (one**2).sum(1)[:, None] - 2 * one @ other.T + (other**2).sum(1)


class _Ridge:
    """Shared by the two ridge classifiers: the regression on what ``features`` returns, and its probabilities.

    The regression is to +1 for a series' own class and -1 for the others; features are standardised over the training
    part, and those constant there do not count.
    """

    name: str
    most: int | None = None

    def __init__(self) -> None:
        self.notices: list[str] = []

    def begin(self) -> None:
        """Prepare what ``features`` needs once the grid is known."""

    def features(self, batch: IrregularBatch) -> Array:
        """Build (N, F)."""
        raise NotImplementedError

    def fit(self, batch: IrregularBatch, classes: int) -> None:
        """Choose penalty and temperature, and fit on the whole training part."""
        labels = class_numbers(batch, classes)
        self.grid = Grid.over(batch, most=self.most)
        self.begin()
        x = self.features(batch)
        self.mean, deviation = x.mean(0), x.std(0)
        constant = deviation <= 1e-9 * np.abs(x).max(0, initial=1e-300)
        self.inverse = np.where(constant, 0, 1 / np.where(constant, 1, deviation))
        target = np.where(np.arange(classes) == labels[:, None], 1.0, -1.0)
        self.regression = ridge((x - self.mean) * self.inverse, target)
        self.temperature = temperature(self.regression.left_out, labels)

    def decide(self, batch: IrregularBatch) -> Array:
        """Return the regression's values (N, K)."""
        self.grid.check(batch)
        beyond = self.grid.beyond(batch)
        if beyond:
            self.notices.append(f"{self.name}: {beyond} series outlast all of training and were cut where those end")
        x = (self.features(batch) - self.mean) * self.inverse
        return x @ self.regression.weights + self.regression.bias

    def predict(self, batch: IrregularBatch) -> Array:
        """Return probabilities (N, K): softmax of the decisions over the temperature."""
        return softmax(self.decide(batch) / self.temperature, axis=1)


class RidgeClassifier(_Ridge):
    """Ridge regression on the series itself.

    Features are the values carried forward on a grid over the longest training series, at most ``most`` bins; for
    every channel the share of bins observed, and mean, standard deviation and last value of what was observed on the
    grid's span; and the static features.
    """

    name = "ridge"
    most = 128

    def features(self, batch: IrregularBatch) -> Array:
        """Build (N, G C + 4 C + S)."""
        carried, observed = self.grid.carried(batch)
        count = np.maximum(observed.sum(1), 1)
        mean = np.where(observed, carried, 0).sum(1) / count
        std = np.sqrt(np.where(observed, (carried - mean[:, None]) ** 2, 0).sum(1) / count)
        parts = [carried.reshape(len(carried), -1), observed.mean(1), mean, std, carried[:, -1]]
        return np.concatenate(parts if batch.static is None else [*parts, batch.static.numpy()], axis=1)


class RocketRidge(_Ridge):
    """Ridge regression on the features of random convolutions (``Rocket``) and the static features.

    Series are carried forward onto a grid with a bin for each element of the longest training series, and are 0, the
    training mean, after their own end; so a regular series is convolved element by element, an irregular one on bins
    of equal time.

    Args:
        kernels: how many.
        seed: of their draws.
    """

    name = "rocket"

    def __init__(self, kernels: int = 2000, *, seed: int = 0) -> None:
        super().__init__()
        self.rocket = Rocket(kernels, seed=seed)

    def begin(self) -> None:
        """Draw the kernels for the grid."""
        self.rocket.fit(self.grid.bins, self.grid.channels)

    def features(self, batch: IrregularBatch) -> Array:
        """Build (N, 2 kernels + S)."""
        carried, _ = self.grid.carried(batch)
        features = self.rocket.transform(carried * self.grid.present(batch)[..., None])
        return features if batch.static is None else np.concatenate([features, batch.static.numpy()], axis=1)


BASELINES = (Majority, NearestNeighbour, RidgeClassifier, RocketRidge)
