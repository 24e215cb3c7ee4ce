"""Flows, equilibria and momentum keep the laws. A new one is one line in ``MODULES``, ``FIELDS`` or ``LAYERS``."""

from typing import Any

import pytest
import torch
from module_laws import B, FieldLaws, ModuleCase, ModuleLaws
from sequence_laws import Case, SequenceLaws
from sequence_laws import D as CHANNELS
from torch import Tensor, nn

from integrand.core.fields.mlp import MLP
from integrand.core.fields.monotone import MonotoneField
from integrand.core.fields.relaxation import Relaxation
from integrand.core.layers.deep_equilibrium import DeepEquilibrium, Equilibrium
from integrand.core.layers.equilibrium_rnn import EquilibriumRNN
from integrand.core.layers.momentum_residual import MomentumResidual
from integrand.core.models.continuous_normalizing_flow import ContinuousNormalizingFlow

D, C, K = 4, 3, 2
# Fixed steps, so that every precision and every batch takes the same.
STEPS: dict[str, Any] = {"method": "rk4", "step_size": 0.25, "energies": True}
# To the rounding of the precision in use, whichever it is.
SOLVED: dict[str, Any] = {"rtol": 1e-14, "atol": 0.0, "max_iterations": 300}


class Cell(nn.Module):
    """tanh(W z + U x) / 2, which contracts."""

    def __init__(self) -> None:
        super().__init__()
        self.map = nn.Linear(D + C, D)

    def forward(self, z: Tensor, x: Tensor) -> Tensor:
        return torch.tanh(self.map(torch.cat([z, x], dim=-1))) / 2


def draw(*shapes: tuple[int, ...]) -> Any:
    return lambda generator: tuple(torch.randn(B, *shape, generator=generator, dtype=torch.float64) for shape in shapes)


def found(out: Equilibrium) -> tuple[Tensor, ...]:
    return (out.z,) if out.jacobian_square is None else (out.z, out.jacobian_square)


def block() -> nn.Module:
    return nn.Sequential(nn.Linear(D, 8), nn.Tanh(), nn.Linear(8, D))


MODULES = [
    ModuleCase(
        "flow-exact",
        lambda: ContinuousNormalizingFlow(MLP(D, (8,), time=True), D, **STEPS),
        draw((D,)),
    ),
    ModuleCase(
        "flow-rademacher",
        lambda: ContinuousNormalizingFlow(MLP(D, (8,), control=C), D, trace="rademacher", **STEPS),
        draw((D,), (C,), (K, D)),
        lambda module, x, args, noise: module(x, args, noise=noise),
    ),
    ModuleCase(
        "flow-adjoint",
        lambda: ContinuousNormalizingFlow(MLP(D, (8,)), D, trace="gaussian", gradient="adjoint", **STEPS),
        draw((D,), (K, D)),
        lambda module, x, noise: module(x, noise=noise)[:2],
    ),
    ModuleCase(
        "equilibrium-anderson",
        lambda: DeepEquilibrium(Relaxation(Cell()), D, regularize=True, **SOLVED),
        draw((C,), (K, D)),
        lambda module, x, noise: found(module(x, noise=noise)),
    ),
    ModuleCase(
        "equilibrium-broyden",
        lambda: DeepEquilibrium(Relaxation(Cell()), D, method="broyden", **SOLVED),
        draw((C,)),
        lambda module, x: found(module(x)),
    ),
    ModuleCase(
        "equilibrium-phantom",
        lambda: DeepEquilibrium(Relaxation(Cell()), D, gradient="phantom", **SOLVED),
        draw((C,)),
        lambda module, x: found(module(x)),
    ),
    ModuleCase(
        "equilibrium-monotone",
        lambda: DeepEquilibrium(MonotoneField(D, C), D, **SOLVED),
        draw((C,)),
        lambda module, x: found(module(x)),
    ),
    ModuleCase("momentum-reversible", lambda: MomentumResidual([block() for _ in range(5)]), draw((D,))),
    ModuleCase(
        "momentum-plain",
        lambda: MomentumResidual([block() for _ in range(5)], reversible=False),
        draw((2, D)),
        compiles=True,
    ),
]

FIELDS = [
    ModuleCase(
        f"monotone-{activation}",
        lambda activation=activation: MonotoneField(D, C, activation=activation),
        draw((D,), (C,)),
        lambda module, z, x: module(z.new_zeros(()), z, x),
        compiles=True,
    )
    for activation in ("relu", "tanh")
] + [
    ModuleCase(
        "relaxation",
        lambda: Relaxation(Cell(), time_constant=0.3),
        draw((D,), (C,)),
        lambda module, z, x: module(z.new_zeros(()), z, x),
        compiles=True,
    )
]

# A time constant so long that the intervals of the laws are small: what they measure are orders in dt.
SLOW: dict[str, Any] = {"d_state": 8, "time_constant": 10.0, "rtol": 1e-14}
LAYERS = [
    Case(
        "equilibrium-rnn-tanh",
        lambda scale: EquilibriumRNN(CHANNELS, time_scale=scale, **SLOW),
        flow_order=1,
        impulsive=False,
        transforms=False,
    ),
    Case(
        "equilibrium-rnn-relu",
        lambda scale: EquilibriumRNN(CHANNELS, activation="relu", method="picard", time_scale=scale, **SLOW),
        flow_order=1,
        impulsive=False,
        transforms=False,
    ),
]

CASES = [*MODULES, *FIELDS, *LAYERS]


@pytest.mark.parametrize("case", MODULES, ids=lambda case: case.name)
class TestFlowsAndEquilibria(ModuleLaws):
    pass


@pytest.mark.parametrize("case", FIELDS, ids=lambda case: case.name)
class TestFieldsWithEquilibria(FieldLaws):
    pass


@pytest.mark.parametrize("case", LAYERS, ids=lambda case: case.name)
class TestEquilibriumRNN(SequenceLaws):
    pass
