"""The catalogue is complete, true to what lies on disk, and cheap to read."""

import re
import subprocess
import sys
from pathlib import Path, PurePosixPath

import pytest

from integrand.apps.commands.data import EMBEDDED
from integrand.core.errors import InputError
from integrand.datasets import catalogue
from integrand.datasets.catalogue import CATALOGUE, Dataset, data_directory, find
from integrand.datasets.densities import DENSITIES, density
from integrand.datasets.synthetic.simulators import SIMULATORS, simulator

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("entry", CATALOGUE.values(), ids=list(CATALOGUE))
def test_entry_is_complete(entry: Dataset):
    for text in (entry.name, entry.summary, entry.source, entry.licence, entry.citation, entry.splits):
        assert text.strip() == text != ""
        assert "\n" not in text
    assert re.fullmatch(r"[a-z0-9_]+", entry.name)
    assert entry.embedded + entry.synthetic + bool(entry.package) + bool(entry.files) + bool(entry.by_hand) == 1
    assert bool(entry.by_hand) == bool(entry.folder)
    if not entry.embedded and not entry.package and not entry.by_hand:
        assert entry.size == sum(file.size for file in entry.files)
    for file in entry.files:
        assert re.fullmatch(r"[0-9a-f]{64}", file.sha256)
        assert file.url.startswith("https://")
        path = PurePosixPath(file.path)
        assert not path.is_absolute()
        assert ".." not in path.parts


@pytest.mark.parametrize("entry", CATALOGUE.values(), ids=list(CATALOGUE))
def test_loader_names_a_function(entry: Dataset):
    if entry.loader is None:
        pytest.skip("no loader yet")
    module, _, function = entry.loader.partition(":")
    path = ROOT.joinpath(*module.removeprefix("integrand.").split(".")).with_suffix(".py")
    assert re.search(rf"^(def|class) {function}[(:]", path.read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize("name", SIMULATORS)
def test_every_simulator_has_an_entry(name: str):
    entry, one = CATALOGUE[name], simulator(name)
    assert entry.synthetic
    assert entry.loader == SIMULATORS[name]
    assert entry.summary == one.summary


@pytest.mark.parametrize("name", DENSITIES)
def test_every_density_has_an_entry(name: str):
    entry, one = CATALOGUE[name], density(name)
    assert entry.synthetic
    assert entry.loader == DENSITIES[name]
    assert (entry.name, entry.summary) == (one.name, one.summary)


def test_keys_are_the_names_and_each_stands_once():
    assert all(entry.name == key for key, entry in CATALOGUE.items())
    assert len(catalogue._ENTRIES) == len(CATALOGUE)


@pytest.mark.parametrize("name", [name for name, entry in CATALOGUE.items() if entry.embedded])
def test_size_of_an_embedded_set_is_that_of_its_file(name: str):
    assert EMBEDDED[name].within(ROOT / "datasets").stat().st_size == CATALOGUE[name].size


def test_etth1_is_the_file_of_the_evidence():
    sums = ROOT.parent / "shared/data/SHA256SUMS"
    if not sums.is_file():
        pytest.skip(f"no {sums}")
    (file,) = find("etth1").files
    assert f"{file.sha256}  {file.path}" in sums.read_text().splitlines()
    assert (sums.parent / file.path).stat().st_size == file.size


@pytest.mark.parametrize("name", ["etth1", "ETTh1", " etth1 "])
def test_find(name: str):
    assert find(name) is CATALOGUE["etth1"]


def test_find_hints_at_the_nearest_name():
    with pytest.raises(InputError, match=r"unknown data set 'nyc_wether': did you mean 'nyc_weather'\?"):
        find("nyc_wether")


def test_data_directory_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("INTEGRAND_DATA", str(tmp_path))
    assert data_directory() == tmp_path
    monkeypatch.setenv("INTEGRAND_DATA", "~/somewhere")
    assert data_directory() == Path.home() / "somewhere"


@pytest.mark.parametrize("value", [None, "", "  "])
def test_data_directory_without_a_choice(value: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    if value is None:
        monkeypatch.delenv("INTEGRAND_DATA", raising=False)
    else:
        monkeypatch.setenv("INTEGRAND_DATA", value)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    found = data_directory()
    assert found.is_absolute()
    assert found.name == "integrand" or found.parent.name == "integrand"
    assert not list(tmp_path.iterdir())


def test_reading_the_catalogue_imports_nothing_heavy():
    code = (
        "import sys, integrand.datasets.catalogue, integrand.datasets.download\n"
        "print(sorted({'torch', 'pandas', 'numpy', 'pooch', 'requests', 'rich', 'lightning'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_catalogue_is_frozen():
    with pytest.raises(AttributeError):
        catalogue.find("etth1").name = "other"  # pyright: ignore[reportAttributeAccessIssue]
