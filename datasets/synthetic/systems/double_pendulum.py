"""The planar double pendulum."""

import math
from typing import ClassVar

import torch
from torch import Tensor

from integrand.datasets.synthetic.simulator import Generator, Parameters, Start
from integrand.datasets.synthetic.systems.system import System, state


class DoublePendulum(System):
    """A mass on a rod hung from a mass on a rod, with both angles from the vertical and their canonical momenta,

        H = p . M(q)^-1 p / 2 - (m_1 + m_2) g l_1 cos q_1 - m_2 g l_2 cos q_2,
        M = [[(m_1 + m_2) l_1^2, m_2 l_1 l_2 cos(q_1 - q_2)], [m_2 l_1 l_2 cos(q_1 - q_2), m_2 l_2^2]].

    With v = M^-1 p, the angular velocities,

        dq/dt = v,    dp_1/dt = -c - (m_1 + m_2) g l_1 sin q_1,    dp_2/dt = c - m_2 g l_2 sin q_2,
        c = m_2 l_1 l_2 v_1 v_2 sin(q_1 - q_2).

    Starts are at rest, with both rods less than a right angle from the vertical; the greater the angles, the more of
    them are chaotic, with an exponent that depends on the energy.

    Source: Landau and Lifshitz (1976), Mechanics, Section 5, Problem 1; Shinbrot et al. (1992), Chaos in a double
    pendulum.
    """

    name = "double_pendulum"
    summary = "planar double pendulum: angles and momenta"
    source = "Landau and Lifshitz (1976), Section 5"
    channels = ("angle_1", "angle_2", "momentum_1", "momentum_2")
    parameters: ClassVar = {"mass_1": 1.0, "mass_2": 1.0, "length_1": 1.0, "length_2": 1.0, "gravity": 1.0}
    span, interval, step_size = 20.0, 0.1, 0.025
    solver = "dopri8 with fixed steps"
    canonical = True
    angles = (0, 1)
    time_scale = 2 * math.pi

    def field(self, t: Tensor, y: Tensor, parameters: Parameters) -> Tensor:
        """Return dy/dt."""
        m1, m2, l1, l2, gravity = (parameters[name].to(y) for name in self.parameters)
        q1, q2 = y[..., 0], y[..., 1]
        v1, v2 = _velocities(y, m1, m2, l1, l2)
        coupling = m2 * l1 * l2 * v1 * v2 * (q1 - q2).sin()
        forces = -coupling - (m1 + m2) * gravity * l1 * q1.sin(), coupling - m2 * gravity * l2 * q2.sin()
        return torch.stack([v1, v2, *forces], dim=-1)

    def draw(self, generator: Generator, points: tuple[int, ...], lengths: tuple[float, ...]) -> Start:
        """Draw both angles within a right angle, at rest."""
        angles = generator.uniform(-math.pi / 2, math.pi / 2, 2)
        return state(*angles, 0.0, 0.0)

    @staticmethod
    def _energy(values: Tensor, parameters: Parameters) -> Tensor:
        own = (parameters[name].to(values)[:, None] for name in ("mass_1", "mass_2", "length_1", "length_2", "gravity"))
        m1, m2, l1, l2, gravity = own
        q1, q2, p1, p2 = values.unbind(-1)
        v1, v2 = _velocities(values, m1, m2, l1, l2)
        height = (m1 + m2) * l1 * (1 - q1.cos()) + m2 * l2 * (1 - q2.cos())
        return (p1 * v1 + p2 * v2) / 2 + gravity * height

    invariants: ClassVar = {"energy": _energy}


def _velocities(y: Tensor, m1: Tensor, m2: Tensor, l1: Tensor, l2: Tensor) -> tuple[Tensor, Tensor]:
    """Solve M v = p."""
    q1, q2, p1, p2 = y.unbind(-1)
    cosine = (q1 - q2).cos()
    shared = m1 + m2 * (1 - cosine**2)
    v1 = (p1 / l1 - p2 * cosine / l2) / (l1 * shared)
    v2 = ((m1 + m2) / m2 * p2 / l2 - p1 * cosine / l1) / (l2 * shared)
    return v1, v2
