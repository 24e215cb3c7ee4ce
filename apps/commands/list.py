"""``integrand list``: what there is to choose from."""

from collections.abc import Callable
from typing import Any

from integrand.apps.application import recipe_summary
from integrand.apps.commands.columns import columns
from integrand.apps.commands.parsing import CommandParser
from integrand.apps.registry import applications
from integrand.datasets.catalogue import CATALOGUE

Rows = list[tuple[str, ...]]


def run(arguments: list[str]) -> int:
    """Print one list, or without a word all of them in short."""
    parser = CommandParser(
        "integrand list",
        description="Show what there is to choose from.",
        examples=("integrand list", "integrand list recipes", "integrand list methods"),
    )
    parser.add_argument("list", nargs="?", choices=(*LISTS, *HEAVY), help="one list; all in short where left out")
    chosen = parser.parse_args(arguments).list
    if chosen in HEAVY:
        print(columns(HEAVY[chosen][1](), indent=0))
    elif chosen:
        print(columns(LISTS[chosen][1](), indent=0) or "none")
    else:
        for title, rows in LISTS.values():
            print(f"{title}\n{columns(rows()) or '  none'}\n")
        # They are named by code that imports torch, for which a list of everything need not wait.
        print("\n\n".join(f"{title}\n  integrand list {name}" for name, (title, _) in HEAVY.items()))
    return 0


def _apps() -> Rows:
    rows: Rows = []
    for app in applications():
        rows.append((app.name, "", app.summary))
        for task in app.tasks:
            rows += [
                ("", "task", f"{task.name}: {task.summary}"),
                ("", "models", ", ".join(task.models)),
                ("", "data sets", ", ".join(task.datasets) or f"those of the run: {task.command}"),
                ("", "sample" if task.sample else "predict", f"reads {task.reads}, writes {task.writes}"),
            ]
    return rows


def _recipes() -> Rows:
    rows: Rows = []
    for app in applications():
        for name, path in app.recipes().items():
            default = " (default)" if name == app.default_recipe else ""
            rows.append((app.name, name, recipe_summary(path) + default))
    return rows


def _models() -> Rows:
    return [
        (app.name, task.name, name, task.model_summaries[name])
        for app in applications()
        for task in app.tasks
        for name in task.models
    ]


def _datasets() -> Rows:
    users: dict[str, list[str]] = {name: [] for name in CATALOGUE}
    for app in applications():
        for task in app.tasks:
            for name in task.datasets:
                users[name].append(f"{app.name} {task.name}")
    return [(name, ", ".join(users[name]), entry.summary) for name, entry in CATALOGUE.items()]


def _methods() -> Rows:
    from integrand.core.diffusion.samplers.registry import SAMPLERS  # imports torch, as does the next
    from integrand.core.numerics import METHODS

    names = dict.fromkeys(name for methods in METHODS.values() for name in methods)
    solvers: Rows = [
        ("solver", name, ", ".join(engine for engine, methods in METHODS.items() if name in methods)) for name in names
    ]
    return solvers + [("sampler", one.name, _claims(one)) for one in SAMPLERS.values()]


def _claims(sampler: Any) -> str:
    """Return what a sampler is, its order and what a step costs."""
    claims = [f"order {sampler.order}"] if sampler.order else []
    if sampler.evaluations:
        claims.append(f"{sampler.evaluations} evaluation{'s' * (sampler.evaluations > 1)} a step")
    claims += ["draws noise"] * sampler.stochastic
    return "; ".join([sampler.summary, ", ".join(claims)] if claims else [sampler.summary])


def _simulators() -> Rows:
    from integrand.datasets.synthetic.simulators import SIMULATORS, simulator  # imports torch

    rows: Rows = []
    for name in SIMULATORS:
        one = simulator(name)
        named = {**one.sizes, **one.parameters}
        parameters = ", ".join(f"{word}={value:g}" for word, value in named.items()) or "no parameters"
        rows.append((name, f"{one.dims}-D field" if one.dims else "system", parameters, one.summary))
    return rows


LISTS: dict[str, tuple[str, Callable[[], Rows]]] = {
    "apps": ("applications", _apps),
    "recipes": ("recipes (integrand train APP --recipe NAME)", _recipes),
    "models": ("models (integrand train APP --model NAME)", _models),
    "datasets": ("data sets (integrand train APP --dataset NAME)", _datasets),
}
"""The lists that need no torch, each with its title and what makes its rows."""
HEAVY: dict[str, tuple[str, Callable[[], Rows]]] = {
    "methods": ("solver methods, and samplers (integrand sample RUN --method NAME)", _methods),
    "simulators": ("simulators (integrand data simulate NAME)", _simulators),
}
"""The lists that need it."""
