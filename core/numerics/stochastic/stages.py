"""Stochastic schemes whose step is a sum of slopes, as tables.

Such a step evaluates drift and diffusion at sums of the slopes before, and ends in one,

    Y_s = y + h sum_i a_si f_i + sum_i g_i w_si,      y' = y + h sum_i a_i f_i + sum_i g_i w_i,

with numbers a and with vectors w made of h and the Brownian increment W alone, so that those of all steps are formed at
once. Such a step is linear in its slopes, and its derivative is read off the table.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

Weights = Callable[[Tensor, Tensor], dict[str, Tensor]]
"""From h and W of all steps, W (S, B, ...) and h of a shape that broadcasts with it, to the vectors w by name."""


class Sum(NamedTuple):
    """y + h sum_i a_i f_i + sum_i g_i w_i.

    Attributes:
        drifts: a_i by the place i of the drift among those evaluated in the step.
        diffusions: the name of w_i by the place i of the diffusion.
    """

    drifts: Mapping[int, float]
    diffusions: Mapping[int, str]


class Stage(NamedTuple):
    """A point of a step, and what is evaluated there.

    Attributes:
        at: where; None at y itself.
        shift: when, t + shift h.
        drift, diffusion: whether this field is evaluated.
    """

    at: Sum | None = None
    shift: float = 0.0
    drift: bool = True
    diffusion: bool = True


class Stages(NamedTuple):
    """A scheme as a table: its points in order, its end, and what the weights are."""

    points: tuple[Stage, ...]
    end: Sum
    weights: Weights


def stages_of(method: str, noise: str, calculus: str) -> Stages | None:
    """Return the table of a method for a kind of noise, or None where its step is no such sum."""
    if method == "euler":
        return EULER
    if method == "heun":
        return HEUN
    if method == "milstein_free":
        if noise == "additive":
            return EULER
        if calculus == "stratonovich":
            return MILSTEIN_FREE_STRATONOVICH
        return None if noise == "commutative" else MILSTEIN_FREE_ITO
    return None


def _increment(h: Tensor, w: Tensor) -> dict[str, Tensor]:
    return {"W": w}


def _halves(h: Tensor, w: Tensor) -> dict[str, Tensor]:
    return {"W": w, "W/2": w / 2}


def _bend(h: Tensor, w: Tensor) -> dict[str, Tensor]:
    root = h.abs().sqrt()
    bend = (w**2 - h.abs()) * (0.5 / root.clamp_min(torch.finfo(w.dtype).tiny))
    return {"sqrt h": root.expand_as(w), "bend": bend, "W - bend": w - bend}


EULER = Stages((Stage(),), Sum({0: 1.0}, {0: "W"}), _increment)
"""y' = y + f h + g W."""

HEUN = Stages(
    (Stage(), Stage(Sum({0: 1.0}, {0: "W"}), shift=1.0)), Sum({0: 0.5, 1: 0.5}, {0: "W/2", 1: "W/2"}), _halves
)
"""y' = y + (f + f_e) h / 2 + (g + g_e) W / 2, with f_e and g_e at the end of an Euler step."""

MILSTEIN_FREE_ITO = Stages(
    (Stage(), Stage(Sum({0: 1.0}, {0: "sqrt h"}), drift=False)), Sum({0: 1.0}, {0: "W - bend", 1: "bend"}), _bend
)
"""y' = y + f h + g W + (g(t, y + f h + g sqrt h) - g) bend with bend = (W^2 - h) / (2 sqrt h), for one column of g.

The difference is g' g sqrt h and a curvature term g'' h, which W^2 - h multiplies to nothing on average.
"""

MILSTEIN_FREE_STRATONOVICH = Stages(
    (Stage(), Stage(Sum({}, {0: "W"}), drift=False)), Sum({0: 1.0}, {0: "W/2", 1: "W/2"}), _halves
)
"""y' = y + f h + g W + (g(t, y + g W) - g) W / 2.

Without the h of Ito's calculus the curvature term must vanish otherwise: the difference is taken along the noise
itself, where it meets an odd power of W.
"""
