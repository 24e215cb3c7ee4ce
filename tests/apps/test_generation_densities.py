"""Densities of the plane: the likelihood of exact flows, the network's waves, and the pictures of a model."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from matplotlib import colormaps
from PIL import Image, ImageSequence
from scipy import stats
from torch import Tensor

from integrand.apps.generation.data import GenerationData
from integrand.apps.generation.densities import TOLERANCE, likelihood
from integrand.apps.generation.models.mlp import MLPDenoiser
from integrand.apps.generation.models.waves import Waves
from integrand.apps.generation.module import GenerationModule
from integrand.apps.generation.planar import Plane, survey
from integrand.apps.generation.planar_figures import draw_density, draw_flow, draw_planar_path
from integrand.apps.generation.task import GenerationTask
from integrand.apps.training.figures import read_captions, style
from integrand.core.diffusion.likelihood import log_prob
from integrand.core.diffusion.probability_flow import ProbabilityFlow
from integrand.core.diffusion.processes import process
from integrand.core.errors import InputError
from integrand.datasets.synthetic.planar.checkerboard import Checkerboard
from integrand.datasets.synthetic.planar.moons import Moons

RECIPES = Path(__file__).parents[2] / "apps" / "generation" / "recipes"


def plain_task(**changes) -> GenerationTask:
    told = {"kind": "points", "shape": [2], "channels": ["x", "y"], "location": [0.0, 0.0], "scale": [1.0, 1.0]}
    return GenerationTask(**{**told, **changes})


class ExactCheckerboard:
    """The mean of the clean data and the density with normal noise of the dark squares, in deviations of the data.

    A dark square is where both coordinates lie in even columns, or both in odd ones. With the mass m_k and the first
    moment of each interval under N(x, t^2), cut off at its ends, everything is a sum of two products.
    """

    def __init__(self, scale: float) -> None:
        self.edges = torch.arange(-2, 3, dtype=torch.float64) * Checkerboard().side / scale
        self.area = 8 * (Checkerboard().side / scale) ** 2

    def __call__(self, t: Tensor, x: Tensor) -> Tensor:
        x, t = x.double(), t.double()
        mass, moment = self._intervals(x, t)
        (a, b), (u, v) = mass.unbind(1), moment.unbind(1)
        total = (a * b).sum(1)
        return torch.stack([(u * b).sum(1) / total, (a * v).sum(1) / total], dim=1)

    def log_density(self, t: Tensor, x: Tensor) -> Tensor:
        mass, _ = self._intervals(x.double(), t.double())
        return mass.prod(1).sum(1).log() - math.log(self.area)

    def _intervals(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """Return masses and first moments of even and of odd columns, (B, 2, 2) each."""
        z = (self.edges - x.unsqueeze(-1)) / t
        # On the far side both distribution functions are 1 to rounding; their mirror images are small.
        mass = torch.where(
            z[..., 1:] + z[..., :-1] > 0,
            torch.special.ndtr(-z[..., :-1]) - torch.special.ndtr(-z[..., 1:]),
            torch.special.ndtr(z[..., 1:]) - torch.special.ndtr(z[..., :-1]),
        )
        drop = -torch.exp(-0.5 * z.square()).diff(dim=-1) / math.sqrt(math.tau)
        moment = x.unsqueeze(-1) * mass + t * drop
        return tuple(each.unflatten(-1, (2, 2)).sum(-2) for each in (mass, moment))  # pyright: ignore[reportReturnType]


class ExactMoons:
    """The mean of the clean data of two arcs with normal noise, as a sum over many points of the arcs."""

    def __init__(self, scale: float) -> None:
        angle = (torch.arange(150, dtype=torch.float64) + 0.5) / 150 * math.pi
        upper = torch.stack([angle.cos(), angle.sin()], dim=1)
        self.places = torch.cat([upper, torch.tensor([1.0, 0.5]) - upper]) / scale
        self.variance = (0.1 / scale) ** 2

    def __call__(self, t: Tensor, x: Tensor) -> Tensor:
        x, total = x.double(), self.variance + t.double().square()
        share = (-(x.unsqueeze(1) - self.places).square().sum(-1) / (2 * total)).softmax(1)
        mean = share @ self.places
        return mean + self.variance / total * (x - mean)


@pytest.mark.parametrize(
    ("recipe", "density", "exact", "scale"),
    [("checkerboard", Checkerboard(), ExactCheckerboard, 2.566), ("moons", Moons(), ExactMoons, 0.7)],
)
def test_an_exact_flow_has_the_true_likelihood_by_the_recipe_and_its_tolerance(recipe, density, exact, scale):
    """What noise is left at ``start`` blurs edges, and the solver errs: both together by less than 0.005 nats."""
    options = yaml.safe_load((RECIPES / f"{recipe}.yaml").read_text())["model"]
    path = process(options["process"], **options["process_options"])
    x = density.sample(500, seed=11)
    flow = ProbabilityFlow(path, lambda t, z: exact(scale)(t, z).to(z.dtype))
    tolerance = TOLERANCE["points"]
    found = log_prob(flow, torch.from_numpy(x).float() / scale, rtol=tolerance, atol=tolerance).log_prob
    gap = density.log_density(x) - (found.detach().double().numpy() - 2 * math.log(scale))
    assert abs(gap.mean()) < 0.005


def test_an_exact_flow_has_the_density_of_the_blurred_checkerboard_at_every_point():
    exact, start = ExactCheckerboard(2.566), torch.tensor(0.05, dtype=torch.float64)
    x = torch.from_numpy(Checkerboard().sample(200, seed=5)) / 2.566
    x = x + start * torch.randn(x.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = log_prob(ProbabilityFlow(process("edm", start=0.05, end=300.0), exact), x, rtol=1e-8, atol=1e-8).log_prob
    assert float((found.detach() - exact.log_density(start, x)).abs().max()) < 1e-4


def test_waves_are_means_over_the_noise():
    """E cos(w (y + s e)) = exp(-(w s)^2 / 2) cos(w y), here by Gauss's rule."""
    nodes, shares = (torch.from_numpy(each) for each in np.polynomial.hermite_e.hermegauss(60))
    shares = shares / shares.sum()
    y, level = torch.tensor([[0.3, -1.1], [2.0, 0.4]], dtype=torch.float64), torch.tensor([0.1, 0.7]).double()
    told = Waves(5)(y / (1 + level.square()).sqrt().unsqueeze(1), level.log() / 4)
    frequency = math.pi / 4 * 2.0 ** torch.arange(5).double()
    angle = frequency[:, None] * (y[..., None, None] + level[:, None, None, None] * nodes)
    wanted = [((wave * shares).sum(-1)).flatten(1) for wave in (angle.cos(), angle.sin())]
    torch.testing.assert_close(told, torch.cat(wanted, dim=1), rtol=1e-4, atol=1e-5)


def fitted(waves: int | None, data: GenerationData, seed: int) -> float:
    """Train for a moment and return the validation bound, in bits per dimension."""
    torch.manual_seed(seed)
    module = GenerationModule(MLPDenoiser(48, blocks=2, dropout=0.0, waves=waves), process_options={"start": 0.005})
    module.build(data)
    optimizer, part = torch.optim.Adam(module.parameters(), lr=3e-3), data.part("train")
    for step in range(250):
        loss, _ = module.loss(part.__getitems__(list(range(128 * step, 128 * step + 128))))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    module.eval()
    with torch.no_grad():
        return float(module.scores(data.part("validation").whole())[0]["bound"].mean())


def test_waves_let_a_network_learn_sharp_edges_sooner():
    """The mean gain of trainings that share data, seed and the noise of validation is above 0 at a level of 1 %.

    Student's one-sided interval of the differences over seeds: chance alone, of which training has much, would pass
    once in a hundred times, and how large the gain is does not enter.
    """
    data = GenerationData("checkerboard", conditional=False, samples=4000)
    data.setup()
    gains = [fitted(None, data, seed) - fitted(8, data, seed) for seed in range(4)]
    told: Any = stats.ttest_1samp(gains, 0.0, alternative="greater")
    assert told.pvalue < 0.01


def test_waves_out_of_range_are_refused():
    with pytest.raises(InputError, match="waves=0"):
        MLPDenoiser(waves=0).build(plain_task())


def normal(task: GenerationTask) -> GenerationModule:
    """An untrained module: its network is zero, so that its denoiser is the exact one of normal data."""
    torch.manual_seed(0)
    module = GenerationModule(MLPDenoiser(8, waves=3), process_options={"start": 0.001, "end": 40.0})
    module.build_networks(task)
    return module.eval()


def test_the_likelihood_of_points_is_that_of_normal_data():
    task = plain_task(location=[1.0, -2.0], scale=[0.5, 3.0])
    x = torch.tensor([[1.0, -2.0], [1.5, 4.0], [0.2, -1.0]])
    found = likelihood(normal(task), x, torch.zeros(3, dtype=torch.int64)).log_prob
    parts = [torch.distributions.Normal(1.0, 0.5).log_prob(x[:, 0]), torch.distributions.Normal(-2.0, 3.0)]
    wanted = parts[0] + parts[1].log_prob(x[:, 1])
    torch.testing.assert_close(found, wanted.double(), rtol=0, atol=1e-3)


def normal_plane(points: int = 40) -> tuple[Plane, Tensor, GenerationTask]:
    task = plain_task(location=[1.0, 0.0], scale=[2.0, 2.0])
    samples = torch.tensor([1.0, 0.0]) + 2 * torch.randn(900, 2, generator=torch.Generator().manual_seed(1))
    plane = survey(
        normal(task), samples, lambda x: -0.125 * ((x - [1, 0]) ** 2).sum(1) - math.log(8 * math.pi), points=points
    )
    assert plane is not None
    return plane, samples, task


def test_a_survey_finds_the_density_where_it_says():
    plane, _, _ = normal_plane()
    distance = (plane.x[None, :] - 1) ** 2 + plane.y[:, None] ** 2
    wanted = np.exp(-distance / 8) / (8 * math.pi)
    assert plane.true is not None
    np.testing.assert_allclose(plane.true, wanted, rtol=1e-5)
    # Each point is drawn in a colour of its own, nothing between them, of so many up to 1.1 of the peak: less than one
    # of these shows nobody anything else than the density itself would.
    colour = 1.1 * wanted.max() / colormaps["Blues"].N
    np.testing.assert_allclose(plane.learned, wanted, rtol=0, atol=colour)


def test_a_survey_finds_the_flow_of_normal_data():
    """D = c + (u - c) / (1 + s^2), so that the flow leads to the centre c at a rate s^2 / (1 + s^2)."""
    plane, samples, _ = normal_plane(4)
    for view in plane.views:
        away = np.stack(np.meshgrid(view.x - 1, view.y), axis=-1)
        np.testing.assert_allclose(view.velocity, -(view.level**2) / (1 + view.level**2) * away, atol=2e-5)
        # The deviation of N normal numbers is known to 1 / sqrt(2 N): four of these errors.
        assert view.particles.std(0) == pytest.approx(2 * math.hypot(1, view.level), rel=4 / math.sqrt(2 * 600))
        assert len(view.particles) == 600
        assert len(view.particles) <= len(samples)
    assert [view.level for view in plane.views] == sorted((view.level for view in plane.views), reverse=True)


@pytest.mark.parametrize("changes", [{"shape": [3]}, {"classes": ["a", "b"], "class_shares": [0.5, 0.5]}])
def test_only_points_of_the_plane_without_classes_are_surveyed(changes):
    size = changes.get("shape", [2])[0]
    numbers = {"channels": list("xyz")[:size], "location": [0.0] * size, "scale": [1.0] * size}
    assert survey(normal(plain_task(**changes, **numbers)), torch.randn(50, size), None) is None


@pytest.mark.parametrize("known", [True, False])
def test_pictures_of_the_plane_are_drawn_with_captions(known: bool, tmp_path: Path):
    plane, samples, task = normal_plane(12)
    with style():
        draw_density(plane if known else plane._replace(true=None), samples, task, tmp_path / "density.png")
        draw_flow(plane, task, tmp_path / "flow.png")
    told = {each["file"]: each["caption"] for each in read_captions(tmp_path)}
    assert set(told) == {"density.png", "flow.png"}
    assert ("drawn from" in told["density.png"]) == known
    wide = [Image.open(tmp_path / name).size[0] for name in told]
    assert (wide[0] > 1400) == known


def test_the_path_shows_its_points_from_the_first_frame_to_the_last(tmp_path: Path):
    """Noise of forty times the data's spread is drawn at the size of the data, so that no frame is empty."""
    generator = torch.Generator().manual_seed(0)
    states = torch.tensor([40.0, 6.0, 1.0])[:, None, None] * torch.randn(200, 2, generator=generator)
    with style():
        draw_planar_path(tmp_path / "path.gif", states, plain_task(scale=[3.0, 3.0]))
    film = Image.open(tmp_path / "path.gif")
    frames = [np.asarray(frame.convert("RGB")).astype(int) for frame in ImageSequence.Iterator(film)]
    assert len(frames) >= 3  # equal frames at the end are one
    blue = [int(((frame[..., 2] - frame[..., 0]) > 60).sum()) for frame in (frames[0], frames[-1])]
    assert blue[0] == pytest.approx(blue[1], rel=0.2)
    assert blue[0] > 500
