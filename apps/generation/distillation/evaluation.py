"""Scoring a flow map: its samples beside its teacher's, by as many evaluations and by the teacher's own."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from integrand.apps.generation.data import GenerationData
from integrand.apps.generation.distillation.module import DistilledModule, taught_by
from integrand.apps.generation.evaluation import SWEPT_SAMPLES, GenerationEvaluation, Swept
from integrand.apps.generation.metrics.energy_distance import energy_distance
from integrand.apps.generation.module import GenerationModule
from integrand.apps.generation.sampling import JUMPS, Drawn, SamplingOptions, draw, sampling_options
from integrand.apps.generation.scoring import (
    REAL,
    Array,
    Notify,
    Paired,
    RealSamples,
    draw_watched,
    flat_rows,
    results_of,
)
from integrand.core.diffusion.schedule import Spacing

FINE = 64
"""Steps of the teacher by which its solutions are taken to be exact."""
FEW = 4
"""Evaluations up to which the teacher's quickest sampler is spaced by ``log_snr``, which is better there."""
SWEPT = (1, 2, 4, 8, 16)
"""Evaluations of the figure that sets quality against them."""


class _Rival(NamedTuple):
    """A way to draw that the flow map is compared with."""

    name: str
    module: GenerationModule
    options: SamplingOptions


def evaluate(
    module: DistilledModule,
    data: GenerationData,
    *,
    name: str,
    seed: int,
    notify: Notify,
    steps: int | None = None,
    count: int | None = None,
) -> GenerationEvaluation:
    """Score the flow map, its teacher with as many evaluations, and its teacher with its own.

    ``miss`` is a score of each seed: how far what is drawn is from what the teacher's flow gives for the same noise,
    solved in ``FINE`` steps.

    Args:
        module: the trained module, on the device it is to run on.
        data: its data.
        name: the model's name in the tables.
        seed: what the run was seeded with; sample i has the seed 1,000,000 seed + i.
        notify: told what is being done, one line each.
        steps: jumps, the module's own when None.
        count: samples drawn and compared; as many as the test part has, up to ``SCORED``, when None.

    Raises:
        InputError: the teacher is not there any more; ``count`` is below ``LEAST``; see ``draw``.
    """
    teacher = taught_by(module)
    options = sampling_options(module, steps=steps)
    real = RealSamples.of(data, count, seed=seed)
    notify(f"drawing {real.count:,} samples in {options.steps} jumps, and with the teacher")
    watched = draw_watched(module, real.seeds, options)
    drawn, rivals = watched.drawn, _rivals(teacher, module.guidance, options.steps)
    others = {rival.name: draw(rival.module, real.seeds, options=rival.options) for rival in rivals}
    own = sampling_options(teacher, guidance=module.guidance)
    exact = draw(teacher, real.seeds, options=own._replace(method="dpmpp_3m", steps=FINE)).values
    miss = {who: _miss(each, exact) for who, each in {name: drawn, **others}.items()}
    told, nearest = real.tell_apart(drawn, notify)
    metrics = {name: {"miss": float(miss[name].mean()), **told["metrics"]}}
    for who, each in others.items():
        of = real.compare(flat_rows(each.values), labels=each.labels, floor=False)["metrics"]
        metrics[who] = {"miss": float(miss[who].mean()), **of}
    metrics[REAL] = told["floor"]
    about = f"root mean square distance, per number, from the teacher's solution of the same noise in {FINE} steps"
    paired = Paired("miss", miss, about, "seeds")
    yardsticks = {rivals[0].name: "is the teacher with all its evaluations"}
    results = results_of(name, metrics, paired, told, watched, data, options, seed=seed, yardsticks=yardsticks)
    return GenerationEvaluation.of(
        watched,
        data,
        name=name,
        baselines={who: flat_rows(each.values) for who, each in others.items()},
        nearest=nearest,
        bits={},
        swept=_sweep(module, teacher, real.test, seed, notify),
        plane=None,
        results={**results, "teacher": str(module.teacher)},
    )


def _rivals(teacher: GenerationModule, guidance: float, evaluations: int) -> list[_Rival]:
    own = sampling_options(teacher, guidance=guidance)
    quick = _quick(evaluations, guidance)
    return [
        _Rival(f"teacher, {own.method} {own.steps}", teacher, own),
        _Rival(f"teacher, {quick.method} {quick.steps}", teacher, quick),
    ]


def _quick(evaluations: int, guidance: float = 1.0) -> SamplingOptions:
    """Return how a teacher draws best with few evaluations: by the corrected multistep method where it has history."""
    spacing: Spacing = "log_snr" if evaluations <= FEW else "karras"
    return SamplingOptions("unipc" if evaluations > 1 else "ddim", evaluations, spacing, guidance)


def _miss(drawn: Drawn, exact: Tensor) -> Array:
    return (drawn.values.double() - exact.double()).square().flatten(1).mean(1).sqrt().numpy()


def _sweep(module: DistilledModule, teacher: GenerationModule, real: Array, seed: int, notify: Notify) -> list[Swept]:
    """Score the flow map and its teacher with few and many evaluations; the same seeds each time."""
    notify("drawing with more and with fewer evaluations")
    seeds = 1_000_000 * seed + torch.arange(min(len(real), SWEPT_SAMPLES))
    found = []
    for evaluations in (each for each in SWEPT if each <= module.knots):
        for method, by, options in (
            (JUMPS, module, sampling_options(module, steps=evaluations)),
            ("teacher", teacher, _quick(evaluations, module.guidance)),
        ):
            values = draw(by, seeds, options=options).values
            found.append(Swept(method, evaluations, float(np.asarray(energy_distance(flat_rows(values), real)))))
    return found
