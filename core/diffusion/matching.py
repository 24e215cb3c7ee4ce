"""Losses of flow and bridge matching: regressions whose answers are conditional means along a path."""

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Tensor

from integrand.core.diffusion.interpolants import Interpolant
from integrand.core.diffusion.process import lift


class MatchingLoss(NamedTuple):
    """Errors of the two fields of a bridge, each (B,).

    Attributes:
        flow: mean square of the flow's error.
        score: mean square of gamma s + z, the score's error in units of the noise.
    """

    flow: Tensor
    score: Tensor


def flow_matching_loss(
    field: Callable[..., Tensor],
    x0: Tensor,
    x1: Tensor,
    t: Tensor,
    interpolant: Interpolant,
    *,
    noise: Tensor | None = None,
    args: Any = None,
    antithetic: bool = False,
) -> Tensor:
    """Return the mean square of b(t, x_t) - d x_t / dt for each pair, (B,), over the components of a sample.

    Its expectation is least for the mean velocity given x_t, the field that carries the source to the data.

    With ``antithetic`` each pair is taken with the noise z and with -z. Of the mean of the two losses the part without
    b, gamma'^2 |z|^2, is left out, and what remains is

        (|b_+ - d|^2 + |b_- - d|^2) / 2 - gamma' z . (b_+ - b_-),          d = alpha' x_0 + beta' x_1,

    whose variance stays finite where gamma' goes to infinity, since b_+ - b_- is of the order of gamma there. It has
    the same gradient in the mean, costs two evaluations and may be negative.

    Args:
        field: b, called ``field(t, x)``, or ``field(t, x, args)`` when ``args`` are given.
        x0, x1: pairs of data and source, (B, ...), see ``Coupling``.
        t: times, (B,), see ``Interpolant.draw_times``.
        interpolant: the path.
        noise: z, (B, ...), where the path has a bump.
        args: conditions, as the field takes them.
        antithetic: whether to take each noise with both signs.

    Raises:
        InputError: shapes that differ; noise missing, or given to a path without.

    Example:
        >>> from integrand.core.diffusion.interpolants import LinearInterpolant
        >>> data, source = torch.zeros(2, 1), torch.tensor([[1.0], [3.0]])
        >>> flow_matching_loss(lambda t, x: torch.ones_like(x), data, source, torch.rand(2), LinearInterpolant())
        tensor([0., 4.])

    Source: Lipman, Chen, Ben-Hamu, Nickel and Le (2023), Flow matching for generative modeling, Eq. 9; with a noise of
    its own and antithetic Albergo, Boffi and Vanden-Eijnden (2023), Stochastic interpolants: a unifying framework for
    flows and diffusions, Theorem 7 and on antithetic sampling.
    """
    x = interpolant.mix(x0, x1, t, noise)
    if not antithetic or noise is None:
        return _mean(_call(field, t, x, args) - interpolant.velocity(x0, x1, t, noise))
    displacement = interpolant.displacement(x0, x1, t)
    plus, minus = _call(field, t, x, args), _call(field, t, interpolant.mix(x0, x1, t, -noise), args)
    pull = (lift(interpolant.gamma_slope(t), x0) * noise * (plus - minus)).flatten(1).mean(1)
    return (_mean(plus - displacement) + _mean(minus - displacement)) / 2 - pull


def score_matching_loss(
    score: Callable[..., Tensor],
    x0: Tensor,
    x1: Tensor,
    t: Tensor,
    interpolant: Interpolant,
    *,
    noise: Tensor,
    args: Any = None,
) -> Tensor:
    """Return the mean square of gamma(t) s(t, x_t) + z for each pair, (B,).

    Its expectation is least for the score s = -E[z | x_t] / gamma of the path's density; weighted by gamma^2 its target
    is the noise itself, of unit variance at every time.

    Args and errors: see ``flow_matching_loss``.

    Source: Albergo, Boffi and Vanden-Eijnden (2023), Stochastic interpolants: a unifying framework for flows and
    diffusions, Theorem 8.
    """
    x = interpolant.mix(x0, x1, t, noise)
    return _mean(lift(interpolant.gamma(t), x) * _call(score, t, x, args) + noise)


def bridge_matching_loss(
    flow: Callable[..., Tensor],
    score: Callable[..., Tensor],
    x0: Tensor,
    x1: Tensor,
    t: Tensor,
    interpolant: Interpolant,
    *,
    noise: Tensor,
    args: Any = None,
) -> MatchingLoss:
    """Return the errors of the two fields of which a bridge is made, at one point of the path for each pair.

        flow:   |v(t, x_t) - (alpha' x_0 + beta' x_1)|^2          score:   |gamma s(t, x_t) + z|^2

    The flow's target has no noise in it, so that it is finite at both ends, as the score's is; the velocity is their
    sum v - gamma gamma' s, see ``Interpolant`` and ``SchrodingerBridge``.

    Args and errors: see ``flow_matching_loss``.

    Source: Tong, Malkin, Fatras, Atanackovic, Zhang, Huguet, Wolf and Bengio (2024), Simulation-free Schrodinger
    bridges via score and flow matching, there with the noise in the flow's target.
    """
    x = interpolant.mix(x0, x1, t, noise)
    return MatchingLoss(
        _mean(_call(flow, t, x, args) - interpolant.displacement(x0, x1, t)),
        _mean(lift(interpolant.gamma(t), x) * _call(score, t, x, args) + noise),
    )


def _call(field: Callable[..., Tensor], t: Tensor, x: Tensor, args: Any) -> Tensor:
    return field(t, x) if args is None else field(t, x, args)


def _mean(error: Tensor) -> Tensor:
    return error.square().flatten(1).mean(1)
