"""``integrand identify RUN``: the constants of the equation that a run learned, with intervals."""

import argparse
import sys

from integrand.apps.commands.parsing import CommandParser
from integrand.apps.commands.run_module import add_accelerator, add_checkpoint
from integrand.core.errors import InputError


def run(arguments: list[str]) -> int:
    """Identify and print; writes ``parameters.json`` and a figure into the run."""
    parser = CommandParser(
        "integrand identify",
        description="Tell the constants of a universal differential equation with intervals, and draw what the network "
        "learned beside them.",
        examples=(
            "integrand identify runs/physics/lotka_volterra/1",
            "integrand identify runs/physics/damped_pendulum/1 --windows 5,20 --level 0.99",
        ),
    )
    parser.add_argument("run", metavar="RUN", help="folder of a run")
    parser.add_argument(
        "--windows",
        metavar="STATES",
        type=_lengths,
        help="lengths of the windows that are fitted, one after another, such as 4,12 (the run's)",
    )
    parser.add_argument("--level", type=float, default=0.95, help="probability that an interval covers the truth")
    add_checkpoint(parser)
    add_accelerator(parser)
    given = parser.parse_args(arguments)

    from integrand.apps.application import load
    from integrand.apps.registry import application
    from integrand.apps.training.conclusion import reopen
    from integrand.apps.training.run_folder import RunFolder

    opened = RunFolder.open(given.run)
    said = opened.read("environment.json")
    place = application(said.get("app", "")).task(said.get("task")).identify
    if place is None:
        raise InputError(
            f"{opened.path} is a run of {said.get('task')}, which has no constants to identify: train one by "
            "integrand train physics --recipe lotka_volterra."
        )
    _, module, data = reopen(opened, checkpoint=given.checkpoint, accelerator=given.accelerator)
    lines = load(place)(module, data, opened, windows=given.windows or (), level=given.level, notify=_notify)
    print("\n".join(lines))
    return 0


def _notify(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _lengths(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(word) for word in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"expected whole numbers with commas between, such as 4,12, got {text!r}"
        ) from None
