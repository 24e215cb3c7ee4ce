"""Runs that differ in their seed alone: which go together, means and deviations, errors over time with their band."""

import json
import re
import shutil
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from integrand.apps.cli import main
from integrand.apps.training.comparison import write_comparison
from integrand.apps.training.growth import MOST, draw_growth, growth
from integrand.apps.training.run_folder import RunFolder
from integrand.apps.training.seed_groups import SeedGroup, seed_groups, summarise
from integrand.apps.training.tables import seeds_table
from integrand.core.errors import InputError

SURROGATE = (
    *("--recipe", "burgers", "--data.samples", "[12,3,4]", "--data.points", "64", "--data.train_every", "2"),
    *("--data.resolutions", "[]", "--data.span", "0.6", "--data.interval", "0.2", "--data.train_span", "0.4"),
    *("--model.network.modes", "6", "--model.network.width", "8", "--trainer.max_epochs", "1"),
    *("--trainer.check_val_every_n_epoch", "1"),
)
SEEDS = [[0.1, 0.2, 0.9], [0.3, 0.1, 0.5]]
"""Errors over time of two seeds."""


def trained(root: Path, words: tuple[str, ...], *, seed: int) -> RunFolder:
    """Train a few steps with a seed."""
    told = ["train", "physics", *words, "--seed", str(seed), "--runs", str(root), "--trainer.accelerator", "cpu"]
    assert main(told) == 0
    return RunFolder(max((path.parent for path in root.glob("*/*/*/report.html")), key=lambda path: int(path.name)))


@pytest.fixture(scope="module")
def surrogates(tmp_path_factory: pytest.TempPathFactory) -> list[RunFolder]:
    """Two seeds, and a copy of the first that says it had another option. Tests must not change their files."""
    root = tmp_path_factory.mktemp("surrogates")
    runs = [trained(root, SURROGATE, seed=seed) for seed in (0, 1)]
    return [*runs, altered(runs[0], runs[0].path.parent / "3", model="learning_rate")]


def altered(run: RunFolder, path: Path, **options: str) -> RunFolder:
    """Copy a run and change options, given by their section, in its record of them."""
    copy = RunFolder(shutil.copytree(run.path, path))
    config = yaml.safe_load(copy.config.read_text())
    for section, name in options.items():
        config[section][name] = 7
    copy.config.write_text(yaml.safe_dump(config))
    return copy


def results_of(runs: list[RunFolder]) -> list[dict[str, Any]]:
    return [run.read("results.json") for run in runs]


def groups_of(runs: list[RunFolder]) -> list[SeedGroup]:
    return seed_groups(runs, [run.path.name for run in runs], results_of(runs))


def cells_of(page: str, caption: str) -> dict[tuple[str, ...], list[list[str]]]:
    """Read a table of the page: the headings of a row to the numbers of each of its cells, as they are written."""
    body = page[page.index(f"<caption>{caption}</caption>") :]
    rows = {}
    for row in body[: body.index("</table>")].split("<tr")[2:]:
        heads = re.findall(r'<th scope="row">(.*?)</th>', row)
        cells = re.findall(r'<td class="number">(.*?)</td>', row.replace(",", "").replace("−", "-"))
        rows[tuple(heads)] = [re.findall(r"-?\d[\d.]*(?:e[+-]\d+)?", re.sub(r"<.*?>", " ", cell)) for cell in cells]
    return rows


def is_rounded(text: str, value: float) -> bool:
    """Tell whether a number is what the text says, to half a unit of its last digit."""
    return abs(float(text) - value) <= 0.501 * 10.0 ** int(Decimal(text).as_tuple().exponent)


def test_a_group_shares_all_but_its_seed(surrogates: list[RunFolder], tmp_path: Path):
    assert [group.labels for group in groups_of(surrogates)] == [["1", "2"], ["3"]]
    assert groups_of(surrogates)[0].seeds == [0, 1]
    # The same seed twice is no second draw; another evaluation of the same training is another measurement.
    copies = [RunFolder(shutil.copytree(run.path, tmp_path / run.path.name)) for run in surrogates[:2]]
    assert [len(group.labels) for group in groups_of([*surrogates[:2], copies[0]])] == [2, 1]
    told = copies[1].read("environment.json")
    assert told["evaluation"] == {"checkpoint": "best"}
    copies[1].write("environment.json", told | {"evaluation": {"checkpoint": "best", "resolution": 64}})
    assert [len(group.labels) for group in groups_of(copies)] == [1, 1]


def test_every_option_and_the_data_tell_runs_apart(surrogates: list[RunFolder], tmp_path: Path):
    one, two = surrogates[:2]
    for section, name in (("trainer", "max_epochs"), ("model", "learning_rate"), ("data", "batch_size")):
        assert len(groups_of([one, altered(two, tmp_path / section, **{section: name})])) == 2
    assert len(groups_of([one, altered(two, tmp_path / "seed", data="seed")])) == 1
    for key in ("dataset", "split_hash", "model", "task"):
        results = results_of([one, two])
        assert len(seed_groups([one, two], ["1", "2"], results)) == 1
        results[1][key] = "another"
        assert len(seed_groups([one, two], ["1", "2"], results)) == 2
    damaged = RunFolder(shutil.copytree(two.path, tmp_path / "damaged"))
    damaged.config.write_text("a: [")
    with pytest.raises(InputError, match=r"config\.yaml is damaged"):
        groups_of([one, damaged])


def test_the_page_shows_means_deviations_and_the_band(surrogates: list[RunFolder], tmp_path: Path):
    path, runs = tmp_path / "page.html", surrogates[:2]
    assert main(["report", *(str(run.path) for run in runs), "--output", str(path)]) == 0
    page, results = path.read_text(), results_of(runs)
    table = cells_of(page, "Test part, means over seeds")
    metrics = list(results[0]["metrics"]["fno"])
    for who in ("fno", "persistence"):
        values = np.array([[one["metrics"][who][metric] for metric in metrics] for one in results], dtype=float)
        for shown, column in zip(table["1, 2 (2 seeds)", who], values.T, strict=True):
            assert is_rounded(shown[0], column.mean())
            assert len(shown) == (1 if column[0] == column[1] else 2)
            assert len(shown) == 1 or is_rounded(shown[1], column.std(ddof=1))
    assert len(table["1, 2 (2 seeds)", "fno"][metrics.index("relative_l2")]) == 2
    assert len(table["1, 2 (2 seeds)", "persistence"][0]) == 1
    assert "differ in their seed alone" in page
    assert "over 2 seeds" in page
    assert page.count("How errors grow, over seeds") == 2  # its title, and the words read aloud


def test_runs_that_differ_in_an_option_have_no_means(surrogates: list[RunFolder], tmp_path: Path):
    page = write_comparison([surrogates[0], surrogates[2]], tmp_path / "page.html").read_text()
    assert "means over seeds" not in page
    assert "over seeds" not in page
    assert "one run of each can&#39;t tell" in page
    page = write_comparison(surrogates, tmp_path / "page.html").read_text()
    table = cells_of(page, "Test part, means over seeds")
    assert list(table)[:3] == [("1, 2 (2 seeds)", "fno"), ("3", "fno"), ("all", "persistence")]
    assert "a single run can&#39;t tell" in page
    assert "How errors grow, over seeds" in page


def test_runs_without_errors_over_time_are_compared_without_the_picture(surrogates: list[RunFolder], tmp_path: Path):
    old = [RunFolder(shutil.copytree(run.path, tmp_path / run.path.name)) for run in surrogates[:2]]
    old[1].write("results.json", {k: v for k, v in old[1].read("results.json").items() if k != "growth"})
    page = write_comparison(old, tmp_path / "page.html").read_text()
    assert "Test part, means over seeds" in page
    assert "How errors grow, over seeds" not in page


def test_a_run_keeps_medians_of_its_errors(surrogates: list[RunFolder]):
    results = surrogates[0].read("results.json")
    kept = results["growth"]
    assert kept["times"] == pytest.approx([0.2, 0.4, 0.6])
    assert kept["until"] == pytest.approx(0.4)
    assert set(kept["errors"]) == set(results["metrics"])


def test_errors_over_time_are_medians_thinned_and_finite():
    times, rng = np.linspace(0.1, 100, 1000), np.random.default_rng(0)
    errors = rng.random((5, 1000))
    errors[:, 999] = np.inf
    kept = growth("error", axis="time", times=times, errors={"m": errors}, until=None)
    at = np.searchsorted(times, kept["times"])
    assert len(at) == MOST
    assert (at[0], at[-1]) == (0, 999)
    assert kept["errors"]["m"][-1] is None
    np.testing.assert_allclose(kept["errors"]["m"][:-1], np.sort(errors, axis=0)[2, at[:-1]], rtol=1e-5)
    json.dumps(kept, allow_nan=False)


def made_up(errors: dict[str, Any], *, seed: int, model: str = "fno", quantity: str = "error") -> dict[str, Any]:
    arrays = {who: np.array([one]) for who, one in errors.items()}
    kept = growth(quantity, axis="time", times=np.arange(1.0, 4.0), errors=arrays, until=2.0)
    metrics = {who: {"mae": one[-1]} for who, one in errors.items()}
    same = {"app": "a", "dataset": "d", "split_hash": "h"}
    return {**same, "model": model, "seed": seed, "metrics": metrics, "growth": kept}


def test_the_picture_draws_the_mean_and_the_band_of_each_group(monkeypatch: pytest.MonkeyPatch):
    from integrand.apps.training import growth as module

    drawn = []
    monkeypatch.setattr(module, "png", lambda figure: drawn.append(figure) or b"")
    one = SeedGroup(["1", "2"], [made_up({"fno": y, "persistence": [1, 2, 3]}, seed=s) for s, y in enumerate(SEEDS)])
    other = SeedGroup(["3"], [made_up({"unet": [0.2, 0.5, 0.6]}, seed=0, model="unet")])
    foreign = SeedGroup(["4"], [made_up({"unet": [2, 5, 6]}, seed=0, model="unet", quantity="another")])
    made = draw_growth([one, other, foreign])
    assert made is not None
    (axes,) = drawn[0].axes
    lines = {line.get_label(): line for line in axes.lines}
    named = [name for name in lines if not str(name).startswith("_")]
    assert named == ["fno, runs 1, 2 (2 seeds)", "unet, run 3", "persistence"]
    np.testing.assert_allclose(lines["fno, runs 1, 2 (2 seeds)"].get_ydata(), np.mean(SEEDS, axis=0))
    np.testing.assert_allclose(lines["persistence"].get_ydata(), [1, 2, 3])
    assert len(axes.collections) == 1  # one run has no band
    band = axes.collections[0].get_paths()[0].vertices
    for time, least, most in zip((1.0, 2.0, 3.0), np.min(SEEDS, axis=0), np.max(SEEDS, axis=0), strict=True):
        heights = band[band[:, 0] == time, 1]
        assert (heights.min(), heights.max()) == pytest.approx((least, most))
    assert axes.get_yscale() == "log"
    assert draw_growth([other]) is None


def test_what_not_all_runs_were_compared_with_has_no_mean():
    """A solver is chosen by what it costs, so seeds may have met different ones."""
    runs = [made_up({"fno": y, f"solver on {32 * (s + 1)}": y}, seed=s) for s, y in enumerate(SEEDS)]
    assert list(summarise(runs, [0, 1], ["1", "2"])["metrics"]) == ["fno"]
    (row,) = seeds_table([SeedGroup(["1", "2"], runs)], True).rows
    assert row[0] == ["1, 2 (2 seeds)", "fno"]
    assert (row[1][0].text, row[1][0].note) == ("0.700", "± 0.283")  # 0.9 and 0.5: 0.2 sqrt(2)
