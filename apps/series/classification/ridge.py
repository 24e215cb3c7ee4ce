"""Ridge regression with its penalty by leave-one-out cross-validation, and the probabilities its decisions stand for.

Dimension letters: N series, F features, K columns or classes, A penalties.
"""

from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

Array = np.ndarray
PENALTIES: tuple[float, ...] = tuple(10.0 ** float(p) for p in np.arange(-3.0, 5.1, 0.5))


class RidgeFit(NamedTuple):
    """A ridge regression of K columns on F features, and what leaving out one series at a time says of it.

    Attributes:
        weights: (F, K).
        bias: (K,).
        penalty: the chosen one.
        left_out: (N, K) decision for each training series by the fit without it, under that penalty.
        errors: (A,) mean squared error of those decisions, by penalty.
    """

    weights: Array
    bias: Array
    penalty: float
    left_out: Array
    errors: Array


def ridge(x_NF: Array, y_NK: Array, penalties: tuple[float, ...] = PENALTIES) -> RidgeFit:
    r"""Fit a ridge regression with free bias, its penalty chosen by leave-one-out cross-validation in closed form.

    .. math:: \min_{w, b} \sum_i |y_i - w^\top x_i - b|^2 + \alpha |w|^2, \qquad
        y_i - \hat y_i^{(-i)} = \frac{y_i - \hat y_i}{1 - h_{ii}}, \qquad
        H = \tfrac1N 1 1^\top + X (X^\top X + \alpha)^{-1} X^\top

    with X centred. One eigendecomposition, of X X^T where there are fewer series than features and of X^T X
    elsewhere, serves all penalties.

    Source: Allen (1974), The relationship between variable selection and data augmentation and a method for
    prediction; Golub, Heath and Wahba (1979), Generalized cross-validation, Eq. 1.1.
    """
    count, features = x_NF.shape
    center, level = x_NF.mean(0), y_NK.mean(0)
    x, y = x_NF - center, y_NK - level
    dual = count <= features
    values, vectors = np.linalg.eigh(x @ x.T if dual else x.T @ x)
    # Rounding leaves tiny eigenvalues where there are none, which a small penalty would divide by.
    values = np.where(values > values.max(initial=0) * max(x.shape) * np.finfo(float).eps, values, 0)
    # Both branches: weights = basis (moment / (values + penalty)), and x @ basis = image.
    basis, image = (x.T @ vectors, vectors * values) if dual else (vectors, x @ vectors)
    moment = vectors.T @ y if dual else image.T @ y
    squares = vectors**2 if dual else image**2
    left_out, errors = [], []
    for penalty in penalties:
        shrunk = values + penalty
        if dual:  # 1 - H = penalty (X X^T + penalty)^-1 - 1/N, without subtracting numbers near 1
            residual, slack = vectors @ (penalty * moment / shrunk[:, None]), squares @ (penalty / shrunk) - 1 / count
        else:
            residual, slack = y - image @ (moment / shrunk[:, None]), 1 - 1 / count - squares @ (1 / shrunk)
        deviation = residual / slack[:, None]
        left_out.append(y_NK - deviation)
        errors.append(np.mean(deviation**2))
    best = int(np.argmin(errors))
    weights = basis @ (moment / (values + penalties[best])[:, None])
    return RidgeFit(weights, level - center @ weights, penalties[best], left_out[best], np.array(errors))


def temperature(decision_NK: Array, labels: Array) -> float:
    """Choose T of softmax(decision / T) by the likelihood of smoothed labels.

    A series of class k counts as k with weight (n_k + 1) / (n_k + 2), the others share the rest alike, so that T stays
    above 0 where all decisions are right; with two classes these are Platt's targets.

    Source: Platt (1999), Probabilistic outputs for support vector machines, section 2.2.
    """
    classes = decision_NK.shape[1]
    rest = 1 / (np.bincount(labels, minlength=classes)[labels][:, None] + 2)
    target = np.where(np.arange(classes) == labels[:, None], 1 - rest, rest / (classes - 1))

    def loss(log_t: float) -> float:
        return -float((target * log_softmax(decision_NK / np.exp(log_t), axis=1)).sum())

    # Convex in 1 / T, so that there is one minimum.
    found: Any = minimize_scalar(loss, bounds=(np.log(1e-3), np.log(1e3)), method="bounded")
    return float(np.exp(found.x))
