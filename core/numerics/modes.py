"""Which of torch's modes are at work: derivatives, transforms, autocast."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


def is_differentiated(tensor: Tensor) -> bool:
    """Return whether a derivative by a tensor may be asked for, also in forward mode or by torch.func."""
    return tensor.requires_grad or is_transformed()


def is_transformed() -> bool:
    """Return whether forward mode or a transform of torch.func is at work, which see no tape and no numbers."""
    return torch.autograd.forward_ad._current_level >= 0 or torch._C._are_functorch_transforms_active()


def is_batched(gradient: Tensor) -> bool:
    """Return whether a gradient stands for many at once, as ``torch.autograd.grad(..., is_grads_batched=True)`` has.

    A compiler cannot look; it differentiates one gradient at a time.
    """
    if torch.compiler.is_compiling():
        return False
    return torch._C._functorch.is_legacy_batchedtensor(gradient)  # pyright: ignore[reportAttributeAccessIssue]


def is_autocast(device: torch.device) -> bool:
    """Return whether autocast is at work on a device; some know no autocast."""
    return torch.amp.is_autocast_available(device.type) and torch.is_autocast_enabled(device.type)


@contextmanager
def outside_inference(tensor: Tensor) -> Iterator[Tensor]:
    """Leave inference mode, in which torch.func can differentiate nothing; gives the tensor as one from outside it.

    Lightning validates in inference mode; a module whose output is itself a derivative forms it within this.
    """
    if torch.compiler.is_compiling() or not torch.is_inference_mode_enabled():  # a compiler never is inside
        yield tensor
        return
    with torch.inference_mode(False), torch.no_grad():
        yield tensor.clone()
