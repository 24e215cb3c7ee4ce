"""Predicting the test trajectories from their starts, and scoring them beside a plain network and simple baselines.

Where a network or the system is driven at random, a forecast is an ensemble of paths, and its CRPS heads the scores.

Dimension letters: N trajectories, T times, D state.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from integrand.apps.physics.dynamics import costs, ensembles, exponents
from integrand.apps.physics.dynamics.baselines import LARGEST, LinearMap, Persistence
from integrand.apps.physics.dynamics.data import DynamicsData
from integrand.apps.physics.dynamics.identification import recovered
from integrand.apps.physics.dynamics.metrics import (
    drift,
    invariant_scale,
    relative_l2,
    step_errors,
    valid_time,
)
from integrand.apps.physics.dynamics.models.network import DynamicsNetwork, Rollout
from integrand.apps.physics.dynamics.models.neural_sde import NeuralSDENetwork
from integrand.apps.physics.dynamics.module import DynamicsModule
from integrand.apps.physics.dynamics.records import is_recorded
from integrand.apps.physics.dynamics.task import DynamicsTask
from integrand.apps.training.growth import growth
from integrand.datasets.synthetic.systems.stochastic_system import StochasticSystem

Array = np.ndarray
Notify = Callable[[str], None]
PLAIN = "plain network"
RESAMPLES = 2000
AIMS: dict[str, str | float] = {"valid_time": "higher", "coverage": ensembles.INNER, "spread_skill": 1.0}
"""What a metric should be, where that is not low."""


@dataclass(frozen=True)
class Prediction:
    """Trajectories as one of those compared predicts them.

    Attributes:
        states: (N, T, D) in the channels' own units.
        errors: (N, T), see ``step_errors``.
        invariants: (N, T) each, by name.
        scores: (N,) each metric of every trajectory; None where the metric says nothing of it.
        members: (N, K, T, D) paths of an ensemble, whose mean the states are; None for one path alone.
        crps: (N, T) where forecasts are distributions, see ``ensembles``.
    """

    states: Array
    errors: Array
    invariants: dict[str, Array]
    scores: dict[str, Array | None]
    members: Array | None = None
    crps: Array | None = None


@dataclass(frozen=True)
class Evaluation:
    """What the figures and the report are drawn from.

    Attributes:
        name: the model's name in ``predictions``.
        times: (T,) of the test part.
        exact: (N, T, D).
        invariants: (N, T) each of the exact solution, by name.
        scales: of the invariants.
        predictions: of the model and of each baseline.
        networks: the model, and the plain network where there is one, in float64.
        results: what goes to ``results.json``.
        truth: what the trajectories that predictions are compared with are: exact, or recorded.
    """

    name: str
    times: Array
    exact: Array
    invariants: dict[str, Array]
    scales: dict[str, float]
    predictions: dict[str, Prediction]
    networks: dict[str, DynamicsNetwork]
    results: dict[str, Any]
    truth: str = "exact"

    @property
    def random(self) -> bool:
        """Whether forecasts are distributions, as a network or the system is driven at random."""
        return self.predictions[self.name].crps is not None


def evaluate(module: DynamicsModule, data: DynamicsData, *, name: str, seed: int, notify: Notify) -> Evaluation:
    """Predict every test trajectory from its start and score it, and the baselines alike.

    Networks are solved in float64, so that what is measured is what they learned and not rounding.

    Args:
        module: the trained module.
        data: its data.
        name: the model's name in the tables.
        seed: what the run was seeded with, for the record.
        notify: told what is being done, one line each.
    """
    data.setup()
    task, exact = data.task, data.test.values.double().cpu()
    times = data.test.times.double().cpu()
    networks = {name: precise(module.network)}
    if module.twin is not None:
        networks[PLAIN] = precise(module.twin)
    judge = Judge(data, random=ensembles.is_random(networks, data))
    predictions, start = {}, exact[:, 0]
    for who, network in networks.items():
        notify(f"predicting {len(exact)} test trajectories to t = {float(times[-1]):g} with the {who}")
        if isinstance(network, NeuralSDENetwork):
            drawn = ensembles.learned_paths(network, start, times, members=ensembles.MEMBERS, seed=seed)
            predictions[who] = judge.score_ensemble(drawn)
        else:
            predictions[who] = judge.score(rollout(network, start, times).states.cpu().numpy())
    location, scale = np.asarray(task.location), np.asarray(task.scale)
    seen = (data.trained.double().numpy() - location) / scale
    for baseline in (Persistence(), LinearMap()):
        baseline.fit(seen, task.interval)
        states = baseline.predict((start.numpy() - location) / scale, times.numpy())
        predictions[baseline.name] = judge.score(states * scale + location, still=baseline.name == Persistence.name)
    if judge.random:
        drawn = ensembles.climatology(data, len(exact), len(times), members=ensembles.MEMBERS, seed=seed)
        predictions["climatology"] = judge.score_ensemble(drawn, still=True)
    if isinstance(data.system, StochasticSystem):
        notify(f"predicting with the {ensembles.TRUE}, for what is possible")
        drawn = ensembles.true_paths(data, start, times, members=ensembles.MEMBERS, seed=seed)
        predictions[ensembles.TRUE] = judge.score_ensemble(drawn)
    notify("measuring what a solve costs")
    speed = costs.measured_speed(networks, data)
    if costs.COARSE in speed:
        states = costs.coarse_states(data, exact[:, 0], times, speed[costs.COARSE]["substeps"]).numpy()
        held = np.clip((states - location) / scale, -LARGEST, LARGEST)
        predictions[costs.COARSE] = judge.score(held * scale + location)
    spectra = exponents.exponents(networks, data)
    return Evaluation(
        name=name,
        times=times.numpy(),
        exact=exact.numpy(),
        invariants=judge.invariants,
        scales=judge.scales,
        predictions=predictions,
        networks=networks,
        results=_results(name, predictions, networks, data, judge, speed, spectra, seed),
        truth="recorded" if is_recorded(data.dataset) else "exact",
    )


def typical(evaluation: Evaluation) -> int:
    """Return the number of the test trajectory whose error is the median."""
    errors = next(iter(evaluation.predictions[evaluation.name].scores.values()))
    assert errors is not None
    return int(np.argsort(errors)[len(errors) // 2])


def precise(network: DynamicsNetwork) -> DynamicsNetwork:
    """Return a copy in float64, on its device where that has such numbers, else on the host."""
    made, device = copy.deepcopy(network), next(network.parameters()).device
    try:
        return made.to(device, torch.float64).eval()
    except TypeError:
        return made.to("cpu", torch.float64).eval()


def rollout(network: DynamicsNetwork, start: torch.Tensor, times: torch.Tensor) -> Rollout:
    """Predict from states (N, D) over times (T,), in the network's precision and on its device."""
    weight = next(network.parameters())
    return network.predict(start.to(weight), times.to(weight))


class Judge:
    """Scores predictions of the test part of some data: as distributions, if anything is driven at random."""

    def __init__(self, data: DynamicsData, *, random: bool = False) -> None:
        self.random = random
        self.task: DynamicsTask = data.task
        self.exact = data.test.values.double().cpu()
        self.times = data.test.times.double().cpu().numpy()
        self.of = self.task.invariants()
        self.invariants = self.values(self.exact.numpy())
        starts = data.starts[:, None]
        self.scales = {name: invariant_scale(each(starts)[:, 0].cpu().numpy()) for name, each in self.of.items()}
        self.inside = self.times <= self.task.span * (1 + 1e-9)

    def values(self, states: Array) -> dict[str, Array]:
        """Return the invariants of states (N, T, D), (N, T) each."""
        return {name: each(torch.from_numpy(states)).numpy() for name, each in self.of.items()}

    def standardised(self, states: Array) -> Array:
        """Return states in units of the training part."""
        return (states - np.asarray(self.task.location)) / np.asarray(self.task.scale)

    def score(self, states: Array, *, still: bool = False) -> Prediction:
        """Score predicted states (N, T, D); one that stands still keeps every invariant, which is no merit."""
        return self._score(states, None, still)

    def score_ensemble(self, members: Array, *, still: bool = False) -> Prediction:
        """Score the paths (N, K, T, D) of an ensemble, and their mean as its one best path."""
        return self._score(members.mean(1), members, still)

    def _score(self, states: Array, members: Array | None, still: bool) -> Prediction:
        ours, exact = self.standardised(states), self.standardised(self.exact.numpy())
        errors, values = step_errors(ours, exact), self.values(states)
        scores: dict[str, Array | None] = {}
        crps = None
        if self.random:
            paths = self.standardised(states[:, None] if members is None else members)
            crps = ensembles.crps_by_step(paths, exact)
            scores["crps"] = crps[:, 1:].mean(1)
            scores["coverage"] = None if members is None else ensembles.coverage(paths, exact)
        scores["relative_l2"] = relative_l2(ours, exact)
        if not self.inside.all():
            scores["relative_l2_trained"] = relative_l2(ours[:, self.inside], exact[:, self.inside])
        if not self.random:
            scores["valid_time"] = np.array([self.task.in_units(t) for t in valid_time(errors, self.times)])
        # The mean of paths keeps nothing; one path of each ensemble tells what a path keeps.
        for name, value in (values if members is None else self.values(members[:, 0])).items():
            most, end = drift(value, self.scales[name])
            scores[f"{name}_drift"], scores[f"{name}_drift_end"] = (None, None) if still else (most, end)
        if "energy" in values and not self.random:
            scores["energy_mse"] = None if still else np.square(values["energy"] - self.invariants["energy"]).mean(1)
        deviation = exact.std((0, 1))
        scores["nrmse"] = np.sqrt(np.square(ours - exact).mean(1) / np.square(deviation)).mean(-1)
        return Prediction(states, errors, values, scores, members, crps)

    def by_channel(self, prediction: Prediction) -> dict[str, dict[str, float]]:
        """Return the error of each channel over all trajectories and times, by its deviation."""
        error = np.sqrt(np.square(prediction.states - self.exact.numpy()).mean((0, 1)))
        deviation = self.exact.numpy().std((0, 1))
        return {
            channel: {"nrmse": float(error[d] / max(deviation[d], 1e-300))}
            for d, channel in enumerate(self.task.channels)
        }

    def about(self) -> dict[str, str]:
        """Say what each metric is."""
        task = self.task
        told = {
            "relative_l2": "relative L2 error of a whole test trajectory in standardised states",
            "relative_l2_trained": f"the same up to t = {task.span:g}, as long as training trajectories are",
            "valid_time": f"time until the error exceeds 0.4 deviations, in {task.time_word}, at most "
            f"{task.in_units(float(self.times[-1])):.3g} (Pathak et al. 2018)",
            "nrmse": "root mean squared error of a channel by its deviation, mean over channels",
            "energy_mse": "mean squared difference to the exact energy, as Greydanus et al. (2019) have it",
            "exponents_error": "largest relative error of a Lyapunov exponent; one near 0 counts by the largest one",
            "parameter_error": "largest relative error of a constant of the known part",
            "remainder_error": "relative L2 error of the learned remainder at the states of the test part",
        }
        for name, scale in self.scales.items():
            told[f"{name}_drift"] = f"largest distance of the true {name} from its start, in units of {scale:.4g}"
            told[f"{name}_drift_end"] = "the same at the end of the trajectory"
        if self.random:
            told |= ensembles.ABOUT
            told["relative_l2"] += ", for the mean of an ensemble"
        return told


def _results(
    name: str,
    predictions: dict[str, Prediction],
    networks: dict[str, DynamicsNetwork],
    data: DynamicsData,
    judge: Judge,
    speed: dict[str, dict[str, Any]],
    spectra: dict[str, list[float] | None],
    seed: int,
) -> dict[str, Any]:
    metrics = {
        who: {metric: None if of is None else _number(of.mean()) for metric, of in one.scores.items()}
        for who, one in predictions.items()
    }
    for who, error in exponents.errors(spectra).items():
        metrics[who]["exponents_error"] = error
    for who, network in networks.items():
        metrics[who] |= recovered(network, data)
    if judge.random:
        exact = judge.standardised(judge.exact.numpy())
        for who, one in predictions.items():
            if one.members is not None:
                ratio = ensembles.spread_skill(judge.standardised(one.members), exact)
                metrics[who] |= {"spread_skill": _number(ratio)}
        for who, errors in ensembles.equation_errors(networks, data).items():
            metrics[who] |= errors
    shown = [each for each in metrics[name] if each in ("crps", "relative_l2", "valid_time", "energy_drift")]
    intervals, gains = compared(name, predictions, shown)
    for yardstick in (costs.COARSE, ensembles.TRUE):  # a share of next to nothing tells nothing
        gains.pop(yardstick, None)
    return {
        "app": "physics",
        "task": "dynamics",
        "dataset": data.dataset,
        "split_hash": data.split.hash,
        "seed": seed,
        "model": name,
        "metrics": metrics,
        "intervals": intervals,
        "gains": gains,
        "by_channel": {who: judge.by_channel(one) for who, one in predictions.items()},
        "about": judge.about(),
        "better": {metric: AIMS.get(metric, "lower") for metric in metrics[name]},
        "bootstrap": {"of": "trajectories", "resamples": RESAMPLES, "level": 0.95} if len(judge.exact) > 1 else {},
        "samples": {"name": data.parts.counted, **data.parts.counts},
        "yardsticks": costs.yardstick(speed) | ensembles.yardstick(predictions),
        "growth": growth(
            "CRPS, in deviations" if judge.random else "error, in deviations",
            axis=f"time, {data.task.time_word}",
            times=np.array([data.task.in_units(t) for t in judge.times[1:]]),
            errors={who: (one.errors if one.crps is None else one.crps)[:, 1:] for who, one in predictions.items()},
            until=None if judge.inside.all() else data.task.in_units(data.task.span),
        ),
        "speed": speed,
        "tables": [costs.table(speed)],
        "exponents": spectra,
        "remarks": remarks(name, metrics, networks, data, speed) + exponents.remarks(spectra),
    }


def compared(
    name: str, predictions: dict[str, Prediction], metrics: list[str], *, seed: int = 0
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return 95 % intervals of metrics, and of the model's gains over the others, by resampling trajectories.

    A single trajectory has none.
    """
    count = len(next(iter(predictions.values())).errors)
    if count < 2:
        return {who: {} for who in predictions}, {who: {} for who in predictions if who != name}
    pick = np.random.default_rng(seed).integers(0, count, (RESAMPLES, count))
    intervals: dict[str, Any] = {who: {} for who in predictions}
    gains: dict[str, Any] = {who: {} for who in predictions if who != name}
    for metric in metrics:
        ours = predictions[name].scores[metric]
        assert ours is not None
        for who, one in predictions.items():
            theirs = one.scores[metric]
            if theirs is None:
                continue
            intervals[who][metric] = [_number(x) for x in np.quantile(theirs[pick].mean(1), [0.025, 0.975])]
            if who == name or not theirs.mean() > 0:
                continue
            drawn = 1 - ours[pick].mean(1) / np.maximum(theirs[pick].mean(1), 1e-300)
            if metric == "valid_time":
                drawn = -drawn
            gain = (1 - ours.mean() / theirs.mean()) * (-1 if metric == "valid_time" else 1)
            low, high = np.quantile(drawn, [0.025, 0.975])
            gains[who][metric] = {"gain": _number(gain), "low": _number(low), "high": _number(high)}
    return intervals, gains


def remarks(
    name: str,
    metrics: dict[str, dict[str, float | None]],
    networks: dict[str, DynamicsNetwork],
    data: DynamicsData,
    speed: dict[str, dict[str, Any]],
) -> list[str]:
    """Say what the table cannot: ratios of drifts, how all was solved, what it costs, and how far it goes."""
    task, told = data.task, []
    for invariant in list(task.invariants())[:1]:  # the table has the others
        ours, plain = (metrics.get(who, {}).get(f"{invariant}_drift") for who in (name, PLAIN))
        if ours and plain:
            units = task.in_units(float(data.test.times[-1]))
            told.append(
                f"Over {units:.3g} {task.time_word} the {invariant} of {name} leaves its start by {ours:.2e} at most, "
                f"that of the plain network by {plain:.2e}: {plain / ours:.3g} times as far."
            )
    solvers = {who: network.solver_words() for who, network in networks.items()}
    if len(set(solvers.values())) == 1:
        both = ", both networks" if len(solvers) > 1 else ""
        told.append(f"Solved in float64 by {solvers[name]}{both}.")
    else:
        told.append(f"Solved in float64: {'; '.join(f'{who} by {words}' for who, words in solvers.items())}.")
    told += costs.remarks(name, speed)
    if len(data.test) == 1:
        told.append("The test is one window of one trajectory: there is nothing to tell its luck from merit by.")
    return told + [f"{line[0].upper()}{line[1:]}." for line in data.beyond()]


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
