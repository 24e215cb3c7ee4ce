"""How long some work takes."""

import statistics
import time
from collections.abc import Callable

REPEATS = 3


def seconds_of(work: Callable[[], object], samples: int = 1) -> float:
    """Return the seconds a sample takes: the median of a few runs, after one that is not counted."""
    work()
    spent = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        work()
        spent.append(time.perf_counter() - began)
    return statistics.median(spent) / samples
