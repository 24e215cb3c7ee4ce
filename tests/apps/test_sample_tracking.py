"""Samples that are compared with the validation part while a model trains, and the training that does not notice."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from lightning import Trainer
from lightning.pytorch.plugins.precision import MixedPrecision

from integrand.apps.generation import APPLICATION
from integrand.apps.generation.data import GenerationData
from integrand.apps.generation.feature_classifier import feature_classifier
from integrand.apps.generation.metrics import classifier_test, energy_distance, frechet_between_samples
from integrand.apps.generation.models.mlp import MLPDenoiser
from integrand.apps.generation.models.unet import UNetDenoiser
from integrand.apps.generation.module import GenerationModule
from integrand.apps.generation.sample_tracking import SampleTracking
from integrand.apps.generation.sampling import draw
from integrand.apps.generation.tabular.data import TableData
from integrand.apps.generation.tabular.module import TableModule
from integrand.apps.training.figures import draw_training, read_captions
from integrand.apps.training.metrics_log import MetricsLog
from integrand.apps.training.options import parse_options
from integrand.apps.training.request import TrainRequest
from integrand.apps.training.run_folder import RunFolder
from integrand.core.errors import InputError

TRACKED = {"energy_distance", "c2st_forest", "fd"}
COUNT = 60


def trained(log: Path | None, *callbacks: SampleTracking) -> tuple[GenerationModule, GenerationData]:
    """Train some steps on digits in bfloat16; the test part is taken away."""
    torch.manual_seed(0)
    module = GenerationModule(UNetDenoiser(16, multipliers=(1, 2), dropout=0.1), warmup_steps=0, ema_decay=0.9)
    data = GenerationData("digits", batch_size=64, fractions=(0.7, 0.1, 0.2))
    data.setup()
    data._parts["test"] = None  # pyright: ignore[reportArgumentType]
    options: dict[str, Any] = {
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    trainer = Trainer(
        max_epochs=2,
        limit_train_batches=3,
        limit_val_batches=1,
        precision="bf16-mixed",
        accelerator="cpu",
        logger=MetricsLog(log) if log else False,
        callbacks=list(callbacks),
        **options,
    )
    trainer.fit(module, data)
    return module, data


@pytest.fixture(scope="module")
def tracked(tmp_path_factory: pytest.TempPathFactory) -> tuple[GenerationModule, GenerationData, RunFolder]:
    run = RunFolder(tmp_path_factory.mktemp("tracked"))
    return *trained(run.metrics, SampleTracking(1, count=COUNT)), run


def test_what_is_logged_is_what_the_averaged_weights_draw(tracked: tuple[GenerationModule, GenerationData, RunFolder]):
    """Drawn again and compared again by hand, from the module as training left it, against the validation part."""
    module, data, run = tracked
    rows = [row for row in MetricsLog(run.metrics).rows if "validation/fd" in row]
    assert [row["epoch"] for row in rows] == [0, 1]
    with MixedPrecision("bf16-mixed", "cpu").forward_context():
        drawn = draw(module, range(COUNT)).values.flatten(1)
    held = data.part("validation").values.flatten(1)
    kept = held[np.sort(np.random.Generator(np.random.PCG64(1)).permutation(len(held))[:COUNT])]
    logged = {name: rows[-1][f"validation/{name}"] for name in TRACKED}
    assert logged["energy_distance"] == pytest.approx(energy_distance(drawn, kept), rel=1e-9)
    assert logged["c2st_forest"] == pytest.approx(classifier_test(drawn, kept, classifier="forest").accuracy, rel=1e-9)
    classifier = feature_classifier(data.part("train"), data.part("validation"), data.task)
    assert classifier.accuracy > 0.9
    by_hand = frechet_between_samples(classifier.features(drawn), classifier.features(kept))
    assert logged["fd"] == pytest.approx(by_hand, rel=1e-6)


def test_floors_are_those_of_real_samples_and_stay(tracked: tuple[GenerationModule, GenerationData, RunFolder]):
    rows = [row for row in MetricsLog(tracked[2].metrics).rows if "floor/fd" in row]
    floors = [{name: row[f"floor/{name}"] for name in TRACKED} for row in rows]
    assert len(floors) == 2
    assert floors[0] == floors[1]
    assert abs(floors[0]["c2st_forest"] - 0.5) < 4 / np.sqrt(8 * COUNT)
    assert all(floors[0][name] < rows[-1][f"validation/{name}"] for name in TRACKED)


def test_training_goes_on_as_without_it(tracked: tuple[GenerationModule, GenerationData, RunFolder]):
    plain, _ = trained(None)
    for name, value in plain.state_dict().items():
        assert name.startswith("validation.") or torch.equal(value, tracked[0].state_dict()[name]), name


def test_curves_and_floors_are_drawn(tracked: tuple[GenerationModule, GenerationData, RunFolder]):
    draw_training(tracked[2])
    (caption,) = [one["caption"] for one in read_captions(tracked[2].figures)]
    rows = [row for row in MetricsLog(tracked[2].metrics).rows if "floor/fd" in row]
    for name, word in (("fd", "FD"), ("c2st_forest", "c2st forest"), ("energy_distance", "energy distance")):
        assert f"Lowest validation {word}: " in caption
        assert f"Dashed: {rows[0][f'floor/{name}']:.4g}, what real samples have." in caption


@pytest.mark.parametrize(
    ("every", "validated", "expected"),
    [(1, 1, [1, 2, 3, 4, 5, 6]), (2, 1, [2, 4, 6]), (3, 2, [4, 6]), (1, 2, [2, 4, 6])],
)
def test_it_waits_for_a_validation(every: int, validated: int, expected: list[int]):
    tracking = SampleTracking(every)
    trainers = [
        SimpleNamespace(current_epoch=done - 1, check_val_every_n_epoch=validated)
        for done in range(validated, 7, validated)
    ]
    assert [t.current_epoch + 1 for t in trainers if tracking._is_due(t)] == expected  # pyright: ignore[reportArgumentType]


def test_the_recipe_of_fashion_mnist_trains_in_bfloat16_and_is_tracked(tmp_path: Path):
    """As it stands in the recipe, on images of the same kind that lie here."""
    rng = np.random.default_rng(0)
    np.save(tmp_path / "clothes.npy", (255 * rng.random((60, 1, 28, 28)) ** 3).astype(np.uint8))
    request = TrainRequest(
        recipe="fashion_mnist",
        dataset=str(tmp_path / "clothes.npy"),
        options=[
            *("--data.fractions", "[0.6,0.2,0.2]", "--data.batch_size", "18"),
            *("--trainer.callbacks.init_args.every", "1", "--trainer.check_val_every_n_epoch", "1"),
        ],
    )
    cli = parse_options(APPLICATION, request)
    log = MetricsLog(tmp_path / "metrics.csv")
    cli.start(max_epochs=1, logger=[log], accelerator="cpu", enable_checkpointing=False, enable_progress_bar=False)
    cli.trainer.fit(cli.model, cli.datamodule)
    assert cli.trainer.precision == "bf16-mixed"
    assert next(cli.model.network.unet.down[0][0].first.parameters()).is_contiguous(memory_format=torch.channels_last)
    last = log.rows[-1]
    assert {"validation/bound", "validation/energy_distance", "floor/c2st_forest"} <= last.keys()
    assert "validation/fd" not in last  # of no classes


@pytest.mark.parametrize("options", [{"every": 0}, {"count": 9}])
def test_numbers_out_of_range_are_refused(options: dict[str, int]):
    ((name, value),) = options.items()
    with pytest.raises(InputError, match=f"SampleTracking's {name}={value} is out of range"):
        SampleTracking(**options)


def test_data_that_cannot_be_compared_are_refused_before_training():
    quiet: dict[str, Any] = {"accelerator": "cpu", "logger": False, "enable_checkpointing": False}
    trainer = Trainer(**quiet, callbacks=[SampleTracking()])
    with pytest.raises(InputError, match="is for images, points and series"):
        trainer.fit(TableModule(MLPDenoiser(8)), TableData("diabetes"))
    few = GenerationData("moons", samples=80, fractions=(0.7, 0.1, 0.2))
    with pytest.raises(InputError, match="has 8 samples and needs 10"):
        Trainer(**quiet, callbacks=[SampleTracking()]).fit(GenerationModule(MLPDenoiser(8)), few)
