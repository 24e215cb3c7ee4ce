"""A residual stack as the differential equation that it discretises."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain as joined

import torch
from torch import Tensor, nn
from torch.fx import Node

from integrand.core.analysis.exported_graph import graph_part
from integrand.core.analysis.residual_structure import ResidualChain
from integrand.core.errors import InputError, unknown
from integrand.core.models.depth_weights import Between, DepthWeight, DepthWeights
from integrand.core.numerics.methods.registry import TABLEAUS
from integrand.core.numerics.methods.tableau import Tableau
from integrand.core.numerics.solve_ode import solve_ode

OWN = "own"
"""The scheme that the network itself is: with one step a block it gives what the network gives."""
State = tuple[Tensor, ...]


@dataclass(frozen=True, kw_only=True)
class Scheme:
    """How the equation is solved.

    Attributes:
        method: ``"own"`` or an explicit method of ``solve_ode``.
        steps: equal steps a block; None for steps chosen by the tolerances.
        weights: what the weights are between blocks, see ``Between``.
        rtol: relative tolerance where steps are chosen.
        atol: absolute tolerance, likewise.

    Raises:
        InputError: an unknown name, a number of steps below 1, a method that cannot choose its steps and has none.
    """

    method: str = OWN
    steps: int | None = 1
    weights: Between = "constant"
    rtol: float = 1e-6
    atol: float = 1e-8

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        if self.method not in (OWN, *TABLEAUS):
            raise unknown("method", self.method, (OWN, *TABLEAUS))
        if self.weights not in ("constant", "linear"):
            raise unknown("course of the weights", self.weights, ("constant", "linear"))
        if self.steps is None and (self.method == OWN or not TABLEAUS[self.method].adaptive):
            raise InputError(f"method {self.method!r} does not choose its steps: give steps, such as steps=4.")
        if self.steps is not None and self.steps < 1:
            raise InputError(f"steps must be 1 or more for each block, got {self.steps}.")


class ResidualFlow(nn.Module):
    """The flow of the equation that a residual stack discretises, from depth 0 to the number of its blocks N.

        d x_c / dt = sum over the branches i that move component c of f_i(x, theta(t))

    The stack's own scheme moves by one branch after another, each of which sees what those before it did:
    x_c <- x_c + h f_i(x, theta(t)). For one branch it is forward Euler, for several that move one state Lie-Trotter
    splitting, for two that move each the other's component symplectic Euler. At h = 1 it is the stack.

    Where a stack takes the positive part of its state after each block, so does each step: the equation is then
    projected to x >= 0, which the own scheme alone can do.

    Args:
        chain: what was recognised.
        held: tensors that the stack shares with other parts of the network, by their node.

    Raises:
        InputError: blocks that differ in constants which are no floating-point numbers.

    Example:
        >>> from integrand.core.analysis import residual_chains
        >>> class Block(nn.Linear):
        ...     def forward(self, x):
        ...         return x + super().forward(x).tanh()
        >>> (chain,) = residual_chains(nn.Sequential(Block(4, 4), Block(4, 4), Block(4, 4)), [torch.ones(5, 4)])
        >>> states, evaluations = ResidualFlow(chain, {})((torch.ones(5, 4),), [], [], Scheme(method="rk4", steps=2))
        >>> len(states), evaluations
        (4, 24)

    Source: Haber and Ruthotto (2018), Stable architectures for deep neural networks.
    """

    def __init__(self, chain: ResidualChain, held: dict[Node, Tensor]) -> None:
        super().__init__()
        repeated, graph = chain.repeated, chain.graph
        self.blocks, self.kind, self.equation = chain.blocks, chain.kind, chain.equation
        self.components = tuple(stage.component for stage in chain.rule.stages)
        self.positive = tuple(stage.after is not None for stage in chain.rule.stages)
        self.width = len(repeated.carried)
        self.weights = DepthWeights([_weight(chain, nodes, held) for nodes in repeated.weights])
        varying = [nodes[1] for nodes in repeated.varying]
        seen = [nodes[1] for nodes in repeated.weights]
        self.branches = nn.ModuleList(
            graph_part(graph, [stage.increment], [*stage.reads, *repeated.fixed, *varying, *seen], held={})
            for stage in chain.rule.stages
        )

    def forward(
        self, state: State, fixed: Sequence[Tensor], varying: Sequence[Sequence[Tensor]], scheme: Scheme
    ) -> tuple[list[State], int]:
        """Return the states at the depths 0, 1, ..., N, and how often the right-hand side was evaluated.

        Args:
            state: the components at depth 0, (B, ...) each.
            fixed: what all blocks read besides.
            varying: what each block reads besides, for each block; it is held until the next block's.
            scheme: how to solve.
        """
        if scheme.method != OWN and any(self.positive):
            raise InputError(
                f"method {scheme.method!r} would leave x >= 0, where the network keeps its state: use method='own'."
            )
        states, evaluations = [state], 0
        for layer in range(self.blocks):
            extra = (*fixed, *(each[layer] for each in varying))

            def weights(share: float | Tensor, layer: int = layer) -> list[Tensor]:
                return self.weights.at(layer, share, scheme.weights)

            if scheme.steps is None:
                state, count = self._adaptive(state, extra, weights, scheme)
            else:
                state, count = self._fixed(state, extra, weights, scheme.method, scheme.steps)
            states.append(state)
            evaluations += count
        return states, evaluations

    def _fixed(
        self, state: State, extra: tuple[Tensor, ...], weights: Callable[..., list[Tensor]], method: str, steps: int
    ) -> tuple[State, int]:
        for number in range(steps):
            if method == OWN:
                state = self._own_step(state, (*extra, *weights(number / steps)), 1 / steps)
            else:
                state = self._explicit_step(state, extra, weights, TABLEAUS[method], number / steps, 1 / steps)
        return state, steps * (1 if method == OWN else TABLEAUS[method].stages)

    def _own_step(self, state: State, extra: tuple[Tensor, ...], step: float) -> State:
        moved = list(state)
        for branch, component, positive in zip(self.branches, self.components, self.positive, strict=True):
            (slope,) = branch(*moved, *extra)
            moved[component] = moved[component] + (slope if step == 1 else step * slope)
            if positive:
                moved[component] = torch.relu(moved[component])
        return tuple(moved)

    def _explicit_step(
        self,
        state: State,
        extra: tuple[Tensor, ...],
        weights: Callable[..., list[Tensor]],
        tableau: Tableau,
        start: float,
        step: float,
    ) -> State:
        slopes: list[State] = []
        for row, share in zip(tableau.a, tableau.c, strict=True):
            here = _moved(state, row, slopes, step)
            slopes.append(self._slope(here, (*extra, *weights(start + share * step))))
        return _moved(state, tableau.b, slopes, step)

    def _slope(self, state: State, extra: tuple[Tensor, ...]) -> State:
        """Return the right-hand side of the equation, the sum of all branches at one state."""
        slope: list[Tensor | None] = [None] * len(state)
        for branch, component in zip(self.branches, self.components, strict=True):
            (term,) = branch(*state, *extra)
            known = slope[component]
            slope[component] = term if known is None else known + term
        return tuple(torch.zeros_like(x) if each is None else each for x, each in zip(state, slope, strict=True))

    def _adaptive(
        self, state: State, extra: tuple[Tensor, ...], weights: Callable[..., list[Tensor]], scheme: Scheme
    ) -> tuple[State, int]:
        # Block by block, so that no step straddles a depth at which the weights jump or bend.
        def field(t: Tensor, y: Tensor) -> Tensor:
            return torch.stack(self._slope(y.unbind(1), (*extra, *weights(t))), 1)

        y0 = torch.stack(state, 1)
        solution = solve_ode(field, y0, [0.0, 1.0], method=scheme.method, rtol=scheme.rtol, atol=scheme.atol)
        return solution.states[:, -1].unbind(1), int(solution.stats.evaluations.max())


def _moved(state: State, row: Sequence[float], slopes: Sequence[State], step: float) -> State:
    moved = list(state)
    for factor, slope in zip(row, slopes, strict=False):
        if factor:
            moved = [x + (step * factor) * k for x, k in zip(moved, slope, strict=True)]
    return tuple(moved)


def _weight(chain: ResidualChain, nodes: tuple[Node, ...], held: dict[Node, Tensor]) -> DepthWeight:
    """Return the tensors that the blocks read at one place."""
    graph, first = chain.graph, chain.graph.held[nodes[0]]
    names = [graph.names[node] for node in nodes]
    learned = nodes[0] in graph.learned
    if chain.same(nodes):
        return DepthWeight(names[0], held[nodes[0]] if nodes[0] in held else first.detach().clone(), learned, True)
    values = torch.stack([graph.held[node].detach() for node in nodes])
    if not first.is_floating_point() and not (values == values[:1]).all():
        raise InputError(f"the blocks hold constants that differ and are no real numbers ({names[0]}).")
    parts = [set(each) for each in zip(*(name.split(".") for name in names), strict=False)]
    return DepthWeight(".".join(joined.from_iterable(each for each in parts if len(each) == 1)), values, learned, False)
