"""Darcy's flow as the package neuraloperator 0.3.0 ships it: 1,000 small samples to train on, 50 to test on two grids.

The files lie in the package's wheel, which is read as it is, without installing it.

Source: https://pypi.org/project/neuraloperator/0.3.0/, MIT licence; Li et al. (2021), Fourier neural operator for
parametric partial differential equations, Section 5.2, for the problem.
"""

import io
import zipfile
from pathlib import Path

import torch

from integrand.core.errors import InputError, unknown
from integrand.datasets.download import locate
from integrand.datasets.simulations import Simulations

PARTS = {"train": ("darcy_train_16", 16), "test": ("darcy_test_16", 16), "test_32": ("darcy_test_32", 32)}
"""File and points along each axis of each part."""


def load(part: str = "train") -> Simulations:
    """Return a part: 1,000 samples to train on (16 x 16 points), 50 to test on, and the same 50 on 32 x 32 points.

    The solution is the pressure, at the one time 0; the constant field is 1 where the permeability is the greater of
    its two values, and 0 elsewhere. The publisher states neither these values nor the unit of pressure; a contrast of
    20 explains the pressures to 3 % (a five-point solution on the same points). Some samples have a negative pressure
    beside a wall, as the exact solution never has: they are kept.

    Points are those of a finer grid, thinned from its first on: 0, h, ..., 1 - h along each axis of the unit square,
    within a thousandth, with u = 0 on all walls. Every second point of ``test_32`` is one of ``test``.

    Args:
        part: ``"train"``, ``"test"`` or ``"test_32"``.

    Raises:
        InputError: the part is not known, or the wheel is missing or damaged; the message tells how to get it.
    """
    if part not in PARTS:
        raise unknown("part of darcy_neuralop", part, PARTS)
    (wheel,) = locate("darcy_neuralop")
    name, n = PARTS[part]
    tensors = _read(wheel, f"neuralop/datasets/data/{name}.pt")
    points = torch.arange(n, dtype=torch.float64) / n
    return Simulations(
        name="darcy_neuralop",
        values=tensors["y"].float()[:, None, None],
        times=torch.zeros(1, dtype=torch.float64),
        channels=("pressure",),
        coordinates=(points, points.clone()),
        lengths=(1.0, 1.0),
        periodic=(False, False),
        constants=tensors["x"].float()[:, None],
        constant_names=("permeability",),
        provenance={"source": "neuraloperator 0.3.0", "part": part},
    )


def _read(wheel: Path, name: str) -> dict[str, torch.Tensor]:
    try:
        with zipfile.ZipFile(wheel) as files:
            return torch.load(io.BytesIO(files.read(name)), weights_only=True)
    except (zipfile.BadZipFile, KeyError) as error:
        raise InputError(f"{wheel} holds no {name} ({error}): run integrand data download darcy_neuralop.") from error
