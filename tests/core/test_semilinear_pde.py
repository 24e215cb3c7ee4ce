"""The learned semilinear PDE against equations with a known solution, and the laws that its form promises."""

import math

import pytest
import torch
from torch import Tensor, nn

from integrand.core.errors import InputError
from integrand.core.models.semilinear_pde import LearnedSymbol, SemilinearPDE
from integrand.core.numerics import PeriodicGrid, solve_ode

FLOAT64 = torch.empty(0, dtype=torch.float64)


def softplus_inverse(value: float) -> float:
    return math.log(math.expm1(value))


class Square(nn.Module):
    """The flux u^2 / 2 of Burgers, Korteweg and de Vries, Kuramoto and Sivashinsky, from the features (u, u_x)."""

    def forward(self, features: Tensor) -> Tensor:
        return features[..., :1].square() / 2


def silent(dims: int, **options) -> SemilinearPDE:
    """Return a model whose network is zero and whose symbol is that of the options' order alone."""
    model = SemilinearPDE(1, (2 * math.pi,) * dims, **options).double()
    with torch.no_grad():
        for parameter in model.local.parameters():
            parameter.zero_()
    return model


def test_a_linear_equation_is_solved_exactly():
    """u_t = -c u_x + nu u_xx + d u_xxx - mu u_xxxx: each wave moves and decays on its own."""
    nu, mu, c, d = 0.3, 0.02, 0.7, 0.05
    model = silent(1, order=4)
    with torch.no_grad():
        model.symbol.growth[0, 1] = nu
        model.symbol.drift[0, :, 0] = torch.tensor([-c, d], dtype=torch.float64)  # i k and (i k) (-k^2) = (i k)^3
        model.symbol.damping.fill_(softplus_inverse(mu))
    (x,) = PeriodicGrid((24,)).coordinates(FLOAT64)
    t, k = 1.3, 3
    moved = math.exp(-(nu * k**2 + mu * k**4) * t) * torch.cos(k * (x - c * t) - d * k**3 * t)
    got = model(torch.cos(k * x).view(1, 1, -1), [0.0, t]).states[0, 1, 0]
    assert (got - moved).abs().max() < 1e-12


def test_kuramoto_sivashinsky_as_a_model_agrees_with_an_explicit_solver():
    """With its exact terms the model solves u_t = -u_xx - u_xxxx - (u^2 / 2)_x as dopri8 does on the same waves."""
    length, n = 22.0, 32
    model = SemilinearPDE(1, (length,), order=4, step_size=0.005).double()
    model.local = nn.Sequential(Square())
    with torch.no_grad():
        model.symbol.growth[0, 1] = -1.0
        model.symbol.damping.fill_(softplus_inverse(1.0))
    grid = PeriodicGrid((n,), length)
    (x,) = grid.coordinates(FLOAT64)
    u = (torch.cos(2 * math.pi * x / length) + 0.3 * torch.sin(6 * math.pi * x / length)).view(1, 1, -1)
    mask, laplacian = grid.dealiasing_mask(u), grid.laplacian_symbol(u)

    def rate(t: Tensor, u: Tensor) -> Tensor:
        flux = grid.transform(grid.inverse(grid.transform(u) * mask).square() / 2) * mask
        return grid.inverse(-(laplacian + laplacian**2) * grid.transform(u) - grid.derivative_symbol(0, u) * flux)

    wanted = solve_ode(rate, u, [0.0, 2.0], method="dopri8", rtol=1e-11, atol=1e-12).states
    assert (model(u, [0.0, 2.0]).states - wanted).abs().max() < 1e-8


@pytest.mark.parametrize("shape", [(48,), (18, 16)])
def test_without_a_source_the_mean_stays(shape: tuple[int, ...]):
    torch.manual_seed(0)
    model = SemilinearPDE(2, (3.0,) * len(shape), hidden=(16,), step_size=0.05).double()
    u = torch.randn(3, 2, *shape, dtype=torch.float64)
    states = model(u, [0.0, 0.1, 0.3]).states
    assert states.shape == (3, 3, 2, *shape)
    assert (states - states[:, :1]).abs().amax() > 1e-3  # it does move
    means = states.flatten(3).mean(-1)
    assert (means - means[:, :1]).abs().max() < 1e-14


def test_the_same_equation_on_a_finer_grid():
    """Band-limited fields far below both grids' limits have the same solution at the points that both have."""
    torch.manual_seed(1)
    model = SemilinearPDE(1, (2 * math.pi,), hidden=(16,), step_size=0.02).double()
    with torch.no_grad():
        model.symbol.damping.fill_(softplus_inverse(0.05))

    def solve(n: int) -> Tensor:
        (x,) = PeriodicGrid((n,)).coordinates(FLOAT64)
        return model((x.cos() + 0.5 * (2 * x).sin()).view(1, 1, -1), [0.0, 0.5]).states[0, -1, 0]

    assert (solve(256)[::4] - solve(64)).abs().max() < 1e-9


def test_shifts_commute_with_it():
    torch.manual_seed(2)
    model = SemilinearPDE(1, (5.0,), hidden=(8,), source=True, step_size=0.1).double()
    u = torch.randn(2, 1, 30, dtype=torch.float64)
    end = model(u, [0.0, 0.4]).states[:, -1]
    assert (model(u.roll(7, -1), [0.0, 0.4]).states[:, -1] - end.roll(7, -1)).abs().max() < 1e-12


def test_no_learned_symbol_lets_short_waves_grow():
    """Whatever the parameters are, the growth rate falls to minus infinity with k."""
    torch.manual_seed(3)
    for order in (2, 4, 6):
        symbol = LearnedSymbol(3, 2, order=order)
        with torch.no_grad():
            for parameter in symbol.parameters():
                parameter.normal_(0, 3)
        rates = symbol(PeriodicGrid((4096, 8)), FLOAT64).real
        assert rates[:, 2048].max() < -1e2
        assert (rates[:, 2048].amax(-1) < rates[:, 1024].amax(-1)).all()


def test_slopes_are_those_of_the_field():
    """The derivative of the interpolant at an output time is the field there, in physical space."""
    torch.manual_seed(4)
    model = SemilinearPDE(1, (4.0,), hidden=(8,), step_size=0.01).double()
    u = torch.randn(1, 1, 16, dtype=torch.float64)
    solution = model(u, [0.0, 0.02])
    eps = 1e-6
    slope = (solution.interpolate(torch.tensor([eps], dtype=torch.float64))[:, 0] - u) / eps
    near = model(u, [0.0, eps]).states[:, 1]
    assert (slope - (near - u) / eps).abs().max() < 1e-3 * slope.abs().max()


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: SemilinearPDE(1, (1.0,), method="etd9"), "unknown method 'etd9'"),
        (lambda: SemilinearPDE(1, (1.0,), activation="relu"), "unknown activation 'relu'"),
        (lambda: SemilinearPDE(1, (1.0,), order=3), "an even order"),
        (lambda: SemilinearPDE(1, (1.0,), length_scale=0.0), "positive and finite"),
        (lambda: SemilinearPDE(1, (1.0,))(torch.zeros(2, 2, 8), [0.0, 1.0]), r"got \(2, 2, 8\)"),
    ],
)
def test_mistakes_are_named(made, message: str):
    with pytest.raises(InputError, match=message):
        made()
