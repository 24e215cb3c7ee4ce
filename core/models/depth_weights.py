"""Weights of a stack of layers as a function of its depth."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

Between = Literal["constant", "linear"]
"""What the weights are between the depths of two layers: those of the layer before, or on the line between both."""


class DepthWeight(NamedTuple):
    """One tensor of each layer.

    Attributes:
        name: what it is called, the layers' numbers left out.
        values: a tensor for each layer, (N, ...), or the one that all layers share.
        learned: whether it is a parameter.
        shared: whether all layers share it.
    """

    name: str
    values: Tensor
    learned: bool
    shared: bool


class DepthWeights(nn.Module):
    """The weights theta(t) of N layers, with theta(l) = theta_l for l = 0 ... N - 1.

    Between l and l + 1 they are theta_l, or on the line from theta_l to theta_{l+1}; beyond N - 1 they are the last
    layer's either way.

    Args:
        weights: the tensors of the layers.

    Example:
        >>> weights = DepthWeights([DepthWeight("scale", torch.tensor([1.0, 3.0]), True, False)])
        >>> [weights.at(0, 0.5, between)[0].item() for between in ("constant", "linear")]
        [1.0, 2.0]
    """

    def __init__(self, weights: Sequence[DepthWeight]) -> None:
        super().__init__()
        self.keys, self.shared = [], tuple(weight.shared for weight in weights)
        for weight in weights:
            key = self._free(weight.name)
            if weight.learned and isinstance(weight.values, nn.Parameter):  # shared with another part of the network
                self.register_parameter(key, weight.values)
            elif weight.learned:
                self.register_parameter(key, nn.Parameter(weight.values))
            else:
                self.register_buffer(key, weight.values)
            self.keys.append(key)

    def at(self, layer: int, share: float | Tensor, between: Between) -> list[Tensor]:
        """Return the weights at depth layer + share, 0 <= share <= 1."""
        stored: list[Tensor] = [getattr(self, key) for key in self.keys]
        return [
            values if shared else _between(values, layer, share, between)
            for shared, values in zip(self.shared, stored, strict=True)
        ]

    def _free(self, name: str) -> str:
        """Return a name that an attribute may have and none has."""
        plain = name.replace(".", "_").strip("_") or "weight"
        key, number = plain, 2
        while hasattr(self, key):
            key, number = f"{plain}_{number}", number + 1
        return key


def _between(values: Tensor, layer: int, share: float | Tensor, between: Between) -> Tensor:
    exact = between == "constant" or layer == len(values) - 1 or not values.is_floating_point()
    if exact or (isinstance(share, float) and share == 0):
        return values[layer]
    return torch.lerp(values[layer], values[layer + 1], share)
