"""Every recipe of every application parses, and trains two steps on its own data."""

import importlib.util
import math
import os
from pathlib import Path

import pytest
import torch

from integrand.apps.application import Application, recipe_summary
from integrand.apps.registry import applications
from integrand.apps.training.options import parse_options
from integrand.apps.training.request import TrainRequest
from integrand.datasets.catalogue import CATALOGUE, Dataset, data_directory
from integrand.datasets.download import locate

SHARED = Path(__file__).parents[3] / "shared" / "data"
ACCELERATORS = ["cpu", *(["gpu"] if torch.cuda.is_available() else [])]
RECIPES = [(app, name) for app in applications() for name in app.recipes()]


def shipped_by_aeon(entry: Dataset, folder: Path) -> Path | None:
    """Link files of the UCR and UEA archives as the package aeon ships them, where it is installed."""
    spec = importlib.util.find_spec("aeon")
    if spec is None or spec.origin is None or not entry.files[0].path.startswith("ucr_uea/"):
        return None
    for file in entry.files:
        link = folder / "data" / file.path
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(Path(spec.origin).parent / "datasets" / "data" / Path(file.path).relative_to("ucr_uea"))
    return folder / "data"


@pytest.mark.parametrize("accelerator", ACCELERATORS)
@pytest.mark.parametrize(("app", "name"), RECIPES, ids=[f"{app.name}-{name}" for app, name in RECIPES])
def test_a_recipe_trains_two_steps(
    app: Application, name: str, accelerator: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    cli = parse_options(app, TrainRequest(recipe=name))
    if cli.task.name == "distillation":
        pytest.skip("needs a run to learn from, and is trained in tests/apps/test_generation_distillation.py")
    needed = cli.config.data.dataset
    entry = CATALOGUE[needed]
    if entry.files:
        if "INTEGRAND_DATA" not in os.environ:
            monkeypatch.setenv("INTEGRAND_DATA", str(shipped_by_aeon(entry, tmp_path) or SHARED))
        if not all((Path(os.environ["INTEGRAND_DATA"]) / file.path).is_file() for file in entry.files):
            pytest.skip(f"no {needed} in {os.environ['INTEGRAND_DATA']}: integrand data download {needed}")
        locate(needed)
    if entry.by_hand and not (data_directory() / entry.folder).is_dir():
        pytest.skip(f"no {needed} here: {entry.by_hand}")
    losses: list[float] = []
    cli.start(
        max_steps=2,
        limit_val_batches=1,
        accelerator=accelerator,
        devices=1,
        logger=[],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        default_root_dir=str(tmp_path),
    )
    step = cli.model.training_step

    def recorded(batch, batch_idx):
        loss = step(batch, batch_idx)
        losses.append(float(loss.detach()))
        return loss

    cli.model.training_step = recorded
    cli.model.refine = ()  # a fit after the last step is tested by itself
    cli.trainer.fit(cli.model, cli.datamodule)
    assert len(losses) == 2
    assert all(math.isfinite(loss) for loss in losses)


@pytest.mark.parametrize("app", applications(), ids=lambda app: app.name)
def test_the_default_recipe_exists_and_needs_no_download(app: Application):
    assert app.default_recipe in app.recipes()
    config = parse_options(app, TrainRequest()).config
    assert not CATALOGUE[config.data.dataset].files


@pytest.mark.parametrize(("app", "name"), RECIPES, ids=[f"{app.name}-{name}" for app, name in RECIPES])
def test_a_recipe_says_what_it_is(app: Application, name: str):
    assert 20 <= len(recipe_summary(app.recipe(name))) <= 120
