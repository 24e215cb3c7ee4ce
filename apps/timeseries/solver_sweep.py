"""What an answer costs, and what it gains, when the equation in a trained network is solved more or less finely."""

import time
from collections.abc import Sequence
from contextlib import suppress
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from integrand.apps.timeseries.gaussian_module import GaussianModule
from integrand.apps.training.figures import FAINT, MODEL, NARROW, SERIES, figure, save
from integrand.core.losses import gaussian_crps
from integrand.core.models import NeuralODE
from integrand.core.numerics import SolveError, solved_by
from integrand.datasets.irregular import IrregularBatch

STEPS = (1 / 4, 1 / 8, 1 / 16, 1 / 32)
"""Step sizes of the methods with fixed steps, in the time of the equation, which ends at 1."""
TOLERANCES = (1e-2, 1e-3, 1e-4, 1e-5)
FIXED = ("euler", "midpoint", "rk4")
ADAPTIVE = "dopri5"
REPEATS = 3


class Cost(NamedTuple):
    """One way to solve.

    Attributes:
        method: of ``solve_ode``.
        setting: step size, or relative tolerance of the adaptive method; None for that of training.
        evaluations: of the field, for one sample.
        seconds: for the batch; the least of some repetitions.
        crps: of the answers, in units of the values.
    """

    method: str
    setting: float | None
    evaluations: float
    seconds: float
    crps: float


@torch.no_grad()
def sweep(module: GaussianModule, batch: IrregularBatch) -> list[Cost]:
    """Solve the equations of a network in several ways and score its answers, that of training first.

    Args:
        module: a trained module, in evaluation, on the device it is to run on.
        batch: samples with targets, on the host.

    Returns:
        A cost each way; none where the network holds no neural ODE.
    """
    flows = [part for part in module.modules() if isinstance(part, NeuralODE)]
    if not flows:
        return []
    batch = batch.to(module.device)
    costs = [_cost(module, batch, flows[0].method, None)]
    for method, step in product(FIXED, STEPS):
        with solved_by(method=method, step_size=step), suppress(SolveError):  # one that fails is no cure, and no harm
            costs.append(_cost(module, batch, method, step))
    for each in TOLERANCES:
        with solved_by(method=ADAPTIVE, step_size=None, rtol=each, atol=each), suppress(SolveError):
            costs.append(_cost(module, batch, ADAPTIVE, each))
    return costs


def draw_costs(costs: Sequence[Cost], samples: int, path: Path) -> None:
    """Draw score against evaluations and against seconds, a line a method; call it inside ``style()``."""
    made = figure(NARROW, 6.0)
    panels = made.subplots(2, 1)
    trained, tried = costs[0], costs[1:]
    words = (("evaluations", "evaluations of the field, for one sample"), ("seconds", f"seconds for {samples} samples"))
    for axes, (along, label) in zip(panels, words, strict=True):
        for (colour, marker), method in zip(SERIES, (*FIXED, ADAPTIVE), strict=True):
            own = sorted((getattr(cost, along), cost.crps) for cost in tried if cost.method == method)
            found = np.array(own).reshape(-1, 2)
            axes.plot(*found.T, marker=marker, markersize=4.5, color=colour, linewidth=1.4, label=method)
        axes.plot(getattr(trained, along), trained.crps, "o", markersize=12, mfc="none", mec=MODEL, mew=1.6)
        axes.axhline(trained.crps, color=FAINT, linewidth=0.8, linestyle=(0, (2, 2)))
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlabel(label)
        axes.set_ylabel("CRPS")
        axes.yaxis.set_major_locator(MaxNLocator(5))
    made.legend(*panels[0].get_legend_handles_labels(), loc="outside upper left", ncols=2, columnspacing=1.2)
    finest = min((cost.crps for cost in tried), default=trained.crps)
    caption = (
        f"What the solver costs and what it gains, on {samples} test samples: the equation of the trained network, "
        "solved by four methods with steps of 1/4 to 1/32 (the adaptive one with tolerances of 0.01 to 0.00001). The "
        f"circle is the way it was trained and is asked, at {trained.evaluations:.0f} evaluations; solved otherwise "
        f"the score reaches {finest:.4f} beside its {trained.crps:.4f}. A flat line says that the answer belongs to "
        "the equation, not to the solver."
    )
    save(made, path, caption, title="Speed against error")


def _cost(module: GaussianModule, batch: IrregularBatch, method: str, setting: float | None) -> Cost:
    tried = [_answer(module, batch) for _ in range(REPEATS)]
    _, score, evaluations = tried[0]
    return Cost(method, setting, evaluations, min(seconds for seconds, _, _ in tried), score)


def _answer(module: GaussianModule, batch: IrregularBatch) -> tuple[float, float, float]:
    """Return seconds, score and evaluations of one answer."""
    assert batch.target is not None
    assert batch.target_mask is not None
    began = time.perf_counter()
    answer = module(batch)
    score = gaussian_crps(answer.mean, answer.std, batch.target)[batch.target_mask].mean().item()
    seconds = time.perf_counter() - began
    return seconds, score, 0.0 if answer.stats is None else float(answer.stats.evaluations.float().mean())
