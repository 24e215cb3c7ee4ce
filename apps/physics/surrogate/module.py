"""The Lightning module of surrogates: rolled-out training on errors of fields and on what the equation demands.

Dimension letters: B batch, W states of a window, C channels, X Y Z grid.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric

from integrand.apps.physics.surrogate.images import mirrored, turned
from integrand.apps.physics.surrogate.models.surrogate import Surrogate
from integrand.apps.physics.surrogate.rivals import RATE, rival
from integrand.apps.training.module import plain
from integrand.apps.training.task_module import TaskModule
from integrand.apps.training.task_network import TaskNetwork
from integrand.core.errors import InputError, unknown
from integrand.core.losses import relative_bands, relative_h1, relative_l2
from integrand.datasets.fields import FieldBatch, FieldTask
from integrand.datasets.synthetic.equations.equation import Equation
from integrand.datasets.synthetic.simulators import SIMULATORS, simulator

Loss = Literal["relative_l2", "relative_h1", "spectral"]
LOSSES = ("relative_l2", "relative_h1", "spectral")


class SurrogateModule(TaskModule):
    """A surrogate trained on windows of solutions.

    From the first state of a window the network is rolled out over ``data.horizon`` steps, and the errors of all
    states it passes are averaged.

    Args:
        network: a surrogate; it is built for the data when training starts.
        learning_rate: peak learning rate.
        weight_decay: decay of matrices.
        norm_penalty: weight of half the squared norm of all parameters in the loss: the weight decay of plain Adam,
            which reaches the kernels of Fourier layers, too.
        warmup_steps: steps of linear warm-up.
        ema_decay: decay of the parameters' moving average; 0 for none.
        loss: ``"relative_l2"``; ``"relative_h1"``, with slopes; ``"spectral"``, each band of waves alike.
        horizon_growth: share of the training over which the steps unrolled grow from 1 to the horizon of the data; 0
            for all of them from the start.
        pushforward: whether the gradient goes through the last step alone: steps before it, of a number drawn for each
            batch, only bring the network to states that it makes itself.
        input_noise: standard deviation of what is added to the state a window starts from, in units of each channel's
            own deviation.
        residual: weight of the equation's residual on states rolled out, beside its rate of change; simulators alone,
            with a horizon of 2 or more.
        conservation: weight of the drift of what the equation conserves; simulators alone.
        mirror: whether samples are replaced by images that solve the same equation, drawn anew for each batch:
            -u(-x) on a circle, the reflections and turns of a square; equations that say so alone. None for: where the
            data are of one that does.
        rivals: networks that learn beside it and stand in the same tables, each by its name with its options, and with
            a ``learning_rate`` where that is another. All see the same batches in as many steps of their own optimiser
            under the same schedule, and all keep their last weights.
        compile: whether to compile the networks for training; pays in long trainings.

    Raises:
        InputError: an option out of range, or one that asks more of the data than they have.

    Example::

        data = SurrogateData("burgers", samples=(1000, 100, 100))
        module = SurrogateModule(FNOSurrogate())
        Trainer(max_epochs=100).fit(module, data)

    Source: for the pushforward, Brandstetter, Worrall and Welling (2022), Message passing neural PDE solvers,
    Section 3.1; for noise, Sanchez-Gonzalez et al. (2020), Learning to simulate complex physics with graph networks.
    """

    app: ClassVar[str] = "physics"
    monitor: ClassVar[str] = "validation/relative_l2"
    networks: ClassVar[type[TaskNetwork]] = Surrogate
    described_by: ClassVar[type] = FieldTask
    validated: ClassVar[tuple[str, ...]] = ("relative_l2",)
    remembered: ClassVar[tuple[str, ...]] = ("rivals",)
    network: Surrogate

    def __init__(
        self,
        network: Surrogate,
        *,
        learning_rate: float = 3e-3,
        weight_decay: float = 1e-4,
        warmup_steps: int = 0,
        ema_decay: float = 0.0,
        loss: Loss = "relative_l2",
        horizon_growth: float = 0.0,
        pushforward: bool = False,
        input_noise: float = 0.0,
        residual: float = 0.0,
        conservation: float = 0.0,
        norm_penalty: float = 0.0,
        mirror: bool | None = False,
        rivals: dict[str, dict[str, Any]] | None = None,
        compile: bool = False,
    ) -> None:
        super().__init__(
            network,
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            warmup_steps=warmup_steps,
            ema_decay=ema_decay,
        )
        if loss not in LOSSES:
            raise unknown("model.loss", loss, LOSSES)
        for name, value, held in (
            ("horizon_growth", horizon_growth, 0 <= horizon_growth <= 1),
            ("input_noise", input_noise, input_noise >= 0),
            ("residual", residual, residual >= 0),
            ("conservation", conservation, conservation >= 0),
            ("norm_penalty", norm_penalty, norm_penalty >= 0),
        ):
            if not held:
                raise InputError(f"model.{name}={value!r} is out of range.")
        self.loss_name: Loss = loss
        self.horizon_growth, self.pushforward, self.input_noise = horizon_growth, pushforward, input_noise
        self.residual_weight, self.conservation_weight, self.compiled = residual, conservation, compile
        self.norm_penalty, self.mirror = norm_penalty, mirror
        self.equation: Equation | None = None
        self.rivals = nn.ModuleDict({name: rival(name, options) for name, options in (rivals or {}).items()})
        self.rates = {name: options[RATE] for name, options in (rivals or {}).items() if RATE in options}
        # A rival's best weights may not be those of the epoch that is the model's best, and one checkpoint holds all.
        self.keeps_last = bool(self.rivals)
        for name in self.rivals:
            self.validation[f"relative_l2_{name}"] = MeanMetric()
        self._image: Callable[[FieldBatch], FieldBatch] | None = None

    def networks_by_name(self) -> dict[str, Surrogate]:
        """Return the network, by an empty name, and its rivals."""
        return {"": self.network, **self.rivals}  # pyright: ignore[reportReturnType]

    def describe(self) -> dict[str, Any]:
        """Return the network's class and options, the task, and the rivals likewise."""
        rivals = {
            name: {option: plain(value) for option, value in network.hparams.items()}
            for name, network in self.networks_by_name().items()
            if name
        }
        return {**super().describe(), "rivals": rivals}

    def build_networks(self, task: FieldTask) -> None:
        """Build the network and its rivals, whose random numbers are drawn so that none that follow change."""
        super().build_networks(task)
        with torch.random.fork_rng(devices=[]):
            for network in self.networks_by_name().values():
                if network.task is None:
                    network.build(task)

    def build(self, data: Any) -> None:
        """Build the networks, and check that the data have what the options ask of them."""
        super().build(data)
        task: FieldTask = data.task
        for name, network in self.networks_by_name().items():
            if notice := network.notice(task):
                data.advise(f"{name}: {notice}" if name else notice)
        if self.residual_weight or self.conservation_weight:
            self.equation = self._equation(task, data)
        if self.mirror or self.mirror is None:
            try:
                self._image = _images(task, data)
            except InputError:
                if self.mirror:
                    raise
        if self.compiled:
            for network in self.networks_by_name().values():
                network.operator.compile()

    def _equation(self, task: FieldTask, data: Any) -> Equation:
        """Return the equation of the data, for what needs to know it."""
        asked = "residual" if self.residual_weight else "conservation"
        if data.is_file or task.name not in SIMULATORS:
            raise InputError(f"model.{asked} needs an equation, and {task.name!r} is none that can be simulated here.")
        found = simulator(task.name)
        assert isinstance(found, Equation)
        if self.residual_weight and not task.steady and data.horizon < 2:
            raise InputError(
                f"model.residual={self.residual_weight:g} needs the rate of change, from three states: take "
                "--data.horizon 2 or more."
            )
        if self.conservation_weight and not found.invariants_on(tuple(task.lengths)):
            raise InputError(f"model.conservation={self.conservation_weight:g}: {task.name} conserves nothing.")
        return found

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return the parameters, those of rivals with a learning rate of their own."""
        own = {id(p): rate for name, rate in self.rates.items() for p in self.rivals[name].parameters()}
        groups = []
        for group in super().parameter_groups():
            parts: dict[float, list[Tensor]] = {}
            for parameter in group["params"]:
                parts.setdefault(own.get(id(parameter), self.learning_rate), []).append(parameter)
            groups += [{**group, "params": each, "lr": rate} for rate, each in parts.items()]
        return groups

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip the gradient of each network by itself, so that none feels the others."""
        if not gradient_clip_val:
            return
        by_value = gradient_clip_algorithm == "value"
        clip = nn.utils.clip_grad_value_ if by_value else nn.utils.clip_grad_norm_
        for network in self.networks_by_name().values():
            clip(network.parameters(), gradient_clip_val)

    def loss(self, batch: FieldBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """Roll out from the first state of each window and average the errors of all states that have a gradient.

        Rivals are rolled out from the same states over the same steps; as networks share no parameter, the gradient of
        the sum of their losses is that of each.
        """
        if self._image is not None:
            batch = self._image(batch)
        task = self.network.built_for
        horizon = self._horizon(batch.values.shape[1] - 1)
        before = int(torch.randint(horizon, ())) if self.pushforward and not task.steady else None
        noise = torch.randn_like(batch.values[:, 0]) if self.input_noise and not task.steady else None
        total, logged = self._loss_of(self.network, batch, horizon, before, noise)
        for name, network in self.networks_by_name().items():
            if name:
                other, theirs = self._loss_of(network, batch, horizon, before, noise)
                total = total + other
                logged[f"{self.loss_name}_{name}"] = theirs[self.loss_name]
        return total, logged

    def _loss_of(
        self, network: Surrogate, batch: FieldBatch, horizon: int, before: int | None, noise: Tensor | None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of one network and its parts."""
        states, first = self._unrolled(network, batch, horizon, before, noise)
        truth = batch.values[:, first : first + states.shape[1]]
        error = self._errors(states, truth).mean()
        loss, logged = error, {self.loss_name: error}
        if self.norm_penalty:
            norms = [parameter.abs().square().sum() for parameter in network.parameters()]
            loss = loss + self.norm_penalty / 2 * torch.stack(norms).sum()
        if self.equation is not None:
            whole = states if first == 0 else torch.cat([batch.values[:, :first], states], dim=1)
            for name, weight in (("residual", self.residual_weight), ("conservation", self.conservation_weight)):
                if weight:
                    logged[name] = getattr(self, f"_{name}")(whole, batch)
                    loss = loss + weight * logged[name]
        return loss, logged

    def _unrolled(
        self, network: Surrogate, batch: FieldBatch, horizon: int, before: int | None, noise: Tensor | None
    ) -> tuple[Tensor, int]:
        """Return the states made, (B, W', C, *X), and which of the window the first of them is."""
        task = network.built_for
        if task.steady:
            return network(None, batch.constants, batch.parameters)[:, None], 0
        state = batch.values[:, 0]
        if noise is not None:
            scale = network.scale[: state.shape[1]].view(-1, *[1] * task.dims)
            state = state + self.input_noise * scale * noise
        if before is not None:
            with torch.no_grad():
                for _ in range(before):
                    state = network(state, batch.constants, batch.parameters)
            return network(state, batch.constants, batch.parameters)[:, None], before + 1
        return network.roll(state, batch.constants, batch.parameters, horizon)[:, 1:], 1

    def _horizon(self, most: int) -> int:
        """Return how many steps are unrolled now."""
        if not self.horizon_growth:
            return most
        done = self.global_step / max(1.0, float(self.trainer.estimated_stepping_batches))
        return min(most, 1 + int(most * done / self.horizon_growth))

    def _errors(self, states: Tensor, truth: Tensor) -> Tensor:
        """Return the error of each field, (B, W', C)."""
        task = self.network.built_for
        if self.loss_name == "relative_h1":
            return relative_h1(states, truth, lengths=task.lengths, periodic=task.periodic)
        score = relative_l2 if self.loss_name == "relative_l2" else relative_bands
        return score(states, truth, dims=task.dims)

    def _residual(self, states: Tensor, batch: FieldBatch) -> Tensor:
        """Return the root mean square of the equation's residual, beside that of the rate of change."""
        assert self.equation is not None
        task = self.network.built_for
        times = torch.arange(states.shape[1], device=states.device, dtype=states.dtype) * task.interval
        if not task.steady and states.shape[1] < 3:
            return states.new_zeros(())
        left = self.equation.residual(states, times, batch.parameters, lengths=tuple(task.lengths))
        if task.steady:
            return left.square().mean().sqrt()
        rate = (batch.values[:, 2:] - batch.values[:, :-2]) / (2 * task.interval)
        return left.square().mean().sqrt() / rate.square().mean().sqrt()

    def _conservation(self, states: Tensor, batch: FieldBatch) -> Tensor:
        """Return the root mean square change of the invariants, beside their spread over the window's starts."""
        assert self.equation is not None
        changes = []
        for invariant in self.equation.invariants_on(tuple(self.network.built_for.lengths)).values():
            values = invariant(states, batch.parameters)
            start = invariant(batch.values[:, :1], batch.parameters)
            scale = start.square().mean().sqrt().clamp(min=1e-6)
            changes.append(((values - start) / scale).square().mean())
        return torch.stack(changes).mean().clamp(min=torch.finfo(states.dtype).tiny).sqrt()

    def scores(self, batch: FieldBatch) -> tuple[dict[str, Tensor], Tensor | None]:
        """Return the relative L2 error of each field rolled out over the whole solution, of the network and rivals."""
        task = self.network.built_for
        start, first = (None, 0) if task.steady else (batch.values[:, 0], 1)
        found = {}
        for name, network in self.networks_by_name().items():
            states = network.roll(start, batch.constants, batch.parameters, batch.values.shape[1] - 1)
            error = relative_l2(states[:, first:], batch.values[:, first:], dims=task.dims)
            # A rollout that blew up is bad, not absent: its error counts as a thousand.
            found["_".join(filter(None, ("relative_l2", name)))] = error.nan_to_num(1e3, 1e3, 1e3).clamp(max=1e3)
        return found, None


def _images(task: FieldTask, data: Any) -> Callable[[FieldBatch], FieldBatch]:
    """Return what draws images of samples that solve the same equation.

    Raises:
        InputError: the equation is not known, or has no such images, or the grid does not.
    """
    found = None if data.equation is None else simulator(data.equation)
    if not isinstance(found, Equation):
        raise InputError(f"model.mirror needs an equation, and {task.name!r} is none that can be simulated here.")
    if found.mirror and found.periodic and found.dims == 1:
        return mirrored
    if not found.square or len(set(task.shape)) > 1 or len(set(task.lengths)) > 1:
        raise InputError(
            f"model.mirror=true: mirror images of {task.name} do not solve it: take false, or null for where they do."
        )
    missing = (data.test.lengths[0] - task.lengths[0]) / (task.lengths[0] / (task.shape[0] - 1))  # points
    if min(abs(missing), abs(missing - 1)) > 1e-6:
        raise InputError(
            "model.mirror=true: the points that are trained on leave out a part beside the far walls: take a "
            "data.train_every that divides the intervals between the points, or model.mirror=false."
        )
    return partial(turned, far_walls=abs(missing) < 0.5)
