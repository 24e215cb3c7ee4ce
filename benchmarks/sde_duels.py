"""Solvers of stochastic differential equations against torchsde."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from duel import Duel, Work, gradients, seeded, version
from torch import Tensor, nn

from integrand.core.fields import MLP
from integrand.core.numerics.solve_sde import solve_sde
from integrand.core.numerics.stochastic.brownian import Increments

DIM, WIDTH, BATCH, STEPS = 16, 64, 256, 100


class NeuralSDE(nn.Module):
    """MLPs for the drift and the diagonal diffusion, which is kept positive; ``f`` and ``g`` as torchsde calls them."""

    noise_type, sde_type = "diagonal", "ito"

    def __init__(self) -> None:
        super().__init__()
        self.drift, self.diffusion = MLP(DIM, (WIDTH, WIDTH)), MLP(DIM, (WIDTH, WIDTH), final="softplus")

    def f(self, t: Tensor, y: Tensor) -> Tensor:
        """Return the drift."""
        return self.drift(t, y)

    def g(self, t: Tensor, y: Tensor) -> Tensor:
        """Return the diffusion."""
        return self.diffusion(t, y)


class Replayed:
    """Increments drawn before, told to our solver and to torchsde alike, so that answers can be compared."""

    dtype, shape, levy_area_approximation = torch.float32, (BATCH, DIM), "none"

    def __init__(self) -> None:
        drawn = torch.randn(STEPS, BATCH, DIM, generator=seeded(1))
        self.w = drawn * (1 / STEPS) ** 0.5
        self.device = self.w.device

    def increments(self, grid: Tensor, *, area: bool = False) -> Increments:
        """Return all of them."""
        return Increments(self.w, None)

    def __call__(self, ta: Tensor, tb: Tensor) -> Tensor:
        """Return the one of the step from ta to tb; nothing for the sliver that torchsde's clock leaves at the end."""
        step = round(float(ta) * STEPS)
        return self.w[step] if step < STEPS else torch.zeros_like(self.w[0])


def duels() -> Iterator[Duel]:
    """Yield every comparison."""
    torch.manual_seed(0)
    ours, theirs, y0 = NeuralSDE(), NeuralSDE(), torch.randn(BATCH, DIM)
    theirs.load_state_dict(ours.state_dict())
    shared = Replayed()
    work = (
        f"neural SDE, Euler, {STEPS} steps, batch {BATCH}, dimension {DIM}, two-layer MLPs of width {WIDTH} for drift "
        "and diagonal diffusion, the latter through softplus, fresh noise, forward and backward"
    )
    compare = (_ours(ours, y0, shared), _torchsde(theirs, y0, shared))
    for row, defaults, note, must, goal in (
        ("sde_euler", False, "its BrownianInterval told the step, dt=, which spares it a tree", 1.5, 2.5),
        ("sde_euler_default", True, "its default Brownian motion, refined for a sliver of rounding", None, None),
    ):
        yield Duel(
            row=row,
            work=work,
            ours=_ours(ours, y0, None),
            peer="torchsde" + (" as it comes" if defaults else ""),
            theirs=_torchsde(theirs, y0, None, defaults=defaults),
            peer_version=version("torchsde"),
            note=f"{note}; answers compared on one path, the last state and all gradients",
            must=must,
            goal=goal,
            compare=compare,
        )


def _ours(sde: NeuralSDE, y0: Tensor, path: Replayed | None) -> Work:
    times = torch.tensor([0.0, 1.0])

    def solve(start: Tensor) -> Tensor:
        return solve_sde(sde.drift, sde.diffusion, start, times, step_size=1 / STEPS, brownian=path).states[:, -1]

    return _work(sde, y0, solve)


def _torchsde(sde: NeuralSDE, y0: Tensor, path: Replayed | None, *, defaults: bool = False) -> Work:
    times = torch.tensor([0.0, 1.0])

    def solve(start: Tensor) -> Tensor:
        import torchsde

        bm: Any = path
        if path is None and not defaults:
            bm = torchsde.BrownianInterval(0.0, 1.0, (BATCH, DIM), dt=1 / STEPS)
        return torchsde.sdeint(sde, start, times, bm=bm, method="euler", dt=1 / STEPS)[-1]  # pyright: ignore[reportReturnType]

    return _work(sde, y0, solve)


def _work(sde: NeuralSDE, y0: Tensor, solve: Callable[[Tensor], Tensor]) -> Work:
    def once() -> list[Tensor]:
        sde.zero_grad()
        start = y0.clone().requires_grad_()
        end = solve(start)
        end.square().sum().backward()
        return [end.detach(), *gradients(start, *sde.parameters())]

    return once
