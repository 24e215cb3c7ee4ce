"""The samplers by name, what is claimed of each, and one call for all of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from inspect import signature
from typing import Any

import torch
from torch import Tensor

from integrand.core.diffusion.probability_flow import Denoising
from integrand.core.diffusion.samplers.ancestral import ancestral
from integrand.core.diffusion.samplers.churned import churned
from integrand.core.diffusion.samplers.ddim import ddim
from integrand.core.diffusion.samplers.dpm_multistep import dpmpp_2m, dpmpp_3m, dpmpp_3m_published
from integrand.core.diffusion.samplers.dpm_singlestep import dpmpp_2s, dpmpp_3s
from integrand.core.diffusion.samplers.euler import euler
from integrand.core.diffusion.samplers.euler_maruyama import euler_maruyama
from integrand.core.diffusion.samplers.exponential_runge_kutta import exponential_rk2, exponential_rk3, exponential_rk4
from integrand.core.diffusion.samplers.grid import Callback
from integrand.core.diffusion.samplers.heun import heun
from integrand.core.diffusion.samplers.noise import Noise
from integrand.core.diffusion.samplers.ode import ode
from integrand.core.diffusion.samplers.predictor_corrector import predictor_corrector
from integrand.core.diffusion.samplers.sde_dpm import sde_dpmpp_1, sde_dpmpp_2m
from integrand.core.diffusion.samplers.unipc import unipc
from integrand.core.errors import InputError, unknown
from integrand.core.numerics.solve_ode import solve_ode

_OF_OTHERS = ("field", "x", "y0", "times", "noise", "args", "callback", "method", "options")
_ODE_PARAMETERS = {**signature(ode).parameters, **signature(solve_ode).parameters}
ODE_OPTIONS = tuple(name for name in _ODE_PARAMETERS if name not in _OF_OTHERS)
"""Options of ``ode`` and of what it hands on to."""


@dataclass(frozen=True)
class Sampler:
    """A sampler and what is claimed of it; tests measure the order.

    Attributes:
        name: what recipes and commands call it.
        function: called ``function(field, x, times, *, args, callback, ...)``, a stochastic one also with ``noise``.
        order: of convergence in the length of the steps, with its own options left as they are: of each state, or of
            the law where the sampler is stochastic; 0 where more steps are not what makes the error less: tolerances
            rule, or, in the corrector's step and the surplus of noise of ``churned``, an option does.
        evaluations: of the network in a step; 0 where tolerances decide.
        stochastic: whether it draws noise.
        summary: one line.
        least_steps: fewest steps it makes.
        last_evaluations: of the network in a step to t = 0, where the answer is the denoiser's mean.
    """

    name: str
    function: Callable[..., Tensor]
    order: int
    evaluations: int
    stochastic: bool
    summary: str
    least_steps: int = 1
    last_evaluations: int = 1

    def cost(self, steps: int, *, final: str = "denoise") -> int:
        """Return the evaluations of some steps by a rule of ``step_times`` for the last; 0 where tolerances decide.

        Example:
            >>> SAMPLERS["heun"].cost(18)
            35
        """
        if not self.evaluations:
            return 0
        return self.evaluations * steps if final == "stop" else self.evaluations * (steps - 1) + self.last_evaluations


SAMPLERS: dict[str, Sampler] = {
    sampler.name: sampler
    for sampler in (
        Sampler("dpmpp_2m", dpmpp_2m, 2, 1, False, "two-step exponential method; the default", 2),
        Sampler("dpmpp_3m", dpmpp_3m, 3, 1, False, "three-step exponential method, with its true order", 3),
        Sampler("dpmpp_3m_published", dpmpp_3m_published, 2, 1, False, "three-step method as published", 3),
        Sampler("unipc", unipc, 3, 1, False, "predictor and corrector of order p + 1, p = 2 unless told", 2),
        Sampler("ddim", ddim, 1, 1, False, "exponential Euler method, exact for a constant answer"),
        Sampler("euler", euler, 1, 1, False, "Euler's method in the process's time"),
        Sampler("heun", heun, 2, 2, False, "Heun's method in the process's time, EDM's"),
        Sampler("dpmpp_2s", dpmpp_2s, 2, 2, False, "single-step exponential method with a midpoint"),
        Sampler("dpmpp_3s", dpmpp_3s, 3, 3, False, "single-step exponential method with two inner points"),
        Sampler("exponential_rk2", exponential_rk2, 2, 2, False, "exponential Runge-Kutta method with exact weights"),
        Sampler("exponential_rk3", exponential_rk3, 3, 3, False, "exponential Runge-Kutta method ETDRK3"),
        Sampler("exponential_rk4", exponential_rk4, 4, 4, False, "exponential Runge-Kutta method of Krogstad"),
        Sampler("ode", ode, 0, 0, False, "any method of solve_ode; adaptive by tolerance unless told"),
        Sampler("ancestral", ancestral, 1, 1, True, "DDPM's chain, and with eta the family down to ddim"),
        Sampler("euler_maruyama", euler_maruyama, 1, 1, True, "Euler-Maruyama method of the reverse equation"),
        Sampler("predictor_corrector", predictor_corrector, 0, 2, True, "ancestral steps with Langevin dynamics"),
        Sampler("sde_dpmpp_1", sde_dpmpp_1, 1, 1, True, "exponential Euler method of the reverse equation"),
        Sampler("sde_dpmpp_2m", sde_dpmpp_2m, 2, 1, True, "two-step exponential method of the reverse equation", 2),
        Sampler("churned", churned, 0, 2, True, "Heun's method with noise added before steps, EDM's"),
    )
}


def sample(
    field: Denoising,
    x: Tensor,
    times: Tensor | Sequence[float],
    *,
    method: str = "dpmpp_2m",
    noise: Noise | None = None,
    args: Any = None,
    callback: Callback | None = None,
    check: bool = True,
    **options: Any,
) -> Tensor:
    """Walk from noise to data by the sampler called ``method``.

    Args:
        field: what denoises, see ``ProbabilityFlow``.
        x: states at ``times[0]``, (B, ...), see ``initial_noise``.
        times: (S + 1,), decreasing, see ``step_times``.
        method: a name in ``SAMPLERS``.
        noise: of a stochastic sampler, see ``SampleNoise``; None for the others.
        args: conditions, as the field takes them.
        callback: called ``callback(step, t, x)`` after every step.
        check: whether to tell which sample ceased to be finite and in which step. What it needs to know stays on the
            device until the last step.
        options: of the sampler itself.

    Returns:
        The states at ``times[-1]``, (B, ...).

    Raises:
        InputError: an unknown sampler or option; noise missing or in vain; times that don't suit the sampler; states
            that are not finite.

    Example:
        >>> from integrand.core.diffusion.probability_flow import ProbabilityFlow
        >>> from integrand.core.diffusion.processes import EDM
        >>> from integrand.core.diffusion.samplers.noise import initial_noise
        >>> from integrand.core.diffusion.schedule import step_times
        >>> field = ProbabilityFlow(EDM(), lambda t, x: x / (1 + t**2))  # of standard normal data
        >>> sample(field, initial_noise([0, 1], (2,), 80.0), step_times(EDM(), 10)).shape
        torch.Size([2, 2])
    """
    if method not in SAMPLERS:
        raise unknown("sampler", method, SAMPLERS)
    sampler = SAMPLERS[method]
    if sampler.stochastic and noise is None:
        raise InputError(f"the sampler {method!r} draws noise: give noise=SampleNoise(seeds).")
    if not sampler.stochastic and noise is not None:
        raise InputError(f"the sampler {method!r} draws no noise: leave noise out, or take a stochastic one.")
    _check_options(sampler, options)
    if sampler.stochastic:
        options["noise"] = noise
    if not check:
        return sampler.function(field, x, times, args=args, callback=callback, **options)
    watch = Watch(callback)
    # An adaptive solve without a callback keeps no states between, and tells of its own failures.
    told = watch if sampler.evaluations or callback is not None else None
    x = sampler.function(field, x, times, args=args, callback=told, **options)
    watch.look(len(times) - 1, x)
    watch.tell(method)
    return x


def _check_options(sampler: Sampler, options: dict[str, Any]) -> None:
    """Raise at an option that the sampler does not have."""
    parameters = signature(sampler.function).parameters
    own = ODE_OPTIONS if sampler.function is ode else [name for name in parameters if name not in _OF_OTHERS]
    for name in options:
        if name not in own:
            raise unknown(f"option of sampler {sampler.name}", name, own)


class Watch:
    """Which step first left a state that is not finite, by sample, on the device."""

    def __init__(self, callback: Callback | None) -> None:
        self.callback = callback
        self.first: Tensor | None = None

    def __call__(self, step: int, t: float, x: Tensor) -> None:
        """Look at a state and hand it on."""
        self.look(step, x)
        if self.callback is not None:
            self.callback(step, t, x)

    def look(self, step: int, x: Tensor) -> None:
        """Note the step for samples that were finite so far, 0 for those that are."""
        lost = step * x.detach().isfinite().flatten(1).all(1).logical_not()
        self.first = lost if self.first is None else torch.where(self.first == 0, lost, self.first)

    def tell(self, method: str) -> None:
        """Raise if a sample was lost, of those lost first the one that comes first."""
        if self.first is None or not bool(self.first.any()):
            return
        steps = torch.where(self.first == 0, self.first.max() + 1, self.first)
        sample, step = int(steps.argmin()), int(steps.min())
        raise InputError(
            f"{method}: sample {sample} is not finite after step {step}, the first to be so of "
            f"{int((self.first > 0).sum())}: look at what the network answers there, or take more or shorter steps."
        )
