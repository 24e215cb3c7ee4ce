"""Batches in the precision and on the device of the module that is asked."""

from dataclasses import fields, replace
from typing import Any, TypeVar

from torch import Tensor, nn

BatchT = TypeVar("BatchT", bound=Any)


def fitted(batch: BatchT, module: nn.Module) -> BatchT:
    """Return a batch, a dataclass of tensors, or a tensor, in the precision of a module and on its device."""
    weight = next(module.parameters())
    if isinstance(batch, Tensor):
        return batch.to(weight) if batch.is_floating_point() else batch.to(weight.device)  # pyright: ignore[reportReturnType]
    values = {one.name: getattr(batch, one.name) for one in fields(batch)}
    return replace(batch, **{name: fitted(each, module) for name, each in values.items() if isinstance(each, Tensor)})
