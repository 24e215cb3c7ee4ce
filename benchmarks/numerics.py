"""Time the numerics against peers: ``python benchmarks/numerics.py``.

Both sides do the same work, forward and backward, in turns within one process, so that whatever else the machine does
falls on both; medians of many turns are kept. That the answers agree, states and gradients alike, is measured in the
same run and written beside the times. No row is written while other processes keep the machine busy, or where the
turns differ too much among themselves: threads that wait for one another lose more than any method gains.
"""

import argparse
import copy
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchdiffeq
from rows import SPEED, commit, machine, write_row
from torch import Tensor

from integrand.core.fields import MLP
from integrand.core.numerics import diagonal_scan, solve_ode

Work = Callable[[], list[Tensor]]
"""Does the work once and returns what both sides must agree on: the states, then the gradients."""

STAT = Path("/proc/stat")
SIZES = {"S": (2, 64, 64), "M": (16, 64, 256)}  # dimension, width, batch
STEPS = 20
STATE, BATCH, LENGTHS = 64, 8, (1024, 4096)
CALM = 1.5
"""Greatest quotient of the quartiles of a ratio with which a row is written."""
QUIET = 0.1
"""Greatest share of the machine's time that other processes may take meanwhile."""


@dataclass(frozen=True)
class Duel:
    """The same work done by us and by a peer."""

    row: str
    work: str
    ours: Work
    peer: str
    theirs: Work
    peer_version: str
    note: str


def main() -> int:
    """Time every duel and write its row; 1 where the machine was too busy for one of them."""
    parser = argparse.ArgumentParser(description="Time the numerics against peers.", allow_abbrev=False)
    parser.add_argument("--threads", type=int, default=2, help="threads of torch (2)")
    parser.add_argument("--repeats", type=int, default=31, help="turns of each side (31)")
    parser.add_argument("--output", type=Path, default=SPEED, help="folder of the rows (benchmarks/speed)")
    given = parser.parse_args()
    if given.threads < 1 or given.repeats < 1:
        parser.error("--threads and --repeats must be at least 1")
    torch.set_num_threads(given.threads)
    disturbed = 0
    for duel in duels():
        before = _clocks()
        ours_ms, theirs_ms = _time(duel, given.repeats)
        others = _taken_by_others(before, _clocks())
        low, high = np.quantile(theirs_ms / ours_ms, [0.25, 0.75])
        if others > QUIET or high > CALM * low:
            told = f"others took {others:.0%} of the machine, quartiles of the ratio {low:.2f} to {high:.2f}"
            print(f"{duel.row}: not written ({told}): measure again when the machine is idle")
            disturbed = 1
            continue
        row = {
            "row": duel.row,
            "command": f"python benchmarks/numerics.py --threads {given.threads} --repeats {given.repeats}",
            "commit": commit(),
            "machine": machine(given.threads),
            "work": duel.work,
            "ratio": round(float(np.median(theirs_ms) / np.median(ours_ms)), 3),
            "ratio_quartiles": [round(float(low), 3), round(float(high), 3)],
            "ours_ms": round(float(np.median(ours_ms)), 3),
            "peer_ms": round(float(np.median(theirs_ms)), 3),
            "repeats": given.repeats,
            "peer": duel.peer,
            "peer_version": duel.peer_version,
            "agreement": float(f"{_difference(duel):.1e}"),
            "note": f"{duel.note}; torch {torch.__version__}, float32",
        }
        print(f"{duel.row}: {row['ratio']} x {duel.peer}, agreement {row['agreement']}", write_row(row, given.output))
    return disturbed


def duels() -> Iterator[Duel]:
    """Yield every comparison, the peers that are installed alone."""
    for size, (dim, width, batch) in SIZES.items():
        yield _rk4(size, dim=dim, width=width, batch=batch)
    for length in LENGTHS:
        loop, ours = _scan(_loop_scan, length), _scan(diagonal_scan, length)
        work = f"complex diagonal recurrence, state {STATE}, batch {BATCH}, length {length}, forward and backward"
        named = {"work": work, "ours": ours}
        yield Duel(
            row=f"scan_{length}_loop",
            peer="Python loop",
            theirs=loop,
            peer_version=f"torch {torch.__version__}",
            note="one decay for all elements, constant in time",
            **named,
        )
        if util.find_spec("s5") is not None:
            yield Duel(
                row=f"scan_{length}_s5",
                peer="s5-pytorch",
                theirs=_scan(_s5_scan(), length),
                peer_version=metadata.version("s5-pytorch"),
                note="its associative_scan along the length, all samples at once",
                **named,
            )


def _rk4(size: str, *, dim: int, width: int, batch: int) -> Duel:
    torch.manual_seed(0)
    field, times = MLP(dim, (width, width)), torch.linspace(0, 1, STEPS + 1)
    theirs, y0 = copy.deepcopy(field), torch.randn(batch, dim)

    def work(field: MLP, solve: Callable[[MLP, Tensor], Tensor]) -> Work:
        def once() -> list[Tensor]:
            field.zero_grad()
            start = y0.clone().requires_grad_()
            end = solve(field, start)
            end.square().sum().backward()
            return [end.detach(), *_gradients(start, *field.parameters())]

        return once

    return Duel(
        row=f"ode_rk4_{size}",
        work=f"rk4, {STEPS} steps, two-layer MLP field, size {size} (dimension {dim}, width {width}, batch {batch}), "
        "forward and backward",
        ours=work(field, lambda f, y: solve_ode(f, y, times, method="rk4", engine="native").states[:, -1]),
        peer="torchdiffeq",
        theirs=work(theirs, lambda f, y: torchdiffeq.odeint(f, y, times, method="rk4")[-1]),  # pyright: ignore[reportArgumentType, reportReturnType]
        peer_version=metadata.version("torchdiffeq"),
        note="the peer's rk4 is Kutta's 3/8 rule, ours the classical one: as many evaluations, and answers that differ "
        "by the two rules' errors",
    )


def _scan(scan: Callable[[Tensor, Tensor], Tensor], length: int) -> Work:
    generator = torch.Generator().manual_seed(0)
    size = torch.empty(STATE).uniform_(0.9, 0.999, generator=generator)
    angle = torch.empty(STATE).uniform_(-0.5, 0.5, generator=generator)
    decay = torch.polar(size, angle).requires_grad_()
    drive = torch.randn(BATCH, length, STATE, dtype=torch.complex64, generator=generator).requires_grad_()

    def once() -> list[Tensor]:
        decay.grad = drive.grad = None
        states = scan(decay, drive)
        states.abs().square().sum().backward()
        return [states.detach(), *_gradients(decay, drive)]

    return once


def _loop_scan(decay: Tensor, drive: Tensor) -> Tensor:
    state, states = torch.zeros_like(drive[:, 0]), []
    for element in drive.unbind(1):
        state = decay * state + element
        states.append(state)
    return torch.stack(states, dim=1)


def _s5_scan() -> Callable[[Tensor, Tensor], Tensor]:
    from s5.jax_compat import associative_scan  # pyright: ignore[reportMissingImports]
    from s5.s5_model import binary_operator  # pyright: ignore[reportMissingImports]

    return lambda decay, drive: associative_scan(binary_operator, (decay.expand_as(drive), drive), axis=1)[1]


def _gradients(*leaves: Tensor) -> list[Tensor]:
    return [leaf.grad.clone() for leaf in leaves if leaf.grad is not None]


def _time(duel: Duel, repeats: int) -> tuple[Any, Any]:
    """Return the milliseconds of every turn of either side, the first few (warm-up) left out."""
    milliseconds = np.empty((repeats + 3, 2))
    for turn in range(repeats + 3):
        # Who goes first alternates, so that neither always finds the caches as the other left them.
        for side in (0, 1) if turn % 2 else (1, 0):
            work = (duel.ours, duel.theirs)[side]
            began = time.perf_counter()
            work()
            milliseconds[turn, side] = 1e3 * (time.perf_counter() - began)
    return milliseconds[3:, 0], milliseconds[3:, 1]


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


def _difference(duel: Duel) -> float:
    """Largest difference between the sides' states and gradients, each relative to its own largest value."""
    pairs = zip(duel.ours(), duel.theirs(), strict=True)
    return max(float((ours - theirs).abs().max() / theirs.abs().max()) for ours, theirs in pairs)


if __name__ == "__main__":
    sys.exit(main())
