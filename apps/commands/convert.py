"""``integrand convert FILE.pt2``: a network of others as a differential equation with the same weights."""

import sys
from pathlib import Path

from integrand.apps.commands.columns import columns
from integrand.apps.commands.parsing import CommandParser


def run(arguments: list[str]) -> int:
    """Convert, measure and write; prints the table and where the files are."""
    given = vars(_parser().parse_args(arguments))

    from integrand.apps.conversion.conversion import convert
    from integrand.apps.conversion.program_file import read_program
    from integrand.apps.conversion.report import conclusions, table, write_conversion
    from integrand.apps.conversion.request import Request
    from integrand.apps.training.files import require_folder

    request = Request(**given)
    require_folder(request.output)
    graph = read_program(request.program)
    done = convert(graph, request, _notify)
    files = write_conversion(done, graph, request)
    for chain in done.chains:
        print(chain.statement)
    print()
    print(columns(table(done), indent=0))
    print()
    print("\n".join(conclusions(done)))
    print()
    print(columns([(f"{name}:", str(file)) for name, file in zip(_NAMES, files, strict=True)], indent=0))
    return 0


_NAMES = ("program", "weights", "report", "picture")


def _parser() -> CommandParser:
    parser = CommandParser(
        "integrand convert",
        description="Turn the residual stacks of an exported torch network into differential equations with the same "
        "weights, and tell what finer steps, other methods and further training change.",
        examples=(
            "integrand convert module.pt2 --output converted",
            "integrand convert module.pt2 --input x.npy --target y.npy --output converted",
            "integrand convert module.pt2 --input x.npy --target y.npy --steps 2 --weights linear --epochs 5",
        ),
    )
    parser.add_argument(
        "program", metavar="FILE.pt2", type=Path, help="what torch.export.save wrote, in evaluation mode"
    )
    parser.add_argument(
        "--output", type=Path, default=Path("converted"), metavar="DIR", help="the folder to write (converted)"
    )
    parser.add_argument(
        "--weights",
        choices=("constant", "linear"),
        default="constant",
        help="between two blocks: those of the first, or on the line between both (constant)",
    )
    parser.add_argument(
        "--method",
        default="own",
        metavar="NAME",
        help="own, the network's scheme, or an explicit one such as rk4 (own)",
    )
    parser.add_argument("--steps", type=int, default=1, metavar="K", help="steps a block of what is written (1)")
    parser.add_argument(
        "--input", type=Path, metavar="FILE.npy", help="samples (n, ...) to measure on (what it was exported with)"
    )
    parser.add_argument(
        "--target", type=Path, metavar="FILE.npy", help="what it should give: whole numbers are classes"
    )
    parser.add_argument("--epochs", type=int, default=0, help="passes of fine-tuning over the samples (0)")
    parser.add_argument("--learning-rate", type=float, default=1e-3, metavar="RATE", help="of fine-tuning (0.001)")
    parser.add_argument(
        "--batch-size", type=int, default=64, metavar="N", help="samples in a batch of fine-tuning (64)"
    )
    parser.add_argument(
        "--held-out", type=float, default=0.2, metavar="SHARE", help="samples not trained on, for the scores (0.2)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the samples held out and their order (0)")
    return parser


def _notify(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
