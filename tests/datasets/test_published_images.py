"""Digits, Fashion-MNIST and CIFAR-10: the published files where they are, and files of their format everywhere."""

import gzip
import hashlib
import io
import struct
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from integrand.core.errors import InputError
from integrand.datasets.catalogue import CATALOGUE, find
from integrand.datasets.idx_files import read_idx
from integrand.datasets.real import cifar10, digits, fashion_mnist


def published(name: str, folder: Path, contents: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """Write files that the catalogue takes for the published ones, and none of Debian's beside them."""
    entry = find(name)
    files = []
    for file in entry.files:
        content = contents[Path(file.path).name]
        path = folder / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        files.append(replace(file, sha256=hashlib.sha256(content).hexdigest(), size=len(content)))
    monkeypatch.setitem(CATALOGUE, name, replace(entry, files=tuple(files)))
    monkeypatch.setenv("INTEGRAND_DATA", str(folder))
    monkeypatch.setenv("XDG_DATA_DIRS", str(folder / "none"))


def idx(array: np.ndarray) -> bytes:
    head = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return gzip.compress(head + array.tobytes())


def test_digits():
    """The first image of the UCI test file, and how many there are of each digit."""
    data = digits.load()
    assert (data.values.shape, data.values.dtype, data.levels) == ((1797, 1, 8, 8), np.uint8, 17)
    assert (data.values.min(), data.values.max()) == (0, 16)
    assert data.values[0, 0, :3].tolist() == [
        [0, 0, 5, 13, 9, 1, 0, 0],
        [0, 0, 13, 15, 10, 15, 5, 0],
        [0, 3, 15, 2, 0, 11, 8, 0],
    ]
    assert data.labels is not None
    assert np.bincount(data.labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert (data.classes, data.test, data.channels) == (tuple("0123456789"), None, ("grey",))


def clothes() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "train-images-idx3-ubyte.gz": rng.integers(0, 256, (7, 28, 28)).astype(np.uint8),
        "train-labels-idx1-ubyte.gz": np.array([9, 0, 1, 2, 3, 4, 5], np.uint8),
        "t10k-images-idx3-ubyte.gz": rng.integers(0, 256, (3, 28, 28)).astype(np.uint8),
        "t10k-labels-idx1-ubyte.gz": np.array([8, 7, 6], np.uint8),
    }


def test_fashion_mnist_puts_the_test_part_last(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    arrays = clothes()
    published("fashion_mnist", tmp_path, {name: idx(array) for name, array in arrays.items()}, monkeypatch)
    data = fashion_mnist.load()
    images = [arrays["train-images-idx3-ubyte.gz"], arrays["t10k-images-idx3-ubyte.gz"]]
    np.testing.assert_array_equal(data.values[:, 0], np.concatenate(images))
    assert data.labels is not None
    assert data.test is not None
    assert data.labels.tolist() == [9, 0, 1, 2, 3, 4, 5, 8, 7, 6]
    assert data.test.tolist() == [7, 8, 9]
    assert (data.classes[9], data.levels, data.notices) == ("ankle boot", 256, [])


def test_fashion_mnist_is_read_from_debians_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Where nothing is downloaded: by what the files hold, for Debian zips them anew."""
    arrays = clothes()
    folder = tmp_path / "share/datasets/fashion-mnist"
    folder.mkdir(parents=True)
    for name, array in arrays.items():
        (folder / name).write_bytes(idx(array))
        content = gzip.decompress(idx(array))
        monkeypatch.setitem(fashion_mnist.UNZIPPED, name, hashlib.sha256(content).hexdigest())
    monkeypatch.setenv("INTEGRAND_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_DATA_DIRS", f"{tmp_path / 'none'}:{tmp_path / 'share'}")
    data = fashion_mnist.load()
    assert len(data) == 10
    assert data.notices == [f"read from the Debian package dataset-fashion-mnist in {folder}"]
    (folder / "t10k-labels-idx1-ubyte.gz").write_bytes(idx(np.array([8, 7, 5], np.uint8)))
    with pytest.raises(InputError, match=r"t10k-labels-idx1-ubyte.gz is damaged: sha256 \w+ when unzipped"):
        fashion_mnist.load()


def test_what_is_missing_of_fashion_mnist_is_told_with_the_cure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("INTEGRAND_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_DATA_DIRS", str(tmp_path))
    with pytest.raises(InputError, match=r"data download fashion_mnist.* or on Debian run 'apt install dataset"):
        fashion_mnist.load()


def test_images_without_their_labels_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    arrays = clothes() | {"t10k-labels-idx1-ubyte.gz": np.array([8, 7], np.uint8)}
    published("fashion_mnist", tmp_path, {name: idx(array) for name, array in arrays.items()}, monkeypatch)
    with pytest.raises(InputError, match=r"t10k-images.* of shape \(3, 28, 28\) and its labels are \(2,\)"):
        fashion_mnist.load()


@pytest.mark.parametrize("source", ["debian", "download"])
def test_the_published_clothes(source: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """6,000 and 1,000 of each class, an ankle boot first, the mean of the training images 0.2860 of 255."""
    if source == "debian":
        monkeypatch.setenv("INTEGRAND_DATA", str(tmp_path))
        monkeypatch.delenv("XDG_DATA_DIRS", raising=False)
    else:
        monkeypatch.setenv("XDG_DATA_DIRS", str(tmp_path))
    try:
        data = fashion_mnist.load()
    except InputError as error:
        pytest.skip(str(error))
    assert data.labels is not None
    assert data.test is not None
    held_out = np.zeros(len(data), bool)
    held_out[data.test] = True
    assert np.bincount(data.labels[~held_out]).tolist() == [6000] * 10
    assert np.bincount(data.labels[held_out]).tolist() == [1000] * 10
    assert data.classes[data.labels[0]] == "ankle boot"
    assert data.values[~held_out].mean() / 255 == pytest.approx(0.2860, abs=5e-5)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"plain", "cannot read .*one.gz"),
        (gzip.compress(b"12345")[:-6], "cannot read .*one.gz"),
        (gzip.compress(b"12"), r"no IDX file of unsigned bytes \(it begins with 3132\)"),
        (gzip.compress(struct.pack(">BBBBI", 0, 0, 13, 1, 2) + b"12345678"), "no IDX file of unsigned bytes"),
        (gzip.compress(struct.pack(">BBBBII", 0, 0, 8, 2, 2, 3) + b"12345"), "damaged: 5 values where 6 are right"),
        (gzip.compress(struct.pack(">BBBBI", 0, 0, 8, 3, 2)), "damaged: 0 values where"),
    ],
    ids=["plain", "torn", "short", "wide", "fewer", "empty"],  # gzip writes the time, which is another in each process
)
def test_damaged_idx_files_are_told(content: bytes, words: str, tmp_path: Path):
    (tmp_path / "one.gz").write_bytes(content)
    with pytest.raises(InputError, match=words):
        read_idx(tmp_path / "one.gz")


def archive(parts: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as files:
        for name, content in parts.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            files.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def photographs() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    names = [
        "batches.meta.txt",
        "data_batch_1",
        "data_batch_4",
        "data_batch_5",
        "data_batch_2",
        "data_batch_3",
        "test_batch",
    ]
    return {name: rng.integers(0, 10, (4, 3073)).astype(np.uint8) for name in names[1:]}


def as_archive(parts: dict[str, np.ndarray]) -> bytes:
    """In the order that the publisher's has, which is not that of the numbers."""
    return archive(
        {"cifar-10-batches-bin/batches.meta.txt": b"airplane\n"}
        | {f"cifar-10-batches-bin/{name}.bin": part.tobytes() for name, part in parts.items()}
    )


def test_cifar10_is_read_within_its_archive(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    parts = photographs()
    published("cifar10", tmp_path, {"cifar-10-binary.tar.gz": as_archive(parts)}, monkeypatch)
    data = cifar10.load()
    assert (data.values.shape, data.levels, data.channels) == ((24, 3, 32, 32), 256, ("red", "green", "blue"))
    assert data.labels is not None
    assert data.test is not None
    assert data.test.tolist() == [20, 21, 22, 23]
    order = [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]
    for index, name in enumerate(order):
        for row in range(4):
            record = parts[name][row]
            at = 4 * index + row
            assert data.labels[at] == record[0]
            assert data.values[at, 1, 2, 3] == record[1 + 1024 + 2 * 32 + 3]  # green, third row, fourth column


def test_damaged_archives_are_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    parts = photographs()
    whole = as_archive(parts)
    fewer = as_archive({name: part for name, part in parts.items() if name != "data_batch_3"})
    odd = as_archive(parts | {"data_batch_2": parts["data_batch_2"][:, :-1]})
    cases = {
        whole[: len(whole) // 2]: "cannot read",
        b"no archive": "cannot read",
        fewer: r"holds no cifar-10-batches-bin/data_batch_3\.bin",
        odd: r"data_batch_2\.bin in .* has 12,288 bytes, not a multiple of 3,073",
    }
    for content, words in cases.items():
        published("cifar10", tmp_path, {"cifar-10-binary.tar.gz": content}, monkeypatch)
        with pytest.raises(InputError, match=f"{words}.*integrand data check cifar10"):
            cifar10.load()
