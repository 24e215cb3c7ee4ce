"""What the data modules of every task share: loaders over three parts that go on exactly where they stopped."""

from typing import Any

import torch
from lightning import LightningDataModule
from torch.utils.data import Dataset

from integrand.datasets.loader import ResumableLoader


class PartsData(LightningDataModule):
    """A data module of a training, a validation and a test part.

    A subclass sets the attributes in ``__init__`` and fills ``_parts`` in ``setup``, each a data set whose
    ``__getitems__`` gives a batch.

    Attributes:
        batch_size: samples a training batch; other parts come in larger ones.
        tested_together: samples at least in a batch of the other parts.
        num_workers: processes that load batches; 0 for the training process.
        seed: of order and of whatever is drawn at random.
    """

    batch_size: int
    tested_together: int = 256
    num_workers: int
    seed: int
    _parts: dict[str, Any]

    def prepare_data(self) -> None:
        """Check on one process that the data can be read, before others try."""
        self.setup()

    def setup(self, stage: str | None = None) -> None:
        """Read, split and scale the data; a second call does nothing."""
        raise NotImplementedError

    @property
    def validates(self) -> bool:
        """Whether there is a validation part."""
        self.setup()
        return len(self._parts["validation"]) > 0

    def learned(self, part: str) -> Dataset:
        """Return what the batches of a part are made of: its samples, unless a subclass learns something else."""
        self.setup()
        return self._parts[part]

    def train_dataloader(self) -> ResumableLoader:
        """Return shuffled training batches, what is random in them new each epoch."""
        return self._loader("train", shuffle=True)

    def val_dataloader(self) -> ResumableLoader | list[Any]:
        """Return validation batches, the same each time; none where there is no such part."""
        return self._loader("validation") if self.validates else []

    def test_dataloader(self) -> ResumableLoader:
        """Return test batches, the same each time."""
        return self._loader("test")

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Move a batch, without waiting where memory is page-locked."""
        return batch.to(device, non_blocking=True)

    def _loader(self, part: str, *, shuffle: bool = False) -> ResumableLoader:
        dataset = self.learned(part)
        on_host = self.trainer is None or self.trainer.strategy.root_device.type == "cpu"
        return ResumableLoader(
            dataset,
            batch_size=self.batch_size if part == "train" else max(self.tested_together, self.batch_size),
            shuffle=shuffle,
            seed=self.seed,
            num_workers=self.num_workers,
            pin_memory=not on_host,
        )
