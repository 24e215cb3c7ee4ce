"""Measure what each tool of differential equations changes: ``python benchmarks/improvements.py [--tools GLOB]``.

Every experiment in ``experiments/`` trains and tests the same problem from the same seed without and with one tool, in
turns on one thread. What was found goes to ``improvements/TOOL.json``, every outcome of every seed, and the page
``improvements.md`` is made from these files, with a verdict by the rule that stands on it. ``--page`` makes the page
alone and ``--check`` compares it with the files. ``--quick`` proves that all experiments run, on trainings that teach
nothing; its files and its page go to the folder named by ``--output``.
"""

import argparse
import importlib
import json
import math
import sys
from dataclasses import asdict
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import torch
from ledger import NAME_OF_PAGE, faults, ledger_page, read_ledger, stem_of
from rows import HERE, commit, machine

EXPERIMENTS, FOLDER = HERE / "experiments", HERE / "improvements"
sys.path[:0] = [str(EXPERIMENTS), str(HERE)]


def main() -> int:
    """Run the experiments and write their files and the page."""
    parser = argparse.ArgumentParser(description="The ledger of improvements.", allow_abbrev=False)
    parser.add_argument("--tools", default="*", help="file names of the tools that are measured (all)")
    parser.add_argument("--seeds", type=int, help="how many seeds, from 0 on (as the experiment says, 5)")
    parser.add_argument("--output", type=Path, default=HERE, help="folder of improvements.md and improvements/")
    parser.add_argument("--quick", action="store_true", help="one seed of a training that teaches nothing")
    parser.add_argument("--page", action="store_true", help="measure nothing, write the page")
    parser.add_argument(
        "--check", action="store_true", help="measure and write nothing; exit 1 where the page is stale"
    )
    given = parser.parse_args()
    if given.quick and given.output.resolve() == HERE:
        parser.error("a quick run is nothing to publish: give another folder with --output")
    if given.seeds is not None and given.seeds < 1:
        parser.error(f"--seeds must be at least 1, got {given.seeds}")
    folder, page = given.output / FOLDER.name, given.output / NAME_OF_PAGE
    if not (given.page or given.check):
        chosen = {stem: each for stem, each in experiments().items() if fnmatch(stem, given.tools)}
        if not chosen:
            parser.error(f"no tool is called {given.tools!r}; there are {', '.join(experiments())}")
        torch.set_num_threads(1)
        for stem, each in chosen.items():
            measure(stem, each, given, folder)
    text = ledger_page(read_ledger(folder))
    if not given.check:
        page.write_text(text, encoding="utf-8")
    elif not page.is_file() or page.read_text(encoding="utf-8") != text:
        print(f"{page.name} is not what its files give: run python benchmarks/improvements.py --page", file=sys.stderr)
        return 1
    return 0


def experiments() -> dict[str, Any]:
    """Return every experiment by the name of its file in ``improvements/``.

    Raises:
        ValueError: two experiments of one tool.
    """
    found: dict[str, Any] = {}
    for path in sorted(EXPERIMENTS.glob("*.py")):
        module = importlib.import_module(path.stem)
        for each in getattr(module, "EXPERIMENTS", (module.EXPERIMENT,) if hasattr(module, "EXPERIMENT") else ()):
            if stem_of(each.tool) in found:
                raise ValueError(f"{path.name}: {each.tool!r} is the tool of another experiment: name it otherwise.")
            found[stem_of(each.tool)] = each
    return found


def measure(stem: str, experiment: Any, given: argparse.Namespace, folder: Path) -> None:
    """Run an experiment from every seed and write its file."""
    measured_at = commit()
    run = (given.quick and experiment.quick) or experiment.run
    seeds = list(range(1 if given.quick else given.seeds or experiment.seeds))
    outcomes: dict[str, list[dict[str, Any]]] = {side: [] for side in ("without", "with")}
    for seed in seeds:
        # What warms the machine for the other goes first in turns.
        for side in ("without", "with") if seed % 2 == 0 else ("with", "without"):
            outcome = {name: _rounded(value) for name, value in asdict(run(seed, side == "with")).items()}
            outcomes[side].append(outcome)
            print(stem, f"seed {seed}, {side}:", json.dumps(outcome), flush=True)
    row = {
        "tool": experiment.tool,
        "problem": experiment.problem,
        "without": experiment.without,
        "with": experiment.with_,
        "error_of": experiment.error_of,
        "robustness_of": experiment.robustness_of,
        "source": experiment.source,
        "note": experiment.note,
        "command": f"python benchmarks/improvements.py --tools {stem} --seeds {len(seeds)}",
        "commit": measured_at,
        "machine": machine(1),
        "seeds": seeds,
        "outcomes": outcomes,
    }
    if wrong := faults(row, stem=stem):
        raise ValueError(f"{stem}: {'; '.join(wrong)}")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{stem}.json"
    path.write_text(json.dumps(row, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    print(path)


def _rounded(value: float | None) -> float | None:
    """Keep six digits: more are noise, and a file that says so."""
    return value if value is None or not math.isfinite(value) else float(f"{value:.6g}")


if __name__ == "__main__":
    sys.exit(main())
