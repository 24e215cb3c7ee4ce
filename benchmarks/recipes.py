"""Measure recipes over seeds: ``python benchmarks/recipes.py [--recipes GLOB] [--seeds 3]``.

Each seed is a run of its own through the command line, in a temporary folder, from command to report. A row a metric
goes to ``published/``, with the baselines of the same runs and, where there is one, the published figure. ``--quick``
proves that all of this works, on a model that has learned nothing; its rows go to the folder named by ``--output``.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from rows import PUBLISHED, commit, machine, write_row

ARCHIVE = "timeseriesclassification.com"


@dataclass(frozen=True)
class Recipe:
    """A recipe that is measured.

    Attributes:
        metrics: of its test part, each a row; and whether less of it is better. ``relative_l2_at_1024`` is that of the
            same test samples on another number of points.
        note: what the figures are of.
        published: best published figure of the first metric, and where it stands.
        quick: options that make a run of some seconds.
        recipe: its name, where the rows have another.
        options: added to its command.
        app: the application it is of.
        teacher: the recipe of a run that is trained first, with the same seed, and distilled.
    """

    metrics: dict[str, str]
    note: str
    published: tuple[float, str] | None = None
    quick: tuple[str, ...] = ("--trainer.max_epochs", "1", "--trainer.limit_train_batches", "4")
    recipe: str | None = None
    options: tuple[str, ...] = ()
    app: str = "timeseries"
    teacher: str | None = None


def _imputation(recipe: str, model: str | None) -> Recipe:
    """Half of the values hidden, by the recipe's model or by another."""
    return Recipe(
        {"crps": "lower", "mae": "lower"},
        "half of the test part's values hidden, each by itself, the same ones for every model and seed; standardised "
        "units",
        quick=("--trainer.max_epochs", "1", "--trainer.limit_train_batches", "4", "--data.stride", "24"),
        recipe=recipe,
        options=("--model", model) if model else (),
    )


def _latent_ode(published: float | None, of: str) -> Recipe:
    """Values of PhysioNet 2012 by a latent ODE; what is published is of a protocol that leaks."""
    source = "latent ODE, Rubanova, Chen and Duvenaud (2019), Table 4: of 8,000 stays, sets A and B"
    scaled = "the training part alone" if published is None else "all parts, as published, so that the test part leaks"
    return Recipe(
        {"mse_by_sample": "lower", "crps": "lower"},
        f"{of}; scaled from the least value on in units of the greatest of {scaled}; 4,000 stays, set A, one random "
        "split by stay",
        None if published is None else (published, source),
    )


_FNO = "FNO without normalisation, Li et al. (2021), Table 1: at 1024 points"
_FNO_NOTE = (
    "1,000 training samples on 256 points, 100 test samples, the same functions at each number of points; trained "
    "without the test part, the epoch with the best validation error"
)
_FEW_STEPS = ("--trainer.max_steps", "4", "--trainer.max_epochs", "1", "--model.refine", "[]")
_IDENTIFIED = {"parameter_error": "lower", "remainder_error": "lower"}
_IDENTIFIED_NOTE = (
    "12 trajectories with 1 % of noise; the largest relative error of a constant, and the relative L2 error of the "
    "remainder at the states of the test part"
)
_BY_POINTS = {f"relative_l2{points}": "lower" for points in ("", "_at_1024", "_at_2048")}
_TWO_EPOCHS = ("--trainer.max_epochs", "2")
_COMPILED = ("--model.compile", "true")
_ETTH1 = {"mse": "lower", "mae": "lower", "crps": "lower"}
_ETTH1_NOTE = (
    "published split, standardised by its training part, all test windows of stride 1 that lie within the part, "
    "channels and leads alike"
)
_FROM_96 = "from 96 hours too, in Shi et al. (2025), Time-MoE, Table 4"
_CLASSES = {"accuracy": "higher", "nll": "lower"}
_CLASSES_NOTE = "the official test part; trained on the whole training part, the last weights; each seed its own order"
_TWO_STEPS = ("--trainer.max_steps", "2", "--trainer.max_epochs", "1")
_DENSITY_NOTE = "nats a sample of 2,000 test points, by the probability flow with exact divergence"
_TABLE_NOTE = (
    "learners trained on drawn rows against the same trained on as many real ones, both scored on the real test part"
)

_CHOSEN = (
    "chosen by folds of the training patients alone (out of fold jk 0.81, logistic regression 0.63, residual network "
    "0.62); but earlier networks had been scored four times on the test part (jk 0.557 to 0.592), and that beats of "
    "fibrillating patients were named S there and those of patient 232 N, is known since: variations with fibrillating "
    "and with premature atria came after it; without: patient 232 left out, who holds 1,382 of 1,837 beats of S"
)
_BEATS = {
    **dict.fromkeys(("accuracy", "jk", "macro_f1", "f1_N", "f1_S", "f1_V"), "higher"),
    **dict.fromkeys(("jk_without", "f1_S_without"), "higher"),
    "ece": "lower",
}

RECIPES = {
    "mit_bih_beats": Recipe(
        _BEATS,
        "all beats of the 22 test patients of de Chazal et al. (2004), learned from the other 21 (record 201, of a "
        f"patient of the test part, is left out); {_CHOSEN}",
        None,
        quick=_TWO_STEPS,
        app="medical",
    ),
    "mit_bih_beats_as_published": Recipe(
        _BEATS,
        "all beats of the 22 test patients, learned from the 22 of the published division, DS1 and DS2 of de Chazal et "
        "al. (2004): records 201 of the one and 202 of the other are of one patient; measured after the run without "
        f"201 had been looked at, patient by patient; {_CHOSEN}",
        (
            0.945,
            "Mondejar-Guerra et al. (2019), Heartbeat classification fusing temporal and morphological information of "
            "ECGs via ensemble of classifiers: support vector machines, jk 0.773",
        ),
        quick=_TWO_STEPS,
        recipe="mit_bih_beats",
        options=("--data.protocol", "as_published"),
        app="medical",
    ),
    "simulated_beats": Recipe(
        {"macro_f1": "higher", "jk": "higher", "accuracy": "higher"},
        "simulated patients; parts by patient",
        quick=_TWO_STEPS,
        app="medical",
    ),
    "weather": Recipe(
        {"crps": "lower", "mae": "lower", "mse": "lower"},
        "the recipe's test part, standardised units; each seed draws its own initial values, order and dropped rows",
        quick=("--trainer.max_epochs", "1", "--trainer.limit_train_batches", "4", "--data.stride", "24"),
    ),
    "etth1": Recipe(_ETTH1, _ETTH1_NOTE, (0.375, f"TimeMixer, {_FROM_96}")),
    "etth1_dlinear": Recipe(_ETTH1, _ETTH1_NOTE, (0.386, f"DLinear, {_FROM_96}")),
    "japanese_vowels": Recipe(_CLASSES, _CLASSES_NOTE, (0.993, f"FCN, {ARCHIVE}")),
    "basic_motions": Recipe(_CLASSES, _CLASSES_NOTE, (1.0, f"several, {ARCHIVE}")),
    "gun_point": Recipe(_CLASSES, _CLASSES_NOTE, (1.0, f"several, {ARCHIVE}")),
    "arrow_head": Recipe(_CLASSES, _CLASSES_NOTE),
    "physionet2012": Recipe(
        {"auroc": "higher", "auprc": "higher", "nll": "lower"},
        "death in hospital, one random split by stay and class, scaled by its training part alone; the published "
        "figure is of other splits",
        (0.858, "mTAND-Full, Shukla and Marlin (2021), Multi-time attention networks, Table 2"),
    ),
    "weather_imputation": _imputation("weather_imputation", None),
    "weather_imputation_gru_d": _imputation("weather_imputation", "gru_d"),
    "physionet2012_imputation": _imputation("physionet2012_imputation", None),
    "physionet2012_imputation_gru_d": _imputation("physionet2012_imputation", "gru_d"),
    "physionet2012_interpolation_as_published": _latent_ode(
        2.118e-3, "interpolation: every value asked for is given as well"
    ),
    "physionet2012_interpolation": _latent_ode(None, "interpolation: half of the values hidden and asked for"),
    "physionet2012_extrapolation_as_published": _latent_ode(2.231e-3, "extrapolation: the second day from the first"),
    "physionet2012_extrapolation": _latent_ode(None, "extrapolation: the second day from the first"),
    "pendulum": Recipe(
        {"energy_drift": "lower", "relative_l2": "lower"},
        "100 periods from exact starts, of which training saw one; the plain network has the same data, steps and "
        "widths",
        app="physics",
        quick=_FEW_STEPS,
    ),
    "two_body": Recipe(
        {"energy_mse": "lower"},
        "1,000 orbits of 50 points on [0, 20] as published, 700 of them for training; 200 test orbits, 500 points on "
        "[0, 25]",
        (3.88e-5, "HNN, Greydanus, Dzamba and Yosinski (2019), Table 1; their plain network has 6.33e-2"),
        app="physics",
        quick=_FEW_STEPS,
    ),
    "lorenz63": Recipe(
        {"valid_time": "higher", "exponents_error": "lower"},
        "10 trajectories of 1,001 states with 1 % of noise; Lyapunov times from 66 exact starts until the error "
        "exceeds 0.4 deviations, and the largest relative error of the two exponents that are not 0",
        app="physics",
        quick=_FEW_STEPS,
    ),
    "lotka_volterra": Recipe(_IDENTIFIED, _IDENTIFIED_NOTE, app="physics", quick=_FEW_STEPS),
    "damped_pendulum": Recipe(_IDENTIFIED, _IDENTIFIED_NOTE, app="physics", quick=_FEW_STEPS),
    "burgers": Recipe(
        _BY_POINTS, f"period 2 pi; {_FNO_NOTE}", (2.54e-3, _FNO), quick=_TWO_EPOCHS, options=_COMPILED, app="physics"
    ),
    "burgers_unit": Recipe(
        _BY_POINTS,
        f"period 1, as printed; {_FNO_NOTE}",
        (2.54e-3, _FNO),
        quick=_TWO_EPOCHS,
        options=_COMPILED,
        app="physics",
    ),
    "kuramoto_sivashinsky": Recipe(
        {"correlation_time_0.8": "higher", "correlation_time_0.95": "higher", "valid_time": "higher"},
        "64 long, 32 test samples rolled out for 100 units of time; valid time in Lyapunov times, at most 8.6; "
        "FNO and U-Net learned from the same batches in as many steps; last weights of all",
        quick=("--trainer.max_epochs", "1", "--trainer.limit_train_batches", "4", "--data.span", "5"),
        app="physics",
    ),
    "digits": Recipe(
        {"bits_per_dim": "lower", "c2st_forest": "lower", "energy_distance": "lower", "nearest_ratio": "higher"},
        "359 test images and as many samples with 20 evaluations; the likelihood of the first 150 with their classes, "
        "by the probability flow with exact divergence",
        app="generation",
        quick=_TWO_STEPS,
    ),
    "digits_few_steps": Recipe(
        {"c2st_forest": "lower", "energy_distance": "lower", "miss": "lower"},
        "359 test images and as many samples with 4 evaluations of a flow map of the recipe digits, whose run of the "
        "same seed is its teacher; seconds are of both trainings",
        app="generation",
        quick=_TWO_STEPS,
        recipe="few_steps",
        teacher="digits",
    ),
    "moons": Recipe({"nll": "lower"}, _DENSITY_NOTE, app="generation", quick=_TWO_STEPS),
    "checkerboard": Recipe({"nll": "lower"}, _DENSITY_NOTE, app="generation", quick=_TWO_STEPS),
    "breast_cancer": Recipe(
        {"transfer_ratio": "higher", "auroc": "higher", "c2st_forest": "lower", "copies": "lower"},
        f"malignant or not; {_TABLE_NOTE}",
        app="generation",
        quick=_TWO_STEPS,
    ),
    "diabetes": Recipe(
        {"transfer_ratio": "higher", "r2": "higher", "c2st_forest": "lower", "copies": "lower"},
        f"progression after a year; {_TABLE_NOTE}",
        app="generation",
        quick=_TWO_STEPS,
    ),
    "diamonds": Recipe(
        {"transfer_ratio": "higher", "r2": "higher", "c2st_forest": "lower", "copies": "lower"},
        f"price; {_TABLE_NOTE}: 10,000 of each table, other rows for each of three seeds of the learners",
        app="generation",
        quick=_TWO_STEPS,
    ),
}
"""By the names of their rows."""


def main() -> None:
    """Run every seed of the recipes asked for and write their rows."""
    given = _parse()
    for name, recipe in RECIPES.items():
        if fnmatch(name, given.recipes):
            _measure(name, recipe, given)


def _measure(recipe: str, what: Recipe, given: argparse.Namespace) -> None:
    seeds = list(range(given.seeds))
    options = what.options + (what.quick if given.quick else ())
    runs = [_kept(what, what.recipe or recipe, seed, options, given.keep) for seed in seeds]
    results = [run["results"] for run in runs]
    model = results[0]["model"]
    hashes = sorted({result["split_hash"] for result in results})
    if len(hashes) > 1:
        raise SystemExit(f"the seeds were scored on different splits: {hashes}")
    for place, (metric, better) in enumerate(what.metrics.items()):
        published, source = what.published if what.published and place == 0 else (None, None)
        _, at, points = metric.partition("_at_")
        scores = {
            name: [result["metrics"][name][metric] for result in results]
            for name, own in results[0]["metrics"].items()
            if own.get(metric) is not None and all(name in result["metrics"] for result in results)
        }
        # At other resolutions than the one trained on, the model alone is asked.
        ours = [result["sweep"][points] for result in results] if at else scores.pop(model)
        row = {
            "row": f"{recipe}_{metric}",
            "command": f"python benchmarks/recipes.py --recipes {recipe} --seeds {given.seeds}"
            + (" --quick" if given.quick else ""),
            "commit": commit(),
            "machine": machine(runs[0]["threads"]),
            "dataset": results[0]["dataset"],
            "split_hash": hashes[0],
            "metric": metric,
            "better": better,
            "seeds": seeds,
            "ours": ours,
            "seconds": [round(run["seconds"], 1) for run in runs],
            "baselines": scores,
            "published": published,
            "source": source,
            "note": f"{model}; {what.note}" + ("; quick, so the model has learned nothing" if given.quick else ""),
        }
        print(write_row(row, given.output))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure recipes over seeds.", allow_abbrev=False)
    parser.add_argument("--recipes", metavar="GLOB", default="weather", help="which recipes (weather)")
    parser.add_argument("--seeds", type=int, default=3, help="how many seeds, from 0 on (3)")
    parser.add_argument("--quick", action="store_true", help="a few steps only, to try this script; needs --output")
    parser.add_argument("--keep", type=Path, help="keep the runs here, and take those already made here (none)")
    parser.add_argument("--output", type=Path, default=PUBLISHED, help="folder of the rows (benchmarks/published)")
    given = parser.parse_args()
    if given.seeds < 1:
        parser.error("--seeds must be at least 1")
    if given.quick and given.output.resolve() == PUBLISHED.resolve():
        parser.error("--quick measures nothing worth publishing: give another folder with --output")
    return given


def _kept(what: Recipe, recipe: str, seed: int, options: tuple[str, ...], keep: Path | None) -> dict[str, Any]:
    """Run a seed in a folder that is kept, unless it was run there before at this commit; or in one that is not."""
    if keep is None:
        with tempfile.TemporaryDirectory() as folder:
            return _run(what, recipe, seed, options, Path(folder))
    folder = keep / recipe / str(seed)
    told = folder / "measured.json"
    if told.is_file():
        found = json.loads(told.read_text(encoding="utf-8"))
        if found["commit"] != commit():
            raise SystemExit(f"{folder} was measured at {found['commit']}, this is {commit()}: give another folder.")
        return found
    found = {**_run(what, recipe, seed, options, folder), "commit": commit()}
    told.write_text(json.dumps(found), encoding="utf-8")
    return found


def _run(what: Recipe, recipe: str, seed: int, options: tuple[str, ...], folder: Path) -> dict[str, Any]:
    """Train and evaluate once; the seconds are those a user waits, from command to report."""

    def carry_out(*words: str) -> None:
        own = ("--seed", str(seed), "--runs", str(folder), *options)
        subprocess.run([sys.executable, "-m", "integrand", *words, *own], check=True)

    began = time.perf_counter()
    if what.teacher is None:
        carry_out("train", what.app, "--recipe", recipe)
    else:
        carry_out("train", what.app, "--recipe", what.teacher)
        (taught,) = Path(folder, what.app, what.teacher).iterdir()
        carry_out("distill", str(taught))
    seconds = time.perf_counter() - began
    (run,) = Path(folder, what.app, recipe).iterdir()
    results = json.loads((run / "results.json").read_text(encoding="utf-8"))
    threads = json.loads((run / "environment.json").read_text(encoding="utf-8"))["threads"]
    return {"results": results, "seconds": seconds, "threads": threads}


if __name__ == "__main__":
    main()
