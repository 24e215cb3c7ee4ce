"""Symmetries of the equation that a surrogate has by construction, or learns from images of the data."""

import math
from typing import Any

import pytest
import torch

from integrand.apps.physics.surrogate.data import SurrogateData
from integrand.apps.physics.surrogate.models.fno import FNOSurrogate
from integrand.apps.physics.surrogate.module import SurrogateModule
from integrand.core.errors import InputError
from integrand.core.numerics import PeriodicGrid

SMALL: dict[str, Any] = {"modes": 4, "width": 8, "depth": 2, "coordinates": False}


def data(name: str = "burgers", **options: Any) -> SurrogateData:
    made = SurrogateData(name, samples=(6, 2, 2), points=options.pop("points", 64), **options)
    made.setup()
    return made


def test_a_field_that_is_carried_along_is_answered_as_one_that_is_not():
    """G(u + m)(x) = m + G(u)(x - m t) for any m, whatever the network has learned; and the mean stays."""
    solutions = data(lengths=3.0)
    network = FNOSurrogate(galilean=True, **SMALL)
    network.build(solutions.task)
    network.double()
    grid, m = PeriodicGrid((64,), 3.0), 0.7
    u = solutions.windows("train").batch().values[:, 0].double()
    u = PeriodicGrid((32,), 3.0).resample(
        grid.resample(u, (32,)), (64,)
    )  # no wave near the Nyquist number, which a shift cannot carry
    still, moved = network(u, None, {}), network(u + m, None, {})
    assert (still - u).abs().max() > 0.01
    assert (still.mean(-1) - u.mean(-1)).abs().max() < 1e-14
    shift = torch.exp(-grid.derivative_symbol(0, still) * m * solutions.task.interval)
    spectrum = grid.transform(still)
    spectrum[..., -1] = 0  # what the network itself has put there cannot be carried either
    carried = grid.inverse(spectrum * shift) + m
    moved = grid.transform(moved)
    moved[..., -1] = 0
    assert (grid.inverse(moved) - carried).abs().max() < 1e-12


def test_it_is_found_out_where_it_holds():
    network = FNOSurrogate(galilean=None, **SMALL)
    network.build(data().task)
    assert network.moving
    other = FNOSurrogate(galilean=None, **SMALL)
    other.build(data("advection").task)
    assert not other.moving


@pytest.mark.parametrize(
    ("name", "message"), [("advection", "another equation when seen from a moving frame"), ("wave", "one velocity")]
)
def test_it_is_refused_elsewhere(name: str, message: str):
    with pytest.raises(InputError, match=message):
        FNOSurrogate(galilean=True, **SMALL).build(data(name).task)


def test_images_are_drawn_where_they_solve_the_equation():
    burgers, advection = data(), data("advection")
    for solutions, asked, drawn in ((burgers, None, True), (burgers, True, True), (advection, None, False)):
        module = SurrogateModule(FNOSurrogate(**SMALL), mirror=asked)
        module.build(solutions)
        assert (module._image is not None) is drawn
    with pytest.raises(InputError, match="mirror images of advection do not solve it"):
        SurrogateModule(FNOSurrogate(**SMALL), mirror=True).build(advection)


def test_the_penalty_is_half_the_squared_norm():
    solutions = data()
    batch = solutions.windows("train").batch()
    losses = []
    for weight in (0.0, 0.5):
        torch.manual_seed(0)
        module = SurrogateModule(FNOSurrogate(**SMALL), norm_penalty=weight)
        module.build(solutions)
        losses.append(module._loss_of(module.network, batch, 1, None, None)[0].item())
    norm = sum(p.detach().double().abs().square().sum().item() for p in module.network.parameters())
    assert math.isclose(losses[1] - losses[0], 0.25 * norm, rel_tol=1e-4)
