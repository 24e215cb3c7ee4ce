"""The Jacobians that fields give of themselves, against automatic differentiation in float64."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import jacrev, vmap
from torch.nn.utils import parametrizations

from integrand.core.fields import MLP, Linear
from integrand.core.fields.activations import KERNELS
from integrand.core.fields.mlp import ACTIVATIONS
from integrand.core.numerics import solve_ode
from integrand.core.numerics.field_call import BoundField
from integrand.core.numerics.methods.newton import jacobian

torch64 = torch.float64
BATCH, DIM = 5, 3
# Sums of up to 8 products of numbers below 10, three layers deep: some hundred roundings.
ROUNDING: dict[str, Any] = {"rtol": 1e-13, "atol": 1e-13}


def by_autograd(field: nn.Module, t: Tensor, y: Tensor, u: Tensor | None) -> Tensor:
    """Return each sample's derivative, one sample at a time."""

    def one(t: Tensor, y: Tensor, u: Tensor | None) -> Tensor:
        args = () if u is None else (u.unsqueeze(0),)
        return field(t, y.unsqueeze(0), *args).squeeze(0)

    dims = (0 if t.dim() else None, 0, None if u is None else 0)
    return vmap(jacrev(one, argnums=1), in_dims=dims)(t, y, u)


def inputs(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Times, states and controls, of a size at which activations bend."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return 2 * torch.randn(*shape, generator=generator, dtype=torch64)

    return draw(BATCH), draw(BATCH, DIM), draw(BATCH, 2)


def build(**options: Any) -> MLP:
    torch.manual_seed(0)
    return MLP(DIM, **options).double()


def test_every_activation_has_its_kernel():
    assert set(KERNELS) == set(ACTIVATIONS.values())


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_slopes_are_the_derivatives_of_activations(activation: str):
    """Also where they are flat, and on either side of 20, above which softplus is straight."""
    z = torch.cat([torch.linspace(-30, 30, 601, dtype=torch64), torch.tensor([0.0, 20.0], dtype=torch64)])
    module = ACTIVATIONS[activation]()
    (expected,) = torch.autograd.grad(module(z.requires_grad_()).sum(), z)
    kernel, z = KERNELS[type(module)], z.detach()
    kept, ones = z if kernel.keeps_input else kernel.of(z), torch.ones_like(z)
    # Slopes are of size 1 and come from a few operations; beyond z = -20 gelu's is z times an underflowing number.
    torch.testing.assert_close(kernel.pull(ones, kept), expected, rtol=1e-14, atol=4e-16)
    torch.testing.assert_close(kernel.backward(ones, kept, torch.empty_like(z)), expected, rtol=1e-14, atol=4e-16)


@pytest.mark.parametrize("final", [None, *ACTIVATIONS])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_perceptron_knows_its_jacobian(activation: str, final: str | None):
    field, (t, y, _) = build(hidden=(8, 6), activation=activation, final=final), inputs()
    found = field.jacobian(t, y)
    assert found is not None
    assert found.shape == (BATCH, DIM, DIM)
    torch.testing.assert_close(found, by_autograd(field, t, y, None), **ROUNDING)


@pytest.mark.parametrize("hidden", [(), (8,), (8, 7, 6)])
@pytest.mark.parametrize("shared", [True, False])
def test_columns_of_time_and_control_are_left_out(hidden: tuple[int, ...], shared: bool):
    field, (t, y, u) = build(hidden=hidden, time=True, control=2), inputs()
    t = t[0] if shared else t
    found = field.jacobian(t, y, u)
    assert found is not None
    torch.testing.assert_close(found, by_autograd(field, t, y, u), **ROUNDING)


@pytest.mark.parametrize("final", [None, "tanh"])
def test_a_field_of_matrices_has_one_for_every_entry(final: str | None):
    field, (t, y, _) = build(hidden=(8,), channels=4, final=final, time=True), inputs()
    found = field.jacobian(t, y)
    assert found is not None
    assert found.shape == (BATCH, DIM, 4, DIM)
    torch.testing.assert_close(found, by_autograd(field, t, y, None), **ROUNDING)


@pytest.mark.parametrize("bias", [True, False])
def test_a_linear_field_is_its_own_jacobian(bias: bool):
    field, (t, y, _) = Linear(DIM, bias=bias).double(), inputs()
    found = field.jacobian(t, y)
    assert found is not None
    torch.testing.assert_close(found, by_autograd(field, t, y, None), rtol=0, atol=0)


def test_jacobians_are_differentiable():
    """By the weights, as a penalty on them asks, and by the state."""
    field, (t, y, _) = build(hidden=(8, 6), time=True), inputs()
    y.requires_grad_()
    wanted = [y, *(p for name, p in field.named_parameters() if name != "layers.4.bias")]  # the last adds a constant
    found = field.jacobian(t, y)
    assert found is not None
    rows = [torch.autograd.grad(field(t, y)[:, i].sum(), y, create_graph=True)[0] for i in range(DIM)]
    actual = torch.autograd.grad(found.square().sum(), wanted)
    expected = torch.autograd.grad(torch.stack(rows, dim=1).square().sum(), wanted)
    for one, other in zip(actual, expected, strict=True):
        torch.testing.assert_close(one, other, **ROUNDING)


class Doubled(MLP):
    """A subclass whose field is no longer what its layers say."""

    def forward(self, t: Tensor, y: Tensor, u: Tensor | None = None) -> Tensor:
        return 2 * super().forward(t, y, u)


class Bent(Linear):
    """Likewise."""

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return super().forward(t, y) ** 3


def bend(module: nn.Module, args: Any, out: Any) -> Any:
    """A hook that changes what a module returns."""
    return out + out**2


def strange_fields() -> dict[str, nn.Module]:
    torch.manual_seed(0)
    one, other, normed = (MLP(DIM, (8,)) for _ in range(3))
    straight = Linear(DIM)
    one.register_forward_hook(bend)
    other.layers[0].register_forward_hook(bend)
    straight.map[0].register_forward_hook(bend)
    parametrizations.weight_norm(normed.layers[0])
    return {
        "subclass": Doubled(DIM, (8,)),
        "hook": one,
        "hook of a layer": other,
        "parametrised": normed,
        "linear subclass": Bent(DIM),
        "linear hook": straight,
    }


@pytest.mark.parametrize("name", strange_fields())
def test_where_more_is_at_work_autograd_is_asked(name: str):
    """A Jacobian that leaves out what a subclass or a hook does would give wrong gradients without a word."""
    field, (t, y, _) = strange_fields()[name].double(), inputs()
    assert field.jacobian(t, y) is None  # pyright: ignore[reportCallIssue]
    found = jacobian(BoundField(field, None, BATCH), t, y)
    rows = []
    for i in range(DIM):
        at = y.clone().requires_grad_()
        rows.append(torch.autograd.grad(field(t, at)[:, i].sum(), at)[0])
    torch.testing.assert_close(found, torch.stack(rows, dim=1), **ROUNDING)


def test_an_implicit_solve_is_the_same_with_either():
    """The field's own Jacobian costs no evaluation; autograd's costs D at the start of each step."""

    class Opaque(nn.Module):
        def __init__(self, field: MLP) -> None:
            super().__init__()
            self.field = field

        def forward(self, t: Tensor, y: Tensor, u: Tensor) -> Tensor:
            return self.field(t, y, u)

    field, (_, y, u) = build(hidden=(8,), time=True, control=2), inputs()
    options: dict[str, Any] = {"method": "kencarp4", "rtol": 1e-8, "atol": 1e-8, "args": u}
    answers = []
    for each in (field, Opaque(field)):
        field.zero_grad()
        start = y.clone().requires_grad_()
        solved = solve_ode(each, start, [0.0, 1.0], **options)
        solved.states[:, -1].square().sum().backward()
        grads = [start.grad, *(p.grad for p in field.parameters())]
        answers.append((solved, [grad for grad in grads if grad is not None]))
    (own, own_grads), (other, other_grads) = answers
    # Iterations stop at the same place, with matrices that differ by rounding.
    torch.testing.assert_close(own.states, other.states, rtol=1e-12, atol=1e-12)
    assert len(own_grads) == len(other_grads) == 1 + len(list(field.parameters()))
    for one, two in zip(own_grads, other_grads, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-10, atol=1e-10)
    assert (other.stats.evaluations - own.stats.evaluations >= DIM * own.stats.accepted).all()
