"""What one block of a network does to its state: which parts of it are steps of a differential equation."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from torch.fx import Node

from integrand.core.analysis.exported_graph import is_operation, operation_name, shape_of
from integrand.core.analysis.repeated_segments import RepeatedSegments

Rule = Literal["euler", "relaxation", "splitting", "projected", "composite", "momentum", "second order", "reversible"]
"""Which discretisation a block is.

euler: x + a f(x). relaxation: x + z (f(x) - x). splitting: several residual branches, one after another. projected: the
positive part of x + f(x). composite: residual branches with other maps after them, such as a normalisation. momentum:
v = g v + c f(x), x = x + b v with g < 1. second order: the same at g = 1. reversible: two streams, each moved by the
other.
"""
Terms = tuple[tuple[float, Node], ...]
"""A sum of values, as coefficients and nodes."""
PASSED_ON = ("contiguous", "clone", "alias", "detach", "dropout", "feature_dropout", "lift_fresh_copy")
"""Operations that hand on their first argument; dropout does in evaluation mode."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Stage:
    """One update of a block: a component of the state is increased by a sum.

    Attributes:
        component: which of the state's components is moved.
        increment: by what, nodes of the second block.
        reads: the nodes that stand for the state's components when this stage begins.
        sum: the node that the component is then; None where no node is.
        after: the node that the component is after a map that follows, such as the positive part; None without one.
    """

    component: int
    increment: Terms
    reads: tuple[Node, ...]
    after: Node | None = None
    sum: Node | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class UpdateRule:
    """How a block moves its state, and what that discretises.

    Attributes:
        rule: a name of ``Rule``.
        stages: the updates, each of which sees those before it.
        scale: a of ``x + a f(x)``, z of a relaxation, b (1 - g) ... of momentum; 1 where there are several branches.
        memory: g of a momentum, 1 else.
    """

    rule: Rule
    stages: tuple[Stage, ...]
    scale: float = 1.0
    memory: float = 1.0


def update_rule(repeated: RepeatedSegments) -> UpdateRule | None:
    """Return what the blocks do to their state, or None where they do not add to it."""
    block = repeated.segments[1]
    old = tuple(repeated.segments[0][at] for at in repeated.carried)
    new = tuple(block[at] for at in repeated.carried)
    if len(old) == 1:
        return _single(block, old[0], new[0])
    if len(old) == 2 and shape_of(old[0]) == shape_of(old[1]):
        return _pair(block, old, new)
    return None


def expand(node: Node, stops: Iterable[Node], within: Iterable[Node]) -> dict[Node, float]:
    """Return a node as a sum of nodes with coefficients, opened as far as sums, differences and multiples go.

    Args:
        node: of a graph.
        stops: nodes that are not opened.
        within: the nodes that may be.
    """
    closed, inside = set(stops), set(within)
    found: dict[Node, float] = {}

    def add(each: Node, factor: float) -> None:
        parts = None if each in closed or each not in inside else _parts(each)
        if parts is None:
            found[each] = found.get(each, 0.0) + factor
            return
        for coefficient, part in parts:
            add(part, factor * coefficient)

    add(node, 1.0)
    return found


def _parts(node: Node) -> list[tuple[float, Node]] | None:
    """Return the sum that an operation forms of tensors of its own shape, or None where it forms none."""
    first, *others = node.args
    second = others[0] if others else node.kwargs.get("other")
    whole = shape_of(node)
    tensors = [each for each in (first, second) if isinstance(each, Node)]
    if not tensors or any(shape_of(each) != whole for each in tensors):
        return None
    if is_operation(node, *PASSED_ON) and isinstance(first, Node):
        return [(1.0, first)]
    if is_operation(node, "neg") and isinstance(first, Node):
        return [(-1.0, first)]
    alpha = node.kwargs.get("alpha", others[1] if len(others) > 1 else 1)
    if (
        is_operation(node, "add", "add_", "sub", "sub_", "rsub")
        and isinstance(alpha, int | float)
        and len(tensors) == 2
    ):
        name = operation_name(node).strip("_")
        signs = {"add": (1.0, float(alpha)), "sub": (1.0, -float(alpha)), "rsub": (-float(alpha), 1.0)}[name]
        return list(zip(signs, tensors, strict=True))
    if len(tensors) == 1 and isinstance(first, int | float | Node) and isinstance(second, int | float | Node):
        number = second if isinstance(first, Node) else first
        if not isinstance(number, Node) and is_operation(node, "mul", "mul_"):
            return [(float(number), tensors[0])]
        if not isinstance(number, Node) and is_operation(node, "div", "div_") and number and isinstance(first, Node):
            return [(1 / float(number), tensors[0])]
    if is_operation(node, "lerp") and len(tensors) == 2 and isinstance(weight := others[1], int | float):
        return [(1 - float(weight), tensors[0]), (float(weight), tensors[1])]
    return None


def _single(block: Sequence[Node], x: Node, y: Node) -> UpdateRule | None:
    """Return the rule of a block with one value as its state."""
    stages: list[Stage] = []
    start, maps, own, terms = x, 0, 1.0, {}
    for node in _bottlenecks(block, x, y):
        added = expand(node, [start], block)
        kept = added.pop(start, 0.0)
        if kept and not added:  # a multiple of the sum before
            if kept != 1 and not stages:
                maps += 1
            elif kept != 1:
                begun = stages.pop().reads[0]
                terms = expand(node, [begun], block)
                own = terms.pop(begun)
                stages.append(_stage(begun, node, own, terms))
        elif kept:
            own, terms = kept, added
            stages.append(_stage(start, node, own, terms))
        elif stages and stages[-1].after is None and is_operation(node, "relu") and not maps:
            stages[-1] = replace(stages[-1], after=node)
        else:
            maps += 1
        start = node
    whole = Stage(component=0, increment=((1.0, y), (-1.0, x)), reads=(x,), sum=y)
    if not stages:
        return UpdateRule(rule="relaxation", stages=(whole,)) if _gated(expand(y, [x], block), x) else None
    positive = any(stage.after is not None for stage in stages)
    if maps or (positive and (len(stages) > 1 or own != 1)):
        return UpdateRule(rule="composite", stages=(whole,))
    if len(stages) > 1:
        return UpdateRule(rule="splitting", stages=tuple(stages))
    scale = next(iter(terms.values())) if len(terms) == 1 else 1.0
    rule: Rule = "projected" if positive else "relaxation" if own != 1 or _gated(terms, x) else "euler"
    return UpdateRule(rule=rule, stages=tuple(stages), scale=scale, memory=own)


def _stage(start: Node, node: Node, own: float, terms: Mapping[Node, float]) -> Stage:
    return Stage(component=0, increment=_increment(start, own, terms), reads=(start,), sum=node)


def _increment(start: Node, own: float, terms: Mapping[Node, float]) -> Terms:
    """Return what is added to ``start`` where it is kept ``own`` times: own - 1 times itself, and the other terms."""
    kept = ((own - 1.0, start),) if own != 1 else ()
    return (*((factor, node) for node, factor in terms.items()), *kept)


def _bottlenecks(block: Sequence[Node], x: Node, y: Node) -> list[Node]:
    """Return the nodes of a block through which all that y sees of x must pass, in order; y is the last."""
    place: dict[Node, int] = {x: -1}
    for number, node in enumerate(block):
        if any(each in place for each in node.all_input_nodes):
            place[node] = number
    useful = {y}
    for node in reversed(block):
        if node in useful:
            useful |= {each for each in node.all_input_nodes if each in place}
    furthest, found = -1, []
    for node in sorted(useful & place.keys(), key=place.__getitem__):
        if place[node] >= furthest and node is not x:
            found.append(node)
        furthest = max([furthest, *(place[user] for user in node.users if user in useful and user in place)])
    return found


def _gated(terms: Mapping[Node, float], x: Node) -> bool:
    """Return whether a sum is (1 - z) x + z f or x + z (f - x), with z a tensor."""
    for node in terms:
        factors = [each for each in node.args if isinstance(each, Node)]
        if is_operation(node, "lerp") and factors[0] is x:
            return True
        if is_operation(node, "mul"):
            for one, other in (factors, factors[::-1]) if len(factors) == 2 else ():
                if one is x and (is_operation(other, "rsub") or is_operation(other, "sub")):
                    return True
                if is_operation(one, "sub") and len(one.args) > 1 and one.args[1] is x and other is not x:
                    return True
    return False


def _pair(block: Sequence[Node], old: Sequence[Node], new: Sequence[Node]) -> UpdateRule | None:
    """Return the rule of a block with two values as its state, the first updated of which the other sees."""
    first, second = sorted((0, 1), key=lambda number: block.index(new[number]))
    early = expand(new[first], old, block)
    kept = early.pop(old[first], 0.0)
    late = expand(new[second], [*old, new[first]], block)
    kept_late = late.pop(old[second], 0.0)
    seen = _sources(new[second], block, {*old, new[first]})
    if not (kept and early and late and kept_late) or old[first] in seen or new[first] not in seen:
        return None
    stages = (
        Stage(component=first, increment=_increment(old[first], kept, early), reads=tuple(old)),
        Stage(
            component=second,
            increment=_increment(old[second], kept_late, late),
            reads=tuple(new[first] if number == first else old[number] for number in (0, 1)),
        ),
    )
    stops = {*old, new[first]}
    if old[first] in _all_sources(early, block, stops) or old[second] in _all_sources(late, block, stops):
        return None  # a component that moves itself by more than a multiple of itself
    for moved, by, velocity, memory in ((late, early, new[first], kept), (early, late, old[second], kept_late)):
        other = kept_late if moved is late else kept
        if set(moved) == {velocity} and other == 1 and 0 < memory <= 1:
            scale = moved[velocity] * (next(iter(by.values())) if len(by) == 1 else 1.0)
            rule: Rule = "momentum" if memory < 1 else "second order"
            return UpdateRule(rule=rule, stages=stages, scale=scale, memory=memory)
    return UpdateRule(rule="reversible", stages=stages) if kept == kept_late == 1 else None


def _all_sources(nodes: Iterable[Node], block: Sequence[Node], stops: set[Node]) -> set[Node]:
    return {s for node in nodes for s in ({node} if node in stops else _sources(node, block, stops))}


def _sources(node: Node, block: Sequence[Node], stops: set[Node]) -> set[Node]:
    """Return which of ``stops`` a node is computed from, without looking behind them."""
    inside, found, met, waiting = set(block), set(), {node}, [node]
    while waiting:
        for other in waiting.pop().all_input_nodes:
            if other in stops:
                found.add(other)
            elif other in inside and other not in met:
                met.add(other)
                waiting.append(other)
    return found
