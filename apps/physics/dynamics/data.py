"""The data module of dynamics: trajectories of a simulated system, in three parts that share none of them.

Dimension letters: N samples, T times, D state.
"""

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from integrand.apps.physics.dynamics import TASK
from integrand.apps.physics.dynamics.task import DynamicsTask
from integrand.apps.physics.dynamics.windows import StateWindows
from integrand.apps.training.parts_data import PartsData
from integrand.core.errors import InputError, unknown
from integrand.datasets.simulations import Simulations
from integrand.datasets.splits import PARTS, IndexSplit
from integrand.datasets.synthetic.simulators import SIMULATORS, simulator
from integrand.datasets.synthetic.systems.system import System

Derivatives = Literal["exact", "differences"]
VALIDATED = 50
"""States predicted from each start in validation, at most."""


class DynamicsData(PartsData):
    """Trajectories of a system, drawn from its simulator: training and validation over ``span``, test over its own.

    Networks are trained and chosen on what was observed, with its noise, and tested on exact solutions from exact
    starts. Scales are those of the training part.

    Args:
        dataset: a simulator's name.
        samples: trajectories of all three parts.
        fractions: shares of training, validation and test.
        span: time of a training or validation trajectory; the simulator's where None.
        interval: between two states; the simulator's where None.
        test_span: time of a test trajectory; ``span`` where None.
        test_interval: between two states of it; ``interval`` where None.
        parameters: values of the simulator's parameters that are not to have their default.
        noise: standard deviation of what is added to every state observed, in deviations of its channel.
        derivatives: ``"exact"``, those of the system at the exact states; ``"differences"``, of fourth order, of what
            was observed.
        horizon: states that are predicted from each start in training; 0 where derivatives alone are matched.
        stride: every how many states a training window starts.
        step_size: step of the simulator's solver; its own where None.
        batch_size: windows a batch.
        num_workers: processes that load batches; 0 for the training process.
        seed: of order.
        split_seed: of the trajectories and their noise; apart from ``seed``, so that several seeds are scored on the
            same test part.

    Raises:
        InputError: an option out of range, an unknown system or parameter.
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
        noise: float = 0.0,
        derivatives: Derivatives = "exact",
        horizon: int = 1,
        stride: int = 1,
        step_size: float | None = None,
        batch_size: int = 256,
        num_workers: int = 0,
        seed: int = 0,
        split_seed: int = 0,
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
        if derivatives not in ("exact", "differences"):
            raise unknown("data.derivatives", derivatives, ("exact", "differences"))
        self.dataset, self.samples, self.fractions = dataset, samples, fractions
        self.span, self.interval, self.test_span, self.test_interval = span, interval, test_span, test_interval
        self.parameters, self.noise, self.horizon, self.stride = dict(parameters or {}), noise, horizon, stride
        self.derivatives: Derivatives = derivatives
        self.step_size = step_size
        self.batch_size, self.num_workers, self.seed, self.split_seed = batch_size, num_workers, seed, split_seed
        self._parts: dict[str, StateWindows] = {}

    def setup(self, stage: str | None = None) -> None:
        """Simulate, split and scale; a second call does nothing."""
        if self._parts:
            return
        self.system = self._system()
        counts = self._counts()
        span = self.span or self.system.span
        interval = self.interval or self.system.interval
        seen = self._simulate(counts[0] + counts[1], 0, span, interval)
        self.test = self._simulate(
            counts[2], counts[0] + counts[1], self.test_span or span, self.test_interval or interval
        )
        if len(seen.times) < max(2, self.horizon + 1):
            raise InputError(
                f"data.span={span:g} holds {len(seen.times)} states, fewer than the {self.horizon + 1} of horizon "
                f"{self.horizon}: take a longer span, a shorter interval or a smaller horizon."
            )
        self.seen, exact = seen, self._exact_derivatives(seen)
        observed = self._observed(seen.values, counts[0])
        slopes = exact if self.derivatives == "exact" else differences(observed, interval)
        self.task = self._task(observed[: counts[0]], slopes[: counts[0]], span, interval, seen.units)
        ends = (0, counts[0], counts[0] + counts[1])
        for part, first, last in zip(PARTS, ends, ends[1:], strict=False):
            own = slice(first, last)
            length = self.horizon + 1 if part == "train" else min(VALIDATED + 1, len(seen.times))
            self._parts[part] = StateWindows(
                observed[own].float(),
                slopes[own].float(),
                seen.times.float(),
                length=length,
                stride=self.stride if part == "train" else max(1, length - 1),
            )
        test_slopes = self._exact_derivatives(self.test)
        self._parts["test"] = StateWindows(
            self.test.values.float(), test_slopes.float(), self.test.times.float(), length=len(self.test.times)
        )
        self.observed = observed
        self.checksum = f"{seen.checksum[:8]}{self.test.checksum[:8]}"
        rows = [tuple(range(a, b)) for a, b in zip(ends, (*ends[1:], self.samples), strict=True)]
        of = {"dataset": self.dataset, "checksum": self.checksum, "test_span": float(self.test.times[-1])}
        self.split = IndexSplit(*rows, of)

    def windows(self, part: str) -> StateWindows:
        """Return the windows of ``"train"``, ``"validation"`` or ``"test"``."""
        self.setup()
        return self._parts[part]

    @property
    def notices(self) -> list[str]:
        """How exact the data are, and whether the test goes beyond what training saw."""
        self.setup()
        errors = [float(one.provenance["time_step_error"]) for one in (self.seen, self.test)]
        told = [
            f"{self.dataset}: simulated by {self.system.solver}, time-step error {errors[0]:.1e} in training, "
            f"{errors[1]:.1e} in the test"
        ]
        return told + self.beyond()

    def beyond(self) -> list[str]:
        """Say so where test trajectories are longer than those of training."""
        trained, tested = self.task.span, float(self.test.times[-1])
        if tested <= trained * (1 + 1e-9):
            return []
        return [
            f"evaluation beyond the trained time: test trajectories go on to t = {tested:g}, and training saw none "
            f"beyond t = {trained:g}"
        ]

    def _system(self) -> System:
        systems = TASK.datasets
        if self.dataset not in SIMULATORS and self.dataset not in systems:
            raise unknown("system", self.dataset, systems)
        found = simulator(self.dataset)
        if not isinstance(found, System):
            raise InputError(
                f"{self.dataset} is a field on a grid, and dynamics learns systems ({', '.join(systems)}): add --task "
                "surrogate."
            )
        for name, value in self.parameters.items():
            if isinstance(value, (tuple, list)):
                raise InputError(f"data.parameters: {name}={value!r} must be one value: a network sees no parameters.")
        return found

    def _counts(self) -> tuple[int, int, int]:
        shares = self.fractions
        if len(shares) != 3 or not (min(shares) > 0 and abs(sum(shares) - 1) <= 1e-6):
            raise InputError(f"data.fractions must be three positive numbers that add up to 1, got {shares}.")
        train, known = round(shares[0] * self.samples), round((shares[0] + shares[1]) * self.samples)
        if not 0 < train < known < self.samples:
            raise InputError(f"data.samples={self.samples} do not give each part a trajectory by the shares {shares}.")
        return train, known - train, self.samples - known

    def _simulate(self, count: int, first: int, span: float, interval: float) -> Simulations:
        steps = round(span / interval)
        if steps < 1:
            raise InputError(f"data.span={span:g} is shorter than an interval of {interval:g}.")
        return self.system.simulate(
            count,
            first=first,
            times=torch.arange(steps + 1, dtype=torch.float64) * interval,
            parameters=self.parameters,
            seed=self.split_seed,
            step_size=self.step_size,
        )

    def _exact_derivatives(self, of: Simulations) -> Tensor:
        return self.system.derivatives(of.values, of.times, of.parameters)

    def _observed(self, values: Tensor, trained: int) -> Tensor:
        if not self.noise:
            return values
        deviation = values[:trained].flatten(0, 1).std(0)
        generator = torch.Generator().manual_seed(self.split_seed + 1)
        return values + self.noise * deviation * torch.randn(values.shape, generator=generator, dtype=values.dtype)

    def _task(
        self, values: Tensor, slopes: Tensor, span: float, interval: float, units: Mapping[str, str]
    ) -> DynamicsTask:
        system, states = self.system, values.flatten(0, 1)
        location = states.mean(0)
        location[list(system.angles)] = 0.0
        scale = (states - location).square().mean(0).sqrt()
        scale = torch.where(scale > 0, scale, torch.ones_like(scale))
        dim = len(scale)
        if system.canonical:
            halves = scale.view(2, dim // 2).square().mean(1).sqrt()
            scale = halves.repeat_interleave(dim // 2)
        rate = (slopes.flatten(0, 1) / scale).square().mean().sqrt()
        few = self.seen.select(range(min(4, len(self.seen))))
        moved, half = self._exact_derivatives(few), dim // 2
        velocities = dim % 2 == 0 and bool(torch.allclose(moved[..., :half], few.values[..., half:], rtol=1e-9))
        return DynamicsTask(
            system=system.name,
            channels=list(system.channels),
            units=[units.get(name, "") for name in system.channels],
            time_unit=units.get("time", ""),
            location=location.tolist(),
            scale=scale.tolist(),
            rate=float(rate),
            interval=interval,
            span=span,
            canonical=system.canonical,
            velocities=velocities,
            angles=list(system.angles),
            time_scale=system.time_scale,
            lyapunov=system.lyapunov,
            parameters={name: float(self.parameters.get(name, value)) for name, value in system.parameters.items()},
        )


def differences(states: Tensor, interval: float) -> Tensor:
    """Return dy/dt (N, T, D) of states at equal intervals, by differences of fourth order, one-sided at the ends.

    Fewer than five states have second order.

    Source: Fornberg (1988), Generation of finite difference formulas on arbitrarily spaced grids, tables 1 and 3.

    Example:
        >>> t = torch.arange(6, dtype=torch.float64)
        >>> differences((t**4).view(1, 6, 1), 1.0).flatten().round().int().tolist()
        [0, 4, 32, 108, 256, 500]
    """
    if states.shape[1] < 5:
        return torch.gradient(states, spacing=interval, dim=1, edge_order=1)[0]
    inner = (states[:, :-4] - 8 * states[:, 1:-3] + 8 * states[:, 3:-1] - states[:, 4:]) / 12
    weights = states.new_tensor([[-25, 48, -36, 16, -3], [-3, -10, 18, -6, 1]]) / 12
    first = torch.einsum("ij,njd->nid", weights, states[:, :5])
    last = -torch.einsum("ij,njd->nid", weights, states[:, -5:].flip(1)).flip(1)
    return torch.cat([first, inner, last], dim=1) / interval
