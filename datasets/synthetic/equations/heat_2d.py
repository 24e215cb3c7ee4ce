"""The heat equation in the plane."""

from integrand.datasets.synthetic.equations.heat import Heat


class Heat2d(Heat):
    """u_t = kappa Laplacian(u) on a torus: the wave k decays as exp(-kappa |k|^2 t).

    Starts are Gaussian, with covariance 625 (-Laplacian + 25)^-2.

    Source: Fourier (1822), Theorie analytique de la chaleur.
    """

    name = "heat_2d"
    summary = "heat equation on a torus"
    dims = 2
    points, lengths = (64, 64), (1.0, 1.0)
