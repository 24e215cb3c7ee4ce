"""The data module of informed networks: points where the equation must hold, and observations.

Dimension letters: N points, d coordinates, M observations, F points of a face.
"""

import hashlib
import json
from typing import Any, NamedTuple

import torch
from lightning import LightningDataModule
from torch import Tensor
from torch.quasirandom import SobolEngine
from torch.utils.data import Dataset

from integrand.apps.physics.informed.problems.problem import Problem, mesh
from integrand.apps.physics.informed.problems.registry import problem
from integrand.apps.physics.informed.task import InformedTask
from integrand.core.errors import InputError
from integrand.datasets.loader import ResumableLoader

VALIDATION = 1_000_003
"""Added to the seed for what validation draws."""
HELD_OUT = 0.2
"""Share of the observations that validate."""


class Points(NamedTuple):
    """A batch: where what must hold.

    Attributes:
        inner: (N, d) points of the box, for the equation.
        faces: (F, d) points for each condition of the problem, in its order.
        observed: (M, d) where the solution was observed.
        values: (M,) the observations.
    """

    inner: Tensor
    faces: tuple[Tensor, ...]
    observed: Tensor
    values: Tensor


class Drawn(NamedTuple):
    """Stands for the split: what is drawn for training and validation, and where the test is, by its hash."""

    of: dict[str, Any]

    @property
    def hash(self) -> str:
        """Sixteen hexadecimal digits of SHA-256 over all options that say what is drawn."""
        return hashlib.sha256(json.dumps(self.of, sort_keys=True).encode()).hexdigest()[:16]


class InformedData(LightningDataModule):
    """Points of a problem's box: quasi-random ones to train and validate on, a grid with the reference to test.

    Every epoch draws new points, and takes as many steps as ``steps_per_epoch`` on them. The reference solution is used
    for the test, and to make observations; without observations nothing of it is seen in training.

    Args:
        dataset: name of the problem.
        parameters: values of the problem's parameters, where not its own.
        unknown: parameters that are sought, each with the value to begin from; the sign of a value is kept.
        observations: how many values of the solution are observed, at random points; a fifth of them validates.
        noise: standard deviation of their errors, in units of the solution's own.
        collocation: points in the box, N.
        condition_points: points for each condition, F; used where conditions are not met by form.
        steps_per_epoch: optimiser steps on the same points.
        test_points: of the test grid, along each axis.
        seed: of points, observations and their errors.

    Raises:
        InputError: an unknown problem or parameter, an option out of range, something sought and nothing observed.
    """

    def __init__(
        self,
        dataset: str = "burgers_shock",
        *,
        parameters: dict[str, float] | None = None,
        unknown: dict[str, float] | None = None,
        observations: int = 0,
        noise: float = 0.0,
        collocation: int = 4096,
        condition_points: int = 256,
        steps_per_epoch: int = 100,
        test_points: int = 201,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        for name, value, least in (
            ("observations", observations, 0),
            ("noise", noise, 0),
            ("collocation", collocation, 16),
            ("condition_points", condition_points, 1),
            ("steps_per_epoch", steps_per_epoch, 1),
            ("test_points", test_points, 8),
            ("seed", seed, 0),
        ):
            if not value >= least:
                raise InputError(f"data.{name}={value!r} is out of range: it must be at least {least}.")
        self.problem: Problem = problem(dataset)
        self.dataset, self.noise, self.seed = self.problem.name, noise, seed
        guesses = dict(unknown or {})
        self.problem.given(guesses)  # refuses names that are not its parameters
        for name, guess in guesses.items():
            if guess == 0:
                raise InputError(f"data.unknown: {name}=0 has no sign to keep: begin from a number like its own.")
        if guesses and observations < 10:
            raise InputError(
                f"data.unknown={', '.join(guesses)} with data.observations={observations}: what is sought must be seen "
                "in the solution, so give 10 observations or more."
            )
        self.observations, self.collocation, self.condition_points = observations, collocation, condition_points
        self.steps_per_epoch, self.test_points = steps_per_epoch, test_points
        self.task = InformedTask(self.problem.name, self.problem.given(parameters), guesses)
        self.split = Drawn(
            {
                "task": self.task.to_dict(),
                "observations": [observations, noise, seed if observations else 0],
                "test_points": test_points,
            }
        )

    def setup(self, stage: str | None = None) -> None:
        """Make the observations; a second call does nothing."""
        if hasattr(self, "observed"):
            return
        generator = torch.Generator().manual_seed(self.seed)
        places = self._box(torch.rand((self.observations, len(self.problem.inputs)), generator=generator))
        exact = self.problem.reference(places, self.task.parameters) if self.observations else torch.zeros(0).double()
        size = self.noise * float(exact.std(correction=0)) if self.observations else 0.0
        values = exact + size * torch.randn(self.observations, generator=generator, dtype=torch.float64)
        held = round(HELD_OUT * self.observations)
        self.observed = (places[held:], values[held:])
        self.held_out = (places[:held], values[:held])
        sha = hashlib.sha256(self.split.hash.encode())
        sha.update(values.numpy().tobytes())
        self.checksum = sha.hexdigest()[:16]

    @property
    def notices(self) -> tuple[str, ...]:
        """What the user should know."""
        if self.task.unknown:
            return (f"sought: {', '.join(self.task.unknown)}; their true values are used to score alone",)
        return ("no parameter is sought: for a problem like this a finite-difference solver is faster and more exact",)

    def test_grid(self) -> tuple[Tensor, ...]:
        """Return the axes of the test grid, float64; ends of the box included."""
        return self.problem.grid(self.test_points)

    def reference(self) -> Tensor:
        """Return the solution on the test grid, in the grid's shape."""
        axes = self.test_grid()
        return self.problem.reference(mesh(axes), self.task.parameters).view(*map(len, axes))

    def points(self, seed: int, *, validation: bool = False) -> Points:
        """Draw a batch."""
        self.setup()
        dims = len(self.problem.inputs)
        engine = SobolEngine(dims, scramble=True, seed=seed)
        inner = self._box(engine.draw(self.collocation))
        generator = torch.Generator().manual_seed(seed)
        faces = []
        for condition in self.problem.conditions:
            face = self._box(torch.rand((self.condition_points, dims), generator=generator))
            face[:, condition.axis] = condition.at
            faces.append(face)
        places, values = self.held_out if validation else self.observed
        parts = (inner, *faces, places, values)
        inner, *faces, places, values = (part.float() for part in parts)
        return Points(inner, tuple(faces), places, values)

    def _box(self, shares: Tensor) -> Tensor:
        low, high = (torch.tensor(one, dtype=torch.float64) for one in (self.problem.low, self.problem.high))
        return low + (high - low) * shares

    def train_dataloader(self) -> ResumableLoader:
        """Return new points each epoch, as often as there are steps in it."""
        return ResumableLoader(_Draws(self), batch_size=1, shuffle=True, seed=self.seed)

    def val_dataloader(self) -> ResumableLoader:
        """Return the points of validation, always the same."""
        return ResumableLoader(_Validation(self), batch_size=1)


class _Draws(Dataset):
    """The points of step i of epoch e are those of draw e."""

    def __init__(self, data: InformedData) -> None:
        self.data, self.epoch = data, -1

    def __len__(self) -> int:
        return self.data.steps_per_epoch

    def __getitems__(self, index: list[int]) -> Points:
        epoch = index[0] // len(self)
        if epoch != self.epoch:
            # Each seed has draws of its own, however long it trains; a resumed run draws the same again.
            self.epoch, self.drawn = epoch, self.data.points(10_000 * self.data.seed + epoch)
        return self.drawn


class _Validation(Dataset):
    def __init__(self, data: InformedData) -> None:
        self.data = data

    def __len__(self) -> int:
        return 1

    def __getitems__(self, index: list[int]) -> Points:
        return self.data.points(VALIDATION + self.data.seed, validation=True)
