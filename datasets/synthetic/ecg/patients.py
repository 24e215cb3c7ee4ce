"""Simulated patients: recordings of an electrocardiogram with ectopic beats, atrial fibrillation and noise.

Nothing here was measured; every recording says so.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from integrand.core.errors import InputError
from integrand.datasets.recording import Events, Recording
from integrand.datasets.synthetic.ecg.beats import KINDS, LEADS, draw_waves
from integrand.datasets.synthetic.ecg.dipole import voltages
from integrand.datasets.synthetic.ecg.heart_rate import SHORTEST, fibrillating_intervals, rr_intervals

SYMBOLS = {"N": "N", "S": "A", "V": "V", "F": "F"}
"""Code of WFDB for each kind."""
RHYTHMS = ("(N", "(AFIB")
NOTICE = "simulated: no patient was measured"


@dataclass(frozen=True, kw_only=True)
class EcgSimulator:
    """Draws patients and records them.

    A patient has a heart rate with its two rhythms, waves of its own, shares of ectopic beats that are large in few
    patients, and in one of ten fibrillating atria. Premature beats come at 0.55 to 0.8 of the usual interval. After a
    ventricular one the pause is compensatory, two intervals from the beat before to the beat after, for the sinus node
    goes on; after a supraventricular one it is not, for the node was reset. Fusion beats come on time. In atrial
    fibrillation intervals are independent of each other, P waves are missing, and waves of 4 to 9 Hz in their place.

    The noise is the baseline's wander with breathing, white noise of muscles, a drift of electrodes (a random walk with
    decay of half a minute) and the mains.

    Attributes:
        seconds: of each recording.
        rate: Hz.
        noise: factor of all noise but the wander; 1 is a deviation of 0.02 mV of white noise in the median patient.
        wander: mV, largest amplitude of the baseline's wander.
        mains: Hz, of the power supply.
        ectopic: largest share of ectopic beats in a patient.
        fibrillating: share of patients with atrial fibrillation.
        intervals: s, shortest and longest mean interval between the beats of a patient without it.

    Example:
        >>> made = EcgSimulator(seconds=10).recording(0, seed=0)
        >>> made.signal.shape, made.simulated, made.leads
        ((3600, 2), True, ['II', 'V1'])

    Source: McSharry, Clifford, Tarassenko and Smith (2003), A dynamical model for generating synthetic
    electrocardiogram signals; waves of fibrillation after Clifford, Nemati and Sameni (2010), An artificial vector
    model for generating abnormal electrocardiographic rhythms; the frequencies of patients and beats are ours.
    """

    seconds: float = 60.0
    rate: float = 360.0
    noise: float = 1.0
    wander: float = 0.15
    mains: float = 50.0
    ectopic: float = 0.3
    fibrillating: float = 0.1
    intervals: tuple[float, float] = (0.65, 1.1)

    def __post_init__(self) -> None:
        for name, least in (("seconds", 1.0), ("rate", 100.0), ("noise", 0.0), ("wander", 0.0), ("mains", 1.0)):
            if not getattr(self, name) >= least:
                raise InputError(f"{name}={getattr(self, name):g} is out of range: it must be at least {least:g}.")
        for name in ("ectopic", "fibrillating"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name}={getattr(self, name):g} is out of range: it must be from 0 to 1.")
        if not SHORTEST < self.intervals[0] <= self.intervals[1]:
            raise InputError(f"intervals={self.intervals} must be above {SHORTEST:g} s, the shorter first.")

    def without_noise(self) -> "EcgSimulator":
        """Return the simulator of the same patients, beat for beat, without noise and without the baseline's wander.

        Example:
            >>> noisy = EcgSimulator(seconds=10)
            >>> clean = noisy.without_noise()
            >>> bool((noisy.recording(3).events.samples == clean.recording(3).events.samples).all())
            True
        """
        return replace(self, noise=0.0, wander=0.0)

    def recordings(self, count: int, *, seed: int = 0) -> Iterator[Recording]:
        """Yield the recordings of patients 0 to ``count`` - 1, one each."""
        for number in range(count):
            yield self.recording(number, seed=seed)

    def recording(self, number: int, *, seed: int = 0) -> Recording:
        """Return the recording of one patient, the same whatever others are drawn.

        Args:
            number: which patient, from 0 on.
            seed: of all patients.
        """
        generator = np.random.default_rng([seed, number])
        fibrillates = bool(generator.random() < self.fibrillating)
        waves = draw_waves(generator)
        peaks, kinds = self._beats(generator, fibrillates)
        if fibrillates:
            waves.height[:, 0] = 0
        breathing = generator.uniform(0.18, 0.32)
        signal = voltages(
            peaks,
            waves,
            kinds,
            seconds=self.seconds,
            rate=self.rate,
            wander=self.wander * generator.uniform(0.2, 1.0),
            breathing=breathing,
            phase=generator.uniform(0, 2 * math.pi),
        )
        t = np.arange(len(signal)) / self.rate
        if fibrillates:
            signal += _fibrillation(t, generator)
        signal += self._noise(t, generator)
        inside = (peaks >= 0) & (np.rint(peaks * self.rate) < len(signal))
        samples = np.rint(peaks[inside] * self.rate).astype(np.int64)
        name = f"simulated_{seed}_{number}"
        return Recording(
            id=name,
            patient=name,
            signal=signal.astype(np.float32),
            rate=self.rate,
            leads=list(LEADS),
            units=["mV"] * len(LEADS),
            events=Events.of(
                np.concatenate([[0], samples]),
                ["+", *(SYMBOLS[KINDS[kind]] for kind in kinds[inside])],
                [RHYTHMS[fibrillates], *[""] * len(samples)],
            ),
            simulated=True,
            notices=[NOTICE],
        )

    def _beats(self, generator: np.random.Generator, fibrillates: bool) -> tuple[np.ndarray, np.ndarray]:
        """Return the times of all beats that shape the recording, from before 0 to after its end, and their kinds."""
        mean = generator.uniform(0.6, 0.8) if fibrillates else generator.uniform(*self.intervals)
        # As many as there can be, were every one the shortest.
        count = math.ceil(1.2 * (self.seconds + 10) / mean) + 20
        if fibrillates:
            intervals = fibrillating_intervals(count, generator, mean=mean, variation=generator.uniform(0.15, 0.3))
        else:
            intervals = rr_intervals(
                count,
                generator,
                mean=mean,
                deviation=mean * generator.uniform(0.02, 0.07),
                ratio=generator.uniform(0.5, 2),
            )
        # Most patients have few ectopic beats, few have many: a cube of a uniform number.
        shares = self.ectopic * generator.uniform(0, 1, 3) ** 3 * np.array([0.4, 0.5, 0.1])
        if fibrillates:
            shares[0] = 0  # no beat stands out as early where none has its time
        kinds = generator.choice(len(KINDS), size=count, p=[1 - shares.sum(), *shares])
        premature = np.isin(kinds, [KINDS.index("S"), KINDS.index("V")])
        pause = (kinds == KINDS.index("V")) & ~np.roll(premature, -1)
        usual, early = intervals.copy(), generator.uniform(0.55, 0.8, count)
        # intervals[k] lies between the beats k and k + 1.
        intervals[:-1] = np.where(premature[1:], np.maximum(usual[:-1] * early[1:], SHORTEST), usual[:-1])
        intervals[1:] = np.where(pause[1:], 2 * usual[:-1] - intervals[:-1], intervals[1:])
        peaks = np.concatenate([[0.0], np.cumsum(intervals[:-1])]) - generator.uniform(0, 1) * mean - 2 * mean
        last = int(np.searchsorted(peaks, self.seconds + 2 * mean)) + 1
        return peaks[:last], kinds[:last]

    def _noise(self, t: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        from scipy.signal import lfilter

        shape, level = (len(t), len(LEADS)), self.noise * np.exp(0.5 * generator.standard_normal())
        white = 0.02 * level * generator.standard_normal(shape)
        keep = math.exp(-1 / (30 * self.rate))
        drift = np.asarray(lfilter([math.sqrt(1 - keep**2)], [1.0, -keep], generator.standard_normal(shape), axis=0))
        hum = 0.005 * level * np.sin(2 * math.pi * self.mains * t + generator.uniform(0, 2 * math.pi))
        return white + 0.05 * level * drift + hum[:, None]


def _fibrillation(t: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Waves of the atria, (L, C) mV: a saw of three harmonics, its rate and size slowly modulated."""
    frequency, size = generator.uniform(4, 9), generator.uniform(0.03, 0.1)
    turned = 2 * math.pi * frequency * t + 0.3 * frequency / 5 * np.sin(2 * math.pi * 0.2 * t)
    sizes = size * (1 + 0.3 * np.sin(2 * math.pi * 0.1 * t + generator.uniform(0, 2 * math.pi)))
    saw = np.sin(turned) + np.sin(2 * turned) / 2 + np.sin(3 * turned) / 3
    return sizes[:, None] * saw[:, None] * np.array([0.5, 1.0])
