"""A learned partial differential equation whose linear part is solved exactly, as a surrogate."""

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from integrand.apps.physics.surrogate.models.surrogate import Surrogate
from integrand.core.errors import InputError
from integrand.core.models.semilinear_pde import SemilinearPDE
from integrand.datasets.fields import FieldTask


class SemilinearSurrogate(Surrogate):
    """An equation of standardised fields on a periodic box, u_t = L u - div F(u, grad u) + S(u, grad u), all learned.

    L is a polynomial in the wave vector, so that an exponential integrator solves it exactly; F and S are a network at
    each point. The equation is the same on any grid, and a rollout is one call of its solver. See
    ``integrand.core.models.SemilinearPDE``.

    Args:
        hidden: widths of the hidden layers of F and S.
        order: of the highest derivatives of L, even.
        source: whether there is an S; without it the mean of each channel stays what it is.
        substeps: steps of the solver between two stored times.
        length_scale: unit of length; the shortest of the channels' ``FieldTask.length_scale`` where None.
        time_scale: unit of time; where None that in which the fastest channel changes by its deviation.

    Raises:
        InputError: data that are steady or not periodic, with constant fields, or with parameters that differ between
            samples: they are not of one equation of this form.

    Source: Kassam and Trefethen (2005), Fourth-order time-stepping for stiff PDEs, for the solver; the learned terms
    are ours.
    """

    always_increments: ClassVar[bool] = True

    def __init__(
        self,
        *,
        hidden: tuple[int, ...] = (64, 64),
        order: int = 4,
        source: bool = False,
        substeps: int = 2,
        length_scale: float | None = None,
        time_scale: float | None = None,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()

    def build_operator(self, task: FieldTask) -> nn.Module:
        """Return the equation, with its solver."""
        for held, why in (
            (not task.steady, "is steady, and semilinear_pde moves states in time"),
            (all(task.periodic), "is not periodic along all axes, as semilinear_pde needs"),
            (not task.constants, f"has constant fields ({', '.join(task.constants)}), which semilinear_pde cannot see"),
            (
                not task.parameters,
                f"has parameters that differ between samples ({', '.join(task.parameters)}), and semilinear_pde is one "
                "equation for all",
            ),
        ):
            if not held:
                raise InputError(f"{task.name} {why}: take another --model.")
        said = self.hparams
        times = [task.interval * own / step for own, step in zip(task.scale, task.increment_scale, strict=True)]
        return SemilinearPDE(
            len(task.channels),
            tuple(task.lengths),
            hidden=tuple(said["hidden"]),
            order=said["order"],
            source=said["source"],
            length_scale=min(task.length_scale) if said["length_scale"] is None else said["length_scale"],
            time_scale=min(times) if said["time_scale"] is None else said["time_scale"],
            step_size=task.interval / said["substeps"],
        )

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]  # a rollout has no batch to hand on
        self, state: Tensor | None, constants: Tensor | None, parameters: Mapping[str, Tensor]
    ) -> Tensor:
        """Return the next state, (B, C, *X)."""
        return self.roll(state, constants, parameters, 1)[:, 1]

    def roll(
        self, start: Tensor | None, constants: Tensor | None, parameters: Mapping[str, Tensor], steps: int
    ) -> Tensor:
        """Return the states after 0, 1, ..., ``steps`` steps, (B, T, C, *X), from one call of the solver."""
        assert start is not None
        times = torch.arange(steps + 1, dtype=start.dtype, device=start.device) * self.built_for.interval
        made = self.operator((start - self.location) / self.scale, times).states[:, 1:]
        return torch.cat([start[:, None], self.location + self.scale * made], dim=1)
