"""What a network of dynamics is told of the system it is to learn.

Dimension letters: N samples, T times, D state.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

from integrand.datasets.real import planets
from integrand.datasets.synthetic.simulator import Invariant
from integrand.datasets.synthetic.simulators import SIMULATORS, simulator


@dataclass(frozen=True)
class DynamicsTask:
    """A system as its training part shows it.

    A network sees standardised states y' = (y - location) / scale and times t' = rate t, in which the equation is

        dy'/dt' = (dy/dt) / (rate scale).

    The scale of a canonical state [q, p] is the same for all positions, and the same for all momenta: then Hamilton's
    equations stay as they are, with the energy H' = H / (rate scale_q scale_p).

    Attributes:
        system: the simulator's name, or what a file calls its data.
        channels: D names.
        units: of each channel, "" where there is none.
        time_unit: likewise.
        location: (D,) means of the training part; 0 for angles.
        scale: (D,) deviations of the training part.
        rate: root mean square of dy/dt / scale in the training part, per unit of time.
        interval: between two states of the training part.
        span: of a training trajectory.
        canonical: whether the state is [q, p], positions before their momenta.
        velocities: whether the first half of the state moves with the second half as its velocity.
        angles: channels whose values a turn apart are the same.
        time_scale: what a user counts time in, such as a period.
        lyapunov: the largest Lyapunov exponent, 0 where the system is not chaotic or it is not known.
        parameters: of the simulator, by name.
    """

    system: str
    channels: list[str]
    units: list[str]
    time_unit: str
    location: list[float]
    scale: list[float]
    rate: float
    interval: float
    span: float
    canonical: bool
    velocities: bool
    angles: list[int]
    time_scale: float
    lyapunov: float
    parameters: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, from which the task is made again."""
        return asdict(self)

    @property
    def dim(self) -> int:
        """Dimension D of the state."""
        return len(self.channels)

    def invariants(self) -> dict[str, Callable[[Tensor], Tensor]]:
        """Return what exact solutions keep, as functions of states (N, T, D) alone; none where they are not known."""
        if self.system in SIMULATORS:
            known = simulator(self.system).invariants
        else:
            known = planets.INVARIANTS if self.system == "planets" else {}
        return {name: self._bound(each) for name, each in known.items()}

    def parameters_of(self, states: Tensor) -> dict[str, Tensor]:
        """Return the parameters as simulators take them, (M,) each, for states (M, ...)."""
        return {name: states.new_full((len(states),), value) for name, value in self.parameters.items()}

    def _bound(self, invariant: Invariant) -> Callable[[Tensor], Tensor]:
        return lambda states: invariant(states, self.parameters_of(states))

    def in_units(self, time: float) -> float:
        """Return a time in Lyapunov times, where the system is chaotic, else in units of ``time_scale``."""
        return time * self.lyapunov if self.lyapunov > 0 else time / self.time_scale

    @property
    def time_word(self) -> str:
        """What ``in_units`` counts."""
        if self.lyapunov > 0:
            return "Lyapunov times"
        return self.time_unit or "time units" if self.time_scale == 1 else "periods"
