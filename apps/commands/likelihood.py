"""``integrand likelihood RUN --input FILE``: how likely samples are to a run's generative model."""

from pathlib import Path

from integrand.apps.commands.parsing import CommandParser
from integrand.apps.commands.run_module import notify, reopened
from integrand.core.errors import InputError


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
    parser.add_argument(
        "--checkpoint", choices=("best", "last"), default="best", help="which weights (best by validation)"
    )
    parser.add_argument("--accelerator", default="auto", help="as in Lightning's Trainer: auto, cpu, gpu, mps")
    given = vars(parser.parse_args(arguments))
    folder, checkpoint, accelerator = (given.pop(name) for name in ("run", "checkpoint", "accelerator"))
    given["output"] = given["output"] or Path(f"{given['input'].stem}_likelihood.csv")
    from integrand.apps.application import load

    opened, task, module = reopened(folder, checkpoint=checkpoint, accelerator=accelerator)
    if task.likelihood is None:
        raise InputError(f"{opened.path} is a run of {task.name}, which has no likelihood of samples.")
    for line in load(task.likelihood)(module, **given, notify=notify):
        print(line)
    return 0
