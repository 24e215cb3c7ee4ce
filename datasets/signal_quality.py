"""Where a lead shows nothing of the heart: missing, flat, saturated, or off.

Dimension letters: L samples, C leads.
"""

from typing import NamedTuple

import numpy as np

from integrand.core.errors import InputError
from integrand.datasets.recording import Recording

REASONS = ("missing", "flat", "saturated", "off")
FLAT_SECONDS = 1.0
"""Stretches shorter than this may be flat between two beats, where a converter's step is larger than the noise."""
SATURATED_SAMPLES = 5
"""As many equal samples at an end of the range: the peak of a wave holds it for two or three."""
SATURATED_SHARE = 0.5
"""Of the way from the median to the end of the range that a lead must have gone for its end to be that of a converter
rather than of the signal: of a lead whose largest values are alone, an R wave is the end."""
OFF_MILLIVOLTS = 10.0
"""Distance from the lead's median beyond which no heart reaches at the skin: an electrode has come off or moved."""


class Quality(NamedTuple):
    """What of a recording can be used.

    Attributes:
        usable: (L, C) bool.
        shares: for each of ``REASONS`` the shares (C,) of the samples that cannot be used for it; one may have two.
    """

    usable: np.ndarray
    shares: dict[str, np.ndarray]

    def told(self, leads: list[str]) -> list[str]:
        """Return a line for each lead that is not usable throughout, with the reasons, the larger first."""
        lines = []
        for place, lead in enumerate(leads):
            found = sorted(((float(share[place]), reason) for reason, share in self.shares.items()), reverse=True)
            said = [f"{reason} for {share:.1%}" for share, reason in found if share > 0]
            if said:
                lines.append(f"lead {lead} is {', '.join(said)} of its time")
        return lines


def signal_quality(recording: Recording) -> Quality:
    """Tell sample by sample which leads of a recording in millivolts can be used, and why others cannot.

    - missing: NaN.
    - flat: the lead stays within a thousandth of its own spread for ``FLAT_SECONDS`` or longer.
    - saturated: ``SATURATED_SAMPLES`` or more equal samples in a row at the largest or the least value of the lead.
    - off: farther than ``OFF_MILLIVOLTS`` from the lead's median.

    Raises:
        InputError: a lead is not in mV.
    """
    masks = _masks(recording)
    return Quality(_none(masks), {reason: mask.mean(axis=0) for reason, mask in masks.items()})


def usable_samples(recording: Recording) -> np.ndarray:
    """Return which samples of which leads can be used, (L, C) bool; see ``signal_quality``."""
    return _none(_masks(recording))


def _none(masks: dict[str, np.ndarray]) -> np.ndarray:
    return ~np.logical_or.reduce(list(masks.values()))


def _masks(recording: Recording) -> dict[str, np.ndarray]:
    """Return for each of ``REASONS`` where a lead cannot be used, (L, C) bool."""
    for lead, unit in zip(recording.leads, recording.units, strict=True):
        if unit != "mV":
            raise InputError(
                f"recording {recording.id}: lead {lead} is in {unit or 'no unit'}, where mV is needed: name the leads "
                "of the electrocardiogram with leads."
            )
    x = recording.signal
    masks = {"missing": np.isnan(x), **{reason: np.zeros(x.shape, dtype=bool) for reason in REASONS[1:]}}
    for place in range(x.shape[1]):
        lead = np.ascontiguousarray(x[:, place])
        seen = lead[~masks["missing"][:, place]]
        if not len(seen):
            continue
        centre, low, high = float(np.median(seen)), float(seen.min()), float(seen.max())
        # The middle nine tenths, not the deviation, which a lead that came off would set.
        spread = float(np.subtract(*np.quantile(seen, [0.95, 0.05])))
        steps = np.abs(np.diff(lead)) <= 1e-3 * spread
        masks["flat"][:, place] = _runs(steps, round(FLAT_SECONDS * recording.rate))
        for end in (low, high):
            masks["saturated"][:, place] |= _held(lead, end, centre, (low, high))
        with np.errstate(invalid="ignore"):
            masks["off"][:, place] = np.abs(lead - centre) > OFF_MILLIVOLTS
    return masks


def _held(lead: np.ndarray, end: float, centre: float, ends: tuple[float, float]) -> np.ndarray:
    """Return where a lead stays at an end of its range, if that is far enough from its median to be one."""
    if abs(end - centre) < SATURATED_SHARE * max(abs(other - centre) for other in ends) or end == centre:
        return np.zeros(len(lead), dtype=bool)
    equal = (lead[1:] == end) & (lead[:-1] == end)
    return _runs(equal, SATURATED_SAMPLES)


def _runs(steps: np.ndarray, least: int) -> np.ndarray:
    """Return the samples, (L,), of every run of at least ``least`` samples whose steps (L - 1,) are all true."""
    found = np.zeros(len(steps) + 1, dtype=bool)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], steps.astype(np.int8), [0]])))
    for first, last in edges.reshape(-1, 2):
        if last - first + 1 >= least:
            found[first : last + 1] = True
    return found
