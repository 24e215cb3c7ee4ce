"""An application's declaration: what the command line must know of it before anything heavy is imported.

The heavy parts are named as ``"module:attribute"`` and imported by ``load`` when they are used.
"""

import importlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from integrand.core.errors import InputError, listed, nearest, unknown

RECIPE_SUFFIXES = (".yaml", ".yml")


def load(path: str) -> Any:
    """Import what ``"module:attribute"`` names.

    Raises:
        ValueError: ``path`` is not of that form.
        ImportError: there is no such module.
        AttributeError: the module has no such attribute.

    Example:
        >>> load("math:tau")
        6.283185307179586
    """
    module, colon, attribute = path.partition(":")
    if not (module and colon and attribute):
        raise ValueError(f"path must be 'module:attribute', got {path!r}: name both, with a colon between.")
    return getattr(importlib.import_module(module), attribute)


@dataclass(frozen=True, kw_only=True)
class Task:
    """One thing that an application trains models for.

    Attributes:
        name: what ``--task`` and recipes call it.
        summary: one line for lists.
        module: its Lightning module, as are all paths below ``"module:attribute"``.
        data: its Lightning data module.
        models: its networks by name, in snake case; the first is the default.
        model_summaries: one line on each of ``models``.
        datasets: names in the catalogue of the data it can be trained on.
        default_recipe: the recipe ``train`` takes where none is named.
        evaluate: the function behind ``evaluate``.
        figures: the function that draws a run's figures.
        predict: the function behind ``predict``; the options of the command that it takes are its parameters. None
            where nothing is predicted.
        reads: what ``predict`` reads, in a few words.
        writes: what ``predict`` writes, in a few words.
        product: what is predicted, in the plural, as files are named after it.
        stream: the function behind ``predict --stream``, likewise; None where rows cannot be answered as they come.
        identify: the function behind ``identify``, likewise; None where no model has constants to tell.
        analyze: the function that tells ``analyze`` what to examine, a ``Subject``; None where no instrument applies.
        sample, likelihood, inpaint: the functions behind these commands; None where nothing is generated.
        command: what is typed to train for it, where that is not ``train`` with a recipe; "" where it is.
    """

    name: str
    summary: str
    module: str
    data: str
    models: dict[str, str]
    model_summaries: dict[str, str]
    datasets: tuple[str, ...]
    default_recipe: str
    evaluate: str
    figures: str
    reads: str
    writes: str
    product: str
    predict: str | None = None
    stream: str | None = None
    identify: str | None = None
    analyze: str | None = None
    sample: str | None = None
    likelihood: str | None = None
    inpaint: str | None = None
    command: str = ""


@dataclass(frozen=True, kw_only=True)
class Application:
    """What one application offers.

    Attributes:
        name: what commands call it.
        summary: one line for lists.
        package: the package it lies in, as ``"integrand.apps.NAME"``; ``recipes/`` within holds its recipes.
        tasks: what it trains models for; the first where none is named.
    """

    name: str
    summary: str
    package: str
    tasks: tuple[Task, ...]

    @property
    def default_recipe(self) -> str:
        """The recipe ``train`` takes where neither a recipe nor a task is named."""
        return self.tasks[0].default_recipe

    def task(self, name: str | None) -> Task:
        """Return the task called ``name``, the first where that is None.

        Raises:
            InputError: there is none of that name; the message names the nearest.
        """
        for task in self.tasks:
            if name in (task.name, None):
                return task
        raise unknown(f"task of {self.name}", str(name), [task.name for task in self.tasks])

    def task_of(self, recipe: Path) -> Task:
        """Return the task that a recipe names by its key ``task``; the first where it names none.

        Raises:
            InputError: it names one that is not known.
        """
        import yaml

        try:
            said = yaml.safe_load(recipe.read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError):
            said = None  # the parser of the options will tell what is wrong
        return self.task(said.get("task") if isinstance(said, dict) else None)

    def recipes(self) -> dict[str, Path]:
        """Return the application's recipes by name, in alphabetical order; imports none of its heavy parts."""
        spec = importlib.util.find_spec(self.package)
        folders = [Path(place, "recipes") for place in (spec and spec.submodule_search_locations) or ()]
        files = [path for folder in folders for path in folder.glob("*") if path.suffix in RECIPE_SUFFIXES]
        return {path.stem: path for path in sorted(files)}

    def recipe(self, name_or_path: str | Path) -> Path:
        """Return the file of a recipe, given by its name or as the path of a ``.yaml`` or ``.yml`` file.

        Raises:
            InputError: there is neither such a recipe nor such a file; the message names the nearest recipe.
        """
        given, known = str(name_or_path), self.recipes()
        if found := known.get(given.strip().lower().replace("-", "_")):
            return found
        path = Path(name_or_path).expanduser()
        if path.suffix.lower() not in RECIPE_SUFFIXES:
            raise unknown(f"recipe of {self.name}", given, known)
        if not path.is_file():
            close = nearest(path.stem, known)
            hint = f"did you mean the recipe {close!r}?" if close else "check the path."
            raise InputError(f"there is no recipe file {given!r}: {hint} Known recipes: {listed(known)}.")
        return path


def recipe_summary(path: Path) -> str:
    """Return the first comment line at the head of a recipe, without its ``#``; empty where there is none."""
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            text = line.strip()
            comment = text.lstrip("#").strip()
            if comment and text != "---":
                return comment if text.startswith("#") else ""
    return ""
