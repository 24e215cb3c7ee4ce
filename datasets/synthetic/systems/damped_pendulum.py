"""A pendulum with friction."""

import math
from typing import ClassVar

import torch
from torch import Tensor

from integrand.datasets.synthetic.simulator import Generator, Parameters, Start
from integrand.datasets.synthetic.systems.system import System, state


class DampedPendulum(System):
    """A pendulum of frequency w = sqrt(g / l) with linear and quadratic friction; q from the hanging position,

        dq/dt = v,    dv/dt = -w^2 sin q - friction v - drag |v| v.

    What is known is the pendulum, with a frequency that is not; what must be learned is the friction. With a drag the
    field has a kink at v = 0, and the solver's error falls only with the cube of the step.

    Source: Strogatz (2015), Nonlinear dynamics and chaos, Section 6.7; drag in proportion to the square of the speed
    as in Nelson and Olsson (1986), The pendulum: rich physics from a simple system, Section III.
    """

    name = "damped_pendulum"
    summary = "pendulum with linear and quadratic friction: angle and velocity"
    source = "Nelson and Olsson (1986)"
    channels = ("angle", "velocity")
    parameters: ClassVar = {"frequency": 1.0, "friction": 0.2, "drag": 0.0}
    span, interval, step_size = 20.0, 0.1, 0.1
    solver = "dopri8 with fixed steps"
    angles = (0,)
    time_scale = 2 * math.pi
    known_parameters = ("frequency",)

    def field(self, t: Tensor, y: Tensor, parameters: Parameters) -> Tensor:
        """Return dy/dt."""
        friction, drag = (parameters[name].to(y) for name in ("friction", "drag"))
        v = y[..., 1]
        resistance = torch.stack([torch.zeros_like(v), -(friction + drag * v.abs()) * v], dim=-1)
        return self.known_field(t, y, parameters) + resistance

    def known_field(self, t: Tensor, y: Tensor, parameters: Parameters) -> Tensor:
        """Return the pendulum without friction."""
        q, v = y.unbind(-1)
        return torch.stack([v, -(parameters["frequency"].to(y) ** 2) * q.sin()], dim=-1)

    def draw(self, generator: Generator, points: tuple[int, ...], lengths: tuple[float, ...]) -> Start:
        """Draw an angle within 2.5 radians and a velocity within 1."""
        return state(generator.uniform(-2.5, 2.5), generator.uniform(-1, 1))
