"""The Lightning module of informed networks: a loss that is the residual of an equation.

Dimension letters: N points, d coordinates.
"""

import time
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor

from integrand.apps.application import load
from integrand.apps.physics.informed.data import Points
from integrand.apps.physics.informed.models.network import InformedNetwork
from integrand.apps.physics.informed.optimizer import AdamThenBFGS
from integrand.apps.physics.informed.problems.problem import Problem
from integrand.apps.physics.informed.residuals import mean_by_slice, residual, stencil_residual
from integrand.apps.physics.informed.task import InformedTask
from integrand.apps.training.module import BaseModule, plain
from integrand.core.errors import InputError
from integrand.core.losses import causal_weights, gradient_balance
from integrand.core.numerics.partials import partials

SLICES = 32
"""Of time, for causal weights."""
KEPT = 0.9
"""Of the balance so far, in its moving average."""
BALANCED_EVERY = 100
"""Steps between two balances."""


class InformedModule(BaseModule):
    """A network trained on the residual of an equation, on conditions and on observations, as there are.

        loss = mean R(u)^2 + sum over conditions mean (u - given)^2 + weight mean (u - observed)^2

    Hard conditions need no term: the network's form meets them. Parameters that are sought are trained along, as
    guess exp(theta). The optimiser is ``AdamThenBFGS``.

    Source: Raissi, Perdikaris and Karniadakis (2019), Physics-informed neural networks: A deep learning framework for
    solving forward and inverse problems involving nonlinear partial differential equations.

    Args:
        network: the network; it is built for the problem when training starts.
        residual: how derivatives are formed: ``"autograd"``, at the points drawn, or ``"stencil"``, by differences on a
            grid of about as many points.
        conditions: ``"hard"``, met by form; ``"soft"``, a term each; ``"none"``: as if they were unknown, for observed
            solutions alone.
        observation_weight: of the observations' term.
        balance: whether conditions and observations are weighted up to the gradient of the residual's term, see
            ``gradient_balance``, by a moving average that ends with Adam, as BFGS needs a loss that stays as it is.
        causal: how strictly the equation is learned in the order of time, see ``causal_weights``; 0 for not at all.
            So while Adam works: BFGS has all times weigh alike.
        learning_rate: peak learning rate of Adam.
        adam_steps: its steps, BFGS takes over then; all the training's where it is no longer than these.
        warmup_steps: steps of linear warm-up.
        weight_decay, ema_decay: 0, as BFGS goes to the minimum of the loss itself.

    Example::

        data = InformedData("heat_rod")
        module = InformedModule(InformedMLP())
        Trainer(max_epochs=5, precision="64-true").fit(module, data)
    """

    app: ClassVar[str] = "physics"
    monitor: ClassVar[str] = "validation/loss"

    def __init__(
        self,
        network: InformedNetwork,
        *,
        residual: Literal["autograd", "stencil"] = "autograd",
        conditions: Literal["hard", "soft", "none"] = "hard",
        observation_weight: float = 1.0,
        balance: bool = False,
        causal: float = 0.0,
        learning_rate: float = 5e-3,
        adam_steps: int = 500,
        warmup_steps: int = 50,
        weight_decay: float = 0.0,
        ema_decay: float = 0.0,
    ) -> None:
        super().__init__(
            learning_rate=learning_rate, weight_decay=weight_decay, warmup_steps=warmup_steps, ema_decay=ema_decay
        )
        for name, value, held in (
            ("observation_weight", observation_weight, observation_weight > 0),
            ("causal", causal, causal >= 0),
            ("adam_steps", adam_steps, adam_steps >= 0),
            ("weight_decay", weight_decay, weight_decay == 0),
            ("ema_decay", ema_decay, ema_decay == 0),
        ):
            if not held:
                raise InputError(f"model.{name}={value!r} is out of range.")
        self.network, self.residual_by, self.conditions = network, residual, conditions
        self.observation_weight, self.balance, self.causal = observation_weight, balance, causal
        self.adam_steps = adam_steps
        self.logarithms = torch.nn.ParameterDict()
        self.seconds = 0.0
        self._weights: dict[str, Tensor] = {}

    def build(self, data: Any) -> None:
        """Build for a data module's problem, unless it is built already."""
        if self.conditions == "none" and not data.observations:
            raise InputError("model.conditions=none leaves nothing that makes the solution unique: observe it.")
        if self.causal and not data.task.of.timed:
            raise InputError(f"model.causal={self.causal:g}: {data.dataset} has no time: leave it out.")
        self.build_for(data.task)

    def build_for(self, task: InformedTask) -> None:
        """Make network and sought parameters."""
        if self.network.task is not None:
            return
        self.network.hard = self.conditions == "hard"
        self.network.build(task)
        self.problem: Problem = task.of
        for name in task.unknown:
            self.logarithms[name] = torch.nn.Parameter(torch.zeros(()))

    def setup(self, stage: str) -> None:
        """Build what is not built yet, from the trainer's data module."""
        self.build(self.trainer.datamodule)  # pyright: ignore[reportAttributeAccessIssue]

    @property
    def parameters_of_equation(self) -> dict[str, Tensor | float]:
        """Parameters of the equation: given ones as they are, sought ones as they are now."""
        task = self.network.built_for
        sought = {name: guess * self.logarithms[name].exp() for name, guess in task.guesses.items()}
        return {**task.parameters, **sought}

    def found(self) -> dict[str, float]:
        """Return the sought parameters as they are now."""
        return {
            name: float(torch.as_tensor(self.parameters_of_equation[name]).detach())
            for name in self.network.built_for.unknown
        }

    def forward(self, points: Tensor) -> Tensor:
        """Evaluate the solution at points (N, d): (N,)."""
        return self.network(points)

    @property
    def floats(self) -> torch.dtype:
        """Type of the network's numbers."""
        return next(self.parameters()).dtype

    def residual(self, points: Tensor) -> Tensor:
        """Return the residual of the equation at points (N, d): (N,)."""
        return residual(self.problem, self, points, self.parameters_of_equation)

    def terms(self, batch: Points) -> dict[str, Tensor]:
        """Return the terms of the loss, each a mean of squares, causal weights within."""
        batch = _cast(batch, self.floats)
        if self.residual_by == "stencil":
            size = round(len(batch.inner) ** (1 / batch.inner.shape[1]))
            left = stencil_residual(self.problem, self, size, self.parameters_of_equation, batch.inner)
            times = None
        else:
            left, times = self.residual(batch.inner), batch.inner[:, -1]
        terms = {"residual": self._mean(left.square(), times)}
        if self.conditions == "soft":
            for condition, face in zip(self.problem.conditions, batch.faces, strict=True):
                axes = self.problem.axes_of(condition.derivative)
                value = partials(self, face, [axes])[axes] if axes else self(face)
                terms[condition.name.replace(" ", "_")] = (value - condition.value(face)).square().mean()
        if len(batch.values):
            terms["observations"] = self.observation_weight * (self(batch.observed) - batch.values).square().mean()
        return terms

    def loss(self, batch: Points) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the weighted sum of the terms; the terms and the sought parameters are logged."""
        terms = self.terms(batch)
        if self.balance and self._may_reweigh() and self.global_step % BALANCED_EVERY == 0:
            new = gradient_balance(list(terms.values()), self.parameters())
            new = (new / new[0]).clamp(
                min=1
            )  # the equation alone is solved by nothing at all: no condition weighs less
            old = self._weights.get("balance", torch.ones_like(new))
            self._weights["balance"] = KEPT * old + (1 - KEPT) * new
        total = sum(terms.values(), torch.zeros_like(terms["residual"]))
        if self.balance and "balance" in self._weights:
            total = (torch.stack(list(terms.values())) * self._weights["balance"]).sum()
        return total, {**terms, **{name: self.parameters_of_equation[name] for name in self.network.built_for.unknown}}  # pyright: ignore[reportReturnType]

    def _mean(self, squares: Tensor, times: Tensor | None) -> Tensor:
        if not self.causal or times is None or not self._may_reweigh():
            return squares.mean()
        by_slice = mean_by_slice(squares, times, self.problem.low[-1], self.problem.high[-1], SLICES)
        return (causal_weights(by_slice, self.causal) * by_slice).mean()

    def _may_reweigh(self) -> bool:
        """Weights follow the losses while Adam works; BFGS needs a loss that stays as it is."""
        return self.training and torch.is_grad_enabled() and not self._polishing()

    def _polishing(self) -> bool:
        return self._optimizer is not None and self._optimizer.polishing

    @property
    def _optimizer(self) -> AdamThenBFGS | None:
        found = self.trainer.optimizers if self._trainer is not None else []
        return found[0] if found and isinstance(found[0], AdamThenBFGS) else None  # pyright: ignore[reportReturnType]

    def configure_optimizers(self) -> Any:
        """Build the optimiser, which has its own schedule."""
        return AdamThenBFGS(
            self.parameters(),
            learning_rate=self.learning_rate,
            warmup_steps=self.warmup_steps,
            adam_steps=self.adam_steps,
        )

    def on_train_epoch_start(self) -> None:
        """Tell the optimiser that the points are new."""
        if self._optimizer is not None:
            self._optimizer.refresh()

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Step, and count the time."""
        began = time.perf_counter()
        super().optimizer_step(*args, **kwargs)
        self.seconds += time.perf_counter() - began

    def _watch(self, loss: Tensor) -> None:
        """Leave it to BFGS to refuse steps whose loss is not finite."""
        if not self._polishing():
            super()._watch(loss)

    def validation_step(self, batch: Points, batch_idx: int) -> None:
        """Score held-out points; the reference is not asked."""
        terms = self.terms(batch)
        scores = {"validation/loss": sum(terms.values(), torch.zeros_like(terms["residual"]))}
        scores |= {f"validation/{name}": float(value) for name, value in self.found().items()}
        self.log_dict(scores, logger=False, prog_bar=True, batch_size=1)
        if not self.trainer.sanity_checking:
            self.write_log(scores, self.global_step)

    def describe(self) -> dict[str, Any]:
        """Return the network's class and options, the task, how conditions are met, and the time spent."""
        kind = type(self.network)
        return {
            "network": f"{kind.__module__}:{kind.__qualname__}",
            "options": {name: plain(value) for name, value in self.network.hparams.items()},
            "task": self.network.built_for.to_dict(),
            "conditions": self.conditions,
            "double": self.floats == torch.float64,
            "seconds": self.seconds,
        }

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Store the weights of the loss too."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["loss_weights"] = {name: weight.clone() for name, weight in self._weights.items()}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take up the weights of the loss and the time spent."""
        super().on_load_checkpoint(checkpoint)
        self._weights = {name: weight.to(self.device) for name, weight in checkpoint["loss_weights"].items()}
        self.seconds = checkpoint["integrand"]["seconds"]

    @classmethod
    def from_checkpoint(cls, checkpoint: dict[str, Any]) -> Self:
        """Build the module that a checkpoint describes, ready to be asked."""
        said = checkpoint["integrand"]
        kind = load(said["network"])
        if not (isinstance(kind, type) and issubclass(kind, InformedNetwork)):
            raise InputError(f"the checkpoint names {said['network']!r} as its network, which is no informed network.")
        module = cls(kind(**said["options"]), conditions=said["conditions"])
        module.build_for(InformedTask(**said["task"]))
        module = module.double() if said["double"] else module
        module.load_state_dict(checkpoint["state_dict"])
        module.seconds = said["seconds"]
        return module.eval()


def _cast(batch: Points, dtype: torch.dtype) -> Points:
    return Points(
        batch.inner.to(dtype),
        tuple(face.to(dtype) for face in batch.faces),
        batch.observed.to(dtype),
        batch.values.to(dtype),
    )
