"""Namers of beats without memory from beat to beat, to compare with.

Dimension letters: N beats, K classes, F features.
"""

from dataclasses import replace
from typing import Protocol

import numpy as np
import torch
from lightning import Trainer

from integrand.apps.medical.beats.data import BeatsOfPart, scaled
from integrand.apps.medical.beats.models.resnet import ResNetBeatNetwork
from integrand.apps.medical.beats.module import BeatModule
from integrand.apps.medical.beats.task import BeatTask
from integrand.apps.training.quiet import quiet
from integrand.core.errors import InputError
from integrand.datasets.beat_series import BeatSeries
from integrand.datasets.loader import ResumableLoader

Array = np.ndarray
STEPS = 240
"""Steps of the residual network's training."""
BATCH = 32
COMPONENTS = 16
"""Principal components of a lead's window that stand for its shape."""


class BeatBaseline(Protocol):
    """A namer of beats that is fitted at once."""

    name: str

    def fit(self, series: list[BeatSeries], task: BeatTask) -> None:
        """Learn from the usable beats of the training recordings."""
        ...

    def predict(self, series: BeatSeries) -> Array:
        """Return the probabilities of a recording's beats, (N, K) float64."""
        ...


class Majority:
    """The classes as often as in training, whatever a beat looks like."""

    name = "majority"

    def fit(self, series: list[BeatSeries], task: BeatTask) -> None:
        """Take the shares of the training part."""
        self.shares = np.asarray(task.shares)

    def predict(self, series: BeatSeries) -> Array:
        """Return the same probabilities for every beat."""
        return np.tile(self.shares, (len(series), 1))


class RhythmAndShape:
    """Logistic regression on what is known of a beat's place in the rhythm and of its shape.

        p = softmax(W f + b),    f = (rhythm and shape features, principal components of each lead's window),

    all standardised over the training part. Classes weigh by the root of one over their share, as for the network.
    """

    name = "logistic regression"

    def fit(self, series: list[BeatSeries], task: BeatTask) -> None:
        """Find components and weights by the training part."""
        from sklearn.decomposition import PCA
        from sklearn.linear_model import LogisticRegression

        labels = np.concatenate([each.labels[each.usable] for each in series])
        if len(np.unique(labels)) < 2:
            raise InputError("all beats of the training part are of one class: there is nothing to tell apart.")
        windows = np.concatenate([each.windows[each.usable] for each in series])
        count = min(COMPONENTS, *windows.shape[:2])
        self.shapes = [PCA(count, random_state=0).fit(windows[:, :, lead]) for lead in range(windows.shape[2])]
        found = np.concatenate([self._features(each)[each.usable] for each in series])
        self.location, deviation = found.mean(0), found.std(0)
        self.scale = np.where(deviation > 0, deviation, 1.0)
        share = np.bincount(labels, minlength=len(task.classes)) / len(labels)
        weight = {k: float(share[k] ** -0.5) for k in np.unique(labels)}
        self.regression = LogisticRegression(max_iter=1000, class_weight=weight)
        self.regression.fit((found - self.location) / self.scale, labels)
        self.classes = len(task.classes)

    def predict(self, series: BeatSeries) -> Array:
        """Return the probabilities of the classes; those that training lacked have 0."""
        p = np.zeros((len(series), self.classes))
        standardised = ((self._features(series) - self.location) / self.scale).clip(-6, 6)
        p[:, self.regression.classes_] = self.regression.predict_proba(standardised)
        return p

    def _features(self, series: BeatSeries) -> Array:
        shapes = [pca.transform(series.windows[:, :, lead]) for lead, pca in enumerate(self.shapes)]
        return np.concatenate([series.features, *shapes], axis=1).astype(np.float64)


class ResidualNetwork:
    """A residual network in one dimension on each beat's window, beside its features; see ``ResNetBeatNetwork``.

    It learns from the same runs of beats with the same weights of classes for ``STEPS`` steps, and its last average
    counts. The random numbers of whoever asks stay as they were.
    """

    name = "residual network"

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
