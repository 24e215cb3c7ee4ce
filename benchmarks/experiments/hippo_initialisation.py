"""Does a state space remember better if it starts from HiPPO's frequencies than from random stable ones?

The digits of scikit-learn, enlarged to 16 x 16 pixels, are read pixel by pixel, and the class is told from the last of
256 elements. Both sides are S4D with the same range of step sizes, the same numbers to learn and the same training.
"""

import math

import torch
from experiment import Experiment, Outcome
from fitting import Fitted, choose, fit
from torch import Tensor, nn
from torch.nn import functional as F

from integrand.core.layers import S4D, ResidualStack

SIDE, CLASSES = 16, 10
WIDTH, STATES, LAYERS = 32, 32, 2
TRAIN, VALIDATION = 1000, 297
STEPS, BATCH, RATE, DECAY = 200, 32, 1e-2, 0.01
RANDOM, HIPPO = ("disc", "range"), ("legs", "inv")
NOISE = 0.5


class Reader(nn.Module):
    """A lift, two layers in residual blocks, and a linear layer at the last element."""

    def __init__(self, start: str) -> None:
        super().__init__()
        self.lift = nn.Linear(1, WIDTH)
        self.body = ResidualStack([layer(start) for _ in range(LAYERS)], dropout=0.1)
        self.head = nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, CLASSES))

    def forward(self, x: Tensor) -> Tensor:
        """Return scores of the classes, (B, CLASSES), for sequences (B, L)."""
        return self.head(self.body(self.lift(x.unsqueeze(-1))).y[:, -1])


def layer(start: str) -> S4D:
    """Return a layer whose eigenvalues start as HiPPO's, ``"legs"`` or ``"inv"``, or at random, every channel its own.

    ``"disc"``: as those of a matrix with independent entries of variance 1 / N, which fill the unit disc evenly; it is
    moved until the slowest decays at the rate 1/2, as all of HiPPO's do. ``"range"``: of that rate, with frequencies
    drawn evenly from 0 to the largest of HiPPO's.

    Source: of the disc, Girko (1985), Circular law.
    """
    made = S4D(
        WIDTH, d_state=STATES, initialization="inv" if start == "inv" else "legs", dt_min=1 / SIDE**2, dt_max=0.5
    )
    if start in RANDOM:
        share, angle = torch.rand(made.frequency.shape), math.pi * torch.rand(made.frequency.shape)
        real = share.sqrt() * angle.cos()
        with torch.no_grad():
            if start == "disc":
                made.frequency.copy_(share.sqrt() * angle.sin())
                made.log_decay.copy_((real.amax(1, keepdim=True) - real + 0.5).log())
            else:
                made.frequency.copy_(share * made.frequency.max())
            made.c.copy_(torch.view_as_real(torch.randn(WIDTH, STATES // 2, dtype=torch.complex64)))
    return made


def digits(seed: int) -> list[tuple[Tensor, Tensor]]:
    """Return sequences (N, L) of unit variance and classes (N,) for training, validation and test, drawn by a seed."""
    from sklearn.datasets import load_digits

    images, classes = load_digits(return_X_y=True)
    pictures = torch.tensor(images, dtype=torch.float32).view(-1, 1, 8, 8)
    x = F.interpolate(pictures, size=(SIDE, SIDE), mode="bilinear").flatten(1)
    y = torch.tensor(classes)
    parts = torch.randperm(len(y), generator=torch.Generator().manual_seed(seed)).tensor_split(
        [TRAIN, TRAIN + VALIDATION]
    )
    seen = x[parts[0]]
    x = (x - seen.mean()) / seen.std()
    return [(x[rows], y[rows]) for rows in parts]


def run(seed: int, with_: bool, *, steps: int = STEPS) -> Outcome:
    """Train readers, take the one that validates best and score it."""
    (x, y), validation, test = digits(seed)

    def train(start: str) -> Fitted:
        torch.manual_seed(seed)
        reader = Reader(start)

        def loss() -> Tensor:
            rows = torch.randint(len(y), (BATCH,))
            return F.cross_entropy(reader(x[rows]), y[rows])

        return fit(reader, loss, steps=steps, rate=RATE, decay=DECAY)

    def validate(reader: nn.Module) -> float:
        return float(F.cross_entropy(reader(validation[0]), validation[1]))

    chosen = choose(HIPPO if with_ else RANDOM, train, validate)
    noise = NOISE * torch.randn(test[0].shape, generator=torch.Generator().manual_seed(10_000 + seed))
    with torch.no_grad():
        error, robustness = (
            (chosen.network(given).argmax(1) != test[1]).double().mean().item() for given in (test[0], test[0] + noise)
        )
    return Outcome(error=error, evaluations=1, seconds=chosen.seconds, robustness=robustness)


EXPERIMENT = Experiment(
    tool="HiPPO initialisation",
    problem=f"digits of scikit-learn as sequences of {SIDE**2} pixels, class told from the last element",
    without="S4D, random stable eigenvalues: those of a random matrix, or random frequencies in HiPPO's range",
    with_="S4D, eigenvalues of HiPPO-LegS's normal part, or their formula (inv)",
    error_of="share of test digits taken for another",
    robustness_of=f"the same with noise of {NOISE:g} standard deviations in every pixel",
    source="Gu, Goel, Gupta and Re (2022), On the parameterization and initialization of diagonal state space models",
    run=run,
    note="Each side takes, of its two starts, the one that validates better.",
)
