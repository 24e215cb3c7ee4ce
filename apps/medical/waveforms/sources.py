"""Leads of recordings that are learned from: by name, from a folder or a file, each at one rate and in millivolts.

Dimension letters: L samples, N beats.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from integrand.apps.medical.named_recordings import MIT_BIH, SIMULATED
from integrand.core.errors import InputError, unknown
from integrand.datasets.edf_files import SUFFIXES, read_edf
from integrand.datasets.heart_beats import CLASS_OF
from integrand.datasets.real import ecg_five_minutes, mit_bih
from integrand.datasets.recording import Recording, require_each_once
from integrand.datasets.recording_files import read_folder
from integrand.datasets.signal_quality import signal_quality
from integrand.datasets.synthetic.ecg.patients import EcgSimulator
from integrand.datasets.wfdb_files import HEADER, read_wfdb

NAMED = (SIMULATED, "ecg_five_minutes", MIT_BIH)
EVERY = "*"
"""Stands for every lead of a recording, each by itself."""
MEASURED = (
    "the measured signal counts as clean: its own noise stays in the target, and to give it back is counted as right"
)


@dataclass(frozen=True, eq=False)
class Lead:
    """One lead of a recording, at the rate of the task.

    Attributes:
        id: of the recording.
        patient: whose it is.
        name: of the lead.
        signal: (L,) float32 mV, without missing values.
        usable: (L,) bool, where it shows the heart.
        beats: (N,) int64, samples at which a beat is marked; none where none are.
        rate: Hz.
        simulated: whether it was made and not measured.
    """

    id: str
    patient: str
    name: str
    signal: np.ndarray
    usable: np.ndarray
    beats: np.ndarray
    rate: float
    simulated: bool

    def cut(self, first: int, end: int) -> "Lead":
        """Return the samples from ``first`` on and before ``end``."""
        inside = (self.beats >= first) & (self.beats < end)
        return Lead(
            id=self.id,
            patient=self.patient,
            name=self.name,
            signal=self.signal[first:end],
            usable=self.usable[first:end],
            beats=self.beats[inside] - first,
            rate=self.rate,
            simulated=self.simulated,
        )


def read_recordings(
    dataset: str, *, records: Sequence[str] | None, annotator: str | None, patients: int, seconds: float, seed: int
) -> list[Recording]:
    """Return the recordings of a data set by its name, of a folder, or of one file.

    Args:
        dataset: one of ``NAMED``, a folder of records of WFDB or EDF, a header of WFDB, or a file of EDF.
        records: of ``mit_bih``; all but the paced where None.
        annotator: suffix of the annotations of WFDB records; None for none.
        patients, seconds, seed: of the simulation, which has no noise.

    Raises:
        InputError: there is no such data set, folder or file, or one signal is there under two patients' names.
    """
    if dataset == SIMULATED:
        simulator = EcgSimulator(seconds=seconds).without_noise()
        return list(simulator.recordings(patients, seed=seed))
    if dataset == "ecg_five_minutes":
        return [ecg_five_minutes.load()]
    if dataset == MIT_BIH:
        return mit_bih.load(records)
    place = Path(dataset)
    if place.is_dir():
        found = read_folder(place, annotator=annotator)
    elif place.suffix.lower() in SUFFIXES:
        found = [read_edf(place)]
    elif place.suffix == HEADER or Path(f"{place}{HEADER}").is_file():
        found = [read_wfdb(place, annotator=annotator)]
    else:
        raise unknown("dataset", dataset, NAMED)
    require_each_once(found)
    return found


def leads_of(recording: Recording, names: Sequence[str] | None, rate: float) -> list[Lead]:
    """Return leads of a recording at another rate, each by itself.

    Args:
        recording: in millivolts, its beats in the codes of WFDB.
        names: of the leads; ``*`` for every one, None for the first.
        rate: Hz.

    Raises:
        InputError: it has no such lead, or one is not in millivolts.
    """
    chosen = recording.leads[:1] if names is None else recording.leads if EVERY in names else list(names)
    picked = recording.select(chosen)
    beats = picked.events.at(np.isin(picked.events.symbols.astype(str), list(CLASS_OF)))
    usable = signal_quality(picked).usable
    changed = picked.resampled(rate)
    count = len(changed.signal)
    nearest = np.rint(np.arange(count) * (picked.rate / rate)).astype(np.int64).clip(max=len(usable) - 1)
    places = np.rint(beats.samples * (rate / picked.rate)).astype(np.int64).clip(max=count - 1)
    made = []
    for column, name in enumerate(chosen):
        signal = changed.signal[:, column]
        there = np.isfinite(signal)
        if not there.any():
            raise InputError(f"recording {recording.id}: lead {name} is missing throughout: name another with leads.")
        samples = np.arange(count)
        made.append(
            Lead(
                id=recording.id,
                patient=recording.patient,
                name=name,
                signal=np.interp(samples, samples[there], signal[there]).astype(np.float32),
                usable=usable[nearest, column] & there,
                beats=places,
                rate=rate,
                simulated=recording.simulated,
            )
        )
    return made


def checksum(leads: Sequence[Lead]) -> str:
    """Return sixteen hexadecimal digits of SHA-256 over signals and beats."""
    content = hashlib.sha256()
    for lead in leads:
        content.update(np.ascontiguousarray(lead.signal).tobytes())
        content.update(lead.beats.tobytes())
    return content.hexdigest()[:16]
