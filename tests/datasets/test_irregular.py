"""The contract of an irregular batch: good ones pass, and each clause is refused by its name."""

from dataclasses import fields, replace

import pytest
import torch
from torch import Tensor

from integrand.core.errors import InputError
from integrand.datasets.irregular import IrregularBatch


def good() -> IrregularBatch:
    """Two samples of two channels: three elements, and one with two of padding."""
    mask = torch.tensor([[[1, 1], [0, 1], [1, 0]], [[1, 0], [0, 0], [0, 0]]]).bool()
    target_mask = torch.tensor([[[True], [False]], [[True], [True]]])
    return IrregularBatch(
        values=torch.where(mask, torch.arange(1.0, 13.0).view(2, 3, 2), 0),
        mask=mask,
        times=torch.tensor([[-3.0, -1.5, -1.5], [-2.0, -2.0, -2.0]]),
        lengths=torch.tensor([3, 1]),
        static=torch.eye(2),
        phase=torch.zeros(2, 1),
        target=torch.where(target_mask, torch.ones(2, 2, 1), 0),
        target_times=torch.tensor([[1.0, 2.0], [0.5, 3.0]]),
        target_mask=target_mask,
        group=["a", "b"],
        sample_id=["a@0", "b@1"],
        meta={"time_unit": "h"},
    )


def changed(name: str, place: tuple[int, ...], value: float) -> IrregularBatch:
    tensor: Tensor = getattr(good(), name).clone()
    tensor[place] = value
    return replace(good(), **{name: tensor})


def test_a_good_batch_is_returned_as_it_is():
    batch = good()
    assert batch.check() is batch
    assert len(batch) == 2
    assert batch.present.tolist() == [[True, True, True], [True, False, False]]


def test_empty_contexts_are_legal():
    for length in (0, 2):
        batch = IrregularBatch(
            values=torch.zeros(3, length, 2),
            mask=torch.zeros(3, length, 2, dtype=torch.bool),
            times=torch.zeros(3, length),
            lengths=torch.zeros(3, dtype=torch.int64),
        )
        assert batch.check() is batch
        assert not batch.present.any()


@pytest.mark.parametrize(
    ("batch", "clause"),
    [
        (changed("values", (0, 0, 0), float("nan")), "values must be finite"),
        (changed("values", (0, 0, 0), float("inf")), "values must be finite"),
        (changed("values", (0, 1, 0), 3.0), "values must be 0 where mask is False"),
        (changed("values", (1, 2, 1), 3.0), "values must be 0 where mask is False"),
        (changed("mask", (1, 2, 0), True), "mask must be False in the padding"),
        (changed("times", (0, 0), float("-inf")), "times must be finite"),
        (changed("times", (0, 1), -5.0), "times must not decrease"),
        (changed("times", (1, 2), 0.0), "times must be padded with the last time"),
        (changed("lengths", (0,), 4), "lengths must lie in 0..L"),
        (changed("lengths", (0,), -1), "lengths must lie in 0..L|mask must be False in the padding"),
        (changed("target", (0, 0, 0), float("nan")), "target must be finite"),
        (changed("target", (0, 1, 0), 1.0), "target must be 0 where target_mask is False"),
        (replace(good(), mask=good().mask[..., :1]), r"mask must have shape \(2, 3, 2\), got \(2, 3, 1\)"),
        (replace(good(), times=good().times[:1]), r"times must have shape \(2, 3\), got \(1, 3\)"),
        (replace(good(), lengths=torch.tensor([3])), r"lengths must have shape \(2,\), got \(1,\)"),
    ],
)
def test_each_clause_is_refused_by_name(batch: IrregularBatch, clause: str):
    with pytest.raises(InputError, match=clause):
        batch.check()


def test_moving_a_batch_moves_every_tensor_and_keeps_the_rest():
    moved = good().to(torch.device("meta"))
    for f in fields(moved):
        before, after = getattr(good(), f.name), getattr(moved, f.name)
        if isinstance(before, Tensor):
            assert after.device.type == "meta"
            assert (after.shape, after.dtype) == (before.shape, before.dtype)
        else:
            assert after == before
    same = replace(good(), static=None).to(torch.device("cpu"))
    assert same.static is None
    assert torch.equal(same.values, good().values)
