"""Solvers of ordinary differential equations against their peers."""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torchdiffeq
from duel import Duel, Work, gradients, version
from torch import Tensor, nn

from integrand.core.fields import MLP
from integrand.core.numerics import solve_ode

SIZES = {"S": (2, 64, 64), "M": (16, 64, 256), "L": (64, 128, 512)}  # dimension, width, batch
STEPS, TOLERANCE = 20, 1e-4
Solve = Callable[[nn.Module, Tensor], Tensor]

RK4_MUST = {"S": 1.9, "M": 1.6, "L": 1.4}
RK4_GOAL = {"S": 3.0, "M": 2.5, "L": 2.0}
TORCHDYN_MUST = {"S": 1.4, "M": 1.4, "L": 1.0}

FUSED = "the field gives its own vector-Jacobian product, as the suite's MLP does"
OPAQUE = "the same network in a module of the user's, which autograd must differentiate"


def duels() -> Iterator[Duel]:
    """Yield every comparison."""
    for size in SIZES:
        yield from _rk4(size)
        yield from _dopri5(size)
    yield _overhead()


class Opaque(nn.Module):
    """A user's own field: the same layers, and no vector-Jacobian product given."""

    def __init__(self, field: MLP) -> None:
        super().__init__()
        self.layers = field.layers

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        """Evaluate the field."""
        return self.layers(y)


class Setting:
    """The network and the initial states of one size, and works on copies of the network."""

    def __init__(self, size: str) -> None:
        self.dim, self.width, self.batch = SIZES[size]
        torch.manual_seed(0)
        self.field, self.y0 = MLP(self.dim, (self.width, self.width)), torch.randn(self.batch, self.dim)
        self.told = f"two-layer MLP field, size {size} (dimension {self.dim}, width {self.width}, batch {self.batch})"

    def work(self, solve: Solve, *, opaque: bool = False) -> Work:
        """Return the work of solving, and differentiating the sum of squares of the end, forward and backward."""
        copied = copy.deepcopy(self.field)
        field = Opaque(copied) if opaque else copied

        def once() -> list[Tensor]:
            field.zero_grad()
            start = self.y0.clone().requires_grad_()
            end = solve(field, start)
            end.square().sum().backward()
            return [end.detach(), *gradients(start, *field.parameters())]

        return once


def _rk4(size: str) -> Iterator[Duel]:
    setting, times = Setting(size), torch.linspace(0, 1, STEPS + 1)

    def ours(field: nn.Module, y: Tensor, compile: bool = False) -> Tensor:
        return solve_ode(field, y, times, method="rk4", compile=compile).states[:, -1]

    def theirs(field: nn.Module, y: Tensor) -> Tensor:
        return torchdiffeq.odeint(field, y, times, method="rk4")[-1]  # pyright: ignore[reportArgumentType, reportReturnType]

    rules = (
        "the peer's rk4 is Kutta's 3/8 rule, ours the classical one: as many evaluations, and answers that differ by "
        "the two rules' errors"
    )
    named: dict[str, Any] = {
        "work": f"rk4, {STEPS} steps, {setting.told}, forward and backward",
        "peer": "torchdiffeq",
        "theirs": setting.work(theirs),
        "peer_version": version("torchdiffeq"),
    }
    aims = {"must": RK4_MUST[size], "goal": RK4_GOAL[size]}
    yield Duel(row=f"ode_rk4_{size}", ours=setting.work(ours), note=f"{FUSED}; {rules}", **aims, **named)
    yield Duel(row=f"ode_rk4_{size}_autograd", ours=setting.work(ours, opaque=True), note=f"{OPAQUE}; {rules}", **named)
    yield Duel(
        row=f"ode_rk4_{size}_compiled",
        ours=setting.work(lambda field, y: ours(field, y, compile=True)),
        note=f"compile=True, after the compilation, which takes up to a minute; {FUSED}; {rules}",
        **aims,
        **named,
    )


def _dopri5(size: str) -> Iterator[Duel]:
    setting, times = Setting(size), torch.tensor([0.0, 1.0])
    tolerances: dict[str, Any] = {"rtol": TOLERANCE, "atol": TOLERANCE}

    def ours(field: nn.Module, y: Tensor) -> Tensor:
        return solve_ode(field, y, times, method="dopri5", **tolerances).states[:, -1]

    def torchdiffeq_solve(field: nn.Module, y: Tensor) -> Tensor:
        return torchdiffeq.odeint(field, y, times, method="dopri5", **tolerances)[-1]  # pyright: ignore[reportArgumentType, reportReturnType]

    def torchdyn_solve(field: nn.Module, y: Tensor) -> Tensor:
        from torchdyn.numerics import odeint  # pyright: ignore[reportMissingImports]

        # It calls fields with args=..., which a closure takes without a word.
        return odeint(lambda t, y, args=None: field(t, y), y, times, solver="dopri5", **tolerances)[1][-1]

    named: dict[str, Any] = {
        "work": f"dopri5 from 0 to 1, rtol and atol {TOLERANCE:g}, {setting.told}, forward and backward"
    }
    pairs: list[tuple[str, Work, float | None]] = [
        ("torchdiffeq", setting.work(torchdiffeq_solve), 2.0),
        ("torchdyn", setting.work(torchdyn_solve), TORCHDYN_MUST[size]),
    ]
    if version("diffrax") is not None:
        pairs.append(("diffrax", _diffrax(setting), None))
    for peer, theirs, must in pairs:
        named |= {"peer": peer, "theirs": theirs, "peer_version": version(peer)}
        # As many steps are taken on each side, of lengths that differ: answers agree to the tolerance.
        yield Duel(
            row=f"ode_dopri5_{size}_{peer}",
            ours=setting.work(ours),
            note=FUSED + ("; JAX, compiled beforehand" if peer == "diffrax" else ""),
            must=must,
            goal=1.0 if peer == "diffrax" else None,
            **named,
        )
    named |= {"peer": pairs[0][0], "theirs": pairs[0][1], "peer_version": version("torchdiffeq")}
    yield Duel(row=f"ode_dopri5_{size}_autograd", ours=setting.work(ours, opaque=True), note=OPAQUE, **named)


def _diffrax(setting: Setting) -> Work:
    """Return the same work by diffrax, as one compiled function of value and gradients."""
    import diffrax  # pyright: ignore[reportMissingImports]
    import jax  # pyright: ignore[reportMissingImports]
    import jax.numpy as jnp  # pyright: ignore[reportMissingImports]

    weights = [jnp.asarray(parameter.detach().cpu().numpy()) for parameter in setting.field.parameters()]
    y0 = jnp.asarray(setting.y0.cpu().numpy())

    def field(t: Any, y: Any, weights: Any) -> Any:
        for i in range(0, len(weights) - 2, 2):
            y = jnp.tanh(y @ weights[i].T + weights[i + 1])
        return y @ weights[-2].T + weights[-1]

    def loss(y0: Any, weights: Any) -> Any:
        solution = diffrax.diffeqsolve(
            diffrax.ODETerm(field),
            diffrax.Dopri5(),
            t0=0.0,
            t1=1.0,
            dt0=None,
            y0=y0,
            args=weights,
            stepsize_controller=diffrax.PIDController(rtol=TOLERANCE, atol=TOLERANCE),
        )
        end = solution.ys[-1]  # pyright: ignore[reportOptionalSubscript]
        return (end**2).sum(), end

    run = jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))

    def once() -> list[Any]:
        (_, end), (y_bar, weights_bar) = jax.block_until_ready(run(y0, weights))
        return [end, y_bar, *weights_bar]

    return once


def _overhead() -> Duel:
    """What the call costs above the loop that a user would write by hand, at the size where it weighs most."""
    setting, times = Setting("S"), torch.linspace(0, 1, STEPS + 1)

    def by_hand(field: nn.Module, y: Tensor) -> Tensor:
        h = 1.0 / STEPS
        for t in times[:-1]:
            k1 = field(t, y)
            k2 = field(t + h / 2, y + h / 2 * k1)
            k3 = field(t + h / 2, y + h / 2 * k2)
            k4 = field(t + h, y + h * k3)
            y = y + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        return y

    return Duel(
        row="ode_rk4_S_by_hand",
        work=f"rk4, {STEPS} steps, {setting.told}, forward and backward",
        ours=setting.work(lambda field, y: solve_ode(field, y, times, method="rk4").states[:, -1], opaque=True),
        peer="a loop by hand",
        theirs=setting.work(by_hand, opaque=True),
        peer_version=f"torch {torch.__version__}",
        note=f"{OPAQUE}; a ratio above 0.91 is an overhead below 10 %",
        must=0.91,
    )
