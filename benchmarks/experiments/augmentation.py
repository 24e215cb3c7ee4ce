"""Added dimensions: nested discs, which no ODE in the plane can take apart, with and without room beside the plane."""

import math
import time
from functools import partial

import torch
from experiment import Experiment, Outcome
from torch import Tensor, nn

from integrand.core.fields.mlp import MLP
from integrand.core.models.augmented_ode import AugmentedODE
from integrand.core.models.neural_ode import NeuralODE
from integrand.core.numerics.solve_ode import solve_ode

RATES = (1e-2, 3e-2)
TOLERANCE = 1e-4
ADDED, WIDTH, WIDTH_WITHOUT = 1, 32, 33
"""Dimensions added; hidden widths that give both sides as many parameters, to one in a hundred."""


class Classifier(nn.Module):
    """The plane moved by an ODE for a unit of time, and a linear score of where points came to."""

    def __init__(self, flow: NeuralODE | AugmentedODE, dim: int) -> None:
        super().__init__()
        self.flow, self.score = flow, nn.Linear(dim, 1)

    @property
    def node(self) -> NeuralODE:
        """The ODE, whichever it is part of."""
        return self.flow.flow if isinstance(self.flow, AugmentedODE) else self.flow

    def start(self, x: Tensor) -> Tensor:
        """Return the state that the ODE begins with."""
        added = self.score.in_features - x.shape[1]
        return torch.cat([x, x.new_zeros(len(x), added)], dim=1) if added else x

    def forward(self, x: Tensor) -> Tensor:
        """Return the log odds of the outer ring, (B,)."""
        return self.score(self.node(self.start(x), [0.0, 1.0]).states[:, -1])[:, 0]


def nested(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw points of the disc of radius 1/2 (label 0) and of the ring from 1 to 3/2 around it (1), half of each."""
    label = torch.arange(count) % 2
    # Uniform by area: the square of the radius is uniform between those of the bounds.
    square = torch.where(label == 0, 0.25 * torch.rand(count, generator=generator), 1.0)
    square = torch.where(label == 1, 1 + 1.25 * torch.rand(count, generator=generator), square)
    angle = 2 * math.pi * torch.rand(count, generator=generator)
    points = square.sqrt().unsqueeze(1) * torch.stack([angle.cos(), angle.sin()], dim=1)
    return points, label.float()


def run(seed: int, with_: bool, *, steps: int = 200) -> Outcome:
    """Train with each rate, keep what validates best, and test it."""
    generator = torch.Generator().manual_seed(seed)
    train, validation, test = (nested(count, generator) for count in (1000, 500, 2000))
    best, chosen, seconds = math.inf, None, 0.0
    for rate in RATES:
        began = time.process_time()
        model = _train(seed, with_, train, steps=steps, rate=rate)
        spent = time.process_time() - began
        with torch.no_grad():
            loss = _loss(model, *validation).item()
        if loss < best:
            best, chosen, seconds = loss, model, spent
    assert chosen is not None
    with torch.no_grad():
        error = _loss(chosen, *test).item()
        solved = solve_ode(
            chosen.node.field, chosen.start(test[0]), [0.0, 1.0], rtol=TOLERANCE, atol=TOLERANCE, method="dopri5"
        )
    return Outcome(error, float(solved.stats.evaluations.float().mean()), seconds)


def _train(seed: int, with_: bool, data: tuple[Tensor, Tensor], *, steps: int, rate: float) -> Classifier:
    torch.manual_seed(seed)
    options = {"method": "rk4", "step_size": 0.1}
    if with_:
        dim = 2 + ADDED
        model = Classifier(AugmentedODE(2, ADDED, field=MLP(dim, (WIDTH, WIDTH), time=True), **options), dim)
    else:
        model = Classifier(NeuralODE(MLP(2, (WIDTH_WITHOUT, WIDTH_WITHOUT), time=True), **options), 2)
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps, pct_start=0.1)
    for _ in range(steps):
        rows = torch.randint(len(data[0]), (128,))
        loss = _loss(model, data[0][rows], data[1][rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return model.eval()


def _loss(model: Classifier, points: Tensor, labels: Tensor) -> Tensor:
    return nn.functional.binary_cross_entropy_with_logits(model(points), labels)


EXPERIMENT = Experiment(
    tool="augmentation",
    problem="a disc and the ring around it told apart in the plane, 1,000 points, an ODE with a linear score",
    without="NeuralODE on the plane, a perceptron of two layers of 33",
    with_="AugmentedODE with one dimension more, two layers of 32: as many parameters",
    error_of="cross-entropy of 2,000 test points, nats",
    source="Dupont, Doucet and Teh (2019), Augmented neural ODEs, whose g is this problem",
    run=run,
    quick=partial(run, steps=3),
    note="Evaluations are those of dopri5 at 1e-4; both are trained by ten steps of rk4, with each of two rates, of "
    "which the validation part chooses",
)
