"""Segments go to the networks whole, patients apart, and what is said of them rests on what they hold."""

from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from integrand.apps.application import load
from integrand.apps.medical import RHYTHM_NETWORKS
from integrand.apps.medical.rhythm.module import RhythmModule
from integrand.apps.medical.segments.baselines import (
    LEAD,
    LogisticRegression,
    interval_features,
    lead_features,
    shares,
)
from integrand.apps.medical.segments.batch import SegmentBatch
from integrand.apps.medical.segments.data import SegmentData, SegmentsOfPart, batch_of, demand_apart, describe
from integrand.apps.medical.segments.models.interval_network import S5IntervalNetwork
from integrand.apps.medical.segments.models.segment_network import SegmentNetwork
from integrand.apps.medical.segments.scoring import occlusion, segment_scores
from integrand.apps.medical.segments.task import SegmentTask
from integrand.core.errors import InputError
from integrand.datasets.segments import Segments
from integrand.datasets.splits import IndexSplit

RATE = 50.0
SMALL = {
    "s5": {"width": 8, "d_state": 8, "layers": 1},
    "linoss": {"width": 8, "d_state": 8, "layers": 1},
    "mamba": {"width": 8, "d_state": 4, "layers": 1},
    "log_ncde": {"d_state": 4, "hidden": 8, "channels": 3},
    "resnet": {"width": 8, "stages": 2},
    "s5_intervals": {"width": 8, "d_state": 8, "layers": 1},
}


def segments(count: int = 12, *, seconds: float = 4.0, patients: int = 6) -> Segments:
    """Noise of two leads, the second ten times the first; class 1 in every second segment; a beat every 0.5 to 1 s."""
    drawn = np.random.default_rng(0)
    signal = drawn.standard_normal((count, round(seconds * RATE), 2)).astype(np.float32) * np.array([1, 10], "f4")
    labels = np.arange(count)[:, None] % 2 == np.arange(2)
    beats = [np.cumsum(drawn.uniform(0.5, 1.0, 4 + row % 3)) - 0.4 for row in range(count)]
    return Segments(
        signal=signal,
        labels=labels,
        classes=["even", "odd"],
        leads=["II", "V1"],
        rate=RATE,
        records=[f"r{row % patients}" for row in range(count)],
        patients=[f"p{row % patients}" for row in range(count)],
        starts=np.zeros(count),
        ages=np.full(count, np.nan),
        sexes=[""] * count,
        beats=beats,
    )


def task_of(held: Segments, *, several: bool = False) -> SegmentTask:
    return describe(held, range(len(held)), several=several, simulated=True)


def test_a_task_tells_the_scales_of_the_training_part_and_can_be_made_again():
    held = segments()
    task = describe(held, [0, 1, 2], several=False, simulated=True)
    np.testing.assert_allclose(task.size, held.signal[:3].std(axis=(0, 1)), rtol=1e-5)
    assert task.shares == pytest.approx([2 / 3, 1 / 3])
    logs = np.log(np.concatenate([np.diff(each) for each in held.beats[:3]]))
    assert (task.interval_location, task.interval_scale) == pytest.approx((logs.mean(), logs.std()))
    assert SegmentTask(**task.to_dict()) == task


def test_a_class_without_a_training_segment_is_refused():
    with pytest.raises(InputError, match="'odd' holds in no training segment"):
        describe(segments(), [0, 2, 4], several=False, simulated=True)


def test_a_batch_has_unit_deviation_and_the_intervals_between_beats():
    held = segments()
    batch = batch_of(held, task_of(held))
    assert batch.signal.shape == (12, 2, 200)
    torch.testing.assert_close(batch.signal.std(dim=(0, 2)), torch.ones(2), atol=0.01, rtol=0)
    assert batch.labels.tolist() == [0, 1] * 6
    for row, beats in enumerate(held.beats):
        np.testing.assert_allclose(batch.intervals[row, batch.mask[row]].numpy(), np.diff(beats), rtol=1e-5)
    several = batch_of(held, task_of(held, several=True))
    assert several.labels.tolist() == [[1.0, 0.0], [0.0, 1.0]] * 6
    with pytest.raises(InputError, match="where training had"):
        batch_of(replace(held, leads=["V1", "II"]), task_of(held))


def test_noise_and_gain_are_those_of_the_index_and_of_training_alone():
    held = segments()
    task = task_of(held)
    part = SegmentsOfPart(held, task, noise=0.1, gain=0.2, seed=3)
    first, again, later = (part.__getitems__([index]).signal for index in (2, 2, 2 + len(part)))
    assert torch.equal(first, again)
    assert not torch.equal(first, later)
    plain = SegmentsOfPart(held, task).__getitems__([2]).signal
    assert torch.equal(plain, batch_of(held.at([2]), task).signal)
    factor = (first[0] * plain[0]).sum(-1) / (plain[0] ** 2).sum(-1)
    assert ((first[0] - factor[:, None] * plain[0]).std(dim=-1) - 0.1).abs().max() < 0.02


def test_a_patient_in_two_parts_is_refused():
    held = segments()
    with pytest.raises(InputError, match="patient p0 is in the train part and in the test part"):
        demand_apart(held, IndexSplit((0, 1), (2,), (6, 7), {}))


def test_divided_by_patient_each_part_has_every_class_and_no_patient_is_in_two():
    data = SegmentData()
    data.segments = segments(60, patients=15)
    split = data.by_patient(range(60), (0.6, 0.2, 0.2), 0, {})
    demand_apart(data.segments, split)
    for part in ("train", "validation", "test"):
        assert data.segments.at(split.rows(part)).labels.any(axis=0).all()
    assert sorted((*split.train, *split.validation, *split.test)) == list(range(60))


@pytest.mark.parametrize("name", RHYTHM_NETWORKS)
def test_networks_name_each_segment_for_itself_and_every_parameter_learns(name: str):
    torch.manual_seed(0)
    held = segments()
    path, _ = RHYTHM_NETWORKS[name]
    network: SegmentNetwork = load(f"integrand.apps.medical.segments.models.{path}")(**SMALL[name])
    network.build(task_of(held))
    batch = batch_of(held, network.built_for)
    network.train()
    nn.functional.cross_entropy(network(batch), batch.labels).backward()
    lost = [who for who, one in network.named_parameters() if one.grad is None or not one.grad.isfinite().all()]
    assert not lost
    network.eval()
    with torch.no_grad():
        whole = network(batch)
        alone = torch.cat([network(batch_of(held.at([row]), network.built_for)) for row in range(3)])
    assert whole.shape == (12, 2)
    torch.testing.assert_close(whole[:3], alone, atol=1e-5, rtol=1e-4)


def test_intervals_are_all_that_a_network_of_intervals_sees_and_data_without_beats_are_refused():
    held = segments()
    network = S5IntervalNetwork(width=8, d_state=8, layers=1)
    network.build(task_of(held))
    network.eval()
    batch = batch_of(held, network.built_for)
    other = replace(batch, signal=torch.zeros_like(batch.signal))
    with torch.no_grad():
        torch.testing.assert_close(network(batch), network(other))
        longer = torch.nn.functional.pad(batch.intervals, (0, 3), value=0.0)
        padded = replace(batch, intervals=longer, mask=torch.nn.functional.pad(batch.mask, (0, 3)))
        torch.testing.assert_close(network(batch), network(padded), atol=1e-5, rtol=1e-4)
    bare = replace(held, beats=[np.zeros(0)] * len(held))
    with pytest.raises(InputError, match="no beats are marked"):
        S5IntervalNetwork().build(task_of(bare))


class Linear(SegmentNetwork):
    """Scores: nothing, and the sum of the first lead weighed in time."""

    weight: ClassVar[Tensor] = torch.linspace(-1, 2, 200)

    def build_network(self, task: SegmentTask) -> None:
        self.none = nn.Parameter(torch.zeros(()))

    def forward(self, batch: SegmentBatch) -> Tensor:
        score = (batch.signal[:, 0] * self.weight).sum(-1) + self.none
        return torch.stack([torch.zeros_like(score), score], dim=-1)


@pytest.mark.parametrize("several", [False, True])
def test_covering_a_stretch_takes_away_what_it_adds_to_a_linear_score(several: bool):
    held = segments()
    module = RhythmModule(Linear())
    module.network.build(task_of(held, several=several))
    places, weights = occlusion(module, held.at([3]), 1, seconds=1.0)
    x = batch_of(held.at([3]), module.network.built_for).signal[0, 0]
    wanted = [float((x * Linear.weight)[start : start + 50].sum()) for start in range(0, 175, 25)]
    np.testing.assert_allclose(weights, wanted, atol=1e-4)
    np.testing.assert_allclose(places, np.arange(0.5, 4.0, 0.5))


def test_scores_of_many_segments_are_those_of_each():
    held = segments()
    module = RhythmModule(Linear())
    module.network.build(task_of(held))
    found = segment_scores(module, held)
    np.testing.assert_allclose(found[5:6], segment_scores(module, held.at([5])), atol=1e-4)
    assert segment_scores(module, held.at([])).shape == (0, 2)


def test_features_of_intervals_are_their_statistics():
    gaps = np.array([0.8, 1.0, 0.7, 1.2])
    found = interval_features([np.concatenate([[0.3], 0.3 + np.cumsum(gaps)]), np.array([1.0, 2.0])])
    change = np.diff(gaps)
    wanted = [np.log(gaps.mean()), gaps.std() / gaps.mean(), np.sqrt((change**2).mean()) / gaps.mean()]
    np.testing.assert_allclose(found[0, :3], wanted)
    np.testing.assert_allclose(found[0, 3:], [1.0, 0.7 / gaps.mean(), 1.2 / gaps.mean(), np.log(5)])
    assert not found[1].any()


def test_features_of_a_sine_are_its_period_and_its_band():
    t = np.arange(1000) / 100
    found = lead_features(np.sin(2 * np.pi * t / 1.25)[None, :, None] * 0.5, 100.0)
    told = dict(zip(LEAD, found[0], strict=True))
    assert np.exp(told["period"]) == pytest.approx(1.25, abs=0.011)
    assert np.exp(told["deviation"]) == pytest.approx(0.5 / np.sqrt(2), rel=0.01)
    assert told["power_0.5_4"] > np.log(0.99)
    assert told["skewness"] == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("several", [False, True])
def test_logistic_regression_finds_the_odds_that_drew_the_labels(several: bool):
    drawn = np.random.default_rng(0)
    x = drawn.standard_normal((6000, 2))
    true = 1 / (1 + np.exp(-(2 * x[:, 0] - x[:, 1])))
    yes = drawn.random(6000) < true
    labels = np.stack([~yes, yes], axis=1)
    model = LogisticRegression(several=several).fit(x[:4000], labels[:4000], x[4000:], labels[4000:])
    found = model.predict(x)
    # Three parameters of 4,000 samples err by about the root of 3 / 4,000 times the mean variance of a label, 0.011.
    assert np.sqrt(((found[:, 1] - true) ** 2).mean()) < 0.03
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=0.02)


def test_shares_are_those_of_training():
    np.testing.assert_allclose(shares(np.array([[1, 0], [1, 0], [0, 1]], bool), 2), [[0.6, 0.4], [0.6, 0.4]])
