"""Stochastic and latent models, and the fields they bring, keep the laws of modules."""

import pytest
import torch
from module_laws import B, FieldLaws, ModuleCase, ModuleLaws
from torch import Tensor

from integrand.core.fields.diagonal_diffusion import DiagonalDiffusion
from integrand.core.fields.gru_field import GRUField
from integrand.core.fields.mlp import MLP
from integrand.core.layers.s5 import S5
from integrand.core.models.gru_ode_bayes import Filtered, GRUODEBayes
from integrand.core.models.latent_ode import LatentODE
from integrand.core.models.latent_sde import LatentSDE
from integrand.core.models.neural_ode import NeuralODE
from integrand.core.models.neural_sde import NeuralSDE
from integrand.core.models.ode_rnn import ODERNN

L, C, D = 6, 3, 2
TIMES = (0.0, 0.25, 0.5, 1.0)
SEEDS = torch.tensor([3, 1, 4])

Draw = tuple[Tensor, ...]


def states(generator: torch.Generator) -> Draw:
    return (torch.randn(B, D, generator=generator, dtype=torch.float64),)


def noisy(generator: torch.Generator) -> Draw:
    """An initial state a sample, and the seed of its path."""
    return (*states(generator), SEEDS)


def series(generator: torch.Generator) -> Draw:
    """Features, intervals, which elements are present; the last element of one sample is padding."""
    features = torch.randn(B, L, C, generator=generator, dtype=torch.float64)
    dt = torch.rand(B, L, generator=generator, dtype=torch.float64) / L
    present = torch.rand(B, L, generator=generator) < 0.8
    present[:, 0], present[0, -1], dt[0, -1] = True, False, 0
    return features, dt, present


def inferred(generator: torch.Generator) -> Draw:
    """A series and the noise of its latent start."""
    return (*series(generator), torch.randn(B, D, generator=generator, dtype=torch.float64))


def paths(generator: torch.Generator) -> Draw:
    """A series with times in place of intervals, the noise of its start, and the seed of its path."""
    features, dt, present, noise = inferred(generator)
    return features, dt.cumsum(1), present, noise, SEEDS


def sporadic(generator: torch.Generator) -> Draw:
    """Values, times and what was observed; few elements, for each is compiled."""
    values, dt, _ = (each[:, :3] for each in series(generator))
    return values, 3 * dt.cumsum(1), torch.rand(values.shape, generator=generator) < 0.6


def solve(model: NeuralSDE, y0: Tensor, seeds: Tensor) -> Tensor:
    return model(y0, TIMES, seeds=seeds).states


def trajectory(model: LatentODE, features: Tensor, dt: Tensor, present: Tensor, noise: Tensor) -> Draw:
    out = model(features, dt, present, noise.new_tensor(TIMES), noise=noise)
    return out.solution.states, out.kl, out.log_ratio


def path(model: LatentSDE, features: Tensor, at: Tensor, present: Tensor, noise: Tensor, seeds: Tensor) -> Draw:
    out = model(features, at, present, TIMES, noise=noise, seeds=seeds)
    return out.solution.states, out.start_kl, out.path_kl


def filtered(model: GRUODEBayes, values: Tensor, times: Tensor, mask: Tensor) -> Draw:
    out: Filtered = model(values, times, mask)
    return *out.before, *out.after, out.nll, out.kl, out.state.h


def field(module: torch.nn.Module, y: Tensor) -> Tensor:
    return module(torch.zeros((), dtype=y.dtype), y)


def encoder() -> S5:
    return S5(8, d_state=8, dt_min=0.1, dt_max=1.0)


MODELS = [
    ModuleCase("neural-sde", lambda: NeuralSDE(D, step_size=0.1), noisy, solve),
    ModuleCase("neural-sde-additive", lambda: NeuralSDE(D, noise="additive", channels=3, step_size=0.1), noisy, solve),
    ModuleCase("neural-sde-general", lambda: NeuralSDE(D, noise="general", channels=3, step_size=0.1), noisy, solve),
    ModuleCase("neural-sde-scalar", lambda: NeuralSDE(D, noise="scalar", step_size=0.1), noisy, solve),
    ModuleCase("neural-sde-heun", lambda: NeuralSDE(D, calculus="stratonovich", step_size=0.1), noisy, solve),
    ModuleCase(
        "neural-sde-milstein-free",
        lambda: NeuralSDE(MLP(D, (16,)), DiagonalDiffusion(D), method="milstein_free", step_size=0.1),
        noisy,
        solve,
    ),
    ModuleCase(
        "neural-sde-reversible",
        lambda: NeuralSDE(D, calculus="stratonovich", gradient="reversible", step_size=0.1),
        noisy,
        solve,
    ),
    ModuleCase("latent-sde", lambda: LatentSDE(C, D, encoder(), step_size=0.1), paths, path),
    ModuleCase("latent-sde-ode-rnn", lambda: LatentSDE(C, D, ODERNN(8, d_state=8), step_size=0.1), paths, path),
    ModuleCase("latent-ode", lambda: LatentODE(C, D, encoder(), NeuralODE(MLP(D), method="rk4")), inferred, trajectory),
    ModuleCase("gru-ode-bayes", lambda: GRUODEBayes(C, d_state=8, hidden=16), sporadic, filtered, compiles=True),
]
FIELDS = [
    ModuleCase("diagonal-diffusion", lambda: DiagonalDiffusion(D), states, field, compiles=True),
    ModuleCase("gru-field", lambda: GRUField(D), states, field, compiles=True),
]
CASES = [*MODELS, *FIELDS]


@pytest.mark.parametrize("case", MODELS, ids=lambda case: case.name)
class TestLatentModels(ModuleLaws):
    pass


@pytest.mark.parametrize("case", FIELDS, ids=lambda case: case.name)
class TestFieldsOfLatentModels(FieldLaws):
    pass
