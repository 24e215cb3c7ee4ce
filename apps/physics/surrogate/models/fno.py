"""Fourier neural operators as surrogates."""

from typing import ClassVar

from torch import nn

from integrand.apps.physics.surrogate.models.surrogate import Surrogate
from integrand.core.errors import InputError
from integrand.core.operators import FNO, FactorizedFNO
from integrand.datasets.fields import FieldTask


def modes_along(task: FieldTask, modes: int | tuple[int, ...]) -> tuple[int, ...]:
    """Return the modes along each axis of a task.

    Raises:
        InputError: more numbers than axes, or fewer.

    """
    given = (modes,) * task.dims if isinstance(modes, int) else tuple(modes)
    if len(given) != task.dims:
        raise InputError(f"model.network.modes={list(given)}: give one number for each of {task.dims} axes.")
    return given


class FNOSurrogate(Surrogate):
    """The Fourier neural operator, see ``integrand.core.operators.FNO``.

    Args:
        modes: waves kept along each axis; one number for all axes or one for each.
        width: channels of the state within.
        depth: blocks.
        channel_mlp: hidden width of a further network in each block, as a share of ``width``; 0 for none.
        coordinates: whether the coordinates of each point are further inputs.
        padding: zeros appended to each axis within, as a share of its points; for data that are not periodic.
        residual: see ``Surrogate``.
        galilean: whether to look at a field from its own mean flow, for equations u_t + u u_x = L u; None for: where
            the data are of one that is known.

    Raises:
        InputError: options or data that do not go together.

    Source: Li et al. (2021), Fourier neural operator for parametric partial differential equations.
    """

    periodic_only: ClassVar[bool] = True

    def __init__(
        self,
        *,
        modes: int | tuple[int, ...] = 16,
        width: int = 64,
        depth: int = 4,
        channel_mlp: float = 0.0,
        coordinates: bool = True,
        padding: float = 0.0,
        residual: bool | None = None,
        galilean: bool | None = False,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()

    def build_operator(self, task: FieldTask) -> nn.Module:
        """Return the FNO."""
        said = self.hparams
        modes = modes_along(task, said["modes"])
        _require_points(task, modes, said["padding"])
        return FNO(
            task.inputs,
            len(task.channels),
            modes=modes,
            width=said["width"],
            depth=said["depth"],
            channel_mlp=said["channel_mlp"],
            coordinates=said["coordinates"],
            padding=said["padding"],
        )


class FactorizedFNOSurrogate(Surrogate):
    """The factorized Fourier neural operator, see ``integrand.core.operators.FactorizedFNO``.

    Args:
        modes: waves kept along each axis; one number for all axes or one for each.
        width: channels of the state within.
        depth: residual blocks.
        shared_kernel: whether all blocks share the weights of their convolutions.
        coordinates: whether the coordinates of each point are further inputs.
        padding: zeros appended to each axis within, as a share of its points; for data that are not periodic.
        residual: see ``Surrogate``.

    Source: Tran, Mathews, Xie and Ong (2023), Factorized Fourier neural operators.
    """

    periodic_only: ClassVar[bool] = True

    def __init__(
        self,
        *,
        modes: int | tuple[int, ...] = 16,
        width: int = 64,
        depth: int = 4,
        shared_kernel: bool = False,
        coordinates: bool = True,
        padding: float = 0.0,
        residual: bool | None = None,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()

    def build_operator(self, task: FieldTask) -> nn.Module:
        """Return the factorized FNO."""
        said = self.hparams
        modes = modes_along(task, said["modes"])
        _require_points(task, modes, said["padding"])
        return FactorizedFNO(
            task.inputs,
            len(task.channels),
            modes=modes,
            width=said["width"],
            depth=said["depth"],
            shared_kernel=said["shared_kernel"],
            coordinates=said["coordinates"],
            padding=said["padding"],
        )


def _require_points(task: FieldTask, modes: tuple[int, ...], padding: float) -> None:
    """Refuse waves that the trained grid does not resolve, before training starts."""
    for axis, (n, m) in enumerate(zip(task.shape, modes, strict=True)):
        room = n + round(padding * n)
        if room < 2 * m - 1:
            raise InputError(
                f"model.network.modes={m}: waves up to {m - 1} lie above the Nyquist wave of {room} points along "
                f"{'XYZ'[axis]}: take at most {(room + 1) // 2} modes, or more points."
            )
