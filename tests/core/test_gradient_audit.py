"""Gradients that are wrong on purpose are found, and right ones are not suspected."""

import math

import pytest
import torch
from torch import Tensor, nn

from integrand.core.analysis import gradient_audit
from integrand.core.errors import InputError
from integrand.core.fields import MLP, Linear
from integrand.core.models import NeuralODE

X = torch.randn(16, 2, generator=torch.Generator().manual_seed(0))


def loss_of(module: nn.Module) -> Tensor:
    return module(X.to(next(module.parameters())), [0.0, 1.0]).states[:, -1].square().mean()


def model(**how: object) -> NeuralODE:
    torch.manual_seed(1)
    return NeuralODE(MLP(2, (8,)), **how)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("gradient", ["direct", "checkpoint"])
def test_the_derivative_of_the_steps_is_sound(gradient: str):
    found = gradient_audit(model(gradient=gradient, rtol=1e-5), loss_of)
    assert found.verdict == "sound", found.statement
    assert found.numbers["error"] < 1e-4
    assert found.numbers["cosine"] == pytest.approx(1, abs=1e-6)
    assert found.numbers["error of finite differences"] < 1e-5
    assert found.rows[0]["gradient"] == f"{gradient} (in use)"


def test_fixed_steps_have_every_mode():
    found = gradient_audit(model(method="rk4", step_size=0.25), loss_of)
    rows = {str(row["gradient"]): row for row in found.rows}
    assert set(rows) == {"direct (in use)", "checkpoint", "adjoint", "reversible"}
    for row in rows.values():
        assert float(row["error"]) < 1e-2
    assert float(rows["checkpoint"]["error"]) < 1e-5
    adaptive = gradient_audit(model(), loss_of).rows
    assert math.isnan(float(next(row for row in adaptive if row["gradient"] == "reversible")["error"]))


def contracting(gradient: str, tolerance: float) -> NeuralODE:
    """y' = -8 y, which the adjoint walks back as y' = 8 y: its errors grow by e^8."""
    flow = NeuralODE(Linear(2, bias=False), gradient=gradient, rtol=tolerance, atol=tolerance)  # pyright: ignore[reportArgumentType]
    with torch.no_grad():
        next(flow.parameters()).copy_(torch.tensor([[-8.0, 1.0], [-1.0, -8.0]]))
    return flow


def test_an_adjoint_with_loose_tolerance_is_flagged():
    found = gradient_audit(contracting("adjoint", 1e-2), loss_of)
    assert found.verdict == "flawed", found.statement
    assert found.numbers["error"] > 0.1
    assert "led astray" in found.statement
    direct = next(row for row in found.rows if row["gradient"] == "direct")
    assert float(direct["error"]) < 1e-3
    tight = gradient_audit(contracting("adjoint", 1e-10).double(), loss_of)
    assert tight.verdict == "sound", tight.statement


def test_the_gradient_of_coarse_steps_is_right_for_them_and_wrong_for_the_equation():
    """y' = a y in one Euler step: d/da mean((1 + a)^2 x^2) = 2 (1 + a) m, the equation's is 2 e^(2 a) m."""
    a = -0.5
    flow = NeuralODE(Linear(1, bias=False), method="euler")
    with torch.no_grad():
        next(flow.parameters()).fill_(a)

    def loss(module: nn.Module) -> Tensor:
        return module(X[:, :1].to(next(module.parameters())), [0.0, 1.0]).states[:, -1].square().mean()

    found = gradient_audit(flow, loss)
    assert found.verdict == "sound"
    expected = abs((1 + a) / math.exp(2 * a) - 1)
    assert found.numbers["error of the equation"] == pytest.approx(expected, rel=1e-5)
    assert found.numbers["norm"] == pytest.approx(2 * (1 + a) * X[:, :1].double().square().mean().item(), rel=1e-6)


def test_a_loss_cut_from_the_graph_is_flawed():
    """Of three times a loss, two parts cut: the gradient is a third of the slope."""

    def cut(module: nn.Module) -> Tensor:
        end = loss_of(module)
        return end + 2 * end.detach()

    found = gradient_audit(model(method="rk4"), cut)
    assert found.verdict == "flawed"
    assert "not the derivative of the loss" in found.statement
    assert found.numbers["error of finite differences"] == pytest.approx(2 / 3, rel=1e-3)


def test_the_module_is_left_as_it_was():
    flow = model()
    before = [p.detach().clone() for p in flow.parameters()]
    gradient_audit(flow, loss_of)
    for parameter, kept in zip(flow.parameters(), before, strict=True):
        assert torch.equal(parameter, kept)
        assert parameter.grad is None


def test_mistakes_have_one_line_and_a_model_without_equations_is_told_so():
    linear = nn.Linear(2, 2)
    assert gradient_audit(linear, lambda module: module(X.to(module.weight)).mean()).verdict == "told"  # pyright: ignore[reportArgumentType, reportCallIssue]
    with pytest.raises(InputError, match="return one number"):
        gradient_audit(model(), lambda module: loss_of(module).expand(2))
    with pytest.raises(InputError, match="no parameter requires a gradient"):
        gradient_audit(model().requires_grad_(False), loss_of)
