"""GRU-ODE-Bayes as a forecaster."""

import torch

from integrand.apps.timeseries.forecasting.models.forecaster import Forecast, Forecaster
from integrand.apps.timeseries.forecasting.models.readout import LEAST_STD
from integrand.core.fields.periodic_forcing import harmonics
from integrand.core.models import GRUODEBayes
from integrand.datasets.forecasting import ForecastTask
from integrand.datasets.irregular import IrregularBatch


class GRUODEBayesForecaster(Forecaster):
    """A filter reads the context, and what it expects of the times asked is the forecast.

    The calendar and the group are channels that every row observes, and the origin as well, so that the state learns to
    foresee them. The loss of the filter over the context is the penalty: the mean over what it observed of

        filter_weight (-log p(x | before) + bayes_weight KL(Bayes || after)).

    Args:
        d_state: dimension of the hidden state.
        hidden: width of the network that reads distributions off the state.
        prep: features of each channel that a jump is told.
        steps: steps of the flow in each interval.
        filter_weight: weight of the filter's loss beside the forecast's.
        bayes_weight: weight of the divergence from Bayes' rule in it.

    Source: De Brouwer, Simm, Arany and Moreau (2019), GRU-ODE-Bayes: continuous modeling of sporadically-observed time
    series.
    """

    def __init__(
        self,
        *,
        d_state: int = 64,
        hidden: int = 64,
        prep: int = 4,
        steps: int = 1,
        filter_weight: float = 0.1,
        bayes_weight: float = 1e-2,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.d_state, self.hidden, self.prep, self.steps = d_state, hidden, prep, steps
        self.filter_weight, self.bayes_weight = filter_weight, bayes_weight

    def build_network(self, task: ForecastTask) -> None:
        """Make the filter."""
        self.model = GRUODEBayes(
            len(task.channels) + 2 * len(task.periods) + task.described,
            d_state=self.d_state,
            prep=self.prep,
            hidden=self.hidden,
            steps=self.steps,
            obs_std=LEAST_STD,
            least_std=LEAST_STD,
            time_scale=task.resolution,
        )

    def forward(self, batch: IrregularBatch) -> Forecast:
        """Forecast the batch at its ``target_times``."""
        assert batch.target_times is not None
        task = self.built_for
        values, mask, times, present = self.observed(batch)
        parts = [values]
        if batch.phase is not None and task.periods:
            parts.append(harmonics(batch.phase.unsqueeze(1) + self.calendar * times.unsqueeze(-1)))
        if batch.static is not None and task.described:
            parts.append(batch.static.unsqueeze(1).expand(-1, times.shape[1], -1))
        known = present.unsqueeze(-1).expand(-1, -1, sum(part.shape[-1] for part in parts[1:]))
        mask = torch.cat([mask, known], dim=-1)
        filtered = self.model(torch.cat(parts, dim=-1), times, mask)
        # The filter goes forwards in time, whatever the order of the questions.
        order = batch.target_times.argsort(dim=1)
        expected = self.model.forecast(filtered.state, batch.target_times.gather(1, order))
        back = order.argsort(dim=1).unsqueeze(-1)
        mean, std = (part[..., : task.targets] for part in expected)
        loss = (filtered.nll + self.bayes_weight * filtered.kl) / mask.sum((1, 2)).clamp(min=1)
        return Forecast(
            mean=mean.gather(1, back.expand_as(mean)),
            std=std.gather(1, back.expand_as(std)),
            penalty=self.filter_weight * loss,
            stats=None,
        )
