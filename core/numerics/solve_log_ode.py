"""The log-ODE method: a controlled equation solved window by window through log-signatures."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from integrand.core.errors import InputError
from integrand.core.numerics.field_call import Field, repeat
from integrand.core.numerics.modes import outside_inference
from integrand.core.numerics.solution import Solution
from integrand.core.numerics.solve_cde import solve_cde
from integrand.core.numerics.solve_ode import Gradient
from integrand.core.paths.log_signature import LogSignaturePath, log_signature_dimension, lyndon_brackets


def solve_log_ode(
    field: Field,
    path: LogSignaturePath,
    z0: Tensor,
    times: Tensor | Sequence[float],
    *,
    depth: int,
    args: Any = None,
    method: str = "rk4",
    step_size: float | None = None,
    rtol: float = 1e-4,
    atol: float = 1e-6,
    gradient: Gradient = "direct",
) -> Solution:
    """Solve dz = f(t, z) dX(t) with one ordinary equation a window, made of the window's log-signature.

    Over a window of length h with log-signature coefficients l_w of the Lyndon brackets w,

        dz/dt = sum_w l_w f_w(z) / h,     f_{[a, b]} = [f_a, f_b] = (Df_b) f_a - (Df_a) f_b

    with f_i the columns of f. The Lie brackets are formed by Jacobian-vector products: about 1 + 2C evaluations of the
    field a stage at depth 2, of the order of C^2 at depth 3. Where they are learned instead, as in neural rough
    differential equations, give ``solve_cde`` a field (B, H, K).

    In a window of size e the control leaves a local error O(e^{depth + 1}). Along a smooth control, whose areas over
    short windows are small, depths 1, 2 and 3 converge in the window's length with orders 2, 4 and 4.

    Args:
        field: f, called ``field(t, z)``, or ``field(t, z, args)``; returns (B, H, C), twice differentiable in z at
            depth 2, thrice at depth 3, where gradients are asked for.
        path: the log-signatures of all windows, to the depth given here.
        z0, times, args, method, step_size, rtol, atol, gradient: as in ``solve_cde``; a fixed step is a window unless
            ``step_size`` says otherwise.
        depth: 1, 2 or 3.

    Raises:
        InputError: as ``solve_cde``, or the log-signatures are not those of the field's channels to this depth.

    Example:
        >>> from integrand.core.paths import LinearPath, log_signatures
        >>> walk = LinearPath(torch.tensor([[[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]]]), torch.arange(3.0))
        >>> whole = torch.tensor([0.0, 2.0])
        >>> path = LogSignaturePath(log_signatures(walk, whole, depth=2), whole)
        >>> def heisenberg(t, z):  # dz = (dx, dy, (x dy - y dx) / 2), whose third state is the area
        ...     x, y, one, zero = z[:, 0], z[:, 1], torch.ones_like(z[:, 0]), torch.zeros_like(z[:, 0])
        ...     return torch.stack([one, zero, zero, one, -y / 2, x / 2], dim=-1).view(-1, 3, 2)
        >>> solve_log_ode(heisenberg, path, torch.zeros(1, 3), whole, depth=2).states[0, -1].tolist()
        [1.0, 1.0, 0.5]

    Source: Morrill et al. (2021), Neural rough differential equations for long time series; the brackets by
    Jacobian-vector products: Walker et al. (2024), Log neural controlled differential equations: the Lie brackets make
    a difference.
    """
    return solve_cde(
        LieBrackets(field, _channels(path.channels, depth), depth, device=z0.device),
        path,
        z0,
        times,
        args=args,
        method=method,
        step_size=step_size,
        rtol=rtol,
        atol=atol,
        gradient=gradient,
    )


def _channels(dimension: int, depth: int) -> int:
    """Return the C whose log-signatures to this depth have as many coefficients."""
    channels = 1
    while log_signature_dimension(channels, depth) < dimension:
        channels += 1
    if log_signature_dimension(channels, depth) != dimension:
        raise InputError(
            f"log-signatures of {dimension} coefficients are of no depth {depth}: give the depth they were computed to."
        )
    return channels


class LieBrackets(nn.Module):
    """The field (B, H, K) whose columns are the Lie brackets of the columns of a field (B, H, C).

    Args:
        field: f, called ``field(t, z)`` or ``field(t, z, args)``.
        channels: C.
        depth: 1, 2 or 3.
        device: where it will be evaluated.
    """

    def __init__(self, field: Field, channels: int, depth: int, device: torch.device | None = None) -> None:
        super().__init__()
        self.field, self.depth = field, depth
        brackets = lyndon_brackets(channels, depth)
        pairs = {bracket: place for place, bracket in enumerate(brackets[channels : channels * (channels + 1) // 2])}
        # [[a, b], c] is -[c, [a, b]]: all are a column and a pair, with a sign.
        triples = [
            (left, pairs[right], 1) if isinstance(right, tuple) else (right, pairs[left], -1)
            for left, right in (bracket for bracket in brackets[channels + len(pairs) :] if isinstance(bracket, tuple))
        ]
        self.register_buffer("pairs", torch.tensor(list(pairs), dtype=torch.int64, device=device).view(-1, 2))
        self.register_buffer("triples", torch.tensor(triples, dtype=torch.int64, device=device).view(-1, 3))

    pairs: Tensor
    triples: Tensor

    def forward(self, t: Tensor, z: Tensor, *args: Any) -> Tensor:
        """Evaluate all brackets at t () or (B,) and z (B, H)."""

        def columns(z_N: Tensor) -> Tensor:
            copies = len(z_N) // len(z)
            return self.field(t if t.dim() == 0 else repeat(t, copies), z_N, *repeat(args, copies))

        def of_two(z_N: Tensor) -> Tensor:
            f = columns(z_N)
            df = _along(columns, z_N, f)
            a, b = self.pairs.unbind(1)
            return df[..., b, a] - df[..., a, b]

        found = [columns(z)]
        if self.depth >= 2:
            found.append(of_two(z))
        if self.depth == 3:
            f, g = found
            a, pair, sign = self.triples.unbind(1)
            found.append(sign * (_along(of_two, z, f)[..., pair, a] - _along(columns, z, g)[..., a, pair]))
        return torch.cat(found, dim=-1)


def _along(function: Callable[[Tensor], Tensor], z: Tensor, directions: Tensor) -> Tensor:
    """Return the derivative of each column of a function (N, H, Q) along each direction (N, H, P), (N, H, Q, P).

    One Jacobian-vector product of a batch in which every state stands once for each direction.
    """
    count = directions.shape[-1]
    tangents = directions.transpose(1, 2).flatten(0, 1)
    with outside_inference(z) as z:
        along = torch.func.jvp(function, (z.repeat_interleave(count, dim=0),), (tangents,))[1]
    return along.unflatten(0, (len(z), count)).permute(0, 2, 3, 1)
