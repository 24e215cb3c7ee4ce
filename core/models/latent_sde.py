"""The latent stochastic differential equation: a series as one path of a process, inferred along its whole length."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from integrand.core.errors import InputError
from integrand.core.fields.diagonal_diffusion import DiagonalDiffusion
from integrand.core.fields.dimensions import check_real
from integrand.core.fields.mlp import MLP
from integrand.core.layers.sequence_layer import SequenceLayer
from integrand.core.losses.gaussian_kl import gaussian_kl
from integrand.core.models.read_backwards import read_backwards
from integrand.core.numerics.solve_sde import StochasticSolution, solve_sde
from integrand.core.numerics.stochastic.brownian import Brownian
from integrand.core.numerics.stochastic.fitting import check_method, check_steps
from integrand.core.paths.path import rows


class LatentPath(NamedTuple):
    """What a latent SDE infers: one path a sample, drawn from the posterior, and how far that is from the prior.

    Attributes:
        solution: the path at the times asked for, states (B, T, D); its ``path_kl`` (B, T) grows along it.
        mean, std: of the start, q(z_0 | series), (B, D).
        start_kl: KL(q(z_0 | series) || p(z_0)), (B,).
        path_kl: KL of the path given its start, up to the last time, (B,).
    """

    solution: StochasticSolution
    mean: Tensor
    std: Tensor
    start_kl: Tensor
    path_kl: Tensor

    @property
    def kl(self) -> Tensor:
        """What the evidence lower bound subtracts: both divergences, (B,)."""
        return self.start_kl + self.path_kl


class LatentSDE(nn.Module):
    """A variational autoencoder whose latent variable is the whole path of a stochastic differential equation.

        prior        z_0 ~ N(mu, diag sigma^2),           dz = h(t, z) dt + g(t, z) dW
        posterior    z_0 ~ q(z_0 | series),               dz = f(t, z, c(t)) dt + g(t, z) dW
        KL(posterior || prior) = KL(q(z_0) || p(z_0)) + E int |(f - h) / g|^2 / 2 dt

    Both processes share the diagonal diffusion g, without which the divergence would be infinite. The context c(t) is
    what an encoder that reads the series backwards says at the next element after t: it has seen what is to come,
    and the last element once all have passed.

    Its place on the map: model level; the whole series is one path of an SDE, and g = 0 would leave a latent ODE. The
    Euler-Maruyama scheme discretises it to a Markov chain with Gaussian steps.

    Args:
        features: features F of an element of the series.
        latent: dimension D of z.
        encoder: any sequence layer; reads features lifted to its ``d_model``.
        context: dimension C of c.
        hidden: widths of the default drifts.
        posterior_drift: f, called ``f(t, z, c)`` with c (B, C); an ``MLP`` where None.
        prior_drift: h, called ``h(t, z)``; an ``MLP`` where None.
        diffusion: g, called ``g(t, z)``, positive, (B, D); a ``DiagonalDiffusion`` where None.
        calculus: ``"ito"`` or ``"stratonovich"``.
        method: a method of ``solve_sde``; where None ``"euler"`` in Ito's calculus, with which the path KL is exactly
            that of the two chains of steps, and ``"heun"`` in Stratonovich's.
        step_size: longest step, in the units of ``times``; None takes one step an output interval.
        on_failure: what a state that is not finite does: ``"raise"``, at the price of one wait for the device, or
            ``"nan"``, see ``solve_sde``.

    Raises:
        InputError: an option is out of range, a wrong shape.

    Example:
        >>> from integrand.core.layers import S5
        >>> model = LatentSDE(3, 4, S5(8, d_state=8), step_size=0.05)
        >>> times, mask = torch.linspace(0, 1, 6), torch.ones(2, 6, dtype=torch.bool)
        >>> out = model(torch.randn(2, 6, 3), times, mask, times)
        >>> out.solution.states.shape, out.start_kl.shape, out.path_kl.shape
        (torch.Size([2, 6, 4]), torch.Size([2]), torch.Size([2]))
        >>> model.sample(5, times).states.shape
        torch.Size([5, 6, 4])

    Source: Li, Wong, Chen and Duvenaud (2020), Scalable gradients for stochastic differential equations.
    """

    def __init__(
        self,
        features: int,
        latent: int,
        encoder: SequenceLayer,
        *,
        context: int = 16,
        hidden: Sequence[int] = (64,),
        posterior_drift: nn.Module | None = None,
        prior_drift: nn.Module | None = None,
        diffusion: nn.Module | None = None,
        calculus: Literal["ito", "stratonovich"] = "ito",
        method: str | None = None,
        step_size: float | None = None,
        on_failure: Literal["raise", "nan"] = "raise",
    ) -> None:
        super().__init__()
        for name, value in (("features", features), ("latent", latent), ("context", context)):
            if value < 1:
                raise InputError(f"{name} must be at least 1, got {value}.")
        if method is None:
            method = "heun" if calculus == "stratonovich" else "euler"
        check_steps(step_size, None, None, None, None)
        check_method("native", method, "diagonal", calculus, "direct", on_failure, False)
        self.features, self.latent = features, latent
        self.lift = nn.Linear(features, encoder.d_model)
        self.encoder = encoder
        self.context = nn.Linear(encoder.d_model, context)
        self.posterior = nn.Linear(context, 2 * latent)
        self.posterior_drift = MLP(latent, hidden, control=context) if posterior_drift is None else posterior_drift
        self.prior_drift = MLP(latent, hidden) if prior_drift is None else prior_drift
        self.diffusion = DiagonalDiffusion(latent) if diffusion is None else diffusion
        self.prior_mean = nn.Parameter(torch.zeros(latent))
        self.prior_log_std = nn.Parameter(torch.zeros(latent))
        self.calculus: Literal["ito", "stratonovich"] = calculus
        self.method, self.step_size = method, step_size
        self.on_failure: Literal["raise", "nan"] = on_failure

    def forward(
        self,
        features: Tensor,
        observed_at: Tensor,
        mask: Tensor,
        times: Tensor | Sequence[float],
        *,
        noise: Tensor | None = None,
        seeds: Tensor | Sequence[int] | None = None,
        brownian: Brownian | None = None,
        generator: torch.Generator | None = None,
    ) -> LatentPath:
        """Infer the start, and draw a path of the posterior.

        Args:
            features: (B, L, F), L >= 1.
            observed_at: times of the elements, (L,) or (B, L), non-decreasing; padding repeats the last.
            mask: (B, L) bool, True where an element is present. A sample without any gets the context zero.
            times: output times (T,) or (B, T), on the same clock; the first is that of z_0. Solver steps land on them,
                and the context may change within a step that does not end at an element: with the elements' times among
                them, or steps that are short beside the gaps, it does not matter.
            noise: of the start, (B, D); drawn when None, zeros give the mean.
            seeds, brownian, generator: where the noise of the path comes from, see ``solve_sde``.
        """
        observed_at, ahead = self.infer(features, observed_at, mask)
        dtype = self.posterior.weight.dtype
        mean, raw = self.posterior(ahead[:, 0].to(dtype)).to(ahead.dtype).chunk(2, dim=-1)
        std = F.softplus(raw) + 1e-4
        noise = torch.randn_like(mean) if noise is None else _checked_noise(noise, tuple(mean.shape))
        solution = solve_sde(
            self._posterior_drift,
            self._diffusion,
            (mean + std * noise).to(dtype),
            times,
            args=(observed_at, ahead.to(dtype)),
            calculus=self.calculus,
            method=self.method,
            step_size=self.step_size,
            seeds=seeds,
            brownian=brownian,
            generator=generator,
            prior_drift=self._prior_drift,
            on_failure=self.on_failure,
        )
        prior_std = self.prior_log_std.exp()
        start_kl = gaussian_kl((mean - self.prior_mean) / prior_std, std / prior_std)
        assert solution.path_kl is not None
        return LatentPath(solution, mean, std, start_kl, solution.path_kl[:, -1])

    def sample(
        self,
        batch: int,
        times: Tensor | Sequence[float],
        *,
        start: Tensor | None = None,
        noise: Tensor | None = None,
        seeds: Tensor | Sequence[int] | None = None,
        brownian: Brownian | None = None,
        generator: torch.Generator | None = None,
    ) -> StochasticSolution:
        """Draw paths of the prior at times (T,) or (B, T).

        Args:
            batch: B.
            times: see above.
            start: states (B, D) to go on from, such as the last of a posterior's; drawn from the prior when None.
            noise: of the start where it is drawn, (B, D).
            seeds, brownian, generator: as in ``forward``.
        """
        if start is None:
            if noise is None:
                like = self.prior_mean
                noise = torch.randn(batch, self.latent, generator=generator, dtype=like.dtype, device=like.device)
            noise = _checked_noise(noise, (batch, self.latent))
            start = self.prior_mean + self.prior_log_std.exp() * noise
        elif noise is not None:
            raise InputError("start and noise are two ways to say where paths begin: give one of them.")
        elif tuple(start.shape) != (batch, self.latent):
            raise InputError(f"start must be (B, D) = {(batch, self.latent)}, got {tuple(start.shape)}.")
        return solve_sde(
            self.prior_drift,
            self.diffusion,
            start,
            times,
            calculus=self.calculus,
            method=self.method,
            step_size=self.step_size,
            seeds=seeds,
            brownian=brownian,
            generator=generator,
            on_failure=self.on_failure,
        )

    def infer(self, features: Tensor, observed_at: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return the times of the elements (B, L) and the context from each on, (B, L, C): of the next one present."""
        batch, length = self._check(features, observed_at, mask)
        wide = torch.promote_types(features.dtype, torch.float32)  # neither times nor paths are for half precision
        observed_at = observed_at.detach().to(features.device, wide).expand(batch, length).contiguous()
        x = self.lift(torch.where(mask.unsqueeze(-1), features, 0))
        dt = observed_at.diff(dim=-1, prepend=observed_at[:, :1])
        context = self.context(read_backwards(self.encoder, x, dt, mask)).to(wide)
        # What is said at absent elements is none of an encoder's promises.
        context = torch.where(mask.unsqueeze(-1), context, 0)
        place = torch.arange(length, device=features.device)
        following = torch.where(mask, place, length).flip(1).cummin(dim=1).values.flip(1)
        last = torch.where(mask, place, 0).amax(dim=1, keepdim=True)
        return observed_at, rows(context, torch.where(following == length, last, following))

    def _check(self, features: Tensor, observed_at: Tensor, mask: Tensor) -> tuple[int, int]:
        if features.dim() != 3 or features.shape[-1] != self.features or not features.shape[1]:
            raise InputError(
                f"features must be (B, L, F) = (batch, length >= 1, {self.features}), got {tuple(features.shape)}."
            )
        check_real(features, "LatentSDE")
        batch, length = shape = tuple(features.shape[:2])
        if tuple(observed_at.shape) not in ((length,), shape):
            raise InputError(
                f"observed_at, the times of the elements, must be (L,) or (B, L) = {shape}, got "
                f"{tuple(observed_at.shape)}."
            )
        if tuple(mask.shape) != shape or mask.dtype != torch.bool:
            raise InputError(
                f"mask must have shape (B, L) = {shape} and be bool, got {tuple(mask.shape)} of {mask.dtype}."
            )
        return batch, length

    # As ``solve_sde`` calls them, which hands the same arguments to all three.

    def _posterior_drift(self, t: Tensor, z: Tensor, args: tuple[Tensor, Tensor]) -> Tensor:
        observed_at, ahead = args
        t_B1 = t.detach().expand(z.shape[0]).unsqueeze(-1).contiguous()
        index = torch.searchsorted(observed_at, t_B1, right=True).clamp(max=observed_at.shape[1] - 1)
        return self.posterior_drift(t, z, rows(ahead, index)[:, 0])

    def _prior_drift(self, t: Tensor, z: Tensor, args: Any) -> Tensor:
        return self.prior_drift(t, z)

    def _diffusion(self, t: Tensor, z: Tensor, args: Any) -> Tensor:
        return self.diffusion(t, z)


def _checked_noise(noise: Tensor, shape: tuple[int, ...]) -> Tensor:
    if tuple(noise.shape) != shape:
        raise InputError(f"noise must be (B, D) = {shape}, got {tuple(noise.shape)}.")
    return noise
