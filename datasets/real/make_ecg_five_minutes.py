"""Make ``ecg_five_minutes.csv.xz`` of record 208 of the MIT-BIH Arrhythmia Database, as its publisher has it.

Run from the root of the repository, where ``integrand data download mit_bih`` was run before:

    python datasets/real/make_ecg_five_minutes.py

The same files give the same bytes of CSV on every machine; the bytes of the compressed file may differ between versions
of liblzma, so the checksum in ``ecg_five_minutes.PROVENANCE.md`` is that of the CSV inside.
"""

import hashlib
import lzma
from pathlib import Path

from integrand.datasets.heart_beats import CLASS_OF
from integrand.datasets.real import mit_bih

RECORD, LEAD = "208", "MLII"
FIRST, LENGTH = 422_820, 108_000
"""Samples of the record: five minutes from 19 min 34.5 s on."""
TARGET = Path(__file__).with_name("ecg_five_minutes.csv.xz")


def main() -> None:
    """Write the file and print the checksums."""
    recording = mit_bih.load([RECORD])[0].select([LEAD])
    beats = {
        int(place) - FIRST: str(symbol)
        for place, symbol in zip(recording.events.samples, recording.events.symbols, strict=True)
        if FIRST <= place < FIRST + LENGTH and symbol in CLASS_OF
    }
    lines = ["millivolt,beat"]
    for place, value in enumerate(recording.signal[FIRST : FIRST + LENGTH, 0].tolist()):
        lines.append(f"{value:.3f},{beats.get(place, '')}")
    text = ("\n".join(lines) + "\n").encode()
    TARGET.write_bytes(lzma.compress(text, preset=9 | lzma.PRESET_EXTREME))
    print(f"{hashlib.sha256(text).hexdigest()}  the CSV")
    print(f"{hashlib.sha256(TARGET.read_bytes()).hexdigest()}  {TARGET.name}, {TARGET.stat().st_size} bytes")


if __name__ == "__main__":
    main()
