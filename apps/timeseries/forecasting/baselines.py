"""Forecasts without a neural network, to compare with: persistence, seasonal naive, ridge regression.

All three see the same batches as the models. The spread of each is its own: the standard deviation of its errors on
the training part, for every channel and lead time, scaled by the factor that scores best there; the ridge's errors are
those of cross-validation, so that it is not overconfident.

Dimension letters: N windows, G bins of the context, H bins of the horizon, C channels seen, K channels forecast,
F features.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from integrand.apps.timeseries.spread import spread
from integrand.datasets.forecasting import ForecastTask, ForecastWindows
from integrand.datasets.irregular import IrregularBatch

Array = np.ndarray


class Baseline(Protocol):
    """A forecaster that is fitted in closed form."""

    name: str

    def fit(self, train: ForecastWindows) -> None:
        """Learn from the training part."""
        ...

    def predict(self, batch: IrregularBatch) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation, (B, Q, K), in standardised units."""
        ...


class Binned:
    """A batch on the task's regular grid: bins of one resolution, the context's last one ending at the origin."""

    def __init__(self, batch: IrregularBatch, task: ForecastTask) -> None:
        values, mask, times = batch.values.numpy(), batch.mask.numpy(), batch.times.numpy()
        count, _, channels = values.shape
        self.bins = max(1, round(task.context / task.resolution))
        place = np.clip(self.bins - 1 + np.floor(times / task.resolution + 0.5).astype(int), 0, self.bins - 1)
        self.observed = np.zeros((count, self.bins, channels), dtype=bool)
        self.latest = np.zeros((count, self.bins, channels), dtype=np.float32)
        n, row, c = np.nonzero(mask)
        # Later rows overwrite earlier ones in the same bin.
        self.latest[n, place[n, row], c] = values[n, row, c]
        self.observed[n, place[n, row], c] = True
        index = np.where(self.observed, np.arange(self.bins)[:, None], -1)
        last = np.maximum.accumulate(index, axis=1)
        self.seen = last >= 0
        self.carried = np.where(self.seen, np.take_along_axis(self.latest, np.maximum(last, 0), 1), 0)
        self.age = np.where(self.seen, np.arange(self.bins)[:, None] - last, self.bins) / self.bins
        self.leads = task.leads
        self.lead = self.lead_of(batch, task)

    @staticmethod
    def lead_of(batch: IrregularBatch, task: ForecastTask) -> Array:
        """Return the lead-time bin of every query, (N, Q): bin 0 ends one resolution after the origin."""
        assert batch.target_times is not None
        bins = np.ceil(batch.target_times.numpy() / task.resolution - 0.5).astype(int) - 1
        return np.clip(bins, 0, task.leads - 1)


def chunks(data: ForecastWindows, epochs: int = 1, size: int = 2048) -> Iterator[tuple[Array, IrregularBatch]]:
    """Yield (window numbers, batch) over the whole part, ``epochs`` times with drops of its own each."""
    for start in range(0, epochs * len(data), size):
        index = np.arange(start, min(start + size, epochs * len(data)))
        yield index % len(data), data.__getitems__(index.tolist())


def on_grid(batch: IrregularBatch, lead: Array, leads: int) -> tuple[Array, Array]:
    """Put targets on the grid of lead times: values and mask, (N, H, K)."""
    assert batch.target is not None
    assert batch.target_mask is not None
    target, mask = batch.target.numpy(), batch.target_mask.numpy()
    values = np.zeros((len(target), leads, target.shape[-1]), dtype=np.float32)
    known = np.zeros(values.shape, dtype=bool)
    n, q, k = np.nonzero(mask)
    values[n, lead[n, q], k] = target[n, q, k]
    known[n, lead[n, q], k] = True
    return values, known


def spread_by_lead(residual: Array, known: Array) -> Array:
    """Return the standard deviation of errors by lead time and channel, (H, K), from residuals (N, H, K)."""
    lead_NH = np.broadcast_to(np.arange(residual.shape[1]), residual.shape[:2])
    channels = [
        spread(residual[..., k][known[..., k]], lead_NH[known[..., k]], residual.shape[1])
        for k in range(residual.shape[2])
    ]
    return np.stack(channels, axis=1)


class _Naive:
    """Shared by the two naive forecasts: a point forecast on the grid, and the spread of its training errors."""

    name: str

    def __init__(self, task: ForecastTask) -> None:
        self.task = task

    def point(self, binned: Binned) -> Array:
        """Return the forecast (N, H, K)."""
        raise NotImplementedError

    def fit(self, train: ForecastWindows) -> None:
        """Measure the spread on the training part."""
        errors, known = [], []
        for _, batch in chunks(train):
            binned = Binned(batch, self.task)
            target, mask = on_grid(batch, binned.lead, binned.leads)
            errors.append(target - self.point(binned))
            known.append(mask)
        self.std_HK = spread_by_lead(np.concatenate(errors), np.concatenate(known))

    def predict(self, batch: IrregularBatch) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation, (B, Q, K)."""
        binned = Binned(batch, self.task)
        mean = np.take_along_axis(self.point(binned), binned.lead[..., None], 1)
        return torch.from_numpy(mean), torch.from_numpy(self.std_HK[binned.lead]).float()


class Persistence(_Naive):
    """Tomorrow is as now: the last observed value of each channel; the training mean where there is none."""

    name = "persistence"

    def point(self, binned: Binned) -> Array:
        """Repeat the last value."""
        last = binned.carried[:, -1:, : self.task.targets]
        return np.repeat(last, binned.leads, axis=1)


class SeasonalNaive(_Naive):
    """Tomorrow is as today at the same hour: the value one period earlier, or the last one observed before that."""

    name = "seasonal naive"

    def point(self, binned: Binned) -> Array:
        """Look one period back, whole periods more for leads beyond one."""
        task = self.task
        period = max(1, round((task.periods[0] if task.periods else task.horizon) / task.resolution))
        ahead = np.arange(1, binned.leads + 1)
        back = binned.bins - 1 + ahead - period * -(-ahead // period)
        return binned.carried[:, np.clip(back, 0, binned.bins - 1), : task.targets]


class Ridge:
    """Linear least squares with a penalty, from the whole binned context to all leads at once.

    Features are, for every bin and channel, the value carried forward and whether it was observed; every channel's age
    at the origin; the calendar and the group. The penalty is chosen for each channel by five-fold cross-validation in
    blocks of time, leaving out windows that overlap the block; a block that all windows overlap, in a short series, is
    not scored, and where none can be, the strongest penalty and the errors of the fit itself are taken. A missing
    target takes the regression's own prediction and the fit is repeated, whose fixed point is the regression on the
    observed targets alone.
    """

    name = "ridge"
    folds = 5
    epochs = 2
    imputations = 3
    penalties: tuple[float, ...] = tuple(10.0 ** float(p) for p in np.arange(1.0, 5.6, 0.5))

    def __init__(self, task: ForecastTask) -> None:
        self.task = task

    def features(self, batch: IrregularBatch, binned: Binned) -> Array:
        """Build (N, F)."""
        count = len(binned.carried)
        parts = [binned.carried.reshape(count, -1), binned.observed.reshape(count, -1), binned.age[:, -1]]
        if batch.phase is not None:
            phase = batch.phase.numpy()
            parts += [np.cos(phase), np.sin(phase)]
        if batch.static is not None:
            parts.append(batch.static.numpy())
        if batch.known is not None:
            ahead = np.zeros((count, binned.leads, batch.known.shape[-1]), dtype=np.float32)
            np.put_along_axis(ahead, binned.lead[..., None], batch.known.numpy(), 1)
            parts.append(ahead.reshape(count, -1))
        return np.concatenate(parts, axis=1, dtype=np.float32)

    def fit(self, train: ForecastWindows) -> None:
        """Choose the penalties, measure the spread, and fit on the whole training part."""
        design, target, known, origin = [], [], [], []
        for windows, batch in chunks(train, self.epochs):
            binned = Binned(batch, self.task)
            values, mask = on_grid(batch, binned.lead, binned.leads)
            design.append(self.features(batch, binned))
            target.append(values)
            known.append(mask)
            origin.append(train.windows.origins[windows])
        x, y, m = np.concatenate(design), np.concatenate(target), np.concatenate(known)
        tau = np.concatenate(origin)
        self.shape = y.shape[1:]
        self.mean, self.deviation = x.mean(0), x.std(0) + 1e-3
        x = (x - self.mean) / self.deviation
        y, m = y.reshape(len(y), -1), m.reshape(len(m), -1)

        edges = np.linspace(tau.min(), tau.max(), self.folds + 1)
        reach = self.task.context + self.task.horizon
        squared_PK, folds = np.zeros((len(self.penalties), self.shape[-1])), []
        scored = np.zeros(len(tau), dtype=bool)
        for start, stop in pairwise(edges):
            held = (tau >= start) & (tau <= stop)
            near = (tau > start - reach) & (tau < stop + reach)
            if near.all():
                continue
            scored |= held
            weights_P, bias_P = self._solve(x[~near], y[~near], m[~near])
            solutions = zip(weights_P, bias_P, strict=True)
            squared = [np.where(m[held], y[held] - x[held] @ w - b, 0) ** 2 for w, b in solutions]
            squared_PK += np.stack([e.reshape(-1, *self.shape).sum((0, 1)) for e in squared])
            folds.append((held, weights_P, bias_P))
        best_K = np.argmin(squared_PK, axis=0) if folds else np.full(self.shape[-1], len(self.penalties) - 1)
        self.penalty_K = np.asarray(self.penalties)[best_K]
        pick = np.tile(best_K, self.shape[0]), np.arange(y.shape[1])
        residual = np.zeros_like(y)
        for held, weights_P, bias_P in folds:
            residual[held] = y[held] - x[held] @ weights_P[pick[0], :, pick[1]].T - bias_P[pick]
        weights_P, bias_P = self._solve(x, y, m)
        self.weights, self.bias = weights_P[pick[0], :, pick[1]].T, bias_P[pick]
        if not folds:
            residual, scored = y - x @ self.weights - self.bias, ~scored
        self.std_HK = spread_by_lead(residual[scored].reshape(-1, *self.shape), m[scored].reshape(-1, *self.shape))

    def predict(self, batch: IrregularBatch) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation, (B, Q, K)."""
        binned = Binned(batch, self.task)
        x = (self.features(batch, binned) - self.mean) / self.deviation
        grid = (x @ self.weights + self.bias).reshape(len(x), *self.shape)
        mean = np.take_along_axis(grid, binned.lead[..., None], 1)
        return torch.from_numpy(mean), torch.from_numpy(self.std_HK[binned.lead]).float()

    def _solve(self, x: Array, y: Array, m: Array) -> tuple[Array, Array]:
        """Solve for every penalty from one eigendecomposition: weights (P, F, HK) and the bias (HK) for raw x."""
        center = x.mean(0)
        x = x - center
        values, vectors = np.linalg.eigh((x.T @ x).astype(np.float64))
        bias = np.where(m, y, 0).sum(0) / np.maximum(m.sum(0), 1)
        filled = np.where(m, y - bias, 0)
        hidden = np.nonzero(~m.all(0))[0]
        middle = values + np.median(self.penalties)
        for _ in range(self.imputations if len(hidden) else 0):
            moment = x.T @ filled[:, hidden]
            predicted = x @ (vectors @ ((vectors.T @ moment) / middle[:, None])).astype(np.float32)
            predicted += filled[:, hidden].mean(0)  # the bias is free: x is centred, what is filled in is not
            filled[:, hidden] = np.where(m[:, hidden], filled[:, hidden], predicted)
        center_y = filled.mean(0)
        projected = vectors.T @ (x.T @ (filled - center_y))
        weights = [vectors @ (projected / (values + penalty)[:, None]) for penalty in self.penalties]
        weights_P = np.stack(weights).astype(np.float32)
        return weights_P, bias + center_y - center @ weights_P


BASELINES = (Persistence, SeasonalNaive, Ridge)
