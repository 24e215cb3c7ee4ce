"""Handwritten digits, 8 x 8 points of 17 grey values: 1,797 images by 13 writers, in scikit-learn.

They are the test part of the UCI data set, whose writers are not those of its training part; who wrote which is not
told, so that a split at random has writers in several parts.

Source: Alpaydin and Kaynak (1998), Optical recognition of handwritten digits, UCI Machine Learning Repository,
https://doi.org/10.24432/C50P49, CC BY 4.0.
"""

import numpy as np

from integrand.datasets.samples import Samples

LEVELS = 17
"""Grey values 0 to 16, how many of 4 x 4 points of the scanned image are inked."""


def load() -> Samples:
    """Return the 1,797 images, (1797, 1, 8, 8) uint8, labelled by their digit; no part is held out for tests.

    Example:
        >>> digits = load()
        >>> digits.values.shape, digits.levels, digits.classes[:3]
        ((1797, 1, 8, 8), 17, ('0', '1', '2'))
    """
    from sklearn.datasets import load_digits  # costs 0.5 s, which a list of the data sets need not pay

    images, labels = load_digits(return_X_y=True)
    return Samples(
        name="digits",
        kind="image",
        values=np.asarray(images).astype(np.uint8).reshape(-1, 1, 8, 8),
        labels=np.asarray(labels).astype(np.int64),
        classes=tuple(str(digit) for digit in range(10)),
        levels=LEVELS,
    )
