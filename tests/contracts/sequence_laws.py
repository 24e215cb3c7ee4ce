"""The laws of ``SequenceLayer``, for any layer: name a factory in ``test_sequence_layers.py`` and inherit them.

Letters as in ``core/layers/sequence_layer.py``: B batch, L length, D channels.

Tolerances. In float64 two orders of the same sums differ by rounding alone. An output passes through at most L updates,
each of at most WIDTH sums of numbers of the size of the output, so ``ROUNDING = L * WIDTH * eps`` bounds the relative
difference, with eps of the precision in use.
"""

import copy
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from module_laws import made_elsewhere, needs_accelerator
from torch import Tensor

from integrand.core.errors import InputError
from integrand.core.layers import SequenceLayer

B, L, D = 3, 23, 6
WIDTH = 16  # widest inner sum of the layers under test


@dataclass(frozen=True)
class Case:
    """A layer under test.

    Attributes:
        name: shown by pytest.
        make: builds the layer with D channels, given ``time_scale``.
        flow_order: order of the method that moves the state over an interval; None where that is exact.
        impulsive: whether an element acts at its time only, whatever the interval before it.
        compiles: whether ``torch.compile(fullgraph=True)`` is declared to work.
        transforms: whether torch.func can differentiate it; what it cannot says so.
    """

    name: str
    make: Callable[[float], SequenceLayer]
    flow_order: int | None = None
    impulsive: bool = True
    compiles: bool = False
    transforms: bool = True

    def layer(self, *, time_scale: float = 1.0, seed: int = 0) -> SequenceLayer:
        torch.manual_seed(seed)
        return self.make(time_scale).double().eval()


def map_state(change: Callable[[Tensor], Tensor], state: Any) -> Any:
    """A state as nested tuples, with every tensor changed."""
    return change(state) if isinstance(state, Tensor) else tuple(map_state(change, part) for part in state)


def rounding(dtype: torch.dtype = torch.float64) -> float:
    return L * WIDTH * torch.finfo(dtype).eps


def flat(state: Any) -> list[Tensor]:
    """The tensors of a state."""
    if isinstance(state, Tensor):
        return [state]
    return [tensor for part in state for tensor in flat(part)]


def of_sample(state: Any, index: int) -> Any:
    if isinstance(state, Tensor):
        return state[index : index + 1]
    return [of_sample(part, index) for part in state]


def assert_near(actual: Tensor, expected: Tensor, relative: float | None = None) -> None:
    """Compare on the scale of the largest value expected."""
    largest = expected.detach().abs().max().item() if expected.numel() else 0.0
    bound = (rounding() if relative is None else relative) * largest
    torch.testing.assert_close(actual, expected, rtol=0, atol=bound)


def assert_states_near(actual: Any, expected: Any, relative: float | None = None) -> None:
    mine, theirs = flat(actual), flat(expected)
    assert len(mine) == len(theirs)
    for one, other in zip(mine, theirs, strict=True):
        assert_near(one, other, relative)


def sequence(dtype: torch.dtype = torch.float64, length: int = L) -> tuple[Tensor, Tensor, Tensor]:
    """Elements, irregular intervals (the first of a sample may be 0) and which elements are present."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(B, length, D, generator=generator, dtype=torch.float64)
    dt = 2 * torch.rand(B, length, generator=generator, dtype=torch.float64)
    dt[0, :1] = 0
    mask = torch.rand(B, length, generator=generator) < 0.7
    return x.to(dtype), dt.to(dtype), mask


class SequenceLaws:
    """Inherit and parametrize with ``case``."""

    def test_shapes_and_precision(self, case: Case):
        x, dt, mask = sequence()
        y, state = case.layer()(x, dt, mask)
        assert (y.shape, y.dtype) == (x.shape, x.dtype)
        assert all(tensor.shape[0] == B for tensor in flat(state))
        for own, initial in zip(flat(state), flat(case.layer().initial_state(B, x)), strict=True):
            assert (own.shape, own.dtype) == (initial.shape, initial.dtype)

    def test_parallel_equals_stepwise(self, case: Case):
        layer, (x, dt, _) = case.layer(), sequence()
        expected = layer(x, dt)
        state, outputs = None, []
        for index in range(L):
            y, state = layer.step(x[:, index], dt[:, index], state)
            assert y.shape == (B, D)
            outputs.append(y)
        assert_near(torch.stack(outputs, dim=1), expected.y)
        assert_states_near(state, expected.state)

    def test_step_takes_the_forms_of_dt(self, case: Case):
        layer, (x, _, _) = case.layer(time_scale=0.5), sequence()
        expected = layer.step(x[:, 0], torch.full((B,), 0.5, dtype=x.dtype))
        for dt in (None, 0.5, torch.tensor(0.5)):  # to rounding: what is known to be constant may be computed once
            assert_near(layer.step(x[:, 0], dt).y, expected.y)

    def test_chunks_that_hand_on_their_state_equal_one_call(self, case: Case):
        layer, (x, dt, mask) = case.layer(), sequence()
        expected = layer(x, dt, mask)
        state, outputs = None, []
        for chunk in (slice(0, 1), slice(1, 5), slice(5, 5), slice(5, 17), slice(17, L)):
            y, state = layer(x[:, chunk], dt[:, chunk], mask[:, chunk], state)
            outputs.append(y)
        assert_near(torch.cat(outputs, dim=1), expected.y)
        assert_states_near(state, expected.state)

    def test_no_state_is_the_initial_state(self, case: Case):
        layer, (x, dt, mask) = case.layer(), sequence()
        assert_near(layer(x, dt, mask, layer.initial_state(B, x)).y, layer(x, dt, mask).y)

    def test_the_state_matters(self, case: Case):
        layer, (x, dt, _) = case.layer(), sequence()
        state = layer(x, dt).state
        assert not torch.allclose(layer(x, dt, None, state).y, layer(x, dt).y, atol=1e-3)

    def test_padding_changes_nothing(self, case: Case):
        layer, (x, dt, mask) = case.layer(), sequence()
        expected = layer(x, dt, mask)
        more = 8
        padded = layer(
            torch.cat([x, 1e3 * torch.ones(B, more, D, dtype=x.dtype)], dim=1),
            torch.cat([dt, dt.new_zeros(B, more)], dim=1),
            torch.cat([mask, torch.zeros(B, more, dtype=torch.bool)], dim=1),
        )
        assert_near(padded.y[:, :L], expected.y)
        assert_states_near(padded.state, expected.state)

    def test_padding_between_elements_changes_nothing(self, case: Case):
        layer, (x, dt, mask) = case.layer(), sequence()
        expected = layer(x, dt, mask)
        at = 9
        padded = layer(
            torch.cat([x[:, :at], 1e3 * torch.ones(B, 2, D, dtype=x.dtype), x[:, at:]], dim=1),
            torch.cat([dt[:, :at], dt.new_zeros(B, 2), dt[:, at:]], dim=1),
            torch.cat([mask[:, :at], torch.zeros(B, 2, dtype=torch.bool), mask[:, at:]], dim=1),
        )
        assert_near(torch.cat([padded.y[:, :at], padded.y[:, at + 2 :]], dim=1), expected.y)
        assert_states_near(padded.state, expected.state)

    def test_a_mask_of_present_elements_is_no_mask(self, case: Case):
        layer, (x, dt, mask) = case.layer(), sequence()
        assert_near(layer(x, dt, torch.ones_like(mask)).y, layer(x, dt).y)
        assert not torch.allclose(layer(x, dt, mask).y, layer(x, dt).y, atol=1e-3)

    def test_an_absent_element_brings_nothing(self, case: Case):
        """What stands in absent elements changes neither the state nor the outputs of those that are present."""
        layer, (x, dt, mask) = case.layer(), sequence()
        edited = torch.where(mask.unsqueeze(-1), x, 1e3)
        expected, actual = layer(x, dt, mask), layer(edited, dt, mask)
        assert_near(actual.y[mask], expected.y[mask])
        assert_states_near(actual.state, expected.state)

    def test_absent_elements_let_their_time_pass(self, case: Case):
        """Two absent elements are one of their joint time: exactly, or with the local error of the flow's method."""
        layer, (x, dt, _) = case.layer(), sequence()
        state = layer(x, dt).state
        gone = torch.zeros(B, 2, dtype=torch.bool)

        def gap(span: float) -> float:
            one = layer(x[:, :1], span, gone[:, :1], state).state
            two = layer(x[:, :2], span * torch.tensor([0.25, 0.75], dtype=x.dtype), gone, state).state
            return max((a - b).abs().max().item() for a, b in zip(flat(one), flat(two), strict=True))

        moved = layer(x[:, :1], 1.0, gone[:, :1], state).state
        assert max((a - b).abs().max().item() for a, b in zip(flat(moved), flat(state), strict=True)) > 1e-3
        if case.flow_order is None:
            assert gap(1.0) <= rounding() * max(tensor.abs().max().item() for tensor in flat(state))
        else:
            # The two differ by local errors, O(span^(order + 1)).
            assert np.log2(gap(0.1) / gap(0.05)) == pytest.approx(case.flow_order + 1, abs=0.1)

    def test_an_impulsive_layer_knows_gaps_by_their_sum(self, case: Case):
        """Removing absent elements and adding their time to the next present one changes nothing there."""
        if not case.impulsive:
            pytest.skip("holds its inputs over their own intervals")
        layer, (x, dt, _) = case.layer(), sequence()

        def gap(scale: float) -> float:
            state = layer(x, dt).state
            present = torch.tensor([False, False, True]).expand(B, -1)
            spans = scale * dt[:, 1:4]
            three = layer(x[:, 1:4], spans, present, state)
            one = layer(x[:, 3:4], spans.sum(1, keepdim=True), None, state)
            return (three.y[:, -1] - one.y[:, -1]).abs().max().item()

        if case.flow_order is None:
            assert gap(1.0) <= rounding() * layer(x, dt).y.abs().max().item()
        else:
            assert np.log2(gap(0.1) / gap(0.05)) == pytest.approx(case.flow_order + 1, abs=0.1)

    def test_a_batch_equals_its_samples_one_by_one(self, case: Case):
        layer, (x, dt, mask) = case.layer(), sequence()
        expected = layer(x, dt, mask)
        for i in range(B):
            alone = layer(x[i : i + 1], dt[i : i + 1], mask[i : i + 1])
            assert_near(alone.y, expected.y[i : i + 1])
            assert_states_near(alone.state, of_sample(expected.state, i))

    def test_editing_the_future_leaves_the_past(self, case: Case):
        layer, (x, dt, mask) = case.layer(), sequence()
        now = 11
        expected = layer(x, dt, mask).y
        x2, dt2, mask2 = x.clone(), dt.clone(), mask.clone()
        x2[:, now + 1 :], dt2[:, now + 1 :], mask2[:, now + 1 :] = 1e3, 7.0, ~mask[:, now + 1 :]
        edited = layer(x2, dt2, mask2).y
        assert_near(edited[:, : now + 1], expected[:, : now + 1])
        assert not torch.allclose(edited[:, now + 1 :], expected[:, now + 1 :], atol=1e-3)

    def test_outputs_have_no_gradient_from_the_future_and_some_from_the_past(self, case: Case):
        layer, (x, dt, _) = case.layer(), sequence()
        x, dt = x.requires_grad_(), dt.requires_grad_()
        now = 11
        gradients = torch.autograd.grad(layer(x, dt).y[:, now].square().sum(), (x, dt))
        for gradient in gradients:
            assert torch.count_nonzero(gradient[:, now + 1 :]) == 0
        acts = torch.ones_like(dt, dtype=torch.bool) if case.impulsive else dt > 0  # nothing is held over no time
        assert torch.equal(gradients[0][:, : now + 1].abs().amax(-1) > 0, acts[:, : now + 1])
        assert (gradients[1][:, 1 : now + 1] != 0).all()

    def test_units_of_time_cancel(self, case: Case):
        unit = 7.3
        layer, scaled, (x, dt, mask) = case.layer(), case.layer(time_scale=unit), sequence()
        expected = layer(x, dt, mask)
        actual = scaled(x, unit * dt, mask)
        assert_near(actual.y, expected.y)
        assert_states_near(actual.state, expected.state)
        assert not torch.allclose(scaled(x, dt, mask).y, expected.y, atol=1e-3)

    def test_forms_of_dt_agree(self, case: Case):
        unit = 0.5
        layer, (x, _, mask) = case.layer(time_scale=unit), sequence()
        expected = layer(x, torch.full((B, L), unit, dtype=x.dtype), mask).y
        forms = (None, unit, torch.tensor(unit), torch.tensor([unit]), torch.full((L,), unit), torch.full((1, L), unit))
        for dt in forms:
            assert_near(layer(x, dt, mask).y, expected)
        uneven = torch.linspace(0.1, 2.0, L, dtype=x.dtype)
        assert_near(layer(x, uneven, mask).y, layer(x, uneven.expand(B, L), mask).y)
        assert not torch.allclose(layer(x, uneven, mask).y, expected, atol=1e-3)

    def test_every_parameter_receives_gradient(self, case: Case):
        layer, (x, dt, mask) = case.layer(), sequence()
        layer(x, dt, mask).y.square().sum().backward()
        for name, parameter in layer.named_parameters():
            assert parameter.grad is not None, name
            assert torch.isfinite(parameter.grad).all(), name
            assert torch.count_nonzero(parameter.grad) > 0, name

    def test_it_is_made_on_the_default_device(self, case: Case):
        assert made_elsewhere(lambda: case.make(1.0)) == []

    @needs_accelerator
    def test_an_accelerator_answers_as_the_host(self, case: Case):
        """To rounding, gradients too; the layer is moved as a user moves it."""
        found: list[list[Tensor]] = []
        for device in ("cpu", "cuda"):
            layer, (x, dt, mask) = case.layer().to(device), (each.to(device) for each in sequence())
            y, state = layer(x, dt, mask)
            stepped = layer.step(x[:, 0], dt[:, 0], state).y
            (y.square().sum() + stepped.square().sum()).backward()
            results = [y, stepped, *flat(state), *(p.grad for p in layer.parameters() if p.grad is not None)]
            assert all(each.device.type == device for each in results)
            found.append([each.detach().cpu() for each in results])
        for here, there in zip(*found, strict=True):
            assert_near(there, here, 100 * rounding())

    def test_gradients_agree_with_finite_differences(self, case: Case):
        layer, (x, dt, mask) = case.layer(), sequence()
        inputs = (x[:1, :5].clone().requires_grad_(), (dt[:1, :5] + 0.1).requires_grad_())
        assert torch.autograd.gradcheck(lambda x, dt: layer(x, dt, mask[:1, :5]).y, inputs)

    def test_torch_func_gives_the_same_derivatives(self, case: Case):
        """Each sample's own gradient by vmap of grad, and a slope in forward mode."""
        layer, (x, dt, mask) = case.layer(), sequence()
        dt = dt + 0.1

        def energy(x: Tensor, dt: Tensor, mask: Tensor) -> Tensor:
            return layer(x, dt, mask).y.square().sum()

        inputs = x.clone().requires_grad_(), dt.clone().requires_grad_()
        expected = torch.autograd.grad(energy(*inputs, mask), inputs)
        if not case.transforms:
            with pytest.raises(InputError, match=r"torch\.func"):
                torch.func.grad(energy)(x, dt, mask)
            return
        each = torch.func.vmap(
            torch.func.grad(lambda *sample: energy(*(part[None] for part in sample)), argnums=(0, 1))
        )
        for actual, wanted in zip(each(x, dt, mask), expected, strict=True):
            assert_near(actual, wanted)
        directions = torch.randn_like(x), torch.randn_like(dt)
        slope: Any = torch.func.jvp(lambda x, dt: energy(x, dt, mask), (x, dt), directions)[1]
        along = sum((one * other).sum() for one, other in zip(expected, directions, strict=True))
        assert_near(slope, torch.as_tensor(along))

    @pytest.mark.parametrize("copied", [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))])
    def test_copies_compute_the_same(self, case: Case, copied: Callable):
        layer, (x, dt, mask) = case.layer(), sequence()
        layer(x, dt, mask)
        assert torch.equal(copied(layer)(x, dt, mask).y, layer(x, dt, mask).y)

    def test_parameters_are_the_whole_of_a_layer(self, case: Case):
        layer, other, (x, dt, mask) = case.layer(seed=0), case.layer(seed=1), sequence()
        expected = layer(x, dt, mask).y
        assert not torch.allclose(other(x, dt, mask).y, expected, atol=1e-3)
        other.load_state_dict(layer.state_dict())
        assert torch.equal(other(x, dt, mask).y, expected)

    def test_single_and_double_precision_agree(self, case: Case):
        layer, (x, dt, mask) = case.layer().float(), sequence(torch.float32)
        expected = copy.deepcopy(layer).double()(x.double(), dt.double(), mask)
        actual = layer(x, dt, mask)
        assert actual.y.dtype == torch.float32
        assert_near(actual.y.double(), expected.y, rounding(torch.float32))
        for one, other in zip(flat(actual.state), flat(expected.state), strict=True):
            assert_near(one.to(other.dtype), other, rounding(torch.float32))

    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
    def test_bfloat16_autocast_stays_near(self, case: Case, dtype: torch.dtype):
        """Each of L updates may round what it returns to bfloat16, 2^-8 of its size, and none amplifies."""
        layer, (x, dt, mask) = case.layer().float(), sequence(torch.float32)
        x = x.to(torch.bfloat16)
        expected = layer(x.float(), dt, mask).y
        with torch.autocast("cpu", torch.bfloat16):
            y, state = layer(x.to(dtype), dt, mask)
            again = layer(x.to(dtype), dt, mask, state).y
        assert_near(y.float(), expected, L * 2**-8)
        assert torch.isfinite(again).all()
        y.float().square().sum().backward()
        assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in layer.parameters())

    def test_wrong_shapes_are_named(self, case: Case):
        layer, (x, dt, mask) = case.layer(), sequence()
        wrong: list[tuple[Any, Any, Any, str]] = [
            (x[0], None, None, "takes x of shape"),
            (x[..., :-1], None, None, "takes x of shape"),
            (x, dt[:, :-1], None, "dt must be"),
            (x, torch.cat([dt, dt]), None, "dt must be"),
            (x, dt[0, :-1], None, "dt must be"),
            (x, dt.unsqueeze(-1), None, "dt must be"),
            (x, dt, mask[:, :-1], "mask must have shape"),
            (x, dt, mask[0], "mask must have shape"),
            (x, dt, mask.double(), "be bool"),
            (torch.complex(x, x), dt, mask, "real floating-point x"),
            (x, -0.5, None, "dt must be finite and not negative, got -0.5"),
            (x, torch.tensor(-0.5), None, "dt must be finite and not negative, got -0.5"),
            (x, torch.where(mask, dt, torch.nan), mask, "dt must be finite and not negative, got nan"),
            (x, torch.where(mask, dt, torch.inf), mask, "dt must be finite and not negative, got inf"),
        ]
        for x_wrong, dt_wrong, mask_wrong, message in wrong:
            with pytest.raises(InputError, match=message):
                layer(x_wrong, dt_wrong, mask_wrong)
        with pytest.raises(InputError, match=r"step takes x of shape \(B, D\)"):
            layer.step(x)

    def test_a_state_of_another_batch_is_refused(self, case: Case):
        layer, (x, dt, mask) = case.layer(), sequence()
        state = layer(x[:2], dt[:2], mask[:2]).state
        with pytest.raises(InputError, match="the state is of a batch of 2, x of a batch of 3"):
            layer(x, dt, mask, state)

    def test_a_state_of_another_layer_is_refused(self, case: Case):
        layer, (x, dt, mask) = case.layer(), sequence()
        state = layer(x, dt, mask).state
        narrow = map_state(lambda part: part[..., :-1] if part.dim() > 1 else part.unsqueeze(1), state)
        for wrong in (narrow, (state, state), torch.zeros(()), torch.zeros(B, 99), "no state"):
            with pytest.raises(InputError, match=r"the state of this \w+ has parts of shape"):
                layer(x, dt, mask, wrong)

    def test_what_is_no_tensor_is_named(self, case: Case):
        layer, (x, dt, mask) = case.layer(), sequence()
        wrong: list[tuple[Any, Any, Any, str]] = [
            (x.numpy(), dt, mask, "x must be a tensor, got a ndarray"),
            (x, dt.tolist(), mask, "dt must be None, a number or a real tensor, got a list"),
            (x, torch.complex(dt, dt), mask, "a number or a real tensor, got a tensor of torch.complex"),
            (x, dt, mask.tolist(), "mask must be a tensor, got a list"),
        ]
        for x_wrong, dt_wrong, mask_wrong, message in wrong:
            with pytest.raises(InputError, match=message):
                layer(x_wrong, dt_wrong, mask_wrong)

    def test_absent_elements_may_hold_no_number(self, case: Case):
        """Data are often NaN where nothing was observed: neither outputs nor gradients may catch it."""
        layer, (x, dt, mask) = case.layer(), sequence()
        expected = layer(torch.where(mask.unsqueeze(-1), x, 0), dt, mask)
        x, dt = torch.where(mask.unsqueeze(-1), x, torch.nan).requires_grad_(), dt.requires_grad_()
        actual = layer(x, dt, mask)
        assert torch.isfinite(actual.y).all()
        assert_near(actual.y[mask], expected.y[mask])
        assert_states_near(actual.state, expected.state)
        actual.y.square().sum().backward()
        for tensor in (x, dt, *layer.parameters()):
            assert tensor.grad is not None
            assert torch.isfinite(tensor.grad).all()

    @pytest.mark.parametrize("given", [torch.bfloat16, torch.float32, torch.float64])
    @pytest.mark.parametrize("kept", [torch.bfloat16, torch.float32])
    def test_layer_and_input_may_be_of_any_precision(self, case: Case, kept: torch.dtype, given: torch.dtype):
        """Rounding an input or a parameter to bfloat16 changes it by 2^-9, and each of L updates may add as much."""
        layer, (x, dt, mask) = case.layer().float(), sequence(torch.float32)
        expected = layer(x, dt, mask).y
        layer = copy.deepcopy(layer).to(kept)
        y, state = layer(x.to(given), dt, mask)
        assert y.dtype == given
        assert_near(y.float(), expected, L * 2**-8)
        assert all(part.dtype not in (torch.bfloat16, torch.float16) for part in flat(state))
        assert torch.isfinite(layer(x.to(given), dt, mask, state).y).all()

    def test_a_batch_of_none(self, case: Case):
        layer, (x, dt, mask) = case.layer(), sequence()
        for given in ((x[:0], dt[:0], mask[:0]), (x[:0], None, None)):
            y, state = layer(*given)
            assert y.shape == (0, L, D)
            assert layer.step(x[:0, 0], None, state).y.shape == (0, D)

    def test_samples_without_any_element_are_defined(self, case: Case):
        """Nothing is present: finite outputs and gradients, and what stands in the elements does not matter."""
        layer, (x, dt, mask) = case.layer(), sequence()
        mask = mask & torch.tensor([[True], [False], [True]])
        x.requires_grad_()
        y, state = layer(x, dt, mask)
        y.square().sum().backward()
        assert torch.isfinite(y).all()
        assert x.grad is not None
        assert torch.isfinite(x.grad).all()
        assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in layer.parameters())
        other = layer(torch.full_like(x, 1e3), dt, mask).state
        assert_states_near(of_sample(other, 1), of_sample(state, 1))

    def test_compiled_equals_eager(self, case: Case):
        if not case.compiles:
            pytest.skip("torch.compile is not declared")
        torch.compiler.reset()
        layer, (x, dt, mask) = case.layer(), sequence()
        expected = layer(x, dt, mask)
        # "aot_eager" traces and differentiates the whole as the compiler does, and leaves out the code generator.
        compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
        with torch.no_grad():
            actual = compiled(x, dt, mask)
        assert_near(actual.y, expected.y)
        assert_states_near(actual.state, expected.state)
        # And on from a state, whose gradients the compiler makes, too.
        state, parameters = map_state(Tensor.detach, expected.state), list(layer.parameters())
        outputs = [each(x, dt, mask, state).y for each in (layer, compiled)]
        assert_near(outputs[1], outputs[0])
        known, found = (torch.autograd.grad(y.square().sum(), parameters) for y in outputs)
        for one, other in zip(found, known, strict=True):
            assert_near(one, other)

    def test_no_elements(self, case: Case):
        layer, (x, dt, mask) = case.layer(), sequence()
        state = layer(x, dt).state
        none = layer(x[:, :0], dt[:, :0], mask[:, :0], state)
        assert none.y.shape == (B, 0, D)
        assert_states_near(none.state, state)
        fresh = layer(x[:, :0], dt[:, :0])
        assert_near(layer(x, dt, mask, fresh.state).y, layer(x, dt, mask).y)
