"""How fast neighbouring solutions of a field part, in every direction."""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.func import jvp

from integrand.core.analysis.double_precision import in_double
from integrand.core.analysis.finding import Finding
from integrand.core.errors import InputError
from integrand.core.numerics.field_call import BoundField, Field
from integrand.core.numerics.methods.newton import jacobian
from integrand.core.numerics.modes import outside_inference
from integrand.core.numerics.solve_ode import solve_ode

PARTS = 10
"""Parts of the duration whose rates tell how well an exponent is known."""
FATES = ("chaotic", "periodic", "quasi-periodic or conservative", "converges to a point")
"""What exponents tell of a bounded solution."""


class LyapunovSpectrum(NamedTuple):
    """Lyapunov exponents of solutions.

    Attributes:
        exponents: per unit of time, falling in each sample, (B, K): of two closer than their errors the gap is widened.
        final: the states at the end, (B, D).
        errors: standard errors of the exponents, from ten parts of the duration taken as independent, (B, K); rather
            too large where these are short. NaN where there was a single renormalisation.
        duration: time over which they are means.
    """

    exponents: Tensor
    final: Tensor
    errors: Tensor
    duration: float

    @property
    def kaplan_yorke(self) -> Tensor:
        """Dimension j + (l_1 + ... + l_j) / |l_j+1| of the attractor, (B,).

        j is the most exponents, from the largest on, whose sum is not negative. With fewer exponents than dimensions it
        is at least what it says.

        Source: Kaplan and Yorke (1979), Chaotic behavior of multidimensional difference equations.
        """
        sums = self.exponents.cumsum(-1)
        count = (sums >= 0).long().cumprod(-1).sum(-1)
        padded = torch.cat([torch.zeros_like(sums[:, :1]), sums], -1).gather(-1, count[:, None]).squeeze(-1)
        last = self.exponents.gather(-1, count.clamp(max=sums.shape[-1] - 1)[:, None]).squeeze(-1)
        return torch.where(count < sums.shape[-1], count + padded / last.abs(), count.to(sums))


def lyapunov_spectrum(
    field: Field,
    y0: Tensor,
    duration: float,
    *,
    count: int | None = None,
    step_size: float,
    renormalise: float | None = None,
    transient: float = 0.0,
    method: str = "rk4",
) -> LyapunovSpectrum:
    """Return the Lyapunov exponents of dy/dt = f(t, y) along the solutions from y0.

        dV/dt = J(y) V,    V(t + h) = Q R,    V <- Q,    l_k = (sum of ln |R_kk|) / duration

    The tangent vectors V are carried along with the state by the derivative of f in their directions, and made
    orthonormal again every ``renormalise``. They sum to the mean divergence of f; one of a bounded solution that
    meets no equilibrium is 0. The derivative is a product with the Jacobian, formed by reverse mode, where half the
    exponents or more are asked for, and forward mode in K directions elsewhere: for all three of Lorenz 63 the first
    takes 0.5 ms a stage, the second 1.2 ms. A module is followed by a copy in float64 and evaluation mode.

    Args:
        field: f, called ``field(t, y)``, with samples that are independent.
        y0: starts, (B, D).
        duration: time over which exponents are averaged.
        count: how many of the largest, K; all D when None.
        step_size: of the method.
        renormalise: time between two orthonormalisations, ten steps when None.
        transient: time first gone without counting, so that states reach the attractor and V its directions.
        method: of ``solve_ode``.

    Raises:
        InputError: a duration, step or count out of range, a solution that ceases to be finite.

    Example:
        >>> field = lambda t, y: y * torch.tensor([-2.0, 1.0], dtype=torch.float64)
        >>> found = lyapunov_spectrum(field, torch.ones(1, 2, dtype=torch.float64), 5.0, step_size=0.01)
        >>> [round(each, 6) for each in found.exponents[0].tolist()]
        [1.0, -2.0]

    Source: Benettin, Galgani, Giorgilli and Strelcyn (1980), Lyapunov characteristic exponents for smooth dynamical
    systems, part 2; Shimada and Nagashima (1979), A numerical approach to ergodic problem of dissipative systems.
    """
    field, y0 = in_double(field, y0)
    batch, dim = y0.shape
    count = dim if count is None else count
    renormalise = 10 * step_size if renormalise is None else renormalise
    for label, value in (("duration", duration), ("step_size", step_size), ("renormalise", renormalise)):
        if not value > 0:
            raise InputError(f"{label}={value!r} is out of range: it must be positive.")
    if not 1 <= count <= dim or transient < 0:
        raise InputError(f"count={count}, transient={transient}: take 1 to {dim} exponents, and a time from 0 on.")

    state = torch.cat([y0[:, None], torch.eye(dim, dtype=y0.dtype, device=y0.device)[:count].expand(batch, -1, -1)], 1)
    before, counted = math.ceil(transient / renormalise - 1e-9), math.ceil(duration / renormalise - 1e-9)
    tangent = _by_jacobian(field, batch) if 2 * count >= dim else _by_directions(field)
    with outside_inference(state) as state, torch.no_grad():
        rates = state.new_zeros(min(PARTS, counted), batch, count)
        laps = [0] * len(rates)
        for lap in range(before + counted):
            now = torch.tensor([lap, lap + 1], dtype=y0.dtype, device=y0.device) * renormalise
            state = solve_ode(tangent, state, now, method=method, step_size=step_size, on_failure="nan").states[:, -1]
            q, r = torch.linalg.qr(state[:, 1:].transpose(1, 2))
            state = torch.cat([state[:, :1], q.transpose(1, 2)], 1)
            if lap >= before:
                part = (lap - before) * len(rates) // counted
                laps[part] += 1
                rates[part] += r.diagonal(dim1=1, dim2=2).abs().log() / renormalise
        parts = rates / rates.new_tensor(laps)[:, None, None]
    exponents, order = (rates.sum(0) / counted).sort(-1, descending=True)
    if not bool(torch.isfinite(exponents).all()):
        sample = int((~torch.isfinite(exponents)).any(-1).nonzero()[0])
        raise InputError(f"the solution of sample {sample} ceases to be finite: start on the attractor, or step less.")
    errors = (parts.std(0) if len(parts) > 1 else torch.full_like(exponents, torch.nan)) / len(parts) ** 0.5
    return LyapunovSpectrum(exponents, state[:, 0], errors.gather(-1, order), counted * renormalise)


def lyapunov_finding(spectrum: LyapunovSpectrum, *, tolerance: float = 1e-3) -> Finding:
    """Say in plain words what becomes of solutions, and for how long they can be foretold.

        horizon = ln(1 / tolerance) / l_1

    An exponent counts as 0 within twice its standard error, or where a difference would change by less than a factor of
    ten over the whole duration. Samples count together, with the standard error of their mean, unless some part and
    others come together beyond doubt: then it is said of the kind that has more. It holds for solutions that stay
    bounded.

    Args:
        spectrum: of ``lyapunov_spectrum``, with all its samples.
        tolerance: error of a start as a share of the spread of solutions, which it has grown to at the horizon.

    Raises:
        InputError: a tolerance that is not between 0 and 1.

    Example:
        >>> field = lambda t, y: -y
        >>> found = lyapunov_spectrum(field, torch.ones(2, 1, dtype=torch.float64), 10.0, step_size=0.1)
        >>> lyapunov_finding(found).statement
        'Converges to a point in all 2 samples: differences fall by half every 0.6931 units of time.'

    Source: Eckmann and Ruelle (1985), Ergodic theory of chaos and strange attractors, for what the signs tell.
    """
    if not 0 < tolerance < 1:
        raise InputError(f"tolerance={tolerance!r} is out of range: between 0 and 1, such as 1e-3.")
    exponents, errors = spectrum.exponents.double(), spectrum.errors.double().nan_to_num(nan=0.0)
    least = math.log(10) / spectrum.duration
    signs = torch.where(exponents[:, 0].abs() > (2 * errors[:, 0]).clamp(min=least), exponents[:, 0].sign(), 0)
    mixed = bool((signs > 0).any()) and bool((signs < 0).any())
    most = 1 if int((signs > 0).sum()) >= int((signs < 0).sum()) else -1
    kept = signs == most if mixed else torch.ones_like(signs, dtype=torch.bool)
    chosen = exponents[kept]
    mean, many = chosen.mean(0), len(chosen)
    error = chosen.std(0) / many**0.5 if many > 1 else errors[kept][0]
    blur, first = (2 * error).clamp(min=least), float(mean[0])
    still = int((mean.abs() <= blur).sum())
    fate = 0 if first > blur[0] else 3 if first < -blur[0] else 1 if still <= 1 else 2
    horizon = math.log(1 / tolerance) / first if fate == 0 else math.inf
    batch, count = exponents.shape
    where = f"{many} of {batch} samples" if mixed else f"all {batch} samples" if batch > 1 else "the one sample"
    halving = math.log(2) / max(abs(first), torch.finfo(mean.dtype).tiny)
    meaning = (
        f"differences double every {halving:.4g} units of time, and an error of {tolerance:g} of the spread has grown "
        f"to all of it after {horizon:.4g}",
        "differences along the cycle neither grow nor fade, and others fade",
        "differences in several directions neither grow nor fade",
        f"differences fall by half every {halving:.4g} units of time",
    )[fate]
    return Finding(
        instrument="Lyapunov exponents",
        verdict="told",
        statement=f"{FATES[fate][0].upper()}{FATES[fate][1:]} in {where}: {meaning}.",
        numbers={
            "largest": first,
            "largest error": float(error[0]),
            "sum": float(mean.sum()),
            "dimension": float(spectrum.kaplan_yorke[kept].mean()),
            "horizon": horizon,
        },
        rows=tuple({"exponent": k + 1.0, "mean": float(mean[k]), "error": float(error[k])} for k in range(count)),
    )


def _by_directions(field: Field) -> Field:
    """Return the slopes (B, 1 + K, D) of states and their tangents, by forward mode in each direction."""

    def tangent(t: Tensor, state: Tensor) -> Tensor:
        y, v = state[:, 0], state[:, 1:]
        many = y.repeat_interleave(v.shape[1], 0)  # (B K, D): each direction has a copy of its state
        rate, moved = jvp(lambda x: field(t, x), (many,), (v.flatten(0, 1),))[:2]
        return torch.cat([rate.view_as(v)[:, :1], moved.view_as(v)], 1)

    return tangent


def _by_jacobian(field: Field, batch: int) -> Field:
    """Return the same as products with the Jacobian."""
    bound = BoundField(field, None, batch)

    def tangent(t: Tensor, state: Tensor) -> Tensor:
        y, v = state[:, 0], state[:, 1:]
        return torch.cat([bound(t, y)[:, None], torch.bmm(v, jacobian(bound, t, y).mT)], 1)

    return tangent
