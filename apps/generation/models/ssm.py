"""The state-space denoiser of series: S5 layers that read a series both ways."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from integrand.apps.generation.models.denoising_network import DenoisingNetwork, Modulated, NoiseAndClass
from integrand.apps.generation.task import GenerationTask
from integrand.core.errors import InputError
from integrand.core.layers import S5


class SSMDenoiser(DenoisingNetwork):
    """Residual blocks of two S5 layers, one along a series and one against it, modulated by noise and class.

        h <- h + GLU(W gelu([S5(u), reversed S5(reversed u)])),     u = (1 + a) norm(h) + b,

    with a and b linear in the embedding of noise and class. A state carries what was seen at any distance, so that
    every element is denoised by all the others at a cost that grows as the length.

    Its place on the map: each layer is the exact solution of two linear equations, one in each direction of time, and
    the blocks are steps of forward Euler in depth.

    Args:
        width: channels H of the layers.
        d_state: states of a layer, even.
        layers: blocks.
        dropout: probability of zeroing inside the blocks.

    Source: the layer is that of Smith, Warrington and Linderman (2023), Simplified state space layers for sequence
    modeling; state spaces both ways in a diffusion: Alcaraz and Strodthoff (2023), Diffusion-based time series
    imputation and forecasting with structured state space models, Section 3.2.
    """

    def __init__(self, width: int = 64, *, d_state: int = 64, layers: int = 3, dropout: float = 0.0) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.width, self.d_state, self.layers, self.dropout = width, d_state, layers, dropout

    def build_network(self, task: GenerationTask) -> None:
        """Make the parameters."""
        if task.kind != "series":
            raise InputError(f"model ssm is for series, and these data are {task.kind}: take --model mlp.")
        slowest = min(0.1, 1 / task.shape[1])
        self.enter = nn.Linear(self.channels_in(task), self.width)
        self.embedding = NoiseAndClass(self.width, len(task.classes), jumps=self.jumps)
        self.stack = nn.ModuleList(_Block(self.width, self.d_state, slowest, self.dropout) for _ in range(self.layers))
        self.leave_norm = Modulated(self.width, self.width)
        self.leave = nn.Linear(self.width, task.shape[0])
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, x: Tensor, noise: Tensor, labels: Tensor | None = None, until: Tensor | None = None
    ) -> Tensor:
        """See ``DenoisingNetwork``."""
        embedded = self.embedding(noise, labels, until)
        h = self.enter(x.transpose(1, 2))
        for block in self.stack:
            h = block(h, embedded)
        return self.leave(self.leave_norm(h, embedded)).transpose(1, 2)


class _Block(nn.Module):
    def __init__(self, width: int, d_state: int, slowest: float, dropout: float) -> None:
        super().__init__()
        self.norm = Modulated(width, width)
        self.along, self.against = (S5(width, d_state=d_state, dt_min=slowest, dt_max=0.5) for _ in range(2))
        self.gate = nn.Linear(2 * width, 2 * width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, h: Tensor, embedded: Tensor) -> Tensor:
        u = self.norm(h, embedded)
        along, against = self.along(u).y, self.against(u.flip(1)).y.flip(1)
        read = F.gelu(along), F.gelu(against)
        return h + self.dropout(F.glu(self.gate(torch.cat(read, dim=-1)), dim=-1))
