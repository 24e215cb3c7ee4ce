"""Operators and the neural PDE keep the laws of modules. A new one is a line in ``CASES``."""

from typing import Any

import pytest
import torch
from module_laws import B, ModuleCase, ModuleLaws
from torch import Generator, Tensor

from integrand.core.models.neural_pde import LocalTerm, NeuralPDE
from integrand.core.models.semilinear_pde import SemilinearPDE
from integrand.core.operators.boundary import Dirichlet, Neumann
from integrand.core.operators.deeponet import DeepONet
from integrand.core.operators.graph_operator import GraphOperator
from integrand.core.operators.grid import Grid
from integrand.core.operators.unet import UNet


def fields(*shape: int):
    return lambda g: (torch.randn(B, *shape, generator=g, dtype=torch.float64),)


def conditioned(*shape: int, parameters: int):
    """Draw a field, a time of its own for each sample, and its parameters."""

    def draw(g: Generator) -> tuple[Tensor, ...]:
        x = torch.randn(B, *shape, generator=g, dtype=torch.float64)
        t = torch.rand(B, generator=g, dtype=torch.float64)
        return x, t, torch.randn(B, parameters, generator=g, dtype=torch.float64)

    return draw


def asked(function: tuple[int, ...], queries: int, dims: int):
    def draw(g: Generator) -> tuple[Tensor, ...]:
        u = torch.randn(B, *function, generator=g, dtype=torch.float64)
        return u, torch.rand(B, queries, dims, generator=g, dtype=torch.float64)

    return draw


def solve(times: list[float]):
    return lambda model, u: model(u, times).states


SMALL: dict[str, Any] = {"width": 8, "groups": 4}
WALLED = Grid((10, 9), (2.0, 2.0), (Neumann(0.2), (Dirichlet(0.0), Dirichlet(1.0))), "cell")
CASES = [
    # Sums of 3 x 3 x 16 products, one layer after another, and normalisations that divide by small deviations.
    ModuleCase(
        "unet-1d", lambda: UNet(2, dims=1, blocks=2, padding="circular", **SMALL), fields(2, 19), operations=10_000
    ),
    ModuleCase(
        "unet-2d-conditioned",
        lambda: UNet(2, 1, multipliers=(1, 2), time=True, condition=3, heads=2, **SMALL),
        conditioned(2, 12, 9, parameters=3),
        operations=10_000,
        compiles=True,
    ),
    ModuleCase(
        "unet-3d",
        lambda: UNet(1, 2, dims=3, multipliers=(1, 2), **SMALL),
        fields(1, 6, 5, 4),
        operations=10_000,
        compiles=True,
    ),
    ModuleCase(
        "deeponet", lambda: DeepONet(9, 2, basis=8, branch=(16,), trunk=(16,)), asked((9,), 11, 2), compiles=True
    ),
    ModuleCase(
        "deeponet-vector",
        lambda: DeepONet(9, 1, in_channels=2, out_channels=3, basis=8, branch=(16,), trunk=(16,)),
        asked((2, 9), 11, 1),
        compiles=True,
    ),
    ModuleCase(
        "graph-radius",
        lambda: GraphOperator(2, 1, dims=2, width=8, steps=2, hidden=(16,), radius=0.4),
        asked((20, 2), 20, 2),
    ),
    ModuleCase(
        "graph-nearest",
        lambda: GraphOperator(2, 3, dims=2, width=8, steps=2, hidden=(16,), neighbours=4, tied=False),
        asked((20, 2), 20, 2),
        compiles=True,
    ),
    ModuleCase(
        "local-term", lambda: LocalTerm(2, 2), fields(10, 6, 5), lambda term, u: term(u.new_zeros(()), u), compiles=True
    ),
    ModuleCase(
        "neural-pde",
        lambda: NeuralPDE(WALLED, LocalTerm(2, 2, hidden=(16,)), length_scale=0.5, method="rk4", step_size=0.025),
        fields(2, 10, 9),
        solve([0.0, 0.05, 0.1]),
        operations=20_000,  # differences at the walls multiply rounding by 8 / h^2 times the step, each time
    ),
    ModuleCase(
        "semilinear-pde",
        lambda: SemilinearPDE(2, (3.0,), hidden=(8,), source=True, step_size=0.1),
        fields(2, 18),
        call=solve([0.0, 0.2, 0.3]),
        operations=10_000,
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
class TestOperators(ModuleLaws):
    pass
