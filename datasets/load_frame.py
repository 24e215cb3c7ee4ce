"""Tables of rows that stand for themselves, by a name in the catalogue or from a file."""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from integrand.core.errors import unknown
from integrand.datasets.catalogue import find
from integrand.datasets.frames import read_frame

NAMES = ("breast_cancer", "diabetes", "diamonds")
"""Tables in the catalogue."""


@dataclass(frozen=True, eq=False)
class NamedFrame:
    """A table and what is known of it beforehand.

    Attributes:
        name: what the data are called.
        frame: a row each.
        target: the column that is usually predicted from the others; None where nobody said.
        orders: columns of words that have an order, each with its words from least to greatest.
    """

    name: str
    frame: pd.DataFrame
    target: str | None = None
    orders: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def checksum(self) -> str:
        """Sixteen hexadecimal digits of SHA-256 over the types of all columns and the table as CSV."""
        words = [[str(column), str(kind)] for column, kind in self.frame.dtypes.items()]
        digest = hashlib.sha256(json.dumps(words).encode())
        digest.update(self.frame.to_csv(index=False).encode())
        return digest.hexdigest()[:16]


def load_frame(dataset: str, *, as_text: Collection[str] = ()) -> NamedFrame:
    """Return a table by a name in the catalogue, or from a file.

    Args:
        dataset: one of ``NAMES``, in which upper and lower case, ``-`` and ``_`` are the same; or the path of a file as
            ``read_frame`` takes it.
        as_text: columns of a file kept as written: ``007`` stays ``007``.

    Raises:
        InputError: there is no such name or file, or it cannot be read.

    Example:
        >>> one = load_frame("diabetes")
        >>> one.target, one.frame.shape
        ('progression', (442, 11))
    """
    name = dataset.strip().lower().replace("-", "_")
    if name in NAMES:
        module, _, function = str(find(name).loader).partition(":")
        loader = importlib.import_module(module)
        return NamedFrame(name, getattr(loader, function)(), loader.TARGET, getattr(loader, "ORDERS", {}))
    if "/" not in dataset and not Path(dataset).suffix and not Path(dataset).exists():
        raise unknown("table", dataset, NAMES)
    return NamedFrame(Path(dataset).name, read_frame(dataset, as_text=as_text))
