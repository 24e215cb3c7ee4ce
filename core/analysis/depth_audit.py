"""Whether a network is the solution of an equation in depth, to which its layers or steps converge."""

import math
from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn

from integrand.core.analysis.finding import Finding, Verdict
from integrand.core.analysis.finer_stack import count_stacks, finer_stack
from integrand.core.analysis.in_float64 import in_float64
from integrand.core.analysis.relative_change import relative_change
from integrand.core.errors import InputError
from integrand.core.numerics.solved_by import solved_by
from integrand.core.numerics.stepping.walk import SolveError

REFINEMENTS = (1, 2, 4, 8)
ROUNDING = 1e-11
"""Relative difference of two answers in double precision that tells no order any more."""


def depth_audit(
    module: nn.Module, ask: Callable[[nn.Module], Tensor], *, near: float = 0.01, far: float = 0.05, seed: int = 0
) -> Finding:
    """Ask a model with its steps halved, and halved again, and see whether the answers converge at the method's order.

    With answers y_h, y_{h/2}, y_{h/4}, y_{h/8} of a method of order p the differences fall by 2^p, the limit is

        y = y_{h/8} + (y_{h/8} - y_{h/4}) / (2^p - 1)    (Richardson),

    and |y_h - y| is what the steps in use are off by, here as a share of the spread of the answers. The steps are those
    of our solvers, and the blocks of ``ResidualStack`` and ``MomentumResidual``, which are steps of Euler's methods in
    depth (``finer_stack``). Where the differences do not fall at the method's order from the first halving on, the
    steps in use are too long for the network to be read as its equation. Orders of methods that choose their steps are
    told, but scatter, and are not judged.

    Args:
        module: the model, in evaluation mode. It is not changed.
        ask: gives answers (B, ...) of a copy of the module in double precision, to which it must cast its inputs.
        near: distance from the limit below which the answer is that of the equation, whatever the orders.
        far: distance above which it is not, unless the orders are the method's: then it is a coarse solution.
        seed: of the noise of stochastic equations that draw it afresh.

    Returns:
        A ``Finding``: ``"sound"``, the steps converge at their order, or are at the limit; ``"doubtful"``, they
        converge but the answer in use is far from the limit, or only shorter steps than those in use converge;
        ``"flawed"``, they do not converge, or the answer in use is far from a limit that only shorter steps approach;
        ``"told"``, there are no steps to halve.

    Raises:
        InputError: the answers are not in double precision.

    Example:
        >>> from integrand.core.fields import MLP
        >>> from integrand.core.models import NeuralODE
        >>> _ = torch.manual_seed(0)
        >>> model, x = NeuralODE(MLP(2, (8,)), method="rk4", step_size=0.25), torch.randn(16, 2)
        >>> found = depth_audit(model, lambda m: m(x.to(next(m.parameters())), [0.0, 1.0]).states[:, -1])
        >>> found.verdict, round(found.numbers["order"])
        ('sound', 4)

    Source: Queiruga, Erichson, Taylor and Mahoney (2020), Continuous-in-depth neural networks; extrapolation: Hairer,
    Norsett and Wanner (1993), Solving ordinary differential equations I, Section II.4.
    """
    double = in_float64(module)
    stacks = count_stacks(double)
    with torch.no_grad():
        with solved_by(seed=seed) as record:
            answers = [ask(double)]
        if not record.calls and not stacks:
            return Finding(
                instrument="depth audit",
                verdict="told",
                statement="This model has neither an equation nor a residual stack whose steps could be shortened.",
            )
        if answers[0].dtype not in (torch.float64, torch.complex128):
            raise InputError(
                f"the copy in double precision answered in {answers[0].dtype}: let ask cast its inputs, by "
                "x.to(next(module.parameters()).dtype)."
            )
        try:
            for refine in REFINEMENTS[1:]:
                with solved_by(seed=seed, refine=refine):
                    answers.append(ask(finer_stack(double, refine)))
        except SolveError as error:
            return _flawed(f"With shorter steps the equation of this network has no solution ({str(error)[:60]}...).")
    if not all(bool(torch.isfinite(each).all()) for each in answers):
        return _flawed("With shorter steps the answers of this network are infinite or not numbers.")
    orders = [call.order for call in record.calls] + [1.0] * stacks
    judged = all(not call.adaptive for call in record.calls)
    return _finding(answers, min(orders), near, far, judged)


def _finding(answers: list[Tensor], order: float, near: float, far: float, judged: bool) -> Finding:
    gaps = [_size(fine - coarse) for coarse, fine in pairwise(answers)]
    least = ROUNDING * max(_size(each) for each in answers)
    # Below the rounding of the answers they are at the limit already, and tell no order.
    seen = [math.log2(a / b) if min(a, b) > least else order for a, b in pairwise(gaps)]
    limit = answers[-1] + (answers[-1] - answers[-2]) / (2**order - 1)
    distances = [relative_change(each, limit) for each in answers]
    # A difference that falls much faster is no solution's either, but one of growth that shorter steps are spared.
    first, last = (not judged or 0.75 * order <= each <= 1.5 * order + 0.5 for each in seen)
    at_limit = distances[0] < near
    verdict: Verdict = "flawed"
    if at_limit or (first and last and distances[0] <= far):
        verdict = "sound"
    elif last and (first or distances[0] <= far):
        verdict = "doubtful"
    told = f"observed orders {seen[0]:.2g} and {seen[1]:.2g}, the method's {order:g}"
    off = f"{100 * distances[0]:.2g} % of the spread of the answers away from the limit of ever shorter steps"
    statement = {
        "sound": f"The network is the solution of an equation: its answer is {off} ({told}).",
        "doubtful": f"The network approaches an equation as its steps are shortened, but as used it is {off} ({told}): "
        "take shorter steps to read it as an equation.",
        "flawed": f"The network is not an equation at this step but a stack of layers: its answer is {off}, and does "
        f"not approach it as a solution would ({told}).",
    }[verdict]
    return Finding(
        instrument="depth audit",
        verdict=verdict,
        statement=statement,
        numbers={
            "first order": seen[0],
            "order": seen[1],
            "order of the method": order,
            "distance from the limit": distances[0],
        },
        rows=tuple(
            {"steps shorter by": refine, "distance from the limit": distance, "change by halving": gap}
            for refine, distance, gap in zip(REFINEMENTS, distances, [*gaps, math.nan], strict=True)
        ),
    )


def _size(x: Tensor) -> float:
    return float(x.abs().square().mean().sqrt())


def _flawed(reason: str) -> Finding:
    return Finding(
        instrument="depth audit",
        verdict="flawed",
        statement=f"{reason} It is a stack of layers, not an equation.",
    )
