"""Cubics given by their values and slopes at the knots."""

import torch
from torch import Tensor

from integrand.core.errors import InputError
from integrand.core.paths.path import Path, rows


class CubicPath(Path):
    """A piecewise cubic path with values x_i and slopes m_i at its knots.

    On the interval of length h that starts at t_i, with s = (t - t_i) / h and d = (x_{i+1} - x_i) / h,

        X(t)  = x_i + h [s^2 (3 - 2s) d + s (1-s)^2 m_i - s^2 (1-s) m_{i+1}]
        X'(t) = 6 s (1-s) d + (1-s) (1-3s) m_i + s (3s-2) m_{i+1}

    Args:
        coefficients: values, then slopes, (B, L, 2C).
        times: knots, (L,) or (B, L).

    Source: Fritsch and Carlson (1980), Monotone piecewise cubic interpolation.
    """

    kinks = False

    def __init__(self, coefficients: Tensor, times: Tensor) -> None:
        if coefficients.shape[-1] % 2:
            raise InputError(
                f"coefficients of a cubic path hold values and slopes, (B, L, 2C), got {tuple(coefficients.shape)}: "
                "compute them with the function of the same kind."
            )
        super().__init__(coefficients, times)

    @property
    def channels(self) -> int:
        """C."""
        return self.coefficients.shape[-1] // 2

    def evaluate(self, t: Tensor, *, interval: Tensor | None = None) -> Tensor:
        """Return X at times (Q,) or (B, Q), as (B, Q, C)."""
        index, h, s = self._local(t, interval)
        x, m = rows(self.coefficients, index).chunk(2, dim=-1)
        x_next, m_next = rows(self.coefficients, index + 1).chunk(2, dim=-1)
        rest = 1 - s
        return torch.lerp(x, x_next, s * s * (3 - 2 * s)) + h * s * rest * (rest * m - s * m_next)

    def derivative(self, t: Tensor, *, interval: Tensor | None = None) -> Tensor:
        """Return dX/dt at times (Q,) or (B, Q), as (B, Q, C)."""
        index, h, s = self._local(t, interval)
        x, m = rows(self.coefficients, index).chunk(2, dim=-1)
        x_next, m_next = rows(self.coefficients, index + 1).chunk(2, dim=-1)
        rest = 1 - s
        return 6 * s * rest * ((x_next - x) / h) + rest * (1 - 3 * s) * m + s * (3 * s - 2) * m_next


def divided_differences(values: Tensor, times: Tensor) -> Tensor:
    """Return (x_{i+1} - x_i) / (t_{i+1} - t_i), (B, L - 1, C), of times (L,) or (B, L); 0 on intervals of length 0."""
    h = times.diff(dim=-1).unsqueeze(-1)
    return torch.where(h > 0, values.diff(dim=1) / torch.where(h > 0, h, 1), 0)
