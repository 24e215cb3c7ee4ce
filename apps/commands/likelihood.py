"""``integrand likelihood RUN --input FILE``: how likely samples are to a run's generative model."""

from pathlib import Path

from integrand.apps.commands.parsing import CommandParser
from integrand.apps.commands.run_module import add_accelerator, add_checkpoint, carry_out


def run(arguments: list[str]) -> int:
    """Write the likelihood of each sample, and print the mean."""
    parser = CommandParser(
        "integrand likelihood",
        description="Tell how likely the samples of a file are to a run's generative model, by its probability flow.",
        examples=(
            "integrand likelihood runs/generation/digits/1 --input samples/samples.npy --class 3",
            "integrand likelihood runs/generation/moons/1 --input points.npy --trace exact --output likely.csv",
        ),
    )
    parser.add_argument("run", metavar="RUN", help="folder of a run")
    parser.add_argument(
        "--input", required=True, type=Path, metavar="FILE", help="an array or folder of samples such as the run's"
    )
    parser.add_argument("--class", dest="label", metavar="NAME", help="of all samples (those of the file; none)")
    parser.add_argument(
        "--trace",
        choices=("exact", "rademacher", "gaussian"),
        help="of the flow's derivative: exact, or estimated by random probes (exact for small samples)",
    )
    parser.add_argument("--output", type=Path, metavar="FILE", help="the CSV to write (INPUT_likelihood.csv, here)")
    add_checkpoint(parser)
    add_accelerator(parser)
    given = vars(parser.parse_args(arguments))
    given["output"] = given["output"] or Path(f"{given['input'].stem}_likelihood.csv")
    return carry_out("likelihood", given, "has no likelihood of samples.")
