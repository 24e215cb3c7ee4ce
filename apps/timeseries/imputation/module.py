"""The Lightning module of imputation."""

from typing import ClassVar

from integrand.apps.timeseries.gaussian_module import GaussianModule, Score
from integrand.apps.timeseries.imputation.models.imputer import Imputer
from integrand.apps.training.task_network import TaskNetwork
from integrand.datasets.imputation import ImputationTask


class ImputationModule(GaussianModule):
    """Probabilistic imputation of irregular series, see ``GaussianModule``.

    Args:
        network: an imputer; it is built for the data when training starts.
        learning_rate: peak learning rate.
        weight_decay: decay of matrices.
        warmup_steps: steps of linear warm-up.
        ema_decay: decay of the parameters' moving average; 0 for none.
        score: what is minimised: ``"crps"``, ``"nll"`` or ``"squared"``.
        noise: unit of the error, with ``"squared"`` alone.

    Example::

        data = ImputationData("nyc_weather")
        module = ImputationModule(S5Imputer())
        Trainer(max_epochs=2).fit(module, data)
    """

    networks: ClassVar[type[TaskNetwork]] = Imputer
    described_by: ClassVar[type] = ImputationTask
    network: Imputer

    def __init__(
        self,
        network: Imputer,
        *,
        learning_rate: float = 4e-3,
        weight_decay: float = 0.05,
        warmup_steps: int = 50,
        ema_decay: float = 0.99,
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
