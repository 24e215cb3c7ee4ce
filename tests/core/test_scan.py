"""The diagonal recurrence against the loop it replaces, scipy's filter and closed forms, and its gradients likewise."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from scipy.signal import lfilter
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from integrand.core.errors import InputError
from integrand.core.numerics import diagonal_scan, scan
from integrand.core.numerics.convolution import diagonal_convolution

LENGTHS = [0, 1, 2, 3, 4, 5, 7, 9, 10, 13, 16, 17, 31, 36, 37, 97, 100, 101]  # primes, squares, squares + 1
DTYPES = [torch.float64, torch.complex128]
CONSTANT = [(), (1,), (3,), (1, 3), (2, 1, 1), (2, 1, 3)]  # shapes of decays that do not change along (2, L, 3)


@pytest.fixture(params=[None, (1, 5), (3, 4), (4, 6), (5, 100), 2, 3, 8], ids=str)
def chunking(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks as they are chosen; some so small that short sequences have several blocks and a rest; an accelerator's.

    A number is the elements of an accelerator's chunks, so few that the ends of chunks are cut again, and their ends.
    """
    if isinstance(request.param, int):
        monkeypatch.setattr(scan, "FAN", request.param)
        monkeypatch.setattr(scan, "_is_wide", lambda x: True)
    elif request.param:
        monkeypatch.setattr(scan, "_chunking", lambda b: request.param)


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


def constant_decay(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Decays with |a| <= 1, some real ones negative."""
    generator = torch.Generator().manual_seed(0)
    size = torch.rand(shape, generator=generator, dtype=torch.float64) * 2 - 1
    angle = torch.randn(shape, generator=generator, dtype=torch.float64)
    return torch.polar(size.abs(), angle) if dtype.is_complex else size


@pytest.mark.usefixtures("chunking")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("length", LENGTHS)
def test_equals_the_loop(length: int, dtype: torch.dtype):
    for shape in ((), (3,), (2, 3)):
        a, b, initial = case(length, dtype, *shape)
        assert_rounding(diagonal_scan(a, b), loop(a, b))
        assert_rounding(diagonal_scan(a, b, initial), loop(a, b, initial))


@pytest.mark.usefixtures("chunking")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("length", [1, 2, 17, 64, 97])
def test_a_constant_decay_equals_the_filter_of_scipy(length: int, dtype: torch.dtype):
    _, b, _ = case(length, dtype)
    a = constant_decay((), dtype)
    expected = torch.from_numpy(lfilter([1.0], [1.0, -a.numpy()], b.numpy(), axis=1))
    assert_rounding(diagonal_scan(a, b), expected)
    assert_rounding(diagonal_convolution(a, b), expected)


@pytest.mark.usefixtures("chunking")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("length", [0, 1, 2, 5, 16, 37, 64])
def test_reverse_is_forward_between_two_flips(length: int, dtype: torch.dtype):
    a, b, initial = case(length, dtype, 3)
    assert_rounding(diagonal_scan(a, b, initial, reverse=True), loop(a.flip(1), b.flip(1), initial).flip(1))
    a = constant_decay((3,), dtype)
    assert_rounding(diagonal_scan(a, b, initial, reverse=True), loop(a, b.flip(1), initial).flip(1))


@pytest.mark.usefixtures("chunking")
def test_inputs_and_cotangents_are_left_alone():
    for shape in ((2, 50, 3), (3,)):
        _, b, initial = case(50, torch.complex128, 3)
        inputs = [constant_decay(shape, torch.complex128), b, initial, torch.randn_like(b)]
        copies = [tensor.clone() for tensor in inputs]
        *leaves, cotangent = [tensor.requires_grad_() for tensor in inputs]
        diagonal_scan(*leaves).backward(cotangent.detach())
        for tensor, copy in zip(inputs, copies, strict=True):
            assert torch.equal(tensor, copy)


@pytest.mark.usefixtures("chunking")
@pytest.mark.parametrize("shape", [*CONSTANT, (37, 1), (37, 3), (1, 37, 3), (2, 37, 1)])
def test_decays_broadcast(shape: tuple[int, ...]):
    _, b, initial = case(37, torch.float64, 3)
    a = constant_decay(shape, torch.float64)
    assert_rounding(diagonal_scan(a, b, initial), loop(a, b, initial))


def test_any_layout_of_memory_will_do():
    a, b, initial = case(37, torch.complex128, 3)
    expected = loop(a, b, initial)
    time_first = b.transpose(0, 1).contiguous().transpose(0, 1)
    assert_rounding(diagonal_scan(a.conj(), time_first.conj(), initial.conj()), expected.conj())
    assert diagonal_scan(a, time_first).is_contiguous()
    shared = b[:, :1].expand_as(b)
    assert_rounding(diagonal_scan(a, shared, initial), loop(a, shared, initial))


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


@pytest.mark.usefixtures("chunking")
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("length", [1, 2, 5, 14])
def test_first_and_second_derivatives_agree_with_finite_differences(length: int, dtype: torch.dtype, reverse: bool):
    inputs = tuple(tensor.requires_grad_() for tensor in case(length, dtype))
    check_derivatives(lambda *terms: diagonal_scan(*terms, reverse=reverse), inputs)


@pytest.mark.parametrize("solve", [diagonal_scan, diagonal_convolution])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("shape", [(3,), (2, 1, 1)])
def test_derivatives_of_constant_decays_agree_with_finite_differences(
    shape: tuple[int, ...], reverse: bool, solve: Callable[..., Tensor]
):
    _, b, initial = case(7, torch.complex128, 3)
    inputs = tuple(tensor.requires_grad_() for tensor in (constant_decay(shape, torch.complex128), b, initial))
    check_derivatives(lambda *terms: solve(*terms, reverse=reverse), inputs)


def check_derivatives(solve: Callable[..., Tensor], inputs: tuple[Tensor, ...]) -> None:
    """Directions in place of full Jacobians: as sharp for a wrong formula, and a tenth of the time."""
    assert torch.autograd.gradcheck(solve, inputs, fast_mode=True)
    assert torch.autograd.gradgradcheck(solve, inputs, fast_mode=True)


@pytest.mark.usefixtures("chunking")
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("shape", [*CONSTANT, (37, 1), (1, 37, 3), (2, 37, 3)])
def test_gradients_are_those_of_the_loop(shape: tuple[int, ...], reverse: bool):
    """Both of the ordinary backward pass and of the one that leaves a graph; real decays, complex inputs."""
    a = constant_decay(shape, torch.float64).requires_grad_()
    _, b, initial = (tensor.requires_grad_() for tensor in case(37, torch.complex128, 3))
    cotangent = torch.randn(b.shape, dtype=b.dtype, generator=torch.Generator().manual_seed(1))
    turned = loop(a.expand(b.shape).flip(1), b.flip(1), initial).flip(1) if reverse else loop(a, b, initial)
    expected = torch.autograd.grad(turned, (a, b, initial), cotangent)
    for create_graph in (False, True):
        states = diagonal_scan(a, b, initial, reverse=reverse)
        actual = torch.autograd.grad(states, (a, b, initial), cotangent, create_graph=create_graph)
        for one, other in zip(actual, expected, strict=True):
            # A sum of up to 2 x 37 x 3 products of sums of 37, each with its rounding.
            bound = 222 * 37 * torch.finfo(torch.float64).eps * other.abs().max().item()
            torch.testing.assert_close(one.detach(), other, rtol=0, atol=bound)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("length", [1, 2, 5, 8, 37])
@pytest.mark.parametrize("constant", [False, True])
def test_torch_func_sees_the_same_recurrence(length: int, constant: bool, reverse: bool):
    a, b, initial = case(length, torch.float64, 3)
    a = a[:, :1] if constant else a
    solve = partial(diagonal_scan, reverse=reverse)
    expected = torch.autograd.functional.jacobian(solve, (a, b, initial))
    for transform in (torch.func.jacrev, torch.func.jacfwd):
        for one, other in zip(transform(solve, argnums=(0, 1, 2))(a, b, initial), expected, strict=True):
            assert_rounding(one, other)
    each = torch.func.vmap(lambda a, b, start: solve(a[None], b[None], start[None])[0])(a, b, initial)
    assert_rounding(each, solve(a, b, initial))


@pytest.mark.parametrize("graph", [False, True])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("constant", [False, True])
def test_many_gradients_at_once_are_those_of_one_by_one(constant: bool, reverse: bool, graph: bool):
    """As the exact divergence of a field with a scan in it asks for them."""
    torch.manual_seed(0)
    a = torch.rand(1 if constant else 2, 1 if constant else 40, 3, dtype=torch.float64, requires_grad=True)
    b = torch.randn(2, 40, 3, dtype=torch.float64, requires_grad=True)
    start = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    states = diagonal_scan(a, b, start, reverse=reverse)
    vectors = torch.randn(4, 2, 40, 3, dtype=torch.float64)
    given = {"retain_graph": True, "create_graph": graph}
    together = torch.autograd.grad(states, (a, b, start), vectors, is_grads_batched=True, **given)
    for i, vector in enumerate(vectors):
        for many, one in zip(together, torch.autograd.grad(states, (a, b, start), vector, **given), strict=True):
            torch.testing.assert_close(many[i], one)


def test_what_needs_no_gradient_gets_none():
    a, b, initial = case(7, torch.float64, 2)
    (grad,) = torch.autograd.grad(diagonal_scan(a, b.requires_grad_(), initial).sum(), (b,))
    assert torch.autograd.gradcheck(lambda b: diagonal_scan(a, b), (b,))
    assert grad.shape == b.shape


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


def test_growing_decays_meet_states_of_zero():
    """2^2000 overflows: a product of all decays would make 0 x inf of the zeros that come first."""
    b = torch.zeros(1, 2000, 1)
    b[:, -20:] = 1
    for a in (torch.tensor(2.0), torch.full((1, 2000, 1), 2.0)):
        h = diagonal_scan(a, b)
        assert h[0, -1, 0] == 2**20 - 1  # below 2^24: exact
        assert torch.equal(h[:, :-20], b[:, :-20])
        assert torch.equal(diagonal_scan(a, b.flip(1), reverse=True), h.flip(1))


def test_vanishing_decays_leave_the_inputs():
    b = torch.randn(1, 500, 2, generator=torch.Generator().manual_seed(0))
    for a in (torch.tensor(1e-30), torch.full((1, 500, 1), 1e-30), torch.tensor(0j)):
        assert torch.equal(diagonal_scan(a, b), b.to(torch.promote_types(a.dtype, b.dtype)))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("solve", [diagonal_scan, diagonal_convolution])
def test_half_precision_is_computed_in_single(dtype: torch.dtype, solve: Callable[..., Tensor]):
    a, b = constant_decay((3,), torch.float64).to(dtype), case(300, torch.float64, 3)[1].to(dtype)
    single = solve(a.float(), b.float())
    assert torch.equal(solve(a, b), single.to(dtype))
    assert solve(a, b.float()).dtype == torch.float32
    b.requires_grad_()
    (grad,) = torch.autograd.grad(solve(a, b), (b,), torch.ones_like(b))
    assert grad.dtype == dtype


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("length", LENGTHS)
def test_convolution_equals_the_scan(length: int, dtype: torch.dtype, reverse: bool):
    _, b, initial = case(length, dtype, 3)
    for shape in CONSTANT:
        a = constant_decay(shape, dtype)
        for start in (None, initial):
            states = diagonal_scan(a, b, start, reverse=reverse)
            # Three transforms, whose rounding is below that of the sums over L that the bound allows for.
            assert_rounding(diagonal_convolution(a, b, start, reverse=reverse), states)


def test_convolution_and_scan_have_the_same_gradients_in_single_precision():
    generator = torch.Generator().manual_seed(0)
    a = torch.polar(torch.full((4,), 0.99), torch.rand(4, generator=generator))
    b, cotangent = (torch.randn(2, 1000, 4, dtype=torch.complex64, generator=generator) for _ in range(2))
    sides = []
    for solve in (diagonal_scan, diagonal_convolution):
        leaves = [tensor.clone().requires_grad_() for tensor in (a, b)]
        sides.append(torch.autograd.grad(solve(*leaves), leaves, cotangent))
    for scanned, convolved in zip(*sides, strict=True):
        # Memory of about 1 / (1 - 0.99) = 100 elements, twice in the gradient of a: so many roundings at most.
        bound = 200 * torch.finfo(torch.float32).eps * scanned.abs().max().item()
        torch.testing.assert_close(convolved, scanned, rtol=0, atol=bound)


class Count(TorchDispatchMode):
    """Counts operations that do something to numbers, not views of them."""

    def __init__(self) -> None:
        super().__init__()
        self.operations = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.operations += not func.is_view
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("constant", [False, True])
def test_operations_on_an_accelerator_grow_like_the_logarithm(constant: bool):
    """The meta device is none on which the host waits, but operations are those of any accelerator."""
    counts = []
    for length in (8**3, 8**4, 8**5):
        b = torch.empty(2, length, 3, device="meta", requires_grad=True)
        a = torch.empty((3,) if constant else (2, length, 3), device="meta", requires_grad=True)
        with Count() as count:
            torch.autograd.grad(diagonal_scan(a, b).sum(), (a, b))
        counts.append(count.operations)
    assert counts[0] < 150
    assert counts[2] - counts[1] == counts[1] - counts[0] <= 60  # as many more for each level, there and back


@pytest.mark.parametrize("solve", [diagonal_scan, diagonal_convolution])
def test_the_geometric_series(solve: Callable[..., Tensor]):
    """Ones give (1 - a^(l + 1)) / (1 - a); with the fixed point 1 / (1 - a) before them, that throughout."""
    a = torch.tensor([0.5, -0.9, 0.6 + 0.7j], dtype=torch.complex128)
    power = a ** torch.arange(1, 101, dtype=torch.float64).unsqueeze(1)
    ones, fixed = torch.ones(1, 100, 3, dtype=torch.complex128), (1 / (1 - a)).unsqueeze(0)
    # 1 / (1 - |a|) < 13 numbers are in effect summed, up to 100 of size 1.
    assert torch.allclose(solve(a, ones), (1 - power) / (1 - a), rtol=0, atol=1300 * torch.finfo(torch.float64).eps)
    rested = solve(a, ones, fixed, reverse=True)
    assert torch.allclose(rested, fixed.expand_as(ones), rtol=0, atol=1300 * torch.finfo(torch.float64).eps)


@pytest.mark.parametrize("solve", [diagonal_scan, diagonal_convolution])
@pytest.mark.parametrize(
    ("a", "b", "initial", "message"),
    [
        ((), (5,), None, r"\(batch, length, \.\.\.\), got \(5,\)"),
        ((4,), (2, 5, 3), None, r"\(4,\) does not broadcast to b of shape \(2, 5, 3\)"),
        ((1, 2, 5, 3), (2, 5, 3), None, "does not broadcast"),
        ((2, 3), (1, 1, 3), None, "does not broadcast"),
        ((3,), (2, 5, 3), (3,), r"one element, \(2, 3\), got \(3,\)"),
    ],
)
def test_shapes_that_do_not_fit_are_named(
    a: tuple[int, ...],
    b: tuple[int, ...],
    initial: tuple[int, ...] | None,
    message: str,
    solve: Callable[..., Tensor],
):
    with pytest.raises(InputError, match=message):
        solve(torch.ones(a), torch.ones(b), None if initial is None else torch.ones(initial))


def test_whole_numbers_and_changing_decays_are_refused():
    whole = torch.ones(1, 5, 1, dtype=torch.int64)
    with pytest.raises(InputError, match=r"torch\.int64: call \.float\(\)"):
        diagonal_scan(whole, whole)
    with pytest.raises(InputError, match="use diagonal_scan"):
        diagonal_convolution(whole.float(), whole.float())


@pytest.mark.parametrize("solve", [diagonal_scan, diagonal_convolution])
def test_other_devices_get_no_tensor_of_the_processor(solve: Callable[..., Tensor]):
    a, b = torch.ones(3, device="meta", requires_grad=True), torch.ones(2, 100, 3, device="meta")
    states = solve(a, b)
    states.sum().backward()
    assert states.device == b.device
    assert a.grad is not None
