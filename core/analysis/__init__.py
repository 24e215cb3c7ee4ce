"""Instruments: what a trained equation is, and how well it is known."""

from integrand.core.analysis.depth_smoothness import DepthSmoothness, depth_smoothness
from integrand.core.analysis.lyapunov_spectrum import LyapunovSpectrum, lyapunov_spectrum
from integrand.core.analysis.parameter_intervals import Interval, parameter_intervals
from integrand.core.analysis.residual_structure import ResidualChain, residual_chains, steps_taken
from integrand.core.analysis.sensitivity import Sensitivities, parameter_slices, sensitivities
from integrand.core.analysis.step_refinement import Refined, step_refinement
from integrand.core.analysis.trajectory_fit import TrajectoryFit, fit_trajectories

__all__ = [
    "DepthSmoothness",
    "Interval",
    "LyapunovSpectrum",
    "Refined",
    "ResidualChain",
    "Sensitivities",
    "TrajectoryFit",
    "depth_smoothness",
    "fit_trajectories",
    "lyapunov_spectrum",
    "parameter_intervals",
    "parameter_slices",
    "residual_chains",
    "sensitivities",
    "step_refinement",
    "steps_taken",
]
