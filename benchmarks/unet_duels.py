"""A training step of Fashion-MNIST's U-Net in bfloat16 with channels last, against float32 with channels first.

A step is all that the recipe's training does with a batch: noise is drawn, forward, backward, gradients are clipped,
AdamW, the moving average of the weights. Both sides have the same weights at first, images and noise. Further rows
take the two apart: the layout alone, the precision alone.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import yaml
from duel import Duel, Work, seeded
from lightning.pytorch.plugins.precision import MixedPrecision
from torch import Tensor

from integrand.apps.application import Application
from integrand.apps.generation import APPLICATION
from integrand.apps.generation.data import GenerationBatch
from integrand.apps.generation.models.unet import UNetDenoiser
from integrand.apps.generation.module import GenerationModule
from integrand.apps.generation.task import GenerationTask
from integrand.apps.training.ema import ExponentialMovingAverage

APP: Application = APPLICATION
RECIPE = "fashion_mnist"
CLASSES = 10
BEFORE = 20
"""Steps in float32 before both sides begin: a network that is not trained answers 0 and hides what differs."""


def duels() -> Iterator[Duel]:
    """Yield every comparison."""
    yield _duel("unet_bf16_channels_last", bfloat16=True, channels_last=True, must=2)
    yield _duel("unet_bf16", bfloat16=True, channels_last=False)
    yield _duel("unet_channels_last", bfloat16=False, channels_last=True)


def _duel(row: str, *, bfloat16: bool, channels_last: bool, must: float | None = None) -> Duel:
    options = yaml.safe_load(APP.recipe(RECIPE).read_text(encoding="utf-8"))
    batch = options["data"]["batch_size"]
    sides: dict[str, Work] = {}

    def side(name: str) -> list[Tensor]:
        if not sides:
            sides.update(_sides(options, bfloat16=bfloat16, channels_last=channels_last))
        return list(sides[name]())

    how = f"{'bfloat16' if bfloat16 else 'float32'} with channels {'last' if channels_last else 'first'}"
    return Duel(
        row=row,
        work=f"an image of a training step of {batch}, 28x28, by the U-Net of the recipe {RECIPE}, in {how}",
        ours=lambda: side("ours"),
        peer="float32, channels first",
        theirs=lambda: side("theirs"),
        peer_version=torch.__version__,
        note="the same network, eager on both sides; forward, backward, clipping, AdamW and moving average; agreement "
        "is of the loss and of all gradients as one vector" + (", to the precision of bfloat16" if bfloat16 else ""),
        must=must,
        tolerance=0.05 if bfloat16 else 1e-3,
        samples=(batch, batch),
    )


def _sides(options: dict[str, Any], *, bfloat16: bool, channels_last: bool) -> dict[str, Work]:
    batch, clip = _batch(options["data"]["batch_size"]), options["trainer"]["gradient_clip_val"]
    learned, ours = _module(options, channels_last=False), _module(options, channels_last=channels_last)
    step = _step(learned, batch, clip=clip, bfloat16=False)
    for _ in range(BEFORE):
        step()
    theirs = _module(options, channels_last=False)
    for module in (ours, theirs):
        module.load_state_dict(learned.state_dict())
    return {
        "ours": _step(ours, batch, clip=clip, bfloat16=bfloat16),
        "theirs": _step(theirs, batch, clip=clip, bfloat16=False),
    }


def _module(options: dict[str, Any], *, channels_last: bool) -> GenerationModule:
    """Build the recipe's module for its data, of which shape, classes and grey values matter alone."""
    given = dict(options["model"])
    network = UNetDenoiser(**{**given.pop("network")["init_args"], "channels_last": channels_last})
    module = GenerationModule(network, **given)
    module.build_networks(
        GenerationTask(
            kind="image",
            shape=[1, 28, 28],
            channels=["grey"],
            location=[-0.43],
            scale=[0.71],
            classes=[str(label) for label in range(CLASSES)],
            class_shares=[1 / CLASSES] * CLASSES,
            levels=256,
        )
    )
    return module.to(torch.get_default_device()).train()


def _batch(count: int) -> GenerationBatch:
    generator = seeded(0)
    images = torch.randint(256, (count, 1, 28, 28), generator=generator, device=generator.device, dtype=torch.uint8)
    return GenerationBatch(images, torch.randint(CLASSES, (count,), generator=generator, device=generator.device))


def _step(module: GenerationModule, batch: GenerationBatch, *, clip: float, bfloat16: bool) -> Work:
    parameters = list(module.parameters())
    optimizer = torch.optim.AdamW(module.parameter_groups(), lr=module.learning_rate)
    average = ExponentialMovingAverage(parameters, module.ema_decay)
    device = torch.get_default_device().type

    def lowered() -> AbstractContextManager[Any]:
        # As the trainer's bf16-mixed does it.
        return MixedPrecision("bf16-mixed", device).train_step_context() if bfloat16 else nullcontext()

    def once() -> list[Tensor]:
        torch.manual_seed(0)
        optimizer.zero_grad()
        with lowered():
            loss = module.loss(batch)[0]
        loss.backward()
        found = torch.cat([each.grad.flatten() for each in parameters if each.grad is not None])
        torch.nn.utils.clip_grad_norm_(parameters, clip)
        optimizer.step()
        average.update()
        return [loss.detach(), found]

    return once
