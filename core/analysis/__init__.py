"""Instruments: what a trained equation is, and how well it is known."""

from integrand.core.analysis.finding import Finding
from integrand.core.analysis.in_float64 import in_float64
from integrand.core.analysis.lyapunov_spectrum import LyapunovSpectrum, lyapunov_spectrum
from integrand.core.analysis.parameter_intervals import Interval, parameter_intervals
from integrand.core.analysis.relative_change import relative_change
from integrand.core.analysis.sensitivity import Sensitivities, parameter_slices, sensitivities
from integrand.core.analysis.solver_audit import solver_audit
from integrand.core.analysis.trajectory_fit import TrajectoryFit, fit_trajectories

__all__ = [
    "Finding",
    "Interval",
    "LyapunovSpectrum",
    "Sensitivities",
    "TrajectoryFit",
    "fit_trajectories",
    "in_float64",
    "lyapunov_spectrum",
    "parameter_intervals",
    "parameter_slices",
    "relative_change",
    "sensitivities",
    "solver_audit",
]
