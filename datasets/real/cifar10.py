"""CIFAR-10: 60,000 photographs of 10 kinds of things, 32 x 32 points of 3 colours, with a download.

The binary version is read as it is published, from within its archive: it is plain bytes, while the version for Python
is a pickle, which may hold code.

Source: Krizhevsky (2009), Learning multiple layers of features from tiny images, University of Toronto;
https://www.cs.toronto.edu/~kriz/cifar.html.
"""

import tarfile
import zlib
from pathlib import Path

import numpy as np

from integrand.core.errors import InputError
from integrand.datasets.download import locate
from integrand.datasets.samples import Samples

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
TRAIN = tuple(f"cifar-10-batches-bin/data_batch_{number}.bin" for number in range(1, 6))
TEST = ("cifar-10-batches-bin/test_batch.bin",)
RECORD = 1 + 3 * 32 * 32
"""Bytes of an image: its label, then red, green and blue, row by row each."""


def load() -> Samples:
    """Return all images, (60000, 3, 32, 32) uint8: the 50,000 to train on, then the 10,000 that are held out for tests.

    Raises:
        InputError: the archive is missing or damaged; the message tells how to get it.
    """
    (path,) = locate("cifar10")
    parts = _read(path, (*TRAIN, *TEST))
    records = np.concatenate(parts)
    held_out = len(parts[-1])
    return Samples(
        name="cifar10",
        kind="image",
        values=records[:, 1:].reshape(-1, 3, 32, 32),
        labels=records[:, 0].astype(np.int64),
        classes=CLASSES,
        levels=256,
        test=np.arange(len(records) - held_out, len(records)),
    )


def _read(path: Path, names: tuple[str, ...]) -> list[np.ndarray]:
    """Return the records (n, RECORD) uint8 of the files ``names``, in that order, which need not be the archive's."""
    found: dict[str, np.ndarray] = {}
    cure = "run 'integrand data check cifar10', and download it again"
    try:
        # As a stream: a compressed archive has to be read from its start for each step back.
        with tarfile.open(path, "r|gz") as archive:
            for member in archive:
                stream = archive.extractfile(member) if member.name in names else None
                if stream is not None:
                    content = np.frombuffer(stream.read(), np.uint8)
                    if not len(content) or len(content) % RECORD:
                        raise InputError(
                            f"{member.name} in {path} has {len(content):,} bytes, not a multiple of {RECORD:,}: {cure}."
                        )
                    found[member.name] = content.reshape(-1, RECORD)
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise InputError(f"cannot read {path} ({error}): {cure}.") from error
    missing = [name for name in names if name not in found]
    if missing:
        raise InputError(f"{path} holds no {missing[0]}: {cure}.")
    return [found[name] for name in names]
