"""What is built from the tree is whole: a wheel and an sdist, installed where nothing else of the project is."""

import json
import os
import site
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel, built from the sdist, and the sdist."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def installed(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of an environment with the wheel and, by reference, this one's dependencies."""
    home = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(home)], check=True)
    bin_folder = home / "bin"
    (wheel,) = built.glob("*.whl")
    pip = [sys.executable, "-m", "pip", "--python", str(bin_folder / "python"), "install", "--no-deps", str(wheel)]
    subprocess.run(pip, check=True, capture_output=True)
    # A plain path in a .pth file brings the packages but not that folder's own .pth files, so the editable install of
    # this tree stays out of sight.
    (packages,) = home.glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text("\n".join(site.getsitepackages()) + "\n")
    return bin_folder


def test_wheel_holds_code_recipes_and_data_and_nothing_else(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    inside = {name for name in names if ".dist-info/" not in name}
    assert all(name.startswith("integrand/") for name in inside)
    for needed in (
        "integrand/__init__.py",
        "integrand/__main__.py",
        "integrand/py.typed",
        "integrand/core/correspondences.json",
        "integrand/core/numerics/solve_ode.py",
        "integrand/apps/timeseries/recipes/weather.yaml",
        "integrand/apps/training/report.html.j2",
        "integrand/datasets/real/nyc_weather.csv.xz",
        "integrand/datasets/real/nyc_weather.PROVENANCE.md",
    ):
        assert needed in inside
    assert "integrand/datasets/__init__.py" not in inside
    assert not [name for name in names if "__pycache__" in name or name.startswith(("integrand/tests", "tests"))]
    assert [name for name in names if name.endswith("licenses/LICENSE")]


def test_sdist_holds_what_building_and_testing_need(built: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    for needed in ("pyproject.toml", "README.md", "LICENSE", "core/errors.py", "tests/architecture/test_packaging.py"):
        assert needed in names


def test_installed_package_is_the_wheel_beside_hugging_faces_datasets(installed: Path, tmp_path: Path) -> None:
    (packages,) = installed.parent.glob("lib/python*/site-packages")
    (packages / "datasets").mkdir()
    (packages / "datasets" / "__init__.py").write_text("NAME = 'hugging face'\n")
    code = (
        "import datasets, integrand, integrand.core.errors, integrand.datasets.catalogue\n"
        "print(datasets.NAME, integrand.__file__, integrand.datasets.catalogue.__file__, sep='\\n')"
    )
    done = subprocess.run([installed / "python", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    name, package, catalogue = done.stdout.splitlines()
    assert name == "hugging face"
    assert Path(package).is_relative_to(packages)
    assert Path(catalogue).is_relative_to(packages)
    for top_level in ("core", "apps"):
        assert not (packages / top_level).exists()


def test_command_and_module_are_the_same(installed: Path, tmp_path: Path) -> None:
    script = subprocess.run(
        [installed / "integrand", "--help"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    module = subprocess.run(
        [installed / "python", "-m", "integrand", "--help"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert script.stdout == module.stdout
    assert "train" in script.stdout


@pytest.mark.slow
def test_wheel_alone_trains_the_default_recipe_in_an_empty_folder(installed: Path, tmp_path: Path) -> None:
    words = ["train", "timeseries", "--data.stride", "12", "--trainer.max_epochs", "1"]  # the recipe, on fewer windows
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "INTEGRAND_DATA")}
    done = subprocess.run(
        [installed / "integrand", *words], cwd=tmp_path, capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    run = tmp_path / "runs" / "timeseries" / "weather" / "1"
    results = json.loads((run / "results.json").read_text())
    assert set(results["metrics"]) == {"ssm_ode", "persistence", "seasonal naive", "ridge"}
    assert (run / "report.html").stat().st_size > 100_000
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]
