"""Reads the two commands of the README's opening: the main job and the tests."""

import re
import sys
from pathlib import Path

README = Path(__file__).resolve().parents[2] / "README.md"


def commands() -> dict[str, str]:
    """Return the first two shell commands of the README, as ``main`` and ``test``."""
    blocks = re.findall(r"```(?:sh|bash)\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    return {"main": blocks[0].strip(), "test": blocks[1].strip()}


if __name__ == "__main__":
    print(commands()[sys.argv[1]])
