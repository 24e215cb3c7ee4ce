"""What it gains to stay silent when unsure."""

import numpy as np

from integrand.core.errors import InputError

Array = np.ndarray


def risk_coverage(confidence: Array, wrong: Array) -> tuple[Array, Array]:
    """Return shares answered, rising to 1, and the mean error among those answered, the surest first.

    Samples of equal confidence are answered together.

    Args:
        confidence: (N,) larger where the model is surer.
        wrong: (N,) error of each, such as 0 or 1.

    Raises:
        InputError: there is no sample, or they do not fit together.

    Example:
        >>> share, error = risk_coverage(np.array([0.9, 0.6, 0.8, 0.7]), np.array([0.0, 1.0, 0.0, 0.0]))
        >>> share.tolist(), error.tolist()
        ([0.25, 0.5, 0.75, 1.0], [0.0, 0.0, 0.0, 0.25])

    Source: El-Yaniv and Wiener (2010), On the foundations of noise-free selective classification, Section 2.
    """
    if not len(confidence) or confidence.shape != wrong.shape:
        raise InputError(f"every sample needs a confidence and an error, got {confidence.shape} and {wrong.shape}.")
    order = np.argsort(-confidence, kind="stable")
    last = np.append(np.flatnonzero(np.diff(confidence[order])), len(order) - 1)
    answered = last + 1
    return answered / len(order), np.cumsum(wrong[order].astype(np.float64))[last] / answered


def risk_at(share: float, confidence: Array, wrong: Array) -> float:
    """Return the mean error among the surest ``share`` of the samples, at least one of them.

    Example:
        >>> risk_at(0.5, np.array([0.9, 0.6, 0.8, 0.7]), np.array([0.0, 1.0, 0.0, 0.0]))
        0.0
    """
    answered, error = risk_coverage(confidence, wrong)
    return float(error[min(int(np.searchsorted(answered, share - 1e-12)), len(error) - 1)])
