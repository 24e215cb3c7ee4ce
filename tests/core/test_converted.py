"""A converted network is the network at its own steps, and the solution of the equation that it discretises beyond."""

import copy
import io
import math
from typing import Any

import pytest
import torch
from residual_networks import NETWORKS, Dense, Shared, batch, exported, inputs, network
from torch import Tensor, nn

from integrand.core.analysis import step_refinement
from integrand.core.errors import InputError
from integrand.core.models import ConvertedODE

EIGHT = {"rtol": 1e-10, "atol": 1e-12, "method": "dopri8", "steps": None}


class Sum(nn.Module):
    """x + A1 x, then x + A2 x, and so on."""

    def __init__(self, *matrices: Tensor) -> None:
        super().__init__()
        self.matrices = nn.ParameterList(nn.Parameter(matrix) for matrix in matrices)

    def forward(self, x: Tensor) -> Tensor:
        for matrix in self.matrices:
            x = x + x @ matrix.T
        return x


def matrices(count: int, size: int = 3) -> list[Tensor]:
    return list(0.4 * inputs(count, size, size, seed=3))


@pytest.mark.parametrize("name", NETWORKS)
def test_at_its_own_steps_it_gives_what_the_network_gives_for_other_inputs_and_batches(name: str):
    model, x = ConvertedODE(exported(name)), batch(name, samples=3, seed=7)
    assert torch.allclose(model(x), network(name)(x), rtol=0, atol=1e-12)
    linear = model.refine(weights="linear")
    assert torch.allclose(linear(x), network(name)(x), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["dense", "convolutional", "pre_norm"])
def test_in_single_precision_it_agrees_to_a_millionth(name: str):
    model, x = ConvertedODE(exported(name)).float(), batch(name, samples=3, seed=7).float()
    with torch.no_grad():
        given = copy.deepcopy(network(name)).float()(x)
        made = model(x)
    assert float((made - given).abs().max()) <= 1e-6 * float(given.abs().max())


def test_gradients_at_its_own_steps_are_those_of_the_network():
    original, x = network("dense"), batch("dense")
    model = ConvertedODE(exported("dense"))
    for each in (original, model):
        each.zero_grad()
        each(x).square().sum().backward()
    blocks = [each for each in original.modules() if isinstance(each, Dense)]
    slopes: dict[str, Any] = {name.rpartition(".")[2]: each.grad for name, each in model.flows.named_parameters()}
    for place in ("inner", "outer"):
        for kind in ("weight", "bias"):
            wanted = torch.stack([getattr(getattr(block, place), kind).grad for block in blocks])
            assert torch.allclose(slopes[f"{place}_{kind}"], wanted, rtol=1e-10, atol=1e-12)
    original.zero_grad()


def test_fine_steps_of_linear_blocks_with_constant_weights_give_a_product_of_matrix_exponentials():
    a, x = matrices(3), inputs(4, 3)
    expected = x
    for matrix in a:
        expected = expected @ torch.linalg.matrix_exp(matrix).T
    model = ConvertedODE(Sum(*a), [x], **EIGHT)
    assert torch.allclose(model(x), expected, rtol=1e-8)
    states = model.solve(x).states[0]
    assert len(states) == 4
    assert torch.allclose(states[1][0], x @ torch.linalg.matrix_exp(a[0]).T, rtol=1e-8)


def test_weights_on_lines_between_blocks_are_integrated_exactly():
    """x' = a(t) x has the solution exp of the area under a, which is trapezoids and, after the last block, a square."""

    class Scale(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.ParameterList(nn.Parameter(torch.tensor([a], dtype=torch.float64)) for a in (0.3, -0.5, 0.7))

        def forward(self, x: Tensor) -> Tensor:
            for a in self.a:
                x = x + a * x
            return x

    x = torch.ones(2, 1, dtype=torch.float64)
    area = (0.3 - 0.5) / 2 + (-0.5 + 0.7) / 2 + 0.7
    model = ConvertedODE(Scale(), [x], weights="linear", **EIGHT)
    assert torch.allclose(model(x), math.exp(area) * x, rtol=1e-8)
    assert torch.allclose(model.refine(weights="constant")(x), math.exp(0.5) * x, rtol=1e-8)


def test_finer_splitting_solves_the_equation_of_the_sum_of_both_branches():
    a, b = matrices(2)

    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False)

        def forward(self, x: Tensor) -> Tensor:
            for _ in range(2):
                x = x + self.a(x)
                x = x + self.b(x).neg().neg()
            return x

    net, x = Twice().double(), inputs(4, 3)
    net.a.weight.data, net.b.weight.data = a, b
    model = ConvertedODE(net, [x])
    exact = x @ torch.linalg.matrix_exp(2 * (a + b)).T
    assert model.flows[0].kind == "splitting"
    with torch.no_grad():
        errors = [float((model.refine(steps=steps)(x) - exact).norm()) for steps in (64, 128)]
    assert math.log2(errors[0] / errors[1]) == pytest.approx(1, abs=0.1)
    assert torch.allclose(ConvertedODE(net, [x], **EIGHT)(x), exact, rtol=1e-8)


def test_momentum_is_a_damped_oscillator():
    """v' = c A x - (1 - g) v, x' = v, by the exponential of the matrix of both."""
    g, (a,) = 0.75, matrices(1)

    class Linear(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            v = torch.zeros_like(x)
            for _ in range(4):
                v = g * v + (1 - g) * (x @ a.T)
                x = x + v
            return x

    x = inputs(4, 3)
    model = ConvertedODE(Linear(), [x], **EIGHT)
    eye, none = torch.eye(3, dtype=torch.float64), torch.zeros(3, 3, dtype=torch.float64)
    both = torch.cat([torch.cat([none, eye], 1), torch.cat([(1 - g) * a, (g - 1) * eye], 1)], 0)
    expected = torch.cat([x, torch.zeros_like(x)], 1) @ torch.linalg.matrix_exp(4 * both).T
    assert model.flows[0].kind == "momentum"
    assert torch.allclose(model(x), expected[:, :3], rtol=1e-7)


def test_two_streams_that_move_each_other_keep_the_energy_of_a_pendulum():
    """x1' = x2, x2' = -sin x1: symplectic Euler's energy stays near, that of forward Euler grows."""

    class Pendulum(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            q, p = x.chunk(2, -1)
            for _ in range(60):
                q = q + p.clone()
                p = p + -torch.sin(q)
            return torch.cat([q, p], -1)

    def energy(x: Tensor) -> Tensor:
        return x[:, 1].square() / 2 - x[:, 0].cos()

    x = torch.tensor([[1.0, 0.0], [0.5, 0.3]], dtype=torch.float64)
    model = ConvertedODE(Pendulum(), [x], steps=8)
    assert float((energy(model(x)) - energy(x)).abs().max()) < 0.05
    assert float((energy(model.refine(method="euler")(x)) - energy(x)).max()) > 0.5
    exact = ConvertedODE(Pendulum(), [x], method="dopri8", steps=None, rtol=1e-7, atol=1e-7)
    assert torch.allclose(energy(exact(x)), energy(x), atol=1e-5)


def test_a_rectified_stack_is_held_at_zero_where_its_equation_would_leave():
    class Falling(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rate = nn.Parameter(torch.tensor([-0.5, 0.25], dtype=torch.float64))

        def forward(self, x: Tensor) -> Tensor:
            for _ in range(4):
                x = torch.relu(x + self.rate * torch.ones_like(x))
            return x

    x = torch.tensor([[1.25, 0.0], [3.0, 1.0]], dtype=torch.float64)
    model = ConvertedODE(Falling(), [x], steps=4)
    assert model.flows[0].kind == "projected"
    assert torch.allclose(model(x), torch.tensor([[0.0, 1.0], [1.0, 2.0]], dtype=torch.float64))
    with pytest.raises(InputError, match="use method='own'"):
        model.refine(method="rk4")(x)


@pytest.mark.parametrize(("method", "order"), [("own", 1), ("euler", 1), ("midpoint", 2), ("rk4", 4)])
@pytest.mark.parametrize("name", ["dense", "momentum", "reversible"])
def test_finer_steps_converge_at_the_order_of_the_method(name: str, method: str, order: int):
    model, x = ConvertedODE(exported(name), method=method, weights="linear"), batch(name)
    steps = (32, 64, 128) if order == 1 else (16, 32, 64)
    rows = step_refinement(model, x, steps=steps)
    assert rows[0].order == pytest.approx(order, abs=0.1)
    assert rows[0].change == 0
    stages = {"own": 1, "euler": 1, "midpoint": 2, "rk4": 4}[method]
    assert [row.evaluations for row in rows] == [stages * each * len(model.solve(x).states[0][1:]) for each in steps]


def test_refining_keeps_the_parameters_and_training_lowers_the_loss():
    model, x = ConvertedODE(exported("dense"), weights="linear").refine(steps=2), batch("dense", samples=32)
    assert all(a is b for a, b in zip(model.parameters(), model.refine(steps=4).parameters(), strict=True))
    target = torch.sin(3 * x[:, :2])
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-2)
    losses = []
    for _ in range(60):
        loss = (model(x) - target).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.5 * losses[0]
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_statistics_of_batch_normalisation_stay_as_they_are_in_training():
    model, x = ConvertedODE(exported("convolutional")).train(), batch("convolutional")
    before = [buffer.clone() for buffer in model.buffers()]
    model(x).sum().backward()
    assert any("running_mean" in name for name, _ in model.named_buffers())
    assert all(torch.equal(a, b) for a, b in zip(before, model.buffers(), strict=True))


def test_a_tensor_of_two_names_stays_one():
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words, self.blocks = nn.Embedding(7, 4), nn.Sequential(Dense(4), Dense(4))
            self.head = nn.Linear(4, 7, bias=False)
            self.head.weight = self.words.weight

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.blocks(self.words(x)))

    net, x = Tied(), torch.tensor([[1, 2, 3], [4, 5, 6]])
    model = ConvertedODE(net, [x])
    assert torch.allclose(model(x), net(x), atol=1e-6)
    assert sum(p.numel() for p in model.parameters()) == sum(p.numel() for p in net.parameters())


def test_it_can_be_exported_and_then_runs_without_us():
    model, x = ConvertedODE(exported("dense"), weights="linear", method="rk4", steps=2), batch("dense")
    buffer = io.BytesIO()
    torch.export.save(torch.export.export(model, (x,)), buffer)
    buffer.seek(0)
    assert torch.allclose(torch.export.load(buffer).module()(x), model(x), atol=1e-12)


def test_arguments_by_name_and_several_outputs_go_through():
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = nn.ModuleList(nn.Linear(4, 4) for _ in range(3))

        def forward(self, x: Tensor, *, shift: Tensor) -> dict[str, Tensor]:
            for block in self.blocks:
                x = x + torch.tanh(block(x) + shift)
            return {"mean": x.mean(1), "state": x}

    net, x, shift = Two(), torch.ones(2, 4), torch.ones(2, 4)
    model = ConvertedODE(torch.export.export(net, (x,), {"shift": shift}))
    given, wanted = model(x, shift=shift), net(x, shift=shift)
    assert {name: torch.allclose(given[name], wanted[name]) for name in given} == {"mean": True, "state": True}
    with pytest.raises(InputError, match="takes 2 inputs"):
        model(x)


def test_mistakes_have_one_line():
    x = torch.ones(2, 4)
    norm = nn.Sequential(*(Shared(nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))) for _ in range(2)))
    with pytest.raises(InputError, match=r"as it is in training \(batch_norm\): call its .eval\(\) first"):
        ConvertedODE(norm.train(), [x])
    with pytest.raises(InputError, match="no residual stack was found"):
        ConvertedODE(nn.Linear(4, 4), [x])

    class Tapped(Shared):
        def forward(self, x: Tensor) -> Tensor:
            seen = [x := x + self.f(x) for _ in range(3)]
            return torch.stack(seen)

    with pytest.raises(InputError, match="reads its state between the 3 blocks"):
        ConvertedODE(Tapped(), [x])
    model = ConvertedODE(Shared(), [x])
    with pytest.raises(InputError, match=r"input x must have shape \(B, 4\), got \(2, 5\)"):
        model(torch.ones(2, 5))
    with pytest.raises(InputError, match="unknown method 'rk5': did you mean 'rk4'"):
        model.refine(method="rk5")
    with pytest.raises(InputError, match="steps must be 1 or more"):
        model.refine(steps=0)
    with pytest.raises(InputError, match="'rk4' does not choose its steps"):
        ConvertedODE(Shared(), [x], method="rk4", steps=None)
    with pytest.raises(InputError, match="twice the one before"):
        step_refinement(model, x, steps=(1, 3))
