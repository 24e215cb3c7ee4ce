"""``integrand analyze``: flows taken out of models, what layers are given, the page, and runs that are examined."""

import math
from pathlib import Path

import pytest
import torch
from examined import examined
from torch import Tensor, nn

from integrand.apps.analysis.flow import flow_of
from integrand.apps.analysis.flow_figures import plane_of
from integrand.apps.analysis.layer_inputs import layer_inputs
from integrand.apps.analysis.page import summary
from integrand.apps.analysis.precision import fitted
from integrand.apps.cli import main
from integrand.core.analysis import Finding
from integrand.core.layers import LRU, S5, ResidualStack
from integrand.core.numerics import SolverProblem, solve_ode, solved_by

PENDULUM = [
    *("--data.samples", "12", "--trainer.max_epochs", "3", "--model.network.hidden", "[8]"),
    *("--data.test_span", "12.0"),
]


def rotation(t: Tensor, y: Tensor) -> Tensor:
    return torch.stack([y[:, 1], -y[:, 0]], -1)


def test_a_flow_is_the_equation_that_the_model_solved():
    start, times = torch.eye(2, dtype=torch.float64), torch.tensor([0.0, 1.0], dtype=torch.float64)
    with solved_by(keep=True) as record:
        solve_ode(rotation, start, times, method="euler")
    flow = flow_of(record.problems[0], of="a rotation")
    assert flow is not None
    angle = float(flow.times[-1])
    exact = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]], dtype=torch.float64)
    torch.testing.assert_close(flow.states[:, -1], exact, rtol=0, atol=1e-6)  # whatever Euler's one step gave
    assert flow.autonomous
    assert plane_of(flow).whole
    few = flow.thinned(20)
    assert few.states.shape[0] * few.states.shape[1] * 2 <= 20
    torch.testing.assert_close(few.states[0, -1], flow.states[0, -1])


def test_what_drives_a_flow_follows_its_samples():
    def driven(t: Tensor, y: Tensor, rate: Tensor) -> Tensor:
        return -rate * y

    rate = torch.tensor([[1.0], [2.0]], dtype=torch.float64)
    start, times = torch.ones(2, 2, dtype=torch.float64), torch.tensor([0.0, 1.0], dtype=torch.float64)
    flow = flow_of(SolverProblem(driven, start, times, rate), of="decay")
    assert flow is not None
    torch.testing.assert_close(flow.states[:, -1, 0], torch.exp(-rate[:, 0]), rtol=0, atol=1e-7)
    torch.testing.assert_close(flow.field(times[0], start), -start)  # all as the first sample is


def test_flows_without_a_vector_as_their_state_are_left_alone():
    times = torch.tensor([0.0, 1.0], dtype=torch.float64)
    for shape in ((3, 1), (3, 2, 2)):
        problem = SolverProblem(lambda t, y: -y, torch.ones(shape, dtype=torch.float64), times, None)
        assert flow_of(problem, of="decay") is None


def test_a_problem_in_many_dimensions_is_seen_where_it_varies_most():
    turn = torch.linalg.qr(torch.randn(5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))[0]
    start = torch.tensor([[3.0, 1.0, 0.0, 0.0, 0.0], [-3.0, 1.0, 0, 0, 0], [0, -2, 0, 0, 0]], dtype=torch.float64)
    times = torch.tensor([0.0, 1.0], dtype=torch.float64)
    flow = flow_of(SolverProblem(lambda t, y: 0 * y, start @ turn, times, None), of="rest")
    assert flow is not None
    plane = plane_of(flow)
    assert not plane.whole
    spanned = plane.axes @ turn.T
    assert float(spanned[:, 2:].abs().max()) < 1e-9


def test_layers_are_told_what_they_were_given_within_the_shortest_sequence():
    torch.manual_seed(0)
    stack = ResidualStack([S5(4, d_state=4), LRU(4)])
    x, dt = torch.randn(2, 9, 4), torch.rand(2, 9)
    mask = torch.arange(9) < torch.tensor([[9], [6]])
    found = layer_inputs(stack, lambda module: module(x, dt, mask))
    assert [type(one.layer) for one in found] == [S5, LRU]
    for one in found:
        assert one.x.shape == (2, 6, 4)
        torch.testing.assert_close(one.dt, dt[:, :6])
    assert not any(layer._forward_pre_hooks for layer in stack.modules())


def test_batches_take_the_precision_of_the_module_that_is_asked():
    module = nn.Linear(2, 2).double()
    assert fitted(torch.zeros(1), module).dtype == torch.float64
    assert fitted(torch.zeros(1, dtype=torch.int64), module).dtype == torch.int64


def finding(verdict: str, instrument: str = "depth audit") -> Finding:
    return Finding(instrument=instrument, verdict=verdict, statement="It does so. And more.")  # pyright: ignore[reportArgumentType]


def test_the_gravest_verdict_is_told_first():
    told = [finding("told"), finding("sound"), finding("doubtful", "solver audit"), finding("flawed")]
    assert summary(told) == "Flawed by depth audit: it does so."
    assert summary(told[:3]) == "Doubtful by solver audit: it does so."
    assert summary(told[:1]) == "No instrument judges this model."
    assert "2 of 3" in summary([finding("sound"), finding("flawed"), finding("flawed", "solver audit")])


@pytest.fixture(scope="module")
def pendulum(tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = tmp_path_factory.mktemp("runs")
    assert main(["train", "physics", "--runs", str(runs), *PENDULUM]) == 0
    return runs / "physics" / "pendulum" / "1"


def test_a_pendulum_is_examined(pendulum: Path):
    stale = pendulum / "analysis" / "stale.png"
    stale.parent.mkdir()
    stale.write_bytes(b"of an analysis before")
    found = examined(pendulum)
    assert not stale.exists()
    assert {"solver audit", "depth audit", "gradient audit", "stiffness", "contraction", "fixed points"} <= set(found)
    assert found["invariant drift"]["verdict"] in ("sound", "doubtful", "flawed")
    assert found["solver audit"]["rows"][-1]["solver"] == "reference"
    drawn = {one.name for one in (pendulum / "analysis").glob("*.png")}
    assert {"portrait.png", "spectra.png", "evaluations.png", "solvers.png"} <= drawn


def test_a_forecaster_is_examined(tmp_path: Path, small_words: list[str]):
    words = [*small_words, "--trainer.max_epochs", "1", "--runs", str(tmp_path)]
    assert main(["train", "timeseries", *words]) == 0
    (run,) = (path.parent for path in tmp_path.glob("timeseries/*/1/config.yaml"))
    found = examined(run)
    assert {"solver audit", "gradient audit", "stiffness", "robustness audit"} <= set(found)
    kinds = {row["disturbance"] for row in found["robustness audit"]["rows"]}
    assert {"noise", "missing", "times", "attack, linf"} <= kinds
    assert any(name.startswith("memory of") for name in found)


def test_runs_of_which_nothing_is_told_and_folders_that_are_none_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "config.yaml").write_text("")
    (tmp_path / "environment.json").write_text('{"app": "medical", "task": "diagnosis", "seed": 0}')
    assert main(["analyze", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert "a run of diagnosis, of which analyze knows nothing yet" in error
    assert "physics dynamics" in error
    assert main(["analyze", str(tmp_path / "none")]) == 2
    assert "there is no run folder" in capsys.readouterr().err
