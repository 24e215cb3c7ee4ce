"""Equations with a diagonal linear part, and their solution by exponential and implicit-explicit methods."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from integrand.core.errors import InputError, unknown
from integrand.core.numerics.exponential.imex import IMEX, ImexTableau, TwoStepImex
from integrand.core.numerics.exponential.tableau import EXPONENTIAL, ExponentialTableau, StepWeights
from integrand.core.numerics.field_call import BoundField
from integrand.core.numerics.output_times import check_times
from integrand.core.numerics.solution import Solution, SolverStats
from integrand.core.numerics.solved_by import Resolution, is_replaced, replaced
from integrand.core.numerics.stepping.fixed_step import count_substeps

Method = ExponentialTableau | ImexTableau | TwoStepImex
Evaluate = Callable[[Tensor, Tensor], Tensor]

SEMILINEAR: dict[str, Method] = {**EXPONENTIAL, **IMEX}
"""Methods of ``solve_semilinear`` by name."""


class SemilinearField(Protocol):
    """What ``solve_semilinear`` asks of a right-hand side; ``Semilinear`` is one."""

    @property
    def linear(self) -> Tensor:
        """L, of a shape that broadcasts to a sample's state."""
        ...

    @property
    def nonlinear(self) -> Callable[..., Tensor]:
        """N, called ``nonlinear(t, y)`` or ``nonlinear(t, y, args)``."""
        ...

    def __call__(self, t: Tensor, y: Tensor, *args: Any) -> Tensor:
        """Return L y + N(t, y)."""
        ...


class Semilinear(nn.Module):
    """The field f(t, y) = L y + N(t, y), L diagonal in the coordinates of y.

    In Fourier coordinates every linear equation with constant coefficients has such an L: -nu k^2 for diffusion,
    k^2 - k^4 for Kuramoto-Sivashinsky, i k^3 for Korteweg-de Vries. As a field it can be given to any solver.

    An L computed from parameters, such as a viscosity to be learned, is a subclass with a property ``linear`` of its
    own that overrides this one.

    Args:
        linear: L, real or complex, of a shape that broadcasts to a sample's state. A real ``nn.Parameter`` is learned;
            any other tensor is a buffer.
        nonlinear: N, called ``nonlinear(t, y)``, or ``nonlinear(t, y, args)`` when args are given.

    Example:
        >>> field = Semilinear(torch.tensor([-1.0, -1e6]), lambda t, y: torch.cos(t) * y.flip(-1))
        >>> field(torch.tensor(0.0), torch.ones(1, 2)).tolist()
        [[0.0, -999999.0]]
    """

    def __init__(self, linear: Tensor, nonlinear: Callable[..., Tensor]) -> None:
        super().__init__()
        # A complex buffer is kept as pairs of reals: ``module.to(torch.float64)`` would take its real part.
        self._pairs = linear.is_complex() and not isinstance(linear, nn.Parameter)
        if isinstance(linear, nn.Parameter):
            self._linear = linear
        else:
            self.register_buffer("_linear", torch.view_as_real(linear.resolve_conj()) if self._pairs else linear)
        self.nonlinear = nonlinear

    @property
    def linear(self) -> Tensor:
        """L."""
        return torch.view_as_complex(self._linear) if self._pairs else self._linear

    def forward(self, t: Tensor, y: Tensor, *args: Any) -> Tensor:
        """Evaluate L y + N(t, y)."""
        linear = self.linear
        return linear.to(y.dtype if linear.is_complex() else y.dtype.to_real()) * y + self.nonlinear(t, y, *args)


def solve_semilinear(
    field: SemilinearField,
    y0: Tensor,
    times: Tensor | Sequence[float],
    *,
    args: Any = None,
    method: str = "etdrk4",
    step_size: float | None = None,
) -> Solution:
    """Solve dy/dt = L y + N(t, y), y(t_0) = y0, with steps as long as N allows, however stiff L is.

    Steps are equal within each interval between output times. The functions of z = h L that a step multiplies with are
    evaluated in float64 or complex128, once for all steps where the times are evenly spaced (to rounding), else once an
    interval; to see which, the times are read, which on an accelerator makes the host wait, once a solve.

    Gradients flow by autograd through the steps to y0, args, whatever N holds, L where it requires grad, and the times
    where they do.

    Args:
        field: a ``Semilinear``, or anything with ``linear`` and ``nonlinear`` that is called likewise.
        y0: initial states, (B, ...), real or complex; complex where L is.
        times: output times, (T,), strictly monotonic, or (B, T) for each sample its own.
        args: what N depends on beside t and y: tensors (B, ...), or tuples, lists and dicts of them.
        method: a name in ``SEMILINEAR``. ``etdrk4``, ``krogstad4``, ``etdrk3``, ``etdrk2`` and ``etd1`` solve the
            linear part exactly, so oscillations stay as they are; ``ars343``, ``ars222``, ``sbdf2`` and ``imex_euler``
            damp what is fast.
        step_size: longest step, in the units of ``times``; None for one step an interval.

    Returns:
        A ``Solution`` with states (B, T, ...); ``evaluations`` counts those of N.

    Raises:
        InputError: an argument is out of its range, or N gives another shape or type than its state's.

    Example:
        >>> stiff = Semilinear(torch.tensor([-1e6], dtype=torch.float64), lambda t, y: 1e6 * torch.cos(t) * y**0)
        >>> solved = solve_semilinear(stiff, torch.ones(1, 1, dtype=torch.float64), [0.0, 0.5, 1.0])
        >>> round(solved.states[0, -1, 0].item(), 4)  # cos(1), but for 1e-6 and the error of two steps
        0.5403

    Source: Cox and Matthews (2002), Exponential time differencing for stiff systems; Ascher, Ruuth and Spiteri (1997),
    Implicit-explicit Runge-Kutta methods for time-dependent partial differential equations.
    """
    if is_replaced() and (solved := replaced(solve_semilinear, locals(), _resolution)) is not None:
        return solved
    if method not in SEMILINEAR:
        raise unknown("method", method, SEMILINEAR)
    if step_size is not None and not step_size > 0:
        raise InputError(f"step_size must be positive, got {step_size!r}: give the longest step in the units of times.")
    linear = _check_parts(field, y0)
    times = check_times(times, y0)
    batch, intervals = y0.shape[0], times.shape[-1] - 1
    substeps = 1 if step_size is None else count_substeps(times, step_size)
    nonlinear = BoundField(field.nonlinear, args, batch)

    # Real weights multiply a complex state faster where it is held as pairs of reals.
    pairs = y0.is_complex() and not linear.is_complex()
    y = torch.view_as_real(y0.resolve_conj()) if pairs else y0
    stepper = _Stepper(SEMILINEAR[method], linear, y0, _in_pairs(nonlinear) if pairs else nonlinear)
    moments = _stage_times(times, substeps, stepper.scheme.c)

    even = _evenly_spaced(times)
    states = [y]
    for i in range(intervals):
        if not even:
            stepper.set_step((times[..., i + 1] - times[..., i]) / substeps)
        elif i == 0:
            stepper.set_step((times[..., -1] - times[..., 0]) / (intervals * substeps))
        for at in moments[i].unbind():
            y = stepper.step(at.unbind(), y)
        states.append(y)

    stacked = torch.stack(states, dim=1)
    steps = {"evaluations": nonlinear.evaluations, "accepted": intervals * substeps, "rejected": 0}
    return Solution(
        times,
        torch.view_as_complex(stacked) if pairs else stacked,
        SolverStats.shared(batch, y0.device, **steps),
        _slope=BoundField(field, args, batch),
    )


def _resolution(asked: Mapping[str, Any]) -> Resolution:
    """Tell how finely arguments ask to solve."""
    if asked["method"] not in SEMILINEAR:
        raise unknown("method", asked["method"], SEMILINEAR)
    order = SEMILINEAR[asked["method"]].order
    return Resolution("semilinear", False, order, order + 1, check_times(asked["times"], asked["y0"]))


class _Stepper:
    """Takes steps of one length; where it changes, a method that remembers starts anew."""

    def __init__(self, scheme: Method, linear: Tensor, y0: Tensor, evaluate: Evaluate) -> None:
        self.scheme, self.linear, self.evaluate = scheme, linear, evaluate
        self.dtype = y0.dtype if linear.is_complex() else y0.dtype.to_real()
        self.pairs = y0.is_complex() and not linear.is_complex()
        self.dims = y0.dim()
        self.before: tuple[Tensor, Tensor] | None = None

    def set_step(self, h: Tensor) -> None:
        """Evaluate the weights for steps of length h, a scalar or (B,)."""
        wide = torch.float32 if h.device.type == "mps" else torch.float64  # the one device without float64
        linear = self.linear.to(wide.to_complex() if self.linear.is_complex() else wide)
        h = h.to(wide)
        if h.dim():
            h = h.view(-1, *[1] * (self.dims - 1))
        schemes = [self.scheme, self.scheme.starter] if isinstance(self.scheme, TwoStepImex) else [self.scheme]
        self.weights, *start = (self._narrow(scheme.weights(h * linear, h)) for scheme in schemes)
        self.start_weights = start[0] if start else None
        self.before = None

    def step(self, moments: Sequence[Tensor], y: Tensor) -> Tensor:
        """Return y at the end of the step whose evaluations lie at ``moments``."""
        if self.start_weights is None:
            return self._one_step(self.weights, moments, y)
        slope = self.evaluate(moments[0], y)
        if self.before is None:
            after = self._one_step(self.start_weights, moments, y, slope)
        else:
            y_before, slope_before = self.before
            (decay,), (row,) = self.weights
            assert decay is not None
            after = _combine(decay * y, row, (slope, y_before, slope_before), fresh=True)
        self.before = y, slope
        return after

    def _one_step(
        self, weights: StepWeights, moments: Sequence[Tensor], y: Tensor, first: Tensor | None = None
    ) -> Tensor:
        carried: dict[int, Tensor] = {}  # decay * y by the decay, which stages share

        def carry(decay: Tensor | None) -> Tensor:
            if decay is None:
                return y
            if id(decay) not in carried:
                carried[id(decay)] = decay * y
            return carried[id(decay)]

        slopes = [] if first is None else [first]
        for i in range(len(slopes), len(weights.rows) - 1):
            slopes.append(self.evaluate(moments[i], _combine(carry(weights.decays[i]), weights.rows[i], slopes)))
        return _combine(carry(weights.decays[-1]), weights.rows[-1], slopes)

    def _narrow(self, weights: StepWeights) -> StepWeights:
        """Convert to the state's type; equal tensors stay one."""
        made: dict[int, Tensor] = {}

        def narrow(weight: Tensor | None) -> Tensor | None:
            if weight is None:
                return None
            if id(weight) not in made:
                own = weight.to(self.dtype)
                # In full, so that the two loops over the last dimensions are one.
                made[id(weight)] = own.unsqueeze(-1).expand(*own.shape, 2).contiguous() if self.pairs else own
            return made[id(weight)]

        return StepWeights(
            tuple(narrow(decay) for decay in weights.decays),
            tuple(tuple(narrow(weight) for weight in row) for row in weights.rows),
        )


def _combine(base: Tensor, row: Sequence[Tensor | None], slopes: Sequence[Tensor], fresh: bool = False) -> Tensor:
    """Return base + sum_j w_j N_j.

    Terms are added in place to a sum that is new: autograd keeps factors, not sums, so that is allowed with gradients,
    too. ``base`` itself is used again by others unless it is ``fresh``.
    """
    total = base
    for weight, slope in zip(row, slopes, strict=True):
        if weight is not None:
            total = total.addcmul_(weight, slope) if fresh else torch.addcmul(total, weight, slope)
            fresh = True
    return total


def _in_pairs(nonlinear: Evaluate) -> Evaluate:
    """Return N for complex states held as pairs of reals."""
    return lambda t, y: torch.view_as_real(nonlinear(t, torch.view_as_complex(y)).resolve_conj())


def _evenly_spaced(times: Tensor) -> bool:
    """Whether all intervals are equal but for rounding, and need not be told apart by a gradient."""
    if times.requires_grad or times.shape[-1] < 2:
        return False
    steps = times.diff(dim=-1)
    # Each time is a few operations away from the even grid it was meant for.
    rounding = 4 * torch.finfo(times.dtype).eps * times.abs().max()
    return bool((steps.amax(-1) - steps.amin(-1)).max() <= rounding)


def _stage_times(times: Tensor, substeps: int, c: tuple[float, ...]) -> Tensor:
    """Return the times of every stage of every step, (T - 1, steps, stages), or (T - 1, steps, stages, B)."""
    outputs = times.movedim(-1, 0)
    step = torch.arange(substeps, dtype=times.dtype, device=times.device)
    shares = (step.unsqueeze(-1) + times.new_tensor(c)) / substeps
    if times.dim() == 2:
        shares = shares.unsqueeze(-1)
    return torch.addcmul(outputs[:-1, None, None], outputs.diff(dim=0)[:, None, None], shares)


def _check_parts(field: SemilinearField, y0: Tensor) -> Tensor:
    """Return L, if field and state can be integrated here."""
    linear = getattr(field, "linear", None)
    if not isinstance(linear, Tensor) or not callable(getattr(field, "nonlinear", None)):
        raise InputError(
            f"the field is a {type(field).__name__} without linear and nonlinear parts: give "
            "Semilinear(linear, nonlinear), or take an explicit or implicit method of solve_ode."
        )
    if not (y0.is_floating_point() or y0.is_complex()) or y0.dim() < 1:
        raise InputError(
            f"y0 must be floating point or complex with a batch dimension, got {y0.dtype} {tuple(y0.shape)}."
        )
    if linear.is_complex() and not y0.is_complex():
        raise InputError(f"linear is {linear.dtype} and y0 is {y0.dtype}: a complex L needs complex states.")
    if linear.device != y0.device:
        raise InputError(f"linear is on {linear.device}, y0 is on {y0.device}: move one to the other.")
    own = y0.shape[1:]
    if len(linear.shape) > len(own) or any(
        n not in (1, m) for n, m in zip(reversed(linear.shape), reversed(own), strict=False)
    ):
        raise InputError(
            f"linear has shape {tuple(linear.shape)} for states of shape {tuple(own)} a sample: give an L that "
            "broadcasts to one sample's state."
        )
    return linear
