"""Liquid recurrent layers against ncps: a training step, forward and backward, with the same weights.

All intervals are one, since for a batch ncps is right for these alone. Gradients follow from a given cotangent.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from duel import Duel, Work, gradients, seeded, version
from torch import Tensor, nn

from integrand.core.layers.cfc import CfC
from integrand.core.layers.ltc import LTC

BATCH, CHANNELS = 32, 16
CFC_STATE, CFC_LENGTHS = 64, (100, 200)
LTC_SIZES = ((32, 50), (64, 25))
"""Neurons and length: with more, ncps keeps gigabytes for its way back."""


def duels() -> Iterator[Duel]:
    """Yield every comparison."""
    for length in CFC_LENGTHS:
        yield Duel(
            row=f"cfc_{length}_ncps",
            work=_words("CfC, a backbone of 128", CFC_STATE, length),
            ours=_work(_cfc, length),
            peer="ncps",
            theirs=_work(_their_cfc, length),
            peer_version=version("ncps"),
            note="fully connected, mode default, read out by a linear layer on both sides",
            must=1.0,
            goal=2.0,
        )
    for state, length in LTC_SIZES:
        yield Duel(
            row=f"ltc_{state}_ncps",
            work=_words("LTC, 6 unfolds", state, length),
            ours=_work(lambda state=state: _ltc(state), length),
            peer="ncps",
            theirs=_work(lambda state=state: _their_ltc(state), length),
            peer_version=version("ncps"),
            note="fully connected, without input and output mappings; the same linear layer reads out either's state",
        )


def _words(layer: str, state: int, length: int) -> str:
    return f"{layer}, state {state}, batch {BATCH}, length {length}, {CHANNELS} channels, forward and backward"


class Model(NamedTuple):
    """A layer to train.

    Attributes:
        run: from a sequence to outputs (B, L, C).
        parameters: all of them, whose gradients are formed.
        compared: those that both sides have in the same shape.
    """

    run: Callable[[Tensor], Tensor]
    parameters: list[nn.Parameter]
    compared: list[nn.Parameter]


def _work(build: Callable[[], Model], length: int) -> Work:
    generator = seeded(0)
    x, cotangent = (torch.randn(BATCH, length, CHANNELS, generator=generator) for _ in range(2))
    x.requires_grad_()
    built: list[Model] = []

    def once() -> list[Tensor]:
        if not built:  # at the first turn, since a peer need not be installed
            built.append(build())
        model = built[0]
        for leaf in (x, *model.parameters):
            leaf.grad = None
        y = model.run(x)
        y.backward(cotangent)
        return [y.detach(), *gradients(x, *model.compared)]

    return once


def _their_cfc_layer() -> Any:
    from ncps.torch import CfC as TheirCfC  # pyright: ignore[reportMissingImports]

    torch.manual_seed(0)
    return TheirCfC(CHANNELS, CFC_STATE, proj_size=CHANNELS)


def _their_cfc() -> Model:
    layer = _their_cfc_layer()
    cell = layer.rnn_cell
    return Model(lambda x: layer(x)[0], [*layer.parameters()], [cell.backbone[0].weight, *layer.fc.parameters()])


def _cfc() -> Model:
    theirs, layer = _their_cfc_layer(), CfC(CHANNELS, d_state=CFC_STATE)
    cell = theirs.rnn_cell
    heads = [head.state_dict() for head in (cell.ff1, cell.ff2, cell.time_a, cell.time_b)]
    layer.backbone[0].load_state_dict(cell.backbone[0].state_dict())
    layer.heads.load_state_dict({name: torch.cat([head[name] for head in heads]) for name in ("weight", "bias")})
    layer.readout.load_state_dict(theirs.fc.state_dict())
    backbone: Any = layer.backbone[0]
    return Model(lambda x: layer(x).y, [*layer.parameters()], [backbone.weight, *layer.readout.parameters()])


def _their_ltc_layers(state: int) -> tuple[Any, nn.Linear]:
    from ncps.torch import LTC as TheirLTC  # pyright: ignore[reportMissingImports]

    torch.manual_seed(0)
    no_mappings: Any = {"input_mapping": None, "output_mapping": None}
    layer = TheirLTC(CHANNELS, state, epsilon=0.0, **no_mappings)
    return layer, nn.Linear(state, CHANNELS)


def _their_ltc(state: int) -> Model:
    layer, readout = _their_ltc_layers(state)
    cell = layer.rnn_cell
    learned = [p for p in (*layer.parameters(), *readout.parameters()) if p.requires_grad]
    return Model(lambda x: readout(layer(x)[0]), learned, [cell.w, cell.mu, cell.sensory_erev, *readout.parameters()])


def _ltc(state: int) -> Model:
    theirs, readout = _their_ltc_layers(state)
    cell, layer = theirs.rnn_cell, LTC(CHANNELS, d_state=state)
    with torch.no_grad():
        for synapses, prefix in ((layer.sensory, "sensory_"), (layer.recurrent, "")):
            synapses.conductance.copy_(getattr(cell, prefix + "w"))
            synapses.steepness.copy_(getattr(cell, prefix + "sigma"))
            synapses.threshold.copy_(getattr(cell, prefix + "mu"))
            synapses.reversal.copy_(getattr(cell, prefix + "erev"))
        layer.capacitance.copy_(cell.cm)
        layer.leak.copy_(cell.gleak)
        layer.rest.copy_(cell.vleak)
    layer.readout.load_state_dict(readout.state_dict())
    compared = [layer.recurrent.conductance, layer.recurrent.threshold, layer.sensory.reversal]
    return Model(lambda x: layer(x).y, [*layer.parameters()], [*compared, *layer.readout.parameters()])
