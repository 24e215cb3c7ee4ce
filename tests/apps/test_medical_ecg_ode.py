"""ECG-ODE: its waves solve McSharry's equation, those of simulated beats are found again, and real ones are explained."""

import json
import math
import os
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
    """Normal beats of one patient without noise: the series, the waves it was made of, the intervals about each beat."""
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
    """The sum that is fitted is what the solver finds from the equation with these waves, at any heart rate."""
    made, said, windows = drawn()
    waves = made.fit(said, windows)
    interval = torch.linspace(0.9, 1.4, len(said), dtype=torch.float64)
    args = waves.of_cycle(interval)
    turned = args[3] * made.t[0]
    start = torch.cat([torch.stack([turned.cos(), turned.sin()], dim=1), waves.drawn[:, :, 0]], dim=1)
    found = solve_ode(CardiacCycle(), start, made.t, args=args, rtol=1e-9, atol=1e-10)
    # A T wave 0.42 s after the mark with a deviation of 0.11 s is met half a turn before it at 0.9 s: exp(-9 / 2).
    inner = slice(0, LENGTH - 20)
    error = (found.states[:, inner, 2:].transpose(1, 2) - waves.drawn[..., inner]).abs().max()
    assert error < 2e-2 * waves.drawn.abs().max()


def test_heights_of_known_waves_are_found():
    made, said, windows = drawn()
    waves = made.fit(said, windows)
    expected = torch.tensor(HEIGHTS, dtype=torch.float64)[:, None]
    assert unexplained(windows, waves.drawn).max() < 1e-4
    assert (waves.height - expected).abs().max() < 0.1
