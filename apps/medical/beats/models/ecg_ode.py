"""Beats explained by McSharry's equation: a network reads each beat's waves, and names the beat by them.

Dimension letters: B runs, N beats of a run, M = B N beats, L samples of a window, C leads, W waves.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from integrand.apps.medical.beats.batch import BeatBatch
from integrand.apps.medical.beats.models.beat_network import RhythmBeatNetwork
from integrand.apps.medical.beats.task import BeatTask
from integrand.core.errors import InputError
from integrand.core.fields.cardiac_cycle import CycleWaves, passing, passing_slopes
from integrand.core.layers import S5, SequenceLayer
from integrand.datasets.beat_series import BEFORE

WAVES = ("P", "Q", "R", "S", "T")
EARLIEST = (-0.30, -0.12, -0.06, 0.01, 0.10)
LATEST = (-0.08, -0.01, 0.06, 0.13, 0.42)
"""Seconds from the beat's mark between which each wave lies."""
NARROWEST = (0.010, 0.006, 0.006, 0.006, 0.020)
WIDEST = (0.060, 0.050, 0.070, 0.060, 0.110)
"""Seconds, deviations of the waves: from those of a narrow QRS to those of a ventricular beat."""
RIDGE = 1e-4
"""Weight of the heights' squares beside the mean square of the residual, so that waves that lie on one another stay
small."""
DAMPING = 3e-3
"""Of the corrections' steps, in units of the window's power."""
EMPTY = 0.05
"""Power added to a window's, in units of that size squared, so that an empty window is explained."""


class BeatWaves(NamedTuple):
    """The waves of beats: what McSharry's equation needs to draw them.

    Attributes:
        time: (M, W, C) s from the beat's mark.
        width: (M, W, C) s, the deviation.
        height: (M, W, C) in units of the usual beat's size in each lead.
        baseline: (M, C) z_0, likewise.
        left: (M, C) by how much the voltage lies off its course at the window's first sample.
        drawn: (M, C, L) the voltage, their equation's solution.
    """

    time: Tensor
    width: Tensor
    height: Tensor
    baseline: Tensor
    left: Tensor
    drawn: Tensor

    def of_cycle(self, interval: Tensor) -> CycleWaves:
        """Return the arguments of ``CardiacCycle`` for beats of an interval (M,) s: theta = omega mu, b = omega sigma.

        Example:
            >>> one = torch.ones(1, 1, 1)
            >>> angle, _, strength, speed, _ = BeatWaves(one / 4, one / 10, one, *3 * [one[0]]).of_cycle(one[0, 0])
            >>> bool(torch.isclose(angle, torch.tensor(torch.pi / 2)))
            True
        """
        speed = 2 * math.pi / interval
        omega = speed[:, None, None]
        angle, width = omega * self.time, omega * self.width
        return angle, width, self.height * omega / width**2, speed, self.baseline


class WaveReader(nn.Module):
    """Reads the waves of windows: a network says where and how wide they are, the equation how high.

    McSharry's equation along a beat of even phase has the solution

        z(t) = z_0 + c exp(-(t - t_1)) + sum_i h_i p_i(t),        p_i = ``passing``(t, mu_i, sigma_i),

    in which the heights h_i, the baseline z_0 and c are linear. For the times and widths that the network says they are
    the least squares of the window, with a little of ridge, and the gradient passes through their solution. What the
    network says is then corrected by a few damped Gauss-Newton steps on the beat's own residual, outside the gradient.

    Args:
        leads: C.
        window: L.
        rate: Hz of the windows.
        hidden: units of the network.
        corrections: Gauss-Newton steps.

    Shapes:
        ``reader(windows (M, C, L))`` returns ``BeatWaves`` of M beats.

    Source: McSharry, Clifford, Tarassenko and Smith (2003), Eq. 1; for what is linear, Golub and Pereyra (1973), The
    differentiation of pseudo-inverses and nonlinear least squares problems whose variables separate.
    """

    def __init__(self, leads: int, window: int, rate: float, *, hidden: int, corrections: int) -> None:
        super().__init__()
        self.leads, self.corrections = leads, corrections
        length, narrow, wide = window, max(8, hidden // 8), max(8, hidden // 4)
        for _ in range(3):
            length = (length + 1) // 2
        self.look = nn.Sequential(
            nn.Conv1d(leads, narrow, 7, stride=2, padding=3),
            nn.GELU(),
            nn.Conv1d(narrow, wide, 5, stride=2, padding=2),
            nn.GELU(),
            nn.Conv1d(wide, wide, 5, stride=2, padding=2),
            nn.GELU(),
            nn.Flatten(),
            nn.Linear(wide * length, hidden),
            nn.GELU(),
            nn.Linear(hidden, 2 * len(WAVES) * leads),
        )
        self.register_buffer("t", (torch.arange(window) - round(BEFORE * rate)) / rate, persistent=False)
        bounds = torch.tensor([[EARLIEST, LATEST], [NARROWEST, WIDEST]])
        self.register_buffer("bounds", bounds[..., None], persistent=False)

    def forward(self, windows: Tensor) -> BeatWaves:
        """Return the waves as corrected."""
        windows = precise(windows)
        return self.fit(self.correct(self.say(windows), windows), windows)

    def say(self, windows: Tensor) -> Tensor:
        """Return what the network says of times and widths, (M, 2, W, C), 0 in the middle of their ranges."""
        # Never the root of 0, whose slope is infinite: an attribution starts from windows that are empty.
        size = (windows.square().mean(-1, keepdim=True) + 1e-6).sqrt()
        return precise(self.look(windows / size)).view(len(windows), 2, len(WAVES), self.leads)

    def fit(self, said: Tensor, windows: Tensor) -> BeatWaves:
        """Return the waves of times and widths that were said, and whatever heights fit the windows best."""
        time, width = self._placed(said)
        curves = self.curves(time, width)
        gram = curves.transpose(-1, -2) @ curves / curves.shape[-2]
        gram = gram + RIDGE * torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
        seen = curves.transpose(-1, -2) @ windows.unsqueeze(-1) / curves.shape[-2]
        found = torch.linalg.solve(gram, seen)
        heights, (baseline, left) = found[:, :, :-2, 0].transpose(1, 2), found[:, :, -2:, 0].unbind(-1)
        return BeatWaves(time, width, heights, baseline, left, (curves @ found).squeeze(-1))

    def curves(self, time: Tensor, width: Tensor) -> Tensor:
        """Return what the voltage is a sum of, (M, C, L, W + 2): the waves of height 1, the baseline, what is left."""
        waves = passing(self.t[:, None, None], time.unsqueeze(1), width.unsqueeze(1)).permute(0, 3, 1, 2)
        falling = torch.exp(self.t[0] - self.t)
        rest = torch.stack([torch.ones_like(falling), falling], dim=-1)
        return torch.cat([waves, rest.expand(*waves.shape[:2], -1, -1)], dim=-1)

    @torch.no_grad()
    def correct(self, said: Tensor, windows: Tensor) -> Tensor:
        """Return times and widths that fit better than those said, by Gauss-Newton steps with Levenberg's damping."""
        power = windows.square().mean(-1) + EMPTY
        for _ in range(self.corrections):
            waves = self.fit(said, windows)
            slopes = passing_slopes(self.t[:, None, None], waves.time.unsqueeze(1), waves.width.unsqueeze(1))
            share = said.sigmoid()
            (earliest, latest), (narrowest, widest) = self.bounds
            moved = torch.stack(
                [(latest - earliest).expand_as(waves.time), waves.width * (widest / narrowest).log()], 1
            )
            scale = waves.height.unsqueeze(1) * moved * share * (1 - share)  # (M, 2, W, C)
            told = [(slope * scale[:, kind].unsqueeze(1)).permute(0, 3, 1, 2) for kind, slope in enumerate(slopes)]
            jacobian = torch.cat([*told, self.curves(waves.time, waves.width)], dim=-1)
            damping = torch.full(
                jacobian.shape[:2] + jacobian.shape[-1:], RIDGE, dtype=windows.dtype, device=windows.device
            )
            damping[..., : 2 * len(WAVES)] = DAMPING * power.unsqueeze(-1)
            gram = jacobian.transpose(-1, -2) @ jacobian / jacobian.shape[-2] + torch.diag_embed(damping)
            off = jacobian.transpose(-1, -2) @ (windows - waves.drawn).unsqueeze(-1) / jacobian.shape[-2]
            step = torch.linalg.solve(gram, off)[:, :, : 2 * len(WAVES), 0]
            said = said + step.view(*step.shape[:2], 2, len(WAVES)).permute(0, 2, 3, 1).clamp(-1, 1)
        return said

    def _placed(self, said: Tensor) -> Tensor:
        (earliest, latest), (narrowest, widest) = self.bounds
        share = said.sigmoid()
        time = earliest + (latest - earliest) * share[:, 0]
        return torch.stack([time, narrowest * (widest / narrowest) ** share[:, 1]])

    t: Tensor
    bounds: Tensor


def precise(x: Tensor) -> Tensor:
    """Return a tensor in single precision or better: a beat's least squares are lost in less."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def unexplained(windows: Tensor, drawn: Tensor) -> Tensor:
    """Return the share of each beat's power that its waves leave, (M,), over all leads; near 0 for an empty window.

    Args:
        windows: (M, C, L) in units of the usual beat's size in each lead.
        drawn: (M, C, L) the waves' sum.
    """
    return (windows - drawn).square().mean((1, 2)) / (windows.square().mean((1, 2)) + EMPTY)


class EcgOdeBeatNetwork(RhythmBeatNetwork):
    """Names beats by the waves of McSharry's equation that a network reads in them, and by their rhythm.

        waves_n = reader(window_n),      e_n = [MLP(waves_n), MLP(features_n)],      then as ``RhythmBeatNetwork``,

    with S5 layers, trained on the cross entropy of the classes and ``reconstruction`` times the mean share of a beat's
    power that the solution of its equation leaves unexplained; of the two the reader learns from the second alone. The
    scores see the waves' times, widths and heights, the baseline and that share: beside its features nothing of a beat
    passes that its explanation does not tell.

    Args:
        reconstruction: weight of the share that is not explained.
        hidden: units of the reader.
        corrections: Gauss-Newton steps on what the reader says, see ``WaveReader``.
        width: channels of the layers.
        d_state: states of a layer.
        layers: how many, in each direction.
        dropout: in the layers and before the head.
    """

    def __init__(
        self,
        *,
        reconstruction: float = 1.0,
        hidden: int = 128,
        corrections: int = 2,
        width: int = 48,
        d_state: int = 32,
        layers: int = 2,
        dropout: float = 0.2,
    ) -> None:
        super().__init__(width=width, layers=layers, stages=1, dropout=dropout)
        self.save_hyperparameters()
        if not reconstruction > 0:
            raise InputError(f"model.network.reconstruction={reconstruction:g} is out of range: it must be above 0.")
        self.reconstruction, self.hidden, self.corrections = reconstruction, hidden, corrections
        self.d_state = d_state

    def build_network(self, task: BeatTask) -> None:
        """Make the reader, and what names beats by their waves."""
        self.reader = WaveReader(
            len(task.leads), task.window, task.rate, hidden=self.hidden, corrections=self.corrections
        )
        super().build_network(task)

    def make_layer(self) -> SequenceLayer:
        """Return an S5 layer whose states remember from a few beats to many."""
        return S5(self.width, d_state=self.d_state, dt_min=0.02, dt_max=1.0)

    def make_encoder(self, task: BeatTask) -> nn.Module:
        """Return a perceptron on what is told of a beat's waves."""
        told = (3 * len(WAVES) + 2) * len(task.leads) + 1
        return nn.Sequential(
            nn.Linear(told, 2 * self.width), nn.GELU(), nn.Dropout(self.dropout), nn.Linear(2 * self.width, self.width)
        )

    def look(self, windows: Tensor) -> Tensor:
        """Return what is seen of each window, (M, C, L) to (M, width): its waves."""
        windows = precise(windows)
        return super().look(self._told(self.reader(windows), windows))

    def learn(self, batch: BeatBatch) -> tuple[Tensor, Tensor]:
        """Return the scores, and the weighted mean share of the beats' power that the waves leave as first said."""
        windows = precise(batch.windows.flatten(0, 1))
        said = self.reader.say(windows)
        left = unexplained(windows, self.reader.fit(said, windows).drawn)
        with torch.no_grad():
            waves = self.reader.fit(self.reader.correct(said, windows), windows)
        scores = self.name(super().look(self._told(waves, windows)), batch)
        return scores, self.reconstruction * left[batch.mask.flatten()].mean()

    def _told(self, waves: BeatWaves, windows: Tensor) -> Tensor:
        """Lay out the numbers of a beat at scales of about 1, (M, ...)."""
        (earliest, latest), (narrowest, widest) = self.reader.bounds
        parts = (
            2 * (waves.time - earliest) / (latest - earliest) - 1,
            2 * (waves.width / narrowest).log() / (widest / narrowest).log() - 1,
            waves.height.asinh(),
            waves.baseline.asinh(),
            waves.left.asinh(),
            (20 * unexplained(windows, waves.drawn)).log1p().unsqueeze(1),
        )
        return torch.cat([part.flatten(1) for part in parts], dim=1)
