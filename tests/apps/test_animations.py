"""Animations: the frames that were drawn, in their order, with their captions, in a report."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from integrand.apps.training.animations import save_animation
from integrand.apps.training.figures import figure, read_captions
from integrand.core.errors import InputError


def bar(path: Path, frames: int = 6) -> Path:
    """A white page that turns black from left to right."""
    made = figure(2, 1)
    axes = made.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.axis((0, frames, 0, 1))
    (patch,) = axes.bar([0], [1], width=0, color="black", align="edge")
    return save_animation(made, lambda i: patch.set_width(i), frames, path, "A bar.", title="Growth", fps=25)


def test_every_frame_is_there_in_its_order(tmp_path: Path):
    with Image.open(bar(tmp_path / "bar.gif")) as read:
        assert (read.n_frames, read.info["duration"], read.info["loop"]) == (6, 40, 0)
        dark = []
        for i in range(read.n_frames):
            read.seek(i)
            dark.append(float((np.asarray(read.convert("L")) < 128).mean()))
    np.testing.assert_allclose(dark, np.arange(6) / 6, atol=0.02)
    assert read_captions(tmp_path) == [{"file": "bar.gif", "title": "Growth", "caption": "A bar."}]


@pytest.mark.parametrize(("frames", "fps", "told"), [(0, 20, "frames=0"), (3, 0, "fps=0"), (3, 80, "at most 50")])
def test_what_cannot_be_shown_is_refused(tmp_path: Path, frames: int, fps: float, told: str):
    with pytest.raises(InputError, match=told):
        save_animation(figure(1, 1), lambda i: None, frames, tmp_path / "a.gif", "", fps=fps)
    assert not (tmp_path / "a.gif").exists()
