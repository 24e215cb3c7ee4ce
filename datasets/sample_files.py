"""Arrays in a file as samples: images, points, series, or the latent variables of an autoencoder of one's own.

Dimension letters: N samples, D numbers of a point, C channels, H rows, W columns, L length.
"""

import zipfile
from pathlib import Path
from typing import Literal

import numpy as np

from integrand.core.errors import InputError, unknown
from integrand.datasets.samples import Kind, Samples

ENDINGS = (".npy", ".npz", ".safetensors")
LAYOUTS = ("channels_first", "channels_last")
VALUES = ("values", "images", "latents", "x")
LABELS = ("labels", "y")
MOST_CHANNELS = 4
"""An axis this short is taken for the channels of an image of grey values, where there is one such axis."""


def read_sample_file(
    path: Path | str,
    *,
    array: str | None = None,
    layout: Literal["channels_first", "channels_last"] | None = None,
    levels: int | None = None,
) -> Samples:
    """Read samples from a ``.npy``, ``.npz`` or ``.safetensors`` file, by the type and the number of axes of its array.

    Whole numbers of 8 bits (or booleans) are the grey values of images (N, H, W), (N, C, H, W) or (N, H, W, C). Real
    numbers are points (N, D), series (N, C, L) or, laid out as images are, (N, C, H, W), such as the latent variables
    of an autoencoder. A file of several arrays may hold labels besides, whole numbers (N,), under the name ``labels``
    or ``y``. No pickle is ever opened.

    Args:
        path: the file.
        array: name of the array in a file of several; None takes ``values``, ``images``, ``latents``, ``x`` or the one
            there is.
        layout: where the channels of (N, ., ., .) grey values are; None tells by which axis is short.
        levels: number of grey values; 256, or 2 for booleans, where None.

    Raises:
        InputError: there is no such file or array, it is damaged, or it cannot be told what its axes are.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "latents.npy"
        >>> np.save(file, np.zeros((5, 4, 8, 8), np.float16))
        >>> latents = read_sample_file(file)
        >>> latents.kind, latents.values.dtype, latents.levels
        ('image', dtype('float32'), None)
    """
    file = Path(path).expanduser()
    if layout is not None and layout not in LAYOUTS:
        raise unknown("layout", layout, LAYOUTS)
    arrays = _arrays(file)
    name = _chosen(file, arrays, array)
    values = arrays[name]
    if not values.size:
        raise InputError(f"{file} holds no sample: its array has shape {values.shape}.")
    if values.dtype.kind == "f":
        kind, values = _real(file, values, layout, levels)
    else:
        kind, levels = "image", levels or (2 if values.dtype.kind == "b" else 256)
        values = _grey(file, values, layout)
    labels = _labels(file, arrays, name, len(values))
    return Samples(
        name=file.stem,
        kind=kind,
        values=values,
        labels=labels,
        classes=() if labels is None else tuple(str(label) for label in range(int(labels.max()) + 1)),
        levels=levels,
    )


def _arrays(file: Path) -> dict[str, np.ndarray]:
    if file.suffix.lower() not in ENDINGS:
        raise InputError(f"{file} has an unknown ending: samples are read from {', '.join(ENDINGS)}.")
    if not file.is_file():
        raise InputError(f"no file at {file}: check the path.")
    try:
        if file.suffix.lower() == ".safetensors":
            from safetensors import SafetensorError
            from safetensors.torch import load_file

            try:
                tensors = load_file(file)
            except SafetensorError as error:
                raise ValueError(str(error)) from error
            # Of numpy's types bfloat16 is none; in single precision it is exact.
            return {
                name: (tensor.float() if tensor.is_floating_point() else tensor).numpy()
                for name, tensor in tensors.items()
            }
        found = np.load(file, allow_pickle=False)
        if isinstance(found, np.ndarray):
            return {"": found}
        with found:
            return {name: found[name] for name in found.files}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise InputError(f"cannot read {file} ({reason}): save the array again, without objects in it.") from error


def _chosen(file: Path, arrays: dict[str, np.ndarray], array: str | None) -> str:
    if array is not None:
        if array not in arrays:
            raise unknown(f"array of {file}", array, arrays)
        return array
    named = [name for name in VALUES if name in arrays]
    others = named or [name for name in arrays if name not in LABELS]
    if len(others) != 1:
        raise InputError(
            f"{file} holds the arrays {', '.join(arrays) or 'none'}: say with --data.array which are the samples."
        )
    return others[0]


def _real(file: Path, values: np.ndarray, layout: str | None, levels: int | None) -> tuple[Kind, np.ndarray]:
    kinds: dict[int, Kind] = {2: "points", 3: "series", 4: "image"}
    if values.ndim not in kinds:
        raise InputError(
            f"{file} holds real numbers of shape {values.shape}: give points (N, D), series (N, C, L) or (N, C, H, W)."
        )
    if levels is not None:
        raise InputError(f"{file} holds real numbers, which have no levels={levels}: leave it out, or save as uint8.")
    if values.ndim == 4 and layout == "channels_last":
        values = values.transpose(0, 3, 1, 2)
    with np.errstate(over="ignore"):
        return kinds[values.ndim], np.ascontiguousarray(values, dtype=np.float32)


def _grey(file: Path, values: np.ndarray, layout: str | None) -> np.ndarray:
    if values.dtype != np.uint8 and values.dtype.kind != "b":
        raise InputError(f"{file} holds values of type {values.dtype}: save images as uint8, and all else as float32.")
    if values.ndim == 3:
        values = values[:, None]
    elif values.ndim == 4:
        first, last = values.shape[1] <= MOST_CHANNELS, values.shape[3] <= MOST_CHANNELS
        if layout is None and first == last:
            raise InputError(
                f"{file} holds images of shape {values.shape}, whose channels may be the second axis or the last: say "
                "--data.layout channels_first or channels_last."
            )
        if layout == "channels_last" or (layout is None and last):
            values = values.transpose(0, 3, 1, 2)
    else:
        raise InputError(
            f"{file} holds whole numbers of shape {values.shape}: give images (N, H, W), (N, C, H, W) or (N, H, W, C), "
            "or save points as float32."
        )
    return np.ascontiguousarray(values, dtype=np.uint8)


def _labels(file: Path, arrays: dict[str, np.ndarray], values: str, count: int) -> np.ndarray | None:
    name = next((name for name in LABELS if name in arrays and name != values), None)
    if name is None:
        return None
    labels = arrays[name]
    if labels.shape != (count,) or labels.dtype.kind not in "iu" or labels.min() < 0:
        raise InputError(
            f"{name} in {file} are {labels.shape} {labels.dtype}: give ({count},) whole numbers from 0 on, or leave "
            "them out."
        )
    return labels.astype(np.int64)
