"""A trained network whose residual stacks are solved as the differential equations that they discretise."""

import copy
from collections.abc import Sequence
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.fx import Node
from torch.utils import _pytree as pytree

from integrand.core.analysis.exported_graph import ExportedGraph, ancestors, exported_graph, graph_part, shape_of
from integrand.core.analysis.residual_structure import ResidualChain, residual_chains, why_none
from integrand.core.errors import InputError
from integrand.core.models.depth_weights import Between
from integrand.core.models.residual_flow import OWN, ResidualFlow, Scheme, State


class ConvertedOutput(NamedTuple):
    """What a converted network gives, with how it came to it.

    Attributes:
        output: what the network returns.
        states: for each of its stacks the states at the depths 0, 1, ..., N, each a tuple of components (B, ...).
        evaluations: how often a right-hand side was evaluated.
    """

    output: Any
    states: list[list[State]]
    evaluations: int


class ConvertedODE(nn.Module):
    """A network with residual stacks, each as the flow of a differential equation from depth 0 to its N blocks.

        z = before(input),      dx/dt = f(x, theta(t)),  x(0) = z,      output = after(x(N)).

    The weights theta(t) are those of block l at t = l, and between l and l + 1 the same or on the line to the next
    block's. With ``method="own"`` and one step a block it is the network, to the rounding. More steps, or another
    method, come nearer to the solution of the equation; ``ResidualFlow`` tells which it is for stacks with several
    branches, with momentum and in two streams.

    What the network does around its stacks stays as it is. Weights can be trained further: those of the blocks are one
    tensor (N, ...) for all. Batch normalisation keeps the statistics that it has, dropout is left out, in training too.

    Its place on the map: model level; a residual network read as a neural ODE with weights that depend on time.

    Args:
        module: the network in evaluation mode, or an exported program.
        example_inputs: positional arguments to export a module with, two samples or more.
        method: ``"own"``, the network's scheme, or an explicit Runge-Kutta method of ``solve_ode``.
        steps: equal steps a block; None lets an adaptive method choose them.
        weights: ``"constant"`` or ``"linear"`` between blocks.
        rtol: relative tolerance where steps are chosen.
        atol: absolute tolerance, likewise.

    Raises:
        InputError: no residual stack, a network that behaves as in training or reads its state between blocks.

    Example:
        >>> class Block(nn.Linear):
        ...     def forward(self, x):
        ...         return x + super().forward(x).tanh()
        >>> network, x = nn.Sequential(nn.Linear(3, 4), Block(4, 4), Block(4, 4)), torch.ones(5, 3)
        >>> model = ConvertedODE(network, [x])
        >>> torch.allclose(model(x), network(x), atol=1e-6), model.refine(steps=4).solve(x).evaluations
        (True, 8)

    Source: Weinan E (2017), A proposal on machine learning via dynamical systems; Chen, Rubanova, Bettencourt and
    Duvenaud (2018), Neural ordinary differential equations; on weights between layers: Queiruga, Erichson, Taylor and
    Mahoney (2020), Continuous-in-depth neural networks.
    """

    def __init__(
        self,
        module: nn.Module | ExportedProgram | ExportedGraph,
        example_inputs: Sequence[Any] | None = None,
        *,
        method: str = OWN,
        steps: int | None = 1,
        weights: Between = "constant",
        rtol: float = 1e-6,
        atol: float = 1e-8,
    ) -> None:
        super().__init__()
        self.scheme = Scheme(method=method, steps=steps, weights=weights, rtol=rtol, atol=atol)
        graph = module if isinstance(module, ExportedGraph) else exported_graph(module, example_inputs)
        if graph.training:
            raise InputError(
                f"the network was exported as it is in training ({', '.join(graph.training)}): call its .eval() first."
            )
        chains = residual_chains(graph)
        if not chains:
            raise InputError(f"no residual stack was found in the network: {why_none(graph)}.")
        for chain in chains:
            _refuse_taps(chain)
        held = _held(graph)
        self.shapes = tuple(shape_of(node) for node in graph.inputs)
        self.inputs = tuple(node.name for node in graph.inputs)
        specs: Any = graph.program.call_spec
        self._in_spec, self._out_spec = specs.in_spec, specs.out_spec
        parts = _parts(graph, chains)
        self.reads = tuple(tuple(node.name for node in given) for given, _ in parts)
        self.gives = tuple(tuple(getattr(node, "name", "") for node in made) for _, made in parts)
        self.parts = nn.ModuleList(graph_part(graph, made, given, held=held) for given, made in parts)
        self.flows = nn.ModuleList(ResidualFlow(chain, held) for chain in chains)
        self.enters = tuple(_names(chain.repeated.before) for chain in chains)
        self.fixed = tuple(_names(chain.repeated.fixed) for chain in chains)
        self.varying = tuple(tuple(_names(nodes) for nodes in chain.repeated.varying) for chain in chains)
        self.leaves = tuple(_names(_last(chain)) for chain in chains)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Return what the network returns for its arguments."""
        return self.solve(*args, **kwargs).output

    def solve(self, *args: Any, **kwargs: Any) -> ConvertedOutput:
        """Return what the network returns, with the states of its stacks and the evaluations.

        Raises:
            InputError: arguments of another number or shape than the network was exported with.
        """
        values: dict[str, Any] = dict(zip(self.inputs, self._checked(args, kwargs), strict=True))
        states, evaluations, made = [], 0, ()
        for number, part in enumerate(self.parts):
            made = part(*(values[name] for name in self.reads[number]))
            values |= zip(self.gives[number], made, strict=True)
            if number < len(self.flows):
                found, count = self._flow(number, values)
                values |= zip(self.leaves[number], found[-1], strict=True)
                states.append(found)
                evaluations += count
        return ConvertedOutput(pytree.tree_unflatten(made, self._out_spec), states, evaluations)

    def refine(
        self, *, steps: int | None = None, method: str | None = None, weights: Between | None = None
    ) -> "ConvertedODE":
        """Return the same network, with the same tensors as weights, solved in another way.

        Args:
            steps: equal steps a block; as they are where None.
            method: as it is where None.
            weights: as they are where None.
        """
        made, now = copy.copy(self), self.scheme
        made.scheme = Scheme(
            method=now.method if method is None else method,
            steps=now.steps if steps is None else steps,
            weights=now.weights if weights is None else weights,
            rtol=now.rtol,
            atol=now.atol,
        )
        return made

    def _flow(self, number: int, values: dict[str, Any]) -> tuple[list[State], int]:
        return self.flows[number](
            tuple(values[name] for name in self.enters[number]),
            [values[name] for name in self.fixed[number]],
            [[values[name] for name in names] for names in self.varying[number]],
            self.scheme,
        )

    def _checked(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
        leaves, spec = pytree.tree_flatten((args, kwargs))
        if len(leaves) != len(self.inputs) or spec != self._in_spec:
            raise InputError(f"the network takes {len(self.inputs)} inputs as it was exported with, got {len(leaves)}.")
        for name, shape, given in zip(self.inputs, self.shapes, leaves, strict=True):
            if shape is None or not isinstance(given, Tensor):
                continue
            known = [
                (size, int(want)) for size, want in zip(given.shape[1:], shape[1:], strict=False) if want.isdigit()
            ]
            if given.dim() != len(shape) or any(size != want for size, want in known):
                wanted = ", ".join(("B", *shape[1:]) if shape else ())
                raise InputError(f"input {name} must have shape ({wanted}), got {tuple(given.shape)}.")
        return leaves


def _names(nodes: Sequence[Node]) -> tuple[str, ...]:
    return tuple(node.name for node in nodes)


def _last(chain: ResidualChain) -> tuple[Node, ...]:
    return tuple(chain.repeated.segments[-1][at] for at in chain.repeated.carried)


def _held(graph: ExportedGraph) -> dict[Node, Tensor]:
    """Return copies of what a network holds, one for each tensor however many names it has."""
    copies: dict[Any, Tensor] = {}
    held = {}
    for node, stored in graph.held.items():
        key = (stored.data_ptr(), stored.shape, stored.stride()) if stored.numel() else node
        if key not in copies:
            copied = stored.detach().clone()
            copies[key] = nn.Parameter(copied) if node in graph.learned and copied.is_floating_point() else copied
        held[node] = copies[key]
    return held


def _refuse_taps(chain: ResidualChain) -> None:
    if chain.repeated.taps:
        raise InputError(
            f"the network reads its state between the {chain.blocks} blocks ({chain.repeated.taps[0].name}): only one "
            "that goes on from the last state can be converted."
        )


def _parts(graph: ExportedGraph, chains: Sequence[ResidualChain]) -> list[tuple[list[Node], list[Any]]]:
    """Return what each part between the stacks reads and makes, from the first part to the last."""
    order = {node: number for number, node in enumerate(graph.program.graph.nodes)}
    ends = [order[graph.operations[chain.repeated.stop - 1]] for chain in chains]
    inside = {node for chain in chains for nodes in chain.repeated.segments for node in nodes}
    final = {node for chain in chains for node in _last(chain)}

    def part_of(node: Node) -> int:
        return sum(order[node] > end for end in ends)

    found: list[tuple[list[Node], list[Any]]] = []
    needed = dict.fromkeys(node for node in graph.outputs if isinstance(node, Node))
    for number in range(len(chains), -1, -1):
        here = [node for node in needed if part_of(node) == number and node not in final and node.op != "placeholder"]
        made: list[Any] = list(graph.outputs) if number == len(chains) else here
        reached = ancestors(
            [node for node in made if isinstance(node, Node)],
            [node for node in order if node.op == "placeholder" or part_of(node) != number or node in final],
        )
        given = [node for node in reached if node.op == "placeholder" or part_of(node) != number or node in final]
        given = sorted((node for node in given if node not in graph.held), key=order.__getitem__)
        if reached & inside - final:
            raise InputError("the network reads sizes within its blocks that its inputs do not tell: export it anew.")
        found.append((given, made))
        needed |= dict.fromkeys(given)
        if number:
            repeated = chains[number - 1].repeated
            varying = [node for nodes in repeated.varying for node in nodes]
            needed |= dict.fromkeys([*repeated.before, *repeated.fixed, *varying])
    return found[::-1]
