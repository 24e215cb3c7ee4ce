"""The wave equation.

Dimension letters: N samples, T times, X grid.
"""

from typing import ClassVar

import torch
from torch import Tensor

from integrand.core.numerics import PeriodicGrid
from integrand.datasets.synthetic.equations.random_fields import sines
from integrand.datasets.synthetic.equations.spectral import SpectralEquation, coefficient
from integrand.datasets.synthetic.simulator import Generator, Invariant, Parameters, Start


class Wave(SpectralEquation):
    """u_tt = c^2 u_xx on a circle, as u_t = v, v_t = c^2 u_xx; each wave turns at the frequency c k.

    Starts are at rest, u a sum of ten sines of at most five waves.

    Source: d'Alembert (1747), Recherches sur la courbe que forme une corde tendue mise en vibration.
    """

    name = "wave"
    summary = "wave equation on a circle: displacement and velocity"
    source = "d'Alembert (1747)"
    channels = ("u", "v")
    parameters: ClassVar = {"speed": 1.0}
    span, interval, step_size = 2.0, 0.05, None
    solver = "Fourier series, closed form"
    dims = 1
    points, lengths = (128,), (1.0,)

    def draw(self, generator: Generator, points: tuple[int, ...], lengths: tuple[float, ...]) -> Start:
        """Draw sines at rest."""
        u = sines(generator, points, lengths, terms=10, highest=5)
        return Start(torch.stack([u, torch.zeros_like(u)]))

    def advance(
        self,
        start: Start,
        times: Tensor,
        parameters: Parameters,
        *,
        lengths: tuple[float, ...],
        step_size: float | None = None,
    ) -> Tensor:
        """Evaluate the exact solution of the grid's Fourier series."""
        if len(times) == 1:
            return start.states.unsqueeze(1)
        grid = PeriodicGrid(tuple(start.states.shape[2:]), lengths)
        u, v = (each.unsqueeze(1) for each in grid.transform(start.states).unbind(1))  # (N, 1, M)
        wave = (-grid.laplacian_symbol(start.states)).sqrt()
        frequency = coefficient("speed", parameters, start.states, dims=grid.dims) * wave
        t = (times[1:] - times[0]).to(start.states).view(-1, *[1] * grid.dims)
        turned, sine = torch.cos(frequency * t), torch.sin(frequency * t)
        # sin(w t) / w, which is t where w = 0
        lag = torch.where(frequency == 0, t, sine / torch.where(frequency == 0, 1, frequency))
        later = torch.stack([turned * u + lag * v, turned * v - frequency * sine * u], dim=2)
        return torch.cat([start.states.unsqueeze(1), grid.inverse(later)], dim=1)

    def rate(self, values: Tensor, times: Tensor, parameters: Parameters, *, lengths: tuple[float, ...]) -> Tensor:
        """Return v and c^2 u_xx."""
        u, v = values.unbind(2)
        grid = PeriodicGrid(tuple(values.shape[3:]), lengths)
        square = coefficient("speed", parameters, values, dims=grid.dims) ** 2
        return torch.stack([v, square * grid.laplacian(u)], dim=2)

    @staticmethod
    def _mean_velocity(values: Tensor, parameters: Parameters) -> Tensor:
        return values[:, :, 1].flatten(2).mean(-1)

    invariants: ClassVar = {"mean velocity": _mean_velocity}

    def invariants_on(self, lengths: tuple[float, ...]) -> dict[str, Invariant]:
        """Return the mean velocity, the energy v^2 / 2 + c^2 |grad u|^2 / 2 and the momentum -v grad u, per volume."""

        def energy(values: Tensor, parameters: Parameters) -> Tensor:
            u, v = values.unbind(2)
            bent = PeriodicGrid(tuple(u.shape[2:]), lengths).laplacian(u)  # the mean of |grad u|^2 is that of -u bent
            square = coefficient("speed", parameters, u, dims=self.dims) ** 2
            return (v.square() - square * u * bent).flatten(2).mean(-1) / 2

        def momentum(axis: int) -> Invariant:
            def along(values: Tensor, parameters: Parameters) -> Tensor:
                u, v = values.unbind(2)
                return -(v * PeriodicGrid(tuple(u.shape[2:]), lengths).derivative(u, axis)).flatten(2).mean(-1)

            return along

        names = ("momentum",) if self.dims == 1 else tuple(f"momentum {axis}" for axis in "xyz"[: self.dims])
        return {**self.invariants, "energy": energy, **{name: momentum(i) for i, name in enumerate(names)}}
