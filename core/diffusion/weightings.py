"""How errors of a denoiser at different noise are weighed against one another."""

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from integrand.core.diffusion.preconditioning import precondition
from integrand.core.diffusion.process import Process
from integrand.core.errors import InputError, unknown
from integrand.core.fields.time_embedding import TimeEmbedding

Weighting = Literal["edm", "min_snr", "likelihood", "uniform"]
WEIGHTINGS: tuple[str, ...] = get_args(Weighting)


def weights(
    process: Process, t: Tensor, kind: Weighting = "edm", *, data_scale: float = 1.0, gamma: float = 5.0
) -> Tensor:
    """Return the weights of |D(x_t, t) - x_0|^2 at times t, of their shape.

    ==========  ===================================  ===============================================================
    kind        weight                               what it makes of the loss
    ==========  ===================================  ===============================================================
    edm         1 / c_out^2                          an untrained network, F = 0, has the same error at every noise
    min_snr     min(alpha^2 / sigma^2, gamma)        that of eps, but no more than gamma for the least noise
    likelihood  alpha^2 / sigma^2                    with l drawn evenly, the variational bound on -log p, per unit l
    uniform     1                                    that of the clean data
    ==========  ===================================  ===============================================================

    Args:
        process: the path.
        t: times of any shape.
        kind: a name in ``WEIGHTINGS``.
        data_scale: standard deviation of the data, for ``"edm"``.
        gamma: for ``"min_snr"``.

    Raises:
        InputError: an unknown kind, gamma not positive.

    Source: Karras, Aittala, Aila and Laine (2022), Elucidating the design space of diffusion-based generative models,
    Table 1; Hang, Gu, Li, Bao, Chen, Hu, Geng and Guo (2023), Efficient diffusion training via min-SNR weighting
    strategy, Section 3.4; Kingma, Salimans, Poole and Ho (2021), Variational diffusion models, Eq. 15.
    """
    if kind not in WEIGHTINGS:
        raise unknown("weighting", kind, WEIGHTINGS)
    if not gamma > 0:
        raise InputError(f"gamma={gamma:g} is out of range: it must be positive.")
    if kind == "edm":
        return precondition(process, t, data_scale).out.square().reciprocal()
    if kind == "uniform":
        return torch.ones_like(t)
    snr = (2 * process.half_log_snr(t)).exp()
    return snr if kind == "likelihood" else snr.clamp(max=gamma)


class LearnedLogVariance(nn.Module):
    """The loss w e / exp(u(l)) + u(l), whose u learns the logarithm of the mean of w e at every noise l.

    At its minimum over u all noise contributes alike to the gradient, however hard it is.

    Args:
        width: numbers by which l is embedded.

    Shapes:
        ``loss(weighted, noise)``: weighted errors (B,) and c_noise (B,), a quarter of l; returns (B,).

    Source: Karras, Aittala, Lehtinen, Hellsten, Aila and Laine (2024), Analyzing and improving the training dynamics of
    diffusion models, Eq. 14 to 16.
    """

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.embedding = TimeEmbedding(width, longest=4.0, shortest=0.1)
        self.read = nn.Linear(width, 1)
        nn.init.zeros_(self.read.weight)
        nn.init.zeros_(self.read.bias)

    def forward(self, weighted: Tensor, noise: Tensor) -> Tensor:
        """Return the loss of each sample."""
        with torch.autocast(noise.device.type, enabled=False):  # it stands in the loss itself
            u = self.read(self.embedding(noise)).squeeze(-1)
        return weighted * torch.exp(-u) + u
