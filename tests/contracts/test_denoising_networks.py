"""Denoising networks keep the laws of modules, away from the zeros they begin with. A new one is a line here."""

from collections.abc import Callable

import pytest
import torch
from module_laws import B, ModuleCase, ModuleLaws
from torch import Generator, Tensor

from integrand.apps.generation.models.denoising_network import DenoisingNetwork
from integrand.apps.generation.models.mlp import MLPDenoiser
from integrand.apps.generation.models.ssm import SSMDenoiser
from integrand.apps.generation.models.transformer import DiTDenoiser
from integrand.apps.generation.models.unet import UNetDenoiser
from integrand.apps.generation.task import GenerationTask, Kind
from integrand.core.errors import InputError


def task_of(kind: Kind, *shape: int, classes: int = 0) -> GenerationTask:
    return GenerationTask(
        kind=kind,
        shape=list(shape),
        channels=[f"channel_{i}" for i in range(shape[0])],
        location=[0.0] * (1 if kind == "image" else shape[0]),
        scale=[1.0] * (1 if kind == "image" else shape[0]),
        classes=[f"class_{i}" for i in range(classes)],
        class_shares=[1 / classes] * classes if classes else [],
    )


def made(kind: Callable[..., DenoisingNetwork], task: GenerationTask, **options: object) -> Callable:
    """Build a network for a task, and move it away from where training starts: its last layer and its gates are 0."""

    def build() -> DenoisingNetwork:
        network = kind(**options)
        network.build(task)
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
        return network

    return build


def asked(task: GenerationTask) -> Callable[[Generator], tuple[Tensor, ...]]:
    """Draw states, noise of a value for each, and labels that have all classes and none among them."""

    def draw(g: Generator) -> tuple[Tensor, ...]:
        x = torch.randn(B, *task.shape, generator=g, dtype=torch.float64)
        noise = 2 * torch.rand(B, generator=g, dtype=torch.float64) - 1
        # For every vector of a class to get a gradient each must occur: B is 3, so two classes and none.
        return x, noise, torch.arange(B) % (len(task.classes) + 1)

    return draw


IMAGE, COLOURS = task_of("image", 1, 8, 8, classes=2), task_of("image", 3, 8, 6)
POINTS, SERIES = task_of("points", 5, classes=2), task_of("series", 2, 16, classes=2)
CASES = [
    ModuleCase("mlp-points", made(MLPDenoiser, POINTS, width=16, blocks=2), asked(POINTS)),
    ModuleCase("mlp-images", made(MLPDenoiser, IMAGE, width=16, blocks=2), asked(IMAGE)),
    # Sums of 3 x 3 x 16 products, one layer after another, and normalisations that divide by small deviations.
    ModuleCase("unet-images", made(UNetDenoiser, IMAGE, width=8, groups=4, heads=2), asked(IMAGE), operations=10_000),
    ModuleCase(
        "unet-series",
        made(UNetDenoiser, SERIES, width=8, groups=4, multipliers=(1, 2)),
        asked(SERIES),
        operations=10_000,
    ),
    ModuleCase("dit-images", made(DiTDenoiser, COLOURS, width=16, depth=2, heads=2), asked(COLOURS), operations=10_000),
    ModuleCase("dit-series", made(DiTDenoiser, SERIES, width=16, depth=2, patch=4), asked(SERIES), operations=10_000),
    ModuleCase(
        "ssm-series", made(SSMDenoiser, SERIES, width=16, d_state=8, layers=2), asked(SERIES), operations=10_000
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
class TestDenoisingNetworks(ModuleLaws):
    def test_they_begin_at_nothing(self, case: ModuleCase):
        """A network that adds nothing leaves the denoiser of normal data, where training starts."""
        moved = case.module()
        assert isinstance(moved, DenoisingNetwork)
        fresh = type(moved)(**moved.hparams)
        fresh.build(moved.built_for)
        (output,) = case.outputs(fresh.double().eval(), *case.draw())
        assert torch.count_nonzero(output) == 0

    def test_no_label_is_the_label_of_no_class(self, case: ModuleCase):
        network, (x, noise, _) = case.module(), case.draw()
        assert isinstance(network, DenoisingNetwork)
        nothing = torch.full((B,), network.built_for.nothing)
        torch.testing.assert_close(network(x, noise), network(x, noise, nothing), rtol=0, atol=0)

    def test_one_that_jumps_begins_as_if_it_did_not(self, case: ModuleCase):
        """Wherever to, until its new weights are moved; where to is then told, and one that is not told refuses."""
        network, drawn = case.module(), case.draw()
        assert isinstance(network, DenoisingNetwork)
        jumping = type(network)(**network.hparams)
        jumping.jumps = True
        jumping.build(network.built_for)
        missing, unexpected = jumping.double().eval().load_state_dict(network.state_dict(), strict=False)
        assert missing == ["embedding.until.weight"]
        assert not unexpected
        near, far = torch.full((B,), -1.0, dtype=torch.float64), torch.full((B,), -3.0, dtype=torch.float64)
        for until in (near, far):
            torch.testing.assert_close(jumping(*drawn, until), network(*drawn), rtol=0, atol=0)
        with torch.no_grad():
            jumping.get_parameter("embedding.until.weight").normal_()
        assert not torch.allclose(jumping(*drawn, near), jumping(*drawn, far))
        for wrong, words in ((jumping, drawn), (network, (*drawn, near))):
            with pytest.raises(InputError, match="a network that jumps is told where to"):
                wrong(*words)
