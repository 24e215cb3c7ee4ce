"""``integrand distill RUN``: train a flow map that draws a run's samples in few evaluations."""

import json
from pathlib import Path
from typing import Any

from integrand.apps.commands.parsing import CommandParser
from integrand.core.errors import InputError

_OF_TRAINING = ("--model.", "--data.", "--trainer.")


def run(arguments: list[str]) -> int:
    """Train a student of a run, as a run of its own."""
    own, of_training = _apart(arguments)
    given = _parser().parse_args(own)

    from integrand.apps.registry import application
    from integrand.apps.training.checkpoints import StoredRun
    from integrand.apps.training.request import TrainRequest
    from integrand.apps.training.run_folder import RunFolder
    from integrand.apps.training.session import train

    stored = StoredRun.of(RunFolder.open(given.run), "best")
    if stored.app.name != "generation":
        raise InputError(f"{given.run} is a run of {stored.app.name}, which draws no samples: name one of generation.")
    if stored.task.data != stored.app.task("distillation").data:
        raise InputError(f"{given.run} is a run of {stored.task.name}, which is not distilled: name one of samples.")
    learned = {
        "model.teacher": str(given.run),
        "model.sampler_steps": given.steps,
        "model.knots": given.knots,
        "model.trajectories": given.trajectories,
        "model.guidance": given.guidance,
    }
    data = {f"data.{name}": value for name, value in stored.checkpoint["integrand"]["data"].items()}
    words = [f"--{name}={_word(value)}" for name, value in {**data, **learned}.items() if value is not None]
    request = TrainRequest(task="distillation", runs=given.runs, seed=given.seed, options=[*words, *of_training])
    return train(application("generation"), request).code


def _parser() -> CommandParser:
    parser = CommandParser(
        "integrand distill",
        description="Train a flow map: a network that jumps along a trained model's probability flow, and so draws its "
        "samples in few evaluations. Network, process and data are the run's. It leaves a run folder of its own, for "
        "sample, evaluate and export; --model., --data. and --trainer. options are those of integrand train.",
        examples=(
            "integrand distill runs/generation/digits/1",
            "integrand distill runs/generation/digits/1 --steps 2 --trainer.max_steps 4000",
        ),
    )
    parser.add_argument("run", metavar="RUN", type=Path, help="folder of a run that samples are drawn with")
    parser.add_argument("--steps", type=int, metavar="N", help="jumps of a sample unless asked otherwise (4)")
    parser.add_argument("--knots", type=int, metavar="N", help="steps of the teacher, the most jumps learned (16)")
    parser.add_argument("--trajectories", type=int, metavar="N", help="solutions of the teacher learned from (8192)")
    parser.add_argument("--guidance", type=float, metavar="W", help="classifier-free scale of these (1)")
    parser.add_argument(
        "--runs", type=Path, default=Path("runs"), metavar="DIR", help="where the folder is made (runs)"
    )
    parser.add_argument("--seed", type=int, metavar="N", help="seed of everything random")
    return parser


def _apart(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Return the words that are this command's, and those that a training takes, each with its value."""
    own: list[str] = []
    of_training: list[str] = []
    words = iter(arguments)
    for word in words:
        if word.startswith(_OF_TRAINING):
            of_training += [word] if "=" in word else [word, *([value] if (value := next(words, None)) else [])]
        else:
            own.append(word)
    return own, of_training


def _word(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
