"""``integrand predict RUN --input FILE``: apply a run's model to a file; the data it was trained on are not needed.

With ``--stream`` it reads rows from standard input instead, and answers each as it comes.
"""

import argparse
import contextlib
import inspect
import sys
from pathlib import Path
from typing import Any

from integrand.apps.commands.parsing import CommandParser
from integrand.apps.commands.run_module import add_accelerator, add_checkpoint, reopened
from integrand.core.errors import InputError

PACKED = (".gz", ".xz")
ARRAYS = (".npy", ".h5", ".hdf5")
"""Files that are answered by files of their kind; all others by a CSV."""
INTERRUPTED = 130  # 128 + SIGINT, as shells have it


def run(arguments: list[str]) -> int:
    """Write what the model says and a picture of it, and print where they are; or answer rows as they come."""
    given = vars(_parser().parse_args(arguments))
    folder, checkpoint, accelerator, streamed = (
        given.pop(name) for name in ("run", "checkpoint", "accelerator", "stream")
    )
    for name in ("figure", "queries"):
        if streamed and given[name] is not None:
            raise InputError(f"--stream answers each row as it comes: leave --{name} out.")
    from integrand.apps.application import load

    _, task, module = reopened(folder, checkpoint=checkpoint, accelerator=accelerator)
    place = task.stream if streamed else task.predict
    if place is None and task.predict is None:
        raise InputError(f"a run of {task.name} predicts nothing: use integrand sample, or integrand likelihood.")
    if place is None:
        raise InputError(f"--stream is not for {task.name}: name a file with --input.")
    predict = load(place)
    return (_stream if streamed else _predict)(module, predict, given, task)


def _predict(module: Any, predict: Any, given: dict[str, Any], task: Any) -> int:
    suffix = given["input"].suffix if given["input"].suffix in ARRAYS else ".csv"
    given["output"] = given["output"] or Path(f"{_stem(given['input'])}_{task.product.removesuffix('s')}{suffix}")
    given["figure"] = given["figure"] or given["output"].parent / f"{given['output'].stem}.png"
    predict(module, **_taken(given, predict, task), notify=_notify)
    width = len(task.product) + 1
    print(f"{task.product}: {given['output']}")
    print(f"{'picture:':<{width}} {given['figure']}")
    return 0


def _stream(module: Any, stream: Any, given: dict[str, Any], task: Any) -> int:
    """Answer every row of standard input at once; an interrupt is how a stream without an end ends."""
    output = given.pop("output")
    given["lines"] = sys.stdin.buffer
    with contextlib.ExitStack() as stack:
        place = sys.stdout if output is None else stack.enter_context(output.open("w", encoding="utf-8", newline=""))

        def write(text: str) -> None:
            place.write(text)
            place.flush()

        try:
            stream(module, write=write, **_taken(given, stream, task), notify=_notify)
        except KeyboardInterrupt:
            return INTERRUPTED
    return 0


def _notify(line: str) -> None:
    print(f"note: {line}", file=sys.stderr, flush=True)


def _taken(given: dict[str, Any], predict: Any, task: Any) -> dict[str, Any]:
    """Return the options that a task's ``predict`` takes.

    Raises:
        InputError: another was given.
    """
    taken = inspect.signature(predict).parameters
    for name, value in given.items():
        if name not in taken and value is not None:
            raise InputError(f"option --{name.replace('_', '-')} is not for {task.name}: leave it out.")
    return {name: value for name, value in given.items() if name in taken and value is not None}


def _parser() -> CommandParser:
    parser = CommandParser(
        "integrand predict",
        description="Apply a run's model to a file; write what it says as CSV and draw it.",
        examples=(
            "integrand predict runs/timeseries/weather/1 --input examples/recent_weather.csv",
            "integrand predict runs/timeseries/weather/1 --input new.csv --output next.csv --horizon 12 --every 0.5",
            "tail -n +1 -f station.csv | integrand predict runs/timeseries/weather/1 --stream --at 1,6",
            "integrand predict runs/timeseries/weather_imputation/1 --input gaps.csv --scores",
            "integrand predict runs/physics/burgers/1 --input starts.npy --steps 1",
            "integrand predict runs/medical/simulated_beats/1 --input 100.hea --output 100.pred",
            "integrand predict runs/physics/pendulum/1 --input starts.csv --span 100 --every 0.1",
        ),
    )
    parser.add_argument("run", metavar="RUN", help="folder of a run")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--input", metavar="FILE", type=Path, help="what the run's task reads, a CSV or an array")
    source.add_argument(
        "--stream", action="store_true", help="read rows from standard input instead, and answer each as it comes"
    )
    parser.add_argument(
        "--output",
        metavar="FILE",
        type=Path,
        help="the CSV to write (INPUT_forecast.csv, INPUT_prediction.csv or INPUT_imputation.csv, here; standard "
        "output with --stream)",
    )
    parser.add_argument("--figure", metavar="FILE", type=Path, help="the picture to write (beside the output, *.png)")
    add_checkpoint(parser)
    parser.add_argument("--time-column", metavar="NAME", help="holds the time stamps (detected)")
    parser.add_argument("--group-column", metavar="NAME", help="tells series apart (detected)")
    parser.add_argument("--variable-column", metavar="NAME", help="names the channel of a row, in long form (detected)")
    parser.add_argument("--value-column", metavar="NAME", help="holds the value of a row, in long form (detected)")
    parser.add_argument(
        "--duplicates",
        choices=("mean", "first", "last", "error"),
        help="what becomes of cells that share series, stamp and channel (mean)",
    )
    parser.add_argument("--horizon", type=float, help="how far ahead, in the run's time unit (as far as trained)")
    parser.add_argument(
        "--every",
        metavar="STEP",
        type=float,
        help="time between forecasts or states (as in training), or between further rows to impute (none)",
    )
    parser.add_argument(
        "--at", metavar="LEADS", type=_numbers, help="forecast just so long after the last row, such as 3,7.5,24"
    )
    parser.add_argument(
        "--queries",
        metavar="FILE",
        type=Path,
        help="forecast at the stamps of a CSV with the columns of time and group",
    )
    parser.add_argument(
        "--scores",
        action="store_true",
        default=None,  # an option that was not given is none that a task refuses
        help="tell how badly each observed value fits the others, in standard deviations; imputation alone",
    )
    parser.add_argument("--span", type=float, help="how long a trajectory of a system is (as long as trained)")
    parser.add_argument("--steps", type=int, help="how many steps a surrogate of fields makes (as many as trained)")
    parser.add_argument(
        "--parameter",
        metavar="NAME=VALUE",
        type=_parameter,
        action="append",
        dest="parameters",
        help="of the equation, where the network is told it and the file does not say; once for each",
    )
    parser.add_argument(
        "--annotator",
        metavar="SUFFIX",
        help="of the annotations of WFDB that mark a record's beats, such as atr (found in the signal where needed)",
    )
    parser.add_argument(
        "--rate", metavar="HZ", type=float, help="samples a second of a signal in rows (told by its stamps)"
    )
    add_accelerator(parser)
    return parser


def _numbers(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(word) for word in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"expected numbers with commas between, such as 3,7.5,24, got {text!r}"
        ) from None


def _parameter(text: str) -> tuple[str, float]:
    name, equals, value = text.partition("=")
    try:
        if not (name and equals):
            raise ValueError
        return name, float(value)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected NAME=VALUE, such as viscosity=0.01, got {text!r}") from None


def _stem(path: Path) -> str:
    while path.suffix in PACKED:
        path = path.with_suffix("")
    return path.stem
