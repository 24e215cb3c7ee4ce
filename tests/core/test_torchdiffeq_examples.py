"""What torchdiffeq's own examples do, done by its drop-in, against closed forms and against the library."""

import math
from typing import Any

import pytest
import torch
import torchdiffeq
from torch import Tensor, nn

from integrand.core.numerics import torchdiffeq_api as api


def test_spiral_training_step():
    """examples/ode_demo.py: a field of cubes learns a spiral from short pieces of it."""
    true = torch.tensor([[-0.1, 2.0], [-2.0, -0.1]])
    t = torch.linspace(0.0, 2.0, 20)

    def train(lib: Any, interface: str, method: str) -> tuple[list[float], list[Tensor]]:
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 2))
        optimiser = torch.optim.SGD(net.parameters(), lr=1e-2)

        class Func(nn.Module):
            def __init__(self):
                super().__init__()
                self.net = net

            def forward(self, t: Tensor, y: Tensor) -> Tensor:
                return self.net(y**3)

        func, losses = Func(), []
        with torch.no_grad():
            target = lib.odeint(lambda t, y: y**3 @ true, torch.tensor([[2.0, 0.0], [1.0, 1.0]]), t, method="dopri5")
        for _ in range(3):
            optimiser.zero_grad()
            predicted = getattr(lib, interface)(func, target[0], t, method=method, rtol=1e-5, atol=1e-6)
            loss = (predicted - target).abs().mean()
            loss.backward()
            optimiser.step()
            losses.append(loss.item())
        return losses, [p.detach().clone() for p in net.parameters()]

    for interface, method in (("odeint", "dopri5"), ("odeint_adjoint", "dopri5"), ("odeint", "rk4")):
        (ours, mine), (theirs, other) = (train(lib, interface, method) for lib in (api, torchdiffeq))
        # The mean of absolute values turns differences of 1e-5 in a state into as much of a loss.
        assert ours == pytest.approx(theirs, abs=1e-4)
        for a, b in zip(mine, other, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)
        assert ours[-1] < ours[0]


@pytest.mark.parametrize("interface", ["odeint", "odeint_adjoint"])
@pytest.mark.parametrize("reverse", [False, True])
def test_bouncing_ball(interface: str, reverse: bool):
    """examples/bouncing_ball.py: x'' = -g from x0 at rest lands at sqrt(2 x0 / g), and a bounce takes 2 v / g."""
    sign = -1.0 if reverse else 1.0

    class Ball(nn.Module):
        def __init__(self):
            super().__init__()
            self.gravity = nn.Parameter(torch.tensor([9.8], dtype=torch.float64))

        def forward(self, t: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
            return state[1], -self.gravity * torch.ones_like(state[1])

    ball = Ball()
    position = torch.tensor([10.0], dtype=torch.float64, requires_grad=True)
    t, y = torch.zeros(1, dtype=torch.float64), (position, torch.zeros(1, dtype=torch.float64))
    landings = []
    for _ in range(3):
        t, solution = api.odeint_event(
            ball,
            y,
            t,
            event_fn=lambda t, y: y[0],
            reverse_time=reverse,
            odeint_interface=getattr(api, interface),
            atol=1e-10,
            rtol=1e-10,
        )
        y = tuple(part[-1] for part in solution)
        y = (y[0] + 1e-7, -0.9 * y[1])
        landings.append(t)
    first = math.sqrt(2 * 10 / 9.8)
    exact = [first * (1 + sum(2 * 0.9**k for k in range(1, n + 1))) for n in range(3)]
    # The ball is set down 1e-7 above the ground, so that it does not touch it at once: that long late, and no more.
    assert [sign * landing.item() for landing in landings] == pytest.approx(exact, abs=1e-6)
    slopes = torch.autograd.grad(landings[-1].sum(), (position, ball.gravity))
    # The time is proportional to sqrt(x0 / g).
    expected = [sign * exact[-1] / (2 * 10), -sign * exact[-1] / (2 * 9.8)]
    assert [slope.item() for slope in slopes] == pytest.approx(expected, abs=1e-5)


def test_continuous_normalising_flow():
    """examples/cnf.py: the density rides along by the trace of the Jacobian; here of a linear field, known."""
    torch.manual_seed(0)
    matrix = nn.Parameter(torch.randn(2, 2, dtype=torch.float64) * 0.5)

    class Flow(nn.Module):
        def __init__(self):
            super().__init__()
            self.matrix = matrix

        def forward(self, t: Tensor, states: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
            z = states[0]
            with torch.set_grad_enabled(True):
                z.requires_grad_(True)
                dz = z @ self.matrix.T
                trace = sum(torch.autograd.grad(dz[:, i].sum(), z, create_graph=True)[0][:, i] for i in range(2))
            return dz, -trace.view(-1, 1)  # pyright: ignore[reportAttributeAccessIssue]

    x = torch.randn(6, 2, dtype=torch.float64)
    t = torch.tensor([1.0, 0.0], dtype=torch.float64)
    for interface in (api.odeint, api.odeint_adjoint):
        for grad in (True, False):
            with torch.set_grad_enabled(grad):
                z, log_det = interface(Flow(), (x, torch.zeros(6, 1, dtype=torch.float64)), t, rtol=1e-8, atol=1e-8)
                torch.testing.assert_close(z[-1], x @ torch.linalg.matrix_exp(-matrix).T, rtol=1e-6, atol=1e-6)
                trace = matrix.diagonal().sum()
                torch.testing.assert_close(log_det[-1], trace.expand(6, 1), rtol=1e-6, atol=1e-6)
        z, log_det = interface(Flow(), (x, torch.zeros(6, 1, dtype=torch.float64)), t, rtol=1e-8, atol=1e-8)
        (slope,) = torch.autograd.grad(log_det[-1].sum(), matrix)
        torch.testing.assert_close(slope, 6 * torch.eye(2, dtype=torch.float64), rtol=1e-6, atol=1e-6)


def test_latent_decoding():
    """examples/latent_ode.py: many samples from one short latent field, decoded at many times."""
    torch.manual_seed(0)
    field, decode = nn.Sequential(nn.Linear(4, 20), nn.Tanh(), nn.Linear(20, 4)), nn.Linear(4, 2)
    field, decode = field.double(), decode.double()
    z0 = torch.randn(10, 4, dtype=torch.float64, requires_grad=True)
    t = torch.linspace(0.0, 3.0, 100, dtype=torch.float64)
    found = []
    for lib in (api, torchdiffeq):
        x = decode(lib.odeint(lambda t, z: field(z), z0, t, rtol=1e-9, atol=1e-10).permute(1, 0, 2))
        found.append([x.detach(), *torch.autograd.grad(x.square().mean(), (z0, *field.parameters()))])
    for mine, other in zip(*found, strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=1e-7)  # a hundred tolerances


def test_dense_output():
    y0 = torch.tensor([1.0, -2.0], dtype=torch.float64, requires_grad=True)
    t0, t1 = torch.tensor([0.0, 2.0], dtype=torch.float64)
    dense = api.odeint_dense(lambda t, y: -y * t.sin(), y0, t0, t1, rtol=1e-9, atol=1e-10)
    for at in (0.0, 0.3, 1.7, 2.0):
        y = dense(torch.tensor(at, dtype=torch.float64))
        torch.testing.assert_close(y, y0 * math.exp(math.cos(at) - 1), rtol=1e-7, atol=1e-7)
        (slope,) = torch.autograd.grad(y.sum(), y0, retain_graph=True)
        torch.testing.assert_close(slope, torch.full_like(slope, math.exp(math.cos(at) - 1)), rtol=1e-7, atol=1e-7)


class Energy(nn.Module):
    """A gradient field that differentiates as it is called, with no ``enable_grad`` of its own."""

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return -torch.autograd.grad((y**4).sum() / 4, y, create_graph=True)[0]


@pytest.mark.parametrize("method", ["dopri5", "dopri8", "bosh3", "rk4"])
def test_fields_may_differentiate(method: str):
    """y' = -y^3 has the solution y0 (1 + 2 t y0^2)^(-1/2)."""
    y0 = torch.tensor([0.5, 1.0], dtype=torch.float64, requires_grad=True)
    t = torch.linspace(0, 2, 41, dtype=torch.float64)
    y = api.odeint(Energy(), y0, t, method=method)
    exact = y0 / (1 + 2 * t[:, None] * y0**2).sqrt()
    torch.testing.assert_close(y, exact, rtol=0, atol=1e-6)  # rk4 with steps of 0.05: h^4 times some tenth
    grads = [torch.autograd.grad(solved[-1].sum(), y0)[0] for solved in (y, exact)]
    torch.testing.assert_close(*grads, rtol=0, atol=1e-5)
