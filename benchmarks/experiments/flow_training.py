"""Training and testing of a continuous normalising flow, for the experiments on its regularisation."""

import copy
import math
import time
from typing import Any, NamedTuple

import torch
from torch import Tensor

from integrand.core.fields.mlp import MLP
from integrand.core.models.continuous_normalizing_flow import ContinuousNormalizingFlow
from integrand.core.numerics.divergence import divergence
from integrand.core.numerics.solve_ode import solve_ode
from integrand.datasets.synthetic.planar.density import Density

WIDTH, BATCH = 64, 128
TOLERANCE = 1e-5
"""Of dopri5 in every test, relative and absolute."""


class Parts(NamedTuple):
    """The three parts of a sample, each (N, D), and the entropy of what they are drawn from, in nats."""

    train: Tensor
    validation: Tensor
    test: Tensor
    entropy: float


class Tested(NamedTuple):
    """What a flow does on a part of the data.

    Attributes:
        nll: mean negative log-likelihood, in nats.
        evaluations: of the field by dopri5, for points and density.
    """

    nll: float
    evaluations: float


class Trained(NamedTuple):
    """A trained flow, and the CPU seconds of its training."""

    flow: ContinuousNormalizingFlow
    seconds: float


def planar_parts(density: Density, seed: int, *, counts: tuple[int, int, int] = (4000, 2000, 4000)) -> Parts:
    """Draw the parts of a density of the plane, in units of the standard deviation of the training part."""
    points = torch.tensor(density.sample(sum(counts), seed=seed), dtype=torch.float32)
    train, validation, test = points.split(counts)
    unit = train.std()
    return Parts(train / unit, validation / unit, test / unit, density.entropy() - 2 * math.log(unit))


def train_flow(
    data: Parts,
    seed: int,
    *,
    steps: int,
    rate: float,
    strength: float = 0.0,
    steer: float = 0.0,
    fixed_steps: int = 4,
) -> Trained:
    """Train by fixed steps of rk4 and return the flow as it was when its validation part was likeliest.

    The loss is the mean of (-log p(x) + strength (int |f|^2 dt + int |df/dy|_F^2 dt)) / D.
    """
    torch.manual_seed(seed)
    dim = data.train.shape[1]
    flow = ContinuousNormalizingFlow(
        MLP(dim, (WIDTH, WIDTH), time=True),
        dim,
        energies=strength > 0,
        steer=steer,
        method="rk4",
        step_size=1 / fixed_steps,
    )
    optimizer = torch.optim.Adam(flow.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps, pct_start=0.1)
    best, kept = math.inf, copy.deepcopy(flow.state_dict())
    began = time.process_time()
    for step in range(steps):
        rows = torch.randint(len(data.train), (BATCH,))
        found = flow.train()(data.train[rows])
        loss = -found.log_prob.mean()
        if found.kinetic_energy is not None and found.jacobian_energy is not None:
            loss = loss + strength * (found.kinetic_energy + found.jacobian_energy).mean()
        optimizer.zero_grad()
        (loss / dim).backward()
        torch.nn.utils.clip_grad_norm_(flow.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if (step + 1) % max(1, steps // 10) == 0:
            with torch.no_grad():
                nll = -flow.eval().log_prob(data.validation).mean().item()
            if nll < best:
                best, kept = nll, copy.deepcopy(flow.state_dict())
    seconds = time.process_time() - began
    flow.load_state_dict(kept)
    return Trained(flow.eval(), seconds)


@torch.no_grad()
def evaluate_flow(flow: ContinuousNormalizingFlow, data: Tensor) -> Tested:
    """Solve by dopri5, whose evaluations are counted; energies, which a test has no use for, are left out."""
    calls = 0

    def counted(t: Tensor, state: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        slope, trace, _ = divergence(flow.field, t, state[:, :-1])
        return torch.cat([slope, trace.unsqueeze(1)], dim=1)

    start = torch.cat([data, data.new_zeros(len(data), 1)], dim=1)
    options: dict[str, Any] = {"method": "dopri5", "rtol": TOLERANCE, "atol": TOLERANCE}
    end = solve_ode(counted, start, [flow.end, 0.0], **options).states[:, -1]
    latent, log_det = end[:, :-1], end[:, -1]
    base = -0.5 * (latent.square() + math.log(2 * math.pi)).sum(1)
    return Tested(-(base + log_det).mean().item(), float(calls))
