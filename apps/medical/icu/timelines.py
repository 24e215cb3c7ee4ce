"""What is told of a stay hour by hour with what was known by then, and which observations raised its risk.

Dimension letters: T hours, C channels, W windows of hours.
"""

from dataclasses import dataclass, replace

import numpy as np

from integrand.apps.medical.icu.module import IcuModule
from integrand.apps.medical.icu.task import IcuTask
from integrand.datasets.labelled import LabelledSeries

Array = np.ndarray
WINDOW = 6.0
"""Hours whose observations of a variable are taken away together."""


@dataclass(frozen=True)
class Timeline:
    """What was told of one stay.

    Attributes:
        id: of the stay.
        happened: number of its class.
        hours: (T,) since admission.
        risks: (T,) probability of the last class with what was known by each hour.
        windows: (W + 1,) bounds of the windows, hours.
        raised: (C, W) by how much the observations of a variable in a window raised the risk at the end: the risk less
            the one without them; 0 where there were none.
    """

    id: str
    happened: int
    hours: Array
    risks: Array
    windows: Array
    raised: Array


def timeline(module: IcuModule, made: LabelledSeries, row: int, *, window: float = WINDOW) -> Timeline:
    """Tell of one prepared stay hour by hour, and what its observations did to its risk.

    Args:
        module: a trained module.
        made: prepared stays.
        row: which of them.
        window: hours that are occluded together.

    Source: Zeiler and Fergus (2014), Visualizing and understanding convolutional networks, Section 4.2 (occlusion).
    """
    task = module.network.built_for
    assert isinstance(task, IcuTask)
    hours = task.bin * np.arange(1, task.elements + 1)
    told = module.risks(module.judge(made, np.full(task.elements, row), hours))[:, -1]
    return Timeline(
        id=made.ids[row],
        happened=int(made.labels[row]),
        hours=hours,
        risks=told,
        windows=_windows(task, window),
        raised=occlusion(module, made, row, window=window),
    )


def occlusion(module: IcuModule, made: LabelledSeries, row: int, *, window: float = WINDOW) -> Array:
    """Return by how much each variable's observations in each window raised the risk of a prepared stay, (C, W)."""
    task = module.network.built_for
    assert isinstance(task, IcuTask)
    bounds = np.rint(_windows(task, window) / task.bin).astype(int)
    values = made.values[row]
    raised = np.zeros((len(task.channels), len(bounds) - 1))
    places = [
        (channel, place)
        for channel in range(raised.shape[0])
        for place in range(raised.shape[1])
        if np.isfinite(values[bounds[place] : bounds[place + 1], channel]).any()
    ]
    if not places:
        return raised
    without = []
    for channel, place in places:
        copy = values.copy()
        copy[bounds[place] : bounds[place + 1], channel] = np.nan
        without.append(copy)
    rows = np.full(len(places), row)
    # LabelledSeries.at would refuse one name for several.
    others = replace(
        made,
        times=[made.times[row]] * len(places),
        values=without,
        labels=made.labels[rows],
        ids=[str(number) for number in range(len(places))],
        parts=None,
        groups=None,
        static=None if made.static is None else made.static[rows],
    )
    whole = module.risks(module.judge(made, [row]))[0, -1]
    for (channel, place), risk in zip(places, module.risks(module.judge(others))[:, -1], strict=True):
        raised[channel, place] = whole - risk
    return raised


def _windows(task: IcuTask, window: float) -> Array:
    """Return the bounds of the windows, whole numbers of bins, the last at the end."""
    step = max(1, round(window / task.bin))
    return task.bin * np.append(np.arange(0, task.elements, step), task.elements)
