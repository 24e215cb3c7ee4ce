"""A multilayer perceptron as a vector field."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from integrand.core.errors import InputError, unknown

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "tanh": nn.Tanh,
    "silu": nn.SiLU,
    "softplus": nn.Softplus,
    "gelu": nn.GELU,
    "elu": nn.ELU,
}


class MLP(nn.Module):
    """The field f(t, y, u) = W_n s(... s(W_1 [y, t, u] + b_1) ...) + b_n with a smooth activation s.

    Args:
        dim: dimension D of the state.
        hidden: widths of the hidden layers.
        activation: one of ``ACTIVATIONS``; all are smooth, as high-order solvers assume.
        time: whether t is an input; without it the field is autonomous.
        control: dimension of the argument u, 0 for none.

    Shapes:
        ``field(t, y, u)``: t scalar or (B,), y (B, D), u (B, control) or None; returns (B, D).

    Example:
        >>> MLP(2, (16,))(torch.tensor(0.0), torch.zeros(5, 2)).shape
        torch.Size([5, 2])

    Source: Chen et al. (2018), Neural ordinary differential equations, Eq. 2.
    """

    def __init__(
        self,
        dim: int,
        hidden: Sequence[int] = (64, 64),
        *,
        activation: str = "tanh",
        time: bool = False,
        control: int = 0,
    ) -> None:
        super().__init__()
        if activation not in ACTIVATIONS:
            raise unknown("activation", activation, ACTIVATIONS)
        self.dim, self.time, self.control = dim, time, control
        widths = [dim + int(time) + control, *hidden]
        layers: list[nn.Module] = []
        for fan_in, fan_out in pairwise(widths):
            layers += [nn.Linear(fan_in, fan_out), ACTIVATIONS[activation]()]
        self.layers = nn.Sequential(*layers, nn.Linear(widths[-1], dim))

    def forward(self, t: Tensor, y: Tensor, u: Tensor | None = None) -> Tensor:
        """Evaluate the field."""
        if (u is None) != (self.control == 0):
            raise InputError(
                f"this field takes {self.control} control values, got {0 if u is None else u.shape[-1]}: "
                "pass them as args, or build the field with control=..."
            )
        inputs = [y]
        if self.time:
            inputs.append(t.to(y).expand(y.shape[0]).unsqueeze(-1))
        if u is not None:
            inputs.append(u)
        return self.layers(torch.cat(inputs, dim=-1) if len(inputs) > 1 else y)
