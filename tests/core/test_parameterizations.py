"""What networks may be asked for: every conversion against its definition, against autograd, and there and back."""

import itertools

import pytest
import torch
from exact_denoisers import RADIUS, SPREAD, normal, ring
from torch import Tensor

from integrand.core.diffusion import PARAMETERIZATIONS, PROCESSES, Process, convert, precondition, process
from integrand.core.errors import InputError

every = pytest.mark.parametrize("name", PROCESSES)


def drawn(path: Process) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Data, noise, times and the states made of them."""
    generator = torch.Generator().manual_seed(0)
    x0, noise = (torch.randn(6, 2, 3, generator=generator, dtype=torch.float64) for _ in range(2))
    t = path.start + (path.end - path.start) * torch.linspace(0.05, 0.9, 6, dtype=torch.float64)
    return x0, noise, t, path.mix(x0, noise, t)


def defined(path: Process, kind: str, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """A target by its definition; velocities by differences of the path itself."""
    alpha, sigma = (value(t).view(-1, 1, 1) for value in (path.alpha, path.sigma))
    if kind == "velocity":
        h = 1e-6 * path.end
        return (path.mix(x0, noise, t + h) - path.mix(x0, noise, t - h)) / (2 * h)
    return {"x0": x0, "eps": noise, "v": alpha * noise - sigma * x0, "score": -noise / sigma}[kind]


@every
@pytest.mark.parametrize("kind", PARAMETERIZATIONS)
def test_targets_are_what_they_are_defined_to_be(name: str, kind: str):
    path = process(name)
    x0, noise, t, x = drawn(path)
    expected = defined(path, kind, x0, noise, t)
    found = convert(path, x0, x, t, source="x0", target=kind)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6 * float(expected.abs().max()))


@every
def test_every_conversion_leads_there_and_back(name: str):
    path = process(name)
    x0, _, t, x = drawn(path)
    values = {kind: convert(path, x0, x, t, source="x0", target=kind) for kind in PARAMETERIZATIONS}
    for source, target in itertools.product(PARAMETERIZATIONS, repeat=2):
        found = convert(path, values[source], x, t, source=source, target=target)
        scale = float(values[target].abs().max())
        torch.testing.assert_close(found, values[target], rtol=1e-7, atol=1e-8 * scale)


@every
def test_the_score_is_the_gradient_of_the_density(name: str):
    """Of eight Gaussians, whose density at every time is a mixture of eight more."""
    path = process(name)
    generator = torch.Generator().manual_seed(1)
    angles = torch.arange(8, dtype=torch.float64) * (torch.pi / 4)
    centres = RADIUS * torch.stack([angles.cos(), angles.sin()], dim=1)
    for share in (0.02, 0.3, 0.8):
        t = torch.tensor(path.start + share * (path.end - path.start), dtype=torch.float64)
        alpha, sigma = path.alpha(t), path.sigma(t)
        x = 2 * torch.randn(32, 2, generator=generator, dtype=torch.float64).requires_grad_()
        variance = (alpha * SPREAD).square() + sigma.square()
        log_density = torch.logsumexp(-(x[:, None] - alpha * centres).square().sum(2) / (2 * variance), dim=1)
        (expected,) = torch.autograd.grad(log_density.sum(), x)
        torch.testing.assert_close(ring(path).score(t, x.detach()), expected, rtol=1e-8, atol=1e-10)


@every
def test_the_flow_carries_the_law_of_normal_data(name: str):
    """Its velocity at x = m_t + c sqrt(v_t) is the slope of that, whatever c."""
    path = process(name)
    field, c = normal(path), torch.tensor([[-1.0], [0.0], [2.0]], dtype=torch.float64)

    def carried(t: Tensor) -> Tensor:
        return 0.7 * path.alpha(t) + c * (0.36 * path.alpha(t).square() + path.sigma(t).square()).sqrt()

    for share in (0.01, 0.5, 0.97):
        t = torch.tensor(path.start + share * (path.end - path.start), dtype=torch.float64)
        slope = torch.func.jvp(carried, (t,), (torch.ones_like(t),))[1]
        torch.testing.assert_close(field(t, carried(t)), slope, rtol=1e-8, atol=1e-9)


@every
def test_preconditioned_inputs_and_targets_have_unit_variance(name: str):
    """Exactly, from the variances of data and noise, and no other c_skip does with a smaller c_out."""
    path, s = process(name), 0.6
    t = path.start + (path.end - path.start) * torch.linspace(0, 1, 9, dtype=torch.float64)
    alpha, sigma = path.alpha(t), path.sigma(t)
    factors = precondition(path, t, s)
    ones = torch.ones_like(t)
    torch.testing.assert_close(factors.inside.square() * ((alpha * s).square() + sigma.square()), ones)

    def left(skip: Tensor) -> Tensor:
        """The variance of x0 - c_skip x."""
        return ((1 - skip * alpha) * s).square() + (skip * sigma).square()

    torch.testing.assert_close(left(factors.skip), factors.out.square())
    for other in (0.9, 1.1):
        assert (left(other * factors.skip + 1e-3 * (other - 1)) >= factors.out.square() * (1 - 1e-12)).all()
    assert factors.noise.isfinite().all()


def test_mistakes_are_named():
    path, x = process("vp"), torch.zeros(2, 3)
    with pytest.raises(InputError, match="unknown parameterisation 'esp': did you mean 'eps'"):
        convert(path, x, x, torch.tensor(0.5), source="x0", target="esp")
    with pytest.raises(InputError, match="unknown parameterisation 'y'"):
        convert(path, x, x, torch.tensor(0.5), source="y", target="y")
    with pytest.raises(InputError, match=r"shape of x, \(2, 3\), got \(2,\)"):
        convert(path, x[:, 0], x, torch.tensor(0.5), source="x0", target="eps")
