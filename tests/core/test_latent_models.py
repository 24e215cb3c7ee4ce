"""Stochastic and latent models against closed forms: moments of linear processes, divergences of paths, bounds."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from torch import Tensor, nn

from integrand.core.errors import InputError
from integrand.core.fields.constant_diffusion import ConstantDiffusion
from integrand.core.fields.diagonal_diffusion import DiagonalDiffusion
from integrand.core.fields.gru_field import GRUField
from integrand.core.fields.linear import Linear
from integrand.core.fields.mlp import MLP
from integrand.core.layers.s5 import S5
from integrand.core.layers.sequence_layer import SequenceLayer, SequenceOutput
from integrand.core.losses.gaussian_nll import gaussian_nll
from integrand.core.losses.importance_bound import importance_bound
from integrand.core.losses.poisson_process_nll import poisson_process_nll
from integrand.core.models.gru_ode_bayes import FilterState, GRUODEBayes
from integrand.core.models.latent_ode import LatentODE
from integrand.core.models.latent_sde import LatentSDE
from integrand.core.models.neural_ode import NeuralODE
from integrand.core.models.neural_sde import NeuralSDE
from integrand.core.models.ode_rnn import ODERNN
from integrand.core.numerics.solution import Status
from integrand.core.numerics.solve_ode import SolveError, solve_ode
from integrand.core.numerics.solve_sde import solve_sde
from integrand.core.numerics.stochastic.brownian import BrownianPath, Increments

EPS = torch.finfo(torch.float64).eps
SIGMAS = 4.5
"""Standard errors within which a Monte-Carlo mean must lie: by chance it does not once in 150,000 times."""


def rand(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


EVERY = torch.ones(4, 5, dtype=torch.bool)


class Pull(nn.Module):
    """The drift of an Ornstein-Uhlenbeck process, rate (level - y); takes a context and does not look at it."""

    def __init__(self, rate: float, level: float) -> None:
        super().__init__()
        self.rate, self.level = rate, level

    def forward(self, t: Tensor, y: Tensor, context: Tensor | None = None) -> Tensor:
        return self.rate * (self.level - y)


class Times(nn.Module):
    """The field c y."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return self.factor * y


class Even(nn.Module):
    """A diffusion that is the same everywhere."""

    def __init__(self, size: float) -> None:
        super().__init__()
        self.size = size

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return torch.full_like(y, self.size)


class Still:
    """Brownian motion that does not move."""

    def increments(self, grid: Tensor, *, area: bool = False) -> Increments:
        return Increments(grid.new_zeros(grid.shape[-1] - 1, self.batch, self.dim), None)

    def __init__(self, batch: int, dim: int) -> None:
        self.batch, self.dim = batch, dim


class Same(SequenceLayer):
    """Says what it reads, also where nothing is present, as the contract allows."""

    def forward(self, x: Tensor, dt: Any = None, mask: Tensor | None = None, state: Any = None) -> SequenceOutput:
        return SequenceOutput(x, None)


# --- Neural SDE ---


def test_ornstein_uhlenbeck_has_its_moments():
    """m(t) = mu + (y0 - mu) e^(-at), Cov(s, t) = sigma^2/2a (e^(-a(t-s)) - e^(-a(t+s)))."""
    rate, level, sigma, y0, paths, h = 1.3, 0.4, 0.8, 2.0, 20000, 0.01
    drift, diffusion = Linear(1), ConstantDiffusion(1)
    model = NeuralSDE(drift, diffusion, noise="additive", step_size=h).double()
    with torch.no_grad():
        for parameter, value in zip(drift.parameters(), (-rate, rate * level), strict=True):
            parameter.fill_(value)
        diffusion.matrix.fill_(sigma)
        generator = torch.Generator().manual_seed(0)
        states = model(torch.full((paths, 1), y0).double(), [0.0, 0.5, 1.5], generator=generator).states
    y = states[:, 1:, 0].numpy()
    t = np.array([0.5, 1.5])
    mean = level + (y0 - level) * np.exp(-rate * t)
    cov = sigma**2 / (2 * rate) * (np.exp(-rate * abs(t[:, None] - t)) - np.exp(-rate * (t[:, None] + t)))
    # Euler's scheme decays by 1 - ah, not e^(-ah): to leading order the mean is off by ah/2 of at e^(-at) <= 1/e, and a
    # covariance by ah/2 of the stationary variance; here are twice as much, for the orders beyond.
    bias = rate * h
    assert np.all(abs(y.mean(0) - mean) < SIGMAS * np.sqrt(cov.diagonal() / paths) + bias * abs(y0 - level) / math.e)
    error = np.sqrt((np.outer(cov.diagonal(), cov.diagonal()) + cov**2) / paths)  # of a covariance of normal numbers
    assert np.all(abs(np.cov(y.T) - cov) < SIGMAS * error + bias * sigma**2 / (2 * rate))


@pytest.mark.parametrize(("calculus", "method"), [("ito", "milstein_free"), ("stratonovich", "heun")])
def test_geometric_brownian_motion_is_approached_path_by_path(calculus: Any, method: str):
    """y = y0 exp((mu - sigma^2/2) t + sigma W) in Ito's calculus, without the -sigma^2/2 in Stratonovich's; order 1."""
    mu, sigma, paths = 0.5, 0.7, 4000
    path = BrownianPath(range(paths), 1, 0.0, 1.0, dtype=torch.float64)
    end = path.increments(torch.tensor([0.0, 1.0], dtype=torch.float64)).w[0]
    exact = torch.exp(mu - (sigma**2 / 2 if calculus == "ito" else 0) + sigma * end)
    errors = []
    for h in (2**-4, 2**-6):
        model = NeuralSDE(Times(mu), Times(sigma), calculus=calculus, method=method, step_size=h)
        y = model(torch.ones(paths, 1).double(), [0.0, 1.0], brownian=path).states[:, -1]
        errors.append((y - exact).square().mean().sqrt().item())
    # A mean square of heavy-tailed errors is itself off by some sqrt(10 / paths) = 0.05, of which the root of a
    # quotient over two halvings keeps less than 0.1.
    assert math.log2(errors[0] / errors[1]) / 2 == pytest.approx(1, abs=0.1)


def test_the_reversible_gradient_is_that_of_the_steps():
    torch.manual_seed(0)
    direct = NeuralSDE(2, calculus="stratonovich", method="reversible_heun", step_size=0.05).double()
    reversible = NeuralSDE(2, calculus="stratonovich", gradient="reversible", step_size=0.05).double()
    reversible.load_state_dict(direct.state_dict())
    assert reversible.method == "reversible_heun"
    for model in (direct, reversible):
        model(rand(4, 2), [0.0, 1.0], seeds=range(4)).states.square().sum().backward()
    for one, other in zip(direct.parameters(), reversible.parameters(), strict=True):
        # 20 steps walked back, each undone to rounding.
        assert one.grad is not None
        torch.testing.assert_close(one.grad, other.grad, rtol=0, atol=1000 * EPS * one.grad.abs().max().item())


def test_tolerances_choose_each_samples_steps():
    torch.manual_seed(0)
    drift, diffusion = MLP(2, (8,)).double(), DiagonalDiffusion(2).double()
    y0, seeds = rand(4, 2), range(4)
    options: dict[str, Any] = {"calculus": "stratonovich", "method": "heun", "rtol": 1e-3, "atol": 1e-4}
    found = NeuralSDE(drift, diffusion, **options)(y0, [0.0, 1.0], seeds=seeds)
    expected = solve_sde(drift, diffusion, y0, [0.0, 1.0], seeds=seeds, **options)
    assert torch.equal(found.states, expected.states)
    assert len(set(found.stats.accepted.tolist())) > 1


def test_arguments_reach_both_fields():
    model = NeuralSDE(MLP(2, (8,), control=1), MLP(2, (8,), control=1, final="softplus"), step_size=0.25).double()
    y0, seeds = rand(3, 2), range(3)
    found = [model(y0, [0.0, 1.0], torch.full((3, 1), u).double(), seeds=seeds).states for u in (0.0, 1.0)]
    assert not torch.allclose(*found, atol=1e-3)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: NeuralSDE(2, noise="diagnal"), "did you mean 'diagonal'"),  # pyright: ignore[reportArgumentType]
        (lambda: NeuralSDE(2, method="heun"), "does not fit noise='diagonal' in 'ito' calculus"),
        (lambda: NeuralSDE(2, step_size=-1.0), "step_size"),
        (lambda: NeuralSDE(2, rtol=1e-3), "make a tolerance together"),
        (lambda: NeuralSDE(MLP(2)), "diffusion is None"),
        (lambda: NeuralSDE(MLP(2), MLP(2), channels=3), "the diffusion given has its own"),
        (lambda: NeuralSDE(2, channels=3), "leave it out for 'diagonal' noise"),
        (lambda: NeuralSDE(2, noise="general", channels=0), "channels must be at least 1"),
        (lambda: NeuralSDE(2, noise="commutative"), "no network is known to commute"),
        (lambda: ConstantDiffusion(0), "at least 1, got dim=0"),
        (lambda: DiagonalDiffusion(2, hidden=0), "at least 1, got dim=2, hidden=0"),
        (lambda: DiagonalDiffusion(2, least=-1.0), "least must not be negative"),
        (lambda: GRUField(0), "dim must be at least 1"),
    ],
)
def test_impossible_equations_are_refused(build, message):
    with pytest.raises(InputError, match=message):
        build()


def test_diagonal_diffusion_is_positive_and_separate():
    torch.manual_seed(0)
    field = DiagonalDiffusion(3, least=0.01).double()
    y = 10 * rand(50, 3)
    assert (field(torch.tensor(0.0), y) >= 0.01).all()
    jacobian = torch.func.vmap(torch.func.jacrev(lambda one: field(torch.tensor(0.0), one.unsqueeze(0))[0]))(y)
    assert torch.count_nonzero(jacobian - torch.diag_embed(jacobian.diagonal(dim1=1, dim2=2))) == 0


# --- Latent SDE ---


def latent_sde(**options: Any) -> LatentSDE:
    torch.manual_seed(0)
    return LatentSDE(3, 2, S5(8, d_state=8), **options).double()


def series(batch: int = 4, length: int = 5) -> tuple[Tensor, Tensor, Tensor]:
    times = torch.rand(batch, length, generator=torch.Generator().manual_seed(7), dtype=torch.float64).cumsum(1)
    return rand(batch, length, 3), times, torch.ones(batch, length, dtype=torch.bool)


def test_path_kl_of_a_constant_gap_is_exact():
    """Drifts that differ by a over noise of size g: KL = D a^2 T / 2 g^2, on every path."""
    gap, size, end = 0.6, 0.5, 2.0

    class Shifted(Pull):
        def forward(self, t: Tensor, y: Tensor, context: Tensor | None = None) -> Tensor:
            return super().forward(t, y) + gap

    model = latent_sde(
        posterior_drift=Shifted(1.0, 0.0), prior_drift=Pull(1.0, 0.0), diffusion=Even(size), step_size=0.1
    )
    out = model(*series(), [0.0, end])
    expected = torch.full((4,), 2 * gap**2 * end / (2 * size**2), dtype=torch.float64)
    # f - h loses the digits that the drifts have before the gap: |drift| / gap is below 100.
    torch.testing.assert_close(out.path_kl, expected, rtol=100 * 20 * EPS, atol=0)
    torch.testing.assert_close(out.kl, out.start_kl + out.path_kl)


def test_path_kl_of_two_ornstein_uhlenbeck_processes():
    """KL = int E|f - h|^2 / 2 g^2 dt, with mean and variance of the posterior process known at all times."""
    a, m, b, n, size, end, batch, h = 1.5, 1.0, 0.5, -0.5, 0.7, 1.0, 4000, 2**-8
    model = latent_sde(posterior_drift=Pull(a, m), prior_drift=Pull(b, n), diffusion=Even(size), step_size=h)
    still = torch.zeros(batch, 2, dtype=torch.float64)
    features, times, present = (each[:1].expand(batch, *each.shape[1:]) for each in series())
    with torch.no_grad():
        out = model(features, times, present, [0.0, end], noise=still, seeds=range(batch))
        start = out.mean[0].numpy()

    def rate(t: float, z0: float) -> float:
        mean, var = m + (z0 - m) * math.exp(-a * t), size**2 / (2 * a) * (1 - math.exp(-2 * a * t))
        # f - h = (a m - b n) - (a - b) z
        return ((a * m - b * n - (a - b) * mean) ** 2 + (a - b) ** 2 * var) / (2 * size**2)

    expected = sum(quad(rate, 0, end, args=(z0,), epsabs=1e-10)[0] for z0 in start)
    error = out.path_kl.std().item() / math.sqrt(batch)
    # The rule of left points is off by h/2 of the rate's change; Euler's moments by a relative a h of their own.
    bias = sum(h / 2 * abs(rate(end, z0) - rate(0, z0)) + a * h * rate(0, z0) for z0 in start)
    assert abs(out.path_kl.mean().item() - expected) < SIGMAS * error + bias
    assert bias + SIGMAS * error < 0.05 * expected


def test_start_kl_is_that_of_torch_distributions():
    model = latent_sde()
    with torch.no_grad():
        model.prior_mean.copy_(rand(2, seed=1))
        model.prior_log_std.copy_(rand(2, seed=2))
    out = model(*series(), [0.0, 1.0])
    prior = torch.distributions.Normal(model.prior_mean, model.prior_log_std.exp())
    expected = torch.distributions.kl_divergence(torch.distributions.Normal(out.mean, out.std), prior).sum(-1)
    torch.testing.assert_close(out.start_kl, expected)


def test_the_context_is_that_of_the_next_element_present():
    """With dz = c(t) dt the path adds up the contexts, each over the time to the element it comes from."""

    class Follow(nn.Module):
        def forward(self, t: Tensor, y: Tensor, context: Tensor) -> Tensor:
            return context

    torch.manual_seed(0)
    model = LatentSDE(2, 2, Same(2), context=2, posterior_drift=Follow(), diffusion=Even(1.0)).double()
    features, at = rand(3, 5, 2), torch.tensor([0.5, 1.0, 1.25, 2.0, 2.0], dtype=torch.float64)
    present = torch.tensor([[True] * 5, [True, False, True, True, False], [False] * 5])
    features = torch.where(present.unsqueeze(-1), features, torch.nan)  # nobody looks at what is absent
    times = torch.tensor([0.0, 0.5, 1.0, 1.25, 2.0, 3.0], dtype=torch.float64)
    out = model(features, at, present, times, noise=torch.zeros(3, 2).double(), brownian=Still(3, 2))
    said = model.context(model.lift(features))
    # Of each sample the element whose context holds in each interval between times.
    following = [[0, 1, 2, 3, 4], [0, 2, 2, 3, 3]]
    for row, elements in enumerate(following):
        moves = said[row, elements] * times.diff().unsqueeze(-1)
        expected = torch.cat([out.mean[row : row + 1], out.mean[row] + moves.cumsum(0)])
        torch.testing.assert_close(out.solution.states[row], expected)
    assert torch.equal(out.solution.states[2], out.mean[2].expand(6, 2))  # nothing was seen: the context is zero
    assert torch.isfinite(out.kl).all()


def test_padding_of_a_series_changes_no_path():
    model, (features, at, present) = latent_sde(step_size=0.1), series()
    call: dict[str, Any] = {"noise": rand(4, 2, seed=3), "seeds": range(4)}
    expected = model(features, at, present, [0.0, 1.0, 2.0], **call)
    padded = model(
        torch.cat([features, torch.full((4, 2, 3), 7.0, dtype=torch.float64)], dim=1),
        torch.cat([at, at[:, -1:].expand(-1, 2)], dim=1),
        torch.cat([present, torch.zeros(4, 2, dtype=torch.bool)], dim=1),
        [0.0, 1.0, 2.0],
        **call,
    )
    torch.testing.assert_close(padded.solution.states, expected.solution.states)
    torch.testing.assert_close(padded.kl, expected.kl)


def test_samples_of_a_stationary_prior_keep_its_variance():
    rate, size, count = 2.0, 0.6, 20000
    model = latent_sde(prior_drift=Pull(rate, 0.0), diffusion=Even(size), step_size=0.02)
    variance = size**2 / (2 * rate)
    with torch.no_grad():
        model.prior_log_std.fill_(math.log(variance) / 2)
    out = model.sample(count, [0.0, 0.5, 1.0], generator=torch.Generator().manual_seed(0))
    assert out.path_kl is None
    # Euler's chain tends to the variance g^2/2a / (1 - a h/2), a h/2 = 0.02 above.
    error = SIGMAS * variance * math.sqrt(2 / (2 * count)) + 0.021 * variance
    assert (out.states.detach().square().mean((0, 2)) - variance).abs().max() < error
    again = model.sample(5, [0.0, 0.5, 1.0], noise=rand(5, 2), seeds=range(5)).states
    assert torch.equal(again, model.sample(5, [0.0, 0.5, 1.0], noise=rand(5, 2), seeds=range(5)).states)


def test_a_path_of_the_prior_goes_on_from_where_another_ended():
    model, path = latent_sde(), BrownianPath(range(5), 2, 0.0, 2.0, dtype=torch.float64)
    whole = model.sample(5, [0.0, 0.5, 1.0, 1.5, 2.0], noise=rand(5, 2), brownian=path).states
    first = model.sample(5, [0.0, 0.5, 1.0], noise=rand(5, 2), brownian=path).states
    second = model.sample(5, [1.0, 1.5, 2.0], start=first[:, -1], brownian=path).states
    torch.testing.assert_close(torch.cat([first, second[:, 1:]], dim=1), whole, rtol=1e-13, atol=1e-13)


def test_a_state_that_is_no_number_is_told_or_handed_on():
    class Endless(nn.Module):
        def forward(self, t: Tensor, z: Tensor) -> Tensor:
            return torch.full_like(z, math.inf)

    with pytest.raises(SolveError):
        latent_sde(prior_drift=Endless()).sample(3, [0.0, 1.0])
    handed = latent_sde(prior_drift=Endless(), on_failure="nan").sample(3, [0.0, 1.0])
    assert handed.status.tolist() == [int(Status.NONFINITE)] * 3


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: LatentSDE(0, 2, S5(4)), "features must be at least 1"),
        (lambda: LatentSDE(3, 2, S5(4), context=0), "context must be at least 1"),
        (lambda: LatentSDE(3, 2, S5(4), method="heun"), "does not fit"),
        (lambda: latent_sde()(rand(4, 5), torch.zeros(5), torch.ones(4, 5, dtype=torch.bool), [0.0, 1.0]), "B, L, F"),
        (lambda: latent_sde()(rand(4, 5, 3), torch.zeros(4), torch.ones(4, 5, dtype=torch.bool), [0.0, 1.0]), "B, L"),
        (lambda: latent_sde()(rand(4, 5, 3), torch.zeros(5), torch.ones(4, 5), [0.0, 1.0]), "be bool"),
        (lambda: latent_sde()(rand(4, 5, 3).long(), torch.zeros(5), EVERY, [0.0, 1.0]), "LatentSDE takes real"),
        (lambda: latent_sde()(rand(4, 5, 3), torch.zeros(5), EVERY, [0.0, 1.0], noise=rand(1, 2)), "noise must be"),
        (lambda: latent_sde().sample(5, [0.0, 1.0], noise=rand(3, 2)), r"\(B, D\) = \(5, 2\), got \(3, 2\)"),
        (lambda: latent_sde().sample(5, [0.0, 1.0], start=rand(3, 2)), r"start must be \(B, D\) = \(5, 2\)"),
        (lambda: latent_sde().sample(3, [0.0, 1.0], start=rand(3, 2), noise=rand(3, 2)), "start and noise"),
        (lambda: latent_sde(on_failure="last"), "on_failure"),
    ],
)
def test_impossible_latent_processes_are_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()


# --- Latent ODE ---


def latent_ode() -> LatentODE:
    torch.manual_seed(0)
    return LatentODE(3, 2, S5(8, d_state=8), NeuralODE(MLP(2, (8,)), method="rk4", step_size=0.1)).double()


def intervals(at: Tensor) -> Tensor:
    return at.diff(dim=1, prepend=at[:, :1])


def test_each_sample_may_have_times_of_its_own():
    model, (features, at, present) = latent_ode(), series()
    times = torch.rand(4, 3, generator=torch.Generator().manual_seed(9), dtype=torch.float64).cumsum(1)
    noise = rand(4, 2)
    together = model(features, intervals(at), present, times, noise=noise).solution.states
    for i in range(4):
        one = slice(i, i + 1)
        alone = model(features[one], intervals(at)[one], present[one], times[i], noise=noise[one]).solution.states
        # Steps are equal parts of each interval, as many as the longest of the batch takes: 1e-8 is rk4's error there.
        torch.testing.assert_close(together[one], alone, rtol=0, atol=1e-7)


def test_draws_lie_together_and_weigh_as_torch_distributions_say():
    model, (features, at, present) = latent_ode(), series()
    times = at + rand(4, 1).abs()
    out = model(features, intervals(at), present, times, draws=6)
    starts = out.solution.states.unflatten(0, (4, 6))[:, :, 0]
    posterior = torch.distributions.Normal(out.mean.unsqueeze(1), out.std.unsqueeze(1))
    expected = torch.distributions.Normal(0.0, 1.0).log_prob(starts) - posterior.log_prob(starts)
    torch.testing.assert_close(out.log_ratio, expected.sum(-1))
    noise = ((starts - out.mean.unsqueeze(1)) / out.std.unsqueeze(1)).detach()
    first = model(features, intervals(at), present, times, noise=noise[:, 0])
    torch.testing.assert_close(out.solution.states.unflatten(0, (4, 6))[:, 0], first.solution.states)
    torch.testing.assert_close(model(features, intervals(at), present, times, noise=noise).log_ratio, out.log_ratio)


def test_the_log_ratio_has_the_divergence_as_its_mean():
    model, (features, at, present) = latent_ode(), series()
    out = model(features, intervals(at), present, [0.0, 0.1], draws=4000)
    error = out.log_ratio.std(1) / math.sqrt(4000)
    assert ((out.log_ratio.mean(1) + out.kl).abs() < SIGMAS * error).all()


@pytest.mark.parametrize("make", [lambda: S5(8, d_state=8), lambda: ODERNN(8, d_state=8)])
def test_absent_elements_of_a_latent_ode_may_hold_no_number(make):
    torch.manual_seed(0)
    model = LatentODE(3, 2, make(), NeuralODE(MLP(2, (8,)), method="rk4", step_size=0.1)).double()
    features, at, present = series()
    given = [torch.where(present.unsqueeze(-1), features, filler) for filler in (0.0, torch.nan)]
    expected, actual = (model.infer(each, intervals(at), present)[0] for each in given)
    assert torch.equal(actual, expected)
    actual.square().sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_models_may_be_in_half_precision():
    """The whole of them in bfloat16, not only what autocast would lower: results are finite and of the right shape."""
    features, at, present = (each.bfloat16() if each.is_floating_point() else each for each in series())
    times = torch.tensor([0.0, 1.0])
    ode, sde, filter_ = latent_ode().bfloat16(), latent_sde().bfloat16(), bayes().bfloat16()
    values, seen_at, mask = sporadic()
    seen = filter_(values.bfloat16(), seen_at, mask)
    drawn = ode(features, intervals(at), present, times), sde(features, at, present, times)
    for found in (drawn[0].solution.states, drawn[0].kl, drawn[1].solution.states, drawn[1].kl, seen.nll, seen.kl):
        assert torch.isfinite(found).all()


def test_impossible_draws_and_series_are_refused():
    model, (features, at, present) = latent_ode(), series()
    with pytest.raises(InputError, match=r"features must be \(B, L, F\) = \(batch, length >= 1, 3\)"):
        model.infer(features[..., :2], intervals(at), present)
    for dt in (None, 0.5, intervals(at)[0], intervals(at)[:, 1:]):
        with pytest.raises(InputError, match=r"dt, the intervals before the elements, must be \(B, L\)"):
            model.infer(features, dt, present)  # pyright: ignore[reportArgumentType]
    for wrong in (None, present.double(), present[:, 1:]):
        with pytest.raises(InputError, match=r"mask must have shape \(B, L\)"):
            model.infer(features, intervals(at), wrong)  # pyright: ignore[reportArgumentType]
    with pytest.raises(InputError, match="LatentODE takes real floating-point numbers"):
        model.infer(features.long(), intervals(at), present)
    for options, message in (({"draws": 0}, "draws must be"), ({"noise": rand(4, 3)}, r"noise must be \(B, D\)")):
        with pytest.raises(InputError, match=message):
            model(features, intervals(at), present, torch.tensor([0.0, 1.0]), **options)


def test_the_importance_bound_is_tight_for_the_true_posterior_and_grows_else():
    """z ~ N(0, 1), x = z + N(0, s^2): the evidence N(0, 1 + s^2), the posterior N(x / (1 + s^2), s^2 / (1 + s^2))."""
    s, x, normal = torch.tensor(0.5, dtype=torch.float64), rand(200, 1), torch.distributions.Normal
    evidence = normal(torch.zeros_like(s), (1 + s**2).sqrt()).log_prob(x).squeeze(-1)

    def bound(mean: Tensor, std: Tensor, draws: int) -> Tensor:
        z = mean + std * rand(200, draws, seed=draws)
        prior = normal(torch.zeros_like(s), torch.ones_like(s))
        return importance_bound(-gaussian_nll(z, s, x) + prior.log_prob(z) - normal(mean, std).log_prob(z))

    true = x / (1 + s**2), s / (1 + s**2).sqrt()
    for draws in (1, 10):
        torch.testing.assert_close(bound(*true, draws), evidence, rtol=0, atol=1e-12)  # every weight is the evidence
    gaps = [(evidence - bound(true[0] + 0.3, 1.5 * true[1], draws)).mean().item() for draws in (1, 10, 1000)]
    assert gaps[0] > 5 * gaps[1] > 5 * gaps[2] > -0.01


def test_the_times_of_a_poisson_process_have_their_likelihood():
    """lambda = a e^(bt) on [0, T]: the integral is a (e^(bT) - 1) / b; of two samples one has an event less."""
    a, b, end, count = 1.5, 0.8, 2.0, 2001
    events, mask = rand(2, 3).abs(), torch.tensor([[True, True, True], [True, True, False]])
    grid = torch.linspace(0, end, count, dtype=torch.float64)
    log_at_grid = (math.log(a) + b * grid).expand(2, -1)
    found = poisson_process_nll(math.log(a) + b * events, mask, log_at_grid, grid)
    expected = a * math.expm1(b * end) / b - torch.where(mask, math.log(a) + b * events, 0).sum(1)
    # The trapezoidal rule is off by h^2/12 times what lambda' grows by.
    bound = (end / (count - 1)) ** 2 / 12 * a * b * math.expm1(b * end)
    torch.testing.assert_close(found, expected, rtol=0, atol=1.01 * bound)
    assert torch.equal(poisson_process_nll(math.log(a) + b * events, mask, log_at_grid, grid.expand(2, -1)), found)


# --- GRU-ODE-Bayes ---


def test_the_step_is_exact_where_rate_and_candidate_are_constant():
    field, h, dt = GRUField(3).double(), rand(5, 3), rand(5, seed=1).abs()
    with torch.no_grad():
        field.gates.weight.zero_()
        field.candidate.weight.zero_()
    rate, target = 1 - torch.sigmoid(field.gates.bias[3:]), torch.tanh(field.candidate.bias)
    expected = target + (h - target) * torch.exp(-rate * dt.unsqueeze(-1))
    torch.testing.assert_close(field.step(h, dt), expected, rtol=0, atol=10 * EPS)
    assert torch.equal(field.step(h, torch.zeros(5).double()), h)


def test_the_step_has_order_two():
    torch.manual_seed(0)
    field, h = GRUField(6).double(), torch.tanh(rand(4, 6))
    with torch.no_grad():
        for parameter in field.parameters():
            parameter.mul_(3)  # far from linear
        exact = solve_ode(field, h, [0.0, 1.0], method="dopri5", rtol=1e-12, atol=1e-12).states[:, -1]
        errors = []
        for steps in (16, 32):
            y = h
            for _ in range(steps):
                y = field.step(y, torch.full((4,), 1 / steps).double())
            errors.append((y - exact).abs().max().item())
    assert math.log2(errors[0] / errors[1]) == pytest.approx(2, abs=0.1)


def test_a_gru_cell_is_the_step_of_euler_of_length_one():
    """Without input, and with the reset gate before the product as in the flow, so here where it is fully open."""
    torch.manual_seed(0)
    field, cell, h = GRUField(3).double(), nn.GRUCell(1, 3).double(), torch.tanh(rand(5, 3))
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.copy_(rand(*parameter.shape, seed=parameter.numel()))
        cell.bias_ih[:3] = 50.0  # r = 1
        field.gates.weight.copy_(cell.weight_hh[:6])
        field.gates.bias.copy_((cell.bias_ih + cell.bias_hh)[:6])
        field.candidate.weight.copy_(cell.weight_hh[6:])
        field.candidate.bias.copy_((cell.bias_ih + cell.bias_hh)[6:])
        euler = h + field(torch.tensor(0.0), h)
        torch.testing.assert_close(euler, cell(torch.zeros(5, 1).double(), h), rtol=0, atol=20 * EPS)


def sporadic(batch: int = 3, length: int = 7, channels: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    times = torch.rand(batch, length, generator=generator, dtype=torch.float64).cumsum(1)
    return rand(batch, length, channels), times, torch.rand(batch, length, channels, generator=generator) < 0.5


def bayes(**options: Any) -> GRUODEBayes:
    torch.manual_seed(0)
    return GRUODEBayes(2, d_state=8, hidden=16, **options).double()


@pytest.mark.parametrize("span", [1e-3, 1.0, 1e6])
def test_the_state_stays_between_minus_one_and_one(span: float):
    model, (values, times, mask) = bayes(), sporadic()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(10)  # gates that open and shut
        out = model(1e3 * values, span * times, mask)
        later = model.field.step(out.state.h, torch.full((3,), span).double())
    # A mean of two numbers may pass the larger one by its rounding.
    assert max(out.state.h.abs().max().item(), later.abs().max().item()) <= 1 + 4 * EPS


def test_losses_are_those_of_bayes_rule_on_a_grid():
    model, (values, times, mask) = bayes(obs_std=0.5), sporadic()
    out = model(values, times, mask)
    normal = torch.distributions.Normal
    nll = -normal(*out.before).log_prob(values)
    x = torch.linspace(-12, 12, 4001, dtype=torch.float64)  # beyond ten deviations, 80 points to the least of them
    log_product = normal(out.before.mean.unsqueeze(-1), out.before.std.unsqueeze(-1)).log_prob(x)
    log_product = log_product + normal(values.unsqueeze(-1), 0.5).log_prob(x)
    density = log_product.exp() / torch.trapezoid(log_product.exp(), x).unsqueeze(-1)
    log_after = normal(out.after.mean.unsqueeze(-1), out.after.std.unsqueeze(-1)).log_prob(x)
    log_density = log_product - torch.trapezoid(log_product.exp(), x).log().unsqueeze(-1)
    kl = torch.trapezoid(density * (log_density - log_after), x)
    # The trapezoidal rule converges faster than any power for such densities.
    torch.testing.assert_close(out.nll, torch.where(mask, nll, 0).sum((1, 2)), rtol=1e-10, atol=0)
    torch.testing.assert_close(out.kl, torch.where(mask, kl, 0).sum((1, 2)), rtol=1e-10, atol=0)


def test_padding_and_what_was_not_observed_change_nothing():
    model, (values, times, mask) = bayes(), sporadic()
    expected = model(values, times, mask)
    padded = model(
        torch.cat([torch.where(mask, values, torch.nan), torch.full((3, 2, 2), 1e3).double()], dim=1),
        torch.cat([times, times[:, -1:].expand(-1, 2)], dim=1),
        torch.cat([mask, torch.zeros(3, 2, 2, dtype=torch.bool)], dim=1),
    )
    assert torch.equal(padded.before.mean[:, :7], expected.before.mean)
    torch.testing.assert_close((padded.nll, padded.kl, *padded.state), (expected.nll, expected.kl, *expected.state))


def test_nothing_observed_is_a_flow_without_loss():
    model, (values, times, mask) = bayes(), sporadic()
    out = model(values, times, torch.zeros_like(mask))
    assert torch.count_nonzero(out.nll) == torch.count_nonzero(out.kl) == 0
    torch.testing.assert_close(out.before.mean, out.after.mean)
    start = FilterState(model.initial_state(times[:, 0]).h, times[:, 0])
    torch.testing.assert_close(model.forecast(start, times).mean, out.before.mean)


def test_an_empty_batch_is_filtered_to_nothing():
    values, times, mask = sporadic()
    assert bayes()(values[:0], times[:0], mask[:0]).nll.shape == (0,)


def test_chunks_equal_one_call():
    model, (values, times, mask) = bayes(), sporadic()
    whole = model(values, times, mask)
    first = model(values[:, :3], times[:, :3], mask[:, :3])
    then = model(values[:, 3:], times[:, 3:], mask[:, 3:], state=first.state)
    torch.testing.assert_close((first.nll + then.nll, *then.state), (whole.nll, *whole.state))


def test_series_with_different_times_are_one_with_masked_elements():
    """On the union of the times a series flows in more and shorter steps: the same to the order of the flow, 2."""
    values, times, mask = sporadic()
    union = times.flatten().sort().values
    place = torch.searchsorted(union, times)
    wide = torch.zeros(3, len(union), 2, dtype=torch.float64)
    seen = torch.zeros(3, len(union), 2, dtype=torch.bool)
    rows = torch.arange(3).unsqueeze(1)
    wide[rows, place], seen[rows, place] = values, mask
    gaps = []
    for steps in (8, 16):
        model = bayes(steps=steps)
        # A state that is not at rest from the first time of all on, as the union begins with it.
        start = FilterState(torch.tanh(rand(3, 8)), union[:1].expand(3))
        own, merged = model(values, times, mask, state=start), model(wide, union, seen, state=start)
        gaps.append((own.nll - merged.nll).abs().max().item())
    assert math.log2(gaps[0] / gaps[1]) == pytest.approx(2, abs=0.1)


def test_units_of_time_cancel():
    values, times, mask = sporadic()
    torch.testing.assert_close(bayes()(values, times, mask).nll, bayes(time_scale=60.0)(values, 60 * times, mask).nll)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m, v, t, k: GRUODEBayes(0), "channels must be at least 1"),
        (lambda m, v, t, k: GRUODEBayes(2, obs_std=0.0), "obs_std must be positive"),
        (lambda m, v, t, k: m(v[0], t, k), r"values must be \(B, L, C\)"),
        (lambda m, v, t, k: m(v[:, :0], t[:, :0], k[:, :0]), "length >= 1"),
        (lambda m, v, t, k: m(torch.complex(v, v), t, k), "real floating point"),
        (lambda m, v, t, k: m(v, t[:, 1:], k), r"times must be \(L,\) or \(B, L\)"),
        (lambda m, v, t, k: m(v, t, k[..., 0]), "mask must have the shape of values"),
        (lambda m, v, t, k: m(v, t, k.double()), "be bool"),
        (lambda m, v, t, k: m(v, t.flip(1), k), "not turn back"),
        (lambda m, v, t, k: m(v, torch.where(t == t[0, 2], torch.nan, t), k), "not turn back, got a step of nan"),
        (lambda m, v, t, k: m(v, t, k, state=m(v[:2], t[:2], k[:2]).state), "samples in the same order"),
        (lambda m, v, t, k: m.forecast(m(v, t, k).state, t[:, :1]), "not turn back"),
        (lambda m, v, t, k: m.forecast(m(v, t, k).state, t[:2]), r"\(Q,\) or \(B, Q\)"),
    ],
)
def test_impossible_series_are_refused(call, message):
    with pytest.raises(InputError, match=message):
        call(bayes(), *sporadic())


# --- ODE-RNN ---


@pytest.mark.parametrize("method", ["euler", "midpoint", "rk4"])
def test_the_lean_steps_of_an_ode_rnn_are_those_of_its_solver(method: str):
    torch.manual_seed(0)
    layer = ODERNN(3, d_state=5, method=method).double()
    x, dt = rand(4, 6, 3), rand(4, 6, seed=1).abs()
    h = torch.zeros(4, 5, dtype=torch.float64)
    for i in range(6):
        times = torch.stack([torch.zeros(4).double(), dt[:, i]], dim=1)
        h = layer.cell(x[:, i], solve_ode(layer.flow.field, h, times, method=method).states[:, -1])
    torch.testing.assert_close(layer(x, dt).state, h, rtol=0, atol=100 * EPS)


@pytest.mark.parametrize("method", ["dopri5", "implicit_midpoint"])
def test_an_ode_rnn_takes_methods_that_need_more_than_a_step(method: str):
    torch.manual_seed(0)
    layer, x, dt = ODERNN(3, d_state=5, method="rk4").double(), rand(4, 6, 3), 0.1 * rand(4, 6, seed=1).abs()
    expected = layer(x, dt).state
    layer.flow.method = method
    # Intervals of a tenth and a field of size one: all of these methods are within 1e-3 of one another.
    torch.testing.assert_close(layer(x, dt).state, expected, rtol=0, atol=1e-3)


def test_an_unknown_method_of_an_ode_rnn_is_refused_at_once():
    with pytest.raises(InputError, match="unknown method 'midpont': did you mean 'midpoint'"):
        ODERNN(3, method="midpont")
