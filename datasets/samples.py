"""Independent samples: what a generative model learns from, be they points, images or series.

Dimension letters: N samples, D numbers of a point, C channels, H rows and W columns of an image, L length of a series.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from integrand.core.errors import InputError, unknown

Rows = Sequence[int] | np.ndarray
Kind = Literal["points", "image", "series"]
RANKS: dict[str, tuple[int, str]] = {"points": (2, "(N, D)"), "image": (4, "(N, C, H, W)"), "series": (3, "(N, C, L)")}
"""Number of axes of the values of each kind, and what they are."""


@dataclass(frozen=True, eq=False)
class Samples:
    """Independent draws from one distribution, which may be known by these draws alone.

    Attributes:
        name: what the data are called.
        kind: ``"points"``, ``"image"`` or ``"series"``.
        values: points (N, D) float32, images (N, C, H, W), series (N, C, L) float32. Images are uint8, grey values from
            0 to ``levels`` - 1, or float32 where ``levels`` is None: real numbers that are laid out as images are, such
            as the latent variables of an autoencoder.
        labels: (N,) int64, an index into ``classes``, or None.
        classes: name of each class, in the order of the labels' numbers; empty where there are no labels.
        levels: number of grey values of an image, from 2 to 256, or None.
        channels: name of each of the D numbers of a point, or of the C channels of an image or a series.
        test: (n,) int64, the rows that the publisher holds out for testing, or None.
        notices: what the user should know of how the data were read, one line each.
        log_density: maps float64 (N, D) to the exact logarithm of the density there, (N,) float64 in nats, -inf where
            it is 0; None where it is not known. For points alone.

    Raises:
        InputError: the parts don't fit together; the message names the one at fault.

    Example:
        >>> grey = np.zeros((3, 1, 2, 2), np.uint8)
        >>> one = Samples("dark", "image", grey, labels=np.array([0, 1, 1]), classes=("cat", "dog"), levels=17)
        >>> len(one), one.at([2]).labels.tolist(), one.channels
        (3, [1], ('grey',))
    """

    name: str
    kind: Kind
    values: np.ndarray
    labels: np.ndarray | None = None
    classes: tuple[str, ...] = ()
    levels: int | None = None
    channels: tuple[str, ...] = ()
    test: np.ndarray | None = None
    notices: list[str] = field(default_factory=list)
    log_density: Callable[[np.ndarray], np.ndarray] | None = None

    def __post_init__(self) -> None:
        if self.kind not in RANKS:
            raise unknown("kind of samples", self.kind, RANKS)
        rank, shape = RANKS[self.kind]
        if self.values.ndim != rank or 0 in self.values.shape:
            raise InputError(
                f"values of {self.name!r} have shape {self.values.shape}: samples of kind {self.kind} are {shape}, "
                "none of them 0."
            )
        self._check_values()
        if not self.channels:
            object.__setattr__(self, "channels", channel_names(self.kind, self.values.shape[1]))
        if len(self.channels) != self.values.shape[1] or len(set(self.channels)) < len(self.channels):
            raise InputError(
                f"channels of {self.name!r} are {self.channels}, where the values have {self.values.shape[1]}: name "
                "each once."
            )
        self._check_labels()
        self._check_test()
        if self.log_density is not None and self.kind != "points":
            raise InputError(
                f"samples {self.name!r} of kind {self.kind} have a log_density, which only points may have."
            )

    def __len__(self) -> int:
        return len(self.values)

    def at(self, rows: Rows) -> "Samples":
        """Return the samples with the numbers ``rows``, in that order; ``test`` tells which of them are held out."""
        chosen = np.asarray(rows, dtype=np.int64)
        return replace(
            self,
            values=self.values[chosen],
            labels=None if self.labels is None else self.labels[chosen],
            test=None if self.test is None else np.flatnonzero(np.isin(chosen, self.test)),
        )

    @property
    def checksum(self) -> str:
        """Sixteen hexadecimal digits of SHA-256 over all there is but the notices and the density."""
        arrays = {"values": self.values, "labels": self.labels, "test": self.test}
        present = {word: array for word, array in arrays.items() if array is not None}
        shapes = {word: [str(array.dtype), *array.shape] for word, array in present.items()}
        words = [self.name, self.kind, self.classes, self.levels, self.channels, shapes]
        digest = hashlib.sha256(json.dumps(words).encode())
        for array in present.values():
            digest.update(np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).tobytes())
        return digest.hexdigest()[:16]

    def _check_values(self) -> None:
        if self.levels is not None and not (self.kind == "image" and 2 <= self.levels <= 256):
            raise InputError(
                f"samples {self.name!r} of kind {self.kind} have levels={self.levels}: images alone have 2 to 256 grey "
                "values."
            )
        if self.values.dtype != (np.float32 if self.levels is None else np.uint8):
            raise InputError(
                f"values of {self.name!r} are {self.values.dtype}: images with levels are uint8, all else is float32."
            )
        if self.levels is not None and int(self.values.max()) >= self.levels:
            raise InputError(
                f"samples {self.name!r} hold the grey value {int(self.values.max())}, where levels={self.levels} has 0 "
                f"to {self.levels - 1}: give the number of levels that there are."
            )
        if self.levels is None:
            finite = np.isfinite(self.values).reshape(len(self), -1).all(1)
            if not finite.all():
                raise InputError(
                    f"sample {int(np.argmin(finite))} of {self.name!r} holds a value that is not finite: leave it out."
                )

    def _check_labels(self) -> None:
        if self.labels is None:
            if self.classes:
                raise InputError(f"samples {self.name!r} have the classes {self.classes} and no labels: give both.")
            return
        if self.labels.dtype != np.int64 or self.labels.shape != (len(self),):
            raise InputError(
                f"labels of {self.name!r} must be ({len(self)},) int64, got {self.labels.shape} {self.labels.dtype}."
            )
        if not self.classes or len(set(self.classes)) < len(self.classes):
            raise InputError(f"classes of {self.name!r} are {self.classes}: name each class of the labels once.")
        wrong = (self.labels < 0) | (self.labels >= len(self.classes))
        if wrong.any():
            row = int(np.argmax(wrong))
            raise InputError(
                f"sample {row} of {self.name!r} has label {self.labels[row]}, where {len(self.classes)} classes are "
                f"numbered 0 to {len(self.classes) - 1}: correct it, or name its class."
            )

    def _check_test(self) -> None:
        if self.test is None:
            return
        if self.test.dtype != np.int64 or self.test.ndim != 1:
            raise InputError(f"test of {self.name!r} must be (n,) int64, got {self.test.shape} {self.test.dtype}.")
        inside = (self.test >= 0) & (self.test < len(self))
        if not inside.all() or len(np.unique(self.test)) < len(self.test):
            raise InputError(f"test of {self.name!r} must be rows from 0 to {len(self) - 1}, each once: correct them.")


def channel_names(kind: str, count: int) -> tuple[str, ...]:
    """Return the usual names of channels: x, y, z of a point, grey or red, green and blue of an image, else numbers.

    Example:
        >>> channel_names("points", 2), channel_names("image", 3), channel_names("series", 2)
        (('x', 'y'), ('red', 'green', 'blue'), ('channel_0', 'channel_1'))
    """
    usual: dict[tuple[str, int], tuple[str, ...]] = {
        ("points", 1): ("x",),
        ("points", 2): ("x", "y"),
        ("points", 3): ("x", "y", "z"),
        ("image", 1): ("grey",),
        ("image", 3): ("red", "green", "blue"),
    }
    return usual.get((kind, count), tuple(f"channel_{index}" for index in range(count)))
