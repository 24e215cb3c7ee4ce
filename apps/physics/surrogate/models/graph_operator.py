"""The graph kernel network as a surrogate: messages between points of the grid that are near."""

from torch import Tensor, nn

from integrand.apps.physics.surrogate.models.grid_points import coordinate_count, grid_points
from integrand.apps.physics.surrogate.models.surrogate import Surrogate
from integrand.core.errors import InputError
from integrand.core.operators import GraphOperator, radius_graph
from integrand.datasets.fields import FieldTask


class GraphOperatorSurrogate(Surrogate):
    """Message passing between near points, see ``integrand.core.operators.GraphOperator``.

    A neighbourhood is a length, not a number of points, so that the network may be asked on other grids; the ends of
    periodic axes are neighbours.

    Args:
        radius: reach of a message, as a share of the longest side of the box.
        width: channels of each node.
        depth: rounds of messages.
        hidden: width of the two hidden layers of the kernel's network.
        tied: whether all rounds share their weights.
        residual: see ``Surrogate``.

    Source: Li, Kovachki, Azizzadenesheli, Liu, Bhattacharya, Stuart and Anandkumar (2020), Neural operator: Graph
    kernel network for partial differential equations.
    """

    def __init__(
        self,
        *,
        radius: float = 0.05,
        width: int = 32,
        depth: int = 4,
        hidden: int = 32,
        tied: bool = False,
        residual: bool | None = None,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()

    def build_operator(self, task: FieldTask) -> nn.Module:
        """Return the network on fields."""
        said = self.hparams
        if not 0 < said["radius"] <= 1:
            raise InputError(f"model.network.radius={said['radius']:g} is out of range: a share of the longest side.")
        return _OnGrids(
            task, said["radius"], said["width"], steps=said["depth"], hidden=(said["hidden"],) * 2, tied=said["tied"]
        )


class _OnGrids(nn.Module):
    """A graph operator between fields, (B, C_in, *X) to (B, C, *X), with the edges of each grid it has met."""

    def __init__(
        self, task: FieldTask, radius: float, width: int, *, steps: int, hidden: tuple[int, ...], tied: bool
    ) -> None:
        super().__init__()
        self.lengths, self.periodic, self.radius = tuple(task.lengths), tuple(task.periodic), radius
        self.net = GraphOperator(
            task.inputs,
            len(task.channels),
            dims=coordinate_count(self.periodic),
            width=width,
            steps=steps,
            hidden=hidden,
            radius=radius,
            tied=tied,
        )
        self.edges: dict[tuple[object, ...], Tensor] = {}

    def forward(self, x: Tensor) -> Tensor:
        """Map a field."""
        shape = tuple(x.shape[2:])
        points = grid_points(shape, self.lengths, self.periodic, x)
        key = (shape, x.device)
        if key not in self.edges:
            self.edges[key] = radius_graph(points, self.radius).clone()
        made = self.net(x.flatten(2).transpose(1, 2), points, self.edges[key])
        return made.transpose(1, 2).unflatten(2, shape)
