"""Instruments: what a trained equation is, and how well it is known."""

from integrand.core.analysis.certified_radius import certified_radius, flow_lipschitz
from integrand.core.analysis.depth_audit import depth_audit
from integrand.core.analysis.finding import Finding
from integrand.core.analysis.finer_stack import finer_stack
from integrand.core.analysis.gradient_audit import gradient_audit
from integrand.core.analysis.in_float64 import in_float64
from integrand.core.analysis.lyapunov_spectrum import LyapunovSpectrum, lyapunov_spectrum
from integrand.core.analysis.parameter_intervals import Interval, parameter_intervals
from integrand.core.analysis.projected_gradient import projected_gradient
from integrand.core.analysis.relative_change import relative_change
from integrand.core.analysis.robustness_audit import robustness_audit
from integrand.core.analysis.sensitivity import Sensitivities, parameter_slices, sensitivities
from integrand.core.analysis.solved_finely import solved_finely
from integrand.core.analysis.solver_audit import solver_audit
from integrand.core.analysis.trajectory_fit import TrajectoryFit, fit_trajectories

__all__ = [
    "Finding",
    "Interval",
    "LyapunovSpectrum",
    "Sensitivities",
    "TrajectoryFit",
    "certified_radius",
    "depth_audit",
    "finer_stack",
    "fit_trajectories",
    "flow_lipschitz",
    "gradient_audit",
    "in_float64",
    "lyapunov_spectrum",
    "parameter_intervals",
    "parameter_slices",
    "projected_gradient",
    "relative_change",
    "robustness_audit",
    "sensitivities",
    "solved_finely",
    "solver_audit",
]
