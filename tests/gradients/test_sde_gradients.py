"""Gradients of stochastic solves against finite differences and closed forms, in float64."""

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from integrand.core.numerics.solve_sde import solve_sde
from integrand.core.numerics.stochastic.brownian import BrownianPath
from integrand.core.numerics.stochastic.schemes import SCHEMES

torch64 = torch.float64
TIMES = torch.tensor([0.0, 0.2, 0.7], dtype=torch64)


class Model(nn.Module):
    """Small fields that depend on time, state, argument and parameters."""

    def __init__(self, noise: str) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)

        def draw(*shape: int) -> nn.Parameter:
            return nn.Parameter(0.5 * torch.randn(*shape, dtype=torch64, generator=generator))

        self.noise, self.a, self.b, self.c = noise, draw(2, 2), draw(2), draw(2, 3)
        self.frozen = nn.Parameter(torch.ones(2, dtype=torch64), requires_grad=False)

    def drift(self, t: Tensor, y: Tensor, u: Tensor) -> Tensor:
        return (y @ self.a).tanh() + u * column(t, y).sin() + self.frozen

    def prior(self, t: Tensor, y: Tensor, u: Tensor) -> Tensor:
        return -self.b * y

    def diffusion(self, t: Tensor, y: Tensor, u: Tensor) -> Tensor:
        # Each component's own; with arguments, time and parameters in it.
        g = 0.5 + (self.b * y + u + column(t, y)).sigmoid()
        if self.noise == "diagonal":
            return g
        if self.noise == "scalar":
            return g.unsqueeze(-1)
        if self.noise == "commutative":
            return torch.diag_embed(g)
        wide = self.c * (1 + column(t, y)).unsqueeze(-1) * (1 + u**2).unsqueeze(-1)
        return wide if self.noise == "additive" else wide + torch.nn.functional.pad(g.unsqueeze(-1), (0, 2))


def column(t: Tensor, y: Tensor) -> Tensor:
    return t if t.dim() == 0 else t.view(-1, 1)


CASES = [
    (method, noise, calculus)
    for method, scheme in SCHEMES.items()
    for noise in scheme.strong
    for calculus in scheme.calculus
]


@pytest.mark.parametrize(("method", "noise", "calculus"), CASES)
def test_gradients_agree_with_finite_differences(method: str, noise: str, calculus: str):
    """All of them at once along a direction: start, argument, times and every parameter; with own times too.

    Central differences err by nudge^2 of the third derivative, 1e-9, and by rounding over the nudge, 1e-10.
    """
    model, generator = Model(noise), torch.Generator().manual_seed(1)
    y0, u = (torch.randn(3, 2, dtype=torch64, generator=generator) for _ in range(2))
    weights = torch.randn(3, 3, 2, dtype=torch64, generator=generator)
    own = TIMES * torch.tensor([[1.0], [0.8], [1.3]], dtype=torch64)
    shared = [y0, u, *(p.detach().clone() for p in model.parameters() if p.requires_grad)]
    names = [name for name, p in model.named_parameters() if p.requires_grad]

    def loss(times: Tensor, y0: Tensor, u: Tensor, *parameters: Tensor) -> Tensor:
        changed = {f"model.{name}": value for name, value in zip(names, parameters, strict=True)}

        def call(part: str):
            return lambda t, y, u: torch.func.functional_call(_Part(model, part), changed, (t, y, u))

        solved = solve_sde(
            call("drift"),
            call("diffusion"),
            y0,
            times,
            args=u * 1,
            noise=noise,  # pyright: ignore[reportArgumentType]
            calculus=calculus,  # pyright: ignore[reportArgumentType]
            method=method,
            step_size=0.2,
            generator=torch.Generator().manual_seed(2),
            prior_drift=None if noise == "scalar" else call("prior"),
        )
        kl = 0 if solved.path_kl is None else (solved.path_kl * weights[..., 0]).sum()
        return (solved.states * weights).sum() + kl

    for times in (TIMES, own):
        inputs = [x.clone().requires_grad_() for x in (times, *shared)]
        directions = [torch.randn(x.shape, dtype=torch64, generator=generator) for x in inputs]
        gradients = torch.autograd.grad(loss(*inputs), inputs, allow_unused=True)
        slope = sum((g * d).sum() for g, d in zip(gradients, directions, strict=True) if g is not None)
        nudge = 1e-5
        with torch.no_grad():
            up, down = (
                loss(*(x + sign * nudge * d for x, d in zip(inputs, directions, strict=True))) for sign in (1, -1)
            )
        torch.testing.assert_close(slope, (up - down) / (2 * nudge), rtol=1e-7, atol=1e-7)


class _Part(nn.Module):
    def __init__(self, model: Model, part: str) -> None:
        super().__init__()
        self.model, self.part = model, part

    def forward(self, t: Tensor, y: Tensor, u: Tensor) -> Tensor:
        return getattr(self.model, self.part)(t, y, u)


@pytest.mark.parametrize("method", ["euler", "milstein", "srk"])
def test_second_derivatives_agree_with_finite_differences(method: str):
    model, path = Model("diagonal"), BrownianPath([0, 1], 2, 0.0, 0.7, dtype=torch64)
    u = torch.zeros(2, 2, dtype=torch64)

    def end(y0: Tensor) -> Tensor:
        options: dict[str, Any] = {"args": u, "method": method, "brownian": path}
        return solve_sde(model.drift, model.diffusion, y0, TIMES, **options).states[:, -1]

    y0 = torch.tensor([[0.3, -0.2], [1.0, 0.5]], dtype=torch64, requires_grad=True)
    assert torch.autograd.gradgradcheck(end, (y0,))


# The reversible gradient


def reversible(model: Model, gradient: str, noise: str, times: Tensor, y0: Tensor, u: Tensor, **options: Any):
    return solve_sde(
        model.drift,
        model.diffusion,
        y0,
        times,
        args=u,
        noise=noise,  # pyright: ignore[reportArgumentType]
        calculus="stratonovich",
        method="reversible_heun",
        gradient=gradient,  # pyright: ignore[reportArgumentType]
        prior_drift=None if noise == "scalar" else model.prior,
        **options,
    )


@pytest.mark.parametrize("noise", SCHEMES["reversible_heun"].strong)
@pytest.mark.parametrize("seeded", [False, True])
def test_the_reversible_gradient_is_the_direct_one(noise: str, seeded: bool):
    """The same sums in another order: 60 steps of rounding, which a state walked back to gathers, below 1e-12."""
    model, generator = Model(noise), torch.Generator().manual_seed(1)
    y0, u = (torch.randn(3, 2, dtype=torch64, generator=generator).requires_grad_() for _ in range(2))
    for times in (TIMES, TIMES * torch.tensor([[1.0], [0.8], [1.3]], dtype=torch64), TIMES.flip(0)):
        found = []
        for gradient in ("direct", "reversible"):
            torch.manual_seed(0)
            seeds = {"seeds": [4, 5, 6]} if seeded else {}
            solved = reversible(model, gradient, noise, times, y0, u * 1, step_size=0.7 / 60, **seeds)
            loss = solved.states.square().sum() + (0 if solved.path_kl is None else solved.path_kl.square().sum())
            inputs = [y0, u, *(p for p in model.parameters() if p.requires_grad)]
            found.append((solved.states, *torch.autograd.grad(loss, inputs, allow_unused=True)))
        for direct, other in zip(*found, strict=True):
            assert (direct is None) == (other is None)
            if direct is not None and other is not None:
                torch.testing.assert_close(other, direct, rtol=1e-11, atol=1e-11)


def stored(gradient: str, steps: int) -> int:
    """Bytes that autograd keeps between the forward and the backward pass, each storage once."""
    model, held = Model("diagonal"), {}
    y0, u = torch.ones(64, 2, dtype=torch64, requires_grad=True), torch.ones(64, 2, dtype=torch64)

    def pack(x: Tensor) -> Tensor:
        held[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        solved = reversible(model, gradient, "diagonal", TIMES[[0, 2]], y0, u, step_size=0.7 / steps)
    assert solved.states.requires_grad
    return sum(held.values())


def test_the_reversible_gradient_stores_no_steps():
    assert stored("reversible", 80) == stored("reversible", 10)
    assert stored("direct", 80) > 6 * stored("direct", 10)


def test_frozen_parameters_and_constant_fields_get_no_gradient():
    model = Model("diagonal")
    y0 = torch.ones(2, 2, dtype=torch64)
    reversible(model, "reversible", "diagonal", TIMES, y0, y0).states.sum().backward()
    assert model.frozen.grad is None
    assert model.a.grad is not None
    assert (model.a.grad != 0).all()
    assert model.c.grad is None  # not used by diagonal noise


# The adjoint


def test_the_adjoint_of_torchsde_agrees_within_its_step():
    """The adjoint equation is solved in steps of its own: a fifth of the step brings it near, within that step."""
    model = Model("diagonal")
    y0 = torch.randn(4, 2, dtype=torch64, generator=torch.Generator().manual_seed(3), requires_grad=True)
    u = torch.ones(4, 2, dtype=torch64, requires_grad=True)
    inputs = [y0, u, model.a, model.b]

    def gradient(mode: Any, step: float) -> Tensor:
        solved = solve_sde(
            model.drift,
            model.diffusion,
            y0,
            TIMES,
            args=u * 1,
            calculus="stratonovich",
            method="heun",
            step_size=step,
            seeds=range(4),
            engine="torchsde",
            gradient=mode,
        )
        return torch.cat([g.flatten() for g in torch.autograd.grad(solved.states.square().sum(), inputs)])

    errors = [(gradient("adjoint", step) - gradient("direct", step)).abs().max().item() for step in (0.07, 0.014)]
    assert errors[1] < errors[0]
    assert errors[1] < 2e-2 * gradient("direct", 0.014).abs().max().item()


# Modes and copies


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("method", SCHEMES)
def test_without_gradients_the_states_are_the_same(mode, method: str):
    model, y0 = Model("diagonal"), torch.ones(3, 2, dtype=torch64)
    calculus: Any = SCHEMES[method].calculus[0]
    gradients: list[Any] = ["direct"] + ["reversible"] * (method == "reversible_heun")
    options: dict[str, Any] = {"args": y0, "method": method, "calculus": calculus, "seeds": range(3)}
    recorded = solve_sde(model.drift, model.diffusion, y0, TIMES, **options).states
    assert recorded.requires_grad
    for gradient in gradients:
        with mode():
            free = solve_sde(model.drift, model.diffusion, y0, TIMES, gradient=gradient, **options).states
        assert not free.requires_grad
        assert torch.equal(free, recorded)


def test_copies_of_a_model_solve_alike():
    model, y0 = Model("diagonal"), torch.ones(3, 2, dtype=torch64)

    def train(one: Model) -> list[Tensor]:
        solved = reversible(one, "reversible", "diagonal", TIMES, y0, y0, seeds=range(3))
        assert solved.path_kl is not None
        (solved.states.sum() + solved.path_kl.sum()).backward()
        return [solved.states.detach(), *(p.grad for p in one.parameters() if p.grad is not None)]

    expected = train(model)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        other.zero_grad()
        for one, another in zip(train(other), expected, strict=True):
            assert torch.equal(one, another)
    path = BrownianPath([1, 2], 3, 0.0, 1.0)
    assert torch.equal(copy.deepcopy(path)(torch.tensor([0.3])), path(torch.tensor([0.3])))
