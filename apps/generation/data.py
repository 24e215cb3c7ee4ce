"""The data module of generation: independent samples, split, with classes where they are to be told apart."""

import math
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from integrand.apps.generation import APPLICATION
from integrand.apps.generation.task import GenerationTask
from integrand.apps.training.parts_data import PartsData
from integrand.core.errors import InputError, unknown
from integrand.datasets.load_samples import load_samples
from integrand.datasets.samples import Samples
from integrand.datasets.splits import PARTS, IndexSplit, by_series, official, stratified

LEAST = 6
"""Samples in the test part, at the least: each has five other neighbours, and they make five folds."""


class GenerationBatch(NamedTuple):
    """Samples as the data have them.

    Attributes:
        values: (B, *shape), grey values as uint8.
        labels: (B,) int64; the number of classes where there are none.
    """

    values: Tensor
    labels: Tensor

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> "GenerationBatch":
        """Return it on a device."""
        return GenerationBatch(*(each.to(device, non_blocking=non_blocking) for each in self))

    def pin_memory(self) -> "GenerationBatch":
        """Return it in page-locked memory."""
        return GenerationBatch(*(each.pin_memory() for each in self))


class GenerationData(PartsData):
    """Images, points or series that a model learns to draw more of.

    Args:
        dataset: a name in the catalogue; the path of a folder of images, whose subfolders are classes; of a ``.npy``,
            ``.npz`` or ``.safetensors`` file of arrays.
        conditional: whether the classes are told to the model, where there are some.
        samples: drawn of a synthetic density.
        size: pixels a side that images of a folder are resized to; needed where they differ.
        mode: colours they are converted to: ``"L"`` grey, ``"RGB"``.
        array: which array of a file of several holds the samples.
        layout: where the channels of an array of images are: ``"channels_first"`` or ``"channels_last"``.
        levels: grey values of an array of images; 256 when None.
        fractions: shares of training, validation and test; where the publisher holds out a test part, the first two,
            in proportion.
        batch_size: samples a batch.
        num_workers: processes that load batches; 0 for the training process.
        seed: of the order.
        split_seed: of the split, apart from ``seed``, so that several seeds are scored on the same samples.

    Raises:
        InputError: the data cannot be read or split.
    """

    def __init__(
        self,
        dataset: str = "digits",
        *,
        conditional: bool = True,
        samples: int | None = None,
        size: int | None = None,
        mode: Literal["L", "RGB"] | None = None,
        array: str | None = None,
        layout: Literal["channels_first", "channels_last"] | None = None,
        levels: int | None = None,
        fractions: tuple[float, float, float] = (0.72, 0.08, 0.2),
        batch_size: int = 256,
        num_workers: int = 0,
        seed: int = 0,
        split_seed: int = 0,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        for name, value, held, must in (
            ("batch_size", batch_size, batch_size >= 1, "be at least 1"),
            ("num_workers", num_workers, num_workers >= 0, "not be negative"),
            ("samples", samples, samples is None or samples >= 10, "be at least 10"),
            ("size", size, size is None or size >= 2, "be at least 2"),
        ):
            if not held:
                raise InputError(f"data.{name}={value!r} is out of range: it must {must}.")
        self.dataset, self.conditional, self.fractions = dataset, conditional, fractions
        self.reading = {
            "samples": samples,
            "size": size,
            "mode": mode,
            "array": array,
            "layout": layout,
            "levels": levels,
        }
        self.batch_size, self.num_workers, self.seed = batch_size, num_workers, seed
        self.split_seed = split_seed
        self._parts: dict[str, SamplesOfPart] = {}

    def setup(self, stage: str | None = None) -> None:
        """Read and split; a second call does nothing."""
        if self._parts:
            return
        self.samples = self._read()
        self.checksum = self.samples.checksum
        self.split = self._split(self.samples)
        if len(self.split.test) < LEAST:
            raise InputError(
                f"{self.dataset} has {len(self.samples)} samples, of which the shares {tuple(self.fractions)} leave "
                f"{len(self.split.test)} to the test part: give more, so that there are at least {LEAST}, or another "
                "--data.fractions."
            )
        told = self.conditional and len(self.samples.classes) > 1
        self.task = describe(self.samples, np.asarray(self.split.train), conditional=told)
        for part in PARTS:
            rows = np.asarray(self.split.rows(part), dtype=np.int64)
            self._parts[part] = SamplesOfPart(self.samples, rows, labelled=told)

    @property
    def notices(self) -> list[str]:
        """What the reader of the files has to say."""
        self.setup()
        return self.samples.notices

    def part(self, name: str) -> "SamplesOfPart":
        """Return the samples of ``"train"``, ``"validation"`` or ``"test"``."""
        self.setup()
        return self._parts[name]

    def _read(self) -> Samples:
        named = [name for task in APPLICATION.tasks for name in task.datasets]
        path = "/" in self.dataset or Path(self.dataset).suffix or Path(self.dataset).is_dir()
        if not path and self.dataset not in named:
            raise unknown("dataset", self.dataset, named)
        return load_samples(self.dataset, **self.reading)

    def _split(self, samples: Samples) -> IndexSplit:
        of: dict[str, Any] = {"dataset": Path(self.dataset).name, "checksum": self.checksum}
        if samples.test is not None:
            parts = np.where(np.isin(np.arange(len(samples)), samples.test), "test", "train").tolist()
            labels = samples.labels if samples.labels is not None else np.zeros(len(samples), np.int64)
            first, second, _ = self.fractions
            return official(parts, labels, validation=second / (first + second), seed=self.split_seed, of=of)
        if samples.labels is None:
            return by_series(len(samples), fractions=self.fractions, seed=self.split_seed, of=of)
        return stratified(samples.labels, fractions=self.fractions, seed=self.split_seed, of=of)


class SamplesOfPart(Dataset):
    """The samples of one part, batch by batch; index i + N * epoch is sample i.

    Args:
        samples: all of them.
        rows: which of them.
        labelled: whether classes are told.
    """

    def __init__(self, samples: Samples, rows: np.ndarray, *, labelled: bool) -> None:
        self.rows = rows
        self.values = torch.from_numpy(np.ascontiguousarray(samples.values[rows]))
        if labelled and samples.labels is not None:
            self.labels = torch.from_numpy(samples.labels[rows])
        else:
            self.labels = torch.zeros(len(rows), dtype=torch.int64)  # of no classes

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> GenerationBatch:
        return self.__getitems__([index])

    def __getitems__(self, indices: list[int]) -> GenerationBatch:
        """Build the batch of several samples at once."""
        rows = torch.as_tensor(indices) % len(self)
        return GenerationBatch(self.values[rows], self.labels[rows])

    def whole(self) -> GenerationBatch:
        """Return the whole part as one batch."""
        return GenerationBatch(self.values, self.labels)


def describe(samples: Samples, rows: np.ndarray, *, conditional: bool) -> GenerationTask:
    """Return what a network must know of the training samples ``rows``.

    Raises:
        InputError: a class without training samples, or values that are all the same.
    """
    values = samples.values[rows]
    if samples.levels is not None:
        location, scale = _of_grey_values(values, samples.levels)
    elif samples.kind == "image":
        location, scale = [float(values.mean(dtype=np.float64))], [float(values.std(dtype=np.float64))]
    else:
        axes = tuple(axis for axis in range(values.ndim) if axis != 1)
        location = values.mean(axes, dtype=np.float64).tolist()
        scale = values.std(axes, dtype=np.float64).tolist()
    names = samples.channels if len(scale) == len(samples.channels) else ("values",)
    for name, deviation in zip(names, scale, strict=True):
        if not deviation > 0:
            raise InputError(f"{name!r} of {samples.name} is constant in the training part: leave it out.")
    classes = list(samples.classes) if conditional else []
    shares = []
    if classes and samples.labels is not None:
        counts = np.bincount(samples.labels[rows], minlength=len(classes))
        if (counts == 0).any():
            raise InputError(
                f"class {classes[int(np.argmin(counts))]!r} has no sample in the training part: leave it out, or take "
                "--data.conditional false."
            )
        shares = (counts / counts.sum()).tolist()
    return GenerationTask(
        kind=samples.kind,
        shape=list(values.shape[1:]),
        channels=list(samples.channels),
        location=location,
        scale=scale,
        classes=classes,
        class_shares=shares,
        levels=samples.levels,
    )


def _of_grey_values(values: np.ndarray, levels: int) -> tuple[list[float], list[float]]:
    """Return mean and deviation of dequantised grey values on [-1, 1], from how often each occurs."""
    counts = np.bincount(values.reshape(-1), minlength=levels)
    middle = (np.arange(levels) + 0.5) * (2 / levels) - 1
    mean = float(counts @ middle / counts.sum())
    variance = float(counts @ (middle - mean) ** 2 / counts.sum())
    if not variance > 0:
        return [mean], [0.0]  # nothing but the noise of dequantisation
    return [mean], [math.sqrt(variance + (2 / levels) ** 2 / 12)]  # uniform noise adds the variance of a cell
