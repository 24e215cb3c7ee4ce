"""The loader: an order that is a function of (seed, epoch), and a position that can be taken up again exactly."""

from itertools import islice

import pytest
from torch.utils.data import Dataset, DistributedSampler

from integrand.datasets.loader import EpochSampler, ResumableLoader


class Numbers(Dataset[list[int]]):
    """A data set whose batches are the indices they were asked for."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __len__(self) -> int:
        return self.size

    def __getitems__(self, indices: list[int]) -> list[int]:
        return indices


def loader(size: int = 23, batch_size: int = 4, *, epoch: int = 0, **options) -> ResumableLoader:
    made = ResumableLoader(Numbers(size), batch_size=batch_size, **options)
    assert isinstance(made.sampler, EpochSampler)
    made.sampler.set_epoch(epoch)
    return made


@pytest.mark.parametrize("epoch", [0, 1, 5])
def test_the_order_is_a_function_of_seed_and_epoch(epoch: int):
    first = list(loader(shuffle=True, seed=3, epoch=epoch))
    assert list(loader(shuffle=True, seed=3, epoch=epoch)) == first
    assert list(loader(shuffle=True, seed=4, epoch=epoch)) != first
    others = [[[i % 23 for i in batch] for batch in loader(shuffle=True, seed=3, epoch=e)] for e in range(6)]
    assert all(others[e] != others[epoch] for e in range(6) if e != epoch)


@pytest.mark.parametrize("epoch", [0, 1, 5])
def test_an_epoch_has_every_sample_once_under_the_number_of_its_epoch(epoch: int):
    indices = [index for batch in loader(shuffle=True, epoch=epoch) for index in batch]
    assert sorted(indices) == [epoch * 23 + i for i in range(23)]


def test_without_shuffling_the_order_is_that_of_the_data_in_every_epoch():
    for epoch in (0, 4):
        assert [i for batch in loader(epoch=epoch) for i in batch] == list(range(23))


@pytest.mark.parametrize(("given", "workers"), [(0, 0), (1, 0), (3, 0), (5, 0), (6, 0), (3, 2)])
def test_it_goes_on_with_the_very_next_batch(given: int, workers: int):
    whole = list(loader(shuffle=True, seed=1, epoch=2))
    stopped = loader(shuffle=True, seed=1, epoch=2, num_workers=workers)
    assert list(islice(stopped, given)) == whole[:given]
    state = stopped.state_dict()

    resumed = loader(shuffle=True, seed=1, epoch=2, num_workers=workers)
    resumed.load_state_dict(state)
    # A position at the end of an epoch is the beginning of the next.
    assert list(resumed) == (whole[given:] or whole)
    # The position held once: the next epoch is whole.
    assert isinstance(resumed.sampler, EpochSampler)
    resumed.sampler.set_epoch(3)
    assert list(resumed) == list(loader(shuffle=True, seed=1, epoch=3))


def test_an_iteration_left_early_does_not_shift_the_next():
    one = loader(shuffle=True, seed=1)
    whole = list(one)
    list(islice(one, 2))
    assert list(one) == whole


def test_workers_give_the_same_batches():
    assert list(loader(shuffle=True, num_workers=2)) == list(loader(shuffle=True))


@pytest.mark.parametrize("size", [24, 23])
def test_two_replicas_share_the_samples(size: int):
    def of(rank: int) -> list[int]:
        sampler = EpochSampler(Numbers(size), shuffle=True, seed=5)
        # What torch.distributed would tell it in a training with two processes.
        DistributedSampler.__init__(sampler, Numbers(size), num_replicas=2, rank=rank, shuffle=True, seed=5)
        sampler.set_epoch(1)
        return list(sampler)

    first, second = of(0), of(1)
    assert len(first) == len(second) == 12
    assert set(first) | set(second) == set(range(size, 2 * size))
    assert len(set(first) & set(second)) == 24 - size  # an odd one is filled up


def test_two_replicas_together_take_the_batches_of_one():
    def of(replicas: int, rank: int) -> list[int]:
        sampler = EpochSampler(Numbers(24), shuffle=True, seed=5)
        DistributedSampler.__init__(sampler, Numbers(24), num_replicas=replicas, rank=rank, shuffle=True, seed=5)
        return list(sampler)

    whole, first, second = of(1, 0), of(2, 0), of(2, 1)
    for start in range(0, 24, 8):
        together = first[start // 2 : start // 2 + 4] + second[start // 2 : start // 2 + 4]
        assert sorted(together) == sorted(whole[start : start + 8])
