"""Diffusion: paths from data to noise, the fields along them, and how they are walked."""

from integrand.core.diffusion.parameterizations import PARAMETERIZATIONS, Parameterization, coefficients, convert
from integrand.core.diffusion.preconditioning import Preconditioning, precondition
from integrand.core.diffusion.probability_flow import Denoising, ProbabilityFlow
from integrand.core.diffusion.process import Process
from integrand.core.diffusion.processes import (
    EDM,
    PROCESSES,
    VE,
    VP,
    Cosine,
    LinearFlow,
    SubVP,
    TrigonometricFlow,
    process,
)
from integrand.core.diffusion.samplers.noise import Noise, SampleNoise, initial_noise
from integrand.core.diffusion.samplers.optimal_times import optimal_times
from integrand.core.diffusion.samplers.registry import SAMPLERS, Sampler, sample
from integrand.core.diffusion.schedule import FINALS, SPACINGS, Final, Spacing, half_log_snr_span, step_times

__all__ = [
    "EDM",
    "FINALS",
    "PARAMETERIZATIONS",
    "PROCESSES",
    "SAMPLERS",
    "SPACINGS",
    "VE",
    "VP",
    "Cosine",
    "Denoising",
    "Final",
    "LinearFlow",
    "Noise",
    "Parameterization",
    "Preconditioning",
    "ProbabilityFlow",
    "Process",
    "SampleNoise",
    "Sampler",
    "Spacing",
    "SubVP",
    "TrigonometricFlow",
    "coefficients",
    "convert",
    "half_log_snr_span",
    "initial_noise",
    "optimal_times",
    "precondition",
    "process",
    "sample",
    "step_times",
]
