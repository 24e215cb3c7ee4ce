"""Groups normalised along the channels are torch's own, with every derivative, in every precision and layout."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from integrand.core.operators import group_normalization
from integrand.core.operators.group_normalization import channels_lie_last, group_normalize, is_quicker
from integrand.core.operators.unet import UNet

GROUPS = 3
HALVES, SINGLE = [torch.bfloat16, torch.float16], [torch.float32]


def fields(*shape: int, dtype: torch.dtype = torch.float64, offset: float = 0.0) -> Tensor:
    """A field with its channels last in memory, whose channels have different means and deviations."""
    torch.manual_seed(0)
    channels = torch.arange(1.0, 1 + shape[1], dtype=torch.float64).view(-1, *[1] * (len(shape) - 2))
    x = offset + channels * (0.3 + torch.randn(shape, dtype=torch.float64))
    return x.movedim(1, -1).contiguous().movedim(-1, 1).to(dtype)


def by_torch(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    axes = [1] * (x.dim() - 2)
    return F.group_norm(x, GROUPS) * scale.view(*scale.shape, *axes) + shift.view(*shift.shape, *axes)


def by_us(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    return group_normalize(x, scale, shift, groups=GROUPS)


def given(dtype: torch.dtype = torch.float64, *, each: bool = True) -> tuple[Tensor, Tensor, Tensor]:
    x = fields(5, 6, 4, 3, dtype=dtype)
    shape = (5, 6) if each else (6,)
    wide = torch.promote_types(dtype, torch.float32)
    return tuple(  # pyright: ignore[reportReturnType]
        t.requires_grad_() for t in (x, 0.5 + torch.rand(shape, dtype=wide), torch.randn(shape, dtype=wide))
    )


@pytest.fixture(params=[2**18, 1])
def block(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole batch at a time, and sample by sample."""
    monkeypatch.setattr(group_normalization, "BLOCK", request.param)


@pytest.mark.parametrize("shape", [(5, 6, 7), (5, 6, 4, 3), (2, 6, 3, 2, 4), (1, 6, 5, 5), (3, 6, 1, 1)])
@pytest.mark.parametrize("each", [True, False])
@pytest.mark.usefixtures("block")
def test_it_is_torchs_own_with_a_scale_and_shift_of_each_sample(shape: tuple[int, ...], each: bool):
    x, channels = fields(*shape), (shape[0], 6) if each else (6,)
    scale, shift = torch.rand(channels, dtype=torch.float64), torch.randn(channels, dtype=torch.float64)
    found = by_us(x, scale, shift)
    torch.testing.assert_close(found, by_torch(x, scale, shift), rtol=0, atol=1e-13)
    assert found.movedim(1, -1).is_contiguous()


@pytest.mark.parametrize("each", [True, False])
@pytest.mark.usefixtures("block")
def test_gradients_are_those_of_finite_differences_and_have_gradients(each: bool):
    inputs = given(each=each)
    assert torch.autograd.gradcheck(by_us, inputs, check_forward_ad=True, check_batched_grad=True)
    assert torch.autograd.gradgradcheck(by_us, inputs)


@pytest.mark.parametrize("asked", range(3))
def test_a_gradient_by_one_alone_is_that_of_all(asked: int):
    inputs = given()
    gradient = torch.randn_like(inputs[0])
    expected = torch.autograd.grad(by_torch(*inputs), inputs, gradient)[asked]
    few = [each.detach().requires_grad_(place == asked) for place, each in enumerate(inputs)]
    for create_graph in (False, True):
        (found,) = torch.autograd.grad(by_us(*few), few[asked], gradient, create_graph=create_graph)  # pyright: ignore[reportArgumentType]
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_torch_func_sees_through_it():
    x, scale, shift = (each.detach() for each in given())
    tangent = torch.randn_like(x)

    def both(call: Callable[..., Tensor]) -> tuple[Tensor, ...]:
        forward = torch.func.jvp(lambda x: call(x, scale, shift), (x,), (tangent,))[1]
        rows = torch.func.vmap(torch.func.grad(lambda x: call(x[None], scale[:1], shift[:1]).square().sum()))(x)
        return forward, rows

    for found, expected in zip(both(by_us), both(lambda x, *given: by_torch(x.contiguous(), *given)), strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", HALVES)
def test_half_precision_rounds_once(dtype: torch.dtype):
    """The result is the exact one of the given numbers, rounded; its gradient, formed in single precision, as well."""
    inputs = given(dtype)
    wide = [each.detach().double().requires_grad_() for each in inputs]
    gradient = torch.randn_like(inputs[0])
    found, expected = by_us(*inputs), by_torch(*wide)
    half = 0.5 * torch.finfo(dtype).eps  # greatest relative error of rounding
    torch.testing.assert_close(found.double(), expected, rtol=1.001 * half, atol=1e-5)
    back = torch.autograd.grad(found, inputs, gradient), torch.autograd.grad(expected, wide, gradient.double())
    for mine, exact in zip(*back, strict=True):
        torch.testing.assert_close(mine.double(), exact, rtol=1.001 * half, atol=1e-5 * float(exact.abs().max()))


def test_a_mean_far_from_zero_costs_the_digits_of_the_mean_alone():
    """Single precision keeps no digit of a variance of 1 in squares of 10,000, and all of them in differences."""
    x = fields(4, 6, 9, 9, offset=1e4).float()
    wide = x.double()
    found = by_us(x, torch.ones(6), torch.zeros(6))
    exact = by_torch(wide, torch.ones(6).double(), torch.zeros(6).double())
    rounding = 1e4 * torch.finfo(torch.float32).eps
    torch.testing.assert_close(found.double(), exact, rtol=1e-5, atol=2 * rounding)
    grouped = x.unflatten(1, (GROUPS, -1))
    of_squares = grouped.square().mean((2, 3, 4)) - grouped.mean((2, 3, 4)).square()
    of_differences = grouped.double().var((2, 3, 4), correction=0)
    assert float((of_squares / of_differences - 1).abs().max()) > 0.1


def test_layouts_are_told_apart():
    x = torch.zeros(2, 4, 3, 3)
    assert not channels_lie_last(x)
    assert channels_lie_last(x.contiguous(memory_format=torch.channels_last))
    assert channels_lie_last(torch.zeros(2, 4, 3, 3, 3).contiguous(memory_format=torch.channels_last_3d))
    assert not channels_lie_last(x.transpose(2, 3))


def test_torchs_own_is_taken_wherever_it_is_quick():
    last = torch.zeros(2, 64, 3, 3).contiguous(memory_format=torch.channels_last)
    asked = {dtype: [is_quicker(last.to(dtype), groups) for groups in (16, 8, 4)] for dtype in HALVES + SINGLE}
    assert asked == {
        torch.bfloat16: [True, True, False],
        torch.float16: [True, True, False],
        torch.float32: [True, False, False],
    }
    assert not is_quicker(last.contiguous(), 16)
    assert not is_quicker(last.to("meta"), 16)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_a_network_is_the_same_in_either_layout_gradients_too(dims: int):
    torch.manual_seed(0)
    net = UNet(2, dims=dims, width=8, groups=4, multipliers=(1, 2), condition=3).double()  # some of either kind
    x, c = torch.randn(3, 2, *[6] * dims, dtype=torch.float64), torch.randn(3, 3, dtype=torch.float64)
    found = []
    for given in (x, x.movedim(1, -1).contiguous().movedim(-1, 1)):
        y = net(given, condition=c)
        found.append((y.detach(), *torch.autograd.grad(y.square().sum(), list(net.parameters()))))
    for first, last in zip(*found, strict=True):
        torch.testing.assert_close(last, first, rtol=0, atol=1e-11 * float(first.abs().max() + 1))
