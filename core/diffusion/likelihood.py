"""The likelihood of data under the probability flow, in nats and in bits per dimension."""

import math
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from integrand.core.diffusion.probability_flow import ProbabilityFlow
from integrand.core.diffusion.process import lift
from integrand.core.diffusion.schedule import half_log_snr_span
from integrand.core.errors import InputError, unknown
from integrand.core.numerics.divergence import PROBES, divergence, draw_probes
from integrand.core.numerics.solve_ode import solve_ode
from integrand.core.numerics.transport import transport


class Likelihood(NamedTuple):
    """What a probability flow says of some data.

    Attributes:
        log_prob: log density, (B,), in nats.
        latent: where the flow takes the data, (B, ...), as standard normal numbers.
    """

    log_prob: Tensor
    latent: Tensor


def log_prob(
    field: ProbabilityFlow,
    x: Tensor,
    args: Any = None,
    *,
    data_scale: float = 1.0,
    trace: Literal["exact", "rademacher", "gaussian"] = "exact",
    probes: int = 1,
    generator: torch.Generator | None = None,
    method: str = "dopri5",
    rtol: float = 1e-5,
    atol: float = 1e-5,
    nodes: int | None = None,
) -> Likelihood:
    """Return the log density of data: that of the noise which the flow takes them to, and the divergence on the way.

    The data are taken for states at ``process.start``, so that what is told is the density of data with that little
    noise. The equation is solved for y = x / alpha in l = log(sigma / alpha), dy/dl = y - D(alpha y, t), in which a
    denoiser's answers change evenly. At the end y is taken for normal with variance data_scale^2 + (sigma / alpha)^2,
    as it has there; a path that ends in noise alone is left where that is a million.

    Args:
        field: the flow; its denoiser must be smooth for the trace to exist.
        x: data (B, ...), on the scale the denoiser was trained on.
        args: conditions, as the field takes them.
        data_scale: standard deviation of the data.
        trace: ``"exact"``, D products with the Jacobian; or the distribution of the probes, fixed for the solve, whose
            estimate has no bias.
        probes: how many for each sample.
        generator: of the probes.
        method, rtol, atol: see ``solve_ode``.
        nodes: where given, the divergence is integrated by Gauss and Legendre's rule with so many nodes, and the states
            alone by the solver: as the divergence costs many times a state and changes evenly, 32 of it do for what a
            solver of both needs a hundred for.

    Raises:
        InputError: an unknown trace, fewer than one probe or node.

    Example:
        >>> from integrand.core.diffusion.processes import EDM
        >>> field = ProbabilityFlow(EDM(), lambda t, x: x / (1 + t**2))  # of standard normal data
        >>> round(log_prob(field, torch.zeros(1, 2)).log_prob.item(), 2)  # -log(2 pi)
        -1.84

    Source: Song, Sohl-Dickstein, Kingma, Kumar, Ermon and Poole (2021), Score-based generative modeling through
    stochastic differential equations, Eq. 39; the estimate Hutchinson (1989), A stochastic estimator of the trace of
    the influence matrix for Laplacian smoothing splines.
    """
    if trace not in ("exact", *PROBES):
        raise unknown("trace", trace, ("exact", *PROBES))
    for name, value in (("probes", probes), ("nodes", nodes)):
        if value is not None and value < 1:
            raise InputError(f"{name}={value} is out of range: it must be at least 1.")
    noise = None if trace == "exact" else draw_probes(x, probes, kind=trace, generator=generator)
    first, last = half_log_snr_span(field.process)
    start = torch.tensor(field.process.start, dtype=torch.float64)
    shrunk = float(field.process.alpha(start))
    clock, ends, y = _InLogNoise(field), (-first, -last), x / shrunk
    options: dict[str, Any] = {"method": method, "rtol": rtol, "atol": atol}
    if nodes is None:
        moved = transport(clock, y, ends, args, noise=noise, **options)
        points, log_det = moved.points, moved.log_det
    else:
        points, log_det = _by_quadrature(clock, y, ends, args, noise, nodes, options)
    scale = math.hypot(data_scale, math.exp(-last))
    latent = points / scale
    flat = latent.flatten(1).to(log_det.dtype)
    base = -0.5 * flat.square().sum(1)
    dims = flat.shape[1]
    volume = dims * (0.5 * math.log(2 * math.pi) + math.log(scale) + math.log(shrunk))
    return Likelihood(base + log_det - volume, latent)


def _by_quadrature(
    field: nn.Module, y: Tensor, ends: tuple[float, float], args: Any, noise: Tensor | None, nodes: int, options: Any
) -> tuple[Tensor, Tensor]:
    """Return where the states arrive, and the integral of the divergence along the way."""
    places, weights = np.polynomial.legendre.leggauss(nodes)
    middle, half = (ends[0] + ends[1]) / 2, (ends[1] - ends[0]) / 2
    times = torch.from_numpy(np.concatenate([[ends[0]], middle + half * places, [ends[1]]]))
    states = solve_ode(field, y, times, args=args, **options).states
    total = 0.0
    for k in range(nodes):
        l = times[k + 1].to(y)  # noqa: E741
        total = total + half * float(weights[k]) * divergence(field, l, states[:, k + 1], args, noise=noise).trace
    return states[:, -1], total  # pyright: ignore[reportReturnType]


def bits_per_dimension(log_prob: Tensor, dims: int, *, cell: float = 1.0) -> Tensor:
    """Return -log2 P / dims of values on a lattice, from the log density of the values with uniform noise added.

        -log2 P(v) <= E_u[-log2 (p(v + u) cell^dims)],   u uniform on a cell

    so that with one draw of u for each value the mean over data is an upper bound of the code length, in expectation.

    Args:
        log_prob: of values with noise, (B,), in nats.
        dims: numbers a sample holds.
        cell: distance between neighbouring values, in the units of the density.

    Example:
        >>> bits_per_dimension(torch.tensor([0.0]), 3, cell=0.25)  # the uniform density on a unit cube in four cells
        tensor([2.])

    Source: Theis, van den Oord and Bethge (2016), A note on the evaluation of generative models, Eq. 11 to 14.
    """
    if dims < 1 or not cell > 0:
        raise InputError(f"dims={dims} must be at least 1 and cell={cell:g} positive.")
    return -(log_prob / dims + math.log(cell)) / math.log(2)


def dequantize(
    values: Tensor, levels: int, *, generator: torch.Generator | None = None, noise: Tensor | None = None
) -> Tensor:
    """Return whole numbers 0 to levels - 1 with uniform noise, on [-1, 1]: each in a cell of 2 / levels.

    Args:
        values: of any shape.
        levels: how many there are.
        generator: of the noise, on the values' device.
        noise: uniform numbers in [0, 1) of the values' shape instead; 0.5 for the middle of each cell.

    Raises:
        InputError: fewer than two levels.

    Example:
        >>> dequantize(torch.tensor([0, 3]), 4, noise=torch.tensor(0.5))
        tensor([-0.7500,  0.7500])

    Source: Theis, van den Oord and Bethge (2016), A note on the evaluation of generative models, Section 3.1.
    """
    if levels < 2:
        raise InputError(f"levels={levels} is out of range: there must be at least 2.")
    dtype = values.dtype if values.is_floating_point() else torch.float32
    if noise is None:
        noise = torch.rand(values.shape, dtype=dtype, device=values.device, generator=generator)
    return (values.to(dtype) + noise) * (2 / levels) - 1


def quantize(values: Tensor, levels: int) -> Tensor:
    """Return the whole number, 0 to levels - 1, in whose cell each value lies, the nearest for those outside [-1, 1].

    Example:
        >>> quantize(torch.tensor([-1.2, -0.7, 0.99]), 4)
        tensor([0, 0, 3])
    """
    return ((values + 1) * (levels / 2)).floor().clamp(0, levels - 1).long()


class _InLogNoise(nn.Module):
    """dy/dl = y - D(alpha y, t) of y = x / alpha, l = log(sigma / alpha)."""

    def __init__(self, field: ProbabilityFlow) -> None:
        super().__init__()
        self.field = field

    def forward(self, l: Tensor, y: Tensor, args: Any = None) -> Tensor:  # noqa: E741
        process = self.field.process
        t = process.time(-l)
        return y - self.field.denoise(t, lift(process.alpha(t), y) * y, args)
