"""Whole layers of linear state spaces in a training step, forward and backward, with the same weights on both sides."""

from collections.abc import Callable, Iterator

import torch
from duel import Duel, Work, seeded, version
from torch import Tensor

from integrand.core.layers.linoss import LinOSS
from integrand.core.layers.s4d import S4D
from integrand.core.layers.s5 import S5

BATCH, CHANNELS, STATES = 8, 64, 64
LENGTH = 4096
SIZES = f"d_model {CHANNELS}, batch {BATCH}"


def duels() -> Iterator[Duel]:
    """Yield every comparison."""
    yield _s5(
        "s5_4096",
        whole_pairs=True,
        note="the same function: it keeps both states of each conjugate pair, we one",
        must=4,
        goal=6,
    )
    yield _s5(
        "s5_4096_same_states",
        whole_pairs=False,
        note="as many complex states on both sides, 32: one of each conjugate pair",
    )
    yield _s4d()
    yield _linoss()


def _s5(row: str, *, whole_pairs: bool, note: str, must: float | None = None, goal: float | None = None) -> Duel:
    torch.manual_seed(0)
    ours = S5(CHANNELS, d_state=STATES)
    made: list[torch.nn.Module] = []

    def theirs(x: Tensor) -> Tensor:
        if not made:
            made.append(_s5_pytorch(ours, whole_pairs=whole_pairs))
        made[0].zero_grad()
        return made[0](x)

    return Duel(
        row=row,
        work=f"S5 with {STATES} states, {SIZES}, length {LENGTH}, constant steps, forward and backward",
        ours=_training(lambda x: ours(x).y, LENGTH, ours),
        peer="s5-pytorch",
        theirs=_training(theirs, LENGTH),
        peer_version=version("s5-pytorch"),
        note=note,
        must=must,
        goal=goal,
    )


@torch.no_grad()
def _s5_pytorch(ours: S5, *, whole_pairs: bool) -> torch.nn.Module:
    """Return the peer's layer with our weights."""
    import s5  # pyright: ignore[reportMissingImports]

    peers = s5.S5(CHANNELS, state_width=STATES if whole_pairs else STATES // 2)
    eigenvalues = torch.complex(-ours.log_decay.exp(), ours.frequency)
    b, c, step = torch.view_as_complex(ours.b), torch.view_as_complex(ours.c), ours.log_step
    if whole_pairs:
        eigenvalues, b = (torch.cat([part, part.conj()]) for part in (eigenvalues, b))
        c, step = torch.cat([c, c.conj()], 1), torch.cat([step, step])
    else:
        c = 2 * c
    core = peers.seq
    core.Lambda, core.C = torch.nn.Parameter(eigenvalues), torch.nn.Parameter(c.resolve_conj())
    core.B, core.log_step = torch.nn.Parameter(torch.view_as_real(b.resolve_conj())), torch.nn.Parameter(step.clone())
    core.D.copy_(ours.d)
    return peers


def _s4d() -> Duel:
    length = 1024
    torch.manual_seed(0)
    layer = S4D(CHANNELS, d_state=STATES)
    equal = torch.ones(length)
    return Duel(
        row="s4d_convolution",
        work=f"S4D with {STATES} states a channel, {SIZES}, length {length}, forward and backward",
        ours=_training(lambda x: layer(x).y, length, layer),
        peer="its own scan",
        theirs=_training(lambda x: layer(x, equal).y, length, layer),
        peer_version=f"torch {torch.__version__}",
        note="constant steps by convolution, against the same steps given one by one",
        # Powers over a thousand elements of frequencies far above one: eps times their phase.
        tolerance=1e-3,
    )


def _linoss() -> Duel:
    torch.manual_seed(0)
    layer = LinOSS(CHANNELS, d_state=STATES)
    frequency, step = layer.log_frequency, layer.step_logit

    def loop(x: Tensor) -> Tensor:
        """The recurrence as the paper writes it, one element after another."""
        square, h = (2 * frequency).exp(), torch.sigmoid(step)
        share = 1 / (1 + h**2 * square)
        force = x @ layer.b.T
        p = q = torch.zeros_like(force[:, 0])
        states = []
        for element in force.unbind(1):
            q = (q + h * (element - square * p)) * share
            p = p + h * q
            states.append(p)
        return torch.stack(states, 1) @ layer.c.T + layer.d * x

    return Duel(
        row="linoss_im_4096",
        work=f"LinOSS-IM with {STATES} oscillators, {SIZES}, length {LENGTH}, constant steps, forward and backward",
        ours=_training(lambda x: layer(x).y, LENGTH, layer),
        peer="Python loop",
        theirs=_training(loop, LENGTH, layer),
        peer_version=f"torch {torch.__version__}",
        note="the authors' code is in JAX",
    )


def _training(call: Callable[[Tensor], Tensor], length: int, *modules: torch.nn.Module) -> Work:
    """Return outputs and gradients of the inputs; those of the weights are formed too, and have their parity tests."""
    generator = seeded(0)
    x, cotangent = (torch.randn(BATCH, length, CHANNELS, generator=generator) for _ in range(2))
    x.requires_grad_()

    def once() -> list[Tensor]:
        x.grad = None
        for module in modules:
            module.zero_grad()
        y = call(x)
        y.backward(cotangent)
        assert x.grad is not None
        return [y.detach(), x.grad]

    return once
