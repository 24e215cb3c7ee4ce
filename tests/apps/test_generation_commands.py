"""Generation from command to report: tiny runs, sampled, scored, completed and exported, and what users get wrong."""

import contextlib
import csv
import io
import json
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from examined import examined
from lightning import Trainer
from PIL import Image

from integrand.apps.cli import main
from integrand.apps.generation import evaluation, feature_classifier, scoring
from integrand.apps.generation.baselines import GaussianMixture
from integrand.apps.generation.metrics.frechet_training import train_frechet_classifier
from integrand.apps.physics.surrogate.data import SurrogateData
from integrand.apps.physics.surrogate.models.fno import FNOSurrogate
from integrand.apps.physics.surrogate.module import SurrogateModule
from integrand.apps.training.exported import load_exported
from integrand.apps.training.files import write_json
from integrand.core.errors import InputError

QUICK = ("energy_distance", "precision_recall", "nearest_training")
"""Metrics that take no time; that all of them are right is the matter of tests of their own."""
SMALL = ("--model.network.width", "16", "--data.batch_size", "32", "--trainer.accelerator", "cpu")
STEPS = ("--trainer.max_epochs", "2", "--trainer.check_val_every_n_epoch", "1")
NAMES = ("0", "1", "2")


def quicken(patched: pytest.MonkeyPatch) -> None:
    """Have ``evaluate`` take fewer metrics, samplers, steps of its classifier and resamples than users need."""
    patched.setattr(scoring, "METRICS", QUICK)
    patched.setattr(evaluation, "SWEPT", {"ddim": (4,), "dpmpp_2m": (4, 6)})
    patched.setattr(feature_classifier, "train_frechet_classifier", partial(train_frechet_classifier, steps=20))
    patched.setattr(GaussianMixture, "COMPONENTS", (1, 5))


def trained(root: Path, *words: str) -> Path:
    """Train a tiny run and return its folder."""
    out = io.StringIO()
    with pytest.MonkeyPatch.context() as patched, contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        quicken(patched)
        code = main(["train", "generation", "--runs", str(root), *SMALL, *STEPS, *words])
    assert code == 0, out.getvalue()
    (run,) = (path.parent for path in root.glob("generation/*/*/results.json"))
    return run


@pytest.fixture(scope="module")
def run(few: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on the three digits. Tests must not change its files."""
    root = tmp_path_factory.mktemp("runs")
    words = ("--dataset", str(few), "--data.levels", "17", "--data.fractions", "[0.72, 0.08, 0.2]")
    return trained(root, "--model", "mlp", *words, "--model.network.blocks", "1")


@pytest.fixture(scope="module")
def signals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on series. Tests must not change its files."""
    root = tmp_path_factory.mktemp("signals")
    words = ("--task", "signals", "--data.samples", "80", "--model.network.layers", "1", "--model.network.d_state", "8")
    return trained(root, *words)


@pytest.fixture(scope="module")
def drawn(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Samples of it, of the seeds 0 to 9."""
    folder = tmp_path_factory.mktemp("drawn") / "samples"
    with contextlib.redirect_stdout(io.StringIO()):
        assert main(["sample", str(run), "--seeds", "0-9", "--class", "1", "--output", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def physics(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of heat conduction, of one step."""
    torch.manual_seed(0)
    data = SurrogateData("heat", samples=(6, 2, 2), points=16, span=0.3, interval=0.1, batch_size=4)
    module = SurrogateModule(FNOSurrogate(modes=4, width=8, depth=1))
    trainer = Trainer(
        max_steps=1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, limit_val_batches=0,
    )  # fmt: skip
    trainer.fit(module, data)
    folder = tmp_path_factory.mktemp("physics") / "1"
    trainer.save_checkpoint(folder / "checkpoints" / "best.ckpt")
    (folder / "config.yaml").write_text("")
    write_json(folder / "environment.json", {"app": "physics", "task": "surrogate"})
    return folder


@pytest.fixture
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder."""
    place = tmp_path / "inside"
    place.mkdir()
    monkeypatch.chdir(place)
    return place


def complaint(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Carry out a command that must fail as a user's mistake, and return its last line."""
    capsys.readouterr()
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in err
    return err.splitlines()[-1]


# What a run leaves


def test_a_run_is_complete(run: Path):
    results = json.loads((run / "results.json").read_text())
    assert (results["app"], results["task"]) == ("generation", "images")
    assert list(results["metrics"]) == ["mlp", "Gaussian mixture", "per-pixel histogram", evaluation.REAL]
    assert results["samples"] == {"name": "samples", "train": 86, "validation": 10, "test": 24}
    bits = {name: scores.get("bits_per_dim") for name, scores in results["metrics"].items()}
    assert bits[evaluation.REAL] is None
    # Uniform grey values take log2(17) bits a pixel, and the class log2(3) bits in 64: what was learned takes less.
    assert all(0 < each < np.log2(17) + np.log2(3) / 64 for each in bits.values() if each is not None)
    names = {path.name for path in (run / "figures").iterdir()}
    assert {"samples.png", "path.gif", "nearest.png", "evaluations_per_sample.png", "likelihood.png"} <= names
    page = (run / "report.html").read_text()
    assert "bits_per_dim" in page or "bits per" in page
    assert json.loads((run / "environment.json").read_text())["task"] == "images"


def test_evaluate_takes_a_sampler_and_repeats_the_rest(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    quicken(monkeypatch)
    again = shutil.copytree(run, tmp_path / "again")
    words = ["evaluate", str(again), "--accelerator", "cpu", "--method", "heun", "--steps", "3", "--count", "12"]
    assert main(words) == 0
    before, after = (json.loads((path / "results.json").read_text()) for path in (run, again))
    assert after["sampling"]["evaluations"] == 5
    for name in ("mlp", "Gaussian mixture", "per-pixel histogram"):
        assert after["metrics"][name]["bits_per_dim"] == before["metrics"][name]["bits_per_dim"]
    assert (after["split_hash"], after["gains"]) == (before["split_hash"], before["gains"])
    assert complaint(["evaluate", str(again), "--resolution", "3"], capsys) == (
        "error: option --resolution is not for images: leave it out."
    )
    for option, refusal in (
        ("--steps 0", "steps=0 is out of range: dpmpp_2m makes at least 2."),
        ("--count 0", "--count 0 is too few samples to tell apart from real ones: give at least 6."),
        ("--count -2", "--count -2 is too few samples to tell apart from real ones: give at least 6."),
    ):
        told = complaint(["evaluate", str(again), "--accelerator", "cpu", *option.split()], capsys)
        assert told == f"error: {refusal}"
    assert json.loads((again / "results.json").read_text()) == after


def of_an_unknown_network(said: dict) -> None:
    said["network"] = "integrand.apps.generation.models.mlp:Gone"


def of_other_sizes(said: dict) -> None:
    said["options"]["width"] = 48


def of_an_unknown_data_option(said: dict) -> None:
    said["data"]["colour"] = "grey"


def of_no_data(said: dict) -> None:
    del said["data"]


@pytest.mark.parametrize("spoil", [of_an_unknown_network, of_other_sizes, of_an_unknown_data_option, of_no_data])
def test_a_checkpoint_of_another_version_is_not_evaluated(spoil, run: Path, tmp_path: Path, capsys):
    other = shutil.copytree(run, tmp_path / "other")
    path = other / "checkpoints" / "best.ckpt"
    stored = torch.load(path, weights_only=True)
    spoil(stored["integrand"])
    stored["integrand"]["version"] = "0.0.1"
    torch.save(stored, path)
    told = complaint(["evaluate", str(other), "--accelerator", "cpu"], capsys)
    assert told.startswith(f"error: {path} does not fit integrand ")
    assert "(it was written by 0.0.1; " in told
    assert told.endswith(": use that version, or train again.")
    assert (other / "results.json").read_bytes() == (run / "results.json").read_bytes()


def test_a_run_whose_options_were_changed_is_not_resumed(run: Path, tmp_path: Path, capsys):
    other = shutil.copytree(run, tmp_path / "other")
    text = (other / "config.yaml").read_text()
    (other / "config.yaml").write_text(text.replace("width: 16", "width: 24"))
    kept = (other / "checkpoints" / "last.ckpt").read_bytes()
    told = complaint(["train", "generation", "--resume", str(other), "--trainer.max_epochs", "3"], capsys)
    assert "last.ckpt does not fit" in told
    assert "config.yaml, which was changed since the run began: restore it" in told
    assert (other / "checkpoints" / "last.ckpt").read_bytes() == kept


def test_two_runs_stand_on_one_page(run: Path, tmp_path: Path, inside: Path):
    other = shutil.copytree(run, tmp_path / "other")
    assert main(["report", str(run), str(other)]) == 0
    page = (inside / "comparison.html").read_text()
    assert "bits_per_dim" in page or "bits per" in page
    assert main(["report", str(other)]) == 0


# Samples


def test_samples_are_written_in_the_units_of_the_data(drawn: Path):
    values = np.load(drawn / "samples.npy")
    assert (values.shape, values.dtype) == ((10, 1, 8, 8), np.uint8)
    assert values.max() <= 16
    assert {path.name for path in drawn.iterdir()} >= {"samples.npy", "samples.png", "path.gif"}
    with Image.open(drawn / "path.gif") as way:
        assert way.n_frames >= 20  # pyright: ignore[reportAttributeAccessIssue]


def test_samples_follow_from_their_seeds(run: Path, drawn: Path, inside: Path):
    assert main(["sample", str(run), "--seeds", "3,5", "--class", "1"]) == 0
    np.testing.assert_array_equal(np.load("samples/samples.npy"), np.load(drawn / "samples.npy")[[3, 5]])
    assert main(["sample", str(run), "--count", "10", "--class", "1", "--output", "counted"]) == 0
    np.testing.assert_array_equal(np.load("counted/samples.npy"), np.load(drawn / "samples.npy"))
    words = ["--class", "1", "--guidance", "3", "--method", "heun", "--steps", "4", "--spacing", "log_snr"]
    assert main(["sample", str(run), "--count", "10", *words, "--output", "guided"]) == 0
    assert not np.array_equal(np.load("guided/samples.npy"), np.load(drawn / "samples.npy"))


def test_likelihoods_and_completions_of_what_was_drawn(run: Path, drawn: Path, inside: Path, capsys):
    assert main(["likelihood", str(run), "--input", str(drawn / "samples.npy"), "--class", "1"]) == 0
    with open("samples_likelihood.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["sample", "log_prob", "bits_per_dim"]
    bits, nats = (np.array([float(row[name]) for row in rows]) for name in ("bits_per_dim", "log_prob"))
    # -log2 of the probability of the grey values, a pixel: log p du / dv with cells of 2 / 17.
    np.testing.assert_allclose(bits, -(nats / 64 + np.log(2 / 17)) / np.log(2), rtol=1e-5)
    told = capsys.readouterr().out
    assert f"bits per dimension: {bits.mean():.4f}" in told
    assert "divergence: exact" in told

    words = ["--mask", "lower", "--class", "1", "--count", "2", "--steps", "6"]
    assert main(["inpaint", str(run), "--input", str(drawn / "samples.npy"), *words]) == 0
    filled, given = np.load("inpainted/inpainted.npy"), np.load(drawn / "samples.npy")
    assert filled.shape == (10, 2, 1, 8, 8)
    np.testing.assert_array_equal(filled[..., :4, :], np.repeat(given[:, None, :, :4], 2, axis=1))
    assert not np.array_equal(filled[:, 0], filled[:, 1])
    mask = np.zeros((8, 8), bool)
    mask[:, :4] = True
    np.save("left.npy", mask)
    first = ["inpaint", str(run), "--input", str(drawn / "samples.npy"), "--class", "1", "--count", "1", "--steps", "4"]
    assert main([*first, "--mask", "left.npy", "--output", "one"]) == 0
    assert main([*first, "--mask", "right", "--output", "other"]) == 0
    np.testing.assert_array_equal(np.load("one/inpainted.npy"), np.load("other/inpainted.npy"))


def test_images_of_a_folder_are_brought_to_the_models_size(run: Path, inside: Path, capsys):
    (inside / "mine").mkdir()
    Image.new("RGB", (30, 20), (9, 9, 9)).save("mine/a.png")
    Image.new("L", (16, 16), 3).save("mine/b.png")
    assert main(["likelihood", str(run), "--input", "mine", "--class", "0"]) == 0
    with open("mine_likelihood.csv", newline="") as file:
        assert len(list(csv.DictReader(file))) == 2
    Image.new("L", (16, 16), 30).save("mine/b.png")
    told = complaint(["likelihood", str(run), "--input", "mine", "--class", "0"], capsys)
    assert told == "error: mine holds the grey value 30, where the model has 0 to 16: bring them to that range."


def test_signals_are_drawn_scored_and_completed(signals: Path, inside: Path):
    results = json.loads((signals / "results.json").read_text())
    assert results["task"] == "signals"
    assert list(results["metrics"]) == ["ssm", "Gaussian mixture", evaluation.REAL]
    assert main(["sample", str(signals), "--count", "4", "--class", "heavy"]) == 0
    values = np.load("samples/samples.npy")
    assert (values.shape, values.dtype) == ((4, 1, 64), np.float32)
    assert main(["likelihood", str(signals), "--input", "samples/samples.npy", "--class", "heavy"]) == 0
    words = ["--class", "heavy", "--mask", "right", "--count", "2", "--steps", "4"]
    assert main(["inpaint", str(signals), "--input", "samples/samples.npy", *words]) == 0
    filled = np.load("inpainted/inpainted.npy")
    np.testing.assert_array_equal(filled[..., :32], np.repeat(values[:, None, :, :32], 2, axis=1))


# What users get wrong


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--dataset fashion_mnst", "unknown dataset 'fashion_mnst': did you mean 'fashion_mnist'"),
        ("--model unett", "unknown model 'unett': did you mean 'unet'"),
        ("--task signal", "unknown task of generation 'signal': did you mean 'signals'"),
        ("--dataset ringdowns", "dataset 'ringdowns' is for signals, not for images: add --task signals"),
        ("--dataset nowhere/images", "no file or folder at nowhere/images: check the path"),
        ("--dataset empty", "empty holds no image: put images into it"),
        ("--dataset corrupt.npy", "cannot read corrupt.npy"),
        ("--dataset mixed", "give --data.size 6 to cut and resample them all"),
        ("--dataset modes", "are of mixed modes"),
        ("--dataset torn", "none of the 4 images in torn can be read, the first is 0.png"),
        ("--dataset flat.npz", "'grey' of flat is constant in the training part: leave it out"),
        ("--dataset several.npz", "say with --data.array which are the samples"),
        ("--model.sampler dpmpp_3m --model.sampler_steps 2", "sampler_steps=2 is out of range: dpmpp_3m makes at"),
        ("--model.process edmm", "unknown process 'edmm': did you mean 'edm'"),
        ("--model.weighting edmm", "weighting"),
        ("--model dit --model.network.patch 3", "patch=3 must divide the shape (8, 8)"),
        ("--task densities --model unet", "model 'unet' is for images, not for densities"),
        ("--data.layout channels", "data.layout"),
        ("--dataset several.npz --data.array one --data.samples 30", "say --data.samples null"),
        ("--trainer.max_epochs 0", "the training made no step: ask for at least one"),
        ("--dataset scarce.npz", "scarce.npz has 12 samples, of which the shares (0.76, 0.04, 0.2) leave 2 to the"),
    ],
)
def test_a_training_that_cannot_be_is_refused_in_one_line(words: str, told: str, inside: Path, capsys):
    rng = np.random.default_rng(0)
    for folder in ("empty", "mixed", "modes", "torn"):
        (inside / folder).mkdir()
    for i in range(4):
        grey = rng.integers(0, 255, (6 + 2 * (i % 2), 6 + 2 * (i % 2))).astype(np.uint8)
        Image.fromarray(grey).save(f"mixed/{i}.png")
        Image.fromarray(rng.integers(0, 255, (6, 6, 3)[: 2 + i % 2]).astype(np.uint8)).save(f"modes/{i}.png")
        (inside / "torn" / f"{i}.png").write_bytes(b"\x89PNG\r\n")
    (inside / "corrupt.npy").write_bytes(b"\x93NUMPY\x01\x00v\x00")
    np.savez("flat.npz", images=np.full((40, 6, 6), 7, np.uint8))
    np.savez("scarce.npz", images=rng.integers(0, 255, (12, 6, 6)).astype(np.uint8))
    np.savez("several.npz", one=np.zeros((20, 6, 6), np.uint8), other=np.zeros((20, 6, 6), np.uint8))
    assert told in complaint(["train", "generation", "--runs", "runs", *words.split()], capsys)
    assert not list(Path("runs").glob("**/config.yaml")), "a run that never began is left behind"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--method dpmpp_2", "unknown method 'dpmpp_2': did you mean 'dpmpp_2m'"),
        ("--method dpmpp_3m --steps 2", "steps=2 is out of range: dpmpp_3m makes at least 3"),
        ("--steps 0", "steps=0 is out of range"),
        ("--steps many", "--steps: invalid int value: 'many'"),
        ("--spacing kerras", "unknown spacing 'kerras': did you mean 'karras'"),
        ("--class 01", "unknown class '01': did you mean '0'"),
        ("--seeds 1.5", "--seeds: expected whole numbers and ranges with commas between"),
        ("--seeds 5-3", "--seeds: expected whole numbers and ranges with commas between"),
        ("--seeds 3,3", "--seeds: a seed stands there twice"),
        ("--seeds -1", "--seeds: expected"),
        ("--seeds 0-4 --count 3", "--count 3 and --seeds of 5: a sample has one seed, leave --count out"),
        ("--count 0", "--count: expected a whole number from 1 to 10,000,000, got '0'"),
        ("--guidance -1", "guidance scale=-1.0 is out of range"),
        ("--output taken", "--output taken is a file: name a folder"),
    ],
)
def test_samples_that_cannot_be_drawn(run: Path, words: str, told: str, inside: Path, capsys):
    Path("taken").touch()
    assert told in complaint(["sample", str(run), *words.split()], capsys)
    assert {path.name for path in inside.iterdir()} == {"taken"}, "something was written"


def test_guidance_needs_classes_that_were_left_out(run: Path, tmp_path: Path, inside: Path, capsys):
    other = shutil.copytree(run, tmp_path / "other")
    path = other / "checkpoints" / "best.ckpt"
    stored = torch.load(path, weights_only=True)
    stored["integrand"]["label_dropout"] = 0.0
    torch.save(stored, path)
    told = complaint(["sample", str(other), "--guidance", "2"], capsys)
    assert "was trained without label dropout: leave guidance out, or train with --model.label_dropout" in told


def test_a_network_that_answers_nothing_is_told_with_step_and_sample(run: Path, tmp_path: Path, inside: Path, capsys):
    other = shutil.copytree(run, tmp_path / "other")
    path = other / "checkpoints" / "best.ckpt"
    stored = torch.load(path, weights_only=True)
    for name, tensor in stored["state_dict"].items():
        if name.endswith("leave.bias"):
            tensor[3] = float("nan")
    torch.save(stored, path)
    told = complaint(["sample", str(other), "--count", "4"], capsys)
    assert "sample 0 is not finite after step 1, the first to be so of 4" in told
    np.save(tmp_path / "grey.npy", np.zeros((2, 8, 8), np.uint8))
    words = [str(other), "--input", str(tmp_path / "grey.npy"), "--class", "0"]
    told = complaint(["inpaint", *words, "--mask", "lower", "--seed", "7"], capsys)
    assert "of the seeds 7 to 14, counted from 0: ancestral: sample 0 is not finite after step 1" in told
    told = complaint(["likelihood", *words], capsys)
    assert "the likelihood of the samples 0 to 1, counted from 0, cannot be told: " in told
    assert "in sample 0; take the run's other checkpoint, or train again" in told
    assert not list(inside.iterdir())


@pytest.mark.parametrize("command", ["likelihood", "inpaint"])
@pytest.mark.parametrize(
    ("file", "words", "told"),
    [
        ("wide.npy", "--class 0", "holds samples of shape (1, 8, 9), where the model was trained on (1, 8, 8)"),
        ("points.npy", "--class 0", "holds samples of shape (3,), where the model was trained on (1, 8, 8)"),
        ("bright.npy", "--class 0", "holds the grey value 255, where the model has 0 to 16"),
        ("real.npy", "--class 0", "holds real numbers, and the model was trained on others: save them as uint8"),
        ("good.npy", "", "does not say the classes of its samples: name theirs with --class"),
        ("good.npy", "--class zero", "unknown class 'zero'. Known: 0, 1, 2"),
        ("none.npy", "--class 0", "no file at none.npy: check the path"),
        ("torn.npy", "--class 0", "cannot read torn.npy"),
        ("notes.txt", "--class 0", "is a file of unknown ending"),
    ],
)
def test_files_that_do_not_fit_a_run(run: Path, command: str, file: str, words: str, told: str, inside: Path, capsys):
    np.save("wide.npy", np.zeros((2, 8, 9), np.uint8))
    np.save("points.npy", np.zeros((2, 3), np.float32))
    np.save("bright.npy", np.full((2, 8, 8), 255, np.uint8))
    np.save("real.npy", np.zeros((2, 1, 8, 8), np.float32))
    np.save("good.npy", np.zeros((2, 8, 8), np.uint8))
    Path("torn.npy").write_bytes(b"\x93NUMPY")
    Path("notes.txt").touch()
    before = set(inside.iterdir())
    if file == "none.npy":
        assert "no " in complaint([command, str(run), "--input", file, *words.split(), *mask(command)], capsys)
    else:
        assert told in complaint([command, str(run), "--input", file, *words.split(), *mask(command)], capsys)
    assert set(inside.iterdir()) == before, "something was written"


def mask(command: str) -> Iterator[str]:
    yield from ("--mask", "lower") if command == "inpaint" else ()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--mask lowr", "unknown mask 'lowr': did you mean 'lower'"),
        ("--mask gone.npy", "no file at gone.npy: check the path of the mask"),
        ("--mask torn.npy", "cannot read the mask torn.npy"),
        ("--mask wide.npy", "the mask wide.npy has shape (9, 9), where a sample has (1, 8, 8): give it that shape"),
        ("--mask all.npy", "the mask all.npy leaves nothing to fill in: it must be true where a sample is known"),
        ("--mask none.npy", "the mask none.npy leaves nothing known: it must be true"),
        ("--mask lower --count 0", "--count 0 is out of range: it must be at least 1"),
        ("--mask lower --noise -1", "--noise -1 is out of range: it must not be negative"),
        ("--mask lower --seed -1", "--seed -1 is out of range: it must not be negative"),
        ("--mask lower --steps 0", "steps=0 is out of range"),
        ("", "missing --mask"),
    ],
)
def test_masks_and_options_of_inpaint_that_do_not_fit(run: Path, words: str, told: str, inside: Path, capsys):
    np.save("good.npy", np.zeros((2, 8, 8), np.uint8))
    np.save("wide.npy", np.ones((9, 9), bool))
    np.save("all.npy", np.ones((8, 8), bool))
    np.save("none.npy", np.zeros((8, 8), bool))
    Path("torn.npy").write_bytes(b"\x93NUMPY")
    before = set(inside.iterdir())
    assert told in complaint(["inpaint", str(run), "--input", "good.npy", "--class", "0", *words.split()], capsys)
    assert set(inside.iterdir()) == before, "something was written"


def test_a_run_is_examined(run: Path):
    found = examined(run)
    assert {"sampler audit", "stiffness", "contraction"} <= set(found)
    rows = found["sampler audit"]["rows"]
    assert [row["steps"] for row in rows] == [rows[0]["steps"] * times for times in (1, 2, 4, 8)]
    distances = [row["distance from the flow"] for row in rows]
    assert distances == sorted(distances, reverse=True)


def test_commands_refuse_runs_of_other_kinds(run: Path, physics: Path, inside: Path, capsys):
    np.save("good.npy", np.zeros((2, 8, 8), np.uint8))
    for words, told in (
        (["sample", str(physics)], "is a run of surrogate, which draws no samples: see integrand predict"),
        (["likelihood", str(physics), "--input", "good.npy"], "is a run of surrogate, which has no likelihood"),
        (["inpaint", str(physics), "--input", "good.npy", "--mask", "lower"], "surrogate, which fills nothing in"),
        (["predict", str(run), "--input", "good.npy"], "a run of images predicts nothing: use integrand sample"),
        (["sample", "no/run"], "no run folder"),
    ):
        assert told in complaint(words, capsys)


# Export


@pytest.mark.parametrize("application", ["timeseries", "physics", "generation"])
def test_what_is_exported_is_loaded_bit_for_bit(
    application: str, weather_run: Path, physics: Path, run: Path, inside: Path
):
    folder = {"timeseries": weather_run, "physics": physics, "generation": run}[application]
    assert main(["export", str(folder), "--format", "safetensors", "--output", "mine"]) == 0
    assert {path.name for path in Path("mine").iterdir()} == {"model.safetensors", "model.json"}
    stored = torch.load(folder / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    for path in ("mine", "mine/model.safetensors"):
        loaded = load_exported(path).state_dict()
        assert loaded.keys() == stored.keys()
        for name, value in stored.items():
            assert torch.equal(loaded[name], value), name
            assert loaded[name].dtype == value.dtype
    description = json.loads(Path("mine/model.json").read_text())
    assert description["app"] == application
    assert {"network", "options", "task"} <= description["module"].keys()
    assert "data" not in description["module"], "its options may hold paths of the machine"
    assert str(folder) not in Path("mine/model.json").read_text()


def test_what_is_exported_draws_the_same(run: Path, drawn: Path, inside: Path):
    from integrand.apps.generation.sampling import draw

    assert main(["export", str(run)]) == 0
    labels = torch.ones(10, dtype=torch.int64)
    values = draw(load_exported("exported"), range(10), labels).values
    np.testing.assert_array_equal(values.numpy(), np.load(drawn / "samples.npy"))
    description = json.loads(Path("exported/model.json").read_text())
    assert description["module"]["process"] == "edm"
    assert description["aliases"], "a tensor of two names is stored once"


def test_exports_that_cannot_be_are_refused(run: Path, inside: Path, capsys):
    assert "unknown format 'onx'" in complaint(["export", str(run), "--format", "onx"], capsys)
    Path("taken").touch()
    assert "--output taken is a file" in complaint(["export", str(run), "--output", "taken"], capsys)
    assert "no run folder" in complaint(["export", "no/run"], capsys)
    with pytest.raises(InputError, match="no file at nowhere"):
        load_exported("nowhere")
    assert main(["export", str(run), "--output", "mine"]) == 0
    whole = Path("mine/model.safetensors").read_bytes()
    Path("mine/model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"cannot read mine .*: export the run again"):
        load_exported("mine")
    Path("mine/model.safetensors").write_bytes(whole)
    said = json.loads(Path("mine/model.json").read_text())
    Path("mine/model.json").write_text(json.dumps({**said, "format": 99}))
    with pytest.raises(InputError, match="is not of layout 1"):
        load_exported("mine")
    said["module"]["options"]["width"] = 17
    Path("mine/model.json").write_text(json.dumps(said))
    with pytest.raises(InputError, match="does not fit integrand"):
        load_exported("mine")
