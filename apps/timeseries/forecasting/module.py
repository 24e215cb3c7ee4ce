"""The Lightning module of the time-series application."""

from typing import Any, ClassVar

import torch
from torch import Tensor
from torchmetrics import MeanMetric

from integrand.apps.timeseries.forecasting.models.forecaster import Forecast, Forecaster
from integrand.apps.training.module import BaseModule, plain
from integrand.core.errors import InputError
from integrand.core.losses import gaussian_crps
from integrand.datasets.forecasting import ForecastTask
from integrand.datasets.irregular import IrregularBatch


class ForecastingModule(BaseModule):
    """Probabilistic forecasting of irregular series, trained on the continuous ranked probability score.

    Args:
        network: a forecaster; it is built for the data when training starts.
        learning_rate: peak learning rate.
        weight_decay: decay of matrices.
        warmup_steps: steps of linear warm-up.
        ema_decay: decay of the parameters' moving average; 0 for none.

    Example::

        data = ForecastingData("nyc_weather")
        module = ForecastingModule(SSMODE())
        Trainer(max_epochs=2).fit(module, data)
    """

    app: ClassVar[str] = "timeseries"
    monitor: ClassVar[str] = "validation/crps"

    def __init__(
        self,
        network: Forecaster,
        *,
        learning_rate: float = 8e-3,
        weight_decay: float = 0.1,
        warmup_steps: int = 100,
        ema_decay: float = 0.995,
    ) -> None:
        super().__init__(
            learning_rate=learning_rate, weight_decay=weight_decay, warmup_steps=warmup_steps, ema_decay=ema_decay
        )
        self.network = network
        self.validation = torch.nn.ModuleDict({name: MeanMetric() for name in ("crps", "mae")})

    def build(self, data: Any) -> None:
        """Build the network for a data module's task, unless it is built already."""
        if self.network.task is None:
            self.network.build(data.task)

    def setup(self, stage: str) -> None:
        """Build what is not built yet, from the trainer's data module."""
        self.build(self.trainer.datamodule)  # pyright: ignore[reportAttributeAccessIssue]

    def describe(self) -> dict[str, Any]:
        """Return the network's class and options, and the task."""
        kind = type(self.network)
        return {
            "network": f"{kind.__module__}:{kind.__qualname__}",
            "options": {name: plain(value) for name, value in self.network.hparams.items()},
            "task": self.network.built_for.to_dict(),
        }

    @classmethod
    def from_checkpoint(cls, checkpoint: dict[str, Any]) -> "ForecastingModule":
        """Build the module that a checkpoint describes, with its averaged weights, ready to forecast."""
        from integrand.apps.application import load

        said = checkpoint["integrand"]
        kind = load(said["network"])
        if not (isinstance(kind, type) and issubclass(kind, Forecaster)):
            raise InputError(f"the checkpoint names {said['network']!r} as its network, which is no forecaster.")
        network = kind(**said["options"])
        network.build(ForecastTask(**said["task"]))
        module = cls(network)
        module.load_state_dict(checkpoint["state_dict"])
        return module.eval()

    def forward(self, batch: IrregularBatch) -> Forecast:
        """Forecast the batch at its ``target_times``, in standardised units."""
        return self.network(batch)

    def loss(self, batch: IrregularBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """Average the score over the observed targets, and add the network's penalty."""
        forecast = self.network(batch)
        assert batch.target is not None
        assert batch.target_mask is not None
        score = gaussian_crps(forecast.mean, forecast.std, batch.target)
        loss = torch.where(batch.target_mask, score, 0).sum() / batch.target_mask.sum().clamp(min=1)
        logged = {"crps": loss, "evaluations": forecast.stats.evaluations.float().mean()}
        if forecast.penalty is not None:
            logged["penalty"] = forecast.penalty.mean()
            loss = loss + logged["penalty"]
        return loss, logged

    def on_validation_epoch_start(self) -> None:
        """Validate the average, from empty sums: those left by ``trainer.validate`` are inference tensors."""
        super().on_validation_epoch_start()
        for metric in self.validation.values():
            metric.reset()  # pyright: ignore[reportCallIssue]

    def validation_step(self, batch: IrregularBatch, batch_idx: int) -> None:
        """Score a batch."""
        forecast = self.network(batch)
        assert batch.target is not None
        assert batch.target_mask is not None
        weight = batch.target_mask.float()
        scores = {
            "crps": gaussian_crps(forecast.mean, forecast.std, batch.target),
            "mae": (forecast.mean - batch.target).abs(),
        }
        for name, score in scores.items():
            self.validation[name].update(score, weight)  # pyright: ignore[reportCallIssue]

    def on_validation_epoch_end(self) -> None:
        """Log the scores of the whole validation part, over all processes."""
        super().on_validation_epoch_end()
        scores = {f"validation/{name}": metric.compute() for name, metric in self.validation.items()}  # pyright: ignore[reportCallIssue]
        self.log_dict(scores, logger=False, prog_bar=True)
        if not self.trainer.sanity_checking:
            self.write_log(scores, self.global_step)
