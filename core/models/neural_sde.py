"""The neural stochastic differential equation."""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from integrand.core.errors import InputError
from integrand.core.fields.constant_diffusion import ConstantDiffusion
from integrand.core.fields.mlp import MLP
from integrand.core.numerics.field_call import naming_precisions
from integrand.core.numerics.solve_sde import StochasticSolution, solve_sde
from integrand.core.numerics.stochastic.brownian import Brownian
from integrand.core.numerics.stochastic.fitting import check_method, check_steps

Noise = Literal["diagonal", "scalar", "commutative", "additive", "general"]
Calculus = Literal["ito", "stratonovich"]


class NeuralSDE(nn.Module):
    """A network whose depth is time and whose layers are noisy: y(T) of

        dy = f(t, y; theta) dt + g(t, y; theta) dW,     y(0) = input.

    Its place on the map: model level; with Euler's scheme and unit steps it is a residual network with noise in every
    block, and without g a neural ODE.

    Args:
        drift: f, a module called ``drift(t, y)``, or ``drift(t, y, args)`` when arguments are given; a whole number
            D stands for networks of that dimension: an ``MLP`` for f, and for g, unless it is given, an ``MLP`` that is
            positive (``"diagonal"``) or a matrix (``"scalar"``, ``"general"``), or a ``ConstantDiffusion``
            (``"additive"``). Methods of order above 1/2 for diagonal noise want a ``DiagonalDiffusion`` as g.
        diffusion: g, called alike: (B, D) for diagonal noise, else (B, D, M).
        noise: what is known of g, see ``solve_sde``.
        calculus: ``"ito"`` or ``"stratonovich"``, how the equation is read.
        channels: M of the default networks for ``"general"`` and ``"additive"`` noise, D where None.
        hidden: widths of the default networks.
        method: a method of ``solve_sde``; where None ``"euler"`` in Ito's calculus, ``"heun"`` in Stratonovich's, and
            ``"reversible_heun"`` for the reversible gradient.
        step_size: longest step, in the units of time; None takes one step an output interval.
        rtol, atol: tolerances of adaptive steps, in place of ``step_size``.
        gradient: ``"direct"``, or ``"reversible"`` for one in memory that does not grow with the steps.
        on_failure: what a state that is not finite does, see ``solve_sde``.

    Raises:
        InputError: an option is out of range, or the method does not fit the equation.

    Example:
        >>> model = NeuralSDE(2, step_size=0.1)
        >>> solution = model(torch.zeros(5, 2), torch.linspace(0, 1, 3), seeds=range(5))
        >>> solution.states.shape
        torch.Size([5, 3, 2])
        >>> again = model(torch.zeros(2, 2), torch.linspace(0, 1, 3), seeds=[0, 1])
        >>> torch.allclose(solution.states[:2], again.states, atol=1e-5)
        True

    Source: Tzen and Raginsky (2019), Neural stochastic differential equations: deep latent Gaussian models in the
    diffusion limit; Kidger, Foster, Li and Lyons (2021), Efficient and accurate gradients for neural SDEs, for the
    reversible gradient.
    """

    def __init__(
        self,
        drift: nn.Module | int,
        diffusion: nn.Module | None = None,
        *,
        noise: Noise = "diagonal",
        calculus: Calculus = "ito",
        channels: int | None = None,
        hidden: Sequence[int] = (64,),
        method: str | None = None,
        step_size: float | None = None,
        rtol: float | None = None,
        atol: float | None = None,
        gradient: Literal["direct", "reversible"] = "direct",
        on_failure: Literal["raise", "nan", "last"] = "raise",
    ) -> None:
        super().__init__()
        if method is None:
            method = (
                "reversible_heun" if gradient == "reversible" else "heun" if calculus == "stratonovich" else "euler"
            )
        adaptive = check_steps(step_size, rtol, atol, None, None)
        check_method("native", method, noise, calculus, gradient, on_failure, adaptive)
        if diffusion is None:
            if isinstance(drift, nn.Module):
                raise InputError("diffusion is None: give it beside the drift, or a dimension in place of both.")
            diffusion = _diffusion(drift, noise, channels, hidden)
        elif channels is not None:
            raise InputError(f"channels={channels} is for the default networks: the diffusion given has its own.")
        self.drift = drift if isinstance(drift, nn.Module) else MLP(drift, hidden)
        self.diffusion = diffusion
        self.noise: Noise = noise
        self.calculus: Calculus = calculus
        self.method, self.step_size, self.rtol, self.atol = method, step_size, rtol, atol
        self.gradient: Literal["direct", "reversible"] = gradient
        self.on_failure: Literal["raise", "nan", "last"] = on_failure

    def forward(
        self,
        y0: Tensor,
        times: Tensor | Sequence[float],
        args: Any = None,
        *,
        seeds: Tensor | Sequence[int] | None = None,
        brownian: Brownian | None = None,
        generator: torch.Generator | None = None,
    ) -> StochasticSolution:
        """Solve from y0 (B, D) over times (T,) or (B, T); returns a ``StochasticSolution`` with states (B, T, D).

        Args:
            y0: initial states.
            times: output times, the first being that of y0.
            args: a tensor or nested structure of tensors (B, ...), handed to both fields.
            seeds: (B,) whole numbers, of which the path of each sample is a function. Without seeds and ``brownian``
                the noise is drawn afresh at every call.
            brownian: a path of one's own.
            generator: where fresh noise comes from.
        """
        with naming_precisions(y0, self.drift, self.diffusion):
            return solve_sde(
                self.drift,
                self.diffusion,
                y0,
                times,
                args=args,
                noise=self.noise,
                calculus=self.calculus,
                method=self.method,
                step_size=self.step_size,
                rtol=self.rtol,
                atol=self.atol,
                seeds=seeds,
                brownian=brownian,
                generator=generator,
                gradient=self.gradient,
                on_failure=self.on_failure,
            )


def _diffusion(dim: int, noise: Noise, channels: int | None, hidden: Sequence[int]) -> nn.Module:
    """Return a network fit for the noise."""
    if channels is not None and noise not in ("additive", "general"):
        raise InputError(f"channels={channels} is for additive or general noise: leave it out for {noise!r} noise.")
    if channels is not None and channels < 1:
        raise InputError(f"channels must be at least 1, got {channels}: it counts the Brownian motions.")
    if noise == "diagonal":
        return MLP(dim, hidden, final="softplus")
    if noise == "additive":
        return ConstantDiffusion(dim, channels)
    if noise == "commutative":
        raise InputError("no network is known to commute: give a diffusion, or take noise='general'.")
    return MLP(dim, hidden, channels=1 if noise == "scalar" else dim if channels is None else channels)
