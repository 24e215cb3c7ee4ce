"""A multilayer perceptron of the coordinates."""

from integrand.apps.physics.informed.models.network import InformedNetwork
from integrand.apps.physics.informed.task import InformedTask
from integrand.core.models.coordinate_network import CoordinateNetwork


class InformedMLP(InformedNetwork):
    """Layers of equal width; periodic coordinates enter as sines and cosines, see ``CoordinateNetwork``.

    Args:
        width: of a layer.
        depth: hidden layers.
        activation: a smooth one, such as ``"tanh"`` or ``"silu"``.
    """

    def __init__(self, width: int = 20, depth: int = 3, activation: str = "tanh") -> None:
        super().__init__()
        self.save_hyperparameters()
        self.hidden, self.activation = (width,) * depth, activation

    def coordinates(self, task: InformedTask) -> CoordinateNetwork:
        """Make the layers."""
        box = task.of
        return CoordinateNetwork(box.low, box.high, self.hidden, activation=self.activation, periodic=box.periodic)
