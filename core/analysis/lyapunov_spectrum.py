"""How fast neighbouring solutions of a field part, in every direction."""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.func import jvp

from integrand.core.errors import InputError
from integrand.core.numerics.field_call import Field
from integrand.core.numerics.modes import outside_inference
from integrand.core.numerics.solve_ode import solve_ode


class LyapunovSpectrum(NamedTuple):
    """Lyapunov exponents of solutions.

    Attributes:
        exponents: per unit of time, falling, (B, K).
        final: the states at the end, (B, D).
    """

    exponents: Tensor
    final: Tensor

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
    meets no equilibrium is 0.

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
    batch, dim = y0.shape
    count = dim if count is None else count
    renormalise = 10 * step_size if renormalise is None else renormalise
    for label, value in (("duration", duration), ("step_size", step_size), ("renormalise", renormalise)):
        if not value > 0:
            raise InputError(f"{label}={value!r} is out of range: it must be positive.")
    if not 1 <= count <= dim or transient < 0:
        raise InputError(f"count={count}, transient={transient}: take 1 to {dim} exponents, and a time from 0 on.")

    def tangent(t: Tensor, state: Tensor) -> Tensor:
        y, v = state[:, 0], state[:, 1:]
        many = y.repeat_interleave(count, 0)  # (B K, D): each direction has a copy of its state
        rate, moved = jvp(lambda x: field(t, x), (many,), (v.flatten(0, 1),))[:2]
        return torch.cat([rate.view(batch, count, dim)[:, :1], moved.view(batch, count, dim)], 1)

    state = torch.cat([y0[:, None], torch.eye(dim, dtype=y0.dtype, device=y0.device)[:count].expand(batch, -1, -1)], 1)
    before, counted = math.ceil(transient / renormalise - 1e-9), math.ceil(duration / renormalise - 1e-9)
    logs = y0.new_zeros(batch, count)
    with outside_inference(state) as state, torch.no_grad():
        for lap in range(before + counted):
            now = torch.tensor([lap, lap + 1], dtype=y0.dtype, device=y0.device) * renormalise
            state = solve_ode(tangent, state, now, method=method, step_size=step_size, on_failure="nan").states[:, -1]
            q, r = torch.linalg.qr(state[:, 1:].transpose(1, 2))
            state = torch.cat([state[:, :1], q.transpose(1, 2)], 1)
            if lap >= before:
                logs = logs + r.diagonal(dim1=1, dim2=2).abs().log()
    if not bool(torch.isfinite(logs).all()):
        sample = int((~torch.isfinite(logs)).any(-1).nonzero()[0])
        raise InputError(f"the solution of sample {sample} ceases to be finite: start on the attractor, or step less.")
    exponents = logs / (counted * renormalise)
    return LyapunovSpectrum(exponents.sort(-1, descending=True).values, state[:, 0])
