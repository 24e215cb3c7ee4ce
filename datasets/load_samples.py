"""Samples by name or path: densities in the plane, images, made series, folders of images, arrays in files."""

import importlib
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from integrand.core.errors import InputError, unknown
from integrand.datasets.catalogue import find
from integrand.datasets.densities import DENSITIES, sampled
from integrand.datasets.image_folder import read_image_folder
from integrand.datasets.sample_files import ENDINGS, read_sample_file
from integrand.datasets.samples import Samples

PUBLISHED = ("digits", "fashion_mnist", "cifar10")
"""Data sets of images in the catalogue, whose loaders take no options."""
SIGNALS = ("ringdowns",)
"""Series that a function of ``datasets/synthetic/``, in a file of its own name, draws."""
NAMES = (*DENSITIES, *PUBLISHED, *SIGNALS)
"""All that ``load_samples`` knows by name."""


def load_samples(dataset: str, **options: Any) -> Samples:
    """Return samples by a name in the catalogue, or from a path.

    Args:
        dataset: one of ``NAMES``, in which upper and lower case, ``-`` and ``_`` are the same; a folder of images; or
            a ``.npy``, ``.npz`` or ``.safetensors`` file.
        options: of a density ``samples``, ``seed`` and its own numbers, see ``sampled``; of made series those of the
            function of their name; of a folder ``size`` and
            ``mode``, see ``read_image_folder``; of a file ``array``, ``layout`` and ``levels``, see
            ``read_sample_file``. Those that are None are left out.

    Raises:
        InputError: there is no such name or path, no such option of it, or it cannot be read.

    Example:
        >>> load_samples("moons", samples=4, noise=0.05).values.shape
        (4, 2)
    """
    given = {word: value for word, value in options.items() if value is not None}
    name = dataset.strip().lower().replace("-", "_")
    if name in DENSITIES:
        return sampled(name, **given)
    if name in (*PUBLISHED, *SIGNALS):
        module, _, function = str(find(name).loader).partition(":")
        return _read(getattr(importlib.import_module(module), function), name, given)
    path = Path(dataset).expanduser()
    if path.is_dir():
        return _read(read_image_folder, "a folder of images", given, path)
    if path.suffix.lower() in ENDINGS:
        return _read(read_sample_file, f"a {path.suffix.lower()} file", given, path)
    if path.is_file():
        raise InputError(f"{path} is a file of unknown ending: give a folder of images, or {', '.join(ENDINGS)}.")
    if len(path.parts) > 1:
        raise InputError(f"no file or folder at {path}: check the path.")
    raise unknown("data set", dataset, NAMES)


def _read(read: Callable[..., Samples], what: str, options: dict[str, Any], *arguments: Path) -> Samples:
    """Call a reader after comparing the options with those it has."""
    known = list(inspect.signature(read).parameters)[len(arguments) :]
    for word in options:
        if word not in known:
            fault = unknown(f"option of {what}", word, known)
            raise InputError(f"{fault} Leave it out, or where a recipe gives it say --data.{word} null.")
    return read(*arguments, **options)
