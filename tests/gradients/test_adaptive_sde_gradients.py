"""Gradients through adaptive stochastic steps: closed forms, finite differences, refused steps, lost samples."""

from typing import Any

import pytest
import torch
from noisy_problems import ADAPTIVE_CASES, column
from torch import Tensor

from integrand.core.fields import MLP
from integrand.core.numerics.solution import Status
from integrand.core.numerics.solve_sde import solve_sde
from integrand.core.numerics.stepping.step_control import StepControl
from integrand.core.numerics.stochastic import adaptive
from integrand.core.numerics.stochastic.brownian import BrownianPath

torch64 = torch.float64
TIMES = torch.tensor([0.0, 0.2, 0.7], dtype=torch64)


@pytest.mark.parametrize(("method", "calculus"), [("milstein", "ito"), ("heun", "stratonovich"), ("srk", "ito")])
def test_derivatives_of_geometric_brownian_motion_are_those_of_its_formula(method: str, calculus: str):
    """X(T) = x0 exp((m - s^2/2) T + s W): dX/dx0 = X / x0, dX/dm = T X, dX/ds = (W - s T) X, or W X.

    They solve equations along the same path, which the steps solve as they solve the first: to the error of X, with
    a factor that the test leaves at 5.
    """
    m, s, end, batch = 0.6, 0.5, 1.5, 6
    leaf = {name: torch.full((batch, 1), value, dtype=torch64) for name, value in (("m", m), ("s", s), ("x", 1.2))}
    leaf = {name: value.requires_grad_() for name, value in leaf.items()}
    path = BrownianPath(range(batch), 1, 0.0, end, dtype=torch64)
    solved = solve_sde(
        lambda t, y, args: args[0] * y,
        lambda t, y, args: args[1] * y,
        leaf["x"],
        [0.0, 0.4, end],
        args=(leaf["m"], leaf["s"]),
        method=method,
        calculus=calculus,  # pyright: ignore[reportArgumentType]
        brownian=path,
        rtol=3e-3,
        atol=0.0,
    )
    w = path(torch.tensor([end], dtype=torch64))[:, 0]
    drop = s if calculus == "ito" else 0.0
    exact = 1.2 * torch.exp((m - drop * s / 2) * end + s * w)
    final = solved.states[:, -1]
    error = ((final - exact) / exact).abs().max().item()
    by_m, by_s, by_x = torch.autograd.grad(final.sum(), (leaf["m"], leaf["s"], leaf["x"]))
    assert error < 0.02
    torch.testing.assert_close(by_x, exact / 1.2, rtol=5 * error, atol=0)
    torch.testing.assert_close(by_m, end * exact, rtol=5 * error, atol=0)
    torch.testing.assert_close(by_s / exact, w - drop * end, rtol=0, atol=5 * error * (1 + end))


@pytest.mark.parametrize(("method", "noise", "calculus"), ADAPTIVE_CASES)
def test_gradients_agree_with_finite_differences_of_the_same_steps(
    method: str, noise: str, calculus: str, monkeypatch: pytest.MonkeyPatch
):
    """By start, argument and a parameter at once along a direction, states and path KL; the steps found once are kept.

    Central differences err by nudge^2 of the third derivative, 1e-9, and by rounding over the nudge, 1e-10. The samples
    differ in their numbers of steps by more than a factor of two, so that they go in groups.
    """
    generator = torch.Generator().manual_seed(1)
    y0, u, a = (torch.randn(n, 2, dtype=torch64, generator=generator) for n in (3, 3, 2))
    y0[0] *= 6
    weights = torch.randn(3, 3, 2, dtype=torch64, generator=generator)
    wide = torch.randn(2, 3, dtype=torch64, generator=generator)

    def loss(y0: Tensor, u: Tensor, a: Tensor) -> Tensor:
        def diffusion(t: Tensor, y: Tensor, u: Tensor) -> Tensor:
            g = 0.5 + (a[0] * y + u + column(t, y)).sigmoid()
            matrix = wide * (1 + column(t, y)).unsqueeze(-1) * (1 + u**2).unsqueeze(-1)
            return {
                "diagonal": g,
                "scalar": g.unsqueeze(-1),
                "commutative": torch.diag_embed(g),
                "additive": matrix,
                "general": matrix + torch.nn.functional.pad(g.unsqueeze(-1), (0, 2)),
            }[noise]

        solved = solve_sde(
            lambda t, y, u: (y @ a).tanh() + u * column(t, y).sin() - y**3 / 20,
            diffusion,
            y0,
            TIMES,
            args=u * 1,
            noise=noise,  # pyright: ignore[reportArgumentType]
            calculus=calculus,  # pyright: ignore[reportArgumentType]
            method=method,
            seeds=range(3),
            prior_drift=None if noise == "scalar" else lambda t, y, u: -a[1] * y,
            rtol=1e-1,
            atol=5e-2,
        )
        kl = 0 if solved.path_kl is None else (solved.path_kl * weights[..., 0]).sum()
        return (solved.states * weights).sum() + kl

    found: list[Any] = []
    take = adaptive._take

    def keep(sde: Any, scheme: Any, y0: Tensor, steps: Any, path: Any):
        found.append(steps)
        return take(sde, scheme, y0, found[0], path)

    monkeypatch.setattr(adaptive, "_take", keep)
    inputs = [x.clone().requires_grad_() for x in (y0, u, a)]
    directions = [torch.randn(x.shape, dtype=torch64, generator=generator) for x in inputs]
    gradients = torch.autograd.grad(loss(*inputs), inputs)
    slope = sum((g * d).sum() for g, d in zip(gradients, directions, strict=True))
    nudge = 1e-5
    up, down = (loss(*(x + sign * nudge * d for x, d in zip(inputs, directions, strict=True))) for sign in (1, -1))
    torch.testing.assert_close(slope, (up - down) / (2 * nudge), rtol=1e-7, atol=1e-7)
    assert found[0].steps_B.max() > found[0].steps_B.min()


def test_the_steps_taken_again_end_where_they_did():
    """With and without a gradient the numbers are the same, to rounding; fields that give their own derivative too."""
    torch.manual_seed(0)
    drift, diffusion = MLP(2, (8,)).double(), MLP(2, (8,)).double()
    y0 = torch.randn(5, 2, dtype=torch64)
    options: dict[str, Any] = {"seeds": range(5), "method": "heun", "calculus": "stratonovich"}
    options |= {"rtol": 1e-2, "atol": 1e-2}
    taken = solve_sde(drift, diffusion, y0, TIMES, **options)
    with torch.no_grad():
        found = solve_sde(drift, diffusion, y0, TIMES, **options)
    torch.testing.assert_close(taken.states, found.states, rtol=1e-13, atol=1e-13)
    assert taken.states.requires_grad
    taken.states.sum().backward()
    by_tape = [p.grad.clone() for p in (*drift.parameters(), *diffusion.parameters()) if p.grad is not None]
    assert len(by_tape) == 8
    opaque = solve_sde(lambda t, y: drift(t, y), lambda t, y: diffusion(t, y), y0, TIMES, **options)
    parameters = [*drift.parameters(), *diffusion.parameters()]
    torch.testing.assert_close(
        torch.autograd.grad(opaque.states.sum(), parameters), tuple(by_tape), rtol=1e-11, atol=1e-11
    )


def test_refused_steps_and_lost_samples_leave_gradients_clean():
    """The first step of all overflows, and a sample is not a number: the others' gradients are those without it."""
    k = torch.tensor(1.0, requires_grad=True, dtype=torch64)
    y0 = torch.tensor([[2.0], [torch.nan], [2.2]], dtype=torch64)

    def gradient(rows: list[int]) -> Tensor:
        solved = solve_sde(
            lambda t, y: -k * torch.sinh(6 * y) / 6,
            lambda t, y: 0.1 * y,
            y0[rows],
            [0.0, 0.1],
            method="heun",
            calculus="stratonovich",
            seeds=rows,
            rtol=1e-1,
            atol=1e-2,
            control=StepControl(p=0.1, i=0.3, first_step=0.1),
            on_failure="nan",
            max_steps=3000,
        )
        assert solved.status.tolist() == [Status.NONFINITE if row == 1 else Status.OK for row in rows]
        assert (solved.stats.rejected > 0).all()
        kept = solved.states[solved.status == 0]
        return torch.autograd.grad(kept.sum(), k)[0]

    with_it = gradient([0, 1, 2])
    assert torch.isfinite(with_it)
    torch.testing.assert_close(with_it, gradient([0, 2]), rtol=1e-12, atol=0)
