"""The operations of an exported module in the order in which they are executed, and the tensors that it holds."""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.export.graph_signature import InputKind
from torch.fx import Graph, GraphModule, Node

from integrand.core.errors import InputError, first_line

HELD = {InputKind.PARAMETER, InputKind.BUFFER, InputKind.CONSTANT_TENSOR}
CHECKS = ("aten._assert", "aten.sym_constrain")


@dataclass(frozen=True, kw_only=True, eq=False)
class ExportedGraph:
    """A module's operations on tensors, in order.

    Attributes:
        program: what was exported; its operations write to no tensor in place.
        operations: calls that give tensors. Sums and products of sizes are no operations.
        held: the parameters, buffers and constants that the module holds, by their node.
        names: their qualified names.
        learned: the nodes of ``held`` that are parameters.
        inputs: nodes of what the user gives, in the flat order of arguments.
        outputs: nodes or constants of what is returned, in flat order.
        training: what behaves as in training, such as ``"batch_norm"``; empty for a module that was exported in
            evaluation mode.
    """

    program: ExportedProgram
    operations: tuple[Node, ...]
    held: Mapping[Node, Tensor]
    names: Mapping[Node, str]
    learned: frozenset[Node]
    inputs: tuple[Node, ...]
    outputs: tuple[Any, ...]
    training: tuple[str, ...]

    @property
    def example(self) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        """The arguments that the module was exported with, positional and by name, or None where none are kept."""
        return self.program.example_inputs

    @classmethod
    def of(cls, program: ExportedProgram) -> "ExportedGraph":
        """Read an exported program."""
        training = _in_training(program)
        if any(_in_place(node) for node in program.graph.nodes):
            with warnings.catch_warnings():  # of torch's own, about its own
                warnings.simplefilter("ignore", FutureWarning)
                program = program.run_decompositions({})
        signature, nodes = program.graph_signature, list(program.graph.nodes)
        placeholders = [node for node in nodes if node.op == "placeholder"]
        held: dict[Node, Tensor] = {}
        names: dict[Node, str] = {}
        learned, inputs = set(), []
        for node, spec in zip(placeholders, signature.input_specs, strict=True):
            if spec.kind in HELD and spec.target is not None:
                stored = program.state_dict.get(spec.target, program.constants.get(spec.target))
                if isinstance(stored, Tensor):
                    held[node], names[node] = stored, spec.target
                    learned |= {node} if spec.kind is InputKind.PARAMETER else set()
            elif spec.kind is InputKind.USER_INPUT:
                inputs.append(node)
        calls = [node for node in nodes if node.op == "call_function" and not _is_check(node) and not is_size(node)]
        (output,) = (node for node in nodes if node.op == "output")
        return cls(
            program=program,
            operations=tuple(calls),
            held=held,
            names=names,
            learned=frozenset(learned),
            inputs=tuple(inputs),
            outputs=tuple(output.args[0]),
            training=training,
        )


def exported_graph(module: nn.Module | ExportedProgram, example_inputs: Sequence[Any] | None = None) -> ExportedGraph:
    """Export a module and read its operations; a program that was exported is read as it is.

    The first dimension of each input is left free where the module allows it, which takes two samples or more.

    Args:
        module: a module in evaluation mode, or what ``torch.export.export`` or ``torch.export.load`` returned.
        example_inputs: positional arguments to export a module with.

    Raises:
        InputError: a module without example inputs, or one that cannot be exported.

    Example:
        >>> graph = exported_graph(nn.Sequential(nn.Linear(3, 4), nn.Tanh()), [torch.ones(2, 3)])
        >>> [operation_name(node) for node in graph.operations], sorted(graph.names.values())
        (['linear', 'tanh'], ['0.bias', '0.weight'])
    """
    if isinstance(module, ExportedProgram):
        return ExportedGraph.of(module)
    if example_inputs is None:
        raise InputError("a module is exported with example inputs: give example_inputs, such as a batch of two.")
    arguments = tuple(example_inputs)
    try:
        try:
            free = tuple({0: Dim.AUTO} if isinstance(each, Tensor) and each.dim() else None for each in arguments)
            return ExportedGraph.of(torch.export.export(module, arguments, dynamic_shapes=free))
        except Exception:  # whatever it is, sizes that are fixed may cure it
            return ExportedGraph.of(torch.export.export(module, arguments))
    except Exception as error:  # torch raises errors of many kinds
        raise InputError(
            f"torch.export cannot export the {type(module).__name__} ({first_line(error)}): its forward may branch on "
            "values."
        ) from error


def operation_name(node: Node) -> str:
    """Return an operation's plain name, such as ``"linear"``."""
    name = getattr(node.target, "_opname", None) or getattr(node.target, "__name__", str(node.target))
    return str(name).strip("_")


def is_operation(node: Node, *names: str) -> bool:
    """Return whether a node calls one of these ATen operations, in any overload."""
    return node.op == "call_function" and operation_name(node) in names


def is_size(node: Node) -> bool:
    """Return whether a node gives a size, a number that follows from the shapes of the inputs."""
    return isinstance(node.meta.get("val"), torch.SymInt | torch.SymFloat | torch.SymBool | int | float | bool)


def shape_of(node: Node) -> tuple[str, ...] | None:
    """Return the shape of the tensor that a node gives, free sizes by their symbol, or None where it gives another."""
    value = node.meta.get("val")
    return tuple(str(size) for size in value.shape) if isinstance(value, Tensor) else None


def graph_part(
    graph: ExportedGraph, outputs: Sequence[Any], given: Sequence[Node], *, held: Mapping[Node, Tensor]
) -> GraphModule:
    """Return the part of a graph between some of its nodes, as a module that returns a tuple.

    Args:
        graph: the whole.
        outputs: what the part returns: nodes, constants, or sums of nodes, each a sequence of (coefficient, node).
        given: the nodes that are its arguments, in this order.
        held: the tensors that become its own parameters and buffers, by the node of ``graph.held`` they stand for.

    Raises:
        InputError: it needs an input of the module that is not given.
    """
    made, env = Graph(), {}
    for number, node in enumerate(given):
        env[node] = made.placeholder(f"given_{number}")
    attributes: dict[str, Any] = {}
    needed = ancestors([node for each in outputs for node in _nodes(each)], given)
    for node in graph.program.graph.nodes:
        if node not in needed or node in env:
            continue
        if node in held:
            attributes[graph.names[node]] = held[node]
            env[node] = made.get_attr(graph.names[node])
        elif node.op == "placeholder":
            raise InputError(f"a part of the module needs {graph.names.get(node, node.name)}, which is not given.")
        else:
            if node.op == "get_attr":
                attributes[str(node.target)] = getattr(graph.program.graph_module, str(node.target))
            env[node] = made.node_copy(node, lambda old: env[old])
    made.output(tuple(_returned(made, env, each) for each in outputs))
    return GraphModule(attributes, made)


def ancestors(outputs: Iterable[Node], stops: Iterable[Node]) -> set[Node]:
    """Return the nodes that some are computed from, themselves included, without looking behind ``stops``."""
    found, closed, waiting = set(), set(stops), list(outputs)
    while waiting:
        node = waiting.pop()
        if node not in found:
            found.add(node)
            waiting += [] if node in closed else node.all_input_nodes
    return found


def _returned(made: Graph, env: Mapping[Node, Node], output: Any) -> Any:
    if isinstance(output, Node):
        return env[output]
    if not isinstance(output, list | tuple):
        return output
    total = None
    for coefficient, node in output:
        term = env[node] if coefficient == 1 else made.call_function(torch.mul, (env[node], coefficient))
        total = term if total is None else made.call_function(torch.add, (total, term))
    return total


def _nodes(output: Any) -> list[Node]:
    if isinstance(output, Node):
        return [output]
    return [node for _, node in output] if isinstance(output, list | tuple) else []


def _is_check(node: Node) -> bool:
    return str(node.target).startswith(CHECKS)


def _in_place(node: Node) -> bool:
    schema = getattr(node.target, "_schema", None)
    return schema is not None and schema.is_mutable and not _is_check(node)


def _in_training(program: ExportedProgram) -> tuple[str, ...]:
    """Return the operations that draw at random or move statistics, as they do in training."""
    found = {"batch_norm"} if program.graph_signature.buffers_to_mutate else set()
    for node in program.graph.nodes:
        name = operation_name(node) if node.op == "call_function" else ""
        if name in ("dropout", "native_dropout", "feature_dropout", "alpha_dropout") and node.args[1] and node.args[2]:
            found.add("dropout")
        if name == "batch_norm" and node.args[5]:
            found.add("batch_norm")
        if name in ("bernoulli", "rand_like", "randn_like", "rand", "randn"):
            found.add(name)
    return tuple(sorted(found))
