"""Controlled equations that the series drives, read out at its end: neural CDE, neural RDE, Log-NCDE."""

from typing import Literal

from torch import Tensor

from integrand.apps.series.classification.models.classifier import Classifier, Head
from integrand.apps.series.classification.task import ClassificationTask
from integrand.core.models import ControlledModel, LogNCDE, NeuralCDE, NeuralRDE
from integrand.datasets.irregular import IrregularBatch


class ControlledClassifier(Classifier):
    """A state z driven by the path through the data, dz = f(z) dX, read out where the series ends.

    Missing values are those of the path; with missing ones in training, how often each channel has been observed so far
    drives the state, too. Time runs from 0 to 1 over the longest training series.

    A subclass says by ``make_model`` which equation.

    Args:
        d_state: dimension of z.
        hidden: width of the field's hidden layer.
    """

    def __init__(self, *, d_state: int = 32, hidden: int = 64) -> None:
        super().__init__()
        self.d_state, self.hidden = d_state, hidden

    def make_model(self, task: ClassificationTask) -> ControlledModel:
        """Return the equation."""
        raise NotImplementedError

    def build_network(self, task: ClassificationTask) -> None:
        """Make equation and head."""
        self.model = self.make_model(task)
        self.head = Head(self.d_state, task)

    def forward(self, batch: IrregularBatch) -> Tensor:
        """Return the scores of the classes, (B, K)."""
        found = self.model(batch.values, batch.times, mask=batch.mask, lengths=batch.lengths)
        return self.head(found.states[:, -1], batch)


def duration(task: ClassificationTask) -> float:
    """Return the time that counts as one."""
    return task.resolution * max(1, task.elements - 1)


class NeuralCDEClassifier(ControlledClassifier):
    """Classifier by a neural CDE, see ``ControlledClassifier``.

    Args:
        interpolation: how the path is made; ``"rectilinear"`` and ``"hermite"`` know nothing later than they tell.
        d_state, hidden: see there.
    """

    def __init__(
        self,
        *,
        d_state: int = 32,
        hidden: int = 64,
        interpolation: Literal["hermite", "linear", "cubic", "rectilinear"] = "hermite",
    ) -> None:
        super().__init__(d_state=d_state, hidden=hidden)
        self.save_hyperparameters()
        self.interpolation: Literal["hermite", "linear", "cubic", "rectilinear"] = interpolation

    def make_model(self, task: ClassificationTask) -> ControlledModel:
        """Return a neural CDE."""
        return NeuralCDE(
            len(task.channels),
            self.d_state,
            hidden=(self.hidden,),
            interpolation=self.interpolation,
            intensity=not task.complete,
            time_scale=duration(task),
        )


class _WindowedClassifier(ControlledClassifier):
    """Shared by the two whose equation is driven by what windows of the path amount to."""

    equation: type[NeuralRDE] | type[LogNCDE]

    def __init__(self, *, d_state: int = 32, hidden: int = 64, window: int = 4) -> None:
        super().__init__(d_state=d_state, hidden=hidden)
        self.save_hyperparameters()
        self.window = window

    def make_model(self, task: ClassificationTask) -> ControlledModel:
        """Return the equation."""
        return self.equation(
            len(task.channels),
            self.d_state,
            hidden=(self.hidden,),
            window=self.window,
            intensity=not task.complete,
            time_scale=duration(task),
        )


class NeuralRDEClassifier(_WindowedClassifier):
    """Classifier by a neural RDE: log-signatures of windows drive the state, see ``ControlledClassifier``.

    Args:
        window: elements a window.
        d_state, hidden: see there.
    """

    equation = NeuralRDE


class LogNCDEClassifier(_WindowedClassifier):
    """Classifier by a Log-NCDE: Lie brackets of the field over windows, see ``ControlledClassifier``.

    Args:
        window: elements a window.
        d_state, hidden: see there.
    """

    equation = LogNCDE
