"""``integrand sample RUN``: draw samples with a run's generative model; the data it was trained on are not needed."""

import argparse
import re
from pathlib import Path

from integrand.apps.commands.parsing import CommandParser
from integrand.apps.commands.run_module import add_accelerator, add_checkpoint, carry_out
from integrand.core.errors import InputError

_RANGE = re.compile(r"(\d+)(?:-(\d+))?")
MOST = 10_000_000
"""Seeds one command takes."""


def run(arguments: list[str]) -> int:
    """Draw, write arrays and pictures, and print where they are."""
    given = vars(_parser().parse_args(arguments))
    seeds, count = given.pop("seeds"), given.pop("count")
    if seeds is None:
        seeds = list(range(64 if count is None else count))
    elif count is not None and count != len(seeds):
        raise InputError(f"--count {count} and --seeds of {len(seeds)}: a sample has one seed, leave --count out.")
    return carry_out("sample", {**given, "seeds": seeds}, "draws no samples: see integrand predict.")


def _parser() -> CommandParser:
    parser = CommandParser(
        "integrand sample",
        description="Draw samples with a run's generative model; write them, and pictures of them and of their way.",
        examples=(
            "integrand sample runs/generation/digits/1",
            "integrand sample runs/generation/digits/1 --count 64 --method dpmpp_2m --steps 10 --class 3",
            "integrand sample runs/generation/digits/1 --seeds 0-9,42 --guidance 2 --output threes",
        ),
    )
    parser.add_argument("run", metavar="RUN", help="folder of a run")
    parser.add_argument("--count", type=_count, metavar="N", help="how many (64), of the seeds 0 to N - 1")
    parser.add_argument(
        "--seeds",
        type=_seeds,
        metavar="SEEDS",
        help="instead, one sample for each of these, such as 0-63 or 3,17,20-29",
    )
    parser.add_argument("--class", dest="label", metavar="NAME", help="of this class (of all, as in training)")
    parser.add_argument("--method", metavar="NAME", help="the sampler (the run's); see integrand list methods")
    parser.add_argument("--steps", type=int, metavar="S", help="its steps (the run's)")
    parser.add_argument("--spacing", metavar="NAME", help="of the steps: karras, log_snr, time or quadratic (karras)")
    parser.add_argument(
        "--guidance", type=float, metavar="W", help="more than 1 for more of the class than the data have (1)"
    )
    parser.add_argument(
        "--output", type=Path, default=Path("samples"), metavar="DIR", help="the folder to write (samples)"
    )
    add_checkpoint(parser)
    add_accelerator(parser)
    return parser


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= MOST:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 to {MOST:,}, got {text!r}")
    return int(text)


def _seeds(text: str) -> list[int]:
    """Read ``"0-3,7"`` as [0, 1, 2, 3, 7]."""
    found: list[int] = []
    for word in text.split(","):
        part = _RANGE.fullmatch(word.strip())
        first, last = (int(part[1]), int(part[2] or part[1])) if part else (1, 0)
        if last < first or last - first >= MOST or last >= 2**62:
            raise argparse.ArgumentTypeError(
                f"expected whole numbers and ranges with commas between, such as 0-63 or 3,17,20-29, got {text!r}"
            )
        found.extend(range(first, last + 1))
    if len(set(found)) < len(found):
        raise argparse.ArgumentTypeError(f"a seed stands there twice and would give the same sample, got {text!r}")
    return found
