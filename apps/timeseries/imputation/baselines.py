"""Imputations without a neural network, to compare with: the mean, the last value, a line between neighbours, ridge.

All see the same batches as the models. The spread of each is its own: the standard deviation of its errors on the
training part, for every channel and distance to the nearest observed value, scaled by the factor that scores best.

Dimension letters: N windows, L rows, C channels, H bins of distance, F features, R cells.
"""

from collections.abc import Iterator
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from integrand.apps.series.neighbours import after, before, interpolated
from integrand.apps.timeseries.spread import spread
from integrand.core.fields.periodic_forcing import harmonics
from integrand.datasets.imputation import ImputationTask, ImputationWindows
from integrand.datasets.irregular import IrregularBatch

Array = np.ndarray
CHUNK = 256
MOST_WINDOWS = 4096
"""Training windows that baselines are fitted to, spread evenly over the part."""


class Baseline(Protocol):
    """An imputation that is fitted in closed form."""

    name: str

    def fit(self, train: ImputationWindows) -> None:
        """Learn from the training part."""
        ...

    def predict(self, batch: IrregularBatch) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation, (B, L, C), in standardised units."""
        ...


def distance_edges(task: ImputationTask) -> Array:
    """Return the upper ends of the bins of distance, in time: one, two, four ... intervals, up to a window; (H - 1,).

    The last bin holds what has no observed value in its window at all.
    """
    count = max(1, int(np.ceil(np.log2(max(2.0, task.window / task.resolution)))))
    return task.resolution * 2.0 ** np.arange(count)


def distance_bin(batch: IrregularBatch, task: ImputationTask) -> Array:
    """Return for every cell (B, L, C) the bin of its distance to the nearest observed value of its channel."""
    earlier, later = (side(batch.values, batch.mask, batch.times) for side in (before, after))
    near = torch.minimum(
        torch.where(earlier.found, earlier.distance, torch.inf), torch.where(later.found, later.distance, torch.inf)
    ).numpy()
    edges = distance_edges(task)
    # Stamps are rounded: a distance of one interval is in the first bin.
    bins = np.searchsorted(edges * (1 + 1e-4), near)
    return np.where(np.isinf(near), len(edges), np.minimum(bins, len(edges) - 1))


def chunks(data: ImputationWindows, windows: Array | None = None) -> Iterator[tuple[Array, IrregularBatch]]:
    """Yield (window numbers, batch) over the whole part, or over some windows of it."""
    windows = np.arange(len(data)) if windows is None else windows
    for start in range(0, len(windows), CHUNK):
        index = windows[start : start + CHUNK]
        yield index, data.__getitems__(index.tolist())


def fitted_to(train: ImputationWindows) -> Array:
    """Return the training windows that baselines are fitted to."""
    return np.unique(np.linspace(0, len(train) - 1, min(len(train), MOST_WINDOWS)).astype(int))


class _Point:
    """Shared by the baselines that have no parameters: a point, and the spread of its errors in training."""

    name: str

    def __init__(self, task: ImputationTask) -> None:
        self.task = task

    def point(self, batch: IrregularBatch) -> Tensor:
        """Return the imputation (B, L, C)."""
        raise NotImplementedError

    def fit(self, train: ImputationWindows) -> None:
        """Measure the spread on the training part."""
        errors, bins, channels = [], [], []
        for _, batch in chunks(train, fitted_to(train)):
            assert batch.target is not None
            assert batch.target_mask is not None
            asked = batch.target_mask.numpy()
            errors.append((batch.target - self.point(batch)).numpy()[asked])
            bins.append(distance_bin(batch, self.task)[asked])
            channels.append(np.broadcast_to(np.arange(asked.shape[2]), asked.shape)[asked])
        self.std_HC = spread_of_cells(np.concatenate(errors), np.concatenate(bins), np.concatenate(channels), self.task)

    def predict(self, batch: IrregularBatch) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation, (B, L, C)."""
        std = np.take_along_axis(self.std_HC[None], distance_bin(batch, self.task), 1)
        return self.point(batch), torch.from_numpy(std).float()


def spread_of_cells(errors_R: Array, bins_R: Array, channels_R: Array, task: ImputationTask) -> Array:
    """Return the standard deviation of errors by bin and channel, (H, C), scaled for the best score."""
    bins, count = len(distance_edges(task)) + 1, len(task.channels)
    std = np.ones((bins, count))
    for channel in range(count):
        own = channels_R == channel
        std[:, channel] = spread(errors_R[own], bins_R[own], bins)
    return std


class MeanImputation(_Point):
    """The mean of the channel in training."""

    name = "training mean"

    def point(self, batch: IrregularBatch) -> Tensor:
        """Return zeros: values are standardised."""
        return torch.zeros_like(batch.values)


class LastValue(_Point):
    """The last observed value of the channel; the training mean where there is none."""

    name = "last value"

    def point(self, batch: IrregularBatch) -> Tensor:
        """Carry values forward."""
        return before(batch.values, batch.mask, batch.times).value


class LinearInterpolation(_Point):
    """The line between the neighbours in time; the one there is at the ends, the training mean where there is none."""

    name = "linear interpolation"

    def point(self, batch: IrregularBatch) -> Tensor:
        """Interpolate."""
        return interpolated(before(batch.values, batch.mask, batch.times), after(batch.values, batch.mask, batch.times))


class Ridge(_Point):
    """Linear least squares with a penalty, from all channels around a cell to its value.

    Features of a row are, for every channel, the interpolated value, that times whether it was observed at the row, the
    last and the next value and how near they are; the calendar and the group. The penalty of each channel is chosen by
    five-fold cross-validation over blocks of windows that follow one another.
    """

    name = "ridge"
    folds = 5
    penalties: tuple[float, ...] = tuple(10.0 ** float(p) for p in np.arange(0.0, 5.1, 0.5))

    def features(self, batch: IrregularBatch) -> Array:
        """Build (B, L, F)."""
        earlier, later = (side(batch.values, batch.mask, batch.times) for side in (before, after))
        line, mask = interpolated(earlier, later), batch.mask.float()
        near = [torch.where(s.found, 1 / (1 + s.distance / self.task.resolution), 0) for s in (earlier, later)]
        parts = [line, line * mask, earlier.value, later.value, *near]
        if batch.phase is not None and self.task.periods:
            turn = 2 * torch.pi / torch.tensor(self.task.periods)
            parts.append(harmonics(batch.phase.unsqueeze(1) + turn * batch.times.unsqueeze(-1)))
        if batch.static is not None and self.task.groups:
            parts.append(batch.static.unsqueeze(1).expand(-1, line.shape[1], -1))
        return torch.cat(parts, dim=-1).numpy()

    def fit(self, train: ImputationWindows) -> None:
        """Choose the penalties, fit on the training part, and measure the spread of cross-validation's errors."""
        windows = fitted_to(train)
        rows, cells = [], []
        for number, (_, batch) in enumerate(chunks(train, windows)):
            assert batch.target is not None
            assert batch.target_mask is not None
            features, asked = self.features(batch), batch.target_mask.numpy()
            bins, there = distance_bin(batch, self.task), asked.any(2)
            rows.append(features[there])
            fold = (number * CHUNK + np.arange(len(asked))) * self.folds // len(windows)
            cells.append(
                (
                    batch.target.numpy()[there],
                    asked[there],
                    bins[there],
                    np.broadcast_to(fold[:, None], there.shape)[there],
                )
            )
        x = np.concatenate(rows)
        y, asked, bins, fold = (np.concatenate(part) for part in zip(*cells, strict=True))
        self.mean, self.deviation = x.mean(0), x.std(0) + 1e-3
        x = np.concatenate([(x - self.mean) / self.deviation, np.ones((len(x), 1))], axis=1, dtype=np.float32)
        found = [self._channel(x, y[:, c], asked[:, c], bins[:, c], fold) for c in range(y.shape[1])]
        self.weights, stds, self.penalty_C = (np.stack(part, axis=-1) for part in zip(*found, strict=True))
        self.std_HC = stds

    def point(self, batch: IrregularBatch) -> Tensor:
        """Apply the regression."""
        x = (self.features(batch) - self.mean) / self.deviation
        return torch.from_numpy((x @ self.weights[:-1] + self.weights[-1]).astype(np.float32))

    def _channel(self, x: Array, y: Array, asked: Array, bins: Array, fold: Array) -> tuple[Array, Array, Array]:
        """Return weights (F + 1,), spread (H,) and the penalty of one channel."""
        x, y, bins, fold = x[asked], y[asked].astype(np.float64), bins[asked], fold[asked]
        count = len(distance_edges(self.task)) + 1
        size = x.shape[1]
        moments = np.zeros((self.folds, size, size)), np.zeros((self.folds, size))
        for k in range(self.folds):
            own = x[fold == k].astype(np.float64)
            moments[0][k], moments[1][k] = own.T @ own, own.T @ y[fold == k]
        ridge = np.eye(size)
        ridge[-1, -1] = 1e-9  # the constant is free
        gram, moment = moments[0].sum(0), moments[1].sum(0)
        residuals = np.empty((len(self.penalties), len(y)))
        for p, penalty in enumerate(self.penalties):
            for k in range(self.folds):
                held = fold == k
                weights = np.linalg.solve(gram - moments[0][k] + penalty * ridge, moment - moments[1][k])
                residuals[p, held] = y[held] - x[held] @ weights
        best = int(np.argmin((residuals**2).mean(1))) if len(y) else len(self.penalties) - 1
        weights = np.linalg.solve(gram + self.penalties[best] * ridge, moment)
        return weights, spread(residuals[best], bins, count), np.array(self.penalties[best])


BASELINES = (MeanImputation, LastValue, LinearInterpolation, Ridge)
