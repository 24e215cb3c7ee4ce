"""The ledger of improvements is what its files give, and each of its experiments was measured."""

import ast
import importlib.util
import json
import math
import platform
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from scipy import stats

ROOT = Path(__file__).parents[2]
BENCHMARKS = ROOT / "benchmarks"
FILES = sorted((BENCHMARKS / "improvements").glob("*.json"))
ASKED_FOR = (
    "augmentation",
    "contraction_by_construction",
    "distillation_to_a_flow_map",
    "exact_discretisation",
    "higher_order_solver",
    "hippo_initialisation",
    "kinetic_and_jacobian_energies_in_a_flow",
    "kinetic_and_jacobian_energies_in_a_latent_ode",
    "noise_injection",
    "optimal_transport_coupling",
    "per_sample_steps",
    "samplers_of_higher_order",
    "sde_regularised_classifier",
    "steer",
    "symplectic_structure",
)


@pytest.fixture(scope="module")
def ledger() -> ModuleType:
    spec = importlib.util.spec_from_file_location("ledger", BENCHMARKS / "ledger.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["ledger"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def tools_of_experiments() -> set[str]:
    """Return what is called a tool in the sources: ``Experiment(tool="...")``."""
    found = set()
    for path in (BENCHMARKS / "experiments").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Experiment":
                found |= {ast.literal_eval(given.value) for given in node.keywords if given.arg == "tool"}
    return found


def outcome(error: float, evaluations: float = 10.0, robustness: float | None = None, seconds: float = 5.0) -> Any:
    return {"error": error, "evaluations": evaluations, "seconds": seconds, "robustness": robustness}


def row(without: list[Any], with_: list[Any], **changes: Any) -> dict[str, Any]:
    texts = ("problem", "without", "with", "error_of", "source", "note", "command", "commit", "machine")
    robust = without[0]["robustness"] is not None
    return {
        "tool": "A tool",
        **{name: name for name in texts},
        "robustness_of": "robustness" if robust else "",
        "seeds": list(range(len(without))),
        "outcomes": {"without": without, "with": with_},
        **changes,
    }


def side(*errors: float, **figures: float) -> list[Any]:
    return [outcome(error, **figures) for error in errors]


def test_the_page_is_what_the_files_give(ledger: ModuleType):
    page = (BENCHMARKS / ledger.NAME_OF_PAGE).read_text(encoding="utf-8")
    assert page == ledger.ledger_page(ledger.read_ledger(BENCHMARKS / "improvements"))


def test_each_experiment_was_measured_and_each_measurement_has_its_experiment(ledger: ModuleType):
    stems = {path.stem for path in FILES}
    assert stems == {ledger.stem_of(tool) for tool in tools_of_experiments()}
    assert stems >= set(ASKED_FOR)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_keeps_the_rules_and_names_no_place(path: Path, ledger: ModuleType):
    text = path.read_text(encoding="utf-8")
    assert ledger.faults(json.loads(text), stem=path.stem) == []
    assert not re.search(r"/(home|tmp|root|work|Users)/", text)
    assert not re.search(rf"\b{re.escape(platform.node())}\b", text)


def test_the_interval_is_that_of_the_paired_t_test(ledger: ModuleType):
    before, after = np.array([1.0, 2.0, 1.5, 3.0]), np.array([0.7, 1.9, 1.6, 2.0])
    found = ledger.change(row(side(*before), side(*after)), "error")
    exact = stats.ttest_rel(np.log(after), np.log(before)).confidence_interval(0.95)  # pyright: ignore[reportAttributeAccessIssue]
    assert (found.low, found.high) == pytest.approx((math.exp(exact.low), math.exp(exact.high)))
    assert found.middle == pytest.approx(stats.gmean(after / before))
    # An error that is negative has no logarithm.
    found = ledger.change(row(side(*(before - 2)), side(*(after - 2))), "error")
    exact = stats.ttest_rel(after, before).confidence_interval(0.95)  # pyright: ignore[reportAttributeAccessIssue]
    assert (found.low, found.high, found.ratio) == (pytest.approx(exact.low), pytest.approx(exact.high), False)


@pytest.mark.parametrize(
    ("with_", "word", "told"),
    [
        (side(0.8, 1.6, 0.81), "gain", "helps"),
        (side(1.01, 1.98, 1.0), "none", "does not help"),
        (side(1.01, 1.98, 1.0, evaluations=5.0), "gain", "costs less (evaluations)"),
        (side(1.01, 1.98, 1.0, evaluations=9.0), "none", "does not help"),
        (side(1.01, 1.98, 1.0, evaluations=5.0, seconds=2.0), "gain", "costs less (evaluations and seconds)"),
        (side(0.8, 1.6, 0.81, seconds=20.0), "gain", "helps; more seconds"),
        (side(1.3, 2.5, 1.3), "harm", "harms"),
        (side(1.3, 2.5, 1.3, evaluations=5.0), "trade", "a trade: costs less (evaluations), at a greater error"),
        # Worse beyond doubt, yet by less than counts.
        (side(1.005, 2.01, 1.005, evaluations=5.0), "gain", "costs less (evaluations)"),
    ],
)
def test_the_verdict_follows_the_rule(with_: list[Any], word: str, told: str, ledger: ModuleType):
    found = ledger.verdict(row(side(1.0, 2.0, 1.0), with_))
    assert (found.word, found.told) == (word, told)


@pytest.mark.parametrize(("robustness", "told"), [(0.5, "more robust"), (2.0, "does not help; less robust")])
def test_the_verdict_tells_of_robustness(robustness: float, told: str, ledger: ModuleType):
    without, with_ = side(1.0, 2.0, robustness=1.0), side(1.0, 2.0, robustness=robustness)
    assert ledger.verdict(row(without, with_)).told == told


def test_one_seed_decides_nothing(ledger: ModuleType):
    assert ledger.verdict(row(side(1.0), side(0.1, evaluations=1.0))).word == "none"


def test_tools_that_do_not_help_stand_in_a_section_of_their_own(ledger: ModuleType):
    good = row(side(1.0, 2.0, 1.0), side(0.5, 1.0, 0.5), tool="Good one")
    poor = row(side(1.0, 2.0, 1.0), side(1.1, 1.9, 1.0), tool="Poor one")
    page = ledger.ledger_page([poor, good])
    places = [
        page.index(text) for text in ("## Tools that gain", "| Good one |", "## Tools that do not", "| Poor one |")
    ]
    assert places == sorted(places)
    assert (
        "| 1.33 → 0.667<br>×0.5 (0.5 to 0.5) |  | 10 → 10<br>×1 (1 to 1) | 5 → 5<br>×1 (1 to 1) | **helps** |" in page
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, ""),
        ({"tool": "Another"}, "the tool is 'Another', the file 'a_tool'"),
        ({"seeds": [0, 0]}, "each once"),
        ({"source": " "}, "source must be text, and not empty"),
        ({"robustness_of": "x"}, "without: robustness must be a finite number, got None"),
        ({"outcomes": {"without": side(1.0, 2.0)}}, "with must have an outcome for each of 2 seeds"),
        ({"outcomes": {"without": side(1.0, math.nan), "with": side(1.0, 2.0)}}, "error must be a finite number"),
        ({"extra": 1}, "extra is not a known field"),
    ],
)
def test_faults_of_a_file_are_named(changes: dict[str, Any], message: str, ledger: ModuleType):
    found = ledger.faults(row(side(1.0, 2.0), side(1.0, 2.0), **changes), stem="a_tool")
    assert (found == []) if not message else (message in "; ".join(found))


def test_a_quick_run_is_never_published():
    command = [sys.executable, BENCHMARKS / "improvements.py", "--quick"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert "--output" in done.stderr
