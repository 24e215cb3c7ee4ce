"""Neural controlled equations keep the laws of models, and the online one those of sequence layers."""

import pytest
import torch
from module_laws import B, ModuleCase, ModuleLaws
from sequence_laws import Case, D, SequenceLaws
from torch import Tensor

from integrand.core.models.controlled_model import ControlledModel
from integrand.core.models.log_ncde import LogNCDE
from integrand.core.models.neural_cde import NeuralCDE
from integrand.core.models.neural_rde import NeuralRDE
from integrand.core.models.online_cde import OnlineCDE

L, C, H, OUT = 9, 2, 6, 3


def series(generator: torch.Generator) -> tuple[Tensor, ...]:
    """Irregular, partly observed series of unequal lengths; the last is never observed at all."""
    values = torch.randn(B, L, C, generator=generator, dtype=torch.float64)
    times = (0.2 + torch.rand(B, L, generator=generator, dtype=torch.float64)).cumsum(1)
    mask = torch.rand(B, L, C, generator=generator) < 0.7
    mask[-1] = False
    return values, times, mask, torch.tensor([L, 4, 6])


def call(model: ControlledModel, values: Tensor, times: Tensor, mask: Tensor, lengths: Tensor) -> tuple[Tensor, ...]:
    first = times[:, :1]
    span = times.gather(1, lengths.unsqueeze(1) - 1) - first
    asked = first + span * times.new_tensor([0.0, 0.4, 1.0])
    found = model(values, times, mask=mask, lengths=lengths, query_times=asked)
    return found.y, found.states


MODELS = {
    "cde-hermite": lambda: NeuralCDE(C, H, out=OUT, hidden=(8,)),
    "cde-linear": lambda: NeuralCDE(C, H, out=OUT, hidden=(8,), interpolation="linear", intensity=True),
    "cde-cubic": lambda: NeuralCDE(C, H, out=OUT, hidden=(8, 8), interpolation="cubic", time_channel=False),
    "cde-rectilinear": lambda: NeuralCDE(C, H, out=OUT, hidden=(8,), interpolation="rectilinear", intensity=True),
    "rde": lambda: NeuralRDE(C, H, out=OUT, hidden=(8,), window=3),
    "rde-depth-3": lambda: NeuralRDE(C, H, out=OUT, hidden=(8,), window_time=1.5, depth=3),
    "log-ncde": lambda: LogNCDE(C, H, out=OUT, hidden=(8,), window=3),
    "log-ncde-depth-3": lambda: LogNCDE(C, H, out=OUT, hidden=(8,), window=3, depth=3, time_channel=False),
}
CASES = [
    *(ModuleCase(name, make, series, call) for name, make in MODELS.items()),
    *(
        Case(
            f"online-cde-{method}",
            lambda scale, method=method: OnlineCDE(D, d_state=8, hidden=(16,), method=method, time_scale=scale),
            flow_order=order,
        )
        for method, order in (("rk4", 4), ("euler", 1))
    ),
]


@pytest.mark.parametrize("case", [each for each in CASES if isinstance(each, ModuleCase)], ids=lambda case: case.name)
class TestControlledModels(ModuleLaws):
    pass


@pytest.mark.parametrize("case", [each for each in CASES if isinstance(each, Case)], ids=lambda case: case.name)
class TestOnlineCDE(SequenceLaws):
    pass
