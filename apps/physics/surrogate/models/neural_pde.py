"""A learned partial differential equation, solved in time by the method of lines, as a surrogate."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from integrand.apps.physics.surrogate.models.surrogate import Surrogate
from integrand.core.errors import InputError
from integrand.core.models.neural_pde import LocalTerm, NeuralPDE
from integrand.core.operators import Grid, Open, Periodic
from integrand.datasets.fields import FieldTask


class NeuralPDESurrogate(Surrogate):
    """An equation u_t = N(u, u_x, u_xx, ..., a, mu) whose local term N is learned, solved between two stored times.

    Derivatives are differences of the grid, so that the equation is the same on any; a step of the data is divided
    into equal steps of a Runge-Kutta method. See ``integrand.core.models.NeuralPDE``.

    Args:
        derivatives: highest order of the derivatives along each axis that N sees.
        accuracy: order of the differences, 2, 4 or 6.
        width: of the hidden layers of N.
        depth: hidden layers of N.
        substeps: steps of the solver between two stored times; explicit ones need many where derivatives are high.
        method: an explicit method of ``solve_ode``.
        length_scale: unit of length of the derivatives; a 32nd of the shortest side where None.

    Source: Long, Lu, Ma and Dong (2018), PDE-Net: Learning PDEs from data.
    """

    always_increments: ClassVar[bool] = True

    def __init__(
        self,
        *,
        derivatives: int = 2,
        accuracy: int = 4,
        width: int = 64,
        depth: int = 2,
        substeps: int = 4,
        method: str = "rk4",
        length_scale: float | None = None,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()

    def build_operator(self, task: FieldTask) -> nn.Module:
        """Return the solver of the learned equation."""
        if task.steady:
            raise InputError(f"{task.name} is steady: neural_pde moves states in time; take another --model.")
        return _TimeStep(task, self.hparams)


class _TimeStep(nn.Module):
    """The change of standardised states over a stored interval, in units of its deviation: (B, C_in, *X), (B, C, *X).

    Constants and parameters are channels of the state whose rate of change is zero, so that N sees their slopes, too.
    """

    def __init__(self, task: FieldTask, said) -> None:
        super().__init__()
        self.channels = len(task.channels)
        self.options = {
            "accuracy": said["accuracy"],
            "derivatives": said["derivatives"],
            "length_scale": said["length_scale"] or min(task.lengths) / 32,
            "method": said["method"],
            "step_size": 1 / said["substeps"],
        }
        self.lengths = tuple(task.lengths)
        self.boundaries = tuple(Periodic() if joined else Open() for joined in task.periodic)
        ratio = torch.tensor(task.increment_scale) / torch.tensor(task.scale)
        self.register_buffer("ratio", ratio.float().view(-1, *[1] * task.dims), persistent=False)
        self.term = LocalTerm(
            task.inputs,
            task.dims,
            derivatives=said["derivatives"],
            hidden=(said["width"],) * said["depth"],
            activation="gelu",
        )

    def rate(self, t: Tensor, features: Tensor) -> Tensor:
        """Return the rate of change per stored interval; that of constants is zero."""
        made = self.term(t, features)
        return torch.cat([made[:, : self.channels] * self.ratio, torch.zeros_like(made[:, self.channels :])], dim=1)

    def forward(self, x: Tensor) -> Tensor:
        """Solve over one interval."""
        grid = Grid(tuple(x.shape[2:]), self.lengths, self.boundaries)
        solver = NeuralPDE(grid, _Called(self.rate), **self.options).to(x.device)
        end = solver(x, [0.0, 1.0]).states[:, -1]
        return (end - x)[:, : self.channels] / self.ratio


class _Called(nn.Module):
    """A function as a module without parameters: those of the term are its owner's."""

    def __init__(self, function) -> None:
        super().__init__()
        self.function = function

    def forward(self, t: Tensor, features: Tensor) -> Tensor:
        return self.function(t, features)
