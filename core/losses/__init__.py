"""Losses, one file each."""

from integrand.core.losses.causal_weights import causal_weights
from integrand.core.losses.ensemble_crps import ensemble_crps
from integrand.core.losses.gaussian_crps import gaussian_crps
from integrand.core.losses.gaussian_kl import gaussian_kl
from integrand.core.losses.gaussian_nll import gaussian_nll
from integrand.core.losses.gradient_balance import gradient_balance
from integrand.core.losses.importance_bound import importance_bound
from integrand.core.losses.path_energies import PathEnergies, path_energies
from integrand.core.losses.poisson_process_nll import poisson_process_nll
from integrand.core.losses.relative_l2 import relative_l2
from integrand.core.losses.relative_sobolev import relative_h1
from integrand.core.losses.spectral_bands import band_energies, relative_bands

__all__ = [
    "PathEnergies",
    "band_energies",
    "causal_weights",
    "ensemble_crps",
    "gaussian_crps",
    "gaussian_kl",
    "gaussian_nll",
    "gradient_balance",
    "importance_bound",
    "path_energies",
    "poisson_process_nll",
    "relative_bands",
    "relative_h1",
    "relative_l2",
]
