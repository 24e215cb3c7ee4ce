"""The derivative of a whole stochastic solve in fixed steps, as one node of autograd's graph.

A step as ``stages`` writes it is linear in its slopes. With bars for cotangents, the table read backwards is

    fbar_i = h (a_i y'bar + sum_s a_si Ybar_s),     gbar_i = y'bar w_i^T + sum_s Ybar_s w_si^T,
    Ybar_s = (df/dy)^T fbar_i + (dg/dy)^T gbar_j,     ybar = y'bar + sum_s Ybar_s,

f_i and g_j being evaluated at Y_s, and the noise a number like any other. For the Euler-Maruyama scheme this is
ybar = y'bar + (df/dy)^T (h y'bar) + (dg/dy)^T (y'bar W^T). It is the exact derivative of the numbers computed, on the
path they were computed with: what differentiating through the steps gives, without the graph of the steps.

Source: Giles and Glasserman (2006), Smoking adjoints: fast Monte Carlo Greeks, for Euler-Maruyama steps.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from integrand.core.numerics.field_call import apply, leaves
from integrand.core.numerics.gradients.recomputation import differentiates_again, solve_again
from integrand.core.numerics.gradients.tape import Tape, TapeReader, add_cotangents, open_tape
from integrand.core.numerics.stochastic.brownian import Increments
from integrand.core.numerics.stochastic.equation import Equation, wide
from integrand.core.numerics.stochastic.schemes import Scheme
from integrand.core.numerics.stochastic.stages import Stages, Sum, stages_of
from integrand.core.numerics.stochastic.walk import Grid, Path, solve_direct


def solve_fused(sde: Equation, scheme: Scheme, y0: Tensor, grid: Grid, noise: Increments) -> Path | None:
    """Solve with the derivative attached, or return None where there is none to form or it must be left to autograd.

    It is left to autograd where drift or diffusion give no tape, where a path KL is asked for, where times or noise
    require gradients, and for schemes without a table. A derivative of the derivative is formed by autograd, from the
    same solve done again.
    """
    stages = stages_of(scheme.name, sde.noise, sde.calculus)
    if stages is None or sde.has_prior or noise.w.requires_grad:
        return None
    tapes = _open(sde, y0, grid, noise)
    if tapes is None:
        return None
    inputs = (leaf for _, leaf in leaves(sde.args))
    parameters = (parameter for tape in tapes for parameter in tape.parameters)
    states = _Solve.apply(_Problem(sde, scheme, stages, grid, *tapes), noise.w, y0, *inputs, *parameters)
    return Path(states, None)  # pyright: ignore[reportArgumentType]


def _open(sde: Equation, y0: Tensor, grid: Grid, noise: Increments) -> tuple[Tape, Tape] | None:
    """Return the tapes of drift and diffusion, if both have one and what they give fits the equation."""
    columns = 0 if sde.diagonal else noise.w.shape[-1]
    # What does not fit is refused by the walk, which tells why.
    if [getattr(bound.field, "channels", 0) for bound in sde.fields] != [0, columns]:
        return None
    tapes = [open_tape(bound, y0, grid.times) for bound in sde.fields]
    if any(tapes) and not all(tapes):
        # A field with nothing to learn has a tape once the state, which the other one moves, requires gradients.
        moving = y0.detach().requires_grad_()
        tapes = [open_tape(bound, moving, grid.times) for bound in sde.fields]
    drift, diffusion = tapes
    return None if drift is None or diffusion is None else (drift, diffusion)


class _Problem(NamedTuple):
    """What is solved, all but the state it begins with and the noise."""

    sde: Equation
    scheme: Scheme
    stages: Stages
    grid: Grid
    drift: Tape
    diffusion: Tape


class _Solve(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, problem: _Problem, w: Tensor, y0: Tensor, *rest: Tensor) -> Tensor:
        states = _Walk(problem, w, y0).run(y0)
        of_drift, of_diffusion = problem.drift.pack(), problem.diffusion.pack()
        ctx.problem, ctx.inputs_count, ctx.drift_count = problem, 1 + len(rest), len(of_drift)
        ctx.save_for_backward(w, y0, *rest, *of_drift, *of_diffusion)
        return states

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grad_outputs
        problem, wanted = ctx.problem, ctx.needs_input_grad[2:]
        w, *saved = ctx.saved_tensors
        inputs, packed = saved[: ctx.inputs_count], saved[ctx.inputs_count :]
        if differentiates_again(grad_outputs):
            sde = problem.sde

            def run(y0: Tensor, *args: Tensor) -> tuple[Tensor]:
                given = iter(args)
                again = sde.with_args(apply(sde.args, lambda _: next(given)))
                return (solve_direct(again, problem.scheme, y0, problem.grid, Increments(w, None)).states,)

            count = 1 + len(leaves(sde.args))
            return (None, None, *solve_again(run, tuple(inputs), count, wanted, grad_outputs))
        drift = problem.drift.read(tuple(packed[: ctx.drift_count]))
        diffusion = problem.diffusion.read(tuple(packed[ctx.drift_count :]))
        sweep = _Sweep(problem, w, inputs[0], drift, diffusion)
        bars: list[Tensor | None] = [sweep.run(grad)]
        # The tapes give the cotangents of the arguments that require them, in order.
        args_bar = iter(sweep.args_bar)
        bars += [next(args_bar) if needs else None for needs in wanted[1 : 1 + len(leaves(problem.sde.args))]]
        for reader, tape in ((drift, problem.drift), (diffusion, problem.diffusion)):
            bars += reader.parameter_cotangents(wanted[len(bars) : len(bars) + len(tape.parameters)])
        return (None, None, *bars)


class _Steps:
    """What the way there and the way back have in common: the weights of every step.

    Attributes:
        matrix: the shape of what the diffusion gives.
        h: lengths of the steps, numbers where the host knows them, else tensors that multiply states.
        vectors: those of the table by name, a tensor a step.
    """

    def __init__(self, problem: _Problem, w: Tensor, like: Tensor) -> None:
        self.problem, self.points, self.diagonal = problem, problem.stages.points, problem.sde.diagonal
        self.matrix = like.shape if self.diagonal else (*like.shape, w.shape[-1])
        h = problem.grid.h
        known = h.dim() == 1 and h.device.type == "cpu"
        self.h: Sequence[float | Tensor] = h.tolist() if known else [wide(one, like) for one in h.unbind(-1)]
        by_step = h.unsqueeze(-1) if h.dim() == 1 else h.T
        by_step = by_step.reshape(*by_step.shape, *(1,) * (w.dim() - 2))
        self.vectors = {name: vector.unbind(0) for name, vector in problem.stages.weights(by_step, w).items()}


class _Walk(_Steps):
    """The way there: few kernels a step, which write where they are told."""

    def __init__(self, problem: _Problem, w: Tensor, y0: Tensor) -> None:
        super().__init__(problem, w, y0)
        # What a field gives is used up within the step.
        self.f = [torch.empty_like(y0) for point in self.points if point.drift]
        self.g = [y0.new_empty(self.matrix) for point in self.points if point.diffusion]

    def run(self, y: Tensor) -> Tensor:
        """Return the states at the output times, (B, T, ...)."""
        sde, _, stages, grid, drift, diffusion = self.problem
        begun = grid.times[..., : len(self.h)]
        times = [(begun + point.shift * grid.h if point.shift else begun).unbind(-1) for point in self.points]
        states, into = [y], [g if self.diagonal else g.flatten(1) for g in self.g]
        for step in range(len(self.h)):
            f, g = iter(self.f), iter(into)
            for point, at_step in zip(self.points, times, strict=True):
                at = y if point.at is None else self._sum(y, point.at, step)
                if point.drift:
                    drift.push(at_step[step], at, sde.args, next(f))
                if point.diffusion:
                    diffusion.push(at_step[step], at, sde.args, next(g))
            y = self._sum(y, stages.end, step)
            if (step + 1) % grid.substeps == 0:
                states.append(y)
        sde.count(drift=len(self.h) * len(self.f), diffusion=len(self.h) * len(self.g))
        return torch.stack(states, dim=1)

    def _sum(self, y: Tensor, table: Sum, step: int) -> Tensor:
        """Return the sum in memory of its own, for the tapes keep it."""
        total, out = y, torch.empty_like(y)
        for i, a in table.drifts.items():
            total = _plus(total, self.f[i], self.h[step] * a, out)
        for i, name in table.diffusions.items():
            g, w = self.g[i], self.vectors[name][step]
            if self.diagonal:
                total = torch.addcmul(total, g, w, out=out)
            else:
                # Not a matrix product, which a device may take in lower precision.
                total = torch.add(total, (g * w.unsqueeze(-2)).sum(-1), out=out)
        return total


class _Sweep(_Steps):
    """The way back."""

    def __init__(self, problem: _Problem, w: Tensor, like: Tensor, drift: TapeReader, diffusion: TapeReader) -> None:
        super().__init__(problem, w, like)
        self.drift, self.diffusion = drift, diffusion
        self.args_bar: list[Tensor] = []
        # For each slope the sums it is in, as places among the step's cotangents (its points', then its end's), and
        # its weights there.
        sums = [*(point.at or Sum({}, {}) for point in self.points), problem.stages.end]
        self.drift_in = [
            [(s, table.drifts[i]) for s, table in enumerate(sums) if i in table.drifts]
            for i in range(sum(point.drift for point in self.points))
        ]
        self.diffusion_in = [
            [(s, self.vectors[table.diffusions[i]]) for s, table in enumerate(sums) if i in table.diffusions]
            for i in range(sum(point.diffusion for point in self.points))
        ]
        self.bars = [torch.empty_like(like) for _ in self.points]
        self.totals = (torch.empty_like(like), torch.empty_like(like))

    def run(self, grad: Tensor) -> Tensor:
        """Return the cotangent of y0, given those of the states (B, T, ...)."""
        outputs, substeps = grad.transpose(0, 1).contiguous().unbind(0), self.problem.grid.substeps
        y_bar = torch.zeros_like(outputs[0])
        for step in reversed(range(len(self.h))):
            if (step + 1) % substeps == 0:
                y_bar.add_(outputs[(step + 1) // substeps])
            y_bar = self._step(step, y_bar, self.totals[step % 2])
        return y_bar + outputs[0]

    def _step(self, step: int, end_bar: Tensor, out: Tensor) -> Tensor:
        """Return the cotangent of the state at the step's start, in ``out``, given that at its end."""
        total, bars = end_bar, [*self.bars, end_bar]
        f, g = len(self.drift_in), len(self.diffusion_in)
        for point, bar in zip(reversed(self.points), reversed(self.bars), strict=True):
            if point.diffusion:
                g -= 1
                self._pop(self.diffusion, self._diffusion_bar(bars, g, step), bar)
            if point.drift:
                f -= 1
                y_bar = self._pop(self.drift, self._drift_bar(bars, f, step), None if point.diffusion else bar)
                if point.diffusion:
                    bar.add_(y_bar)
            total = torch.add(total, bar, out=out)
        return total

    def _drift_bar(self, bars: list[Tensor], i: int, step: int) -> Tensor:
        slot = self.drift.slot()
        for place, (s, a) in enumerate(self.drift_in[i]):
            if place == 0:
                torch.mul(bars[s], self.h[step] * a, out=slot)  # pyright: ignore[reportArgumentType]
            else:
                _plus(slot, bars[s], self.h[step] * a, slot)
        return slot

    def _diffusion_bar(self, bars: list[Tensor], i: int, step: int) -> Tensor:
        slot = self.diffusion.slot()
        matrix = slot if self.diagonal else slot.view(self.matrix)
        for place, (s, vectors) in enumerate(self.diffusion_in[i]):
            bar, w = bars[s], vectors[step]
            if not self.diagonal:
                bar, w = bar.unsqueeze(-1), w.unsqueeze(-2)
            if place == 0:
                torch.mul(bar, w, out=matrix)
            else:
                matrix.addcmul_(bar, w)
        return slot

    def _pop(self, reader: TapeReader, cotangent: Tensor, out: Tensor | None) -> Tensor:
        y_bar, args_bar = reader.pop(cotangent, out)
        self.args_bar = add_cotangents(self.args_bar, args_bar)
        return y_bar


def _plus(total: Tensor, slope: Tensor, factor: float | Tensor, out: Tensor) -> Tensor:
    """Return total + slope factor, in ``out``."""
    if isinstance(factor, Tensor):
        return torch.addcmul(total, slope, factor, out=out)
    return torch.add(total, slope, alpha=factor, out=out)
