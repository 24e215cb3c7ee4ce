"""Instruments: what a trained equation is, and how well it is known."""

from integrand.core.analysis.certified_radius import certified_radius, flow_lipschitz
from integrand.core.analysis.certified_rate import Certificate, certified_rate
from integrand.core.analysis.contraction import (
    Counterexample,
    contraction_finding,
    contraction_rate,
    find_counterexample,
)
from integrand.core.analysis.depth_audit import depth_audit
from integrand.core.analysis.depth_smoothness import DepthSmoothness, depth_smoothness
from integrand.core.analysis.finding import Finding, Verdict
from integrand.core.analysis.finer_stack import finer_stack
from integrand.core.analysis.fixed_points import FixedPoints, fixed_points, fixed_points_finding
from integrand.core.analysis.gradient_audit import gradient_audit
from integrand.core.analysis.in_float64 import in_float64
from integrand.core.analysis.invariant_drift import InvariantDrift, invariant_drift, invariant_finding
from integrand.core.analysis.jacobian_spectrum import JacobianSpectra, jacobian_spectra
from integrand.core.analysis.lipschitz_bounds import LipschitzBounds, lipschitz_bounds
from integrand.core.analysis.lyapunov_spectrum import LyapunovSpectrum, lyapunov_finding, lyapunov_spectrum
from integrand.core.analysis.memory import Memory, memory, memory_finding
from integrand.core.analysis.parameter_intervals import Interval, parameter_intervals
from integrand.core.analysis.projected_gradient import projected_gradient
from integrand.core.analysis.relative_change import relative_change
from integrand.core.analysis.residual_structure import ResidualChain, residual_chains, steps_taken
from integrand.core.analysis.robustness_audit import robustness_audit
from integrand.core.analysis.sensitivity import Sensitivities, parameter_slices, sensitivities
from integrand.core.analysis.solved_finely import solved_finely
from integrand.core.analysis.solver_audit import solver_audit
from integrand.core.analysis.step_refinement import Refined, step_refinement
from integrand.core.analysis.stiffness import Stiffness, stiffness, stiffness_finding
from integrand.core.analysis.trajectory_fit import TrajectoryFit, fit_trajectories

__all__ = [
    "Certificate",
    "Counterexample",
    "DepthSmoothness",
    "Finding",
    "FixedPoints",
    "Interval",
    "InvariantDrift",
    "JacobianSpectra",
    "LipschitzBounds",
    "LyapunovSpectrum",
    "Memory",
    "Refined",
    "ResidualChain",
    "Sensitivities",
    "Stiffness",
    "TrajectoryFit",
    "Verdict",
    "certified_radius",
    "certified_rate",
    "contraction_finding",
    "contraction_rate",
    "depth_audit",
    "depth_smoothness",
    "find_counterexample",
    "finer_stack",
    "fit_trajectories",
    "fixed_points",
    "fixed_points_finding",
    "flow_lipschitz",
    "gradient_audit",
    "in_float64",
    "invariant_drift",
    "invariant_finding",
    "jacobian_spectra",
    "lipschitz_bounds",
    "lyapunov_finding",
    "lyapunov_spectrum",
    "memory",
    "memory_finding",
    "parameter_intervals",
    "parameter_slices",
    "projected_gradient",
    "relative_change",
    "residual_chains",
    "robustness_audit",
    "sensitivities",
    "solved_finely",
    "solver_audit",
    "step_refinement",
    "steps_taken",
    "stiffness",
    "stiffness_finding",
]
