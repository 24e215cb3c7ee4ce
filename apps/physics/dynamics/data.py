"""The data module of dynamics: trajectories, simulated or recorded, in three parts.

Dimension letters: N samples, T times, D state.
"""

from dataclasses import replace
from typing import Literal, get_args

import torch
from torch import Tensor

from integrand.apps.physics.dynamics import TASK
from integrand.apps.physics.dynamics.differences import differences
from integrand.apps.physics.dynamics.drawn import drawn_parts, grid
from integrand.apps.physics.dynamics.records import (
    Parts,
    Reading,
    SplitBy,
    is_recorded,
    known_system,
    read_record,
    split_record,
)
from integrand.apps.physics.dynamics.task import DynamicsTask
from integrand.apps.physics.dynamics.windows import StateWindows
from integrand.apps.training.parts_data import PartsData
from integrand.core.errors import InputError, unknown
from integrand.datasets.simulations import Simulations
from integrand.datasets.synthetic.simulators import SIMULATORS, simulator
from integrand.datasets.synthetic.systems.system import System

Derivatives = Literal["exact", "differences"]
StateForm = Literal["plain", "velocities", "canonical"]
VALIDATED = 50
"""States predicted from each start in validation, at most."""


class DynamicsData(PartsData):
    """Trajectories of a system: drawn from its simulator, or recorded, in a real data set or a file.

    Of a simulator, training and validation go over ``span``, the test over its own; networks are trained and chosen on
    what was observed, with its noise, and tested on exact solutions from exact starts. Recorded trajectories are
    divided among the parts, or each in time; predictions begin at a recorded state, with its error. Scales are those of
    the training part.

    Args:
        dataset: a simulator's name, that of a real data set, or a file: a table, whose groups are trajectories, or an
            HDF5 file in the layout of The Well.
        samples: simulated trajectories of all three parts.
        fractions: shares of training, validation and test.
        span: time of a training or validation trajectory; the simulator's where None.
        interval: between two states; the simulator's where None.
        test_span: time of a test trajectory; ``span`` where None. Of a record that is split in time that of a test
            window; the whole test part where None.
        test_interval: between two states of it; ``interval`` where None.
        parameters: values of the simulator's parameters that are not to have their default.
        sizes: of the simulator that are not to have their default, such as the ``masses`` of ``spring_chain``.
        noise: standard deviation of what is added to every state observed, in deviations of its channel.
        derivatives: ``"exact"``, those of the system at the exact states (of one driven at random, its drift);
            ``"differences"``, of fourth order, of what was observed; None for the first where the system is known, the
            second where it is not.
        horizon: states that are predicted from each start in training; 0 where derivatives alone are matched.
        stride: every how many states a training window starts.
        step_size: step of the simulator's solver; its own where None.
        batch_size: windows a batch.
        num_workers: processes that load batches; 0 for the training process.
        seed: of order.
        split_seed: of the trajectories and their noise; apart from ``seed``, so that several seeds are scored on the
            same test part.
        split_by: how a record is split: by ``"trajectories"``, at random, or in ``"time"``; None for the latter where
            there is one trajectory alone.
        state: what the state of a file is: ``"canonical"``, positions and then their momenta; ``"velocities"``,
            positions and then their velocities; or neither, ``"plain"``.
        angles: channels of a file whose values a turn apart are the same.
        channels: those of a file that make the state, in order; all where None.
        time_column: column of a table that holds the times; found by its name where None.
        group_column: column that tells trajectories apart, likewise.
        time_unit: what is counted where times are dates: ``"h"``, ``"min"``, ``"s"``, ``"d"`` or ``"ms"``.

    Raises:
        InputError: an option out of range, an unknown system or parameter, a file that cannot be used.
    """

    def __init__(
        self,
        dataset: str = "pendulum",
        *,
        samples: int = 100,
        fractions: tuple[float, float, float] = (0.6, 0.15, 0.25),
        span: float | None = None,
        interval: float | None = None,
        test_span: float | None = None,
        test_interval: float | None = None,
        parameters: dict[str, float] | None = None,
        sizes: dict[str, int] | None = None,
        noise: float = 0.0,
        derivatives: Derivatives | None = None,
        horizon: int = 1,
        stride: int = 1,
        step_size: float | None = None,
        batch_size: int = 256,
        num_workers: int = 0,
        seed: int = 0,
        split_seed: int = 0,
        split_by: SplitBy | None = None,
        state: StateForm = "plain",
        angles: list[str] | None = None,
        channels: list[str] | None = None,
        time_column: str | None = None,
        group_column: str | None = None,
        time_unit: str = "h",
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        for name, value, held in (
            ("samples", samples, samples >= 3),
            ("span", span, span is None or span > 0),
            ("interval", interval, interval is None or interval > 0),
            ("test_span", test_span, test_span is None or test_span > 0),
            ("test_interval", test_interval, test_interval is None or test_interval > 0),
            ("noise", noise, noise >= 0),
            ("horizon", horizon, horizon >= 0),
            ("stride", stride, stride >= 1),
            ("batch_size", batch_size, batch_size >= 1),
            ("num_workers", num_workers, num_workers >= 0),
        ):
            if not held:
                raise InputError(f"data.{name}={value!r} is out of range.")
        for name, value, words in (
            ("derivatives", derivatives, (None, *get_args(Derivatives))),
            ("split_by", split_by, (None, *get_args(SplitBy))),
            ("state", state, get_args(StateForm)),
        ):
            if value not in words:
                raise unknown(f"data.{name}", str(value), [word for word in words if word is not None])
        self.dataset, self.samples, self.fractions = dataset, samples, fractions
        self.span, self.interval, self.test_span, self.test_interval = span, interval, test_span, test_interval
        self.parameters, self.sizes = dict(parameters or {}), dict(sizes or {})
        self.noise, self.horizon, self.stride = noise, horizon, stride
        self.derivatives: Derivatives | None = derivatives
        self.split_by: SplitBy | None = split_by
        self.state: StateForm = state
        self.angles = list(angles or [])
        self.reading = Reading(
            channels=tuple(channels or ()), time_column=time_column, group_column=group_column, time_unit=time_unit
        )
        self.step_size = step_size
        self.batch_size, self.num_workers, self.seed, self.split_seed = batch_size, num_workers, seed, split_seed
        self._parts: dict[str, StateWindows] = {}

    def setup(self, stage: str | None = None) -> None:
        """Simulate or read, split and scale; a second call does nothing."""
        if self._parts:
            return
        self.parts = self._recorded() if is_recorded(self.dataset) else self._simulated()
        train, validation, self.test = self.parts.train, self.parts.validation, self.parts.test
        if len(train.times) < max(2, self.horizon + 1):
            cure = "take a smaller horizon" if is_recorded(self.dataset) else "take a longer span, a shorter interval"
            raise InputError(
                f"data.span={float(train.times[-1]):g} holds {len(train.times)} states, fewer than the "
                f"{self.horizon + 1} of horizon {self.horizon}: {cure}."
            )
        self.starts, self.split = train.values[:, 0], self.parts.split
        self.trained, validated = self._observed(train.values, validation.values)
        slopes = [self._slopes(part, of) for part, of in ((train, self.trained), (validation, validated))]
        self.task = self._task(train, slopes[0])
        length = min(VALIDATED + 1, len(validation.times))
        self._parts = {
            "train": _windows(self.trained, slopes[0], train, self.horizon + 1, self.stride),
            "validation": _windows(validated, slopes[1], validation, length, max(1, length - 1)),
            "test": _windows(self.test.values, self._slopes(self.test, self.test.values), self.test),
        }
        self.checksum = f"{train.checksum[:8]}{self.test.checksum[:8]}"

    def windows(self, part: str) -> StateWindows:
        """Return the windows of ``"train"``, ``"validation"`` or ``"test"``."""
        self.setup()
        return self._parts[part]

    @property
    def notices(self) -> list[str]:
        """How exact the data are or how they were split, and whether the test goes beyond what training saw."""
        self.setup()
        return [*self.parts.notices, *self.beyond()]

    def beyond(self) -> list[str]:
        """Say so where test trajectories are longer than those of training."""
        trained, tested = self.task.span, float(self.test.times[-1])
        if tested <= trained * (1 + 1e-9):
            return []
        return [
            f"evaluation beyond the trained time: test trajectories go on to t = {tested:g}, and training saw none "
            f"beyond t = {trained:g}"
        ]

    def _simulated(self) -> Parts:
        """Draw the parts from the simulator."""
        if self.split_by == "time":
            raise InputError("data.split_by=time is for recorded data: a simulator draws trajectories for each part.")
        system = self._simulator()
        self.system: System | None = system
        span, interval = self.span or system.span, self.interval or system.interval
        return drawn_parts(
            system,
            samples=self.samples,
            fractions=self.fractions,
            times=grid(span, interval),
            test_times=grid(self.test_span or span, self.test_interval or interval),
            parameters=self.parameters,
            seed=self.split_seed,
            step_size=self.step_size,
        )

    def _recorded(self) -> Parts:
        """Read the record and divide it."""
        for name in ("span", "interval", "test_interval", "parameters", "sizes", "step_size"):
            if self.hparams[name]:
                raise InputError(
                    f"data.{name}={self.hparams[name]!r} is for simulators, and {self.dataset} is recorded: leave it "
                    "out, or begin from --recipe trajectories."
                )
        found, notices = read_record(self.dataset, self.reading)
        self.system = known_system(found)
        parts = split_record(
            found,
            by=self.split_by,
            fractions=self.fractions,
            seed=self.split_seed,
            test_span=self.test_span,
            dataset=self.dataset,
        )
        return replace(parts, notices=(*notices, *parts.notices))

    def _simulator(self) -> System:
        systems = TASK.datasets
        if self.dataset not in SIMULATORS:
            raise unknown("system", self.dataset, systems)
        found = simulator(self.dataset, **self.sizes)
        if not isinstance(found, System):
            raise InputError(
                f"{self.dataset} is a field on a grid, and dynamics learns systems ({', '.join(systems)}): add --task "
                "surrogate."
            )
        for name, value in self.parameters.items():
            if isinstance(value, (tuple, list)):
                raise InputError(f"data.parameters: {name}={value!r} must be one value: a network sees no parameters.")
        return found

    def _slopes(self, of: Simulations, observed: Tensor) -> Tensor:
        """Return dy/dt (N, T, D): exact where they are asked for or known, else by differences."""
        exact = self.system is not None if self.derivatives is None else self.derivatives == "exact"
        if not exact:
            return differences(observed, float(of.times[-1]) / (len(of.times) - 1))
        if self.system is None:
            raise InputError(
                f"data.derivatives=exact: the equation of {self.dataset} is not known: take --data.derivatives "
                "differences."
            )
        return self.system.derivatives(of.values, of.times, of.parameters)

    def _observed(self, train: Tensor, validation: Tensor) -> tuple[Tensor, Tensor]:
        """Return what is observed of both parts: their states and noise."""
        if not self.noise:
            return train, validation
        deviation = train.flatten(0, 1).std(0)
        generator = torch.Generator().manual_seed(self.split_seed + 1)
        counts = [part.shape[0] * part.shape[1] for part in (train, validation)]
        drawn = torch.randn(sum(counts), len(deviation), generator=generator, dtype=train.dtype).split(counts)
        noisy = [
            part + self.noise * deviation * each.view_as(part)
            for part, each in zip((train, validation), drawn, strict=True)
        ]
        return noisy[0], noisy[1]

    def _task(self, train: Simulations, slopes: Tensor) -> DynamicsTask:
        """Describe the system as the training part shows it."""
        system, channels = self.system, list(train.channels)
        for name in self.angles:
            if name not in channels:
                raise unknown("channel in data.angles", name, channels)
        form = "velocities" if self.dataset == "planets" else self.state
        if form != "plain" and len(channels) % 2:
            raise InputError(f"data.state={form}: {len(channels)} channels are no two halves: leave one out.")
        canonical = form == "canonical" if system is None else system.canonical
        angles = [channels.index(name) for name in self.angles] if system is None else list(system.angles)
        location, scale = scales(self.trained, canonical=canonical, angles=angles)
        return DynamicsTask(
            system=train.name if system is None else system.name,
            channels=channels,
            units=[train.units.get(name, "") for name in channels],
            time_unit=train.units.get("time", ""),
            location=location.tolist(),
            scale=scale.tolist(),
            rate=float((slopes.flatten(0, 1) / scale).square().mean().sqrt()),
            interval=float(train.times[-1]) / (len(train.times) - 1),
            span=float(train.times[-1]),
            canonical=canonical,
            velocities=form == "velocities" if system is None else _has_velocities(system, train),
            angles=angles,
            time_scale=1.0 if system is None else system.time_scale,
            lyapunov=0.0 if system is None else system.lyapunov,
            parameters={name: float(each[0]) for name, each in train.parameters.items()},
        )


def scales(states: Tensor, *, canonical: bool, angles: list[int]) -> tuple[Tensor, Tensor]:
    """Return location and scale (D,) of states (N, T, D), see ``DynamicsTask``; 1 for what does not vary."""
    flat = states.flatten(0, 1)
    location = flat.mean(0)
    location[angles] = 0.0
    scale = (flat - location).square().mean(0).sqrt()
    scale = torch.where(scale > 0, scale, torch.ones_like(scale))
    if canonical:
        half = len(scale) // 2
        scale = scale.view(2, half).square().mean(1).sqrt().repeat_interleave(half)
    return location, scale


def _has_velocities(system: System, seen: Simulations) -> bool:
    few, half = seen.select(range(min(4, len(seen)))), len(seen.channels) // 2
    moved = system.derivatives(few.values, few.times, few.parameters)
    return len(seen.channels) % 2 == 0 and bool(torch.allclose(moved[..., :half], few.values[..., half:], rtol=1e-9))


def _windows(
    states: Tensor, slopes: Tensor, of: Simulations, length: int | None = None, stride: int = 1
) -> StateWindows:
    times = of.times.float()
    return StateWindows(states.float(), slopes.float(), times, length=length or len(times), stride=stride)
