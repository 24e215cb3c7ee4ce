"""Generation in bfloat16: what the network alone may lose, what stays in single precision, and resuming."""

import copy
import math
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from lightning import Callback, Trainer
from torch import Tensor

from integrand.apps.generation.data import GenerationBatch, GenerationData
from integrand.apps.generation.densities import likelihood
from integrand.apps.generation.models.denoising_network import DenoisingNetwork
from integrand.apps.generation.models.unet import UNetDenoiser
from integrand.apps.generation.module import GenerationModule
from integrand.apps.generation.sampling import SamplingOptions, draw
from integrand.apps.generation.task import GenerationTask
from integrand.core.diffusion.couplings import squared_distances
from integrand.core.diffusion.preconditioning import precondition
from integrand.core.diffusion.samplers.registry import SAMPLERS

HALF = torch.finfo(torch.bfloat16).eps
"""The gap above 1; half of it is the greatest relative error of rounding."""
TASK = GenerationTask(
    kind="image",
    shape=[1, 7, 6],
    channels=["grey"],
    location=[-0.4],
    scale=[0.7],
    classes=["a", "b", "c"],
    class_shares=[0.5, 0.3, 0.2],
    levels=256,
)


def lowered() -> Any:
    return torch.autocast("cpu", torch.bfloat16)


def made(*, channels_last: bool = True, network: DenoisingNetwork | None = None, **options: Any) -> GenerationModule:
    """A U-Net with attention, away from the zeros that training begins with."""
    torch.manual_seed(0)
    made = network or UNetDenoiser(16, multipliers=(1, 2), groups=4, heads=2, dropout=0.0, channels_last=channels_last)
    module = GenerationModule(made, process_options={"start": 0.002, "end": 80.0}, **options)
    module.build_networks(TASK)
    with torch.no_grad():
        for parameter in module.network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return module


def batch(count: int = 64) -> GenerationBatch:
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(256, (count, *TASK.shape), generator=generator, dtype=torch.uint8)
    return GenerationBatch(images, torch.randint(3, (count,), generator=generator))


class Shrinking(DenoisingNetwork):
    """F = -x / 2 in elementwise arithmetic, of which autocast lowers nothing."""

    seen: ClassVar[set[torch.dtype]] = set()

    def build_network(self, task: GenerationTask) -> None:
        self.factor = torch.nn.Parameter(torch.tensor(0.5))

    def forward(self, x: Tensor, noise: Tensor, labels: Tensor | None = None) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        self.seen.update((x.dtype, noise.dtype))
        return -self.factor * x[:, :1]


@pytest.mark.parametrize("channels_last", [True, False])
def test_a_denoiser_in_bfloat16_errs_by_the_network_alone(channels_last: bool):
    """D = c_skip x + c_out F: with little noise, what F loses is a thousandth, and x must not be rounded at all."""
    module = made(channels_last=channels_last).eval()
    x0 = torch.randn(8, *TASK.shape, generator=torch.Generator().manual_seed(2))
    labels = torch.arange(8) % 4
    for level in (0.002, 0.05, 1.0, 80.0):
        t = torch.full((8,), level)
        x = x0 + level * torch.randn_like(x0)
        with torch.no_grad():
            expected = module.built_denoiser(t, x, labels)
            with lowered():
                found = module.built_denoiser(t, x, labels)
        assert found.dtype == torch.float32
        out, skip = (getattr(precondition(module.process, t), name)[0] for name in ("out", "skip"))
        answer = (expected - skip * x) / out
        # Some ten layers, each rounded to half of eps in what it reads and in what it gives.
        bound = 10 * HALF * float(answer.abs().max())
        assert 0 < float(((found - expected) / out).abs().max()) < bound


@pytest.mark.parametrize("channels_last", [True, False])
def test_loss_and_gradients_in_bfloat16_are_those_of_single_precision(channels_last: bool):
    module, given = made(channels_last=channels_last), batch()
    found = []
    for precision in (False, True):
        torch.manual_seed(3)
        module.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision):
            loss, _ = module.loss(given)
        assert loss.dtype == torch.float32
        loss.backward()
        gradients = [p.grad for p in module.parameters()]
        assert all(g is not None and g.dtype == torch.float32 and bool(g.isfinite().all()) for g in gradients)
        found.append((float(loss.detach()), torch.cat([g.flatten() for g in gradients if g is not None])))
    (loss, gradient), (low, rounded) = found
    assert low != loss
    assert math.isclose(low, loss, rel_tol=HALF)  # a mean: errors of either sign cancel
    assert float((rounded - gradient).norm() / gradient.norm()) < 10 * HALF


@pytest.mark.parametrize("base", ["none", "histogram", "gaussian"])
def test_loss_bound_and_bases_are_computed_in_single_precision(base: Any):
    """With a network of elementwise arithmetic nothing is left that autocast may round: every digit stays."""
    module = made(network=Shrinking(), base=base, learned_variance=True)
    if base == "gaussian":
        values = torch.randn(50, TASK.dims, generator=torch.Generator().manual_seed(4))
        module.built_denoiser.base.fit(values.cumsum(1) / 5)  # pyright: ignore[reportCallIssue, reportOptionalMemberAccess]
    with torch.no_grad():
        module.variance.read.weight.normal_()  # pyright: ignore[reportOptionalMemberAccess, reportAttributeAccessIssue]
    given, found = batch(20), []
    for precision in (False, True):
        torch.manual_seed(3)
        with torch.autocast("cpu", torch.bfloat16, enabled=precision), torch.no_grad():
            scores = module.scores(given)[0]
            found.append((module.loss(given)[0], scores["bound"], scores["loss"]))
    for single, low in zip(*found, strict=True):
        assert torch.equal(single, low)
    assert Shrinking.seen == {torch.float32}


def test_the_likelihood_keeps_its_digits():
    """To the solver's: it adds in another order under autocast. In half precision the 42 numbers would err by 0.1."""
    module, found = made(network=Shrinking()), []
    for precision in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=precision):
            found.append(likelihood(module, *batch(2), trace="rademacher", nodes=8, rtol=1e-6, atol=1e-6).log_prob)
    torch.testing.assert_close(found[1], found[0], rtol=0, atol=0.005)


@pytest.mark.parametrize("method", SAMPLERS)
def test_samplers_keep_their_digits(method: str):
    module = made(network=Shrinking())
    options = SamplingOptions(method, max(4, SAMPLERS[method].least_steps))
    states: list[Tensor] = []
    expected: list[Tensor] = []
    single = draw(module, range(3), options=options, watch=lambda step, t, x: expected.append(x.clone()))
    with lowered():
        low = draw(module, range(3), options=options, watch=lambda step, t, x: states.append(x.clone()))
    assert torch.equal(single.values, low.values)
    for mine, other in zip(states, expected, strict=True):
        # The adaptive solver adds in another order under autocast; its own tolerance is 1e-4.
        near = 1e-4 * float(other.abs().max()) if method == "ode" else 0.0
        torch.testing.assert_close(mine, other, rtol=0, atol=near)


def test_distances_of_couplings_keep_their_digits():
    x, y = torch.randn(5, 30), 3 + torch.randn(4, 30)
    with lowered():
        found = squared_distances(x, y)
    assert torch.equal(found, squared_distances(x, y))


def test_resuming_in_bfloat16_is_exact(tmp_path: Path):
    """As the Fashion-MNIST recipe trains: what was stopped and went on is bit for bit what never stopped."""
    given: dict[str, Any] = {
        "precision": "bf16-mixed",
        "gradient_clip_val": 1.0,
        "max_epochs": 2,
        "accelerator": "cpu",
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
        "limit_train_batches": 4,
    }

    def module() -> GenerationModule:
        torch.manual_seed(0)
        return GenerationModule(UNetDenoiser(16, multipliers=(1, 2), dropout=0.1), warmup_steps=2, ema_decay=0.9)

    def data() -> GenerationData:
        return GenerationData("digits", batch_size=32, fractions=(0.78, 0.02, 0.2))

    class Stop(Callback):
        def on_train_batch_end(self, trainer: Trainer, *args: Any, **kwargs: Any) -> None:
            if trainer.global_step == 3:
                trainer.save_checkpoint(tmp_path / "stopped.ckpt")
                trainer.should_stop = True

    whole = module()
    Trainer(**given).fit(whole, data())
    Trainer(**given, callbacks=[Stop()]).fit(module(), data())
    torch.manual_seed(99)
    again = module()
    Trainer(**given).fit(again, data(), ckpt_path=tmp_path / "stopped.ckpt", weights_only=True)
    single = module()
    Trainer(**{**given, "precision": "32-true"}).fit(single, data())
    ours, other, full = (copy.deepcopy(each.state_dict()) for each in (whole, again, single))
    assert all(torch.equal(value, other[name]) for name, value in ours.items())
    assert any(not torch.equal(value, full[name]) for name, value in ours.items())
