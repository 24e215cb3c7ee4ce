"""What an exported network discretises, in plain words."""

from collections.abc import Sequence
from pathlib import Path
from statistics import median

import torch
from torch.fx import Node

from integrand.apps.conversion.batches import answers, example_samples
from integrand.apps.conversion.program_file import read_program
from integrand.apps.conversion.report import compact, percent
from integrand.core.analysis.depth_smoothness import depth_smoothness
from integrand.core.analysis.exported_graph import ExportedGraph
from integrand.core.analysis.residual_structure import (
    ResidualChain,
    operation_names,
    residual_chains,
    steps_taken,
    why_none,
)
from integrand.core.errors import InputError
from integrand.core.models import ConvertedODE


def recognise_file(path: Path) -> list[str]:
    """Return what ``integrand explain --from`` says of a ``.pt2`` file, line by line.

    Raises:
        InputError: it is no file that ``torch.export.save`` wrote.
    """
    graph = read_program(path)
    learned = sum(graph.held[node].numel() for node in graph.learned)
    lines = [f"{path.name}: {len(graph.operations)} operations, {learned:,} parameters."]
    chains = residual_chains(graph)
    if not chains:
        return [*lines, f"No residual stack: {why_none(graph)}. It is read as a map, not as steps of an equation."]
    told = []
    try:
        told, end = _measured(graph, chains), f"Convert it: integrand convert {path} --output converted"
    except InputError as error:
        told, end = [[] for _ in chains], f"It cannot be converted as it is: {error}"
    for number, (chain, measured) in enumerate(zip(chains, told[: len(chains)], strict=True)):
        name = f"Stack {number + 1}: " if len(chains) > 1 else ""
        start = chains[number - 1].repeated.stop if number else 0
        before = _line("before" if not number else "between", graph.operations[start : chain.repeated.start])
        after = [] if chain is not chains[-1] else _line("after", graph.operations[chain.repeated.stop :])
        parts = (*before, *measured, *_smoothness(chain), *after)
        lines += [f"{name}{chain.statement}", *(f"  {line}" for line in parts)]
    return [*lines, *(line for each in told[len(chains) :] for line in each), end]


def _line(name: str, operations: Sequence[Node]) -> list[str]:
    told = compact(operation_names(operations))
    return [f"{name}: {told}"] if told else []


def _smoothness(chain: ResidualChain) -> list[str]:
    """Return whether the blocks' weights change smoothly with depth."""
    weights = chain.weights()
    if chain.shared:
        return ["weights: the same at every depth, so that the equation does not depend on t"]
    if not weights or chain.blocks < 3:
        return []
    found = depth_smoothness(weights)
    says = (
        f"smoother than in random order (p = {found.probability:.2g}), as a function of depth is"
        if found.ratio < 1 and found.probability < 0.05
        else f"no smoother than in random order (p = {found.probability:.2g})"
    )
    return [f"weights: neighbouring blocks' differ by {found.successive:.2f} of their size, {says}"]


@torch.no_grad()
def _measured(graph: ExportedGraph, chains: list[ResidualChain]) -> list[list[str]]:
    """Return lines for each stack, and last those for the whole, over the inputs that the network was exported with."""
    samples = example_samples(graph)
    if samples is None:
        return [*([] for _ in chains), ["No example inputs are kept in the file, so that nothing could be measured."]]
    model = ConvertedODE(graph)
    args, kwargs = samples.arguments(samples.inputs)
    lines = []
    for states in model.solve(*args, **kwargs).states:
        shares = steps_taken([torch.stack(state) for state in states])
        middle, most = median(shares), max(shares)
        lines.append(
            [f"steps: a block moves its state by {percent(middle)} of its size (median; most {percent(most)})"]
        )
    exact, finer = (answers(model.refine(steps=steps), samples)[0] for steps in (1, 2))
    change = float((finer - exact).norm() / exact.norm())
    told = (
        f"Two steps a block in place of one change the outputs by {percent(change)} on the inputs that it was "
        "exported with: the smaller, the nearer the network is to the solution of its equation."
    )
    return [*lines, [told]]
