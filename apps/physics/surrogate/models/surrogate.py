"""The base of the surrogate networks: channels in, channels out, standardised on the way.

Dimension letters: B batch, T times, C channels, K constants, P parameters, X Y Z grid.
"""

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from integrand.apps.training.task_network import TaskNetwork
from integrand.core.errors import InputError
from integrand.core.numerics import PeriodicGrid
from integrand.datasets.fields import FieldTask
from integrand.datasets.synthetic.simulators import SIMULATORS, simulator


class Surrogate(TaskNetwork[FieldTask]):
    """Base of the networks that make one step of a field, or solve a steady problem, see ``TaskNetwork``.

        u(t + dt) = u(t) + s N(u(t), a, mu),      or u(t + dt) = m + s N(u(t), a, mu),      or u = m + s N(a, mu)

    with constants a and parameters mu as further channels; N reads and answers standardised values, m and s are mean
    and deviation of the training part. A subclass makes N, an operator from (B, C_in, *X) to (B, C, *X), in
    ``build_operator``. Options that every network has:

    residual: whether N answers the change in a step rather than the next state; where None, if there are several steps.
    """

    any_resolution: ClassVar[str] = ""
    """What has to be said when it is asked at another resolution than it was trained at; nothing where it is empty."""
    periodic_only: ClassVar[bool] = False
    """Whether the network takes the ends of each axis as joined."""
    always_increments: ClassVar[bool] = False
    """Whether N answers a change whatever the task, so that there is no option for it."""
    operator: nn.Module
    location: Tensor
    scale: Tensor
    target_location: Tensor
    target_scale: Tensor

    def build_operator(self, task: FieldTask) -> nn.Module:
        """Return N for ``task.inputs`` and ``len(task.channels)`` channels."""
        raise NotImplementedError

    def build_network(self, task: FieldTask) -> None:
        """Make the parameters, and what standardises."""
        said = True if self.always_increments else self.hparams.get("residual")
        self.increments = not task.steady and (task.steps > 1 if said is None else bool(said))
        if said and task.steady and not self.always_increments:
            raise InputError("model.network.residual=true: a steady problem has no state to add a change to.")
        states = ([], []) if task.steady else (task.location, task.scale)
        location = [*states[0], *task.constant_location, *task.parameter_location]
        scale = [*states[1], *task.constant_scale, *task.parameter_scale]
        target_location = [0.0] * len(task.channels) if self.increments else task.target_location
        target_scale = task.increment_scale if self.increments else task.target_scale
        self.moving = _is_galilean(task, self.hparams.get("galilean", False))
        if self.moving:
            location[0], scale[0], target_location = 0.0, task.wave_scale[0], [0.0]
            target_scale = task.increment_wave_scale if self.increments else task.target_wave_scale
        for name, values in (
            ("location", location),
            ("scale", scale),
            ("target_location", target_location),
            ("target_scale", target_scale),
        ):
            column = torch.tensor(values, dtype=torch.float32).view(-1, *[1] * task.dims)
            self.register_buffer(name, column, persistent=False)
        self.operator = self.build_operator(task)

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]  # a rollout has no batch to hand on
        self, state: Tensor | None, constants: Tensor | None, parameters: Mapping[str, Tensor]
    ) -> Tensor:
        """Return the next state, or the steady solution, (B, C, *X), in the channels' own units.

        Args:
            state: (B, C, *X); None where steady.
            constants: (B, K, *X), or None.
            parameters: (B,) each; those that the task does not name are not read.
        """
        if self.moving and state is not None:
            return self.in_mean_frame(state, constants, parameters)
        return self.answer(state, self.operator(self.inputs(state, constants, parameters)))

    def in_mean_frame(self, state: Tensor, constants: Tensor | None, parameters: Mapping[str, Tensor]) -> Tensor:
        """Return the next state as seen from the mean flow m, in which N is asked, and brought back:

            u(x, t) = m + v(x - m t, t),    v of mean zero.

        Equations u_t + u u_x = L u have this symmetry of Galilei, and keep m. Here both hold whatever N is: it need
        learn neither how fast a field is carried along nor that its mean stays.
        """
        mean = state.mean(-1, keepdim=True)
        waves = state - mean
        moved = self.answer(waves, self.operator(self.inputs(waves, constants, parameters)))
        moved = moved - moved.mean(-1, keepdim=True)
        task = self.built_for
        grid = PeriodicGrid(tuple(state.shape[2:]), tuple(task.lengths))
        # With no odd derivative of the Nyquist wave, as its sine cannot be seen on the grid.
        slope = grid.derivative_symbol(0, moved)
        carried = grid.inverse(grid.transform(moved) * torch.exp(-slope * (mean * task.interval).to(moved.dtype)))
        return mean + carried.to(state)

    def inputs(self, state: Tensor | None, constants: Tensor | None, parameters: Mapping[str, Tensor]) -> Tensor:
        """Return the standardised channels that N reads."""
        given = [one for one in (state, constants) if one is not None]
        shape = given[0].shape[2:]
        for name in self.built_for.parameters:
            if name not in parameters:
                raise InputError(f"the network is told {name!r} of each sample: give it.")
            value = parameters[name].to(given[0])
            given.append(value.view(-1, 1, *[1] * len(shape)).expand(-1, 1, *shape))
        channels = torch.cat(given, dim=1)
        return (channels - self.location) / self.scale

    def answer(self, state: Tensor | None, made: Tensor) -> Tensor:
        """Return what N made as a state."""
        target = self.target_location + self.target_scale * made
        return target if state is None or not self.increments else state + target

    def roll(
        self, start: Tensor | None, constants: Tensor | None, parameters: Mapping[str, Tensor], steps: int
    ) -> Tensor:
        """Return the states after 0, 1, ..., ``steps`` steps, (B, T, C, *X); steady, the one solution."""
        if start is None:
            return self(None, constants, parameters)[:, None]
        states = [start]
        for _ in range(steps):
            states.append(self(states[-1], constants, parameters))
        return torch.stack(states, dim=1)

    def notice(self, task: FieldTask) -> str | None:
        """Return what the user should know of this network on these data."""
        if not self.periodic_only or all(task.periodic) or self.hparams.get("padding"):
            return None
        axes = ", ".join("XYZ"[axis] for axis, joined in enumerate(task.periodic) if not joined)
        return (
            f"the data are not periodic along {axes}, and the network joins the ends of each axis: give it room with "
            "--model.network.padding 0.125"
        )


def _is_galilean(task: FieldTask, asked: bool | None) -> bool:
    """Return whether to look at fields from their mean flow; where None is asked, if the equation is known to allow it.

    Raises:
        InputError: it is asked for, and the data are not of a single velocity on a circle, or of an equation known to
            have another form when seen from a moving frame.
    """
    if asked is False:
        return False
    one = task.dims == 1 and len(task.channels) == 1 and all(task.periodic) and not task.constants and not task.steady
    known = getattr(simulator(task.name), "galilean", False) if task.name in SIMULATORS else None
    if asked is None:
        return one and bool(known)
    if not one:
        raise InputError(
            "model.network.galilean=true is for one velocity on a circle that changes in time, without constants: take "
            "false, or null for where it holds."
        )
    if known is False:
        raise InputError(
            f"model.network.galilean=true: {task.name} is another equation when seen from a moving frame: take false, "
            "or null for where it holds."
        )
    return True
