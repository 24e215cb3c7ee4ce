"""Images of samples for training: each solves the equation, and is asked for only where it does."""

import math

import pytest
import torch

from integrand.apps.physics.surrogate.data import SurrogateData
from integrand.apps.physics.surrogate.images import mirrored, turned
from integrand.apps.physics.surrogate.models.fno import FNOSurrogate
from integrand.apps.physics.surrogate.module import SurrogateModule
from integrand.core.errors import InputError
from integrand.datasets.fields import FieldBatch
from integrand.datasets.synthetic.equations.burgers_etd import BurgersETD
from integrand.datasets.synthetic.equations.darcy import Darcy
from integrand.datasets.synthetic.simulator import Start

ONE = torch.tensor([1.0], dtype=torch.float64)


def darcy_batch(samples: int = 32, points: int = 17) -> FieldBatch:
    """The same solution of Darcy's problem many times."""
    solved = Darcy().simulate(1, points=(points, points), seed=3)
    assert solved.constants is not None
    return FieldBatch(
        solved.values.double().repeat(samples, 1, 1, 1, 1), solved.constants.double().repeat(samples, 1, 1, 1), {}
    )


def test_turned_solutions_of_darcy_solve_it_and_are_all_eight():
    torch.manual_seed(0)
    batch = darcy_batch()
    images = turned(batch)
    assert images.constants is not None
    source = ONE.expand(len(images.values))
    left = Darcy().residual(
        images.values, torch.zeros(1), {"source": source}, lengths=(1.0, 1.0), constants=images.constants
    )
    assert left.abs().max() < 1e-8
    assert len({tuple(image.flatten().tolist()) for image in images.values.float()}) == 8


def test_without_far_walls_an_image_is_that_of_the_whole_square_but_for_constants_on_a_wall():
    whole = darcy_batch(64)
    assert whole.constants is not None
    short = FieldBatch(whole.values[..., :-1, :-1], whole.constants[..., :-1, :-1], {})
    torch.manual_seed(1)
    of_whole = turned(whole)
    torch.manual_seed(1)
    of_short = turned(short, far_walls=False)
    assert of_whole.constants is not None
    assert of_short.constants is not None
    assert torch.equal(of_short.values, of_whole.values[..., :-1, :-1])
    assert torch.equal(of_short.constants[..., 1:, 1:], of_whole.constants[..., 1:-1, 1:-1])
    assert set(of_short.constants.unique().tolist()) <= set(whole.constants.unique().tolist())


def test_the_mirror_image_of_a_burgers_solution_is_that_of_its_start():
    x = torch.arange(32, dtype=torch.float64) / 32 * 2 * math.pi
    start = (x.sin() + 0.5 * (2 * x + 1).cos())[None, None]
    times = torch.tensor([0.0, 0.5], dtype=torch.float64)

    def solve(u: torch.Tensor) -> torch.Tensor:
        options = {"lengths": (2 * math.pi,), "step_size": 0.01}
        return BurgersETD().advance(Start(u), times, {"viscosity": 0.1 * ONE}, **options)

    torch.manual_seed(0)
    solved = solve(start)
    images = mirrored(FieldBatch(solved.repeat(8, 1, 1, 1), None, {})).values
    assert 0 < sum(not torch.equal(image, solved[0]) for image in images) < 8
    for image in images:
        assert torch.allclose(solve(image[None, 0])[0], image, atol=1e-12)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"dataset": "heat_2d", "points": 16}, "do not solve"),
        ({"dataset": "darcy", "points": (17, 33)}, "do not solve"),
        ({"dataset": "darcy", "points": 18, "train_every": 2}, "far walls"),
    ],
)
def test_images_that_are_no_solutions_are_refused(options: dict, told: str):
    data = SurrogateData(samples=(3, 1, 1), **options)
    data.setup()
    with pytest.raises(InputError, match=told):
        SurrogateModule(FNOSurrogate(modes=3, width=4, depth=1), mirror=True).build(data)


def test_darcy_is_trained_on_its_images():
    data = SurrogateData("darcy", samples=(4, 2, 2), points=17, batch_size=4)
    data.setup()
    torch.manual_seed(0)
    module = SurrogateModule(FNOSurrogate(modes=4, width=4, depth=1), mirror=True)
    module.build(data)
    batch = data.windows("train").batch()
    losses = {module.loss(batch)[0].item() for _ in range(4)}
    assert len(losses) == 4  # each time other images, whose errors differ
