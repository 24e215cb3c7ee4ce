"""Instruments: what a trained equation is, and how well it is known."""

from integrand.core.analysis.lyapunov_spectrum import LyapunovSpectrum, lyapunov_spectrum
from integrand.core.analysis.parameter_intervals import Interval, parameter_intervals
from integrand.core.analysis.sensitivity import Sensitivities, parameter_slices, sensitivities
from integrand.core.analysis.trajectory_fit import TrajectoryFit, fit_trajectories

__all__ = [
    "Interval",
    "LyapunovSpectrum",
    "Sensitivities",
    "TrajectoryFit",
    "fit_trajectories",
    "lyapunov_spectrum",
    "parameter_intervals",
    "parameter_slices",
    "sensitivities",
]
