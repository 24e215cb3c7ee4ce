"""Disturbances against linear models, of which the worst case is known."""

import math

import pytest
import torch
from torch import Tensor

from integrand.core.analysis import certified_radius, flow_lipschitz, projected_gradient, robustness_audit
from integrand.core.errors import InputError
from integrand.core.fields import MLP, LipschitzMLP
from integrand.core.numerics import solve_ode

F64 = torch.float64


def points(count: int = 50, dim: int = 3) -> Tensor:
    return torch.randn(count, dim, dtype=F64, generator=torch.Generator().manual_seed(0))


WEIGHTS = torch.tensor([[2.0, -1.0, 0.5], [-2.0, 1.0, -0.5]], dtype=F64)
"""Two classes told apart by opposite rows, for which the bound of the radius is no bound but the distance."""


def test_the_certified_radius_of_a_linear_classifier_is_the_distance_to_its_boundary():
    x = points()
    lipschitz = torch.linalg.matrix_norm(WEIGHTS, 2).item()
    normal = WEIGHTS[0] - WEIGHTS[1]
    distance = (x @ normal).abs() / normal.norm()
    torch.testing.assert_close(certified_radius(x @ WEIGHTS.T, lipschitz), distance)


def test_no_attack_within_the_certified_radius_changes_a_class_and_one_beyond_it_does():
    x = points()
    told = (x @ WEIGHTS.T).argmax(1)
    radii = certified_radius(x @ WEIGHTS.T, torch.linalg.matrix_norm(WEIGHTS, 2).item())

    def margin(at: Tensor) -> Tensor:
        logits = at @ WEIGHTS.T
        return -logits.gather(1, told[:, None]).squeeze(1) + logits.gather(1, 1 - told[:, None]).squeeze(1)

    within = projected_gradient(margin, x, 1.0, scale=0.999 * radii[:, None])
    beyond = projected_gradient(margin, x, 1.0, scale=1.001 * radii[:, None])
    assert torch.equal((within @ WEIGHTS.T).argmax(1), told)
    assert torch.equal((beyond @ WEIGHTS.T).argmax(1), 1 - told)


def test_the_bound_of_a_flow_holds_against_attacks():
    """A field of Lipschitz constant 1/2 over time 2 parts points by no more than e, and the read-out by its norm."""
    torch.manual_seed(0)
    field = LipschitzMLP(2, (16, 16), lipschitz=0.5).double()
    read = torch.randn(3, 2, dtype=F64)
    x = points(20, 2)

    def logits(at: Tensor) -> Tensor:
        return solve_ode(field, at, [0.0, 2.0], method="rk4", step_size=0.25).states[:, -1] @ read.T

    told = logits(x).argmax(1)
    bound = flow_lipschitz(0.5, 2.0) * torch.linalg.matrix_norm(read, 2).item()
    radii = certified_radius(logits(x), bound).detach()
    attacked = projected_gradient(
        lambda at: torch.nn.functional.cross_entropy(logits(at), told, reduction="none"), x, 1.0, scale=radii[:, None]
    )
    assert torch.equal(logits(attacked).argmax(1), told)
    assert flow_lipschitz(-0.5, 2.0) == pytest.approx(math.exp(-1))


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_the_attack_on_a_linear_model_is_the_worst_case(norm: str):
    """max w.(x + d) over |d| <= r is w.x + r times the dual norm of w."""
    x, w = points(), torch.tensor([3.0, -4.0, 1.0], dtype=F64)
    worst = projected_gradient(lambda at: at @ w, x, 0.3, norm=norm)  # pyright: ignore[reportArgumentType]
    dual = w.norm() if norm == "l2" else w.abs().sum()
    torch.testing.assert_close(worst @ w, x @ w + 0.3 * dual)


def test_an_attack_stays_within_its_radius_and_is_never_worse_than_nothing():
    torch.manual_seed(0)
    field, x = MLP(3, (16,)).double(), points()

    def loss(at: Tensor) -> Tensor:
        return torch.sin(5 * field(torch.zeros((), dtype=F64), at)).sum(1)

    for norm in ("l2", "linf"):
        found = projected_gradient(loss, x, 0.2, norm=norm)
        size = torch.linalg.vector_norm(found - x, ord=2 if norm == "l2" else math.inf, dim=1)
        assert size.max() <= 0.2 * (1 + 1e-9)
        assert bool((loss(found) >= loss(x)).all())
    still = projected_gradient(loss, x, 0.2, scale=torch.tensor([1.0, 0.0, 1.0], dtype=F64))
    assert torch.equal(still[:, 1], x[:, 1])


def test_noise_adds_its_variance_to_the_error_of_a_linear_model():
    """Against targets off by one: mse 1, and with noise of level s on each channel 1 + s^2 sum w_i^2 var_i."""
    x = points(4000) * torch.tensor([1.0, 10.0, 0.1], dtype=F64)
    w = torch.tensor([1.0, 0.05, 5.0], dtype=F64)
    target = x @ w + 1
    found = robustness_audit(
        lambda x: x @ w, lambda y: (y - target).square().mean().item(), x, noise=(0.1, 0.5), repeats=5
    )
    rows = {(row["disturbance"], row["level"]): row for row in found.rows}
    variance = (w.square() * x.var(0, unbiased=False)).sum().item()
    for level in (0.1, 0.5):
        assert rows["noise", level]["score"] == pytest.approx(1 + level**2 * variance, rel=0.02)
    assert rows["none", 0.0]["score"] == pytest.approx(1)


def test_the_score_under_attack_is_that_of_the_worst_case():
    """Of a linear model whose target is 1 above: the error 1 becomes (1 + r |s w|)^2, s the spread of each channel."""
    x, w = points(200), torch.tensor([3.0, -4.0, 1.0], dtype=F64)
    target = x @ w + 1
    found = robustness_audit(
        lambda x: x @ w,
        lambda y: (y - target).square().mean().item(),
        x,
        loss=lambda y: (y - target).square(),
        attack=(0.1,),
    )
    rows = {str(row["disturbance"]): float(row["score"]) for row in found.rows}
    spread = x.std(0, unbiased=False)
    assert rows["attack, linf"] == pytest.approx((1 + 0.1 * (spread * w).abs().sum().item()) ** 2, rel=1e-9)
    assert rows["attack, l2"] == pytest.approx((1 + 0.1 * math.sqrt(3) * (spread * w).norm().item()) ** 2, rel=1e-9)
    assert found.verdict == "doubtful"  # noise is borne, an attack is not


def test_missing_data_and_moved_times_are_what_they_say():
    x = torch.ones(500, 20, 1, dtype=F64)
    mask = torch.ones(500, 20, dtype=torch.bool)
    mask[:, ::2] = False
    times = torch.linspace(0, 1, 20, dtype=F64)
    seen: list[Tensor] = []

    def ask(x: Tensor, mask: Tensor, times: Tensor) -> Tensor:
        seen.append(times)
        assert not mask[:, ::2].any()
        return mask.double().mean().expand(2)

    found = robustness_audit(ask, lambda y: y.mean().item(), x, better="higher", mask=mask, times=times, repeats=2)
    rows = {(row["disturbance"], row["level"]): float(row["score"]) for row in found.rows}
    for level in (0.1, 0.3, 0.5):
        assert rows["missing", level] == pytest.approx(0.5 * (1 - level), rel=0.05)
    moved = [each for each in seen if not torch.equal(each, times)]
    assert len(moved) == 6
    for each in moved:
        assert bool((each.diff() > 0).all())
        assert torch.equal(each[[0, -1]], times[[0, -1]])
    assert max((each - times).abs().max().item() for each in moved) <= 0.25 / 19 + 1e-12


def test_verdicts_follow_the_loss_of_score():
    x = points(2000)
    w = torch.ones(3, dtype=F64)

    def audit(offset: float) -> str:
        target = x @ w + offset  # the noise of a tenth adds 0.03 to the squared offset
        return robustness_audit(lambda x: x @ w, lambda y: (y - target).square().mean().item(), x).verdict

    assert [audit(offset) for offset in (1.0, 0.4, 0.1)] == ["sound", "doubtful", "flawed"]


def test_the_certified_radius_is_told_where_a_bound_is_given():
    x = points()
    bound = torch.linalg.matrix_norm(WEIGHTS, 2).item()
    told = (x @ WEIGHTS.T).argmax(1)
    found = robustness_audit(
        lambda x: x @ WEIGHTS.T,
        lambda y: (y.argmax(1) == told).double().mean().item(),
        x,
        better="higher",
        lipschitz=bound,
    )
    radii = certified_radius(x @ WEIGHTS.T, bound)
    assert found.numbers["certified radius, least"] == pytest.approx(radii.min().item())
    assert "proved" in found.statement


def test_mistakes_have_one_line():
    x = points()
    with pytest.raises(InputError, match="two classes or more"):
        certified_radius(torch.ones(3, 1), 1.0)
    with pytest.raises(InputError, match="lipschitz=0"):
        certified_radius(torch.ones(3, 2), 0)
    with pytest.raises(InputError, match="one number each"):
        projected_gradient(lambda at: at, x, 1.0)
    with pytest.raises(InputError, match="unknown norm 'l1'"):
        projected_gradient(lambda at: at.sum(1), x, 1.0, norm="l1")  # pyright: ignore[reportArgumentType]
    with pytest.raises(InputError, match="levels must not be negative"):
        robustness_audit(lambda x: x, lambda y: 0.0, x, noise=(-1.0,))
    with pytest.raises(InputError, match="undisturbed input is nan"):
        robustness_audit(lambda x: x, lambda y: math.nan, x)
