"""The Lightning module of tables: a denoiser of encoded rows, whose checkpoint can write tables."""

from typing import ClassVar

from integrand.apps.generation.module import GenerationModule
from integrand.apps.generation.tabular.task import TableTask


class TableModule(GenerationModule):
    """A ``GenerationModule`` of a table: the same training, and a task that holds schema and codec.

    Args:
        network: see ``GenerationModule``, as are all others; ``base="gaussian"`` spares the network the linear
            relations between columns, for a row in normal scores is nearly normal.
    """

    described_by: ClassVar[type] = TableTask
