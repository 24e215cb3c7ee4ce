"""All scores of predicted solutions: for each sample, and at each step.

Dimension letters: N samples, T times, C channels, X Y Z grid.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from integrand.apps.physics.field_metrics import (
    band_errors,
    correlation,
    correlation_time,
    divergence,
    invariant_drift,
    nrmse,
    vrmse,
)
from integrand.core.losses import relative_h1, relative_l2
from integrand.datasets.simulations import Simulations
from integrand.datasets.synthetic.equations.equation import Equation

Array = np.ndarray
WORST = 1e3
"""What an error counts at most, so that one rollout that blew up does not hide all others."""
THRESHOLDS = (0.8, 0.95)
HIGHER = ("correlation_time_0.8", "correlation_time_0.95", "valid_time")
COMPARED = ("relative_l2", "correlation_time_0.8", "relative_h1")
"""Metrics of which the first two that there are have intervals and gains; of chaos, those of ``HIGHER`` go first."""
VALID = 0.4
"""Error, in deviations of the truth, up to which a prediction is valid."""
ABOUT = {
    "relative_l2": "size of the error beside that of the truth, mean over steps and fields",
    "correlation_time_0.8": "time until the correlation with the truth falls below 0.8, mean over fields",
    "correlation_time_0.95": "time until the correlation with the truth falls below 0.95, mean over fields",
    "valid_time": f"time until the error exceeds {VALID} deviations of the truth, in Lyapunov times",
    "final_relative_l2": "relative L2 error at the last step",
    "nrmse": "root mean square error over all steps beside the truth's root mean square",
    "vrmse": "root mean square error in units of the truth's deviation over the points, mean over steps",
    "relative_h1": "error of values and slopes beside those of the truth, mean over steps",
    "low_band": "error in waves below 4 a box beside the size of the truth, mean over steps",
    "middle_band": "error in waves from 4 to 11 a box, likewise",
    "high_band": "error in waves from 12 a box on, likewise",
    "residual": "residual of the equation, by central differences in time, beside the rate of change of the truth",
    "divergence": "divergence of the velocity beside its gradient, mean over steps",
}
"""Metrics and what they are; drifts of invariants are described where they are measured."""


@dataclass(frozen=True)
class FieldScores:
    """Scores of one solver.

    Attributes:
        samples: by metric, (N,).
        steps: by metric, (N, T'), of the steps after the first state.
        channels: by metric, (N, C).
        invariants: by name, (N, T), their values.
        truth_invariants: those of the truth.
        truth_residual: the residual of the truth itself, None where there is none.
    """

    samples: dict[str, Array]
    steps: dict[str, Array]
    channels: dict[str, Array]
    invariants: dict[str, Array]
    truth_invariants: dict[str, Array]
    truth_residual: float | None

    def by_channel(self, names: list[str]) -> dict[str, dict[str, float]]:
        """Return the means over samples of each channel."""
        return {
            name: {metric: float(each[:, c].mean()) for metric, each in self.channels.items()}
            for c, name in enumerate(names)
        }


def score(prediction: Tensor, test: Simulations, equation: Equation | None) -> FieldScores:
    """Score solutions (N, T, C, *X) against the test samples, in float64; the first state, which is given, counts not.

    What is not finite counts as an error of 1000 and a correlation of 0.
    """
    p, u = prediction.double(), test.values.double()
    steady = len(test.times) == 1
    first = 0 if steady else 1
    later, truth = p[:, first:], u[:, first:]
    fields = {
        "relative_l2": relative_l2(later, truth, dims=test.dims),
        "vrmse": vrmse(later, truth, dims=test.dims),
        "relative_h1": relative_h1(later, truth, lengths=test.extents, periodic=test.periodic),
    }
    if all(test.periodic):
        bands = band_errors(later, truth, dims=test.dims)
        fields |= {f"{band}_band": bands[..., b] for b, band in enumerate(("low", "middle", "high"))}
    fields = {name: _bounded(each) for name, each in fields.items()}  # (N, T', C)
    samples = {name: each.mean((1, 2)) for name, each in fields.items()}
    if len(test.times) > 2:
        samples["final_relative_l2"] = fields["relative_l2"][:, -1].mean(1)
        samples["nrmse"] = _bounded(nrmse(later, truth, dims=test.dims)).mean(1)
        fields["correlation"] = correlation(later, truth, dims=test.dims)
        whole = torch.cat([torch.ones_like(fields["correlation"][:, :1]), fields["correlation"]], dim=1)
        for threshold in THRESHOLDS:
            samples[f"correlation_time_{threshold}"] = correlation_time(whole, test.times, threshold).mean(1)
        if equation is not None and equation.lyapunov:
            samples["valid_time"] = valid_time(p, u, test.times) * equation.lyapunov
    if (velocity := _velocity(test)) is not None:
        fields["divergence"] = divergence(later[:, :, velocity], lengths=test.extents, periodic=test.periodic)[
            ..., None
        ]
        samples["divergence"] = _bounded(fields["divergence"]).mean((1, 2))
    own, true, drifts = _invariants(p, test, equation)
    samples |= drifts
    truth_residual = None
    if equation is not None and len(test.times) != 2 and (residuals := _residuals(p, u, test, equation)) is not None:
        samples["residual"], truth_residual = _bounded(residuals[0]), float(residuals[1].mean())
    order = [*(HIGHER if "valid_time" in samples else ()), *ABOUT, *drifts]
    return FieldScores(
        samples={name: samples[name].numpy() for name in order if name in samples},
        steps={name: each.mean(2).numpy() for name, each in fields.items()},
        channels={name: fields[name].mean(1).numpy() for name in ("relative_l2", "vrmse", "relative_h1")},
        invariants={name: each.numpy() for name, each in own.items()},
        truth_invariants={name: each.numpy() for name, each in true.items()},
        truth_residual=truth_residual,
    )


def valid_time(prediction: Tensor, truth: Tensor, times: Tensor) -> Tensor:
    """Return the time until the error of a state exceeds 0.4 deviations of the truth, (N,).

    The error is a root mean square over channels and points, each channel in units of its deviation over all samples,
    times and points.

    Source: Pathak, Hunt, Girvan, Lu and Ott (2018), Model-free prediction of large spatiotemporally chaotic systems
    from data, where the deviation is that of the whole state.
    """
    deviation = truth.movedim(2, 0).flatten(1).std(1, unbiased=False).clamp(min=1e-12)
    scaled = (prediction - truth) / deviation.view(-1, *[1] * (truth.dim() - 3))
    errors = _bounded(scaled.flatten(2).square().mean(2).sqrt())
    return correlation_time(-errors, times, -VALID)


def _bounded(error: Tensor) -> Tensor:
    return error.nan_to_num(WORST, WORST, WORST).clamp(max=WORST)


def _velocity(test: Simulations) -> list[int] | None:
    """Return which channels are the components of a velocity, None where they are not all there."""
    names = [f"velocity_{letter}" for letter in "xyz"[: test.dims]]
    if test.dims < 2 or not all(name in test.channels for name in names):
        return None
    return [test.channels.index(name) for name in names]


def _invariants(
    p: Tensor, test: Simulations, equation: Equation | None
) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]:
    """Return the invariants of prediction and truth, (N, T), and the largest drift of each sample."""
    if equation is None or len(test.times) == 1:
        return {}, {}, {}
    u, own, true, drifts = test.values.double(), {}, {}, {}
    for name, invariant in equation.invariants_on(tuple(test.lengths)).items():
        own[name], true[name] = invariant(p, test.parameters), invariant(u, test.parameters)
        scale = float(true[name][:, 0].square().mean().sqrt())
        size = float(u[:, 0].square().mean().sqrt())
        if scale < 1e-9 * size:  # such as a mean that is zero: counted in units of the field
            scale = size
        drifts[f"{name}_drift"] = _bounded(invariant_drift(own[name], scale=scale)).amax(1)
    return own, true, drifts


def _residuals(p: Tensor, u: Tensor, test: Simulations, equation: Equation) -> tuple[Tensor, Tensor] | None:
    """Return the residual of prediction and truth, (N,), beside the rate of change of the truth; None where unknown."""
    if equation.steady:
        return None
    axes = tuple(range(1, u.dim()))
    times = test.times.double()
    spans = (times[2:] - times[:-2]).view(-1, *[1] * (u.dim() - 2))
    rate = ((u[:, 2:] - u[:, :-2]) / spans).square().mean(axes).sqrt()
    made = [
        equation.residual(one, times, test.parameters, lengths=tuple(test.lengths)).square().mean(axes).sqrt() / rate
        for one in (p, u)
    ]
    return made[0], made[1]
