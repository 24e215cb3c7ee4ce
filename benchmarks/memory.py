"""What a gradient holds in memory as the number of steps grows, for each way of forming it.

    python benchmarks/memory.py

Every figure comes from a process of its own, which solves dy/dt = MLP(t, y) by rk4 from one output to the next and goes
back. Two things are read there:

tensors     the most bytes that tensors made since the solve began held at one time. A dispatch mode sees every tensor
            that any operation makes, on the way there and back, and a weak reference to its storage tells when it goes.
            What a tape, a checkpoint or autograd saves is all among them, and so is what an operation needs meanwhile.
resident    by how much the process itself grew. That also counts what is no tensor: Python's objects, and the nodes of
            autograd's graph, a few hundred bytes each, which weigh more than the tensors where these are small. A floor
            of a few megabytes is that of the process.

The bound is that of one level of checkpoints with a step's graph of G bytes and a state of S: sqrt(N) (S + G), and at
best 2 sqrt(N S G). G is what ``direct`` holds more for a step more.
"""

import argparse
import json
import math
import resource
import subprocess
import sys
import weakref
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from rows import HERE, commit, machine
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from integrand.core.fields import MLP
from integrand.core.numerics import solve_ode
from integrand.core.numerics.field_call import BoundField
from integrand.core.numerics.gradients.checkpointed import solve_checkpointed
from integrand.core.numerics.gradients.continuous_adjoint import solve_adjoint
from integrand.core.numerics.gradients.reversible import solve_reversible
from integrand.core.numerics.methods.tableau import RK4
from integrand.core.numerics.stepping.schedule import EqualSteps

MODES = ("direct", "checkpoint", "checkpoint, function", "adjoint", "reversible")
STEPS = (100, 1000, 10_000)
DIM, WIDTH, BATCH = 8, 32, 16
ALLOWED = 3
"""Times the bound that checkpoints may hold."""


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of the tensors made while it is open: those alive, and the most that ever were."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._alive: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = {leaf.untyped_storage()._cdata for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)}
        made = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(made):
            if isinstance(leaf, Tensor):
                self._meet(leaf.untyped_storage(), given)
        return made

    def _meet(self, storage: Any, given: set[int]) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._alive or key in given:  # seen before, or older than we are
            return
        self._alive.add(key)
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._part, key, size)

    def _part(self, key: int, size: int) -> None:
        self._alive.discard(key)
        self.now -= size

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, value, trace)


def solve(mode: str, field: torch.nn.Module, y0: Tensor, steps: int) -> Tensor:
    """Return the states at 0 and 1."""
    times = torch.linspace(0, 1, 2)
    if mode == "direct":
        return solve_ode(field, y0, times, method="rk4", step_size=1 / steps).states
    call = (lambda t, y: field(t, y)) if mode.endswith("function") else field
    bound = BoundField(call, None, len(y0))
    if mode.startswith("checkpoint"):
        return solve_checkpointed(bound, y0, times, RK4, EqualSteps(steps)).states
    if mode == "adjoint":
        return solve_adjoint(bound, y0, times, RK4, EqualSteps(steps)).states
    return solve_reversible(bound, y0, times, RK4, steps)


def held(mode: str, steps: int) -> dict[str, int]:
    """Go there and back twice: once counting tensors, once watching the process grow."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    field, y0 = MLP(DIM, (WIDTH, WIDTH), time=True), torch.randn(BATCH, DIM)
    solve(mode, field, y0, 3).square().sum().backward()  # what is made once, is made now
    before = _resident()
    solve(mode, field, y0, steps).square().sum().backward()
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
    with LiveBytes() as live:
        solve(mode, field, y0, steps).square().sum().backward()
    return {"tensors": live.peak, "resident": grown}


def _resident() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measure() -> dict[str, Any]:
    """Run every case in a process of its own, print what it holds, and return the row."""
    figures: dict[str, dict[str, dict[str, int]]] = {mode: {} for mode in MODES}
    print(f"{'bytes held':>22}" + "".join(f"{f'N = {steps}':>24}" for steps in STEPS))
    print(f"{'':>22}" + f"{'tensors':>12}{'resident':>12}" * len(STEPS))
    for mode in MODES:
        line = f"{mode:>22}"
        for steps in STEPS:
            command = [sys.executable, __file__, "--case", mode, str(steps)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            figures[mode][str(steps)] = found = json.loads(done.stdout)
            line += f"{found['tensors']:>12,}{found['resident']:>12,}"
        print(line, flush=True)
    state = 4 * BATCH * DIM
    direct = figures["direct"]
    graph = (direct["1000"]["tensors"] - direct["100"]["tensors"]) / 900
    bounds = {str(n): round(math.sqrt(n) * (state + graph)) for n in STEPS}
    ratios = {n: figures["checkpoint"][n]["tensors"] / bound for n, bound in bounds.items()}
    for n, ratio in ratios.items():
        best = figures["checkpoint"][n]["tensors"] / (2 * math.sqrt(int(n) * state * graph))
        print(f"checkpoint, N = {n}: {ratio:.2f} of sqrt(N) (S + G), {best:.2f} of 2 sqrt(N S G)")
    return {
        "row": "memory_rk4",
        "command": "python benchmarks/memory.py",
        "commit": commit(),
        "machine": machine(threads=1),
        "work": f"rk4 over N steps and back, MLP {DIM}-{WIDTH}-{WIDTH}-{DIM} with time, batch {BATCH}, float32",
        "state_bytes": state,
        "graph_bytes": round(graph),
        "held_bytes": figures,
        "bound_bytes": bounds,
        "checkpoint_to_bound": {n: float(f"{ratio:.3g}") for n, ratio in ratios.items()},
        "must": ALLOWED,
        "note": f"torch {torch.__version__}",
    }


def main() -> int:
    """Measure, or one case of it; 1 where checkpoints hold more than they may."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", nargs=2, metavar=("MODE", "STEPS"), help="measure one case, as JSON")
    parser.add_argument("--output", type=Path, default=HERE / "memory", help="folder of the row")
    given = parser.parse_args()
    if given.case:
        print(json.dumps(held(given.case[0], int(given.case[1]))))
        return 0
    row = measure()
    given.output.mkdir(parents=True, exist_ok=True)
    path = given.output / f"{row['row']}.json"
    path.write_text(json.dumps(row, indent=2) + "\n", encoding="utf-8")
    print(f"wrote {path.name}")
    return int(row["checkpoint_to_bound"]["1000"] > ALLOWED)


if __name__ == "__main__":
    sys.exit(main())
