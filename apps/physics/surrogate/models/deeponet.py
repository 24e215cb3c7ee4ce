"""DeepONet as a surrogate."""

from typing import ClassVar

from torch import Tensor, nn

from integrand.apps.physics.surrogate.models.grid_points import coordinate_count, grid_points
from integrand.apps.physics.surrogate.models.surrogate import Surrogate
from integrand.core.errors import InputError
from integrand.core.operators import DeepONet
from integrand.datasets.fields import FieldTask


class DeepONetSurrogate(Surrogate):
    """DeepONet, see ``integrand.core.operators.DeepONet``: its sensors are the points of the trained grid.

    On a finer grid it answers at all points and reads every so many of them. Periodic axes are circles to its trunk, so
    that answers are periodic, too.

    Args:
        basis: functions for each output channel.
        width: of the hidden layers of branch and trunk.
        depth: hidden layers of each.
        residual: see ``Surrogate``.

    Source: Lu, Jin, Pang, Zhang and Karniadakis (2021), Learning nonlinear operators via DeepONet.
    """

    any_resolution: ClassVar[str] = "DeepONet reads its input at the trained points alone, and answers at all"

    def __init__(self, *, basis: int = 64, width: int = 128, depth: int = 3, residual: bool | None = None) -> None:
        super().__init__()
        self.save_hyperparameters()

    def build_operator(self, task: FieldTask) -> nn.Module:
        """Return the network on fields."""
        said = self.hparams
        return _OnGrids(task, basis=said["basis"], hidden=(said["width"],) * said["depth"])


class _OnGrids(nn.Module):
    """A DeepONet between fields: (B, C_in, *X) on the trained grid, or one that holds it, to (B, C, *X)."""

    def __init__(self, task: FieldTask, *, basis: int, hidden: tuple[int, ...]) -> None:
        super().__init__()
        self.shape, self.lengths, self.periodic = tuple(task.shape), tuple(task.lengths), tuple(task.periodic)
        sensors = 1
        for n in self.shape:
            sensors *= n
        self.net = DeepONet(
            sensors,
            coordinate_count(self.periodic),
            in_channels=task.inputs,
            out_channels=len(task.channels),
            basis=basis,
            branch=hidden,
            trunk=hidden,
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map a field."""
        shape = tuple(x.shape[2:])
        points = grid_points(shape, self.lengths, self.periodic, x)
        made = self.net(self._sensed(x).flatten(2), points)
        return made.transpose(1, 2).unflatten(2, shape)

    def _sensed(self, x: Tensor) -> Tensor:
        """Return the values at the points of the trained grid."""
        for axis, (n, m, joined) in enumerate(zip(x.shape[2:], self.shape, self.periodic, strict=True)):
            have, want = (n, m) if joined else (n - 1, m - 1)
            if have % want:
                raise InputError(
                    f"DeepONet has its sensors at the {'x'.join(map(str, self.shape))} points it was trained at, which "
                    f"are not among {'x'.join(map(str, x.shape[2:]))}: take a multiple, or an FNO."
                )
            x = x.movedim(axis + 2, -1)[..., :: have // want].movedim(-1, axis + 2)
        return x
