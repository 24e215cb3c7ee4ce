"""Steps of each sample's own: a batch of relaxations of which one is stiff, with shared steps and with own ones."""

import math
import time
from functools import partial
from typing import Any

import numpy as np
import torch
from experiment import Experiment, Outcome
from scipy.integrate import solve_ivp
from torch import Tensor, nn

from integrand.core.fields.mlp import MLP
from integrand.core.numerics.solve_ode import solve_ode

BATCH, DIM, WIDTH = 256, 16, 128
EASY, STIFF = (1.0, 5.0), 300.0
"""Rates of relaxation, over a time of 1."""
TOLERANCE, CHECKED = 1e-5, 8
OPTIONS: dict[str, Any] = {"method": "dopri5", "rtol": TOLERANCE, "atol": TOLERANCE}


class Relaxing(nn.Module):
    """y' = k (MLP(y) - y), each sample with a rate k of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.net = MLP(DIM, (WIDTH, WIDTH))

    def forward(self, t: Tensor, y: Tensor, rate: Tensor) -> Tensor:
        """Evaluate the field."""
        return rate * (self.net(t, y) - y)


def run(seed: int, with_: bool, *, batch: int = BATCH) -> Outcome:
    """Solve forwards and backwards and compare the ends with an implicit solver's."""
    torch.manual_seed(seed)
    field = Relaxing().double()
    start = torch.randn(batch, DIM, dtype=torch.float64)
    low, high = (math.log(bound) for bound in EASY)
    rates = (low + (high - low) * torch.rand(batch, 1, dtype=torch.float64)).exp()
    rates[0] = STIFF
    began = time.process_time()
    solution = solve_ode(field, start, [0.0, 1.0], args=rates, stepping="per_sample" if with_ else "shared", **OPTIONS)
    solution.states[:, -1].square().sum().backward()
    seconds = time.process_time() - began
    ends = solution.states[:CHECKED, -1].detach()
    exact = torch.from_numpy(np.stack([_exact(field, start[row], rates[row]) for row in range(CHECKED)]))
    error = ((ends - exact).norm(dim=1) / exact.norm(dim=1)).max().item()
    return Outcome(error, float(solution.stats.evaluations.double().mean()), seconds)


@torch.no_grad()
def _exact(field: Relaxing, start: Tensor, rate: Tensor) -> np.ndarray:
    """Return where one sample ends, by scipy's Radau method."""

    def slope(t: float, y: np.ndarray) -> np.ndarray:
        state = torch.from_numpy(y).unsqueeze(0)
        return field(torch.tensor(t), state, rate.unsqueeze(0))[0].numpy()

    return solve_ivp(slope, (0.0, 1.0), start.numpy(), method="Radau", rtol=1e-10, atol=1e-11).y[:, -1]


EXPERIMENT = Experiment(
    tool="per-sample steps",
    problem=f"{BATCH} relaxations y' = k (MLP(y) - y) in {DIM} dimensions, one of them stiff: k = {STIFF:g}, the "
    f"others {EASY[0]:g} to {EASY[1]:g}, over a time of 1",
    without="one step size for the batch",
    with_='stepping="per_sample"',
    error_of="the greatest relative error of an end, of the stiff sample and seven others, against scipy's Radau",
    source="the suite's own; batches with steps of each sample's own: Lienen and Günnemann (2022), torchode: a "
    "parallel ODE solver for PyTorch",
    run=run,
    quick=partial(run, batch=16),
    note=f"Nothing is trained; dopri5 at {TOLERANCE:g}, seconds of the solve and its gradient. Seeds draw the network, "
    "the starts and the rates. A shared step as short as the stiff sample's makes the others more exact than was asked",
)
