"""The gradients that keep less than autograd does: checkpoints, the continuous adjoint and the reversible scheme."""

import copy
import importlib.util
import math
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from integrand.core.errors import InputError
from integrand.core.fields import MLP
from integrand.core.models.neural_ode import NeuralODE
from integrand.core.numerics import solve_ode
from integrand.core.numerics.field_call import BoundField
from integrand.core.numerics.gradients.reversible import solve_reversible
from integrand.core.numerics.methods.tableau import EULER, MIDPOINT, RK4, Tableau
from integrand.core.numerics.stepping.step_control import StepControl

torch64 = torch.float64
B, D = 2, 2
MODES = ("checkpoint", "adjoint", "reversible")
modes = pytest.mark.parametrize("mode", MODES)
own_times = pytest.mark.parametrize("own", [False, True], ids=["shared", "own"])

# Some eighty steps, so that checkpoints lie more than one apart.
RK4_STEPS: dict[str, Any] = {"method": "rk4", "step_size": 0.03}
TIGHT: dict[str, Any] = {"method": "dopri5", "rtol": 1e-10, "atol": 1e-12}


def solve(mode: str, field: Any, y0: Tensor, times: Tensor, args: Any = None, **options: Any) -> Tensor:
    """Return the states (B, T, D)."""
    return solve_ode(field, y0, times, args=args, gradient=mode, **options).states  # pyright: ignore[reportArgumentType]


class Driven(nn.Module):
    """y' = s tanh(W [y, u]) cos 2t - y / 4: nonlinear, non-autonomous, with an argument, a buffer and weights."""

    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(D + 1, D).double()
        self.register_buffer("scale", torch.tensor(1.3, dtype=torch64))

    def forward(self, t: Tensor, y: Tensor, u: Tensor) -> Tensor:
        turning = torch.cos(2 * t).reshape(-1, 1)
        return self.scale * torch.tanh(self.layer(torch.cat([y, u], dim=-1))) * turning - y / 4


def inputs(own: bool = False, *, backwards: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    """Return y0, args and times, all requiring gradients; two of the times lie close together."""
    y0 = torch.tensor([[0.5, -0.2], [1.0, 0.3]], dtype=torch64)
    u = torch.tensor([[0.1], [2.0]], dtype=torch64)
    times = torch.tensor([0.1, 0.5, 0.52, 1.3], dtype=torch64)
    times = times.flip(0) if backwards else times
    times = torch.stack([times, 0.8 * times + 0.3]) if own else times
    return y0.requires_grad_(), u.requires_grad_(), times.requires_grad_()


WEIGHTS = torch.linspace(-1, 1, B * 4 * D, dtype=torch64).view(B, 4, D)


def gradients(mode: str, field: Any, tensors: tuple[Tensor, Tensor, Tensor], **options: Any) -> tuple[Tensor, ...]:
    """Return those of a loss that weighs every output, for y0, args, times and the parameters of ``field``."""
    y0, u, times = tensors
    learned = field.parameters() if isinstance(field, nn.Module) else ()
    loss = (WEIGHTS * solve(mode, field, y0, times, u, **options)).sum()
    return torch.autograd.grad(loss, (*tensors, *learned))


def same(found: Any, expected: Any, bound: float) -> None:
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=bound, atol=bound)


def differences(value: Callable[[], Tensor], tensors: tuple[Tensor, ...], step: float) -> list[Tensor]:
    """Central differences of a number with respect to tensors that it is computed from."""
    found = []
    with torch.no_grad():
        for tensor in tensors:
            slopes = torch.zeros_like(tensor)
            for place in range(tensor.numel()):
                kept = tensor.view(-1)[place].item()
                ends = []
                for end in (kept + step, kept - step):
                    tensor.view(-1)[place] = end
                    ends.append(value())
                tensor.view(-1)[place] = kept
                slopes.view(-1)[place] = (ends[0] - ends[1]) / (2 * step)
            found.append(slopes)
    return found


@pytest.mark.parametrize(
    ("mode", "options", "step", "bound"),
    # A central difference of a number of size one errs by step^2, and by rounding over step: 1e-10 at 1e-5. An adaptive
    # solve moves its steps with what is varied, so that a difference sees the tolerance over the step.
    [
        ("checkpoint", {"method": "rk4", "step_size": 0.1}, 1e-5, 1e-8),
        ("checkpoint", {"method": "dopri5", "rtol": 1e-9, "atol": 1e-9}, 1e-4, 1e-5),
        ("reversible", {"method": "midpoint", "step_size": 0.1}, 1e-5, 1e-8),
        # The adjoint is not the derivative of these numbers but of the solution, from which they differ by the order of
        # h^4 times a fourth derivative of the field, 2^4 through the cosine.
        ("adjoint", {"method": "rk4", "step_size": 0.02}, 1e-5, 2**4 * 1.6e-7),
        ("adjoint", {"method": "dopri5", "rtol": 1e-9, "atol": 1e-9}, 1e-4, 1e-5),
    ],
    ids=str,
)
@own_times
def test_gradients_agree_with_finite_differences(
    mode: str, options: dict[str, Any], step: float, bound: float, own: bool
):
    """With respect to the start, the arguments, the times and every weight."""
    field, tensors = Driven(), inputs(own)
    y0, u, times = tensors

    def loss() -> Tensor:
        return (WEIGHTS * solve(mode, field, y0, times, u, **options)).sum()

    expected = differences(loss, (*tensors, *field.parameters()), step)
    same(gradients(mode, field, tensors, **options), expected, bound)


ADAPTIVE = [
    {"method": method, "rtol": tolerance, "atol": tolerance}
    for method, tolerance in (("bosh3", 1e-6), ("dopri5", 1e-9), ("tsit5", 1e-9), ("dopri8", 1e-9))
]


@pytest.mark.parametrize("options", [RK4_STEPS, {"method": "euler"}, *ADAPTIVE], ids=lambda o: o["method"])
@pytest.mark.parametrize("kind", ["module", "function", "perceptron"])
@own_times
def test_checkpoints_give_the_numbers_of_direct(options: dict[str, Any], kind: str, own: bool):
    """To the rounding of some hundred steps, also where outputs lie inside steps, and for fields of every kind."""
    module: nn.Module = Driven()
    if kind == "perceptron":  # which brings its own derivative, unless the times want one
        torch.manual_seed(0)
        module = MLP(D, (4,), time=True, control=1).double()
    y0, u, times = inputs(own)
    for wants_times in (False, True):
        times = times.detach().requires_grad_(wants_times)
        learned = (y0, u, *module.parameters(), *([times] if wants_times else []))
        field = (lambda t, y, u: module(t, y, u)) if kind == "function" else module
        found = []
        for mode in ("direct", "checkpoint"):
            states = solve(mode, field, y0, times, u, **options)
            found.append((states, *torch.autograd.grad((WEIGHTS * states).sum(), learned)))
        same(found[1], found[0], 1e-11)


@modes
@own_times
def test_decreasing_times(mode: str, own: bool):
    """Against ``direct``; adjoint and reversible scheme within what rk4 errs by: h^4 = 8e-7, times 2^4 as above."""
    field, tensors = Driven(), inputs(own, backwards=True)
    found, expected = (gradients(kind, field, tensors, **RK4_STEPS) for kind in (mode, "direct"))
    same(found, expected, 1e-11 if mode == "checkpoint" else 2**4 * 8e-7)


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("middle", [0.5, 0.4], ids=["after", "at"])
def test_jumps_of_the_field(middle: float, backwards: bool):
    """y' = a sign(t - s), whose solution a (|t - s| - |t_0 - s|) no step gets wrong that does not straddle s.

    By its own time an output moves with the slope there, or with the slope before where it lies at the jump.
    """

    class Switched(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Parameter(torch.tensor(0.7, dtype=torch64))

        def forward(self, t: Tensor, y: Tensor) -> Tensor:
            return self.a * torch.sign(t - 0.4).reshape(-1, 1).expand_as(y)

    times = torch.tensor([1.0, middle, 0.0] if backwards else [0.0, middle, 1.0], dtype=torch64)
    times.requires_grad_()
    with torch.no_grad():
        distances, slopes = (times - 0.4).abs(), torch.sign(times - 0.4)
        slopes[1] = slopes[0] if middle == 0.4 else slopes[1]
        by_a = (distances[1] - distances[0]) + 2 * (distances[2] - distances[0])
        by_times = 0.7 * slopes * torch.tensor([-3.0, 1.0, 2.0])
    for mode in ("direct", "checkpoint", "adjoint"):
        field, y0 = Switched(), torch.zeros(1, 1, dtype=torch64)
        states = solve(mode, field, y0, times, control=StepControl(jump_times=(0.4,)), **TIGHT)[0, :, 0]
        same(torch.autograd.grad(states[1] + 2 * states[2], (field.a, times)), (by_a, by_times), 1e-12)


@modes
def test_complex_states(mode: str):
    """y = y0 exp((i w - r) t) with real w and r learned: d|y|^2/dr = -2 t |y|^2, d Re(y)/dw = -t Im(y)."""

    class Turning(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.r, self.w = (nn.Parameter(torch.tensor(x, dtype=torch64)) for x in (0.3, 1.7))

        def forward(self, t: Tensor, y: Tensor) -> Tensor:
            return torch.complex(-self.r, self.w) * y

    field, times = Turning(), torch.tensor([0.0, 0.8], dtype=torch64)
    y0 = torch.tensor([[1 + 0.5j]], dtype=torch.complex128, requires_grad=True)
    y = solve(mode, field, y0, times, method="rk4", step_size=0.005)[0, -1, 0]
    exact = y0.detach()[0, 0] * torch.exp(torch.complex(-field.r, field.w).detach() * 0.8)
    (by_r,) = torch.autograd.grad(y.abs().square(), field.r, retain_graph=True)
    by_w, by_y0 = torch.autograd.grad(y.real, (field.w, y0))
    # Within rk4's error: (0.005 |1.7i - 0.3|)^4 = 6e-9, of numbers of size one.
    expected = (-1.6 * exact.abs() ** 2, -0.8 * exact.imag, (exact / y0.detach()[0, 0]).conj().reshape(1, 1))
    same((by_r, by_w, by_y0), expected, 6e-9)


# What is learned, and what is not.


@modes
def test_frozen_weights_get_none_and_change_nothing(mode: str):
    field, tensors = Driven(), inputs()
    expected = gradients(mode, field, tensors, **RK4_STEPS)
    field.layer.weight.requires_grad_(False)
    y0, u, times = (tensor.detach() for tensor in tensors)  # nothing but the bias asks for a gradient
    (WEIGHTS * solve(mode, field, y0, times, u, **RK4_STEPS)).sum().backward()
    assert field.layer.weight.grad is None
    torch.testing.assert_close(field.layer.bias.grad, expected[-1], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("mode", ["adjoint", "reversible"])
def test_a_field_whose_parameters_cannot_be_known_is_refused(mode: str):
    field, (y0, u, times) = Driven(), inputs()
    with pytest.raises(InputError, match=f"gradient='{mode}' needs the field to be a torch.nn.Module") as caught:
        solve(mode, lambda t, y, u: field(t, y, u), y0, times, u, **RK4_STEPS)
    assert "\n" not in str(caught.value)
    assert solve(mode, field.forward, y0, times, u, **RK4_STEPS).requires_grad  # a method of a module will do

    class Lender(nn.Module):
        """Uses weights that are not its own."""

        def forward(self, t: Tensor, y: Tensor, u: Tensor) -> Tensor:
            return field(t, y, u)

    with pytest.raises(InputError, match="to be its parameters or args"):
        solve(mode, Lender(), y0, times, u, **RK4_STEPS)


def test_checkpoints_find_weights_wherever_they_are():
    """A module that uses another's weights, and a function of weights that are themselves computed."""
    field, tensors = Driven(), inputs()
    expected = gradients("direct", field, tensors, **RK4_STEPS)
    y0, u, times = tensors

    class Lender(nn.Module):
        def forward(self, t: Tensor, y: Tensor, u: Tensor) -> Tensor:
            return field(t, y, u)

    names, weights = zip(*field.named_parameters(), strict=True)
    halves = [(weight / 2).detach().requires_grad_() for weight in weights]
    doubled = dict(zip(names, [2 * half for half in halves], strict=True))

    def call(t: Tensor, y: Tensor, u: Tensor) -> Tensor:
        return torch.func.functional_call(field, doubled, (t, y, u))

    for asked, learned, factor in ((Lender(), weights, 1), (call, halves, 2)):
        loss = (WEIGHTS * solve("checkpoint", asked, y0, times, u, **RK4_STEPS)).sum()
        found = torch.autograd.grad(loss, (*tensors, *learned))
        same(found, (*expected[:3], *(factor * by for by in expected[3:])), 1e-11)


@modes
def test_weights_changed_between_the_way_there_and_back_are_noticed(mode: str):
    field, (y0, u, times) = Driven(), inputs()
    states = solve(mode, field, y0, times, u, **RK4_STEPS)
    with torch.no_grad():
        field.layer.weight.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        states.sum().backward()


# The graph.


@modes
def test_the_solve_is_one_node_and_tells_each_weight_once(mode: str):
    """As DistributedDataParallel expects: it reduces a weight's gradient when the weight is told of it."""
    field, (y0, u, times) = Driven(), inputs()
    told: list[str] = []
    for name, parameter in field.named_parameters():
        parameter.register_post_accumulate_grad_hook(lambda _, name=name: told.append(name))
    states = solve(mode, field, y0, times, u, **RK4_STEPS)
    nodes, waiting = set(), [states.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in nodes:
            nodes.add(node)
            waiting.extend(edge for edge, _ in node.next_functions)
    leaves = 3 + len(list(field.parameters()))
    assert len(nodes) <= 1 + leaves + 2  # times may be converted on the way
    states.sum().backward()
    assert sorted(told) == ["layer.bias", "layer.weight"]


@modes
def test_going_back_twice_gives_the_same_twice(mode: str):
    field, (y0, u, times) = Driven(), inputs()
    states = solve(mode, field, y0, times, u, **RK4_STEPS)
    learned = (y0, u, times, *field.parameters())
    first = torch.autograd.grad(states.square().sum(), learned, retain_graph=True)
    second = torch.autograd.grad(states.square().sum(), learned)
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one, other)


@modes
def test_two_solves_in_one_graph(mode: str):
    """The second goes on where the first ends, which is one solve over both spans of the same steps."""
    field, (y0, u, _) = Driven(), inputs()
    times = torch.tensor([0.0, 0.5, 1.0], dtype=torch64)
    options = {"method": "rk4", "step_size": 0.5 / 40}
    learned = (y0, u, *field.parameters())
    middle = solve(mode, field, y0, times[:2], u, **options)[:, -1]
    twice = torch.autograd.grad(solve(mode, field, middle, times[1:], u, **options)[:, -1].square().sum(), learned)
    once = torch.autograd.grad(solve(mode, field, y0, times, u, **options)[:, -1].square().sum(), learned)
    same(twice, once, 1e-12)


@modes
def test_where_no_gradient_is_recorded(mode: str):
    field, (y0, u, times) = Driven(), inputs()
    recorded = solve(mode, field, y0, times, u, **RK4_STEPS)
    for quiet in (torch.no_grad, torch.inference_mode):
        with quiet():
            states = solve(mode, field, y0, times, u, **RK4_STEPS)
        assert not states.requires_grad
        # The length of a step is a number here, and a tensor where times want a gradient: another rounding.
        torch.testing.assert_close(states, recorded.detach(), rtol=1e-13, atol=1e-13)
    field.requires_grad_(False)
    assert not solve(mode, field, y0.detach(), times.detach(), u.detach(), **RK4_STEPS).requires_grad


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
@modes
def test_copies_of_a_neural_ode(mode: Any, copied: Callable[[nn.Module], nn.Module]):
    torch.manual_seed(0)
    model = NeuralODE(MLP(D, (4,), time=True), method="rk4", step_size=0.1, gradient=mode)
    y0, times = torch.randn(3, D), torch.linspace(0, 1, 3)
    model(y0, times).states.sum().backward()  # a copy made after use
    other = copied(model)
    other.zero_grad()
    other(y0, times).states.sum().backward()
    for mine, theirs in zip(model.parameters(), other.parameters(), strict=True):
        assert mine is not theirs
        assert theirs.grad is not None
        assert torch.equal(mine.grad, theirs.grad)  # pyright: ignore[reportArgumentType]


@modes
def test_autocast_is_as_it_was_on_the_way_back(mode: str):
    """The field runs in bfloat16 there and back, so gradients carry its eight bits, and agree to half of them."""
    torch.manual_seed(0)
    field, types = MLP(D, (16,)), set()
    field.layers[0].register_forward_hook(lambda module, given, made: types.add(made.dtype))
    y0, times = torch.randn(4, D), torch.linspace(0, 1, 3)
    exact = torch.autograd.grad(solve(mode, field, y0, times, method="rk4").square().sum(), tuple(field.parameters()))
    types.clear()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        states = solve(mode, field, y0, times, method="rk4")
        plain = field(times[0], y0)  # the weights that autocast has at hand still know where they come from
    found = torch.autograd.grad(states.square().sum(), tuple(field.parameters()))
    assert types == {torch.bfloat16}
    assert states.dtype == torch.float32
    assert plain.requires_grad
    for one, other in zip(found, exact, strict=True):
        assert (one - other).norm() < 2**-4 * other.norm()


@pytest.mark.parametrize("mode", ["checkpoint", "reversible"])
def test_second_derivatives(mode: str):
    """Those of the same scheme done again, against finite differences of the first."""
    field = Driven()
    y0, u, times = (tensor[:1] if i < 2 else tensor for i, tensor in enumerate(inputs()))
    y0, u, times = (tensor.detach().requires_grad_() for tensor in (y0, u, times))

    def states(y0: Tensor, u: Tensor, times: Tensor) -> Tensor:
        return solve(mode, field, y0, times, u, method="midpoint", step_size=0.2)

    assert torch.autograd.gradgradcheck(states, (y0, u, times))


@pytest.mark.parametrize("mode", ["checkpoint", "reversible"])
def test_many_gradients_at_once(mode: str):
    """Rows of a Jacobian in one go back, as ``torch.autograd.functional.jacobian(vectorize=True)`` asks for them."""
    field, (y0, u, times) = Driven(), inputs()
    last = solve(mode, field, y0, times, u, **RK4_STEPS)[0, -1]
    rows = [torch.autograd.grad(entry, (y0, u, times), retain_graph=True) for entry in last]
    found = torch.autograd.grad(last, (y0, u, times), torch.eye(D, dtype=torch64), is_grads_batched=True)
    same(found, [torch.stack(parts) for parts in zip(*rows, strict=True)], 1e-11)


def test_the_adjoint_has_no_second_derivatives_and_says_so():
    field, (y0, u, times) = Driven(), inputs()
    states = solve("adjoint", field, y0, times, u, **RK4_STEPS)
    (slope,) = torch.autograd.grad(states.sum(), y0, create_graph=True)  # a first one with a graph is none yet
    with pytest.raises(InputError, match="gradient='adjoint' has no second derivatives: take gradient='direct'"):
        slope.sum().backward()


# Solves that fail.


def test_outputs_before_a_failure_keep_their_gradients():
    """y' = y^2 from 1 leaves at t = 1; y(0.5) = y0 / (1 - y0 / 2) has the derivative 1 / (1 - y0 / 2)^2 = 4."""

    class Square(nn.Module):
        def forward(self, t: Tensor, y: Tensor) -> Tensor:
            return y.square()

    times = torch.tensor([0.0, 0.5, 2.0], dtype=torch64)
    for mode in ("direct", "checkpoint", "adjoint"):
        y0 = torch.ones(B, 1, dtype=torch64, requires_grad=True)
        states = solve(mode, Square(), y0, times, on_failure="nan", **TIGHT)
        assert torch.isnan(states[:, 2]).all()
        (by_y0,) = torch.autograd.grad(states[:, 1].sum(), y0)
        torch.testing.assert_close(by_y0, torch.full_like(y0, 4.0), rtol=1e-7, atol=0)
    found = []
    for mode in ("direct", "checkpoint"):
        y0 = torch.ones(B, 1, dtype=torch64, requires_grad=True)
        states = solve(mode, Square(), y0, times, on_failure="last", method="dopri5", max_steps=12)
        found.append((states, *torch.autograd.grad(states[:, 2].sum(), y0)))
    same(found[1], found[0], 1e-9)  # near the pole rounding grows by y^2
    with pytest.raises(InputError, match="on_failure='last' has no derivative with gradient='adjoint'"):
        solve("adjoint", Square(), torch.ones(B, 1, dtype=torch64), times, on_failure="last", **TIGHT)


# The continuous adjoint.


@own_times
def test_the_error_of_the_adjoint_falls_with_the_tolerance(own: bool):
    """Its gradient, that of the steps and that of the solution differ by the solver's error.

    That is, by some steps' tolerances each, and in proportion to the tolerance, within a factor of ten over four
    decades, as the states themselves are. The gradients of times are compared with the solution's alone: the steps'
    is the slope of dense output, which is of lower order.
    """
    field, tensors = Driven(), inputs(own)
    solution = gradients("direct", field, tensors, method="dopri8", rtol=1e-13, atol=1e-13)
    from_steps, from_solution = [], []
    tolerances = (1e-6, 1e-8, 1e-10)
    for tolerance in tolerances:
        options = {"method": "dopri5", "rtol": tolerance, "atol": tolerance}
        found, steps = (gradients(mode, field, tensors, **options) for mode in ("adjoint", "direct"))
        from_solution.append(max((one - other).abs().max().item() for one, other in zip(found, solution, strict=True)))
        pairs = [pair for i, pair in enumerate(zip(found, steps, strict=True)) if i != 2]
        from_steps.append(max((one - other).abs().max().item() for one, other in pairs))
    for gaps in (from_steps, from_solution):
        assert all(gap < 30 * tolerance for gap, tolerance in zip(gaps, tolerances, strict=True))
        assert 0.1 < (gaps[0] / gaps[-1]) / 1e4 < 10


def test_the_error_of_the_adjoint_with_equal_steps_is_of_the_methods_order():
    field, tensors = Driven(), inputs()
    exact = gradients("direct", field, tensors, method="dopri8", rtol=1e-13, atol=1e-13)
    errors = []
    for step in (0.02, 0.01):
        found = gradients("adjoint", field, tensors, method="rk4", step_size=step)
        errors.append(max((one - other).norm().item() for one, other in zip(found, exact, strict=True)))
    assert math.log2(errors[0] / errors[1]) == pytest.approx(4, abs=0.1)


def test_the_adjoint_of_a_smaller_loss_is_the_same_but_smaller():
    """Its equation is linear, and so is the way it is solved: exactly, by a power of two."""
    field, (y0, u, times) = Driven(), inputs()
    states = solve("adjoint", field, y0, times, u, method="dopri5", rtol=1e-4, atol=1e-4)
    learned = (y0, u, times, *field.parameters())
    large, small = (
        torch.autograd.grad(factor * states.square().sum(), learned, retain_graph=True) for factor in (1.0, 2.0**-40)
    )
    for one, other in zip(large, small, strict=True):
        assert torch.equal(one * 2.0**-40, other)


def test_the_adjoint_sees_what_a_field_at_rest_is_driven_by():
    """y' = w sin 40 t with w = 0: dy(2)/dw = (1 - cos 80) / 40, though y and a do not move, and steps could be long."""

    class AtRest(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.zeros(1, dtype=torch64))

        def forward(self, t: Tensor, y: Tensor) -> Tensor:
            return self.w * torch.sin(40 * t).reshape(-1, 1).expand_as(y)

    field, times = AtRest(), torch.tensor([0.0, 2.0], dtype=torch64)
    solve("adjoint", field, torch.ones(1, 1, dtype=torch64), times, rtol=1e-6, atol=1e-6)[0, -1, 0].backward()
    # Some fifty steps, each within ten tolerances.
    assert field.w.grad is not None
    assert abs(field.w.grad.item() - (1 - math.cos(80)) / 40) < 50 * 10 * 1e-6


# The reversible scheme.


class Bound(nn.Module):
    """A field as a module."""

    def __init__(self, field: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.field = field

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return self.field(t, y)


def reversible(field: nn.Module, y0: Tensor, times: Tensor, table: Tableau, steps: int, **options: Any) -> Tensor:
    return solve_reversible(BoundField(field, None, len(y0)), y0, times, table, steps, **options)


@pytest.mark.parametrize("steps", [1, 2, 50])
@own_times
def test_reversible_gradients_are_those_of_the_scheme(steps: int, own: bool):
    """The scheme as the paper gives it, written out for rk4, and differentiated by autograd.

    The way back keeps three quarters of the digits, which are twelve, of steps whose own rounding is a hundredfold.
    """
    field, (y0, u, times) = Driven(), inputs(own)
    coupling = torch.finfo(torch64).eps ** (1 / (4 * steps))

    def increment(t: Tensor, h: Tensor, y: Tensor) -> Tensor:
        wide = h.reshape(-1, 1)
        k1 = field(t, y, u)
        k2 = field(t + h / 2, y + wide / 2 * k1, u)
        k3 = field(t + h / 2, y + wide / 2 * k2, u)
        k4 = field(t + h, y + wide * k3, u)
        return wide * (k1 + 2 * k2 + 2 * k3 + k4) / 6

    y, states = y0, [y0]
    for start, width in zip(times.unbind(-1), times.diff(dim=-1).unbind(-1), strict=False):
        z, h = y, width / steps
        for n in range(steps):
            t = start + n * h
            y = coupling * y + (1 - coupling) * z + increment(t, h, z)
            z = z - increment(t + h, -h, y)
        states.append(y)
    learned = (y0, u, times, *field.parameters())
    expected = torch.autograd.grad((WEIGHTS * torch.stack(states, dim=1)).sum(), learned)
    made = solve_reversible(BoundField(field, u, B), y0, times, RK4, steps)
    torch.testing.assert_close(made, torch.stack(states, dim=1), rtol=1e-13, atol=1e-13)
    same(torch.autograd.grad((WEIGHTS * made).sum(), learned), expected, 1e-10)


@pytest.mark.parametrize(("table", "steps"), [(EULER, 800), (MIDPOINT, 400), (RK4, 80)], ids=lambda v: str(v)[:20])
def test_the_reversible_scheme_has_the_order_of_its_method(table: Tableau, steps: int):
    """On y' = -2 t y^2, whose solution is 1 / (1 + t^2)."""
    field = Bound(lambda t, y: -2 * t * y.square())
    y0, times = torch.ones(1, 1, dtype=torch64), torch.tensor([0.0, 2.0], dtype=torch64)
    with torch.no_grad():
        errors = [abs(reversible(field, y0, times, table, n)[0, -1, 0].item() - 1 / 5) for n in (steps, 2 * steps)]
    assert math.log2(errors[0] / errors[1]) == pytest.approx(table.order, abs=0.1)


def test_with_one_step_between_outputs_the_reversible_scheme_is_the_method():
    field, tensors = Driven(), inputs()
    found, expected = (gradients(mode, field, tensors, method="rk4") for mode in ("reversible", "direct"))
    same(found, expected, 1e-14)


def test_the_coupling_chosen_holds_contraction_down():
    """y' = -y over eight time constants, where the distance of z from y would grow three-thousandfold.

    With the coupling chosen, errors stay within ten of the method's own; with one near 1 they do not.
    """
    field = Bound(lambda t, y: -y)
    y0, times = torch.ones(1, 1, dtype=torch64), torch.tensor([0.0, 8.0], dtype=torch64)

    def err(states: Tensor) -> float:
        return abs(states[0, -1, 0].item() - math.exp(-8))

    with torch.no_grad():
        own = err(solve("direct", field, y0, times, method="rk4", step_size=0.16))
        assert err(reversible(field, y0, times, RK4, 50)) < 10 * own
        assert err(reversible(field, y0, times, RK4, 50, coupling=0.99)) > 1000 * own
    for wrong in (0.0, 1.0, math.nan):
        with pytest.raises(InputError, match=r"coupling=.* must lie between 0 and 1"):
            reversible(field, y0, times, RK4, 50, coupling=wrong)


@pytest.mark.parametrize("kind", [torch.float64, torch.float32])
def test_many_steps_are_found_again(kind: torch.dtype):
    """On a pendulum, whose states neither grow nor shrink: against autograd's derivative of the same 300 steps.

    The way back loses a quarter of the digits, and each step rounds some twenty times: a hundred of what is left.
    """
    field = Bound(lambda t, y: torch.stack([y[:, 1], -torch.sin(y[:, 0])], dim=-1))
    y0 = torch.tensor([[1.0, 0.2]], dtype=kind, requires_grad=True)
    last = reversible(field, y0, torch.tensor([0.0, 10.0], dtype=kind), RK4, 300)[0, -1].square().sum()
    (exact,) = torch.autograd.grad(last, y0, create_graph=True)  # which goes through the steps again
    (found,) = torch.autograd.grad(last, y0)
    assert not torch.equal(found, exact)
    assert (found - exact).norm() < 100 * torch.finfo(kind).eps ** 0.75 * exact.norm()


def test_adaptive_steps_are_refused_by_the_reversible_scheme():
    field, (y0, u, times) = Driven(), inputs()
    with pytest.raises(InputError, match="gradient='reversible' takes fixed steps: give step_size"):
        solve("reversible", field, y0, times, u, method="dopri5")


# What is held in memory, counted and not timed.


@pytest.fixture(scope="module")
def memory() -> Any:
    """The benchmark, loaded as it is found when run."""
    folder = Path(__file__).parents[2] / "benchmarks"
    loaded: dict[str, ModuleType] = {}
    for name in ("rows", "memory"):
        spec = importlib.util.spec_from_file_location(name, folder / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        loaded[name] = importlib.util.module_from_spec(spec)
        sys.modules[name] = loaded[name]
        spec.loader.exec_module(loaded[name])
    yield loaded["memory"]
    for name in loaded:
        del sys.modules[name]


def test_live_bytes_counts_what_is_alive(memory: Any):
    with memory.LiveBytes() as live:
        a = torch.ones(1000)
        b = a.view(10, 100)[2:] * 2  # views cost nothing
        assert live.now == 4 * (1000 + 800)
        del a
        assert live.now == 4 * 800
        torch.ones(50).add_(1)
    assert live.now == 4 * 800
    assert live.peak == 4 * (1000 + 800)
    del b
    assert live.now == 0


class Wide(nn.Module):
    """A field whose graph outweighs its states."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.into, self.out = nn.Linear(D, 16), nn.Linear(16, D)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return self.out(torch.tanh(self.into(y)))


def held(memory: Any, mode: str, steps: int) -> int:
    field, y0 = Wide(), torch.ones(32, D)
    with memory.LiveBytes() as live:
        states = solve(mode, field, y0, torch.tensor([0.0, 1.0]), method="rk4", step_size=1 / steps)
        states.square().sum().backward()
    return live.peak


@pytest.mark.parametrize("mode", ["adjoint", "reversible"])
def test_memory_does_not_grow_with_the_steps(memory: Any, mode: str):
    assert held(memory, mode, 16) == held(memory, mode, 64)


def test_memory_of_checkpoints_grows_with_the_root_of_the_steps(memory: Any):
    """Within 3 of sqrt(N) (S + G) and of 2 sqrt(N S G), with S bytes to a state and G to what direct adds a step."""
    few, more = held(memory, "direct", 10), held(memory, "direct", 20)
    state, graph = 4 * 32 * D, (more - few) / 10
    assert graph > 10 * state
    for steps in (64, 400):
        peak = held(memory, "checkpoint", steps)
        assert peak < 3 * math.sqrt(steps) * (state + graph)
        assert peak < 3 * 2 * math.sqrt(steps * state * graph)
