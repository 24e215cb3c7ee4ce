"""A multilayer perceptron of random waves of the coordinates."""

from integrand.apps.physics.informed.models.network import InformedNetwork
from integrand.apps.physics.informed.task import InformedTask
from integrand.core.models.coordinate_network import CoordinateNetwork


class InformedFourier(InformedNetwork):
    """Layers of equal width that read random Fourier features, see ``CoordinateNetwork``.

    Args:
        frequencies: how many waves.
        frequency: their typical number over half the box.
        width: of a layer.
        depth: hidden layers.
        activation: a smooth one, such as ``"tanh"`` or ``"silu"``.
    """

    def __init__(
        self,
        frequencies: int = 20,
        frequency: float = 1.0,
        width: int = 20,
        depth: int = 2,
        activation: str = "tanh",
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.frequencies, self.frequency = frequencies, frequency
        self.hidden, self.activation = (width,) * depth, activation

    def coordinates(self, task: InformedTask) -> CoordinateNetwork:
        """Make the waves and the layers."""
        box = task.of
        return CoordinateNetwork(
            box.low,
            box.high,
            self.hidden,
            activation=self.activation,
            periodic=box.periodic,
            frequencies=self.frequencies,
            frequency=self.frequency,
        )
