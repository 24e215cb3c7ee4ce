"""Run one training step on a device that does not exist, and print what the step would have done to a real one.

Torch lets Python register an accelerator. Fake tensors on it have shape, type and device but no content, so the
arithmetic of a training step runs anywhere; to read a value (``item``, ``tolist``, a branch on a tensor), which on an
accelerator makes the host wait, raises. A dispatch mode beneath autograd sees every operation and notes those whose
output is on the host.

A process of its own because a registered device cannot be taken back. Usage: ``python device_probe.py CASE...``; prints
a line of JSON with, for each case, ``operations``, ``on_host`` and ``error``.
"""

import inspect
import json
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException, FakeTensorMode
from torch.library import Library
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from integrand.apps.application import load
from integrand.apps.timeseries import APPLICATION
from integrand.apps.timeseries.forecasting.module import ForecastingModule
from integrand.datasets.forecasting import ForecastTask
from integrand.datasets.irregular import IrregularBatch

NAME = "probe"


class _Backend(backend_registration._DummyBackendModule):
    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16]


class HostWatch(TorchDispatchMode):
    """Note every operation that leaves a tensor on the host.

    Exempt are the wrapped Python numbers of ``torch.where(mask, x, 0)`` and the like: torch passes them as arguments of
    the kernel. They are made by ``scalar_tensor`` and have no dimension.
    """

    def __init__(self) -> None:
        super().__init__()
        self.operations = 0
        self.on_host: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.operations += 1
        wrapped_number = func is torch.ops.aten.scalar_tensor.default
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor) and tensor.device.type != NAME and not (wrapped_number and tensor.dim() == 0):
                self.on_host.append(f"{func} {tuple(tensor.shape)}")
        return result


def _gru_cell(gates_x: Tensor, gates_h: Tensor, h: Tensor, *biases: Any) -> tuple[Tensor, Tensor]:
    return torch.empty_like(h), h.new_empty(h.shape[0], 5 * h.shape[1])


def _gru_cell_backward(grad: Tensor, workspace: Tensor, has_bias: bool) -> tuple[Tensor | None, ...]:
    gates = grad.new_empty(grad.shape[0], 3 * grad.shape[1])
    bias = grad.new_empty(3 * grad.shape[1]) if has_bias else None
    return gates, torch.empty_like(gates), torch.empty_like(grad), bias, bias


def register() -> Library:
    """Make the device known to torch, and give the shapes of the one fused kernel that torch has no fake version of."""
    backend_registration._setup_privateuseone_for_python_backend(NAME, backend_module=_Backend())
    shapes = Library("aten", "IMPL", "Meta")
    shapes.impl("_thnn_fused_gru_cell", _gru_cell)
    shapes.impl("_thnn_fused_gru_cell_backward", _gru_cell_backward)
    return shapes


def weather_task() -> ForecastTask:
    """The default task's shapes, with round numbers for its statistics."""
    channels = ["temp", "dewp", "humid", "wind_u", "wind_v", "pressure", "visib", "speed", "gust", "precip"]
    return ForecastTask(
        channels=channels,
        targets=7,
        units=[""] * 10,
        time_unit="h",
        context=48.0,
        horizon=24.0,
        resolution=1.0,
        periods=[24.0, 8766.0],
        groups=["EWR", "JFK", "LGA"],
        location=[0.0] * 10,
        scale=[1.0] * 10,
    )


def random_batch(task: ForecastTask, size: int = 4, length: int = 9, queries: int = 6) -> IrregularBatch:
    """A batch of noise that keeps the irregular-batch contract."""
    rng = np.random.default_rng(0)
    channels, k = len(task.channels), task.targets
    lengths = torch.from_numpy(rng.integers(1, length + 1, size))
    lengths[0] = length
    times = torch.from_numpy(np.sort(rng.uniform(-task.context, 0, (size, length)), axis=1)).float()
    present = torch.arange(length) < lengths.unsqueeze(1)
    times = torch.where(present, times, times.gather(1, lengths.unsqueeze(1) - 1))
    mask = torch.from_numpy(rng.random((size, length, channels)) < 0.7) & present.unsqueeze(-1)
    target_mask = torch.from_numpy(rng.random((size, queries, k)) < 0.7)
    return IrregularBatch(
        values=torch.randn(size, length, channels) * mask,
        mask=mask,
        times=times,
        lengths=lengths,
        static=torch.eye(3)[torch.from_numpy(rng.integers(0, 3, size))],
        phase=torch.rand(size, len(task.periods)) * 6,
        target=torch.randn(size, queries, k) * target_mask,
        target_times=torch.linspace(4, 24, queries).repeat(size, 1),
        target_mask=target_mask,
    ).check()


class _MakesHostTensor(nn.Module):
    """A deliberate mistake: a constant made on the host in every call, and moved."""

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.zeros(x.shape[-1]).to(x.device)


class _CopiesList(nn.Module):
    """A deliberate mistake: a Python list copied to the device in every call."""

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.tensor([1.0] * x.shape[-1], device=x.device)


class _ReadsValue(nn.Module):
    """A deliberate mistake: a branch on a tensor's value."""

    def forward(self, x: Tensor) -> Tensor:
        return x * 2 if x.mean() > 0 else x


class _SelectsByMask(nn.Module):
    """A deliberate mistake: a shape that depends on values."""

    def forward(self, x: Tensor) -> Tensor:
        return x + x[x > 0].mean()


MISTAKES = {
    "makes_host_tensor": _MakesHostTensor,
    "copies_list": _CopiesList,
    "reads_value": _ReadsValue,
    "selects_by_mask": _SelectsByMask,
}


def probe(case: str) -> dict[str, Any]:
    """Take one training step of a model, or of the default model with one of ``MISTAKES`` built in."""
    task = weather_task()
    models = APPLICATION.task("forecasting").models
    kind = load(models.get(case, models["ssm_ode"]))
    network = kind(**({"method": "rk4"} if "method" in inspect.signature(kind).parameters else {}))
    network.build(task)
    if case in MISTAKES:
        network.lift = nn.Sequential(network.lift, MISTAKES[case]())
    module = ForecastingModule(network).train()
    batch = random_batch(task)
    error = None
    watch = HostWatch()
    with FakeTensorMode(allow_non_fake_inputs=False):
        _to_fake_device(module)
        moved: dict[str, Any] = {name: _fake(v) for name, v in vars(batch).items() if isinstance(v, Tensor)}
        batch = replace(batch, **moved)
        optimizer = torch.optim.AdamW(module.parameters(), lr=1e-3, foreach=True)
        optimizer.zero_grad()
        try:
            with watch:
                loss, logged = module.loss(batch)
                loss.backward()
                nn.utils.clip_grad_norm_(module.parameters(), 1.0, foreach=True)
            assert all(value.device.type == NAME for value in logged.values())
            assert all(p.grad.device.type == NAME for p in module.parameters() if p.grad is not None)
            optimizer.step()
        except (DataDependentOutputException, DynamicOutputShapeException) as raised:
            error = f"reads a value: {raised}"
        except NotImplementedError as raised:  # content is wanted, and fake tensors have none
            error = f"fills memory from the host: {str(raised).partition('.')[0]}"
    return {"operations": watch.operations, "on_host": watch.on_host, "error": error}


def _fake(tensor: Tensor) -> Tensor:
    return torch.empty(tensor.shape, dtype=tensor.dtype, device=f"{NAME}:0")


def _to_fake_device(module: nn.Module) -> None:
    for part in module.modules():
        for name, parameter in part.named_parameters(recurse=False):
            setattr(part, name, nn.Parameter(_fake(parameter)))
        for name, buffer in part.named_buffers(recurse=False):
            setattr(part, name, _fake(buffer))


if __name__ == "__main__":
    kept = register()
    print(json.dumps({case: probe(case) for case in sys.argv[1:]}))
