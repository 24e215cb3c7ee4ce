"""The neural ordinary differential equation."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from integrand.core.numerics.solution import Solution
from integrand.core.numerics.solve_ode import Gradient, solve_ode


class NeuralODE(nn.Module):
    """A network whose depth is time: y(T) of dy/dt = f(t, y; theta), y(0) = input.

    Its place on the map: model level; forward Euler with unit step gives a residual network.

    Args:
        field: f, a module called ``field(t, y)`` or ``field(t, y, args)``.
        method: a method of ``solve_ode``.
        rtol: relative tolerance of adaptive methods.
        atol: absolute tolerance of adaptive methods.
        step_size: longest step of methods with fixed steps.
        gradient: how gradients are formed, see ``solve_ode``.

    Example:
        >>> from integrand.core.fields import MLP
        >>> solution = NeuralODE(MLP(2))(torch.zeros(5, 2), torch.linspace(0, 1, 3))
        >>> solution.states.shape
        torch.Size([5, 3, 2])

    Source: Chen, Rubanova, Bettencourt and Duvenaud (2018), Neural ordinary differential equations, Eq. 2.
    """

    def __init__(
        self,
        field: nn.Module,
        *,
        method: str = "dopri5",
        rtol: float = 1e-4,
        atol: float = 1e-6,
        step_size: float | None = None,
        gradient: Gradient = "direct",
    ) -> None:
        super().__init__()
        self.field = field
        self.method, self.rtol, self.atol = method, rtol, atol
        self.step_size = step_size
        self.gradient: Gradient = gradient

    def forward(self, y0: Tensor, times: Tensor | Sequence[float], args: Any = None) -> Solution:
        """Solve from y0 (B, ...) over times (T,) or (B, T); returns a ``Solution`` with states (B, T, ...)."""
        return solve_ode(
            self.field,
            y0,
            times,
            args=args,
            method=self.method,
            rtol=self.rtol,
            atol=self.atol,
            step_size=self.step_size,
            gradient=self.gradient,
        )
