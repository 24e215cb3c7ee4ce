"""Loading batches so that a run that was killed goes on with the very next batch."""

from collections.abc import Iterator, Sized
from typing import Any

import torch
import torch.distributed
from torch.utils.data import DataLoader, Dataset, DistributedSampler


class EpochSampler(DistributedSampler):
    """An order of the samples that depends on (seed, epoch) alone, shared among processes.

    It yields i + N * epoch for sample i, so that a data set that draws augmentations can draw new ones each epoch as a
    pure function of the index, in whichever worker.

    Args:
        dataset: what is sampled.
        shuffle: a new order each epoch; without it, the order of the data set, always in epoch 0.
        seed: of the order.
    """

    def __init__(self, dataset: Sized, *, shuffle: bool, seed: int) -> None:
        distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
        replicas = torch.distributed.get_world_size() if distributed else 1
        rank = torch.distributed.get_rank() if distributed else 0
        super().__init__(dataset, num_replicas=replicas, rank=rank, shuffle=shuffle, seed=seed)  # pyright: ignore[reportArgumentType]
        self.size = len(dataset)
        self.skip = 0

    def __iter__(self) -> Iterator[int]:
        skip, self.skip = self.skip, 0
        offset = self.size * self.epoch if self.shuffle else 0
        return (index + offset for index in list(super().__iter__())[skip:])


def _as_is(batch: Any) -> Any:
    return batch


class ResumableLoader(DataLoader):
    """A DataLoader that knows how many batches it gave and can start after them.

    The data set builds whole batches (``__getitems__``). Lightning stores and restores the position through
    ``state_dict`` and ``load_state_dict``. Worker seeds come from a generator of its own, so that loading leaves the
    global random numbers alone.

    Args:
        dataset: a data set whose ``__getitems__`` returns a batch.
        batch_size: samples a batch.
        shuffle: whether each epoch has an order of its own.
        seed: of the order.
        num_workers: processes that load; 0 loads in the training process.
        pin_memory: load into page-locked memory.
    """

    def __init__(
        self,
        dataset: Dataset,
        *,
        batch_size: int,
        shuffle: bool = False,
        seed: int = 0,
        num_workers: int = 0,
        pin_memory: bool = False,
    ) -> None:
        self.given = self._start = 0
        sampler = EpochSampler(dataset, shuffle=shuffle, seed=seed)  # pyright: ignore[reportArgumentType]
        super().__init__(
            dataset,
            batch_size=batch_size,
            sampler=sampler,
            collate_fn=_as_is,
            num_workers=num_workers,
            persistent_workers=num_workers > 0,
            pin_memory=pin_memory,
            generator=torch.Generator().manual_seed(seed),
        )

    def __iter__(self) -> Iterator[Any]:  # pyright: ignore[reportIncompatibleMethodOverride]
        assert isinstance(self.sampler, EpochSampler)
        assert self.batch_size is not None
        # Whoever iterates may leave before the end, so an iteration starts anew unless a position was loaded.
        self.given, self._start = self._start, 0
        self.sampler.skip = self.given * self.batch_size
        for batch in super().__iter__():
            self.given += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        """Return the position within the epoch."""
        return {"given": self.given % len(self)}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Take up a position within the epoch."""
        self._start = state["given"]
