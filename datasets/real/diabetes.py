"""Diabetes a year on: ten measurements of 442 patients and how far the disease has progressed, from scikit-learn.

Nothing is missing. Whole numbers are whole, as they were measured; the sexes are 1 and 2, and the source does not say
which is which.

Source: Efron, Hastie, Johnstone and Tibshirani (2004), Least angle regression.
"""

from typing import Any

import pandas as pd

TARGET = "progression"
UNITS = {"age": "years", "bmi": "kg/m2", "bp": "mmHg", "s1": "mg/dl", "s2": "mg/dl", "s3": "mg/dl", "s6": "mg/dl"}
WHOLE = ("age", "sex", "s1", "s6", TARGET)
"""Columns of whole numbers; the serum values s2 and s3 are whole in most rows, not in all."""


def load() -> pd.DataFrame:
    """Return the patients, a row each: ``age``, ``sex``, ``bmi``, ``bp``, ``s1`` to ``s6`` and ``progression``.

    The blood serum measurements are total cholesterol, low- and high-density lipoproteins, the ratio of the first to
    the third, the logarithm of triglycerides (so it is thought), and glucose.

    Example:
        >>> load().iloc[0].to_dict()["bmi"], load()["progression"].max()
        (32.1, np.int64(346))
    """
    from sklearn.datasets import load_diabetes

    bunch: Any = load_diabetes(scaled=False)
    frame = pd.DataFrame(bunch.data, columns=list(bunch.feature_names))
    frame[TARGET] = bunch.target
    return frame.astype(dict.fromkeys(WHOLE, "int64"))
