"""Steps of each sample's own: no sample sees its companions, and a hard one costs what it costs alone."""

from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
import torchdiffeq
from torch import Tensor, nn

from integrand.core.fields import MLP
from integrand.core.numerics.solution import Status
from integrand.core.numerics.solve_ode import SolveError, solve_ode
from integrand.core.numerics.stepping.step_control import StepControl

torch64 = torch.float64
METHODS = ["bosh3", "dopri5", "tsit5", "dopri8"]
methods = pytest.mark.parametrize("method", METHODS)


def own(field, y0: Tensor, times: Any, **options):
    return solve_ode(field, y0, times, stepping="per_sample", **options)


def column(t: Tensor, y: Tensor) -> Tensor:
    """Time shaped to multiply a state (B, D)."""
    return t if t.dim() == 0 else t.view(-1, 1)


def towards_cosine(t: Tensor, y: Tensor, k: Tensor) -> Tensor:
    """y' = -k (y - cos t), which draws every solution to within 1 / k of the cosine."""
    return -k * (y - torch.cos(column(t, y)))


def cosine_followed(t: Tensor, y0: Tensor, k: Tensor) -> Tensor:
    """The solution: a particular one, k (k cos t + sin t) / (1 + k^2), and what is left of the start."""

    def particular(t: Tensor) -> Tensor:
        return k * (k * torch.cos(t) + torch.sin(t)) / (1 + k**2)

    return particular(t) + (y0 - particular(t[:, :1])) * torch.exp(-k * (t - t[:, :1]))


def van_der_pol(t: Tensor, y: Tensor, mu: Tensor) -> Tensor:
    x, v = y[:, :1], y[:, 1:]
    return torch.cat([v, mu * (1 - x**2) * v - x], dim=1)


class PlainMLP(MLP):
    """The same field, left to autograd: only the class itself keeps a tape."""


class Counted:
    """A field that counts, for every sample by itself, how often it is called: args are (something, number)."""

    def __init__(self, field) -> None:
        self.field, self.calls = field, Counter()

    def __call__(self, t: Tensor, y: Tensor, args) -> Tensor:
        assert t.dim() == 0 or t.shape[0] == y.shape[0] == args[1].shape[0]
        self.calls.update(args[1].tolist())
        return self.field(t, y, args[0])


# A sample and its companions


@methods
@pytest.mark.parametrize("grad", [False, True])
def test_a_sample_does_not_see_its_companions(method: str, grad: bool):
    """Stiff beside easy ones, each with times of its own: values to rounding, and the very same steps."""
    mu = torch.tensor([[0.1], [1.0], [8.0], [3.0]], dtype=torch64)
    y0 = torch.tensor([[2.0, 0.0], [0.5, 0.5], [1.0, -1.0], [0.0, 3.0]], dtype=torch64)
    times = torch.tensor([[0.0, 1.0, 4.0], [0.0, 2.0, 2.5], [1.0, 3.0, 9.0], [5.0, 4.0, 2.0]], dtype=torch64)
    options: dict[str, Any] = {"method": method, "rtol": 1e-6, "atol": 1e-8}
    with torch.set_grad_enabled(grad):
        y0.requires_grad_(grad)
        together = own(van_der_pol, y0, times, args=mu, **options)
        for i in range(4):
            alone = own(van_der_pol, y0[i : i + 1], times[i : i + 1], args=mu[i : i + 1], **options)
            # Sums of a row do not depend on the rows beside it, but vector instructions may order them otherwise.
            torch.testing.assert_close(together.states[i], alone.states[0], rtol=1e-11, atol=1e-12)
            for name in ("evaluations", "accepted", "rejected"):
                assert getattr(together.stats, name)[i] == getattr(alone.stats, name)[0], name


@methods
def test_every_sample_keeps_its_tolerance(method: str):
    """Errors of a contracting equation do not grow: the sum of what each step may err by is a bound."""
    k = torch.logspace(-1, 3, 9, dtype=torch64).unsqueeze(1)
    y0 = torch.linspace(-1, 3, 9, dtype=torch64).unsqueeze(1)
    times = torch.linspace(0, 3, 7, dtype=torch64).expand(9, -1)
    for tolerance in (1e-4, 1e-7):
        solved = own(towards_cosine, y0, times, args=k, method=method, rtol=tolerance, atol=tolerance)
        error = (solved.states[..., 0] - cosine_followed(times, y0, k)).abs().amax(1)
        assert (error < solved.stats.accepted * tolerance * (1 + y0.abs().max())).all()


def test_one_stiff_sample_costs_what_it_costs_alone():
    """512 samples of width 128, one of them stiff: under 4 % of the evaluations of a step that all share."""
    torch.manual_seed(0)
    batch, width = 512, 128
    k = torch.ones(batch, 1)
    k[100] = 600.0
    target = nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Linear(width, width))
    y0 = torch.randn(batch, width)
    counts = {"ours": 0, "theirs": 0}

    def field(t: Tensor, y: Tensor, rate: Tensor, who: str = "ours") -> Tensor:
        counts[who] += y.shape[0]
        return -rate * (y - target(y).sin())

    with torch.no_grad():
        solved = own(field, y0, [0.0, 1.0], args=k)
        peers = torchdiffeq.odeint(
            lambda t, y: field(t, y, k, "theirs"), y0, torch.tensor([0.0, 1.0]), rtol=1e-4, atol=1e-6
        )
    assert int(solved.stats.evaluations.sum()) == counts["ours"]
    assert counts["ours"] < 0.04 * counts["theirs"]
    # Both are within their tolerance of 1e-4 a step, over a handful of steps; the stiff one forgets its errors.
    torch.testing.assert_close(solved.states[:, -1], peers[-1], rtol=1e-3, atol=1e-3)  # pyright: ignore[reportArgumentType]


# Output times


@methods
def test_times_of_each_samples_own_repeated_padded_and_turned(method: str):
    times = torch.tensor(
        [
            [0.0, 0.5, 1.0, 2.0, 4.0],
            [0.0, 0.0, 0.3, 0.3, 0.7],  # repeated at the start and within
            [1.0, 1.5, 1.5, 1.5, 1.5],  # padded
            [3.0, 2.0, 1.0, 1.0, -1.0],  # back in time
            [2.0, 2.0, 2.0, 2.0, 2.0],  # standing still
        ],
        dtype=torch64,
    )
    k = torch.tensor([[1.0], [2.0], [30.0], [0.5], [1.0]], dtype=torch64)
    y0 = torch.tensor([[1.0], [-1.0], [0.0], [2.0], [7.0]], dtype=torch64)
    solved = own(towards_cosine, y0, times, args=k, method=method, rtol=1e-9, atol=1e-9)
    # A hundred steps within 1e-9; the one that goes back grows by exp(0.5 * 4) < 8 meanwhile.
    torch.testing.assert_close(solved.states[..., 0], cosine_followed(times, y0, k), rtol=0, atol=8e-7)
    assert torch.equal(solved.states[:, 0], y0)
    assert torch.equal(solved.states[1, 1], y0[1])
    assert torch.equal(solved.states[4], y0[4].expand(5, 1))
    assert solved.status.tolist() == [Status.OK] * 5
    assert [int(counts[4]) for counts in (solved.stats.evaluations, solved.stats.accepted)] == [0, 0]
    assert solved.states.shape == (5, 5, 1)


def test_outputs_do_not_change_the_steps():
    few, many = torch.tensor([0.0, 5.0], dtype=torch64), torch.linspace(0, 5, 101, dtype=torch64)
    y0, mu = torch.tensor([[2.0, 0.0]], dtype=torch64), torch.tensor([[3.0]], dtype=torch64)
    one, other = (own(van_der_pol, y0, times, args=mu, rtol=1e-6) for times in (few, many))
    assert torch.equal(one.states[:, -1], other.states[:, -1])
    assert one.stats.evaluations.tolist() == other.stats.evaluations.tolist()


@pytest.mark.parametrize(
    ("method", "order", "steps"), [("bosh3", 3, 100), ("dopri5", 5, 40), ("tsit5", 5, 60), ("dopri8", 8, 16)]
)
def test_dense_output_has_the_order_of_its_method(method: str, order: int, steps: int):
    """u' = 2 t u log v, v' = -2 t v log u: equal steps, and outputs of each sample's own between them."""
    generator, errors = torch.Generator().manual_seed(0), []
    inner = torch.rand(3, 1000, dtype=torch64, generator=generator).sort(1).values * 1.5
    times = torch.cat([torch.zeros(3, 1), inner, torch.full((3, 1), 1.5)], dim=1).to(torch64)

    def field(t: Tensor, y: Tensor) -> Tensor:
        u, v = y.unbind(-1)
        return 2 * t[:, None] * torch.stack([u * v.log(), -v * u.log()], dim=-1)

    exact = torch.stack([(times**2).sin().exp(), (times**2).cos().exp()], dim=-1)
    for n in (steps, 2 * steps):
        control = StepControl(first_step=1.5 / n, max_step=1.5 / n)
        solved = own(field, exact[:, 0], times, method=method, rtol=1.0, atol=1.0, control=control)
        assert solved.stats.accepted.tolist() == [n] * 3
        errors.append((solved.states - exact).abs().max().item())
    assert np.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.1)


@pytest.mark.parametrize("dtype", [torch.float32, torch64])
def test_large_times_keep_small_steps(dtype: torch.dtype):
    """At t = 1e6 a float32 clock moves by 1/16 at the least; the solution moves on with steps far below that."""
    t = torch.tensor([[1e6, 1e6 + 1, 1e6 + 2]], dtype=dtype)
    solved = own(lambda t, y: -40 * y, torch.ones(1, 1, dtype=dtype), t, rtol=1e-5, atol=1e-37)
    steps = int(solved.stats.accepted[0])
    assert steps > 32
    # Each step errs by 1e-5 of the state at the most.
    exact = torch.tensor([0.0, -40.0, -80.0], dtype=dtype)
    torch.testing.assert_close(solved.states[0, :, 0].log(), exact, rtol=0, atol=1e-5 * steps)


# Limits of the step


def stepped(t: Tensor, y: Tensor) -> Tensor:
    """y' = 1 before t = 1 and -2 from there on."""
    return torch.where(column(t, y) < 1, 1.0, -2.0).to(y.dtype).expand_as(y)


@methods
@pytest.mark.parametrize("dtype", [torch.float32, torch64])
def test_steps_keep_to_either_side_of_a_jump(method: str, dtype: torch.dtype):
    """The solution is a polyline, which every method repeats unless a stage sees the wrong side.

    But for rounding: dopri8's weights reach 528.
    """
    times = torch.tensor(
        [[0.0, 0.9, 1.0, 2.5], [2.0, 1.5, 1.0, -1.0], [1.0, 1.5, 2.0, 3.0], [0.2, 0.4, 0.6, 1.0]], dtype=dtype
    )
    y0 = torch.zeros(4, 1, dtype=dtype)

    def exact(t: Tensor) -> Tensor:
        return torch.where(t < 1, t - 1, 2 - 2 * t)

    for first_step in (None, 0.33, 10.0):
        control = StepControl(jump_times=(1.0, 7.0), first_step=first_step)
        solved = own(stepped, y0, times, method=method, control=control)
        expected = exact(times) - exact(times[:, :1])
        torch.testing.assert_close(solved.states[..., 0], expected, rtol=0, atol=1000 * torch.finfo(dtype).eps)
        assert solved.stats.rejected.tolist() == [0] * 4
    blind = own(stepped, y0[:1], times[:1], method=method)
    assert int(blind.stats.rejected[0]) > 3  # without the hint the jump is found by refused steps


def test_shortest_longest_and_first_steps():
    y0, k = torch.zeros(2, 1, dtype=torch64), torch.tensor([[1.0], [1e4]], dtype=torch64)
    seen: list[float] = []

    def field(t: Tensor, y: Tensor, k: Tensor) -> Tensor:
        seen.extend(t.tolist())
        return towards_cosine(t, y, k)

    longest = own(field, y0[:1], [0.0, 4.0], args=k[:1], control=StepControl(max_step=0.25))
    assert int(longest.stats.accepted[0]) >= 16
    seen.clear()
    own(field, y0[:1], [0.0, 4.0], args=k[:1], control=StepControl(first_step=0.5))
    assert seen[:2] == [0.0, 0.1]  # the second stage of dopri5, at a fifth of the step
    short = own(field, y0, [0.0, 4.0], args=k, control=StepControl(min_step=1e-3), on_failure="nan")
    assert short.status.tolist() == [Status.OK, Status.STEP_TOO_SMALL]
    assert torch.isfinite(short.states[0]).all()


def test_most_steps():
    y0, mu = torch.tensor([[2.0, 0.0]] * 2, dtype=torch64), torch.tensor([[0.1], [50.0]], dtype=torch64)
    enough = own(van_der_pol, y0, [0.0, 5.0], args=mu)
    most = int(enough.stats.accepted[0] + enough.stats.rejected[0])
    solved = own(van_der_pol, y0, [0.0, 5.0], args=mu, max_steps=most, on_failure="nan")
    assert solved.status.tolist() == [Status.OK, Status.MAX_STEPS]
    assert int((solved.stats.accepted + solved.stats.rejected)[1]) == most
    assert solved.states[1, -1].isnan().all()
    with pytest.raises(SolveError, match="sample 1 could not go on: max steps"):
        own(van_der_pol, y0, [0.0, 5.0], args=mu, max_steps=most)


# Failures


class Rates(nn.Module):
    """y' = w y^2 / (1 + c), where c is NaN for a sample that is to fail at once, or log(-t) for one that fails late."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor([1.0, 0.5], dtype=torch64))

    def forward(self, t: Tensor, y: Tensor, how: Tensor) -> Tensor:
        late = torch.where(column(t, y) > 0.7, torch.nan, 1.0)
        spoilt = torch.where(how == 1, torch.nan, torch.where(how == 2, late, 1.0))
        # Multiplied before the weights and after them, so that a NaN would reach their gradients.
        return spoilt * (self.w * (spoilt * y**2))


HOW = torch.tensor([[0.0], [0.0], [1.0], [2.0], [0.0]], dtype=torch64)
START = torch.tensor([[-1.0, -2.0], [1.0, 3.0], [-1.0, -1.0], [-0.5, -3.0], [-4.0, -0.1]], dtype=torch64)
FINE = [0, 4]


@methods
@pytest.mark.parametrize("on_failure", ["nan", "last"])
def test_a_lost_sample_takes_no_other_with_it(method: str, on_failure: Any):
    """A pole at t = 2/3 in the second sample, NaN from the start in the third and from t = 0.7 in the fourth."""
    field, times = Rates(), torch.tensor([0.0, 0.5, 2.0], dtype=torch64)
    options: dict[str, Any] = {"method": method, "rtol": 1e-7, "atol": 1e-9}
    y0 = START.clone().requires_grad_()
    solved = own(field, y0, times, args=HOW, on_failure=on_failure, **options)
    assert solved.status.tolist()[::2] == [Status.OK, Status.NONFINITE, Status.OK]
    assert solved.status[1] in (Status.STEP_TOO_SMALL, Status.NONFINITE)
    assert solved.status[3] == Status.NONFINITE
    by_y0, by_w = torch.autograd.grad(solved.states[FINE].square().sum(), (y0, field.w))

    few = START[FINE].requires_grad_()
    alone = own(field, few, times, args=HOW[FINE], **options)
    by_few, by_w_alone = torch.autograd.grad(alone.states.square().sum(), (few, field.w))
    # The same steps, with sums in another order.
    torch.testing.assert_close(solved.states[FINE], alone.states, rtol=1e-12, atol=0)
    torch.testing.assert_close(by_y0[FINE], by_few, rtol=1e-10, atol=0)
    torch.testing.assert_close(by_w, by_w_alone, rtol=1e-10, atol=0)
    assert (by_y0[[1, 2, 3]] == 0).all()

    exact = 1 / (1 / START[:, None] - torch.tensor([1.0, 0.5]) * times[:, None])  # y0 / (1 - w y0 t)
    # Some hundreds of steps within 1e-7 to the half of the way to the pole, where distances have doubled twice.
    torch.testing.assert_close(solved.states[[1, 3], 1].detach(), exact[[1, 3], 1], rtol=1e-5, atol=0)
    if on_failure == "nan":
        assert solved.states[[1, 3], 2].isnan().all()
        assert solved.states[2, 1:].isnan().all()
    else:
        assert torch.equal(solved.states[2], y0[2].expand(3, 2))
        assert solved.states[1, 2, 1] > 1e6  # as near to the pole as the clock goes
        at = torch.tensor(0.7, dtype=torch64)
        near = 1 / (1 / START[3] - torch.tensor([1.0, 0.5]) * at)
        torch.testing.assert_close(solved.states[3, 2].detach(), near, rtol=1e-5, atol=0)


def test_the_first_sample_lost_is_named():
    options: dict[str, Any] = {"args": HOW[[0, 3]], "rtol": 1e-6}
    with pytest.raises(SolveError, match=r"time 0\.7, sample 1 could not go on: nonfinite") as caught:
        own(Rates(), START[[0, 3]], [0.0, 2.0], **options)
    assert len(str(caught.value).splitlines()) == 1


def test_a_start_that_is_not_finite_is_a_sample_lost():
    y0 = torch.tensor([[1.0], [torch.nan], [torch.inf]], dtype=torch64)
    for control in (None, StepControl(first_step=0.1)):
        solved = own(lambda t, y: -y, y0, [0.0, 1.0], control=control, on_failure="nan", rtol=1e-8, atol=1e-8)
        assert solved.status.tolist() == [Status.OK, Status.NONFINITE, Status.NONFINITE]
        assert solved.states[0, 1].item() == pytest.approx(np.exp(-1), abs=1e-7)


def test_overflow_of_the_state_is_not_a_success():
    """At 3.4e38 single precision ends, on the way from 3e38 to 5e38."""
    y0 = torch.tensor([[3e38], [0.0]])
    solved = own(lambda t, y: torch.full_like(y, 1e38), y0, [0.0, 2.0], on_failure="nan", max_steps=200)
    assert solved.status[0] in (Status.NONFINITE, Status.MAX_STEPS)
    assert solved.states[0, 1].isnan()
    assert solved.status[1] == Status.OK


# Work


@methods
@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize("jump_times", [(), (0.4,)])
def test_evaluations_are_counted_for_every_sample(method: str, grad: bool, jump_times: tuple[float, ...]):
    """Among them failed samples, refused steps and dense output, all counted by the field itself."""
    field, numbers = Counted(Rates()), torch.arange(5)
    with torch.set_grad_enabled(grad):
        solved = own(
            field, START, torch.linspace(0, 2, 5), args=(HOW, numbers), method=method, on_failure="nan", rtol=1e-6,
            control=StepControl(jump_times=jump_times),
        )  # fmt: skip
    assert solved.stats.evaluations.tolist() == [field.calls[i] for i in range(5)]
    assert solved.stats.rejected.max() > 0
    assert (solved.stats.accepted[FINE] > 3).all()


@pytest.mark.parametrize(
    # Stages beyond the first slope, which is the last one's end in all but dopri8.
    ("method", "stages"),
    [("bosh3", 3), ("dopri5", 6), ("tsit5", 6)],
)
def test_evaluations_are_stages_times_steps(method: str, stages: int):
    mu = torch.tensor([[0.1], [1.0], [20.0]], dtype=torch64)
    y0 = torch.tensor([[2.0, 0.0]] * 3, dtype=torch64)
    solved = own(van_der_pol, y0, torch.linspace(0, 3, 9), args=mu, method=method)
    tried = solved.stats.accepted + solved.stats.rejected
    assert solved.stats.evaluations.tolist() == (2 + stages * tried).tolist()  # 2: the first slope, the first step
    assert len(set(tried.tolist())) == 3


# Precision and gradients


@methods
def test_nothing_changes_without_gradients(method: str):
    mu = torch.tensor([[0.5], [5.0]], dtype=torch64)
    y0 = torch.tensor([[2.0, 0.0]] * 2, dtype=torch64)
    times = torch.linspace(0, 4, 5, dtype=torch64)
    recorded = own(van_der_pol, y0, times, args=mu, method=method)
    with torch.no_grad():
        plain = own(van_der_pol, y0, times, args=mu, method=method)
    with torch.inference_mode():
        inferred = own(van_der_pol, y0, times, args=mu, method=method)
    torch.testing.assert_close(plain.states, recorded.states, rtol=1e-10, atol=1e-11)
    torch.testing.assert_close(inferred.states, plain.states, rtol=0, atol=0)
    assert plain.stats.evaluations.tolist() == recorded.stats.evaluations.tolist()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(dtype: torch.dtype):
    y0 = torch.tensor([[1.0], [2.0]], dtype=dtype)
    solved = own(lambda t, y: -y, y0, [0.0, 0.5, 1.0], rtol=1e-2, atol=1e-2)
    assert solved.states.dtype == dtype
    exact = y0.double() * torch.tensor([1.0, np.exp(-0.5), np.exp(-1)])
    # A handful of steps, each rounded once a stage to eps / 2.
    bound = 16 * torch.finfo(dtype).eps
    torch.testing.assert_close(solved.states[..., 0].double(), exact.double(), rtol=bound, atol=0)


def test_complex_states_turn():
    """y' = i w y is a rotation."""
    w = torch.tensor([[1.0], [20.0]], dtype=torch64)
    y0 = torch.tensor([[1.0 + 0j], [1j]], dtype=torch.complex128)
    times = torch.linspace(0, 3, 7, dtype=torch64)
    solved = own(lambda t, y, w: 1j * w * y, y0, times, args=w, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(solved.states[..., 0], y0 * torch.exp(1j * w * times), rtol=0, atol=1e-7)


@methods
@pytest.mark.parametrize("shared", [False, True])
def test_gradients_of_a_linear_equation_are_the_known_ones(method: str, shared: bool):
    """y = y0 exp(-r s) with s = t_i - t_0, by the start, the arguments and every time, padded ones included."""
    y0 = torch.tensor([[1.0], [-2.0]], dtype=torch64, requires_grad=True)
    k = torch.tensor([[0.8], [1.3]], dtype=torch64, requires_grad=True)
    times = torch.tensor([[0.1, 0.6, 1.4, 2.0], [0.5, 0.5, 0.2, 0.2]], dtype=torch64)
    times = (times[0] if shared else times).requires_grad_()
    weights = torch.tensor([[0.3, -1.0, 2.0, 0.2], [1.0, 0.7, -0.4, 1.5]], dtype=torch64)
    states = own(lambda t, y, k: -k * y, y0, times, args=k, method=method, rtol=1e-10, atol=1e-12).states[..., 0]
    actual = torch.autograd.grad((weights * states).sum(), (y0, k, times))
    with torch.no_grad():
        span = (times - times[..., :1]).expand(2, 4)
        y = y0 * torch.exp(-k * span)
        by_y0, by_k = (weights * torch.exp(-k * span)).sum(1, keepdim=True), (-weights * span * y).sum(1, keepdim=True)
        by_time = -k * weights * y
        by_time[:, 0] = -by_time[:, 1:].sum(1)  # the first time moves the start: y(t_0) stays y0
        expected = (by_y0, by_k, by_time.sum(0) if shared else by_time)
    for one, other in zip(actual, expected, strict=True):
        # Steps within 1e-10. A derivative by time is that of the dense output, one order below it: bosh3's is h^2.
        rough = 1e-5 if method == "bosh3" else 1e-6
        torch.testing.assert_close(one, other, rtol=rough, atol=rough)


@pytest.mark.parametrize("method", ["dopri5", "tsit5", "dopri8"])
def test_gradients_agree_with_finite_differences(method: str):
    """Through time, arguments and dense output, with the steps that the solver chooses at each."""
    times = torch.tensor([[0.0, 0.5, 0.9], [1.0, 0.4, 0.2]], dtype=torch64)

    def solve(y0: Tensor, times: Tensor, k: Tensor) -> Tensor:
        return own(
            lambda t, y, k: torch.sin(k * column(t, y)) * y.tanh(),
            y0,
            times,
            args=k,
            method=method,
            rtol=1e-9,
            atol=1e-11,
        ).states

    inputs = [torch.tensor([[0.5, -0.2], [1.0, 0.3]]), times, torch.tensor([[2.0], [3.0]])]
    inputs = tuple(each.to(torch64).requires_grad_() for each in inputs)
    # The steps move with the inputs: differences of 1e-4 see the tolerance as 1e-9 / 1e-4.
    assert torch.autograd.gradcheck(solve, inputs, eps=1e-4, atol=1e-4)


def test_second_derivatives():
    """Of y0 exp(-r s): d2/dr2 = s^2 y and d2/(dr dy0) = -s y / y0."""
    y0 = torch.tensor([[2.0], [-1.0]], dtype=torch64, requires_grad=True)
    k = torch.tensor([[0.3], [1.1]], dtype=torch64, requires_grad=True)
    times = torch.tensor([[0.0, 0.4, 0.9], [1.0, 0.5, 0.2]], dtype=torch64)
    last = own(lambda t, y, k: -k * y, y0, times, args=k, rtol=1e-10, atol=1e-12).states[:, 1, 0]
    (slope,) = torch.autograd.grad(last.sum(), k, create_graph=True)
    by_k, by_y0 = torch.autograd.grad(slope.sum(), (k, y0))
    span = (times[:, 1:2] - times[:, :1]).detach()
    y = (y0 * torch.exp(-k * span)).detach()
    torch.testing.assert_close(by_k, span**2 * y, rtol=1e-7, atol=0)
    torch.testing.assert_close(by_y0, -span * y / y0.detach(), rtol=1e-7, atol=0)


@pytest.mark.parametrize("method", ["bosh3", "dopri5", "tsit5"])
@pytest.mark.parametrize("options", [{}, {"time": True}, {"control": 2, "activation": "silu", "time": True}], ids=str)
def test_gradients_by_tape_are_those_of_autograd(method: str, options: dict[str, Any]):
    """With refused steps, jumps, samples that stand still or go back, outputs within steps, and the last state."""
    torch.manual_seed(0)
    field = MLP(3, (16, 16), **options).to(torch64)
    with torch.no_grad():
        list(field.parameters())[-2].mul_(6)  # fast enough to have steps refused
    plain = PlainMLP(3, (16, 16), **options).to(torch64)
    plain.load_state_dict(field.state_dict())
    u = 3 * torch.randn(7, 2, dtype=torch64) if "control" in options else None
    times = (
        torch.linspace(0, 1, 5, dtype=torch64)
        * torch.tensor([0.2, 0.7, 0.0, -1.6, 2.0, 2.5, 3.0], dtype=torch64)[:, None]
    )
    y0, weights = torch.randn(7, 3, dtype=torch64), torch.randn(7, 5, 3, dtype=torch64)
    found = []
    for each in (field, plain):
        start, args = y0.clone().requires_grad_(), None if u is None else u.clone().requires_grad_()
        control = StepControl(jump_times=(0.3,), first_step=1.0)
        solved = own(each, start, times, args=args, method=method, rtol=1e-6, atol=1e-8, control=control)
        inputs = [start, *([] if args is None else [args]), *each.parameters()]
        found.append([solved.states, *torch.autograd.grad((weights * solved.states).sum(), inputs)])
        assert solved.stats.rejected.max() > 0
    for one, other in zip(*found, strict=True):
        # Tens of steps of sums of 16 terms in another order.
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-11)


def test_a_lost_sample_spoils_no_gradient_by_tape():
    """y' = y + u in single precision: one overflows at t = 20, one has NaN for u, two are as they are alone."""
    y0, u = torch.tensor([[1e30], [0.0], [2.0], [1.0]]), torch.tensor([[0.0], [1.0], [torch.nan], [0.0]])
    for kind in (MLP, PlainMLP):
        field, found = kind(1, (), control=1), []
        with torch.no_grad():
            for parameter, value in zip(field.parameters(), (1.0, 0.0), strict=True):
                parameter.fill_(value)
        for rows in ([0, 1, 2, 3], [1, 3]):
            start, args = y0[rows].requires_grad_(), u[rows].requires_grad_()
            solved = own(field, start, [0.0, 1.0, 30.0], args=args, on_failure="nan", rtol=1e-5, atol=1e-10)
            states = solved.states[[rows.index(1), rows.index(3)]]
            gradient = torch.autograd.grad(states.sum(), [start, args, *field.parameters()])
            chosen = [each[[rows.index(1), rows.index(3)]] for each in gradient[:2]]
            found.append([states, *chosen, *gradient[2:]])
            assert [Status.OK if r in (1, 3) else Status.NONFINITE for r in rows] == solved.status.tolist()
        for one, other in zip(*found, strict=True):
            assert torch.isfinite(one).all()
            # The same steps, hundreds of them, with sums in another order.
            torch.testing.assert_close(one, other, rtol=1e-4, atol=0)


def test_second_derivatives_by_tape_are_those_of_autograd():
    """Also where the start depends on a parameter of the field, as an encoder's that shares it would."""
    torch.manual_seed(0)
    field, plain = MLP(2, (8,)).to(torch64), PlainMLP(2, (8,)).to(torch64)
    plain.load_state_dict(field.state_dict())
    times = torch.tensor([[0.0, 0.4, 0.9], [1.0, 0.5, -2.0]], dtype=torch64)
    found = []
    for each in (field, plain):
        y0 = torch.tensor([[0.5, -0.3], [1.0, 0.2]], dtype=torch64, requires_grad=True)
        start = y0 + next(each.parameters())[:2]
        states = own(each, start, times, rtol=1e-8, atol=1e-8).states
        slopes = torch.autograd.grad(states.square().sum(), [y0, *each.parameters()], create_graph=True)
        total = torch.stack([slope.square().sum() for slope in slopes]).sum()
        found.append([*slopes, *torch.autograd.grad(total, [y0, *each.parameters()])])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


def test_transforms_of_torch_func_and_gradients_of_many_outputs_at_once():
    torch.manual_seed(0)
    field, y0 = MLP(2, (8,)).to(torch64), torch.randn(3, 2, dtype=torch64)
    times = torch.tensor([0.0, 0.5, 1.0], dtype=torch64)

    def loss(y: Tensor) -> Tensor:
        return own(field, y, times).states.square().sum()

    start = y0.clone().requires_grad_()
    (expected,) = torch.autograd.grad(loss(start), start)
    torch.testing.assert_close(torch.func.grad(loss)(y0).detach(), expected, rtol=1e-12, atol=1e-13)
    direction = torch.randn_like(y0)
    along = torch.func.jvp(loss, (y0,), (direction,))[1]
    torch.testing.assert_close(along.detach(), (expected * direction).sum(), rtol=1e-12, atol=1e-13)
    last = torch.autograd.functional.jacobian(lambda y: own(field, y, times).states[:, -1], y0, vectorize=True)
    one_by_one = torch.autograd.functional.jacobian(lambda y: own(field, y, times).states[:, -1], y0)
    torch.testing.assert_close(last, one_by_one, rtol=1e-12, atol=1e-13)


def test_implicit_methods_take_steps_of_each_samples_own():
    """Rates from 1 to 1e5, each drawn to the cosine: the fastest in fewer steps than an explicit method could."""
    k = torch.logspace(0, 5, 6, dtype=torch64).unsqueeze(1).requires_grad_()
    y0 = torch.zeros(6, 1, dtype=torch64)
    times = torch.tensor([[0.0, 3.0]], dtype=torch64).expand(6, -1)
    solved = own(towards_cosine, y0, times, args=k, method="kencarp4", rtol=1e-6, atol=1e-8)
    exact = cosine_followed(times, y0, k)
    assert solved.stats.accepted.max() < 100
    # A contracting equation: no more than what each step may err by.
    torch.testing.assert_close(solved.states[..., 0], exact, rtol=0, atol=100 * 1e-6)
    (actual,) = torch.autograd.grad(solved.states[:, -1].sum(), k)
    (expected,) = torch.autograd.grad(exact[:, -1].sum(), k)
    # The derivative of the numbers errs as they do, by each step's tolerance relative to the rate.
    torch.testing.assert_close(actual, expected, rtol=0, atol=100 * 1e-6)
