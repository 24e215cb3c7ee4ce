"""The data module of waveforms: leads of recordings, divided by patient or in time, cut into pieces with noise."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from integrand.apps.medical.named_recordings import MIT_BIH, SIMULATED
from integrand.apps.medical.waveforms.pieces import WaveformPieces
from integrand.apps.medical.waveforms.sources import (
    MEASURED,
    NAMED,
    Lead,
    checksum,
    leads_of,
    read_recordings,
)
from integrand.apps.medical.waveforms.task import WaveformTask
from integrand.apps.training.parts_data import PartsData
from integrand.core.errors import InputError
from integrand.datasets.real import mit_bih
from integrand.datasets.splits import PARTS, ChronologicalSplit, IndexSplit, by_series, chronological
from integrand.datasets.waveform_noise import Corruption


class WaveformData(PartsData):
    """Pieces of electrocardiograms with noise and gaps, split by patient, or in time where there is one patient.

    The target is the signal before noise was drawn upon it. What is simulated has none before; what was measured counts
    as clean, and has noise of its own. Of a split in time the parts are apart by a guard, so that no piece of one is
    beside a piece of another.

    Args:
        dataset: ``simulated_ecg``, ``ecg_five_minutes``, ``mit_bih``, or a folder or file of WFDB or EDF.
        goal: ``"denoising"``, the signal and what stood in its gaps, or ``"detection"``, the beats.
        protocol: of ``mit_bih``, a name in ``mit_bih.PARTS``.
        leads: names of the leads, each read by itself; ``*`` for every lead, None for each recording's first.
        annotator: suffix of the annotations of a folder's WFDB records, which ``detection`` alone reads.
        patients: patients that are simulated.
        recorded: seconds of each simulated recording.
        fractions: shares of training, validation and test; of a published division the second alone counts, a share of
            its training patients.
        guard: seconds between the parts of a split in time.
        rate: Hz of the pieces.
        seconds: of a piece.
        snr: least and greatest signal-to-noise ratio, dB.
        kinds: of noise, see ``Corruption``.
        gaps: largest share of a piece that is missing.
        gap_seconds: shortest and longest gap.
        batch_size: pieces a batch.
        num_workers: processes that load batches; 0 for the training process.
        seed: of order, places and noise in training; the noise of the other parts is the same for every seed.
        split_seed: of the split and the simulation.

    Raises:
        InputError: data that cannot be read or split, one recording under two names.
    """

    def __init__(
        self,
        dataset: str = SIMULATED,
        *,
        goal: Literal["denoising", "detection"] = "denoising",
        protocol: str = "inter_patient",
        leads: Sequence[str] | None = None,
        annotator: str = "atr",
        patients: int = 60,
        recorded: float = 60.0,
        fractions: tuple[float, float, float] = (0.6, 0.15, 0.25),
        guard: float = 5.0,
        rate: float = 125.0,
        seconds: float = 8.0,
        snr: tuple[float, float] = (0.0, 18.0),
        kinds: Sequence[str] = ("white", "wander", "motion", "mains"),
        gaps: float = 0.1,
        gap_seconds: tuple[float, float] = (0.1, 1.0),
        batch_size: int = 16,
        num_workers: int = 0,
        seed: int = 0,
        split_seed: int = 0,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        for name, value, held in (
            ("patients", patients, patients >= 3),
            ("recorded", recorded, recorded >= seconds),
            ("guard", guard, guard >= 0),
            ("rate", rate, rate >= 50),
            ("seconds", seconds, seconds >= 1),
            ("batch_size", batch_size, batch_size >= 1),
            ("num_workers", num_workers, num_workers >= 0),
        ):
            if not held:
                raise InputError(f"data.{name}={value!r} is out of range.")
        self.dataset, self.goal, self.protocol = dataset, goal, protocol
        self.leads, self.annotator = leads, annotator
        self.patients, self.recorded, self.fractions, self.guard = patients, recorded, fractions, guard
        self.rate, self.seconds = rate, seconds
        self.corruption = Corruption(snr=snr, kinds=tuple(kinds), gaps=gaps, gap_seconds=gap_seconds)
        self.batch_size, self.num_workers, self.seed, self.split_seed = batch_size, num_workers, seed, split_seed
        self.notices: list[str] = []
        self._parts: dict[str, WaveformPieces] = {}

    def setup(self, stage: str | None = None) -> None:
        """Read, split and cut; a second call does nothing."""
        if self._parts:
            return
        recordings = read_recordings(
            self.dataset,
            records=sum(mit_bih.parts_of(self.protocol), ()) if self.dataset == MIT_BIH else None,
            annotator=self.annotator if self.goal == "detection" else None,
            patients=self.patients,
            seconds=self.recorded,
            seed=self.split_seed,
        )
        found = [lead for each in recordings for lead in leads_of(each, self.leads, self.rate)]
        self.checksum = checksum(found)
        if self.goal == "detection":
            _demand_beats(found)
        self.notices = sorted({notice for each in recordings for notice in each.notices})
        simulated = all(lead.simulated for lead in found)
        if not simulated and self.goal == "denoising":
            self.notices.append(MEASURED)
        self._leads = self._divide(found)
        parts = {
            part: WaveformPieces(
                self._leads[part],
                self.corruption,
                seconds=self.seconds,
                moving=part == "train",
                # Every seed of training is validated and tested on the same noise, and no part has that of another.
                seed=self.seed if part == "train" else 2**32 + PARTS.index(part),
                where=part,
            )
            for part in PARTS
        }
        self.task = WaveformTask(
            goal=self.goal,
            rate=float(self.rate),
            seconds=float(self.seconds),
            leads=sorted({lead.name for lead in self._leads["train"]}),
            simulated=simulated,
        )
        self._parts = parts

    def part(self, name: str) -> WaveformPieces:
        """Return the pieces of ``"train"``, ``"validation"`` or ``"test"``."""
        self.setup()
        return self._parts[name]

    def whole(self, name: str) -> list[Lead]:
        """Return the leads of a part in full length, as they were recorded."""
        self.setup()
        return self._leads[name]

    def _divide(self, leads: list[Lead]) -> dict[str, list[Lead]]:
        """Return the leads of each part, and keep the split."""
        of: dict[str, str | float | int] = {
            "dataset": self.dataset if self.dataset in NAMED else Path(self.dataset).name,
            "checksum": self.checksum,
            "protocol": self.protocol if self.dataset == MIT_BIH else "random",
            "seed": self.split_seed,
        }
        patients = list(dict.fromkeys(lead.patient for lead in leads))
        if len(patients) == 1:
            return self._in_time(leads, of | {"protocol": "time", "guard": self.guard})
        split = self._by_patient(leads, patients, of)
        self.split: IndexSplit | ChronologicalSplit = split
        return {part: [leads[row] for row in split.rows(part)] for part in PARTS}

    def _by_patient(self, leads: list[Lead], patients: list[str], of: dict[str, str | float | int]) -> IndexSplit:
        if self.dataset == MIT_BIH:
            names = mit_bih.parts_of(self.protocol)
            learned = list(dict.fromkeys(lead.patient for lead in leads if lead.id in names.train))
            generator = np.random.Generator(np.random.PCG64(self.split_seed))
            count = max(1, round(self.fractions[1] * len(learned)))
            kept = {learned[place] for place in generator.permutation(len(learned))[:count]}

            def part_of(lead: Lead) -> str:
                return "test" if lead.id in names.test else "validation" if lead.patient in kept else "train"
        else:
            split = by_series(len(patients), fractions=self.fractions, seed=self.split_seed, of=of)
            part = {patients[place]: name for name in PARTS for place in split.rows(name)}

            def part_of(lead: Lead) -> str:
                return part[lead.patient]

        train, validation, test = (
            tuple(row for row, lead in enumerate(leads) if part_of(lead) == name) for name in PARTS
        )
        return IndexSplit(train, validation, test, of)

    def _in_time(self, leads: list[Lead], of: dict[str, str | float | int]) -> dict[str, list[Lead]]:
        """Cut every lead of the one patient at the same shares of its length, with a guard between the parts."""
        seconds = max(len(lead.signal) for lead in leads) / self.rate
        self.split = chronological(0.0, seconds, self.fractions, of)
        found: dict[str, list[Lead]] = {part: [] for part in PARTS}
        for lead in leads:
            length = len(lead.signal)
            bounds = np.rint(np.cumsum([0.0, *self.fractions]) * length).astype(int)
            for part, first, end in zip(PARTS, bounds[:-1], bounds[1:], strict=True):
                last = int(end) - (0 if part == PARTS[-1] else round(self.guard * self.rate))
                if last > first:
                    found[part].append(lead.cut(int(first), last))
        for part, own in found.items():
            if not own:
                raise InputError(
                    f"the {part} part is shorter than data.guard={self.guard:g} s: give a longer recording, or a "
                    "shorter guard."
                )
        return found


def _demand_beats(leads: Sequence[Lead]) -> None:
    for lead in leads:
        if not len(lead.beats):
            raise InputError(
                f"recording {lead.id} has no beats marked, and beats are to be found: name its annotations with "
                "data.annotator, or leave it out."
            )
