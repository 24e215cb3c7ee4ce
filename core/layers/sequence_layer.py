"""The contract of every layer that is an equation along a sequence.

Dimension letters: B batch, L sequence length, D channels of the layer.

Laws, tested for each layer in ``tests/contracts``:

- parallel equals stepwise: ``layer(x)`` gives what ``layer.step`` gives element by element;
- streaming: chunks that hand on their state equal one call;
- padding: further elements with ``dt = 0`` and ``mask = False`` change nothing that came before, nor the final state;
- a batch equals its samples one by one;
- causality: the output at l depends on elements up to l only;
- time units cancel: ``dt`` and ``time_scale`` multiplied by the same number leave the output as it was.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from integrand.core.errors import InputError


class SequenceOutput(NamedTuple):
    """What a sequence layer returns: outputs (B, L, D), or (B, D) from ``step``, and the state to go on from."""

    y: Tensor
    state: Any


class SequenceLayer(nn.Module):
    """Base of the sequence layers, ``Name(d_model, **options_with_defaults)``.

    A layer implements ``forward`` and ``initial_state``; ``step`` is a call on one element unless the layer has a
    quicker way.

    Args:
        d_model: channels D of input and output.
        time_scale: the time that counts as one, in the units of ``dt``.
    """

    def __init__(self, d_model: int, *, time_scale: float = 1.0) -> None:
        super().__init__()
        if d_model < 1:
            raise InputError(f"d_model must be at least 1, got {d_model}.")
        if not time_scale > 0:
            raise InputError(f"time_scale must be positive, got {time_scale}: give a typical interval, in units of dt.")
        self.d_model = d_model
        self.time_scale = time_scale

    def forward(
        self,
        x: Tensor,
        dt: Tensor | float | None = None,
        mask: Tensor | None = None,
        state: Any = None,
    ) -> SequenceOutput:
        """Map a sequence.

        Args:
            x: (B, L, D).
            dt: time from the element before to each element: None for one ``time_scale`` each, a scalar, (L,) or
                (B, L); not negative.
            mask: (B, L) bool, True where an element is present. An absent element lets its time pass and brings
                nothing.
            state: what an earlier call returned; None starts afresh.

        Returns:
            Outputs (B, L, D) and the state after the last element.
        """
        raise NotImplementedError

    def initial_state(self, batch: int, like: Tensor) -> Any:
        """Return the state before anything was seen, on the device and in the precision of ``like``."""
        raise NotImplementedError

    def step(self, x: Tensor, dt: Tensor | float | None = None, state: Any = None) -> SequenceOutput:
        """Take one element: x (B, D); dt None, a scalar or (B,). Returns output (B, D) and the new state."""
        if isinstance(dt, Tensor) and dt.dim() == 1:
            dt = dt.unsqueeze(1)
        y, state = self(x.unsqueeze(1), dt, None, state)
        return SequenceOutput(y.squeeze(1), state)

    def check(self, x: Tensor, dt: Tensor | float | None, mask: Tensor | None) -> None:
        """Raise ``InputError`` where a shape is not what ``forward`` takes."""
        if x.dim() != 3 or x.shape[-1] != self.d_model:
            raise InputError(
                f"{type(self).__name__} takes x of shape (batch, length, {self.d_model}), got {tuple(x.shape)}."
            )
        shape = tuple(x.shape[:2])
        if isinstance(dt, Tensor) and (
            dt.dim() > 2 or any(n not in (1, m) for n, m in zip(reversed(dt.shape), reversed(shape), strict=False))
        ):
            raise InputError(f"dt must be None, a scalar, (L,) or (B, L) = {shape}, got {tuple(dt.shape)}.")
        if mask is not None and tuple(mask.shape) != shape:
            raise InputError(f"mask must have shape (B, L) = {shape}, got {tuple(mask.shape)}.")

    def intervals(self, x: Tensor, dt: Tensor | float | None) -> Tensor:
        """Return dt / time_scale as (B, L) in float32 or wider; call ``check`` before."""
        shape = x.shape[:2]
        dtype = torch.promote_types(x.dtype, torch.float32)
        if dt is None:
            return torch.ones(shape, dtype=dtype, device=x.device)
        if not isinstance(dt, Tensor):
            return torch.full(shape, dt / self.time_scale, dtype=dtype, device=x.device)
        return (dt.to(dtype=dtype) / self.time_scale).expand(shape)
