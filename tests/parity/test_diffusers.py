"""Samplers against diffusers: the same levels of noise and the same denoiser, eight Gaussians'."""

from functools import partial
from typing import Any

import pytest
import torch
from exact_denoisers import ring
from peers import peer
from torch import Tensor

from integrand.core.diffusion import Noise, SampleNoise, initial_noise, process
from integrand.core.diffusion.samplers import (
    ancestral,
    ddim,
    dpmpp_2m,
    dpmpp_3m_published,
    sde_dpmpp_1,
    sde_dpmpp_2m,
    unipc,
)

diffusers = peer("diffusers")

STEPS = 12
PATH = process("vp", end=1.1)  # its levels go a little beyond those of the continuous process at t = 1
LINEAR = {"beta_start": 1e-4, "beta_end": 0.02, "beta_schedule": "linear", "prediction_type": "sample"}
MULTISTEP = {**LINEAR, "final_sigmas_type": "zero", "lower_order_final": False}


def times(scheduler: Any) -> Tensor:
    """Return the times of ``PATH`` at a scheduler's levels sigma / alpha."""
    if hasattr(scheduler, "sigmas"):
        level = scheduler.sigmas.double()
    else:
        alpha2 = scheduler.alphas_cumprod[scheduler.timesteps].double()
        level = torch.cat([((1 - alpha2) / alpha2).sqrt(), alpha2.new_zeros(1)])
    return torch.where(level > 0, PATH.time(-level.log()), 0.0)


def theirs(scheduler: Any, x: Tensor, at: Tensor, noise: Noise | None, **options: Any) -> Tensor:
    """Walk with the scheduler's steps."""
    field = ring(PATH)
    for i, t in enumerate(scheduler.timesteps):
        drawn = {} if noise is None else {"variance_noise": noise(i, x)}
        x = scheduler.step(field.denoise(at[i], x), t, x, return_dict=False, **drawn, **options)[0]
    return x


KARRAS = {**MULTISTEP, "use_karras_sigmas": True}
CLEAN_AT_LAST = {**MULTISTEP, "lower_order_final": True}
NOISY_AT_LAST = {**MULTISTEP, "final_sigmas_type": "sigma_min"}
STOCHASTIC = {**MULTISTEP, "algorithm_type": "sde-dpmsolver++"}


@pytest.mark.parametrize(
    ("sampler", "name", "options"),
    [
        (ddim, "DDIMScheduler", {**LINEAR, "clip_sample": False}),
        (dpmpp_2m, "DPMSolverMultistepScheduler", {**MULTISTEP, "solver_order": 2}),
        (dpmpp_2m, "DPMSolverMultistepScheduler", {**KARRAS, "solver_order": 2}),
        (dpmpp_3m_published, "DPMSolverMultistepScheduler", {**MULTISTEP, "solver_order": 3}),
        (
            dpmpp_3m_published,
            "DPMSolverMultistepScheduler",
            {**KARRAS, "solver_order": 3},
        ),
        (sde_dpmpp_1, "DPMSolverMultistepScheduler", {**STOCHASTIC, "solver_order": 1}),
        (sde_dpmpp_2m, "DPMSolverMultistepScheduler", {**STOCHASTIC, "solver_order": 2, "use_karras_sigmas": True}),
        (unipc, "UniPCMultistepScheduler", {**CLEAN_AT_LAST, "solver_order": 2}),
        (unipc, "UniPCMultistepScheduler", {**CLEAN_AT_LAST, "solver_order": 2, "use_karras_sigmas": True}),
        # Theirs is NaN where a step of this variant ends in clean data.
        (partial(unipc, variant="bh1"), "UniPCMultistepScheduler", {**NOISY_AT_LAST, "solver_type": "bh1"}),
        (
            partial(unipc, order=3),
            "UniPCMultistepScheduler",
            {**NOISY_AT_LAST, "solver_order": 3},
        ),
    ],
)
def test_walks_are_those_of_diffusers(sampler: Any, name: str, options: dict[str, Any]):
    """Its levels are in float32, and so are the numbers that it steps with: six digits are left."""
    scheduler = getattr(diffusers, name)(**options)
    scheduler.set_timesteps(STEPS)
    at = times(scheduler)
    x = initial_noise(range(16), (2,), dtype=torch.float64)
    noise = SampleNoise(range(16)) if sampler in (sde_dpmpp_1, sde_dpmpp_2m) else None
    found = sampler(ring(PATH), x, at) if noise is None else sampler(ring(PATH), x, at, noise=noise)
    torch.testing.assert_close(found, theirs(scheduler, x, at, noise), rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("eta", [0.3, 1.0])
def test_the_ancestral_family_is_that_of_diffusers(eta: float):
    scheduler, noise = diffusers.DDIMScheduler(**LINEAR, clip_sample=False), SampleNoise(range(16))
    scheduler.set_timesteps(STEPS)
    at, x = times(scheduler), initial_noise(range(16), (2,), dtype=torch.float64)
    found = ancestral(ring(PATH), x, at, noise=noise, eta=eta)
    torch.testing.assert_close(found, theirs(scheduler, x, at, noise, eta=eta), rtol=1e-4, atol=2e-5)
