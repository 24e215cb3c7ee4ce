"""A duel: the same work done by us and by a peer, timed in turns within one process and checked to agree.

Whatever else the machine does falls on both sides; medians of many turns are kept. That the answers agree, states and
gradients alike, is measured in the same run. No row comes of a duel whose answers differ, or during which other
processes kept the machine busy, or whose turns differ too much among themselves: threads that wait for one another
lose more than any method gains.
"""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rows import Row
from torch import Tensor

Work = Callable[[], Sequence[Any]]
"""Does the work once and returns what both sides must agree on: the states, then the gradients.

Tensors, or whatever numpy turns into an array, in the same order and shapes on both sides. It returns when the work
is done: a library that works in the background is waited for inside.
"""

STAT = Path("/proc/stat")
WARM_UP = 3
CALM = 1.5
"""Greatest quotient of the quartiles of a ratio with which a row is written."""
QUIET = 0.1
"""Greatest share of the machine's time that other processes may take meanwhile."""


@dataclass(frozen=True, kw_only=True)
class Duel:
    """The same work done by us and by a peer.

    Attributes:
        row: name of the row, a file name without its ending.
        work: what is done, in words, with its sizes.
        ours, theirs: do it. A peer is imported inside ``theirs``, since it need not be installed.
        peer: its name, a library's or a plain description.
        peer_version: its version, see ``version``; None where it is not installed, and the duel is skipped.
        note: what a reader must know to judge the row.
        must, goal: the ratio we promise and the one we aim at, the peer's time over ours.
        compare: works for the agreement alone, where the timed ones draw fresh noise.
        tolerance: greatest relative difference of the answers with which a row is written.
        samples: how many samples a call of either side works on: times are then a sample's.
    """

    row: str
    work: str
    ours: Work
    peer: str
    theirs: Work
    peer_version: str | None
    note: str
    must: float | None = None
    goal: float | None = None
    compare: tuple[Work, Work] | None = None
    tolerance: float = 1e-3
    samples: tuple[int, int] = (1, 1)


class Disturbed(Exception):
    """The machine was too busy for the times to mean anything."""


def version(distribution: str) -> str | None:
    """Return the version of an installed distribution; None where it is not installed."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def seeded(seed: int) -> torch.Generator:
    """Return a source of random numbers on the device that is measured, torch's default."""
    return torch.Generator(torch.get_default_device()).manual_seed(seed)


def finish() -> None:
    """Wait until the device that is measured has done all that it was told to."""
    if torch.get_default_device().type != "cpu":
        torch.accelerator.synchronize()


def gradients(*leaves: Tensor) -> list[Tensor]:
    """Return the gradients that the leaves hold, not copied: the next turn sets them to None before it begins."""
    return [leaf.grad for leaf in leaves if leaf.grad is not None]


def measure(duel: Duel, repeats: int) -> Row:
    """Return what a row tells of a duel, all but how and where it was run.

    Raises:
        ValueError: the answers differ by more than the tolerance.
        Disturbed: the machine was busy.
    """
    agreement = difference(*(duel.compare or (duel.ours, duel.theirs)))
    if not agreement <= duel.tolerance:  # a NaN is no agreement either
        raise ValueError(f"the answers differ by {agreement:.1e}, more than {duel.tolerance:.0e}")
    _settle_memory()
    before = _clocks()
    ours, theirs = (turns / n for turns, n in zip(_turns(duel, repeats), duel.samples, strict=True))
    others = _taken_by_others(before, _clocks())
    low, high = np.quantile(theirs / ours, [0.25, 0.75])
    if others > QUIET or high > CALM * low:
        told = f"ratio {np.median(theirs) / np.median(ours):.2f}, quartiles {low:.2f} to {high:.2f}"
        raise Disturbed(f"{told}, others took {others:.0%} of the machine: measure again when it is idle")
    return {
        "row": duel.row,
        "work": duel.work,
        "ratio": _digits(np.median(theirs) / np.median(ours)),
        "ratio_quartiles": [_digits(low), _digits(high)],
        "must": duel.must,
        "goal": duel.goal,
        "ours_ms": _digits(np.median(ours)),
        "peer_ms": _digits(np.median(theirs)),
        "repeats": repeats,
        "peer": duel.peer,
        "peer_version": duel.peer_version,
        "agreement": float(f"{agreement:.1e}"),
        "note": f"{duel.note}; torch {torch.__version__}",
    }


def _settle_memory() -> None:
    """Let the C library keep what is freed, as it does in any process that has once freed a block of 32 MiB.

    A fresh process gives every block of a solve back to the system and has it mapped anew, which costs either side more
    than its arithmetic, and is not so in a training that has loaded its data. Nothing is written to the block.
    """
    torch.empty(2**25 - 2**13, dtype=torch.uint8)


def difference(ours: Work, theirs: Work) -> float:
    """Return the largest difference between two works' answers, each relative to its own largest value."""
    answers = [[_array(answer) for answer in work()] for work in (ours, theirs)]
    largest = 0.0
    for mine, other in zip(*answers, strict=True):
        if mine.shape != other.shape:
            raise ValueError(f"the answers have shapes {mine.shape} and {other.shape}")
        relative = np.abs(mine - other).max() / max(np.abs(other).max(), np.finfo(np.float64).tiny)
        largest = float(np.maximum(largest, relative))  # keeps a NaN
    return largest


def _array(answer: Any) -> np.ndarray[Any, Any]:
    values = answer.detach().cpu().numpy() if isinstance(answer, Tensor) else np.asarray(answer)
    return values.astype(np.complex128 if np.iscomplexobj(values) else np.float64)


def _turns(duel: Duel, repeats: int) -> tuple[Any, Any]:
    """Return the milliseconds of every turn of either side, the first few (warm-up) left out."""
    milliseconds = np.empty((repeats + WARM_UP, 2))
    for turn in range(repeats + WARM_UP):
        # Who goes first alternates, so that neither always finds the caches as the other left them.
        for side in (0, 1) if turn % 2 else (1, 0):
            work = (duel.ours, duel.theirs)[side]
            finish()
            began = time.perf_counter()
            work()
            finish()
            milliseconds[turn, side] = 1e3 * (time.perf_counter() - began)
    return milliseconds[WARM_UP:, 0], milliseconds[WARM_UP:, 1]


def _clocks() -> tuple[float, float, float]:
    """Return the seconds of processor time spent so far by all processes, by this one, and by none."""
    usage = os.times()
    if not STAT.is_file():  # not Linux: the quartiles alone must tell
        return usage.user + usage.system, usage.user + usage.system, 0.0
    user, nice, system, idle, wait, *rest = (float(n) for n in STAT.read_text().splitlines()[0].split()[1:9])
    tick = os.sysconf("SC_CLK_TCK")
    return (user + nice + system + sum(rest)) / tick, usage.user + usage.system, (idle + wait) / tick


def _taken_by_others(before: tuple[float, float, float], after: tuple[float, float, float]) -> float:
    """Return the share of the machine's time, all cores together, that other processes took in between."""
    every, own, idle = (b - a for a, b in zip(before, after, strict=True))
    return max(0.0, every - own) / max(every + idle, 1e-9)


def _digits(value: Any) -> float:
    return float(f"{value:.4g}")
