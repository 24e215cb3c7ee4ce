"""Solvers of ordinary differential equations against their peers."""

import copy
from collections.abc import Callable, Iterator

import torch
import torchdiffeq
from duel import Duel, Work, gradients, version
from torch import Tensor

from integrand.core.fields import MLP
from integrand.core.numerics import solve_ode

SIZES = {"S": (2, 64, 64), "M": (16, 64, 256)}  # dimension, width, batch
STEPS = 20


def duels() -> Iterator[Duel]:
    """Yield every comparison."""
    for size, (dim, width, batch) in SIZES.items():
        yield _rk4(size, dim=dim, width=width, batch=batch)


def _rk4(size: str, *, dim: int, width: int, batch: int) -> Duel:
    torch.manual_seed(0)
    field, times = MLP(dim, (width, width)), torch.linspace(0, 1, STEPS + 1)
    theirs, y0 = copy.deepcopy(field), torch.randn(batch, dim)

    def work(field: MLP, solve: Callable[[MLP, Tensor], Tensor]) -> Work:
        def once() -> list[Tensor]:
            field.zero_grad()
            start = y0.clone().requires_grad_()
            end = solve(field, start)
            end.square().sum().backward()
            return [end.detach(), *gradients(start, *field.parameters())]

        return once

    return Duel(
        row=f"ode_rk4_{size}",
        work=f"rk4, {STEPS} steps, two-layer MLP field, size {size} (dimension {dim}, width {width}, batch {batch}), "
        "forward and backward",
        ours=work(field, lambda f, y: solve_ode(f, y, times, method="rk4", engine="native").states[:, -1]),
        peer="torchdiffeq",
        theirs=work(theirs, lambda f, y: torchdiffeq.odeint(f, y, times, method="rk4")[-1]),  # pyright: ignore[reportArgumentType, reportReturnType]
        peer_version=version("torchdiffeq"),
        note="the peer's rk4 is Kutta's 3/8 rule, ours the classical one: as many evaluations, and answers that differ "
        "by the two rules' errors",
    )
