"""Imputation as an application: its data, every network by name, its checkpoints and its evaluation."""

import inspect
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from lightning import Trainer
from matplotlib.image import imread

from integrand.apps.application import load
from integrand.apps.timeseries import APPLICATION
from integrand.apps.timeseries.imputation.data import ImputationData
from integrand.apps.timeseries.imputation.evaluation import evaluate
from integrand.apps.timeseries.imputation.figures import draw
from integrand.apps.timeseries.imputation.models.imputer import LEAST_STD, Imputer
from integrand.apps.timeseries.imputation.models.sequence_imputers import S5Imputer
from integrand.apps.timeseries.imputation.module import ImputationModule
from integrand.apps.timeseries.network import GaussianAnswer
from integrand.apps.training.checkpoints import read_checkpoint
from integrand.apps.training.figures import read_captions
from integrand.apps.training.run_folder import RunFolder
from integrand.core.errors import InputError
from integrand.datasets.irregular import IrregularBatch
from integrand.datasets.splits import PARTS

MODELS = APPLICATION.task("imputation").models
SMALL: dict[str, Any] = {"width": 8, "d_state": 8, "hidden": 8, "latent": 4, "d_time": 8, "layers": 1, "steps": 4}
QUIET: dict[str, Any] = {
    "accelerator": "cpu",
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "num_sanity_val_steps": 0,
}
SOME = [0, 50, 130, 333, 480]


def small_data(path: Path, **options: Any) -> ImputationData:
    data = ImputationData(str(path), **{"group_column": "site", "window": 24, "batch_size": 16} | options)
    data.setup()
    return data


def small_network(name: str, data: ImputationData) -> Imputer:
    """A network of a few units, away from starts at zero, which hide what does not matter yet."""
    torch.manual_seed(0)
    kind = load(MODELS[name])
    made = kind(**{key: value for key, value in SMALL.items() if key in inspect.signature(kind).parameters})
    made.build(data.task)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return made


@pytest.fixture(scope="module")
def data(small_csv: Path) -> ImputationData:
    return small_data(small_csv)


@pytest.fixture(scope="module")
def ragged(small_csv: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small table with a third of its rows gone, so that windows are of unequal length."""
    path = tmp_path_factory.mktemp("ragged") / "ragged.csv"
    pd.read_csv(small_csv, dtype=str, keep_default_na=False).sample(frac=0.67, random_state=0).to_csv(path, index=False)
    return path


@pytest.fixture(params=MODELS)
def network(request: pytest.FixtureRequest, data: ImputationData) -> Imputer:
    return small_network(request.param, data)


# The data


def test_the_table_is_cut_into_windows_by_parts(data: ImputationData, small_csv: Path):
    assert (data.task.channels, data.task.time_unit, data.task.resolution) == (["level", "flow"], "h", 1.0)
    assert (data.task.window, data.task.periods, data.task.groups) == (24.0, [24.0], ["north", "south"])
    assert data.block == 6.0
    # Of 400 hours 280, 40 and 80: a window an hour, and tiles of a day, at two sites.
    assert [len(data.windows(part)) for part in PARTS] == [2 * 256, 2 * 2, 2 * 4]
    # A seed of training changes what training hides, and nothing of what is asked in the other parts.
    other = small_data(small_csv, seed=7)
    for part in PARTS:
        one, two = (d.windows(part)[1].target_mask for d in (data, other))
        assert one is not None
        assert two is not None
        assert torch.equal(one, two) == (part != "train")
    assert other.split.hash == data.split.hash
    assert small_data(small_csv, share=(0.3, 0.3)).split.hash != data.split.hash


def test_scales_are_those_of_the_training_part(data: ImputationData, small_csv: Path, tmp_path: Path):
    table = pd.read_csv(small_csv)
    late = pd.to_datetime(table["time"]) >= pd.Timestamp("2020-03-01", tz="UTC") + pd.Timedelta(hours=0.7 * 399)
    np.testing.assert_allclose(data.task.location, table.loc[~late, ["level", "flow"]].mean(), rtol=1e-5)
    np.testing.assert_allclose(data.task.scale, table.loc[~late, ["level", "flow"]].std(ddof=0), rtol=1e-5)
    table.loc[late, ["level", "flow"]] *= 1000
    table.to_csv(tmp_path / "loud.csv", index=False)
    assert small_data(tmp_path / "loud.csv").task == data.task


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"window": 0}, "data.window=0 is out of range: it must be positive"),
        ({"block": -1.0}, "data.block=-1.0 is out of range"),
        ({"stride": 0}, "data.stride=0"),
        ({"hide": "rwos"}, "unknown pattern of hidden values 'rwos': did you mean 'rows'"),
        ({"share": (0.5, 1.5)}, "0 < low <= high < 1"),
        ({"window": 1000}, "shorter than the 1000 h window"),
        ({"group_column": "sit"}, "did you mean 'site'"),
        ({"protocol": "as-published"}, "no protocol is published"),
        ({"split_by": "series"}, "2 series do not give each of three parts one"),
    ],
)
def test_bad_options_are_named(small_csv: Path, options: dict[str, Any], told: str):
    with pytest.raises(InputError) as caught:
        small_data(small_csv, **options)
    assert told in str(caught.value)


# The networks


def test_every_parameter_receives_a_gradient(network: Imputer, data: ImputationData):
    loss, logged = ImputationModule(network).train().loss(data.windows("train").__getitems__(SOME))
    loss.backward()
    assert bool(loss.isfinite())
    assert float(logged["crps"].detach()) > 0
    idle = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    assert idle == []


def test_answers_are_finite_at_every_row_even_far_from_the_data(network: Imputer, data: ImputationData):
    batch = data.windows("train").__getitems__(SOME)
    assert batch.target is not None
    unseen = replace(batch, values=torch.zeros_like(batch.values), mask=torch.zeros_like(batch.mask))
    for one in (batch, replace(batch, values=50 * batch.values), unseen):
        answer = network.eval()(one)
        assert answer.mean.shape == answer.std.shape == batch.target.shape
        assert bool(answer.mean.isfinite().all())
        assert bool(answer.std.isfinite().all())
        assert float(answer.std.min()) >= LEAST_STD


def test_what_is_hidden_does_not_reach_the_answer(network: Imputer, data: ImputationData):
    """Other values under the hidden cells of the table, from the table on: the same answer."""
    test = data.windows("test")
    index = list(range(len(test)))
    batch = test.__getitems__(index)
    assert batch.target_mask is not None
    rows = test.cuts.rows
    kept = rows.values.copy()
    for k in index:
        first = test.cuts.first[k]
        hidden = batch.target_mask[k, : batch.lengths[k]].numpy()
        rows.values[first : first + len(hidden)][hidden] = 77.0
    other = test.__getitems__(index)
    rows.values[:] = kept
    assert other.target is not None
    assert bool((other.target[batch.target_mask] == 77).all())
    ours, theirs = network.eval()(batch), network(other)
    assert torch.equal(ours.mean, theirs.mean)
    assert torch.equal(ours.std, theirs.std)


def assert_same(ours: GaussianAnswer, theirs: GaussianAnswer, rows: Any) -> None:
    torch.testing.assert_close(ours.mean[rows], theirs.mean, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ours.std[rows], theirs.std, rtol=1e-4, atol=1e-5)


def test_padding_changes_nothing(network: Imputer, ragged: Path):
    """A batch of unequal windows, with rows of padding besides, answers as its windows one by one."""
    train = small_data(ragged).windows("train")
    batch = train.__getitems__([0, 40, 90, 200])
    assert len(set(batch.lengths.tolist())) > 1
    more = {}
    for name in ("values", "mask", "times", "target", "target_mask", "target_times"):
        value = getattr(batch, name)
        last = value[:, -1:] if name.endswith("times") else torch.zeros_like(value[:, -1:])
        more[name] = torch.cat([value, last.expand(-1, 5, *value.shape[2:])], dim=1)
    padded: IrregularBatch = replace(batch, **more).check()
    answer = network.eval()(padded)
    for place, index in enumerate([0, 40, 90, 200]):
        alone = train[index]
        assert_same(answer, network(alone), (slice(place, place + 1), slice(0, int(alone.lengths[0]))))


def test_a_row_knows_what_comes_before_it_and_what_comes_after(network: Imputer, data: ImputationData):
    """From the first observation of a window to the last: each has a derivative in the answer amid them."""
    batch = data.windows("test").__getitems__([0])
    values = batch.values.clone().requires_grad_()
    network.eval()(replace(batch, values=values)).mean[0, batch.times.shape[1] // 2].sum().backward()
    assert values.grad is not None
    assert bool((values.grad[0].abs().sum(-1) > 0)[batch.mask[0].any(-1)].all())


def test_other_query_times_are_refused(data: ImputationData):
    batch = data.windows("test").__getitems__([0])
    with pytest.raises(InputError, match="answers at the rows of its window"):
        small_network("s5", data)(replace(batch, target_times=batch.times[:, :3]))


# Training


def test_training_learns_and_its_checkpoint_answers_alike(data: ImputationData, tmp_path: Path):
    torch.manual_seed(0)
    module = ImputationModule(S5Imputer(width=8, d_state=8, hidden=8, layers=1), learning_rate=1e-2, warmup_steps=0)
    trainer = Trainer(max_steps=40, default_root_dir=tmp_path, **QUIET)
    trainer.validate(module, data, verbose=False)
    before = float(trainer.callback_metrics["validation/crps"])
    trainer.fit(module, data)
    assert float(trainer.callback_metrics["validation/crps"]) < 0.9 * before
    trainer.save_checkpoint(tmp_path / "mine.ckpt")
    loaded = ImputationModule.from_checkpoint(read_checkpoint(tmp_path / "mine.ckpt", app="timeseries"))
    assert loaded.network.built_for == data.task
    batch = data.windows("test").__getitems__([0, 1, 2])
    with torch.no_grad():
        ours, theirs = module.eval()(batch), loaded(batch)
    assert torch.equal(ours.mean, theirs.mean)
    assert torch.equal(ours.std, theirs.std)


# The evaluation


def test_the_evaluation_is_that_by_hand_and_leaves_pictures(ragged: Path, tmp_path: Path):
    data = small_data(ragged)
    network = small_network("s5", data)
    evaluation = evaluate(ImputationModule(network), data, name="s5", seed=3, notify=lambda line: None)
    results = evaluation.results
    assert list(results["metrics"]) == ["s5", "training mean", "last value", "linear interpolation", "ridge"]
    assert (results["task"], results["seed"], results["split_hash"]) == ("imputation", 3, data.split.hash)
    test = data.windows("test")
    batch = test.__getitems__(list(range(len(test))))
    assert batch.target is not None
    assert batch.target_mask is not None
    answer = network.eval()(batch)
    asked = batch.target_mask
    error = (answer.mean - batch.target)[asked].detach().double()
    assert results["metrics"]["s5"]["mae"] == pytest.approx(float(error.abs().mean()), rel=1e-5)
    assert results["metrics"]["s5"]["mse"] == pytest.approx(float((error**2).mean()), rel=1e-5)
    inside = error.abs() <= 1.6448536269514722 * answer.std[asked]
    assert results["metrics"]["s5"]["coverage"] == pytest.approx(float(inside.double().mean()), rel=1e-6)
    mean = batch.target[asked].double()
    assert results["metrics"]["training mean"]["mse"] == pytest.approx(float((mean**2).mean()), rel=1e-5)
    assert all(int(one.sums["count"].sum()) == int(asked.sum()) for one in evaluation.scores.values())

    run = RunFolder(tmp_path / "run")
    run.figures.mkdir(parents=True)
    draw(evaluation, run, data.task)
    captions = read_captions(run.figures)
    assert captions[0]["file"] == "imputations.png"
    for one in captions:
        assert imread(run.figures / one["file"]).std() > 0.01
