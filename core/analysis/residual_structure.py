"""Residual stacks within a network, and the differential equations that they discretise."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, takewhile
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.fx import Node

from integrand.core.analysis.exported_graph import (
    ExportedGraph,
    ancestors,
    exported_graph,
    is_operation,
    is_size,
    operation_name,
    shape_of,
)
from integrand.core.analysis.repeated_segments import RepeatedSegments, repeated_segments
from integrand.core.analysis.update_rule import Rule, UpdateRule, update_rule

LEFT_OUT = (
    *("getitem", "view", "reshape", "flatten", "unflatten", "squeeze", "unsqueeze", "expand", "select", "slice"),
    *("transpose", "permute", "t", "contiguous", "clone", "alias", "detach", "dropout", "to", "chunk", "split"),
)
"""Operations that are not told: they move values about and change none."""
PLAIN = {
    "native_batch_norm_legit_no_training": "batch_norm",
    "native_batch_norm_legit_functional": "batch_norm",
    "native_layer_norm": "layer_norm",
    "scaled_dot_product_attention": "attention",
    "zeros_like": "zeros",
    "new_zeros": "zeros",
}
"""Plain names of operations."""
SYSTEMS = {
    "euler": "forward Euler with unit step for dx/dt = {a}f({x})",
    "relaxation": "a step of relaxation, forward Euler with unit step for dx/dt = z (f({x}) - x)",
    "leak": "forward Euler with unit step for dx/dt = {a}f({x}) - {lost:g} x",
    "splitting": "Lie-Trotter splitting with unit step, an Euler step for each branch in turn, of dx/dt = {sum}",
    "projected": "projected forward Euler with unit step for dx/dt = f({x}) held at x >= 0",
    "composite": "forward Euler with unit step for dx/dt = block({x}) - x, whose slope is what a block changes",
    "momentum": "symplectic Euler with unit step for {mass:g} x'' + x' = {gain}f({x}), position and velocity",
    "second order": "symplectic Euler with unit step for x'' = {a}f({x}), position and velocity",
    "reversible": "symplectic Euler with unit step for dx1/dt = F({x2}), dx2/dt = G({x1})",
}
"""What each rule discretises."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ResidualChain:
    """Blocks of a network that add to a state one after another.

    Attributes:
        graph: the network.
        repeated: the operations of each block, and what they read.
        rule: how a block moves the state.
    """

    graph: ExportedGraph
    repeated: RepeatedSegments
    rule: UpdateRule

    @property
    def blocks(self) -> int:
        """How many blocks there are."""
        return len(self.repeated.segments)

    @property
    def kind(self) -> Rule:
        """The name of the rule by which a block moves its state."""
        return self.rule.rule

    @property
    def scale(self) -> float:
        """The a of x + a f(x)."""
        return self.rule.scale

    @property
    def shared(self) -> bool:
        """Whether all blocks have the same weights, and have some."""
        return bool(self.repeated.weights) and all(self.same(nodes) for nodes in self.repeated.weights)

    @property
    def varying_input(self) -> bool:
        """Whether each block reads an input of its own beside the state."""
        return bool(self.repeated.varying)

    @property
    def context(self) -> int:
        """How many tensors from outside all blocks read alike, such as a mask."""
        return sum(shape_of(node) is not None for node in self.repeated.fixed)

    @property
    def state_shape(self) -> tuple[str, ...]:
        """Shape of one component of the state, free sizes by a symbol."""
        return shape_of(self.repeated.before[0]) or ()

    @property
    def parameters(self) -> int:
        """How many numbers one block learns with."""
        first = {nodes[0] for nodes in self.repeated.weights}
        return sum(self.graph.held[node].numel() for node in first if node in self.graph.learned)

    @property
    def operations(self) -> tuple[str, ...]:
        """What a block does, by name."""
        return operation_names(self.repeated.segments[0])

    @property
    def before(self) -> tuple[str, ...]:
        """What the network does before the blocks, by name."""
        return operation_names(self.graph.operations[: self.repeated.start])

    @property
    def after(self) -> tuple[str, ...]:
        """What the network does after the blocks, by name."""
        return operation_names(self.graph.operations[self.repeated.stop :])

    @property
    def places(self) -> tuple[str, ...]:
        """Names of the blocks, such as ``"layers.0"``: what the names of their tensors begin with; "" for none."""
        if self.shared:
            return ("",) * self.blocks
        own = [nodes for nodes in self.repeated.weights if not self.same(nodes)]
        return tuple(_place([self.graph.names[nodes[number]] for nodes in own]) for number in range(self.blocks))

    @property
    def equation(self) -> str:
        """What the stack discretises, in words."""
        rule = self.rule
        kind = "leak" if self.kind == "relaxation" and rule.memory != 1 and rule.memory + rule.scale != 1 else self.kind
        lost = 1 - rule.memory
        others = [
            *(["u(t)"] if self.varying_input else []),
            *([] if self.shared or not self.parameters else ["theta(t)"]),
        ]
        seen = {name: ", ".join([name, *others]) for name in ("x", "x1", "x2")}
        told = SYSTEMS[kind].format(
            **seen,
            a="" if rule.scale == 1 else f"{rule.scale:g} ",
            lost=lost,
            mass=1 / lost if lost else 0,
            gain="" if not lost or abs(rule.scale / lost - 1) < 1e-6 else f"{rule.scale / lost:g} ",
            sum=" + ".join(f"f{number + 1}({seen['x']})" for number in range(len(rule.stages))),
        )
        return f"{told} on [0, {self.blocks}]"

    @property
    def statement(self) -> str:
        """The stack in one sentence: how many blocks of which kind, and what they discretise."""
        places = [place for place in (self.places[0], self.places[-1]) if place]
        where = f", named {' to '.join(places)}" if places else ""
        weights = "one and the same weights in all" if self.shared else "weights not shared"
        own = ", each with an input of its own" if self.varying_input else ""
        beside = f", {self.context} more inputs to all alike" if self.context else ""
        return (
            f"{self.blocks} residual blocks of the same shape{where} ({', '.join(self.operations)}; "
            f"{self.parameters:,} parameters each), {weights}{own}{beside}: {self.equation}."
        )

    def same(self, nodes: Sequence[Node]) -> bool:
        """Return whether nodes hold one and the same tensor."""
        first = self.graph.held[nodes[0]]
        return all(node is nodes[0] or _one_tensor(first, self.graph.held[node]) for node in nodes)

    def weights(self) -> list[Tensor]:
        """Return the blocks' parameters that differ between blocks, each stacked as (blocks, ...)."""
        kept = [nodes for nodes in self.repeated.weights if nodes[0] in self.graph.learned and not self.same(nodes)]
        return [torch.stack([self.graph.held[node].detach() for node in nodes]) for nodes in kept]


def residual_chains(
    module: nn.Module | ExportedProgram | ExportedGraph, example_inputs: Sequence[Any] | None = None
) -> list[ResidualChain]:
    """Return the residual stacks of a network, in the order in which they are executed.

        x_{l+1} = x_l + a f(x_l; theta_l),      l = 0 ... N - 1.

    The network is exported by ``torch.export``; a stack is where the same operations with the same shapes follow one
    another and add to what they began with. How it was written, as a loop, an ``nn.Sequential`` or line by line, does
    not matter. See ``Rule`` for the kinds that are told apart.

    Args:
        module: a module in evaluation mode, a program that was exported, or its graph.
        example_inputs: positional arguments to export a module with.

    Raises:
        InputError: a module that cannot be exported.

    Example:
        >>> class Block(nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.inner, self.outer = nn.Linear(4, 8), nn.Linear(8, 4)
        ...     def forward(self, x):
        ...         return x + 0.5 * self.outer(torch.tanh(self.inner(x)))
        >>> network = nn.Sequential(nn.Linear(3, 4), Block(), Block(), Block(), nn.Linear(4, 1))
        >>> (chain,) = residual_chains(network, [torch.ones(2, 3)])
        >>> chain.blocks, chain.kind, chain.scale, chain.places
        (3, 'euler', 0.5, ('1', '2', '3'))

    Source: Haber and Ruthotto (2018), Stable architectures for deep neural networks; Lu, Zhong, Li and Dong (2018),
    Beyond finite layer neural networks; Lu et al. (2019), Understanding and improving transformer from a multi-particle
    dynamic system point of view, on splitting; Gomez, Ren, Urtasun and Grosse (2017), The reversible residual network.
    """
    graph = module if isinstance(module, ExportedGraph) else exported_graph(module, example_inputs)
    return _chains(graph, 0, len(graph.operations))


def why_none(graph: ExportedGraph) -> str:
    """Return what was found where there is no residual stack, for a message that says so.

    Example:
        >>> why_none(exported_graph(nn.Sequential(nn.Linear(4, 4), nn.Tanh()), [torch.ones(2, 4)]))
        'none of its operations (linear, tanh) adds to what it began with'
    """
    added = 0
    for node in graph.operations:
        reads = [each for each in node.all_input_nodes if each not in graph.held and shape_of(each) == shape_of(node)]
        if is_operation(node, "add", "sub") and len(reads) == 2:
            one, other = reads
            added += one in ancestors([other], graph.held) or other in ancestors([one], graph.held)
    if not added:
        told = ", ".join(dict.fromkeys(operation_names(graph.operations))) or "none"
        return f"none of its operations ({told}) adds to what it began with"
    return (
        f"additions of a branch to what it began with: {added}; but no two blocks that follow each other do the same "
        "to tensors of the same shapes"
    )


def _chains(graph: ExportedGraph, first: int, last: int) -> list[ResidualChain]:
    """Return the chains among some operations: the longest, and those on either side of it."""
    if not any(is_operation(node, "add", "sub", "lerp") for node in graph.operations[first:last]):
        return []
    for repeated in repeated_segments(graph, first, last):
        if (rule := update_rule(repeated)) is not None:
            found = ResidualChain(graph=graph, repeated=repeated, rule=rule)
            return [*_chains(graph, first, repeated.start), found, *_chains(graph, repeated.stop, last)]
    return []


def operation_names(nodes: Sequence[Node]) -> tuple[str, ...]:
    """Return the names of operations on tensors, without those that change no value."""
    names = [operation_name(node) for node in nodes if not is_size(node)]
    return tuple(PLAIN.get(name, name) for name in names if name not in LEFT_OUT)


def _place(names: Sequence[str]) -> str:
    """Return what names of tensors begin with, or the modules that they belong to where they share no beginning.

    Example:
        >>> _place(["layers.0.inner.weight", "layers.0.outer.weight"]), _place(["f.0.weight", "f.0.bias", "g.0.bias"])
        ('layers.0', 'f.0 and g.0')
    """
    parts = list(zip(*(name.split(".")[:-1] for name in names), strict=False))
    together = [each[0] for each in takewhile(lambda each: len(set(each)) == 1, parts)]
    if together:
        return ".".join(together)
    return " and ".join(dict.fromkeys(name.rpartition(".")[0] or name for name in names))


def _one_tensor(one: Tensor, other: Tensor) -> bool:
    return one is other or (one.data_ptr() == other.data_ptr() and one.shape == other.shape and one.numel() > 0)


def steps_taken(states: Sequence[Tensor]) -> list[float]:
    """Return |x_{l+1} - x_l| / |x_l| for the states of a stack, (B, ...) each, over all samples together.

    Example:
        >>> steps_taken([torch.ones(2, 3), torch.full((2, 3), 1.5)])
        [0.5]
    """
    with torch.no_grad():
        return [float((after - before).norm() / before.norm()) for before, after in pairwise(states)]
