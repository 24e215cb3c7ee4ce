"""The Schrodinger bridge: of all processes from one distribution to another, the one most like Brownian motion."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from integrand.core.diffusion.interpolants import BrownianBridge
from integrand.core.diffusion.process import lift
from integrand.core.errors import InputError
from integrand.core.numerics.solve_sde import StochasticSolution, solve_sde


class SchrodingerBridge(nn.Module):
    """The bridge between data at t = 0 and a source at t = 1, made of two mean fields.

    Of all processes with these two marginals it is the one of least Kullback-Leibler divergence from Brownian motion of
    rate sigma. Its ends are coupled by entropic optimal transport of the cost |x_0 - x_1|^2 with epsilon = 2 sigma^2
    (``Entropic(epsilon=bridge.epsilon)``), and between them it is a Brownian bridge, so that two regressions along
    such bridges (``bridge_matching_loss``) find the whole of it, with no process simulated:

        v(t, x) = E[x_1 - x_0 | x_t = x],      s(t, x) = grad log p_t(x) = -E[z | x_t = x] / (sigma sqrt(t (1 - t))).

    As gamma gamma' = sigma^2 (1/2 - t), the ordinary equation and the stochastic ones of either direction have the
    drifts

        flow       v - sigma^2 (1/2 - t) s       the field itself, for ``solve_ode`` either way
        forward    v + sigma^2 t s               dx = ... dt + sigma dW, from data to source
        backward   v - sigma^2 (1 - t) s         from source to data, for ``solve_sde`` with times that decrease

    which are finite at both ends, as v and s are. All three have the same marginals; the two stochastic ones have the
    same paths.

    Its place on the map: model level; the stochastic optimal control of a Brownian motion, the dynamic face of entropic
    optimal transport.

    Args:
        flow: v, called ``flow(t, x)``, or ``flow(t, x, args)`` where ``args`` are given; t is a scalar or (B,).
        score: s, called alike. Modules are registered, so that their parameters are the bridge's.
        sigma: rate of the Brownian motion, in the units of the data.

    Raises:
        InputError: sigma is not positive.

    Shapes:
        ``bridge(t, x, args)``: t scalar or (B,), x (B, ...); returns (B, ...).

    Example:
        >>> still = SchrodingerBridge(lambda t, x: 0 * x, lambda t, x: -x, sigma=1.0)
        >>> still(torch.tensor(0.0), torch.tensor([[2.0]]))
        tensor([[1.]])
        >>> still.solve(torch.zeros(5, 2), [1.0, 0.0], step_size=0.1).states.shape
        torch.Size([5, 2, 2])

    Source: Tong, Malkin, Fatras, Atanackovic, Zhang, Huguet, Wolf and Bengio (2024), Simulation-free Schrodinger
    bridges via score and flow matching; Leonard (2014), A survey of the Schrodinger problem and some of
    its connections with optimal transport.
    """

    def __init__(self, flow: Callable[..., Tensor], score: Callable[..., Tensor], sigma: float = 1.0) -> None:
        super().__init__()
        self.flow, self.score = flow, score
        self.path = BrownianBridge(sigma)

    @property
    def sigma(self) -> float:
        """The rate of the Brownian motion."""
        return self.path.sigma

    @property
    def epsilon(self) -> float:
        """The weight of the entropy that the ends are coupled with, 2 sigma^2."""
        return 2 * self.sigma**2

    def forward(self, t: Tensor, x: Tensor, args: Any = None) -> Tensor:
        """Return the velocity of the ordinary equation, (B, ...)."""
        return self._drift(0.5, t, x, args)

    def forward_drift(self, t: Tensor, x: Tensor, args: Any = None) -> Tensor:
        """Return the drift of the stochastic equation from data to source, (B, ...)."""
        return self._drift(0.0, t, x, args)

    def backward_drift(self, t: Tensor, x: Tensor, args: Any = None) -> Tensor:
        """Return the drift of the stochastic equation from source to data, (B, ...)."""
        return self._drift(1.0, t, x, args)

    def diffusion(self, t: Tensor, x: Tensor, args: Any = None) -> Tensor:
        """Return sigma for each component, (B, ...)."""
        return torch.full_like(x, self.sigma)

    def solve(
        self, x: Tensor, times: Tensor | Sequence[float], *, args: Any = None, **options: Any
    ) -> StochasticSolution:
        """Solve the stochastic equation from x at the first time, in the direction in which the times go.

        Args:
            x: states, (B, ...): data where times increase, the source where they decrease.
            times: (T,), from 0 to 1 or from 1 to 0, or between.
            args: conditions, as the fields take them.
            options: see ``solve_sde``; ``step_size`` is one of them.

        Raises:
            InputError: times that do not go one way within [0, 1].
        """
        host = torch.as_tensor(times, dtype=torch.float64, device="cpu")
        change = host.diff()
        if host.dim() != 1 or len(host) < 2 or not (bool((change > 0).all()) or bool((change < 0).all())):
            raise InputError(f"times of a bridge must be (T,), all rising or all falling, got {host.tolist()}.")
        if not 0 <= float(host.min()) <= float(host.max()) <= 1:
            raise InputError(f"times of a bridge must be within [0, 1], got {host.min():g} to {host.max():g}.")
        drift = self.forward_drift if float(change[0]) > 0 else self.backward_drift
        return solve_sde(drift, self.diffusion, x, times, args=args, noise="diagonal", **options)

    def _drift(self, origin: float, t: Tensor, x: Tensor, args: Any) -> Tensor:
        """Return v - sigma^2 (origin - t) s."""
        given = (t, x) if args is None else (t, x, args)
        return self.flow(*given) + lift(self.sigma**2 * (t - origin), x) * self.score(*given)
