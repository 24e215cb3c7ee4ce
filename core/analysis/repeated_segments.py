"""Where a sequence of operations is done again and again, each time to what the time before gave."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from torch.fx import Node

from integrand.core.analysis.exported_graph import ExportedGraph, is_operation, shape_of

PICKS = ("select", "slice")
"""Operations that take a part of a tensor."""


@dataclass(frozen=True, kw_only=True, eq=False)
class RepeatedSegments:
    """Consecutive segments with the same operations, the same shapes and the same flow of values.

    Attributes:
        start: place of the first operation among the graph's.
        stop: place of the first operation after them.
        segments: the operations of each, one tuple for each time.
        carried: places within a segment of the values that the next one reads: its state.
        before: what the first segment reads in their stead, in the same order.
        fixed: values from outside that all segments read.
        varying: values from outside of which each segment reads its own, one tuple for each place where one is read.
        weights: held tensors, one tuple for each place where one is read: what each segment reads there.
        taps: operations within the segments, besides the last state, that are read after them.
    """

    start: int
    stop: int
    segments: tuple[tuple[Node, ...], ...]
    carried: tuple[int, ...]
    before: tuple[Node, ...]
    fixed: tuple[Node, ...]
    varying: tuple[tuple[Node, ...], ...]
    weights: tuple[tuple[Node, ...], ...]
    taps: tuple[Node, ...]


def repeated_segments(graph: ExportedGraph, first: int = 0, last: int | None = None) -> Iterator[RepeatedSegments]:
    """Yield the repetitions among some operations of a graph, those that cover most first; they may overlap.

    Args:
        graph: operations in the order in which they are executed.
        first: place of the first operation to look at.
        last: place after the last one, None for all.
    """
    order: dict[Any, int] = {}
    looked_at = graph.operations[first:last]
    kinds = np.array([order.setdefault(_kind(graph, node), len(order)) for node in looked_at], dtype=np.int64)
    candidates = sorted(_tandem(kinds), key=lambda run: (-run[1] * run[2], -run[2], run[0]))
    found: list[RepeatedSegments] = []
    # Rotations of one repetition cover equally much: the one that carries least is the one that was meant.
    size = None
    for start, period, times in candidates:
        if size is not None and (period * times, times) != size:
            yield from sorted(found, key=lambda each: len(each.carried))
            found = []
        size = (period * times, times)
        if (flow := _flow(graph, first + start, period, times)) is not None:
            found.append(flow)
    yield from sorted(found, key=lambda each: len(each.carried))


def _kind(graph: ExportedGraph, node: Node) -> Any:
    """Return what two operations must share to be the same: all but which values they read."""

    def told(value: Any) -> Any:
        if isinstance(value, Node):
            return ("held", shape_of(value)) if value in graph.held else ("value", shape_of(value))
        if isinstance(value, list | tuple):
            return tuple(told(each) for each in value)
        if isinstance(value, Mapping):
            return tuple((key, told(each)) for key, each in sorted(value.items()))
        return str(value)

    arguments = node.args[:1] if is_operation(node, *PICKS) else node.args
    return str(node.target), shape_of(node), told(arguments), told(node.kwargs)


def _tandem(kinds: np.ndarray) -> Iterator[tuple[int, int, int]]:
    """Yield start, period and times of every sequence that is repeated at once, in each of its rotations.

    Example:
        >>> list(_tandem(np.array([7, 1, 2, 1, 2, 1])))
        [(1, 2, 2), (2, 2, 2)]
    """
    for period in range(1, len(kinds) // 2 + 1):
        same = np.concatenate([[False], kinds[:-period] == kinds[period:], [False]])
        edges = np.flatnonzero(same[1:] != same[:-1])
        for first, last in zip(edges[::2], edges[1::2], strict=True):
            run = int(last - first)
            for shift in range(min(period, run - period + 1)):
                yield int(first) + shift, period, (run - shift) // period + 1


def _flow(graph: ExportedGraph, start: int, period: int, times: int) -> RepeatedSegments | None:
    """Return the segments with what flows between them, or None where it does not flow the same way each time."""
    operations = graph.operations[start : start + period * times]
    if (kept := _without_picks(operations, period)) is None:
        return None
    segments = tuple(tuple(operations[first + at] for at in kept) for first in range(0, len(operations), period))
    place = {node: (number, at) for number, nodes in enumerate(segments) for at, node in enumerate(nodes)}
    read: list[tuple[Node, ...]] = []
    for nodes in zip(*segments, strict=True):
        inputs = [_in_order(node, number, place) for number, node in enumerate(nodes)]
        if len({len(each) for each in inputs}) > 1:
            return None
        read += list(zip(*inputs, strict=True))
    carried: dict[int, Node] = {}
    fixed: dict[Node, None] = {}
    varying: dict[tuple[Node, ...], None] = {}
    weights: dict[tuple[Node, ...], None] = {}
    for nodes in read:
        places = [place.get(node) for node in nodes]
        if all(node in graph.held for node in nodes):
            weights[nodes] = None
        elif places[0] is not None:  # made within the segment
            if any(at != (number, places[0][1]) for number, at in enumerate(places)):
                return None
        elif not _carries(nodes, places, carried):
            if any(places):
                return None
            if len(set(nodes)) == 1:
                fixed[nodes[0]] = None
            else:
                varying[nodes] = None
    if not carried or any(shape_of(segments[0][at]) != shape_of(node) for at, node in carried.items()):
        return None
    state = tuple(sorted(carried))
    last = {segments[-1][at] for at in state}
    elsewhere = {*graph.operations, graph.program.graph.output_node()} - set(operations)
    taps = [node for node in place if node not in last and not elsewhere.isdisjoint(node.users)]
    return RepeatedSegments(
        start=start,
        stop=start + period * times,
        segments=segments,
        carried=state,
        before=tuple(carried[at] for at in state),
        fixed=tuple(fixed),
        varying=tuple(varying),
        weights=tuple(weights),
        taps=tuple(taps),
    )


def _in_order(node: Node, number: int, place: Mapping[Node, tuple[int, int]]) -> list[Node]:
    """Return what a node of a segment reads: of a sum or product what comes from outside first, however it is written.

    Numbers and the like are no nodes; they were compared before.
    """
    inputs = list(node.all_input_nodes)
    if is_operation(node, "add", "mul") and not node.kwargs and len(inputs) == 2:
        inputs.sort(key=lambda each: place[each][1] if place.get(each, (-1, 0))[0] == number else -1)
    return inputs


def _without_picks(operations: tuple[Node, ...], period: int) -> list[int] | None:
    """Return which places of a segment do more than pick each its own part of a value from outside, as u[:, l] does.

    None where segments pick different parts of what is made within them.
    """
    inside, kept = set(operations), []
    for at in range(period):
        nodes = operations[at::period]
        if not is_operation(nodes[0], *PICKS):
            kept.append(at)
        elif any(inside.intersection(node.all_input_nodes) for node in nodes):
            if len({str(node.args[1:]) for node in nodes}) > 1:
                return None
            kept.append(at)
        else:
            inside.difference_update(nodes)
    return kept


def _carries(nodes: tuple[Node, ...], places: list[tuple[int, int] | None], carried: dict[int, Node]) -> bool:
    """Note a value that each segment but the first reads from the one before; return whether this is one."""
    if places[1] is None:
        return False
    at = places[1][1]
    if any(now is None or now != (number, at) for number, (_, now) in enumerate(pairwise(places))):
        return False
    return carried.setdefault(at, nodes[0]) is nodes[0]
