"""Losses, one file each."""

from integrand.core.losses.gaussian_crps import gaussian_crps
from integrand.core.losses.gaussian_kl import gaussian_kl
from integrand.core.losses.gaussian_nll import gaussian_nll

__all__ = ["gaussian_crps", "gaussian_kl", "gaussian_nll"]
