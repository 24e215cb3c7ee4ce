"""Fields and states in every shape that torchdiffeq takes, for the tests of its drop-in."""

from typing import Any

import torch
from torch import Tensor, nn

FIXED = ["euler", "midpoint", "heun2", "heun3", "rk4"]
ADAPTIVE = ["dopri5", "dopri8", "bosh3"]
KINDS = ["number", "vector", "batch", "tuple"]


def leaves(y: Any) -> tuple[Tensor, ...]:
    return y if isinstance(y, tuple) else (y,)


class Field(nn.Module):
    """y' = cos(t) W tanh(y), or w sin(y) cos(t) for a state of one number; counts its calls; one parameter is spare."""

    def __init__(self, dtype: torch.dtype = torch.float64):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, 3, generator=torch.Generator().manual_seed(1)).to(dtype) * 0.7)
        self.unused = nn.Parameter(torch.ones(2, dtype=dtype))
        self.calls = 0

    def forward(self, t: Tensor, y: Any) -> Any:
        self.calls += 1
        assert t.dim() == 0
        if isinstance(y, tuple):
            return self.slope(t, y[0]), y[1] * y[0].mean()
        return self.slope(t, y)

    def slope(self, t: Tensor, y: Tensor) -> Tensor:
        return t.cos() * (y.tanh() @ self.weight if y.dim() else self.weight[0, 0] * y.sin())


def state(kind: str, dtype: torch.dtype = torch.float64) -> Any:
    generator = torch.Generator().manual_seed(2)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).to(dtype).requires_grad_()

    if kind == "tuple":
        return draw(2, 3), draw()
    return draw(*{"number": (), "vector": (3,), "batch": (4, 3)}[kind])
