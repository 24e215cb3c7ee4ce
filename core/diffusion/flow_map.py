"""The flow map of a probability flow: where a solution is at a later time, in one evaluation of a network."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from integrand.core.diffusion.preconditioning import precondition
from integrand.core.diffusion.probability_flow import Denoising
from integrand.core.diffusion.process import Process, lift
from integrand.core.diffusion.samplers.grid import Callback, Grid, combine
from integrand.core.diffusion.samplers.registry import Watch, sample
from integrand.core.errors import InputError


class FlowMap(nn.Module):
    """The map from x_t to x_s, s < t, of a probability flow with a denoiser D,

        X(x, t, s) = (sigma_s / sigma_t) x + (alpha_s - alpha_t sigma_s / sigma_t) G(x, t, s),

        G(x_t, t, s) = int D(x_u, u) e^l dl / int e^l dl,     l = log(alpha_u / sigma_u) from t to s,

    the solution by variation of constants: G is a mean of the denoiser along it. G(x, t, t) = D(x, t), and a step of
    ``ddim`` takes this for the mean. Where G is exact one step from noise gives data, and any number of steps the same:
    X(X(x, t, u), u, s) = X(x, t, s).

    Its place on the map: model level; the solution operator of a diffusion's ordinary equation, learned.

    Args:
        process: the path.
        mean: G, called ``mean(t, s, x)``, or ``mean(t, s, x, args)`` where ``args`` are given; times are scalars or
            (B,), x (B, ...). A module is registered, so that its parameters are the map's.

    Shapes:
        ``flow_map(t, s, x, args)``: t, s scalars or (B,), x (B, ...); returns (B, ...).

    Example:
        >>> from integrand.core.diffusion.processes import EDM
        >>> point = FlowMap(EDM(), lambda t, s, x: torch.ones_like(x))  # all data are 1
        >>> point(torch.tensor(8.0), torch.tensor(4.0), torch.tensor([[9.0]]))
        tensor([[5.]])

    Source: Boffi, Albergo and Vanden-Eijnden (2025), Flow map matching with stochastic interpolants: a mathematical
    framework for consistency models; in terms of a denoiser Kim, Lai, Liao, Murata, Takida, Uesaka, He, Mitsufuji and
    Ermon (2024), Consistency trajectory models: learning probability flow ODE trajectory of diffusion.
    """

    def __init__(self, process: Process, mean: Callable[..., Tensor]) -> None:
        super().__init__()
        self.process, self.mean = process, mean

    def forward(self, t: Tensor, s: Tensor, x: Tensor, args: Any = None) -> Tensor:
        """Return X(x, t, s)."""
        kept, given = jump_factors(self.process, t, s)
        return lift(kept, x) * x + lift(given, x) * self.mean_between(t, s, x, args)

    def mean_between(self, t: Tensor, s: Tensor, x: Tensor, args: Any = None) -> Tensor:
        """Return G(x, t, s)."""
        return self.mean(t, s, x) if args is None else self.mean(t, s, x, args)

    def follow(
        self, x: Tensor, times: Tensor | Sequence[float], *, args: Any = None, callback: Callback | None = None
    ) -> Tensor:
        """Walk from ``times[0]`` to ``times[-1]`` with one evaluation a step.

        Args:
            x: states at ``times[0]``, (B, ...).
            times: (S + 1,), decreasing; the last may be 0.
            args: conditions, as the mean takes them.
            callback: called ``callback(step, t, x)`` after every step.

        Raises:
            InputError: times that do not decrease or are outside the process; states that are not finite, told with the
                step and the sample.
        """
        grid, watch = Grid.of(self.process, times, x), Watch(callback)
        for i in range(grid.steps):
            mean = self.mean_between(grid.t[i], grid.t[i + 1], x, args)
            x = combine(x, grid.kept_by[i], (grid.given(i, i + 1), mean))
            watch(i + 1, grid.at[i + 1], x)
        watch.tell("flow_map")
        return x


def jump_factors(process: Process, t: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
    """Return sigma_s / sigma_t and alpha_s - alpha_t sigma_s / sigma_t, the shares of the state and of the mean.

    At s = 0 nothing of the state is kept, whatever a process leaves of noise there.
    """
    kept = torch.where(s == 0, torch.zeros_like(s), process.sigma(s)) / process.sigma(t)
    return kept, process.alpha(s) - process.alpha(t) * kept


def spread(times: Tensor, steps: int) -> Tensor:
    """Return the K + 1 of M + 1 times that K steps go between, evenly by number as far as whole numbers allow.

    Example:
        >>> spread(torch.arange(16, -1, -1), 4).tolist()
        [16, 12, 8, 4, 0]

    Raises:
        InputError: more steps than there are, or none.
    """
    most = len(times) - 1
    if not 1 <= steps <= most:
        raise InputError(f"steps={steps} is out of range: there are 1 to {most}.")
    return times[torch.linspace(0, most, steps + 1, dtype=torch.float64, device="cpu").round().long()]


def flow_map_loss(flow_map: FlowMap, t: Tensor, s: Tensor, x_t: Tensor, x_s: Tensor, args: Any = None) -> Tensor:
    """Return the weighted mean square of G - G* for two states of each solution, (B,), over the components of a sample.

        w(t) |G(x_t, t, s) - G*|^2 / dims,     G* = (x_s - kept x_t) / given,

    where G* is what carries x_t to x_s exactly, ``kept`` and ``given`` those of ``jump_factors``, and w the weight by
    which errors at every noise count alike for a preconditioned network, see ``precondition``.

    Args:
        flow_map: what learns.
        t, s: times, (B,), s < t.
        x_t, x_s: states of one solution at these, (B, ...).
        args: conditions, as the mean takes them.

    Example:
        >>> from integrand.core.diffusion.processes import EDM
        >>> point = FlowMap(EDM(), lambda t, s, x: torch.ones_like(x))
        >>> flow_map_loss(point, torch.tensor([8.0]), torch.tensor([4.0]), torch.tensor([[9.0]]), torch.tensor([[5.0]]))
        tensor([0.])

    Source: Boffi, Albergo and Vanden-Eijnden (2025), Flow map matching with stochastic interpolants, on distillation;
    there the derivative of the map in time is learned, here the map itself.
    """
    kept, given = jump_factors(flow_map.process, t, s)
    wanted = (x_s - lift(kept, x_t) * x_t) / lift(given, x_t)
    error = (flow_map.mean_between(t, s, x_t, args).to(wanted.dtype) - wanted).square().flatten(1).mean(1)
    return error / precondition(flow_map.process, t).out.square()


@torch.no_grad()
def solution_states(
    field: Denoising, x: Tensor, times: Tensor | Sequence[float], *, method: str = "dpmpp_2m", args: Any = None
) -> Tensor:
    """Return the states of solutions at all times, (B, S + 1, ...), by a sampler that is told these as its steps.

    Args:
        field: what denoises, see ``ProbabilityFlow``.
        x: states at ``times[0]``, (B, ...).
        times: (S + 1,), decreasing.
        method: a deterministic name in ``SAMPLERS``.
        args: conditions, as the field takes them.

    Raises:
        InputError: see ``sample``.
    """
    states = [x]
    sample(field, x, times, method=method, args=args, callback=lambda step, t, y: states.append(y.clone()))
    return torch.stack(states, dim=1)
