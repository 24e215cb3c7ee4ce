"""Rates at which solutions come together, by proof.

Dimension letters: D state.
"""

import copy
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from scipy.linalg import solve_continuous_lyapunov
from torch import Tensor, nn

from integrand.core.analysis.layered_bounds import (
    best_multipliers,
    descend,
    mean_and_rest,
    measure_bound,
    rounding,
    with_multipliers,
)
from integrand.core.analysis.layered_network import Layered, is_hooked, read_layers
from integrand.core.analysis.lipschitz_bounds import stretch_bound
from integrand.core.fields.contractive import ContractiveField
from integrand.core.fields.gradient_flow import GradientFlow
from integrand.core.fields.input_convex import InputConvex
from integrand.core.fields.linear import Linear
from integrand.core.fields.relaxation import Relaxation
from integrand.core.layers.equilibrium_rnn import EquilibriumRNN


class Certificate(NamedTuple):
    """A rate at which any two solutions come together, by proof and not by measurement.

    Attributes:
        rate: c in |x(t) - y(t)|_P <= exp(-c t) |x(0) - y(0)|_P, in units of one over time; 0 says that they do not
            part.
        metric: P of |d|_P^2 = d^T P d, (D, D); None for the identity, whatever D.
        why: what proves it.
    """

    rate: float
    metric: Tensor | None
    why: str


def certified_rate(field: object, *, steps: int = 200) -> Certificate | None:
    """Return a rate at which solutions come together by construction, from anywhere and at all times; None if unknown.

    - ``ContractiveField``: its rate, in its metric.
    - ``Linear``: with A^T P + P A < 0, P from Lyapunov's equation, nearly the least decay of its eigenvalues.
    - ``GradientFlow`` of an ``InputConvex`` energy: 0, they never part.
    - ``MonotoneField``, ``Relaxation``, ``MLP`` and other dense fields: J = A + W_n S ... S W_1 with slopes S in known
      ranges has a measure below zero, see ``measure_bound``, in the identity, in the metric of the middle slopes, or,
      with one hidden layer, in one that ``steps`` of descent make of these.
    - ``Relaxation`` of what is not dense: (1 - L) / tau with a Lipschitz constant L < 1 of the cell.
    - ``EquilibriumRNN``: that of its field over its time constant, between two inputs.

    The margin of a ``MonotoneField`` alone is none: it bounds the eigenvalues of J at each state, so that each
    equilibrium attracts what is near, but not the distances of solutions in one metric for all states.

    Args:
        field: called ``field(t, y)``, or with an argument that both solutions share.
        steps: see above.

    Example:
        >>> certified_rate(ContractiveField(2, rate=3.0)).rate
        3.0

    Source: Lohmiller and Slotine (1998), On contraction analysis for non-linear systems; Soderlind (2006), The
    logarithmic norm: history and modern theory.
    """
    if not isinstance(field, nn.Module) or is_hooked(field):
        return None
    with torch.inference_mode(False), torch.no_grad():
        field = _double(field)  # in which the certificate holds to more digits
        if type(field) is EquilibriumRNN:
            inner, tau = certified_rate(field.field, steps=steps), float(field.log_tau.exp())
            return None if inner is None else inner._replace(rate=inner.rate / tau)
        if type(field) is ContractiveField:
            return Certificate(field.rate, field.metric.detach(), "a contractive field, by its parametrisation")
        if type(field) is GradientFlow and type(field.energy) is InputConvex:
            return Certificate(0.0, None, "the gradient flow of a convex energy")
        net = read_layers(field)
        if type(field) is Linear and net is not None:
            return _of_linear(net)
        if net is not None:
            return _of_layers(net, steps)
        if type(field) is Relaxation:
            stretch, _ = stretch_bound(field.cell)
            if stretch is not None and stretch < 1:
                rate = (1 - stretch) / field.time_constant
                return Certificate(rate, None, f"a relaxation towards a cell of Lipschitz constant {stretch:.4g}")
    return None


def _double(field: nn.Module) -> nn.Module:
    """Return a copy in double precision, where the device knows it."""
    try:
        return copy.deepcopy(field).double()
    except TypeError:
        return field


def _of_linear(net: Layered) -> Certificate | None:
    (matrix,) = net.weights
    slowest = float(torch.linalg.eigvals(matrix).real.max())
    if not slowest < 0:
        return None
    own = _of_measure(net, None, "the matrix measure of A")
    # Nearer to the slowest decay the metric is worse conditioned, where eigenvalues have too few eigenvectors.
    solved = [
        _of_measure(net, lyapunov_metric(matrix - share * slowest * _eye(matrix)), "Lyapunov's equation for A")
        for share in (0.0, 0.5, 0.9, 0.99, 0.999)
    ]
    found = [each for each in (own, *solved) if each is not None]
    return max(found, key=lambda each: each.rate, default=None)


def _of_layers(net: Layered, steps: int) -> Certificate | None:
    if len(net.weights[-1]) != net.weights[0].shape[1]:
        return None
    why, slopes = "the ranges of its activations' slopes", net.slopes()
    for end in (0, 1):  # what any metric needs
        extreme, _ = mean_and_rest(net, [(each[end], each[end]) for each in slopes])
        if not float(torch.linalg.eigvals(extreme).real.max()) < 0:
            return None
    mean, _ = mean_and_rest(net, slopes)
    metrics: list[Tensor | None] = [None]
    if float(torch.linalg.eigvals(mean).real.max()) < 0:
        metrics.append(lyapunov_metric(mean))
    found = [_of_measure(net, metric, why) for metric in metrics]
    if len(net.weights) == 2 and len(mean) > 1:
        found += [_of_measure(net, _best_metric(net, metric, steps), why) for metric in metrics]
    return max((each for each in found if each is not None), key=lambda each: each.rate, default=None)


def _best_metric(net: Layered, metric: Tensor | None, steps: int) -> Tensor | None:
    """Return a metric in which the measure's bound is small, from another on; any one gives a valid certificate."""
    slopes, eye = net.slopes(), _eye(net.weights[0].T)
    root = eye
    if metric is not None:
        root, failed = torch.linalg.cholesky_ex(metric)
        if bool(failed):
            return None
        root = root.T
    start = [
        best_multipliers(net.in_metric(root), slopes, steps=0, symmetric=True),
        root.triu(1),
        root.diagonal().log(),
    ]

    def bound(learned: Sequence[Tensor]) -> Tensor:
        logs, above, diagonal = learned
        moved = net.in_metric(above.triu(1) + torch.diag(diagonal.exp()))
        return with_multipliers(moved, slopes, logs, symmetric=True)

    _, above, diagonal = descend(bound, start, steps=steps, rate=0.03)
    found = above.triu(1) + torch.diag(diagonal.exp())
    found = found.T @ found
    return found / torch.linalg.eigvalsh(found)[-1]


def _of_measure(net: Layered, metric: Tensor | None, why: str) -> Certificate | None:
    """Return the certificate in a metric, if there is one."""
    moved, slopes, condition = net, net.slopes(), 1.0
    if metric is not None:
        root, failed = torch.linalg.cholesky_ex(metric)
        if bool(failed) or not bool(torch.isfinite(metric).all()):
            return None
        moved, condition = net.in_metric(root.T), float(torch.linalg.cond(root))
    # Coordinates that are changed are known but to rounding.
    bound = measure_bound(moved, slopes, steps=60) + condition * rounding(moved, slopes)
    return Certificate(-bound, metric, why) if bound < 0 else None


def lyapunov_metric(matrix: Tensor) -> Tensor:
    """Return P of A^T P + P A = -I, (D, D), for a matrix whose eigenvalues have negative real parts.

    Scaled so that its largest eigenvalue is 1.
    """
    a = matrix.detach().cpu().double().numpy()
    p = torch.from_numpy(solve_continuous_lyapunov(a.T, -np.eye(len(a)))).to(matrix)
    p = (p + p.T) / 2
    return p / torch.linalg.eigvalsh(p)[-1]


def _eye(matrix: Tensor) -> Tensor:
    return torch.eye(len(matrix), dtype=matrix.dtype, device=matrix.device)
