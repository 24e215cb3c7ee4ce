"""What stands beside a generative model: densities that are fitted in a moment and can be drawn from."""

import math
import warnings
from abc import ABC, abstractmethod
from typing import ClassVar, Literal

import numpy as np
import torch

from integrand.apps.generation.task import GenerationTask
from integrand.core.diffusion.likelihood import dequantize, quantize

Array = np.ndarray


class Baseline(ABC):
    """A density of rows (N, D), whole numbers for grey values, else in the units of the data."""

    name: ClassVar[str]

    @abstractmethod
    def fit(self, train: Array, validation: Array, task: GenerationTask, *, seed: int) -> None:
        """Fit to the training rows; the validation rows may choose options."""

    @abstractmethod
    def sample(self, count: int, *, seed: int) -> Array:
        """Draw rows (count, D)."""

    @abstractmethod
    def log_prob(self, rows: Array, *, seed: int) -> Array:
        """Return log densities (N,), in nats, of values as ``GenerationTask.standardized`` has u."""


class Histogram(Baseline):
    """Independent grey values, each by its frequencies in training, with half a count for what was not seen."""

    name = "per-pixel histogram"

    def fit(self, train: Array, validation: Array, task: GenerationTask, *, seed: int) -> None:
        """See ``Baseline``."""
        assert task.levels is not None
        counts = np.stack([np.bincount(column, minlength=task.levels) for column in train.astype(np.int64).T]) + 0.5
        self.levels, self.shares = task.levels, counts / counts.sum(1, keepdims=True)

    def sample(self, count: int, *, seed: int) -> Array:
        """See ``Baseline``."""
        uniform = np.random.default_rng(seed).random((count, len(self.shares), 1))
        return (uniform > self.shares.cumsum(1)[:, :-1]).sum(-1)

    def log_prob(self, rows: Array, *, seed: int) -> Array:
        """See ``Baseline``."""
        own = np.log(self.shares)[np.arange(len(self.shares)), rows.astype(np.int64)]
        return own.sum(1) - rows.shape[1] * math.log(2 / self.levels)


class GaussianMixture(Baseline):
    """A mixture of Gaussians; how many, and how much is added to their variances, by the validation likelihood.

    One Gaussian of all rows is among the candidates. Of rows of more than ``FULL`` numbers the covariances are
    diagonal, and of more than ``LEARNED`` rows as many are drawn to learn from.
    """

    name = "Gaussian mixture"
    COMPONENTS = (1, 5, 10, 20, 40)
    ADDED = (1e-3, 1e-2, 3e-2)
    FULL = 256
    LEARNED = 20_000

    def fit(self, train: Array, validation: Array, task: GenerationTask, *, seed: int) -> None:
        """See ``Baseline``."""
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.mixture import GaussianMixture as Mixture

        self.levels = task.levels
        if len(train) > self.LEARNED:
            train = train[np.random.default_rng(seed).choice(len(train), self.LEARNED, replace=False)]
        shape: Literal["full", "diag"] = "full" if train.shape[1] <= self.FULL else "diag"
        held = self._real(validation, seed + 1)
        self.centre, self.spread = 0.0, 1.0
        rows = self._real(train, seed)
        self.centre, self.spread = rows.mean(0), float(rows.std())
        best = -math.inf
        for components in self.COMPONENTS:
            for added in self.ADDED:
                if components * 4 > len(rows):
                    continue
                tried = Mixture(components, covariance_type=shape, reg_covar=added, random_state=seed, max_iter=60)
                with warnings.catch_warnings():
                    # Sixty rounds are what each candidate gets; validation says whether they were enough.
                    warnings.simplefilter("ignore", ConvergenceWarning)
                    tried.fit((rows - self.centre) / self.spread)
                score = float(tried.score((held - self.centre) / self.spread))
                if score > best:
                    best, self.mixture = score, tried

    def sample(self, count: int, *, seed: int) -> Array:
        """See ``Baseline``."""
        self.mixture.random_state = seed
        rows = self.mixture.sample(count)[0] * self.spread + self.centre
        rows = np.random.default_rng(seed).permutation(rows)
        if self.levels is None:
            return rows
        return quantize(torch.from_numpy(rows), self.levels).numpy()

    def log_prob(self, rows: Array, *, seed: int) -> Array:
        """See ``Baseline``."""
        found = self.mixture.score_samples((self._real(rows, seed) - self.centre) / self.spread)
        return found - rows.shape[1] * math.log(self.spread)

    def _real(self, rows: Array, seed: int) -> Array:
        if self.levels is None:
            return rows.astype(np.float64)
        noise = np.random.default_rng(seed).random(rows.shape)
        return dequantize(torch.from_numpy(rows).double(), self.levels, noise=torch.from_numpy(noise)).numpy()


def baselines(task: GenerationTask) -> list[Baseline]:
    """Return the baselines of a task."""
    return [GaussianMixture(), *([Histogram()] if task.levels is not None else [])]
