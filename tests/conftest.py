"""Lets tests of every folder import the problems they share."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "problems"))
pytest.register_assert_rewrite("drop_in_problems", "noisy_problems")
