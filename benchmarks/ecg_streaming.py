"""How much quicker than real time a stream of beats is named: ``python benchmarks/ecg_streaming.py``.

Rows of text go in, as ``integrand predict RUN --stream`` reads them, and rows of text come out: two leads at 360 Hz,
beats found online, the default network with its state handed from beat to beat. Times are of one thread's processor,
so that what else the machine does falls on neither side; weights are as drawn, since none changes the work.
"""

import argparse
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from rows import SPEED, Row, commit, machine, write_row

from integrand.apps.medical.beats.data import BeatData
from integrand.apps.medical.beats.models.beat_network import S5BeatNetwork
from integrand.apps.medical.beats.module import BeatModule
from integrand.apps.medical.beats.prediction import named
from integrand.apps.medical.beats.streaming import stream
from integrand.datasets.beat_series import beat_series
from integrand.datasets.online_beats import OnlineBeatDetector
from integrand.datasets.recording import Events, Recording
from integrand.datasets.synthetic.ecg.patients import EcgSimulator

ROW = "ecg_streaming"
MUST, GOAL = 50.0, 200.0
SECONDS = 300.0
"""Of a stream."""


def main() -> int:
    """Time streams, print what was found and write the row."""
    parser = argparse.ArgumentParser(description="Time a stream of heart beats.", allow_abbrev=False)
    parser.add_argument("--repeats", type=int, default=7, help="streams, each of another patient (7)")
    parser.add_argument("--output", type=Path, default=SPEED, help="folder of the row (benchmarks/speed)")
    given = parser.parse_args()
    if given.repeats < 1:
        parser.error("--repeats must be at least 1")
    torch.set_num_threads(1)
    row = measure(given.repeats)
    row |= {
        "command": f"python benchmarks/ecg_streaming.py --repeats {given.repeats}",
        "commit": commit(),
        "machine": machine(1),
    }
    path = write_row(row, given.output)
    print(f"{ROW}: {row['ratio']} x real time, must {MUST:g}, goal {GOAL:g}, agreement {row['agreement']}, {path}")
    print(row["note"])
    return 0


def measure(repeats: int) -> Row:
    """Return what the row tells, all but how and where it was run."""
    module = untrained()
    recordings = [EcgSimulator(seconds=SECONDS).recording(number, seed=7) for number in range(repeats)]
    run(module, recordings[0])  # what is imported and made once
    found = [run(module, recording) for recording in recordings]
    ratios = np.array([SECONDS / seconds for seconds, _, _ in found])
    delays = np.concatenate([delay for _, _, delay in found])
    agreement = max(
        difference(module, recording, told) for recording, (_, told, _) in zip(recordings, found, strict=True)
    )
    ours = 1000 / float(np.median(ratios))
    low, high = np.quantile(ratios, [0.25, 0.75])
    return {
        "row": ROW,
        "work": "a second of an electrocardiogram as rows of text, two leads at 360 Hz: beats found, resampled, "
        "filtered, named and written as rows",
        "ratio": digits(1000 / ours),
        "ratio_quartiles": [digits(low), digits(high)],
        "must": MUST,
        "goal": GOAL,
        "ours_ms": digits(ours),
        "peer_ms": 1000.0,
        "repeats": repeats,
        "peer": "real time",
        "peer_version": "360 Hz",
        "agreement": float(f"{agreement:.1e}"),
        "note": f"processor time of one thread over {SECONDS:g} s of each of {repeats} simulated patients; agreement "
        "is that of probabilities with those of the whole recording; by the rows that had been read a beat is told "
        f"{np.median(delays):.2f} s after it (95 of 100 within {np.quantile(delays, 0.95):.2f} s), of which 0.45 s are "
        f"the end of its window; torch {torch.__version__}",
    }


def untrained() -> BeatModule:
    """Return a causal module as it is before training."""
    torch.manual_seed(0)
    data = BeatData(patients=20, seconds=30.0, causal=True, split_seed=1)
    data.setup()
    module = BeatModule(S5BeatNetwork())
    module.build(data)
    return module.eval()


def run(module: BeatModule, recording: Recording) -> tuple[float, np.ndarray, np.ndarray]:
    """Stream a recording; return processor seconds, the probabilities told (N, K), and how late each was (N,)."""
    lines = [f"time,{','.join(recording.leads)}\n".encode()]
    rate = recording.rate
    lines += [b"%.6f,%.4f,%.4f\n" % (place / rate, *row) for place, row in enumerate(recording.signal.tolist())]
    read, late = 0, []
    written: list[str] = []

    def source() -> Iterator[bytes]:
        nonlocal read
        for line in lines:
            read += 1
            yield line

    def write(text: str) -> None:
        written.append(text)
        late.append(read / rate)

    start = time.process_time()
    stream(module, lines=source(), write=write, rate=rate)
    seconds = time.process_time() - start
    rows = [line.split(",") for line in written[1:]]
    p = np.array([[float(cell) for cell in row[2 : 2 + len(module.network.built_for.classes)]] for row in rows])
    at = np.array([float(row[0]) for row in rows])
    settled = (at > 3) & (at < recording.seconds - 1)
    return seconds, p, (np.array(late[1:]) - at)[settled]


def difference(module: BeatModule, recording: Recording, told: np.ndarray) -> float:
    """Return the largest difference of the probabilities told from those of the recording as a whole."""
    signal = np.array([[float(f"{value:.4f}") for value in row] for row in recording.signal.tolist()], dtype=np.float32)
    detector = OnlineBeatDetector(recording.rate, len(recording.leads))
    beats = np.concatenate([detector.push(signal), detector.finish()])
    whole = replace(recording, signal=signal, events=Events.of(beats, ["N"] * len(beats)))
    task = module.network.built_for
    return float(np.abs(named(module, beat_series(whole, rate=task.rate, causal=True)) - told).max())


def digits(value: float) -> float:
    """Return a number to four digits."""
    return float(f"{value:.4g}")


if __name__ == "__main__":
    sys.exit(main())
