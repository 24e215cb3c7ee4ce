"""The Lightning module of dynamics.

Dimension letters: B batch, S states of a window, D state.
"""

import inspect
import math
from typing import Any, ClassVar, Self, get_args

import torch
from torch import Tensor
from torchmetrics import MeanMetric

from integrand.apps.application import load
from integrand.apps.physics.dynamics.models.network import DynamicsNetwork, Match
from integrand.apps.physics.dynamics.models.neural_ode import NeuralODENetwork
from integrand.apps.physics.dynamics.models.neural_sde import NeuralSDENetwork
from integrand.apps.physics.dynamics.refinement import refine
from integrand.apps.physics.dynamics.task import DynamicsTask
from integrand.apps.physics.dynamics.windows import StateBatch
from integrand.apps.training.module import plain
from integrand.apps.training.task_module import TaskModule
from integrand.apps.training.task_network import TaskNetwork
from integrand.core.errors import InputError, unknown
from integrand.datasets.synthetic.systems.stochastic_system import StochasticSystem


class DynamicsModule(TaskModule):
    """The equation of a system, learned from windows of its trajectories.

    Args:
        network: the equation; it is built for the data when training starts.
        learning_rate, weight_decay, warmup_steps, ema_decay: see ``BaseModule``.
        match: what is compared: ``"derivatives"``, dy/dt at the states of a window; or ``"states"``, those that follow
            its first one, predicted by the solver.
        horizon_growth: share of training in which the predicted states grow from one to the data's horizon; 0 for all
            from the start.
        input_noise: standard deviation of what is added to a window's states as the network is given them, in
            standardised units, anew each time.
        conservation: weight of the drift of the system's known invariants over the predicted states, each in units of
            its deviation in the batch.
        refine: lengths of windows, in states, with which the network is fitted to the training trajectories themselves
            after the last step: by curvature, with the windows' starts unknown, so that noise does not bias it; for
            networks of some thousand parameters at most. None where empty.
        twin: whether a plain network, of the same widths, learns beside it from the same batches by the same loss; the
            tables show it as ``plain network``.

    Example::

        data = DynamicsData("pendulum", horizon=4)
        module = DynamicsModule(HamiltonianNetwork())
        Trainer(max_epochs=2).fit(module, data)
    """

    app: ClassVar[str] = "physics"
    networks: ClassVar[type[TaskNetwork]] = DynamicsNetwork
    described_by: ClassVar[type] = DynamicsTask
    monitor: ClassVar[str] = "validation/relative_l2"
    validated: ClassVar[tuple[str, ...]] = ("relative_l2",)
    network: DynamicsNetwork
    twin: DynamicsNetwork | None

    def __init__(
        self,
        network: DynamicsNetwork,
        *,
        learning_rate: float = 3e-3,
        weight_decay: float = 0.0,
        warmup_steps: int = 100,
        ema_decay: float = 0.99,
        match: Match = "states",
        horizon_growth: float = 0.0,
        input_noise: float = 0.0,
        conservation: float = 0.0,
        refine: tuple[int, ...] = (),
        twin: bool = False,
    ) -> None:
        super().__init__(
            network,
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            warmup_steps=warmup_steps,
            ema_decay=ema_decay,
        )
        if match not in get_args(Match):
            raise unknown("model.match", match, get_args(Match))
        for name, value, held in (
            ("horizon_growth", horizon_growth, 0 <= horizon_growth <= 1),
            ("input_noise", input_noise, input_noise >= 0),
            ("conservation", conservation, conservation >= 0),
        ):
            if not held:
                raise InputError(f"model.{name}={value!r} is out of range.")
        self.match: Match = match
        self.horizon_growth, self.input_noise, self.conservation = horizon_growth, input_noise, conservation
        self.refine = tuple(refine)
        self.twin = twin_of(network) if twin else None
        if isinstance(network, NeuralSDENetwork):  # where its drift leads tells nothing of its noise
            self.validation["nll"] = MeanMetric()
            self.chosen_by = "validation/nll"

    def build(self, data: Any) -> None:
        """Build the network, and its twin, for a data module's task, unless they are built already."""
        if self.match == "states" and data.horizon < 1:
            raise InputError("data.horizon=0 predicts no states: take 1 or more, or --model.match derivatives.")
        if self.match == "derivatives" and isinstance(data.system, StochasticSystem):
            raise InputError(
                f"paths of {data.task.system} are driven at random and have no derivatives: take --model.match states "
                "and --data.horizon 1 or more."
            )
        if self.conservation and not data.task.invariants():
            raise InputError(
                f"model.conservation={self.conservation:g}: no invariant of {data.task.system} is known: leave it out."
            )
        super().build(data)
        if self.twin is not None and self.twin.task is None:
            self.twin.build(data.task)

    def describe(self) -> dict[str, Any]:
        """Return the network's class and options, the task, and whether there is a twin."""
        return {**super().describe(), "twin": self.twin is not None}

    @classmethod
    def from_checkpoint(cls, checkpoint: dict[str, Any]) -> Self:
        """Build the module that a checkpoint describes, with its averaged weights, ready to be asked."""
        said = checkpoint["integrand"]
        kind = load(said["network"])
        if not (isinstance(kind, type) and issubclass(kind, cls.networks)):
            raise InputError(f"the checkpoint names {said['network']!r} as its network, which is none of dynamics.")
        made = kind(**said["options"])
        assert isinstance(made, DynamicsNetwork)
        module = cls(made, twin=said["twin"])
        task = cls.described_by(**said["task"])
        for network in (module.network, module.twin):
            if network is not None:
                network.build(task)
        module.load_state_dict(checkpoint["state_dict"])
        return module.eval()

    # Training

    def loss(self, batch: StateBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the misfit of the network, with that of the twin, and what to log beside it."""
        batch = self.shortened(batch)
        misfit = self.misfit(self.network, batch)
        logged = {"misfit": misfit.detach()}
        if self.twin is None:
            return misfit, logged
        other = self.misfit(self.twin, batch)
        # The two share no parameter, so that neither feels the other's gradient.
        return misfit + other, {**logged, "plain_misfit": other.detach()}

    def misfit(self, network: DynamicsNetwork, batch: StateBatch) -> Tensor:
        """Return what a network is trained on: its misfit, and the drift of what should not change."""
        states, slopes = network.standardised(batch.states), network.standard_slopes(batch.derivatives)
        if self.input_noise:
            noise = self.input_noise * torch.randn_like(states)
            states = (
                states + noise
                if self.match == "derivatives"
                else torch.cat([states[:, :1] + noise[:, :1], states[:, 1:]], dim=1)
            )
        total = network.misfit(states, slopes, batch.times, self.match)
        if self.conservation and batch.times.numel() > 1:
            total = total + self.conservation * self.drift(network, states[:, 0], batch.times)
        return total

    def drift(self, network: DynamicsNetwork, start: Tensor, times: Tensor) -> Tensor:
        """Return the mean squared change of each invariant over predicted states, in its variances over the batch."""
        states = network.physical(network.unroll(start, times))
        changes = []
        for invariant in network.built_for.invariants().values():
            value = invariant(states)
            spread = value[:, 0].detach().var().clamp(min=1e-12)
            changes.append(((value - value[:, :1]).square() / spread).mean())
        return torch.stack(changes).mean()

    def shortened(self, batch: StateBatch) -> StateBatch:
        """Return the windows with as many states as the curriculum has come to."""
        horizon = batch.states.shape[1] - 1
        if not self.horizon_growth or horizon < 2:
            return batch
        total = float(self.trainer.estimated_stepping_batches)
        part = min(1.0, self.global_step / max(1.0, self.horizon_growth * total))
        keep = 1 + max(1, math.ceil(part * horizon))
        return StateBatch(batch.states[:, :keep], batch.derivatives[:, :keep], batch.times[:keep])

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """After the last step, fit to the trajectories themselves; validation then scores what came of it."""
        super().on_train_batch_end(outputs, batch, batch_idx)
        if self.refine and self.global_step >= self.trainer.estimated_stepping_batches:
            data: Any = self.trainer.datamodule  # pyright: ignore[reportAttributeAccessIssue]
            observed = data.trained.to(self.device)
            refine(self.network, observed, data.task.interval, self.refine, notify=self.print)
            if self.ema is not None:
                self.ema.restart(self.network.parameters())

    # Validation

    def scores(self, batch: StateBatch) -> tuple[dict[str, Tensor], Tensor | None]:
        """Return the relative L2 error of each window predicted from its first state, (B,).

        For a neural SDE also the negative log-likelihood of the transitions, by which it is chosen.
        """
        predicted = self.network.predict(batch.states[:, 0], batch.times).states
        scale = self.network.scale
        error = ((predicted - batch.states) / scale).flatten(1).norm(dim=1)
        size = ((batch.states - self.network.location) / scale).flatten(1).norm(dim=1)
        scores = {"relative_l2": error / size.clamp(min=1e-6)}
        if isinstance(self.network, NeuralSDENetwork):
            states, slopes = self.network.standardised(batch.states), self.network.standard_slopes(batch.derivatives)
            scores["nll"] = self.network.misfit(states, slopes, batch.times, "states").expand(len(states))
        return scores, None


def twin_of(network: DynamicsNetwork) -> NeuralODENetwork:
    """Return the plain network of the same widths, solved alike."""
    shared = inspect.signature(NeuralODENetwork).parameters
    options = {name: plain(value) for name, value in network.hparams.items() if name in shared}
    if network.symplectic:
        options["method"] = "rk4"
    return NeuralODENetwork(**options)
