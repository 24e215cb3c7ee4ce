"""Compiled steps give what plain ones give, and a field that cannot be compiled runs as it is."""

import warnings

import pytest
import torch
from torch import Tensor
from torch._dynamo.exc import Unsupported

from integrand.core.fields import MLP
from integrand.core.numerics import solve_ode
from integrand.core.numerics.methods import compiled


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"method": "rk4", "step_size": 0.5}, {"method": "bosh3", "rtol": 1e-3}])
def test_compiled_steps_give_the_same_states_gradients_and_counts(options):
    torch.manual_seed(0)
    field, y0 = MLP(2, (8,), time=True).double(), torch.randn(3, 2, dtype=torch.float64, requires_grad=True)
    times = torch.tensor([0.0, 1.0, 1.5], dtype=torch.float64)
    results = []
    for compile in (False, True):
        solved = solve_ode(field, y0, times, compile=compile, **options)
        gradients = torch.autograd.grad(solved.states.sin().sum(), [y0, *field.parameters()])
        results.append([solved.states.detach(), solved.stats.evaluations, *gradients])
    for plain, fast in zip(*results, strict=True):
        # Fused kernels round in another order.
        torch.testing.assert_close(fast, plain, rtol=1e-10, atol=1e-10)


FIELDS = [
    {},
    {"time": True},
    {"control": 2},
    {"activation": "silu", "time": True, "control": 1, "final": "tanh"},
    {"activation": "elu"},
    {"activation": "softplus"},
    {"activation": "gelu"},
]
STEPS = [
    {"method": "rk4", "step_size": 0.25},
    {"method": "heun"},
    {"method": "bosh3", "rtol": 1e-3},
    {"method": "dopri5", "rtol": 1e-5},
    {"method": "dopri8", "rtol": 1e-6},
]


@pytest.mark.parametrize("kind", FIELDS, ids=lambda kind: "-".join(kind) or "plain")
@pytest.mark.parametrize("options", STEPS, ids=lambda options: options["method"])
def test_what_is_compiled_has_the_derivatives_of_plain_steps(options, kind, monkeypatch):
    # The functions handed to the compiler, run as they are: a compiler changes rounding alone.
    monkeypatch.setattr(compiled, "_compile_map", lambda work: work)
    monkeypatch.setattr(compiled, "_compile", lambda work: pytest.fail("an MLP is compiled with its own derivative"))
    torch.manual_seed(0)
    field, y0 = MLP(3, (8, 5), **kind).double(), torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    times = torch.tensor([0.0, 0.3, 1.1, 2.0], dtype=torch.float64)
    args = torch.randn(4, kind["control"], dtype=torch.float64, requires_grad=True) if "control" in kind else None
    inputs = [y0, *field.parameters(), *([] if args is None else [args])]
    results = []
    for compile in (False, True):
        solved = solve_ode(field, y0, times, args=args, compile=compile, **options)
        first = torch.autograd.grad(solved.states.sin().sum(), inputs, create_graph=True)
        second = torch.autograd.grad(torch.stack([gradient.square().sum() for gradient in first]).sum(), inputs)
        again = solve_ode(field, y0, times, args=args, compile=compile, **options)
        swept = torch.autograd.grad(again.states.sin().sum(), inputs)
        results.append([solved.states.detach(), solved.stats.evaluations, *swept, *second])
    for plain, mapped in zip(*results, strict=True):
        # An estimate of 1e-6 is a difference that keeps ten digits, with which steps vary, and the states with them.
        torch.testing.assert_close(mapped, plain, rtol=1e-9, atol=1e-9)


def test_compiled_steps_hand_on_the_end_slope_and_the_outputs_of_the_last_alone(monkeypatch):
    monkeypatch.setattr(compiled, "_compile_map", lambda work: work)
    torch.manual_seed(0)
    field, y0 = MLP(2, (6,)).double(), torch.randn(3, 2, dtype=torch.float64)
    results = []
    for compile in (False, True):
        y0 = y0.clone().requires_grad_()
        states = solve_ode(field, y0, [0.0, 0.2, 3.0], method="dopri5", rtol=1e-6, compile=compile).states
        results.append(torch.autograd.grad(states[:, 1].sum(), y0)[0])  # nothing depends on what comes after
    torch.testing.assert_close(*results, rtol=1e-12, atol=1e-12)


def test_a_field_that_cannot_be_compiled_runs_after_one_notice(monkeypatch):
    def refuse(work):
        def call(*args):
            raise Unsupported("no such luck\nwith a long story")

        return call

    for name in ("_compile", "_compile_map"):
        monkeypatch.setattr(compiled, name, refuse)
    field, y0 = MLP(2, (8,)), torch.randn(3, 2)
    expected = solve_ode(field, y0, [0.0, 1.0], method="rk4").states
    with pytest.warns(UserWarning, match=r"compile=True: MLP could not be compiled .*\(no such luck\)$"):
        states = solve_ode(field, y0, [0.0, 1.0], method="rk4", compile=True).states
    torch.testing.assert_close(states, expected)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        adaptive = solve_ode(field, y0, [0.0, 1.0], compile=True)
    torch.testing.assert_close(adaptive.states, solve_ode(field, y0, [0.0, 1.0]).states)
    assert torch.equal(adaptive.stats.evaluations, solve_ode(field, y0, [0.0, 1.0]).stats.evaluations)


def test_an_error_of_the_field_is_not_taken_for_one_of_the_compiler(monkeypatch):
    monkeypatch.setattr(compiled, "_compile", lambda work: work)

    def field(t: Tensor, y: Tensor) -> Tensor:
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        solve_ode(field, torch.ones(1, 1), [0.0, 1.0], method="rk4", compile=True)
