"""Hints for words that are nearly right."""

import subprocess
import sys

import pytest

from integrand.core.errors import InputError, nearest, unknown


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("dopri", "dopri5"),
        ("RK4", "rk4"),
        ("rk_4", "rk4"),
        ("eulre", "Euler"),
        ("dopri5", "dopri5"),
        ("xyz", None),
        ("", None),
    ],
)
def test_the_nearest_word(word: str, expected: str | None):
    assert nearest(word, ["dopri5", "rk4", "Euler"]) == expected


def test_nothing_is_near_among_no_words():
    assert nearest("word", []) is None
    assert str(unknown("recipe", "word", [])) == "unknown recipe 'word'. Known: none."


def test_the_message_names_the_word_the_nearest_and_all():
    error = unknown("method", "dopri", (word for word in ["dopri5", "rk4"]))  # read once, like any iterable
    assert isinstance(error, InputError)
    assert isinstance(error, ValueError)
    assert str(error) == "unknown method 'dopri': did you mean 'dopri5'? Known: dopri5, rk4."
    assert str(unknown("method", "xyz", ["dopri5", "rk4"])) == "unknown method 'xyz'. Known: dopri5, rk4."


def test_errors_need_no_torch():
    """The command line answers before torch is loaded."""
    code = "import sys, integrand.core.errors; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_beginning_of_a_word_is_enough():
    assert nearest("nyc", ["etth1", "nyc_weather"]) == "nyc_weather"
    assert nearest("ny", ["etth1", "nyc_weather"]) is None  # two letters could be anything
