"""What the layers are tried on: small real sets in their official split, and long sequences that must be remembered."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Sequences:
    """Labelled sequences.

    Attributes:
        x: (B, L, C), 0 where absent.
        present: (B, L) bool.
        y: classes (B,), whole numbers, or values (B,).
    """

    x: Tensor
    present: Tensor
    y: Tensor

    def at(self, rows: Tensor) -> "Sequences":
        """Return some of them."""
        return Sequences(self.x[rows], self.present[rows], self.y[rows])

    def __len__(self) -> int:
        return len(self.y)


@dataclass(frozen=True, kw_only=True)
class Task:
    """Something to learn.

    Attributes:
        name: a file name.
        dataset, metric: as the rows tell them.
        better: ``"higher"`` or ``"lower"``.
        channels: C.
        outputs: classes, or 1 for a value.
        pooling: ``"mean"`` over present elements, or ``"last"``.
        width: channels D of the layers.
        blocks: how many layers.
        span: time that a sequence lasts however many elements it has, for layers that know of time; None: every
            element stands for one unit.
        events: whether single elements count, each by what its channels say together, not a signal that they sample:
            then the lift is a network, and impulses drive the layers that know such.
        steps, batch: length of the training.
        rates: learning rates other than the common one, by layer; only where sequences are drawn, so that no test part
            is needed to choose them.
        noise: deviation of the noise added to inputs in training, in units of their own deviation.
        must: what one of the layers has to reach, or None.
        published: figures of others, by name, as the sites of the archives give them.
    """

    name: str
    dataset: str
    metric: str
    better: str
    channels: int
    outputs: int
    pooling: str
    steps: int
    batch: int
    width: int = 64
    blocks: int = 2
    span: float | None = None
    events: bool = False
    noise: float = 0.0
    rates: tuple[tuple[str, float], ...] = ()
    must: float | None = None
    published: tuple[tuple[str, float], ...] = ()

    def batches(self, seed: int) -> Iterator[Sequences]:
        """Yield the batches of a training."""
        raise NotImplementedError

    def test(self) -> Sequences:
        """Return what is scored."""
        raise NotImplementedError

    def split_hash(self) -> str:
        """Name what is scored and, where there is such, what is trained on."""
        return _digest(self.test())


@dataclass(frozen=True, kw_only=True)
class SmallSet(Task):
    """A set of the UEA and UCR archives as the package aeon ships it, in its official split.

    Inputs are standardised by the training part; series of unequal length are padded and masked.
    """

    def parts(self) -> tuple[Sequences, Sequences]:
        """Return the training and the test part."""
        return _official_split(self.dataset)

    def batches(self, seed: int) -> Iterator[Sequences]:
        """Yield batches of the training part, in a new order each time round."""
        train, generator = self.parts()[0], torch.Generator().manual_seed(seed)
        done = 0
        while True:
            for rows in torch.randperm(len(train), generator=generator).split(self.batch):
                if done == self.steps:
                    return
                done += 1
                part = train.at(rows)
                noise = self.noise * torch.randn(part.x.shape, generator=generator) * part.present.unsqueeze(-1)
                yield Sequences(part.x + noise, part.present, part.y)

    def test(self) -> Sequences:
        """Return the official test part."""
        return self.parts()[1]

    def split_hash(self) -> str:
        """Name both parts."""
        return _digest(*self.parts())


@dataclass(frozen=True, kw_only=True)
class Drawn(Task):
    """A task whose sequences are drawn at random, every batch anew.

    Attributes:
        length: elements of a sequence.
    """

    length: int

    def draw(self, count: int, length: int, generator: torch.Generator) -> Sequences:
        """Draw some sequences."""
        raise NotImplementedError

    def batches(self, seed: int) -> Iterator[Sequences]:
        """Yield new sequences."""
        generator = torch.Generator().manual_seed(seed)
        for _ in range(self.steps):
            yield self.draw(self.batch, self.length, generator)

    def test(self) -> Sequences:
        """Return sequences of a seed of their own."""
        return self.draw(256, self.length, torch.Generator().manual_seed(2**31))


@dataclass(frozen=True, kw_only=True)
class Adding(Drawn):
    """The adding problem: of L numbers from [0, 1) two are marked, one in each half; what is their sum?

    Always to answer 1 has an error of 1/6. What no network here learns from long sequences alone, all learn who meet
    short ones first: the length is ``first`` for a quarter of the steps, then grows geometrically, and is ``length``
    for the last three tenths. The batch shrinks from ``batch`` to ``least`` as sequences grow.

    Source: Hochreiter and Schmidhuber (1997), Long short-term memory, experiment 4, as Arjovsky, Shah and Bengio (2016)
    have it; growing lengths after Bengio, Louradour, Collobert and Weston (2009), Curriculum learning.
    """

    first: int = 50
    least: int = 32
    elements: int = 64_000

    def draw(self, count: int, length: int, generator: torch.Generator) -> Sequences:
        """Draw some sequences."""
        values, marks = torch.rand(count, length, generator=generator), torch.zeros(count, length)
        rows, half = torch.arange(count), length // 2
        for start in (0, half):
            marks[rows, start + torch.randint(half, (count,), generator=generator)] = 1.0
        x = torch.stack([values, marks], dim=-1)
        return Sequences(x, torch.ones(count, length, dtype=torch.bool), (values * marks).sum(1))

    def batches(self, seed: int) -> Iterator[Sequences]:
        """Yield new sequences, short ones first."""
        generator = torch.Generator().manual_seed(seed)
        for step in range(self.steps):
            grown = min(1.0, max(0.0, (step / self.steps - 0.25) / 0.45))
            length = round(self.first * (self.length / self.first) ** grown)
            yield self.draw(max(self.least, min(self.batch, self.elements // length)), length, generator)


@dataclass(frozen=True, kw_only=True)
class Cycles(Drawn):
    """A sine of 2, 3, 4 or 5 cycles in the whole sequence, of any phase, in noise of twice its size: how many are they?

    With L elements a cycle is some L / 4 long, and in fewer elements than a good part of one no answer can be seen, nor
    in few of them through the noise: it is to be gathered along the way. To guess is right in one of four.
    """

    def draw(self, count: int, length: int, generator: torch.Generator) -> Sequences:
        """Draw some sequences."""
        y = torch.randint(4, (count,), generator=generator)
        cycles = (2.0 + y).unsqueeze(1) * torch.linspace(0, 1, length) + torch.rand(count, 1, generator=generator)
        x = 0.5 * torch.sin(2 * torch.pi * cycles) + torch.randn(count, length, generator=generator)
        return Sequences(x.unsqueeze(-1), torch.ones(count, length, dtype=torch.bool), y)


@cache
def _official_split(dataset: str) -> tuple[Sequences, Sequences]:
    """Read the training and the test part, once."""
    from aeon.datasets import load_classification  # pyright: ignore[reportMissingImports]

    raw: Any = [load_classification(dataset, split=split) for split in ("train", "test")]
    classes = sorted(set(raw[0][1]))
    train, test = (_padded(series, [classes.index(label) for label in labels]) for series, labels in raw)
    seen = train.x[train.present]
    return _standardised(train, seen.mean(0), seen.std(0)), _standardised(test, seen.mean(0), seen.std(0))


def _padded(series: list, labels: list[int]) -> Sequences:
    """Stack series (C, L) of any length."""
    longest = max(each.shape[1] for each in series)
    x = torch.zeros(len(series), longest, series[0].shape[0])
    present = torch.zeros(len(series), longest, dtype=torch.bool)
    for row, each in enumerate(series):
        x[row, : each.shape[1]] = torch.tensor(each.T.copy())
        present[row, : each.shape[1]] = True
    return Sequences(x, present, torch.tensor(labels))


def _standardised(part: Sequences, mean: Tensor, std: Tensor) -> Sequences:
    return Sequences((part.x - mean) / std * part.present.unsqueeze(-1), part.present, part.y)


def _digest(*parts: Sequences) -> str:
    digest = hashlib.sha256()
    for part in parts:
        for tensor in (part.x, part.present, part.y):
            digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


TASKS = (
    SmallSet(
        name="japanese_vowels",
        dataset="JapaneseVowels",
        metric="accuracy",
        better="higher",
        channels=12,
        outputs=9,
        pooling="mean",
        steps=600,
        batch=32,
        noise=0.1,
        must=0.97,
        published=(("ROCKET", 0.838), ("HIVE-COTE 2", 0.984), ("FCN", 0.993)),
    ),
    SmallSet(
        name="basic_motions",
        dataset="BasicMotions",
        metric="accuracy",
        better="higher",
        channels=6,
        outputs=4,
        pooling="mean",
        steps=300,
        batch=16,
        noise=0.1,
        must=1.0,
        published=(("the best of the archive", 1.0),),
    ),
    SmallSet(
        name="gun_point",
        dataset="GunPoint",
        metric="accuracy",
        better="higher",
        channels=1,
        outputs=2,
        pooling="mean",
        steps=1000,
        batch=16,
        noise=0.05,
        must=0.98,
        published=(("the best of the archive", 1.0),),
    ),
    Adding(
        name="adding_2000",
        dataset="adding, length 2000",
        metric="mse",
        better="lower",
        channels=2,
        outputs=1,
        pooling="last",
        width=32,
        blocks=1,
        span=50.0,
        events=True,
        steps=2000,
        batch=128,
        rates=(("LinOSS-IM", 1e-2), ("LinOSS-IMEX", 1e-2)),
        length=2000,
        must=0.01,
    ),
    Cycles(
        name="cycles_16384",
        dataset="cycles in noise, length 16384",
        metric="accuracy",
        better="higher",
        channels=1,
        outputs=4,
        pooling="last",
        width=32,
        span=10.0,
        steps=200,
        batch=8,
        length=16384,
        must=0.95,
    ),
)
