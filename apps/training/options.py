"""The options of a training: Lightning's command-line interface, with errors that a user can act on."""

import inspect
import re
import sys
import warnings
from pathlib import Path
from typing import Any

import jsonargparse
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from integrand.apps.application import Application, Task, load
from integrand.apps.training.request import TrainRequest
from integrand.core.errors import InputError, nearest, unknown
from integrand.core.numerics.solve_ode import METHODS


class SuiteCLI(LightningCLI):
    """Parses model, data and trainer options; ``start`` makes them into objects when the run folder is there.

    Args:
        task: what is trained for; it stands in the configuration, so that a run's tells it.
        given: further arguments of ``LightningCLI``.
    """

    def __init__(self, task: Task, **given: Any) -> None:
        self.task = task
        super().__init__(load(task.module), load(task.data), **given)

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Let recipes name their task."""
        parser.add_argument("--task", default=self.task.name, help="what to train for")

    def instantiate_classes(self) -> None:
        """Wait for ``start``: nothing is built before every option was understood."""

    def start(self, **trainer: Any) -> None:
        """Build data, module and trainer, the latter with further arguments."""
        self.forced = trainer
        super().instantiate_classes()

    def instantiate_trainer(self, **kwargs: Any) -> Any:
        """Build the trainer; what the user gave as callbacks and loggers comes before what the suite adds."""
        given = dict(self._get(self.config_init, "trainer", default={}))
        merged = dict(self.forced)
        for name in ("callbacks", "logger", "plugins"):
            theirs = given.get(name)
            listed = theirs if isinstance(theirs, list) else [theirs]
            merged[name] = [one for one in listed if one not in (None, True, False)] + merged.get(name, [])
        try:
            return super().instantiate_trainer(**merged, **kwargs)
        except (MisconfigurationException, TypeError, ValueError) as error:
            if isinstance(error, InputError):
                raise
            text = re.sub(r"\s+", " ", str(error)).strip()
            raise InputError(f"the trainer refuses its options: {_cut(text)}") from error


def parse_options(app: Application, request: TrainRequest) -> SuiteCLI:
    """Resolve recipe, names and options into one configuration.

    Raises:
        InputError: a name, option, key, type or value that is not right, with the nearest right one.
    """
    recipe = config_file(app, request)
    task = _task(app, request, recipe)
    words = ["--config", str(recipe)]
    if request.dataset is not None:
        words += ["--data.dataset", request.dataset]
    if request.model is not None:
        if request.model not in task.models:
            raise unknown("model", request.model, task.models)
        words += ["--model.network", task.models[request.model].replace(":", ".")]
    if request.seed is not None:
        words += ["--seed_everything", str(request.seed), "--data.seed", str(request.seed)]
    words += request.options
    if request.help_all:
        words.append("--help")
    if request.print_config:
        words.append("--print_config")
    for path in task.models.values():
        load(path)  # so that the parser knows every network by its class name
    if request.help_all:
        print(_network_options(task))
    # Lightning warns of arguments given both as words and through sys.argv; the head has read the latter already.
    warnings.filterwarnings("ignore", "LightningCLI's args parameter")
    try:
        cli = SuiteCLI(
            task,
            run=False,
            args=words,
            save_config_callback=None,
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,
            seed_everything_default=0,
            parser_class=_Parser,
            parser_kwargs={"exit_on_error": False, "allow_abbrev": False, "prog": f"integrand train {app.name}"},
        )
    except jsonargparse.ArgumentError as error:
        raise InputError(_one_line(str(error), app, task, request)) from error
    except UnicodeDecodeError as error:
        raise InputError(f"the configuration is not text{_where(request)}: recipes are YAML files.") from error
    _check_methods(cli.config["model"])
    return cli


def _check_methods(options: Any) -> None:
    """Raise ``InputError`` where an option called ``method`` names no solver; training would find out too late."""
    for name, value in vars(options).items() if isinstance(options, jsonargparse.Namespace) else ():
        if name == "method" and isinstance(value, str):
            known = list(dict.fromkeys(method for methods in METHODS.values() for method in methods))
            if value not in known:
                raise unknown("method", value, known)
        _check_methods(value)


class _Parser(LightningArgumentParser):
    """Lightning's parser, remembering the last one made, whose options are the words to hint at."""

    last: "LightningArgumentParser | None" = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if type(self).last is None or kwargs.get("prog"):
            _Parser.last = self


def config_file(app: Application, request: TrainRequest) -> Path:
    """Return the recipe that is asked for, or the configuration of the run that is resumed."""
    if request.resume is None:
        return app.recipe(request.recipe or app.task(request.task).default_recipe)
    from integrand.apps.training.run_folder import RunFolder

    if request.task or request.recipe or request.model or request.dataset or request.seed is not None:
        raise InputError("--resume takes task, recipe, model, data and seed from the run: leave those options out.")
    wrong = [word for word in request.options if word.startswith("--") and not word.startswith("--trainer.")]
    if wrong:
        raise InputError(f"--resume takes {wrong[0]} from the run: only --trainer options may be given anew.")
    run = RunFolder.open(request.resume)
    owner = run.read("environment.json").get("app")
    if owner != app.name:
        raise InputError(f"{run.path} is a run of the application {owner!r}, not of {app.name!r}.")
    return run.config


def _task(app: Application, request: TrainRequest, recipe: Path) -> Task:
    """Return the task of a recipe, where it agrees with what else was asked for."""
    task = app.task_of(recipe)
    if request.task is not None and app.task(request.task) is not task:
        raise InputError(f"the recipe {recipe.stem} is for {task.name}, not for {request.task}: leave --task out.")
    for kind, name in (("model", request.model), ("dataset", request.dataset)):
        others = [other for other in app.tasks if name in getattr(other, f"{kind}s")]
        if others and task not in others:
            cure = (
                f"add --task {others[0].name}, without --recipe" if request.recipe else f"add --task {others[0].name}"
            )
            raise InputError(f"{kind} {name!r} is for {others[0].name}, not for {task.name}: {cure}.")
    return task


def _one_line(message: str, app: Application, task: Task, request: TrainRequest) -> str:
    """Turn the parser's message into one line with a hint."""
    where = _where(request)
    text = re.sub(r"\s+", " ", message).strip()
    options = _known_options(task)
    if found := re.search(r"[Uu]nrecognized arguments?: (\S+)", text):
        word = found[1].partition("=")[0]
        typed = [given.partition("=")[0] for given in request.options]
        word = next((given for given in typed if given.endswith(f".{word.lstrip('-')}")), word)
        if not word.startswith("-"):
            return f"unexpected argument {word!r}: options begin with --; see 'integrand train {app.name} --help'."
        return _hint("option", word, options)
    if found := re.search(r"[Kk]ey ['\"]([\w.]+)['\"] is not expected|[Nn]o action for key ['\"]([\w.]+)['\"]", text):
        key = found[1] or found[2]
        full = next((o for o in options if o.endswith(key)), None)
        return _hint("option", full or f"--{key}", options) + where
    if found := re.search(r"[Gg]roup ['\"]([\w.]+)['\"] does not accept option ['\"]([\w.]+)['\"]", text):
        return _hint("option", f"--{found[1]}.{found[2]}", options) + where
    if found := re.search(r"File does not exist: (.*)", text):
        return f"there is no file {found[1]}: check the path."
    if "Unexpected config" in text:
        return f"the configuration is not a YAML mapping{where}: write lines such as 'model:' and options below them."
    if found := re.search(r"Problems parsing config: (.*)", text):
        return f"the configuration is not valid YAML{where}: {found[1]}"
    if found := re.search(r"[Oo]ption ['\"]?([\w.]+)['\"]? is not accepted", text):
        inner = re.search(r"[Kk]ey ['\"]([\w.]+)['\"]", text)
        full = f"{inner[1]}.{found[1]}" if inner and not found[1].startswith(inner[1]) else found[1]
        return _hint("option", f"--{full}", options) + where
    if "yaml" in text.lower() and ("scan" in text.lower() or "pars" in text.lower()):
        return f"the configuration is not valid YAML{where}: {text}"
    text = re.sub(r"- Expected a path but \S+ either not accessible or invalid ", "", text)
    if found := re.search(r"key ['\"]([\w.]+)['\"]: .*Expected a dot import path string: (\S+)", text):
        if found[1] != "model.network":
            return f"option --{found[1]}: expected an importable class, package.module.Name, got {found[2]}{where}"
        known = {path.rpartition(":")[2]: name for name, path in task.models.items()}
        close = known.get(nearest(found[2], known) or "") or nearest(found[2], task.models)
        hint = f"did you mean --model {close}?" if close else f"name a model with --model ({', '.join(task.models)})."
        return f"unknown network {found[2]!r}: {hint} An importable class, package.module.Name, is taken too{where}"
    found = re.search(r"[Kk]ey ['\"]([\w.]+)['\"]:? ?(.*)", text)
    if found:
        inner = re.search(r"[Pp]arser key ['\"]([\w.]+)['\"]: (.*)", found[2])
        if inner:
            return f"option --{found[1]}.{inner[1]}: {_shorten(inner[2])}{where}"
        return f"option --{found[1]}: {_shorten(found[2])}{where}"
    return _shorten(text) + where


def _shorten(text: str) -> str:
    """Keep what was expected and what was given of a message that lists every type tried."""
    text = text.strip(" -:").removeprefix("Problem with given class_path").strip(" :")
    union = re.search(r"Subtypes: \[(.*?)\] Errors: .*Given value: (.*)", text)
    text = f"Expected one of {union[1]}. Got value: {union[2]}" if union else text
    for python, word in _TYPES.items():
        text = re.sub(rf"<class '{python}'>", word, text)
    text = re.sub(r"typing\.Literal\[(.*?)\]", r"\1", text)
    text = re.sub(r"^Expected (?:an? )?(?=a |text|true|nothing|')", "expected ", text)
    return _cut(re.sub(r"\. Got value: ", ", got ", text).replace("Expected", "expected", 1))


_TYPES = {
    "int": "a whole number",
    "float": "a number",
    "str": "text",
    "bool": "true or false",
    "tuple": "a list",
    "list": "a list",
    "dict": "a mapping",
    "NoneType": "null",
}
"""What users call Python's types."""


def _cut(text: str) -> str:
    return text if len(text) <= 240 else text[:237] + "..."


def _where(request: TrainRequest) -> str:
    return f" (recipe {request.recipe})" if request.recipe else ""


def _hint(kind: str, word: str, known: list[str]) -> str:
    close = nearest(word, known)
    hint = f" did you mean {close!r}?" if close else " --help-all lists every option."
    return f"unknown {kind} {word!r}:{hint}"


def _network_options(task: Task) -> str:
    """List the options of each network, which the parser's own help leaves out as they depend on ``--model``."""
    lines = []
    for name, path in task.models.items():
        lines.append(f"options of --model {name}, with their defaults:")
        options = inspect.signature(load(path)).parameters.values()
        lines += [f"  --model.network.{option.name} {option.default}" for option in options]
    return "\n".join(lines) + "\n"


def _known_options(task: Task) -> list[str]:
    parser = _Parser.last
    options = [
        "--task",
        "--recipe",
        "--model",
        "--dataset",
        "--seed",
        "--seeds",
        "--resume",
        "--runs",
        "--save-every",
        "--print-config",
    ]
    if parser is not None:
        options += [text for action in parser._actions for text in action.option_strings if text.startswith("--")]
    for path in task.models.values():
        names = inspect.signature(load(path)).parameters
        options += [f"--model.network.{name}" for name in names]
    return list(dict.fromkeys(options))


def command_line() -> list[str]:
    """Return the words that were typed, the program as ``integrand``."""
    return ["integrand", *sys.argv[1:]]
