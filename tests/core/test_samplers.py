"""The laws of every sampler: exactness, independence of the batch, ranks, precisions, the last step, mistakes."""

import math
from functools import partial
from typing import Any

import pytest
import torch
from exact_denoisers import normal, normal_law, ring
from scipy import integrate
from torch import Tensor

from integrand.core.diffusion import (
    PROCESSES,
    SAMPLERS,
    ProbabilityFlow,
    Process,
    SampleNoise,
    initial_noise,
    process,
    sample,
    step_times,
)
from integrand.core.diffusion.samplers import (
    ancestral,
    churned,
    ddim,
    dpmpp_2m,
    dpmpp_3m,
    euler,
    euler_maruyama,
    heun,
    ode,
    predictor_corrector,
    sde_dpmpp_1,
    sde_dpmpp_2m,
    unipc,
)
from integrand.core.diffusion.samplers.adams import adams_weights, moments
from integrand.core.errors import InputError

every = pytest.mark.parametrize("name", SAMPLERS)
F64 = torch.float64


def walked(name: str, field: Any, x: Tensor, times: Tensor, seeds: Any = None, **options: Any) -> Tensor:
    """Sample with the noise of seeds, by default the numbers of the rows."""
    seeds = range(len(x)) if seeds is None else seeds
    noise = SampleNoise(list(seeds)) if SAMPLERS[name].stochastic else None
    return sample(field, x, times, method=name, noise=noise, **options)


def carried(path: Process, x: Tensor, end: float) -> Tensor:
    """Where the flow of normal data takes x from the process's end, in closed form."""
    first, last = normal_law(path, path.end), normal_law(path, end)
    return last.mean + math.sqrt(last.variance / first.variance) * (x - first.mean)


# --- what they compute


@pytest.mark.parametrize("where", PROCESSES)
@pytest.mark.parametrize("name", [name for name, each in SAMPLERS.items() if not each.stochastic])
def test_the_flow_of_normal_data_is_followed(name: str, where: str):
    """By the first order after the error's leading term, which halves with the step, is taken off.

    Flows begin in pure noise, whose first step is one to 1 / ``PURE_NOISE``.
    """
    path = process(where, start=0.3 if where == "ve" else 0.05)
    x = torch.tensor([[-2.0], [0.5], [1.0]], dtype=F64) * path.prior_scale()

    def reached(steps: int) -> Tensor:
        return walked(name, normal(path), x, step_times(path, steps, spacing="log_snr", final="stop"))

    found = 2 * reached(400) - reached(200) if SAMPLERS[name].order == 1 else reached(200)
    torch.testing.assert_close(found, carried(path, x, path.start), rtol=0, atol=2e-3)


@pytest.mark.parametrize("where", PROCESSES)
@pytest.mark.parametrize("name", [name for name, each in SAMPLERS.items() if each.stochastic])
def test_the_law_of_normal_data_is_met(name: str, where: str):
    """Mean and spread of 4,000 samples from 100 steps, within five standard errors and what the order leaves.

    The corrector of ``predictor_corrector`` and the surplus of ``churned`` leave an error of their own, here below 3 %.
    """
    path = process(where, start=0.3 if where == "ve" else 0.02)
    seeds, options = range(2000), {"noise_scale": 1.0} if name == "churned" else {}
    x = initial_noise(seeds, (2,), path.prior_scale(), dtype=F64)
    if path.end < 1.5:  # the end of VP and others is not noise alone
        x = x * math.sqrt(normal_law(path, path.end).variance) / path.prior_scale() + normal_law(path, path.end).mean
    found = walked(name, normal(path), x, step_times(path, 100, spacing="log_snr", final="stop"), seeds, **options)
    exact = normal_law(path, path.start)
    error = math.sqrt(exact.variance / found.numel())
    left = {1: 0.04, 0: 0.03}.get(SAMPLERS[name].order, 0.01)
    assert float(found.mean()) == pytest.approx(exact.mean, abs=5 * error + left * abs(exact.mean))
    assert float(found.std()) == pytest.approx(math.sqrt(exact.variance), abs=5 * error / math.sqrt(2) + left)


def test_the_families_meet():
    """Samplers of different derivations that are one at some value of an option."""
    path = process("vp")
    field, times = ring(path), step_times(path, 12)
    x, noise = initial_noise(range(6), (2,), dtype=F64), SampleNoise(range(6))
    same = partial(torch.testing.assert_close, rtol=1e-11, atol=1e-11)
    same(ancestral(field, x, times, noise=noise, eta=0.0), ddim(field, x, times))
    same(sde_dpmpp_1(field, x, times, noise=noise, eta=0.0), ddim(field, x, times))
    same(sde_dpmpp_1(field, x, times, noise=noise), ancestral(field, x, times, noise=noise))
    same(sde_dpmpp_2m(field, x, times, noise=noise, eta=0.0), dpmpp_2m(field, x, times))
    same(euler_maruyama(field, x, times, noise=noise, eta=0.0), euler(field, x, times))
    same(churned(field, x, times, noise=noise, churn=0.0), heun(field, x, times))
    same(predictor_corrector(field, x, times, noise=noise, corrections=0), ancestral(field, x, times, noise=noise))
    same(ode(field, x, times, solver="euler"), euler(field, x, times))
    for name in ("edm", "linear_flow"):
        other = process(name)
        start = other.prior_scale() * x
        same(euler(ring(other), start, step_times(other, 12)), ddim(ring(other), start, step_times(other, 12)))


def test_two_processes_of_one_noise_give_one_sample():
    """x / alpha at the same lambda obeys one equation, and exponential methods respect that step by step."""
    edm, found = process("edm", start=0.05, end=50.0), []
    level = edm.half_log_snr(step_times(edm, 15, final="stop"))
    u = initial_noise(range(5), (2,), dtype=F64)
    for name in ("edm", "vp", "linear_flow", "trigonometric_flow", "ve", "sub_vp", "cosine"):
        path = process(name)
        times = path.time(level)
        times[0] = times[0].clamp(max=path.end)
        start = u * path.sigma(times[0])
        found.append(
            torch.stack(
                [
                    walked(method, ring(path), start, times) / path.alpha(times[-1])
                    for method in (
                        "ddim",
                        "dpmpp_2m",
                        "dpmpp_3s",
                        "unipc",
                        "exponential_rk4",
                        "sde_dpmpp_2m",
                        "ancestral",
                    )
                ]
            )
        )
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("h", [1e-8, 1e-3, 0.3, 0.999, 1.0, 3.0, 20.0])
def test_adams_weights_are_the_integrals(h: float):
    """Of Lagrange's polynomials, by scipy's quadrature, relative to the step."""
    for count in range(1, 6):
        expected = [integrate.quad(lambda s, n=n: h * math.exp(-h * (1 - s)) * s**n, 0, 1)[0] for n in range(count)]
        assert moments(h, count) == pytest.approx(expected, rel=1e-11)
    nodes = [1.0, 0.0, -0.7, -2.5]
    for k, found in enumerate(adams_weights(h, nodes)):
        others = [node for i, node in enumerate(nodes) if i != k]

        def integrand(s: float, k: int = k, others: list[float] = others) -> float:
            lagrange = math.prod((s - other) / (nodes[k] - other) for other in others)
            return h * math.exp(-h * (1 - s)) * lagrange

        assert found == pytest.approx(integrate.quad(integrand, 0, 1)[0], abs=1e-10 * h)


def test_adaptive_steps_keep_their_tolerance():
    path = process("linear_flow", start=0.01)
    x = torch.linspace(-2, 2, 9, dtype=F64).unsqueeze(1)
    exact = carried(path, x, 0.01)
    loose, tight, tighter = (
        float((ode(normal(path), x, [1.0, 0.01], rtol=rtol, atol=rtol) - exact).abs().max())
        for rtol in (1e-3, 1e-6, 1e-9)
    )
    assert loose < 0.1
    assert tight < loose / 100
    assert tighter < tight / 100
    with pytest.raises(InputError, match="unknown method"):
        ode(normal(path), x, [1.0, 0.01], solver="dopri")


# --- the contract that all share


@every
def test_a_sample_does_not_depend_on_its_batch(name: str):
    """Bit by bit: alone, in another order, or among others; nothing adapts to a batch but the steps of ``ode``."""
    path = process("vp")
    times, seeds = step_times(path, 8), [11, 12, 13, 14, 15]
    x = initial_noise(seeds, (3, 2, 2), dtype=torch.float32)
    options = {"solver": "rk4"} if name == "ode" else {}
    field = normal(path)
    call = partial(SAMPLERS[name].function, field, **options)

    def some(rows: list[int]) -> Tensor:
        noise = {"noise": SampleNoise([seeds[row] for row in rows])} if SAMPLERS[name].stochastic else {}
        return call(x[rows], times, **noise)

    together = some([0, 1, 2, 3, 4])
    assert together.std() > 0
    assert torch.equal(some([3]), together[3:4])
    assert torch.equal(some([4, 0, 2]), together[[4, 0, 2]])


@every
def test_states_of_any_rank(name: str):
    """A state is a batch of numbers, whatever its shape."""
    path = process("edm")
    times, flat = step_times(path, 6), initial_noise(range(2), (24,), 80.0, dtype=F64)
    expected = walked(name, normal(path), flat, times)
    for shape in ((24, 1), (2, 3, 4), (2, 3, 2, 2)):
        found = walked(name, normal(path), flat.view(2, *shape), times)
        assert found.shape == (2, *shape)
        torch.testing.assert_close(found.view(2, 24), expected, rtol=1e-12, atol=1e-12)


@every
@pytest.mark.parametrize("where", ["vp", "linear_flow"])
def test_single_precision_follows_double(name: str, where: str):
    path = process(where, start=0.01)
    times, x = step_times(path, 12, spacing="log_snr"), initial_noise(range(8), (2,), dtype=F64)
    options = {"rtol": 1e-5, "atol": 1e-5} if name == "ode" else {}
    found = walked(name, normal(path), x.float(), times, **options)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), walked(name, normal(path), x, times, **options), rtol=0, atol=2e-4)


@every
@pytest.mark.parametrize("final", ["denoise", "stop"])
def test_callbacks_are_told_every_step(name: str, final: Any):
    path = process("edm")
    times, told = step_times(path, 5, final=final), []
    x = initial_noise(range(3), (2,), 80.0, dtype=F64)
    found = walked(name, normal(path), x, times, callback=lambda step, t, x: told.append((step, t, x)))
    assert [step for step, _, _ in told] == [1, 2, 3, 4, 5]
    assert [t for _, t, _ in told] == pytest.approx(times[1:].tolist(), rel=1e-6)
    assert torch.equal(told[-1][2], found)
    torch.testing.assert_close(walked(name, normal(path), x, times), found, rtol=1e-3, atol=1e-3)


@every
@pytest.mark.parametrize("where", PROCESSES)
def test_the_last_step_to_clean_data_answers_with_the_denoiser(name: str, where: str):
    """Of the state it met, which is the one told before."""
    path = process(where)
    times, told = step_times(path, 5), []
    field = normal(path)
    x = initial_noise(range(3), (2,), path.prior_scale(), dtype=F64)
    found = walked(name, field, x, times, callback=lambda step, t, x: told.append(x))
    met = told[-2]
    torch.testing.assert_close(found, field.denoise(times[-2], met), rtol=1e-6, atol=1e-6)
    if SAMPLERS[name].least_steps == 1:
        one = walked(name, field, x, times[[0, -1]])
        torch.testing.assert_close(one, field.denoise(times[0], x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", [name for name, each in SAMPLERS.items() if each.evaluations])
def test_evaluations_are_those_told(name: str):
    path, seen = process("vp"), []

    class Counted(ProbabilityFlow):
        def denoise(self, t: Tensor, x: Tensor, args: Any = None) -> Tensor:
            seen.append(t)
            return super().denoise(t, x, args)

    for final in ("denoise", "stop"):
        seen.clear()
        field = Counted(path, normal(path).denoiser)
        walked(name, field, initial_noise([0], (1,)), step_times(path, 7, final=final))
        assert len(seen) == SAMPLERS[name].cost(7, final=final)


@every
def test_every_sample_has_its_own_condition(name: str):
    """The condition is the mean of the data; each row as if it had been alone with it."""
    path = process("vp")
    times, x = step_times(path, 8), initial_noise([1, 2], (3,), dtype=F64)
    means = torch.tensor([[-3.0], [2.0]], dtype=F64)

    def denoiser(t: Tensor, x: Tensor, args: Tensor) -> Tensor:
        alpha, sigma = path.alpha(t), path.sigma(t)
        return args + 0.25 * alpha / (0.25 * alpha.square() + sigma.square()) * (x - alpha * args)

    options = {"solver": "rk4"} if name == "ode" else {}
    found = walked(name, ProbabilityFlow(path, denoiser), x, times, [1, 2], args=means, **options)
    for row, mean in enumerate((-3.0, 2.0)):
        alone = normal(path, mean, 0.5)
        expected = walked(name, alone, x[row : row + 1], times, [row + 1], **options)
        torch.testing.assert_close(found[row : row + 1], expected, rtol=1e-9, atol=1e-9)


@every
def test_gradients_reach_the_start(name: str):
    """A deterministic sampler of normal data is linear in its start: the gradient is a difference quotient exactly."""
    path = process("vp")
    times, x = step_times(path, 5), initial_noise([1], (1,), dtype=F64).requires_grad_()
    walked(name, normal(path), x, times).sum().backward()
    with torch.no_grad():
        moved = walked(name, normal(path), x + 1.0, times) - walked(name, normal(path), x, times)
    assert x.grad is not None
    assert float(x.grad) == pytest.approx(float(moved), rel=1e-3 if name == "ode" else 1e-9)


@pytest.mark.parametrize("name", [name for name, each in SAMPLERS.items() if each.evaluations])
def test_nothing_waits_for_the_device(name: str):
    """On a device that has shapes and no values, to ask for a value is an error."""
    path = process("vp")
    with torch.device("meta"):
        times, x = step_times(path, 5), initial_noise([1, 2], (3,))
        found = walked(name, normal(path), x, times, [1, 2], check=False)
    assert times.device.type == "cpu"
    assert (x.device.type, found.device.type, found.shape) == ("meta", "meta", (2, 3))


# --- what is refused


def refused(message: str, **changes: Any) -> None:
    path = process("vp")
    given: dict[str, Any] = {"times": step_times(path, 4), "method": "ddim"}
    x = initial_noise([1, 2], (3,))
    given.update(changes)
    with pytest.raises(InputError) as caught:
        sample(normal(path), x, given.pop("times"), **given)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_mistakes_are_named():
    refused("unknown sampler 'dpmp_2m': did you mean 'dpmpp_2m'?", method="dpmp_2m")
    refused("unknown option of sampler unipc 'ordr': did you mean 'order'?", method="unipc", ordr=2)
    refused("unknown option of sampler ode 'rtoll'", method="ode", rtoll=1e-3)
    refused("unknown option of sampler ddim 'eta'", eta=0.5)
    refused("draws noise: give noise=SampleNoise(seeds)", method="ancestral")
    refused("draws no noise", noise=SampleNoise([1, 2]))
    refused("3 seeds for a batch of 2", method="ancestral", noise=SampleNoise([1, 2, 3]))
    refused("a multistep method of order 3 needs at least as many steps, got 2", method="dpmpp_3m", times=[1, 0.5, 0.1])
    refused("a multistep method of order 2", method="sde_dpmpp_2m", noise=SampleNoise([1, 2]), times=[1.0, 0.1])
    refused("times must be (S + 1,), decreasing", times=[0.1, 1.0])
    refused("times must be", times=[1.0, 0.5, -0.1])
    refused("times must be", times=[1.0, float("nan")])
    refused("times begin at 2, after the end of vp, 1", times=[2.0, 1.0])
    refused("order=5 is out of range: unipc has orders 1 to 4", method="unipc", order=5)
    refused("unknown variant of unipc 'bh3'", method="unipc", variant="bh3")
    noisy: dict[str, Any] = {"noise": SampleNoise([1, 2])}
    refused("eta=1.5 is out of range", method="ancestral", eta=1.5, **noisy)
    refused("eta=-1 is out of range", method="sde_dpmpp_1", eta=-1.0, **noisy)
    refused("eta=-1 is out of range", method="euler_maruyama", eta=-1.0, **noisy)
    refused("snr=0 is out of range", method="predictor_corrector", snr=0.0, **noisy)
    refused("corrections=-1 is out of range", method="predictor_corrector", corrections=-1, **noisy)
    refused("churn=-1", method="churned", churn=-1.0, **noisy)
    refused("0 <= churn_min <= churn_max", method="churned", churn_min=2.0, churn_max=1.0, **noisy)


@every
def test_the_first_sample_that_is_lost_is_named(name: str):
    """One whose network answers with NaN or infinity from some time on, among others that are well."""
    path = process("edm")
    times = step_times(path, 6, final="stop")

    def denoiser(t: Tensor, x: Tensor) -> Tensor:
        answer = x / (1 + t.square())
        lost = torch.tensor([0.0, float("inf"), float("nan")], dtype=x.dtype).view(3, 1)
        return torch.where((t <= times[3]) & (torch.tensor([0, 1, 1]).view(3, 1) == 1), lost, answer)

    options: dict[str, Any] = {"solver": "rk4"} if name == "ode" else {}
    field, x = ProbabilityFlow(path, denoiser), initial_noise(range(3), (2,), 80.0, dtype=F64)
    if name == "ode":  # solve_ode finds it itself
        with pytest.raises(RuntimeError):
            walked(name, field, x, times, **options)
        return
    with pytest.raises(InputError) as caught:
        walked(name, field, x, times, **options)
    # Methods that look ahead meet the time one step before.
    assert f"{name}: sample 1 is not finite after step" in str(caught.value)
    assert "first to be so of 2" in str(caught.value)
    assert any(f"step {step}," in str(caught.value) for step in (3, 4))
    found = walked(name, field, x, times, check=False)
    assert found[0].isfinite().all()
    assert not found[1:].isfinite().any()


def test_polynomials_of_lambda_are_integrated_exactly():
    """For a denoiser that is one, a multistep method's step is exact as far as its points reach."""
    path = process("edm", start=0.1, end=10.0)
    times = step_times(path, 8, final="stop")
    level = path.half_log_snr(times).tolist()
    for sampler, degree in ((dpmpp_3m, 2), (partial(unipc, order=3), 2), (partial(unipc, order=4), 3)):

        def denoiser(t: Tensor, x: Tensor, degree: int = degree) -> Tensor:
            return path.half_log_snr(t) ** degree + 0 * x

        told: list[float] = [0.0]

        def tell(step: int, t: float, x: Tensor, told: list[float] = told) -> None:
            told.append(float(x))

        sampler(ProbabilityFlow(path, denoiser), torch.zeros(1, 1, dtype=F64), times, callback=tell)
        # UniPC's correctors, exact as well by then, leave its states as predicted.
        a, b = level[7], level[8]
        integral = integrate.quad(lambda s, b=b, n=degree: math.exp(s - b) * s**n, a, b, epsabs=1e-13)[0]
        assert told[8] == pytest.approx(told[7] * math.exp(a - b) + integral, rel=1e-9)
