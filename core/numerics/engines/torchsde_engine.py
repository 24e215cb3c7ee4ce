"""torchsde behind ``solve_sde``: its methods, our shapes and times."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torchsde
from torch import Tensor, nn

from integrand.core.errors import InputError
from integrand.core.numerics.stochastic.brownian import Brownian
from integrand.core.numerics.stochastic.equation import Equation, wide
from integrand.core.numerics.stochastic.walk import Grid, Path


@dataclass(frozen=True)
class Method:
    """A method of torchsde.

    Attributes:
        name: its name there.
        calculus: the readings of the equation whose solution it approaches.
        strong: strong order for each type of noise, as torchsde declares it.
        levy: what it asks of the Brownian motion.
        options: of ``torchsde.sdeint``.
    """

    name: str
    calculus: tuple[str, ...]
    strong: Mapping[str, float]
    levy: str = "none"
    options: Mapping[str, Any] = field(default_factory=dict)


_ITO, _STRATONOVICH = ("ito",), ("stratonovich",)
_ALL = {"diagonal": 0.5, "scalar": 0.5, "commutative": 0.5, "additive": 1.0, "general": 0.5}
_NO_MATRIX = {"diagonal": 1.0, "scalar": 1.0, "additive": 1.0}

METHODS = {
    "euler": Method("euler", _ITO, _ALL),
    "milstein": Method("milstein", _ITO + _STRATONOVICH, _NO_MATRIX),
    # Its Stratonovich differences lose half an order where the diffusion is not linear.
    "milstein_free": Method("milstein", _ITO + _STRATONOVICH, _NO_MATRIX, options={"grad_free": True}),
    "srk": Method("srk", _ITO, {"diagonal": 1.5, "scalar": 1.5, "additive": 1.5}, levy="space-time"),
    "heun": Method("heun", _STRATONOVICH, _ALL),
    "euler_heun": Method("euler_heun", _STRATONOVICH, _ALL),
    "midpoint": Method("midpoint", _STRATONOVICH, _ALL),
    "log_ode": Method("log_ode", _STRATONOVICH, _ALL, levy="foster"),
    "reversible_heun": Method("reversible_heun", _STRATONOVICH, _ALL),
}


def solve_torchsde(
    sde: Equation,
    method: str,
    y0: Tensor,
    grid: Grid,
    shape: Sequence[int],
    brownian: Brownian | None,
    generator: torch.Generator | None,
    gradient: str,
    learned: Sequence[Tensor],
) -> Path:
    """Solve with torchsde, one output interval after the other.

    Its steps do not land on output times, between which it interpolates, and its clock gathers rounding, of which the
    last sliver of an interval is made, with a Brownian motion refined for it. So each interval is solved in a time of
    its own that counts its steps of length h: with t = t_i + h s, s = 0, 1, ..., the steps are exactly 1 and

        dy = h f ds + sqrt|h| g dV,      V(s) = W / sqrt|h|,

    which also gives samples times of their own and lets time decrease. The method ``"reversible_heun"`` begins every
    interval with z = y, and the path KL is integrated by the method itself.
    """
    declared = METHODS[method]
    if y0.dim() != 2:
        raise InputError(f"engine='torchsde' needs a state (B, D), got {tuple(y0.shape)}: flatten the state.")
    if generator is not None:
        raise InputError("engine='torchsde' takes no generator: give seeds, or call torch.manual_seed.")
    if grid.times.requires_grad:
        raise InputError("engine='torchsde' gives no gradient to times: detach them, or take engine='native'.")
    if brownian is not None and declared.levy == "foster":
        raise InputError(f"method={method!r} needs Levy areas that a path of one's own has not: leave out seeds.")
    y, states, kls = y0, [y0], [y0.new_zeros(y0.shape[0])]
    clock = y0.new_tensor([0.0, float(grid.substeps)])
    for first in range(0, grid.h.shape[-1], grid.substeps):
        fields = _Rescaled(sde, declared.calculus, grid.times[..., first], grid.h[..., first])
        # For the path KL torchsde adds a component to the state, and wants diagonal noise to have one more too.
        spare = int(sde.has_prior and sde.diagonal)
        size = (y0.shape[0], shape[0] + spare)
        if brownian is not None:
            bm: Any = _Given(brownian, fields, size, y0, spare)
        else:
            # Its entropy is drawn by torch, so that torch.manual_seed decides.
            entropy = int(torch.randint(2**31, ()))
            bm = torchsde.BrownianInterval(
                0.0,
                float(grid.substeps),
                size,
                y0.dtype,
                y0.device,
                entropy,
                1.0,
                levy_area_approximation=declared.levy,
            )
        call: dict[str, Any] = {"bm": bm, "method": declared.name, "dt": 1.0, "options": dict(declared.options)}
        if gradient == "adjoint":
            solved = torchsde.sdeint_adjoint(
                fields, y, clock, adjoint_params=tuple(learned), logqp=sde.has_prior, **call
            )
        else:
            solved = torchsde.sdeint(fields, y, clock, logqp=sde.has_prior, **call)
        reached = solved[0] if sde.has_prior else solved
        y = reached[-1]
        states.append(y)
        kls.append(kls[-1] + solved[1][0] if sde.has_prior else kls[-1])
    return Path(torch.stack(states, dim=1), torch.stack(kls, dim=1) if sde.has_prior else None)


class _Rescaled(nn.Module):
    """The equation in the time of one interval, as torchsde calls it."""

    def __init__(self, sde: Equation, calculus: Sequence[str], start: Tensor, h: Tensor) -> None:
        super().__init__()
        self.sde, self.start, self.step = sde, start, h
        # For additive noise the two readings agree, and torchsde wants the one of its method.
        self.sde_type = sde.calculus if sde.calculus in calculus else calculus[0]
        self.noise_type = "general" if sde.noise == "commutative" else sde.noise

    def time(self, s: Tensor) -> Tensor:
        return self.start + s * self.step

    def root(self, value: Tensor) -> Tensor:
        return wide(self.step.abs().sqrt(), value)

    def f(self, s: Tensor, y: Tensor) -> Tensor:
        return self.sde.drift(self.time(s), y) * wide(self.step, y)

    def g(self, s: Tensor, y: Tensor) -> Tensor:
        g = self.sde.diffusion(self.time(s), y)
        return g * self.root(g)

    def h(self, s: Tensor, y: Tensor) -> Tensor:
        """Return the prior drift, under torchsde's name for it."""
        return self.sde.prior_drift(self.time(s), y) * wide(self.step, y)


class _Given(torchsde.BaseBrownian):
    """A path of ours, asked by torchsde in the time of one interval."""

    def __init__(self, path: Brownian, clock: _Rescaled, size: tuple[int, int], like: Tensor, spare: int) -> None:
        self.path, self.clock, self._size, self.like, self.spare = path, clock, size, like, spare

    def __call__(self, ta: Any, tb: Any = None, return_U: bool = False, return_A: bool = False) -> Any:
        ends = [self.clock.time(torch.as_tensor(s, dtype=self.like.dtype, device=self.like.device)) for s in (ta, tb)]
        w, area = self.path.increments(torch.stack(ends, dim=-1), area=return_U)
        scaled = self.scaled(w[0])
        if area is None:
            return scaled
        return scaled, (tb - ta) * (scaled / 2 + self.scaled(area[0]))

    def scaled(self, x: Tensor) -> Tensor:
        """Return a part of the path in the time of the interval, with a channel of zeros where one is to spare."""
        return nn.functional.pad(x / self.clock.root(x), (0, self.spare))

    def __repr__(self) -> str:
        return f"Given({self.path!r})"

    @property
    def dtype(self) -> torch.dtype:
        return self.like.dtype

    @property
    def device(self) -> torch.device:
        return self.like.device

    @property
    def shape(self) -> tuple[int, ...]:
        return self._size

    @property
    def levy_area_approximation(self) -> str:
        return "space-time"
