"""The diagonal recurrence with constant decays as one convolution, by Fourier transforms."""

import torch
from scipy.fft import next_fast_len
from torch import Tensor

from integrand.core.errors import InputError
from integrand.core.numerics.scan import recurrence_terms


def diagonal_convolution(a: Tensor, b: Tensor, initial: Tensor | None = None, *, reverse: bool = False) -> Tensor:
    """Solve h_l = a h_{l-1} + b_l as the convolution h_l = sum_{m <= l} a^(l - m) b_m + a^(l + 1) h_{-1}.

    The powers of ``a`` (rows of a Vandermonde matrix) are the kernel; both sides are transformed over at least 2L - 1
    elements, so that nothing wraps around. It gives what ``diagonal_scan`` gives, to rounding, and that in few large
    operations: the choice where these cost little, or where only some outputs follow from many states. Rounding is
    relative to the greatest state of a sequence here, and to each state in the scan.

    Args:
        a: decays that are constant in time, real or complex: anything that broadcasts to ``b`` and is of size 1 along
            its length, such as (N,) or (B, 1, N).
        b: inputs, (B, L, ...).
        initial: state before the first element (after the last one if ``reverse``), (B, ...); zero when None.
        reverse: run from the last element to the first.

    Returns:
        States h, in the shape of ``b`` and the type to which all inputs promote; half precision is computed in single.

    Raises:
        InputError: decays that change in time, shapes that do not fit, or whole numbers.

    Example:
        >>> diagonal_convolution(torch.tensor(0.5), torch.ones(1, 3, 1)).flatten()
        tensor([1.0000, 1.5000, 1.7500])

    Source: Gu, Goel and Re (2022), Efficiently modeling long sequences with structured state spaces, Eqs. 4 and 5.
    """
    a, b, initial, dtype = recurrence_terms(a, b, initial)
    length = b.shape[1]
    if a.shape[1] != 1:
        raise InputError(f"a of shape {tuple(a.shape)} changes along the length {length}: use diagonal_scan.")
    if b.numel() == 0:
        return b.to(dtype)
    powers = _powers(a, length + 1)
    states = _convolve(powers[:, :-1], b, reverse)
    before = powers[:, 1:].flip(1) if reverse else powers[:, 1:]
    return (states + before * initial.unsqueeze(1)).to(dtype)


def _powers(a: Tensor, count: int) -> Tensor:
    """Return a^0, a^1, ... along the length, by products alone: no logarithm, so that zero and negative decays do."""
    powers, factor = torch.ones_like(a), a
    while powers.shape[1] < count:
        powers = torch.cat([powers, powers * factor], dim=1)
        factor = factor * factor
    return powers[:, :count]


def _convolve(kernel: Tensor, b: Tensor, reverse: bool) -> Tensor:
    """Return sum_m k_(l-m) b_m, or with k_(m-l) if ``reverse``, for real or complex sequences."""
    length = b.shape[1]
    size = next_fast_len(2 * length - 1)
    if kernel.is_complex() or b.is_complex():
        forward, backward = torch.fft.fft, torch.fft.ifft
    else:
        forward, backward = torch.fft.rfft, torch.fft.irfft
    # The transform of the kernel run backwards is the conjugate of that of its conjugate.
    transform = forward(kernel.conj(), size, dim=1).conj() if reverse else forward(kernel, size, dim=1)
    return backward(transform * forward(b, size, dim=1), size, dim=1)[:, :length]
