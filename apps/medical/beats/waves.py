"""A beat explained by its waves: a table with a row for each wave that ECG-ODE read, and a picture of some beats."""

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes

from integrand.apps.medical.beats.data import scaled
from integrand.apps.medical.beats.models.beat_network import PIECE
from integrand.apps.medical.beats.models.ecg_ode import WAVES, BeatWaves, EcgOdeBeatNetwork, WaveReader
from integrand.apps.medical.beats.module import BeatModule
from integrand.apps.training.figures import BASELINES, FAINT, MODEL, OBSERVED, TEXT, WIDE, figure, save, style
from integrand.core.errors import InputError
from integrand.datasets.beat_series import BEFORE, BeatSeries
from integrand.datasets.catalogue import RESEARCH_ONLY

MOST_BEATS = 4
"""Beats in the picture, one of each class that occurs."""
SIMULATED = "Simulated: no patient was measured."


def explain(module: BeatModule, series: BeatSeries) -> pd.DataFrame:
    """Return the waves of every beat of a recording, as ECG-ODE read them and named the beats by them.

    Args:
        module: with a network ``ecg_ode``, trained; of several members the first is asked.
        series: the beats, with the leads that the network knows.

    Returns:
        A row for each beat, lead and wave: ``beat`` its number, ``at`` s from the recording's start, ``lead``,
        ``wave``, ``time`` s from the beat's mark, ``height`` mV that the wave alone would rise to, ``width`` s, its
        standard deviation, and ``unexplained``, the share of the beat's power in the lead that its waves leave.

    Raises:
        InputError: the module's network is another.
    """
    waves, windows = _read(module, series)
    count, kinds, leads = waves.time.shape
    left = ((windows - waves.drawn) ** 2).mean(-1) / (windows**2).mean(-1).clamp(min=1e-12)
    beat, wave, lead = (place.ravel() for place in np.indices((count, kinds, leads)))
    frame = pd.DataFrame(
        {
            "beat": beat,
            "at": series.times[beat],
            "lead": np.array(series.leads)[lead],
            "wave": np.array(WAVES)[wave],
            "time": waves.time.numpy().ravel(),
            "height": waves.height.numpy().ravel() * series.usual[beat, lead],
            "width": waves.width.numpy().ravel(),
            "unexplained": left.numpy()[beat, lead],
        }
    )
    order = np.lexsort((wave, lead, beat))
    return frame.iloc[order].reset_index(drop=True)


def draw_waves(module: BeatModule, series: BeatSeries, path: Path, *, lead: int = 0) -> Path:
    """Draw a beat of each class that occurs: its waves in colours, their sum against the signal, and what is left.

    Args:
        module: with a network ``ecg_ode``, trained.
        series: the beats of a recording.
        path: the file to write, ``.png``.
        lead: number of the lead that is drawn.

    Raises:
        InputError: the module's network is another, or there is no such lead.
    """
    if not 0 <= lead < len(series.leads):
        raise InputError(f"lead={lead} is out of range: recording {series.id} has {len(series.leads)}, from 0 on.")
    waves, windows = _read(module, series)
    task = module.network.built_for
    chosen = _one_of_each(series)
    t = (np.arange(windows.shape[-1]) - round(BEFORE * task.rate)) / task.rate
    size = series.usual[:, lead, None]
    parts = _parts(module.network.reader, waves)[:, lead].numpy() * size[..., None]  # pyright: ignore[reportArgumentType]
    seen, drawn = (each[:, lead].numpy() * size for each in (windows, waves.drawn))
    with style():
        made = figure(WIDE, 4.8)
        above, below = made.subplots(2, len(chosen), sharex=True, sharey="row", height_ratios=(3, 1), squeeze=False)
        for column, beat in enumerate(chosen):
            _draw_beat(above[column], t, seen[beat], parts[beat], drawn[beat])
            name = task.classes[int(series.labels[beat])]
            above[column].set_title(f"{name}, at {series.times[beat]:.1f} s")
            _draw_left(below[column], t, seen[beat] - drawn[beat])
        above[0].set_ylabel(f"{series.leads[lead]} (mV)")
        below[0].set_ylabel("left (mV)")
        made.legend(*above[0].get_legend_handles_labels(), loc="outside upper center", ncols=len(WAVES) + 2)
        made.supxlabel("time from the beat's mark (s)", size=TEXT)
        source = SIMULATED if series.simulated else RESEARCH_ONLY
        return save(
            made,
            path,
            f"Beats of recording {series.id}, named as in its annotations: the signal in black, the waves that were "
            "read in it in colours, and the solution of McSharry's equation with these waves in blue; below, what they "
            f"leave of the signal. {source}",
            title="Beats and their waves",
        )


def _read(module: BeatModule, series: BeatSeries) -> tuple[BeatWaves, torch.Tensor]:
    network = module.network
    if not isinstance(network, EcgOdeBeatNetwork):
        raise InputError(f"a {type(network).__name__} reads no waves: train with --model ecg_ode.")
    module.eval()
    batch = scaled(series, network.built_for).to(module.device)
    with torch.no_grad():
        pieces = [network.reader(piece) for piece in batch.windows.flatten(0, 1).split(PIECE)]
    waves = BeatWaves(*(torch.cat(each).cpu() for each in zip(*pieces, strict=True)))
    return waves, batch.windows.flatten(0, 1).cpu()


def _parts(reader: WaveReader, waves: BeatWaves) -> torch.Tensor:
    """Return what each wave adds to the voltage, (M, C, W, L)."""
    curves = reader.curves(waves.time.to(reader.t), waves.width.to(reader.t)).cpu()[..., : len(WAVES)]
    return (curves * waves.height.transpose(1, 2).unsqueeze(2)).transpose(2, 3)


def _one_of_each(series: BeatSeries) -> list[int]:
    """Return the middle usable beat of every class that occurs."""
    rows = [np.flatnonzero(series.usable & (series.labels == label)) for label in np.unique(series.labels)]
    return [int(found[len(found) // 2]) for found in rows if len(found)][:MOST_BEATS]


def _draw_beat(axes: Axes, t: np.ndarray, seen: np.ndarray, parts: np.ndarray, drawn: np.ndarray) -> None:
    axes.plot(t, seen, color=OBSERVED, linewidth=1.2, label="signal")
    for name, part, (colour, _) in zip(WAVES, parts, BASELINES, strict=True):
        axes.fill_between(t, part, color=colour, alpha=0.35, linewidth=0)
        axes.plot(t, part, color=colour, linewidth=1.0, label=name)
    axes.plot(t, drawn, color=MODEL, linewidth=1.4, linestyle=(0, (4, 2)), label="sum")


def _draw_left(axes: Axes, t: np.ndarray, left: np.ndarray) -> None:
    axes.axhline(0, color=FAINT, linewidth=0.8)
    axes.plot(t, left, color=OBSERVED, linewidth=1.0)
