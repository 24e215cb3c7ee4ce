"""``integrand report``: the page of one run written anew, or several runs on one page."""

from pathlib import Path

from integrand.apps.commands.parsing import CommandParser
from integrand.core.errors import InputError

COMPARISON = Path("comparison.html")


def run(arguments: list[str]) -> int:
    """Write the page and print where it is."""
    parser = CommandParser(
        "integrand report",
        description="Write the report of one run anew, from its files alone, or a page that compares several, with "
        "means and bands over seeds where runs differ in their seed alone.",
        examples=(
            "integrand report runs/timeseries/weather/1",
            "integrand report runs/timeseries/weather/1 runs/timeseries/weather/2 --output weather.html",
        ),
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="a run's folder; several are compared")
    parser.add_argument(
        "--output",
        metavar="FILE",
        type=Path,
        help=f"the page to write; the run's report.html, or {COMPARISON} here for several runs, where left out",
    )
    given = parser.parse_args(arguments)
    if given.output is not None and given.output.is_dir():
        raise InputError(f"--output {given.output} is a folder: name a file, such as {given.output / 'report.html'}.")

    from integrand.apps.training.run_folder import RunFolder

    runs = [RunFolder.open(path) for path in given.runs]
    places = [one.path.resolve() for one in runs]
    for number, place in enumerate(places):
        if place in places[:number]:
            raise InputError(f"the run {runs[number].path} is named twice: name each once.")

    if len(runs) == 1:
        from integrand.apps.training.report import write_report

        print(write_report(runs[0], given.output))
    else:
        from integrand.apps.training.comparison import write_comparison

        print(write_comparison(runs, given.output or COMPARISON))
    return 0
