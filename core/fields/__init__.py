"""What stands on the right-hand side of an equation."""

from integrand.core.fields.cardiac_cycle import CardiacCycle
from integrand.core.fields.constant_diffusion import ConstantDiffusion
from integrand.core.fields.contractive import ContractiveField
from integrand.core.fields.convolutional import ConvolutionalField
from integrand.core.fields.diagonal_diffusion import DiagonalDiffusion
from integrand.core.fields.energy import Energy
from integrand.core.fields.film_mlp import FiLMMLP
from integrand.core.fields.galerkin_mlp import GalerkinMLP
from integrand.core.fields.gradient_flow import GradientFlow
from integrand.core.fields.graph_diffusion import GraphContext, GraphDiffusion
from integrand.core.fields.gru_field import GRUField
from integrand.core.fields.hamiltonian import Hamiltonian, SeparableHamiltonian
from integrand.core.fields.higher_order import HigherOrder
from integrand.core.fields.hyper_mlp import HyperMLP
from integrand.core.fields.input_convex import ConvexLyapunov, InputConvex
from integrand.core.fields.lagrangian import Lagrangian, MechanicalLagrangian
from integrand.core.fields.linear import Linear
from integrand.core.fields.lipschitz_mlp import LipschitzMLP
from integrand.core.fields.lyapunov_stable import LyapunovStableField
from integrand.core.fields.mlp import MLP
from integrand.core.fields.monotone import MonotoneField
from integrand.core.fields.periodic_forcing import PeriodicForcing
from integrand.core.fields.polynomial import Polynomial
from integrand.core.fields.port_hamiltonian import PortHamiltonian, Power
from integrand.core.fields.relaxation import Relaxation
from integrand.core.fields.time_embedding import TimeEmbedding
from integrand.core.fields.universal import UniversalField

__all__ = [
    "MLP",
    "CardiacCycle",
    "ConstantDiffusion",
    "ContractiveField",
    "ConvexLyapunov",
    "ConvolutionalField",
    "DiagonalDiffusion",
    "Energy",
    "FiLMMLP",
    "GRUField",
    "GalerkinMLP",
    "GradientFlow",
    "GraphContext",
    "GraphDiffusion",
    "Hamiltonian",
    "HigherOrder",
    "HyperMLP",
    "InputConvex",
    "Lagrangian",
    "Linear",
    "LipschitzMLP",
    "LyapunovStableField",
    "MechanicalLagrangian",
    "MonotoneField",
    "PeriodicForcing",
    "Polynomial",
    "PortHamiltonian",
    "Power",
    "Relaxation",
    "SeparableHamiltonian",
    "TimeEmbedding",
    "UniversalField",
]
