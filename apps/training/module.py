"""The base of the applications' Lightning modules: optimiser, schedule, averaging, resuming, guarding."""

import math
from typing import Any, ClassVar

import torch
from lightning import LightningModule
from torch import Tensor, nn

import integrand
from integrand.apps.training.ema import ExponentialMovingAverage
from integrand.core.errors import InputError
from integrand.core.numerics import SolveError


def plain(value: Any) -> Any:
    """Return a value as a checkpoint read as weights only can hold it: tuples as lists, paths as words."""
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    if isinstance(value, dict):
        return {str(key): plain(one) for key, one in value.items()}
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


class TrainingDiverged(InputError):
    """A loss that is infinite or not a number; the last good checkpoint is kept."""


class BaseModule(LightningModule):
    """What the four applications share. An application adds its network, loss, metrics and figures.

    Trained by AdamW, with decay on matrices alone, under a linear warm-up and a cosine that ends at zero. Validation,
    checkpoints and the module after training hold the exponential moving average of the parameters; a checkpoint
    carries the trained ones beside it, and the state of the random numbers, so that a resumed run continues exactly.

    Args:
        learning_rate: peak learning rate.
        weight_decay: decoupled decay of matrices.
        warmup_steps: steps of linear warm-up.
        ema_decay: decay of the moving average; 0 for none.
    """

    app: ClassVar[str]
    monitor: ClassVar[str]
    """What validation logs that is the lower the better; the checkpoint with the least of it is the best."""
    chosen_by: str | None = None
    """What the best checkpoint is chosen by where that is not ``monitor``, the lower the better."""
    keeps_last: bool = False
    """Whether the last weights are the best checkpoint, whatever validation says."""

    def __init__(
        self,
        *,
        learning_rate: float,
        weight_decay: float,
        warmup_steps: int,
        ema_decay: float,
    ) -> None:
        super().__init__()
        for name, value, held in (
            ("learning_rate", learning_rate, learning_rate > 0),
            ("weight_decay", weight_decay, weight_decay >= 0),
            ("warmup_steps", warmup_steps, warmup_steps >= 0),
            ("ema_decay", ema_decay, 0 <= ema_decay < 1),
        ):
            if not held:
                raise InputError(f"model.{name}={value!r} is out of range.")
        self.learning_rate, self.weight_decay = learning_rate, weight_decay
        self.warmup_steps, self.ema_decay = warmup_steps, ema_decay
        self.ema: ExponentialMovingAverage | None = None
        self._resumed: dict[str, Any] = {}
        self._first_bad: Tensor | None = None
        self._logged: dict[str, Tensor] = {}

    def loss(self, batch: Any) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of a batch and what to log beside it."""
        raise NotImplementedError

    def build(self, data: Any) -> None:
        """Make what depends on the data, so that options that do not fit are refused before training starts."""

    def describe(self) -> dict[str, Any]:
        """Return, as plain values, what is needed to build this module again before its weights are loaded."""
        raise NotImplementedError

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Compute the loss of a batch and watch that it stays finite."""
        try:
            loss, logged = self.loss(batch)
        except SolveError as error:  # a solver meets what is not finite before the loss does
            self._raise_if_diverged()
            raise self._diverged("a state of the model", self.global_step) from error
        self._logged = {"train/loss": loss.detach(), **{f"train/{name}": v.detach() for name, v in logged.items()}}
        self._watch(loss.detach())
        return loss

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return the parameters as AdamW takes them: decay on matrices alone."""
        decayed, plain = [], []
        matrices = {
            id(m.weight) for m in self.modules() if isinstance(m, (nn.Linear, nn.Bilinear, nn.Conv1d, nn.Conv2d))
        }
        matrices |= {
            id(p)
            for m in self.modules()
            if isinstance(m, nn.RNNCellBase)
            for n, p in m.named_parameters()
            if "weight" in n
        }
        for parameter in self.parameters():
            (decayed if id(parameter) in matrices else plain).append(parameter)
        return [{"params": decayed, "weight_decay": self.weight_decay}, {"params": plain, "weight_decay": 0.0}]

    def configure_optimizers(self) -> Any:
        """Build AdamW with a warm-up and a cosine over the whole training."""
        optimizer = torch.optim.AdamW(self.parameter_groups(), lr=self.learning_rate)

        def factor(step: int) -> float:
            warm = min(1.0, (step + 1) / (self.warmup_steps + 1))
            # Step 0 needs no total. Asking for it here already would make Lightning open the training data before it
            # has read from the checkpoint where to go on in them.
            part = step / max(1, self.trainer.estimated_stepping_batches) if step else 0.0
            return warm * 0.5 * (1 + math.cos(math.pi * min(1.0, part)))

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Step, then average, then log: a checkpoint written after this step holds all three."""
        super().optimizer_step(*args, **kwargs)
        if self.ema is not None:
            self.ema.update()
        step = self.global_step + 1  # Lightning counts the step when this hook returns
        if step % max(1, self.trainer.log_every_n_steps) == 0:  # pyright: ignore[reportAttributeAccessIssue]
            rate = self.trainer.optimizers[0].param_groups[0]["lr"]
            self.write_log({"train/learning_rate": rate, **self._logged}, step)

    def write_log(self, values: dict[str, Tensor | float], step: int) -> None:
        """Write values to every logger; reading tensors waits for the device."""
        row = {name: float(value) for name, value in values.items()}
        for logger in self.loggers:
            logger.log_metrics({"epoch": self.current_epoch, **row}, step=step)

    def on_fit_start(self) -> None:
        """Start the average, or take up that of the run resumed."""
        self._first_bad = None
        if self.ema_decay:
            self.ema = ExponentialMovingAverage(self.parameters(), self.ema_decay)
            if "average" in self._resumed:
                names = [name for name, _ in self.named_parameters()]
                for tensor, name in zip(self.ema.average, names, strict=True):
                    tensor.copy_(self._resumed["average"][name])
                self.ema.updates = self._resumed["updates"]

    def on_train_start(self) -> None:
        """Set the random numbers as they were when the checkpoint was written."""
        rng = self._resumed.pop("rng", None)
        if rng is not None:
            torch.set_rng_state(rng["host"].cpu())
            if rng["device"] is not None and self.device.type != "cpu":
                torch.get_device_module(self.device).set_rng_state(rng["device"].cpu())
        self._resumed = {}

    def on_validation_epoch_start(self) -> None:
        """Validate the average."""
        self._raise_if_diverged()
        if self.ema is not None:
            self.ema.swap()

    def on_validation_epoch_end(self) -> None:
        """Go on with the trained parameters."""
        if self.ema is not None and self.ema.swapped:
            self.ema.swap()

    def on_train_end(self) -> None:
        """Refuse to end well on a loss that did not."""
        self._raise_if_diverged()

    def on_fit_end(self) -> None:
        """Leave the average in the module."""
        if self.ema is not None and not self.ema.swapped:
            self.ema.swap()
        self.ema = None

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Store the average as the weights, the trained parameters beside it, and the random state.

        Raises:
            TrainingDiverged: the loss or a parameter is not finite; what was stored before is better.
        """
        self._raise_if_diverged()
        # A finite loss may have a gradient that is not, and the next loss would tell too late.
        if not torch.stack([p.detach().isfinite().all() for p in self.parameters()]).all():
            raise self._diverged("a parameter", self.global_step)
        data = getattr(self.trainer, "datamodule", None)
        checkpoint["integrand"] = {
            "version": integrand.__version__,
            "app": self.app,
            "data": {name: plain(value) for name, value in data.hparams.items()} if data is not None else None,
            **self.describe(),
        }
        if self.ema is not None:
            checkpoint["state_dict"].update(self._named(self.ema.averaged()))
            checkpoint["trained"] = self._named(self.ema.raw())
            checkpoint["ema_updates"] = self.ema.updates
        on_device = self.device.type != "cpu"
        checkpoint["rng"] = {
            "host": torch.get_rng_state(),
            "device": torch.get_device_module(self.device).get_rng_state() if on_device else None,
        }

    def _named(self, tensors: list[Tensor]) -> dict[str, Tensor]:
        """Copy one tensor a parameter under every name it has: a shared parameter is loaded from the last of them."""
        of = {id(parameter): tensor.clone() for parameter, tensor in zip(self.parameters(), tensors, strict=True)}
        return {name: of[id(parameter)] for name, parameter in self.named_parameters(remove_duplicate=False)}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """When training goes on, load the trained parameters and keep the average for ``on_fit_start``."""
        if self._trainer is None or self.trainer.state.fn != "fit":
            return
        self._resumed["rng"] = checkpoint.get("rng")
        if "trained" in checkpoint:
            self._resumed["average"] = {name: checkpoint["state_dict"][name] for name in checkpoint["trained"]}
            self._resumed["updates"] = checkpoint["ema_updates"]
            checkpoint["state_dict"] = {**checkpoint["state_dict"], **checkpoint["trained"]}

    def _watch(self, loss: Tensor) -> None:
        """Note the first step whose loss was not finite; look at it now and then, as looking waits for the device."""
        step = self.global_step
        if self._first_bad is None:
            self._first_bad = torch.full((), -1, dtype=torch.int64, device=loss.device)
        self._first_bad = torch.where((self._first_bad < 0) & ~torch.isfinite(loss), step, self._first_bad)
        if step % max(1, self.trainer.log_every_n_steps) == 0:  # pyright: ignore[reportAttributeAccessIssue]
            self._raise_if_diverged()

    def _raise_if_diverged(self) -> None:
        if self._first_bad is None:
            return
        step = int(self._first_bad)
        if step >= 0:
            self._first_bad = None
            raise self._diverged("the loss", step)

    def _diverged(self, what: str, step: int) -> TrainingDiverged:
        return TrainingDiverged(
            f"{what} became infinite or not a number at step {step}: try a smaller --model.learning_rate (now "
            f"{self.learning_rate:g}), --trainer.gradient_clip_val 0.5, or a longer --model.warmup_steps (now "
            f"{self.warmup_steps}). The last good checkpoint is kept."
        )
