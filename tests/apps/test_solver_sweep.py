"""A trained equation solved in other ways: costs by hand, the same answer in the end, nothing left changed."""

from pathlib import Path

import pytest
import torch

from integrand.apps.timeseries import solver_sweep
from integrand.apps.timeseries.forecasting.data import ForecastingData
from integrand.apps.timeseries.forecasting.models.gru_d import GRUDForecaster
from integrand.apps.timeseries.forecasting.models.ssm_ode import SSMODE
from integrand.apps.timeseries.forecasting.module import ForecastingModule
from integrand.apps.timeseries.solver_sweep import draw_costs, sweep
from integrand.apps.training.figures import read_captions, style
from integrand.core.models import NeuralODE


@pytest.fixture(scope="module")
def data(small_csv: Path) -> ForecastingData:
    made = ForecastingData(str(small_csv), context=12, horizon=6, drop=(0.0, 0.0))
    made.setup()
    return made


def a_module(data: ForecastingData, kind: type = SSMODE) -> ForecastingModule:
    torch.manual_seed(0)
    module = ForecastingModule(kind())
    module.network.build(data.task)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return module.eval()


def test_evaluations_are_steps_times_stages_and_fine_solutions_agree(data: ForecastingData):
    module = a_module(data)
    costs = sweep(module, data.windows("test").__getitems__([0, 1]))
    assert (costs[0].method, costs[0].setting) == ("rk4", None)
    counts = {(cost.method, cost.setting): cost.evaluations for cost in costs}
    stages = {"euler": 1, "midpoint": 2, "rk4": 4}
    for method, each in stages.items():
        assert [counts[method, step] for step in solver_sweep.STEPS] == [each * n for n in (4, 8, 16, 32)]
    by_way = {(cost.method, cost.setting): cost.crps for cost in costs}
    assert by_way["rk4", 1 / 32] == pytest.approx(by_way["dopri5", 1e-5], rel=1e-4)


def test_the_module_is_left_as_it_was(data: ForecastingData):
    module = a_module(data)
    flow = next(part for part in module.modules() if isinstance(part, NeuralODE))
    before = flow.method, flow.step_size, flow.rtol, flow.atol
    sweep(module, data.windows("test").__getitems__([0]))
    assert (flow.method, flow.step_size, flow.rtol, flow.atol) == before


def test_a_network_without_an_equation_to_solve_has_no_costs(data: ForecastingData):
    assert sweep(a_module(data, GRUDForecaster), data.windows("test").__getitems__([0])) == []


def test_a_way_that_fails_is_left_out_and_the_others_are_drawn(
    data: ForecastingData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(solver_sweep, "TOLERANCES", (1e-30,))  # finer than single precision can tell
    costs = sweep(a_module(data), data.windows("test").__getitems__([0]))
    assert {cost.method for cost in costs} == {"euler", "midpoint", "rk4"}
    with style():
        draw_costs(costs, 1, tmp_path / "speed.png")
    (said,) = read_captions(tmp_path)
    assert "at 16 evaluations" in said["caption"]
