"""Recordings in the European Data Format, read by the package pyedflib.

Source: Kemp, Varri, Rosa, Nielsen and Gade (1992), A simple format for exchange of digitized polygraphic recordings;
Kemp and Olivan (2003), European data format 'plus' (EDF+), an EDF alike standard format for the exchange of
physiological data.
"""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from integrand.core.errors import InputError, listed
from integrand.datasets.recording import Events, Recording, in_millivolts

SUFFIXES = (".edf", ".bdf")
SEXES = {"female": "F", "male": "M", "f": "F", "m": "M", 0: "F", 1: "M"}
"""How the header has the sex, by the reader's version."""


def read_edf(path: Path, *, patient: str | None = None) -> Recording:
    """Read a file of the European Data Format, plain, plus or of 24 bits, with its annotations.

    Voltages are told in millivolts. Where signals have different rates, those of the rate that most have are read, and
    a notice names the others. The name, the birthday and the number of the patient are not read.

    Args:
        path: the file.
        patient: whose it is; the file's own name without its suffix where None.

    Raises:
        InputError: the file is missing, cut short or of another format, or has no signal; pyedflib is not installed.
    """
    if not path.is_file():
        raise InputError(f"there is no file {str(path)!r}: check the path.")
    try:
        import pyedflib
    except ImportError as error:
        raise InputError("files of EDF need the package pyedflib: pip install 'integrand[medical]'.") from error
    reader: Any = None
    try:
        reader = pyedflib.EdfReader(str(path))
        return _recording(reader, path.stem, patient or path.stem)
    except OSError as error:
        raise InputError(
            f"{path.name} cannot be read, it is cut short, damaged or of another format: {_reason(error, path)}."
        ) from error
    finally:
        if reader is not None:
            reader.close()


def _recording(reader: Any, name: str, patient: str) -> Recording:
    count = reader.signals_in_file
    if not count:
        raise InputError(f"{name} has no signals: it holds annotations alone.")
    rates = [float(reader.getSampleFrequency(place)) for place in range(count)]
    rate, _ = Counter(rates).most_common(1)[0]
    chosen = [place for place in range(count) if rates[place] == rate]
    labels = [str(reader.getLabel(place)).strip() for place in range(count)]
    left = [f"{labels[place]} ({rates[place]:g} Hz)" for place in range(count) if place not in chosen]
    signal, units = in_millivolts(
        np.stack([reader.readSignal(place) for place in chosen], axis=1),
        [str(reader.getPhysicalDimension(place)).strip() for place in chosen],
    )
    onsets, _, texts = reader.readAnnotations()
    places = np.rint(np.asarray(onsets, dtype=np.float64) * rate).astype(np.int64)
    order = np.argsort(places, kind="stable")
    sex = reader.getSex() if hasattr(reader, "getSex") else reader.getGender()
    return Recording(
        id=name,
        patient=patient,
        signal=signal,
        rate=rate,
        leads=[labels[place] for place in chosen],
        units=units,
        events=Events.of(places[order], [str(texts[place]) for place in order]),
        sex=SEXES.get(sex.lower() if isinstance(sex, str) else sex),
        notices=[f"{name}: left out {listed(left)}, since most signals have {rate:g} Hz"] if left else [],
    )


def _reason(error: OSError, path: Path) -> str:
    said = str(error).replace(str(path), "").strip(" :").splitlines()
    return said[0].rstrip(".") if said and said[0] else "unknown"
