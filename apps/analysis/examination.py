"""Every instrument that applies to a trained model, one after another, with their figures."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from integrand.apps.analysis.flow import Flow, flow_of
from integrand.apps.analysis.flow_figures import draw_evaluations, draw_portrait, draw_spectra
from integrand.apps.analysis.layer_inputs import LayerInput, layer_inputs
from integrand.apps.analysis.page import folder_of
from integrand.apps.analysis.result_figures import draw_memory, draw_robustness, draw_solvers
from integrand.apps.analysis.subject import Subject
from integrand.apps.training.figures import style
from integrand.apps.training.run_folder import RunFolder
from integrand.core.analysis import (
    Finding,
    FixedPoints,
    JacobianSpectra,
    Memory,
    contraction_finding,
    depth_audit,
    fixed_points,
    fixed_points_finding,
    gradient_audit,
    in_float64,
    jacobian_spectra,
    memory,
    memory_finding,
    robustness_audit,
    solver_audit,
    stiffness,
    stiffness_finding,
)
from integrand.core.errors import InputError
from integrand.core.numerics import SolveError, solved_by

PRODUCTS = 16_384
"""Products with the Jacobian of an equation that are afforded for its spectra."""
LARGEST = 16
"""Dimensions up to which fixed points are looked for."""
SEQUENCES = 4
"""Sequences on which the memory of a layer is measured."""
LAYERS = 4
"""Layers whose memory is measured, at most."""

Notify = Callable[[str], None]


def examine(subject: Subject, run: RunFolder, *, notify: Notify) -> list[Finding]:
    """Apply the instruments and draw their figures into the run.

    Args:
        subject: what is examined.
        run: its run.
        notify: told what is being done, one line each.
    """
    folder = folder_of(run)
    for old in folder.glob("*"):
        old.unlink()
    examination = _Examination(subject, notify)
    findings = list(examination.findings())
    notify("drawing figures")
    with style():
        examination.draw(folder)
    return findings


class _Examination:
    """What the instruments found so far, kept for the figures."""

    def __init__(self, subject: Subject, notify: Notify) -> None:
        self.subject, self.notify = subject, notify
        self.solvers: Finding | None = None
        self.robustness: Finding | None = None
        self.flow: Flow | None = None
        self.found: FixedPoints | None = None
        self.spectra: tuple[Flow, JacobianSpectra] | None = None
        self.memories: list[tuple[LayerInput, Memory]] = []

    def findings(self) -> Iterator[Finding]:
        """Apply one instrument after another; one that cannot be applied says why."""
        one = self.subject
        steps: Sequence[tuple[str, str, Callable[[], Iterable[Finding]]]] = (
            ("solver audit", "solving in other ways", self._solvers),
            ("depth audit", "halving steps", lambda: [depth_audit(one.module, one.ask)]),
            ("gradient audit", "comparing gradients", self._gradients),
            ("equation", "following the equation", self._equation),
            ("memory", "measuring what layers remember", self._memory),
            ("robustness audit", "disturbing inputs", self._robustness),
            ("own instruments", "applying the task's own instruments", one.findings),
        )
        for name, told, apply in steps:
            self.notify(told)
            try:
                yield from apply()
            except (InputError, SolveError) as error:
                yield Finding(instrument=name, verdict="told", statement=f"Not applied: {error}")

    def _solvers(self) -> Sequence[Finding]:
        one = self.subject
        self.solvers = solver_audit(one.module, one.ask, score=one.score, better=one.better)
        return [self.solvers]

    def _gradients(self) -> Sequence[Finding]:
        return [] if self.subject.loss is None else [gradient_audit(self.subject.module, self.subject.loss)]

    def _equation(self) -> Iterator[Finding]:
        one = self.subject
        self.flow = one.flow() if one.flow is not None else _posed(one)
        if self.flow is None:
            return
        few = self.flow.thinned(PRODUCTS)
        self.spectra = (few, jacobian_spectra(few.driven, few.states, few.times, args=few.args))
        yield stiffness_finding(stiffness(few.driven, few.states, few.times, args=few.args))
        span = float(few.times[-1] - few.times[0])
        when = few.times.repeat(len(few.states))
        yield contraction_finding(
            few.driven if few.args is None else few.field, few.states.flatten(0, 1), times=when, interval=span
        )
        if self.flow.states.shape[-1] <= LARGEST and self.flow.autonomous:
            starts = self.flow.states[:, :: max(1, len(self.flow.times) // 4)].flatten(0, 1)
            self.found = fixed_points(self.flow.field, starts, t=float(self.flow.times[0]))
            yield fixed_points_finding(self.found, channels=self.flow.channels)

    def _memory(self) -> Iterator[Finding]:
        for one in layer_inputs(self.subject.module, self.subject.ask)[:LAYERS]:
            dt = one.dt[:SEQUENCES] if isinstance(one.dt, torch.Tensor) and one.dt.dim() == 2 else one.dt
            found = memory(one.layer, inputs=one.x[:SEQUENCES], dt=dt)
            self.memories.append((one, found))
            told = memory_finding(found, unit=self.subject.time_unit)
            yield replace(told, instrument=f"memory of {one.name}")

    def _robustness(self) -> Sequence[Finding]:
        one, given = self.subject, self.subject.disturbed
        score = one.score if given is None else given.score or one.score
        if given is None or score is None:
            return []
        self.robustness = robustness_audit(
            given.ask,
            score,
            given.inputs,
            better=one.better,
            mask=given.mask,
            times=given.times,
            loss=given.loss,
        )
        return [self.robustness]

    def draw(self, folder: Path) -> None:
        """Draw what there is to be seen."""
        if self.flow is not None:
            draw_portrait(self.flow, self.found, folder / "portrait.png")
            if self.spectra is not None:
                draw_spectra(*self.spectra, folder / "spectra.png")
            draw_evaluations(self.flow, folder / "evaluations.png")
        if self.solvers is not None and self.solvers.rows:
            draw_solvers(self.solvers, self.subject, folder / "solvers.png")
        if self.memories:
            draw_memory(self.memories, self.subject.time_unit, folder / "memory.png")
        if self.robustness is not None and self.robustness.rows:
            draw_robustness(self.robustness, self.subject, folder / "robustness.png")


def _posed(subject: Subject) -> Flow | None:
    """Return the equation that a model solves when it is asked, as it poses it in float64."""
    precise = in_float64(subject.module)
    with torch.no_grad(), solved_by(keep=True) as record:
        subject.ask(precise)
    flows = (flow_of(one, of=subject.equation, channels=subject.channels) for one in record.problems)
    return next((flow for flow in flows if flow is not None), None)
