"""Generation as a library: data of users, bounds and likelihoods in closed form, samples that obey their seeds."""

import copy
import math
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from lightning import Callback, Trainer
from PIL import Image
from scipy import stats
from torch import Tensor

from integrand.apps.application import load
from integrand.apps.generation import APPLICATION, NETWORKS
from integrand.apps.generation.data import GenerationBatch, GenerationData, describe
from integrand.apps.generation.densities import likelihood
from integrand.apps.generation.inpainting import complete, read_mask
from integrand.apps.generation.models.denoising_network import DenoisingNetwork
from integrand.apps.generation.models.mlp import MLPDenoiser
from integrand.apps.generation.models.transformer import DiTDenoiser
from integrand.apps.generation.models.unet import UNetDenoiser
from integrand.apps.generation.module import GenerationModule
from integrand.apps.generation.sampling import SamplingOptions, draw, drawn_labels, sampling_options
from integrand.apps.generation.task import GenerationTask
from integrand.core.diffusion.schedule import half_log_snr_span, step_times
from integrand.core.errors import InputError
from integrand.datasets.samples import Samples
from integrand.datasets.synthetic.ringdowns import ringdowns

QUIET: dict[str, Any] = {
    "accelerator": "cpu",
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "num_sanity_val_steps": 0,
}
CENTRES = (-1.0, 0.5, 2.0)
EDM: dict[str, Any] = {"process": "edm", "process_options": {"start": 0.02, "end": 40.0}}


def points(dims: int = 2, *, classes: int = 0, location: float = 0.0, scale: float = 1.0) -> GenerationTask:
    return GenerationTask(
        kind="points",
        shape=[dims],
        channels=[f"x{i}" for i in range(dims)],
        location=[location] * dims,
        scale=[scale] * dims,
        classes=[f"c{i}" for i in range(classes)],
        class_shares=[1 / classes] * classes if classes else [],
    )


def grey(side: int = 4, *, levels: int = 17) -> GenerationTask:
    return GenerationTask(
        kind="image", shape=[1, side, side], channels=["grey"], location=[-0.2], scale=[0.7], levels=levels
    )


def untrained(task: GenerationTask, network: DenoisingNetwork | None = None, **options: Any) -> GenerationModule:
    """A module that adds nothing to the preconditioning: the exact denoiser of standard normal data."""
    torch.manual_seed(0)
    module = GenerationModule(network or MLPDenoiser(8, blocks=1), **{**EDM, **options})
    module.build_networks(task)
    return module.eval()


class Centres(DenoisingNetwork):
    """The exact denoiser of data that lie at one place for each class, and at 0 where no class is told."""

    asked: ClassVar[list[int]] = []

    def build_network(self, task: GenerationTask) -> None:
        self.places = torch.nn.Parameter(torch.tensor([*CENTRES, 0.0]))

    def forward(self, x: Tensor, noise: Tensor, labels: Tensor | None = None) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        self.asked.append(len(x))
        sigma = (4 * noise).exp().unsqueeze(1)
        root = (1 + sigma.square()).sqrt()
        skip, state = 1 / root.square(), x * root
        assert labels is not None
        return (self.places[labels].unsqueeze(1) - skip * state) * root / sigma


class Lost(MLPDenoiser):
    """A network that answers with no number for one sample, once there is little noise."""

    def forward(self, x: Tensor, noise: Tensor, labels: Tensor | None = None) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        found = super().forward(x, noise, labels)
        found[3] = torch.where(noise[3] < 0, torch.nan, found[3])
        return found


# The task


@pytest.mark.parametrize("levels", [2, 17, 256])
def test_grey_values_come_back_whatever_the_noise(levels: int):
    task = GenerationTask(kind="image", shape=[1, 4, 4], channels=["grey"], location=[0.1], scale=[0.4], levels=levels)
    values = torch.randint(0, levels, (50, 1, 4, 4), dtype=torch.uint8)
    assert torch.equal(task.restored(task.standardized(values)), values.long())
    middle = task.standardized(values, torch.tensor(0.5))
    assert torch.equal(task.restored(middle), values.long())


def test_real_values_come_back_channel_by_channel():
    task = describe(ringdowns(samples=20), np.arange(20), conditional=True)
    x = torch.from_numpy(ringdowns(samples=20).values)
    z = task.standardized(x)
    torch.testing.assert_close(task.restored(z), x)
    assert float(z.mean()) == pytest.approx(0, abs=1e-5)
    assert float(z.std(correction=0)) == pytest.approx(1, abs=1e-5)
    assert GenerationTask(**task.to_dict()) == task


def test_statistics_are_those_of_dequantised_values_of_the_training_part():
    rng = np.random.default_rng(0)
    values = rng.integers(0, 17, (60, 1, 4, 4)).astype(np.uint8)
    labels = np.arange(60) % 3
    given = Samples("some", "image", values, labels=labels, classes=("a", "b", "c"), levels=17)
    rows = np.arange(40)
    task = describe(given, rows, conditional=True)
    noisy = (values[rows].astype(np.float64)[None] + rng.random((200, 40, 1, 4, 4))) * (2 / 17) - 1
    # 200 draws of noise for each of 640 values: its mean is known to 0.034 / sqrt(128,000), a ten-thousandth.
    assert task.location[0] == pytest.approx(noisy.mean(), abs=4e-4)
    assert task.scale[0] == pytest.approx(noisy.std(), abs=4e-4)
    assert task.class_shares == pytest.approx([14 / 40, 13 / 40, 13 / 40])
    values[40:] = 16
    assert describe(given, rows, conditional=True) == task


def test_log_scale_is_the_volume_of_the_units():
    task = describe(ringdowns(samples=20, points=8), np.arange(20), conditional=False)
    jacobian = torch.autograd.functional.jacobian(lambda z: task.restored(z), torch.zeros(1, 1, 8))
    assert task.log_scale == pytest.approx(float(torch.linalg.slogdet(jacobian.view(8, 8))[1]), abs=1e-5)
    assert grey().log_scale == pytest.approx(16 * math.log(0.7))


# Bounds and likelihoods in closed form


def closed_bound(module: GenerationModule, x2: Tensor) -> Tensor:
    """The bound in bits per number of data N(0, 1), by the mean square x2 of each sample, scale of the data aside.

    With D exact, u = e^(2 lambda) and x_0 given, the error is (x_0^2 + u) / (1 + u)^2, so that

        int u error dlambda = [log(1 + u) + (1 - x_0^2) / (1 + u)] / 2  between the ends,

    to which come the entropy of the last noise and the divergence from the prior.
    """
    first, last = half_log_snr_span(module.process)

    def upper(level: float) -> Tensor:
        u = math.exp(2 * level)
        return 0.5 * (math.log1p(u) + (1 - x2) / (1 + u))

    grown = math.exp(-2 * last)
    prior = 0.5 * ((x2 + grown) / (1 + grown) - 1 + math.log1p(1 / grown))
    entropy = 0.5 * math.log(2 * math.pi * math.e) - first
    return (upper(first) - upper(last) + prior + entropy) / math.log(2)


def test_the_bound_of_normal_data_is_that_of_the_closed_form():
    """Sample by sample but for the draws of noise, whose chance the spread over samples tells: four of its errors."""
    task = points(2, location=0.3, scale=2.0)
    module = untrained(task)
    z = torch.randn(4096, 2, generator=torch.Generator().manual_seed(1))
    x2 = z.double().square().mean(1)
    excess = bound_scores(module, task.restored(z))["bound"].double() - closed_bound(module, x2) - 1  # scale 2: one bit
    assert abs(float(excess.mean())) < 4 * float(excess.std()) / math.sqrt(len(excess))
    # No bias from large to small x_0 either.
    fitted: Any = stats.linregress(x2.numpy(), excess.numpy())
    assert abs(fitted.slope) < 4 * fitted.stderr


@pytest.mark.parametrize(("process", "end"), [("edm", 40.0), ("vp", 1.0), ("linear_flow", 0.98)])
def test_the_bound_lies_above_the_exact_likelihood(process: str, end: float):
    """Averaged over the data it is the entropy of data with the last noise, above the cross entropy without."""
    task = points(2)
    module = untrained(task, process=process, process_options={"start": 0.05, "end": end})
    z = torch.randn(2048, 2, generator=torch.Generator().manual_seed(1))
    x2 = z.double().square().mean(1)
    excess = bound_scores(module, z)["bound"].double() - closed_bound(module, x2)
    assert abs(float(excess.mean())) < 4 * float(excess.std()) / math.sqrt(len(excess))  # of the draws of noise
    found = likelihood(module, z[:256], torch.zeros(256, dtype=torch.int64), nodes=None, rtol=1e-5, atol=1e-5)
    start = torch.tensor(module.process.start, dtype=torch.float64)
    s2 = float((module.process.sigma(start) / module.process.alpha(start)).square())

    def closed(square: float) -> float:
        return 0.5 * math.log(2 * math.pi * (1 + s2)) + 0.5 * square / (1 + s2)

    exact = -float(found.log_prob.mean()) / 2
    assert exact == pytest.approx(closed(float(x2[:256].mean())), abs=1e-4)  # some steps of tolerance 1e-5
    assert float(closed_bound(module, torch.ones(1, dtype=torch.float64))) > closed(1.0) / math.log(2)


@pytest.mark.parametrize(
    "network", [MLPDenoiser(8), DiTDenoiser(8, depth=1, heads=2), UNetDenoiser(8, groups=4, multipliers=(1,))], ids=type
)
def test_bits_of_grey_values_are_those_of_the_normal_density(network: DenoisingNetwork):
    """Attention and convolutions, too, are differentiated exactly: at their start they leave normal data alone."""
    module = untrained(grey(), copy.deepcopy(network))
    values = torch.randint(0, 17, (6, 1, 4, 4), dtype=torch.uint8)
    found = likelihood(module, values, torch.zeros(6, dtype=torch.int64), seed=5, nodes=None, rtol=1e-6, atol=1e-6)
    assert found.trace == "exact"
    noise = torch.rand(values.shape, generator=torch.Generator().manual_seed(5))
    z = (((values.double() + noise) * (2 / 17) - 1) + 0.2) / 0.7
    normal = torch.distributions.Normal(torch.zeros((), dtype=torch.float64), math.sqrt(1 + 0.02**2))
    expected = normal.log_prob(z).flatten(1).sum(1) - 16 * math.log(0.7)
    torch.testing.assert_close(found.log_prob, expected, rtol=0, atol=2e-4)
    bits = -(expected / 16 + math.log(2 / 17)) / math.log(2)
    torch.testing.assert_close(found.bits, bits, rtol=0, atol=1e-4)


def test_with_classes_the_likelihood_is_that_of_sample_and_class():
    shares = [0.5, 0.3, 0.2]
    plain = points(2)
    classed = GenerationTask(**{**plain.to_dict(), "classes": ["a", "b", "c"], "class_shares": shares})
    x, labels = torch.randn(6, 2), torch.arange(6) % 3
    with_classes = likelihood(untrained(classed), x, labels).log_prob
    without = likelihood(untrained(plain), x, torch.zeros(6, dtype=torch.int64)).log_prob
    expected = torch.tensor(shares, dtype=torch.float64).log()[labels]
    torch.testing.assert_close(with_classes - without, expected, rtol=0, atol=1e-6)


# Samples


def test_a_sample_follows_from_its_seed_alone():
    module = perturbed(untrained(points(3, classes=3)))
    seeds = torch.arange(64)
    for method in ("dpmpp_2m", "ancestral"):
        options = SamplingOptions(method, 4)
        together = draw(module, seeds, options=options)
        parts = [draw(module, seeds[first : first + 7], options=options) for first in range(0, 64, 7)]
        torch.testing.assert_close(torch.cat([part.values for part in parts]), together.values, rtol=1e-4, atol=1e-5)
        assert torch.equal(torch.cat([part.labels for part in parts]), together.labels)
        some = draw(module, [3, 5], options=options)
        torch.testing.assert_close(some.values, together.values[[3, 5]], rtol=1e-4, atol=1e-5)
        assert not torch.allclose(draw(module, seeds + 64, options=options).values, together.values)


def test_classes_are_drawn_as_often_as_in_training():
    shares = [0.6, 0.3, 0.1]
    labels = drawn_labels(shares, torch.arange(20_000))
    found = torch.bincount(labels, minlength=3) / 20_000
    for share, one in zip(shares, found, strict=True):
        assert float(one) == pytest.approx(share, abs=4 * math.sqrt(share * (1 - share) / 20_000))
    assert torch.equal(drawn_labels([], torch.arange(3)), torch.zeros(3, dtype=torch.int64))


def test_a_class_and_guidance_are_those_of_the_closed_form():
    """Classes at m_c and none at 0: what is drawn lies at m_c, and with guidance w at w m_c."""
    module = untrained(points(2, classes=3, location=1.0, scale=2.0), Centres())
    labels = torch.arange(12) % 3
    centres = torch.tensor(CENTRES)[labels].unsqueeze(1).expand(12, 2)
    drawn = draw(module, range(12), labels, options=SamplingOptions("dpmpp_2m", 6))
    torch.testing.assert_close(drawn.values, 2 * centres + 1, rtol=0, atol=1e-4)
    guided = draw(module, range(12), labels, options=SamplingOptions("dpmpp_2m", 6, guidance=2.5))
    torch.testing.assert_close(guided.values, 5 * centres + 1, rtol=0, atol=1e-4)


def test_evaluations_are_calls_of_the_network():
    module = untrained(points(2, classes=3), Centres())
    for options, calls in (
        (SamplingOptions("dpmpp_2m", 6), 6),
        (SamplingOptions("heun", 6), 11),
        (SamplingOptions("heun", 6, guidance=2.0), 22),
    ):
        Centres.asked.clear()
        assert draw(module, range(5), options=options).evaluations == len(Centres.asked) == calls


def test_the_way_is_told_step_by_step():
    module = perturbed(untrained(points(2)))
    told: list[tuple[int, float]] = []
    states: list[Tensor] = []

    def watch(step: int, t: float, x: Tensor) -> None:
        told.append((step, t))
        states.append(x.clone())

    drawn = draw(module, range(5), options=SamplingOptions("heun", 4), watch=watch)
    assert [step for step, _ in told] == [1, 2, 3, 4]
    assert [t for _, t in told] == sorted((t for _, t in told), reverse=True)
    assert told[-1][1] == 0
    torch.testing.assert_close(states[-1], drawn.values)
    again = draw(module, range(5), options=SamplingOptions("heun", 4))
    assert torch.equal(again.values, drawn.values)


def test_sampling_refuses_what_does_not_fit():
    plain, classed = untrained(points(2)), untrained(points(2, classes=3), label_dropout=0.0)
    for module, options, told in (
        (plain, {"method": "dpmpp_2"}, "unknown method 'dpmpp_2': did you mean 'dpmpp_2"),
        (plain, {"method": "dpmpp_3m", "steps": 2}, "steps=2 is out of range: dpmpp_3m makes at least 3"),
        (plain, {"steps": 0}, "steps=0 is out of range"),
        (plain, {"spacing": "log_snt"}, "did you mean 'log_snr'"),
        (plain, {"guidance": 2.0}, "this one has no classes: leave guidance out"),
        (classed, {"guidance": 2.0}, "was trained without label dropout"),
        (untrained(points(2, classes=3)), {"guidance": -1.0}, "guidance scale=-1.0 is out of range"),
        (untrained(points(2, classes=3)), {"guidance": math.inf}, "guidance scale=inf is out of range"),
    ):
        with pytest.raises(InputError, match=told):
            draw(module, range(4), options=sampling_options(module, **options))  # pyright: ignore[reportArgumentType]
    with pytest.raises(InputError, match="seeds must be whole numbers"):
        draw(plain, [0.5, 1.0])  # pyright: ignore[reportArgumentType]


def test_what_is_asked_of_a_sampler_stands_and_the_rest_is_the_modules_own():
    module = untrained(points(2, classes=3), sampler="heun", sampler_steps=7)
    assert sampling_options(module) == SamplingOptions("heun", 7, "karras", 1.0)
    assert sampling_options(module, steps=4, spacing="time") == SamplingOptions("heun", 4, "time", 1.0)
    # Nought is an answer of its own, which neither the module's steps nor full guidance may stand in for.
    assert sampling_options(module, method="ddim", steps=0, guidance=0.0) == SamplingOptions("ddim", 0, "karras", 0.0)


def test_a_network_that_is_lost_is_told_with_step_and_sample():
    module = untrained(points(2), Lost(8, blocks=1))
    with pytest.raises(InputError, match=r"of the seeds 10 to 17, counted from 0: dpmpp_2m: sample 3 is not finite"):
        draw(module, range(10, 18), options=SamplingOptions("dpmpp_2m", 6))


@pytest.mark.parametrize("nodes", [None, 4])
def test_a_likelihood_that_is_lost_is_told_with_the_samples(nodes: int | None):
    module, x = untrained(points(2), Lost(8, blocks=1)), torch.zeros(70, 2)
    with pytest.raises(InputError, match=r"^the likelihood of the samples 0 to 59, counted from 0, .* in sample 3; "):
        likelihood(module, x, torch.zeros(70, dtype=torch.int64), nodes=nodes)


def test_a_density_of_no_number_is_told_with_its_sample():
    """Where states are finite and their divergence is not, the solver of the states has nothing to say."""

    class Steep(MLPDenoiser):
        def forward(self, x: Tensor, noise: Tensor, labels: Tensor | None = None) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
            found = super().forward(x, noise, labels)
            bend = (x[5:6] - x[5:6].detach()).abs().sqrt()  # nought, with a slope that is no number
            return torch.cat([found[:5], found[5:6] + bend, found[6:]])

    module, none = untrained(points(2), Steep(8, blocks=1)), torch.zeros(8, dtype=torch.int64)
    with pytest.raises(InputError, match=r"samples 0 to 7, .* sample 5 has a density that is not finite; take"):
        likelihood(module, torch.zeros(8, 2), none, nodes=4)


# Completions


def chain(module: GenerationModule, steps: int, mean: float = 0.0, variance: float = 1.0) -> tuple[float, float]:
    """Return mean and deviation of what ancestral steps make of data N(mean, variance), by the law of the steps.

    Noise s = sigma at alpha = 1. From s to r the state is drawn from q(x_r | x_s, D), which is normal with mean
    (1 - k) D + k x_s and variance r^2 (1 - k), k = r^2 / s^2; D = (variance x_s + s^2 mean) / (variance + s^2).

    Source: Ho, Jain and Abbeel (2020), Denoising diffusion probabilistic models, Eq. 6 and 7.
    """
    noise = [float(module.process.sigma(t)) for t in step_times(module.process, steps)]
    m, v = 0.0, module.process.prior_scale() ** 2
    for s, r in pairwise(noise):
        k, slope = (r / s) ** 2, variance / (variance + s**2)
        factor = (1 - k) * slope + k
        m = factor * m + (1 - k) * (1 - slope) * mean
        v = factor**2 * v + r**2 * (1 - k)
    return m, math.sqrt(v)


def test_completions_keep_what_is_known_and_draw_what_is_not():
    """Components of normal data are independent: what is unknown has its own law, whatever is known."""
    task = points(4, location=1.0, scale=2.0)
    known = torch.tensor([True, False, True, False])
    values = torch.tensor([[5.0, 9e9, -3.0, 9e9]]).repeat(600, 1)
    module = untrained(task)
    filled = complete(module, values, torch.zeros(600, dtype=torch.int64), known, torch.arange(600), steps=30)
    torch.testing.assert_close(filled[:, known], values[:, known])
    for column in (1, 3):
        assert float(filled[:, column].mean()) == pytest.approx(1.0, abs=4 * 2 / math.sqrt(600))
        # Steps of the first order fall short of the deviation 1, by what their law says.
        assert float(filled[:, column].std()) == pytest.approx(2 * chain(module, 30)[1], rel=4 / math.sqrt(1200))


def test_a_noisy_measurement_is_weighed_against_the_prior():
    """Of z ~ N(0, 1) and y = z + n, n ~ N(0, s^2), the posterior is N(y / (1 + s^2), s^2 / (1 + s^2))."""
    task = points(2, location=1.0, scale=2.0)
    known = torch.tensor([True, False])
    values = torch.tensor([[5.0, 0.0]]).repeat(600, 1)  # y = 2 in the network's units
    module, none = untrained(GenerationTask(**{**task.to_dict(), "location": [1.0], "scale": [2.0]})), torch.zeros(600)
    filled = complete(module, values, none.long(), known, torch.arange(600), steps=40, noise=1.0)  # s = 1 / 2
    mean, deviation = chain(module, 40, mean=2 / 1.25, variance=0.25 / 1.25)
    assert float(filled[:, 0].mean()) == pytest.approx(1 + 2 * mean, abs=4 * 2 * deviation / math.sqrt(600))
    assert float(filled[:, 0].std()) == pytest.approx(2 * deviation, rel=4 / math.sqrt(1200))
    # In the limit of short steps it is the posterior, of which the mean given the last noise is told; to the first
    # order in the steps, so that of a hundred times as many a hundredth of the error is left, but for higher orders.
    limit = 0.2 / math.sqrt(0.2 + module.process.start**2)
    left = chain(module, 4000, mean=1.6, variance=0.2)[1] - limit
    assert left / (deviation - limit) == pytest.approx(0.01, rel=0.2)


@pytest.mark.parametrize(
    ("mask", "rows", "columns"),
    [
        ("upper", slice(0, 2), slice(None)),
        ("lower", slice(2, None), slice(None)),
        ("left", slice(None), slice(0, 2)),
        ("right", slice(None), slice(2, None)),
    ],
)
def test_halves_are_what_they_are_called(mask: str, rows: slice, columns: slice):
    known = read_mask(mask, grey())
    expected = torch.ones(1, 4, 4, dtype=torch.bool)
    expected[:, rows, columns] = False
    assert torch.equal(known, expected)


# Data of users


def pictures(folder: Path, *, size: int = 8, classes: tuple[str, ...] = ("disc", "stripe"), count: int = 20) -> Path:
    """Write small grey pictures, a folder for each class."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:size, 0:size]
    for name in classes:
        (folder / name).mkdir(parents=True)
        for i in range(count):
            shape = (x - rng.uniform(2, 5)) ** 2 + (y - rng.uniform(2, 5)) ** 2 < 5 if name == "disc" else x % 4 < 2
            image = np.clip(60 + 120 * shape + 10 * rng.standard_normal((size, size)), 0, 255)
            Image.fromarray(image.astype(np.uint8)).save(folder / name / f"{i}.png")
    return folder


def fit(module: GenerationModule, data: GenerationData, **options: Any) -> Trainer:
    trainer = Trainer(**{**QUIET, "max_steps": 3, "limit_val_batches": 1, "check_val_every_n_epoch": 1, **options})
    trainer.fit(module, data)
    return trainer


def test_a_folder_of_images_trains_and_is_drawn_from(tmp_path: Path):
    data = GenerationData(str(pictures(tmp_path / "mine")), batch_size=8)
    data.setup()
    assert (data.task.classes, data.task.levels, data.task.shape) == (["disc", "stripe"], 256, [1, 8, 8])
    assert [len(data.part(part)) for part in ("train", "validation", "test")] == [29, 3, 8]
    module = GenerationModule(MLPDenoiser(8, blocks=1), base="histogram", warmup_steps=0)
    trainer = fit(module, data)
    trainer.validate(module, data, verbose=False)
    assert math.isfinite(float(trainer.callback_metrics["validation/bound"]))
    drawn = draw(module, range(6), options=SamplingOptions("ddim", 3))
    assert drawn.values.shape == (6, 1, 8, 8)
    assert 0 <= int(drawn.values.min()) <= int(drawn.values.max()) <= 255


def test_arrays_of_users_train(tmp_path: Path):
    rng = np.random.default_rng(0)
    np.save(tmp_path / "points.npy", rng.standard_normal((60, 3)).astype(np.float32))
    np.save(tmp_path / "series.npy", rng.standard_normal((60, 2, 16)).astype(np.float32))
    np.save(tmp_path / "latents.npy", rng.standard_normal((60, 4, 8, 8)).astype(np.float16))
    np.savez(tmp_path / "two.npz", one=rng.standard_normal((60, 2)), other=rng.standard_normal((60, 5)))
    for file, network, options in (
        ("points.npy", "mlp", {}),
        ("series.npy", "unet", {}),
        ("series.npy", "ssm", {}),
        ("latents.npy", "dit", {}),
        ("two.npz", "mlp", {"array": "other"}),
    ):
        data = GenerationData(str(tmp_path / file), batch_size=16, **options)  # pyright: ignore[reportArgumentType]
        kind = load(f"integrand.apps.generation.models.{NETWORKS[network][0]}")
        module = GenerationModule(kind(16), warmup_steps=0)
        fit(module, data, max_steps=1)
        drawn = draw(module, range(2), options=SamplingOptions("ddim", 2))
        assert drawn.values.shape == (2, *data.task.shape), file
        assert bool(drawn.values.isfinite().all()), file


def test_resuming_is_exact(tmp_path: Path):
    """Weights, average, order and noise: what was stopped and went on is bit for bit what never stopped."""
    given: dict[str, Any] = {"samples": 80, "batch_size": 16}

    def module() -> GenerationModule:
        torch.manual_seed(0)
        return GenerationModule(MLPDenoiser(8, blocks=1), warmup_steps=2, learned_variance=True)

    whole = module()
    fit(whole, GenerationData("moons", **given), max_steps=-1, max_epochs=3)

    class Stop(Callback):
        def on_train_batch_end(self, trainer: Trainer, *args: Any, **kwargs: Any) -> None:
            if trainer.global_step == 5:
                trainer.save_checkpoint(tmp_path / "stopped.ckpt")
                trainer.should_stop = True

    fit(module(), GenerationData("moons", **given), max_steps=-1, max_epochs=3, callbacks=[Stop()])
    torch.manual_seed(99)
    again = module()
    trainer = Trainer(**QUIET, max_epochs=3, limit_val_batches=1)
    trainer.fit(again, GenerationData("moons", **given), ckpt_path=tmp_path / "stopped.ckpt", weights_only=True)
    assert whole.state_dict().keys() == again.state_dict().keys()
    for name, value in whole.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


def test_a_network_built_beforehand_is_taken():
    task = points(2)
    network = MLPDenoiser(8, blocks=1)
    network.build(task)
    module = GenerationModule(network, **EDM)
    module.build_networks(task)
    assert draw(module, range(3)).values.shape == (3, 2)
    image = MLPDenoiser(8, blocks=1)
    image.build(grey())
    seeing = GenerationModule(image, base="histogram")
    with pytest.raises(InputError, match="does not fit a network that was built otherwise"):
        seeing.build_networks(grey())
    with pytest.raises(InputError, match="has no parameters yet"):
        draw(GenerationModule(MLPDenoiser(8)), range(3))


def test_the_checkpoint_builds_it_again(tmp_path: Path):
    data = GenerationData("moons", samples=80, batch_size=16)
    module = GenerationModule(MLPDenoiser(8, blocks=1), warmup_steps=0, **EDM, sampler="heun", sampler_steps=5)
    trainer = fit(module, data)
    trainer.save_checkpoint(tmp_path / "one.ckpt")
    stored = torch.load(tmp_path / "one.ckpt", weights_only=True)
    again = GenerationModule.from_checkpoint(stored)
    assert sampling_options(again) == SamplingOptions("heun", 5)
    assert torch.equal(draw(again, range(5)).values, draw(module, range(5)).values)


@torch.no_grad()
def bound_scores(module: GenerationModule, values: Tensor) -> dict[str, Tensor]:
    return module.scores(GenerationBatch(values, torch.zeros(len(values), dtype=torch.int64)))[0]


def perturbed(module: GenerationModule) -> GenerationModule:
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in module.network.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return module


# What users get wrong


@pytest.mark.parametrize("task", APPLICATION.tasks, ids=lambda task: task.name)
def test_every_task_draws(task: Any):
    assert task.sample
    assert task.predict is None


@pytest.mark.parametrize("task", APPLICATION.tasks, ids=lambda task: task.name)
def test_every_task_but_flow_maps_has_a_likelihood(task: Any):
    # A flow map takes jumps, not a field along time, so there is no divergence to add up.
    assert bool(task.likelihood) == (task.name != "distillation")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"dataset": "digit"}, "unknown dataset 'digit': did you mean 'digits'"),
        ({"dataset": "digits", "samples": 100}, "unknown option of digits 'samples'"),
        ({"dataset": "moons", "samples": 3}, r"data\.samples=3 is out of range"),
        ({"dataset": "moons", "samples": 20}, r"moons has 20 samples, of which the shares .* leave 4 to the test"),
        ({"dataset": "digits", "batch_size": 0}, r"data\.batch_size=0 is out of range"),
        ({"dataset": "digits", "levels": 17}, "unknown option of digits 'levels'"),
    ],
)
def test_options_of_data_that_do_not_fit(options: dict, told: str):
    with pytest.raises(InputError, match=told):
        GenerationData(**options).setup()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"process": "edmm"}, "did you mean 'edm'"),
        ({"process_options": {"stat": 0.1}}, "stat"),
        ({"sampler": "dpm_2m"}, "unknown sampler 'dpm_2m': did you mean 'dpmpp_2m'"),
        ({"sampler": "dpmpp_3m", "sampler_steps": 2}, "sampler_steps=2 is out of range: dpmpp_3m makes at least 3"),
        ({"label_dropout": 1.0}, "label_dropout=1.0 is out of range"),
        ({"noise_deviation": 0.0}, "noise deviation=0 must be positive"),
    ],
)
def test_options_of_the_module_that_do_not_fit(options: dict, told: str):
    with pytest.raises(InputError, match=told):
        GenerationModule(MLPDenoiser(8), **options)


@pytest.mark.parametrize(
    ("network", "task", "told"),
    [
        ("dit", points(2), "model dit is for images and series: take --model mlp for points"),
        ("unet", points(2), "model unet is for images and series: take --model mlp for points"),
        ("ssm", grey(), "model ssm is for series, and these data are image"),
    ],
)
def test_networks_refuse_data_of_another_kind(network: str, task: GenerationTask, told: str):
    kind = load(f"integrand.apps.generation.models.{NETWORKS[network][0]}")
    with pytest.raises(InputError, match=told):
        kind(16).build(task)


def test_patches_must_divide_the_image():
    with pytest.raises(InputError, match=r"patch=3 must divide the shape \(4, 4\)"):
        DiTDenoiser(8, heads=2, patch=3).build(grey())
    with pytest.raises(InputError, match="heads=3 must divide width=8"):
        DiTDenoiser(8, heads=3).build(grey())


def test_a_histogram_is_for_grey_values():
    with pytest.raises(InputError, match="base=histogram is for grey values"):
        untrained(points(2), base="histogram")
