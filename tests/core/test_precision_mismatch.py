"""Data of one precision and a model of another: named, with the cure, by whatever solves with a field."""

import pytest
import torch

from integrand.core.errors import InputError
from integrand.core.fields import MLP, MonotoneField
from integrand.core.layers import DeepEquilibrium
from integrand.core.models import ContinuousNormalizingFlow, NeuralODE, NeuralSDE
from integrand.core.numerics import solve_ode

TIMES = torch.linspace(0, 1, 3)
CALLS = {
    "solve_ode": lambda y: solve_ode(MLP(2), y, TIMES),
    "own steps": lambda y: solve_ode(MLP(2), y, TIMES, stepping="per_sample"),
    "NeuralODE": lambda y: NeuralODE(MLP(2))(y, TIMES),
    "NeuralSDE": lambda y: NeuralSDE(2, step_size=0.1)(y, TIMES),
    "ContinuousNormalizingFlow": lambda y: ContinuousNormalizingFlow(MLP(2), 2).pull(y),
    "DeepEquilibrium": lambda y: DeepEquilibrium(MonotoneField(2, control=2), 2)(y),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=list(CALLS))
def test_both_precisions_are_named(call):
    with pytest.raises(
        InputError, match=r"y is torch\.float64, the parameters of \w+ are torch\.float32.*\.double\(\)"
    ):
        call(torch.zeros(3, 2, dtype=torch.float64))


def test_a_field_may_convert():
    """A single-precision network in a double-precision solve is no mistake."""

    class Converting(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = MLP(2)

        def forward(self, t, y):
            return self.inner(t.float(), y.float()).to(y)

    states = NeuralODE(Converting())(torch.zeros(3, 2, dtype=torch.float64), TIMES).states
    assert states.dtype == torch.float64
    assert torch.isfinite(states).all()


def test_another_failure_of_a_field_stays_what_it_is():
    def failing(t, y):
        raise RuntimeError("out of dtype luck")

    with pytest.raises(RuntimeError, match="luck"):
        solve_ode(failing, torch.zeros(1, 1), [0.0, 1.0])


@pytest.mark.parametrize("call", [lambda y: solve_ode(MLP(2), y, TIMES), lambda y: NeuralSDE(2)(y, TIMES)])
def test_a_list_is_no_state(call):
    with pytest.raises(InputError, match=r"y0 must be a tensor .* got a list"):
        call([[0.0, 1.0]])
