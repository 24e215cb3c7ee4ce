"""Heart beats found in a signal while it is being recorded: each answer of the samples so far alone.

Dimension letters: L samples of a piece, C leads, N beats.
"""

from collections import deque
from statistics import median
from typing import Any

import numpy as np

from integrand.core.errors import InputError

BAND = (5.0, 15.0)
"""Hz, in which a QRS complex has its energy, and P waves, T waves and muscles have little of theirs."""
SHARP_BAND = (5.0, 40.0)
"""Hz, in which its R wave is placed."""
HOP = 0.2
"""Seconds that are looked at together."""
INTEGRATED = 0.15
"""Seconds of the moving mean, the length of the widest complex."""
REFRACTORY = 0.2
"""Seconds in which no ventricle can beat twice."""
T_WAVE = 0.36
"""Seconds after a beat in which what rises half as steeply, or less, is its T wave."""
LEARNING = 2.0
"""Seconds of which the first level of beats is taken."""
REMEMBERED = 8
"""Beats, and peaks between them, whose medians are the levels that thresholds lie between."""
THRESHOLD = 0.25
"""Share of the way from the level between beats to that of beats."""
MISSED = 1.66
"""Usual intervals without a beat, after which the largest peak above half the threshold is taken for one."""
LONGEST = 3.0
"""Seconds without a beat, after which the level of beats falls by a quarter each further second."""
FAINTEST = 0.5
"""(mV/s)^2, the least mean square slope of a beat: that of a wave of 0.02 mV at 10 Hz."""
SETTLING = 0.3
"""Seconds after a lead comes back, in which its filters settle."""
REACH = 0.08
"""Seconds on each side of the steepest place, among which the R peak is."""
KEPT = 6.0
"""Seconds of signal that are kept."""


class OnlineBeatDetector:
    """Finds beats as their samples come, in pieces of any length.

    The signal is band-passed and differentiated; the squared slope, its mean over the leads, is averaged over 150 ms.
    A peak of that, the largest of 200 ms on each side, is a beat where it lies above a threshold between the level of
    recent beats and that of recent peaks which were none, unless it is the T wave of the beat before. Where a beat is
    late, the largest peak since the last one is taken if it reaches half the threshold. Thus a beat is told some 0.4
    seconds after it, and a late one after as long as it was missed. Each lies at the largest absolute value of
    the first lead, between 5 and 40 Hz, near the steepest place of its complex.

    On the 22 records of MIT-BIH for learning (DS1), both leads, the sensitivity is 0.996 and the positive predictivity
    0.992, a beat being found within 150 ms; most of what is found and is none lies in the ventricular flutter of record
    207, in which no beats are marked.

    The levels are medians of eight, after Hamilton and Tompkins, not the running means of Pan and Tompkins, so that a
    lead that is touched once does not hide the beats after it. Where a lead is missing, its last value is held, and it
    does not count for beats.

    What is told does not depend on how the signal is cut into pieces, and no later sample changes it.

    Args:
        rate: Hz, 100 or more.
        leads: C.

    Raises:
        InputError: the rate is too low; a piece has not so many leads.

    Example:
        >>> x = np.zeros((3600, 1))
        >>> x[180::360, 0] = 1.0
        >>> detector = OnlineBeatDetector(360)
        >>> np.concatenate([detector.push(x), detector.finish()]).tolist()[:3]
        [180, 540, 900]

    Source: Pan and Tompkins (1985), A real-time QRS detection algorithm, IEEE Transactions on Biomedical Engineering
    32(3), 230-236; levels by medians after Hamilton and Tompkins (1986), Quantitative investigation of QRS detection
    rules using the MIT/BIH arrhythmia database.
    """

    def __init__(self, rate: float, leads: int = 1) -> None:
        from scipy.signal import butter

        if not rate >= 100:
            raise InputError(f"rate={rate:g} is out of range: beats are found at 100 Hz or more.")
        self.rate, self.leads = rate, leads
        self._hop, self._window = round(HOP * rate), round(INTEGRATED * rate)
        self._apart, self._stride = round(REFRACTORY * rate), max(1, round(rate / 200))
        self._stages = np.asarray(butter(2, BAND, btype="bandpass", fs=rate, output="sos"))
        self._sharp = _without_delay(np.asarray(butter(2, SHARP_BAND, btype="bandpass", fs=rate, output="sos")), rate)
        self._delay = _delay(self._stages, rate) + 2 * self._stride
        self._evenly = np.full(leads, 1 / leads)
        self._past = np.zeros((len(self._stages), 2, leads))
        self._begun = False
        self._first, self._last = np.full(leads, np.nan), np.zeros(leads)
        self._settling = round(SETTLING * rate)
        self._gone = np.full(leads, -self._settling)  # where each lead was missing last, from the next sample on
        self._waiting: list[np.ndarray] = []
        self._held = self._seen = 0
        # The last samples, oldest first: signal, its band, and of the slope square and mean.
        self._kept = round(KEPT * rate)
        self._signal, self._passed = np.zeros((self._kept, leads)), np.zeros((self._kept, leads))
        self._square, self._mean = np.zeros(self._kept), np.zeros(self._kept)
        self._decided = 0  # peaks before it are
        self._beats: deque[float] = deque(maxlen=REMEMBERED)
        self._others: deque[float] = deque([0.0], maxlen=REMEMBERED)
        self._intervals: deque[int] = deque(maxlen=REMEMBERED)
        self._passed_over: list[int] = []
        self._beat: int | None = None  # of the mean
        self._steepest = 0.0
        self._eased = self._began = 0
        self._told = -(10**9)

    def push(self, signal: np.ndarray) -> np.ndarray:
        """Take the next samples, (L, C) mV or (L,) of one lead, NaN where missing; return the beats (N,) now settled.

        Beats are numbers of samples from the first one on, and increase from call to call.
        """
        x = np.asarray(signal, dtype=np.float64)
        x = x[:, None] if x.ndim == 1 else x
        if x.ndim != 2 or x.shape[1] != self.leads:
            raise InputError(f"the signal must be (L, {self.leads}), got {x.shape}: give as many leads as were said.")
        self._waiting.append(x)
        self._held += len(x)
        if self._held < self._hop:
            return np.zeros(0, dtype=np.int64)
        whole = np.concatenate(self._waiting)
        end = len(whole) // self._hop * self._hop
        self._waiting, self._held = [whole[end:]], len(whole) - end
        found = [beat for start in range(0, end, self._hop) for beat in self._look(whole[start : start + self._hop])]
        return np.array(found, dtype=np.int64)

    def finish(self) -> np.ndarray:
        """Return the beats (N,) that are left, now that no sample will come any more."""
        rest = np.concatenate(self._waiting) if self._waiting else np.zeros((0, self.leads))
        end = self._seen + len(rest)
        rest = np.concatenate([rest, np.repeat((self._last + self._first)[None], 8 * self._hop, axis=0)])
        found: list[int] = []
        for start in range(0, len(rest) - self._hop, self._hop):
            found += self._look(rest[start : start + self._hop])
        self._waiting, self._held = [], 0
        return np.array([beat for beat in found if beat < end], dtype=np.int64)

    def _look(self, x: np.ndarray) -> list[int]:
        """Take up a hop, and return what it settles."""
        self._take(x)
        found: list[int] = []
        learned = round(LEARNING * self.rate)
        if not self._beats:
            if self._seen < learned:
                return found
            highest = float(self._mean[-learned:].max())
            if highest < FAINTEST:
                self._decided = self._seen - self._apart
                return found
            self._beats.append(highest)
            self._began = self._seen
        for peak in self._peaks():
            found += self._judge(peak)
        found += self._look_back(self._decided)
        self._ease()
        return found

    def _take(self, x: np.ndarray) -> None:
        """Filter a hop and append it to what is kept."""
        from scipy.signal import sosfilt

        missing = np.isnan(x)
        gone = bool(missing.any())
        x = self._filled(x, missing if gone else None)
        passed, self._past = sosfilt(self._stages, x, axis=0, zi=self._past)
        count, s = len(x), self._stride
        for kept, new in ((self._signal, x), (self._passed, passed)):
            kept[:-count] = kept[count:]
            kept[-count:] = new
        y = self._passed[-count - 4 * s :]
        slope = (2 * y[4 * s :] + y[3 * s : -s] - y[s : -3 * s] - 2 * y[: -4 * s]) * (self.rate / (8 * s))
        if gone or self._gone.max() > -self._settling:
            slope[self._standing_in(missing)] = 0
        self._square[:-count] = self._square[count:]
        self._square[-count:] = (slope * slope) @ self._evenly
        sums = self._square[-count - self._window :].cumsum()
        self._mean[:-count] = self._mean[count:]
        self._mean[-count:] = (sums[self._window :] - sums[: -self._window]) / self._window
        self._seen += count

    def _filled(self, x: np.ndarray, missing: np.ndarray | None) -> np.ndarray:
        """Return a hop over the first value of each lead, with the last one held where it is missing."""
        if not self._begun:
            for lead in np.flatnonzero(np.isnan(self._first)):
                there = x[np.isfinite(x[:, lead]), lead]
                self._first[lead] = there[0] if len(there) else np.nan
            self._begun = bool(np.isfinite(self._first).all())
        x = x - self._first
        for lead in [] if missing is None else np.flatnonzero(missing.any(axis=0)):
            held = np.concatenate([self._last[lead : lead + 1], x[:, lead]])
            place = np.maximum.accumulate(np.where(np.isnan(held), 0, np.arange(len(held))))
            x[:, lead] = held[place][1:]
        self._last = x[-1]
        return x

    def _standing_in(self, missing: np.ndarray) -> np.ndarray:
        """Return where a slope is not the heart's: a lead is missing, or came back a moment ago."""
        places = np.where(missing, np.arange(len(missing))[:, None], -self._settling)
        latest = np.maximum.accumulate(np.concatenate([self._gone[None], places]), axis=0)[1:]
        self._gone = np.maximum(latest[-1] - len(missing), -self._settling)
        return np.arange(len(missing))[:, None] < latest + self._settling

    def _peaks(self) -> list[int]:
        """Return the peaks of the mean slope that can be told by now."""
        from scipy.ndimage import maximum_filter1d

        first, end = self._decided, self._seen - self._apart
        self._decided = max(first, end)
        if end <= first:
            return []
        x = self._mean[self._at(first - self._apart) :]
        highest = maximum_filter1d(x, 2 * self._apart + 1, mode="constant")[self._apart : -self._apart]
        x = x[self._apart : -self._apart]
        return (first + np.flatnonzero((x == highest) & (x > FAINTEST))).tolist()

    def _judge(self, peak: int) -> list[int]:
        """Return the beat that a peak is, after the one that was passed over before it."""
        found = self._look_back(peak)
        if self._beat is not None and peak - self._beat < self._apart:
            return found
        near = self._beat is not None and peak - self._beat < T_WAVE * self.rate
        wave = near and self._steep(peak) < self._steepest / 2
        if wave or self._mean[self._at(peak)] < self._threshold():
            self._pass_over(peak)
        else:
            found += self._take_for_beat(peak)
        return found

    def _look_back(self, now: int) -> list[int]:
        """Return the beat that was passed over, where one is late."""
        if self._beat is None or not self._intervals:
            return []
        if now - self._beat <= MISSED * median(self._intervals):
            return []
        first = max(self._beat + self._apart, self._seen - self._kept + 2 * self._window)
        self._passed_over = [peak for peak in self._passed_over if peak >= first]
        if not self._passed_over:
            return []
        largest = max(self._passed_over, key=lambda peak: self._mean[self._at(peak)])
        if self._mean[self._at(largest)] < self._threshold() / 2:
            return []
        return self._take_for_beat(largest)

    def _threshold(self) -> float:
        """Return what a beat's mean slope must reach."""
        level, other = median(self._beats), median(self._others)
        return max(other + THRESHOLD * (level - other), FAINTEST)

    def _ease(self) -> None:
        """Let the level of beats fall while none comes."""
        since = self._seen - (self._beat if self._beat is not None else self._began)
        steps = int((since / self.rate - LONGEST) // 1)
        if steps > self._eased:
            self._eased = steps
            self._beats = deque((0.75 * height for height in self._beats), maxlen=REMEMBERED)

    def _pass_over(self, peak: int) -> None:
        self._others.append(float(self._mean[self._at(peak)]))
        self._passed_over.append(peak)

    def _take_for_beat(self, peak: int) -> list[int]:
        if self._beat is not None:
            self._intervals.append(peak - self._beat)
        self._beat, self._steepest, self._eased = peak, self._steep(peak), 0
        self._beats.append(float(self._mean[self._at(peak)]))
        self._passed_over = [other for other in self._passed_over if other > peak]
        place = self._r_peak(peak)
        if place - self._told < self._apart:
            return []
        self._told = place
        return [place]

    def _steep(self, peak: int) -> float:
        """Return the largest squared slope of the complex that a peak of its mean belongs to."""
        end = self._at(peak) + 1
        return float(self._square[end - self._window : end].max())

    def _r_peak(self, peak: int) -> int:
        """Return where the R peak lies of the complex that a peak of its mean slope belongs to."""
        end = self._at(peak) + 1
        steep = peak - self._window + 1 + int(self._square[end - self._window : end].argmax()) - self._delay
        reach = round(REACH * self.rate)
        around = reach + len(self._sharp) // 2
        x = self._signal[np.arange(self._at(steep - around), self._at(steep + around) + 1).clip(0, self._kept - 1)]
        lead = int(np.ptp(x, axis=0).argmax()) if np.ptp(x[:, 0]) == 0 else 0
        sharp = np.abs(np.convolve(x[:, lead] - x[:, lead].mean(), self._sharp, mode="valid"))
        return max(0, steep - reach + int(sharp.argmax()))

    def _at(self, sample: int) -> int:
        """Return where a sample stands in what is kept."""
        return sample - self._seen + self._kept


def _without_delay(stages: np.ndarray, rate: float) -> np.ndarray:
    """Return the response to an impulse of a band-pass that runs forwards and backwards, 0.2 seconds on each side."""
    from scipy.signal import sosfiltfilt

    impulse = np.zeros(2 * round(rate) + 1)
    impulse[round(rate)] = 1.0
    return np.asarray(sosfiltfilt(stages, impulse))[round(rate) - round(0.2 * rate) :][: 2 * round(0.2 * rate) + 1]


def _delay(stages: np.ndarray, rate: float) -> int:
    """Return the delay in samples of a band-pass at the middle of the band of complexes."""
    from scipy.signal import group_delay, sos2tf

    middle: Any = [sum(BAND) / 2]
    return round(float(group_delay(sos2tf(stages), w=middle, fs=rate)[1][0]))
