"""Derivatives of event times and states: by start, field, arguments, event functions and times; through restarts."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from integrand.core.numerics.solution import Solution
from integrand.core.numerics.solve_ode import solve_ode
from integrand.core.numerics.stepping.event import Event

torch64 = torch.float64
TIGHT: dict[str, Any] = {"rtol": 1e-9, "atol": 1e-11}
methods = pytest.mark.parametrize("method", ["bosh3", "dopri5", "tsit5", "dopri8"])


def meet(*args: Any, **options: Any) -> tuple[Tensor, Tensor, Solution]:
    """Return the times and the states of the terminal events, and the solution."""
    solved = solve_ode(*args, **options)
    assert solved.event_times is not None
    assert solved.event_states is not None
    return solved.event_times, solved.event_states, solved


# Closed forms


@methods
def test_a_fall_ends_when_and_as_it_should(method: str):
    """From height h with gravity g and speed u downwards: v = sqrt(u^2 + 2 g h), t = (v - u) / g.

    With w = dv, and each method exact on parabolas: dt/dh = 1 / v, dt/dg = (h / v - t) / g, dt/du = (u / v - 1) / g;
    the speed on the ground has dv/dh = g / v, dv/dg = h / v, dv/du = u / v, and the height there does not move.
    """
    h = torch.tensor([1.0, 20.0, 3.0], dtype=torch64, requires_grad=True)
    u = torch.tensor([0.0, 1.0, -4.0], dtype=torch64, requires_grad=True)
    g = torch.tensor([[9.81], [1.62], [3.7]], dtype=torch64, requires_grad=True)

    def field(t: Tensor, y: Tensor, g: Tensor) -> Tensor:
        return torch.cat([y[:, 1:], -g], dim=1)

    y0 = torch.stack([h, -u], dim=1)
    ground = Event(lambda t, y, g: y[:, 0], direction=-1)
    time, state, _ = meet(field, y0, [0.0, 30.0], args=g, event=ground, method=method)
    by_time = torch.autograd.grad(time.sum(), (h, g, u), retain_graph=True)
    by_speed = torch.autograd.grad(-state[:, 1].sum(), (h, g, u), retain_graph=True)
    by_height = torch.autograd.grad(state[:, 0].sum(), (h, g, u))
    with torch.no_grad():
        a = g[:, 0]
        v = (u**2 + 2 * a * h).sqrt()
        t = (v - u) / a
        expected_time = (1 / v, ((h / v - t) / a)[:, None], (u / v - 1) / a)
        expected_speed = (a / v, (h / v)[:, None], u / v)
    # A handful of steps of sums with weights up to 528, in 1e-16; times up to 5 and speeds up to 10.
    torch.testing.assert_close(time, t, rtol=1e-11, atol=0)
    torch.testing.assert_close(-state[:, 1], v, rtol=1e-11, atol=0)
    for actual, expected in ((by_time, expected_time), (by_speed, expected_speed)):
        for one, other in zip(actual, expected, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-11)
    for one in by_height:
        torch.testing.assert_close(one, torch.zeros_like(one), rtol=0, atol=1e-10)


def test_a_moving_start_moves_the_event_with_it():
    """For a field without time t* - t_0 is fixed, and so is y*; outputs before the event move as outputs do."""
    times = torch.tensor([[0.5, 0.7, 3.0], [2.0, 2.5, 9.0]], dtype=torch64, requires_grad=True)
    y0 = torch.tensor([[1.0], [2.0]], dtype=torch64)
    event = Event(lambda t, y: y[:, 0] - 0.6)
    time, state, solved = meet(lambda t, y: -y, y0, times, event=event, **TIGHT)
    torch.testing.assert_close(time, times[:, 0] + (y0[:, 0] / 0.6).log(), rtol=0, atol=1e-7)
    (by_times,) = torch.autograd.grad(time.sum(), times, retain_graph=True)
    torch.testing.assert_close(by_times, torch.tensor([[1.0, 0.0, 0.0]] * 2, dtype=torch64), rtol=0, atol=1e-7)
    (by_times,) = torch.autograd.grad(state.sum(), times, retain_graph=True)
    torch.testing.assert_close(by_times, torch.zeros_like(times), rtol=0, atol=1e-7)
    (by_times,) = torch.autograd.grad(solved.states[:, 1].sum(), times)
    slope = -solved.states[:, 1, 0]
    torch.testing.assert_close(by_times[:, 0], -slope, rtol=1e-6, atol=0)
    torch.testing.assert_close(by_times[:, 1], slope, rtol=1e-6, atol=0)


@pytest.mark.parametrize("method", ["dopri5", "tsit5", "dopri8"])
def test_derivatives_agree_with_finite_differences(method: str):
    """An event that depends on time, state, arguments and a learned level, of a field that depends on time too."""
    level = torch.tensor(0.4, dtype=torch64)

    def field(t: Tensor, y: Tensor, k: Tensor) -> Tensor:
        t = t if t.dim() == 0 else t.view(-1, 1)
        return torch.cat([y[:, 1:], -k * y[:, :1] + 0.3 * torch.sin(2 * t) * y[:, 1:]], dim=1)

    def solve(y0: Tensor, k: Tensor, level: Tensor) -> tuple[Tensor, ...]:
        events = [
            Event(lambda t, y, k: y[:, 1] + 0.1 * k[:, 0], terminal=False),
            Event(lambda t, y, k: y[:, 0] + 0.1 * t + 0.05 * k[:, 0] * y[:, 1] ** 2 - level, direction=-1),
        ]
        time, state, solved = meet(
            field, y0, [0.0, 0.3, 9.0], args=k, event=events, method=method, rtol=1e-8, atol=1e-10, on_failure="last"
        )
        assert solved.events is not None
        assert solved.events.which.tolist() == [[0, 1], [0, 1]]
        return time, state, solved.states, solved.events.times, solved.events.states

    y0 = torch.tensor([[1.0, 0.5], [0.8, 0.9]], dtype=torch64)
    k = torch.tensor([[1.0], [2.5]], dtype=torch64)
    inputs = tuple(each.requires_grad_() for each in (y0, k, level))
    # The steps move with the inputs: differences of 1e-4 see the tolerance as 1e-8 / 1e-4.
    assert torch.autograd.gradcheck(solve, inputs, eps=1e-4, atol=1e-3)


def test_passing_events_do_not_change_the_gradient_of_the_solution():
    y0 = torch.tensor([[1.0, 0.0], [0.3, 0.4]], dtype=torch64, requires_grad=True)

    def field(t: Tensor, y: Tensor) -> Tensor:
        return torch.stack([y[:, 1], -y[:, 0].sin()], dim=1)

    gradients = []
    for options in ({"stepping": "per_sample"}, {"event": Event(lambda t, y: y[:, 0], terminal=False)}):
        states = solve_ode(field, y0, [0.0, 3.0, 8.0], **options, **TIGHT).states  # pyright: ignore[reportArgumentType]
        gradients.append(torch.autograd.grad(states.square().sum(), y0)[0])
    assert torch.equal(*gradients)


def test_samples_without_event_and_events_without_derivative_spoil_no_gradient():
    """The second sample never gets there; the third meets an event whose function stands still, y^3 at y = 0."""
    w = torch.tensor(1.0, dtype=torch64, requires_grad=True)
    y0 = torch.tensor([[-1.0], [-9.0], [-2.0]], dtype=torch64)
    cube = torch.tensor([1.0, 1.0, 3.0], dtype=torch64)
    time, state, _ = meet(
        lambda t, y, p: torch.ones_like(y) * w,
        y0,
        [0.0, 4.0],
        args=cube,
        event=Event(lambda t, y, p: torch.where(p == 3, torch.round(y[:, 0] + 0.5) - 0.5, y[:, 0])),
    )
    assert time[1].isinf()
    (by_w,) = torch.autograd.grad(time[0], w, retain_graph=True)
    torch.testing.assert_close(by_w, torch.tensor(-1.0, dtype=torch64), rtol=1e-13, atol=0)  # t* = 1 / w
    (by_w,) = torch.autograd.grad(time[2], w, retain_graph=True)
    assert by_w == 0
    (by_w,) = torch.autograd.grad(torch.where(time.isinf(), 0.0, time).sum() + state[0].sum(), w)
    torch.testing.assert_close(by_w, torch.tensor(-1.0, dtype=torch64), rtol=1e-13, atol=0)


# Restarts


def bounce(height: Tensor, gravity: Tensor, restitution: Tensor, bounces: int) -> tuple[Tensor, Tensor]:
    """Let balls fall from rest, and return the times of the first impacts, (B, N), and the speeds after them."""
    ground = Event(lambda t, y, g: y[:, 0], direction=-1)
    start, y = torch.zeros_like(height), torch.stack([height, torch.zeros_like(height)], dim=1)
    times, speeds = [], []
    for _ in range(bounces):
        start, y, _ = meet(
            lambda t, y, g: torch.stack([y[:, 1], -g], dim=1),
            y,
            torch.stack([start, start + 10], dim=1),
            args=gravity,
            event=ground,
        )
        y = torch.stack([torch.zeros_like(height), -restitution * y[:, 1]], dim=1)
        times.append(start)
        speeds.append(y[:, 1])
    return torch.stack(times, dim=1), torch.stack(speeds, dim=1)


def test_a_bouncing_ball_keeps_its_times_and_their_derivatives():
    """Impact n is at t_n = sqrt(2 h / g) (1 + 2 e + ... + 2 e^n), with speed e^{n+1} sqrt(2 g h) after it."""
    h, g, e = (
        torch.tensor(values, dtype=torch64, requires_grad=True)
        for values in ([1.0, 3.0, 0.2], [9.81, 1.62, 9.81], [0.5, 0.9, 0.8])
    )
    times, speeds = bounce(h, g, e, 5)
    sums = torch.cat([torch.ones(3, 1), 2 * torch.stack([e**n for n in range(1, 5)], dim=1)], dim=1).cumsum(1)
    exact_times = (2 * h / g).sqrt()[:, None] * sums
    exact_speeds = torch.stack([e**n for n in range(1, 6)], dim=1) * (2 * g * h).sqrt()[:, None]
    # dopri5 is exact on parabolas; a few steps a bounce, and cancellation by a factor of 10 at an impact.
    torch.testing.assert_close(times, exact_times, rtol=1e-12, atol=0)
    torch.testing.assert_close(speeds, exact_speeds, rtol=1e-12, atol=0)
    weights = torch.linspace(-1, 2, 15, dtype=torch64).view(3, 5)
    actual = torch.autograd.grad(((times + 0.3 * speeds) * weights).sum(), (h, g, e))
    expected = torch.autograd.grad(((exact_times + 0.3 * exact_speeds) * weights).sum(), (h, g, e))
    for one, other in zip(actual, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=0)


def test_the_height_of_a_fall_is_found_from_when_it_ends():
    """By gradient steps through three bounces: the height that makes the third impact come after two seconds."""
    g, e = torch.tensor([9.81], dtype=torch64), torch.tensor([0.7], dtype=torch64)
    h = torch.tensor([0.5], dtype=torch64, requires_grad=True)
    for _ in range(8):  # Newton's method on t_2(h) = 2
        third = bounce(h, g, e, 3)[0][:, 2]
        (rate,) = torch.autograd.grad(third.sum(), h)
        with torch.no_grad():
            h += (2 - third) / rate
    exact = 9.81 / 2 * (2 / (1 + 2 * 0.7 + 2 * 0.49)) ** 2
    assert h.item() == pytest.approx(exact, rel=1e-12)


# Event functions that learn


class Threshold(nn.Module):
    """g = w . y + b t - c, every number learned."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor([0.9, 0.1], dtype=torch64))
        self.b = nn.Parameter(torch.tensor(0.05, dtype=torch64))
        self.c = nn.Parameter(torch.tensor(0.6, dtype=torch64))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return y @ self.w + self.b * t - self.c


def test_parameters_of_an_event_function_have_the_known_derivatives():
    """y' = (1, -1) from (a, 0): w . (a + t, -t) + b t = c at t = (c - w_1 a) / r with r = w_1 - w_2 + b."""
    event = Threshold()
    a = torch.tensor([0.0, 0.2, -1.0], dtype=torch64)
    y0 = torch.stack([a, torch.zeros_like(a)], dim=1)
    slope = torch.tensor([1.0, -1.0], dtype=torch64)
    time, state, _ = meet(lambda t, y: slope.expand_as(y), y0, [0.0, 9.0], event=Event(event))
    r = (event.w[0] - event.w[1] + event.b).detach()
    t = ((event.c - event.w[0] * a) / r).detach()
    torch.testing.assert_close(time, t, rtol=1e-13, atol=0)
    for values, factor in ((time, 1.0), (state[:, 0], 1.0), (state[:, 1], -1.0)):
        by_w, by_b, by_c = torch.autograd.grad(values.sum(), tuple(event.parameters()), retain_graph=True)
        known = (torch.stack([-((a + t) / r).sum(), (t / r).sum()]), -(t / r).sum(), torch.full((), 3.0) / r)
        for one, other in zip((by_w, by_b, by_c), known, strict=True):
            torch.testing.assert_close(one, factor * other, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("dtype", [torch.float32, torch64])
def test_a_neural_event_function_learns_when_to_ring(dtype: torch.dtype):
    """Circles that are to be left on the line x + y = 0.5, which the network has to find from the times alone."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1)).to(dtype)
    with torch.no_grad():  # a line at the start, so that every sample has an event to begin with
        inner, shift, outer, level = net.parameters()
        inner.mul_(0.1)
        inner[0], outer[0, 0] = torch.tensor([0.9, 0.3]), 1.0
        shift.zero_()
        level.fill_(-0.1)
    angle = torch.linspace(-0.6, 0.3, 12, dtype=dtype)
    y0 = torch.stack([angle.cos(), angle.sin()], dim=1)
    # cos s + sin s = 0.5 at s = pi / 4 + acos(0.5 / sqrt 2), from s = angle on.
    target = torch.pi / 4 + torch.acos(torch.tensor(0.5 / 2**0.5, dtype=dtype)) - angle
    optimiser = torch.optim.Adam(net.parameters(), lr=0.02)
    event = Event(lambda t, y: net(y).squeeze(1), direction=-1)
    losses = []
    for _ in range(40):
        optimiser.zero_grad()
        time, _, _ = meet(lambda t, y: torch.stack([-y[:, 1], y[:, 0]], dim=1), y0, [0.0, 5.0], event=event)
        loss = (time - target).square().mean()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
        assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in net.parameters())
    assert losses[-1] < 1e-2 * losses[0]
