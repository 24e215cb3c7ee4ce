"""Pictures of a training and of a forecaster: that they are there, drawn, captioned, and show the right numbers."""

import json
import math
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image

from integrand.apps.timeseries.forecasting.evaluation import Evaluation, Example
from integrand.apps.timeseries.forecasting.figures import (
    broken_line,
    draw,
    gaps,
    principal_components,
)
from integrand.apps.timeseries.score_figures import reference, resampled
from integrand.apps.timeseries.scores import METRICS, ScoreSums
from integrand.apps.training.figures import (
    BASELINES,
    MODEL,
    draw_training,
    figure,
    read_captions,
    save,
    smooth,
    spread_apart,
    style,
)
from integrand.apps.training.run_folder import RunFolder
from integrand.datasets.forecasting import ForecastTask

MEANS = {"ssm_ode": 0.30, "persistence": 0.50, "seasonal naive": 0.60, "ridge": 0.40}


def a_task(channels: int = 3, horizon: float = 6.0, names: list[str] | None = None) -> ForecastTask:
    names = names or [f"channel {k}" for k in range(channels)]
    return ForecastTask(
        channels=names,
        targets=len(names),
        units=["degF", "", "mph", *[""] * len(names)][: len(names)],
        time_unit="h",
        context=12.0,
        horizon=horizon,
        resolution=1.0,
        periods=[],
        groups=[],
        location=[0.0] * len(names),
        scale=[1.0] * len(names),
    )


def sums_of(mean: float, shape: tuple[int, int, int]) -> ScoreSums:
    """Scores whose every metric is ``mean`` in every block, lead and channel, of ten observations each."""
    scores = ScoreSums(shape, np.ones(shape[2]))
    scores.sums = {name: np.full(shape, 10 * mean) for name in METRICS} | {"count": np.full(shape, 10.0)}
    scores.sums["coverage"] = np.full(shape, 9.0)
    return scores


def an_example(task: ForecastTask, seed: int, latent: int = 5) -> Example:
    rng = np.random.default_rng(seed)
    past = np.sort(rng.choice(np.arange(-11.0, 1.0), 8, replace=False))
    ahead = np.arange(1.0, task.horizon + 1)
    context = rng.normal(size=(len(past), task.targets))
    context[2:4, 0] = np.nan
    target = rng.normal(size=(len(ahead), task.targets))
    target[-1, -1] = np.nan
    return Example(
        group=f"station {seed}",
        title="2013-10-30 05:00",
        context_times=past,
        context=context,
        target_times=ahead,
        target=target,
        mean=np.zeros((len(ahead), task.targets)),
        std=np.ones((len(ahead), task.targets)),
        latent_times=np.linspace(0, task.horizon, 9),
        latent=rng.normal(size=(9, latent)).cumsum(0),
    )


def an_evaluation(task: ForecastTask, *, examples: list[Example] | None = None, blocks: int = 6) -> Evaluation:
    leads = round(task.horizon / task.resolution)
    shape = (blocks, leads, task.targets)
    return Evaluation(
        name="ssm_ode",
        scores={name: sums_of(mean, shape) for name, mean in MEANS.items()},
        leads=(np.arange(leads) + 1) * task.resolution,
        blocks=task.context + task.horizon,
        examples=[an_example(task, seed) for seed in range(4)] if examples is None else examples,
        evaluations=32.0,
        results={},
    )


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path, "timeseries", "weather")


def write_log(run: RunFolder, rows: int = 60, evaluations: float | None = 32) -> None:
    lines = ["step,epoch,train/evaluations,train/loss,validation/crps,validation/mae"]
    for i in range(rows):
        validation = f"{1 / (i + 1) + 0.2 * (i > 40)},{2 / (i + 1)}" if i % 10 == 9 else ","
        lines.append(f"{10 * i},0,{'' if evaluations is None else evaluations + i},{math.exp(-i / 20)},{validation}")
    run.metrics.write_text("\n".join(lines) + "\n")


def check_picture(path: Path, least_ink: float = 0.004) -> None:
    """A valid PNG of sensible size with something drawn, and the edges left white."""
    with Image.open(path) as image:
        image.load()
        assert image.format == "PNG"
        assert 400 <= image.width <= 1600
        assert 250 <= image.height <= 2500
        grey = np.asarray(image.convert("L"))
    assert (grey < 200).mean() > least_ink, "blank"
    frame = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    assert (frame < 250).mean() < 0.01, "cut off at an edge"


ALL = ["forecasts.png", "horizon.png", "latent.png", "channels.png", "calibration.png"]


def test_draws_every_picture_with_its_caption(run: RunFolder) -> None:
    task = a_task()
    draw(an_evaluation(task), run, task)
    captions = json.loads((run.figures / "captions.json").read_text())
    assert [entry["file"] for entry in captions] == ALL
    for entry in captions:
        assert set(entry) == {"file", "title", "caption"}
        assert len(entry["title"]) > 5
        assert len(entry["caption"]) > 60
        check_picture(run.figures / entry["file"])
    assert sorted(path.name for path in run.figures.iterdir()) == sorted([*ALL, "captions.json"])


def test_captions_count_what_is_certain(run: RunFolder) -> None:
    # 0.3 against 0.4 in every block: a gain of a quarter, whichever blocks are drawn.
    task = a_task()
    draw(an_evaluation(task), run, task)
    said = {entry["file"]: entry["caption"] for entry in read_captions(run.figures)}
    assert "clearly better at 6 and clearly worse at 0 of 6 of these" in said["horizon.png"]
    assert "clearly better on 3 and clearly worse on 0 of 3 channels" in said["channels.png"]
    assert "the model's intervals held 90.0 %" in said["calibration.png"]


@pytest.mark.parametrize(
    ("channels", "horizon", "examples"),
    [(1, 1.0, 4), (1, 6.0, 1), (2, 1.0, 2), (40, 2.0, 4), (5, 200.0, 3)],
)
def test_any_number_of_channels_leads_and_examples(
    run: RunFolder, channels: int, horizon: float, examples: int
) -> None:
    task = a_task(channels, horizon)
    draw(an_evaluation(task, examples=[an_example(task, s) for s in range(examples)]), run, task)
    for entry in read_captions(run.figures):
        check_picture(run.figures / entry["file"])
    assert len(read_captions(run.figures)) == len(ALL)


def test_one_latent_dimension_one_block_and_nothing_observed(run: RunFolder) -> None:
    task = a_task(2)
    example = an_example(task, 0, latent=1)
    example.context[:] = np.nan
    example.target[:] = np.nan
    draw(an_evaluation(task, examples=[example], blocks=1), run, task)
    assert len(read_captions(run.figures)) == len(ALL)


def test_leads_and_channels_without_any_observation(run: RunFolder) -> None:
    task = a_task(3)
    evaluation = an_evaluation(task)
    for one in evaluation.scores.values():
        for values in one.sums.values():
            values[:, 2, :] = 0
            values[:, :, 1] = 0
    draw(evaluation, run, task)
    for name in ALL:
        check_picture(run.figures / name)
    assert "of 2 channels" in {e["file"]: e["caption"] for e in read_captions(run.figures)}["channels.png"]


def test_names_with_mathematics_and_markup_are_drawn_as_they_are(run: RunFolder) -> None:
    task = a_task(names=["$x_1", "\\frac{<b>", "a very long channel name that would not fit anywhere"])
    draw(an_evaluation(task), run, task)
    assert len(read_captions(run.figures)) == len(ALL)


def test_no_example_and_no_baseline_draw_what_is_left(run: RunFolder) -> None:
    task = a_task()
    evaluation = an_evaluation(task, examples=[])
    for name in MEANS:
        if name != "ssm_ode":
            del evaluation.scores[name]
    assert reference(evaluation.name, evaluation.scores) is None
    draw(evaluation, run, task)
    assert [entry["file"] for entry in read_captions(run.figures)] == ["horizon.png", "calibration.png"]


def test_drawing_again_replaces_pictures_and_keeps_their_order(run: RunFolder) -> None:
    task = a_task(2, 3.0)
    evaluation = an_evaluation(task)
    draw(evaluation, run, task)
    before = {path.name: path.read_bytes() for path in run.figures.iterdir()}
    draw(evaluation, run, task)
    assert {path.name: path.read_bytes() for path in run.figures.iterdir()} == before


def test_the_model_is_drawn_in_its_colour(run: RunFolder) -> None:
    task = a_task()
    draw(an_evaluation(task), run, task)
    rgb = [int(MODEL[i : i + 2], 16) for i in (1, 3, 5)]
    for name in ALL[:2]:
        pixels = np.asarray(Image.open(run.figures / name).convert("RGB")).reshape(-1, 3)
        assert (np.abs(pixels - np.array(rgb)).max(1) < 3).sum() > 200


def test_bootstrap_of_closed_form_blocks() -> None:
    # Two blocks with means 0 and 1 of equal counts: a draw's mean is 0, 1/2 or 1 with chances 1/4, 1/2, 1/4.
    draws = resampled(np.array([[0.0], [10.0]]), np.array([[10.0], [10.0]]), resamples=8000)[:, 0]
    assert set(np.unique(draws)) == {0.0, 0.5, 1.0}
    chances = [np.mean(draws == value) for value in (0.0, 0.5, 1.0)]
    np.testing.assert_allclose(chances, [0.25, 0.5, 0.25], atol=5 * math.sqrt(0.25 / 8000))


def test_bootstrap_weighs_blocks_by_their_counts() -> None:
    draws = resampled(np.array([[2.0], [30.0]]), np.array([[1.0], [10.0]]), resamples=500)[:, 0]
    assert set(np.round(np.unique(draws), 12)) == {2.0, round(32 / 11, 12), 3.0}


def test_principal_components_of_a_known_ellipse() -> None:
    angle = np.linspace(0, 2 * np.pi, 400, endpoint=False)
    long, short = np.array([0.6, 0.8, 0.0]), np.array([-0.8, 0.6, 0.0])
    states = 7 + 3 * np.cos(angle)[:, None] * long + np.sin(angle)[:, None] * short
    mean, axes, share = principal_components(states, 2)
    np.testing.assert_allclose(mean, 7.0)
    np.testing.assert_allclose(np.abs(axes @ np.stack([long, short]).T), np.eye(2), atol=1e-12)
    np.testing.assert_allclose(share, [0.9, 0.1])  # variances 9/2 and 1/2


def test_a_line_breaks_where_hours_are_missing_or_values_are() -> None:
    times, values = broken_line(np.array([0.0, 1, 2, 3, 7]), np.array([5.0, 6, np.nan, 8, 9]), 1.5)
    np.testing.assert_array_equal(values, [5, 6, np.nan, 8, np.nan, 9])
    assert np.isnan(times[[2, 4]]).all()


def test_gaps_are_the_hours_without_a_value() -> None:
    task = a_task(1)  # 12 hours of context, observed by the hour
    times = np.arange(-11.0, 1.0)
    assert gaps(times, np.ones(12), task) == []
    values = np.ones(12)
    values[3:5] = np.nan  # -8 and -7
    assert gaps(times, values, task) == [(-8.5, 2.0)]


def test_smoothing_keeps_straight_lines_and_leaves_out_what_is_not_finite() -> None:
    line = np.arange(20.0)
    np.testing.assert_allclose(smooth(line, 5), line)
    np.testing.assert_allclose(smooth(np.array([1.0, np.nan, 3.0]), 3)[1], 2.0)


def test_labels_pushed_apart_do_not_overlap_and_stay_inside() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        sizes = rng.uniform(5, 20, 5).tolist()
        centres = rng.uniform(0, 120, 5).tolist()
        places = spread_apart(centres, sizes, 120.0)
        order = np.argsort(places)
        low = [places[i] - sizes[i] / 2 for i in order]
        high = [places[i] + sizes[i] / 2 for i in order]
        assert all(a <= b + 1e-9 for a, b in zip(high[:-1], low[1:], strict=True))
        assert low[0] >= -1e-9
        assert high[-1] <= 120 + 1e-9


def test_labels_far_apart_stay_where_they_are() -> None:
    assert spread_apart([80.0, 20.0], [10.0, 10.0], 100.0) == [80.0, 20.0]


def test_training_curves_name_the_best_validation(run: RunFolder) -> None:
    write_log(run)
    assert [path.name for path in draw_training(run)] == ["training.png", "evaluations.png"]
    for entry in read_captions(run.figures):
        check_picture(run.figures / entry["file"])
    said = {entry["file"]: entry["caption"] for entry in read_captions(run.figures)}
    assert "Lowest validation CRPS: 0.025, at step 390." in said["training.png"]  # 1 / 40, before 0.2 is added
    assert "Lowest validation MAE: 0.03333, at step 590." in said["training.png"]  # 2 / 60
    assert "went from 32 to 91" in said["evaluations.png"]


def test_training_without_a_log_without_evaluations_and_of_one_row(run: RunFolder) -> None:
    assert draw_training(run) == []
    write_log(run, evaluations=None)
    assert [path.name for path in draw_training(run)] == ["training.png"]
    run.metrics.write_text("step,epoch,train/loss\n4,0,nan\n")
    assert [path.name for path in draw_training(run)] == ["training.png"]


def test_drawing_leaves_matplotlib_as_it_was(run: RunFolder) -> None:
    before = dict(mpl.rcParams)
    with style():
        assert mpl.rcParams["axes.grid"]
        save(figure(4, 3), run.figures / "empty.png", "Nothing.")
    assert dict(mpl.rcParams) == before
    assert read_captions(run.figures) == [{"file": "empty.png", "title": "Empty", "caption": "Nothing."}]
    (run.figures / "empty.png").unlink()
    assert read_captions(run.figures) == []


# Machado, Oliveira and Fernandes (2009), Table 1, severity 1.0; for linear RGB.
DEUTERANOPIA = np.array(
    [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]]
)
PROTANOPIA = np.array(
    [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
)


@pytest.mark.parametrize("sight", [np.eye(3), DEUTERANOPIA, PROTANOPIA], ids=["normal", "deuteranopia", "protanopia"])
def test_the_model_stands_out_from_every_baseline_for_colour_blind_readers(sight: np.ndarray) -> None:
    def lab(colour: str) -> np.ndarray:
        srgb = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
        linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
        seen = np.clip(sight @ linear, 0, 1)
        to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
        xyz = to_xyz @ seen / np.array([0.9505, 1.0, 1.089])
        f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
        return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])

    for colour, _ in BASELINES:
        assert np.linalg.norm(lab(MODEL) - lab(colour)) > 25  # ten times what the eye can just tell apart
