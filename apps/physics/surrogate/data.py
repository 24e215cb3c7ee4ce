"""The data module of surrogates: a simulator's solutions or a file's, in three parts of samples."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from integrand.apps.application import load
from integrand.apps.physics.surrogate import TASK
from integrand.apps.training.parts_data import PartsData
from integrand.core.errors import InputError, unknown
from integrand.datasets.fields import FieldTask, FieldWindows
from integrand.datasets.simulated import simulated
from integrand.datasets.simulation_files import read_simulations
from integrand.datasets.simulations import Simulations
from integrand.datasets.splits import PARTS, IndexSplit, by_series
from integrand.datasets.synthetic.simulators import SIMULATORS, simulator

FRACTIONS = (0.8, 0.1, 0.1)
FILES = (".h5", ".hdf5")
PUBLISHED = {"darcy_neuralop": ("integrand.datasets.real.darcy_neuralop:load", "train", "test_32", 2, "darcy")}
"""Data with a split of their own: reader, its part to train on, its part to test on, the stride between the two, and
the equation, whose parameters may be others."""
NOISE_KEY = 0x6E6F697365
"""Tells the generator of noise from that of other things with the same seed."""


class SurrogateData(PartsData):
    """Solutions of a partial differential equation, trained on at one resolution and tested at others.

    What is trained on may be coarser than what is simulated: ``points`` are solved for and every ``train_every`` of
    them is kept, so that the training data are the exact solution on a coarse grid, and the same test samples are at
    hand at any resolution between. Statistics are those of the training part.

    Args:
        dataset: a simulator of an equation, or the path of an ``.h5`` file or a folder of such.
        samples: training, validation and test samples of a simulator; of data with a split of their own the second is
            how many training samples are set aside for validation.
        fractions: shares of training, validation and test samples of a file.
        points: solved for along each axis; one number for all axes; the equation's own where None.
        lengths: of the box along each axis, likewise.
        span: time that is simulated; the equation's own where None.
        interval: time between two states that are kept, likewise.
        parameters: of the equation: values, or bounds between which each sample has its own.
        step_size: of the reference solver.
        train_every: of the points along each axis, every so many are trained on, and tested on by default.
        time_every: of the stored times of a file, every so many are kept.
        train_span: time up to which training and validation samples are seen; all of it where None. Test samples are
            followed to the end, and what lies beyond is flagged.
        resolutions: points along the first axis at which the trained network is asked besides.
        horizon: steps of a training window; more than one trains on rolled-out states.
        noise: standard deviation of what is added to the states of training and validation, in units of each channel's
            own deviation.
        batch_size: windows a batch.
        num_workers: processes that load batches; 0 for the training process.
        seed: of order.
        split_seed: of the samples that are simulated, or of the split of a file; apart from ``seed``, so that several
            seeds are trained and scored on the same samples.

    Raises:
        InputError: an option out of range, no such simulator or file, or solutions that cannot be learned from.
    """

    def __init__(
        self,
        dataset: str = "burgers",
        *,
        samples: tuple[int, int, int] = (1000, 100, 100),
        fractions: tuple[float, float, float] | None = None,
        points: int | tuple[int, ...] | None = None,
        lengths: float | tuple[float, ...] | None = None,
        span: float | None = None,
        interval: float | None = None,
        parameters: dict[str, float | tuple[float, float]] | None = None,
        step_size: float | None = None,
        train_every: int = 1,
        time_every: int = 1,
        train_span: float | None = None,
        resolutions: tuple[int, ...] = (),
        horizon: int = 1,
        noise: float = 0.0,
        batch_size: int = 20,
        num_workers: int = 0,
        seed: int = 0,
        split_seed: int = 0,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        for name, value, held in (
            ("samples", samples, len(samples) == 3 and samples[0] > 0 and samples[1] >= 0 and samples[2] > 0),
            ("train_every", train_every, train_every >= 1),
            ("time_every", time_every, time_every >= 1),
            ("span", span, span is None or span > 0),
            ("interval", interval, interval is None or interval > 0),
            ("train_span", train_span, train_span is None or train_span > 0),
            ("horizon", horizon, horizon >= 1),
            ("noise", noise, noise >= 0),
            ("batch_size", batch_size, batch_size >= 1),
            ("num_workers", num_workers, num_workers >= 0),
        ):
            if not held:
                raise InputError(f"data.{name}={value!r} is out of range.")
        self.dataset, self.samples, self.fractions = dataset, tuple(samples), fractions
        self.points, self.lengths, self.span, self.interval = points, lengths, span, interval
        self.parameters, self.step_size = parameters, step_size
        self.train_every, self.time_every, self.train_span = train_every, time_every, train_span
        self.resolutions, self.horizon, self.noise = tuple(resolutions), horizon, noise
        self.batch_size, self.num_workers, self.seed, self.split_seed = batch_size, num_workers, seed, split_seed
        self._advice: list[str] = []
        self._parts: dict[str, FieldWindows] = {}

    @property
    def is_file(self) -> bool:
        """Whether the data are a file's, not a simulator's."""
        return "/" in self.dataset or self.dataset.endswith(FILES)

    @property
    def equation(self) -> str | None:
        """Name of the equation that the data solve, be its parameters known or not; None where it is not known."""
        if self.dataset in PUBLISHED:
            return PUBLISHED[self.dataset][-1]
        return self.dataset if self.dataset in SIMULATORS else None

    @property
    def notices(self) -> list[str]:
        """What the user should know of the data, and what the network had to say of them."""
        self.setup()
        told = list(self._advice)
        if not self.task.steady and self.task.steps < len(self.test.times) - 1:
            reached = float(self.test.times[self.task.steps])
            told.append(
                f"trained up to time {reached:g}, tested up to {float(self.test.times[-1]):g}: what lies beyond is "
                "beyond the trained time"
            )
        return told

    def advise(self, notice: str) -> None:
        """Add a line to the notices."""
        self._advice.append(notice)

    def setup(self, stage: str | None = None) -> None:
        """Simulate or read, split, thin and standardise; a second call does nothing."""
        if self._parts:
            return
        self._test_every = self.train_every
        parts = self._published() if self.dataset in PUBLISHED else self._split()
        self.test = parts["test"]
        for resolution in self.resolutions:  # what the test will ask for is refused before the training
            self._stride_to(resolution)
        train = parts["train"].every(self.train_every)
        steps = self._train_steps(train)
        self.task = FieldTask.of(train, steps=steps)
        seen = slice(None) if steps is None else slice(steps + 1)
        validation = self._noisy(_until(parts["validation"].every(self.train_every), seen), "validation")
        self._parts = {
            "train": FieldWindows(self._noisy(_until(train, seen), "train"), self.horizon),
            "validation": FieldWindows(validation),
            "test": FieldWindows(self.test.every(self._test_every)),
        }

    def windows(self, part: str) -> FieldWindows:
        """Return the windows of ``"train"``, ``"validation"`` or ``"test"``, at the trained resolution."""
        self.setup()
        return self._parts[part]

    def test_at(self, resolution: int | None = None) -> Simulations:
        """Return the test samples with so many points along the first axis, the trained ones where None.

        They are thinned from the data where that is possible, or simulated again on another grid.

        Raises:
            InputError: a file that has no such points.
        """
        self.setup()
        have = self.test.shape[0]
        if resolution is None:
            return self.test.every(self._test_every)
        if stride := self._stride_to(resolution):
            return self.test.every(stride)
        if resolution < 4:
            raise InputError(f"resolution={resolution} is out of range: at least 4 points.")
        points = tuple(round(n * resolution / have) for n in self.test.shape)
        return self._simulated(points, len(self.split.test))  # which are the first

    def _stride_to(self, resolution: int) -> int | None:
        """Return which points to take for a resolution, None where the samples must be simulated again."""
        have = self.test.shape[0]
        for stride in range(1, have + 1):
            if len(range(0, have, stride)) == resolution and (not self.test.periodic[0] or have % stride == 0):
                return stride
        if self.is_file or self.dataset in PUBLISHED:
            raise InputError(
                f"resolution={resolution}: the data have {have} points along the first axis, of which every second, "
                f"third, ... can be taken: give --data.resolutions a divisor of {have}, or none: []."
            )
        return None

    def options(self, points: Any) -> dict[str, Any]:
        """Return what the simulator is asked for, but for the number of samples."""
        equation = simulator(self.dataset)
        interval = equation.interval if self.interval is None else self.interval
        span = equation.span if self.span is None else self.span
        times = None
        if not getattr(equation, "steady", False):
            times = (torch.arange(round(span / interval) + 1, dtype=torch.float64) * interval).tolist()
        return {
            "times": times,
            "points": _each(points, equation.dims),
            "lengths": _each(self.lengths, equation.dims),
            "parameters": None if self.parameters is None else {n: _range(each) for n, each in self.parameters.items()},
            "seed": self.split_seed,
            "step_size": self.step_size,
        }

    def _split(self) -> dict[str, Simulations]:
        """Simulate or read all samples, and return the parts."""
        every = self._read() if self.is_file else self._simulated(self.points)
        return {part: every.select(self.split.rows(part)) for part in PARTS}

    def _published(self) -> dict[str, Simulations]:
        """Return the parts of data with a split of their own, validation taken from training."""
        place, train, test, stride, _ = PUBLISHED[self.dataset]
        read = load(place)
        given, tested = read(train), read(test)
        self.checksum = hashlib.sha256((given.checksum + tested.checksum).encode()).hexdigest()[:16]
        self._test_every = stride * self.train_every
        aside, count = self.samples[1], len(given)
        if aside >= count:
            raise InputError(f"data.samples={list(self.samples)}: {self.dataset} has {count} training samples in all.")
        order = torch.randperm(count, generator=torch.Generator().manual_seed(self.split_seed)).tolist()
        rows = tuple(sorted(order[aside:])), tuple(sorted(order[:aside])), tuple(range(count, count + len(tested)))
        self.split = IndexSplit(*rows, self._of())
        return {"train": given.select(rows[0]), "validation": given.select(rows[1]), "test": tested}

    def _simulated(self, points: Any, samples: int | None = None) -> Simulations:
        if self.dataset not in SIMULATORS:
            if Path(self.dataset).exists():
                raise InputError(f"dataset {self.dataset!r} is a file without a known ending: name it *.h5.")
            raise unknown("dataset", self.dataset, TASK.datasets)
        if not simulator(self.dataset).dims:
            raise InputError(f"{self.dataset} is a system without a grid: train it with --task dynamics.")
        if not hasattr(self, "split"):
            told = json.dumps(
                {"dataset": self.dataset, "samples": self.samples, **self.options(self.points)}, sort_keys=True
            )
            self.checksum = hashlib.sha256(told.encode()).hexdigest()[:16]
            train, validation, test = self.samples
            # The test samples are the first, so that they stay the same however many are trained on.
            first = test + validation
            self.split = IndexSplit(
                tuple(range(first, first + train)), tuple(range(test, first)), tuple(range(test)), self._of()
            )
        return simulated(self.dataset, samples=samples or sum(self.samples), **self.options(points))

    def _read(self) -> Simulations:
        given = read_simulations(Path(self.dataset), every_time=self.time_every)
        self.checksum = given.checksum
        self.split = by_series(len(given), fractions=self.fractions or FRACTIONS, seed=self.split_seed, of=self._of())
        return given

    def _of(self) -> dict[str, str | float | int]:
        return {"dataset": Path(self.dataset).name, "checksum": self.checksum, "train_every": self.train_every}

    def _train_steps(self, train: Simulations) -> int | None:
        """Return how many steps are within ``train_span``, None for all."""
        if self.train_span is None or len(train.times) == 1:
            return None
        steps = int((train.times <= train.times[0] + self.train_span * (1 + 1e-9)).sum()) - 1
        if steps < 1:
            raise InputError(
                f"data.train_span={self.train_span:g} holds no step of {float(train.times[1] - train.times[0]):g}: "
                "take a longer one."
            )
        return min(steps, len(train.times) - 1)

    def _noisy(self, part: Simulations, name: str) -> Simulations:
        """Add noise to the states, the same for the same seed of the split."""
        if not self.noise:
            return part
        generator = torch.Generator().manual_seed(self.split_seed ^ NOISE_KEY ^ PARTS.index(name))
        drawn = torch.randn(part.values.shape, generator=generator, dtype=part.values.dtype)
        shape = (-1, *[1] * part.dims)
        scale = torch.tensor(self.task.target_scale, dtype=part.values.dtype).view(shape)
        return replace(part, values=part.values + self.noise * scale * drawn)


def _each(given: Any, dims: int) -> tuple[Any, ...] | None:
    """Return one number for each axis."""
    if given is None:
        return None
    return (given,) * dims if isinstance(given, (int, float)) else tuple(given)


def _range(given: Any) -> Any:
    return tuple(given) if isinstance(given, (list, tuple)) else given


def _until(simulations: Simulations, seen: slice) -> Simulations:
    return replace(simulations, values=simulations.values[:, seen], times=simulations.times[seen])
