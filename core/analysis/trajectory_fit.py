"""Fit a field to noisy trajectories by Gauss-Newton steps, with free starts, and say how well it is then known.

Dimension letters: W windows, T times, D state, P parameters, N = T D observations of a window.
"""

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from integrand.core.analysis.sensitivity import Sensitivities, parameter_slices, sensitivities
from integrand.core.errors import InputError
from integrand.core.numerics.solve_ode import solve_ode

FIRST_DAMPING = 1e-2
"""Damping of the first step of a round, as a share of the curvature."""
HIGHEST_DAMPING = 1e8
"""Damping at which a smaller step is no longer sought."""
LONGEST_ROUND = 12
"""Steps between two estimates of the noise and the priors, at most."""
NOISE_SETTLED = 0.01
"""Relative change of the noise's variance below which it is as it will stay."""


FieldT = TypeVar("FieldT", bound=nn.Module)


@dataclass(frozen=True)
class TrajectoryFit(Generic[FieldT]):
    """What was fitted, and how well it is known.

    Attributes:
        field: the fitted field, in float64.
        starts: estimated states at the first time of each window, (W, D).
        states: fitted trajectories, (W, T, D).
        noise: estimated standard deviation of the noise of each channel, (D,).
        covariance: of the parameters that were learned, given the data, (P, P): starts are integrated out.
        slices: which of them is where, by name.
        effective: how many parameters the data determine, of the P; the rest is left to their prior.
        freedom: degrees of freedom that are left for the noise.
        evidence: log of the probability of the data under the model, up to a constant that the data alone set.
        steps: Gauss-Newton steps taken.
        settled: whether they ended because nothing changed any more.
    """

    field: FieldT
    starts: Tensor
    states: Tensor
    noise: Tensor
    covariance: Tensor
    slices: dict[str, slice]
    effective: float
    freedom: float
    evidence: float
    steps: int
    settled: bool


class _Priors(NamedTuple):
    """Precisions of the observations, (D,), and of the priors on the parameters, (P,)."""

    data: Tensor
    weights: Tensor


class _Linear(NamedTuple):
    """The problem linearised: starts have been eliminated from the curvature (P, P) and the pull (P,)."""

    curvature: Tensor
    pull: Tensor
    q: Tensor
    r: Tensor
    by_parameters: Tensor
    residual: Tensor


def fit_trajectories(
    field: FieldT,
    observed: Tensor,
    times: Tensor | Sequence[float],
    *,
    penalised: Sequence[str] = (),
    mask: Tensor | None = None,
    starts: Tensor | None = None,
    method: str = "rk4",
    step_size: float | None = None,
    most_steps: int = 60,
    tolerance: float = 0.1,
    notify: Callable[[str], None] | None = None,
) -> TrajectoryFit[FieldT]:
    """Find the parameters of a field, and the starts, that make noisy trajectories most probable.

        y_wt = Y(t; y_w0, p) + noise,    noise_d ~ N(0, s_d^2),    p_g ~ N(0, 1 / a_g) for the penalised tensors g

    Starts are unknown, too: each window has its own, so that no observation is taken to be exact, and short windows
    keep the problem well posed where trajectories are long or chaotic (multiple shooting). They are eliminated from
    each Gauss-Newton step window by window, by QR, so that a step costs what the field's parameters alone cost. Steps
    are damped as Levenberg and Marquardt do. The standard deviations s_d and the precisions a_g are estimated from the
    same data, by the evidence for them: a_g = gamma_g / |p_g|^2, where gamma_g = n_g - a_g tr(C_gg) counts the
    parameters of the tensor that the data determine. No part of the data is set aside for it.

    The covariance C is the inverse of the curvature with respect to all parameters, so that the interval of one takes
    into account what all others could make up for; with a linear model and flat priors it is that of least squares.

    Args:
        field: a module called ``field(t, y)``; it is copied, and its parameters are where the search begins.
        observed: (W, T, D), windows of trajectories that do not overlap; what is not ``mask`` is not looked at.
        times: (T,) or (W, T).
        penalised: parameters, by the beginnings of their names, that have a prior; the others are free.
        mask: (W, T, D) bool, True where observed; everywhere when None. The first state of a window must be observed.
        starts: (W, D), where the search for the starts begins; at the observed ones when None.
        method: of ``solve_ode``.
        step_size: likewise.
        most_steps: Gauss-Newton steps at most.
        tolerance: gain in log-probability below which a step is the last before noise and priors are estimated anew.
        notify: told of the progress, a line a step.

    Raises:
        InputError: shapes that do not fit, values that are not finite, fewer observations than starts, a field whose
            solution from the observed starts is not finite.

    Example:
        >>> from integrand.core.fields import Linear
        >>> times = torch.linspace(0, 2, 21, dtype=torch.float64)
        >>> decay = torch.exp(-0.5 * times)[None, :, None] * torch.tensor([1.0, 2.0]).double()[:, None, None]
        >>> noisy = decay + 1e-3 * torch.randn(2, 21, 1, generator=torch.Generator().manual_seed(0)).double()
        >>> fit = fit_trajectories(Linear(1, bias=False), noisy, times)
        >>> bool((fit.field.matrix + 0.5).abs() < 3 * fit.covariance.sqrt())
        True

    Source: Nocedal and Wright (2006), Numerical optimization, Section 10.3, for the steps; MacKay (1992), Bayesian
    interpolation, Eqs. 4.8 to 4.10, and A practical Bayesian framework for backpropagation networks, for noise and
    priors; Bock (1983), Recent advances in parameter identification techniques for O.D.E., for multiple shooting.
    """
    problem = _Problem(field, observed, times, penalised, mask, {"method": method, "step_size": step_size})
    if starts is not None:
        problem.starts = starts.to(problem.observed)
    return problem.solve(most_steps, tolerance, notify or (lambda line: None))


class _Problem(Generic[FieldT]):
    """The search: parameters, starts and priors as they are now."""

    def __init__(
        self,
        field: FieldT,
        observed: Tensor,
        times: Tensor | Sequence[float],
        penalised: Sequence[str],
        mask: Tensor | None,
        solver: dict[str, Any],
    ) -> None:
        if observed.dim() != 3:
            raise InputError(f"observed must be (windows, times, channels), got {tuple(observed.shape)}.")
        self.field = copy.deepcopy(field).double()
        device = observed.device
        self.mask = torch.ones_like(observed, dtype=torch.bool) if mask is None else mask
        if not bool(self.mask[:, 0].all()):
            raise InputError("a window begins with a state that was not observed: begin it later.")
        self.observed = torch.where(self.mask, observed.double(), 0)
        if not bool(torch.isfinite(self.observed).all()):
            raise InputError("observed holds values that are not finite: leave them out by mask.")
        self.times = torch.as_tensor(times, dtype=torch.float64, device=device)
        self.solver = solver
        self.slices = parameter_slices(self.field)
        self.learned = [p for p in self.field.parameters() if p.requires_grad]
        self.groups = [place for name, place in self.slices.items() if name.startswith(tuple(penalised))]
        if penalised and not self.groups:
            raise InputError(f"no parameter's name begins with {' or '.join(penalised)}: nothing would have a prior.")
        self.count = sum(p.numel() for p in self.learned)
        self.seen = int(self.mask.sum())
        self.starts = self.observed[:, 0].clone()
        if self.seen <= self.starts.numel():
            raise InputError(
                f"{self.seen} observations cannot settle {self.starts.numel()} starts: take longer windows."
            )
        self.scale = self._channel_std()
        self.sensitivities: Sensitivities | None = None

    def _channel_std(self) -> Tensor:
        """Return the standard deviation of each channel, what noise is small against."""
        n = self.mask.sum((0, 1))
        mean = self.observed.sum((0, 1)) / n
        return (torch.where(self.mask, self.observed - mean, 0).square().sum((0, 1)) / n).sqrt().clamp(min=1e-12)

    @property
    def vector(self) -> Tensor:
        return parameters_to_vector([p.detach() for p in self.learned]) if self.learned else self.starts.new_zeros(0)

    def _put(self, vector: Tensor) -> None:
        if self.learned:
            vector_to_parameters(vector, self.learned)

    def _residual(self, starts: Tensor) -> Tensor:
        """Return observed minus solution, (W, T, D), 0 where nothing was observed."""
        with torch.no_grad():
            states = solve_ode(self.field, starts, self.times, on_failure="nan", **self.solver).states
        return torch.where(self.mask, self.observed - states, 0)

    def _objective(self, residual: Tensor, vector: Tensor, priors: _Priors) -> float:
        value = 0.5 * ((residual.square() * priors.data).sum() + (vector.square() * priors.weights).sum())
        return float(value) if bool(torch.isfinite(value)) else math.inf

    def _linearise(self, priors: _Priors) -> _Linear:
        if self.sensitivities is None:
            self.sensitivities = sensitivities(self.field, self.starts, self.times, **self.solver)
        found = self.sensitivities
        weight = torch.where(self.mask, priors.data.sqrt(), 0).flatten(1).unsqueeze(-1)  # (W, N, 1)
        a = found.by_parameters.flatten(1, 2) * weight
        e = self.residual.flatten(1) * weight.squeeze(-1)
        q, r = torch.linalg.qr(found.by_start.flatten(1, 2) * weight)
        qt = q.transpose(1, 2)
        a_rest, e_rest = a - q @ (qt @ a), e - (q @ (qt @ e.unsqueeze(-1))).squeeze(-1)
        flat = a_rest.flatten(0, 1)
        curvature, pull = flat.t() @ flat, flat.t() @ e_rest.flatten()
        return _Linear(curvature, pull, q, r, a, e)

    def _step(self, linear: _Linear, priors: _Priors, damping: float) -> tuple[Tensor, Tensor]:
        """Return the changes of parameters and starts."""
        vector = self.vector
        h = linear.curvature + priors.weights.diag()
        scale = h.diagonal().clamp(min=1e-12 * float(h.diagonal().max()) if self.count else 0)
        change = _solve(h + damping * scale.diag(), linear.pull - priors.weights * vector)
        left = linear.residual - (linear.by_parameters @ change)
        starts = torch.linalg.solve_triangular(
            linear.r, linear.q.transpose(1, 2) @ left.unsqueeze(-1), upper=True
        ).squeeze(-1)
        return change, starts

    def _first_priors(self) -> _Priors:
        """Begin with the noise that the residual would be, but at most a tenth of the signal, and unit priors."""
        n = self.mask.sum((0, 1))
        found = (self.residual.square().sum((0, 1)) / n).sqrt()
        noise = torch.minimum(found, 0.1 * self.scale).clamp(min=1e-6 * 0.1 * self.scale)
        weights = self.starts.new_zeros(self.count)
        for place in self.groups:
            weights[place] = 1.0
        return _Priors(noise**-2, weights)

    def _estimate(self, linear: _Linear, priors: _Priors) -> tuple[_Priors, float]:
        """Return noise and priors as the evidence has them, and how many parameters the data determine."""
        covariance = _inverse(linear.curvature + priors.weights.diag())
        effective = float(self.count - (priors.weights * covariance.diagonal()).sum())
        weights, vector = priors.weights.clone(), self.vector
        for place in self.groups:
            size = place.stop - place.start
            gamma = float(size - (priors.weights[place] * covariance.diagonal()[place]).sum())
            weights[place] = max(gamma, 1e-3) / max(float(vector[place].square().sum()), 1e-10)
        n = self.mask.sum((0, 1)).double()
        share = max(1 - (effective + self.starts.numel()) / self.seen, 1e-3)
        noise = (self.residual.square().sum((0, 1)) / (n * share)).clamp(min=(1e-7 * self.scale).square())
        return _Priors(1 / noise, weights), effective

    def solve(self, most_steps: int, tolerance: float, notify: Callable[[str], None]) -> TrajectoryFit[FieldT]:
        """Alternate rounds of damped steps with estimates of noise and priors until neither changes anything."""
        self.residual = self._residual(self.starts)
        if not bool(torch.isfinite(self.residual).all()):
            raise InputError(
                "the solution from the observed starts is not finite: take shorter windows, other guesses."
            )
        priors, taken, settled = self._first_priors(), 0, False
        while taken < most_steps and not settled:
            steps, done = self._round(priors, min(most_steps - taken, LONGEST_ROUND), tolerance, notify)
            taken += steps
            linear = self._linearise(priors)
            new, effective = self._estimate(linear, priors)
            moved = float((new.data / priors.data).log().abs().max())
            notify(f"after {taken} steps the data determine {effective:.1f} of {self.count} parameters")
            # A prior's precision may grow for ever along directions that the data do not see; the noise does not.
            settled = done and moved < NOISE_SETTLED
            priors = priors if settled else new
        return self._result(priors, taken, settled)

    def _round(
        self, priors: _Priors, most_steps: int, tolerance: float, notify: Callable[[str], None]
    ) -> tuple[int, bool]:
        """Step until the objective falls by less than ``tolerance``; returns the steps and whether it came to that."""
        damping, value = FIRST_DAMPING, self._objective(self.residual, self.vector, priors)
        for taken in range(1, most_steps + 1):
            linear, before = self._linearise(priors), value
            while damping < HIGHEST_DAMPING:
                vector = self.vector
                change, shift = self._step(linear, priors, damping)
                self._put(vector + change)
                residual = self._residual(self.starts + shift)
                reached = self._objective(residual, vector + change, priors)
                if reached <= value:
                    value, self.residual, self.starts = reached, residual, self.starts + shift
                    self.sensitivities = None
                    damping /= 5
                    break
                self._put(vector)
                damping *= 4
            notify(f"objective {value:.6g}, damping {damping:.0e}")
            if before - value < max(tolerance, 1e-9 * value):
                return taken, True
        return most_steps, False

    def _result(self, priors: _Priors, taken: int, settled: bool) -> TrajectoryFit[FieldT]:
        linear = self._linearise(priors)
        new, effective = self._estimate(linear, priors)
        h = linear.curvature + priors.weights.diag()
        own = priors.weights[priors.weights > 0]
        evidence = (
            -self._objective(self.residual, self.vector, priors)
            + 0.5 * float((self.mask.sum((0, 1)) * priors.data.log()).sum())
            + 0.5 * float(own.log().sum())
            - 0.5 * float(torch.linalg.slogdet(h).logabsdet if self.count else 0)
            - float(linear.r.diagonal(dim1=1, dim2=2).abs().log().sum())
        )
        assert self.sensitivities is not None
        return TrajectoryFit(
            field=self.field,
            starts=self.starts,
            states=self.sensitivities.states,
            noise=new.data**-0.5,
            covariance=_inverse(h),
            slices=self.slices,
            effective=effective,
            freedom=self.seen - effective - self.starts.numel(),
            evidence=evidence,
            steps=taken,
            settled=settled,
        )


def _solve(h: Tensor, pull: Tensor) -> Tensor:
    factor, info = torch.linalg.cholesky_ex(h)
    if int(info) == 0:
        return torch.cholesky_solve(pull.unsqueeze(-1), factor).squeeze(-1)
    return torch.linalg.lstsq(h, pull.unsqueeze(-1), driver="gelsd").solution.squeeze(-1)


def _inverse(h: Tensor) -> Tensor:
    factor, info = torch.linalg.cholesky_ex(h)
    return torch.cholesky_inverse(factor) if int(info) == 0 else torch.linalg.pinv(h, hermitian=True)
