"""Namers of beats without memory from beat to beat, to compare with.

Dimension letters: N beats, K classes, F features.
"""

from dataclasses import replace
from typing import Any, Protocol

import numpy as np
import torch
from lightning import Trainer

from integrand.apps.medical.beats.data import LARGEST, BeatsOfPart, scaled
from integrand.apps.medical.beats.models.resnet import ResNetBeatNetwork
from integrand.apps.medical.beats.module import BeatModule
from integrand.apps.medical.beats.task import BeatTask
from integrand.apps.training.quiet import quiet
from integrand.core.errors import InputError
from integrand.datasets.beat_series import BeatSeries
from integrand.datasets.loader import ResumableLoader
from integrand.datasets.splits import spread

Array = np.ndarray
STEPS = 240
"""Steps of the residual network's training."""
BATCH = 32
COMPONENTS = 6
"""Principal components of a lead's window that stand for its shape."""
STRENGTHS = (0.001, 0.01, 0.1, 1.0)
"""Inverse penalties that are tried."""
FOLDS = 4
MOST = 15_000
"""Beats that a penalty is tried on."""
FURTHEST = 6.0
"""Deviations from the mean that count."""
LEAST = 1e-6
"""Probability that counts at least."""


class BeatBaseline(Protocol):
    """A namer of beats that is fitted at once.

    Attributes:
        name: in tables.
        varied: whether it learns from variations of the training recordings, too.
    """

    name: str
    varied: bool

    def fit(self, series: list[BeatSeries], task: BeatTask) -> None:
        """Learn from the usable beats of the training recordings."""
        ...

    def predict(self, series: BeatSeries) -> Array:
        """Return the probabilities of a recording's beats, (N, K) float64."""
        ...


class Majority:
    """The classes as often as in training, whatever a beat looks like."""

    name, varied = "majority", False

    def fit(self, series: list[BeatSeries], task: BeatTask) -> None:
        """Take the shares of the training part."""
        self.shares = np.asarray(task.shares)

    def predict(self, series: BeatSeries) -> Array:
        """Return the same probabilities for every beat."""
        return np.tile(self.shares, (len(series), 1))


class RhythmAndShape:
    """Logistic regression on what is known of a beat's place in the rhythm and of its shape.

        p = softmax(W f + b),    f = (rhythm and shape features, principal components of each lead's window),

    windows in units of the recording's usual beat, all standardised over the training part. Classes weigh by the root
    of one over their share, as for the network. The penalty on W is chosen by folds of the training patients. It learns
    from the recordings alone: it is too simple for their variations to tell it more.
    """

    name, varied = "logistic regression", False

    def fit(self, series: list[BeatSeries], task: BeatTask) -> None:
        """Find components, penalty and weights by the training part."""
        from sklearn.decomposition import PCA

        labels = np.concatenate([each.labels[each.usable] for each in series])
        if len(np.unique(labels)) < 2:
            raise InputError("all beats of the training part are of one class: there is nothing to tell apart.")
        windows = np.concatenate([_windows(each)[each.usable] for each in series])
        count = min(COMPONENTS, *windows.shape[:2])
        self.shapes = [PCA(count, random_state=0).fit(windows[:, :, lead]) for lead in range(windows.shape[2])]
        found = np.concatenate([self._features(each)[each.usable] for each in series])
        self.location, deviation = found.mean(0), found.std(0)
        self.scale = np.where(deviation > 0, deviation, 1.0)
        self.classes = len(task.classes)
        x = ((found - self.location) / self.scale).clip(-FURTHEST, FURTHEST)
        patients = np.concatenate([np.full(int(each.usable.sum()), each.patient) for each in series])
        self.regression = self._regress(x, labels, self._strength(x, labels, patients))

    def predict(self, series: BeatSeries) -> Array:
        """Return the probabilities of the classes; those that training lacked have 0."""
        p = np.zeros((len(series), self.classes))
        standardised = ((self._features(series) - self.location) / self.scale).clip(-FURTHEST, FURTHEST)
        p[:, self.regression.classes_] = self.regression.predict_proba(standardised)
        return p

    def _features(self, series: BeatSeries) -> Array:
        windows = _windows(series)
        shapes = [pca.transform(windows[:, :, lead]) for lead, pca in enumerate(self.shapes)]
        return np.concatenate([series.features, *shapes], axis=1).astype(np.float64)

    def _strength(self, x: Array, labels: Array, patients: Array) -> float:
        """Return the inverse penalty of ``STRENGTHS`` by which patients left out are likeliest, classes weighted."""
        counts = {str(one): np.bincount(labels[patients == one], minlength=self.classes) for one in np.unique(patients)}
        if len(counts) < 2:
            return STRENGTHS[0]
        of = spread(counts, [1.0] * min(FOLDS, len(counts)))
        fold = np.array([of[str(one)] for one in patients])
        losses = []
        for strength in STRENGTHS:
            total = 0.0
            for left in np.unique(fold):
                rest, own = np.flatnonzero(fold != left), np.flatnonzero(fold == left)
                rest = rest[:: -(-len(rest) // MOST)]
                if len(np.unique(labels[rest])) < 2:
                    continue
                fitted = self._regress(x[rest], labels[rest], strength)
                p = np.full((len(own), self.classes), LEAST)
                p[:, fitted.classes_] = fitted.predict_proba(x[own])
                nll = -np.log(np.maximum(p[np.arange(len(own)), labels[own]], LEAST))
                total += float(self._weights(labels)[labels[own]] @ nll)
            losses.append(total)
        return STRENGTHS[int(np.argmin(losses))]

    def _weights(self, labels: Array) -> Array:
        share = np.bincount(labels, minlength=self.classes) / len(labels)
        return np.where(share > 0, share, 1.0) ** -0.5

    def _regress(self, x: Array, labels: Array, strength: float) -> Any:
        from sklearn.linear_model import LogisticRegression

        weight = self._weights(labels)
        made = LogisticRegression(
            C=strength, max_iter=500, class_weight={k: float(weight[k]) for k in np.unique(labels)}
        )
        return made.fit(x, labels)


def _windows(series: BeatSeries) -> Array:
    """Return windows in units of the usual beat, (N, L, C)."""
    return (series.windows / series.usual[:, None]).clip(-LARGEST, LARGEST)


class ResidualNetwork:
    """A residual network in one dimension on each beat's window, beside its features; see ``ResNetBeatNetwork``.

    It learns from the same runs of beats and variations with the same weights of classes for ``STEPS`` steps, and its
    last average counts. The random numbers of whoever asks stay as they were.
    """

    name, varied = "residual network", True

    def fit(self, series: list[BeatSeries], task: BeatTask) -> None:
        """Train on the host's accelerator."""
        quiet()
        task = replace(task, folds=1)
        loader = ResumableLoader(
            BeatsOfPart(series, task, whole=False), batch_size=BATCH, shuffle=True, seed=0, num_workers=0
        )
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.module = BeatModule(ResNetBeatNetwork(width=32, stages=3))
            self.module.build_networks(task)
            trainer = Trainer(
                max_steps=STEPS,
                limit_val_batches=0,
                devices=1,
                logger=False,
                gradient_clip_val=1.0,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
            )
            trainer.fit(self.module, loader)
        self.task = task

    def predict(self, series: BeatSeries) -> Array:
        """Return the probabilities of a recording's beats."""
        with torch.no_grad():
            run = scaled(series, self.task).to(self.module.device)
            return self.module.eval()(run)[0].cpu().double().numpy()


BASELINES = (Majority, RhythmAndShape, ResidualNetwork)
