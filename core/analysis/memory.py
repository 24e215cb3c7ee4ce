"""How far back a layer along a sequence remembers, by the derivative of an output by earlier inputs.

Dimension letters: S samples, L elements, C channels in, E channels out, K probes.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from integrand.core.analysis.double_precision import in_double
from integrand.core.analysis.finding import Finding
from integrand.core.errors import InputError
from integrand.core.layers.sequence_layer import SequenceLayer

SAMPLES = 4
"""Sequences that are drawn where none are given."""
EXACT = 64
"""Channels out up to which every row of the Jacobian is formed; more are probed at random."""
PROBES = 32
"""Random probes of each sample where rows are too many."""
ROWS = 64
"""Copies of sequences that are carried through the layer at a time."""
STRAIGHT = 0.98
"""Share of the variance of log influence that a straight line must explain for the decay to be exponential."""
NEGLIGIBLE = 1e-10
"""Influence, as a share of the greatest, below which rounding may speak."""


@dataclass(frozen=True)
class Memory:
    """What an output remembers of the elements before it; all in float64.

    Attributes:
        influence: |dy_at / dx_(at - lag)|_F by lag, the mean over samples, (at + 1,).
        ahead: the same by the elements after ``at``, the next one first, (L - 1 - at,): zeros for a causal layer.
        elapsed: time from an element to the output by lag, the mean over samples, (at + 1,); of a layer in the units of
            its ``dt``, else a unit for each element.
        horizon: the lag, in elements, beyond which less than the threshold of the total influence lies.
        time_horizon: the time that this lag is.
        decay: rate at which the influence decays per unit of time; None where it is no exponential, or falls by less
            than a factor e over what was looked at.
        threshold: of the horizon.
    """

    influence: Tensor
    ahead: Tensor
    elapsed: Tensor
    horizon: int
    time_horizon: float
    decay: float | None
    threshold: float

    @property
    def outlasts(self) -> bool:
        """Whether the horizon lies in the last tenth of what was looked at: a longer look may find a longer memory."""
        return self.horizon > 0 and self.horizon >= 0.9 * (len(self.influence) - 1)


def memory(
    layer: SequenceLayer | Callable[..., Any],
    *,
    length: int | None = None,
    d_model: int | None = None,
    dt: Tensor | float | None = None,
    at: int | None = None,
    threshold: float = 0.01,
    seed: int = 0,
    inputs: Tensor | None = None,
) -> Memory:
    """Measure how much the output at one element depends on each element before it.

        influence(k) = mean over samples of |dy_at / dx_(at - k)|_F
        horizon = least h with sum_{k > h} influence(k) < threshold sum_k influence(k)

    Every sequence is repeated, and each copy asked for the gradient of one channel of the output at ``at``: one pass
    forward and one back give many rows of the Jacobian. Of more than 64 channels the rows are probed at random,
    |J|_F^2 = E |v^T J|^2 for v ~ N(0, I). A linear layer has one influence whatever the inputs; of any other it is that
    on the inputs, which had better be real ones.

    Args:
        layer: a ``SequenceLayer``, called ``layer(x, dt)``, or any callable from (S, L, C) to (S, L, E), also one that
            returns more after that. A module is measured by a copy in float64 and evaluation mode.
        length: elements L; that of ``inputs`` when None.
        d_model: channels C; the layer's own, or that of ``inputs``, when None.
        dt: time before each element, as the layer takes it: None, a number, (L,) or (S, L). Other callables do not get
            it: it only tells how time passes.
        at: which output, counted from 0 or backwards from -1; the last when None.
        threshold: share of the total influence that may lie beyond the horizon.
        seed: of the inputs that are drawn, from a standard normal distribution, and of probes.
        inputs: (S, L, C), in place of those. A callable that is no module is given them in their own precision, and
            what is drawn in float64.

    Raises:
        InputError: neither inputs nor a length and channels, an option out of range, outputs not shaped (S, L, E).

    Example:
        >>> def halves(x):
        ...     weights = 0.5 ** torch.arange(x.shape[1], dtype=x.dtype)
        ...     return torch.stack([(weights[: i + 1].flip(0)[:, None] * x[:, : i + 1]).sum(1) for i in range(20)], 1)
        >>> found = memory(halves, length=20, d_model=1)
        >>> found.horizon, round(found.decay, 6)
        (6, 0.693147)

    Source: Pascanu, Mikolov and Bengio (2013), On the difficulty of training recurrent neural networks, Section 2, for
    the derivative of a state by an earlier one as what carries a memory; Hutchinson (1989), A stochastic estimator of
    the trace of the influence matrix for Laplacian smoothing splines, for probes.
    """
    x = _inputs(layer, inputs, length, d_model, seed)
    layer, x = in_double(layer, x)
    samples, total, _ = x.shape
    place = total - 1 if at is None else at + total if at < 0 else at
    if not 0 <= place < total:
        raise InputError(f"at={at} is out of range for {total} elements: 0 to {total - 1}, or backwards from -1.")
    if not 0 < threshold < 1:
        raise InputError(f"threshold={threshold!r} is out of range: between 0 and 1, such as 0.01.")
    intervals = _intervals(layer, dt, x)
    norms = torch.cat([_norms(layer, x[[row]], _of(dt, row, x), place, seed) for row in range(samples)]).mean(0)
    influence, ahead = norms[: place + 1].flip(0), norms[place + 1 :]
    passed = intervals.mean(0)[1 : place + 1].flip(0)
    elapsed = torch.cat([passed.new_zeros(1), passed.cumsum(0)])
    horizon = _horizon(influence, threshold)
    decay = _decay(influence[1:].cpu().numpy(), elapsed[1:].cpu().numpy())
    return Memory(influence, ahead, elapsed, horizon, float(elapsed[horizon]), decay, threshold)


def memory_finding(found: Memory, *, unit: str = "units of time", needed: float | None = None) -> Finding:
    """Say in plain words how far back a layer remembers.

    Args:
        found: of ``memory``.
        unit: what time is counted in.
        needed: time over which the task needs a memory: a shorter one is doubtful. None where that is not known.
    """
    share, reach = 1 - found.threshold, f"{found.time_horizon:.4g} {unit}"
    statement = f"{share:.0%} of what earlier elements do to an output is done within {found.horizon} elements, {reach}"
    if found.outlasts:
        statement += ", which is about all that was looked at: the memory may be longer"
    if found.decay is None:
        statement += "; its influence does not fall exponentially."
    else:
        statement += f"; its influence falls to a half in {math.log(2) / found.decay:.4g} {unit}."
    ahead = float(found.ahead.sum()) if len(found.ahead) else 0.0
    if ahead > 0:
        statement += " The output also depends on elements after it: the layer is not causal."
    short = needed is not None and found.time_horizon < needed and not found.outlasts
    if short:
        statement += f" The task needs {needed:.4g} {unit}: more than is remembered."
    return Finding(
        instrument="memory",
        verdict="told" if needed is None else "doubtful" if short else "sound",
        statement=statement,
        numbers={
            "horizon": float(found.horizon),
            "time_horizon": found.time_horizon,
            "decay": math.nan if found.decay is None else found.decay,
            "ahead": ahead,
        },
    )


def _inputs(layer: Any, inputs: Tensor | None, length: int | None, d_model: int | None, seed: int) -> Tensor:
    if inputs is not None:
        if inputs.dim() != 3 or not inputs.is_floating_point() or 0 in inputs.shape:
            raise InputError(f"inputs must be real (S, L, C), got {inputs.dtype} {tuple(inputs.shape)}.")
        return inputs
    channels = getattr(layer, "d_model", None) if d_model is None else d_model
    if length is None or length < 1 or channels is None or channels < 1:
        raise InputError(f"length={length}, d_model={channels}: give how long and how wide sequences are, or inputs.")
    kept = next(layer.parameters(), None) if isinstance(layer, nn.Module) else None
    drawn = torch.randn(SAMPLES, length, channels, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return drawn if kept is None else drawn.to(kept.device)


def _of(dt: Tensor | float | None, row: int, x: Tensor) -> Tensor | float | None:
    """Return the intervals of one sample."""
    if not isinstance(dt, Tensor):
        return dt
    dt = dt.to(x)
    return dt[[row]] if dt.dim() == 2 and dt.shape[0] > 1 else dt


def _intervals(layer: Any, dt: Tensor | float | None, x: Tensor) -> Tensor:
    """Return the time before each element, (S, L)."""
    usual = float(getattr(layer, "time_scale", 1.0)) if isinstance(layer, SequenceLayer) else 1.0
    try:
        return torch.as_tensor(usual if dt is None else dt, dtype=torch.float64, device=x.device).expand(x.shape[:2])
    except RuntimeError as error:
        shape = tuple(x.shape[:2])
        raise InputError(f"dt must be None, a number, (L,) or (S, L) = {shape}: it does not fit.") from error


def _norms(layer: Any, x: Tensor, dt: Tensor | float | None, at: int, seed: int) -> Tensor:
    """Return |dy_at / dx_l|_F for one sample (1, L, C) and every element l, (1, L)."""
    with torch.no_grad():
        width = _called(layer, x, dt).shape[-1]
    if width <= EXACT:
        probes = torch.eye(width, dtype=x.dtype)
    else:
        probes = torch.randn(PROBES, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        probes = probes / math.sqrt(PROBES)
    total = x.new_zeros(x.shape[1], dtype=torch.float64)
    for part in probes.to(x).split(ROWS):
        with torch.inference_mode(False), torch.enable_grad():
            copies = x.clone().expand(len(part), -1, -1).clone().requires_grad_()
            y = _called(layer, copies, dt)[:, at]
            if y.requires_grad:
                (rows,) = torch.autograd.grad(y, copies, part.to(y), allow_unused=True, materialize_grads=True)
                total = total + rows.double().square().sum((0, 2))
    return total.sqrt()[None]


def _called(layer: Any, x: Tensor, dt: Tensor | float | None) -> Tensor:
    out = layer(x, dt) if isinstance(layer, SequenceLayer) else layer(x)
    y = out[0] if isinstance(out, tuple) else out
    if not isinstance(y, Tensor) or y.dim() != 3 or y.shape[:2] != x.shape[:2]:
        got = tuple(y.shape) if isinstance(y, Tensor) else type(y).__name__
        raise InputError(f"the layer gave {got} for inputs {tuple(x.shape)}: outputs must be (S, L, E).")
    return y


def _horizon(influence: Tensor, threshold: float) -> int:
    beyond = influence.flip(0).cumsum(0).flip(0)  # at lag k and further back
    return max(int((beyond >= threshold * beyond[0]).sum()) - 1, 0) if float(beyond[0]) > 0 else 0


def _decay(influence: np.ndarray, elapsed: np.ndarray) -> float | None:
    """Fit log influence by a straight line in time; of what oscillates the envelope, taken from the far end on."""
    envelope = np.maximum.accumulate(influence[::-1])[::-1]
    told = envelope > NEGLIGIBLE * max(envelope.max(initial=0.0), np.finfo(np.float64).tiny)
    x, y = elapsed[told], np.log(envelope[told])
    if len(x) < 3 or np.ptp(x) == 0 or np.ptp(y) < 1:
        return None
    slope, intercept = np.polyfit(x, y, 1)
    explained = 1 - np.square(y - slope * x - intercept).sum() / np.square(y - y.mean()).sum()
    return float(-slope) if explained >= STRAIGHT and slope < 0 else None
