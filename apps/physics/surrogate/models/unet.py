"""The U-Net as a surrogate."""

from typing import ClassVar

from torch import nn

from integrand.apps.physics.surrogate.models.surrogate import Surrogate
from integrand.core.operators import UNet
from integrand.datasets.fields import FieldTask


class UNetSurrogate(Surrogate):
    """The U-Net, see ``integrand.core.operators.UNet``; its kernels wrap around where all axes are periodic.

    Args:
        width: channels of the finest level, a multiple of ``groups``.
        multipliers: channels of each level, finest first, in units of ``width``.
        blocks: residual blocks on each level, down and up each.
        groups: groups of the normalisations.
        residual: see ``Surrogate``.

    Source: Gupta and Brandstetter (2022), Towards multi-spatiotemporal-scale generalized PDE modeling.
    """

    any_resolution: ClassVar[str] = "the kernels of a U-Net span so many points, not so much length: expect worse"

    def __init__(
        self,
        *,
        width: int = 32,
        multipliers: tuple[int, ...] = (1, 2, 4),
        blocks: int = 1,
        groups: int = 8,
        residual: bool | None = None,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()

    def build_operator(self, task: FieldTask) -> nn.Module:
        """Return the U-Net."""
        said = self.hparams
        return UNet(
            task.inputs,
            len(task.channels),
            dims=task.dims,
            width=said["width"],
            multipliers=tuple(said["multipliers"]),
            blocks=said["blocks"],
            groups=said["groups"],
            padding="circular" if all(task.periodic) else "zeros",
        )
