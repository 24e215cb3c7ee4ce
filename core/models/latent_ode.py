"""The latent ODE: a series as a trajectory of an ODE whose initial state is inferred."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from integrand.core.errors import InputError
from integrand.core.fields.dimensions import check_real
from integrand.core.layers.sequence_layer import SequenceLayer
from integrand.core.losses.gaussian_kl import gaussian_kl
from integrand.core.models.neural_ode import NeuralODE
from integrand.core.models.read_backwards import read_backwards
from integrand.core.numerics.field_call import repeat
from integrand.core.numerics.solution import Solution


class LatentTrajectory(NamedTuple):
    """What a latent ODE infers: trajectories, the posterior of their start, and its divergence from the prior.

    Attributes:
        solution: with K draws a sample, of B K trajectories: those of a sample lie together.
        mean, std: of q(z(t_0) | series), (B, D).
        kl: KL(q || p), (B,).
        log_ratio: log p(z) - log q(z | series) of each start drawn, (B, K): with the log-likelihood of the series given
            the trajectory it makes the logarithm of an importance weight, see ``importance_bound``.
    """

    solution: Solution
    mean: Tensor
    std: Tensor
    kl: Tensor
    log_ratio: Tensor


class LatentODE(nn.Module):
    """A variational autoencoder whose latent state moves by an ODE.

        z(t_0) ~ q(z | series) = N(mu, diag sigma^2),      dz/dt = f(t, z),      prior z(t_0) ~ N(0, I)

    The encoder reads the series backwards in time, so that what it read last lies next to t_0. With ``path_energies``
    of the solution in the loss the trajectories take fewer evaluations to solve.

    Its place on the map: model level; the whole series is one solution of an ODE, of which only the start is random.

    Args:
        features: features F of an element of the series.
        latent: dimension D of z.
        encoder: any sequence layer; reads features lifted to its ``d_model``.
        flow: the neural ODE that moves z.

    Raises:
        InputError: a wrong shape, or no draws.

    Shapes:
        ``forward(features (B, L, F), dt (B, L), mask (B, L), times (T,) or (B, T))``; ``dt`` are the intervals
        before each element in time's own direction. The first of ``times`` is t_0, the others may lie anywhere after it
        or, all of them, before it; they need not be times of elements.

    Example:
        >>> from integrand.core.fields import MLP
        >>> from integrand.core.models import ODERNN
        >>> model = LatentODE(3, 4, ODERNN(8), NeuralODE(MLP(4)))
        >>> mask = torch.ones(2, 6, dtype=torch.bool)
        >>> out = model(torch.randn(2, 6, 3), torch.rand(2, 6), mask, torch.linspace(0, 1, 5))
        >>> out.solution.states.shape, out.kl.shape
        (torch.Size([2, 5, 4]), torch.Size([2]))
        >>> out = model(torch.randn(2, 6, 3), torch.rand(2, 6), mask, torch.linspace(0, 1, 5), draws=7)
        >>> out.solution.states.unflatten(0, (2, 7)).shape, out.log_ratio.shape
        (torch.Size([2, 7, 5, 4]), torch.Size([2, 7]))

    Source: Rubanova, Chen and Duvenaud (2019), Latent ordinary differential equations for irregularly-sampled time
    series, Section 3.2.
    """

    def __init__(self, features: int, latent: int, encoder: SequenceLayer, flow: NeuralODE) -> None:
        super().__init__()
        self.lift = nn.Linear(features, encoder.d_model)
        self.encoder = encoder
        self.posterior = nn.Linear(encoder.d_model, 2 * latent)
        self.flow = flow

    def infer(self, features: Tensor, dt: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation (B, D) of q."""
        if features.dim() != 3 or features.shape[-1] != self.lift.in_features or not features.shape[1]:
            raise InputError(
                f"features must be (B, L, F) = (batch, length >= 1, {self.lift.in_features}), got "
                f"{tuple(features.shape)}."
            )
        check_real(features, "LatentODE")
        shape = tuple(features.shape[:2])
        if not isinstance(dt, Tensor) or tuple(dt.shape) != shape:
            got = tuple(dt.shape) if isinstance(dt, Tensor) else dt
            raise InputError(f"dt, the intervals before the elements, must be (B, L) = {shape}, got {got}.")
        if not isinstance(mask, Tensor) or tuple(mask.shape) != shape or mask.dtype != torch.bool:
            got = f"{tuple(mask.shape)} of {mask.dtype}" if isinstance(mask, Tensor) else mask
            raise InputError(f"mask must have shape (B, L) = {shape} and be bool, got {got}.")
        x = self.lift(torch.where(mask.unsqueeze(-1), features, 0))
        read = read_backwards(self.encoder, x, dt, mask)[:, 0]
        # A trajectory is not for half precision, and its solver works in that of its start.
        wide = torch.promote_types(features.dtype, torch.float32)
        mean, raw = self.posterior(read).to(wide).chunk(2, dim=-1)
        return mean, F.softplus(raw) + 1e-4

    def forward(
        self,
        features: Tensor,
        dt: Tensor,
        mask: Tensor,
        times: Tensor | Sequence[float],
        args: Tensor | None = None,
        *,
        noise: Tensor | None = None,
        draws: int = 1,
    ) -> LatentTrajectory:
        """Infer the start and solve over ``times``.

        Args:
            features, dt, mask, times: see above.
            args: handed to the field, (B, ...).
            noise: of the starts, (B, D), or (B, K, D) for K draws; drawn when None, zeros give the mean path.
            draws: K, starts to draw for each sample where ``noise`` is None.
        """
        mean, std = self.infer(features, dt, mask)
        if noise is None:
            if draws < 1:
                raise InputError(f"draws must be at least 1, got {draws}.")
            noise = torch.randn(mean.shape[0], draws, mean.shape[1], dtype=mean.dtype, device=mean.device)
        noise_BKD = noise.unsqueeze(1) if noise.dim() == 2 else noise
        if noise_BKD.dim() != 3 or noise_BKD[:, 0].shape != mean.shape:
            raise InputError(f"noise must be (B, D) = {tuple(mean.shape)} or (B, K, D), got {tuple(noise.shape)}.")
        start_BKD = mean.unsqueeze(1) + std.unsqueeze(1) * noise_BKD
        # log N(z; 0, I) - log N(z; mean, std^2); the normalising constants cancel.
        log_ratio = (0.5 * (noise_BKD**2 - start_BKD**2) + std.log().unsqueeze(1)).sum(-1)
        count = noise_BKD.shape[1]
        if count > 1:
            if isinstance(times, Tensor) and times.dim() == 2:
                times = times.repeat_interleave(count, dim=0)
            args = repeat(args, count)
        solution = self.flow(start_BKD.flatten(0, 1).to(self.posterior.weight.dtype), times, args)
        return LatentTrajectory(solution, mean, std, gaussian_kl(mean, std), log_ratio)
