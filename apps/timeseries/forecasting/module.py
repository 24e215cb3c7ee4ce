"""The Lightning module of the time-series application."""

from typing import ClassVar

import torch
from torch import Tensor

from integrand.apps.timeseries.forecasting.models.forecaster import Forecast, Forecaster
from integrand.apps.timeseries.module import TaskModule
from integrand.apps.timeseries.network import TaskNetwork
from integrand.core.losses import gaussian_crps
from integrand.datasets.forecasting import ForecastTask
from integrand.datasets.irregular import IrregularBatch


class ForecastingModule(TaskModule):
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

    monitor: ClassVar[str] = "validation/crps"
    networks: ClassVar[type[TaskNetwork]] = Forecaster
    described_by: ClassVar[type] = ForecastTask
    validated: ClassVar[tuple[str, ...]] = ("crps", "mae")
    network: Forecaster

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
            network,
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            warmup_steps=warmup_steps,
            ema_decay=ema_decay,
        )

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

    def scores(self, batch: IrregularBatch) -> tuple[dict[str, Tensor], Tensor | None]:
        """Return the scores of each target, (B, Q, K), which count where it was observed."""
        forecast = self.network(batch)
        assert batch.target is not None
        assert batch.target_mask is not None
        return {
            "crps": gaussian_crps(forecast.mean, forecast.std, batch.target),
            "mae": (forecast.mean - batch.target).abs(),
        }, batch.target_mask.float()
