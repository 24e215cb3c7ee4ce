"""The order of the solver at equal work: a pendulum learned through eight evaluations a unit of time."""

import copy
import math
import time
from functools import partial

import numpy as np
import torch
from experiment import Experiment, Outcome
from scipy.integrate import solve_ivp
from torch import Tensor

from integrand.core.fields.mlp import MLP
from integrand.core.models.neural_ode import NeuralODE

EVALUATIONS = 8
"""A unit of time."""
STEP_OF = {"euler": 1 / EVALUATIONS, "rk4": 4 / EVALUATIONS}
RATES = (3e-3, 1e-2)
NOISE, DAMPING = 0.02, 0.1
TRAINED, TESTED = 4, 12
"""Units of time that are trained on and tested."""


def pendulums(count: int, span: int, seed: int) -> Tensor:
    """Return angle and angular velocity of damped pendulums, q'' = -sin q - 0.1 q', (N, T, 2), two times a unit."""
    generator = np.random.default_rng(seed)
    starts = generator.uniform((-2.0, -1.0), (2.0, 1.0), (count, 2))
    times = np.linspace(0, span, 2 * span + 1)

    def slope(t: float, y: np.ndarray) -> np.ndarray:
        q, v = y.reshape(2, count)
        return np.concatenate([v, -np.sin(q) - DAMPING * v])

    solved = solve_ivp(slope, (0, span), starts.T.ravel(), t_eval=times, method="DOP853", rtol=1e-10, atol=1e-10)
    return torch.tensor(solved.y.reshape(2, count, -1).transpose(1, 2, 0), dtype=torch.float32)


def run(seed: int, with_: bool, *, steps: int = 300) -> Outcome:
    """Train with each rate, keep what validates best, and test by its own solver and by an exact one."""
    method = "rk4" if with_ else "euler"
    torch.manual_seed(seed)
    training, validation = (
        path + NOISE * torch.randn_like(path)
        for path in (pendulums(64, TRAINED, 3 * seed), pendulums(64, TRAINED, 3 * seed + 1))
    )
    best, chosen, seconds = math.inf, None, 0.0
    for rate in RATES:
        began = time.process_time()
        error, model = _train(seed, method, training, validation, rate=rate, steps=steps)
        if error < best:
            best, chosen, seconds = error, model, time.process_time() - began
    assert chosen is not None
    test = pendulums(200, TESTED, 3 * seed + 2)
    own = _error(chosen, test)
    chosen.method, chosen.step_size, chosen.rtol, chosen.atol = "dopri5", None, 1e-6, 1e-6
    return Outcome(own, EVALUATIONS * TESTED, seconds, _error(chosen, test))


def _train(
    seed: int, method: str, training: Tensor, validation: Tensor, *, rate: float, steps: int
) -> tuple[float, NeuralODE]:
    """Return the error of the validation part where it was least, and the model as it was then."""
    torch.manual_seed(seed)
    model = NeuralODE(MLP(2, (32, 32)), method=method, step_size=STEP_OF[method])
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps, pct_start=0.1)
    best, kept = math.inf, copy.deepcopy(model.state_dict())
    for step in range(steps):
        path = training[torch.randint(len(training), (32,))]
        found = model(path[:, 0], torch.linspace(0, TRAINED, path.shape[1])).states
        loss = (found - path).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if (step + 1) % max(1, steps // 10) == 0 and (error := _error(model, validation)) < best:
            best, kept = error, copy.deepcopy(model.state_dict())
    model.load_state_dict(kept)
    return best, model


@torch.no_grad()
def _error(model: NeuralODE, path: Tensor) -> float:
    """Return the root mean square error of a rollout."""
    span = (path.shape[1] - 1) / 2
    found = model(path[:, 0], torch.linspace(0, span, path.shape[1])).states
    return (found - path).square().mean().sqrt().item()


EXPERIMENT = Experiment(
    tool="higher order solver",
    problem=f"a damped pendulum learned from 64 noisy paths of {TRAINED} units of time by a NeuralODE",
    without=f"Euler's method, {EVALUATIONS} steps a unit of time",
    with_="the classical method of order 4, two steps a unit of time: as many evaluations",
    error_of=f"root mean square error of 200 rollouts of {TESTED} units, by the solver of the training",
    robustness_of="the same of the same field by dopri5 at 1e-6: what was learned of the equation, not of the solver",
    source="Ott, Katiyar, Hennig and Tiemann (2021), ResNet after all: neural ODEs and their numerical solution",
    run=run,
    quick=partial(run, steps=3),
    note="Both are trained with two rates of learning, of which the validation part chooses, and kept at the best of "
    "ten checks. Evaluations are those of the test",
)
