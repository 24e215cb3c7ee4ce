"""The commands that need no model: list, data, doctor; what they are built on; the applications' declarations."""

import dataclasses
import json
import shutil
from pathlib import Path

import pytest

from integrand.apps.application import Application, Task, load, recipe_summary
from integrand.apps.cli import main
from integrand.apps.commands import data, doctor
from integrand.apps.commands.columns import columns
from integrand.apps.commands.parsing import CommandParser
from integrand.apps.registry import APPLICATIONS, application, applications
from integrand.core.diffusion.samplers.registry import SAMPLERS
from integrand.core.errors import InputError
from integrand.core.numerics import METHODS
from integrand.datasets.catalogue import CATALOGUE, find

ROOT = Path(__file__).parents[2]
ETT = ROOT.parent / "shared/data"


def told(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> str:
    """Run a command, demand its exit code, and return what it printed: stdout, or stderr of one that fails."""
    assert main(list(words)) == code
    out, err = capsys.readouterr()
    return err if code else out


# Columns


def test_columns_align_and_wrap_the_last():
    rows = [("a", "bb", "one two three four five six seven"), ("aaa", "b", "")]
    assert columns(rows, indent=1) == " a    bb  one two three four five six seven\n aaa  b"
    assert columns(rows, indent=1, width=34) == (
        " a    bb  one two three four five\n"
        "          six seven\n"
        " aaa  b"
    )  # fmt: skip
    assert columns(rows, indent=1, width=20).count("\n") == 1  # too narrow: not wrapped
    assert columns([]) == ""


# Parsing


def parser() -> CommandParser:
    made = CommandParser("integrand play", description="Play.", examples=("integrand play RUN",))
    made.add_argument("run", metavar="RUN", help="a run folder")
    made.add_argument("--input", required=True, help="a CSV")
    made.add_argument("--count", type=int, default=1)
    made.add_argument("--colour", choices=("red", "green"), default="red")
    made.add_argument("-q", "--quiet", action="store_true")
    return made


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("r --inptu a", "unknown option '--inptu': did you mean '--input'? Known: "),
        ("--inptu a", "unknown option '--inptu': did you mean '--input'? Known: "),
        ("r --inp a", "unknown option '--inp': did you mean '--input'? Known: "),
        ("r --inp=a", "unknown option '--inp': did you mean '--input'? Known: "),
        ("r --input a -z", "unknown option '-z'. Known: "),
        ("r", "missing --input (a CSV): see 'integrand play --help'."),
        ("", "missing RUN (a run folder) and --input (a CSV): see 'integrand play --help'."),
        ("r s --input a", "unexpected argument 's': see 'integrand play --help'."),
        ("r --input", "--input: expected one argument; see 'integrand play --help'."),
        ("r --input a --count two", "--count: invalid int value: 'two'; see 'integrand play --help'."),
        ("r --input a --colour gren", "unknown colour 'gren': did you mean 'green'? Known: red, green."),
        ("r --input a -- --input", "unexpected argument '--input'"),
    ],
)
def test_parser_names_the_cure(line: str, message: str):
    with pytest.raises(InputError) as caught:
        parser().parse_args(line.split())
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_parser_accepts_what_is_right():
    found = parser().parse_args(["-q", "r", "--input=a.csv", "--count", "-5", "--colour", "green"])
    assert vars(found) == {"run": "r", "input": "a.csv", "count": -5, "colour": "green", "quiet": True}
    assert parser().parse_args(["--input", "a", "--", "-r"]).run == "-r"


def test_parser_help_has_the_examples(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as stopped:
        parser().parse_args(["--help"])
    assert stopped.value.code == 0
    assert "examples:\n  integrand play RUN\n" in capsys.readouterr().out


# Applications


def test_load():
    assert load("json:dumps") is json.dumps
    with pytest.raises(ValueError, match=r"must be 'module:attribute', got 'json\.dumps'"):
        load("json.dumps")


def test_unknown_application_gets_a_hint():
    with pytest.raises(InputError, match="unknown application 'timeserie': did you mean 'timeseries'"):
        application("timeserie")


TASKS = [(app, task) for app in applications() for task in app.tasks]
NAMES = [f"{app.name}-{task.name}" for app, task in TASKS]


@pytest.mark.parametrize(("app", "task"), TASKS, ids=NAMES)
def test_declaration_is_complete(app: Application, task: Task):
    assert application(app.name) is app
    assert app.task(task.name) is task
    assert app.task_of(app.recipe(task.default_recipe)) is task
    assert task.models.keys() == task.model_summaries.keys()
    assert set(task.datasets) <= CATALOGUE.keys()
    texts = (app.summary, task.summary, task.reads, task.writes, task.product, *task.model_summaries.values())
    for text in texts:
        assert text.strip() == text != ""
        assert "\n" not in text


@pytest.mark.parametrize(("app", "task"), TASKS, ids=NAMES)
def test_declared_parts_are_there(app: Application, task: Task):
    missing = []
    optional = (task.predict, task.stream, task.identify, task.sample, task.likelihood, task.inpaint)
    for path in (task.module, task.data, *task.models.values(), task.evaluate, task.figures, *filter(None, optional)):
        try:
            assert callable(load(path)), path
        except (ImportError, AttributeError) as error:
            missing.append(f"{path}: {error}")
    assert not missing


@pytest.mark.parametrize("app", applications(), ids=list(APPLICATIONS))
def test_recipes_are_there_and_tell_what_they_do(app: Application):
    recipes = app.recipes()
    assert app.default_recipe in recipes
    assert {path.suffix for path in (ROOT / "apps" / app.name / "recipes").iterdir()} == {".yaml"}
    assert all(recipe_summary(path) for path in recipes.values())


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Application:
    """An application with the recipes sunny and two_days; importing its package is an error."""
    package = tmp_path / f"app_of_{tmp_path.name}"
    (package / "recipes").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    (package / "recipes/sunny.yaml").write_text("\n---\n#\n# Sun all day.\n# And more.\nmodel: x\n")
    (package / "recipes/two_days.yml").write_text("model: x  # not a summary\n# nor this\n")
    (package / "recipes/notes.txt").write_text("no recipe")
    monkeypatch.syspath_prepend(str(tmp_path))
    return dataclasses.replace(application("timeseries"), name="play", package=package.name)


def test_recipes_of_an_application(app: Application, tmp_path: Path):
    assert {name: path.name for name, path in app.recipes().items()} == {
        "sunny": "sunny.yaml",
        "two_days": "two_days.yml",
    }
    assert [recipe_summary(path) for path in app.recipes().values()] == ["Sun all day.", ""]
    assert app.recipe("sunny") == app.recipes()["sunny"]
    assert app.recipe("Two-Days") == app.recipes()["two_days"]
    own = tmp_path / "own.yaml"
    own.touch()
    assert app.recipe(own) == app.recipe(str(own)) == own


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("suny", "unknown recipe of play 'suny': did you mean 'sunny'? Known: sunny, two_days."),
        ("suny.yaml", "there is no recipe file 'suny.yaml': did you mean the recipe 'sunny'? Known recipes: sunny"),
        ("qqq.yaml", "there is no recipe file 'qqq.yaml': check the path."),
    ],
)
def test_unknown_recipe_gets_a_hint(app: Application, name: str, message: str):
    with pytest.raises(InputError) as caught:
        app.recipe(name)
    assert str(caught.value).startswith(message)


# list


def test_list_shows_everything_in_short(capsys: pytest.CaptureFixture[str]):
    out = told(capsys, "list")
    for app in applications():
        assert app.name in out
        assert all(name in out for name in app.recipes())
    for _, task in TASKS:
        assert all(word in out for word in (task.name, *task.models, *task.datasets))


@pytest.mark.parametrize("app", applications(), ids=list(APPLICATIONS))
def test_lists(app: Application, capsys: pytest.CaptureFixture[str]):
    models = [line.split(maxsplit=3) for line in told(capsys, "list", "models").splitlines()]
    for task in app.tasks:
        assert all([app.name, task.name, name, summary] in models for name, summary in task.model_summaries.items())
        assert task.reads in told(capsys, "list", "apps")
    recipes = [line.split() for line in told(capsys, "list", "recipes").splitlines()]
    defaults = [line[1] for line in recipes if line[0] == app.name and line[-1] == "(default)"]
    assert defaults == [app.default_recipe]
    assert {line[1] for line in recipes if line[0] == app.name} == app.recipes().keys()
    datasets = [line.split()[0] for line in told(capsys, "list", "datasets").splitlines()]
    assert datasets == list(CATALOGUE)


def test_list_methods(capsys: pytest.CaptureFixture[str]):
    lines = [line.split(maxsplit=2) for line in told(capsys, "list", "methods").splitlines()]
    solvers = {name: engines for kind, name, engines in lines if kind == "solver"}
    assert solvers.keys() == {name for methods in METHODS.values() for name in methods}
    for name, engines in solvers.items():
        assert engines.split(", ") == [engine for engine, methods in METHODS.items() if name in methods]
    samplers = {name: claims for kind, name, claims in lines if kind == "sampler"}
    assert samplers.keys() == SAMPLERS.keys()
    assert samplers["heun"].endswith("; order 2, 2 evaluations a step")
    assert samplers["ancestral"].endswith("; order 1, 1 evaluation a step, draws noise")


def test_list_hints(capsys: pytest.CaptureFixture[str]):
    assert "unknown list 'modles': did you mean 'models'?" in told(capsys, "list", "modles", code=2)


# data


def test_data_list(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("INTEGRAND_DATA", str(tmp_path))
    (file,) = find("etth1").files
    path = tmp_path / file.path

    def where() -> str:
        lines = told(capsys, "data", "list").splitlines()
        (line,) = [line for line in lines if line.startswith("etth1")]
        assert "2.6 MB CC-BY-ND-4.0" in " ".join(line.split())
        assert any(line.startswith("nyc_weather") and "in the package" in line for line in lines)
        assert str(tmp_path) in lines[-1]
        return line

    assert "  not here  " in where()
    path.parent.mkdir()
    path.write_bytes(b"cut")
    assert "  incomplete  " in where()
    with open(path, "wb") as stream:
        stream.truncate(file.size)
    assert "  downloaded  " in where()


def test_data_show(capsys: pytest.CaptureFixture[str]):
    out = told(capsys, "data", "show", "ETTh1")
    entry = find("etth1")
    for text in (entry.citation, entry.source, entry.splits, entry.files[0].url, entry.files[0].sha256):
        assert text in out


def test_data_of_the_package(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("INTEGRAND_DATA", str(tmp_path / "none"))
    assert "nothing to download" in told(capsys, "data", "download", "nyc_weather")
    assert "26,115 rows" in told(capsys, "data", "check", "nyc_weather")
    assert "3,424 rows" in told(capsys, "data", "check", "planets")
    assert "21 rows" in told(capsys, "data", "check", "hare_lynx")
    assert not (tmp_path / "none").exists()


def test_data_that_are_made(capsys: pytest.CaptureFixture[str]):
    assert "made when it is used: there is nothing to download" in told(capsys, "data", "download", "brusselator")
    assert "made when it is used: there is no file to check" in told(capsys, "data", "check", "brusselator")
    (line,) = [line for line in told(capsys, "data", "list").splitlines() if line.startswith("brusselator")]
    assert "made when used" in line


def test_data_of_a_package_that_is_needed_anyway(capsys: pytest.CaptureFixture[str]):
    assert "comes with scikit-learn: there is nothing to download" in told(capsys, "data", "download", "diabetes")
    assert "diabetes loads: 442 rows, comes with scikit-learn" in told(capsys, "data", "check", "diabetes")
    (line,) = [line for line in told(capsys, "data", "list").splitlines() if line.startswith("diabetes")]
    assert "in scikit-learn" in line


def test_every_embedded_data_set_can_be_checked():
    assert data.EMBEDDED.keys() == {name for name, entry in CATALOGUE.items() if entry.embedded}


def test_damaged_embedded_data_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    entry, known = find("nyc_weather"), data.EMBEDDED["nyc_weather"]
    path = tmp_path / known.path
    with pytest.raises(InputError, match="is missing: install the package again"):
        data.check_embedded(entry, tmp_path)
    path.parent.mkdir(parents=True)
    shutil.copy(ROOT / "datasets" / known.path, path)
    assert data.check_embedded(entry, tmp_path) == known.rows
    monkeypatch.setitem(data.EMBEDDED, "nyc_weather", dataclasses.replace(known, rows=26_116))
    with pytest.raises(InputError, match="loads as 26,115 rows where 26,116 are right"):
        data.check_embedded(entry, tmp_path)
    content = bytearray(path.read_bytes())
    content[1000] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match="is damaged: sha256 "):
        data.check_embedded(entry, tmp_path)


def test_data_check_of_a_download(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("INTEGRAND_DATA", str(tmp_path))
    cure = "1 of 1 files missing or damaged: run 'integrand data download etth1'."
    assert cure in told(capsys, "data", "check", "etth1", code=2)
    (tmp_path / "ett").mkdir()
    (tmp_path / "ett/ETTh1.csv").write_bytes(b"other")
    assert cure in told(capsys, "data", "check", "etth1", code=2)
    if not (ETT / "ett/ETTh1.csv").is_file():
        pytest.skip(f"no ETTh1 in {ETT}")
    monkeypatch.setenv("INTEGRAND_DATA", str(ETT))
    assert told(capsys, "data", "check", "etth1").split() == ["ok", str(ETT / "ett/ETTh1.csv")]
    assert told(capsys, "data", "download", "etth1") == f"{ETT / 'ett/ETTh1.csv'}\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("chekc etth1", "unknown action 'chekc': did you mean 'check'?"),
        ("check eth1", "unknown data set 'eth1': did you mean 'etth1'?"),
        ("download", f"missing NAME, the data set to download: one of {', '.join(CATALOGUE)}."),
        ("list etth1", "'list' takes no name, got 'etth1': write 'integrand data show etth1'."),
        ("", "missing action (list, show, download, check or simulate): see 'integrand data --help'."),
        ("download etth1 --force", "unknown option '--force'"),
    ],
)
def test_data_hints(words: str, message: str, capsys: pytest.CaptureFixture[str]):
    assert told(capsys, "data", *words.split(), code=2).startswith(f"error: {message}")


# doctor


def test_doctor_finds_this_environment_healthy(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setenv("INTEGRAND_DATA", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    found = json.loads(told(capsys, "doctor", "--json"))
    assert found["healthy"] is True
    names = {check["name"]: check["status"] for check in found["checks"]}
    assert {"python", "platform", "torch build", "accelerator", "CPU threads", "tensorboard"} <= names.keys()
    assert names["data directory"] == names["runs folder"] == "ok"
    assert list(tmp_path.iterdir()) == []  # nothing is made by looking


def test_doctor_fails_where_runs_cannot_be_written(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    (tmp_path / "runs").write_text("a file")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("INTEGRAND_DATA", str(tmp_path / "runs/data"))
    assert main(["doctor"]) == 2
    lines = {line.split("  ")[1]: line for line in capsys.readouterr().out.splitlines()}
    assert lines["runs folder"].startswith("fail")
    assert "or work in another folder" in lines["runs folder"]
    assert lines["data directory"].startswith("warn")
    assert "or set INTEGRAND_DATA to another folder" in lines["data directory"]


@pytest.mark.parametrize(
    ("line", "status", "found"),
    [
        ("pytest>=1.0", "ok", pytest.__version__),
        ("pytest", "ok", pytest.__version__),
        ("pytest[dev]>=999.1", "fail", f"{pytest.__version__}, too old"),
        ("no-such-package>=1", "fail", "not installed"),
    ],
)
def test_requirements(line: str, status: str, found: str):
    check = doctor.check_requirement(line)
    assert (check.status, check.found) == (status, found)
    assert (line in check.cure) == (status == "fail")


def test_releases_compare_as_numbers():
    order = ["2.5", "2.5.1", "2.9", "2.10.0+cpu", "2.13.0rc1"]
    assert sorted(order, key=doctor._release) == order
    assert doctor._release("2.5") == doctor._release("2.5.0")


def test_python_too_old():
    assert doctor.check_python((3, 10, 12)).status == "fail"
    assert doctor.check_python((3, 11, 0)).status == "ok"


def test_optional_packages():
    assert "pip install no-such-package" in doctor.check_optional("no-such-package", "tests").found
    assert doctor.check_optional("pytest", "tests").found == f"{pytest.__version__} (optional, tests)"
