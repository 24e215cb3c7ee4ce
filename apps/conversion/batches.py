"""Samples handed to an exported network in batches of the size that it takes."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from integrand.core.analysis.exported_graph import ExportedGraph, shape_of
from integrand.core.analysis.step_refinement import flat
from integrand.core.errors import InputError, first_line

LARGEST = 256
"""Samples in a batch where the network takes any number."""


@dataclass(frozen=True, kw_only=True)
class Samples:
    """What a network is asked about: its inputs, each (n, ...).

    Attributes:
        inputs: in the flat order of the network's arguments.
        spec: how they are laid out as positional arguments and arguments by name.
        size: samples of a batch, where the network takes no other number; None where it takes any.
        whole: whether they are handed over at once, whatever their shapes: the inputs that the network was exported
            with.
    """

    inputs: tuple[Any, ...]
    spec: Any
    size: int | None = None
    whole: bool = False

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.inputs[0])

    def take(self, places: Tensor | slice) -> "Samples":
        """Return some of the samples."""
        return replace(self, inputs=tuple(each[places] for each in self.inputs))

    def batches(self) -> Iterator[tuple[tuple[Any, ...], int]]:
        """Yield batches with the number of samples in them that count; a last one is filled up where it must be."""
        if self.whole:
            yield self.inputs, 1
            return
        size = self.size or LARGEST
        for first in range(0, len(self), size):
            batch = tuple(each[first : first + size] for each in self.inputs)
            count = len(batch[0])
            if self.size and count < size:
                batch = tuple(torch.cat([each, each[-1:].expand(size - count, *each.shape[1:])]) for each in batch)
            yield batch, count

    def arguments(self, batch: tuple[Any, ...]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return a batch as positional arguments and arguments by name."""
        return pytree.tree_unflatten(list(batch), self.spec)

    def ask(self, model: nn.Module, batch: tuple[Any, ...]) -> tuple[Any, int]:
        """Return a model's output for a batch, and the evaluations of right-hand sides where it tells them."""
        args, kwargs = self.arguments(batch)
        if (solve := getattr(model, "solve", None)) is not None:
            solved = solve(*args, **kwargs)
            return solved.output, solved.evaluations
        return model(*args, **kwargs), 0


def example_samples(graph: ExportedGraph) -> Samples | None:
    """Return the inputs that a network was exported with, or None where none are kept."""
    if graph.example is None:
        return None
    return Samples(inputs=tuple(pytree.tree_leaves(graph.example)), spec=_spec(graph), whole=True)


def _spec(graph: ExportedGraph) -> Any:
    specs: Any = graph.program.call_spec
    return specs.in_spec


def samples_of(graph: ExportedGraph, array: Tensor, name: str) -> Samples:
    """Return the samples of an array for a network of one input.

    Raises:
        InputError: the network takes more inputs, or one of another shape.
    """
    if len(graph.inputs) != 1:
        raise InputError(f"{name} is one array, and the network takes {len(graph.inputs)} inputs: leave it out.")
    (node,) = graph.inputs
    wanted, example = shape_of(node) or (), node.meta["val"]
    unlike = [
        want for size, want in zip(array.shape[1:], wanted[1:], strict=False) if want.isdigit() and int(want) != size
    ]
    if array.dim() != len(wanted) or unlike or not len(array):
        raise InputError(
            f"{name} must hold samples as the network was exported with, ({', '.join(('n', *wanted[1:]))}), got shape "
            f"{tuple(array.shape)}."
        )
    if not bool(torch.isfinite(array).all()):
        raise InputError(f"{name} holds values that are not finite: leave those samples out.")
    return Samples(inputs=(array.to(example.dtype),), spec=_spec(graph))


def own_size(graph: ExportedGraph) -> int | None:
    """Return the number of samples that a network was exported for, or None where it was left free."""
    sizes = {shape[0] for node in graph.inputs if (shape := shape_of(node))}
    return next((int(size) for size in sizes if size.isdigit()), None)


def free_size(model: nn.Module, samples: Samples, size: int) -> Samples:
    """Return samples whose batches have any size, where a network exported for one size takes others as well.

    Args:
        model: the network.
        samples: what it is asked about.
        size: the size that it was exported for.
    """
    bound = replace(samples, size=size)
    batch, count = next(bound.take(slice(0, size)).batches())
    # A size that stands in no operation binds nobody: the batch gives the same twice over then.
    double = tuple(torch.cat([each, each]) for each in batch)
    with torch.no_grad():
        given = rows(bound.ask(model, batch)[0], size)[:count]
        try:
            twice = rows(bound.ask(model, double)[0], 2 * size)[:count]
        except Exception:  # of whatever kind, it says that the size is bound
            return bound
    return samples if torch.allclose(twice, given, rtol=1e-4, atol=1e-5) else bound


def rows(output: Any, count: int) -> Tensor:
    """Return all real tensors of an output as one row for each sample, (B, n).

    Raises:
        InputError: none of them has a row for each sample.
    """
    leaves = [each for each in pytree.tree_leaves(output) if isinstance(each, Tensor) and each.is_floating_point()]
    leaves = [each for each in leaves if each.dim() and len(each) == count]
    if not leaves:
        raise InputError("the network returns no real tensor with a row for each sample: there is nothing to compare.")
    return torch.cat([each.flatten(1) if each.dim() > 1 else each[:, None] for each in leaves], dim=1)


def single(output: Any, count: int) -> Tensor:
    """Return the one tensor of an output, (B, ...).

    Raises:
        InputError: there are several.
    """
    leaves = [each for each in pytree.tree_leaves(output) if isinstance(each, Tensor)]
    if len(leaves) != 1 or not leaves[0].dim() or len(leaves[0]) != count:
        raise InputError(
            f"targets are for a network that returns one tensor with a row a sample, not {len(leaves)} tensors."
        )
    return leaves[0]


@torch.no_grad()
def answers(model: nn.Module, samples: Samples) -> tuple[Tensor, int]:
    """Return what a network gives, one row for each sample, and evaluations of right-hand sides where it tells them.

    Raises:
        InputError: the network cannot be run on the samples.
    """
    found, evaluations = [], 0
    for batch, count in samples.batches():
        try:
            output, evaluations = samples.ask(model, batch)
        except InputError:
            raise
        except Exception as error:  # of whatever kind an operation raises
            raise InputError(f"the network cannot be run on these inputs ({first_line(error)}).") from error
        found.append(flat(output)[None] if samples.whole else rows(output, len(batch[0]))[:count])
    return torch.cat(found), evaluations


@torch.no_grad()
def single_answers(model: nn.Module, samples: Samples) -> Tensor:
    """Return the one tensor that a network gives, (n, ...).

    Raises:
        InputError: it gives several.
    """
    found = []
    for batch, count in samples.batches():
        found.append(single(samples.ask(model, batch)[0], len(batch[0]))[:count])
    return torch.cat(found)
