"""The selective layers: Mamba against mambapy with the same weights, the delta rule in chunks against its recurrence.

Outputs and gradients follow from a given cotangent: a loss would cost both sides the same and hide what differs.
"""

from collections.abc import Callable, Iterator

import torch
from duel import Duel, Work, gradients, seeded, version
from torch import Tensor, nn

from integrand.core.layers.mamba import Mamba
from integrand.core.numerics.delta_rule import gated_delta_rule

BATCH, CHANNELS = 8, 64
LENGTHS = (1024, 4096)
HEADS, KEY, VALUE = 4, 16, 32


def duels() -> Iterator[Duel]:
    """Yield every comparison."""
    for length in LENGTHS:
        yield _mamba(length)
    yield _delta_rule(LENGTHS[0])


def _mamba(length: int) -> Duel:
    torch.manual_seed(0)
    layer = Mamba(CHANNELS)
    x, cotangent = torch.randn(BATCH, length, CHANNELS), torch.randn(BATCH, length, CHANNELS)
    built: list[nn.Module] = []

    def theirs() -> list[Tensor]:
        if not built:
            built.append(_block(layer))
        block = built[0]
        return _step(block, x, cotangent, [block.get_parameter(name) for name in _NAMES.values()])

    return Duel(
        row=f"mamba_{length}",
        work=f"a Mamba layer, {CHANNELS} channels, 16 states, batch {BATCH}, length {length}, forward and backward",
        ours=lambda: _step(lambda x: layer(x).y, x, cotangent, [layer.get_parameter(name) for name in _NAMES]),
        peer="mambapy",
        theirs=theirs,
        peer_version=version("mambapy"),
        note="its block with the parallel scan at a power of two, which it need not pad",
        must=1.0,
        goal=1.5,
    )


_NAMES = {
    "in_projection.weight": "in_proj.weight",
    "convolution.weight": "conv1d.weight",
    "convolution.bias": "conv1d.bias",
    "selection.weight": "x_proj.weight",
    "step_weight": "dt_proj.weight",
    "step_bias": "dt_proj.bias",
    "log_rate": "A_log",
    "skip": "D",
    "out_projection.weight": "out_proj.weight",
}


def _block(layer: Mamba) -> nn.Module:
    """Return mambapy's block with the same weights."""
    from mambapy.mamba import MambaBlock, MambaConfig  # pyright: ignore[reportMissingImports]

    block = MambaBlock(MambaConfig(d_model=CHANNELS, n_layers=1))
    with torch.no_grad():
        for ours, theirs in _NAMES.items():
            other = block.get_parameter(theirs)
            other.copy_(layer.get_parameter(ours).view_as(other))
    return block


def _step(layer: Callable[[Tensor], Tensor], x: Tensor, cotangent: Tensor, parameters: list[Tensor]) -> list[Tensor]:
    x = x.detach().requires_grad_()
    for parameter in parameters:
        parameter.grad = None
    y = layer(x)
    y.backward(cotangent)
    return [y.detach(), *(gradient.flatten() for gradient in gradients(x, *parameters))]


def _delta_rule(length: int) -> Duel:
    return Duel(
        row=f"delta_rule_{length}_loop",
        work=f"the gated delta rule, {HEADS} heads of {KEY} by {VALUE}, batch {BATCH}, length {length}, "
        "forward and backward",
        ours=_rule(lambda *terms: gated_delta_rule(*terms).y, length),
        peer="Python loop",
        theirs=_rule(_loop, length),
        peer_version=f"torch {torch.__version__}",
        note="the recurrence element by element",
    )


def _rule(rule: Callable[..., Tensor], length: int) -> Work:
    generator = seeded(0)
    q, k = (torch.randn(BATCH, length, HEADS, KEY, generator=generator) for _ in range(2))
    v, cotangent = (torch.randn(BATCH, length, HEADS, VALUE, generator=generator) for _ in range(2))
    beta, decay = (torch.rand(BATCH, length, HEADS, generator=generator) for _ in range(2))
    leaves = [part.requires_grad_() for part in (q, k / k.norm(dim=-1, keepdim=True), v, beta, -0.1 * decay)]

    def once() -> list[Tensor]:
        for leaf in leaves:
            leaf.grad = None
        y = rule(*leaves)
        y.backward(cotangent)
        return [y.detach(), *gradients(*leaves)]

    return once


def _loop(q: Tensor, k: Tensor, v: Tensor, beta: Tensor, log_decay: Tensor) -> Tensor:
    memory = v.new_zeros(*v[:, 0].shape, k.shape[-1])
    outputs = []
    decay = log_decay.exp()[..., None, None]
    for index in range(q.shape[1]):
        memory = decay[:, index] * memory
        key = k[:, index].unsqueeze(-1)
        error = v[:, index].unsqueeze(-1) - memory @ key
        memory = memory + beta[:, index, :, None, None] * error * key.mT
        outputs.append((memory @ q[:, index].unsqueeze(-1)).squeeze(-1))
    return torch.stack(outputs, dim=1)
