"""Couplings against exhaustive search, sorting, POT and the laws that they must keep."""

import itertools
import math
from collections.abc import Callable

import pytest
import torch
from scipy.stats import chisquare, norm
from torch import Tensor

from integrand.core.diffusion.couplings import (
    COUPLINGS,
    ConditionalOptimalTransport,
    Coupling,
    Entropic,
    Independent,
    OptimalTransport,
    coupling,
    squared_distances,
)
from integrand.core.diffusion.sinkhorn import sinkhorn
from integrand.core.errors import InputError

DTYPE = torch.float64


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=DTYPE, generator=torch.Generator().manual_seed(seed))


def cost(x0: Tensor, x1: Tensor) -> float:
    return float((x0 - x1).square().sum())


def least(x0: Tensor, x1: Tensor) -> float:
    """The least cost over every permutation."""
    return min(cost(x0, x1[list(order)]) for order in itertools.permutations(range(len(x0))))


@pytest.mark.parametrize("pair", [Independent(), OptimalTransport(), ConditionalOptimalTransport()], ids=repr)
def test_pairs_are_a_permutation_of_the_source_beside_the_data_as_they_came(pair: Coupling):
    x0, x1 = draw(20, 1, 3, 3), draw(20, 1, 3, 3, seed=1)
    found = pair(x0, x1)
    assert found.x0 is x0
    rows = [[int(row) for row in torch.nonzero((x1 == each).flatten(1).all(1))] for each in found.x1]
    assert sorted(itertools.chain(*rows)) == list(range(20))


def test_independent_leaves_rows_as_they_are():
    x0, x1, c = draw(5, 2), draw(5, 2, seed=1), torch.arange(5)
    assert all(given is found for given, found in zip((x0, x1, c), Independent()(x0, x1, c), strict=True))


@pytest.mark.parametrize("seed", range(5))
def test_optimal_transport_is_the_cheapest_permutation(seed: int):
    x0, x1 = draw(6, 3, seed=seed), 2 + draw(6, 3, seed=seed + 100)
    found = OptimalTransport()(x0, x1)
    assert cost(found.x0, found.x1) == pytest.approx(least(x0, x1), rel=1e-12)


def test_optimal_transport_on_a_line_keeps_the_order():
    x0, x1 = draw(300, 1), 3 * draw(300, 1, seed=1) + 7
    found = OptimalTransport()(x0, x1)
    assert torch.equal(found.x1[x0.squeeze(1).argsort()], x1.sort(dim=0).values)


def test_distances_are_those_of_pairs_also_far_from_the_origin():
    x, y = 1e4 + draw(5, 2, 2), 1e4 + draw(7, 2, 2, seed=1)
    expected = (x.unsqueeze(1) - y.unsqueeze(0)).square().sum((2, 3))
    assert torch.allclose(squared_distances(x, y), expected, rtol=1e-7)
    # In single precision the data themselves are only known to 1e-3 here, and the distances to about as much.
    assert torch.allclose(squared_distances(x.float(), y.float()).double(), expected, rtol=0, atol=0.05)


@pytest.mark.parametrize("epsilon", [0.5, 2.0, 20.0])
def test_sinkhorn_agrees_with_pot(epsilon: float):
    ot = pytest.importorskip("ot")
    costs = squared_distances(draw(30, 2), 1 + draw(40, 2, seed=1))
    ours = sinkhorn(costs, epsilon, tolerance=1e-9, max_iterations=20_000)
    theirs = ot.sinkhorn([], [], costs.numpy(), epsilon, method="sinkhorn_log", stopThr=1e-10, numItermax=20_000)
    assert torch.allclose(ours.weights, torch.from_numpy(theirs), rtol=0, atol=1e-9)


def test_the_plan_has_its_form_and_its_marginals():
    costs = squared_distances(draw(30, 2), draw(40, 2, seed=1))
    plan = sinkhorn(costs, 0.3, tolerance=1e-9, max_iterations=20_000)
    gibbs = ((plan.row_potential[:, None] + plan.column_potential - costs) / 0.3).exp() / (30 * 40)
    assert torch.allclose(plan.weights, gibbs, rtol=1e-9)
    assert torch.allclose(plan.weights.sum(1), torch.full((30,), 1 / 30, dtype=DTYPE), rtol=1e-12)
    assert float((plan.weights.sum(0) - 1 / 40).abs().sum()) == pytest.approx(float(plan.error), rel=1e-3, abs=1e-12)
    assert float(plan.error) <= 1e-9


def test_small_and_large_epsilon_are_optimal_and_independent():
    # Points a unit apart, whose partners lie within a tenth or so: any exchange costs 1 at least, 50 epsilon.
    x0 = torch.cartesian_prod(torch.arange(4.0), torch.arange(2.0)).double()
    x1 = (x0 + 0.05 * draw(8, 2))[torch.randperm(8, generator=torch.Generator().manual_seed(0))]
    costs = squared_distances(x0, x1)
    sharp = sinkhorn(costs, 0.02, tolerance=1e-9)
    assert torch.equal(x1[sharp.weights.argmax(1)], OptimalTransport()(x0, x1).x1)
    assert torch.allclose(sharp.weights.max(1).values, torch.full((8,), 1 / 8, dtype=DTYPE), rtol=1e-9)
    flat = sinkhorn(costs, 1e8)
    assert torch.allclose(flat.weights, torch.full((8, 8), 1 / 64, dtype=DTYPE), rtol=1e-6)


@pytest.mark.parametrize("sigma", [0.5, 1.0, 2.0])
def test_epsilon_of_twice_sigma_squared_is_the_static_bridge_of_normal_distributions(sigma: float):
    """Ends of the bridge from N(-1, 1) to N(1, 1) have the covariance (sqrt(4 + sigma^4) - sigma^2) / 2."""
    places = torch.from_numpy(norm.ppf((torch.arange(400, dtype=DTYPE).numpy() + 0.5) / 400)).unsqueeze(1)
    plan = sinkhorn(squared_distances(places - 1, places + 1), 2 * sigma**2, tolerance=1e-8, max_iterations=5000)
    covariance = float(places.t() @ plan.weights @ places)
    expected = (math.sqrt(4 + sigma**4) - sigma**2) / 2
    # 400 quantiles have a variance of 0.995, and so the plan of them a covariance less by as much or a little more.
    assert covariance == pytest.approx(expected, rel=0.01)


def test_entropic_pairs_are_drawn_from_the_plan():
    """Repeated rows share their plan, so that one batch holds many draws of each row of the plan of five."""
    x0, x1 = draw(5, 2), draw(5, 2, seed=1)
    plan = sinkhorn(squared_distances(x0, x1), 2.0, tolerance=1e-8)
    many = Entropic(2.0, tolerance=1e-6)(x0.repeat(100, 1), x1.repeat(100, 1), None, torch.Generator().manual_seed(0))
    assert torch.equal(many.x0, x0.repeat(100, 1))
    drawn = (many.x1.unsqueeze(1) == x1).all(2).double().view(100, 5, 5).sum(0)
    for row, chances in zip(drawn.numpy(), plan.log_conditional.exp().numpy(), strict=True):
        assert chisquare(row, 100 * chances).pvalue > 1e-4


def test_draws_are_those_of_their_generator():
    x0, x1 = draw(20, 2), draw(20, 2, seed=1)
    first, again = (Entropic()(x0, x1, generator=torch.Generator().manual_seed(3)).x1 for _ in range(2))
    assert torch.equal(first, again)


def test_a_plan_that_is_not_reached_is_told():
    with pytest.raises(InputError, match="after 5 iterations: raise epsilon"):
        Entropic(1e-4, max_iterations=5)(draw(20, 2), draw(20, 2, seed=1))


@pytest.mark.parametrize("shape", [(), (2,)])
def test_whole_numbers_exchange_partners_among_equals_only_and_best(shape: tuple[int, ...]):
    x0, x1 = draw(15, 2), draw(15, 2, seed=1)
    code = torch.tensor([0, 1, 2, 0, 0, 2, 1, 1, 0, 2, 2, 2, 1, 0, 0])
    condition = code if not shape else torch.stack([code, 7 - code], dim=1)
    found = ConditionalOptimalTransport()(x0, x1, condition)
    assert found.condition is condition
    for value in range(3):
        rows = code == value
        # The same points of the source as before, so that given the condition its distribution is what it was.
        assert torch.equal(found.x1[rows].sort(dim=0).values, x1[rows].sort(dim=0).values)
        assert cost(x0[rows], found.x1[rows]) == pytest.approx(least(x0[rows], x1[rows]), rel=1e-12)


def test_the_source_given_a_class_stays_the_source():
    """Classes lie at -4 and 4; optimal transport without regard to them gives each its own half of the source."""
    code = torch.arange(400) % 2
    x0 = draw(400, 2) + 8.0 * code.unsqueeze(1) - 4
    x1 = draw(400, 2, seed=1)
    aware, blind = ConditionalOptimalTransport()(x0, x1, code), OptimalTransport()(x0, x1)
    # Means of 200 standard normal numbers have the standard error 0.07; those of half a normal are 0.8 / sqrt 2.
    for value in (0, 1):
        assert float(aware.x1[code == value].mean(0).abs().max()) < 4 / math.sqrt(200)
        assert float(blind.x1[code == value].mean(0).abs().min()) > 0.4


def test_the_source_given_a_real_condition_stays_nearly_the_source():
    """The condition is the datum's first component: blind optimal transport makes it tell the source's own."""
    x0, x1 = draw(400, 2), draw(400, 2, seed=1)
    condition = x0[:, 0]

    def told(found: Tensor) -> float:
        return float(torch.corrcoef(torch.stack([condition, found[:, 0]]))[0, 1])

    assert told(OptimalTransport()(x0, x1).x1) > 0.9
    heavy = ConditionalOptimalTransport(weight=1e4)(x0, x1, condition)
    assert abs(told(heavy.x1)) < 4 / math.sqrt(400)
    assert cost(x0, heavy.x1) < cost(x0, x1)
    found = ConditionalOptimalTransport(share=0.01)(x0, x1, condition)
    assert abs(told(found.x1)) < 0.3


def test_weights_of_nothing_and_of_everything():
    x0, x1, c = draw(50, 2), draw(50, 2, seed=1), draw(50, 1, seed=2)
    assert torch.equal(ConditionalOptimalTransport(weight=0.0)(x0, x1, c).x1, OptimalTransport()(x0, x1).x1)
    assert torch.equal(ConditionalOptimalTransport(weight=1e12)(x0, x1, c).x1, x1)
    assert torch.equal(ConditionalOptimalTransport()(x0, x1).x1, OptimalTransport()(x0, x1).x1)


@pytest.mark.parametrize("share", [0.03, 0.1, 0.3])
def test_the_weight_found_leaves_the_share_asked_for(share: float):
    x0, x1, c = draw(60, 2), draw(60, 2, seed=1), draw(60, 1, seed=2)
    costs, apart = squared_distances(x0, x1), squared_distances(c, c)
    weight = ConditionalOptimalTransport(share=share)._found(costs, apart)
    left = [
        int((costs + factor * weight * apart.fill_diagonal_(0) <= costs.diagonal().unsqueeze(1)).sum())
        for factor in (1 - 1e-9, 1 + 1e-9)
    ]
    assert left[0] == round(share * 3600)
    assert left[1] == left[0] - 1


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: coupling("optimal"), "did you mean 'optimal_transport'"),
        (lambda: coupling("entropic", sigma=1.0), "unknown option of coupling entropic 'sigma'"),
        (lambda: coupling("independent", epsilon=1.0), "unknown option of coupling independent 'epsilon'"),
        (lambda: Entropic(0.0), "epsilon=0 is out of range"),
        (lambda: ConditionalOptimalTransport(weight=-1.0), "weight=-1 is out of range"),
        (lambda: ConditionalOptimalTransport(share=1.0), "share=1 is out of range"),
        (lambda: sinkhorn(torch.zeros(3), 1.0), "must be a matrix"),
        (lambda: sinkhorn(torch.zeros(3, 3), -1.0), "epsilon=-1 is out of range"),
        (lambda: OptimalTransport()(draw(3, 2), draw(4, 2)), "draw as many"),
        (lambda: OptimalTransport()(draw(3, 2), draw(3, 2), torch.arange(3)), "conditional_optimal_transport"),
        (lambda: Entropic()(draw(3, 2), draw(3, 2), torch.arange(3)), "conditional_optimal_transport"),
        (lambda: Independent()(draw(3, 2), draw(3, 2), torch.arange(2)), "a condition for each of 3"),
        (lambda: OptimalTransport()(draw(3, 2) / 0, draw(3, 2)), "inf or NaN"),
    ],
)
def test_mistakes_are_told_in_one_line(make: Callable[[], object], told: str):
    with pytest.raises(InputError, match=told) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_registry_makes_each_of_them():
    assert set(COUPLINGS) == {"independent", "optimal_transport", "entropic", "conditional_optimal_transport"}
    for name in COUPLINGS:
        assert coupling(name)(draw(4, 2), draw(4, 2, seed=1)).x1.shape == (4, 2)
