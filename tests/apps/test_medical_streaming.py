"""A stream of beats: the answers of ``predict``, whatever the pieces; and rows that cannot be read are refused."""

import csv
import io
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from integrand.apps.application import load
from integrand.apps.cli import main
from integrand.apps.medical import BEAT_NETWORKS
from integrand.apps.medical.beats.answers import columns
from integrand.apps.medical.beats.data import scaled
from integrand.apps.medical.beats.models.beat_network import BeatNetwork, S5BeatNetwork
from integrand.apps.medical.beats.module import BeatModule
from integrand.apps.medical.beats.prediction import named, predict
from integrand.apps.medical.beats.streaming import BeatNamer, stream
from integrand.apps.training.files import write_json
from integrand.core.errors import InputError
from integrand.datasets.beat_series import beat_series
from integrand.datasets.beat_stream import BeatStream
from integrand.datasets.catalogue import RESEARCH_ONLY
from integrand.datasets.heart_beats import beats_of
from integrand.datasets.real import mit_bih
from integrand.datasets.recording import Recording
from integrand.datasets.signal_rows import SignalRows
from integrand.datasets.synthetic.ecg.patients import EcgSimulator


@pytest.fixture(scope="module")
def patient() -> Recording:
    return EcgSimulator(seconds=30, ectopic=1.0).recording(11, seed=5)


def rows_of(recording: Recording, *, beats: bool = False, stamps: str = "{:.9f}") -> Iterator[bytes]:
    """Write a recording as lines of a CSV."""
    yield ",".join(["time", *recording.leads, *(["beat"] if beats else [])]).encode() + b"\n"
    marked = set(beats_of(recording.events, where="x").samples.tolist())
    for place, row in enumerate(recording.signal):
        cells = [
            stamps.format(place / recording.rate),
            *("" if np.isnan(value) else repr(float(value)) for value in row),
        ]
        yield ",".join([*cells, *([str(int(place in marked))] if beats else [])]).encode() + b"\n"


def streamed(module: BeatModule, lines: Iterator[bytes], rate: float | None = None) -> list[dict[str, str]]:
    written: list[str] = []
    stream(module, lines=lines, write=written.append, rate=rate)
    return list(csv.DictReader("".join(written).splitlines()))


def shares(rows: list[dict[str, str]]) -> np.ndarray:
    names = [name for name in rows[0] if name.startswith("probability_")]
    return np.array([[float(row[name]) for name in names] for row in rows])


@pytest.mark.parametrize("beats", [False, True])
def test_a_stream_says_what_predict_says(causal_beats: BeatModule, patient: Recording, tmp_path: Path, beats: bool):
    table = tmp_path / "simulated.csv"
    table.write_bytes(b"".join(rows_of(patient, beats=beats)))
    whole = predict(causal_beats, input=table, output=tmp_path / "out.csv", figure=None)
    told = streamed(causal_beats, rows_of(patient, beats=beats))
    assert len(told) == len(whole.answers) > 20
    assert list(told[0]) == ["time", *columns(list("NSVFQ"))]
    np.testing.assert_allclose([float(row["time"]) for row in told], whole.series.times, atol=1e-6)
    np.testing.assert_allclose(shares(told), [one.probabilities for one in whole.answers], atol=1e-5)
    for name in ("class", "set", "answer", "usable"):
        place = columns(list("NSVFQ")).index(name)
        assert [row[name] for row in told] == [one.cells()[place] for one in whole.answers], name


def test_missing_cells_and_rates_that_differ_change_nothing_of_that(
    causal_beats: BeatModule, patient: Recording, tmp_path: Path
):
    other = EcgSimulator(seconds=20, rate=250).recording(2)
    signal = other.signal.copy()
    signal[2000:2300, 1] = np.nan
    other = replace(other, signal=signal)
    table = tmp_path / "gap.csv"
    table.write_bytes(b"".join(rows_of(other, stamps="{:.4f}")))
    whole = predict(causal_beats, input=table, output=tmp_path / "out.csv", figure=None)
    told = streamed(causal_beats, rows_of(other, stamps="{:.4f}"))
    np.testing.assert_allclose(shares(told), [one.probabilities for one in whole.answers], atol=1e-5)
    assert {row["usable"] for row in told} == {"yes", "no"}
    assert {row["answer"] == "unusable" for row in told if row["usable"] == "no"} == {True}


def test_pieces_of_any_length_have_the_same_answers(causal_beats: BeatModule, patient: Recording):
    found = []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        beats, namer = (
            BeatStream(rate=patient.rate, leads=patient.leads, to=125.0, detect=True),
            BeatNamer(causal_beats),
        )
        said = []
        for piece in np.array_split(patient.signal, np.sort(rng.integers(0, len(patient.signal), 40))):
            said += namer(beats.push(piece))
        said += namer(beats.finish())
        found.append(np.stack([one.probabilities for one in said]))
    np.testing.assert_allclose(found[1], found[0], atol=1e-5)
    np.testing.assert_allclose(found[2], found[0], atol=1e-5)


def test_an_answer_comes_while_rows_are_still_missing(causal_beats: BeatModule, patient: Recording):
    """Each within a second of its beat, by how many rows had been read, but for the first two seconds."""
    read, told = [0], []
    written: list[str] = []

    def lines() -> Iterator[bytes]:
        for line in rows_of(patient):
            read[0] += 1
            yield line

    def write(text: str) -> None:
        written.append(text)
        told.append(read[0] / patient.rate)

    stream(causal_beats, lines=lines(), write=write, rate=patient.rate)
    delay = np.array([at - float(text.split(",")[0]) for at, text in zip(told[1:], written[1:], strict=True)])
    at = np.array([float(text.split(",")[0]) for text in written[1:]])
    later = (at > 2) & (at < patient.seconds - 1)
    assert delay[later].min() > 0.45  # a window's end
    # But for beats that are missed at first, and told when their absence is noticed.
    assert np.quantile(delay[later], 0.9) < 0.75
    assert delay.max() < 3


def test_the_state_does_not_grow(causal_beats: BeatModule):
    """What a stream keeps is of so many bytes once the beats are there that make a template."""

    def kept(of: object, seen: set[int]) -> int:
        if id(of) in seen:
            return 0
        seen.add(id(of))
        if isinstance(of, np.ndarray):
            return of.nbytes
        if isinstance(of, (list, tuple)) or type(of).__name__ == "deque":
            return sum(kept(each, seen) for each in of)  # pyright: ignore[reportGeneralTypeIssues]
        if isinstance(of, torch.Tensor):
            return of.nbytes
        return sum(kept(each, seen) for each in vars(of).values()) if type(of).__module__.startswith("integrand") else 0

    recording = EcgSimulator(seconds=180).recording(0)
    beats = BeatStream(rate=recording.rate, leads=recording.leads, to=125.0, detect=True)
    sizes = []
    for piece in np.split(recording.signal, 10):
        beats.push(piece)
        sizes.append(kept(beats, set()))
    # 64 beats have come within the first hundred seconds.
    assert max(sizes[6:]) - min(sizes[6:]) < 1e-3 * sizes[-1]


@pytest.mark.parametrize("record", ["119"])
def test_a_real_stream_says_what_predict_says(causal_beats: BeatModule, record: str):
    """Records for learning (DS1) alone."""
    pytest.importorskip("wfdb")
    if not os.path.exists(os.path.join(os.environ.get("INTEGRAND_DATA", ""), "mitdb", "100.hea")):
        pytest.skip("no MIT-BIH database here: integrand data download mit_bih")
    whole = mit_bih.load([record])[0]
    end = round(60 * whole.rate)
    inside = whole.events.samples < end
    found = replace(whole, signal=whole.signal[:end], events=whole.events.at(inside))
    series = beat_series(found, rate=125.0, causal=True)
    beats, namer = BeatStream(rate=found.rate, leads=found.leads, to=125.0, detect=False), BeatNamer(causal_beats)
    said, start = [], 0
    for piece in np.array_split(found.signal, 200):
        here = series.samples[(series.samples >= start) & (series.samples < start + len(piece))]
        said += namer(beats.push(piece, here))
        start += len(piece)
    said += namer(beats.finish())
    np.testing.assert_allclose(np.stack([one.probabilities for one in said]), named(causal_beats, series), atol=1e-5)


def test_the_user_is_told_that_it_is_for_research(causal_beats: BeatModule, patient: Recording):
    told: list[str] = []
    stream(causal_beats, lines=rows_of(patient), write=lambda text: None, notify=told.append)
    assert told == [RESEARCH_ONLY]


def test_a_run_that_looks_ahead_is_refused(causal_beats: BeatModule, patient: Recording):
    module = BeatModule(S5BeatNetwork(width=8, d_state=8, layers=1, stages=1))
    module.build_networks(replace(causal_beats.network.built_for, causal=False))
    with pytest.raises(InputError, match=r"looks ahead .* --data.causal true"):
        streamed(module, rows_of(patient))


HEADER = b"time,II,V1\n"


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ([], "standard input is empty"),
        ([HEADER], "tell no rate"),
        ([b"II,V1\n", b"1,2\n"], "one must be 'time', in seconds, or 'sample'"),
        ([b"time\n", b"1\n"], "it needs one for each lead, in mV"),
        ([b"time,II,II\n"], "give each lead a name of its own"),
        ([b"sample,II\n", b"0,1\n"], "tell how many a second has, with --rate"),
        ([HEADER, b"0,1,2\n", b"0.01,1\n"], "row 3 has 2 cells, the header 3"),
        ([HEADER, b"0,1,2\n", b"0.01,1,x\n"], "column 'V1' has 'x', which is no number"),
        ([HEADER, b"0,1,2\n", b"0.01,1,inf\n"], "column 'V1' has 'inf', which is no number"),
        ([HEADER, b"0,1,2\n", b"0.01,1,2\n", b"0.05,1,2\n", b"0.06,1,2\n"], "no step of"),
        ([HEADER, b"1,1,2\n", b"0.5,1,2\n"], "times do not increase"),
        ([HEADER, b"-1,1,2\n", b"-0.5,1,2\n"], "times must not be negative"),
        ([HEADER, *(b"%.2f,1,2\n" % (i / 100) for i in range(50))], "has 0 beats, where two are needed"),
        ([b"time,V5\n", b"0,1\n", b"0.01,1\n"], "has no lead 'II', it has V5"),
    ],
)
def test_rows_that_cannot_be_are_refused_in_one_line(causal_beats: BeatModule, lines: list[bytes], told: str):
    with pytest.raises(InputError) as caught:
        streamed(causal_beats, iter(lines))
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_stamps_that_are_rounded_tell_the_rate():
    rows = SignalRows([b"time,II\n", *(b"%.3f,1\n" % (5 + i / 360) for i in range(1200))])
    assert sum(len(piece.signal) for piece in rows) == 1200
    assert (rows.rate, rows.start) == (360.0, 5.0)


@pytest.mark.parametrize("name", sorted(BEAT_NETWORKS))
def test_every_network_names_beats_one_after_another(causal_beats: BeatModule, patient: Recording, name: str):
    """Its scores of a run of beats are those of the beats in pieces, the state handed on."""
    task = causal_beats.network.built_for
    torch.manual_seed(1)
    network: BeatNetwork = load(f"integrand.apps.medical.beats.models.{BEAT_NETWORKS[name][0]}")()
    network.build(task)
    network.eval()
    run = scaled(beat_series(patient, rate=task.rate, causal=True), task)
    with torch.inference_mode():
        whole = network(run)
        pieces, state = [], None
        for first, end in ((0, 1), (1, 2), (2, 7), (7, run.mask.shape[1])):
            scores, state = network.carry(run.between(first, end), state)
            pieces.append(scores)
    torch.testing.assert_close(torch.cat(pieces, dim=1), whole, atol=2e-5, rtol=1e-4)
    assert whole.std(dim=1).min() > 1e-3


def test_the_command_answers_a_stream_as_it_answers_a_file(
    causal_beats: BeatModule,
    patient: Recording,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    run = tmp_path / "1"
    causal_beats.trainer.save_checkpoint(run / "checkpoints" / "best.ckpt")
    (run / "config.yaml").write_text("")
    write_json(run / "environment.json", {"app": "medical", "task": "beats"})
    table = tmp_path / "p1.csv"
    table.write_bytes(b"".join(rows_of(patient, beats=True)))
    words = ["predict", str(run), "--accelerator", "cpu", "--rate", "360"]
    output = tmp_path / "whole.csv"
    assert main([*words, "--input", str(table), "--output", str(output)]) == 0
    assert (tmp_path / "whole.png").stat().st_size > 5_000
    assert RESEARCH_ONLY in capsys.readouterr().err
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(table.read_bytes())))
    assert main([*words, "--stream"]) == 0
    told = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    whole = list(csv.DictReader(output.read_text().splitlines()))
    np.testing.assert_allclose(shares(told), shares(whole), atol=1e-5)
    assert [row["answer"] for row in told] == [row["answer"] for row in whole]
    assert main([*words, "--stream", "--annotator", "atr"]) == 2
    assert "option --annotator is not for beats" in capsys.readouterr().err
