"""The Lightning module of forecasting."""

from typing import ClassVar

from integrand.apps.timeseries.forecasting.models.forecaster import Forecaster
from integrand.apps.timeseries.gaussian_module import GaussianModule, Score
from integrand.apps.training.task_network import TaskNetwork
from integrand.datasets.forecasting import ForecastTask


class ForecastingModule(GaussianModule):
    """Probabilistic forecasting of irregular series, see ``GaussianModule``.

    Args:
        network: a forecaster; it is built for the data when training starts.
        learning_rate: peak learning rate.
        weight_decay: decay of matrices.
        warmup_steps: steps of linear warm-up.
        ema_decay: decay of the parameters' moving average; 0 for none.
        score: what is minimised: ``"crps"``, ``"nll"`` or ``"squared"``.
        noise: unit of the error, with ``"squared"`` alone.

    Example::

        data = ForecastingData("nyc_weather")
        module = ForecastingModule(SSMODE())
        Trainer(max_epochs=2).fit(module, data)
    """

    networks: ClassVar[type[TaskNetwork]] = Forecaster
    described_by: ClassVar[type] = ForecastTask
    network: Forecaster

    def __init__(
        self,
        network: Forecaster,
        *,
        learning_rate: float = 8e-3,
        weight_decay: float = 0.1,
        warmup_steps: int = 100,
        ema_decay: float = 0.995,
        score: Score = "crps",
        noise: float = 0.01,
    ) -> None:
        super().__init__(
            network,
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            warmup_steps=warmup_steps,
            ema_decay=ema_decay,
            score=score,
            noise=noise,
        )
