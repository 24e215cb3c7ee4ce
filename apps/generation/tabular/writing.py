"""What ``sample`` and ``likelihood`` write for a model of tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from integrand.apps.generation.densities import likelihood
from integrand.apps.generation.module import GenerationModule
from integrand.apps.generation.sampling import draw, sampling_options
from integrand.apps.generation.tabular.task import TableTask
from integrand.core.errors import InputError
from integrand.datasets.frames import read_frame, write_frame
from integrand.datasets.table_codec import TableCodec

Notify = Callable[[str], None]


def write_table(
    module: GenerationModule,
    *,
    seeds: Sequence[int],
    output: Path,
    label: str | None = None,
    method: str | None = None,
    steps: int | None = None,
    spacing: str | None = None,
    guidance: float | None = None,
    notify: Notify,
) -> list[str]:
    """Draw a row a seed and write ``samples.csv``, its columns, types and digits as the training table's.

    Returns:
        A line on the file.

    Raises:
        InputError: a class or guidance, which a table has not.
    """
    codec = _codec(module, label)
    options = sampling_options(module, method=method, steps=steps, spacing=spacing, guidance=guidance)
    drawn = draw(
        module,
        seeds,
        options=options,
        progress=lambda done: notify(f"{done:,} of {len(seeds):,} rows") if done < len(seeds) else None,
    )
    output.mkdir(parents=True, exist_ok=True)
    path = write_frame(codec.decode(drawn.values.numpy()), output / "samples.csv", codec.schema)
    return [f"table:    {path}"]


def write_row_likelihood(
    module: GenerationModule,
    *,
    input: Path,
    output: Path,
    label: str | None = None,
    trace: Any = None,
    notify: Notify,
) -> list[str]:
    """Write how likely every row of a table is, in nats, as CSV: the rows that fit least have the least.

    What is told is the log density of the encoded row, whose numbers are normal scores; values that many training rows
    share are drawn within their interval by a fixed seed. It ranks rows of one model, and compares with no other.

    Returns:
        Lines with the file and the mean.

    Raises:
        InputError: a class, which a table has not; a table of other columns, or with values that no training row has.
    """
    codec = _codec(module, label)
    frame = read_frame(input, as_text=_words(codec))
    values = torch.from_numpy(codec.encode(frame, seed=0))
    notify(f"the likelihood of {len(values):,} rows")
    found = likelihood(module, values, torch.zeros(len(values), dtype=torch.int64), trace=trace)
    written = pd.DataFrame({"row": frame.index, "log_prob": found.log_prob.numpy()})
    if not output.parent.is_dir():
        raise InputError(f"cannot write {output}: there is no folder {output.parent}; make it first.")
    written.to_csv(output, index=False)
    return [
        f"table:    {output}",
        f"mean log-likelihood: {float(found.log_prob.mean()):.4f} nats a row, of its normal scores",
        f"divergence: {found.trace}",
    ]


def _codec(module: GenerationModule, label: str | None) -> TableCodec:
    """Return what the module's checkpoint holds of its table."""
    task = module.network.built_for
    assert isinstance(task, TableTask)
    if label is not None:
        raise InputError(f"--class {label}: a table has columns and no classes, leave it out.")
    return task.codec


def _words(codec: TableCodec) -> list[str]:
    """Return the columns whose categories are words, though a file may have them look like numbers."""
    return [
        column.name
        for column in codec.schema.columns
        if column.kind in ("categorical", "ordinal") and all(isinstance(one, str) for one in column.categories)
    ]
