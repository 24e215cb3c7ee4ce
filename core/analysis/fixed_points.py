"""Where an equation rests, and what happens near there.

Dimension letters: N starts, K points, D state.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from integrand.core.analysis.finding import Finding
from integrand.core.analysis.jacobians import in_double, is_timed, jacobians
from integrand.core.errors import InputError

MARGINAL = 1e-8
"""Real parts, next to the largest eigenvalue, that are taken for zero: rounding moves multiple eigenvalues so far."""

UNSURE = 10.0
"""Real parts up to so many times the change of J over Newton's step count as zero: those at double roots are."""

STUCK = 1e8
"""Damping, next to |J|^2, with which a start that still does not improve is given up."""

STABLE = ("stable node", "stable focus")


class FixedPoints(NamedTuple):
    """Points at which nothing changes.

    Attributes:
        points: (K, D), in the order in which starts found them.
        residuals: |f| there, or |f(y) - y| of a map, (K,).
        eigenvalues: of the Jacobian of f, (K, D), complex, those that grow fastest first.
        kinds: of each, see ``fixed_points``.
        basins: which point the iteration from each start went to, (N,); -1 for none. These are basins of the
            iteration and not of the equation.
    """

    points: Tensor
    residuals: Tensor
    eigenvalues: Tensor
    kinds: tuple[str, ...]
    basins: Tensor


def fixed_points(
    field: Callable[..., Tensor],
    starts: Tensor,
    *,
    t: float = 0.0,
    tolerance: float = 1e-10,
    radius: float | None = None,
    map: bool = False,
    merge: float = 1e-5,
    max_iterations: int = 200,
) -> FixedPoints:
    """Find y with f(t, y) = 0, from many starts at once, and tell by the eigenvalues of J = df/dy what they are.

        (J^T J + m I) d = -J^T f,    y <- y + d where |f| falls, and then m is made smaller, else larger

    For m = 0 this is Newton's method, which ends it; for large m a short step down |f|^2. Where that leads to a least
    |f|^2 that is not zero, or to infinity, the start found nothing: a point counts if |f| <= tolerance (1 + |y|) and
    Newton's step from it is short. Points closer than ``merge`` (1 + |y|) are one.

    Kinds, by the real parts of the eigenvalues: ``"stable node"`` and ``"stable focus"``, all negative, the focus with
    a complex pair; ``"unstable node"`` and ``"unstable focus"``, positive and none negative; ``"saddle"``, both;
    ``"centre (linear)"``, none positive and a complex pair without real part, where the linear part does not decide;
    ``"degenerate"``, none positive and an eigenvalue zero. Of maps the modulus takes the part of the real part, and 1
    that of 0.

    Args:
        field: f, called ``field(t, y)``; a map is called ``map(y)`` or likewise.
        starts: (N, D).
        t: the time at which a field that depends on it is frozen.
        tolerance: see above.
        radius: points farther than this from all starts are left out; none when None.
        map: whether f is a map, whose fixed points y = f(y) are found, and which is iterated instead of solved: a
            recurrent layer with its input held, or one layer of a deep equilibrium model.
        merge: see above.
        max_iterations: most steps.

    Raises:
        InputError: starts of another shape, a field whose values are not shaped like states, an option out of range.

    Example:
        >>> def pendulum(t, y):
        ...     return torch.stack([y[:, 1], -y[:, 0].sin() - 0.5 * y[:, 1]], 1)
        >>> found = fixed_points(pendulum, torch.tensor([[0.3, 0.0], [3.0, 0.0]]))
        >>> found.kinds, [round(angle, 4) for angle in found.points[:, 0].tolist()]
        (('stable focus', 'saddle'), [0.0, 3.1416])

    Source: Sussillo and Barak (2013), Opening the black box: low-dimensional dynamics in high-dimensional recurrent
    neural networks; the iteration: Nocedal and Wright (2006), Numerical optimization, Section 10.3; kinds: Strogatz
    (2015), Nonlinear dynamics and chaos, Chapters 5 and 6.
    """
    if not (tolerance > 0 and merge > 0 and max_iterations >= 1 and (radius is None or radius > 0)):
        raise InputError(
            f"tolerance={tolerance}, merge={merge}, radius={radius}, max_iterations={max_iterations}: all are positive."
        )
    made = in_double(field, starts, t=t, timed=is_timed(field) if map else True)
    value = made.function(made.states[:1])
    if value.shape[1] != starts.shape[1]:
        raise InputError(f"values have {value.shape[1]} components and states {starts.shape[1]}: they must be alike.")
    zero = (lambda y: made.function(y) - y) if map else made.function
    with torch.inference_mode(False), torch.no_grad():
        tolerance = max(tolerance, 100 * torch.finfo(made.states.dtype).eps)
        ends, residuals, found = _solve(zero, made.states, tolerance, max_iterations)
        if radius is not None:
            found &= torch.cdist(ends, made.states).amin(1) <= radius
        first, basins = _merged(ends, residuals, found, merge)
        points = ends[first]
        matrices = jacobians(made.function, points) if len(first) else points.new_zeros(0, *points.shape[1:] * 2)
        eigenvalues = torch.linalg.eigvals(matrices)
        growth = eigenvalues.abs().log() if map else eigenvalues.real
        order = growth.argsort(dim=1, descending=True, stable=True)
        eigenvalues = eigenvalues.gather(1, order)
        unsure = []
        if len(first):
            moved = jacobians(made.function, points + _newton_step(zero, points, zero(points))) - matrices
            unsure = (UNSURE * torch.linalg.matrix_norm(moved, ord=2).nan_to_num(0.0)).tolist()
        kinds = tuple(_kind(row, u, map=map) for row, u in zip(eigenvalues.tolist(), unsure, strict=True))
        return FixedPoints(points, residuals[first], eigenvalues, kinds, basins)


def fixed_points_finding(found: FixedPoints, channels: Sequence[str] | None = None) -> Finding:
    """Return in words what ``fixed_points`` found.

    Args:
        found: the points.
        channels: names of the components of a state.

    Raises:
        InputError: as many names as there are not components.

    Example:
        >>> found = fixed_points(lambda t, y: y - y**3, torch.tensor([[-2.0], [0.1], [2.0]]))
        >>> fixed_points_finding(found).statement
        'There are 3 fixed points: 2 stable nodes and 1 unstable node. ...'
    """
    dim = found.points.shape[1]
    names = [f"y{i}" for i in range(dim)] if channels is None else list(channels)
    if len(names) != dim:
        raise InputError(f"{len(names)} channels for states of {dim} components: give a name for each.")
    lost = int((found.basins < 0).sum())
    counts = {kind: found.kinds.count(kind) for kind in dict.fromkeys(found.kinds)}
    told = [_counted(kind, count) for kind, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))]
    if not told:
        statement = f"No fixed point was found from {len(found.basins)} starts: nothing rests near them."
    else:
        several = len(found.kinds) > 1
        listing = told[0] if len(told) == 1 else ", ".join(told[:-1]) + " and " + told[-1]
        statement = (
            f"There {'are' if several else 'is'} {len(found.kinds)} fixed point{'s' if several else ''}: {listing}. "
            f"{_rest(found, len(found.basins) - lost)}"
        )
    rows = []
    for point, residual, values, kind in zip(
        found.points.tolist(), found.residuals.tolist(), found.eigenvalues.tolist(), found.kinds, strict=True
    ):
        row: dict[str, float | str] = dict(zip(names, point, strict=True))
        row |= {"kind": kind, "residual": residual}
        row |= {"real part": values[0].real, "imaginary part": abs(values[0].imag)}
        row["starts"] = float((found.basins == len(rows)).sum())
        rows.append(row)
    stable = sum(kind in STABLE for kind in found.kinds)
    numbers = {"points": float(len(found.kinds)), "stable": float(stable), "starts without a point": float(lost)}
    return Finding(instrument="fixed points", verdict="told", statement=statement, numbers=numbers, rows=tuple(rows))


def _rest(found: FixedPoints, arrived: int) -> str:
    stable = [kind in STABLE for kind in found.kinds]
    tail = f"{arrived} of {len(found.basins)} starts led to one of them."
    if all(stable):
        return f"Nearby states return to each; {tail}"
    if not any(stable):
        return f"By their eigenvalues none attracts all that is near; {tail}"
    return f"Nearby states return to the stable ones and leave or circle the others; {tail}"


def _counted(kind: str, count: int) -> str:
    if count == 1:
        return f"1 {kind}"
    plural = {"stable focus": "stable foci", "unstable focus": "unstable foci", "centre (linear)": "centres (linear)"}
    return f"{count} {plural.get(kind, kind if kind == 'degenerate' else kind + 's')}"


def _solve(
    zero: Callable[[Tensor], Tensor], y: Tensor, tolerance: float, max_iterations: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return where the iteration ended, (N, D), |f| there, (N,), and whether that is a zero, (N,)."""
    value = zero(y)
    size = _size(value)
    damping = torch.full_like(size, 1e-2)
    step = torch.full_like(y, math.inf)
    eye = torch.eye(y.shape[1], dtype=y.dtype, device=y.device)
    polish = 3  # Newton's steps from within the tolerance, that points which are one come out alike
    for _ in range(max_iterations):
        matrices = jacobians(zero, y)
        clean = torch.isfinite(matrices).all(-1).all(-1) & torch.isfinite(size)
        matrices = torch.where(clean[:, None, None], matrices, eye)
        safe = torch.where(clean[:, None], value, 0.0)
        weight = damping * matrices.square().sum((1, 2)).clamp(min=1e-300) * (size > tolerance * _scale(y))
        step = _damped(matrices, safe, weight)
        tried = y + step
        new = zero(tried)
        new_size = _size(new)
        better = clean & (new_size < size)
        y, value = torch.where(better[:, None], tried, y), torch.where(better[:, None], new, value)
        size = torch.where(better, new_size, size)
        damping = torch.where(better, 0.1 * damping, 5 * damping.clamp(min=1e-12)).clamp(1e-16, STUCK)
        done = size <= tolerance * _scale(y)
        polish -= int(bool((done | ~clean | (damping >= STUCK)).all()))
        if polish < 0:
            break
    near = _newton_step(zero, y, value).norm(dim=1) <= 1e-3 * _scale(y)  # a long one: f is zero only at infinity
    return y, size, (size <= tolerance * _scale(y)) & near & torch.isfinite(y).all(1)


def _damped(matrices: Tensor, value: Tensor, weight: Tensor) -> Tensor:
    """Return d of (J^T J + m I) d = -J^T f, by the singular values of J, so that J may be singular: (N, D)."""
    u, s, vh = torch.linalg.svd(matrices)
    turned = (u.mT @ value.unsqueeze(2)).squeeze(2)
    floor = (1e-14 * s[:, :1]).square().clamp(min=1e-300)
    factor = s / (s.square() + weight.unsqueeze(1) + floor)
    return -(vh.mT @ (factor * turned).unsqueeze(2)).squeeze(2)


def _newton_step(zero: Callable[[Tensor], Tensor], y: Tensor, value: Tensor) -> Tensor:
    """Return Newton's step, (N, D), not a number where there is none."""
    matrices = jacobians(zero, y)
    clean = torch.isfinite(matrices).all(-1).all(-1) & torch.isfinite(value).all(1)
    matrices = torch.where(clean[:, None, None], matrices, 0.0)
    step = _damped(matrices, torch.where(clean[:, None], value, 0.0), torch.zeros_like(value[:, 0]))
    return torch.where(clean[:, None], step, math.nan)


def _size(value: Tensor) -> Tensor:
    return torch.where(torch.isfinite(value).all(1), value.norm(dim=1), math.inf)


def _scale(y: Tensor) -> Tensor:
    return 1 + y.norm(dim=1)


def _merged(ends: Tensor, residuals: Tensor, found: Tensor, merge: float) -> tuple[Tensor, Tensor]:
    """Return which ends stand for the distinct points, (K,), and which point each start went to, (N,)."""
    basins = torch.full(residuals.shape, -1, dtype=torch.long, device=ends.device)
    first: list[int] = []
    open_starts = found.clone()
    while bool(open_starts.any()):
        start = int(open_starts.nonzero()[0])
        near = open_starts & ((ends - ends[start]).norm(dim=1) <= merge * _scale(ends[start : start + 1]))
        basins[near] = len(first)
        first.append(int(torch.where(near, residuals, math.inf).argmin()))
        open_starts &= ~near
    return torch.tensor(first, dtype=torch.long, device=ends.device), basins


def _kind(eigenvalues: list[complex], unsure: float, *, map: bool) -> str:
    """Return the name of what the linear part does."""
    scale = 1.0 if map else max(abs(value) for value in eigenvalues)
    small = max(MARGINAL * scale, unsure)
    growth = [abs(value) - 1 if map else value.real for value in eigenvalues]
    turning = [abs(value.imag) > MARGINAL * abs(value) for value in eigenvalues]
    grows, falls = any(g > small for g in growth), any(g < -small for g in growth)
    if grows:
        return "saddle" if falls else ("unstable focus" if any(turning) else "unstable node")
    marginal = [turn for g, turn in zip(growth, turning, strict=True) if abs(g) <= small]
    if marginal:
        return "centre (linear)" if all(marginal) else "degenerate"
    return "stable focus" if any(turning) else "stable node"
