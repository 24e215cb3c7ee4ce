"""Losses, one file each."""

from integrand.core.losses.causal_weights import causal_weights
from integrand.core.losses.gaussian_crps import gaussian_crps
from integrand.core.losses.gaussian_kl import gaussian_kl
from integrand.core.losses.gaussian_nll import gaussian_nll
from integrand.core.losses.gradient_balance import gradient_balance
from integrand.core.losses.importance_bound import importance_bound
from integrand.core.losses.poisson_process_nll import poisson_process_nll

__all__ = [
    "causal_weights",
    "gaussian_crps",
    "gaussian_kl",
    "gaussian_nll",
    "gradient_balance",
    "importance_bound",
    "poisson_process_nll",
]
