"""Where a prediction may be written."""

import os
from pathlib import Path

from integrand.core.errors import InputError

PICTURES = (".png", ".pdf", ".svg")


def require_places(input: Path, output: Path, figure: Path | None) -> None:
    """Check that files can be written before anything is computed.

    Raises:
        InputError: a folder that is missing or cannot be written to, one file for two things, an ending that no picture
            has.
    """
    taken = {input.resolve(): "--input"}
    for option, path in (("--output", output), ("--figure", figure)):
        if path is None:
            continue
        if path.is_dir():
            raise InputError(f"{option} {path} is a folder: name a file in it.")
        if not path.parent.is_dir():
            raise InputError(f"{option} {path}: there is no folder {path.parent}; make it, or name another.")
        if not os.access(path.parent, os.W_OK):
            raise InputError(f"{option} {path}: the folder {path.parent} cannot be written to; name another.")
        if path.resolve() in taken:
            raise InputError(f"{option} {path} is the file of {taken[path.resolve()]} too: name another.")
        taken[path.resolve()] = option
    if figure is not None and figure.suffix.lower() not in PICTURES:
        raise InputError(f"--figure {figure} must end in {', '.join(PICTURES[:-1])} or {PICTURES[-1]}.")
