"""Flow through a porous medium: Darcy's law."""

import math
from typing import ClassVar

import torch
from torch import Tensor

from integrand.core.errors import InputError
from integrand.datasets.synthetic.equations.diffusion_operator import DiffusionOperator
from integrand.datasets.synthetic.equations.equation import Equation
from integrand.datasets.synthetic.simulator import Generator, GridOf, Parameters, Start

HIGHEST_WAVE = 255
"""Half waves of the random field along each axis."""


class Darcy(Equation):
    """-div(a grad u) = f on a rectangle, u = 0 on its walls: the pressure u in a medium of permeability a.

    The permeability is 12 where a Gaussian field is positive and 3 elsewhere. The field has covariance
    (-Laplacian + 9)^-2 with zero derivatives on the walls, and mean zero over the square. Points lie on the walls, too.
    A five-point flux form with harmonic means is solved to rounding, so that the grid alone is in the error: of second
    order for a smooth permeability, of first where it jumps. The published data are solved on 421 points a side and
    thinned, such as ``Darcy().simulate(1024, points=(421, 421)).every(5)``.

    Source: Li et al. (2021), Fourier neural operator for parametric partial differential equations, Section 5.2; the
    field without its mean as in the program that made their data.
    """

    name = "darcy"
    summary = "steady flow through a medium of two permeabilities: its pressure"
    source = "Li et al. (2021), Section 5.2"
    channels = ("pressure",)
    constant_names = ("permeability",)
    parameters: ClassVar = {"source": 1.0}
    span, interval, step_size = 0.0, 1.0, None
    solver = "five-point flux form, conjugate gradients to rounding"
    dims = 2
    points, lengths = (85, 85), (1.0, 1.0)
    periodic = False
    square = True
    steady = True

    def grid(self, points: tuple[int, ...] | None, lengths: tuple[float, ...] | None) -> GridOf:
        """Return the points 0, h, ..., L along each axis, walls included."""
        made = super().grid(points, lengths)
        coordinates = tuple(
            torch.linspace(0, length, n, dtype=torch.float64)
            for n, length in zip(made.points, made.lengths, strict=True)
        )
        return made._replace(coordinates=coordinates)

    def draw(self, generator: Generator, points: tuple[int, ...], lengths: tuple[float, ...]) -> Start:
        """Draw a permeability, the same function on every grid; the state is zero until it is solved for."""
        field = neumann_field(generator, points, lengths, shift=3.0, decay=2.0)
        permeability = torch.where(field > 0, 12.0, 3.0).to(torch.float64)
        return Start(torch.zeros(1, *points, dtype=torch.float64), permeability[None])

    def advance(
        self,
        start: Start,
        times: Tensor,
        parameters: Parameters,
        *,
        lengths: tuple[float, ...],
        step_size: float | None,
    ) -> Tensor:
        """Return the pressure, (N, 1, 1, X, Y).

        Raises:
            InputError: more than one time, or a permeability that is not positive.
        """
        if len(times) != 1:
            raise InputError(f"darcy: {len(times)} times are out of range: the flow is steady, leave times out.")
        assert start.constants is not None
        operator = DiffusionOperator(start.constants[:, 0], _spacing(start.constants, lengths), label=self.name)
        source = parameters["source"].to(start.states)[:, None, None].expand_as(start.states[:, 0])
        return operator.solve(source)[:, None, None]

    def residual(
        self,
        values: Tensor,
        times: Tensor,
        parameters: Parameters,
        *,
        lengths: tuple[float, ...],
        constants: Tensor | None = None,
    ) -> Tensor:
        """Return -div(a grad u) - f, (N, T, 1, X, Y), in the five-point form; 0 on the walls, where u is given."""
        if constants is None:
            raise InputError("darcy: the residual needs constants, the permeability of each sample.")
        operator = DiffusionOperator(constants[:, 0].to(values), _spacing(values, lengths), label=self.name)
        source = parameters["source"].to(values)[:, None, None]
        left = [operator(values[:, i, 0])[..., 1:-1, 1:-1] - source for i in range(values.shape[1])]
        return torch.nn.functional.pad(torch.stack(left, dim=1), (1, 1, 1, 1))[:, :, None]


def neumann_field(
    generator: Generator, points: tuple[int, ...], lengths: tuple[float, ...], *, shift: float, decay: float
) -> Tensor:
    """Draw a Gaussian field on a rectangle, (X, Y), walls included, whose derivatives across the walls are zero.

    The covariance operator is (-Laplacian + shift^2)^-decay; of its eigenfunctions cos(i pi x / L_x) cos(j pi y / L_y)
    those up to ``HIGHEST_WAVE`` are drawn, but not the constant.

    Source: Li et al. (2021), Section 5.2.
    """
    count = HIGHEST_WAVE + 1
    waves = [math.pi / length * torch.arange(count, dtype=torch.float64) for length in lengths]
    strength = (waves[0][:, None] ** 2 + waves[1] ** 2 + shift**2) ** (-decay / 2) * 2 / math.sqrt(math.prod(lengths))
    strength[0] /= math.sqrt(2)  # the constant along an axis has twice the mean square of a cosine
    strength[:, 0] /= math.sqrt(2)
    strength[0, 0] = 0
    coefficients = strength * torch.from_numpy(generator.standard_normal((count, count)))
    along = [
        torch.outer(torch.linspace(0, length, n, dtype=torch.float64), wave).cos()
        for n, length, wave in zip(points, lengths, waves, strict=True)
    ]
    return along[0] @ coefficients @ along[1].T


def _spacing(field: Tensor, lengths: tuple[float, ...]) -> tuple[float, float]:
    x, y = (length / (n - 1) for n, length in zip(field.shape[-2:], lengths, strict=True))
    return x, y
