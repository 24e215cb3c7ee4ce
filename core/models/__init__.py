"""Model level: the whole network is one equation."""

from integrand.core.models.latent_ode import LatentODE, LatentTrajectory
from integrand.core.models.neural_ode import NeuralODE
from integrand.core.models.ode_rnn import ODERNN

__all__ = ["ODERNN", "LatentODE", "LatentTrajectory", "NeuralODE"]
