"""What a generative network must know of a table, as plain values that a checkpoint can hold."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from integrand.apps.generation.task import GenerationTask
from integrand.datasets.table_codec import TableCodec


@dataclass(frozen=True)
class TableTask(GenerationTask):
    """A task of points, each an encoded row, and what turns rows into points and back.

    Attributes:
        table: ``TableCodec.to_dict`` of the training rows, so that samples become rows with no data at hand.
        target: the column that learners predict in evaluation, None where there is none; the model knows no target.
    """

    table: dict[str, Any] = field(default_factory=dict)
    target: str | None = None

    @classmethod
    def of(cls, codec: TableCodec, *, target: str | None = None) -> TableTask:
        """Return the task of a codec; its rows are about standard normal already."""
        channels = [
            block.column if block.width == 1 else f"{block.column}[{place}]"
            for block in codec.blocks
            for place in range(block.width)
        ]
        return cls(
            kind="points",
            shape=[codec.width],
            channels=channels,
            location=[0.0] * codec.width,
            scale=[1.0] * codec.width,
            table=codec.to_dict(),
            target=target,
        )

    @cached_property
    def codec(self) -> TableCodec:
        """What turns rows into points and back."""
        return TableCodec.from_dict(self.table)
