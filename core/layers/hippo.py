"""HiPPO-LegS: the linear ODE that keeps a function's Legendre coefficients, and the part of it that is diagonalised."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from integrand.core.errors import InputError


class LegS(NamedTuple):
    """The system h' = A h + B x in float64: A (N, N) and B (N,)."""

    a: Tensor
    b: Tensor


class NormalPart(NamedTuple):
    """One eigenvalue of each conjugate pair, (N/2,), and the eigenvectors as columns, (N, N/2), in complex128."""

    eigenvalues: Tensor
    vectors: Tensor


def legs(size: int) -> LegS:
    """Return the matrices of HiPPO-LegS.

    A_nk = -sqrt((2n + 1)(2k + 1)) for n > k, -(n + 1) for n = k, 0 above; B_n = sqrt(2n + 1).

    Args:
        size: states N.

    Raises:
        InputError: fewer than one state.

    Example:
        >>> legs(2).a
        tensor([[-1.0000,  0.0000],
                [-1.7321, -2.0000]], dtype=torch.float64)

    Source: Gu, Dao, Ermon, Rudra and Re (2020), HiPPO: recurrent memory with optimal polynomial projections; with
    constant coefficients as in Gu, Goel and Re (2022), Efficiently modeling long sequences with structured state
    spaces, Eq. 2.
    """
    if size < 1:
        raise InputError(f"the size of HiPPO-LegS must be at least 1, got {size}.")
    return LegS(*(torch.as_tensor(each) for each in _legs(size)))


def legs_normal(size: int) -> NormalPart:
    """Diagonalise the normal part of HiPPO-LegS, S = A + P P^T with P_n = sqrt(n + 1/2).

    S + I/2 is skew-symmetric, so that S = V diag(-1/2 + i omega) V^* with unitary V. Eigenvalues come in conjugate
    pairs, of which the one with omega > 0 is kept. As N grows, the states of S driven by B/2 tend to those of A driven
    by B: that is why the diagonal is a good start.

    Args:
        size: states N, even.

    Raises:
        InputError: an odd size, or none.

    Example:
        >>> legs_normal(2).eigenvalues
        tensor([-0.5000+0.8660j], dtype=torch.complex128)

    Source: Gu, Goel and Re (2022), Efficiently modeling long sequences with structured state spaces, Theorem 1; its use
    without the rest: Gupta, Gu and Berant (2022), Diagonal state spaces are as effective as structured state spaces;
    the limit: Gu, Goel, Gupta and Re (2022), On the parameterization and initialization of diagonal state space models.
    """
    if size < 2 or size % 2:
        raise InputError(f"the size must be even and at least 2, got {size}: states come in conjugate pairs.")
    a, b = _legs(size)
    skew = a + np.outer(b, b) / 2 + np.eye(size) / 2
    frequency, vectors = np.linalg.eigh(-1j * skew)
    upper = frequency > 0
    eigenvalues = -0.5 + 1j * frequency[upper]
    return NormalPart(torch.as_tensor(eigenvalues), torch.as_tensor(np.ascontiguousarray(vectors[:, upper])))


def _legs(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return A and B on the host, whatever the device on which tensors are made."""
    n = np.arange(size, dtype=np.float64)
    root = np.sqrt(2 * n + 1)
    # 0 - x leaves no negative zeros above the diagonal.
    return 0 - np.tril(np.outer(root, root), -1) - np.diag(n + 1), root
