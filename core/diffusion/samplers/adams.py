"""Weights of exponential Adams methods: the integral of a polynomial through the denoiser's answers, in lambda."""

import math
from collections.abc import Sequence

from integrand.core.diffusion.samplers.grid import Grid

SMALL = 1.0
"""Steps in lambda below which the moments are found by the recurrence run backwards."""
TERMS = 20
"""Where it begins: what is left of its first guess at h = 1 is below 1 / 20!, less than a rounding."""


def moments(h: float, count: int) -> list[float]:
    """Return m_n = int_0^h exp(u - h) (u / h)^n du for n below ``count``, each to a few roundings.

    Integration by parts gives m_0 = 1 - e^-h and m_n = 1 - n m_{n-1} / h. (In phi-functions m_n = h n! phi_{n+1}(-h).)
    For small h that cancels, and m_{n-1} = (1 - m_n) h / n, from an n so large that any guess will do, does not.

    Args:
        h: step in lambda, positive and finite.
        count: how many.

    Example:
        >>> [round(m, 6) for m in moments(1e-3, 3)]
        [0.001, 0.0005, 0.000333]
    """
    if h >= SMALL:
        found = [-math.expm1(-h)]
        for n in range(1, count):
            found.append(1 - n * found[-1] / h)
        return found
    value, found = h / (TERMS + count + 1), []
    for n in range(TERMS + count, 0, -1):
        value = (1 - value) * h / n
        if n <= count:
            found.append(value)
    return found[::-1]


def adams_weights(h: float, nodes: Sequence[float]) -> list[float]:
    """Return w_k with sum_k w_k D(r_k) = int_0^h exp(u - h) D(u / h) du, D any polynomial of degree below the count.

    A step of h in lambda from i to j, with the answers D_k at lambda_i + r_k h, is then

        x_j = sigma_j / sigma_i x_i + alpha_j sum_k w_k D_k,

    with r = 0, -1, ... the exponential Adams-Bashforth method, explicit, and with r = 1 as well the Adams-Moulton one.

    Args:
        h: step in lambda, positive and finite.
        nodes: r_k, all different.

    Example:
        >>> [round(w, 4) for w in adams_weights(1e-6, [0.0, -1.0])] == [0.0, 0.0]
        True
        >>> [round(w / 1e-6, 4) for w in adams_weights(1e-6, [0.0, -1.0])]
        [1.5, -0.5]

    Source: Hochbruck and Ostermann (2010), Exponential integrators, Section 4.
    """
    return node_weights(moments(h, len(nodes)), nodes)


def node_weights(integrals: Sequence[float], nodes: Sequence[float]) -> list[float]:
    """Return w_k with sum_k w_k r_k^n = m_n, by which answers at the nodes integrate like their polynomial.

    Args:
        integrals: m_n of the powers n, as many as nodes.
        nodes: r_k, all different.

    Example:
        >>> node_weights([1.0, 0.5], [0.0, 1.0])
        [0.5, 0.5]

    Source: Bjorck and Pereyra (1970), Solution of Vandermonde systems of equations.
    """
    weights, last = list(integrals), len(nodes) - 1
    for k in range(last):
        for n in range(last, k, -1):
            weights[n] -= nodes[k] * weights[n - 1]
    for k in range(last - 1, -1, -1):
        for n in range(k + 1, last + 1):
            weights[n] /= nodes[n] - nodes[n - k - 1]
        for n in range(k, last):
            weights[n] -= weights[n + 1]
    return weights


def past_nodes(grid: Grid, i: int, order: int) -> list[float]:
    """Return r_k of the answers at i, i - 1, ... that a step from i may use: at most ``order``, none in pure noise."""
    here, h = grid.half_log_snr[i], grid.h(i, i + 1)
    first = max(0, i + 1 - order)
    return [(level - here) / h for level in reversed(grid.half_log_snr[first : i + 1]) if math.isfinite(level)]
