"""Folders of images: what is read, in which order, and what is refused, by which words."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from integrand.core.errors import InputError
from integrand.datasets.image_folder import read_image_folder


def colours(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)


def save(path: Path, array: np.ndarray, **options: Any) -> np.ndarray:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)
    return array


def refused(folder: Path, words: str, **options: Any) -> None:
    with pytest.raises(InputError, match=words) as raised:
        read_image_folder(folder, **options)
    assert "\n" not in str(raised.value)


def test_images_are_in_the_order_of_their_names(tmp_path: Path):
    saved = {name: save(tmp_path / name, colours(5, 7, i)) for i, name in enumerate(("b.png", "a.bmp", "C.tif"))}
    data = read_image_folder(tmp_path)
    assert (data.values.shape, data.labels, data.classes, data.levels) == ((3, 3, 5, 7), None, (), 256)
    assert (data.name, data.channels, data.notices) == (tmp_path.name, ("red", "green", "blue"), [])
    for image, name in zip(data.values, ("C.tif", "a.bmp", "b.png"), strict=True):
        np.testing.assert_array_equal(image, saved[name].transpose(2, 0, 1))
    assert read_image_folder(str(tmp_path)).checksum == data.checksum


def test_folders_are_classes(tmp_path: Path):
    """With images however deep; what is no image is told, what is hidden is not."""
    grey = [
        save(tmp_path / name, colours(4, 4, i)[..., 0])
        for i, name in enumerate(("cat/z.png", "cat/a/y.png", "dog/x.png"))
    ]
    (tmp_path / "cow").mkdir()
    (tmp_path / "dog" / "notes.txt").write_text("none")
    (tmp_path / "dog" / ".x.png").write_bytes(b"hidden")
    (tmp_path / "__MACOSX").mkdir()
    (tmp_path / "__MACOSX" / "x.png").write_bytes(b"hidden")
    data = read_image_folder(tmp_path)
    assert data.labels is not None
    assert (data.classes, data.labels.tolist(), data.channels) == (("cat", "dog"), [0, 0, 1], ("grey",))
    np.testing.assert_array_equal(data.values[:, 0], np.stack([grey[1], grey[0], grey[2]]))
    assert data.notices[0] == "1 files that are no images, the first dog/notes.txt"
    assert "folder cow holds no image and is no class" in data.notices


def test_mixed_sizes_are_refused_or_resampled(tmp_path: Path):
    save(tmp_path / "a.png", colours(32, 32))
    save(tmp_path / "b.png", colours(32, 32))
    save(tmp_path / "c.png", colours(48, 40))
    save(tmp_path / "d.png", colours(9, 9))
    refused(tmp_path, r"mixed sizes: b.png is 32 x 32 and c.png is 40 x 48; give --data\.size 32 to")
    data = read_image_folder(tmp_path, size=16)
    assert data.values.shape == (4, 3, 16, 16)
    assert data.notices == ["1 of 4 images were enlarged to the size asked for, the first d.png"]
    assert read_image_folder(tmp_path, size=(6, 8)).values.shape == (4, 3, 6, 8)


def test_resampling_cuts_about_the_centre_and_averages(tmp_path: Path):
    """Of 12 rows and 24 columns the middle 12 x 12 are kept; a checkerboard of single points turns into its mean."""
    wide = np.zeros((12, 24), np.uint8)
    wide[:, 6:18] = 200
    save(tmp_path / "a.png", wide)
    assert (read_image_folder(tmp_path, size=4).values == 200).all()
    fine = np.indices((64, 64)).sum(0) % 2 * 255
    save(tmp_path / "a.png", fine.astype(np.uint8))
    inner = read_image_folder(tmp_path, size=8).values[0, 0, 1:-1, 1:-1]
    assert np.abs(inner.astype(int) - 128).max() <= 2  # not 0 or 255, as without a filter


def test_mixed_modes_are_refused_or_converted(tmp_path: Path):
    save(tmp_path / "a.png", colours(4, 4)[..., 0])
    save(tmp_path / "b.png", colours(4, 4))
    refused(tmp_path, r"mixed modes: a.png is grey \(L\) and b.png is coloured \(RGB\); give --data\.mode RGB, or L")
    coloured, grey = read_image_folder(tmp_path, mode="RGB"), read_image_folder(tmp_path, mode="L")
    assert (coloured.values.shape, grey.values.shape) == ((2, 3, 4, 4), (2, 1, 4, 4))
    np.testing.assert_array_equal(coloured.values[0], np.repeat(grey.values[0], 3, axis=0))
    weights = np.array([0.299, 0.587, 0.114])[:, None, None]  # ITU-R 601
    assert np.abs((coloured.values[1] * weights).sum(0) - grey.values[1, 0]).max() < 1


def test_palettes_and_bits_are_read_as_what_they_stand_for(tmp_path: Path):
    few = np.array([[[255, 0, 0], [0, 0, 255]]], np.uint8)
    Image.fromarray(few).convert("P", palette=Image.Palette.ADAPTIVE).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image_folder(tmp_path).values[0], few.transpose(2, 0, 1))
    Image.fromarray(np.array([[True, False]])).save(tmp_path / "a.png")
    assert read_image_folder(tmp_path).values.tolist() == [[[[255, 0]]]]


def test_transparent_images_are_laid_on_white_if_that_is_said(tmp_path: Path):
    array = np.array([[[255, 0, 0, 255], [0, 0, 255, 0], [0, 0, 0, 127]]], np.uint8)
    save(tmp_path / "a.png", array)
    refused(tmp_path, r"a.png is partly transparent: give --data\.mode RGB to lay such images on white")
    found = read_image_folder(tmp_path, mode="RGB").values[0].transpose(1, 2, 0)[0]
    assert found.tolist() == [[255, 0, 0], [255, 255, 255], [128, 128, 128]]
    array[..., 3] = 255
    save(tmp_path / "a.png", array)
    np.testing.assert_array_equal(read_image_folder(tmp_path).values[0], array[..., :3].transpose(2, 0, 1))
    Image.fromarray(np.array([[0, 100]], np.uint8)).save(tmp_path / "a.png", transparency=100)
    refused(tmp_path, r"give --data\.mode L to lay")
    assert read_image_folder(tmp_path, mode="L").values.tolist() == [[[[0, 255]]]]


def test_the_orientation_of_exif_is_applied(tmp_path: Path):
    """Orientation 6: what is stored as columns from the left is to be seen as rows from the top, turned clockwise."""
    image = Image.fromarray(colours(4, 6))
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(read_image_folder(tmp_path).values[0], np.rot90(colours(4, 6), -1).transpose(2, 0, 1))


@pytest.mark.parametrize("ending", ["gif", "webp", "jpg", "jpeg", "TIFF"])
def test_other_formats(ending: str, tmp_path: Path):
    even = np.full((8, 8, 3), 96, np.uint8)
    save(tmp_path / f"a.{ending}", even, **({"lossless": True} if ending == "webp" else {}))
    assert np.abs(read_image_folder(tmp_path, mode="RGB").values.astype(int) - 96).max() <= 1


def test_of_several_frames_the_first_is_taken(tmp_path: Path):
    frames = [Image.fromarray(np.full((4, 4), value, np.uint8)) for value in (10, 200)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    data = read_image_folder(tmp_path, mode="L")
    assert (data.values == 10).all()
    assert data.notices == ["1 of 1 images have several frames, of which the first is taken, as a.gif"]


def test_a_few_damaged_images_are_left_out_and_told(tmp_path: Path):
    for index in range(20):
        save(tmp_path / "k" / f"{index:02d}.png", colours(16, 16, index))
    whole = (tmp_path / "k" / "07.png").read_bytes()
    (tmp_path / "k" / "07.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "k" / "11.png").write_bytes(b"")
    data = read_image_folder(tmp_path)
    assert data.labels is not None
    assert (len(data), len(data.labels)) == (18, 18)
    np.testing.assert_array_equal(data.values[7], colours(16, 16, 8).transpose(2, 0, 1))
    (notice,) = data.notices
    assert notice.startswith("2 of 20 images could not be read and are left out, the first k/07.png (")
    (tmp_path / "k" / "15.png").write_bytes(b"no image")
    refused(tmp_path, r"3 of 20 images in .* cannot be read, more than one in ten, the first is k/07.png \(.*mend or")


def test_when_none_can_be_read(tmp_path: Path):
    (tmp_path / "a.jpg").write_bytes(b"no image")
    refused(tmp_path, r"none of the 1 images in .* can be read, the first is a.jpg \(")


def test_empty_and_missing_folders(tmp_path: Path):
    refused(tmp_path, r"holds no image: put images into it \(\.bmp, \.gif, .*\)\.")
    (tmp_path / "a.txt").write_text("")
    refused(tmp_path, r"holds no image: .*; a.txt has another ending")
    refused(tmp_path / "none", "none is not there: name a folder of images")
    refused(tmp_path / "a.txt", "a.txt is a file: name a folder of images")


def test_images_beside_folders_of_images_are_refused(tmp_path: Path):
    save(tmp_path / "a.png", colours(4, 4))
    save(tmp_path / "cats" / "b.png", colours(4, 4))
    refused(tmp_path, "holds images, such as a.png, beside folders of images, such as cats: move them")


def test_deep_and_printed_images_are_refused(tmp_path: Path):
    Image.fromarray(np.full((4, 4), 1000, np.uint16)).save(tmp_path / "a.png")
    refused(tmp_path, r"a.png has more than 256 grey values \(mode I;16\): .*\.npy file", mode="L")
    (tmp_path / "a.png").unlink()
    Image.new("CMYK", (4, 4), (0, 0, 0, 255)).save(tmp_path / "a.jpg")
    refused(tmp_path, r"a.jpg is stored in mode CMYK: give --data\.mode RGB")
    assert read_image_folder(tmp_path, mode="RGB").values.max() <= 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"size": 0}, "size=0 is out of range"),
        ({"size": (4, -1)}, r"size=\(4, -1\) is out of range"),
        ({"size": (4, 4, 4)}, "give one whole number above 0, or rows and columns"),
        ({"size": 2.5}, "size=2.5 is out of range"),
        ({"size": True}, "size=True is out of range"),
        ({"mode": "RGBA"}, "unknown image mode 'RGBA': did you mean 'RGB'"),
    ],
)
def test_options_out_of_range(options: dict[str, Any], words: str, tmp_path: Path):
    save(tmp_path / "a.png", colours(4, 4))
    refused(tmp_path, words, **options)
