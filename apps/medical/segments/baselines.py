"""Baselines on segments: their classes' shares, and logistic regression on what can be said of them in few numbers.

Dimension letters: N segments, L samples, C leads, F features, K classes or labels.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from integrand.datasets.segments import Segments

Array = np.ndarray
PENALTIES = (1e-2, 1e-1, 1.0, 10.0)
"""Inverse strengths of the penalty, of which the validation part chooses one."""
BANDS = ((0.5, 4.0), (4.0, 8.0), (8.0, 15.0), (15.0, 40.0))
"""Hz, of the power in a lead."""
INTERVALS = ("mean", "variation", "change", "share_changed", "shortest", "longest", "count")
LEAD = ("deviation", "skewness", "kurtosis", "highest", "lowest", "activity", "period", "regularity", *(
    f"power_{low:g}_{high:g}" for low, high in BANDS
))  # fmt: skip


def interval_features(beats: Sequence[Array]) -> Array:
    """Return what the intervals between the beats of segments amount to, (N, F) of ``INTERVALS``.

    - ``mean`` of the intervals, log seconds; ``variation``: their deviation over it;
    - ``change``: root mean square of the changes from one to the next, over the mean;
    - ``share_changed``: of changes larger than 50 ms;
    - ``shortest``, ``longest``: over the mean; ``count`` of beats, log.

    Zeros where a segment has fewer than three beats.

    Example:
        >>> interval_features([np.array([0.0, 1.0, 2.0, 3.0])]).round(3).tolist()
        [[0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.386]]

    Source: Task Force of the European Society of Cardiology (1996), Heart rate variability, Table 1, for the root mean
    square and the share of changes.
    """
    found = np.zeros((len(beats), len(INTERVALS)))
    for row, each in enumerate(beats):
        if len(each) < 3:
            continue
        gaps = np.diff(each)
        mean, change = gaps.mean(), np.diff(gaps)
        found[row] = (
            np.log(mean),
            gaps.std() / mean,
            np.sqrt((change**2).mean()) / mean,
            (np.abs(change) > 0.05).mean(),
            gaps.min() / mean,
            gaps.max() / mean,
            np.log(len(each)),
        )
    return found


def lead_features(signal: Array, rate: float) -> Array:
    """Return what the leads of segments (N, L, C) amount to, (N, F) of ``LEAD`` for each lead.

    Moments, ends and mean absolute step of each lead; the lag between 0.3 and 2 s at which it is most like itself, log
    seconds, and how like; the share of its power in each of ``BANDS``, log.

    Args:
        signal: mV.
        rate: Hz.
    """
    x = signal.astype(np.float64)
    centred = x - x.mean(axis=1, keepdims=True)
    deviation = centred.std(axis=1) + 1e-6
    scaled = centred / deviation[:, None]
    power = np.abs(np.fft.rfft(centred, axis=1)) ** 2
    frequency = np.fft.rfftfreq(x.shape[1], 1 / rate)
    total = power.sum(axis=1) + 1e-12
    padded = np.abs(np.fft.rfft(scaled, 2 * x.shape[1], axis=1)) ** 2
    likeness = np.fft.irfft(padded, axis=1)[:, : x.shape[1]] / np.arange(x.shape[1], 0, -1)[:, None]
    first, last = round(0.3 * rate), min(round(2.0 * rate), x.shape[1] - 1)
    lag = likeness[:, first : last + 1].argmax(axis=1) + first
    columns = [
        np.log(deviation),
        (scaled**3).mean(axis=1),
        np.log((scaled**4).mean(axis=1) + 1e-6),
        scaled.max(axis=1),
        scaled.min(axis=1),
        np.abs(np.diff(scaled, axis=1)).mean(axis=1),
        np.log(lag / rate),
        likeness[:, first : last + 1].max(axis=1),
        *(np.log(power[:, (frequency >= low) & (frequency < high)].sum(axis=1) / total + 1e-6) for low, high in BANDS),
    ]
    return np.concatenate(columns, axis=1)


def features_of(segments: Segments) -> Array:
    """Return the features of segments: of the intervals where all have their beats marked, else of the leads."""
    return interval_features(segments.beats) if segments.marked else lead_features(segments.signal, segments.rate)


def shares(labels: Array, count: int) -> Array:
    """Return for ``count`` segments how often each label holds in training, (count, K): (n_k + 1) / (N + K)."""
    return np.tile((labels.sum(axis=0) + 1) / (len(labels) + labels.shape[1]), (count, 1))


class LogisticRegression:
    """Logistic regression on standardised features, its penalty chosen by the likelihood of the validation part.

    Args:
        several: whether any number of labels may hold: then one regression a label, else one of all classes.
        balance: power of one over its share in training by which a class weighs, as in the networks' loss.
    """

    name = "logistic regression"

    def __init__(self, *, several: bool, balance: float = 0.0) -> None:
        self.several, self.balance = several, balance

    def fit(self, x: Array, labels: Array, tried: Array, tried_labels: Array) -> "LogisticRegression":
        """Learn from features (N, F) and labels (N, K) bool; choose by others of the validation part."""
        self.location, deviation = x.mean(axis=0), x.std(axis=0)
        self.scale = np.where(deviation > 0, deviation, 1.0)
        scaled = self._scaled(x)
        targets = list(labels.T) if self.several else [labels.argmax(axis=1)]
        wanted = list(tried_labels.T) if self.several else [tried_labels.argmax(axis=1)]
        self.classes = labels.shape[1]
        self.models = [self._best(scaled, y, self._scaled(tried), z) for y, z in zip(targets, wanted, strict=True)]
        return self

    def predict(self, x: Array) -> Array:
        """Return probabilities, (N, K); a class that training lacks has none."""
        scaled = self._scaled(x)
        if self.several:
            return np.stack([_of_second(model, scaled) for model in self.models], axis=1)
        found = np.zeros((len(x), self.classes))
        model = self.models[0]
        found[:, model.classes_] = model.predict_proba(scaled)
        return found

    def _scaled(self, x: Array) -> Array:
        return np.clip((x - self.location) / self.scale, -6, 6)

    def _best(self, x: Array, y: Array, tried: Array, wanted: Array) -> Any:
        from sklearn.linear_model import LogisticRegression as Regression
        from sklearn.metrics import log_loss

        classes, counts = np.unique(y, return_counts=True)
        if len(classes) < 2:
            return float(y[0])
        weight = dict(zip(classes, (counts / len(y)) ** -self.balance, strict=True))
        fitted = [Regression(C=penalty, max_iter=2000, class_weight=weight).fit(x, y) for penalty in PENALTIES]
        there = np.isin(wanted, classes)
        if not there.any():
            return fitted[PENALTIES.index(1.0)]
        weights = [weight[one] for one in wanted[there]]
        losses = [
            log_loss(wanted[there], model.predict_proba(tried[there]), labels=model.classes_, sample_weight=weights)
            for model in fitted
        ]
        return fitted[int(np.argmin(losses))]


def _of_second(model: Any, x: Array) -> Array:
    return np.full(len(x), model) if isinstance(model, float) else model.predict_proba(x)[:, 1]
