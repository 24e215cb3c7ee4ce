"""Our reader of ``.ts`` files and aeon's read the same of the files that aeon ships."""

from pathlib import Path

import numpy as np
import pytest
from peers import peer

from integrand.datasets.ts_files import read_ts

aeon = peer("aeon")

from aeon.datasets import load_from_ts_file  # noqa: E402  # pyright: ignore[reportMissingImports]

DATA = Path(str(aeon.__file__)).parent / "datasets" / "data"
STEMS = ("JapaneseVowels/JapaneseVowels", "BasicMotions/BasicMotions", "GunPoint/GunPoint", "ArrowHead/ArrowHead")
MORE = ("PickupGestureWiimoteZ/PickupGestureWiimoteZ", "UnitTest/UnitTest")  # unequal lengths; comments with %


@pytest.mark.parametrize("part", ["TRAIN", "TEST"])
@pytest.mark.parametrize("stem", [*STEMS, *MORE])
def test_files_that_aeon_ships(stem: str, part: str):
    path = DATA / f"{stem}_{part}.ts"
    theirs, labels, *_ = load_from_ts_file(str(path), return_type="np-list")
    ours = read_ts(path)
    assert len(ours) == len(theirs)
    for mine, other in zip(ours.values, theirs, strict=True):
        np.testing.assert_array_equal(mine, np.asarray(other).T.astype(np.float32))
    # aeon turns the whole file to lower case.
    assert [ours.classes[label].lower() for label in ours.labels] == list(labels)
