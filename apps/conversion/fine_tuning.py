"""Training a converted network further on its user's samples."""

import warnings
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from lightning import LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from integrand.apps.conversion.batches import Samples, single
from integrand.apps.conversion.request import Request
from integrand.apps.conversion.targets import Targets
from integrand.apps.training.quiet import quiet
from integrand.core.errors import InputError


def fine_tune(
    model: nn.Module, samples: Samples, targets: Targets, request: Request, notify: Callable[[str], None]
) -> list[float]:
    """Train a model in place with Adam and return the mean loss of each epoch.

    Args:
        model: a converted network.
        samples: what it is trained on.
        targets: what it should give.
        request: epochs, learning rate, size of batches and seed.
        notify: told the loss of each epoch.

    Raises:
        InputError: fewer samples than the network takes at once; the loss is no number.
    """
    size = samples.size or min(request.batch_size, len(samples))
    if len(samples) < size:
        raise InputError(
            f"the network takes {size} samples at once, and {len(samples)} are left to train on: give more, or export "
            "it with a free size of batches."
        )
    generator = torch.Generator().manual_seed(request.seed)
    loader = DataLoader(
        TensorDataset(*samples.inputs, targets.values),
        batch_size=size,
        shuffle=True,
        drop_last=samples.size is not None,
        generator=generator,
    )
    module = _FineTuning(model, samples, targets, request.learning_rate, notify, request.epochs)
    quiet()
    with TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = Trainer(
            max_epochs=request.epochs,
            accelerator="cpu",  # an exported network names the device of what it makes
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=Path(folder),
        )
        trainer.fit(module, loader)
    return module.losses


class _FineTuning(LightningModule):
    def __init__(
        self,
        model: nn.Module,
        samples: Samples,
        targets: Targets,
        learning_rate: float,
        notify: Callable[[str], None],
        epochs: int,
    ) -> None:
        super().__init__()
        self.model, self.samples, self.targets = model, samples, targets
        self.learning_rate, self.tell, self.epochs = learning_rate, notify, epochs
        self.losses: list[float] = []
        self._seen: list[Tensor] = []

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        *inputs, target = batch
        output = single(self.samples.ask(self.model, tuple(inputs))[0], len(target))
        loss = self.targets.loss(output, target)
        self._seen.append(loss.detach())
        return loss

    def on_train_epoch_end(self) -> None:
        self.losses.append(float(torch.stack(self._seen).mean()))
        self._seen.clear()
        if not torch.isfinite(torch.tensor(self.losses[-1])):
            raise InputError(
                f"the loss is {self.losses[-1]} in epoch {len(self.losses)}: choose a smaller --learning-rate."
            )
        self.tell(f"epoch {len(self.losses)} of {self.epochs}: loss {self.losses[-1]:.4g}")

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=self.learning_rate)
