"""Whether solutions come together: measured, told in words, and searched for what contradicts it.

Dimension letters: N states, D state.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from integrand.core.analysis.certified_rate import certified_rate
from integrand.core.analysis.finding import Finding
from integrand.core.analysis.jacobians import in_double, jacobians, recording
from integrand.core.analysis.layered_bounds import largest_symmetric
from integrand.core.errors import InputError
from integrand.core.numerics.field_call import Field
from integrand.core.numerics.solve_ode import solve_ode

NEAREST = 1e-3
"""The least distance of two states, next to the span in which they are drawn."""

SLACK = 1e-8
"""By how much, next to the rate, a pair may break it and not count."""


def contraction_rate(
    field: Field, states: Tensor, *, times: float | Tensor | None = None, metric: Tensor | None = None
) -> Tensor:
    """Return the matrix measure of the Jacobian at each state.

        mu(J) = largest eigenvalue of the symmetric part of P^(1/2) J P^(-1/2)

    To first order, the distance of two neighbouring solutions grows at most at the rate mu, and at just that rate in
    the worst direction. Where mu <= -c in a convex set that solutions do not leave, they come together at the rate c:
    ``-contraction_rate(...).max()`` is the rate over the states that were looked at, and no proof for the others.

    Args:
        field: f, called ``field(t, y)``, with samples that are independent.
        states: (N, D).
        times: one for all or one for each state, (N,); 0 when None.
        metric: P, (D, D), symmetric and positive definite; the identity when None.

    Returns:
        mu, (N,), in units of one over time.

    Raises:
        InputError: states or times of another shape, a field that gives another, a metric that is none.

    Example:
        >>> contraction_rate(lambda t, y: -2 * y + 3 * y.flip(1) * torch.tensor([1.0, -1.0]), torch.zeros(1, 2))
        tensor([-2.])

    Source: Soderlind (2006), The logarithmic norm: history and modern theory; Lohmiller and Slotine (1998), On
    contraction analysis for non-linear systems.
    """
    made = in_double(field, states, t=0.0 if times is None else times)
    matrices = jacobians(made.function, made.states)
    if matrices.shape[1] != matrices.shape[2]:
        raise InputError(f"the field gives {matrices.shape[1]} slopes for states of {states.shape[1]}: one for each.")
    with torch.inference_mode(False), torch.no_grad():
        if metric is not None:
            root = metric_root(metric, made.states)
            matrices = root @ torch.linalg.solve(root, matrices, left=False)
        return largest_symmetric(matrices).to(states.dtype)


def metric_root(metric: Tensor, like: Tensor) -> Tensor:
    """Return an R with R^T R = P, (D, D), so that |d|_P = |R d|.

    Raises:
        InputError: P is not symmetric and positive definite.
    """
    dim, p = like.shape[-1], metric.detach().to(like)
    if p.shape != (dim, dim) or not torch.allclose(p, p.T, rtol=1e-5, atol=1e-8 * float(p.abs().max())):
        raise InputError(f"metric of shape {tuple(metric.shape)} is not a symmetric ({dim}, {dim}) matrix.")
    root, failed = torch.linalg.cholesky_ex((p + p.T) / 2)
    if bool(failed):
        raise InputError("metric is not positive definite: all of its eigenvalues must be above 0.")
    return root.T


class Counterexample(NamedTuple):
    """Two states whose solutions do not come together as fast as they should.

    Attributes:
        first, second: the states, (D,) each.
        rate: at which their solutions come together, less than was claimed; below 0 they part.
        time: over which the rate was measured; 0 for that of the first moment.
    """

    first: Tensor
    second: Tensor
    rate: float
    time: float


def find_counterexample(
    field: Field,
    rate: float,
    *,
    pairs: int = 10_000,
    metric: Tensor | None = None,
    span: float = 3.0,
    centre: Tensor | None = None,
    t: float = 0.0,
    solved: int = 64,
    duration: float | None = None,
    steps: int = 60,
    seed: int = 0,
) -> Counterexample | None:
    """Search for two states that contradict a rate c of contraction.

        <P (x - y), f(x) - f(y)>  <=  -c |x - y|_P^2,      |x(t) - y(t)|_P <= exp(-c t) |x(0) - y(0)|_P

    The first is looked at for many random pairs, near ones and far ones, and from the worst of them by ascent in both
    states; the second for the solutions from some of the pairs. That none is found is no proof; one that is found
    disproves.

    Args:
        field: f, called ``field(t, y)``, with samples that are independent.
        rate: c, in units of one over time.
        pairs: how many are drawn.
        metric: P, (D, D); the identity when None.
        span: half the side of the cube in which states are looked for; a claim about a smaller region needs a smaller
            one.
        centre: its centre, (D,); zeros when None.
        t: the time at which solutions begin.
        solved: pairs that are solved for, half of them the worst; 0 leaves that out.
        duration: of those solutions; 3 / c when None, or 1 where c is not positive.
        steps: of the ascent.
        seed: of the pairs.

    Returns:
        The worst pair; None where every one keeps the rate, to more than rounding and the solver's error.

    Raises:
        InputError: an option out of range, a dimension that is not known from ``centre``, ``metric`` or ``field.dim``.

    Example:
        >>> find_counterexample(lambda t, y: -y + 0.5 * y.sin(), 0.5, centre=torch.zeros(1)) is None
        True
        >>> found = find_counterexample(lambda t, y: -y + 0.6 * y.sin(), 0.5, centre=torch.zeros(1))
        >>> 0.39 < found.rate < 0.5
        True

    Source: Soderlind (2006), The logarithmic norm: history and modern theory, on one-sided Lipschitz constants.
    """
    if pairs < 1 or solved < 0 or steps < 0 or not 0 < span < math.inf or (duration is not None and duration <= 0):
        raise InputError(
            f"pairs={pairs}, solved={solved}, steps={steps}, span={span}, duration={duration}: out of range."
        )
    middle = _middle(field, centre, metric)
    made = in_double(field, middle, t=t)
    middle = made.states
    with torch.inference_mode(False):
        root = None if metric is None else metric_root(metric, middle)
        first, apart = _draw_pairs(middle, pairs, span, seed)
        excess = _excess(made.function, first, apart, rate, root)
        worst = excess.argsort(descending=True)
        x, d = _climb(made.function, first[worst[:64]], apart[worst[:64]], rate, root, middle, span, steps)
        climbed = _excess(made.function, x, d, rate, root)
        best = climbed.argmax()
        if bool(climbed[best] > 0):
            with torch.no_grad():
                found = -float(_one_sided(made.function, x[best : best + 1], d[best : best + 1], root))
            return Counterexample(x[best], x[best] + d[best], found, 0.0)
        if not solved:
            return None
        some = torch.cat([worst[: solved // 2], worst[:: max(1, pairs // max(1, solved - solved // 2))]])
        duration = (3 / rate if rate > 0 else 1.0) if duration is None else duration
        return _along(made.source, first[some], apart[some], rate, root, t, duration, span)


def _middle(field: Field, centre: Tensor | None, metric: Tensor | None) -> Tensor:
    """Return the centre of the search, (1, D)."""
    if centre is not None:
        if centre.dim() != 1:
            raise InputError(f"centre must be one state, (D,), got {tuple(centre.shape)}.")
        return centre.detach().unsqueeze(0)
    if metric is not None:
        return metric.detach().new_zeros(1, metric.shape[-1])
    dim = getattr(field, "dim", None)
    if not isinstance(dim, int):
        raise InputError("the dimension of the states is not known: give centre=torch.zeros(D).")
    like = next(field.parameters(), None) if isinstance(field, nn.Module) else None
    return torch.zeros(1, dim) if like is None else like.detach().new_zeros(1, dim)


def _draw_pairs(middle: Tensor, pairs: int, span: float, seed: int) -> tuple[Tensor, Tensor]:
    """Return first states and what leads to the second ones, (N, D) each: half far apart, half at any small scale."""
    generator = torch.Generator(middle.device).manual_seed(seed)
    how = {"generator": generator, "dtype": middle.dtype, "device": middle.device}
    dim = middle.shape[1]
    first = middle + span * (2 * torch.rand(pairs, dim, **how) - 1)
    far = middle + span * (2 * torch.rand(pairs, dim, **how) - 1) - first
    way = torch.randn(pairs, dim, **how)
    near = way / way.norm(dim=1, keepdim=True) * span * NEAREST ** torch.rand(pairs, 1, **how)
    is_far = torch.arange(pairs, device=middle.device).unsqueeze(1) % 2 == 0
    return first, torch.where(is_far, far, near)


def _one_sided(function: Callable[[Tensor], Tensor], x: Tensor, d: Tensor, root: Tensor | None) -> Tensor:
    """Return <P d, f(x + d) - f(x)> / |d|_P^2, (N,)."""
    change = function(x + d) - function(x)
    if root is not None:
        change, d = change @ root.T, d @ root.T
    return (d * change).sum(1) / d.square().sum(1)


def _excess(function: Callable[[Tensor], Tensor], x: Tensor, d: Tensor, rate: float, root: Tensor | None) -> Tensor:
    """Return by how much more than rounding a pair breaks the inequality, (N,): above 0 if it does."""
    with torch.no_grad():
        size, length = function(x).abs().sum(1) + function(x + d).abs().sum(1), d.norm(dim=1)
        if root is not None:
            size, length = size * torch.linalg.matrix_norm(root, ord=2), (d @ root.T).norm(dim=1)
        slack = SLACK * (1 + abs(rate)) + 1e3 * torch.finfo(x.dtype).eps * (1 + size / length)
        excess = _one_sided(function, x, d, root) + rate - slack
        return torch.where(torch.isfinite(excess), excess, -math.inf)


def _climb(
    function: Callable[[Tensor], Tensor],
    x: Tensor,
    d: Tensor,
    rate: float,
    root: Tensor | None,
    middle: Tensor,
    span: float,
    steps: int,
) -> tuple[Tensor, Tensor]:
    """Return the worst pairs that ascent from these ones meets within the cube."""
    best, best_x, best_d = _excess(function, x, d, rate, root), x, d
    with recording():
        x, d = x.clone().requires_grad_(), d.clone().requires_grad_()
        optimiser = torch.optim.Adam([x, d], lr=0.03 * span, maximize=True)
        for _ in range(steps):
            value = _one_sided(function, x, d, root)
            if not value.requires_grad:
                break
            optimiser.zero_grad()
            value.nan_to_num(0.0).sum().backward()
            for each in (x, d):
                if each.grad is not None:
                    each.grad.nan_to_num_(0.0)
            optimiser.step()
            with torch.no_grad():
                x.copy_(x.clamp(middle - span, middle + span))
                d.copy_((x + d).clamp(middle - span, middle + span) - x)
                # Of states that are nearer rounding would decide.
                length = d.norm(dim=1, keepdim=True)
                way = torch.where(length > 0, d / length.clamp(min=1e-300), torch.ones_like(d) / math.sqrt(d.shape[1]))
                d.copy_(way * length.clamp(min=NEAREST * span))
                excess = _excess(function, x, d, rate, root)
                better = (excess > best).unsqueeze(1)
                best = torch.maximum(excess, best)
                best_x, best_d = torch.where(better, x, best_x), torch.where(better, d, best_d)
    return best_x.detach(), best_d.detach()


def _along(
    source: Field, x: Tensor, d: Tensor, rate: float, root: Tensor | None, t: float, duration: float, span: float
) -> Counterexample | None:
    """Return the pair whose solutions come together the slowest, if that is slower than the rate."""
    times = torch.linspace(t, t + duration, 9, dtype=x.dtype, device=x.device)
    single = x.dtype is not torch.float64
    with torch.no_grad():
        states = solve_ode(
            source,
            torch.cat([x, x + d]),
            times,
            method="dopri8",
            rtol=1e-5 if single else 1e-10,
            atol=(1e-6 if single else 1e-12) * span,
            max_steps=20_000,
            on_failure="nan",
        ).states
        away = states[: len(x)] - states[len(x) :]
        distance = (away if root is None else away @ root.T).norm(dim=2)
        allowed = distance[:, :1] * (-rate * (times - t)).exp()
        unit = span * (1.0 if root is None else float(torch.linalg.matrix_norm(root, ord=2)))
        broken = distance - allowed * (1 + 1e-6) - (1e-3 if single else 1e-8) * unit
        broken = torch.where(torch.isfinite(broken), broken / distance[:, :1], -math.inf)
        place = int(broken.argmax())
        row, column = divmod(place, len(times))
        if not bool(broken[row, column] > 0):
            return None
        time = float(times[column] - t)
        found = -float((distance[row, column] / distance[row, 0]).log()) / time
        return Counterexample(x[row], x[row] + d[row], found, time)


def contraction_finding(
    field: Field,
    states: Tensor,
    *,
    interval: float = 1.0,
    times: float | Tensor | None = None,
    metric: Tensor | None = None,
) -> Finding:
    """Return in words whether solutions come together, and what becomes of an error over an interval of time.

    ``"sound"`` where it is certified; ``"flawed"`` where the measure at a state contradicts the certificate; else
    ``"told"``: that it was measured at these states, or that solutions part.

    Args:
        field: f, called ``field(t, y)``.
        states: (N, D), where solutions go.
        interval: the time over which an error is followed.
        times: see ``contraction_rate``.
        metric: P in which distances are measured; that of the certificate when None, and without one the identity.

    Raises:
        InputError: an interval that is not positive; see ``contraction_rate``.

    Example:
        >>> from integrand.core.fields import ContractiveField
        >>> contraction_finding(ContractiveField(2, rate=2.0), torch.randn(50, 2)).verdict
        'sound'

    Source: Soderlind (2006), The logarithmic norm: history and modern theory.
    """
    if not 0 < interval < math.inf:
        raise InputError(f"interval={interval} is out of range: it is a positive time.")
    proof = certified_rate(field)
    own = metric is None and proof is not None
    measured = contraction_rate(field, states.double(), times=times, metric=proof.metric if own and proof else metric)
    worst, mean = float(measured.max()), float(measured.mean())
    growth = math.exp(min(worst * interval, 700.0))
    numbers = {"worst measure": worst, "mean measure": mean, "interval": interval, "error factor": growth}
    over = f"over a time of {interval:g}"
    if proof is not None:
        numbers |= {"certified rate": proof.rate, "certified error factor": math.exp(-proof.rate * interval)}
    if proof is not None and own and worst > -proof.rate + 1e-5 * (abs(worst) + abs(proof.rate)):
        verdict = "flawed"
        statement = (
            f"Solutions should come together at the rate {proof.rate:.4g} ({proof.why}), but at one of "
            f"{len(states)} states neighbours change their distance at the rate {worst:.4g}."
        )
    elif proof is not None:
        verdict = "sound"
        factor = math.exp(-proof.rate * interval)
        euclidean = factor
        if proof.metric is not None:
            euclidean *= math.sqrt(float(torch.linalg.cond(proof.metric.double())))
        numbers["certified error factor, Euclidean"] = euclidean
        statement = (
            f"Certified by {proof.why}: any two solutions come together at the rate {proof.rate:.4g} or faster, and "
            f"{over} an error becomes {factor:.3g} times what it was, or less"
            + (f", in the metric of the certificate; {euclidean:.3g} times in Euclid's." if euclidean > factor else ".")
        )
    elif worst < 0:
        verdict = "told"
        statement = (
            f"Measured at {len(states)} states, not certified: neighbouring solutions come together there at the rate "
            f"{-worst:.4g} or faster, and {over} an error becomes {growth:.3g} times what it was, or less, as long as "
            "they stay where that is so."
        )
    else:
        verdict = "told"
        share = float((measured >= 0).double().mean())
        numbers["share of states that expand"] = share
        statement = (
            f"Solutions may part: at {share:.0%} of {len(states)} states a small error can grow, at a rate of up to "
            f"{worst:.4g}; {over} that makes it {growth:.3g} times what it was, at the most."
        )
    return Finding(instrument="contraction", verdict=verdict, statement=statement, numbers=numbers)
