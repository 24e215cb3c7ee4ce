"""Messages between the host, which keeps the clocks, and the device, which keeps the states."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from integrand.core.numerics.modes import is_transformed


@dataclass(frozen=True)
class HostLink:
    """The way to a device and back, one message for many numbers.

    Attributes:
        dtype: type of times there.
        device: the device.

    Example:
        >>> link = HostLink(torch.float32, torch.device("cpu"))
        >>> t, h = link.send(np.array([0.0, 1.0]), np.array([0.5, 0.25]))
        >>> link.fetch(t + h)
        array([0.5 , 1.25])
    """

    dtype: torch.dtype
    device: torch.device

    def send(self, *columns: NDArray[Any], dtype: torch.dtype | None = None) -> tuple[Tensor, ...]:
        """Copy columns of numbers to the device, as times unless told otherwise."""
        host = torch.from_numpy(np.stack(columns))
        return host.to(dtype or self.dtype).to(self.device).unbind(0)

    def send_rows(self, rows: NDArray[np.int64]) -> Tensor:
        """Copy an index to the device."""
        return torch.from_numpy(rows).to(self.device)

    @staticmethod
    def fetch(values: Tensor) -> NDArray[np.float64]:
        """Copy numbers to the host, which waits for them."""
        values = values.detach().cpu().double()
        # Within a transform of torch.func every tensor is wrapped, and gives its numbers in no other way.
        return np.array(values.tolist()) if is_transformed() else values.numpy()
