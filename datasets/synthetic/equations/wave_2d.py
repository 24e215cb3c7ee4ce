"""The wave equation in the plane."""

import torch

from integrand.datasets.synthetic.equations.random_fields import gaussian_field
from integrand.datasets.synthetic.equations.wave import Wave
from integrand.datasets.synthetic.simulator import Generator, Start


class Wave2d(Wave):
    """u_tt = c^2 Laplacian(u) on a torus, as u_t = v, v_t = c^2 Laplacian(u); the wave k turns at the frequency c |k|.

    Starts are at rest, u Gaussian with covariance 7^6 (-Laplacian + 49)^-4, so that few waves are short.

    Source: Euler (1766), De motu vibratorio tympanorum.
    """

    name = "wave_2d"
    summary = "wave equation on a torus: displacement and velocity"
    source = "Euler (1766)"
    dims = 2
    points, lengths = (64, 64), (1.0, 1.0)

    def draw(self, generator: Generator, points: tuple[int, ...], lengths: tuple[float, ...]) -> Start:
        """Draw a smooth displacement at rest."""
        u = gaussian_field(generator, points, lengths, scale=7.0**3, shift=7.0, decay=4.0)
        return Start(torch.stack([u, torch.zeros_like(u)]))
