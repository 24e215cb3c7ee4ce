"""``integrand evaluate RUN``: score a run's model again on its test part, beside the baselines."""

import sys

from integrand.apps.commands.parsing import CommandParser


def run(arguments: list[str]) -> int:
    """Evaluate a run; rewrites its results, figures and report."""
    parser = CommandParser(
        "integrand evaluate",
        description="Score a run's model on its test part beside the baselines; rewrite results, figures and report.",
        examples=[
            "integrand evaluate runs/timeseries/weather/1",
            "integrand evaluate runs/physics/burgers/1 --resolution 1024",
        ],
    )
    parser.add_argument("run", metavar="RUN", help="folder of a run")
    parser.add_argument(
        "--checkpoint", choices=("best", "last"), default="best", help="which weights (best by validation)"
    )
    parser.add_argument("--accelerator", default="auto", help="as in Lightning's Trainer: auto, cpu, gpu, mps")
    parser.add_argument(
        "--resolution",
        type=int,
        metavar="POINTS",
        help="along the first axis: ask a surrogate of fields at another resolution than it was trained at",
    )
    given = parser.parse_args(arguments)

    from integrand.apps.training.conclusion import conclude, reopen
    from integrand.apps.training.run_folder import RunFolder

    run_folder = RunFolder.open(given.run)
    task, module, data = reopen(run_folder, checkpoint=given.checkpoint, accelerator=given.accelerator)
    conclude(
        task,
        run_folder,
        module,
        data,
        seed=run_folder.read("environment.json")["seed"],
        notify=lambda line: print(line, file=sys.stderr, flush=True),
        options={"resolution": given.resolution},
        checkpoint=given.checkpoint,
    )
    return 0
