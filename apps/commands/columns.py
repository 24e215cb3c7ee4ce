"""Plain text in aligned columns."""

import shutil
import sys
import textwrap
from collections.abc import Sequence

NARROWEST = 24  # letters a last column keeps before wrapping is given up


def columns(rows: Sequence[Sequence[str]], *, indent: int = 2, width: int | None = None) -> str:
    """Return ``rows`` as lines with every column but the last as wide as its widest cell.

    Args:
        rows: cells of text, the same number in each row.
        indent: spaces before each row.
        width: letters in a line, beyond which the last column wraps; None takes a terminal's, and wraps nothing where
            the output goes elsewhere, so that a line stays a row for ``grep``.

    Example:
        >>> print(columns([("euler", "order 1"), ("rk4", "order 4")]))
          euler  order 1
          rk4    order 4
    """
    if width is None and sys.stdout.isatty():
        width = shutil.get_terminal_size().columns
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)][:-1]
    start = indent + sum(widths) + 2 * len(widths)
    lines = []
    for row in rows:
        head = " " * indent + "".join(f"{cell:<{wide}}  " for cell, wide in zip(row[:-1], widths, strict=True))
        lines += _wrapped(head, row[-1], start, width)
    return "\n".join(lines)


def _wrapped(head: str, text: str, start: int, width: int | None) -> list[str]:
    if width is None or width - start < NARROWEST:
        return [(head + text).rstrip()]
    first, *others = textwrap.wrap(text, width - start, break_long_words=False, break_on_hyphens=False) or [""]
    return [(head + first).rstrip(), *(" " * start + other for other in others)]
