"""solve_sde: against torchsde on the same path, closed forms of the path KL, shapes, reproducibility, and refusals."""

import math
import re
from typing import Any

import pytest
import torch
from noisy_problems import column, diffusion_of, drift
from torch import Tensor, nn

from integrand.core.errors import InputError
from integrand.core.fields import MLP
from integrand.core.numerics import Status
from integrand.core.numerics.solve_sde import SDE_METHODS, SolveError, solve_sde
from integrand.core.numerics.stochastic.brownian import BrownianPath, Increments
from integrand.core.numerics.stochastic.schemes import SCHEMES

torch64 = torch.float64
NOISES = ("diagonal", "scalar", "commutative", "additive", "general")
TIMES = torch.tensor([0.0, 0.2, 1.0], dtype=torch64)


def prior(t: Tensor, y: Tensor) -> Tensor:
    return -y


def start(batch: int = 5, dtype: torch.dtype = torch64) -> Tensor:
    return torch.randn(batch, 3, generator=torch.Generator().manual_seed(0), dtype=torch64).to(dtype)


def solve(noise: str = "diagonal", y0: Tensor | None = None, times: Any = TIMES, **options: Any):
    y0 = start() if y0 is None else y0
    return solve_sde(drift, diffusion_of(noise), y0, times, **{"noise": noise, "seeds": range(len(y0))} | options)


def each(noises: tuple[str, ...] = NOISES) -> list[tuple[str, str, str]]:
    return [
        (method, noise, calculus)
        for method, scheme in SCHEMES.items()
        for noise in noises
        if noise in scheme.strong
        for calculus in scheme.calculus
    ]


# torchsde


@pytest.mark.parametrize(
    ("method", "noise", "calculus"),
    # Stratonovich differences without derivatives are not taken alike: torchsde's are of order 1/2.
    [
        (method, noise, calculus)
        for method, noise, calculus in each(("diagonal", "scalar", "additive", "general"))
        if (method, calculus) != ("milstein_free", "stratonovich") or noise == "additive"
    ],
)
@pytest.mark.parametrize("own", [False, True])
def test_torchsde_takes_the_same_steps_on_the_same_path(method: str, noise: str, calculus: str, own: bool):
    """Five steps of a few dozen roundings each."""
    # One interval, for torchsde's reversible scheme begins each anew.
    times = TIMES[[0, 2]] if method == "reversible_heun" else TIMES
    times = times * torch.linspace(0.5, 1.5, 5, dtype=torch64).unsqueeze(-1) if own else times
    options: dict[str, Any] = {"method": method, "calculus": calculus, "step_size": 0.2}
    if method in ("euler", "milstein") and noise != "scalar":
        options["prior_drift"] = prior  # its other methods integrate the path KL by rules of their own
    ours, theirs = (solve(noise, times=times, engine=engine, **options) for engine in ("native", "torchsde"))
    torch.testing.assert_close(ours.states, theirs.states, rtol=1e-12, atol=1e-12)
    if ours.path_kl is not None:
        torch.testing.assert_close(ours.path_kl, theirs.path_kl, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("method", SDE_METHODS["torchsde"])
def test_every_method_of_torchsde_runs_with_its_own_noise(method: str):
    """dX = X o dW and dX = X dW: means e^(1/2) and 1 of 20,000 paths, whose deviation is 2 and 1.4."""
    calculus: Any = "ito" if method in ("euler", "srk", "milstein", "milstein_free") else "stratonovich"
    torch.manual_seed(0)
    y0 = torch.ones(20_000, 1, dtype=torch64)
    options: dict[str, Any] = {"method": method, "calculus": calculus, "engine": "torchsde", "step_size": 1 / 16}
    states = solve_sde(lambda t, y: 0 * y, lambda t, y: y, y0, [0.0, 1.0], **options).states
    expected = 1.0 if calculus == "ito" else math.exp(0.5)
    # Four standard errors, and the weak error of methods of order 1.
    assert abs(states[:, -1].mean() - expected) < 4 * 2.2 / 20_000**0.5 + 1 / 16
    torch.manual_seed(0)
    again = solve_sde(lambda t, y: 0 * y, lambda t, y: y, y0, [0.0, 1.0], **options).states
    assert torch.equal(again, states)


# Path KL


@pytest.mark.parametrize(("method", "noise", "calculus"), each(("diagonal", "commutative", "additive", "general")))
def test_path_kl_vanishes_for_equal_drifts(method: str, noise: str, calculus: str):
    solved = solve(noise, method=method, calculus=calculus, prior_drift=drift, step_size=0.1)
    assert solved.path_kl is not None
    assert solved.path_kl.shape == (5, 3)
    # The reversible scheme has its drift from the step before, at a time that may differ by a rounding.
    assert (solved.path_kl <= (0 if method != "reversible_heun" else 1e-28)).all()


@pytest.mark.parametrize(("method", "noise", "calculus"), each(("diagonal", "commutative", "additive", "general")))
@pytest.mark.parametrize("end", [2.0, -2.0])
def test_path_kl_of_a_constant_gap_is_known_on_every_path(method: str, noise: str, calculus: str, end: float):
    """f - p = c and g g^T = S constant: KL = c^T S^(-1) c |t| / 2."""
    gap = torch.tensor([0.5, -1.0, 2.0], dtype=torch64)
    b = torch.tensor([[1.0, 0.2, 0.0], [0.0, 0.8, 0.1], [0.3, 0.0, 1.2]], dtype=torch64)
    if noise == "diagonal":
        b = torch.diag(b.diagonal())
    elif noise == "general":
        b = torch.cat([b, torch.ones(3, 2, dtype=torch64)], dim=1)  # more channels than dimensions

    def diffusion(t: Tensor, y: Tensor) -> Tensor:
        return b.diagonal().expand_as(y) if noise == "diagonal" else b.expand(len(y), -1, -1)

    options: dict[str, Any] = {"method": method, "calculus": calculus, "noise": noise, "step_size": 0.1}
    solved = solve_sde(
        lambda t, y: y.sin(), diffusion, start(), [0.0, end / 2, end], prior_drift=lambda t, y: y.sin() - gap, **options
    )
    rate = gap @ torch.linalg.solve(b @ b.T, gap) / 2
    assert solved.path_kl is not None
    expected = (rate * torch.tensor([0.0, 1.0, 2.0], dtype=torch64)).expand(5, -1)
    torch.testing.assert_close(solved.path_kl, expected, rtol=1e-12, atol=1e-12)


def test_path_kl_of_euler_steps_is_that_of_their_gaussians():
    """Each step of either chain is a normal transition, and the KL of two normal laws is known."""
    solved = solve(times=torch.linspace(0, 1, 21, dtype=torch64), prior_drift=prior)
    y, t, h = solved.states[:, :-1].flatten(0, 1), solved.times[:-1].repeat(5), 0.05
    g = diffusion_of("diagonal")(t, y) * h**0.5
    laws = [torch.distributions.Normal(y + h * f(t, y), g) for f in (drift, prior)]
    kl = torch.distributions.kl_divergence(*laws).sum(-1).view(5, 20).cumsum(1)
    assert solved.path_kl is not None
    torch.testing.assert_close(solved.path_kl[:, 1:], kl, rtol=1e-11, atol=1e-11)


def test_path_kl_of_two_ornstein_uhlenbeck_processes():
    """dX = -a X dt + s dW against dX = -b X dt + s dW, from x0.

    E[X^2] = x0^2 e^(-2 a t) + v (1 - e^(-2 a t)) with v = s^2 / 2 a, and KL = (b - a)^2 / 2 s^2 int E[X^2] dt. The rule
    of left points errs by h/2 times the change of its integrand; the mean of P paths by four standard errors.
    """
    a, b, s, x0, end, paths, h = 1.0, 2.5, 0.6, 1.2, 1.5, 4000, 1.5 / 128
    y0 = torch.full((paths, 1), x0, dtype=torch64)
    solved = solve_sde(
        lambda t, y: -a * y,
        lambda t, y: torch.full_like(y, s),
        y0,
        [0.0, end],
        step_size=h,
        seeds=range(paths),
        prior_drift=lambda t, y: -b * y,
    )
    assert solved.path_kl is not None
    v, share = s**2 / (2 * a), (1 - math.exp(-2 * a * end)) / (2 * a)
    factor = (b - a) ** 2 / (2 * s**2)
    expected = factor * (v * end + (x0**2 - v) * share)
    quadrature = h / 2 * factor * abs(x0**2 - v)
    kl = solved.path_kl[:, -1]
    assert abs(kl.mean() - expected) < 4 * kl.std() / paths**0.5 + quadrature


# Reproducibility


@pytest.mark.parametrize(("method", "noise", "calculus"), each())
def test_a_sample_is_the_same_in_every_batch(method: str, noise: str, calculus: str):
    options: dict[str, Any] = {"method": method, "calculus": calculus, "step_size": 0.1}
    together = solve(noise, seeds=[3, 1, 4, 1, 5], **options).states
    order = torch.tensor([4, 2, 0])
    some = solve(noise, start()[order], seeds=torch.tensor([5, 4, 3]), **options).states
    torch.testing.assert_close(some, together[order], rtol=1e-14, atol=1e-14)  # sums of products may be grouped anew


def test_steps_of_any_size_follow_the_same_path():
    """dX = dW is solved exactly by any step: its states are the path itself."""
    options: dict[str, Any] = {"seeds": [7], "times": TIMES}
    y0, none, one = torch.zeros(1, 2, dtype=torch64), lambda t, y: 0 * y, lambda t, y: torch.ones_like(y)
    w = BrownianPath([7], 2, 0.0, 1.0, dtype=torch64)(TIMES)
    for step_size in (None, 0.3, 0.01):
        solved = solve_sde(none, one, y0, step_size=step_size, **options)
        torch.testing.assert_close(solved.states, w, rtol=0, atol=1e-13)
    whole = BrownianPath([7], 2, -1.0, 3.0, dtype=torch64)
    inside = solve_sde(none, one, y0, TIMES, brownian=whole, step_size=0.1).states
    torch.testing.assert_close(inside, whole(TIMES) - whole(TIMES[:1]), rtol=0, atol=1e-13)


def test_a_stratonovich_equation_solved_there_and_back_returns():
    """The flow is invertible along each path; Heun's scheme errs by its order: 512 steps, within a hundredth."""
    options: dict[str, Any] = {"method": "heun", "calculus": "stratonovich", "step_size": 1 / 512}
    there = solve(**options)
    back = solve(y0=there.states[:, -1], times=TIMES.flip(0), **options)
    torch.testing.assert_close(back.states.flip(1), there.states, rtol=0, atol=1e-2)


@pytest.mark.parametrize(("method", "noise", "calculus"), each())
def test_decreasing_times_are_the_mirrored_equation(method: str, noise: str, calculus: Any):
    """With s = -t: dy = -f(-s, y) ds + g(-s, y) dW, the noise in the direction of the walk either way."""
    found, diffusion = [], diffusion_of(noise)
    for sign in (1, -1):
        found.append(
            solve_sde(
                lambda t, y, sign=sign: sign * drift(sign * t, y),
                lambda t, y, sign=sign: diffusion(sign * t, y),
                start(),
                sign * TIMES,
                noise=noise,  # pyright: ignore[reportArgumentType]
                calculus=calculus,
                method=method,
                step_size=0.2,
                generator=torch.Generator().manual_seed(0),
                prior_drift=None if noise == "scalar" else lambda t, y, sign=sign: sign * prior(t, y),
            )
        )
    torch.testing.assert_close(found[0].states, found[1].states, rtol=1e-13, atol=1e-13)
    if noise != "scalar":
        torch.testing.assert_close(found[0].path_kl, found[1].path_kl, rtol=1e-11, atol=1e-11)


def test_fresh_noise_obeys_the_seed_and_the_generator():
    def fresh(**options: Any) -> Tensor:
        return solve(seeds=None, step_size=0.1, **options).states

    torch.manual_seed(1)
    first = fresh()
    second = fresh()
    torch.manual_seed(1)
    assert torch.equal(fresh(), first)
    assert not torch.equal(second, first)
    assert torch.equal(fresh(generator=torch.Generator().manual_seed(1)), first)


@pytest.mark.parametrize(("method", "noise", "calculus"), each())
def test_single_precision_agrees_with_double(method: str, noise: str, calculus: str):
    """Ten steps of states below 4: a few dozen roundings of 4 eps each."""
    options: dict[str, Any] = {"method": method, "calculus": calculus, "step_size": 0.1}
    times = torch.tensor([0.0, 0.25, 1.0])  # the same in both
    y0 = start(dtype=torch.float32)
    single = solve(noise, y0, times, **options).states
    double = solve(noise, y0.double(), times, **options).states
    assert single.dtype == torch.float32
    torch.testing.assert_close(single, double.float(), rtol=0, atol=100 * 4 * torch.finfo(torch.float32).eps)


@pytest.mark.parametrize(("method", "noise", "calculus"), each())
def test_times_of_the_samples_own(method: str, noise: str, calculus: str):
    """Each sample as if alone, also the one whose padded times repeat the last."""
    options: dict[str, Any] = {"method": method, "calculus": calculus}
    times = torch.tensor([[0.0, 0.3, 1.0], [1.0, 1.1, 1.7], [0.2, 0.6, 0.6], [0.5, 0.5, 0.5]], dtype=torch64)
    together = solve(noise, start(4), times, **options).states
    assert torch.isfinite(together).all()
    for i in range(3):
        distinct = 2 if i == 2 else 3
        alone = solve(noise, start(4)[i : i + 1], times[i, :distinct], seeds=[i], **options).states
        torch.testing.assert_close(together[i : i + 1, :distinct], alone, rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(together[2, 2], together[2, 1], rtol=0, atol=0 if method != "reversible_heun" else 1)
    assert torch.equal(together[3], start(4)[3].expand(3, -1))


# Shapes and counts


def test_diagonal_noise_takes_states_of_any_shape():
    y0 = start(5).view(5, 3, 1, 1).expand(5, 3, 2, 4).contiguous()
    flat = solve_sde(drift, diffusion_of("diagonal"), y0.flatten(1), TIMES, seeds=range(5), method="srk").states
    shaped = solve_sde(drift, diffusion_of("diagonal"), y0, TIMES, seeds=range(5), method="srk").states
    torch.testing.assert_close(shaped.flatten(2), flat, rtol=1e-14, atol=1e-14)


def test_arguments_follow_their_samples():
    """dX = u dt + v dW has the solution x0 + u t + v W."""
    u, v = torch.arange(4, dtype=torch64).view(4, 1), torch.linspace(0, 1, 4, dtype=torch64)
    for method, noise in (("milstein", "commutative"), ("milstein_free", "commutative"), ("srk", "additive")):
        solved = solve_sde(
            lambda t, y, args: args["u"].expand_as(y),
            lambda t, y, args: torch.diag_embed(args["v"][0].unsqueeze(-1).expand_as(y)),
            torch.zeros(4, 2, dtype=torch64),
            TIMES,
            args={"u": u, "v": (v,)},
            noise=noise,  # pyright: ignore[reportArgumentType]
            method=method,
            seeds=range(4),
        )
        w = BrownianPath(range(4), 2, 0.0, 1.0, dtype=torch64)(TIMES)
        expected = u.unsqueeze(1) * TIMES.view(1, 3, 1) + v.view(4, 1, 1) * w
        torch.testing.assert_close(solved.states, expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("step_size", [None, 0.3, 0.05])
def test_euler_costs_one_evaluation_of_each_field_a_step(step_size):
    calls = {"drift": 0, "diffusion": 0}

    def counted(name: str, value: float):
        def field(t: Tensor, y: Tensor) -> Tensor:
            calls[name] += 1
            return torch.full_like(y, value)

        return field

    solved = solve_sde(counted("drift", 1.0), counted("diffusion", 0.0), start(), TIMES, step_size=step_size)
    steps = {None: 2, 0.3: 2 * 3, 0.05: 2 * 16}[step_size]
    assert calls == {"drift": steps, "diffusion": steps}
    assert solved.stats.accepted.tolist() == [steps] * 5
    assert solved.stats.evaluations.tolist() == [2 * steps] * 5
    torch.testing.assert_close(solved.states, start().unsqueeze(1) + TIMES.view(1, 3, 1), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("engine", ["native", "torchsde"])
def test_a_single_time_is_the_start(engine: Any):
    for step_size in (None, 0.1):
        solved = solve(times=[2.0], prior_drift=prior, step_size=step_size, engine=engine)
        assert torch.equal(solved.states, start().unsqueeze(1))
        assert solved.path_kl is not None
        assert solved.path_kl.tolist() == [[0.0]] * 5
        assert int(solved.stats.evaluations[0]) == 0


@pytest.mark.parametrize(
    ("method", "noise", "calculus"), [case for case in each() if case[1] == "diagonal" or case[1] == "commutative"]
)
def test_nothing_is_made_on_another_device(method: str, noise: str, calculus: str):
    """On the meta device no tensor of the CPU may be met and no value read, but by the check of diagonal noise."""
    y0 = torch.empty(5, 1 if noise == "diagonal" else 3, device="meta")
    times = torch.empty(4, device="meta")
    gradient: Any = "reversible" if method == "reversible_heun" else "direct"
    model = OnMeta(noise)
    for seeds in (None, torch.empty(5, dtype=torch.int64, device="meta")):
        solved = solve_sde(
            model.drift,
            model.diffusion,
            y0.requires_grad_(),
            times,
            noise=noise,  # pyright: ignore[reportArgumentType]
            calculus=calculus,  # pyright: ignore[reportArgumentType]
            method=method,
            seeds=seeds,
            on_failure="nan",
            gradient=gradient,
            prior_drift=None if noise == "scalar" else model.prior,
        )
        solved.states.sum().backward()
        assert solved.states.is_meta


class OnMeta(nn.Module):
    def __init__(self, noise: str) -> None:
        super().__init__()
        self.noise = noise

    def drift(self, t: Tensor, y: Tensor) -> Tensor:
        return drift(t, y)

    def prior(self, t: Tensor, y: Tensor) -> Tensor:
        return prior(t, y)

    def diffusion(self, t: Tensor, y: Tensor) -> Tensor:
        g = (y + column(t, y)).sin()
        return {"diagonal": g, "scalar": g.unsqueeze(-1)}.get(self.noise, torch.diag_embed(g))


def test_autocast_leaves_the_walk_in_single_precision():
    torch.manual_seed(0)
    model, y0 = MLP(3, (8,)), start(dtype=torch.float32)
    for noise in ("diagonal", "additive"):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            solved = solve_sde(
                model,
                diffusion_of(noise),
                y0,
                TIMES,
                noise=noise,  # pyright: ignore[reportArgumentType]
                seeds=range(5),
                step_size=0.1,
            )
        assert solved.states.dtype == torch.float32
        full = solve_sde(model, diffusion_of(noise), y0, TIMES, noise=noise, seeds=range(5), step_size=0.1)  # pyright: ignore[reportArgumentType]
        # The drift alone is rounded, to 2^-8 of values below 2, for a time of 1.
        torch.testing.assert_close(solved.states, full.states, rtol=0, atol=2 * 2**-8)


# Failures


@pytest.mark.parametrize("engine", ["native", "torchsde"])
def test_a_state_that_is_not_finite_is_told_or_left(engine: Any):
    """dX = X^3 dt explodes from 2 and not from 0."""
    y0 = torch.tensor([[0.0], [2.0], [0.0]])
    call: dict[str, Any] = {"seeds": range(3), "step_size": 0.25, "engine": engine}

    def solve_it(**options: Any):
        return solve_sde(lambda t, y: y**3, lambda t, y: torch.zeros_like(y), y0, [0.0, 0.5, 4.0], **call | options)

    with pytest.raises(SolveError) as caught:
        solve_it()
    assert len(str(caught.value).splitlines()) == 1
    assert "take shorter steps" in str(caught.value)
    if engine == "native":
        assert re.search(r"in step \d+ of 28, from t=\d.*of sample 1 is not finite", str(caught.value))
    solved = solve_it(on_failure="nan")
    assert solved.status.tolist() == [Status.OK, Status.NONFINITE, Status.OK]
    assert (solved.states[[0, 2]] == 0).all()


@pytest.mark.parametrize("part", ["drift", "diffusion", "y0"])
def test_the_culprit_is_named_with_step_and_time(part: str):
    def field(name: str):
        return lambda t, y: torch.where(
            (t > 0.45) & (torch.arange(5).view(5, 1) == 3) & (name == part), math.nan, 0 * y
        )

    y0 = torch.zeros(5, 2)
    if part == "y0":
        y0[3] = math.inf
    with pytest.raises(SolveError) as caught:
        solve_sde(field("drift"), field("diffusion"), y0, [0.0, 1.0], step_size=0.1)
    expected = "y0 of sample 3" if part == "y0" else f"euler: in step 6 of 10, from t=0.5, the {part} of sample 3"
    assert expected in str(caught.value)


# Refusals


def wrong(value):
    return lambda t, y: value(y)


@pytest.mark.parametrize(
    ("options", "pattern"),
    [
        ({"method": "milstien"}, "unknown method 'milstien': did you mean 'milstein'"),
        ({"noise": "diagnal"}, "unknown noise 'diagnal': did you mean 'diagonal'"),
        ({"calculus": "itto"}, "unknown calculus 'itto': did you mean 'ito'"),
        ({"engine": "torchsd"}, "unknown engine 'torchsd': did you mean 'torchsde'"),
        ({"gradient": "direkt"}, "unknown gradient 'direkt': did you mean 'direct'"),
        ({"on_failure": "last"}, "unknown on_failure 'last'"),
        ({"calculus": "stratonovich"}, "'euler' does not fit.*'stratonovich'.*take milstein or"),
        ({"method": "heun"}, "'heun' does not fit noise='diagonal' in 'ito' calculus: take euler or milstein"),
        ({"method": "milstein", "noise": "general"}, "Levy areas.*commutative.*say noise='commutative'.*take euler"),
        ({"method": "srk", "noise": "general"}, "does not fit noise='general' in 'ito' calculus: take euler"),
        ({"method": "srk", "noise": "commutative"}, "does not fit noise='commutative'"),
        ({"gradient": "adjoint"}, "gradient='adjoint' is not available in engine 'native'"),
        ({"gradient": "reversible"}, "not 'euler': take 'reversible_heun'"),
        (
            {"gradient": "reversible", "method": "reversible_heun", "calculus": "stratonovich"},
            "torch.nn.Modules or methods",
        ),
        ({"step_size": 0.0}, "step_size must be positive, got 0.0"),
        ({"times": [0.0, 1.0, 1.0]}, "strictly increasing"),
        ({"times": []}, "T >= 1"),
        ({"y0": torch.ones(5, 3, dtype=torch.int64)}, "y0 must be real floating point"),
        ({"y0": torch.ones(5, 3, dtype=torch.complex64)}, "y0 must be real floating point"),
        ({"seeds": [1, 2]}, r"seeds has shape \(2,\) for a batch of 5"),
        ({"seeds": torch.rand(5)}, "seeds must be whole numbers"),
        ({"seeds": range(5), "generator": torch.Generator()}, "give one of them"),
        ({"seeds": range(5), "times": torch.tensor([0.0, 1.0], requires_grad=True)}, "no derivative in time"),
        ({"brownian": BrownianPath([1, 2], 3, 0.0, 1.0)}, r"increments \(2, 2, 3\), but 2 steps.*\(2, 5, 3\)"),
        ({"brownian": BrownianPath(range(5), 3, 0.0, 0.5)}, "outside the span"),
        ({"drift": wrong(lambda y: y[:, :2])}, r"drift returned shape \(5, 2\) for a state of shape \(5, 3\)"),
        ({"drift": wrong(lambda y: 1.0)}, "drift returned a float"),
        ({"drift": wrong(lambda y: y.float())}, "drift returned torch.float32 for a state of torch.float64"),
        ({"diffusion": wrong(lambda y: y.unsqueeze(-1))}, r"diffusion returned shape \(5, 3, 1\).*diagonal"),
        (
            {"diffusion": wrong(lambda y: y), "noise": "general"},
            r"diffusion returned shape \(5, 3\).*\(5, 3\): with noise='general' it must be \(5, 3, M\)",
        ),
        (
            {"diffusion": wrong(lambda y: torch.ones(5, 3, 2).to(y)), "noise": "scalar"},
            r"shape \(5, 3, 2\).*must be \(5, 3, 1\)",
        ),
        ({"prior_drift": wrong(lambda y: y[:1])}, r"prior drift returned shape \(1, 3\)"),
        (
            {"prior_drift": prior, "noise": "scalar", "diffusion": wrong(lambda y: torch.ones(5, 3, 1).to(y))},
            "path KL is infinite with 1 noise channels in 3 dimensions",
        ),
        ({"y0": torch.ones(5, 3, 2), "noise": "general"}, r"needs a state \(B, D\), got \(5, 3, 2\)"),
        (
            {"diffusion": wrong(lambda y: y.roll(1, -1)), "method": "milstein"},
            "its own component alone.*take method='euler'",
        ),
        ({"diffusion": wrong(lambda y: y.cumsum(-1)), "method": "srk"}, "its own component alone"),
        ({"engine": "torchsde", "method": "milstein", "noise": "commutative"}, "does not fit noise='commutative'"),
        ({"engine": "torchsde", "generator": torch.Generator()}, "takes no generator"),
        ({"engine": "torchsde", "times": torch.tensor([0.0, 1.0], requires_grad=True)}, "no gradient to times"),
        ({"engine": "torchsde", "gradient": "reversible"}, "not available in engine 'torchsde'"),
        ({"engine": "torchsde", "y0": torch.ones(5, 3, 2)}, r"needs a state \(B, D\)"),
    ],
)
def test_every_mistake_is_one_line_that_names_the_cure(options: dict, pattern: str):
    y0, noise = options.pop("y0", start()), options.get("noise", "diagonal")
    field = {"drift": drift, "diffusion": diffusion_of(noise), "times": TIMES} | options
    with pytest.raises(InputError) as caught:
        solve_sde(field.pop("drift"), field.pop("diffusion"), y0, field.pop("times"), **field)
    assert re.search(pattern, str(caught.value)), str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_diffusions_of_their_own_component_are_accepted_where_the_others_matter_not():
    """No false alarm: a diffusion undefined half a unit away from the state, and ones that vary wildly in size."""
    for diffusion in (lambda t, y: (1 - y**2).sqrt(), lambda t, y: torch.tensor([1e-9, 1.0, 1e9]).to(y) * y.cos()):
        solved = solve_sde(lambda t, y: 0 * y, diffusion, 0.6 + 0 * start(), [0.0, 1e-24], method="milstein")
        assert torch.isfinite(solved.states).all()


def test_a_path_of_ones_own_may_be_any_that_answers():
    class Still:
        def increments(self, grid: Tensor, *, area: bool = False) -> Increments:
            none = torch.zeros(len(grid) - 1, 5, 3)
            return Increments(none, none)

    still = solve(seeds=None, brownian=Still(), step_size=0.1).states
    again = solve_sde(drift, lambda t, y: 0 * y, start(), TIMES, step_size=0.1).states
    torch.testing.assert_close(still, again, rtol=1e-12, atol=1e-12)
