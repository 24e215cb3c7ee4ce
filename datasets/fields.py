"""Fields as learners see them: what a data set of solutions is, and windows of it as batches.

Dimension letters: N samples, B batch, W states of a window, C channels, K constants, X Y Z grid.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from integrand.core.errors import InputError
from integrand.datasets.simulations import Simulations


@dataclass(frozen=True, kw_only=True)
class FieldTask:
    """What a network must know of a data set of fields; plain values alone, for checkpoints.

    Statistics are those of the training part, one number a channel: mean and standard deviation over samples, times and
    points.

    Attributes:
        name: of the equation or the file.
        channels: C names.
        units: of each channel.
        constants: K names of fields that do not change in time.
        parameters: names of the parameters that differ between samples, which the network is told.
        shape: points along each axis, as trained.
        lengths: of the box along each axis; from the first point to the last where it is not periodic.
        periodic: for each axis, whether its ends are joined.
        steady: whether there is no time: constants are mapped to the solution.
        interval: time between two states; 0 where steady.
        steps: intervals of a training trajectory; 0 where steady.
        time_unit: of the interval.
        location, scale: of the states that a step starts from.
        target_location, target_scale: of those that it leads to, or of the solution.
        increment_scale: standard deviation of the change in a step.
        wave_scale, target_wave_scale, increment_wave_scale: the same three deviations of what is left when each state
            has lost its mean over the box.
        length_scale: over which the states change: their deviation, each less its mean over the box, beside their root
            mean square slope; 1 / k for a wave sin(k x), but for what differences of neighbours miss.
        constant_location, constant_scale: of the constants.
        parameter_location, parameter_scale: of the parameters.
    """

    name: str
    channels: list[str]
    units: list[str]
    constants: list[str]
    parameters: list[str]
    shape: list[int]
    lengths: list[float]
    periodic: list[bool]
    steady: bool
    interval: float
    steps: int
    time_unit: str
    location: list[float]
    scale: list[float]
    target_location: list[float]
    target_scale: list[float]
    increment_scale: list[float]
    wave_scale: list[float]
    target_wave_scale: list[float]
    increment_wave_scale: list[float]
    length_scale: list[float]
    constant_location: list[float]
    constant_scale: list[float]
    parameter_location: list[float]
    parameter_scale: list[float]

    @property
    def dims(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def inputs(self) -> int:
        """Channels a network reads: states unless steady, constants, and each parameter as a constant channel."""
        return (0 if self.steady else len(self.channels)) + len(self.constants) + len(self.parameters)

    def to_dict(self) -> dict[str, Any]:
        """Return the attributes as plain values."""
        return asdict(self)

    @classmethod
    def of(cls, training: Simulations, *, steps: int | None = None) -> "FieldTask":
        """Describe training solutions, of which the first ``steps`` intervals are learned from, all where None.

        Raises:
            InputError: a system, which has no grid; times that are not evenly spaced; a steady problem without
                constants; no interval.
        """
        if not training.dims:
            raise InputError(f"{training.name} is a system without a grid: it is learned by --task dynamics.")
        steady = len(training.times) == 1
        if steady and training.constants is None:
            raise InputError(f"{training.name} has one time and no constants: there is nothing to map to the solution.")
        values = training.values if steps is None or steady else training.values[:, : steps + 1]
        before, after = (values, values) if steady else (values[:, :-1], values[:, 1:])
        varying = [name for name, each in training.parameters.items() if len(each) > 1 and each.unique().numel() > 1]
        own = torch.stack([training.parameters[name] for name in varying], dim=1) if varying else torch.zeros(1, 0)
        constants = training.values.new_zeros(1, 0, 1) if training.constants is None else training.constants
        location, scale = _statistics(before, 2)
        target_location, target_scale = _statistics(after, 2)
        waves_before, waves_after = _waves(before), _waves(after)
        constant_location, constant_scale = _statistics(constants, 1)
        parameter_location, parameter_scale = _statistics(own, 1)
        return cls(
            name=training.name,
            channels=list(training.channels),
            units=[training.units.get(name, "") for name in training.channels],
            constants=list(training.constant_names),
            parameters=varying,
            shape=list(training.shape),
            lengths=list(training.extents),
            periodic=list(training.periodic),
            steady=steady,
            interval=0.0 if steady else _interval(training),
            steps=0 if steady else values.shape[1] - 1,
            time_unit=training.units.get("time", ""),
            location=location,
            scale=scale,
            target_location=target_location,
            target_scale=target_scale,
            increment_scale=target_scale if steady else _statistics(after - before, 2)[1],
            wave_scale=_statistics(waves_before, 2)[1],
            target_wave_scale=_statistics(waves_after, 2)[1],
            increment_wave_scale=_statistics(waves_after if steady else waves_after - waves_before, 2)[1],
            length_scale=_length_scale(before, training),
            constant_location=constant_location,
            constant_scale=constant_scale,
            parameter_location=parameter_location,
            parameter_scale=parameter_scale,
        )


def _statistics(values: Tensor, axis: int) -> tuple[list[float], list[float]]:
    """Return mean and standard deviation over all but one axis; the deviation of what never changes is 1."""
    flat = values.detach().double().movedim(axis, 0).flatten(1)
    if not len(flat):
        return [], []
    mean, deviation = flat.mean(1), flat.std(1, unbiased=False)
    still = deviation <= 1e-12 * flat.abs().amax(1)
    return mean.tolist(), torch.where(still, 1.0, deviation).tolist()


def _waves(values: Tensor) -> Tensor:
    """Return fields (N, T, C, *X) less their mean over the box."""
    flat = values.flatten(3)
    return (flat - flat.mean(-1, keepdim=True)).view_as(values)


def _length_scale(values: Tensor, of: Simulations) -> list[float]:
    """Return the deviation of the waves of fields (N, T, C, *X) beside their slope; without one, the longest side."""
    squares = values.new_zeros(values.shape[2], dtype=torch.float64)
    for axis, (n, length, joined) in enumerate(zip(of.shape, of.extents, of.periodic, strict=True), start=3):
        ends = values.narrow(axis, 0, 1) if joined else None
        steps = values.double().diff(dim=axis, append=ends) * ((n if joined else n - 1) / length)
        squares += steps.square().movedim(2, 0).flatten(1).mean(1)
    waves = _waves(values).double().movedim(2, 0).flatten(1).square().mean(1)
    lengths = (waves / squares).sqrt()
    return torch.where(squares > 1e-24 * waves, lengths, max(of.extents)).nan_to_num(max(of.extents)).tolist()


def _interval(simulations: Simulations) -> float:
    steps = simulations.times.double().diff()
    if float((steps - steps.mean()).abs().max()) > 1e-6 * float(steps.mean()):
        raise InputError(
            f"{simulations.name}: the times are not evenly spaced, from {float(steps.min()):g} to "
            f"{float(steps.max()):g} apart: a network that makes one step needs equal ones; keep other times."
        )
    return float(steps.mean())


@dataclass(frozen=True)
class FieldBatch:
    """Windows of solutions.

    Attributes:
        values: (B, W, C, *X), consecutive states; W = 1 where steady.
        constants: (B, K, *X), or None.
        parameters: (B,) every parameter of the equation.
    """

    values: Tensor
    constants: Tensor | None
    parameters: Mapping[str, Tensor]

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> "FieldBatch":
        """Move the batch."""
        return replace(
            self,
            values=self.values.to(device, non_blocking=non_blocking),
            constants=None if self.constants is None else self.constants.to(device, non_blocking=non_blocking),
            parameters={n: each.to(device, non_blocking=non_blocking) for n, each in self.parameters.items()},
        )

    def pin_memory(self) -> "FieldBatch":
        """Copy into page-locked memory."""
        return replace(
            self,
            values=self.values.pin_memory(),
            constants=None if self.constants is None else self.constants.pin_memory(),
            parameters={name: each.pin_memory() for name, each in self.parameters.items()},
        )


class FieldWindows(Dataset):
    """All windows of ``horizon`` steps within solutions, in float32.

    Args:
        solutions: where they are cut from; a steady problem has one window a sample.
        horizon: steps of a window; as many as there are where None.

    Raises:
        InputError: the solutions have fewer steps.
    """

    def __init__(self, solutions: Simulations, horizon: int | None = None) -> None:
        steps = len(solutions.times) - 1
        self.horizon = steps if horizon is None or not steps else horizon
        if not 0 <= self.horizon <= steps:
            raise InputError(
                f"data.horizon={horizon} is out of range: the training solutions have {steps} steps, so take 1 to "
                f"{steps}, or keep more times."
            )
        self.values = solutions.values.float()
        self.constants = None if solutions.constants is None else solutions.constants.float()
        self.parameters = {name: each.float() for name, each in solutions.parameters.items()}
        self.starts = steps - self.horizon + 1

    def __len__(self) -> int:
        """Return the number of windows."""
        return len(self.values) * self.starts

    def __getitems__(self, indices: Sequence[int]) -> FieldBatch:
        """Return windows as a batch; an index counts on from epoch to epoch."""
        window = torch.as_tensor(indices, dtype=torch.long) % len(self)
        sample, start = window // self.starts, window % self.starts
        times = start[:, None] + torch.arange(self.horizon + 1)
        return FieldBatch(
            self.values[sample[:, None], times],
            None if self.constants is None else self.constants[sample],
            {name: each[sample] for name, each in self.parameters.items()},
        )

    def __getitem__(self, index: int) -> FieldBatch:
        """Return a batch of one window."""
        return self.__getitems__([index])

    def batch(self) -> FieldBatch:
        """Return all windows as one batch, each once."""
        return self.__getitems__(range(len(self)))
