"""Known physics with unknown constants, and a network for the rest."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from integrand.apps.physics.dynamics.models.network import DynamicsNetwork
from integrand.apps.physics.dynamics.task import DynamicsTask
from integrand.core.errors import InputError, unknown
from integrand.core.fields import UniversalField
from integrand.datasets.synthetic.simulators import simulator
from integrand.datasets.synthetic.systems.system import System


class UniversalNetwork(DynamicsNetwork):
    """The universal differential equation dy/dt = known(y; theta) + remainder(y), see ``UniversalField``.

    The known part is that which the simulator names as known; its constants theta are learned from guesses, and
    ``integrand identify`` tells them with intervals. Further options are those of ``DynamicsNetwork``.

    Args:
        known: the simulator whose known part it is; that of the data where None.
        guesses: starting values of theta, all positive; 1 for those that are not named.
        acts_on: channels on which the remainder acts; all where empty.
        sees: channels that it depends on; all where empty.
        vanishes_without: channels at whose zero it vanishes.

    Source: Rackauckas et al. (2020), Universal differential equations for scientific machine learning.
    """

    penalised: ClassVar[tuple[str, ...]] = ("universal.network",)

    def __init__(
        self,
        *,
        known: str | None = None,
        guesses: dict[str, float] | None = None,
        acts_on: tuple[str, ...] = (),
        sees: tuple[str, ...] = (),
        vanishes_without: tuple[str, ...] = (),
        hidden: tuple[int, ...] = (16, 16),
        activation: str = "tanh",
        method: str = "rk4",
        step_size: float | None = None,
        test_method: str = "dopri8",
        test_tolerance: float = 1e-9,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.keep(
            hidden=hidden,
            activation=activation,
            method=method,
            step_size=step_size,
            test_method=test_method,
            test_tolerance=test_tolerance,
        )
        self.known, self.guesses = known, dict(guesses or {})
        self.places = {"acts_on": tuple(acts_on), "sees": tuple(sees), "vanishes_without": tuple(vanishes_without)}

    def build_network(self, task: DynamicsTask) -> None:
        """Make the known part and the remainder."""
        system = known_system(self.known or task.system)
        if len(system.channels) != task.dim:
            raise InputError(
                f"model.network.known={system.name} has {len(system.channels)} channels and the data have {task.dim}."
            )
        for name in self.guesses:
            if name not in system.known_parameters:
                raise unknown(f"known constant of {system.name}", name, system.known_parameters)
        places = {
            label: tuple(_channel(label, name, task.channels) for name in names) for label, names in self.places.items()
        }
        field = UniversalField(
            task.dim,
            system.known_field,
            {name: self.guesses.get(name, 1.0) for name in system.known_parameters},
            positive=system.known_parameters,
            hidden=self.hidden,
            activation=self.activation,
            acts_on=places["acts_on"] or None,
            sees=places["sees"] or None,
            vanishes_without=places["vanishes_without"],
        )
        scale = torch.tensor(task.scale)
        field.center.copy_(torch.tensor(task.location))
        field.scale.copy_(scale)
        field.rate.copy_(scale * task.rate)
        self.flow = StandardisedField(field, torch.tensor(task.location), scale, task.rate)

    @property
    def universal(self) -> UniversalField:
        """The equation in the channels' own units."""
        return self.flow.universal  # pyright: ignore[reportReturnType]


class StandardisedField(nn.Module):
    """A field in standardised states and times, dy'/dt' = f(location + scale y') / (rate scale)."""

    location: Tensor
    scale: Tensor

    def __init__(self, universal: UniversalField, location: Tensor, scale: Tensor, rate: float) -> None:
        super().__init__()
        self.universal, self.rate = universal, rate
        self.register_buffer("location", location, persistent=False)
        self.register_buffer("scale", scale, persistent=False)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        """Evaluate it."""
        return self.universal(t / self.rate, y * self.scale + self.location) / (self.rate * self.scale)


def known_system(name: str) -> System:
    """Return the system of that name, which must have a known part.

    Raises:
        InputError: there is none, or nothing of it counts as known.
    """
    found = simulator(name)
    if not isinstance(found, System) or not found.known_parameters:
        raise InputError(
            f"nothing of {name} counts as known: name a system with known constants by --model.network.known, such as "
            "lotka_volterra or damped_pendulum, or take --model neural_ode."
        )
    return found


def _channel(label: str, name: str, channels: list[str]) -> int:
    if name not in channels:
        raise unknown(f"channel in model.network.{label}", name, channels)
    return channels.index(name)
