"""Training a latent ODE on intensive care, each sample at its own times, against torchdiffeq at the union of them.

A solver that has one sequence of times for a whole batch must stop wherever one of its samples was observed. So
Rubanova, Chen and Duvenaud (2019) walk the sorted union of a batch's times, in the encoder, where a mask tells whose
state jumps, as in the decoder: fifty stays of some eighty rows each have two thousand times between them.

Dimension letters: B batch, L rows of a sample, U times of the union, H state of the encoder, D latent dimension.
"""

from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from functools import cache
from itertools import islice, pairwise
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from duel import Duel, Work, gradients, version
from torch import Tensor, nn

from integrand.apps.timeseries.imputation.data import ImputationData
from integrand.apps.timeseries.imputation.models.imputer import LEAST_STD
from integrand.apps.timeseries.imputation.models.latent_ode import LatentODEImputer
from integrand.apps.timeseries.imputation.module import ImputationModule
from integrand.apps.timeseries.network import GaussianAnswer
from integrand.core.losses import gaussian_kl
from integrand.core.models import ODERNN
from integrand.datasets.irregular import IrregularBatch

BATCHES, BATCH, LATENT, STEPS, FINER = 2, 50, 64, 12, 32
"""``FINER``: how many times finer our decoder's steps are where answers are compared."""


def duels() -> Iterator[Duel]:
    """Yield every comparison."""
    compare = _answers(_refined), _answers(lambda: UnionRefined(latent=LATENT))
    for row, peer, told in (
        (
            "latent_ode_physionet",
            UnionLatentODE,
            "the same midpoint step from time to time of the union in the encoder, a call of odeint each, and in the "
            "decoder one call of odeint at all of them, by dopri5 with the tolerances of the authors' code: most of "
            "its time, whatever the method, since odeint writes outputs in place into one tensor, which the way back "
            "copies for each of them",
        ),
        (
            "latent_ode_physionet_by_hand",
            UnionByHand,
            "an Euler step from time to time of the union in the encoder, written out without odeint as the authors' "
            "code does where times lie close, half the evaluations of a midpoint step, and in the decoder a call of "
            "odeint for each of our steps of rk4, with straight lines between, so that little is copied: as quick as "
            "we could make it",
        ),
    ):
        yield Duel(
            row=row,
            work=f"training step of a latent ODE with an ODE-RNN encoder on {BATCH} stays of PhysioNet 2012 set-a at "
            f"their own times, 41 channels, encoder's state 64, latent {LATENT}: squared error, forward, backward and "
            "AdamW",
            ours=_training(lambda: LatentODEImputer(latent=LATENT)),
            peer="torchdiffeq",
            theirs=_training(lambda peer=peer: peer(latent=LATENT)),
            peer_version=version("torchdiffeq"),
            note=f"mean of {BATCHES} of the 56 batches of an epoch, loaded beforehand; ours takes a midpoint step from "
            f"row to row of each sample in the encoder, and {STEPS} steps of rk4 with cubics between in the decoder; "
            f"the peer, with the same weights, {told}; the agreement is that of answers and gradients of all "
            "parameters in float64, both sides with finer steps",
            must=3.0,
            goal=6.0,
            samples=(BATCHES, BATCHES),
            compare=compare,
            tolerance=1e-6,
        )


class Stops(NamedTuple):
    """The union of a batch's times.

    Attributes:
        times: (U,) sorted.
        row: (U, B) which row of the sample stands there, L for none.
        place: (B, L) where each row of a sample stands; of padding, where its last one does.
        last: (B,) place of its last.
    """

    times: Tensor
    row: Tensor
    place: Tensor
    last: Tensor


def stops(batch: IrregularBatch) -> Stops:
    """Return the union of a batch's times."""
    times, place = torch.unique(batch.times, return_inverse=True)
    samples, length = batch.times.shape
    sample, own = batch.present.nonzero(as_tuple=True)
    row = torch.full((len(times), samples), length)
    row[place[sample, own], sample] = own
    return Stops(times, row, place, place[:, -1])


class UnionLatentODE(LatentODEImputer):
    """The same network, its equations solved by torchdiffeq for all samples of a batch at the union of their times."""

    def forward(self, batch: IrregularBatch) -> GaussianAnswer:
        """Answer at every row of the batch."""
        rows, union = self.read(batch), stops(batch)
        mean, raw = self.model.posterior(self._encode(self.model.lift(rows.features), union)).chunk(2, dim=-1)
        std = F.softplus(raw) + 1e-4
        start = mean + std * torch.randn_like(mean)
        states_UBD = self.decode(self.model.flow.field, start, union.times / self.built_for.window)
        states = states_UBD[union.place, torch.arange(len(mean)).unsqueeze(1)]
        found, raw = (self.straight(states) + self.bent(states)).chunk(2, dim=-1)
        penalty = self.kl_weight * gaussian_kl(mean, std)
        return GaussianAnswer(mean=found, std=F.softplus(raw) + LEAST_STD, penalty=penalty, stats=None)

    def _encode(self, x: Tensor, union: Stops) -> Tensor:
        """Read rows (B, L, H) from the last to the first: (B, H)."""
        encoder = self.model.encoder
        assert isinstance(encoder, ODERNN)
        count, samples = union.row.shape
        # Unbound at once: the derivative of each place taken by itself would be as large as all of them.
        x_UBH = F.pad(x, (0, 0, 0, 1))[torch.arange(samples), union.row].unbind(0)
        seen_UB1 = (union.row < x.shape[1]).unsqueeze(-1)
        # A state is at rest until its sample's last row is read.
        begun_UB1 = (torch.arange(count).unsqueeze(1) < union.last).unsqueeze(-1).to(x)
        all_begun = int(union.last.min())
        spans = F.pad(union.times.diff().unsqueeze(-1) / self.built_for.resolution, (1, 0))
        h = encoder.initial_state(samples, x)
        for u in reversed(range(count)):
            if u < count - 1:
                h = self.move(encoder.flow.field, h, spans[u])
                h = h if u < all_begun else h * begun_UB1[u]
            h = torch.where(seen_UB1[u], encoder.cell(x_UBH[u], h), h)
        return encoder.readout(h)

    def move(self, field: nn.Module, h: Tensor, span: Tensor) -> Tensor:
        """Move the encoder's state over a span of time (2,)."""
        from torchdiffeq import odeint

        return odeint(field, h, span, method="midpoint")[-1]  # pyright: ignore[reportReturnType]

    def decode(self, field: nn.Module, start: Tensor, times: Tensor) -> Tensor:
        """Solve from ``start`` (B, D) and return the states at times (U,), (U, B, D)."""
        from torchdiffeq import odeint

        return odeint(field, start, times, method="dopri5", rtol=1e-3, atol=1e-4)  # pyright: ignore[reportReturnType]


class UnionByHand(UnionLatentODE):
    """As quick as it gets with torchdiffeq."""

    def move(self, field: nn.Module, h: Tensor, span: Tensor) -> Tensor:
        """See ``UnionLatentODE``."""
        return torch.addcmul(h, span[1], field(span[0], h))

    def decode(self, field: nn.Module, start: Tensor, times: Tensor) -> Tensor:
        """See ``UnionLatentODE``."""
        return self.by_steps(field, start, times, grid_constructor=lambda _field, _start, inside: inside[[0, -1]])

    def by_steps(self, field: nn.Module, start: Tensor, times: Tensor, **options: Any) -> Tensor:
        """Decode by rk4 with a call for each of our steps."""
        from torchdiffeq import odeint

        grid = self.grid.to(times)
        every = torch.unique(torch.cat([times, grid]))
        parts = [start.unsqueeze(0)]
        for first, last in pairwise(torch.searchsorted(every, grid).tolist()):
            found: Any = odeint(field, parts[-1][-1], every[first : last + 1], method="rk4", options=options)
            parts.append(found[1:])
        return torch.cat(parts)[torch.searchsorted(every, times)]


class UnionRefined(UnionByHand):
    """A step of rk4 from each time of the union to the next, in the encoder as in the decoder."""

    def move(self, field: nn.Module, h: Tensor, span: Tensor) -> Tensor:
        """See ``UnionLatentODE``."""
        from torchdiffeq import odeint

        return odeint(field, h, span, method="rk4")[-1]  # pyright: ignore[reportReturnType]

    def decode(self, field: nn.Module, start: Tensor, times: Tensor) -> Tensor:
        """See ``UnionLatentODE``."""
        return self.by_steps(field, start, times)


def _refined() -> LatentODEImputer:
    """Return ours with an encoder of small tolerance and finer steps of the decoder."""
    network = LatentODEImputer(latent=LATENT, steps=STEPS * FINER)
    network.build(_data().task)
    flow: Any = network.model.encoder.flow
    flow.method, flow.rtol, flow.atol = "dopri5", 1e-9, 1e-9
    return network


@cache
def _data() -> ImputationData:
    data = ImputationData(
        "physionet2012",
        window=49,
        split_by="series",
        fractions=(0.7, 0.1, 0.2),
        hide="none",
        scaling="maximum",
        protocol="as-published",
        batch_size=BATCH,
    )
    data.setup()
    return data


@cache
def _batches() -> list[IrregularBatch]:
    return list(islice(_data().train_dataloader(), BATCHES))


def _module(build: Callable[[], LatentODEImputer]) -> ImputationModule:
    """Return a module with the same weights whatever solves the equations."""
    torch.manual_seed(0)
    network = build()
    network.build(_data().task)
    return ImputationModule(network, score="squared")


def _training(build: Callable[[], LatentODEImputer]) -> Work:
    """Return the work of training on the batches."""

    @cache  # at the first turn, since neither data nor peer need be there
    def made() -> tuple[ImputationModule, torch.optim.Optimizer]:
        module = _module(build)
        return module, torch.optim.AdamW(module.parameters(), lr=4e-3, weight_decay=0.0)

    def once() -> list[Tensor]:
        module, optimizer = made()
        for batch in _batches():
            optimizer.zero_grad()
            module.loss(batch)[0].backward()
            optimizer.step()
        return gradients(*module.parameters())

    return once


def _answers(build: Callable[[], LatentODEImputer]) -> Work:
    """Return the work of answering one batch in float64, answers and gradients."""

    def once() -> list[Tensor]:
        module, batch = _module(build).double(), _batches()[0]
        parts = {part.name: getattr(batch, part.name) for part in fields(batch)}
        floats = {name: x.double() for name, x in parts.items() if isinstance(x, Tensor) and x.is_floating_point()}
        batch = replace(batch, **floats)
        with torch.no_grad():
            torch.manual_seed(0)  # of the noise of the start
            answer = module(batch)
        torch.manual_seed(0)
        module.loss(batch)[0].backward()
        return [answer.mean, answer.std, *gradients(*module.parameters())]

    return once
