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


def test_a_field_that_cannot_be_compiled_runs_after_one_notice(monkeypatch):
    def refuse(work):
        def call(*args):
            raise Unsupported("no such luck\nwith a long story")

        return call

    monkeypatch.setattr(compiled, "_compile", refuse)
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
