"""``integrand evaluate RUN``: score a run's model again on its test part, beside the baselines."""

import sys

from integrand.apps.commands.parsing import CommandParser
from integrand.apps.commands.run_module import add_accelerator, add_checkpoint


def run(arguments: list[str]) -> int:
    """Evaluate a run; rewrites its results, figures and report."""
    parser = CommandParser(
        "integrand evaluate",
        description="Score a run's model on its test part beside the baselines; rewrite results, figures and report.",
        examples=[
            "integrand evaluate runs/timeseries/weather/1",
            "integrand evaluate runs/physics/burgers/1 --resolution 1024",
            "integrand evaluate runs/generation/digits/1 --method heun --steps 10",
        ],
    )
    parser.add_argument("run", metavar="RUN", help="folder of a run")
    add_checkpoint(parser)
    add_accelerator(parser)
    parser.add_argument(
        "--resolution",
        type=int,
        metavar="POINTS",
        help="along the first axis: ask a surrogate of fields at another resolution than it was trained at",
    )
    parser.add_argument("--method", metavar="NAME", help="draw the samples of a generative model by this sampler")
    parser.add_argument("--steps", type=int, metavar="S", help="in so many steps")
    parser.add_argument("--count", type=int, metavar="N", help="so many of them (as many as the test part has)")
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
        options={name: getattr(given, name) for name in ("resolution", "method", "steps", "count")},
        checkpoint=given.checkpoint,
    )
    return 0
