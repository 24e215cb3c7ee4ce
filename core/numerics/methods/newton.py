"""Newton's method for the stage equations of implicit methods: one system for each sample of the batch.

Dimension letters: B batch, D state (all its dimensions flattened).
"""

import math
from typing import Any

import torch
from torch import Tensor

from integrand.core.errors import InputError
from integrand.core.numerics.arithmetic import along
from integrand.core.numerics.field_call import BoundField

ITERATIONS = 20
"""Iterations a stage may take. Most take two or three; this many lets fixed long steps find their way."""
PATIENCE = 3
"""Iterations that a sample may still need with the Jacobian it has; if they are more it gets that of where it is."""
CONTRACTION = 0.25
"""Error after an iteration over that before, assumed until it can be measured."""
SHARE = 0.01
"""Share of the tolerance that solving a stage may take, so that the rest is the method's own error."""


def jacobian(field: BoundField, t: Tensor, y: Tensor) -> Tensor:
    """Compute each sample's Jacobian J_ij = df_i / dy_j, the state's dimensions flattened; no gradient is recorded.

    One call of the field with D copies of every sample, each asked for the gradient of one component, which counts as D
    evaluations. A field that has a method ``jacobian`` with the arguments of the field itself is asked first; it may
    answer None.

    Args:
        field: the right-hand side, with its arguments bound.
        t: scalar or (B,).
        y: (B, ...).

    Returns:
        Jacobians, (B, D, D).

    Raises:
        InputError: the state is complex, or the field's own ``jacobian`` gives another shape.

    Example:
        >>> field = BoundField(lambda t, y: y**2, None, 1)
        >>> jacobian(field, torch.tensor(0.0), torch.tensor([[1.0, 3.0]])).tolist()
        [[[2.0, 0.0], [0.0, 6.0]]]
    """
    if y.is_complex():
        raise InputError(f"implicit methods need a real state, got {y.dtype}: give its real and imaginary parts.")
    batch, dim = y.flatten(1).shape
    own = getattr(field.field, "jacobian", None)
    with torch.no_grad():
        matrix = None if own is None else own(t, y) if field.args is None else own(t, y, field.args)
    if matrix is not None:
        if matrix.shape != (batch, dim, dim):
            raise InputError(
                f"the field's jacobian has shape {tuple(matrix.shape)} for a state of shape {tuple(y.shape)}: return "
                f"one matrix a sample, {(batch, dim, dim)}."
            )
        return matrix
    # Copies are made outside of inference mode, whose tensors autograd refuses.
    with torch.inference_mode(False), torch.enable_grad():
        copied = torch.arange(batch, device=y.device).repeat_interleave(dim)
        copies = y.detach()[copied].requires_grad_()
        slopes = field.at(copied)(t.detach()[copied] if t.dim() else t.detach().clone(), copies)
        field.evaluations += dim
        if not slopes.requires_grad:  # a field of time alone
            return torch.zeros_like(copies).view(batch, dim, dim)
        one_each = torch.eye(dim, dtype=slopes.dtype, device=y.device).repeat(batch, 1).view_as(slopes)
        (rows,) = torch.autograd.grad(slopes, copies, one_each, allow_unused=True, materialize_grads=True)
    return rows.view(batch, dim, dim)


class StartJacobians:
    """The Jacobians at the starts of steps, kept while a sample tries again from where it was, with another length.

    They are kept no longer, so that a step is a function of where it starts alone: not of the steps before it, nor of
    who else is in the batch.

    Example:
        >>> field, starts = BoundField(lambda t, y: y**2, None, 2), StartJacobians()
        >>> t = torch.zeros(2)
        >>> for y in ([[1.0], [2.0]], [[1.0], [2.0]], [[1.0], [3.0]]):
        ...     matrices = starts.find(field, t, torch.tensor(y))
        >>> matrices.flatten().tolist(), field.evaluations
        ([2.0, 6.0], 2)
    """

    def __init__(self) -> None:
        self._known: tuple[BoundField, Tensor, Tensor, Tensor] | None = None

    def find(self, field: BoundField, t: Tensor, y: Tensor) -> Tensor:
        """Return the Jacobians at (t, y), see ``jacobian``, made anew for those samples alone that have moved."""
        with torch.no_grad():
            matrices = self._find(field, t, y)
        self._known = field, t, y, matrices
        return matrices

    def _find(self, field: BoundField, t: Tensor, y: Tensor) -> Tensor:
        if self._known is None:
            return jacobian(field, t, y)
        known, before, start, matrices = self._known
        # Another field may be that of other samples; and a clock that all share goes on to another tensor.
        if field is not known or (t.dim() == 0 and y is not start):
            return jacobian(field, t, y)
        moved = (t != before) | (y != start).flatten(1).any(1)
        rows = moved.nonzero().squeeze(1)  # here the host waits for the device
        if len(rows) == len(moved):
            return jacobian(field, t, y)
        if len(rows) == 0:
            return matrices
        renewed = _jacobian_of(field, rows, t[rows] if t.dim() else t, y[rows])
        return matrices.index_copy(0, rows, renewed.to(matrices.dtype))


def _jacobian_of(field: BoundField, rows: Tensor, t: Tensor, y: Tensor) -> Tensor:
    """Return the Jacobians at (t, y) with the arguments of the samples ``rows``, counted as their share of the work."""
    part = field.at(rows)
    matrices = jacobian(part, t, y)
    field.evaluations += math.ceil(part.evaluations * rows.shape[0] / max(1, field.batch))
    return matrices


class StageEquations:
    """The equations Y = base + s f(t, Y) of one step, with the s = h gamma that all its stages share.

    Simplified Newton iterations solve them, with the Jacobian J of the step's start and one LU factorisation a sample:

        (I - s J) dY = base + s f(t, Y) - Y,     Y <- Y + dY

    Each sample stops for itself: when the error left, judged by the size of dY and the contraction from one dY to the
    next, is below ``SHARE`` of the tolerance. A sample that contracts slowly gets the Jacobian of where it is; one that
    does not contract even so is marked in ``failed``. A sample's result does not depend on what else is in the batch.

    With gradients on, a solved stage carries the exact derivative that the implicit function theorem gives,

        dY = (I - s J(Y))^-1 (dbase + ds f + s f_t dt + s f_theta dtheta),

    whatever the number of iterations; gradients change no value. Attaching it n times, each time to the residual at the
    stage attached before, makes the first n derivatives exact, as n Newton iterations from the solution would.

    Args:
        field: the right-hand side, with its arguments bound.
        t: time at the step's start, scalar or (B,).
        y: state there, (B, ...).
        s: step times diagonal coefficient, scalar or (B,).
        rtol: relative tolerance of the step.
        atol: absolute tolerance of the step.
        matrices: the Jacobians at (t, y), (B, D, D); made here when None.
        derivatives: how many derivatives of the solution are exact; to ask for one more is an error.

    Attributes:
        failed: (B,), samples with a stage that was not solved.

    Source: Hairer and Wanner (1996), Solving ODEs II, section IV.8; for the derivatives Gilbert (1992), Automatic
    differentiation and iterative processes.
    """

    def __init__(
        self,
        field: BoundField,
        t: Tensor,
        y: Tensor,
        s: Tensor,
        *,
        rtol: float,
        atol: float,
        matrices: Tensor | None = None,
        derivatives: int = 1,
    ) -> None:
        self.field, self.s, self.derivatives = field, s, derivatives
        precision = torch.finfo(y.dtype)
        # No iteration gets below the rounding of the stage. The root makes a mean of squares of the norm's sum.
        root = math.sqrt(max(1, y[0].numel() if len(y) else 1))
        self.rtol, self.atol = root * (SHARE * rtol + 4 * precision.eps), root * (SHARE * atol + precision.tiny)
        self.magnitude = y.detach().abs()
        self.contraction = y.detach().new_full((y.shape[0],), CONTRACTION)
        with torch.no_grad():
            self.lu, self.pivots, finite = _factor(jacobian(field, t, y) if matrices is None else matrices, s)
        self.failed = ~finite
        self.solved: list[tuple[Tensor, Tensor]] = []
        self._at_stages: tuple[Tensor, Tensor] | None = None

    def solve(self, t: Tensor, base: Tensor, start: Tensor) -> Tensor:
        """Return the next stage Y, at time t, iterating from ``start``; no gradient is recorded."""
        with torch.no_grad():
            stage = self._iterate(t.detach(), base.detach(), start.detach())
        self.solved.append((t.detach(), stage))
        return stage

    def attach(self, index: int, t: Tensor, base: Tensor) -> Tensor:
        """Return a solved stage with its derivative, as a function of t and base."""
        stage: Any = self.solved[index][1]
        for _ in range(self.derivatives):
            residual = self._residual(t, base, along(self.s, base), stage)
            if not residual.requires_grad:
                return stage
            lu, pivots = self._factors_at_stages()
            stage = _Attach.apply(stage, residual, lu[index], pivots[index], self.derivatives)
        return stage

    def filter(self, error: Tensor) -> Tensor:
        """Return (I - s J)^-1 error, which damps what the stiff components of an error estimate exaggerate.

        Source: Hosea and Shampine (1996), Analysis and implementation of TR-BDF2.
        """
        with torch.no_grad():
            return _lu_solve(self.lu, self.pivots, error.detach())

    def _iterate(self, t: Tensor, base: Tensor, stage: Tensor) -> Tensor:
        s = along(self.s.detach(), base)
        unit = torch.maximum(self.magnitude, stage.abs()).mul_(self.rtol).add_(self.atol)
        active, contraction, previous = ~self.failed, self.contraction**0.8, unit.new_ones(())
        renewed, measured, all_measured = torch.zeros_like(active), torch.zeros_like(active), torch.ones_like(active)
        for _ in range(ITERATIONS):
            change = _lu_solve(self.lu, self.pivots, self._residual(t, base, s, stage))
            size = torch.linalg.vector_norm((change / unit).flatten(1), dim=1)
            contraction = torch.where(measured, size / previous, contraction)
            before, stage = stage, torch.where(along(active, stage), stage + change, stage)
            self.contraction = torch.where(active, contraction, self.contraction)
            left = size * _error_left(contraction)
            active = active & ~(left <= 1)  # so written, NaN goes on
            slow = active & measured & ~(left * contraction**PATIENCE <= 1)
            going_on, slowly = torch.stack([active.any(), slow.any()]).tolist()  # the iteration's one look
            if not going_on:
                return stage
            previous, measured = size, all_measured
            if slowly:
                # A change that does not shrink is not taken, and the Jacobian made anew before it.
                grows = slow & ~(contraction < 1)
                stage = torch.where(along(grows, stage), before, stage)
                settled = grows & self._is_rounding(change, stage)
                lost = grows & ~settled & (renewed | ~(size < math.inf))
                self.failed = self.failed | lost
                self._renew(t, stage, (slow & ~settled & ~lost).nonzero().squeeze(1))
                active, renewed, measured = active & ~settled & ~self.failed, renewed | slow, ~slow
        self.failed = self.failed | active
        return stage

    def _is_rounding(self, change: Tensor, stage: Tensor) -> Tensor:
        """Tell where a change is what rounding makes of a solved stage, small components owing theirs to large ones."""
        largest = stage.flatten(1).abs().amax(1)
        return change.flatten(1).abs().amax(1) <= 16 * torch.finfo(stage.dtype).eps * largest

    def _residual(self, t: Tensor, base: Tensor, s: Tensor, stage: Tensor) -> Tensor:
        return torch.addcmul(base - stage, s, self.field(t, stage))

    def _renew(self, t: Tensor, stage: Tensor, rows: Tensor) -> None:
        """Give the samples ``rows`` the Jacobian of where they are."""
        lu, pivots, _ = self._factor_rows(rows, t[rows] if t.dim() else t, stage[rows])
        self.lu, self.pivots = self.lu.index_copy(0, rows, lu), self.pivots.index_copy(0, rows, pivots)

    def _factors_at_stages(self) -> tuple[Tensor, Tensor]:
        """Factor I - s J at every stage solved, (stages, B, D, D), with the Jacobians of one call of the field."""
        if self._at_stages is None:
            with torch.no_grad():
                count, batch = len(self.solved), self.failed.shape[0]
                times = torch.cat([t.expand(batch) for t, _ in self.solved])
                rows = torch.arange(batch, device=times.device).repeat(count)
                lu, pivots, _ = self._factor_rows(rows, times, torch.cat([stage for _, stage in self.solved]))
                self._at_stages = lu.unflatten(0, (count, batch)), pivots.unflatten(0, (count, batch))
        return self._at_stages

    def _factor_rows(self, rows: Tensor, t: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return _factor(_jacobian_of(self.field, rows, t, y), self.s[rows] if self.s.dim() else self.s)


def _factor(j: Tensor, s: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Factor I - s J, and tell whose is finite; the others get I, for LAPACK is no place for NaN."""
    j = j.to(torch.promote_types(j.dtype, torch.float32))
    identity = torch.eye(j.shape[-1], dtype=j.dtype, device=j.device)
    matrix = identity - along(s.detach(), j) * j
    finite = matrix.abs().sum((1, 2)) < math.inf
    lu, pivots, _ = torch.linalg.lu_factor_ex(torch.where(along(finite, j), matrix, identity))
    return lu, pivots, finite


def _error_left(contraction: Tensor) -> Tensor:
    """Return the error after an iteration as a multiple of its change: the geometric series, at most 1."""
    contraction = contraction.clamp(max=0.5)
    return contraction / (1 - contraction)


def _lu_solve(lu: Tensor, pivots: Tensor, right: Tensor, adjoint: bool = False) -> Tensor:
    solution = torch.linalg.lu_solve(lu, pivots, right.flatten(1).unsqueeze(-1).to(lu.dtype), adjoint=adjoint)
    return solution.view_as(right).to(right.dtype)


class _Attach(torch.autograd.Function):
    """The stage itself, with the derivative dY + (I - s J)^-1 dR of a Newton iteration on the residual R."""

    @staticmethod
    def forward(ctx, stage: Tensor, residual: Tensor, lu: Tensor, pivots: Tensor, derivatives: int) -> Tensor:
        attached = stage.clone()
        ctx.save_for_backward(lu, pivots, attached)
        ctx.derivatives = derivatives
        return attached

    @staticmethod
    def backward(ctx, *grad_outputs: Tensor) -> tuple[Any, ...]:
        (grad,) = grad_outputs
        return grad, _Solve.apply(grad, *ctx.saved_tensors, True, ctx.derivatives - 1), None, None, None


class _Solve(torch.autograd.Function):
    """One solve with I - s J or its transpose, differentiable as often as its result is right.

    The matrix counts as constant, which the derivatives of ``_Attach`` allow for. ``stage`` makes autograd record this
    even where the right side is a constant, so that one derivative too many is noticed.
    """

    @staticmethod
    def forward(ctx, right: Tensor, lu: Tensor, pivots: Tensor, stage: Tensor, adjoint: bool, left: int) -> Tensor:
        ctx.save_for_backward(lu, pivots, stage)
        ctx.adjoint, ctx.left = adjoint, left
        return _lu_solve(lu, pivots, right, adjoint)

    @staticmethod
    def backward(ctx, *grad_outputs: Tensor) -> tuple[Any, ...]:
        if ctx.left == 0:
            raise InputError(
                "the implicit step was not built for a derivative of this order: give its stepper a larger "
                "derivatives=, which is 1 by default."
            )
        (grad,) = grad_outputs
        return _Solve.apply(grad, *ctx.saved_tensors, not ctx.adjoint, ctx.left - 1), None, None, None, None, None
