"""Series of beats kept on disk, a file a recording, so that a recording is filtered and cut once.

A file is named after a hash of all that the series follows from: the signal, what is marked in it, and how it is cut.
"""

import dataclasses
import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from integrand.datasets.beat_series import BeatSeries, beat_series
from integrand.datasets.recording import Recording

VERSION = 5
"""Raised whenever ``beat_series`` answers otherwise, so that what was kept before is not taken for it."""


def cached_beat_series(
    recording: Recording, *, rate: float = 125.0, causal: bool = False, folder: Path | None
) -> BeatSeries:
    """Return the series of beats of a recording, from ``folder`` where it is kept there, else made and kept there.

    Args:
        recording: see ``beat_series``, as are the next two.
        rate: Hz of the windows.
        causal: whether nothing after a window is used.
        folder: where series are kept; it is made. None keeps nothing.

    Raises:
        InputError: as ``beat_series``.
    """
    if folder is None:
        return beat_series(recording, rate=rate, causal=causal)
    file = folder / f"{_key(recording, rate, causal)}.npz"
    if file.is_file():
        return _read(file)
    made = beat_series(recording, rate=rate, causal=causal)
    _write(file, made)
    return made


def _key(recording: Recording, rate: float, causal: bool) -> str:
    """Return 32 hexadecimal digits of SHA-256 over everything that a series follows from."""
    told = [VERSION, rate, causal, recording.rate, recording.leads, recording.units, recording.id, recording.patient]
    told += [recording.age, recording.sex, recording.simulated, [str(symbol) for symbol in recording.events.symbols]]
    digest = hashlib.sha256(json.dumps(told).encode())
    digest.update(np.ascontiguousarray(recording.signal).tobytes())
    digest.update(np.ascontiguousarray(recording.events.samples).tobytes())
    return digest.hexdigest()[:32]


def _write(file: Path, series: BeatSeries) -> None:
    """Write a file whole or not at all, whatever else writes it at the same time."""
    file.parent.mkdir(parents=True, exist_ok=True)
    values = {one.name: getattr(series, one.name) for one in dataclasses.fields(series)}
    arrays = {name: value for name, value in values.items() if isinstance(value, np.ndarray)}
    told = json.dumps({name: value for name, value in values.items() if name not in arrays})
    kept: Any = {"told": np.array(told), **arrays}
    handle, temporary = tempfile.mkstemp(dir=file.parent, suffix=".part")
    with os.fdopen(handle, "wb") as place:
        np.savez(place, **kept)
    os.replace(temporary, file)


def _read(file: Path) -> BeatSeries:
    with np.load(file, allow_pickle=False) as kept:
        told = json.loads(str(kept["told"]))
        return BeatSeries(**told, **{name: kept[name] for name in kept.files if name != "told"})
