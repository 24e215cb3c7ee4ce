"""Fixed points against closed forms: where they are, their eigenvalues, and what they are called."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from integrand.core.analysis import fixed_points, fixed_points_finding
from integrand.core.errors import InputError
from integrand.core.fields import MLP, GRUField, Relaxation
from integrand.core.layers import EquilibriumRNN

F64 = torch.float64


def grid(low: float, high: float, count: int, dim: int) -> Tensor:
    axis = torch.linspace(low, high, count, dtype=F64)
    return torch.cartesian_prod(*[axis] * dim).view(-1, dim)


def lorenz(t: Tensor, y: Tensor) -> Tensor:
    a, b, c = y.unbind(-1)
    return torch.stack([10 * (b - a), a * (28 - c) - b, a * b - 8 / 3 * c], -1)


def lotka_volterra(t: Tensor, y: Tensor) -> Tensor:
    prey, hunters = y.unbind(-1)
    return torch.stack([1.5 * prey - prey * hunters, prey * hunters - 3 * hunters], -1)


def pendulum(friction: float):
    return lambda t, y: torch.stack([y[:, 1], -torch.sin(y[:, 0]) - friction * y[:, 1]], -1)


def test_lotka_volterra_has_a_saddle_at_nothing_and_a_centre_at_the_balance():
    """Eigenvalues 1.5 and -3, and +- i sqrt(1.5 * 3)."""
    found = fixed_points(lotka_volterra, grid(-0.5, 5.0, 8, 2))
    assert len(found.points) == 2
    order = found.points[:, 0].argsort()
    torch.testing.assert_close(found.points[order], torch.tensor([[0, 0], [3.0, 1.5]], dtype=F64), rtol=0, atol=1e-10)
    assert [found.kinds[i] for i in order] == ["saddle", "centre (linear)"]
    nothing, balance = found.eigenvalues[order]
    np.testing.assert_allclose(nothing.numpy(), [1.5, -3], atol=1e-9)
    np.testing.assert_allclose(
        sorted(balance.numpy(), key=lambda v: v.imag), [-1j * math.sqrt(4.5), 1j * math.sqrt(4.5)], atol=1e-9
    )
    assert bool((found.residuals < 1e-10).all())


def test_a_pendulum_rests_below_and_above():
    """Below l = -c/2 +- i sqrt(1 - c^2/4), above l = -c/2 +- sqrt(1 + c^2/4)."""
    c = 0.5
    found = fixed_points(pendulum(c), grid(-4.0, 4.0, 9, 2), radius=1.0)
    order = found.points[:, 0].argsort()
    torch.testing.assert_close(
        found.points[order], torch.tensor([[-math.pi, 0], [0, 0], [math.pi, 0]], dtype=F64), rtol=0, atol=1e-9
    )
    assert [found.kinds[i] for i in order] == ["saddle", "stable focus", "saddle"]
    below, above = found.eigenvalues[order[1]], found.eigenvalues[order[2]]
    assert sorted(below.imag.tolist()) == pytest.approx([-math.sqrt(1 - c * c / 4), math.sqrt(1 - c * c / 4)])
    assert below.real.tolist() == pytest.approx([-c / 2, -c / 2])
    assert above.real.tolist() == pytest.approx([-c / 2 + math.sqrt(1 + c * c / 4), -c / 2 - math.sqrt(1 + c * c / 4)])
    assert fixed_points(pendulum(0.0), torch.zeros(1, 2, dtype=F64)).kinds == ("centre (linear)",)
    assert fixed_points(pendulum(3.0), torch.zeros(1, 2, dtype=F64)).kinds == ("stable node",)
    assert fixed_points(pendulum(-0.5), torch.zeros(1, 2, dtype=F64)).kinds == ("unstable focus",)
    assert fixed_points(pendulum(-3.0), torch.zeros(1, 2, dtype=F64)).kinds == ("unstable node",)


def test_lorenz_63_has_three_whose_eigenvalues_are_roots_of_its_characteristic_polynomials():
    """At the origin -8/3 and (-11 +- sqrt(1201)) / 2; at C+-: l^3 + 41/3 l^2 + 304/3 l + 1440 = 0."""
    starts = 20 * torch.randn(60, 3, dtype=F64, generator=torch.Generator().manual_seed(0))
    found = fixed_points(lorenz, starts)
    order = found.points[:, 0].argsort()
    side = math.sqrt(8 / 3 * 27)
    known = torch.tensor([[-side, -side, 27], [0, 0, 0], [side, side, 27]], dtype=F64)
    torch.testing.assert_close(found.points[order], known, rtol=0, atol=1e-9)
    assert [found.kinds[i] for i in order] == ["saddle"] * 3
    by_real = [np.sort_complex(found.eigenvalues[i].numpy()) for i in order]
    np.testing.assert_allclose(
        by_real[1], np.sort([(-11 - math.sqrt(1201)) / 2, -8 / 3, (-11 + math.sqrt(1201)) / 2]), atol=1e-8
    )
    roots = np.sort_complex(np.roots([1, 41 / 3, 304 / 3, 1440]))
    np.testing.assert_allclose(by_real[0], roots, atol=1e-8)
    np.testing.assert_allclose(by_real[2], roots, atol=1e-8)
    assert sorted(set(found.basins.tolist())) == [0, 1, 2]


def test_a_double_well_has_two_nodes_and_what_parts_them():
    found = fixed_points(lambda t, y: y - y**3, torch.linspace(-2, 2, 41, dtype=F64)[:, None])
    order = found.points[:, 0].argsort()
    torch.testing.assert_close(found.points[order, 0], torch.tensor([-1.0, 0, 1], dtype=F64), rtol=0, atol=1e-10)
    assert [found.kinds[i] for i in order] == ["stable node", "unstable node", "stable node"]
    assert found.eigenvalues[order, 0].real.tolist() == pytest.approx([-2, 1, -2])
    inner, outer = found.basins[20], found.basins[[0, 40]]
    assert inner == order[1]
    assert outer.tolist() == [order[0], order[2]]


@pytest.mark.parametrize(
    "field",
    [
        lambda t, y: 1 + y**2,  # |f| is least where f is not zero
        lambda t, y: torch.exp(-y),  # f falls to zero, but only at infinity
        lambda t, y: torch.stack([torch.ones_like(y[:, 0]), torch.zeros_like(y[:, 0])], 1)[:, : y.shape[1]],
        lambda t, y: torch.log(y.abs() - 5),  # no number where it is looked for
    ],
)
def test_where_nothing_rests_nothing_is_found(field):
    found = fixed_points(field, torch.linspace(-3, 3, 20, dtype=F64)[:, None])
    assert found.points.shape == (0, 1)
    assert found.eigenvalues.shape == (0, 1)
    assert found.kinds == ()
    assert found.basins.tolist() == [-1] * 20
    assert "No fixed point was found from 20 starts" in fixed_points_finding(found).statement


def test_a_double_root_is_one_point_and_degenerate():
    found = fixed_points(lambda t, y: y**2, torch.linspace(-2, 2, 11, dtype=F64)[:, None], merge=1e-3)
    assert found.kinds == ("degenerate",)
    assert abs(found.points.item()) < 1e-4
    assert found.basins.tolist() == [0] * 11


def test_stiff_and_badly_scaled_points_are_found_to_the_last_digits():
    """Robertson's kinetics with an inflow: f = 0 is solved by hand, rates 0.04 to 3e7 apart."""

    def kinetics(t: Tensor, y: Tensor) -> Tensor:
        a, b, c = y.unbind(-1)
        return torch.stack(
            [0.01 - 0.04 * a + 1e4 * b * c, 0.04 * a - 1e4 * b * c - 3e7 * b * b, 3e7 * b * b - 0.1 * c], -1
        )

    # c = 0.1, b = sqrt(0.01 / 3e7), a = (0.01 + 1e3 b) / 0.04
    b = math.sqrt(0.01 / 3e7)
    known = torch.tensor([(0.01 + 1e3 * b) / 0.04, b, 0.1], dtype=F64)
    found = fixed_points(kinetics, torch.tensor([[1.0, 1e-4, 0.5]], dtype=F64))
    torch.testing.assert_close(found.points[0], known, rtol=1e-8, atol=1e-12)
    assert found.kinds == ("stable node",)


def test_the_points_of_a_map_are_judged_by_the_unit_circle():
    """The logistic map r y (1 - y) has 0 with slope r and 1 - 1/r with slope 2 - r."""
    starts = torch.linspace(-0.2, 1.2, 15, dtype=F64)[:, None]
    for r, kinds in ((2.5, ["unstable node", "stable node"]), (3.4, ["unstable node", "unstable node"])):
        found = fixed_points(lambda y, r=r: r * y * (1 - y), starts, map=True)
        order = found.points[:, 0].argsort()
        assert found.points[order, 0].tolist() == pytest.approx([0, 1 - 1 / r], abs=1e-10)
        assert found.eigenvalues[order, 0].real.tolist() == pytest.approx([r, 2 - r])
        assert [found.kinds[i] for i in order] == kinds
    turn = 0.9 * torch.tensor([[math.cos(1.0), -math.sin(1.0)], [math.sin(1.0), math.cos(1.0)]], dtype=F64)
    for factor, kind in ((1.0, "stable focus"), (1 / 0.9, "centre (linear)"), (1.2, "unstable focus")):
        assert fixed_points(lambda y, f=factor: f * y @ turn.T, torch.ones(1, 2, dtype=F64), map=True).kinds == (kind,)


def test_a_recurrent_layer_with_its_input_held_rests_where_it_no_longer_moves():
    torch.manual_seed(0)
    layer, x = EquilibriumRNN(2, d_state=3, rtol=1e-10).double(), torch.randn(1, 2, dtype=F64)

    def cell(h: Tensor) -> Tensor:
        return layer.step(x.expand(len(h), -1), 0.5, h)[1]

    found = fixed_points(cell, torch.randn(4, 3, dtype=F64), map=True, tolerance=1e-8)
    assert len(found.points) == 1
    assert found.kinds[0].startswith("stable")
    h = torch.zeros(1, 3, dtype=F64)
    for _ in range(200):
        h = cell(h)
    torch.testing.assert_close(found.points, h.detach(), rtol=0, atol=1e-7)
    # The equation that the layer discretises rests at the same place.
    rest = fixed_points(lambda t, z: layer.field(t, z, x.expand(len(z), -1)), torch.zeros(1, 3, dtype=F64))
    torch.testing.assert_close(rest.points, found.points, rtol=0, atol=1e-7)


def test_an_equation_and_the_map_it_relaxes_to_have_the_same_points():
    torch.manual_seed(1)
    cell = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 2))
    with torch.no_grad():
        cell[2].weight.mul_(3)  # pyright: ignore[reportArgumentType, reportCallIssue]
    starts = 3 * torch.randn(30, 2)
    flow, step = fixed_points(Relaxation(cell, time_constant=2.0), starts), fixed_points(cell, starts, map=True)
    assert len(flow.points) == len(step.points) > 0
    torch.testing.assert_close(flow.points[flow.points[:, 0].argsort()], step.points[step.points[:, 0].argsort()])
    for point, eigenvalues in zip(flow.points, flow.eigenvalues, strict=True):
        place = int((step.points - point).norm(dim=1).argmin())
        expected = np.sort_complex((step.eigenvalues[place].numpy() - 1) / 2)
        np.testing.assert_allclose(np.sort_complex(eigenvalues.numpy()), expected, atol=1e-9)


def test_the_time_at_which_a_field_is_frozen_moves_its_points():
    found = fixed_points(lambda t, y: torch.sin(t) - y, torch.zeros(1, 1, dtype=F64), t=0.7)
    assert found.points.item() == pytest.approx(math.sin(0.7))


def test_fields_in_single_precision_are_solved_in_double_and_left_as_they_were():
    torch.manual_seed(0)
    for field in (MLP(3, (16,)), GRUField(3)):
        with torch.inference_mode():
            found = fixed_points(field, 0.5 * torch.randn(20, 3))
        assert next(field.parameters()).dtype is torch.float32
        assert found.points.dtype is F64
        double = field.double()
        for point in found.points:
            with torch.no_grad():
                assert double(torch.tensor(0.0, dtype=F64), point[None]).norm().item() < 1e-9


def test_the_finding_counts_and_names():
    found = fixed_points(lorenz, 20 * torch.randn(60, 3, dtype=F64, generator=torch.Generator().manual_seed(0)))
    told = fixed_points_finding(found, ["x", "y", "z"])
    assert told.verdict == "told"
    assert told.statement.startswith("There are 3 fixed points: 3 saddles. By their eigenvalues none attracts")
    assert told.numbers == {"points": 3.0, "stable": 0.0, "starts without a point": float((found.basins < 0).sum())}
    assert len(told.rows) == 3
    assert sum(float(row["starts"]) for row in told.rows) == float((found.basins >= 0).sum())
    assert {"x", "y", "z", "kind"} <= set(told.rows[0])
    with pytest.raises(InputError, match="2 channels"):
        fixed_points_finding(found, ["x", "y"])


def test_mistakes_have_one_line():
    with pytest.raises(InputError, match="states must be"):
        fixed_points(lorenz, torch.zeros(3))
    with pytest.raises(InputError, match="tolerance=0"):
        fixed_points(lorenz, torch.zeros(1, 3), tolerance=0)
    with pytest.raises(InputError, match="they must be alike"):
        fixed_points(lambda t, y: y[:, :1], torch.zeros(1, 3))
