"""Dense networks as products of matrices and slopes, and what bounds such products.

Dimension letters: D input, E output, H units of a layer.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from integrand.core.analysis.activation_slopes import ROUNDING, SlopeRange, slope_range
from integrand.core.fields.contractive import ContractiveField
from integrand.core.fields.linear import Linear
from integrand.core.fields.lipschitz_mlp import LipschitzMLP
from integrand.core.fields.mlp import MLP
from integrand.core.fields.monotone import MonotoneField
from integrand.core.fields.relaxation import Relaxation


class Layered(NamedTuple):
    """A function with the Jacobian A + W_n S_(n-1) W_(n-1) ... S_1 W_1, S_k diagonal, of slopes of activations.

    Attributes:
        weights: W_1, ..., W_n.
        biases: what is added after each of the first n - 1, None where it depends on more than the function says.
        activations: the n - 1 activations and their slopes.
        through: A, (E, D), or None for zero.
    """

    weights: tuple[Tensor, ...]
    biases: tuple[Tensor | None, ...]
    activations: tuple[tuple[Callable[[Tensor], Tensor], SlopeRange], ...]
    through: Tensor | None = None

    def scaled(self, factor: float, identity: float = 0.0) -> "Layered":
        """Return ``factor`` times the function plus ``identity`` times its argument."""
        *inner, last = self.weights
        through = None if self.through is None else factor * self.through
        if identity:
            eye = identity * torch.eye(len(last), dtype=last.dtype, device=last.device)
            through = eye if through is None else through + eye
        return self._replace(weights=(*inner, factor * last), through=through)

    def in_metric(self, root: Tensor) -> "Layered":
        """Return the function in the coordinates R y, for R (D, D)."""
        first, *rest = self.weights
        weights = [torch.linalg.solve(root, first, left=False), *rest]
        weights[-1] = root @ weights[-1]
        through = self.through
        if through is not None:
            through = root @ torch.linalg.solve(root, through, left=False)
        return self._replace(weights=tuple(weights), through=through)

    def slopes(self) -> list[tuple[Tensor, Tensor]]:
        """Return the least and the most slopes of each layer's units, whatever the argument: (H,) each."""
        found = []
        for weight, (_, known) in zip(self.weights, self.activations, strict=False):
            ones = weight.new_ones(len(weight))
            found.append((known.least * ones, known.most * ones))
        return found

    def slopes_within(self, low: Tensor, high: Tensor) -> list[tuple[Tensor, Tensor]] | None:
        """Return the same for arguments between ``low`` and ``high``, (D,) each, by arithmetic of intervals.

        None where a bias is unknown.
        """
        found, centre, reach = [], (low + high) / 2, (high - low) / 2
        for weight, bias, (activation, known) in zip(self.weights, self.biases, self.activations, strict=False):
            if bias is None:
                return None
            size = weight.abs()
            slack = ROUNDING * (size @ (centre.abs() + reach) + bias.abs() + 1) * weight.shape[1]
            centre, reach = weight @ centre + bias, size @ reach + slack
            least, most = known.over(centre - reach, centre + reach)
            found.append((least, most))
            middle = activation(centre)
            far = torch.maximum(least.abs(), most.abs()) * reach
            # A function that nowhere falls takes its least and its most at the ends, which is closer.
            below = torch.where(least >= 0, activation(centre - reach), middle - far)
            above = torch.where(least >= 0, activation(centre + reach), middle + far)
            centre, reach = (below + above) / 2, (above - below) / 2 * (1 + ROUNDING)
        return found


def read_layers(module: object) -> Layered | None:
    """Return a module as a layered network of its states; None where it is not one, or may be more than one.

    Read are ``nn.Linear``, ``nn.Sequential`` of such and activations, and the fields ``MLP``, ``LipschitzMLP``,
    ``Linear``, ``ContractiveField``, ``MonotoneField`` and ``Relaxation`` of what can be read.
    """
    if not isinstance(module, nn.Module) or is_hooked(module):
        return None
    reader = _READERS.get(type(module))
    with torch.no_grad():
        return None if reader is None else reader(module)


def join_layers(modules: Iterable[nn.Module]) -> Layered | None:
    """Return the composition of linear maps and activations, the first of which is linear, as one network."""
    weights: list[Tensor] = []
    biases: list[Tensor | None] = []
    activations: list[tuple[Callable[[Tensor], Tensor], SlopeRange]] = []
    for module in modules:
        if is_linear(module):
            assert isinstance(module, nn.Linear)
            weight, bias = module.weight.detach(), module.bias
            if len(weights) > len(activations):  # nothing between two linear maps
                activations.append((_same, SlopeRange(torch.ones_like, 1.0, 1.0)))
            weights.append(weight)
            biases.append(weight.new_zeros(len(weight)) if bias is None else bias.detach())
            continue
        known = slope_range(module)
        if known is None or not weights:
            return None
        if len(weights) == len(activations):  # two activations in a row
            weights.append(_eye(weights[-1]))
            biases.append(weights[-1].new_zeros(len(weights[-1])))
        activations.append((module, known))
    if not weights:
        return None
    if len(weights) == len(activations):
        weights.append(_eye(weights[-1]))
        biases.append(None)
    return Layered(tuple(weights), tuple(biases), tuple(activations))


def is_linear(module: nn.Module) -> bool:
    """Return whether a module is ``nn.Linear``, its weight parametrised or not, and not a subclass that does more."""
    return isinstance(module, nn.Linear) and type(module).forward is nn.Linear.forward


def inside(module: nn.Module) -> Iterable[nn.Module]:
    """Yield the modules of nested ``nn.Sequential`` in order, without those that change nothing."""
    if type(module) is nn.Sequential:
        for each in module:
            yield from inside(each)
    elif not (isinstance(module, nn.Identity) or (isinstance(module, nn.Dropout) and not module.training)):
        yield module


def is_hooked(module: nn.Module) -> bool:
    """Return whether a hook may change what a module or a part of it does."""
    return any(each._forward_hooks or each._forward_pre_hooks for each in module.modules())


def _same(x: Tensor) -> Tensor:
    return x


def _eye(weight: Tensor) -> Tensor:
    return torch.eye(len(weight), dtype=weight.dtype, device=weight.device)


def _mlp(field: nn.Module) -> Layered | None:
    assert isinstance(field, MLP)
    modules = [*inside(field.layers), *([] if field.final is None else [field.final])]
    made = join_layers(modules)
    return None if made is None else _of_states(made, field.dim, alone=not field.time and not field.control)


def _lipschitz_mlp(field: nn.Module) -> Layered | None:
    assert isinstance(field, LipschitzMLP)
    known, layers = slope_range(field.activation), field.bounded_layers()
    if known is None:
        return None
    weights, biases = zip(*((w.detach(), b.detach()) for w, b in layers), strict=True)
    made = Layered(weights, biases, ((field.activation, known),) * (len(layers) - 1))
    return _of_states(made, field.dim, alone=not field.time and not field.control)


def _of_states(made: Layered, dim: int, *, alone: bool) -> Layered:
    """Return the network as one of its first inputs, the others being anything."""
    if alone:
        return made
    first, *rest = made.weights
    return made._replace(weights=(first[:, :dim], *rest), biases=(None, *made.biases[1:]))


def _contractive(field: nn.Module) -> Layered | None:
    assert isinstance(field, ContractiveField)
    known = slope_range(field.activation)
    if known is None:
        return None
    multiplier, factor = field.log_multiplier.exp(), field._factor()
    g = field.b + field.c.T * multiplier
    inner = -(g / (4 * multiplier)) @ g.T
    if field.a is not None:
        inner = inner + field.a - field.a.T
    last, eye = field.b.detach(), _eye(field.b)
    if factor is not None:
        last, inner = factor @ (factor.T @ last), factor @ (factor.T @ inner)
    bias = field.bias[: field.hidden].detach() if field.inputs is None else None
    return Layered((field.c.detach(), last), (bias, None), ((field.activation, known),), inner - field.rate * eye)


def _monotone(field: nn.Module) -> Layered | None:
    assert isinstance(field, MonotoneField)
    activation = nn.ReLU() if field.activation == "relu" else nn.Tanh()
    known = slope_range(activation)
    assert known is not None
    matrix = field.matrix.detach()
    bias = field.bias.detach() if field.injection is None else None
    return Layered((matrix, _eye(matrix)), (bias, None), ((activation, known),), -_eye(matrix))


def _relaxation(field: nn.Module) -> Layered | None:
    assert isinstance(field, Relaxation)
    cell = read_layers(field.cell)
    if cell is None or len(cell.weights[-1]) != cell.weights[0].shape[1]:
        return None
    return cell.scaled(1 / field.time_constant, -1 / field.time_constant)


_READERS: dict[type[nn.Module], Callable[[nn.Module], Layered | None]] = {
    MLP: _mlp,
    LipschitzMLP: _lipschitz_mlp,
    ContractiveField: _contractive,
    MonotoneField: _monotone,
    Relaxation: _relaxation,
    Linear: lambda field: join_layers(inside(field.map)),  # pyright: ignore[reportArgumentType]
    nn.Linear: lambda module: join_layers([module]),
    nn.Sequential: lambda module: join_layers(inside(module)),
}
