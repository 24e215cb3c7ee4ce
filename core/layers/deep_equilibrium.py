"""The deep equilibrium model: a layer that is the steady state of a differential equation."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from integrand.core.errors import InputError, unknown
from integrand.core.fields.dimensions import check_real
from integrand.core.fields.monotone import Splitting
from integrand.core.numerics.divergence import divergence, draw_probes
from integrand.core.numerics.field_call import apply, check_slope, leaves, naming_precisions
from integrand.core.numerics.fixed_points.differentiate_fixed_point import (
    FixedPointGradient,
    differentiate_fixed_point,
    unroll_fixed_point,
)
from integrand.core.numerics.fixed_points.solve_fixed_point import (
    FIXED_POINT_METHODS,
    FixedPointMethod,
    solve_fixed_point,
)
from integrand.core.numerics.modes import is_autocast


class Equilibrium(NamedTuple):
    """A steady state, and how it was found.

    Attributes:
        z: (B, ...).
        residual, iterations, status: (B,) each, see ``FixedPoint``; residuals and iterations are those of the map that
            was iterated.
        jacobian_square: |dg/dz|_F^2 of the map g at z, (B,), estimated; None unless asked for.
    """

    z: Tensor
    residual: Tensor
    iterations: Tensor
    status: Tensor
    jacobian_square: Tensor | None


class DeepEquilibrium(nn.Module):
    """The steady state z of z' = f(z, x) for each input x: an infinitely deep network with shared weights.

        0 = f(z, x),      the fixed point of g(z) = z + f(z, x),

    so that f = ``Relaxation(cell)`` gives z = cell(z, x). The state is found by Anderson's or Broyden's method, or from
    the iteration that a field proposes for itself in a method ``splitting(x)``, as ``MonotoneField`` does, whose
    equilibrium always exists. Memory does not grow with iterations. Every sample stops for itself, and says in
    ``status`` whether it converged; one that did not gives the best iterate that it met.

    All is done in float32 or wider: under autocast, too.

    Its place on the map: layer level; the limit t -> infinity of a neural ODE, and the limit dt -> infinity of an
    implicit Euler step, which ``EquilibriumRNN`` takes.

    Args:
        field: f, called ``field(t, z)`` or ``field(t, z, x)``, with t = 0.
        shape: dimension D of the state, or its shape.
        method: ``"anderson"``, ``"broyden"`` or ``"picard"``, see ``solve_fixed_point``.
        rtol, atol, max_iterations, memory: likewise.
        gradient: ``"implicit"``, that of the implicit function theorem; or ``"phantom"``, of a few damped iterations.
        unroll: iterations of the phantom gradient.
        damping: their length, in (0, 1].
        regularize: whether to estimate |dg/dz|_F^2 at z, which a loss keeps small so that the iteration stays quick.

    Raises:
        InputError: an option out of range, a field that gives another shape.

    Example:
        >>> from integrand.core.fields.linear import Linear
        >>> layer = DeepEquilibrium(Linear(2), 2)
        >>> weight, bias = layer.field.map[0].weight.data, layer.field.map[0].bias.data
        >>> _ = weight.copy_(torch.tensor([[-2.0, 1.0], [0.0, -1.0]])), bias.copy_(torch.tensor([0.0, 1.0]))
        >>> (layer(z0=torch.zeros(1, 2)).z - torch.tensor([[0.5, 1.0]])).abs().max().item() < 1e-4
        True

    Source: Bai, Kolter and Koltun (2019), Deep equilibrium models, Theorem 1 for the gradient; the regulariser: Bai,
    Koltun and Kolter (2021), Stabilizing equilibrium models by Jacobian regularization.
    """

    def __init__(
        self,
        field: nn.Module,
        shape: int | Sequence[int],
        *,
        method: FixedPointMethod = "anderson",
        rtol: float = 1e-5,
        atol: float = 1e-6,
        max_iterations: int = 50,
        memory: int = 6,
        gradient: FixedPointGradient = "implicit",
        unroll: int = 5,
        damping: float = 1.0,
        regularize: bool = False,
    ) -> None:
        super().__init__()
        if method not in FIXED_POINT_METHODS:
            raise unknown("method", method, FIXED_POINT_METHODS)
        if gradient not in ("implicit", "phantom"):
            raise unknown("gradient", gradient, ("implicit", "phantom"))
        if unroll < 1 or not 0 < damping <= 1:
            raise InputError(f"unroll must be at least 1 and damping in (0, 1], got {unroll} and {damping}.")
        self.field = field
        self.shape = (shape,) if isinstance(shape, int) else tuple(shape)
        if not self.shape or min(self.shape) < 1:
            raise InputError(f"shape must be a dimension D or the shape of a sample, each at least 1, got {shape}.")
        self.method: FixedPointMethod = method
        self.rtol, self.atol, self.max_iterations, self.memory = rtol, atol, max_iterations, memory
        self.gradient: FixedPointGradient = gradient
        self.unroll, self.damping, self.regularize = unroll, damping, regularize

    def forward(self, x: Any = None, z0: Tensor | None = None, *, noise: Tensor | None = None) -> Equilibrium:
        """Find the steady state.

        Args:
            x: input, as the field takes it: a tensor or nested structure of tensors, each (B, ...); or None.
            z0: where to begin, (B, ...); zeros when None.
            noise: probes (B, K, ...) for the regulariser, see ``draw_probes``; one for each sample is drawn when None.
        """
        given = leaves(x)
        if z0 is None and not given:
            raise InputError("DeepEquilibrium needs x or z0, whose first dimension is the batch: give one.")
        like = given[0][1] if z0 is None else z0
        if is_autocast(like.device):  # which may have lowered what comes in
            x, z0, like = apply(x, _widen), apply(z0, _widen), _widen(like)
        start = like.new_zeros((like.shape[0], *self.shape)) if z0 is None else z0
        check_real(start, "DeepEquilibrium")
        if start.shape[1:] != self.shape:
            raise InputError(f"z0 must be (B, ...) with samples of shape {self.shape}, got {tuple(start.shape)}.")
        with torch.autocast(start.device.type, enabled=False), naming_precisions(start, self.field):
            return self._solve(x, start, noise)

    def _solve(self, x: Any, start: Tensor, noise: Tensor | None) -> Equilibrium:
        t = start.new_zeros(())

        def advance(z: Tensor) -> Tensor:
            return z + check_slope(self.field(t, z) if x is None else self.field(t, z, x), z)

        own = getattr(self.field, "splitting", None)
        splitting = Splitting(advance, _same, _same) if own is None else own(x)
        how = {"method": self.method, "max_iterations": self.max_iterations, "memory": self.memory, "rtol": self.rtol}
        found = solve_fixed_point(splitting.map, splitting.enter(start), atol=self.atol, **how)
        if self.gradient == "implicit":
            u = differentiate_fixed_point(splitting.map, found.z, **how)
        else:
            u = unroll_fixed_point(splitting.map, found.z, steps=self.unroll, damping=self.damping)
        z, square = splitting.leave(u), None
        if self.regularize:
            noise = draw_probes(z) if noise is None else noise
            square = divergence(lambda t, z: advance(z), t, z, noise=noise).square
        return Equilibrium(z, found.residual, found.iterations, found.status, square)


def _same(z: Tensor) -> Tensor:
    return z


def _widen(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor
