"""The likelihood of data under a trained module, exact or estimated, in the units of the data."""

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from integrand.apps.generation.module import GenerationModule
from integrand.apps.generation.task import GenerationTask
from integrand.core.diffusion.likelihood import bits_per_dimension, log_prob
from integrand.core.errors import InputError
from integrand.core.numerics import SolveError

EXACT: dict[str, int] = {"points": 128, "image": 128, "series": 32}
"""Numbers in a sample up to which the divergence is exact, unless asked otherwise, by the kind of data. Of networks
that go along a series each product with the Jacobian costs as much as an evaluation, taken at once or one by one."""
PROBES = 4
"""Probes of each sample where it is estimated."""
NODES: dict[str, int | None] = {"points": None, "image": 32, "series": 32}
"""Nodes of the quadrature by the kind of data. On digits 32 give the mean to 0.0003 bits for a third of the
cost; points have sharp edges, and their divergence costs next to nothing: it is solved for with the states."""
BATCH = 60
"""Samples whose likelihood is found at a time."""
TOLERANCE = {"points": 1e-4, "image": 1e-3, "series": 1e-3}
"""Of the solver. With 1e-3 the density of a point is 0.005 nats off, as much as the best models; with 1e-4, 0.0005."""


class DataLikelihood(NamedTuple):
    """What a module says of samples.

    Attributes:
        log_prob: log p(u, c) of the values and, where there are classes, of the class with them, (N,), in nats; of grey
            values with uniform noise on [-1, 1].
        bits: -log2 of the probability of the grey values and their class, per number, (N,); of real values, of their
            density.
        trace: how the divergence was found.
    """

    log_prob: Tensor
    bits: Tensor
    trace: str


def likelihood(
    module: GenerationModule,
    values: Tensor,
    labels: Tensor,
    *,
    trace: Literal["exact", "rademacher", "gaussian"] | None = None,
    nodes: int | None = None,
    rtol: float | None = None,
    atol: float | None = None,
    seed: int = 0,
) -> DataLikelihood:
    """Return the likelihood of samples by the probability flow.

    With classes it is that of the sample and its class together, log p(u | c) + log p(c), with p(c) the training
    share: never more than log p(u), so that it may stand beside models that know no classes.

    It is the density of data with the little noise of the process's start: of x_start / alpha, as the bound of
    ``GenerationModule`` has it.

    Args:
        module: trained, on the device it is to run on.
        values: (N, *shape), in the units of the data.
        labels: (N,).
        trace: see ``log_prob``; exact up to ``EXACT`` numbers when None. Estimates are of ``PROBES`` probes.
        nodes: of the quadrature of the divergence, see ``log_prob``; those of ``NODES`` when None.
        rtol, atol: of the solver, an adaptive one with steps shared by a batch; those of ``TOLERANCE`` when None.
        seed: of the noise that grey values get, and of probes.

    Raises:
        InputError: a network that answers with what is not finite, told with the noise and the sample.
    """
    module.eval()
    task, device = module.network.built_for, module.device
    rtol, atol = (TOLERANCE[task.kind] if each is None else each for each in (rtol, atol))
    nodes = NODES[task.kind] if nodes is None else nodes
    trace = trace or ("exact" if is_exact(task) else "rademacher")
    generator = torch.Generator().manual_seed(seed)
    noise = torch.rand(values.shape, generator=generator)
    source = torch.Generator(device).manual_seed(seed)
    flow, found = module.flow, []
    shrunk = float(module.process.alpha(torch.tensor(module.process.start, dtype=torch.float64)))
    for first in range(0, len(values), BATCH):
        rows = slice(first, first + BATCH)
        z = shrunk * task.standardized(values[rows].to(device), noise[rows].to(device))
        options = {"trace": trace, "probes": PROBES, "generator": source, "nodes": nodes, "rtol": rtol, "atol": atol}
        try:
            with torch.no_grad():
                one = log_prob(flow, z, labels[rows].to(device), **options)  # pyright: ignore[reportArgumentType]
        except SolveError as error:
            raise _lost(first, len(z), str(error).partition(". ")[0]) from error
        found.append(one.log_prob.double().cpu())
        if lost := (~found[-1].isfinite()).nonzero().flatten().tolist():
            raise _lost(first, len(z), f"sample {lost[0]} has a density that is not finite")
    total = torch.cat(found) + task.dims * math.log(shrunk) - task.log_scale
    if task.classes:
        total = total + torch.tensor(task.class_shares, dtype=torch.float64).log()[labels.cpu()]
    return DataLikelihood(total, bits_per_number(total, task), trace)


def is_exact(task: GenerationTask) -> bool:
    """Return whether the divergence is exact for samples such as a task's, unless asked otherwise."""
    return task.dims <= EXACT[task.kind]


def _lost(first: int, count: int, what: str) -> InputError:
    """Return the error of a batch of samples for which the network answers with what is no number."""
    return InputError(
        f"the likelihood of the samples {first} to {first + count - 1}, counted from 0, cannot be told: {what}; take "
        "the run's other checkpoint, or train again with a lower learning rate."
    )


def bits_per_number(log_prob: Tensor, task: GenerationTask) -> Tensor:
    """Return -log2 of the probability of grey values, per number, or of the density of real ones, (N,).

    Args:
        log_prob: of values in the units of the data, grey ones with noise on [-1, 1], (N,), in nats.
        task: what the values are.
    """
    return bits_per_dimension(log_prob, task.dims, cell=1.0 if task.levels is None else 2 / task.levels)
