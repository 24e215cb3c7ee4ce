"""Model level: the whole network is one equation."""

from integrand.core.models.augmented_ode import AugmentedODE, AugmentedTrajectory
from integrand.core.models.continuous_normalizing_flow import ContinuousNormalizingFlow, FlowLikelihood, Transported
from integrand.core.models.controlled_model import ControlledModel, ControlledOutput
from integrand.core.models.converted_ode import ConvertedODE, ConvertedOutput
from integrand.core.models.coordinate_network import CoordinateNetwork
from integrand.core.models.gru_ode_bayes import Filtered, FilterState, Gaussians, GRUODEBayes
from integrand.core.models.hard_conditions import HardConditions
from integrand.core.models.latent_ode import LatentODE, LatentTrajectory
from integrand.core.models.latent_sde import LatentPath, LatentSDE
from integrand.core.models.log_ncde import LogNCDE
from integrand.core.models.neural_cde import NeuralCDE
from integrand.core.models.neural_ode import NeuralODE
from integrand.core.models.neural_pde import LocalTerm, MethodOfLines, NeuralPDE
from integrand.core.models.neural_rde import NeuralRDE
from integrand.core.models.neural_sde import NeuralSDE
from integrand.core.models.ode_rnn import ODERNN
from integrand.core.models.online_cde import OnlineCDE, OnlineState
from integrand.core.models.piecewise_ode import PiecewiseODE
from integrand.core.models.second_order_ode import SecondOrderODE, SecondOrderTrajectory
from integrand.core.models.semilinear_pde import LearnedSymbol, SemilinearPDE

__all__ = [
    "ODERNN",
    "AugmentedODE",
    "AugmentedTrajectory",
    "ContinuousNormalizingFlow",
    "ControlledModel",
    "ControlledOutput",
    "ConvertedODE",
    "ConvertedOutput",
    "CoordinateNetwork",
    "FilterState",
    "Filtered",
    "FlowLikelihood",
    "GRUODEBayes",
    "Gaussians",
    "HardConditions",
    "LatentODE",
    "LatentPath",
    "LatentSDE",
    "LatentTrajectory",
    "LearnedSymbol",
    "LocalTerm",
    "LogNCDE",
    "MethodOfLines",
    "NeuralCDE",
    "NeuralODE",
    "NeuralPDE",
    "NeuralRDE",
    "NeuralSDE",
    "OnlineCDE",
    "OnlineState",
    "PiecewiseODE",
    "SecondOrderODE",
    "SecondOrderTrajectory",
    "SemilinearPDE",
    "Transported",
]
