"""Images in a folder, with a subfolder for each class or with none, as samples.

Dimension letters: N images, C channels, H rows, W columns.
"""

import itertools
import struct
import warnings
from collections import Counter
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from integrand.core.errors import InputError, unknown
from integrand.datasets.samples import Samples

Mode = Literal["L", "RGB"]
MODES = ("L", "RGB")
"""Grey and colour, as Pillow names them."""
ENDINGS = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff"})
TOLERATED = 0.1
"""Share of the images that may be unreadable."""
UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, struct.error)
"""What Pillow raises on damaged files, by format."""
DEEP = ("I", "I;16", "I;16L", "I;16B", "I;16N", "F")
"""Pillow's modes of more than 256 grey values."""


class Picture(NamedTuple):
    """One image that was read.

    Attributes:
        name: its path within the folder.
        values: (H, W) or (H, W, 3) uint8.
        mode: the mode it was stored in, a palette told as what it stands for.
        enlarged: whether it was smaller than the size that was asked for.
        frames: how many there are in its file, of which the first was taken.
    """

    name: str
    values: np.ndarray
    mode: str
    enlarged: bool
    frames: int


def read_image_folder(path: Path | str, size: int | tuple[int, int] | None = None, mode: Mode | None = None) -> Samples:
    """Read the images of a folder, in the order of their names, grey (N, 1, H, W) or coloured (N, 3, H, W) uint8.

    Where the folder has images itself, they have no labels; else each of its folders is a class, named after it, with
    all images within, however deep. Other files are left alone, hidden ones unseen. Images are turned as their EXIF
    orientation says. Of several frames the first is taken. Transparent images are laid on white where ``mode`` is
    given, and refused otherwise. Images that cannot be read are left out, and told of, up to one in ten.

    Args:
        path: the folder.
        size: side in points of the square, or rows and columns, to which each image is cut about its centre and
            resampled with Lanczos's filter; None where all have one size.
        mode: ``"L"`` turns all images into grey, ``"RGB"`` into colour; None where all are one of these.

    Raises:
        InputError: there is no such folder or no image in it; too many cannot be read; sizes or modes differ and the
            options do not say what to do; an option is out of range.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> folder = Path(tempfile.mkdtemp())
        >>> for index in range(3):
        ...     Image.new("RGB", (9, 6), (255, 128, 0)).save(folder / f"{index}.png")
        >>> read_image_folder(folder, size=4).values.shape
        (3, 3, 4, 4)
    """
    folder = Path(path).expanduser()
    rows_columns = _size_of(size)
    if mode is not None and mode not in MODES:
        raise unknown("image mode", mode, MODES)
    files, classes, notices = _files(folder)
    pictures, labels, broken = [], [], []
    for file, label in files:
        name = file.relative_to(folder).as_posix()
        try:
            pictures.append(_read(file, name, rows_columns, mode))
            labels.append(label)
        except InputError:
            raise
        except UNREADABLE as error:
            broken.append(f"{name} ({' '.join(str(error).split()) or type(error).__name__})")
    _check_broken(folder, broken, len(files))
    _check_alike(folder, pictures, mode)
    values = np.stack([picture.values for picture in pictures])
    return Samples(
        name=folder.resolve().name,
        kind="image",
        values=np.ascontiguousarray(values[:, None] if values.ndim == 3 else values.transpose(0, 3, 1, 2)),
        labels=np.array(labels, dtype=np.int64) if classes else None,
        classes=classes,
        levels=256,
        notices=[*notices, *_notices(pictures, broken, len(files))],
    )


def _size_of(size: int | tuple[int, int] | None) -> tuple[int, int] | None:
    if size is None:
        return None
    both = tuple(size) if isinstance(size, tuple | list) else (size, size)
    if len(both) != 2 or not all(isinstance(side, int) and not isinstance(side, bool) and side > 0 for side in both):
        raise InputError(f"size={size!r} is out of range: give one whole number above 0, or rows and columns.")
    return both


def _files(folder: Path) -> tuple[list[tuple[Path, int]], tuple[str, ...], list[str]]:
    """Return the images with the number of their class, the classes, and what was passed over."""
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "is not there"
        raise InputError(f"{folder} {what}: name a folder of images.")
    below = sorted(
        (each for each in folder.rglob("*") if each.is_file() and not _hidden(each.relative_to(folder))),
        key=lambda each: each.relative_to(folder).parts,
    )
    images = [each for each in below if each.suffix.lower() in ENDINGS]
    if not images:
        other = f"; {below[0].name} has another ending" if below else ""
        raise InputError(f"{folder} holds no image: put images into it ({', '.join(sorted(ENDINGS))}{other}).")
    others = len(below) - len(images)
    notices = [f"{others} files that are no images, the first {_within(folder, below, images)}"] if others else []
    loose = [each for each in images if each.parent == folder]
    nested = [each for each in images if each.parent != folder]
    if loose and nested:
        raise InputError(
            f"{folder} holds images, such as {loose[0].name}, beside folders of images, such as "
            f"{nested[0].relative_to(folder).parts[0]}: move them into folders by class, or all into one."
        )
    if loose:
        return [(each, 0) for each in images], (), notices
    classes = tuple(dict.fromkeys(each.relative_to(folder).parts[0] for each in images))
    folders = (each.name for each in folder.iterdir() if each.is_dir() and not each.name.startswith("."))
    notices += [f"folder {name} holds no image and is no class" for name in sorted(set(folders) - set(classes))]
    return [(each, classes.index(each.relative_to(folder).parts[0])) for each in images], classes, notices


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in path.parts)


def _within(folder: Path, below: list[Path], images: list[Path]) -> str:
    seen = set(images)
    return next(each.relative_to(folder).as_posix() for each in below if each not in seen)


def _read(file: Path, name: str, size: tuple[int, int] | None, mode: Mode | None) -> Picture:
    """Read an image whole, turn, convert, cut and resample it.

    Raises:
        InputError: it has more than 256 grey values, or what it needs is not said; damaged files raise ``UNREADABLE``.
    """
    from PIL import Image, ImageOps  # costs 0.1 s, which other data need not pay

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what is wrong with a file is told in one line for all
        try:
            with Image.open(file) as opened:
                frames = getattr(opened, "n_frames", 1)
                image = ImageOps.exif_transpose(opened)
                image.load()
        except Image.DecompressionBombError as error:
            raise OSError("too many points") from error
    if image.mode in DEEP:
        raise InputError(
            f"{name} has more than 256 grey values (mode {image.mode}): convert it to 8 bits, or give the images as a "
            "float32 array in a .npy file."
        )
    image, stored = _plain(image, name, mode)
    enlarged = False
    if size is not None:
        enlarged = image.height < size[0] or image.width < size[1]
        # Cut before resampling: ImageOps.fit lets points beyond the cut into the filter.
        scale = min(image.height / size[0], image.width / size[1])
        rows, columns = max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
        left, top = (image.width - columns) // 2, (image.height - rows) // 2
        image = image.crop((left, top, left + columns, top + rows))
        image = image.resize((size[1], size[0]), Image.Resampling.LANCZOS)
    return Picture(name, np.asarray(image), stored, enlarged, frames)


def _plain(image: Any, name: str, mode: Mode | None) -> tuple[Any, str]:
    """Return an image in mode L or RGB, and the mode it was stored in, without palette and without opaque alpha."""
    from PIL import Image

    if image.mode == "PA" or "transparency" in image.info:
        image = image.convert("LA" if image.mode in ("1", "L") else "RGBA")
    if image.mode == "P":
        image = image.convert("RGB")
    if image.mode == "1":
        image = image.convert("L")
    if image.mode in ("LA", "RGBA", "La", "RGBa"):
        image = image.convert("RGBA" if image.mode.upper() == "RGBA" else "LA")
        stored = image.mode
        if image.getchannel("A").getextrema() == (255, 255):
            image = image.convert("RGB" if stored == "RGBA" else "L")
        elif mode is None:
            like = "RGB" if stored == "RGBA" else "L"
            raise InputError(f"{name} is partly transparent: give --data.mode {like} to lay such images on white.")
        else:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
            image = image if stored == "RGBA" else image.convert("L")
    stored = image.mode
    if mode is not None:
        return image.convert(mode), stored
    if stored not in MODES:
        raise InputError(f"{name} is stored in mode {stored}: give --data.mode RGB to convert such images.")
    return image, stored


def _check_broken(folder: Path, broken: list[str], count: int) -> None:
    if len(broken) == count:
        raise InputError(f"none of the {count} images in {folder} can be read, the first is {broken[0]}: check them.")
    if len(broken) > TOLERATED * count:
        raise InputError(
            f"{len(broken)} of {count} images in {folder} cannot be read, more than one in ten, the first is "
            f"{broken[0]}: mend or remove them."
        )


def _check_alike(folder: Path, pictures: list[Picture], mode: Mode | None) -> None:
    """Raise where two images differ in mode or size, naming the first two that do."""
    for one, other in itertools.pairwise(pictures):
        if mode is None and one.mode != other.mode:
            raise InputError(
                f"images in {folder} are of mixed modes: {one.name} is {_called(one)} and {other.name} is "
                f"{_called(other)}; give --data.mode RGB, or L."
            )
        if one.values.shape[:2] != other.values.shape[:2]:
            (height, width), (rows, columns) = one.values.shape[:2], other.values.shape[:2]
            least = min(height, width, rows, columns)
            raise InputError(
                f"images in {folder} are of mixed sizes: {one.name} is {width} x {height} and {other.name} is "
                f"{columns} x {rows}; give --data.size {least} to cut and resample them all."
            )


def _called(picture: Picture) -> str:
    return {"L": "grey (L)", "RGB": "coloured (RGB)"}[picture.mode]


def _notices(pictures: list[Picture], broken: list[str], count: int) -> list[str]:
    told = []
    if broken:
        told.append(f"{len(broken)} of {count} images could not be read and are left out, the first {broken[0]}")
    facts = Counter(enlarged=sum(each.enlarged for each in pictures), frames=sum(each.frames > 1 for each in pictures))
    if facts["enlarged"]:
        first = next(each.name for each in pictures if each.enlarged)
        told.append(f"{facts['enlarged']} of {count} images were enlarged to the size asked for, the first {first}")
    if facts["frames"]:
        first = next(each.name for each in pictures if each.frames > 1)
        told.append(f"{facts['frames']} of {count} images have several frames, of which the first is taken, as {first}")
    return told
