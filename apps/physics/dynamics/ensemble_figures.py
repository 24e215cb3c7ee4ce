"""Pictures of learned dynamics that noise drives: fans of paths, scores over time, drift, noise, stationary density.

Dimension letters: N trajectories, K members, T times, D state, G points of a grid.
"""

import numpy as np
import torch
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from integrand.apps.physics.dynamics.ensembles import TRUE, learned_paths
from integrand.apps.physics.dynamics.evaluation import PLAIN, Evaluation
from integrand.apps.physics.dynamics.models.neural_sde import NeuralSDENetwork
from integrand.apps.physics.dynamics.phase_plane import learned_field, true_field
from integrand.apps.physics.dynamics.task import DynamicsTask
from integrand.apps.training.figures import BASELINES, FAINT, MODEL, NARROW, OBSERVED, WIDE, figure, save
from integrand.apps.training.run_folder import RunFolder
from integrand.datasets.synthetic.simulators import SIMULATORS, simulator
from integrand.datasets.synthetic.systems.stochastic_system import StochasticSystem

Array = np.ndarray
SHOWN = 3
"""Test trajectories of the fan chart."""
CHANNELS = 4
BANDS = ((0.05, 0.95, 0.15), (0.25, 0.75, 0.25))
"""Quantiles of the fan, and how strongly they are drawn."""
GRID = 301
LONG = 100
"""Intervals of the test part between two states that the density counts, and how many of them there are."""
PARTICLES = 256


def draw_ensembles(evaluation: Evaluation, run: RunFolder, task: DynamicsTask) -> None:
    """Draw what can be told of forecasts that are distributions; call it inside ``style()``."""
    draw_fan(evaluation, run, task)
    draw_crps(evaluation, run, task)
    system = simulator(task.system) if task.system in SIMULATORS else None
    if isinstance(system, StochasticSystem) and task.dim == 1:
        draw_equation(evaluation, run, task, system)
        draw_density(evaluation, run, task, system)


def draw_fan(evaluation: Evaluation, run: RunFolder, task: DynamicsTask) -> None:
    """Draw the paths' quantiles over time, a few paths and what happened, for a few test trajectories."""
    ours = evaluation.predictions[evaluation.name]
    scores = ours.scores["crps"]
    assert scores is not None
    order = np.argsort(scores)
    chosen = order[np.unique((np.array([0.1, 0.5, 0.9]) * (len(order) - 1)).round().astype(int))]
    channels = list(range(min(task.dim, CHANNELS)))
    units = np.array([task.in_units(t) for t in evaluation.times])
    made = figure(WIDE, 0.8 + 1.7 * len(channels))
    panels = made.subplots(len(channels), len(chosen), sharex=True, sharey="row", squeeze=False)
    for column, sample in enumerate(chosen):
        for row, channel in enumerate(channels):
            axes = panels[row, column]
            if ours.members is not None:
                paths = ours.members[sample, :, :, channel]
                for low, high, alpha in BANDS:
                    axes.fill_between(units, *np.quantile(paths, [low, high], 0), color=MODEL, alpha=alpha, linewidth=0)
                axes.plot(units, paths[:SHOWN].T, color=MODEL, linewidth=0.7, alpha=0.8)
            else:
                axes.plot(units, ours.states[sample, :, channel], color=MODEL)
            if PLAIN in evaluation.predictions:
                colour, dashes = BASELINES[0]
                line = evaluation.predictions[PLAIN].states[sample, :, channel]
                axes.plot(units, line, color=colour, linestyle=dashes, linewidth=1.3)
            axes.plot(units, evaluation.exact[sample, :, channel], color=OBSERVED, linewidth=1.1)
            axes.margins(x=0)
            axes.yaxis.set_major_locator(MaxNLocator(4))
        panels[0, column].set_title(f"CRPS {scores[sample]:.2g}")
        panels[-1, column].set_xlabel(f"time, {task.time_word}")
    for row, channel in enumerate(channels):
        panels[row, 0].set_ylabel(task.channels[channel])
    marks: list[Line2D | Patch] = [Line2D([], [], color=OBSERVED, linewidth=1.1, label="what happened")]
    if ours.members is not None:
        marks += [
            Line2D([], [], color=MODEL, linewidth=0.7, label=f"paths of {evaluation.name}"),
            Patch(color=MODEL, alpha=0.3, linewidth=0, label="inner half and nine tenths"),
        ]
    else:
        marks.append(Line2D([], [], color=MODEL, label=evaluation.name))
    if PLAIN in evaluation.predictions:
        colour, dashes = BASELINES[0]
        marks.append(Line2D([], [], color=colour, linestyle=dashes, linewidth=1.3, label=PLAIN))
    made.legend(handles=marks, loc="outside upper left", ncols=4)
    save(
        made,
        run.figures / "fan.png",
        "Three test trajectories, whose scores are among the best, at the median and among the worst: what happened, "
        "three of the paths that were drawn from the start, and the bands that hold half and nine tenths of all of "
        "them. Noise cannot be foretold: what happened should look like one of the paths.",
        title="What may happen, and what did",
    )


def draw_crps(evaluation: Evaluation, run: RunFolder, task: DynamicsTask) -> None:
    """Draw the score of each forecast over time, mean over test trajectories."""
    units = np.array([task.in_units(t) for t in evaluation.times])[1:]
    others = [who for who in evaluation.predictions if who not in (evaluation.name, TRUE)]
    made = figure(NARROW, 3.4)
    axes = made.subplots()
    top = 0.0
    for (colour, dashes), who in zip(BASELINES, others, strict=False):
        crps = evaluation.predictions[who].crps
        assert crps is not None
        axes.plot(units, crps[:, 1:].mean(0), color=colour, linestyle=dashes, linewidth=1.3, label=who)
        top = max(top, float(crps.mean(0).max()))
    ours = evaluation.predictions[evaluation.name].crps
    assert ours is not None
    axes.plot(units, ours[:, 1:].mean(0), color=MODEL, linewidth=2, label=evaluation.name)
    best = evaluation.predictions[TRUE].crps if TRUE in evaluation.predictions else None
    if best is not None:
        axes.plot(units, best[:, 1:].mean(0), color=OBSERVED, linewidth=1, label=TRUE)
    axes.margins(x=0)
    axes.set_ylim(0, 1.05 * max(float(ours.mean(0).max()), min(top, 3 * float(ours.mean(0).max()))))
    axes.set_xlabel(f"time, {task.time_word}")
    axes.set_ylabel("CRPS, in deviations")
    made.legend(loc="outside upper left", ncols=2)
    told = " The true equation's paths show what is possible." if best is not None else ""
    save(
        made,
        run.figures / "crps.png",
        "Continuous ranked probability score of each forecast at every time, mean over test trajectories; of one path "
        "it is the absolute error." + told,
        title="How well chances are told",
    )


def draw_equation(evaluation: Evaluation, run: RunFolder, task: DynamicsTask, system: StochasticSystem) -> None:
    """Draw learned drift and noise of the one channel beside the true ones, over the states of the test part."""
    x, states = _line(evaluation)
    known = task.parameters_of(states)
    network = evaluation.networks[evaluation.name]
    noisy = isinstance(network, NeuralSDENetwork)
    made = figure(WIDE, 3.4)
    left, right = made.subplots(1, 2, width_ratios=(1.2, 1))
    left.plot(x, true_field(system, task, states)[:, 0], color=OBSERVED, linewidth=3, alpha=0.35)
    if PLAIN in evaluation.networks:
        colour, dashes = BASELINES[0]
        plain = learned_field(evaluation, PLAIN, states)[:, 0]
        left.plot(x, plain, color=colour, linestyle=dashes, linewidth=1.3, label=PLAIN)
    left.plot(x, learned_field(evaluation, evaluation.name, states)[:, 0], color=MODEL, label=evaluation.name)
    left.set_ylabel("drift")
    true = system.diffusion(states.new_zeros(()), states, known)[:, 0]
    right.plot(x, true, color=OBSERVED, linewidth=3, alpha=0.35)
    if isinstance(network, NeuralSDENetwork):
        with torch.no_grad():
            right.plot(x, network.noise_field(states.to(network.scale))[:, 0].cpu(), color=MODEL)
    right.set_ylim(0, 1.6 * float(true.max()))
    right.set_ylabel("noise")
    counts, edges = np.histogram(evaluation.exact[..., 0], bins=60)
    for axes in (left, right):
        behind = axes.twinx()
        behind.fill_between(edges[:-1], counts, step="post", color=FAINT, alpha=0.25, linewidth=0)
        behind.set_ylim(0, 4 * counts.max())
        behind.set_axis_off()
        axes.set_xlabel(task.channels[0])
        axes.margins(x=0)
    handles, labels = left.get_legend_handles_labels()
    handles.insert(0, Line2D([], [], color=OBSERVED, linewidth=3, alpha=0.35))
    made.legend(handles, ["true", *labels], loc="outside upper left", ncols=3)
    errors = evaluation.results["metrics"][evaluation.name]
    told = f"drift {100 * errors['drift_error']:.2g} %"
    if noisy:
        told += f", noise {100 * errors['noise_error']:.2g} %"
    save(
        made,
        run.figures / "equation.png",
        "Drift and noise as they were learned, beside the true ones. Below, how often test trajectories come there: "
        f"where they do not, nothing was learned. Relative error at the states they visit: {told}.",
        title="The learned equation",
    )


def draw_density(evaluation: Evaluation, run: RunFolder, task: DynamicsTask, system: StochasticSystem) -> None:
    """Draw where long paths of the learned equation are, beside the stationary density of the true one."""
    network = evaluation.networks[evaluation.name]
    x, states = _line(evaluation, room=0.15)
    logarithm = system.log_density(states, task.parameters_of(states))
    if logarithm is None or not isinstance(network, NeuralSDENetwork):
        return
    true = (logarithm - logarithm.max()).exp().numpy()
    true /= np.trapezoid(true, x)
    start = torch.from_numpy(np.resize(evaluation.exact[:, -1], (PARTICLES, 1)))
    end = evaluation.times[-1]
    times = torch.linspace(0, 10 * end, LONG + 1, dtype=start.dtype)
    found = learned_paths(network, start, times, members=1, seed=1)[:, 0, LONG // 10 :, 0].ravel()
    bins = np.linspace(x[0], x[-1], 51)
    counts, _ = np.histogram(found, bins, density=False)
    share = counts / len(found)
    expected = np.interp(bins, x, np.concatenate([[0.0], np.cumsum((true[1:] + true[:-1]) / 2 * np.diff(x))]))
    apart = 0.5 * (np.abs(share - np.diff(expected)).sum() + 1 - share.sum())
    made = figure(NARROW, 3.2)
    axes = made.subplots()
    axes.stairs(share / np.diff(bins), bins, fill=True, color=MODEL, alpha=0.35, label=evaluation.name)
    axes.plot(x, true, color=OBSERVED, linewidth=1.4, label="true density")
    axes.margins(x=0)
    axes.set_ylim(bottom=0)
    axes.set_xlabel(task.channels[0])
    axes.set_ylabel("density")
    made.legend(loc="outside upper left", ncols=2)
    save(
        made,
        run.figures / "density.png",
        f"Where {PARTICLES} paths of the learned equation are between t = {end:g} and {10 * end:g}, beyond all that "
        "training saw, and the stationary density of the true equation. The two share all but "
        f"{100 * apart:.2g} % of what they hold (total variation distance, by bins).",
        title="Where long paths stay",
    )


def _line(evaluation: Evaluation, room: float = 0.02) -> tuple[Array, torch.Tensor]:
    """Return the points (G,) of a line over the test states of one channel, and its states (G, 1)."""
    low, high = float(evaluation.exact.min()), float(evaluation.exact.max())
    x = np.linspace(low - room * (high - low), high + room * (high - low), GRID)
    return x, torch.from_numpy(x)[:, None]
