"""What a sampler itself costs, against diffusers: the same walk with a network that does next to nothing.

Times are those of one call of the network, with all that belongs to it: the step, and its part of what is set up for a
walk. Both sides are told the same levels of noise and the same answers of the network.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from duel import Duel, Work, seeded, version
from torch import Tensor

from integrand.core.diffusion import EDM, VP, ProbabilityFlow
from integrand.core.diffusion.samplers import ddim, dpmpp_2m, dpmpp_3m_published, heun, unipc

STEPS, SHAPE = 20, (64, 3, 8, 8)
WALKS = 10
"""Walks of a turn: one alone takes half a millisecond, of which much would be the caches that the other side left."""
PREDICTS = {"beta_start": 1e-4, "beta_end": 0.02, "beta_schedule": "linear", "prediction_type": "sample"}


def duels() -> Iterator[Duel]:
    """Yield every comparison."""
    multistep = {"final_sigmas_type": "zero", "lower_order_final": False, **PREDICTS}
    yield _preserving("ddim", ddim, "DDIMScheduler", {"clip_sample": False, **PREDICTS})
    yield _preserving("dpmpp_2m", dpmpp_2m, "DPMSolverMultistepScheduler", {"solver_order": 2, **multistep})
    yield _preserving("dpmpp_3m", dpmpp_3m_published, "DPMSolverMultistepScheduler", {"solver_order": 3, **multistep})
    yield _preserving(
        "unipc", unipc, "UniPCMultistepScheduler", {**multistep, "solver_order": 2, "lower_order_final": True}
    )
    yield _heun()


def _scheduler(name: str, options: dict[str, Any]) -> Any:
    import diffusers  # pyright: ignore[reportMissingImports]

    made = getattr(diffusers, name)(**options)
    made.set_timesteps(STEPS)
    return made


def _levels(scheduler: Any) -> Tensor:
    """Return sigma / alpha of its walk, but for the last, which is 0; those of DDIM stand at its times."""
    if hasattr(scheduler, "sigmas"):
        return scheduler.sigmas[:-1].double()
    alpha2 = scheduler.alphas_cumprod[scheduler.timesteps].double()
    return ((1 - alpha2) / alpha2).sqrt()


def _walk(name: str, options: dict[str, Any], x: Tensor) -> Work:
    """Walk by diffusers; the network answers with half the state, or with the noise that says the same."""
    ready: list[Any] = []

    def once() -> list[Tensor]:
        if not ready:
            made = _scheduler(name, options)
            noise = options["prediction_type"] == "epsilon"
            ready.extend((made, (0.5 / made.sigmas[:-1]).tolist() if noise else [0.5] * len(made.timesteps)))
        (scheduler, factors), state = ready, x
        with torch.no_grad():
            for _ in range(WALKS):
                state = x
                scheduler.set_timesteps(STEPS)
                for t, factor in zip(scheduler.timesteps, factors, strict=True):
                    state = scheduler.step(state * factor, t, state, return_dict=False)[0]
        return [state]

    return once


def _preserving(row: str, sampler: Callable[..., Tensor], peer: str, options: dict[str, Any]) -> Duel:
    """A process that preserves the variance, and a network that gives the clean data."""
    x = torch.randn(SHAPE, generator=seeded(0))
    process, ready = VP(end=1.1), []
    field = ProbabilityFlow(process, lambda t, x: x * 0.5)

    def ours() -> list[Tensor]:
        if not ready:
            levels = _levels(_scheduler(peer, options)).cpu()
            ready.append(torch.cat([process.time(-levels.log()), levels.new_zeros(1)]))
        with torch.no_grad():
            return [sampler(field, x, ready[0]) for _ in range(WALKS)][-1:]

    return _duel(row, peer, ours, _walk(peer, options, x), STEPS)


def _heun() -> Duel:
    """EDM's process; the network gives the noise to Heun's scheduler, which takes nothing else."""
    options = {**PREDICTS, "prediction_type": "epsilon"}
    x, ready = 100 * torch.randn(SHAPE, generator=seeded(0)), []
    field = ProbabilityFlow(EDM(end=200.0), lambda t, x: x * 0.5)

    def ours() -> list[Tensor]:
        if not ready:
            # Each level but the first stands there twice, for both evaluations.
            levels = _scheduler("HeunDiscreteScheduler", options).sigmas.double().cpu()
            ready.append(torch.cat([levels[:1], levels[1::2]]))
        with torch.no_grad():
            return [heun(field, x, ready[0]) for _ in range(WALKS)][-1:]

    return _duel("heun", "HeunDiscreteScheduler", ours, _walk("HeunDiscreteScheduler", options, x), 2 * STEPS - 1)


def _duel(row: str, peer: str, ours: Work, theirs: Work, calls: int) -> Duel:
    return Duel(
        row=f"sampler_{row}",
        work=f"a call of the network in {STEPS} steps of states {'x'.join(map(str, SHAPE))} with a trivial network",
        ours=ours,
        peer="diffusers",
        theirs=theirs,
        peer_version=version("diffusers"),
        note=f"times are of one of the {calls} calls of a walk, the network in them on both sides; {WALKS} walks "
        f"a turn; {peer}",
        must=3,
        samples=(WALKS * calls, WALKS * calls),
        tolerance=1e-4,
    )
