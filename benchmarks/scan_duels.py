"""The diagonal scan against its peers, each in the layout that suits it best, so that neither transposes anything.

States and gradients follow from a given cotangent: a loss would cost both sides the same and hide what differs.
"""

from collections.abc import Callable, Iterator

import torch
from duel import Duel, Work, gradients, seeded, version
from torch import Tensor

from integrand.core.numerics import diagonal_scan

Scan = Callable[[Tensor, Tensor], Tensor]

STATE, BATCH = 64, 8
LENGTHS = (1024, 4096, 16384)


def duels() -> Iterator[Duel]:
    """Yield every comparison."""
    for length in LENGTHS:
        yield _against_mambapy(length)
        yield _against_s5(length)
    for length in LENGTHS[:2]:
        yield Duel(
            row=f"scan_{length}_loop",
            work=_words("complex diagonal recurrence with constant decays", length),
            ours=_constant(diagonal_scan, length),
            peer="Python loop",
            theirs=_constant(_loop, length),
            peer_version=f"torch {torch.__version__}",
            note="one decay for all elements of a sequence",
        )


def _against_mambapy(length: int) -> Duel:
    def theirs(decay: Tensor, drive: Tensor) -> Tensor:
        from mambapy.pscan import pscan  # pyright: ignore[reportMissingImports]

        # (B, L, D, N) with D = 1: of the ways to share 64 states between D and N the quickest.
        return pscan(decay.unsqueeze(2), drive.unsqueeze(2)).squeeze(2)

    return Duel(
        row=f"scan_{length}_mambapy",
        work=_words("real diagonal recurrence with a decay per element", length),
        ours=_changing(diagonal_scan, length),
        peer="mambapy",
        theirs=_changing(theirs, length),
        peer_version=version("mambapy"),
        note="its pscan at a power of two, which it need not pad, and with all states in its innermost dimension, "
        "where it is quickest",
        must=1.1,
        goal=1.5,
    )


def _against_s5(length: int) -> Duel:
    def theirs(decay: Tensor, drive: Tensor) -> Tensor:
        from s5.jax_compat import associative_scan  # pyright: ignore[reportMissingImports]
        from s5.s5_model import binary_operator  # pyright: ignore[reportMissingImports]

        return associative_scan(binary_operator, (decay.expand_as(drive), drive), axis=1)[1]

    return Duel(
        row=f"scan_{length}_s5",
        work=_words("complex diagonal recurrence with constant decays", length),
        ours=_constant(diagonal_scan, length),
        peer="s5-pytorch",
        theirs=_constant(theirs, length),
        peer_version=version("s5-pytorch"),
        note="its associative_scan along the length, all samples at once",
        must=4.5 if length >= 4096 else None,
        goal=7 if length >= 4096 else None,
    )


def _words(recurrence: str, length: int) -> str:
    return f"{recurrence}, state {STATE}, batch {BATCH}, length {length}, forward and backward"


def _changing(scan: Scan, length: int) -> Work:
    generator = seeded(0)
    decay = torch.empty(BATCH, length, STATE).uniform_(0.9, 0.999, generator=generator)
    drive, cotangent = (torch.randn(BATCH, length, STATE, generator=generator) for _ in range(2))
    return _both_ways(scan, decay, drive, cotangent)


def _constant(scan: Scan, length: int) -> Work:
    generator = seeded(0)
    size = torch.empty(STATE).uniform_(0.9, 0.999, generator=generator)
    angle = torch.empty(STATE).uniform_(-0.5, 0.5, generator=generator)
    drive, cotangent = (torch.randn(BATCH, length, STATE, dtype=torch.complex64, generator=generator) for _ in range(2))
    return _both_ways(scan, torch.polar(size, angle), drive, cotangent)


def _both_ways(scan: Scan, decay: Tensor, drive: Tensor, cotangent: Tensor) -> Work:
    decay.requires_grad_()
    drive.requires_grad_()

    def once() -> list[Tensor]:
        decay.grad = drive.grad = None
        states = scan(decay, drive)
        states.backward(cotangent)
        return [states.detach(), *gradients(decay, drive)]

    return once


def _loop(decay: Tensor, drive: Tensor) -> Tensor:
    state, states = torch.zeros_like(drive[:, 0]), []
    for element in drive.unbind(1):
        state = decay * state + element
        states.append(state)
    return torch.stack(states, dim=1)
