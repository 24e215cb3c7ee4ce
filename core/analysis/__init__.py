"""Instruments: what a trained equation is, and how well it is known."""

from integrand.core.analysis.certified_rate import Certificate, certified_rate
from integrand.core.analysis.contraction import (
    Counterexample,
    contraction_finding,
    contraction_rate,
    find_counterexample,
)
from integrand.core.analysis.fixed_points import FixedPoints, fixed_points, fixed_points_finding
from integrand.core.analysis.lipschitz_bounds import LipschitzBounds, lipschitz_bounds
from integrand.core.analysis.lyapunov_spectrum import LyapunovSpectrum, lyapunov_spectrum
from integrand.core.analysis.parameter_intervals import Interval, parameter_intervals
from integrand.core.analysis.sensitivity import Sensitivities, parameter_slices, sensitivities
from integrand.core.analysis.trajectory_fit import TrajectoryFit, fit_trajectories

__all__ = [
    "Certificate",
    "Counterexample",
    "FixedPoints",
    "Interval",
    "LipschitzBounds",
    "LyapunovSpectrum",
    "Sensitivities",
    "TrajectoryFit",
    "certified_rate",
    "contraction_finding",
    "contraction_rate",
    "find_counterexample",
    "fit_trajectories",
    "fixed_points",
    "fixed_points_finding",
    "lipschitz_bounds",
    "lyapunov_spectrum",
    "parameter_intervals",
    "parameter_slices",
    "sensitivities",
]
