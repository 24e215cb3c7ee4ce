"""A network that its author exported with ``torch.export.save``."""

import logging
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from integrand.core.analysis.exported_graph import ExportedGraph, exported_graph
from integrand.core.errors import InputError


def read_program(path: Path) -> ExportedGraph:
    """Read the operations and tensors of a ``.pt2`` file; nothing in it is executed.

    Raises:
        InputError: there is no such file, or it is none that ``torch.export.save`` wrote.
    """
    import torch

    if not path.is_file():
        raise InputError(f"no file at {path}: write one by torch.export.save(torch.export.export(model, (x,)), path).")
    if not zipfile.is_zipfile(path):
        raise InputError(
            f"{path} is no .pt2 file: write one by torch.export.save(torch.export.export(model, (x,)), path)."
        )
    try:
        with warnings.catch_warnings(), _silent("torch.export"):
            warnings.simplefilter("ignore")
            program = torch.export.load(path)
    except Exception as error:  # torch raises errors of many kinds, for a state dict as for a file of another version
        raise InputError(
            f"{path} is not what torch.export.save of torch {torch.__version__} writes: a state dict or a TorchScript "
            "file holds no operations to be read; export the module itself."
        ) from error
    return exported_graph(program)


@contextmanager
def _silent(name: str) -> Iterator[None]:
    """Keep a log quiet: torch writes a traceback to it before it raises the error that is told."""
    log = logging.getLogger(name)
    level = log.level
    log.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        log.setLevel(level)
