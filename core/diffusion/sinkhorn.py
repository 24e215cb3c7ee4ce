"""Entropic optimal transport between two samples: the static Schrodinger bridge."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from integrand.core.errors import InputError

LOOK_EVERY = 10
"""Iterations between two looks at the error: each look makes the host wait for the device."""


class Plan(NamedTuple):
    """The coupling that Sinkhorn's iteration came to.

    Attributes:
        log_conditional: (N, M), log of the chance of column j given row i; its rows sum to 1 exactly.
        row_potential, column_potential: f (N,) and g (M,), in the units of the cost.
        error: how far the columns' sums are from 1 / M, the sum of absolute values, ().
        iterations: how many were made.
    """

    log_conditional: Tensor
    row_potential: Tensor
    column_potential: Tensor
    error: Tensor
    iterations: int

    @property
    def weights(self) -> Tensor:
        """The plan itself, (N, M): it sums to 1, each row to 1 / N."""
        return self.log_conditional.exp() / len(self.log_conditional)


def sinkhorn(cost: Tensor, epsilon: float, *, tolerance: float = 1e-3, max_iterations: int = 2000) -> Plan:
    """Couple N rows and M columns, all of equal weight, at least cost and entropy:

        min over P of  sum_ij P_ij C_ij + epsilon KL(P | 1 / (N M)),     P 1 = 1 / N,  P^T 1 = 1 / M

    The plan is P_ij = exp((f_i + g_j - C_ij) / epsilon) / (N M), whose potentials each half of an iteration fits to one
    of the two marginals. It is done with logarithms, so that no small epsilon makes it overflow; the iterations grow as
    1 / epsilon.

    With C = |x - y|^2 and epsilon = 2 sigma^2 the plan holds the ends of the Schrodinger bridge between the two samples
    whose reference is Brownian motion of rate sigma, for its transition over a unit of time is exp(-C / (2 sigma^2)).

    Args:
        cost: C, (N, M), finite.
        epsilon: weight of the entropy, in the units of the cost.
        tolerance: of ``Plan.error`` at which it ends.
        max_iterations: after which it ends in any case; ``Plan.error`` then tells how far it came.

    Raises:
        InputError: a cost that is not a matrix, an option out of range.

    Example:
        >>> plan = sinkhorn(torch.tensor([[0.0, 1.0], [1.0, 0.0]]), epsilon=1 / math.log(3))
        >>> plan.weights  # e^(-C / epsilon) is 1 and 1/3
        tensor([[0.3750, 0.1250],
                [0.1250, 0.3750]])

    Source: Cuturi (2013), Sinkhorn distances: lightspeed computation of optimal transport, Algorithm 1; in logarithms
    Peyre and Cuturi (2019), Computational optimal transport, Section 4.4.
    """
    if cost.dim() != 2 or 0 in cost.shape:
        raise InputError(f"a cost must be a matrix (N, M) with entries, got shape {tuple(cost.shape)}.")
    if not 0 < epsilon < math.inf:
        raise InputError(f"epsilon={epsilon:g} is out of range: it must be positive; exact transport has none.")
    if max_iterations < 1:
        raise InputError(f"max_iterations={max_iterations} is out of range: at least 1 is needed.")
    scaled = cost / -epsilon
    rows, columns = cost.shape
    f, g = cost.new_zeros(rows), cost.new_zeros(columns)
    made, g_next, error = 0, g, cost.new_tensor(math.inf)
    while made < max_iterations:
        for _ in range(min(LOOK_EVERY, max_iterations - made)):
            g = g_next
            f = math.log(columns) - torch.logsumexp(scaled + g, dim=1)
            sums = torch.logsumexp(scaled + f.unsqueeze(1), dim=0)
            g_next = math.log(rows) - sums
            made += 1
        error = torch.expm1(g - g_next).abs().mean()  # of the columns' sums, while the rows are exact
        if float(error) <= tolerance:
            break
    return Plan(torch.log_softmax(scaled + g, dim=1), epsilon * f, epsilon * g, error, made)
