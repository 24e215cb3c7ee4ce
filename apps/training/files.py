"""Writing files so that a reader never meets half of one."""

import json
import os
from pathlib import Path
from typing import Any

from integrand.core.errors import InputError


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write beside the target, flush to the disk, and rename: the target is the old file or the new one, never part."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    data = content.encode() if isinstance(content, str) else content
    try:
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_json(path: Path, content: Any) -> None:
    """Write plain values as indented JSON, atomically."""
    write_atomically(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def require_folder(output: Path) -> None:
    """Refuse a file in the place of a folder that is to be written.

    Raises:
        InputError: there is one.
    """
    if output.exists() and not output.is_dir():
        raise InputError(f"--output {output} is a file: name a folder.")
