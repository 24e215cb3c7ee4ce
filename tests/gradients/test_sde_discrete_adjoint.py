"""The fused gradient of stochastic solves, against autograd through the same steps on the same path."""

import copy
import pickle
from typing import Any

import pytest
import torch
from autograd_oracle import Opaque, assert_same
from torch import Tensor, nn

from integrand.core.errors import InputError
from integrand.core.fields import MLP, Linear
from integrand.core.fields.mlp import ACTIVATIONS
from integrand.core.numerics.solve_sde import SolveError, solve_sde
from integrand.core.numerics.stochastic.brownian import Increments
from integrand.core.numerics.stochastic.schemes import SCHEMES
from integrand.core.numerics.stochastic.stages import stages_of

torch64 = torch.float64
TIMES = torch.tensor([0.0, 0.4, 0.5, 1.3], dtype=torch64)
NOISES = ("diagonal", "scalar", "commutative", "additive", "general")
CASES = [
    (method, noise, calculus)
    for method, scheme in SCHEMES.items()
    for noise in scheme.strong
    for calculus in scheme.calculus
    if stages_of(method, noise, calculus) is not None
]
cases = pytest.mark.parametrize(("method", "noise", "calculus"), CASES)
CHANNELS = {"diagonal": 0, "scalar": 1, "commutative": 2, "additive": 2, "general": 4}


class Model(nn.Module):
    """Drift and diffusion with tapes; ``opaque()`` are the same without.

    Whether a diffusion is what the noise says decides whose solution is approached, not what is differentiated; only
    diagonal noise is checked, and so has one component here where the scheme asks for that.
    """

    def __init__(self, noise: str, *, dim: int = 3, **options: Any) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.noise = noise
        self.drift = MLP(dim, (8, 7), **options).double()
        self.diffusion = MLP(dim, (6,), channels=CHANNELS[noise], final="softplus", **options).double()

    def opaque(self) -> "Model":
        other = copy.copy(self)
        other._modules = {"drift": Opaque(self.drift), "diffusion": Opaque(self.diffusion)}
        return other


def start(batch: int = 5, dim: int = 3) -> Tensor:
    return torch.randn(batch, dim, dtype=torch64, generator=torch.Generator().manual_seed(1)).requires_grad_()


def solve(model: Model, y0: Tensor, args: Any = None, times: Any = TIMES, **options: Any) -> Tensor:
    options = {"noise": model.noise, "step_size": 0.1, "generator": torch.Generator().manual_seed(2)} | options
    return solve_sde(model.drift, model.diffusion, y0, times, args=args, **options).states


def gradients(model: Model, y0: Tensor, args: Any = None, **options: Any) -> list[Tensor]:
    """Gradients of a weighted sum of all states, so that every output counts."""
    states = solve(model, y0, args, **options)
    weights = torch.linspace(-1, 2, states.numel(), dtype=torch64).view_as(states)
    inputs = [y0, *([] if args is None else [args]), *(p for p in model.parameters() if p.requires_grad)]
    return [states.detach(), *torch.autograd.grad((weights * states.sin()).sum(), inputs)]


@cases
@pytest.mark.parametrize("own_times", [False, True])
@pytest.mark.parametrize("time", [False, True])
def test_equals_autograd_for_every_scheme(
    method: str, noise: str, calculus: str, time: bool, own_times: bool, swept: list[int]
):
    dim = 1 if SCHEMES[method].separate and noise == "diagonal" else 3
    model, y0 = Model(noise, time=time, dim=dim), start(dim=dim)
    options: dict[str, Any] = {"method": method, "calculus": calculus}
    if own_times:
        options["times"] = TIMES * torch.tensor([0.5, 1.0, -0.7, 0.9, 0.0], dtype=torch64).unsqueeze(1)
    assert_same(gradients(model, y0, **options), gradients(model.opaque(), y0, **options))
    assert len(swept) == 1


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_equals_autograd_with_arguments(activation: str, noise: str, swept: list[int]):
    model = Model(noise, activation=activation, time=True, control=2)
    for wanted in (True, False):
        control = torch.randn(5, 2, dtype=torch64, requires_grad=wanted)
        if wanted:
            assert_same(gradients(model, start(), control), gradients(model.opaque(), start(), control))
        y0 = start()
        one, other = (
            torch.autograd.grad(solve(m, y0, control).sum(), [y0, *m.parameters()]) for m in (model, model.opaque())
        )
        assert_same(one, other)
    assert len(swept) == 3


def test_equals_autograd_backwards_in_time_and_over_many_blocks(swept: list[int]):
    model = Model("diagonal")
    y0 = start(batch=40)
    options: dict[str, Any] = {"times": TIMES.flip(0), "step_size": 0.003}  # 435 steps of 40 samples
    assert_same(gradients(model, y0, **options), gradients(model.opaque(), y0, **options), rounding=1e-9)
    assert len(swept) == 1


def test_a_single_time_and_a_single_sample(swept: list[int]):
    model = Model("diagonal")
    y0 = start()
    states = solve(model, y0, times=TIMES[:1])
    assert_same([states], [y0.unsqueeze(1)], rounding=0)
    assert_same(torch.autograd.grad(states.sum(), [y0]), [torch.ones_like(y0)], rounding=0)
    assert_same(gradients(model, start(1)), gradients(model.opaque(), start(1)))
    assert len(swept) == 2


def test_against_finite_differences():
    for noise in ("diagonal", "general"):
        model, path = Model(noise, dim=2, control=1, time=True), Path(noise, 2)
        y0, control = start(2, 2), torch.randn(2, 1, dtype=torch64, requires_grad=True)

        def states(y0: Tensor, control: Tensor, *_: Tensor, model: Model = model, path: Path = path) -> Tensor:
            return solve(model, y0, control, brownian=path, generator=None)

        assert torch.autograd.gradcheck(states, (y0, control, *model.parameters()))


class Path:
    """Increments drawn once."""

    def __init__(self, noise: str, batch: int, dim: int = 2) -> None:
        self.size = (batch, CHANNELS[noise] or dim)

    def increments(self, grid: Tensor, *, area: bool = False) -> Increments:
        w = torch.randn(len(grid) - 1, *self.size, dtype=torch64, generator=torch.Generator().manual_seed(3))
        return Increments(w * 0.3, None)


def test_a_field_that_is_drift_and_diffusion_at_once_gets_both_gradients(swept: list[int]):
    shared = MLP(3, (8,)).double()

    def total(drift: nn.Module, diffusion: nn.Module) -> list[Tensor]:
        y0 = start()
        states = solve_sde(drift, diffusion, y0, TIMES, generator=torch.Generator().manual_seed(2)).states
        (slope,) = torch.autograd.grad(states.square().sum(), y0, retain_graph=True, create_graph=True)
        first = torch.autograd.grad(states.square().sum(), [y0, *shared.parameters()], retain_graph=True)
        return [*first, *torch.autograd.grad(slope.square().sum(), [y0, *shared.parameters()])]

    assert_same(total(shared, shared), total(Opaque(shared), Opaque(shared)))
    # Once for the first derivative, once where the second one runs through the states.
    assert len(swept) == 2


@pytest.mark.parametrize("frozen", ["drift", "diffusion"])
def test_frozen_fields_and_starts_without_gradients(frozen: str, swept: list[int]):
    """Where one field has nothing to learn, the gradient of the other still runs through it."""
    model = Model("diagonal")
    model.drift.layers[0].requires_grad_(False)
    assert_same(gradients(model, start()), gradients(model.opaque(), start()))
    getattr(model, frozen).requires_grad_(False)
    y0, learned = start().detach(), [p for p in model.parameters() if p.requires_grad]
    one, other = (torch.autograd.grad(solve(m, y0).square().sum(), learned) for m in (model, model.opaque()))
    assert_same(one, other)
    assert len(swept) == 2
    model.requires_grad_(False)
    assert not solve(model, y0).requires_grad
    y0.requires_grad_()
    assert_same(gradients(model, y0), gradients(model.opaque(), y0))
    assert len(swept) == 3


def test_linear_fields(swept: list[int]):
    drift, diffusion = Linear(3).double(), Linear(3, bias=False).double()

    def total(drift: nn.Module, diffusion: nn.Module) -> tuple[Tensor, ...]:
        y0 = start()
        states = solve_sde(drift, diffusion, y0, TIMES, generator=torch.Generator().manual_seed(2)).states
        return torch.autograd.grad(states.square().sum(), [y0, *drift.parameters(), *diffusion.parameters()])

    assert_same(total(drift, diffusion), total(Opaque(drift), Opaque(diffusion)))
    assert len(swept) == 1


@cases
def test_evaluations_are_counted_alike(method: str, noise: str, calculus: str):
    dim = 1 if SCHEMES[method].separate and noise == "diagonal" else 3
    model, y0 = Model(noise, dim=dim), start(dim=dim)
    solved = [
        solve_sde(m.drift, m.diffusion, y0, TIMES, noise=noise, method=method, calculus=calculus)  # pyright: ignore[reportArgumentType]
        for m in (model, model.opaque())
    ]
    assert solved[0].stats.evaluations.tolist() == solved[1].stats.evaluations.tolist()
    assert solved[0].stats.accepted.tolist() == solved[1].stats.accepted.tolist()


# Derivatives of derivatives


@cases
def test_double_backward_is_that_of_autograd(method: str, noise: str, calculus: str):
    dim = 1 if SCHEMES[method].separate and noise == "diagonal" else 2
    model = Model(noise, dim=dim, time=True)

    def curvature(model: Model) -> tuple[Tensor, ...]:
        y0 = start(3, dim)
        end = solve(model, y0, method=method, calculus=calculus)[:, -1]
        (slope,) = torch.autograd.grad(end.square().sum(), y0, create_graph=True)
        return torch.autograd.grad(slope.square().sum(), [y0, *model.parameters()])

    assert_same(curvature(model), curvature(model.opaque()))


@pytest.mark.parametrize("tied", ["the same", "a function", "the other way", "a solve before"])
def test_double_backward_where_start_and_arguments_depend_on_each_other(tied: str):
    """The derivative of the solve must end at its inputs: what lies before them is the outer graph's."""
    model = Model("diagonal", dim=2, control=2)

    def curvature(model: Model) -> tuple[Tensor, ...]:
        x = start(3, 2)
        y0, u = {
            "the same": lambda: (x, x),
            "a function": lambda: (x, x.sin()),
            "the other way": lambda: (x.sin(), x),
            "a solve before": lambda: (solve(model, x, x)[:, -1], x),
        }[tied]()
        loss = solve(model, y0, u)[:, -1].square().sum()
        slopes = torch.autograd.grad(loss, [x, *model.parameters()], create_graph=True)
        return torch.autograd.grad(
            torch.cat([slope.flatten() for slope in slopes]).square().sum(), [x, *model.parameters()]
        )

    # The second derivatives reach thousands: rounding is relative to the largest.
    for mine, theirs in zip(curvature(model), curvature(model.opaque()), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-11 * float(theirs.abs().max().clamp_min(1)))


def test_third_derivatives_agree_with_finite_differences():
    model, path = Model("diagonal", dim=1), Path("diagonal", 1, 1)

    def slope(y0: Tensor) -> Tensor:
        end = solve(model, y0, brownian=path, generator=None, step_size=None)[:, -1]
        return torch.autograd.grad(end.sum(), y0, create_graph=True)[0]

    assert torch.autograd.gradgradcheck(slope, (start(1, 1),))


# Autograd's rules


def test_backward_twice_and_memory_freed():
    model, y0 = Model("diagonal"), start()
    loss = solve(model, y0).square().sum()
    first = torch.autograd.grad(loss, [y0, *model.parameters()], retain_graph=True)
    second = torch.autograd.grad(loss, [y0, *model.parameters()])
    assert_same(first, second, rounding=0)
    with pytest.raises(RuntimeError, match="second time"):
        torch.autograd.grad(loss, [y0])


def test_the_same_fields_twice_in_one_graph():
    """Two solves, the second from the first one's end, and the fields called by themselves as well."""
    model = Model("diagonal")

    def total(model: Model) -> tuple[Tensor, ...]:
        y0 = start()
        middle = solve(model, y0)[:, -1]
        end = solve(model, middle)[:, 1]
        loss = (end * model.drift(TIMES[0], middle) * model.diffusion(TIMES[0], middle)).sum()
        return torch.autograd.grad(loss, [y0, *model.parameters()])

    assert_same(total(model), total(model.opaque()))


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_copies_have_gradients_of_their_own(copied: Any):
    model = Model("diagonal")
    loss = solve(model, start()).square().sum()
    other = copied(model)
    solve(other, start()).square().sum().backward()
    assert all(p.grad is None for p in model.parameters())
    loss.backward()
    assert_same([p.grad for p in model.parameters()], [p.grad for p in other.parameters()], rounding=0)


@cases
def test_no_grad_and_inference_mode(method: str, noise: str, calculus: str):
    dim = 1 if SCHEMES[method].separate and noise == "diagonal" else 3
    model, y0 = Model(noise, dim=dim), start(dim=dim)
    options: dict[str, Any] = {"method": method, "calculus": calculus}
    expected = solve(model, y0, **options).detach()
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            assert_same([solve(model, y0, **options)], [expected])
    # What was made in inference mode must not spoil a later gradient.
    solve(model, y0, **options).sum().backward()
    assert y0.grad is not None


def test_a_state_that_is_not_finite_is_told():
    """The walk is done again, opaquely, to name the step; its evaluations do not reach the tape."""
    model = Model("diagonal")
    with torch.no_grad():
        list(model.drift.parameters())[-1].fill_(torch.inf)
    with pytest.raises(SolveError, match="in step 1 of 24, from t=0, the drift of sample 0 is not finite"):
        solve(model, start())
    states = solve(model, start(), on_failure="nan")
    assert not torch.isfinite(states[:, 1:]).any()


@cases
@pytest.mark.parametrize("own_times", [False, True])
def test_nothing_is_made_on_another_device(
    method: str, noise: str, calculus: str, own_times: bool, swept: list[int], monkeypatch: pytest.MonkeyPatch
):
    """On the meta device no tensor of the CPU may be met and no value read."""
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda *_: False)  # which raises for the meta device
    dim = 1 if SCHEMES[method].separate and noise == "diagonal" else 3
    model = Model(noise, dim=dim, time=True).to("meta")
    times = torch.empty((5, 4) if own_times else 4, dtype=torch64, device="meta")
    y0 = torch.empty(5, dim, dtype=torch64, device="meta", requires_grad=True)
    options: dict[str, Any] = {"method": method, "calculus": calculus, "generator": None, "step_size": None}
    states = solve(model, y0, times=times, on_failure="nan", **options)
    states.sum().backward()
    assert states.is_meta
    assert all(p.grad is not None and p.grad.is_meta for p in (y0, *model.parameters()))
    assert len(swept) == 1


# What is left to autograd, and what is refused


def test_what_a_tape_cannot_give_is_left_to_autograd(swept: list[int]):
    model, y0 = Model("diagonal"), start()
    opaque = model.opaque()
    moving = TIMES.clone().requires_grad_()
    left: list[dict[str, Any]] = [
        {"times": moving},
        {"prior_drift": lambda t, y: -y},
        {"calculus": "stratonovich", "method": "reversible_heun"},
    ]
    for options in left:
        assert_same(gradients(model, y0, **options), gradients(opaque, y0, **options))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        solve(model, y0).sum().backward()
    handle = model.diffusion.layers[0].register_forward_hook(lambda *_: None)
    gradients(model, y0)
    handle.remove()

    class Doubled(MLP):
        def forward(self, t: Tensor, y: Tensor, u: Tensor | None = None) -> Tensor:
            return 2 * super().forward(t, y, u)

    model.drift = Doubled(3).double()
    assert_same(gradients(model, y0), gradients(model.opaque(), y0))
    assert not swept


def test_noise_that_requires_gradients_is_left_to_autograd(swept: list[int]):
    model = Model("diagonal")
    w = torch.randn(3, 5, 3, dtype=torch64, requires_grad=True)

    class Learned:
        def increments(self, grid: Tensor, *, area: bool = False) -> Increments:
            return Increments(w, None)

    solve(model, start(), brownian=Learned(), generator=None, step_size=None).sum().backward()
    assert w.grad is not None
    assert not swept


def test_transforms_of_functions_are_left_to_autograd(swept: list[int]):
    model, y0 = Model("diagonal"), start()

    def end(y: Tensor) -> Tensor:
        return solve(model, y)[:, -1].sum()

    (expected,) = torch.autograd.grad(end(y0), y0)
    assert len(swept) == 1
    assert_same([torch.func.grad(end)(y0.detach())], [expected])
    _, along, *_ = torch.func.jvp(end, (y0.detach(),), (torch.ones_like(y0),))
    assert_same([along], [expected.sum()])
    assert len(swept) == 1


@pytest.mark.parametrize(
    ("drift", "diffusion", "noise"),
    [
        (MLP(3), MLP(3), "scalar"),  # a vector for a matrix
        (MLP(3), MLP(3, channels=2), "diagonal"),  # a matrix for a vector
        (MLP(3), MLP(3, channels=1), "diagonal"),  # of as many numbers
        (MLP(3), MLP(3, channels=2), "scalar"),
        (MLP(3, channels=1), MLP(3), "diagonal"),
        (MLP(3), Linear(3), "general"),
    ],
)
def test_fields_of_the_wrong_shape_are_refused_as_ever(drift: nn.Module, diffusion: nn.Module, noise: Any):
    with pytest.raises(InputError, match="returned shape"):
        solve_sde(drift, diffusion, start().float().detach(), [0.0, 1.0], noise=noise)


def test_many_gradients_at_once():
    drift, diffusion = MLP(2, (5,)).double(), MLP(2, (4,), final="softplus").double()
    y0, seeds = torch.randn(3, 2, dtype=torch.float64, requires_grad=True), torch.arange(3)
    states = solve_sde(drift, diffusion, y0, [0.0, 0.5, 1.0], step_size=0.1, seeds=seeds).states
    weights = torch.randn(4, *states.shape, dtype=torch.float64)
    inputs = [y0, *drift.parameters(), *diffusion.parameters()]
    together = torch.autograd.grad(states, inputs, weights, is_grads_batched=True, retain_graph=True)
    apart = [torch.autograd.grad(states, inputs, weight, retain_graph=True) for weight in weights]
    for all_at_once, one_by_one in zip(together, zip(*apart, strict=True), strict=True):
        # The same sums in another order.
        torch.testing.assert_close(all_at_once, torch.stack(one_by_one), rtol=1e-12, atol=1e-12)
