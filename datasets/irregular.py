"""The irregular batch: what every data set hands to every application for series with gaps.

Dimension letters: B batch, L context length, Q query times, C channels, S static features, P calendar periods.
"""

from dataclasses import dataclass, field, fields, replace
from typing import Any

import torch
from torch import Tensor

from integrand.core.errors import InputError


@dataclass(frozen=True)
class IrregularBatch:
    """Series of unequal length, seen at their own times, with parts missing.

    Attributes:
        values: (B, L, C), finite, 0 where unobserved.
        mask: (B, L, C) bool, True where observed.
        times: (B, L), non-decreasing along L; padded with the last time. Forecasting counts from the forecast origin.
        lengths: (B,), elements before the padding.
        static: (B, S) features of the sample, or None.
        phase: (B, P) position of the forecast origin in each calendar period, in radians, or None.
        target: a label (B,) or a series (B, Q, C), 0 where unobserved, or None.
        target_times: (B, Q), where the target is a series.
        target_mask: (B, Q, C) bool, True where the target was observed.
        known: (B, Q, F) what is known beforehand of the target times, such as holidays, 0 where missing; or None.
        group: the group (station, patient) of each sample.
        sample_id: a name for each sample.
        meta: units, time unit, cutoff and the like, the same for the batch.
    """

    values: Tensor
    mask: Tensor
    times: Tensor
    lengths: Tensor
    static: Tensor | None = None
    phase: Tensor | None = None
    target: Tensor | None = None
    target_times: Tensor | None = None
    target_mask: Tensor | None = None
    known: Tensor | None = None
    group: list[str] = field(default_factory=list)
    sample_id: list[str] = field(default_factory=list)
    meta: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return self.values.shape[0]

    @property
    def present(self) -> Tensor:
        """(B, L) bool, True on the elements before the padding."""
        return torch.arange(self.values.shape[1], device=self.lengths.device) < self.lengths.unsqueeze(1)

    def to(self, device: torch.device, non_blocking: bool = False) -> "IrregularBatch":
        """Return the batch with its tensors on ``device``."""
        moved = {
            f.name: value.to(device, non_blocking=non_blocking)
            for f in fields(self)
            if isinstance(value := getattr(self, f.name), Tensor)
        }
        return replace(self, **moved)

    def pin_memory(self) -> "IrregularBatch":
        """Return the batch with its tensors in page-locked memory, for a DataLoader with ``pin_memory``."""
        pinned = {
            f.name: value.pin_memory() for f in fields(self) if isinstance(value := getattr(self, f.name), Tensor)
        }
        return replace(self, **pinned)

    def check(self) -> "IrregularBatch":
        """Return the batch itself if it keeps the contract; raise ``InputError`` naming the clause it breaks."""
        batch, length, channels = self.values.shape
        expected = {
            "mask": (batch, length, channels),
            "times": (batch, length),
            "lengths": (batch,),
        }
        for name, shape in expected.items():
            if tuple(getattr(self, name).shape) != shape:
                raise InputError(f"{name} must have shape {shape}, got {tuple(getattr(self, name).shape)}.")
        absent = ~self.present
        clauses = {
            "values must be finite": torch.isfinite(self.values).all(),
            "values must be 0 where mask is False": (self.values[~self.mask] == 0).all(),
            "mask must be False in the padding": ~self.mask[absent].any(),
            "times must be finite": torch.isfinite(self.times).all(),
            "times must not decrease": (self.times.diff(dim=1) >= 0).all(),
            "lengths must lie in 0..L": ((self.lengths >= 0) & (self.lengths <= length)).all(),
        }
        last = self.times.gather(1, (self.lengths - 1).clamp(0, length - 1).unsqueeze(1)) if length else self.times
        clauses["times must be padded with the last time"] = (self.times == last)[absent].all()
        if self.target_times is not None and self.target is not None and self.target_mask is not None:
            clauses["target must be finite"] = torch.isfinite(self.target).all()
            clauses["target must be 0 where target_mask is False"] = (self.target[~self.target_mask] == 0).all()
        for clause, held in clauses.items():
            if not bool(held):
                raise InputError(f"irregular batch: {clause}.")
        return self
