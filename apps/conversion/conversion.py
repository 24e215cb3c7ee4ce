"""A network converted to differential equations, and what that and finer steps change."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from integrand.apps.conversion.batches import (
    Samples,
    answers,
    example_samples,
    free_size,
    own_size,
    samples_of,
    single_answers,
)
from integrand.apps.conversion.fine_tuning import fine_tune
from integrand.apps.conversion.request import Request
from integrand.apps.conversion.targets import Targets, read_array, read_targets
from integrand.core.analysis.exported_graph import ExportedGraph
from integrand.core.analysis.residual_structure import ResidualChain, residual_chains, steps_taken
from integrand.core.analysis.step_refinement import Refined, refined
from integrand.core.errors import InputError
from integrand.core.models import ConvertedODE
from integrand.core.models.residual_flow import OWN

FINER = (1, 2, 4, 8)
"""Steps a block at which the network's own scheme is measured."""


class Row(NamedTuple):
    """One line of a conversion's table.

    Attributes:
        name: which network.
        steps: equal steps a block.
        evaluations: of right-hand sides, for one batch.
        change: of the outputs, |y - y_0| / |y_0| with y_0 those of the network as it was exported.
        score: accuracy or root mean square error on the samples that are measured; None without targets.
    """

    name: str
    steps: int
    evaluations: int
    change: float
    score: float | None


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """What was converted and measured.

    Attributes:
        model: the converted network, fine-tuned where that was asked for.
        chains: its residual stacks.
        difference: largest difference of the outputs at the network's own steps.
        largest: largest output.
        rows: the table.
        finer: the refinement of the network's own scheme.
        moved: |x_{l+1} - x_l| / |x_l| for each block, stack after stack.
        losses: of the epochs of fine-tuning.
        score_name: what the scores are; None without targets.
        measured: samples that outputs and scores were measured on; None for what the network was exported with.
        example: a batch that the converted network takes.
    """

    model: ConvertedODE
    chains: list[ResidualChain]
    difference: float
    largest: float
    rows: list[Row]
    finer: list[Refined]
    moved: list[list[float]]
    losses: list[float]
    score_name: str | None
    measured: int | None
    example: tuple[Any, ...]


def convert(graph: ExportedGraph, request: Request, notify: Callable[[str], None]) -> Conversion:
    """Convert a network, measure it at finer steps, and train it further where that is asked for.

    Scores are measured on samples that training does not see; without training on all samples.

    Args:
        graph: the network.
        request: the options.
        notify: told what is being done.

    Raises:
        InputError: the network cannot be converted, or does not take the samples or targets.
    """
    model = ConvertedODE(graph, weights=request.weights)
    chosen = model.refine(method=request.method, steps=request.steps)
    samples, targets = _asked(graph, request)
    network = graph.program.module()
    size = None if samples.whole else own_size(graph)
    training: tuple[Samples, Targets] | None = None
    if request.epochs and targets is not None:
        (samples, targets), training = _held_out(samples, targets, request)
    exact, _ = answers(network, replace(samples, size=size))
    if size is not None:
        samples = free_size(model, samples, size)
        training = None if training is None else (replace(training[0], size=samples.size), training[1])
    if targets is not None:
        targets.check(single_answers(model, samples))
    given, evaluations = answers(model, samples)

    def row(name: str, made: ConvertedODE) -> tuple[Row, Tensor]:
        notify(f"{name}: {made.scheme.method}, steps a block: {made.scheme.steps}")
        output, count = answers(made, samples)
        change = float((output - exact).norm() / exact.norm())
        score = None if targets is None else targets.score(single_answers(made, samples))
        return Row(name, made.scheme.steps or 0, count, change, score), output

    score = None if targets is None else targets.score(single_answers(network, replace(samples, size=size)))
    rows = [Row("as exported", 1, evaluations, 0.0, score)]
    found = [row("converted" if steps == 1 else "refined", model.refine(steps=steps)) for steps in FINER]
    rows += [each for each, _ in found]
    finer = refined(FINER, [output.flatten() for _, output in found], [each.evaluations for each, _ in found])
    if request.method != OWN or request.steps not in FINER:
        rows.append(row(f"by {request.method}", chosen)[0])
    moved = _moved(model, samples)
    losses: list[float] = []
    if training is not None:
        if (request.method, request.steps) != (OWN, 1):
            # The network itself, trained alike, is what the equation must be compared with.
            alike = ConvertedODE(graph)
            fine_tune(alike, *training, request, notify)
            rows.append(row("as exported, fine-tuned", alike)[0])
        losses = fine_tune(chosen, *training, request, notify)
        rows.append(row("converted, fine-tuned", chosen)[0])
    return Conversion(
        model=chosen,
        chains=residual_chains(graph),
        difference=float((given - exact).abs().max()),
        largest=float(exact.abs().max()),
        rows=rows,
        finer=finer,
        moved=moved,
        losses=losses,
        score_name=None if targets is None else targets.score_name,
        measured=None if samples.whole else len(samples),
        example=next(replace(samples, size=own_size(graph)).batches())[0],
    )


def _asked(graph: ExportedGraph, request: Request) -> tuple[Samples, Targets | None]:
    """Return the samples and targets that the options name, or what the network was exported with."""
    if request.input is None:
        if (samples := example_samples(graph)) is None:
            raise InputError(f"{request.program} keeps no example inputs: name samples with --input.")
        return samples, None
    samples = samples_of(graph, read_array(request.input, "--input"), "--input")
    if request.target is None:
        return samples, None
    real = [each.dtype for each in graph.held.values() if each.is_floating_point()]
    return samples, read_targets(request.target, len(samples), real[0] if real else torch.get_default_dtype())


def _held_out(
    samples: Samples, targets: Targets, request: Request
) -> tuple[tuple[Samples, Targets], tuple[Samples, Targets]]:
    """Return the samples that are measured and those that are trained on, drawn at random."""
    count = max(1, round(request.held_out * len(samples)))
    if count >= len(samples):
        raise InputError(f"{len(samples)} samples are too few to hold some out and train on the others: give more.")
    order = torch.randperm(len(samples), generator=torch.Generator().manual_seed(request.seed))
    measured, trained = order[:count], order[count:]
    return (samples.take(measured), targets.take(measured)), (samples.take(trained), targets.take(trained))


@torch.no_grad()
def _moved(model: ConvertedODE, samples: Samples) -> list[list[float]]:
    """Return how far each block moves its state, in shares of the state, over the first batch."""
    batch, _ = next(samples.batches())
    args, kwargs = samples.arguments(batch)
    return [steps_taken([torch.stack(state) for state in states]) for states in model.solve(*args, **kwargs).states]
