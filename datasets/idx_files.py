"""Files of the IDX format, in which MNIST and the data sets made after it are published."""

import gzip
import math
import zlib
from pathlib import Path

import numpy as np

from integrand.core.errors import InputError

UNSIGNED_BYTES = 8
"""The format's number for uint8, the one type that is read here."""


def read_idx(path: Path) -> np.ndarray:
    """Return the array of a gzipped IDX file, uint8 of the shape that the file tells.

    After two zero bytes come the number of the type and that of the axes, one byte each, then the lengths of the axes,
    big-endian 32-bit integers, then the values.

    Raises:
        InputError: the file is damaged, or of another type.
    """
    content = unzipped(path)
    axes = content[3] if len(content) > 3 else 0
    if content[:3] != bytes((0, 0, UNSIGNED_BYTES)) or not axes:
        raise InputError(
            f"{path} is no IDX file of unsigned bytes (it begins with {content[:4].hex()}): fetch it again."
        )
    start = 4 + 4 * axes
    shape = tuple(np.frombuffer(content[4:start].ljust(4 * axes, b"\0"), ">u4").tolist())
    if len(content) - start != math.prod(shape):
        raise InputError(
            f"{path} is damaged: {max(len(content) - start, 0):,} values where {math.prod(shape):,} are right; fetch "
            "it again."
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def unzipped(path: Path) -> bytes:
    """Return what a gzipped file holds, or raise ``InputError`` where it is damaged."""
    try:
        with gzip.open(path) as stream:
            return stream.read()
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"cannot read {path} ({error}): fetch it again.") from error
