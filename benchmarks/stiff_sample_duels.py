"""One stiff sample among many easy ones: steps of each sample's own against a step that all share."""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torchdiffeq
from duel import Duel, Work, gradients, version
from torch import Tensor, nn

from integrand.core.fields import MLP
from integrand.core.numerics import solve_ode

BATCH, DIM, WIDTH = 512, 16, 128
RATE = 600.0
"""How fast the stiff sample's solution is drawn to its rest, over a time of 1."""
TOLERANCES: dict[str, Any] = {"rtol": 1e-4, "atol": 1e-6}


def duels() -> Iterator[Duel]:
    """Yield every comparison."""
    torch.manual_seed(0)
    yield _duel("ode_stiff_sample", _switched(), "the suite's MLP, stiff where its argument lets it be")
    yield _duel("ode_stiff_sample_any_field", Relaxation(), "an MLP inside a field of the user's own, by autograd")


class Relaxation(nn.Module):
    """y' = k (MLP(y) - y), where k is 1 for an argument of 1, and ``RATE`` for 0."""

    def __init__(self) -> None:
        super().__init__()
        self.net = MLP(DIM, (WIDTH, WIDTH))

    def forward(self, t: Tensor, y: Tensor, easy: Tensor) -> Tensor:
        """Evaluate the field."""
        return (RATE + (1 - RATE) * easy) * (self.net(t, y) - y)


def _switched() -> MLP:
    """Return y' = -c (V W)^T tanh(V (tanh(W y + 3.5 s u) + tanh(W y - 3.5 s u)) / 2) with signs s.

    At u = 0 its Jacobian has eigenvalues down to ``-RATE``; at u = 1 the inner units are nearly saturated, and it draws
    to its rest hundreds of times as slowly.
    """
    field = MLP(DIM, (WIDTH, WIDTH), control=1)
    first, second, last = (layer for layer in field.layers if isinstance(layer, nn.Linear))
    half = WIDTH // 2
    with torch.no_grad():
        first.weight[half:] = first.weight[:half]
        signs = torch.randn(half).sign()
        first.weight[:, DIM] = 3.5 * torch.cat([signs, -signs])
        second.weight[:, half:] = second.weight[:, :half]
        inner = second.weight @ first.weight[:, :DIM]
        last.weight.copy_(-RATE * inner.t() / torch.linalg.matrix_norm(inner, 2) ** 2)
        for layer in (first, second, last):
            layer.bias.zero_()
    return field


def _duel(row: str, field: nn.Module, kind: str) -> Duel:
    y0, times = torch.randn(BATCH, DIM), torch.tensor([0.0, 1.0])
    easy = torch.ones(BATCH, 1)
    easy[BATCH // 2] = 0.0

    def work(field: nn.Module, solve: Callable[[nn.Module, Tensor], Tensor]) -> Work:
        def once() -> list[Tensor]:
            field.zero_grad()
            start = y0.clone().requires_grad_()
            end = solve(field, start)
            end.square().sum().backward()
            return [end.detach(), *gradients(start, *field.parameters())]

        return once

    def own(field: nn.Module, y: Tensor) -> Tensor:
        return solve_ode(field, y, times, args=easy, stepping="per_sample", **TOLERANCES).states[:, -1]

    def shared(field: nn.Module, y: Tensor) -> Tensor:
        return torchdiffeq.odeint(lambda t, y: field(t, y, easy), y, times, method="dopri5", **TOLERANCES)[-1]  # pyright: ignore[reportReturnType, reportArgumentType]

    return Duel(
        row=row,
        work=f"dopri5, rtol 1e-4, a batch of {BATCH} with one stiff sample (rate {RATE:g} over a time of 1), {kind}, "
        f"dimension {DIM}, width {WIDTH}, forward and backward",
        ours=work(field, own),
        peer="torchdiffeq",
        theirs=work(copy.deepcopy(field), shared),
        peer_version=version("torchdiffeq"),
        note="ours with steps of each sample's own, the peer with one step size for the batch",
        must=6.0,
        goal=10.0,
    )
