"""Schemes for stochastic differential equations: one step each, with its declared properties.

A step from (t, y) over h uses W, the increment of the Brownian motion, and where the scheme asks for it the space-time
Levy area H. Time may run backwards: h is negative then, W runs with the walk, and |h| is its variance. The orders a
scheme declares are measured in ``tests/convergence/test_sde_orders.py``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from integrand.core.numerics.stochastic.equation import Equation, wide
from integrand.core.numerics.stochastic.stages import EULER, HEUN, Stages, Sum, stages_of


class Noise(NamedTuple):
    """What the Brownian motion does in a step: its increment and its space-time Levy area, (B, ...)."""

    w: Tensor
    area: Tensor | None


class Moved(NamedTuple):
    """A step taken.

    Attributes:
        y: the state after it, (B, ...).
        drift: f at its start.
        diffusion: g at its start.
        carry: what the next step starts with besides y; None for most schemes.
    """

    y: Tensor
    drift: Tensor
    diffusion: Tensor
    carry: Any = None


class StepRule(Protocol):
    """One step of a scheme; t and h are scalars or (B,)."""

    def __call__(self, sde: Equation, t: Tensor, h: Tensor, y: Tensor, noise: Noise, carry: Any) -> Moved:
        """Return the state at t + h."""
        ...


@dataclass(frozen=True)
class Scheme:
    """A scheme, with what is claimed of it.

    Attributes:
        name: the method's name in ``solve_sde(method=...)``.
        calculus: the readings of the equation whose solution it approaches.
        strong: strong order for each type of noise it is made for.
        weak: weak order.
        area: whether it asks for the space-time Levy area.
        separate: whether diagonal noise must be so in the strict sense, each diffusion g_i depending on y_i alone.
        adaptive: the types of noise for which it is known to converge also where the steps depend on the path they
            are taken along; what that asks of a scheme is told in ``adaptive.py``.
        embeds_euler: whether it differs from Euler's step with the same slopes in drift and noise alike, so that the
            difference tells the error.
        step: the rule.
        source: author, year and place.
    """

    name: str
    calculus: tuple[str, ...]
    strong: Mapping[str, float]
    weak: float
    step: StepRule
    source: str
    area: bool = False
    separate: bool = False
    adaptive: tuple[str, ...] = ()
    embeds_euler: bool = False


def _staged(sde: Equation, stages: Stages, t: Tensor, h: Tensor, y: Tensor, noise: Noise) -> Moved:
    """A step as its table tells."""
    h_y, vectors = wide(h, y), stages.weights(wide(h, noise.w), noise.w)
    f: list[Tensor] = []
    g: list[Tensor] = []

    def total(table: Sum) -> Tensor:
        at = y
        for i, a in table.drifts.items():
            at = torch.addcmul(at, f[i], h_y, value=a)
        for i, name in table.diffusions.items():
            at = torch.addcmul(at, g[i], vectors[name]) if sde.diagonal else at + sde.apply(g[i], vectors[name])
        return at

    for point in stages.points:
        at, then = y if point.at is None else total(point.at), t + point.shift * h if point.shift else t
        if point.drift:
            f.append(sde.drift(then, at))
        if point.diffusion:
            g.append(sde.diffusion(then, at))
    return Moved(total(stages.end), f[0], g[0])


def _euler(sde: Equation, t: Tensor, h: Tensor, y: Tensor, noise: Noise, carry: Any) -> Moved:
    return _staged(sde, EULER, t, h, y, noise)


def _heun(sde: Equation, t: Tensor, h: Tensor, y: Tensor, noise: Noise, carry: Any) -> Moved:
    return _staged(sde, HEUN, t, h, y, noise)


def _reversible_heun(sde: Equation, t: Tensor, h: Tensor, y: Tensor, noise: Noise, carry: Any) -> Moved:
    """z' = 2 y - z + f h + g W,  y' = y + (f + f') h / 2 + (g + g') W / 2, with f and g at z, f' and g' at z'.

    The pair (y, z) can be walked back: exchange the two ends and turn the signs of h and W.
    """
    h_y = wide(h, y)
    z, f, g = (y, sde.drift(t, y), sde.diffusion(t, y)) if carry is None else carry
    z_end = sde.push(2 * y - z, f, h_y, g, noise.w)
    f_end, g_end = sde.drift(t + h, z_end), sde.diffusion(t + h, z_end)
    moved = sde.push(y, f + f_end, h_y / 2, g + g_end, noise.w / 2)
    return Moved(moved, f, g, (z_end, f_end, g_end))


def _milstein(sde: Equation, t: Tensor, h: Tensor, y: Tensor, noise: Noise, carry: Any) -> Moved:
    """y' = y + f h + g W + 1/2 sum_jk (dg_k/dy g_j) (W_j W_k - delta_jk h), the h left out in Stratonovich calculus."""
    f = sde.drift(t, y)
    ito = wide(h.abs(), y) if sde.calculus == "ito" else None
    if sde.noise == "additive":
        g = sde.diffusion(t, y)
        return Moved(sde.push(y, f, wide(h, y), g, noise.w), f, g)
    if sde.noise == "diagonal":
        # Each g_i depends on y_i alone, so that one product with ones gives every derivative.
        g, slope = sde.diffusion_jvp(t, y, torch.ones_like(y))
        square = noise.w**2 if ito is None else noise.w**2 - ito
        return Moved(sde.push(y, f, wide(h, y), g, noise.w) + g * slope * square / 2, f, g)
    g = sde.diffusion(t, y)
    _, slope = sde.diffusion_jvp(t, y, sde.apply(g, noise.w))
    bend = sde.apply(slope, noise.w)
    if ito is not None:
        bend = bend - ito * sde.self_slopes(t, y, g)
    return Moved(sde.push(y, f, wide(h, y), g, noise.w) + bend / 2, f, g)


def _milstein_free(sde: Equation, t: Tensor, h: Tensor, y: Tensor, noise: Noise, carry: Any) -> Moved:
    """Milstein with differences for derivatives: by its table, but for Ito's calculus with several columns.

    There y' = y + f h + g W + sum_jk (g_k(t, y + f h + g_j sqrt h) - g_k(t, y)) (W_j W_k - delta_jk h) / (2 sqrt h).
    """
    stages = stages_of("milstein_free", sde.noise, sde.calculus)
    if stages is not None:
        return _staged(sde, stages, t, h, y, noise)
    h_y, length = wide(h, y), wide(h.abs(), y)
    f, g = sde.drift(t, y), sde.diffusion(t, y)
    # Column j of g moves copy j of the samples: shifts[b, d, k, j] = g_k(y + f h + g_j sqrt h) - g_k(y).
    copies = torch.addcmul(y, f, h_y).unsqueeze(-1) + g * length.sqrt().unsqueeze(-1)
    shifts_BDMM = sde.diffusion_at_columns(t, copies) - g.unsqueeze(-1)
    pairs_BMM = noise.w.unsqueeze(-1) * noise.w.unsqueeze(-2) - torch.diag_embed(length.expand_as(noise.w))
    half = 0.5 / length.sqrt().clamp_min(torch.finfo(y.dtype).tiny)
    return Moved(sde.push(y, f, h_y, g, noise.w) + half * (shifts_BDMM * pairs_BMM.unsqueeze(1)).sum((-2, -1)), f, g)


@dataclass(frozen=True)
class StochasticTableau:
    """Coefficients of Roessler's Runge-Kutta methods; rows of ``a`` and ``b`` are explicit, as in ``Tableau``.

    Stages of the drift at H0_i = y + sum_j a0_ij f_j h + sum_j b0_ij g_j I_10 / h, those of the diffusion at
    H1_i = y + sum_j a1_ij f_j h + sum_j b1_ij g_j sqrt h; the step is

        y' = y + sum_i alpha_i f_i h + sum_i (beta1_i I_1 + beta2_i I_11 / sqrt h + beta3_i I_10 / h
                                               + beta4_i I_111 / h) g_i.
    """

    a0: tuple[tuple[float, ...], ...]
    b0: tuple[tuple[float, ...], ...]
    c0: tuple[float, ...]
    a1: tuple[tuple[float, ...], ...]
    b1: tuple[tuple[float, ...], ...]
    c1: tuple[float, ...]
    alpha: tuple[float, ...]
    beta: tuple[tuple[float, ...], ...]


SRI2W1 = StochasticTableau(
    a0=((), (1.0,), (1 / 4, 1 / 4), (0.0, 0.0, 0.0)),
    b0=((), (0.0,), (1.0, 1 / 2), (0.0, 0.0, 0.0)),
    c0=(0.0, 1.0, 1 / 2, 0.0),
    a1=((), (1 / 4,), (1.0, 0.0), (0.0, 0.0, 1 / 4)),
    b1=((), (-1 / 2,), (1.0, 0.0), (2.0, -1.0, 1 / 2)),
    c1=(0.0, 1 / 4, 1.0, 1 / 4),
    alpha=(1 / 6, 1 / 6, 2 / 3, 0.0),
    beta=((-1.0, 4 / 3, 2 / 3, 0.0), (1.0, -4 / 3, 1 / 3, 0.0), (2.0, -4 / 3, -2 / 3, 0.0), (-2.0, 5 / 3, -2 / 3, 1.0)),
)


def _srk(sde: Equation, t: Tensor, h: Tensor, y: Tensor, noise: Noise, carry: Any) -> Moved:
    return (_sra if sde.noise == "additive" else _sri)(sde, t, h, y, noise)


def _sri(sde: Equation, t: Tensor, h: Tensor, y: Tensor, noise: Noise) -> Moved:
    """Scheme SRI2W1 for diagonal and scalar noise: ``StochasticTableau``."""
    table, h_y, length = SRI2W1, wide(h, y), wide(h.abs(), y)
    assert noise.area is not None
    w, root = noise.w, length.sqrt()
    # I_11 = (W^2 - h) / 2, I_111 = (W^3 - 3 h W) / 6 and I_10 = h (W / 2 + H); of a step of length 0 all are 0.
    lean = w / 2 + noise.area
    kinds = (
        w,
        (w**2 - length) / 2 / root.clamp_min(torch.finfo(y.dtype).tiny),
        lean,
        (w**3 / length.clamp_min(torch.finfo(y.dtype).tiny) - 3 * w) / 6,
    )
    slopes: list[Tensor | None] = []
    diffusions: list[Tensor] = []
    moved = y
    for i, alpha in enumerate(table.alpha):
        used = alpha or any(row[i] for row in (*table.a0[i + 1 :], *table.a1[i + 1 :]))
        at = _stage(y, ((table.a0[i], slopes, h_y), (table.b0[i], diffusions, lean)))
        slopes.append(sde.drift(t + table.c0[i] * h, at) if used else None)
        at = _stage(y, ((table.a1[i], slopes, h_y), (table.b1[i], diffusions, root)))
        g = sde.diffusion(t + table.c1[i] * h, at)
        diffusions.append(g if sde.diagonal else g.squeeze(-1))
        weight = sum(row[i] * kind for row, kind in zip(table.beta, kinds, strict=True) if row[i])
        moved = moved + diffusions[i] * weight
    moved = _stage(moved, ((table.alpha, slopes, h_y),))
    first = slopes[0]
    assert first is not None
    return Moved(moved, first, diffusions[0] if sde.noise == "diagonal" else diffusions[0].unsqueeze(-1))


def _stage(y: Tensor, terms: tuple) -> Tensor:
    """Return y + sum over (weights, slopes, factor) of factor sum_j weight_j slope_j, leaving out zero weights."""
    for weights, slopes, factor in terms:
        for weight, slope in zip(weights, slopes, strict=False):
            if weight:
                y = torch.addcmul(y, slope, factor, value=weight)
    return y


def _sra(sde: Equation, t: Tensor, h: Tensor, y: Tensor, noise: Noise) -> Moved:
    """Scheme SRA1 for additive noise, with I_10 / h = W/2 + H.

    f_2 = f(t + 3/4 h, y + 3/4 f h + 3/2 g(t + h) I_10 / h),
    y' = y + (f + 2 f_2) h / 3 + g(t + h) (W - I_10 / h) + g(t) I_10 / h.
    """
    assert noise.area is not None
    h_y, lean = wide(h, y), noise.w / 2 + noise.area
    f, g, g_end = sde.drift(t, y), sde.diffusion(t, y), sde.diffusion(t + h, y)
    late = sde.drift(t + 0.75 * h, sde.push(y, f, 0.75 * h_y, g_end, 1.5 * lean))
    moved = sde.push(y, f + 2 * late, h_y / 3, g_end, noise.w - lean)
    return Moved(moved + sde.apply(g, lean), f, g)


SCHEMES = {
    scheme.name: scheme
    for scheme in (
        Scheme(
            "euler",
            ("ito",),
            {"diagonal": 0.5, "scalar": 0.5, "commutative": 0.5, "additive": 1.0, "general": 0.5},
            1.0,
            _euler,
            "Maruyama (1955); Kloeden and Platen (1992), Theorem 10.2.2",
            adaptive=("additive",),
        ),
        Scheme(
            "milstein",
            ("ito", "stratonovich"),
            {"diagonal": 1.0, "scalar": 1.0, "commutative": 1.0, "additive": 1.0},
            1.0,
            _milstein,
            "Milstein (1974); Kloeden and Platen (1992), Section 10.3",
            separate=True,
            adaptive=("diagonal", "scalar", "commutative", "additive"),
        ),
        Scheme(
            "milstein_free",
            ("ito", "stratonovich"),
            {"diagonal": 1.0, "scalar": 1.0, "commutative": 1.0, "additive": 1.0},
            1.0,
            _milstein_free,
            "Platen (1984), in Kloeden and Platen (1992), section 11.1; Stratonovich differences after Ruemelin (1982)",
            separate=True,
            adaptive=("diagonal", "scalar", "commutative", "additive"),
        ),
        Scheme(
            "heun",
            ("stratonovich",),
            {"diagonal": 1.0, "scalar": 1.0, "commutative": 1.0, "additive": 1.0, "general": 0.5},
            1.0,
            _heun,
            "Ruemelin (1982), Numerical treatment of stochastic differential equations",
            adaptive=("diagonal", "scalar", "commutative", "additive", "general"),
            embeds_euler=True,
        ),
        Scheme(
            "srk",
            ("ito",),
            {"diagonal": 1.5, "scalar": 1.5, "additive": 1.5},
            1.5,
            _srk,
            "Roessler (2010), Runge-Kutta methods for the strong approximation of solutions of SDEs, SRI2W1 and SRA1",
            area=True,
            separate=True,
            adaptive=("diagonal", "scalar", "additive"),
        ),
        Scheme(
            "reversible_heun",
            ("stratonovich",),
            # Linear equations give it order 1 where noise commutes, others do not.
            {"diagonal": 0.5, "scalar": 0.5, "commutative": 0.5, "additive": 1.0, "general": 0.5},
            1.0,
            _reversible_heun,
            "Kidger, Foster, Li and Lyons (2021), Efficient and accurate gradients for neural SDEs, Algorithm 1",
        ),
    )
}
