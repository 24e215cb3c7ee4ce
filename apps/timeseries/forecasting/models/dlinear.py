"""DLinear: trend and remainder of a regular grid through a linear map each, to compare with.

Dimension letters: B batch, Q query times, C channels seen, K channels forecast, G bins of the context, H lead times.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from integrand.apps.series.neighbours import after, before
from integrand.apps.timeseries.forecasting.models.forecaster import Forecast, Forecaster
from integrand.apps.timeseries.forecasting.models.readout import LEAST_STD
from integrand.core.errors import InputError
from integrand.datasets.forecasting import ForecastTask
from integrand.datasets.irregular import IrregularBatch


class DLinear(Forecaster):
    """A moving average and what remains of the context, each taken to all lead times by a linear map of its own.

        trend_g = mean of x over ``kernel`` bins around g, the ends repeated,
        mean_h = sum_g U_hg trend_g + V_hg (x_g - trend_g) + b_h

    on a regular grid: a bin holds the last value observed in it, or else the one carried forward to it; before a
    channel's first value the bins hold that one. A query between two lead times is answered on the line between them,
    and the last value stands at lead 0. The deviation is learned for each channel and lead time, the same for every
    window.

    Args:
        kernel: bins of the moving average, odd.
        individual: whether each channel has maps of its own; else all share them.

    Raises:
        InputError: an even ``kernel``.

    Source: Zeng, Chen, Zhang and Xu (2023), Are transformers effective for time series forecasting?, Section 4; there
    without deviations.
    """

    def __init__(self, *, kernel: int = 25, individual: bool = False) -> None:
        super().__init__()
        self.save_hyperparameters()
        if kernel % 2 == 0:
            raise InputError(f"model.network.kernel={kernel} must be odd, so that a moving average has a middle.")
        self.kernel, self.individual = kernel, individual

    def build_network(self, task: ForecastTask) -> None:
        """Make the two maps, their bias, and the deviations."""
        self.bins = max(1, round(task.context / task.resolution))
        self.sets = task.targets if self.individual else 1
        # Linear layers, since they are what weight decay acts on; the sets of channels lie side by side in them.
        self.trend, self.remainder = (nn.Linear(self.bins, self.sets * task.leads, bias=False) for _ in range(2))
        for part in (self.trend, self.remainder):
            nn.init.constant_(part.weight, 1 / self.bins)
        self.bias = nn.Parameter(torch.zeros(self.sets, task.leads))
        self.raw = nn.Parameter(torch.zeros(task.targets, task.leads))

    def forward(self, batch: IrregularBatch) -> Forecast:
        """Forecast the batch at its ``target_times``."""
        task, asked = self.built_for, batch.target_times
        assert asked is not None
        x_BKG = self.on_grid(batch)[..., : task.targets].mT
        trend_BKG = moving_average(x_BKG, self.kernel)
        answers = self.trend(trend_BKG) + self.remainder(x_BKG - trend_BKG)
        if self.individual:  # of channel k the maps of channel k alone
            answers = answers.unflatten(-1, (self.sets, task.leads)).diagonal(dim1=1, dim2=2).mT
        mean_BKH = answers + self.bias
        place = asked / task.resolution
        std_BKH = (F.softplus(self.raw) + LEAST_STD).expand_as(mean_BKH)
        mean = between_leads(torch.cat([x_BKG[..., -1:], mean_BKH], dim=-1), place)
        return Forecast(mean, between_leads(torch.cat([std_BKH[..., :1], std_BKH], dim=-1), place), None, None)

    def on_grid(self, batch: IrregularBatch) -> Tensor:
        """Return the context on the regular grid whose last bin ends at the origin, (B, G, C).

        A channel that was never observed is 0, the mean in training.
        """
        task = self.built_for
        place = self.bins - 1 + torch.floor(batch.times / task.resolution + 0.5).long()
        place = place.clamp(0, self.bins - 1).unsqueeze(-1).expand_as(batch.values)
        # Of several rows in a bin the last observed counts, so rows are numbered; 0 is no row.
        number = torch.arange(1, batch.values.shape[1] + 1, device=place.device).view(1, -1, 1) * batch.mask
        latest = number.new_zeros(len(batch), self.bins, batch.values.shape[-1]).scatter_reduce(
            1, place, number, "amax"
        )
        held = latest > 0
        values = torch.where(held, batch.values.gather(1, (latest - 1).clamp(min=0)), 0)
        times = torch.arange(self.bins, device=place.device, dtype=values.dtype).expand(len(batch), -1)
        known = before(values, held, times)
        return torch.where(known.found, known.value, after(values, held, times).value)


def moving_average(x: Tensor, kernel: int) -> Tensor:
    """Return the mean over ``kernel`` bins around each of (..., G), the ends repeated.

    Example:
        >>> moving_average(torch.tensor([[[0.0, 3.0, 6.0]]]), 3)
        tensor([[[1., 3., 5.]]])
    """
    half = kernel // 2
    return F.avg_pool1d(F.pad(x, (half, half), mode="replicate"), kernel, stride=1)


def between_leads(values: Tensor, place: Tensor) -> Tensor:
    """Return values (B, K, 1 + H) at leads 0 to H on the lines between them, at places (B, Q): (B, Q, K).

    Example:
        >>> between_leads(torch.tensor([[[0.0, 2.0, 6.0]]]), torch.tensor([[0.5, 2.0]])).flatten()
        tensor([1., 6.])
    """
    place = place.clamp(0, values.shape[-1] - 1)
    left = place.floor().long().clamp(max=values.shape[-1] - 2)
    share = (place - left).unsqueeze(1)
    index = left.unsqueeze(1).expand(-1, values.shape[1], -1)
    return torch.lerp(values.gather(-1, index), values.gather(-1, index + 1), share).mT
