"""Controlled differential equations against their peers."""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import torch
from duel import Duel, Work, gradients, version
from torch import Tensor

from integrand.core.fields import MLP
from integrand.core.numerics.solve_cde import solve_cde
from integrand.core.paths import HermitePath, hermite_coefficients

BATCH, LENGTH, CHANNELS, HIDDEN, WIDTH = 32, 1000, 6, 32, 64


def duels() -> Iterator[Duel]:
    """Yield every comparison."""
    torch.manual_seed(0)
    times = torch.linspace(0, 10, LENGTH)
    # Smooth data of unit size: sums of slow sines, so that a step from knot to knot resolves the path.
    frequency, phase = torch.rand(2, BATCH, 1, CHANNELS) * torch.tensor([4.0, 6.0]).view(2, 1, 1, 1)
    values = torch.sin(frequency * times.view(1, -1, 1) + phase)
    field = MLP(HIDDEN, (WIDTH,), activation="softplus", channels=CHANNELS)
    z0 = torch.randn(BATCH, HIDDEN)

    def work(field: MLP, solve: Callable[[MLP, Tensor], Tensor]) -> Work:
        def once() -> list[Tensor]:
            field.zero_grad()
            start = z0.clone().requires_grad_()
            end = solve(field, start)
            end.square().sum().backward()
            return [end.detach(), *gradients(start, *field.parameters())]

        return once

    ends, path = times[[0, -1]], HermitePath(hermite_coefficients(values, times), times)
    yield Duel(
        row="cde_rk4_hermite",
        work=f"neural CDE, rk4, a step for each of {LENGTH} observations, hidden {HIDDEN}, channels {CHANNELS}, batch "
        f"{BATCH}, field of one hidden layer of {WIDTH}, Hermite path, forward and backward",
        ours=work(field, lambda f, z: solve_cde(f, path, z, ends).states[:, -1]),
        peer="torchcde",
        theirs=work(copy.deepcopy(field), _torchcde(values, times)),
        peer_version=version("torchcde"),
        note="the peer's rk4 is Kutta's 3/8 rule, ours the classical one: as many evaluations, and answers that differ "
        "by the two rules' errors; coefficients computed beforehand on both sides; direct gradients",
        must=1.9,
        goal=3.0,
    )


def _torchcde(values: Tensor, times: Tensor) -> Callable[[MLP, Tensor], Tensor]:
    made: list[Any] = []

    def solve(field: MLP, z0: Tensor) -> Tensor:
        import torchcde  # pyright: ignore[reportMissingImports]

        if not made:
            coefficients = torchcde.hermite_cubic_coefficients_with_backward_differences(values, times)
            made.append(torchcde.CubicSpline(coefficients, times))
        options = {"grid_constructor": lambda _field, _y0, _t: times}
        ends = times[[0, -1]]
        states: Any = torchcde.cdeint(made[0], field, z0, ends, adjoint=False, method="rk4", options=options)
        return states[:, -1]

    return solve
