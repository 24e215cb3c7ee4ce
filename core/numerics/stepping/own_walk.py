"""What a solve in which each sample chooses its own steps reads from them, and leaves behind."""

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from integrand.core.numerics.methods.stepper import Stepper
from integrand.core.numerics.solution import SolverStats
from integrand.core.numerics.stepping.event import EventLog
from integrand.core.numerics.stepping.sample_clocks import Floats, Whole


@dataclass
class Pieces:
    """Rows of a tensor that come to light bit by bit, each with the place where it belongs."""

    values: list[Tensor] = field(default_factory=list)
    places: list[Whole] = field(default_factory=list)
    count: int = 0

    def add(self, values: Tensor, places: Whole) -> None:
        """Keep some rows."""
        self.values.append(values)
        self.places.append(places)
        self.count += len(places)

    def gather(self, count: int, fill: Tensor) -> Tensor:
        """Return the rows at places 0, ..., count - 1; where there is none, the rows of ``fill`` take equal shares."""
        total = self.count
        source = np.full(count, -1)
        source[np.concatenate([*self.places, np.empty(0, dtype=np.int64)])] = np.arange(total)
        missing = np.flatnonzero(source < 0)
        source[missing] = total + missing * len(fill) // count
        values = [*self.values, fill] if len(missing) else self.values
        rows = torch.cat(values) if len(values) > 1 else values[0]
        return rows[torch.from_numpy(source).to(rows.device)]


@dataclass
class OwnWalk:
    """Where an adaptive solve with each sample's own steps has come to.

    Attributes:
        outputs: states at output times, output i of a sample in place sample * T + i.
        status: ``Status`` of each sample, (B,).
        stats: work done.
        stopped_at: time at which a sample stopped, (B,), on the host.
        last: its state there, (B, ...).
        log: the events met; None where none were asked for.
        event_times: time of the terminal event, (B,), infinite without one; None likewise.
        event_states: the state there, (B, ...), NaN without one; None likewise.
    """

    outputs: Pieces
    status: Tensor
    stats: SolverStats
    stopped_at: Floats
    last: Tensor
    log: EventLog | None = None
    event_times: Tensor | None = None
    event_states: Tensor | None = None

    def stack(self, count: int, on_failure: str) -> Tensor:
        """Return the states as (B, T, ...), those not reached filled with NaN or with the sample's last state."""
        fill = self.last if on_failure == "last" else torch.full_like(self.last, torch.nan)
        batch = fill.shape[0]
        return self.outputs.gather(batch * count, fill).view(batch, count, *fill.shape[1:])


class DensePath:
    """The dense output y(t + theta h) = y + h sum_i b_i(theta) k_i of P steps, each with its own theta.

    Args:
        stepper: the method.
        t, h: start and length of the steps, (P,).
        y: states at their starts, (P, ...).
        slopes: (P, stages, D).
    """

    def __init__(self, stepper: Stepper, t: Tensor, h: Tensor, y: Tensor, slopes: Tensor) -> None:
        self.stepper, self.t, self.h, self.y, self.slopes = stepper, t, h, y, slopes

    def time(self, theta: Tensor) -> Tensor:
        """Return t + theta h."""
        return self.t + theta.to(self.t.dtype) * self.h

    def weights(self, theta: Tensor) -> Tensor:
        """Return the weights h b_i(theta), (P, stages)."""
        weights = self.stepper.weights(theta)
        if weights is None:
            raise AssertionError("steps of each sample's own need a method with dense output")
        return (weights * self.h.unsqueeze(1)).to(self.slopes.dtype)

    def combine(self, weights: Tensor) -> Tensor:
        """Return the states that weights give."""
        # Not a matrix product, which autocast would take in half precision.
        return self.y + (weights.unsqueeze(2) * self.slopes).sum(dim=1).view_as(self.y)

    def state(self, theta: Tensor) -> Tensor:
        """Return the states at t + theta h."""
        return self.combine(self.weights(theta))
