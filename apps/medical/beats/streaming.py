"""Beats of a stream: each named as soon as its window is complete, with the numbers that ``predict`` has for it."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch

from integrand.apps.medical.beats.answers import Answer, answers, columns
from integrand.apps.medical.beats.data import in_units
from integrand.apps.medical.beats.module import BeatModule
from integrand.core.errors import InputError
from integrand.datasets.beat_stream import BeatStream, StreamedBeat
from integrand.datasets.catalogue import RESEARCH_ONLY
from integrand.datasets.recording import chosen_leads
from integrand.datasets.signal_rows import SignalRows

Notify = Callable[[str], None]


class BeatNamer:
    """Names beats one after another; what the networks remember of those before is all that is kept of them.

    Args:
        module: of a causal task, on the device it is to run on.
    """

    def __init__(self, module: BeatModule) -> None:
        self.module, self.task = module.eval(), module.network.built_for
        self._states: list[Any] = [None] * len(module.members)

    @torch.inference_mode()
    def __call__(self, beats: list[StreamedBeat]) -> list[Answer]:
        """Name the beats that come next."""
        if not beats:
            return []
        usable = np.array([beat.usable for beat in beats])
        batch = in_units(
            np.stack([beat.window for beat in beats]),
            np.stack([beat.usual for beat in beats]),
            np.stack([beat.features for beat in beats]),
            np.array([beat.interval for beat in beats]),
            self.task,
        ).to(self.module.device)
        found = []
        for place, member in enumerate(self.module.members):
            scores, self._states[place] = member.carry(batch, self._states[place])
            found.append(self.module.probabilities(scores))
        p = torch.stack(found).mean(0)[0].cpu().double().numpy()
        return answers(p, self.module.sets(p), usable, self.task.classes)


def stream(
    module: BeatModule,
    *,
    lines: Iterable[bytes],
    write: Callable[[str], None],
    rate: float | None = None,
    notify: Notify = lambda line: None,
) -> None:
    """Name the beats of rows as they come; written as CSV: the beat's time, and what is said of it.

    Rows are taken up in pieces of 0.2 seconds. A beat is told when its window is complete, some 0.6 seconds after it,
    or when it is found, if that is later; the first one together with the second.

    Args:
        module: a module that was trained with ``data.causal``, on the device it is to run on.
        lines: a header with ``time`` in seconds, or ``sample`` with ``rate``, and a column for each lead in mV; then a
            row for each sample. A column ``beat`` marks beats; without it they are found.
        write: takes the header, then the answer to each beat.
        rate: Hz; told by the stamps where None.
        notify: told what the user should know, a line each.

    Raises:
        InputError: the run looks ahead, a lead is absent, or a row is not right, by its number.
    """
    task = module.network.built_for
    require_causal(module)
    rows = SignalRows(lines, rate=rate)
    leads = chosen_leads(rows.source, rows.leads, task.leads)
    chosen = [rows.leads.index(lead) for lead in leads]
    namer, beats = BeatNamer(module), None
    notify(RESEARCH_ONLY)
    write(",".join(["time", *columns(task.classes)]) + "\n")

    def tell(came: list[StreamedBeat]) -> None:
        for beat, answer in zip(came, namer(came), strict=True):
            write(",".join([f"{rows.start + beat.time:.6f}", *answer.cells()]) + "\n")

    for piece in rows:
        if beats is None:
            assert rows.rate is not None
            beats = BeatStream(rate=rows.rate, leads=leads, to=task.rate, detect=not rows.marked)
        tell(beats.push(piece.signal[:, chosen], piece.beats if rows.marked else None))
    if beats is not None:
        tell(beats.finish())
        if beats.told < 2:
            raise InputError(
                f"{rows.source} has {beats.told} beats, where two are needed at least: give a longer signal."
            )


def require_causal(module: BeatModule) -> None:
    """Demand a module that never looks ahead.

    Raises:
        InputError: it does.
    """
    if not module.network.built_for.causal:
        raise InputError(
            "--stream: this run looks ahead of each beat, which a stream cannot: train one with integrand train "
            "medical --task beats --data.causal true."
        )
