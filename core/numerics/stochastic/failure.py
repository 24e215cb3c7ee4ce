"""What a stochastic solve says when it cannot go on."""

import torch
from torch import Tensor

from integrand.core.numerics.solution import Status
from integrand.core.numerics.stepping.step_control import ErrorNorm
from integrand.core.numerics.stochastic.adaptive import AdaptivePath
from integrand.core.numerics.stochastic.brownian import Increments
from integrand.core.numerics.stochastic.equation import Equation
from integrand.core.numerics.stochastic.schemes import Scheme
from integrand.core.numerics.stochastic.walk import Grid, walk

CURE = "take shorter steps, bound the fields, or keep the other samples with on_failure='nan'"


def tell_failure(sde: Equation, scheme: Scheme, y0: Tensor, grid: Grid, noise: Increments) -> str:
    """Say where the states ceased to be finite, by walking again and looking at each step."""
    if bool(_lost(y0).any()):
        return f"y0 of sample {int(_lost(y0).nonzero()[0])} is not finite."
    with torch.no_grad():
        for step, walked in enumerate(walk(sde, scheme, y0, grid, noise)):
            if not bool(_lost(walked.y).any()):
                continue
            sample = int(_lost(walked.y).nonzero()[0])
            culprits = {"drift": walked.moved.drift, "diffusion": walked.moved.diffusion}
            what = next((f"the {name}" for name, value in culprits.items() if _lost(value)[sample]), "the state")
            t = float(grid.times.expand(y0.shape[0], -1)[sample, step])
            return (
                f"{scheme.name}: in step {step + 1} of {grid.h.shape[-1]}, from t={t:g}, {what} of sample {sample} is "
                f"not finite: {CURE}."
            )
    return f"{scheme.name} came to a state that is not finite, and not so when walked again: are the fields random?"


def tell_adaptive_failure(scheme: Scheme, norm: ErrorNorm, path: AdaptivePath) -> str | None:
    """Say which sample could not go on, where and why; None where all did."""
    failed = path.status != int(Status.OK)
    if not bool(failed.any()):
        return None
    sample = int(failed.nonzero()[0])
    status = Status(int(path.status[sample]))
    cure = {
        Status.MAX_STEPS: "raise max_steps",
        Status.STEP_TOO_SMALL: "give a BrownianPath of a greater depth, or lower StepControl's min_step",
    }.get(status, "bound the fields")
    return (
        f"{scheme.name} could not go on: at time {path.stopped_at[sample]:g}, sample {sample} met "
        f"{status.name.lower().replace('_', ' ')}. Loosen rtol={norm.rtol:g} and atol={norm.atol:g}, {cure}, or keep "
        "the other samples with on_failure='nan' or 'last'."
    )


def _lost(x: Tensor) -> Tensor:
    return ~torch.isfinite(x).flatten(1).all(1)
