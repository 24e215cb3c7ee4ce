"""The learned field and the learned energy beside the true ones.

Dimension letters: D state, G points of a grid along an axis, M states.
"""

import numpy as np
import torch
from torch import Tensor

from integrand.apps.physics.dynamics.evaluation import PLAIN, Evaluation
from integrand.apps.physics.dynamics.task import DynamicsTask
from integrand.apps.training.figures import BASELINES, MODEL, NARROW, OBSERVED, figure, save
from integrand.apps.training.run_folder import RunFolder
from integrand.datasets.synthetic.simulators import SIMULATORS, simulator
from integrand.datasets.synthetic.systems.system import System

Array = np.ndarray
GRID = 81
ARROWS = 15
MOST = 2000


def partner(task: DynamicsTask) -> tuple[int, int]:
    """Return the two channels that make a plane: the first position and its momentum, or the first two."""
    return (0, task.dim // 2) if task.canonical else (0, min(1, task.dim - 1))


def draw_energy(evaluation: Evaluation, run: RunFolder, task: DynamicsTask) -> None:
    """Draw the contours of the learned energy over those of the true one, where the state is a plane."""
    network, true = evaluation.networks[evaluation.name], task.invariants().get("energy")
    if task.dim != 2 or true is None or network.standard_energy(torch.zeros(1, 2).to(network.scale)) is None:
        return
    x, y, states = _plane(evaluation)
    exact = true(states[:, None])[:, 0].numpy()
    with torch.no_grad():
        learned = network.energy(states.to(network.scale))
    assert learned is not None
    visited = true(torch.from_numpy(evaluation.exact)).numpy()
    found = learned.cpu().numpy()
    found = found - (found - exact)[_inside(exact, visited)].mean()  # an energy has no zero of its own
    levels = np.linspace(visited.min(), visited.max(), 8)
    made = figure(NARROW, NARROW * 0.95)
    axes = made.subplots()
    shape = (len(y), len(x))
    axes.contour(x, y, exact.reshape(shape), levels=levels, colors=OBSERVED, linewidths=2.4, alpha=0.3)
    axes.contour(x, y, found.reshape(shape), levels=levels, colors=MODEL, linewidths=1.2)
    axes.set_xlabel(task.channels[0])
    axes.set_ylabel(task.channels[1])
    off = np.abs(found - exact)[_inside(exact, visited)].max() / np.ptp(visited)
    save(
        made,
        run.figures / "energy.png",
        "Contours of the learned energy (blue) over those of the true one (grey), at the energies of the test part. "
        f"There they differ by at most {100 * off:.2g} % of the range, after a constant that an energy does not tell.",
        title="The learned energy",
    )


def draw_field(evaluation: Evaluation, run: RunFolder, task: DynamicsTask) -> None:
    """Draw the learned field against the true one, where that is known: over the plane, or component by component."""
    if task.system not in SIMULATORS:
        return
    system = simulator(task.system)
    assert isinstance(system, System)
    (_draw_plane if task.dim == 2 else _draw_components)(evaluation, run, task, system)


def true_field(system: System, task: DynamicsTask, states: Tensor) -> Tensor:
    """Return dy/dt (M, D) of the simulator at states (M, D)."""
    return system.field(states.new_zeros(()), states, task.parameters_of(states))


def learned_field(evaluation: Evaluation, who: str, states: Tensor) -> Tensor:
    """Return dy/dt (M, D) of a network at states (M, D)."""
    network = evaluation.networks[who]
    with torch.no_grad():
        return network.field(states.to(network.scale)).cpu()


def _draw_plane(evaluation: Evaluation, run: RunFolder, task: DynamicsTask, system: System) -> None:
    x, y, states = _plane(evaluation)
    exact = true_field(system, task, states)
    every = GRID // ARROWS
    who = [one for one in (evaluation.name, PLAIN) if one in evaluation.networks]
    made = figure(NARROW * len(who), NARROW * 0.95)
    panels = made.subplots(1, len(who), sharex=True, sharey=True, squeeze=False)[0]
    size = exact.square().sum(-1).mean().sqrt()
    errors = {
        one: ((learned_field(evaluation, one, states) - exact).norm(dim=-1) / size).numpy().reshape(len(y), len(x))
        for one in who
    }
    top = float(np.ceil(np.log10(max(error.max() for error in errors.values()))))
    image = None
    for axes, one in zip(panels, who, strict=True):
        shown = np.log10(np.maximum(errors[one], 1e-12))
        image = axes.pcolormesh(x, y, shown, cmap="YlOrRd", vmin=top - 4, vmax=top, shading="nearest", rasterized=True)
        arrows = learned_field(evaluation, one, states).reshape(len(y), len(x), 2)[::every, ::every]
        axes.quiver(x[::every], y[::every], arrows[..., 0], arrows[..., 1], color="#333333", width=0.004, alpha=0.8)
        for sample in evaluation.exact[:: max(1, len(evaluation.exact) // 12)]:
            axes.plot(sample[:, 0], sample[:, 1], color="#333333", linewidth=0.4, alpha=0.35)
        axes.grid(visible=False)
        axes.set_title(one)
        axes.set_xlabel(task.channels[0])
    panels[0].set_ylabel(task.channels[1])
    panels[0].set_xlim(x[0], x[-1])
    panels[0].set_ylim(y[0], y[-1])
    assert image is not None
    made.colorbar(image, ax=list(panels), label="log10 of the error", shrink=0.9)
    save(
        made,
        run.figures / "field.png",
        "The learned field (arrows) and its distance from the true one (colour, by the true field's root mean square). "
        "Thin lines are test trajectories; beyond them nothing was learned.",
        title="The learned field",
    )


def _draw_components(evaluation: Evaluation, run: RunFolder, task: DynamicsTask, system: System) -> None:
    states = torch.from_numpy(evaluation.exact.reshape(-1, task.dim))
    states = states[:: max(1, len(states) // MOST)]
    exact = true_field(system, task, states)
    size = exact.square().mean(0).sqrt().clamp(min=1e-300)
    who = [one for one in (evaluation.name, PLAIN) if one in evaluation.networks]
    made = figure(NARROW, NARROW * 0.95)
    axes = made.subplots()
    told = []
    for one, colour in zip(who[::-1], (BASELINES[0][0], MODEL)[-len(who) :], strict=True):
        off = learned_field(evaluation, one, states) - exact
        axes.plot(
            (exact / size).flatten(), (off / size).flatten(), ".", color=colour, markersize=2, alpha=0.4, label=one
        )
        told.append(f"{one} {float(off.norm() / exact.norm()):.2g}")
    axes.axhline(0, color=OBSERVED, linewidth=0.8)
    axes.set_xlabel("true dy/dt, by its size")
    axes.set_ylabel("learned less true dy/dt")
    made.legend(loc="outside upper left", ncols=2, markerscale=5)
    save(
        made,
        run.figures / "field.png",
        "By how much every component of the learned field misses the true one at test states, over the true one; each "
        f"by its root mean square. Relative error of the whole field there: {', '.join(told[::-1])}.",
        title="The learned field",
    )


def _plane(evaluation: Evaluation) -> tuple[Array, Array, Tensor]:
    """Return the axes (G,) of a grid around the test states of two channels, and its states (G * G, 2), rows first."""
    axes = []
    for channel in range(2):
        low, high = evaluation.exact[..., channel].min(), evaluation.exact[..., channel].max()
        room = 0.08 * (high - low)
        axes.append(np.linspace(low - room, high + room, GRID))
    x, y = axes
    across, up = np.meshgrid(x, y)
    return x, y, torch.from_numpy(np.stack([across.ravel(), up.ravel()], axis=-1))


def _inside(energy: Array, visited: Array) -> Array:
    return (energy >= visited.min()) & (energy <= visited.max())
