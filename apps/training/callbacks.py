"""Callbacks of every training: best and last checkpoint, a graceful stop, progress where there is no terminal."""

import signal
import time
from pathlib import Path
from types import FrameType
from typing import Any

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from integrand.apps.training.metrics_log import MetricsLog


class Stopped(Exception):
    """Training stopped on a signal, after its state was saved."""

    def __init__(self, number: int, step: int) -> None:
        self.signal = signal.Signals(number)
        self.step = step
        super().__init__(f"stopped by {self.signal.name} at step {step}")


class BestCheckpoint(ModelCheckpoint):
    """Lightning's, which also knows its best score again after the run folder was moved.

    Where the data have no validation part (``validates`` is False), or the module keeps its last weights
    (``keeps_last``), nothing is chosen: it keeps the last epoch's.
    """

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Look whether there is anything to choose by."""
        validates = getattr(trainer.datamodule, "validates", True)  # pyright: ignore[reportAttributeAccessIssue]
        if not validates or getattr(pl_module, "keeps_last", False):
            self.monitor, self._save_on_train_epoch_end = None, True
        elif chosen_by := getattr(pl_module, "chosen_by", None):
            self.monitor = chosen_by
        super().setup(trainer, pl_module, stage)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the state, its paths set to where the run is now."""

        def here(path: str) -> str:
            return str(Path(str(self.dirpath), Path(path).name)) if path else path

        paths = ("best_model_path", "kth_best_model_path", "last_model_path")
        moved = {name: here(state_dict[name]) for name in paths if name in state_dict}
        known = {here(path): score for path, score in state_dict.get("best_k_models", {}).items()}
        super().load_state_dict({**state_dict, **moved, "best_k_models": known, "dirpath": self.dirpath})


class LastCheckpoint(Callback):
    """Write ``last.ckpt`` every so many steps, and once more when asked to stop by SIGTERM or SIGINT.

    It writes between two training batches with no validation due, the one place from which Lightning goes on with
    exactly the next batch. The metrics log is written along, and its length kept, so that a resumed run neither loses
    nor repeats a row.

    Args:
        path: the checkpoint.
        every: steps between two.
        metrics: the run's log.
    """

    def __init__(self, path: Path, *, every: int, metrics: MetricsLog) -> None:
        self.path, self.every, self.metrics = path, every, metrics
        self._due = False
        self._signal: int | None = None
        self._handlers: dict[int, Any] = {}

    def state_dict(self) -> dict[str, Any]:
        """Return how far the log had come."""
        return {"rows": len(self.metrics.rows), "last": dict(self.metrics.rows[-1]) if self.metrics.rows else {}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Set the log back to where it was."""
        self.metrics.rows = self.metrics.rows[: state_dict["rows"]]
        if self.metrics.rows:
            self.metrics.rows[-1] = state_dict["last"]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take over the signals."""
        for number in (signal.SIGTERM, signal.SIGINT):
            self._handlers[number] = signal.signal(number, self._remember)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any, **kwargs: Any) -> None:
        """Save when due; stop when asked to."""
        self._due |= trainer.global_step % self.every == 0
        stop = self._asked(trainer)
        if not (self._due or stop) or self._validation_follows(trainer, args[-1]):
            return
        self._save(trainer)
        if stop:
            raise Stopped(self._signal or signal.SIGTERM, trainer.global_step)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the end."""
        self._save(trainer)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Give the signals back."""
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers.clear()

    def _save(self, trainer: Trainer) -> None:
        self._due = False
        self.metrics.save()
        trainer.save_checkpoint(self.path)

    def _asked(self, trainer: Trainer) -> bool:
        """Whether any process was asked to stop; several agree now and then, for agreeing takes time."""
        if trainer.world_size == 1:
            return self._signal is not None
        if trainer.global_step % max(1, trainer.log_every_n_steps):  # pyright: ignore[reportAttributeAccessIssue]
            return False
        return trainer.strategy.reduce_boolean_decision(self._signal is not None, all=False)

    def _remember(self, number: int, frame: FrameType | None) -> None:
        if self._signal is not None:  # a second signal does not wait for the batch
            raise KeyboardInterrupt
        self._signal = number

    @staticmethod
    def _validation_follows(trainer: Trainer, batch_idx: int) -> bool:
        done = batch_idx + 1
        return done >= trainer.num_training_batches or done % int(trainer.val_check_batch or 1) == 0


class ProgressLines(Callback):
    """A line at each validation, where standard error is not a terminal and a bar would only fill a log."""

    def __init__(self, write: Any) -> None:
        self.write = write
        self._start = time.monotonic()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the line."""
        if trainer.sanity_checking or not trainer.is_global_zero:
            return
        total = trainer.estimated_stepping_batches
        scores = "  ".join(
            f"{name} {float(value):.4f}" for name, value in sorted(trainer.callback_metrics.items()) if "/" in name
        )
        self.write(f"step {trainer.global_step:>6} of {total:.0f}  {time.monotonic() - self._start:6.1f} s  {scores}")
