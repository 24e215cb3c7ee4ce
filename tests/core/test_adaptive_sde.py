"""Adaptive stochastic steps: one path for any batch and tolerance, laws kept, failures told, mistakes named."""

import math
import re
from typing import Any

import numpy as np
import pytest
import torch
from noisy_problems import ADAPTIVE_CASES, diffusion_of, drift
from scipy import stats
from torch import Tensor

from integrand.core.errors import InputError
from integrand.core.numerics import BrownianPath, StepControl
from integrand.core.numerics.solution import Status
from integrand.core.numerics.solve_sde import SolveError, solve_sde
from integrand.core.numerics.stepping.step_control import ErrorNorm
from integrand.core.numerics.stochastic.adaptive import CONTROL, solve_adaptive
from integrand.core.numerics.stochastic.brownian import Increments
from integrand.core.numerics.stochastic.dyadic_clocks import DyadicClocks
from integrand.core.numerics.stochastic.equation import Equation
from integrand.core.numerics.stochastic.schemes import SCHEMES

torch64 = torch.float64
TIMES = torch.tensor([0.0, 0.3, 1.0], dtype=torch64)


def start(batch: int = 4) -> Tensor:
    return torch.randn(batch, 2, generator=torch.Generator().manual_seed(0), dtype=torch64)


def solve(noise: str = "diagonal", y0: Tensor | None = None, times: Any = TIMES, **options: Any):
    y0 = start() if y0 is None else y0
    given = {"noise": noise, "method": "milstein", "seeds": range(len(y0)), "rtol": 1e-3, "atol": 1e-3}
    given |= options
    if "brownian" in options or "generator" in options:
        given.pop("seeds")
    return solve_sde(given.pop("drift", drift), given.pop("diffusion", diffusion_of(noise)), y0, times, **given)


# One path


@pytest.mark.parametrize(("method", "noise", "calculus"), ADAPTIVE_CASES)
def test_a_sample_takes_the_same_steps_in_every_batch(method: str, noise: str, calculus: str):
    """Bit for bit: these fields go element by element, so that nothing is grouped anew in another batch.

    Times are each sample's own; one is stiff by its start, one has padding, and one stands still.
    """
    times = torch.tensor([[0.0, 0.3, 1.0], [1.0, 1.1, 1.7], [0.2, 0.6, 0.6], [0.5, 0.5, 0.5]], dtype=torch64)
    y0 = start() * torch.tensor([[1.0], [8.0], [1.0], [1.0]], dtype=torch64)
    options: dict[str, Any] = {"method": method, "calculus": calculus, "rtol": 1e-1, "atol": 1e-1}
    with torch.no_grad():
        together = solve(noise, y0, times, **options)
        alone = [solve(noise, y0[i : i + 1], times[i : i + 1], seeds=[i], **options) for i in range(4)]
    for i, one in enumerate(alone):
        assert torch.equal(one.states[0], together.states[i])
        assert int(one.stats.accepted[0]) == int(together.stats.accepted[i])
        assert int(one.stats.rejected[0]) == int(together.stats.rejected[i])
    assert torch.equal(together.states[2, 2], together.states[2, 1])
    assert torch.equal(together.states[3], y0[3].expand(3, -1))
    assert together.stats.accepted[3] == 0
    assert together.stats.accepted[1] > together.stats.accepted[2]


def test_steps_of_any_tolerance_follow_the_same_path_and_land_on_outputs():
    """With dX = W_1 dW_1 and dY = dW beside it, Y is the path itself: four roundings of it in a hundred steps."""
    whole = BrownianPath([7, 9], 2, -1.0, 3.0, dtype=torch64)
    for times in (TIMES, TIMES.flip(0), torch.stack([TIMES, 1 + TIMES])):
        expected = whole(times) - whole(times[..., :1])
        for rtol in (1e-1, 1e-2):
            solved = solve(
                y0=torch.zeros(2, 2, dtype=torch64),
                times=times,
                brownian=whole,
                drift=lambda t, y: 0 * y,
                diffusion=lambda t, y: torch.stack([1 + y[:, 0], torch.ones_like(y[:, 0])], dim=-1),
                rtol=rtol,
                atol=1e-2,
            )
            torch.testing.assert_close(solved.states[..., 1], expected[..., 1], rtol=0, atol=1e-13)
    rough = solve(rtol=1e-1, atol=1e-1).stats.accepted
    assert (solve(rtol=3e-3, atol=3e-3).stats.accepted > 2 * rough).all()


def test_no_time_that_was_aimed_at_is_passed_over():
    """Steps refused and lengthened at random: a sample comes to stand at every end and middle it ever looked at."""
    draw = np.random.default_rng(0)
    clock_BT = np.array([[0.0, 0.3, 1.0], [2.0, 1.9, -0.4]])
    clocks, control = DyadicClocks.begin(clock_BT, None, 2.0**-3), StepControl()
    seen: list[set[float]] = [set(), set()]
    stood: list[set[float]] = [set(row) for row in clock_BT.tolist()]
    while len(clocks.row):
        chosen = clocks.choose(control)
        good = draw.random(len(clocks.row)) < 0.6
        for i, row in enumerate(clocks.row):
            seen[row] |= {chosen.aim.end[i], chosen.middle[i]}
            if good[i]:
                stood[row] |= {chosen.aim.end[i], chosen.middle[i]}
        factor = np.where(good, draw.choice([1.0, 4.0], len(good)), draw.choice([0.2, 0.7], len(good)))
        clocks.length = np.maximum(chosen.aim.share * factor, 1e-3)
        clocks.reach(good & (chosen.aim.end == clocks.upcoming), chosen.aim.end, clock_BT)
        clocks.move(chosen, good)
        clocks.keep(clocks.at != clocks.goal)
    assert all(looked <= came for looked, came in zip(seen, stood, strict=True))
    assert min(len(came) for came in stood) > 10


def test_fresh_noise_obeys_the_seed_and_the_generator():
    def fresh(**options: Any) -> Tensor:
        return solve(**{"seeds": None, "rtol": 1e-1, "atol": 1e-1} | options).states

    torch.manual_seed(1)
    first = fresh()
    second = fresh()
    torch.manual_seed(1)
    assert torch.equal(fresh(), first)
    assert not torch.equal(second, first)
    assert torch.equal(fresh(generator=torch.Generator().manual_seed(1)), first)


# Laws


@pytest.mark.parametrize(("method", "calculus"), [("milstein", "ito"), ("heun", "stratonovich"), ("srk", "ito")])
def test_refused_steps_leave_no_bias_in_the_law(method: str, calculus: str):
    """log X(1) of dX = m X dt + s X dW is normal with mean m - s^2/2 (m in Stratonovich's reading) and variance s^2.

    Kolmogorov and Smirnov's test of 2000 paths sees a shift of 3 % of the deviation; errors are below 1 % of it. A
    right solver fails with probability 1e-6; the seeds are fixed, so it fails never or always.
    """
    paths, m, s = 2000, 0.3, 0.8
    with torch.no_grad():
        solved = solve(
            y0=torch.ones(paths, 1, dtype=torch64),
            times=[0.0, 1.0],
            drift=lambda t, y: m * y,
            diffusion=lambda t, y: s * y,
            method=method,
            calculus=calculus,
            rtol=3e-3,
            atol=0.0,
        )
    assert solved.stats.rejected.sum() > 0
    mean = m - (s**2 / 2 if calculus == "ito" else 0)
    standard = (solved.states[:, -1, 0].log() - mean) / s
    assert stats.kstest(standard.numpy(), "norm").pvalue > 1e-6
    w = BrownianPath(range(paths), 1, 0.0, 1.0, dtype=torch64)(torch.tensor([1.0]))[:, 0, 0]
    assert (standard - w).square().mean().sqrt() < 0.02


def test_eulers_scheme_would_tend_to_another_process():
    """Why it is refused: along the steps it chooses for dX = X dW, sum W^2 tends to less than the time.

    log X(1) then is off by a mean that grows to a limit instead of vanishing, 0.07 or so, and 15 standard errors above
    0; Milstein's vanishes with the tolerance.
    """
    paths = 300
    path = BrownianPath(torch.arange(paths), 1, 0.0, 1.0, dtype=torch64)
    exact = path(torch.tensor([1.0]))[:, 0] - 0.5
    errors: dict[str, list[Tensor]] = {"euler": [], "milstein": []}
    for method, found in errors.items():
        for tol in (3e-2, 1e-2):
            sde = Equation(lambda t, y: 0 * y, lambda t, y: y, None, None, "diagonal", "ito", paths)
            y0, times = torch.ones(paths, 1, dtype=torch64), TIMES[[0, 2]]
            norm = ErrorNorm(tol, 0.0, each=True)
            with torch.no_grad():
                solved = solve_adaptive(
                    sde, SCHEMES[method], y0, times, path, norm, CONTROL, max_steps=10_000, fill=False
                )
            found.append(solved.states[:, -1].log() - exact)
    coarse, fine = errors["euler"]
    assert fine.mean() > coarse.mean() > 0.05
    assert fine.mean() > 15 * fine.std() / paths**0.5
    coarse, fine = errors["milstein"]
    assert coarse.square().mean().sqrt() < 0.03
    assert fine.square().mean() < coarse.square().mean() / 2


@pytest.mark.parametrize("noise", ["diagonal", "additive"])
@pytest.mark.parametrize("method", ["heun", "srk"])
def test_path_kl_of_a_constant_gap_is_known_on_every_path(noise: str, method: str):
    """f - p = c and g g^T = S constant: KL = c^T S^(-1) c t / 2, at each output."""
    gap = torch.tensor([0.5, -1.0], dtype=torch64)
    b = torch.tensor([[1.0, 0.2], [0.0, 0.8]], dtype=torch64)
    b = torch.diag(b.diagonal()) if noise == "diagonal" else b
    solved = solve(
        noise,
        drift=lambda t, y: y.sin(),
        prior_drift=lambda t, y: y.sin() - gap,
        diffusion=lambda t, y: b.diagonal().expand_as(y) if noise == "diagonal" else b.expand(len(y), -1, -1),
        method=method,
        calculus="stratonovich" if method == "heun" else "ito",
    )
    rate = gap @ torch.linalg.solve(b @ b.T, gap) / 2
    assert solved.path_kl is not None
    torch.testing.assert_close(solved.path_kl, (rate * TIMES).expand(4, -1), rtol=1e-12, atol=1e-12)


# Counts, shapes and precision


@pytest.mark.parametrize(("method", "evaluations"), [("milstein", 6), ("heun", 4)])
def test_evaluations_are_counted_per_sample(method: str, evaluations: int):
    """Three steps of two evaluations by halving, one of four beside Euler's; finished samples cost no more."""
    seen: list[int] = []

    def counted(t: Tensor, y: Tensor) -> Tensor:
        seen.append(len(y))
        return drift(t, y)

    calculus = "stratonovich"
    with torch.no_grad():
        solved = solve(drift=counted, method=method, calculus=calculus, rtol=1e-2, atol=1e-2)
    work = solved.stats
    assert torch.equal(work.evaluations, evaluations * (work.accepted + work.rejected))
    assert sum(seen) == (evaluations // 2) * int((work.accepted + work.rejected).sum())


def test_states_of_any_shape_and_single_precision():
    """In float32 the same steps up to rounding: errors of a few dozen steps of states below 4, 4 eps each."""
    y0 = start().view(4, 2, 1, 1).expand(4, 2, 2, 3).contiguous()
    wide = solve(y0=y0, rtol=1e-2, atol=1e-2)
    flat = solve(y0=y0.flatten(1), rtol=1e-2, atol=1e-2)
    assert torch.equal(wide.states.flatten(2), flat.states)
    grown: dict[str, Any] = {"y0": y0.flatten(1).float(), "times": TIMES.float(), "rtol": 1e-2, "atol": 1e-2}
    single = solve(**grown)
    double = solve(**grown | {"y0": grown["y0"].double(), "times": grown["times"].double()})
    assert single.states.dtype == torch.float32
    assert torch.equal(single.stats.accepted, double.stats.accepted)
    torch.testing.assert_close(single.states.double(), double.states, rtol=0, atol=400 * 4 * 2.0**-23)


def test_arguments_follow_their_samples():
    """dX = u dt + v dW has the solution x0 + u t + v W, whoever leaves first."""
    u, v = torch.arange(4, dtype=torch64).view(4, 1), torch.linspace(0, 1, 4, dtype=torch64)
    times = torch.tensor([1.0, 0.1, 0.7, 0.2], dtype=torch64).view(4, 1) * torch.tensor([0.0, 0.5, 1.0], dtype=torch64)
    path = BrownianPath(range(4), 1, 0.0, 1.0, dtype=torch64)
    solved = solve_sde(
        lambda t, y, args: args["u"].expand_as(y),
        lambda t, y, args: args["v"][0].view(-1, 1, 1).expand(-1, 1, 1),
        torch.zeros(4, 1, dtype=torch64),
        times,
        args={"u": u, "v": (v,)},
        noise="additive",
        method="srk",
        brownian=path,
        rtol=1e-2,
        atol=1e-2,
    )
    expected = u.unsqueeze(1) * times.unsqueeze(-1) + v.view(4, 1, 1) * path(times)
    torch.testing.assert_close(solved.states, expected, rtol=0, atol=1e-13)


def test_steps_keep_their_limits():
    """Quiet fields would be crossed in one step: max_step forbids it, and first_step begins."""
    quiet: dict[str, Any] = {"drift": lambda t, y: 0 * y, "diffusion": lambda t, y: 1e-6 + 0 * y, "times": [0.0, 1.0]}
    assert solve(**quiet, control=StepControl(first_step=1.0)).stats.accepted.tolist() == [1] * 4
    assert solve(**quiet, control=StepControl(first_step=1.0, max_step=0.3)).stats.accepted.tolist() == [4] * 4
    seldom = solve(**quiet, control=StepControl(first_step=1 / 64, max_factor=2.5))
    # 1/64, then twice as long at each place that allows it: 1/64, 1/32, ..., 1/2.
    assert seldom.stats.accepted.tolist() == [7] * 4


# Failures


@pytest.mark.parametrize("on_failure", ["raise", "nan", "last"])
def test_a_sample_that_cannot_go_on_leaves_the_others_alone(on_failure: str):
    """dX = X^3 dt from 2 explodes at t = 1/8; from 0 it stays, and from NaN it never begins."""
    y0 = torch.tensor([[0.0], [2.0], [math.nan], [0.5]], dtype=torch64)
    options: dict[str, Any] = {"drift": lambda t, y: y**3, "diffusion": lambda t, y: 0 * y, "times": [0.0, 0.1, 1.0]}
    options |= {"method": "heun", "calculus": "stratonovich", "rtol": 1e-2}
    if on_failure == "raise":
        with pytest.raises(SolveError) as caught:
            solve(y0=y0, on_failure="raise", **options)
        message = str(caught.value)
        assert re.search(r"at time 0\.12\d*, sample 1 met (step too small|nonfinite)", message), message
        assert len(message.splitlines()) == 1
        return
    solved = solve(y0=y0, on_failure=on_failure, **options)
    assert solved.status[[0, 3]].tolist() == [Status.OK] * 2
    assert int(solved.status[1]) in (Status.STEP_TOO_SMALL, Status.NONFINITE)
    assert int(solved.status[2]) == Status.NONFINITE
    # dX = X^3 dt is solved by (x0^-2 - 2 t)^(-1/2); steps err by less than 1e-2 of X, which grows by half.
    assert solved.states[1, 1, 0] == pytest.approx((1 / 4 - 0.2) ** -0.5, rel=0.05)
    assert solved.states[3, 2, 0] == pytest.approx((4 - 2) ** -0.5, rel=0.01)
    if on_failure == "nan":
        assert solved.states[1, 2].isnan().all()
    else:
        assert solved.states[1, 2, 0] > 100


def test_too_many_steps_are_told():
    solved = solve(rtol=1e-4, atol=1e-4, max_steps=20, on_failure="nan")
    assert solved.status.tolist() == [Status.MAX_STEPS] * 4
    assert solved.states[:, -1].isnan().all()
    assert (solved.stats.accepted + solved.stats.rejected == 20).all()
    with pytest.raises(SolveError, match=r"sample 0 met max steps.*raise max_steps"):
        solve(rtol=1e-4, atol=1e-4, max_steps=20)


def test_steps_stay_above_what_the_path_knows():
    """A path of 2^6 intervals knows no more: with a tolerance that asks for it a sample stops."""
    shallow = BrownianPath(range(4), 2, 0.0, 1.0, dtype=torch64, depth=6)
    with pytest.raises(SolveError, match=r"step too small.*greater depth"):
        solve(brownian=shallow, rtol=1e-4, atol=1e-4)


# Refusals


class Still:
    def increments(self, grid: Tensor, *, area: bool = False) -> Increments:
        raise AssertionError("not asked")


@pytest.mark.parametrize(
    ("options", "pattern"),
    [
        ({"method": "euler"}, "another process: take milstein or milstein_free or srk, or give step_size"),
        ({"method": "euler", "noise": "general"}, "write it in Stratonovich calculus and take heun"),
        ({"method": "reversible_heun", "calculus": "stratonovich"}, "take milstein or milstein_free or heun"),
        ({"method": "srk", "noise": "commutative"}, "does not fit"),
        ({"rtol": None}, "rtol=None and atol=0.001 make a tolerance together"),
        ({"rtol": None, "atol": None, "control": StepControl()}, "control is for adaptive steps: give rtol and atol"),
        ({"rtol": None, "atol": None, "max_steps": 5}, "max_steps is for adaptive steps"),
        ({"rtol": -1.0}, "must not be negative"),
        ({"rtol": 0.0, "atol": 0.0}, "not both zero"),
        ({"step_size": 0.1}, "step_size=0.1 fixes the steps.*one or the other"),
        ({"control": StepControl(jump_times=(0.5,))}, "put them among times"),
        ({"engine": "torchsde"}, "not available in engine 'torchsde': give step_size"),
        ({"gradient": "adjoint"}, "gradient='adjoint' is not available"),
        ({"on_failure": "lst"}, "unknown on_failure 'lst': did you mean 'last'"),
        ({"times": torch.tensor([0.0, 1.0], requires_grad=True)}, "no gradient to times"),
        ({"brownian": Still()}, "which a Still cannot tell: give seeds, or a BrownianPath"),
        ({"brownian": BrownianPath([1], 2, 0.0, 1.0)}, "one of 1 samples.*needs 4"),
        ({"brownian": BrownianPath(range(4), 3, 0.0, 1.0)}, r"noise \(3,\).*\(2,\)"),
        ({"brownian": BrownianPath(range(4), 2, 0.0, 0.5)}, "outside the span"),
    ],
)
def test_every_mistake_is_one_line_that_names_the_cure(options: dict, pattern: str):
    with pytest.raises(InputError) as caught:
        solve(**options)
    assert re.search(pattern, str(caught.value)), str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
