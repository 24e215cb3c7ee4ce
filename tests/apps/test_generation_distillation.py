"""Distillation from command to report: a student begins as its teacher and learns to jump; what users get wrong."""

import contextlib
import io
import json
import math
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning import Trainer

from integrand.apps.cli import main
from integrand.apps.generation import scoring
from integrand.apps.generation.data import GenerationData
from integrand.apps.generation.distillation import evaluation as scored
from integrand.apps.generation.distillation.module import DistilledModule
from integrand.apps.generation.sampling import SamplingOptions, draw, sampling_options
from integrand.apps.training.checkpoints import StoredRun
from integrand.apps.training.exported import load_exported
from integrand.apps.training.run_folder import RunFolder
from integrand.core.errors import InputError

SMALL = ("--trainer.accelerator", "cpu", "--trainer.check_val_every_n_epoch", "1")
QUICK = ("energy_distance", "precision_recall", "nearest_training")
POINTS = ("--task", "densities", "--dataset", "ring", "--data.samples", "400", "--model.network.width", "32")
QUIET: dict[str, Any] = {
    "accelerator": "cpu",
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "num_sanity_val_steps": 0,
}


def carried_out(*words: str) -> str:
    """Run a command that must succeed, its evaluation quickened, and return what it printed."""
    out = io.StringIO()
    with pytest.MonkeyPatch.context() as patched, contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        patched.setattr(scoring, "METRICS", QUICK)
        code = main(list(words))
    assert code == 0, out.getvalue()
    return out.getvalue()


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A diffusion of points. Tests must not change its files."""
    root = tmp_path_factory.mktemp("teacher")
    carried_out("train", "generation", "--runs", str(root), *POINTS, *SMALL, "--trainer.max_epochs", "40")
    return root / "generation" / "moons" / "1"


@pytest.fixture(scope="module")
def student(teacher: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run distilled from it. Tests must not change its files."""
    root = tmp_path_factory.mktemp("student")
    words = ("--trajectories", "600", "--knots", "8", "--steps", "2")
    carried_out("distill", str(teacher), "--runs", str(root), *words, *SMALL, "--trainer.max_steps", "150")
    return root / "generation" / "few_steps" / "1"


def built(teacher: Path, **options: Any) -> tuple[DistilledModule, GenerationData]:
    stored = StoredRun.of(RunFolder.open(teacher), "best").checkpoint["integrand"]
    data = GenerationData(**stored["data"])
    module = DistilledModule(teacher=teacher, **{"knots": 8, "trajectories": 300, **options})
    data.setup()
    module.build(data)
    return module, data


# A student begins as its teacher and learns to jump


def test_an_untrained_student_makes_steps_of_ddim(teacher: Path):
    module, _ = built(teacher, sampler_steps=8)
    drawn = draw(module, range(50))
    taught = module._taught_by[0]
    as_teacher = draw(taught, range(50), options=SamplingOptions("ddim", 8))
    torch.testing.assert_close(drawn.values, as_teacher.values)
    assert drawn.evaluations == 8


def test_training_brings_jumps_nearer_to_the_teachers_solutions(teacher: Path):
    module, data = built(teacher, sampler_steps=2, learning_rate=3e-3)
    exact = draw(module._taught_by[0], range(300), options=SamplingOptions("dpmpp_3m", 64)).values

    def miss() -> float:
        return float((draw(module, range(300)).values - exact).square().mean().sqrt())

    before = miss()
    torch.manual_seed(0)
    Trainer(max_steps=300, max_epochs=-1, check_val_every_n_epoch=None, limit_val_batches=0, **QUIET).fit(module, data)
    assert miss() < before / 2


def test_solutions_follow_from_their_seeds_alone(teacher: Path):
    first, second = (built(teacher)[0] for _ in range(2))
    few, many = first._solve(first._taught_by[0], 20), second._solve(second._taught_by[0], 600)
    torch.testing.assert_close(few.states, many.states[:20])
    assert torch.equal(few.labels, many.labels[:20])
    assert few.states.shape == (20, 9, 2)


def test_the_teachers_parameters_are_none_of_the_students(teacher: Path):
    module, _ = built(teacher)
    taught = {id(parameter) for parameter in module._taught_by[0].parameters()}
    assert not taught & {id(parameter) for parameter in module.parameters()}
    assert not any(name.startswith("_taught_by") for name in module.state_dict())


def test_more_jumps_than_one_are_counted_and_seeds_rule(student: Path, tmp_path: Path):
    for name, words in (("four", ("--seeds", "0-3")), ("one", ("--seeds", "2"))):
        said = carried_out("sample", str(student), *words, "--steps", "4", "--output", str(tmp_path / name))
        assert "samples.npy" in said
    four, one = (np.load(tmp_path / name / "samples.npy") for name in ("four", "one"))
    np.testing.assert_allclose(four[2], one[0], rtol=1e-5, atol=1e-6)


def test_the_run_tells_its_teacher_its_rivals_and_its_cost(teacher: Path, student: Path):
    results = json.loads((student / "results.json").read_text())
    assert results["task"] == "distillation"
    assert results["teacher"] == str(teacher)
    assert results["sampling"]["evaluations"] == 2
    names = list(results["metrics"])
    assert names[1:3] == ["teacher, dpmpp_2m 20", "teacher, unipc 2"]
    scores = results["metrics"]
    assert scores[names[0]]["miss"] < scores["teacher, unipc 2"]["miss"]
    assert all(math.isfinite(value) for row in scores.values() for value in row.values())
    assert results["gains"]["teacher, unipc 2"]["miss"]["gain"] > 0
    for figure in ("samples.png", "path.gif", "evaluations_per_sample.png", "nearest.png"):
        assert (student / "figures" / figure).is_file()
    assert not (student / "figures" / "likelihood.png").exists()


def test_evaluate_and_export_know_a_distilled_run(student: Path, tmp_path: Path):
    assert "miss" in carried_out("evaluate", str(student), "--accelerator", "cpu")
    carried_out("export", str(student), "--output", str(tmp_path))
    again = load_exported(tmp_path)
    assert isinstance(again, DistilledModule)
    assert again.knots == 8
    assert sampling_options(again).steps == 2


# What users get wrong


def refused(*words: str, capsys: pytest.CaptureFixture) -> str:
    assert main(list(words)) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1
    return said[0]


def test_what_a_distilled_run_cannot_do_is_told(student: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    tell = partial(refused, capsys=capsys)
    out = ("--output", str(tmp_path / "out"))
    assert "has flow_map alone" in tell("sample", str(student), "--method", "ddim", *out)
    assert "steps=9 is out of range: this run learned to make 1 to 8" in tell(
        "sample", str(student), "--steps", "9", *out
    )
    assert "guidance=2.0" in tell("sample", str(student), "--guidance", "2", *out)
    assert "spacing=log_snr" in tell("sample", str(student), "--spacing", "log_snr", *out)
    np.save(tmp_path / "points.npy", np.zeros((3, 2)))
    told = tell("likelihood", str(student), "--input", str(tmp_path / "points.npy"))
    assert "which has no likelihood of samples" in told
    assert not (tmp_path / "out").exists()


def test_a_teacher_that_is_none_is_refused(teacher: Path, student: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    tell, runs = partial(refused, capsys=capsys), ("--runs", str(tmp_path))
    assert "is a run of distillation, which is not distilled" in tell("distill", str(student), *runs)
    assert "missing RUN (folder of a run" in tell("distill", "--knots", "8")
    assert "model.teacher is missing" in tell("train", "generation", "--recipe", "few_steps", *runs)
    assert "unknown option '--dataset'" in tell("distill", str(teacher), "--dataset", "moons", *runs)
    assert "sampler_steps=9 is out of range" in tell("distill", str(teacher), "--steps", "9", "--knots", "8", *runs)
    assert "guidance=2 needs a model trained with and without" in tell(
        "distill", str(teacher), "--guidance", "2", *runs
    )
    told = tell("distill", str(teacher), "--data.samples", "500", *runs)
    assert "are not those of" in told
    assert "no run" in tell("distill", str(tmp_path / "nowhere"), *runs)
    assert not list(tmp_path.glob("generation/*/*/report.html"))


def test_a_flow_is_asked_of_the_teacher(student: Path, teacher: Path, tmp_path: Path):
    module, data = built(teacher)
    with pytest.raises(InputError, match="neither likelihood nor velocity: ask its teacher"):
        _ = module.flow
    module.teacher = tmp_path / "gone"
    with pytest.raises(InputError, match="is not there: evaluate compares with it"):
        scored.evaluate(module, data, name="mlp", seed=0, notify=print)
