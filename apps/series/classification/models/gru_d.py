"""GRU-D as a classifier."""

from torch import Tensor, nn

from integrand.apps.series.classification.models.classifier import Classifier, Head
from integrand.apps.series.classification.models.controlled_classifiers import duration
from integrand.apps.series.classification.task import ClassificationTask
from integrand.apps.series.gru_d import GRUD
from integrand.datasets.irregular import IrregularBatch


class GRUDClassifier(Classifier):
    """GRU-D reads the series, its inputs and its state decaying while nothing is observed; its last state is read out.

    Args:
        d_state: dimension of the state.
        dropout: on the last state.

    Source: Che, Purushotham, Cho, Sontag and Liu (2018), Recurrent neural networks for multivariate time series with
    missing values.
    """

    def __init__(self, *, d_state: int = 64, dropout: float = 0.1) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.d_state, self.dropout = d_state, dropout

    def build_network(self, task: ClassificationTask) -> None:
        """Make recurrence and head."""
        self.encoder = GRUD(len(task.channels), self.d_state, time_scale=duration(task))
        self.thin = nn.Dropout(self.dropout)
        self.head = Head(self.d_state, task)

    def forward(self, batch: IrregularBatch) -> Tensor:
        """Return the scores of the classes, (B, K)."""
        # Padding leaves the state at rest, so that the last is the state after the last element.
        states = self.encoder(batch.values, batch.mask, batch.times, batch.present)
        return self.head(self.thin(states[:, -1]), batch)
