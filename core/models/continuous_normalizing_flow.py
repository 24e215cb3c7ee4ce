"""The continuous normalising flow: a density carried along by an ODE."""

import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from integrand.core.errors import InputError, unknown
from integrand.core.numerics.divergence import PROBES, draw_probes
from integrand.core.numerics.solve_ode import Gradient, solve_ode
from integrand.core.numerics.transport import Transported, transport


class FlowLikelihood(NamedTuple):
    """What a flow says of some data.

    Attributes:
        log_prob: log density, (B,), in nats.
        latent: the points of the base distribution that the data come from, (B, ...).
        kinetic_energy, jacobian_energy: see ``Transported``.
    """

    log_prob: Tensor
    latent: Tensor
    kinetic_energy: Tensor | None
    jacobian_energy: Tensor | None


class ContinuousNormalizingFlow(nn.Module):
    """The density of y(T), where y' = f(t, y) and y(0) is normal.

    Along a solution the density changes as the divergence of the field says, so that the data x = y(T) have

        log p(x) = log N(y(0); 0, I) - int_0^T tr df/dy (t, y(t)) dt,

    the integral being one more component of the ODE, solved from T back to 0. The trace is exact, in D products with
    the Jacobian, or estimated without bias from a few whose probes are fixed for a solve (``divergence``).

    Two energies, int |f|^2 dt and int |df/dy|_F^2 dt, are carried along when ``energies`` is set. Added to the loss
    they make for straight paths and few evaluations. They count in the error that an adaptive solver controls.
    With ``steer`` b the end of the interval is drawn from U(T - b, T + b), once for the batch, whenever the flow is
    called in training mode: it then cannot bend its paths to fit one interval. Elsewhere the end is T.

    Its place on the map: model level; the continuity equation dp/dt = -div(p f) solved along its characteristics, which
    are an ODE. Each step of forward Euler is a block of a residual flow.

    Args:
        field: f, a module called ``field(t, y)`` or ``field(t, y, args)``; conditions go in as ``args``.
        shape: dimension D of the data, or the shape of a sample.
        end: T.
        trace: ``"exact"``, or the distribution of the probes, ``"rademacher"`` or ``"gaussian"``. It may be set anew at
            any time, as for an exact evaluation of a flow trained with estimates.
        probes: number K of probes for each sample.
        energies: whether to integrate the energies.
        steer: b, less than ``end``.
        method, rtol, atol, step_size, gradient: see ``solve_ode``.

    Raises:
        InputError: an option out of range, data of another shape.

    Example:
        >>> from integrand.core.fields.linear import Linear
        >>> flow = ContinuousNormalizingFlow(Linear(2), 2, step_size=0.1)
        >>> _ = flow.field.map[0].weight.data.zero_(), flow.field.map[0].bias.data.fill_(3.0)
        >>> found = flow(torch.full((1, 2), 3.0))
        >>> round(found.log_prob.item(), 4), found.latent.abs().max().item() < 1e-5
        (-1.8379, True)
        >>> flow.sample(5).shape
        torch.Size([5, 2])

    Source: Chen, Rubanova, Bettencourt and Duvenaud (2018), Neural ordinary differential equations, Eq. 8; Grathwohl,
    Chen, Bettencourt, Sutskever and Duvenaud (2019), FFJORD: free-form continuous dynamics for scalable reversible
    generative models, Algorithm 1; energies: Finlay, Jacobsen, Nurbekyan and Oberman (2020), How to train your neural
    ODE: the world of Jacobian and kinetic regularization; steer: Ghosh, Behl, Dupont, Torr and Namboodiri (2020),
    STEER: simple temporal regularization for neural ODEs.
    """

    def __init__(
        self,
        field: nn.Module,
        shape: int | Sequence[int],
        *,
        end: float = 1.0,
        trace: Literal["exact", "rademacher", "gaussian"] = "exact",
        probes: int = 1,
        energies: bool = False,
        steer: float = 0.0,
        method: str = "dopri5",
        rtol: float = 1e-4,
        atol: float = 1e-6,
        step_size: float | None = None,
        gradient: Gradient = "direct",
    ) -> None:
        super().__init__()
        self.shape = (shape,) if isinstance(shape, int) else tuple(shape)
        if not self.shape or min(self.shape) < 1:
            raise InputError(f"shape must be a dimension D or the shape of a sample, each at least 1, got {shape}.")
        if not 0 < end < math.inf:
            raise InputError(f"end must be positive and finite, got {end}.")
        if trace not in ("exact", *PROBES):
            raise unknown("trace", trace, ("exact", *PROBES))
        if probes < 1:
            raise InputError(f"probes must be at least 1, got {probes}.")
        if not 0 <= steer < end:
            raise InputError(f"steer must be at least 0 and less than end={end}, got {steer}.")
        self.field, self.end, self.steer = field, end, steer
        self.trace, self.probes, self.energies = trace, probes, energies
        self.method, self.rtol, self.atol = method, rtol, atol
        self.step_size = step_size
        self.gradient: Gradient = gradient
        self.register_buffer("_like", torch.zeros(()), persistent=False)  # the device and precision of samples

    def forward(self, x: Tensor, args: Any = None, *, noise: Tensor | None = None) -> FlowLikelihood:
        """Find the log density of data x (B, ...), with all that comes of it on the way; see ``pull`` for arguments."""
        latent, log_det, kinetic, jacobian = self.pull(x, args, noise=noise)
        flat = latent.flatten(1).to(log_det.dtype)
        base = -0.5 * (flat.square() + math.log(2 * math.pi)).sum(1)
        return FlowLikelihood(base + log_det, latent, kinetic, jacobian)

    def log_prob(self, x: Tensor, args: Any = None, *, noise: Tensor | None = None) -> Tensor:
        """Return the log density of data x (B, ...), in nats, (B,)."""
        return self(x, args, noise=noise).log_prob

    def pull(self, x: Tensor, args: Any = None, *, noise: Tensor | None = None) -> Transported:
        """Take data back to the base distribution.

        Args:
            x: (B, ...).
            args: conditions, as the field takes them.
            noise: probes (B, K, ...) for an estimated trace, see ``draw_probes``; drawn when None.
        """
        return self._transport(x, args, noise, from_data=True)

    def push(self, z: Tensor, args: Any = None, *, noise: Tensor | None = None) -> Transported:
        """Take points of the base distribution to data; arguments as those of ``pull``."""
        return self._transport(z, args, noise, from_data=False)

    def sample(self, count: int, args: Any = None, *, generator: torch.Generator | None = None) -> Tensor:
        """Draw samples (count, ...); conditions ``args`` have one row for each."""
        like: Tensor = self._like  # pyright: ignore[reportAssignmentType]
        z = torch.randn((count, *self.shape), dtype=like.dtype, device=like.device, generator=generator)
        return solve_ode(self.field, z, [0.0, self.end], args=args, **self._options).states[:, -1]

    def _transport(self, start: Tensor, args: Any, noise: Tensor | None, *, from_data: bool) -> Transported:
        if start.shape[1:] != self.shape or not start.is_floating_point():
            raise InputError(
                f"this flow takes real points (B, ...) = (B, {', '.join(map(str, self.shape))}), got "
                f"{tuple(start.shape)} of {start.dtype}."
            )
        if noise is None and self.trace != "exact":
            noise = draw_probes(start, self.probes, kind=self.trace)  # pyright: ignore[reportArgumentType]
        elif noise is not None and self.trace == "exact":
            raise InputError("noise was given, but trace='exact' has no use for it: leave it out.")
        moved = transport(
            self.field,
            start,
            self._times(start, from_data=from_data),
            args,
            noise=noise,
            energies=self.energies,
            **self._options,
        )
        if not from_data or not self.energies:
            return moved
        # An energy is that of the way from 0 to T, whichever way it was walked.
        kinetic, jacobian = -moved.kinetic_energy, -moved.jacobian_energy  # pyright: ignore[reportOptionalOperand]
        return moved._replace(kinetic_energy=kinetic, jacobian_energy=jacobian)

    def _times(self, like: Tensor, *, from_data: bool) -> Tensor | list[float]:
        if not (self.steer and self.training):
            return [self.end, 0.0] if from_data else [0.0, self.end]
        end = self.end + self.steer * (2 * torch.rand((), dtype=like.dtype, device=like.device) - 1)
        ends = [end, torch.zeros_like(end)]
        return torch.stack(ends if from_data else ends[::-1])

    @property
    def _options(self) -> dict[str, Any]:
        return {
            "method": self.method,
            "rtol": self.rtol,
            "atol": self.atol,
            "step_size": self.step_size,
            "gradient": self.gradient,
        }
