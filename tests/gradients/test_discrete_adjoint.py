"""The fused gradient of fields that give their own vector-Jacobian product, against autograd through the same steps."""

import copy
import pickle
from typing import Any

import pytest
import torch
from autograd_oracle import Opaque, assert_same
from torch import Tensor, nn

from integrand.core.fields import MLP, Linear, PeriodicForcing
from integrand.core.fields.activations import KERNELS
from integrand.core.fields.mlp import ACTIVATIONS
from integrand.core.numerics import solve_ode
from integrand.core.numerics.field_call import BoundField
from integrand.core.numerics.gradients.tape import open_tape
from integrand.core.numerics.stepping.step_control import StepControl

torch64 = torch.float64
TIMES = torch.tensor([0.0, 0.4, 0.5, 1.7], dtype=torch64)
SOLVES: list[dict[str, Any]] = [
    {"method": "euler"},
    {"method": "rk4", "step_size": 0.3},
    {"method": "dopri5", "step_size": 0.3},
    {"method": "bosh3", "rtol": 1e-4},
    {"method": "dopri5", "rtol": 1e-6},
    {"method": "tsit5", "rtol": 1e-6},
    {"method": "dopri8", "rtol": 1e-8},
]
solves = pytest.mark.parametrize("options", SOLVES, ids=lambda o: "-".join(str(value) for value in o.values()))


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def start(batch: int = 5, dim: int = 3) -> Tensor:
    return torch.randn(batch, dim, dtype=torch64, generator=torch.Generator().manual_seed(1)).requires_grad_()


def gradients(
    field: nn.Module, y0: Tensor, args: Tensor | None = None, times: Tensor = TIMES, **options
) -> list[Tensor]:
    """Gradients of a weighted sum of all states, so that every output counts."""
    states = solve_ode(field, y0, times, args=args, **options).states
    weights = torch.linspace(-1, 2, states.numel(), dtype=torch64).view_as(states)
    inputs = [y0, *([] if args is None else [args]), *(p for p in field.parameters() if p.requires_grad)]
    return [states.detach(), *torch.autograd.grad((weights * states.sin()).sum(), inputs)]


@solves
@pytest.mark.parametrize("own_times", [False, True])
@pytest.mark.parametrize("time", [False, True])
def test_equals_autograd_for_every_method(options, time: bool, own_times: bool, swept):
    field = MLP(3, (8, 7), time=time).double()
    times = TIMES * torch.linspace(0.5, 1.0, 5, dtype=torch64).unsqueeze(1) if own_times else TIMES
    assert_same(
        gradients(field, start(), times=times, **options), gradients(Opaque(field), start(), times=times, **options)
    )
    assert len(swept) == 1


@pytest.mark.parametrize("final", [None, "tanh", "silu"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_equals_autograd_for_every_activation(activation: str, final: str | None, swept):
    """tanh and elu keep their output, the others their input: every pairing with a last one of either kind."""
    field = MLP(3, (8, 7), activation=activation, time=True, control=2, final=final).double()
    control = torch.randn(5, 2, dtype=torch64, requires_grad=True)
    options = {"method": "dopri5", "rtol": 1e-5}
    assert_same(gradients(field, start(), control, **options), gradients(Opaque(field), start(), control, **options))
    assert len(swept) == 1


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("hidden", [(), (6,)])
def test_equals_autograd_for_linear_fields(hidden: tuple[int, ...], bias: bool, swept):
    field = (MLP(3, hidden) if hidden else Linear(3, bias=bias)).double()
    assert_same(gradients(field, start(), method="rk4"), gradients(Opaque(field), start(), method="rk4"))
    assert len(swept) == 1


@pytest.mark.parametrize("learned_phase", [False, True])
def test_a_forced_field_passes_its_harmonics_on(learned_phase: bool, swept):
    field = PeriodicForcing(MLP(3, (8,), control=4), [1.5, 0.4]).double()
    field.frequency = field.frequency.double()
    phase = torch.randn(5, 2, dtype=torch64, requires_grad=learned_phase)

    def both(field: nn.Module) -> list[Tensor]:
        y0 = start()
        states = solve_ode(field, y0, TIMES, args=phase, method="rk4", step_size=0.2).states
        inputs = [y0, *([phase] if learned_phase else []), *field.parameters()]
        return [states.detach(), *torch.autograd.grad(states.sin().sum(), inputs)]

    assert_same(both(field), both(Opaque(field)))
    assert len(swept) == (0 if learned_phase else 1)


def test_a_long_solve_fills_many_blocks(swept):
    field = MLP(3, (8,)).double()
    options: dict[str, Any] = {"method": "rk4", "step_size": 0.003}  # 567 steps of 4 stages
    y0 = start(batch=40)
    assert_same(gradients(field, y0, **options), gradients(Opaque(field), y0, **options), rounding=1e-9)
    assert len(swept) == 1


def test_refused_steps_leave_no_trace(swept):
    """A first step far too long is refused several times; its evaluations must not reach the gradient."""
    field = MLP(3, (8,)).double()
    options: dict[str, Any] = {"method": "dopri5", "rtol": 1e-9, "atol": 1e-9, "control": StepControl(first_step=1.7)}
    assert int(solve_ode(field, start(), TIMES, **options).stats.rejected[0]) >= 1
    assert_same(gradients(field, start(), **options), gradients(Opaque(field), start(), **options))
    assert len(swept) == 1


@solves
def test_against_finite_differences(options):
    field = MLP(2, (4,), time=True, control=1).double()
    y0, control = start(2, 2), torch.randn(2, 1, dtype=torch64, requires_grad=True)

    def states(y0: Tensor, control: Tensor, *_: Tensor) -> Tensor:
        return solve_ode(field, y0, TIMES, args=control, **options).states

    # The steps of an adaptive method move with the input, by less than the tolerance's share of the answer.
    loose: dict[str, Any] = {"atol": 1e-3, "rtol": 1e-3} if "rtol" in options else {}
    torch.autograd.gradcheck(states, (y0, control, *field.parameters()), **loose)


def test_double_backward_is_that_of_autograd():
    field = MLP(2, (5,), time=True).double()

    def curvature(field: nn.Module) -> tuple[Tensor, ...]:
        y0 = start(3, 2)
        end = solve_ode(field, y0, TIMES, method="rk4").states[:, -1]
        (slope,) = torch.autograd.grad(end.square().sum(), y0, create_graph=True)
        return torch.autograd.grad(slope.square().sum(), [y0, *field.parameters()])

    assert_same(list(curvature(field)), list(curvature(Opaque(field))))
    torch.autograd.gradgradcheck(
        lambda y: solve_ode(field, y, TIMES, method="dopri5", step_size=0.5).states, (start(2, 2),)
    )


def test_double_backward_where_start_arguments_and_parameters_depend_on_each_other():
    """The start is the network's own output, and the arguments are the start: no path may count twice."""
    field = MLP(2, (5,), control=2).double()
    x = start(3, 2)

    def curvature(field: nn.Module, gradient: Any = "direct") -> list[Tensor]:
        y0 = x * field(TIMES[0], x, x)
        end = solve_ode(field, y0, TIMES, args=2 * y0, method="rk4", gradient=gradient).states[:, -1]
        slopes = torch.autograd.grad(end.square().sum(), [x, *field.parameters()], create_graph=True)
        total = torch.stack([slope.square().sum() for slope in slopes]).sum()
        return [*slopes, *torch.autograd.grad(total, [x, *field.parameters()])]

    assert_same(curvature(field), curvature(Opaque(field)), rounding=1e-10)
    assert_same(curvature(field, "checkpoint"), curvature(Opaque(field)), rounding=1e-10)
    # The reversible scheme is another one, so only its own derivative is at hand: by differences along x.
    value, nudge = curvature(field, "reversible"), 1e-5
    with torch.no_grad():
        x += nudge
        ahead = curvature_sum(curvature, field)
        x -= 2 * nudge
        behind = curvature_sum(curvature, field)
        x += nudge
    slopes = len(value) // 2
    # Central differences: nudge^2 of a third derivative of size ten, and rounding of 1e-16 over the nudge.
    torch.testing.assert_close(value[slopes].sum(), (ahead - behind) / (2 * nudge), rtol=1e-6, atol=1e-6)


def curvature_sum(curvature: Any, field: nn.Module) -> Tensor:
    """The sum that ``curvature`` differentiates a second time, by the reversible scheme."""
    with torch.enable_grad():
        slopes = curvature(field, "reversible")
    return torch.stack([slope.square().sum() for slope in slopes[: len(slopes) // 2]]).sum().detach()


def test_backward_twice_and_memory_freed():
    field, y0 = MLP(3, (8,)).double(), start()
    loss = solve_ode(field, y0, TIMES, method="rk4").states.square().sum()
    first = torch.autograd.grad(loss, [y0, *field.parameters()], retain_graph=True)
    second = torch.autograd.grad(loss, [y0, *field.parameters()])
    assert_same(list(first), list(second), rounding=0)
    with pytest.raises(RuntimeError, match="second time"):
        torch.autograd.grad(loss, [y0])


def test_frozen_parameters_buffers_and_inputs_without_gradients(swept):
    field = MLP(3, (8, 7)).double()
    field.layers[0].requires_grad_(False)
    assert_same(gradients(field, start(), method="rk4"), gradients(Opaque(field), start(), method="rk4"))
    field.requires_grad_(False)
    assert_same(gradients(field, start(), method="rk4"), gradients(Opaque(field), start(), method="rk4"))
    assert len(swept) == 2
    states = solve_ode(field, start().detach(), TIMES, method="rk4").states
    assert not states.requires_grad


def test_the_same_field_twice_in_one_graph():
    """Two solves, the second from the first one's end, and the field called by itself as well."""
    field = MLP(3, (8,)).double()

    def total(field: nn.Module, y0: Tensor) -> list[Tensor]:
        middle = solve_ode(field, y0, TIMES, method="rk4").states[:, -1]
        end = solve_ode(field, middle, TIMES, method="dopri5").states[:, 1]
        loss = (end * field(TIMES[0], middle)).sum()
        return list(torch.autograd.grad(loss, [y0, *field.parameters()]))

    assert_same(total(field, start()), total(Opaque(field), start()))


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda field: pickle.loads(pickle.dumps(field))])
def test_copies_have_gradients_of_their_own(copied):
    field = MLP(3, (8,)).double()
    loss = solve_ode(field, start(), TIMES, method="rk4").states.square().sum()
    other = copied(field)
    solve_ode(other, start(), TIMES, method="rk4").states.square().sum().backward()
    assert all(p.grad is None for p in field.parameters())
    loss.backward()
    assert_same([p.grad for p in field.parameters()], [p.grad for p in other.parameters()], rounding=0)  # pyright: ignore[reportArgumentType]


def test_no_grad_and_inference_mode():
    field, y0 = MLP(3, (8,)).double(), start()
    expected = solve_ode(field, y0, TIMES, method="dopri5").states.detach()
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            # One sum of products instead of several sums: rounding.
            torch.testing.assert_close(solve_ode(field, y0, TIMES, method="dopri5").states, expected)
    # What was made in inference mode must not spoil a later gradient.
    solve_ode(field, y0, TIMES, method="dopri5").states.sum().backward()
    assert y0.grad is not None


def test_what_a_tape_cannot_give_is_left_to_autograd(swept):
    field, y0 = MLP(3, (8,)).double(), start()
    bound = BoundField(field, None, 5)
    assert open_tape(bound, y0, TIMES) is not None
    assert open_tape(bound, y0, TIMES.clone().requires_grad_()) is None
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert open_tape(bound, y0, TIMES) is None
    assert open_tape(bound, y0.float(), TIMES) is None
    handle = field.layers[0].register_forward_hook(lambda *_: None)
    assert open_tape(bound, y0, TIMES) is None
    handle.remove()
    weights: dict[str, Tensor] = {**dict(field.named_parameters())}

    def end(y: Tensor, weights: dict[str, Tensor]) -> Tensor:
        def call(t: Tensor, state: Tensor) -> Tensor:
            return torch.func.functional_call(field, weights, (t, state))

        return solve_ode(call, y, TIMES, method="rk4").states[:, -1].sum()

    with torch.no_grad():
        assert not swept
    vectorised = torch.func.grad(lambda y: end(y, weights))(y0.detach())
    assert_same([vectorised], [gradients_of_end(field, y0)])
    tangent = torch.ones_like(y0)
    forward: Any = torch.func.jvp(
        lambda y: solve_ode(field, y, TIMES, method="rk4").states[:, -1].sum(), (y0.detach(),), (tangent,)
    )[1]
    assert_same([forward], [(vectorised * tangent).sum()])


def gradients_of_end(field: nn.Module, y0: Tensor) -> Tensor:
    return torch.autograd.grad(solve_ode(field, y0, TIMES, method="rk4").states[:, -1].sum(), y0)[0]


def test_parametrised_weights_and_subclasses_are_left_to_autograd():
    field = MLP(3, (8,)).double()
    torch.nn.utils.parametrizations.weight_norm(field.layers[0])
    assert field.open_tape(start(), None) is None
    gradients(field, start(), method="rk4")

    class Doubled(MLP):
        def forward(self, t: Tensor, y: Tensor, u: Tensor | None = None) -> Tensor:
            return 2 * super().forward(t, y, u)

    assert Doubled(3).double().open_tape(start(), None) is None


def test_large_evaluations_by_joint_kernels_equal_autograd(monkeypatch):
    """A layer and its tanh in one kernel of single precision, over refused steps, with any other kind of layer."""
    joined = []
    tanh = KERNELS[nn.Tanh]
    assert tanh.of_linear is not None
    of_linear = tanh.of_linear
    counting = tanh._replace(of_linear=lambda *given: joined.append(1) or of_linear(*given))
    monkeypatch.setitem(KERNELS, nn.Tanh, counting)
    y0 = torch.randn(512, 3, requires_grad=True)
    times = torch.tensor([0.0, 0.4, 1.5])
    kinds: list[dict[str, Any]] = [{}, {"time": True}, {"final": "tanh"}, {"final": "softplus"}]
    for kind in kinds:
        field = MLP(3, (32, 16), **kind)
        # A first step far too long is refused, and with it what was noted.
        options = {"method": "dopri5", "rtol": 1e-4, "atol": 1e-4, "control": StepControl(first_step=30.0)}
        pairs = []
        for given, start in (
            (field, y0),
            (Opaque(copy.deepcopy(field)).double(), y0.detach().double().requires_grad_()),
        ):
            before = len(joined)
            states = solve_ode(given, start, times.to(start), step_size=0.1, method="rk4").states
            pairs.append([states, *torch.autograd.grad(states.sin().sum(), [start, *given.parameters()])])
            assert (len(joined) > before) == (start is y0)
            adaptive = solve_ode(given, start, times.to(start), **options)
            pairs[-1] += torch.autograd.grad(adaptive.states.sin().sum(), [start, *given.parameters()])
        for single, double in zip(*pairs, strict=True):
            # Single precision in sums of 512 samples' gradients, and steps that vary with it.
            torch.testing.assert_close(
                single.double(), double, rtol=1e-3, atol=1e-4 * float(double.detach().abs().max())
            )


@pytest.mark.parametrize("batch", [1, 40, 300])
def test_gradients_of_weights_are_gathered_over_any_number_of_evaluations(batch: int):
    """Whole groups, a group that is not full, and one evaluation a group."""
    field, y0 = MLP(2, (6,)).double(), start(batch, 2)
    times = torch.linspace(0, 1, 12, dtype=torch64)
    options = {"method": "rk4", "step_size": 0.03}
    assert_same(gradients(field, y0, times=times, **options), gradients(Opaque(field), y0, times=times, **options))


@pytest.mark.parametrize("stepping", ["shared", "per_sample"])
def test_a_weight_held_twice_gets_its_second_derivative_once(stepping: Any):
    field = MLP(4, (4, 4)).double()
    field.layers[2].weight = field.layers[0].weight  # pyright: ignore[reportAttributeAccessIssue]
    y0, found = start(3, 4), []
    for given in (field, Opaque(field)):
        states = solve_ode(given, y0, TIMES, method="dopri5", rtol=1e-6, stepping=stepping).states
        inputs = [y0, *field.parameters()]
        first = torch.autograd.grad(states.sin().sum(), inputs, create_graph=True)
        second = torch.autograd.grad(torch.stack([bar.square().sum() for bar in first]).sum(), inputs)
        found.append([*(bar.detach() for bar in first), *second])
    assert_same(*found)
