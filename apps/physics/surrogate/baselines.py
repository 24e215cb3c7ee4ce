"""What a surrogate is compared with: no change, the mean solution, linear maps.

Dimension letters: N samples, T times, C channels, K wave numbers, X Y Z grid.
"""

from typing import Protocol

import torch
from torch import Tensor

from integrand.datasets.fields import FieldTask, FieldWindows
from integrand.datasets.simulations import Simulations

RIDGES = tuple(10.0**power for power in range(-8, 3))
"""Shares of the mean variance that a ridge is chosen from."""


class Baseline(Protocol):
    """What is fitted to training solutions and answers test samples."""

    name: str

    def fit(self, training: FieldWindows, validation: FieldWindows) -> None:
        """Learn from whole training solutions; validation ones choose."""

    def predict(self, test: Simulations) -> Tensor:
        """Return solutions (N, T, C, *X), of which evolving ones begin with the truth."""
        ...


class Persistence:
    """The state stays as it is."""

    name = "persistence"

    def fit(self, training: FieldWindows, validation: FieldWindows) -> None:
        """Learn nothing."""

    def predict(self, test: Simulations) -> Tensor:
        """Return the first state at all times."""
        return test.values[:, :1].expand_as(test.values)


class TrainingMean:
    """The mean of the training solutions, point by point."""

    name = "mean of training"

    def fit(self, training: FieldWindows, validation: FieldWindows) -> None:
        """Take the mean."""
        self.mean = training.values.double().mean(0, keepdim=True)

    def predict(self, test: Simulations) -> Tensor:
        """Return the mean for every sample."""
        return self.mean.expand(test.values.shape)


class LinearStep:
    """The best linear step that commutes with shifts: each Fourier coefficient times a matrix of its own,

        u_k(t + dt) = A_k u_k(t),      A_k = argmin sum |u_k(t + dt) - A u_k(t)|^2

    over all training pairs, (C, C) for each wave number k. It solves linear equations with constant coefficients
    exactly. Waves without energy stay without.
    """

    name = "linear step"

    def fit(self, training: FieldWindows, validation: FieldWindows) -> None:
        """Solve the least squares."""
        axes = tuple(range(-(training.values.dim() - 3), 0))
        spectra = torch.fft.rfftn(training.values.double(), dim=axes, norm="forward").flatten(3)  # (N, T, C, K)
        before = spectra[:, :-1].flatten(0, 1).permute(2, 0, 1)  # (K, pairs, C)
        after = spectra[:, 1:].flatten(0, 1).permute(2, 0, 1)
        gram = before.mH @ before
        size = gram.diagonal(dim1=-2, dim2=-1).real.mean()
        eye = torch.eye(gram.shape[-1], dtype=gram.dtype)
        self.matrices = torch.linalg.solve(gram + 1e-12 * size * eye, before.mH @ after)  # (K, C, C), acting from right

    def predict(self, test: Simulations) -> Tensor:
        """Step from the first state on."""
        axes = tuple(range(-test.dims, 0))
        start = test.values[:, 0].double()
        spectrum = torch.fft.rfftn(start, dim=axes, norm="forward")
        shape = spectrum.shape
        rows, states = spectrum.flatten(2).permute(2, 0, 1), [start]
        for _ in range(len(test.times) - 1):
            rows = rows @ self.matrices
            states.append(
                torch.fft.irfftn(rows.permute(1, 2, 0).reshape(shape), s=test.shape, dim=axes, norm="forward")
            )
        return torch.stack(states, dim=1)


class LinearMap:
    """The linear map from constants and parameters to a steady solution, by ridge regression in its dual form,

        u = m + G(a)^T (G + lambda I)^-1 (U - m),      G the products of the training inputs

    with the ridge that is best on the validation part.
    """

    name = "linear map"

    def __init__(self, task: FieldTask) -> None:
        self.task = task

    def fit(self, training: FieldWindows, validation: FieldWindows) -> None:
        """Form the products and choose the ridge."""
        self.shape = training.values.shape[1:]
        given = self._rows(training.constants, training.parameters)
        self.center, self.given = given.mean(0), given - given.mean(0)
        targets = training.values.double().flatten(1)
        self.mean = targets.mean(0)
        values, vectors = torch.linalg.eigh(self.given @ self.given.T)
        turned = vectors.T @ (targets - self.mean)
        best = float("inf")
        for ridge in RIDGES if len(validation) else RIDGES[5:6]:
            weights = vectors @ (turned / (values.clamp(min=0) + ridge * values.mean()).unsqueeze(1))
            if len(validation):
                error = self._map(weights, self._rows(validation.constants, validation.parameters))
                score = float((error - validation.values.double().flatten(1)).square().mean())
            else:
                score = 0.0
            if score < best:
                best, self.weights = score, weights

    def predict(self, test: Simulations) -> Tensor:
        """Map the test samples."""
        made = self._map(self.weights, self._rows(test.constants, test.parameters))
        return made.view(-1, *self.shape)

    def _map(self, weights: Tensor, given: Tensor) -> Tensor:
        return self.mean + (given - self.center) @ self.given.T @ weights

    def _rows(self, constants: Tensor | None, parameters) -> Tensor:
        """Return the standardised inputs of each sample as a row."""
        parts = []
        if constants is not None:
            parts.append(constants.double().flatten(1))
        for name, scale in zip(self.task.parameters, self.task.parameter_scale, strict=True):
            parts.append(parameters[name].double()[:, None] / scale)
        return torch.cat(parts, dim=1)


def baselines(task: FieldTask) -> list[Baseline]:
    """Return the baselines of a task that learn from its training part alone."""
    if task.steady:
        return [TrainingMean(), LinearMap(task)]
    return [Persistence(), LinearStep()] if all(task.periodic) else [Persistence()]
