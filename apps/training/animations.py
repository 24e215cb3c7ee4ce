"""Animations, kept beside the pictures with their captions: GIFs that the report shows as it shows pictures."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from integrand.apps.training.figures import note, style
from integrand.apps.training.files import write_atomically
from integrand.core.errors import InputError

ANIMATION_DPI = 100
COLOURS = 64
"""Colours of a GIF, chosen once for all its frames, so that what does not move does not flicker and takes no room."""


def save_animation(
    drawn: Figure,
    update: Callable[[int], object],
    frames: int,
    path: Path,
    caption: str,
    *,
    title: str | None = None,
    fps: float = 20.0,
) -> Path:
    """Write a figure that changes as an endless GIF, and its caption into ``captions.json`` beside it.

    Args:
        drawn: the figure, of ``figure``; its layout stays as it is in the first frame.
        update: called with 0 to ``frames`` - 1, it changes what is drawn to that frame.
        frames: how many there are.
        path: the file to write, ``*.gif``; its folder is made.
        caption: what the animation shows, as plain text.
        title: its heading; the file's name where None.
        fps: frames a second; browsers show 50 at most.

    Raises:
        InputError: no frames, or more frames a second than can be shown.

    Example:
        >>> from tempfile import mkdtemp
        >>> from integrand.apps.training.figures import figure
        >>> made = figure(2, 2)
        >>> axes = made.subplots()
        >>> (dot,) = axes.plot([0], [0], "o")
        >>> save_animation(made, lambda i: dot.set_data([i / 10], [0]), 5, Path(mkdtemp(), "dot.gif"), "A dot.").name
        'dot.gif'
    """
    if frames < 1:
        raise InputError(f"frames={frames} is out of range: an animation has at least one.")
    if not 0 < fps <= 50:
        raise InputError(f"fps={fps:g} is out of range: take more than 0 and at most 50 frames a second.")
    path.parent.mkdir(parents=True, exist_ok=True)
    canvas = drawn.canvas
    assert isinstance(canvas, FigureCanvasAgg)
    pictures: list[Image.Image] = []
    with style():
        dpi = drawn.dpi
        drawn.set_dpi(ANIMATION_DPI)
        for frame in range(frames):
            update(frame)
            canvas.draw()
            if frame == 0:
                drawn.set_layout_engine("none")
            pictures.append(Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy()))
        drawn.set_dpi(dpi)
    palette = _palette(pictures)
    flat = [one.quantize(palette=palette, dither=Image.Dither.NONE) for one in pictures]
    content = io.BytesIO()
    # A hundredth of a second is the unit of a GIF.
    duration = 10 * max(2, round(100 / fps))
    flat[0].save(content, "GIF", save_all=True, append_images=flat[1:], duration=duration, loop=0, optimize=False)
    write_atomically(path, content.getvalue())
    note(path, caption, title=title)
    return path


def _palette(pictures: list[Image.Image]) -> Image.Image:
    """Choose the colours from the first, the middle and the last frame, side by side."""
    chosen = [pictures[i] for i in sorted({0, len(pictures) // 2, len(pictures) - 1})]
    width, height = chosen[0].size
    sheet = Image.new("RGB", (width, height * len(chosen)))
    for place, one in enumerate(chosen):
        sheet.paste(one, (0, place * height))
    return sheet.quantize(COLOURS, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
