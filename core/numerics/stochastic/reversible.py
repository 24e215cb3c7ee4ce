"""The exact gradient of the reversible Heun scheme in memory that does not grow with the number of steps.

The scheme carries a pair (y, z), with (f_i, g_i) = (f, g)(t_i, z_i):

    z_{i+1} = 2 y_i - z_i + f_i h + g_i W,      y_{i+1} = y_i + (f_i + f_{i+1}) h / 2 + (g_i + g_{i+1}) W / 2.

Read backwards it is the same scheme with h and W turned, so that the way back finds the states of the way there, to
rounding, and differentiates one evaluation of the fields at a time. What is kept are the two last states, those at the
output times, and the Brownian increments.

Source: Kidger, Foster, Li and Lyons (2021), Efficient and accurate gradients for neural SDEs, Algorithms 1 and 2.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from integrand.core.errors import InputError
from integrand.core.numerics.stochastic.brownian import Increments
from integrand.core.numerics.stochastic.equation import Equation, wide
from integrand.core.numerics.stochastic.schemes import SCHEMES
from integrand.core.numerics.stochastic.walk import Grid, Path, walk


def solve_reversible(sde: Equation, y0: Tensor, grid: Grid, noise: Increments, learned: Sequence[Tensor]) -> Path:
    """Walk with the reversible Heun scheme; gradients go to y0 and to the tensors ``learned`` that the fields use."""
    states, kl = _Reversible.apply(_Problem(sde, grid, noise), y0, *learned)  # pyright: ignore[reportGeneralTypeIssues]
    return Path(states, kl if sde.has_prior else None)


def field_parameters(gradient: str, *fields: Any) -> list[Tensor]:
    """Return the parameters of fields that are modules or methods of modules.

    Raises:
        InputError: a field is neither, so that what it learns cannot be known.
    """
    found: dict[int, Tensor] = {}
    for field in fields:
        module = field if isinstance(field, nn.Module) else getattr(field, "__self__", None)
        if not isinstance(module, nn.Module):
            raise InputError(
                f"gradient={gradient!r} needs drift, diffusion and prior_drift to be torch.nn.Modules or methods of "
                "them, so that their parameters are known: wrap the function in one, or take gradient='direct'."
            )
        found |= {id(p): p for p in module.parameters() if p.requires_grad}
    return list(found.values())


class _Problem(NamedTuple):
    sde: Equation
    grid: Grid
    noise: Increments


class _Reversible(torch.autograd.Function):
    """The whole walk as one node of the graph."""

    @staticmethod
    def forward(ctx: Any, problem: _Problem, y0: Tensor, *learned: Tensor) -> tuple[Tensor, Tensor]:
        sde, grid, noise = problem
        y, z = y0, y0
        zero = y0.new_zeros(y0.shape[0])
        states, kls = [y0], [zero]
        for step, walked in enumerate(walk(sde, SCHEMES["reversible_heun"], y0, grid, noise), start=1):
            y, z = walked.y, walked.moved.carry[0]
            if step % grid.substeps == 0:
                states.append(y)
                kls.append(zero if walked.kl is None else walked.kl)
        ctx.problem, ctx.learned, ctx.precision = problem, learned, _precision(y0.device.type)
        ctx.save_for_backward(y, z)
        return torch.stack(states, dim=1), torch.stack(kls, dim=1)

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, grad_states: Tensor, grad_kl: Tensor
    ) -> tuple[Tensor | None, ...]:
        sde, grid, noise = ctx.problem
        y, z = ctx.saved_tensors
        learned = _Learned(ctx.learned)
        h, times = grid.h.unbind(-1), grid.times.unbind(-1)
        # What the KL gained in a step is in every later output.
        later_kl = grad_kl.flip(1).cumsum(1).flip(1)

        with ctx.precision():
            point = _Point(sde, times[len(h)], z)
        by_y = grad_states[:, -1]
        by_z, by_f, by_g, by_rate = torch.zeros_like(z), torch.zeros_like(z), torch.zeros_like(point.g), None
        for i in reversed(range(len(h))):
            h_y, w = wide(h[i], y), noise.w[i]
            by_z = by_z + learned.pull(point, by_f + by_y * h_y / 2, by_g + _outer(sde, by_y, w / 2), by_rate)
            f_end, g_end = point.f.detach(), point.g.detach()
            z = sde.push(2 * y - z, f_end, -h_y, g_end, -w)
            with ctx.precision():
                point = _Point(sde, times[i], z)
            y = sde.push(y, point.f.detach() + f_end, -h_y / 2, point.g.detach() + g_end, -w / 2)
            by_f, by_g = (by_y / 2 + by_z) * h_y, _outer(sde, by_y / 2 + by_z, w)
            by_y, by_z = by_y + 2 * by_z, -by_z
            if sde.has_prior:
                by_rate = h[i].abs() * later_kl[:, i // grid.substeps + 1]
            if i % grid.substeps == 0:
                by_y = by_y + grad_states[:, i // grid.substeps]
        by_y0 = by_y + by_z + learned.pull(point, by_f, by_g, by_rate)
        return (None, by_y0, *learned.gradients)


def _precision(device: str) -> Callable[[], AbstractContextManager[Any]]:
    """Return a context in which autocast is as it is now, for the backward pass to evaluate the fields alike."""
    if not torch.amp.is_autocast_available(device):
        return nullcontext
    now = {"enabled": torch.is_autocast_enabled(device), "dtype": torch.get_autocast_dtype(device)}
    return partial(torch.autocast, device, **now)


class _Point:
    """The fields at one state of the way back, with the graph of their evaluation."""

    def __init__(self, sde: Equation, t: Tensor, z: Tensor) -> None:
        with torch.enable_grad():
            self.z = z.detach().requires_grad_()
            self.f, self.g = sde.drift(t, self.z), sde.diffusion(t, self.z)
            self.rate = sde.kl_rate(t, self.z, self.f, self.g) if sde.has_prior else None


class _Learned:
    """Gradients of what the fields use, gathered on the way back."""

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        self.tensors = tensors
        self.gradients: list[Tensor | None] = [None] * len(tensors)

    def pull(self, point: _Point, by_f: Tensor, by_g: Tensor, by_rate: Tensor | None) -> Tensor:
        """Pull gradients of the fields back through a point: return that of z, and gather the others."""
        pairs = [(point.f, by_f), (point.g, by_g)]
        if by_rate is not None and point.rate is not None:
            pairs.append((point.rate, by_rate))
        pairs = [(value, gradient) for value, gradient in pairs if value.requires_grad]
        if not pairs:
            return torch.zeros_like(point.z)
        values, gradients = zip(*pairs, strict=True)
        by_z, *pulled = torch.autograd.grad(values, (point.z, *self.tensors), gradients, allow_unused=True)
        self.gradients = [
            new if old is None else old if new is None else old + new
            for old, new in zip(self.gradients, pulled, strict=True)
        ]
        return torch.zeros_like(point.z) if by_z is None else by_z


def _outer(sde: Equation, by: Tensor, w: Tensor) -> Tensor:
    """Return the gradient of g from that of g w."""
    return by * w if sde.diagonal else by.unsqueeze(-1) * w.unsqueeze(-2)
