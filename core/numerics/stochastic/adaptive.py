"""Adaptive steps for stochastic differential equations, which each sample chooses for itself.

The error of a step is estimated from two ends of it on the same path. A step is kept where these differ by no more than
the tolerance, and tried shorter where they do not.

*Step doubling*, for most schemes. The step is taken in one and in two halves, and the halves are kept. For a scheme of
strong order p the estimate is of size h^(p + 1/2), and since the errors of N steps add up as sqrt N, those at the end
fall as tol^(p / (p + 1/2)).

*An embedded step of Euler's*, for Heun's scheme, at no further evaluation. The ends differ by half the change of the
slopes, ((f_e - f) h + (g_e - g) W) / 2, which is of size h, or h^(3/2) for additive noise; errors at the end fall as
tol, or tol^(2/3).

Whether a step is kept depends on what the path does in it, so that the steps kept are no independent grid. Two things
follow.

*Errors must not rely on chance.* The Euler-Maruyama scheme leaves out g'g (W^2 - h) / 2, which is of size h and of mean
0 over all steps, but not over those that were kept: it tends to another process. A scheme is right on any grid that
becomes fine if what it leaves out is o(h) on each path, as for those of strong order 1 and above.

*What was seen must be used.* Where noise does not commute, a scheme without Levy areas leaves out an area of size h.
Heun's knows W by its increments alone, and given those the area is of mean 0, so that it does no harm, if they are all
that is known: if the sample comes to stand at every time that it ever looked at. To refuse a step and later pass over
its end would not do. So all steps are intervals of a binary tree (``DyadicClocks``). The stochastic reversible Heun
scheme carries a gap between its two states from step to step, for which nothing of the kind is known.

An estimate knows the fields where they were evaluated: what happens between (a short burst of the drift) goes unseen
by steps longer than it, which ``StepControl(max_step=...)`` bounds.

Source: step doubling on a binary tree, and Euler's wrong limit: Gaines and Lyons (1997), Variable step size control in
the numerical solution of stochastic differential equations; embedded pairs: Burrage and Burrage (2002), A variable
stepsize implementation for stochastic differential equations; why all values seen are to be used: Foster and Jelincic
(2024), On the convergence of adaptive approximations for stochastic differential equations; the controller's
coefficients: Kidger (2021), diffrax.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from integrand.core.numerics.modes import is_transformed
from integrand.core.numerics.solution import SolverStats, Status
from integrand.core.numerics.stepping.host_link import HostLink
from integrand.core.numerics.stepping.sample_clocks import Flags, Floats, Whole
from integrand.core.numerics.stepping.step_control import ErrorNorm, StepControl
from integrand.core.numerics.stochastic.brownian import BrownianPath, Increments
from integrand.core.numerics.stochastic.discrete_adjoint import solve_fused
from integrand.core.numerics.stochastic.dyadic_clocks import DyadicAim, DyadicClocks
from integrand.core.numerics.stochastic.equation import Equation, wide
from integrand.core.numerics.stochastic.schemes import SCHEMES, Noise, Scheme
from integrand.core.numerics.stochastic.walk import Grid, Path, solve_direct

FIRST_PART = 2.0**-8
"""Part of the way that is tried first. One refused or too short costs a few trials."""

CONTROL = StepControl(p=0.1, i=0.3)
"""How steps are chosen unless told otherwise: with little trust in one estimate, which may be small by chance."""


class AdaptivePath(NamedTuple):
    """What an adaptive solve returns.

    Attributes:
        states: (B, T, ...).
        kl: path KL there, (B, T); None where there is no prior.
        status: ``Status`` of each sample, (B,).
        stats: work done; a step counts once, in whole or in halves.
        stopped_at: time at which a sample stopped, (B,), on the host.
    """

    states: Tensor
    kl: Tensor | None
    status: Tensor
    stats: SolverStats
    stopped_at: Floats


def solve_adaptive(
    sde: Equation,
    scheme: Scheme,
    y0: Tensor,
    times: Tensor,
    path: BrownianPath,
    norm: ErrorNorm,
    control: StepControl,
    *,
    max_steps: int,
    fill: bool,
) -> AdaptivePath:
    """Solve with steps that each sample chooses for itself, until it arrives.

    The steps are looked for without a graph. Where a gradient or a path KL is wanted, those kept are then taken once
    more, as a fixed grid of each sample's own.

    Args:
        sde: the equation.
        scheme: a scheme that is known to converge with its noise, see ``Scheme.adaptive``.
        y0: (B, ...).
        times: (T,) or (B, T).
        path: the Brownian motion of each sample.
        norm: size of an error relative to the tolerance, for each sample.
        control: how steps are chosen, with their limits.
        max_steps: most steps that a sample may try.
        fill: whether outputs that were not reached are filled with the last state, rather than NaN.
    """
    search = _Search(sde, scheme, y0, times.detach().expand(y0.shape[0], -1), path, norm, control, max_steps)
    search.run()
    found, states, kl = search.found, search.states, None
    if search.differentiable or sde.has_prior:
        states, kl = _take(sde, scheme, y0, found, path)
    if not fill:
        (reached,) = HostLink(y0.dtype, y0.device).send(found.reached_BT, dtype=torch.bool)
        states = torch.where(reached.view(*reached.shape, *(1,) * (y0.dim() - 1)), states, torch.nan)
        kl = None if kl is None else torch.where(reached, kl, torch.nan)
    status, *counts = HostLink(y0.dtype, y0.device).send(found.status_B, *found.counts_B3.T, dtype=torch.int64)
    return AdaptivePath(states, kl, status, SolverStats(*counts), found.stopped_B)


@dataclass
class _Found:
    """The steps that were found, on the host.

    Attributes:
        grid_BS: where the steps of the scheme begin, and where the last ends, which is repeated in rows that have less.
        steps_B: how many there are.
        place_BT: how many of them lie before each output, all of them where it was not reached.
        reached_BT: which outputs were reached.
        status_B: ``Status``.
        counts_B3: evaluations, steps accepted and rejected.
        stopped_B: time at which a sample stopped.
    """

    grid_BS: Floats
    steps_B: Whole
    place_BT: Whole
    reached_BT: Flags
    status_B: Whole
    counts_B3: Whole
    stopped_B: Floats


class _Kept(NamedTuple):
    """Steps accepted together: the samples, how many each had before, and where the step, or either half, ends."""

    rows: Whole
    before: Whole
    ends: Floats


class _Search:
    """The walk of all samples still on their way, who try a step together and leave when they arrive."""

    def __init__(
        self,
        sde: Equation,
        scheme: Scheme,
        y0: Tensor,
        times_BT: Tensor,
        path: BrownianPath,
        norm: ErrorNorm,
        control: StepControl,
        max_steps: int,
    ) -> None:
        self.whole, self.paths = sde, path
        self.scheme, self.norm, self.control, self.max_steps, self.tried = scheme, norm, control, max_steps, 0
        # The power of h in the estimate, less one: the strong order that shows, Euler's for a pair, less a half.
        self.parts, shown = (1, SCHEMES["euler"]) if scheme.embeds_euler else (2, scheme)
        self.order = shown.strong[sde.noise] - 0.5
        self.link, self.exact = HostLink(y0.dtype, y0.device), HostLink(path.wide, y0.device)
        self.clock_BT = self.link.fetch(times_BT)
        self.clocks = DyadicClocks.begin(self.clock_BT, control.first_step, FIRST_PART)
        batch, count = self.clock_BT.shape
        resolution = self.link.fetch(path.resolution)
        self.least_B = 4 * np.broadcast_to(resolution.reshape(-1), batch)
        self.sde, self.path, self.y = sde, path, y0.detach()
        self.states = self.y.unsqueeze(1).repeat(1, count, *(1,) * (y0.dim() - 1))
        self.recording = torch.is_grad_enabled()
        self.differentiable = is_transformed() or (self.recording and y0.requires_grad)
        self.kept: list[_Kept] = []
        self.found = _Found(
            grid_BS=self.clock_BT[:, :1],
            steps_B=np.zeros(batch, dtype=np.int64),
            place_BT=np.zeros((batch, count), dtype=np.int64),
            reached_BT=self.clock_BT == self.clock_BT[:, :1],
            status_B=np.full(batch, int(Status.OK)),
            counts_B3=np.zeros((batch, 3), dtype=np.int64),
            stopped_B=self.clock_BT[:, 0].copy(),
        )

    @torch.no_grad()
    def run(self) -> None:
        clocks = self.clocks
        self._leave(clocks.goal == clocks.at, np.full(len(clocks.row), int(Status.OK)))
        while len(clocks.row):
            self._step()
        found = self.found
        found.steps_B = self.parts * found.counts_B3[:, 1]
        found.place_BT = np.where(found.reached_BT, found.place_BT, found.steps_B[:, None])
        found.grid_BS = np.repeat(found.stopped_B[:, None], found.steps_B.max(initial=0) + 1, axis=1)
        found.grid_BS[:, 0] = self.clock_BT[:, 0]
        for rows, before, ends in self.kept:
            found.grid_BS[rows[:, None], self.parts * before[:, None] + np.arange(self.parts) + 1] = ends

    def _step(self) -> None:
        """Try a step of each sample, and keep the good ones."""
        clocks = self.clocks
        chosen = clocks.choose(self.control)
        before = self.sde.evaluations
        end, error = self._try(chosen)
        size = self.link.fetch(self.norm(error, None, self.y, end))
        clocks.evaluations += self.sde.evaluations - before
        self.tried += 1
        aim = chosen.aim
        good, stuck = clocks.settle(aim, size, self.control, self.order)  # pyright: ignore[reportArgumentType]
        stuck |= ~good & (clocks.length < self.least_B[clocks.row])
        self._keep(good, chosen, end)
        gone = stuck | good & (aim.end == clocks.goal)
        if self.tried >= self.max_steps:
            gone = np.ones_like(good)
        if gone.any():
            arrived = good & (aim.end == clocks.goal)
            cases = {Status.OK: arrived, Status.NONFINITE: stuck & ~np.isfinite(size), Status.STEP_TOO_SMALL: stuck}
            status = np.select(list(cases.values()), [int(case) for case in cases], int(Status.MAX_STEPS))
            self._leave(gone, status)

    def _try(self, chosen: DyadicAim) -> tuple[Tensor, Tensor]:
        """Take a step of each sample; return its end and the estimate of its error."""
        aim, middle = chosen.aim, chosen.middle
        stops = (aim.t, aim.end) if self.parts == 1 else (aim.t, middle, aim.end)
        t, *_ = starts = self.link.send(*stops[:-1])
        lengths = self.link.send(*np.diff(stops, axis=0))
        (asked,) = self.exact.send(np.stack(stops, axis=1))
        w, areas = self.path.increments(asked, area=self.scheme.area)
        noises = [
            Noise(w[i].to(self.y.dtype), None if areas is None else areas[i].to(self.y.dtype)) for i in range(len(w))
        ]
        sde, y = self.sde, self.y
        with torch.set_grad_enabled(self.recording and not self.differentiable):
            if self.parts == 1:
                moved = self.scheme.step(sde, t, lengths[0], y, noises[0], None)
                other = sde.push(y, moved.drift, wide(lengths[0], y), moved.diffusion, noises[0].w)
            else:
                other = self.scheme.step(sde, t, lengths[0] + lengths[1], y, _joined(*noises), None).y
                half = self.scheme.step(sde, t, lengths[0], y, noises[0], None)
                moved = self.scheme.step(sde, starts[1], lengths[1], half.y, noises[1], None)
        # Which tensors the fields hold is their own affair: one that asks for a gradient is seen where it is used.
        self.differentiable = self.differentiable or moved.y.requires_grad
        return moved.y.detach(), (moved.y - other).detach()

    def _keep(self, good: Flags, chosen: DyadicAim, end: Tensor) -> None:
        """Move the samples whose step was good to its end, and write the outputs that they come to stand on."""
        if not good.any():
            return
        clocks, aim = self.clocks, chosen.aim
        ends = np.stack([aim.end] if self.parts == 1 else [chosen.middle, aim.end], axis=1)
        self.kept.append(_Kept(clocks.row[good], clocks.accepted[good], ends[good]))
        (took,) = self.link.send(good, dtype=torch.bool)
        self.y = torch.where(took.view(-1, *(1,) * (end.dim() - 1)), end, self.y)
        landed = good & (aim.end == clocks.upcoming)
        if landed.any():
            sample, output = clocks.reach(landed, aim.end, self.clock_BT)
            rows = clocks.row[sample]
            self.found.reached_BT[rows, output] = True
            self.found.place_BT[rows, output] = self.parts * (clocks.accepted[sample] + 1)
            where = self.link.send_rows(rows), self.link.send_rows(output)
            self.states.index_put_(where, self.y[self.link.send_rows(sample)])
        clocks.move(chosen, good)

    def _leave(self, gone: Flags, status: Whole) -> None:
        """Take those who arrived, or cannot go on, out of the batch."""
        if not gone.any():
            return
        clocks, found, left = self.clocks, self.found, np.flatnonzero(gone)
        rows = clocks.row[left]
        found.status_B[rows], found.stopped_B[rows] = status[left], clocks.at[left]
        accepted = clocks.accepted[left]
        found.counts_B3[rows] = np.stack([clocks.evaluations[left], accepted, self.tried - accepted], axis=1)
        sample, output = (~found.reached_BT[rows]).nonzero()
        if len(sample):
            where = self.link.send_rows(rows[sample]), self.link.send_rows(output)
            self.states.index_put_(where, self.y[self.link.send_rows(left[sample])])
        clocks.keep(~gone)
        stay, rows = self.link.send_rows(np.flatnonzero(~gone)), self.link.send_rows(clocks.row)
        self.y, self.sde, self.path = self.y[stay], self.whole.at(rows), self.paths.at(rows)


def _joined(early: Noise, late: Noise) -> Noise:
    """Return what the path does in both halves: W = W_1 + W_2, H = (H_1 + H_2) / 2 + (W_1 - W_2) / 4."""
    w = early.w + late.w
    if early.area is None or late.area is None:
        return Noise(w, None)
    return Noise(w, (early.area + late.area) / 2 + (early.w - late.w) / 4)


def _take(sde: Equation, scheme: Scheme, y0: Tensor, found: _Found, paths: BrownianPath) -> Path:
    """Take the steps found, leaving them to be differentiated; return states and path KL at the outputs.

    Samples go in groups within which the numbers of steps differ by a factor of two at most: the rest of a row is
    filled with steps of length 0.
    """
    link, exact = HostLink(y0.dtype, y0.device), HostLink(paths.wide, y0.device)
    parts: list[Path] = []
    octave = np.frexp(found.steps_B)[1]
    order = np.argsort(octave, kind="stable")
    for group in np.split(order, np.flatnonzero(np.diff(octave[order])) + 1):
        clock = found.grid_BS[group, : found.steps_B[group].max() + 1]
        rows = link.send_rows(group)
        some, start = sde.at(rows), y0[rows]
        (times,), (h,), (asked,) = link.send(clock), link.send(np.diff(clock)), exact.send(clock)
        w, area = paths.at(rows).increments(asked, area=scheme.area)
        noise = Increments(w.to(y0.dtype), None if area is None else area.to(y0.dtype))
        grid = Grid(times, h, 1)
        path = solve_fused(some, scheme, start, grid, noise) or solve_direct(some, scheme, start, grid, noise)
        found.counts_B3[group, 0] += some.evaluations
        where = torch.arange(len(group), device=y0.device).unsqueeze(1), link.send_rows(found.place_BT[group])
        parts.append(Path(path.states[where], None if path.kl is None else path.kl[where]))
    back = link.send_rows(np.argsort(order, kind="stable"))
    states = torch.cat([part.states for part in parts])[back]
    kls = [part.kl for part in parts if part.kl is not None]
    return Path(states, torch.cat(kls)[back] if kls else None)
