"""Fashion-MNIST: 70,000 articles of clothing, 28 x 28 points of 256 grey values, with a download or from Debian.

Source: Xiao, Rasul and Vollgraf (2017), Fashion-MNIST: a novel image dataset for benchmarking machine learning
algorithms, arXiv:1708.07747; https://github.com/zalandoresearch/fashion-mnist, MIT licence.
"""

import hashlib
import os
from pathlib import Path

import numpy as np

from integrand.core.errors import InputError
from integrand.datasets.catalogue import data_directory, find
from integrand.datasets.download import locate
from integrand.datasets.idx_files import read_idx, unzipped
from integrand.datasets.samples import Samples

CLASSES = ("T-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
DEBIAN = Path("datasets") / "fashion-mnist"
"""Where Debian's package ``dataset-fashion-mnist`` puts the files, in a folder of ``XDG_DATA_DIRS``."""
UNZIPPED = {
    "train-images-idx3-ubyte.gz": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte.gz": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte.gz": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte.gz": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
"""SHA-256 of each file when it is unzipped. Debian's are zipped without their name and date, so that the bytes of the
files themselves are not the publisher's."""


def load() -> Samples:
    """Return all images, (70000, 1, 28, 28) uint8: the 60,000 to train on, then the 10,000 that are held out for tests.

    They are read from the data directory, or, where there is nothing of them, from Debian's package
    ``dataset-fashion-mnist`` if it is installed.

    Raises:
        InputError: the files are missing or damaged; the message tells how to get them.
    """
    paths, notices = _paths()
    train, train_labels, test, test_labels = (read_idx(path) for path in paths)
    for path, images, labels in ((paths[0], train, train_labels), (paths[2], test, test_labels)):
        if images.ndim != 3 or labels.shape != images.shape[:1]:
            raise InputError(
                f"{path} holds images of shape {images.shape} and its labels are {labels.shape}: fetch both."
            )
    return Samples(
        name="fashion_mnist",
        kind="image",
        values=np.concatenate([train, test])[:, None],
        labels=np.concatenate([train_labels, test_labels]).astype(np.int64),
        classes=CLASSES,
        levels=256,
        test=np.arange(len(train), len(train) + len(test)),
        notices=notices,
    )


def _paths() -> tuple[list[Path], list[str]]:
    files = find("fashion_mnist").files
    installed = _installed([Path(file.path).name for file in files])
    if installed and not any((data_directory() / file.path).exists() for file in files):
        return installed, [f"read from the Debian package dataset-fashion-mnist in {installed[0].parent}"]
    try:
        return locate("fashion_mnist"), []
    except InputError as error:
        raise InputError(f"{str(error).rstrip('.')}, or on Debian run 'apt install dataset-fashion-mnist'.") from error


def _installed(names: list[str]) -> list[Path]:
    """Return the files of Debian's package, after comparing what they hold; none where it is not installed."""
    for folder in (os.environ.get("XDG_DATA_DIRS") or "/usr/local/share:/usr/share").split(":"):
        paths = [Path(folder) / DEBIAN / name for name in names]
        if folder and all(path.is_file() for path in paths):
            for path in paths:
                found = hashlib.sha256(unzipped(path)).hexdigest()
                if found != UNZIPPED[path.name]:
                    raise InputError(
                        f"{path} is damaged: sha256 {found} when unzipped, where {UNZIPPED[path.name]} is right; "
                        "install dataset-fashion-mnist again, or run 'integrand data download fashion_mnist'."
                    )
            return paths
    return []
