"""Dynamics where noise drives the system or the network: likelihood, ensembles, their scores, pictures, refusals."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning import Trainer
from matplotlib.image import imread
from scipy.stats import norm
from torch import Tensor, nn

from integrand.apps.physics.dynamics import ensemble_figures, ensembles
from integrand.apps.physics.dynamics.data import DynamicsData
from integrand.apps.physics.dynamics.evaluation import PLAIN, Evaluation, Judge, evaluate
from integrand.apps.physics.dynamics.figures import draw
from integrand.apps.physics.dynamics.models.neural_ode import NeuralODENetwork
from integrand.apps.physics.dynamics.models.neural_sde import LEAST, NeuralSDENetwork
from integrand.apps.physics.dynamics.module import DynamicsModule
from integrand.apps.physics.dynamics.prediction import predict
from integrand.apps.training.checkpoints import read_checkpoint
from integrand.apps.training.figures import read_captions
from integrand.apps.training.run_folder import RunFolder
from integrand.apps.training.verdict import verdict
from integrand.core.errors import InputError

QUIET: dict[str, Any] = {
    "accelerator": "cpu",
    "logger": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "num_sanity_val_steps": 0,
}


class Formula(nn.Module):
    """A function of the state in the place of a network."""

    def __init__(self, of: Any) -> None:
        super().__init__()
        self.of, self.weight = of, nn.Parameter(torch.zeros(1))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        """Return f(y)."""
        return self.of(y)


def noisy_data(**options: Any) -> DynamicsData:
    given = {"samples": 24, "span": 4.0, "interval": 0.05, "test_span": 5.0, "test_interval": 0.25} | options
    data = DynamicsData("double_well", fractions=(0.5, 0.2, 0.3), batch_size=256, **given)
    data.setup()
    return data


def true_network(data: DynamicsData, noise: float = 1.0) -> NeuralSDENetwork:
    """The double well itself in standardised states and times, its noise times a factor."""
    network, task = NeuralSDENetwork(hidden=(4,)), data.task
    network.build(task)
    at, scale, rate = task.location[0], task.scale[0], task.rate

    def drift(y: Tensor) -> Tensor:
        x = at + scale * y
        return (x - x**3) / (scale * rate)

    amplitude = noise * 0.5 / (scale * rate**0.5) - LEAST
    network.flow, network.noise = Formula(drift), Formula(lambda y: torch.full_like(y, amplitude))
    return network


@pytest.fixture(scope="module")
def data() -> DynamicsData:
    return noisy_data()


# The network


def test_the_likelihood_is_that_of_a_gaussian_step():
    """Of an Ornstein-Uhlenbeck process dx = -2 x dt + 0.5 dW, channel by channel, by scipy."""
    data = noisy_data(samples=6, span=1.0)
    network = true_network(data)
    network.flow, network.noise = Formula(lambda y: -2 * y), Formula(lambda y: torch.full_like(y, 0.5 - LEAST))
    states = torch.randn(5, 4, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    times = torch.tensor([0.0, 0.1, 0.2, 0.4], dtype=torch.float64)
    dt = np.diff(times.numpy() * data.task.rate)[:, None]
    y = states.numpy()
    expected = -norm.logpdf(y[:, 1:], y[:, :-1] * (1 - 2 * dt), 0.5 * np.sqrt(dt)).mean()
    assert float(network.misfit(states, states, times, "states")) == pytest.approx(expected, rel=1e-6)


def test_the_truth_has_its_own_drift_and_noise_and_no_better_likelihood(data: DynamicsData):
    network = true_network(data).double()
    errors = ensembles.equation_errors({"truth": network}, data)["truth"]
    assert errors["drift_error"] < 1e-6  # the scales of a network are stored in float32
    assert errors["noise_error"] < 1e-6
    batch = data.windows("train").__getitems__(range(900))
    states = network.standardised(batch.states.double())
    misfits = [
        float(true_network(data, noise).double().misfit(states, states, batch.times.double(), "states"))
        for noise in (0.8, 1.0, 1.2)
    ]
    assert misfits[1] == min(misfits)


def test_paths_of_a_seed_are_the_same_in_any_company_and_a_generator_draws_others(data: DynamicsData):
    network, start = true_network(data).double(), data.test.values[:4, 0].double()
    times = torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64)
    many = network.paths(start, times, seeds=[3, 5, 7, 9])
    alone = network.paths(start[2:3], times, seeds=[7])
    torch.testing.assert_close(many[2:3], alone, rtol=0, atol=1e-12)
    drawn = [network.paths(start, times, generator=torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


# Ensembles


def test_scores_of_ensembles_are_those_by_hand():
    rng = np.random.default_rng(1)
    members, observed = rng.normal(size=(6, 9, 4, 2)), rng.normal(size=(6, 4, 2))
    pairs = np.abs(members[:, :, None] - members[:, None]).sum((1, 2)) / (2 * 9 * 8)
    expected = (np.abs(members - observed[:, None]).mean(1) - pairs).mean(-1)
    np.testing.assert_allclose(ensembles.crps_by_step(members, observed), expected, rtol=1e-12)
    spread = members[:, :, 1:].var(1, ddof=1).mean() * 10 / 9
    error = ((members.mean(1) - observed)[:, 1:] ** 2).mean()
    assert ensembles.spread_skill(members, observed) == pytest.approx(math.sqrt(spread / error), rel=1e-12)


@pytest.mark.parametrize("members", [19, 64])
def test_what_is_drawn_like_the_members_is_covered_as_often_as_it_should_be(members: int):
    """And its spread is its error: both from one normal law, 20,000 of each."""
    rng = np.random.default_rng(2)
    drawn, observed = rng.normal(size=(2000, members, 11, 1)), rng.normal(size=(2000, 11, 1))
    share = ensembles.coverage(drawn, observed).mean()
    assert share == pytest.approx(0.9, abs=4 * math.sqrt(0.09 / 20000) + 0.2 / members**2)
    assert ensembles.spread_skill(drawn, observed) == pytest.approx(1, abs=4 / math.sqrt(2 * 20000))


def test_paths_of_the_true_equation_are_those_of_the_simulator_in_law(data: DynamicsData):
    """Mean and deviation at time 1 from one start, drawn by two ways with noise of their own."""
    start = torch.full((1, 1), 0.4, dtype=torch.float64)
    times = torch.tensor([0.0, 1.0], dtype=torch.float64)
    known = ensembles.true_paths(data, start, times, members=4000, seed=0)[0, :, 1, 0]
    network = true_network(data).double()
    assert known.shape == (4000,)
    drawn = ensembles.learned_paths(network, start, times, members=4000, seed=1)[0, :, 1, 0]
    error = known.std() * math.sqrt(2 / 4000)
    # Euler's own error of a step of 0.05 is below a tenth of the deviation of the mean.
    assert drawn.mean() == pytest.approx(known.mean(), abs=4 * error)
    assert drawn.std() == pytest.approx(known.std(), rel=0.05 + 4 / math.sqrt(2 * 4000))


def test_drawing_in_pieces_gives_as_many_paths(data: DynamicsData, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ensembles, "AT_ONCE", 100)
    start, times = data.test.values[:3, 0].double(), data.test.times[:3].double()
    drawn = ensembles.learned_paths(true_network(data), start, times, members=5, seed=0)
    assert drawn.shape == (3, 5, 3, 1)
    np.testing.assert_allclose(drawn[:, :, 0], np.repeat(start.numpy()[:, None], 5, 1), rtol=1e-6)
    assert len(np.unique(drawn[:, :, 2])) == 15


# Training, evaluation, pictures


@pytest.fixture(scope="module")
def trained(data: DynamicsData, tmp_path_factory: pytest.TempPathFactory) -> DynamicsModule:
    torch.manual_seed(0)
    module = DynamicsModule(NeuralSDENetwork(hidden=(16,)), learning_rate=2e-2, warmup_steps=5, twin=True)
    trainer = Trainer(
        max_epochs=16, enable_checkpointing=False, default_root_dir=tmp_path_factory.mktemp("noise"), **QUIET
    )
    trainer.validate(module, data, verbose=False)
    before = float(trainer.callback_metrics["validation/nll"])
    trainer.fit(module, data)
    after = float(trainer.callback_metrics["validation/nll"])
    assert module.chosen_by == "validation/nll"
    path = tmp_path_factory.mktemp("checkpoint") / "one.ckpt"
    trainer.save_checkpoint(path)
    trainer.validate(DynamicsModule(true_network(data)), data, verbose=False)
    truth = float(trainer.callback_metrics["validation/nll"])
    assert before - after > 0.5 * (before - truth)  # most of the way to the likelihood of the true equation
    return DynamicsModule.from_checkpoint(read_checkpoint(path, app="physics"))


@pytest.fixture(scope="module")
def evaluation(trained: DynamicsModule, data: DynamicsData) -> Evaluation:
    return evaluate(trained, data, name="neural_sde", seed=0, notify=lambda line: None)


def test_distributions_are_scored_by_crps_first(evaluation: Evaluation, data: DynamicsData):
    results = evaluation.results
    others = [PLAIN, "persistence", "linear map", "climatology", "true equation"]
    assert list(results["metrics"]) == ["neural_sde", *others]
    assert next(iter(results["metrics"]["neural_sde"])) == "crps"
    assert "CRPS" in verdict(results)
    ours, plain = results["metrics"]["neural_sde"], results["metrics"][PLAIN]
    unit = data.task.scale[0]
    exact = data.test.values.numpy()
    alone = np.abs(evaluation.predictions[PLAIN].states - exact)[:, 1:].mean() / unit
    assert plain["crps"] == pytest.approx(alone, rel=1e-9)  # of one path it is the absolute error
    members = evaluation.predictions["neural_sde"].members
    assert members is not None
    assert members.shape == (len(exact), ensembles.MEMBERS, len(data.test.times), 1)
    assert ours["crps"] == pytest.approx(ensembles.crps_by_step(members, exact)[:, 1:].mean() / unit, rel=1e-9)
    assert plain["coverage"] is None
    assert "spread_skill" not in plain
    assert "valid_time" not in ours
    assert 0 < ours["noise_error"] < 0.2
    assert plain["drift_error"] > 0
    assert results["better"] | {"spread_skill": 1.0, "coverage": 0.9} == results["better"]
    # The true equation is a yardstick: it is told of, and decides nothing.
    assert "The yardstick true equation, which is given the system's own drift and noise" in verdict(results)
    assert "true equation" not in results["gains"]
    assert "coarse rk4" not in results["metrics"]
    assert results["growth"]["quantity"] == "CRPS, in deviations"


def test_the_true_equation_is_calibrated_and_half_its_noise_is_not():
    """The score is proper: over 60 trajectories too little noise costs more than chance explains."""
    many = noisy_data(samples=200, span=0.2)
    module = DynamicsModule(true_network(many, noise=0.5))
    judge = Judge(many, random=True)
    start, times = many.test.values[:, 0].double(), many.test.times.double()
    possible = judge.score_ensemble(ensembles.true_paths(many, start, times, members=64, seed=0))
    narrow = judge.score_ensemble(
        ensembles.learned_paths(module.network.double(), start, times, members=64, seed=0)  # pyright: ignore[reportArgumentType]
    )
    covered, timid = possible.scores["coverage"], narrow.scores["coverage"]
    assert covered is not None
    assert timid is not None
    error = covered.std() / math.sqrt(len(covered))
    assert covered.mean() == pytest.approx(0.9, abs=4 * error)
    assert timid.mean() < 0.75
    best, worse = possible.crps, narrow.crps
    assert best is not None
    assert worse is not None
    gains = (worse - best)[:, 1:].mean(1)
    assert gains.mean() > 2 * gains.std() / math.sqrt(len(gains))


def test_a_deterministic_network_on_a_random_system_is_scored_alike(data: DynamicsData):
    network = NeuralODENetwork(hidden=(4,))
    module = DynamicsModule(network)
    module.build(data)
    assert module.chosen_by is None
    results = evaluate(module, data, name="neural_ode", seed=0, notify=lambda line: None).results
    ours = results["metrics"]["neural_ode"]
    assert list(ours)[:3] == ["crps", "coverage", "relative_l2"]
    assert ours["coverage"] is None
    assert "noise_error" not in ours


def test_the_pictures_are_drawn(
    evaluation: Evaluation, data: DynamicsData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(ensemble_figures, "PARTICLES", 20)
    run = RunFolder(tmp_path / "run")
    run.figures.mkdir(parents=True)
    draw(evaluation, run, data.task)
    files = [one["file"] for one in read_captions(run.figures)]
    assert files == ["fan.png", "crps.png", "equation.png", "density.png"]
    for file in files:
        assert imread(run.figures / file).std() > 0.01


def test_a_neural_sde_of_a_deterministic_system_is_an_ensemble_too(tmp_path: Path):
    data = DynamicsData("pendulum", samples=8, span=1.0, interval=0.1, fractions=(0.5, 0.25, 0.25))
    data.setup()
    module = DynamicsModule(NeuralSDENetwork(hidden=(4,)))
    module.build(data)
    evaluation = evaluate(module, data, name="neural_sde", seed=0, notify=lambda line: None)
    ours = evaluation.results["metrics"]["neural_sde"]
    assert "noise_error" not in ours
    assert ours["energy_drift"] > 0
    run = RunFolder(tmp_path / "run")
    run.figures.mkdir(parents=True)
    draw(evaluation, run, data.task)
    assert [one["file"] for one in read_captions(run.figures)] == ["fan.png", "crps.png"]


# Use


def test_prediction_draws_a_path_from_each_start(trained: DynamicsModule, tmp_path: Path):
    np.save(tmp_path / "starts.npy", np.full((3, 1), 0.5))
    told: list[str] = []
    made = predict(
        trained,
        input=tmp_path / "starts.npy",
        output=tmp_path / "paths.npy",
        figure=None,
        span=1.0,
        every=0.1,
        notify=told.append,
    )
    assert made.states.shape == (3, 11, 1)
    assert np.abs(np.diff(made.states[:, -1, 0])).min() > 1e-3
    assert any("one path of the many that noise may take" in line for line in told)


def test_derivatives_of_random_paths_are_refused():
    data = noisy_data(samples=6, span=1.0, horizon=0)
    with pytest.raises(InputError, match=r"paths of double_well are driven at random and have no derivatives"):
        DynamicsModule(NeuralODENetwork(hidden=(4,)), match="derivatives").build(data)
