"""Networks with residual stacks of every kind, as users write them."""

from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from integrand.core.analysis.exported_graph import ExportedGraph, exported_graph


class Dense(nn.Module):
    """x + a W2 tanh(W1 x)."""

    def __init__(self, width: int = 4, a: float = 1.0) -> None:
        super().__init__()
        self.inner, self.outer, self.a = nn.Linear(width, 2 * width), nn.Linear(2 * width, width), a

    def forward(self, x: Tensor) -> Tensor:
        return x + self.a * self.outer(torch.tanh(self.inner(x)))


class ConvolutionalBlock(nn.Module):
    """relu(x + BN(conv(x))), added and rectified in place, as in torchvision."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.conv(x))
        y += x
        return F.relu(y, inplace=True)


class PreNorm(nn.Module):
    """x + attention(LN(x)), then x + MLP(LN(x))."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, 2, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        x = x + self.attention(h, h, h, need_weights=False)[0]
        return x + self.mlp(self.second(x))


class Momentum(nn.Module):
    """v = g v + (1 - g) f(x), x = x + v."""

    def __init__(self, blocks: int = 4, g: float = 0.75, width: int = 4) -> None:
        super().__init__()
        self.f, self.g = nn.ModuleList(nn.Linear(width, width) for _ in range(blocks)), g

    def forward(self, x: Tensor) -> Tensor:
        v = torch.zeros_like(x)
        for f in self.f:
            v = self.g * v + (1 - self.g) * torch.tanh(f(x))
            x = x + v
        return x


class Undamped(nn.Module):
    """x = x + v, v = v + f(x): the position first."""

    def __init__(self, blocks: int = 4, width: int = 4) -> None:
        super().__init__()
        self.f = nn.ModuleList(nn.Linear(width, width) for _ in range(blocks))

    def forward(self, x: Tensor) -> Tensor:
        v = x.tanh()
        for f in self.f:
            x = x + v
            v = v + torch.sin(f(x))
        return x


class Reversible(nn.Module):
    """y1 = x1 + F(x2), y2 = x2 + G(y1)."""

    def __init__(self, blocks: int = 4, width: int = 4) -> None:
        super().__init__()
        self.f = nn.ModuleList(nn.Linear(width, width) for _ in range(blocks))
        self.g = nn.ModuleList(nn.Linear(width, width) for _ in range(blocks))

    def forward(self, x: Tensor) -> Tensor:
        one, two = x.chunk(2, -1)
        for f, g in zip(self.f, self.g, strict=True):
            one = one + torch.tanh(f(two))
            two = two + torch.tanh(g(one))
        return torch.cat([one, two], -1)


class Shared(nn.Module):
    """x + f(x), five times with the same f."""

    def __init__(self, f: nn.Module | None = None, blocks: int = 5) -> None:
        super().__init__()
        self.f, self.blocks = nn.Sequential(nn.Linear(4, 4), nn.Tanh()) if f is None else f, blocks

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(self.blocks):
            x = x + self.f(x)
        return x


class Gated(nn.Module):
    """(1 - z) h + z f(u, h) with gates z(u, h), over a sequence u."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.z, self.f = nn.Linear(width + 3, width), nn.Linear(width + 3, width)

    def forward(self, u: Tensor) -> Tensor:
        h = u.new_zeros(u.shape[0], 4)
        for number in range(u.shape[1]):
            seen = torch.cat([u[:, number], h], -1)
            z = torch.sigmoid(self.z(seen))
            h = (1 - z) * h + z * torch.tanh(self.f(seen))
        return h


class Leak(nn.Module):
    """(x + f(x)) / 2."""

    def __init__(self, blocks: int = 3) -> None:
        super().__init__()
        self.f = nn.ModuleList(nn.Linear(4, 4) for _ in range(blocks))

    def forward(self, x: Tensor) -> Tensor:
        for f in self.f:
            x = (x + torch.tanh(f(x))) / 2
        return x


def convolutional() -> nn.Module:
    """Two stages of different width, each a stack of its own."""
    first = [ConvolutionalBlock(4) for _ in range(3)]
    second = [ConvolutionalBlock(6) for _ in range(2)]
    return nn.Sequential(nn.Conv2d(1, 4, 3), *first, nn.Conv2d(4, 6, 1), *second, nn.Flatten(), nn.Linear(96, 3))


def post_norm() -> nn.Module:
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    return nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)


def settled(network: nn.Module, seed: int = 0) -> nn.Module:
    """Draw weights anew, those of batch normalisation included, in float64 and evaluation mode."""
    generator = torch.Generator().manual_seed(seed)
    network = network.double().eval()
    with torch.no_grad():
        for name, tensor in (*network.named_parameters(), *network.named_buffers()):
            if not tensor.is_floating_point():
                continue
            drawn = torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
            positive = name.endswith("running_var")
            tensor.copy_(1 + 0.5 * drawn.tanh() if positive else tensor + 0.1 * drawn)
    return network


def inputs(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


NETWORKS = {
    "dense": lambda: (nn.Sequential(nn.Linear(3, 4), *(Dense(4, 0.5) for _ in range(3)), nn.Linear(4, 2)), (5, 3)),
    "convolutional": lambda: (convolutional(), (5, 1, 6, 6)),
    "pre_norm": lambda: (nn.Sequential(*(PreNorm() for _ in range(3)), nn.LayerNorm(8)), (5, 6, 8)),
    "post_norm": lambda: (post_norm(), (5, 6, 8)),
    "momentum": lambda: (Momentum(), (5, 4)),
    "undamped": lambda: (Undamped(), (5, 4)),
    "reversible": lambda: (Reversible(), (5, 8)),
    "shared": lambda: (Shared(), (5, 4)),
    "gated": lambda: (Gated(), (5, 6, 3)),
    "leak": lambda: (Leak(), (5, 4)),
}
"""A network of each kind, and the shape of a batch for it."""


@cache
def network(name: str) -> nn.Module:
    return settled(NETWORKS[name]()[0])


def batch(name: str, samples: int = 5, seed: int = 1) -> Tensor:
    return inputs(samples, *NETWORKS[name]()[1][1:], seed=seed)


@cache
def exported(name: str) -> ExportedGraph:
    """Export a network once for all tests: it takes about a second."""
    return exported_graph(network(name), [batch(name)])
