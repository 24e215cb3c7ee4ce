"""Time the numerics against peers: ``python benchmarks/numerics.py [--only GLOB]``.

Every part of the numerics has a file of duels, ``*_duels.py``; what a duel is and how it is timed stands in
``duel.py``. A duel that fails is told of and does not stop the rest.
"""

import argparse
import importlib
import os
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import torch
from duel import Disturbed, Duel, measure
from rows import SPEED, commit, machine, write_row

PARTS = (
    "ode",
    "stiff_sample",
    "scan",
    "sde",
    "cde",
    "exponential",
    "state_space",
    "selective",
    "neural_cde",
    "latent_ode",
    "recurrent",
    "operator",
    "sampler",
    "unet",
)


def main() -> int:
    """Time the duels and write their rows; 1 where one of them failed or the machine was too busy for it."""
    parser = argparse.ArgumentParser(description="Time the numerics against peers.", allow_abbrev=False)
    parser.add_argument("--only", metavar="GLOB", default="*", help="names of the rows to time, such as 'scan_*' (all)")
    parser.add_argument("--list", action="store_true", help="name the rows and their peers; time nothing")
    parser.add_argument("--threads", type=int, default=2, help="threads of either side (2)")
    parser.add_argument("--repeats", type=int, default=31, help="turns of each side (31)")
    parser.add_argument("--device", default="cpu", help="where both sides work (cpu)")
    parser.add_argument("--output", type=Path, default=SPEED, help="folder of the rows (benchmarks/speed)")
    given = parser.parse_args()
    if given.threads < 1 or given.repeats < 1:
        parser.error("--threads and --repeats must be at least 1")
    if given.device != "cpu":  # a default, too, is a mode that torch.compile meets
        torch.set_default_device(given.device)
    where = machine(given.threads, given.device)
    _limit(given.threads)
    wrong = found = 0
    for part in PARTS:
        try:
            for duel in duels(part):
                if fnmatch(duel.row, given.only):
                    found += 1
                    wrong |= _listed(duel) if given.list else _timed(duel, given, where)
        except Exception as error:  # one part that cannot be set up must not stop the others
            print(f"{part}: not set up ({type(error).__name__}: {error})")
            wrong = 1
    if not found:
        parser.error(f"no row is called {given.only!r}: --list names them")
    return wrong


def duels(part: str) -> Iterator[Duel]:
    """Yield the comparisons of one part of the numerics."""
    yield from importlib.import_module(f"{part}_duels").duels()


def _listed(duel: Duel) -> int:
    print(f"{duel.row}: against {duel.peer} {duel.peer_version or '(not installed)'}")
    return 0


def _timed(duel: Duel, given: argparse.Namespace, where: str) -> int:
    if duel.peer_version is None:
        print(f"{duel.row}: skipped ({duel.peer} is not installed)")
        return 0
    try:
        row = measure(duel, given.repeats)
    except Disturbed as told:
        print(f"{duel.row}: not written ({told})")
        return 1
    except Exception as error:  # whatever a side raises, the other rows are still worth having
        print(f"{duel.row}: failed ({type(error).__name__}: {error})")
        return 1
    options = f"--only {duel.row} --threads {given.threads} --repeats {given.repeats}"
    options += "" if given.device == "cpu" else f" --device {given.device}"
    row |= {"command": f"python benchmarks/numerics.py {options}", "commit": commit(), "machine": where}
    path = write_row(row, given.output)
    aims = "".join(f", {name} {aim}" for name in ("must", "goal") if (aim := row[name]) is not None)
    print(f"{duel.row}: {row['ratio']} x {duel.peer}{aims}, agreement {row['agreement']}, {path}", flush=True)
    return 0


def _limit(threads: int) -> None:
    """Keep this process to as many cores as it may have threads: not every library asks torch how many."""
    torch.set_num_threads(threads)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


if __name__ == "__main__":
    sys.exit(main())
