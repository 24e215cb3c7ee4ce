"""The latent ODE: a series as a trajectory of an ODE whose initial state is inferred."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from integrand.core.layers.sequence_layer import SequenceLayer
from integrand.core.losses import gaussian_kl
from integrand.core.models.neural_ode import NeuralODE
from integrand.core.numerics import Solution


class LatentTrajectory(NamedTuple):
    """What a latent ODE infers: a solution a sample, the posterior of its start, and its divergence from the prior."""

    solution: Solution
    mean: Tensor
    std: Tensor
    kl: Tensor


class LatentODE(nn.Module):
    """A variational autoencoder whose latent state moves by an ODE.

        z(t_0) ~ q(z | series) = N(mu, diag sigma^2),      dz/dt = f(t, z),      prior z(t_0) ~ N(0, I)

    The encoder reads the series backwards in time, so that what it read last lies next to t_0. Its place on the map:
    model level; the whole series is one solution.

    Args:
        features: features F of an element of the series.
        latent: dimension D of z.
        encoder: any sequence layer; reads features lifted to its ``d_model``.
        flow: the neural ODE that moves z.

    Shapes:
        ``forward(features (B, L, F), dt (B, L), present (B, L), times (T,))``; ``dt`` are the intervals before each
        element in time's own direction.

    Example:
        >>> from integrand.core.fields import MLP
        >>> from integrand.core.models import ODERNN
        >>> model = LatentODE(3, 4, ODERNN(8), NeuralODE(MLP(4)))
        >>> present = torch.ones(2, 6, dtype=torch.bool)
        >>> out = model(torch.randn(2, 6, 3), torch.rand(2, 6), present, torch.linspace(0, 1, 5))
        >>> out.solution.states.shape, out.kl.shape
        (torch.Size([2, 5, 4]), torch.Size([2]))

    Source: Rubanova, Chen and Duvenaud (2019), Latent ordinary differential equations for irregularly-sampled time
    series, Section 3.2.
    """

    def __init__(self, features: int, latent: int, encoder: SequenceLayer, flow: NeuralODE) -> None:
        super().__init__()
        self.lift = nn.Linear(features, encoder.d_model)
        self.encoder = encoder
        self.posterior = nn.Linear(encoder.d_model, 2 * latent)
        self.flow = flow

    def infer(self, features: Tensor, dt: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation (B, D) of q."""
        # Backwards, padding comes first: it is absent and its intervals are zero, so the state stays at rest.
        intervals = torch.cat([torch.zeros_like(dt[:, :1]), dt[:, 1:].flip(1)], dim=1)
        read = self.encoder(self.lift(features).flip(1), intervals, present.flip(1)).y[:, -1]
        mean, raw = self.posterior(read).chunk(2, dim=-1)
        return mean, F.softplus(raw) + 1e-4

    def forward(
        self,
        features: Tensor,
        dt: Tensor,
        present: Tensor,
        times: Tensor,
        args: Tensor | None = None,
        *,
        noise: Tensor | None = None,
    ) -> LatentTrajectory:
        """Infer the start and solve over ``times``; ``noise`` (B, D) is drawn when None, zeros give the mean path."""
        mean, std = self.infer(features, dt, present)
        noise = torch.randn_like(mean) if noise is None else noise
        return LatentTrajectory(self.flow(mean + std * noise, times, args), mean, std, gaussian_kl(mean, std))
