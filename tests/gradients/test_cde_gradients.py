"""Gradients of controlled equations against finite differences and each other, in float64."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from integrand.core.numerics.solve_cde import solve_cde
from integrand.core.numerics.solve_log_ode import solve_log_ode
from integrand.core.paths import (
    HermitePath,
    LinearPath,
    LogSignaturePath,
    NaturalCubicPath,
    Path,
    RectilinearPath,
    hermite_coefficients,
    linear_coefficients,
    log_signatures,
    natural_cubic_coefficients,
    pad_times,
    rectilinear_coefficients,
    window_edges,
)

torch64 = torch.float64
B, L, C, H = 2, 5, 2, 2


class Field(nn.Module):
    """Nonlinear, with time and an argument in it."""

    def __init__(self, channels: int = C) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(H + 2, H * channels).double()

    def forward(self, t: Tensor, z: Tensor, args: Tensor) -> Tensor:
        t_B1 = t.to(z).expand(len(z)).unsqueeze(-1)
        return torch.tanh(self.layer(torch.cat([z, torch.sin(t_B1), args], dim=-1))).unflatten(-1, (H, -1))


def inputs() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Draw values with a gap, times of one's own with padding, initial states and arguments."""
    generator = torch.Generator().manual_seed(1)
    values = torch.randn(B, L, C, generator=generator, dtype=torch64)
    steps = 0.3 + torch.rand(B, L, generator=generator, dtype=torch64)
    z0, args = (torch.randn(B, n, generator=generator, dtype=torch64) for n in (H, 1))
    return values, pad_times(steps.cumsum(1), torch.tensor([L, 3])), z0, args


def make(kind: str, values: Tensor, times: Tensor) -> Path:
    mask = torch.ones_like(values, dtype=torch.bool)
    mask[0, 2, 1] = mask[1, 0, 0] = False
    if kind == "linear":
        return LinearPath(linear_coefficients(values, times, mask=mask), times)
    if kind == "hermite":
        return HermitePath(hermite_coefficients(values, times, mask=mask), times)
    if kind == "natural_cubic":
        return NaturalCubicPath(natural_cubic_coefficients(values, times, mask=mask), times)
    return RectilinearPath(rectilinear_coefficients(values, times, mask=mask))


RK4, HEUN = {"method": "rk4"}, {"method": "heun", "step_size": 0.4}
DOPRI5 = {"method": "dopri5", "rtol": 1e-8, "atol": 1e-10}


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        *((kind, options) for kind in ("linear", "hermite", "natural_cubic", "rectilinear") for options in (RK4, HEUN)),
        ("linear", DOPRI5),
        ("natural_cubic", DOPRI5),
    ],
    ids=str,
)
def test_direct_gradients_agree_with_finite_differences(kind: str, options: dict[str, Any]):
    """With respect to the values, the initial states, the arguments and every parameter."""
    values, times, z0, args = inputs()
    field = Field(C + 1 if kind == "rectilinear" else C)
    names, parameters = zip(*field.named_parameters(), strict=True)

    def solve(values: Tensor, z0: Tensor, args: Tensor, *parameters: Tensor) -> Tensor:
        def call(t: Tensor, z: Tensor, args: Tensor) -> Tensor:
            return torch.func.functional_call(field, dict(zip(names, parameters, strict=True)), (t, z, args))

        path = make(kind, values, times)
        share = path.times.new_tensor([0.0, 0.4, 1.0])
        asked = path.times[..., :1] + share * (path.times[..., -1:] - path.times[..., :1])
        return solve_cde(call, path, z0, asked, args=args, **options).states

    given = tuple(tensor.detach().clone().requires_grad_() for tensor in (values, z0, args, *parameters))
    # An adaptive solve moves its steps with the inputs: differences of 1e-4 see the tolerance as 1e-8 / 1e-4.
    adaptive = options is DOPRI5
    step = 1e-4 if adaptive else 1e-6
    assert torch.autograd.gradcheck(solve, given, eps=step, atol=step, fast_mode=adaptive)


class Taped(nn.Module):
    """The matrix field W z, with a tape of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.linspace(-1, 1, H * C * H, dtype=torch64).view(H * C, H))
        self.tapes = 0

    def forward(self, t: Tensor, z: Tensor) -> Tensor:
        return (z @ self.weight.T).view(-1, H, C)

    def open_tape(self, z0: Tensor, args: Any) -> "LinearTape":
        self.tapes += 1
        return LinearTape(self.weight)


class LinearTape:
    """A tape, and its own reader, of z -> W z."""

    def __init__(self, weight: Tensor, states: tuple[Tensor, ...] = ()) -> None:
        self.parameters, self.weight, self.states = (weight,), weight.detach(), list(states)
        self.bar = torch.zeros_like(self.weight)
        self.memory = self.weight.new_empty(B, H * C)

    def push(self, t: Tensor, y: Tensor, args: Any, out: Tensor | None = None) -> Tensor:
        assert out is not None
        self.states.append(y)
        return torch.mm(y, self.weight.T, out=out)

    def mark(self) -> int:
        return len(self.states)

    def rewind(self, mark: int) -> None:
        del self.states[mark:]

    def pack(self) -> tuple[Tensor, ...]:
        return tuple(self.states)

    def read(self, packed: tuple[Tensor, ...]) -> "LinearTape":
        return LinearTape(self.parameters[0], packed)

    def slot(self) -> Tensor:
        return self.memory

    def pop(self, cotangent: Tensor | None, out: Tensor | None = None) -> tuple[Tensor, tuple[Tensor, ...]]:
        assert cotangent is not None
        self.bar += cotangent.T @ self.states.pop()
        return (cotangent @ self.weight if out is None else torch.mm(cotangent, self.weight, out=out)), ()

    def parameter_cotangents(self, wanted: tuple[bool, ...]) -> tuple[Tensor | None, ...]:
        return (self.bar if wanted[0] else None,)


@pytest.mark.parametrize("own_times", [False, True])
@pytest.mark.parametrize("step_size", [None, 0.2])
def test_a_field_with_a_tape_gives_the_gradients_of_autograd(own_times: bool, step_size: float | None):
    """First ones, and first and second ones; and the path's own, for which autograd is left to do all."""
    values, times, z0, _ = inputs()
    times = times if own_times else times[0]
    taped = Taped()

    def gradients(field: Any, values: Tensor) -> list[Tensor]:
        start, path = z0.clone().requires_grad_(), make("hermite", values, times)
        states = solve_cde(field, path, start, times[..., [0, 1, -1]], step_size=step_size).states
        given = (start, taped.weight, *([values] if values.requires_grad else []))
        plain = torch.autograd.grad(states.square().sum(), given, retain_graph=True)
        first = torch.autograd.grad(states.square().sum(), given, create_graph=True)
        second = torch.autograd.grad(first[0].square().sum(), (start, taped.weight))
        return [states, *plain, *first, *second]

    for asked in (values, values.clone().requires_grad_()):
        tapes = taped.tapes
        found, expected = gradients(taped, asked), gradients(taped.forward, asked)
        assert taped.tapes == tapes + (not asked.requires_grad)
        for one, other in zip(found, expected, strict=True):
            # Sums of some hundred products in another order.
            torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-11)


def test_second_derivatives():
    values, times, z0, args = (tensor[:1] for tensor in inputs())
    field = Field()

    def solve(values: Tensor, z0: Tensor) -> Tensor:
        return solve_cde(field, HermitePath(hermite_coefficients(values, times), times), z0, times, args=args).states

    given = tuple(tensor.detach().clone().requires_grad_() for tensor in (values, z0))
    assert torch.autograd.gradgradcheck(solve, given)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_gradients_of_the_log_ode_method(depth: int):
    """Through the brackets' Jacobian-vector products and the log-signatures, to values, states and parameters."""
    values, times, z0, args = inputs()
    edges = window_edges(times, 2)
    field = Field()
    names, parameters = zip(*field.named_parameters(), strict=True)

    def solve(values: Tensor, z0: Tensor, args: Tensor, *parameters: Tensor) -> Tensor:
        def call(t: Tensor, z: Tensor, args: Tensor) -> Tensor:
            return torch.func.functional_call(field, dict(zip(names, parameters, strict=True)), (t, z, args))

        walk = LinearPath(linear_coefficients(values, times), times)
        path = LogSignaturePath(log_signatures(walk, edges, depth), edges)
        return solve_log_ode(call, path, z0, edges, depth=depth, args=args, method="midpoint").states

    given = tuple(tensor.detach().clone().requires_grad_() for tensor in (values, z0, args, *parameters))
    assert torch.autograd.gradcheck(solve, given, fast_mode=depth > 1)
