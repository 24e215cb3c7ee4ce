"""Instruments: what a trained equation is, and how well it is known."""

from integrand.core.analysis.finding import Finding, Verdict
from integrand.core.analysis.invariant_drift import InvariantDrift, invariant_drift, invariant_finding
from integrand.core.analysis.jacobian_spectrum import JacobianSpectra, jacobian_spectra
from integrand.core.analysis.lyapunov_spectrum import LyapunovSpectrum, lyapunov_finding, lyapunov_spectrum
from integrand.core.analysis.memory import Memory, memory, memory_finding
from integrand.core.analysis.parameter_intervals import Interval, parameter_intervals
from integrand.core.analysis.sensitivity import Sensitivities, parameter_slices, sensitivities
from integrand.core.analysis.stiffness import Stiffness, stiffness, stiffness_finding
from integrand.core.analysis.trajectory_fit import TrajectoryFit, fit_trajectories

__all__ = [
    "Finding",
    "Interval",
    "InvariantDrift",
    "JacobianSpectra",
    "LyapunovSpectrum",
    "Memory",
    "Sensitivities",
    "Stiffness",
    "TrajectoryFit",
    "Verdict",
    "fit_trajectories",
    "invariant_drift",
    "invariant_finding",
    "jacobian_spectra",
    "lyapunov_finding",
    "lyapunov_spectrum",
    "memory",
    "memory_finding",
    "parameter_intervals",
    "parameter_slices",
    "sensitivities",
    "stiffness",
    "stiffness_finding",
]
