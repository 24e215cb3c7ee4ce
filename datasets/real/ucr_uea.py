"""Four data sets of the UCR and UEA archives of time series classification, each with its official split.

Sources: Dau et al. (2019), The UCR time series archive, IEEE/CAA Journal of Automatica Sinica 6; Bagnall et al.
(2018), The UEA multivariate time series classification archive, 2018, arXiv:1811.00075.
"""

from integrand.core.errors import unknown
from integrand.datasets.download import locate
from integrand.datasets.labelled import LabelledSeries
from integrand.datasets.ts_files import read_ts_pair

NAMES = {  # archive's name: the catalogue's
    "JapaneseVowels": "japanese_vowels",
    "BasicMotions": "basic_motions",
    "GunPoint": "gun_point",
    "ArrowHead": "arrow_head",
}


def load(name: str) -> LabelledSeries:
    """Return a data set by its name in the archive or in the catalogue, training series first, ``parts`` set.

    Raises:
        InputError: ``name`` is not known, or its files are missing or damaged; the message tells how to get them.
    """
    entries = {known.lower(): entry for known, entry in NAMES.items()} | {entry: entry for entry in NAMES.values()}
    if name.lower() not in entries:
        raise unknown("UCR/UEA data set", name, NAMES)
    train, _ = locate(entries[name.lower()])
    return read_ts_pair(train)


def japanese_vowels() -> LabelledSeries:
    """Return 640 utterances of two vowels, 12 coefficients of 7 to 29 frames, by which of 9 men spoke."""
    return load("japanese_vowels")


def basic_motions() -> LabelledSeries:
    """Return 80 recordings of a smart watch, 6 channels of 100 samples, by which of 4 motions was made."""
    return load("basic_motions")


def gun_point() -> LabelledSeries:
    """Return 200 traces of a hand, 1 channel of 150 samples, by whether it drew a gun or pointed."""
    return load("gun_point")


def arrow_head() -> LabelledSeries:
    """Return 211 outlines of projectile points, 1 channel of 251 angles, by which of 3 types they are."""
    return load("arrow_head")
