"""``integrand analyze RUN``: what a trained model solves, and how far to rely on it, on one page."""

import sys

from integrand.apps.commands.parsing import CommandParser
from integrand.apps.commands.run_module import add_accelerator, add_checkpoint
from integrand.core.errors import InputError


def run(arguments: list[str]) -> int:
    """Examine a run; writes ``analysis.html``, ``analysis.json`` and figures into it, and prints the verdicts."""
    parser = CommandParser(
        "integrand analyze",
        description="Examine a run's model with every instrument that applies: is its answer that of the equation or "
        "of the solver, are its gradients right, does it converge as steps shrink, what does the equation do, how far "
        "does it remember, and what do noise, gaps and an adversary change? One page, with figures.",
        examples=("integrand analyze runs/physics/pendulum/1", "integrand analyze runs/timeseries/weather/1"),
    )
    parser.add_argument("run", metavar="RUN", help="folder of a run")
    add_checkpoint(parser)
    add_accelerator(parser)
    given = parser.parse_args(arguments)

    from integrand.apps.application import load
    from integrand.apps.registry import application, applications
    from integrand.apps.training.run_folder import RunFolder

    opened = RunFolder.open(given.run)
    said = opened.read("environment.json")
    place = application(said.get("app", "")).task(said.get("task")).analyze
    if place is None:
        able = sorted({f"{app.name} {task.name}" for app in applications() for task in app.tasks if task.analyze})
        raise InputError(
            f"{opened.path} is a run of {said.get('task')}, of which analyze knows nothing yet: it examines "
            f"{', '.join(able)}."
        )

    from integrand.apps.analysis.examination import examine
    from integrand.apps.analysis.page import write_analysis
    from integrand.apps.analysis.printing import print_findings
    from integrand.apps.training.conclusion import reopen

    _, module, data = reopen(opened, checkpoint=given.checkpoint, accelerator=given.accelerator)
    subject = load(place)(module.eval(), data, seed=said["seed"])
    findings = examine(subject, opened, notify=lambda line: print(line, file=sys.stderr, flush=True))
    print_findings(findings)
    print(write_analysis(opened, subject, findings))
    return 0
