"""How far quantities that should be conserved drift along trajectories, and whether the drift grows.

Dimension letters: B samples, T times, D state, K blocks of times.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from scipy.stats import t as student
from torch import Tensor

from integrand.core.analysis.finding import Finding
from integrand.core.errors import InputError

Invariant = Callable[[Tensor], Tensor]
"""A quantity of states, from (B, T, D) to (B, T)."""
BLOCKS = 10
"""Parts of the time whose means a trend is fitted to."""
LEVEL = 0.95
"""Probability with which the interval of a trend covers it."""


@dataclass(frozen=True)
class InvariantDrift:
    """The drift of one invariant; all in float64.

    Attributes:
        values: the invariant I, (B, T).
        relative: (I(t) - I(t_1)) / scale, (B, T).
        scale: what drift is relative to, |I(t_1)| unless that is zero, (B,).
        trend: linear trend of the relative drift per unit of time, (B,).
        low, high: bounds of its interval, (B,).
        grows: whether the drift goes one way rather than to and fro, (B,) bool: the interval leaves 0 out, or the
            greatest drift of a block rises from each block of times to the next, to twice its median and more.
    """

    values: Tensor
    relative: Tensor
    scale: Tensor
    trend: Tensor
    low: Tensor
    high: Tensor
    grows: Tensor

    @property
    def largest(self) -> Tensor:
        """The greatest size of the relative drift of each sample, (B,)."""
        return self.relative.abs().amax(-1)

    @property
    def worst(self) -> int:
        """The sample that drifts farthest."""
        return int(self.largest.argmax())


def invariant_drift(
    states: Tensor,
    times: Tensor | Sequence[float],
    invariants: Mapping[str, Invariant],
    *,
    scales: Mapping[str, float] | None = None,
) -> dict[str, InvariantDrift]:
    """Measure the drift of quantities that a solution should conserve.

        d(t) = (I(y(t)) - I(y(t_1))) / |I(y(t_1))|,    d(t) = a + b t + rest,    b +- q se(b)

    The rest is no noise but most often an oscillation, so that neighbouring times tell almost the same, and an interval
    that takes them for independent is far too narrow. The trend is therefore that of the means of ten blocks of times,
    each of which averages what is quicker than itself; q is the quantile of Student's t for as many. A drift that grows
    exponentially is no straight line either, and is told by its greatest size in each block, which rises throughout. An
    oscillation as slow as the whole span counts as growth, for nothing tells it from that.

    Args:
        states: trajectories, (B, T, D), finite, at three times or more.
        times: (T,) or (B, T), increasing.
        invariants: by name, each a function of states (B, T, D) that gives (B, T).
        scales: what the drift of an invariant is relative to, by its name, where that is not its first value. Of
            samples whose first value is zero to rounding the root mean square over all times and samples is taken.

    Raises:
        InputError: shapes that do not fit, values that are not finite, a scale that is not positive.

    Example:
        >>> times = torch.linspace(0, 20, 201, dtype=torch.float64)
        >>> spiral = torch.exp(0.01 * times) * torch.stack([times.cos(), times.sin()])
        >>> found = invariant_drift(spiral.T[None], times, {"radius": lambda y: y.norm(dim=-1)})["radius"]
        >>> round(found.trend.item(), 3), found.grows.item(), round(found.largest.item(), 4)
        (0.011, True, 0.2214)

    Source: Hairer, Lubich and Wanner (2006), Geometric numerical integration, Chapter IX, for drift that grows and
    drift that does not; Schmeiser (1982), Batch size effects in the analysis of simulation output, for means of blocks.
    """
    if states.dim() != 3 or not states.is_floating_point() or states.shape[1] < 3:
        raise InputError(f"states must be real (B, T, D) with T >= 3, got {states.dtype} {tuple(states.shape)}.")
    states = states.detach().double()
    batch, steps, _ = states.shape
    t = torch.as_tensor(times, device=states.device).double()
    if t.shape not in ((steps,), (batch, steps)) or not bool((t.diff(dim=-1) > 0).all()):
        raise InputError(f"times must be ({steps},) or ({batch}, {steps}) and increase, got {tuple(t.shape)}.")
    given = scales or {}
    return {
        name: _drift(name, invariant(states), states, t.expand(batch, steps), given.get(name))
        for name, invariant in invariants.items()
    }


def invariant_finding(drifts: Mapping[str, InvariantDrift], *, tolerance: float = 0.01) -> Finding:
    """Say in plain words what is conserved, what oscillates about its value, and what drifts away.

    Args:
        drifts: of ``invariant_drift``.
        tolerance: relative drift up to which a quantity counts as conserved.
    """
    if not drifts:
        return Finding(instrument="invariant drift", verdict="told", statement="No invariant was named.")
    rows, numbers, sentences, concern = [], {}, [], 0
    for name, drift in drifts.items():
        worst = drift.worst
        largest, grows = float(drift.largest[worst]), bool(drift.grows[worst])
        trend, low, high = (float(each[worst]) for each in (drift.trend, drift.low, drift.high))
        kept = largest <= tolerance
        concern = max(concern, 0 if kept else 2 if grows else 1)
        how = "is conserved" if kept else "drifts away" if grows else "is not conserved, but only goes to and fro"
        rate = f", by {trend:.2g} per unit of time ({low:.2g} to {high:.2g})" if low > 0 or high < 0 else ""
        sentences.append(f"{name} {how}: at most {largest:.2g} of its value in the worst sample{rate}")
        numbers |= {f"{name} drift": largest, f"{name} trend": trend}
        share = float(drift.grows.double().mean())
        rows.append(
            {"invariant": name, "sample": float(worst), "drift": largest, "trend": trend, "low": low, "high": high}
            | {"growing share": share}
        )
    return Finding(
        instrument="invariant drift",
        verdict=("sound", "doubtful", "flawed")[concern],
        statement="; ".join(sentences) + ".",
        numbers=numbers,
        rows=tuple(rows),
    )


def _drift(name: str, values: Tensor, states: Tensor, times: Tensor, scale: float | None) -> InvariantDrift:
    if values.shape != states.shape[:2]:
        raise InputError(
            f"invariant {name} gave {tuple(values.shape)} for states {tuple(states.shape)}: one number a state, (B, T)."
        )
    if not bool(torch.isfinite(values).all()):
        sample = int((~torch.isfinite(values)).any(-1).nonzero()[0])
        raise InputError(f"invariant {name} of sample {sample} is not finite: leave out what has diverged.")
    if scale is not None and not scale > 0:
        raise InputError(f"scales[{name!r}]={scale!r} is out of range: it must be positive.")
    own = values[:, 0].abs()
    if scale is None:
        usual = values.square().mean().sqrt()
        none = own <= torch.finfo(values.dtype).eps * own.square().mean().sqrt()
        scale_B = torch.where(none, torch.where(usual > 0, usual, 1.0), own)
    else:
        scale_B = torch.full_like(own, scale)
    relative = (values - values[:, :1]) / scale_B[:, None]
    return InvariantDrift(values, relative, scale_B, *_trend(relative, times))


def _trend(series: Tensor, times: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the slope of the means of blocks (B,), the bounds of its interval, and whether the drift grows."""
    count = min(BLOCKS, max(3, series.shape[1] // 2))
    parts = series.tensor_split(count, dim=-1)
    y = torch.stack([part.mean(-1) for part in parts], -1)
    x = torch.stack([part.mean(-1) for part in times.tensor_split(count, dim=-1)], -1)
    y, x = y - y.mean(-1, keepdim=True), x - x.mean(-1, keepdim=True)
    spread = x.square().sum(-1)
    slope = (x * y).sum(-1) / spread
    left = (y - slope[:, None] * x).square().sum(-1) / (count - 2)
    reach = float(student.ppf((1 + LEVEL) / 2, count - 2)) * (left / spread).sqrt()
    sizes = torch.stack([part.abs().amax(-1) for part in parts], -1)
    rises = (sizes.diff(dim=-1) > 0).all(-1) & (sizes[:, -1] > 2 * sizes.median(-1).values)
    return slope, slope - reach, slope + reach, (slope.abs() > reach) | rises
