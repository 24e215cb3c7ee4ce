"""Latents of a user's autoencoder: a linear one in closed form is the oracle, and what is amiss is told in a line."""

import contextlib
import csv
import importlib
import io
import json
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning import Trainer
from safetensors.torch import save_file
from scipy import stats
from sklearn.decomposition import PCA

from integrand.apps.cli import main
from integrand.apps.generation import evaluation, feature_classifier, sample_tracking, scoring
from integrand.apps.generation.baselines import GaussianMixture
from integrand.apps.generation.densities import likelihood
from integrand.apps.generation.latents.autoencoder import Autoencoder
from integrand.apps.generation.latents.data import LatentData, lost_share
from integrand.apps.generation.latents.evaluation import MIXTURE, THROUGH
from integrand.apps.generation.latents.module import LatentModule
from integrand.apps.generation.latents.principal_components import PrincipalComponents
from integrand.apps.generation.latents.task import as_real, standardized_reals
from integrand.apps.generation.metrics.frechet_training import train_frechet_classifier
from integrand.apps.generation.models.mlp import MLPDenoiser
from integrand.apps.generation.models.unet import UNetDenoiser
from integrand.apps.generation.sample_tracking import SampleTracking
from integrand.apps.generation.sampling import SamplingOptions, draw
from integrand.apps.generation.task import GenerationTask
from integrand.apps.generation.weight_files import read_weights
from integrand.apps.training.checkpoints import read_checkpoint
from integrand.apps.training.exported import load_exported
from integrand.core.errors import InputError

LINEAR = "integrand.apps.generation.latents.principal_components.PrincipalComponents"
START = 0.01
QUIET: dict[str, Any] = {
    "accelerator": "cpu",
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "num_sanity_val_steps": 0,
}
USERS = '''
import torch
from torch import nn


class Coder(nn.Module):
    """A perceptron of images of 8 by 8."""

    def __init__(self, width=5):
        super().__init__()
        self.enter, self.leave = nn.Linear(64, width), nn.Linear(width, 64)

    def encode(self, x):
        return torch.tanh(self.enter(x.flatten(1)))

    def decode(self, z):
        return torch.tanh(self.leave(z)).view(-1, 1, 8, 8)


class Pooled(nn.Module):
    """Means of squares of 2 by 2 and, times a hundred, how much their halves differ: latents laid out as images."""

    def encode(self, x):
        mean = nn.functional.avg_pool2d(x, 2)
        return torch.cat([mean, 100 * (nn.functional.avg_pool2d(x[..., ::2], (2, 1)) - mean)], 1)

    def decode(self, z):
        return nn.functional.interpolate(z[:, :1], scale_factor=2)


class OneWay(nn.Module):
    def encode(self, x):
        return x.flatten(1)


class NotANumber(Coder):
    def encode(self, x):
        return super().encode(x) / 0 * 0


class Smaller(Coder):
    def decode(self, z):
        return super().decode(z)[..., :4]


class Pair(Coder):
    def encode(self, x):
        return super().encode(x), 1.0


class Constant(Coder):
    def encode(self, x):
        return torch.cat([x.flatten(1), torch.ones(len(x), 1)], 1)

    def decode(self, z):
        return z[:, :64].view(-1, 1, 8, 8)


class Squashed(Coder):
    def encode(self, x):
        return x.sum()[None].expand(3, 1)


class FromZero(Constant):
    """Takes what it is given for numbers from 0 to 1."""

    def encode(self, x):
        return x.flatten(1)

    def decode(self, z):
        return (z.view(-1, 1, 8, 8) + 1) * 8


def function(x):
    return x
'''


@pytest.fixture(scope="module")
def users(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder on the path of imports with a user's classes in ``users_coder``."""
    folder = tmp_path_factory.mktemp("users")
    (folder / "users_coder.py").write_text(USERS)
    sys.path.insert(0, str(folder))
    yield folder
    sys.path.remove(str(folder))
    sys.modules.pop("users_coder", None)


@pytest.fixture(scope="module")
def weights(users: Path, few: Path) -> Path:
    """A file with the weights of a ``Coder`` that was trained on the three digits."""
    torch.manual_seed(0)
    coder = importlib.import_module("users_coder").Coder(6)
    x = torch.from_numpy(np.load(few)["images"]).float() * (2 / 17) + 1 / 17 - 1
    optimizer = torch.optim.Adam(coder.parameters(), lr=1e-2)
    for _ in range(300):
        optimizer.zero_grad()
        (coder.decode(coder.encode(x)) - x).square().mean().backward()
        optimizer.step()
    path = users / "coder.safetensors"
    save_file(coder.state_dict(), path)
    return path


@pytest.fixture(scope="module")
def normal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real numbers laid out as images of 2 by 3, normal, with directions of quite different variance."""
    rng = np.random.default_rng(0)
    mixed = rng.normal(size=(3000, 6)) * [5, 3, 2, 1, 0.3, 0.1] @ stats.ortho_group.rvs(6, random_state=1) + 4
    path = tmp_path_factory.mktemp("normal") / "normal.npy"
    np.save(path, mixed.reshape(-1, 1, 2, 3).astype(np.float32))
    return path


def linear(dataset: Path | str, shape: list[int], components: int, **given: Any) -> LatentData:
    options = {"shape": shape, "components": components}
    return LatentData(str(dataset), autoencoder=LINEAR, autoencoder_options=options, **given)


def coded(few: Path, kind: str = "Coder", **given: Any) -> LatentData:
    return LatentData(str(few), autoencoder=f"users_coder.{kind}", levels=17, fractions=(0.6, 0.2, 0.2), **given)


def module_of(data: LatentData, **options: Any) -> LatentModule:
    """An untrained module: with ``base="gaussian"`` the exact denoiser of normal latents."""
    torch.manual_seed(0)
    made = LatentModule(MLPDenoiser(8, blocks=1), process_options={"start": START, "end": 60.0}, **options)
    made.build(data)
    return made.eval()


# Principal components, the oracle


def test_principal_components_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(200, 6)) * [5, 3, 2, 1, 0.5, 0.2] @ stats.ortho_group.rvs(6, random_state=1)) + 3
    ours, theirs = PrincipalComponents([2, 3], components=3), PCA(3).fit(x)
    ours.fit(torch.from_numpy(x).float().view(-1, 2, 3))
    z = ours.encode(torch.from_numpy(x).float().view(-1, 2, 3))
    np.testing.assert_allclose(z.abs().numpy(), np.abs(theirs.transform(x)), atol=1e-5)
    back = ours.decode(z)
    np.testing.assert_allclose(back.flatten(1).numpy(), theirs.inverse_transform(theirs.transform(x)), atol=1e-5)
    # What is lost is the variance of the directions left out.
    whole = PCA(6).fit(x)
    lost = lost_share(torch.from_numpy(x), back.flatten(1).double())
    assert lost == pytest.approx(whole.explained_variance_ratio_[3:].sum(), rel=1e-4)


def test_at_full_rank_everything_comes_back():
    x = torch.randn(40, 1, 3, 3, generator=torch.Generator().manual_seed(0))
    made = PrincipalComponents([1, 3, 3], components=9)
    made.fit(x)
    torch.testing.assert_close(made.decode(made.encode(x)), x, rtol=0, atol=1e-5)
    again = PrincipalComponents([1, 3, 3], components=9)
    again.fit(x.flip(0))  # in another order, each direction has the same sign
    torch.testing.assert_close(again.directions, made.directions, rtol=0, atol=1e-5)


def test_more_components_than_the_samples_have_are_refused():
    with pytest.raises(InputError, match="must lie in 1 to 4"):
        PrincipalComponents([2, 2], components=5)
    x = torch.randn(9, 2, generator=torch.Generator().manual_seed(0)) @ torch.ones(2, 4)
    with pytest.raises(InputError, match="vary in 1 directions"):
        PrincipalComponents([4], components=2).fit(x)


# Units


@pytest.mark.parametrize("levels", [2, 17, 256])
def test_grey_values_survive_an_autoencoder_that_loses_nothing(levels: int):
    task = GenerationTask("image", [1, 4, 4], ["grey"], [0.1], [0.4], levels=levels)
    values = torch.arange(levels, dtype=torch.uint8).repeat(16)[: levels * 16].view(-1, 1, 4, 4)
    x = as_real(values, task)
    np.testing.assert_allclose(x.numpy(), (values.numpy() + 0.5) * 2 / levels - 1, atol=1e-6)
    assert torch.equal(task.restored(standardized_reals(x, task)), values.long())


def test_real_values_are_told_as_the_data_have_them(normal: Path):
    data = linear(normal, [1, 2, 3], 2)
    values = data.part("train").values
    torch.testing.assert_close(as_real(values, data.task), values)


# A model of normal latents is known in closed form


def test_decoded_samples_have_the_known_mean_and_covariance(normal: Path):
    data = linear(normal, [1, 2, 3], 3)
    module = module_of(data, base="gaussian")
    count = 4000
    drawn = draw(module, range(count), options=SamplingOptions("heun", 30)).values.flatten(1).double().numpy()
    rows = data.part("train").values.flatten(1).double().numpy()
    pca, whole = PCA(3).fit(rows), PCA(6).fit(rows)
    assert pca.components_ is not None
    assert whole.components_ is not None
    covariance = pca.components_.T @ np.diag(pca.explained_variance_) @ pca.components_
    # The deviation of a covariance C_ij of n normal draws is sqrt((C_ii C_jj + C_ij^2) / n), of a mean sqrt(C_ii / n).
    variances = np.diag(covariance)
    error = np.sqrt((np.outer(variances, variances) + covariance**2) / count)
    assert (np.abs(np.cov(drawn.T) - covariance) < 5 * error + START**2 * variances.max()).all()
    assert (np.abs(drawn.mean(0) - pca.mean_) < 5 * np.sqrt(variances / count)).all()
    # Nothing is drawn along the directions left out.
    np.testing.assert_allclose((drawn - pca.mean_) @ whole.components_[3:].T, 0, atol=1e-4)


def test_the_density_of_latents_is_the_normal_one(normal: Path):
    data = linear(normal, [1, 2, 3], 3)
    module = module_of(data, base="gaussian")
    test = data.part("test")
    latents = module.encoded(test.values[:50])
    found = likelihood(module, latents, test.labels[:50])
    pca = PCA(3).fit(data.part("train").values.flatten(1).double().numpy())
    n = len(data.part("train"))
    variance = pca.explained_variance_ * (n - 1) / n * (1 + START**2)
    rows = pca.transform(test.values[:50].flatten(1).double().numpy())
    known = stats.norm.logpdf(rows, scale=np.sqrt(variance)).sum(1)
    # The solver is asked for 1e-4 of the density of latents of deviation 1.
    np.testing.assert_allclose(found.log_prob.numpy(), known, atol=2e-3)


# What is learned from


def test_units_and_fit_are_of_the_training_part_alone(normal: Path, tmp_path: Path):
    data = linear(normal, [1, 2, 3], 3)
    task, train = data.latents.task, data.latents.part("train").values.double()
    np.testing.assert_allclose(task.location, train.mean(0), atol=1e-6)
    np.testing.assert_allclose(task.scale, train.std(0, correction=0), rtol=1e-6)
    values = np.load(normal)
    for part in ("validation", "test"):
        values[np.asarray(data.split.rows(part))] += 100
    np.save(tmp_path / "moved.npy", values)
    moved = linear(tmp_path / "moved.npy", [1, 2, 3], 3)
    assert moved.latents.task == task
    assert data.split.train == moved.split.train
    assert not torch.equal(moved.latents.part("test").values, data.latents.part("test").values)


def test_latents_have_the_shape_that_a_network_wants(users: Path, few: Path):
    data = coded(few, "Pooled")
    task = data.latents.task
    assert (task.kind, task.shape, task.levels) == ("image", [2, 4, 4], None)
    assert task.classes == data.task.classes == ["0", "1", "2"]
    z = task.standardized(data.latents.part("train").values).double()
    # Each channel has its own units, however unlike they are.
    torch.testing.assert_close(z.mean((0, 2, 3)), torch.zeros(2).double(), rtol=0, atol=1e-5)
    torch.testing.assert_close(z.std((0, 2, 3), correction=0), torch.ones(2).double(), rtol=0, atol=1e-5)
    module = LatentModule(UNetDenoiser(16, multipliers=(1,)))
    module.build(data)
    drawn = draw(module, range(3), options=SamplingOptions("ddim", 2))
    assert drawn.values.shape == (3, 1, 8, 8)
    assert drawn.values.dtype == torch.int64
    assert 0 <= int(drawn.values.min()) <= int(drawn.values.max()) <= 16


def test_series_have_latents_too():
    data = linear("ringdowns", [1, 64], 6, samples=100)
    module = module_of(data, base="gaussian")
    assert (data.task.kind, data.latents.task.kind) == ("series", "points")
    assert draw(module, range(3), options=SamplingOptions("ddim", 2)).values.shape == (3, *data.task.shape)


def test_samples_are_encoded_once_and_the_autoencoder_stays_as_it_was(
    users: Path, few: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    kind = importlib.import_module("users_coder").Coder
    encoded: list[int] = []
    encode = kind.encode

    def counted(self: Any, x: torch.Tensor) -> torch.Tensor:
        encoded.append(len(x))
        return encode(self, x)

    monkeypatch.setattr(kind, "encode", counted)
    quicken(monkeypatch)
    monkeypatch.setattr(sample_tracking, "COMPARED", ("energy_distance",))
    data = coded(few, autoencoder_options={"width": 6}, autoencoder_weights=str(weights), batch_size=32)
    module = LatentModule(MLPDenoiser(8, blocks=1), ema_decay=0.9)
    trainer = Trainer(max_epochs=3, callbacks=[SampleTracking(3, count=20)], **QUIET)
    trainer.fit(module, data)
    train = len(data.part("train"))
    # All parts once, and a few samples to check it; validation samples again for the notice.
    assert sum(encoded) == train + 120 + len(data.part("validation"))
    given = read_weights(weights)
    for name, tensor in module.built_autoencoder.network.state_dict().items():
        assert torch.equal(tensor, given[name])
    names = {name for name, _ in module.named_parameters()}
    assert names
    assert not any("autoencoder" in name for name in names)
    assert not module.built_autoencoder.training
    assert np.isfinite(float(trainer.callback_metrics["validation/energy_distance"]))
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    stored = read_checkpoint(tmp_path / "last.ckpt")
    again = LatentModule.from_checkpoint(stored)
    assert torch.equal(draw(again, range(4)).values, draw(module, range(4)).values)


def test_the_autoencoder_keeps_its_precision(users: Path, weights: Path):
    made = Autoencoder("users_coder:Coder", {"width": 6})
    made.load_weights(weights)
    z = torch.randn(5, 6, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", torch.bfloat16):
        within, rounded = made.decode(z), made.network.get_submodule("leave")(z)
    assert torch.equal(within, made.decode(z))
    assert rounded.dtype == torch.bfloat16  # as its layers answer, were the module not to see to it
    assert made.double().decode(z).dtype == torch.float32
    assert not made.train().training


def test_weights_are_read_in_any_of_their_files(users: Path, weights: Path, tmp_path: Path):
    tensors = read_weights(weights)
    torch.save(tensors, tmp_path / "plain.pt")
    torch.save({"state_dict": tensors, "epoch": 3}, tmp_path / "lightning.ckpt")
    hashes = set()
    for path in (weights, tmp_path / "plain.pt", tmp_path / "lightning.ckpt"):
        made = Autoencoder("users_coder.Coder", {"width": 6})
        before = made.hash
        made.load_weights(path)
        assert made.hash != before
        hashes.add(made.hash)
    assert len(hashes) == 1


# What users get wrong


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("", "data.autoencoder is missing"),
        ("nowhere.Coder", "cannot be imported .*No module named 'nowhere'.*PYTHONPATH"),
        ("users_coder.Codr", "cannot be imported .*no attribute 'Codr'"),
        ("Coder", "is no torch.nn.Module"),
        ("users_coder.function", "is no torch.nn.Module"),
        ("os.system", "is no torch.nn.Module"),
        ("users_coder.OneWay", r"has no method decode\(z\) -> x"),
        ("users_coder.NotANumber", "encode gives NaN or infinity"),
        ("users_coder.Smaller", r"shape \(1, 8, 8\) and gives them back as \(1, 8, 4\)"),
        ("users_coder.Pair", "encode answers with tuple, where a tensor"),
        ("users_coder.Squashed", "encode makes 3 of 72"),
        ("users_coder.Constant", r"number \d+ of Constant's latents is the same"),
        ("users_coder.FromZero", "worse than their mean would .* grey values are told on"),
    ],
)
def test_an_autoencoder_that_is_none_is_told(users: Path, few: Path, kind: str, told: str):
    with pytest.raises(InputError, match=told) as caught:
        _ = LatentData(str(few), autoencoder=kind, levels=17, fractions=(0.6, 0.2, 0.2)).latents
    assert "\n" not in str(caught.value)


def test_an_autoencoder_of_other_samples_is_told(users: Path, normal: Path):
    with pytest.raises(InputError, match=r"Coder.encode fails on a batch of shape \(128, 1, 2, 3\)"):
        _ = LatentData(str(normal), autoencoder="users_coder.Coder").latents
    with pytest.raises(InputError, match=r"shape \(4,\) are not of samples \(1, 2, 3\)"):
        _ = linear(normal, [4], 2).latents


def test_weights_that_do_not_fit_are_told(users: Path, few: Path, weights: Path, tmp_path: Path):
    def refused(path: Path, told: str, **options: Any) -> None:
        with pytest.raises(InputError, match=told) as caught:
            _ = coded(few, autoencoder_options=options, autoencoder_weights=str(path)).latents
        assert "\n" not in str(caught.value)

    refused(tmp_path / "gone.pt", "there are no weights .*gone.pt")
    refused(weights, "do not fit Coder with the options {'width': 4}", width=4)
    refused(weights, "cannot be made with the options {'depth': 4}", depth=4)
    (tmp_path / "words.txt").write_text("no weights")
    refused(tmp_path / "words.txt", "of unknown ending")
    (tmp_path / "words.safetensors").write_text("no weights")
    refused(tmp_path / "words.safetensors", "cannot read")
    torch.save(torch.nn.Linear(1, 1), tmp_path / "module.pt")
    refused(tmp_path / "module.pt", "refused to load .*more than tensors")
    torch.save([torch.ones(1)], tmp_path / "list.pt")
    refused(tmp_path / "list.pt", "no mapping of names to tensors")


def test_a_checkpoint_is_refused_once_the_code_has_changed(
    users: Path, few: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    data = coded(few, autoencoder_options={"width": 6}, autoencoder_weights=str(weights))
    module, trainer = LatentModule(MLPDenoiser(8, blocks=1)), Trainer(max_steps=1, limit_val_batches=0, **QUIET)
    trainer.fit(module, data)
    trainer.save_checkpoint(tmp_path / "run.ckpt")
    found = importlib.import_module("users_coder")

    def refused(told: str, **changed: Any) -> None:
        with monkeypatch.context() as patched:
            for name, value in changed.items():
                patched.setattr(found.Coder, name, value)
            with pytest.raises(InputError, match=told):
                LatentModule.from_checkpoint(read_checkpoint(tmp_path / "run.ckpt"))

    made, decode = found.Coder.__init__, found.Coder.decode
    refused("decodes otherwise than when the run was trained", decode=lambda self, z: 1.1 * decode(self, z))
    refused("has other weights than when the run", __init__=lambda self, width: made(self, width + 1))
    refused("decode fails on a batch", decode=lambda self, z: decode(self, z[:, :2]))
    with monkeypatch.context() as patched:
        patched.delattr(found, "Coder")
        with pytest.raises(InputError, match=r"the autoencoder 'users_coder\.Coder' cannot be imported"):
            LatentModule.from_checkpoint(read_checkpoint(tmp_path / "run.ckpt"))
    LatentModule.from_checkpoint(read_checkpoint(tmp_path / "run.ckpt"))


def test_training_goes_on_with_the_same_autoencoder_alone(users: Path, few: Path, weights: Path, tmp_path: Path):
    def fit(path: Path, steps: int, **given: Any) -> LatentModule:
        data = coded(few, autoencoder_options={"width": 6}, autoencoder_weights=str(path), batch_size=32)
        torch.manual_seed(0)
        module = LatentModule(MLPDenoiser(8, blocks=1))
        trainer = Trainer(max_steps=steps, limit_val_batches=0, **QUIET)
        trainer.fit(module, data, weights_only=True, **given)
        trainer.save_checkpoint(tmp_path / f"{steps}.ckpt")
        return module

    fit(weights, 2)
    fit(weights, 3, ckpt_path=tmp_path / "2.ckpt")
    # Signs of the latents the other way round: it reconstructs as well, and what was learned is of other latents.
    mirrored = {name: tensor if name == "leave.bias" else -tensor for name, tensor in read_weights(weights).items()}
    save_file(mirrored, tmp_path / "mirrored.safetensors")
    with pytest.raises(InputError, match="the autoencoder is not that of the run, whose hash is"):
        fit(tmp_path / "mirrored.safetensors", 3, ckpt_path=tmp_path / "2.ckpt")


# Commands


@pytest.fixture(scope="module")
def run(users: Path, few: Path, weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the user's autoencoder, whose file of weights is gone. Tests must not change its files."""
    root = tmp_path_factory.mktemp("runs")
    moved = root / "moved.safetensors"
    moved.write_bytes(weights.read_bytes())
    words = ["train", "generation", "--task", "latents", "--runs", str(root), "--dataset", str(few)]
    words += ["--data.levels", "17", "--data.fractions", "[0.72, 0.08, 0.2]", "--data.batch_size", "32"]
    words += ["--data.autoencoder", "users_coder.Coder", "--data.autoencoder_options", "{width: 6}"]
    words += ["--data.autoencoder_weights", str(moved), "--model.network.width", "16", "--trainer.accelerator", "cpu"]
    words += ["--trainer.max_epochs", "2", "--trainer.check_val_every_n_epoch", "1"]
    out = io.StringIO()
    with pytest.MonkeyPatch.context() as patched, contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        quicken(patched)
        assert main(words) == 0, out.getvalue()
    assert "makes latents (6,) of (1, 8, 8)" in out.getvalue()
    assert "the floor of every model of these latents" in " ".join(out.getvalue().split())
    moved.unlink()
    return root / "generation" / "latents" / "1"


def quicken(patched: pytest.MonkeyPatch) -> None:
    """Have ``evaluate`` take fewer metrics, samplers, steps of its classifier and resamples than users need."""
    patched.setattr(scoring, "METRICS", ("energy_distance", "precision_recall", "nearest_training"))
    patched.setattr(evaluation, "SWEPT", {"ddim": (4,)})
    patched.setattr(feature_classifier, "train_frechet_classifier", partial(train_frechet_classifier, steps=20))
    patched.setattr(GaussianMixture, "COMPONENTS", (1, 5))


def refused(*words: str, capsys: pytest.CaptureFixture) -> str:
    capsys.readouterr()
    assert main(list(words)) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in err
    return err.splitlines()[-1]


def test_a_run_tells_what_the_autoencoder_costs(run: Path, few: Path, weights: Path):
    results = json.loads((run / "results.json").read_text())
    assert (results["task"], results["autoencoder"]["class"]) == ("latents", "users_coder.Coder")
    assert list(results["metrics"]) == ["mlp", MIXTURE, THROUGH, evaluation.REAL]
    data = LatentData(
        str(few), autoencoder="users_coder.Coder", levels=17, fractions=(0.72, 0.08, 0.2), batch_size=32
    )  # fmt: skip
    coder = importlib.import_module("users_coder").Coder(6)
    coder.load_state_dict(read_weights(weights))
    values = data.part("test").values.numpy().astype(np.float64)
    with torch.no_grad():
        back = coder.decode(coder.encode(torch.from_numpy((values + 0.5) * 2 / 17 - 1).float())).numpy()
    error = np.sqrt(np.mean((np.clip(np.floor((back + 1) * 17 / 2), 0, 16) - values) ** 2))
    assert results["metrics"][THROUGH]["reconstruction"] == pytest.approx(error, rel=1e-6)
    assert "nearest_ratio" not in results["metrics"][THROUGH]
    assert {"autoencoder.png", "samples.png", "path.gif"} <= {path.name for path in (run / "figures").iterdir()}
    assert "reconstruction" in (run / "report.html").read_text()


def test_what_comes_after_training_needs_no_file_of_weights(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    monkeypatch.chdir(tmp_path)
    quicken(monkeypatch)
    assert main(["sample", str(run), "--seeds", "0-5", "--class", "1", "--accelerator", "cpu"]) == 0
    drawn = np.load("samples/samples.npy")
    assert (drawn.shape, drawn.dtype) == ((6, 1, 8, 8), np.uint8)
    assert main(["export", str(run)]) == 0
    module = load_exported("exported")
    again = draw(module, range(6), torch.ones(6, dtype=torch.int64), options=None)
    assert np.array_equal(again.values.numpy(), drawn)
    words = ["likelihood", str(run), "--input", "samples/samples.npy", "--class", "1", "--accelerator", "cpu"]
    assert main(words) == 0
    assert "it is a density of latents" in capsys.readouterr().out
    with open("samples_likelihood.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    known = likelihood(module, module.encoded(torch.from_numpy(drawn)), torch.ones(6, dtype=torch.int64)).log_prob
    assert [float(row["latent_log_prob"]) for row in rows] == pytest.approx(known.tolist(), abs=1e-4)
    before = json.loads((run / "results.json").read_text())["metrics"]
    assert main(["evaluate", str(run), "--accelerator", "cpu"]) == 0
    after = json.loads((run / "results.json").read_text())["metrics"]
    assert after["mlp"]["energy_distance"] == pytest.approx(before["mlp"]["energy_distance"], abs=1e-9)


def test_what_a_run_of_latents_cannot_do_is_told(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    tell = partial(refused, capsys=capsys)
    told = tell("inpaint", str(run), "--input", "any.npy", "--mask", "lower", "--output", str(tmp_path / "out"))
    assert "a run of latents fills nothing in" in told
    assert "is a run of latents, which is not distilled" in tell("distill", str(run), "--runs", str(tmp_path))
    words = ("train", "generation", "--resume", str(run), "--trainer.max_epochs", "3", "--trainer.accelerator", "cpu")
    assert "there are no weights" in tell(*words)
    words = ("train", "generation", "--task", "latents", "--runs", str(tmp_path))
    assert "data.autoencoder is missing" in tell(*words, "--data.autoencoder", "")
    assert "cannot be imported" in tell(*words, "--data.autoencoder", "users_coder.Gone")
    assert not list(tmp_path.glob("generation/*/*"))
