"""A solve in fixed steps captured as a CUDA graph; and what that takes, tested anywhere: the host only gives orders."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from integrand.core.fields import MLP
from integrand.core.numerics import solve_ode

each_kind = pytest.mark.parametrize("record", [False, True], ids=["states", "gradients"])
each_time = pytest.mark.parametrize("own_times", [False, True], ids=["shared-times", "own-times"])


class Problem:
    """A solve whose inputs stay in one place of memory; ``record``, whether its gradients are wanted too."""

    def __init__(self, device: str, method: str, *, own_times: bool, record: bool) -> None:
        torch.manual_seed(0)
        self.method, self.record = method, record
        self.field = MLP(3, (8, 7), time=True).double().to(device)
        self.y0 = torch.randn(5, 3, dtype=torch.float64).to(device).requires_grad_()
        times = torch.linspace(0, 1, 21, dtype=torch.float64)
        self.times = (times * torch.linspace(0.5, 1, 5).unsqueeze(1) if own_times else times).to(device)
        self.inputs = [self.y0, *self.field.parameters()]

    def solve(self) -> list[Tensor]:
        """Return the states, and the gradients of every input."""
        with torch.set_grad_enabled(self.record):
            states = solve_ode(self.field, self.y0, self.times, method=self.method).states
            gradients = torch.autograd.grad(states.sin().sum(), self.inputs) if self.record else ()
        return [states.detach(), *gradients]  # without the graph, lest it outlive the run


class HostWatch(TorchDispatchMode):
    """Notes every operation that leaves a tensor on another device."""

    def __init__(self, device: str) -> None:
        super().__init__()
        self.device, self.operations = device, 0
        self.elsewhere: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.operations += 1
        tensors = (leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor))
        self.elsewhere += [str(func) for tensor in tensors if tensor.device.type != self.device]
        return result


@each_kind
@each_time
@pytest.mark.parametrize("method", ["euler", "midpoint", "heun", "ralston", "rk4"])
def test_nothing_is_read_from_the_device_or_copied_to_it(method: str, own_times: bool, record: bool):
    """Either ends a capture. On the meta device there is nothing to read, and to try is an error."""
    problem = Problem("meta", method, own_times=own_times, record=record)
    with HostWatch("meta") as watch:
        results = problem.solve()
    assert all(result.is_meta for result in results)
    assert watch.operations > 100  # twenty steps were seen
    assert watch.elsewhere == []


def capture(work: Callable[[], list[Tensor]]) -> tuple[torch.cuda.CUDAGraph, list[Tensor]]:
    """Capture some work after it has run on the same stream, so that constants and workspaces are there."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            work()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        results = work()
    return graph, results


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@each_kind
@each_time
def test_a_replayed_solve_is_the_eager_one(own_times: bool, record: bool):
    """From a start and with weights that were not there when it was captured."""
    problem = Problem("cuda", "rk4", own_times=own_times, record=record)
    graph, results = capture(problem.solve)
    with torch.no_grad():
        for tensor in problem.inputs:
            tensor.mul_(0.7).add_(0.1)
    graph.replay()
    # The same kernels; a library may add in another order: a thousand roundings of 1e-16, of numbers up to ten.
    torch.testing.assert_close(results, problem.solve(), rtol=1e-11, atol=1e-11)
