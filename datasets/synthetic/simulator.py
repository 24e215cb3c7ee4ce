"""What every simulator can do: draw initial states and move them in time; one class for systems, one for equations.

Dimension letters: N samples, T times, C channels, X Y Z grid.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from integrand.core.errors import InputError, unknown
from integrand.core.numerics.stepping.fixed_step import count_substeps
from integrand.datasets.simulations import Simulations

Generator = np.random.Generator
Parameters = Mapping[str, Tensor]
"""Parameters by name, (N,) each, in float64."""
Range = float | tuple[float, float]
"""A parameter's value, or the bounds between which it is drawn for each sample, uniformly."""
Invariant = Callable[[Tensor, Parameters], Tensor]
"""What is constant along exact solutions: states (N, T, C, *X) and parameters to (N, T)."""
CHECKED = 4
"""Samples on which the error of the time step is measured."""


class Start(NamedTuple):
    """Where samples begin.

    Attributes:
        states: (N, C, *X).
        constants: fields that do not change in time, (N, K, *X), or None.
        seeds: (N,) of the noise, for what is driven at random; else None.
    """

    states: Tensor
    constants: Tensor | None = None
    seeds: Tensor | None = None

    @classmethod
    def stacked(cls, starts: Sequence["Start"]) -> "Start":
        """Return the starts of single samples, without the letter N, as one."""
        constants = [one.constants for one in starts if one.constants is not None]
        seeds = [one.seeds for one in starts if one.seeds is not None]
        return cls(
            torch.stack([one.states for one in starts]),
            torch.stack(constants) if constants else None,
            torch.stack(seeds) if seeds else None,
        )

    def to(self, device: torch.device | str) -> "Start":
        """Return it on a device."""
        return Start(*(None if each is None else each.to(device) for each in self))  # pyright: ignore[reportArgumentType]

    def first(self, count: int) -> "Start":
        """Return the first samples."""
        return Start(*(None if each is None else each[:count] for each in self))  # pyright: ignore[reportArgumentType]


class StepTooLong(InputError):
    """A step whose Courant number is above what its method bears.

    Attributes:
        sample: counted from the first that is being solved.
    """

    def __init__(
        self, name: str, *, sample: int, step: int, t: float, courant: float, bears: float, size: float
    ) -> None:
        self.sample = sample
        self._told = (name, step, t, courant, bears, size)
        super().__init__(self._message(sample))

    def counted_from(self, first: int) -> "StepTooLong":
        """Return the same error with samples counted from ``first``."""
        self.sample += first
        self.args = (self._message(self.sample),)
        return self

    def _message(self, sample: int) -> str:
        name, step, t, courant, bears, size = self._told
        cure = f"step_size={0.9 * size * bears / courant:.2g}" if math.isfinite(courant) else "a smaller step_size"
        return (
            f"{name}: step {step} of sample {sample}, at t = {t:g}, has Courant number {courant:.3g} with "
            f"step_size={size:g} ({bears:g} is the most): take {cure}, or fewer points. Nothing was written."
        )


class Simulator(ABC):
    """A differential equation with its initial states and a reference solver, batched, on any device, in float64.

    Sample i of a seed is the same however many are asked for and, for fields, whatever the grid: it is drawn as a
    function, by random numbers of its own.

    Class attributes that a subclass sets are listed below; ``parameters`` are the defaults.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    source: ClassVar[str]
    channels: tuple[str, ...]
    sizes: Mapping[str, int] = {}
    """What it was built with by name, such as the ``masses`` of a chain; most have none."""
    constant_names: ClassVar[tuple[str, ...]] = ()
    parameters: ClassVar[Mapping[str, float]]
    invariants: ClassVar[Mapping[str, Invariant]] = {}
    span: ClassVar[float]
    """Time that is simulated by default, from 0."""
    interval: ClassVar[float]
    """Time between two states that are kept, by default."""
    step_size: ClassVar[float | None]
    """Step of the reference solver by default; None for a closed form."""
    solver: ClassVar[str]
    """What the reference solver is, in a few words."""
    units: ClassVar[Mapping[str, str]] = {}
    bears: ClassVar[float] = math.inf
    """Courant number up to which the solver is stable even where nothing damps."""
    dims: ClassVar[int] = 0
    """Axes of the fields; 0 for a system."""
    transient: ClassVar[float] = 0.0
    """Time that is solved before the first state that is kept, so that samples begin on the attractor."""

    @abstractmethod
    def draw(self, generator: Generator, points: tuple[int, ...], lengths: tuple[float, ...]) -> Start:
        """Draw the start of one sample on the host: states (C, *X) and constants (K, *X) in float64, and a seed ()."""

    @abstractmethod
    def advance(
        self,
        start: Start,
        times: Tensor,
        parameters: Parameters,
        *,
        lengths: tuple[float, ...],
        step_size: float | None,
    ) -> Tensor:
        """Solve from ``times[0]`` on; returns (N, T, C, *X), the first of them the start.

        Samples do not influence one another. A solution that ceases to be finite is returned as it is.
        """

    def settle(self, start: Start, parameters: Parameters, *, lengths: tuple[float, ...]) -> Start:
        """Solve for the transient, with steps of the default size, and return the state after it as the start."""
        if not self.transient:
            return start
        times = torch.tensor([-self.transient, 0.0], dtype=torch.float64, device=start.states.device)
        settled = self.advance(start, times, parameters, lengths=lengths, step_size=self.step_size)
        return start._replace(states=settled[:, -1])

    def courant(self, states: Tensor, *, lengths: tuple[float, ...], step_size: float) -> Tensor | None:
        """Return the Courant numbers (N,) of steps from states (N, C, *X); None where steps have no such bound."""
        return None

    def taken(self, times: Tensor, step_size: float) -> float:
        """Return the length of the longest step that ``step_size`` leads to: intervals between times are cut evenly."""
        if len(times) < 2:
            return step_size
        step = float(times.diff().abs().max()) / count_substeps(times, step_size)
        return step_size if math.isclose(step, step_size, rel_tol=1e-9) else step

    def grid(self, points: tuple[int, ...] | None, lengths: tuple[float, ...] | None) -> "GridOf":
        """Return the grid for the points and lengths asked for; a system has none."""
        if points or lengths:
            raise InputError(f"{self.name} is a system of ordinary differential equations: it has no grid.")
        return GridOf((), (), (), ())

    def simulate(
        self,
        samples: int,
        *,
        first: int = 0,
        times: Sequence[float] | Tensor | None = None,
        points: tuple[int, ...] | None = None,
        lengths: tuple[float, ...] | None = None,
        parameters: Mapping[str, Range] | None = None,
        seed: int = 0,
        step_size: float | None = None,
        device: torch.device | str = "cpu",
    ) -> Simulations:
        """Draw and solve; ``provenance["time_step_error"]`` is the largest difference to half the step.

        Args:
            samples: how many, N.
            first: number of the first of them, to make data piece by piece.
            times: (T,) times kept; ``interval`` apart over ``span`` where None.
            points: points along each axis; the default of the equation where None.
            lengths: length of the box along each axis, likewise.
            parameters: values or bounds for those that are not to have their default.
            seed: of all that is drawn.
            step_size: step of the reference solver; one that does not divide the time between states kept is
                shortened until it does.
            device: where it is solved; the result lies there.

        Raises:
            InputError: an unknown parameter, an argument out of range, or a solution that ceases to be finite: the
                message names sample and time.
        """
        for label, value, least in (("samples", samples, 1), ("first", first, 0), ("seed", seed, 0)):
            if value < least:
                raise InputError(f"{self.name}: {label}={value!r} is out of range: at least {least}.")
        if step_size is not None and not step_size > 0:
            raise InputError(f"{self.name}: step_size={step_size!r} is out of range: it must be positive.")
        step_size = self.step_size if step_size is None else step_size
        if times is None:
            times = [i * self.interval for i in range(round(self.span / self.interval) + 1)]
        times = torch.as_tensor(times, dtype=torch.float64, device="cpu")
        step_size = None if step_size is None else self.taken(times, step_size)
        grid = self.grid(points, lengths)
        with torch.device("cpu"):  # whatever the default: a seed means the same on every device
            drawn = self._drawn_parameters(parameters or {}, samples, first, seed)
            starts = [
                self.draw(np.random.Generator(np.random.Philox(key=[seed, i])), grid.points, grid.lengths)
                for i in range(first, first + samples)
            ]
        start = Start.stacked(starts).to(device)
        own = {name: each.to(device) for name, each in drawn.items()}
        with torch.no_grad():
            start = self.settle(start, own, lengths=grid.lengths)
            try:
                values = self.advance(start, times.to(device), own, lengths=grid.lengths, step_size=step_size)
            except StepTooLong as error:
                raise error.counted_from(first) from None
            self._require_finite(values, times, first, step_size, grid.lengths)
            error = 0.0 if step_size is None else self._step_error(values, start, times, own, grid, step_size)
        if math.isnan(error):
            raise InputError(
                f"{self.name}: steps of {step_size:g} are beyond stability: with half of them a solution ceases to "
                "be finite. Take a much smaller step_size. Nothing was written."
            )
        return Simulations(
            name=self.name,
            values=values,
            times=times,
            channels=self.channels,
            coordinates=grid.coordinates,
            lengths=grid.lengths,
            periodic=grid.periodic,
            parameters=drawn,
            constants=start.constants,
            constant_names=self.constant_names,
            units=self.units,
            provenance={
                "solver": self.solver,
                "step_size": 0.0 if step_size is None else step_size,
                "time_step_error": error,
                "seed": seed,
                "source": self.source,
                **self.sizes,
            },
        )

    def _drawn_parameters(self, given: Mapping[str, Range], samples: int, first: int, seed: int) -> dict[str, Tensor]:
        for name in given:
            if name not in self.parameters:
                raise unknown(f"parameter of {self.name}", name, self.parameters)
        drawn = {}
        for place, (name, default) in enumerate(self.parameters.items()):
            value = given.get(name, default)
            low, high = value if isinstance(value, (tuple, list)) else (value, value)
            if not low <= high:
                raise InputError(f"{self.name}: {name}={value!r} is out of range: give the lower bound first.")
            shares = [
                np.random.Generator(np.random.Philox(key=[seed, i], counter=[0, 0, 0, 1 + place])).random()
                for i in range(first, first + samples)
            ]
            drawn[name] = low + (high - low) * torch.tensor(shares, dtype=torch.float64)
        return drawn

    def _require_finite(
        self, values: Tensor, times: Tensor, first: int, step_size: float | None, lengths: tuple[float, ...]
    ) -> None:
        bad = ~torch.isfinite(values.flatten(2)).all(-1)
        if not bool(bad.any()):
            return
        sample, time = bad.nonzero()[0].tolist()
        told = f"{self.name}: the solution of sample {first + sample} ceased to be finite before t = {times[time]:g}"
        if step_size is None:
            raise InputError(f"{told}: its start or its parameters are too large. Nothing was written.")
        last = values[sample : sample + 1, max(0, time - 1)]
        courant = self.courant(last, lengths=lengths, step_size=step_size)
        bound = (
            "" if courant is None else f", Courant number {float(courant):.2g}, which is stable up to {self.bears:g}"
        )
        raise InputError(
            f"{told}, by step {math.ceil(float(times[time] - times[0]) / step_size)} of {step_size:g}{bound}: take a "
            "smaller step_size. Nothing was written."
        )

    def _step_error(
        self, values: Tensor, start: Start, times: Tensor, parameters: Parameters, grid: "GridOf", step_size: float
    ) -> float:
        own = {name: each[:CHECKED] for name, each in parameters.items()}
        few, at = start.first(CHECKED), times.to(values.device)
        finer = self.advance(few, at, own, lengths=grid.lengths, step_size=step_size / 2)
        return float((finer - values[:CHECKED]).abs().max())


class GridOf(NamedTuple):
    """The grid of a simulation, as ``Simulations`` has it."""

    points: tuple[int, ...]
    lengths: tuple[float, ...]
    periodic: tuple[bool, ...]
    coordinates: tuple[Tensor, ...]
