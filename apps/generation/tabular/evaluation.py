"""Scoring a trained model of tables: what learners of its rows are worth on the test part, beside simple methods."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch

from integrand.apps.generation.metrics.classifier_test import classifier_test
from integrand.apps.generation.module import GenerationModule
from integrand.apps.generation.sampling import SamplingOptions, draw, sampling_options
from integrand.apps.generation.tabular.baselines import BASELINES
from integrand.apps.generation.tabular.data import TableData
from integrand.apps.generation.tabular.learners import Answers, ask_learners
from integrand.apps.generation.tabular.privacy import at_most
from integrand.apps.generation.tabular.results import Scored, results_of
from integrand.apps.generation.tabular.table_scores import TableScores, score_tables
from integrand.apps.generation.tabular.task import TableTask
from integrand.apps.generation.tabular.transfer import compared
from integrand.core.errors import InputError
from integrand.datasets.table_codec import TableCodec

Notify = Callable[[str], None]

TABLES = 3
"""Tables that are drawn; each seed of the learners has one of its own."""
PER_ROW = 4
"""Synthetic rows for each training row, unless asked otherwise: draws have chance of their own, which more rows
average out."""
MOST_ROWS = 10_000
"""Rows of a synthetic table, at most, unless asked otherwise."""
MOST_LEARNED = 10_000
"""Rows that learners see of a table, real or synthetic, at most: forests of more take longer than the training."""
MOST_TOLD_APART = 2_000
"""Test rows, and as many others, that a forest is asked to tell apart, at most."""


@dataclass(frozen=True, eq=False)
class TableEvaluation:
    """What the figures and the report are drawn from.

    Attributes:
        name: the model's name.
        synthetic: its rows, those of all tables.
        test: the real rows.
        scores: of the model and of each baseline.
        results: what goes to ``results.json``.
    """

    name: str
    synthetic: pd.DataFrame
    test: pd.DataFrame
    scores: dict[str, TableScores]
    results: dict[str, Any]


def evaluate(
    module: GenerationModule,
    data: TableData,
    *,
    name: str,
    seed: int,
    notify: Notify,
    method: str | None = None,
    steps: int | None = None,
    count: int | None = None,
) -> TableEvaluation:
    """Score the model and the baselines.

    Args:
        module: the trained module, on the device it is to run on.
        data: its data.
        name: the model's name in the tables.
        seed: what the run was seeded with; row i has the seed 1,000,000 seed + i.
        notify: told what is being done, one line each.
        method, steps: of sampling, the module's own when None.
        count: rows of a synthetic table; ``PER_ROW`` for each training row, up to ``MOST_ROWS``, when None.
    """
    data.setup()
    if count is not None and count < 10:
        raise InputError(f"--count {count} is too few rows to compare tables by: give at least 10.")
    options = sampling_options(module, method=method, steps=steps)
    train, test = data.frame("train"), data.frame("test")
    rows = min(PER_ROW * len(train), MOST_ROWS) if count is None else count
    notify(f"drawing {TABLES} tables of {rows:,} rows by {options.method} in {options.steps} steps")
    began = time.monotonic()
    made, evaluations = draw_tables(module, rows, options=options, seed=seed)
    seconds = time.monotonic() - began
    real = None
    if data.target is not None:
        notify(f"learning {data.target} from real rows and from synthetic ones")
        tables = [train] * (TABLES if len(train) > MOST_LEARNED else 1)  # seeds share a table that all see whole
        real = ask_learners(data.codec.schema, data.target, learned_from=_to_learn(tables), test=test)
    scored = {name: _score(data, real, made, first=True)}
    for place, (who, generator) in enumerate(BASELINES.items()):
        notify(f"drawing and scoring {who}")
        first = 1000 * seed + 100 * place
        tables = [generator(data.codec, train, rows, seed=first + k) for k in range(TABLES)]
        scored[who] = _score(data, real, tables)
    drawing = {**options._asdict(), "evaluations": evaluations, "rows": rows, "tables": TABLES}
    drawing |= {"learned": min(rows, MOST_LEARNED), "learned_of_real": min(len(train), MOST_LEARNED)}
    drawing["milliseconds_a_row"] = 1000 * seconds / (rows * TABLES)
    return TableEvaluation(
        name=name,
        synthetic=pd.concat(made, ignore_index=True),
        test=test,
        scores={who: one.scores for who, one in scored.items()},
        results=results_of(name, scored, data, real, drawing, floor=_told_apart(data.codec, train, test), seed=seed),
    )


def draw_tables(
    module: GenerationModule, rows: int, *, options: SamplingOptions, seed: int
) -> tuple[list[pd.DataFrame], int]:
    """Return ``TABLES`` tables of a model, and how often its network was asked for each row."""
    task = module.network.built_for
    assert isinstance(task, TableTask)
    drawn = draw(module, 1_000_000 * seed + torch.arange(TABLES * rows), options=options)
    table = task.codec.decode(drawn.values.numpy())
    return [table.iloc[k * rows : (k + 1) * rows].reset_index(drop=True) for k in range(TABLES)], drawn.evaluations


def _score(data: TableData, real: Answers | None, tables: Sequence[pd.DataFrame], *, first: bool = False) -> Scored:
    """Measure the tables of one generator; of the first also what as many rows as training has are worth."""
    codec, train, test = data.codec, data.frame("train"), data.frame("test")
    scores = score_tables(codec, train=train, synthetic=tables, test=test)
    apart = _told_apart(codec, pd.concat(list(tables)), test)
    if real is None:
        return Scored(scores, apart, None, [])

    def learned(from_tables: Sequence[pd.DataFrame]) -> Answers:
        assert data.target is not None
        return ask_learners(codec.schema, data.target, learned_from=_to_learn(from_tables), test=test)

    answers = learned(tables)
    more = first and len(train) < min(len(tables[0]), MOST_LEARNED)
    equal = compared(real, learned([table.iloc[: len(train)] for table in tables])) if more else []
    return Scored(replace(scores, transfer=compared(real, answers)), apart, answers, equal)


def _to_learn(tables: Sequence[pd.DataFrame]) -> list[pd.DataFrame]:
    """Return what learners see of tables: of one that is too long rows drawn at random, others for each seed."""
    return [at_most(table, MOST_LEARNED, seed=seed) for seed, table in enumerate(tables)]


def _told_apart(codec: TableCodec, rows: pd.DataFrame, test: pd.DataFrame) -> float:
    """Return the share of rows that a forest tells apart from as many test rows."""
    return classifier_test(_encoded(codec, rows), _encoded(codec, at_most(test, MOST_TOLD_APART))).accuracy


def _encoded(codec: TableCodec, frame: pd.DataFrame) -> np.ndarray:
    """Return rows as numbers without chance, so that values that are the same stay so."""
    return codec.encode(frame).astype(np.float64)
