"""Pelts of snowshoe hare and Canada lynx, yearly, 1900 to 1920: predators and prey as they were counted.

Two cycles of about ten years, the lynx a year or two behind the hare. ``hare_lynx.PROVENANCE.md`` tells where the file
comes from.

Source: Hudson's Bay Company, in Howard (2009), Modeling Basics, Texas A&M University, after Odum, Fundamentals of
Ecology.
"""

from pathlib import Path

import numpy as np
import torch

from integrand.datasets.simulations import Simulations

FILE = Path(__file__).with_name("hare_lynx.csv")
FIRST_YEAR = 1900


def load() -> Simulations:
    """Return one sample of 21 states, thousands of pelts of hare and lynx; times are years since 1900.

    Example:
        >>> pelts = load()
        >>> pelts.channels, pelts.values[0, 0].tolist(), pelts.times[-1].item()
        (('hare', 'lynx'), [30.0, 4.0], 20.0)
    """
    table = torch.from_numpy(np.loadtxt(FILE, delimiter=",", skiprows=1))
    return Simulations(
        name="hare_lynx",
        values=table[None, :, 1:],
        times=table[:, 0] - FIRST_YEAR,
        channels=("hare", "lynx"),
        units={"time": "year", "hare": "thousand pelts", "lynx": "thousand pelts"},
        provenance={"source": "Hudson's Bay Company, in Howard (2009)", "epoch": f"year {FIRST_YEAR}"},
    )
