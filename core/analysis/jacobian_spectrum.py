"""Eigenvalues of a field's Jacobian along its solutions: what grows, what decays, what turns.

Dimension letters: B samples, T times, D state, N = B T points, K eigenvalues.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.sparse.linalg import ArpackError, LinearOperator, eigs, eigsh
from torch import Tensor
from torch.func import jvp

from integrand.core.analysis.double_precision import in_double
from integrand.core.errors import InputError
from integrand.core.numerics.divergence import divergence
from integrand.core.numerics.field_call import BoundField, Field, apply, leaves, repeat
from integrand.core.numerics.methods.newton import jacobian

ENTRIES = 2**22
"""Entries of Jacobians that are formed at a time, 32 MB of them, though at least one Jacobian."""


class JacobianSpectra(NamedTuple):
    """The Jacobian J = df/dy at each state, by numbers; all in float64, per unit of time.

    Attributes:
        eigenvalues: complex, by real part, falling, the positive frequency of a pair first, (B, T, D); with ``count`` K
            the K of greatest real part, then the K of least, (B, T, 2 K), where a pair may be cut in two.
        growth: the greatest real part, (B, T): the rate at which a small error grows in the end, were J to stay.
        measure: the matrix measure (logarithmic norm) mu_2, (B, T): the rate at which one grows at most at once.
        divergence: the trace, (B, T): the rate at which volumes grow.
    """

    eigenvalues: Tensor
    growth: Tensor
    measure: Tensor
    divergence: Tensor


def jacobian_spectra(
    field: Field,
    states: Tensor,
    times: Tensor | Sequence[float],
    *,
    args: Any = None,
    count: int | None = None,
) -> JacobianSpectra:
    """Compute the spectrum of the Jacobian J = df/dy at states along solutions, sample by sample and time by time.

        J v_k = l_k v_k,    growth = max Re l_k,    mu_2 = max eig (J + J^T) / 2,    div f = tr J

    mu_2 is at least the growth, and equal to it where J is normal; where it is far above, errors grow for a while even
    though every eigenvalue decays. A negative mu_2 everywhere means contraction: solutions come together.

    A module is measured by a copy in float64 and evaluation mode, any other callable in the precision of the states.
    Eigenvalues are found on the host.

    Args:
        field: f, called ``field(t, y)``, or ``field(t, y, args)``, with t (N,) and y (N, D) of independent samples.
        states: (B, T, D), real and finite.
        times: (T,) or (B, T).
        args: see ``solve_ode``: a tensor or nested structure of tensors, each (B, ...).
        count: K, where the whole spectrum costs too much: then no Jacobian is formed, and extreme eigenvalues are
            found by Arnoldi's method from products with J, some hundred for each state. It pays for D from some hundred
            on, and K must be at most (D - 3) / 2.

    Raises:
        InputError: shapes that do not fit, a Jacobian that is not finite, a count out of range.

    Example:
        >>> swing = lambda t, y: torch.stack([y[:, 1], -4 * y[:, 0] - 0.2 * y[:, 1]], -1)
        >>> found = jacobian_spectra(swing, torch.zeros(1, 1, 2, dtype=torch.float64), [0.0])
        >>> [round(part, 4) for part in torch.view_as_real(found.eigenvalues[0, 0, 0]).tolist()]
        [-0.1, 1.9975]
        >>> round(found.measure.item(), 4), round(found.divergence.item(), 4)
        (1.4033, -0.2)

    Source: Soederlind (2006), The logarithmic norm: history and modern theory, for mu_2; Saad (2011), Numerical methods
    for large eigenvalue problems, Chapter 6, for Arnoldi's method.
    """
    if states.dim() != 3 or not states.is_floating_point():
        raise InputError(f"states must be real (B, T, D), got {states.dtype} {tuple(states.shape)}.")
    batch, steps, dim = states.shape
    if count is not None and not 1 <= count <= (dim - 3) // 2:
        raise InputError(
            f"count={count!r} is out of range for {dim} states: take 1 to {max((dim - 3) // 2, 0)}, or None for all."
        )
    if not bool(torch.isfinite(states).all()):
        sample, step = (~torch.isfinite(states)).any(-1).nonzero()[0].tolist()
        raise InputError(f"the state of sample {sample} at time {step} is not finite: leave out what has diverged.")
    field, states = in_double(field, states)
    times = torch.as_tensor(times, dtype=states.dtype, device=states.device)
    if times.shape not in ((steps,), (batch, steps)):
        raise InputError(f"times must be ({steps},) or ({batch}, {steps}) for these states, got {tuple(times.shape)}.")
    if any(leaf.shape[:1] != (batch,) for _, leaf in leaves(args)):
        raise InputError(f"args must have the {batch} samples of states as their first dimension.")
    args = apply(args, lambda leaf: leaf.detach().to(states.dtype) if leaf.is_floating_point() else leaf)
    bound = BoundField(field, repeat(args, steps), batch * steps)
    points, moments = states.flatten(0, 1), times.expand(batch, steps).flatten()
    found = _dense(bound, moments, points) if count is None else _extreme(bound, moments, points, count)
    return JacobianSpectra(*(each.unflatten(0, (batch, steps)) for each in found))


def _dense(field: BoundField, t: Tensor, y: Tensor) -> JacobianSpectra:
    """Form the Jacobians, some at a time, and find all their eigenvalues."""
    dim, parts = y.shape[1], []
    for rows in torch.arange(len(y), device=y.device).split(max(1, ENTRIES // dim**2)):
        matrix = jacobian(field.at(rows), t[rows], y[rows]).double()
        _check_finite(matrix.flatten(1), rows)
        eigenvalues = _fall(torch.linalg.eigvals(matrix.cpu())).to(y.device)
        symmetric = torch.linalg.eigvalsh((matrix + matrix.mT) / 2)
        trace = matrix.diagonal(dim1=1, dim2=2).sum(-1)
        parts.append(JacobianSpectra(eigenvalues, eigenvalues[:, 0].real, symmetric[:, -1], trace))
    return JacobianSpectra(*(torch.cat(each) for each in zip(*parts, strict=True)))


def _fall(eigenvalues: Tensor) -> Tensor:
    """Sort eigenvalues (N, K) by real part, falling; of those alike by imaginary part."""
    by_turn = eigenvalues.gather(-1, eigenvalues.imag.argsort(-1, descending=True))
    return by_turn.gather(-1, by_turn.real.sort(dim=-1, descending=True, stable=True).indices)


def _extreme(field: BoundField, t: Tensor, y: Tensor, count: int) -> JacobianSpectra:
    """Find the extreme eigenvalues of one point after another from products with its Jacobian."""
    found = []
    for rows in torch.arange(len(y), device=y.device).split(1):
        products = _Products(field.at(rows), t[rows], y[rows])
        trace = divergence(field.at(rows), t[rows], y[rows]).trace.double()
        _check_finite(trace[:, None], rows)
        dim = y.shape[1]
        both, mean = LinearOperator((dim, dim), products.forward), LinearOperator((dim, dim), products.symmetric)  # pyright: ignore[reportCallIssue]
        start = np.random.default_rng(0).standard_normal(dim)  # the same answer every time
        try:
            ends = [eigs(both, count, which=which, v0=start, return_eigenvectors=False) for which in ("LR", "SR")]
            measure = eigsh(mean, 1, which="LA", v0=start, return_eigenvectors=False)
        except ArpackError as error:
            raise InputError(
                f"count={count}: extreme eigenvalues at point {int(rows[0])} were not found: ask for more, or for all."
            ) from error
        eigenvalues = _fall(torch.from_numpy(np.concatenate(ends))[None]).to(y.device)
        found.append(JacobianSpectra(eigenvalues, eigenvalues[:, 0].real, trace.new_tensor(measure), trace))
    return JacobianSpectra(*(torch.cat(each) for each in zip(*found, strict=True)))


class _Products:
    """J v and (J + J^T) v / 2 at one point, as scipy asks for them."""

    def __init__(self, field: BoundField, t: Tensor, y: Tensor) -> None:
        with torch.inference_mode(False), torch.enable_grad():
            self.y = y.clone().requires_grad_()
            self.t = t.clone()
            self.field = field
            self.slope = field(self.t, self.y)

    def forward(self, vector: np.ndarray) -> np.ndarray:
        """Return J v."""
        return self._forward(self._given(vector)).double().flatten().cpu().numpy()

    def symmetric(self, vector: np.ndarray) -> np.ndarray:
        """Return (J + J^T) v / 2."""
        given = self._given(vector)
        total = self._forward(given)
        if self.slope.requires_grad:  # else it is a field of time alone
            total = (
                total
                + torch.autograd.grad(
                    self.slope, self.y, given, retain_graph=True, allow_unused=True, materialize_grads=True
                )[0]
            )
        return total.double().flatten().cpu().numpy() / 2

    def _given(self, vector: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(vector.reshape(-1))).to(self.y)[None]

    def _forward(self, given: Tensor) -> Tensor:
        with torch.inference_mode(False), torch.no_grad():
            return jvp(lambda y: self.field(self.t, y), (self.y.detach(),), (given,))[1]


def _check_finite(numbers: Tensor, rows: Tensor) -> None:
    wrong = ~torch.isfinite(numbers).all(-1)
    if bool(wrong.any()):
        raise InputError(
            f"the Jacobian at point {int(rows[wrong][0])}, counted sample by sample, is not finite: leave out states "
            "where the field has no derivative."
        )
