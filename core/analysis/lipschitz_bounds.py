"""How much a function may stretch distances: from below by search, from above by its structure.

Dimension letters: N points, D of a point, E of a value.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from integrand.core.analysis.activation_slopes import slope_range
from integrand.core.analysis.convolution_norm import convolution_norm_bound
from integrand.core.analysis.jacobians import in_double, is_timed, jacobians, recording
from integrand.core.analysis.layered_bounds import norm_bounds
from integrand.core.analysis.layered_network import Layered, inside, is_hooked, is_linear, join_layers, read_layers
from integrand.core.errors import InputError
from integrand.core.fields.lipschitz_mlp import LipschitzMLP
from integrand.core.fields.relaxation import Relaxation

SEARCHED = 256
"""Points from which the search ascends: the steepest of those given."""

POLISHED = 8
"""Points whose Jacobian is decomposed in the end."""

Box = tuple[Tensor, Tensor]
"""The least and the most of every coordinate, (D,) each."""


class LipschitzBounds(NamedTuple):
    """Between which numbers the Lipschitz constant lies.

    Attributes:
        lower: the largest spectral norm of the Jacobian that was found.
        upper: a bound that holds everywhere, or in the box where one was given; None where the structure of the
            function does not tell.
        at: where ``lower`` was found, (D,).
        how: what gave ``upper``, or why there is none.
    """

    lower: float
    upper: float | None
    at: Tensor
    how: str


def lipschitz_bounds(
    f: Callable[..., Tensor],
    x: Tensor,
    *,
    steps: int = 30,
    seed: int = 0,
    box: Box | None = None,
    residual: float | None = None,
    t: float = 0.0,
) -> LipschitzBounds:
    """Bound the least L with |f(x) - f(y)| <= L |x - y|.

        lower = max |J(x)|  over the x that were visited  <=  L  <=  upper

    From below: power iteration with products by J and J^T finds |J| at the points given, and from the steepest of them
    it ascends, by the gradient of u^T J(x) v for the singular vectors u and v, and by chance where that is zero, as it
    is for functions that are linear in pieces. From above: the structure of f, layer by layer, see ``norm_bounds``; of
    networks that are not dense the product of the parts' bounds.

    Known are ``nn.Linear``, ``nn.Conv1d``, ``nn.Conv2d``, ``nn.BatchNorm1d`` and ``nn.BatchNorm2d`` that learn
    nothing, reshaping, dropout at rest, the activations of ``slope_range``, ``nn.Sequential`` of all these, and the
    fields ``MLP``, ``LipschitzMLP``, ``Linear``, ``ContractiveField``, ``MonotoneField`` and ``Relaxation``. A layer
    normalisation has no bound, or none worth the name.

    Everything is done in float64 with a copy of f; ``lower`` is rounded down and ``upper`` up.

    Args:
        f: maps (N, D) to (N, E), samples independent; or a field, called ``f(t, y)``.
        x: points, (N, D), from which the search begins.
        steps: of the ascent, and of making scales better, see ``norm_bounds``; 0 looks at the points alone.
        seed: of the search.
        box: bounds within a box instead of everywhere: the ranges of slopes are those that arguments within it can
            meet, by arithmetic of intervals, which is tighter for dense networks and small boxes.
        residual: h, to bound y + h f(y), one residual block or step of Euler's method, instead of f.
        t: time at which a field is looked at for ``lower``; ``upper`` holds for all.

    Raises:
        InputError: points of another shape, a box that is none, values that are not (N, E).

    Example:
        >>> found = lipschitz_bounds(nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1)), torch.randn(20, 2))
        >>> 0 < found.lower <= found.upper
        True

    Source: Virmaux and Scaman (2018), Lipschitz regularity of deep neural networks: analysis and efficient estimation;
    Combettes and Pesquet (2020), Lipschitz certificates for layered network structures driven by averaged activation
    operators.
    """
    if steps < 0:
        raise InputError(f"steps={steps} is out of range: 0 or more.")
    made = in_double(f, x, t=t, timed=is_timed(f))
    box = None if box is None else _checked(box, made.states)
    function = made.function
    if residual is not None:
        function = lambda y: y + residual * made.function(y)  # noqa: E731
    with recording():
        lower, at = _search(function, made.states, steps, seed, box)
    with torch.inference_mode(False), torch.no_grad():
        found = _above(made.source, box, residual, steps)
    eps = torch.finfo(made.states.dtype).eps
    down = 1 - max(1e-10, 256 * eps)
    return LipschitzBounds(lower * down, found[0], at.to(x.dtype), found[1])


def _checked(box: Box, states: Tensor) -> Box:
    low, high = (torch.as_tensor(each, dtype=states.dtype, device=states.device).detach() for each in box)
    if low.shape != states.shape[1:] or high.shape != states.shape[1:] or not bool((low <= high).all()):
        raise InputError(f"box must be (low, high), {tuple(states.shape[1:])} each and low <= high: give both corners.")
    if not bool(torch.isfinite(torch.cat([low, high])).all()):
        raise InputError("box has a side without end: leave it out for a bound that holds everywhere.")
    return low, high


def _search(
    function: Callable[[Tensor], Tensor], x: Tensor, steps: int, seed: int, box: Box | None
) -> tuple[float, Tensor]:
    """Return the largest norm of the Jacobian that was found, and where."""
    generator = torch.Generator(x.device).manual_seed(seed)

    def draw(like: Tensor) -> Tensor:
        return torch.randn(like.shape, generator=generator, dtype=like.dtype, device=like.device)

    x = x if box is None else x.clamp(*box)
    if not steps and len(x) <= POLISHED:
        return _steepest(function, x)
    u = draw(function(x).detach())
    size, u, slope = _stretch(function, x, u, 6)
    best = size.argsort(descending=True)[:SEARCHED]
    x, u, size, slope = x[best], u[best], size[best], slope[best]
    spread = x.std(0, correction=0).norm() if box is None else (box[1] - box[0]).norm() / 2
    length = torch.full_like(size, 0.1).unsqueeze(1) * torch.where(spread > 0, spread, x.norm(dim=1).max() + 1)
    for step in range(steps):
        flat = slope.norm(dim=1, keepdim=True) <= 1e-12 * size.unsqueeze(1)
        way = torch.where(flat, draw(x), slope) if step % 3 < 2 else draw(x)
        tried = x + length * way / way.norm(dim=1, keepdim=True).clamp(min=1e-300)
        tried = tried if box is None else tried.clamp(*box)
        found = _stretch(function, tried, u, 3)
        better = found[0] > size
        size = torch.where(better, found[0], size)
        x, u, slope = (
            torch.where(better.unsqueeze(1), new, old)
            for new, old in zip((tried, *found[1:]), (x, u, slope), strict=True)
        )
        length = torch.where(better.unsqueeze(1), 1.5 * length, 0.6 * length)
    return _steepest(function, x[size.argsort(descending=True)[:POLISHED]])


def _steepest(function: Callable[[Tensor], Tensor], x: Tensor) -> tuple[float, Tensor]:
    """Return the largest norm of the Jacobians at some points, and where it is."""
    norms = torch.linalg.matrix_norm(jacobians(function, x).nan_to_num(0.0), ord=2)
    return norms.max().item(), x[norms.argmax()]


def _stretch(function: Callable[[Tensor], Tensor], x: Tensor, u: Tensor, rounds: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return |J v| for a v found by power iteration, (N,), the u = J v / |J v|, and the gradient of u^T J(x) v by x."""
    x = x.detach().requires_grad_()
    u = _unit(u).requires_grad_()
    value = function(x)
    if not value.requires_grad:
        return value.new_zeros(len(x)), u.detach(), torch.zeros_like(x)
    size = value.new_zeros(len(x))
    pulled = torch.zeros_like(x)
    for _ in range(rounds):
        pulled = _gradient(value, x, u, create_graph=True)
        v = _unit(pulled.detach())
        pushed = _gradient(pulled, u, v)  # J v: the product by J^T is linear in u
        size = pushed.norm(dim=1)
        u = _unit(pushed).requires_grad_()
    v = _unit(_gradient(value, x, u).detach())
    slope = _gradient(_gradient(value, x, u.detach(), create_graph=True), x, v)
    finite = torch.isfinite(size) & torch.isfinite(slope).all(1)
    return torch.where(finite, size, -math.inf), u.detach(), torch.where(finite.unsqueeze(1), slope, 0.0)


def _gradient(value: Tensor, by: Tensor, weight: Tensor, *, create_graph: bool = False) -> Tensor:
    if not value.requires_grad:
        return torch.zeros_like(by)
    (found,) = torch.autograd.grad(value, by, weight, create_graph=create_graph, retain_graph=True, allow_unused=True)
    return torch.zeros_like(by) if found is None else found


def _unit(rows: Tensor) -> Tensor:
    return rows.detach() / rows.detach().norm(dim=1, keepdim=True).clamp(min=torch.finfo(rows.dtype).tiny)


def _above(f: object, box: Box | None, residual: float | None, steps: int) -> tuple[float | None, str]:
    """Return an upper bound and what gave it."""
    net = read_layers(f)
    if net is not None:
        if residual is not None:
            if len(net.weights[-1]) != net.weights[0].shape[1]:
                return None, "the values are not shaped like the points, so that they cannot be added."
            net = net.scaled(residual, 1.0)
        return _of_layers(f if residual is None else None, net, box, steps)
    if not isinstance(f, nn.Module):
        return None, f"a {type(f).__name__} does not show its structure: give a module, or take lower alone."
    value, how = stretch_bound(f, steps=steps)
    if value is None:
        return None, how
    if box is not None:
        how += "; it is not of dense layers alone, so that the box changed nothing"
    return (value if residual is None else 1 + abs(residual) * value) * (1 + 1e-14), how


def _of_layers(f: object, net: Layered, box: Box | None, steps: int) -> tuple[float, str]:
    slopes, where = net.slopes(), ""
    if box is not None:
        within = net.slopes_within(*box)
        where = " everywhere, as a bias depends on more than y" if within is None else " within the box"
        slopes = slopes if within is None else within
    found = norm_bounds(net, slopes, steps=steps)
    if isinstance(f, LipschitzMLP):
        found["the field's own constant"] = f.lipschitz * (1 + 1e-9)
    name = min(found, key=found.__getitem__)
    return found[name], f"{name}{where}, the least of {len(found)} bounds"


def stretch_bound(module: nn.Module, *, steps: int = 30) -> tuple[float | None, str]:
    """Return a Lipschitz constant of a module as the product of those of its parts, and how; or None, and why.

    Dense layers and activations that follow one another are one part.
    """
    if isinstance(module, Relaxation) and type(module) is Relaxation:
        value, how = stretch_bound(module.cell, steps=steps)
        return (None if value is None else (value + 1) / module.time_constant), how
    if is_hooked(module):
        return None, "a hook may change what the layers say: remove it."
    bound, run, parts = 1.0, list[nn.Module](), 0

    def close() -> float:
        if not run:
            return 1.0
        net = join_layers(run)
        assert net is not None  # of such parts alone
        run.clear()
        return min(norm_bounds(net, net.slopes(), steps=steps).values())

    for part in inside(module):
        parts += 1
        if is_linear(part) or (run and slope_range(part) is not None):
            run.append(part)
            continue
        value = _of_part(part)
        if value is None:
            return None, f"no bound is known of {type(part).__name__}{_reason(part)}"
        bound *= close() * value
    return bound * close(), f"the product of the bounds of {parts} parts"


def _of_part(part: nn.Module) -> float | None:
    known = slope_range(part)
    if known is not None:
        return known.steepest
    if type(part) in (nn.Conv1d, nn.Conv2d):
        return convolution_norm_bound(part)  # pyright: ignore[reportArgumentType]
    if type(part) in (nn.BatchNorm1d, nn.BatchNorm2d) and not part.training and part.running_var is not None:  # pyright: ignore[reportAttributeAccessIssue]
        deviation = (part.running_var + part.eps).sqrt()  # pyright: ignore[reportOperatorIssue, reportAttributeAccessIssue]
        return float((1 / deviation if part.weight is None else part.weight.abs() / deviation).max()) * (1 + 1e-12)  # pyright: ignore[reportCallIssue, reportArgumentType]
    if (type(part) is nn.Flatten and part.start_dim == 1) or (type(part) is nn.Unflatten and part.dim == 1):
        return 1.0
    net = read_layers(part)
    return None if net is None else min(norm_bounds(net, net.slopes()).values())


def _reason(part: nn.Module) -> str:
    if isinstance(part, nn.LayerNorm):
        return ": it divides by a spread that may be as small as it likes."
    if isinstance(part, nn.Dropout | nn.BatchNorm1d | nn.BatchNorm2d):
        return " while it trains: call eval()."
    return ": take lower alone, or write it as nn.Sequential of what is known."
