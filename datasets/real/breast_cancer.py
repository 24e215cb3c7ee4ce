"""Breast masses as malignant or benign, by shape and texture of the cells' nuclei, from scikit-learn.

569 fine-needle aspirates of Wisconsin, each with 30 numbers: mean, standard error and worst value of ten features over
the nuclei of its image, lengths in the image's own unit. Nothing is missing; 212 masses are malignant.

Source: Street, Wolberg and Mangasarian (1993), Nuclear feature extraction for breast tumor diagnosis.
"""

from typing import Any

import pandas as pd

TARGET = "diagnosis"
UNITS: dict[str, str] = {}


def load() -> pd.DataFrame:
    """Return the masses, a row each: 30 numbers and ``diagnosis``, ``"malignant"`` or ``"benign"``.

    Example:
        >>> frame = load()
        >>> frame.shape, frame["diagnosis"].value_counts().to_dict()
        ((569, 31), {'benign': 357, 'malignant': 212})
    """
    from sklearn.datasets import load_breast_cancer

    bunch: Any = load_breast_cancer()
    frame = pd.DataFrame(bunch.data, columns=[str(name).replace(" ", "_") for name in bunch.feature_names])
    frame[TARGET] = [str(bunch.target_names[label]) for label in bunch.target]
    return frame
