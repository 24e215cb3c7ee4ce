"""Networks that name beats: laws that each keeps, and that each learns what simulated ventricular beats look like."""

from dataclasses import replace

import pytest
import torch
from sklearn.metrics import roc_auc_score

from integrand.apps.application import load
from integrand.apps.medical import APPLICATION
from integrand.apps.medical.beats.batch import BeatBatch, stack
from integrand.apps.medical.beats.data import BeatData
from integrand.apps.medical.beats.models.beat_network import BeatNetwork
from integrand.apps.medical.beats.module import BeatModule
from integrand.core.errors import InputError

SMALL = {
    "s5": {"width": 16, "d_state": 8},
    "linoss": {"width": 16, "d_state": 8},
    "lru": {"width": 16, "d_state": 8},
    "mamba": {"width": 16, "d_state": 4},
    "cfc": {"width": 16},
    "ecg_ode": {"width": 16, "d_state": 8, "hidden": 32},
    "log_ncde": {"width": 16, "d_state": 8, "hidden": 16, "step": 16},
    "resnet": {"width": 16},
}
NAMES = sorted(SMALL)


@pytest.fixture(scope="module")
def data() -> BeatData:
    """Thirty simulated patients, among them many ventricular beats."""
    made = BeatData(patients=30, seconds=60.0, context=16, batch_size=8)
    made.setup()
    return made


@pytest.fixture(scope="module")
def batch(data: BeatData) -> BeatBatch:
    """Three runs of 9, 7 and 4 beats in double precision, one beat of them not usable."""
    whole = [data.part("train")[row] for row in range(3)]
    made = stack([one.between(0, count) for one, count in zip(whole, (9, 7, 4), strict=True)])
    made.mask[0, 3] = False
    return replace(
        made, windows=made.windows.double(), features=made.features.double(), intervals=made.intervals.double()
    )


def built(name: str, data: BeatData, *, causal: bool = False, seed: int = 0) -> BeatNetwork:
    (task,) = [each for each in APPLICATION.tasks if each.name == "beats"]
    torch.manual_seed(seed)
    network = load(task.models[name])(**SMALL[name])  # pyright: ignore[reportCallIssue]
    network.build(replace(data.task, causal=causal))
    return network


def told(name: str, data: BeatData, batch: BeatBatch, **options) -> torch.Tensor:
    return built(name, data, **options).double().eval()(batch)


def near(found: torch.Tensor, expected: torch.Tensor) -> None:
    # ECG-ODE solves systems whose condition is about 1e4, twice: some 1e8 roundings of 2e-16.
    torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-7)


def test_every_network_is_tried():
    (task,) = [each for each in APPLICATION.tasks if each.name == "beats"]
    assert set(SMALL) == set(task.models)


@pytest.mark.parametrize("name", NAMES)
def test_every_beat_has_scores(name: str, data: BeatData, batch: BeatBatch):
    found = told(name, data, batch)
    assert found.shape == (3, 9, 5)
    assert found.isfinite().all()
    assert found[batch.mask].std(0).min() > 0


@pytest.mark.parametrize("name", NAMES)
def test_a_run_alone_equals_it_in_a_batch_with_padding(name: str, data: BeatData, batch: BeatBatch):
    found = told(name, data, batch)
    for row, count in enumerate((9, 7, 4)):
        alone = batch.runs(torch.tensor([row])).between(0, count)
        near(told(name, data, alone)[0], found[row, :count])


@pytest.mark.parametrize("name", NAMES)
def test_a_causal_network_sees_nothing_of_later_beats(name: str, data: BeatData, batch: BeatBatch):
    """By editing the future; the network that reads both ways changes, where it has a memory, so the test can fail."""
    windows, features, intervals = batch.windows.clone(), batch.features.clone(), batch.intervals.clone()
    windows[:, 3:], features[:, 3:], intervals[:, 3:] = -2 * windows[:, 3:].flip(2), 1 - features[:, 3:], 0.4
    edited = replace(batch, windows=windows, features=features, intervals=intervals)
    near(told(name, data, edited, causal=True)[:, :3], told(name, data, batch, causal=True)[:, :3])
    if name != "resnet":
        moved = told(name, data, edited)[:, :3] - told(name, data, batch)[:, :3]
        assert moved.abs().max() > 1e-4


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_finite_and_reach_every_parameter(name: str, data: BeatData, batch: BeatBatch):
    module = BeatModule(built(name, data).double())
    loss, logged = module.loss(batch)
    loss.backward()
    assert loss.isfinite()
    assert ("penalty" in logged) == (name == "ecg_ode")
    for place, parameter in module.network.named_parameters():
        assert parameter.grad is not None, place
        assert parameter.grad.isfinite().all(), place


@pytest.mark.parametrize("name", NAMES)
def test_ventricular_beats_of_new_patients_are_told_after_a_few_dozen_steps(name: str, data: BeatData):
    module = BeatModule(built(name, data))
    optimizer = torch.optim.AdamW(module.parameters(), lr=5e-3)
    part, others = data.part("train"), [data.part(name) for name in ("validation", "test")]
    test = [other[row] for other in others for row in range(len(other))]
    order = torch.Generator().manual_seed(0)
    for _ in range(30):
        rows = torch.randperm(len(part), generator=order)[:6].tolist()
        loss, _ = module.loss(part.__getitems__(rows))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    module.eval()
    with torch.no_grad():
        chances, labels = zip(*((module(run)[run.mask], run.labels[run.mask]) for run in test), strict=True)
    chance, label = torch.cat(chances), torch.cat(labels)
    chosen = (label == 0) | (label == 2)
    assert (label[chosen] == 2).sum() >= 10
    assert roc_auc_score(label[chosen] == 2, chance[chosen, 2]) > 0.95


def test_weights_out_of_range_are_refused():
    network = load("integrand.apps.medical.beats.models.ecg_ode:EcgOdeBeatNetwork")
    with pytest.raises(InputError, match=r"reconstruction=-1 is out of range"):
        network(reconstruction=-1.0)  # pyright: ignore[reportCallIssue]
