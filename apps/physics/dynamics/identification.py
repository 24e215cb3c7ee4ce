"""``integrand identify``: the constants of a universal differential equation with intervals, and the rest.

Dimension letters: N trajectories, T times, D state, P points.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from integrand.apps.physics.dynamics.data import DynamicsData
from integrand.apps.physics.dynamics.models.network import DynamicsNetwork
from integrand.apps.physics.dynamics.models.universal import UniversalNetwork
from integrand.apps.physics.dynamics.module import DynamicsModule
from integrand.apps.physics.dynamics.refinement import refine
from integrand.apps.training.figures import FAINT, MODEL, OBSERVED, figure, save, style
from integrand.apps.training.files import write_json
from integrand.apps.training.run_folder import RunFolder
from integrand.core.analysis import parameter_intervals
from integrand.core.errors import InputError
from integrand.datasets.synthetic.simulators import SIMULATORS, simulator
from integrand.datasets.synthetic.systems.system import System

Array = np.ndarray
LENGTHS = (4, 12)
"""Lengths of windows where neither the command nor the run names any."""
SHOWN = 2000
"""Points in the figure at most."""


@dataclass(frozen=True)
class Constant:
    """A constant as the data tell it.

    Attributes:
        name: in the known part.
        estimate: of the fit.
        low: bound of the interval.
        high: likewise.
        truth: the simulator's value, None where there is none.
    """

    name: str
    estimate: float
    low: float
    high: float
    truth: float | None


@dataclass(frozen=True)
class Identification:
    """What ``identify`` found.

    Attributes:
        constants: of the known part.
        level: of the intervals.
        noise: standard deviation of each channel's noise, in its own unit.
        determined: how many parameters the data determine, constants included.
        parameters: how many there are.
        windows: how many windows the last fit had.
        window: states of each.
        settled: whether the fit came to rest.
        remainder_error: relative L2 error of the remainder at the states of the test part; None without a simulator.
    """

    constants: list[Constant]
    level: float
    noise: dict[str, float]
    determined: float
    parameters: int
    windows: int
    window: int
    settled: bool
    remainder_error: float | None


def identify(
    module: DynamicsModule,
    data: DynamicsData,
    run: RunFolder,
    *,
    windows: tuple[int, ...] = (),
    level: float = 0.95,
    notify: Callable[[str], None],
) -> list[str]:
    """Fit the run's equation to its training part, and tell its constants; returns lines for the user.

    Writes ``parameters.json`` and ``figures/remainder.png`` into the run. Weights of the run are not changed.

    Args:
        module: of the run.
        data: of the run.
        run: its folder.
        windows: lengths of the windows fitted to, in states, one after another; those of the run's ``refine`` when
            empty.
        level: probability with which an interval covers the truth.
        notify: told of the progress.

    Raises:
        InputError: the model has no constants, a length or level out of range.
    """
    network = module.network
    if not isinstance(network, UniversalNetwork):
        raise InputError(
            f"{type(network).__name__} has no constants to identify: train with --model universal, such as "
            "integrand train physics --recipe lotka_volterra."
        )
    if not 0 < level < 1:
        raise InputError(f"--level {level:g} is out of range: between 0 and 1, such as 0.95.")
    data.setup()
    lengths = windows or refined_lengths(run) or LENGTHS
    network = network.double()
    fit = refine(network, data.trained, data.task.interval, lengths, notify=notify)
    truths = data.task.parameters if data.task.system in SIMULATORS else {}
    constants = [
        Constant(name, *interval, truths.get(name)) for name, interval in parameter_intervals(fit, level=level).items()
    ]
    states = data.test.values.flatten(0, 1).double()
    learned, true = remainders(network, states, truths)
    error = None if true is None else float((learned - true).norm() / true.norm())
    noise = fit.noise * network.scale
    found = Identification(
        constants=constants,
        level=level,
        noise=dict(zip(data.task.channels, noise.tolist(), strict=True)),
        determined=fit.effective,
        parameters=fit.covariance.shape[0],
        windows=len(fit.states),
        window=fit.states.shape[1],
        settled=fit.settled,
        remainder_error=error,
    )
    write_json(run.path / "parameters.json", asdict(found))
    picture = draw(network, states, learned, true, run.figures / "remainder.png", dataset=data.dataset)
    return [*told(found), f"written: {run.path / 'parameters.json'}, {picture}"]


def refined_lengths(run: RunFolder) -> tuple[int, ...]:
    """Return the lengths of windows that a run was refined with, none where it was not."""
    import yaml

    said = yaml.safe_load(run.config.read_text(encoding="utf-8"))
    return tuple(said.get("model", {}).get("refine") or ())


def remainders(network: UniversalNetwork, states: Tensor, truths: Mapping[str, float]) -> tuple[Tensor, Tensor | None]:
    """Return the learned remainder at states (P, D), and the true one where the simulator knows it, (P, D) each."""
    t = states.new_zeros(())
    with torch.no_grad():
        learned = network.universal.remainder(t, states)
    task = network.built_for
    system = simulator(task.system) if task.system in SIMULATORS else None
    if not isinstance(system, System) or not system.known_parameters:
        return learned, None
    values = {name: torch.full((len(states),), value).to(states) for name, value in truths.items()}
    return learned, system.remainder(t, states, values)


def recovered(network: DynamicsNetwork, data: DynamicsData) -> dict[str, float]:
    """Return how far the constants and the remainder of a network are from the simulator's; nothing where unknown."""
    truths = data.task.parameters if data.task.system in SIMULATORS else {}
    if not isinstance(network, UniversalNetwork) or not truths:
        return {}
    states = data.test.values.flatten(0, 1).double()
    learned, true = remainders(network, states.to(next(network.parameters())), truths)
    constants = network.universal.constants()
    if true is None or not constants.keys() <= truths.keys():
        return {}
    return {
        "parameter_error": max(abs(float(each.detach()) / truths[name] - 1) for name, each in constants.items()),
        "remainder_error": float((learned - true).norm() / true.norm()),
    }


def told(found: Identification) -> list[str]:
    """Say it in lines."""
    lines = []
    for one in found.constants:
        line = f"{one.name} = {one.estimate:.5g}   {100 * found.level:g} % interval {one.low:.5g} to {one.high:.5g}"
        if one.truth is not None:
            off = abs(one.estimate / one.truth - 1)
            held = "within" if one.low <= one.truth <= one.high else "outside"
            line += f"   truth {one.truth:.5g}, {off:.2%} off, {held} the interval"
        lines.append(line)
    if found.remainder_error is not None:
        lines.append(f"remainder: relative L2 error {found.remainder_error:.2%} at the states of the test part")
    lines.append(f"noise: {', '.join(f'{name} {value:.3g}' for name, value in found.noise.items())}")
    lines.append(
        f"{found.windows} windows of {found.window} states; the data determine {found.determined:.3g} of "
        f"{found.parameters} parameters{'' if found.settled else '; the fit has not come to rest'}"
    )
    return lines


def draw(
    network: UniversalNetwork, states: Tensor, learned: Tensor, true: Tensor | None, path: Path, *, dataset: str
) -> Path:
    """Draw the remainder against the state where it depends on one channel, else learned against true."""
    field, task = network.universal, network.built_for
    pick = torch.randperm(len(states), generator=torch.Generator().manual_seed(0))[:SHOWN]
    states, learned = states[pick].cpu(), learned[pick].cpu()
    truth = None if true is None else true[pick].cpu()
    depends = set(field.sees) | set(field.vanishes_without)
    with style():
        count = len(field.acts_on)
        drawn = figure(4.7 * count, 3.6)
        for place, channel in enumerate(field.acts_on):
            axes = drawn.add_subplot(1, count, 1 + place)
            name = task.channels[channel]
            if len(depends) == 1:
                _against_state(axes, states[:, next(iter(depends))], learned[:, channel], truth, channel)
                axes.set_xlabel(task.channels[next(iter(depends))])
                axes.set_ylabel(f"remainder of d {name} / dt")
            elif truth is not None:
                _against_truth(axes, truth[:, channel].numpy(), learned[:, channel].numpy())
                axes.set_xlabel(f"true remainder of d {name} / dt")
                axes.set_ylabel("learned")
            else:
                _over_plane(drawn, axes, states, learned[:, channel], sorted(depends)[:2], task.channels)
                axes.set_title(f"remainder of d {name} / dt")
        return save(
            drawn,
            path,
            f"What {dataset} has beside its known part, as the network learned it from noisy trajectories, at states "
            "of the test part" + (", and as the simulator has it." if truth is not None else "."),
            title="The remainder",
        )


def _against_state(axes: Any, x: Tensor, learned: Tensor, truth: Tensor | None, channel: int) -> None:
    order = x.argsort()
    if truth is not None:
        axes.plot(x[order], truth[order, channel], color=OBSERVED, lw=4, alpha=0.35, label="true")
    axes.plot(x[order], learned[order], color=MODEL, label="learned")
    axes.legend()


def _against_truth(axes: Any, truth: Array, learned: Array) -> None:
    ends = [min(truth.min(), learned.min()), max(truth.max(), learned.max())]
    axes.plot(ends, ends, color=FAINT, lw=1)
    axes.plot(truth, learned, ".", color=MODEL, ms=3)


def _over_plane(drawn: Any, axes: Any, states: Tensor, learned: Tensor, pair: list[int], channels: list[str]) -> None:
    size = float(learned.abs().max()) or math.inf
    points = axes.scatter(states[:, pair[0]], states[:, pair[1]], c=learned, cmap="RdBu_r", vmin=-size, vmax=size, s=12)
    drawn.colorbar(points, ax=axes)
    axes.set_xlabel(channels[pair[0]])
    axes.set_ylabel(channels[pair[1]])
