"""What a command line asks of a training; free of torch, as the head of the command line is."""

from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class TrainRequest:
    """What the command line asks of ``train``, before the options of model, data and trainer are parsed.

    Attributes:
        task: what to train for; the recipe's when None.
        recipe: name or path of the recipe; the task's default when None.
        model: name of a model, instead of the recipe's.
        dataset: name or file of the data, instead of the recipe's.
        resume: folder of the run to go on with.
        runs: where run folders are made.
        seed: seed of initial values, order and drops.
        seeds: how many runs to make, each with a seed of its own, from ``seed`` on; one run when None.
        save_every: steps between two writings of ``last.ckpt``.
        print_config: show the resolved options instead of training.
        help_all: show every option instead of training.
        options: the words that are left, for model, data and trainer.
    """

    task: str | None = None
    recipe: str | None = None
    model: str | None = None
    dataset: str | None = None
    resume: str | None = None
    runs: Path = Path("runs")
    seed: int | None = None
    seeds: int | None = None
    save_every: int = 100
    print_config: bool = False
    help_all: bool = False
    options: list[str] = field(default_factory=list)
