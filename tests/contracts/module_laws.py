"""The laws of every field, model and operator that maps batches of tensors: name a factory and inherit them.

Sequence layers have more laws, see ``sequence_laws.py``. Letters: B batch.

Tolerances. Two orders of the same sums differ by rounding alone: a case states by ``operations`` about how many
roundings one of its outputs passes through, and ``operations * eps`` bounds the relative difference.
"""

import copy
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

B = 3

needs_accelerator = pytest.mark.skipif(not torch.cuda.is_available(), reason="no accelerator in double precision here")


@dataclass(frozen=True)
class ModuleCase:
    """A module under test.

    Attributes:
        name: shown by pytest.
        make: builds the module.
        inputs: draws its inputs in float64, a tuple of tensors (B, ...).
        call: calls it on its inputs: one tensor (B, ...) or a tuple of such. What the module draws at random the call
            must be given or seed, so that it returns the same each time.
        operations: roundings that an output passes through, one after another.
        alone: whether samples are independent of one another.
        autocast: greatest relative difference under bfloat16 autocast; None where autocast is refused or of no use.
        compiles: whether ``torch.compile(fullgraph=True)`` is declared to work.
    """

    name: str
    make: Callable[[], nn.Module]
    inputs: Callable[[torch.Generator], tuple[Tensor, ...]]
    call: Callable[..., Any] = lambda module, *inputs: module(*inputs)
    operations: int = 1000
    alone: bool = True
    autocast: float | None = 0.05
    compiles: bool = False

    def module(self, *, seed: int = 0) -> nn.Module:
        torch.manual_seed(seed)
        return self.make().double().eval()

    def draw(self) -> tuple[Tensor, ...]:
        return self.inputs(torch.Generator().manual_seed(1))

    def outputs(self, module: nn.Module, *inputs: Tensor) -> tuple[Tensor, ...]:
        found = self.call(module, *inputs)
        return (found,) if isinstance(found, Tensor) else tuple(found)

    def near(self, actual: tuple[Tensor, ...], expected: tuple[Tensor, ...], relative: float | None = None) -> None:
        """Compare on the scale of the largest value expected."""
        relative = self.operations * torch.finfo(torch.float64).eps if relative is None else relative
        assert len(actual) == len(expected)
        for mine, theirs in zip(actual, expected, strict=True):
            bound = relative * max(theirs.detach().abs().max().item(), 1e-300)
            torch.testing.assert_close(mine, theirs, rtol=0, atol=bound)


def real(tensors: tuple[Tensor, ...], dtype: torch.dtype) -> tuple[Tensor, ...]:
    """Bring the real floating-point ones to a precision; leave whole numbers and masks."""
    return tuple(each.to(dtype) if each.is_floating_point() else each for each in tensors)


def made_elsewhere(make: Callable[[], nn.Module]) -> list[str]:
    """Return which numbers of a module do not lie on torch's default device.

    The meta device stands for any other than the host; its tensors have no content that could be read.
    """
    with torch.device("meta"):
        module = make()
    tensors = [*module.named_parameters(), *module.named_buffers()]
    return [name for name, tensor in tensors if tensor.is_floating_point() and not tensor.is_meta]


class ModuleLaws:
    """Inherit and parametrize with ``case``."""

    def test_outputs_are_finite_and_of_the_batch(self, case: ModuleCase):
        for output in case.outputs(case.module(), *case.draw()):
            assert output.shape[0] == B
            assert output.dtype == torch.float64
            assert torch.isfinite(output).all()

    def test_a_batch_equals_its_samples_one_by_one(self, case: ModuleCase):
        if not case.alone:
            pytest.skip("its samples share something")
        module, inputs = case.module(), case.draw()
        expected = case.outputs(module, *inputs)
        for i in range(B):
            alone = case.outputs(module, *(each[i : i + 1] for each in inputs))
            case.near(alone, tuple(each[i : i + 1] for each in expected))

    def test_inputs_matter(self, case: ModuleCase):
        module, inputs = case.module(), case.draw()
        expected = case.outputs(module, *inputs)
        moved = case.outputs(module, inputs[0] + 0.3, *inputs[1:])
        assert any(not torch.allclose(a, b, atol=1e-6) for a, b in zip(moved, expected, strict=True))

    def test_every_parameter_receives_a_finite_gradient_that_is_not_zero(self, case: ModuleCase):
        module = case.module()
        sum(output.square().sum() for output in case.outputs(module, *case.draw())).backward()  # pyright: ignore[reportAttributeAccessIssue]
        for name, parameter in module.named_parameters():
            assert parameter.grad is not None, name
            assert torch.isfinite(parameter.grad).all(), name
            assert torch.count_nonzero(parameter.grad) > 0, name

    def test_outputs_are_there_without_gradients(self, case: ModuleCase):
        """Modules that need derivatives inside form them under no_grad and in inference mode, too."""
        module, inputs = case.module(), case.draw()
        expected = case.outputs(module, *inputs)
        with torch.no_grad():
            case.near(case.outputs(module, *inputs), expected)
        with torch.inference_mode():
            inside = case.outputs(module, *(each.clone() for each in inputs))
        case.near(inside, expected)

    @pytest.mark.parametrize("copied", [copy.deepcopy, lambda module: pickle.loads(pickle.dumps(module))])
    def test_copies_compute_the_same(self, case: ModuleCase, copied: Callable):
        module, inputs = case.module(), case.draw()
        expected = case.outputs(module, *inputs)  # before the copy: a module must not keep what cannot be copied
        case.near(case.outputs(copied(module), *inputs), expected, 0)

    def test_the_state_dict_is_the_whole_of_a_module(self, case: ModuleCase):
        module, other, inputs = case.module(seed=0), case.module(seed=1), case.draw()
        expected = case.outputs(module, *inputs)
        if list(module.parameters()):
            found = case.outputs(other, *inputs)
            assert any(not torch.allclose(a, b, atol=1e-6) for a, b in zip(found, expected, strict=True))
        other.load_state_dict(module.state_dict())
        case.near(case.outputs(other, *inputs), expected, 0)

    def test_single_and_double_precision_agree(self, case: ModuleCase):
        module, inputs = case.module().float(), real(case.draw(), torch.float32)
        wide = real(inputs, torch.float64)
        expected = case.outputs(copy.deepcopy(module).double(), *wide)
        actual = case.outputs(module, *inputs)
        assert all(output.dtype == torch.float32 for output in actual)
        case.near(real(actual, torch.float64), expected, case.operations * torch.finfo(torch.float32).eps)

    def test_bfloat16_autocast_stays_near(self, case: ModuleCase):
        if case.autocast is None:
            pytest.skip("autocast is of no use to it")
        module, inputs = case.module().float(), real(case.draw(), torch.float32)
        expected = case.outputs(module, *inputs)
        with torch.autocast("cpu", torch.bfloat16):
            actual = case.outputs(module, *inputs)
        case.near(real(actual, torch.float32), expected, case.autocast)
        sum(output.float().square().sum() for output in actual).backward()  # pyright: ignore[reportAttributeAccessIssue]
        assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in module.parameters())

    def test_it_is_made_on_the_default_device(self, case: ModuleCase):
        assert made_elsewhere(case.make) == []

    @needs_accelerator
    def test_an_accelerator_answers_as_the_host(self, case: ModuleCase):
        """To rounding, gradients too; the module is moved as a user moves it."""
        found: list[tuple[Tensor, ...]] = []
        for device in ("cpu", "cuda"):
            module, inputs = case.module().to(device), tuple(each.to(device) for each in case.draw())
            outputs = case.outputs(module, *inputs)
            assert all(output.device.type == device for output in outputs)
            sum(output.square().sum() for output in outputs).backward()  # pyright: ignore[reportAttributeAccessIssue]
            # As one vector, for a gradient that is 0 but for rounding has no scale of its own.
            gradient = torch.cat([p.grad.flatten() for p in module.parameters() if p.grad is not None])
            found.append(tuple(each.detach().cpu() for each in (*outputs, gradient)))
        case.near(found[1], found[0], 10 * case.operations * torch.finfo(torch.float64).eps)

    def test_compiled_equals_eager(self, case: ModuleCase):
        if not case.compiles:
            pytest.skip("torch.compile is not declared")
        torch.compiler.reset()
        module, inputs = case.module(), case.draw()
        # "aot_eager" traces and differentiates the whole as the compiler does, and leaves out the code generator.
        compiled = torch.compile(module, backend="aot_eager", fullgraph=True)
        case.near(case.outputs(compiled, *inputs), case.outputs(module, *inputs))  # pyright: ignore[reportArgumentType]


class FieldLaws(ModuleLaws):
    """Further laws of fields, called ``field(t, y)``; a case's first input is y."""

    @staticmethod
    def at(case: ModuleCase, t: Tensor) -> Tensor:
        y, *args = case.draw()
        return case.module()(t, y, *args)

    def test_time_may_be_each_samples_own(self, case: ModuleCase):
        t = torch.tensor([0.3, -1.1, 2.0], dtype=torch.float64)
        expected = torch.cat([self.at(case, t[i])[i : i + 1] for i in range(B)])
        case.near((self.at(case, t),), (expected,))

    def test_the_slope_has_the_states_shape(self, case: ModuleCase):
        assert self.at(case, torch.tensor(0.3, dtype=torch.float64)).shape == case.draw()[0].shape
