"""``integrand train APP``: train a model and leave a run folder with a report."""

from pathlib import Path

from integrand.apps.application import Application, Task
from integrand.apps.commands.columns import columns
from integrand.apps.registry import APPLICATIONS, application, applications
from integrand.apps.training.request import TrainRequest
from integrand.core.errors import InputError

_VALUED = ("task", "recipe", "model", "dataset", "resume", "runs", "seed", "seeds", "save-every")
_FLAGS = ("help", "help-all", "print-config")


def run(arguments: list[str]) -> int:
    """Train; see ``help_text``."""
    words = [word for word in arguments if word not in ("-h", "--help")]
    asked_help = len(words) < len(arguments)
    if not words or words[0].startswith("-"):
        if asked_help or not words:
            print(_overview())
            if asked_help:
                return 0
        known = ", ".join(APPLICATIONS)
        raise InputError(f"train needs an application as its first word: integrand train APP, with APP one of {known}.")
    app = application(words[0])
    request = parse(words[1:])
    if asked_help:
        print(help_text(app))
        return 0
    if request.seeds is not None and not (request.print_config or request.help_all):
        from integrand.apps.training.seeds import train_seeds

        return train_seeds(app, request)
    from integrand.apps.training.session import train

    return train(app, request).code


def parse(words: list[str]) -> TrainRequest:
    """Take the suite's own options out of the words, in any order, and leave the rest."""
    request = TrainRequest()
    found: dict[str, str] = {}
    i = 0
    while i < len(words):
        name, equals, value = words[i].partition("=")
        bare = name.removeprefix("--").replace("_", "-") if name.startswith("--") else ""
        if bare in _FLAGS:
            found[bare] = "yes"
        elif bare in _VALUED:
            if not equals:
                i += 1
                if i >= len(words) or words[i].startswith("--"):
                    raise InputError(f"option --{bare} needs a value: --{bare} {bare.upper().replace('-', '_')}.")
                value = words[i]
            found[bare] = value
        else:
            request.options.append(words[i])
        i += 1
    request.task, request.recipe, request.model = (found.get(name) for name in ("task", "recipe", "model"))
    request.dataset, request.resume = found.get("dataset"), found.get("resume")
    request.runs = Path(found.get("runs", "runs"))
    request.seed = _whole("seed", found["seed"], 0) if "seed" in found else None
    request.seeds = _whole("seeds", found["seeds"], 2) if "seeds" in found else None
    _require_free_seeds(request)
    request.save_every = _whole("save-every", found.get("save-every", "100"), 1)
    request.print_config, request.help_all = "print-config" in found, "help-all" in found
    return request


def help_text(app: Application) -> str:
    """Return the short help of one application's training."""
    from integrand.apps.application import recipe_summary

    return "\n".join(
        (
            f"integrand train {app.name}: {app.summary}",
            "",
            f"usage: integrand train {app.name} [OPTIONS]",
            "",
            "options:",
            columns(
                [
                    ("--task NAME", f"what to train for (the recipe's; {app.tasks[0].name} where it names none)"),
                    ("--recipe NAME|FILE", f"how to train ({app.default_recipe} where none is named)"),
                    ("--model NAME", "a model instead of the recipe's"),
                    ("--dataset NAME|FILE", "data instead of the recipe's"),
                    ("--seed N", "seed of everything random"),
                    ("--seeds N", "as many runs, seeds from --seed (0) on, and their means and deviations"),
                    ("--resume RUN", "go on with a run that was stopped"),
                    ("--runs DIR", "where run folders are made (runs)"),
                    ("--save-every N", "steps between two checkpoints to resume from (100)"),
                    ("--model.OPTION V", "an option of the module, such as --model.learning_rate 1e-3"),
                    ("--model.network.OPTION V", "an option of the network, such as --model.network.width 32"),
                    ("--data.OPTION V", "an option of the data, such as --data.context 96"),
                    ("--trainer.OPTION V", "an option of Lightning's Trainer, such as --trainer.max_epochs 5"),
                    ("--print-config", "show the resolved options and stop"),
                    ("--help-all", "show every option"),
                ]
            ),
            "",
            "recipes:",
            columns([(name, recipe_summary(path)) for name, path in app.recipes().items()]),
            *(line for task in app.tasks for line in _task_help(task)),
        )
    )


def _task_help(task: Task) -> tuple[str, ...]:
    return (
        "",
        f"{task.name}: {task.summary}",
        columns(
            [
                *task.model_summaries.items(),
                (
                    "data sets",
                    f"{', '.join(task.datasets)}, or the path of {task.reads}"
                    if task.datasets
                    else f"those of the run: {task.command}",
                ),
            ]
        ),
    )


def _overview() -> str:
    return "\n".join(
        (
            "integrand train: train a model and leave a run folder with a report",
            "",
            "usage: integrand train APP [OPTIONS]      integrand train APP --help",
            "",
            "applications:",
            columns([(app.name, app.summary) for app in applications()]),
        )
    )


def _require_free_seeds(request: TrainRequest) -> None:
    if request.seeds is None:
        return
    if request.resume is not None:
        raise InputError("--seeds makes new runs and --resume goes on with one: leave one of them out.")
    for word in request.options:
        if word.partition("=")[0] in ("--seed_everything", "--data.seed"):
            raise InputError(f"--seeds gives each run a seed of its own: leave {word.partition('=')[0]} out.")


def _whole(name: str, text: str, least: int) -> int:
    try:
        value = int(text)
    except ValueError:
        value = least - 1
    if value < least:
        raise InputError(f"option --{name} takes a whole number of at least {least}, got {text!r}.")
    return value
