"""How far two answers are apart, beside how much answers differ among themselves."""

import torch
from torch import Tensor

from integrand.core.errors import InputError


def relative_change(answer: Tensor, reference: Tensor) -> float:
    """Return the root mean square of ``answer - reference`` as a share of the spread of the reference.

    The spread is the root mean square distance of the samples from their mean; where there is one sample, or all are
    the same, the root mean square of the reference itself. So a prediction that is right to 1 % of what it has to tell
    apart is right to 0.01, however far from zero it lies.

    Args:
        answer: (B, ...).
        reference: (B, ...).

    Returns:
        The share; infinite where the answer is not finite.

    Example:
        >>> relative_change(torch.tensor([101.5, 103.5]), torch.tensor([101.0, 103.0]))
        0.5
    """
    if answer.shape != reference.shape:
        raise InputError(f"two answers have shapes {tuple(answer.shape)} and {tuple(reference.shape)}: ask the same.")
    wide = torch.complex128 if reference.is_complex() else torch.float64
    answer, reference = answer.detach().to(wide), reference.detach().to(wide)
    if not bool(torch.isfinite(answer).all()) or answer.numel() == 0:
        return float("inf")
    spread = _size(reference - reference.mean(0, keepdim=True)) if reference.dim() else 0.0
    if spread <= 1e-12 * _size(reference):
        spread = _size(reference)
    apart = _size(answer - reference)
    return apart / spread if spread > 0 else (0.0 if apart == 0 else float("inf"))


def _size(x: Tensor) -> float:
    return float(x.abs().square().mean().sqrt())
