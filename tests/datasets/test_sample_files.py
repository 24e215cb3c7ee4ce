"""Arrays in files as samples, and samples by name or path."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from integrand.core.errors import InputError
from integrand.datasets.load_samples import NAMES, PUBLISHED, load_samples
from integrand.datasets.sample_files import read_sample_file

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (5, 6, 7)).astype(np.uint8)
COLOUR = RNG.integers(0, 256, (5, 6, 7, 3)).astype(np.uint8)


def npy(path: Path, array: np.ndarray) -> Path:
    np.save(path / "data.npy", array)
    return path / "data.npy"


def npz(path: Path, array: np.ndarray) -> Path:
    np.savez_compressed(path / "data.npz", array)
    return path / "data.npz"


def safetensors(path: Path, array: np.ndarray) -> Path:
    save_file({"latents": torch.from_numpy(array)}, path / "data.safetensors")
    return path / "data.safetensors"


@pytest.mark.parametrize("write", [npy, npz, safetensors])
@pytest.mark.parametrize(("shape", "kind"), [((5, 3), "points"), ((5, 2, 9), "series"), ((5, 4, 2, 3), "image")])
def test_real_numbers_are_told_by_their_axes(write: Callable, shape: tuple[int, ...], kind: str, tmp_path: Path):
    values = RNG.normal(size=shape).astype(np.float32)
    data = read_sample_file(write(tmp_path, values))
    np.testing.assert_array_equal(data.values, values)
    assert (data.name, data.kind, data.levels, data.labels) == ("data", kind, None, None)


def test_halves_and_doubles_become_single(tmp_path: Path):
    for dtype in (np.float16, np.float64):
        data = read_sample_file(npy(tmp_path, RNG.normal(size=(4, 3)).astype(dtype)))
        assert data.values.dtype == np.float32
    save_file({"z": torch.tensor([[1.5, -3.0]], dtype=torch.bfloat16)}, tmp_path / "b.safetensors")
    assert read_sample_file(tmp_path / "b.safetensors").values.tolist() == [[1.5, -3.0]]


@pytest.mark.parametrize("write", [npy, npz])
def test_grey_values_are_images(write: Callable, tmp_path: Path):
    grey = read_sample_file(write(tmp_path, GREY))
    np.testing.assert_array_equal(grey.values[:, 0], GREY)
    last = read_sample_file(write(tmp_path, COLOUR))
    np.testing.assert_array_equal(last.values, COLOUR.transpose(0, 3, 1, 2))
    first = read_sample_file(write(tmp_path, COLOUR.transpose(0, 3, 1, 2)))
    assert (last.checksum, last.levels, last.kind) == (first.checksum, 256, "image")
    masks = read_sample_file(write(tmp_path, GREY > 100))
    assert (masks.levels, masks.values.max()) == (2, 1)
    assert read_sample_file(write(tmp_path, GREY % 17), levels=17).levels == 17


def test_which_axis_holds_the_channels_is_asked_where_it_cannot_be_told(tmp_path: Path):
    thin = npy(tmp_path, np.zeros((5, 3, 8, 4), np.uint8))
    with pytest.raises(InputError, match=r"may be the second axis or the last: say --data\.layout channels_first"):
        read_sample_file(thin)
    assert read_sample_file(thin, layout="channels_last").values.shape == (5, 4, 3, 8)
    assert read_sample_file(thin, layout="channels_first").values.shape == (5, 3, 8, 4)
    latents = npy(tmp_path, np.zeros((5, 8, 9, 4), np.float32))
    assert read_sample_file(latents).values.shape == (5, 8, 9, 4)
    assert read_sample_file(latents, layout="channels_last").values.shape == (5, 4, 8, 9)


def test_labels_beside_the_samples(tmp_path: Path):
    file = tmp_path / "two.npz"
    np.savez(file, images=GREY, labels=np.array([2, 0, 1, 0, 2], np.int32))
    data = read_sample_file(file)
    assert data.labels is not None
    assert (data.labels.tolist(), data.labels.dtype, data.classes) == ([2, 0, 1, 0, 2], np.int64, ("0", "1", "2"))
    np.savez(file, images=GREY, labels=np.array([2, 0, 1, 0]))
    with pytest.raises(InputError, match=r"labels in .* are \(4,\) int64: give \(5,\) whole numbers from 0 on"):
        read_sample_file(file)
    np.savez(file, a=GREY, b=GREY)
    with pytest.raises(InputError, match=r"holds the arrays a, b: say with --data\.array which"):
        read_sample_file(file)
    assert len(read_sample_file(file, array="b")) == 5
    with pytest.raises(InputError, match=r"unknown array of .*two\.npz 'c'"):
        read_sample_file(file, array="c")


@pytest.mark.parametrize(
    ("array", "options", "words"),
    [
        (np.zeros(4), {}, r"real numbers of shape \(4,\): give points"),
        (np.zeros((4, 1, 1, 1, 1)), {}, "real numbers of shape"),
        (np.zeros((0, 2)), {}, "holds no sample"),
        (np.zeros((4, 2)), {"levels": 256}, "real numbers, which have no levels=256"),
        (np.full((4, 2), 1e60), {}, "sample 0 of 'data' holds a value that is not finite"),
        (np.array([[1.0, 2.0], [np.nan, 0.0]]), {}, "sample 1 of 'data' holds a value that is not finite"),
        (np.zeros((4, 8, 8), np.int64), {}, "values of type int64: save images as uint8"),
        (np.zeros((4, 2), np.uint8), {}, r"whole numbers of shape \(4, 2\): give images"),
        (GREY, {"levels": 9}, "where levels=9 has 0 to 8"),
        (GREY, {"layout": "last"}, "unknown layout 'last'. Known: channels_first, channels_last"),
        (np.array([[None]]), {}, "cannot read .*without objects"),
    ],
)
def test_arrays_that_are_no_samples(array: np.ndarray, options: dict[str, Any], words: str, tmp_path: Path):
    with pytest.raises(InputError, match=words) as raised:
        read_sample_file(npy(tmp_path, array), **options)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("ending", [".npy", ".npz", ".safetensors"])
@pytest.mark.parametrize("content", [b"", b"no array at all, but some bytes"])
def test_damaged_files(ending: str, content: bytes, tmp_path: Path):
    (tmp_path / f"a{ending}").write_bytes(content)
    with pytest.raises(InputError, match=r"cannot read .* save the array again"):
        read_sample_file(tmp_path / f"a{ending}")
    with pytest.raises(InputError, match="no file at"):
        read_sample_file(tmp_path / f"b{ending}")


def test_by_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    assert load_samples("Two-Spirals", samples=6, seed=2, noise=None).values.shape == (6, 2)
    assert load_samples(" digits ").name == "digits"
    monkeypatch.setenv("INTEGRAND_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_DATA_DIRS", str(tmp_path))
    for name in PUBLISHED[1:]:
        with pytest.raises(InputError, match=f"integrand data download {name}"):
            load_samples(name)


def test_by_path(tmp_path: Path):
    np.save(tmp_path / "z.npy", GREY)
    assert load_samples(str(tmp_path / "z.npy"), levels=256).values.shape == (5, 1, 6, 7)
    for index in range(2):
        Image.fromarray(COLOUR[index]).save(tmp_path / f"{index}.png")
    (tmp_path / "z.npy").unlink()
    assert load_samples(str(tmp_path), size=3, mode="L").values.shape == (2, 1, 3, 3)


@pytest.mark.parametrize(
    ("dataset", "options", "words"),
    [
        ("digit", {}, "unknown data set 'digit': did you mean 'digits'"),
        ("digits", {"size": 8}, r"unknown option of digits 'size'.* Known: none"),
        ("moons", {"size": 8}, "unknown option of moons 'size'.* Known: samples, seed, noise"),
        ("FOLDER", {"sise": 8}, "unknown option of a folder of images 'sise': did you mean 'size'"),
        ("FOLDER/z.npy", {"mode": "L"}, r"unknown option of a \.npy file 'mode'"),
        ("FOLDER/none", {}, "no file or folder at .*none: check the path"),
        ("FOLDER/a.csv", {}, "a.csv is a file of unknown ending"),
        ("none.npz", {}, "no file at none.npz"),
    ],
)
def test_what_cannot_be_loaded(dataset: str, options: dict[str, Any], words: str, tmp_path: Path):
    np.save(tmp_path / "z.npy", GREY)
    (tmp_path / "a.csv").write_text("")
    with pytest.raises(InputError, match=words):
        load_samples(dataset.replace("FOLDER", str(tmp_path)), **options)


def test_names_are_each_once():
    assert len(set(NAMES)) == len(NAMES)
