"""Contraction: measures against eigenvalues, certificates against solutions, and violations that are planted."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from integrand.core.analysis import certified_rate, contraction_finding, contraction_rate, find_counterexample
from integrand.core.analysis.layered_bounds import measure_bound
from integrand.core.analysis.layered_network import read_layers
from integrand.core.errors import InputError
from integrand.core.fields import (
    MLP,
    ContractiveField,
    GradientFlow,
    InputConvex,
    Linear,
    LyapunovStableField,
    MonotoneField,
    Relaxation,
)
from integrand.core.layers import EquilibriumRNN

F64 = torch.float64


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=F64)


def scaled(field: nn.Module, factor: float) -> nn.Module:
    with torch.no_grad():
        for parameter in field.double().parameters():
            parameter.mul_(factor)
    return field


class Tight(nn.Module):
    """y' = -c y + (A - A^T) y - tanh(y): far from the origin solutions come together at the rate c and no faster."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate, self.dim = rate, 3
        self.a = nn.Parameter(draw(3, 3))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return -self.rate * y + y @ (self.a.T - self.a) - torch.tanh(y)


def test_the_measure_of_a_linear_field_is_that_of_its_matrix_in_any_metric():
    """Against P^(1/2) by its eigenvectors, in numpy."""
    field, p = Linear(4), draw(4, 4)
    p = p @ p.T + 0.1 * torch.eye(4, dtype=F64)
    a = field.matrix.detach().double().numpy()
    plain = np.linalg.eigvalsh((a + a.T) / 2)[-1]
    values, vectors = np.linalg.eigh(p.numpy())
    root = vectors @ np.diag(np.sqrt(values)) @ vectors.T
    moved = root @ a @ np.linalg.inv(root)
    found = contraction_rate(field, draw(5, 4))
    torch.testing.assert_close(found, torch.full((5,), plain, dtype=F64), rtol=1e-10, atol=1e-10)
    found = contraction_rate(field, draw(5, 4), metric=p)
    known = np.linalg.eigvalsh((moved + moved.T) / 2)[-1]
    torch.testing.assert_close(found, torch.full((5,), known, dtype=F64), rtol=1e-8, atol=1e-8)


def test_the_measure_is_the_rate_at_which_close_solutions_part():
    """In the worst direction, of the distance of two solutions over a short time."""

    def field(t: Tensor, y: Tensor) -> Tensor:
        return torch.stack([y[:, 1], (1 - y[:, 0] ** 2) * y[:, 1] - y[:, 0]], -1)

    states = draw(20, 2)
    found = contraction_rate(field, states)
    angles = torch.linspace(0, math.pi, 721, dtype=F64)
    ways, time = torch.stack([angles.cos(), angles.sin()], 1), torch.zeros(())
    for state, mu in zip(states, found, strict=True):
        h, tiny = 1e-5, 1e-6
        near = state + tiny * ways
        parted = (near + h * field(time, near)) - (state + h * field(time, state[None]))
        assert ((parted.norm(dim=1) / tiny - 1) / h).max().item() == pytest.approx(mu.item(), abs=2e-3)


def test_each_state_has_its_own_time():
    found = contraction_rate(lambda t, y: -t.view(-1, 1) * y, draw(3, 2), times=torch.tensor([1.0, 2.0, 3.0]))
    assert found.tolist() == [-1.0, -2.0, -3.0]


@pytest.mark.parametrize(
    ("seed", "options"),
    [
        (0, {"hidden": 4}),
        (1, {"hidden": 32, "rate": 0.3}),
        (2, {"hidden": 64}),
        (3, {"hidden": 16, "metric": True}),
        (4, {"hidden": 16, "activation": "softplus"}),
        (5, {"hidden": 8, "rate": 5.0, "metric": True, "activation": "elu"}),
    ],
)
def test_no_counterexample_is_found_in_10000_pairs_of_a_contractive_field(seed: int, options: dict):
    torch.manual_seed(seed)
    field = scaled(ContractiveField(3, **options), 1.5)
    proof = certified_rate(field)
    assert proof is not None
    assert proof.rate == options.get("rate", 1.0)
    assert find_counterexample(field, proof.rate, metric=proof.metric, seed=seed, solved=4) is None
    assert float(contraction_rate(field, draw(500, 3), metric=proof.metric).max()) <= -proof.rate + 1e-9


def test_a_field_in_single_precision_is_not_blamed_for_its_rounding():
    field = ContractiveField(3, 16, metric=True)
    with torch.no_grad():
        field.root.mul_(10)  # pyright: ignore[reportOptionalMemberAccess]
    proof = certified_rate(field)
    assert proof is not None
    assert proof.metric is not None
    assert proof.metric.dtype is F64
    assert find_counterexample(field, proof.rate, metric=proof.metric, solved=4) is None


def test_a_rate_that_is_one_in_twenty_too_high_is_found_and_the_true_one_is_not_doubted():
    field = Tight(2.0)
    assert find_counterexample(field, 2.0, span=20.0, solved=8) is None
    found = find_counterexample(field, 2.0 * 1.05, span=20.0)
    assert found is not None
    assert 2.0 - 1e-9 <= found.rate < 2.1
    apart = found.first - found.second
    slopes = field(torch.zeros(()), torch.stack([found.first, found.second])).detach()
    assert found.rate == pytest.approx(float(-(apart @ (slopes[0] - slopes[1])) / (apart @ apart)), rel=1e-9)


def test_a_small_ball_in_which_solutions_part_is_found():
    """A bump of radius 0.3 in a square of side 6 takes 3 % of its area."""

    def field(t: Tensor, y: Tensor) -> Tensor:
        away = y - torch.tensor([1.5, -1.0], dtype=y.dtype)
        return -y + 3 * away * torch.exp(-away.square().sum(1, keepdim=True) / 0.3**2)

    found = find_counterexample(field, 0.5, centre=torch.zeros(2, dtype=F64))
    assert found is not None
    assert found.rate == pytest.approx(-2.0, abs=0.05)  # the bump's slope at its centre, less 1
    assert (found.first - torch.tensor([1.5, -1.0])).norm() < 0.3
    calm = find_counterexample(field, 0.5, centre=torch.tensor([-2.0, 2.0], dtype=F64), span=0.5, solved=0)
    assert calm is None


def test_solutions_are_followed_where_their_first_moment_shows_nothing():
    """A field whose contraction ends at time 1: at time 0 it is right, along solutions it is not."""
    found = find_counterexample(
        lambda t, y: -torch.where(t < 1, 1.0, 0.2) * y, 1.0, centre=torch.zeros(2, dtype=F64), duration=3.0
    )
    assert found is not None
    assert found.time == pytest.approx(3.0)
    assert found.rate == pytest.approx((1 + 0.2 * 2) / 3, rel=1e-3)


def test_of_a_linear_field_the_certificate_comes_close_to_its_slowest_decay():
    """A matrix far from normal, whose measure in Euclid's norm is positive."""
    field = Linear(3, bias=False).double()
    with torch.no_grad():
        field.matrix.copy_(torch.tensor([[-1.0, 8.0, 0.0], [0.0, -1.5, 5.0], [0.0, 0.0, -2.0]]))
    proof = certified_rate(field)
    assert proof is not None
    assert proof.metric is not None
    assert float(contraction_rate(field, draw(1, 3))) > 0
    assert 0.95 < proof.rate <= 1.0
    assert find_counterexample(field, proof.rate, metric=proof.metric, pairs=1000) is None
    with torch.no_grad():
        field.matrix[0, 0] = 0.01
    assert certified_rate(field) is None


def test_of_a_normal_matrix_the_certificate_is_its_slowest_decay():
    field = Linear(2, bias=False).double()
    with torch.no_grad():
        field.matrix.copy_(torch.tensor([[-0.7, 3.0], [-3.0, -0.7]], dtype=F64))
    proof = certified_rate(field)
    assert proof is not None
    assert proof.rate == pytest.approx(0.7, rel=1e-9)
    assert proof.rate <= 0.7


def relaxing(weights: float, *, depth: int = 1) -> Relaxation:
    hidden = [each for _ in range(depth - 1) for each in (nn.Linear(8, 8), nn.Tanh())]
    cell = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), *hidden, nn.Linear(8, 3))
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.mul_(weights)
    return Relaxation(cell, time_constant=0.5)


CERTIFIED = {
    "relaxation": lambda: relaxing(1.2),
    "deep relaxation": lambda: relaxing(1.0, depth=2),
    "relaxation of what is not dense": lambda: Relaxation(nn.Sequential(nn.Softsign(), nn.Linear(3, 3), nn.Sigmoid())),
    "monotone": lambda: MonotoneField(3, activation="tanh"),
    "monotone, small margin": lambda: MonotoneField(3, margin=0.5),
    "convex": lambda: GradientFlow(3, energy=InputConvex(3, (8,))),
}


@pytest.mark.parametrize("name", CERTIFIED)
def test_what_is_certified_has_no_counterexample(name: str):
    field = CERTIFIED[name]().double()
    proof = certified_rate(field, steps=30)
    assert proof is not None
    assert proof.rate >= 0
    how = {"metric": proof.metric, "centre": torch.zeros(3, dtype=F64)}
    assert find_counterexample(field, proof.rate, pairs=2000, solved=8, **how) is None
    assert float(contraction_rate(field, draw(300, 3), metric=proof.metric).max()) <= -proof.rate + 1e-10


def test_a_certificate_is_not_far_from_what_solutions_do():
    """Where solutions of the middle slopes come together at 1.7 or faster, a proof of a hundredth would say little."""
    field = relaxing(1.2).double()
    proof = certified_rate(field, steps=60)
    assert proof is not None
    measured = -float(contraction_rate(field, 0.5 * draw(1000, 3), metric=proof.metric).max())
    assert 0.5 * measured < proof.rate <= measured


def test_of_a_contractive_field_the_ranges_of_slopes_alone_prove_its_rate():
    """Its parametrisation is not used: the same field as a relaxation of a dense network is proved by multipliers."""
    field = ContractiveField(3, 8, rate=2.0).double()
    net = read_layers(field)
    assert net is not None
    with torch.no_grad():
        assert -measure_bound(net, net.slopes(), steps=300) > 1.9


@pytest.mark.parametrize(
    "field",
    [MLP(3, (8,)), LyapunovStableField(3, (8,)), Linear(3), relaxing(20.0), Relaxation(nn.LayerNorm(3)), nn.Tanh()],
    ids=lambda field: type(field).__name__,
)
def test_what_is_not_known_to_contract_has_no_certificate(field: nn.Module):
    if isinstance(field, Linear):
        field.matrix.data[0] = 0.0  # a direction in which nothing moves
    assert certified_rate(field) is None
    assert certified_rate(lambda t, y: -y) is None


def test_an_equilibrium_network_contracts_as_its_field_in_units_of_its_time_constant():
    layer = EquilibriumRNN(2, d_state=3, time_constant=0.25)
    whole, field = certified_rate(layer, steps=0), certified_rate(layer.field, steps=0)
    assert whole is not None
    assert field is not None
    assert whole.rate == pytest.approx(4 * field.rate)


def test_the_finding_says_what_is_certain_what_was_measured_and_what_expands():
    states = draw(50, 3)
    sound = contraction_finding(ContractiveField(3, 8, rate=2.0), states, interval=0.5)
    assert sound.verdict == "sound"
    assert "at the rate 2 or faster, and over a time of 0.5 an error becomes 0.368 times" in sound.statement
    assert sound.numbers["certified error factor"] == pytest.approx(math.exp(-1))
    measured = contraction_finding(lambda t, y: -2 * y, states)
    assert measured.verdict == "told"
    assert measured.statement.startswith("Measured at 50 states, not certified")
    assert measured.numbers["error factor"] == pytest.approx(math.exp(-2))
    expands = contraction_finding(lambda t, y: y * torch.tensor([-1.0, 0.5, -2.0], dtype=F64), states, interval=2.0)
    assert expands.verdict == "told"
    assert expands.statement.startswith("Solutions may part: at 100% of 50 states")
    assert expands.numbers["error factor"] == pytest.approx(math.e)
    in_metric = contraction_finding(ContractiveField(3, 8, metric=True), states)
    assert "in the metric of the certificate" in in_metric.statement
    assert in_metric.numbers["certified error factor, Euclidean"] > in_metric.numbers["certified error factor"]


def test_a_certificate_that_measurements_contradict_is_called_flawed():
    """As by a field of that name whose evaluation was replaced, so that it grows."""
    field = ContractiveField(3, 8, rate=3.0)
    assert contraction_finding(field, draw(20, 3)).verdict == "sound"
    handle = field.register_forward_hook(lambda module, given, value: -value)
    assert contraction_finding(field, draw(20, 3)).verdict == "told"  # with a hook nothing is certified
    handle.remove()
    field.forward = lambda t, y, u=None: y  # pyright: ignore[reportAttributeAccessIssue]
    told = contraction_finding(field, draw(20, 3))
    assert told.verdict == "flawed"
    assert "should come together at the rate 3" in told.statement


def test_it_is_there_in_inference_mode_and_leaves_weights_alone():
    field = ContractiveField(2, 8)
    before = [each.detach().clone() for each in field.parameters()]
    with torch.inference_mode():
        assert float(contraction_rate(field, torch.randn(5, 2)).max()) < -0.99
        assert find_counterexample(field, 1.0, pairs=100, solved=4) is None
    assert all(torch.equal(a, b) for a, b in zip(before, field.parameters(), strict=True))
    assert all(each.grad is None and each.dtype is torch.float32 for each in field.parameters())


def test_mistakes_have_one_line():
    with pytest.raises(InputError, match="not positive definite"):
        contraction_rate(lambda t, y: -y, draw(3, 2), metric=-torch.eye(2))
    with pytest.raises(InputError, match="not a symmetric"):
        contraction_rate(lambda t, y: -y, draw(3, 2), metric=torch.eye(3))
    with pytest.raises(InputError, match="times must be one for all"):
        contraction_rate(lambda t, y: -y, draw(3, 2), times=torch.zeros(2))
    with pytest.raises(InputError, match="the field gives 1 slopes"):
        contraction_rate(lambda t, y: y[:, :1], draw(3, 2))
    with pytest.raises(InputError, match="give centre"):
        find_counterexample(lambda t, y: -y, 1.0)
    with pytest.raises(InputError, match="out of range"):
        find_counterexample(lambda t, y: -y, 1.0, pairs=0)
    with pytest.raises(InputError, match="interval=0"):
        contraction_finding(lambda t, y: -y, draw(3, 2), interval=0)
