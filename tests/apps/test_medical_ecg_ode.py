"""ECG-ODE: its waves solve McSharry's equation, simulated ones are found again, and real beats are explained."""

import json
import math
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from torch import Tensor

from integrand.apps.medical.beats.data import BeatData, BeatsOfPart
from integrand.apps.medical.beats.models.beat_network import S5BeatNetwork
from integrand.apps.medical.beats.models.ecg_ode import WAVES, EcgOdeBeatNetwork, WaveReader, unexplained
from integrand.apps.medical.beats.module import BeatModule
from integrand.apps.medical.beats.waves import draw_waves, explain
from integrand.core.errors import InputError
from integrand.core.fields.cardiac_cycle import CardiacCycle
from integrand.core.numerics import solve_ode
from integrand.datasets.beat_series import BeatSeries, beat_series
from integrand.datasets.real import mit_bih
from integrand.datasets.recording import Events, Recording
from integrand.datasets.synthetic.ecg import beats, dipole

RATE, LENGTH = 125.0, 94
P, Q, R, S, T = range(5)
HEIGHTS = (0.2, -0.3, 1.5, -0.6, 0.4)
Patients = list[tuple[BeatSeries, dipole.Waves, np.ndarray]]


def reader(*, corrections: int = 3, seed: int = 0) -> WaveReader:
    torch.manual_seed(seed)
    return WaveReader(2, LENGTH, RATE, hidden=64, corrections=corrections)


def train(made: WaveReader, windows: Tensor, steps: int) -> WaveReader:
    """Train a reader to leave as little unexplained as it can."""
    optimizer = torch.optim.AdamW(made.parameters(), lr=4e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps, pct_start=0.1)
    order = torch.Generator().manual_seed(0)
    for _ in range(steps):
        some = windows[torch.randint(len(windows), (128,), generator=order)]
        loss = unexplained(some, made.fit(made.say(some), some).drawn).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return made.eval()


def simulated(patient: int) -> tuple[BeatSeries, dipole.Waves, np.ndarray]:
    """Normal beats of one patient without noise: the series, its waves, and the intervals about each beat."""
    generator = np.random.default_rng(patient)
    waves = beats.draw_waves(generator)
    intervals = generator.uniform(0.75, 1.05) * (1 + 0.03 * generator.standard_normal(60))
    peaks = np.cumsum(intervals) - intervals[0] - 1.0
    signal = dipole.voltages(peaks, waves, np.zeros(len(peaks), int), seconds=32.0, rate=360.0, wander=0.0)
    inside = (peaks > 1) & (peaks < 31)
    marks = Events.of(np.rint(peaks[inside] * 360).astype(int), ["N"] * int(inside.sum()))
    recording = Recording(f"p{patient}", f"p{patient}", signal.astype("f4"), 360.0, ["II", "V1"], ["mV"] * 2, marks)
    place = np.flatnonzero(inside)
    return beat_series(recording), waves, np.stack([intervals[place], intervals[place + 1]], axis=1)


def of(series: list[BeatSeries], size: np.ndarray) -> Tensor:
    windows = np.concatenate([each.windows[each.usable] for each in series])
    return torch.from_numpy((windows / size).transpose(0, 2, 1).astype(np.float32))


def drawn(count: int = 6) -> tuple[WaveReader, Tensor, Tensor]:
    """A reader in double precision, what may be said of some beats, and windows that are exactly theirs."""
    made = reader().double()
    generator = torch.Generator().manual_seed(0)
    said = 0.7 * torch.randn(count, 2, 5, 2, generator=generator, dtype=torch.float64)
    waves = made.fit(said, torch.zeros(count, 2, LENGTH, dtype=torch.float64))
    return made, said, made.curves(waves.time, waves.width) @ torch.tensor([*HEIGHTS, 0.1, -0.2], dtype=torch.float64)


def test_the_waves_solve_mcsharrys_equation():
    """The sum that is fitted is what the solver finds from the equation with these waves, whatever the heart rate."""
    made, said, windows = drawn()
    waves = made.fit(said, windows)
    # In slower rhythms than this the whole window lies within half a turn of every wave.
    args = waves.of_cycle(torch.linspace(1.2, 2.0, len(said), dtype=torch.float64))
    turned = args[3] * made.t[0]
    start = torch.cat([torch.stack([turned.cos(), turned.sin()], dim=1), waves.drawn[:, :, 0]], dim=1)
    found = solve_ode(CardiacCycle(), start, made.t, args=args, rtol=1e-9, atol=1e-10)
    assert (found.states[:, :, 2:].transpose(1, 2) - waves.drawn).abs().max() < 1e-7


def test_heights_of_known_waves_are_found():
    """But for the ridge, which the narrow waves feel most: 1 % of the R wave."""
    made, said, windows = drawn()
    waves = made.fit(said, windows)
    assert unexplained(windows, waves.drawn).max() < 1e-4
    expected = torch.tensor(HEIGHTS, dtype=torch.float64)[:, None]
    assert (waves.height - expected).abs().max() < 0.01 * HEIGHTS[R] + 5e-3


def test_corrections_find_times_and_widths_that_were_said_wrongly():
    made, said, windows = drawn()
    made.corrections = 12
    found = made.correct(said + 0.5, windows)
    before, after = (unexplained(windows, made.fit(each, windows).drawn) for each in (said + 0.5, found))
    assert before.min() > 1e-2
    assert after.median() < 1e-4


def test_the_gradient_through_the_least_squares_is_that_of_finite_differences():
    made, said, windows = drawn(2)
    said = (said + 0.3).requires_grad_()
    assert torch.autograd.gradcheck(lambda said: unexplained(windows, made.fit(said, windows).drawn), (said,))


def test_the_gradient_of_an_empty_window_is_finite():
    """Attributions go from an absent signal to the one there."""
    empty = torch.zeros(2, 2, LENGTH, requires_grad=True)
    waves = reader()(empty)
    (waves.height.sum() + unexplained(empty, waves.drawn).sum()).backward()
    assert empty.grad is not None
    assert empty.grad.isfinite().all()


@pytest.fixture(scope="module")
def patients() -> Patients:
    return [simulated(patient) for patient in range(16)]


def test_the_waves_of_new_simulated_patients_are_found(patients: Patients):
    """Times to half a sample and the place of the mark in its own, widths and heights to what the band pass leaves.

    P and T stand alone in both leads. In lead II the narrow Q and S lie on the flanks of R, and 40 Hz blunt all three:
    R's time is found, and what the three are together, but not each one's share.
    """
    size = np.concatenate([series.windows for series, *_ in patients]).std((0, 1))
    made = train(reader(), of([series for series, *_ in patients[:12]], size), 120)
    off: dict[str, list[np.ndarray]] = {"time": [], "width": [], "height": []}
    left = []
    for series, waves, intervals in patients[12:]:
        with torch.no_grad():
            windows = of([series], size)
            found = made(windows)
        left.append(unexplained(windows, found.drawn))
        root = np.sqrt(intervals[:, (np.array(beats.ANGLES) >= 0).astype(int)])[..., None] / (2 * math.pi)  # (N, W, 1)
        inner = slice(2, -2)
        off["time"].append((found.time.numpy() - waves.angle[0][:, None] * root)[inner])
        off["width"].append((found.width.numpy() / (waves.width[0][:, None] * root) - 1)[inner])
        off["height"].append(((found.height.numpy() * size - waves.height[0]) / np.abs(waves.height[0, R]))[inner])
    assert torch.cat(left).median() < 5e-4
    time, width, height = (np.median(np.abs(np.concatenate(each)), axis=0) for each in off.values())
    assert time[[P, T]].max() < 4e-3
    assert time[R, 0] < 4e-3
    assert width[[P, T], 0].max() < 0.03
    assert height[[P, T], 0].max() < 0.01


@pytest.fixture(scope="module")
def some_of_ds1() -> list[BeatSeries]:
    """Five minutes of five records of DS1, whose leads are MLII and V1."""
    if "INTEGRAND_DATA" not in os.environ:
        os.environ.setdefault("INTEGRAND_DATA", str(Path(__file__).parents[3] / "shared" / "data"))
    if not (Path(os.environ["INTEGRAND_DATA"]) / "mitdb" / "101.dat").is_file():
        pytest.skip("no mit_bih: integrand data download mit_bih")
    found = []
    for record in mit_bih.load(["101", "106", "109", "118", "223"]):
        kept = record.events.samples < 108_000 - 360
        first = Recording(
            record.id,
            record.patient,
            record.signal[:108_000],
            360.0,
            record.leads,
            record.units,
            record.events.at(kept),
        )
        found.append(beat_series(first))
    return found


def test_beats_of_new_real_patients_are_explained_better_than_by_as_many_principal_components(
    some_of_ds1: list[BeatSeries],
):
    """Thirty-four numbers a beat either way, of two records when both have learned from three others."""
    size = np.concatenate([series.windows for series in some_of_ds1[:3]]).std((0, 1))
    learned, new = of(some_of_ds1[:3], size), of(some_of_ds1[3:], size)
    made = train(reader(corrections=8), learned, 120)
    with torch.no_grad():
        ours = unexplained(new, made(new).drawn)
    components = PCA((3 * len(WAVES) + 2) * 2).fit(learned.flatten(1).numpy())
    theirs = unexplained(
        new, torch.from_numpy(components.inverse_transform(components.transform(new.flatten(1).numpy()))).view_as(new)
    )
    assert ours.mean() < theirs.mean()
    assert ours.mean() < 0.03


@pytest.fixture(scope="module")
def module() -> BeatModule:
    """A network of two dozen steps on simulated patients."""
    data = BeatData(patients=20, seconds=40.0, context=16, batch_size=8)
    data.setup()
    torch.manual_seed(0)
    made = BeatModule(EcgOdeBeatNetwork(width=16, d_state=8, hidden=32))
    made.build(data)
    optimizer = torch.optim.AdamW(made.parameters(), lr=4e-3)
    part: BeatsOfPart = data.part("train")
    for step in range(24):
        loss, _ = made.loss(part.__getitems__([(4 * step + run) % len(part) for run in range(4)]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return made.eval()


def test_a_beat_is_explained_by_its_waves(module: BeatModule, patients: Patients):
    series = patients[0][0]
    frame = explain(module, series)
    assert len(frame) == len(series) * 2 * 5
    assert frame["wave"].tolist()[:5] == list(WAVES)
    assert frame["lead"].unique().tolist() == ["II", "V1"]
    assert np.allclose(frame["at"].to_numpy()[::10], series.times)
    tall = frame.query("lead == 'II' and wave == 'R'")["time"].to_numpy()
    assert np.median(np.abs(tall)) < 0.01
    # Millivolts: the sum of the waves at the mark is what the window holds there, but for the baseline.
    near = frame[frame["lead"] == "II"].groupby("beat").apply(lambda beat: _at_mark(beat), include_groups=False)
    seen = series.windows[:, 38, 0]
    assert np.median(np.abs(near.to_numpy()[2:-2] / seen[2:-2] - 1)) < 0.25


def _at_mark(beat) -> float:
    off = beat["time"].to_numpy() / beat["width"].to_numpy()
    return float((beat["height"].to_numpy() * np.exp(-0.5 * off**2)).sum())


def test_waves_are_drawn(module: BeatModule, patients: Patients, tmp_path: Path):
    path = draw_waves(module, patients[0][0], tmp_path / "waves.png")
    assert path.read_bytes()[:4] == b"\x89PNG"
    (told,) = json.loads((tmp_path / "captions.json").read_text())
    assert "For research only" in told["caption"]
    draw_waves(module, replace(patients[0][0], simulated=True), tmp_path / "waves.png")
    (told,) = json.loads((tmp_path / "captions.json").read_text())
    assert "Simulated: no patient was measured" in told["caption"]
    with pytest.raises(InputError, match="lead=2 is out of range: recording p0 has 2, from 0 on"):
        draw_waves(module, patients[0][0], tmp_path / "other.png", lead=2)


def test_another_network_reads_no_waves(module: BeatModule, patients: Patients):
    other = BeatModule(S5BeatNetwork(width=8, d_state=4))
    other.build_networks(module.network.built_for)
    with pytest.raises(InputError, match="a S5BeatNetwork reads no waves: train with --model ecg_ode"):
        explain(other, patients[0][0])
