"""Samplers: plain functions that walk a field from noise to data."""

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
from integrand.core.diffusion.samplers.noise import Noise, SampleNoise, initial_noise
from integrand.core.diffusion.samplers.ode import ode
from integrand.core.diffusion.samplers.optimal_times import optimal_times
from integrand.core.diffusion.samplers.predictor_corrector import predictor_corrector
from integrand.core.diffusion.samplers.registry import SAMPLERS, Sampler, sample
from integrand.core.diffusion.samplers.sde_dpm import sde_dpmpp_1, sde_dpmpp_2m
from integrand.core.diffusion.samplers.unipc import unipc

__all__ = [
    "SAMPLERS",
    "Callback",
    "Noise",
    "SampleNoise",
    "Sampler",
    "ancestral",
    "churned",
    "ddim",
    "dpmpp_2m",
    "dpmpp_2s",
    "dpmpp_3m",
    "dpmpp_3m_published",
    "dpmpp_3s",
    "euler",
    "euler_maruyama",
    "exponential_rk2",
    "exponential_rk3",
    "exponential_rk4",
    "heun",
    "initial_noise",
    "ode",
    "optimal_times",
    "predictor_corrector",
    "sample",
    "sde_dpmpp_1",
    "sde_dpmpp_2m",
    "unipc",
]
