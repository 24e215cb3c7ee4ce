"""``integrand inpaint RUN --input FILE --mask FILE``: fill in what is missing, by posterior sampling."""

from pathlib import Path

from integrand.apps.commands.parsing import CommandParser
from integrand.apps.commands.run_module import add_accelerator, add_checkpoint, carry_out


def run(arguments: list[str]) -> int:
    """Write completions of each sample and a picture, and print where they are."""
    parser = CommandParser(
        "integrand inpaint",
        description="Fill in what is missing of samples, several times each, with a run's generative model.",
        examples=(
            "integrand inpaint runs/generation/digits/1 --input samples/samples.npy --mask lower --class 3",
            "integrand inpaint runs/generation/digits/1 --input images.npy --mask mask.npy --count 8",
        ),
    )
    parser.add_argument("run", metavar="RUN", help="folder of a run")
    parser.add_argument(
        "--input", required=True, type=Path, metavar="FILE", help="an array or folder of samples such as the run's"
    )
    parser.add_argument(
        "--mask",
        required=True,
        metavar="FILE|HALF",
        help="an array that is true where a sample is known; or the half to fill in: upper, lower, left, right",
    )
    parser.add_argument("--class", dest="label", metavar="NAME", help="of all samples (those of the file; none)")
    parser.add_argument("--count", type=int, default=4, metavar="N", help="completions of each (4)")
    parser.add_argument("--steps", type=int, default=50, metavar="S", help="of the sampler (50)")
    parser.add_argument(
        "--noise", type=float, default=0.0, help="deviation of the noise in what is known, in grey values"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the first completion")
    parser.add_argument("--output", type=Path, default=Path("inpainted"), metavar="DIR", help="the folder to write")
    add_checkpoint(parser)
    add_accelerator(parser)
    given = vars(parser.parse_args(arguments))
    return carry_out("inpaint", given, "fills nothing in.")
