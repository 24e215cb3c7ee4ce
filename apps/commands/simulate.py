"""``integrand data simulate NAME``: solutions of a system or an equation, in a file."""

import argparse
import contextlib
import math
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from integrand.apps.commands.columns import columns
from integrand.apps.commands.parsing import CommandParser
from integrand.core.errors import InputError, unknown

LINES = 10
"""Parts of the work after which a line is printed, where there is no terminal for a bar."""


def run(arguments: list[str]) -> int:
    """Make the data, or find them made, and print where they are and how exact."""
    given = _parser().parse_args(arguments)
    import torch

    from integrand.datasets.simulated import Request, generate
    from integrand.datasets.synthetic.simulators import simulator

    request = Request(
        name=given.name,
        samples=given.samples,
        seed=given.seed,
        times=given.times,
        points=given.points,
        lengths=given.lengths,
        parameters=_named("parameter", given.parameter, simulator(given.name).parameters, given.name),
        sizes=_named("size", given.size, simulator(given.name).sizes, given.name),
        step_size=given.step_size,
        device=_device(given.device),
        dtype=torch.float32 if given.precision == "single" else torch.float64,
    )
    file = given.output or request.file()
    with _progress() as progress:
        data = generate(request, file, always=True, progress=progress)
    made = data.provenance
    step = float(made["step_size"])
    span = f"{float(data.times[0]):g} to {float(data.times[-1]):g}"
    rows = [
        ("file", str(file)),
        ("samples", f"{len(data)}"),
        ("times", f"{len(data.times)}, {span}"),
        ("channels", ", ".join(data.channels)),
        *([("grid", "x".join(map(str, data.shape)))] if data.dims else []),
        ("solver", str(made["solver"])),
        ("time step", f"{step:g}, error {float(made['time_step_error']):.1e}" if step else "none, a closed form"),
    ]
    print(columns(rows, indent=0))
    return 0


def _parser() -> CommandParser:
    parser = CommandParser(
        "integrand data simulate",
        description="Simulate a system or an equation; an interrupted run goes on where it stopped.",
        examples=(
            "integrand list simulators",
            "integrand data simulate pendulum --samples 50 --times 0:20:0.1",
            "integrand data simulate burgers --samples 1200 --points 1024 --parameter viscosity=0.01:0.1",
            "integrand data simulate spring_chain --size masses=8",
        ),
    )
    parser.add_argument("name", metavar="NAME", help="the simulator, see 'integrand list simulators'")
    parser.add_argument("--samples", metavar="N", type=int, default=100, help="how many (100)")
    parser.add_argument("--points", metavar="X", type=_integers, help="points along the axes, such as 256 or 64x64")
    parser.add_argument("--lengths", metavar="X", type=_lengths, help="lengths of the box, such as 6.28 or 1x2")
    parser.add_argument(
        "--times", metavar="TIMES", type=_times, help="times kept: first:last:step, or some with commas between"
    )
    parser.add_argument(
        "--parameter",
        metavar="NAME=VALUE",
        type=_parameter,
        action="append",
        default=[],
        help="a parameter of the equation: a value, or bounds low:high to draw it from; may be given again",
    )
    parser.add_argument(
        "--size",
        metavar="NAME=N",
        type=_size,
        action="append",
        default=[],
        help="how large a system is, such as masses=8 of spring_chain; may be given again",
    )
    parser.add_argument("--seed", metavar="S", type=int, default=0, help="of all that is drawn (0)")
    parser.add_argument("--step-size", metavar="STEP", type=float, help="step of the solver (the simulator's)")
    parser.add_argument("--precision", choices=("double", "single"), default="double", help="of the file (double)")
    parser.add_argument(
        "--output", metavar="FILE", type=Path, help="the file (in the folder of data, by a name of its own)"
    )
    parser.add_argument("--device", default="cpu", help="where it is solved, as torch calls it (cpu)")
    return parser


def _integers(text: str) -> tuple[int, ...]:
    return _split(text, "x", int, "whole numbers with x between, such as 256 or 64x64")


def _lengths(text: str) -> tuple[float, ...]:
    return _split(text, "x", float, "numbers with x between, such as 6.28 or 1x2")


def _times(text: str) -> tuple[float, ...]:
    wanted = "first:last:step, such as 0:1:0.1, or numbers with commas between"
    if ":" not in text:
        return _split(text, ",", float, wanted)
    ends = _split(text, ":", float, wanted)
    if len(ends) != 3 or not (ends[2] > 0 and ends[1] >= ends[0]):
        raise argparse.ArgumentTypeError(f"expected {wanted}, got {text!r}")
    first, last, step = ends
    count = round((last - first) / step)
    if not math.isclose(first + count * step, last, rel_tol=1e-9, abs_tol=1e-9 * step):
        raise argparse.ArgumentTypeError(f"steps of {step:g} do not lead from {first:g} to {last:g}: choose another")
    return tuple(first + (last - first) * i / max(1, count) for i in range(count + 1))


def _parameter(text: str) -> tuple[str, float | tuple[float, float]]:
    name, _, value = text.partition("=")
    wanted = "a name and a value or bounds, such as viscosity=0.01 or viscosity=0.001:0.1"
    low, *high = _split(value, ":", float, wanted)
    if not name or len(high) > 1:
        raise argparse.ArgumentTypeError(f"expected {wanted}, got {text!r}")
    return name.strip(), (low, high[0]) if high else low


def _size(text: str) -> tuple[str, int]:
    name, _, value = text.partition("=")
    if not name or not value.isdecimal():
        raise argparse.ArgumentTypeError(f"expected a name and a whole number, such as masses=8, got {text!r}")
    return name.strip(), int(value)


def _split(text: str, mark: str, kind: Callable[[str], Any], wanted: str) -> tuple[Any, ...]:
    try:
        return tuple(kind(word) for word in text.split(mark))
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected {wanted}, got {text!r}") from None


def _named(option: str, given: list[tuple[str, Any]], known: Iterable[str], name: str) -> dict[str, Any]:
    """Return values by name, after comparing the names with the simulator's: a mistake costs no time."""
    for word, _ in given:
        if word not in known:
            raise unknown(f"{option} of {name}", word, known)
    if len(dict(given)) < len(given):
        raise InputError(f"--{option} names the same {option} twice: leave one out.")
    return dict(given)


def _device(text: str) -> str:
    import torch

    try:
        torch.empty(0, device=text)
    except (RuntimeError, AssertionError) as error:
        cause = str(error).splitlines()[0]
        raise InputError(f"--device {text} is not available here ({cause}): take cpu.") from error
    return text


@contextlib.contextmanager
def _progress() -> Iterator[Callable[[float, str], None]]:
    """Give what shows the progress: a bar on a terminal, else a line now and then."""
    if not sys.stderr.isatty():
        yield _Lines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    shown = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*shown, console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=1.0)
        yield lambda share, text: bar.update(task, completed=share, description=text)


class _Lines:
    """Prints a line at the start, at the end and after each tenth of the work."""

    def __init__(self) -> None:
        self.told = -1

    def __call__(self, share: float, text: str) -> None:
        if int(share * LINES) > self.told:
            self.told = int(share * LINES)
            print(f"{share:4.0%}  {text}", file=sys.stderr, flush=True)
