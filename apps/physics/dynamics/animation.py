"""The motion of a test trajectory: exact, as the model has it, and as the plain network has it, with their energies."""

from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from integrand.apps.physics.dynamics.evaluation import PLAIN, Evaluation, typical
from integrand.apps.physics.dynamics.task import DynamicsTask
from integrand.apps.training.animations import save_animation
from integrand.apps.training.figures import BASELINES, MODEL, OBSERVED, figure, metric_name
from integrand.apps.training.run_folder import RunFolder

Array = np.ndarray
SHOWN = 4.0
"""Units of time that are shown, the last of the trajectory."""
FRAMES = 130
"""At most."""
SECONDS = 6.0
"""That the animation takes, about."""
WIDTH = 7.0


def draw_motion(evaluation: Evaluation, run: RunFolder, task: DynamicsTask) -> None:
    """Draw ``motion.gif``: a pendulum that swings, bodies in their plane, or a point in phase space."""
    units = np.array([task.in_units(t) for t in evaluation.times])
    sample = typical(evaluation)
    rows = np.flatnonzero(units >= units[-1] - SHOWN - 1e-9)
    rows = rows[:: max(1, -(-len(rows) // FRAMES))]
    paths = {"exact": evaluation.exact[sample][rows]}
    energies = {"exact": _kept(evaluation, sample)}
    for who in (evaluation.name, PLAIN):
        if who in evaluation.predictions:
            paths[who] = evaluation.predictions[who].states[sample][rows]
            energies[who] = _kept(evaluation, sample, who)
    looks = dict(zip(paths, _looks(), strict=False))
    made = figure(WIDTH, 3.4)
    invariant = next(iter(evaluation.invariants), None)
    panels = made.subplots(1, 2, squeeze=False, width_ratios=(1, 1.25) if invariant else (1, 0.01))[0]
    update = _stage(panels[0], paths, looks, task)
    dots: dict[str, Any] = {}
    if invariant is None:
        panels[1].set_axis_off()
    else:
        for who, values in energies.items():
            panels[1].plot(
                units, values, color=looks[who]["color"], linewidth=1.2, alpha=0.8, zorder=looks[who]["zorder"]
            )
            (dots[who],) = panels[1].plot([], [], "o", color=looks[who]["color"], zorder=looks[who]["zorder"] + 1)
        panels[1].set_title(metric_name(invariant))
        panels[1].set_xlabel(f"time, {task.time_word}")
        panels[1].margins(x=0.02)
    for who in paths:
        panels[0].plot(
            [], [], color=looks[who]["color"], linewidth=2, label=evaluation.truth if who == "exact" else who
        )
    made.legend(*panels[0].get_legend_handles_labels(), loc="outside upper left", ncols=3)

    def change(frame: int) -> None:
        update(frame)
        for who, dot in dots.items():
            dot.set_data([units[rows[frame]]], [energies[who][rows[frame]]])

    shown = f"last {SHOWN:g}" if units[-1] > SHOWN * 1.01 else f"{units[-1]:.3g}"
    save_animation(
        made,
        change,
        len(rows),
        run.figures / "motion.gif",
        f"The {shown} {task.time_word} of a test trajectory, the one whose error is the median"
        + (f", and the true {metric_name(invariant)} of each over the whole of it." if invariant else "."),
        title="The motion",
        fps=max(5.0, min(25.0, len(rows) / SECONDS)),
    )


def _kept(evaluation: Evaluation, sample: int, who: str | None = None) -> Array:
    values = evaluation.invariants if who is None else evaluation.predictions[who].invariants
    return next(iter(values.values()))[sample] if values else np.zeros(len(evaluation.times))


def _looks() -> list[dict[str, Any]]:
    return [
        {"color": OBSERVED, "linewidth": 4.0, "alpha": 0.35, "zorder": 2},
        {"color": MODEL, "linewidth": 2.0, "alpha": 1.0, "zorder": 4},
        {"color": BASELINES[0][0], "linewidth": 2.0, "alpha": 1.0, "zorder": 3},
    ]


def _stage(
    axes: Axes, paths: dict[str, Array], looks: dict[str, dict[str, Any]], task: DynamicsTask
) -> Callable[[int], None]:
    """Set up what moves, and return what moves it to a frame."""
    if task.angles and task.dim == 2 * len(task.angles):
        return _rod_stage(axes, paths, looks, len(task.angles))
    bodies = _bodies(task)
    if not bodies:
        half = task.dim // 2 if task.canonical else min(1, task.dim - 1)
        bodies = [(0, half)]
        axes.set_xlabel(task.channels[0])
        axes.set_ylabel(task.channels[half])
    else:
        axes.set_aspect("equal")
    every = np.concatenate([paths["exact"][:, [x, y]] for x, y in bodies])
    low, high = every.min(0), every.max(0)
    room = 0.2 * (high - low) + 1e-9
    axes.set_xlim(low[0] - room[0], high[0] + room[0])
    axes.set_ylim(low[1] - room[1], high[1] + room[1])
    lines = []
    for who, states in paths.items():
        for x, y in bodies:
            (trail,) = axes.plot([], [], **(looks[who] | {"linewidth": 0.5 * looks[who]["linewidth"]}))
            (dot,) = axes.plot([], [], "o", color=looks[who]["color"], alpha=looks[who]["alpha"], zorder=5)
            lines.append((trail, dot, states[:, x], states[:, y]))

    def update(frame: int) -> None:
        first = max(0, frame - 25)
        for trail, dot, x, y in lines:
            trail.set_data(x[first : frame + 1], y[first : frame + 1])
            dot.set_data([x[frame]], [y[frame]])

    return update


def _rods(states: Array, count: int) -> tuple[Array, Array]:
    """Return the joints of a chain of rods of length 1 that hang by angles from the vertical, (T, count + 1) each."""
    zero = np.zeros((len(states), 1))
    x = np.concatenate([zero, np.sin(states[:, :count]).cumsum(1)], axis=1)
    y = np.concatenate([zero, -np.cos(states[:, :count]).cumsum(1)], axis=1)
    return x, y


def _rod_stage(
    axes: Axes, paths: dict[str, Array], looks: dict[str, dict[str, Any]], count: int
) -> Callable[[int], None]:
    axes.set_aspect("equal")
    axes.set_xlim(-1.15 * count, 1.15 * count)
    highest = max(_rods(states, count)[1].max() for states in paths.values())
    axes.set_ylim(-1.15 * count, highest + 0.15 * count)
    axes.set_axis_off()
    lines = {who: axes.plot([], [], marker="o", markersize=7, **looks[who])[0] for who in paths}
    joints = {who: _rods(states, count) for who, states in paths.items()}

    def update(frame: int) -> None:
        for who, line in lines.items():
            x, y = joints[who]
            line.set_data(x[frame], y[frame])

    return update


def _bodies(task: DynamicsTask) -> list[tuple[int, int]]:
    """Return the channels of bodies in a plane, (x_1, y_1), ..., by their names."""
    places = {name: i for i, name in enumerate(task.channels)}
    pairs = [(i, places["y" + name[1:]]) for name, i in places.items() if name[:1] == "x" and "y" + name[1:] in places]
    return pairs if task.canonical else []
