"""Networks trained to use the errors of their solver, and networks that are not, told apart."""

import math

import pytest
import torch
from torch import Tensor, nn

from integrand.core.analysis import in_float64, relative_change, solver_audit
from integrand.core.errors import InputError
from integrand.core.fields import MLP, Linear
from integrand.core.models import NeuralODE
from integrand.core.numerics import Semilinear, solve_cde, solve_ode, solve_sde, solve_semilinear
from integrand.core.paths import LinearPath

X = torch.linspace(-1, 1, 33).unsqueeze(1)


def ask(module: nn.Module) -> Tensor:
    return module(X.to(next(module.parameters())), [0.0, 1.0]).states[:, -1]


def trained(model: NeuralODE, target: Tensor, steps: int, rate: float) -> float:
    """Fit the end to the target and return the error reached."""
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    for _ in range(steps):
        optimizer.zero_grad()
        loss = (ask(model) - target).square().mean()
        loss.backward()
        optimizer.step()
    return (ask(model) - target).square().mean().item()


def error_against(target: Tensor):
    return lambda states: (states - target.to(states)).square().mean().item()


def test_a_crossing_learned_with_euler_is_found_out():
    """x -> -x: solutions on a line do not cross, Euler's steps may jump over one another."""
    torch.manual_seed(0)
    model = NeuralODE(MLP(1, (32,), time=True), method="euler", step_size=0.25)
    with torch.no_grad():  # steep from the start, for a gentle field stays with the best that a flow can do
        for parameter in model.parameters():
            parameter.mul_(3)
    assert trained(model, -X, 300, 0.02) < 0.05 * X.square().mean().item()
    found = solver_audit(model, ask, score=error_against(-X))
    assert found.verdict == "flawed"
    assert found.statement.startswith("The answer belongs to the step, not to the equation")
    # Whatever increasing map the flow makes of the points, its best one against -x is constant: a third of their range.
    assert found.numbers["score of the equation"] > X.square().mean().item() * 0.99
    assert found.numbers["change"] > 0.5
    assert "(worse)" in found.statement
    assert model.method == "euler"
    assert next(model.parameters()).dtype == torch.float32


def test_a_contraction_learned_at_tolerance_is_sound():
    torch.manual_seed(0)
    model = NeuralODE(MLP(1, (16,)), rtol=1e-5, atol=1e-5)
    target = X / 2 + 0.3
    assert trained(model, target, 150, 0.02) < 1e-3
    found = solver_audit(model, ask, score=error_against(target))
    assert found.verdict == "sound", found.statement
    assert found.numbers["change"] < 1e-3


def exact_decay(method: str, **how: float) -> NeuralODE:
    model = NeuralODE(Linear(1, bias=False), method=method, **how)  # pyright: ignore[reportArgumentType]
    with torch.no_grad():
        next(model.parameters()).fill_(-1.0)
    return model


@pytest.mark.parametrize(("steps", "verdict"), [(4, "flawed"), (16, "doubtful"), (256, "sound")])
def test_the_change_is_the_error_of_the_steps(steps: int, verdict: str):
    """Of y' = -y, whose Euler answer (1 - 1/n)^n x and exact answer x / e are known."""
    found = solver_audit(exact_decay("euler", step_size=1 / steps), ask)
    expected = abs((1 - 1 / steps) ** steps * math.e - 1)
    assert found.numbers["change"] == pytest.approx(expected, rel=1e-3)
    assert found.verdict == verdict
    rows = {row["solver"]: row for row in found.rows}
    halves = abs((1 - 1 / (2 * steps)) ** (2 * steps) * math.e - 1)
    assert rows["the same, steps 2 times shorter"]["change"] == pytest.approx(halves, rel=1e-6)
    assert rows["dopri5, tolerance 1e-06"]["change"] == pytest.approx(0, abs=1e-5)
    assert rows["euler at the model's step"]["evaluations"] == steps
    assert rows["reference"]["change"] == 0


def test_methods_are_compared_at_the_mean_step_of_an_adaptive_one():
    found = solver_audit(exact_decay("dopri5"), ask)
    rows = {row["solver"]: row for row in found.rows}
    work = {name: float(row["evaluations"]) for name, row in rows.items()}
    steps = work["euler at the model's step"]
    assert work["rk4 at the model's step"] == 4 * steps
    assert work["as the model is used"] >= 6 * steps


def test_an_equation_that_only_coarse_steps_survive_is_flawed():
    """y' = y^2 from 2 is infinite at 1/2; one Euler step over it is not."""

    class Square(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))

        def forward(self, t: Tensor, y: Tensor) -> Tensor:
            return self.scale * y**2

    found = solver_audit(
        NeuralODE(Square(), method="euler"),
        lambda module: module(torch.full((2, 1), 2.0).to(next(module.parameters())), [0.0, 1.0]).states[:, -1],
    )
    assert found.verdict == "flawed"
    assert "no finite solution" in found.statement


class Whole(nn.Module):
    """A parameter and a solve of some kind with it."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = nn.Parameter(torch.tensor(rate))


def test_stochastic_equations_are_compared_on_the_same_noise():
    """dy = y dW / 2: Milstein on 64 steps is near its limit path by path, 1 Euler step is not."""

    def asking(**how: object):
        def answer(module: nn.Module) -> Tensor:
            rate = next(module.parameters())
            start = torch.ones(32, 1).to(rate)
            solved = solve_sde(lambda t, y: 0 * y, lambda t, y: rate * y, start, [0.0, 1.0], **how)  # pyright: ignore[reportArgumentType]
            return solved.states[:, -1]

        return answer

    coarse = solver_audit(Whole(0.5), asking(method="euler"))
    fine = solver_audit(Whole(0.5), asking(method="milstein", step_size=1 / 32))
    assert coarse.verdict == "flawed"
    assert fine.verdict == "sound", fine.statement


def test_controlled_and_semilinear_equations_are_audited_too():
    knots = torch.linspace(0, 1, 5, dtype=torch.float64)
    walk = torch.tensor([0.0, 1.0, -0.5, 2.0, 1.0], dtype=torch.float64)

    def controlled(module: nn.Module) -> Tensor:
        rate = next(module.parameters())
        like = torch.linspace(-1, 1, 8).unsqueeze(1).to(rate)
        path = LinearPath(walk.to(rate).expand(8, -1).unsqueeze(-1), knots.to(rate))
        return solve_cde(lambda t, z: (rate * z).unsqueeze(-1), path, like, [0.0, 1.0], method="euler").states[:, -1]

    found = solver_audit(Whole(1.0), controlled)
    euler = (1 + walk.diff()).prod().item()  # one step an interval
    assert found.numbers["change"] == pytest.approx(abs(euler / math.e - 1), rel=1e-6)
    assert found.verdict == "flawed"

    def semilinear(module: nn.Module) -> Tensor:
        rate = next(module.parameters())
        like = torch.linspace(-1, 1, 8).unsqueeze(1).to(rate)
        field = Semilinear(-rate.detach().view(1), lambda t, y: 0 * y + rate)
        return solve_semilinear(field, like, [0.0, 1.0], method="etd1").states[:, -1]

    assert solver_audit(Whole(1.0), semilinear).verdict == "sound"  # exact where N is constant


def test_steps_of_each_samples_own_are_compared_with_fixed_ones():
    def own(module: nn.Module) -> Tensor:
        rate = next(module.parameters())
        return solve_ode(lambda t, y: -rate * y, X.to(rate), [0.0, 1.0], stepping="per_sample").states[:, -1]

    found = solver_audit(Whole(1.0), own)
    assert found.verdict == "sound"
    assert all(math.isfinite(float(row["change"])) for row in found.rows)


def test_a_model_without_equations_is_told_so():
    assert solver_audit(nn.Linear(1, 1), lambda module: module(X)).verdict == "told"


def test_mistakes_have_one_line():
    model = exact_decay("euler")
    with pytest.raises(InputError, match="gives two different answers"):
        solver_audit(model, lambda module: ask(module) + torch.randn(33, 1))
    with pytest.raises(InputError, match=r"let ask cast its inputs"):
        solver_audit(model, lambda module: ask(module).float())
    with pytest.raises(InputError, match="better='most' must be"):
        solver_audit(model, ask, better="most")  # pyright: ignore[reportArgumentType]


def test_a_relative_change_is_a_share_of_the_spread():
    reference = torch.tensor([[10.0], [12.0]])
    assert relative_change(reference + 0.5, reference) == pytest.approx(0.5)
    assert relative_change(torch.tensor([3.0]), torch.tensor([4.0])) == pytest.approx(0.25)
    assert relative_change(reference * math.inf, reference) == math.inf
    with pytest.raises(InputError, match="shapes"):
        relative_change(torch.ones(2), torch.ones(3))


def test_a_copy_in_double_precision_leaves_the_module():
    module = nn.Linear(2, 2)
    copy = in_float64(module)
    assert (copy.weight.dtype, module.weight.dtype) == (torch.float64, torch.float32)
    assert copy.weight.data_ptr() != module.weight.data_ptr()
