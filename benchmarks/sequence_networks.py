"""One network around every sequence layer, so that tables compare layers alone; and a recurrent baseline, the GRU."""

from collections.abc import Callable
from typing import Any, Literal

import torch
import torch.nn.functional as F
from sequence_tasks import Sequences, Task
from torch import Tensor, nn

from integrand.core.layers import (
    LEM,
    LRU,
    LTC,
    S4D,
    S5,
    AntisymmetricRNN,
    CfC,
    CoRNN,
    EquilibriumRNN,
    GatedDelta,
    LinOSS,
    Mamba,
    ResidualStack,
    SequenceLayer,
)
from integrand.core.models import ODERNN, LogNCDE, NeuralCDE, NeuralRDE, OnlineCDE

Make = Callable[[Task, int], nn.Module]
"""Builds a network for a task and the length of its sequences."""


class Reader(nn.Module):
    """Lift, layers in residual blocks, the mean over present elements or the last one, a linear layer.

    Args:
        task: what it is for.
        layers: the layers.
        timed: whether they know of time: then sequences last as long as the task says.
    """

    def __init__(self, task: Task, layers: list[SequenceLayer], *, timed: bool) -> None:
        super().__init__()
        self.pooling, self.span = task.pooling, task.span if timed else None
        self.lift: nn.Module = nn.Linear(task.channels, layers[0].d_model)
        if task.events:
            self.lift = nn.Sequential(self.lift, nn.GELU(), nn.Linear(layers[0].d_model, layers[0].d_model))
        self.body = ResidualStack(layers, dropout=0.1 if task.metric == "accuracy" else 0.0)
        self.norm = nn.LayerNorm(layers[0].d_model)
        self.head = nn.Linear(layers[0].d_model, task.outputs)

    def forward(self, given: Sequences) -> Tensor:
        """Return scores of classes or values, (B, outputs)."""
        whole = bool(given.present.all())
        dt = None if self.span is None else self.span / given.x.shape[1]
        y = self.body(self.lift(given.x), dt, None if whole else given.present).y
        return self.head(self.norm(pooled(y, given.present, self.pooling)))


class Gru(nn.Module):
    """The recurrent baseline: GRU layers and the same reading.

    Args:
        task: what it is for.
        width: units.
        layers: layers.
        chrono: longest memory at the start, in elements: update gates are biased so that units begin with memories of 1
            to so many elements (Tallec and Ollivier, 2018, Can recurrent neural networks warp time?); None for torch's
            own start.
    """

    def __init__(self, task: Task, width: int, layers: int, *, chrono: int | None = None) -> None:
        super().__init__()
        self.pooling = task.pooling
        self.body = nn.GRU(task.channels, width, layers, batch_first=True)
        self.head = nn.Linear(width, task.outputs)
        if chrono is not None:
            update = slice(width, 2 * width)
            with torch.no_grad():
                for layer in range(layers):
                    getattr(self.body, f"bias_ih_l{layer}")[update] = torch.log(1 + torch.rand(width) * (chrono - 2))
                    getattr(self.body, f"bias_hh_l{layer}")[update] = 0.0

    def forward(self, given: Sequences) -> Tensor:
        """Return scores of classes or values, (B, outputs)."""
        return self.head(pooled(self.body(given.x)[0], given.present, self.pooling))


class Driven(nn.Module):
    """A controlled equation that reads a whole series, its state at the end read out."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, given: Sequences) -> Tensor:
        """Return scores of classes or values, (B, outputs)."""
        times = torch.linspace(0, 1, given.x.shape[1])
        return self.model(given.x, times, lengths=given.present.sum(1)).y[:, -1]


def pooled(y: Tensor, present: Tensor, how: str) -> Tensor:
    """Return the mean over present elements (B, L, D), or the last one; (B, D)."""
    if how == "last":
        return y[:, -1]
    weight = present.unsqueeze(-1).to(y)
    return (y * weight).sum(1) / weight.sum(1)


def loss(task: Task, network: nn.Module, given: Sequences) -> Tensor:
    """Return what is minimised."""
    found = network(given)
    if task.metric == "accuracy":
        return F.cross_entropy(found, given.y, label_smoothing=0.05)
    return F.mse_loss(found.squeeze(-1), given.y)


def score(task: Task, network: nn.Module, given: Sequences) -> float:
    """Return the metric of a task."""
    network.eval()
    with torch.no_grad():
        parts = torch.arange(len(given)).split(64)
        found = torch.cat([network(given.at(rows)) for rows in parts])
    if task.metric == "accuracy":
        return (found.argmax(1) == given.y).double().mean().item()
    return F.mse_loss(found.squeeze(-1), given.y).item()


def _stack(
    make: Callable[[int, float, Task], SequenceLayer],
    *,
    width: int | None = None,
    blocks: int | None = None,
    timed: bool = False,
) -> Make:
    """Make layers for D channels, sequences of some length in their time, and a task."""

    def network(task: Task, length: int) -> nn.Module:
        duration = task.span if timed and task.span is not None else length
        layers = [make(width or task.width, duration, task) for _ in range(blocks or task.blocks)]
        return Reader(task, layers, timed=timed)

    return network


def _driven(make: Callable[[Task, int], nn.Module]) -> Make:
    return lambda task, length: Driven(make(task, length))


def _steps(duration: float) -> dict[str, Any]:
    """Speeds at the start from one over the duration to a few elements: any memory the task can ask for."""
    return {"dt_min": 1 / duration, "dt_max": 0.5}


def _s5(d: int, duration: float, task: Task) -> S5:
    if task.events:
        # Of slower modes, too, for what counts may stand anywhere.
        return S5(d, d_state=64, dt_min=0.1 / duration, dt_max=10 / duration, discretization="dirac")
    return S5(d, d_state=32, **_steps(duration))


def _linoss(discretization: Literal["im", "imex"]) -> Make:
    return _stack(
        lambda d, _, task: LinOSS(d, d_state=64 if task.events else 32, discretization=discretization), timed=True
    )


def _gru_width(task: Task) -> int:
    """Return units that make about as many parameters as S5 has; some more where there are two layers."""
    return task.width if task.blocks > 1 else task.width * 3 // 2


NETWORKS: dict[str, Make] = {
    "S4D": _stack(lambda d, duration, _: S4D(d, d_state=32, **_steps(duration)), timed=True),
    "S5": _stack(_s5, timed=True),
    "LRU": _stack(lambda d, *_: LRU(d, d_state=32)),
    "Mamba": _stack(lambda d, length, _: Mamba(d, **_steps(length))),
    "LinOSS-IM": _linoss("im"),
    "LinOSS-IMEX": _linoss("imex"),
    "GatedDelta": _stack(lambda d, length, _: GatedDelta(d, **_steps(length))),
    "LTC": _stack(lambda d, *_: LTC(d, d_state=32), blocks=1),
    "CfC": _stack(lambda d, *_: CfC(d)),
    "AntisymmetricRNN": _stack(lambda d, *_: AntisymmetricRNN(d)),
    "CoRNN": _stack(lambda d, *_: CoRNN(d)),
    "LEM": _stack(lambda d, *_: LEM(d)),
    "EquilibriumRNN": _stack(lambda d, *_: EquilibriumRNN(d), blocks=1),
    "ODERNN": _stack(lambda d, *_: ODERNN(d), blocks=1),
    "OnlineCDE": _stack(lambda d, *_: OnlineCDE(d, d_state=32, hidden=(32,)), width=16, blocks=1),
    "NeuralCDE": _driven(lambda task, length: NeuralCDE(task.channels, 32, out=task.outputs)),
    "NeuralRDE": _driven(lambda task, length: NeuralRDE(task.channels, 32, out=task.outputs, window=4)),
    "LogNCDE": _driven(lambda task, length: LogNCDE(task.channels, 32, out=task.outputs, window=4)),
    "GRU": lambda task, length: Gru(task, _gru_width(task), task.blocks),
    "GRU-chrono": lambda task, length: Gru(task, _gru_width(task), task.blocks, chrono=length),
}
"""By the names of the tables. All with the same width and number of blocks, but where a step is too dear for two."""
