"""A scheme that can be walked backwards, and the derivative of its steps in memory that does not grow with them.

Around the increment Psi_h(t, y) of any explicit Runge-Kutta step two states are carried, which start equal:

    y_{n+1} = l y_n + (1 - l) z_n + Psi_h(t_n, z_n),     z_{n+1} = z_n - Psi_{-h}(t_{n+1}, y_{n+1}),     0 < l < 1.

Each line can be solved for the state before, so that the way back finds the states of the way there, to rounding, and
differentiates one increment at a time. Here z starts from y anew at every output. What is kept are the outputs and the
z that stands before each; with one step between outputs, the scheme is the method itself.

Two things limit it. The way back divides by l, which lets rounding grow by l^-n over n steps. And z - y obeys, on its
way there, the equation read backwards: where y' = -k y it grows by exp(k t) l^n. The first asks for an l near 1, the
second for a small one. The default, l = eps^(1/(4n)) with n steps between outputs, is the smallest that leaves three
quarters of the digits on the way back: z - y then shrinks while the solution contracts by no more than exp(9) between
outputs in double precision, or exp(4) in single. Beyond that, errors of the method's own size grow by what is left. As
1 - l falls in proportion to h, the order of the method is kept.

Source: McCallum and Foster (2024), Efficient, accurate and stable gradients for neural ODEs, arXiv 2410.11648: the
scheme; that z starts anew and the choice of l are ours.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from integrand.core.errors import InputError
from integrand.core.numerics.arithmetic import combine, shift
from integrand.core.numerics.field_call import BoundField
from integrand.core.numerics.gradients.recomputation import (
    Precision,
    Totals,
    argument_tensors,
    differentiates_again,
    fresh,
    rebind,
    required_tensors,
    solve_again,
)
from integrand.core.numerics.methods.tableau import Tableau
from integrand.core.numerics.stepping.schedule import EqualSteps


def solve_reversible(
    bound: BoundField, y0: Tensor, times: Tensor, tableau: Tableau, substeps: int, *, coupling: float | None = None
) -> Tensor:
    """Solve with the reversible scheme, and return the states (B, T, ...).

    Derivatives, exact for the scheme up to rounding, reach y0, times, arguments and the parameters of the field, which
    must be a module or a method of one. A step costs two of the method's, a little less with few of them between
    outputs, and as much again on the way back. Second derivatives keep the graph of every step.

    Adaptive steps are not offered: the method's estimate of its error does not see the distance of z from y.

    Args:
        bound: the right-hand side, with its arguments.
        y0: (B, ...).
        times: (T,) or (B, T).
        tableau: the method.
        substeps: n, the steps from each output to the next.
        coupling: l; chosen from n and the precision of y0 when None.

    Raises:
        InputError: the field's parameters cannot be known, or ``coupling`` is out of its range.

    Example:
        >>> from integrand.core.fields import MLP
        >>> from integrand.core.numerics.methods.tableau import RK4
        >>> field, times = BoundField(MLP(2), None, 5), torch.linspace(0, 1, 3)
        >>> solve_reversible(field, torch.zeros(5, 2), times, RK4, 100).shape
        torch.Size([5, 3, 2])
    """
    if coupling is not None and not 0 < coupling < 1:
        raise InputError(f"coupling={coupling!r} must lie between 0 and 1: leave it out to have it chosen.")
    learned = required_tensors(bound, times[..., 0], y0, "reversible")
    scheme = _Scheme(tableau, EqualSteps(substeps), coupling or torch.finfo(y0.dtype).eps ** (1 / (4 * substeps)))
    inputs = (y0, times, *argument_tensors(bound), *learned)
    return _Reversible.apply(scheme, bound, *inputs)  # pyright: ignore[reportReturnType]


class _Scheme(NamedTuple):
    tableau: Tableau
    schedule: EqualSteps
    coupling: float

    def solve(self, field: BoundField, y0: Tensor, times: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Return y at the outputs, and z at the start of the step that leads to each but the first."""
        y, states, partners = y0, [y0], []
        for i in range(times.shape[-1] - 1):
            z = y
            for j in range(self.schedule.substeps):
                if j:
                    z = z - self.increment(field, times, i, j, -1, y)
                y = z + self.coupling * (y - z) + self.increment(field, times, i, j, 1, z)
            states.append(y)
            partners.append(z)
        return states, partners

    def increment(self, field: BoundField, times: Tensor, i: int, j: int, sign: int, y: Tensor) -> Tensor:
        """Return h sum_i b_i k_i, ahead (sign 1) or back (sign -1) from where step j of interval i begins."""
        t, h = self.schedule.step(times, i, j)
        h = sign * h
        slopes: list[Tensor] = []
        for c, row in zip(self.tableau.c, self.tableau.a, strict=True):
            slopes.append(field(shift(t, h, c), combine(y, h, row, slopes)))
        return combine(None, h, self.tableau.b, slopes)


class _Reversible(torch.autograd.Function):
    """The whole solve as one node of the graph."""

    @staticmethod
    def forward(ctx: Any, scheme: _Scheme, bound: BoundField, y0: Tensor, times: Tensor, *rest: Tensor) -> Tensor:
        ctx.precision = Precision.now(y0.device.type)
        with ctx.precision.again():
            outputs, partners = scheme.solve(bound, y0, times)
        states = torch.stack(outputs, dim=1)
        ctx.scheme, ctx.bound, ctx.inputs = scheme, bound, 2 + len(rest)
        # With one step between outputs, z is the output before.
        ctx.save_for_backward(y0, times, *rest, states, *(partners if scheme.schedule.substeps > 1 else ()))
        return states

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,), saved = grads, ctx.saved_tensors
        (y0, times, *rest), (states, *partners) = saved[: ctx.inputs], saved[ctx.inputs :]
        count = len(argument_tensors(ctx.bound))
        if differentiates_again(grads):

            def run(y0: Tensor, times: Tensor, *arguments: Tensor) -> tuple[Tensor]:
                with ctx.precision.again():
                    return (torch.stack(ctx.scheme.solve(rebind(ctx.bound, arguments), y0, times)[0], dim=1),)

            return None, None, *solve_again(run, (y0, times, *rest), 2 + count, ctx.needs_input_grad[2:], grads)
        arguments = tuple(fresh(argument) for argument in rest[:count])
        totals = Totals((fresh(times), *arguments, *rest[count:]))
        way = _WayBack(ctx.scheme, rebind(ctx.bound, arguments), totals)
        states, by_y = states.detach().unbind(1), torch.zeros_like(y0)
        with ctx.precision.again():
            for i in reversed(range(len(states) - 1)):
                z = partners[i] if partners else states[i]
                by_y = way.interval(i, states[i], z, states[i + 1], by_y + grad[:, i + 1])
        return None, None, by_y + grad[:, 0], *totals()


class _WayBack(NamedTuple):
    scheme: _Scheme
    field: BoundField
    totals: Totals

    def interval(self, i: int, first: Tensor, z: Tensor, y: Tensor, by_y: Tensor) -> Tensor:
        """Find the states between outputs i and i + 1 again, and pull the gradient of the second back to the first.

        Args:
            i: the interval.
            first: y at its start, where z is the same.
            z: at the start of its last step.
            y: at its end.
            by_y: gradient of ``y``.
        """
        coupling, by_z = self.scheme.coupling, torch.zeros_like(by_y)
        for j in reversed(range(self.scheme.schedule.substeps)):
            ahead, pulled = self._increment(i, j, 1, z if j else first, by_y)
            by_z = by_z + (1 - coupling) * by_y + pulled
            by_y = coupling * by_y
            if j:
                y = z + (y - z - ahead) / coupling
                back, pulled = self._increment(i, j, -1, y, by_z)
                z, by_y = z + back, by_y + pulled
        return by_y + by_z

    def _increment(self, i: int, j: int, sign: int, y: Tensor, by: Tensor) -> tuple[Tensor, Tensor]:
        """Return an increment, which counts with its sign, and what ``by`` gives y through it; gather the rest."""
        y = y.detach().requires_grad_()
        with torch.enable_grad():
            made = self.scheme.increment(self.field, self.totals.tensors[0], i, j, sign, y)
        return made.detach(), self.totals.pull(made, sign * by, y)
