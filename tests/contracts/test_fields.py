"""Every field keeps the laws. A new one is one line in ``FIELDS``; mechanical ones are in their own list."""

import pytest
import torch
from module_laws import B, FieldLaws, ModuleCase, ModuleLaws
from torch import Tensor, nn

from integrand.core.fields.contractive import ContractiveField
from integrand.core.fields.convolutional import ConvolutionalField
from integrand.core.fields.film import FiLM
from integrand.core.fields.film_mlp import FiLMMLP
from integrand.core.fields.gradient_flow import GradientFlow
from integrand.core.fields.graph_diffusion import GraphDiffusion
from integrand.core.fields.hyper_mlp import HyperMLP
from integrand.core.fields.input_convex import ConvexLyapunov, InputConvex
from integrand.core.fields.linear import Linear
from integrand.core.fields.lipschitz_mlp import LipschitzMLP
from integrand.core.fields.lyapunov_stable import LyapunovStableField
from integrand.core.fields.mlp import MLP
from integrand.core.fields.periodic_forcing import PeriodicForcing
from integrand.core.fields.polynomial import Polynomial
from integrand.core.fields.universal import UniversalField

D, H, M, N = 3, (12, 10), 2, 5
EDGES = torch.tensor([[0, 1, 2, 3, 1, 0, 3, 2], [1, 2, 0, 1, 0, 2, 2, 1]])  # node 3 sends, node 4 is alone


class Started(nn.Module):
    """A diffusion that starts where it is: what is fixed at the start is that of x."""

    def __init__(self, **options: bool) -> None:
        super().__init__()
        self.field = GraphDiffusion(D, EDGES, heads=2, width=4, **options)

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        return self.field(t, x, self.field.context(x))


def unbiased() -> FiLMMLP:
    """A nominal field without the constant that a stable one subtracts."""
    nominal = FiLMMLP(D, H)
    nominal.leave.register_parameter("bias", None)
    return nominal


def known(t: Tensor, y: Tensor, constants) -> Tensor:
    """Growth and decay."""
    return (constants["growth"] - constants["decay"])[:, None] * y


def universal(**options) -> UniversalField:
    """A known part with a network beside."""
    return UniversalField(D, known, {"growth": -0.3, "decay": 0.5}, positive=("decay",), hidden=H, **options)


def draw(*shapes: tuple[int, ...]):
    return lambda generator: tuple(torch.randn(B, *shape, generator=generator, dtype=torch.float64) for shape in shapes)


def graphs(generator: torch.Generator) -> tuple[Tensor, ...]:
    """Features, and a graph for each sample."""
    return *draw((N, D))(generator), torch.randint(0, N, (B, 2, 9), generator=generator)


def at(field: nn.Module, y: Tensor, *args: Tensor) -> Tensor:
    return field(y.new_tensor(0.4), y, *args)


def field(name: str, make, inputs=None, **options) -> ModuleCase:
    return ModuleCase(name, make, inputs or draw((D,)), at, **{"compiles": True, **options})


FIELDS = [
    field("linear", lambda: Linear(D)),
    field("mlp", lambda: MLP(D, H)),
    field("mlp-of-time", lambda: MLP(D, H, time=True, activation="softplus")),
    field("mlp-driven", lambda: MLP(D, H, control=M, final="tanh"), draw((D,), (M,))),
    field("periodic-forcing", lambda: PeriodicForcing(MLP(D, H, control=2), [24.0]), draw((D,), (1,))),
    field("film-mlp", lambda: FiLMMLP(D, H)),
    field("film-mlp-driven", lambda: FiLMMLP(D, H, control=M, activation="silu"), draw((D,), (M,))),
    field("hyper-mlp", lambda: HyperMLP(D, H)),
    field("hyper-mlp-driven", lambda: HyperMLP(D, H, control=M, rank=2), draw((D,), (M,))),
    field("lipschitz-mlp", lambda: LipschitzMLP(D, H, lipschitz=0.5)),
    field("lipschitz-mlp-driven", lambda: LipschitzMLP(D, H, time=True, control=M), draw((D,), (M,))),
    field("contractive", lambda: ContractiveField(D, 8)),
    field("contractive-driven", lambda: ContractiveField(D, 8, metric=True, time=True, control=M), draw((D,), (M,))),
    field("lyapunov-stable", lambda: LyapunovStableField(D, H)),
    field("lyapunov-stable-of-time", lambda: LyapunovStableField(D, H, nominal=unbiased())),
    field("convex-gradient-flow", lambda: GradientFlow(D, energy=InputConvex(D, H))),
    field("convolutional-1d", lambda: ConvolutionalField(D, (8,), dims=1), draw((D, 7))),
    field("convolutional-2d-concat", lambda: ConvolutionalField(D, (8, 8), time="concat", groups=2), draw((D, 6, 5))),
    field(
        "convolutional-2d-film", lambda: ConvolutionalField(D, (8,), time="film", padding="reflect"), draw((D, 6, 5))
    ),
    field("convolutional-3d", lambda: ConvolutionalField(D, (4,), dims=3, padding="zeros"), draw((D, 4, 3, 5))),
    field("polynomial", lambda: Polynomial(D, 3)),
    field("universal", lambda: universal(acts_on=(2, 0), sees=(1,))),
    field("universal-interaction", lambda: universal(vanishes_without=(0, 1), time=True)),
    field("graph-diffusion", lambda: GraphDiffusion(D, EDGES, heads=2), draw((N, D))),
    field("graph-diffusion-own-graphs", lambda: GraphDiffusion(D, width=4), graphs),
    field("graph-diffusion-linear", lambda: Started(linear=True), draw((N, D))),
    field("graph-diffusion-fed", lambda: Started(linear=True, source=True), draw((N, D))),
]
PARTS = [
    ModuleCase(
        "film", lambda: FiLM(H), draw(()), lambda film, t: [part for each in film(t) for part in each], compiles=True
    ),
    ModuleCase(
        "input-convex", lambda: InputConvex(D, H), draw((D,)), lambda g, y: (g(y), g.gradient(y)), compiles=True
    ),
    ModuleCase(
        "convex-lyapunov", lambda: ConvexLyapunov(D, H), draw((D,)), lambda v, y: (v(y), v.gradient(y)), compiles=True
    ),
]
CASES = FIELDS + PARTS


@pytest.mark.parametrize("case", FIELDS, ids=lambda case: case.name)
class TestFields(FieldLaws):
    pass


@pytest.mark.parametrize("case", PARTS, ids=lambda case: case.name)
class TestParts(ModuleLaws):
    pass
