"""McSharry's equation of the electrocardiogram, and its solution in closed form where the phase runs evenly.

Dimension letters: B samples, L times, W waves, C leads.
"""

import math

import torch
from torch import Tensor, nn

from integrand.core.errors import InputError

CycleWaves = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]
"""``args`` of ``CardiacCycle``: angles, widths and strengths (B, W, C), speed (B,), baseline (B, C)."""


class CardiacCycle(nn.Module):
    """The field of a point that runs around a circle, and of voltages that the waves it passes move.

    With the state (x, y, z), the angle theta = atan2(y, x) and the angles d_i = theta - theta_i to the waves,
    taken from -pi to pi,

        x' = (1 - r) x - omega y,      y' = (1 - r) y + omega x,      r = sqrt(x^2 + y^2),
        z' = -sum_i a_i d_i exp(-d_i^2 / (2 b_i^2)) - (z - z_0).

    The circle r = 1 is a limit cycle, a turn on it is a heart beat of 2 pi / omega seconds, and every lead has a z of
    its own with waves of its own. On the circle the angle is linear in time, and ``solve_on_circle`` is the solution.

    Its place on the map: a field; a stable oscillator that drives a linear equation, and so a physical model of a
    signal in which every number has a meaning.

    Shapes:
        ``field(t, state, args)``: t scalar or (B,), of which nothing depends; state (B, 2 + C) of x, y and the
        voltages; args the tuple (theta_i (B, W, C) rad, b_i (B, W, C) rad, a_i (B, W, C) per second and rad, omega (B,)
        rad per second, z_0 (B, C)); returns (B, 2 + C).

    Raises:
        InputError: the state has not two places more than there are leads.

    Example:
        >>> ones = torch.ones(1, 5, 2)
        >>> state = torch.tensor([[1.0, 0.0, 0.3, 0.4]])
        >>> CardiacCycle()(torch.tensor(0.0), state, (ones, ones, 0 * ones, torch.tensor([6.0]), torch.zeros(1, 2)))
        tensor([[ 0.0000,  6.0000, -0.3000, -0.4000]])

    Source: McSharry, Clifford, Tarassenko and Smith (2003), A dynamical model for generating synthetic
    electrocardiogram signals, Eq. 1; in several leads Sameni, Clifford, Jutten and Shamsollahi (2007), Multichannel ECG
    and noise modeling, Eq. 5.
    """

    def forward(self, t: Tensor, state: Tensor, args: CycleWaves) -> Tensor:
        """Evaluate the field."""
        angle, width, strength, speed, baseline = args
        if state.dim() != 2 or state.shape[1] != 2 + baseline.shape[1]:
            raise InputError(
                f"the state must be (B, 2 + C) of x, y and {baseline.shape[1]} voltages, got {tuple(state.shape)}."
            )
        x, y, z = state[:, :1], state[:, 1:2], state[:, 2:]
        pull, omega = 1 - torch.hypot(x, y), speed.unsqueeze(1)
        off = torch.atan2(y, x).unsqueeze(2) - angle
        off = torch.remainder(off + math.pi, 2 * math.pi) - math.pi
        pushed = (strength * off * torch.exp(-0.5 * (off / width) ** 2)).sum(1)
        return torch.cat([pull * x - omega * y, pull * y + omega * x, baseline - z - pushed], dim=1)


def passing(t: Tensor, time: Tensor, width: Tensor) -> Tensor:
    """Return the voltage that one wave of height 1 causes as it is passed, when there was none long before.

    The wave alone would be G = exp(-(t - mu)^2 / (2 sigma^2)). The voltage falls back to 0 all the while, and so it is

        p(t) = G(t) - integral of exp(-(t - s)) G(s) ds over s < t
             = G(t) - sigma sqrt(2 pi) exp(sigma^2 / 2 - (t - mu)) Phi((t - mu) / sigma - sigma),

    the solution of p' = G' - p, where Phi is the normal distribution's function.

    Args:
        t: times, s.
        time: mu, s, of a shape that broadcasts with t.
        width: sigma, s, likewise.

    Example:
        >>> passing(torch.tensor([0.0, 1.0]), torch.zeros(()), torch.tensor(0.1))
        tensor([ 0.8841, -0.0927])
    """
    wave, fallen = _wave_and_fall(t - time, width)
    return wave - fallen


def passing_slopes(t: Tensor, time: Tensor, width: Tensor) -> tuple[Tensor, Tensor]:
    """Return the slopes of ``passing`` along the wave's time and width, per second, without autograd.

        dp/dmu = p + u G / sigma,      dp/dsigma = u^2 G / sigma - (1 / sigma + sigma) (G - p) + (u + sigma) G,

    with u = (t - mu) / sigma.

    Example:
        >>> along_time, along_width = passing_slopes(torch.tensor(0.0), torch.tensor(0.1), torch.tensor(0.1))
        >>> bool(along_time < 0), bool(along_width > 0)  # a later wave is less there, a wider one more
        (True, True)
    """
    u = (t - time) / width
    wave, fallen = _wave_and_fall(t - time, width)
    along_width = u**2 / width * wave - (1 / width + width) * fallen + (u + width) * wave
    return wave - fallen + u / width * wave, along_width


def _wave_and_fall(off: Tensor, width: Tensor) -> tuple[Tensor, Tensor]:
    fallen = 0.5 * width**2 - off + torch.special.log_ndtr(off / width - width)
    return torch.exp(-0.5 * (off / width) ** 2), width * math.sqrt(2 * math.pi) * torch.exp(fallen)


def solve_on_circle(t: Tensor, start: Tensor, args: CycleWaves) -> Tensor:
    """Solve ``CardiacCycle`` from the circle: the voltages at times t, in closed form.

    With mu_i = theta_i / omega, sigma_i = b_i / omega, h_i = a_i b_i^2 / omega and p of ``passing``,

        z(t) = z_0 + sum_i h_i p_i(t) + (z(t_1) - z_0 - sum_i h_i p_i(t_1)) exp(-(t - t_1)).

    Every wave counts once, as it does within half a turn of it.

    Args:
        t: (L,) times in s, increasing, of which 0 is where the point has the angle 0; the first is t_1.
        start: (B, C) z(t_1), the voltages at the first time.
        args: as ``CardiacCycle`` takes them.

    Returns:
        (B, L, C).

    Example:
        >>> one = torch.ones(1, 1, 1)
        >>> falls = solve_on_circle(torch.linspace(0, 1, 3), one[0], (one, one, 0 * one, one[0, 0], 0 * one[0]))
        >>> falls.flatten()
        tensor([1.0000, 0.6065, 0.3679])

    Source: McSharry, Clifford, Tarassenko and Smith (2003), Eq. 1, on its limit cycle; the integral is ours.
    """
    angle, width, strength, speed, baseline = args
    omega = speed[:, None, None]
    height = strength * width**2 / omega
    passed = passing(t[:, None, None], (angle / omega).unsqueeze(1), (width / omega).unsqueeze(1))  # (B, L, W, C)
    waves = (height.unsqueeze(1) * passed).sum(2)
    left = start - baseline - waves[:, 0]
    return baseline.unsqueeze(1) + waves + left.unsqueeze(1) * torch.exp(t[0] - t)[:, None]
