"""Every solve inside a block done in another way, and all of them counted."""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple, TypedDict, Unpack

import torch
from torch import Tensor

from integrand.core.errors import InputError, unknown
from integrand.core.numerics.stepping.fixed_step import count_substeps

EquationKind = Literal["ordinary", "semilinear", "controlled", "stochastic"]
KINDS: tuple[EquationKind, ...] = ("ordinary", "semilinear", "controlled", "stochastic")


class SolverChanges(TypedDict, total=False):
    """Arguments of the solvers that ``solved_by`` replaces."""

    method: str
    step_size: float | None
    rtol: float | None
    atol: float | None
    stepping: str
    gradient: str
    max_steps: int | None
    engine: str | None
    compile: bool


class Resolution(NamedTuple):
    """How finely a solve was asked for.

    Attributes:
        kind: of equation.
        adaptive: whether the method chooses its steps.
        order: that the method declares; for stochastic equations the strong one.
        power: q, with which steps shrink as tolerance^(1/q).
        grid: the times (G,) or (B, G) whose intervals fixed steps divide; None where they cannot be divided.
    """

    kind: EquationKind
    adaptive: bool
    order: float
    power: float
    grid: Tensor | None


@dataclass(frozen=True, kw_only=True)
class SolverCall:
    """One solve: what its caller asked for, and the work that was done.

    Attributes:
        kind: of equation.
        method, engine, step_size, rtol, atol, gradient: as the caller asked; an engine of None is the solver's choice.
        adaptive: whether that method chooses its steps.
        order: that it declares.
        start, end: first and last time, of the batch the least and the greatest.
        evaluations: of the field, the mean over samples, as the solve was done.
        steps: taken, likewise.
    """

    kind: EquationKind
    method: str
    engine: str | None
    step_size: float | None
    rtol: float | None
    atol: float | None
    gradient: str
    adaptive: bool
    order: float
    start: float
    end: float
    evaluations: float
    steps: float


class SolverProblem(NamedTuple):
    """The problem of a solve, as its caller posed it.

    Attributes:
        field, y0, times, args: see ``solve_ode``.
    """

    field: Any
    y0: Tensor
    times: Tensor
    args: Any


@dataclass(frozen=True)
class SolverRecord:
    """The solves of a block that came to an end, in order.

    Attributes:
        calls: one each.
        problems: of ordinary equations, one each, where the block was told to keep them.
    """

    calls: list[SolverCall] = field(default_factory=list)
    problems: list[SolverProblem] = field(default_factory=list)

    @property
    def evaluations(self) -> float:
        """Evaluations of all fields, for one sample."""
        return sum(call.evaluations for call in self.calls)

    @property
    def steps(self) -> float:
        """Steps of all solves, for one sample."""
        return sum(call.steps for call in self.calls)


@dataclass(frozen=True)
class _Block:
    changes: Mapping[str, Any]
    refine: int
    seed: int | None
    kinds: Collection[EquationKind]
    keep: bool
    record: SolverRecord


@dataclass(frozen=True)
class _InForce:
    """The blocks around a solve, the outermost first, and whether the next solve has been changed by them already."""

    blocks: tuple[_Block, ...]
    entered: bool = False


_IN_FORCE: ContextVar[_InForce | None] = ContextVar("solved_by", default=None)


@contextmanager
def solved_by(
    *,
    refine: int = 1,
    seed: int | None = None,
    kinds: Collection[EquationKind] = KINDS,
    keep: bool = False,
    **changes: Unpack[SolverChanges],
) -> Iterator[SolverRecord]:
    """Solve every equation inside this block with other options than its caller gave, and count the solves.

    It reaches ``solve_ode``, ``solve_semilinear``, ``solve_cde`` and ``solve_sde``, and so all models and samplers
    that are built on them, however deep. Without arguments nothing changes and the block only counts. An option takes
    the place of the caller's; all that is not named stays, so that a method with error control still takes equal steps
    where the caller gave a ``step_size``, unless ``step_size=None`` stands here. What a solver refuses from its caller
    it refuses from here.

    With ``refine=k`` fixed steps are k times shorter than the caller's: each of them is divided into k. A method that
    chooses its steps takes tolerances k^q times smaller, q being the power of the step in its error estimate (5 for
    ``dopri5``), which makes its steps about k times shorter, too. A stochastic solve keeps its Brownian path, if that
    is a function of seeds or a path given; one that draws fresh noise does so only with ``seed``.

    Blocks may stand in one another: the inner one is applied to what the outer one leaves. A block holds in its own
    thread and task, and does not reach into what torch.compile has compiled.

    Args:
        refine: k, 1 to leave the steps as they are.
        seed: for stochastic solves that would draw fresh noise: the n-th of them in a block takes the n-th of the paths
            that belong to this number, the same in every block.
        kinds: the equations to change: some of ``"ordinary"``, ``"semilinear"``, ``"controlled"``, ``"stochastic"``.
            All are counted.
        keep: whether to keep the problems of ordinary equations, with their tensors, so that they can be solved again.
        changes: ``method``, ``step_size``, ``rtol``, ``atol``, ``stepping``, ``gradient``, ``max_steps``, ``engine``
            and ``compile``, as the solver takes them.

    Raises:
        InputError: an option is unknown or out of range; at the solve, one that its solver does not take.

    Example:
        >>> from integrand.core.numerics.solve_ode import solve_ode
        >>> def model():
        ...     return solve_ode(lambda t, y: -y, torch.ones(1, 1), [0.0, 1.0], method="euler").states[0, -1].item()
        >>> with solved_by() as record:
        ...     coarse = model()
        >>> with solved_by(refine=2):
        ...     fine = model()
        >>> coarse, fine, record.calls[0].method, record.evaluations
        (0.0, 0.25, 'euler', 1.0)
    """
    if not (isinstance(refine, int) and refine >= 1):
        raise InputError(f"refine={refine!r} must be a whole number from 1 on: 2 halves the steps.")
    for name in changes:
        if name not in SolverChanges.__annotations__:
            raise unknown("option of solved_by", name, SolverChanges.__annotations__)
    for kind in kinds:
        if kind not in KINDS:
            raise unknown("kind of equation", kind, KINDS)
    block = _Block(dict(changes), refine, seed, kinds, keep, SolverRecord())
    outer = _IN_FORCE.get()
    token = _IN_FORCE.set(_InForce((*(outer.blocks if outer else ()), block)))
    try:
        yield block.record
    finally:
        _IN_FORCE.reset(token)


def is_replaced() -> bool:
    """Return whether a block is in force; a solver then asks ``replaced``."""
    # A compiler cannot look up a variable of the context.
    return not torch.compiler.is_compiling() and _IN_FORCE.get() is not None


def replaced(
    solve: Callable[..., Any], asked: Mapping[str, Any], resolution: Callable[[Mapping[str, Any]], Resolution]
) -> Any | None:
    """Return what a solver finds with the options of the blocks in force; None where it has them already.

    Args:
        solve: the solver, which calls this.
        asked: all its arguments by name.
        resolution: tells how finely arguments ask to solve.
    """
    force = _IN_FORCE.get()
    if force is None:
        return None
    if force.entered:
        _IN_FORCE.set(replace(force, entered=False))  # until the call that entered resets it
        return None
    wanted, options = resolution(asked), dict(asked)
    for block in force.blocks:
        if wanted.kind in block.kinds:
            options = _change(block, options, resolution, solve.__name__)
    with as_asked():
        solution = solve(**options)
    call = _call(asked, wanted, solution)
    for block in force.blocks:
        block.record.calls.append(call)
        if block.keep and wanted.kind == "ordinary":
            problem = SolverProblem(asked["field"], asked["y0"], solution.times, asked.get("args"))
            block.record.problems.append(problem)
    return solution


@contextmanager
def as_asked() -> Iterator[None]:
    """Let the next solver called take its arguments as they are, uncounted, for the solve it is part of has been."""
    force = None if torch.compiler.is_compiling() else _IN_FORCE.get()
    if force is None:
        yield
        return
    token = _IN_FORCE.set(replace(force, entered=True))
    try:
        yield
    finally:
        _IN_FORCE.reset(token)


def _change(
    block: _Block, options: dict[str, Any], resolution: Callable[[Mapping[str, Any]], Resolution], solver: str
) -> dict[str, Any]:
    """Return a solver's arguments as a block would have them."""
    for name, value in block.changes.items():
        if name not in options:
            raise InputError(
                f"solved_by({name}={value!r}) does not fit {solver}, which takes no {name}: leave it out, or say which "
                "equations it is for by kinds=...."
            )
    changed = {**options, **block.changes}
    if block.seed is not None and "seeds" in changed and changed["seeds"] is None and changed["brownian"] is None:
        changed |= {"seeds": _draw_seeds(block, len(changed["y0"])), "generator": None}
    return changed if block.refine == 1 else changed | _finer(changed, resolution(changed), block.refine)


def _finer(options: Mapping[str, Any], now: Resolution, refine: int) -> dict[str, Any]:
    """Return the options that make steps shorter."""
    if now.adaptive:
        share = refine**now.power
        return {name: options[name] and options[name] / share for name in ("rtol", "atol")}
    if now.grid is None:
        raise InputError(f"the steps of method {options['method']!r} cannot be refined here: take an explicit method.")
    if now.grid.shape[-1] < 2:
        return {}
    size = options["step_size"]
    steps = 1 if size is None else count_substeps(now.grid, size)
    return {"step_size": float(now.grid.detach().diff(dim=-1).abs().max()) / (steps * refine)}


def _draw_seeds(block: _Block, batch: int) -> Tensor:
    """Return the seeds of a batch that belong to the block's own and to how many stochastic solves came before."""
    before = sum(call.kind == "stochastic" for call in block.record.calls)
    own = torch.randint(2**63 - 1, (before + 1,), generator=torch.Generator().manual_seed(block.seed or 0))
    return torch.randint(2**63 - 1, (batch,), generator=torch.Generator().manual_seed(int(own[-1])))


def _call(asked: Mapping[str, Any], wanted: Resolution, solution: Any) -> SolverCall:
    times = solution.times.detach()
    return SolverCall(
        kind=wanted.kind,
        method=asked["method"],
        engine=asked.get("engine"),
        step_size=asked["step_size"],
        rtol=asked.get("rtol"),
        atol=asked.get("atol"),
        gradient=asked.get("gradient", "direct"),
        adaptive=wanted.adaptive,
        order=wanted.order,
        start=float(times[..., 0].min()),
        end=float(times[..., -1].max()),
        evaluations=float(solution.stats.evaluations.double().mean()),
        steps=float(solution.stats.accepted.double().mean()),
    )
