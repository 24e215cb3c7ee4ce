"""What the layers along sequences of a model are given while it is asked."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from integrand.core.layers import SequenceLayer


class LayerInput(NamedTuple):
    """A layer, and what it was given at its first call.

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
    """Ask a module, and return what each of its layers along sequences was given first, in their order."""
    found: dict[str, LayerInput] = {}

    def hook(name: str) -> Callable[..., None]:
        def keep(layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            x = args[0] if args else kwargs["x"]
            dt = args[1] if len(args) > 1 else kwargs.get("dt")
            if name not in found and x.shape[1] > 1:
                found[name] = LayerInput(name, layer, x, dt)  # pyright: ignore[reportArgumentType]

        return keep

    layers = [(name, each) for name, each in module.named_modules() if isinstance(each, SequenceLayer)]
    handles = [each.register_forward_pre_hook(hook(name), with_kwargs=True) for name, each in layers]
    try:
        ask(module)
    finally:
        for handle in handles:
            handle.remove()
    return list(found.values())
