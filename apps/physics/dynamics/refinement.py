"""Fit a network's equation to the observed trajectories themselves, noise and all.

Dimension letters: N trajectories, T times, D state, W windows, S states of a window.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from integrand.apps.physics.dynamics.models.network import DynamicsNetwork
from integrand.core.analysis import TrajectoryFit, fit_trajectories
from integrand.core.errors import InputError

MOST_PARAMETERS = 5000
"""Parameters of which a matrix of their curvature is still affordable."""


def refine(
    network: DynamicsNetwork,
    observed: Tensor,
    interval: float,
    lengths: Sequence[int],
    *,
    most_steps: int = 60,
    notify: Callable[[str], None],
) -> TrajectoryFit:
    """Fit by Gauss-Newton over windows whose starts are unknown, and leave the result in the network.

    Windows grow from the first length to the last: short ones bring a field that is far off near, as they cannot go
    far astray; long ones show what short ones cannot, and settle the constants. See ``fit_trajectories``.

    Args:
        network: a built network; what it is when called is where the search begins.
        observed: (N, T, D) states of the training part, at equal intervals.
        interval: between them.
        lengths: states of a window, S, one after another.
        most_steps: of each length.
        notify: told of each length.

    Returns:
        The fit with the last length, in standardised states and times.

    Raises:
        InputError: a length that the trajectories do not have, a network of too many parameters.
    """
    count = sum(p.numel() for p in network.flow.parameters())
    if count > MOST_PARAMETERS:
        raise InputError(
            f"the network has {count:,} parameters, too many to fit by curvature: at most {MOST_PARAMETERS:,}, by "
            "smaller --model.network.hidden, or leave --model.refine out."
        )
    rate, dim = network.built_for.rate, observed.shape[-1]
    step = None if network.step_size is None else network.step_size * rate
    states = network.standardised(observed.double())
    fit = None
    for length in lengths:
        if not 2 <= length <= observed.shape[1]:
            raise InputError(
                f"a window of {length} states does not fit trajectories of {observed.shape[1]}: 2 or more."
            )
        many = observed.shape[1] // length
        windows = states[:, : many * length].reshape(-1, length, dim)
        times = torch.arange(length, dtype=torch.float64, device=states.device) * (interval * rate)
        fit = fit_trajectories(
            network.flow if fit is None else fit.field,
            windows,
            times,
            penalised=network.penalised,
            starts=None if fit is None else _smoothed(fit, len(observed), length, windows),
            method=network.method,
            step_size=step,
            most_steps=most_steps,
        )
        noise = ", ".join(f"{each:.2g}" for each in fit.noise.tolist())
        notify(
            f"{len(windows)} windows of {length} states: {fit.steps} Gauss-Newton steps, noise {noise} deviations, "
            f"{fit.effective:.3g} of {fit.covariance.shape[0]} parameters determined"
        )
    if fit is None:
        raise InputError("no lengths of windows are given: name one or more.")
    network.flow.load_state_dict(fit.field.state_dict())
    return fit


def _smoothed(fit: TrajectoryFit, count: int, length: int, windows: Tensor) -> Tensor:
    """Return the starts of longer windows as the fit of shorter ones has them, or as observed where it ended before."""
    known = fit.states.reshape(count, -1, windows.shape[-1])[:, ::length]
    starts = windows[:, 0].clone().view(count, -1, windows.shape[-1])
    shared = min(known.shape[1], starts.shape[1])
    starts[:, :shared] = known[:, :shared]
    return starts.flatten(0, 1)
