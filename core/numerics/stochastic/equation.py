"""A stochastic differential equation as the schemes see it: its fields bound, and every shape checked."""

from typing import Any

import torch
from torch import Tensor

from integrand.core.errors import InputError
from integrand.core.numerics.field_call import BoundField, Field, repeat, select
from integrand.core.numerics.modes import outside_inference

NOISES = ("diagonal", "scalar", "commutative", "additive", "general")
CALCULI = ("ito", "stratonovich")


class Equation:
    """dy = f(t, y) dt + g(t, y) dW, in Ito's or Stratonovich's reading.

    Args:
        drift: f, returning (B, ...) like the state.
        diffusion: g, returning (B, ...) like the state for diagonal noise, else (B, D, M).
        prior_drift: the drift of the process the path KL is taken to, or None.
        args: what is handed to all three.
        noise: one of ``NOISES``.
        calculus: one of ``CALCULI``.
        batch: number of samples B.
    """

    def __init__(
        self,
        drift: Field,
        diffusion: Field,
        prior_drift: Field | None,
        args: Any,
        noise: str,
        calculus: str,
        batch: int,
    ) -> None:
        self._drift, self._diffusion = _Part(drift, args, batch), _Part(diffusion, args, batch)
        self._prior = None if prior_drift is None else _Part(prior_drift, args, batch)
        self.args, self.batch = args, batch
        self.noise, self.calculus, self.diagonal = noise, calculus, noise == "diagonal"

    def with_args(self, args: Any) -> "Equation":
        """Return the equation with other arguments."""
        return self._copy(args, self.batch)

    def at(self, rows: Tensor) -> "Equation":
        """Return the equation of these samples alone, which counts its evaluations from 0."""
        return self._copy(select(self.args, rows), rows.shape[0])

    def _copy(self, args: Any, batch: int) -> "Equation":
        prior = None if self._prior is None else self._prior.field
        return Equation(self._drift.field, self._diffusion.field, prior, args, self.noise, self.calculus, batch)

    @property
    def fields(self) -> tuple[BoundField, BoundField]:
        """Drift and diffusion, with their arguments."""
        return self._drift, self._diffusion

    def count(self, *, drift: int, diffusion: int) -> None:
        """Count evaluations that did not go through the methods below."""
        self._drift.evaluations += drift
        self._diffusion.evaluations += diffusion

    @property
    def has_prior(self) -> bool:
        """Whether a path KL is asked for."""
        return self._prior is not None

    @property
    def evaluations(self) -> int:
        """Evaluations of drift, diffusion and prior drift so far."""
        fields = (self._drift, self._diffusion, self._prior)
        return sum(field.evaluations for field in fields if field is not None)

    def drift(self, t: Tensor, y: Tensor) -> Tensor:
        """Return f(t, y)."""
        return _like_state("drift", self._drift(t, y), y)

    def prior_drift(self, t: Tensor, y: Tensor) -> Tensor:
        """Return p(t, y)."""
        assert self._prior is not None
        return _like_state("prior drift", self._prior(t, y), y)

    def diffusion(self, t: Tensor, y: Tensor) -> Tensor:
        """Return g(t, y)."""
        g = self._diffusion(t, y)
        if self.diagonal:
            return _like_state("diffusion", g, y, "for diagonal noise it must have the state's shape")
        if (
            not isinstance(g, Tensor)
            or g.dim() != 3
            or g.shape[:2] != y.shape
            or (self.noise == "scalar" and g.shape[2] != 1)
        ):
            wanted = f"({y.shape[0]}, {y.shape[1]}, {'1' if self.noise == 'scalar' else 'M'})"
            raise InputError(
                f"the diffusion returned {_what(g)} for a state of shape {tuple(y.shape)}: with "
                f"noise={self.noise!r} it must be {wanted}."
            )
        return _same_precision("diffusion", g, y)

    def noise_shape(self, t: Tensor, y: Tensor) -> tuple[int, ...]:
        """Return the shape of one sample's noise, asking the diffusion where nothing else tells."""
        if self.diagonal:
            return tuple(y.shape[1:])
        if y.dim() != 2:
            raise InputError(
                f"noise={self.noise!r} needs a state (B, D), got {tuple(y.shape)}: flatten the state, or take "
                "noise='diagonal'."
            )
        if self.noise == "scalar":
            return (1,)
        with torch.no_grad():
            return (self.diffusion(t, y).shape[2],)

    def apply(self, g: Tensor, w: Tensor) -> Tensor:
        """Return g w: a product by elements for diagonal noise, else of matrix and vector."""
        # Not matmul, which autocast would take to half precision.
        return g * w if self.diagonal else (g * w.unsqueeze(-2)).sum(-1)

    def push(self, y: Tensor, f: Tensor, h: Tensor, g: Tensor, w: Tensor) -> Tensor:
        """Return y + f h + g w."""
        y = torch.addcmul(y, f, h)
        return torch.addcmul(y, g, w) if self.diagonal else y + self.apply(g, w)

    def diffusion_jvp(self, t: Tensor, y: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Return g(t, y) and its derivative along v."""
        with outside_inference(y) as y:
            # Contiguous, for forward derivatives refuse expanded tensors.
            g, slope, *_ = torch.func.jvp(lambda y: self.diffusion(t, y), (y.contiguous(),), (v.contiguous(),))
        return g, slope

    def self_slopes(self, t: Tensor, y: Tensor, g: Tensor) -> Tensor:
        """Return sum_j (dg_j/dy) g_j over the columns of g, (B, D), all of them in one call."""
        samples, dim, columns = g.shape
        copies, along = y.repeat_interleave(columns, 0), g.transpose(1, 2).reshape(-1, dim)
        _, slope = self.diffusion_jvp(t if t.dim() == 0 else t.repeat_interleave(columns), copies, along)
        return slope.view(samples, columns, dim, columns).diagonal(dim1=1, dim2=3).sum(-1)

    def diffusion_at_columns(self, t: Tensor, y_BDM: Tensor) -> Tensor:
        """Return g at each of M states a sample in one call: (B, D, M, M), the last dimension that of the states."""
        samples, dim, columns = y_BDM.shape
        g = self.diffusion(t if t.dim() == 0 else t.repeat_interleave(columns), y_BDM.transpose(1, 2).reshape(-1, dim))
        return g.view(samples, columns, dim, columns).permute(0, 2, 3, 1)

    def kl_rate(self, t: Tensor, y: Tensor, f: Tensor, g: Tensor) -> Tensor:
        """Return |u|^2 / 2 with g u = f - f_prior, (B,): the growth of the path KL, by Girsanov's theorem."""
        gap = f - self.prior_drift(t, y)
        if self.diagonal:
            return (gap / g).square().flatten(1).sum(1) / 2
        if g.shape[2] < g.shape[1]:
            raise InputError(
                f"the path KL is infinite with {g.shape[2]} noise channels in {g.shape[1]} dimensions: give the "
                "diffusion as many channels as the state has, or leave out prior_drift."
            )
        if g.shape[2] == g.shape[1]:
            return torch.linalg.solve(g, gap).square().sum(1) / 2
        return (gap * torch.linalg.solve(g @ g.mT, gap)).sum(1) / 2

    def check_separate(self, t: Tensor, y: Tensor, method: str) -> None:
        """Refuse diagonal noise whose g_i depends on another component: not what the higher schemes solve.

        One half of the components is moved and then the other, and the diffusions of those that stay must stay.
        """
        size = y[0].numel()
        if not self.diagonal or size < 2:
            return
        with torch.no_grad():
            # A fixed pattern without a period, so that no regular coupling hides in it.
            pattern = (torch.arange(size, device=y.device) * 0x9E3779B1 >> 16) % 2 == 0
            g, changes = self.diffusion(t, y), []
            for moved in (pattern.view(y.shape[1:]), ~pattern.view(y.shape[1:])):
                change = self.diffusion(t, torch.where(moved, y + 0.5, y)) - g
                changes.append(torch.where(moved, 0, change.abs()).amax())
            rounding = torch.finfo(y.dtype).eps ** 0.5 * g.abs().amax()
            coupled = torch.stack(changes).amax() > rounding
        if bool(coupled):
            raise InputError(
                f"method={method!r} with diagonal noise needs each diffusion to depend on its own component alone, and "
                "this one depends on others: take method='euler' (Ito) or 'heun' (Stratonovich)."
            )


def wide(h: Tensor, y: Tensor) -> Tensor:
    """Return a number a solve or a sample, scalar or (B,), in a shape that multiplies states."""
    return h if h.dim() == 0 else h.view(-1, *(1,) * (y.dim() - 1))


class _Part(BoundField):
    """One field of the equation; what it returns is checked by the equation, which knows its part."""

    def __call__(self, t: Tensor, y: Tensor) -> Tensor:
        """Evaluate the field, and count it."""
        self.evaluations += 1
        if self.args is None:
            return self.field(t, y)
        copies = y.shape[0] // self.batch
        return self.field(t, y, self.args if copies == 1 else repeat(self.args, copies))


def _like_state(name: str, value: Tensor, y: Tensor, rule: str = "it must have the state's shape") -> Tensor:
    if not isinstance(value, Tensor) or value.shape != y.shape:
        raise InputError(f"the {name} returned {_what(value)} for a state of shape {tuple(y.shape)}: {rule}.")
    return _same_precision(name, value, y)


def _same_precision(name: str, value: Tensor, y: Tensor) -> Tensor:
    """Refuse another device or precision, but for the lower one that autocast makes, which is undone."""
    if value.device != y.device:
        raise InputError(f"the {name} returned a tensor on {value.device}, the state is on {y.device}: move the field.")
    if value.dtype is not y.dtype:
        if not torch.is_autocast_enabled(y.device.type):
            raise InputError(
                f"the {name} returned {value.dtype} for a state of {y.dtype}: convert the field or y0 to one type."
            )
        value = value.to(y.dtype)
    return value


def _what(value: Any) -> str:
    return f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
