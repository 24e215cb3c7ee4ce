"""Dynamics: the equation of a system, learned from its trajectories."""

from integrand.apps.application import Task

_IN = "integrand.apps.physics.dynamics"
NETWORKS = {
    "hamiltonian": ("hamiltonian:HamiltonianNetwork", "Hamilton's equations with a learned energy, kept (default)"),
    "symplectic": ("symplectic:SymplecticNetwork", "learned kinetic and potential energies, stepped symplectically"),
    "lagrangian": ("lagrangian:LagrangianNetwork", "Euler-Lagrange equations with learned mass and potential"),
    "port_hamiltonian": ("port_hamiltonian:PortHamiltonianNetwork", "a learned energy that friction takes away"),
    "universal": ("universal:UniversalNetwork", "known physics with unknown constants, and a network for the rest"),
    "polynomial": ("polynomial:PolynomialNetwork", "a polynomial, of whose terms few remain"),
    "neural_ode": ("neural_ode:NeuralODENetwork", "a plain network as the right-hand side"),
    "neural_sde": ("neural_sde:NeuralSDENetwork", "drift and noise of a system that is driven at random"),
}
"""Networks of dynamics: file and class, and a line on each."""

TASK = Task(
    name="dynamics",
    summary="the equation of a system, learned from its trajectories, and where it leads from any start",
    module=f"{_IN}.module:DynamicsModule",
    data=f"{_IN}.data:DynamicsData",
    models={name: f"{_IN}.models.{path}" for name, (path, _) in NETWORKS.items()},
    model_summaries={name: summary for name, (_, summary) in NETWORKS.items()},
    datasets=(
        "pendulum",
        "damped_pendulum",
        "double_pendulum",
        "spring_chain",
        "two_body",
        "three_body",
        "lotka_volterra",
        "van_der_pol",
        "lorenz63",
        "lorenz96",
        "double_well",
        "hare_lynx",
        "planets",
    ),
    default_recipe="pendulum",
    evaluate=f"{_IN}.evaluation:evaluate",
    figures=f"{_IN}.figures:draw",
    predict=f"{_IN}.prediction:predict",
    reads="initial states as .npy, .h5 or .csv",
    writes="trajectories in the same form, and a figure",
    product="paths",
    identify=f"{_IN}.identification:identify",
    analyze=f"{_IN}.analysis:subject",
)
