"""Prices of round-cut diamonds by weight, grades and measures: the table of ggplot2, as the package plotnine ships it.

The file lies in the package's wheel, which is read as it is, without installing it: 53,940 offers, nothing missing.

Some 11,000 of them offer a stone that the table has already. 146 equal an earlier offer in every cell; 6,683 have the
same weight, grades and measures but for x and y, which are mostly exchanged, and another price; in 4,284 more the cut
or the table is another, too, as a second laboratory would have it. Divided at random, three in ten of the
offers to test with would have a twin among those to learn from. So each stone stays once, as it is offered first.

Other oddities are kept: x, y or z is 0 in 20 offers of the file, which stands for a measure that was not taken, and two
y and one z are near 32 or 59, most likely a decimal point that slipped.

Source: Wickham (2016), ggplot2: elegant graphics for data analysis, data set diamonds;
https://pypi.org/project/plotnine/0.15.9/, MIT licence, for the file.
"""

import io
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd

from integrand.core.errors import InputError
from integrand.datasets.download import locate

FILE = "plotnine/data/diamonds.csv"
TARGET = "price"
UNITS = {"carat": "0.2 g", "depth": "%", "table": "%", "price": "US dollars", "x": "mm", "y": "mm", "z": "mm"}
ORDERS = {
    "cut": ("Fair", "Good", "Very Good", "Premium", "Ideal"),
    "color": ("J", "I", "H", "G", "F", "E", "D"),
    "clarity": ("I1", "SI2", "SI1", "VS2", "VS1", "VVS2", "VVS1", "IF"),
}
"""The grades of each column of words, from worst to best."""
COLUMNS = ("carat", "cut", "color", "clarity", "depth", "table", "price", "x", "y", "z")


def load() -> pd.DataFrame:
    """Return the stones, a row each: weight, three grades, shape and price, as ``COLUMNS`` has them.

    Lengths are ``x``, ``y`` and ``z``, the last from the tip to the table, which is the flat face on top; ``depth`` is
    z over the mean of x and y, and ``table`` the width of the table over the greatest width of the stone. Two offers
    are of one stone where weight, colour, clarity, depth, z, and x and y in whichever order, are the same.

    Raises:
        InputError: the wheel is missing or damaged, or holds another table; the message tells how to get it.
    """
    (wheel,) = locate("diamonds")
    frame = _read(wheel)
    width = np.sort(frame[["x", "y"]].to_numpy(), axis=1)
    stones = frame[["carat", "color", "clarity", "depth", "z"]].assign(narrow=width[:, 0], wide=width[:, 1])
    return frame.loc[~stones.duplicated()].reset_index(drop=True)


def _read(wheel: Path) -> pd.DataFrame:
    """Return the table as the wheel has it, all offers."""
    cure = "run integrand data download diamonds"
    try:
        with zipfile.ZipFile(wheel) as files:
            frame = pd.read_csv(io.BytesIO(files.read(FILE)))
    except (zipfile.BadZipFile, KeyError, ValueError) as error:
        raise InputError(f"{wheel} holds no {FILE} that can be read ({error}): {cure}.") from error
    if tuple(frame.columns) != COLUMNS:
        raise InputError(f"{FILE} in {wheel} has the columns {list(frame.columns)}, not {list(COLUMNS)}: {cure}.")
    return frame
