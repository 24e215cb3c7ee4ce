"""Residual stacks are recognised for what they are, however they are written."""

import io

import pytest
import torch
from residual_networks import Dense, Shared, exported
from torch import Tensor, nn

from integrand.core.analysis import depth_smoothness, residual_chains, steps_taken
from integrand.core.errors import InputError

EXPECTED = {
    "dense": [("euler", 3, 0.5, 1.0)],
    "convolutional": [("projected", 3, 1.0, 1.0), ("projected", 2, 1.0, 1.0)],
    "pre_norm": [("splitting", 3, 1.0, 1.0)],
    "post_norm": [("composite", 3, 1.0, 1.0)],
    "momentum": [("momentum", 4, 0.25, 0.75)],
    "undamped": [("second order", 4, 1.0, 1.0)],
    "reversible": [("reversible", 4, 1.0, 1.0)],
    "shared": [("euler", 5, 1.0, 1.0)],
    "gated": [("relaxation", 6, 1.0, 1.0)],
    "leak": [("relaxation", 3, 0.5, 0.5)],
}


@pytest.mark.parametrize("name", EXPECTED)
def test_each_kind_of_stack_is_told_by_its_name_its_blocks_and_its_numbers(name: str):
    found = [(chain.kind, chain.blocks, chain.scale, chain.rule.memory) for chain in residual_chains(exported(name))]
    assert found == EXPECTED[name]


def test_what_stands_around_the_stack_and_in_it_is_told():
    (chain,) = residual_chains(exported("dense"))
    assert chain.before == chain.after == ("linear",)
    assert chain.operations == ("linear", "tanh", "linear", "mul", "add")
    assert chain.places == ("1", "2", "3")
    assert chain.parameters == 4 * 8 + 8 + 8 * 4 + 4
    assert chain.state_shape[1:] == ("4",)
    assert chain.equation == "forward Euler with unit step for dx/dt = 0.5 f(x, theta(t)) on [0, 3]"
    assert "weights not shared" in chain.statement


def test_shared_weights_and_inputs_of_their_own_are_told():
    (shared,) = residual_chains(exported("shared"))
    assert (shared.shared, shared.varying_input) == (True, False)
    assert "dx/dt = f(x) on [0, 5]" in shared.statement
    (gated,) = residual_chains(exported("gated"))
    assert (gated.shared, gated.varying_input) == (True, True)
    assert "each with an input of its own" in gated.statement
    (dense,) = residual_chains(exported("dense"))
    assert not dense.shared


def test_the_mass_of_a_momentum_is_one_over_what_is_forgotten():
    (chain,) = residual_chains(exported("momentum"))
    assert "4 x'' + x' = f(x, theta(t))" in chain.equation


class Inline(nn.Module):
    """The stack of ``Dense`` blocks line by line."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c, self.d = nn.Linear(4, 8), nn.Linear(8, 4), nn.Linear(4, 8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        h = self.a(x)
        h = torch.tanh(h)
        h = self.b(h)
        y = h + x
        return y.add(self.d(self.c(y).tanh()))


def test_a_stack_written_line_by_line_is_the_stack_of_modules():
    (inline,) = residual_chains(Inline().eval(), [torch.ones(2, 4)])
    assert (inline.kind, inline.blocks, inline.parameters) == ("euler", 2, 76)
    (looped,) = residual_chains(nn.Sequential(Dense(4), Dense(4)).eval(), [torch.ones(2, 4)])
    assert (looped.kind, looped.blocks, looped.parameters) == ("euler", 2, 76)


def test_a_saved_program_and_its_decomposition_say_the_same():
    program = exported("dense").program
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    buffer.seek(0)
    for read in (torch.export.load(buffer), program.run_decompositions()):
        (chain,) = residual_chains(read)
        assert (chain.kind, chain.blocks, chain.scale) == ("euler", 3, 0.5)


def test_layers_that_add_to_nothing_are_no_stack():
    assert residual_chains(nn.Sequential(*[nn.Linear(4, 4), nn.Tanh()] * 4), [torch.ones(2, 4)]) == []
    unlike = nn.Sequential(Dense(4), nn.Linear(4, 6), Dense(6))
    assert residual_chains(unlike, [torch.ones(2, 4)]) == []


def test_a_module_needs_inputs_and_a_forward_that_can_be_exported():
    class Branching(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x if float(x.sum()) > 0 else -x

    with pytest.raises(InputError, match="give example_inputs"):
        residual_chains(Shared())
    with pytest.raises(InputError, match=r"torch.export cannot export the Branching"):
        residual_chains(Branching(), [torch.ones(2, 4)])


def test_weights_on_a_line_are_as_smooth_as_can_be():
    """Of N points on a line neighbours lie 1 apart, and two at random (N + 1) / 3."""
    found = depth_smoothness([torch.arange(9.0)[:, None] * torch.ones(9, 5)])
    assert found.ratio == pytest.approx(3 / 10, rel=1e-6)
    assert found.probability < 0.01


def test_independent_weights_are_root_two_apart_and_no_smoother_than_shuffled():
    generator = torch.Generator().manual_seed(0)
    found = depth_smoothness([torch.randn(12, 40, 40, generator=generator), torch.randn(12, 100, generator=generator)])
    assert found.successive == pytest.approx(2**0.5, rel=0.02)
    assert found.ratio == pytest.approx(1, abs=0.02)
    assert 0.02 < found.probability < 0.98
    with pytest.raises(InputError, match="three layers or more"):
        depth_smoothness([torch.ones(2, 3)])


def test_a_step_is_measured_against_the_state_that_it_leaves():
    states = [torch.tensor([[3.0, 4.0]]), torch.tensor([[3.0, 6.0]]), torch.tensor([[3.0, 6.0]])]
    assert steps_taken(states) == pytest.approx([0.4, 0.0])
