"""Pieces of leads with noise drawn upon them, as a function of an index alone.

Dimension letters: B pieces, L samples of a piece.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch.utils.data import Dataset

from integrand.apps.medical.waveforms.batch import WaveformBatch
from integrand.apps.medical.waveforms.sources import Lead
from integrand.core.errors import InputError
from integrand.datasets.waveform_noise import Corrupted, Corruption

PEAK_SECONDS = 0.025
"""Standard deviation of the bump that a beat is in the target."""


class WaveformPieces(Dataset):
    """The pieces of a part: i + N * epoch is piece i in an epoch.

    Each lead has as many pieces as fit into what is usable of it. In training they begin anywhere, and begin elsewhere
    with other noise each epoch; in other parts they lie side by side, and each has the same noise always.

    Args:
        leads: of the part, all at one rate.
        corruption: how noise and gaps are drawn.
        seconds: of a piece.
        moving: whether each epoch has others.
        seed: of what is drawn.
        where: what to call the part in a message.

    Raises:
        InputError: no lead has a usable piece.
    """

    def __init__(
        self,
        leads: Sequence[Lead],
        corruption: Corruption,
        *,
        seconds: float,
        moving: bool,
        seed: int,
        where: str,
    ) -> None:
        self.leads, self.corruption, self.moving, self.seed = list(leads), corruption, moving, seed
        self.rate = leads[0].rate
        self.length = round(seconds * self.rate)
        self._bumps = [bumps(lead) for lead in leads]
        self._starts = [_starts(lead, self.length) for lead in leads]
        self.of: list[tuple[int, int]] = []
        """Number of the lead of each piece, and where it begins in parts that do not move."""
        for number, starts in enumerate(self._starts):
            self.of += [(number, start) for start in _side_by_side(starts, self.length)]
        if not self.of:
            raise InputError(
                f"the {where} part has no piece of {seconds:g} s whose lead is usable throughout: take shorter pieces "
                "with data.seconds, or longer recordings."
            )

    def __len__(self) -> int:
        return len(self.of)

    def __getitem__(self, index: int) -> WaveformBatch:
        return self.__getitems__([index])

    def __getitems__(self, indices: list[int]) -> WaveformBatch:
        """Build the batch of several pieces at once."""
        made = [self._piece(index) for index in indices]
        signal, observed, clean, beats, snr = (torch.from_numpy(np.stack(each)) for each in zip(*made, strict=True))
        return WaveformBatch(signal.float(), observed, clean.float(), beats.float(), snr.float(), self.rate)

    def _piece(self, index: int) -> tuple[np.ndarray, ...]:
        place = index % len(self)
        number, start = self.of[place]
        generator = np.random.Generator(np.random.Philox(key=[self.seed, index if self.moving else place]))
        if self.moving:
            start = int(generator.choice(self._starts[number]))
        clean = self.leads[number].signal[start : start + self.length].astype(np.float64)
        found: Corrupted = self.corruption.draw(clean, self.rate, generator)
        beats = self._bumps[number][start : start + self.length]
        return found.signal, found.observed, clean, beats, np.array(found.snr)


def bumps(lead: Lead) -> np.ndarray:
    """Return 1 at each beat of a lead and a normal bell about it, (L,) float32; where two meet the higher."""
    width = 4 * PEAK_SECONDS
    reach = round(width * lead.rate)
    bell = np.exp(-0.5 * (np.arange(-reach, reach + 1) / (PEAK_SECONDS * lead.rate)) ** 2).astype(np.float32)
    wide = np.zeros(len(lead.signal) + 2 * reach, dtype=np.float32)
    for beat in lead.beats:
        around = wide[beat : beat + 2 * reach + 1]
        np.maximum(around, bell, out=around)
    return wide[reach : len(wide) - reach]


def _starts(lead: Lead, length: int) -> np.ndarray:
    """Return where a piece may begin: all of it is usable, and it is not flat."""
    if len(lead.signal) < length:
        return np.zeros(0, dtype=np.int64)
    bad = np.concatenate([[0], np.cumsum(~lead.usable)])
    whole = bad[length:] == bad[:-length]
    moves = np.concatenate([[0], np.cumsum(np.diff(lead.signal, prepend=lead.signal[0]) != 0)])
    return np.flatnonzero(whole & (moves[length:] - moves[1 : len(moves) - length + 1] > 0))


def _side_by_side(starts: np.ndarray, length: int) -> list[int]:
    """Return starts of pieces that do not overlap, from the first on."""
    chosen: list[int] = []
    free = 0
    for start in starts.tolist():
        if start >= free:
            chosen.append(start)
            free = start + length
    return chosen
