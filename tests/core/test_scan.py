"""The diagonal recurrence against the loop it replaces, and its gradients against closed forms."""

import pytest
import torch
from torch import Tensor

from integrand.core.numerics import diagonal_scan

LENGTHS = [0, 1, 2, 3, 4, 5, 7, 9, 10, 13, 16, 17, 31, 36, 37, 97, 100, 101]  # primes, squares, squares + 1
DTYPES = [torch.float64, torch.complex128]


def loop(a: Tensor, b: Tensor, initial: Tensor | None = None) -> Tensor:
    a = a.expand_as(b)
    h = torch.zeros_like(b[:, 0] if b.shape[1] else b.sum(1)) if initial is None else initial
    states = []
    for index in range(b.shape[1]):
        h = a[:, index] * h + b[:, index]
        states.append(h)
    return torch.stack(states, dim=1) if states else b


def case(length: int, dtype: torch.dtype, *shape: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(length)
    a = torch.rand(2, length, *shape, generator=generator, dtype=torch.float64).to(dtype)
    if dtype.is_complex:
        a = a * torch.exp(1j * torch.randn(2, length, *shape, generator=generator, dtype=torch.float64))
    b = torch.randn(2, length, *shape, generator=generator, dtype=dtype)
    return a, b, torch.randn(2, *shape, generator=generator, dtype=dtype)


def assert_rounding(actual: Tensor, expected: Tensor) -> None:
    """With |a| <= 1 both sum at most L + 1 products: 2 (L + 1) roundings, four times if complex, of sums up to L h."""
    if expected.numel():
        eps = torch.finfo(expected.dtype).eps
        scale = expected.detach().abs().max().item() * expected.shape[1]
        torch.testing.assert_close(actual, expected, rtol=0, atol=8 * (expected.shape[1] + 1) * eps * scale)
    else:
        assert actual.shape == expected.shape


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("length", LENGTHS)
def test_equals_the_loop(length: int, dtype: torch.dtype):
    for shape in ((), (3,), (2, 3)):
        a, b, initial = case(length, dtype, *shape)
        assert_rounding(diagonal_scan(a, b), loop(a, b))
        assert_rounding(diagonal_scan(a, b, initial), loop(a, b, initial))


def test_inputs_are_left_alone():
    a, b, initial = case(10, torch.float64, 3)
    copies = [tensor.clone() for tensor in (a, b, initial)]
    diagonal_scan(a, b, initial)
    for tensor, copy in zip((a, b, initial), copies, strict=True):
        assert torch.equal(tensor, copy)


@pytest.mark.parametrize("shape", [(), (1,), (3,), (1, 3), (11, 1), (11, 3), (1, 11, 3), (2, 1, 1)])
def test_decays_broadcast(shape: tuple[int, ...]):
    _, b, initial = case(11, torch.float64, 3)
    a = torch.rand(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert_rounding(diagonal_scan(a, b, initial), loop(a, b, initial))


def test_real_and_complex_mix():
    a, b, initial = case(11, torch.complex128, 3)
    assert_rounding(diagonal_scan(a, b.real), loop(a, b.real.to(a.dtype)))
    assert_rounding(diagonal_scan(a.real, b), loop(a.real.to(b.dtype), b))
    mixed = diagonal_scan(a.real, b.real, initial)
    assert_rounding(mixed, loop(a.real.to(b.dtype), b.real.to(b.dtype), initial))


def test_ones_give_sums_and_zeros_give_inputs():
    b = torch.arange(1.0, 38.0).view(1, 37, 1)
    expected = torch.tensor([n * (n + 1) / 2 for n in range(1, 38)]).view(1, 37, 1)
    assert torch.equal(diagonal_scan(torch.tensor(1.0), b), expected)  # whole numbers: exact in single precision
    assert torch.equal(diagonal_scan(torch.tensor(0.0), b), b)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("length", [1, 2, 5, 9])
def test_first_and_second_derivatives_agree_with_finite_differences(length: int, dtype: torch.dtype):
    inputs = tuple(tensor.requires_grad_() for tensor in case(length, dtype, 2))
    assert torch.autograd.gradcheck(diagonal_scan, inputs)
    assert torch.autograd.gradgradcheck(diagonal_scan, inputs)


def test_derivatives_of_broadcast_decays_agree_with_finite_differences():
    _, b, initial = case(7, torch.float64, 2)
    a = torch.tensor([0.3, 0.9], dtype=torch.float64, requires_grad=True)
    inputs = (a, b.requires_grad_(), initial.requires_grad_())
    assert torch.autograd.gradcheck(diagonal_scan, inputs)
    assert torch.autograd.gradcheck(lambda b: diagonal_scan(a.detach(), b), (b,))  # decays that need no gradient


@pytest.mark.parametrize("length", [1, 6, 17, 50])
def test_the_gradient_for_a_constant_decay_is_the_known_one(length: int):
    """With one complex a throughout, h_L = sum_l a^(L - l) b_l, and dh_L/da = sum_l (L - l) a^(L - l - 1) b_l.

    For the real function Re h_L, torch gives the conjugate of the derivative.
    """
    a = torch.tensor(0.9 * complex(0.6, 0.8), dtype=torch.complex128, requires_grad=True)
    _, b, _ = case(length, torch.complex128)
    b = b[:1].requires_grad_()
    last = diagonal_scan(a, b)[0, -1]
    power = torch.arange(length - 1, -1, -1, dtype=torch.float64)
    value = (a.detach() ** power * b.detach()).sum()
    slope = (power * a.detach() ** (power - 1).clamp(min=0) * b.detach()).sum()
    grad_a, grad_b = torch.autograd.grad(last.real, (a, b))
    # Powers are taken by logarithms, whose rounding grows with the power.
    torch.testing.assert_close(last.detach(), value, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(grad_a, slope.conj(), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(grad_b[0], (a.detach() ** power).conj(), rtol=1e-12, atol=1e-12)


def test_long_memory_in_single_precision():
    """A decay of 0.9999 over 10,000 elements: (1 - a^L) / (1 - a) of ones, known to the digits a has."""
    length, a = 10_000, torch.tensor(0.9999)
    exact = (1 - a.double() ** length) / (1 - a.double())
    # a^L alone has L roundings of eps / 2 in the worst case.
    bound = length * torch.finfo(torch.float32).eps
    assert abs(diagonal_scan(a, torch.ones(1, length, 1))[0, -1, 0].double() / exact - 1) < bound
