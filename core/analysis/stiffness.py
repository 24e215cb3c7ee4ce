"""Whether stability, and not accuracy, would set the steps of an explicit method along given solutions.

Dimension letters: B samples, T times, D state.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from integrand.core.analysis.double_precision import in_double
from integrand.core.analysis.finding import Finding
from integrand.core.analysis.jacobian_spectrum import jacobian_spectra
from integrand.core.errors import InputError, unknown
from integrand.core.numerics.field_call import Field, apply
from integrand.core.numerics.methods.registry import TABLEAUS
from integrand.core.numerics.solution import Solution, Status
from integrand.core.numerics.solve_ode import solve_ode

IMPLICIT = "kencarp4"
"""L-stable, of order 4 as the explicit pair's estimate is: its steps are as long as accuracy lets them be."""
EXPLICIT = "dopri5"
MOST_STEPS = {"dopri5": 1000, "kencarp4": 5000}
"""Steps that either may try, to find out how many accuracy asks for."""
DEAR = 10.0
"""Explicit steps that cost about as much as one of an implicit method, with its Jacobian and its iterations."""
ANGLES = 721
"""Directions, from the imaginary axis to the negative real one, in which limits of stability are tabulated."""
ROUNDING = 1e-12
"""Share of the largest eigenvalue up to which another, or its real part, is taken for zero."""

Degree = Literal["not stiff", "mildly stiff", "stiff: take an implicit method"]


@dataclass(frozen=True)
class Stiffness:
    """How stiff an equation is along solutions.

    Attributes:
        index: the span in units of the shortest time of decay, max |Re l| over Re l < 0 times the span, (B, T).
        ratio: the longest time of decay over the shortest, (B, T); 1 where fewer than two eigenvalues decay.
        span: time between the first state and the last, (B,).
        explicit_steps: steps that an explicit method must take over the span so that nothing that should decay or
            oscillate grows, (B,); infinite where no step is stable.
        accuracy_steps: steps that a tolerance asks for over the span, (B,), counted up to 5000; NaN where no solver
            could find out.
    """

    index: Tensor
    ratio: Tensor
    span: Tensor
    explicit_steps: Tensor
    accuracy_steps: Tensor

    @property
    def excess(self) -> Tensor:
        """Steps for stability over steps for accuracy, (B,)."""
        return self.explicit_steps / self.accuracy_steps

    @property
    def verdict(self) -> Degree:
        """In words, of the sample whose excess is greatest.

        ``"not stiff"`` up to an excess of 1: accuracy sets the steps. ``"stiff"`` from ``DEAR`` on: an implicit method,
        whose steps accuracy sets and which cost so much more, is the cheaper one. Where nothing tells what accuracy
        asks for, an index of more than 1000 counts as stiff.
        """
        worst = float(self.excess.nan_to_num(nan=-1.0, posinf=math.inf).max())
        if bool(self.excess.isnan().any()) and float(self.index.max()) > 1000:
            worst = math.inf
        if worst >= DEAR:
            return "stiff: take an implicit method"
        return "mildly stiff" if worst > 1 else "not stiff"


def stiffness(
    field: Field,
    states: Tensor,
    times: Tensor | Sequence[float],
    *,
    args: Any = None,
    method: str = "rk4",
    tolerance: float = 1e-4,
) -> Stiffness:
    """Compare what stability asks of an explicit method along solutions with what accuracy asks for.

        index = (t_T - t_1) max_{Re l < 0} |Re l|,    ratio = max |Re l| / min |Re l| over Re l < 0

        explicit_steps = int dt / h(t),    h(t) the longest step with |R(h l)| <= 1 for every l with Re l <= 0

    l are the eigenvalues of df/dy at the states and R the method's stability function: of ``"rk4"`` it bounds real
    h l by -2.785. An equation is stiff not because its eigenvalues differ, but where stability asks for many more steps
    than accuracy does. These are counted: as many as ``dopri5`` takes with the tolerance, or ``kencarp4``, if that
    takes fewer, for an L-stable method has no limit to its steps but accuracy.

    Args:
        field: f, called ``field(t, y)``, or ``field(t, y, args)``, with t (N,) or a scalar, and independent samples.
        states: solutions of the field, (B, T, D), at times close enough to show how its eigenvalues change.
        times: (T,) or (B, T), increasing.
        args: see ``solve_ode``.
        method: the explicit Runge-Kutta method whose stability counts.
        tolerance: relative; the absolute one is a hundredth of it times the greatest size of the states.

    Raises:
        InputError: shapes that do not fit, a method that is not explicit, a Jacobian that is not finite.

    Example:
        >>> rates = torch.tensor([-1.0, -1e4], dtype=torch.float64)
        >>> times = torch.linspace(0, 10, 11, dtype=torch.float64)
        >>> states = torch.exp(rates * times[:, None])[None]
        >>> found = stiffness(lambda t, y: rates * y, states, times)
        >>> found.index[0, 0].item(), found.ratio[0, 0].item(), found.verdict
        (100000.0, 10000.0, 'stiff: take an implicit method')

    Source: Hairer and Wanner (1996), Solving ordinary differential equations II, Sections IV.1 and IV.2, for stability
    functions and what stiffness does to explicit methods; Lambert (1991), Numerical methods for ordinary differential
    systems, Chapter 6, for the ratio; Soederlind, Jay and Calvo (2015), Stiffness 1952-2012: sixty years in search of a
    definition, for why a rate counts relative to the span of time, and a ratio alone says little.
    """
    if method not in TABLEAUS:
        raise unknown("explicit method", method, TABLEAUS)
    eigenvalues = jacobian_spectra(field, states, times, args=args).eigenvalues
    batch, steps = states.shape[:2]
    t = torch.as_tensor(times, device=states.device).double().expand(batch, steps)
    if steps < 2 or not bool((t.diff(dim=-1) > 0).all()):
        raise InputError("times must be at least two, and increase: stability is that of a solve forward in time.")
    span = t[:, -1] - t[:, 0]
    size = eigenvalues.abs().amax(-1, keepdim=True)
    real = torch.where(eigenvalues.real.abs() <= ROUNDING * size, 0, eigenvalues.real)
    decay = torch.where(real < 0, -real, torch.nan)
    fastest = decay.nan_to_num(nan=0.0).amax(-1)
    slowest = decay.nan_to_num(nan=math.inf).amin(-1)
    ratio = torch.where(torch.isfinite(slowest), fastest / slowest, 1.0)
    limited = torch.complex(torch.where(real <= 0, real, 0), torch.where(real <= 0, eigenvalues.imag, 0))
    rate = _steps_per_time(torch.where(limited.abs() <= ROUNDING * size, 0, limited), method).amax(-1)
    # Between two states the rate is the mean of theirs.
    explicit = ((rate[:, 1:] + rate[:, :-1]) / 2 * t.diff(dim=-1)).sum(-1)
    accurate = _accuracy_steps(field, states, t[:, [0, -1]], args, tolerance, explicit)
    return Stiffness(fastest * span[:, None], ratio, span, explicit, accurate)


def stiffness_finding(found: Stiffness, *, implicit: bool = False) -> Finding:
    """Say in plain words whether an equation is stiff, and what to do.

    Args:
        found: of ``stiffness``.
        implicit: whether it is solved by an implicit method already, to which stiffness does no harm.
    """
    told = found.verdict
    worst = int(found.excess.nan_to_num(nan=-1.0, posinf=math.inf).argmax())
    needed, asked = float(found.explicit_steps[worst]), float(found.accuracy_steps[worst])
    index, ratio = float(found.index[worst].max()), float(found.ratio[worst].max())
    meaning = {
        "not stiff": "accuracy sets the steps, and an explicit method serves.",
        "mildly stiff": "stability sets the steps of an explicit method, which still costs less than an implicit one.",
        "stiff: take an implicit method": "stability, not accuracy, would set the steps of an explicit method.",
    }[told]
    statement = (
        f"{told[0].upper()}{told[1:]}. Over a span of {float(found.span[worst]):.4g}, {_count(needed)} explicit steps "
        f"are needed for stability and {_count(asked)} for accuracy: {meaning}"
    )
    return Finding(
        instrument="stiffness",
        verdict="doubtful" if told.startswith("stiff") and not implicit else "sound",
        statement=statement,
        numbers={
            "index": index,
            "ratio": ratio,
            "span": float(found.span[worst]),
            "explicit_steps": needed,
            "accuracy_steps": asked,
        },
    )


def _count(steps: float) -> str:
    if not math.isfinite(steps):
        return "infinitely many" if steps > 0 else "an unknown number of"
    return f"{max(math.ceil(steps), 1):,}"


def _steps_per_time(eigenvalues: Tensor, method: str) -> Tensor:
    """Return the least number of steps per unit of time at which each mode is stable; 0 for an eigenvalue of 0."""
    limits = torch.as_tensor(_limits(method), device=eigenvalues.device)
    # The spectrum of a real matrix is symmetric: an angle from the imaginary axis to the negative real one is enough.
    place = (torch.atan2(eigenvalues.imag.abs(), eigenvalues.real) - math.pi / 2).clamp(0, math.pi / 2)
    place = place / (math.pi / 2) * (ANGLES - 1)
    low = place.floor().clamp(max=ANGLES - 2).long()
    limit = torch.lerp(limits[low], limits[low + 1], place - low)
    size = eigenvalues.abs()
    return torch.where(size > 0, size / limit, 0.0)


@cache
def _limits(method: str) -> np.ndarray:
    """Return the greatest r with |R(s e^{i a})| <= 1 for all s up to r, for angles a from pi / 2 to pi.

    |R|^2 - 1 is a polynomial in s; r is its least positive root at which it begins to be positive.
    """
    polynomial = _stability_polynomial(method)
    found = []
    for angle in np.linspace(math.pi / 2, math.pi, ANGLES):
        turned = polynomial * np.exp(1j * angle * np.arange(len(polynomial)))
        squared = np.real(np.convolve(turned, turned.conj()))
        squared[np.abs(squared) < ROUNDING * np.convolve(np.abs(polynomial), np.abs(polynomial))] = 0
        squared[0] = 0
        roots = np.roots(squared[::-1])
        positive = np.sort(roots[(np.abs(roots.imag) < 1e-9) & (roots.real > 1e-9)].real)
        edges = np.concatenate(([0.0], positive))
        middles = np.append((edges[1:] + edges[:-1]) / 2, edges[-1] + 1)
        grows = np.polynomial.polynomial.polyval(middles, squared) > 0
        found.append(edges[np.argmax(grows)])  # it grows beyond the last edge at the latest
    return np.array(found)


def _stability_polynomial(method: str) -> np.ndarray:
    """Return the coefficients of R(z) = 1 + z b^T (I - z A)^{-1} 1, from that of 1 on: e^z's up to the order."""
    table = TABLEAUS[method]
    a = np.zeros((table.stages, table.stages))
    for row, weights in enumerate(table.a):
        a[row, : len(weights)] = weights
    stages, coefficients = np.ones(table.stages), [1.0]
    for power in range(1, table.stages + 1):
        exact = power <= table.order
        coefficients.append(1 / math.factorial(power) if exact else float(np.dot(table.b, stages)))
        stages = a @ stages
    return np.array(coefficients)


def _accuracy_steps(
    field: Field, states: Tensor, ends: Tensor, args: Any, tolerance: float, explicit: Tensor
) -> Tensor:
    """Return the steps that the explicit pair takes, or those of the implicit one where stability may have set them."""
    field, states = in_double(field, states)
    args = apply(args, lambda leaf: leaf.detach().to(states.dtype) if leaf.is_floating_point() else leaf)
    atol = max(0.01 * tolerance * float(states.abs().amax()), torch.finfo(states.dtype).tiny)

    def solved(method: str) -> Solution:
        return solve_ode(
            field,
            states[:, 0],
            ends.to(states.dtype),
            args=args,
            method=method,
            rtol=tolerance,
            atol=atol,
            stepping="per_sample",
            max_steps=MOST_STEPS[method],
            on_failure="nan",
        )

    taken = torch.full_like(explicit, torch.nan)
    with torch.no_grad():
        if float(explicit.min()) <= MOST_STEPS[EXPLICIT]:
            first = solved(EXPLICIT)
            taken = torch.where(first.status == int(Status.OK), first.stats.accepted.double(), torch.nan)
        if not bool((explicit <= taken).all()):
            second = solved(IMPLICIT)
            counted = (second.status == int(Status.OK)) | (second.status == int(Status.MAX_STEPS))
            taken = torch.fmin(taken, torch.where(counted, second.stats.accepted.double(), torch.nan))
    return taken
