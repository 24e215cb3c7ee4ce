"""What the layers along sequences of a model are given while it is asked."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from integrand.core.layers import SequenceLayer


class LayerInput(NamedTuple):
    """A layer, and what it was given at its first call, cut where the shortest sequence ends.

    Attributes:
        name: the layer's, within the model.
        layer: it.
        x: (B, L, C).
        dt: time before each element, as the layer takes it.
    """

    name: str
    layer: SequenceLayer
    x: Tensor
    dt: Any


@torch.no_grad()
def layer_inputs(module: nn.Module, ask: Callable[[nn.Module], Any]) -> list[LayerInput]:
    """Ask a module, and return what each of its layers along sequences was given first; of a stack, its layers."""
    found: dict[str, LayerInput] = {}

    def hook(name: str) -> Callable[..., None]:
        def keep(layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            x = args[0] if args else kwargs["x"]
            dt = args[1] if len(args) > 1 else kwargs.get("dt")
            mask = args[2] if len(args) > 2 else kwargs.get("mask")
            length = x.shape[1] if mask is None else int(mask.sum(1).min())  # padding stands at the end
            if name not in found and length > 1:
                within = dt[..., :length] if isinstance(dt, Tensor) and dt.dim() else dt
                found[name] = LayerInput(name, layer, x[:, :length], within)  # pyright: ignore[reportArgumentType]

        return keep

    layers = [
        (name, each)
        for name, each in module.named_modules()
        if isinstance(each, SequenceLayer) and sum(isinstance(one, SequenceLayer) for one in each.modules()) == 1
    ]
    handles = [each.register_forward_pre_hook(hook(name), with_kwargs=True) for name, each in layers]
    try:
        ask(module)
    finally:
        for handle in handles:
            handle.remove()
    return list(found.values())
