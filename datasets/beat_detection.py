"""Heart beats found in a recording that has none marked, by the detectors of the package wfdb.

Dimension letters: L samples, N beats, W samples of a window.
"""

from typing import Any

import numpy as np

from integrand.core.errors import InputError, listed, unknown
from integrand.datasets.recording import Events, Recording

METHODS = ("gqrs", "xqrs")
"""Detectors of wfdb, by the names that it has for them."""
BAND = (5.0, 40.0)
"""Hz, in which the R wave is the largest of a beat."""
NEAR = 0.05
"""Seconds on each side of what a detector says, among which the R peak is."""
SHORTEST = 0.2
"""Seconds between beats: no ventricle is ready sooner."""
HIGHEST_RATE = 500.0
"""Hz, above which the signal is resampled to it: of 1000 Hz XQRS finds nothing."""
MIRRORED = 3.0
"""Seconds that each end is mirrored by, since a detector that learns its thresholds there misses the first beats."""


def detect_beats(recording: Recording, *, lead: int | str = 0, method: str = "gqrs") -> Events:
    """Find the beats of an electrocardiogram, each at its R peak, with the symbol ``N``.

    A detector of wfdb says where beats are. Each is moved to the largest absolute value of the lead between 5 and 40 Hz
    that is within 50 ms. Missing stretches are bridged by lines, and have no beats.

    GQRS is the default since it finds more. On 11 of the records of MIT-BIH for learning (DS1) its sensitivity is 0.998
    and its positive predictivity 0.986, and those of XQRS are 0.991 and 0.973, a beat being found within 150 ms.

    Args:
        recording: in millivolts, at 100 Hz or more.
        lead: its name, or its number from 0 on.
        method: one of ``METHODS``.

    Raises:
        InputError: no such lead or method; a lead that is not in mV, below 100 Hz, or missing or flat throughout; wfdb
            is not installed.

    Example::

        beats = detect_beats(read_wfdb(Path("100")))
        write_events(Path("100"), "pred", beats, rate=360)

    Source: Moody, Pollard and Moody (2022), WFDB Software Package; the 150 ms are those of ANSI/AAMI EC57:1998.
    """
    if method not in METHODS:
        raise unknown("method of detection", method, METHODS)
    x = _lead(recording, lead)
    missing = np.isnan(x)
    if missing.all() or np.ptp(x[~missing]) == 0:
        raise InputError(
            f"recording {recording.id}: lead {lead} is {'missing' if missing.all() else 'flat'} throughout, and has no "
            "beats: name another lead."
        )
    places = np.arange(len(x))
    whole = np.interp(places, places[~missing], x[~missing])
    found = on_peaks(whole, _detected(whole, recording.rate, method), recording.rate)
    found = found[~missing[found]]
    return Events.of(found, ["N"] * len(found))


def _lead(recording: Recording, lead: int | str) -> np.ndarray:
    """Return a lead as float64, (L,)."""
    if isinstance(lead, str):
        recording, lead = recording.select([lead]), 0
    if not -len(recording.leads) <= lead < len(recording.leads):
        raise InputError(
            f"recording {recording.id} has no lead number {lead}, it has {listed(recording.leads)}: count from 0."
        )
    if recording.units[lead] != "mV":
        raise InputError(
            f"recording {recording.id}: lead {recording.leads[lead]} is in {recording.units[lead] or 'no unit'}, where "
            "mV is needed: name a lead of the electrocardiogram."
        )
    if recording.rate < 100:
        raise InputError(
            f"recording {recording.id} has {recording.rate:g} Hz, and beats are found at 100 Hz or more: resample it."
        )
    return recording.signal[:, lead].astype(np.float64)


def _detected(x: np.ndarray, rate: float, method: str) -> np.ndarray:
    """Return where a detector finds beats, (N,)."""
    processing: Any = _package()
    ratio = 1.0
    if rate > HIGHEST_RATE:
        slower = Recording("x", "x", x[:, None].astype(np.float32), rate, ["x"], ["mV"]).resampled(HIGHEST_RATE)
        x, ratio, rate = slower.signal[:, 0].astype(np.float64), rate / HIGHEST_RATE, HIGHEST_RATE
    beyond = min(round(MIRRORED * rate), len(x) - 1)
    wide = np.pad(x, beyond, mode="reflect")
    if method == "gqrs":
        found = processing.gqrs_detect(sig=wide, fs=rate)
    else:
        found = processing.xqrs_detect(sig=wide, fs=rate, verbose=False)
    found = np.asarray(found, dtype=np.int64) - beyond
    found = found[(found >= 0) & (found < len(x))]
    return np.rint(found * ratio).astype(np.int64)


def on_peaks(x: np.ndarray, found: np.ndarray, rate: float) -> np.ndarray:
    """Move beats found in a signal, (N,) of (L,), to the R peaks beside them; of two that come too near one stays."""
    from scipy.signal import butter, sosfiltfilt

    if not len(found):
        return found
    stages = butter(2, BAND, btype="bandpass", fs=rate, output="sos")
    passed = np.abs(np.asarray(sosfiltfilt(stages, x, padlen=min(round(rate), len(x) - 1))))
    reach = round(NEAR * rate)
    windows = np.pad(passed, reach)[found.clip(max=len(x) - 1)[:, None] + np.arange(2 * reach + 1)]  # (N, W)
    peaks = np.unique((found + windows.argmax(axis=1) - reach).clip(0, len(x) - 1))
    # Of two that came too near, the larger one stays.
    kept: list[int] = []
    for peak in peaks.tolist():
        if not kept or peak - kept[-1] >= SHORTEST * rate:
            kept.append(peak)
        elif passed[peak] > passed[kept[-1]]:
            kept[-1] = peak
    return np.array(kept, dtype=np.int64)


def _package() -> Any:
    try:
        import wfdb.processing
    except ImportError as error:
        raise InputError("finding beats needs the package wfdb: pip install 'integrand[medical]'.") from error
    return wfdb.processing
